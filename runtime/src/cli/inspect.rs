use std::fmt::Write;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use edge_seg::Bundle;
use edge_seg::bundle::Fit;
use edge_seg_bundle::text::shown;
use serde_json::json;

use super::flags::or_try;
use super::output::{Outcome, print_json};

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Bundle to show (.esb); the built-in one if not given.
    model: Option<PathBuf>,
    /// Print the manifest, sizes and digest as JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &InspectArgs) -> Result<Outcome> {
    let bundle = match &args.model {
        Some(path) => Bundle::open(path).map_err(|e| or_try(e, path, "without a file, for the model in the program"))?,
        None => Bundle::built_in()?,
    };
    if args.json {
        let signed = bundle.signature().is_some();
        print_json(&json!({
            "devices": devices(),
            "place": bundle.place(), "bytes": bundle.size_bytes(), "digest": bundle.digest(), "signed": signed, "manifest": bundle.manifest(),
        }))?;
    } else {
        edge_seg_terminal::results().write_all(describe(&bundle)?.as_bytes())?;
    }
    Ok(Outcome::Done)
}

/// Where the image encoder can run here.
fn devices() -> serde_json::Value {
    let cuda = match edge_seg_model::probe_cuda() {
        Ok(()) => json!({"usable": true}),
        Err(error) => json!({"usable": false, "why": error.to_string()}),
    };
    json!({"cpu": {"usable": true}, "cuda": cuda})
}

fn describe(bundle: &Bundle) -> Result<String, std::fmt::Error> {
    let m = bundle.manifest();
    let mut s = String::new();
    let signed = if bundle.signature().is_some() { "signed" } else { "unsigned" };
    writeln!(s, "{} · {} · release {} · {}", shown(&m.name), shown(&m.variant), m.serial, shown(bundle.place()))?;
    writeln!(s, "format {}, {:.1} MB, {signed}, digest {}", m.format, bundle.size_bytes() as f64 / 1e6, bundle.digest())?;
    writeln!(s, "boards       {}", if m.boards.is_empty() { "any".into() } else { shown(&m.boards.join(", ")).into_owned() })?;
    let side = match m.image.fit {
        Fit::Grid => "short side",
        Fit::Letterbox => "long side, letterboxed",
        Fit::Squash => "both sides, squashed",
    };
    writeln!(s, "input        {} px {side}, patches of {} px, {:?}", m.image.input_px, m.image.patch_px, m.image.interpolation)?;
    writeln!(s, "mean, std    {:?} {:?}", m.image.mean, m.image.std)?;
    writeln!(s, "embedding    {} wide, logit = {} · cosine + {}", m.embedding_dim, m.logit_scale, m.logit_bias.unwrap_or(0.0))?;
    writeln!(s, "scores       {}", if m.logit_bias.is_some() { "sigmoid, word by word" } else { "softmax over the words" })?;
    writeln!(s, "thresholds   background {}, tags {}", m.background, m.tag_threshold)?;
    writeln!(s, "templates    {}", shown(&m.templates.join(" | ")))?;
    writeln!(s, "context      {} tokens", m.text.context)?;
    match edge_seg_model::probe_cuda() {
        Ok(()) => writeln!(s, "devices      cpu, cuda")?,
        Err(error) => writeln!(s, "devices      cpu; {error}")?,
    }
    writeln!(s, "blobs")?;
    for blob in &m.blobs {
        writeln!(s, "  {:<16} {:>12} bytes  sha256 {}", shown(&blob.name), blob.bytes, blob.sha256)?;
    }
    for (title, text) in [
        ("title", &m.card.title),
        ("licence", &m.card.licence),
        ("trained on", &m.card.training_data),
        ("measured", &m.card.measured),
        ("limits", &m.card.limits),
    ] {
        writeln!(s, "{title:<12} {}", shown(text))?;
    }
    Ok(s)
}
