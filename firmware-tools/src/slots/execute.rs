//! Carries the machine's actions out over a [`Disk`].
//!
//! ```text
//! ROOT/current          symbolic link to slots/a or slots/b: the pointer
//! ROOT/state.json       both slots' status, the floor, the trial
//! ROOT/state.copy.json  the same again, for a state file that is lost
//! ROOT/slots/a, b       bundle.esb, edge-seg, config.toml, release.json
//! ```

use super::disk::digest_of;
use super::machine::{Action, Event, Fallen, FileMark, GivenUp, Packaged, Release, Slot, SlotState, Started, State, Status, Trial, step};
use super::{Disk, Kind, machine};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

/// Room that is left free on the disk beside a new release.
pub(crate) const RESERVE_BYTES: u64 = 1 << 20;
pub(crate) const TOO_FULL: &str = "the disk is too full";
const RELEASE: &str = "release.json";
/// The state and its copy, in the order in which they are written and looked for.
const STATES: [&str; 2] = ["state.json", "state.copy.json"];
/// Files that two slots may have in common: large, and never changed where they are.
const SHARED: [&str; 2] = [machine::BUNDLE, machine::PROGRAM];

/// Bytes that are installed.
#[derive(Debug)]
pub enum Content {
    /// In memory.
    Bytes(Vec<u8>),
    /// In an open file, from its start on.
    File(File),
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Content::Bytes(bytes)
    }
}

impl Content {
    /// Reads it from its start on.
    ///
    /// # Errors
    /// When its file refuses.
    pub fn reader(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(match self {
            Content::Bytes(bytes) => Box::new(bytes.as_slice()),
            Content::File(file) => {
                let mut file: &File = file;
                file.rewind()?;
                Box::new(file)
            }
        })
    }

    fn mark(&self, name: &str) -> io::Result<FileMark> {
        let (bytes, sha256) = digest_of(self.reader()?)?;
        Ok(FileMark { name: name.into(), bytes, sha256 })
    }
}

/// The files that are installed together.
#[derive(Debug)]
pub struct Parts {
    /// The bundle.
    pub bundle: Content,
    /// The runtime.
    pub binary: Content,
    /// Its configuration.
    pub config: Content,
    /// Whether others than the service must not read the configuration.
    pub private: bool,
}

impl Parts {
    fn files(&self) -> [(&'static str, &Content, Kind); 3] {
        let config = if self.private { Kind::Private } else { Kind::Plain };
        [
            (machine::BUNDLE, &self.bundle, Kind::Plain),
            (machine::PROGRAM, &self.binary, Kind::Program),
            (machine::CONFIG, &self.config, config),
        ]
    }
}

/// Name, serial and file marks of what is about to be installed.
///
/// # Errors
/// When a file cannot be read.
pub fn release_of(name: &str, serial: u64, parts: &Parts) -> io::Result<Release> {
    let files = parts.files().into_iter().map(|(name, content, _)| content.mark(name).map_err(|error| of_file(name, error)));
    let files = files.collect::<io::Result<_>>()?;
    Ok(Release { name: name.into(), serial, files })
}

/// An error with the name of a release's file, in the words that the error has.
fn of_file(name: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

/// Where a release comes from.
pub trait Source {
    /// Checks the bundle's signature and contents and says what it is.
    ///
    /// # Errors
    /// Why it must not be installed.
    fn verify(&mut self) -> Result<Release, String>;
    /// Checks that it is for this board. `program` is the runtime, where the board has the very same one already.
    ///
    /// # Errors
    /// Why it is not.
    fn check_board(&mut self, program: Option<&Path>) -> Result<(), String>;
    /// The files.
    fn parts(&self) -> &Parts;
    /// A copy of a file on the slots' disk that a slot may share, in place of writing it once more.
    fn ready(&self, _name: &str) -> Option<PathBuf> {
        None
    }
    /// Checks once more what was written to a slot: the files that were brought may have changed since.
    ///
    /// # Errors
    /// Why it must not run.
    fn prove(&mut self, _slot: &Path) -> Result<(), String> {
        Ok(())
    }
}

/// The state file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The state or the pointer cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A newer tool has written the state.
    #[error(
        "{path}: expected format {FORMAT}, found {found}: a newer edge-seg wrote it, and this one changes nothing: install that version",
        path = path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
}

/// What came of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The state afterwards.
    pub state: State,
    /// What was done, in words.
    pub reports: Vec<String>,
    /// Why the event was refused or undone.
    pub refused: Option<String>,
    /// What is to be run, after [`Event::Boot`].
    pub run: Option<Option<Slot>>,
    /// Whether what was brought is on trial already, and has been started.
    pub under_way: bool,
}

