use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use edge_seg::live::WordSet;
use edge_seg_live::words::{Control, Outcome, keep_examples, read_words_file};
use parking_lot::Mutex;
use rustix::io::ioctl_fionread;

/// Says what a change of words did.
pub fn tell(answer: edge_seg::Result<Outcome>) {
    match answer {
        Ok(Outcome::Words(set)) => tell_words(&set),
        Ok(Outcome::Saved(name)) => tracing::info!("words saved as {name}"),
        Ok(Outcome::Deleted(name)) => tracing::info!("saved words {name} deleted"),
        Ok(Outcome::Stopping | Outcome::Nothing) => {}
        Err(e) => tracing::warn!("the words stay as they are: {}", cut(&super::flags::told(&e.into()).to_string())),
    }
}

/// Longest text of a message, which repeats what was written.
const MAX_SAID: usize = 500;

/// A text, cut with a count where it is long.
fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_SAID) {
        Some((at, _)) => format!("{}... ({} bytes in all)", &text[..at], text.len()),
        None => text.into(),
    }
}

fn tell_words(set: &WordSet) {
    tracing::info!("words, set {}: {}", set.version, set.bank.names().join(", "));
}

/// Lines of stdin, which a thread obeys.
pub struct Commands {
    /// Held while lines that were read are obeyed.
    obeying: Arc<Mutex<()>>,
    thread: JoinHandle<()>,
}

impl Commands {
    /// How long the end of a run waits for commands that were given before it.
    const FINISH: Duration = Duration::from_secs(5);
    /// How long nothing is to come before nothing more was given: what was read is not held at once.
    const QUIET: Duration = Duration::from_millis(50);

    /// Obeys lines of stdin until it ends, or one of them ends the run.
    pub fn obey(control: Control) -> Self {
        let obeying = Arc::<Mutex<()>>::default();
        let held = obeying.clone();
        let thread = std::thread::spawn(move || {
            let mut input = BufReader::new(std::io::stdin());
            // This is where an idle run waits, without the lock.
            while input.fill_buf().is_ok_and(|read| !read.is_empty()) {
                let _held = held.lock();
                match next_line(&mut input) {
                    Ok(Some(Ok(line))) => {
                        let answer = control.execute(&line);
                        let is_last = matches!(answer, Ok(Outcome::Stopping));
                        tell(answer);
                        if is_last {
                            return;
                        }
                    }
                    Ok(Some(Err(found))) => {
                        tracing::warn!("--commands: expected a line of UTF-8 text of up to {MAX_LINE_BYTES} bytes, found {found}");
                    }
                    Ok(None) | Err(_) => return,
                }
            }
        });
        Self { obeying, thread }
    }

    /// Waits until the lines are obeyed that were given before, so that none is left half done.
    pub fn finish(self) {
        let mut quiet_since = Instant::now();
        let until = quiet_since + Self::FINISH;
        while !self.thread.is_finished() && quiet_since.elapsed() < Self::QUIET {
            let is_quiet = ioctl_fionread(std::io::stdin()).is_ok_and(|bytes| bytes == 0) && self.obeying.try_lock().is_some();
            let now = Instant::now();
            if !is_quiet {
                quiet_since = now;
            }
            if now > until {
                tracing::warn!("--commands: the run ends before its last line is obeyed, for which it waited {} s", Self::FINISH.as_secs());
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// As much as a long list of words takes.
const MAX_LINE_BYTES: usize = 1 << 20;

/// The next line, or what is wrong with it; none at the end. A line that is too long is passed over without being kept.
fn next_line(input: &mut impl BufRead) -> std::io::Result<Option<Result<String, String>>> {
    let mut line = Vec::new();
    if input.by_ref().take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.len() > MAX_LINE_BYTES && line.last() != Some(&b'\n') {
        let mut length = line.len();
        loop {
            let rest = input.fill_buf()?;
            let end = rest.iter().position(|&b| b == b'\n');
            let passed = end.map_or(rest.len(), |at| at + 1);
            input.consume(passed);
            length += passed;
            if end.is_some() || passed == 0 {
                return Ok(Some(Err(format!("one of {length} bytes"))));
            }
        }
    }
    Ok(Some(String::from_utf8(line).map_err(|e| format!("byte {} that is not", e.utf8_error().valid_up_to()))))
}

/// Reads a file of words again whenever it changes.
pub fn watch_words(path: PathBuf, control: Control) {
    let stop = control.stop.clone();
    watch(path.clone(), None, stop, move || {
        tell(read_words_file(&path).and_then(|specs| control.words.change(|old| Ok(keep_examples(old, specs)))).map(Outcome::Words));
    });
}

/// Calls whenever a file is another than before, or `asked` is set, which it resets. A pipe in its place is read once.
pub fn watch(path: PathBuf, asked: Option<Arc<AtomicBool>>, stop: Arc<AtomicBool>, mut changed: impl FnMut() + Send + 'static) {
    let stamp = |path: &PathBuf| -> Option<(SystemTime, u64)> {
        let found = std::fs::metadata(path).ok().filter(|found| found.is_file())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_cannot_be_read_costs_itself_alone() {
        let long = vec![b'a'; 3 * MAX_LINE_BYTES];
        let mut input = [b"add dog\nadd caf\xe9\nadd ".as_slice(), &long, b"\nadd wall\n", b"quit"].concat();
        let mut lines = Vec::new();
        let mut reader = std::io::BufReader::new(input.as_slice());
        while let Some(line) = next_line(&mut reader).unwrap() {
            lines.push(line);
        }
        let want = [
            Ok("add dog\n".into()),
            Err("byte 7 that is not".into()),
            Err(format!("one of {} bytes", long.len() + 5)),
            Ok("add wall\n".into()),
            Ok("quit".into()),
        ];
        assert_eq!(lines, want);
        assert_eq!(cut(&"é".repeat(600)), format!("{}... (1200 bytes in all)", "é".repeat(500)));
        assert_eq!(cut("short"), "short");
        input.clear();
        assert_eq!(next_line(&mut input.as_slice()).unwrap(), None);
    }
}
