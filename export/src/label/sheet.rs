//! Contact sheets: many labelled pictures at a glance.

use std::path::{Path, PathBuf};

use edge_seg_model::render::{LegendEntry, OverlayOptions, draw_overlay};
use edge_seg_model::{LabelMap, read_picture};
use image::imageops::{self, FilterType};
use image::{ImageFormat, RgbImage};

use super::PictureLabels;
use super::formats::label_map;
use crate::{Error, Result};

const COLUMNS: usize = 5;
const ROWS: usize = 6;
const SIDE_PX: u32 = 320;

/// Writes `contact-N.jpg` into `folder`, thirty pictures each with their masks and legends; the files' names are given back.
///
/// # Errors
/// [`Error::Runtime`] if a picture cannot be read any more or the file system refuses.
pub fn write(folder: &Path, pictures: &[PictureLabels], classes: &[String]) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (number, page) in pictures.chunks(COLUMNS * ROWS).enumerate() {
        let rows = page.len().div_ceil(COLUMNS) as u32;
        let mut sheet = RgbImage::from_pixel(COLUMNS.min(page.len()) as u32 * SIDE_PX, rows * SIDE_PX, image::Rgb([24, 24, 24]));
        for (i, picture) in page.iter().enumerate() {
            let thumb = thumbnail(picture, classes)?;
            let (x, y) = ((i % COLUMNS) as u32 * SIDE_PX, (i / COLUMNS) as u32 * SIDE_PX);
            let (dx, dy) = ((SIDE_PX - thumb.width()) / 2, (SIDE_PX - thumb.height()) / 2);
            imageops::replace(&mut sheet, &thumb, i64::from(x + dx), i64::from(y + dy));
        }
        let mut bytes = std::io::Cursor::new(Vec::new());
        let path = folder.join(format!("contact-{}.jpg", number + 1));
        sheet
            .write_to(&mut bytes, ImageFormat::Jpeg)
            .map_err(|e| Error::file(path.display().to_string(), "JPEG", "a sheet", e.to_string()))?;
        edge_seg_bundle::files::replace_file(&path, bytes.get_ref())?;
        written.push(path);
    }
    Ok(written)
}

fn thumbnail(picture: &PictureLabels, classes: &[String]) -> Result<RgbImage> {
    let frame = read_picture(Path::new(&picture.file))?;
    let labels = label_map(picture, classes)?;
    let scale = f64::from(SIDE_PX) / f64::from(picture.width.max(picture.height));
    let side = |px: u32| ((f64::from(px) * scale).round() as u32).clamp(1, SIDE_PX);
    let (width, height) = (side(picture.width), side(picture.height));
    let small = imageops::resize(&frame.pixels, width, height, FilterType::Triangle);
    // Labels are picked, not mixed, so that the sheet shows what was written.
    let pick = |i: u32, out: u32, whole: u32| ((f64::from(i) + 0.5) * f64::from(whole) / f64::from(out)) as usize;
    let small_labels = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .map(|(x, y)| labels[pick(y, height, picture.height) * picture.width as usize + pick(x, width, picture.width)])
        .collect();
    let map = LabelMap { width, height, labels: small_labels };
    let mut legend: Vec<LegendEntry> = Vec::new();
    for region in &picture.regions {
        if !legend.iter().any(|entry| entry.name == region.class) {
            let label = 1 + classes.iter().position(|c| *c == region.class).unwrap_or(0);
            legend.push(LegendEntry::new(label, &region.class, region.score));
        }
    }
    Ok(draw_overlay(&small, &map, &legend, OverlayOptions::default()))
}