/// What a newer tool has added is left out; what would be misread without it has a higher [`FORMAT`].
#[derive(Serialize, Deserialize)]
struct Saved {
    format: u64,
    floor: u64,
    trial: Trial,
    a: SlotState,
    b: SlotState,
    #[serde(default, skip_serializing_if = "Packaged::is_none")]
    packaged: Packaged,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    given_up: Vec<GivenUp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fallen: Option<Fallen>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started: Option<Started>,
}

/// Version of the state that is read and written.
const FORMAT: u64 = 1;

/// What one of the two copies of the state is.
enum Copy {
    Whole(Box<Saved>),
    Missing,
    /// Not what was written.
    Torn(String),
    /// A newer tool's, of this version.
    Newer(u64),
    Unread(io::Error),
}

/// The slots under one folder.
#[derive(Debug)]
pub struct Slots<D: Disk> {
    disk: D,
    root: PathBuf,
}

impl<D: Disk> Slots<D> {
    /// The slots under `root`, which need not exist.
    pub fn new(disk: D, root: impl Into<PathBuf>) -> Slots<D> {
        Slots { disk, root: root.into() }
    }

    /// Folder of a slot.
    pub fn folder(&self, slot: Slot) -> PathBuf {
        self.root.join("slots").join(slot.name())
    }

    /// The file system.
    pub fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    /// Gives the file system back.
    pub fn into_disk(self) -> D {
        self.disk
    }

    /// Reads state and pointer. A lost or unreadable state is read from its copy, and with both lost rebuilt from what the slots hold:
    /// what is whole there is on trial, for nothing tells how far it was trusted.
    ///
    /// # Errors
    /// When the disk refuses to read both, or a newer tool wrote them.
    pub fn load(&mut self) -> Result<State, StateError> {
        let current = self.pointer()?;
        let (mut saved, mut refused) = (None, None);
        for (path, copy) in STATES.map(|name| (self.root.join(name), self.copy(name))) {
            match copy {
                Copy::Whole(whole) => saved = Some(whole),
                Copy::Missing | Copy::Torn(_) => {}
                Copy::Newer(found) => refused = refused.or(Some(StateError::Newer { path, found })),
                Copy::Unread(source) => refused = refused.or(Some(StateError::Read { path, source })),
            }
            if saved.is_some() {
                break;
            }
        }
        // What cannot be read may be what counts: nothing is rebuilt in its place.
        if let Some(error) = refused.filter(|_| saved.is_none()) {
            return Err(error);
        }
        let mut state = State::new(Trial::default());
        state.current = current;
        match saved {
            Some(saved) => {
                (state.a, state.b, state.packaged) = (saved.a, saved.b, saved.packaged);
                (state.floor, state.trial, state.given_up) = (saved.floor, saved.trial, saved.given_up);
                (state.fallen, state.started) = (saved.fallen, saved.started);
            }
            None => {
                state.a = self.rebuild(Slot::A, state.trial);
                state.b = self.rebuild(Slot::B, state.trial);
                state.floor = [&state.a, &state.b].iter().filter_map(|slot| Some(slot.release.as_ref()?.serial)).max().unwrap_or(0);
            }
        }
        Ok(state)
    }

