use std::path::PathBuf;

use clap::{Args, ValueEnum};
use edge_seg_bundle::Bundle;
use edge_seg_export::eval::source::{Found, Query};

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

impl Source {
    pub fn bundle(&self) -> anyhow::Result<Bundle> {
        Ok(match &self.model {
            Some(path) => Bundle::open(path)?,
            None => Bundle::built_in()?,
        })
    }

    pub fn find(&self) -> anyhow::Result<Found> {
        let stored = self.label_pixels == LabelPixels::Stored;
        let query = Query {
            preset: self.preset.clone(),
            data: self.data.clone(),
            split: self.split.clone(),
            images: self.images.clone(),
            labels: self.labels.clone(),
            classes: self.classes.clone(),
            view: self.view.clone(),
            values: self.values.clone(),
            ignore: self.ignore.clone(),
            stored,
            only: self.only.clone(),
        };
        let found = query.find()?;
        if let Some(first) = found.turned.first() {
            let which = if stored { "stored" } else { "upright" };
            let other = if stored { "" } else { "; for labels by a tool that ignores EXIF take --label-pixels stored" };
            let count = found.turned.len();
            eprintln!("{count} photos have an EXIF orientation ({first} is one): labels are taken as of their {which} pixels{other}");
        }
        if let Some(first) = found.unlabelled.first() {
            let count = found.unlabelled.len();
            eprintln!(
                "{count} pictures have no .txt ({first} is one): they are taken as pictures of no class, as Ultralytics does; --only leaves some out"
            );
        }
        Ok(found)
    }
}
