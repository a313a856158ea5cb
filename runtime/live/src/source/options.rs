use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Matrix, Range};
use crate::Error;

/// What happens when frames come faster than they can be segmented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Pace {
    /// `Live` for cameras and network streams, `Every` for everything else.
    #[default]
    Auto,
    /// Frames come in their own time; the newest is taken and the others are dropped and counted.
    Live,
    /// The source waits: every frame is segmented.
    Every,
}

/// What decodes H.264 from a camera. Motion JPEG is always decoded here, H.265 and H.264 in more than 10 bits or 4:4:4 by `ffmpeg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum VideoDecoder {
    /// `ffmpeg` where it is installed, which takes a third of the time; else the one in Rust.
    #[default]
    Auto,
    /// The one in Rust, in this process.
    Own,
    /// An `ffmpeg` child.
    Ffmpeg,
}

/// Something that a source has to say while it runs.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice {
    /// The source ended or broke and will be opened again.
    Lost {
        /// What was wrong; none if it simply ended.
        why: Option<Error>,
        /// After which pause.
        retry_in: Duration,
    },
    /// A pipe sends nothing; it is waited for.
    Stalled {
        /// For how long.
        after: Duration,
    },
    /// It sends frames again.
    Back,
    /// A frame was damaged and is left out. The first is told, then ever fewer: the 2nd, 4th, 8th and so on.
    Damaged {
        /// Its number.
        sequence: u64,
        /// How many there were by now.
        count: u64,
        /// What is wrong with it.
        why: String,
    },
    /// A camera gives no frame by one transport and is asked by the other.
    OtherTransport {
        /// What came of the first.
        why: String,
        /// The other.
        transport: &'static str,
    },
    /// What a camera answers or sends cannot be read here, by either transport; another program reads it from now on.
    OtherProgram {
        /// What could not be read.
        why: String,
        /// The other.
        program: &'static str,
    },
    /// A picture among others cannot be read and is passed over.
    Skipped {
        /// What is wrong with it.
        why: Error,
    },
    /// A file has ended, and not all of it could be read: pictures may be damaged or missing.
    Incomplete {
        /// What read it.
        by: &'static str,
        /// Its words.
        said: String,
    },
    /// A camera was opened, and its pictures are decoded.
    Decoding {
        /// By what, as [`Source::decoder`](super::Source::decoder) has it.
        by: &'static str,
    },
}

impl Notice {
    /// Tells the log.
    pub fn log(self) {
        match self {
            Self::Lost { why, retry_in } => {
                let why = why.map_or_else(|| "the source ended".into(), |e| e.to_string());
                tracing::warn!("{why}; opening it again in {:.1} s", retry_in.as_secs_f64());
            }
            Self::Stalled { after } => tracing::warn!("no frame for {:.1} s; waiting for the pipe", after.as_secs_f64()),
            Self::Back => tracing::info!("the source is back"),
            Self::Damaged { sequence, count, why } => tracing::warn!("frame {sequence} is left out: {why} ({count} so far)"),
            Self::OtherTransport { why, transport } => tracing::warn!("no frame by TCP: {why}; trying {transport}"),
            Self::OtherProgram { why, program } => tracing::warn!("{why}; {program} reads the camera from now on"),
            Self::Decoding { by } => tracing::info!("pictures are decoded by {by}"),
            Self::Incomplete { by, said } => tracing::warn!("pictures may be damaged or missing: {by} says: {said}"),
            Self::Skipped { why } => tracing::warn!("passed over: {why}"),
        }
    }
}

/// How a source is read.
#[derive(Clone)]
#[non_exhaustive]
pub struct SourceOptions {
    /// Whether frames may be lost.
    pub pace: Pace,
    /// After how long without a frame a stream counts as dead.
    pub stall: Duration,
    /// The matrix, where the source does not say or says it wrongly.
    pub matrix: Option<Matrix>,
    /// The range, where the source does not say or says it wrongly.
    pub range: Option<Range>,
    /// What decodes H.264 from a camera.
    pub decoder: VideoDecoder,
    /// Files, pictures and folders start again at their end.
    pub repeat: bool,
    /// Set to end the source from another thread, and all others that are opened with this flag.
    pub stop: Arc<AtomicBool>,
    /// Is told what happens meanwhile; the log is, unless somebody else is given.
    pub notify: Arc<dyn Fn(Notice) + Send + Sync>,
    /// Of one source: what ends it alone.
    own_stop: Arc<AtomicBool>,
}

/// What ends a source: its options' flag, which it may share, or its own.
#[derive(Clone)]
pub(super) struct Stop {
    shared: Arc<AtomicBool>,
    own: Arc<AtomicBool>,
}

impl Stop {
    pub fn is_set(&self) -> bool {
        self.shared.load(Ordering::Relaxed) || self.own.load(Ordering::Relaxed)
    }

    /// What [`Source::stop_flag`](super::Source::stop_flag) answers.
    pub fn flag(&self) -> Option<Arc<AtomicBool>> {
        Some(self.own.clone())
    }
}

impl SourceOptions {
    /// These, for one source more: what ends it alone is its own.
    pub(super) fn of_its_own(&self) -> Self {
        Self { own_stop: Arc::default(), ..self.clone() }
    }

    pub(super) fn stop(&self) -> Stop {
        Stop { shared: self.stop.clone(), own: self.own_stop.clone() }
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop().is_set()
    }

    /// The same with another [`pace`](Self::pace).
    pub fn with_pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// The same with another [`stall`](Self::stall).
    pub fn with_stall(self, stall: Duration) -> Self {
        Self { stall, ..self }
    }

    /// The same with another [`matrix`](Self::matrix).
    pub fn with_matrix(self, matrix: impl Into<Option<Matrix>>) -> Self {
        Self { matrix: matrix.into(), ..self }
    }

    /// The same with another [`range`](Self::range).
    pub fn with_range(self, range: impl Into<Option<Range>>) -> Self {
        Self { range: range.into(), ..self }
    }

    /// The same with another [`decoder`](Self::decoder).
    pub fn with_decoder(self, decoder: VideoDecoder) -> Self {
        Self { decoder, ..self }
    }

    /// The same with another [`repeat`](Self::repeat).
    pub fn with_repeat(self, repeat: bool) -> Self {
        Self { repeat, ..self }
    }

    /// The same with somebody else who is told what happens.
    pub fn with_notify(self, notify: impl Fn(Notice) + Send + Sync + 'static) -> Self {
        Self { notify: Arc::new(notify), ..self }
    }

    /// The same with another flag that ends it from another thread.
    pub fn with_stop(self, stop: Arc<AtomicBool>) -> Self {
        Self { stop, ..self }
    }
}

impl fmt::Debug for SourceOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pace, stall, matrix, range, decoder, repeat, .. } = self;
        let mut shown = f.debug_struct("SourceOptions");
        shown.field("pace", pace).field("stall", stall).field("matrix", matrix).field("range", range);
        shown.field("decoder", decoder).field("repeat", repeat).finish_non_exhaustive()
    }
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            pace: Pace::Auto,
            stall: Duration::from_secs(10),
            matrix: None,
            range: None,
            decoder: VideoDecoder::Auto,
            repeat: false,
            stop: Arc::default(),
            notify: Arc::new(|notice| notice.log()),
            own_stop: Arc::default(),
        }
    }
}
