//! Runs the release that the slots choose, counts its frames, and speaks to systemd.
//!
//! The runtime prints one line of JSON for each frame. Lines without an `error` are healthy frames: the first says that the
//! service is up, each feeds the watchdog, and enough of them make a release on trial good. A runtime that hangs is stopped, one
//! that ends is reported; the service manager starts the supervisor again, and the slots count the start.
//!
//! The supervisor is root, for the slots are root's; the runtime runs as the owner of the service's folder.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::board::Host;
use crate::health::{Health, Watch};
use crate::history;
use crate::install;
use crate::paths::{Paths, SERVICE};
use crate::service::{self, User};
use crate::slots::machine::{self, BUNDLE, CONFIG, Ending, PROGRAM, Packaged, Release, Trial};
use crate::slots::{Bar, Event, Slot, Status};
use crate::source;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The runtime ended by itself, well or not.
    Exited {
        /// Whether it said that all was well.
        success: bool,
        /// In words.
        how: String,
    },
    /// No frame came for too long, and it was stopped.
    Stalled {
        /// How long, in seconds.
        seconds: u64,
    },
    /// It has worked in place of what is wanted, and was stopped so that that one is tried again.
    GivesWay {
        /// In words.
        how: String,
    },
    /// It was on trial, did not do what is asked of it, and was stopped.
    Poor {
        /// Why.
        why: String,
    },
    /// Somebody stopped it: the operator, or the system as it goes down.
    Stopped {
        /// The signal that asked for it.
        signal: i32,
    },
}

/// No frame's report is longer.
const LONGEST_LINE_BYTES: u64 = 16 << 20;

/// The signal that asks this process to end, once there is one.
#[derive(Debug, Clone)]
struct Stop(Arc<AtomicUsize>);

/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Signals for all processes of a service come to this one within that time of the runtime's end by them.
const SIGNAL_TAKES: Duration = Duration::from_millis(100);
/// How long the runtime may take to end where the service manager has asked it as well: asked twice, it would not finish its files.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

impl Stop {
    fn listen() -> Result<Stop> {
        let stop = Stop(Arc::default());
        for signal in [SIGINT, SIGTERM] {
            let number = usize::try_from(signal).unwrap_or_default();
            signal_hook::flag::register_usize(signal, stop.0.clone(), number).context("signals")?;
        }
        Ok(stop)
    }

    fn asked(&self) -> Option<i32> {
        i32::try_from(self.0.load(Ordering::Relaxed)).ok().filter(|signal| *signal != 0)
    }

    /// Whether a runtime ended for it. What a crash or a lack of memory has killed did not.
    fn ended(&self, status: ExitStatus) -> Option<i32> {
        if status.signal().is_some_and(|signal| ![SIGINT, SIGTERM].contains(&signal)) {
            return None;
        }
        if !status.success() && self.asked().is_none() {
            std::thread::sleep(SIGNAL_TAKES);
        }
        self.asked()
    }

