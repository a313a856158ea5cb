use std::sync::Arc;

use axum::body::Bytes;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::{RgbImage, imageops};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::snapshot::Snapshot;
use edge_seg_model::LabelMap;
use edge_seg_model::render::{Legend, LegendEntry, OverlayOptions, draw_overlay_in};

/// Longer sides are scaled down to this for browsers.
const LONGEST_PX: u32 = 1280;
const JPEG_QUALITY: u8 = 80;

/// A frame in a browser's formats, made once for everybody who wants it.
#[derive(Debug, Clone)]
pub(super) struct Encoded {
    pub snapshot: Arc<Snapshot>,
    pub jpeg: Bytes,
    /// Labels in their colours, transparent where there is background. Empty if the masks are drawn into the picture.
    pub mask: Bytes,
}

/// Encodes one frame at a time, and no more often than the limit.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    pub plain: Mutex<Option<(Instant, Encoded)>>,
    pub drawn: Mutex<Option<(Instant, Encoded)>>,
}

pub(super) fn encode(snapshot: Arc<Snapshot>, drawn: bool) -> Option<Encoded> {
    let shown = &snapshot.shown;
    let colours = shown.words.colours();
    let pixels = &shown.frame.pixels;
    let overlay = drawn.then(|| {
        let legend = LegendEntry::list(&snapshot.report.classes, Legend::Found);
        let options = OverlayOptions::default().with_room_for(snapshot.report.classes.len());
        draw_overlay_in(pixels, &shown.found.labels, &legend, &colours, options)
    });
    let picture = overlay.as_ref().unwrap_or(pixels);
    let (width, height) = fitted(picture.dimensions(), LONGEST_PX);
    let small = ((width, height) != picture.dimensions()).then(|| imageops::thumbnail(picture, width, height));
    let jpeg = jpeg(small.as_ref().unwrap_or(picture), JPEG_QUALITY)?;
    let mask = if drawn { Vec::new() } else { mask(&shown.found.labels, &colours, width, height)? };
    Some(Encoded { jpeg: jpeg.into(), mask: mask.into(), snapshot })
}

/// The size of a picture whose longer side has at most so many pixels.
pub(super) fn fitted((width, height): (u32, u32), longest_px: u32) -> (u32, u32) {
    let longest = width.max(height);
    if longest <= longest_px {
        return (width, height);
    }
    let scaled = |side: u32| ((u64::from(side) * u64::from(longest_px) / u64::from(longest)) as u32).max(1);
    (scaled(width), scaled(height))
}

pub(super) fn jpeg(picture: &RgbImage, quality: u8) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(picture).ok()?;
    Some(bytes)
}

/// A JPEG inside of JSON, as the `src` of a page's image.
pub(super) fn data_uri(jpeg: &[u8]) -> String {
    format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(jpeg))
}

/// A PNG with a palette as long as that is enough for the labels, with colours in the pixels beyond.
fn mask(map: &LabelMap, colours: &[[u8; 3]], width: u32, height: u32) -> Option<Vec<u8>> {
    let source = |x: u32, y: u32| {
        let column = u64::from(x) * u64::from(map.width) / u64::from(width);
        let row = u64::from(y) * u64::from(map.height) / u64::from(height);
        usize::from(map.labels[(row * u64::from(map.width) + column) as usize])
    };
    let labels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| source(x, y));
    let mut bytes = Vec::new();
    let mut png = png::Encoder::new(&mut bytes, width, height);
    png.set_depth(png::BitDepth::Eight);
    png.set_compression(png::Compression::Fastest);
    let data: Vec<u8> = if colours.len() <= usize::from(u8::MAX) {
        png.set_color(png::ColorType::Indexed);
        png.set_palette([0, 0, 0].into_iter().chain(colours.iter().flatten().copied()).collect::<Vec<u8>>());
        png.set_trns(std::iter::once(0).chain(colours.iter().map(|_| 255)).collect::<Vec<u8>>());
        labels.map(|label| label as u8).collect()
    } else {
        png.set_color(png::ColorType::Rgba);
        let colour = |label: usize| label.checked_sub(1).and_then(|k| colours.get(k)).map_or([0; 4], |&[r, g, b]| [r, g, b, 255]);
        labels.flat_map(colour).collect()
    };
    let mut writer = png.write_header().ok()?;
    writer.write_image_data(&data).ok()?;
    writer.finish().ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_their_words_colours_and_no_background() {
        let map = LabelMap { width: 4, height: 2, labels: vec![0, 1, 2, 2, 0, 0, 300, 1] };
        for classes in [2, 400] {
            let colours: Vec<[u8; 3]> = (1..=classes).map(|k: u32| [k as u8, (k >> 8) as u8, 7]).collect();
            let map = if classes == 2 { LabelMap { labels: vec![0, 1, 2, 2, 0, 0, 1, 1], ..map } } else { map.clone() };
            let read = image::load_from_memory(&mask(&map, &colours, 4, 2).unwrap()).unwrap().into_rgba8();
            for (pixel, &label) in read.pixels().zip(&map.labels) {
                let want = if label == 0 { 0 } else { u32::from(label) };
                assert_eq!(pixel.0[3], if label == 0 { 0 } else { 255 });
                if label > 0 {
                    assert_eq!(pixel.0[..3], [want as u8, (want >> 8) as u8, 7]);
                }
            }
        }
        let small = image::load_from_memory(&mask(&map, &vec![[9; 3]; 300], 2, 1).unwrap()).unwrap().into_rgba8();
        assert_eq!((small.get_pixel(0, 0).0[3], small.get_pixel(1, 0).0[3]), (0, 255));
    }

    #[test]
    fn long_sides_are_scaled_down() {
        assert_eq!(fitted((640, 360), LONGEST_PX), (640, 360));
        assert_eq!(fitted((3840, 2160), LONGEST_PX), (1280, 720));
        assert_eq!(fitted((60_000, 3), LONGEST_PX), (1280, 1));
    }
}
