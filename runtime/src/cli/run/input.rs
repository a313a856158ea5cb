use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use edge_seg::source::{Matrix, Notice, Pace, Range, Source, SourceOptions, VideoDecoder, open_source, redacted};
use serde::{Deserialize, Serialize};

/// Where frames come from.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Input")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct InputArgs {
    /// Where frames come from: a video, picture or folder, v4l2:///dev/video0, rpicam:, csi:, rtsp://..., y4m:-, mjpeg:-,
    /// raw:-?size=640x480&format=yuyv&fps=30 (PATH in place of `-` reads a file), or test:?size=640x360&fps=30. Cameras take
    /// ?size=1280x720&fps=30 too (docs/cameras.md).
    #[arg(long, value_name = "URI")]
    pub source: Option<String>,
    /// Whether frames that come too fast are dropped [default: auto].
    #[arg(long, value_enum)]
    pace: Option<PaceArg>,
    /// Start files, pictures and folders again at their end.
    #[arg(long = "loop", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(rename = "loop")]
    repeat: Option<bool>,
    /// Seconds without a frame after which a network stream counts as dead and is opened again [default: 10].
    #[arg(long, value_name = "S")]
    stall: Option<f64>,
    /// The source's colour matrix [default: what it says, else BT.601; of y4m, raw frames and V4L2 from 720 lines BT.709].
    #[arg(long, value_enum)]
    matrix: Option<MatrixArg>,
    /// The source's colour range [default: what it says, else limited].
    #[arg(long, value_enum)]
    range: Option<RangeArg>,
    /// What decodes H.264 from an rtsp:// camera [default: auto].
    #[arg(long, value_enum)]
    decoder: Option<DecoderArg>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum DecoderArg {
    /// ffmpeg where it is installed, else the program itself.
    #[default]
    Auto,
    /// The program itself, without any other.
    Own,
    /// An ffmpeg child.
    Ffmpeg,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PaceArg {
    /// Live for cameras, network streams and the test source, every for everything else.
    #[default]
    Auto,
    /// The newest frame is taken, the others are dropped and counted; files play at their own speed.
    Live,
    /// Every frame is segmented; the source waits.
    Every,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum MatrixArg {
    Bt601,
    Bt709,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RangeArg {
    /// Black is 16, white 235.
    Limited,
    /// Black is 0, white 255.
    Full,
}

impl InputArgs {
    pub fn check(&self) -> Result<()> {
        self.uri()?;
        let stall = self.stall.unwrap_or(DEFAULT_STALL_S);
        ensure!((0.1..=86400.0).contains(&stall), "--stall: expected seconds, 0.1 to 86400, found {stall}");
        Ok(())
    }

    /// Whether the source's name is one, without opening it.
    pub fn check_name(&self) -> Result<()> {
        Ok(edge_seg_live::source::check_source(self.uri()?)?)
    }

    fn uri(&self) -> Result<&str> {
        self.source.as_deref().context(
            "--source: expected a camera, a file or a stream, found none; try: --source v4l2:///dev/video0, or in a configuration \
             source = \"v4l2:///dev/video0\" below [input]",
        )
    }

    /// The source's name without passwords.
    pub fn name(&self) -> String {
        self.source.as_deref().map(redacted).unwrap_or_default()
    }

    pub fn reads_stdin(&self) -> bool {
        self.source.as_deref().and_then(|s| s.split('?').next()).is_some_and(|s| s.ends_with(":-"))
    }

    pub fn open(&self, stop: &Arc<AtomicBool>, reconnects: &Arc<AtomicU64>) -> Result<Box<dyn Source>> {
        let reconnects = reconnects.clone();
        let notify = move |notice: Notice| {
            reconnects.fetch_add(u64::from(matches!(notice, Notice::Lost { .. })), Ordering::Relaxed);
            notice.log();
        };
        let options = SourceOptions::default()
            .with_pace(self.pace())
            .with_stall(Duration::from_secs_f64(self.stall.unwrap_or(DEFAULT_STALL_S)))
            .with_matrix(self.matrix.map(|m| if m == MatrixArg::Bt601 { Matrix::Bt601 } else { Matrix::Bt709 }))
            .with_range(self.range.map(|r| if r == RangeArg::Full { Range::Full } else { Range::Limited }))
            .with_decoder(match self.decoder.unwrap_or_default() {
                DecoderArg::Auto => VideoDecoder::Auto,
                DecoderArg::Own => VideoDecoder::Own,
                DecoderArg::Ffmpeg => VideoDecoder::Ffmpeg,
            })
            .with_repeat(self.repeats())
            .with_stop(stop.clone())
            .with_notify(notify);
        Ok(open_source(self.uri()?, &options)?)
    }

    /// Whether a film begins again at its end, and so has none.
    pub fn repeats(&self) -> bool {
        self.repeat.unwrap_or(false)
    }

    pub fn pace(&self) -> Pace {
        match self.pace.unwrap_or_default() {
            PaceArg::Auto => Pace::Auto,
            PaceArg::Live => Pace::Live,
            PaceArg::Every => Pace::Every,
        }
    }
}

const DEFAULT_STALL_S: f64 = 10.0;
