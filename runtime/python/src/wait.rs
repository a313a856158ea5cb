//! Long work beside Python's signals.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::error::EdgeSegError;
use crate::guest::{call, outside};
use crate::source::POLL;

/// How far work is, and whether it should end.
#[derive(Default)]
pub struct Watch {
    stop: AtomicBool,
    done: AtomicUsize,
    total: AtomicUsize,
}

/// How long work may take to its end once it should end.
const ENDING: Duration = Duration::from_millis(500);

impl Watch {
    pub fn expect(&self, total: usize) {
        self.total.store(total, Ordering::Relaxed);
    }

    pub fn add(&self, done: usize) {
        self.done.fetch_add(done, Ordering::Relaxed);
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn tell(&self, progress: Option<&Bound<'_, PyAny>>, told: &mut Option<(usize, usize)>) -> PyResult<()> {
        let now = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        match progress {
            Some(progress) if now.1 > 0 && *told != Some(now) => {
                *told = Some(now);
                call(progress, now).map(drop)
            }
            _ => Ok(()),
        }
    }
}

/// Does `work` on a thread of its own, while this one looks after Python's signals and calls `progress(done, total)`. What those raise is
/// raised once the work has ended, which it does at its next look at the watch; where that is far, it is left alone and its outcome lost.
pub fn watched<T: Send + 'static>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&Watch) -> T + Send + 'static,
) -> PyResult<T> {
    let (watch, (sender, receiver)) = (Arc::<Watch>::default(), sync_channel(1));
    let of_work = watch.clone();
    let run = move || drop(sender.send(catch_unwind(AssertUnwindSafe(|| work(&of_work)))));
    let started = thread::Builder::new().name("edge-seg work".into()).spawn(run);
    started.map_err(|error| EdgeSegError::new_err(format!("thread of the work: {error}")))?;
    let receiver = Mutex::new(receiver);
    let (mut raised, mut told): (Option<(PyErr, Instant)>, _) = (None, None);
    loop {
        let received = outside(py, || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(POLL));
        if raised.is_none()
            && let Err(error) = py.check_signals().and_then(|()| watch.tell(progress, &mut told))
        {
            raised = Some((error, Instant::now()));
            watch.stop.store(true, Ordering::Relaxed);
        }
        match (received, raised.take()) {
            (Ok(_), Some((error, _))) => return Err(error),
            (Ok(Ok(done)), None) => return Ok(done),
            (Ok(Err(panic)), None) => resume_unwind(panic),
            (Err(RecvTimeoutError::Timeout), Some((error, since))) if since.elapsed() > ENDING => return Err(error),
            (Err(RecvTimeoutError::Timeout), before) => raised = before,
            (Err(RecvTimeoutError::Disconnected), _) => return Err(EdgeSegError::new_err("the work ended without a result")),
        }
    }
}
