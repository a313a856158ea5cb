use std::collections::{HashMap, HashSet};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use edge_seg_bundle::Bundle;
use edge_seg_export::eval::log::Log;
use edge_seg_export::label::cvat::cvat;
use edge_seg_export::label::folder::{self, Pictures};
use edge_seg_export::label::formats::{self, CocoMasks};
use edge_seg_export::label::part::{self, Note, Part};
use edge_seg_export::label::{self, Options, PictureLabels, Settings, read_captions, sheet, words_of};
use edge_seg_model::{Class, Session, expand_inputs, read_tags_file};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rayon::prelude::*;

use super::device::DeviceArgs;

/// Label pictures with a model, for other tools to read or to train on; or `label merge`, which joins the parts of `--part`.
///
/// For each picture the words whose pixel-tag score reaches the threshold are kept, their masks are drawn, and each is cut into connected
/// regions (touching things of one class are one region). Written to --out:
///
///   coco.json and cvat.xml ("CVAT for images 1.1"), masks by --coco-masks; voc/; yolo/; label-studio.json; contact-N.jpg
///
/// The same pictures, model and options give the same files. labels.jsonl keeps what is done: a run that was stopped goes on there.
/// Exit code 2 if a picture could not be labelled; the others are written.
///
/// On many machines, machine I of N runs the same command with --part I/N and an --out of its own. Then `label merge OUT PART...` writes
/// what one run would have written.
#[derive(Args)]
#[command(verbatim_doc_comment, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Label {
    #[command(subcommand)]
    task: Option<Task>,
    #[command(flatten)]
    pictures: LabelPictures,
}

#[derive(Subcommand)]
enum Task {
    Merge(Merge),
}

impl Label {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.task {
            Some(Task::Merge(merge)) => merge.run(),
            None => self.pictures.run(),
        }
    }
}

/// Join the parts that `label --part I/N` wrote: all N of them, in any order.
///
/// Exit code 2 if a part had pictures that could not be labelled; the others are written.
#[derive(Args)]
pub struct Merge {
    /// The folder to write.
    out: PathBuf,
    /// The folders of the parts.
    #[arg(required = true, value_name = "PART")]
    parts: Vec<PathBuf>,
    #[command(flatten)]
    output: Output,
}

impl Merge {
    fn run(self) -> anyhow::Result<ExitCode> {
        let joined = part::join(&self.parts)?;
        std::fs::create_dir_all(&self.out).with_context(|| self.out.display().to_string())?;
        folder::sweep(&self.out)?;
        ensure!(!joined.pictures.is_empty(), "no picture was labelled in any part");
        label::write_record(&self.out.join("labels.jsonl"), &joined.settings, &joined.pictures)?;
        let classes = formats::class_list(&joined.pictures, joined.note.classes.clone());
        self.output.write(&self.out, &joined.note.model, &joined.pictures, &classes)?;
        Ok(if joined.failed > 0 { ExitCode::from(2) } else { ExitCode::SUCCESS })
    }
}

