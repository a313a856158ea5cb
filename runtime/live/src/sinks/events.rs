use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::time::Duration;

use image::codecs::jpeg::JpegEncoder;

use super::LiveSink;
use crate::rules::Event;
use crate::session::{FrameReport, SegmentedFrame};
use crate::{Error, Result};
use edge_seg_bundle::files::{has_name, replace_file, sweep_parts};
use edge_seg_model::render::{Legend, LegendEntry, OverlayOptions, draw_overlay_in};

/// Rule events as lines of JSON at the end of a file, each on disk before the next frame.
pub struct EventLog {
    path: PathBuf,
    file: File,
    /// Lines that a full disk did not take; they come first when it does.
    waiting: VecDeque<Vec<u8>>,
    /// A line was torn.
    torn: bool,
}

impl std::fmt::Debug for EventLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EventLog {{ {:?}, {} lines wait }}", self.path, self.waiting.len())
    }
}

/// Lines that wait for a disk; beyond, the oldest are lost.
const MAX_WAITING: usize = 10_000;

impl EventLog {
    /// Opens a file, or makes it. A line that a power cut or a full disk tore is ended, so that the next event has a line of its own.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if the file system refuses.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = OpenOptions::new().append(true).create(true).open(path).map_err(Error::io(path))?;
        if is_torn(path).map_err(Error::io(path))? {
            file.write_all(b"\n").map_err(Error::io(path))?;
        }
        Ok(Self { path: path.into(), file, waiting: VecDeque::new(), torn: false })
    }

    /// Goes on in another file where the one that is open has lost its name: what rotates logs, or empties a folder, takes it away.
    fn keep_its_name(&mut self) -> Result<()> {
        let is_file = self.file.metadata().map_err(Error::io(&self.path))?.is_file();
        if is_file && !has_name(&self.file, &self.path).map_err(Error::io(&self.path))? {
            self.file = Self::open(&self.path)?.file;
            self.torn = false;
        }
        Ok(())
    }

    /// Writes what waits.
    fn write(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.keep_its_name()?;
        while let Some(line) = self.waiting.front() {
            if self.torn && is_torn(&self.path).map_err(Error::io(&self.path))? {
                self.file.write_all(b"\n").map_err(Error::io(&self.path))?;
            }
            // In one call, so that a reader never sees half a line.
            let written = self.file.write_all(line);
            self.torn = written.is_err();
            written.map_err(Error::io(&self.path))?;
            // Written once, even where the disk does not promise that it lasts: it would be there twice.
            self.waiting.pop_front();
            if !is_device(&self.file) {
                self.file.sync_data().map_err(Error::io(&self.path))?;
            }
        }
        Ok(())
    }
}

/// Whether a file's last line has no end. A pipe or device has no lines to mend.
fn is_torn(path: &Path) -> std::io::Result<bool> {
    let about = std::fs::metadata(path)?;
    if !about.is_file() || about.len() == 0 {
        return Ok(false);
    }
    let (mut file, mut last) = (File::open(path)?, [0]);
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

impl LiveSink for EventLog {
    fn take(&mut self, _: &Arc<SegmentedFrame>, report: &Arc<FrameReport>) -> Result<()> {
        for event in &report.events {
            let line = event.line().map_err(|e| Error::io(self.path.clone())(e.into()))?;
            self.waiting.push_back((line + "\n").into_bytes());
        }
        if self.waiting.len() > MAX_WAITING {
            let lost = self.waiting.len() - MAX_WAITING;
            tracing::error!("{}: {lost} events are lost", self.path.display());
            self.waiting.drain(..lost);
        }
        self.write()
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        match self.waiting.len() {
            0 => Ok(()),
            lost => {
                self.waiting.clear();
                Err(Error::Sink { place: self.path.display().to_string(), found: format!("{lost} events could not be written") })
            }
        }
    }
}

/// Pipes and devices have no disk to wait for.
fn is_device(file: &File) -> bool {
    file.metadata().is_ok_and(|about| !about.is_file())
}

/// Pictures of rule events in a folder of bounded length. They are drawn and written on a thread of their own.
pub struct Snapshots {
    folder: PathBuf,
    queue: SyncSender<(Arc<SegmentedFrame>, Arc<FrameReport>, PathBuf)>,
    dropped: Arc<AtomicU64>,
    done: Receiver<()>,
}

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Snapshots {{ {:?} }}", self.folder)
    }
}

