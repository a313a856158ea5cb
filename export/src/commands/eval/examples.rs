use std::io::Write;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;
use edge_seg_export::eval::Names;
use edge_seg_export::eval::examples::{Way, evaluate};
use edge_seg_model::Session;
use serde_json::json;

use super::left_out::{tell_left_out, without};
use super::source::Source;
use crate::commands::progress::progress;

/// Measure words that are shown by boxes against words that are typed.
///
/// Each class is looked for alone, against everything else, at the model's threshold: by its name, by N examples, and by both. Examples
/// are boxes around the class's largest region in the first pictures that hold it, which are not measured on.
#[derive(Args)]
pub struct Examples {
    #[command(flatten)]
    source: Source,
    /// Words that stand for a class.
    #[arg(long, value_enum, default_value = "plain")]
    names: Names,
    /// Numbers of examples.
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,3,10")]
    examples: Vec<usize>,
    /// Measure the first N pictures only.
    #[arg(long, value_name = "N")]
    pictures: Option<usize>,
    /// One JSON object a way instead of a table.
    #[arg(long)]
    json: bool,
}

impl Examples {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        ensure!(self.examples.iter().all(|n| (1..=100).contains(n)), "--examples: expected 1 to 100, found {:?}", self.examples);
        let found = self.source.find()?;
        let view = found.view(self.names)?;
        let (mut pairs, unread) = (found.pairs, found.left_out);
        pairs.truncate(self.pictures.unwrap_or(usize::MAX));
        let session = Session::new(self.source.bundle()?, &self.source.device.options_for_frames(None)?)?;
        self.source.device.announce()?;
        let shown = self.examples.iter().flat_map(|n| [false, true].map(|text| Way { text, examples: *n }));
        let ways: Vec<Way> = std::iter::once(Way { text: true, examples: 0 }).chain(shown).collect();
        let bar = progress(pairs.len());
        let (results, left_out) = evaluate(&session, &view, &pairs, &ways, || bar.inc(1))?;
        bar.finish_and_clear();
        let measured = pairs.len() - left_out.len();
        let left_out: Vec<_> = unread.into_iter().chain(left_out).collect();
        let mut out = edge_seg_terminal::results();
        if !self.json {
            let without = without(left_out.len(), "");
            writeln!(out, "{measured} pictures{without}, {} classes, {} px", results[0].ious.len(), session.size_px())?;
            writeln!(out, "{:>5} {:>8} {:>6}", "name", "examples", "mIoU")?;
        }
        for result in &results {
            let Way { text, examples } = result.way;
            let miou = result.miou();
            if self.json {
                let ious: serde_json::Map<_, _> =
                    result.ious.iter().map(|(class, iou)| (view.classes[*class].name.clone(), json!(iou))).collect();
                writeln!(out, "{}", json!({ "name": text, "examples": examples, "miou": miou, "ious": ious, "left_out": left_out.len() }))?;
            } else {
                let miou = miou.map_or("-".into(), |miou| format!("{:.1}", 100.0 * miou));
                writeln!(out, "{:>5} {examples:>8} {miou:>6}", if text { "yes" } else { "no" })?;
            }
        }
        Ok(tell_left_out(&left_out))
    }
}
