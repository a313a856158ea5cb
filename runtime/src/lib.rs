//! Open-vocabulary segmentation at the edge: type words, get masks.
//!
//! ```
//! use edge_seg::{Frame, Options, Session};
//! # fn main() -> edge_seg::Result<()> {
//! # if cfg!(not(feature = "mini")) { return Ok(()) }
//! let session = Session::built_in_with(&Options::default().with_size_px(64))?;
//! let words = session.words("dog, red car: sports car, -sky")?;
//! let frame = Frame::still(image::RgbImage::from_pixel(64, 48, image::Rgb([90, 160, 255])));
//! let found = session.find(&frame, &words)?;
//! for class in found.classes() {
//!     println!("{} {:.2} {:?}", class.name(), class.score(), class.bounds_px());
//! }
//! # assert_eq!(found.classes().len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! One name for what a program of one's own needs of several crates: pictures with [`Session`], video with [`live::Live`], events with
//! [`rules`], and where masks come from and go with [`source`] and [`sink`]. Every call takes `&self`, nothing panics on input, and
//! [`Error`] covers everything.
//!
//! # Features
//!
//! | feature | brings | by default |
//! |---|---|---|
//! | `mini` | the model of [`Session::built_in`], 31 MB in the program | yes |
//! | `v4l2` | cameras through Video4Linux, `v4l2:///dev/video0` in [`source::open_source`] | yes |
//! | `displays` | small displays on SPI and I²C in [`sink::open_screen`] | yes |
//! | `network` | cameras over RTSP, and Motion JPEG over HTTP, without `ffmpeg` in [`source::open_source`] | yes |
//! | `service` | MQTT and webhooks as sinks | yes |
//! | `program` | the command line of the program `edge-seg`, of no use to a library | yes |
//! | `cuda`, or one of `cuda-12020`, `cuda-12060`, `cuda-13000` | NVIDIA GPUs, for a driver of that release of CUDA or a later one | no |
//!
//! Without any, pictures, video, rules and signed bundles of one's own work all the same.
//!
//! # The panic hook
//!
//! Engine and decoders give up on some inputs by panics, which are caught and become errors. So that they are not on stderr as well, the
//! first session or picture wraps the process's panic hook: it is silent for these, and calls the hook that was there for all others. A
//! program that sets a hook of its own does so before, or is told of these too.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]

#[doc(inline)]
pub use edge_seg_bundle::{Bundle, Manifest};
#[doc(inline)]
pub use edge_seg_live::{Error, Result};
/// What goes wrong with a model, a picture or words: the part of [`Error`] that has nothing to do with video.
#[doc(inline)]
pub use edge_seg_model::Error as ModelError;
#[doc(inline)]
pub use edge_seg_model::{
    Background, Channels, Class, Encoded, Example, Extent, FoundClass, Frame, Gate, LabelMap, Language, Languages, Meaning, Options,
    PatchGrid, Placement, Refinement, ScoreGrid, Scoring, Segmentation, Session, Timings, Translation, UnitRows, WordBank, WordList,
    WordScore, check_classes, decode_picture, expand_inputs, parse_classes, parse_words, read_classes_file, read_damaged_picture,
    read_picture, score_words,
};
pub use edge_seg_model::{image, ndarray};

/// What a bundle says of itself, and why one cannot be used. [`Bundle`] opens it, [`trust`] asks for a signature.
///
/// ```
/// # if cfg!(not(feature = "mini")) { return }
/// let bundle = edge_seg::Bundle::built_in().unwrap();
/// assert_eq!(bundle.manifest().name, "mini");
/// ```
pub mod bundle {
    #[doc(inline)]
    pub use edge_seg_bundle::{Bundle, Card, Error, Fit, ImageManifest, Interpolation, Manifest, Positions, TextManifest};
}

/// Where the encoders run: on the processor, or on an NVIDIA GPU when that is asked for.
///
/// ```
/// use edge_seg::{Options, device::Device};
/// let options = Options::default().with_device(Device::Auto); // a GPU where one can be used
/// # assert_eq!(options.device, Device::Auto);
/// ```
pub mod device {
    #[doc(inline)]
    pub use edge_seg_model::device::{Choice, Device, DeviceFault, OnFallback};
}

