//! Gathers the pictures that several threads encode into a GPU's batches.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};

use super::backend::{Encoder, MaskRequest, Masks};
use super::threads::none_left;
use crate::device::DeviceFault;
use crate::input::Input;
use crate::{Error, PatchGrid, Result};

/// Batches under way at once. The engine gives each thread a stream of its own and waits at a batch's end, so only another thread's copies
/// and preparations can fall beside it.
const UNDER_WAY: usize = 2;

/// How long a picture waits for others of its size: less than a batch takes on any GPU.
const PATIENCE: Duration = Duration::from_millis(5);

/// An encoder that takes pictures from many threads and gives them to few: each thread that meets a GPU has buffers of its own there.
///
/// All batches have one size, the last one's rest is empty, so that a picture's numbers do not hang on when it came. A shortage of memory
/// halves the batches; a single picture that meets it waits until nothing else is under way.
pub(crate) struct DynamicBatcher {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    encoder: Arc<dyn Encoder>,
    at_once: AtomicUsize,
    queue: Mutex<Queue>,
    changed: Condvar,
    alone: RwLock<()>,
}

#[derive(Default)]
struct Queue {
    closed: bool,
    next: u64,
    waiting: VecDeque<QueuedInput>,
    done: HashMap<u64, Result<Option<PatchGrid>>>,
}

struct QueuedInput {
    ticket: u64,
    since: Instant,
    input: Arc<Input>,
    plan_only: bool,
}

impl std::fmt::Debug for DynamicBatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DynamicBatcher")
            .field("encoder", &self.shared.encoder)
            .field("at_once", &self.shared.at_once)
            .finish_non_exhaustive()
    }
}

impl DynamicBatcher {
    pub(crate) fn new(encoder: Arc<dyn Encoder>, at_once: usize) -> Result<Self> {
        let shared = Arc::new(Shared {
            encoder,
            at_once: AtomicUsize::new(at_once),
            queue: Mutex::default(),
            changed: Condvar::new(),
            alone: RwLock::default(),
        });
        let mut batcher = Self { shared, workers: Vec::new() };
        for _ in 0..UNDER_WAY {
            let shared = batcher.shared.clone();
            let worker = std::thread::Builder::new().name("edge-seg batch".into()).spawn(move || shared.work());
            batcher.workers.push(worker.map_err(none_left)?);
        }
        Ok(batcher)
    }

    fn ask(&self, input: &Input, plan_only: bool) -> Result<Option<PatchGrid>> {
        let shared = &self.shared;
        let mut queue = shared.lock();
        let ticket = queue.next;
        queue.next += 1;
        queue.waiting.push_back(QueuedInput { ticket, since: Instant::now(), input: Arc::new(input.clone()), plan_only });
        shared.changed.notify_all();
        loop {
            if let Some(done) = queue.done.remove(&ticket) {
                return done;
            }
            shared.changed.wait(&mut queue);
        }
    }
}

impl Drop for DynamicBatcher {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        self.workers.drain(..).for_each(|worker| drop(worker.join()));
    }
}

impl Encoder for DynamicBatcher {
    fn backend(&self) -> &'static str {
        self.shared.encoder.backend()
    }

    fn plan_for(&self, input: &Input, _room: usize) -> Result<()> {
        match self.shared.encoder.has_plan(input, self.shared.at_once()) {
            true => Ok(()),
            false => self.ask(input, true).map(drop),
        }
    }

    fn encode(&self, input: &Input) -> Result<PatchGrid> {
        self.ask(input, false)?.ok_or_else(no_answer)
    }

    fn masks(&self, input: &Input, request: &MaskRequest<'_>) -> Result<Option<Masks>> {
        self.shared.encoder.masks(input, request)
    }

    fn unsupported_ops(&self) -> Vec<String> {
        self.shared.encoder.unsupported_ops()
    }

    fn release(&self) {
        self.shared.encoder.release();
    }
}

