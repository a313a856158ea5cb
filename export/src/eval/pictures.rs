//! Pictures and their labels on disk.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Most pixels of a label picture.
const MAX_PIXELS: u64 = 1 << 28;

/// A picture and its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// File name without its ending.
    pub stem: String,
    /// The picture.
    pub image: PathBuf,
    /// Its labels.
    pub labels: PathBuf,
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
    let pictures: std::collections::HashMap<_, _> = stems(images, edge_seg::is_picture)?.into_iter().collect();
    let mut pairs = Vec::new();
    for (stem, path) in stems(labels, |p| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")))? {
        if only.is_some_and(|only| !only.contains(&stem)) {
            continue;
        }
        let image = pictures.get(&stem).cloned();
        let image =
            image.ok_or_else(|| Error::file(images.display().to_string(), &stem, format!("a picture for {}", path.display()), "none"))?;
        pairs.push(Pair { stem, image, labels: path });
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

/// A label picture: the numbers as they stand in the file, palettes not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelPicture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Row by row. `[height, width]`
    pub values: Vec<u16>,
}

/// Reads a label picture: PNG, one channel of up to 16 bits, or a palette, whose indices are the labels.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::File`] if it is no such PNG.
pub fn read_labels(path: &Path) -> Result<LabelPicture> {
    let file = std::fs::File::open(path).map_err(Error::io(path))?;
    let wrong = |found: String| Error::file(path.display().to_string(), "file", "a PNG of one channel or a palette", found);
    let mut decoder = png::Decoder::new(std::io::BufReader::new(file));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(|e| wrong(e.to_string()))?;
    let info = reader.info();
    let (width, height, depth, color) = (info.width, info.height, info.bit_depth, info.color_type);
    if !matches!(color, png::ColorType::Grayscale | png::ColorType::Indexed) {
        return Err(wrong(format!("{color:?}")));
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(wrong(format!("{width}×{height} pixels")));
    }
    let size = reader.output_buffer_size().ok_or_else(|| wrong("a size beyond memory".into()))?;
    let mut bytes = vec![0; size];
    let frame = reader.next_frame(&mut bytes).map_err(|e| wrong(e.to_string()))?;
    let values = bytes
        .chunks_exact(frame.line_size)
        .take(height as usize)
        .flat_map(|line| -> Vec<u16> {
            match depth {
                png::BitDepth::Sixteen => line.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect(),
                png::BitDepth::Eight => line.iter().map(|&b| u16::from(b)).collect(),
                _ => {
                    let bits = depth as usize;
                    let mask = (1u16 << bits) - 1;
                    let unpack = |x: usize| (u16::from(line[x * bits / 8]) >> (8 - bits - x * bits % 8)) & mask;
                    (0..width as usize).map(unpack).collect()
                }
            }
        })
        .collect();
    Ok(LabelPicture { width, height, values })
}
