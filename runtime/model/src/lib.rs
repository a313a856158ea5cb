//! Segments pictures by words: a bundle is loaded, words become a [`WordList`], pictures become masks.
//!
//! ```
//! use edge_seg_bundle::Bundle;
//! use edge_seg_model::{Frame, Options, Session};
//! # fn main() -> edge_seg_model::Result<()> {
//! # if let Err(edge_seg_bundle::Error::NoModel) = Bundle::built_in() { return Ok(()) }
//! let session = Session::built_in_with(&Options::default().with_size_px(64))?;
//! let words = session.words("sky, grass")?;
//! let frame = Frame::still(image::RgbImage::from_pixel(64, 48, image::Rgb([90, 160, 255])));
//! let found = session.find(&frame, &words)?;
//! assert_eq!(found.labels.width, 64);
//! # Ok(())
//! # }
//! ```
//!
//! A picture's way: [`read_picture`] gives a [`Frame`], [`prepare`] scales it to the encoder's input and remembers where its pixels
//! went ([`Placement`]), the [`ImageEncoder`] makes a [`PatchGrid`], [`score()`] a [`ScoreGrid`], and [`LabelMap`] the mask at the
//! frame's own pixels. [`Session`] does it all.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]

mod contained;
pub mod device;
mod embeddings;
mod encoder;
mod error;
mod examples;
mod found;
mod frame;
pub mod hide;
mod input;
mod mask;
mod options;
mod picture;
pub mod propagation;
pub mod render;
mod score;
mod session;
mod stored;
pub mod text;
mod word_list;
mod words;

pub use contained::contained;
pub use embeddings::{PatchGrid, UnitRows};
#[doc(hidden)]
pub use encoder::plan_graph;
pub use encoder::{
    GraphEncoder, GraphFact, GraphProducts, GraphTensor, ImageEncoder, Numbers, TextEncoder, Threads, choose_device, count_macs,
    graph_facts, graph_products, probe_cuda, run_graph, run_text_graph,
};
pub use error::{Error, Result};
pub use examples::join_examples;
pub use found::FoundClass;
pub use frame::{Channels, Frame};
pub use input::{Input, MAX_PATCHES, Placement, prepare};
pub use mask::{Extent, LabelMap, Painter, region};
pub use options::{Options, Refinement, Timings};
pub use picture::{
    animation_times, decode_jpeg, decode_picture, describe_picture, expand_folder, expand_inputs, is_companion, is_picture, read_animation,
    read_damaged_picture, read_orientation, read_picture, tell_passed_over,
};
pub use score::{Background, ScoreGrid, Scoring, WordScore, score, score_words};
pub use session::{Encoded, Segmentation, Session, check_model};
pub use stored::{Cover, PackedWords, Part, StoredRows};
pub use text::read_text;
pub use word_list::WordList;
#[doc(hidden)]
pub use words::WordTokenizer;
pub use words::{
    Class, Example, Gate, Language, Languages, MAX_CLASSES, Meaning, Translation, WordBank, check_classes, folded_name, lists,
    parse_classes, parse_words, read_class_lines, read_classes_file, same_name, split_caption,
};
pub use {image, ndarray};
