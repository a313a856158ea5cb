//! Threads whose panics are errors.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use crate::{Error, Result};

/// Starts a thread of this name.
///
/// # Errors
/// [`Error::Io`](edge_seg_model::Error::Io) if the system has none left.
pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("edge-seg {name}")).spawn(work).map_err(Error::io(format!("thread {name}")))
}

/// What `work` gives, or its panic as an error of this part.
pub(crate) fn catch<T>(part: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Error::Panicked { part, said: said.unwrap_or_else(|| "something that is no text".into()) })
    })
}
