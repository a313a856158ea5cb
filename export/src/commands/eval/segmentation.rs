use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use edge_seg_bundle::Bundle;
use edge_seg_export::eval::ensemble::{Ensemble, Looks, Windows};
use edge_seg_export::eval::fit::{self, Histograms};
use edge_seg_export::eval::log::{Log, Settings};
use edge_seg_export::eval::pamr::Pamr;
use edge_seg_export::eval::segmentation::{PictureCounts, Protocol};
use edge_seg_export::eval::summary::{Run, Summary};
use edge_seg_export::eval::templates::{Lexicon, Templates};
use edge_seg_export::eval::variant::{Refine, Variant};
use edge_seg_export::eval::{Names, View, report};
use edge_seg_model::{Background, Session};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rayon::prelude::*;

use super::show;
use super::source::{Found, Source};

/// Measure a bundle on labelled pictures: mIoU, pixel accuracy, mFPR, mFNR, per class.
///
/// Either a preset, whose data is laid out as its release or as TTD's authors have it (docs/evaluation.md):
///
///   eval segmentation --preset voc21 --data VOCdevkit/VOC2012
///
/// or any pictures: every STEM.png in --labels is paired with the picture of that stem in --images, holds one number per pixel, and the
/// class table says what it means. A table is tab-separated with a header line (or `id<TAB>name` lines without one):
///
///   --values COLUMN   the column whose numbers the label pictures hold (default: the first, such as coco_id)
///   --view COLUMN     the column that numbers the classes to tell apart
///
/// A view with several rows of number 0 has a background (voc21, object81): label 0, found by --background. In any other view each row
/// is a class, and by default every pixel gets one. Ignored pixels: value 255, value 0 where no row has it, rows whose name holds
/// `ignore` or `void`, and --ignore. Any other value without a row is an error.
///
/// --names, --templates, --background, --tag-threshold and --refine take several values with commas: every combination is measured, on
/// one encoding of each picture. With several backgrounds the threshold that is best on one half of the pictures is also measured on the
/// other half, and the other way round.
///
/// Measures, over all pixels of all pictures: IoU = TP / (TP + FP + FN) per class; mIoU is the mean over the classes that the labels hold,
/// `any` counts classes that are only predicted as 0; mFPR and mFNR are the means of FP and FN over TP + FP + FN. On a clip (camvid)
/// flicker is the share of pixels whose label changes from frame to frame while the true one does not.
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
    refine: Vec<RefineName>,
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

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RefineName {
    None,
    Pamr,
    Guided,
}

