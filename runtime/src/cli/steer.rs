use std::io::BufRead;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use edge_seg::live::Words;
use edge_seg::{Error, parse_tags, read_tags_file};

fn tell(changed: edge_seg::Result<Arc<edge_seg::live::WordSet>>) {
    match changed {
        Ok(set) => eprintln!("edge-seg: words, set {}: {}", set.version, set.bank.names().join(", ")),
        Err(e) => eprintln!("edge-seg: the words stay as they are: {e}"),
    }
}

const COMMANDS: &str = "`tags WORDS`, `add WORDS`, `remove WORDS` or `quit`";

/// Obeys lines of stdin until it ends.
pub fn obey_stdin(words: Arc<Words>, stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let (command, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            let place = "standard input";
            match command {
                "" => {}
                "tags" => tell(parse_tags(place, rest).and_then(|classes| words.set(classes))),
                "add" => tell(words.change(|old| {
                    let mut classes = old.to_vec();
                    classes.extend(parse_tags(place, rest)?.into_iter().filter(|new| old.iter().all(|c| c.name != new.name)));
                    Ok(classes)
                })),
                "remove" => tell(words.change(|old| {
                    let gone = parse_tags(place, rest)?;
                    if let Some(unknown) = gone.iter().find(|g| old.iter().all(|c| c.name != g.name)) {
                        let expected = "a word that is looked for".into();
                        return Err(Error::Words { place: place.into(), expected, found: format!("{:?}", unknown.name) });
                    }
                    let left: Vec<_> = old.iter().filter(|c| gone.iter().all(|g| g.name != c.name)).cloned().collect();
                    if left.is_empty() {
                        return Err(Error::Words { place: place.into(), expected: "a word that stays".into(), found: "none".into() });
                    }
                    Ok(left)
                })),
                "quit" => return stop.store(true, Ordering::Relaxed),
                other => eprintln!("edge-seg: expected {COMMANDS}, found {other:?}"),
            }
        }
    });
}

/// Reads a file of words again whenever it changes.
pub fn watch_file(path: PathBuf, words: Arc<Words>, stop: Arc<AtomicBool>) {
    let stamp = |path: &PathBuf| -> Option<(SystemTime, u64)> {
        let found = std::fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    let mut last = stamp(&path);
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(300));
            let now = stamp(&path);
            // An editor may take the file away for a moment while it writes a new one.
            if now.is_some() && now != last {
                last = now;
                tell(read_tags_file(&path).and_then(|classes| words.set(classes)));
            }
        }
    });
}
