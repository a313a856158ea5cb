//! Measures a bundle against labelled pictures, on the code path that boards run.

pub mod captions;
pub mod classes;
pub mod compare;
pub mod ensemble;
pub mod log;
pub mod metric;
pub mod pictures;
pub mod segmentation;
pub mod video;

pub use classes::{ClassTable, Names, View};
pub use metric::{Confusion, Measures};
