use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use image::RgbImage;

use super::governor::{Governed, Governor, GovernorOptions, Readings};
use super::hide::{Hider, RawFrame};
use super::options::{KeyFrames, LiveOptions};
use super::threads::{catch, spawn};
use crate::backoff::sleep_unless;
use crate::things::{Follower, Sight, Things};
use crate::words::{WordSet, Words};
use crate::{Error, Result};
use edge_seg_model::Painter;
use edge_seg_model::hide::ShownFrame;
use edge_seg_model::propagation::{Propagation, Propagator};
use edge_seg_model::{Encoded, Frame, LabelMap, Refinement, ScoreGrid, Segmentation, Session, Timings};

/// What becomes of a frame beside its masks.
pub(super) struct FrameStats {
    pub things: Option<Things>,
    pub words: Arc<WordSet>,
    pub key: bool,
    pub key_sequence: u64,
    pub encoded: Arc<Encoded>,
    pub key_frame: Option<Arc<ShownFrame>>,
    pub evidence_age: Duration,
    pub carrying: Duration,
    pub hide_version: u64,
}

/// Frames in, masks out: decides which frames are encoded and carries masks to the others.
pub(super) struct Segmenter {
    session: Arc<Session>,
    words: Arc<Words>,
    options: LiveOptions,
    propagator: Propagator,
    painter: Painter,
    follower: Option<Follower>,
    key: Option<Key>,
    worker: Option<EncoderWorker>,
    watch: Option<Watch>,
    hider: Option<Hider>,
    /// How long the encoder is to rest.
    owed: Duration,
}

/// The last frame that was encoded.
struct Key {
    sequence: u64,
    encoded: Arc<Encoded>,
    /// The frame, of a session that hides nothing, where others may have been shown since.
    frame: Option<Arc<ShownFrame>>,
    words_version: u64,
    size: (u32, u32),
}

impl Segmenter {
    pub fn new(session: Arc<Session>, words: Arc<Words>, options: LiveOptions) -> Result<Self> {
        let worker = match options.keys {
            KeyFrames::Every(_) => None,
            KeyFrames::Auto { share } => Some(EncoderWorker::start(session.clone(), share)?),
        };
        let watch = options.governor.clone().map(Watch::new);
        let (propagator, hider) = (Propagator::new(options.carry), Hider::new(options.hide.clone(), options.hide_switches.clone()));
        let follower = options.things.clone().map(Follower::new).transpose()?;
        let (painter, owed) = (Painter::default(), Duration::ZERO);
        Ok(Self { session, words, options, propagator, painter, follower, key: None, worker, watch, hider, owed })
    }

    /// The governor's state.
    pub fn governed(&self) -> Option<Arc<Governed>> {
        self.watch.as_ref().map(|watch| watch.told.clone())
    }

    /// The frame that was segmented last, as it may be shown.
    pub fn show(&mut self, frame: RawFrame) -> ShownFrame {
        frame.shown(self.hider.as_mut())
    }

