//! Long work beside Python's signals.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use pyo3::prelude::*;

use crate::error::EdgeSegError;
use crate::guest::outside;
use crate::source::POLL;

/// How far work is, and whether it should end.
#[derive(Default)]
pub struct Watch {
    stop: AtomicBool,
    done: AtomicUsize,
    total: AtomicUsize,
}

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
                progress.call1(now).map(drop)
            }
            _ => Ok(()),
        }
    }
}

/// Does `work` on a thread of its own, while this one looks after Python's signals and calls `progress(done, total)`. What those raise
/// ends the work at its next look at the watch, and is raised then.
pub fn watched<T: Send>(py: Python<'_>, progress: Option<&Bound<'_, PyAny>>, work: impl FnOnce(&Watch) -> T + Send) -> PyResult<T> {
    let watch = Watch::default();
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(1);
        let watch = &watch;
        let run = move || drop(sender.send(work(watch)));
        let started = thread::Builder::new().name("edge-seg work".into()).spawn_scoped(scope, run);
        started.map_err(|error| EdgeSegError::new_err(format!("thread of the work: {error}")))?;
        let (receiver, mut raised, mut told) = (Mutex::new(receiver), None, None);
        loop {
            let received = outside(py, || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(POLL));
            if raised.is_none()
                && let Err(error) = py.check_signals().and_then(|()| watch.tell(progress, &mut told))
            {
                raised = Some(error);
                watch.stop.store(true, Ordering::Relaxed);
            }
            match (received, raised.take()) {
                (Ok(_), Some(error)) => return Err(error),
                (Ok(done), None) => return Ok(done),
                (Err(RecvTimeoutError::Timeout), before) => raised = before,
                // It panicked, and the scope goes on with that.
                (Err(RecvTimeoutError::Disconnected), _) => return Err(EdgeSegError::new_err("the work ended without a result")),
            }
        }
    })
}
