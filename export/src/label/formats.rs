//! Writes labels as other tools read them: COCO, PASCAL VOC, YOLO segmentation, Label Studio.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use edge_seg_bundle::files::replace_file;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{PictureLabels, Region};
use crate::{Error, Result};

/// Points of an outline that lie this near to the line between their neighbours are left out: no pixel's centre changes sides by it.
const OUTLINE_TOLERANCE_PX: f64 = 0.25;

/// How a COCO or CVAT file holds masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "program", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum CocoMasks {
    /// Compressed run lengths: exact, holes included.
    Rle,
    /// Outlines: what most editors change; holes hang on a seam.
    Polygon,
}

/// A COCO instances file: one annotation per region, in the order of the pictures.
///
/// # Errors
/// [`Error::File`] if a region's run lengths do not fit its picture.
pub fn coco(pictures: &[PictureLabels], classes: &[String], masks: CocoMasks) -> Result<Value> {
    let mut annotations = Vec::new();
    for (i, picture) in pictures.iter().enumerate() {
        for region in &picture.regions {
            let segmentation = match masks {
                CocoMasks::Rle => json!({ "size": [picture.height, picture.width], "counts": region.counts }),
                CocoMasks::Polygon => json!([outline(picture, region)?.into_iter().flatten().map(hundredths).collect::<Vec<_>>()]),
            };
            annotations.push(json!({
                "id": annotations.len() + 1,
                "image_id": i + 1,
                "category_id": number(classes, &region.class)? + 1,
                "segmentation": segmentation,
                "area": region.area_px,
                "bbox": region.bounds_px,
                "iscrowd": 0,
                "score": region.score,
            }));
        }
    }
    let image = |(i, p): (usize, &PictureLabels)| json!({ "id": i + 1, "file_name": file_name(p), "width": p.width, "height": p.height });
    Ok(json!({
        "info": { "description": "labelled by edge-seg" },
        "licenses": [],
        "images": pictures.iter().enumerate().map(image).collect::<Vec<_>>(),
        "annotations": annotations,
        "categories": classes.iter().enumerate().map(|(i, name)| json!({ "id": i + 1, "name": name })).collect::<Vec<_>>(),
    }))
}

/// A PASCAL VOC folder: SegmentationClass (palette PNG), Annotations (boxes), ImageSets, labelmap.txt, JPEGImages for the pictures.
///
/// # Errors
/// [`Error::Option`] for more classes than a palette has, else as [`coco`], and [`Error::Runtime`] if the file system refuses.
pub fn voc(folder: &Path, pictures: &[PictureLabels], classes: &[String]) -> Result<()> {
    if classes.len() > 254 {
        return Err(Error::Option {
            option: "--format voc".into(),
            expected: "at most 254 classes".into(),
            found: classes.len().to_string(),
        });
    }
    for part in ["SegmentationClass", "Annotations", "ImageSets/Main", "ImageSets/Segmentation", "JPEGImages"] {
        make(&folder.join(part))?;
    }
    let (mut list, mut labelmap) = (String::new(), String::from("# label:color_rgb:parts:actions\nbackground:0,0,0::\n"));
    for (i, class) in classes.iter().enumerate() {
        let [r, g, b] = voc_colour(i + 1);
        let _ = writeln!(labelmap, "{}:{r},{g},{b}::", class.replace([':', '\n'], " "));
    }
    for picture in pictures {
        let stem = stem(picture);
        let _ = writeln!(list, "{stem}");
        let png = palette_png(picture.width, picture.height, &label_map(picture, classes)?)?;
        replace_file(&folder.join(format!("SegmentationClass/{stem}.png")), &png)?;
        replace_file(&folder.join(format!("Annotations/{stem}.xml")), voc_xml(picture).as_bytes())?;
    }
    replace_file(&folder.join("ImageSets/Main/default.txt"), list.as_bytes())?;
    replace_file(&folder.join("ImageSets/Segmentation/default.txt"), list.as_bytes())?;
    Ok(replace_file(&folder.join("labelmap.txt"), labelmap.as_bytes())?)
}

/// A YOLO segmentation folder: `labels/STEM.txt` with one outline a line, points in shares of width and height, data.yaml, and images for
/// the pictures.
///
/// # Errors
/// As [`coco`], and [`Error::Runtime`] if the file system refuses.
pub fn yolo(folder: &Path, pictures: &[PictureLabels], classes: &[String]) -> Result<()> {
    make(&folder.join("labels"))?;
    make(&folder.join("images"))?;
    for picture in pictures {
        let mut lines = String::new();
        for region in &picture.regions {
            let _ = write!(lines, "{}", number(classes, &region.class)?);
            for [x, y] in outline(picture, region)? {
                let _ = write!(lines, " {:.6} {:.6}", x / f64::from(picture.width), y / f64::from(picture.height));
            }
            lines.push('\n');
        }
        replace_file(&folder.join(format!("labels/{}.txt", stem(picture))), lines.as_bytes())?;
    }
    // No `path`: Ultralytics takes a relative one below its own settings' folder, and the file's own folder where there is none.
    let mut yaml = String::from("train: images\nval: images\nnames:\n");
    for (i, class) in classes.iter().enumerate() {
        // JSON strings are YAML strings.
        let _ = writeln!(yaml, "  {i}: {}", json!(class));
    }
    Ok(replace_file(&folder.join("data.yaml"), yaml.as_bytes())?)
}

