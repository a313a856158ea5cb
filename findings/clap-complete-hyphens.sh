#!/usr/bin/env bash
# Completions for bash of a program with a hyphen in its name know its commands, and none of their options.
#
# Expected: `my-tool run --sou<TAB>` completes to `--source`, as `mytool run --sou<TAB>` does.
# Real (clap_complete 4.6.12): a command's options are listed under `my__subcmd__tool__subcmd__run` and looked for under
#   `my__tool__subcmd__run`: the generator puts the separator of commands in place of the name's hyphen in one of two places.
#   Nothing is offered, and no error said. zsh and fish are not concerned.
# What works: one spelling for both, put in after the generator (`of_one_name` in runtime/terminal/src/lib.rs).
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
clap_complete = "=4.6.12"
[workspace]
TOML
cat > src/main.rs <<'RUST'
use clap::{Arg, Command};
fn main() {
    let name = std::env::args().nth(1).unwrap();
    let run = Command::new("run").arg(Arg::new("source").long("source"));
    clap_complete::generate(clap_complete::Shell::Bash, &mut Command::new("tool").subcommand(run), name, &mut std::io::stdout());
}
RUST
cargo build --quiet
cargo tree --quiet --depth 1 | grep clap

# What bash offers for `NAME run --sou`.
offered() {
    "${CARGO_TARGET_DIR:-target}/debug/script" "$1" > script.bash
    bash --noprofile --norc -c 'source script.bash; COMP_WORDS=("$1" run --sou); COMP_CWORD=2; function=$(complete -p "$1"); function=${function#*-F }
        ${function%% *} "$1" --sou run; printf "%s" "${COMPREPLY[*]}"' bash "$1"
}
plain=$(offered mytool)
hyphen=$(offered my-tool)
echo "mytool run --sou:  ${plain:-nothing}"
echo "my-tool run --sou: ${hyphen:-nothing}"
[ "$plain" = --source ] && [ -z "$hyphen" ] || {
    echo "this has changed"
    exit 1
}
