#!/usr/bin/env bash
# An option that requires another is accepted without it, and without a word, where a third one is given that conflicts with what it requires.
#
# Expected: with `--stop-words` that requires `--caption`, and `--caption` in conflict with `--tags`, `--tags x --stop-words` is an error,
#   as `--stop-words` alone is. The documentation of `Arg::requires` says that leaving out what is required is an error.
# Real (clap 4.6.7): status 0. What conflicts with something that is given counts as "may be left out", for `requires` as for `required`
#   (`is_missing_required_ok` in clap_builder's validator), so the option is read and does nothing.
# What works: `conflicts_with` for the first option as well, or a check of one's own behind the parser.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "script"
version = "0.1.0"
edition = "2024"
[dependencies]
clap = { version = "=4.6.7", default-features = false, features = ["std"] }
[workspace]
TOML
cat > src/main.rs <<'RUST'
use clap::{Arg, ArgAction, Command};
fn main() {
    let matches = Command::new("script")
        .arg(Arg::new("tags").long("tags"))
        .arg(Arg::new("caption").long("caption").conflicts_with("tags"))
        .arg(Arg::new("stop-words").long("stop-words").action(ArgAction::SetTrue).requires("caption"))
        .try_get_matches();
    match matches {
        Ok(matches) => println!("accepted, stop-words {}, caption {:?}", matches.get_flag("stop-words"), matches.get_one::<String>("caption")),
        Err(error) => println!("{:?}", error.kind()),
    }
}
RUST
cargo build --quiet
cargo tree --quiet --depth 1 | grep clap

said() { "${CARGO_TARGET_DIR:-target}/debug/script" "$@"; }
alone=$(said --stop-words)
beside=$(said --tags x --stop-words)
echo "--stop-words:          $alone"
echo "--tags x --stop-words: $beside"
[ "$alone" = MissingRequiredArgument ] && [ "$beside" = "accepted, stop-words true, caption None" ] || {
    echo "this has changed"
    exit 1
}
