//! Captions: which of a caption's words does the picture show, and where are the things that it tells of?
//!
//! Truth comes from one of two places. From labelled pictures: a caption's word is shown where it is one of the words of a class (its name
//! or a synonym, in the singular or plural as the table has them) that the picture's labels hold. Or from files that tell it, as
//! CC3M-TagMask does ([`super::tagmask`]). A word that names something the labels do not tell of (scenery, where only things are labelled) is
//! left out; every other word of the caption is not shown. The trainer's `bias` counts by the same rule.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use edge_seg_model::{Background, Class, Encoded, Frame, Scoring, Session, WordScore, read_picture, score_words, split_caption};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::classes::View;
use super::ensemble::whole;
use super::left_out::{LeftOut, split_left_out};
use super::log::Kept;
use super::nouns::nouns;
use super::pictures::{Pair, truth};
use super::tagmask::TagMask;
use crate::{Error, Result};

/// How a caption's tags are scored.
pub const KINDS: [(&str, WordScore); 4] =
    [("image", WordScore::Image), ("text", WordScore::Text), ("image-text", WordScore::ImageText), ("pixel", WordScore::Pixel)];

/// The way of [`KINDS`] that is measured beside the others: reports show what it chooses.
pub const PIXEL: usize = KINDS.len() - 1;

/// What was found for the captions of one picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PictureCaptions {
    /// The picture's file name.
    pub picture: String,
    /// Caption by caption, without those of stop words alone.
    pub captions: Vec<CaptionResult>,
}

/// How captions were measured, for a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Version of the record, 1.
    pub record: u32,
    /// The bundle's digest.
    pub digest: String,
    /// Side of the prepared input in pixels, and what else changes the numbers.
    pub protocol: String,
    /// Where the truth comes from.
    pub truth: String,
    /// The options.
    pub options: Options,
    /// The captions by picture.
    pub captions: BTreeMap<String, Vec<String>>,
}

impl Kept for PictureCaptions {
    type Settings = Settings;

    fn fits(&self, settings: &Settings) -> bool {
        settings.captions.contains_key(&self.picture)
    }
}

/// A caption's words with their scores, and how well the masks of the chosen ones cover the things that it tells of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptionResult {
    /// The caption.
    pub caption: String,
    /// Its words.
    pub words: Vec<Word>,
    /// Pixels of the union of the chosen words' masks against the union of the things that the caption tells of: true positive, false
    /// positive, false negative, for each of [`KINDS`] and for all words. None where the caption tells of nothing that is labelled.
    pub pixels: Option<[[u64; 3]; KINDS.len() + 1]>,
}

/// A word of a caption.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// The word.
    pub word: String,
    /// Whether the picture shows it.
    pub shown: bool,
    /// Its score by each of [`KINDS`].
    pub scores: [f32; KINDS.len()],
    /// Whether our rules take it for a noun.
    pub noun: bool,
    /// Whether another tagger does, where its answers were given ([`mark_tagged`]).
    #[serde(skip)]
    pub tagged: Option<bool>,
}

/// Pictures with captions.
#[derive(Debug)]
pub enum Captioned {
    /// Labelled pictures; captions by file name.
    Labels {
        /// What the labels mean.
        view: View,
        /// The pictures.
        pairs: Vec<Pair>,
        /// Their captions.
        captions: BTreeMap<String, Vec<String>>,
    },
    /// Pictures whose captions, shown words and masks are in files of their own.
    Files(Vec<TagMask>),
}

/// One caption and its truth.
struct CaptionTruth {
    caption: String,
    /// Words of which nothing is known: they are left out.
    untold: Arc<BTreeSet<String>>,
    shown: Box<dyn Fn(&str) -> bool>,
    /// Where the things are that it tells of; `None` for pixels that count for nothing. `[height, width]`
    mask: Option<Vec<Option<bool>>>,
}

