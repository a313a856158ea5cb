//! The library's own threads inside the interpreter, and its end.
//!
//! CPython frees a thread's state, and the interpreter that it would be made in, while such a thread may be on its way in: neither
//! `Py_IsFinalizing` nor `PyGILState_Ensure` closes that gap, and the process dies of a signal after its last line. `atexit` runs before any of it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

/// How many are inside, and whether anybody may still enter. No lock: a forked child would inherit it as it was.
static GUESTS: AtomicUsize = AtomicUsize::new(0);
const CLOSED: usize = 1 << (usize::BITS - 1);
/// The thread that ends the interpreter, which goes on.
static CLOSER: OnceLock<ThreadId> = OnceLock::new();
/// What somebody inside may take at the end, as an iterator may that waits for its camera. Python ends its own daemon threads no more gently.
const GRACE: Duration = Duration::from_secs(1);

struct Guest;

impl Guest {
    /// One who is let in; none at the interpreter's end.
    fn enter() -> Option<Self> {
        let before = GUESTS.fetch_add(1, Ordering::SeqCst);
        let guest = Self;
        (before & CLOSED == 0).then_some(guest)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        GUESTS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Calls `work` with the interpreter, from a thread of the library. `None` at the interpreter's end.
pub fn visit<T>(work: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    let _guest = Guest::enter()?;
    Python::try_attach(work)
}

/// Calls `work` without the interpreter. A thread that would come back to it at its end stays away, as CPython would end it by unwinding
/// what Rust has on its stack.
pub fn outside<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    let (done, guest) = py.detach(|| {
        let done = work();
        let guest = Guest::enter();
        while guest.is_none() && CLOSER.get() != Some(&std::thread::current().id()) {
            std::thread::park();
        }
        (done, guest)
    });
    drop(guest);
    done
}

/// Lets nobody in any more, and waits for those inside.
#[pyfunction]
fn close(py: Python<'_>) {
    let _ = CLOSER.set(std::thread::current().id());
    GUESTS.fetch_or(CLOSED, Ordering::SeqCst);
    py.detach(|| {
        let start = Instant::now();
        while GUESTS.load(Ordering::SeqCst) != CLOSED && start.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

pub fn close_at_exit(py: Python<'_>) -> PyResult<()> {
    py.import("atexit")?.call_method1("register", (wrap_pyfunction!(close, py)?,)).map(drop)
}
