use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use edge_seg_bundle::Bundle;
use edge_seg_export::eval::pictures::{self, Pair};
use edge_seg_export::eval::preset::{self, Preset};
use edge_seg_export::eval::{ClassTable, Names, View, layout};

use crate::commands::device::DeviceArgs;

/// Which pictures are measured, by which model.
#[derive(Args)]
pub struct Source {
    /// The bundle; the built-in model if none.
    #[arg(long, value_name = "FILE.esb")]
    pub model: Option<PathBuf>,
    /// A data set of the literature: voc21, voc20, context60, context59, coco-object, coco-stuff, coco-panoptic133, cityscapes, ade20k, camvid.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["classes", "view"])]
    pub preset: Option<String>,
    /// The folder of a preset's data: as its release has it, as TTD's `validation/{image,mask}`, or `images` and `labels`.
    #[arg(long, value_name = "DIR", requires = "preset", conflicts_with_all = ["images", "labels"])]
    pub data: Option<PathBuf>,
    /// Part of the release, such as `val`, `val2017`, `validation`; the usual one if none.
    #[arg(long, value_name = "NAME", requires = "data")]
    pub split: Option<String>,
    /// Folder of pictures.
    #[arg(long, value_name = "DIR", requires = "labels")]
    pub images: Option<PathBuf>,
    /// Folder of label pictures, STEM.png.
    #[arg(long, value_name = "DIR", requires = "images")]
    pub labels: Option<PathBuf>,
    /// The class table.
    #[arg(long, value_name = "FILE", requires = "view")]
    pub classes: Option<PathBuf>,
    /// Column of the table that numbers the classes to tell apart.
    #[arg(long, value_name = "COLUMN", requires = "classes")]
    pub view: Option<String>,
    /// Column whose numbers stand in the label pictures: of a table the first if none, of a preset `train`.
    #[arg(long, value_name = "COLUMN")]
    pub values: Option<String>,
    /// Further values of the label pictures that count for nothing.
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    pub ignore: Vec<u32>,
    /// Measure only the pictures whose stems (or file names) stand in this file, one a line.
    #[arg(long, value_name = "FILE")]
    pub only: Option<PathBuf>,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// Pictures, and what their labels mean.
pub struct Found {
    pub preset: Option<&'static Preset>,
    pub pairs: Vec<Pair>,
    pub view_name: String,
    pub layout: String,
    column: Option<String>,
}

impl Source {
    pub fn bundle(&self) -> anyhow::Result<Bundle> {
        Ok(match &self.model {
            Some(path) => Bundle::open(path)?,
            None => Bundle::built_in()?,
        })
    }

    pub fn find(&self) -> anyhow::Result<Found> {
        let preset = self.preset.as_deref().map(preset::find).transpose()?;
        let only = self.only.as_deref().map(read_stems).transpose()?;
        let (mut pairs, mut layout, mut column) = (Vec::new(), "--images, --labels".to_string(), self.values.clone());
        match (preset, &self.data, &self.images, &self.labels) {
            (Some(preset), Some(data), ..) => {
                let (found, all) = layout::find(preset, data, self.split.as_deref())?;
                pairs = all;
                layout = found.name.into();
                column = column.or(Some(found.column().into()));
                if let Some(only) = &only {
                    pairs.retain(|p| only.contains(&p.stem));
                    ensure!(pairs.len() == only.len(), "--only: {} of its {} pictures are in {}", pairs.len(), only.len(), data.display());
                }
            }
            (_, None, Some(images), Some(labels)) => pairs = pictures::pairs(images, labels, only.as_ref())?,
            (Some(_), ..) => anyhow::bail!("--preset: its pictures are missing: give --data, or --images and --labels"),
            _ => {}
        }
        ensure!(!pairs.is_empty(), "which pictures? Give --preset and --data, or --images, --labels, --classes and --view");
        if preset.is_none() {
            ensure!(self.classes.is_some(), "which classes? Give --preset, or --classes and --view");
        }
        let view_name = preset.map(|p| p.name.to_string()).or(self.view.clone()).unwrap_or_default();
        Ok(Found { preset, pairs, view_name, layout, column })
    }

    pub fn view(&self, found: &Found, names: Names) -> anyhow::Result<View> {
        Ok(match (found.preset, &self.classes, &self.view) {
            (Some(preset), ..) => preset.view(found.column.as_deref().unwrap_or("train"), names)?.ignoring(&self.ignore),
            (None, Some(classes), Some(view)) => ClassTable::read(classes)?.view(view, found.column.as_deref(), names, &self.ignore)?,
            _ => unreachable!("asked for in find"),
        })
    }
}

pub fn read_stems(path: &Path) -> anyhow::Result<HashSet<String>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let name = |line: &str| line.split('#').next().unwrap_or("").trim().to_string();
    let stem = |name: String| match Path::new(&name).extension() {
        Some(_) if edge_seg_model::is_picture(Path::new(&name)) => Path::new(&name).file_stem().map(|s| s.to_string_lossy().into_owned()),
        _ => Some(name),
    };
    Ok(text.lines().map(name).filter(|l| !l.is_empty()).filter_map(stem).collect())
}
