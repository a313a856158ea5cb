use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use edge_seg_bundle::Bundle;
use edge_seg_export::eval::pictures::{self, Coding, Pair};
use edge_seg_export::eval::preset::{self, Preset};
use edge_seg_export::eval::{ClassTable, Names, View, drawn, layout};

use edge_seg_model::image::metadata::Orientation;
use rayon::prelude::*;

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
    /// Folder of label pictures, STEM.png: numbers, palettes, or colours by `labelmap.txt` in it or beside it. Or what a labelling tool
    /// wrote, whose classes are taken unless --classes is given: COCO instances or Label Studio's tasks (FILE.json), "CVAT for images"
    /// (FILE.xml), a folder of YOLO segmentation (STEM.txt) with data.yaml in it or above it.
    #[arg(long, value_name = "DIR|FILE", requires = "images")]
    pub labels: Option<PathBuf>,
    /// The class table; VOC's labelmap.txt and Ultralytics' data.yaml are read as tables with the columns `id` and `name`.
    #[arg(long, value_name = "FILE", requires = "view")]
    pub classes: Option<PathBuf>,
    /// Column of the table that numbers the classes to tell apart.
    #[arg(long, value_name = "COLUMN", requires = "classes")]
    pub view: Option<String>,
    /// Column whose numbers the label pictures hold: of a table the first if none, of a preset `train`.
    #[arg(long, value_name = "COLUMN")]
    pub values: Option<String>,
    /// Further values of the label pictures that count for nothing.
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    pub ignore: Vec<u32>,
    /// Which pixels of photos with an EXIF orientation the labels are of: `upright` as such photos are shown, or `stored` as tools that
    /// ignore EXIF show them.
    #[arg(long, value_enum, default_value = "upright", value_name = "WHICH")]
    pub label_pixels: LabelPixels,
    /// Measure only the pictures whose stems (or file names) this file lists, one a line.
    #[arg(long, value_name = "FILE")]
    pub only: Option<PathBuf>,
    #[command(flatten)]
    pub device: DeviceArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LabelPixels {
    Upright,
    Stored,
}

impl LabelPixels {
    /// What a record says of them; nothing for what is usual.
    pub fn told(self) -> Option<String> {
        (self == Self::Stored).then(|| "labels of stored pixels".into())
    }
}

/// Pictures, and what their labels mean.
pub struct Found {
    pub preset: Option<&'static Preset>,
    pub pairs: Vec<Pair>,
    pub view_name: String,
    pub layout: String,
    column: Option<String>,
    table: Option<ClassTable>,
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
        let (mut table, mut categories) = (None, None);
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
            (_, None, Some(images), Some(labels)) => match drawn::read(labels, images, only.as_ref())? {
                Some(found) if preset.is_none() => {
                    (pairs, layout) = (found.pairs, format!("--images, {}", found.layout));
                    table = Some(ClassTable::of_categories(&labels.display().to_string(), found.listed.clone()));
                    categories = Some((labels.display().to_string(), found.listed));
                }
                Some(found) => anyhow::bail!("--preset: expected label pictures, found {}; leave --preset out", found.layout),
                None => pairs = pictures::pairs(images, labels, only.as_ref())?,
            },
            (Some(_), ..) => anyhow::bail!("--preset: its pictures are missing: give --data, or --images and --labels"),
            _ => {}
        }
        ensure!(!pairs.is_empty(), "which pictures? Give --preset and --data, or --images, --labels, --classes and --view");
        if preset.is_none() {
            if let Some(classes) = &self.classes {
                table = Some(ClassTable::read(classes)?);
            }
            let table = table.as_ref().context("which classes? Give --preset, or --classes and --view")?;
            if let Some((place, listed)) = categories {
                let values = Arc::new(table.categories(&place, &listed, column.as_deref())?);
                for pair in &mut pairs {
                    if let Coding::Shapes(_, categories) = &mut pair.coding {
                        *categories = values.clone();
                    }
                }
            } else if let Some(labels) = &self.labels {
                let colours = table.colours(labels, column.as_deref())?;
                if !colours.is_empty() {
                    let coding = Coding::Mapped(Arc::new(colours));
                    pairs.iter_mut().for_each(|pair| pair.coding = coding.clone());
                }
            }
        }
        let stored = self.label_pixels == LabelPixels::Stored;
        pairs.iter_mut().for_each(|pair| pair.stored = stored);
        if self.images.is_some() {
            tell_of_turned(&pairs, stored)?;
        }
        let view_name = preset.map(|p| p.name.to_string()).or(self.view.clone()).unwrap_or_else(|| "id".into());
        Ok(Found { preset, pairs, view_name, layout, column, table })
    }

    pub fn view(&self, found: &Found, names: Names) -> anyhow::Result<View> {
        Ok(match (found.preset, &found.table) {
            (Some(preset), _) => preset.view(found.column.as_deref().unwrap_or("train"), names)?.ignoring(&self.ignore),
            (None, Some(table)) => table.view(&found.view_name, found.column.as_deref(), names, &self.ignore)?,
            _ => unreachable!("asked for in find"),
        })
    }
}

/// Which pixels the labels are of shows nowhere where a photo is turned by half or mirrored.
fn tell_of_turned(pairs: &[Pair], stored: bool) -> anyhow::Result<()> {
    let orientations = pairs.par_iter().map(|pair| edge_seg_model::read_orientation(&pair.image)).collect::<Result<Vec<_>, _>>()?;
    let turned = pairs.iter().zip(orientations).filter(|(_, o)| *o != Orientation::NoTransforms);
    let turned: Vec<&str> = turned.map(|(pair, _)| pair.stem.as_str()).collect();
    let Some(first) = turned.first() else { return Ok(()) };
    let which = if stored { "stored" } else { "upright" };
    let other = if stored { "" } else { "; for labels by a tool that ignores EXIF take --label-pixels stored" };
    eprintln!("{} photos have an EXIF orientation ({first} is one): labels are taken as of their {which} pixels{other}", turned.len());
    Ok(())
}

pub fn read_stems(path: &Path) -> anyhow::Result<HashSet<String>> {
    let text = edge_seg_model::read_text(path)?;
    let name = |line: &str| line.split('#').next().unwrap_or("").trim().to_string();
    let stem = |name: String| match Path::new(&name).extension() {
        Some(_) if edge_seg_model::is_picture(Path::new(&name)) => Path::new(&name).file_stem().map(|s| s.to_string_lossy().into_owned()),
        _ => Some(name),
    };
    Ok(text.lines().map(name).filter(|l| !l.is_empty()).filter_map(stem).collect())
}
