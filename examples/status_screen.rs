//! A status screen on a small SPI display: the words, each with a bar of its score in its mask's colour.
//!
//! ```text
//! cargo run --release -p edge-seg-examples --example status_screen -- photo.jpg "dog, grass, sky" /dev/fb1
//! ```
//!
//! The kernel drives the display: `dtoverlay=fbtft,spi0-0,st7789v,width=240,height=240,reset_pin=25,dc_pin=24,led_pin=18` in
//! /boot/firmware/config.txt makes it /dev/fb1 (wiring: docs/pi.md). What is written there is 240 × 240 pixels of RGB 5-6-5.

use anyhow::{Context, Result};
use edge_seg::sink::class_colour;
use edge_seg::{Background, Bundle, Options, Session, parse_tags, read_picture};
use embedded_graphics::mono_font::{MonoTextStyle, ascii::FONT_9X15};
use embedded_graphics::pixelcolor::Rgb565;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyle, Rectangle};
use embedded_graphics::text::Text;

const SIDE: usize = 240;

/// The display's memory, little-endian as the kernel wants it.
struct Screen(Vec<u8>);

impl OriginDimensions for Screen {
    fn size(&self) -> Size {
        Size::new(SIDE as u32, SIDE as u32)
    }
}

impl DrawTarget for Screen {
    type Color = Rgb565;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb565>>>(&mut self, pixels: I) -> Result<(), Self::Error> {
        for Pixel(at, colour) in pixels {
            if let (Ok(x @ 0..SIDE), Ok(y @ 0..SIDE)) = (usize::try_from(at.x), usize::try_from(at.y)) {
                self.0[(y * SIDE + x) * 2..][..2].copy_from_slice(&colour.into_storage().to_le_bytes());
            }
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().with_context(|| format!("expected {what}"));
    let (picture, words, device) = (next("a picture")?, next("words, separated by commas")?, next("a framebuffer, such as /dev/fb1")?);

    let session = Session::new(Bundle::built_in()?, &Options::default())?;
    let bank = session.tag_bank(&parse_tags("the words", &words)?, &[])?;
    let background = Background::Threshold(session.bundle().manifest().background);
    let found = session.segment(&read_picture(picture.as_ref())?, &bank, background)?;

    let mut screen = Screen(vec![0; SIDE * SIDE * 2]);
    for (i, (name, score)) in bank.names().iter().zip(found.scores.scores()).enumerate() {
        let [red, green, blue] = class_colour(i + 1);
        let colour = Rgb565::new(red >> 3, green >> 2, blue >> 3);
        let top = 6 + 36 * i as i32;
        Text::new(name, Point::new(6, top + 12), MonoTextStyle::new(&FONT_9X15, Rgb565::WHITE)).draw(&mut screen)?;
        let bar = Size::new((score * (SIDE - 12) as f32) as u32, 10);
        Rectangle::new(Point::new(6, top + 18), bar).into_styled(PrimitiveStyle::with_fill(colour)).draw(&mut screen)?;
    }
    std::fs::write(&device, &screen.0).context(device)?;
    Ok(())
}
