//! Whether a bundle may run here: signature, key, board and serial, before anything else of it is parsed.
//!
//! Signatures and keys are minisign's (Ed25519 over BLAKE2b-512). The signature lies in the bundle's signature area as the
//! text of a `.minisig` file; it covers [`Header::signed_message`]. Only public keys are known here.
//!
//! A key file is minisign's `.pub`. A date in its comment, `expires:2027-12-31`, is the last day on which the key may sign:
//! a signature whose own signed timestamp is later is refused, and an installer refuses the key altogether after that day.
//! A bundle that was installed in time keeps running: a camera in the field must not go dark on a date.
//!
//! ```
//! use edge_seg_bundle::trust::Trust;
//! let key = "untrusted comment: the workshop's\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n";
//! let trust = Trust::in_keys([("workshop.pub", key)])?.on_board(&["pi5"]).at_least(7);
//! # let place = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/mini.esb");
//! # let bytes = std::fs::read(place).expect("the model of this project");
//! let refused = trust.open_bytes("mini.esb", bytes).unwrap_err().to_string(); // nobody has signed it
//! assert!(refused.contains("unsigned"), "{refused}");
//! # Ok::<(), edge_seg_bundle::Error>(())
//! ```

use std::io::Read;
use std::path::{Path, PathBuf};

use minisign_verify::{PublicKey, Signature};

use crate::date::Date;
pub use crate::error::Refusal;
use crate::looks::looks_like;
use crate::{Bundle, Error, Header, Result};

const KEY_MAX_BYTES: u64 = 4096;
const DAY_SECONDS: u64 = 86_400;
/// What is read at a time to be held against a signature.
const PIECE_BYTES: usize = 1 << 17;

#[derive(Debug, Clone)]
struct TrustedKey {
    place: String,
    key: PublicKey,
    until: Option<Date>,
}

/// Trusted keys, one at least, and what else is asked of a bundle.
#[derive(Debug, Clone)]
pub struct Trust {
    keys: Vec<TrustedKey>,
    board: Vec<String>,
    floor: u64,
    day: Option<u64>,
}

impl Trust {
    /// Trust in the key file at `path`, or in all `*.pub` files of the folder there.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Key`] if a file is no key, or the folder holds none.
    pub fn read(path: &Path) -> Result<Trust> {
        let mut files: Vec<PathBuf> = Vec::new();
        if std::fs::metadata(path).map_err(Error::io(path))?.is_dir() {
            for entry in std::fs::read_dir(path).map_err(Error::io(path))? {
                let file = entry.map_err(Error::io(path))?.path();
                if file.extension().is_some_and(|ext| ext == "pub") {
                    files.push(file);
                }
            }
            files.sort();
        } else {
            files.push(path.into());
        }
        if files.is_empty() {
            return Err(key_error(path, "one or more *.pub files", "none"));
        }
        let keys = files.iter().map(|file| read_key(file)).collect::<Result<Vec<_>>>()?;
        Ok(Trust::of(keys))
    }

