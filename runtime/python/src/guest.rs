//! The library's own threads inside the interpreter, and its end.
//!
//! CPython frees a thread's state, and the interpreter that it would be made in, while such a thread may be on its way in: neither
//! `Py_IsFinalizing` nor `PyGILState_Ensure` closes that gap, and the process dies of a signal after its last line. `atexit` runs before any of it.
#![allow(unsafe_code)] // the C library's pthread_cleanup_push(), and what tells interpreters apart

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use pyo3::call::PyCallArgs;
use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

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

/// Calls what may be anybody's code, and so may take any time. Up to 3.13, CPython ends a thread that comes back to the interpreter at its
/// end by `pthread_exit`, which unwinds the thread's stack, and a process dies of that where it meets Rust. Here such a thread stays, as
/// later CPythons have it.
pub fn call<'py>(function: &Bound<'py, PyAny>, arguments: impl PyCallArgs<'py>) -> PyResult<Bound<'py, PyAny>> {
    let _stays = Stays::begin();
    function.call1(arguments)
}

/// While it is there, a thread that ends by `pthread_exit` stays.
struct Stays(Box<UnsafeCell<Cleanup>>);

/// As <pthread.h> has it: `struct _pthread_cleanup_buffer`.
#[repr(C)]
struct Cleanup {
    routine: usize,
    argument: usize,
    cancel_type: c_int,
    before: usize,
}

unsafe extern "C" {
    fn _pthread_cleanup_push(buffer: *mut Cleanup, routine: extern "C" fn(*mut c_void), argument: *mut c_void);
    fn _pthread_cleanup_pop(buffer: *mut Cleanup, execute: c_int);
}

impl Stays {
    fn begin() -> Self {
        extern "C" fn stay(_: *mut c_void) {
            loop {
                std::thread::park();
            }
        }
        // What does not lie on the stack has its turn before any frame is unwound.
        let stays = Self(Box::new(UnsafeCell::new(Cleanup { routine: 0, argument: 0, cancel_type: 0, before: 0 })));
        // SAFETY: it lives until it is popped, by the same thread, in turn: a value of this type goes out of scope where it came into it.
        unsafe { _pthread_cleanup_push(stays.0.get(), stay, std::ptr::null_mut()) };
        stays
    }
}

impl Drop for Stays {
    fn drop(&mut self) {
        // SAFETY: this thread pushed it, and what was pushed later was popped.
        unsafe { _pthread_cleanup_pop(self.0.get(), 0) };
    }
}

/// What an iterable has, which may be anybody's code as well.
pub fn list<'py>(iterable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    Ok(call(iterable.py().get_type::<PyList>().as_any(), (iterable,))?.cast_into::<PyList>()?)
}

/// Whether something says that it can be iterated over; what goes wrong when that is tried is an error of its own.
pub fn is_iterable(thing: &Bound<'_, PyAny>) -> PyResult<bool> {
    let of = thing.get_type();
    Ok(of.hasattr(intern!(thing.py(), "__iter__"))? || of.hasattr(intern!(thing.py(), "__getitem__"))?)
}

/// The pairs of a mapping, none of what is no mapping. By hand: pyo3's cast asks Python too, and takes whatever is raised there, Ctrl-C
/// among it, for a no.
///
/// # Errors
/// What is raised meanwhile.
pub fn pairs<'py>(given: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyList>>> {
    let py = given.py();
    if let Ok(dict) = given.cast::<PyDict>() {
        return Ok(Some(dict.items()));
    }
    if given.is_instance_of::<PyList>() || given.is_instance_of::<PyTuple>() || given.is_instance_of::<PyString>() {
        return Ok(None);
    }
    let mapping = py.import(intern!(py, "collections.abc"))?.getattr(intern!(py, "Mapping"))?;
    if given.is_instance(&mapping)? { list(&call(&given.getattr(intern!(py, "items"))?, ())?).map(Some) } else { Ok(None) }
}

/// # Errors
/// `ImportError` in an interpreter that is not the process's first: threads of the library enter that one alone.
pub fn check_interpreter() -> PyResult<()> {
    // SAFETY: the interpreter is held, and so there is one.
    match unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) } {
        0 => Ok(()),
        number => Err(PyImportError::new_err(format!(
            "edge_seg: expected the process's main interpreter, found its subinterpreter {number}; try: a process of its own"
        ))),
    }
}

/// Keeps the engine's errors, of which it makes many that it handles itself, from noting where they are made: nobody is shown that, and it
/// is noted under a lock, which a child that is forked meanwhile would wait for for ever. Whoever asks first decides it for the process.
pub fn leave_backtraces(py: Python<'_>) -> PyResult<()> {
    const VARIABLE: &str = "RUST_LIB_BACKTRACE";
    let environment = py.import(intern!(py, "os"))?.getattr(intern!(py, "environ"))?;
    let before = environment.call_method1(intern!(py, "get"), (VARIABLE,))?;
    environment.set_item(VARIABLE, "0")?;
    let _ = std::backtrace::Backtrace::capture();
    if before.is_none() { environment.del_item(VARIABLE) } else { environment.set_item(VARIABLE, before) }
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
