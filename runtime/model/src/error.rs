use std::fmt;
use std::path::PathBuf;

use edge_seg_bundle::text::{shown, shown_lines};
use serde::Serialize;

/// Why a model, a picture or words cannot be used. The message says what was expected, what was found, and where.
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
    /// The bundle cannot be used, or may not run here.
    #[error(transparent)]
    Bundle(#[from] edge_seg_bundle::Error),
    /// A picture cannot be decoded.
    #[error("{place}: not a picture that can be read: {found}; expected a whole JPEG, PNG, WebP, BMP, TIFF or GIF", place = shown(place), found = shown_lines(found))]
    Picture {
        /// The picture's path.
        place: String,
        /// What the decoder said.
        found: String,
    },
    /// Words, or a file of words, cannot be used.
    #[error("{place}: expected {expected}, found {found}", place = shown(place), expected = shown_lines(expected), found = shown_lines(found))]
    Words {
        /// The option, or the file and line.
        place: String,
        /// What is accepted.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A tensor has the wrong shape or holds numbers that cannot be used.
    #[error("{what}: expected {expected}, found {found}", what = shown(what), expected = shown_lines(expected), found = shown_lines(found))]
    Tensor {
        /// The tensor.
        what: String,
        /// The shape or range that is needed.
        expected: String,
        /// What is there.
        found: String,
    },
    /// An encoder cannot be loaded or run.
    #[error("{encoder} encoder: {source}", source = shown_lines(&source.to_string()))]
    Encoder {
        /// `image` or `text`.
        encoder: &'static str,
        /// What the engine said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A GPU that was asked for cannot be used, or failed.
    #[error("{device} {fault}: {found}; try: {fix}", found = shown_lines(found), fix = shown_lines(fix))]
    Device {
        /// The device, by its name.
        device: &'static str,
        /// What is wrong with it.
        fault: DeviceFault,
        /// What is missing, or what the device said.
        found: String,
        /// What mends it.
        fix: String,
    },
    /// The process was forked from one that had used the session, whose threads did not come along.
    #[error(
        "session: expected the process {first} that used it first, found {here}, which was forked from that one and has none of its \
         threads; try: make the session after the fork"
    )]
    Forked {
        /// The process that used it first.
        first: u32,
        /// This one.
        here: u32,
    },
    /// An option is out of its range, or names something that this machine or build lacks.
    #[error("{option}: expected {expected}, found {found}", option = shown(option), expected = shown_lines(expected), found = shown_lines(found))]
    Option {
        /// The field of the options, or what the option is of.
        option: String,
        /// What is accepted.
        expected: String,
        /// What was given.
        found: String,
    },
}

/// This crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Turns what the file system said of `path` into an error that names it.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }

    /// Words that cannot be used: where, what is accepted, and what is there.
    pub fn words(place: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::Words { place: place.into(), expected: expected.into(), found: found.into() }
    }

    /// An option that cannot be taken: its name, what it accepts, and what it was given.
    pub fn option(option: impl Into<String>, expected: impl Into<String>, found: impl ToString) -> Error {
        Error::Option { option: option.into(), expected: expected.into(), found: found.to_string() }
    }
}

/// What is wrong with a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DeviceFault {
    /// A library, a driver, a header or the GPU itself is missing or too old.
    Unusable,
    /// Its memory does not hold what was asked for.
    Memory,
    /// It stopped answering, or gave up a computation; this process cannot use it any more.
    Lost,
}

impl fmt::Display for DeviceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeviceFault::Unusable => "cannot be used",
            DeviceFault::Memory => "has too little free memory",
            DeviceFault::Lost => "was lost",
        })
    }
}
