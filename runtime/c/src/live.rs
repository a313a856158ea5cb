//! Video on threads of its own, with callbacks.

use std::ffi::{c_char, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

use edge_seg::Frame;
use edge_seg::live::{KeyFrames, Live, LiveOptions, Words};
use edge_seg::source::{Fault as SourceFault, Pace, Rate, Source, SourceOptions, open_source};

use crate::border::{EdgeSegStatus, Fault, Filled, Result, Sized32, argument, borrowed, clear, free, give, guarded, text, versioned};
use crate::model::{EdgeSegFound, EdgeSegModel, EdgeSegWords, found_of};
use crate::picture::{EdgeSegImage, frame_of};

/// The source decides: cameras and network streams lose frames that nobody is ready for, everything else waits.
pub const EDGE_SEG_PACE_AUTO: u32 = 0;
/// The newest frame is taken, the others are lost and counted.
pub const EDGE_SEG_PACE_LIVE: u32 = 1;
/// Every frame is segmented.
pub const EDGE_SEG_PACE_EVERY: u32 = 2;

/// Fills in the next picture: 1 if there is one, 0 at the end, below 0 if it failed. `image` comes with its struct_size set, which the
/// program leaves or sets to its own sizeof(EdgeSegImage); with 0, or what can be no release's, the session ends with an error. What
/// `image` points to must stay until the next call. It is called on a thread of the library's, one call at a time, and must not call
/// edge_seg_live_free. Whoever ends the session waits until it has returned, so it should not wait for pictures without end.
pub type EdgeSegRead = Option<unsafe extern "C" fn(user: *mut c_void, image: *mut EdgeSegImage) -> i32>;

/// Takes a frame with its masks, which are there during the call alone. False ends the session. It is called on a thread of the
/// library's, one call at a time. It may call what else there is, also edge_seg_live_set_words, but for edge_seg_live_stop, _wait, which
/// refuse it, and _free.
pub type EdgeSegShow = Option<unsafe extern "C" fn(user: *mut c_void, frame: *const EdgeSegFrame) -> bool>;

/// How video is read and segmented.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct EdgeSegLiveOptions {
    /// sizeof(EdgeSegLiveOptions).
    pub struct_size: u32,
    /// EDGE_SEG_PACE_AUTO and so on.
    pub pace: u32,
    /// The encoder runs on every so many frames, and masks are carried to those between; 0 is as 1.
    pub every: u32,
    /// Or in this share of the time, above 0 and up to 1; 0 leaves it to `every`.
    pub share: f32,
    /// What is to be read, as `edge-seg run --source` takes it; NULL if `read` is given.
    pub source: *const c_char,
    /// Reads pictures of the program's own, in place of `source`.
    pub read: EdgeSegRead,
    /// Takes the frames.
    pub show: EdgeSegShow,
    /// Is handed to both.
    pub user: *mut c_void,
}

// SAFETY: numbers, pointers and functions that may be missing, which may all be zero; `repr(C)`, and the size comes first.
unsafe impl Sized32 for EdgeSegLiveOptions {
    const FIRST: usize = size_of::<Self>();
}

/// A frame of video with its masks.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct EdgeSegFrame {
    /// sizeof(EdgeSegFrame), as the library has it.
    pub struct_size: u32,
    /// 1 if the masks come from this frame's own embeddings, 0 if they were carried to it.
    pub key: u32,
    /// The frame's number in its source.
    pub sequence: u64,
    /// Its time since the source started, in nanoseconds.
    pub timestamp_ns: u64,
    /// From its arrival to its masks, in nanoseconds.
    pub latency_ns: u64,
    /// Frames lost so far because a newer one came first.
    pub dropped: u64,
    /// Its masks, for edge_seg_found_...; not to be freed.
    pub found: *const EdgeSegFound,
    /// Its pixels.
    pub image: EdgeSegImage,
}

/// Video that is being segmented.
pub struct EdgeSegLive {
    words: Arc<Words>,
    stops: [Arc<AtomicBool>; 2],
    thread: Mutex<Option<JoinHandle<Result<()>>>>,
    /// Those that callbacks run on: the one that shows, and the one that reads once it has begun.
    callbacks: (ThreadId, Arc<OnceLock<ThreadId>>),
}

/// What callbacks are given, from thread to thread.
#[derive(Clone, Copy)]
struct User(*mut c_void);

