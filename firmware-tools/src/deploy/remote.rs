//! One board at the far end of the system's ssh.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use edge_seg_bundle::files::hex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::service;

const CHUNK_BYTES: usize = 1 << 18;
/// How long a board may take to answer, its login and a hash of a bundle included.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// How long the last answer may take of a board that is waited for.
const LAST_ANSWER: Duration = Duration::from_secs(20);
/// How long it may take to install a release on a slow card and to restart the service.
const CHANGE_LIMIT: Duration = Duration::from_secs(900);
/// How long a copy may stand still: a card that is full or dying may never take the next byte.
const STALL_LIMIT: Duration = Duration::from_secs(120);
/// How the board's shell tells that it cannot write what is copied.
const NOT_WRITTEN: i32 = 64;
/// Smaller files are not gone on with, they are sent again.
const SMALL_BYTES: u64 = 1 << 20;
/// How long a folder may take from being made to being locked.
const UNLOCKED_LIMIT: Duration = Duration::from_secs(10);
/// How many bytes the name of a socket may have, with what ssh adds to it.
const SOCKET_NAME_BYTES: usize = 104 - 40 - 18;

/// How to reach boards, and the tool there.
#[derive(Debug, Clone)]
pub struct SshTarget {
    /// ssh's configuration file; its own default otherwise.
    pub ssh_config: Option<PathBuf>,
    /// `-o` options of ssh.
    pub options: Vec<String>,
    /// The tool on the board.
    pub tool: String,
    /// What gives the rights to change the board, such as `sudo -n`; empty for root.
    pub sudo: String,
    /// One connection for all that is asked of a board; else one for each question.
    pub shared: Option<Arc<OwnFolder>>,
}

/// A folder of this user's alone, which goes with it: for the sockets of ssh's connections, for configurations on their way. Those of
/// processes that were killed go with the next.
#[derive(Debug)]
pub struct OwnFolder {
    path: PathBuf,
    /// Locked for as long as it is somebody's.
    _held: File,
}

const OWN_FOLDERS: &str = "edge-seg-fw.";

impl OwnFolder {
    /// A new one, among the system's temporary files.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<OwnFolder> {
        let base = std::env::temp_dir();
        sweep(&base);
        let made = (0..1000).find_map(|n| {
            let path = base.join(format!("{OWN_FOLDERS}{}.{n}", std::process::id()));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => None,
                made => Some(made.and_then(|()| {
                    let held = File::open(&path)?;
                    held.lock_shared()?;
                    Ok(OwnFolder { path, _held: held })
                })),
            }
        });
        made.context("every name is taken")?.with_context(|| format!("{}", base.display()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One for ssh's connections; none where its name is too long for a socket's, or it cannot be made: each question has its own then.
    pub fn for_connections() -> Option<Arc<OwnFolder>> {
        OwnFolder::new().ok().filter(|folder| folder.path.as_os_str().len() < SOCKET_NAME_BYTES).map(Arc::new)
    }
}

impl Drop for OwnFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Removes this user's folders whose processes are gone: they may hold configurations with passwords.
fn sweep(base: &Path) {
    let own = rustix::process::geteuid().as_raw();
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let is_one = entry.file_name().to_string_lossy().starts_with(OWN_FOLDERS);
        // By its own entry: a link is nobody's folder.
        let of_old = |meta: std::fs::Metadata| {
            let old = meta.modified().ok().and_then(|time| time.elapsed().ok()).is_some_and(|age| age > UNLOCKED_LIMIT);
            meta.is_dir() && meta.uid() == own && old
        };
        if is_one && entry.metadata().is_ok_and(of_old) && File::open(entry.path()).is_ok_and(|folder| folder.try_lock().is_ok()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A board.
#[derive(Debug)]
pub struct Remote<'a> {
    target: &'a SshTarget,
    host: &'a str,
}

/// A board that cannot be reached, for now.
#[derive(Debug, thiserror::Error)]
#[error("cannot be reached: {0}")]
pub struct Away(pub String);

/// Whether a board could not be reached, and may be later.
pub fn is_away(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<Away>())
}

/// A tool there that does not know what it is asked, or a line for sudo that does not: both are from before.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Older(String);

/// Whether the tool on a board is from before what it was asked.
pub fn is_older(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<Older>())
}

const FROM_BEFORE: [&str; 3] = ["unexpected argument", "unrecognized subcommand", "a password is required"];

