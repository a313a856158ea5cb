//! Boards: the table of those that are known, and readers of the one that this runs on.
//!
//! Every reading comes through a [`Host`], so that a tree of files can stand for a board. A reading that is not there is absent; nothing
//! is guessed in its place.

#![forbid(unsafe_code)]

pub mod boards;
mod host;
pub mod processor;
pub mod sensors;
mod variant;

pub use host::Host;
pub use variant::Variant;
