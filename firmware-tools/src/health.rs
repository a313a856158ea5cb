//! Whether a release on trial does its work: frames, and what its operator asks beyond them.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::slots::machine::Trial;

/// How many frames the latency is taken from: the newest.
const FRAMES_KEPT: usize = 4096;

/// How long frames must come before they prove anything: what ends right after them has shown no more than that it starts.
const LEAST: Duration = Duration::from_secs(3);

/// What is known of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Too little.
    NotYet,
    /// It may count as good.
    Good,
    /// It must not.
    Poor(String),
}

/// Measures a start.
#[derive(Debug)]
pub struct Watch {
    trial: Trial,
    frames: u64,
    first: Option<Instant>,
    latencies_ms: Vec<u32>,
    /// Memory a quarter of the trial in, in KiB.
    settled_kib: Option<u64>,
}

impl Watch {
    /// Of a start with nothing shown yet.
    pub fn new(trial: Trial) -> Watch {
        Watch { trial, frames: 0, first: None, latencies_ms: Vec::new(), settled_kib: None }
    }

    /// Healthy frames so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Takes a line of the runtime's; whether it is a healthy frame. `memory` tells the runtime's memory in KiB.
    pub fn line(&mut self, line: &str, now: Instant, memory: impl FnOnce() -> Option<u64>) -> bool {
        let Ok(Value::Object(frame)) = serde_json::from_str::<Value>(line) else { return false };
        if frame.contains_key("error") {
            return false;
        }
        self.first.get_or_insert(now);
        if let Some(latency) = frame.get("latency_ms").and_then(Value::as_f64).filter(|latency| latency.is_finite() && *latency >= 0.0) {
            let at = (self.frames as usize) % FRAMES_KEPT;
            // Rounded up: what takes longer than the bar is never taken for the bar.
            match self.latencies_ms.get_mut(at) {
                Some(old) => *old = latency.ceil() as u32,
                None => self.latencies_ms.push(latency.ceil() as u32),
            }
        }
        self.frames = self.frames.saturating_add(1);
        if self.trial.bar.growth_mib > 0 && self.settled_kib.is_none() && self.has_had(4, now) {
            self.settled_kib = memory();
        }
        true
    }

    /// Whether a fraction of the trial is over.
    fn has_had(&self, fraction: u32, now: Instant) -> bool {
        let asked = LEAST.max(Duration::from_secs(60) * self.trial.bar.minutes) / fraction;
        let ran = self.first.map_or(Duration::ZERO, |first| now.saturating_duration_since(first));
        self.frames >= self.trial.frames.div_ceil(fraction.into()) && ran >= asked
    }

    /// What is known by now; with `ended`, of a source that has come to its end.
    pub fn judge(&self, now: Instant, ended: bool, memory: impl FnOnce() -> Option<u64>) -> Health {
        let bar = self.trial.bar;
        if self.frames == 0 || !(ended || self.has_had(1, now)) {
            return Health::NotYet;
        }
        if bar.p95_ms > 0 {
            match self.p95_ms() {
                None => return Health::Poor(format!("its latency is to be {} ms at most, and its lines tell none", bar.p95_ms)),
                Some(found) if found > bar.p95_ms => {
                    return Health::Poor(format!("95 of 100 frames took up to {found} ms, at most {} are asked for", bar.p95_ms));
                }
                Some(_) => {}
            }
        }
        // A process that has ended grows no more.
        if bar.growth_mib > 0 && !ended {
            let grown = self.settled_kib.zip(memory()).map(|(then, now)| now.saturating_sub(then) / 1024);
            match grown {
                None => return Health::Poor(format!("its memory is to grow by {} MiB at most, and cannot be read", bar.growth_mib)),
                Some(grown) if grown > bar.growth_mib.into() => {
                    return Health::Poor(format!("its memory grew by {grown} MiB, at most {} are asked for", bar.growth_mib));
                }
                Some(_) => {}
            }
        }
        Health::Good
    }

    /// The latency that 95 of 100 frames do not exceed (nearest rank).
    pub fn p95_ms(&self) -> Option<u32> {
        let mut sorted = self.latencies_ms.clone();
        sorted.sort_unstable();
        sorted.get((sorted.len() * 95).div_ceil(100).saturating_sub(1)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::machine::Bar;

    fn watch(bar: Bar) -> Watch {
        Watch::new(Trial { starts: 3, frames: 4, bar })
    }

    fn after(seconds: u64, base: Instant) -> Instant {
        base + Duration::from_secs(seconds)
    }

    #[test]
    fn frames_alone_make_it_good_where_nothing_else_is_asked() {
        let (mut watch, now) = (watch(Bar::default()), Instant::now());
        for (n, line) in ["{}", "{\"error\":\"no camera\"}", "noise", "[]", "{}", "{\"latency_ms\":9e9}"].iter().enumerate() {
            assert_eq!(watch.line(line, now, || None), [true, false, false, false, true, true][n]);
        }
        assert_eq!((watch.frames(), watch.judge(now, false, || None)), (3, Health::NotYet));
        assert_eq!(watch.judge(now, true, || None), Health::Good, "a source that ends");
        watch.line("{}", now, || None);
        assert_eq!(watch.judge(now, false, || None), Health::NotYet, "it may end with the next");
        assert_eq!(watch.judge(after(3, now), false, || None), Health::Good);
    }

    #[test]
    fn minutes_count_from_the_first_frame() {
        let (mut watch, now) = (watch(Bar { minutes: 2, ..Bar::default() }), Instant::now());
        assert_eq!(watch.judge(after(500, now), false, || None), Health::NotYet);
        (0..9).for_each(|_| assert!(watch.line("{}", now, || None)));
        assert_eq!(watch.judge(after(119, now), false, || None), Health::NotYet);
        assert_eq!(watch.judge(after(120, now), false, || None), Health::Good);
    }

    #[test]
    fn slow_frames_and_growing_memory_are_poor_and_so_is_what_cannot_be_told() {
        let now = Instant::now();
        let later = after(3, now);
        let poor = |watch: &Watch, memory: Option<u64>| match watch.judge(later, false, || memory) {
            Health::Poor(why) => why,
            other => panic!("{other:?}"),
        };
        let mut slow = watch(Bar { p95_ms: 100, ..Bar::default() });
        (0..10).for_each(|_| assert!(slow.line("{}", now, || None)));
        assert!(poor(&slow, None).contains("tell none"));
        let mut slow = watch(Bar { p95_ms: 100, ..Bar::default() });
        let frames = |slow: &mut Watch, latency: f64, count: usize| {
            (0..count).for_each(|_| assert!(slow.line(&format!("{{\"latency_ms\":{latency}}}"), now, || None)));
        };
        frames(&mut slow, 100.0, 95);
        frames(&mut slow, 300.0, 5);
        assert_eq!((slow.p95_ms(), slow.judge(later, false, || None)), (Some(100), Health::Good));
        frames(&mut slow, 100.2, 5);
        assert!(poor(&slow, None).contains("up to 101 ms"), "{}", poor(&slow, None));

        let mut grows = watch(Bar { growth_mib: 10, ..Bar::default() });
        assert!(grows.line("{}", now, || Some(1 << 30)));
        assert!(grows.line("{}", later, || Some(50 * 1024)));
        (0..9).for_each(|_| assert!(grows.line("{}", later, || Some(1 << 30))));
        assert_eq!(grows.judge(later, false, || Some(60 * 1024)), Health::Good);
        assert!(poor(&grows, Some(61 * 1024)).contains("grew by 11 MiB"));
        assert!(poor(&grows, None).contains("cannot be read"));
    }
}
