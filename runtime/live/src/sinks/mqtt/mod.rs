//! MQTT with Home Assistant's discovery. `docs/events.md` describes the topics.
//!
//! ```
//! use edge_seg_live::sinks::mqtt::{Mqtt, MqttOptions};
//! let options = MqttOptions::to("mqtt://127.0.0.1:1", "front-door", "mini");
//! // It connects in the background, and again whenever the broker is lost: a sink for `Live::with_sink`.
//! let sink = Mqtt::start(options, Default::default(), Box::new(|command| Err(format!("no commands here: {command}"))))?;
//! let spaced = MqttOptions::to("mqtt://127.0.0.1:1", "front door", "mini");
//! assert!(Mqtt::start(spaced, Default::default(), Box::new(|_| Ok(()))).is_err());
//! # Ok::<(), edge_seg_live::Error>(())
//! ```

mod connection;
mod discovery;
mod options;
mod outbox;

#[doc(hidden)]
pub use connection::receive_packets;
pub use options::MqttOptions;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::LiveSink;
use crate::rules::{EventKind, PRESENT_SHARE, TallyPlace};
use crate::session::{FrameReport, SegmentedFrame};
use crate::source::redacted;
use crate::{Error, Result};
use connection::{Broker, WAITING_COMMANDS};
use discovery::{Counted, Device, slug};
use outbox::Outbox;

/// Obeys a command line, as `edge-seg run --commands` takes it; an error is told to whoever asked.
pub type Obey = Box<dyn Fn(&str) -> std::result::Result<(), String> + Send>;

/// A connection to a broker, on threads of its own. It never holds up frames: what it cannot send in time is dropped and counted.
pub struct Mqtt {
    options: MqttOptions,
    base: String,
    outbox: Arc<Outbox>,
    done: Receiver<()>,
    words_version: Option<u64>,
    rules: Arc<[String]>,
    counted: Counted,
    documents: BTreeSet<String>,
    last_state: Option<Instant>,
    frames_since: u32,
    frames: Arc<Mutex<Frames>>,
}

impl std::fmt::Debug for Mqtt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mqtt {{ {}, {} }}", redacted(&self.options.url), self.base)
    }
}

/// Whether frames come.
struct Frames {
    last: Instant,
    come: bool,
}

/// Tells the broker when no frames come any more: its last will is that of a dead program alone.
fn watch(frames: &Weak<Mutex<Frames>>, outbox: &Outbox, topic: &str, stall: Duration) {
    while let Some(frames) = frames.upgrade() {
        {
            let mut frames = frames.lock();
            if frames.come && frames.last.elapsed() > stall {
                frames.come = false;
                outbox.retain(topic, "offline");
            }
        }
        drop(frames);
        std::thread::sleep(LOOK);
    }
}

/// How often it is looked whether frames come.
const LOOK: Duration = Duration::from_millis(250);

/// How long the end may take.
const FINISH: Duration = Duration::from_millis(700);

impl MqttOptions {
    /// Whether a connection can be tried with these.
    ///
    /// # Errors
    /// As [`Mqtt::start`].
    pub fn check(&self) -> Result<()> {
        self.broker().map(drop)
    }

    fn broker(&self) -> Result<Broker> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.node.is_empty() || self.node.len() > 64 || !self.node.chars().all(plain) {
            let expected = "1 to 64 letters, digits, - and _";
            return Err(Error::option("mqtt node", expected, format!("{:?}", self.node)));
        }
        if let Some(prefix) = &self.discovery
            && (prefix.is_empty() || prefix.len() > 128 || prefix.contains(['+', '#', '\0']))
        {
            let expected = "a topic without + and #";
            return Err(Error::option("mqtt discovery", expected, format!("{prefix:?}")));
        }
        Broker::new(self)
    }
}

impl Mqtt {
    /// Connects in the background, again and again if need be.
    ///
    /// # Errors
    /// [`Option`](edge_seg_model::Error::Option) if an option is wrong, [`Error::Sink`] if the certificates cannot be read or no thread can be started.
    pub fn start(options: MqttOptions, dropped: Arc<AtomicU64>, obey: Obey) -> Result<Self> {
        let broker = options.broker()?;
        let base = format!("edge-seg/{}", options.node);
        let outbox = Arc::new(Outbox::new(dropped));
        outbox.retain(&format!("{base}/availability"), "online");
        let commands = start_commands(base.clone(), outbox.clone(), obey)?;
        let (ended, done) = channel();
        let place = options.url.clone();
        let run = {
            let (outbox, base, discovery) = (outbox.clone(), base.clone(), options.discovery.clone());
            let node = options.node.clone();
            move || {
                if let Err(e) = connection::run(&broker, &outbox, &connection::Topics { base, discovery, node }, &commands) {
                    tracing::error!("{place}: {e}");
                }
                drop(ended);
            }
        };
        spawn("mqtt", run)?;
        let frames = Arc::new(Mutex::new(Frames { last: Instant::now(), come: true }));
        {
            let (frames, outbox, topic) = (Arc::downgrade(&frames), outbox.clone(), format!("{base}/availability"));
            let stall = options.stall;
            spawn("mqtt-watch", move || watch(&frames, &outbox, &topic, stall))?;
        }
        let documents = BTreeSet::new();
        Ok(Self {
            frames,
            options,
            base,
            outbox,
            done,
            words_version: None,
            rules: Arc::default(),
            counted: Counted::default(),
            documents,
            last_state: None,
            frames_since: 0,
        })
    }

    fn topic(&self, end: &str) -> String {
        format!("{}/{end}", self.base)
    }

