//! Labels that were drawn by hand, as the tools write them: COCO instances, "CVAT for images", Label Studio, YOLO segmentation.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edge_seg_model::image::metadata::Orientation;
use edge_seg_model::lists::{self, Listed};
use serde::Deserialize;
use serde_json::Value;

use super::coco::{self, Apart, uploaded};
use super::left_out::{LeftOut, split_left_out, unless_all};
use super::pictures::{self, Coding, Pair};
use super::shapes::{Segmentation, Shapes};
use crate::{Error, Result};

/// Pictures with their labels, and the classes of these.
pub struct Drawn {
    /// In the order of their names.
    pub pairs: Vec<Pair>,
    /// Classes, their numbers those of the labels.
    pub listed: Vec<Listed>,
    /// What reports call the layout.
    pub layout: &'static str,
    /// Pictures that are left out, since they or their labels cannot be read.
    pub left_out: Vec<LeftOut>,
    /// Pictures without a file of labels, which are taken as pictures of nothing.
    pub unlabelled: Vec<String>,
}

impl std::fmt::Debug for Drawn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Drawn {{ {}, {} pairs, {} classes }}", self.layout, self.pairs.len(), self.listed.len())
    }
}

/// One picture's shapes, of classes by their names.
struct Sheet {
    name: String,
    size: (u32, u32),
    shapes: Vec<(String, Segmentation)>,
}

/// Reads what a tool wrote, and finds its pictures in a folder; none if it is a folder of label pictures. With `stored`, shares of a
/// picture's sides are of its pixels as the file stores them, and else as they are shown, its EXIF orientation applied.
///
/// # Errors
/// [`Error::Runtime`] if it cannot be read, [`Error::File`] if it is no such file, a picture is not there, or a wanted one not in it;
/// the first picture's if none can be read.
pub fn read(labels: &Path, images: &Path, only: Option<&HashSet<String>>, stored: bool) -> Result<Option<Drawn>> {
    let place = labels.display().to_string();
    if labels.is_dir() {
        return yolo_folder(labels, images, only, stored);
    }
    let text = edge_seg_model::read_text(labels)?;
    match text.trim_start().chars().next() {
        Some('<') => {
            let (sheets, names) = cvat(&place, &text)?;
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let sheets = sheets.into_iter().map(Ok).collect();
            together(&place, images, sheets, only, "CVAT for images", Some(names.as_slice()).filter(|names| !names.is_empty())).map(Some)
        }
        Some('[') => together(&place, images, label_studio(&place, &text, images, stored)?, only, "Label Studio", None).map(Some),
        _ => {
            let (pairs, listed) = coco::read(labels, &text, images, only)?;
            Ok(Some(Drawn { pairs, listed, layout: "COCO instances", left_out: Vec::new(), unlabelled: Vec::new() }))
        }
    }
}

/// A folder of YOLO's outlines, and the pictures that have none; nothing if it is a folder of label pictures.
fn yolo_folder(labels: &Path, images: &Path, only: Option<&HashSet<String>>, stored: bool) -> Result<Option<Drawn>> {
    let pictures = pictures::by_stem(images)?;
    let texts = yolo_files(labels, &pictures, pictures::is_same(labels, images))?;
    if texts.is_empty() {
        return Ok(None);
    }
    let names = yolo_names(labels)?;
    let tracked = are_tracked(texts.values());
    let wanted = |stem: &String| only.is_none_or(|only| only.contains(stem));
    let mut sheets = Vec::new();
    for (stem, path) in texts.iter().filter(|(stem, _)| wanted(stem)) {
        let picture = pictures::only_one(pictures.get(stem).into_iter().flatten(), images, stem, path)?;
        sheets.push(yolo(path, &picture, &names, stored, tracked).map_err(|why| LeftOut::new(stem, why)));
    }
    // Pictures of nothing alone would be no measure of labels of which none can be read.
    if sheets.iter().all(Result::is_err)
        && let Some(Err(first)) = sheets.drain(..).next()
    {
        return Err(first.into());
    }
    // For Ultralytics these are pictures of nothing.
    let mut unlabelled = Vec::new();
    for (stem, named) in pictures.iter().filter(|(stem, _)| wanted(stem) && !texts.contains_key(*stem)) {
        let path = pictures::only_one(named.iter(), images, stem, labels)?;
        let sheet = upright_size(&path, stored).map(|size| Sheet { name: file_name(&path), size, shapes: Vec::new() });
        sheets.push(sheet.map_err(|why| LeftOut::new(stem, why)));
        unlabelled.push(stem.clone());
    }
    let listed = names.iter().map(|name| name.as_str()).collect::<Vec<_>>();
    let drawn = together(&labels.display().to_string(), images, sheets, only, "YOLO segmentation", Some(listed.as_slice()))?;
    Ok(Some(Drawn { unlabelled, ..drawn }))
}

