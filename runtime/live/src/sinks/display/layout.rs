use embedded_graphics::mono_font::iso_8859_1::{FONT_5X8, FONT_9X15_BOLD};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::{BinaryColor, Rgb888};
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};
use image::RgbImage;
use image::imageops::thumbnail;

use crate::session::{FrameReport, SegmentedFrame};
use edge_seg_model::LabelMap;
use edge_seg_model::render::{OverlayOptions, draw_overlay_in};
use edge_seg_model::render::{Panel, printable};

/// What a screen shows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct View<'a> {
    /// The picture.
    pub picture: &'a RgbImage,
    /// Its labels.
    pub labels: &'a LabelMap,
    /// The words.
    pub words: Vec<Line>,
}

/// A word on a screen; the k-th has label k.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Share of the picture, in 0..1.
    pub share: f64,
    /// Its colour.
    pub colour: [u8; 3],
}

impl Line {
    /// A word by its name, its share in 0..1 and its colour.
    pub fn new(name: impl Into<String>, share: f64, colour: [u8; 3]) -> Self {
        Self { name: name.into(), share, colour }
    }
}

const FONT: MonoFont<'static> = FONT_9X15_BOLD;
const LINE_PX: u32 = 18;
/// A column of words is at least this wide.
const COLUMN_PX: u32 = 150;
/// Screens of this many pixels on their short side show letters at the font's own size; larger ones a multiple of it.
const UNIT_PX: u32 = 240;

impl<'a> View<'a> {
    /// A picture with its labels, and the words that they stand for.
    pub fn new(picture: &'a RgbImage, labels: &'a LabelMap, words: Vec<Line>) -> Self {
        Self { picture, labels, words }
    }

    pub(super) fn of(shown: &'a SegmentedFrame, report: &FrameReport) -> Self {
        let colours = shown.words.colours();
        let line = |(class, colour): (&edge_seg_model::render::ClassReport, &[u8; 3])| Line {
            name: class.name.clone(),
            share: class.share,
            colour: *colour,
        };
        Self { picture: &shown.frame.pixels, labels: &shown.found.labels, words: report.classes.iter().zip(&colours).map(line).collect() }
    }

    /// The words that have room, those with the largest shares if not all have, in their own order.
    fn visible(&self, room: usize) -> Vec<(usize, &Line)> {
        let mut words: Vec<_> = self.words.iter().enumerate().collect();
        if words.len() > room {
            words.sort_by(|a, b| b.1.share.total_cmp(&a.1.share));
            words.truncate(room);
            words.sort_by_key(|(i, _)| *i);
        }
        words
    }

    /// The largest size with the picture's own aspect.
    fn fit(&self, width: u32, height: u32) -> (u32, u32) {
        let (w, h) = (u64::from(self.picture.width().max(1)), u64::from(self.picture.height().max(1)));
        let (width, height) = (u64::from(width), u64::from(height));
        let (w, h) = if width * h <= height * w { (width, width * h / w) } else { (height * w / h, height) };
        (w.max(1) as u32, h.max(1) as u32)
    }

    /// The label at a place of the picture scaled to this size.
    fn label(&self, x: u32, y: u32, (width, height): (u32, u32)) -> u16 {
        let map = self.labels;
        let at = |i: u32, of: u32, all: u32| (u64::from(2 * i + 1) * u64::from(all) / u64::from(2 * of)) as usize;
        let index = at(y, height, map.height) * map.width as usize + at(x, width, map.width);
        map.labels.get(index).copied().unwrap_or(0)
    }

    fn scaled(&self, size: (u32, u32)) -> RgbImage {
        let labels = (0..size.1).flat_map(|y| (0..size.0).map(move |x| (x, y))).map(|(x, y)| self.label(x, y, size)).collect();
        let map = LabelMap { width: size.0, height: size.1, labels };
        let colours: Vec<_> = self.words.iter().map(|w| w.colour).collect();
        let options = OverlayOptions::default().with_outline(false).with_legend(false);
        draw_overlay_in(&thumbnail(self.picture, size.0, size.1), &map, &[], &colours, options)
    }

    fn compose(&self, width: u32, height: u32) -> RgbImage {
        let mut canvas = RgbImage::new(width, height);
        let unit = (width.min(height) / UNIT_PX).max(1);
        let columns = (width / unit / COLUMN_PX).clamp(1, 4);
        let wanted = (self.words.len() as u32).div_ceil(columns);
        let left_over = height.saturating_sub(self.fit(width, height).1) / unit / LINE_PX;
        let rows = wanted.min(left_over.max(height / unit / LINE_PX / 3));
        let list_px = rows * LINE_PX * unit;
        let size = self.fit(width, height.saturating_sub(list_px).max(1));
        image::imageops::replace(&mut canvas, &self.scaled(size), i64::from((width - size.0) / 2), 0);
        let list = self.list(width / unit, rows, columns);
        for y in 0..list_px.min(height - size.1) {
            for x in 0..(list.width() * unit).min(width) {
                canvas.put_pixel(x, size.1 + y, *list.get_pixel(x / unit, y / unit));
            }
        }
        canvas
    }

