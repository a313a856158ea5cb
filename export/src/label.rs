//! Labels pictures with a model: tags chosen by pixel-tag score, their masks cut into connected regions, written for other tools.

pub mod cvat;
pub mod folder;
pub mod formats;
pub mod output;
pub mod part;
pub mod run;
pub mod sheet;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use edge_seg_model::region::{Mask, regions};
use edge_seg_model::{Background, Class, Frame, Scoring, Session, WordList, read_picture, score, split_caption};
use serde::{Deserialize, Serialize};

use crate::eval::log::Kept;
use crate::{Error, Result};

/// How pictures are labelled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Pixel-tag score from which a word counts as present, in 0..1.
    pub tag_threshold: f32,
    /// Score below which a pixel belongs to no word, in 0..1.
    pub background: f32,
    /// Regions smaller than this share of the picture are dropped.
    pub least_share: f64,
}

impl Options {
    /// # Errors
    /// [`Error::Option`] if one of them is not in 0..1.
    pub fn check(&self) -> Result<()> {
        let shares = [
            ("--tag-threshold", f64::from(self.tag_threshold)),
            ("--background", f64::from(self.background)),
            ("--least-share", self.least_share),
        ];
        match shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            Some((name, share)) => Err(Error::Option { option: name.into(), expected: "0 to 1".into(), found: share.to_string() }),
            None => Ok(()),
        }
    }
}

/// How pictures were labelled, for a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Version of the record, 1.
    pub record: u32,
    /// The bundle's digest.
    pub digest: String,
    /// Side of the prepared input in pixels.
    pub size_px: usize,
    /// The options.
    pub options: Options,
    /// The words, or the captions that they come from.
    pub words: String,
    /// The device, where its numbers differ from the processor's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Whether borders of masks are moved to the pictures' edges.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refined: bool,
}

impl Kept for PictureLabels {
    type Settings = Settings;

    fn fits(&self, _: &Settings) -> bool {
        true
    }
}

/// A picture's labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PictureLabels {
    /// The picture, as it was named.
    pub file: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Connected regions, class by class, each in reading order.
    pub regions: Vec<Region>,
}

impl PictureLabels {
    /// All of it in one line, as the record of a run has it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }

    /// The inverse of [`Self::to_json`]; `place` names the text in errors.
    ///
    /// # Errors
    /// [`Error::File`] if it is none.
    pub fn from_json(place: &str, text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| Error::file(place, "text", "a picture's labels", error.to_string()))
    }
}

/// A connected region of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// The class's name.
    pub class: String,
    /// The class's pixel-tag score in the picture, in 0..1.
    pub score: f32,
    /// The mask as COCO's compressed run lengths.
    pub counts: String,
    /// The smallest box around it in pixels: left, top, width, height.
    pub bounds_px: [u32; 4],
    /// Its pixels.
    pub area_px: u64,
}

/// Embeds the words of classes, of which there may be thousands, unless `stop` says so meanwhile.
///
/// # Errors
/// [`Error::Stopped`] once it does, [`Error::Runtime`] if the model fails or knows nothing of a word.
pub fn embed(session: &Session, classes: &[Class], stop: impl Fn() -> bool + Sync) -> Result<WordList> {
    session.word_list_until(classes.to_vec(), Vec::new(), stop)?.ok_or(Error::Stopped)
}

/// Labels one picture with those of `words` that it shows.
///
/// # Errors
/// [`Error::Runtime`] if the picture cannot be read or the model fails, [`Error::File`] if its name is no text.
pub fn label(session: &Session, path: &Path, words: &WordList, options: &Options) -> Result<PictureLabels> {
    let file = path.to_str().ok_or_else(|| {
        Error::file(path.display().to_string(), "name", "one in UTF-8, as files of labels have it", "other bytes; rename it, or link to it")
    })?;
    label_frame(session, file, &read_picture(path)?, words, options)
}