    fn copy(&mut self, name: &str) -> Copy {
        #[derive(Deserialize)]
        struct Version {
            format: u64,
        }
        let bytes = match self.disk.read(&self.root.join(name)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Copy::Missing,
            Err(error) => return Copy::Unread(error),
        };
        match (serde_json::from_slice::<Version>(&bytes), serde_json::from_slice::<Saved>(&bytes)) {
            (Ok(version), _) if version.format > FORMAT => Copy::Newer(version.format),
            (_, Ok(saved)) if saved.format == FORMAT => Copy::Whole(Box::new(saved)),
            (_, Ok(saved)) => Copy::Torn(format!("expected format {FORMAT}, found {}", saved.format)),
            (_, Err(error)) => Copy::Torn(error.to_string()),
        }
    }

    /// What is wrong with the two copies of the state, each in words; whether none is left to go by.
    pub fn damage(&mut self) -> (Vec<String>, bool) {
        let copies = STATES.map(|name| (self.root.join(name), self.copy(name)));
        let lost = !copies.iter().any(|(_, copy)| matches!(copy, Copy::Whole(_)));
        if copies.iter().all(|(_, copy)| matches!(copy, Copy::Missing))
            && self.disk.list(&self.root.join("slots/a")).unwrap_or_default().is_empty()
        {
            return (Vec::new(), false);
        }
        let told = copies.into_iter().filter_map(|(path, copy)| {
            let why = match copy {
                Copy::Whole(_) => return None,
                Copy::Missing => "it is gone".into(),
                Copy::Torn(why) => why,
                Copy::Newer(found) => format!("expected format {FORMAT}, found {found}"),
                Copy::Unread(error) => error.to_string(),
            };
            Some(format!("{}: {why}", path.display()))
        });
        (told.collect(), lost)
    }

    fn pointer(&mut self) -> Result<Option<Slot>, StateError> {
        let path = self.root.join("current");
        match self.disk.read_link(&path) {
            Ok(target) => Ok([Slot::A, Slot::B].into_iter().find(|slot| target == Path::new("slots").join(slot.name()))),
            // Not there, or something that is no link.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => Ok(None),
            Err(source) => Err(StateError::Read { path, source }),
        }
    }

    fn rebuild(&mut self, slot: Slot, trial: Trial) -> SlotState {
        let path = self.folder(slot).join(RELEASE);
        let release: Option<Release> = self.disk.read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let Some(release) = release else { return SlotState::empty() };
        let status = match self.read_back(slot, &release) {
            Ok(()) => Status::Pending { tries_left: trial.starts },
            Err(why) => Status::Bad { why },
        };
        SlotState { status, release: Some(release), rebuilt: true, ..SlotState::empty() }
    }

    /// Reads a slot's files back as a start does; tells those that this user may not read.
    ///
    /// # Errors
    /// Which file is not what was installed.
    pub fn check(&mut self, state: &State, slot: Slot) -> Result<Vec<String>, String> {
        let release = state.slot(slot).release.as_ref().ok_or("nothing is known of its contents")?;
        let mut unread = Vec::new();
        for file in &release.files {
            match self.compare(slot, file) {
                Ok(()) => {}
                Err((io::ErrorKind::PermissionDenied, _)) => unread.push(file.name.clone()),
                Err((_, why)) => return Err(why),
            }
        }
        Ok(unread)
    }

    /// Feeds one event to the machine and carries out all that follows from it.
    ///
    /// # Errors
    /// When the state cannot be read. What an action says is in the [`Outcome`].
    pub fn drive(&mut self, event: Event, source: Option<&mut dyn Source>) -> Result<Outcome, StateError> {
        let state = self.load()?;
        Ok(self.drive_from(state, event, source))
    }

    /// Like [`Slots::drive`], from a state that was loaded, with its trial changed or not.
    pub fn drive_from(&mut self, state: State, event: Event, mut source: Option<&mut dyn Source>) -> Outcome {
        let (state, mut actions) = step(state, event);
        let mut outcome = Outcome { state, reports: Vec::new(), refused: None, run: None, under_way: false };
        loop {
            let mut answer = Event::Done;
            for action in &actions {
                match self.act(action, &mut outcome, &mut source) {
                    Ok(None) => {}
                    Ok(Some(event)) => answer = event,
                    Err(why) => {
                        answer = Event::Failed { why };
                        break;
                    }
                }
            }
            if outcome.state.work == machine::Work::Idle && answer == Event::Done {
                return outcome;
            }
            let state = outcome.state.clone();
            (outcome.state, actions) = step(state, answer);
        }
    }

