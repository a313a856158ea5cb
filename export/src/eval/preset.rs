//! The data sets of the literature: their classes, how their labels are numbered, where their releases keep them, what was published.
//!
//! A preset's table (`export/presets/NAME.tsv`) has a column for each numbering of the labels, then `name` and `synonyms`. A row named
//! `background` is label 0, one named `ignore` counts for nothing, rows that share a name are one class, and `*` stands for every other
//! value. Value 255 counts for nothing, but in `labelmap`, where it is a category like others.

use std::collections::BTreeMap;
use std::path::Path;

use edge_seg_model::Class;

use super::classes::{Names, VOID, View, plain};
use super::layout::{self, Layout};
use super::pictures::Pair;
use crate::{Error, Result};

/// A data set of the literature.
#[derive(Debug)]
pub struct Preset {
    /// What `--preset` calls it.
    pub name: &'static str,
    /// Background threshold that TTD is published with, in 0..1.
    pub paper_background: f32,
    /// Its column among the published figures.
    pub published: Option<usize>,
    /// Whether its pictures are the frames of one clip, in the order of their names.
    pub clip: bool,
    /// Folders below `--data` where a release may start.
    pub roots: &'static [&'static str],
    /// Where releases keep pictures and labels.
    pub layouts: &'static [&'static [Layout]],
    table: &'static str,
}

const fn preset(
    name: &'static str,
    paper_background: f32,
    published: Option<usize>,
    roots: &'static [&'static str],
    layouts: &'static [&'static [Layout]],
    table: &'static str,
) -> Preset {
    Preset { name, paper_background, published, clip: false, roots, layouts, table }
}

const VOC: &[&[Layout]] = &[layout::VOC, layout::COMMON];
const CONTEXT: &[&[Layout]] = &[layout::CONTEXT, layout::COMMON];
const VOC_ROOTS: &[&str] = &["", "VOC2012", "VOCdevkit/VOC2012"];
const CONTEXT_ROOTS: &[&str] = &["", "VOC2010", "VOCdevkit/VOC2010"];
const COCO_ROOTS: &[&str] = &["", "coco", "coco_stuff164k"];

/// Every preset.
pub static PRESETS: [Preset; 10] = [
    preset("voc21", 0.40, Some(0), VOC_ROOTS, VOC, include_str!("../../presets/voc21.tsv")),
    preset("voc20", 0.40, None, VOC_ROOTS, VOC, include_str!("../../presets/voc20.tsv")),
    preset("context60", 0.45, Some(1), CONTEXT_ROOTS, CONTEXT, include_str!("../../presets/context60.tsv")),
    preset("context59", 0.45, Some(1), CONTEXT_ROOTS, CONTEXT, include_str!("../../presets/context59.tsv")),
    preset(
        "coco-object",
        0.45,
        Some(2),
        COCO_ROOTS,
        &[layout::COCO_OBJECT, layout::COCO_MAPS, layout::COMMON],
        include_str!("../../presets/coco-object.tsv"),
    ),
    preset(
        "coco-stuff",
        0.40,
        Some(3),
        COCO_ROOTS,
        &[layout::COCO_STUFF, layout::COCO_MAPS, layout::COMMON],
        include_str!("../../presets/coco-stuff.tsv"),
    ),
    preset(
        "coco-panoptic133",
        0.45,
        None,
        COCO_ROOTS,
        &[layout::PANOPTIC, layout::COMMON],
        include_str!("../../presets/coco-panoptic133.tsv"),
    ),
    preset(
        "cityscapes",
        0.40,
        Some(4),
        &["", "cityscapes"],
        &[layout::CITYSCAPES, layout::COMMON],
        include_str!("../../presets/cityscapes.tsv"),
    ),
    preset(
        "ade20k",
        0.45,
        Some(5),
        &["", "ADEChallengeData2016"],
        &[layout::ADE20K, layout::COMMON],
        include_str!("../../presets/ade20k.tsv"),
    ),
    Preset {
        clip: true,
        ..preset("camvid", 0.40, None, &["", "CamVid"], &[layout::CAMVID, layout::COMMON], include_str!("../../presets/camvid.tsv"))
    },
];

/// The preset of a name.
///
/// # Errors
/// [`Error::Option`] if there is none.
pub fn find(name: &str) -> Result<&'static Preset> {
    PRESETS.iter().find(|p| p.name == name).ok_or_else(|| Error::Option {
        option: "--preset".into(),
        expected: PRESETS.iter().map(|p| p.name).collect::<Vec<_>>().join(", "),
        found: name.into(),
    })
}

impl Preset {
    /// Its pictures below `data`, in the first layout whose folders are there and hold labels.
    ///
    /// # Errors
    /// [`Error::File`] if no layout fits, naming those that were looked for; if a picture is missing, or a list names one without labels;
    /// [`Error::Io`] if a file cannot be read.
    pub fn pairs(&self, data: &Path, split: Option<&str>) -> Result<(&'static Layout, Vec<Pair>)> {
        layout::find(self.name, self.roots, self.layouts, data, split)
    }

