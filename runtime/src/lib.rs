//! Open-vocabulary segmentation at the edge: type words, get masks.
//!
//! ```no_run
//! use edge_seg::{Background, Bundle, Options, Session, parse_tags, read_picture};
//! # fn main() -> edge_seg::Result<()> {
//! let session = Session::new(Bundle::built_in()?, &Options::default())?;
//! let bank = session.tag_bank(&parse_tags("words", "dog, grass, sky")?, &[])?;
//! let frame = read_picture("photo.jpg".as_ref())?;
//! let found = session.segment(&frame, &bank, Background::Threshold(0.5))?;
//! println!("{:?}", found.scores.scores());
//! # Ok(())
//! # }
//! ```

pub mod bundle;
pub mod device;
mod encoder;
mod error;
pub mod files;
mod frame;
mod grid;
pub mod live;
mod mask;
pub mod metrics;
mod pipeline;
mod positions;
mod prepare;
mod refine;
pub mod region;
pub mod rules;
mod score;
#[cfg(feature = "service")]
pub mod serve;
pub mod sink;
pub mod source;
mod tags;
pub mod trust;
mod word_files;

pub use bundle::{Bundle, Manifest};
pub use device::{Device, DeviceFault};
pub use edge_seg_board::boards::Multiplications;
pub use edge_seg_board::{Variant, boards};
pub use edge_seg_kernels as simd;
pub use encoder::{GraphEncoder, ImageEncoder, TextEncoder, Threads, multiplications};
pub use error::{Error, Result};
pub use frame::Frame;
pub use grid::{PatchGrid, UnitRows};
pub use mask::{Extent, LabelMap, Painter};
pub use pipeline::{Encoded, Options, Refinement, Segmentation, Session, Timings};
pub use prepare::{Input, MAX_PATCHES, Placement, prepare};
pub use score::{Background, ScoreGrid, Scoring, TagScore, score, score_tags};
pub use source::{expand_inputs, is_picture, read_picture};
pub use tags::{Class, Gate, MAX_CLASSES, TagBank, parse_tags, read_tags_file, split_caption};
