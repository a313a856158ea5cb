//! The library's errors as Python's exceptions, and calls in a process that has no threads of the library any more.

use std::borrow::Cow;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use edge_seg::{ModelError, bundle};
use edge_seg_export::Error as Export;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyOSError};
use pyo3::prelude::*;

create_exception!(
    edge_seg,
    EdgeSegError,
    PyException,
    "What edge_seg raises. The message says what was expected, what was found, and where."
);
create_exception!(edge_seg, BundleError, EdgeSegError, "A bundle, or a file of keys, cannot be used, or may not run here.");
create_exception!(edge_seg, ImageError, EdgeSegError, "A picture cannot be read, or an array is none.");
create_exception!(edge_seg, WordsError, EdgeSegError, "Words cannot be used.");
create_exception!(edge_seg, OptionError, EdgeSegError, "An option is out of its range, or names what this machine or build lacks.");
create_exception!(edge_seg, EncoderError, EdgeSegError, "An encoder cannot be loaded or run.");
create_exception!(edge_seg, DeviceError, EdgeSegError, "A GPU that was asked for cannot be used, or failed.");
create_exception!(edge_seg, SourceError, EdgeSegError, "A source of frames, or the program that reads it, does not work.");
create_exception!(edge_seg, RulesError, EdgeSegError, "Rules cannot be used.");
create_exception!(
    edge_seg,
    DataError,
    EdgeSegError,
    "Labels, tables of classes or captions, the record of a run, or an index, cannot be used."
);
create_exception!(
    edge_seg,
    ForkedError,
    EdgeSegError,
    "The process was forked from one that made the object, whose threads did not come with it."
);

/// A file that cannot be read or written is Python's own `OSError`, such as `FileNotFoundError`.
pub fn io(source: &std::io::Error, path: &Path) -> PyErr {
    match source.raw_os_error() {
        // With number, text and path Python chooses the class.
        Some(number) => {
            let text = source.to_string();
            let text = text.split(" (os error").next().unwrap_or_default().to_owned();
            PyOSError::new_err((number, text, path.as_os_str().to_owned()))
        }
        None => PyOSError::new_err(format!("{}: {source}", path.display())),
    }
}

/// The exception for an error.
pub fn raised(error: impl Into<edge_seg::Error>) -> PyErr {
    error.into().raised()
}

fn of_model(error: &ModelError) -> PyErr {
    let said = error.to_string();
    match error {
        ModelError::Io { path, source } | ModelError::Bundle(bundle::Error::Io { path, source }) => io(source, path),
        ModelError::Bundle(_) => BundleError::new_err(said),
        ModelError::Picture { .. } | ModelError::Tensor { .. } => ImageError::new_err(said),
        ModelError::Words { .. } => WordsError::new_err(said),
        ModelError::Encoder { .. } => EncoderError::new_err(said),
        ModelError::Device { .. } => DeviceError::new_err(said),
        ModelError::Forked { .. } => ForkedError::new_err(said),
        // Its name has a unit in Rust and in C.
        ModelError::Option { option, expected, found } if option == "size_px" => self::option("size", expected, found),
        ModelError::Option { .. } => OptionError::new_err(brief(&said).into_owned()),
        _ => EdgeSegError::new_err(said),
    }
}

fn of_live(error: &edge_seg::Error) -> PyErr {
    let said = error.to_string();
    match error {
        edge_seg::Error::Model(model) => of_model(model),
        edge_seg::Error::Source { .. } => SourceError::new_err(said),
        edge_seg::Error::Rules { .. } => RulesError::new_err(said),
        _ => EdgeSegError::new_err(said),
    }
}

/// An error of one of the libraries.
pub trait Raised {
    fn raised(&self) -> PyErr;
}

impl Raised for edge_seg::Error {
    fn raised(&self) -> PyErr {
        of_live(self)
    }
}

impl Raised for ModelError {
    fn raised(&self) -> PyErr {
        of_model(self)
    }
}

impl Raised for bundle::Error {
    fn raised(&self) -> PyErr {
        match self {
            Self::Io { path, source } => io(source, path),
            other => BundleError::new_err(other.to_string()),
        }
    }
}

impl Raised for Export {
    fn raised(&self) -> PyErr {
        match self {
            Self::Runtime(error) => of_model(error),
            Self::Io { path, source } => io(source, path),
            Self::Option { .. } => OptionError::new_err(brief(&as_arguments(&self.to_string())).into_owned()),
            Self::File { .. } => DataError::new_err(as_arguments(&self.to_string())),
            _ => EdgeSegError::new_err(as_arguments(&self.to_string())),
        }
    }
}

/// A message of the program's libraries, in which options have the names of its own: `--word-thresholds` is the argument word_thresholds.
fn as_arguments(said: &str) -> String {
    let mut parts = said.split("--");
    let mut told = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_flag =
            part.starts_with(|c: char| c.is_ascii_lowercase()) && !told.ends_with(|c: char| c.is_alphanumeric() || "-/".contains(c));
        if !is_flag {
            told.push_str("--");
            told.push_str(part);
            continue;
        }
        let end = part.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(part.len());
        // The one that is called otherwise.
        let name = if &part[..end] == "format" { "formats" } else { &part[..end] };
        told.push_str(&name.replace('-', "_"));
        told.push_str(&part[end..]);
    }
    told
}

/// Turns a result's error into its exception.
pub trait OrRaise<T> {
    fn or_raise(self) -> PyResult<T>;
}

impl<T, E: Raised> OrRaise<T> for Result<T, E> {
    fn or_raise(self) -> PyResult<T> {
        self.map_err(|error| error.raised())
    }
}

/// An option that cannot be taken.
pub fn option(name: &str, expected: &str, found: impl std::fmt::Display) -> PyErr {
    OptionError::new_err(brief(&format!("{name}: expected {expected}, found {found}")).into_owned())
}

/// A message that somebody reads: what was given may be of any length, and stands last.
pub fn brief(given: &str) -> Cow<'_, str> {
    const MOST: usize = 400;
    match given.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}... of {} characters", &given[..at], given.chars().count()).into(),
        None => given.into(),
    }
}

/// The process that something with threads was made in.
#[derive(Debug, Clone, Copy)]
pub struct Home(u32);

impl Home {
    pub fn here() -> Self {
        Self(std::process::id())
    }

    /// # Errors
    /// [`ForkedError`] in a child that was forked later.
    pub fn check(self, what: &str) -> PyResult<()> {
        if self.0 == std::process::id() {
            return Ok(());
        }
        Err(ForkedError::new_err(format!(
            "{what}: expected the process {} that made it, found {}, which was forked from that one and has none of its threads; \
             try: make it after the fork, or start processes with multiprocessing's \"spawn\"",
            self.0,
            std::process::id()
        )))
    }
}

/// The first process that read video: it started threads that are the whole process's, and a fork leaves those behind for good.
static VIDEO: AtomicU32 = AtomicU32::new(0);

/// # Errors
/// [`ForkedError`] where the process was forked from one that had read video already.
pub fn video_here(what: &str) -> PyResult<Home> {
    let here = Home::here();
    match VIDEO.compare_exchange(0, here.0, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => Ok(here),
        Err(first) => Home(first).check(what).map(|()| here),
    }
}

/// A whole number that Python gave.
pub fn whole<T: TryFrom<i64>>(name: &str, given: i64) -> PyResult<T> {
    T::try_from(given).map_err(|_| option(name, "a whole number of 0 or more", given))
}
