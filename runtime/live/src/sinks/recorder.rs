use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use edge_seg_bundle::date::utc_compact;
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;

use super::{LiveSink, OverlayVideo, VideoWriter};
use crate::session::{FrameReport, SegmentedFrame};
use crate::{Error, Result};
use edge_seg_model::render::OverlayOptions;

/// Frames that may wait for the disk or the video encoder; what comes beyond is lost and counted.
const WAITING: usize = 8;

/// Names that are tried for a recording of one second.
const MAX_NAMES: u32 = 1000;

/// Records video while it runs, started and stopped from anywhere. It writes on a thread of its own and never holds frames up.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    limit: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: Option<Recording>,
    /// Recordings whose files are being finished.
    finishing: Vec<JoinHandle<()>>,
    last: Option<Last>,
}

/// The last recording that was ended, whose file may still be written.
#[derive(Debug, Clone)]
struct Last {
    seconds: f64,
    frames: Arc<AtomicU64>,
    lost: u64,
    finished: Arc<Mutex<Finished>>,
}

#[derive(Debug)]
struct Recording {
    name: String,
    since: Instant,
    frames: Arc<AtomicU64>,
    lost: u64,
    sender: SyncSender<(Arc<SegmentedFrame>, Arc<FrameReport>)>,
    thread: JoinHandle<()>,
    finished: Arc<Mutex<Finished>>,
}

/// What became of a recording.
#[derive(Debug, Clone, Default, Serialize)]
struct Finished {
    name: String,
    /// None while the file is being finished.
    whole: Option<bool>,
    error: Option<String>,
}

/// What a recorder does.
#[derive(Debug, Clone, Serialize)]
pub struct RecorderStatus {
    /// Whether frames are being written.
    pub recording: bool,
    /// The file's name in the recorder's folder: the running one, or the last one.
    pub name: Option<String>,
    /// How long it has been running, or the last one was.
    pub seconds: f64,
    /// Frames written to it.
    pub frames: u64,
    /// Frames lost because the disk or the encoder was too slow.
    pub lost: u64,
    /// Whether the last file is whole; none while it is being written.
    pub whole: Option<bool>,
    /// What was wrong with the last file.
    pub error: Option<String>,
}

/// A finished recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordedFile {
    /// Its name: when it began, in UTC, and its format as the ending.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

impl Recorder {
    /// Records into a folder, each file for `limit` at most.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if the folder is missing and cannot be made.
    pub fn new(folder: &Path, limit: Duration) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        super::video::sweep(folder);
        Ok(Self(Arc::new(Inner { folder: folder.into(), limit, state: Mutex::default() })))
    }

    /// Starts a file whose ending, `y4m` or what ffmpeg writes, is its format. Without `masks` the frames are written as they came.
    ///
    /// # Errors
    /// [`Option`](edge_seg_model::Error::Option) if one is being written already, and as [`VideoWriter::create`].
    pub fn start(&self, ending: &str, masks: bool) -> Result<String> {
        let mut state = self.lock();
        state.finishing.retain(|thread| !thread.is_finished());
        if let Some(running) = &state.running {
            let expected = "no recording under way";
            return Err(Error::option("recording", expected, running.name.clone()));
        }
        let stem = utc_compact(SystemTime::now());
        let mut names = (1..MAX_NAMES).map(|n| if n == 1 { format!("{stem}.{ending}") } else { format!("{stem}-{n}.{ending}") });
        // Another run may record into this folder, and begin in the same second.
        let claimed = names.find_map(|name| match VideoWriter::create_new(&self.0.folder.join(&name)) {
            Ok(None) => None,
            Ok(Some(video)) => Some(Ok((name, video))),
            Err(e) => Some(Err(e)),
        });
        let taken = || Error::option("recording", "a free name", format!("{stem} and {MAX_NAMES} more taken"));
        let (name, video) = claimed.ok_or_else(taken)??;
        let (sender, receiver) = sync_channel(WAITING);
        let frames = Arc::new(AtomicU64::new(0));
        let finished = Arc::new(Mutex::new(Finished { name: name.clone(), ..Finished::default() }));
        let (counted, outcome) = (frames.clone(), finished.clone());
        let write_on = move || {
            let written = write(video, masks, &receiver, &counted);
            // Frames that come after a fault have nobody to go to.
            drop(receiver);
            let mut outcome = outcome.lock();
            (outcome.whole, outcome.error) = (Some(written.is_ok()), written.err().map(|e| e.to_string()));
        };
        let thread = std::thread::Builder::new().name("edge-seg recorder".into()).spawn(write_on).map_err(Error::io("thread recorder"))?;
        state.running = Some(Recording { name: name.clone(), since: Instant::now(), frames, lost: 0, sender, thread, finished });
        Ok(name)
    }

    /// Ends the file; it is finished while other things go on.
    pub fn stop(&self) {
        self.lock().stop();
    }

    /// The finished recordings in its folder, the newest first.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if the folder cannot be read.
    pub fn list(&self) -> Result<Vec<RecordedFile>> {
        let folder = &self.0.folder;
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
            let entry = entry.map_err(Error::io(folder))?;
            let Some(name) = entry.file_name().to_str().filter(|name| is_recording(name)).map(str::to_owned) else { continue };
            // One that somebody takes away at this moment is none.
            if let Ok(file) = entry.metadata()
                && file.is_file()
            {
                found.push(RecordedFile { name, bytes: file.len() });
            }
        }
        found.sort_by(|a, b| b.name.cmp(&a.name));
        Ok(found)
    }

    /// Opens a finished recording, with its length in bytes; none if there is none of this name.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if it cannot be read.
    pub fn open(&self, name: &str) -> Result<Option<(File, u64)>> {
        let path = self.0.folder.join(name);
        if !is_recording(name) || !std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
            return Ok(None);
        }
        let file = File::open(&path).map_err(Error::io(&path))?;
        let bytes = file.metadata().map_err(Error::io(&path))?.len();
        Ok(Some((file, bytes)))
    }

    /// What it does now.
    pub fn status(&self) -> RecorderStatus {
        let state = self.lock();
        if let Some(running) = &state.running {
            return RecorderStatus {
                recording: true,
                name: Some(running.name.clone()),
                seconds: running.since.elapsed().as_secs_f64(),
                frames: running.frames.load(Ordering::Relaxed),
                lost: running.lost,
                whole: None,
                error: None,
            };
        }
        let Some(last) = &state.last else {
            return RecorderStatus { recording: false, name: None, seconds: 0.0, frames: 0, lost: 0, whole: None, error: None };
        };
        let Finished { name, whole, error } = last.finished.lock().clone();
        let frames = last.frames.load(Ordering::Relaxed);
        RecorderStatus { recording: false, name: Some(name), seconds: last.seconds, frames, lost: last.lost, whole, error }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }
}