/// Tasks with predictions for Label Studio, for a `PolygonLabels` named `label` on an `Image` named `image`. Each picture's address is
/// `prefix` and its file name, escaped as addresses are.
///
/// # Errors
/// As [`coco`].
pub fn label_studio(pictures: &[PictureLabels], model: &str, prefix: &str) -> Result<Value> {
    let task = |picture: &PictureLabels| -> Result<Value> {
        let mut results = Vec::new();
        for (i, region) in picture.regions.iter().enumerate() {
            let percent = |value: f64, whole: u32| (1e6 * value / f64::from(whole)).round() / 1e4;
            let points: Vec<_> =
                outline(picture, region)?.into_iter().map(|[x, y]| [percent(x, picture.width), percent(y, picture.height)]).collect();
            results.push(json!({
                "id": format!("r{}", i + 1),
                "type": "polygonlabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": picture.width,
                "original_height": picture.height,
                "image_rotation": 0,
                "score": region.score,
                "value": { "points": points, "polygonlabels": [region.class], "closed": true },
            }));
        }
        let score = picture.regions.iter().map(|r| r.score).fold(0.0, f32::max);
        let image = format!("{prefix}{}", in_address(&file_name(picture)));
        Ok(json!({ "data": { "image": image }, "predictions": [{ "model_version": model, "score": score, "result": results }] }))
    };
    Ok(Value::Array(pictures.iter().map(task).collect::<Result<_>>()?))
}

/// Every pixel's class number, 0 for none. `[height, width]`
///
/// # Errors
/// As [`coco`].
pub fn label_map(picture: &PictureLabels, classes: &[String]) -> Result<Vec<u16>> {
    let mut labels = vec![0; picture.width as usize * picture.height as usize];
    for region in &picture.regions {
        let (class, mask) = (number(classes, &region.class)? as u16 + 1, region.mask(picture)?);
        let [left, top, width, height] = mask.bounds_px().map(|v| v as usize);
        for y in top..top + height {
            for x in (left..left + width).filter(|x| mask.contains(*x, y)) {
                labels[y * picture.width as usize + x] = class;
            }
        }
    }
    Ok(labels)
}

pub(super) fn outline(picture: &PictureLabels, region: &Region) -> Result<Vec<[f64; 2]>> {
    Ok(region.mask(picture)?.contour(OUTLINE_TOLERANCE_PX))
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// A file name as it is written in an address.
fn in_address(name: &str) -> String {
    let mut address = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => address.push(char::from(byte)),
            _ => {
                let _ = write!(address, "%{byte:02X}");
            }
        }
    }
    address
}

fn number(classes: &[String], name: &str) -> Result<usize> {
    let found = classes.iter().position(|c| c == name);
    found.ok_or_else(|| Error::Option { option: "classes".into(), expected: format!("{name:?} among them"), found: classes.join(", ") })
}

/// The picture's file name.
pub fn file_name(picture: &PictureLabels) -> String {
    Path::new(&picture.file).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn stem(picture: &PictureLabels) -> String {
    Path::new(&picture.file).file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn make(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder))
}

/// PASCAL VOC's colours: the bits of the label, spread from the top of each channel downwards.
pub(super) fn voc_colour(label: usize) -> [u8; 3] {
    let mut colour = [0u8; 3];
    for bit in 0..8 {
        for (channel, value) in colour.iter_mut().enumerate() {
            *value |= ((label >> (3 * bit + channel) & 1) as u8) << (7 - bit);
        }
    }
    colour
}

fn palette_png(width: u32, height: u32, labels: &[u16]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette((0..256).flat_map(voc_colour).collect::<Vec<u8>>());
    let pixels: Vec<u8> = labels.iter().map(|l| *l as u8).collect();
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
    written.map_err(|e| Error::file("label picture", "PNG", "one that can be written", e.to_string()))?;
    Ok(bytes)
}

fn voc_xml(picture: &PictureLabels) -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut xml = format!(
        "<annotation>\n  <folder>JPEGImages</folder>\n  <filename>{}</filename>\n  <size><width>{}</width><height>{}</height><depth>3</depth></size>\n  <segmented>1</segmented>\n",
        escape(&file_name(picture)),
        picture.width,
        picture.height
    );
    for region in &picture.regions {
        let [left, top, width, height] = region.bounds_px;
        // VOC counts pixels from 1, and its boxes include their last ones.
        let _ = writeln!(
            xml,
            "  <object>\n    <name>{}</name>\n    <pose>Unspecified</pose>\n    <truncated>0</truncated>\n    <difficult>0</difficult>\n    <bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>\n  </object>",
            escape(&region.class),
            left + 1,
            top + 1,
            left + width,
            top + height
        );
    }
    xml + "</annotation>\n"
}

/// The classes of some labels, sorted, or `given` in its order.
pub fn class_list(pictures: &[PictureLabels], given: Option<Vec<String>>) -> Vec<String> {
    given.unwrap_or_else(|| {
        let names: BTreeMap<&str, ()> = pictures.iter().flat_map(|p| &p.regions).map(|r| (r.class.as_str(), ())).collect();
        names.into_keys().map(str::to_owned).collect()
    })
}
