use std::path::{Path, PathBuf};

use crate::text::{shown, shown_lines};

/// Why a bundle, or a file of keys, cannot be used. The message says what was expected, what was found, and where.
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
    /// A bundle breaks its format, or holds contents that do not fit together.
    #[error("bundle {place}: {part}: expected {expected}, found {found}{remedy}", place = shown(place), part = shown(part), expected = shown_lines(expected), found = shown_lines(found), remedy = remedy(found))]
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
    #[error("bundle {place}: {why}", place = shown(place), why = shown_lines(&why.to_string()))]
    Refused {
        /// The bundle's path.
        place: String,
        /// Why it is not.
        why: Refusal,
    },
    /// A file of trusted keys cannot be used.
    #[error("{path}: expected {expected}, found {found}; try: the .pub file that edge-seg-fw keygen or minisign -G has written", path = shown(&path.to_string_lossy()), expected = shown_lines(expected), found = shown_lines(found))]
    Key {
        /// The file or folder.
        path: PathBuf,
        /// What is accepted.
        expected: String,
        /// What is there.
        found: String,
    },
    /// What is to be written would replace something else.
    #[error("{path}: expected a new file or another bundle, found {found}; try: another name, such as {free}", path = shown(&path.to_string_lossy()), free = shown(&free_name(path)))]
    Taken {
        /// The file that was to be written.
        path: PathBuf,
        /// What lies there.
        found: String,
    },
    /// This build carries no model.
    #[error("no model in this build (the feature `mini` is off): open a bundle file")]
    NoModel,
}

/// This crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A name beside `path` that nothing has.
fn free_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut names = (2..).map(|number| path.with_file_name(format!("{stem}-{number}.esb")));
    names.find(|name| !name.exists()).unwrap_or_default().display().to_string()
}

impl Error {
    /// Turns what the file system said of `path` into an error that names it.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }
}

/// Why a bundle may not run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The signature area is empty.
    #[error("unsigned: expected a signature by one of the trusted keys, found none; try: edge-seg-fw sign")]
    Unsigned,
    /// The signature area holds something that is no signature.
    #[error("the signature cannot be read: expected the text of a .minisig file, found {found}; try: edge-seg-fw sign")]
    Malformed {
        /// What is wrong with it.
        found: String,
    },
    /// Signed, but by nobody who is trusted here.
    #[error(
        "unknown key: expected a signature by one of {trusted}, found one by another key; try: edge-seg-fw sign with one of these, or the signer's .pub file among them"
    )]
    UnknownKey {
        /// The trusted keys' files.
        trusted: String,
    },
    /// The signature does not fit the bundle.
    #[error("tampered: the signature by {key} does not fit the bundle's header and manifest; try: fetch it again from who signed it")]
    Tampered {
        /// The key's file.
        key: String,
    },
    /// The key was no longer valid.
    #[error(
        "expired key: {key} was valid until {until}, found {found}; try: edge-seg-fw sign with a key that is valid, whose .pub file is trusted"
    )]
    ExpiredKey {
        /// The key's file.
        key: String,
        /// The last valid day.
        until: String,
        /// A signature's or an installation's day.
        found: String,
    },
    /// The bundle is for other boards.
    #[error("wrong board: the bundle is for {boards}, this board is {board}; try: a bundle for it, as edge-seg-fw pack makes one")]
    WrongBoard {
        /// What the manifest lists.
        boards: String,
        /// This board's names.
        board: String,
    },
    /// The bundle is older than what ran here.
    #[error("downgrade: expected serial {floor} or higher, found {serial}; try: a newer bundle, or a lower serial to ask for")]
    Downgrade {
        /// The lowest serial that is accepted.
        floor: u64,
        /// The manifest's.
        serial: u64,
    },
}

pub(crate) fn bundle_error(place: &str, part: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::Bundle { place: place.into(), part: part.into(), expected: expected.into(), found: found.into() }
}

/// What to try with a bundle that breaks its format, where what was found of it does not say so.
fn remedy(found: &str) -> &'static str {
    if found.contains("again") || found.contains("to make a bundle") { "" } else { "; try: copy or fetch it again, or make it again" }
}

/// What is found of a file that ends too early.
pub(crate) fn cut_off(left: u64) -> String {
    format!("{left} bytes before the end of the file: it is cut off; copy or fetch it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_ends_with_what_to_try() {
        let text = || "x".to_owned();
        for refusal in [
            Refusal::Unsigned,
            Refusal::Malformed { found: text() },
            Refusal::UnknownKey { trusted: text() },
            Refusal::Tampered { key: text() },
            Refusal::ExpiredKey { key: text(), until: text(), found: text() },
            Refusal::WrongBoard { boards: text(), board: text() },
            Refusal::Downgrade { floor: 2, serial: 1 },
        ] {
            let said = Error::Refused { place: "a.esb".into(), why: refusal }.to_string();
            assert_eq!(said.matches("; try: ").count(), 1, "{said}");
        }
    }

    #[test]
    fn a_broken_bundle_is_told_what_to_do_with_once() {
        for found in ["other bytes".to_owned(), cut_off(7)] {
            let said = bundle_error("a.esb", "manifest", "JSON", found).to_string();
            assert_eq!(said.matches("fetch it again").count(), 1, "{said}");
        }
    }
}
