//! CC3M-TagMask, the benchmark of Jo et al. 2024: `image/`, `json_refined/` with the true tags of each caption, `mask_using_HQ-SAM/` with
//! the union of the things that it tells of.
//!
//! The folders are published, the fields of the JSON files are not: we read an object with the caption under `caption` or `text` and the
//! tags, as a list, under `tags` or `nouns`. In a mask every value but 0 is inside, and where a file of more than two values has 255, that
//! is ignored.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::pictures::{Coding, Pair, by_stem, only_one, read_labels};
use crate::{Error, Result};

/// A picture with a caption, the tags that it shows, and where they are.
#[derive(Debug, Clone)]
pub struct TagMask {
    /// The picture.
    pub image: PathBuf,
    /// Its caption.
    pub caption: String,
    /// The caption's words that are shown, lower case; a tag of several words is under each of them.
    pub tags: BTreeSet<String>,
    mask: Option<PathBuf>,
}

/// Finds the pictures of a folder, in the order of their names.
///
/// # Errors
/// [`Error::Io`] if a folder or file cannot be read, [`Error::File`] if a JSON file has not the fields, or a picture is missing.
pub fn read(folder: &Path) -> Result<Vec<TagMask>> {
    let texts = folder.join("json_refined");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&texts).and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect()).map_err(Error::io(&texts))?;
    files.retain(|p| p.extension().is_some_and(|e| e == "json") && !edge_seg_model::is_companion(p));
    files.sort();
    let images = folder.join("image");
    let pictures = by_stem(&images)?;
    let one = |path: PathBuf| -> Result<TagMask> {
        let place = path.display().to_string();
        let text = edge_seg_model::read_text(&path)?;
        let parsed: Value = serde_json::from_str(&text).map_err(|e| Error::file(&place, "file", "JSON", e.to_string()))?;
        let keys = || parsed.as_object().map_or("no object".into(), |o| o.keys().cloned().collect::<Vec<_>>().join(", "));
        let caption = ["caption", "text"].iter().find_map(|k| parsed.get(k)?.as_str());
        let caption = caption.ok_or_else(|| Error::file(&place, "fields", "a text under caption or text", keys()))?;
        let tags = ["tags", "nouns"].iter().find_map(|k| parsed.get(k)?.as_array());
        let tags = tags.ok_or_else(|| Error::file(&place, "fields", "a list under tags or nouns", keys()))?;
        let mut shown = BTreeSet::new();
        for tag in tags {
            let tag = tag.as_str().ok_or_else(|| Error::file(&place, "tags", "words", tag.to_string()))?.to_lowercase();
            shown.extend(tag.split_whitespace().map(str::to_owned));
        }
        let stem = path.file_stem().unwrap_or_default();
        let name = stem.to_string_lossy();
        let image = only_one(pictures.get(&*name).into_iter().flatten(), &images, &name, &path)?;
        let mask = folder.join("mask_using_HQ-SAM").join(stem).with_extension("png");
        Ok(TagMask { image, caption: caption.trim().into(), tags: shown, mask: mask.is_file().then_some(mask) })
    };
    let found = files.into_iter().map(one).collect::<Result<Vec<_>>>()?;
    if found.is_empty() {
        return Err(Error::file(texts.display().to_string(), "folder", "JSON files, one for each picture", "none"));
    }
    Ok(found)
}

impl TagMask {
    /// Where the things are that the caption tells of; none if there is no such file or nothing in it. `[height, width]`
    ///
    /// # Errors
    /// As [`read_labels`], whose size is `frame_px` (width, height).
    pub fn mask(&self, frame_px: (u32, u32)) -> Result<Option<Vec<Option<bool>>>> {
        let Some(path) = &self.mask else { return Ok(None) };
        let pair = Pair { stem: String::new(), image: self.image.clone(), labels: path.clone(), coding: Coding::Numbers, stored: false };
        let labels = read_labels(&pair, Some(frame_px))?;
        let values: BTreeSet<u32> = labels.values.iter().copied().collect();
        let ignores = values.len() > 2;
        let mask: Vec<_> = labels.values.iter().map(|v| if ignores && *v == 255 { None } else { Some(*v > 0) }).collect();
        Ok(mask.contains(&Some(true)).then_some(mask))
    }
}
