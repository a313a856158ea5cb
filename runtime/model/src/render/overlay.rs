use std::convert::Infallible;

use embedded_graphics::mono_font::iso_8859_1::FONT_9X15_BOLD;
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};
use image::RgbImage;

use super::ClassReport;
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
    /// Words that the legend makes room for, though not all may be listed: pictures of a video keep their size by it.
    pub room_for: usize,
}

/// Which words a legend lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Legend {
    /// None.
    None,
    /// Those that the picture shows, the largest first.
    #[default]
    Found,
    /// All that were asked for, in their order.
    All,
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

    /// The same with another [`room_for`](Self::room_for).
    pub fn with_room_for(self, room_for: usize) -> Self {
        Self { room_for, ..self }
    }
}

impl Default for OverlayOptions {
    fn default() -> Self {
        Self { opacity: 0.5, outline: true, legend: true, room_for: 0 }
    }
}

/// A line of the legend.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LegendEntry {
    /// The class's label.
    pub label: usize,
    /// Its name.
    pub name: String,
    /// Its score in 0..1.
    pub score: f32,
}

impl LegendEntry {
    /// A class by its label, its name and its score.
    pub fn new(label: usize, name: impl Into<String>, score: f32) -> Self {
        Self { label, name: name.into(), score }
    }

    /// The lines of a legend.
    pub fn list(classes: &[ClassReport], which: Legend) -> Vec<Self> {
        let mut classes: Vec<_> = match which {
            Legend::None => Vec::new(),
            Legend::Found => classes.iter().filter(|class| class.pixels > 0).collect(),
            Legend::All => classes.iter().collect(),
        };
        if which == Legend::Found {
            classes.sort_by_key(|class| std::cmp::Reverse(class.pixels));
        }
        classes.into_iter().map(|class| Self { label: class.label, name: class.name.clone(), score: class.score }).collect()
    }
}

/// Lays masks over a picture: colours, outlines, and a legend of the words, in a corner, or below the picture where it would cover too
/// much of it.
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
        draw_legend(canvas, legend, options.room_for, colour_of);
    }
}

const FONT: MonoFont<'static> = FONT_9X15_BOLD;
const MARGIN: u32 = 4;
const LINE: u32 = 18;
const SWATCH: u32 = 12;
/// Longest name that is written; the rest is cut, so that one caption does not cover the picture.
const NAME_CHARS: usize = 24;

/// Share of the picture's height that a legend in its corner may cover.
const MAX_COVERED: u32 = 3;
/// Width of a column below the picture; a picture that is narrower has its legend in the corner.
const COLUMN: u32 = 200;

/// Draws at the font's own size onto a small panel first, then enlarges by a whole factor, so that the legend is legible on a
/// 12-megapixel photo and does not fill a thumbnail.
fn draw_legend(canvas: &mut RgbImage, legend: &[LegendEntry], room_for: usize, colour_of: impl Fn(usize) -> [u8; 3]) {
    let scale = (canvas.width().min(canvas.height()) / 480).max(1);
    let (width, height) = (canvas.width() / scale, canvas.height() / scale);
    let lines = |height: u32| (height.saturating_sub(2 * MARGIN) / LINE) as usize;
    let wanted = legend.len().max(room_for);
    let in_corner = lines(height / MAX_COVERED).max(1);
    if wanted > in_corner && width >= COLUMN {
        let columns = (width / COLUMN) as usize;
        let rows = wanted.div_ceil(columns).min(lines(height / 2).max(1));
        let letters = (width / columns as u32 - 3 * MARGIN - SWATCH) / FONT.character_size.width;
        let panel = panel(&texts(legend, rows * columns, letters as usize), (rows, columns), width, legend, colour_of);
        let (from, side) = (canvas.height(), canvas.width());
        // Even, as video encoders want it.
        let grown = (from + panel.height() * scale).next_multiple_of(2);
        let mut bytes = std::mem::take(canvas).into_raw();
        bytes.resize(3 * side as usize * grown as usize, 0);
        *canvas = RgbImage::from_raw(side, grown, bytes).unwrap_or_default();
        for y in 0..(panel.height() * scale).min(grown - from) {
            for x in 0..(panel.width() * scale).min(side) {
                canvas.put_pixel(x, from + y, *panel.get_pixel(x / scale, y / scale));
            }
        }
        return;
    }
    let texts = texts(legend, in_corner.min(lines(height)), usize::MAX);
    let Some(longest) = texts.iter().map(|t| t.chars().count()).max() else { return };
    let panel = panel(&texts, (texts.len(), 1), 3 * MARGIN + SWATCH + longest as u32 * FONT.character_size.width, legend, colour_of);
    for y in 0..(panel.height() * scale).min(canvas.height()) {
        for x in 0..(panel.width() * scale).min(canvas.width()) {
            let source = panel.get_pixel(x / scale, y / scale).0;
            let target = canvas.get_pixel_mut(x, y);
            // Black is the panel's ground: it darkens the picture instead of hiding it.
            target.0 = if source == [0, 0, 0] { target.0.map(|c| c / 3) } else { source };
        }
    }
}

