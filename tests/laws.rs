//! Laws on the sources that no manifest can keep. What depends on what, and on whom, is in `Cargo.toml` and `deny.toml`.

#[path = "laws/circles.rs"]
mod circles;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use circles::{Crate, circle};
use edge_seg_tests::root;

/// Files that belong to the project, relative to its root.
fn files() -> Vec<PathBuf> {
    let listed = Command::new("git").current_dir(root()).args(["ls-files", "-co", "--exclude-standard"]).output();
    let listed = listed.expect("git lists the project's files");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    String::from_utf8_lossy(&listed.stdout).lines().map(PathBuf::from).filter(|p| root().join(p).is_file()).collect()
}

/// The lines of files that a rule is about and the rule forbids.
fn offenders(concerns: impl Fn(&str) -> bool, forbids: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = 0;
    for path in files() {
        let name = path.to_string_lossy().into_owned();
        if !concerns(&name) {
            continue;
        }
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        seen += 1;
        found.extend(
            text.lines().enumerate().filter(|(_, line)| forbids(line)).map(|(i, line)| format!("{name}:{}: {}", i + 1, line.trim())),
        );
    }
    assert!(seen > 0, "the rule concerns some file");
    found
}

fn assert_none(found: &[String], law: &str) {
    assert!(found.is_empty(), "{law}:\n{}", found.join("\n"));
}

/// The kernels' modules, each of which uses those before it alone. `lib` and `tests` use all.
const KERNEL_LAYERS: [&str; 8] = ["operands", "reference", "isa", "generic", "arch", "dispatch", "ops", "tests"];

#[test]
fn arrows_between_the_kernels_modules_go_one_way() {
    const FOLDER: &str = "runtime/kernels/src/";
    let place = |module: &str| KERNEL_LAYERS.iter().position(|layer| *layer == module);
    let mut found = Vec::new();
    let mut seen = 0;
    for path in files() {
        let name = path.to_string_lossy().into_owned();
        let Some(module) = name.strip_prefix(FOLDER).filter(|name| *name != "lib.rs") else { continue };
        let module = module.split(['/', '.']).next().unwrap_or_default();
        let own = place(module).unwrap_or_else(|| panic!("{name}: expected a module of {KERNEL_LAYERS:?}"));
        let text = fs::read_to_string(root().join(&path)).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        for rest in code.split("crate::").skip(1) {
            let group = rest.strip_prefix('{').and_then(|group| group.split_once('}')).map_or(rest, |(group, _)| group);
            let listed = if group.len() < rest.len() { group.split(',').collect() } else { vec![rest] };
            for named in listed.into_iter().filter_map(|item| item.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next()) {
                seen += 1;
                // By way of the crate's face a module would be used unseen.
                if place(named).map_or(module != "tests", |other| other > own) {
                    found.push(format!("{name} uses {named}"));
                }
            }
        }
    }
    assert!(seen > 50, "the kernels' modules use each other, found {seen} places");
    assert_none(&found, &format!("each of {KERNEL_LAYERS:?} uses those before it"));
}

#[test]
fn python_only_trains_tests_measures_and_calls_the_library() {
    let places = ["export/trainer/", "tests/", "runtime/python/", "examples/python/", "examples/cluster/"];
    let stray: Vec<_> = files()
        .iter()
        .map(|p| p.to_string_lossy().into_owned())
        .filter(|p| {
            let folder = p.rsplit_once('/').map_or("", |(folder, _)| folder);
            p.ends_with(".py") && !places.iter().any(|place| p.starts_with(place)) && !folder.ends_with("/benches")
        })
        .collect();
    assert_none(&stray, "Python trains, tests and measures, and calls the library, no more");
}

/// Crates that may hold `unsafe`, and why each may.
const UNSAFE: [(&str, &str); 4] = [
    ("runtime/kernels/", "instruction sets"),
    ("runtime/cuda/", "NVIDIA's libraries"),
    ("runtime/c/", "pointers from C"),
    ("runtime/python/src/guest.rs", "the interpreter's end"),
];

