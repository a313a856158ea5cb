//! Which labelled pictures are measured: a data set of the literature where its release has them, or anybody's pictures and labels.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edge_seg_model::image::metadata::Orientation;
use edge_seg_model::{is_picture, read_orientation, read_text};
use rayon::prelude::*;

use super::left_out::LeftOut;
use super::pictures::{self, Coding, Pair};
use super::preset::{self, Preset};
use super::{ClassTable, Names, View, drawn};
use crate::{Error, Result};

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// A data set of the literature, one of [`preset::PRESETS`].
    pub preset: Option<String>,
    /// The folder of a preset's data.
    pub data: Option<PathBuf>,
    /// Part of the release; the usual one if none.
    pub split: Option<String>,
    /// Folder of pictures, in place of `data`.
    pub images: Option<PathBuf>,
    /// Folder of label pictures, or what a labelling tool wrote: COCO instances, Label Studio's tasks, CVAT's XML, YOLO's folder.
    pub labels: Option<PathBuf>,
    /// The class table.
    pub classes: Option<PathBuf>,
    /// Column of the table that numbers the classes to tell apart.
    pub view: Option<String>,
    /// Column whose numbers the label pictures hold: of a table the first if none, of a preset `train`.
    pub values: Option<String>,
    /// Further values of the label pictures that count for nothing.
    pub ignore: Vec<u32>,
    /// Whether the labels of photos with an EXIF orientation are of their stored pixels, and not of those as such photos are shown.
    pub stored: bool,
    /// Measure only the pictures whose stems (or file names) this file lists, one a line.
    pub only: Option<PathBuf>,
}

/// Pictures, and what their labels mean.
#[derive(Debug)]
pub struct Found {
    /// The data set of the literature.
    pub preset: Option<&'static Preset>,
    /// Pictures and their labels.
    pub pairs: Vec<Pair>,
    /// The preset's name or the view's column.
    pub view_name: String,
    /// How the data was laid out.
    pub layout: String,
    /// Photos of `images` that are turned by their EXIF orientation: which pixels their labels are of shows nowhere where one is turned
    /// by half or mirrored.
    pub turned: Vec<String>,
    /// Pictures that are left out, since they or their labels cannot be read.
    pub left_out: Vec<LeftOut>,
    /// Pictures without a file of labels, which are taken as pictures of nothing.
    pub unlabelled: Vec<String>,
    column: Option<String>,
    table: Option<ClassTable>,
    ignore: Vec<u32>,
}

