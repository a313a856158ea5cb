//! Small displays and the framebuffer: the masks over the picture, and the words with their shares, at a rate of their own.
//!
//! ```
//! use edge_seg_live::sinks::display::{Line, View, open_screen};
//! use edge_seg_model::LabelMap;
//! # fn main() -> edge_seg_live::Result<()> {
//! # let folder = tempfile::tempdir().expect("a folder for the test");
//! # let file = folder.path().join("fb");
//! # let name = format!("fb:{}?size=240x240&bits=16", file.display());
//! // let name = "fb:/dev/fb0";
//! let picture = image::RgbImage::from_pixel(64, 48, image::Rgb([90, 160, 255]));
//! let labels = LabelMap { width: 64, height: 48, labels: vec![1; 64 * 48] };
//! let words = vec![Line::new("sky", 1.0, [255, 128, 0])];
//! open_screen(&name)?.show(&View::new(&picture, &labels, words))?;
//! # assert_eq!(std::fs::metadata(file).expect("the screen's bytes").len(), 240 * 240 * 2);
//! # Ok(())
//! # }
//! ```

mod address;
mod framebuffer;
mod layout;
#[cfg(feature = "displays")]
mod oled;
mod screen;
#[cfg(feature = "displays")]
mod spi;

pub use framebuffer::{Framebuffer, Geometry};
pub use layout::{Line, View, draw, draw_mono};
#[cfg(feature = "displays")]
pub use oled::Oled;
pub use screen::Screen;
#[cfg(feature = "displays")]
pub use spi::{Controller, Panel, Wiring};

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::LiveSink;
use crate::session::{FrameReport, SegmentedFrame};
use crate::{Error, Result};
use address::Address;

/// Opens a display by its name:
///
/// | name | is |
/// |---|---|
/// | `fb:/dev/fb0` | a framebuffer of the kernel; `rotate`; a plain file with `size=WxH&bits=16` (or 32) |
/// | `st7789:/dev/spidev0.0?dc=25&rst=27&size=240x240` | a colour display on SPI; also `ili9341:`; `rotate`, `offset`, `invert`, `bgr`, `bl`, `mhz`, `mode`, `chip` |
/// | `ssd1306:/dev/i2c-1?size=128x64` | a one-colour display on I²C; `rotate`, `address` |
///
/// # Errors
/// [`Option`](edge_seg_model::Error::Option) if the name is wrong, [`Error::Sink`] if the device does not work, [`Io`](edge_seg_model::Error::Io) if it cannot be opened.
pub fn open_screen(uri: &str) -> Result<Box<dyn Screen>> {
    let address = named(uri)?;
    match address.kind {
        "fb" => Ok(Box::new(Framebuffer::open(&address)?)),
        #[cfg(feature = "displays")]
        "st7789" | "ili9341" => spi::open(&address),
        #[cfg(feature = "displays")]
        _ => oled::open(&address),
        #[cfg(not(feature = "displays"))]
        _ => Err(address.wrong("a build with the feature displays", "one without")),
    }
}

/// Whether a display's name is one, without a look at the display.
///
/// # Errors
/// [`Option`](edge_seg_model::Error::Option) if it is none.
pub fn check_screen(uri: &str) -> Result<()> {
    named(uri).map(drop)
}

fn named(uri: &str) -> Result<Address<'_>> {
    let address = Address::parse(uri)?;
    match address.kind {
        "fb" | "st7789" | "ili9341" | "ssd1306" => Ok(address),
        kind => Err(address.wrong("fb:, st7789:, ili9341: or ssd1306:", kind)),
    }
}

type Frame = (Arc<SegmentedFrame>, Arc<FrameReport>);

#[derive(Default)]
struct Latest {
    state: Mutex<(Option<Frame>, bool)>,
    changed: Condvar,
}

impl Latest {
    fn lock(&self) -> MutexGuard<'_, (Option<Frame>, bool)> {
        self.state.lock()
    }

    /// None once it is closed and the last frame is taken.
    fn take(&self) -> Option<Frame> {
        let mut state = self.lock();
        loop {
            match &mut *state {
                (frame @ Some(_), _) => return frame.take(),
                (None, true) => return None,
                _ => self.changed.wait(&mut state),
            }
        }
    }
}

/// Shows the newest frame on a screen, on a thread of its own. Frames that come while it draws are skipped.
pub struct Display {
    latest: Arc<Latest>,
    interval: Duration,
    next: Option<Instant>,
    done: Receiver<()>,
}

impl std::fmt::Debug for Display {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Display {{ a picture each {:?} }}", self.interval)
    }
}

/// How long the last picture may take.
const FINISH: Duration = Duration::from_millis(700);
/// How often a screen that fails is tried.
const RETRY: Duration = Duration::from_secs(5);

impl Display {
    /// Starts drawing; `place` names the screen in warnings, and no two pictures come closer than `interval`.
    ///
    /// # Errors
    /// [`Error::Sink`] if no thread can be started.
    pub fn start(place: &str, mut screen: Box<dyn Screen>, interval: Duration) -> Result<Self> {
        let latest = Arc::new(Latest::default());
        let (source, place) = (latest.clone(), place.to_owned());
        let (ended, done) = channel();
        let run = {
            let place = place.clone();
            move || {
                let (mut failed, mut told) = (None::<Instant>, false);
                while let Some((shown, report)) = source.take() {
                    // A loose wire must not be hammered, nor fill the log.
                    if failed.is_some_and(|at| at.elapsed() < RETRY) {
                        continue;
                    }
                    failed = match screen.show(&View::of(&shown, &report)) {
                        Ok(()) => {
                            told = false;
                            None
                        }
                        Err(e) => {
                            if !std::mem::replace(&mut told, true) {
                                tracing::warn!("{place}: {e}; trying again every {} s", RETRY.as_secs());
                            }
                            Some(Instant::now())
                        }
                    };
                }
                drop::<Sender<()>>(ended);
            }
        };
        let spawned = std::thread::Builder::new().name("display".into()).spawn(run);
        spawned.map_err(|e| Error::Sink { place, found: e.to_string() })?;
        Ok(Self { latest, interval, next: None, done })
    }
}

impl LiveSink for Display {
    fn take(&mut self, shown: &Arc<SegmentedFrame>, report: &Arc<FrameReport>) -> Result<()> {
        let now = Instant::now();
        if self.next.is_none_or(|next| now >= next) {
            self.next = Some(now + self.interval);
            self.latest.lock().0 = Some((shown.clone(), report.clone()));
            self.latest.changed.notify_one();
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.latest.lock().1 = true;
        self.latest.changed.notify_one();
        let _ = self.done.recv_timeout(FINISH);
        Ok(())
    }
}

#[cfg(all(test, feature = "displays"))]
mod tests;
