use std::time::Duration;

use super::EventKind;

/// How long a condition must hold, and how its events follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// An event starts when the condition has held for this long.
    pub hold: Duration,
    /// It ends when the condition has not held for this long.
    pub release: Duration,
    /// No other starts for this long after it.
    pub cool_down: Duration,
    /// Over a longer gap between frames nobody knows what held: what was waited for starts again, what was on ends where it was last seen.
    pub gap: Duration,
    /// What is noticed starts an event only if it is confirmed later.
    pub confirm: Option<Confirm>,
}

impl Default for Timing {
    /// As a rule has them that says none: an event starts at once, ends after a second, and gaps may be 10 seconds.
    fn default() -> Self {
        let (hold, release, cool_down, gap) = (Duration::ZERO, Duration::from_secs(1), Duration::ZERO, Duration::from_secs(10));
        Self { hold, release, cool_down, gap, confirm: None }
    }
}

impl Timing {
    /// The same with another [`hold`](Self::hold).
    pub fn with_hold(self, hold: Duration) -> Self {
        Self { hold, ..self }
    }

    /// The same with another [`release`](Self::release).
    pub fn with_release(self, release: Duration) -> Self {
        Self { release, ..self }
    }

    /// The same with another [`cool_down`](Self::cool_down).
    pub fn with_cool_down(self, cool_down: Duration) -> Self {
        Self { cool_down, ..self }
    }

    /// The same with another [`gap`](Self::gap).
    pub fn with_gap(self, gap: Duration) -> Self {
        Self { gap, ..self }
    }

    /// The same with another [`confirm`](Self::confirm).
    pub fn with_confirm(self, confirm: impl Into<Option<Confirm>>) -> Self {
        Self { confirm: confirm.into(), ..self }
    }
}

/// How what is noticed is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Confirm {
    /// After this long.
    pub after: Duration,
    /// Whether another condition says so; else the same one must go on, with breaks that are shorter than the release time.
    pub by_other: bool,
}

impl Confirm {
    /// What is noticed goes on for this long, or another condition says so then.
    pub fn new(after: Duration, by_other: bool) -> Self {
        Self { after, by_other }
    }
}

/// A change of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The condition has held for long enough, and waits to be confirmed.
    Noticed {
        /// How long it has held.
        held: Duration,
    },
    /// What was noticed was not confirmed.
    Cleared {
        /// How long it held.
        held: Duration,
    },
    /// The condition has held for long enough, and is confirmed where that is asked for.
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

impl Change {
    pub(super) fn kind(self) -> EventKind {
        match self {
            Self::Noticed { .. } => EventKind::Noticed,
            Self::Cleared { .. } => EventKind::Cleared,
            Self::Started { .. } => EventKind::Started,
            Self::Ended { .. } => EventKind::Ended,
        }
    }

    pub(super) fn held(self) -> Duration {
        match self {
            Self::Noticed { held } | Self::Cleared { held } | Self::Started { held } | Self::Ended { held } => held,
        }
    }
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
    Noticed {
        since: Duration,
        at: Duration,
        /// When what confirms held last.
        last: Option<Duration>,
    },
    /// Cleared while the condition holds on: it is not noticed again, and may still be confirmed.
    Cleared {
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
        self.step_confirmed(now, holds, false, timing)
    }

