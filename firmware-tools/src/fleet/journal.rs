//! Who brought what to which boards, and when: a file of JSON lines beside `fleet.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use edge_seg_bundle::date::utc;
use serde_json::{Value, json};

use crate::{deploy, history};

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
    let opened = std::fs::metadata(path).and_then(|known| match known.is_file() {
        true => File::open(path),
        false => Err(std::io::Error::other("expected a regular file, in which the journal is kept")),
    });
    match opened {
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

/// What the newest rollout brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rollout {
    /// In words.
    pub what: String,
    /// The SHA-256 that each board got by it, for boards that it may have changed.
    pub boards: BTreeMap<String, Vec<String>>,
    /// Every board that it was for.
    pub known: BTreeSet<String>,
}

/// The newest rollout that is no way back and no dry run, with the runs before it that brought the same: one that was interrupted is
/// ended by running it again.
pub fn newest_rollout(entries: &[Value]) -> Option<Rollout> {
    let mut found: Option<(Rollout, &Value)> = None;
    let mut changed = BTreeSet::new();
    for start in entries.iter().rev().filter(|entry| entry["event"] == "start" && brings(entry)) {
        let of_run = |event: &'static str| entries.iter().filter(move |entry| entry["event"] == event && entry["run"] == start["run"]);
        let marks = |files: &Value| -> Vec<String> {
            files.as_object().into_iter().flatten().filter_map(|(_, sha256)| Some(sha256.as_str()?.to_owned())).collect()
        };
        let boards: BTreeMap<String, Vec<String>> = match start["boards"].as_object() {
            Some(boards) => boards.iter().map(|(host, files)| (host.clone(), marks(files))).collect(),
            // A journal from before they stood there.
            None => of_run("board").filter_map(|row| Some((row["host"].as_str()?.to_owned(), marks(&row["files"])))).collect(),
        };
        if let Some((rollout, newest)) = &found {
            let common = boards.iter().filter_map(|(host, files)| Some((files, rollout.boards.get(host)?)));
            let alike = common.clone().all(|(files, newer)| files == newer);
            let release = newest["files"].as_object().is_some_and(|files| !files.is_empty()) && newest["files"] == start["files"];
            if !alike || !(release || common.count() > 0) {
                break;
            }
        }
        let ended = of_run("end").next().is_some();
        changed.extend(boards.keys().filter(|host| may_have_changed(of_run("board").filter(|row| row["host"] == **host), ended)).cloned());
        // Without to how many and in what phases.
        let title = start["what"].as_str().unwrap_or_default();
        let what = title.rsplit_once(" to ").map_or(title, |(what, _)| what).to_owned();
        let newest = Rollout { what, ..Rollout::default() };
        let (rollout, _) = found.get_or_insert((newest, start));
        rollout.known.extend(boards.keys().cloned());
        for (host, files) in boards {
            rollout.boards.entry(host).or_insert(files);
        }
    }
    let (mut rollout, _) = found?;
    rollout.boards.retain(|host, files| changed.contains(host) && !files.is_empty());
    Some(rollout)
}

/// The highest number that an index was published under.
pub fn highest_index(entries: &[Value]) -> u64 {
    let number = |entry: &Value| {
        // Earlier journals say it in words alone: "..., index 3 in web".
        let said = || entry["what"].as_str()?.rsplit_once(", index ")?.1.split(' ').next()?.parse().ok();
        entry["number"].as_u64().or_else(said)
    };
    entries.iter().filter(|entry| entry["event"] == "publish").filter_map(number).max().unwrap_or(0)
}

fn brings(start: &Value) -> bool {
    // Earlier journals say it in words alone.
    let says = |words: &str| start["what"].as_str().is_some_and(|what| what.starts_with(words));
    let no = |key: &str, words: &str| !start[key].as_bool().unwrap_or_else(|| says(words));
    no("dry_run", "dry run of ") && no("rollback", "back to the release before")
}

/// Whether a run may have changed a board, by the rows that it has of it: an attempt is not taken back by a later one that changes nothing.
/// Earlier journals have rows of boards that were away once they had been asked to change.
fn may_have_changed<'a>(mut rows: impl Iterator<Item = &'a Value>, ended: bool) -> bool {
    let Some(first) = rows.next() else { return !ended };
    std::iter::once(first).chain(rows).any(|row| row["left_alone"] != true && row["verdict"] != "skipped")
}

