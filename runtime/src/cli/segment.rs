use std::collections::{BTreeMap, HashSet};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{ArgGroup, Args};
use edge_seg::hide::{Hide, ShownFrame};
use edge_seg::sink::{ClassReport, Legend, LegendEntry, Milliseconds, OverlayOptions, encode_mask};
use edge_seg::{
    Background, Class, Encoded, Frame, LabelMap, Meaning, ModelError, Options, Segmentation, Session, WordBank, WordScore, expand_inputs,
    score_words,
};
use edge_seg_bundle::files::replace_file;
use edge_seg_model::render::{HiddenReport, JsonVersion, SegmentReport, draw_overlay_on};
use edge_seg_model::{check_classes, join_examples};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use serde::Serialize;

use super::args::{BackgroundArgs, LegendArg, ModelArgs, RefineArg};
use super::examples::ExampleArg;
use super::flags::{caption_of, classes_of, in_list, needs, words, words_of};
use super::hide::{self, HideArgs};
use super::input::{read_input, tell_unquoted, warn_of_many};
use super::meanings::tell_meanings;
use super::output::{Outcome, print_json};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("words").required(true).multiple(true))]
pub struct SegmentArgs {
    /// Pictures (JPEG, PNG, WebP, BMP, TIFF, GIF), folders of pictures, or globs.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<String>,
    /// Words to look for, separated by commas, other words for the same thing behind colons: "dog, grass, car: taxi: van".
    #[arg(long, group = "words", value_name = "WORDS", value_parser = words, allow_hyphen_values = true, conflicts_with_all = ["tags_file", "caption"])]
    tags: Option<String>,
    /// File with one class a line: `name`, or `name: synonym, synonym`.
    #[arg(long, group = "words", value_name = "FILE", conflicts_with = "caption")]
    tags_file: Option<PathBuf>,
    /// Look for what a box of a picture shows, in pixels, under a name; `=-NAME` shows what the name does not mean. As often as there are
    /// boxes. A name that --tags has too is looked for by its text as well.
    #[arg(long, group = "words", value_name = "PICTURE:x,y,w,h=NAME", conflicts_with = "caption")]
    example: Vec<ExampleArg>,
    /// A sentence: its words are scored, the ones that the picture shows are selected, and their masks and union written.
    #[arg(long, group = "words", value_name = "SENTENCE")]
    caption: Option<String>,
    /// With --caption: score words like "the" and "on" as well.
    #[arg(long, requires = "caption")]
    keep_stop_words: bool,
    /// Folder to write to; it is made if missing. For each picture NAME.mask.png and NAME.overlay.png, with --caption NAME.union.png too.
    #[arg(long, value_name = "DIR", default_value = "edge-seg-out")]
    out: PathBuf,
    /// What is done to the masks' borders.
    #[arg(long, value_enum, default_value_t = RefineArg::Guided)]
    refine: RefineArg,
    /// Take JPEGs whose coded data are damaged as well, and say so: what could not be read is grey or of wrong colours.
    #[arg(long)]
    keep_damaged: bool,
    /// Classes that overlays list with their scores, below the picture where they would cover much of it.
    #[arg(long, value_enum, default_value_t = LegendArg::Found)]
    legend: LegendArg,
    #[command(flatten)]
    background: BackgroundArgs,
    #[command(flatten)]
    hide: HideArgs,
    #[command(flatten)]
    model: ModelArgs,
    /// On a GPU, pictures that are encoded at once; twice as many are held in memory [default: 8].
    #[arg(long, value_name = "N", help_heading = "Model")]
    batch: Option<usize>,
    /// On a GPU, score there as well and, with --refine none, draw there; pictures go one by one. No GPU has run this yet.
    #[arg(long, conflicts_with = "batch", help_heading = "Model")]
    gpu_masks: bool,
}

