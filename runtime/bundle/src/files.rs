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

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
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

/// Writes a file beside its final name, syncs it, renames it: no reader ever sees half of one, and a failure leaves the old one. What a
/// process that was killed left beside the same name goes.
///
/// # Errors
/// [`Error::Io`] if the file system refuses.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    put(path, bytes, 0o666, |beside| std::fs::rename(beside, path))
}

/// As [`replace_file`], for its owner alone, and never over a file that is there.
///
/// # Errors
/// [`Error::Io`] if the file system refuses, or there is one.
pub fn create_private_file(path: &Path, bytes: &[u8]) -> Result<()> {
    put(path, bytes, 0o600, |beside| {
        std::fs::hard_link(beside, path)?;
        let _ = std::fs::remove_file(beside);
        Ok(())
    })
}

fn put(path: &Path, bytes: &[u8], mode: u32, name: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    sweep_beside(path);
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    let beside = Path::new(&beside);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| name(beside));
    if let Err(source) = written {
        let _ = std::fs::remove_file(beside);
        return Err(Error::Io { path: path.into(), source });
    }
    // The name itself lasts only once the folder is on disk; file systems that cannot sync a folder need no such call.
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
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
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

/// What a name in a folder leads to; none where that is gone. A disk that does not answer has not said that it is none of what is looked
/// for, and leaving it out would be a wrong answer.
///
/// # Errors
/// [`Error::Io`] if the system does not tell.
pub fn about(path: &Path) -> Result<Option<std::fs::Metadata>> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        about => about.map(Some).map_err(Error::io(path)),
    }
}

/// A reader that signals do not interrupt: it is asked again. Decoders of others take an interrupted call for the end of what they can read.
#[derive(Debug)]
pub struct Steady<R>(pub R);

impl<R: Read> Read for Steady<R> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.0.read(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl<R: Seek> Seek for Steady<R> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.0.seek(to)
    }
}

/// The folder that a file is in; `.` for a name alone.
pub fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether what has this name is an open file, and not another that took its place since, or nothing.
///
/// # Errors
/// When the system does not tell which file is open, or what has the name.
pub fn has_name(file: &File, name: &Path) -> std::io::Result<bool> {
    let open = file.metadata()?;
    match std::fs::metadata(name) {
        Ok(there) => Ok((there.dev(), there.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes what [`replace_file`] left in a folder when its process was killed: files beside others whose process is gone. Young ones
/// stay, for a process of another container is not seen here.
pub fn sweep_parts(folder: &Path) {
    for part in left_in(folder) {
        let _ = std::fs::remove_file(part);
    }
}

fn left_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let left = entries.flatten().filter(|entry| {
        let is_gone = entry.file_name().to_str().is_some_and(is_left_over);
        let age = entry.metadata().ok().filter(std::fs::Metadata::is_file).and_then(|about| about.modified().ok()?.elapsed().ok());
        is_gone && age.is_some_and(|age| age > SETTLED)
    });
    left.map(|entry| entry.path()).collect()
}

/// As [`sweep_parts`], of one file's name alone: others' files in a folder that is not this program's may have such endings.
fn sweep_beside(path: &Path) {
    /// What was left in each folder when this process first wrote there: thousands of files may follow, and the folder is listed once.
    static LEFT: Mutex<BTreeMap<PathBuf, Vec<PathBuf>>> = Mutex::new(BTreeMap::new());
    let folder = folder_of(path);
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    if !left.contains_key(folder) {
        left.insert(folder.into(), left_in(folder));
    }
    let Some(parts) = left.get_mut(folder) else { return };
    // NAME.PID.part without its last two endings.
    let name_of = |part: &Path| Some(Path::new(part.file_stem()?).file_stem()?.to_owned());
    parts.retain(|part| {
        let is_of_it = name_of(part).as_deref() == path.file_name();
        if is_of_it {
            let _ = std::fs::remove_file(part);
        }
        !is_of_it
    });
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
        // Whoever writes a file alone removes what was left of that one.
        for name in ["f.png", "g.png"] {
            write(format!("{name}.{dead}.part"), true);
        }
        replace_file(&folder.path().join("f.png"), b"whole").unwrap();
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!names.contains(&format!("f.png.{dead}.part").into()) && names.contains(&format!("g.png.{dead}.part").into()), "{names:?}");
    }

    #[test]
    fn a_private_file_is_whole_and_over_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create_private_file(&path, b"one").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(create_private_file(&path, b"two").is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_steady_reader_is_interrupted_by_nothing() {
        struct Interrupted(u8);
        impl Read for Interrupted {
            fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
                self.0 += 1;
                if !self.0.is_multiple_of(3) { Err(ErrorKind::Interrupted.into()) } else { self.0.to_le_bytes().as_slice().read(bytes) }
            }
        }
        let mut found = [0];
        assert_eq!(Steady(Interrupted(0)).read(&mut found).unwrap(), 1);
        assert_eq!(found, [3]);
    }

    #[test]
    fn a_name_that_cannot_be_asked_for_is_not_taken_for_another_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join("a")).unwrap();
        assert!(has_name(&file, &folder.path().join("a")).unwrap());
        assert!(!has_name(&file, &folder.path().join("b")).unwrap());
        // What is below a file cannot be asked for; this stands for a disk that answers with an error.
        assert!(has_name(&file, &folder.path().join("a/b")).is_err());
    }
}
