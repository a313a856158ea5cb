//! A session on video: one thread reads frames, one segments them, the caller's takes them away. Words change meanwhile.
//!
//! The encoder runs on key frames alone; between them their scores are carried along by the motion of the picture.
//!
//! ```
//! use std::time::Duration;
//! use edge_seg_live::session::{Governor, Readings, Zone};
//! // A board that is hot for some seconds is given less to do.
//! let hot = Readings { hottest: Some(Zone { name: "cpu-thermal".into(), celsius: 81.0, hot_c: 75.0 }), throttled: None };
//! let mut governor = Governor::default();
//! assert_eq!(governor.allowance().rate, 1.0);
//! for second in 0..7 {
//!     governor.step(Duration::from_secs(second), &hot);
//! }
//! assert_eq!(governor.allowance().rate, 0.5);
//! ```

mod event_bus;
mod frame;
mod governor;
mod hide;
pub(crate) mod latest;
mod options;
mod report;
mod segment;
mod switches;
mod threads;

pub use event_bus::EventBus;
pub use frame::SegmentedFrame;
pub use governor::{Allowance, Governed, Governor, GovernorOptions, Readings, Zone};
pub use options::{KeyFrames, LiveOptions};
pub use report::FrameReport;
pub use switches::HideSwitches;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use image::RgbImage;
use parking_lot::Mutex;

use crate::source::{Pace, Rate, Source, decoders};
use crate::words::Words;
use crate::{Error, Result};
use edge_seg_model::{Frame, Segmentation, Session};
use hide::RawFrame;
use latest::LatestQueue;
use segment::Segmenter;
use threads::spawn;
pub(crate) use threads::{Held, catch};

/// Frames counted since the start.
#[derive(Debug, Default)]
#[non_exhaustive]
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
    frame: RawFrame,
    at: Instant,
    rate: Option<Rate>,
    decoder: Option<&'static str>,
}

/// Things whose memory is free.
struct Pool<T>(Mutex<Vec<T>>);

const POOLED: usize = 4;

