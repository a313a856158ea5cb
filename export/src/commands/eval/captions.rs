use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use edge_seg::{Background, Bundle, Options, Session};
use edge_seg_export::eval::captions::{CaptionResult, KINDS, caption_measures, evaluate, tag_measures};
use edge_seg_export::eval::{ClassTable, Names, pictures};
use edge_seg_export::label::read_captions;
use serde_json::json;

use super::segmentation::progress;

/// What the two tasks on captions have in common.
///
/// A caption's words are scored against the picture. A word counts as shown if it is one of the words of a class that the picture's labels hold.
#[derive(Args)]
pub struct Captions {
    /// The bundle; the built-in model if none.
    #[arg(long, value_name = "FILE.esb")]
    model: Option<PathBuf>,
    /// Table of captions with the columns `file` and `caption`.
    #[arg(long, value_name = "FILE.tsv")]
    captions: PathBuf,
    /// Folder of pictures.
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Folder of label pictures, STEM.png.
    #[arg(long, value_name = "DIR")]
    labels: PathBuf,
    /// The class table; its synonyms say which words name a class.
    #[arg(long, value_name = "FILE")]
    classes: PathBuf,
    /// Column that numbers the classes to tell apart.
    #[arg(long, value_name = "COLUMN")]
    view: String,
    /// Column whose numbers stand in the label pictures; the first if none.
    #[arg(long, value_name = "COLUMN")]
    values: Option<String>,
    /// Score from which a word is chosen, 0 to 1; the model's if none.
    #[arg(long, value_name = "T")]
    threshold: Option<f32>,
    /// Score below which a pixel belongs to no word, 0 to 1; the model's if none.
    #[arg(long, value_name = "T")]
    background: Option<f32>,
    /// Side of the prepared input in pixels; the model's if none.
    #[arg(long, value_name = "PX")]
    size: Option<usize>,
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

/// Published in Jo et al. 2024 for TCL on CC3M-TagMask, percent: precision, recall, F1, accuracy, mAP. Another data set: for scale, not for rank.
const PUBLISHED_TAGS: [(&str, [Option<f64>; 5]); 5] = [
    ("TCL image", [Some(92.5), Some(28.6), Some(43.7), Some(79.5), Some(83.2)]),
    ("TCL text", [Some(85.6), Some(29.7), Some(44.1), Some(79.0), Some(82.1)]),
    ("TCL pixel", [Some(82.9), Some(74.5), Some(78.5), Some(88.6), Some(90.3)]),
    ("TCL + TTD pixel", [Some(88.3), Some(78.0), Some(82.8), Some(91.0), Some(93.7)]),
    ("nouns", [Some(59.8), Some(83.7), Some(69.8), Some(79.6), None]),
];

/// Published there, percent: CaptionIoU, mFPR, mFNR.
const PUBLISHED_CAPTIONS: [(&str, [f64; 3]); 4] = [
    ("MaskCLIP", [41.0, 17.9, 41.1]),
    ("MaskCLIP + TTD", [50.2, 25.6, 24.2]),
    ("TCL", [60.4, 19.9, 19.8]),
    ("TCL + TTD", [65.5, 16.3, 18.2]),
];

impl Captions {
    fn measure(&self, masks: bool) -> anyhow::Result<(f32, Vec<CaptionResult>)> {
        let bundle = match &self.model {
            Some(path) => Bundle::open(path)?,
            None => Bundle::built_in()?,
        };
        let (threshold, background) =
            (self.threshold.unwrap_or(bundle.manifest().tag_threshold), self.background.unwrap_or(bundle.manifest().background));
        for (name, value) in [("--threshold", threshold), ("--background", background)] {
            anyhow::ensure!((0.0..=1.0).contains(&value), "{name}: expected 0 to 1, found {value}");
        }
        let view = ClassTable::read(&self.classes)?.view(&self.view, self.values.as_deref(), Names::Synonyms, &[])?;
        let captions = read_captions(&self.captions)?;
        let pairs = pictures::pairs(&self.images, &self.labels, None)?;
        let session = Session::new(bundle, &Options { size_px: self.size, threads: Some(1), ..Default::default() })?;
        let bar = progress(pairs.len());
        let background = masks.then_some(Background::Threshold(background));
        let results = evaluate(&session, &view, &pairs, &captions, threshold, background, || bar.inc(1))?;
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
        let pairs = |of: &dyn Fn(&[f32; KINDS.len()]) -> f32| -> Vec<(bool, f32)> {
            results.iter().flat_map(|r| r.words.iter().map(|(shown, scores)| (*shown, of(scores)))).collect()
        };
        let mut rows: Vec<_> = KINDS.iter().enumerate().map(|(k, (name, _))| (*name, tag_measures(&pairs(&|s| s[k]), threshold))).collect();
        rows.push(("all words", tag_measures(&pairs(&|_| 1.0), threshold)));
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
        PUBLISHED_TAGS.iter().try_for_each(|(name, m)| row(name, *m))?;
        writeln!(out, "\nThe last rows are published for CC3M-TagMask (Jo et al. 2024).")?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Caption {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (threshold, results) = self.captions.measure(true)?;
        let names = KINDS.iter().map(|(name, _)| *name).chain(["all words"]);
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
            for (name, [iou, fpr, fnr]) in PUBLISHED_CAPTIONS {
                writeln!(out, "{name:<16} {iou:>10.1} {fpr:>7.1} {fnr:>7.1}")?;
            }
            writeln!(out, "\nThe last rows are published for CC3M-TagMask (Jo et al. 2024).")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
