//! A session on video as one handle: frames come out of it with their masks, and dropping it lets the camera go.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use edge_seg_model::{Session, WordList};

use crate::rules::{RuleBook, Watcher};
use crate::session::{Counters, FrameReport, Held, LiveOptions, Pipeline, SegmentedFrame, catch};
use crate::sinks::LiveSink;
use crate::source::{Fault, Source};
use crate::words::{ProfileFollower, Words};
use crate::{Error, Result};

/// Video that is being segmented. It owns the threads that read and segment: [`Self::stop`], or dropping it, ends them and lets the source
/// go, within [`LiveOptions::patience`].
///
/// ```
/// use edge_seg_live::{Live, session::LiveOptions, source::open_source};
/// use edge_seg_model::{Options, Session};
/// # fn main() -> edge_seg_live::Result<()> {
/// let session = Session::built_in_with(&Options::default().with_size_px(64))?;
/// let camera = open_source("test:?size=64x48&fps=30&frames=3", &Default::default())?;
/// let words = session.words("sky, stripes")?;
/// for shown in Live::start(session, camera, words, LiveOptions::default())? {
///     let shown = shown?;
///     println!("{}: {:.1} % sky", shown.frame.sequence, 100.0 * shown.found.classes()[0].share());
/// }
/// # Ok(())
/// # }
/// ```
pub struct Live {
    pipeline: Pipeline,
    words: Arc<Words>,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    watcher: Option<Watcher>,
    profiles: ProfileFollower,
    sinks: Vec<Box<dyn LiveSink>>,
    report: Option<Arc<FrameReport>>,
}

/// The words of a session on video: a [`WordList`], a line of words as [`Session::words`] reads it, or [`Words`] that others change too.
pub struct LiveWords(Given);

enum Given {
    List(Box<WordList>),
    Line(String),
    Shared(Arc<Words>),
}

impl std::fmt::Debug for LiveWords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Given::List(list) => write!(f, "LiveWords({list:?})"),
            Given::Line(line) => write!(f, "LiveWords({line:?})"),
            Given::Shared(words) => write!(f, "LiveWords({:?})", words.current()),
        }
    }
}

impl From<WordList> for LiveWords {
    fn from(list: WordList) -> Self {
        Self(Given::List(Box::new(list)))
    }
}

impl From<&str> for LiveWords {
    fn from(line: &str) -> Self {
        Self(Given::Line(line.into()))
    }
}

impl From<Arc<Words>> for LiveWords {
    fn from(words: Arc<Words>) -> Self {
        Self(Given::Shared(words))
    }
}

impl Live {
    /// Starts to read and segment.
    ///
    /// # Errors
    /// [`Error::Option`](edge_seg_model::Error::Option) if an option cannot be followed or the words are another model's, as [`Words::new`], and
    /// [`Error::Io`](edge_seg_model::Error::Io) if threads cannot be started; [`Error::Panicked`] if the source panics.
    pub fn start(
        session: impl Into<Arc<Session>>,
        source: impl Source + 'static,
        words: impl Into<LiveWords>,
        options: LiveOptions,
    ) -> Result<Self> {
        let (session, source) = (session.into(), Held::new(Box::new(source)));
        let words = match words.into().0 {
            Given::List(list) => Arc::new(Words::of(session.clone(), &list)?),
            Given::Line(line) => Arc::new(Words::of(session.clone(), &session.words(&line)?)?),
            Given::Shared(words) => words,
        };
        let (counters, stop) = (Arc::<Counters>::default(), Arc::<AtomicBool>::default());
        let pipeline = Pipeline::start(&session, source, &words, options, &counters, &stop)?;
        let profiles = ProfileFollower::new(words.clone());
        Ok(Self { pipeline, words, counters, stop, watcher: None, profiles, sinks: Vec::new(), report: None })
    }

    /// The same session with rules, whose profiles its words follow: what they find is in [`Self::report`].
    ///
    /// # Errors
    /// As [`RuleBook::check`].
    pub fn with_rules(mut self, rules: RuleBook) -> Result<Self> {
        self.watcher = Some(Watcher::new(rules)?);
        Ok(self)
    }