    fn act(&mut self, action: &Action, outcome: &mut Outcome, source: &mut Option<&mut dyn Source>) -> Result<Option<Event>, String> {
        let says = |what: String| move |error: io::Error| format!("{what}: {error}");
        match action {
            Action::Verify => match source {
                Some(source) => return source.verify().map(|release| Some(Event::Verified(release))),
                None => return Err("no release was given".into()),
            },
            Action::CheckBoard => {
                let source = source.as_mut().ok_or("no release was given")?;
                let incoming = outcome.state.incoming.as_ref();
                let files = incoming.map_or(&[][..], |release| &release.files);
                let is_there = |file: &&FileMark| source.ready(&file.name).is_some_and(|ready| self.is_whole(&ready, file));
                let there: Vec<FileMark> = files.iter().filter(is_there).cloned().collect();
                self.check_room(&outcome.state, &there)?;
                self.check_kept(&outcome.state)?;
                let program = incoming.and_then(|release| release.files.iter().find(|file| file.name == machine::PROGRAM));
                let held = program.and_then(|program| self.held_whole(program, &outcome.state));
                source.check_board(held.as_deref())?;
            }
            Action::Save => self.save(&outcome.state).map_err(says(format!("{}", self.root.join("state.json").display())))?,
            Action::Erase(slot) => self.erase(*slot).map_err(says(format!("slot {}", slot.name())))?,
            Action::Write(slot) => {
                let source = source.as_ref().ok_or("no release was given")?;
                let release = outcome.state.slot(*slot).release.clone().ok_or("no release was given")?;
                self.write(*slot, &**source, &release, &outcome.state).map_err(says(format!("writing slot {}", slot.name())))?;
            }
            Action::Sync(slot) => self.sync(*slot).map_err(says(format!("syncing slot {}", slot.name())))?,
            Action::ReadBack(slot) => {
                let release = outcome.state.slot(*slot).release.clone().ok_or("nothing is known of its contents")?;
                self.read_back(*slot, &release)?;
                if let Some(source) = source {
                    source.prove(&self.folder(*slot))?;
                }
            }
            Action::Point(slot) => self.point(*slot).map_err(says(format!("{}", self.root.join("current").display())))?,
            Action::Run(slot) => outcome.run = Some(*slot),
            Action::Refuse(why) => outcome.refused = Some(why.clone()),
            Action::Report(what) => outcome.reports.push(what.clone()),
        }
        Ok(None)
    }

    /// Why a release would be refused, as far as its name, number and sizes tell; nothing is written. `beside` bytes will be taken on the
    /// same disk before it is installed.
    pub fn foretell(&mut self, state: &State, release: Release, downgrade: bool, beside: u64) -> Option<String> {
        let (state, _) = step(state.clone(), Event::Install { downgrade });
        let (state, actions) = step(state, Event::Verified(release));
        let refused = actions.into_iter().find_map(|action| match action {
            Action::Refuse(why) => Some(why),
            _ => None,
        });
        // A folder that is not there yet has as much room as its disk, which nobody has asked for.
        refused.or_else(|| {
            self.disk.list(&self.root).ok().filter(|names| !names.is_empty()).and_then(|_| self.room(&state, &[], beside).err())
        })
    }

    fn check_room(&mut self, state: &State, there: &[FileMark]) -> Result<(), String> {
        self.make_root().map_err(|error| format!("{}: {error}", self.root.display()))?;
        self.room(state, there, 0)
    }

