use std::path::PathBuf;

/// Why a bundle, or a file of keys, cannot be used. The message says what was expected, what was found, and where.
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
    /// This build carries no model.
    #[error("no model in this build (the feature `mini` is off): open a bundle file")]
    NoModel,
}

/// This crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Turns what the file system said of `path` into an error that names it.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }
}