    /// What comes of a runtime within `patience`.
    fn next(&self, lines: &mpsc::Receiver<String>, patience: Duration) -> Next {
        let end = Instant::now() + patience;
        loop {
            if let Some(signal) = self.asked() {
                return Next::Stop(signal);
            }
            let left = end.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left.min(LOOK_EVERY)) {
                Ok(line) => return Next::Line(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Next::End,
                Err(mpsc::RecvTimeoutError::Timeout) if left.is_zero() => return Next::Silence,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

enum Next {
    Line(String),
    Silence,
    End,
    Stop(i32),
}

/// Lets a runtime end that somebody wants stopped; how it did, where it did not end by itself before.
fn finish(child: &mut Child, lines: &mpsc::Receiver<String>) -> Result<ExitStatus> {
    let is_managed = std::env::var_os("NOTIFY_SOCKET").is_some();
    for wait in [if is_managed { ENDS_WITHIN } else { Duration::ZERO }, ENDS_WITHIN / 4] {
        let end = Instant::now() + wait;
        loop {
            lines.try_iter().for_each(|line| _ = writeln!(std::io::stdout(), "{line}"));
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                break;
            }
            std::thread::sleep(SIGNAL_TAKES);
        }
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::TERM);
    }
    let _ = child.kill();
    Ok(child.wait()?)
}

/// How long a release has worked in place of another, as far as the slots have been told: a start of its own begins with what was kept.
struct Ledger {
    counts: bool,
    told: Duration,
}

impl Ledger {
    /// Whole seconds that are to be told by now, with its `end` all that are left. A power cut loses a minute at first and never more than
    /// ten, for no more than eight writes in the first ten minutes and six an hour later.
    fn due(&mut self, confirmed: bool, worked: Duration, end: bool) -> u64 {
        let untold = worked.saturating_sub(self.told);
        let every = (self.told / 4).clamp(Duration::from_secs(60), Duration::from_secs(600));
        if !confirmed || !self.counts || !(end || untold >= every) {
            return 0;
        }
        self.told += Duration::from_secs(untold.as_secs());
        untold.as_secs()
    }
}

/// What ends badly before it has worked so long is no better than what fails to start: longer than starts ever wait, so that they do not
/// come faster by it.
const SOON: Duration = Duration::from_secs(300);

/// Starts what the slots choose and stays with it until it ends, sends no first frame within `first`, or no other for `stall`.
///
/// # Errors
/// When the runtime cannot be started. Slots that cannot be read or written are told, and what can run runs.
pub fn run(paths: &Paths, first: Duration, stall: Duration) -> Result<End> {
    paths.check_root()?;
    wait(paths);
    let stop = Stop::listen()?;
    let chosen = choose(paths);
    let (binary, config) = match &chosen.slot {
        Some(slot) => (slot.folder.join(PROGRAM), slot.folder.join(CONFIG)),
        None => (paths.packaged.clone(), paths.config.clone()),
    };
    let is_endless = source::is_endless(&config);
    let mut command = Command::new(&binary);
    command.args(["run", "--config"]).arg(config);
    // The packaged runtime carries its own model.
    if let Some(slot) = &chosen.slot {
        command.arg("--model").arg(slot.folder.join(BUNDLE));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = service::start(paths.user_to_run_as()?.as_ref(), &mut command)?;
    let name = &chosen.name;
    eprintln!("edge-seg-fw: {name} runs as process {}", child.id());

    let stdout = child.stdout.take().context("the runtime's output")?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        loop {
            let mut line = Vec::new();
            match Read::by_ref(&mut stdout).take(LONGEST_LINE_BYTES).read_until(b'\n', &mut line) {
                Ok(len) if len > 0 && sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_ok() => {}
                _ => return,
            }
        }
    });
    let user = paths.user_to_run_as()?;
    let process = child.id();
    let memory = || memory_kib(user.as_ref(), process);
    let (mut watch, mut confirmed, mut told) = (Watch::new(chosen.trial), false, Instant::now());
    let (mut next, mut proving) = (chosen.trial.frames, false);
    let (begun, mut first_frame, mut steady, mut worked) = (Instant::now(), None, chosen.steady, Duration::ZERO);
    let mut ledger = Ledger { counts: chosen.steady.is_some() && chosen.in_place_of.is_some(), told: Duration::ZERO };
    let confirm = |frames: u64, ended: bool| match &chosen.slot {
        Some(slot) => tell(paths, slot.event(frames, ended)),
        // One that has only come to its end cannot stand in: it would be started again and again, faster than what fails.
        None => chosen.packaged.stands_in && ended || tell(paths, Event::PackagedWorks),
    };
    let fell_short = |why: &str| {
        chosen.record(paths, &format!("{name} does not do what its trial asks: {why}"));
        if let Some(ChosenSlot { slot, digest, .. }) = &chosen.slot {
            tell(paths, Event::FellShort { slot: *slot, digest: digest.clone(), why: why.to_owned() });
        }
    };
    // What is asked beyond frames is asked of a trial: a release that was good yesterday runs on a hot day too.
    let judge = |watch: &Watch, ended: bool| match watch.judge(Instant::now(), ended, memory) {
        Health::Good if chosen.on_trial => asked_hook(paths, user.as_ref(), name).map_or(Health::Good, Health::Poor),
        health => health,
    };
    let ended = |how: Ending, worked_s: u64| {
        let (slot, digest) = chosen.slot.as_ref().map(|chosen| (chosen.slot, chosen.digest.clone())).unzip();
        tell(paths, Event::Ended { slot, digest, how, worked_s });
    };
    // It has ended badly by itself, or was stopped for no frame came.
    let badly = |confirmed: bool, frames: u64, worked: Duration, how: &str| match confirmed {
        true if worked < SOON => Ending::Early,
        false if chosen.on_trial && frames >= chosen.trial.frames => {
            Ending::Short { why: format!("{how}, after {frames} frames in {} s", worked.as_secs()) }
        }
        _ => Ending::Other,
    };
    loop {
        let frames = watch.frames();
        let patience = if frames == 0 { first } else { stall };
        match stop.next(&lines, patience) {
            Next::Line(line) => {
                let healthy = watch.line(&line, Instant::now(), memory);
                // Nobody may be listening to the data; the camera works on.
                let _ = writeln!(std::io::stdout(), "{line}");
                if !healthy {
                    continue;
                }
                let frames = watch.frames();
                let working = first_frame.get_or_insert_with(Instant::now).elapsed();
                worked = working;
                if frames == 1 {
                    notify(&[NotifyState::Ready]);
                }
                if frames == 1 || told.elapsed() >= Duration::from_secs(1) {
                    notify(&[NotifyState::Watchdog, NotifyState::Status(&format!("{name}, {frames} frames"))]);
                    told = Instant::now();
                }
                if !confirmed && frames >= next {
                    match judge(&watch, false) {
                        Health::NotYet if chosen.on_trial && !proving => {
                            proving = chosen.slot.as_ref().is_none_or(|slot| tell(paths, slot.proves()))
                        }
                        Health::NotYet => {}
                        Health::Good => {
                            confirmed = confirm(frames, false);
                            next = frames.saturating_mul(2);
                            if confirmed {
                                keep_digest(paths.clone());
                            }
                        }
                        Health::Poor(why) => {
                            let _ = child.kill();
                            let _ = child.wait();
                            fell_short(&why);
                            return Ok(End::Poor { why });
                        }
                    }
                }
                if confirmed && let Some(wait) = steady.filter(|wait| working >= *wait) {
                    let event = match &chosen.slot {
                        Some(slot) => Event::Steady { slot: slot.slot, digest: slot.digest.clone() },
                        None => Event::PackagedSteady,
                    };
                    // Where that cannot be kept, nothing is stopped for it.
                    steady = match tell(paths, event) {
                        true => None,
                        false => Some(wait.saturating_mul(2)),
                    };
                    if let (None, Some(wanted)) = (steady, chosen.in_place_of) {
                        let _ = child.kill();
                        let _ = child.wait();
                        let how = format!("{name} has worked long enough in place of slot {0}: slot {0} is tried again", wanted.name());
                        return Ok(End::GivesWay { how });
                    }
                }
                let seconds = ledger.due(confirmed, worked, false);
                if seconds > 0 {
                    tell(paths, Event::Worked { seconds });
                }
            }
            Next::Silence => {
                let _ = child.kill();
                let _ = child.wait();
                let seconds = patience.as_secs();
                let how = badly(confirmed, frames, worked, &format!("no frame came for {seconds} s"));
                ended(how, ledger.due(confirmed, worked, true));
                return Ok(End::Stalled { seconds });
            }
            Next::Stop(signal) => {
                let status = finish(&mut child, &lines)?;
                let how = match stop.ended(status) {
                    // What has had its time for a frame and shown none has failed, whoever ends it.
                    Some(_) if frames > 0 || begun.elapsed() < first => Ending::Stopped,
                    Some(_) => Ending::Other,
                    None => badly(confirmed, frames, worked, &format!("it ended with {status}")),
                };
                ended(how, ledger.due(confirmed, worked, true));
                return Ok(End::Stopped { signal });
            }
            Next::End => {
                let status = child.wait()?;
                if let Some(signal) = stop.ended(status) {
                    ended(Ending::Stopped, ledger.due(confirmed, worked, true));
                    return Ok(End::Stopped { signal });
                }
                // A camera has no end: what leaves it has failed, whatever it says.
                let is_end = status.success() && !is_endless;
                // A folder of pictures may hold fewer than a trial asks for.
                if !confirmed && (frames > 0 || chosen.slot.is_none()) && is_end {
                    match judge(&watch, true) {
                        Health::Poor(why) => {
                            fell_short(&why);
                            return Ok(End::Poor { why });
                        }
                        _ => _ = confirm(frames, true),
                    }
                }
                let ending = match is_end {
                    true => Ending::Other,
                    false => badly(confirmed, frames, worked, &format!("it ended with {status}")),
                };
                ended(ending, ledger.due(confirmed, worked, true));
                let how = format!("{name} ended with {status} after {frames} frames");
                return Ok(match chosen.packaged.stands_in && is_end {
                    true => End::Exited { success: false, how: format!("{how}; what is installed is tried again") },
                    false if status.success() && is_endless => {
                        End::Exited { success: false, how: format!("{how}, though what its configuration reads has no end") }
                    }
                    false => End::Exited { success: is_end, how },
                });
            }
        }
    }
}

/// How long the packaged release must work in place of another before that one's failures are forgotten: longer than starts ever wait, so
/// that starts do not come faster by it.
const STANDS_IN_MINUTES: u32 = 5;

/// How long the hook may take; the service manager waits three times as long for a frame.
const HOOK_LIMIT: Duration = Duration::from_secs(30);

/// Asks the operator's own program, as the user of the runtime, whether a release on trial does its work; why not, where it does not.
fn asked_hook(paths: &Paths, user: Option<&User>, name: &str) -> Option<String> {
    if std::fs::symlink_metadata(&paths.hook).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return None;
    }
    let mut command = Command::new(&paths.hook);
    match service::output(user, command.arg(name), HOOK_LIMIT) {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next_back().map_or_else(|| output.status.to_string(), str::to_owned);
            Some(format!("{}: {said}", paths.hook.display()))
        }
        Err(error) => Some(format!("{error:#}")),
    }
}