impl Segmentation {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let bundle = self.source.bundle()?;
        let found = self.source.find()?;
        let view = self.source.view(&found, Names::Plain)?;
        let looks = self.looks(&bundle)?;
        let ensemble = Ensemble::new(&bundle, &looks, &self.source.device.options(None))?;
        let variants = self.variants(&bundle, &found, &view)?;
        let clip = found.preset.is_some_and(|p| p.clip);
        let protocol = Protocol {
            looks: &ensemble,
            view: &view,
            variants: &variants,
            present_only: self.present_only,
            clip,
            lexicon: Lexicon::default(),
        };
        if let Some(path) = &self.fit_word_thresholds {
            return self.fit(&protocol, &found, path);
        }
        let mut words = spelled(&looks, &ensemble, self.present_only);
        words.extend(self.source.label_pixels.told());
        words.extend(self.source.device.announce()?);
        let settings = settings(&bundle, &found, &view, &variants, words.join("; "));
        let counts = self.measure(&protocol, &found, &settings)?;
        let manifest = bundle.manifest();
        let summary = Summary {
            model: &manifest.name,
            variant: &manifest.variant,
            digest: bundle.digest(),
            pictures: found.pairs.len(),
            view: &found.view_name,
            layout: &found.layout,
            protocol: &settings.protocol,
            size_px: ensemble.session().size_px(),
            backend: ensemble.session().backend(),
            published: found.preset.and_then(|p| p.published),
            background_class: view.background,
            labels: std::iter::once("background".to_string()).chain(view.classes.iter().map(|c| c.name.clone())).collect(),
            runs: variants.iter().enumerate().map(|(i, v)| Run::new(i, v, &counts, &view)).collect(),
            halves: fit::halves(&variants, &counts, &view),
            encode_ms_median: median_ms(&counts),
        };
        if let Some(path) = &self.html {
            let page = report::page(&summary, &protocol, &found.pairs, &counts)?;
            edge_seg_bundle::files::replace_file(path, page.as_bytes())?;
        }
        let mut out = std::io::stdout().lock();
        if self.json {
            for i in 0..summary.runs.len() {
                writeln!(out, "{}", summary.json(i, self.confusion))?;
            }
        } else {
            show::segmentation(&mut out, &summary)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn looks(&self, bundle: &Bundle) -> anyhow::Result<Looks> {
        let paper = self.protocol == ProtocolName::Paper;
        let size_px = self.size.or(paper.then_some(448));
        let side_px = size_px.unwrap_or(bundle.manifest().image.input_px);
        let windows = match self.windows.as_deref().or(paper.then_some("input")) {
            None => None,
            Some("input") => Some(Windows { side_px, stride_px: side_px / 2 }),
            Some(text) => {
                let parts = text.split_once('/').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
                let (side_px, stride_px) = parts.with_context(|| format!("--windows: expected SIDE/STRIDE in pixels, found {text:?}"))?;
                Some(Windows { side_px, stride_px })
            }
        };
        let scales = if self.scales.is_empty() && paper { vec![1.0, 0.5, 1.5, 2.0] } else { self.scales.clone() };
        Ok(Looks { size_px, scales, flip: self.flip || paper, windows })
    }

    fn variants(&self, bundle: &Bundle, found: &Found, view: &View) -> anyhow::Result<Vec<Variant>> {
        let paper = self.protocol == ProtocolName::Paper;
        let default_names = if found.preset.is_some() { vec![Names::Plain, Names::Synonyms] } else { vec![Names::Plain] };
        let names = if self.names.is_empty() { default_names } else { self.names.clone() };
        let default_refine = if paper { RefineName::Pamr } else { RefineName::None };
        let refine = if self.refine.is_empty() { vec![default_refine] } else { self.refine.clone() };
        let templates = self.templates.iter().map(|t| Ok(Templates::named(t)?)).collect::<anyhow::Result<Vec<_>>>()?;
        let backgrounds = self.backgrounds(found, view, bundle.manifest().background)?;
        let tags = match self.tag_threshold.is_empty() {
            true => vec![None],
            false => self.tag_threshold.iter().map(|t| share("--tag-threshold", t)).collect::<anyhow::Result<_>>()?,
        };
        let background_words = match (self.background_words.as_slice(), found.preset) {
            ([word], Some(preset)) if word == "preset" => {
                let words = preset.background_words();
                ensure!(!words.is_empty(), "--background-words: {} has none", preset.name);
                words
            }
            (words, _) => words.to_vec(),
        };
        let word_thresholds = self.word_thresholds.as_deref().map(|path| fit::read(path, view)).transpose()?;
        ensure!(
            word_thresholds.is_none() || backgrounds.iter().all(|b| *b != Background::None),
            "--word-thresholds: each competes with a background: give --background"
        );
        let mut variants = Vec::new();
        for &name in &names {
            let classes = self.source.view(found, name)?.classes;
            for template in &templates {
                for &tag_threshold in &tags {
                    for &refine in &refine {
                        for &background in &backgrounds {
                            let mut variant = Variant {
                                name: String::new(),
                                names: name,
                                classes: classes.clone(),
                                templates: template.clone(),
                                background,
                                background_words: background_words.clone(),
                                tag_threshold,
                                word_thresholds: word_thresholds.clone(),
                                refine: match refine {
                                    RefineName::None => Refine::None,
                                    RefineName::Pamr => Refine::Pamr(Pamr::default()),
                                    RefineName::Guided => Refine::Guided,
                                },
                            };
                            variant.name = variant.spelled();
                            variants.push(variant);
                        }
                    }
                }
            }
        }
        Ok(variants)
    }

    fn backgrounds(&self, found: &Found, view: &View, default: f32) -> anyhow::Result<Vec<Background>> {
        let paper = || found.preset.map(|p| p.paper_background).context("--background paper: it needs a --preset");
        if self.background.is_empty() {
            let default = if self.protocol == ProtocolName::Paper { paper()? } else { default };
            return Ok(vec![if view.background { Background::Threshold(default) } else { Background::None }]);
        }
        let mut all = Vec::new();
        for text in &self.background {
            if text == "paper" {
                all.push(Background::Threshold(paper()?));
            } else if let Some((low, rest)) = text.split_once("..") {
                let wrong = || format!("--background: expected LOW..HIGH/STEP, found {text:?}");
                let (high, step) = rest.split_once('/').with_context(wrong)?;
                let parsed = [low, high, step].map(|x| x.parse::<f32>().ok().filter(|x| (0.0..=1.0).contains(x)));
                let [Some(low), Some(high), Some(step)] = parsed else { anyhow::bail!(wrong()) };
                ensure!(step >= 0.001 && low <= high, wrong());
                let steps = ((high - low) / step + 1e-3) as usize;
                all.extend((0..=steps).map(|i| Background::Threshold(((low + i as f32 * step) * 1e4).round() / 1e4)));
            } else {
                all.push(share("--background", text)?.map_or(Background::None, Background::Threshold));
            }
        }
        Ok(all)
    }

    fn measure(&self, protocol: &Protocol, found: &Found, settings: &Settings) -> anyhow::Result<Vec<PictureCounts>> {
        let log = self.record.as_deref().map(|path| Log::open::<PictureCounts>(path, settings)).transpose()?;
        let (log, mut counts) = log.map_or((None, Vec::new()), |(log, done)| (Some(log), done));
        let wanted: HashSet<&str> = found.pairs.iter().map(|p| p.stem.as_str()).collect();
        counts.retain(|c| wanted.contains(c.picture.as_str()));
        let known: HashSet<String> = counts.iter().map(|c| c.picture.clone()).collect();
        let bar = progress(found.pairs.len());
        bar.inc(known.len() as u64);
        let measured = self.in_parallel(protocol.looks.session(), || {
            protocol.evaluate(
                &found.pairs,
                |pair| !known.contains(&pair.stem),
                |picture| {
                    bar.inc(1);
                    log.as_ref().map_or(Ok(()), |log| log.add(picture))
                },
            )
        })??;
        bar.finish_and_clear();
        counts.extend(measured);
        // A resumed run reports what an unbroken one does.
        counts.sort_by(|a, b| a.picture.cmp(&b.picture));
        Ok(counts)
    }

    fn fit(&self, protocol: &Protocol, found: &Found, path: &std::path::Path) -> anyhow::Result<ExitCode> {
        ensure!(protocol.variants.len() == 1, "--fit-word-thresholds: one variant, found {}: choose --names", protocol.variants.len());
        let variant = &protocol.variants[0];
        variant.prepare(protocol.looks.session(), &protocol.lexicon)?;
        let bar = progress(found.pairs.len());
        let parts = self.in_parallel(protocol.looks.session(), || {
            found
                .pairs
                .par_iter()
                .map(|pair| {
                    let mut part = Histograms::new(variant.classes.len());
                    part.add(protocol, variant, pair)?;
                    bar.inc(1);
                    Ok(part)
                })
                .collect::<anyhow::Result<Vec<_>>>()
        })??;
        bar.finish_and_clear();
        let mut all = Histograms::new(variant.classes.len());
        parts.iter().for_each(|part| all.merge(part));
        let default = match variant.background {
            Background::Threshold(t) => t,
            Background::None => protocol.looks.session().bundle().manifest().background,
        };
        let thresholds = all.thresholds();
        let mut text = String::new();
        for (class, threshold) in variant.classes.iter().zip(&thresholds) {
            text += &format!("{}\t{:.3}\n", class.name, threshold.unwrap_or(default));
        }
        edge_seg_bundle::files::replace_file(path, text.as_bytes())?;
        let met = thresholds.iter().flatten().count();
        eprintln!("{met} classes were met in {} pictures; the other {} keep {default}", found.pairs.len(), thresholds.len() - met);
        Ok(ExitCode::SUCCESS)
    }

    /// Whole pictures side by side use the cores better than one picture's matrix products do.
    fn in_parallel<R: Send>(&self, session: &Session, work: impl FnOnce() -> R + Send) -> anyhow::Result<R> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads.unwrap_or(0)).build()?;
        Ok(pool.install(|| session.with_busy_encoder(work))?)
    }
}

