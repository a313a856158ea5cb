use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use edge_seg_board::Variant;
use edge_seg_board::boards::Target;
use edge_seg_bundle::files::check_bundle_output;
use edge_seg_export::bundle::{self, Release};
use edge_seg_export::calibrate::{Calibrated, Fidelity, LayerLoss, Sample, calibrate};
use edge_seg_export::checkpoint::Model;
use edge_seg_export::onnx::Storage;
use edge_seg_export::pair;
use edge_seg_export::quantize::layer_errors;
use serde::Serialize;

use super::import::FitArg;

/// Write a model folder, or a pair of ONNX files, as one bundle: both encoders as ONNX, tokenizer, positions, manifest.
///
/// With --image-onnx and --text-onnx the encoders are files that another exporter wrote: PyTorch's, optimum's, with weights beside them or
/// in them, both in one file or each in its own. What the files do not say is found from the graph and by running it, and told; where it
/// cannot be found the error says which option names it.
#[derive(Args)]
pub struct Bundle {
    /// The model folder: config.json, model.safetensors, tokenizer.json.
    #[arg(required_unless_present = "image_onnx", conflicts_with = "image_onnx")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    pair: Pair,
    /// The bundle to write.
    #[arg(short, long, value_name = "FILE.esb")]
    out: PathBuf,
    /// How matrices are stored, and with int8-dynamic how products are computed; else all is computed in f32.
    #[arg(long, value_enum, default_value = "int8")]
    weights: Storage,
    /// The same of the text encoder, where it is to be another: words are encoded once, frames all the time.
    #[arg(long, value_enum, value_name = "WEIGHTS")]
    text_weights: Option<Storage>,
    /// Release number: a board may refuse a lower one than it runs.
    #[arg(long, default_value_t = 1)]
    serial: u64,
    /// A board that the bundle is for; may be given several times. Without it any board will do.
    #[arg(long = "board", value_name = "NAME")]
    boards: Vec<Target>,
}

/// Options of a pair of ONNX files.
#[derive(Args)]
#[group(id = "pair")]
struct Pair {
    /// The image encoder as ONNX, in place of a model folder.
    #[arg(long, value_name = "FILE", requires_all = ["text_onnx", "tokenizer", "preprocess"], help_heading = "ONNX files")]
    image_onnx: Option<PathBuf>,
    /// The text encoder as ONNX; the same file where one holds both.
    #[arg(long, value_name = "FILE", requires = "image_onnx", help_heading = "ONNX files")]
    text_onnx: Option<PathBuf>,
    /// tokenizer.json, or CLIP's vocabulary file bpe_simple_vocab_16e6.txt.
    #[arg(long, value_name = "FILE", requires = "image_onnx", help_heading = "ONNX files")]
    tokenizer: Option<PathBuf>,
    /// A preprocessor_config.json, processor_config.json or open_clip_config.json, or `clip` for CLIP's own mean and deviation.
    #[arg(long, value_name = "FILE", requires = "image_onnx", help_heading = "ONNX files")]
    preprocess: Option<PathBuf>,
    /// The model's name; that of the image encoder's file if none.
    #[arg(long, requires = "image_onnx", help_heading = "ONNX files")]
    name: Option<String>,
    /// The output, or any value of the graph, that holds the patches' embeddings.
    #[arg(long, value_name = "NAME", requires = "image_onnx", help_heading = "ONNX files")]
    patches: Option<String>,
    /// The output that holds the whole picture's embedding.
    #[arg(long, value_name = "NAME", requires = "image_onnx", help_heading = "ONNX files")]
    global: Option<String>,
    /// The output that holds the text's embedding.
    #[arg(long, value_name = "NAME", requires = "image_onnx", help_heading = "ONNX files")]
    text_output: Option<String>,
    /// How many tokens before the patches are none: class and register tokens.
    #[arg(long, value_name = "N", requires = "image_onnx", help_heading = "ONNX files")]
    leading_tokens: Option<usize>,
    /// Longest sentence in tokens, where the text encoder takes any length.
    #[arg(long, value_name = "N", requires = "image_onnx", value_parser = clap::value_parser!(u16).range(3..=4096), help_heading = "ONNX files")]
    context: Option<u16>,
    /// Token that fills up sentences for a text encoder of a fixed length; the tokenizer's own if none.
    #[arg(long, value_name = "ID", requires = "image_onnx", help_heading = "ONNX files")]
    pad_token: Option<i64>,
    /// Factor on cosines; 100, where CLIP's training ends, if none.
    #[arg(long, value_name = "X", requires = "image_onnx", help_heading = "ONNX files")]
    logit_scale: Option<f32>,
    /// Added to scaled cosines, for models that are trained with a sigmoid (SigLIP).
    #[arg(long, value_name = "X", requires = "image_onnx", allow_hyphen_values = true, help_heading = "ONNX files")]
    logit_bias: Option<f32>,
    /// A sentence that a word is put into, at {}; may be given several times.
    #[arg(long = "template", value_name = "TEXT", requires = "image_onnx", help_heading = "ONNX files")]
    templates: Vec<String>,
    /// Side of the input in pixels, where the image encoder takes several.
    #[arg(long, value_name = "PX", requires = "image_onnx", help_heading = "ONNX files")]
    input_px: Option<usize>,
    /// How a picture is brought to the input, in place of what the preprocessing says.
    #[arg(long, value_enum, requires = "image_onnx", help_heading = "ONNX files")]
    fit: Option<FitArg>,
    /// The licence of the weights.
    #[arg(
        long,
        default_value = "not stated; see the source of the weights",
        value_name = "TEXT",
        requires = "image_onnx",
        help_heading = "ONNX files"
    )]
    licence: String,
}

