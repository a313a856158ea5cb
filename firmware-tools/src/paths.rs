//! Where things are on a board.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::service::{self, User};
use crate::slots::machine::{PROGRAM, Release};
use crate::slots::{Disk, RealDisk, Slots, digest_of};

/// Where things are. Under another root for tests and for images that are built on another machine.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The root itself.
    pub root: PathBuf,
    /// Slots, pointer, state and lock: root's.
    pub state: PathBuf,
    /// What the service writes: recordings, saved words. Its owner is who the runtime runs as.
    pub data: PathBuf,
    /// The configuration of the packaged release, which a first installation takes too: what `edge-seg run --config` reads.
    pub config: PathBuf,
    /// Folder of trusted public keys.
    pub keys: PathBuf,
    /// The packaged runtime.
    pub packaged: PathBuf,
    /// A program that is asked whether a release on trial does its work, where there is one.
    pub hook: PathBuf,
    /// The file that names where releases are pulled from.
    pub pull_from: PathBuf,
    /// Where this file is, configurations that are brought must be signed as bundles are.
    pub signed_config: PathBuf,
}

/// Where the digest of the packaged runtime is kept: a hundred megabytes are not read each time that somebody asks.
const PACKAGED: &str = "packaged.json";

/// The digest of a file that has not changed since.
#[derive(Serialize, Deserialize)]
struct Digested {
    file: String,
    bytes: u64,
    sha256: String,
}

/// The service manager's name of the guard.
pub const SERVICE: &str = "edge-seg.service";
/// The service's user.
const SERVICE_USER: &str = "edge-seg";
/// How long a runtime may take to read a configuration.
const CHECK_LIMIT: Duration = Duration::from_secs(60);
const VERSION_LIMIT: Duration = Duration::from_secs(5);

impl Paths {
    /// The package's paths under `root`, `/` on a board.
    pub fn under(root: &Path) -> Paths {
        Paths {
            root: root.into(),
            state: root.join("var/lib/edge-seg"),
            data: root.join("var/lib/edge-seg/data"),
            config: root.join("etc/edge-seg/edge-seg.toml"),
            keys: root.join("etc/edge-seg/keys"),
            packaged: root.join("usr/bin/edge-seg"),
            hook: root.join("etc/edge-seg/trial-hook"),
            pull_from: root.join("etc/edge-seg/pull-from"),
            signed_config: root.join("etc/edge-seg/keys/signed-config"),
        }
    }

    /// The slots.
    pub fn slots(&self) -> Slots<RealDisk> {
        Slots::new(self.disk(), &self.state)
    }

    /// Folder of the slot that runs; none where the packaged release does, in place of one or not.
    pub fn slot_that_runs(&self) -> Option<PathBuf> {
        let slot = self.state.join("current");
        let stands_in = || self.slots().load().is_ok_and(|state| state.packaged.stands_in);
        (slot.join(PROGRAM).exists() && !stands_in()).then_some(slot)
    }

    /// The state's folder as a file system.
    pub fn disk(&self) -> RealDisk {
        RealDisk::below(&self.state).shared_with(self.user().map(|user| user.group()))
    }

    /// Why nothing at all can be changed here.
    pub(crate) fn read_only(&self) -> Option<String> {
        let why = "its disk is read-only, as a card that fails often is made: sudo dmesg | tail -n 30 says why";
        self.is_read_only().then(|| format!("{}: {why}", self.state.display()))
    }

    /// Whether the disk of the state refuses to be written.
    pub fn is_read_only(&self) -> bool {
        // A folder that is not there yet will be on the disk of the one above it.
        let there = self.state.ancestors().find(|path| path.exists());
        let flags = there.and_then(|path| rustix::fs::statvfs(path).ok()).map(|stat| stat.f_flag);
        flags.is_some_and(|flags| flags.contains(rustix::fs::StatVfsMountFlags::RDONLY))
    }

    /// Whether bundles must be signed here: where a key is trusted.
    ///
    /// # Errors
    /// When that cannot be told: there is something where the keys should be, and it cannot be read. Nothing is installed then.
    pub fn demands_signatures(&self) -> Result<bool> {
        let keys = &self.keys;
        let cannot = |error: io::Error| {
            let what = format!("{}: whether signatures are asked for cannot be told", keys.display());
            anyhow::Error::new(error).context(what)
        };
        // The first that is there, from the keys upwards: a link that leads nowhere is there, and no answer.
        for path in keys.ancestors() {
            match std::fs::symlink_metadata(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(cannot(error)),
                Ok(_) if path != keys => return std::fs::metadata(path).map(|_| false).map_err(cannot),
                Ok(_) => {
                    if std::fs::metadata(path).map_err(cannot)?.is_file() {
                        return Ok(true);
                    }
                    for entry in std::fs::read_dir(path).map_err(cannot)? {
                        if entry.map_err(cannot)?.path().extension().is_some_and(|ext| ext == "pub") {
                            return Ok(true);
                        }
                    }
                    return Ok(false);
                }
            }
        }
        Ok(false)
    }