/// Label pictures.
#[derive(Args)]
#[command(group = ArgGroup::new("words").required(true))]
pub struct LabelPictures {
    /// Pictures, folders of pictures, or globs; file names must differ.
    #[arg(required = true, value_name = "PICTURES")]
    inputs: Vec<String>,
    /// The folder to write.
    #[arg(short, long, value_name = "DIR", required = true)]
    out: Option<PathBuf>,
    /// Words for every picture: a file with one class a line, `name` or `name: synonym, synonym`.
    #[arg(long, group = "words", value_name = "FILE")]
    vocabulary: Option<PathBuf>,
    /// Words picture by picture: a table of captions with the columns `file` and `caption`.
    #[arg(long, group = "words", value_name = "FILE.tsv")]
    captions: Option<PathBuf>,
    /// The bundle; the built-in model if none.
    #[arg(long, value_name = "FILE.esb")]
    model: Option<PathBuf>,
    /// Label the I-th of N parts of the pictures alone, for another machine or job each.
    #[arg(long, value_name = "I/N")]
    part: Option<Part>,
    #[command(flatten)]
    output: Output,
    /// Pixel-tag score from which a word counts as present, 0 to 1; the model's if none.
    #[arg(long, value_name = "T")]
    tag_threshold: Option<f32>,
    /// Score below which a pixel belongs to no word, 0 to 1; the model's if none.
    #[arg(long, value_name = "T")]
    background: Option<f32>,
    /// Regions smaller than this share of the picture are dropped.
    #[arg(long, default_value_t = 0.001, value_name = "SHARE")]
    least_share: f64,
    /// Side of the prepared input in pixels; the model's if none.
    #[arg(long, value_name = "PX")]
    size: Option<usize>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// What is written, and how.
#[derive(Args)]
struct Output {
    /// What to write.
    #[arg(long = "format", value_enum, value_delimiter = ',', default_values = ["coco", "cvat", "voc", "yolo", "label-studio", "sheet"])]
    formats: Vec<Format>,
    /// How coco.json and cvat.xml hold masks.
    #[arg(long, value_enum, default_value = "rle")]
    coco_masks: CocoMasks,
    /// How pictures come into voc/JPEGImages and yolo/images, where loaders look for them.
    #[arg(long, value_enum, default_value = "link", value_name = "WAY")]
    pictures: Pictures,
    /// What comes before the pictures' names in label-studio.json: where its server gives them out.
    #[arg(long, default_value = "/data/local-files/?d=", value_name = "ADDRESS")]
    label_studio_prefix: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Coco,
    Cvat,
    Voc,
    Yolo,
    LabelStudio,
    /// Contact sheets, as JPEG.
    Sheet,
}

impl LabelPictures {
    fn run(self) -> anyhow::Result<ExitCode> {
        let out = self.out.clone().context("--out: expected a folder to write, found none")?;
        let bundle = match &self.model {
            Some(path) => Bundle::open(path)?,
            None => Bundle::built_in()?,
        };
        let share = |name: &str, value: f32| {
            if (0.0..=1.0).contains(&value) { Ok(value) } else { anyhow::bail!("{name}: expected 0 to 1, found {value}") }
        };
        let options = Options {
            tag_threshold: share("--tag-threshold", self.tag_threshold.unwrap_or(bundle.manifest().tag_threshold))?,
            background: share("--background", self.background.unwrap_or(bundle.manifest().background))?,
            least_share: f64::from(share("--least-share", self.least_share as f32)?),
        };
        let vocabulary = self.vocabulary.as_deref().map(read_tags_file).transpose()?;
        let captions = self.captions.as_deref().map(read_captions).transpose()?;
        let session = Session::new(bundle, &self.device.options(self.size))?;
        let device = self.device.announce()?;
        let settings = Settings {
            record: 1,
            digest: session.bundle().digest().into(),
            size_px: session.size_px(),
            options,
            device,
            words: match (&vocabulary, &captions) {
                (Some(classes), _) => classes.iter().map(|c| c.words.join(", ")).collect::<Vec<_>>().join("; "),
                _ => format!("{captions:?}"),
            },
        };

        let (mut paths, mut failed) = (Vec::new(), false);
        for input in expand_inputs(&self.inputs) {
            match input {
                Ok(path) => paths.push(path),
                Err(e) => {
                    eprintln!("edge-seg-export: {e}");
                    failed = true;
                }
            }
        }
        let mut stems: HashMap<_, &Path> = HashMap::new();
        for path in &paths {
            if let Some(before) = stems.insert(path.file_stem(), path) {
                anyhow::bail!(
                    "{} and {}: expected file names that differ, since outputs are named by them",
                    before.display(),
                    path.display()
                );
            }
        }
        std::fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
        folder::sweep(&out)?;
        let (list, paths) = (Note::digest(&paths), self.part.map_or(paths.as_slice(), |part| part.of_list(&paths)));
        let note = out.join(part::NOTE);
        match std::fs::remove_file(&note) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).context(note.display().to_string()),
            _ => {}
        }
        let done = Self::label_all(&session, &out, &settings, paths, |path| match (&vocabulary, &captions) {
            (Some(classes), _) => classes.clone(),
            (_, Some(captions)) => {
                let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                captions.get(&name).map(|c| words_of(c)).unwrap_or_default()
            }
            _ => unreachable!("clap asks for one of them"),
        })?;
        failed |= done.len() < paths.len();
        ensure!(!done.is_empty() || self.part.is_some(), "no picture could be labelled");
        let given: Option<Vec<String>> = vocabulary.map(|v| v.into_iter().map(|c| c.name).collect());
        let (classes, model) = (formats::class_list(&done, given.clone()), session.bundle().manifest().name.clone());
        self.output.write(&out, &model, &done, &classes)?;
        if let Some(part) = self.part {
            Note { note: 1, part, list, failed: paths.len() - done.len(), model, classes: given }.write(&out)?;
        }
        Ok(if failed { ExitCode::from(2) } else { ExitCode::SUCCESS })
    }

    /// Labels what the record does not hold yet; results are in the order of `paths`.
    fn label_all(
        session: &Session,
        out: &Path,
        settings: &Settings,
        paths: &[PathBuf],
        words: impl Fn(&Path) -> Vec<Class> + Sync,
    ) -> anyhow::Result<Vec<PictureLabels>> {
        let record = out.join("labels.jsonl");
        let (log, done) = Log::open::<PictureLabels>(&record, settings)?;
        let known: HashMap<String, PictureLabels> = done.into_iter().map(|picture| (picture.file.clone(), picture)).collect();

        let target = if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} pictures, {eta} left").expect("a valid template");
        let bar = ProgressBar::with_draw_target(Some(paths.len() as u64), target).with_style(style);
        let one = |path: &PathBuf| -> anyhow::Result<PictureLabels> {
            if let Some(picture) = known.get(&path.display().to_string()) {
                return Ok(picture.clone());
            }
            let classes = words(path);
            ensure!(!classes.is_empty(), "{}: no caption with words in it", path.display());
            let picture = label::label(session, path, &classes, &settings.options)?;
            log.add(&picture)?;
            Ok(picture)
        };
        let labelled = |path| {
            let result = one(path);
            bar.inc(1);
            result.map_err(|e| eprintln!("edge-seg-export: {}", edge_seg_terminal::told(&e))).ok()
        };
        let found: Vec<Option<PictureLabels>> = session.with_busy_encoder(|| paths.par_iter().map(labelled).collect())?;
        bar.finish_and_clear();
        let found: Vec<PictureLabels> = found.into_iter().flatten().collect();
        // Pictures are added as they are done; those of an earlier run of more pictures come last.
        let now: HashSet<String> = paths.iter().map(|path| path.display().to_string()).collect();
        let mut rest: Vec<PictureLabels> = known.into_values().filter(|old| !now.contains(&old.file)).collect();
        rest.sort_by(|a, b| a.file.cmp(&b.file));
        label::write_record(&record, settings, &[found.as_slice(), &rest].concat())?;
        Ok(found)
    }
}

