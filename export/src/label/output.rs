//! What is written of labels, and in which formats.

use std::path::Path;

use edge_seg_bundle::files::replace_file;
use serde::Deserialize;

use super::cvat::cvat;
use super::folder::{Pictures, put_pictures};
use super::formats::{self, CocoMasks};
use super::{PictureLabels, sheet};
use crate::Result;

/// A format of labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "program", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `coco.json`.
    Coco,
    /// `cvat.xml`, "CVAT for images 1.1".
    Cvat,
    /// The folder `voc`.
    Voc,
    /// The folder `yolo`.
    Yolo,
    /// `label-studio.json`.
    LabelStudio,
    /// Contact sheets, as JPEG.
    Sheet,
}

/// What is written, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// What to write.
    pub formats: Vec<Format>,
    /// How `coco.json` and `cvat.xml` hold masks.
    pub coco_masks: CocoMasks,
    /// How pictures come into `voc/JPEGImages` and `yolo/images`.
    pub pictures: Pictures,
    /// What comes before the pictures' names in `label-studio.json`: where its server gives them out.
    pub label_studio_prefix: String,
}

impl Output {
    /// Writes the labels of some pictures into a folder; the number of pictures that are not where they were labelled, and therefore do
    /// not lie beside their labels.
    ///
    /// # Errors
    /// As each of [`formats`], [`mod@super::cvat`] and [`sheet`], and [`crate::Error::Runtime`] if the file system refuses.
    pub fn write(&self, out: &Path, model: &str, pictures: &[PictureLabels], classes: &[String]) -> Result<usize> {
        let json = |name: &str, value: serde_json::Value| -> Result<()> {
            let text = serde_json::to_string(&value).expect("plain data") + "\n";
            Ok(replace_file(&out.join(name), text.as_bytes())?)
        };
        let mut missing = 0;
        for format in &self.formats {
            match format {
                Format::Coco => json("coco.json", formats::coco(pictures, classes, self.coco_masks)?)?,
                Format::Cvat => {
                    let xml = cvat(pictures, classes, self.coco_masks)?;
                    replace_file(&out.join("cvat.xml"), xml.as_bytes())?;
                }
                Format::Voc => {
                    formats::voc(&out.join("voc"), pictures, classes)?;
                    missing += put_pictures(&out.join("voc/JPEGImages"), pictures, self.pictures)?;
                }
                Format::Yolo => {
                    formats::yolo(&out.join("yolo"), pictures, classes)?;
                    missing += put_pictures(&out.join("yolo/images"), pictures, self.pictures)?;
                }
                Format::LabelStudio => json("label-studio.json", formats::label_studio(pictures, model, &self.label_studio_prefix)?)?,
                Format::Sheet => drop(sheet::write(out, pictures, classes)?),
            }
        }
        Ok(missing)
    }
}
