//! The rules of the slots as a pure function: `step(State, Event) -> (State, Vec<Action>)`.
//!
//! The executor carries the actions out in order. When all are done it feeds [`Event::Done`], at the first that fails
//! [`Event::Failed`]. A state is kept on disk only by [`Action::Save`]; which slot runs is kept by the pointer, which
//! [`Action::Point`] switches by one rename. Whatever step a power cut interrupts, the next start begins with
//! [`Event::Boot`] on the state and the pointer that are on disk.

use edge_seg_bundle::files::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// One of the two places for a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// The one that is not this one.
    pub fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }

    /// Name of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Slot::A => "a",
            Slot::B => "b",
        }
    }
}

/// A file of a release: its length and SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    /// Name in the slot's folder.
    pub name: String,
    /// Length.
    pub bytes: u64,
    /// SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// What is advised where a number is too low.
pub(crate) const ALLOW_DOWNGRADE: &str = "--allow-downgrade installs it all the same";

/// Name of the bundle in a slot.
pub const BUNDLE: &str = "bundle.esb";
/// Name of the runtime in a slot.
pub const PROGRAM: &str = "edge-seg";
/// Name of the configuration in a slot.
pub const CONFIG: &str = "config.toml";

/// What a slot holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The model's name.
    pub name: String,
    /// Its release number.
    pub serial: u64,
    /// The files, all of them.
    pub files: Vec<FileMark>,
}

impl Release {
    /// What tells it from every other release: the SHA-256 of its files' names and hashes.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for file in &self.files {
            hash.update(format!("{} {}\n", file.sha256, file.name));
        }
        hex(&hash.finalize())
    }

    /// The SHA-256 of its bundle.
    fn bundle(&self) -> Option<&str> {
        self.files.iter().find(|file| file.name == BUNDLE).map(|file| file.sha256.as_str())
    }
}

/// How far a slot is to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing was ever written there.
    Empty,
    /// Not to be run.
    Bad {
        /// Why.
        why: String,
    },
    /// Written and read back, not yet proven.
    Pending {
        /// Starts that are left before it counts as bad.
        tries_left: u32,
    },
    /// Proven by healthy frames, or by the operator.
    Good,
    /// Whole, and not wanted: the last choice, where nothing else starts.
    Aside {
        /// Why.
        why: String,
    },
}

/// A slot's status and contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotState {
    /// Status.
    pub status: Status,
    /// Contents, once something was written.
    pub release: Option<Release>,
    /// Starts in a row in which a good release showed too few healthy frames or ended badly soon after them, with the one that is under way
    /// and has yet to show them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed_starts: u32,
    /// Failed starts in a row up to the one that has shown its frames: forgotten, unless that one ends badly soon after.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spared_starts: u32,
    /// What its trial asks and the newest start that came so far did not do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fell_short: Option<String>,
    /// Starts of its trial that were cut off after its frames, with no word of how they ended.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut_starts: u32,
    /// Whether it is bad because its files were found to be no longer what was installed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changed: bool,
    /// Whether it is on trial because the state was lost, whatever it had proved before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rebuilt: bool,
    /// Whether the loss of its trial is proven by another release that works where it did not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub doubt: Doubt,
}

/// What is known of a lost trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Doubt {
    /// Nothing speaks for the release.
    #[default]
    None,
    /// No other release has worked since.
    Open,
    /// What came after it failed too: the cause is likely theirs in common.
    Shared,
}

/// What the newest start really runs, whatever was installed or gone back to since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The slot; none is the packaged release.
    pub slot: Option<Slot>,
    /// [`Release::digest`] of what the slot held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Whether it has shown its frames.
    #[serde(default)]
    pub shown: bool,
    /// Whether it was stopped, or ended badly soon after its frames.
    #[serde(default)]
    pub ended: bool,
    /// Whether it is on trial, has shown the frames that are asked for, and runs on for what else is asked: no end of it is on record.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub proving: bool,
}

fn is_zero<T: Default + PartialEq>(count: &T) -> bool {
    *count == T::default()
}

/// The packaged release beside what is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Packaged {
    /// Whether it was started in place of the slot that the pointer names, which keeps failing.
    pub stands_in: bool,
    /// Its starts in a row, for as long as another release could be started and this one has not worked.
    pub failed_starts: u32,
    /// As [`SlotState::spared_starts`].
    #[serde(skip_serializing_if = "is_zero")]
    pub spared_starts: u32,
}

/// A release that did not prove itself here, or that the operator went back from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// What it is.
    pub release: Release,
    /// Why.
    pub why: String,
}

/// A good slot that is wanted, and failed so often that the other one runs in its place: what it failed for may be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallen {
    /// The slot.
    pub slot: Slot,
    /// How often it was tried again because the other one had worked for [`State::steady_after`].
    #[serde(default)]
    pub retries: u32,
    /// Whether the next start tries it, once the other one has shown enough frames.
    #[serde(default)]
    pub due: bool,
    /// Seconds that the other one has worked since, kept over its starts: a camera that is switched off each night works for none at once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub worked_s: u64,
    /// Whether the other one has shown its frames since: what has merely been started in its place has proved nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stood_for: bool,
}

/// How long the other one works before what is wanted is tried again, longer each time: one that truly fails takes the camera for a start
/// each. Half a day at most, for boards that are switched off at night.
const TRIED_AGAIN_S: [u64; 3] = [600, 3600, 43_200];

/// How many starts of a trial are given back that were cut off after its frames: power fails now and then, and what brings the whole board
/// down must not do so for ever.
const MOST_CUT_STARTS: u32 = 5;

/// How many of them are remembered, the newest.
const MOST_GIVEN_UP: usize = 8;

impl Packaged {
    /// Whether nothing is known of it.
    pub fn is_none(&self) -> bool {
        *self == Packaged::default()
    }
}

impl SlotState {
    /// A slot that was never written.
    pub fn empty() -> SlotState {
        SlotState {
            status: Status::Empty,
            release: None,
            failed_starts: 0,
            spared_starts: 0,
            fell_short: None,
            cut_starts: 0,
            changed: false,
            rebuilt: false,
            doubt: Doubt::None,
        }
    }
}

/// How many starts and frames a release is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trial {
    /// Starts in which it must become healthy.
    pub starts: u32,
    /// Healthy frames of one start that make it good.
    pub frames: u64,
    /// What else is asked of that start.
    #[serde(skip_serializing_if = "Bar::is_none")]
    pub bar: Bar,
}

impl Default for Trial {
    fn default() -> Trial {
        Trial { starts: 3, frames: 10, bar: Bar::default() }
    }
}

/// What is asked of a trial beyond frames; 0 asks nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Bar {
    /// Minutes that it must run, from its first frame on.
    pub minutes: u32,
    /// Most milliseconds that 95 of 100 frames may take.
    pub p95_ms: u32,
    /// Most MiB that its memory may grow by, from a quarter of the trial on.
    pub growth_mib: u32,
}

impl Bar {
    /// Whether it asks nothing.
    pub fn is_none(&self) -> bool {
        *self == Bar::default()
    }

    /// The options that say it.
    pub fn words(&self) -> Vec<String> {
        let options = [("minutes", self.minutes), ("p95-ms", self.p95_ms), ("growth-mib", self.growth_mib)];
        options.iter().filter(|(_, value)| *value > 0).map(|(name, value)| format!("--trial-{name}={value}")).collect()
    }
}

/// What the machine waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Work {
    /// Nothing.
    #[default]
    Idle,
    /// The new bundle's signature and contents.
    Verifying {
        /// Whether a lower serial than the floor is accepted.
        downgrade: bool,
    },
    /// What runs is read back: it may be what is brought.
    Comparing(Slot),
    /// Whether the new bundle is for this board.
    Checking,
    /// The files in the target slot.
    Writing(Slot),
    /// The pending mark and the pointer.
    Switching(Slot),
    /// A start: the slot's contents are read.
    Probing(Slot),
    /// A start: try and pointer are being recorded.
    Starting(Slot),
    /// A start that cannot be recorded: another slot's contents are read.
    Resorting {
        /// The slot that is read.
        to: Slot,
        /// The one that was chosen, and is whole.
        from: Slot,
    },
    /// The mark of a slot that proved itself.
    Confirming,
    /// The pointer, back to the other slot or to the packaged release.
    Returning(Option<Slot>),
    /// What is left behind by something that failed.
    Tidying,
    /// What is not needed.
    Freeing,
}

/// The longest wait between two starts that fail.
const LONGEST_WAIT_S: u64 = 240;

/// Everything the rules know. `current` comes from the pointer, the rest but `work` and `incoming` from the state file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Slot A.
    pub a: SlotState,
    /// Slot B.
    pub b: SlotState,
    /// Where the pointer points; `None` is the packaged release.
    pub current: Option<Slot>,
    /// The packaged release.
    pub packaged: Packaged,
    /// What was given up here, whatever its slot holds by now.
    pub given_up: Vec<GivenUp>,
    /// What is wanted, where another runs in its place or it has only begun to work again.
    pub fallen: Option<Fallen>,
    /// What the newest start runs; none before something was installed.
    pub started: Option<Started>,
    /// Highest serial that was ever good; lower ones are refused.
    pub floor: u64,
    /// Trial of a new release.
    pub trial: Trial,
    /// What is going on.
    pub work: Work,
    /// The release being installed.
    pub incoming: Option<Release>,
}

impl State {
    /// A board on which nothing was ever installed.
    pub fn new(trial: Trial) -> State {
        State {
            a: SlotState::empty(),
            b: SlotState::empty(),
            current: None,
            packaged: Packaged::default(),
            given_up: Vec::new(),
            fallen: None,
            started: None,
            floor: 0,
            trial,
            work: Work::Idle,
            incoming: None,
        }
    }

    /// A slot.
    pub fn slot(&self, slot: Slot) -> &SlotState {
        match slot {
            Slot::A => &self.a,
            Slot::B => &self.b,
        }
    }

    fn slot_mut(&mut self, slot: Slot) -> &mut SlotState {
        match slot {
            Slot::A => &mut self.a,
            Slot::B => &mut self.b,
        }
    }

    fn set(&mut self, slot: Slot, status: Status) {
        let state = self.slot_mut(slot);
        *state = SlotState { status, release: state.release.take(), ..SlotState::empty() };
    }

    fn fill(&mut self, slot: Slot, release: Option<Release>) {
        self.slot_mut(slot).release = release;
    }

    /// The slot that is wanted, whatever runs.
    pub fn wanted(&self) -> Option<Slot> {
        let fallen = self.fallen.map(|fallen| fallen.slot).filter(|slot| self.good(*slot));
        fallen.or(self.current.map(|slot| match self.slot(slot).status {
            Status::Bad { .. } | Status::Empty => slot.other(),
            _ => slot,
        }))
    }

    /// The slot that is wanted, where another one runs in its place.
    pub fn fallen_from(&self) -> Option<Slot> {
        self.fallen.map(|fallen| fallen.slot).filter(|slot| self.good(*slot) && self.current.is_some_and(|current| current != *slot))
    }

    /// Gives what is wanted its turn at the next start, where another one has worked in its place: the operator or the system starts it,
    /// and not the service manager after a failure.
    pub fn try_wanted(&mut self) {
        if let Some(fallen) = &mut self.fallen {
            fallen.due = true;
        }
    }

