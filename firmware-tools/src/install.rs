//! A release as it comes to a board: checked, put together, handed to the slots.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use edge_seg_bundle::Bundle;
use edge_seg_bundle::trust::{Refusal, Trust};

use crate::board::Board;
use crate::history;
use crate::paths::Paths;
use crate::service::{open_named, open_plain};
use crate::slots::machine::{BUNDLE, CONFIG, PROGRAM, State, Trial};
use crate::slots::{Content, Disk, Event, Kind, Outcome, Parts, RealDisk, Release, Slot, Source, release_of};

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
    /// The files are root's own, below the folder of the state: the slot shares them where it can.
    pub own: bool,
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
pub(crate) const LARGEST_CONFIG: u64 = 16 << 20;
const LARGEST_SIGNATURE: u64 = 1 << 16;

/// Installs a release into the slot that does not run.
///
/// # Errors
/// When a file cannot be read or the state is unreadable. A release that is refused is in the outcome.
pub fn install(paths: &Paths, board: &Board, request: &Request) -> Result<Outcome> {
    paths.check_root()?;
    let _lock = lock(paths)?;
    let mut slots = paths.slots();
    let mut state = slots.load()?;
    let (first, under_way) = (state.current.is_none(), state.under_way());
    let mut release = Incoming::read(paths, board, request, &state)?;
    state.trial = request.trial;
    let mut outcome = slots.drive_from(state, Event::Install { downgrade: request.downgrade }, Some(&mut release));
    outcome.under_way = outcome.refused.is_none() && under_way.is_some() && outcome.state.current == under_way;
    record(paths, &outcome, &history::caller());
    if first && outcome.refused.is_none() {
        outcome.reports.push(format!(
            "from now on what runs reads a copy of its configuration: a change of {} reaches the packaged release alone; give what runs \
             another one with: edge-seg-fw reconfigure FILE --restart",
            paths.config.display()
        ));
    }
    Ok(outcome)
}

fn record(paths: &Paths, outcome: &Outcome, who: &str) {
    let refused = outcome.refused.iter().map(|why| format!("refused: {why}"));
    let what: Vec<String> = outcome.reports.iter().cloned().chain(refused).collect();
    history::add(&mut paths.disk(), &paths.state, who, &what);
}

struct Incoming<'a> {
    place: String,
    bundle: Opened,
    parts: Parts,
    paths: &'a Paths,
    trust: Option<Trust>,
    /// Signatures of files that were brought.
    signed: Vec<Signed>,
    /// Where the runtime is tried; the slot shares it.
    tried: PathBuf,
    /// A bundle that the slot may share too.
    own_bundle: Option<PathBuf>,
    board: Vec<String>,
}

/// A file that was brought with its signature, or without one where it must have one.
struct Signed {
    option: &'static str,
    name: &'static str,
    signature: Option<Vec<u8>>,
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
                let found =
                    if request.own { disk.open(path).with_context(|| format!("{}", path.display()))? } else { open_named(path, most)? };
                return Ok((path.into(), found));
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
        let (bundle_path, bundle) = pick(request.bundle.as_deref(), BUNDLE, None, LARGEST_BUNDLE)?;
        let (_, binary) = match request.packaged {
            true => (paths.packaged.clone(), open_plain(&paths.packaged, LARGEST_PROGRAM)?),
            false => pick(request.binary.as_deref(), PROGRAM, Some(&paths.packaged), LARGEST_PROGRAM)?,
        };
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
        // The packaged binary came through the system's own signatures; what a slot holds has been asked for its own.
        let mut signed = Vec::new();
        for (option, name, path) in [("--binary", PROGRAM, &request.binary), ("the configuration", CONFIG, &request.config)] {
            let Some(path) = path else { continue };
            let signature = signature_beside(path, request.own)?;
            if name == PROGRAM || signature.is_some() || paths.demands_signed_config()? {
                signed.push(Signed { option, name, signature });
            }
        }
        Ok(Incoming {
            place: bundle_path.display().to_string(),
            parts: Parts { bundle: Content::File(bundle.try_clone()?), binary: Content::File(binary), config: text.into(), private },
            bundle: Opened(bundle),
            paths,
            trust,
            signed,
            tried: paths.state.join("check.edge-seg"),
            own_bundle: request.bundle.clone().filter(|_| request.own),
            board: board_names(board).iter().map(|name| name.to_string()).collect(),
        })
    }

    /// Holds the files that were brought against their signatures, each by what `reader` gives for its name in a slot.
    fn check_signatures<'r>(&self, reader: impl Fn(&str) -> io::Result<Box<dyn Read + 'r>>) -> Result<(), String> {
        for Signed { option, name, signature } in &self.signed {
            let Some(trust) = &self.trust else {
                if *name == CONFIG && signature.is_none() {
                    return Err(format!("{option} must be signed here, and no key is trusted: {}", self.paths.keys.display()));
                }
                continue;
            };
            let signature =
                signature.as_ref().ok_or_else(|| format!("{option}: expected its signature beside it, FILE.minisig, found none"))?;
            let checked = reader(name).and_then(|reader| trust.check_signature_of(signature, reader));
            checked.map_err(|error| format!("{option}: {error}"))?.map_err(|why| format!("{option}: {}", of_file(&why)))?;
        }
        Ok(())
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
    fn check_config(&self, program: Option<&Path>) -> Result<(), String> {
        let config = self.paths.state.join("check.toml");
        let mut disk = self.paths.disk();
        let mut copied = || -> Result<()> {
            if program.is_none() {
                let written = disk.write(&self.tried, &mut *self.parts.binary.reader()?, Kind::Program);
                written.with_context(|| format!("{}", self.tried.display()))?;
            }
            disk.write(&config, &mut *self.parts.config.reader()?, Kind::Private).with_context(|| format!("{}", config.display()))?;
            self.give(&disk, &config)
        };
        let complaint = copied().and_then(|()| self.paths.complaint(program.unwrap_or(&self.tried), &config));
        let _ = disk.remove(&config);
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
        self.check_signatures(|name| if name == PROGRAM { self.parts.binary.reader() } else { self.parts.config.reader() })?;
        let mut head = [0; 4];
        let len = self.parts.binary.reader().and_then(|mut binary| binary.read(&mut head)).map_err(|error| format!("--binary: {error}"))?;
        if !head[..len].starts_with(b"\x7fELF") && !head[..len].starts_with(b"#!") {
            return Err("the runtime: expected a program, found a file of another kind".into());
        }
        release_of(&bundle.manifest().name, bundle.manifest().serial, &self.parts).map_err(|error| format!("{}: {error}", self.place))
    }

    fn check_board(&mut self, program: Option<&Path>) -> Result<(), String> {
        let bundle = self.open(&self.bundle.path())?;
        let boards = &bundle.manifest().boards;
        match boards.is_empty() || boards.iter().any(|board| self.board.contains(board)) {
            true => self.check_config(program),
            false => Err(format!("wrong board: the bundle is for {}, this board is {}", boards.join(", "), self.board.join(" or "))),
        }
    }

    fn parts(&self) -> &Parts {
        &self.parts
    }

    fn ready(&self, name: &str) -> Option<PathBuf> {
        match name {
            PROGRAM => Some(self.tried.clone()),
            BUNDLE => self.own_bundle.clone(),
            _ => None,
        }
    }

    fn prove(&mut self, slot: &Path) -> Result<(), String> {
        let disk = self.paths.disk();
        self.check_signatures(|name| Ok(Box::new(disk.open(&slot.join(name))?)))?;
        self.open(&slot.join(BUNDLE)).map(drop)
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        // Its name alone, where a slot shares it.
        let _ = self.paths.disk().remove(&self.tried);
    }
}