/// What a tool said where it failed.
fn failed(words: &[&str], output: &Output) -> anyhow::Error {
    let said = String::from_utf8_lossy(&output.stderr);
    match said.lines().find(|line| FROM_BEFORE.iter().any(|mark| line.contains(mark))) {
        Some(line) => Older(format!("{}: {line}", words[0])).into(),
        None => anyhow!("{}: {}", words[0], last_line(&output.stderr)),
    }
}

/// A word that a POSIX shell takes as it is.
pub fn quote(word: &str) -> String {
    let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b));
    if plain { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// ssh in a group of its own: Ctrl-C at the terminal is this program's to hear, and what is under way on a board is finished.
fn ssh() -> Command {
    let mut command = Command::new("ssh");
    command.process_group(0);
    command
}

impl Drop for Remote<'_> {
    fn drop(&mut self) {
        if self.target.shared.is_some() {
            let mut end = ssh();
            self.options(&mut end);
            let _ = service::output(None, end.args(["-O", "exit", "--", self.host]), ANSWER_LIMIT);
        }
    }
}

impl<'a> Remote<'a> {
    /// A board by the name that ssh knows it under.
    ///
    /// # Errors
    /// When the name could be taken for an option.
    pub fn new(target: &'a SshTarget, host: &'a str) -> Result<Remote<'a>> {
        Remote::check(host)?;
        Ok(Remote { target, host })
    }

    /// Holds a board's name to be one that ssh takes for a host.
    ///
    /// # Errors
    /// When the name could be taken for an option.
    pub fn check(host: &str) -> Result<()> {
        let odd = host.is_empty() || host.starts_with('-') || host.chars().any(|c| c.is_whitespace() || c.is_control());
        ensure!(!odd, "expected a host as ssh takes it, user@name, found {host:?}");
        Ok(())
    }

    /// Where ssh would go for a name: what tells one board from another. None where it does not say.
    fn place(target: &SshTarget, host: &str) -> Option<[String; 4]> {
        let mut asked = ssh();
        Remote { target: &SshTarget { shared: None, ..target.clone() }, host }.options(&mut asked);
        let said = service::output(None, asked.args(["-G", "--", host]), ANSWER_LIMIT).ok().filter(|said| said.status.success())?;
        let text = String::from_utf8_lossy(&said.stdout);
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).unwrap_or_default().to_lowercase();
        // Behind other machines the same address is another board.
        let mut way = value("proxycommand");
        if way.contains("%n") {
            way.push_str(host);
        }
        Some([value("hostname"), value("port"), value("proxyjump"), way])
    }

    /// Holds names to lead to a board each: two for one would have it swapped between two configurations.
    ///
    /// # Errors
    /// Which two do not.
    pub fn check_distinct<'n>(target: &SshTarget, hosts: impl IntoIterator<Item = (&'n str, &'n str)>) -> Result<()> {
        let mut seen = std::collections::HashMap::new();
        for (name, host) in hosts {
            let Some(place) = Remote::place(target, host) else { continue };
            let [address, port, ..] = &place;
            let where_to = format!("{address} port {port}");
            if let Some(other) = seen.insert(place, name) {
                bail!("{other:?} and {name:?}: expected a board each, found {where_to} for both, as ssh reads their names");
            }
        }
        Ok(())
    }

    fn options(&self, command: &mut Command) {
        if let Some(config) = &self.target.ssh_config {
            command.arg("-F").arg(config);
        }
        // Nobody can answer questions of twenty boards at once.
        command.args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15"]);
        if let Some(shared) = &self.target.shared {
            command.args(["-o", "ControlMaster=auto", "-o", "ControlPersist=60", "-o"]);
            command.arg(format!("ControlPath={}/%C", shared.path.display()));
        }
        for option in &self.target.options {
            command.args(["-o", option]);
        }
    }

    fn ssh(&self, line: &str) -> Command {
        let mut command = ssh();
        self.options(&mut command);
        command.arg("--").arg(self.host).arg(line);
        command
    }

    /// Runs a line of the board's shell.
    ///
    /// # Errors
    /// When the board cannot be reached or does not answer in time.
    pub fn run(&self, line: &str) -> Result<Output> {
        self.run_within(line, ANSWER_LIMIT)
    }

    fn run_within(&self, line: &str, limit: Duration) -> Result<Output> {
        reached(service::output(None, &mut self.ssh(line), limit)?)
    }

    fn tool(&self, sudo: bool, words: &[&str]) -> String {
        let mut line = String::new();
        if sudo && !self.target.sudo.is_empty() {
            line = format!("{} ", self.target.sudo);
        }
        line.push_str(&quote(&self.target.tool));
        for word in words {
            line.push(' ');
            line.push_str(&quote(word));
        }
        line
    }

    /// Runs the tool for its JSON.
    ///
    /// # Errors
    /// When the board cannot be reached, or the tool is missing or fails.
    pub fn ask(&self, words: &[&str]) -> Result<Value> {
        self.answer(&[0], words, self.run(&self.tool(false, words))?)
    }

    /// As [`Remote::ask`], by who waits until `end`: a link that hangs is not waited for much longer.
    ///
    /// # Errors
    /// As [`Remote::ask`].
    pub fn ask_until(&self, words: &[&str], end: Instant) -> Result<Value> {
        let limit = end.saturating_duration_since(Instant::now()).clamp(LAST_ANSWER, ANSWER_LIMIT);
        self.answer(&[0], words, self.run_within(&self.tool(false, words), limit)?)
    }

    /// As [`Remote::ask`], of a question that is answered no, with JSON, by exit status 1, and that gets `stdin`.
    ///
    /// # Errors
    /// As [`Remote::ask`].
    pub fn ask_whether(&self, words: &[&str], stdin: &[u8]) -> Result<Value> {
        let mut child = self.ssh(&self.tool(false, words)).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut pipe = child.stdin.take().context("ssh's input")?;
        let output = std::thread::scope(|scope| {
            // A tool that has answered reads no more.
            scope.spawn(move || pipe.write_all(stdin).is_ok());
            service::finish(child, ANSWER_LIMIT)
        })?;
        self.answer(&[0, 1], words, reached(output)?)
    }

    fn answer(&self, fine: &[i32], words: &[&str], output: Output) -> Result<Value> {
        match output.status.code() {
            Some(127) => bail!("{} is not installed there: copy the .deb over and apt install it", self.target.tool),
            Some(code) if fine.contains(&code) => {}
            _ => return Err(failed(words, &output)),
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("{}: expected JSON", words.join(" ")))
    }

    /// What a line of the board's shell prints, where it ends well.
    ///
    /// # Errors
    /// As [`Remote::run`], and what it says where it fails.
    pub fn printed(&self, line: &str) -> Result<Vec<u8>> {
        let output = self.run(line)?;
        ensure!(output.status.success(), "{}", last_line(&output.stderr));
        Ok(output.stdout)
    }

    /// Why the tool cannot be run with the rights to change the board; asked of a command by its help, which changes nothing.
    ///
    /// # Errors
    /// When the board cannot be reached.
    pub fn lacks_rights(&self, verb: &str) -> Result<Option<String>> {
        if self.target.sudo.is_empty() {
            return Ok(None);
        }
        let output = self.run(&self.tool(true, &[verb, "--help"]))?;
        let why = last_line(&output.stderr);
        Ok((!output.status.success()).then(|| {
            let user = "the user there may not run it as root; docs/jetson.md has a line for sudo that lets it";
            format!("{} {} {verb}: {why}: {user}", self.target.sudo, self.target.tool)
        }))
    }

    /// Runs the tool with the rights to change the board.
    ///
    /// # Errors
    /// What the tool says when it refuses.
    pub fn change(&self, words: &[&str]) -> Result<String> {
        let output = self.run_within(&self.tool(true, words), CHANGE_LIMIT)?;
        if !output.status.success() {
            return Err(failed(words, &output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
    }

    /// Copies a file of this SHA-256, going on where an earlier copy of the same bytes broke off, and has the board prove it. `progress`
    /// is told the bytes that are there.
    ///
    /// # Errors
    /// When the connection breaks (the part that arrived stays for the next try) or the hash differs.
    pub fn copy(&self, file: &Path, sha256: &str, to: &str, mut progress: impl FnMut(u64)) -> Result<()> {
        let mut source = File::open(file).with_context(|| format!("{}", file.display()))?;
        let total = source.metadata()?.len();
        let part = format!("{to}.part");
        let folder = to.rsplit_once('/').map_or(".", |(folder, _)| folder);
        let start = if total < SMALL_BYTES { Some(0) } else { self.arrived(&mut source, total, &part, to, sha256)? };
        progress(start.unwrap_or(total));
        let Some(start) = start else { return Ok(()) };
        // What others may not read here, such as a configuration with a password, they may not there.
        let umask = if source.metadata()?.permissions().mode() & 0o004 == 0 { "077" } else { "022" };
        let line = format!(
            "mkdir -p {folder} && umask {umask} && cat {redirect} {part} || exit {NOT_WRITTEN}; \
             [ \"$(sha256sum < {part} | cut -c 1-64)\" = {sha256} ] || \
             {{ [ \"$(wc -c < {part})\" -lt {total} ] && exit 66; rm -f {part}; exit 65; }}; mv {part} {to}",
            folder = quote(folder),
            redirect = if start == 0 { ">" } else { ">>" },
            part = quote(&part),
            to = quote(to),
        );
        source.seek(SeekFrom::Start(start))?;
        let mut child = self.ssh(&line).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("ssh")?;
        let sent = send(&mut child, &mut source, start, &mut progress)?;
        let output = service::finish(child, ANSWER_LIMIT)?;
        match output.status.code() {
            Some(0) => Ok(()),
            Some(65) => bail!("the copy differs: expected SHA-256 {sha256}"),
            Some(NOT_WRITTEN) => bail!("the copy cannot be written there: {}", last_line(&output.stderr)),
            _ => {
                let why =
                    format!("the copy broke off after {sent} of {total} bytes, the next try goes on there: {}", last_line(&output.stderr));
                match reached(output) {
                    Err(away) => Err(away.context(why)),
                    Ok(_) => bail!("{why}"),
                }
            }
        }
    }

    /// How many bytes of the same file an earlier copy has left there; none where it is whole.
    fn arrived(&self, source: &mut File, total: u64, part: &str, to: &str, sha256: &str) -> Result<Option<u64>> {
        let (part, to) = (quote(part), quote(to));
        let there = self.run(&format!(
            "if [ -f {to} ]; then echo whole && sha256sum < {to}; \
             elif [ -f {part} ]; then wc -c < {part} && sha256sum < {part}; else echo 0; fi"
        ))?;
        ensure!(there.status.success(), "{part}: {}", last_line(&there.stderr));
        let text = String::from_utf8_lossy(&there.stdout);
        let mut words = text.split_whitespace();
        let first = words.next().unwrap_or_default();
        if first == "whole" {
            return Ok(if words.next() == Some(sha256) { None } else { Some(0) });
        }
        let start: u64 = first.parse().context("the size of an earlier copy")?;
        let same = start > 0 && start <= total && words.next() == Some(&prefix_hash(source, start)?);
        Ok(Some(if same { start } else { 0 }))
    }

    /// Removes what copies have left in a folder whose names end so, up to a dot: this run's, and those of runs that were killed. What
    /// others have left goes after a week.
    pub fn tidy(&self, folder: &str, end: &str) {
        let folder = quote(folder);
        // Programs keep other things there, under other names.
        let old = "-name '????????????????-????????.*' -mtime +6 -exec rm -f {} +";
        let _ = self.run(&format!("rm -f {folder}/????????????????{}.*; find {folder} -type f {old}", quote(end)));
    }
}

/// Writes a file to a child, which is stopped where it takes nothing for too long; gives back how many bytes of the file are there.
fn send(child: &mut Child, source: &mut File, start: u64, progress: &mut impl FnMut(u64)) -> Result<u64> {
    let mut pipe = child.stdin.take().context("ssh's input")?;
    let process = rustix::process::Pid::from_child(child);
    let began = Instant::now();
    let (ended, last) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                let still = began.elapsed().saturating_sub(Duration::from_millis(last.load(Ordering::SeqCst)));
                if still > STALL_LIMIT {
                    let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let mut write = || -> std::io::Result<u64> {
            let (mut chunk, mut sent) = (vec![0; CHUNK_BYTES], start);
            loop {
                let len = read_some(source, &mut chunk)?;
                // Why the child takes no more, it says itself.
                if len == 0 || pipe.write_all(&chunk[..len]).is_err() {
                    return Ok(sent);
                }
                sent += len as u64;
                last.store(began.elapsed().as_millis() as u64, Ordering::SeqCst);
                progress(sent);
            }
        };
        let sent = write();
        ended.store(true, Ordering::SeqCst);
        Ok(sent?)
    })
}

const HOST_KEY: &str = "Host key verification failed";
/// What no later try mends.
const KNOCKS_IN_VAIN: [&str; 3] = ["Permission denied", HOST_KEY, "Bad configuration option"];

fn reached(output: Output) -> Result<Output> {
    if output.status.code() != Some(255) {
        return Ok(output);
    }
    let why = last_line(&output.stderr);
    let said = String::from_utf8_lossy(&output.stderr);
    match KNOCKS_IN_VAIN.iter().find(|mark| said.contains(**mark)) {
        Some(&HOST_KEY) => bail!("cannot be reached: {why} Its key is new here or another than before: ssh to it by hand says which"),
        Some(_) => bail!("cannot be reached: {why}"),
        None => Err(Away(why).into()),
    }
}

/// Reads what there is, whatever signals come meanwhile.
fn read_some(source: &mut impl Read, chunk: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match source.read(chunk) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

fn prefix_hash(file: &mut File, len: u64) -> Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut hash = Sha256::new();
    let mut left = Read::by_ref(file).take(len);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match read_some(&mut left, &mut chunk)? {
            0 => break,
            len => hash.update(&chunk[..len]),
        }
    }
    Ok(hex(&hash.finalize()))
}

