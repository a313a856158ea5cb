//! A session on video: one thread reads frames, one segments them, the caller's takes them away. Words change meanwhile.
//!
//! The encoder runs on key frames alone; between them their scores are carried along by the motion of the picture.

mod event_bus;
mod frame;
mod governor;
mod latest;
mod options;
mod report;
mod segment;

pub use event_bus::EventBus;
pub use frame::SegmentedFrame;
pub use governor::{Allowance, Governed, Governor, GovernorOptions, Readings, Zone};
pub use options::{KeyFrames, LiveOptions};
pub use report::FrameReport;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use image::RgbImage;

use crate::Result;
use crate::source::{Pace, Rate, Source};
use crate::words::Words;
use edge_seg_model::{Frame, Segmentation, Session};
use latest::LatestQueue;
use segment::Segmenter;

/// Frames counted since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Read from the source.
    pub captured: AtomicU64,
    /// Lost because a newer one came before they were taken.
    pub dropped: AtomicU64,
    /// Segmented and handed on.
    pub segmented: AtomicU64,
    /// Of these, the ones whose masks took longer than frames are apart.
    pub late: AtomicU64,
}

struct Captured {
    frame: Frame,
    at: Instant,
    rate: Option<Rate>,
}

/// Things whose memory is free.
struct Pool<T>(Mutex<Vec<T>>);

const POOLED: usize = 4;

impl<T> Pool<T> {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Vec::with_capacity(POOLED))))
    }

    fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).pop()
    }

    fn give(&self, item: T) {
        let mut free = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if free.len() < POOLED {
            free.push(item);
        }
    }
}

/// What a frame is made of when it comes back.
#[derive(Clone)]
struct Pools {
    frames: Arc<Pool<Frame>>,
    found: Arc<Pool<Segmentation>>,
}

const POLL: Duration = Duration::from_millis(40);

/// Segments a source's frames until it ends, `stop` is set, or `each` returns false or an error. Every frame that is read is either
/// handed to `each` or counted as dropped, except for those that are under way when it stops.
///
/// # Errors
/// What the source, the session or `each` says.
pub fn run<E: From<crate::Error>>(
    session: &Arc<Session>,
    source: Box<dyn Source>,
    words: &Arc<Words>,
    options: LiveOptions,
    counters: &Arc<Counters>,
    stop: &Arc<AtomicBool>,
    mut each: impl FnMut(Arc<SegmentedFrame>) -> Result<bool, E>,
) -> Result<(), E> {
    let queue = Arc::new(LatestQueue::<Captured>::default());
    let pools = Pools { frames: Pool::new(), found: Pool::new() };
    let (sender, receiver) = sync_channel(1);
    // A source that breaks may have left frames behind that are whole; they come first, then what was wrong.
    let broken = Arc::new(Mutex::new(None));
    let capture = {
        let (queue, counters, stop, broken) = (queue.clone(), counters.clone(), stop.clone(), broken.clone());
        let (pool, pace) = (pools.frames.clone(), options.pace);
        // Reading may block for ever on a pipe that nobody writes to, so this thread is never waited for.
        move || {
            let fault = capture(source, pace, &queue, &pool, &counters, &stop).err();
            *broken.lock().unwrap_or_else(|e| e.into_inner()) = fault;
            queue.close();
        }
    };
    std::thread::spawn(capture);
    {
        let (session, words, queue, counters) = (session.clone(), words.clone(), queue.clone(), counters.clone());
        let (pools, stop) = (pools.clone(), stop.clone());
        // A frame that is being encoded when it stops may take seconds on a small board, and is not waited for either.
        std::thread::spawn(move || segment(Segmenter::new(session, words, options), &pools, &queue, &counters, &stop, &sender));
    }
    let outcome = deliver(&receiver, &pools, stop, &mut each);
    stop.store(true, Ordering::Relaxed);
    let ended = queue.is_closed();
    queue.close();
    match (outcome?, broken.lock().unwrap_or_else(|e| e.into_inner()).take()) {
        (Delivered::All, Some(error)) => Err(error.into()),
        (Delivered::All, None) if !ended => {
            let source = "the thread that segments ended by itself".into();
            Err(crate::Error::from(edge_seg_model::Error::Encoder { encoder: "image", source }).into())
        }
        _ => Ok(()),
    }
}