/// As [`label`], of a picture in memory that has a name.
///
/// # Errors
/// [`Error::Runtime`] if the model fails.
pub fn label_frame(session: &Session, file: &str, frame: &Frame, words: &WordList, options: &Options) -> Result<PictureLabels> {
    words.bank().check(session)?;
    let encoded = session.encode(frame)?;
    let scores = score(&encoded.grid, words.bank(), Scoring::from(session.bundle().manifest()), Background::None)?;
    let kept: Vec<(&Class, f32)> =
        words.classes().iter().zip(scores.scores().iter().copied()).filter(|(_, s)| *s >= options.tag_threshold).collect();
    let (width, height) = frame.pixels.dimensions();
    let mut found = Vec::new();
    if !kept.is_empty() {
        let chosen: Vec<Class> = kept.iter().map(|(class, _)| (*class).clone()).collect();
        let bank = session.word_bank(&chosen, &[])?;
        let drawn = session.masks(frame, &encoded, &bank, Background::Threshold(options.background))?;
        let least = ((f64::from(width) * f64::from(height) * options.least_share).ceil() as u64).max(1);
        for (at, mask) in regions(&drawn.labels.labels, width as usize, least) {
            let (class, score) = kept[usize::from(at) - 1];
            found.push(Region {
                class: class.name.clone(),
                score,
                counts: mask.counts(width as usize, height as usize),
                bounds_px: mask.bounds_px(),
                area_px: mask.area(),
            });
        }
    }
    Ok(PictureLabels { file: file.into(), width, height, regions: found })
}

/// Writes the record of labelled pictures anew, in their order.
///
/// # Errors
/// [`Error::Runtime`] if the file system refuses.
pub fn write_record(path: &Path, settings: &Settings, pictures: &[PictureLabels]) -> Result<()> {
    let mut text = serde_json::to_string(settings).expect("plain data") + "\n";
    pictures.iter().for_each(|picture| text += &(picture.to_json() + "\n"));
    Ok(edge_seg_bundle::files::replace_file(path, text.as_bytes())?)
}

impl Region {
    /// The mask, unpacked.
    ///
    /// # Errors
    /// [`Error::File`] if the run lengths are not those of a picture of this size.
    pub fn mask(&self, picture: &PictureLabels) -> Result<Mask> {
        let wrong =
            |found: String| Error::file(&picture.file, "counts", format!("runs of {}×{} pixels", picture.width, picture.height), found);
        Mask::from_counts(&self.counts, picture.width as usize, picture.height as usize).ok_or_else(|| wrong(self.counts.clone()))
    }
}

/// Reads captions: tab-separated lines `file, caption` or `split, file, caption`, the first of them a header with those words.
/// A file may be on several lines; its words are put together. Keys are file names without folders.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::File`] if the header lacks a column or a line has another number of them.
pub fn read_captions(path: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let text = edge_seg_model::read_text(path)?;
    let place = path.display().to_string();
    let mut lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty());
    let header: Vec<&str> = lines.next().map(|(_, l)| l.split('\t').map(str::trim).collect()).unwrap_or_default();
    let column = |name: &str| {
        header.iter().position(|c| *c == name).ok_or_else(|| Error::file(&place, "header", format!("a column {name:?}"), header.join(", ")))
    };
    let (file, caption) = (column("file")?, column("caption")?);
    let mut captions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (number, line) in lines {
        let fields: Vec<&str> = line.split('\t').collect();
        if fields.len() != header.len() {
            return Err(Error::file(&place, format!("line {}", number + 1), format!("{} columns", header.len()), fields.len().to_string()));
        }
        let name = Path::new(fields[file].trim()).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        captions.entry(name).or_default().push(fields[caption].trim().into());
    }
    Ok(captions)
}

/// The words of some captions, each once, in order; none if they hold stop words alone.
pub fn words_of(captions: &[String]) -> Vec<Class> {
    let mut seen = BTreeSet::new();
    captions.iter().filter_map(|c| split_caption(c, false).ok()).flatten().filter(|c| seen.insert(c.name.clone())).collect()
}