// SAFETY: it is never looked into here; the header says that callbacks run on threads of the library's.
unsafe impl Send for User {}

impl User {
    fn pointer(self) -> *mut c_void {
        self.0
    }
}

/// Pictures of the program's own.
struct Called {
    read: unsafe extern "C" fn(*mut c_void, *mut EdgeSegImage) -> i32,
    user: User,
    thread: Arc<OnceLock<ThreadId>>,
    /// Whether it said so itself.
    failed: Arc<AtomicBool>,
}

impl Source for Called {
    fn read(&mut self, into: &mut Frame) -> edge_seg::Result<bool> {
        let wrong = |found: String| {
            let fault = SourceFault::Stream { place: "read".into(), expected: "a picture".into(), found };
            edge_seg::Error::Source { uri: "callback".into(), fault }
        };
        let mut image = Filled::new(EdgeSegImage {
            struct_size: size_of::<EdgeSegImage>() as u32,
            format: 0,
            width: 0,
            height: 0,
            stride_bytes: 0,
            data: std::ptr::null(),
            data_bytes: 0,
        });
        self.thread.get_or_init(|| std::thread::current().id());
        // SAFETY: the program's function with what it asked for and a structure, with what lies behind it, that is there during the call.
        match unsafe { (self.read)(self.user.pointer(), (&raw mut image).cast()) } {
            0 => Ok(false),
            1 => {
                let read = image.read("image").and_then(|image| {
                    // SAFETY: the program has said that the picture is there until the next call.
                    unsafe { frame_of(image) }
                });
                into.pixels = read.map_err(|Fault(_, said)| wrong(said))?.pixels;
                Ok(true)
            }
            code => {
                self.failed.store(code < 0, Ordering::Relaxed);
                Err(wrong(format!("the callback's {code}")))
            }
        }
    }

    fn rate(&self) -> Option<Rate> {
        None
    }
}

fn follow(live: Live, show: unsafe extern "C" fn(*mut c_void, *const EdgeSegFrame) -> bool, user: User) -> Result<()> {
    let mut live = live;
    for shown in &mut live {
        let shown = shown?;
        let found = found_of(shown.found.clone());
        let pixels = &shown.frame.pixels;
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let told = EdgeSegFrame {
            struct_size: size_of::<EdgeSegFrame>() as u32,
            key: shown.key.into(),
            sequence: shown.frame.sequence,
            timestamp_ns: nanoseconds(shown.frame.timestamp),
            latency_ns: nanoseconds(shown.latency),
            dropped: shown.dropped,
            found: &raw const found,
            image: EdgeSegImage {
                struct_size: size_of::<EdgeSegImage>() as u32,
                format: crate::picture::EDGE_SEG_RGB,
                width: pixels.width(),
                height: pixels.height(),
                stride_bytes: 3 * pixels.width() as usize,
                data: pixels.as_raw().as_ptr(),
                data_bytes: pixels.as_raw().len(),
            },
        };
        // SAFETY: the program's function with what it asked for and a frame that is there during the call.
        if !unsafe { show(user.pointer(), &raw const told) } {
            break;
        }
    }
    Ok(live.stop()?)
}

