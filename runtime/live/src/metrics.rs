//! What a session counts of itself, as Prometheus reads it (text exposition format 0.0.4).
//!
//! ```
//! use std::sync::Arc;
//! use edge_seg_live::{Live, metrics::Metrics, session::LiveOptions, source::open_source};
//! use edge_seg_model::{Options, Session};
//! # fn main() -> edge_seg_live::Result<()> {
//! let session = Arc::new(Session::built_in_with(&Options::default().with_size_px(64))?);
//! let camera = open_source("test:?size=64x48&fps=30&frames=2", &Default::default())?;
//! let mut live = Live::start(session.clone(), camera, "sky", LiveOptions::default())?;
//! let metrics = Metrics::new(&session, live.counters().clone(), Arc::default());
//! for shown in &mut live {
//!     shown?;
//! }
//! assert!(metrics.render().contains("\nedge_seg_frames_captured_total 2\n"));
//! # live.stop()
//! # }
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use edge_seg_board::{Host, sensors};
use edge_seg_model::Session;
use parking_lot::Mutex;

use crate::session::{Counters, FrameReport};

/// Words that are told one by one; a file of thousands would drown the server that collects them.
const MAX_WORDS: usize = 256;

/// What a session counts.
pub struct Metrics {
    build: String,
    counters: Arc<Counters>,
    started: SystemTime,
    reconnects: Arc<AtomicU64>,
    queues: Mutex<BTreeMap<&'static str, Arc<AtomicU64>>>,
    seen: Mutex<Seen>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Metrics {{ {:?} }}", self.counters)
    }
}

#[derive(Default)]
struct Seen {
    stages: BTreeMap<&'static str, Histogram>,
    latency: Histogram,
    words: Vec<(String, f64, f32)>,
    events: BTreeMap<(String, &'static str), u64>,
    active: BTreeMap<String, bool>,
}

/// Upper bounds in seconds.
const BOUNDS_S: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Debug, Clone, Default)]
struct Histogram {
    buckets: [u64; BOUNDS_S.len()],
    count: u64,
    sum_s: f64,
}

impl Histogram {
    fn add(&mut self, milliseconds: f64) {
        let seconds = milliseconds / 1e3;
        if let Some(bucket) = BOUNDS_S.iter().position(|bound| seconds <= *bound) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.sum_s += seconds;
    }

    fn write(&self, out: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut below = 0;
        for (bound, count) in BOUNDS_S.iter().zip(self.buckets) {
            below += count;
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}");
        }
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", self.count);
        let _ = writeln!(out, "{name}_sum{braces} {}\n{name}_count{braces} {}", self.sum_s, self.count);
    }
}