    /// How long what runs must still work until [`Event::Steady`] or [`Event::PackagedSteady`]; nothing is waited for where what is wanted
    /// has run all along.
    pub fn steady_after(&self) -> Option<std::time::Duration> {
        let retries = match self.fallen.filter(|fallen| self.good(fallen.slot)) {
            Some(fallen) => fallen.retries as usize,
            None if !self.packaged.stands_in => return None,
            None if self.wanted().is_some_and(|slot| self.good(slot)) => 0,
            // What the operator left is no more than a last choice.
            None => usize::MAX,
        };
        let worked_s = self.fallen.filter(|_| self.is_stood_for()).map_or(0, |fallen| fallen.worked_s);
        let wait = TRIED_AGAIN_S[retries.min(TRIED_AGAIN_S.len() - 1)].saturating_sub(worked_s);
        Some(std::time::Duration::from_secs(wait))
    }

    /// Whether another release runs in place of what is wanted.
    fn is_stood_for(&self) -> bool {
        self.packaged.stands_in || self.fallen_from().is_some()
    }

    /// What is worth knowing before a slot is gone back to: nothing, or words that begin with a comma.
    pub fn warning_of(&self, to: Slot) -> String {
        match (self.packaged.stands_in, self.is_failing(to)) {
            (true, _) => ", though it kept failing too: the packaged release, which runs in place of both, ends".into(),
            (false, true) => format!(", though it has failed starts: {}", describe(self, to)),
            (false, false) => String::new(),
        }
    }

    /// How many rounds a release (`None` is the packaged one) of `choices` has failed. What is wanted has the starts in which a release must
    /// become healthy, another slot one: where that fails too, the cause is likely theirs in common.
    fn rounds_failed(&self, slot: Option<Slot>, choices: &[Option<Slot>]) -> u32 {
        let starts = self.trial.starts.max(1);
        match slot {
            Some(slot) if self.wanted() != Some(slot) => self.slot(slot).failed_starts,
            Some(slot) => self.slot(slot).failed_starts / starts,
            None => {
                let comes_last = self.wanted().is_some() && choices.iter().flatten().count() > 1;
                self.packaged.failed_starts / starts + u32::from(comes_last)
            }
        }
    }

    /// Whether a good slot has used up its starts without showing enough frames.
    pub fn fails(&self, slot: Slot) -> bool {
        self.slot(slot).failed_starts >= self.trial.starts.max(1)
    }

    /// What the next start tries first; `None` is the packaged release.
    pub fn next_start(&self) -> Option<Slot> {
        self.ahead().1
    }

    /// What the next start finds, and what it tries first.
    fn ahead(&self) -> (State, Option<Slot>) {
        let mut next = self.clone();
        settle(&mut next, &mut Vec::new());
        let tried = pick(&next, &choices(&next));
        (next, tried)
    }

    /// Whether the pointer is gone: it names no slot, and one holds what nobody went back from.
    pub fn is_unpointed(&self) -> bool {
        self.current.is_none() && [Slot::A, Slot::B].into_iter().any(|slot| self.good(slot) || self.pending(slot))
    }

    /// What runs, as far as the slots know; `None` is the packaged release.
    pub fn runs(&self) -> Option<Slot> {
        self.current.filter(|_| !self.packaged.stands_in)
    }

    /// Why a file that is not brought cannot be taken from what runs: it is not what is wanted.
    pub fn not_to_be_kept(&self, brings: impl Fn(&str) -> bool) -> Option<String> {
        let (runs, wanted) = self.current.zip(self.fallen_from())?;
        let file = |slot: Slot, name: &str| self.slot(slot).release.as_ref()?.files.iter().find(|file| file.name == name);
        let name = [BUNDLE, PROGRAM].into_iter().find(|name| !brings(name) && file(runs, name) != file(wanted, name))?;
        let (runs, wanted) = (runs.name(), wanted.name());
        Some(format!(
            "slot {runs} runs in place of slot {wanted}, which kept failing and has another {name}: bring the whole release, or give slot \
             {wanted} up first: edge-seg-fw rollback"
        ))
    }

    /// How long to wait before the next start, where nobody asks for it: nothing at first and for what has not failed itself, longer the
    /// more starts in a row have failed.
    pub fn patience(&self) -> std::time::Duration {
        let (next, tried) = self.ahead();
        if tried.is_some_and(|slot| next.slot(slot).failed_starts == 0) {
            return std::time::Duration::ZERO;
        }
        let failed = [next.a.failed_starts, next.b.failed_starts, next.packaged.failed_starts].into_iter().fold(0, u32::saturating_add);
        std::time::Duration::from_secs(match failed.checked_sub(self.trial.starts.max(1)) {
            None => 0,
            Some(beyond) => (2u64 << beyond.min(16)).min(LONGEST_WAIT_S),
        })
    }

    fn bad(&mut self, slot: Slot, why: impl Into<String>) {
        self.set(slot, Status::Bad { why: why.into() });
    }

    fn give_up(&mut self, slot: Slot, why: &str) {
        let Some(release) = self.slot(slot).release.clone() else { return };
        self.given_up.retain(|given_up| given_up.release != release);
        self.given_up.push(GivenUp { release, why: why.into() });
        self.given_up.drain(..self.given_up.len().saturating_sub(MOST_GIVEN_UP));
    }

    fn take_up(&mut self, slot: Slot) {
        let release = self.slot(slot).release.clone();
        self.given_up.retain(|given_up| Some(&given_up.release) != release.as_ref());
    }

    /// The slot on trial that has been started.
    pub fn under_way(&self) -> Option<Slot> {
        let starts = self.trial.starts;
        self.current.filter(|slot| matches!(self.slot(*slot).status, Status::Pending { tries_left } if tries_left < starts))
    }

    fn good(&self, slot: Slot) -> bool {
        self.slot(slot).status == Status::Good
    }

    fn pending(&self, slot: Slot) -> bool {
        matches!(self.slot(slot).status, Status::Pending { .. })
    }

    fn aside(&self, slot: Slot) -> bool {
        matches!(self.slot(slot).status, Status::Aside { .. })
    }

    /// Starts in a row of a slot that have failed, without the one that may still show its frames.
    pub fn ended_starts(&self, slot: Slot) -> u32 {
        let is_under_way = self.runs() == Some(slot) && !self.started.as_ref().is_some_and(|started| started.ended);
        self.slot(slot).failed_starts.saturating_sub(is_under_way.into())
    }

    /// What really runs, where that is not what the next start runs: what was installed or gone back to since has not run yet.
    pub fn runs_still(&self) -> Option<&Started> {
        self.started.as_ref().filter(|started| started.slot != self.runs() || started.digest != self.digest_in(started.slot))
    }

    fn digest_in(&self, slot: Option<Slot>) -> Option<String> {
        self.slot(slot?).release.as_ref().map(Release::digest)
    }

    /// The newest start, where it runs this.
    fn start_of(&mut self, slot: Option<Slot>, digest: Option<&str>) -> Option<&mut Started> {
        self.started.as_mut().filter(|started| started.slot == slot && started.digest.as_deref() == digest)
    }

    /// Before the pointer is moved: where nobody has noted what was started, it is what the pointer names.
    fn note_started(&mut self) {
        if self.started.is_none() {
            let slot = self.runs();
            let shown = slot.is_some_and(|slot| self.good(slot) && self.slot(slot).failed_starts == 0);
            self.started = Some(Started { slot, digest: self.digest_in(slot), shown, ended: false, proving: false });
        }
    }

    /// Notes that what a slot holds, or the packaged release, has shown its frames since it was started; whether that is news.
    fn has_shown(&mut self, slot: Option<Slot>) -> bool {
        let digest = self.digest_in(slot);
        let started = self.start_of(slot, digest.as_deref()).filter(|started| !started.shown);
        started.map(|started| started.shown = true).is_some()
    }

    fn has_worked(&mut self, seconds: u64) {
        let is_stood_for = self.is_stood_for();
        if let Some(fallen) = self.fallen.as_mut().filter(|_| is_stood_for) {
            fallen.worked_s = fallen.worked_s.saturating_add(seconds);
        }
    }

    /// Another release works where a trial was lost: that proves it, unless another failed there too. Then the cause was theirs in common,
    /// and the release, which is told, has its trial again.
    fn judge_lost_trials(&mut self, works: Option<Slot>) -> Option<Slot> {
        let mut again = None;
        for slot in [Slot::A, Slot::B].into_iter().filter(|slot| works != Some(*slot)) {
            if std::mem::take(&mut self.slot_mut(slot).doubt) == Doubt::Shared {
                self.take_up(slot);
                self.set(slot, Status::Pending { tries_left: self.trial.starts });
                again = Some(slot);
            }
        }
        again
    }

    /// Why neither other words nor another program can be given to what runs, and what can be done in place of that.
    pub fn not_to_be_changed(&self, brings: impl Fn(&str) -> bool) -> Option<String> {
        let on_trial = self.current.filter(|slot| self.pending(*slot) && (self.good(slot.other()) || self.pending(slot.other())));
        on_trial.map(|slot| self.trial_comes_first(slot)).or_else(|| self.not_to_be_kept(brings))
    }

    fn trial_comes_first(&self, slot: Slot) -> String {
        format!(
            "slot {} is on trial, and slot {} is what it would fall back to: mark-good or rollback comes first",
            slot.name(),
            slot.other().name()
        )
    }

    /// Whether a slot has failed since it last worked. One that is tried again where the other one works has yet to show that it no longer
    /// does.
    fn is_failing(&self, slot: Slot) -> bool {
        let tried_again = self.fallen.is_some_and(|fallen| fallen.slot == slot) && self.slot(slot).failed_starts > 0;
        tried_again || self.ended_starts(slot) > 0
    }

    /// How much would be lost with a slot.
    fn worth(&self, slot: Slot) -> u32 {
        let stands_in = self.fallen.filter(|fallen| fallen.slot == slot.other());
        let has_stood_in = stands_in.is_some_and(|fallen| fallen.stood_for);
        // The start under way of what stands in says nothing for it before it has worked there.
        let is_unproven = stands_in.is_some() && !has_stood_in && self.slot(slot).failed_starts > 0;
        let is_stood_for = self.fallen.is_some_and(|fallen| fallen.slot == slot && fallen.stood_for);
        match self.slot(slot).status {
            Status::Good if !self.is_failing(slot) && !is_unproven && !is_stood_for => 4,
            Status::Aside { .. } if has_stood_in && !self.is_failing(slot) => 3,
            Status::Good | Status::Pending { .. } => 2,
            Status::Aside { .. } => 1,
            Status::Bad { .. } | Status::Empty => 0,
        }
    }

    /// Whether a slot may be started at all.
    pub fn may_run(&self, slot: Slot) -> bool {
        self.worth(slot) > 0
    }

