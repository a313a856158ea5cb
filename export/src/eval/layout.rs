//! Where data sets keep their pictures and labels.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::pictures::{Coding, Pair, only_one};
use crate::{Error, Result};

/// One way to lay a data set out. Paths are below a root and may hold `{split}`.
#[derive(Debug)]
pub struct Layout {
    /// What reports call it.
    pub name: &'static str,
    images: &'static str,
    image_ending: &'static str, // empty: any picture's
    labels: &'static str,
    label_ending: &'static str,
    /// Names without endings, one a line.
    list: Option<&'static str>,
    split: &'static str,
    values: Values,
}

#[derive(Debug, Clone, Copy)]
enum Values {
    Column(&'static str),
    Colours,
    /// The matrix of a MATLAB file.
    LabelMap,
    /// Segments; this JSON file has their categories.
    Panoptic(&'static str),
}

const fn layout(name: &'static str, images: [&'static str; 2], labels: [&'static str; 2], split: &'static str) -> Layout {
    Layout {
        name,
        images: images[0],
        image_ending: images[1],
        labels: labels[0],
        label_ending: labels[1],
        list: None,
        split,
        values: Values::Column("train"),
    }
}

const fn maps(images: &'static str) -> Layout {
    let base = layout("stuffthingmaps", [images, ".jpg"], ["stuffthingmaps/{split}", ".png"], "val2017");
    Layout { values: Values::Column("stuffthingmaps"), ..base }
}

const fn panoptic(images: &'static str, labels: &'static str, json: &'static str) -> Layout {
    Layout { values: Values::Panoptic(json), ..layout("panoptic", [images, ".jpg"], [labels, ".png"], "val2017") }
}

/// PASCAL Context's release: `trainval` is unpacked into VOC2010 or beside it.
const fn label_maps(images: &'static str, list: &'static str) -> Layout {
    let base = layout("trainval with LabelMap", [images, ".jpg"], ["trainval", ".mat"], "val");
    Layout { list: Some(list), values: Values::LabelMap, ..base }
}

/// Every data set: as TTD's authors prepare them, and plain folders.
pub const COMMON: &[Layout] = &[
    layout("TTD validation/image, validation/mask", ["{split}/image", ""], ["{split}/mask", ".png"], "validation"),
    layout("images, labels", ["images", ""], ["labels", ".png"], ""),
];
pub(super) const VOC: &[Layout] = &[Layout {
    list: Some("ImageSets/Segmentation/{split}.txt"),
    ..layout("VOCdevkit", ["JPEGImages", ".jpg"], ["SegmentationClass", ".png"], "val")
}];
pub(super) const CONTEXT: &[Layout] = &[
    Layout {
        list: Some("ImageSets/SegmentationContext/{split}.txt"),
        ..layout("VOCdevkit with SegmentationClassContext", ["JPEGImages", ".jpg"], ["SegmentationClassContext", ".png"], "val")
    },
    label_maps("JPEGImages", "ImageSets/Main/{split}.txt"),
    label_maps("VOC2010/JPEGImages", "VOC2010/ImageSets/Main/{split}.txt"),
    label_maps("VOCdevkit/VOC2010/JPEGImages", "VOCdevkit/VOC2010/ImageSets/Main/{split}.txt"),
];
pub(super) const COCO_MAPS: &[Layout] = &[maps("{split}"), maps("images/{split}")];
pub(super) const COCO_OBJECT: &[Layout] =
    &[layout("MMSegmentation", ["images/{split}", ".jpg"], ["annotations/{split}", "_instanceTrainIds.png"], "val2017")];
pub(super) const COCO_STUFF: &[Layout] =
    &[layout("MMSegmentation", ["images/{split}", ".jpg"], ["annotations/{split}", "_labelTrainIds.png"], "val2017")];
pub(super) const PANOPTIC: &[Layout] = &[
    panoptic("{split}", "panoptic_{split}", "annotations/panoptic_{split}.json"),
    panoptic("{split}", "annotations/panoptic_{split}", "annotations/panoptic_{split}.json"),
    panoptic("images/{split}", "annotations/panoptic_{split}", "annotations/panoptic_{split}.json"),
    panoptic("images", "panoptic", "panoptic_{split}.json"),
];
pub(super) const CITYSCAPES: &[Layout] = &[
    Layout {
        values: Values::Column("labelids"),
        ..layout("leftImg8bit, gtFine", ["leftImg8bit/{split}", "_leftImg8bit.png"], ["gtFine/{split}", "_gtFine_labelIds.png"], "val")
    },
    layout(
        "leftImg8bit, gtFine (train ids)",
        ["leftImg8bit/{split}", "_leftImg8bit.png"],
        ["gtFine/{split}", "_gtFine_labelTrainIds.png"],
        "val",
    ),
];
pub(super) const ADE20K: &[Layout] =
    &[layout("ADEChallengeData2016", ["images/{split}", ".jpg"], ["annotations/{split}", ".png"], "validation")];
pub(super) const CAMVID: &[Layout] = &[
    Layout {
        values: Values::Colours,
        ..layout("701_StillsRaw_full", ["701_StillsRaw_full", ".png"], ["LabeledApproved_full", "_L.png"], "")
    },
    layout("SegNet release", ["{split}", ".png"], ["{split}annot", ".png"], "test"),
];

impl Layout {
    /// The column of the preset's table that says what its labels' values mean.
    pub fn column(&self) -> &'static str {
        match self.values {
            Values::Column(column) => column,
            Values::Colours => "colour",
            Values::LabelMap => "labelmap",
            Values::Panoptic(_) => "category",
        }
    }
}

/// Finds the pictures of the data set `name` below `data` and one of its `roots`: the first layout whose folders are there and hold labels.
///
/// # Errors
/// As [`Preset::pairs`](super::preset::Preset::pairs).
pub(super) fn find(
    name: &str,
    roots: &[&str],
    layouts: &[&'static [Layout]],
    data: &Path,
    split: Option<&str>,
) -> Result<(&'static Layout, Vec<Pair>)> {
    let mut tried = Vec::new();
    for root in roots {
        for layout in layouts.iter().copied().flatten() {
            let path = |part: &str| data.join(root).join(part.replace("{split}", split.unwrap_or(layout.split)));
            let (images, labels) = (path(layout.images), path(layout.labels));
            let list = layout.list.map(path);
            let there = images.is_dir() && labels.is_dir() && list.as_deref().is_none_or(Path::is_file);
            if root.is_empty() {
                let shown = |p: &Path| p.strip_prefix(data).unwrap_or(p).display().to_string();
                tried.push(format!("{} with {}*{}", shown(&images), shown(&labels), layout.label_ending));
            }
            if !there {
                continue;
            }
            let found = pairs(layout, &images, &labels, list.as_deref())?;
            if found.is_empty() {
                continue;
            }
            let found = match layout.values {
                Values::Panoptic(json) => with_segments(found, &path(json))?,
                Values::Colours => found.into_iter().map(|p| Pair { coding: Coding::Colours, ..p }).collect(),
                Values::LabelMap => found.into_iter().map(|p| Pair { coding: Coding::LabelMap, ..p }).collect(),
                Values::Column(_) => found,
            };
            return Ok((layout, found));
        }
    }
    tried.dedup();
    Err(Error::file(data.display().to_string(), name, format!("one of: {}", tried.join("; ")), "none of them"))
}

fn pairs(layout: &Layout, images: &Path, labels: &Path, list: Option<&Path>) -> Result<Vec<Pair>> {
    let key = |path: &Path, ending: &str| -> Option<String> {
        let name = path.file_name()?.to_str()?;
        match ending {
            "" if edge_seg_model::is_picture(path) => Some(path.file_stem()?.to_str()?.to_string()),
            "" => None,
            ending => name.strip_suffix(ending).filter(|k| !k.is_empty()).map(str::to_owned),
        }
    };
    let mut pictures: HashMap<String, Vec<PathBuf>> = HashMap::new();
    for path in files_below(images)? {
        if let Some(key) = key(&path, layout.image_ending) {
            pictures.entry(key).or_default().push(path);
        }
    }
    let mut found = BTreeMap::new();
    for path in files_below(labels)? {
        if let Some(key) = key(&path, layout.label_ending) {
            found.insert(key, path);
        }
    }
    if let Some(list) = list {
        let text = edge_seg_model::read_text(list)?;
        let wanted: HashSet<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        if let Some(lost) = wanted.iter().find(|key| !found.contains_key(**key)) {
            return Err(Error::file(list.display().to_string(), *lost, format!("labels in {}", labels.display()), "none"));
        }
        found.retain(|key, _| wanted.contains(key.as_str()));
    }
    let pair = |(stem, labels): (String, PathBuf)| {
        let image = only_one(pictures.get(&stem).into_iter().flatten(), images, &stem, &labels)?;
        Ok(Pair { stem, image, labels, coding: Coding::Numbers, stored: false })
    };
    found.into_iter().map(pair).collect()
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut open, mut files) = (vec![folder.to_path_buf()], Vec::new());
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).map_err(Error::io(&folder))? {
            let path = entry.map_err(Error::io(&folder))?.path();
            match edge_seg_bundle::files::about(&path)? {
                Some(about) if about.is_dir() => open.push(path),
                Some(about) if about.is_file() && !edge_seg_model::is_companion(&path) => files.push(path),
                // Whatever else lies there, such as a pipe, is neither picture nor label.
                _ => {}
            }
        }
    }
    files.sort();
    Ok(files)
}

