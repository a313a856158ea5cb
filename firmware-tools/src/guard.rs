//! Runs the release that the slots choose, counts its frames, and speaks to systemd.
//!
//! The runtime prints one line of JSON for each frame. Lines without an `error` are healthy frames: the first says that the
//! service is up, each feeds the watchdog, and enough of them make a release on trial good. A runtime that hangs is stopped, one
//! that ends is reported; the service manager starts the guard again, and the slots count the start.

use std::io::{BufRead, BufReader, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::install;
use crate::places::Places;
use crate::slots::machine::Trial;
use crate::slots::{Event, RealDisk, Slots};

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
}

/// Starts what the slots choose and stays with it until it ends, sends no first frame within `first`, or no other for `stall`.
///
/// # Errors
/// When the runtime cannot be started. Slots that cannot be read or written are told, and what can run runs.
pub fn run(places: &Places, first: Duration, stall: Duration) -> Result<End> {
    let Chosen { folder, name, trial } = choose(places);
    let (binary, config) = match &folder {
        Some(folder) => (folder.join("edge-seg"), folder.join("config.toml")),
        None => (places.packaged.clone(), places.config.clone()),
    };
    let mut command = Command::new(&binary);
    command.args(["run", "--config"]).arg(config);
    // The packaged runtime carries its own model.
    if let Some(folder) = &folder {
        command.arg("--model").arg(folder.join("bundle.esb"));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("{}", binary.display()))?;
    eprintln!("edge-seg-fw: {name} runs as process {}", child.id());

    let stdout = child.stdout.take().context("the runtime's output")?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let notifier = Notifier::new();
    let (mut frames, mut confirmed, mut told) = (0u64, false, Instant::now());
    loop {
        let patience = if frames == 0 { first } else { stall };
        match lines.recv_timeout(patience) {
            Ok(line) => {
                let healthy = is_frame(&line);
                // Nobody may be listening to the data; the camera works on.
                let _ = writeln!(std::io::stdout(), "{line}");
                if !healthy {
                    continue;
                }
                frames += 1;
                if frames == 1 {
                    notifier.say("READY=1");
                }
                if frames == 1 || told.elapsed() >= Duration::from_secs(1) {
                    notifier.say(&format!("WATCHDOG=1\nSTATUS={name}, {frames} frames"));
                    told = Instant::now();
                }
                if !confirmed && folder.is_some() && frames >= trial.frames {
                    confirmed = confirm(places, frames);
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                let _ = child.wait();
                return Ok(End::Stalled { seconds: patience.as_secs() });
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = child.wait()?;
                return Ok(End::Exited { success: status.success(), how: format!("{name} ended with {status} after {frames} frames") });
            }
        }
    }
}

/// What is to run: a slot's folder, or the packaged release.
struct Chosen {
    folder: Option<PathBuf>,
    name: String,
    trial: Trial,
}

/// Asks the slots; whatever keeps them from answering must not keep the camera from running.
fn choose(places: &Places) -> Chosen {
    let _lock = install::lock(places).map_err(|error| eprintln!("edge-seg-fw: without a lock: {error:#}")).ok();
    let mut slots = Slots::new(RealDisk, &places.state);
    let packaged = |trial| Chosen { folder: None, name: "the packaged release".into(), trial };
    match slots.drive(Event::Boot, None) {
        Ok(outcome) => {
            outcome.reports.iter().for_each(|report| eprintln!("edge-seg-fw: {report}"));
            let trial = outcome.state.trial;
            match outcome.run.flatten() {
                Some(slot) => Chosen { folder: Some(slots.folder(slot)), name: format!("slot {}", slot.name()), trial },
                None => packaged(trial),
            }
        }
        Err(error) => {
            eprintln!("edge-seg-fw: {error}");
            packaged(Trial::default())
        }
    }
}

fn confirm(places: &Places, frames: u64) -> bool {
    match install::feed(places, Event::Healthy { frames }) {
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

fn is_frame(line: &str) -> bool {
    matches!(serde_json::from_str::<serde_json::Value>(line), Ok(serde_json::Value::Object(frame)) if !frame.contains_key("error"))
}

/// systemd's notification socket, as `sd_notify(3)` describes it.
struct Notifier(Option<(UnixDatagram, SocketAddr)>);

impl Notifier {
    fn new() -> Notifier {
        let address = std::env::var_os("NOTIFY_SOCKET").and_then(|name| match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name).ok(),
            None => SocketAddr::from_pathname(name).ok(),
        });
        Notifier(address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address))))
    }

    fn say(&self, text: &str) {
        if let Some((socket, address)) = &self.0 {
            let _ = socket.send_to_addr(text.as_bytes(), address);
        }
    }
}