    /// The same session with one more sink, which is given each frame before it comes out here.
    pub fn with_sink(mut self, sink: impl LiveSink + 'static) -> Self {
        self.sinks.push(Box::new(sink));
        self
    }

    /// The words, to be changed while frames run.
    pub fn words(&self) -> &Arc<Words> {
        &self.words
    }

    /// Frames counted since the start.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// What ends the session once it is set, from any thread: no more frames come then.
    pub fn stop_flag(&self) -> &Arc<AtomicBool> {
        &self.stop
    }

    /// What was told of the last frame, its events with it, where there are rules or sinks.
    pub fn report(&self) -> Option<&Arc<FrameReport>> {
        self.report.as_ref()
    }

    /// As [`Iterator::next`], pending if no frame has come after `wait`, for a caller that has other things to look after. Less than a day.
    pub fn next_within(&mut self, wait: Duration) -> Poll<Option<Result<Arc<SegmentedFrame>>>> {
        self.pipeline.next_within(wait).map(|shown| shown.map(|shown| self.handed_on(shown)))
    }

    /// Ends the threads, lets the source go and finishes the sinks.
    ///
    /// # Errors
    /// [`Error::Source`] if the source blocks in a read for longer than [`LiveOptions::patience`], [`Error::Panicked`] if it panics while it
    /// ends, [`Error::Forked`](edge_seg_model::Error::Forked) in a process that was forked from the one that started it, what a sink says
    /// otherwise.
    pub fn stop(mut self) -> Result<()> {
        if let Some(forked) = self.pipeline.forked() {
            return Err(forked);
        }
        let ended = self.pipeline.stop();
        let finished = self.finish_sinks();
        if !ended {
            if let Err(error) = finished {
                tracing::error!("{error}");
            }
            let found = "it still reads, and is let go when that returns";
            let fault = Fault::Stream { place: "end".into(), expected: "a read that returns".into(), found: found.into() };
            return Err(Error::Source { uri: "source".into(), fault });
        }
        let Some(panic) = self.pipeline.panic() else { return finished };
        if let Err(error) = finished {
            tracing::error!("{error}");
        }
        Err(panic)
    }

    fn finish_sinks(&mut self) -> Result<()> {
        // Each is finished, whatever became of the others; the first fault is the caller's, and the log has the rest.
        let mut finished = Ok(());
        for sink in self.sinks.drain(..) {
            let Err(error) = catch("sink", || sink.finish()) else { continue };
            match finished {
                Ok(()) => finished = Err(error),
                Err(_) => tracing::error!("{error}"),
            }
        }
        finished
    }

    fn handed_on(&mut self, shown: Result<Arc<SegmentedFrame>>) -> Result<Arc<SegmentedFrame>> {
        shown.and_then(|shown| self.take(&shown).map(|()| shown)).inspect_err(|_| {
            self.pipeline.stop();
        })
    }

    fn take(&mut self, shown: &Arc<SegmentedFrame>) -> Result<()> {
        if self.watcher.is_none() && self.sinks.is_empty() {
            return Ok(());
        }
        let mut report = FrameReport::new(shown);
        if let Some(watcher) = &mut self.watcher {
            report.observe(watcher, shown, SystemTime::now());
            self.profiles.follow(watcher.profile());
        }
        let report = Arc::new(report);
        self.report = Some(report.clone());
        self.sinks.iter_mut().try_for_each(|sink| catch("sink", || sink.take(shown, &report)))
    }
}

impl Iterator for Live {
    type Item = Result<Arc<SegmentedFrame>>;

    /// The next frame with its masks; none once the source has ended or [`Self::stop_flag`] is set. After an error no more come.
    fn next(&mut self) -> Option<Self::Item> {
        let shown = self.pipeline.next()?;
        Some(self.handed_on(shown))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.pipeline.forked().is_some() {
            // They are the other process's, which writes their files.
            std::mem::forget(std::mem::take(&mut self.sinks));
        }
        if let Err(error) = self.finish_sinks() {
            tracing::warn!("{error}");
        }
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Live {{ {} words, {:?} }}", self.words.current().words.len(), self.counters)
    }
}

