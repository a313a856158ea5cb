//! The words of a running session, and how they are changed.
//!
//! ```
//! use std::sync::Arc;
//! use edge_seg_live::words::Words;
//! # fn main() -> edge_seg_live::Result<()> {
//! # let options = edge_seg_model::Options::default().with_size_px(64);
//! # let session = Arc::new(edge_seg_model::Session::built_in_with(&options)?);
//! let words = Words::of(session.clone(), &session.words("cat, dog")?)?;
//! words.adjust("dog", |word| word.threshold = Some(0.6))?;
//! assert_eq!(words.current().version, 2);
//! # Ok(())
//! # }
//! ```

mod commands;
mod profile;
mod saved;
mod set;
mod word;

pub use commands::{Control, Outcome};
pub use profile::{ProfileFollower, Profiled};
pub use saved::WordSets;
#[cfg(feature = "service")]
pub(crate) use set::own_meanings;
pub(crate) use set::told_meanings;
#[cfg(feature = "service")]
pub(crate) use set::unknown;
pub use set::{WordSet, Words, keep_examples};
#[expect(deprecated, reason = "kept for a release")]
pub use word::Word;
pub use word::{Colour, LiveClass, MAX_LIVE_WORDS, WordSpec, parse_words_json, read_words_file};
