//! What the files of a crate use of each other, read from their text.
//!
//! An arrow goes from the file that names an item to the file that defines it: by a `use`, or by a path that begins with `crate`, `super`,
//! `self`, a module below or an imported name. Re-exports are looked through: a file that only declares modules and passes their names on
//! has no arrow, whatever is named by way of it. Nor have tests, comments, strings, and items that no path names, as methods and macros.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

type Path = Vec<String>;

/// A module's text in words and signs, `::` being one.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let named = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let start = i;
        match at(i) {
            '/' if at(i + 1) == '/' => i += chars[i..].iter().take_while(|c| **c != '\n').count(),
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                while i < chars.len() {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            '"' => {
                i += 1;
                while i < chars.len() && at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                i += 1;
            }
            // A character, or a lifetime.
            '\'' if at(i + 1) == '\\' => i += 3 + chars[(i + 3).min(chars.len())..].iter().take_while(|c| **c != '\'').count() + 1,
            '\'' if at(i + 2) == '\'' => i += 3,
            '\'' => i += 1,
            c if named(c) => {
                i += chars[i..].iter().take_while(|c| named(**c)).count();
                let word: String = chars[start..i].iter().collect();
                let hashes = chars[i..].iter().take_while(|c| **c == '#').count();
                if ["r", "br", "cr"].contains(&&*word) && at(i + hashes) == '"' {
                    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                    i += hashes + 1;
                    while i < chars.len() && !chars[i..].starts_with(&end) {
                        i += 1;
                    }
                    i += end.len();
                } else {
                    found.push(word);
                }
            }
            ':' if at(i + 1) == ':' => {
                found.push("::".into());
                i += 2;
            }
            c => {
                if !c.is_whitespace() {
                    found.push(c.into());
                }
                i += 1;
            }
        }
    }
    found
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Where the item that begins at `from` ends: behind its `;`, or its last `}`.
fn item_end(tokens: &[String], from: usize) -> usize {
    let mut depth = 0usize;
    for (i, token) in tokens.iter().enumerate().skip(from) {
        match &**token {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (token == ";" || token == "}") {
            return i + 1;
        }
    }
    tokens.len()
}

/// One name that a `use` brings: the path, and what it is called here. `*` is all of a module.
struct Import {
    path: Path,
    name: String,
    passed_on: bool,
}

#[derive(Default)]
struct Module {
    imports: Vec<Import>,
    defines: BTreeSet<String>,
    /// Paths in code, and single words.
    paths: Vec<Path>,
    words: BTreeSet<String>,
}

impl Module {
    /// What the text says, and which modules below are tests.
    fn read(text: &str) -> (Self, BTreeSet<String>) {
        let tokens = tokens(text);
        let (mut module, mut tests) = (Self::default(), BTreeSet::new());
        let mut i = 0;
        while i < tokens.len() {
            let is = |offset: usize, what: &str| tokens.get(i + offset).is_some_and(|token| token == what);
            if ["#", "[", "cfg", "(", "test", ")", "]"].iter().enumerate().all(|(k, what)| is(k, what)) {
                let end = item_end(&tokens, i + 7);
                let declared = tokens[i..end].iter().position(|token| token == "mod").and_then(|at| tokens.get(i + at + 1));
                tests.extend(declared.cloned());
                i = end;
            } else if is(0, "use") {
                let end = i + tokens[i..].iter().position(|token| token == ";").unwrap_or(tokens.len() - i - 1);
                let before = tokens[..i].last().map_or("", |token| token);
                module.import(&tokens[i + 1..end], &Vec::new(), before == "pub" || before == ")");
                i = end + 1;
            } else if is_word(&tokens[i]) {
                let mut path = vec![tokens[i].clone()];
                let start = i;
                while tokens.get(i + 1).is_some_and(|token| token == "::") && tokens.get(i + 2).is_some_and(|token| is_word(token)) {
                    path.push(tokens[i + 2].clone());
                    i += 2;
                }
                let before = |back: usize| start.checked_sub(back).map_or("", |at| &*tokens[at]);
                if ["fn", "struct", "enum", "trait", "type", "const", "static", "union"].contains(&before(1)) {
                    module.defines.insert(path[0].clone());
                }
                // Visibility names a place, and uses nothing there.
                let visibility = before(1) == "in" && before(2) == "(" && before(3) == "pub";
                if path.len() > 1 && before(1) != "::" && !visibility {
                    module.words.insert(path[0].clone());
                    module.paths.push(path);
                } else if before(1) != "." {
                    module.words.insert(path[0].clone());
                }
                i += 1;
            } else {
                i += 1;
            }
        }
        (module, tests)
    }

    fn import(&mut self, tree: &[String], prefix: &[String], passed_on: bool) {
        let (mut depth, mut start) = (0, 0);
        for i in 0..=tree.len() {
            match tree.get(i).map(|token| &**token) {
                Some("{") => depth += 1,
                Some("}") => depth -= 1,
                _ => {}
            }
            if i < tree.len() && (depth > 0 || tree[i] != ",") {
                continue;
            }
            let item = &tree[start..i];
            start = i + 1;
            let mut path = prefix.to_vec();
            let group = item.iter().position(|token| token == "{");
            let head = item.iter().take(group.unwrap_or(item.len())).take_while(|token| *token != "as");
            path.extend(head.filter(|token| is_word(token) || *token == "*").cloned());
            if let Some(group) = group {
                self.import(&item[group + 1..item.len() - 1], &path, passed_on);
            } else if !path.is_empty() {
                if path.len() > 1 && path.ends_with(&["self".into()]) {
                    path.pop();
                }
                let alias = item.iter().position(|token| token == "as").map(|at| item[at + 1].clone());
                let name = alias.unwrap_or_else(|| path[path.len() - 1].clone());
                self.imports.push(Import { path, name, passed_on });
            }
        }
    }
}

/// A crate's modules by their paths.
pub struct Crate(BTreeMap<Path, Module>);

impl Crate {
    /// Of the files of a source folder: their names in it, and their texts.
    pub fn read(files: &[(String, String)]) -> Self {
        let (mut modules, mut tests) = (BTreeMap::new(), BTreeSet::new());
        for (name, text) in files {
            let mut path: Path = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            if ["mod", "lib", "main"].contains(&&*path[path.len() - 1]) {
                path.pop();
            }
            let (module, below) = Module::read(text);
            tests.extend(below.into_iter().map(|test| [&*path, &[test]].concat()));
            let known: &mut Module = modules.entry(path).or_default();
            // A program and a library of one folder are one root.
            known.imports.extend(module.imports);
            known.defines.extend(module.defines);
            known.paths.extend(module.paths);
            known.words.extend(module.words);
        }
        modules.retain(|path, _| !(1..=path.len()).any(|length| tests.contains(&path[..length])));
        Self(modules)
    }

    /// The module that defines what is meant by a path in a module, and whether the path names the module itself; none of other crates.
    fn home(&self, module: &[String], path: &[String], depth: usize) -> Option<(Path, bool)> {
        let mut place = module.to_vec();
        let mut rest = path;
        let mut rooted = false;
        while let Some((first, behind)) = rest.split_first() {
            match &**first {
                "crate" => place.clear(),
                "super" => drop(place.pop()),
                "self" => {}
                _ => break,
            }
            (rest, rooted) = (behind, true);
        }
        while let Some((first, behind)) = rest.split_first() {
            let below = [&*place, std::slice::from_ref(first)].concat();
            if !self.0.contains_key(&below) {
                break;
            }
            (place, rest, rooted) = (below, behind, true);
        }
        let Some((name, behind)) = rest.split_first() else { return rooted.then_some((place, true)) };
        let known = self.0.get(&place)?;
        if known.defines.contains(name) {
            return Some((place, false));
        }
        if depth < 8 {
            for import in known.imports.iter().filter(|import| import.name == *name || import.name == "*") {
                let full = match import.name == "*" {
                    true => [&import.path[..import.path.len() - 1], rest].concat(),
                    false => [&import.path, behind].concat(),
                };
                if (full != path || place != module)
                    && let Some(found) = self.home(&place, &full, depth + 1)
                {
                    return Some(found);
                }
            }
        }
        None
    }

    /// Of each module those that it uses, and the path that does.
    pub fn arrows(&self) -> BTreeMap<Path, BTreeMap<Path, String>> {
        let mut arrows: BTreeMap<Path, BTreeMap<Path, String>> = BTreeMap::new();
        for (place, module) in &self.0 {
            let used = module.imports.iter().filter(|import| !import.passed_on || module.words.contains(&import.name));
            // A word alone comes from elsewhere by an import, or unseen by all of a module.
            let all = module.imports.iter().any(|import| import.name == "*");
            let words = module.words.iter().filter(|_| all).map(|word| vec![word.clone()]);
            let named = used.map(|import| import.path.clone()).chain(module.paths.iter().cloned()).chain(words);
            for path in named.filter(|path| path[path.len() - 1] != "*") {
                // Naming a module alone uses nothing of it.
                if let Some((home, false)) = self.home(place, &path, 0).filter(|(home, _)| home != place) {
                    arrows.entry(place.clone()).or_default().entry(home).or_insert_with(|| path.join("::"));
                }
            }
        }
        arrows
    }
}

/// The shortest circle among the arrows, told; none where there is none.
pub fn circle(arrows: &BTreeMap<Path, BTreeMap<Path, String>>) -> Option<String> {
    let mut shortest: Option<Vec<&Path>> = None;
    for start in arrows.keys() {
        let mut from: BTreeMap<&Path, &Path> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            for next in arrows.get(at).into_iter().flat_map(BTreeMap::keys) {
                if from.contains_key(next) {
                    continue;
                }
                from.insert(next, at);
                queue.push_back(next);
            }
        }
        if from.contains_key(start) {
            let mut way = vec![start];
            while way.len() == 1 || way[way.len() - 1] != start {
                way.push(from[way[way.len() - 1]]);
            }
            way.reverse();
            if shortest.as_ref().is_none_or(|known| way.len() < known.len()) {
                shortest = Some(way);
            }
        }
    }
    let told = |module: &Path| if module.is_empty() { "the root".into() } else { module.join("::") };
    let steps = |way: Vec<&Path>| {
        way.windows(2).map(|pair| format!("{} uses {} of {}", told(pair[0]), arrows[pair[0]][pair[1]], told(pair[1]))).collect::<Vec<_>>()
    };
    shortest.map(|way| steps(way).join(", "))
}

