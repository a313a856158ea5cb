use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::due::{Due, came, key_frame, of_key};
use super::{IndexOptions, IndexWriter, Seen};
use crate::session::{FrameReport, SegmentedFrame};
use crate::sinks::LiveSink;
use crate::{Error, Result};
use edge_seg_model::Session;

/// Key frames that may wait for the disk; what comes beyond is lost and counted.
const WAITING: usize = 4;
/// How much a loss of power may cost.
const SYNC: Duration = Duration::from_secs(10);

/// Puts key frames into an index while they run, on a thread of its own. A session that hides something is refused with its first frame.
#[derive(Debug)]
pub struct IndexSink {
    sender: Option<SyncSender<IndexJob>>,
    thread: Option<JoinHandle<()>>,
    interval: Duration,
    due: Due,
    lost: Arc<AtomicU64>,
    waits: bool,
    /// When a recorded clip began.
    start: Option<SystemTime>,
    /// What is wrong, until something is written again.
    fault: Arc<Mutex<Option<String>>>,
}

struct IndexJob {
    shown: Arc<SegmentedFrame>,
    time: SystemTime,
}

impl IndexSink {
    /// Opens an index for the frames of one camera. What is lost because the disk is too slow is counted in `lost`.
    ///
    /// # Errors
    /// As [`IndexWriter::open`].
    pub fn open(path: &Path, session: &Session, origin: String, options: &IndexOptions, lost: Arc<AtomicU64>) -> Result<Self> {
        let mut writer = IndexWriter::open(path, session, options)?;
        let (sender, jobs) = sync_channel::<IndexJob>(WAITING);
        let fault = Arc::new(Mutex::new(None));
        let told = fault.clone();
        let work = move || {
            let mut synced = Instant::now();
            for IndexJob { shown, time } in jobs {
                let Some(frame) = key_frame(&shown) else { continue };
                let seen = Seen { encoded: &shown.encoded, picture: &frame.pixels, time, at: frame.timestamp, origin: &origin };
                let mut done = writer.add(&seen);
                if synced.elapsed() >= SYNC {
                    synced = Instant::now();
                    done = done.and_then(|()| writer.sync());
                }
                *told.lock() = done.err().map(|e| e.to_string());
            }
            if let Err(e) = writer.sync() {
                *told.lock() = Some(e.to_string());
            }
        };
        let thread = std::thread::Builder::new().name("index".into()).spawn(work).map_err(Error::io("thread of the index"))?;
        Ok(Self {
            sender: Some(sender),
            thread: Some(thread),
            interval: options.interval,
            due: Due::default(),
            lost,
            waits: false,
            start: None,
            fault,
        })
    }

    /// The same that holds frames up where the disk is slow, and loses none: for a source that waits.
    pub fn waiting(mut self) -> Self {
        self.waits = true;
        self
    }

    /// The same for a recorded clip that began at `start`: its frames have its own times, and not those at which they are read.
    pub fn starting(mut self, start: SystemTime) -> Self {
        self.start = Some(start);
        self
    }

    /// Writes what waits.
    fn end(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    fn told(&self) -> Result<()> {
        let fault = self.fault.lock().clone();
        fault.map_or(Ok(()), |found| Err(Error::Sink { place: "index".into(), found }))
    }
}

impl LiveSink for IndexSink {
    fn take(&mut self, shown: &Arc<SegmentedFrame>, _: &Arc<FrameReport>) -> Result<()> {
        if !self.due.is_due(shown, self.interval)? {
            return self.told();
        }
        let of_clip = self.start.zip(key_frame(shown)).and_then(|(start, key)| start.checked_add(key.timestamp));
        let time = of_clip.unwrap_or_else(|| of_key(came(shown), shown));
        let job = IndexJob { shown: shown.clone(), time };
        let sent = self.sender.as_ref().map(|sender| match self.waits {
            true => sender.send(job).map_err(|e| TrySendError::Disconnected(e.0)),
            false => sender.try_send(job),
        });
        match sent {
            Some(Ok(())) => self.due.took(shown),
            Some(Err(TrySendError::Full(_))) => drop(self.lost.fetch_add(1, Ordering::Relaxed)),
            Some(Err(TrySendError::Disconnected(_))) | None => {}
        }
        self.told()
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.end();
        self.told()
    }
}

impl Drop for IndexSink {
    fn drop(&mut self) {
        self.end();
    }
}
