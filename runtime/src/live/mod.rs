//! A session on video: one thread reads frames, one segments them, the caller's takes them away. Words change meanwhile.

mod control;
mod exchange;
mod report;
mod sets;
mod slot;
mod word;
mod words;

pub use control::{Answer, Control};
pub use exchange::Exchange;
pub use report::FrameReport;
pub use sets::WordSets;
pub use word::{Colour, MAX_LIVE_WORDS, Word, WordSpec, parse_words_json, read_words_file};
pub use words::{WordSet, Words};

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use image::RgbImage;

use crate::source::{Pace, Rate, Source};
use crate::{Encoded, Frame, Result, Segmentation, Session};
use slot::Slot;

/// How video is segmented.
#[derive(Debug, Clone, Copy)]
pub struct LiveOptions {
    /// What happens when frames come faster than they can be segmented.
    pub pace: Pace,
    /// Every how many frames the encoder runs, 1 or more; the frames between keep the last one's embeddings.
    pub key_interval: u64,
}

/// A frame with its masks.
#[derive(Debug)]
pub struct Shown {
    /// The frame.
    pub frame: Frame,
    /// Its masks.
    pub found: Segmentation,
    /// The words that they are of.
    pub words: Arc<WordSet>,
    /// Whether the encoder ran for it.
    pub key: bool,
    /// From the frame's arrival to its masks.
    pub latency: Duration,
    /// Frames lost so far because a newer one came before they were taken.
    pub dropped: u64,
    /// The source's nominal rate, if it has one.
    pub rate: Option<Rate>,
}

/// Frames counted since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Read from the source.
    pub captured: AtomicU64,
    /// Lost because a newer one came before they were taken.
    pub dropped: AtomicU64,
    /// Segmented and handed on.
    pub segmented: AtomicU64,
}

struct Captured {
    frame: Frame,
    at: Instant,
    rate: Option<Rate>,
}

/// Frames whose memory is free.
#[derive(Default)]
struct Pool(Mutex<Vec<Frame>>);

const POOLED: usize = 4;

impl Pool {
    fn take(&self) -> Frame {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).pop().unwrap_or_else(|| Frame::still(RgbImage::default()))
    }

    fn give(&self, frame: Frame) {
        let mut free = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if free.len() < POOLED {
            free.push(frame);
        }
    }
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
    mut each: impl FnMut(Arc<Shown>) -> Result<bool, E>,
) -> Result<(), E> {
    let (slot, pool) = (Arc::new(Slot::<Captured>::default()), Arc::new(Pool::default()));
    let (sender, receiver) = sync_channel(1);
    let capture = {
        let (slot, pool, counters, stop, sender) = (slot.clone(), pool.clone(), counters.clone(), stop.clone(), sender.clone());
        // Reading may block for ever on a pipe that nobody writes to, so this thread is never waited for.
        move || {
            if let Err(e) = capture(source, options.pace, &slot, &pool, &counters, &stop) {
                slot.close();
                let _ = sender.send(Err(e));
            }
            slot.close();
        }
    };
    std::thread::spawn(capture);
    {
        let (session, words, slot, counters) = (session.clone(), words.clone(), slot.clone(), counters.clone());
        // A frame that is being encoded when it stops may take seconds on a small board, and is not waited for either.
        std::thread::spawn(move || segment(&session, &words, options, &slot, &counters, &sender));
    }
    let outcome = deliver(&receiver, &pool, stop, &mut each);
    stop.store(true, Ordering::Relaxed);
    slot.close();
    outcome
}

fn deliver<E: From<crate::Error>>(
    receiver: &Receiver<Result<Shown>>,
    pool: &Pool,
    stop: &AtomicBool,
    each: &mut impl FnMut(Arc<Shown>) -> Result<bool, E>,
) -> Result<(), E> {
    // A source that breaks may have left frames behind that are whole; they come first, then what was wrong.
    let mut broken = None;
    loop {
        match receiver.recv_timeout(POLL) {
            Ok(Ok(shown)) => {
                let shown = Arc::new(shown);
                if !each(shown.clone())? {
                    return Ok(());
                }
                if let Some(shown) = Arc::into_inner(shown) {
                    pool.give(shown.frame);
                }
            }
            Ok(Err(e)) => broken = Some(e),
            Err(RecvTimeoutError::Disconnected) => return broken.map_or(Ok(()), |e| Err(e.into())),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
}

fn capture(
    mut source: Box<dyn Source>,
    pace: Pace,
    slot: &Slot<Captured>,
    pool: &Pool,
    counters: &Counters,
    stop: &AtomicBool,
) -> Result<()> {
    let live = match pace {
        Pace::Auto => source.is_live(),
        Pace::Live => true,
        Pace::Every => false,
    };
    while !stop.load(Ordering::Relaxed) {
        let mut frame = pool.take();
        if !source.read(&mut frame)? {
            return Ok(());
        }
        counters.captured.fetch_add(1, Ordering::Relaxed);
        let captured = Captured { frame, at: Instant::now(), rate: source.rate() };
        if !live {
            if slot.put_waiting(captured).is_some() {
                return Ok(());
            }
        } else if let Some(lost) = slot.put_newest(captured) {
            counters.dropped.fetch_add(1, Ordering::Relaxed);
            pool.give(lost.frame);
        }
    }
    Ok(())
}

fn segment(
    session: &Session,
    words: &Words,
    options: LiveOptions,
    slot: &Slot<Captured>,
    counters: &Counters,
    sender: &SyncSender<Result<Shown>>,
) {
    let mut last: Option<(u64, Encoded)> = None;
    while let Some(Captured { frame, at, rate }) = slot.take() {
        let kept = last.take().filter(|(sequence, encoded)| {
            frame.sequence - sequence < options.key_interval && encoded.placement.frame_px == frame.pixels.dimensions()
        });
        let key = kept.is_none();
        let encoded = match kept {
            Some((sequence, encoded)) => Ok((sequence, Encoded { timings: Default::default(), ..encoded })),
            None => session.encode(&frame).map(|encoded| (frame.sequence, encoded)),
        };
        let words = words.current();
        let shown = encoded.and_then(|(sequence, encoded)| {
            let found = session.masks(&frame, &encoded, &words.bank, words.background)?;
            last = Some((sequence, encoded));
            let dropped = counters.dropped.load(Ordering::Relaxed);
            Ok(Shown { frame, found, words, key, latency: at.elapsed(), dropped, rate })
        });
        let failed = shown.is_err();
        counters.segmented.fetch_add(u64::from(!failed), Ordering::Relaxed);
        if sender.send(shown).is_err() || failed {
            break;
        }
    }
    slot.close();
}