    /// Segments one frame into memory that is reused.
    pub fn segment(&mut self, frame: &RawFrame, memory: Option<Segmentation>) -> Result<(Segmentation, FrameStats)> {
        let frame = frame.inside();
        let words = self.words.current();
        let begun = match &mut self.hider {
            Some(hider) => hider.switch(&self.session, self.key.as_ref().map(|key| &*key.encoded))?,
            None => false,
        };
        if let Some(watch) = &mut self.watch {
            watch.look(self.hider.as_ref().is_some_and(Hider::is_on));
        }
        let start = Instant::now();
        let cut = self.follows() && self.propagator.follow(&frame.pixels).cut;
        let another_scene = cut && self.options.scene_cuts;
        let followed = start.elapsed();
        let another_size = self.key.as_ref().is_some_and(|key| key.size != frame.pixels.dimensions());
        if let Some(hider) = self.hider.as_mut().filter(|_| cut || another_size || begun) {
            hider.cut(frame);
        }
        if another_scene || another_size || begun {
            self.propagator.forget();
            if let Some(worker) = &mut self.worker {
                worker.stale = worker.busy;
            }
        }
        let mut timings = Timings::default();
        let fresh = if self.worker.is_some() { self.keys_beside(frame, &words)? } else { self.key_here(frame, &words)? };
        let Self { key: Some(key), propagator, painter, follower, .. } = self else { return Err(no_key()) };
        if let Some(scored) = fresh {
            timings = key.encoded.timings;
            timings.score = scored;
        }
        if key.words_version != words.version {
            let start = Instant::now();
            propagator.rescore(self.session.score(&key.encoded, &words.bank, words.background)?);
            key.words_version = words.version;
            timings.score = start.elapsed();
        }
        if let Some(hider) = &mut self.hider {
            hider.look(frame, propagator)?;
        }
        let start = Instant::now();
        let (scores, &placement) = propagator.scores().ok_or_else(no_key)?;
        let mut found = memory.unwrap_or_else(|| {
            let labels = LabelMap { width: 0, height: 0, labels: Vec::new() };
            Segmentation::new(words.bank.shared_names(), scores.clone(), labels, key.encoded.backend)
        });
        found.scores.copy_from(scores);
        let carried = start.elapsed();
        let start = Instant::now();
        let refinement = self.session.refinement();
        self.session.on_threads(|| -> Result<()> {
            if refinement == Refinement::Guided {
                found.labels = LabelMap::refined(&found.scores, &placement, &frame.pixels)?;
            } else if !propagator.moved_labels(painter, &mut found.labels)? {
                painter.draw(&found.scores, &placement, &mut found.labels)?;
            }
            Ok(())
        })??;
        timings.mask = start.elapsed();
        (found.sequence, found.timestamp, found.timings) = (frame.sequence, frame.timestamp, timings);
        (found.backend, found.names) = (key.encoded.backend, words.bank.shared_names());
        let things = follower.as_mut().map(|follower| {
            // Masks that stand still do not move with the picture.
            let moves = self.options.carry.carry != Propagation::Still && !cut;
            let motion = moves.then(|| propagator.motion(frame.pixels.dimensions()));
            follower.follow(&Sight { found: &found, placement: &placement, motion, patches: Some(&key.encoded.grid), another_scene })
        });
        let stats = FrameStats {
            things,
            words,
            key: key.sequence == frame.sequence,
            key_sequence: key.sequence,
            encoded: key.encoded.clone(),
            key_frame: key.frame.clone(),
            evidence_age: propagator.evidence_age(frame.timestamp),
            carrying: followed + carried,
            hide_version: self.hider.as_ref().map_or(0, Hider::version),
        };
        Ok((found, stats))
    }

    /// Whether the motion of the picture matters at all.
    fn follows(&self) -> bool {
        // What is hidden moves with the picture in any case.
        let hides = self.hider.as_ref().is_some_and(Hider::is_on);
        let moves = self.options.carry.carry != Propagation::Still || hides;
        if moves && self.options.things.is_some() {
            return true;
        }
        match self.options.keys {
            KeyFrames::Auto { .. } => moves || self.options.scene_cuts,
            KeyFrames::Every(1) if hides => true,
            KeyFrames::Every(1) => !self.options.carry.smoothing.is_zero() && (moves || self.options.scene_cuts),
            KeyFrames::Every(_) => moves || self.options.scene_cuts,
        }
    }

    fn size_px(&self) -> usize {
        let factor = self.watch.as_ref().map_or(1.0, |watch| watch.told.allowance.size);
        let patch = self.session.bundle().manifest().image.patch_px;
        ((self.session.size_px() as f32 * factor) as usize).max(patch)
    }

    fn rate(&self) -> f32 {
        self.watch.as_ref().map_or(1.0, |watch| watch.told.allowance.rate)
    }

    /// Encodes the frame if it is due. Says how long scoring took if so.
    fn key_here(&mut self, frame: &Frame, words: &WordSet) -> Result<Option<Duration>> {
        let KeyFrames::Every(interval) = self.options.keys else { return Ok(None) };
        let due = |key: &Key| frame.sequence.saturating_sub(key.sequence) >= interval || frame.sequence < key.sequence;
        if self.propagator.has_key() && !self.key.as_ref().is_none_or(due) {
            return Ok(None);
        }
        let start = Instant::now();
        let encoded = self.session.encode_sized(frame, self.size_px())?;
        self.owed = start.elapsed().mul_f32(1.0 / self.rate() - 1.0);
        self.mark(frame);
        self.take_scores(frame.sequence, frame.pixels.dimensions(), encoded, words).map(Some)
    }

