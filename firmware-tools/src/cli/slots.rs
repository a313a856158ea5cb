//! install, status, mark-good, rollback, prune, guard.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use edge_seg_fw::board::Board;
use edge_seg_fw::fleet::MOST_MINUTES;
use edge_seg_fw::history;
use edge_seg_fw::install::{self, Request, RolledBack};
use edge_seg_fw::paths::Paths;
use edge_seg_fw::service::ran_within;
use edge_seg_fw::slots::machine::{PROGRAM, Trial, describe, running};
use edge_seg_fw::slots::{Bar, Event, Outcome, Slot, State, Status as SlotStatus};
use edge_seg_fw::supervisor::{self, End};
use edge_seg_fw::{deploy, doctor};
use serde_json::json;

use super::output::print;
use super::root::RootArg;

#[derive(clap::Args)]
pub struct Install {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Runtime to install with it, signed in FILE.minisig where keys are trusted [default: the one that runs]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Install the package's runtime with it, even where a release runs another
    #[arg(long, conflicts_with = "binary")]
    packaged: bool,
    /// Configuration to install with it [default: the one that runs]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Accept a lower release number than this board has run, or another bundle under the number that it runs
    #[arg(long)]
    allow_downgrade: bool,
    #[command(flatten)]
    trial: TrialArgs,
    /// Restart the service afterwards
    #[arg(long)]
    restart: bool,
    #[command(flatten)]
    root: RootArg,
}

/// How a release proves itself.
#[derive(Debug, clap::Args)]
pub struct TrialArgs {
    /// Healthy frames of one start that make the release good
    #[arg(long, value_name = "N", default_value_t = Trial::default().frames, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    trial_frames: u64,
    /// Starts in which it must become good; then the board goes back
    #[arg(long, value_name = "N", default_value_t = Trial::default().starts, value_parser = clap::value_parser!(u32).range(1..=100))]
    trial_starts: u32,
    /// Minutes that it must run as well, from its first frame on
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=i64::from(MOST_MINUTES)))]
    trial_minutes: u32,
    /// Most milliseconds that 95 of 100 frames may take; 0 asks nothing
    #[arg(long, value_name = "MS", default_value_t = 0)]
    trial_p95_ms: u32,
    /// Most MiB that its memory may grow by, from a quarter of the trial on; 0 asks nothing
    #[arg(long, value_name = "MIB", default_value_t = 0)]
    trial_growth_mib: u32,
}

impl From<TrialArgs> for Trial {
    fn from(args: TrialArgs) -> Self {
        let bar = Bar { minutes: args.trial_minutes, p95_ms: args.trial_p95_ms, growth_mib: args.trial_growth_mib };
        Trial { starts: args.trial_starts, frames: args.trial_frames, bar }
    }
}

impl Install {
    pub fn run(self) -> Result<bool> {
        let paths = self.root.paths_to_change()?;
        let board = Board::read(&self.root.host()?);
        let request = Request {
            bundle: Some(self.bundle),
            binary: self.binary,
            packaged: self.packaged,
            config: self.config,
            downgrade: self.allow_downgrade,
            trial: self.trial.into(),
            own: false,
        };
        installed(&install::install(&paths, &board, &request)?, self.restart)
    }
}

/// Installs what runs once more, with another configuration or the package's runtime, on trial as every release.
#[derive(clap::Args)]
pub struct Reconfigure {
    /// The new configuration
    #[arg(value_name = "FILE", required_unless_present_any = ["packaged", "binary"])]
    config: Option<PathBuf>,
    /// Take the package's runtime in place of the one that runs
    #[arg(long)]
    packaged: bool,
    /// Take this runtime, signed in FILE.minisig where keys are trusted, in place of the one that runs
    #[arg(long, value_name = "FILE", conflicts_with = "packaged")]
    binary: Option<PathBuf>,
    #[command(flatten)]
    trial: TrialArgs,
    /// Restart the service afterwards
    #[arg(long)]
    restart: bool,
    #[command(flatten)]
    root: RootArg,
}

