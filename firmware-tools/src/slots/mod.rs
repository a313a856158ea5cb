//! Two slots, each holding a bundle, a binary and a configuration together; one runs, the other takes the next release.
//!
//! [`machine`] decides and touches nothing; [`Slots`] carries its actions out over a [`Disk`] and feeds back what came of them.
//! Every release is written to the slot that does not run, read back, and tried for a few starts before it counts as good.

mod disk;
mod execute;
pub mod machine;

pub use disk::{Disk, Kind, RealDisk};
pub(crate) use disk::{digest_of, kind_of};
pub use execute::{Content, Outcome, Parts, Slots, Source, StateError, release_of};
pub(crate) use execute::{RESERVE_BYTES, TOO_FULL};
pub use machine::{Action, Bar, Event, Release, Slot, SlotState, State, Status, step};