pub fn run(args: &SegmentArgs) -> Result<Outcome> {
    // clap asks for no option that another one excludes.
    needs("--keep-stop-words", args.keep_stop_words, "--caption", args.caption.is_some())?;
    let mut classes = match (&args.tags, &args.tags_file, &args.caption) {
        (Some(list), _, _) => words_of("--tags", list)?,
        (_, Some(file), _) => classes_of(file)?,
        (_, _, Some(caption)) => caption_of(caption, args.keep_stop_words, "--tags-file")?,
        // Examples alone.
        _ => Vec::new(),
    };
    let background_words = args.background.words()?;
    args.hide.check(args.hide.is_given())?;
    if args.hide.is_given() {
        hide::keep_memory()?;
    }
    warn_of_many(classes.iter().map(|c| c.words.len()).sum());
    let inputs = expand_inputs(&args.inputs);
    // One picture would only wait for others.
    let usual = args.model.may_use_gpu() && !args.gpu_masks;
    let batch = args.batch.or(usual.then_some(Options::BATCH.min(inputs.len().max(1))));
    let session = args.model.session_with(batch, args.gpu_masks)?.with_refinement(args.refine.into());
    let examples = join_examples(&mut classes, &ExampleArg::embed_all(&args.example, &session)?);
    let classes = check_classes("--tags, --example", classes)?;
    let meanings = tell_meanings(&session, &classes, &background_words);
    let job = Job {
        background: args.background.threshold(session.bundle().manifest()),
        bank: session.word_bank_with(&classes, &background_words, &examples).map_err(|e| in_list(e, args.tags_file.as_deref()))?,
        classes,
        background_words,
        meanings,
        hide: args.hide.hide(&session, None)?,
        session,
        caption: args.caption.as_deref(),
        out: &args.out,
        legend: args.legend.into(),
        keep_damaged: args.keep_damaged,
    };
    std::fs::create_dir_all(&args.out).with_context(|| format!("--out {}", args.out.display()))?;
    let outcome = job.run_all(inputs)?;
    tell_unquoted(&args.inputs);
    Ok(outcome)
}

struct Job<'a> {
    session: Session,
    classes: Vec<Class>,
    background_words: Vec<String>,
    meanings: BTreeMap<String, Meaning>,
    bank: WordBank,
    background: Background,
    hide: Option<Hide>,
    caption: Option<&'a str>,
    out: &'a Path,
    legend: Legend,
    keep_damaged: bool,
}

#[derive(Serialize)]
struct SegmentLine {
    #[serde(flatten)]
    report: SegmentReport,
    mask: String,
    overlay: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    meanings: BTreeMap<String, Meaning>,
    #[serde(flatten)]
    caption: Option<CaptionLine>,
}

#[derive(Serialize)]
struct CaptionLine {
    caption: String,
    words: Vec<WordLine>,
    union: String,
    union_share: f64,
}

#[derive(Serialize)]
struct WordLine {
    word: String,
    score: f32,
    selected: bool,
}

