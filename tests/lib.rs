//! Shared helpers of the tests. They need the standard library and a reader of JSON: a test links no more than it names itself.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

mod place;
pub mod schema;

pub use place::root;

/// A picture of `examples/pictures`.
pub fn picture(name: &str) -> PathBuf {
    root().join("examples/pictures").join(name)
}

/// Whether a test's need was found on this machine. A test that lacks it says so and ends, unless the environment asks for every test
/// to run, as CI's does.
///
/// # Panics
/// If it was not found and the environment says `EDGE_SEG_TESTS_REQUIRE=all`.
pub fn need(what: &str, found: bool) -> bool {
    if !found {
        let required = std::env::var_os("EDGE_SEG_TESTS_REQUIRE").is_some_and(|which| which == "all");
        assert!(!required, "EDGE_SEG_TESTS_REQUIRE=all: expected {what}, found none; install it, or unset the variable");
        skipped(&format!("no {what}"));
    }
    found
}

/// As [`need`], for what CI cannot have: without it the test says so and ends everywhere.
pub fn may_lack(what: &str, reason: &str, found: bool) -> bool {
    if !found {
        skipped(&format!("no {what} ({reason})"));
    }
    found
}

fn skipped(why: &str) {
    eprintln!("{}: skipped, {why}", std::thread::current().name().unwrap_or("a test"));
}

/// As [`need`], for a program on the search path, or at a path of its own.
///
/// # Panics
/// As [`need`].
pub fn need_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    need(name, std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

/// The reference data: `EDGE_SEG_DATA`, or `shared/data` beside the checkout.
pub fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("EDGE_SEG_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from);
    let reason = "others' files, which the repository may not hold; set EDGE_SEG_DATA";
    may_lack("reference data", reason, folder.is_dir()).then_some(folder)
}

/// A binary of the workspace, built if need be, with the profile that the tests run in.
///
/// # Panics
/// If it does not build.
pub fn binary(name: &str) -> PathBuf {
    binary_with(name, &[])
}

/// As [`binary`], with features of the workspace's packages. It lies where the one without them does: copy it before it is built again.
///
/// # Panics
/// If it does not build.
pub fn binary_with(name: &str, features: &[&str]) -> PathBuf {
    built("--bin", name, features)
}

/// An example of the workspace, as [`binary`].
///
/// # Panics
/// If it does not build.
pub fn example(name: &str) -> PathBuf {
    built("--example", name, &[])
}

fn built(kind: &str, name: &str, features: &[&str]) -> PathBuf {
    static BUILT: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(|e| e.into_inner());
    let built = built.get_or_insert_default();
    let key = format!("{kind} {name} {}", features.join(" "));
    if let Some(path) = built.get(&key) {
        return path.clone();
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).args(["build", "--quiet", "--message-format=json", kind, name]);
    cargo.args(features.iter().flat_map(|feature| ["--features", feature]));
    // Cargo tells a test of its package, and a build script that reads such a variable (ring's) would run again, with all that hangs on it.
    for (variable, _) in std::env::vars_os() {
        if variable.to_str().is_some_and(|v| v.starts_with("CARGO_PKG_") || v.starts_with("CARGO_MANIFEST_")) {
            cargo.env_remove(variable);
        }
    }
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the executable");
    built.insert(key, path.clone());
    path
}

/// A test's name as the harness has it, for a test that starts itself; `module` is the `module_path!()` of its place.
pub fn test_name(module: &str, test: &str) -> String {
    module.split_once("::").map_or_else(|| test.into(), |(_, module)| format!("{module}::{test}"))
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit status; -1 if a signal ended it.
    pub code: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Ended {
    /// The JSON lines of stdout.
    ///
    /// # Panics
    /// If a line is not JSON.
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line:?}"))).collect()
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into(),
            stderr: String::from_utf8_lossy(&output.stderr).into(),
        }
    }
}

/// Runs `edge-seg` with these arguments in a folder. What it tells as JSON is held against the schema, by every test that runs it.
///
/// # Panics
/// If it cannot be started, or tells what the schema does not say.
pub fn edge_seg(folder: &Path, arguments: &[&str]) -> Ended {
    let ended: Ended = Command::new(binary("edge-seg")).current_dir(folder).args(arguments).output().expect("edge-seg starts").into();
    schema::check_lines(arguments, &ended.stdout);
    ended
}
