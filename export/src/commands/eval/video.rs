use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use edge_seg_bundle::Bundle;
use edge_seg_export::eval::video::{Outcome, Plan, evaluate};
use edge_seg_export::eval::{ClassTable, Names, pictures};
use edge_seg_model::propagation::{Propagation, PropagationOptions};
use edge_seg_model::{Background, Session};
use serde::Serialize;

use super::left_out::{tell_left_out, without};
use crate::commands::device::DeviceArgs;
use crate::commands::progress::progress;

/// Measure masks between key frames on a clip that has labels for every frame.
///
/// The pictures of --images in the order of their names are the frames; --labels, --classes and --view are those of `eval segmentation`.
/// Each combination of --interval, --carry and --smoothing is one row: mIoU over all frames and over the frames that are no key frames,
/// and flicker, the share of pixels whose predicted label changes from one frame to the next although the true label stays.
#[derive(Args)]
pub struct Video {
    /// The bundle; the built-in model if none.
    #[arg(long, value_name = "FILE.esb")]
    model: Option<PathBuf>,
    /// Folder of frames.
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Folder of label pictures, STEM.png.
    #[arg(long, value_name = "DIR")]
    labels: PathBuf,
    /// The class table.
    #[arg(long, value_name = "FILE")]
    classes: PathBuf,
    /// Column that numbers the classes to tell apart.
    #[arg(long, value_name = "COLUMN")]
    view: String,
    /// Words that stand for a class.
    #[arg(long, value_enum, default_value = "plain")]
    names: Names,
    /// Side of the prepared input in pixels; the model's if none.
    #[arg(long, value_name = "PX")]
    size: Option<usize>,
    /// Frames a second.
    #[arg(long, value_name = "N", default_value_t = 15.0)]
    fps: f64,
    /// Every how many frames the encoder runs.
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,2,4,8")]
    interval: Vec<usize>,
    /// How masks get to the frames between.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "still,scores,labels")]
    carry: Vec<CarryArg>,
    /// Time constants of the smoothing over key frames, in milliseconds; 0 is none.
    #[arg(long, value_name = "MS,MS", value_delimiter = ',', default_value = "0")]
    smoothing: Vec<u64>,
    /// Measure the first N frames only.
    #[arg(long, value_name = "N")]
    frames: Option<usize>,
    /// One JSON object for each row instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum CarryArg {
    /// They stand still.
    Still,
    /// The scores move.
    Scores,
    /// The labels move.
    Labels,
}

#[derive(Serialize)]
struct Row {
    interval: usize,
    carry: CarryArg,
    smoothing_ms: u64,
    miou: Option<f64>,
    miou_between: Option<f64>,
    flicker: f64,
    evidence_age_ms: f64,
    between_ms: Option<f64>,
    key_ms: Option<f64>,
    fps: Option<f64>,
    left_out: usize,
}

impl Video {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        ensure!(self.interval.iter().all(|&n| n > 0), "--interval: expected 1 or more, found 0");
        ensure!(self.fps > 0.0 && self.fps <= 1000.0, "--fps: expected above 0 to 1000, found {}", self.fps);
        let bundle = match &self.model {
            Some(path) => Bundle::open(path)?,
            None => Bundle::built_in()?,
        };
        let view = ClassTable::read(&self.classes)?.view(&self.view, None, self.names, &[])?;
        let background = if view.background { Background::Threshold(bundle.manifest().background) } else { Background::None };
        pictures::tell_passed_over(&self.images, &self.labels);
        let mut pairs = pictures::pairs(&self.images, &self.labels, None)?;
        pairs.truncate(self.frames.unwrap_or(usize::MAX));
        let session = Session::new(bundle, &self.device.options_for_frames(self.size)?)?;
        self.device.announce()?;
        let mut plans = Vec::new();
        for &interval in &self.interval {
            for &carry in &self.carry {
                for &smoothing in &self.smoothing {
                    // Without frames between, and nothing to smooth, there is one way.
                    if interval > 1 || smoothing > 0 || carry == self.carry[0] {
                        plans.push((carry, smoothing, interval));
                    }
                }
            }
        }
        let plan = |&(carry, smoothing, interval): &(CarryArg, u64, usize)| Plan {
            interval,
            carry: PropagationOptions::default().with_carry(carry.into()).with_smoothing(Duration::from_millis(smoothing)),
        };
        let wanted: Vec<Plan> = plans.iter().map(plan).collect();
        let bar = progress(pairs.len());
        let report = evaluate(&session, &view, background, Duration::from_secs_f64(1.0 / self.fps), &pairs, &wanted, || bar.inc(1))?;
        bar.finish_and_clear();
        let key_ms = median(&report.key_ms);
        let row = |(outcome, &(carry, smoothing_ms, interval)): (&Outcome, &(CarryArg, u64, usize))| {
            let between_ms = median(&outcome.between_ms);
            let cycle_ms = key_ms.map(|key| key + (interval - 1) as f64 * between_ms.unwrap_or(0.0));
            Row {
                interval,
                carry,
                smoothing_ms,
                miou: outcome.all.measures(view.background).miou,
                miou_between: outcome.between.measures(view.background).miou,
                flicker: outcome.flicker_px as f64 / outcome.steady_px.max(1) as f64,
                evidence_age_ms: outcome.evidence_age_ms.iter().sum::<f64>() / outcome.evidence_age_ms.len().max(1) as f64,
                between_ms,
                key_ms,
                fps: cycle_ms.map(|cycle| 1e3 * interval as f64 / cycle),
                left_out: report.left_out.len(),
            }
        };
        let rows: Vec<Row> = report.outcomes.iter().zip(&plans).map(row).collect();
        let mut out = edge_seg_terminal::results();
        let left_out = report.left_out.len();
        if self.json {
            for row in &rows {
                writeln!(out, "{}", serde_json::to_string(row)?)?;
            }
            return Ok(tell_left_out(&report.left_out));
        }
        writeln!(out, "{} frames{}, {} px", pairs.len() - left_out, without(left_out, ""), session.size_px())?;
        writeln!(
            out,
            "{:>8} {:>7} {:>9} {:>8} {:>9} {:>9} {:>8} {:>9} {:>8} {:>7}",
            "interval", "carry", "smoothing", "mIoU", "between", "flicker", "age ms", "carry ms", "key ms", "fps"
        )?;
        for row in &rows {
            let percent = |x: Option<f64>| x.map_or("-".into(), |x| format!("{:.2}", 100.0 * x));
            let number = |x: Option<f64>| x.map_or("-".into(), |x| format!("{x:.1}"));
            writeln!(
                out,
                "{:>8} {:>7} {:>9} {:>8} {:>9} {:>9} {:>8.0} {:>9} {:>8} {:>7}",
                row.interval,
                format!("{:?}", row.carry).to_lowercase(),
                row.smoothing_ms,
                percent(row.miou),
                percent(row.miou_between),
                percent(Some(row.flicker)),
                row.evidence_age_ms,
                number(row.between_ms),
                number(row.key_ms),
                number(row.fps),
            )?;
        }
        Ok(tell_left_out(&report.left_out))
    }
}

impl From<CarryArg> for Propagation {
    fn from(carry: CarryArg) -> Self {
        match carry {
            CarryArg::Still => Self::Still,
            CarryArg::Scores => Self::Scores,
            CarryArg::Labels => Self::Labels,
        }
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}