fn no_answer() -> Error {
    Error::Encoder { encoder: "image", source: "a batch ended without an answer".into() }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    fn at_once(&self) -> usize {
        self.at_once.load(Ordering::Relaxed)
    }

    fn work(&self) {
        while let Some(batch) = self.next_batch() {
            let encode = || match &batch[..] {
                [only] if only.plan_only => vec![self.encoder.plan_for(&only.input, self.at_once()).map(|()| None)],
                _ => self
                    .encode(&batch.iter().map(|waiting| &*waiting.input).collect::<Vec<_>>())
                    .into_iter()
                    .map(|one| one.map(Some))
                    .collect(),
            };
            // Whoever waits gets an answer, whatever becomes of the batch.
            let mut answers = catch_unwind(AssertUnwindSafe(encode)).unwrap_or_default().into_iter();
            let mut queue = self.lock();
            for waiting in &batch {
                queue.done.insert(waiting.ticket, answers.next().unwrap_or_else(|| Err(no_answer())));
            }
            self.changed.notify_all();
        }
    }

    /// Waits until the first picture has company, or has waited for it long enough; none at the end.
    fn next_batch(&self) -> Option<Vec<QueuedInput>> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            let at_once = self.at_once();
            let Some(first) = queue.waiting.front() else {
                self.changed.wait(&mut queue);
                continue;
            };
            let joins = |other: &QueuedInput| !other.plan_only && first.input.placement.same_shape(&other.input.placement);
            let patience = PATIENCE.saturating_sub(first.since.elapsed());
            if first.plan_only || patience.is_zero() || queue.waiting.iter().filter(|other| joins(other)).count() >= at_once {
                let mut batch = vec![queue.waiting.pop_front()?];
                let mut at = 0;
                while !batch[0].plan_only && batch.len() < at_once && at < queue.waiting.len() {
                    match !queue.waiting[at].plan_only && batch[0].input.placement.same_shape(&queue.waiting[at].input.placement) {
                        true => batch.extend(queue.waiting.remove(at)),
                        false => at += 1,
                    }
                }
                return Some(batch);
            }
            self.changed.wait_for(&mut queue, patience);
        }
    }

    /// Each picture's own answer.
    fn encode(&self, inputs: &[&Input]) -> Vec<Result<PatchGrid>> {
        let at_once = self.at_once();
        let found = {
            let _beside_others = self.alone.read();
            self.encoder.encode_all(inputs, at_once)
        };
        match found {
            Ok(grids) => grids.into_iter().map(Ok).collect(),
            Err(Error::Device { fault: DeviceFault::Memory, .. }) if at_once > 1 => {
                // Of two batches that meet the shortage, one halves.
                if self.at_once.compare_exchange(at_once, at_once / 2, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                    tracing::warn!("the GPU's memory does not hold {at_once} pictures at once; {} from here on", at_once / 2);
                }
                self.encoder.release();
                inputs.chunks(self.at_once()).flat_map(|part| self.encode(part)).collect()
            }
            Err(Error::Device { fault: DeviceFault::Memory, .. }) if inputs.len() == 1 => {
                // Once the others are through, there is their memory.
                let _alone = self.alone.write();
                self.encoder.release();
                vec![self.encoder.encode_all(inputs, 1).and_then(|mut grids| grids.pop().ok_or_else(no_answer))]
            }
            // One picture's fault is not its neighbours'.
            Err(_) if inputs.len() > 1 => inputs.iter().flat_map(|input| self.encode(&[input])).collect(),
            Err(error) => vec![Err(error)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Placement;

    /// Answers each picture with a row that its first number turns; fails as it is told.
    #[derive(Debug, Default)]
    struct Turning {
        batches: Mutex<Vec<(usize, usize)>>, // pictures, capacity
        most_at_once: Option<usize>,
        refuses: Option<f32>,
        panics: bool,
        released: AtomicUsize,
    }

    impl Encoder for Turning {
        fn backend(&self) -> &'static str {
            "turning"
        }

        fn plan_for(&self, _: &Input, _: usize) -> Result<()> {
            Ok(())
        }

        fn encode(&self, input: &Input) -> Result<PatchGrid> {
            let (sin, cos) = input.pixels[0].sin_cos();
            PatchGrid::new(1, 1, 2, vec![cos, sin], vec![cos, sin])
        }

        fn encode_all(&self, inputs: &[&Input], capacity: usize) -> Result<Vec<PatchGrid>> {
            assert!(!self.panics, "as it is told");
            self.batches.lock().push((inputs.len(), capacity));
            // Others join while this batch is under way.
            std::thread::sleep(Duration::from_millis(2));
            if self.most_at_once.is_some_and(|most| capacity > most) {
                return Err(Error::Device { device: "cuda", fault: DeviceFault::Memory, found: "told so".into(), fix: "none".into() });
            }
            if inputs.iter().any(|input| Some(input.pixels[0]) == self.refuses) {
                return Err(Error::Encoder { encoder: "image", source: "not this one".into() });
            }
            inputs.iter().map(|input| self.encode(input)).collect()
        }

        fn release(&self) {
            self.released.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn input(turn: f32, side: u32) -> Input {
        let placement = Placement { frame_px: (side, side), scaled_px: (side, side), input_px: (side, side), patch_px: 16 };
        Input { pixels: vec![turn; 3 * (side * side) as usize], placement }
    }

    /// Encodes `count` pictures of two sizes on as many threads, and checks that each got its own answer.
    fn encode_on_threads(encoder: &DynamicBatcher, count: usize, fails: impl Fn(usize) -> bool + Sync) {
        std::thread::scope(|scope| {
            for n in 0..count {
                let fails = &fails;
                scope.spawn(move || {
                    let turn = n as f32 / count as f32;
                    match encoder.encode(&input(turn, if n % 5 == 0 { 32 } else { 16 })) {
                        Ok(grid) => assert!(!fails(n) && (grid.patches().data()[0] - turn.cos()).abs() < 1e-6, "picture {n}"),
                        Err(error) => assert!(fails(n), "picture {n}: {error}"),
                    }
                });
            }
        });
    }

    #[test]
    fn pictures_of_one_size_share_a_batch_and_each_gets_its_own_answer() {
        let inner = Arc::new(Turning::default());
        let encoder = DynamicBatcher::new(inner.clone(), 8).unwrap();
        encode_on_threads(&encoder, 40, |_| false);
        let batches = inner.batches.lock();
        assert_eq!(batches.iter().map(|(pictures, _)| pictures).sum::<usize>(), 40);
        assert!(batches.iter().all(|&(pictures, capacity)| pictures <= 8 && capacity == 8), "{batches:?}");
        assert!(batches.len() < 20, "they were gathered: {batches:?}");
    }

    #[test]
    fn a_picture_alone_does_not_wait_for_ever() {
        let inner = Arc::new(Turning::default());
        let encoder = DynamicBatcher::new(inner.clone(), 8).unwrap();
        encode_on_threads(&encoder, 1, |_| false);
        assert_eq!(*inner.batches.lock(), [(1, 8)]);
    }

    #[test]
    fn a_shortage_of_memory_halves_the_batches() {
        let inner = Arc::new(Turning { most_at_once: Some(2), ..Turning::default() });
        let encoder = DynamicBatcher::new(inner.clone(), 8).unwrap();
        encode_on_threads(&encoder, 30, |_| false);
        assert_eq!(encoder.shared.at_once(), 2);
        assert!(inner.released.load(Ordering::Relaxed) >= 2);
        // A shortage that one picture meets is for others to judge.
        let encoder = DynamicBatcher::new(Arc::new(Turning { most_at_once: Some(0), ..Turning::default() }), 4).unwrap();
        encode_on_threads(&encoder, 5, |_| true);
    }

    #[test]
    fn one_pictures_fault_is_not_its_neighbours() {
        let encoder = DynamicBatcher::new(Arc::new(Turning { refuses: Some(7.0 / 20.0), ..Turning::default() }), 8).unwrap();
        encode_on_threads(&encoder, 20, |n| n == 7);
    }

    #[test]
    fn who_waits_gets_an_answer_from_a_batch_that_ended_badly() {
        let encoder = DynamicBatcher::new(Arc::new(Turning { panics: true, ..Turning::default() }), 4).unwrap();
        for _ in 0..3 {
            assert!(encoder.encode(&input(0.5, 16)).unwrap_err().to_string().contains("image encoder"));
        }
    }
}
