//! Runs programs as the service's user, and none for ever.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use rustix::{fs::Gid, fs::Uid};

use crate::slots::kind_of;

/// Who the runtime runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    uid: u32,
    gid: u32,
    home: Option<PathBuf>,
    /// Its groups by `/etc/group`.
    groups: Vec<u32>,
}

/// The fields of a user's line in `/etc/passwd`.
pub(crate) fn account(passwd: &str, uid: u32) -> Option<Vec<&str>> {
    let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    users.find(|fields| fields.get(2).is_some_and(|number| number.parse() == Ok(uid)))
}

impl User {
    /// The owner of the service's folder, as `etc` knows it.
    pub fn owner_of(folder: &Path, etc: &Path) -> Option<User> {
        let meta = std::fs::metadata(folder).ok()?;
        Some(User::numbered(meta.uid(), meta.gid(), etc))
    }

    /// Who asked for root's rights by sudo, where this process has them so.
    pub fn caller() -> Option<User> {
        let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
        let uid = number("SUDO_UID").filter(|uid| *uid != 0 && rustix::process::geteuid().is_root())?;
        // Without a group nothing of root's group may be left.
        Some(User::numbered(uid, number("SUDO_GID").filter(|gid| *gid != 0).unwrap_or(NOBODYS_GROUP), Path::new("/etc")))
    }

    fn numbered(uid: u32, gid: u32, etc: &Path) -> User {
        let text = |name: &str| std::fs::read_to_string(etc.join(name)).unwrap_or_default();
        let passwd = text("passwd");
        let own = account(&passwd, uid).unwrap_or_default();
        let name = own.first().copied();
        let home = own.get(5).map(PathBuf::from).filter(|home| home.is_absolute());
        let of_group = |line: &str| {
            let fields: Vec<_> = line.split(':').collect();
            let member = fields.get(3)?.split(',').any(|member| Some(member) == name);
            fields.get(2)?.parse::<u32>().ok().filter(|_| member)
        };
        User { uid, gid, home, groups: text("group").lines().filter_map(of_group).collect() }
    }

    /// Its home, as `/etc/passwd` has it.
    pub fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// Its main group.
    pub fn group(&self) -> u32 {
        self.gid
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.uid
    }
}

/// Does something with `user`'s rights, where this process is root and the user is another: on a thread that takes them on, and keeps them.
///
/// # Errors
/// When the user cannot be taken on, and those of `work`.
pub fn with_rights_of<T: Send>(
    user: Option<&User>,
    keep_groups: bool,
    work: impl FnOnce() -> std::io::Result<T> + Send,
) -> std::io::Result<T> {
    let Some(user) = user.filter(|user| rustix::process::geteuid().is_root() && user.uid != 0) else { return work() };
    std::thread::scope(|scope| {
        let taken_on = scope.spawn(|| {
            let own = if keep_groups { rustix::process::getgroups()? } else { Vec::new() };
            let given = own.into_iter().map(|group| group.as_raw()).filter(|group| *group != 0);
            let groups: Vec<Gid> = given.chain(user.groups.iter().copied()).map(Gid::from_raw).collect();
            let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
            set_thread_groups(&groups)?;
            set_thread_res_gid(gid, gid, gid)?;
            set_thread_res_uid(uid, uid, uid)?;
            work()
        });
        taken_on.join().unwrap_or_else(|_| Err(std::io::Error::other("the thread that took on another user ended")))
    })
}

/// Starts a command as `user`, where this process is root and the user is another; what the service's user can put in a program's way must
/// not run with root's rights.
///
/// # Errors
/// When the user cannot be taken on, or the command cannot be started.
pub fn start(user: Option<&User>, command: &mut Command) -> Result<Child> {
    let program = command.get_program().to_string_lossy().into_owned();
    with_rights_of(user, true, || command.spawn()).with_context(|| program)
}

/// Runs a command as [`start`] does, for what it prints, and no longer than `limit`.
///
/// # Errors
/// When it cannot be started, or does not end in time.
pub fn output(user: Option<&User>, command: &mut Command, limit: Duration) -> Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let program = command.get_program().to_string_lossy().into_owned();
    finish(start(user, command)?, limit).with_context(|| program)
}

