//! Captions: which of a caption's words does the picture show, and where are the things that it tells of?
//!
//! Truth comes from labelled pictures: a caption's word is shown where it is one of the words of a class (its name or a synonym, in the
//! singular or plural as the table has them) that the picture's labels hold. Every other word of the caption is not shown.

use std::collections::BTreeMap;

use edge_seg::{Background, Class, Scoring, Session, TagScore, read_picture, score_tags, split_caption};
use rayon::prelude::*;
use serde::Serialize;

use super::classes::View;
use super::pictures::{Pair, read_labels};
use crate::{Error, Result};

/// How a caption's tags are scored.
pub const KINDS: [(&str, TagScore); 4] =
    [("image", TagScore::Image), ("text", TagScore::Text), ("image-text", TagScore::ImageText), ("pixel", TagScore::Pixel)];

/// A caption's words with their scores, and how well the masks of the chosen ones cover the things that it tells of.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptionResult {
    /// For each word whether the picture shows it, and its score by each of [`KINDS`].
    pub words: Vec<(bool, [f32; KINDS.len()])>,
    /// Pixels of the union of the chosen words' masks against the union of the things that the caption tells of: true positive, false
    /// positive, false negative, for each of [`KINDS`] and for all words. None where the caption tells of nothing that is labelled.
    pub pixels: Option<[[u64; 3]; KINDS.len() + 1]>,
}

/// Scores every caption of every picture.
///
/// `captions` are by file name; pictures without one are left out. A word is chosen from `threshold` on. Masks are drawn with `background`,
/// and only if `masks` is set.
///
/// # Errors
/// The first picture's that cannot be read or whose labels hold a value without a meaning; [`Error::File`] if no picture has a caption.
pub fn evaluate(
    session: &Session,
    view: &View,
    pairs: &[Pair],
    captions: &BTreeMap<String, Vec<String>>,
    threshold: f32,
    masks: Option<Background>,
    done: impl Fn() + Sync,
) -> Result<Vec<CaptionResult>> {
    let results: Vec<Vec<CaptionResult>> = pairs
        .par_iter()
        .map(|pair| {
            let name = pair.image.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let found = captions.get(&name).map_or(Ok(Vec::new()), |captions| picture(session, view, pair, captions, threshold, masks));
            done();
            found
        })
        .collect::<Result<_>>()?;
    let all: Vec<_> = results.into_iter().flatten().collect();
    if all.is_empty() {
        return Err(Error::file("captions", "files", "captions of the labelled pictures", "none"));
    }
    Ok(all)
}

fn picture(
    session: &Session,
    view: &View,
    pair: &Pair,
    captions: &[String],
    threshold: f32,
    masks: Option<Background>,
) -> Result<Vec<CaptionResult>> {
    let labels = read_labels(&pair.labels)?;
    let wrong = |value: u16| Error::file(pair.labels.display().to_string(), "values", "values of the class table", value.to_string());
    let truth: Vec<Option<u16>> = labels.values.iter().map(|v| view.label(*v).ok_or_else(|| wrong(*v))).collect::<Result<_>>()?;
    let mut held = vec![false; view.classes.len() + 1];
    truth.iter().flatten().for_each(|label| held[usize::from(*label)] = true);
    let frame = read_picture(&pair.image)?;
    if frame.pixels.dimensions() != (labels.width, labels.height) {
        let (w, h) = frame.pixels.dimensions();
        return Err(Error::file(
            pair.labels.display().to_string(),
            "size",
            format!("{w}×{h}"),
            format!("{}×{}", labels.width, labels.height),
        ));
    }
    let encoded = session.encode(&frame)?;
    let scoring = Scoring::from(session.bundle().manifest());
    let mut results = Vec::new();
    for caption in captions {
        // A caption of stop words alone tells of nothing.
        let Ok(classes) = split_caption(caption, false) else { continue };
        // Labels that the caption tells of, word by word.
        let meant: Vec<Vec<usize>> =
            classes.iter().map(|c| (1..held.len()).filter(|l| held[*l] && names(&view.classes[*l - 1], &c.name)).collect()).collect();
        let bank = session.tag_bank(&classes, &[])?;
        let text = session.embed_text(caption)?;
        let scores = KINDS.map(|(_, kind)| score_tags(kind, &encoded.grid, &bank, Some(text.data()), scoring));
        let mut by_kind: Vec<Vec<f32>> = Vec::with_capacity(KINDS.len());
        for scores in scores {
            by_kind.push(scores?);
        }
        let words = (0..classes.len()).map(|i| (!meant[i].is_empty(), std::array::from_fn(|k| by_kind[k][i]))).collect();
        let told: Vec<usize> = meant.iter().flatten().copied().collect();
        let pixels = match masks {
            Some(background) if !told.is_empty() => {
                let mut counts = [[0u64; 3]; KINDS.len() + 1];
                for (k, counts) in counts.iter_mut().enumerate() {
                    let chosen: Vec<Class> = (0..classes.len())
                        .filter(|i| by_kind.get(k).is_none_or(|s| s[*i] >= threshold))
                        .map(|i| classes[i].clone())
                        .collect();
                    let found = if chosen.is_empty() {
                        vec![0; truth.len()]
                    } else {
                        session.masks(&frame, &encoded, &session.tag_bank(&chosen, &[])?, background)?.labels.labels
                    };
                    for (truth, found) in truth.iter().zip(found) {
                        let Some(truth) = truth else { continue };
                        match (told.contains(&usize::from(*truth)), found > 0) {
                            (true, true) => counts[0] += 1,
                            (false, true) => counts[1] += 1,
                            (true, false) => counts[2] += 1,
                            (false, false) => {}
                        }
                    }
                }
                Some(counts)
            }
            _ => None,
        };
        results.push(CaptionResult { words, pixels });
    }
    Ok(results)
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