#[test]
fn unsafe_code_stands_at_borders_alone() {
    let rust = |f: &str| f.ends_with(".rs") && f != "tests/laws.rs" && !UNSAFE.iter().any(|(folder, _)| f.starts_with(folder));
    let found = offenders(rust, |line| {
        let code = line.split("//").next().unwrap_or_default();
        ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait", "allow(unsafe_code"]
            .iter()
            .any(|mark| code.contains(mark))
    });
    assert_none(&found, "unsafe code is in kernels, cuda, the C interface and where Python ends alone");
}

/// What a lock names: `(name, version)`.
fn locked(path: &str) -> BTreeSet<(String, String)> {
    let lock: toml::Table = fs::read_to_string(root().join(path)).unwrap().parse().unwrap();
    let of = |package: &toml::Value, key: &str| package[key].as_str().unwrap_or_default().to_owned();
    lock["package"].as_array().unwrap().iter().map(|package| (of(package, "name"), of(package, "version"))).collect()
}

#[test]
fn python_is_built_of_the_same_crates() {
    let (all, python) = (locked("Cargo.lock"), locked("runtime/python/Cargo.lock"));
    assert!(python.iter().any(|(name, _)| name == "edge-seg-model"), "a lock that was read");
    let names: BTreeSet<_> = all.iter().map(|(name, _)| name).collect();
    let other: Vec<_> =
        python.iter().filter(|package| names.contains(&package.0) && !all.contains(package)).map(|p| format!("{p:?}")).collect();
    assert_none(&other, "runtime/python/Cargo.lock has the versions of Cargo.lock; try: cp Cargo.lock runtime/python/ and build there");
}

#[test]
fn no_machine_is_named() {
    let text = |f: &str| f != "tests/laws.rs" && !f.ends_with(".jpg") && !f.ends_with(".esb") && !f.starts_with("tests/boards/");
    let marks = ["/root/", "/home/runner", "index.crates.io", "files.pythonhosted", "artifactory", "/work/"];
    let found = offenders(text, |line| marks.iter().any(|m| line.contains(m)));
    assert_none(&found, "paths of one machine, or a registry's host");
}

/// Whether a file is the library's, whose users have another command line than the program's, or none.
fn of_the_library(f: &str) -> bool {
    f.ends_with(".rs") && ["bundle", "kernels", "live", "model"].iter().any(|part| f.starts_with(&format!("runtime/{part}/src/")))
}

#[test]
fn the_library_names_no_option_of_the_program() {
    // The options of a Raspberry Pi's camera programs are theirs, and those of what runs containers.
    let elsewhere = ["runtime/live/src/source/camera.rs", "runtime/model/src/encoder/cuda/faults.rs"];
    let mut found = Vec::new();
    for path in
        files().iter().map(|path| path.to_string_lossy().into_owned()).filter(|f| of_the_library(f) && !elsewhere.contains(&f.as_str()))
    {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default().lines().filter(|line| !line.trim_start().starts_with("//"));
        let names = |line: &&str| {
            let is_flag = |(at, mark): (usize, &str)| {
                let before = line[..at].chars().next_back().is_some_and(|c| "\"' (`[".contains(c));
                before && line[at + mark.len()..].starts_with(|c: char| c.is_ascii_lowercase())
            };
            line.contains('"') && line.match_indices("--").any(is_flag) || line.contains("try: -")
        };
        found.extend(code.filter(names).map(|line| format!("{path}: {}", line.trim())));
    }
    assert_none(&found, "errors of the library name the fields of its options");
}

#[test]
fn the_library_names_no_command_of_the_program() {
    let commands = ["run", "segment", "tags", "bench", "inspect"].map(|command| format!("edge-seg {command} "));
    let names = |line: &str| !line.trim_start().starts_with("//") && commands.iter().any(|command| line.contains(command));
    assert_none(&offenders(of_the_library, names), "whoever builds on the library has another command line, or none");
}

#[test]
fn libraries_bring_no_crate_of_their_programs() {
    let tree = |package: &str, features: &str| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(root()).args(["tree", "--offline", "--locked", "-p", package, "-e", "normal", "--prefix", "none"]);
        let output = cargo.args(["--no-default-features", "--features", features]).output().expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let runtime = ["clap", "indicatif", "sd-notify", "signal-hook", "tracing-subscriber"];
    let export = ["clap", "indicatif", "hf-hub", "ureq"];
    for (package, features, its_own) in [("edge-seg", "displays,mini,service,v4l2", &runtime[..]), ("edge-seg-export", "", &export)] {
        let library = tree(package, features);
        let names = library.lines().filter_map(|line| line.split(' ').next());
        assert_eq!(names.filter(|name| its_own.contains(name)).collect::<Vec<_>>(), [""; 0], "{package}");
        assert!(tree(package, "program").lines().any(|line| line.starts_with("clap ")), "a tree that was read");
    }
}

#[test]
fn manifests_of_python_and_rust_name_a_licence() {
    let folders: Vec<_> = files().into_iter().filter(|p| p.ends_with("Cargo.toml") || p.ends_with("pyproject.toml")).collect();
    for manifest in folders {
        let text = fs::read_to_string(root().join(&manifest)).unwrap();
        assert!(text.contains("license"), "{} names no licence", manifest.display());
    }
}

/// Files of Rust by the source folders that they are in, each with its name there and its text: a folder with a `lib.rs` or a `main.rs`.
fn sources() -> BTreeMap<String, Vec<(String, String)>> {
    let names: Vec<String> = files().iter().map(|path| path.to_string_lossy().into_owned()).filter(|name| name.ends_with(".rs")).collect();
    let folders: BTreeSet<&str> = names.iter().filter_map(|name| name.strip_suffix("lib.rs").or(name.strip_suffix("main.rs"))).collect();
    let mut found: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for name in &names {
        let Some(folder) = folders.iter().filter(|folder| name.starts_with(**folder)).max_by_key(|folder| folder.len()) else { continue };
        let text = fs::read_to_string(root().join(name)).unwrap();
        found.entry((*folder).to_owned()).or_default().push((name[folder.len()..].to_owned(), text));
    }
    found
}

#[test]
fn no_files_of_a_crate_form_a_circle() {
    let (mut found, mut seen) = (Vec::new(), 0);
    for (folder, files) in sources() {
        let arrows = Crate::read(&files).arrows();
        seen += arrows.values().map(BTreeMap::len).sum::<usize>();
        found.extend(circle(&arrows).map(|circle| format!("{folder}: {circle}")));
    }
    assert!(seen > 1000, "files use each other, found {seen} places");
    assert_none(&found, "what two files share is in a third one that uses neither");
}

#[test]
fn every_promise_names_tests_that_are_there() {
    let text = fs::read_to_string(root().join("docs/SECURITY.md")).unwrap();
    let (_, promises) = text.split_once("| promise | test |").expect("the table of promises");
    let rows: Vec<&str> = promises.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 10, "found {} promises", rows.len());
    let is_rust = |name: &PathBuf| name.extension().is_some_and(|extension| extension == "rs");
    let code: String = files().iter().filter(|name| is_rust(name)).filter_map(|name| fs::read_to_string(root().join(name)).ok()).collect();
    let mut found = Vec::new();
    for row in rows {
        let tests: Vec<&str> = row.rsplit('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2).collect();
        let missing = tests.iter().filter(|test| !code.contains(&format!("fn {test}()")));
        found.extend(missing.map(|test| format!("{test}, of {row}")));
        if tests.is_empty() {
            found.push(row.into());
        }
    }
    assert_none(&found, "each promise of docs/SECURITY.md names a test");
}

/// Types of the library's face that are written and matched field by field, and why nothing can be added to them.
const WHOLE: [(&str, &str); 10] = [
    ("Colour", "red, green and blue"),
    ("Departure", "more, less or either"),
    ("Fit", "the bundle format's: a reader that does not know one cannot prepare a picture"),
    ("Interpolation", "the bundle format's, as Fit"),
    ("JsonLines", "one writer, which it is made of"),
    ("JsonVersion", "the version alone"),
    ("LabelMap", "two sides and the labels between them"),
    ("LocalTime", "a day and a second of it"),
    ("Range", "limited or full, as video has them"),
    ("Way", "the two sides of a line, or either"),
];

/// What the library's face shows: crate, module, and the name there.
fn shown_by_the_library() -> Vec<(String, String, String)> {
    let face = fs::read_to_string(root().join("runtime/src/lib.rs")).unwrap();
    let code: String = face.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join(" ");
    let mut shown = Vec::new();
    for used in code.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next()) {
        let (path, names) = used.rsplit_once("::{").map_or_else(|| used.rsplit_once("::").unwrap(), |(path, names)| (path, names));
        let (home, module) = path.split_once("::").unwrap_or((path, ""));
        let names = names.trim_end_matches([' ', '}']).split(',').filter_map(|name| name.split_whitespace().next());
        shown.extend(names.map(|name| (home.to_owned(), module.replace("::", "/"), name.to_owned())));
    }
    shown
}