/// How captions are measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Score from which a word is chosen, in 0..1.
    pub threshold: f32,
    /// Score below which a pixel belongs to no word, in 0..1.
    pub background: f32,
    /// Whether masks are drawn.
    pub masks: bool,
}

/// A caption's chosen words, drawn.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// The picture.
    pub frame: Frame,
    /// 1 where the things are that it tells of. `[height, width]`
    pub told: Vec<u16>,
    /// Label k is the k-th of the words that were chosen by pixel score. `[height, width]`
    pub found: Vec<u16>,
}

impl Captioned {
    /// Labelled pictures; those without captions are left out.
    ///
    /// # Errors
    /// [`Error::File`] if none has a caption.
    pub fn labelled(view: View, mut pairs: Vec<Pair>, captions: BTreeMap<String, Vec<String>>) -> Result<Self> {
        pairs.retain(|pair| captions.contains_key(&file_name(&pair.image)));
        if pairs.is_empty() {
            return Err(Error::file("captions", "files", "captions of the labelled pictures", "none"));
        }
        Ok(Self::Labels { view, pairs, captions })
    }

    /// Pictures.
    pub fn len(&self) -> usize {
        match self {
            Self::Labels { pairs, .. } => pairs.len(),
            Self::Files(files) => files.len(),
        }
    }

    /// Whether there is no picture.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The captions by the pictures' file names.
    pub fn captions(&self) -> BTreeMap<String, Vec<String>> {
        let of = |index| match self {
            Self::Labels { captions, .. } => captions.get(&self.name(index)).cloned().unwrap_or_default(),
            Self::Files(files) => vec![files[index].caption.clone()],
        };
        (0..self.len()).map(|index| (self.name(index), of(index))).collect()
    }

    fn name(&self, index: usize) -> String {
        file_name(match self {
            Self::Labels { pairs, .. } => &pairs[index].image,
            Self::Files(files) => &files[index].image,
        })
    }

    fn picture(&self, index: usize, masks: bool) -> Result<(Frame, Vec<CaptionTruth>)> {
        match self {
            Self::Files(files) => {
                let frame = read_picture(&files[index].image)?;
                let mask = if masks { files[index].mask(frame.pixels.dimensions())? } else { None };
                let tags = files[index].tags.clone();
                let shown = Box::new(move |word: &str| tags.contains(word));
                Ok((frame, vec![CaptionTruth { caption: files[index].caption.clone(), untold: Arc::default(), shown, mask }]))
            }
            Self::Labels { view, pairs, captions } => {
                let pair = &pairs[index];
                let frame = read_picture(&pair.image)?;
                let labels = truth(pair, view, frame.pixels.dimensions())?;
                let mut held = vec![false; view.classes.len() + 1];
                labels.iter().flatten().for_each(|label| held[usize::from(*label)] = true);
                let held: Vec<(u16, Class)> =
                    (1u16..).zip(&view.classes).filter(|(l, _)| held[usize::from(*l)]).map(|(l, c)| (l, c.clone())).collect();
                let told = captions.get(&self.name(index)).into_iter().flatten().map(|caption| {
                    let words: Vec<String> =
                        split_caption(caption, false).map(|c| c.into_iter().map(|c| c.name).collect()).unwrap_or_default();
                    let meant: BTreeSet<u16> = held.iter().filter(|(_, c)| words.iter().any(|w| names(c, w))).map(|(l, _)| *l).collect();
                    let mask = (masks && !meant.is_empty()).then(|| labels.iter().map(|l| l.map(|l| meant.contains(&l))).collect());
                    let held = held.clone();
                    let shown = Box::new(move |word: &str| held.iter().any(|(_, class)| names(class, word)));
                    CaptionTruth { caption: caption.clone(), untold: view.untold.clone(), shown, mask }
                });
                Ok((frame, told.collect()))
            }
        }
    }

