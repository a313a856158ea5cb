//! Pauses between tries that fail.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Pauses that double with each failure, up to half a minute.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::from(Duration::from_millis(500))
    }
}

impl From<Duration> for Backoff {
    fn from(first: Duration) -> Self {
        Self { first, next: first }
    }
}

impl Backoff {
    const LONGEST: Duration = Duration::from_secs(30);

    /// How long to wait after one more failure.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(Self::LONGEST.max(self.first));
        pause
    }

    /// After a success, the next pause is the first one again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Sleeps so long, or until `stop` is set.
pub(crate) fn sleep_unless(stop: &AtomicBool, pause: Duration) {
    sleep_until(|| stop.load(Ordering::Relaxed), pause);
}

/// Sleeps so long, or until `over`.
pub(crate) fn sleep_until(over: impl Fn() -> bool, pause: Duration) {
    let start = Instant::now();
    while !over() {
        let left = pause.saturating_sub(start.elapsed());
        if left.is_zero() {
            break;
        }
        std::thread::sleep(left.min(Duration::from_millis(40)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let mut pauses = |count: usize| (0..count).map(|_| backoff.pause().as_secs_f64()).collect::<Vec<_>>();
        assert_eq!(pauses(9), [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        backoff.reset();
        assert_eq!(backoff.pause(), Duration::from_millis(500));
        let mut own = Backoff::from(Duration::from_secs(60));
        assert_eq!([own.pause(), own.pause()], [Duration::from_secs(60); 2], "never shorter than the first");
    }

    #[test]
    fn a_sleep_ends_where_it_is_told_to() {
        let start = Instant::now();
        sleep_unless(&AtomicBool::new(true), Duration::MAX);
        sleep_unless(&AtomicBool::new(false), Duration::ZERO);
        assert!(start.elapsed() < Duration::from_secs(20));
        let start = Instant::now();
        sleep_unless(&AtomicBool::new(false), Duration::from_millis(50));
        assert!(start.elapsed() >= Duration::from_millis(50));
    }
}