/// An entry as a line of text.
pub fn told(entry: &Value) -> String {
    let field = |key: &str| entry[key].as_str().unwrap_or("-").to_owned();
    let what = match field("event").as_str() {
        "board" => format!("{}: {}: {}", field("host"), field("verdict"), field("what")),
        event => format!("{event}: {}", field("what")),
    };
    deploy::one_line(&format!("{}  {}  {what}", field("time"), field("who")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_no_journal() {
        assert!(format!("{:#}", read(Path::new("/dev/zero")).unwrap_err()).contains("expected a regular file"));
    }

    #[test]
    fn the_newest_rollout_is_what_was_brought_last_with_the_runs_that_it_took() {
        let start = |run: &str, boards: Value, more: Value| {
            let mut entry =
                json!({ "event": "start", "run": run, "what": run, "files": {}, "boards": boards, "dry_run": false, "rollback": false });
            entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            entry
        };
        let row = |run: &str, host: &str, verdict: &str, left_alone: bool| json!({ "event": "board", "run": run, "host": host, "verdict": verdict, "left_alone": left_alone });
        let end = |run: &str| json!({ "event": "end", "run": run });
        let four = json!({ "cam0": { "bundle.esb": "four" }, "cam1": { "bundle.esb": "four" }, "cam2": { "bundle.esb": "four" } });
        let r4 = json!({ "files": { "bundle.esb": "four" } });
        let boards = |entries: &[Value]| newest_rollout(entries).map(|rollout| rollout.boards.into_keys().collect::<Vec<_>>());
        assert_eq!(boards(&[]), None);
        // Interrupted: those that had no turn are none of it.
        let mut entries = vec![
            start("r1", json!({ "cam0": { "bundle.esb": "one" }, "cam1": { "bundle.esb": "one" } }), json!({})),
            row("r1", "cam0", "done", false),
            end("r1"),
            start("a", four.clone(), r4.clone()),
            row("a", "cam0", "done", false),
            row("a", "cam1", "skipped", true),
            row("a", "cam2", "away", true),
            end("a"),
        ];
        assert_eq!(boards(&entries).unwrap(), ["cam0"]);
        assert_eq!(newest_rollout(&entries).unwrap().known.len(), 3);
        // Whom nobody could reach once it was asked may have changed, whatever a later turn says.
        for (verdict, left_alone) in [("unknown", false), ("away", false), ("failed", false)] {
            entries.insert(6, row("a", "cam2", verdict, left_alone));
            assert_eq!(boards(&entries).unwrap(), ["cam0", "cam2"], "{verdict}");
            entries.remove(6);
        }
        // Run again, it is the same rollout; one without an end may have changed whom it has no row of.
        entries.extend([start("b", four.clone(), r4), row("b", "cam0", "done", true), row("b", "cam1", "done", false)]);
        assert_eq!(boards(&entries).unwrap(), ["cam0", "cam1", "cam2"]);
        assert_eq!(newest_rollout(&entries).unwrap().boards["cam2"], ["four"]);
        // Dry runs and ways back bring nothing.
        entries.extend([start("c", four.clone(), json!({ "dry_run": true })), start("d", json!({}), json!({ "rollback": true }))]);
        assert_eq!(boards(&entries).unwrap().len(), 3);
        // Other words for one board are a rollout of their own, of that board.
        let words = json!({ "cam0": { "config.toml": "other" }, "cam1": { "config.toml": "same" } });
        entries.extend([start("e", words, json!({})), row("e", "cam0", "done", false), row("e", "cam1", "done", true), end("e")]);
        assert_eq!(boards(&entries).unwrap(), ["cam0"]);
        // Journals from before: the rows tell, and the title.
        let mut old = row("f", "cam1", "done", false);
        old["files"] = json!({ "bundle.esb": "five" });
        entries.extend([json!({ "event": "start", "run": "f", "what": "tiny serial 5 to 1 boards", "files": {} }), old, end("f")]);
        entries.push(json!({ "event": "start", "run": "g", "what": "back to the release before to 1 boards", "files": {} }));
        entries.push(json!({ "event": "start", "run": "h", "what": "dry run of tiny serial 6", "files": {} }));
        assert_eq!(newest_rollout(&entries).unwrap().boards, BTreeMap::from([("cam1".to_owned(), vec!["five".to_owned()])]));
    }

    #[test]
    fn an_index_has_a_number_that_no_folder_has_had() {
        let mut entries = vec![json!({ "event": "publish", "what": "tiny serial 4 for 2 boards, index 3 in web" })];
        assert_eq!((highest_index(&entries), highest_index(&[])), (3, 0));
        entries.push(json!({ "event": "publish", "what": "tiny, index 9 in odd, index 5 in stick", "number": 5 }));
        entries.push(json!({ "event": "start", "what": "tiny, index 8 in web", "number": 8 }));
        assert_eq!(highest_index(&entries), 5);
    }

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
