use std::convert::Infallible;

use embedded_graphics::mono_font::iso_8859_1::FONT_9X15_BOLD;
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};
use image::RgbImage;

use super::palette::class_colour;
use crate::LabelMap;

/// How masks are laid over a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct OverlayOptions {
    /// Share of the class's colour inside its mask, 0..1.
    pub opacity: f32,
    /// Whether masks are outlined.
    pub outline: bool,
    /// Whether the words are listed with their scores.
    pub legend: bool,
}

impl OverlayOptions {
    /// The same with another [`opacity`](Self::opacity).
    pub fn with_opacity(self, opacity: f32) -> Self {
        Self { opacity, ..self }
    }

    /// The same with another [`outline`](Self::outline).
    pub fn with_outline(self, outline: bool) -> Self {
        Self { outline, ..self }
    }

    /// The same with another [`legend`](Self::legend).
    pub fn with_legend(self, legend: bool) -> Self {
        Self { legend, ..self }
    }
}

impl Default for OverlayOptions {
    fn default() -> Self {
        Self { opacity: 0.5, outline: true, legend: true }
    }
}

/// A line of the legend.
#[derive(Debug, Clone, PartialEq)]
pub struct LegendEntry {
    /// The class's label.
    pub label: usize,
    /// Its name.
    pub name: String,
    /// Its score in 0..1.
    pub score: f32,
}

/// Lays masks over a picture: colours, outlines, and a legend of the words.
///
/// The picture must be the one that the labels belong to; where sizes differ, only the common part is drawn.
pub fn draw_overlay(picture: &RgbImage, map: &LabelMap, legend: &[LegendEntry], options: OverlayOptions) -> RgbImage {
    draw_overlay_in(picture, map, legend, &[], options)
}

/// As [`draw_overlay`], in these colours for the labels from 1; labels beyond have [`class_colour`]'s. `[labels]`
pub fn draw_overlay_in(
    picture: &RgbImage,
    map: &LabelMap,
    legend: &[LegendEntry],
    colours: &[[u8; 3]],
    options: OverlayOptions,
) -> RgbImage {
    let mut canvas = picture.clone();
    draw_overlay_on(&mut canvas, map, legend, colours, options);
    canvas
}

/// As [`draw_overlay_in`], onto the picture itself. A map that lacks labels is not drawn.
pub fn draw_overlay_on(canvas: &mut RgbImage, map: &LabelMap, legend: &[LegendEntry], colours: &[[u8; 3]], options: OverlayOptions) {
    let colour_of = |label: usize| label.checked_sub(1).and_then(|k| colours.get(k)).copied().unwrap_or_else(|| class_colour(label));
    if map.checked().is_err() {
        return;
    }
    let width = map.width as usize;
    let side = canvas.width().max(canvas.height()) as usize;
    let (thick, opacity) = ((side / 700).max(1), (options.opacity.clamp(0.0, 1.0) * 256.0) as u32);
    for y in 0..map.height.min(canvas.height()) as usize {
        for x in 0..width.min(canvas.width() as usize) {
            let label = map.labels[y * width + x];
            let edge = options.outline && {
                let right = map.labels[y * width + (x + thick).min(width - 1)];
                let below = map.labels[(y + thick).min(map.height as usize - 1) * width + x];
                right != label || below != label
            };
            let pixel = canvas.get_pixel_mut(x as u32, y as u32);
            if edge {
                pixel.0 = [255, 255, 255];
            } else if label > 0 {
                for (channel, colour) in pixel.0.iter_mut().zip(colour_of(usize::from(label))) {
                    *channel = ((u32::from(*channel) * (256 - opacity) + u32::from(colour) * opacity) >> 8) as u8;
                }
            }
        }
    }
    if options.legend {
        draw_legend(canvas, legend, colour_of);
    }
}

const FONT: MonoFont<'static> = FONT_9X15_BOLD;
const MARGIN: u32 = 4;
const LINE: u32 = 18;
const SWATCH: u32 = 12;
/// Longest name that is written; the rest is cut, so that one caption does not cover the picture.
const NAME_CHARS: usize = 24;

/// Draws at the font's own size onto a small canvas first, then enlarges by a whole factor, so that the legend is legible on a
/// 12-megapixel photo and does not fill a thumbnail.
fn draw_legend(canvas: &mut RgbImage, legend: &[LegendEntry], colour_of: impl Fn(usize) -> [u8; 3]) {
    let scale = (canvas.width().min(canvas.height()) / 480).max(1);
    let lines = (canvas.height() / scale).saturating_sub(2 * MARGIN) / LINE;
    let shown = legend.len().min(lines as usize);
    let texts: Vec<_> = legend[..shown].iter().map(|e| format!("{} {:.2}", printable(&e.name), e.score)).collect();
    let Some(longest) = texts.iter().map(|t| t.chars().count()).max() else { return };
    let size = Size::new(3 * MARGIN + SWATCH + longest as u32 * FONT.character_size.width, 2 * MARGIN + shown as u32 * LINE);
    let mut panel = Panel(RgbImage::new(size.width, size.height));
    for (i, (entry, text)) in legend.iter().zip(&texts).enumerate() {
        let top = (MARGIN + i as u32 * LINE) as i32;
        let [r, g, b] = colour_of(entry.label);
        let swatch = Rectangle::new(Point::new(MARGIN as i32, top + 3), Size::new(SWATCH, SWATCH));
        let _ = swatch.into_styled(PrimitiveStyle::with_fill(Rgb888::new(r, g, b))).draw(&mut panel);
        let at = Point::new((2 * MARGIN + SWATCH) as i32, top + 1);
        let _ = Text::with_baseline(text, at, MonoTextStyle::new(&FONT, Rgb888::WHITE), Baseline::Top).draw(&mut panel);
    }
    for y in 0..(size.height * scale).min(canvas.height()) {
        for x in 0..(size.width * scale).min(canvas.width()) {
            let source = panel.0.get_pixel(x / scale, y / scale).0;
            let target = canvas.get_pixel_mut(x, y);
            // Black is the panel's ground: it darkens the picture instead of hiding it.
            target.0 = if source == [0, 0, 0] { target.0.map(|c| c / 3) } else { source };
        }
    }
}

/// The font has Latin letters only.
pub fn printable(name: &str) -> String {
    let cut: String = name.chars().take(NAME_CHARS).map(|c| if (' '..='\u{ff}').contains(&c) { c } else { '?' }).collect();
    if name.chars().count() > NAME_CHARS { cut + "..." } else { cut }
}

/// An RGB picture as an embedded-graphics target.
pub struct Panel(pub RgbImage);

impl OriginDimensions for Panel {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Panel {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, colour) in pixels {
            if let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y))
                && let Some(pixel) = self.0.get_pixel_mut_checked(x, y)
            {
                pixel.0 = [colour.r(), colour.g(), colour.b()];
            }
        }
        Ok(())
    }
}
