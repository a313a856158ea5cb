use std::path::PathBuf;

use edge_seg_bundle::text::{shown, shown_lines};

/// Why video cannot be read, segmented or handed on. The message says what was expected, what was found, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model, a picture, words or a file.
    #[error(transparent)]
    Model(#[from] edge_seg_model::Error),
    /// A source of frames, or the program that reads or writes video, does not work.
    #[error("{uri}: {fault}", uri = shown(uri), fault = shown_lines(&fault.to_string()))]
    Source {
        /// The source's name, without passwords.
        uri: String,
        /// What is wrong with it.
        fault: crate::fault::Fault,
    },
    /// A file of rules cannot be used.
    #[error("{place}: expected {expected}, found {found}", place = shown(place), expected = shown_lines(expected), found = shown_lines(found))]
    Rules {
        /// The file and the line, zone or rule.
        place: String,
        /// What is accepted.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A source, a sink or a thread of the session panicked; the session has ended.
    #[error("{part}: panicked: {said}", said = shown_lines(said))]
    Panicked {
        /// The source, a sink, or the thread that segments.
        part: &'static str,
        /// What the panic said.
        said: String,
    },
    /// A broker, a web hook or a display does not work.
    #[error("{place}: {found}", place = shown(place), found = shown_lines(found))]
    Sink {
        /// The sink's name, without passwords.
        place: String,
        /// What is wrong with it.
        found: String,
    },
}

/// This crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Turns what the file system said of `path` into an error that names it.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let named = edge_seg_model::Error::io(path);
        move |source| named(source).into()
    }

    /// An option that cannot be taken: its name, what it accepts, and what it was given.
    pub fn option(option: impl Into<String>, expected: impl Into<String>, found: impl ToString) -> Error {
        edge_seg_model::Error::option(option, expected, found).into()
    }

    pub(crate) fn words(place: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Error {
        edge_seg_model::Error::words(place, expected, found).into()
    }
}

impl From<edge_seg_bundle::Error> for Error {
    fn from(error: edge_seg_bundle::Error) -> Self {
        Error::Model(error.into())
    }
}
