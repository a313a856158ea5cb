use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use edge_seg::sink::{JsonLines, LiveSink, MaskFolder, MaskStyle, OverlayOptions, OverlayVideo, VideoWriter};
use serde::{Deserialize, Serialize};

/// What is written of each frame.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Output")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct OutputArgs {
    /// Write the video with its masks: .y4m, or .mp4 through ffmpeg; `-` is y4m on stdout, in place of the JSON lines.
    #[arg(long, value_name = "FILE")]
    overlay: Option<PathBuf>,
    /// Write each frame's labels into this folder, as SEQUENCE.mask.png.
    #[arg(long, value_name = "DIR")]
    masks: Option<PathBuf>,
    /// Put each word's mask into the JSON lines too: COCO's compressed run lengths, or polygons without holes.
    #[arg(long, value_enum, value_name = "FORM")]
    json_masks: Option<JsonMasks>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum JsonMasks {
    Rle,
    Polygons,
}

impl OutputArgs {
    pub fn mask_style(&self) -> Option<MaskStyle> {
        self.json_masks.map(|form| if form == JsonMasks::Rle { MaskStyle::Rle } else { MaskStyle::Polygons })
    }

    pub fn open(&self) -> Result<Vec<Box<dyn LiveSink>>> {
        let mut sinks: Vec<Box<dyn LiveSink>> = Vec::new();
        if let Some(folder) = &self.masks {
            sinks.push(Box::new(MaskFolder::create(folder.clone()).context("--masks")?));
        }
        if let Some(place) = &self.overlay {
            sinks.push(Box::new(OverlayVideo::new(VideoWriter::create(place)?, OverlayOptions::default())));
        }
        if self.overlay.as_deref() != Some(Path::new("-")) {
            sinks.push(Box::new(JsonLines(std::io::stdout())));
        }
        Ok(sinks)
    }
}
