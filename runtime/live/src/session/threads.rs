//! Threads whose panics are errors.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use crate::source::Source;
use crate::{Error, Result};

/// A source that is not read yet: a panic where it is let go before is told to the log, and does not unwind out of a start that fails.
pub(crate) struct Held(Option<Box<dyn Source>>);

impl Held {
    pub fn new(source: Box<dyn Source>) -> Self {
        Self(Some(source))
    }

    /// # Errors
    /// [`Error::Panicked`] if it panics.
    pub fn stop_flag(&self) -> Result<Option<Arc<AtomicBool>>> {
        catch("source", || Ok(self.0.as_ref().and_then(|source| source.stop_flag())))
    }

    /// The source, whose panics are the taker's to catch.
    pub fn take(mut self) -> Option<Box<dyn Source>> {
        self.0.take()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let source = self.0.take();
        let let_go = catch("source", || {
            drop(source);
            Ok(())
        });
        if let Err(error) = let_go {
            tracing::warn!("{error}");
        }
    }
}

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