    /// The same, with whether the other condition holds that confirms it ([`Confirm::by_other`]).
    pub fn step_confirmed(&mut self, now: Duration, holds: bool, confirms: bool, timing: &Timing) -> [Option<Change>; 2] {
        let mut end = None;
        let blind = self.seen.is_some_and(|seen| now < seen || now - seen > timing.gap);
        if blind {
            end = self.close();
            // A clock that starts again says nothing of how long ago the last event was.
            self.ended = self.ended.map(|ended| if self.seen > Some(now) { now } else { ended });
        }
        self.seen = Some(now);
        let by_other = timing.confirm.is_some_and(|confirm| confirm.by_other);
        let goes_on = if by_other { confirms } else { holds };
        match &mut self.phase {
            Phase::On { held, .. } if goes_on => *held = now,
            Phase::On { held, .. } if now - *held >= timing.release => end = self.close(),
            Phase::On { .. } => {}
            Phase::Noticed { last, .. } if goes_on => *last = Some(now),
            Phase::Noticed { last, .. } if !by_other && last.is_none_or(|last| now - last >= timing.release) => end = self.close(),
            Phase::Noticed { .. } => {}
            Phase::Waiting { .. } | Phase::Cleared { .. } if !holds => self.phase = Phase::Off,
            Phase::Cleared { .. } => {}
            Phase::Waiting { .. } => {}
            Phase::Off if holds => self.phase = Phase::Waiting { since: now },
            Phase::Off => {}
        }
        let cool = self.ended.is_none_or(|ended| now.saturating_sub(ended) >= timing.cool_down);
        let start = match (self.phase, timing.confirm) {
            (Phase::Waiting { since }, None) if cool && now - since >= timing.hold => {
                self.phase = Phase::On { since, held: now };
                Some(Change::Started { held: now - since })
            }
            (Phase::Waiting { since }, Some(_)) if cool && now - since >= timing.hold => {
                self.phase = Phase::Noticed { since, at: now, last: goes_on.then_some(now) };
                Some(Change::Noticed { held: now - since })
            }
            // A rule whose time to confirm was taken away would be another one, which begins anew.
            (Phase::Noticed { since, at, last }, confirm) if confirm.is_none_or(|confirm| now - at >= confirm.after) => {
                match last.filter(|last| *last == now || now - *last < timing.release) {
                    Some(held) => {
                        self.phase = Phase::On { since, held };
                        Some(Change::Started { held: now - since })
                    }
                    None => {
                        let cleared = self.close();
                        if by_other && holds {
                            self.phase = Phase::Cleared { since };
                        }
                        cleared
                    }
                }
            }
            (Phase::Cleared { since }, _) if cool && confirms => {
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
            Phase::Noticed { since, at, last } => Some(Change::Cleared { held: last.unwrap_or(at) - since }),
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
        let steps: Vec<_> = steps.iter().map(|(at, holds)| (*at, *holds, false)).collect();
        play_confirmed(timing, &steps)
    }

    /// As [`play`], with whether another condition confirms: `?` what is noticed, `x` what is cleared.
    fn play_confirmed(timing: Timing, steps: &[(f64, bool, bool)]) -> Vec<String> {
        let mut machine = Machine::default();
        let mut told = Vec::new();
        for &(at, holds, confirms) in steps {
            for change in machine.step_confirmed(S(at), holds, confirms, &timing).into_iter().flatten() {
                let (sign, held) = match change {
                    Change::Noticed { held } => ('?', held),
                    Change::Cleared { held } => ('x', held),
                    Change::Started { held } => ('+', held),
                    Change::Ended { held } => ('-', held),
                };
                told.push(format!("{at}{sign}{}", held.as_secs_f64()));
            }
        }
        told
    }

    fn timing(hold: f64, release: f64, cool_down: f64) -> Timing {
        Timing { hold: S(hold), release: S(release), cool_down: S(cool_down), gap: S(5.0), confirm: None }
    }

    fn confirmed(after: f64, by_other: bool, release: f64) -> Timing {
        Timing { confirm: Some(Confirm { after: S(after), by_other }), ..timing(0.0, release, 0.0) }
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

    #[test]
    fn what_goes_on_is_confirmed_and_what_does_not_is_cleared() {
        // With a flicker that is shorter than the release time.
        let steps = [(0.0, true), (1.0, true), (1.5, false), (1.9, true), (3.0, true), (4.0, false), (5.0, false)];
        assert_eq!(play(confirmed(3.0, false, 1.0), &steps), ["0?0", "3+3", "4-3"]);
        let steps = [(0.0, true), (1.0, true), (1.5, false), (2.0, false), (3.0, true), (4.0, true), (6.0, true)];
        assert_eq!(play(confirmed(3.0, false, 1.0), &steps), ["0?0", "2x1", "3?0", "6+3"]);
        // Off at the very moment, but not for long.
        assert_eq!(play(confirmed(3.0, false, 1.0), &[(0.0, true), (2.5, true), (3.0, false), (3.4, true)]), ["0?0", "3+3"]);
        assert_eq!(play(confirmed(3.0, false, 0.0), &[(0.0, true), (2.5, true), (3.0, false)]), ["0?0", "3x2.5"]);
    }

    #[test]
    fn another_condition_confirms_what_is_over_at_once() {
        // Somebody crosses a line at 1; 3 s later somebody is in the yard, for two seconds more.
        let steps = [
            (0.0, false, false),
            (1.0, true, false),
            (2.0, false, false),
            (3.0, false, true),
            (4.0, false, true),
            (5.0, false, true),
            (6.0, false, false),
        ];
        assert_eq!(play_confirmed(confirmed(3.0, true, 1.0), &steps), ["1?0", "4+3", "6-4"]);
        let gone = steps.map(|(at, holds, confirms)| (at, holds, confirms && at < 4.0));
        assert_eq!(play_confirmed(confirmed(3.0, true, 1.0), &gone), ["1?0", "4x2"]);
        // What goes on unconfirmed is told once, and again if it is confirmed after all.
        let late: Vec<_> = (0..12).map(|second| (f64::from(second), second < 10, (7..9).contains(&second))).collect();
        assert_eq!(play_confirmed(confirmed(3.0, true, 1.0), &late), ["0?0", "3x0", "7+7", "9-8"]);
    }

    #[test]
    fn what_nobody_saw_confirms_nothing() {
        assert_eq!(play(confirmed(3.0, false, 1.0), &[(0.0, true), (1.0, true), (9.0, true), (12.0, true)]), ["0?0", "9x1", "9?0", "12+3"]);
        assert_eq!(play(confirmed(3.0, false, 1.0), &[(50.0, true), (51.0, true), (0.0, false)]), ["50?0", "0x1"]);
    }
}