/// A file of this digest that a slot holds under this name, so that it need not be brought once more.
pub(crate) fn known(paths: &Paths, state: &State, name: &str, sha256: &str) -> Option<PathBuf> {
    let held = |slot: &Slot| {
        let release = state.slot(*slot).release.as_ref();
        release.is_some_and(|release| release.files.iter().any(|file| file.name == name && file.sha256 == sha256))
    };
    let path = [Slot::A, Slot::B].into_iter().find(held).map(|slot| paths.slots().folder(slot).join(name))?;
    paths.disk().digest(&path).is_ok_and(|(_, found)| found == sha256).then_some(path)
}

/// Why a signature does not hold, of a file that is no bundle.
pub(crate) fn of_file(why: &Refusal) -> String {
    why.to_string().replace("the bundle's header and manifest", "the file")
}

/// The text of a file's signature, where it has one.
fn signature_beside(path: &Path, own: bool) -> Result<Option<Vec<u8>>> {
    let mut minisig = path.as_os_str().to_owned();
    minisig.push(".minisig");
    let open = if own { open_plain } else { open_named };
    match open(Path::new(&minisig), LARGEST_SIGNATURE) {
        Ok(mut file) => {
            let mut text = Vec::new();
            file.read_to_end(&mut text)?;
            Ok(Some(text))
        }
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Names under which a bundle may mean this board: its own, where the table has one, and that of the build that it runs.
pub fn board_names(board: &Board) -> Vec<&str> {
    let mut names = vec![board.key.as_str()];
    names.extend(board.advice.variant.map(|variant| variant.name()).filter(|name| *name != board.key));
    names
}

/// The clock, in seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// Removes what installations and pulls that were killed have left beside the slots.
fn sweep(paths: &Paths) -> io::Result<()> {
    let mut disk = paths.disk();
    let pulled = paths.state.join("pull");
    let left: Vec<PathBuf> = disk.list(&pulled)?.into_iter().map(|name| pulled.join(name)).collect();
    for path in left.iter().chain([&paths.state.join("check.edge-seg"), &paths.state.join("check.toml")]) {
        disk.remove(path)?;
    }
    Ok(())
}

/// Feeds an event that needs no release, for `who` asks for it.
///
/// # Errors
/// When the lock or the state cannot be had.
pub fn feed(paths: &Paths, event: Event, who: &str) -> Result<Outcome> {
    let _lock = lock(paths)?;
    if event == Event::Prune {
        // Before anything else: where there is no room, what is left of an installation that was killed may be all that can go.
        sweep(paths).with_context(|| format!("{}", paths.state.display()))?;
    }
    let outcome = paths.slots().drive(event, None).map_err(|error| anyhow!(error))?;
    record(paths, &outcome, who);
    Ok(outcome)
}