pub(crate) fn last_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_gives_quoted_words_back() {
        for word in ["", "plain", "two words", "it's", "$(reboot)", "`x`;&|<>*?", "new\nline", "\\", "-n", "ü"] {
            let output = Command::new("sh").arg("-c").arg(format!("printf %s {}", quote(word))).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }

    #[test]
    fn hosts_are_no_options() {
        let target = SshTarget { ssh_config: None, options: vec![], tool: "t".into(), sudo: String::new(), shared: None };
        for host in ["", "-oProxyCommand=reboot", "pi@a b", "pi@a\n"] {
            assert!(Remote::new(&target, host).is_err(), "{host:?}");
        }
        assert!(Remote::new(&target, "pi@camera1.local").is_ok());
    }

    #[test]
    fn two_names_for_one_board_are_told_apart_from_two_boards() {
        if Command::new("ssh").arg("-V").output().is_err() {
            return;
        }
        let config = std::env::temp_dir().join(format!("edge-seg-ssh-{}", std::process::id()));
        let text = "Host alias\n  HostName 10.0.0.1\nHost cam2\n  HostName 10.0.0.1\n  Port 2222\n\
                    Host far\n  HostName 10.0.0.1\n  ProxyJump gate\nHost CAM1\n  HostName 10.0.0.1\n";
        std::fs::write(&config, text).unwrap();
        let target = SshTarget { ssh_config: Some(config.clone()), options: vec![], tool: "t".into(), sudo: String::new(), shared: None };
        let distinct = |hosts: &[&'static str]| Remote::check_distinct(&target, hosts.iter().map(|host| (*host, *host)));
        distinct(&["alias", "cam2", "far", "10.0.0.2"]).unwrap();
        for same in [["alias", "10.0.0.1"], ["alias", "CAM1"], ["pi@alias", "alias"], ["root@10.0.0.1", "pi@alias"]] {
            let error = distinct(&same).unwrap_err().to_string();
            assert!(same.iter().all(|name| error.contains(name)) && error.contains("10.0.0.1 port 22"), "{error}");
        }
        std::fs::remove_file(config).unwrap();
    }

    #[test]
    fn folders_of_processes_that_are_gone_are_removed_and_no_others() {
        let base = std::env::temp_dir().join(format!("edge-seg-sweep-{}", std::process::id()));
        std::fs::create_dir_all(&base).unwrap();
        let made = |name: &str, age_s: u64| {
            let path = base.join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("camera1.toml"), "a password").unwrap();
            let folder = File::open(&path).unwrap();
            folder.set_modified(std::time::SystemTime::now() - Duration::from_secs(age_s)).unwrap();
            folder
        };
        let held = made("edge-seg-fw.1.0", 3600);
        held.lock_shared().unwrap();
        for (name, age_s) in [("edge-seg-fw.2.0", 3600), ("edge-seg-fw.3.0", 0), ("another", 3600)] {
            made(name, age_s);
        }
        std::os::unix::fs::symlink(base.join("another"), base.join("edge-seg-fw.4.0")).unwrap();
        sweep(&base);
        let mut left: Vec<_> = std::fs::read_dir(&base).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["another", "edge-seg-fw.1.0", "edge-seg-fw.3.0", "edge-seg-fw.4.0"]);
        assert!(base.join("another/camera1.toml").exists());
        std::fs::remove_dir_all(base).unwrap();
    }
}
