use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use edge_seg_export::bundle::{self, Release};
use edge_seg_export::checkpoint::Model;
use edge_seg_export::onnx::Storage;
use edge_seg_export::quantize::layer_errors;

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
    /// Release number: a board may refuse a lower one than it runs.
    #[arg(long, default_value_t = 1)]
    serial: u64,
    /// A board that the bundle is for; may be given several times. Without it any board will do.
    #[arg(long = "board", value_name = "NAME")]
    boards: Vec<String>,
}

impl Bundle {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let model = read(&self.folder)?;
        bundle::write(&self.out, &model, self.weights, &Release { serial: self.serial, boards: self.boards })?;
        let bytes = std::fs::metadata(&self.out).map(|m| m.len()).with_context(|| self.out.display().to_string())?;
        let worst = layer_errors(&model, self.weights).into_iter().max_by(|a, b| a.relative.total_cmp(&b.relative));
        eprintln!("{}: {:.1} MB, {}", self.out.display(), bytes as f64 / 1e6, self.weights.variant());
        if let Some(worst) = worst {
            eprintln!("largest relative error of a weight: {:.5} ({})", worst.relative, worst.name);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Report what a storage costs each matrix: bytes, relative error, largest error.
#[derive(Args)]
pub struct Quantize {
    /// The model folder.
    folder: PathBuf,
    /// How matrices are stored.
    #[arg(long, value_enum, default_value = "int8")]
    weights: Storage,
    /// One JSON object per line instead of a table.
    #[arg(long)]
    json: bool,
}

impl Quantize {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let model = read(&self.folder)?;
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
        let bundle = edge_seg::bundle::Bundle::open(&self.bundle)?;
        std::fs::create_dir_all(&self.out).with_context(|| self.out.display().to_string())?;
        let manifest = serde_json::to_vec_pretty(bundle.manifest())?;
        let mut files = vec![("manifest.json", manifest.as_slice())];
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
            edge_seg::files::replace_file(&self.out.join(name), bytes)?;
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