    /// Trust in keys that are in memory: for each a name for messages, and the text of its `.pub` file.
    ///
    /// # Errors
    /// [`Error::Key`] if one is no key, or there is none.
    pub fn in_keys<'a>(keys: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Trust> {
        let keys = keys.into_iter().map(|(place, text)| parse_key(Path::new(place), text)).collect::<Result<Vec<_>>>()?;
        if keys.is_empty() {
            return Err(key_error(Path::new("trusted keys"), "one or more", "none"));
        }
        Ok(Trust::of(keys))
    }

    fn of(keys: Vec<TrustedKey>) -> Trust {
        Trust { keys, board: Vec::new(), floor: 0, day: None }
    }

    /// Also refuses bundles whose `boards` name none of `names`; bundles that name no board fit every one.
    #[must_use]
    pub fn on_board(mut self, names: &[&str]) -> Trust {
        self.board = names.iter().map(|name| name.to_string()).collect();
        self
    }

    /// Also refuses bundles with a lower serial.
    #[must_use]
    pub fn at_least(mut self, serial: u64) -> Trust {
        self.floor = serial;
        self
    }

    /// Also refuses keys that have expired by `unix_seconds`, as an installer does. A clock that is behind the signature's own
    /// time, such as one that starts at 1970, does not count.
    #[must_use]
    pub fn installing_at(mut self, unix_seconds: u64) -> Trust {
        self.day = Some(unix_seconds / DAY_SECONDS);
        self
    }

    /// Reads a bundle, checks that it may run here, and only then parses it.
    ///
    /// # Errors
    /// [`Error::Refused`] if it may not; else as [`Bundle::open`].
    pub fn open(&self, path: &Path) -> Result<Bundle> {
        Bundle::open_if(path, |place, head| self.check(place, head))
    }

    /// As [`Self::open`], of a bundle that is in memory: from flash, a socket, an encrypted store. `place` names it in errors.
    ///
    /// # Errors
    /// [`Error::Refused`] if it may not run here; else as [`Bundle::from_bytes`].
    pub fn open_bytes(&self, place: impl Into<String>, bytes: impl Into<std::borrow::Cow<'static, [u8]>>) -> Result<Bundle> {
        Bundle::from_bytes_if(place.into(), bytes, |place, head| self.check(place, head))
    }

    /// Checks signature, key, board and serial of a bundle, of which the first bytes are enough. The blobs are not looked at:
    /// [`Bundle::from_bytes`] holds them against the digests that are signed.
    ///
    /// # Errors
    /// [`Error::Refused`] if it may not run here, [`Error::Bundle`] if the header is not one of a bundle.
    pub fn check(&self, place: &str, bytes: &[u8]) -> Result<()> {
        let refused = |why| Error::Refused { place: place.into(), why };
        let header = Header::parse(place, bytes)?;
        let area = header.signature().ok_or_else(|| refused(Refusal::Unsigned))?;
        self.check_signature(area, &header.signed_message()).map_err(refused)?;
        let manifest = header.manifest(place)?;
        if !self.board.is_empty() && !manifest.boards.is_empty() && !manifest.boards.iter().any(|board| self.board.contains(board)) {
            return Err(refused(Refusal::WrongBoard { boards: manifest.boards.join(", "), board: self.board.join(" or ") }));
        }
        if manifest.serial < self.floor {
            return Err(refused(Refusal::Downgrade { floor: self.floor, serial: manifest.serial }));
        }
        Ok(())
    }

    /// Checks the text of a `.minisig` file over `message`.
    ///
    /// # Errors
    /// All of [`Refusal`] but those that look into a manifest.
    pub fn check_signature(&self, minisig: &[u8], message: &[u8]) -> Result<(), Refusal> {
        // Memory is always read to its end.
        self.check_signature_of(minisig, message).unwrap_or_else(|error| Err(Refusal::Malformed { found: error.to_string() }))
    }

    /// As [`Self::check_signature`], over all that `message` gives, which is read in pieces and never whole.
    ///
    /// # Errors
    /// When it cannot be read; within, as [`Self::check_signature`].
    pub fn check_signature_of(&self, minisig: &[u8], mut message: impl Read) -> std::io::Result<Result<(), Refusal>> {
        let malformed = |found: &str| Ok(Err(Refusal::Malformed { found: found.into() }));
        let Ok(text) = std::str::from_utf8(minisig) else { return malformed("bytes that are not UTF-8") };
        let signature = match Signature::decode(text) {
            Ok(signature) => signature,
            Err(error) => return malformed(&error.to_string()),
        };
        // Two keys could share an id: all of them are tried.
        let mut tried = Vec::new();
        for trusted in &self.keys {
            match trusted.key.verify_stream(&signature) {
                Ok(verifier) => tried.push((trusted, verifier)),
                Err(minisign_verify::Error::UnexpectedKeyId) => {}
                Err(_) => return malformed("one of the legacy kind, without a prehash"),
            }
        }
        let places = |keys: &[TrustedKey]| keys.iter().map(|key| key.place.clone()).collect::<Vec<_>>().join(", ");
        if tried.is_empty() {
            return Ok(Err(Refusal::UnknownKey { trusted: places(&self.keys) }));
        }
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match message.read(&mut piece) {
                Ok(0) => break,
                Ok(len) => tried.iter_mut().for_each(|(_, verifier)| verifier.update(&piece[..len])),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let fits = tried.iter_mut().find_map(|(trusted, verifier)| verifier.finalize().is_ok().then_some(*trusted));
        Ok(match fits {
            Some(trusted) => self.check_day(trusted, &signature),
            None => Err(Refusal::Tampered { key: places(&self.keys) }),
        })
    }

    fn check_day(&self, trusted: &TrustedKey, signature: &Signature) -> Result<(), Refusal> {
        let Some(until) = trusted.until else { return Ok(()) };
        let expired = |found: String| Refusal::ExpiredKey { key: trusted.place.clone(), until: until.to_string(), found };
        let comment = signature.trusted_comment();
        let signed = comment.split(['\t', ' ']).find_map(|part| part.strip_prefix("timestamp:")?.parse::<u64>().ok());
        let signed = signed.ok_or_else(|| expired("a signature without a timestamp".into()))? / DAY_SECONDS;
        if signed > until.days() {
            return Err(expired(format!("a signature of {}", Date::from_days(signed))));
        }
        match self.day.filter(|day| *day > until.days()) {
            Some(day) => Err(expired(format!("an installation on {}", Date::from_days(day)))),
            None => Ok(()),
        }
    }
}

const EXPECTED_KEY: &str = "a minisign public key: a comment line and a line of base64";

fn read_key(path: &Path) -> Result<TrustedKey> {
    let file = std::fs::File::open(path).map_err(Error::io(path))?;
    let mut bytes = Vec::new();
    file.take(KEY_MAX_BYTES).read_to_end(&mut bytes).map_err(Error::io(path))?;
    let found = looks_like(&bytes);
    parse_key(path, &crate::text::decode_text(bytes).map_err(|_| key_error(path, EXPECTED_KEY, &found))?)
}

fn parse_key(path: &Path, text: &str) -> Result<TrustedKey> {
    if text.contains("secret key") {
        return Err(key_error(path, "a public key", "a secret key, which belongs on no board"));
    }
    let key = PublicKey::decode(text.trim_end())
        .map_err(|error| key_error(path, EXPECTED_KEY, &format!("{} ({error})", looks_like(text.as_bytes()))))?;
    let comment = key.untrusted_comment().unwrap_or_default();
    let until = match comment.split_whitespace().find_map(|word| word.strip_prefix("expires:")) {
        None => None,
        Some(date) => Some(Date::parse(date).ok_or_else(|| key_error(path, "expires:YYYY-MM-DD", &format!("expires:{date}")))?),
    };
    Ok(TrustedKey { place: path.display().to_string(), key, until })
}

fn key_error(path: &Path, expected: &str, found: &str) -> Error {
    Error::Key { path: path.into(), expected: expected.into(), found: found.into() }
}
