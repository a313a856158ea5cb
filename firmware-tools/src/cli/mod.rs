//! Commands: thin layers over the library.

mod compare;
mod deploy;
mod fleet;
mod keys;
mod output;
mod pull;
mod root;
mod slots;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};
use edge_seg_fw::board::{Board, render};
use edge_seg_terminal::{Completions, Manual};

use output::print;
use root::{RootArg, host};

/// Takes edge-seg to Raspberry Pi and Jetson boards, keeps it running there, and tells what is wrong.
#[derive(Parser)]
#[command(
    name = "edge-seg-fw",
    version,
    arg_required_else_help = true,
    max_term_width = 110,
    after_help = "From the workshop to a board:
  mkdir -p ~/keys && edge-seg-fw keygen ~/keys/workshop           a key pair, once
  edge-seg-fw pack mini.esb --serial 7 --boards pi4,pi5 -o r7.esb a release
  edge-seg-fw sign r7.esb --key ~/keys/workshop
  edge-seg-fw deploy pi@camera1 --bundle r7.esb                   over ssh, with a way back
  edge-seg-fw fleet deploy --bundle r7.esb                        to all boards of fleet.toml, a few first

On the board:
  edge-seg-fw board                                               what it is, what suits it
  edge-seg-fw doctor                                              what is wrong, and what mends it
  edge-seg-fw status                                              what runs, what can be gone back to

Results go to stdout, messages to stderr. Exit status: 0 done, 1 the check failed, 2 an error."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tell what board this is, how it is doing, and which bundle and thread count suit it
    Board {
        /// Read this tree in place of the running system
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell what is wrong and the command that mends it; exit status 1 when something needs mending
    Doctor {
        #[command(flatten)]
        root: RootArg,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Keep the time of this board's inference as what it should do
        #[arg(long)]
        baseline: bool,
    },
    /// Make a key pair to sign releases with
    Keygen(keys::Keygen),
    /// Give a bundle a release number and boards
    Pack(keys::Pack),
    /// Sign a bundle, or any file beside it
    Sign(keys::Sign),
    /// Check a bundle: signature, board, contents
    Verify(keys::Verify),
    /// Install a bundle, with its binary and configuration, into the slot that does not run
    Install(slots::Install),
    /// Give the release that runs another configuration or the package's runtime, on trial, with a way back
    Reconfigure(slots::Reconfigure),
    /// Tell what runs and what the slots hold
    Status(slots::Status),
    /// Vouch for the release on trial
    MarkGood(slots::Change),
    /// Go back to the release before
    Rollback(slots::Rollback),
    /// Free the slot that does not run
    Prune(slots::Change),
    /// Bring a release to boards over ssh, or bring them back
    Deploy(deploy::Deploy),
    /// Look after many boards by one file: what they run, what is wrong, releases and configurations
    Fleet(fleet::Fleet),
    /// Fetch a release from a web server or a folder by its signed index, and install it
    Pull(pull::Pull),
    /// Have two models, or two sets of words, segment the same pictures of this board: which finds what, and how long each takes
    Compare(compare::Compare),
    /// Print the metrics of what runs here, as Prometheus reads them
    Metrics {
        #[command(flatten)]
        root: RootArg,
    },
    /// Tell whether this board would take a release, from a question on stdin (deploy asks so)
    #[command(hide = true)]
    Precheck {
        #[command(flatten)]
        root: RootArg,
    },
    /// Run the chosen release, count its healthy frames, fall back when there are none (the service does this)
    Guard(slots::Guard),
    /// Print what a shell needs to complete commands and options
    Completions(Completions),
    /// Write a manual page for each command into a folder
    #[command(hide = true)]
    Manual(Manual),
}

/// What the manual tells beyond the commands.
const MANUAL: &str = r#".SH FILES
.TP
.I /etc/edge-seg/edge-seg.toml
What the service runs: the configuration of
.BR "edge-seg run" .
.TP
.I /etc/edge-seg/keys/*.pub
Keys whose bundles this board accepts; without any, signatures are not asked for.
.TP
.I /var/lib/edge-seg
Slots, state, and what the service writes.
.SH SEE ALSO
.BR edge-seg (1),
/usr/share/doc/edge-seg/
"#;

/// Runs the command line.
pub fn run() -> ExitCode {
    let cli = match edge_seg_terminal::parse::<Cli>() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    match dispatch(cli.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) if edge_seg_terminal::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edge-seg-fw: {}", edge_seg_terminal::told(&error));
            edge_seg_terminal::tell_typographic(&Cli::command());
            ExitCode::from(2)
        }
    }
}

/// Runs a command; `false` is a negative answer.
fn dispatch(command: Command) -> Result<bool> {
    match command {
        Command::Board { root, json } => {
            let board = Board::read(&host(root)?);
            match json {
                true => print(&format!("{}\n", serde_json::to_string_pretty(&board)?))?,
                false => print(&render(&board))?,
            }
            Ok(true)
        }
        Command::Doctor { root, json, baseline } => doctor(&root, json, baseline),
        Command::Keygen(args) => args.run(),
        Command::Pack(args) => args.run(),
        Command::Sign(args) => args.run(),
        Command::Verify(args) => args.run(),
        Command::Install(args) => args.run(),
        Command::Reconfigure(args) => args.run(),
        Command::Status(args) => args.run(),
        Command::MarkGood(args) => args.run(edge_seg_fw::slots::Event::MarkGood),
        Command::Rollback(args) => args.run(),
        Command::Prune(args) => args.run(edge_seg_fw::slots::Event::Prune),
        Command::Deploy(args) => args.run(),
        Command::Fleet(args) => args.run(),
        Command::Pull(args) => args.run(),
        Command::Compare(args) => args.run(),
        Command::Metrics { root } => {
            let paths = root.paths()?;
            paths.check_root()?;
            print(&String::from_utf8_lossy(&edge_seg_fw::page::Page::of(&paths)?.get("/metrics")?))?;
            Ok(true)
        }
        Command::Precheck { root } => {
            let refused = edge_seg_fw::precheck::answer(&root.paths()?, &Board::read(&root.host()?), std::io::stdin().lock())?;
            print(&format!("{}\n", serde_json::json!({ "refused": refused })))?;
            Ok(refused.is_none())
        }
        Command::Guard(args) => args.run(),
        Command::Completions(args) => args.run(Cli::command()).map(|()| true),
        Command::Manual(args) => args.run(Cli::command(), MANUAL).map(|()| true),
    }
}

fn doctor(root: &RootArg, json: bool, baseline: bool) -> Result<bool> {
    let paths = root.paths()?;
    if baseline {
        eprintln!("edge-seg-fw: the baseline is {:.0} ms", edge_seg_fw::doctor::record_baseline(&paths)?);
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    let findings = edge_seg_fw::doctor::examine(&root.host()?, &paths, now);
    match json {
        true => print(&format!("{}\n", serde_json::to_string_pretty(&findings)?))?,
        false => print(&edge_seg_fw::doctor::render(&findings))?,
    }
    Ok(edge_seg_fw::doctor::is_healthy(&findings))
}
