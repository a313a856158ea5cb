//! What rules told lately, each event with a small picture of its beginning.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{SystemTime, UNIX_EPOCH};

use image::{RgbImage, imageops};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};

use super::encode::{data_uri, fitted, jpeg};
use crate::rules::{Event, EventKind, Measured};
use crate::session::{EventBus, FrameReport, SegmentedFrame};
use edge_seg_model::render::JSON_VERSION;

/// Events that are kept; beyond, the oldest go.
pub(super) const KEPT: usize = 200;
/// Longer side of a picture: a few kilobytes each.
const LONGEST_PX: u32 = 224;
const JPEG_QUALITY: u8 = 75;
/// Frames that wait for their pictures; each holds a whole frame.
const WAITING: usize = 2;

/// An event from its beginning to its end.
#[derive(Debug, Serialize)]
struct Entry {
    id: u64,
    rule: String,
    /// What was told of it last.
    state: EventKind,
    from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    duration_ms: f64,
    measured: Vec<Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thumbnail: Option<String>,
    /// The version of what is hidden that its picture is of.
    #[serde(skip)]
    hide_version: u64,
    /// The change that it was changed by last.
    #[serde(skip)]
    changed: u64,
}

/// The newest events.
#[derive(Debug, Default)]
struct Log {
    entries: VecDeque<Entry>,
    ids: u64,
    changes: u64,
    /// Pictures from before this version of what is hidden show what is hidden now.
    hide_version: u64,
}

impl Log {
    /// Takes an event; tells the number of its entry if that is new.
    fn take(&mut self, event: &Event) -> Option<u64> {
        self.changes += 1;
        let open = self.entries.iter_mut().rev().find(|entry| entry.rule == event.rule);
        let open = open.filter(|entry| matches!(entry.state, EventKind::Noticed | EventKind::Started));
        if let Some(entry) = open.filter(|entry| event.event != EventKind::Noticed && entry.state != event.event) {
            (entry.state, entry.duration_ms, entry.changed) = (event.event, event.duration_ms, self.changes);
            match event.event {
                EventKind::Started => entry.measured.clone_from(&event.measured),
                _ => entry.to = Some(event.time.clone()),
            }
            return None;
        }
        // The beginning of what ends may have been forgotten; its end alone tells nothing.
        if !matches!(event.event, EventKind::Noticed | EventKind::Started) {
            return None;
        }
        self.ids += 1;
        self.entries.push_back(Entry {
            id: self.ids,
            rule: event.rule.clone(),
            state: event.event,
            from: event.time.clone(),
            to: None,
            duration_ms: event.duration_ms,
            measured: event.measured.clone(),
            thumbnail: None,
            hide_version: 0,
            changed: self.changes,
        });
        while self.entries.len() > KEPT {
            self.entries.pop_front();
        }
        Some(self.ids)
    }

    fn picture(&mut self, id: u64, thumbnail: &str, hide_version: u64) {
        if hide_version < self.hide_version {
            return;
        }
        self.changes += 1;
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) {
            (entry.thumbnail, entry.hide_version, entry.changed) = (Some(thumbnail.into()), hide_version, self.changes);
        }
    }

    /// Takes away the pictures from before a version of what is hidden. True if there were some.
    fn hide_before(&mut self, version: u64) -> bool {
        self.hide_version = self.hide_version.max(version);
        let before = self.changes;
        for entry in self.entries.iter_mut().filter(|entry| entry.thumbnail.is_some() && entry.hide_version < version) {
            self.changes += 1;
            (entry.thumbnail, entry.changed) = (None, self.changes);
        }
        self.changes > before
    }

    /// What changed after a change, the newest first.
    fn since(&self, after: u64, most: usize) -> Value {
        // Who knows more than there is knows another run.
        let after = if after > self.changes { 0 } else { after };
        let entries: Vec<_> = self.entries.iter().rev().filter(|entry| entry.changed > after).take(most).collect();
        json!({ "version": JSON_VERSION, "revision": self.changes, "events": entries })
    }
}

/// New entries, and the frame that shows their beginning.
type ThumbnailJob = (Vec<u64>, Arc<SegmentedFrame>);

/// Events of this run. Their pictures are made on a thread of their own.
#[derive(Debug)]
pub(super) struct Timeline {
    log: Arc<Mutex<Log>>,
    pictures: Option<SyncSender<ThumbnailJob>>,
    event_bus: Arc<EventBus>,
    /// Tells runs apart: milliseconds since 1970 at its start.
    run: u64,
}

impl Timeline {
    pub fn new(event_bus: Arc<EventBus>) -> Self {
        let log = Arc::<Mutex<Log>>::default();
        let (pictures, jobs) = sync_channel::<ThumbnailJob>(WAITING);
        let work = {
            let (log, event_bus) = (log.clone(), event_bus.clone());
            move || {
                for (ids, shown) in jobs {
                    let Some(thumbnail) = thumbnail(&shown.frame.pixels) else { continue };
                    ids.iter().for_each(|id| log.lock().picture(*id, &thumbnail, shown.hide_version));
                    tell(&event_bus, &log);
                }
            }
        };
        let spawned = std::thread::Builder::new().name("timeline".into()).spawn(work);
        let pictures = spawned.inspect_err(|e| tracing::warn!("the timeline has no pictures: {e}")).is_ok().then_some(pictures);
        let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        Self { log, pictures, event_bus, run }
    }