/// Reads a packaged program that has changed, for those who may ask what it is and not keep the answer.
fn keep_digest(paths: Paths) {
    std::thread::spawn(move || {
        let state = paths.slots().load().ok()?;
        paths.packages_another_program(state.slot(state.current?).release.as_ref()?)
    });
}

/// Tells the slots what has shown itself; true once that need not be told again.
fn tell(paths: &Paths, event: Event) -> bool {
    match install::feed(paths, event, "guard") {
        Ok(outcome) => {
            outcome.reports.iter().chain(&outcome.refused).for_each(|report| eprintln!("edge-seg-fw: {report}"));
            outcome.refused.is_none()
        }
        Err(error) => {
            eprintln!("edge-seg-fw: {error:#}");
            false
        }
    }
}

/// A process's memory in KiB, as its own user sees it: the service manager may hide other users' processes.
fn memory_kib(user: Option<&User>, process: u32) -> Option<u64> {
    let read = || std::fs::read_to_string(format!("/proc/{process}/status"));
    let status = service::with_rights_of(user, true, read).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok())
}

/// What is to run.
struct Chosen {
    /// None for the packaged release.
    slot: Option<ChosenSlot>,
    name: String,
    trial: Trial,
    /// Whether more than frames is asked of it.
    on_trial: bool,
    /// What is counted of the packaged release, where it is that one.
    packaged: Packaged,
    /// How long it must work until the slots are told, and the slot that is wanted in its place.
    steady: Option<Duration>,
    in_place_of: Option<Slot>,
}

