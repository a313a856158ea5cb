use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::child::{FrameWait, WATCH};
use super::{Notice, Rate, Source, SourceOptions};
use crate::Result;
use edge_seg_model::Frame;

/// A pipe, which cannot be opened again: where nothing comes for too long, that is told, and the pipe is waited for.
pub(super) struct Watched {
    inner: Box<dyn Source>,
    shared: Arc<Shared>,
}

struct Shared {
    waiting: FrameWait,
    stalled: AtomicBool,
    gone: AtomicBool,
    options: SourceOptions,
}

impl Watched {
    pub fn new(inner: Box<dyn Source>, options: &SourceOptions) -> Self {
        let (stalled, gone) = (AtomicBool::new(false), AtomicBool::new(false));
        let shared = Arc::new(Shared { waiting: FrameWait::new(), stalled, gone, options: options.clone() });
        let watched = shared.clone();
        // Without a thread to spare a stall is not told.
        let _ = std::thread::Builder::new().name("edge-seg watch".into()).spawn(move || watched.watch());
        Self { inner, shared }
    }
}

impl Shared {
    fn watch(&self) {
        let over = || self.gone.load(Ordering::Relaxed) || self.options.stopped();
        while !over() {
            let stalled = self.waiting.lasted().is_some_and(|lasted| lasted > self.options.stall);
            if stalled && !self.stalled.swap(true, Ordering::Relaxed) {
                (self.options.notify)(Notice::Stalled { after: self.options.stall });
            }
            std::thread::sleep(WATCH);
        }
    }
}

impl Source for Watched {
    fn read(&mut self, frame: &mut Frame) -> Result<bool> {
        let read = self.shared.waiting.during(|| self.inner.read(frame));
        if self.shared.stalled.swap(false, Ordering::Relaxed) && matches!(read, Ok(true)) {
            (self.shared.options.notify)(Notice::Back);
        }
        read
    }

    fn rate(&self) -> Option<Rate> {
        self.inner.rate()
    }

    fn decoder(&self) -> Option<&'static str> {
        self.inner.decoder()
    }

    fn is_live(&self) -> bool {
        self.inner.is_live()
    }

    fn stop_flag(&self) -> Option<Arc<AtomicBool>> {
        self.inner.stop_flag()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.shared.gone.store(true, Ordering::Relaxed);
    }
}