/// What is read of a COCO panoptic JSON file.
#[derive(Deserialize)]
struct Panoptic {
    annotations: Vec<PanopticPicture>,
}

#[derive(Deserialize)]
struct PanopticPicture {
    file_name: String,
    segments_info: Vec<Segment>,
}

#[derive(Deserialize)]
struct Segment {
    id: u32,
    category_id: u32,
}

fn with_segments(pairs: Vec<Pair>, json: &Path) -> Result<Vec<Pair>> {
    let json = if json.is_file() {
        json.to_path_buf()
    } else {
        // A part of a release may carry another split's name.
        let folder = json.parent().unwrap_or(Path::new("."));
        let named = |p: &PathBuf| {
            let name = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            name.starts_with("panoptic_") && name.ends_with(".json")
        };
        let mut found: Vec<_> = if folder.is_dir() { files_below(folder)?.into_iter().filter(named).collect() } else { Vec::new() };
        if found.len() != 1 {
            return Err(Error::file(json.display().to_string(), "file", "the segments' categories", format!("{} such files", found.len())));
        }
        found.remove(0)
    };
    let text = edge_seg_model::read_text(&json)?;
    let wrong = |found: String| Error::file(json.display().to_string(), "file", "a COCO panoptic JSON file", found);
    let parsed: Panoptic = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    let mut by_file: HashMap<String, Arc<HashMap<u32, u32>>> = parsed
        .annotations
        .into_iter()
        .map(|a| (a.file_name, Arc::new(a.segments_info.into_iter().map(|s| (s.id, s.category_id)).collect())))
        .collect();
    pairs
        .into_iter()
        .map(|pair| {
            let name = pair.labels.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let segments = by_file.remove(&name).ok_or_else(|| wrong(format!("no annotation of {name}")))?;
            Ok(Pair { coding: Coding::Segments(segments), ..pair })
        })
        .collect()
}