    /// Takes in what the encoder worker has done, and gives it this frame if it is free. Waits for it only where there are no masks
    /// that could be carried.
    fn keys_beside(&mut self, frame: &Frame, words: &WordSet) -> Result<Option<Duration>> {
        let mut fresh = None;
        loop {
            let wait = !self.propagator.has_key();
            let (size_px, rate) = (self.size_px(), self.rate());
            let Some(worker) = &mut self.worker else { return Ok(fresh) };
            if let Some(done) = worker.result(wait)? {
                worker.rest(done.took, rate);
                let (sequence, size, stale) = (done.frame.sequence, done.frame.pixels.dimensions(), done.stale);
                let encoded = done.encoded?;
                let mut old = Some(done.frame);
                if !stale {
                    let before = self.key.as_mut().and_then(|key| Arc::into_inner(key.frame.take()?));
                    fresh = Some(self.take_scores(sequence, size, encoded, words)?);
                    if let Some(key) = self.key.as_mut().filter(|_| self.hider.is_none()) {
                        key.frame = old.take().map(|frame| Arc::new(RawFrame::new(frame).shown(None)));
                        old = before.map(ShownFrame::into_inner);
                    }
                }
                if let Some(worker) = &mut self.worker {
                    worker.spare = old;
                }
                continue;
            }
            if worker.is_free(wait) {
                worker.give(frame, size_px)?;
                self.mark(frame);
                if wait {
                    continue;
                }
            }
            return Ok(fresh);
        }
    }

    /// The frame becomes the next key frame.
    fn mark(&mut self, frame: &Frame) {
        if let Some(hider) = &mut self.hider {
            hider.mark(frame, &mut self.propagator);
        }
        self.propagator.mark(frame.timestamp);
    }

    fn take_scores(&mut self, sequence: u64, size: (u32, u32), encoded: Encoded, words: &WordSet) -> Result<Duration> {
        let start = Instant::now();
        let scores: ScoreGrid = self.session.score(&encoded, &words.bank, words.background)?;
        let scored = start.elapsed();
        if let Some(hider) = &mut self.hider {
            hider.key_frame(&self.session, &encoded)?;
        }
        // What was smoothed is of other words.
        if self.key.as_ref().is_some_and(|key| key.words_version != words.version) {
            self.propagator.drop_history();
        }
        self.propagator.set_keyframe(scores, encoded.placement);
        self.key = Some(Key { sequence, encoded: Arc::new(encoded), frame: None, words_version: words.version, size });
        Ok(scored)
    }

    /// Lets the board cool after a frame that was encoded here, as the governor wants it.
    pub fn rest(&mut self, stop: &AtomicBool) {
        sleep_unless(stop, std::mem::take(&mut self.owed));
    }
}

/// The thread that encodes has ended: only a panic in it does that.
fn no_key() -> Error {
    let source = "the thread that encodes key frames has ended; start the session again".into();
    edge_seg_model::Error::Encoder { encoder: "image", source }.into()
}

/// The encoder in a thread of its own.
struct EncoderWorker {
    /// None once it is to end.
    jobs: Option<SyncSender<(Frame, usize)>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
    share: f32,
    busy: bool,
    /// What it works on belongs to a scene that is over.
    stale: bool,
    free_at: Instant,
    spare: Option<Frame>,
}

/// However small its share is, the encoder works once in a while.
const LONGEST_REST: Duration = Duration::from_secs(3600);

struct Done {
    frame: Frame,
    encoded: Result<Encoded>,
    took: Duration,
    stale: bool,
}

impl EncoderWorker {
    fn start(session: Arc<Session>, share: f32) -> Result<Self> {
        let (jobs, taken) = sync_channel::<(Frame, usize)>(1);
        let (sender, done) = sync_channel(1);
        let thread = spawn("encode", move || {
            for (frame, size_px) in taken {
                let start = Instant::now();
                let encoded = catch("encoder", || Ok(session.encode_sized(&frame, size_px)?));
                if sender.send(Done { frame, encoded, took: start.elapsed(), stale: false }).is_err() {
                    break;
                }
            }
        })?;
        let (jobs, thread) = (Some(jobs), Some(thread));
        Ok(Self { jobs, done, thread, share, busy: false, stale: false, free_at: Instant::now(), spare: None })
    }

    /// What it has done, if anything; with `wait`, what it is doing now.
    fn result(&mut self, wait: bool) -> Result<Option<Done>> {
        if !self.busy {
            return Ok(None);
        }
        let mut done = match if wait { self.done.recv().map_err(|_| TryRecvError::Disconnected) } else { self.done.try_recv() } {
            Ok(done) => done,
            Err(TryRecvError::Empty) => return Ok(None),
            Err(TryRecvError::Disconnected) => return Err(no_key()),
        };
        self.busy = false;
        done.stale = std::mem::take(&mut self.stale);
        Ok(Some(done))
    }

    fn rest(&mut self, took: Duration, rate: f32) {
        let seconds = took.as_secs_f32() * (1.0 / (self.share * rate) - 1.0);
        self.free_at = Instant::now() + Duration::try_from_secs_f32(seconds).map_or(LONGEST_REST, |rest| rest.min(LONGEST_REST));
    }