/// Segments a source's frames until it ends, `stop` is set, or `each` returns false or an error: a [`Live`] whose parts somebody else has
/// as well. Every frame that is read is either handed to `each` or counted as dropped, except for those that are under way when it stops.
/// When it returns, the threads have ended and the source is let go, unless it blocks in a read for longer than
/// [`LiveOptions::patience`].
///
/// # Errors
/// What the source, the session or `each` says; [`Error::Panicked`] if a source panics. A panic in `each` goes on, after the end of the
/// threads.
pub fn run<E: From<Error>>(
    session: &Arc<Session>,
    source: Box<dyn Source>,
    words: &Arc<Words>,
    options: LiveOptions,
    counters: &Arc<Counters>,
    stop: &Arc<AtomicBool>,
    mut each: impl FnMut(Arc<SegmentedFrame>) -> Result<bool, E>,
) -> Result<(), E> {
    let mut pipeline = Pipeline::start(session, Held::new(source), words, options, counters, stop)?;
    while let Some(shown) = pipeline.next() {
        if !each(shown?)? {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::source::Rate;
    use edge_seg_model::{Frame, Options};

    /// A camera that is away: a read waits until it is told not to.
    struct Away(Arc<AtomicBool>);

    impl Source for Away {
        fn read(&mut self, _: &mut Frame) -> Result<bool> {
            while !self.0.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(false)
        }

        fn rate(&self) -> Option<Rate> {
            None
        }

        fn stop_flag(&self) -> Option<Arc<AtomicBool>> {
            Some(self.0.clone())
        }
    }

    #[test]
    fn a_source_that_waits_is_let_go_by_a_stop_and_by_a_drop() {
        let session = Arc::new(Session::built_in_with(&Options::default().with_size_px(64)).unwrap());
        let words = Arc::new(Words::of(session.clone(), &session.words("cat").unwrap()).unwrap());
        let start = || {
            let camera = Away(Arc::default());
            let options = LiveOptions::default().with_patience(Duration::from_secs(20));
            (camera.0.clone(), Live::start(session.clone(), Box::new(camera) as Box<dyn Source>, words.clone(), options).unwrap())
        };
        let (flag, mut live) = start();
        assert!(live.next_within(Duration::from_millis(50)).is_pending());
        live.stop().unwrap();
        assert_eq!(Arc::strong_count(&flag), 1, "the source is gone");
        let (flag, live) = start();
        drop(live);
        assert_eq!(Arc::strong_count(&flag), 1, "the source is gone");
    }

    /// Threads that are waited for or locks that are taken would hang here.
    #[test]
    fn in_a_forked_process_it_waits_for_nobody() {
        struct Other(Arc<AtomicBool>);
        impl LiveSink for Other {
            fn take(&mut self, _: &Arc<SegmentedFrame>, _: &Arc<FrameReport>) -> Result<()> {
                Ok(())
            }

            fn finish(self: Box<Self>) -> Result<()> {
                self.0.store(true, Ordering::Relaxed);
                Ok(())
            }
        }
        let session = Arc::new(Session::built_in_with(&Options::default().with_size_px(64)).unwrap());
        let finished = Arc::new(AtomicBool::new(false));
        let start = || {
            let camera = Away(Arc::default());
            let options = LiveOptions::default().with_patience(Duration::from_secs(600));
            let mut live = Live::start(session.clone(), camera, "cat", options).unwrap().with_sink(Other(finished.clone()));
            live.pipeline.process += 1;
            live
        };
        let is_forked = |error: &Error| matches!(error, Error::Model(edge_seg_model::Error::Forked { .. }));
        let mut live = start();
        assert!(live.next().is_some_and(|shown| shown.is_err_and(|error| is_forked(&error))) && live.next().is_none());
        assert!(is_forked(&live.stop().unwrap_err()));
        drop(start());
        assert!(!finished.load(Ordering::Relaxed), "sinks are the other process's");
    }
}
