//! Pictures and their labels on disk.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::classes::View;
use super::mat;
use crate::{Error, Result};

/// Most pixels of a label picture.
pub(super) const MAX_PIXELS: u64 = 1 << 28;

/// A picture and its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// File name without its ending.
    pub stem: String,
    /// The picture.
    pub image: PathBuf,
    /// Its labels.
    pub labels: PathBuf,
    /// How they stand in the file.
    pub coding: Coding,
}

/// How a label picture holds its values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Coding {
    /// A number for each pixel, or the index of a palette.
    #[default]
    Numbers,
    /// A colour for each pixel, which is the value `0xRRGGBB`.
    Colours,
    /// COCO panoptic: the segment `R + 256·G + 65536·B` of each pixel, and the category of each segment; 0 is no segment.
    Segments(Arc<HashMap<u32, u32>>),
    /// A number for each pixel in the matrix `LabelMap` of a MATLAB file.
    LabelMap,
}

/// Every label picture (`STEM.png`) of one folder with its picture in the other, in the order of their names. With `only`, those stems alone.
///
/// # Errors
/// [`Error::Io`] if a folder cannot be read, [`Error::File`] if a label picture has no picture, a wanted stem no labels, or there are none.
pub fn pairs(images: &Path, labels: &Path, only: Option<&HashSet<String>>) -> Result<Vec<Pair>> {
    let stems = |folder: &Path, wanted: fn(&Path) -> bool| -> Result<Vec<(String, PathBuf)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
            let path = entry.map_err(Error::io(folder))?.path();
            if let Some(stem) = path.file_stem().and_then(|s| s.to_str()).filter(|_| wanted(&path) && path.is_file()) {
                found.push((stem.to_string(), path.clone()));
            }
        }
        found.sort();
        Ok(found)
    };
    let pictures: HashMap<_, _> = stems(images, edge_seg_model::is_picture)?.into_iter().collect();
    let mut pairs = Vec::new();
    for (stem, path) in stems(labels, |p| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")))? {
        if only.is_some_and(|only| !only.contains(&stem)) {
            continue;
        }
        let image = pictures.get(&stem).cloned();
        let image =
            image.ok_or_else(|| Error::file(images.display().to_string(), &stem, format!("a picture for {}", path.display()), "none"))?;
        pairs.push(Pair { stem, image, labels: path, coding: Coding::Numbers });
    }
    let found: HashSet<&str> = pairs.iter().map(|p| p.stem.as_str()).collect();
    if let Some(lost) = only.into_iter().flatten().find(|stem| !found.contains(stem.as_str())) {
        return Err(Error::file(labels.display().to_string(), lost, "a label picture of that name", "none"));
    }
    if pairs.is_empty() {
        return Err(Error::file(labels.display().to_string(), "folder", "label pictures, STEM.png", "none"));
    }
    Ok(pairs)
}

/// A label picture: the values as they stand in the file, palettes not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelPicture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Row by row. `[height, width]`
    pub values: Vec<u32>,
}

/// Reads the label picture of a pair: a PNG of one channel of up to 16 bits or of a palette, whose indices are the labels; or for
/// [`Coding::Colours`] and [`Coding::Segments`] of 8-bit colours. For [`Coding::LabelMap`] it is no PNG but a MATLAB file.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::File`] if it is no such file or holds a segment without a category.
pub fn read_labels(pair: &Pair) -> Result<LabelPicture> {
    let path = pair.labels.as_path();
    if pair.coding == Coding::LabelMap {
        return mat::read(path, "LabelMap");
    }
    let file = std::fs::File::open(path).map_err(Error::io(path))?;
    let coloured = pair.coding != Coding::Numbers;
    let expected = if coloured { "a PNG of 8-bit colours" } else { "a PNG of one channel or a palette" };
    let wrong = |found: String| Error::file(path.display().to_string(), "file", expected, found);
    let mut decoder = png::Decoder::new(std::io::BufReader::new(file));
    decoder.set_transformations(if coloured { png::Transformations::EXPAND } else { png::Transformations::IDENTITY });
    let mut reader = decoder.read_info().map_err(|e| wrong(e.to_string()))?;
    let (width, height) = (reader.info().width, reader.info().height);
    let (color, depth) = reader.output_color_type();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(wrong(format!("{width}×{height} pixels")));
    }
    let fits = match (color, coloured) {
        (png::ColorType::Grayscale | png::ColorType::Indexed, false) => true,
        (png::ColorType::Rgb | png::ColorType::Rgba, true) => depth == png::BitDepth::Eight,
        _ => false,
    };
    if !fits {
        return Err(wrong(format!("{color:?}, {depth:?} bits")));
    }
    let size = reader.output_buffer_size().ok_or_else(|| wrong("a size beyond memory".into()))?;
    let mut bytes = vec![0; size];
    let frame = reader.next_frame(&mut bytes).map_err(|e| wrong(e.to_string()))?;
    let lines = bytes.chunks_exact(frame.line_size).take(height as usize);
    if !coloured {
        return Ok(LabelPicture { width, height, values: lines.flat_map(|line| numbers(line, depth, width as usize)).collect() });
    }
    let channels = color.samples();
    let mut values = Vec::with_capacity(width as usize * height as usize);
    for pixel in lines.flat_map(|line| line.chunks_exact(channels)) {
        let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
        values.push(match &pair.coding {
            Coding::Segments(categories) => match r | g << 8 | b << 16 {
                0 => 0,
                segment => *categories
                    .get(&segment)
                    .ok_or_else(|| Error::file(path.display().to_string(), "pixels", "segments of the JSON file", segment.to_string()))?,
            },
            _ => r << 16 | g << 8 | b,
        });
    }
    Ok(LabelPicture { width, height, values })
}

fn numbers(line: &[u8], depth: png::BitDepth, width: usize) -> Vec<u32> {
    match depth {
        png::BitDepth::Sixteen => line.chunks_exact(2).map(|b| u32::from(u16::from_be_bytes([b[0], b[1]]))).collect(),
        png::BitDepth::Eight => line.iter().map(|&b| u32::from(b)).collect(),
        _ => {
            let bits = depth as usize;
            let mask = (1u32 << bits) - 1;
            (0..width).map(|x| (u32::from(line[x * bits / 8]) >> (8 - bits - x * bits % 8)) & mask).collect()
        }
    }
}

/// A pair's labels, in the terms of a view: `None` where a pixel counts for nothing. `[height, width]`
///
/// # Errors
/// As [`read_labels`], and [`Error::File`] if a value has no meaning in the view, or the labels have not the size `frame_px` (width, height).
pub fn truth(pair: &Pair, view: &View, frame_px: (u32, u32)) -> Result<Vec<Option<u16>>> {
    let labels = read_labels(pair)?;
    let place = || pair.labels.display().to_string();
    if frame_px != (labels.width, labels.height) {
        let (expected, found) = (format!("the picture's, {}×{}", frame_px.0, frame_px.1), format!("{}×{}", labels.width, labels.height));
        return Err(Error::file(place(), "size", expected, found));
    }
    let meaning =
        |value: &u32| view.label(*value).ok_or_else(|| Error::file(place(), "values", "values of the class table", value.to_string()));
    labels.values.iter().map(meaning).collect()
}