impl Reconfigure {
    pub fn run(self) -> Result<bool> {
        let paths = self.root.paths_to_change()?;
        let state = paths.slots().load()?;
        if state.current.is_none() {
            eprintln!("edge-seg-fw: no release is installed: the packaged one reads {}; edit that", paths.config.display());
            return Ok(false);
        }
        let board = Board::read(&self.root.host()?);
        let (config, packaged, trial) = (self.config, self.packaged, self.trial.into());
        let request = Request { bundle: None, binary: self.binary, packaged, config, downgrade: true, trial, own: false };
        installed(&install::install(&paths, &board, &request)?, self.restart)
    }
}

/// Tells what came of an installation, and starts it where that is asked for: what is on trial already goes on, for a restart would cost
/// it a start.
pub fn installed(outcome: &Outcome, and_start: bool) -> Result<bool> {
    let done = tell(outcome)?;
    if done && and_start {
        service(if outcome.under_way { "start" } else { "restart" })?;
    }
    Ok(done)
}

/// Asks the service manager for a start, whose own call lasts until the first frame: a camera that is off would hold up whoever waits,
/// and the start goes on without it.
fn service(verb: &str) -> Result<()> {
    let asked = format!("systemctl {verb} {SERVICE}");
    let mut command = std::process::Command::new("systemctl");
    let status = match ran_within(command.args([verb, SERVICE]).stdin(Stdio::null()), START_LIMIT).with_context(|| asked.clone())? {
        Some(status) => status,
        None => {
            eprintln!(
                "edge-seg-fw: {asked}: no frame within {} s, and the start goes on; see: edge-seg-fw status, journalctl -u {SERVICE} -n 50",
                START_LIMIT.as_secs()
            );
            return Ok(());
        }
    };
    ensure!(status.success(), "{asked}: {status}; see: journalctl -u {SERVICE} -n 50");
    Ok(())
}

fn tell(outcome: &Outcome) -> Result<bool> {
    for report in &outcome.reports {
        print(&format!("{report}\n"))?;
    }
    if let Some(why) = &outcome.refused {
        eprintln!("edge-seg-fw: refused: {why}");
    }
    Ok(outcome.refused.is_none())
}

#[derive(clap::Args)]
pub struct Change {
    /// Restart the service afterwards
    #[arg(long)]
    restart: bool,
    #[command(flatten)]
    root: RootArg,
}

impl Change {
    pub fn run(self, event: Event) -> Result<bool> {
        let done = tell(&install::feed(&self.root.paths_to_change()?, event, &history::caller())?)?;
        if done && self.restart {
            service("restart")?;
        }
        Ok(done)
    }
}

#[derive(clap::Args)]
pub struct Rollback {
    /// Only where what runs holds a file of this SHA-256; several must all be held
    #[arg(long, value_name = "SHA256")]
    of: Vec<String>,
    /// Only while what runs is on trial
    #[arg(long)]
    on_trial: bool,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    change: Change,
}

impl Rollback {
    pub fn run(self) -> Result<bool> {
        let asked = install::Rollback { of: self.of, on_trial: self.on_trial, dry_run: self.dry_run };
        let root = &self.change.root;
        let paths = if self.dry_run { root.paths()? } else { root.paths_to_change()? };
        match install::rollback(&paths, &asked, &history::caller())? {
            RolledBack::LeftAlone(what) | RolledBack::Would(what) => print(&format!("{what}\n")).map(|()| true),
            RolledBack::Done(outcome) => {
                let done = tell(&outcome)?;
                if done && self.change.restart {
                    service("restart")?;
                }
                Ok(done)
            }
        }
    }
}

#[derive(clap::Args)]
pub struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Wait until no release is on trial, for this many seconds at most
    #[arg(long, value_name = "S", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    until_settled: u64,
    #[command(flatten)]
    root: RootArg,
}

const SERVICE: &str = "edge-seg.service";
/// How long a start is waited for: by then the run before has ended, and most first frames are there.
const START_LIMIT: Duration = Duration::from_secs(15);
const SETTLED_EVERY: Duration = Duration::from_millis(100);
/// Entries of the history that are shown.
const SHOWN: usize = 5;