    /// Takes a frame's events.
    pub fn take(&self, shown: &Arc<SegmentedFrame>, report: &FrameReport) {
        if report.events.is_empty() {
            return;
        }
        let new: Vec<u64> = {
            let mut log = self.log.lock();
            report.events.iter().filter_map(|event| log.take(event)).collect()
        };
        // While others are drawn an event goes without: frames are not held up.
        if let Some(pictures) = self.pictures.as_ref().filter(|_| !new.is_empty()) {
            let _ = pictures.try_send((new, shown.clone()));
        }
        tell(&self.event_bus, &self.log);
    }

    /// Pictures from before a version of what is hidden are served no more.
    pub fn hide_before(&self, version: u64) {
        if self.log.lock().hide_before(version) {
            tell(&self.event_bus, &self.log);
        }
    }

    pub fn since(&self, after: u64, most: usize) -> Value {
        let mut told = self.log.lock().since(after, most);
        told["run"] = self.run.into();
        told
    }
}

fn tell(event_bus: &EventBus, log: &Mutex<Log>) {
    let revision = log.lock().changes;
    event_bus.publish("timeline", &json!({ "revision": revision }));
}

fn thumbnail(picture: &RgbImage) -> Option<String> {
    let (width, height) = fitted(picture.dimensions(), LONGEST_PX);
    let small = imageops::thumbnail(picture, width, height);
    Some(data_uri(&jpeg(&small, JPEG_QUALITY)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(rule: &str, kind: EventKind, second: u32) -> Event {
        Event {
            rule: rule.into(),
            event: kind,
            time: format!("2026-05-01T08:00:{second:02}.000Z"),
            sequence: second.into(),
            timestamp_ms: 1e3 * f64::from(second),
            duration_ms: 0.0,
            measured: Vec::new(),
            snapshot: None,
        }
    }

    fn brief(told: &Value) -> Vec<String> {
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or("-").to_owned();
        let of = |e: &Value| format!("{} {} {} {}", e["id"], text(e, "rule"), text(e, "state"), text(e, "thumbnail"));
        told["events"].as_array().unwrap().iter().map(of).collect()
    }

    #[test]
    fn an_event_is_one_entry_from_its_notice_to_its_end() {
        let mut log = Log::default();
        assert_eq!(log.take(&event("door", EventKind::Noticed, 1)), Some(1));
        assert_eq!(log.take(&event("yard", EventKind::Started, 2)), Some(2));
        log.picture(1, "picture", 0);
        assert_eq!(log.take(&event("door", EventKind::Started, 3)), None);
        assert_eq!(brief(&log.since(0, 9)), ["2 yard started -", "1 door started picture"]);
        let revision = log.changes;
        assert_eq!(log.take(&event("door", EventKind::Ended, 4)), None);
        let told = log.since(revision, 9);
        assert_eq!(brief(&told), ["1 door ended picture"]);
        assert_eq!(
            (&told["events"][0]["from"], &told["events"][0]["to"]),
            (&json!("2026-05-01T08:00:01.000Z"), &json!("2026-05-01T08:00:04.000Z"))
        );
        // The next one of a rule is another entry; what was never begun has no end.
        assert_eq!(log.take(&event("door", EventKind::Noticed, 5)), Some(3));
        log.take(&event("door", EventKind::Cleared, 6));
        log.take(&event("gate", EventKind::Ended, 7));
        assert_eq!(brief(&log.since(0, 2)), ["3 door cleared -", "2 yard started -"]);
        assert_eq!(brief(&log.since(log.changes, 9)), Vec::<String>::new());
        assert_eq!(brief(&log.since(log.changes + 1, 9)).len(), 3, "who was told by another run is told all");
    }

    #[test]
    fn no_picture_outlives_a_switch_that_hides_more() {
        let mut log = Log::default();
        for (second, rule) in (0..).zip(["door", "yard", "gate"]) {
            log.take(&event(rule, EventKind::Started, second));
        }
        log.picture(1, "before", 0);
        log.picture(2, "after", 1);
        let revision = log.changes;
        assert!(log.hide_before(1));
        assert_eq!(brief(&log.since(revision, 9)), ["1 door started -"], "who knows it already is told that it is gone");
        // One that was being drawn meanwhile comes too late.
        log.picture(3, "before", 0);
        assert_eq!(brief(&log.since(0, 9)), ["3 gate started -", "2 yard started after", "1 door started -"]);
        assert!(!log.hide_before(1));
    }

    #[test]
    fn the_oldest_go_first() {
        let mut log = Log::default();
        for second in 0..KEPT as u32 + 5 {
            log.take(&event(&format!("rule {second}"), EventKind::Started, second % 60));
        }
        assert_eq!((log.entries.len(), log.entries[0].id), (KEPT, 6));
        // Their pictures come too late.
        log.picture(1, "picture", 0);
        assert!(log.entries.iter().all(|entry| entry.thumbnail.is_none()));
    }
}