    /// Draws what [`evaluate`] found for one caption of a picture.
    ///
    /// # Errors
    /// As [`evaluate`]; [`Error::Option`] if there is no such picture or caption.
    pub fn draw(&self, session: &Session, options: &Options, picture: &str, result: &CaptionResult) -> Result<Drawn> {
        let unknown =
            |found: &str| Error::Option { option: "caption".into(), expected: "one of the pictures'".into(), found: found.into() };
        let index = (0..self.len()).find(|index| self.name(*index) == picture).ok_or_else(|| unknown(picture))?;
        let (frame, told) = self.picture(index, true)?;
        let told = told.into_iter().find(|told| told.caption == result.caption).ok_or_else(|| unknown(&result.caption))?;
        let area = frame.pixels.width() as usize * frame.pixels.height() as usize;
        let told = told.mask.map_or(vec![0; area], |mask| mask.into_iter().map(|m| u16::from(m == Some(true))).collect());
        let chosen: Vec<Class> = result.chosen(options.threshold).map(|word| Class::word(&word.word)).collect();
        let found = union_labels(session, &frame, &session.encode(&frame)?, &chosen, options)?;
        Ok(Drawn { frame, told, found })
    }
}

impl CaptionResult {
    /// The words that the pixel score chooses.
    pub fn chosen(&self, threshold: f32) -> impl Iterator<Item = &Word> {
        self.words.iter().filter(move |word| word.scores[PIXEL] >= threshold)
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Scores every caption of those pictures that `wanted` picks by their file names, in parallel over pictures; `done` is called after each,
/// with nothing for one that is left out, since it or its labels cannot be read. Both are given back in the order of the pictures.
///
/// # Errors
/// The first picture's that the model cannot take; and what `done` answers.
pub fn evaluate(
    session: &Session,
    pictures: &Captioned,
    options: &Options,
    wanted: impl Fn(&str) -> bool + Sync,
    done: impl Fn(Option<&PictureCaptions>) -> Result<()> + Sync,
) -> Result<(Vec<PictureCaptions>, Vec<LeftOut>)> {
    let found: Vec<_> = (0..pictures.len())
        .into_par_iter()
        .filter(|index| wanted(&pictures.name(*index)))
        .map(|index| {
            let (frame, told) = match pictures.picture(index, options.masks) {
                Ok(read) => read,
                Err(why) => {
                    done(None)?;
                    return Ok(Err(LeftOut::new(&pictures.name(index), why)));
                }
            };
            let found = PictureCaptions { picture: pictures.name(index), captions: picture(session, &frame, &told, options)? };
            done(Some(&found))?;
            Ok(Ok(found))
        })
        .collect::<Result<_>>()?;
    Ok(split_left_out(found))
}

fn picture(session: &Session, frame: &Frame, told: &[CaptionTruth], options: &Options) -> Result<Vec<CaptionResult>> {
    let image = &session.bundle().manifest().image;
    whole(frame.pixels.dimensions(), (image.fit, image.patch_px), session.size_px())?;
    let encoded = session.encode(frame)?;
    let scoring = Scoring::from(session.bundle().manifest());
    let mut results = Vec::new();
    for told in told {
        // A caption of stop words alone tells of nothing.
        let Ok(mut classes) = split_caption(&told.caption, false) else { continue };
        classes.retain(|class| !told.untold.contains(&class.name.to_lowercase()));
        if classes.is_empty() {
            continue;
        }
        let bank = session.word_bank(&classes, &[])?;
        let text = session.embed_text(&told.caption)?;
        let scores = KINDS.map(|(_, kind)| score_words(kind, &encoded.grid, &bank, Some(text.data()), scoring));
        let mut by_kind: Vec<Vec<f32>> = Vec::with_capacity(KINDS.len());
        for scores in scores {
            by_kind.push(scores?);
        }
        let nouns = nouns(&told.caption);
        let word = |i: usize| Word {
            word: classes[i].name.clone(),
            shown: (told.shown)(&classes[i].name),
            scores: std::array::from_fn(|k| by_kind[k][i]),
            noun: nouns.contains(&classes[i].name),
            tagged: None,
        };
        let words = (0..classes.len()).map(word).collect();
        let mut pixels = None;
        if let Some(mask) = told.mask.as_ref().filter(|_| options.masks) {
            let mut counts = [[0u64; 3]; KINDS.len() + 1];
            for (k, counts) in counts.iter_mut().enumerate() {
                let chosen: Vec<Class> = (0..classes.len())
                    .filter(|i| by_kind.get(k).is_none_or(|s| s[*i] >= options.threshold))
                    .map(|i| classes[i].clone())
                    .collect();
                *counts = union_counts(mask, &union_labels(session, frame, &encoded, &chosen, options)?);
            }
            pixels = Some(counts);
        }
        results.push(CaptionResult { caption: told.caption.clone(), words, pixels });
    }
    Ok(results)
}

fn union_labels(session: &Session, frame: &Frame, encoded: &Encoded, chosen: &[Class], options: &Options) -> Result<Vec<u16>> {
    if chosen.is_empty() {
        return Ok(vec![0; frame.pixels.width() as usize * frame.pixels.height() as usize]);
    }
    let background = Background::Threshold(options.background);
    Ok(session.masks(frame, encoded, &session.word_bank(chosen, &[])?, background)?.labels.labels)
}

/// Pixels of a mask and of what was found (any label but 0): both, found alone, mask alone; `None` in the mask counts for nothing.
pub fn union_counts(mask: &[Option<bool>], found: &[u16]) -> [u64; 3] {
    let mut counts = [0; 3];
    for (truth, found) in mask.iter().zip(found) {
        match (truth, *found > 0) {
            (Some(true), true) => counts[0] += 1,
            (Some(false), true) => counts[1] += 1,
            (Some(true), false) => counts[2] += 1,
            _ => {}
        }
    }
    counts
}

/// Puts another tagger's answers, by caption, beside the words.
///
/// # Errors
/// [`Error::File`] if a caption is not among them.
pub fn mark_tagged(results: &mut [PictureCaptions], tagged: &HashMap<String, BTreeSet<String>>) -> Result<()> {
    for result in results.iter_mut().flat_map(|picture| &mut picture.captions) {
        let caption = &result.caption;
        let missing = || Error::file("--nouns", "captions", format!("{caption:?} among them"), "no such line");
        let nouns = tagged.get(caption).ok_or_else(missing)?;
        result.words.iter_mut().for_each(|word| word.tagged = Some(nouns.contains(&word.word)));
    }
    Ok(())
}

/// Reads another tagger's answers: a table with the columns `caption` and `nouns`, the nouns separated by blanks.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::File`] if a column is missing.
pub fn read_tagged(path: &Path) -> Result<HashMap<String, BTreeSet<String>>> {
    let text = edge_seg_model::read_text(path)?;
    let wrong = |part: String, found: String| Error::file(path.display().to_string(), part, "columns caption and nouns", found);
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or("").split('\t').map(str::trim).collect();
    let column = |name: &str| header.iter().position(|c| *c == name).ok_or_else(|| wrong("header".into(), header.join(", ")));
    let (caption, nouns) = (column("caption")?, column("nouns")?);
    let mut found = HashMap::new();
    for (number, line) in lines.enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let fields: Vec<&str> = line.split('\t').collect();
        let field =
            |at: usize| fields.get(at).copied().ok_or_else(|| wrong(format!("line {}", number + 2), format!("{} columns", fields.len())));
        let words = field(nouns)?.to_lowercase().split_whitespace().map(str::to_owned).collect();
        found.insert(field(caption)?.trim().to_string(), words);
    }
    Ok(found)
}

fn names(class: &Class, word: &str) -> bool {
    class.name.eq_ignore_ascii_case(word) || class.words.iter().any(|w| w.eq_ignore_ascii_case(word))
}

/// Measures of choosing tags, over all pairs of a caption and a word, each in 0..1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TagMeasures {
    /// Share of the chosen words that are shown.
    pub precision: Option<f64>,
    /// Share of the shown words that are chosen.
    pub recall: Option<f64>,
    /// Harmonic mean of the two.
    pub f1: Option<f64>,
    /// Share of the words that are chosen or left out rightly.
    pub accuracy: Option<f64>,
    /// Area under the curve of precision over recall, in steps: the mean of the precision at each shown word, ranked by score.
    pub average_precision: Option<f64>,
}