    /// Where a new release goes: never the slot that works.
    pub fn target(&self) -> Slot {
        if let Work::Writing(slot) = self.work {
            return slot;
        }
        let kept = self.wanted().or_else(|| self.next_start()).unwrap_or(Slot::B);
        if self.worth(kept.other()) > self.worth(kept) { kept } else { kept.other() }
    }
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The operator brings a release.
    Install {
        /// Accept a lower serial than the floor.
        downgrade: bool,
    },
    /// The bundle is whole and its signature holds.
    Verified(Release),
    /// All actions asked for are done.
    Done,
    /// An action failed, and those after it were not tried.
    Failed {
        /// What the action said.
        why: String,
    },
    /// The service starts.
    Boot,
    /// A release that runs has shown healthy frames since it started.
    Healthy {
        /// The slot that it was started from.
        slot: Slot,
        /// [`Release::digest`] of what was started: the slot may hold another release by now.
        digest: String,
        /// How many.
        frames: u64,
        /// Whether its source came to its end and the runtime ended well: there will be no more.
        ended: bool,
    },
    /// A release on trial has shown its frames, and runs on for what else its trial asks.
    Proving {
        /// The slot that it was started from.
        slot: Slot,
        /// [`Release::digest`] of what was started.
        digest: String,
    },
    /// A release that runs does not do what its trial asks, and was stopped.
    FellShort {
        /// The slot that it was started from.
        slot: Slot,
        /// [`Release::digest`] of what was started.
        digest: String,
        /// What it did not do.
        why: String,
    },
    /// A release that runs has worked for [`State::steady_after`].
    Steady {
        /// The slot that it was started from.
        slot: Slot,
        /// [`Release::digest`] of what was started.
        digest: String,
    },
    /// What runs in place of what is wanted has worked for so long, beside what was told before.
    Worked {
        /// Seconds.
        seconds: u64,
    },
    /// What was started runs no more.
    Ended {
        /// The slot that it was started from; none is the packaged release.
        slot: Option<Slot>,
        /// [`Release::digest`] of what was started.
        digest: Option<String>,
        /// How.
        how: Ending,
        /// Seconds that it has worked in place of what is wanted, beside what was told before.
        worked_s: u64,
    },
    /// The packaged release has shown its frames.
    PackagedWorks,
    /// The packaged release has worked in place of what is installed for [`State::steady_after`].
    PackagedSteady,
    /// The operator vouches for the running release.
    MarkGood,
    /// The operator wants the other slot back.
    Rollback,
    /// The operator wants the space of a slot that is not needed.
    Prune,
}

/// How a start ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Somebody stopped it before its time was over: it has neither failed nor proved anything.
    Stopped,
    /// Badly, soon after its first frame: a start of it is no better than one that fails.
    Early,
    /// It was on trial, had shown its frames, and did not stay for what else is asked.
    Short {
        /// In words.
        why: String,
    },
    /// Any other: what there is to count was counted as it began.
    Other,
}

/// What the executor does, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Check the bundle's signature and contents; answered by [`Event::Verified`].
    Verify,
    /// Check that the bundle is for this board, and that there is room.
    CheckBoard,
    /// Write the state file beside, sync, rename, sync the folder.
    Save,
    /// Remove a slot's files.
    Erase(Slot),
    /// Write the release's files into a slot.
    Write(Slot),
    /// Sync a slot's files and folders.
    Sync(Slot),
    /// Read a slot's files from the disk and compare their hashes.
    ReadBack(Slot),
    /// Switch the pointer by rename; `None` removes it.
    Point(Option<Slot>),
    /// Run a slot; `None` runs the packaged release.
    Run(Option<Slot>),
    /// Tell the operator why nothing was done, or why it was undone.
    Refuse(String),
    /// Tell the operator what was done.
    Report(String),
}

