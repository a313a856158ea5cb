//! What became of a board's releases, when, and who asked for it: a line of JSON each, the newest few hundred.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use edge_seg_bundle::date::utc;
use serde::{Deserialize, Serialize};

use crate::service::account;
use crate::slots::{Disk, Kind, RealDisk};

const NAME: &str = "history.jsonl";
/// Kept where there are more than twice as many.
const KEPT: usize = 200;
/// No board's history is longer, whatever somebody has put there.
const MOST_BYTES: usize = 1 << 20;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in UTC.
    pub time: String,
    /// Who asked: a user's name, or `guard`.
    pub who: String,
    /// In words.
    pub what: String,
}

/// Who asks: by sudo the user who called it.
pub fn caller() -> String {
    let name = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).ok().filter(|name| !name.is_empty());
    // The service manager sets neither.
    name.unwrap_or_else(|| user_of(rustix::process::getuid().as_raw(), &std::fs::read_to_string("/etc/passwd").unwrap_or_default()))
}

fn user_of(number: u32, passwd: &str) -> String {
    account(passwd, number).map_or_else(|| format!("user {number}"), |fields| fields[0].to_owned())
}

/// The user and machine that work here.
pub fn operator() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}@{}", caller(), host.trim())
}

/// The entries, oldest first; lines that a power cut has torn are left out.
///
/// # Errors
/// When there is a history that cannot be read.
pub fn read(disk: &mut RealDisk, state: &Path) -> io::Result<Vec<Entry>> {
    match disk.read(&state.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => {
            let bytes = read?;
            let newest = &bytes[bytes.len().saturating_sub(MOST_BYTES)..];
            Ok(newest.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
        }
    }
}

/// Adds what happened. A history that cannot be written keeps nothing from happening: it is told.
pub fn add(disk: &mut RealDisk, state: &Path, who: &str, what: &[String]) {
    let mut added = || -> io::Result<()> {
        let mut entries = read(disk, state)?;
        let time = utc(SystemTime::now());
        entries.extend(what.iter().map(|what| Entry { time: time.clone(), who: who.into(), what: what.clone() }));
        let begin = if entries.len() > 2 * KEPT { entries.len() - KEPT } else { 0 };
        let mut text = Vec::new();
        for entry in &entries[begin..] {
            serde_json::to_writer(&mut text, entry)?;
            text.push(b'\n');
        }
        let (path, beside) = (state.join(NAME), state.join(format!("{NAME}.new")));
        disk.write(&beside, &mut text.as_slice(), Kind::Plain)?;
        disk.sync_file(&beside)?;
        disk.rename(&beside, &path)
    };
    if what.is_empty() {
        return;
    }
    if let Err(error) = added() {
        eprintln!("edge-seg-fw: {}: the history cannot be written: {error}", state.join(NAME).display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_name_in_the_environment_has_one_in_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\npi:x:1000:1000::/home/pi:/bin/sh\n";
        assert_eq!((user_of(0, passwd), user_of(1000, passwd), user_of(7, passwd)), ("root".into(), "pi".into(), "user 7".into()));
    }
}
