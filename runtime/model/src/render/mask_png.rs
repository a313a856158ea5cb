use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::{Error, LabelMap, Result};

/// Encodes labels as a grey PNG, one grey level a label: 8 bits up to 255 classes, 16 bits beyond, or where a label is higher.
///
/// # Errors
/// [`Error::Tensor`] if the map has not a label for each pixel, or no pixels.
pub fn encode_mask(map: &LabelMap, classes: usize) -> Result<Vec<u8>> {
    map.checked()?;
    let most = usize::from(u8::MAX);
    let (bytes, depth) = if classes <= most && map.labels.iter().all(|label| usize::from(*label) <= most) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_above_255_are_kept() {
        let map = LabelMap { width: 3, height: 1, labels: vec![1, 256, 65535] };
        for classes in [1, 65535] {
            let read = image::load_from_memory(&encode_mask(&map, classes).unwrap()).unwrap();
            assert_eq!(read.as_luma16().expect("16-bit grey").as_raw(), &map.labels);
        }
        let few = LabelMap { width: 1, height: 1, labels: vec![255] };
        assert!(image::load_from_memory(&encode_mask(&few, 255).unwrap()).unwrap().as_luma8().is_some());
        for broken in [LabelMap { width: 4, height: 4, labels: vec![1] }, LabelMap { width: 0, height: 0, labels: vec![] }] {
            assert!(encode_mask(&broken, 1).is_err());
        }
    }
}