/// Width and height of the picture that labels are of: as it is shown, or as its file stores it.
fn upright_size(picture: &Path, stored: bool) -> Result<(u32, u32)> {
    let size = edge_seg_model::image::image_dimensions(picture)
        .map_err(|e| Error::file(picture.display().to_string(), "file", "a picture", e.to_string()))?;
    let turn = if stored { Orientation::NoTransforms } else { edge_seg_model::read_orientation(picture)? };
    Ok(pictures::swapped(size, turn))
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Numbers the classes, in the file's order or else by name, from 1, and finds the pictures.
fn together(
    place: &str,
    images: &Path,
    sheets: Vec<Result<Sheet, LeftOut>>,
    only: Option<&HashSet<String>>,
    layout: &'static str,
    names: Option<&[&str]>,
) -> Result<Drawn> {
    let (sheets, left_out) = split_left_out(sheets);
    let left_out = unless_all(&sheets, left_out)?;
    let mut classes: Vec<String> = match names {
        Some(names) => names.iter().map(|name| (*name).to_owned()).collect(),
        None => sheets.iter().flat_map(|sheet| sheet.shapes.iter().map(|(name, _)| name.clone())).collect(),
    };
    if names.is_none() {
        classes.sort();
        classes.dedup();
    }
    let mut pairs = Vec::new();
    let mut apart = Apart::default();
    for sheet in sheets {
        let stem = stem(Path::new(&sheet.name));
        if only.is_some_and(|only| !only.contains(&stem)) {
            continue;
        }
        let image = coco::picture(images, &sheet.name, place)?;
        apart.check(place, &sheet.name, &image)?;
        let mut shapes = Vec::with_capacity(sheet.shapes.len());
        for (name, shape) in sheet.shapes {
            let number = classes.iter().position(|class| *class == name).map(|at| at as u32 + 1);
            let number = number.ok_or_else(|| Error::file(place, &stem, format!("one of {}", classes.join(", ")), format!("{name:?}")))?;
            shapes.push((number, shape));
        }
        let coding = Coding::Shapes(Arc::new(Shapes::new(sheet.size, shapes)), Arc::default());
        pairs.push(Pair { stem, image, labels: PathBuf::from(place), coding, stored: false });
    }
    let known = |stem: &String| pairs.iter().any(|pair| pair.stem == *stem) || left_out.iter().any(|one| one.picture == *stem);
    if let Some(lost) = only.into_iter().flatten().find(|stem| !known(stem)) {
        return Err(Error::file(place, lost, "a picture of that name", "none"));
    }
    if pairs.is_empty() {
        return Err(Error::file(place, "file", "pictures with labels", "none"));
    }
    pairs.sort_by(|a, b| a.stem.cmp(&b.stem));
    let listed = |(i, name): (usize, String)| Listed { id: Some(i as u32 + 1), name, colour: None, synonyms: Vec::new() };
    let listed = classes.into_iter().enumerate().map(listed).collect();
    Ok(Drawn { pairs, listed, layout, left_out, unlabelled: Vec::new() })
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What is small lies on top of what is large.
fn largest_first(shapes: &mut [(String, Segmentation)]) {
    shapes.sort_by(|(_, a), (_, b)| b.area_px().total_cmp(&a.area_px()));
}

/// The `*.txt` of a folder that holds no label pictures, by their names without endings. In the pictures' own folder a PNG is a label
/// picture if it lies beside another picture of its name.
fn yolo_files(folder: &Path, pictures: &BTreeMap<String, Vec<PathBuf>>, one_folder: bool) -> Result<BTreeMap<String, PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.map(|e| e.path())).collect::<std::io::Result<_>>().map_err(Error::io(folder))?;
    paths.retain(|path| !edge_seg_model::is_companion(path));
    let ends = |path: &Path, ending: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
    let is_photo = |path: &Path| one_folder && pictures.get(&stem(path)).is_some_and(|named| named.len() == 1);
    if paths.iter().any(|path| ends(path, "png") && !is_photo(path)) {
        return Ok(BTreeMap::new());
    }
    // Darknet's list of classes may lie among them.
    let is_label = |path: &PathBuf| ends(path, "txt") && path.file_name().is_some_and(|name| name != "classes.txt");
    Ok(paths.into_iter().filter(is_label).map(|path| (stem(&path), path)).collect())
}

/// Names by their numbers, from the `data.yaml` or `classes.txt` in the folder or above it.
fn yolo_names(folder: &Path) -> Result<Vec<String>> {
    let folder = folder.canonicalize().map_err(Error::io(folder))?;
    for above in folder.ancestors().take(3) {
        let file = ["data.yaml", "data.yml", "classes.txt"].map(|name| above.join(name)).into_iter().find(|path| path.is_file());
        let Some(path) = file else { continue };
        let (place, text) = (path.display().to_string(), edge_seg_model::read_text(&path)?);
        if path.extension().is_some_and(|e| e == "txt") {
            return Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect());
        }
        // The outline would be of its numbers, wherever these are.
        if text.lines().any(|line| line.starts_with("kpt_shape:")) {
            return Err(Error::file(&place, "kpt_shape", "a set of outlines", "one of poses, which are no masks"));
        }
        let listed = lists::read_listed(&place, &text)?;
        let listed = listed.ok_or_else(|| Error::file(&place, "file", "`names:`, as Ultralytics' data.yaml has it", "none"))?;
        let mut names =
            vec![String::new(); listed.iter().filter_map(|l| l.id).max().map_or(listed.len(), |most| most as usize + 1).min(65536)];
        for (i, l) in listed.into_iter().enumerate() {
            if let Some(name) = names.get_mut(l.id.map_or(i, |id| id as usize)) {
                *name = l.name;
            }
        }
        return Ok(names);
    }
    Err(Error::file(folder.display().to_string(), "folder", "data.yaml or classes.txt in it or above it", "none"))
}