#[test]
fn circles_of_every_kind_are_found() {
    let told = |files: &[(&str, &str)]| {
        let files: Vec<_> = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        circle(&Crate::read(&files).arrows())
    };
    let (face, a) = ("mod b;\nmod c;\npub use b::B;\npub use c::C as See;", "pub struct C;\nfn of(b: super::B) {}");
    for b in [
        "use super::See;\npub struct B;",
        "use crate::a::{c::{C, D as E}};\npub struct B;",
        "use super::c;\npub struct B;\nfn of() { c::C::new() }",
        "pub struct B(crate::See);",
        "use super::*;\npub struct B(See);",
        "pub struct B; // \"\nconst A: [char; 2] = ['\"', '\\''];\nfn of<'a>(c: &'a super::c::C) {}",
    ] {
        let found = told(&[("lib.rs", "mod a;\npub use a::*;"), ("a/mod.rs", face), ("a/b.rs", b), ("a/c.rs", a)]);
        assert!(found.is_some_and(|found| found.contains("a::b uses") && found.contains("a::c uses")), "{b}");
    }
    // A parent with something of its own counts as any file, one that declares and passes on does not.
    let parent = told(&[
        ("lib.rs", "mod a;"),
        ("a/mod.rs", "mod b;\npub struct A(b::B);\npub fn f() {}"),
        ("a/b.rs", "use super::f;\npub struct B;"),
    ]);
    assert!(parent.is_some_and(|found| found.contains("a uses b::B of a::b")));
    for b in [
        "pub struct B;",
        "pub struct B; // super::See\n/* crate::a::c::C */ const A: &str = \"super::See\"; const B: &str = r#\"\" super::See\"#;",
        "pub struct B;\n#[cfg(test)]\nmod tests {\n    use crate::a::See;\n}",
        "use super::c;\npub struct B;\npub(in super::c) fn of() {}",
    ] {
        let found = told(&[("lib.rs", "mod a;"), ("a/mod.rs", face), ("a/b.rs", b), ("a/c.rs", a)]);
        assert_eq!(found, None, "{b}");
    }
    assert_eq!(
        told(&[("lib.rs", "mod a;\n#[cfg(test)]\nmod b;\npub struct C;"), ("a.rs", "pub struct A;"), ("b.rs", "use crate::C;")]),
        None
    );
}