impl State {
    fn stop(&mut self) {
        if let Some(Recording { since, frames, lost, thread, finished, .. }) = self.running.take() {
            self.finishing.push(thread);
            self.last = Some(Last { seconds: since.elapsed().as_secs_f64(), frames, lost, finished });
        }
    }
}

impl LiveSink for Recorder {
    fn take(&mut self, shown: &Arc<SegmentedFrame>, report: &Arc<FrameReport>) -> Result<()> {
        let mut state = self.lock();
        let Some(running) = &mut state.running else { return Ok(()) };
        if running.since.elapsed() > self.0.limit {
            state.stop();
            return Ok(());
        }
        match running.sender.try_send((shown.clone(), report.clone())) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => running.lost += 1,
            Err(TrySendError::Disconnected(_)) => state.stop(),
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let threads = {
            let mut state = self.lock();
            state.stop();
            std::mem::take(&mut state.finishing)
        };
        for thread in threads {
            let _ = thread.join();
        }
        let last = self.lock().last.clone();
        let error = last.and_then(|last| last.finished.lock().error.clone());
        match error {
            Some(error) => Err(Error::io(self.0.folder.clone())(std::io::Error::other(error))),
            None => Ok(()),
        }
    }
}

fn write(video: VideoWriter, masks: bool, frames: &Receiver<(Arc<SegmentedFrame>, Arc<FrameReport>)>, count: &AtomicU64) -> Result<()> {
    let opacity = if masks { OverlayOptions::default().opacity } else { 0.0 };
    let options = OverlayOptions::default().with_opacity(opacity).with_outline(masks).with_legend(masks);
    let mut sink = Box::new(OverlayVideo::new(video, options));
    for (shown, report) in frames {
        if let Err(e) = sink.take(&shown, &report) {
            // What is there is kept.
            let _ = sink.finish();
            return Err(e);
        }
        count.fetch_add(1, Ordering::Relaxed);
    }
    sink.finish()
}

/// Whether a file's name is one that [`Recorder::start`] gives: what else lies in the folder is nobody's business.
fn is_recording(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    name.rsplit_once('.').is_some_and(|(stem, ending)| {
        stem.len() >= 16 && stem.len() <= 32 && stem.as_bytes()[8] == b'T' && stem.chars().all(plain) && matches!(ending, "mp4" | "y4m")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_recordings_is_listed_or_opened() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let recorder = Recorder::new(folder, Duration::from_secs(1)).unwrap();
        let (old, new) = ("20260101T000000Z.y4m", "20260101T000001Z-2.mp4");
        for name in [old, new, "token", "notes.mp4", ".20260101T000002Z.7.part.mp4"] {
            std::fs::write(folder.join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", folder.join("20260101T000003Z.mp4")).unwrap();
        std::fs::create_dir(folder.join("20260101T000004Z.mp4")).unwrap();
        let names: Vec<_> = recorder.list().unwrap().into_iter().map(|file| (file.name, file.bytes)).collect();
        assert_eq!(names, [(new.to_owned(), 22), (old.to_owned(), 20)]);
        assert_eq!(recorder.open(old).unwrap().unwrap().1, 20);
        for name in
            ["token", "notes.mp4", "20260101T000003Z.mp4", "20260101T000004Z.mp4", "20260101T000009Z.mp4", "../20260101T000000Z.y4m", ""]
        {
            assert!(recorder.open(name).unwrap().is_none(), "{name}");
        }
    }

    #[test]
    fn two_recorders_never_share_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let recorders = [(); 4].map(|()| Recorder::new(folder.path(), Duration::from_secs(9)).unwrap());
        let mut names: Vec<_> = recorders.iter().map(|recorder| recorder.start("y4m", false).unwrap()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 4);
    }

    #[test]
    fn moments_are_written_as_dates() {
        let written = |seconds| utc_compact(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(written(0), "19700101T000000Z");
        assert_eq!(written(951_782_399), "20000228T235959Z");
        assert_eq!(written(951_782_400), "20000229T000000Z");
        assert_eq!(written(1_735_689_599), "20241231T235959Z");
    }
}