/// Measures of `(shown, score)` pairs; words are chosen from `threshold` on. Pairs of one score rank together.
pub fn tag_measures(pairs: &[(bool, f32)], threshold: f32) -> TagMeasures {
    let count = |shown: bool, chosen: bool| pairs.iter().filter(|(s, x)| *s == shown && (*x >= threshold) == chosen).count() as f64;
    let (tp, fp, fnn, tn) = (count(true, true), count(false, true), count(true, false), count(false, false));
    let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
    let mut ranked: Vec<_> = pairs.to_vec();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let (mut seen, mut right, mut sum) = (0.0, 0.0, 0.0);
    for tied in ranked.chunk_by(|a, b| a.1 == b.1) {
        let shown = tied.iter().filter(|(s, _)| *s).count() as f64;
        seen += tied.len() as f64;
        right += shown;
        sum += shown * right / seen;
    }
    TagMeasures {
        precision: share(tp, tp + fp),
        recall: share(tp, tp + fnn),
        f1: share(2.0 * tp, 2.0 * tp + fp + fnn),
        accuracy: share(tp + tn, tp + fp + fnn + tn),
        average_precision: share(sum, right),
    }
}

/// Measures of text-level masks: means over captions, each in 0..1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaptionMeasures {
    /// Mean IoU of the union of the chosen words' masks with the union of the things told of.
    pub caption_iou: f64,
    /// Mean of FP / (TP + FP + FN).
    pub mfpr: f64,
    /// Mean of FN / (TP + FP + FN).
    pub mfnr: f64,
    /// Captions that were measured.
    pub captions: usize,
}