/// The legend's lines; where not all have a place, the last says how many are left out.
fn texts(legend: &[LegendEntry], places: usize, letters: usize) -> Vec<String> {
    let text = |entry: &LegendEntry| {
        let (name, score) = (printable(&entry.name), format!(" {:.2}", entry.score));
        let room = letters.saturating_sub(score.len());
        if name.chars().count() > room { name.chars().take(room).collect::<String>() + &score } else { name + &score }
    };
    let mut texts: Vec<_> = legend.iter().take(places).map(text).collect();
    if legend.len() > places
        && let Some(last) = texts.last_mut()
    {
        *last = format!("+{} more", legend.len() - places + 1);
    }
    texts
}

fn panel(
    texts: &[String],
    (rows, columns): (usize, usize),
    width: u32,
    legend: &[LegendEntry],
    colour_of: impl Fn(usize) -> [u8; 3],
) -> RgbImage {
    let mut panel = Panel(RgbImage::new(width, 2 * MARGIN + rows as u32 * LINE));
    for (i, (entry, text)) in legend.iter().zip(texts).enumerate() {
        let (left, top) = ((i / rows) as u32 * (width / columns as u32), MARGIN + (i % rows) as u32 * LINE);
        if !text.starts_with('+') {
            let [r, g, b] = colour_of(entry.label);
            let swatch = Rectangle::new(Point::new((left + MARGIN) as i32, top as i32 + 3), Size::new(SWATCH, SWATCH));
            let _ = swatch.into_styled(PrimitiveStyle::with_fill(Rgb888::new(r, g, b))).draw(&mut panel);
        }
        let at = Point::new((left + 2 * MARGIN + SWATCH) as i32, top as i32 + 1);
        let _ = Text::with_baseline(text, at, MonoTextStyle::new(&FONT, Rgb888::WHITE), Baseline::Top).draw(&mut panel);
    }
    panel.0
}

/// The font has Latin letters only.
pub fn printable(name: &str) -> String {
    let cut: String = name.chars().take(NAME_CHARS).map(|c| if (' '..='\u{ff}').contains(&c) { c } else { '?' }).collect();
    if name.chars().count() > NAME_CHARS { cut + "..." } else { cut }
}

/// An RGB picture as an embedded-graphics target.
pub struct Panel(pub RgbImage);

impl std::fmt::Debug for Panel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Panel {{ {}×{} }}", self.0.width(), self.0.height())
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn class(label: usize, pixels: u64) -> ClassReport {
        ClassReport {
            label,
            name: format!("word {label}"),
            score: 0.5,
            pixels,
            share: 0.0,
            count: None,
            bounds_px: None,
            segmentation: None,
        }
    }

    #[test]
    fn a_legend_lists_what_was_found_the_largest_first() {
        let classes = [class(1, 5), class(2, 0), class(3, 70)];
        let labels = |which| LegendEntry::list(&classes, which).iter().map(|entry| entry.label).collect::<Vec<_>>();
        assert_eq!(labels(Legend::Found), [3, 1]);
        assert_eq!(labels(Legend::All), [1, 2, 3]);
        assert!(labels(Legend::None).is_empty());
    }

    #[test]
    fn a_long_legend_stands_below_the_picture_and_keeps_its_size() {
        let map = LabelMap { width: 320, height: 240, labels: vec![0; 320 * 240] };
        let drawn = |words: u64, room_for: usize, size: (u32, u32)| {
            let legend = LegendEntry::list(&(1..=words).map(|k| class(k as usize, k)).collect::<Vec<_>>(), Legend::Found);
            let picture = RgbImage::from_pixel(size.0, size.1, image::Rgb([90; 3]));
            draw_overlay(&picture, &map, &legend, OverlayOptions { room_for, ..OverlayOptions::default() })
        };
        let untouched =
            |picture: &RgbImage| picture.enumerate_pixels().filter(|(_, y, _)| *y < 240).filter(|(.., p)| p.0 == [90; 3]).count();
        let few = drawn(2, 0, (320, 240));
        assert!(few.dimensions() == (320, 240) && untouched(&few) < 320 * 240 && untouched(&few) > 320 * 200);
        let many = drawn(20, 20, (320, 240));
        assert_eq!((untouched(&many), many.width(), many.height() % 2), (320 * 240, 320, 0));
        assert!((250..=360).contains(&many.height()), "{}", many.height());
        for words in [0, 1, 19, 300] {
            assert_eq!(drawn(words, 20.max(words as usize), (320, 240)).height().min(many.height()), many.height(), "{words}");
        }
        assert_eq!(drawn(1, 20, (320, 240)).dimensions(), many.dimensions());
        // A narrow picture has no room for a column.
        assert_eq!(drawn(20, 20, (100, 90)).dimensions(), (100, 90));
    }
}
