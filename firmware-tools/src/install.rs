//! A release as it comes to a board: checked, put together, handed to the slots.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use edge_seg_bundle::Bundle;
use edge_seg_bundle::trust::Trust;

use crate::board::Board;
use crate::paths::Paths;
use crate::service::open_plain;
use crate::slots::machine::{BUNDLE, CONFIG, PROGRAM, State, Trial};
use crate::slots::{Content, Disk, Event, Kind, Outcome, Parts, RealDisk, Release, Source, release_of};

/// What the operator brings.
#[derive(Debug, Clone)]
pub struct Request {
    /// The bundle; else the one that runs.
    pub bundle: Option<PathBuf>,
    /// The runtime; else the slot's or the packaged one.
    pub binary: Option<PathBuf>,
    /// Takes the packaged runtime even where a slot with another one runs.
    pub packaged: bool,
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
/// When the folder or the lock cannot be made, or another process holds the lock for minutes.
pub fn lock(paths: &Paths) -> Result<File> {
    let path = paths.state.join("lock");
    let mut disk = paths.disk();
    disk.make_folder(&paths.state).with_context(|| format!("{}", paths.state.display()))?;
    let file = disk.open_lock(&path).with_context(|| format!("{}", path.display()))?;
    let mut waited = 0;
    while file.try_lock().is_err() {
        if waited == 0 {
            eprintln!("edge-seg-fw: waiting for another change of {} to end", paths.state.display());
        }
        if waited >= LOCK_TRIES {
            bail!("{}: another change holds it; see who with: sudo fuser -v {0}", path.display());
        }
        waited += 1;
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Ok(file)
}

/// Ten minutes: a slow card takes its time for a release.
const LOCK_TRIES: u32 = 6000;
/// Larger files are no bundle, runtime or configuration of a board.
const LARGEST_BUNDLE: u64 = 4 << 30;
const LARGEST_PROGRAM: u64 = 1 << 30;
const LARGEST_CONFIG: u64 = 16 << 20;

/// Installs a release into the slot that does not run.
///
/// # Errors
/// When a file cannot be read or the state is unreadable. A release that is refused is in the outcome.
pub fn install(paths: &Paths, board: &Board, request: &Request) -> Result<Outcome> {
    paths.check_root()?;
    let _lock = lock(paths)?;
    let mut slots = paths.slots();
    let mut state = slots.load()?;
    let mut release = Incoming::read(paths, board, request, &state)?;
    state.trial = request.trial;
    Ok(slots.drive_from(state, Event::Install { downgrade: request.downgrade }, Some(&mut release)))
}

struct Incoming<'a> {
    place: String,
    bundle: Opened,
    parts: Parts,
    paths: &'a Paths,
    trust: Option<Trust>,
    binary_signature: Option<Vec<u8>>,
    own_binary: bool,
    board: Vec<String>,
}

/// A file that was opened once; what its name leads to later does not matter.
struct Opened(File);

impl Opened {
    /// A name under which it can be opened again.
    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

impl<'a> Incoming<'a> {
    fn read(paths: &'a Paths, board: &Board, request: &Request, state: &State) -> Result<Incoming<'a>> {
        let slot = state.current.map(|slot| paths.slots().folder(slot));
        let disk = paths.disk();
        // What lies in a slot is root's; what the operator names may be anybody's.
        let pick = |given: Option<&Path>, name: &str, packaged: Option<&Path>, most: u64| -> Result<(PathBuf, File)> {
            if let Some(path) = given {
                return Ok((path.into(), open_plain(path, most)?));
            }
            if let Some(path) = slot.as_ref().map(|slot| slot.join(name)) {
                match disk.open(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    found => return Ok((path.clone(), found.with_context(|| format!("{}", path.display()))?)),
                }
            }
            let path = packaged.context("no release is installed whose bundle could be taken: name one")?;
            Ok((path.into(), open_plain(path, most)?))
        };
        let packaged = request.packaged.then_some(paths.packaged.as_path());
        let (bundle_path, bundle) = pick(request.bundle.as_deref(), BUNDLE, None, LARGEST_BUNDLE)?;
        let (binary_path, binary) = pick(request.binary.as_deref().or(packaged), PROGRAM, Some(&paths.packaged), LARGEST_PROGRAM)?;
        let (_, mut config) = pick(request.config.as_deref(), CONFIG, Some(&paths.config), LARGEST_CONFIG)?;
        let private = config.metadata()?.mode() & 0o004 == 0;
        let mut text = Vec::new();
        config.read_to_end(&mut text)?;
        let trust = match paths.demands_signatures()? {
            true => Some(Trust::read(&paths.keys)?.on_board(&board_names(board)).installing_at(now())),
            false => {
                eprintln!("edge-seg-fw: {} holds no key: signatures are not asked for", paths.keys.display());
                None
            }
        };
        let mut minisig = binary_path.into_os_string();
        minisig.push(".minisig");
        Ok(Incoming {
            place: bundle_path.display().to_string(),
            parts: Parts { bundle: Content::File(bundle.try_clone()?), binary: Content::File(binary), config: text.into(), private },
            bundle: Opened(bundle),
            paths,
            trust,
            binary_signature: fs::read(minisig).ok(),
            own_binary: request.binary.is_some(),
            board: board_names(board).iter().map(|name| name.to_string()).collect(),
        })
    }

    fn open(&self, path: &Path) -> Result<Bundle, String> {
        let opened = match &self.trust {
            Some(trust) => trust.open(path),
            None => Bundle::open(path),
        };
        opened.map_err(|error| error.to_string().replace(&path.display().to_string(), &self.place))
    }

    /// The release's own runtime must take the configuration, before anything is written: on copies that nobody else can change
    /// meanwhile, with the program's executable, whatever mode it came with.
    fn check_config(&self) -> Result<(), String> {
        let (program, config) = (self.paths.state.join("check.edge-seg"), self.paths.state.join("check.toml"));
        let mut disk = self.paths.disk();
        let mut copied = || -> Result<()> {
            disk.write(&program, &mut *self.parts.binary.reader()?, Kind::Program).with_context(|| format!("{}", program.display()))?;
            disk.write(&config, &mut *self.parts.config.reader()?, Kind::Private).with_context(|| format!("{}", config.display()))?;
            self.give(&disk, &config)
        };
        let complaint = copied().and_then(|()| self.paths.complaint(&program, &config));
        for path in [&program, &config] {
            let _ = disk.remove(path);
        }
        match complaint {
            Ok(None) => Ok(()),
            Ok(Some(complaint)) => Err(format!("the configuration: {}", complaint.replace(&config.display().to_string(), "config.toml"))),
            // A runtime for another machine, as in an image that is built elsewhere.
            Err(error) if cannot_run_here(&error) => {
                eprintln!("edge-seg-fw: {error:#}: its trial proves the configuration");
                Ok(())
            }
            Err(error) => Err(format!("the configuration: {error:#}")),
        }
    }

    /// Lets the service's user read the copy, where that is another.
    fn give(&self, disk: &RealDisk, config: &Path) -> Result<()> {
        if let Some(user) = self.paths.user().filter(|_| rustix::process::geteuid().is_root()) {
            fchown(disk.open(config)?, Some(user.number()), Some(user.group()))?;
        }
        Ok(())
    }
}

/// Whether the kernel refused a program's format (ENOEXEC).
fn cannot_run_here(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.raw_os_error() == Some(8))
}

impl Source for Incoming<'_> {
    fn verify(&mut self) -> Result<Release, String> {
        let bundle = self.open(&self.bundle.path())?;
        // The packaged binary came through the system's own signatures.
        if let Some(trust) = self.trust.as_ref().filter(|_| self.own_binary) {
            let signature = self.binary_signature.as_ref().ok_or("--binary: expected its signature beside it, FILE.minisig, found none")?;
            let program = self.parts.binary.reader().and_then(all).map_err(|error| format!("--binary: {error}"))?;
            trust.check_signature(signature, &program).map_err(|why| format!("--binary: {why}"))?;
        }
        let mut head = [0; 4];
        let len = self.parts.binary.reader().and_then(|mut binary| binary.read(&mut head)).map_err(|error| format!("--binary: {error}"))?;
        if !head[..len].starts_with(b"\x7fELF") && !head[..len].starts_with(b"#!") {
            return Err("the runtime: expected a program, found a file of another kind".into());
        }
        release_of(&bundle.manifest().name, bundle.manifest().serial, &self.parts).map_err(|error| format!("{}: {error}", self.place))
    }

    fn check_board(&mut self) -> Result<(), String> {
        let bundle = self.open(&self.bundle.path())?;
        let boards = &bundle.manifest().boards;
        match boards.is_empty() || boards.iter().any(|board| self.board.contains(board)) {
            true => self.check_config(),
            false => Err(format!("wrong board: the bundle is for {}, this board is {}", boards.join(", "), self.board.join(" or "))),
        }
    }

    fn parts(&self) -> &Parts {
        &self.parts
    }

    fn prove(&mut self, slot: &Path) -> Result<(), String> {
        self.open(&slot.join(BUNDLE)).map(drop)
    }
}

fn all(mut source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.read_to_end(&mut bytes)?;
    Ok(bytes)
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
pub fn feed(paths: &Paths, event: Event) -> Result<Outcome> {
    let _lock = lock(paths)?;
    paths.slots().drive(event, None).map_err(|error| anyhow!(error))
}