/// How far beyond a picture's edge a point of a YOLO outline may lie, in shares of its side: as far as Ultralytics takes them.
const SHARES_BEYOND: f64 = 0.01;

/// Whether lines of a folder end with a confidence and a track's number, as predictions do that follow things from picture to picture.
/// Numbers beyond 1 tell. Where there is none, every line tells if it ends with a 1, below no other point that is at the picture's lower edge.
fn are_tracked<'a>(labels: impl Iterator<Item = &'a PathBuf>) -> bool {
    let (mut lines, mut alone, mut scored) = (0, 0, 0);
    for path in labels {
        // What cannot be read is told where its line is.
        let text = edge_seg_model::read_text(path).unwrap_or_default();
        for line in text.lines() {
            let numbers: Option<Vec<f64>> = line.split_whitespace().skip(1).map(|word| word.parse().ok()).collect();
            let Some([points @ .., score, track]) = numbers.as_deref() else { continue };
            let has_both = points.len() >= 4 && points.len() % 2 == 0 && (0.0..=1.0).contains(score);
            if has_both && *track > 1.0 + SHARES_BEYOND && track.fract() == 0.0 {
                return true;
            }
            let is_alone = *track == 1.0 && *score > 0.0 && points.iter().skip(1).step_by(2).all(|y| *y < 1.0);
            (lines, alone) = (lines + 1, alone + u32::from(has_both && is_alone));
            // Two ones may be a corner of the picture.
            scored += u32::from(*score < 1.0);
        }
    }
    lines > 1 && alone == lines && scored > 0
}

/// `CLASS x y x y ...` a line, in shares of width and height, and a confidence behind them where they are predictions; five numbers are a
/// box, which is no mask.
fn yolo(path: &Path, picture: &Path, names: &[String], stored: bool, tracked: bool) -> Result<Sheet> {
    let place = path.display().to_string();
    let (width, height) = upright_size(picture, stored)?;
    let mut shapes = Vec::new();
    for (number, line) in (1..).zip(edge_seg_model::read_text(path)?.lines()) {
        let wrong = |expected: &str, found: String| Error::file(&place, format!("line {number}"), expected, found);
        let mut words = line.split_whitespace();
        let Some(class) = words.next() else { continue };
        // Some tools write 0.0 for 0.
        let class = class.parse::<f64>().ok().filter(|class| class.fract() == 0.0 && *class >= 0.0);
        let class = class.and_then(|class| names.get(class as usize));
        let class =
            class.ok_or_else(|| wrong(&format!("a class of 0 to {}", names.len().saturating_sub(1)), line.chars().take(40).collect()))?;
        let number = |word: &str| word.parse::<f64>().ok().filter(|number| number.is_finite());
        let numbers = words.map(|word| number(word).ok_or_else(|| wrong("numbers", format!("{word:?}"))));
        let mut shares = numbers.collect::<Result<Vec<f64>>>()?;
        // Behind an outline stands at most the confidence, and behind that a track's number.
        if tracked && shares.len() > 5 && shares.len() % 2 == 0 && shares.last().is_some_and(|last| *last >= 1.0 && last.fract() == 0.0) {
            shares.truncate(shares.len() - 2);
        }
        if matches!(shares.len(), 4 | 5) {
            return Err(wrong("an outline, class x y x y x y ...", "a box alone; export segmentation".into()));
        }
        let is_share = |share: &f64| (-SHARES_BEYOND..=1.0 + SHARES_BEYOND).contains(share);
        if shares.len() > 6 && shares.len() % 2 == 1 {
            shares.pop();
        }
        if shares.len() < 6 || shares.len() % 2 == 1 {
            return Err(wrong("an outline of three points or more", format!("{} numbers", shares.len())));
        }
        if let Some(beyond) = shares.iter().find(|share| !is_share(share)) {
            return Err(wrong("shares of the picture's width and height, 0 to 1", format!("{beyond}; are these pixels?")));
        }
        let sides = [f64::from(width), f64::from(height)];
        let points = shares.into_iter().zip(sides.into_iter().cycle()).map(|(share, side)| share * side).collect();
        shapes.push((class.clone(), Segmentation::Polygons(vec![points])));
    }
    largest_first(&mut shapes);
    Ok(Sheet { name: file_name(picture), size: (width, height), shapes })
}

