use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgGroup, Args, Subcommand};
use edge_seg_bundle::Bundle;
use edge_seg_export::label::folder::Pictures;
use edge_seg_export::label::formats::CocoMasks;
use edge_seg_export::label::output::{self, Format};
use edge_seg_export::label::part::Part;
use edge_seg_export::label::run::{self, Job, Labelled, Wanted};
use edge_seg_export::label::{Options, read_captions};
use edge_seg_model::{Session, expand_inputs, read_classes_file};

use super::device::DeviceArgs;
use super::progress::progress;

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
        let merged = run::merge(&self.out, &self.parts, &self.output.output())?;
        self.output.tell(&self.out, &merged);
        Ok(if merged.failed > 0 { ExitCode::from(2) } else { ExitCode::SUCCESS })
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

impl LabelPictures {
    fn run(self) -> anyhow::Result<ExitCode> {
        let out = self.out.clone().context("--out: expected a folder to write, found none")?;
        let bundle = match &self.model {
            Some(path) => Bundle::open(path)?,
            None => Bundle::built_in()?,
        };
        let options = Options {
            tag_threshold: self.tag_threshold.unwrap_or(bundle.manifest().tag_threshold),
            background: self.background.unwrap_or(bundle.manifest().background),
            least_share: self.least_share,
        };
        options.check()?;
        let wanted = match (&self.vocabulary, &self.captions) {
            (Some(file), _) => Wanted::Same(read_classes_file(file)?),
            (_, Some(file)) => Wanted::Captions(read_captions(file)?),
            _ => unreachable!("clap asks for one of them"),
        };
        let session = Session::new(bundle, &self.device.options(self.size))?;
        let device = self.device.announce()?;
        let (mut pictures, mut failed) = (Vec::new(), false);
        for input in expand_inputs(&self.inputs) {
            match input {
                Ok(path) => pictures.push(path),
                Err(e) => {
                    eprintln!("edge-seg-export: {}", edge_seg_terminal::causes(&e));
                    failed = true;
                }
            }
        }
        let mine = self.part.map_or(pictures.len(), |part| part.of_list(&pictures).len());
        let (output, stop) = (self.output.output(), &|| false);
        let job = Job { session: &session, device, options, wanted, pictures, part: self.part, out, output, stop };
        let bar = progress(mine);
        let labelled = job.run(|_, result| {
            bar.inc(1);
            if let Err(error) = result {
                bar.suspend(|| eprintln!("edge-seg-export: {}", edge_seg_terminal::causes(error)));
            }
            Ok(())
        })?;
        bar.finish_and_clear();
        self.output.tell(&job.out, &labelled);
        Ok(if failed || labelled.failed > 0 { ExitCode::from(2) } else { ExitCode::SUCCESS })
    }
}

impl Output {
    fn output(&self) -> output::Output {
        output::Output {
            formats: self.formats.clone(),
            coco_masks: self.coco_masks,
            pictures: self.pictures,
            label_studio_prefix: self.label_studio_prefix.clone(),
        }
    }

    fn tell(&self, out: &Path, labelled: &Labelled) {
        let regions: usize = labelled.pictures.iter().map(|p| p.regions.len()).sum();
        let (pictures, classes) = (labelled.pictures.len(), labelled.classes.len());
        eprintln!("{pictures} pictures, {regions} regions, {classes} classes in {}", out.display());
        if labelled.failed > 0 {
            eprintln!("left out, since they could not be labelled: {}", labelled.failed);
        }
        if labelled.missing > 0 || self.pictures == Pictures::None {
            eprintln!("put the pictures into voc/JPEGImages and yolo/images, where loaders look for them");
        }
    }
}
