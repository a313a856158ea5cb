use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use edge_seg_export::eval::captions::{
    CaptionResult, Captioned, Drawn, KINDS, Options, PictureCaptions, Settings, TagMeasures, Word, caption_measures, evaluate, mark_tagged,
    read_tagged, tag_measures,
};
use edge_seg_export::eval::log::Log;
use edge_seg_export::eval::{LeftOut, Names, caption_report, published, tagmask, unless_all};
use edge_seg_export::label::read_captions;
use edge_seg_model::{Languages, Session};
use serde_json::json;

use super::left_out::{tell_left_out, without};
use super::source::Source;
use crate::commands::progress::progress;

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
    /// Keep what was found in each picture in this file: a run that was stopped goes on there.
    #[arg(long, value_name = "FILE.jsonl")]
    record: Option<PathBuf>,
    /// Write a report with plots and pictures, in one file.
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

/// A run: what it measured, and what it needs to draw pictures again.
struct Measured {
    session: Session,
    pictures: Captioned,
    options: Options,
    results: Vec<PictureCaptions>,
    left_out: Vec<LeftOut>,
}

impl Measured {
    fn captions(&self) -> impl Iterator<Item = &CaptionResult> {
        self.results.iter().flat_map(|picture| &picture.captions)
    }

    fn draw(&self, picture: &str, caption: &CaptionResult) -> edge_seg_export::Result<Drawn> {
        self.pictures.draw(&self.session, &self.options, picture, caption)
    }
}

impl Captions {
    fn measure(&self, masks: bool) -> anyhow::Result<Measured> {
        let bundle = self.source.bundle()?;
        let (threshold, background) =
            (self.threshold.unwrap_or(bundle.manifest().tag_threshold), self.background.unwrap_or(bundle.manifest().background));
        for (name, value) in [("--threshold", threshold), ("--background", background)] {
            anyhow::ensure!((0.0..=1.0).contains(&value), "{name}: expected 0 to 1, found {value}");
        }
        let mut left_out = Vec::new();
        let (pictures, truth) = match (&self.tagmask, &self.captions) {
            (Some(folder), _) => (Captioned::Files(tagmask::read(folder)?), "CC3M-TagMask".to_string()),
            (None, Some(captions)) => {
                let found = self.source.find()?;
                let view = found.view(Names::Synonyms)?;
                left_out = found.left_out;
                (Captioned::labelled(view, found.pairs, read_captions(captions)?)?, found.view_name)
            }
            (None, None) => unreachable!("clap asks for one of them"),
        };
        let tagged = self.nouns.as_deref().map(read_tagged).transpose()?;
        let options = Options { threshold, background, masks };
        // Captions are English, whatever else a word of theirs means in another language.
        let options_of_session = self.source.device.options(self.size).with_languages(Languages::off());
        let session = Session::new(bundle, &options_of_session)?;
        let settings = Settings {
            record: 2,
            digest: session.bundle().digest().into(),
            protocol: [Some(format!("{} px", session.size_px())), self.source.device.announce()?]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("; "),
            truth,
            options: options.clone(),
            captions: pictures.captions(),
        };
        let log = self.record.as_deref().map(|path| Log::open::<PictureCaptions>(path, &settings)).transpose()?;
        let (log, mut results) = log.map_or((None, Vec::new()), |(log, done)| (Some(log), done));
        let known: HashSet<String> = results.iter().map(|r| r.picture.clone()).collect();
        let bar = progress(pictures.len());
        bar.inc(known.len() as u64);
        let done = |found: Option<&PictureCaptions>| {
            bar.inc(1);
            log.as_ref().zip(found).map_or(Ok(()), |(log, found)| log.add(found))
        };
        let unknown = |picture: &str| !known.contains(picture);
        let (measured, unread) = session.with_busy_encoder(|| evaluate(&session, &pictures, &options, unknown, done))??;
        bar.finish_and_clear();
        results.extend(measured);
        left_out.extend(unread);
        // A resumed run reports what an unbroken one does.
        results.sort_by(|a, b| a.picture.cmp(&b.picture));
        if let Some(tagged) = &tagged {
            mark_tagged(&mut results, tagged)?;
        }
        let left_out = unless_all(&results, left_out)?;
        anyhow::ensure!(
            results.iter().any(|r| !r.captions.is_empty()),
            "no caption holds more than stop words: expected sentences that name what is seen; look at the file of captions"
        );
        Ok(Measured { session, pictures, options, results, left_out })
    }
}

fn cell(value: Option<f64>) -> String {
    value.map_or("-".into(), |v| format!("{v:.1}"))
}

impl Tags {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let measured = self.captions.measure(false)?;
        let (threshold, count) = (measured.options.threshold, measured.captions().count());
        let pairs = |of: &dyn Fn(&Word) -> f32| -> Vec<(bool, f32)> {
            measured.captions().flat_map(|r| r.words.iter().map(|word| (word.shown, of(word)))).collect()
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
            let page = caption_report::tags(&measured.results, &rows, threshold, &|picture, caption| measured.draw(picture, caption))?;
            edge_seg_bundle::files::replace_file(path, page.as_bytes())?;
        }
        let left_out = measured.left_out.len();
        let mut out = edge_seg_terminal::results();
        if self.captions.json {
            for (name, measures) in rows {
                writeln!(
                    out,
                    "{}",
                    json!({ "score": name, "threshold": threshold, "captions": count, "measures": measures, "left_out": left_out })
                )?;
            }
            return Ok(tell_left_out(&measured.left_out));
        }
        writeln!(out, "{count} captions{}, words chosen from {threshold}; percent\n", without(left_out, " pictures"))?;
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
        Ok(tell_left_out(&measured.left_out))
    }
}

impl Caption {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let measured = self.captions.measure(true)?;
        let threshold = measured.options.threshold;
        let names = KINDS.iter().map(|(name, _)| *name).chain(["all words"]);
        if let Some(path) = &self.captions.html {
            let page = caption_report::captions(&measured.results, threshold, &|picture, caption| measured.draw(picture, caption))?;
            edge_seg_bundle::files::replace_file(path, page.as_bytes())?;
        }
        let mut out = edge_seg_terminal::results();
        if !self.captions.json {
            writeln!(out, "words chosen from {threshold}{}; percent\n", without(measured.left_out.len(), " pictures"))?;
            writeln!(out, "{:<16} {:>10} {:>7} {:>7} {:>9}", "chosen by", "CaptionIoU", "mFPR", "mFNR", "captions")?;
        }
        for (k, name) in names.enumerate() {
            let pixels: Vec<[u64; 3]> = measured.captions().filter_map(|r| r.pixels.map(|p| p[k])).collect();
            let Some(m) = caption_measures(&pixels) else { anyhow::bail!("no caption tells of anything that is labelled") };
            if self.captions.json {
                writeln!(out, "{}", json!({ "score": name, "threshold": threshold, "measures": m, "left_out": measured.left_out.len() }))?;
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
        Ok(tell_left_out(&measured.left_out))
    }
}
