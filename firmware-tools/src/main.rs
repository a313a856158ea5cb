//! The `edge-seg-fw` command line.

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
