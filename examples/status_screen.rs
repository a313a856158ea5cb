//! A status screen on a small SPI display, an ST7789 of 240 × 240: the words, each with a bar of its score in its mask's colour.
//!
//! ```text
//! cargo run --release --example status_screen -- rtsp://camera/stream "dog, grass, sky" /dev/spidev0.0 /dev/gpiochip0 24 25
//! ```
//!
//! The last two are the GPIO lines of DC and RES (wiring: docs/pi.md). A file that ends with .png in place of the SPI device takes the
//! first frame's screen as a picture. `edge-seg run --display` shows the masks as well, without a program of one's own.

use anyhow::{Context, Result, anyhow};
use edge_seg::sink::class_colour;
use edge_seg::source::{Pace, SourceOptions, open_source};
use edge_seg::{Frame, Session};
use embedded_graphics::mono_font::{MonoTextStyle, ascii::FONT_9X15};
use embedded_graphics::pixelcolor::Rgb565;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyle, Rectangle};
use embedded_graphics::text::Text;
use linux_embedded_hal::gpio_cdev::{Chip, LineRequestFlags};
use linux_embedded_hal::spidev::SpidevOptions;
use linux_embedded_hal::{CdevPin, Delay, SpidevDevice};
use mipidsi::interface::SpiInterface;
use mipidsi::models::ST7789;
use mipidsi::options::ColorInversion;

const SIDE: u32 = 240;

/// One line a word: its name, below it a bar.
fn draw<D: DrawTarget<Color = Rgb565>>(screen: &mut D, names: &[String], scores: &[f32]) -> Result<(), D::Error> {
    screen.clear(Rgb565::BLACK)?;
    for (i, (name, score)) in names.iter().zip(scores).enumerate() {
        let [red, green, blue] = class_colour(i + 1);
        let top = 6 + 36 * i as i32;
        Text::new(name, Point::new(6, top + 12), MonoTextStyle::new(&FONT_9X15, Rgb565::WHITE)).draw(screen)?;
        let bar = Rectangle::new(Point::new(6, top + 18), Size::new((score * (SIDE - 12) as f32) as u32, 10));
        bar.into_styled(PrimitiveStyle::with_fill(Rgb565::new(red >> 3, green >> 2, blue >> 3))).draw(screen)?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().with_context(|| format!("expected {what}"));
    let (uri, words) = (next("a source, as `edge-seg run --source` takes it")?, next("words, separated by commas")?);
    let device = next("an SPI device, such as /dev/spidev0.0, or a .png")?;

    let session = Session::built_in()?;
    let words = session.words(&words)?;
    let mut source = open_source(&uri, &SourceOptions::default().with_pace(Pace::Live))?;
    let mut frame = Frame::still(Default::default());
    let mut scores = || -> Result<Option<Vec<f32>>> {
        let read = source.read(&mut frame)?;
        Ok(if read { Some(session.find(&frame, &words)?.scores.scores().to_vec()) } else { None })
    };
    if device.ends_with(".png") {
        let mut screen = Picture(image::RgbImage::new(SIDE, SIDE));
        draw(&mut screen, words.names(), &scores()?.context("expected a frame, found none")?)?;
        return Ok(screen.0.save(&device)?);
    }

    let mut chip = Chip::new(next("a GPIO chip, such as /dev/gpiochip0")?)?;
    let mut line = |what: &str| -> Result<CdevPin> {
        let number = next(what)?.parse().with_context(|| format!("expected {what}"))?;
        Ok(CdevPin::new(chip.get_line(number)?.request(LineRequestFlags::OUTPUT, 1, "edge-seg")?)?)
    };
    let (data, reset) = (line("the GPIO number of DC")?, line("the GPIO number of RES")?);
    let mut bus = SpidevDevice::open(&device)?;
    bus.configure(&SpidevOptions::new().max_speed_hz(40_000_000).build())?;
    let mut chunk = [0; 4096];
    let mut screen = mipidsi::Builder::new(ST7789, SpiInterface::new(bus, data, &mut chunk))
        .display_size(SIDE as u16, SIDE as u16)
        .invert_colors(ColorInversion::Inverted)
        .reset_pin(reset)
        .init(&mut Delay)
        .map_err(|e| anyhow!("{device}: {e:?}"))?;
    while let Some(scores) = scores()? {
        draw(&mut screen, words.names(), &scores).map_err(|e| anyhow!("{device}: {e:?}"))?;
    }
    Ok(())
}

/// A picture in place of a display.
struct Picture(image::RgbImage);

impl OriginDimensions for Picture {
    fn size(&self) -> Size {
        Size::new(SIDE, SIDE)
    }
}

impl DrawTarget for Picture {
    type Color = Rgb565;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb565>>>(&mut self, pixels: I) -> Result<(), Self::Error> {
        for Pixel(at, colour) in pixels {
            if let Some(pixel) = self.0.get_pixel_mut_checked(at.x as u32, at.y as u32) {
                pixel.0 = [colour.r() << 3, colour.g() << 2, colour.b() << 3];
            }
        }
        Ok(())
    }
}
