//! Rules on what is seen: zones of the picture, conditions on words, and the events that they give. `docs/events.md` describes the file.
//!
//! ```
//! use edge_seg_live::rules::{RuleBook, Watcher};
//! # fn main() -> edge_seg_live::Result<()> {
//! let book = RuleBook::parse("rules", "[[rule]]\nname = \"visitor\"\nwhen = { word = \"person\", share_above = 0.05 }")?;
//! assert_eq!(book.words(), ["person"]);
//! let watcher = Watcher::new(book)?; // `look` takes each frame's masks
//! assert_eq!(watcher.states().collect::<Vec<_>>(), [("visitor", false)]);
//! # Ok(())
//! # }
//! ```

mod clock;
mod condition;
mod crowd;
mod event;
mod machine;
mod normal;
mod normal_file;
mod profile;
mod zone;

pub use clock::{LocalClock, LocalTime};
pub use condition::{Condition, Known, Measured, PRESENT_SHARE, Test, Unusual};
pub use crowd::{Line, Place, Tally, TallyPlace, ThingTest, Way};
pub use edge_seg_bundle::date::utc;
pub use event::{Event, EventKind};
pub use machine::{Change, Confirm, Machine, Timing};
pub use normal::{Amount, Departure, LEARNING_DAYS, Normal, Usual, Watched};
pub use normal_file::NormalFile;
pub use profile::{Profile, brightness};
pub use zone::{Anchor, Unit, Zone, ZoneMask};

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::things::{Thing, Things};
use crate::{Error, Result};
use crowd::Crowds;
use edge_seg_bundle::toml_text::{wrong_syntax, wrong_value};
use edge_seg_model::render::{ClassReport, Milliseconds};
use edge_seg_model::text::read_text_within;
use edge_seg_model::{LabelMap, Segmentation, same_name};
use profile::Schedule;

/// A rule: a condition, and the times that make events of it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Rule {
    /// What its events are called.
    pub name: String,
    /// What it waits for.
    pub when: Condition,
    /// Seconds for which the condition must hold before an event starts.
    #[serde(default)]
    pub for_s: f64,
    /// Seconds after which what was noticed must be confirmed before the event starts; at once if 0.
    #[serde(default)]
    pub confirm_s: f64,
    /// What must hold then; the condition itself if none.
    #[serde(default)]
    pub confirm: Option<Condition>,
    /// Seconds for which it must not hold before the event ends.
    #[serde(default = "default_release_s")]
    pub end_after_s: f64,
    /// Seconds after an event in which no other starts.
    #[serde(default)]
    pub cool_down_s: f64,
    /// Seconds without a frame after which nobody knows what held meanwhile.
    #[serde(default = "default_gap_s")]
    pub gap_s: f64,
    /// Whether a picture of its events is kept, where snapshots are asked for.
    #[serde(default = "default_snapshot")]
    pub snapshot: bool,
}

impl Rule {
    /// A rule with the times of one in a file that says none.
    pub fn new(name: impl Into<String>, when: Condition) -> Self {
        Self {
            name: name.into(),
            when,
            for_s: 0.0,
            confirm_s: 0.0,
            confirm: None,
            end_after_s: default_release_s(),
            cool_down_s: 0.0,
            gap_s: default_gap_s(),
            snapshot: default_snapshot(),
        }
    }
}

fn default_release_s() -> f64 {
    Timing::default().release.as_secs_f64()
}

fn default_gap_s() -> f64 {
    Timing::default().gap.as_secs_f64()
}

fn default_snapshot() -> bool {
    true
}

/// A file of zones and rules.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RuleBook {
    /// The zones that rules name.
    #[serde(default, rename = "zone")]
    pub zones: Vec<Zone>,
    /// The lines that rules name.
    #[serde(default, rename = "line")]
    pub lines: Vec<Line>,
    /// What is looked for at which times; the first whose time it is, is on.
    #[serde(default, rename = "profile")]
    pub profiles: Vec<Profile>,
    /// The rules.
    #[serde(default, rename = "rule")]
    pub rules: Vec<Rule>,
}

