use std::path::PathBuf;

use edge_seg_bundle::text::{shown, shown_lines};

use crate::weights::LoadReport;

/// Everything that can go wrong in this crate. The message says what was expected, what was found, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused.
    #[error("{path}: {source}", path = shown(&path.to_string_lossy()))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what its name or its place says.
    #[error("{place}: {part}: expected {expected}, found {found}", place = shown(place), part = shown(part), expected = shown_lines(expected), found = shown_lines(found))]
    File {
        /// The file.
        place: String,
        /// Which part of it.
        part: String,
        /// What is needed.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Weights and architecture do not fit together.
    #[error("{place}: the weights do not fit the architecture\n{report}", place = shown(place), report = shown_lines(&report.to_string()))]
    Weights {
        /// The model folder or file.
        place: String,
        /// What was applied, missing, unused, and of another shape.
        report: Box<LoadReport>,
    },
    /// An option is out of its range.
    #[error("{option}: expected {expected}, found {found}", option = shown(option), expected = shown_lines(expected), found = shown_lines(found))]
    Option {
        /// The option.
        option: String,
        /// What is accepted.
        expected: String,
        /// What was given.
        found: String,
    },
    /// Whoever watches a run ended it.
    #[error("stopped before all was done; what is done is kept where a record was asked for")]
    Stopped,
    /// The library that runs bundles refused.
    #[error(transparent)]
    Runtime(#[from] edge_seg_model::Error),
}

/// This crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }

    pub(crate) fn file(place: impl Into<String>, part: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::File { place: place.into(), part: part.into(), expected: expected.into(), found: found.into() }
    }
}

impl From<edge_seg_bundle::Error> for Error {
    fn from(error: edge_seg_bundle::Error) -> Self {
        Error::Runtime(error.into())
    }
}
