//! Where frames come from.

mod camera;
mod child;
mod fault;
mod ffmpeg;
mod mjpeg;
mod open;
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

pub use fault::Fault;
pub use open::{Notice, Pace, SourceOptions, open_source, redacted};
pub use pixels::{Layout, Matrix, PixelFormat, Range, YuvDecoder};

use crate::Result;
use edge_seg_model::Frame;

/// Frames a second as a fraction: numerator, denominator.
pub type Rate = (u32, u32);

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

    /// Whether frames come in their own time, so that the ones that nobody is ready for are lost anyway.
    fn is_live(&self) -> bool {
        false
    }
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn read(&mut self, frame: &mut Frame) -> Result<bool> {
        (**self).read(frame)
    }

    fn rate(&self) -> Option<Rate> {
        (**self).rate()
    }

    fn is_live(&self) -> bool {
        (**self).is_live()
    }
}
