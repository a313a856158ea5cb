use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use clap::Args;
use edge_seg::live::{FrameReport, SegmentedFrame, Words};
use edge_seg::rules::{EventKind, LocalClock, RuleBook, Watcher};
use edge_seg::sink::LiveSink;
use edge_seg_bundle::date::{parse_time, utc};
use edge_seg_live::metrics::Metrics;
use edge_seg_live::rules::{LEARNING_DAYS, NormalFile};
use edge_seg_live::session::EventBus;
use edge_seg_live::sinks::{EventLog, Snapshots};
use edge_seg_live::words::ProfileFollower;
use parking_lot::Mutex;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

use super::output::OutputArgs;
use crate::cli::flags::{check_folder, check_folder_of, needs, or_example, or_make_folder, quoted};
use crate::cli::steer;

/// What becomes of what is seen.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Rules")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RulesArgs {
    /// Zones and rules (docs/events.md); their events are in the JSON lines. The file is read again whenever it changes.
    #[arg(long, value_name = "FILE")]
    #[serde(rename = "file")]
    rules: Option<PathBuf>,
    /// Append events to this file, one JSON line each.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Keep a picture of each event that starts, in this folder.
    #[arg(long, value_name = "DIR")]
    snapshots: Option<PathBuf>,
    /// How many of these pictures are kept, the newest ones [default: 500].
    #[arg(long, value_name = "N")]
    snapshots_kept: Option<usize>,
    /// When the source begins, as 2026-05-01T08:00:00Z (or with +02:00), or a recording's name has it (20260501T080000Z): what comes of a
    /// clip's frames, its events and what an index keeps, then has the clip's own times, and not those of this run.
    #[arg(long, value_name = "TIME", value_parser = started_at)]
    #[serde(deserialize_with = "read_time", serialize_with = "write_time")]
    start_time: Option<SystemTime>,
}

fn started_at(text: &str) -> std::result::Result<SystemTime, String> {
    // The second recording of one second is called `20260501T080000Z-2`.
    let is_number = |number: &str| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    let time = text.rsplit_once('-').filter(|(time, number)| time.ends_with('Z') && is_number(number)).map_or(text, |(time, _)| time);
    parse_time(time).ok_or_else(|| {
        format!("expected a time with its zone, as 2026-05-01T08:00:00Z, 2026-05-01T10:00:00+02:00 or 20260501T080000Z, found {text:?}")
    })
}

fn read_time<'de, D: Deserializer<'de>>(reader: D) -> std::result::Result<Option<SystemTime>, D::Error> {
    let text = Option::<String>::deserialize(reader)?;
    text.map(|text| started_at(&text).map_err(D::Error::custom)).transpose()
}

fn write_time<S: Serializer>(time: &Option<SystemTime>, writer: S) -> std::result::Result<S::Ok, S::Error> {
    time.map(utc).serialize(writer)
}

const KEPT: usize = 500;

/// What writes a first rule.
const RULE: &str = r#"printf '[[rule]]\nname = "a dog"\nwhen = { word = "dog", share_above = 0.05 }\n'"#;

impl RulesArgs {
    pub fn check(&self, keeps_index: bool) -> Result<()> {
        needs("--start-time", self.start_time.is_some(), "--rules or --index", self.rules.is_some() || keeps_index)?;
        for (option, given) in [("--events", self.events.is_some()), ("--snapshots", self.snapshots.is_some())] {
            needs(option, given, "--rules", self.rules.is_some())?;
        }
        ensure!(self.snapshots_kept != Some(0), "--snapshots-kept: expected 1 or more, found 0");
        needs("--snapshots-kept", self.snapshots_kept.is_some(), "--snapshots", self.snapshots.is_some())
    }

    /// Whether there can be a folder and a file where they are asked for.
    pub fn check_folders(&self) -> Result<()> {
        self.snapshots.iter().try_for_each(|folder| check_folder("--snapshots", folder))?;
        self.events.iter().try_for_each(|file| check_folder_of("--events", file))
    }

    pub fn file(&self) -> Option<PathBuf> {
        self.rules.clone()
    }

    /// When a recorded clip began.
    pub fn start_time(&self) -> Option<SystemTime> {
        self.start_time
    }

    /// The rules of the file, none without one.
    pub fn book(&self) -> Result<RuleBook> {
        let Some(file) = &self.rules else { return Ok(RuleBook::default()) };
        RuleBook::read(file).map_err(|e| {
            let example = "a file of rules as docs/events.md has it";
            or_example(e, file, format_args!("{RULE} > {}   # docs/events.md has more", quoted(file)), example)
        })
    }

    /// Begins with these rules, and follows their file. What is usual is kept in the folder for what outlasts a run.
    pub fn open(&self, book: RuleBook, state: Option<&Path>) -> Result<Rules> {
        let mut rules = Rules {
            history: state.map(|state| History::Closed(state.join("normal.history"))),
            profiles: None,
            watcher: Watcher::default(),
            names: Arc::default(),
            snapshots: self.snapshots.clone(),
            start_time: self.start_time,
            words_version: None,
            incoming: Arc::default(),
        };
        rules.replace(book)?;
        rules.reader().follow(self.file());
        Ok(rules)
    }

    pub fn sinks(&self, output: &OutputArgs, metrics: &Metrics) -> Result<Vec<Box<dyn LiveSink>>> {
        let mut sinks: Vec<Box<dyn LiveSink>> = Vec::new();
        if let Some(file) = &self.events {
            sinks.push(output.guard("--events", EventLog::open(file).map_err(|e| or_make_folder(e, file)).context("--events")?, metrics));
        }
        if let Some(folder) = &self.snapshots {
            let kept = self.snapshots_kept.unwrap_or(KEPT);
            sinks.push(Box::new(Snapshots::create(folder.clone(), kept, metrics.queue("snapshots")).context("--snapshots")?));
        }
        Ok(sinks)
    }
}