/// One step of the rules.
pub fn step(mut state: State, event: Event) -> (State, Vec<Action>) {
    let work = std::mem::take(&mut state.work);
    match (work, event) {
        (Work::Idle, Event::Install { downgrade }) => {
            state.work = Work::Verifying { downgrade };
            (state, vec![Action::Verify])
        }
        (Work::Verifying { downgrade }, Event::Verified(release)) => {
            if release.serial < state.floor && !downgrade {
                let why =
                    format!("downgrade: the bundle's serial is {}, this board has run {}; {ALLOW_DOWNGRADE}", release.serial, state.floor);
                return (state, vec![Action::Refuse(why)]);
            }
            let same = |slot: &Slot| state.slot(*slot).release.as_ref() == Some(&release);
            if let Some(slot) = state.current.filter(|slot| state.pending(*slot) && same(slot)) {
                let report = format!("slot {} holds this release already: {}", slot.name(), describe(&state, slot));
                return (state, vec![Action::Report(report)]);
            }
            let other = |slot: &SlotState| {
                slot.release.as_ref().is_some_and(|held| held.serial == release.serial && held.bundle() != release.bundle())
            };
            let held = [Slot::A, Slot::B].into_iter().find(|slot| (state.good(*slot) || state.pending(*slot)) && other(state.slot(*slot)));
            if let Some(slot) = held.filter(|_| !downgrade) {
                let why = format!(
                    "equal serial: slot {} holds another bundle of serial {}, and one number must mean one release; edge-seg-fw pack counts up",
                    slot.name(),
                    release.serial
                );
                return (state, vec![Action::Refuse(why)]);
            }
            let falls_back = |slot: Slot| state.good(slot) || state.pending(slot);
            if let Some(slot) = state.current.filter(|slot| state.pending(*slot) && falls_back(slot.other())) {
                let why = state.trial_comes_first(slot);
                return (state, vec![Action::Refuse(why)]);
            }
            // Brought once more it would take the place of the way back.
            let runs = state.current.filter(|slot| state.good(*slot) && same(slot) && !state.is_stood_for());
            state.incoming = Some(release);
            if let Some(slot) = runs {
                state.work = Work::Comparing(slot);
                return (state, vec![Action::ReadBack(slot)]);
            }
            state.work = Work::Checking;
            (state, vec![Action::CheckBoard])
        }
        (Work::Comparing(slot), Event::Done) => {
            state.incoming = None;
            let report = match state.is_failing(slot) {
                true => format!("slot {} holds this release already: {}", slot.name(), describe(&state, slot)),
                false => format!("slot {} runs it already, and it is good", slot.name()),
            };
            (state, vec![Action::Report(report)])
        }
        (Work::Comparing(_), Event::Failed { .. }) => {
            state.work = Work::Checking;
            (state, vec![Action::CheckBoard])
        }
        (Work::Checking, Event::Done) => {
            let target = state.target();
            let mut actions = vec![Action::Save];
            state.note_started();
            // What only fails gives way to what works before its slot is written.
            if state.current == Some(target) {
                state.current = Some(target.other()).filter(|kept| state.may_run(*kept));
                actions.push(Action::Point(state.current));
            }
            state.fallen = None;
            state.bad(target, "its installation was interrupted");
            state.fill(target, state.incoming.clone());
            state.work = Work::Writing(target);
            actions.extend([Action::Erase(target), Action::Write(target), Action::Sync(target), Action::ReadBack(target)]);
            (state, actions)
        }
        (Work::Writing(target), Event::Done) => {
            state.set(target, Status::Pending { tries_left: state.trial.starts });
            state.take_up(target);
            // It stands in for nothing that has not run yet.
            state.packaged = Packaged::default();
            let other = target.other();
            if state.pending(other) {
                let by = state.incoming.as_ref().map_or_else(String::new, |by| format!("{} serial {}", by.name, by.serial));
                state.set(other, Status::Aside { why: format!("another deployment replaced it by {by} before it had proved itself") });
            }
            state.work = Work::Switching(target);
            (state, vec![Action::Save, Action::Point(Some(target))])
        }
        (Work::Switching(target), Event::Done) => {
            state.current = Some(target);
            let release = state.incoming.take();
            let what = release.map_or_else(String::new, |release| format!("{} serial {} ", release.name, release.serial));
            let report = format!(
                "{what}is in slot {} and runs at the next start; it is good after {} healthy frames",
                target.name(),
                state.trial.frames
            );
            (state, vec![Action::Report(report)])
        }
        (Work::Verifying { .. } | Work::Checking, Event::Failed { why }) => {
            state.incoming = None;
            (state, vec![Action::Refuse(why)])
        }
        (Work::Writing(target) | Work::Switching(target), Event::Failed { why }) => {
            // On disk the slot is bad already, or pending with contents that were read back: either is safe to start from.
            state.bad(target, why.clone());
            state.incoming = None;
            state.work = Work::Tidying;
            (state, vec![Action::Refuse(why), Action::Erase(target), Action::Save])
        }
        (_, Event::Boot) => choose(state, Vec::new()),
        (Work::Probing(slot), Event::Done) => start(state, slot),
        (Work::Probing(slot), Event::Failed { why }) => {
            let report = Action::Report(format!("slot {}: {why}", slot.name()));
            state.bad(slot, why);
            state.slot_mut(slot).changed = true;
            choose(state, vec![report])
        }
        (Work::Starting(slot), Event::Done) => {
            state.current = Some(slot);
            (state, vec![Action::Run(Some(slot))])
        }
        (Work::Starting(slot), Event::Failed { why }) => {
            // A try that cannot be counted could be repeated for ever: what is proven comes first then.
            let run = match state.current.filter(|_| state.fallen_from() == Some(slot)) {
                Some(current) => current,
                None if state.pending(slot) && state.good(slot.other()) => slot.other(),
                None => slot,
            };
            let report = Action::Report(format!("the start of slot {} cannot be recorded ({why}); slot {} runs", slot.name(), run.name()));
            match run == slot {
                true => (state, vec![report, Action::Run(Some(run))]),
                false => {
                    state.work = Work::Resorting { to: run, from: slot };
                    (state, vec![report, Action::ReadBack(run)])
                }
            }
        }
        (Work::Resorting { to, .. }, Event::Done) => (state, vec![Action::Run(Some(to))]),
        (Work::Resorting { to, from }, Event::Failed { why }) => {
            let report = Action::Report(format!("slot {}: {why}; slot {} runs all the same", to.name(), from.name()));
            (state, vec![report, Action::Run(Some(from))])
        }
        (Work::Idle, Event::Healthy { slot, digest, frames, ended }) => {
            if state.slot(slot).release.as_ref().map(Release::digest) != Some(digest) {
                let why = format!("healthy frames of what slot {} no longer holds prove nothing", slot.name());
                return (state, vec![Action::Refuse(why)]);
            }
            let proven = frames >= state.trial.frames || (ended && frames > 0);
            let is_news = proven && state.has_shown(Some(slot));
            if let Some(fallen) = state.fallen.as_mut().filter(|fallen| proven && fallen.slot != slot) {
                fallen.stood_for = true;
            }
            match state.slot(slot).status {
                Status::Pending { .. } if proven => confirm(state, slot),
                // Where it stands in for what is wanted, the operator's order holds.
                Status::Aside { .. } if proven && state.fallen_from().is_none() => confirm(state, slot),
                Status::Good | Status::Aside { .. } if proven && state.slot(slot).failed_starts > 0 => {
                    let mut actions = vec![Action::Save];
                    if state.is_failing(slot) {
                        actions.push(Action::Report(format!("slot {} shows frames again", slot.name())));
                    }
                    if state.wanted() == Some(slot) {
                        // What both failed for is over.
                        state.slot_mut(slot.other()).failed_starts = 0;
                        state.fallen = state.fallen.map(|fallen| Fallen { worked_s: 0, stood_for: false, ..fallen });
                    }
                    let shown = state.slot_mut(slot);
                    (shown.spared_starts, shown.failed_starts) = (shown.failed_starts, 0);
                    state.packaged = Packaged::default();
                    let again = state.judge_lost_trials(Some(slot));
                    tried_again(state, again, actions)
                }
                _ if is_news => keep(state),
                _ => (state, Vec::new()),
            }
        }
        (Work::Idle, Event::Proving { slot, digest }) => {
            let is_on_trial = state.pending(slot) && state.digest_in(Some(slot)).as_deref() == Some(&digest);
            match state.start_of(Some(slot), Some(&digest)).filter(|started| is_on_trial && !started.proving) {
                Some(started) => started.proving = true,
                None => return (state, Vec::new()),
            }
            keep(state)
        }
        (Work::Idle, Event::FellShort { slot, digest, why }) => {
            if let Some(started) = state.start_of(Some(slot), Some(&digest)) {
                started.proving = false;
            }
            if !state.pending(slot) || state.slot(slot).release.as_ref().map(Release::digest) != Some(digest) {
                return (state, Vec::new());
            }
            state.slot_mut(slot).fell_short = Some(why);
            keep(state)
        }
        (Work::Idle, Event::Steady { slot, digest }) => {
            if state.current != Some(slot) || state.slot(slot).release.as_ref().map(Release::digest) != Some(digest) {
                return (state, vec![Action::Refuse(format!("slot {} no longer runs what has worked", slot.name()))]);
            }
            let Some(fallen) = state.fallen else { return (state, Vec::new()) };
            state.fallen =
                state.fallen_from().map(|_| Fallen { retries: fallen.retries.saturating_add(1), due: true, worked_s: 0, ..fallen });
            keep(state)
        }
        (Work::Idle, Event::Worked { seconds }) => {
            let before = state.fallen;
            state.has_worked(seconds);
            if state.fallen == before { (state, Vec::new()) } else { keep(state) }
        }
        (Work::Idle, Event::Ended { slot, digest, how, worked_s }) => {
            let before = state.clone();
            state.has_worked(worked_s);
            if state.digest_in(slot) == digest {
                ended(&mut state, slot, digest.as_deref(), how);
            }
            if state == before { (state, Vec::new()) } else { keep(state) }
        }
        (Work::Idle, Event::PackagedWorks) => {
            let is_news = state.has_shown(None);
            if state.packaged.failed_starts == 0 && !is_news {
                return (state, Vec::new());
            }
            if state.packaged.stands_in {
                // What made the others fail may be over, so the next start tries them as at first. Without a pointer nobody wants them.
                (state.a.failed_starts, state.b.failed_starts) = (0, 0);
            }
            state.packaged.spared_starts = std::mem::take(&mut state.packaged.failed_starts);
            // What stands in for a good release gives way to that one first.
            let again = if state.packaged.stands_in { None } else { state.judge_lost_trials(None) };
            tried_again(state, again, vec![Action::Save])
        }
        (Work::Idle, Event::PackagedSteady) => {
            let Some(wanted) = state.wanted().filter(|_| state.packaged.stands_in) else {
                return (state, vec![Action::Refuse("the packaged release no longer runs in place of another".into())]);
            };
            let retries = state.fallen.filter(|fallen| fallen.slot == wanted).map_or(0, |fallen| fallen.retries).saturating_add(1);
            state.fallen = Some(Fallen { slot: wanted, retries, due: false, worked_s: 0, stood_for: false });
            // One start of each is enough to tell that they still fail: what is packaged comes next then.
            let others = u32::from(choices(&state).contains(&Some(wanted.other())));
            let starts = state.trial.starts.max(1);
            state.slot_mut(wanted).failed_starts = starts.saturating_mul(1 + others).saturating_sub(1);
            state.slot_mut(wanted.other()).failed_starts = others;
            state.packaged.failed_starts = 0;
            keep(state)
        }
        (Work::Idle, Event::MarkGood) => match state.current {
            Some(slot) if state.slot(slot).status == (Status::Pending { tries_left: state.trial.starts }) => {
                let why = format!("slot {} has not run yet: sudo systemctl restart edge-seg.service", slot.name());
                (state, vec![Action::Refuse(why)])
            }
            Some(slot) if state.pending(slot) || state.aside(slot) => confirm(state, slot),
            Some(slot) if state.good(slot) => (state, vec![Action::Report(format!("slot {} is good already", slot.name()))]),
            _ => (state, vec![Action::Refuse("no slot runs that could be marked good".into())]),
        },
        (Work::Idle, Event::Rollback) if let Some(wanted) = state.fallen_from() => {
            let why = "rolled back by the operator".to_owned();
            let warning = state.warning_of(wanted.other());
            let stood_for = state.fallen.is_some_and(|fallen| fallen.stood_for);
            state.give_up(wanted, &why);
            state.set(wanted, Status::Aside { why });
            let (wanted, other) = (wanted.name(), wanted.other());
            let is_new = "which was started in its place and has shown too few frames so far";
            let stays = match (state.packaged.stands_in, stood_for) {
                (true, _) => format!("{} runs at the next start", other.name()),
                (false, true) => format!("{}, which ran in its place, stays", other.name()),
                (false, false) => format!("{}, {is_new}, stays", other.name()),
            };
            let report = format!("slot {wanted} is not tried again: slot {stays}{warning}");
            if state.packaged.stands_in {
                state.slot_mut(other).failed_starts = 0;
            }
            (state.fallen, state.packaged) = (None, Packaged::default());
            state.work = Work::Confirming;
            (state, vec![Action::Save, Action::Report(report)])
        }
        (Work::Idle, Event::Rollback) => match state.current {
            Some(slot) if matches!(state.slot(slot.other()).status, Status::Bad { .. }) => {
                let why = format!(
                    "slot {} holds nothing good to go back to: {}; with it pruned, rollback goes back to the packaged release",
                    slot.other().name(),
                    describe(&state, slot.other())
                );
                (state, vec![Action::Refuse(why)])
            }
            // Else an order given twice would undo itself.
            Some(slot) if state.aside(slot.other()) && state.good(slot) && !state.fails(slot) => {
                let why = format!(
                    "slot {} holds nothing good to go back to: {}; installed once more it is on trial again, and with it pruned, rollback \
                     goes back to the packaged release",
                    slot.other().name(),
                    describe(&state, slot.other())
                );
                (state, vec![Action::Refuse(why)])
            }
            Some(slot) => {
                let usable = |other: &Slot| state.good(*other) || state.pending(*other) || state.aside(*other);
                let to = Some(slot.other()).filter(usable);
                state.note_started();
                let why = "rolled back by the operator".to_owned();
                state.give_up(slot, &why);
                match state.slot(slot).status {
                    // It has worked: should what is gone back to not start, it is better than a dark camera.
                    Status::Good | Status::Aside { .. } => state.set(slot, Status::Aside { why }),
                    _ => state.bad(slot, why),
                }
                (state.packaged, state.fallen) = (Packaged::default(), None);
                state.work = Work::Returning(to);
                let mut actions = vec![Action::Save, Action::Point(to)];
                if let Some(to) = to {
                    state.slot_mut(to).failed_starts = 0;
                    actions.insert(0, Action::ReadBack(to));
                }
                (state, actions)
            }
            None => (state, vec![Action::Refuse("nothing is installed: the packaged release runs".into())]),
        },
        (Work::Returning(to), Event::Done) => {
            state.current = to;
            (state, vec![Action::Report(format!("{} runs at the next start", name_of(to)))])
        }
        (Work::Returning(_), Event::Failed { why }) => (state, vec![Action::Refuse(why)]),
        (Work::Idle, Event::Prune) => match state.current {
            Some(slot) if state.pending(slot) => {
                (state, vec![Action::Refuse(format!("slot {} is on trial and may need the other slot", slot.name()))])
            }
            current => {
                // With the pointer lost, the next start goes back to a good slot: it is needed.
                let wanted = state.wanted();
                // What has not shown since its start that it works may yet need the other one.
                let unshown = current.filter(|slot| state.packaged.stands_in || state.slot(*slot).failed_starts > 0);
                let relied_on = unshown.map(Slot::other).filter(|slot| state.may_run(*slot));
                let needed = |slot: Slot| {
                    [current, wanted, relied_on].contains(&Some(slot)) || state.pending(slot) || (current.is_none() && state.good(slot))
                };
                let unused: Vec<Slot> = [Slot::A, Slot::B].into_iter().filter(|slot| !needed(*slot)).collect();
                let names: Vec<_> =
                    unused.iter().filter(|slot| state.slot(**slot).status != Status::Empty).map(|slot| slot.name()).collect();
                // Where what stays has changed on the disk, what would go is what is left to run.
                let goes = unused.iter().find(|slot| state.may_run(**slot) && state.may_run(slot.other())).copied();
                let read_first = goes.map(|slot| Action::ReadBack(slot.other()));
                for slot in &unused {
                    state.set(*slot, Status::Empty);
                    state.fill(*slot, None);
                }
                state.work = Work::Freeing;
                // On a full disk there is no room for the mark before the files are gone; a start reads back what is marked good.
                let mut actions: Vec<_> = read_first.into_iter().chain(unused.iter().map(|slot| Action::Erase(*slot))).collect();
                actions.push(Action::Save);
                actions.push(Action::Report(format!("freed: {}", if names.is_empty() { "nothing".into() } else { names.join(", ") })));
                if let Some(wanted) = state.fallen_from() {
                    let name = wanted.name();
                    let why = format!("slot {name} stays: it is tried again; edge-seg-fw rollback gives it up, and prune frees it then");
                    actions.push(Action::Report(why));
                } else if let Some(kept) = relied_on {
                    let (kept, current) = (kept.name(), kept.other().name());
                    let why = format!("slot {kept} stays: slot {current} has not shown enough frames since it was started");
                    actions.push(Action::Report(why));
                }
                (state, actions)
            }
        },
        (Work::Freeing, Event::Failed { why }) => (state, vec![Action::Refuse(why)]),
        (Work::Confirming, Event::Failed { why }) => (state, vec![Action::Refuse(why)]),
        (Work::Tidying, Event::Failed { why }) => (state, vec![Action::Report(format!("not tidied up: {why}"))]),
        (Work::Confirming | Work::Tidying | Work::Freeing, _) | (Work::Idle, Event::Done) => (state, Vec::new()),
        (Work::Idle, Event::Failed { why }) => (state, vec![Action::Report(why)]),
        (work, event) => {
            // Not reachable through the executor, which holds a lock; saying so beats acting on it.
            state.work = work;
            (state, vec![Action::Refuse(format!("{event:?} does not fit while {work:?}"))])
        }
    }
}

/// Keeps what has changed.
fn keep(mut state: State) -> (State, Vec<Action>) {
    state.work = Work::Confirming;
    (state, vec![Action::Save])
}

/// Keeps what has changed, and points to the slot whose lost trial is to be had again, where there is one.
fn tried_again(mut state: State, slot: Option<Slot>, mut actions: Vec<Action>) -> (State, Vec<Action>) {
    state.work = Work::Confirming;
    if let Some(slot) = slot {
        // What works stands in for nothing: it gives way to a trial.
        state.fallen = None;
        actions.push(Action::Point(Some(slot)));
        actions.push(Action::Report(format!("slot {} was given up while nothing else worked either: it is tried again", slot.name())));
        state.work = Work::Returning(Some(slot));
    }
    (state, actions)
}

/// Counts how a start ended.
fn ended(state: &mut State, slot: Option<Slot>, digest: Option<&str>, how: Ending) {
    let starts = state.trial.starts;
    let shown = state.start_of(slot, digest).is_some_and(|started| {
        started.proving = false;
        started.ended |= matches!(how, Ending::Stopped | Ending::Early);
        started.shown
    });
    let (failed, spared) = match slot {
        Some(slot) => {
            let state = state.slot_mut(slot);
            if let Status::Pending { tries_left } = &mut state.status {
                match how {
                    Ending::Stopped if !shown => *tries_left = tries_left.saturating_add(1).min(starts),
                    Ending::Short { why } => state.fell_short = Some(why),
                    _ => {}
                }
                return;
            }
            (&mut state.failed_starts, &mut state.spared_starts)
        }
        None => (&mut state.packaged.failed_starts, &mut state.packaged.spared_starts),
    };
    match how {
        Ending::Stopped if !shown => *failed = failed.saturating_sub(1),
        Ending::Early => *failed = std::mem::take(spared).max(1),
        _ => {}
    }
}

