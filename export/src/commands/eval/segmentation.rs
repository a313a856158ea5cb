use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use edge_seg::{Background, Bundle};
use edge_seg_export::eval::ensemble::{Ensemble, Looks};
use edge_seg_export::eval::log::{Log, Settings};
use edge_seg_export::eval::metric::{Confusion, Measures};
use edge_seg_export::eval::segmentation::{PictureCounts, Protocol, evaluate};
use edge_seg_export::eval::{ClassTable, Names, View, pictures};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// Measure a bundle on labelled pictures: mIoU, pixel accuracy, mFPR, mFNR, per class.
///
/// Every STEM.png in --labels is paired with the picture of that stem in --images. A label picture holds one number per pixel; the class
/// table says what it means. A table is tab-separated with a header line (or `id<TAB>name` lines without one):
///
///   --values COLUMN   the column whose numbers stand in the label pictures (default: the first, such as coco_id)
///   --view COLUMN     the column that numbers the classes to tell apart
///
/// A view with several rows of number 0 has a background (voc21, object81): label 0, found by --background. In any other view each row
/// is a class, and by default every pixel gets one. Ignored pixels: value 255, value 0 where no row has it, rows whose name holds
/// `ignore` or `void`, and --ignore. Any other value without a row is an error.
///
/// Measures, over all pixels of all pictures: IoU = TP / (TP + FP + FN) per class; mIoU is the mean over the classes that the labels hold,
/// `mIoU any` counts classes that are only predicted as 0; mFPR and mFNR are the means of FP and FN over TP + FP + FN.
///
/// --scales, --flip and --windows average several looks at each picture (their patch embeddings, on the plain look's grid).
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Segmentation {
    /// The bundle; the built-in model if none.
    #[arg(long, value_name = "FILE.esb")]
    model: Option<PathBuf>,
    /// Folder of pictures.
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Folder of label pictures, STEM.png.
    #[arg(long, value_name = "DIR")]
    labels: PathBuf,
    /// The class table.
    #[arg(long, value_name = "FILE")]
    classes: PathBuf,
    /// Column that numbers the classes to tell apart.
    #[arg(long, value_name = "COLUMN")]
    view: String,
    /// Column whose numbers stand in the label pictures; the first if none.
    #[arg(long, value_name = "COLUMN")]
    values: Option<String>,
    /// Further values of the label pictures that count for nothing.
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    ignore: Vec<u16>,
    /// Score below which a pixel belongs to no class, 0 to 1, or `none`; several, with commas, measure each. Default: the model's in a view
    /// with a background, else none.
    #[arg(long, value_name = "T", value_delimiter = ',')]
    background: Vec<String>,
    /// Words for what is to be left out, with commas.
    #[arg(long, value_name = "WORD,WORD", value_delimiter = ',')]
    background_words: Vec<String>,
    /// Offer only the classes that a picture's own labels hold.
    #[arg(long)]
    present_only: bool,
    /// Offer only the classes whose pixel-tag score reaches this, 0 to 1; at least the best one.
    #[arg(long, value_name = "T")]
    tag_threshold: Option<f32>,
    /// Words that stand for a class.
    #[arg(long, value_enum, default_value = "plain")]
    names: Names,
    /// Side of the prepared input in pixels; the model's if none.
    #[arg(long, value_name = "PX")]
    size: Option<usize>,
    /// Factors on that side, with commas; 1 must be among them.
    #[arg(long, value_name = "F,F", value_delimiter = ',')]
    scales: Vec<f32>,
    /// Look at each picture mirrored as well.
    #[arg(long)]
    flip: bool,
    /// Look at squares of the short side, half a square apart, instead of the whole picture.
    #[arg(long)]
    windows: bool,
    /// Keep what was found in each picture in this file: a run that was stopped goes on there, and `eval compare` reads it.
    #[arg(long, value_name = "FILE.jsonl")]
    record: Option<PathBuf>,
    /// Measure only the pictures whose stems (or file names) stand in this file, one a line.
    #[arg(long, value_name = "FILE")]
    only: Option<PathBuf>,
    /// Pictures at a time; as many as the processor has threads if none.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Put the table of true by predicted labels into the JSON, background first.
    #[arg(long, requires = "json")]
    confusion: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    variant: &'a str,
    digest: &'a str,
    pictures: usize,
    view: &'a str,
    names: &'static str,
    present_only: bool,
    protocol: &'a str,
    background: Option<f32>,
    size_px: usize,
    backend: &'static str,
    encode_ms_median: f64,
    #[serde(flatten)]
    measures: &'a Measures,
    labels: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confusion: Option<Vec<&'a [u64]>>,
}

