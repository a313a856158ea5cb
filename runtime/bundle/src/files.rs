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
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::looks::{MAGIC, looks_like};
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
    let _ = File::open(folder_of(path)).and_then(|folder| folder.sync_all());
    Ok(())
}

/// Whether a bundle, or the part of one that is signed, may be written to `path`: nothing else is lost by it, nor `input`, which it is
/// made from.
///
/// # Errors
/// [`Error::Taken`] when something else lies there, [`Error::Io`] when it cannot be read.
pub fn check_bundle_output(path: &Path, input: Option<&Path>) -> Result<()> {
    let meta = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        meta => meta.map_err(Error::io(path))?,
    };
    let taken = |found: &str| Err(Error::Taken { path: path.into(), found: found.into() });
    if input.is_some_and(|input| std::fs::metadata(input).is_ok_and(|input| (input.dev(), input.ino()) == (meta.dev(), meta.ino()))) {
        return taken("the file that it is made from");
    }
    if !meta.is_file() {
        return taken(if meta.is_dir() { "a folder" } else { "a device or a pipe" });
    }
    let mut start = Vec::new();
    File::open(path).and_then(|file| file.take(4096).read_to_end(&mut start)).map_err(Error::io(path))?;
    if start.starts_with(&MAGIC) { Ok(()) } else { taken(&looks_like(&start)) }
}

/// The folder that a file is in; `.` for a name alone.
pub fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether what has this name is an open file, and not another that took its place since, or nothing.
///
/// # Errors
/// When the system does not tell which file is open.
pub fn has_name(file: &File, name: &Path) -> std::io::Result<bool> {
    let open = file.metadata()?;
    Ok(std::fs::metadata(name).is_ok_and(|there| (there.dev(), there.ino()) == (open.dev(), open.ino())))
}

/// Removes what [`replace_file`] left in a folder when its process was killed: files beside others whose process is gone. Young ones
/// stay, for a process of another container is not seen here.
pub fn sweep_parts(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let is_gone = entry.file_name().to_str().is_some_and(is_left_over);
        let age = entry.metadata().ok().filter(std::fs::Metadata::is_file).and_then(|about| about.modified().ok()?.elapsed().ok());
        if is_gone && age.is_some_and(|age| age > SETTLED) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Whether a file of this name, `NAME.PID.part`, was being written by a process that is no more.
pub fn is_left_over(name: &str) -> bool {
    let owner = name.strip_suffix(".part").and_then(|rest| rest.rsplit_once('.')).and_then(|(_, owner)| owner.parse::<u32>().ok());
    let processes = Path::new("/proc/self").exists();
    owner.is_some_and(|owner| processes && owner != std::process::id() && !Path::new("/proc").join(owner.to_string()).exists())
}

/// No file takes this long to be written.
const SETTLED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let dead = u32::MAX;
        let old = std::time::SystemTime::now() - Duration::from_secs(3600);
        let write = |name: String, old_enough: bool| {
            let file = File::create(folder.path().join(name)).unwrap();
            if old_enough {
                file.set_modified(old).unwrap();
            }
        };
        write(format!("a.png.{dead}.part"), true);
        write(format!("b.png.{dead}.part"), false);
        write(format!("c.png.{}.part", std::process::id()), true);
        write("d.png".into(), true);
        write("e.part".into(), true);
        sweep_parts(folder.path());
        assert!(!folder.path().join(format!("a.png.{dead}.part")).exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
    }
}