/// Pictures, and the labels that the file names.
fn cvat(place: &str, text: &str) -> Result<(Vec<Sheet>, Vec<String>)> {
    let wrong = |part: String, expected: &str, found: String| Error::file(place, part, expected, found);
    let document = roxmltree::Document::parse(text).map_err(|e| wrong("file".into(), "CVAT's XML", e.to_string()))?;
    let root = document.root_element();
    if !root.has_tag_name("annotations") {
        return Err(wrong("file".into(), "CVAT's <annotations>", format!("<{}>", root.tag_name().name())));
    }
    if root.children().any(|node| node.has_tag_name("track")) {
        return Err(wrong("file".into(), "\"CVAT for images 1.1\"", "tracks of a video; export for images".into()));
    }
    let named =
        |node: &roxmltree::Node| node.children().find(|child| child.has_tag_name("name")).and_then(|child| child.text()).map(str::to_owned);
    let names = root.descendants().filter(|node| node.has_tag_name("label")).filter_map(|node| named(&node)).collect();
    let mut sheets = Vec::new();
    for image in root.children().filter(|node| node.has_tag_name("image")) {
        let name = image.attribute("name").unwrap_or_default().to_owned();
        let number = |node: &roxmltree::Node, key: &str| -> Result<u32> {
            let value = node.attribute(key).unwrap_or_default();
            // Boxes of masks are written as 12 or 12.0.
            let whole = value.parse::<f64>().ok().filter(|v| v.fract() == 0.0 && (0.0..=1e6).contains(v));
            whole.map(|v| v as u32).ok_or_else(|| wrong(name.clone(), &format!("{key}=\"NUMBER\""), format!("{value:?}")))
        };
        let size = (number(&image, "width")?, number(&image, "height")?);
        let mut shapes = Vec::new();
        for node in image.children().filter(roxmltree::Node::is_element) {
            let label = node.attribute("label").unwrap_or_default().to_owned();
            let shape = match node.tag_name().name() {
                "polygon" => {
                    let numbers = node.attribute("points").unwrap_or_default().split([';', ',']).map(|n| n.trim().parse::<f64>().ok());
                    let numbers: Option<Vec<f64>> = numbers.collect();
                    Segmentation::Polygons(vec![numbers.ok_or_else(|| wrong(name.clone(), "points=\"x,y;x,y\"", "others".into()))?])
                }
                "mask" => {
                    let [left, top, wide, high] =
                        [number(&node, "left")?, number(&node, "top")?, number(&node, "width")?, number(&node, "height")?]
                            .map(|v| v as usize);
                    let runs = node.attribute("rle").unwrap_or_default().split(',').map(|n| n.trim().parse::<usize>().ok());
                    let runs: Option<Vec<usize>> = runs.collect();
                    let pixels = runs.and_then(|runs| in_box(&runs, [left, top, wide, high], size));
                    Segmentation::Pixels(pixels.ok_or_else(|| wrong(name.clone(), "run lengths of a box in the picture", "others".into()))?)
                }
                "tag" => continue,
                other => return Err(wrong(name.clone(), "polygons and masks", format!("a {other}; turn it into a polygon or a mask"))),
            };
            let order = node.attribute("z_order").and_then(|z| z.parse::<i64>().ok()).unwrap_or(0);
            shapes.push((order, label, shape));
        }
        shapes.sort_by_key(|(order, ..)| *order);
        sheets.push(Sheet { name: name.clone(), size, shapes: shapes.into_iter().map(|(_, label, shape)| (label, shape)).collect() });
    }
    Ok((sheets, names))
}

/// The pixels of runs inside a box, row by row, zeros first.
fn in_box(runs: &[usize], [left, top, wide, high]: [usize; 4], (width, height): (u32, u32)) -> Option<Vec<usize>> {
    let total = runs.iter().try_fold(0usize, |sum, run| sum.checked_add(*run))?;
    if wide == 0 || total != wide.checked_mul(high)? || left + wide > width as usize || top + high > height as usize {
        return None;
    }
    let (mut at, mut pixels) = (0, Vec::new());
    for (i, run) in runs.iter().enumerate() {
        if i % 2 == 1 {
            pixels.extend((at..at + run).map(|p| (top + p / wide) * width as usize + left + p % wide));
        }
        at += run;
    }
    Some(pixels)
}

#[derive(Deserialize)]
struct Task {
    data: serde_json::Map<String, Value>,
    #[serde(default)]
    annotations: Vec<Work>,
    #[serde(default)]
    predictions: Vec<Work>,
}

#[derive(Deserialize)]
struct Work {
    #[serde(default)]
    result: Vec<Value>,
    #[serde(default)]
    was_cancelled: bool,
}