    /// The words, and what Home Assistant is told of them.
    fn announce(&mut self, names: &[String]) {
        self.outbox.retain(&self.topic("words"), names.join(", "));
        let Some(prefix) = &self.options.discovery else { return };
        // Two states may be lost before what was last told of a word counts for nothing.
        let expire_after_s = (3 * self.options.interval + self.options.stall).as_secs_f64().ceil() as u64;
        let device = Device { prefix, node: &self.options.node, base: &self.base, model: &self.options.model, expire_after_s };
        let documents = device.documents(names, &self.rules, &self.counted);
        for (topic, document) in &documents {
            self.outbox.retain(topic, document.to_string());
        }
        let topics: BTreeSet<String> = documents.into_keys().collect();
        self.documents.difference(&topics).for_each(|gone| self.outbox.retain(gone, ""));
        self.documents = topics;
        self.outbox.announced();
    }

    fn state(&self, report: &FrameReport, rate: f64) -> Value {
        let word = |share: f64| if share >= PRESENT_SHARE { "ON" } else { "OFF" };
        let words: Map<String, Value> = report
            .classes
            .iter()
            .take(discovery::MAX_WORDS)
            .map(|c| {
                let mut told = json!({ "name": c.name, "share": round(c.share), "score": round(c.score.into()), "present": word(c.share) });
                if let Some(count) = c.count {
                    told["count"] = count.into();
                }
                (slug(&c.name), told)
            })
            .collect();
        let mut state = json!({
            "sequence": report.sequence,
            "timestamp_ms": report.timestamp_ms,
            "frame_rate": (rate * 10.0).round() / 10.0,
            "latency_ms": report.latency_ms,
            "dropped": report.dropped,
            "words": words,
        });
        if let Some(profile) = &report.profile {
            state["profile"] = profile.as_str().into();
        }
        for tally in report.tallies.iter().take(discovery::MAX_WORDS) {
            let (kind, place, told) = match &tally.place {
                TallyPlace::Zone { zone, count, entered, left } => {
                    ("zones", zone, json!({ "count": count, "entered": entered, "left": left }))
                }
                TallyPlace::Line { line, to_right, to_left } => ("lines", line, json!({ "to_right": to_right, "to_left": to_left })),
            };
            state[kind][slug(place)][slug(&tally.word)] = told;
        }
        state
    }
}

fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

impl LiveSink for Mqtt {
    fn take(&mut self, _: &Arc<SegmentedFrame>, report: &Arc<FrameReport>) -> Result<()> {
        {
            let mut frames = self.frames.lock();
            frames.last = Instant::now();
            if !std::mem::replace(&mut frames.come, true) {
                self.outbox.retain(&self.topic("availability"), "online");
            }
        }
        let counted = Counted::of(report);
        if self.words_version != Some(report.words_version) || self.rules != report.rules || self.counted != counted {
            self.counted = counted;
            let topic = |rule: &str| self.topic(&format!("rule/{}", slug(rule)));
            let others =
                |of: &[String], but: &[String]| of.iter().filter(|rule| !but.contains(rule)).map(|rule| topic(rule)).collect::<Vec<_>>();
            others(&report.rules, &self.rules).iter().for_each(|new| self.outbox.retain(new, "OFF"));
            others(&self.rules, &report.rules).iter().for_each(|gone| self.outbox.retain(gone, ""));
            self.rules = report.rules.clone();
            self.words_version = Some(report.words_version);
            self.announce(&report.classes.iter().map(|c| c.name.clone()).collect::<Vec<_>>());
        }
        for event in report.events.iter().filter(|event| event.event.is_acted_on()) {
            let state = if event.event == EventKind::Started { "ON" } else { "OFF" };
            // A rule that is gone has no state any more.
            if self.rules.contains(&event.rule) {
                self.outbox.retain(&self.topic(&format!("rule/{}", slug(&event.rule))), state);
            }
            self.outbox.keep(self.topic("event"), event.line().unwrap_or_default().into_bytes());
        }
        self.frames_since += 1;
        let since = self.last_state.map(|last| last.elapsed());
        if since.is_none_or(|since| since >= self.options.interval) {
            let rate = since.map_or(0.0, |since| f64::from(self.frames_since) / since.as_secs_f64());
            self.outbox.latest(self.topic("state"), self.state(report, rate).to_string().into_bytes());
            (self.last_state, self.frames_since) = (Some(Instant::now()), 0);
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        {
            // Under the lock, so that the watch does not come in between.
            let mut frames = self.frames.lock();
            frames.come = false;
            self.outbox.retain(&self.topic("availability"), "offline");
        }
        self.outbox.close();
        if let Err(RecvTimeoutError::Timeout) = self.done.recv_timeout(FINISH) {
            tracing::warn!("{}: did not take the last messages in time", self.options.url);
        }
        Ok(())
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    let spawned = std::thread::Builder::new().name(name.into()).spawn(run);
    spawned.map(drop).map_err(|e| Error::Sink { place: "mqtt".into(), found: e.to_string() })
}

/// Words are encoded away from the connection, which must answer the broker's pings meanwhile.
fn start_commands(base: String, outbox: Arc<Outbox>, obey: Obey) -> Result<SyncSender<String>> {
    let (sender, receiver) = sync_channel::<String>(WAITING_COMMANDS);
    spawn("mqtt-words", move || {
        for line in receiver {
            if let Err(why) = obey(&line) {
                tracing::warn!("{base}: the words stay as they are: {why}");
                outbox.keep(format!("{base}/error"), json!({ "command": line, "error": why }).to_string().into_bytes());
            }
        }
    })?;
    Ok(sender)
}
