use std::io::BufRead;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use edge_seg::live::{Control, Outcome, WordSet, read_words_file};

/// Says what a change of words did.
pub fn tell(answer: edge_seg::Result<Outcome>) {
    match answer {
        Ok(Outcome::Words(set)) => tell_words(&set),
        Ok(Outcome::Saved(name)) => tracing::info!("words saved as {name}"),
        Ok(Outcome::Deleted(name)) => tracing::info!("saved words {name} deleted"),
        Ok(Outcome::Stopping | Outcome::Nothing) => {}
        Err(e) => tracing::warn!("the words stay as they are: {}", super::flags::told(&e.into())),
    }
}

fn tell_words(set: &WordSet) {
    tracing::info!("words, set {}: {}", set.version, set.bank.names().join(", "));
}

/// Obeys lines of stdin until it ends.
pub fn obey_stdin(control: Control) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            tell(control.execute(&line));
        }
    });
}

/// Reads a file of words again whenever it changes.
pub fn watch_words(path: PathBuf, control: Control) {
    let stop = control.stop.clone();
    watch(path.clone(), None, stop, move || {
        tell(read_words_file(&path).and_then(|specs| control.words.change(|_| Ok(specs))).map(Outcome::Words));
    });
}

/// Calls whenever a file is another than before, or `asked` is set, which it resets.
pub fn watch(path: PathBuf, asked: Option<Arc<AtomicBool>>, stop: Arc<AtomicBool>, mut changed: impl FnMut() + Send + 'static) {
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
            let asked = asked.as_ref().is_some_and(|asked| asked.swap(false, Ordering::Relaxed));
            if asked || (now.is_some() && now != last) {
                last = now.or(last);
                changed();
            }
        }
    });
}