impl Pair {
    /// What the options say, if they are of a pair.
    fn options(self) -> Option<pair::Options> {
        let image = self.image_onnx?;
        let stem = image.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Some(pair::Options {
            name: self.name.or(stem).unwrap_or_else(|| "onnx".into()),
            image,
            text: self.text_onnx?,
            tokenizer: self.tokenizer?,
            preprocess: self.preprocess?,
            patches: self.patches,
            global: self.global,
            text_output: self.text_output,
            leading: self.leading_tokens,
            context: self.context.map(usize::from),
            pad_token: self.pad_token,
            logit_scale: self.logit_scale,
            logit_bias: self.logit_bias,
            templates: self.templates,
            input_px: self.input_px,
            fit: self.fit.map(Into::into),
            licence: self.licence,
        })
    }
}

impl Bundle {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        check_bundle_output(&self.out, None)?;
        let text = self.text_weights.unwrap_or(self.weights);
        let Some(folder) = self.folder else {
            let release = Release { serial: self.serial, boards: self.boards.iter().map(|board| board.name.into()).collect() };
            let options = self.pair.options().context("expected a model folder, or --image-onnx and --text-onnx")?;
            return bundle_pair(&pair::read(&options)?, &self.out, [self.weights, text], &release);
        };
        let model = read(&folder)?;
        let release = Release { serial: self.serial, boards: self.boards.iter().map(|board| board.name.into()).collect() };
        bundle::write_towers(&self.out, &model, &self.weights.into(), &text.into(), &release)?;
        let bytes = std::fs::metadata(&self.out).map(|m| m.len()).with_context(|| self.out.display().to_string())?;
        let of =
            |storage: Storage, tower: &'static str| layer_errors(&model, storage).into_iter().filter(move |l| l.name.starts_with(tower));
        let worst = of(self.weights, "image.").chain(of(text, "text.")).max_by(|a, b| a.relative.total_cmp(&b.relative));
        eprintln!("{}: {:.1} MB, {}", self.out.display(), bytes as f64 / 1e6, self.weights.variant());
        if let Some(worst) = worst {
            eprintln!("largest relative error of a weight: {:.5} ({})", worst.relative, worst.name);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn bundle_pair(pair: &pair::Pair, out: &Path, [image, text]: [Storage; 2], release: &Release) -> anyhow::Result<ExitCode> {
    pair.write(out, image, text, release)?;
    let bytes = std::fs::metadata(out).map(|m| m.len()).with_context(|| out.display().to_string())?;
    pair.notes().iter().for_each(|note| eprintln!("{note}"));
    let towers = ["image", "text"].into_iter().zip(pair.products(image, text)?);
    for (tower, products) in towers {
        let share = 100.0 * products.own_multiplications as f64 / products.all_multiplications.max(1) as f64;
        let turned = match products.turned {
            0 => String::new(),
            turned => format!("; {turned} attentions turn rotary positions in them"),
        };
        eprintln!(
            "{tower} encoder: {} of {} products run in the runtime's own kernels, {share:.1} % of the multiplications{turned}",
            products.own, products.all
        );
    }
    eprintln!("{}: {:.1} MB, {}", out.display(), bytes as f64 / 1e6, image.variant());
    Ok(ExitCode::SUCCESS)
}

/// Report what a storage costs each matrix: bytes, relative error, largest error. With --boards: make the bundles that boards run best.
///
/// With --boards each layer's loss is measured on the pictures and words: the mean and least cosine of the tower's own answer, patch by
/// patch or word by word, with this layer alone in integers. Where all layers together lose more than --least-cosine allows, the worst
/// stay in floats. Words are encoded once, so that their encoder stores integers and computes in floats. A board's bundle is OUT/NAME-BOARD.esb; boards that run the same variant share the measurement.
#[derive(Args)]
pub struct Quantize {
    /// The model folder.
    folder: PathBuf,
    /// How matrices are stored.
    #[arg(long, value_enum, default_value = "int8", conflicts_with = "boards")]
    weights: Storage,
    /// Boards to make bundles for, with commas: pi4, pi5, jetson, x86, which stand for all boards that run the same best, or one board of
    /// the table, such as pi3 or jetson-orin.
    #[arg(long, value_name = "BOARD,BOARD", value_delimiter = ',', requires_all = ["out", "pictures"])]
    boards: Vec<Target>,
    /// Folder for the bundles; made if it is not there.
    #[arg(short, long, value_name = "DIR", requires = "boards")]
    out: Option<PathBuf>,
    /// Pictures to measure on: a picture, a folder or a glob; spread evenly over --count.
    #[arg(long, value_name = "PICTURES", requires = "boards")]
    pictures: Option<String>,
    /// How many of the pictures are used.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Words to measure on, separated by commas.
    #[arg(long, value_name = "WORDS", default_value = WORDS, hide_default_value = true)]
    words: String,
    /// Mean cosine that each tower must keep.
    #[arg(long, value_name = "C", default_value_t = 0.999)]
    least_cosine: f64,
    /// Side of the prepared input to measure at; the model's if none.
    #[arg(long, value_name = "PX")]
    size: Option<usize>,
    /// Release number of the bundles.
    #[arg(long, default_value_t = 1)]
    serial: u64,
    /// One JSON object per line instead of a table.
    #[arg(long)]
    json: bool,
}

/// Things, places and stuff, short and long.
const WORDS: &str = "person, man, woman, child, dog, cat, horse, bird, car, bus, truck, bicycle, motorcycle, train, boat, airplane, road, \
    sidewalk, building, house, bridge, tree, grass, sky, cloud, water, sea, sand, snow, mountain, wall, floor, ceiling, window, door, table, \
    chair, sofa, bed, cup, bottle, plate, book, laptop, traffic light, stop sign, fire hydrant, wine glass, wooden kitchen table, steering wheel";

/// A line of the report with --boards.
#[derive(Serialize)]
struct BoardLine<'a> {
    board: &'static str,
    variant: &'static str,
    bundle: String,
    bytes: u64,
    image: Fidelity,
    text: Fidelity,
    floats: &'a BTreeSet<String>,
}

impl Quantize {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let model = read(&self.folder)?;
        if let (Some(out), Some(pictures)) = (&self.out, &self.pictures) {
            return self.make(&model, out, pictures);
        }
        let mut out = edge_seg_terminal::results();
        if !self.json {
            writeln!(out, "{:<44} {:>16} {:>12} {:>10} {:>10}", "weight", "shape", "bytes", "relative", "largest")?;
        }
        for layer in layer_errors(&model, self.weights) {
            if self.json {
                writeln!(out, "{}", serde_json::to_string(&layer)?)?;
            } else {
                let shape = format!("{:?}", layer.shape);
                writeln!(out, "{:<44} {shape:>16} {:>12} {:>10.6} {:>10.6}", layer.name, layer.bytes, layer.relative, layer.largest)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn make(&self, model: &Model, folder: &Path, pictures: &str) -> anyhow::Result<ExitCode> {
        let paths = edge_seg_model::expand_inputs(&[pictures.to_owned()]).into_iter().collect::<edge_seg_model::Result<Vec<_>>>()?;
        let count = (self.count as usize).min(paths.len());
        let frames = (0..count)
            .map(|i| edge_seg_model::read_picture(&paths[i * paths.len() / count]))
            .collect::<edge_seg_model::Result<Vec<_>>>()?;
        let sample = Sample {
            frames,
            words: edge_seg_model::parse_classes("--words", &self.words)?,
            size_px: self.size,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        };
        let path_of = |board: &Target| folder.join(format!("{}-{}.esb", model.config.name, board.name));
        self.boards.iter().try_for_each(|board| check_bundle_output(&path_of(board), None))?;
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let mut out = edge_seg_terminal::results();
        let mut measured: Vec<Calibrated> = Vec::new();
        let mut enough = true;
        for board in &self.boards {
            let storage = storage(board.variant)?;
            if !measured.iter().any(|m| m.layers.storage == storage) {
                let found = calibrate(model, storage, &sample, self.least_cosine, |loss| {
                    eprintln!("{:<44} {:.6}", loss.layer, loss.fidelity.mean_cosine);
                })?;
                self.report_layers(&mut out, &found.losses)?;
                measured.push(found);
            }
            let Some(found) = measured.iter().find(|m| m.layers.storage == storage) else { continue };
            enough &= [found.image, found.text].iter().all(|tower| tower.mean_cosine >= self.least_cosine);
            let path = path_of(board);
            let release = Release { serial: self.serial, boards: vec![board.name.into()] };
            bundle::write_towers(&path, model, &found.layers, &found.words, &release)?;
            let line = BoardLine {
                board: board.name,
                variant: storage.variant(),
                bytes: std::fs::metadata(&path).with_context(|| path.display().to_string())?.len(),
                bundle: path.display().to_string(),
                image: found.image,
                text: found.text,
                floats: &found.layers.floats,
            };
            if self.json {
                writeln!(out, "{}", serde_json::to_string(&line)?)?;
            } else {
                let (image, text) = (line.image, line.text);
                writeln!(
                    out,
                    "{}: {}, {:.1} MB, {} weights in floats",
                    line.bundle,
                    line.variant,
                    line.bytes as f64 / 1e6,
                    line.floats.len()
                )?;
                writeln!(out, "  patches: mean cosine {:.6}, least {:.6}", image.mean_cosine, image.least_cosine)?;
                writeln!(out, "  words:   mean cosine {:.6}, least {:.6}", text.mean_cosine, text.least_cosine)?;
            }
        }
        // The bundles are written either way: whoever asked for more than there is can look at them.
        Ok(if enough { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    fn report_layers(&self, out: &mut impl Write, losses: &[LayerLoss]) -> anyhow::Result<()> {
        if !self.json && !losses.is_empty() {
            writeln!(out, "{:<44} {:>12} {:>12} {:>10}", "layer, alone in integers", "mean cosine", "least", "relative")?;
        }
        for loss in losses {
            if self.json {
                writeln!(out, "{}", serde_json::to_string(loss)?)?;
            } else {
                let (f, float) = (loss.fidelity, if loss.float { "  stays in floats" } else { "" });
                writeln!(out, "{:<44} {:>12.6} {:>12.6} {:>10.6}{float}", loss.layer, f.mean_cosine, f.least_cosine, f.relative)?;
            }
        }
        Ok(())
    }
}

/// The storage that a board's build has.
fn storage(board: Variant) -> anyhow::Result<Storage> {
    let known = Storage::value_variants().iter().copied();
    known
        .into_iter()
        .find(|s| s.variant() == board.encoders())
        .with_context(|| format!("{}: no storage {:?}", board.name(), board.encoders()))
}

/// Write the blobs of a bundle as files: ONNX encoders, positions, tokenizer, and manifest.json.
#[derive(Args)]
pub struct Extract {
    /// The bundle.
    bundle: PathBuf,
    /// The folder to write; made if it is not there.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
}

impl Extract {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let bundle = edge_seg_bundle::Bundle::open(&self.bundle)?;
        check_free(&self.out)?;
        std::fs::create_dir_all(&self.out).with_context(|| self.out.display().to_string())?;
        let manifest = serde_json::to_vec_pretty(bundle.manifest())?;
        let mut files = vec![("manifest.json", Cow::Borrowed(manifest.as_slice()))];
        for blob in &bundle.manifest().blobs {
            // A bundle's names come from outside: none of them may point out of the folder.
            let plain = !blob.name.is_empty()
                && blob.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
                && !blob.name.starts_with('.');
            anyhow::ensure!(
                plain,
                "{}: blob {:?}: expected a name of letters, digits, '.', '_', '-', found others",
                bundle.place(),
                blob.name
            );
            files.push((&blob.name, bundle.blob(&blob.name)?));
        }
        let mut out = edge_seg_terminal::results();
        for (name, bytes) in files {
            edge_seg_bundle::files::replace_file(&self.out.join(name), &bytes)?;
            writeln!(out, "{}", self.out.join(name).display())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether a folder is new, empty, or of a bundle's files that were extracted before: nothing else is replaced.
fn check_free(folder: &Path) -> anyhow::Result<()> {
    // What a run that was killed has left is none.
    let is_kept = |entry: std::fs::DirEntry| !entry.file_name().to_str().is_some_and(edge_seg_bundle::files::is_left_over);
    let is_used = std::fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(is_kept));
    let place = folder.join("manifest.json");
    let manifest = match std::fs::read(&place) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        read => Some(read.with_context(|| place.display().to_string())?),
    };
    let is_ours = || manifest.is_some_and(|bytes| serde_json::from_slice::<edge_seg_bundle::Manifest>(&bytes).is_ok());
    // Without the slash at the end of what a shell completes.
    let place: std::path::PathBuf = folder.components().collect();
    let place = place.display();
    ensure!(
        !is_used || is_ours(),
        "{place}: expected a new folder, an empty one, or one that this command wrote, found another's files; try: -o {place}-extracted"
    );
    Ok(())
}

fn read(folder: &std::path::Path) -> anyhow::Result<Model> {
    let config = folder.join("config.json");
    let place = folder.display();
    let ends = |end: &str| folder.extension().is_some_and(|found| found.eq_ignore_ascii_case(end));
    let (is_onnx, is_bundle) = (ends("onnx"), ends("esb"));
    let remedy = match () {
        () if is_onnx => "--image-onnx IMAGE.onnx --text-onnx TEXT.onnx".into(),
        () if is_bundle => format!("edge-seg inspect {place}: it is a bundle already"),
        () => "the folder that edge-seg-export import wrote".into(),
    };
    ensure!(!folder.is_file(), "{place}: expected a model folder, found a file; try: {remedy}");
    ensure!(folder.exists() || !(is_onnx || is_bundle), "{place}: expected a model folder, found no file of that name; try: {remedy}");
    ensure!(
        config.exists(),
        "{}: expected a model folder, found none; try: edge-seg-export import hf:openai/clip-vit-base-patch16 -o {}",
        config.display(),
        if folder.exists() { folder.join("model").display().to_string() } else { place.to_string() }
    );
    let model = Model::read(folder)?;
    eprintln!("{}:\n{}", folder.display(), model.report);
    Ok(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_boards_build_can_be_made() {
        for variant in Variant::ALL {
            assert_eq!(storage(variant).unwrap().variant(), variant.encoders());
        }
        assert!(Target::all().all(|board| storage(board.variant).is_ok()));
    }
}
