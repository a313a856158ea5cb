//! What the slots need of a file system: few calls, so that a test can stand in for one that loses power.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A file system. Nothing that was written or renamed is sure to last before it is synced.
pub trait Disk {
    /// Reads a whole file, from the disk and not from memory where the system allows it.
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>>;
    /// Creates or empties a file and writes `bytes`.
    fn write(&mut self, path: &Path, bytes: &[u8], executable: bool) -> io::Result<()>;
    /// Makes a file's bytes last.
    fn sync_file(&mut self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder last.
    fn sync_folder(&mut self, path: &Path) -> io::Result<()>;
    /// Renames, replacing what is there, in one step.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes a symbolic link.
    fn link(&mut self, target: &Path, path: &Path) -> io::Result<()>;
    /// Where a symbolic link points.
    fn read_link(&mut self, path: &Path) -> io::Result<PathBuf>;
    /// Removes a file or a link; it need not be there.
    fn remove(&mut self, path: &Path) -> io::Result<()>;
    /// Makes a folder and those above it; it may be there.
    fn make_folder(&mut self, path: &Path) -> io::Result<()>;
    /// Names in a folder; none when there is no such folder.
    fn list(&mut self, path: &Path) -> io::Result<Vec<String>>;
    /// Bytes that can still be written.
    fn free_bytes(&mut self, path: &Path) -> io::Result<u64>;
}

/// The system's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        // A read-back that is answered from memory proves nothing about the card; not every file system listens.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&mut self, path: &Path, bytes: &[u8], executable: bool) -> io::Result<()> {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        let mode = if executable { 0o755 } else { 0o644 };
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)
    }

    fn sync_file(&mut self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&mut self, target: &Path, path: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(target, path)
    }

    fn read_link(&mut self, path: &Path) -> io::Result<PathBuf> {
        fs::read_link(path)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn make_folder(&mut self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&mut self, path: &Path) -> io::Result<Vec<String>> {
        match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
            Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        }
    }

    fn free_bytes(&mut self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}