    /// What stays beside a new release must be whole, or the slot that is about to be written holds all that is left.
    fn check_kept(&mut self, state: &State) -> Result<(), String> {
        let (target, kept) = (state.target(), state.target().other());
        let releases = [target, kept].map(|slot| state.slot(slot).release.clone().filter(|_| state.may_run(slot)));
        let [Some(old), Some(stays)] = releases else { return Ok(()) };
        let Err(why) = self.read_back(kept, &stays) else { return Ok(()) };
        if self.read_back(target, &old).is_err() {
            return Ok(());
        }
        // A configuration that was edited where it lies may be taken as it is now.
        let folder = self.folder(kept);
        let is_config = |file: &FileMark| file.name == machine::CONFIG;
        let only_config = stays.files.iter().all(|file| is_config(file) || self.is_whole(&folder.join(&file.name), file));
        let incoming = state.incoming.as_ref().map_or(&[][..], |release| &release.files);
        let is_there = |file: &FileMark| match is_config(file) {
            true => self.is_whole(&folder.join(&file.name), file),
            false => stays.files.contains(file),
        };
        if only_config && incoming.iter().all(is_there) {
            return Ok(());
        }
        let config = folder.join(machine::CONFIG);
        let cure = match only_config && self.disk.digest(&config).is_ok() {
            true => format!("first take its configuration as it is now: sudo edge-seg-fw reconfigure {} --restart", config.display()),
            false => "first let it run, then bring the release once more: sudo systemctl restart edge-seg.service".into(),
        };
        Err(format!("slot {} alone is whole ({why}): {cure}", target.name()))
    }

    /// Whether there is room for what is brought, and for so many bytes `beside` it, but for what is `there` already and needs a second name
    /// alone.
    fn room(&mut self, state: &State, there: &[FileMark], beside: u64) -> Result<(), String> {
        let incoming = state.incoming.as_ref().map_or(&[][..], |release| &release.files);
        let is_new = |file: &&FileMark| self.held(file, state).is_none() && !there.contains(file);
        let needed = incoming.iter().filter(is_new).map(|file| file.bytes).sum::<u64>() + RESERVE_BYTES + beside;
        let free = self.disk.free_bytes(&self.root).map_err(|error| format!("{}: {error}", self.root.display()))?;
        // A file that the other slot has as well stays when this one goes.
        let kept = state.slot(state.target().other()).release.as_ref().map_or(&[][..], |release| &release.files);
        let old = state.slot(state.target()).release.as_ref().map_or(&[][..], |release| &release.files);
        // What still runs keeps its room.
        let goes = |file: &&FileMark| !kept.contains(file) && state.runs() != Some(state.target());
        let freed: u64 = old.iter().filter(goes).map(|file| file.bytes).sum();
        match free.saturating_add(freed) >= needed {
            true => Ok(()),
            false => {
                let needs = if beside == 0 { "the release needs" } else { "the release and its copy need" };
                Err(format!("{}: {TOO_FULL}: {needs} {needed} bytes, {} can be had", self.root.display(), free + freed))
            }
        }
    }

    /// The same file in the slot that is not written: a second name of it takes no room.
    fn held(&self, file: &FileMark, state: &State) -> Option<PathBuf> {
        let other = state.target().other();
        let holds = state.slot(other).release.as_ref().is_some_and(|release| release.files.contains(file));
        (holds && SHARED.contains(&file.name.as_str())).then(|| self.folder(other).join(&file.name))
    }

    /// As [`Slots::held`], read back: one that has rotted there is no file to share.
    fn held_whole(&mut self, file: &FileMark, state: &State) -> Option<PathBuf> {
        let held = self.held(file, state)?;
        self.is_whole(&held, file).then_some(held)
    }

    fn is_whole(&mut self, path: &Path, file: &FileMark) -> bool {
        self.disk.digest(path).is_ok_and(|(bytes, sha256)| bytes == file.bytes && sha256 == file.sha256)
    }