    fn is_free(&self, wait: bool) -> bool {
        !self.busy && (wait || Instant::now() >= self.free_at)
    }

    fn give(&mut self, frame: &Frame, size_px: usize) -> Result<()> {
        let mut copy = self.spare.take().unwrap_or_else(|| Frame::still(RgbImage::default()));
        copy.pixels.clone_from(&frame.pixels);
        (copy.sequence, copy.timestamp) = (frame.sequence, frame.timestamp);
        self.busy = true;
        let jobs = self.jobs.as_ref().ok_or_else(no_key)?;
        jobs.send((copy, size_px)).map_err(|_| no_key())
    }
}

impl Drop for EncoderWorker {
    /// Waits for the frame that is being encoded.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The governor with its clock.
struct Watch {
    options: GovernorOptions,
    governor: Governor,
    start: Instant,
    last: Option<Instant>,
    /// Whether something is hidden: a smaller input would miss what is to be, where old masks hide the whole frame.
    hides: bool,
    told: Arc<Governed>,
}

/// How often the board's sensors are read.
const LOOK: Duration = Duration::from_secs(1);

impl Watch {
    fn new(options: GovernorOptions) -> Self {
        let governor = Governor::default();
        let told = Arc::new(governor.state());
        Self { options, governor, start: Instant::now(), last: None, hides: false, told }
    }

    fn look(&mut self, hides: bool) {
        let is_due = self.last.is_none_or(|last| last.elapsed() >= LOOK);
        let mut is_new = false;
        if is_due {
            self.last = Some(Instant::now());
            is_new = self.governor.step(self.start.elapsed(), &Readings::take(&self.options));
        }
        if !is_new && hides == self.hides {
            return;
        }
        self.hides = hides;
        let mut state = self.governor.state();
        if hides {
            state.allowance = state.allowance.in_full_size();
        }
        if state.allowance != self.told.allowance {
            let percent = |x: f32| (100.0 * x).round();
            tracing::warn!(
                level = state.level,
                "governor: encoder at {} % of its time, input at {} % of its side: {}",
                percent(state.allowance.rate),
                percent(state.allowance.size),
                state.reason
            );
        }
        self.told = Arc::new(state);
    }
}

#[cfg(test)]
mod tests {
    use super::super::governor::Zone;
    use super::super::switches::HideSwitches;
    use super::*;
    use edge_seg_model::Options;
    use edge_seg_model::hide::HideOptions;

    #[test]
    fn heat_lowers_the_rate_alone_while_something_is_hidden() {
        let session = Arc::new(Session::built_in_with(&Options::default().with_size_px(128)).unwrap());
        let switches = HideSwitches::new(session.clone(), HideOptions::default()).unwrap();
        let words = Arc::new(Words::of(session.clone(), &session.words("sky").unwrap()).unwrap());
        let no_sensors = tempfile::tempdir().unwrap();
        let governor = GovernorOptions::default().with_root(no_sensors.path());
        let options = LiveOptions::default().with_governor(governor).with_hide_switches(switches.clone());
        let mut segmenter = Segmenter::new(session, words, options).unwrap();
        let hot = Readings { hottest: Some(Zone { name: "cpu-thermal".into(), celsius: 99.0, hot_c: 75.0 }), throttled: None };
        let watch = segmenter.watch.as_mut().unwrap();
        while watch.governor.allowance().size > 0.5 {
            let at = watch.governor.state().level as u64;
            watch.governor.step(Duration::from_secs(100 * at), &hot);
            watch.governor.step(Duration::from_secs(100 * at + 50), &hot);
        }
        watch.told = Arc::new(watch.governor.state());
        let mut rows = |sequence: u64| {
            let pixels = RgbImage::from_pixel(128, 128, image::Rgb([90, 120, 160]));
            let frame = RawFrame::new(Frame::new(pixels, sequence, Duration::from_millis(100 * sequence)));
            let (found, _) = segmenter.segment(&frame, None).unwrap();
            (found.scores.rows(), segmenter.governed().unwrap().allowance)
        };
        let (small, cooled) = rows(0);
        assert_eq!(cooled.size, 0.5);
        switches.hide("person").unwrap();
        let (full, hiding) = rows(1);
        assert_eq!(full, 2 * small, "what is to be hidden is looked for in the whole size");
        assert_eq!((hiding.size, hiding.rate), (1.0, cooled.rate / 4.0));
        switches.show("person").unwrap();
        assert_eq!(rows(2), (small, cooled));
    }
}
