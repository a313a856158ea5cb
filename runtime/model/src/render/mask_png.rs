use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::{Error, LabelMap, Result};

/// Encodes labels as a grey PNG, one grey level a label: 8 bits up to 255 classes, 16 bits beyond.
///
/// # Errors
/// [`Error::Tensor`] if the encoder refuses the map.
pub fn encode_mask(map: &LabelMap, classes: usize) -> Result<Vec<u8>> {
    let (bytes, depth) = if classes <= usize::from(u8::MAX) {
        (map.labels.iter().map(|&l| l as u8).collect(), ExtendedColorType::L8)
    } else {
        (map.labels.iter().flat_map(|l| l.to_ne_bytes()).collect::<Vec<u8>>(), ExtendedColorType::L16)
    };
    let mut png = Vec::new();
    // Runs of equal labels compress well without row filters, which only cost time here.
    PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::NoFilter)
        .write_image(&bytes, map.width, map.height, depth)
        .map_err(|e| Error::Tensor { what: "mask".into(), expected: "labels for a PNG".into(), found: e.to_string() })?;
    Ok(png)
}