    fn save(&mut self, state: &State) -> io::Result<()> {
        let (a, b, given_up) = (state.a.clone(), state.b.clone(), state.given_up.clone());
        let (format, fallen, started) = (FORMAT, state.fallen, state.started.clone());
        let saved = Saved { format, floor: state.floor, trial: state.trial, a, b, packaged: state.packaged, given_up, fallen, started };
        let mut bytes = serde_json::to_vec_pretty(&saved)?;
        bytes.push(b'\n');
        self.make_root()?;
        STATES.iter().try_for_each(|name| self.disk.replace(&self.root.join(name), &bytes))
    }

    /// Makes the root; its own name must last as well, or all that is synced below it could be lost with it.
    fn make_root(&mut self) -> io::Result<()> {
        let (Some(parent), Some(name)) = (self.root.parent(), self.root.file_name()) else { return Ok(()) };
        let parent = if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_path_buf() };
        let is_new = !self.disk.list(&parent)?.iter().any(|found| Some(found.as_str()) == name.to_str());
        self.disk.make_folder(&self.root.join("slots"))?;
        if is_new {
            self.disk.sync_folder(&parent)?;
        }
        Ok(())
    }

    fn erase(&mut self, slot: Slot) -> io::Result<()> {
        let folder = self.folder(slot);
        for name in self.disk.list(&folder)? {
            self.disk.remove(&folder.join(&name)).map_err(|error| of_file(&name, error))?;
        }
        Ok(())
    }

    fn write(&mut self, slot: Slot, source: &dyn Source, release: &Release, state: &State) -> io::Result<()> {
        let folder = self.folder(slot);
        self.disk.make_folder(&folder)?;
        for (name, content, kind) in source.parts().files() {
            let path = folder.join(name);
            let mark = release.files.iter().find(|file| file.name == name).ok_or(io::ErrorKind::InvalidInput)?;
            let whole = self.held_whole(mark, state).or_else(|| source.ready(name).filter(|ready| self.is_whole(ready, mark)));
            if let Some(whole) = whole
                && self.disk.share(&whole, &path).is_ok()
            {
                continue;
            }
            let mut reader = content.reader()?;
            self.disk.write(&path, &mut *reader, kind).map_err(|error| of_file(name, error))?;
        }
        let note = serde_json::to_vec(release)?;
        self.disk.write(&folder.join(RELEASE), &mut note.as_slice(), Kind::Plain).map_err(|error| of_file(RELEASE, error))
    }

    fn sync(&mut self, slot: Slot) -> io::Result<()> {
        let folder = self.folder(slot);
        for name in self.disk.list(&folder)? {
            self.disk.sync_file(&folder.join(&name)).map_err(|error| of_file(&name, error))?;
        }
        self.disk.sync_folder(&folder)?;
        self.disk.sync_folder(&self.root.join("slots"))?;
        self.disk.sync_folder(&self.root)
    }

    fn read_back(&mut self, slot: Slot, release: &Release) -> Result<(), String> {
        release.files.iter().try_for_each(|file| self.compare(slot, file).map_err(|(_, why)| why))
    }

    fn compare(&mut self, slot: Slot, file: &FileMark) -> Result<(), (io::ErrorKind, String)> {
        let path = self.folder(slot).join(&file.name);
        let read = self.disk.digest(&path);
        let (bytes, sha256) = read.map_err(|error| (error.kind(), format!("{}: {error}", path.display())))?;
        if (bytes, &sha256) == (file.bytes, &file.sha256) {
            return Ok(());
        }
        let (path, expected, of) = (path.display(), file.bytes, &file.sha256);
        let why = format!("{path}: expected {expected} bytes with SHA-256 {of}, found {bytes} bytes with {sha256}");
        Err((io::ErrorKind::InvalidData, why))
    }

    fn point(&mut self, slot: Option<Slot>) -> io::Result<()> {
        let path = self.root.join("current");
        match slot {
            None => self.disk.remove(&path)?,
            Some(slot) => {
                let beside = self.root.join("current.new");
                self.disk.remove(&beside)?;
                self.disk.link(&Path::new("slots").join(slot.name()), &beside)?;
                self.disk.rename(&beside, &path)?;
            }
        }
        self.disk.sync_folder(&self.root)
    }
}
