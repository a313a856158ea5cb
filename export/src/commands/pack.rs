use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use edge_seg_board::Variant;
use edge_seg_board::boards::Target;
use edge_seg_export::bundle::{self, Release};
use edge_seg_export::calibrate::{Calibrated, Fidelity, LayerLoss, Sample, calibrate};
use edge_seg_export::checkpoint::Model;
use edge_seg_export::onnx::Storage;
use edge_seg_export::quantize::layer_errors;
use serde::Serialize;

/// Write a model folder as one bundle: both encoders as ONNX, tokenizer, positions, manifest.
#[derive(Args)]
pub struct Bundle {
    /// The model folder: config.json, model.safetensors, tokenizer.json.
    folder: PathBuf,
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

impl Bundle {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let model = read(&self.folder)?;
        let text = self.text_weights.unwrap_or(self.weights);
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
        let mut out = std::io::stdout().lock();
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
            words: edge_seg_model::parse_tags("--words", &self.words)?,
            size_px: self.size,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        };
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let mut out = std::io::stdout().lock();
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
            let path = folder.join(format!("{}-{}.esb", model.config.name, board.name));
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
        for (name, bytes) in files {
            edge_seg_bundle::files::replace_file(&self.out.join(name), &bytes)?;
            println!("{}", self.out.join(name).display());
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn read(folder: &std::path::Path) -> anyhow::Result<Model> {
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
