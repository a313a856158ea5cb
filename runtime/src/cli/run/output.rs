use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use edge_seg::sink::{JsonLines, LiveSink, MaskFolder, MaskStyle, OverlayOptions, OverlayStream, OverlayVideo};
use edge_seg_live::metrics::Metrics;
use edge_seg_live::sinks::{Tolerant, VideoWriter};
use serde::{Deserialize, Serialize};

use crate::cli::args::LegendArg;
use crate::cli::flags::check_folder;

/// What is written of each frame.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Output")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct OutputArgs {
    /// Write the video with its masks: .y4m, or .mp4 through ffmpeg; `-` is y4m on stdout, in place of the JSON lines. Or send it on while
    /// it runs, through ffmpeg: to a server by rtsp://, rtmp:// or srt://, as HLS (.m3u8), to a v4l2loopback camera (/dev/videoN).
    #[arg(long, value_name = "PLACE")]
    overlay: Option<PathBuf>,
    /// Write each frame's labels into this folder, as SEQUENCE.mask.png.
    #[arg(long, value_name = "DIR")]
    masks: Option<PathBuf>,
    /// Put each class's mask into the JSON lines too: COCO's compressed run lengths, or polygons with holes on seams.
    #[arg(long, value_enum, value_name = "FORM")]
    json_masks: Option<JsonMasks>,
    /// Classes that --overlay lists with their scores, below the picture where they would cover much of it [default: found].
    #[arg(long, value_enum)]
    legend: Option<LegendArg>,
    /// What a full disk or another fault of --overlay, --masks or --events does: it is told and counted, the frame is lost there and the
    /// next is tried again; or the run ends [default: go-on].
    #[arg(long, value_enum)]
    output_fault: Option<OutputFault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OutputFault {
    /// The other outputs go on. The run's exit status tells of it at the end.
    GoOn,
    /// The run ends.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum JsonMasks {
    Rle,
    Polygons,
}

impl OutputArgs {
    pub fn check(&self, source: Option<&str>) -> Result<()> {
        let Some(overlay) = &self.overlay else { return Ok(()) };
        if !OverlayStream::takes(overlay)? {
            VideoWriter::check(overlay).context("--overlay")?;
        }
        // The source's own file as overlay would be gone once the run ends.
        let Some(source) = source else { return Ok(()) };
        let Ok(overlay) = overlay.canonicalize() else { return Ok(()) };
        let behind_kind = source.split_once(':').map_or(source, |(_, rest)| rest);
        let before_query = behind_kind.split('?').next().unwrap_or(behind_kind);
        let is_source = |name: &str| Path::new(name).canonicalize().is_ok_and(|path| path == overlay);
        ensure!(
            ![source, behind_kind, before_query].into_iter().any(is_source),
            "--overlay: expected another file than the source's, found {}",
            overlay.display()
        );
        Ok(())
    }

    /// Whether there can be a folder for masks where it is asked for; [`Self::check`] looks at the overlay's.
    pub fn check_folders(&self) -> Result<()> {
        self.masks.iter().try_for_each(|folder| check_folder("--masks", folder))
    }

    pub fn mask_style(&self) -> Option<MaskStyle> {
        self.json_masks.map(|form| if form == JsonMasks::Rle { MaskStyle::Rle } else { MaskStyle::Polygons })
    }

    /// A sink whose faults end the run only if that is asked for.
    pub fn guard(&self, name: &'static str, sink: impl LiveSink + 'static, metrics: &Metrics) -> Box<dyn LiveSink> {
        match self.output_fault.unwrap_or(OutputFault::GoOn) {
            OutputFault::GoOn => Box::new(Tolerant::new(name, sink, metrics.queue(name.trim_start_matches('-')))),
            OutputFault::End => Box::new(sink),
        }
    }

    /// Opens them; of a film, whose source `waits`, nothing is left out.
    pub fn open(&self, metrics: &Metrics, waits: bool) -> Result<Vec<Box<dyn LiveSink>>> {
        let mut sinks: Vec<Box<dyn LiveSink>> = Vec::new();
        if let Some(folder) = &self.masks {
            sinks.push(self.guard("--masks", MaskFolder::create(folder.clone()).context("--masks")?, metrics));
        }
        if let Some(place) = &self.overlay {
            let (options, legend) = (OverlayOptions::default(), self.legend.unwrap_or_default().into());
            sinks.push(match OverlayStream::start(place, options, legend, waits)? {
                Some(stream) => self.guard("--overlay", stream, metrics),
                None => {
                    let video = OverlayVideo::create(place, options)?.with_legend(legend);
                    // What is on stdout is the run's result.
                    if place == Path::new("-") { Box::new(video) } else { self.guard("--overlay", video, metrics) }
                }
            });
        }
        if self.overlay.as_deref() != Some(Path::new("-")) {
            sinks.push(Box::new(JsonLines(std::io::stdout())));
        }
        Ok(sinks)
    }
}
