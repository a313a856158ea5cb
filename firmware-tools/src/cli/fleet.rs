//! fleet: the boards of one file.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use edge_seg_bundle::date::Date;
use edge_seg_fw::deploy::{Interrupt, OwnFolder, Payload, Phase, Remote, Verdict, in_order, render};
use edge_seg_fw::fleet::{self, Answer, Order, Publication, Published, journal};
use serde::Serialize;
use serde_json::json;

use super::keys::PasswordArgs;
use super::output::print;

#[derive(clap::Args)]
pub struct Fleet {
    /// The fleet's file
    #[arg(long, value_name = "FILE", default_value = "fleet.toml", global = true)]
    file: PathBuf,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tell what boards run
    Status(Boards),
    /// Tell what is wrong with boards; exit status 1 when something is, or one cannot be asked
    Doctor(Boards),
    /// Bring a release, or configurations alone, to boards: phase after phase, in their windows, later to those that are away
    Deploy(Box<Deploy>),
    /// Let no further board begin, in a rollout that is under way or a later one
    Pause {
        /// Why, for who reads it
        #[arg(value_name = "WHY", default_value = "by the operator")]
        why: String,
    },
    /// Take a pause back
    Resume,
    /// Tell who brought what to which boards, and when
    Journal,
    /// Write a release and boards' configurations into a folder for a web server or a USB stick, with an index that is signed
    Publish(Box<Publish>),
    /// Fetch the last lines of boards' logs, their metrics and status
    Collect {
        #[command(flatten)]
        boards: Boards,
        /// Folder that gets one for each board
        #[arg(long, value_name = "DIR", default_value = "collected")]
        into: PathBuf,
        /// Lines of each log
        #[arg(long, value_name = "N", default_value_t = 1000)]
        lines: u32,
    },
}

#[derive(clap::Args)]
struct Boards {
    /// Boards by their names in the file, and @GROUP for a group [default: all]
    #[arg(value_name = "BOARD")]
    names: Vec<String>,
}

#[derive(clap::Args)]
struct Brought {
    /// The bundle to bring; without one, the boards' own gets another configuration
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Runtime to bring with it, with its FILE.minisig
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Leave boards' configurations as they are
    #[arg(long)]
    no_config: bool,
}

impl Brought {
    fn payload(self) -> Payload {
        Payload { bundle: self.bundle, binary: self.binary, config: None }
    }
}

#[derive(clap::Args)]
struct Deploy {
    #[command(flatten)]
    boards: Boards,
    #[command(flatten)]
    brought: Brought,
    /// Bring boards back to the release before: those that run what the journal's newest rollout brought, or with --bundle or --of that
    #[arg(long, conflicts_with_all = ["binary", "allow_downgrade"])]
    rollback: bool,
    /// SHA-256 of the bundle, program or configuration that boards are brought back from
    #[arg(long, value_name = "SHA256", requires = "rollback", conflicts_with = "bundle", value_parser = super::deploy::sha256)]
    of: Option<String>,
    /// Only look, and say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Go on with the others when a board fails
    #[arg(long)]
    keep_going: bool,
    /// Accept a lower release number than a board has run
    #[arg(long)]
    allow_downgrade: bool,
    /// Leave the file's windows aside
    #[arg(long)]
    now: bool,
    /// Where phases end, in place of the file's: "1,10 %" stops after a tenth, and a later run goes on
    #[arg(long, value_name = "PHASE,...", value_delimiter = ',')]
    phases: Option<Vec<Phase>>,
    #[command(flatten)]
    password: PasswordArgs,
}

#[derive(clap::Args)]
struct Publish {
    #[command(flatten)]
    boards: Boards,
    /// The folder; what it offers to other boards stays, and its index is counted up, beyond those of other folders by the journal
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    brought: Brought,
    /// The private key that signs index and configurations [default: the file's]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Last day on which boards take this index: then one that is kept from newer ones is told
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = super::keys::date)]
    expires: Option<Date>,
    #[command(flatten)]
    password: PasswordArgs,
}