/// How the type of this name is written: its attributes, and what follows `struct` or `enum`; none if it is no struct and no enum.
fn definitions<'a>(text: &'a str, name: &str) -> Vec<(Vec<&'a str>, &'a str)> {
    let mut found = Vec::new();
    for kind in ["struct", "enum"] {
        let head = format!("\npub {kind} {name}");
        for (at, _) in text.match_indices(&head) {
            let rest = &text[at + head.len()..];
            if !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
                let attributes = text[..at].lines().rev().take_while(|line| line.starts_with("#[") || line.starts_with("///")).collect();
                found.push((attributes, &text[at + "\npub ".len()..]));
            }
        }
    }
    found
}

/// Whether others can write and match it field by field: an enum, or a struct without a field of its own.
fn is_open(definition: &str) -> bool {
    let end = definition.find("\n}").unwrap_or(definition.len());
    let first = definition.lines().next().unwrap_or_default();
    if definition.starts_with("enum ") || first.ends_with(" {}") {
        return true;
    }
    if let Some((_, fields)) = first.rsplit_once('(') {
        return fields.starts_with("pub ");
    }
    if !first.ends_with('{') {
        return first.ends_with(';');
    }
    let is_field = |line: &&str| line.starts_with("    ") && line[4..].starts_with(|c: char| c.is_ascii_lowercase()) && line.contains(": ");
    definition[..end].lines().skip(1).filter(is_field).all(|line| line.starts_with("    pub "))
}

