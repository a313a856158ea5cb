//! The library's own threads inside the interpreter, and its end.
//!
//! CPython frees a thread's state, and the interpreter that it would be made in, while such a thread may be on its way in: neither
//! `Py_IsFinalizing` nor `PyGILState_Ensure` closes that gap, and the process dies of a signal after its last line. `atexit` runs before any of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

/// How many are inside, and whether anybody may still enter. No lock: a forked child would inherit it as it was.
static GUESTS: AtomicUsize = AtomicUsize::new(0);
const CLOSED: usize = 1 << (usize::BITS - 1);
/// What somebody inside may take at the end, as an iterator may that waits for its camera. Python ends its own daemon threads no more gently.
const GRACE: Duration = Duration::from_secs(1);

/// Calls `work` with the interpreter, from a thread of the library. `None` at the interpreter's end.
pub fn visit<T>(work: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    struct Guest;
    impl Drop for Guest {
        fn drop(&mut self) {
            GUESTS.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let before = GUESTS.fetch_add(1, Ordering::SeqCst);
    let _guest = Guest;
    if before & CLOSED != 0 { None } else { Python::try_attach(work) }
}

/// Lets nobody in any more, and waits for those inside.
#[pyfunction]
fn close(py: Python<'_>) {
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
