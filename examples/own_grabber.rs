//! A camera of one's own: raw BGR lines with padding, as drivers and OpenCV hand them over, to a bitmap mask for each word.
//!
//! ```text
//! cargo run --release --example own_grabber -- examples/pictures/coffee.jpg "cup, table, spoon"
//! ```

use std::time::Duration;

use anyhow::{Context, Result};
use edge_seg::live::{Live, LiveOptions};
use edge_seg::source::{Rate, Source};
use edge_seg::{Channels, Frame, Session, image};

/// Stands for a driver: ten pictures a second, in lines that are padded to 64 bytes.
struct Grabber {
    bytes: Vec<u8>,
    size: (u32, u32),
    line_bytes: usize,
    left: u32,
}

impl Grabber {
    fn new(picture: &image::RgbImage) -> Self {
        let line_bytes = (3 * picture.width() as usize).next_multiple_of(64);
        let mut bytes = vec![0; line_bytes * picture.height() as usize];
        for (x, y, pixel) in picture.enumerate_pixels() {
            let [red, green, blue] = pixel.0;
            bytes[y as usize * line_bytes + 3 * x as usize..][..3].copy_from_slice(&[blue, green, red]);
        }
        Self { bytes, size: picture.dimensions(), line_bytes, left: 5 }
    }
}

impl Source for Grabber {
    // Number and time may be set here; the session counts frames that have none.
    fn read(&mut self, frame: &mut Frame) -> edge_seg::Result<bool> {
        std::thread::sleep(Duration::from_millis(100));
        frame.pixels = Frame::from_raw(Channels::Bgr, self.size, self.line_bytes, &self.bytes)?.pixels;
        self.left = self.left.saturating_sub(1);
        Ok(self.left > 0)
    }

    fn rate(&self) -> Option<Rate> {
        Some((10, 1))
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let picture = arguments.next().context("expected a picture")?;
    let words = arguments.next().context("expected words, separated by commas")?;

    let grabber = Grabber::new(&image::open(picture)?.into_rgb8());
    let session = Session::built_in()?;
    let words = session.words(&words)?;
    let mut live = Live::start(session, grabber, words, LiveOptions::default())?;
    for shown in &mut live {
        let shown = shown?;
        for class in shown.found.classes() {
            let mask = class.bitmap();
            println!("{}: {} {:.2}, {} px, {:?}", shown.frame.sequence, class.name(), class.score(), class.pixels(), class.bounds_px());
            mask.save(format!("{}.png", class.name().replace('/', "_")))?;
        }
    }
    Ok(live.stop()?)
}
