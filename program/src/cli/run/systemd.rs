use std::sync::Arc;
use std::time::{Duration, Instant};

use edge_seg::Result;
use edge_seg::live::{FrameReport, SegmentedFrame};
use edge_seg::sink::LiveSink;
use sd_notify::NotifyState;

/// Tells the service manager that the session is up once the first frame is through, and that it lives as long as frames come: a
/// session that hangs anywhere before its sinks is started again.
pub struct Watchdog {
    pause: Duration,
    frames: u64,
    told: Instant,
}

impl Watchdog {
    /// None where no service manager waits.
    pub fn new() -> Option<Self> {
        std::env::var_os("NOTIFY_SOCKET")?;
        // Whoever started this may speak to the service manager itself, which listens to that process alone.
        if std::env::var("WATCHDOG_PID").is_ok_and(|pid| pid != std::process::id().to_string()) {
            return None;
        }
        // Four times in the time it may take, and no more often than a person could read the status.
        let pause = sd_notify::watchdog_enabled().map_or(Duration::from_secs(5), |limit| (limit / 4).min(Duration::from_secs(5)));
        Some(Self { pause, frames: 0, told: Instant::now() })
    }

    fn say(&self, states: &[NotifyState<'_>]) {
        if let Err(e) = sd_notify::notify(states) {
            tracing::warn!("the service manager cannot be told: {e}");
        }
    }
}

impl LiveSink for Watchdog {
    fn take(&mut self, _: &Arc<SegmentedFrame>, report: &Arc<FrameReport>) -> Result<()> {
        self.frames += 1;
        if self.frames == 1 {
            self.say(&[NotifyState::Ready]);
        }
        if self.frames == 1 || self.told.elapsed() >= self.pause {
            self.told = Instant::now();
            let status = format!("{} frames, {} dropped", self.frames, report.dropped);
            self.say(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.say(&[NotifyState::Stopping]);
        Ok(())
    }
}
