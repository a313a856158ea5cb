//! Words: how people write them, what they mean in English, and the bank of embeddings that scoring reads.

mod bank;
mod cache;
mod caption;
mod class;
mod example;
pub mod lists;
mod meaning;
mod tokenizer;

pub use bank::{Gate, WordBank};
pub(crate) use cache::WordFiles;
pub use caption::split_caption;
pub(crate) use class::check_word;
pub use class::{
    Class, MAX_CLASSES, check_classes, folded_name, parse_classes, parse_words, read_class_lines, read_classes_file, same_name,
};
pub use example::Example;
pub use meaning::{Language, Languages, Meaning, Translation};
pub(crate) use meaning::{english_of, meaning, meanings};
pub use tokenizer::WordTokenizer;