/// A share from 0 to 1, or none.
fn share(option: &str, text: &str) -> anyhow::Result<Option<f32>> {
    if text == "none" {
        return Ok(None);
    }
    let value = text.parse().ok().filter(|v| (0.0..=1.0).contains(v));
    Ok(Some(value.with_context(|| format!("{option}: expected 0 to 1, or none, found {text:?}"))?))
}

fn spelled(looks: &Looks, ensemble: &Ensemble, present_only: bool) -> Vec<String> {
    let mut words = vec![format!("{} px", ensemble.session().size_px())];
    if !looks.scales.is_empty() {
        words.push(format!("scales {:?}", looks.scales));
    }
    words.extend(looks.flip.then(|| "flip".to_string()));
    words.extend(looks.windows.map(|w| format!("windows {}/{}", w.side_px, w.stride_px)));
    words.extend(present_only.then(|| "present only".to_string()));
    words
}

fn settings(bundle: &Bundle, found: &Found, view: &View, variants: &[Variant], protocol: String) -> Settings {
    let manifest = bundle.manifest();
    Settings {
        record: 2,
        model: format!("{} ({})", manifest.name, manifest.variant),
        digest: bundle.digest().into(),
        view: found.view_name.clone(),
        background_class: view.background,
        classes: view.classes.iter().map(|c| c.name.clone()).collect(),
        variants: variants.iter().map(|v| v.name.clone()).collect(),
        protocol,
    }
}

pub fn progress(len: usize) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} pictures, {eta} left").expect("a valid template");
    ProgressBar::with_draw_target(Some(len as u64), target).with_style(style)
}

fn median_ms(counts: &[PictureCounts]) -> f64 {
    let mut times: Vec<f64> = counts.iter().map(|c| c.encode_ms).collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}