impl Job<'_> {
    fn run_all(&self, inputs: Vec<Result<PathBuf, ModelError>>) -> Result<Outcome> {
        let bar = if inputs.len() > 1 && std::io::stderr().is_terminal() {
            ProgressBar::new(inputs.len() as u64).with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} {wide_msg}")?)
        } else {
            ProgressBar::hidden()
        };
        let mut stems = HashSet::new();
        let (mut failed, mut shown) = (0, None);
        let total = inputs.len();
        // Two batches in memory: one is read and prepared, or drawn, while the other is encoded.
        let at_once = if self.session.batch() > 1 { 2 * self.session.batch() } else { 1 };
        let mut inputs = inputs.into_iter().map(|input| input.map(|path| (free_stem(&path, &mut stems), path)));
        self.session.with_busy_encoder(|| {
            loop {
                let some: Vec<_> = inputs.by_ref().take(at_once).collect();
                let segment = |input: Result<(String, PathBuf), ModelError>| {
                    let (stem, path) = input?;
                    bar.set_message(path.display().to_string());
                    self.run_one(&path, &stem)
                };
                let lines: Vec<Result<SegmentLine>> = match some.len() {
                    0 => return Ok(()),
                    1 => some.into_iter().map(segment).collect(),
                    _ => some.into_par_iter().map(segment).collect(),
                };
                for line in lines {
                    let printed = line.and_then(|line| {
                        bar.suspend(|| print_json(&line))?;
                        shown = Some(line.overlay);
                        Ok(())
                    });
                    match printed {
                        Err(e) if edge_seg_terminal::is_closed_pipe(&e) => return Err(e),
                        Err(e) => {
                            failed += 1;
                            bar.suspend(|| eprintln!("edge-seg: {}", super::flags::told(&e)));
                        }
                        Ok(()) => {}
                    }
                    bar.inc(1);
                }
            }
        })??;
        bar.finish_and_clear();
        if failed > 0 && total > 1 {
            eprintln!("edge-seg: {failed} of {total} inputs failed");
        }
        if let Some(overlay) = shown {
            let several = || self.out.join("*.overlay.png").display().to_string();
            eprintln!("edge-seg: to look at: {}", if total - failed > 1 { several() } else { overlay });
        }
        Ok(if failed > 0 { Outcome::SomeFailed } else { Outcome::Done })
    }

    fn run_one(&self, path: &Path, stem: &str) -> Result<SegmentLine> {
        let start = Instant::now();
        let frame = read_input(path, self.keep_damaged)?;
        let read = start.elapsed();
        match self.caption {
            None if self.hide.is_none() => {
                let found = self.session.segment(&frame, &self.bank, self.background)?;
                self.write(path, stem, ShownFrame::open(frame), &found, self.bank.names(), read)
            }
            None => {
                let encoded = self.session.encode(&frame)?;
                let found = self.session.masks(&frame, &encoded, &self.bank, self.background)?;
                self.write(path, stem, self.shown(frame, &encoded)?, &found, self.bank.names(), read)
            }
            Some(caption) => self.run_caption(caption, path, stem, frame, read),
        }
    }

    /// The picture as it may be written.
    fn shown(&self, frame: Frame, encoded: &Encoded) -> Result<ShownFrame> {
        Ok(match &self.hide {
            None => ShownFrame::open(frame),
            Some(hide) => hide.show(&self.session, frame, encoded)?,
        })
    }

    /// Selects the caption's words by pixel-tag score, then draws the selected ones alone.
    fn run_caption(&self, caption: &str, path: &Path, stem: &str, frame: Frame, read: Duration) -> Result<SegmentLine> {
        let manifest = self.session.bundle().manifest();
        let encoded = self.session.encode(&frame)?;
        let scores = score_words(WordScore::Pixel, &encoded.grid, &self.bank, None, manifest.into())?;
        let words: Vec<_> = self
            .classes
            .iter()
            .zip(&scores)
            .map(|(class, &score)| WordLine { word: class.name.clone(), score, selected: score >= manifest.tag_threshold })
            .collect();
        let selected: Vec<_> = self.classes.iter().zip(&words).filter(|(_, w)| w.selected).map(|(c, _)| c.clone()).collect();
        let found = match selected.as_slice() {
            // No word is shown: the masks are empty, which a threshold that nothing reaches says.
            [] => {
                let mut found = self.session.masks(&frame, &encoded, &self.bank, Background::None)?;
                found.labels.labels.fill(0);
                found
            }
            selected => {
                let bank = self.session.word_bank(selected, &self.background_words)?;
                self.session.masks(&frame, &encoded, &bank, self.background)?
            }
        };
        let names: Vec<_> = selected.into_iter().map(|c| c.name).collect();
        let union = LabelMap { labels: found.labels.labels.iter().map(|&l| if l > 0 { 255 } else { 0 }).collect(), ..found.labels };
        let covered = union.labels.iter().filter(|&&l| l > 0).count();
        let union_path = self.out.join(format!("{stem}.union.png"));
        replace_file(&union_path, &encode_mask(&union, 255)?)?;
        let mut line = self.write(path, stem, self.shown(frame, &encoded)?, &found, &names, read)?;
        line.caption = Some(CaptionLine {
            caption: caption.into(),
            words,
            union: union_path.display().to_string(),
            union_share: covered as f64 / union.pixels() as f64,
        });
        Ok(line)
    }

    fn write(
        &self,
        path: &Path,
        stem: &str,
        frame: ShownFrame,
        found: &Segmentation,
        names: &[String],
        read: Duration,
    ) -> Result<SegmentLine> {
        let (classes, background_share) = ClassReport::list(names, found);
        let legend = LegendEntry::list(&classes, self.legend);
        let (width, height) = frame.pixels.dimensions();
        let hidden = frame.hidden().map(HiddenReport::from);
        let mut overlay = frame.into_inner().pixels;
        draw_overlay_on(&mut overlay, &found.labels, &legend, &[], OverlayOptions::default());
        let mut overlay_png = std::io::Cursor::new(Vec::new());
        overlay.write_to(&mut overlay_png, image::ImageFormat::Png).context("overlay")?;
        let mask_path = self.out.join(format!("{stem}.mask.png"));
        let overlay_path = self.out.join(format!("{stem}.overlay.png"));
        replace_file(&mask_path, &encode_mask(&found.labels, names.len())?)?;
        replace_file(&overlay_path, overlay_png.get_ref())?;
        Ok(SegmentLine {
            report: SegmentReport {
                version: JsonVersion,
                input: path.display().to_string(),
                width,
                height,
                classes,
                background_share,
                milliseconds: Milliseconds::new(read, &found.timings),
                backend: self.session.backend(),
                kernels: self.session.kernels(),
                hidden,
            },
            mask: mask_path.display().to_string(),
            overlay: overlay_path.display().to_string(),
            meanings: self.meanings.clone(),
            caption: None,
        })
    }
}

/// The picture's name without its ending, numbered where an earlier picture of the same call has taken it.
fn free_stem(path: &Path, taken: &mut HashSet<String>) -> String {
    let stem = path.file_stem().map_or_else(|| "picture".into(), |s| s.to_string_lossy().into_owned());
    let mut free = stem.clone();
    let mut number = 1;
    while !taken.insert(free.clone()) {
        number += 1;
        free = format!("{stem}-{number}");
    }
    free
}
