use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};

use super::encode::{Encoded, Encoder, encode};
use super::snapshot::Snapshot;
use super::timeline::Timeline;
use crate::Result;
use crate::session::{Counters, EventBus, FrameReport, HideSwitches, SegmentedFrame};
use crate::sinks::{LiveSink, Recorder};
use crate::words::{Control, own_meanings};
use edge_seg_model::{Class, Meaning, Placement, Session};

/// What does not change about a running session.
#[derive(Debug, Clone)]
pub struct About {
    /// Where frames come from, without passwords.
    pub source: String,
    /// Which command serves this, and its version.
    pub program: String,
    /// Without a frame for so long the session counts as stalled.
    pub stall: Duration,
}

/// Frames that are kept for a client that asked lately are let go after this long.
const INTEREST: Duration = Duration::from_secs(3);
/// Frame events a second at most.
const EVENT_PAUSE: Duration = Duration::from_millis(100);
/// Events that a slow client may fall behind before it loses some.
const EVENTS: usize = 64;

/// Where the running session and the web's clients meet. The session leaves its newest frame here when somebody wants it, which costs
/// it no more than a pointer, and never waits.
#[derive(Debug)]
pub struct Hub {
    pub(super) about: About,
    pub(super) session: Arc<Session>,
    pub(super) control: Control,
    pub(super) counters: Arc<Counters>,
    pub(super) event_bus: Arc<EventBus>,
    pub(super) recorder: Option<Recorder>,
    pub(super) encoder: Encoder,
    pub(super) index: OnceLock<PathBuf>,
    hiding: OnceLock<Hiding>,
    pub(super) timeline: Timeline,
    start: Instant,
    latest: watch::Sender<Option<Arc<Snapshot>>>,
    /// Of the newest frame.
    hide_version: watch::Sender<u64>,
    events: broadcast::Sender<Event>,
    waiting: AtomicUsize,
    /// Milliseconds since the start at which somebody last asked for a frame.
    asked_ms: AtomicU64,
    pace: Mutex<Pace>,
}

/// What is hidden, and what clients may change about it.
#[derive(Debug)]
struct Hiding {
    /// With what is looked for in their places.
    always: Vec<(Class, Option<Meaning>)>,
    switches: Option<Arc<HideSwitches>>,
}

/// An event for those who listen: its kind, and its JSON.
pub(super) type Event = (Arc<str>, Arc<str>);

#[derive(Debug, Default)]
struct Pace {
    count: u64,
    last: Option<Instant>,
    interval_s: f64,
    told: Option<Instant>,
    words: u64,
}

impl Hub {
    /// Meets the parts of a running session.
    pub fn new(
        about: About,
        session: Arc<Session>,
        control: Control,
        counters: Arc<Counters>,
        event_bus: Arc<EventBus>,
        recorder: Option<Recorder>,
    ) -> Arc<Self> {
        let events = broadcast::Sender::new(EVENTS);
        let heard = events.clone();
        event_bus.subscribe(move |kind, event| {
            // Nobody listens, mostly.
            let _ = heard.send((kind.into(), event.to_string().into()));
        });
        let timeline = Timeline::new(event_bus.clone());
        Arc::new(Self {
            about,
            session,
            control,
            counters,
            event_bus,
            recorder,
            encoder: Encoder::default(),
            index: OnceLock::new(),
            hiding: OnceLock::new(),
            timeline,
            start: Instant::now(),
            latest: watch::Sender::new(None),
            hide_version: watch::Sender::new(0),
            events,
            waiting: AtomicUsize::new(0),
            asked_ms: AtomicU64::new(u64::MAX),
            pace: Mutex::default(),
        })
    }

    /// Lets clients search an index that this session keeps.
    pub fn searches(&self, index: PathBuf) {
        let _ = self.index.set(index);
    }

    /// Tells clients which words are hidden in any case, and lets them hide more where there are switches: those that the session runs with
    /// ([`LiveOptions::hide_switches`](crate::session::LiveOptions::hide_switches)).
    pub fn hides(&self, always: Vec<Class>, switches: Option<Arc<HideSwitches>>) {
        let names: Vec<&str> = always.iter().map(|class| class.name.as_str()).collect();
        let meanings = own_meanings(&self.session, &names);
        let always = always.into_iter().zip(meanings).collect();
        let _ = self.hiding.set(Hiding { always, switches });
    }