    /// The words in columns, each with its share as a number and as a bar behind it.
    fn list(&self, width: u32, rows: u32, columns: u32) -> RgbImage {
        let mut panel = Panel(RgbImage::new(width, rows * LINE_PX));
        let cell = width / columns;
        for (i, (_, word)) in self.visible((rows * columns) as usize).into_iter().enumerate() {
            let (column, row) = (i as u32 / rows.max(1), i as u32 % rows.max(1));
            let at = Point::new((column * cell) as i32, (row * LINE_PX) as i32);
            let [r, g, b] = word.colour;
            let bar = Size::new((word.share.clamp(0.0, 1.0) * f64::from(cell - 1)).round() as u32, LINE_PX - 2);
            // White letters must be legible on the bar.
            let _ = Rectangle::new(at + Point::new(0, 1), bar)
                .into_styled(PrimitiveStyle::with_fill(Rgb888::new(r / 2, g / 2, b / 2)))
                .draw(&mut panel);
            let _ = Rectangle::new(at + Point::new(0, 1), Size::new(5, LINE_PX - 2))
                .into_styled(PrimitiveStyle::with_fill(Rgb888::new(r, g, b)))
                .draw(&mut panel);
            let share = percent(word.share);
            let letters = (cell.saturating_sub(12) / FONT.character_size.width) as usize;
            let name: String = printable(&word.name).chars().take(letters.saturating_sub(share.len() + 1)).collect();
            let style = MonoTextStyle::new(&FONT, Rgb888::WHITE);
            let _ = Text::with_baseline(&name, at + Point::new(9, 1), style, Baseline::Top).draw(&mut panel);
            let right = cell as i32 - 3 - (share.len() as u32 * FONT.character_size.width) as i32;
            let _ = Text::with_baseline(&share, at + Point::new(right, 1), style, Baseline::Top).draw(&mut panel);
        }
        panel.0
    }
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 9.95 { format!("{percent:.1}%") } else { format!("{percent:.0}%") }
}

/// Draws a view on a colour display: the masks over the picture, below it the words.
///
/// # Errors
/// What the display says.
pub fn draw<D>(view: &View, target: &mut D) -> Result<(), D::Error>
where
    D: DrawTarget,
    D::Color: From<Rgb888>,
{
    let area = target.bounding_box();
    let canvas = view.compose(area.size.width, area.size.height);
    target.fill_contiguous(&area, canvas.pixels().map(|p| Rgb888::new(p.0[0], p.0[1], p.0[2]).into()))
}

/// Draws a view on a display of one colour: the masks in patterns, beside them the words, each with its pattern.
///
/// # Errors
/// What the display says.
pub fn draw_mono<D: DrawTarget<Color = BinaryColor>>(view: &View, target: &mut D) -> Result<(), D::Error> {
    const LINE_PX: u32 = 8;
    target.clear(BinaryColor::Off)?;
    let Size { width, height } = target.bounding_box().size;
    let (beside, above) = (width >= 96 && height >= 48, width < 96 && height >= 96);
    let (mut left, mut top) = (0, 0);
    if beside || above {
        let size = if beside { view.fit(width / 2 - 2, height) } else { view.fit(width, height / 2) };
        let places = (0..size.1).flat_map(|y| (0..size.0).map(move |x| (x, y)));
        let lit = places.filter(|&(x, y)| pattern(view.label(x, y, size), x, y) || x + 1 == size.0 || y + 1 == size.1 || x == 0 || y == 0);
        target.draw_iter(lit.map(|(x, y)| Pixel(Point::new(x as i32, y as i32), BinaryColor::On)))?;
        if beside { left = size.0 + 2 } else { top = size.1 + 2 }
    }
    let letters = (width.saturating_sub(left + 8) / FONT_5X8.character_size.width) as usize;
    for (row, (i, word)) in (0..).zip(view.visible(((height - top) / LINE_PX) as usize)) {
        let at = Point::new(left as i32, (top + row * LINE_PX) as i32);
        let swatch = (0..7u32).flat_map(|y| (0..6u32).map(move |x| (x, y))).filter(|&(x, y)| pattern(i as u16 + 1, x, y));
        target.draw_iter(swatch.map(|(x, y)| Pixel(at + Point::new(x as i32, y as i32), BinaryColor::On)))?;
        let share = format!("{:.0}%", word.share * 100.0);
        let room = letters.saturating_sub(share.len() + 1);
        let name: String = printable(&word.name).chars().take(room).collect();
        let style = MonoTextStyle::new(&FONT_5X8, BinaryColor::On);
        Text::with_baseline(&format!("{name:room$} {share}"), at + Point::new(8, 0), style, Baseline::Top).draw(target)?;
    }
    Ok(())
}

/// Whether a label's pattern is lit at a place.
fn pattern(label: u16, x: u32, y: u32) -> bool {
    match (label, label % 5) {
        (0, _) => false,
        (_, 1) => true,
        (_, 2) => (x + y).is_multiple_of(2),
        (_, 3) => y.is_multiple_of(3),
        (_, 4) => x.is_multiple_of(3),
        _ => (x + y).is_multiple_of(4),
    }
}
