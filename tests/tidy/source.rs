//! The Rust files of a checkout, parsed: of `src` as a tree of modules, of the rest as a list.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use quote::ToTokens;
use syn::{Attribute, Item, Meta, visit_mut::VisitMut};

/// A checkout.
pub(crate) struct Checkout {
    pub(crate) root: PathBuf,
    /// The modules of `src`, parents first. Index 0 is `lib.rs`.
    pub(crate) modules: Vec<Module>,
    /// All Rust files of `src`, `tests`, `benches` and `fuzz`, by their path from the root.
    pub(crate) files: BTreeMap<String, File>,
}

/// A Rust file.
pub(crate) struct File {
    pub(crate) text: String,
    pub(crate) syntax: syn::File,
    /// Nothing of it is in an ordinary build.
    pub(crate) is_test: bool,
}

/// A module of `src`; one written inside another's file has that file.
pub(crate) struct Module {
    /// From the crate's root: `["proxy", "exchange"]`.
    pub(crate) path: Vec<String>,
    pub(crate) file: String,
    pub(crate) parent: Option<usize>,
    pub(crate) children: BTreeMap<String, usize>,
    pub(crate) items: Vec<Item>,
    pub(crate) is_test: bool,
}

impl Checkout {
    pub(crate) fn read(root: &Path) -> Self {
        let mut checkout = Self {
            root: root.to_owned(),
            modules: Vec::new(),
            files: BTreeMap::new(),
        };
        for folder in [
            "src",
            "tests",
            "benches",
            "fuzz/fuzz_targets",
            "fuzz/targets",
        ] {
            checkout.read_folder(folder);
        }
        checkout.add_module(Vec::new(), "src/lib.rs".to_owned(), None, false);
        for module in &checkout.modules {
            if let Some(file) = checkout.files.get_mut(&module.file) {
                file.is_test |= module.is_test && !is_inline(module);
            }
        }
        checkout
    }

    fn read_folder(&mut self, folder: &str) {
        let Ok(entries) = fs::read_dir(self.root.join(folder)) else {
            return;
        };
        for entry in entries {
            let entry = entry.expect("an entry of a folder");
            let name = format!(
                "{folder}/{}",
                entry.file_name().to_str().expect("a name in UTF-8")
            );
            let kind = entry.file_type().expect("the kind of an entry");
            if kind.is_dir() && !name.ends_with("node_modules") {
                self.read_folder(&name);
            } else if kind.is_file()
                && entry
                    .path()
                    .extension()
                    .is_some_and(|extension| extension == "rs")
            {
                let text = fs::read_to_string(entry.path()).expect("a text");
                let syntax =
                    syn::parse_file(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
                let is_test = !name.starts_with("src/");
                self.files.insert(
                    name,
                    File {
                        text,
                        syntax,
                        is_test,
                    },
                );
            }
        }
    }

    fn add_module(
        &mut self,
        path: Vec<String>,
        file: String,
        parent: Option<usize>,
        is_test: bool,
    ) -> usize {
        let items = self
            .files
            .get(&file)
            .unwrap_or_else(|| panic!("{file} is declared, and missing"))
            .syntax
            .items
            .clone();
        self.add_items(path, file, parent, is_test, items)
    }

    fn add_items(
        &mut self,
        path: Vec<String>,
        file: String,
        parent: Option<usize>,
        is_test: bool,
        items: Vec<Item>,
    ) -> usize {
        let index = self.modules.len();
        let module = Module {
            path,
            file,
            parent,
            children: BTreeMap::new(),
            items: Vec::new(),
            is_test,
        };
        self.modules.push(module);
        for item in &items {
            let Item::Mod(declared) = item else { continue };
            let name = declared.ident.to_string();
            let child_path: Vec<_> = self.modules[index]
                .path
                .iter()
                .cloned()
                .chain([name.clone()])
                .collect();
            let is_test = is_test || is_for_tests(&declared.attrs);
            let child = if let Some((_, items)) = &declared.content {
                let file = self.modules[index].file.clone();
                self.add_items(child_path, file, Some(index), is_test, items.clone())
            } else {
                let file = format!("src/{}.rs", child_path.join("/"));
                self.add_module(child_path, file, Some(index), is_test)
            };
            self.modules[index].children.insert(name, child);
        }
        self.modules[index].items = items;
        index
    }
}

/// Whether it is written inside the file of another module.
pub(crate) fn is_inline(module: &Module) -> bool {
    !module.path.is_empty() && module.file != format!("src/{}.rs", module.path.join("/"))
}

/// `#[cfg(test)]`, or any other condition that holds only in tests and fuzzing.
pub(crate) fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string();
            !condition.contains("not")
                && (condition.contains("test") || condition.contains("fuzzing"))
        }
        Meta::Path(path) => path
            .segments
            .last()
            .is_some_and(|segment| segment.ident == "test"),
        Meta::List(_) | Meta::NameValue(_) => false,
    })
}

/// The attributes of an item, whatever it is.
pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// How many lines of a file hold code: no blank lines, no comments, no documentation. Of the
/// product, then of tests.
pub(crate) fn code_lines(file: &File) -> (usize, usize) {
    let all = lines_with_tokens(file.syntax.clone());
    if file.is_test {
        return (0, all);
    }
    let mut product = file.syntax.clone();
    WithoutTests.visit_file_mut(&mut product);
    let product = lines_with_tokens(product);
    (product, all - product)
}

fn lines_with_tokens(mut file: syn::File) -> usize {
    WithoutDocs.visit_file_mut(&mut file);
    let mut lines = BTreeSet::new();
    collect_lines(file.into_token_stream(), &mut lines);
    lines.len()
}

fn collect_lines(tokens: proc_macro2::TokenStream, lines: &mut BTreeSet<usize>) {
    for token in tokens {
        if let proc_macro2::TokenTree::Group(group) = &token {
            lines.extend([
                group.span_open().start().line,
                group.span_close().end().line,
            ]);
            collect_lines(group.stream(), lines);
        } else {
            lines.extend(token.span().start().line..=token.span().end().line);
        }
    }
}

struct WithoutDocs;

impl VisitMut for WithoutDocs {
    fn visit_attributes_mut(&mut self, attributes: &mut Vec<Attribute>) {
        attributes.retain(|attribute| !attribute.path().is_ident("doc"));
    }
}

struct WithoutTests;

impl VisitMut for WithoutTests {
    fn visit_file_mut(&mut self, file: &mut syn::File) {
        file.items.retain(|item| !is_for_tests(attributes(item)));
        syn::visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, module: &mut syn::ItemMod) {
        if let Some((_, items)) = &mut module.content {
            items.retain(|item| !is_for_tests(attributes(item)));
        }
        syn::visit_mut::visit_item_mod_mut(self, module);
    }

    fn visit_item_impl_mut(&mut self, implementation: &mut syn::ItemImpl) {
        implementation.items.retain(|item| match item {
            syn::ImplItem::Fn(function) => !is_for_tests(&function.attrs),
            _ => true,
        });
        syn::visit_mut::visit_item_impl_mut(self, implementation);
    }
}