impl Query {
    /// Finds the pictures.
    ///
    /// # Errors
    /// [`Error::Option`] if something is missing, [`Error::File`] or [`Error::Runtime`] if what is named cannot be read.
    pub fn find(&self) -> Result<Found> {
        let missing =
            |option: &str, expected: &str| Error::Option { option: option.into(), expected: expected.into(), found: "none".into() };
        let preset = self.preset.as_deref().map(preset::find).transpose()?;
        let only = self.only.as_deref().map(read_stems).transpose()?;
        let (mut table, mut categories, mut left_out, mut unlabelled) = (None, None, Vec::new(), Vec::new());
        let (mut pairs, mut layout, mut column) = (Vec::new(), "--images, --labels".to_string(), self.values.clone());
        if let (None, Some(images), Some(labels)) = (&self.data, &self.images, &self.labels) {
            pictures::tell_passed_over(images, labels);
        }
        match (preset, &self.data, &self.images, &self.labels) {
            (Some(preset), Some(data), ..) => {
                let (found, all) = preset.pairs(data, self.split.as_deref())?;
                pairs = all;
                layout = found.name.into();
                column = column.or(Some(found.column().into()));
                if let Some(only) = &only {
                    pairs.retain(|p| only.contains(&p.stem));
                    if pairs.len() != only.len() {
                        let expected = format!("{} pictures of {}", only.len(), data.display());
                        return Err(Error::Option { option: "--only".into(), expected, found: pairs.len().to_string() });
                    }
                }
            }
            (_, None, Some(images), Some(labels)) => match drawn::read(labels, images, only.as_ref(), self.stored)? {
                Some(found) if preset.is_none() => {
                    (pairs, layout) = (found.pairs, format!("--images, {}", found.layout));
                    table = Some(ClassTable::of_categories(&labels.display().to_string(), found.listed.clone()));
                    categories = Some((labels.display().to_string(), found.listed));
                    (left_out, unlabelled) = (found.left_out, found.unlabelled);
                }
                Some(found) => {
                    let found = format!("{}; leave --preset out", found.layout);
                    return Err(Error::Option { option: "--preset".into(), expected: "label pictures".into(), found });
                }
                None => pairs = pictures::pairs(images, labels, only.as_ref())?,
            },
            (Some(_), ..) => return Err(missing("--preset", "its pictures by --data, or by --images and --labels")),
            _ => {}
        }
        if pairs.is_empty() {
            return Err(missing("pictures", "--preset and --data, or --images, --labels, --classes and --view"));
        }
        if preset.is_none() {
            if let Some(classes) = &self.classes {
                table = Some(ClassTable::read(classes)?);
            }
            let table = table.as_ref().ok_or_else(|| missing("classes", "--preset, or --classes and --view"))?;
            if let Some((place, listed)) = categories {
                let values = Arc::new(table.categories(&place, &listed, column.as_deref())?);
                for pair in &mut pairs {
                    if let Coding::Shapes(_, categories) = &mut pair.coding {
                        *categories = values.clone();
                    }
                }
            } else if let Some(labels) = &self.labels {
                layout.extend(table.values_told(column.as_deref()).map(|told| format!(", {told}")));
                let colours = table.colours(labels, column.as_deref())?;
                if !colours.is_empty() {
                    let coding = Coding::Mapped(Arc::new(colours));
                    pairs.iter_mut().for_each(|pair| pair.coding = coding.clone());
                }
            }
        }
        pairs.iter_mut().for_each(|pair| pair.stored = self.stored);
        let turned = if self.images.is_some() { turned(&pairs) } else { Vec::new() };
        let view_name = preset.map(|p| p.name.to_string()).or(self.view.clone()).unwrap_or_else(|| "id".into());
        Ok(Found { preset, pairs, view_name, layout, turned, left_out, unlabelled, column, table, ignore: self.ignore.clone() })
    }
}

impl Found {
    /// What the labels mean, with the words of `names` for the classes.
    ///
    /// # Errors
    /// As [`ClassTable::view`].
    pub fn view(&self, names: Names) -> Result<View> {
        Ok(match (self.preset, &self.table) {
            (Some(preset), _) => preset.view(self.column.as_deref().unwrap_or("train"), names)?.ignoring(&self.ignore),
            (None, Some(table)) => table.view(&self.view_name, self.column.as_deref(), names, &self.ignore)?,
            (None, None) => unreachable!("asked for in find"),
        })
    }
}

fn turned(pairs: &[Pair]) -> Vec<String> {
    // What cannot be read is told where it is measured.
    let is_turned = |pair: &&Pair| read_orientation(&pair.image).is_ok_and(|orientation| orientation != Orientation::NoTransforms);
    pairs.par_iter().filter(is_turned).map(|pair| pair.stem.clone()).collect()
}

fn read_stems(path: &Path) -> Result<HashSet<String>> {
    let text = read_text(path)?;
    let name = |line: &str| line.split('#').next().unwrap_or("").trim().to_string();
    let stem = |name: String| match Path::new(&name).extension() {
        Some(_) if is_picture(Path::new(&name)) => Path::new(&name).file_stem().map(|s| s.to_string_lossy().into_owned()),
        _ => Some(name),
    };
    Ok(text.lines().map(name).filter(|l| !l.is_empty()).filter_map(stem).collect())
}
