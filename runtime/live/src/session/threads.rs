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
        // What was thrown may panic once more where it is dropped, and nobody would catch that.
        std::mem::forget(panic);
        Err(Error::Panicked { part, said: said.unwrap_or_else(|| "something that is no text".into()) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_thrown_is_told_and_not_dropped() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        let said = |work: fn() -> Result<()>| catch("source", work).unwrap_err().to_string();
        assert!(said(|| std::panic::panic_any(Bomb)).contains("no text"));
        assert!(said(|| panic!("unplugged")).contains("unplugged"));
    }
}