/// Video: a handle that gives frames with their masks, and the words that change meanwhile.
///
/// ```
/// use edge_seg::live::{Live, LiveOptions};
/// # fn main() -> edge_seg::Result<()> {
/// # if cfg!(not(feature = "mini")) { return Ok(()) }
/// # let session = edge_seg::Session::built_in_with(&edge_seg::Options::default().with_size_px(64))?;
/// let camera = edge_seg::source::open_source("test:?size=64x48&fps=30&frames=3", &Default::default())?;
/// let mut live = Live::start(session, camera, "sky, stripes", LiveOptions::default())?;
/// for shown in &mut live {
///     println!("{:.1} % sky", 100.0 * shown?.found.classes()[0].share());
/// }
/// live.stop()
/// # }
/// ```
pub mod live {
    #[doc(inline)]
    pub use edge_seg_live::session::{
        Allowance, Counters, FrameReport, Governed, GovernorOptions, HideSwitches, KeyFrames, LiveOptions, SegmentedFrame,
    };
    #[doc(inline)]
    pub use edge_seg_live::things::{Countable, Follower, Sight, Thing, ThingOptions, Things};
    #[doc(inline)]
    #[expect(deprecated, reason = "kept for a release")]
    pub use edge_seg_live::words::Word;
    #[doc(inline)]
    pub use edge_seg_live::words::{Colour, LiveClass, WordSet, WordSpec, Words};
    #[doc(inline)]
    pub use edge_seg_live::{Live, LiveWords};
    #[doc(inline)]
    pub use edge_seg_model::propagation::{Motion, Movement, Propagation, PropagationOptions, Propagator};
}

/// Privacy: what some words cover never leaves, in video by [`LiveOptions::with_hide`](live::LiveOptions::with_hide), in a picture by
/// [`Hide::show`](hide::Hide::show).
///
/// ```
/// use edge_seg::hide::HideOptions;
/// use edge_seg::live::{Live, LiveOptions};
/// # fn main() -> edge_seg::Result<()> {
/// # if cfg!(not(feature = "mini")) { return Ok(()) }
/// # let session = edge_seg::Session::built_in_with(&edge_seg::Options::default().with_size_px(64))?;
/// let camera = edge_seg::source::open_source("test:?size=64x48&fps=30&frames=3", &Default::default())?;
/// let hide = session.hide("person, licence plate", HideOptions::default())?;
/// for shown in Live::start(session, camera, "sky", LiveOptions::default().with_hide(hide))? {
///     let frame = &shown?.frame; // no picture of this frame that shows more is anywhere
///     println!("{:.1} % hidden", 100.0 * frame.hidden().expect("asked for").share);
/// }
/// # Ok(())
/// # }
/// ```
pub mod hide {
    #[doc(inline)]
    pub use edge_seg_model::hide::{Cover, Hidden, Hide, HideBy, HideOptions, ShownFrame, Whole};
}

/// Connected parts of label maps, as run lengths and outlines: what [`FoundClass`] gives of one class, for maps of one's own.
///
/// ```
/// use edge_seg::region::regions;
/// let parts = regions(&[1, 1, 0, 2], 4, 1);
/// assert_eq!(parts.iter().map(|(label, mask)| (*label, mask.area())).collect::<Vec<_>>(), [(1, 2), (2, 1)]);
/// ```
pub mod region {
    #[doc(inline)]
    pub use edge_seg_model::region::{Mask, class_counts, class_outlines, regions};
}

/// Rules on what is seen: zones of the picture, conditions on words, and the events that they give.
///
/// ```
/// use edge_seg::rules::{RuleBook, Watcher};
/// # fn main() -> edge_seg::Result<()> {
/// let book = RuleBook::parse("rules", "[[rule]]\nname = \"visitor\"\nwhen = { word = \"person\", share_above = 0.05 }")?;
/// let watcher = Watcher::new(book)?; // `look` takes each frame's masks
/// assert_eq!(watcher.states().collect::<Vec<_>>(), [("visitor", false)]);
/// # Ok(())
/// # }
/// ```
pub mod rules {
    #[doc(inline)]
    pub use edge_seg_live::rules::{
        Amount, Anchor, Change, Condition, Confirm, Departure, Event, EventKind, Line, LocalClock, LocalTime, Machine, Measured, Normal,
        Place, Profile, Rule, RuleBook, Tally, TallyPlace, Test, ThingTest, Timing, Unit, Unusual, Watcher, Way, Zone, ZoneMask,
        brightness,
    };
}

