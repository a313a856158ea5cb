//! The `edge-seg-export` command: from model folders to bundles, and how good they are.
#![forbid(unsafe_code)]

mod commands;

use std::process::ExitCode;

/// How words are given to what labels, for whoever knows `edge-seg segment`.
fn tip(error: &clap::Error) -> Option<String> {
    let is_tags = error.get(clap::error::ContextKind::InvalidArg).is_some_and(|option| option.to_string() == "--tags");
    (is_tags && std::env::args().nth(1).is_some_and(|command| command == "label"))
        .then(|| "words are given as --vocabulary FILE, one class a line".into())
}

fn main() -> ExitCode {
    let cli = match edge_seg_terminal::parse_with::<commands::Cli>(tip) {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    edge_seg_terminal::speak("edge-seg-export");
    match cli.run() {
        Ok(code) => code,
        Err(error) if edge_seg_terminal::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let told = edge_seg_terminal::told(&error);
            // The library names the field of its options.
            let told = told.strip_prefix("size_px: ").map_or(told.clone(), |said| format!("--size: {said}"));
            eprintln!("edge-seg-export: {told}");
            edge_seg_terminal::tell_typographic(&<commands::Cli as clap::CommandFactory>::command());
            ExitCode::from(2)
        }
    }
}
