use std::time::Duration;

/// How long a condition must hold, and how its events follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// An event starts when the condition has held for this long.
    pub hold: Duration,
    /// It ends when the condition has not held for this long.
    pub release: Duration,
    /// No other starts for this long after it.
    pub cool_down: Duration,
    /// Over a longer gap between frames nobody knows what held: what was waited for starts again, what was on ends where it was last seen.
    pub gap: Duration,
}

/// A change of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The condition has held for long enough.
    Started {
        /// How long it has held.
        held: Duration,
    },
    /// It holds no more.
    Ended {
        /// How long it held, without the release time.
        held: Duration,
    },
}

/// A rule over time. Time is given, never read, and counts from anywhere.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    phase: Phase,
    seen: Option<Duration>,
    ended: Option<Duration>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Phase {
    #[default]
    Off,
    Waiting {
        since: Duration,
    },
    On {
        since: Duration,
        held: Duration,
    },
}

impl Machine {
    /// Whether an event is on.
    pub fn is_on(&self) -> bool {
        matches!(self.phase, Phase::On { .. })
    }

    /// Takes what holds at `now`: at most an end and a start, in this order.
    pub fn step(&mut self, now: Duration, holds: bool, timing: &Timing) -> [Option<Change>; 2] {
        let mut end = None;
        let blind = self.seen.is_some_and(|seen| now < seen || now - seen > timing.gap);
        if blind {
            end = self.close();
            // A clock that starts again says nothing of how long ago the last event was.
            self.ended = self.ended.map(|ended| if self.seen > Some(now) { now } else { ended });
        }
        self.seen = Some(now);
        match &mut self.phase {
            Phase::On { held, .. } if holds => *held = now,
            Phase::On { held, .. } if now - *held >= timing.release => end = self.close(),
            Phase::On { .. } => {}
            Phase::Waiting { .. } if !holds => self.phase = Phase::Off,
            Phase::Waiting { .. } => {}
            Phase::Off if holds => self.phase = Phase::Waiting { since: now },
            Phase::Off => {}
        }
        let cool = self.ended.is_none_or(|ended| now.saturating_sub(ended) >= timing.cool_down);
        let start = match self.phase {
            Phase::Waiting { since } if cool && now - since >= timing.hold => {
                self.phase = Phase::On { since, held: now };
                Some(Change::Started { held: now - since })
            }
            _ => None,
        };
        [end, start]
    }

    /// Ends what is on, where it was last seen to hold.
    pub(super) fn close(&mut self) -> Option<Change> {
        match std::mem::take(&mut self.phase) {
            Phase::On { since, held } => {
                self.ended = self.seen;
                Some(Change::Ended { held: held - since })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(f64) -> Duration = Duration::from_secs_f64;

    /// Steps through `(second, holds)` and tells what changed when: `+` a start, `-` an end, with the seconds that it held.
    fn play(timing: Timing, steps: &[(f64, bool)]) -> Vec<String> {
        let mut machine = Machine::default();
        let mut told = Vec::new();
        for &(at, holds) in steps {
            for change in machine.step(S(at), holds, &timing).into_iter().flatten() {
                let (sign, held) = match change {
                    Change::Started { held } => ('+', held),
                    Change::Ended { held } => ('-', held),
                };
                told.push(format!("{at}{sign}{}", held.as_secs_f64()));
            }
        }
        told
    }

    fn timing(hold: f64, release: f64, cool_down: f64) -> Timing {
        Timing { hold: S(hold), release: S(release), cool_down: S(cool_down), gap: S(5.0) }
    }

    #[test]
    fn without_times_every_change_is_an_event() {
        let found = play(timing(0.0, 0.0, 0.0), &[(0.0, false), (1.0, true), (2.0, true), (3.0, false), (4.0, true)]);
        assert_eq!(found, ["1+0", "3-1", "4+0"]);
    }

    #[test]
    fn a_hold_must_be_unbroken() {
        let found =
            play(timing(3.0, 0.0, 0.0), &[(0.0, true), (2.0, true), (2.5, false), (3.0, true), (5.9, true), (6.0, true), (7.0, false)]);
        assert_eq!(found, ["6+3", "7-3"]);
    }

    #[test]
    fn flicker_within_the_release_time_ends_nothing() {
        let steps = [(0.0, true), (1.0, false), (1.4, true), (2.0, false), (2.9, false), (3.0, false)];
        assert_eq!(play(timing(0.0, 1.5, 0.0), &steps), ["0+0", "2.9-1.4"]);
    }

    #[test]
    fn nothing_starts_while_it_cools_down_and_then_it_does() {
        let steps = [(0.0, true), (1.0, false), (2.0, true), (4.0, true), (6.0, true), (8.0, true), (11.0, true)];
        assert_eq!(play(timing(0.0, 0.0, 10.0), &steps), ["0+0", "1-0", "11+9"]);
    }

    #[test]
    fn what_nobody_saw_counts_for_nothing() {
        // Held before and after a gap of 6 s: the wait starts again.
        assert_eq!(play(timing(3.0, 0.0, 0.0), &[(0.0, true), (2.0, true), (8.0, true), (11.0, true)]), ["11+3"]);
        // On before the gap: it ended where it was last seen.
        assert_eq!(play(timing(0.0, 0.0, 0.0), &[(0.0, true), (2.0, true), (9.0, false)]), ["0+0", "9-2"]);
        assert_eq!(play(timing(0.0, 0.0, 0.0), &[(0.0, true), (2.0, true), (9.0, true)]), ["0+0", "9-2", "9+0"]);
    }

    #[test]
    fn a_clock_that_starts_again_is_a_gap() {
        assert_eq!(play(timing(0.0, 0.0, 0.0), &[(100.0, true), (101.0, true), (0.0, true), (1.0, false)]), ["100+0", "0-1", "0+0", "1-0"]);
        assert_eq!(
            play(timing(0.0, 0.0, 2.0), &[(100.0, true), (101.0, false), (0.0, true), (1.0, true), (2.0, true)]),
            ["100+0", "101-0", "2+2"]
        );
    }
}
