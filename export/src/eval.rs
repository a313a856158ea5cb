//! Measures a bundle against labelled pictures, on the code path that boards run.

pub mod caption_report;
pub mod captions;
pub mod classes;
mod coco;
pub mod compare;
pub mod drawn;
pub mod ensemble;
pub mod examples;
pub mod fit;
mod label_picture;
pub mod layout;
pub mod left_out;
pub mod log;
mod mat;
pub mod metric;
pub mod nouns;
pub mod pamr;
pub mod pictures;
pub mod plot;
pub mod preset;
pub mod published;
pub mod quantization;
pub mod report;
pub mod run;
pub mod segmentation;
mod shapes;
pub mod source;
pub mod stability;
pub mod summary;
pub mod tagmask;
pub mod templates;
pub mod variant;
pub mod video;

pub use classes::{ClassTable, Names, View};
pub use left_out::{LeftOut, unless_all};
pub use metric::{Confusion, Measures};
