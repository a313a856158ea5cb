//! A release as it comes to a board: checked, put together, handed to the slots.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use edge_seg_bundle::Bundle;
use edge_seg_bundle::trust::Trust;

use crate::board::Board;
use crate::places::Places;
use crate::slots::machine::{State, Trial};
use crate::slots::{Event, Outcome, Parts, RealDisk, Release, Slots, Source, release_of};

/// What the operator brings.
#[derive(Debug, Clone)]
pub struct Request {
    /// The bundle.
    pub bundle: PathBuf,
    /// The runtime; else the slot's or the packaged one.
    pub binary: Option<PathBuf>,
    /// The configuration; else the slot's or the packaged one.
    pub config: Option<PathBuf>,
    /// Accept a lower serial.
    pub downgrade: bool,
    /// How the release proves itself.
    pub trial: Trial,
}

/// Takes the lock of a board's slots: one change at a time, by whichever process.
///
/// # Errors
/// When the folder or the lock cannot be made.
pub fn lock(places: &Places) -> Result<File> {
    let path = places.state.join("lock");
    fs::create_dir_all(&places.state).with_context(|| format!("{}", places.state.display()))?;
    // Root and the service's user share it: whoever did not make it can only read it, which is enough to lock it.
    let file = File::open(&path).or_else(|_| File::options().create(true).append(true).open(&path));
    let file = file.with_context(|| format!("{}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("edge-seg-fw: waiting for another change of {} to end", places.state.display());
        file.lock().with_context(|| format!("{}", path.display()))?;
    }
    Ok(file)
}

/// Installs a release into the slot that does not run.
///
/// # Errors
/// When a file cannot be read or the state is unreadable. A release that is refused is in the outcome.
pub fn install(places: &Places, board: &Board, request: &Request) -> Result<Outcome> {
    let _lock = lock(places)?;
    let mut slots = Slots::new(RealDisk, &places.state);
    let mut state = slots.load()?;
    let mut release = Incoming::read(places, board, request, &state)?;
    state.trial = request.trial;
    Ok(slots.drive_from(state, Event::Install { downgrade: request.downgrade }, Some(&mut release)))
}

struct Incoming<'a> {
    place: String,
    parts: Parts,
    places: &'a Places,
    runtime: PathBuf,
    trust: Option<Trust>,
    binary_signature: Option<Vec<u8>>,
    own_binary: bool,
    board: Vec<String>,
}

impl<'a> Incoming<'a> {
    fn read(places: &'a Places, board: &Board, request: &Request, state: &State) -> Result<Incoming<'a>> {
        let slot = state.current.map(|slot| places.state.join("slots").join(slot.name()));
        let pick = |given: &Option<PathBuf>, name: &str, packaged: &Path| {
            given.clone().unwrap_or_else(|| match &slot {
                Some(slot) if slot.join(name).exists() => slot.join(name),
                _ => packaged.into(),
            })
        };
        let binary = pick(&request.binary, "edge-seg", &places.packaged);
        let config_path = pick(&request.config, "config.toml", &places.config);
        let read = |path: &Path| fs::read(path).with_context(|| format!("{}", path.display()));
        let trust = match places.demands_signatures() {
            true => Some(Trust::read(&places.keys)?.on_board(&board_names(board)).installing_at(now())),
            false => {
                eprintln!("edge-seg-fw: {} holds no key: signatures are not asked for", places.keys.display());
                None
            }
        };
        let mut minisig = binary.clone().into_os_string();
        minisig.push(".minisig");
        Ok(Incoming {
            place: request.bundle.display().to_string(),
            parts: Parts { bundle: read(&request.bundle)?, binary: read(&binary)?, config: read(&config_path)? },
            places,
            // A bare name would be looked for on the search path.
            runtime: std::path::absolute(binary)?,
            trust,
            binary_signature: fs::read(minisig).ok(),
            own_binary: request.binary.is_some(),
            board: board_names(board).iter().map(|name| name.to_string()).collect(),
        })
    }
}

impl Incoming<'_> {
    /// The release's own runtime must take the configuration, before anything is written.
    fn check_config(&self) -> Result<(), String> {
        let executable = fs::metadata(&self.runtime).is_ok_and(|found| found.permissions().mode() & 0o111 != 0);
        if !executable {
            eprintln!("edge-seg-fw: {} is no executable file yet: its trial proves the configuration", self.runtime.display());
            return Ok(());
        }
        let copy = self.places.state.join("config.check.toml");
        let written = || -> Result<()> {
            // Readable by the service's user alone, for a configuration may hold passwords; and new, for that user owns the folder
            // and could have put a link there.
            let _ = fs::remove_file(&copy);
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(&copy)?;
            file.write_all(&self.parts.config)?;
            let owner = fs::metadata(&self.places.state)?;
            Ok(fchown(&file, Some(owner.uid()), Some(owner.gid()))?)
        };
        let complaint = written().and_then(|()| self.places.complaint(&self.runtime, &copy));
        let _ = fs::remove_file(&copy);
        match complaint {
            Ok(None) => Ok(()),
            Ok(Some(complaint)) => Err(format!("the configuration: {complaint}")),
            // A runtime for another machine, as in an image that is built elsewhere.
            Err(error) if cannot_run_here(&error) => {
                eprintln!("edge-seg-fw: {error:#}: its trial proves the configuration");
                Ok(())
            }
            Err(error) => Err(format!("the configuration: {error:#}")),
        }
    }
}

