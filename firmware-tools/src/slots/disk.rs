//! What the slots need of a file system: few calls, so that a test can stand in for one that loses power.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use edge_seg_bundle::files::hex;
use rustix::fs::{AtFlags, Gid, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

/// Who may do what with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Everybody may read it.
    Plain,
    /// Everybody may run it.
    Program,
    /// Its owner and the service may read it: it may hold passwords.
    Private,
}

/// A file system. Nothing that was written or renamed is sure to last before it is synced.
pub trait Disk {
    /// Reads a whole file.
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>>;
    /// Length and SHA-256 of a file, read from the disk and not from memory where the system allows it.
    fn digest(&mut self, path: &Path) -> io::Result<(u64, String)> {
        let bytes = self.read(path)?;
        Ok((bytes.len() as u64, hex(&Sha256::digest(&bytes))))
    }
    /// Creates a file, in place of one that is there, with all that `source` gives.
    fn write(&mut self, path: &Path, source: &mut dyn Read, kind: Kind) -> io::Result<()>;
    /// Gives a file a second name, so that it takes no more room; not every file system can.
    fn share(&mut self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
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
    /// Puts a small file that everybody may read in place of the one that is there, in one step that lasts.
    fn replace(&mut self, path: &Path, mut bytes: &[u8]) -> io::Result<()> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(io::ErrorKind::InvalidInput.into()) };
        let beside = folder.join(format!("{}.new", name.to_string_lossy()));
        self.remove(&beside)?;
        self.write(&beside, &mut bytes, Kind::Plain)?;
        self.sync_file(&beside)?;
        self.rename(&beside, path)?;
        self.sync_folder(folder)
    }
}

/// The system's own, below a folder that is root's or the caller's and that nobody else may write. Whatever lies below is opened by
/// descriptor from there, a name at a time, and no link is followed: what another user could have put there is refused.
#[derive(Debug, Clone)]
pub struct RealDisk {
    root: PathBuf,
    /// Who may read private files beside their owner.
    group: Option<u32>,
}

const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FOLDER: OFlags = READ.union(OFlags::DIRECTORY);
const WRITABLE_BY_OTHERS: u32 = 0o022;
const FOLDER_MODE: u32 = 0o755;

impl RealDisk {
    /// Below `root`, which need not exist.
    pub fn below(root: impl Into<PathBuf>) -> RealDisk {
        RealDisk { root: root.into(), group: None }
    }

    /// With a group that may read private files.
    #[must_use]
    pub fn shared_with(self, group: Option<u32>) -> RealDisk {
        RealDisk { group, ..self }
    }

    /// Opens a file for reading, without following a link and without waiting for anybody.
    ///
    /// # Errors
    /// When it is not there, is no plain file, or somebody else could have written it.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        let (folder, name) = self.place(path)?;
        let file = rustix::fs::openat(&folder, name, READ | OFlags::NONBLOCK, Mode::empty());
        let file = File::from(file.map_err(|error| of_link(path, error, false))?);
        trusted(path, &file, false)?;
        Ok(file)
    }

    /// Opens a file that locks are taken on, and makes it where it is not there. Who can open it can hold every change up, so nobody else can.
    ///
    /// # Errors
    /// As [`RealDisk::open`].
    pub fn open_lock(&self, path: &Path) -> io::Result<File> {
        let (folder, name) = self.place(path)?;
        let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o600));
        let file = File::from(file.map_err(|error| of_link(path, error, false))?);
        trusted(path, &file, false)?;
        if file.metadata()?.mode() & 0o077 != 0 {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
        Ok(file)
    }

    /// The folder at a path, the root itself included.
    fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let below = path.strip_prefix(&self.root).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // The root's own name is the operator's or the package's; links above it are theirs too.
        let mut found = File::from(rustix::fs::open(&self.root, folder, Mode::empty())?);
        let mut at = self.root.clone();
        trusted(&at, &found, true)?;
        for part in below.components() {
            let Component::Normal(name) = part else { return Err(io::ErrorKind::InvalidInput.into()) };
            at.push(name);
            found = File::from(rustix::fs::openat(&found, name, FOLDER, Mode::empty()).map_err(|error| of_link(&at, error, true))?);
            trusted(&at, &found, true)?;
        }
        Ok(found.into())
    }

    fn place<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a std::ffi::OsStr)> {
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Ok((self.folder(parent)?, name)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn is_below(&self, path: &Path) -> bool {
        path.starts_with(&self.root)
    }
}

/// The kernel's words for a link that is not followed name a loop, or something that is no folder.
fn of_link(path: &Path, error: Errno, folder: bool) -> io::Error {
    match (matches!(error, Errno::LOOP | Errno::NOTDIR), folder) {
        (false, _) => error.into(),
        (true, true) => {
            io::Error::other(format!("{}: expected a folder of its own, found a link or something else ({error})", path.display()))
        }
        (true, false) => io::Error::other(format!("{}: expected a plain file, found a link, and none is followed there", path.display())),
    }
}

/// A file's kind in words.
pub(crate) fn kind_of(meta: &fs::Metadata) -> &'static str {
    let kind = meta.file_type();
    match () {
        () if kind.is_dir() => "a folder",
        () if kind.is_file() => "a plain file",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }
}