/// Means over captions of TP, FP, FN as shares of their sum; `None` without captions.
pub fn caption_measures(pixels: &[[u64; 3]]) -> Option<CaptionMeasures> {
    let mut sums = [0.0; 3];
    for counts in pixels {
        let union: u64 = counts.iter().sum();
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += if union > 0 { *count as f64 / union as f64 } else { 0.0 };
        }
    }
    let mean = |i: usize| sums[i] / pixels.len() as f64;
    (!pixels.is_empty()).then(|| CaptionMeasures { caption_iou: mean(0), mfpr: mean(1), mfnr: mean(2), captions: pixels.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_measures_are_those_of_scikit_learn() {
        // scikit-learn 1.9.1: precision_score, recall_score, f1_score, accuracy_score at 0.5, average_precision_score.
        let pairs = [(true, 0.9), (false, 0.8), (true, 0.7), (false, 0.4), (true, 0.3), (false, 0.3), (false, 0.1)];
        let m = tag_measures(&pairs, 0.5);
        assert_eq!((m.precision, m.recall), (Some(2.0 / 3.0), Some(2.0 / 3.0)));
        assert_eq!((m.f1, m.accuracy), (Some(2.0 / 3.0), Some(5.0 / 7.0)));
        assert!((m.average_precision.unwrap() - (1.0 + 2.0 / 3.0 + 3.0 / 6.0) / 3.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_shown_or_chosen_has_no_shares() {
        let m = tag_measures(&[(false, 0.1)], 0.5);
        assert_eq!((m.precision, m.recall, m.f1, m.average_precision), (None, None, None, None));
        assert_eq!(m.accuracy, Some(1.0));
        assert_eq!(caption_measures(&[]), None);
    }

    #[test]
    fn caption_shares_are_means_over_captions() {
        let m = caption_measures(&[[1, 1, 2], [3, 0, 0]]).unwrap();
        assert_eq!((m.caption_iou, m.mfpr, m.mfnr, m.captions), ((0.25 + 1.0) / 2.0, 0.125, 0.25, 2));
    }
}
