//! The words of a running session, and how they are changed.

mod commands;
mod saved;
mod set;
mod word;

pub use commands::{Control, Outcome};
pub use saved::WordSets;
pub use set::{WordSet, Words};
pub use word::{Colour, MAX_LIVE_WORDS, Word, WordSpec, parse_words_json, read_words_file};