/// Tasks as Label Studio exports them: the first annotation of each that was not skipped, or else its first prediction.
fn label_studio(place: &str, text: &str, images: &Path, stored: bool) -> Result<Vec<Result<Sheet, LeftOut>>> {
    let wrong = |part: String, expected: &str, found: String| Error::file(place, part, expected, found);
    let tasks: Vec<Task> = serde_json::from_str(text).map_err(|e| {
        let smaller = |value: &Value| value.get(0).is_some_and(|task| task.is_object() && task.get("data").is_none());
        let found = match serde_json::from_str(text) {
            Ok(value) if smaller(&value) => "tasks without `data`, as JSON-MIN has them; export as JSON".into(),
            _ => e.to_string(),
        };
        wrong("file".into(), "Label Studio's tasks", found)
    })?;
    let mut sheets = Vec::new();
    for (i, task) in tasks.iter().enumerate() {
        let part = || format!("task {}", i + 1);
        let address = task.data.get("image").or_else(|| task.data.values().find(|value| value.is_string())).and_then(Value::as_str);
        let address = address.ok_or_else(|| wrong(part(), "an address of a picture in `data`", "none".into()))?;
        let name = uploaded(address, images);
        let work = task.annotations.iter().find(|work| !work.was_cancelled).or(task.predictions.first());
        let (mut size, mut shapes) = (None, Vec::new());
        for result in work.into_iter().flat_map(|work| &work.result) {
            let (kind, value) = (result["type"].as_str().unwrap_or_default(), &result["value"]);
            let number = |key: &str| result[key].as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=1 << 20).contains(n));
            if !matches!(kind, "polygonlabels" | "brushlabels") {
                // Relations, ratings, choices; boxes and ellipses would be lost in silence.
                if kind.ends_with("labels") {
                    return Err(wrong(part(), "polygonlabels or brushlabels", format!("{kind}; draw them as polygons or with the brush")));
                }
                continue;
            }
            let (Some(width), Some(height)) = (number("original_width"), number("original_height")) else {
                return Err(wrong(part(), "original_width and original_height", "others".into()));
            };
            if result["image_rotation"].as_f64().is_some_and(|turn| turn != 0.0) {
                return Err(wrong(part(), "a picture that is not turned", format!("image_rotation {}", result["image_rotation"])));
            }
            size = Some((width, height));
            let shape = if kind == "polygonlabels" {
                let point =
                    |point: &Value| Some([point[0].as_f64()? * f64::from(width) / 100.0, point[1].as_f64()? * f64::from(height) / 100.0]);
                let points: Option<Vec<[f64; 2]>> = value["points"].as_array().and_then(|points| points.iter().map(point).collect());
                Segmentation::Polygons(vec![points.ok_or_else(|| wrong(part(), "points of a polygon", "none".into()))?.concat()])
            } else {
                let bytes: Option<Vec<u8>> =
                    value["rle"].as_array().and_then(|rle| rle.iter().map(|b| b.as_u64().and_then(|b| b.try_into().ok())).collect());
                let pixels = bytes.and_then(|bytes| painted(&bytes, width as usize * height as usize));
                Segmentation::Pixels(pixels.ok_or_else(|| wrong(part(), "a brush's run lengths of the picture's size", "others".into()))?)
            };
            let labels = value[kind].as_array().into_iter().flatten().filter_map(Value::as_str);
            shapes.extend(labels.map(|label| (label.to_owned(), shape.clone())));
        }
        let size = match size {
            Some(size) => size,
            // Nothing was found in it.
            None => match upright_size(&coco::picture(images, &name, place)?, stored) {
                Ok(size) => size,
                Err(why) => {
                    sheets.push(Err(LeftOut::new(&stem(Path::new(&name)), why)));
                    continue;
                }
            },
        };
        largest_first(&mut shapes);
        sheets.push(Ok(Sheet { name, size, shapes }));
    }
    Ok(sheets)
}

