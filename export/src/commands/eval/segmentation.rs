use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use edge_seg_export::eval::fit::Histograms;
use edge_seg_export::eval::pictures::read_pair;
use edge_seg_export::eval::run::{Measurement, Options, Refinement};
use edge_seg_export::eval::segmentation::Protocol;
use edge_seg_export::eval::{LeftOut, Names};
use rayon::prelude::*;

use super::left_out::tell_left_out;
use super::show;
use super::source::Source;
use crate::commands::progress::progress;

/// Measure a bundle on labelled pictures: mIoU, pixel accuracy, mFPR, mFNR, per class.
///
/// Either a preset, whose data is laid out as its release or as TTD's authors have it (docs/evaluation.md):
///
///   eval segmentation --preset voc21 --data VOCdevkit/VOC2012
///
/// or any pictures: every STEM.png in --labels is paired with the picture of that stem in --images, holds one number per pixel, and the
/// class table says what it means. A table is tab-separated with a header line (or `id<TAB>name` lines without one); lists of data sets
/// and labelling tools are read too (docs/formats.md):
///
///   --values COLUMN   the column whose numbers the label pictures hold (default: the first, such as coco_id, or `id` behind names)
///   --view COLUMN     the column that numbers the classes to tell apart
///
/// A view with several rows of number 0, or one that is named background, has a background (voc21, object81): label 0, found by
/// --background. In any other view each row
/// is a class, and by default every pixel gets one. Ignored pixels: value 255, value 0 where no row has it, rows whose name holds
/// the word `ignore` or `void`, and --ignore. A picture with any other value is told and left out. A column `role` (thing, stuff, none, ignore), as sets that
/// are trained on have it, says of each row what it is: `none` is the background.
///
/// --names, --templates, --background, --tag-threshold and --refine take several values with commas: every combination is measured, on
/// one encoding of each picture. With several backgrounds the threshold that is best on one half of the pictures is also measured on the
/// other half, and the other way round.
///
/// Measures, over all pixels of all pictures: IoU = TP / (TP + FP + FN) per class; mIoU is the mean over the classes that the labels hold,
/// `any` counts classes that are only predicted as 0; mFPR and mFNR are the means of FP and FN over TP + FP + FN. On a clip (camvid)
/// flicker is the share of pixels whose label changes from frame to frame while the true one does not.
///
/// A picture that cannot be read, or whose labels cannot, is told, counted and left out; the exit code is then 2.
///
/// --scales, --flip and --windows average several looks at each picture (their patch embeddings, on the plain look's grid).
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Segmentation {
    #[command(flatten)]
    source: Source,
    /// Options that are not given: `edge` is one look; `paper` is 448 px, scales 1, 0.5, 1.5, 2, flip, windows, PAMR, the preset's threshold.
    #[arg(long, value_enum, default_value = "edge")]
    protocol: ProtocolName,
    /// Words that stand for a class; for presets both, else plain.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES,NAMES")]
    names: Vec<Names>,
    /// What words are put into: `model`, `clip80`, `tcl9`, or a file with one sentence a line.
    #[arg(long, value_delimiter = ',', value_name = "SET,SET", default_value = "model")]
    templates: Vec<String>,
    /// Score below which a pixel belongs to no class: 0 to 1, `none`, `paper` (the preset's), `LOW..HIGH/STEP`. Default: the model's
    /// in a view with a background, else none.
    #[arg(long, value_name = "T,T", value_delimiter = ',')]
    background: Vec<String>,
    /// Words for what is to be left out, with commas; `preset` for those of the preset's engineered names.
    #[arg(long, value_name = "WORD,WORD", value_delimiter = ',')]
    background_words: Vec<String>,
    /// Offer only the classes that a picture's own labels hold.
    #[arg(long)]
    present_only: bool,
    /// Offer only the classes whose pixel-tag score reaches this, 0 to 1 (at least the best one), or `none`.
    #[arg(long, value_name = "T,T", value_delimiter = ',')]
    tag_threshold: Vec<String>,
    /// Each class's own threshold: a table `name<TAB>threshold`, as --fit-word-thresholds writes it.
    #[arg(long, value_name = "FILE")]
    word_thresholds: Option<PathBuf>,
    /// Instead of measuring, find each class's own threshold on these pictures and write it here.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["word_thresholds", "record", "html"])]
    fit_word_thresholds: Option<PathBuf>,
    /// What is done to masks: `none`, `pamr`, `guided` (as `edge-seg --refine guided`).
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WAY,WAY")]
    refine: Vec<Refinement>,
    /// Side of the prepared input in pixels; the model's if none.
    #[arg(long, value_name = "PX")]
    size: Option<usize>,
    /// Factors on that side, with commas.
    #[arg(long, value_name = "F,F", value_delimiter = ',')]
    scales: Vec<f32>,
    /// Look at each picture mirrored as well.
    #[arg(long)]
    flip: bool,
    /// Look at squares of the scaled picture, SIDE/STRIDE in pixels (of the input's side, half a square apart, if not said), instead of
    /// the whole.
    #[arg(long, value_name = "SIDE/STRIDE", num_args = 0..=1, default_missing_value = "input")]
    windows: Option<String>,
    /// Keep what was found in each picture in this file: a run that was stopped goes on there, and `eval compare` reads it.
    #[arg(long, value_name = "FILE.jsonl")]
    record: Option<PathBuf>,
    /// Pictures at a time; as many as the processor has threads if none.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Write a report with plots and pictures, in one file.
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// One JSON object for each variant instead of tables.
    #[arg(long)]
    json: bool,
    /// Put the table of true by predicted labels into the JSON, background first.
    #[arg(long, requires = "json")]
    confusion: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProtocolName {
    Edge,
    Paper,
}

impl Segmentation {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let bundle = self.source.bundle()?;
        let found = self.source.find()?;
        let further = [self.source.label_pixels.told(), self.source.device.announce()?];
        let loading = self.source.device.options(None);
        let measurement = Measurement::new(&bundle, &found, &self.options(), &loading, further.into_iter().flatten())?;
        let protocol = measurement.protocol();
        if let Some(path) = &self.fit_word_thresholds {
            return self.fit(&measurement, &protocol, path);
        }
        let bar = progress(found.pairs.len());
        let (counts, left_out) = measurement.run(&protocol, self.record.as_deref(), self.threads, |more| {
            bar.inc(more as u64);
            Ok(())
        })?;
        bar.finish_and_clear();
        let summary = measurement.summary(&counts);
        if let Some(path) = &self.html {
            measurement.write_report(path, &protocol, &summary, &counts)?;
        }
        let mut out = edge_seg_terminal::results();
        if self.json {
            for i in 0..summary.runs.len() {
                writeln!(out, "{}", summary.json(i, self.confusion))?;
            }
        } else {
            show::segmentation(&mut out, &summary)?;
        }
        let told = tell_left_out(found.left_out.iter().chain(&left_out));
        if summary.runs.iter().all(|run| run.measures.labelled_px == 0) {
            eprintln!(
                "edge-seg-export: expected labels of the classes, found no pixel of one; try: a class table with the values that the label \
                 pictures hold (255 counts for nothing), --values COLUMN"
            );
            return Ok(ExitCode::from(2));
        }
        Ok(told)
    }

    fn options(&self) -> Options {
        Options {
            paper: self.protocol == ProtocolName::Paper,
            names: self.names.clone(),
            templates: self.templates.clone(),
            background: self.background.clone(),
            background_words: self.background_words.clone(),
            present_only: self.present_only,
            tag_threshold: self.tag_threshold.clone(),
            word_thresholds: self.word_thresholds.clone(),
            refine: self.refine.clone(),
            size_px: self.size,
            scales: self.scales.clone(),
            flip: self.flip,
            windows: self.windows.clone(),
        }
    }

    fn fit(&self, measurement: &Measurement, protocol: &Protocol, path: &std::path::Path) -> anyhow::Result<ExitCode> {
        ensure!(protocol.variants.len() == 1, "--fit-word-thresholds: one variant, found {}: choose --names", protocol.variants.len());
        let (variant, found) = (&protocol.variants[0], measurement.found);
        variant.prepare(protocol.looks.session(), &protocol.lexicon, &|| false)?;
        let bar = progress(found.pairs.len());
        let parts = measurement.in_parallel(self.threads, || {
            found
                .pairs
                .par_iter()
                .map(|pair| {
                    let part = match read_pair(pair, protocol.view) {
                        Ok((frame, truth)) => {
                            let mut part = Histograms::new(variant.classes.len());
                            part.add(protocol, variant, &frame, &truth)?;
                            Ok(part)
                        }
                        Err(left_out) => Err(left_out),
                    };
                    bar.inc(1);
                    Ok(part)
                })
                .collect::<anyhow::Result<Vec<_>>>()
        })??;
        bar.finish_and_clear();
        let mut all = Histograms::new(variant.classes.len());
        let left_out: Vec<&LeftOut> = parts.iter().filter_map(|part| part.as_ref().err()).collect();
        let status = tell_left_out(found.left_out.iter().chain(left_out.iter().copied()));
        ensure!(left_out.len() < parts.len(), "no picture can be read: {} has not been written", path.display());
        parts.iter().flatten().for_each(|part| all.merge(part));
        let default = variant.background.threshold().unwrap_or_else(|| protocol.looks.session().bundle().manifest().background);
        let thresholds = all.thresholds();
        let mut text = String::new();
        for (class, threshold) in variant.classes.iter().zip(&thresholds) {
            text += &format!("{}\t{:.3}\n", class.name, threshold.unwrap_or(default));
        }
        edge_seg_bundle::files::replace_file(path, text.as_bytes())?;
        let met = thresholds.iter().flatten().count();
        let pictures = parts.len() - left_out.len();
        eprintln!("{met} classes were met in {pictures} pictures; the other {} keep {default}", thresholds.len() - met);
        Ok(status)
    }
}