fn confirm(mut state: State, slot: Slot) -> (State, Vec<Action>) {
    let was_aside = match &state.slot(slot).status {
        Status::Aside { why } => format!(", though it had been set aside: {why}"),
        _ => String::new(),
    };
    state.set(slot, Status::Good);
    state.slot_mut(slot).spared_starts = 1;
    state.take_up(slot);
    let serial = state.slot(slot).release.as_ref().map_or(0, |release| release.serial);
    state.floor = state.floor.max(serial);
    (state.packaged, state.fallen) = (Packaged::default(), None);
    let again = state.judge_lost_trials(Some(slot));
    tried_again(state, again, vec![Action::Save, Action::Report(format!("slot {} is good{was_aside}", slot.name()))])
}

/// What may be started, the best first; `None` is the packaged release.
fn choices(state: &State) -> Vec<Option<Slot>> {
    let order = match state.wanted() {
        Some(slot) => [slot, slot.other()],
        None => [Slot::A, Slot::B],
    };
    if let Some(slot) = state.current.filter(|slot| state.pending(*slot)) {
        return vec![Some(slot)];
    }
    let good: Vec<_> = order.into_iter().filter(|slot| state.good(*slot)).map(Some).collect();
    let pending = order.into_iter().find(|slot| state.pending(*slot));
    if let Some(slot) = pending.filter(|_| good.is_empty()) {
        return vec![Some(slot)];
    }
    let aside: Vec<_> = order.into_iter().filter(|slot| state.aside(*slot)).map(Some).collect();
    match state.current.is_none() && good.is_empty() {
        // The operator went back to the packaged release.
        true => [vec![None], aside].concat(),
        false => [good, pending.map(Some).into_iter().collect(), aside, vec![None]].concat(),
    }
}

/// Of [`choices`] the first of those that have failed least.
fn pick(state: &State, choices: &[Option<Slot>]) -> Option<Slot> {
    choices.iter().copied().min_by_key(|choice| state.rounds_failed(*choice, choices)).flatten()
}

/// Ends trials without starts left, and gives what is wanted its turn.
fn settle(state: &mut State, actions: &mut Vec<Action>) {
    if let Some(failed) = state.started.clone().filter(|started| !started.shown && !started.ended) {
        for slot in [Slot::A, Slot::B].into_iter().filter(|slot| failed.slot != Some(*slot)) {
            let doubt = &mut state.slot_mut(slot).doubt;
            *doubt = if *doubt == Doubt::Open { Doubt::Shared } else { *doubt };
        }
    }
    give_back(state, actions);
    for slot in [Slot::A, Slot::B] {
        if state.slot(slot).status == (Status::Pending { tries_left: 0 }) {
            let starts = state.trial.starts;
            let why = match &state.slot(slot).fell_short {
                Some(why) => format!("it did not do what its trial asks in {starts} starts: {why}"),
                None => format!("it showed fewer than {} healthy frames in {starts} starts", state.trial.frames),
            };
            // It may have been good for months, and what it failed for may be over.
            if state.slot(slot).rebuilt {
                let why = format!("whole, and not proven since the state was lost: {why}");
                actions.push(Action::Report(format!("slot {} is set aside: {why}", slot.name())));
                state.set(slot, Status::Aside { why });
                continue;
            }
            actions.push(Action::Report(format!("slot {} is bad: {why}", slot.name())));
            state.give_up(slot, &why);
            state.bad(slot, why);
            state.slot_mut(slot).doubt = Doubt::Open;
        }
    }
    if let (Some(fallen), Some(wanted)) = (state.fallen, state.fallen_from())
        && fallen.due
        && !state.packaged.stands_in
        && state.current.is_some_and(|current| state.slot(current).failed_starts == 0)
    {
        state.fallen = Some(Fallen { due: false, worked_s: 0, ..fallen });
        // One start is enough to tell that it still fails.
        state.slot_mut(wanted).failed_starts = state.trial.starts.saturating_sub(1);
        actions.push(Action::Report(format!("slot {} is tried again", wanted.name())));
    }
}

/// A start of a trial that had shown its frames and of whose end nothing was told was cut off: it is given back, though not for ever.
fn give_back(state: &mut State, actions: &mut Vec<Action>) {
    let Some(started) = state.started.as_mut().filter(|started| started.proving) else { return };
    started.proving = false;
    let (slot, digest, starts) = (started.slot, started.digest.clone(), state.trial.starts);
    let Some(slot) = slot.filter(|slot| state.digest_in(Some(*slot)) == digest) else { return };
    let held = state.slot_mut(slot);
    let Status::Pending { tries_left } = &mut held.status else { return };
    held.cut_starts = held.cut_starts.saturating_add(1);
    let (name, cut) = (slot.name(), held.cut_starts);
    match cut <= MOST_CUT_STARTS {
        true => {
            *tries_left = tries_left.saturating_add(1).min(starts);
            let what = "showed its frames and was cut off, as by a loss of power: that start does not count";
            actions.push(Action::Report(format!("slot {name} {what} ({cut} of {MOST_CUT_STARTS})")));
        }
        false => {
            held.fell_short = Some(format!("it showed its frames, and {cut} starts were cut off before their end, as by a loss of power"))
        }
    }
}

fn choose(mut state: State, mut actions: Vec<Action>) -> (State, Vec<Action>) {
    let before = state.clone();
    settle(&mut state, &mut actions);
    let is_news = !actions.is_empty();
    let choices = choices(&state);
    let pick = pick(&state, &choices);
    let told = pick.is_none() && state.packaged.stands_in;
    if let Some(current) = state.current.filter(|current| !told && pick != Some(*current)) {
        let (name, next) = (current.name(), name_of(pick));
        match state.slot(current).failed_starts {
            _ if state.packaged.stands_in => actions.push(Action::Report(format!("{next} is tried again"))),
            0 => {}
            failed if state.fails(current) => {
                actions.push(Action::Report(format!("slot {name} failed in {failed} starts in a row: {next} is tried")));
            }
            _ => actions.push(Action::Report(format!("slot {name} failed too: {next} is tried"))),
        }
    }
    if let (None, Some(slot)) = (state.current, pick)
        && state.packaged.failed_starts > 0
    {
        let (failed, next) = (state.packaged.failed_starts, name_of(Some(slot)));
        actions.push(Action::Report(format!("{} failed in {failed} starts in a row: {next} is tried", name_of(None))));
    }
    if let Some(slot) = pick {
        state.work = Work::Probing(slot);
        actions.push(Action::ReadBack(slot));
        return (state, actions);
    }
    // Run comes first among what can fail: a disk that cannot be written must not keep the packaged release from running.
    state.work = Work::Idle;
    actions.push(Action::Run(None));
    match choices.len() {
        1 => (state.packaged, state.current) = (Packaged::default(), None),
        _ => {
            let failed_starts = state.packaged.failed_starts.saturating_add(1);
            state.packaged = Packaged { stands_in: state.current.is_some(), failed_starts, spared_starts: 0 };
        }
    }
    // Where nothing was ever installed there is nothing to tell it from.
    if state.started.is_some() || [&state.a, &state.b].iter().any(|slot| slot.status != Status::Empty) {
        state.started = Some(Started { slot: None, digest: None, shown: false, ended: false, proving: false });
    }
    if is_news || before != state {
        actions.push(Action::Save);
    }
    if before.current != state.current {
        actions.push(Action::Point(None));
    }
    (state, actions)
}

fn start(mut state: State, slot: Slot) -> (State, Vec<Action>) {
    let mut actions = Vec::new();
    if state.slot(slot).rebuilt && state.slot(slot).status == (Status::Pending { tries_left: state.trial.starts }) {
        let name = slot.name();
        let told = format!(
            "the state was lost: slot {name} is on trial again, and whether slot {} is what is wanted is not known",
            slot.other().name()
        );
        let alone = format!("the state was lost: slot {name} is on trial again");
        actions.push(Action::Report(if state.pending(slot.other()) { told } else { alone }));
    }
    state.fallen = state.fallen.filter(|fallen| state.good(fallen.slot));
    if state.pending(slot) {
        // Proven, it is what is wanted.
        state.fallen = None;
    } else if let Some(current) = state.current.filter(|current| *current != slot && state.fallen.is_none() && state.good(*current)) {
        state.fallen = Some(Fallen { slot: current, retries: 0, due: true, worked_s: 0, stood_for: false });
    }
    state.started = Some(Started { slot: Some(slot), digest: state.digest_in(Some(slot)), shown: false, ended: false, proving: false });
    state.slot_mut(slot).spared_starts = 0;
    match &mut state.slot_mut(slot).status {
        Status::Pending { tries_left } => *tries_left = tries_left.saturating_sub(1),
        _ => {
            let failed = &mut state.slot_mut(slot).failed_starts;
            *failed = failed.saturating_add(1);
        }
    }
    state.packaged.stands_in = false;
    actions.push(Action::Save);
    if state.current != Some(slot) {
        actions.push(Action::Point(Some(slot)));
    }
    state.work = Work::Starting(slot);
    (state, actions)
}

/// What runs, in words.
pub fn name_of(slot: Option<Slot>) -> String {
    slot.map_or_else(|| "the packaged release".into(), |slot| format!("slot {}", slot.name()))
}

/// What a state says that runs, in words.
pub fn running(state: &State) -> String {
    let next = to_run(state);
    match state.runs_still().filter(|_| !state.is_unpointed()) {
        Some(started) if started.digest == state.digest_in(started.slot) => format!("{}, {next} at the next start", name_of(started.slot)),
        Some(started) => format!("what {} held before, {next} at the next start", name_of(started.slot)),
        None => next,
    }
}

fn to_run(state: &State) -> String {
    let (wanted, instead) = match (state.current, state.packaged.stands_in) {
        (Some(slot), true) => (Some(state.fallen_from().unwrap_or(slot)), name_of(None)),
        _ => (state.fallen_from(), name_of(state.current)),
    };
    match wanted {
        Some(slot) => format!("{instead}, in place of slot {}, which kept failing", slot.name()),
        None if state.is_unpointed() => {
            format!("cannot tell: the pointer names no slot; the next start runs {}", name_of(state.next_start()))
        }
        None => instead,
    }
}

