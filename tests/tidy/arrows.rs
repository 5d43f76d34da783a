//! Which module knows which: the paths in the code, followed through re-exports to the file that
//! defines what they name.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Item, UseTree, Visibility,
    spanned::Spanned,
    visit::{self, Visit},
};

use super::source::{Checkout, attributes, is_for_tests};

/// A use of something of another file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrow {
    pub(crate) from: String,
    pub(crate) line: usize,
    pub(crate) to: String,
}

/// A use of another crate.
pub(crate) struct CrateUse {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) name: String,
}

/// A path as it is written, with its line.
struct Written {
    segments: Vec<String>,
    line: usize,
    /// A `use` that other modules can see.
    is_reexport: bool,
}

/// What a module's names stand for.
#[derive(Default)]
struct Names {
    defined: BTreeSet<String>,
    imported: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
}

/// All arrows among the files of `src`, without those of tests.
pub(crate) fn arrows(checkout: &Checkout) -> (BTreeSet<Arrow>, Vec<CrateUse>) {
    let resolver = Resolver {
        checkout,
        names: checkout
            .modules
            .iter()
            .map(|module| names(&module.items))
            .collect(),
    };
    let (mut arrows, mut crates) = (BTreeSet::new(), Vec::new());
    for (index, module) in checkout
        .modules
        .iter()
        .enumerate()
        .filter(|(_, module)| !module.is_test)
    {
        for Written {
            segments,
            line,
            is_reexport,
        } in written(&module.items)
        {
            match resolver.resolve(index, &segments, 0) {
                Some(target) => {
                    let to = &checkout.modules[target];
                    // A module passes on what is its own: that names no other one.
                    let is_own = is_reexport && module.path.first() == to.path.first();
                    if to.file != module.file && !is_own && !to.is_test {
                        arrows.insert(Arrow {
                            from: module.file.clone(),
                            line,
                            to: to.file.clone(),
                        });
                    }
                }
                None => crates.push(CrateUse {
                    file: module.file.clone(),
                    line,
                    name: segments[0].clone(),
                }),
            }
        }
    }
    (arrows, crates)
}

struct Resolver<'c> {
    checkout: &'c Checkout,
    names: Vec<Names>,
}

impl Resolver<'_> {
    /// The module that defines what is named. `None`: another crate does, or nothing that stands in
    /// a file.
    fn resolve(&self, from: usize, segments: &[String], depth: usize) -> Option<usize> {
        if depth > 16 {
            return None;
        }
        let (first, rest) = segments.split_first()?;
        match first.as_str() {
            "crate" | "menshen" => self.within(0, rest, depth),
            "self" => self.within(from, rest, depth),
            "super" => self.within(self.checkout.modules[from].parent?, rest, depth),
            _ if self.is_known(from, first) => self.within(from, segments, depth),
            _ => None,
        }
    }

    fn is_known(&self, module: usize, name: &str) -> bool {
        let names = &self.names[module];
        self.checkout.modules[module].children.contains_key(name)
            || names.defined.contains(name)
            || names.imported.contains_key(name)
    }

    fn within(&self, module: usize, segments: &[String], depth: usize) -> Option<usize> {
        let Some((first, rest)) = segments.split_first() else {
            return Some(module);
        };
        if first == "super" {
            return self.within(self.checkout.modules[module].parent?, rest, depth);
        }
        if let Some(&child) = self.checkout.modules[module].children.get(first) {
            return self.within(child, rest, depth);
        }
        let names = &self.names[module];
        if let Some(target) = names.imported.get(first) {
            let target: Vec<_> = target.iter().chain(rest).cloned().collect();
            return self.resolve(module, &target, depth + 1);
        }
        if !names.defined.contains(first) {
            for glob in &names.globs {
                let target: Vec<_> = glob.iter().chain(segments).cloned().collect();
                if let Some(found) = self.resolve(module, &target, depth + 1) {
                    return Some(found);
                }
            }
        }
        Some(module)
    }
}

fn names(items: &[Item]) -> Names {
    let mut names = Names::default();
    for item in items {
        let ident = match item {
            Item::Const(item) => &item.ident,
            Item::Enum(item) => &item.ident,
            Item::Fn(item) => &item.sig.ident,
            Item::Static(item) => &item.ident,
            Item::Struct(item) => &item.ident,
            Item::Trait(item) => &item.ident,
            Item::Type(item) => &item.ident,
            Item::Use(item) => {
                for (path, name) in leaves(&item.tree) {
                    match name {
                        Some(name) => drop(names.imported.insert(name, path)),
                        None => names.globs.push(path),
                    }
                }
                continue;
            }
            _ => continue,
        };
        names.defined.insert(ident.to_string());
    }
    names
}

/// Each path of a `use`, with the name it has here; no name: everything in it.
fn leaves(tree: &UseTree) -> Vec<(Vec<String>, Option<String>)> {
    match tree {
        UseTree::Path(path) => {
            let mut found = leaves(&path.tree);
            for (segments, name) in &mut found {
                if segments.is_empty() && name.as_deref() == Some("self") {
                    *name = Some(path.ident.to_string());
                }
                segments.insert(0, path.ident.to_string());
            }
            found
        }
        UseTree::Name(name) if name.ident == "self" => vec![(Vec::new(), Some("self".to_owned()))],
        UseTree::Name(name) => vec![(vec![name.ident.to_string()], Some(name.ident.to_string()))],
        UseTree::Rename(rename) => vec![(
            vec![rename.ident.to_string()],
            Some(rename.rename.to_string()),
        )],
        UseTree::Glob(_) => vec![(Vec::new(), None)],
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}

fn written(items: &[Item]) -> Vec<Written> {
    let mut found = Found(Vec::new());
    for item in items {
        if !is_for_tests(attributes(item)) && !matches!(item, Item::Mod(_)) {
            found.visit_item(item);
        }
    }
    found.0
}

struct Found(Vec<Written>);

impl Found {
    /// Paths in the arguments of a macro or an attribute, which are not parsed. Of a path that
    /// branches (`crate::a::{b, c}`) only the stem is seen.
    fn visit_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Group(group) => self.visit_tokens(group.stream()),
                TokenTree::Ident(ident) => {
                    let mut segments = vec![ident.to_string()];
                    while let [
                        TokenTree::Punct(a),
                        TokenTree::Punct(b),
                        TokenTree::Ident(next),
                        ..,
                    ] = &tokens[at..]
                    {
                        if a.as_char() != ':' || b.as_char() != ':' {
                            break;
                        }
                        segments.push(next.to_string());
                        at += 3;
                    }
                    if segments.len() > 1 && segments[0] != "$crate" {
                        self.0.push(Written {
                            segments,
                            line: ident.span().start().line,
                            is_reexport: false,
                        });
                    }
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_reexport = !matches!(item.vis, Visibility::Inherited);
        let line = item.span().start().line;
        self.0
            .extend(leaves(&item.tree).into_iter().map(|(segments, _)| Written {
                segments,
                line,
                is_reexport,
            }));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            let segments = path
                .segments
                .iter()
                .map(|segment| segment.ident.to_string())
                .collect();
            self.0.push(Written {
                segments,
                line: path.span().start().line,
                is_reexport: false,
            });
        }
        visit::visit_path(self, path);
    }

    /// `pub(in crate::api)` uses nothing of `api`.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        self.visit_tokens(list.tokens.clone());
    }

    fn visit_macro(&mut self, invoked: &'ast syn::Macro) {
        self.visit_tokens(invoked.tokens.clone());
        visit::visit_macro(self, invoked);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }
}
