use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use edge_seg_export::eval::compare::compare;
use edge_seg_export::eval::log;

/// Compare two records of `eval --record`: mIoU of B minus A, with a 95 % interval by a paired bootstrap over the pictures they share.
///
/// With --tolerance the exit code is 1 if B's mIoU is lower by more than that.
#[derive(Args)]
pub struct Compare {
    /// Record of the first run.
    a: PathBuf,
    /// Record of the second run: of the same settings on another model, or the same record with other --runs.
    b: PathBuf,
    /// Which variant of A and which of B, counted from 1.
    #[arg(long, value_name = "N,M", value_delimiter = ',', default_values_t = [1, 1])]
    runs: Vec<usize>,
    /// Let the protocols differ as well: what size, scales, flip or windows give.
    #[arg(long)]
    any_protocol: bool,
    /// How many of the pictures that changed most are listed.
    #[arg(long, default_value_t = 10, value_name = "N")]
    changed: usize,
    /// Loss of mIoU that is accepted, in percent points.
    #[arg(long, value_name = "POINTS")]
    tolerance: Option<f64>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

impl Compare {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (a, b) = (log::read(&self.a)?, log::read(&self.b)?);
        let runs = [0, 1].map(|i| self.runs.get(i).copied().unwrap_or(1));
        anyhow::ensure!(
            runs.iter().all(|r| *r > 0) && self.runs.len() == 2,
            "--runs: expected two numbers from 1 on, found {:?}",
            self.runs
        );
        let mut found = compare(&a, &b, runs.map(|r| r - 1), self.any_protocol)?;
        found.changed.truncate(self.changed);
        let mut out = edge_seg_terminal::results();
        if self.json {
            writeln!(out, "{}", serde_json::to_string(&found)?)?;
        } else {
            writeln!(out, "{:<12} {:>8} {:>8}", "", "mIoU %", "pixels %")?;
            for (i, settings) in [&a.0, &b.0].into_iter().enumerate() {
                let name = format!("{}; {}; {}", settings.model, settings.protocol, settings.variants[runs[i] - 1]);
                writeln!(out, "{:<12} {:>8.2} {:>8.2}  {name}", ["A", "B"][i], 100.0 * found.miou[i], 100.0 * found.pixel_accuracy[i])?;
            }
            let [low, high] = found.interval.map(|x| 100.0 * x);
            writeln!(
                out,
                "B - A        {:+.2} points of mIoU, 95 % between {low:+.2} and {high:+.2}, {} pictures\n",
                100.0 * found.difference,
                found.pictures
            )?;
            writeln!(out, "{:<32} {:>8} {:>8}", "pictures that changed most", "A", "B")?;
            for change in &found.changed {
                let [a, b] = change.pixel_accuracy.map(|x| 100.0 * x);
                writeln!(out, "{:<32} {a:>8.1} {b:>8.1}", change.picture)?;
            }
        }
        let lost = self.tolerance.is_some_and(|points| found.difference * 100.0 < -points);
        Ok(if lost { ExitCode::from(1) } else { ExitCode::SUCCESS })
    }
}