/// Waits for a child whose output is piped, and no longer than `limit`; then it is stopped.
///
/// # Errors
/// When it does not end in time.
pub fn finish(mut child: Child, limit: Duration) -> Result<Output> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (sender, ended) = std::sync::mpsc::channel::<(bool, Vec<u8>)>();
    let read = |pipe: Option<Box<dyn Read + Send>>, is_stdout: bool| {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(pipe) = pipe {
                let _ = pipe.take(MOST_OUTPUT_BYTES).read_to_end(&mut bytes);
            }
            let _ = sender.send((is_stdout, bytes));
        });
    };
    read(stdout.map(|pipe| Box::new(pipe) as _), true);
    read(stderr.map(|pipe| Box::new(pipe) as _), false);
    let end = Instant::now() + limit;
    let mut output = [Vec::new(), Vec::new()];
    for _ in 0..2 {
        match ended.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok((is_stdout, bytes)) => output[usize::from(!is_stdout)] = bytes,
            Err(_) => break,
        }
    }
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= end {
            let _ = child.kill();
            let _ = child.wait();
            bail!("it did not end within {} s and was stopped", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let [stdout, stderr] = output;
    Ok(Output { status, stdout, stderr })
}

/// Runs a command and waits for it, no longer than `limit`: then it is let go, for what it has asked for goes on without it.
///
/// # Errors
/// When it cannot be started.
pub fn ran_within(command: &mut Command, limit: Duration) -> Result<Option<ExitStatus>> {
    let mut child = command.spawn()?;
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            let _ = child.kill();
            let _ = child.wait();
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The group that owns nothing, as Debian numbers it.
const NOBODYS_GROUP: u32 = 65_534;
/// Nothing that is asked for says more.
const MOST_OUTPUT_BYTES: u64 = 16 << 20;

/// Opens a file that an operator names, of up to `most` bytes: by sudo with the rights of who called that, for whom root must not read
/// what they cannot.
///
/// # Errors
/// As [`open_plain`].
pub fn open_named(path: &Path, most: u64) -> Result<File> {
    plain(path, most, with_rights_of(User::caller().as_ref(), false, || open(path)))
}

/// Opens a file of up to `most` bytes, without waiting for anybody to write it.
///
/// # Errors
/// When it cannot be read, is no plain file, or is longer.
pub fn open_plain(path: &Path, most: u64) -> Result<File> {
    plain(path, most, open(path))
}

fn open(path: &Path) -> std::io::Result<File> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?))
}

fn plain(path: &Path, most: u64, opened: std::io::Result<File>) -> Result<File> {
    let file = opened.with_context(|| format!("{}", path.display()))?;
    let meta = file.metadata().with_context(|| format!("{}", path.display()))?;
    if !meta.is_file() {
        bail!("{}: expected a plain file, found {}", path.display(), kind_of(&meta));
    }
    if meta.len() > most {
        bail!("{}: expected at most {most} bytes, found {}", path.display(), meta.len());
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_stopped_and_what_ends_is_told() {
        let said = output(None, Command::new("sh").args(["-c", "echo data; echo talk >&2; exit 3"]), Duration::from_secs(20)).unwrap();
        assert_eq!((said.status.code(), &said.stdout[..], &said.stderr[..]), (Some(3), &b"data\n"[..], &b"talk\n"[..]));
        let before = Instant::now();
        let hung = output(None, Command::new("sleep").arg("60"), Duration::from_millis(200)).unwrap_err();
        assert!(format!("{hung:#}").contains("did not end within"), "{hung:#}");
        assert!(before.elapsed() < Duration::from_secs(20));
        assert!(ran_within(Command::new("sleep").arg("60"), Duration::from_millis(200)).unwrap().is_none());
        assert!(before.elapsed() < Duration::from_secs(20));
        assert_eq!(ran_within(&mut Command::new("false"), Duration::from_secs(20)).unwrap().unwrap().code(), Some(1));
        assert!(ran_within(&mut Command::new("/nowhere"), Duration::from_secs(1)).is_err());
        assert!(output(None, &mut Command::new("/nowhere"), Duration::from_secs(1)).is_err());
    }
}
