//! One process of a job.

use std::fs;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const EDGE_SEG: &str = "edge-seg";
pub const EXPORT: &str = "edge-seg-export";
pub const FW: &str = "edge-seg-fw";

/// No job takes this long, whatever goes wrong.
pub const LIMIT: Duration = Duration::from_secs(20);

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// None if a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stderr: String,
    pub hung: bool,
}

/// Runs a job's process to its end or the limit. Its results go to `stdout.txt` in the folder, so that the disk is full for these too.
pub fn run(command: &mut Command, folder: &Path, meanwhile: impl FnOnce(&mut Child)) -> Ended {
    let results = fs::OpenOptions::new().create(true).append(true).open(folder.join("stdout.txt")).unwrap();
    let mut child = command.stdin(Stdio::null()).stdout(results).stderr(Stdio::piped()).process_group(0).spawn().expect("it starts");
    let mut stderr = child.stderr.take().unwrap();
    // A child of the child may hold the pipe open for longer.
    let (said, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut part = [0; 4096];
        while let Ok(n @ 1..) = stderr.read(&mut part) {
            bytes.extend_from_slice(&part[..n]);
        }
        let _ = said.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    meanwhile(&mut child);
    let end = Instant::now() + LIMIT;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() > end => break None,
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    if status.is_none() {
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status();
        let _ = child.wait();
    }
    let stderr = hear.recv_timeout(Duration::from_secs(3)).unwrap_or_else(|_| "(a child holds stderr open)".into());
    Ended { code: status.and_then(|s| s.code()), signal: status.and_then(|s| s.signal()), stderr, hung: status.is_none() }
}