/// Longest file of rules that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What serde says of a key that there is not, ``unknown field `a`, expected one of `b`, `c` ``: those that there are, and with it the nearest.
fn unknown_key(message: &str) -> Option<(String, String)> {
    let (found, known) = message.strip_prefix("unknown field `")?.split_once('`')?;
    let expected = known.strip_prefix(", expected ")?;
    let slips = |name: &&str| strsim::osa_distance(found, name);
    let nearest = expected.split('`').skip(1).step_by(2).min_by_key(slips);
    let meant = nearest.filter(|name| 2 * slips(name) <= found.len().min(name.len()));
    let meant = meant.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
    Some((format!("{expected} here"), format!("unknown field `{found}`{meant}")))
}

impl RuleBook {
    /// Reads a file of rules.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if it cannot be read, [`Error::Rules`] if it is not as `docs/events.md` says.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_text_within(path, MAX_FILE_BYTES).map_err(|error| match error {
            edge_seg_model::Error::Words { place, expected, found } => Error::Rules { place, expected, found },
            other => other.into(),
        })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads rules from a text; `place` names it in errors.
    ///
    /// # Errors
    /// [`Error::Rules`] as [`Self::read`].
    pub fn parse(place: &str, text: &str) -> Result<Self> {
        let book: Self = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            // What checks a value says both itself.
            let said = e.message().strip_prefix("expected ").and_then(|said| said.split_once(", found "));
            let said = said
                .map(|(expected, found)| (expected.to_owned(), found.to_owned()))
                .or_else(|| wrong_value(e.message()))
                .or_else(|| unknown_key(e.message()));
            let (expected, found) = said.unwrap_or_else(|| ("zones and rules".into(), wrong_syntax(e.message())));
            Error::Rules { place: format!("{place}:{line}"), expected, found }
        })?;
        book.check(place)?;
        Ok(book)
    }

    /// Whether the rules can be followed: what [`Self::parse`] asks of a text, for rules that a program has made. `place` names them in
    /// errors.
    ///
    /// # Errors
    /// [`Error::Rules`] if a name is missing or is there twice, a zone is none, or a time is not of 0 seconds to a year.
    pub fn check(&self, place: &str) -> Result<()> {
        let wrong =
            |part: String, expected: String, found: String| Err(Error::Rules { place: format!("{place}: {part}"), expected, found });
        for (i, zone) in self.zones.iter().enumerate() {
            if let Err((expected, found)) = zone.check() {
                return wrong(format!("zone {:?}", zone.name), expected, found);
            }
            if self.zones[..i].iter().any(|z| z.name == zone.name) {
                return wrong(format!("zone {:?}", zone.name), "each zone once".into(), "it twice".into());
            }
        }

        for (i, line) in self.lines.iter().enumerate() {
            if let Err((expected, found)) = line.check() {
                return wrong(format!("line {:?}", line.name), expected, found);
            }
            if self.lines[..i].iter().any(|l| l.name == line.name) {
                return wrong(format!("line {:?}", line.name), "each line once".into(), "it twice".into());
            }
        }

        for (i, profile) in self.profiles.iter().enumerate() {
            if let Err((expected, found)) = profile.check() {
                return wrong(format!("profile {:?}", profile.name), expected, found);
            }
            if self.profiles[..i].iter().any(|p| p.name == profile.name) {
                return wrong(format!("profile {:?}", profile.name), "each profile once".into(), "it twice".into());
            }
        }

        for (i, rule) in self.rules.iter().enumerate() {
            let part = || format!("rule {:?}", rule.name);
            if rule.name.trim().is_empty() {
                return wrong(format!("rule {}", i + 1), "a name".into(), "none".into());
            }
            if self.rules[..i].iter().any(|r| r.name == rule.name) {
                return wrong(part(), "each rule once".into(), "it twice".into());
            }
            let times = [
                ("for_s", rule.for_s),
                ("confirm_s", rule.confirm_s),
                ("end_after_s", rule.end_after_s),
                ("cool_down_s", rule.cool_down_s),
                ("gap_s", rule.gap_s),
            ];
            for (key, seconds) in times {
                if !(0.0..=86_400.0 * 366.0).contains(&seconds) {
                    return wrong(part(), format!("{key} of seconds, up to a year"), seconds.to_string());
                }
            }
            if let Some(unknown) = rule.zones().into_iter().find(|z| self.zones.iter().all(|k| k.name != *z)) {
                return wrong(part(), "the name of a [[zone]]".into(), format!("{unknown:?}"));
            }
            if let Some(unknown) = rule.lines().into_iter().find(|l| self.lines.iter().all(|k| k.name != *l)) {
                return wrong(part(), "the name of a [[line]]".into(), format!("{unknown:?}"));
            }
            if let Some(unknown) =
                rule.conditions().flat_map(Condition::profiles).find(|name| self.profiles.iter().all(|p| p.name != *name))
            {
                return wrong(part(), "the name of a [[profile]]".into(), format!("{unknown:?}"));
            }
            if let Some((expected, found)) = rule.conditions().find_map(Condition::out_of_range) {
                return wrong(part(), expected.into(), found.to_string());
            }
            let is_instant = |condition: &Condition| condition.counts().iter().any(|(_, _, test)| test.is_instant());
            if rule.for_s > 0.0 && is_instant(&rule.when) {
                return wrong(part(), "no for_s with enters, leaves and crosses, which are over at once".into(), rule.for_s.to_string());
            }
            let over = "enters, leaves and crosses, which are over at once";
            match &rule.confirm {
                Some(confirm) if is_instant(confirm) => return wrong(part(), format!("a confirm without {over}"), "one of them".into()),
                Some(_) if rule.confirm_s == 0.0 => return wrong(part(), "confirm_s with confirm".into(), "none".into()),
                None if rule.confirm_s > 0.0 && is_instant(&rule.when) => {
                    return wrong(part(), format!("a confirm of its own with {over}"), "none".into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether rules ask for what is usual, which is learned from what was seen before.
    pub fn learns(&self) -> bool {
        self.rules.iter().flat_map(Rule::conditions).any(|condition| !condition.unusual().is_empty())
    }

    /// Whether anything goes by the local clock: a profile, or what is usual.
    pub fn needs_clock(&self) -> bool {
        self.profiles.iter().any(|profile| profile.from.is_some() || profile.to.is_some()) || self.learns()
    }

    /// Whether rules count things, or zones and lines ask for it.
    pub fn counts(&self) -> bool {
        !self.lines.is_empty() || self.counted().next().is_some()
    }

    /// Words that rules are about, each once, in order.
    pub fn words(&self) -> Vec<&str> {
        let mut words: Vec<&str> = Vec::new();
        let measured = self.rules.iter().flat_map(Rule::conditions).flat_map(Condition::measures).map(|(word, _)| word);
        for word in measured.chain(self.counted()) {
            if !words.iter().any(|w| same_name(w, word)) {
                words.push(word);
            }
        }
        words
    }
}

impl RuleBook {
    /// Words whose things are counted, as often as rules name them.
    fn counted(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().flat_map(Rule::conditions).flat_map(Condition::counted)
    }
}

impl Rule {
    /// What it waits for, and what confirms it.
    fn conditions(&self) -> impl Iterator<Item = &Condition> {
        std::iter::once(&self.when).chain(&self.confirm)
    }

    fn zones(&self) -> Vec<&str> {
        let counted = self
            .conditions()
            .flat_map(Condition::counts)
            .filter_map(|(_, place, _)| if let Place::Zone(zone) = place { Some(zone.as_str()) } else { None });
        self.conditions().flat_map(Condition::measures).filter_map(|(_, zone)| zone).chain(counted).collect()
    }

    fn lines(&self) -> Vec<&str> {
        self.conditions()
            .flat_map(Condition::counts)
            .filter_map(|(_, place, _)| if let Place::Line(line) = place { Some(line.as_str()) } else { None })
            .collect()
    }

    fn timing(&self) -> Timing {
        let times = [self.for_s, self.end_after_s, self.cool_down_s, self.gap_s, self.confirm_s];
        let [hold, release, cool_down, gap, after] = times.map(Duration::from_secs_f64);
        let confirm = (!after.is_zero()).then_some(Confirm { after, by_other: self.confirm.is_some() });
        Timing { hold, release, cool_down, gap, confirm }
    }
}

/// Rules over the frames of a session.
#[derive(Debug, Default)]
pub struct Watcher {
    book: RuleBook,
    machines: Vec<Machine>,
    masks: Vec<Option<ZoneMask>>,
    crowds: Crowds,
    /// Whether things were counted since the last frame.
    is_counted: bool,
    /// Rules that are gone while an event of them was on, and how that ended.
    gone: Vec<(String, Change)>,
    wall: LocalClock,
    schedule: Schedule,
    /// Brightness of the frame that comes next.
    brightness: Option<f64>,
    normal: Normal,
}

impl Watcher {
    /// Begins with no event on.
    ///
    /// # Errors
    /// As [`RuleBook::check`].
    pub fn new(book: RuleBook) -> Result<Self> {
        book.check("rules")?;
        Ok(Self::default().following(book))
    }

    /// The same with another wall clock than the system's.
    pub fn with_clock(self, wall: LocalClock) -> Self {
        Self { wall, ..self }
    }

    /// The same with what is known of what is usual.
    pub fn with_normal(self, normal: Normal) -> Self {
        Self { normal, ..self }
    }

    /// What is known of what is usual, to be kept.
    pub fn normal(&mut self) -> &mut Normal {
        &mut self.normal
    }

    fn following(self, book: RuleBook) -> Self {
        let (machines, masks) = (vec![Machine::default(); book.rules.len()], vec![None; book.zones.len()]);
        let (crowds, schedule) = (Crowds::new(&book.zones, &book.lines), Schedule::new(&book.profiles));
        let Self { wall, normal, .. } = self;
        Self { book, machines, masks, crowds, is_counted: false, gone: Vec::new(), wall, schedule, brightness: None, normal }
    }

    /// Goes on with other rules. A rule that is the same, with the same zones, goes on where it was; of one that is another or gone, the
    /// event that is on ends with the next frame.
    ///
    /// # Errors
    /// As [`RuleBook::check`]; the old rules stay then.
    pub fn replace(&mut self, book: RuleBook) -> Result<()> {
        book.check("rules")?;
        let mut old = std::mem::take(self);
        let fresh = Self { wall: old.wall.clone(), normal: std::mem::take(&mut old.normal), ..Self::default() };
        *self = fresh.following(book);
        self.gone = std::mem::take(&mut old.gone);
        self.schedule.take_over(&old.schedule);
        self.crowds.take_over(std::mem::take(&mut old.crowds));
        for (rule, mut machine) in old.book.rules.iter().zip(old.machines) {
            let places = |book: &RuleBook| -> (Vec<Zone>, Vec<Line>) {
                let (zones, lines) = (rule.zones(), rule.lines());
                let zones = book.zones.iter().filter(|zone| zones.contains(&zone.name.as_str())).cloned().collect();
                (zones, book.lines.iter().filter(|line| lines.contains(&line.name.as_str())).cloned().collect())
            };
            let same = self.book.rules.iter().position(|new| new == rule && places(&self.book) == places(&old.book));
            match same {
                Some(at) => self.machines[at] = machine,
                None => self.gone.extend(machine.close().map(|change| (rule.name.clone(), change))),
            }
        }
        Ok(())
    }

    /// The rules.
    pub fn book(&self) -> &RuleBook {
        &self.book
    }

    /// Each rule's name and whether an event of it is on.
    pub fn states(&self) -> impl Iterator<Item = (&str, bool)> {
        self.book.rules.iter().zip(&self.machines).map(|(rule, machine)| (rule.name.as_str(), machine.is_on()))
    }

    /// The profile that was on in the last frame.
    pub fn profile(&self) -> Option<&Profile> {
        self.schedule.current()
    }

    /// Whether a profile goes with the light, so that [`Self::light`] is to be told of it.
    pub fn needs_light(&self) -> bool {
        self.schedule.needs_light()
    }

    /// Takes the mean brightness, in 0..1, of the frame that comes to [`Self::observe`] next. A frame without it changes no profile.
    pub fn light(&mut self, brightness: f64) {
        self.brightness = Some(brightness);
    }

    /// Words that rules are about and that are neither in the list nor brought by a profile.
    pub fn missing_words<'a>(&'a self, names: &[String]) -> Vec<&'a str> {
        let of_profiles = self.book.profiles.iter().filter_map(|profile| profile.classes().ok().flatten()).flatten();
        let known: Vec<String> = of_profiles.map(|class| class.name).chain(names.iter().cloned()).collect();
        self.book.words().into_iter().filter(|word| known.iter().all(|name| !same_name(name, word))).collect()
    }

    /// Words whose things rules count and nobody does: these are counted.
    pub fn uncounted_words<'a>(&'a self, counted: &[&str]) -> Vec<&'a str> {
        let mut words: Vec<&str> = self.book.counted().filter(|word| counted.iter().all(|c| !same_name(c, word))).collect();
        words.sort_unstable();
        words.dedup();
        words
    }

    /// Takes the things of the frame that comes to [`Self::observe`] next, of the words that are counted. A frame whose things are not
    /// given leaves unknown what depends on them.
    pub fn count(&mut self, things: &[Thing], counted: &[&str], frame_px: (u32, u32), timestamp_ms: f64) {
        self.crowds.take(things, counted, frame_px, moment(timestamp_ms));
        self.is_counted = true;
    }

    /// The things that [`Self::count`] takes next are of a scene that nobody saw them come into.
    pub(crate) fn begin_anew(&mut self, timestamp_ms: f64) {
        self.crowds.begin_anew(moment(timestamp_ms));
    }

    /// What was counted in each zone and over each line, by the frame that was taken last.
    pub fn tallies(&self) -> Vec<Tally> {
        self.crowds.tallies()
    }

    /// As [`Self::look`], with the frame's things.
    pub fn look_at(&mut self, found: &Segmentation, things: &Things, clock: SystemTime) -> Vec<Event> {
        let counted: Vec<&str> =
            found.names.iter().zip(&things.counted).filter(|(_, counted)| **counted).map(|(name, _)| name.as_str()).collect();
        let timestamp_ms = found.timestamp.as_secs_f64() * 1e3;
        if things.is_anew {
            self.begin_anew(timestamp_ms);
        }
        self.count(&things.list, &counted, things.frame_px(), timestamp_ms);
        self.look(found, clock)
    }

    /// Takes one frame that a program has segmented itself: its masks, its number and its time.
    pub fn look(&mut self, found: &Segmentation, clock: SystemTime) -> Vec<Event> {
        let (classes, _) = ClassReport::list(&found.names, found);
        self.observe(&found.labels, &classes, found.sequence, found.timestamp.as_secs_f64() * 1e3, clock)
    }

    /// Takes one frame: its labels, what is reported of all classes, its number and its own time, on which rules run. `clock` is the
    /// wall's, for the events alone. A word that is not in the list, or a map that lacks labels, makes unknown what depends on it, and the
    /// unknown counts as not held.
    /// A time that is no number or before the start counts as the start, one beyond all clocks as their end.
    pub fn observe(
        &mut self,
        labels: &LabelMap,
        classes: &[ClassReport],
        sequence: u64,
        timestamp_ms: f64,
        clock: SystemTime,
    ) -> Vec<Event> {
        if !std::mem::take(&mut self.is_counted) {
            self.crowds.blind();
        }
        let mut shares: Vec<Option<Vec<f64>>> = vec![None; self.book.zones.len()];
        for zone in self.book.rules.iter().flat_map(Rule::zones) {
            let Some(at) = self.book.zones.iter().position(|k| k.name == zone) else { continue };
            if shares[at].is_none() && labels.checked().is_ok() {
                let mask = match &mut self.masks[at] {
                    Some(mask) if mask.fits(labels) => mask,
                    stale => stale.insert(self.book.zones[at].mask(labels.width, labels.height)),
                };
                let all = mask.pixels().max(1) as f64;
                shares[at] = Some(mask.count(labels, classes.len()).into_iter().map(|n| n as f64 / all).collect());
            }
        }
        let measured = |word: &str, zone: Option<&str>| {
            let class = classes.iter().find(|c| same_name(&c.name, word))?;
            let share = match zone {
                None => class.share,
                Some(zone) => shares[self.book.zones.iter().position(|k| k.name == zone)?].as_ref()?.get(class.label).copied()?,
            };
            Some((share, class.score))
        };
        let now = moment(timestamp_ms);
        let local = self.wall.at(clock);
        self.schedule.step(local, now, self.brightness.take());
        let profile = self.schedule.current().map(|profile| profile.name.as_str());
        let crowds = &self.crowds;
        let counted = |word: &str, place: &Place, test| crowds.holds(word, place, test).map(|(holds, _)| holds);
        let learned: Vec<&Unusual> = self.book.rules.iter().flat_map(Rule::conditions).flat_map(Condition::unusual).collect();
        let zones = &self.book.zones;
        if !learned.is_empty() {
            let mut taken: Vec<Watched> = Vec::new();
            self.normal.begin_by(&self.wall, clock, now);
            for unusual in learned {
                let watched = watched(unusual, zones);
                // Two rules may ask for the same.
                if taken.contains(&watched) {
                    continue;
                }
                let value = match unusual.of {
                    Amount::Share => measured(&unusual.word, unusual.zone.as_deref()).map(|(share, _)| share),
                    Amount::Count => crowds.count(&unusual.word, &place(unusual)).map(|count| count as f64),
                };
                match value {
                    Some(value) => self.normal.take(&watched, now, value),
                    None => self.normal.blind(&watched),
                }
                taken.push(watched);
            }
        }
        let normal = &self.normal;
        let departs = |unusual: &Unusual| normal.departs(&watched(unusual, zones), unusual.departure, unusual.deviations);
        let known = Known { measured: &measured, counted: &counted, departs: &departs, profile };
        let told = |rule: String, event, held: Duration, measured| Event {
            rule,
            event,
            time: utc(clock),
            sequence,
            timestamp_ms,
            duration_ms: Milliseconds::rounded(held),
            measured,
            snapshot: None,
        };
        let mut events: Vec<_> = self.gone.drain(..).map(|(rule, change)| told(rule, change.kind(), change.held(), Vec::new())).collect();
        for (rule, machine) in self.book.rules.iter().zip(&mut self.machines) {
            let holds = rule.when.holds(&known).unwrap_or(false);
            let confirms = rule.confirm.as_ref().is_some_and(|confirm| confirm.holds(&known).unwrap_or(false));
            for change in machine.step_confirmed(now, holds, confirms, &rule.timing()).into_iter().flatten() {
                let unusual: Vec<&Unusual> = rule.conditions().flat_map(Condition::unusual).collect();
                let of = |(word, zone): (&str, Option<&str>)| {
                    let (share, score) = measured(word, zone)?;
                    let asked = unusual.iter().find(|u| same_name(&u.word, word) && u.zone.as_deref() == zone);
                    let usual = asked.and_then(|u| normal.usual(&watched(u, zones), u.deviations)).map(|usual| [usual.low, usual.high]);
                    let count = asked.filter(|u| u.of == Amount::Count).and_then(|u| crowds.count(word, &place(u)));
                    Some(Measured {
                        word: word.into(),
                        zone: zone.map(Into::into),
                        line: None,
                        share,
                        score,
                        count,
                        usual,
                        ids: Vec::new(),
                    })
                };
                let of_things = |(word, place, test): (&str, &Place, ThingTest)| {
                    let (zone, line) = match place {
                        Place::Picture => (None, None),
                        Place::Zone(zone) => (Some(zone.clone()), None),
                        Place::Line(line) => (None, Some(line.clone())),
                    };
                    let (share, score) = measured(word, zone.as_deref())?;
                    let (_, ids) = crowds.holds(word, place, test)?;
                    Some(Measured { word: word.into(), zone, line, share, score, count: crowds.count(word, place), usual: None, ids })
                };
                let of_things = rule.conditions().flat_map(Condition::counts).filter_map(of_things);
                let measured = rule.conditions().flat_map(Condition::measures).filter_map(of).chain(of_things).collect();
                events.push(told(rule.name.clone(), change.kind(), change.held(), measured));
            }
        }
        events
    }

    /// Whether a rule's events are to have pictures.
    pub fn wants_snapshot(&self, rule: &str) -> bool {
        self.book.rules.iter().any(|r| r.name == rule && r.snapshot)
    }
}

/// What a condition compares with what is usual, as that is kept.
fn watched(unusual: &Unusual, zones: &[Zone]) -> Watched {
    let shape = unusual.zone.as_deref().and_then(|name| zones.iter().find(|zone| zone.name == name)).map_or(0, Zone::shape);
    Watched { word: unusual.word.to_lowercase(), zone: unusual.zone.clone(), shape, of: unusual.of }
}

fn place(unusual: &Unusual) -> Place {
    unusual.zone.clone().map_or(Place::Picture, Place::Zone)
}

/// A frame's time. One that is no number or before the start counts as the start, one beyond all clocks as their end.
fn moment(timestamp_ms: f64) -> Duration {
    Duration::try_from_secs_f64((timestamp_ms / 1e3).max(0.0)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests;
