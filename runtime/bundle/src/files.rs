//! Files that are whole or not there, and where those lie that can be made again.
//!
//! ```
//! use edge_seg_bundle::files::{hex, replace_file};
//! # let folder = tempfile::tempdir().expect("a folder for the test");
//! # let path = folder.path().join("words.txt");
//! replace_file(&path, b"dog\ncat\n")?; // whole, or as it was before
//! assert_eq!(hex(&[0xca, 0xfe]), "cafe");
//! # assert_eq!(std::fs::read(&path).expect("the file"), b"dog\ncat\n");
//! # Ok::<(), edge_seg_bundle::Error>(())
//! ```

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A digest as manifests write it: two lower-case hexadecimal digits a byte.
pub fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// This program's folder in the user's cache folder (XDG Base Directory Specification: relative paths do not count); none without a home.
pub fn cache_folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")))?;
    Some(caches.join("edge-seg"))
}

/// Writes a file beside its final name, syncs it, renames it: no reader ever sees half of one, and a failure leaves the old one.
///
/// # Errors
/// [`Error::Io`] if the file system refuses.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    let beside = Path::new(&beside);
    let written = File::create(beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(beside, path));
    if let Err(source) = written {
        let _ = std::fs::remove_file(beside);
        return Err(Error::Io { path: path.into(), source });
    }
    // The rename itself lasts only once the folder is on disk; file systems that cannot sync a folder need no such call.
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()).or(Some(Path::new("."))) {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(())
}