impl Output {
    fn write(&self, out: &Path, model: &str, pictures: &[PictureLabels], classes: &[String]) -> anyhow::Result<()> {
        let json = |name: &str, value: serde_json::Value| -> anyhow::Result<()> {
            Ok(edge_seg_bundle::files::replace_file(&out.join(name), (serde_json::to_string(&value)? + "\n").as_bytes())?)
        };
        let mut missing = 0;
        for format in &self.formats {
            match format {
                Format::Coco => json("coco.json", formats::coco(pictures, classes, self.coco_masks)?)?,
                Format::Cvat => {
                    let xml = cvat(pictures, classes, self.coco_masks)?;
                    edge_seg_bundle::files::replace_file(&out.join("cvat.xml"), xml.as_bytes())?;
                }
                Format::Voc => {
                    formats::voc(&out.join("voc"), pictures, classes)?;
                    missing += folder::put_pictures(&out.join("voc/JPEGImages"), pictures, self.pictures)?;
                }
                Format::Yolo => {
                    formats::yolo(&out.join("yolo"), pictures, classes)?;
                    missing += folder::put_pictures(&out.join("yolo/images"), pictures, self.pictures)?;
                }
                Format::LabelStudio => json("label-studio.json", formats::label_studio(pictures, model, &self.label_studio_prefix)?)?,
                Format::Sheet => drop(sheet::write(out, pictures, classes)?),
            }
        }
        let regions: usize = pictures.iter().map(|p| p.regions.len()).sum();
        eprintln!("{} pictures, {regions} regions, {} classes in {}", pictures.len(), classes.len(), out.display());
        if missing > 0 || self.pictures == Pictures::None {
            eprintln!("put the pictures into voc/JPEGImages and yolo/images, where loaders look for them");
        }
        Ok(())
    }
}