impl Status {
    pub fn run(self) -> Result<bool> {
        let paths: Paths = self.root.paths()?;
        let mut slots = paths.slots();
        let end = Instant::now() + Duration::from_secs(self.until_settled);
        let mut state = slots.load()?;
        let on_trial = |state: &State| state.current.is_some_and(|slot| matches!(state.slot(slot).status, SlotStatus::Pending { .. }));
        while on_trial(&state) && Instant::now() < end {
            std::thread::sleep(SETTLED_EVERY);
            state = slots.load()?;
        }
        // What a board runs is told whatever has become of its history.
        let history = history::read(slots.disk(), &paths.state).unwrap_or_else(|error| {
            eprintln!("edge-seg-fw: the history: {error}");
            Vec::new()
        });
        let signed = paths.demands_signatures();
        let version = |slot: Slot| {
            let folder = slots.folder(slot);
            state.slot(slot).release.as_ref().and_then(|_| paths.version_of(&folder.join(PROGRAM)))
        };
        let versions = [paths.version_of(&paths.packaged), version(Slot::A), version(Slot::B)];
        let other_program = state.current.and_then(|slot| paths.packages_another_program(state.slot(slot).release.as_ref()?));
        let host = self.root.host()?;
        let service = doctor::service_state(&host);
        if self.json {
            let [packaged, a, b] = &versions;
            let json = json!({
                "current": state.current.map(Slot::name),
                "packaged_stands_in": state.packaged.stands_in,
                "fell_back": state.fallen_from().map(|slot| json!({ "from": slot.name() })),
                "floor": state.floor,
                "trial": state.trial,
                "a": state.a,
                "b": state.b,
                "signatures": signed.as_ref().ok(),
                "versions": { "packaged": packaged, "a": a, "b": b },
                "other_program_packaged": other_program,
                "started": state.started,
                "service": service,
                "machine": install::machine(&host),
                "board": install::board_names(&Board::read(&host)),
                "history": history,
            });
            print(&format!("{}\n", serde_json::to_string_pretty(&json)?))?;
            return Ok(true);
        }
        let [packaged, a, b] = versions.map(|version| version.map_or(String::new(), |version| format!(", program {version}")));
        let stands = service.filter(|state| deploy::is_stopped(state)).map_or(String::new(), |state| format!(" (the service is {state})"));
        print(&format!("runs    {}{stands}\n", running(&state)))?;
        print(&format!("slot a  {}{a}\nslot b  {}{b}\n", describe(&state, Slot::A), describe(&state, Slot::B)))?;
        let beside = match (other_program, state.current) {
            (Some(true), Some(slot)) => format!(", not that of slot {}: {}", slot.name(), doctor::take_packaged(&state)),
            _ => String::new(),
        };
        print(&format!("package{packaged}{beside}\n").replace("package, ", "package "))?;
        let signed = match signed {
            Ok(true) => "asked for".into(),
            Ok(false) => "not asked for: no key is trusted".into(),
            Err(error) => format!("cannot tell: {error:#}"),
        };
        print(&format!("serials from {} on; signatures {signed}\n", state.floor))?;
        for entry in &history[history.len().saturating_sub(SHOWN)..] {
            print(&format!("{}  {}: {}\n", entry.time, entry.who, entry.what))?;
        }
        Ok(true)
    }
}

#[derive(clap::Args)]
pub struct Guard {
    /// Seconds that the first frame may take: a model on a slow card, a camera that wakes up
    #[arg(long, value_name = "S", default_value_t = 170, value_parser = clap::value_parser!(u64).range(1..=3600))]
    first: u64,
    /// Seconds without a frame after which the runtime counts as hung and is stopped
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    stall: u64,
    #[command(flatten)]
    root: RootArg,
}

impl Guard {
    pub fn run(self) -> Result<bool> {
        match supervisor::run(&self.root.paths()?, Duration::from_secs(self.first), Duration::from_secs(self.stall))? {
            End::Exited { success, how } => {
                eprintln!("edge-seg-fw: {how}");
                Ok(success)
            }
            End::Stalled { seconds } => {
                eprintln!("edge-seg-fw: no frame for {seconds} s: the runtime was stopped");
                Ok(false)
            }
            End::Stopped { signal } => {
                // Who looks at how this process ended is to find the stop.
                signal_hook::low_level::emulate_default_handler(signal)?;
                Ok(true)
            }
            End::GivesWay { how } => {
                eprintln!("edge-seg-fw: {how}");
                Ok(false)
            }
            End::Poor { why } => {
                eprintln!("edge-seg-fw: it does not do what its trial asks, and was stopped: {why}");
                Ok(false)
            }
        }
    }
}