impl Segmentation {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let bundle = match &self.model {
            Some(path) => Bundle::open(path)?,
            None => Bundle::built_in()?,
        };
        let view = ClassTable::read(&self.classes)?.view(&self.view, self.values.as_deref(), self.names, &self.ignore)?;
        let backgrounds = self.backgrounds(&view, bundle.manifest().background)?;
        let only = self.only.as_deref().map(read_stems).transpose()?;
        let pairs = pictures::pairs(&self.images, &self.labels, only.as_ref())?;
        let looks = Looks { size_px: self.size, scales: self.scales.clone(), flip: self.flip, windows: self.windows };
        let looks = Ensemble::new(&bundle, &looks)?;
        let protocol = Protocol {
            backgrounds,
            background_words: self.background_words.clone(),
            present_only: self.present_only,
            tag_threshold: self.tag_threshold,
        };
        let settings = self.settings(&bundle, &view, &protocol, looks.session().size_px());
        let counts = self.measure(&looks, &view, &protocol, &pairs, &settings)?;

        let manifest = bundle.manifest();
        let mut out = std::io::stdout().lock();
        let tables: Vec<Confusion> = (0..protocol.backgrounds.len())
            .map(|run| {
                let mut table = Confusion::new(view.classes.len());
                counts.iter().for_each(|c| table.merge(&c.confusion(run, view.classes.len())));
                table
            })
            .collect();
        for (table, background) in tables.iter().zip(&settings.backgrounds) {
            let measures = table.measures(view.background);
            let report = Report {
                model: &manifest.name,
                variant: &manifest.variant,
                digest: bundle.digest(),
                pictures: pairs.len(),
                view: &self.view,
                names: self.names_word(),
                present_only: self.present_only,
                protocol: &settings.protocol,
                background: *background,
                size_px: looks.session().size_px(),
                backend: looks.session().backend(),
                encode_ms_median: median_ms(&counts),
                measures: &measures,
                labels: std::iter::once("background").chain(view.classes.iter().map(|c| c.name.as_str())).collect(),
                confusion: self.confusion.then(|| table.rows().collect()),
            };
            if self.json {
                writeln!(out, "{}", serde_json::to_string(&report)?)?;
            } else {
                print_table(&mut out, &report, &view)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn names_word(&self) -> &'static str {
        if self.names == Names::Plain { "plain" } else { "synonyms" }
    }

    fn backgrounds(&self, view: &View, default: f32) -> anyhow::Result<Vec<Background>> {
        if self.background.is_empty() {
            return Ok(vec![if view.background { Background::Threshold(default) } else { Background::None }]);
        }
        let threshold = |t: &String| -> anyhow::Result<Background> {
            if t == "none" {
                return Ok(Background::None);
            }
            let value = t.parse().ok().filter(|v| (0.0..=1.0).contains(v));
            Ok(Background::Threshold(value.with_context(|| format!("--background: expected 0 to 1, or none, found {t:?}"))?))
        };
        self.background.iter().map(threshold).collect()
    }

    fn settings(&self, bundle: &Bundle, view: &View, protocol: &Protocol, size_px: usize) -> Settings {
        let manifest = bundle.manifest();
        let mut words = vec![format!("{} names", self.names_word()), format!("{size_px} px")];
        if !self.scales.is_empty() {
            words.push(format!("scales {:?}", self.scales));
        }
        for (set, word) in [(self.flip, "flip"), (self.windows, "windows"), (self.present_only, "present only")] {
            words.extend(set.then(|| word.to_string()));
        }
        words.extend(self.tag_threshold.map(|t| format!("tags from {t}")));
        if !self.background_words.is_empty() {
            words.push(format!("background words {}", self.background_words.join(", ")));
        }
        Settings {
            record: 1,
            model: format!("{} ({})", manifest.name, manifest.variant),
            digest: bundle.digest().into(),
            view: self.view.clone(),
            background_class: view.background,
            classes: view.classes.iter().map(|c| c.name.clone()).collect(),
            backgrounds: protocol
                .backgrounds
                .iter()
                .map(|b| match b {
                    Background::Threshold(t) => Some(*t),
                    Background::None => None,
                })
                .collect(),
            protocol: words.join("; "),
        }
    }

    fn measure(
        &self,
        looks: &Ensemble,
        view: &View,
        protocol: &Protocol,
        pairs: &[pictures::Pair],
        settings: &Settings,
    ) -> anyhow::Result<Vec<PictureCounts>> {
        let log = self.record.as_deref().map(|path| Log::open(path, settings)).transpose()?;
        let (log, mut counts) = log.map_or((None, Vec::new()), |(log, done)| (Some(log), done));
        let wanted: HashSet<&str> = pairs.iter().map(|p| p.stem.as_str()).collect();
        counts.retain(|c| wanted.contains(c.picture.as_str()));
        let known: HashSet<String> = counts.iter().map(|c| c.picture.clone()).collect();
        let left: Vec<_> = pairs.iter().filter(|p| !known.contains(&p.stem)).cloned().collect();
        let bar = progress(pairs.len());
        bar.inc(known.len() as u64);
        // Whole pictures side by side use the cores better than one picture's matrix products do.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads.unwrap_or(0)).build()?;
        let found = pool.install(|| {
            evaluate(looks, view, protocol, &left, |picture| {
                bar.inc(1);
                log.as_ref().map_or(Ok(()), |log| log.add(picture))
            })
        })?;
        bar.finish_and_clear();
        counts.extend(found);
        Ok(counts)
    }
}

fn read_stems(path: &Path) -> anyhow::Result<HashSet<String>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let stem = |line: &str| Path::new(line.trim()).file_stem().map(|s| s.to_string_lossy().into_owned());
    Ok(text.lines().filter(|l| !l.trim().is_empty()).filter_map(stem).collect())
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

fn print_table(out: &mut impl Write, report: &Report, view: &View) -> std::io::Result<()> {
    let percent = |x: Option<f64>| x.map_or("-".into(), |x| format!("{:.2}", 100.0 * x));
    let m = report.measures;
    writeln!(out, "model      {} ({}), {} px", report.model, report.variant, report.size_px)?;
    writeln!(out, "pictures   {}, {} labelled pixels", report.pictures, m.labelled_px)?;
    let background = report.background.map_or("none".into(), |t| t.to_string());
    let offered = if report.present_only { "those present" } else { "all" };
    writeln!(out, "view       {}, {} names, classes offered: {offered}, background {background}", report.view, report.names)?;
    writeln!(out, "mIoU       {} % over {} classes; any {} %", percent(m.miou), m.classes_present, percent(m.miou_any))?;
    writeln!(out, "pixels     {} % right", percent(m.pixel_accuracy))?;
    writeln!(out, "mFPR mFNR  {} %, {} %", percent(m.mfpr), percent(m.mfnr))?;
    writeln!(out, "encoder    {:.1} ms a picture (median)\n", report.encode_ms_median)?;
    writeln!(out, "{:<28} {:>7} {:>7} {:>7} {:>12} {:>12}", "class", "IoU", "FPR", "FNR", "true px", "found px")?;
    for class in m.per_class.iter().filter(|c| c.iou.is_some()) {
        let name = if class.label == 0 { "background" } else { &view.classes[class.label - 1].name };
        let shares = [class.iou, class.fpr, class.fnr].map(percent);
        writeln!(out, "{name:<28} {:>7} {:>7} {:>7} {:>12} {:>12}", shares[0], shares[1], shares[2], class.truth_px, class.predicted_px)?;
    }
    Ok(())
}
