//! Labels in a COCO instances file, as CVAT, Label Studio, datumaro, supervision and `label` write it: polygons of several parts, run
//! lengths compressed or not, crowds.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edge_seg_model::lists::Listed;
use serde::Deserialize;

use super::pictures::{Coding, Pair};
use super::shapes::{Segmentation, Shapes};
use crate::{Error, Result};

#[derive(Deserialize)]
struct Document {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
    #[serde(deserialize_with = "whole")]
    width: u32,
    #[serde(deserialize_with = "whole")]
    height: u32,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    category_id: u32,
    segmentation: Option<Segmentation>,
    area: Option<f64>,
}

#[derive(Deserialize)]
struct Category {
    id: u32,
    name: String,
}

/// A number that may be written as 640 or 640.0.
fn whole<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let value = f64::deserialize(from)?;
    let is_whole = value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value);
    if is_whole { Ok(value as u32) } else { Err(serde::de::Error::custom(format!("expected a whole number of pixels, found {value}"))) }
}

/// Reads a file's text, and finds its pictures in a folder: pairs in the order of their names, and the categories.
///
/// # Errors
/// [`Error::File`] if it is no such file, a picture is not there, or a wanted one not in it.
pub fn read(path: &Path, text: &str, images: &Path, only: Option<&HashSet<String>>) -> Result<(Vec<Pair>, Vec<Listed>)> {
    let place = path.display().to_string();
    let wrong = |part: &str, expected: &str, found: String| Error::file(&place, part, expected, found);
    let document: Document = serde_json::from_str(text).map_err(|e| match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) if value.get("shapes").is_some() => {
            wrong("file", "COCO instances", "labelme's file of one picture; turn the folder into COCO, as labelme2coco does".into())
        }
        _ => wrong("file", "COCO instances", e.to_string()),
    })?;
    let known: HashSet<u32> = document.categories.iter().map(|c| c.id).collect();
    let mut drawn: HashMap<u64, Vec<(Option<f64>, u32, Segmentation)>> = HashMap::new();
    for annotation in document.annotations {
        if !known.contains(&annotation.category_id) {
            return Err(wrong("annotations", "categories of the file", format!("category {}", annotation.category_id)));
        }
        let Some(mask) = annotation.segmentation.filter(|mask| *mask != Segmentation::Polygons(Vec::new())) else {
            return Err(wrong("annotations", "a mask for each", format!("a box alone, in image {}", annotation.image_id)));
        };
        let area = annotation.area.filter(|area| *area > 0.0);
        drawn.entry(annotation.image_id).or_default().push((area, annotation.category_id, mask));
    }
    let mut pairs = Vec::new();
    let mut apart = Apart::default();
    for image in document.images {
        let picture = picture(images, &image.file_name, &place);
        let named = picture.as_deref().unwrap_or(Path::new(last_part(&image.file_name)));
        let stem = named.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        if only.is_some_and(|only| !only.contains(&stem)) {
            continue;
        }
        let picture = picture?;
        apart.check(&place, &image.file_name, &picture)?;
        // What is small lies on top of what is large. That something is a crowd says nothing of it: datumaro and supervision call
        // every mask of run lengths so.
        let sized = |(area, category, mask): (Option<f64>, u32, Segmentation)| (area.unwrap_or_else(|| mask.area_px()), category, mask);
        let mut masks: Vec<_> = drawn.remove(&image.id).unwrap_or_default().into_iter().map(sized).collect();
        masks.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
        let shapes = masks.into_iter().map(|(_, category, mask)| (category, mask)).collect();
        let coding = Coding::Shapes(Arc::new(Shapes::new((image.width, image.height), shapes)), Arc::default());
        pairs.push(Pair { stem, image: picture, labels: path.into(), coding, stored: false });
    }
    if let Some(lost) = only.into_iter().flatten().find(|stem| !pairs.iter().any(|pair| pair.stem == **stem)) {
        return Err(wrong(lost, "an image of that name", "none".into()));
    }
    pairs.sort_by(|a, b| a.stem.cmp(&b.stem));
    let listed = |c: Category| Listed { id: Some(c.id), name: c.name, colour: None, synonyms: Vec::new() };
    Ok((pairs, document.categories.into_iter().map(listed).collect()))
}

/// The pictures that the names in a file of labels have led to.
#[derive(Default)]
pub(super) struct Apart(HashMap<PathBuf, String>);