    fn rows(&self) -> impl Iterator<Item = Vec<&'static str>> {
        self.table.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()).map(|l| l.split('\t').map(str::trim).collect())
    }

    /// The classes, for labels whose values are those of a column.
    ///
    /// # Errors
    /// [`Error::Option`] if the preset has no such column.
    pub fn view(&self, column: &str, names: Names) -> Result<View> {
        let mut rows = self.rows();
        let header = rows.next().expect("a header");
        let numberings = header.len() - 2;
        let at = header[..numberings].iter().position(|c| *c == column).ok_or_else(|| Error::Option {
            option: "--values".into(),
            expected: format!("{} for {}", header[..numberings].join(" or "), self.name),
            found: column.into(),
        })?;
        let mut classes: Vec<Class> = Vec::new();
        let void = (column != "labelmap").then_some((VOID, None));
        let (mut labels, mut rest, mut background) = (BTreeMap::from_iter(void), None, false);
        for row in rows {
            let name = plain(row[numberings]);
            let label = match name.as_str() {
                "ignore" => None,
                "background" => {
                    background = true;
                    Some(0)
                }
                _ => Some(match classes.iter().position(|c| c.name == name) {
                    Some(known) => known + 1,
                    None => {
                        classes.push(class(&name, row[numberings + 1], names));
                        classes.len()
                    }
                } as u16),
            };
            match row[at] {
                "" => {}
                "*" => rest = Some(label),
                value => {
                    let radix = if column == "colour" { 16 } else { 10 };
                    labels.insert(u32::from_str_radix(value, radix).expect("a number, by the tables' test"), label);
                }
            }
        }
        Ok(View::from_parts(classes, background, labels, rest))
    }

    /// Words for what belongs to no class, as the engineered names of the literature have them; none for most presets.
    pub fn background_words(&self) -> Vec<String> {
        let row = self.rows().find(|row| row[row.len() - 2] == "background");
        row.map(|row| words(row[row.len() - 1])).unwrap_or_default()
    }
}

fn words(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

fn class(name: &str, synonyms: &str, names: Names) -> Class {
    let mut class = Class::word(name);
    if names == Names::Synonyms {
        let words = words(synonyms);
        if !words.is_empty() {
            class.words = words;
        }
    }
    class
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_the_classes_that_its_name_promises() {
        let counts: [(&str, usize, bool); 10] = [
            ("voc21", 20, true),
            ("voc20", 20, false),
            ("context60", 59, true),
            ("context59", 59, false),
            ("coco-object", 80, true),
            ("coco-stuff", 171, false),
            ("coco-panoptic133", 133, false),
            ("cityscapes", 19, false),
            ("ade20k", 150, false),
            ("camvid", 11, false),
        ];
        for (name, classes, background) in counts {
            let preset = find(name).unwrap();
            let header = preset.rows().next().unwrap();
            assert!(preset.rows().all(|row| row.len() == header.len()), "{name}");
            for column in &header[..header.len() - 2] {
                for names in [Names::Plain, Names::Synonyms] {
                    let view = preset.view(column, names).unwrap();
                    assert_eq!((view.classes.len(), view.background), (classes, background), "{name} {column}");
                    assert!(view.classes.iter().all(|c| !c.words.is_empty()), "{name}");
                    let void = if *column == "labelmap" && background { Some(0) } else { None };
                    assert_eq!(view.label(255), Some(void), "{name} {column}");
                    let met: std::collections::BTreeSet<_> =
                        (0..=0xff_ffff).filter(|v| *column == "colour" || *v < 460).filter_map(|v| view.label(v).flatten()).collect();
                    assert_eq!(met.len(), classes + usize::from(background), "{name} {column}: every class has a value");
                }
            }
            for layout in preset.layouts.iter().copied().flatten() {
                assert!(header.contains(&layout.column()), "{name} {}", layout.name);
            }
        }
    }

    #[test]
    fn values_mean_what_the_releases_say() {
        let label = |preset: &str, column: &str, value: u32| {
            let view = find(preset).unwrap().view(column, Names::Plain).unwrap();
            view.label(value)
                .map(|label| label.map(|l| if l == 0 { "background".into() } else { view.classes[l as usize - 1].name.clone() }))
        };
        let is = |name: &str| Some(Some(name.to_string()));
        assert_eq!(label("voc21", "train", 15), is("person"));
        assert_eq!(label("voc21", "train", 21), None);
        assert_eq!(label("voc20", "train", 0), Some(None));
        assert_eq!(label("cityscapes", "labelids", 33), is("bicycle"));
        assert_eq!(label("cityscapes", "labelids", 9), Some(None), "parking is not evaluated");
        assert_eq!(label("cityscapes", "train", 18), is("bicycle"));
        assert_eq!(label("coco-object", "stuffthingmaps", 89), is("toothbrush"));
        assert_eq!(label("coco-object", "stuffthingmaps", 156), is("background"));
        assert_eq!(label("coco-stuff", "stuffthingmaps", 156), is("sky"));
        assert_eq!(label("coco-stuff", "stuffthingmaps", 11), None, "a number that COCO left out");
        assert_eq!(label("coco-panoptic133", "category", 187), is("sky"));
        assert_eq!(label("ade20k", "train", 150), is("flag"));
        assert_eq!(label("context60", "labelmap", 427), is("tv monitor"));
        assert_eq!((label("context60", "labelmap", 255), label("context59", "labelmap", 1)), (is("background"), Some(None)));
        assert_eq!(label("camvid", "colour", 0x408040), is("pedestrian"), "animals are with them");
        assert_eq!(label("camvid", "colour", 0), Some(None));
        assert!(find("voc21").unwrap().view("colour", Names::Plain).is_err());
        assert!(find("voc22").is_err());
        assert!(find("voc21").unwrap().background_words().contains(&"grass".into()));
    }
}
