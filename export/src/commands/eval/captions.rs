use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use edge_seg::{Background, Session};
use edge_seg_export::eval::captions::{
    CaptionResult, Captioned, KINDS, Options, TagMeasures, Word, caption_measures, evaluate, read_tagged, tag_measures,
};
use edge_seg_export::eval::{Names, caption_report, published, tagmask};
use edge_seg_export::label::read_captions;
use serde_json::json;

use super::segmentation::progress;
use super::source::Source;

/// What the two tasks on captions have in common.
///
/// A caption's words are scored against the picture. Either labelled pictures tell which are shown: a word counts as shown if it is one of
/// the words of a class that the picture's labels hold. Or files do: --tagmask names a folder in the layout of CC3M-TagMask.
#[derive(Args)]
pub struct Captions {
    #[command(flatten)]
    source: Source,
    /// Table of captions with the columns `file` and `caption`, for labelled pictures.
    #[arg(long, value_name = "FILE.tsv", required_unless_present = "tagmask")]
    captions: Option<PathBuf>,
    /// Folder with image/, json_refined/ and mask_using_HQ-SAM/, instead of labelled pictures.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["captions", "images", "preset", "classes"])]
    tagmask: Option<PathBuf>,
    /// Nouns by another tagger as one more baseline: a table with the columns `caption` and `nouns` (separated by blanks).
    #[arg(long, value_name = "FILE.tsv")]
    nouns: Option<PathBuf>,
    /// Score from which a word is chosen, 0 to 1; the model's if none.
    #[arg(long, value_name = "T")]
    threshold: Option<f32>,
    /// Score below which a pixel belongs to no word, 0 to 1; the model's if none.
    #[arg(long, value_name = "T")]
    background: Option<f32>,
    /// Side of the prepared input in pixels; the model's if none.
    #[arg(long, value_name = "PX")]
    size: Option<usize>,
    /// Write a report with plots, in one file.
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// One JSON object per row instead of a table.
    #[arg(long)]
    json: bool,
}

/// Measure the choice of a caption's words: precision, recall, F1, accuracy, average precision, for each way of scoring.
#[derive(Args)]
pub struct Tags {
    #[command(flatten)]
    captions: Captions,
}

/// Measure text-level masks: the union of the chosen words' masks against the union of the things that the caption tells of.
#[derive(Args)]
pub struct Caption {
    #[command(flatten)]
    captions: Captions,
}

impl Captions {
    fn measure(&self, masks: bool) -> anyhow::Result<(f32, Vec<CaptionResult>)> {
        let bundle = self.source.bundle()?;
        let (threshold, background) =
            (self.threshold.unwrap_or(bundle.manifest().tag_threshold), self.background.unwrap_or(bundle.manifest().background));
        for (name, value) in [("--threshold", threshold), ("--background", background)] {
            anyhow::ensure!((0.0..=1.0).contains(&value), "{name}: expected 0 to 1, found {value}");
        }
        let pictures = match (&self.tagmask, &self.captions) {
            (Some(folder), _) => Captioned::Files(tagmask::read(folder)?),
            (None, Some(captions)) => {
                let found = self.source.find()?;
                let view = self.source.view(&found, Names::Synonyms)?;
                Captioned::Labels { view, pairs: found.pairs, captions: read_captions(captions)? }
            }
            (None, None) => unreachable!("clap asks for one of them"),
        };
        let options = Options {
            threshold,
            masks: masks.then_some(Background::Threshold(background)),
            tagged: self.nouns.as_deref().map(read_tagged).transpose()?,
        };
        let session = Session::new(bundle, &edge_seg::Options { size_px: self.size, threads: Some(1), ..Default::default() })?;
        let bar = progress(pictures.len());
        let results = evaluate(&session, &pictures, &options, || bar.inc(1))?;
        bar.finish_and_clear();
        Ok((threshold, results))
    }
}

fn cell(value: Option<f64>) -> String {
    value.map_or("-".into(), |v| format!("{v:.1}"))
}

