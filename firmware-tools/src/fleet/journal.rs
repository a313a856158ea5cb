//! Who brought what to which boards, and when: a file of JSON lines beside `fleet.toml`.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use edge_seg_bundle::date::utc;
use edge_seg_bundle::text;
use serde_json::{Value, json};

use crate::history;

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    run: String,
}

impl Journal {
    /// The journal at `path`, for a run of its own.
    pub fn at(path: &Path) -> Journal {
        Journal { path: path.into(), run: format!("{}.{}", utc(SystemTime::now()), std::process::id()) }
    }

    /// Appends an entry, on disk before this ends.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn add(&self, event: &str, more: &Value) -> Result<()> {
        let mut entry = json!({ "time": utc(SystemTime::now()), "run": self.run, "who": history::operator(), "event": event });
        if let (Some(entry), Some(more)) = (entry.as_object_mut(), more.as_object()) {
            entry.extend(more.clone());
        }
        let written = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().read(true).append(true).create(true).open(&self.path)?;
            // Two runs may write at a time, and a line that a power cut has torn must not take the next one with it.
            file.lock()?;
            let torn = file.metadata()?.len() > 0 && {
                file.seek(SeekFrom::End(-1))?;
                let mut last = [0];
                file.read_exact(&mut last)?;
                last != *b"\n"
            };
            let line = format!("{}{entry}\n", if torn { "\n" } else { "" });
            file.write_all(line.as_bytes())?;
            file.sync_data()
        };
        written().with_context(|| format!("{}", self.path.display()))
    }
}

/// The entries, oldest first; torn lines are left out. None where nothing was ever brought.
///
/// # Errors
/// When there is a journal that cannot be read.
pub fn read(path: &Path) -> Result<Vec<Value>> {
    match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        opened => {
            let lines = BufReader::new(opened.with_context(|| format!("{}", path.display()))?).split(b'\n');
            let mut entries = Vec::new();
            for line in lines {
                let line = line.with_context(|| format!("{}", path.display()))?;
                entries.extend(serde_json::from_slice(&line).ok());
            }
            Ok(entries)
        }
    }
}

/// The newest run's beginning, where it has no end.
pub fn unfinished(entries: &[Value]) -> Option<&Value> {
    let (at, start) = entries.iter().enumerate().rev().find(|(_, entry)| entry["event"] == "start")?;
    let ended = entries[at..].iter().any(|entry| entry["event"] == "end" && entry["run"] == start["run"]);
    (!ended).then_some(start)
}

/// An entry as a line of text.
pub fn told(entry: &Value) -> String {
    let field = |key: &str| entry[key].as_str().unwrap_or("-").to_owned();
    let what = match field("event").as_str() {
        "board" => format!("{}: {}: {}", field("host"), field("verdict"), field("what")),
        event => format!("{event}: {}", field("what")),
    };
    text::shown(&format!("{}  {}  {what}", field("time"), field("who"))).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_costs_itself_alone() {
        let folder = std::env::temp_dir().join(format!("edge-seg-journal-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("journal.jsonl");
        assert!(read(&path).unwrap().is_empty());
        assert!(format!("{:#}", read(&folder).unwrap_err()).contains("edge-seg-journal-"), "a folder is named");
        let journal = Journal::at(&path);
        journal.add("start", &json!({ "what": "mini serial 7" })).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"time\":\"20").unwrap();
        journal.add("board", &json!({ "host": "cam1", "verdict": "done", "what": "slot a is good" })).unwrap();
        let entries = read(&path).unwrap();
        assert_eq!(entries.len(), 2, "{entries:?}");
        assert!(told(&entries[1]).ends_with("cam1: done: slot a is good") && entries[0]["who"].as_str().unwrap().contains('@'));
        assert_eq!(unfinished(&entries).unwrap()["what"], "mini serial 7");
        journal.add("end", &json!({ "run": "another", "what": "1 done" })).unwrap();
        assert!(unfinished(&read(&path).unwrap()).is_some());
        journal.add("end", &json!({ "what": "1 done" })).unwrap();
        assert!(unfinished(&read(&path).unwrap()).is_none() && unfinished(&[]).is_none());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