    /// Whether configurations that are brought must be signed here too.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn demands_signed_config(&self) -> Result<bool> {
        match std::fs::symlink_metadata(&self.signed_config) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("{}", self.signed_config.display())),
        }
    }

    /// Who the runtime runs as; none where the service has no folder.
    pub fn user(&self) -> Option<User> {
        User::owner_of(&self.data, &self.root.join("etc"))
    }

    /// As [`Paths::user`], for starting a runtime.
    ///
    /// # Errors
    /// When this is root on a board whose service has a user but no folder: what the runtime reads and loads must not run with root's rights.
    pub fn user_to_run_as(&self) -> Result<Option<User>> {
        let user = self.user();
        if user.is_none() && self.root == Path::new("/") && rustix::process::geteuid().is_root() {
            let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
            let known = passwd.lines().any(|line| line.split(':').next() == Some(SERVICE_USER));
            ensure!(
                !known,
                "{0}: expected the service's folder; make it with: sudo install -d -o {SERVICE_USER} -g {SERVICE_USER} {0}",
                self.data.display()
            );
        }
        // Of a root that an image is built in nobody is known to run it; by sudo it is still not root who asked.
        Ok(user.or_else(User::caller))
    }

    /// Holds the root to be one that nobody else can change, where this process is root: it would run what lies there. A sudoers line for
    /// this tool must not be one for every program.
    ///
    /// # Errors
    /// When somebody else owns it or may write it.
    pub fn check_root(&self) -> Result<()> {
        if self.root == Path::new("/") || !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let meta = std::fs::metadata(&self.root).with_context(|| format!("--root {}", self.root.display()))?;
        if meta.uid() != 0 || meta.mode() & 0o022 != 0 {
            bail!(
                "--root {}: expected a folder of root's that nobody else may write, found user {}'s with mode {:04o}",
                self.root.display(),
                meta.uid(),
                meta.mode() & 0o7777
            );
        }
        Ok(())
    }

    /// Lets a runtime say what is wrong with a configuration, as the user who will run it; none where it is right.
    ///
    /// # Errors
    /// When the runtime cannot be started or does not answer.
    pub fn complaint(&self, runtime: &Path, config: &Path) -> Result<Option<String>> {
        let mut command = Command::new(runtime);
        command.args(["config", "check"]).arg(config);
        let output = service::output(self.user_to_run_as()?.as_ref(), &mut command, CHECK_LIMIT)?;
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().trim_start_matches("edge-seg: ");
        Ok((!output.status.success()).then(|| if said.is_empty() { output.status.to_string() } else { said.to_owned() }))
    }

    /// Whether the packaged runtime is another than a release's, whatever versions they tell; none where it cannot be read.
    pub fn packages_another_program(&self, release: &Release) -> Option<bool> {
        let held = release.files.iter().find(|file| file.name == PROGRAM)?;
        let packaged = std::fs::File::open(&self.packaged).ok()?;
        let meta = packaged.metadata().ok()?;
        if meta.len() != held.bytes {
            return Some(true);
        }
        let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
        let known = Digested { file: format!("{} {} {times:?}", meta.dev(), meta.ino()), bytes: meta.len(), sha256: String::new() };
        let (path, mut disk) = (self.state.join(PACKAGED), self.disk());
        // Nobody but root or the caller can have written it, or it is not read.
        let kept = disk.read(&path).ok().and_then(|kept| serde_json::from_slice::<Digested>(&kept).ok());
        if let Some(kept) = kept.filter(|kept| (&kept.file, kept.bytes) == (&known.file, known.bytes)) {
            return Some(kept.sha256 != held.sha256);
        }
        let found = Digested { sha256: digest_of(packaged).ok()?.1, ..known };
        // Who may not keep it reads the program again the next time.
        if let Ok(bytes) = serde_json::to_vec(&found) {
            let _ = disk.replace(&path, &bytes);
        }
        Some(found.sha256 != held.sha256)
    }

    /// The version that a runtime tells of itself.
    pub fn version_of(&self, runtime: &Path) -> Option<String> {
        let output = service::output(self.user_to_run_as().ok()?.as_ref(), Command::new(runtime).arg("--version"), VERSION_LIMIT).ok()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let version = said.lines().next()?.strip_prefix("edge-seg ")?.trim();
        (output.status.success() && version.starts_with(|c: char| c.is_ascii_digit())).then(|| version.to_owned())
    }
}