/// Holds a file or folder to be nobody's but root's or the caller's.
fn trusted(path: &Path, file: &File, folder: bool) -> io::Result<()> {
    let meta = file.metadata()?;
    let wrong = |expected: &str, found: String| Err(io::Error::other(format!("{}: expected {expected}, found {found}", path.display())));
    if meta.is_dir() != folder || !(meta.is_dir() || meta.is_file()) {
        return wrong(if folder { "a folder" } else { "a plain file" }, kind_of(&meta).into());
    }
    let owner = meta.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return wrong(
            "root's, for releases run with what lies there",
            format!("user {owner}'s; mend it with: sudo dpkg-reconfigure edge-seg, and install the release again"),
        );
    }
    if meta.mode() & WRITABLE_BY_OTHERS != 0 {
        return wrong("what its owner alone may write", format!("mode {:04o}; mend it with: sudo chmod go-w", meta.mode() & 0o7777));
    }
    Ok(())
}

impl Disk for RealDisk {
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn digest(&mut self, path: &Path) -> io::Result<(u64, String)> {
        let file = self.open(path)?;
        // A read-back that is answered from memory proves nothing about the card; not every file system listens.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        digest_of(file)
    }

    fn write(&mut self, path: &Path, source: &mut dyn Read, kind: Kind) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        // A new file always: one that is there may be open, or have another name in the other slot.
        self.remove(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o600))?);
        let mut group = None;
        if kind == Kind::Private && rustix::process::geteuid().is_root() {
            group = self.group;
        }
        if let Some(group) = group {
            rustix::fs::fchown(&file, None, Some(Gid::from_raw(group)))?;
        }
        // The caller's umask has no say: the service must be able to read it.
        file.set_permissions(fs::Permissions::from_mode(match kind {
            Kind::Plain => 0o644,
            Kind::Program => 0o755,
            Kind::Private if group.is_some() => 0o640,
            Kind::Private => 0o600,
        }))?;
        io::copy(source, &mut file)?;
        file.flush()
    }

    fn share(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        // Opening it checks whose it is.
        self.open(from)?;
        let ((from, name), (to, new)) = (self.place(from)?, self.place(to)?);
        Ok(rustix::fs::linkat(&from, name, &to, new, AtFlags::empty())?)
    }

    fn sync_file(&mut self, path: &Path) -> io::Result<()> {
        self.open(path)?.sync_all()
    }

    fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
        match self.is_below(path) {
            true => File::from(self.folder(path)?).sync_all(),
            false => File::open(path)?.sync_all(),
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let ((from, old), (to, new)) = (self.place(from)?, self.place(to)?);
        Ok(rustix::fs::renameat(&from, old, &to, new)?)
    }

    fn link(&mut self, target: &Path, path: &Path) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        Ok(rustix::fs::symlinkat(target, &folder, name)?)
    }

    fn read_link(&mut self, path: &Path) -> io::Result<PathBuf> {
        use std::os::unix::ffi::OsStringExt;
        let (folder, name) = self.place(path)?;
        let target = rustix::fs::readlinkat(&folder, name, Vec::new())?;
        Ok(std::ffi::OsString::from_vec(target.into_bytes()).into())
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let (folder, name) = match self.place(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            other => Ok(other?),
        }
    }

    fn make_folder(&mut self, path: &Path) -> io::Result<()> {
        let below = path.strip_prefix(&self.root).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        if !self.root.exists() {
            fs::create_dir_all(&self.root)?;
            fs::set_permissions(&self.root, fs::Permissions::from_mode(FOLDER_MODE))?;
        }
        let mut at = self.root.clone();
        for part in below.components() {
            let folder = self.folder(&at)?;
            at.push(part);
            match rustix::fs::mkdirat(&folder, part.as_os_str(), Mode::from_raw_mode(FOLDER_MODE)) {
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
                Ok(()) => File::from(self.folder(&at)?).set_permissions(fs::Permissions::from_mode(FOLDER_MODE))?,
            }
        }
        Ok(())
    }

    fn list(&mut self, path: &Path) -> io::Result<Vec<String>> {
        let found = match self.is_below(path) {
            true => self.folder(path).and_then(|folder| {
                let entries = rustix::fs::Dir::read_from(&folder)?;
                entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<io::Result<Vec<_>>>()
            }),
            false => {
                fs::read_dir(path).and_then(|entries| entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect())
            }
        };
        match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
            Ok(names) => Ok(names.into_iter().filter(|name| name != "." && name != "..").collect()),
        }
    }

    fn free_bytes(&mut self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.folder(path)?)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Length and SHA-256 of what a reader gives.
pub(crate) fn digest_of(mut source: impl Read) -> io::Result<(u64, String)> {
    let (mut hash, mut chunk, mut total) = (Sha256::new(), vec![0; 1 << 17], 0);
    loop {
        match source.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(0) => return Ok((total, hex(&hash.finalize()))),
            Ok(len) => {
                hash.update(&chunk[..len]);
                total += len as u64;
            }
        }
    }
}
