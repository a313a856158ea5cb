use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use edge_seg_bundle::Bundle;
use edge_seg_export::checkpoint::Model;
use edge_seg_export::eval::Names;
use edge_seg_export::eval::quantization::{Way, bundle_of, float_of, measure};
use edge_seg_export::onnx::Storage;
use edge_seg_model::Background;
use serde_json::json;

use super::left_out::{tell_left_out, without};
use super::show::percent;
use super::source::Source;
use crate::commands::progress::progress;

/// Measure what variants of a model lose against its float weights: mIoU, cosines of patch embeddings (mean and worst), layer by layer.
///
/// The variants are bundles (--variant), and for a model folder also what `bundle --weights` would write (--weights).
#[derive(Args)]
pub struct Quantization {
    /// The float model: a model folder, or a bundle of f32 weights.
    float: PathBuf,
    /// A bundle to compare; may be given several times.
    #[arg(long = "variant", value_name = "FILE.esb")]
    variants: Vec<PathBuf>,
    /// Storages of the folder's weights to compare.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND,KIND")]
    weights: Vec<Storage>,
    #[command(flatten)]
    source: Source,
    /// Score below which a pixel belongs to no class, 0 to 1; the model's in a view with a background, else none.
    #[arg(long, value_name = "T")]
    background: Option<f32>,
    /// Pictures that are compared layer by layer.
    #[arg(long, default_value_t = 8, value_name = "N")]
    layer_pictures: usize,
    /// Mean cosine of patch embeddings that is asked for: below it the exit code is 1.
    #[arg(long, value_name = "COSINE")]
    least_cosine: Option<f64>,
    /// One JSON object for each variant instead of tables.
    #[arg(long)]
    json: bool,
}

impl Quantization {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::ensure!(
            self.source.model.is_none(),
            "--model does not apply here: give the float model as the first argument, its variants by --variant and --weights"
        );
        let mut variants = self.variants.iter().map(|path| Ok(Bundle::open(path)?)).collect::<anyhow::Result<Vec<_>>>()?;
        if !self.weights.is_empty() {
            anyhow::ensure!(self.float.is_dir(), "--weights: expected a model folder, found {}", self.float.display());
            let model = Model::read(&self.float)?;
            for storage in &self.weights {
                variants.push(bundle_of(&model, *storage)?);
            }
        }
        anyhow::ensure!(!variants.is_empty(), "no variant: give --variant or --weights");
        let float = float_of(&self.float)?;
        let found = self.source.find()?;
        let view = found.view(Names::Plain)?;
        let background = match self.background {
            Some(t) => Background::Threshold(t),
            None if view.background => Background::Threshold(float.manifest().background),
            None => Background::None,
        };
        self.source.device.announce()?;
        let way = Way { background, layer_pictures: self.layer_pictures, options: self.source.device.options(None) };
        let bar = progress(found.pairs.len());
        let (miou, losses, left_out) = measure(&float, &variants, &view, &found.pairs, &way, || bar.inc(1))?;
        bar.finish_and_clear();
        let measured = found.pairs.len() - left_out.len();
        let left_out: Vec<_> = found.left_out.into_iter().chain(left_out).collect();
        let mut out = edge_seg_terminal::results();
        if self.json {
            for loss in &losses {
                let mut row = serde_json::to_value(loss)?;
                row["float_miou"] = json!(miou);
                row["pictures"] = json!(measured);
                row["left_out"] = json!(left_out.len());
                row["view"] = json!(found.view_name);
                writeln!(out, "{row}")?;
            }
        } else {
            let manifest = float.manifest();
            writeln!(
                out,
                "{} ({}) on {}, {measured} pictures{}: mIoU {} %\n",
                manifest.name,
                manifest.variant,
                found.view_name,
                without(left_out.len(), ""),
                percent(miou)
            )?;
            let header = ["bytes", "mIoU %", "points", "changed %", "cosine", "worst", "words", "worst"];
            write!(out, "{:<18}", "variant")?;
            header.iter().try_for_each(|h| write!(out, " {h:>10}"))?;
            writeln!(out)?;
            for loss in &losses {
                let points = loss.miou_difference.map_or("-".into(), |d| format!("{:+.2}", 100.0 * d));
                write!(out, "{:<18} {:>10} {:>10} {points:>10}", loss.variant, loss.bytes, percent(loss.miou))?;
                write!(out, " {:>10}", percent(Some(loss.changed_share)))?;
                for cosine in [loss.patches.mean, loss.patches.worst, loss.words.mean, loss.words.worst] {
                    write!(out, " {cosine:>10.6}")?;
                }
                writeln!(out)?;
            }
            if losses.iter().any(|loss| loss.variant.contains("dynamic")) {
                writeln!(
                    out,
                    "\nint8-dynamic as edge-seg computes it, each row of activations in a range of its own. onnxruntime takes one range for"
                )?;
                writeln!(out, "a whole tensor: the same file's cosines are lower there, those of int8 (--weights int8) are not.")?;
            }
            if let Some(first) = losses.first().filter(|l| !l.layers.is_empty()) {
                writeln!(out, "\ncosines by layer, mean and worst, over {} patches", first.layers[0].cosines.rows)?;
                write!(out, "{:<26}", "after")?;
                losses.iter().try_for_each(|l| write!(out, " {:>20}", l.variant))?;
                writeln!(out)?;
                for (i, layer) in first.layers.iter().enumerate() {
                    write!(out, "{:<26}", layer.layer)?;
                    for loss in &losses {
                        let c = &loss.layers[i].cosines;
                        write!(out, " {:>10.6}{:>10.6}", c.mean, c.worst)?;
                    }
                    writeln!(out)?;
                }
            }
        }
        let poor = self.least_cosine.is_some_and(|least| losses.iter().any(|l| l.patches.mean < least));
        let status = tell_left_out(&left_out);
        Ok(if left_out.is_empty() && poor { ExitCode::from(1) } else { status })
    }
}