/// Why no more frames are delivered.
enum Delivered {
    /// No more come.
    All,
    /// No more are wanted.
    Enough,
}

fn deliver<E: From<crate::Error>>(
    receiver: &Receiver<Result<SegmentedFrame>>,
    pools: &Pools,
    stop: &AtomicBool,
    each: &mut impl FnMut(Arc<SegmentedFrame>) -> Result<bool, E>,
) -> Result<Delivered, E> {
    loop {
        match receiver.recv_timeout(POLL) {
            Ok(Ok(shown)) => {
                let shown = Arc::new(shown);
                if !each(shown.clone())? {
                    return Ok(Delivered::Enough);
                }
                if let Some(shown) = Arc::into_inner(shown) {
                    pools.frames.give(shown.frame);
                    pools.found.give(shown.found);
                }
            }
            Ok(Err(e)) => return Err(e.into()),
            Err(RecvTimeoutError::Disconnected) => return Ok(Delivered::All),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(Delivered::Enough);
        }
    }
}

fn capture(
    mut source: Box<dyn Source>,
    pace: Pace,
    queue: &LatestQueue<Captured>,
    pool: &Pool<Frame>,
    counters: &Counters,
    stop: &AtomicBool,
) -> Result<()> {
    let live = match pace {
        Pace::Auto => source.is_live(),
        Pace::Live => true,
        Pace::Every => false,
    };
    while !stop.load(Ordering::Relaxed) {
        let mut frame = pool.take().unwrap_or_else(|| Frame::still(RgbImage::default()));
        if !source.read(&mut frame)? {
            return Ok(());
        }
        counters.captured.fetch_add(1, Ordering::Relaxed);
        let captured = Captured { frame, at: Instant::now(), rate: source.rate() };
        if !live {
            if queue.put_waiting(captured).is_some() {
                return Ok(());
            }
        } else if let Some(lost) = queue.put_newest(captured) {
            counters.dropped.fetch_add(1, Ordering::Relaxed);
            pool.give(lost.frame);
        }
    }
    Ok(())
}

fn segment(
    mut segmenter: Segmenter,
    pools: &Pools,
    queue: &LatestQueue<Captured>,
    counters: &Counters,
    stop: &AtomicBool,
    sender: &SyncSender<Result<SegmentedFrame>>,
) {
    let mut interval = FrameInterval::default();
    while let Some(Captured { frame, at, rate }) = queue.take() {
        let shown = segmenter.segment(&frame, pools.found.take()).map(|(found, stats)| {
            let latency = at.elapsed();
            let is_late = u64::from(latency > interval.next(rate, at));
            let late = counters.late.fetch_add(is_late, Ordering::Relaxed) + is_late;
            SegmentedFrame {
                frame,
                found,
                words: stats.words,
                key: stats.key,
                key_sequence: stats.key_sequence,
                evidence_age: stats.evidence_age,
                carrying: stats.carrying,
                latency,
                dropped: counters.dropped.load(Ordering::Relaxed),
                late,
                governor: segmenter.governed(),
                rate,
            }
        });
        let failed = shown.is_err();
        counters.segmented.fetch_add(u64::from(!failed), Ordering::Relaxed);
        if sender.send(shown).is_err() || failed {
            break;
        }
        segmenter.rest(stop);
    }
    queue.close();
}

/// How far frames are apart: by the source's rate, or else by when they came.
#[derive(Default)]
struct FrameInterval {
    last: Option<Instant>,
    seconds: f64,
}

impl FrameInterval {
    fn next(&mut self, rate: Option<Rate>, at: Instant) -> Duration {
        if let Some((frames, seconds)) = rate.filter(|&(n, d)| n > 0 && d > 0) {
            return Duration::from_secs_f64(f64::from(seconds) / f64::from(frames));
        }
        let passed = self.last.replace(at).map_or(1.0, |last| (at - last).as_secs_f64());
        self.seconds = if self.seconds == 0.0 { passed } else { 0.9 * self.seconds + 0.1 * passed };
        Duration::from_secs_f64(self.seconds)
    }
}
