//! What developers run: `cargo xtask check|test|bench|book|semver|fuzz|faults`. Needs cargo alone; `check` runs Python's part where there is a Python.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
cargo xtask COMMAND

  check           format, lints, API documentation, links of README and book; before each commit
  test [FILTER]   all tests but the soak, or those whose name contains FILTER
  bench [ARGS]    each stage's time on this machine (edge-seg bench ARGS)
  book            the book, to target/book (needs: cargo install mdbook --locked)
  semver [REVISION]  what breaks programs that were built on the library at this revision, without it at the last
                  release's tag; before each release (needs: cargo install cargo-semver-checks --locked)
  fuzz [SECONDS [TARGET...]]  each reader of what strangers write under libFuzzer, or those named, for so long each [60]
                  (needs a C++ compiler)
  faults [COUNT [FIRST]]  schedules of faults, numbers FIRST and on: full disks, interrupted and killed programs [10000, from 1];
                  each number is the same whenever it is run (needs cc, strace, ffmpeg)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if std::env::var_os(AS_RUSTC).is_some() {
        return rustc(&arguments);
    }
    let (command, rest) = arguments.split_first().map_or(("help", &[][..]), |(command, rest)| (command.as_str(), rest));
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let done = match command {
        "check" => check(),
        "test" => test(&rest),
        "bench" => cargo(&[&["run", "--release", "--bin", "edge-seg", "--", "bench"], &rest[..]].concat()),
        "book" => run("mdbook", &["build", "docs"], &[], "cargo install mdbook --locked"),
        "semver" => semver(&rest),
        "fuzz" => fuzz(&rest),
        "faults" => faults(&rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(format!("expected check, test, bench, book, semver, fuzz or faults, found {other:?}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

fn check() -> Result<(), String> {
    cargo(&["fmt", "--all", "--check"])?;
    python(&["tests/python/check_links.py"])?;
    cargo(&["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    let doc = ["doc", "--release", "--workspace", "--no-deps", "--document-private-items", "--quiet"];
    run(&cargo_path(), &doc, &[("RUSTDOCFLAGS", "-D warnings")], "rustup")
}

fn test(rest: &[&str]) -> Result<(), String> {
    cargo(&[&["test", "--release", "--workspace", "--"], rest, &["--skip", "a_long_run"]].concat())
}

/// The crates whose items the library's face names: their own faces are checked, for the tool does not look through re-exports.
const LIBRARY: [&str; 4] = ["edge-seg", "edge-seg-bundle", "edge-seg-live", "edge-seg-model"];

fn semver(rest: &[&str]) -> Result<(), String> {
    let baseline = match rest {
        [] => last_release()?,
        [revision] => commit(revision)?,
        more => return Err(format!("semver: expected one revision at most, found {}", more.len())),
    };
    let packages = LIBRARY.iter().flat_map(|name| ["--package", name]);
    let arguments: Vec<&str> = ["semver-checks", "--default-features", "--baseline-rev", &baseline].into_iter().chain(packages).collect();
    run("cargo-semver-checks", &arguments, &[], "cargo install cargo-semver-checks --locked")
}

/// Set where cargo calls this program in rustc's place.
const AS_RUSTC: &str = "EDGE_SEG_FUZZ_RUSTC";
/// LLVM's coverage as libFuzzer reads it.
const COVERAGE: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions=on",
];

/// rustc, which counts what our crates run through: with the engine counted too, libFuzzer is ten times slower.
fn rustc(arguments: &[String]) -> ExitCode {
    let Some((rustc, rest)) = arguments.split_first() else { return ExitCode::FAILURE };
    let named = rest.iter().skip_while(|argument| *argument != "--crate-name").nth(1);
    let ours = named.is_some_and(|name| name.starts_with("edge_seg") || name == "fuzz_target");
    let coverage = if ours { &COVERAGE[..] } else { &[] };
    match Command::new(rustc).args(rest).args(coverage).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("{rustc} cannot be started ({e})");
            ExitCode::FAILURE
        }
    }
}

/// What it finds stays in `tests/fuzz/corpus` for the next run, and what fails in `tests/fuzz/artifacts`.
fn fuzz(rest: &[&str]) -> Result<(), String> {
    let (seconds, wanted) = rest.split_first().map_or(("60", &[][..]), |(first, rest)| (*first, rest));
    seconds.parse::<u32>().map_err(|_| format!("fuzz: expected seconds for each target, found {seconds:?}"))?;
    let folder = root().join("tests/fuzz");
    let table = std::fs::read_to_string(folder.join("targets.rs")).map_err(|e| format!("targets.rs: {e}"))?;
    let known: Vec<&str> =
        table.lines().filter_map(|line| line.trim().strip_prefix("Target { name: \"")?.split_once('"')).map(|(name, _)| name).collect();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(name)) {
        return Err(format!("fuzz: expected some of {}, found {unknown:?}", known.join(", ")));
    }
    let this = std::env::current_exe().map_err(|e| format!("fuzz: {e}"))?.display().to_string();
    let built = folder.join("target").display().to_string();
    let build = ["build", "--release", "--manifest-path", "tests/fuzz/Cargo.toml"];
    run(&cargo_path(), &build, &[("RUSTC_WRAPPER", &this), (AS_RUSTC, "1"), ("CARGO_TARGET_DIR", &built)], "rustup")?;
    let program = folder.join("target/release/fuzz_target").display().to_string();
    for name in known.iter().filter(|name| wanted.is_empty() || wanted.contains(name)) {
        let [corpus, artifacts] = ["corpus", "artifacts"].map(|kind| folder.join(kind).join(name));
        for kept in [&corpus, &artifacts] {
            std::fs::create_dir_all(kept).map_err(|e| format!("{}: {e}", kept.display()))?;
        }
        let (corpus, found) = (corpus.display().to_string(), format!("-artifact_prefix={}/", artifacts.display()));
        let time = format!("-max_total_time={seconds}");
        let limits = [&corpus, &found, &time, "-max_len=65536", "-rss_limit_mb=2048", "-timeout=20", "-print_final_stats=1"];
        run(&program, &limits, &[("EDGE_SEG_FUZZ", *name), ("EDGE_SEG_FUZZ_SEEDS", &corpus)], "cargo")?;
    }
    Ok(())
}

fn faults(rest: &[&str]) -> Result<(), String> {
    let [count, first] = [(0, "10000"), (1, "1")].map(|(at, otherwise)| *rest.get(at).unwrap_or(&otherwise));
    if let Some(wrong) = [count, first].iter().find(|text| text.parse::<u64>().is_err()) {
        return Err(format!("faults: expected how many schedules and the first one's number, found {wrong:?}"));
    }
    let wanted = [("EDGE_SEG_FAULTS", count), ("EDGE_SEG_FAULTS_FIRST", first), ("EDGE_SEG_TESTS_REQUIRE", "all")];
    run(&cargo_path(), &["test", "--release", "--workspace", "--test", "faults", "--", "--nocapture"], &wanted, "rustup")
}

/// What there is to compare with where nothing is said: crates are published nowhere, so a release is a tag.
fn last_release() -> Result<String, String> {
    git(&["describe", "--tags", "--abbrev=0", "--match", "v[0-9]*"])?.ok_or_else(|| {
        "semver: no release is tagged (v0.1.0, ...) before this commit, so there is nothing to compare with; name a revision".into()
    })
}

fn commit(revision: &str) -> Result<String, String> {
    git(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{revision}^{{commit}}")])?
        .ok_or_else(|| format!("semver: expected a tag or another revision of this repository, found {revision:?}"))
}

/// What git answers; none if it knows nothing.
fn git(arguments: &[&str]) -> Result<Option<String>, String> {
    let output = Command::new("git").args(arguments).current_dir(root()).output().map_err(|e| format!("git cannot be started ({e})"))?;
    Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().into()))
}

fn cargo(arguments: &[&str]) -> Result<(), String> {
    run(&cargo_path(), arguments, &[], "rustup")
}

fn python(arguments: &[&str]) -> Result<(), String> {
    run("python3", arguments, &[], "your system's package manager")
}

/// The cargo that runs this.
fn cargo_path() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".into())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs a program in the repository's root, its output where ours goes.
fn run(program: &str, arguments: &[&str], variables: &[(&str, &str)], from: &str) -> Result<(), String> {
    let name = Path::new(program).file_name().map_or(program.into(), |name| name.to_string_lossy());
    let told = format!("{name} {}", arguments.join(" "));
    eprintln!("+ {told}");
    let status = Command::new(program)
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(root())
        .status()
        .map_err(|e| format!("{program} cannot be started ({e}); get it from {from}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{told}` failed ({status})")) }
}
