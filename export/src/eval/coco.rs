//! Labels in a COCO instances file, as CVAT, Label Studio, datumaro, supervision and `label` write it: polygons of several parts, run
//! lengths compressed or not, crowds.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edge_seg_model::lists::Listed;
use edge_seg_model::region::{Mask, compress_runs};
use serde::Deserialize;

use super::classes::NOTHING;
use super::drawn::uploaded;
use super::pictures::{Coding, LabelPicture, MAX_PIXELS, Pair};
use crate::{Error, Result};

/// The masks of one picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Shapes {
    width: u32,
    height: u32,
    /// Category and mask, in the order in which they are drawn.
    shapes: Vec<(u32, Segmentation)>,
}

// Numbers of a file are compared as they were read.
impl Eq for Shapes {}

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

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected polygons [[x, y, ...], ...], or run lengths {size, counts}")]
pub(super) enum Segmentation {
    Polygons(Vec<Vec<f64>>),
    Runs {
        size: [u32; 2],
        counts: Counts,
    },
    /// Places of pixels, row by row.
    #[serde(skip)]
    Pixels(Vec<usize>),
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum Counts {
    Text(String),
    Numbers(Vec<u64>),
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
        let coding = Coding::Shapes(Arc::new(Shapes { width: image.width, height: image.height, shapes }), Arc::default());
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
        let found = format!("{}, which {other:?} names too; take the folder in which both are found", picture.display());
        Err(Error::file(place, name, "a picture of its own", found))
    }
}