/// Starts to read and segment video. `words` may be freed afterwards, and so may the model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_live_start(
    model: *const EdgeSegModel,
    words: *const EdgeSegWords,
    options_given: *const EdgeSegLiveOptions,
    out: *mut *mut EdgeSegLive,
) -> EdgeSegStatus {
    guarded(|| {
        // SAFETY: the address of the caller's pointer, or null.
        unsafe { clear(out) }?;
        // SAFETY: from `edge_seg_..._open` and `_new`; or null.
        let (model, words) = unsafe { (borrowed("model", model)?, borrowed("words", words)?) };
        // SAFETY: the caller's structure begins with its size.
        let asked = unsafe { versioned("options", options_given) }?;
        let pace = match asked.pace {
            EDGE_SEG_PACE_AUTO => Pace::Auto,
            EDGE_SEG_PACE_LIVE => Pace::Live,
            EDGE_SEG_PACE_EVERY => Pace::Every,
            other => return Err(argument("options.pace", "EDGE_SEG_PACE_AUTO, _LIVE or _EVERY", other)),
        };
        let keys = match (asked.every, asked.share) {
            (every, 0.0) => KeyFrames::Every(every.max(1).into()),
            (0, share) => KeyFrames::Auto { share },
            _ => return Err(argument("options", "every or share", "both")),
        };
        let show = asked.show.ok_or_else(|| argument("options.show", "a function", "NULL"))?;
        let (stop, user, reader) = (Arc::<AtomicBool>::default(), User(asked.user), Arc::<OnceLock<ThreadId>>::default());
        let failed = Arc::<AtomicBool>::default();
        let mut options = LiveOptions::default().with_pace(pace).with_keys(keys);
        // SAFETY: a text that ends with a zero, or null.
        let named = unsafe { text("options.source", asked.source) }?;
        let source: Box<dyn Source> = match (named, asked.read) {
            (Some(uri), None) => open_source(uri, &SourceOptions::default().with_pace(pace).with_stop(stop.clone()))?,
            (None, Some(read)) => {
                // What `user` points to may be gone once the session is: a read that still runs then would write into it.
                options = options.with_patience(Duration::MAX);
                Box::new(Called { read, user, thread: reader.clone(), failed: failed.clone() })
            }
            (Some(_), Some(_)) => return Err(argument("options", "source or read", "both")),
            (None, None) => return Err(argument("options", "source or read", "neither")),
        };
        let live = Live::start(model.session.clone(), source, words.list.clone(), options)?;
        let (shared, stops) = (live.words().clone(), [live.stop_flag().clone(), stop]);
        let followed = move || {
            follow(live, show, user).map_err(|Fault(status, said)| match status {
                EdgeSegStatus::Source if failed.load(Ordering::Relaxed) => Fault(EdgeSegStatus::Callback, said),
                other => Fault(other, said),
            })
        };
        let thread = std::thread::Builder::new().name("edge-seg show".into()).spawn(followed);
        let thread = thread.map_err(|error| Fault(EdgeSegStatus::Other, format!("thread of the callback: {error}")))?;
        let callbacks = (thread.thread().id(), reader);
        // SAFETY: as above.
        unsafe { give(out, EdgeSegLive { words: shared, stops, thread: Mutex::new(Some(thread)), callbacks }) }
    })
}

/// Looks for other words from the next frame on; frames go on with the old ones while these are encoded.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_live_set_words(live: *const EdgeSegLive, words: *const EdgeSegWords) -> EdgeSegStatus {
    guarded(|| {
        // SAFETY: from `edge_seg_live_start` and `edge_seg_words_new`; or null.
        let (live, words) = unsafe { (borrowed("live", live)?, borrowed("words", words)?) };
        live.words.set_list(&words.list)?;
        Ok(())
    })
}

impl EdgeSegLive {
    fn check_outside(&self) -> Result<()> {
        let here = std::thread::current().id();
        if here == self.callbacks.0 || self.callbacks.1.get() == Some(&here) {
            return Err(argument("live", "a call from outside of its callbacks", "one inside; what these return ends it"));
        }
        Ok(())
    }

    fn wait(&self) -> Result<()> {
        self.check_outside()?;
        // Held meanwhile: whoever else waits does so as long.
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| Err(Fault(EdgeSegStatus::Panicked, "fault inside the library, on the callback's thread".into())))
    }
}

/// Waits until the source has ended or a callback has ended the session. What went wrong meanwhile is this call's, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_live_wait(live: *const EdgeSegLive) -> EdgeSegStatus {
    // SAFETY: from `edge_seg_live_start`, or null.
    guarded(|| unsafe { borrowed("live", live) }?.wait())
}

/// Ends the session and waits for its threads and callbacks; none runs afterwards. What went wrong meanwhile is this call's, once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_live_stop(live: *const EdgeSegLive) -> EdgeSegStatus {
    guarded(|| {
        // SAFETY: from `edge_seg_live_start`, or null.
        let live = unsafe { borrowed("live", live) }?;
        live.check_outside()?;
        live.stops.iter().for_each(|stop| stop.store(true, Ordering::Relaxed));
        live.wait()
    })
}

impl Drop for EdgeSegLive {
    fn drop(&mut self) {
        self.stops.iter().for_each(|stop| stop.store(true, Ordering::Relaxed));
        let _ = self.wait();
    }
}

/// Ends the session as edge_seg_live_stop does, and frees it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_live_free(live: *mut EdgeSegLive) {
    // SAFETY: from `edge_seg_live_start`, once.
    unsafe { free(live) }
}