/// Rules over the frames of a run.
pub struct Rules {
    watcher: Watcher,
    history: Option<History>,
    profiles: Option<ProfileFollower>,
    names: Arc<[String]>,
    snapshots: Option<PathBuf>,
    start_time: Option<SystemTime>,
    words_version: Option<u64>,
    incoming: Arc<Mutex<Incoming>>,
}

/// What is usual outlasts a run in a file, which is opened once rules ask for it.
enum History {
    Closed(PathBuf),
    Open(NormalFile),
}

/// Rules that the next frame is the first for, and what ends the watch over the file that they come from.
#[derive(Default)]
struct Incoming {
    book: Option<RuleBook>,
    watched: Arc<AtomicBool>,
}

/// Brings other rules into a run.
pub struct RulesReader(Arc<Mutex<Incoming>>);

impl RulesReader {
    /// Goes on with these rules, and follows their file from now on.
    pub fn take(&self, book: RuleBook, file: Option<PathBuf>) {
        self.0.lock().book = Some(book);
        self.follow(file);
    }

    /// Follows this file from now on, and no other.
    fn follow(&self, file: Option<PathBuf>) {
        let mut incoming = self.0.lock();
        incoming.watched.store(true, Ordering::Relaxed);
        incoming.watched = Arc::default();
        let Some(file) = file else { return };
        let (place, over) = (self.0.clone(), incoming.watched.clone());
        steer::watch(file.clone(), None, over.clone(), move || match RuleBook::read(&file) {
            Ok(book) => {
                let mut incoming = place.lock();
                // Another file may have been named meanwhile.
                if !over.load(Ordering::Relaxed) {
                    tracing::info!("{}: the rules are read again", file.display());
                    incoming.book = Some(book);
                }
            }
            Err(e) => tracing::error!("the rules stay as they were: {e}"),
        });
    }
}

impl Rules {
    pub fn reader(&self) -> RulesReader {
        RulesReader(self.incoming.clone())
    }

    /// Has these words follow the profiles.
    pub fn change(&mut self, words: Arc<Words>) {
        self.profiles = Some(ProfileFollower::new(words));
    }

    fn replace(&mut self, book: RuleBook) -> Result<()> {
        let keeps = self.history.is_some() || !book.learns();
        ensure!(keeps, "--rules: expected --state DIR to keep what is usual in, which rules ask for, found none");
        if book.learns()
            && let Some(History::Closed(path)) = &self.history
        {
            let (file, normal) = NormalFile::open(path)?;
            let days = normal.days();
            let plural = if days == 1 { "" } else { "s" };
            let learned = format!("{}: what is usual is learned from {days} day{plural}", path.display());
            match days {
                ..LEARNING_DAYS => tracing::info!("{learned}, of {LEARNING_DAYS} before it is said what is unusual"),
                LEARNING_DAYS.. => tracing::info!("{learned}"),
            }
            *self.watcher.normal() = normal;
            self.history = Some(History::Open(file));
        }
        if book.needs_clock() {
            match LocalClock::system() {
                Ok(clock) => tracing::info!("profiles, and what is usual, go by the local time of {}", clock.name()),
                Err(e) => tracing::warn!("profiles, and what is usual, go by UTC: {e}"),
            }
        }
        self.watcher.replace(book)?;
        self.names = self.watcher.states().map(|(name, _)| name.to_owned()).collect();
        // Which of their words are missing is to be told anew.
        self.words_version = None;
        Ok(())
    }

    /// Keeps what was learned.
    pub fn finish(mut self) {
        if let Some(History::Open(file)) = self.history {
            file.finish(self.watcher.normal());
        }
    }

    /// Puts a frame's events into its report and tells them to whoever listens.
    pub fn observe(&mut self, shown: &SegmentedFrame, report: &mut FrameReport, event_bus: &Arc<EventBus>) {
        let book = self.incoming.lock().book.take();
        if let Some(Err(e)) = book.map(|book| self.replace(book)) {
            tracing::error!("the rules stay as they were: {e}");
        }
        report.rules = self.names.clone();
        if self.words_version != Some(report.words_version) {
            self.words_version = Some(report.words_version);
            let names: Vec<_> = report.classes.iter().map(|c| c.name.clone()).collect();
            let missing = self.watcher.missing_words(&names);
            if !missing.is_empty() {
                tracing::warn!("rules name words that are not in the list: {}", missing.join(", "));
            }
            let uncounted = self.watcher.uncounted_words(&report.counted());
            if !uncounted.is_empty() {
                tracing::warn!("rules count words that are not counted: {}; see --things", uncounted.join(", "));
            }
        }
        let clock = self.start_time.and_then(|start| start.checked_add(shown.frame.timestamp)).unwrap_or_else(SystemTime::now);
        report.observe(&mut self.watcher, shown, clock);
        if let Some(profiles) = &mut self.profiles
            && profiles.follow(self.watcher.profile())
        {
            event_bus.publish("profile", &json!({ "name": report.profile }));
        }
        if let Some(History::Open(file)) = &mut self.history {
            file.keep(self.watcher.normal());
        }
        for event in &mut report.events {
            if let Some(folder) = self.snapshots.as_ref().filter(|_| event.event == EventKind::Started)
                && self.watcher.wants_snapshot(&event.rule)
            {
                event.snapshot = Some(Snapshots::path(folder, event).display().to_string());
            }
            if let Ok(told) = serde_json::to_value(&*event) {
                event_bus.publish("rule", &told);
            }
        }
    }
}