/// A path's name without its folders, which tools on Windows part with their own sign.
fn last_part(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// A picture that a file of labels names, in a folder: below it as it is named, or in it by its name alone, or by what is left of an
/// address or of a name that an upload has lengthened.
pub(super) fn picture(images: &Path, name: &str, place: &str) -> Result<PathBuf> {
    let path = Path::new(name);
    let shorter = uploaded(name, images);
    let names = [path, Path::new(path.file_name().unwrap_or_default()), Path::new(last_part(name)), Path::new(&shorter)];
    let places = names.map(|name| images.join(name));
    let found = places.into_iter().find(|place| place.is_file());
    found.ok_or_else(|| Error::file(images.display().to_string(), name, format!("a picture of {place}"), "none"))
}

impl Segmentation {
    /// About how large it is.
    pub(super) fn area_px(&self) -> f64 {
        match self {
            Self::Polygons(parts) => parts.iter().map(|part| shoelace(part)).sum(),
            Self::Pixels(pixels) => pixels.len() as f64,
            Self::Runs { counts: Counts::Numbers(runs), .. } => runs.iter().skip(1).step_by(2).map(|run| *run as f64).sum(),
            // What is broken or too large is told when it is drawn.
            Self::Runs { size: [height, width], .. } if u64::from(*height) * u64::from(*width) > MAX_PIXELS => 0.0,
            Self::Runs { size: [height, width], counts: Counts::Text(text) } => {
                Mask::from_counts(text, *width as usize, *height as usize).map_or(0.0, |mask| mask.area() as f64)
            }
        }
    }
}

/// A polygon's area, by the shoelace formula.
fn shoelace(points: &[f64]) -> f64 {
    let corners: Vec<&[f64]> = points.chunks_exact(2).collect();
    let twice: f64 = corners.iter().zip(corners.iter().cycle().skip(1)).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum();
    twice.abs() / 2.0
}

impl Shapes {
    /// Of a picture of this width and height: categories and masks, in the order in which they are drawn.
    pub(super) fn new((width, height): (u32, u32), shapes: Vec<(u32, Segmentation)>) -> Self {
        Self { width, height, shapes }
    }

    /// Width and height in pixels.
    pub(super) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// What the category of each pixel stands for, 0 where there is none.
    ///
    /// # Errors
    /// What is wrong with a mask.
    pub(super) fn draw(&self, categories: &HashMap<u32, u32>) -> Result<LabelPicture, String> {
        let (width, height) = (self.width as usize, self.height as usize);
        let mut values = vec![categories.get(&NOTHING).copied().unwrap_or(0); width * height];
        for (category, segmentation) in &self.shapes {
            let category = categories.get(category).unwrap_or(category);
            match segmentation {
                Segmentation::Polygons(parts) => {
                    for part in parts {
                        fill(part, width, height, |at| values[at] = *category)?;
                    }
                }
                Segmentation::Pixels(pixels) => {
                    let of = "pixels of another picture's size";
                    pixels.iter().try_for_each(|at| values.get_mut(*at).map(|value| *value = *category)).ok_or(of)?;
                }
                Segmentation::Runs { size, counts } => {
                    if *size != [self.height, self.width] {
                        return Err(format!("run lengths of {}×{} pixels", size[1], size[0]));
                    }
                    match counts {
                        // A mask of nothing.
                        Counts::Text(text) if *text == compress_runs(&[values.len() as u64]) => {}
                        Counts::Text(text) => {
                            let mask = Mask::from_counts(text, width, height).ok_or("run lengths that are not those of the picture")?;
                            let [left, top, wide, high] = mask.bounds_px().map(|v| v as usize);
                            for y in top..top + high {
                                (left..left + wide).filter(|x| mask.contains(*x, y)).for_each(|x| values[y * width + x] = *category);
                            }
                        }
                        Counts::Numbers(runs) => {
                            let total = runs.iter().try_fold(0u64, |sum, run| sum.checked_add(*run));
                            if total != Some(values.len() as u64) {
                                return Err("run lengths that are not those of the picture".into());
                            }
                            let mut at = 0;
                            for (i, run) in runs.iter().enumerate() {
                                if i % 2 == 1 {
                                    (at..at + *run as usize).for_each(|p| values[p % height * width + p / height] = *category);
                                }
                                at += *run as usize;
                            }
                        }
                    }
                }
            }
        }
        Ok(LabelPicture { width: self.width, height: self.height, values })
    }
}

/// Fills the pixels whose centres lie inside a polygon, by the even-odd rule; at least the one in its middle.
fn fill(points: &[f64], width: usize, height: usize, mut set: impl FnMut(usize)) -> Result<(), String> {
    if points.len() < 6 || points.len() % 2 == 1 || points.iter().any(|p| !p.is_finite()) {
        return Err(format!("a polygon of {} numbers, where three points or more are", points.len()));
    }
    let corners: Vec<[f64; 2]> = points.chunks_exact(2).map(|p| [p[0], p[1]]).collect();
    let inside = |value: f64, most: usize| (value.floor().max(0.0) as usize).min(most);
    let bound = |axis: usize, of: fn(f64, f64) -> f64| corners.iter().map(|c| c[axis]).reduce(of).unwrap_or_default();
    let (top, bottom) = (inside(bound(1, f64::min), height), inside(bound(1, f64::max) + 1.0, height));
    let (mut crossings, mut filled) = (Vec::new(), false);
    for y in top..bottom {
        let middle = y as f64 + 0.5;
        crossings.clear();
        for (a, b) in corners.iter().zip(corners.iter().cycle().skip(1)) {
            if (a[1] <= middle) != (b[1] <= middle) {
                crossings.push(a[0] + (middle - a[1]) * (b[0] - a[0]) / (b[1] - a[1]));
            }
        }
        crossings.sort_by(f64::total_cmp);
        for ends in crossings.chunks_exact(2) {
            for x in inside((ends[0] + 0.5).max(0.0), width)..inside((ends[1] + 0.5).max(0.0), width) {
                set(y * width + x);
                filled = true;
            }
        }
    }
    let middle = [bound(0, f64::min) + bound(0, f64::max), bound(1, f64::min) + bound(1, f64::max)].map(|sum| sum / 2.0);
    if !filled && (0.0..=width as f64).contains(&middle[0]) && (0.0..=height as f64).contains(&middle[1]) && width * height > 0 {
        set(inside(middle[1], height - 1) * width + inside(middle[0], width - 1));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(shapes: Vec<(u32, Segmentation)>) -> Result<Vec<String>, String> {
        let drawn = Shapes { width: 6, height: 4, shapes }.draw(&HashMap::new())?;
        Ok(drawn.values.chunks(6).map(|row| row.iter().map(u32::to_string).collect()).collect())
    }

    #[test]
    fn polygons_and_run_lengths_are_drawn() {
        // A ring by its seam, a part of its own, and a polygon that holds no pixel's centre.
        let ring = vec![0.0, 0.0, 4.0, 0.0, 4.0, 4.0, 0.0, 4.0, 0.0, 1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 3.0, 3.0, 1.0, 0.0, 1.0];
        let part = vec![5.0, 0.0, 6.0, 0.0, 6.0, 1.0, 5.0, 1.0];
        let point = vec![5.1, 3.1, 5.2, 3.1, 5.2, 3.2];
        let found = draw(vec![(1, Segmentation::Polygons(vec![ring, part])), (2, Segmentation::Polygons(vec![point]))]).unwrap();
        assert_eq!(found, ["111101", "100100", "100100", "111102"]);
        let runs = |counts| Segmentation::Runs { size: [4, 6], counts };
        let found = draw(vec![(3, runs(Counts::Numbers(vec![2, 3, 19])))]);
        assert_eq!(found.unwrap(), ["030000", "000000", "300000", "300000"].map(String::from).to_vec(), "columns first");
        let labels: Vec<u16> = (0..24).map(|i| u16::from(i % 5 == 0)).collect();
        for (_, mask) in edge_seg_model::region::regions(&labels, 6, 1) {
            let found = draw(vec![(4, runs(Counts::Text(mask.counts(6, 4))))]).unwrap().concat();
            assert!(found.chars().enumerate().all(|(i, c)| (c == '4') == mask.contains(i % 6, i / 6)), "{found}");
        }
        // Nothing, as pycocotools writes it.
        for nothing in [Counts::Text("h0".into()), Counts::Numbers(vec![24])] {
            assert_eq!(draw(vec![(1, runs(nothing))]).unwrap(), ["000000"; 4].map(String::from).to_vec());
        }
        for broken in [vec![2, 3], vec![24, u64::MAX]] {
            assert!(draw(vec![(1, runs(Counts::Numbers(broken)))]).is_err());
        }
        assert!(draw(vec![(1, Segmentation::Polygons(vec![vec![1.0, 2.0]]))]).is_err());
        assert!(draw(vec![(1, Segmentation::Polygons(vec![vec![f64::NAN; 6]]))]).is_err());
    }

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