impl<T> Pool<T> {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Vec::with_capacity(POOLED))))
    }

    fn take(&self) -> Option<T> {
        self.0.lock().pop()
    }

    fn give(&self, item: T) {
        let mut free = self.0.lock();
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
/// A clock has no time beyond some centuries; nobody waits for a day.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// The threads of a session on video, and what they hand on. Dropping it stops them, and waits for as long as the options say.
pub(crate) struct Pipeline {
    receiver: Option<Receiver<Result<SegmentedFrame>>>,
    segmenting: Option<JoinHandle<()>>,
    capturing: Option<JoinHandle<()>>,
    /// Closed once the source is let go.
    ended: Receiver<()>,
    queue: Arc<LatestQueue<Captured>>,
    pools: Pools,
    /// A source that breaks may have left frames behind that are whole; they come first, then what was wrong.
    broken: Arc<Mutex<Option<Error>>>,
    stop: Arc<AtomicBool>,
    /// What has the source's read return.
    source_stop: Option<Arc<AtomicBool>>,
    /// What was handed on last, to be filled again once nobody else holds it.
    last: Option<Arc<SegmentedFrame>>,
    patience: Duration,
    /// The process that has the threads.
    pub(crate) process: u32,
}

impl Pipeline {
    /// # Errors
    /// [`Error::Option`](edge_seg_model::Error::Option) if an option cannot be followed or the words are another model's,
    /// [`Error::Io`](edge_seg_model::Error::Io) if threads cannot be started, [`Error::Panicked`] if the source panics.
    pub fn start(
        session: &Arc<Session>,
        source: Held,
        words: &Arc<Words>,
        options: LiveOptions,
        counters: &Arc<Counters>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self> {
        options.check(session)?;
        words.current().bank.check(session)?;
        let queue = Arc::new(LatestQueue::<Captured>::default());
        let pools = Pools { frames: Pool::new(), found: Pool::new() };
        let (sender, receiver) = sync_channel(1);
        let (running, ended) = channel::<()>();
        let broken = Arc::new(Mutex::new(None));
        let (pace, patience) = (options.pace, options.patience);
        let mut pipeline = Self {
            receiver: Some(receiver),
            segmenting: None,
            capturing: None,
            ended,
            queue: queue.clone(),
            pools: pools.clone(),
            broken: broken.clone(),
            stop: stop.clone(),
            source_stop: source.stop_flag()?,
            last: None,
            patience,
            process: std::process::id(),
        };
        let segment = {
            let (session, words, queue, counters) = (session.clone(), words.clone(), queue.clone(), counters.clone());
            let (pools, stop) = (pools.clone(), stop.clone());
            move || {
                let outcome = catch("segmentation", || {
                    let segmenter = Segmenter::new(session, words, options)?;
                    segment(segmenter, &pools, &queue, &counters, &stop, &sender);
                    Ok(())
                });
                queue.close();
                if let Err(error) = outcome {
                    let _ = sender.send(Err(error));
                }
            }
        };
        pipeline.segmenting = Some(spawn("segment", segment)?);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (counters, stop, threads) = (counters.clone(), stop.clone(), session.threads().min(cores));
        let capture = move || {
            decoders::decode_on(threads);
            let read = |source| capture(source, pace, &queue, &pools.frames, &counters, &stop);
            *broken.lock() = catch("source", || source.take().map_or(Ok(()), read)).err();
            queue.close();
            drop(running);
        };
        pipeline.capturing = Some(spawn("capture", capture)?);
        Ok(pipeline)
    }

    /// The next frame with its masks; none once no more come, or it was stopped.
    pub fn next(&mut self) -> Option<Result<Arc<SegmentedFrame>>> {
        loop {
            if let Poll::Ready(shown) = self.next_within(POLL) {
                return shown;
            }
        }
    }

    /// As [`Self::next`], pending if none has come after `wait`.
    pub fn next_within(&mut self, wait: Duration) -> Poll<Option<Result<Arc<SegmentedFrame>>>> {
        if let Some(forked) = self.forked() {
            return Poll::Ready(self.receiver.take().map(|receiver| {
                std::mem::forget(receiver);
                Err(forked)
            }));
        }
        if let Some(shown) = self.last.take().and_then(Arc::into_inner) {
            self.pools.frames.give(shown.frame.into_inner());
            self.pools.found.give(shown.found);
        }
        let deadline = Instant::now() + wait.min(LONGEST_WAIT);
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Poll::Ready(None);
            }
            let Some(receiver) = self.receiver.as_ref() else { return Poll::Ready(None) };
            match receiver.recv_timeout(POLL.min(deadline.saturating_duration_since(Instant::now()))) {
                Ok(Ok(shown)) => {
                    let shown = Arc::new(shown);
                    self.last = Some(shown.clone());
                    return Poll::Ready(Some(Ok(shown)));
                }
                Ok(Err(error)) => {
                    self.receiver = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.receiver = None;
                    return Poll::Ready(self.broken.lock().take().map(Err));
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => return Poll::Pending,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// That this process was forked from the one that has the threads. What these share may be locked for ever here.
    pub fn forked(&self) -> Option<Error> {
        let (first, here) = (self.process, std::process::id());
        (first != here).then(|| edge_seg_model::Error::Forked { first, here }.into())
    }

    /// The source's panic that nobody was told of: one in its end, or in a read that nobody waited for.
    pub fn panic(&self) -> Option<Error> {
        self.broken.lock().take().filter(|error| matches!(error, Error::Panicked { .. }))
    }

    /// Ends the threads and waits for them. False if the source blocks in a read for longer than the options' patience.
    pub fn stop(&mut self) -> bool {
        if self.forked().is_some() {
            std::mem::forget((self.receiver.take(), self.last.take(), self.segmenting.take(), self.capturing.take()));
            return true;
        }
        self.stop.store(true, Ordering::Relaxed);
        if let Some(stop) = &self.source_stop {
            stop.store(true, Ordering::Relaxed);
        }
        self.queue.close();
        (self.receiver, self.last) = (None, None);
        // It ends with the frame that it has, which on a slow board may take longer than a source may.
        if let Some(thread) = self.segmenting.take() {
            let _ = thread.join();
        }
        let ended = self.ended.recv_timeout(self.patience) == Err(RecvTimeoutError::Disconnected);
        if let Some(thread) = self.capturing.take().filter(|_| ended) {
            let _ = thread.join();
        }
        ended
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if (self.segmenting.is_some() || self.capturing.is_some()) && !self.stop() {
            tracing::warn!("the source still blocks in a read, and is let go when that returns");
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
    let mut clock = FrameClock::new();
    while !stop.load(Ordering::Relaxed) {
        let mut frame = pool.take().unwrap_or_else(|| Frame::still(RgbImage::default()));
        clock.before(&mut frame);
        if !source.read(&mut frame)? {
            return Ok(());
        }
        clock.after(&mut frame);
        counters.captured.fetch_add(1, Ordering::Relaxed);
        let captured = Captured { frame: RawFrame::new(frame), at: Instant::now(), rate: source.rate(), decoder: source.decoder() };
        if !live {
            if queue.put_waiting(captured).is_some() {
                return Ok(());
            }
        } else if let Some(lost) = queue.put_newest(captured) {
            counters.dropped.fetch_add(1, Ordering::Relaxed);
            pool.give(lost.frame.into_memory());
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
    while let Some(Captured { frame, at, rate, decoder }) = queue.take() {
        let shown = segmenter.segment(&frame, pools.found.take()).map(|(found, stats)| {
            let frame = segmenter.show(frame);
            let latency = at.elapsed();
            let is_late = u64::from(latency > interval.next(rate, at));
            let late = counters.late.fetch_add(is_late, Ordering::Relaxed) + is_late;
            SegmentedFrame {
                frame,
                found,
                things: stats.things,
                words: stats.words,
                key: stats.key,
                key_sequence: stats.key_sequence,
                encoded: stats.encoded,
                key_frame: stats.key_frame,
                evidence_age: stats.evidence_age,
                carrying: stats.carrying,
                hide_version: stats.hide_version,
                latency,
                dropped: counters.dropped.load(Ordering::Relaxed),
                late,
                governor: segmenter.governed(),
                rate,
                decoder,
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

/// Numbers and times of frames whose source leaves them out.
struct FrameClock {
    start: Instant,
    next: u64,
    last: Option<Timed>,
}

#[derive(Clone, Copy)]
struct Timed {
    /// By the source.
    given: Duration,
    /// As it was handed on.
    told: Duration,
    at: Instant,
}

impl FrameClock {
    /// Beyond this no source has counted; JSON's numbers are whole up to here.
    const MOST: u64 = 1 << 53;

    fn new() -> Self {
        Self { start: Instant::now(), next: 0, last: None }
    }

    fn before(&self, frame: &mut Frame) {
        (frame.sequence, frame.timestamp) = (self.next, self.start.elapsed());
    }

    /// Takes the source's number if it goes on, and its time unless it stands still.
    fn after(&mut self, frame: &mut Frame) {
        if !(self.next..Self::MOST).contains(&frame.sequence) {
            frame.sequence = self.next;
        }
        self.next = frame.sequence + 1;
        let (given, at) = (frame.timestamp, Instant::now());
        if let Some(last) = self.last.filter(|last| last.given == given) {
            frame.timestamp = last.told.saturating_add(at - last.at);
        }
        self.last = Some(Timed { given, told: frame.timestamp, at });
    }
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
