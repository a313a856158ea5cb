//! Where a bundle's bytes are.

use std::borrow::Cow;
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::error::{bundle_error, cut_off};
use crate::files::hex;
use crate::{Error, Result};

/// Largest bundle that is read.
pub const BUNDLE_MAX_BYTES: u64 = 4 << 30;

/// A bundle's bytes: in memory, or in a file whose parts are read when they are asked for.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Memory(Cow<'static, [u8]>),
    File { file: Arc<Mutex<File>>, path: PathBuf, len: u64, changed: Option<SystemTime> },
}

/// A file that changed so shortly before it was opened may change again without its time of change telling.
const SETTLED: Duration = Duration::from_secs(2);

/// When a file's bytes or attributes last changed, which no program but the system's own can set.
#[cfg(unix)]
fn changed(meta: &Metadata) -> Option<SystemTime> {
    use std::os::unix::fs::MetadataExt;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(meta.ctime().try_into().ok()?, meta.ctime_nsec().try_into().ok()?))
}

#[cfg(not(unix))]
fn changed(_: &Metadata) -> Option<SystemTime> {
    None
}

/// What is read at a time to be digested, while it is in the cache.
const PIECE: u64 = 1 << 18;

impl Content {
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened, [`Error::Bundle`] if it is no regular file or too large.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let meta = file.metadata().map_err(Error::io(path))?;
        let place = path.display().to_string();
        if !meta.is_file() {
            return Err(bundle_error(&place, "file", "a regular file", "a folder or a device"));
        }
        if meta.len() > BUNDLE_MAX_BYTES {
            return Err(bundle_error(&place, "file", format!("at most {BUNDLE_MAX_BYTES} bytes"), format!("{} bytes", meta.len())));
        }
        let settled = |changed: &SystemTime| changed.elapsed().is_ok_and(|age| age > SETTLED);
        let changed = changed(&meta).filter(settled);
        Ok(Self::File { file: Arc::new(Mutex::new(file)), path: path.into(), len: meta.len(), changed })
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    /// The bytes of a range, which lies within the length.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Bundle`] if it has become shorter.
    pub(crate) fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>> {
        match self {
            Self::Memory(bytes) => Ok(Cow::Borrowed(&bytes[range.start as usize..range.end as usize])),
            Self::File { .. } => {
                let mut bytes = Vec::new();
                self.piece(range, &mut bytes)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// As [`read`](Self::read), into `buffer` where the bytes are not in memory.
    pub(crate) fn piece<'b>(&'b self, range: Range<u64>, buffer: &'b mut Vec<u8>) -> Result<&'b [u8]> {
        let (file, path) = match self {
            Self::Memory(bytes) => return Ok(&bytes[range.start as usize..range.end as usize]),
            Self::File { file, path, .. } => (file, path),
        };
        let count = (range.end - range.start) as usize;
        if buffer.len() < count {
            *buffer = vec![0; count];
        }
        buffer.truncate(count);
        let mut file = file.lock().unwrap_or_else(|e| e.into_inner());
        file.seek(SeekFrom::Start(range.start)).map_err(Error::io(path))?;
        let mut filled = 0;
        while filled < count {
            match file.read(&mut buffer[filled..]) {
                Ok(0) => {
                    let expected = format!("{count} bytes from {}", range.start);
                    return Err(bundle_error(&path.display().to_string(), "file", expected, cut_off(filled as u64)));
                }
                Ok(more) => filled += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(path)(error)),
            }
        }
        Ok(buffer)
    }

    /// Whether the bytes may be others than when they were opened.
    pub(crate) fn may_have_changed(&self) -> bool {
        match self {
            Self::Memory(_) => false,
            Self::File { file, changed: then, .. } => {
                let meta = file.lock().unwrap_or_else(|e| e.into_inner()).metadata();
                then.is_none() || meta.ok().as_ref().and_then(changed) != *then
            }
        }
    }

    /// SHA-256 of a range, as [`read`](Self::read) has it.
    pub(crate) fn digest(&self, range: Range<u64>) -> Result<String> {
        let mut digest = Sha256::new();
        let mut buffer = Vec::new();
        for start in range.clone().step_by(PIECE as usize) {
            digest.update(self.piece(start..range.end.min(start + PIECE), &mut buffer)?);
        }
        Ok(hex(&digest.finalize()))
    }
}
