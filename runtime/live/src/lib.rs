//! Segments video by words: sources of frames, words that change while it runs, rules on what is seen, and where masks go.
//!
//! Frames come from a [`source`], the [`session`] gives each its masks of the current [`words`], which are cut into [`things`], [`rules`]
//! make events of them, [`sinks`] and the [`page`] take them away, and a [`search`] finds them later. Each module names only those before
//! it in this list.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]

mod backoff;
mod error;
mod fault;
mod live;
pub mod metrics;
#[cfg(feature = "service")]
pub mod page;
pub mod rules;
pub mod search;
pub mod session;
pub mod sinks;
pub mod source;
pub mod things;
pub mod words;

pub use error::{Error, Result};
pub use live::{Live, LiveWords, run};
