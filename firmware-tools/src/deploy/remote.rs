//! One board at the far end of the system's ssh.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use edge_seg_bundle::files::hex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::service;

const CHUNK_BYTES: usize = 1 << 18;
/// How long a board may take to answer, its login and a hash of a bundle included.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// How long it may take to install a release on a slow card and to restart the service.
const CHANGE_LIMIT: Duration = Duration::from_secs(900);

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
}

/// A board.
#[derive(Debug)]
pub struct Remote<'a> {
    target: &'a SshTarget,
    host: &'a str,
}

/// A word that a POSIX shell takes as it is.
pub fn quote(word: &str) -> String {
    let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b));
    if plain { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

impl<'a> Remote<'a> {
    /// A board by the name that ssh knows it under.
    ///
    /// # Errors
    /// When the name could be taken for an option.
    pub fn new(target: &'a SshTarget, host: &'a str) -> Result<Remote<'a>> {
        let odd = host.is_empty() || host.starts_with('-') || host.chars().any(|c| c.is_whitespace() || c.is_control());
        ensure!(!odd, "expected a host as ssh takes it, user@name, found {host:?}");
        Ok(Remote { target, host })
    }

    fn ssh(&self) -> Command {
        let mut command = Command::new("ssh");
        if let Some(config) = &self.target.ssh_config {
            command.arg("-F").arg(config);
        }
        // Nobody can answer questions of twenty boards at once.
        command.args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15"]);
        for option in &self.target.options {
            command.args(["-o", option]);
        }
        command.arg("--").arg(self.host);
        command
    }

    fn run(&self, line: &str) -> Result<Output> {
        self.run_within(line, ANSWER_LIMIT)
    }

    fn run_within(&self, line: &str, limit: Duration) -> Result<Output> {
        let output = service::output(None, self.ssh().arg(line), limit)?;
        if output.status.code() == Some(255) {
            bail!("cannot be reached: {}", last_line(&output.stderr));
        }
        Ok(output)
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
        let output = self.run(&self.tool(false, words))?;
        match output.status.code() {
            Some(127) => bail!("{} is not installed there: copy the .deb over and apt install it", self.target.tool),
            _ => ensure!(output.status.success(), "{}: {}", words.join(" "), last_line(&output.stderr)),
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("{}: expected JSON", words.join(" ")))
    }

    /// Runs the tool with the rights to change the board.
    ///
    /// # Errors
    /// What the tool says when it refuses.
    pub fn change(&self, words: &[&str]) -> Result<String> {
        let output = self.run_within(&self.tool(true, words), CHANGE_LIMIT)?;
        ensure!(output.status.success(), "{}: {}", words[0], last_line(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
    }

    /// Copies a file, going on where an earlier copy of the same bytes broke off, and proves it by its SHA-256. `progress` is told
    /// the bytes that are there.
    ///
    /// # Errors
    /// When the connection breaks (the part that arrived stays for the next try) or the hash differs.
    pub fn copy(&self, file: &Path, to: &str, mut progress: impl FnMut(u64)) -> Result<()> {
        let mut source = File::open(file).with_context(|| format!("{}", file.display()))?;
        let total = source.metadata()?.len();
        let part = format!("{to}.part");
        let folder = to.rsplit_once('/').map_or(".", |(folder, _)| folder);
        let there = self.run(&format!("mkdir -p {} && if [ -f {1} ]; then wc -c < {1}; else echo 0; fi", quote(folder), quote(&part)))?;
        ensure!(there.status.success(), "{folder}: {}", last_line(&there.stderr));
        let mut start: u64 = String::from_utf8_lossy(&there.stdout).trim().parse().context("the size of an earlier copy")?;
        if start > 0 {
            let hash = self.run(&format!("sha256sum < {}", quote(&part)))?;
            let same = start <= total && String::from_utf8_lossy(&hash.stdout).starts_with(&prefix_hash(&mut source, start)?);
            if !same {
                start = 0;
            }
        }
        progress(start);
        // What others may not read here, such as a configuration with a password, they may not there.
        let umask = if source.metadata()?.permissions().mode() & 0o004 == 0 { "077" } else { "022" };
        let redirect = if start == 0 { ">" } else { ">>" };
        let mut child = self
            .ssh()
            .arg(format!("umask {umask}; cat {redirect} {}", quote(&part)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("ssh")?;
        let mut pipe = child.stdin.take().context("ssh's input")?;
        source.seek(SeekFrom::Start(start))?;
        let (mut chunk, mut sent) = (vec![0; CHUNK_BYTES], start);
        let mut broken = None;
        loop {
            let len = source.read(&mut chunk)?;
            if len == 0 {
                break;
            }
            if let Err(error) = pipe.write_all(&chunk[..len]) {
                broken = Some(error);
                break;
            }
            sent += len as u64;
            progress(sent);
        }
        drop(pipe);
        let output = child.wait_with_output()?;
        if broken.is_some() || !output.status.success() {
            bail!("the copy broke off after {sent} of {total} bytes, the next try goes on there: {}", last_line(&output.stderr));
        }
        let hash = self.run(&format!("sha256sum < {}", quote(&part)))?;
        let expected = prefix_hash(&mut source, total)?;
        if !String::from_utf8_lossy(&hash.stdout).starts_with(&expected) {
            let _ = self.run(&format!("rm -f {}", quote(&part)));
            bail!("the copy differs: expected SHA-256 {expected}, found {}", String::from_utf8_lossy(&hash.stdout).trim());
        }
        let moved = self.run(&format!("mv {} {}", quote(&part), quote(to)))?;
        ensure!(moved.status.success(), "{to}: {}", last_line(&moved.stderr));
        Ok(())
    }

    /// Removes files; they need not be there.
    pub fn remove(&self, paths: &[String]) {
        let words: Vec<String> = paths.iter().map(|path| quote(path)).collect();
        let _ = self.run(&format!("rm -f {}", words.join(" ")));
    }
}

fn prefix_hash(file: &mut File, len: u64) -> Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut hash = Sha256::new();
    let mut left = Read::by_ref(file).take(len);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match left.read(&mut chunk)? {
            0 => break,
            len => hash.update(&chunk[..len]),
        }
    }
    Ok(hex(&hash.finalize()))
}

fn last_line(bytes: &[u8]) -> String {
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
        let target = SshTarget { ssh_config: None, options: vec![], tool: "t".into(), sudo: String::new() };
        for host in ["", "-oProxyCommand=reboot", "pi@a b", "pi@a\n"] {
            assert!(Remote::new(&target, host).is_err(), "{host:?}");
        }
        assert!(Remote::new(&target, "pi@camera1.local").is_ok());
    }
}
