//! Where frames come from: whatever the program reads ([`open_source`]), or a [`Source`] of one's own.
//!
//! ```
//! use edge_seg_live::source::{Rate, Source};
//! use edge_seg_model::{Channels, Frame};
//!
//! struct Grabber;
//!
//! impl Source for Grabber {
//!     fn read(&mut self, frame: &mut Frame) -> edge_seg_live::Result<bool> {
//!         let lines = [0; 2 * 8]; // from a driver
//!         frame.pixels = Frame::from_raw(Channels::Bgr, (2, 2), 8, &lines)?.pixels;
//!         Ok(true)
//!     }
//!
//!     fn rate(&self) -> Option<Rate> {
//!         Some((30, 1))
//!     }
//! }
//! # assert!(Grabber.read(&mut Frame::still(Default::default())).is_ok_and(|read| read));
//! ```

mod animation;
mod camera;
pub(crate) mod child;
pub(crate) mod decoders;
pub(crate) mod ffmpeg;
mod mjpeg;
#[cfg(feature = "network")]
mod network;
mod open;
mod options;
mod pixels;
mod query;
mod raw;
mod reconnect;
mod stills;
mod synthetic;
#[cfg(feature = "v4l2")]
mod v4l2;
mod watched;
mod y4m;

pub use crate::fault::Fault;
pub use edge_seg_bundle::redact::redacted;
pub(crate) use edge_seg_bundle::redact::redacted_address;
#[cfg(feature = "network")]
#[doc(hidden)]
pub use network::{count_pictures, decode_h264};
pub use open::{check_source, open_source};
use options::Stop;
pub use options::{Notice, Pace, SourceOptions, VideoDecoder};
pub use pixels::{Layout, Matrix, PixelFormat, Range, YuvDecoder};

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::Result;
use edge_seg_model::Frame;

/// Frames a second as a fraction: numerator, denominator.
pub type Rate = (u32, u32);

/// Fills a frame: whether there was one more, and the stream's rate where that is known.
type ReadFrame = dyn FnMut(&mut Frame) -> Result<(bool, Option<Rate>), Fault> + Send;

/// A stream of frames.
pub trait Source: Send {
    /// Fills `frame` with the next picture, reusing its memory, and sets its sequence number and timestamp. False at the end. A source
    /// that leaves the number as it is, or repeats one, has its frames counted by who reads it, and one that leaves the time has the
    /// clock's.
    ///
    /// # Errors
    /// [`crate::Error::Source`] if the stream breaks; what reconnects by itself does so first.
    fn read(&mut self, frame: &mut Frame) -> Result<bool>;

    /// The stream's nominal rate, once it is known.
    fn rate(&self) -> Option<Rate>;

    /// What decodes the stream's pictures, where it is one of encoded video and that is known: `jpeg`, `rust_h264` or `ffmpeg`.
    fn decoder(&self) -> Option<&'static str> {
        None
    }

    /// Whether frames come in their own time, so that the ones that nobody is ready for are lost anyway.
    fn is_live(&self) -> bool {
        false
    }

    /// What has a read end soon, and this source alone, once it is set: a session on video sets it to let the source go. None where no
    /// read takes long.
    fn stop_flag(&self) -> Option<Arc<AtomicBool>> {
        None
    }
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn read(&mut self, frame: &mut Frame) -> Result<bool> {
        (**self).read(frame)
    }

    fn rate(&self) -> Option<Rate> {
        (**self).rate()
    }

    fn decoder(&self) -> Option<&'static str> {
        (**self).decoder()
    }

    fn is_live(&self) -> bool {
        (**self).is_live()
    }

    fn stop_flag(&self) -> Option<Arc<AtomicBool>> {
        (**self).stop_flag()
    }
}