impl Fleet {
    pub fn run(self) -> Result<bool> {
        let mut fleet = fleet::Fleet::read(&self.file)?;
        fleet.target.shared = OwnFolder::for_connections();
        if let Command::Status(_) | Command::Doctor(_) | Command::Collect { .. } | Command::Deploy(_) = &self.command {
            let hosts = fleet.hosts.iter().map(|host| (host.name.as_str(), host.ssh.as_str()));
            Remote::check_distinct(&fleet.target, hosts).with_context(|| format!("{}", self.file.display()))?;
        }
        let json = self.json;
        match self.command {
            Command::Status(boards) => {
                let answers = fleet.status(&fleet.chosen(&boards.names)?);
                tell(json, &answers, fleet::render_status)?;
                Ok(answers.iter().all(|answer| answer.answer.is_ok()))
            }
            Command::Doctor(boards) => {
                let answers = fleet.doctor(&fleet.chosen(&boards.names)?);
                tell(json, &answers, fleet::render_doctor)?;
                Ok(answers.iter().all(fleet::is_healthy))
            }
            Command::Collect { boards, into, lines } => {
                let answers = fleet.collect(&fleet.chosen(&boards.names)?, &into, lines);
                tell(json, &answers, fleet::render_collected)?;
                Ok(answers.iter().all(fleet::has_log))
            }
            Command::Publish(args) => {
                if let Some(key) = args.key {
                    fleet.key = Some(key);
                }
                let publication = Publication {
                    configs: !args.brought.no_config,
                    payload: args.brought.payload(),
                    expires: args.expires,
                    password: args.password.password(),
                };
                let published = fleet.publish(&fleet.chosen(&args.boards.names)?, &args.output, &publication)?;
                let Published { index, kept, after } = &published;
                let after = after.map_or_else(String::new, |number| format!(", one more than the journal's {number},"));
                let kept = if *kept > 0 { format!(", {kept} of them as before for other boards") } else { String::new() };
                let text = format!("{}: index {}{after} with {} offers{kept}\n", args.output.display(), index.number, index.releases.len());
                said(json, &published, &text)
            }
            Command::Pause { why } => {
                fleet.pause(&why)?;
                said(json, &json!({ "paused": why }), &format!("paused: {why}: no further board begins until edge-seg-fw fleet resume\n"))
            }
            Command::Resume => {
                let why = fleet.resume()?;
                let text = why.as_ref().map_or("nothing was paused\n".into(), |why| format!("no longer paused: {why}\n"));
                said(json, &json!({ "paused": null, "was": why }), &text)
            }
            Command::Journal => {
                let entries = journal::read(&fleet.journal)?;
                match json {
                    true => print_json(&entries)?,
                    false => entries.iter().try_for_each(|entry| print(&format!("{}\n", journal::told(entry))))?,
                }
                Ok(true)
            }
            Command::Deploy(args) => {
                let hosts = fleet.chosen(&args.boards.names)?;
                ensure!(args.phases.as_ref().is_none_or(|phases| !phases.is_empty()), "--phases: expected one or more");
                in_order(args.phases.as_deref().unwrap_or_default()).context("--phases")?;
                let order = Order {
                    configs: !args.brought.no_config,
                    payload: args.brought.payload(),
                    password: args.password.password(),
                    rollback: args.rollback,
                    of: args.of,
                    dry_run: args.dry_run,
                    keep_going: args.keep_going,
                    downgrade: args.allow_downgrade,
                    at_once: args.now,
                    phases: args.phases,
                    interrupt: Interrupt::listen()?,
                };
                let rows = fleet.deploy(&hosts, &order)?;
                match json {
                    true => print_json(&rows)?,
                    false => print(&render(&rows))?,
                }
                Ok(rows.iter().all(|row| row.verdict == Verdict::Done))
            }
        }
    }
}

fn tell(json: bool, answers: &[Answer], render: impl Fn(&[Answer]) -> String) -> Result<()> {
    match json {
        true => print_json(&answers.iter().map(Answer::json).collect::<Vec<_>>()),
        false => print(&render(answers)),
    }
}

fn said(json: bool, value: &impl Serialize, text: &str) -> Result<bool> {
    match json {
        true => print(&format!("{}\n", serde_json::to_string_pretty(value)?))?,
        false => print(text)?,
    }
    Ok(true)
}

fn print_json(values: &[impl Serialize]) -> Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(values)?))
}