impl Tags {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (threshold, results) = self.captions.measure(false)?;
        let pairs = |of: &dyn Fn(&Word) -> f32| -> Vec<(bool, f32)> {
            results.iter().flat_map(|r| r.words.iter().map(|word| (word.shown, of(word)))).collect()
        };
        let mut rows: Vec<_> =
            KINDS.iter().enumerate().map(|(k, (name, _))| (*name, tag_measures(&pairs(&|w| w.scores[k]), threshold))).collect();
        let yes = |yes: bool| if yes { 1.0 } else { 0.0 };
        let mut chosen = vec![("all words", pairs(&|_| 1.0)), ("nouns, by rules", pairs(&|w| yes(w.noun)))];
        if self.captions.nouns.is_some() {
            chosen.push(("nouns, as given", pairs(&|w| yes(w.tagged == Some(true)))));
        }
        for (name, pairs) in chosen {
            // A choice without scores has no ranking to take the mean precision of.
            rows.push((name, TagMeasures { average_precision: None, ..tag_measures(&pairs, 0.5) }));
        }
        if let Some(path) = &self.captions.html {
            edge_seg::files::replace_file(path, caption_report::tags(&results, &rows, threshold).as_bytes())?;
        }
        let mut out = std::io::stdout().lock();
        if self.captions.json {
            for (name, measures) in rows {
                writeln!(out, "{}", json!({ "score": name, "threshold": threshold, "captions": results.len(), "measures": measures }))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        writeln!(out, "{} captions, words chosen from {threshold}; percent\n", results.len())?;
        writeln!(out, "{:<16} {:>9} {:>7} {:>7} {:>9} {:>7}", "score", "precision", "recall", "F1", "accuracy", "mAP")?;
        let mut row = |name: &str, m: [Option<f64>; 5]| {
            writeln!(out, "{name:<16} {:>9} {:>7} {:>7} {:>9} {:>7}", cell(m[0]), cell(m[1]), cell(m[2]), cell(m[3]), cell(m[4]))
        };
        for (name, m) in rows {
            row(name, [m.precision, m.recall, m.f1, m.accuracy, m.average_precision].map(|v| v.map(|v| 100.0 * v)))?;
        }
        row("", [None; 5])?;
        published::TAGS.iter().try_for_each(|(name, m)| row(name, *m))?;
        writeln!(out, "\nThe last rows are published for CC3M-TagMask (Jo et al. 2024).")?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Caption {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (threshold, results) = self.captions.measure(true)?;
        let names = KINDS.iter().map(|(name, _)| *name).chain(["all words"]);
        if let Some(path) = &self.captions.html {
            edge_seg::files::replace_file(path, caption_report::captions(&results, threshold).as_bytes())?;
        }
        let mut out = std::io::stdout().lock();
        if !self.captions.json {
            writeln!(out, "words chosen from {threshold}; percent\n")?;
            writeln!(out, "{:<16} {:>10} {:>7} {:>7} {:>9}", "chosen by", "CaptionIoU", "mFPR", "mFNR", "captions")?;
        }
        for (k, name) in names.enumerate() {
            let pixels: Vec<[u64; 3]> = results.iter().filter_map(|r| r.pixels.map(|p| p[k])).collect();
            let Some(m) = caption_measures(&pixels) else { anyhow::bail!("no caption tells of anything that is labelled") };
            if self.captions.json {
                writeln!(out, "{}", json!({ "score": name, "threshold": threshold, "measures": m }))?;
            } else {
                let [iou, fpr, fnr] = [m.caption_iou, m.mfpr, m.mfnr].map(|v| 100.0 * v);
                writeln!(out, "{name:<16} {iou:>10.1} {fpr:>7.1} {fnr:>7.1} {:>9}", m.captions)?;
            }
        }
        if !self.captions.json {
            writeln!(out)?;
            for (name, [iou, fpr, fnr]) in published::CAPTIONS {
                writeln!(out, "{name:<16} {iou:>10.1} {fpr:>7.1} {fnr:>7.1}")?;
            }
            writeln!(out, "\nThe last rows are published for CC3M-TagMask (Jo et al. 2024).")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