impl Apart {
    /// That no other name has led to this picture: of names without their folders nobody knows whose labels they are.
    ///
    /// # Errors
    /// [`Error::File`] if one has.
    pub(super) fn check(&mut self, place: &str, name: &str, picture: &Path) -> Result<()> {
        let Some(other) = self.0.insert(picture.into(), name.to_owned()) else { return Ok(()) };
        let advice = if other == name { "leave one of the entries" } else { "take the folder in which both are found" };
        let found = format!("{}, which {other:?} names too; {advice}", picture.display());
        Err(Error::file(place, name, "a picture of its own", found))
    }
}

/// A path's name without its folders, which tools on Windows part with their own sign.
fn last_part(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// A picture that a file of labels names, in a folder: below it as it is named, or by the longest end of that which leads to one, or by what
/// is left of an address or of a name that an upload has lengthened.
pub(super) fn picture(images: &Path, name: &str, place: &str) -> Result<PathBuf> {
    let as_named = Some(images.join(name)).filter(|path| path.is_file());
    let found = as_named.or_else(|| by_end(images, name)).or_else(|| {
        let shorter = images.join(uploaded(name, images));
        shorter.is_file().then_some(shorter)
    });
    found.ok_or_else(|| Error::file(images.display().to_string(), name, format!("a picture of {place}"), "none"))
}

/// The file in a folder to which the longest end of a path leads: of `set/train/a.jpg` that is `train/a.jpg` before `a.jpg`.
fn by_end(images: &Path, path: &str) -> Option<PathBuf> {
    let parts: Vec<&str> = path.split(['/', '\\']).filter(|part| !matches!(*part, "" | "." | "..")).collect();
    (0..parts.len()).map(|from| images.join(parts[from..].join("/"))).find(|path| path.is_file())
}

/// The file that an address leads to in a folder, or the name behind it. Label Studio's local files stand behind `?d=`, with their folders;
/// it puts eight digits before the name of what is uploaded.
pub(super) fn uploaded(address: &str, images: &Path) -> String {
    let path = match address.split_once("?d=") {
        Some((_, path)) => path.split('&').next().unwrap_or(path),
        None => address.split('?').next().unwrap_or(address),
    };
    let path = unescaped(path);
    if let Some(found) = by_end(images, &path) {
        return found.strip_prefix(images).unwrap_or(&found).to_string_lossy().into_owned();
    }
    let name = last_part(&path).to_owned();
    match name.split_once('-') {
        Some((digits, rest)) if digits.len() == 8 && digits.chars().all(|c| c.is_ascii_hexdigit()) && !images.join(&name).is_file() => {
            rest.to_owned()
        }
        _ => name,
    }
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend(parts.next().unwrap_or_default().bytes());
    for part in parts {
        match part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend(part[2..].bytes());
            }
            None => bytes.extend(b"%".iter().copied().chain(part.bytes())),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_small_lies_on_top_whatever_it_is_called() {
        let folder = tempfile::tempdir().unwrap();
        image::RgbImage::new(6, 4).save(folder.path().join("a.png")).unwrap();
        // Supervision and datumaro call a mask of run lengths a crowd, and not every tool tells areas.
        let mug = |area: &str| {
            format!("{{\"image_id\":1,\"category_id\":1,\"iscrowd\":1,{area}\"segmentation\":{{\"size\":[4,6],\"counts\":[0,2,22]}}}}")
        };
        let table = |area: &str| format!("{{\"image_id\":1,\"category_id\":2,{area}\"segmentation\":[[0,0,6,0,6,4,0,4]]}}");
        for (mug, table) in [
            (mug("\"area\":2,"), table("\"iscrowd\":0,\"area\":24,")),
            (mug(""), table("")),
            (mug("\"area\":null,"), table("\"area\":0,")),
            (table(""), mug("")),
        ] {
            let image = "{\"id\":1,\"file_name\":\"images\\\\a.png\",\"width\":6,\"height\":4}";
            let categories = "[{\"id\":1,\"name\":\"mug\"},{\"id\":2,\"name\":\"table\"}]";
            let path = folder.path().join("coco.json");
            std::fs::write(&path, format!("{{\"images\":[{image}],\"annotations\":[{mug},{table}],\"categories\":{categories}}}")).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let (pairs, _) = read(&path, &text, folder.path(), None).unwrap();
            let Coding::Shapes(shapes, _) = &pairs[0].coding else { panic!("{:?}", pairs[0]) };
            let drawn = shapes.draw(&HashMap::new()).unwrap().values;
            let rows: Vec<String> = drawn.chunks(6).map(|row| row.iter().map(u32::to_string).collect()).collect();
            assert_eq!((pairs[0].stem.as_str(), rows), ("a", ["122222", "122222", "222222", "222222"].map(String::from).to_vec()));
        }
    }
}