impl Metrics {
    /// Nothing counted yet but what others count: frames, and how often the source was lost and opened again.
    pub fn new(session: &Session, counters: Arc<Counters>, reconnects: Arc<AtomicU64>) -> Self {
        let manifest = session.bundle().manifest();
        let labels = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("model", &manifest.name),
            ("variant", &manifest.variant),
            ("backend", session.backend()),
            ("kernels", session.kernels()),
        ];
        Self::with_build(&labels, counters, reconnects)
    }

    fn with_build(labels: &[(&str, &str)], counters: Arc<Counters>, reconnects: Arc<AtomicU64>) -> Self {
        let build = labels.iter().map(|(name, value)| label(name, value)).collect::<Vec<_>>().join(",");
        let started = SystemTime::now();
        Self { build, counters, started, reconnects, queues: Mutex::default(), seen: Mutex::default() }
    }

    /// A counter of what a queue dropped, under the queue's name.
    pub fn queue(&self, name: &'static str) -> Arc<AtomicU64> {
        self.queues.lock().entry(name).or_default().clone()
    }

    /// Takes one frame.
    pub fn observe(&self, report: &FrameReport) {
        let mut seen = self.seen.lock();
        seen.latency.add(report.latency_ms);
        let times = &report.milliseconds;
        // Between key frames the encoder does not run, and its zeros would hide how long it takes.
        let encoder = [("prepare", times.prepare), ("encode", times.encode)];
        let always = [("score", times.score), ("mask", times.mask)];
        for (stage, time) in encoder.into_iter().filter(|_| report.key).chain(always) {
            seen.stages.entry(stage).or_default().add(time);
        }
        seen.words.clear();
        seen.words.extend(report.classes.iter().take(MAX_WORDS).map(|c| (c.name.clone(), c.share, c.score)));
        for event in &report.events {
            *seen.events.entry((event.rule.clone(), event.event.name())).or_default() += 1;
            seen.active.insert(event.rule.clone(), event.event == crate::rules::EventKind::Started);
        }
    }

    /// Everything, in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(8192);
        head(&mut out, "edge_seg_build_info", "gauge", "What runs: always 1.");
        let _ = writeln!(out, "edge_seg_build_info{{{}}} 1", self.build);
        let counted = [
            ("edge_seg_frames_captured_total", "Frames read from the source.", &self.counters.captured),
            ("edge_seg_frames_late_total", "Frames whose masks took longer than frames are apart.", &self.counters.late),
            ("edge_seg_frames_segmented_total", "Frames segmented and handed on.", &self.counters.segmented),
            ("edge_seg_frames_dropped_total", "Frames lost because a newer one came before they were taken.", &self.counters.dropped),
            ("edge_seg_source_reconnects_total", "Times that the source was lost and opened again.", &*self.reconnects),
        ];
        for (name, help, value) in counted {
            head(&mut out, name, "counter", help);
            let _ = writeln!(out, "{name} {}", value.load(Ordering::Relaxed));
        }
        self.write_seen(&mut out);
        head(&mut out, "edge_seg_queue_dropped_total", "counter", "What a full queue towards an output lost.");
        for (name, count) in &*self.queues.lock() {
            let _ = writeln!(out, "edge_seg_queue_dropped_total{{{}}} {}", label("queue", name), count.load(Ordering::Relaxed));
        }
        head(&mut out, "edge_seg_temperature_celsius", "gauge", "Temperature of a thermal zone.");
        for (zone, temperature) in temperatures(&Host::live()) {
            let _ = writeln!(out, "edge_seg_temperature_celsius{{{}}} {temperature}", label("zone", &zone));
        }
        write_process(&mut out);
        let start = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        head(&mut out, "process_start_time_seconds", "gauge", "When the session began, since 1970.");
        let _ = writeln!(out, "process_start_time_seconds {start}");
        out
    }

    fn write_seen(&self, out: &mut String) {
        let seen = self.seen.lock();
        let name = "edge_seg_stage_duration_seconds";
        head(out, name, "histogram", "Time that a stage took for a frame; prepare and encode for key frames alone.");
        for (stage, histogram) in &seen.stages {
            histogram.write(out, name, &label("stage", stage));
        }
        head(out, "edge_seg_frame_latency_seconds", "histogram", "From a frame's arrival to its masks.");
        seen.latency.write(out, "edge_seg_frame_latency_seconds", "");
        head(out, "edge_seg_word_share_ratio", "gauge", "Share of the last frame's pixels that belong to a word.");
        for (word, share, _) in &seen.words {
            let _ = writeln!(out, "edge_seg_word_share_ratio{{{}}} {share}", label("word", word));
        }
        head(out, "edge_seg_word_score_ratio", "gauge", "Score of a word's best patch in the last frame.");
        for (word, _, score) in &seen.words {
            let _ = writeln!(out, "edge_seg_word_score_ratio{{{}}} {score}", label("word", word));
        }
        head(out, "edge_seg_rule_events_total", "counter", "Events that a rule noticed, cleared, started or ended.");
        for ((rule, kind), count) in &seen.events {
            let _ = writeln!(out, "edge_seg_rule_events_total{{{},event=\"{kind}\"}} {count}", label("rule", rule));
        }
        head(out, "edge_seg_rule_active", "gauge", "Whether an event of a rule is on.");
        for (rule, active) in &seen.active {
            let _ = writeln!(out, "edge_seg_rule_active{{{}}} {}", label("rule", rule), u8::from(*active));
        }
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn label(name: &str, value: &str) -> String {
    format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// Name and degrees Celsius of each thermal zone. Two zones may be of one type, and a label must be one zone's alone.
fn temperatures(host: &Host) -> Vec<(String, f64)> {
    sensors::zones(host).into_iter().map(|zone| (format!("{} {}", zone.id, zone.name), zone.celsius)).collect()
}

/// Memory, threads and open files of this process, where the system tells them.
fn write_process(out: &mut String) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let number = |key: &str| status.lines().find_map(|l| l.strip_prefix(key)?.split_ascii_whitespace().next()?.parse::<u64>().ok());
    if let Some(kibibytes) = number("VmRSS:") {
        head(out, "process_resident_memory_bytes", "gauge", "Memory that is in use.");
        let _ = writeln!(out, "process_resident_memory_bytes {}", kibibytes * 1024);
    }
    if let Some(threads) = number("Threads:") {
        head(out, "process_threads", "gauge", "Threads that run.");
        let _ = writeln!(out, "process_threads {threads}");
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        head(out, "process_open_fds", "gauge", "Files, sockets and pipes that are open.");
        let _ = writeln!(out, "process_open_fds {}", files.count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Event, EventKind};
    use edge_seg_model::Extent;
    use edge_seg_model::render::{ClassReport, Milliseconds};

    fn report(key: bool) -> FrameReport {
        let mut extent = Extent::default();
        extent.pixels = 3;
        let class = |label: usize, name: &str| ClassReport::new(label, name, 0.5, extent, 12);
        let mut milliseconds = Milliseconds::default();
        (milliseconds.prepare, milliseconds.encode, milliseconds.score, milliseconds.mask) = (2.0, 20_000.0, 0.5, 1.0);
        let event = Event {
            rule: "a \"quoted\"\nrule".into(),
            event: EventKind::Started,
            time: String::new(),
            sequence: 0,
            timestamp_ms: 0.0,
            duration_ms: 0.0,
            measured: vec![],
            snapshot: None,
        };
        FrameReport {
            key,
            classes: vec![class(1, "dog"), class(2, "back\\slash")],
            latency_ms: 30.0,
            milliseconds,
            events: vec![event],
            ..FrameReport::default()
        }
    }

    fn value(text: &str, line: &str) -> f64 {
        let found = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' ')).unwrap_or_else(|| panic!("no {line} in {text}"));
        found.parse().unwrap()
    }

    #[test]
    fn what_is_seen_is_counted() {
        let counters = Arc::new(Counters::default());
        counters.captured.store(7, Ordering::Relaxed);
        let metrics = Metrics::with_build(&[("version", "1"), ("model", "mini")], counters, Arc::new(AtomicU64::new(4)));
        metrics.queue("mqtt").fetch_add(3, Ordering::Relaxed);
        metrics.observe(&report(true));
        metrics.observe(&report(false));
        let text = metrics.render();
        assert_eq!(value(&text, r#"edge_seg_build_info{version="1",model="mini"}"#), 1.0);
        assert_eq!(value(&text, "edge_seg_frames_captured_total"), 7.0);
        assert_eq!(value(&text, "edge_seg_source_reconnects_total"), 4.0);
        assert_eq!(value(&text, r#"edge_seg_queue_dropped_total{queue="mqtt"}"#), 3.0);
        assert_eq!(value(&text, r#"edge_seg_stage_duration_seconds_count{stage="encode"}"#), 1.0);
        assert_eq!(value(&text, r#"edge_seg_stage_duration_seconds_bucket{stage="encode",le="10"}"#), 0.0);
        assert_eq!(value(&text, r#"edge_seg_stage_duration_seconds_bucket{stage="encode",le="+Inf"}"#), 1.0);
        assert_eq!(value(&text, r#"edge_seg_stage_duration_seconds_bucket{stage="mask",le="0.001"}"#), 2.0);
        assert_eq!(value(&text, "edge_seg_frame_latency_seconds_sum"), 0.06);
        assert_eq!(value(&text, r#"edge_seg_frame_latency_seconds_bucket{le="0.025"}"#), 0.0);
        assert_eq!(value(&text, r#"edge_seg_frame_latency_seconds_bucket{le="0.05"}"#), 2.0);
        assert_eq!(value(&text, r#"edge_seg_word_share_ratio{word="back\\slash"}"#), 0.25);
        assert_eq!(value(&text, r#"edge_seg_rule_events_total{rule="a \"quoted\"\nrule",event="started"}"#), 2.0);
        assert!(value(&text, "process_resident_memory_bytes") > 1e5);
        assert!(value(&text, "process_open_fds") > 2.0);
    }

    #[test]
    fn temperatures_are_read_where_there_are_some() {
        let root = tempfile::tempdir().unwrap();
        let zones = [("thermal_zone1", "cpu\n", "51500\n"), ("thermal_zone0", "gpu\n", "-1000"), ("cooling0", "x", "1")];
        // A constant of Tegra's is no temperature.
        for (zone, kind, temperature) in zones.into_iter().chain([("thermal_zone2", "PMIC-Die\n", "100000\n")]) {
            let folder = root.path().join("sys/class/thermal").join(zone);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("type"), kind).unwrap();
            std::fs::write(folder.join("temp"), temperature).unwrap();
        }
        let found = temperatures(&Host::under(root.path()));
        assert_eq!(found, [("thermal_zone0 gpu".into(), -1.0), ("thermal_zone1 cpu".into(), 51.5)]);
        assert_eq!(temperatures(&Host::under("/nowhere")), []);
    }
}