/// A slot in a few words.
pub fn describe(state: &State, slot: Slot) -> String {
    // The start of what runs is counted before it has shown anything.
    let failed = state.ended_starts(slot);
    let beside = state.current.filter(|current| *current != slot);
    let slot = state.slot(slot);
    let what = slot.release.as_ref().map_or_else(String::new, |release| format!("{} serial {}, ", release.name, release.serial));
    match &slot.status {
        Status::Empty => "empty".into(),
        Status::Bad { why } if slot.changed => format!("{what}bad, for it has changed on the disk: {why}"),
        Status::Bad { why } if slot.doubt == Doubt::Shared => {
            format!("{what}bad: {why}; what came after it fails too, and once that works, it is tried again")
        }
        Status::Bad { why } => format!("{what}bad: {why}"),
        Status::Pending { tries_left } if let Some(beside) = beside => {
            let lost = if slot.rebuilt { " since the state was lost, nor known whether it was what is wanted" } else { "" };
            format!("{what}not proven{lost}, {tries_left} starts left: runs where slot {} fails", beside.name())
        }
        Status::Pending { tries_left } => format!("{what}on trial, {tries_left} starts left"),
        Status::Good if failed > 0 => {
            format!("{what}good, {failed} start{} in a row that failed", if failed == 1 { "" } else { "s" })
        }
        Status::Good => format!("{what}good"),
        Status::Aside { why } => format!("{what}set aside: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTS: u32 = 3;

    fn release(serial: u64) -> Release {
        let mark = |name: &str| FileMark { name: name.into(), bytes: serial, sha256: format!("{name} {serial}") };
        Release { name: "m".into(), serial, files: [BUNDLE, PROGRAM, CONFIG].map(mark).into() }
    }

    #[derive(Default)]
    struct Board {
        state: Option<State>,
        reports: Vec<String>,
    }

    impl Board {
        fn new() -> Board {
            Board { state: Some(State::new(Trial { starts: STARTS, ..Trial::default() })), ..Board::default() }
        }

        fn state(&self) -> &State {
            self.state.as_ref().unwrap()
        }

        /// What is run, or why not.
        fn drive(&mut self, event: Event, brought: Option<Release>) -> Result<Option<Option<Slot>>, String> {
            let (mut run, mut refused, mut event) = (None, None, event);
            loop {
                let (state, actions) = step(self.state.take().unwrap(), event);
                event = Event::Done;
                for action in actions {
                    match action {
                        Action::Verify => event = Event::Verified(brought.clone().unwrap()),
                        Action::Run(slot) => run = Some(slot),
                        Action::Refuse(why) => refused = Some(why),
                        Action::Report(what) => self.reports.push(what),
                        _ => {}
                    }
                }
                let idle = state.work == Work::Idle;
                self.state = Some(state);
                if idle && event == Event::Done {
                    return refused.map_or(Ok(run), Err);
                }
            }
        }

        fn install(&mut self, serial: u64) {
            self.drive(Event::Install { downgrade: true }, Some(release(serial))).unwrap();
        }

        /// Starts, and tells the number of what runs; 0 is the packaged release.
        fn boot(&mut self) -> u64 {
            let slot = self.drive(Event::Boot, None).unwrap().unwrap();
            slot.map_or(0, |slot| self.state().slot(slot).release.as_ref().unwrap().serial)
        }

        fn boots(&mut self, count: usize) -> Vec<u64> {
            (0..count).map(|_| self.boot()).collect()
        }

        fn healthy(&mut self) {
            let slot = self.state().current.unwrap();
            let digest = self.state().slot(slot).release.as_ref().unwrap().digest();
            self.drive(Event::Healthy { slot, digest, frames: 50, ended: false }, None).unwrap();
        }

        /// It has worked for as long as is asked.
        fn steady(&mut self) {
            let slot = self.state().current.unwrap();
            let digest = self.state().slot(slot).release.as_ref().unwrap().digest();
            self.drive(Event::Steady { slot, digest }, None).unwrap();
        }

        fn fallen_from(&self) -> Option<u64> {
            let slot = self.state().fallen_from()?;
            Some(self.state().slot(slot).release.as_ref().unwrap().serial)
        }

        /// Starts until what starts has shown frames, where only those that `works` says do; what was started.
        fn until_healthy(&mut self, works: &[u64]) -> Vec<u64> {
            let mut started = Vec::new();
            loop {
                started.push(self.boot());
                if works.contains(started.last().unwrap()) {
                    self.healthy();
                    return started;
                }
            }
        }

        /// Starts until the packaged release has its turn; what was started.
        fn until_packaged(&mut self) -> Vec<u64> {
            let mut started = Vec::new();
            while started.last() != Some(&0) {
                started.push(self.boot());
            }
            started
        }

        fn slot_of(&self, serial: u64) -> Option<Slot> {
            [Slot::A, Slot::B].into_iter().find(|slot| self.state().slot(*slot).release.as_ref().is_some_and(|held| held.serial == serial))
        }

        /// Installs a release that works.
        fn proven(mut self, serial: u64) -> Board {
            self.install(serial);
            assert_eq!(self.boot(), serial);
            self.healthy();
            self
        }

        fn status(&self, serial: u64) -> Status {
            let of = |slot: &&SlotState| slot.release.as_ref().is_some_and(|held| held.serial == serial);
            [&self.state().a, &self.state().b].into_iter().find(of).unwrap().status.clone()
        }
    }

    #[test]
    fn a_replaced_trial_never_comes_before_what_is_good() {
        for started in [false, true] {
            let mut board = Board::new();
            board.install(1);
            if started {
                assert_eq!(board.boot(), 1);
            }
            board.install(2);
            let Status::Aside { why } = board.status(1) else { panic!("{:?}", board.state()) };
            assert!(why.contains("another deployment replaced it by m serial 2"), "{why}");
            assert_eq!(board.boot(), 2);
            board.healthy();
            assert_eq!(board.boots(STARTS as usize), [2, 2, 2]);
            assert_eq!(board.state().floor, 2);
        }
        // Where the one that replaced it fails, it is better than nothing, and proves itself as any other.
        let mut board = Board::new();
        board.install(1);
        board.install(2);
        assert_eq!(board.boots(4), [2, 2, 2, 1]);
        board.healthy();
        assert_eq!((board.status(1), board.boot()), (Status::Good, 1));
    }

    #[test]
    fn with_the_state_lost_what_the_pointer_names_comes_first() {
        let mut board = Board::new().proven(1).proven(2);
        let mut state = board.state.take().unwrap();
        for slot in [Slot::A, Slot::B] {
            state.set(slot, Status::Pending { tries_left: STARTS });
        }
        board.state = Some(state);
        assert_eq!(board.boot(), 2);
        board.healthy();
        assert_eq!(board.boots(2), [2, 2]);
    }

    #[test]
    fn with_the_state_lost_an_outage_makes_nothing_bad() {
        for slots in [1, 2] {
            let mut board = if slots == 1 { Board::new().proven(2) } else { Board::new().proven(1).proven(2) };
            for slot in [Slot::A, Slot::B].into_iter().take(slots) {
                let state = board.state.as_mut().unwrap();
                state.set(slot, Status::Pending { tries_left: STARTS });
                state.slot_mut(slot).rebuilt = true;
            }
            board.until_packaged();
            board.drive(Event::Prune, None).unwrap();
            for serial in (1..=2).rev().take(slots) {
                assert!(matches!(board.status(serial), Status::Aside { why } if why.contains("the state was lost")), "{:?}", board.state());
            }
            assert!(board.state().given_up.is_empty());
            let started = board.until_healthy(&[1, 2]);
            assert_eq!((board.status(*started.last().unwrap()), board.state().packaged), (Status::Good, Packaged::default()));
        }
    }

    #[test]
    fn what_the_packaged_release_stands_in_for_is_not_what_was_brought_since() {
        let mut board = Board::new().proven(1);
        board.until_packaged();
        assert_eq!(running(board.state()), "the packaged release, in place of slot a, which kept failing");
        board.install(2);
        assert_eq!(running(board.state()), "the packaged release, slot b at the next start");
        assert_eq!((board.boot(), running(board.state()).as_str()), (2, "slot b"));
        assert_eq!(board.boots(2), [2, 2]);
    }

    #[test]
    fn what_the_operator_left_runs_again_where_what_was_gone_back_to_does_not_start() {
        let mut board = Board::new().proven(1).proven(2);
        board.drive(Event::Rollback, None).unwrap();
        assert!(matches!(board.status(2), Status::Aside { .. }), "{:?}", board.state());
        // The same order, given once more, does not undo it.
        let why = board.drive(Event::Rollback, None).unwrap_err();
        assert!(why.contains("nothing good to go back to"), "{why}");
        assert_eq!(board.boots(4), [1, 1, 1, 2]);
        board.healthy();
        // What it failed for may be over, and the operator's order holds.
        assert!(matches!(board.status(2), Status::Aside { .. }), "{:?}", board.state());
        assert_eq!(board.boots(2), [1, 2]);
        board.healthy();
        board.steady();
        assert_eq!(board.boot(), 1);
        board.healthy();
        assert_eq!(board.boots(3), [1, 1, 1]);

        // And the operator may order it, once what was gone back to has failed.
        let mut board = Board::new().proven(1).proven(2);
        board.drive(Event::Rollback, None).unwrap();
        board.boots(3);
        board.drive(Event::Rollback, None).unwrap();
        assert_eq!(board.boot(), 2);

        // Gone back to from a trial, it never worked.
        let mut board = Board::new().proven(1);
        board.install(2);
        board.boot();
        board.drive(Event::Rollback, None).unwrap();
        assert!(matches!(board.status(2), Status::Bad { .. }));
    }

    #[test]
    fn the_packaged_release_stands_in_for_a_round_and_starts_go_on_slower() {
        let mut board = Board::new().proven(1);
        assert_eq!(board.boots(13), [1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1]);
        assert_eq!(board.state().current, Some(Slot::A), "the pointer stays");
        assert_eq!(board.state().patience().as_secs(), LONGEST_WAIT_S);
        assert!(board.reports.iter().any(|report| report == "slot a failed in 3 starts in a row: the packaged release is tried"));
        board.healthy();
        assert_eq!((board.boot(), board.state().patience().as_secs()), (1, 0));

        // Two that fail, and one that was set aside: what is wanted has most starts, the packaged release the last.
        let mut board = Board::new().proven(1).proven(2);
        assert_eq!(board.boots(19), [2, 2, 2, 1, 2, 2, 2, 1, 0, 0, 0, 2, 2, 2, 1, 0, 0, 0, 2]);
        let mut board = Board::new().proven(1).proven(2);
        board.drive(Event::Rollback, None).unwrap();
        assert_eq!(board.boots(12), [1, 1, 1, 2, 1, 1, 1, 2, 0, 0, 0, 1]);
    }

    #[test]
    fn where_the_packaged_release_works_the_next_start_tries_what_is_installed() {
        let mut board = Board::new().proven(1);
        assert_eq!(board.boots(4), [1, 1, 1, 0]);
        assert!(board.state().packaged.stands_in);
        board.drive(Event::PackagedWorks, None).unwrap();
        assert!(board.state().packaged.stands_in, "it still runs");
        assert_eq!(board.boots(4), [1, 1, 1, 0]);
        assert!(board.state().patience().as_secs() < 10);
    }

    #[test]
    fn an_outage_that_ends_while_the_packaged_release_runs_ends_with_what_is_wanted() {
        let steady = |board: &mut Board| {
            board.drive(Event::PackagedWorks, None).unwrap();
            board.drive(Event::PackagedSteady, None).unwrap();
        };
        let wait = |board: &Board| board.state().steady_after().map(|wait| wait.as_secs());
        for slots in [1, 2] {
            let stands_in = || {
                let mut board = if slots == 1 { Board::new().proven(2) } else { Board::new().proven(1).proven(2) };
                board.until_packaged();
                board
            };
            // The camera is back: its only run ends, and what is wanted stays.
            let mut board = stands_in();
            assert_eq!((board.state().wanted(), wait(&board)), (board.slot_of(2), Some(600)));
            steady(&mut board);
            assert!(board.state().packaged.stands_in, "it still runs");
            assert_eq!(board.until_healthy(&[1, 2]), [2], "{slots} slots");
            assert_eq!((board.fallen_from(), board.state().packaged, wait(&board)), (None, Packaged::default(), Some(3600)));
            board.steady();
            assert_eq!((board.state().fallen, board.boots(3)), (None, vec![2, 2, 2]));
            if slots == 2 {
                // What was deployed last still fails, the one before works.
                let mut board = stands_in();
                steady(&mut board);
                assert_eq!(board.until_healthy(&[1]), [2, 1]);
                assert_eq!((board.fallen_from(), wait(&board)), (Some(2), Some(3600)));
                board.steady();
                assert_eq!(board.until_healthy(&[1, 2]), [2]);
            }
            // All that is installed still fails: ever more seldom, with one start each.
            let mut board = stands_in();
            for seconds in [3600, 43_200, 43_200] {
                steady(&mut board);
                assert_eq!(board.until_packaged(), if slots == 2 { vec![2, 1, 0] } else { vec![2, 0] });
                assert_eq!(wait(&board), Some(seconds), "{slots} slots");
            }
            assert!(board.reports.iter().any(|report| report.contains("is tried")), "{:?}", board.reports);
        }
        // What the operator wants runs in nobody's place.
        let mut board = Board::new().proven(1);
        board.drive(Event::Rollback, None).unwrap();
        assert_eq!((board.boot(), wait(&board)), (0, None));
        assert!(board.drive(Event::PackagedSteady, None).is_err());
    }

    #[test]
    fn what_is_gone_back_to_while_the_packaged_release_runs_is_told_as_the_next_start() {
        let mut board = Board::new().proven(1).proven(2);
        board.boots(17);
        assert!(board.state().packaged.stands_in && board.fallen_from() == Some(2));
        board.drive(Event::Rollback, None).unwrap();
        let told = "slot b is not tried again: slot a runs at the next start, though it kept failing too: the packaged release, which runs in \
                    place of both, ends";
        assert_eq!(board.reports.last().unwrap(), told);
        assert_eq!(board.boots(3), [1, 1, 1]);
    }

    #[test]
    fn gone_back_to_the_packaged_release_it_stays_for_as_long_as_it_works() {
        let mut board = Board::new().proven(1);
        board.drive(Event::Rollback, None).unwrap();
        for _ in 0..5 {
            assert_eq!(board.boot(), 0);
            assert!(!board.state().packaged.stands_in, "it is what the operator wants");
            board.drive(Event::PackagedWorks, None).unwrap();
        }
        assert_eq!(board.boots(4), [0, 0, 0, 1], "it starts no more");
        // Without anything else there is nothing to count.
        let mut board = Board::new();
        assert_eq!(board.boots(5), [0; 5]);
        assert!(board.state().packaged.is_none());
    }

    #[test]
    fn what_was_given_up_is_remembered_when_its_slot_is_freed() {
        let mut board = Board::new().proven(1);
        board.install(2);
        assert_eq!(board.boots(4), [2, 2, 2, 1]);
        board.drive(Event::Prune, None).unwrap();
        let given_up = |board: &Board| board.state().given_up.iter().map(|given_up| given_up.release.serial).collect::<Vec<_>>();
        assert_eq!(given_up(&board), [2]);
        board.install(3);
        board.boot();
        board.healthy();
        board.drive(Event::Rollback, None).unwrap();
        assert_eq!(given_up(&board), [2, 3]);
        // Brought again, it has another try.
        board.install(2);
        assert_eq!(given_up(&board), [3]);
        // What broke off or has rotted was not given up.
        let (state, _) = step(board.state().clone(), Event::Boot);
        let (state, _) = step(state, Event::Failed { why: "rot".into() });
        assert_eq!(state.given_up.len(), 1);
    }

    #[test]
    fn what_fails_keeps_the_other_one_from_being_freed() {
        for starts in 1..=2 {
            let mut board = Board::new().proven(1).proven(2);
            assert_eq!(board.boots(starts), vec![2; starts]);
            board.drive(Event::Prune, None).unwrap();
            let told = "slot a stays: slot b has not shown enough frames since it was started";
            assert_eq!((board.status(1), board.reports.last().unwrap().as_str()), (Status::Good, told));
            assert_eq!(board.until_healthy(&[1]).last(), Some(&1));
        }
        // Nor while the packaged release stands in for both, nor what was set aside.
        let mut board = Board::new().proven(1).proven(2);
        board.drive(Event::Rollback, None).unwrap();
        board.until_packaged();
        board.drive(Event::PackagedWorks, None).unwrap();
        board.drive(Event::Prune, None).unwrap();
        assert!(matches!(board.status(2), Status::Aside { .. }), "{:?}", board.state());
        // What works needs none, and what can never run is of no use.
        let mut board = Board::new().proven(1).proven(2);
        board.boot();
        board.healthy();
        board.drive(Event::Prune, None).unwrap();
        assert_eq!(board.slot_of(1), None);
        let mut board = Board::new().proven(1);
        board.install(2);
        assert_eq!(board.boots(4), [2, 2, 2, 1]);
        board.drive(Event::Prune, None).unwrap();
        assert_eq!(board.slot_of(2), None);
    }

    #[test]
    fn a_trial_is_lost_for_the_reason_that_it_was_lost_for() {
        let mut board = Board::new().proven(1);
        board.install(2);
        for _ in 0..STARTS {
            assert_eq!(board.boot(), 2);
            let digest = release(2).digest();
            let slot = board.state().current.unwrap();
            board.drive(Event::FellShort { slot, digest, why: "95 of 100 frames took up to 300 ms".into() }, None).unwrap();
        }
        assert_eq!(board.boot(), 1);
        let Status::Bad { why } = board.status(2) else { panic!("{:?}", board.state()) };
        assert!(why.contains("in 3 starts: 95 of 100 frames took up to 300 ms"), "{why}");
        // Nor is one release's failure another's.
        board.install(3);
        board.drive(Event::FellShort { slot: Slot::B, digest: release(2).digest(), why: "late".into() }, None).unwrap();
        assert_eq!(board.boots(4), [3, 3, 3, 1]);
        assert!(matches!(board.status(3), Status::Bad { why } if why.contains("fewer than 10 healthy frames in 3 starts")));
    }

    #[test]
    fn an_outage_of_all_ends_with_what_is_wanted_running() {
        // However long it lasts, and whichever release is up when it ends.
        for outage in 0..40 {
            let mut board = Board::new().proven(1).proven(2);
            board.boots(outage);
            let mut starts = 0;
            while board.state().fallen_from().is_some() || board.state().packaged.stands_in || starts == 0 {
                let serial = board.boot();
                match serial {
                    0 => drop(board.drive(Event::PackagedWorks, None).unwrap()),
                    _ => board.healthy(),
                }
                if serial == 1 {
                    assert_eq!(board.fallen_from(), Some(2), "after {outage} failed starts");
                    board.steady();
                }
                starts += 1;
                assert!(starts < 6, "after {outage} failed starts: {:?}", board.state());
            }
            assert_eq!(board.boots(2), [2, 2], "after {outage} failed starts");
            board.healthy();
            board.steady();
            assert_eq!((board.state().fallen, board.state().a.status.clone()), (None, Status::Good));
        }
    }

    #[test]
    fn what_is_wanted_and_truly_fails_is_tried_ever_more_seldom_and_with_one_start() {
        let mut board = Board::new().proven(1).proven(2);
        assert_eq!(board.until_healthy(&[1]), [2, 2, 2, 1]);
        assert_eq!((board.fallen_from(), board.state().steady_after().map(|wait| wait.as_secs())), (Some(2), Some(600)));
        assert_eq!(running(board.state()), "slot a, in place of slot b, which kept failing");
        assert!(describe(board.state(), Slot::B).ends_with("good, 3 starts in a row that failed"));
        // The next start tries it, those after it do not.
        assert_eq!(board.until_healthy(&[1]), [2, 1]);
        for _ in 0..5 {
            assert_eq!(board.until_healthy(&[1]), [1]);
        }
        for wait in [3600, 43_200, 43_200] {
            board.steady();
            assert_eq!(board.state().steady_after().map(|wait| wait.as_secs()), Some(wait));
            assert_eq!(board.until_healthy(&[1]), [2, 1]);
            assert_eq!(board.until_healthy(&[1]), [1]);
        }
        // One that shows frames at each try and then fails does not begin anew.
        board.steady();
        assert_eq!(board.until_healthy(&[1, 2]), [2]);
        assert_eq!((board.fallen_from(), board.until_healthy(&[1])), (None, vec![2, 2, 2, 1]));
        assert_eq!((board.fallen_from(), board.state().steady_after().map(|wait| wait.as_secs())), (Some(2), Some(43_200)));
        // Mended, it stays.
        board.steady();
        assert_eq!(board.until_healthy(&[1, 2]), [2]);
        board.steady();
        assert_eq!((board.state().steady_after(), board.boots(3)), (None, vec![2, 2, 2]));
    }

    #[test]
    fn somebodys_start_tries_what_is_wanted_where_the_other_one_has_worked_and_no_failure_does() {
        let mut board = Board::new().proven(1).proven(2);
        assert_eq!((board.until_healthy(&[1]), board.until_healthy(&[1])), (vec![2, 2, 2, 1], vec![2, 1]));
        for _ in 0..3 {
            assert_eq!(board.until_healthy(&[1]), [1]);
            board.state.as_mut().unwrap().try_wanted();
            assert_eq!(board.until_healthy(&[1]), [2, 1], "one start alone");
        }
        // What has not worked since gives no way.
        assert_eq!(board.boot(), 1);
        board.state.as_mut().unwrap().try_wanted();
        assert_eq!((board.state().slot(Slot::A).failed_starts, board.state().next_start()), (1, Some(Slot::B)), "an outage of both");
        assert!(board.state().slot(Slot::B).failed_starts == 3, "it is no try of its own: {:?}", board.state());
        // Mended, it stays, and the history has a line.
        let mut board = Board::new().proven(1).proven(2);
        board.until_healthy(&[1]);
        board.until_healthy(&[1]);
        board.state.as_mut().unwrap().try_wanted();
        assert_eq!(board.until_healthy(&[1, 2]), [2]);
        assert_eq!((board.fallen_from(), board.reports.last().unwrap().as_str()), (None, "slot b shows frames again"));
        board.steady();
        board.state.as_mut().unwrap().try_wanted();
        assert_eq!((board.state().fallen, board.boots(2)), (None, vec![2, 2]));
    }

    #[test]
    fn how_long_the_other_one_has_worked_is_kept_over_its_starts() {
        let mut board = Board::new().proven(1).proven(2);
        board.until_healthy(&[1]);
        board.steady();
        assert_eq!(board.until_healthy(&[1]), [2, 1]);
        let wait = |board: &Board| board.state().steady_after().map(|wait| wait.as_secs());
        for left in [3600, 3000, 2400, 1800, 1200, 600, 0] {
            assert_eq!(wait(&board), Some(left));
            board.drive(Event::Worked { seconds: 600 }, None).unwrap();
            // The camera is away for a night: neither works, and the other one is up first.
            board.boots(2);
            assert_eq!(board.until_healthy(&[1]).last(), Some(&1));
        }
        board.steady();
        assert_eq!((wait(&board), board.until_healthy(&[1, 2])), (Some(43_200), vec![2]));
        // What is wanted counts its own time, and one that gave nothing up counts none.
        board.drive(Event::Worked { seconds: 600 }, None).unwrap();
        assert_eq!(wait(&board), Some(43_200));
        board.steady();
        board.drive(Event::Worked { seconds: 600 }, None).unwrap();
        assert_eq!((board.state().fallen, wait(&board)), (None, None));
    }

    #[test]
    fn what_has_not_failed_itself_waits_for_nothing() {
        let mut board = Board::new().proven(1).proven(2);
        let waits = |board: &mut Board, count: usize| {
            let wait = |board: &mut Board| {
                let wait = board.state().patience().as_secs();
                (board.boot(), wait)
            };
            (0..count).map(|_| wait(board)).collect::<Vec<_>>()
        };
        assert_eq!(waits(&mut board, 6), [(2, 0), (2, 0), (2, 0), (1, 0), (2, 4), (2, 8)]);
        // Up again after a long outage, the other one is healthy at each start.
        assert_eq!(waits(&mut board, 2).last(), Some(&(1, 32)));
        board.healthy();
        assert_eq!((board.boot(), board.until_healthy(&[1])), (2, vec![1]));
        for _ in 0..3 {
            assert_eq!(waits(&mut board, 1), [(1, 0)]);
            board.healthy();
        }
        // Nor does a new release for what the one before it failed.
        let mut board = Board::new().proven(1);
        board.boots(7);
        board.install(2);
        assert_eq!(waits(&mut board, 3), [(2, 0), (2, 0), (2, 0)]);
    }

    #[test]
    fn with_one_start_a_trial_what_is_tried_again_has_yet_to_show_that_it_works() {
        let mut board = Board { state: Some(State::new(Trial { starts: 1, ..Trial::default() })), ..Board::default() }.proven(1).proven(2);
        assert_eq!(board.until_healthy(&[1]), [2, 1]);
        assert_eq!(board.boot(), 2);
        assert_eq!(board.state().target(), Slot::B, "the other one has worked last");
        board.healthy();
        assert_eq!(board.state().target(), Slot::A);
    }

    #[test]
    fn a_deployment_and_an_operators_word_end_what_was_fallen_from() {
        let fallen = || {
            let mut board = Board::new().proven(1).proven(2);
            board.until_healthy(&[1]);
            board
        };
        let mut board = fallen().proven(3);
        assert_eq!((board.state().fallen, board.boots(2)), (None, vec![3, 3]));

        let mut board = fallen();
        board.drive(Event::Rollback, None).unwrap();
        assert!(matches!(board.status(2), Status::Aside { .. }), "{:?}", board.state());
        assert_eq!((board.fallen_from(), board.until_healthy(&[1]), board.state().given_up.len()), (None, vec![1], 1));

        // It is not freed as what nobody needs.
        let mut board = fallen();
        board.drive(Event::Prune, None).unwrap();
        assert_eq!(board.until_healthy(&[1, 2]), [2]);
        assert!(board.reports.iter().any(|report| report.contains("slot b stays")), "{:?}", board.reports);

        // Rotten, it is wanted no more.
        let mut board = fallen();
        let (state, _) = step(board.state.take().unwrap(), Event::Boot);
        let (state, _) = step(state, Event::Failed { why: "rot".into() });
        assert_eq!((state.work, state.fallen_from()), (Work::Probing(Slot::A), None));
    }

    #[test]
    fn what_is_not_brought_is_not_taken_from_a_release_that_only_stands_in() {
        let mut board = Board::new().proven(1).proven(2);
        assert_eq!(board.state().not_to_be_kept(|_| false), None);
        board.until_healthy(&[1]);
        let why = board.state().not_to_be_kept(|name| name == PROGRAM).unwrap();
        assert!(why.contains("slot a runs in place of slot b") && why.contains(BUNDLE), "{why}");
        assert_eq!(board.state().not_to_be_kept(|name| [BUNDLE, PROGRAM].contains(&name)), None);
        // Other words for the same bundle and program are other words for either.
        let mut words = release(1);
        words.files[2].sha256 = "other words".into();
        let mut board = Board::new().proven(1);
        board.drive(Event::Install { downgrade: true }, Some(words)).unwrap();
        board.boot();
        board.healthy();
        board.boots(4);
        board.healthy();
        assert_eq!((board.state().fallen_from(), board.state().not_to_be_kept(|_| false)), (Some(Slot::B), None));
    }

    #[test]
    fn a_deployment_while_what_fails_is_tried_leaves_the_slot_that_works() {
        // As it falls, and when it is tried again.
        let falls = |starts| {
            let mut board = Board::new().proven(1).proven(2);
            assert_eq!(board.boots(starts), vec![2; starts]);
            board
        };
        let again = || {
            let mut board = falls(3);
            assert_eq!(board.boot(), 1);
            board.healthy();
            assert_eq!((board.state().target(), board.boot()), (Slot::B, 2));
            board
        };
        for mut board in [falls(2), falls(3), again()] {
            board.install(3);
            assert_eq!((board.status(1), board.slot_of(2)), (Status::Good, None), "{:?}", board.state());
            assert_eq!(board.boots(4), [3, 3, 3, 1]);
        }
        // What has shown its frames, and what has merely been started, is what works.
        assert_eq!(falls(1).state().target(), Slot::A);
        let mut board = again();
        board.healthy();
        assert_eq!(board.state().target(), Slot::A);
        // Where neither has worked since, what is wanted stays.
        let mut board = falls(3);
        assert_eq!((board.boots(2), board.state().target()), (vec![1, 2], Slot::A));
        board.until_packaged();
        assert_eq!((board.state().fallen_from(), board.state().target()), (Some(Slot::B), Slot::A));
        // What the operator left, and works in place of what is wanted, is what works.
        let mut board = Board::new().proven(1).proven(2);
        board.drive(Event::Rollback, None).unwrap();
        assert_eq!(board.boots(2), [1, 1]);
        assert_eq!(board.state().target(), Slot::B, "it is only a last choice");
        assert_eq!(board.until_healthy(&[2]), [1, 2]);
        assert_eq!((board.boot(), board.state().target()), (1, Slot::A));
    }

    #[test]
    fn what_was_merely_started_in_its_place_is_not_kept_for_what_has_worked() {
        // Two good ones, and one that the operator left or that never proved itself.
        let left = || {
            let mut board = Board::new().proven(1).proven(2);
            board.drive(Event::Rollback, None).unwrap();
            board.boot();
            board.healthy();
            (board, 1)
        };
        let unproven = || {
            let mut board = Board::new();
            board.install(1);
            (board.proven(2), 2)
        };
        for start in [|| (Board::new().proven(1).proven(2), 2), left, unproven] {
            for how in [None, Some(Ending::Other), Some(Ending::Stopped)] {
                let (mut board, wanted) = start();
                let stands_in = 3 - wanted;
                assert_eq!(board.boots(4), [wanted, wanted, wanted, stands_in]);
                if let Some(how) = how.clone().filter(|how| *how == Ending::Other || !matches!(board.status(stands_in), Status::Good)) {
                    let (slot, digest) = (board.state().current, Some(release(stands_in).digest()));
                    board.drive(Event::Ended { slot, digest, how, worked_s: 0 }, None).unwrap();
                }
                let mut asked = Board { state: board.state.clone(), ..Board::default() };
                asked.drive(Event::Rollback, None).unwrap();
                assert!(!asked.reports.last().unwrap().contains("which ran in its place"), "{:?}", asked.reports);
                board.install(3);
                assert_eq!((board.slot_of(stands_in), board.status(wanted)), (None, Status::Good), "{how:?} {:?}", board.state());
            }
            // Once it works there, it is what stays, while it starts anew as well.
            let (mut board, wanted) = start();
            board.until_healthy(&[3 - wanted]);
            assert_eq!(board.until_healthy(&[3 - wanted]), [wanted, 3 - wanted]);
            assert_eq!(board.boot(), 3 - wanted);
            board.install(3);
            assert_eq!(board.slot_of(wanted), None, "{:?}", board.state());
            // And not for a time before what is wanted worked again.
            let (mut board, wanted) = start();
            board.until_healthy(&[3 - wanted]);
            board.until_healthy(&[wanted]);
            assert_eq!(board.boots(4), [wanted, wanted, wanted, 3 - wanted]);
            board.install(3);
            assert_eq!(board.slot_of(3 - wanted), None, "{:?}", board.state());
        }
    }

    #[test]
    fn what_works_and_gives_way_to_a_lost_trial_is_not_what_failed() {
        let mut board = Board::new().proven(1);
        board.install(2);
        // The camera is away: the trial is lost, the good one fails too, and works with what is packaged.
        board.until_packaged();
        board.drive(Event::PackagedWorks, None).unwrap();
        board.drive(Event::PackagedSteady, None).unwrap();
        assert_eq!(board.until_healthy(&[1]), [1]);
        assert_eq!((board.state().fallen_from(), running(board.state()).as_str()), (None, "slot a, slot b at the next start"));
        board.drive(Event::Rollback, None).unwrap();
        assert_eq!((board.status(1), board.boot()), (Status::Good, 1));
    }

    #[test]
    fn power_that_fails_while_a_trial_runs_on_costs_it_no_start_though_not_for_ever() {
        let proving = |board: &mut Board| {
            assert_eq!(board.boot(), 2);
            let (slot, digest) = (board.state().current.unwrap(), release(2).digest());
            board.drive(Event::Proving { slot, digest }, None).unwrap();
        };
        let tries = |board: &Board| match board.status(2) {
            Status::Pending { tries_left } => tries_left,
            status => panic!("{status:?}"),
        };
        let mut board = Board::new().proven(1);
        board.install(2);
        for _ in 0..=MOST_CUT_STARTS {
            proving(&mut board);
            assert_eq!(tries(&board), STARTS - 1);
        }
        assert!(board.reports.iter().any(|report| report.contains("(5 of 5)")), "{:?}", board.reports);
        (0..STARTS - 1).for_each(|_| proving(&mut board));
        assert_eq!(board.boot(), 1);
        let Status::Bad { why } = board.status(2) else { panic!("{:?}", board.state()) };
        assert!(why.contains("it showed its frames, and 8 starts were cut off"), "{why}");
        // One whose end is told is no such start, whatever ended it.
        let mut board = Board::new().proven(1);
        board.install(2);
        for how in [Ending::Short { why: "late".into() }, Ending::Other, Ending::Stopped] {
            proving(&mut board);
            let (slot, left) = (board.state().current, tries(&board));
            board.drive(Event::Ended { slot, digest: Some(release(2).digest()), how: how.clone(), worked_s: 0 }, None).unwrap();
            assert_eq!(tries(&board), left + u32::from(how == Ending::Stopped));
        }
        // Nor one before its frames.
        assert_eq!((board.boot(), board.state().b.cut_starts), (2, 0));
        assert_eq!(board.boot(), 1);
    }

    #[test]
    fn what_runs_and_is_brought_once_more_leaves_the_way_back() {
        let mut board = Board::new().proven(1).proven(2);
        let before = board.state().clone();
        board.install(2);
        assert_eq!((board.state(), board.reports.last().unwrap().as_str()), (&before, "slot b runs it already, and it is good"));
        board.boots(2);
        board.install(2);
        assert_eq!((board.status(1), board.status(2)), (Status::Good, Status::Good));
        assert!(board.reports.last().unwrap().ends_with("good, 1 start in a row that failed"), "{:?}", board.reports);
        // What has changed on the disk is brought anew.
        let (state, _) = step(before, Event::Install { downgrade: true });
        let (state, _) = step(state, Event::Verified(release(2)));
        assert_eq!(step(state, Event::Failed { why: "rot".into() }).1, [Action::CheckBoard]);
        // And what another runs in place of.
        let mut board = Board::new().proven(1);
        board.until_packaged();
        board.install(1);
        assert_eq!(board.boot(), 1);
        assert!(matches!(board.state().slot(Slot::B).status, Status::Pending { .. }));
    }

    #[test]
    fn a_lost_pointer_is_not_taken_for_the_packaged_release() {
        let mut board = Board::new().proven(1);
        board.state.as_mut().unwrap().current = None;
        assert!(running(board.state()).contains("the next start runs slot a"), "{}", running(board.state()));
        assert_eq!(board.boot(), 1);
        board.drive(Event::Rollback, None).unwrap();
        assert_eq!(running(board.state()), "slot a, the packaged release at the next start");
        assert_eq!((board.boot(), running(board.state()).as_str()), (0, "the packaged release"));
    }
}
