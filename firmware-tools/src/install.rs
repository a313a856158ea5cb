//! A release as it comes to a board: checked, put together, handed to the slots.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail, ensure};
use edge_seg_bundle::Bundle;
use edge_seg_bundle::files::{cache_folder, hex};
use edge_seg_bundle::trust::{Refusal, Trust};
use sha2::{Digest, Sha256};

use crate::board::{Board, Host};
use crate::history;
use crate::paths::Paths;
use crate::service::{User, open_named, open_plain, with_rights_of};
use crate::slots::machine::{BUNDLE, CONFIG, FileMark, PROGRAM, SlotState, State, Status, Trial, describe, name_of, step};
use crate::slots::{Action, Content, Disk, Event, Kind, Outcome, Parts, RealDisk, Release, Slot, Source, release_of};

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
    let brings = |name: &str| match name {
        BUNDLE => request.bundle.is_some(),
        _ => request.binary.is_some() || request.packaged,
    };
    if let Some(why) = state.not_to_be_kept(brings) {
        return Ok(Outcome { state, reports: Vec::new(), refused: Some(why), run: None, under_way: false });
    }
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
    /// What the slots hold, and vouch for by its digest.
    held: Vec<FileMark>,
    /// Names of files that are not brought but taken from the slot that runs.
    kept: Vec<&'static str>,
    /// Fetched by an index that was signed.
    own: bool,
    /// Signatures of files that were brought.
    signed: Vec<Signed>,
    /// Where the runtime is tried; the slot shares it.
    tried: PathBuf,
    /// A bundle that the slot may share too.
    own_bundle: Option<PathBuf>,
    board: Vec<String>,
    arch: Option<String>,
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
        // A disk that does not answer has not said that the slot has none.
        let has_program = slot.as_ref().map_or(Ok(false), |slot| slot.join(PROGRAM).try_exists()).context("the slot that runs")?;
        let takes_packaged = request.binary.is_none() && (request.packaged || !has_program);
        ensure!(
            !takes_packaged || paths.packaged.exists(),
            "{}: expected the runtime to install with the bundle, found none; try: sudo apt install ./edge-seg_*.deb, or --binary FILE",
            paths.packaged.display()
        );
        let (_, binary) = match request.packaged {
            true => (paths.packaged.clone(), open_plain(&paths.packaged, LARGEST_PROGRAM)?),
            false => pick(request.binary.as_deref(), PROGRAM, Some(&paths.packaged), LARGEST_PROGRAM)?,
        };
        let (_, mut config) = pick(request.config.as_deref(), CONFIG, Some(&paths.config), LARGEST_CONFIG)?;
        let private = config.metadata()?.mode() & 0o004 == 0;
        let mut text = Vec::new();
        config.read_to_end(&mut text)?;
        let trust = trust_of(paths, board)?;
        if trust.is_none() {
            eprintln!("edge-seg-fw: {} holds no key: signatures are not asked for", paths.keys.display());
        }
        let mut kept = Vec::new();
        if state.current.is_some_and(|slot| is_sound(state.slot(slot))) {
            kept.extend(Some(BUNDLE).filter(|_| request.bundle.is_none()));
            kept.extend(Some(PROGRAM).filter(|_| request.binary.is_none() && !request.packaged));
        }
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
            held: held(state),
            kept,
            own: request.own,
            signed,
            tried: paths.state.join("check.edge-seg"),
            own_bundle: request.bundle.clone().filter(|_| request.own),
            board: board_names(board).iter().map(|name| name.to_string()).collect(),
            arch: board.arch.clone(),
        })
    }

    /// Holds the files that were brought against their signatures, each by what `reader` gives for its name in a slot.
    fn check_signatures<'r>(&self, reader: impl Fn(&str) -> io::Result<Box<dyn Read + 'r>>) -> Result<(), String> {
        for Signed { option, name, signature } in self.signed.iter().filter(|signed| !self.kept.contains(&signed.name)) {
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
        let opened = match self.trust.as_ref().filter(|_| !self.kept.contains(&BUNDLE)) {
            Some(trust) => trust.open(path),
            None => Bundle::open(path),
        };
        opened.map_err(|error| error.to_string().replace(&self.bundle.path().display().to_string(), &self.place))
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
        let files = release_of("", 0, &self.parts).map_err(|error| format!("{}: {error}", self.place))?.files;
        // What the slots hold was let in by its signature then: a key that has gone or expired since takes nothing back.
        for name in [BUNDLE, PROGRAM] {
            let kept = self.kept.contains(&name);
            let known = || self.held.iter().any(|held| held.name == name);
            match files.iter().any(|file| file.name == name && self.held.contains(file)) {
                true if self.own && !kept => self.kept.push(name),
                false if kept && known() => return Err(not_whole(name)),
                // Nothing vouches for it.
                false => self.kept.retain(|kept| *kept != name),
                true => {}
            }
        }
        let bundle = self.open(&self.bundle.path())?;
        self.check_signatures(|name| if name == PROGRAM { self.parts.binary.reader() } else { self.parts.config.reader() })?;
        let mut head = Vec::new();
        let read = self.parts.binary.reader().and_then(|binary| binary.take(PROGRAM_HEAD_BYTES).read_to_end(&mut head));
        read.map_err(|error| format!("the runtime: {error}"))?;
        check_program(&head, self.arch.as_deref())?;
        Ok(Release { name: bundle.manifest().name.clone(), serial: bundle.manifest().serial, files })
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

/// What must have signed what is brought to this board; nothing where no key is trusted.
///
/// # Errors
/// When the keys cannot be read.
pub(crate) fn trust_of(paths: &Paths, board: &Board) -> Result<Option<Trust>> {
    match paths.demands_signatures()? {
        true => Ok(Some(Trust::read(&paths.keys)?.on_board(&board_names(board)).installing_at(now()))),
        false => Ok(None),
    }
}

fn is_sound(slot: &SlotState) -> bool {
    matches!(slot.status, Status::Good | Status::Pending { .. })
}

/// The files of slots that may be run.
fn held(state: &State) -> Vec<FileMark> {
    let releases = [&state.a, &state.b].into_iter().filter(|slot| is_sound(slot)).filter_map(|slot| slot.release.as_ref());
    releases.flat_map(|release| release.files.iter().cloned()).collect()
}

/// Why a file that is not brought cannot be taken from the slot that runs.
pub(crate) fn not_whole(name: &str) -> String {
    format!("{name} of what runs: expected what was installed, found other bytes: bring the whole release")
}

/// As much of a program as tells which machine it is for.
pub(crate) const PROGRAM_HEAD_BYTES: u64 = 20;

/// Holds a program, by its first bytes, to be one that this board can start.
pub(crate) fn check_program(head: &[u8], arch: Option<&str>) -> Result<(), String> {
    let machine = match head {
        [b'#', b'!', ..] => return Ok(()),
        // The sixth byte tells the order of the others; 18 and 19 are the machine.
        [0x7f, b'E', b'L', b'F', _, 2, ..] if head.len() >= 20 => u16::from_be_bytes([head[18], head[19]]),
        [0x7f, b'E', b'L', b'F', ..] if head.len() >= 20 => u16::from_le_bytes([head[18], head[19]]),
        _ => return Err("the runtime: expected a program, found a file of another kind".into()),
    };
    // A 64-bit kernel may start 32-bit programs too.
    let fits: &[u16] = match arch {
        Some("aarch64") => &[AARCH64, ARM],
        Some("armv7") => &[ARM],
        Some("x86_64") => &[X86_64, X86],
        _ => return Ok(()),
    };
    let name = match machine {
        AARCH64 => "aarch64".into(),
        ARM => "armv7".into(),
        X86_64 => "x86_64".into(),
        X86 => "x86".into(),
        other => format!("machine {other}"),
    };
    match fits.contains(&machine) {
        true => Ok(()),
        false => Err(format!("the runtime: expected a program for {}, as this board is, found one for {name}", arch.unwrap_or("it"))),
    }
}

// As elf.h numbers them.
const X86: u16 = 3;
const ARM: u16 = 40;
const X86_64: u16 = 62;
const AARCH64: u16 = 183;

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

/// What tells a board that is up from every other, whatever leads to it; none where its kernel does not say. Cards that were copied share
/// the machine's number, containers the boot's.
pub fn machine(host: &Host) -> Option<String> {
    let boot = host.text("proc/sys/kernel/random/boot_id")?;
    let more = ["etc/machine-id", "proc/sys/kernel/hostname"].map(|path| host.text(path).unwrap_or_default());
    Some(hex(&Sha256::digest([&boot[..], &more[0], &more[1]].concat()))[..32].to_owned())
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

/// Removes what deployments that were killed have left in the home of who asks: a bundle or a program each, or half of one.
fn sweep_copies() {
    let user = User::caller();
    let folder = match &user {
        Some(user) => user.home().map(|home| home.join(".cache/edge-seg")),
        None => cache_folder(),
    };
    let Some(folder) = folder else { return };
    // With no more rights than theirs: what their names lead to is their own affair.
    let _ = with_rights_of(user.as_ref(), false, || {
        for entry in std::fs::read_dir(&folder)?.flatten() {
            if entry.file_name().to_str().is_some_and(is_copy) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    });
}

/// Whether `deploy` calls a copy so: 16 digits of its content's digest, 8 of the operator's, what it is.
fn is_copy(name: &str) -> bool {
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|b| b.is_ascii_hexdigit());
    let parts = name.split_once('-').and_then(|(content, rest)| Some((content, rest.split_once('.')?.0)));
    parts.is_some_and(|(content, operator)| digits(content, 16) && digits(operator, 8))
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
        sweep_copies();
    }
    let outcome = paths.slots().drive(event, None).map_err(|error| anyhow!(error))?;
    record(paths, &outcome, who);
    Ok(outcome)
}

/// What a rollback is asked of.
#[derive(Debug, Clone, Default)]
pub struct Rollback {
    /// Only where what runs holds files of these SHA-256; anything where there is none.
    pub of: Vec<String>,
    /// Only while it is on trial.
    pub on_trial: bool,
    /// Only tell what would be done.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Debug)]
pub enum RolledBack {
    /// Nothing was to be done, and why.
    LeftAlone(String),
    /// What would be done.
    Would(String),
    /// It was done, or refused.
    Done(Box<Outcome>),
}

/// Goes back to the release before, where what runs is what `asked` means: whoever asks from afar may know less than the board.
///
/// # Errors
/// When the lock or the state cannot be had.
pub fn rollback(paths: &Paths, asked: &Rollback, who: &str) -> Result<RolledBack> {
    let _lock = if asked.dry_run { None } else { Some(lock(paths)?) };
    let mut slots = paths.slots();
    let state = slots.load()?;
    if let Some(why) = not_meant(&state, asked) {
        return Ok(RolledBack::LeftAlone(why));
    }
    // What is gone back from, which may be wanted and not run.
    let from = state.fallen_from().or(state.current);
    if !asked.of.is_empty() && from.is_some_and(|slot| holds(&state, slot.other(), &asked.of)) {
        let slot = from.map_or(Slot::A, Slot::other);
        return Ok(refused(state, format!("{} holds it too: {}", name_of(Some(slot)), "nothing older is here to go back to")));
    }
    if !asked.dry_run {
        let outcome = slots.drive_from(state, Event::Rollback, None);
        record(paths, &outcome, who);
        return Ok(RolledBack::Done(Box::new(outcome)));
    }
    if let Some(why) = paths.read_only() {
        return Ok(refused(state, why));
    }
    let (then, actions) = step(state.clone(), Event::Rollback);
    let mut to = None;
    for action in actions {
        match action {
            Action::Refuse(why) => return Ok(refused(state, why)),
            Action::ReadBack(slot) => {
                if let Err(why) = slots.check(&then, slot) {
                    return Ok(refused(state, why));
                }
                to = Some(slot);
            }
            _ => {}
        }
    }
    let told = |slot: Option<Slot>| match slot {
        Some(slot) => format!("slot {} ({})", slot.name(), describe(&state, slot)),
        None => name_of(None),
    };
    Ok(RolledBack::Would(match state.fallen_from() {
        Some(wanted) => {
            let then = if state.packaged.stands_in { "runs at the next start" } else { "stays" };
            format!("would no longer try {}: {} {then}{}", told(Some(wanted)), told(Some(wanted.other())), state.warning_of(wanted.other()))
        }
        None => format!("would go back from {} to {}", told(state.current), told(to)),
    }))
}

fn refused(state: State, why: String) -> RolledBack {
    RolledBack::Done(Box::new(Outcome { state, reports: Vec::new(), refused: Some(why), run: None, under_way: false }))
}

fn holds(state: &State, slot: Slot, digests: &[String]) -> bool {
    let release = state.slot(slot).release.as_ref();
    release.is_some_and(|release| digests.iter().all(|digest| release.files.iter().any(|file| file.sha256 == *digest)))
}

/// Why what runs is not what is to be rolled back.
fn not_meant(state: &State, asked: &Rollback) -> Option<String> {
    let (meant, runs) = match state.current {
        None => (asked.of.is_empty() && !asked.on_trial, name_of(None)),
        Some(slot) => {
            let on_trial = matches!(state.slot(slot).status, Status::Pending { .. });
            let from = state.fallen_from().unwrap_or(slot);
            let place = format!("in place of slot {} with {}", from.name(), describe(state, from));
            let runs = match from == slot {
                _ if state.packaged.stands_in => format!("{}, {place}", name_of(None)),
                true => format!("slot {} with {}", slot.name(), describe(state, slot)),
                false => format!("slot {} with {}, {place}", slot.name(), describe(state, slot)),
            };
            (holds(state, from, &asked.of) && (on_trial || !asked.on_trial), runs)
        }
    };
    (!meant).then(|| format!("left alone: it runs {runs}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(serial: u64) -> Release {
        let file = |name: &str, sha256: String| FileMark { name: name.into(), bytes: 1, sha256 };
        Release { name: "tiny".into(), serial, files: vec![file(BUNDLE, format!("bundle{serial}")), file(CONFIG, "config".into())] }
    }

    fn state(a: (Status, u64), b: (Status, u64), current: Option<Slot>) -> State {
        let slot = |(status, serial)| SlotState { status, release: Some(release(serial)), ..SlotState::empty() };
        State { a: slot(a), b: slot(b), current, ..State::new(Trial::default()) }
    }

    #[test]
    fn only_what_is_meant_is_rolled_back() {
        let asked = |of: &[&str], on_trial| Rollback { of: of.iter().map(|of| (*of).to_owned()).collect(), on_trial, dry_run: false };
        let pending = Status::Pending { tries_left: 2 };
        let good = state((Status::Good, 1), (Status::Good, 2), Some(Slot::B));
        let trial = state((Status::Good, 1), (pending, 2), Some(Slot::B));
        let packaged = state((Status::Good, 1), (Status::Good, 2), None);
        for (state, of, on_trial, meant) in [
            (&good, &[][..], false, true),
            (&good, &["bundle2"], false, true),
            (&good, &["bundle2", "config"], false, true),
            (&good, &["bundle2", "another"], false, false),
            (&good, &["bundle1"], false, false),
            // The board has called it good meanwhile.
            (&good, &["bundle2"], true, false),
            (&trial, &["bundle2"], true, true),
            (&trial, &["bundle1"], true, false),
            (&packaged, &["bundle2"], false, false),
            (&packaged, &[], true, false),
        ] {
            let why = not_meant(state, &asked(of, on_trial));
            assert_eq!(why.is_none(), meant, "{of:?} {on_trial}: {why:?}");
            assert!(why.is_none_or(|why| why.starts_with("left alone: it runs ")));
        }
    }

    #[test]
    fn what_stands_in_is_named_as_what_runs() {
        let mut stands_in = state((Status::Good, 1), (Status::Good, 2), Some(Slot::B));
        stands_in.packaged.stands_in = true;
        let asked = Rollback { of: vec!["another".into()], ..Rollback::default() };
        let why = not_meant(&stands_in, &asked).unwrap();
        assert!(why.starts_with(&format!("left alone: it runs {}, in place of slot ", name_of(None))), "{why}");
    }

    #[test]
    fn copies_are_told_from_what_else_lies_in_a_cache() {
        for name in ["0123456789abcdef-01234567.esb", "0123456789abcdef-01234567.esb.part", "0123456789abcdef-01234567.toml.minisig"] {
            assert!(is_copy(name), "{name}");
        }
        for name in ["words.json", "0123456789abcdef.esb", "0123456789abcdef-0123456.esb", "clip-01234567.esb", "0123456789abcdef-01234567"]
        {
            assert!(!is_copy(name), "{name}");
        }
    }

    #[test]
    fn a_program_for_another_machine_is_refused() {
        let elf = |order: u8, machine: [u8; 2]| [&b"\x7fELF\x02"[..], &[order], &[0; 12], &machine].concat();
        for (head, arch, fits) in [
            (elf(1, [183, 0]), Some("aarch64"), true),
            (elf(1, [62, 0]), Some("aarch64"), false),
            (elf(1, [183, 0]), Some("x86_64"), false),
            (elf(1, [183, 0]), Some("armv7"), false),
            (elf(1, [40, 0]), Some("aarch64"), true),
            (elf(2, [0, 183]), Some("aarch64"), true),
            (elf(1, [62, 0]), None, true),
            (b"#!/bin/sh\nexit".to_vec(), Some("aarch64"), true),
            (b"\x7fELF".to_vec(), Some("aarch64"), false),
            (b"text".to_vec(), None, false),
            (Vec::new(), None, false),
        ] {
            let checked = check_program(&head, arch);
            assert_eq!(checked.is_ok(), fits, "{head:?} {arch:?}: {checked:?}");
        }
        assert!(
            check_program(&elf(1, [183, 0]), Some("x86_64")).unwrap_err().contains("for x86_64, as this board is, found one for aarch64")
        );
    }
}