#[test]
fn types_of_the_library_can_grow() {
    let sources = sources();
    let (mut found, mut seen, mut whole) = (Vec::new(), 0, BTreeSet::new());
    for (home, module, name) in shown_by_the_library() {
        let Some(part) = home.strip_prefix("edge_seg_") else { panic!("{home}: expected a crate of this project") };
        let files = &sources[&format!("runtime/{part}/src/")];
        let here = |file: &str| file.strip_prefix(&*module).is_some_and(|rest| module.is_empty() || rest.starts_with(['/', '.']));
        let of = |all: bool| files.iter().filter(move |(file, _)| all || here(file)).flat_map(|(_, text)| definitions(text, &name));
        let mut defined: Vec<_> = of(false).collect();
        if defined.is_empty() {
            defined = of(true).collect();
        }
        for (attributes, definition) in defined {
            seen += 1;
            if is_open(definition) && !attributes.contains(&"#[non_exhaustive]") {
                if WHOLE.iter().any(|(listed, _)| *listed == name) {
                    whole.insert(name.clone());
                } else {
                    found.push(format!("{home}::{module}::{name}"));
                }
            }
        }
    }
    assert!(seen > 120, "types that the library shows, found {seen}");
    assert_none(&found, "types that the library shows are #[non_exhaustive], with a constructor where others make them, or stand in WHOLE");
    let stale: Vec<_> = WHOLE.iter().filter(|(name, _)| !whole.contains(*name)).map(|(name, _)| (*name).to_owned()).collect();
    assert_none(&stale, "types in WHOLE that need not be there");
}

#[test]
fn a_type_that_cannot_grow_is_seen() {
    let text =
        "\n/// A.\n#[derive(Debug)]\npub struct A {\n    /// One.\n    pub one: u8,\n}\n\n#[non_exhaustive]\npub enum B {\n    One,\n}\n";
    let [(attributes, a)] = &definitions(text, "A")[..] else { panic!("one") };
    assert!(is_open(a) && !attributes.contains(&"#[non_exhaustive]"));
    let [(attributes, b)] = &definitions(text, "B")[..] else { panic!("one") };
    assert!(is_open(b) && attributes.contains(&"#[non_exhaustive]"));
    assert!(!is_open("struct C {\n    pub one: u8,\n    two: u8,\n}") && !is_open("struct D(u8);") && is_open("struct E(pub [u8; 3]);"));
}