/// Pixels that a brush has painted: run lengths of RGBA bytes, bit by bit, as `@thi.ng/rle-pack` packs them and Label Studio keeps them.
/// They begin with the number of values (32 bits), the bits of a value less one (5) and those of four lengths less one (4 each).
fn painted(bytes: &[u8], pixels: usize) -> Option<Vec<usize>> {
    let mut at = 0;
    let mut bits = |count: usize| {
        let mut value = 0usize;
        for _ in 0..count {
            value = value << 1 | usize::from(bytes.get(at / 8)? >> (7 - at % 8) & 1);
            at += 1;
        }
        Some(value)
    };
    let total = bits(32)?;
    let word = bits(5)? + 1;
    let lengths = [bits(4)? + 1, bits(4)? + 1, bits(4)? + 1, bits(4)? + 1];
    if total != pixels.checked_mul(4)? {
        return None;
    }
    let (mut found, mut next) = (Vec::new(), 0);
    // The alpha of each pixel tells.
    let mut take = |from: usize, to: usize, value: usize| {
        if value > 0 {
            found.extend((from..to).filter(|at| at % 4 == 3).map(|at| at / 4));
        }
    };
    while next < total {
        let repeats = bits(1)? == 1;
        let length = lengths[bits(2)?];
        let end = next + 1 + bits(length)?;
        if end > total {
            return None;
        }
        if repeats {
            take(next, end, bits(word)?);
        } else {
            for at in next..end {
                take(at, at + 1, bits(word)?);
            }
        }
        next = end;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const RING: [&str; 4] = ["111102", "100100", "100100", "111100"];

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        image::RgbImage::new(6, 4).save(folder.path().join("images/a b.png")).unwrap();
        folder
    }

    fn rows(folder: &Path, labels: &str) -> (Vec<String>, Vec<String>) {
        let found = read(&folder.join(labels), &folder.join("images"), None, false).unwrap().unwrap();
        let Coding::Shapes(shapes, numbers) = &found.pairs[0].coding else { panic!("{:?}", found.pairs[0]) };
        let drawn = shapes.draw(numbers).unwrap();
        let rows = drawn.values.chunks(6).map(|row| row.iter().map(u32::to_string).collect());
        (rows.collect(), found.listed.into_iter().map(|l| l.name).collect())
    }

    fn complaint(folder: &Path, labels: &str) -> String {
        read(&folder.join(labels), &folder.join("images"), None, false).err().map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn yolo_outlines_are_drawn_and_boxes_refused() {
        let folder = folder();
        fs::create_dir_all(folder.path().join("set/labels")).unwrap();
        fs::write(folder.path().join("set/data.yaml"), "names:\n  0: ring\n  1: dot\n").unwrap();
        // The small one stands first and is drawn last; the hole hangs on a seam.
        let points = [[0, 0], [4, 0], [4, 4], [0, 4], [0, 1], [1, 1], [1, 3], [3, 3], [3, 1], [0, 1]];
        let ring: String = points.map(|[x, y]| format!(" {} {}", f64::from(x) / 6.0, f64::from(y) / 4.0)).concat();
        let label = folder.path().join("set/labels/a b.txt");
        fs::write(&label, format!("1 0.84 0.01 0.99 0.01 0.99 0.2 0.84 0.2\n0{ring}\n")).unwrap();
        assert_eq!(rows(folder.path(), "set/labels"), (RING.map(String::from).to_vec(), vec!["ring".into(), "dot".into()]));
        for (line, said) in [
            ("0 0.5 0.5 0.2 0.2", "box alone"),
            ("7 0 0 1 0 1 1", "a class of 0 to 1"),
            ("0 0 0 1 x 1 1", "numbers"),
            ("0 0 0 1", "three points"),
            ("0.5 0 0 1 0 1 1", "a class of 0 to 1"),
            ("0 10 20 300 20 300 200", "shares of the picture"),
        ] {
            fs::write(&label, line).unwrap();
            assert!(complaint(folder.path(), "set/labels").contains(said), "{line}: {}", complaint(folder.path(), "set/labels"));
        }
        // A class as some write it; a track's number behind the confidence.
        fs::write(&label, format!("0.0{ring} 0.9 17\n")).unwrap();
        assert_eq!(rows(folder.path(), "set/labels").0[1], RING[1]);
        // The first track's number is no point, nor is it where another has a larger one; a point at the lower edge stays.
        fs::write(&label, format!("0{ring} 0.9 1\n0{ring} 0.8 2\n")).unwrap();
        assert_eq!(rows(folder.path(), "set/labels").0[1], RING[1]);
        fs::write(&label, "0 0 0 1 0 1 0.5 0 0.5 0.9 1\n0 0 0 1 0 1 0.5 0 0.5 0.8 1\n").unwrap();
        assert_eq!(rows(folder.path(), "set/labels").0, ["111111", "111111", "000000", "000000"]);
        // Nor does a confidence of 1 make it one beside others.
        fs::write(&label, "0 0 0 1 0 1 0.5 0 0.5 1 1\n0 0 0 1 0 1 0.5 0 0.5 0.8 1\n").unwrap();
        assert_eq!(rows(folder.path(), "set/labels").0, ["111111", "111111", "000000", "000000"]);
        fs::write(&label, "0 0 0 1 0 1 1 0.5 1\n0 0 0 1 0 1 0.5 0.5 1\n").unwrap();
        assert_eq!(rows(folder.path(), "set/labels").0[3].matches('1').count(), 3);
        fs::write(&label, "0 0.5 0.5 0.2 0.2 0.9 1\n0 0.3 0.5 0.2 0.2 0.8 1\n").unwrap();
        assert!(complaint(folder.path(), "set/labels").contains("box alone"));
        fs::write(folder.path().join("set/data.yaml"), "kpt_shape: [4, 3]\nnames: [ring, dot]\n").unwrap();
        assert!(complaint(folder.path(), "set/labels").contains("poses"));
        fs::remove_file(folder.path().join("set/data.yaml")).unwrap();
        assert!(complaint(folder.path(), "set/labels").contains("data.yaml"));
    }

    #[test]
    fn cvat_masks_and_polygons_are_drawn_by_their_order() {
        let folder = folder();
        let file = |shapes: &str| {
            let labels =
                "<meta><task><labels><label><name>ring</name></label><label><name>dot &amp; co</name></label></labels></task></meta>";
            let text = format!(
                "<?xml version=\"1.0\"?><annotations>{labels}<image id=\"0\" name=\"x/a b.png\" width=\"6\" height=\"4\">{shapes}</image></annotations>"
            );
            fs::write(folder.path().join("cvat.xml"), text).unwrap();
        };
        file(
            "<mask label=\"dot &amp; co\" rle=\"0, 1\" left=\"5\" top=\"0\" width=\"1\" height=\"1\" z_order=\"2\"/>\
             <mask label=\"ring\" rle=\"0, 5, 2, 2, 2, 5\" left=\"0\" top=\"0\" width=\"4\" height=\"4\" z_order=\"1\"/>\
             <polygon label=\"dot &amp; co\" points=\"0.00,0.00;6.00,0.00;6.00,1.00\" z_order=\"0\"/><tag label=\"ring\"/>",
        );
        let (drawn, names) = rows(folder.path(), "cvat.xml");
        assert_eq!(
            (drawn[0].as_str(), &drawn[1..], names),
            ("111122", &RING.map(String::from)[1..], vec!["ring".into(), "dot & co".into()])
        );
        for (shape, said) in [
            ("<box label=\"ring\" xtl=\"0\"/>", "a box"),
            ("<polygon label=\"other\" points=\"0,0;1,0;1,1\"/>", "one of ring"),
            ("<mask label=\"ring\" rle=\"0, 9\" left=\"5\" top=\"0\" width=\"3\" height=\"3\"/>", "run lengths"),
        ] {
            file(shape);
            assert!(complaint(folder.path(), "cvat.xml").contains(said), "{shape}: {}", complaint(folder.path(), "cvat.xml"));
        }
        fs::write(folder.path().join("cvat.xml"), "<annotations><track/></annotations>").unwrap();
        assert!(complaint(folder.path(), "cvat.xml").contains("export for images"));
    }

    #[test]
    fn label_studios_polygons_and_brushes_are_drawn() {
        let folder = folder();
        // By label_studio_sdk 2.1.2, `mask2rle` of the ring and the dot.
        const BRUSH: [u8; 28] =
            [0, 0, 0, 96, 57, 27, 253, 255, 248, 192, 39, 255, 156, 2, 63, 249, 192, 35, 255, 156, 2, 63, 249, 192, 47, 255, 206, 0];
        let result = |kind: &str, value: String| {
            format!("{{\"type\":\"{kind}\",\"original_width\":6,\"original_height\":4,\"image_rotation\":0,\"value\":{value}}}")
        };
        let file = |results: &[String]| {
            let results = results.join(",");
            let skipped = "{\"was_cancelled\":true,\"result\":[]}";
            let address = "/data/upload/1/0123abcd-a%20b.png";
            let text = format!(
                "[{{\"data\":{{\"image\":\"{address}\"}},\"annotations\":[{skipped},{{\"result\":[{results}]}}],\"predictions\":[]}}]"
            );
            fs::write(folder.path().join("tasks.json"), text).unwrap();
        };
        let brush = result("brushlabels", format!("{{\"format\":\"rle\",\"rle\":{BRUSH:?},\"brushlabels\":[\"ring\"]}}"));
        let dot = "{\"points\":[[83.4,0.1],[99.9,0.1],[99.9,24.9],[83.4,24.9]],\"polygonlabels\":[\"dot\"]}";
        file(&[result("polygonlabels", dot.into()), brush, "{\"type\":\"choices\",\"value\":{\"choices\":[\"x\"]}}".into()]);
        let (drawn, names) = rows(folder.path(), "tasks.json");
        let want = RING.map(|row| row.replace('1', "3").replace('2', "1").replace('3', "2"));
        assert_eq!((drawn, names), (want.to_vec(), vec!["dot".into(), "ring".into()]));
        for (results, said) in [
            (result("rectanglelabels", "{}".into()), "rectanglelabels"),
            (result("brushlabels", "{\"rle\":[0,0,0,9]}".into()), "brush"),
            (result("polygonlabels", "{}".into()), "points"),
        ] {
            file(&[results]);
            assert!(complaint(folder.path(), "tasks.json").contains(said), "{}", complaint(folder.path(), "tasks.json"));
        }
    }

    fn yolo_set(names: &str) -> tempfile::TempDir {
        let folder = folder();
        fs::create_dir_all(folder.path().join("set/labels")).unwrap();
        fs::write(folder.path().join("set/data.yaml"), format!("names: [{names}]\n")).unwrap();
        folder
    }

    /// A JPEG of 6×4 stored pixels that is shown turned by a quarter.
    fn turned_photo(path: &Path) {
        let mut jpeg = Vec::new();
        let encoder = image::codecs::jpeg::JpegEncoder::new(&mut jpeg);
        image::RgbImage::new(6, 4).write_with_encoder(encoder).unwrap();
        let exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xe1];
        bytes.extend((exif.len() as u16 + 2).to_be_bytes());
        bytes.extend(exif);
        bytes.extend(&jpeg[2..]);
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn shares_are_of_the_picture_as_it_is_shown() {
        let folder = yolo_set("top");
        let (images, labels) = (folder.path().join("images"), folder.path().join("set/labels"));
        fs::remove_file(images.join("a b.png")).unwrap();
        turned_photo(&images.join("p.jpg"));
        fs::write(labels.join("p.txt"), "0 0 0 1 0 1 0.5 0 0.5\n").unwrap();
        for (stored, size) in [(false, (4, 6)), (true, (6, 4))] {
            let found = read(&labels, &images, None, stored).unwrap().unwrap();
            let Coding::Shapes(shapes, numbers) = &found.pairs[0].coding else { panic!("{:?}", found.pairs[0]) };
            let drawn = shapes.draw(numbers).unwrap();
            assert_eq!((drawn.width, drawn.height), size);
            assert!(drawn.values.iter().enumerate().all(|(at, value)| (*value == 1) == (at < 12)), "{:?}", drawn.values);
            // As labels of the frame that is measured.
            let pair = Pair { stored, ..found.pairs[0].clone() };
            pictures::read_labels(&pair, Some((4, 6))).unwrap();
        }
    }

    #[test]
    fn yolo_pictures_without_labels_are_of_nothing_and_broken_ones_left_out() {
        let folder = yolo_set("dot");
        let (images, labels) = (folder.path().join("images"), folder.path().join("set/labels"));
        for name in ["b.png", "c.png"] {
            image::RgbImage::new(6, 4).save(images.join(name)).unwrap();
        }
        fs::write(images.join("d.png"), b"no picture").unwrap();
        // A prediction has its confidence behind it.
        fs::write(labels.join("a b.txt"), "0 0 0 1 0 1 1 0.9\n").unwrap();
        for broken in ["b", "d"] {
            fs::write(labels.join(format!("{broken}.txt")), "0 0 0 1 0 1 1 7 8\n0 0.1\n").unwrap();
        }
        let found = read(&labels, &images, None, false).unwrap().unwrap();
        assert_eq!(found.pairs.iter().map(|pair| pair.stem.as_str()).collect::<Vec<_>>(), ["a b", "c"]);
        assert_eq!(found.left_out.iter().map(|one| one.picture.as_str()).collect::<Vec<_>>(), ["b", "d"]);
        assert_eq!(found.unlabelled, ["c"]);
        let only = HashSet::from(["a b".to_owned(), "b".to_owned()]);
        let found = read(&labels, &images, Some(&only), false).unwrap().unwrap();
        assert_eq!((found.pairs.len(), found.left_out.len(), found.unlabelled.len()), (1, 1, 0));
    }

    #[test]
    fn yolo_labels_may_lie_beside_their_pictures() {
        let folder = yolo_set("dot");
        let images = folder.path().join("images");
        fs::write(images.join("classes.txt"), "dot\n").unwrap();
        fs::write(images.join("a b.txt"), "0 0 0 1 0 1 1\n").unwrap();
        let found = read(&images, &images, None, false).unwrap().unwrap();
        assert_eq!((found.layout, found.pairs.len(), found.unlabelled.len()), ("YOLO segmentation", 1, 0));
        // Beside another picture of its name a PNG is a label picture.
        fs::write(images.join("a b.jpg"), b"").unwrap();
        assert!(read(&images, &images, None, false).unwrap().is_none());
    }

    #[test]
    fn two_names_of_one_picture_are_refused() {
        let folder = folder();
        let image = |id: u32, name: &str| format!(r#"{{"id": {id}, "file_name": "{name}", "width": 6, "height": 4}}"#);
        let images = [image(1, "train/a b.png"), image(2, "val/a b.png")].join(",");
        fs::write(folder.path().join("labels.json"), format!(r#"{{"images": [{images}], "annotations": [], "categories": []}}"#)).unwrap();
        let sheet = |name: &str| format!("<image name=\"{name}\" width=\"6\" height=\"4\"/>");
        let sheets = sheet("train/a b.png") + &sheet("val/a b.png");
        fs::write(folder.path().join("cvat.xml"), format!("<annotations>{sheets}</annotations>")).unwrap();
        let task = |name: &str| format!(r#"{{"data": {{"image": "/data/upload/1/{name}"}}, "annotations": [{{"result": []}}]}}"#);
        let tasks = [task("0123abcd-a%20b.png"), task("4567cdef-a%20b.png")].join(",");
        fs::write(folder.path().join("tasks.json"), format!("[{tasks}]")).unwrap();
        for (labels, other) in [("labels.json", "train/a b.png"), ("cvat.xml", "train/a b.png"), ("tasks.json", "a b.png")] {
            let said = complaint(folder.path(), labels);
            assert!(said.contains("a picture of its own") && said.contains(other), "{labels}: {said}");
        }
    }

    #[test]
    fn files_of_other_kinds_are_told_by_name() {
        let folder = folder();
        for (text, said) in [
            (r#"[{"image": "/data/a.png", "id": 1, "label": []}]"#, "JSON-MIN"),
            (r#"{"version": "5.0", "shapes": [], "imagePath": "a b.png"}"#, "labelme"),
            (r#"{"images": [{"id": 1, "file_name": "a b.png", "width": 6.5, "height": 4}], "annotations": [], "categories": []}"#, "6.5"),
        ] {
            fs::write(folder.path().join("labels.json"), text).unwrap();
            assert!(complaint(folder.path(), "labels.json").contains(said), "{}", complaint(folder.path(), "labels.json"));
        }
        // Label Studio puts digits before what is uploaded, and writes addresses; others write sizes as 6.0.
        fs::create_dir(folder.path().join("images/train")).unwrap();
        fs::rename(folder.path().join("images/a b.png"), folder.path().join("images/train/a b.png")).unwrap();
        for name in ["/data/local-files/?d=train/a%20b.png", "/data/local-files/?d=set%2Ftrain%2Fa%20b.png", "s3://x/train/a b.png?v=1"] {
            let task = format!("[{{\"data\": {{\"image\": \"{name}\"}}, \"annotations\": [{{\"result\": []}}]}}]");
            fs::write(folder.path().join("tasks.json"), task).unwrap();
            let found = read(&folder.path().join("tasks.json"), &folder.path().join("images"), None, false).unwrap().unwrap();
            assert!(found.pairs[0].image.ends_with("train/a b.png"), "{name}");
        }
        fs::rename(folder.path().join("images/train/a b.png"), folder.path().join("images/a b.png")).unwrap();
        for name in ["0a1b2c3d-a b.png", "/data/local-files/?d=x/a%20b.png"] {
            let image = format!(r#"{{"id": 1, "file_name": "{name}", "width": 6.0, "height": 4}}"#);
            fs::write(folder.path().join("labels.json"), format!(r#"{{"images": [{image}], "annotations": [], "categories": []}}"#))
                .unwrap();
            let found = read(&folder.path().join("labels.json"), &folder.path().join("images"), None, false).unwrap().unwrap();
            assert_eq!(found.pairs[0].stem, "a b", "{name}");
        }
    }
}
