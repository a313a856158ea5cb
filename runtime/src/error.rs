use std::path::PathBuf;

/// Everything that can go wrong in this crate. The message says what was expected, what was found, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A bundle breaks its format, or holds contents that do not fit together.
    #[error("bundle {place}: {part}: expected {expected}, found {found}")]
    Bundle {
        /// The bundle's path, or `built-in`.
        place: String,
        /// The header, a manifest key, or a blob.
        part: String,
        /// What the format asks for.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A bundle is not trusted here.
    #[error("bundle {place}: {why}")]
    Refused {
        /// The bundle's path.
        place: String,
        /// Why it is not.
        why: crate::trust::Refusal,
    },
    /// A file of trusted keys cannot be used.
    #[error("{path}: expected {expected}, found {found}", path = path.display())]
    Key {
        /// The file or folder.
        path: PathBuf,
        /// What is accepted.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A picture cannot be decoded.
    #[error("{place}: not a picture that can be read: {found}; expected a whole JPEG, PNG, WebP, BMP, TIFF or GIF")]
    Picture {
        /// The picture's path.
        place: String,
        /// What the decoder said.
        found: String,
    },
    /// A source of frames, or the program that reads or writes video, does not work.
    #[error("{uri}: {fault}")]
    Source {
        /// The source's name, without passwords.
        uri: String,
        /// What is wrong with it.
        fault: crate::source::Fault,
    },
    /// Words, or a file of words, cannot be used.
    #[error("{place}: expected {expected}, found {found}")]
    Words {
        /// The option, or the file and line.
        place: String,
        /// What is accepted.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A file of rules cannot be used.
    #[error("{place}: expected {expected}, found {found}")]
    Rules {
        /// The file and the line, zone or rule.
        place: String,
        /// What is accepted.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A broker, a web hook or a display does not work.
    #[error("{place}: {found}")]
    Sink {
        /// The sink's name, without passwords.
        place: String,
        /// What is wrong with it.
        found: String,
    },
    /// A tensor has the wrong shape or holds numbers that cannot be used.
    #[error("{what}: expected {expected}, found {found}")]
    Tensor {
        /// The tensor.
        what: String,
        /// The shape or range that is needed.
        expected: String,
        /// What is there.
        found: String,
    },
    /// An encoder cannot be loaded or run.
    #[error("{encoder} encoder: {source}")]
    Encoder {
        /// `image` or `text`.
        encoder: &'static str,
        /// What the engine said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A GPU that was asked for cannot be used, or failed.
    #[error("{device} {fault}: {found}; to mend it: {fix}")]
    Device {
        /// The device, as `--device` names it.
        device: &'static str,
        /// What is wrong with it.
        fault: crate::device::DeviceFault,
        /// What is missing, or what the device said.
        found: String,
        /// What mends it.
        fix: String,
    },
    /// An option is out of its range, or names something that this machine or build lacks.
    #[error("{option}: expected {expected}, found {found}")]
    Option {
        /// The option.
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
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }
}