impl Chosen {
    fn record(&self, paths: &Paths, what: &str) {
        let _lock = install::lock(paths).map_err(|error| eprintln!("edge-seg-fw: without a lock: {error:#}")).ok();
        history::add(&mut paths.disk(), &paths.state, "guard", &[what.to_owned()]);
    }
}

struct ChosenSlot {
    slot: Slot,
    folder: PathBuf,
    digest: String,
}

/// Waits where starts keep failing and the service manager alone starts once more. Nothing is counted before the wait has ended: a board
/// that is switched off meanwhile has not failed.
fn wait(paths: &Paths) {
    let Ok(state) = paths.slots().load() else { return };
    let patience = state.patience();
    if patience.is_zero() || is_asked_for(paths) {
        return;
    }
    let seconds = patience.as_secs();
    eprintln!("edge-seg-fw: starts keep failing: {} waits for {seconds} s", machine::name_of(state.next_start()));
    notify(&[NotifyState::Status(&format!("waiting {seconds} s: starts keep failing"))]);
    std::thread::sleep(patience);
}

/// Asks the slots; whatever keeps them from answering must not keep the camera from running.
fn choose(paths: &Paths) -> Chosen {
    let _lock = install::lock(paths).map_err(|error| eprintln!("edge-seg-fw: without a lock: {error:#}")).ok();
    let mut slots = paths.slots();
    let packaged = |trial, packaged: Packaged, steady, in_place_of| Chosen {
        slot: None,
        name: machine::name_of(None),
        trial: Trial { bar: Bar { minutes: if packaged.stands_in { STANDS_IN_MINUTES } else { 0 }, ..Bar::default() }, ..trial },
        on_trial: false,
        packaged,
        steady,
        in_place_of,
    };
    let started = slots.load().map(|mut state| {
        if state.fallen_from().is_some() && is_asked_for(paths) {
            state.try_wanted();
        }
        slots.drive_from(state, Event::Boot, None)
    });
    match started {
        Ok(outcome) => {
            outcome.reports.iter().for_each(|report| eprintln!("edge-seg-fw: {report}"));
            history::add(&mut paths.disk(), &paths.state, "guard", &outcome.reports);
            let mut trial = outcome.state.trial;
            match outcome.run.flatten() {
                Some(slot) => {
                    let digest = outcome.state.slot(slot).release.as_ref().map(Release::digest).unwrap_or_default();
                    let on_trial = matches!(outcome.state.slot(slot).status, Status::Pending { .. });
                    if !on_trial {
                        trial.bar = Bar::default();
                    }
                    let chosen = ChosenSlot { slot, folder: slots.folder(slot), digest };
                    Chosen {
                        slot: Some(chosen),
                        name: machine::name_of(Some(slot)),
                        trial,
                        on_trial,
                        packaged: Packaged::default(),
                        steady: outcome.state.steady_after(),
                        in_place_of: outcome.state.fallen_from(),
                    }
                }
                None => {
                    let counted = outcome.state.packaged;
                    let wanted = outcome.state.wanted().filter(|_| counted.stands_in);
                    let steady = outcome.state.steady_after().filter(|_| counted.stands_in);
                    packaged(trial, counted, steady, wanted)
                }
            }
        }
        Err(error) => {
            eprintln!("edge-seg-fw: {error}");
            packaged(Trial::default(), Packaged::default(), None, None)
        }
    }
}

/// Whether somebody has the service started, or the system as it comes up, and not the service manager once more after it has ended: what
/// fails must not be tried again and again by its own failures.
fn is_asked_for(paths: &Paths) -> bool {
    let restarts = Host::under(&paths.root).command("systemctl", &["show", SERVICE, "-p", "NRestarts", "--value"]);
    restarts.is_some_and(|restarts| restarts.trim() == "0")
}

impl ChosenSlot {
    fn proves(&self) -> Event {
        Event::Proving { slot: self.slot, digest: self.digest.clone() }
    }

    fn event(&self, frames: u64, ended: bool) -> Event {
        Event::Healthy { slot: self.slot, digest: self.digest.clone(), frames, ended }
    }
}

/// Tells the service manager, where there is one.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        eprintln!("edge-seg-fw: the service manager cannot be told: {error}");
    }
}
