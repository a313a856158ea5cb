//! The Python package `edge_seg`: the library's public face with numpy arrays for pictures, masks and embeddings.
//!
//! What is computed is computed by the library, with the interpreter let go; here arrays are read, results handed over and errors
//! raised. Names, shapes and units are described where Python's readers look for them, in `python/edge_seg/_native.pyi`.
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]
// Doc comments of Python's classes are their `__doc__`; the other items are private to this crate.
#![allow(missing_docs)]

mod error;
mod evaluate;
mod event;
mod example;
mod found;
mod guest;
mod hide;
mod index;
mod label;
mod labels;
mod live;
mod live_frame;
mod model;
mod path;
mod picture;
mod rules;
mod shown;
mod source;
mod things;
mod wait;
mod words;

use pyo3::prelude::*;

/// Segments pictures and video by words. The package `edge_seg` is its public name.
#[pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::error::{
        BundleError, DataError, DeviceError, EdgeSegError, EncoderError, ForkedError, ImageError, OptionError, RulesError, SourceError,
        WordsError,
    };
    #[pymodule_export]
    use super::evaluate::{ClassMeasures, Evaluation, evaluate};
    #[pymodule_export]
    use super::event::Event;
    #[pymodule_export]
    use super::example::Example;
    #[pymodule_export]
    use super::found::{FoundClass, Segmentation};
    #[pymodule_export]
    use super::hide::{Hidden, Hide};
    #[pymodule_export]
    use super::index::{Contents, Index, IndexWriter, Sighting};
    #[pymodule_export]
    use super::label::{Labelling, label, merge_labels};
    #[pymodule_export]
    use super::labels::{PictureLabels, Region};
    #[pymodule_export]
    use super::live::Live;
    #[pymodule_export]
    use super::live_frame::LiveFrame;
    #[pymodule_export]
    use super::model::{Encoded, Model};
    #[pymodule_export]
    use super::picture::read_picture;
    #[pymodule_export]
    use super::rules::Rules;
    #[pymodule_export]
    use super::source::Source;
    #[pymodule_export]
    use super::things::Thing;
    #[pymodule_export]
    use super::words::{Words, read_words};

    #[allow(non_upper_case_globals)]
    #[pymodule_export]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::guest::check_interpreter()?;
        super::guest::leave_backtraces(module.py())?;
        super::guest::close_at_exit(module.py())
    }
}