    /// Words that are hidden in any case, with what is looked for in their places.
    pub(super) fn always_hidden(&self) -> &[(Class, Option<Meaning>)] {
        self.hiding.get().map_or(&[], |hiding| &hiding.always)
    }

    pub(super) fn switches(&self) -> Option<&HideSwitches> {
        self.hiding.get()?.switches.as_deref()
    }

    /// Waits until the frames from before a version of what is hidden have been through all sinks, or for so long where none come.
    pub(super) async fn passed(&self, version: u64, wait: Duration) {
        let mut newest = self.hide_version.subscribe();
        let _ = tokio::time::timeout(wait, newest.wait_for(|newest| *newest >= version)).await;
    }

    /// Whether a frame is from before what is hidden by now.
    pub(super) fn is_past(&self, shown: &SegmentedFrame) -> bool {
        self.switches().is_some_and(|switches| shown.hide_version < switches.version())
    }

    fn pace(&self) -> parking_lot::MutexGuard<'_, Pace> {
        self.pace.lock()
    }

    fn is_wanted(&self) -> bool {
        let asked = self.asked_ms.load(Ordering::Relaxed);
        let now = self.start.elapsed().as_millis() as u64;
        self.waiting.load(Ordering::Relaxed) > 0 || (asked != u64::MAX && now.saturating_sub(asked) < INTEREST.as_millis() as u64)
    }

    fn take(&self, shown: &Arc<SegmentedFrame>, report: &Arc<FrameReport>) {
        self.timeline.take(shown, report);
        self.hide_version.send_if_modified(|known| std::mem::replace(known, shown.hide_version) != shown.hide_version);
        let now = Instant::now();
        let (count, fps, tell_frame, tell_words) = {
            let mut pace = self.pace();
            pace.count += 1;
            if let Some(last) = pace.last.replace(now) {
                let interval = now.duration_since(last).as_secs_f64();
                // An average over about ten frames, or that of the first ones.
                let weight = (1.0 / (pace.count - 1) as f64).max(0.1);
                pace.interval_s += weight * (interval - pace.interval_s);
            }
            let due = self.events.receiver_count() > 0 && pace.told.is_none_or(|told| now.duration_since(told) >= EVENT_PAUSE);
            if due {
                pace.told = Some(now);
            }
            let other_words = std::mem::replace(&mut pace.words, shown.words.version) != shown.words.version;
            (pace.count, pace.fps(), due, other_words && pace.count > 1)
        };
        let snapshot = || Snapshot { count, fps, shown: shown.clone(), report: report.clone() };
        if self.is_wanted() {
            self.latest.send_replace(Some(Arc::new(snapshot())));
        } else if self.latest.borrow().is_some() {
            self.latest.send_replace(None);
        }
        if tell_frame {
            let _ = self.events.send(("frame".into(), snapshot().json().to_string().into()));
        }
        if tell_words {
            self.event_bus.publish("words", &json!({ "version": shown.words.version }));
        }
    }

    /// The newest frame, or the next one if the newest is `after`; none if none comes in time.
    pub(super) async fn next(&self, after: Option<u64>, wait: Duration) -> Option<Arc<Snapshot>> {
        self.asked_ms.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
        let _waiting = WaitingClient::new(&self.waiting);
        let mut latest = self.latest.subscribe();
        let is_new =
            |snapshot: &Option<Arc<Snapshot>>| snapshot.as_ref().is_some_and(|s| Some(s.count) != after && !self.is_past(&s.shown));
        let found = tokio::time::timeout(wait, latest.wait_for(is_new)).await.ok()?.ok()?;
        found.clone()
    }

    /// The newest frame that is not `after`, encoded; none if none comes in time. With `drawn`, masks and legend are in the picture.
    pub(super) async fn encoded(&self, after: Option<u64>, drawn: bool, fps: f64, wait: Duration) -> Option<Encoded> {
        let until = tokio::time::Instant::now() + wait;
        self.next(after, wait).await?;
        let mut place = if drawn { &self.encoder.drawn } else { &self.encoder.plain }.lock().await;
        if let Some((at, _)) = &*place {
            tokio::time::sleep_until((*at + Duration::from_secs_f64(1.0 / fps)).min(until)).await;
        }
        loop {
            // Frames went on while others were served and the pause passed.
            let snapshot = self.next(after, until.saturating_duration_since(tokio::time::Instant::now())).await?;
            if let Some((_, known)) = &*place
                && known.snapshot.count == snapshot.count
            {
                return Some(known.clone());
            }
            let start = tokio::time::Instant::now();
            let encoded = tokio::task::spawn_blocking(move || encode(snapshot, drawn)).await.ok()??;
            *place = Some((start, encoded.clone()));
            // Meanwhile somebody may have had something hidden that it shows.
            if !self.is_past(&encoded.snapshot.shown) {
                return Some(encoded);
            }
        }
    }

    pub(super) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Whether frames come, and since when none did.
    pub(super) fn health(&self) -> (bool, Value) {
        let pace = self.pace();
        let age = pace.last.map(|last| last.elapsed());
        let healthy = age.is_some_and(|age| age <= self.about.stall);
        let state = if healthy {
            "ok"
        } else if age.is_none() {
            "starting"
        } else {
            "stalled"
        };
        (healthy, json!({ "state": state, "frames": pace.count, "last_frame_age_s": age.map(|a| a.as_secs_f64()) }))
    }

    pub(super) fn status(&self) -> Value {
        let (count, fps) = {
            let pace = self.pace();
            (pace.count, pace.fps())
        };
        let manifest = self.session.bundle().manifest();
        let counter = |c: &AtomicU64| c.load(Ordering::Relaxed);
        json!({
            "program": self.about.program,
            "source": self.about.source,
            "model": { "name": manifest.name, "variant": manifest.variant, "serial": manifest.serial, "size_px": self.session.size_px() },
            "backend": self.session.backend(),
            "kernels": self.session.kernels(),
            "uptime_s": self.start.elapsed().as_secs_f64(),
            "frames": { "captured": counter(&self.counters.captured), "dropped": counter(&self.counters.dropped),
                "segmented": counter(&self.counters.segmented), "shown": count },
            "frames_per_second": fps,
            "words_version": self.control.words.current().version,
            "saves_sets": self.control.sets.is_some(),
            "records": self.recorder.is_some(),
            "searches": self.index.get().is_some(),
            "hides": self.hiding.get().is_some(),
        })
    }

    /// Which patch of a frame's grid shows a pixel.
    pub(super) fn patch_at(&self, snapshot: &Snapshot, x: u32, y: u32) -> (usize, usize) {
        let scores = &snapshot.shown.found.scores;
        let (rows, cols) = (scores.rows(), scores.cols());
        let (width, height) = snapshot.shown.frame.pixels.dimensions();
        let placement = Placement::new((width, height), &self.session.bundle().manifest().image, self.session.size_px()).ok();
        let patch = |at: u32, length: u32, scaled: f64, patches: usize| {
            (((f64::from(at) + 0.5) * scaled / f64::from(length)) as usize).min(patches.saturating_sub(1))
        };
        // In a letterbox the last row or column of patches may show the frame only in part.
        let (across, down) = match placement.filter(|p| p.covered() == (rows, cols)) {
            Some(p) => (f64::from(p.scaled_px.0) / f64::from(p.patch_px), f64::from(p.scaled_px.1) / f64::from(p.patch_px)),
            None => (cols as f64, rows as f64),
        };
        (patch(y, height, down, rows), patch(x, width, across, cols))
    }
}

impl Pace {
    fn fps(&self) -> f64 {
        // A source that stalls has no rate any more.
        let idle = self.last.map_or(0.0, |last| last.elapsed().as_secs_f64());
        if self.interval_s > 0.0 { 1.0 / self.interval_s.max(idle) } else { 0.0 }
    }
}

/// Counts a client that waits for as long as it does, even if it goes away meanwhile.
struct WaitingClient<'a>(&'a AtomicUsize);

impl<'a> WaitingClient<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for WaitingClient<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Feeds a hub.
#[derive(Debug, Clone)]
pub struct HubSink(pub Arc<Hub>);

impl LiveSink for HubSink {
    fn take(&mut self, shown: &Arc<SegmentedFrame>, report: &Arc<FrameReport>) -> Result<()> {
        self.0.take(shown, report);
        Ok(())
    }
}