/// What cameras saw, to be asked for later: an index of embeddings in one file, and the search in it.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use edge_seg::search::{Index, IndexOptions, IndexWriter, Query, Seen};
/// # fn main() -> edge_seg::Result<()> {
/// # if cfg!(not(feature = "mini")) { return Ok(()) }
/// # let folder = tempfile::tempdir().expect("a folder for the test");
/// # let path = folder.path().join("seen.index");
/// # let cat = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/pictures/cat.jpg");
/// # let session = edge_seg::Session::built_in_with(&edge_seg::Options::default().with_size_px(224))?;
/// let frame = edge_seg::read_picture(&cat)?;
/// let mut index = IndexWriter::open(&path, &session, &IndexOptions::default())?;
/// let (time, at) = (SystemTime::now(), Duration::ZERO);
/// index.add(&Seen::new(&session.encode(&frame)?, &frame.pixels, time, at, "hall"))?;
/// for sighting in &Index::open(&path)?.find(&session, &session.words("cat")?, &Query::default())?[0] {
///     println!("{} {:.2} {:?}", sighting.origin, sighting.score, sighting.from);
///     # assert_eq!(&*sighting.origin, "hall");
/// }
/// # Ok(())
/// # }
/// ```
pub mod search {
    #[doc(inline)]
    pub use edge_seg_live::search::{Contents, Damage, Index, IndexOptions, IndexSink, IndexWriter, Query, Seen, Sighting};
}

/// Where masks go: into pictures, files and video, to a display, to whoever listens, or to a [`LiveSink`](sink::LiveSink) of one's own.
///
/// ```
/// use edge_seg::{LabelMap, sink::encode_mask};
/// let png = encode_mask(&LabelMap { width: 2, height: 1, labels: vec![0, 1] }, 1)?;
/// assert!(png.starts_with(b"\x89PNG"));
/// # Ok::<(), edge_seg::Error>(())
/// ```
pub mod sink {
    #[doc(inline)]
    pub use edge_seg_live::sinks::display::{Display, Screen, View, open_screen};
    #[cfg(feature = "service")]
    #[doc(inline)]
    pub use edge_seg_live::sinks::mqtt::{Mqtt, MqttOptions, Obey};
    #[cfg(feature = "service")]
    #[doc(inline)]
    pub use edge_seg_live::sinks::webhook::{Webhook, WebhookOptions};
    #[doc(inline)]
    pub use edge_seg_live::sinks::{JsonLines, LiveSink, MaskFolder, OverlayStream, OverlayVideo, VideoWriter};
    #[doc(inline)]
    pub use edge_seg_model::render::{
        ClassReport, HiddenReport, JSON_VERSION, JsonVersion, Legend, LegendEntry, MaskReport, MaskStyle, Milliseconds, OverlayOptions,
        class_colour, draw_overlay, draw_overlay_in, encode_mask,
    };
}

/// Where frames come from: whatever the program reads, or a [`Source`](source::Source) of one's own.
///
/// ```
/// use edge_seg::{Channels, Frame, source::{Rate, Source}};
///
/// struct Grabber;
///
/// impl Source for Grabber {
///     fn read(&mut self, frame: &mut Frame) -> edge_seg::Result<bool> {
///         let lines = [0; 2 * 8]; // from a driver
///         frame.pixels = Frame::from_raw(Channels::Bgr, (2, 2), 8, &lines)?.pixels;
///         Ok(true)
///     }
///
///     fn rate(&self) -> Option<Rate> {
///         Some((30, 1))
///     }
/// }
/// # assert!(Grabber.read(&mut Frame::still(Default::default())).is_ok_and(|read| read));
/// ```
pub mod source {
    #[doc(inline)]
    pub use edge_seg_live::source::{
        Fault, Layout, Matrix, Notice, Pace, PixelFormat, Range, Rate, Source, SourceOptions, VideoDecoder, YuvDecoder, open_source,
        redacted,
    };
}

/// Who may be trusted with a bundle: keys, boards and serials that it is held against before anything of it is used.
///
/// ```
/// use edge_seg::trust::Trust;
/// let key = "untrusted comment: the workshop's\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n";
/// let trust = Trust::in_keys([("workshop.pub", key)])?.on_board(&["pi5"]).at_least(7);
/// # let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/models/mini.esb")).expect("the model of this project");
/// let refused = trust.open_bytes("flash", bytes).unwrap_err().to_string(); // nobody has signed this one
/// assert!(refused.contains("unsigned"), "{refused}");
/// # Ok::<(), edge_seg::Error>(())
/// ```
pub mod trust {
    #[doc(inline)]
    pub use edge_seg_bundle::trust::{Refusal, Trust};
}