/// Pictures that wait. Each holds a whole frame.
const QUEUE: usize = 4;
const QUALITY: u8 = 88;
const ENDING: &str = ".event.jpg";
/// How long the end may take.
const FINISH: Duration = Duration::from_millis(700);

impl Snapshots {
    /// Keeps the newest `keep` pictures in a folder, which is made if it is missing.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if the folder cannot be made or read.
    pub fn create(folder: PathBuf, keep: usize, dropped: Arc<AtomicU64>) -> Result<Self> {
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        sweep_parts(&folder);
        let listed = std::fs::read_dir(&folder).map_err(Error::io(&folder))?;
        let mut kept: Vec<PathBuf> =
            listed.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.to_string_lossy().ends_with(ENDING)).collect();
        // Their names begin with their times.
        kept.sort();
        let mut kept = VecDeque::from(kept);
        let (queue, pictures) = sync_channel::<(Arc<SegmentedFrame>, Arc<FrameReport>, PathBuf)>(QUEUE);
        let (ended, done) = channel();
        let run = move || {
            for (shown, report, path) in pictures {
                match draw(&shown, &report).and_then(|jpeg| Ok(replace_file(&path, &jpeg)?)) {
                    Ok(()) => kept.push_back(path),
                    Err(e) => tracing::warn!("snapshot: {e}"),
                }
                while kept.len() > keep.max(1) {
                    if let Some(oldest) = kept.pop_front()
                        && let Err(e) = std::fs::remove_file(&oldest)
                    {
                        tracing::warn!("{}: {e}", oldest.display());
                    }
                }
            }
            drop(ended);
        };
        let spawned = std::thread::Builder::new().name("snapshots".into()).spawn(run);
        spawned.map_err(Error::io(&folder))?;
        Ok(Self { folder, queue, dropped, done })
    }

    /// Where an event's picture goes in a folder.
    pub fn path(folder: &Path, event: &Event) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let rule: String = event.rule.chars().take(40).map(plain).collect();
        folder.join(format!("{}-{rule}-{}{ENDING}", event.time.replace([':', '.'], "-"), event.sequence))
    }
}

impl LiveSink for Snapshots {
    fn take(&mut self, shown: &Arc<SegmentedFrame>, report: &Arc<FrameReport>) -> Result<()> {
        for path in report.events.iter().filter_map(|e| e.snapshot.as_ref()).map(PathBuf::from) {
            if self.queue.try_send((shown.clone(), report.clone(), path)).is_err() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let Self { folder, queue, done, .. } = *self;
        drop(queue);
        if let Err(RecvTimeoutError::Timeout) = done.recv_timeout(FINISH) {
            tracing::warn!("{}: the last pictures were not written in time", folder.display());
        }
        Ok(())
    }
}

fn draw(shown: &SegmentedFrame, report: &FrameReport) -> Result<Vec<u8>> {
    let legend = LegendEntry::list(&report.classes, Legend::Found);
    let picture = draw_overlay_in(&shown.frame.pixels, &shown.found.labels, &legend, &shown.words.colours(), OverlayOptions::default());
    let mut jpeg = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode_image(&picture)
        .map_err(|e| Error::Sink { place: "snapshot".into(), found: e.to_string() })?;
    Ok(jpeg.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_go_on_where_their_file_was_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let (there, away) = (folder.path().join("there"), folder.path().join("away"));
        std::fs::create_dir(&there).unwrap();
        let path = there.join("events.jsonl");
        let mut log = EventLog::open(&path).unwrap();
        let mut put = |line: &str| {
            log.waiting.push_back(line.into());
            log.write().map_err(|error| error.to_string())
        };
        put("1\n").unwrap();
        std::fs::rename(&path, there.join("events.jsonl.1")).unwrap();
        put("2\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "2\n");
        assert_eq!(std::fs::read_to_string(there.join("events.jsonl.1")).unwrap(), "1\n");
        // Without its folder they wait until it is back.
        std::fs::rename(&there, &away).unwrap();
        assert!(put("3\n").unwrap_err().contains("No such file"));
        std::fs::rename(&away, &there).unwrap();
        put("4\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "2\n3\n4\n");
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        for (before, after) in [("", ""), ("{}\n", "{}\n"), ("{}\n{\"ru", "{}\n{\"ru\n")] {
            std::fs::write(&path, before).unwrap();
            EventLog::open(&path).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
        }
    }
}
