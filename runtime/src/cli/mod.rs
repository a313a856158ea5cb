mod args;
mod bench;
mod config;
mod demo;
mod examples;
mod flags;
mod hide;
mod input;
mod inspect;
mod meanings;
mod output;
mod run;
mod search;
mod segment;
mod steer;
mod tags;

use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};
use edge_seg_terminal::{Completions, Manual};

use output::Outcome;

/// Type words, get masks: open-vocabulary segmentation of pictures and video, offline.
#[derive(Debug, Parser)]
#[command(name = "edge-seg", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Each works as it is, with nothing but the program.
const EXAMPLES: &str = "\
Examples:
  edge-seg demo                                                   masks on two pictures that the program carries
  edge-seg demo --tags \"animal, spoon\"                            the same for other words
  edge-seg run --source \"test:?frames=30\" --tags \"sea, wall\"      one JSON line for each frame of a test video

With pictures of your own: edge-seg segment photo.jpg --tags \"dog, grass, sky\"
Pages that are named docs/...: in the sources, and in /usr/share/doc/edge-seg by the package";

#[derive(Debug, Subcommand)]
enum Command {
    /// Segment pictures that the program carries, for a first look.
    Demo(demo::DemoArgs),
    /// Segment pictures by words: writes a mask and an overlay for each, one JSON line a picture on stdout.
    Segment(segment::SegmentArgs),
    /// Segment video by words that may change while it runs: one JSON line a frame on stdout.
    Run(Box<run::RunArgs>),
    /// Check a configuration of `run`, or print one with every option.
    Config(config::ConfigArgs),
    /// Say which words a picture shows, as JSON.
    Tags(tags::TagsArgs),
    /// Say when and where a camera saw something, or which pictures of a folder show it; exit 1 if none does.
    Search(search::SearchArgs),
    /// Show what a model bundle holds.
    Inspect(inspect::InspectArgs),
    /// Time a frame's stages, on this machine.
    Bench(bench::BenchArgs),
    /// Print what a shell needs to complete commands and options: bash, zsh, fish, elvish or powershell.
    Completions(Completions),
    /// Write a manual page for each command into a folder.
    #[command(hide = true)]
    Manual(Manual),
}

/// What the manual tells beyond the commands.
const MANUAL: &str = r#".SH EXIT STATUS
0 done, 1 a check's answer is no, 2 an error.
.SH FILES
.TP
.I /etc/edge-seg/edge-seg.toml
What the service runs: the configuration of
.BR "edge-seg run" .
.B edge-seg config default
prints every option.
.SH SEE ALSO
.BR edge-seg-fw (1),
/usr/share/doc/edge-seg/
"#;

/// What somebody meant who named a picture or a film and no command, or words without quotes.
fn tip(error: &clap::Error) -> Option<String> {
    let given = |kind| match error.get(kind) {
        Some(ContextValue::String(given)) => Some(given.clone()),
        _ => None,
    };
    let is_film = |name: &str| [".mp4", ".mkv", ".avi", ".mov", ".webm"].iter().any(|end| name.to_lowercase().ends_with(end));
    let is_source = |name: &str| is_film(name) || name.contains("://") || name.starts_with("rpicam:") || name.starts_with("/dev/video");
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let name = given(ContextKind::InvalidSubcommand).filter(|name| !name.starts_with('-'))?;
            let path = Path::new(&name);
            let is_file = path.exists() || path.extension().is_some();
            match name {
                _ if is_source(&name) => Some(format!("to segment video: edge-seg run --source {name} --tags \"dog, grass\"")),
                _ if is_file && std::env::args().nth(1).is_some_and(|first| first == "config" && first != name) => {
                    Some(format!("to check a configuration: edge-seg config check {name}"))
                }
                _ if name.ends_with(".toml") => Some(format!("to run a configuration: edge-seg run --config {name}")),
                _ if name.ends_with(".esb") => Some(format!("to see what a bundle holds: edge-seg inspect {name}")),
                _ if name.ends_with(".txt") => Some(format!("to look for a file's words: edge-seg segment PICTURE --tags-file {name}")),
                _ if is_file => Some(format!("to segment a picture: edge-seg segment {name} --tags \"dog, grass\"")),
                _ => None,
            }
        }
        ErrorKind::UnknownArgument => {
            let name = given(ContextKind::InvalidArg)?;
            if name.starts_with('-') {
                return meant(&std::env::args().nth(1)?, name.trim_start_matches('-')).map(Into::into);
            }
            let command = std::env::args().nth(1)?;
            if command == "run" && name.ends_with(".toml") {
                return Some(format!("a configuration is given as --config {name}"));
            }
            if is_source(&name) || Path::new(&name).exists() {
                return (command == "run").then(|| format!("a video is given as --source {name}"));
            }
            matches!(command.as_str(), "run" | "demo" | "segment")
                .then(|| format!("words with spaces between them stand in quotes, as --tags \"red car, dog\"; {name:?} came alone"))
        }
        _ => None,
    }
}

/// What an option of another program is called here.
fn meant(command: &str, option: &str) -> Option<&'static str> {
    let is_words = matches!(option, "words" | "word" | "classes" | "class" | "prompt" | "labels" | "label" | "tag" | "t");
    Some(match (option, command) {
        (_, "tags") if is_words || option == "tags" => {
            "words are given as --vocabulary FILE, one class a line, or --caption \"a dog on the grass\""
        }
        (_, "search") if is_words || option == "tags" => "words are given behind the index or folder: edge-seg search pictures \"dog\"",
        _ if is_words => "words are given as --tags \"dog, grass\"",
        ("output" | "out" | "o", "run") => "results are written by --overlay FILE and --masks DIR",
        ("output" | "o", "segment" | "demo") => "results are written by --out DIR",
        ("input" | "video" | "file" | "camera" | "i", "run") => "a video or camera is given as --source URI",
        ("input" | "image" | "picture" | "file" | "i", "segment" | "tags" | "bench") => "pictures are given without an option before them",
        ("threshold" | "conf" | "confidence", "segment" | "run") => "the least score of a pixel is given as --background T",
        _ => return None,
    })
}

pub fn run() -> ExitCode {
    let cli = match edge_seg_terminal::parse_with::<Cli>(tip) {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    // It has a log.
    if !matches!(cli.command, Command::Run(_)) {
        edge_seg_terminal::speak("edge-seg");
    }
    let outcome = match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Segment(args) => segment::run(&args),
        Command::Run(args) => run::run(*args),
        Command::Config(args) => config::run(&args),
        Command::Tags(args) => tags::run(&args),
        Command::Search(args) => search::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Completions(args) => args.run(Cli::command()).map(|()| Outcome::Done),
        Command::Manual(args) => args.run(Cli::command(), MANUAL).map(|()| Outcome::Done),
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::SomeFailed) => {
            edge_seg_terminal::tell_typographic(&Cli::command());
            ExitCode::from(2)
        }
        Ok(Outcome::No) => ExitCode::from(1),
        Err(e) if edge_seg_terminal::is_closed_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("edge-seg: {}", flags::told(&e));
            edge_seg_terminal::tell_typographic(&Cli::command());
            ExitCode::from(2)
        }
    }
}
