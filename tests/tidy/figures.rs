//! How much of everything there is: `./run lint --figures`.

use std::collections::BTreeMap;

use syn::{
    Item, Signature,
    spanned::Spanned,
    visit::{self, Visit},
};

use super::{
    arrows,
    circles::circles,
    source::{Checkout, File, attributes, code_lines, is_for_tests},
};

/// A function, wherever it stands.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// From its signature to its last brace.
    pub(crate) lines: usize,
    /// Without `self`.
    pub(crate) arguments: usize,
    pub(crate) is_test: bool,
}

/// The functions of a file, also those inside of others.
pub(crate) fn functions(file: &File) -> Vec<Function> {
    let mut found = Functions {
        found: Vec::new(),
        is_test: file.is_test,
    };
    found.visit_file(&file.syntax);
    found.found
}

/// A line for each figure: its value, and what it is.
pub(crate) fn print(checkout: &Checkout) -> String {
    let (mut product, mut tests) = (0, 0);
    let mut lengths = Vec::new();
    let mut product_functions = Vec::new();
    let (mut traits, mut types) = (0, BTreeMap::<String, usize>::new());
    for file in checkout.files.values() {
        let (of_product, of_tests) = code_lines(file);
        product += of_product;
        tests += of_tests;
        if file.is_test {
            continue;
        }
        lengths.push(file.text.lines().count());
        product_functions.extend(
            functions(file)
                .into_iter()
                .filter(|function| !function.is_test),
        );
        for item in file
            .syntax
            .items
            .iter()
            .filter(|item| !is_for_tests(attributes(item)))
        {
            match item {
                Item::Trait(_) => traits += 1,
                Item::Struct(item) => *types.entry(item.ident.to_string()).or_default() += 1,
                Item::Enum(item) => *types.entry(item.ident.to_string()).or_default() += 1,
                _ => {}
            }
        }
    }
    lengths.sort_unstable();
    let at = |share: usize| lengths[(lengths.len() - 1) * share / 100];
    let count = |is: &dyn Fn(&Function) -> bool| {
        product_functions
            .iter()
            .filter(|function| is(function))
            .count()
    };
    let (arrows, _) = arrows::arrows(checkout);
    let config = std::fs::read_to_string(checkout.root.join("config.toml")).expect("config.toml");
    let rows = [
        (
            product,
            "lines of product code (no blank lines, no comments)",
        ),
        (tests, "lines of test code, the same way"),
        (lengths.len(), "files of product code"),
        (
            at(50),
            "lines of the median file, tests in it and comments included",
        ),
        (at(90), "lines of the file at the 90th percentile"),
        (
            lengths.iter().filter(|lines| **lines > 400).count(),
            "files of more than 400 lines",
        ),
        (product_functions.len(), "functions"),
        (
            count(&|function| function.lines > 50),
            "functions of more than 50 lines",
        ),
        (
            count(&|function| function.arguments >= 6),
            "functions with six arguments or more",
        ),
        (traits, "traits"),
        (circles(&arrows).len(), "circles among files"),
        (
            config.lines().filter(|line| is_key(line)).count(),
            "config keys that config.toml shows",
        ),
        (
            types.values().filter(|count| **count > 1).sum(),
            "types that share their name with another",
        ),
    ];
    rows.iter().fold(String::new(), |page, (value, what)| {
        format!(
            "{page}{value:>8}  {what}
"
        )
    })
}

/// `key = value`, also where it stands in a comment because it is a default or an example.
fn is_key(line: &str) -> bool {
    let line = line.trim_start_matches(['#', ' ']);
    let Some((key, _)) = line.split_once(" = ") else {
        return false;
    };
    !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

struct Functions {
    found: Vec<Function>,
    is_test: bool,
}

impl Functions {
    fn add(&mut self, signature: &Signature, whole: proc_macro2::Span, is_test: bool) {
        let (first, last) = (signature.span().start().line, whole.end().line);
        let arguments = signature
            .inputs
            .iter()
            .filter(|input| matches!(input, syn::FnArg::Typed(_)))
            .count();
        let name = signature.ident.to_string();
        self.found.push(Function {
            name,
            line: first,
            lines: last + 1 - first,
            arguments,
            is_test,
        });
    }

    fn within(&mut self, is_test: bool, visit: impl FnOnce(&mut Self)) {
        let before = self.is_test;
        self.is_test |= is_test;
        visit(self);
        self.is_test = before;
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.within(is_for_tests(&module.attrs), |found| {
            visit::visit_item_mod(found, module);
        });
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.within(is_for_tests(&function.attrs), |found| {
            found.add(&function.sig, function.span(), found.is_test);
            visit::visit_item_fn(found, function);
        });
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.within(is_for_tests(&function.attrs), |found| {
            found.add(&function.sig, function.span(), found.is_test);
            visit::visit_impl_item_fn(found, function);
        });
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.add(&function.sig, function.span(), self.is_test);
        visit::visit_trait_item_fn(self, function);
    }
}