/// Whether the kernel refused a program's format (ENOEXEC).
fn cannot_run_here(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.raw_os_error() == Some(8))
}

impl Source for Incoming<'_> {
    fn verify(&mut self) -> Result<Release, String> {
        let says = |error: edge_seg_bundle::Error| error.to_string();
        if let Some(trust) = &self.trust {
            trust.check(&self.place, &self.parts.bundle).map_err(says)?;
            // The packaged binary came through the system's own signatures.
            if self.own_binary {
                let signature =
                    self.binary_signature.as_ref().ok_or("--binary: expected its signature beside it, FILE.minisig, found none")?;
                trust.check_signature(signature, &self.parts.binary).map_err(|why| format!("--binary: {why}"))?;
            }
        }
        let bundle = Bundle::from_bytes(self.place.clone(), self.parts.bundle.clone()).map_err(says)?;
        if !self.parts.binary.starts_with(b"\x7fELF") && !self.parts.binary.starts_with(b"#!") {
            return Err("the runtime: expected a program, found a file of another kind".into());
        }
        Ok(release_of(&bundle.manifest().name, bundle.manifest().serial, &self.parts))
    }

    fn check_board(&mut self) -> Result<(), String> {
        let bundle = Bundle::from_bytes(self.place.clone(), self.parts.bundle.clone()).map_err(|error| error.to_string())?;
        let boards = &bundle.manifest().boards;
        match boards.is_empty() || boards.iter().any(|board| self.board.contains(board)) {
            true => self.check_config(),
            false => Err(format!("wrong board: the bundle is for {}, this board is {}", boards.join(", "), self.board.join(" or "))),
        }
    }

    fn parts(&self) -> &Parts {
        &self.parts
    }
}

/// Names under which a bundle may mean this board: its own, where the table has one, and that of the build that it runs.
pub fn board_names(board: &Board) -> Vec<&str> {
    let mut names = vec![board.key.as_str()];
    names.extend(board.advice.variant.map(|variant| variant.name()).filter(|name| *name != board.key));
    names
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// Feeds an event that needs no release.
///
/// # Errors
/// When the lock or the state cannot be had.
pub fn feed(places: &Places, event: Event) -> Result<Outcome> {
    let _lock = lock(places)?;
    match Slots::new(RealDisk, &places.state).drive(event, None) {
        Ok(outcome) => Ok(outcome),
        Err(error) => bail!(error),
    }
}
