//! What a run found, ready for tables, JSON and reports.

use serde::Serialize;
use serde_json::json;

use super::classes::{Names, View};
use super::fit::{Halves, decimal};
use super::metric::{Confusion, Measures};
use super::segmentation::PictureCounts;
use super::variant::{Refine, Variant};

/// One variant's result.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Its options in words.
    pub run: String,
    /// Which words stood for a class.
    pub names: &'static str,
    /// What the words were put into.
    pub templates: String,
    /// Score below which a pixel belonged to no class.
    pub background: Option<f64>,
    /// Score from which a class was offered.
    pub tag_threshold: Option<f64>,
    /// What was done to masks.
    pub refine: &'static str,
    /// In a clip, the share of pixels whose label changed from frame to frame while the true one did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flicker: Option<f64>,
    /// Over all pictures.
    #[serde(flatten)]
    pub measures: Measures,
    /// True by predicted labels.
    #[serde(skip)]
    pub table: Confusion,
}

impl Run {
    /// Adds up the counts of variant number `run`.
    pub fn new(run: usize, variant: &Variant, counts: &[PictureCounts], view: &View) -> Self {
        let mut table = Confusion::new(view.classes.len());
        counts.iter().for_each(|c| table.merge(&c.confusion(run, view.classes.len())));
        let changes = counts.iter().filter_map(|c| c.flicker.get(run)).fold([0, 0], |[a, b], [c, n]| [a + c, b + n]);
        Self {
            run: variant.name.clone(),
            names: if variant.names == Names::Plain { "plain" } else { "synonyms" },
            templates: variant.templates.name.clone(),
            background: variant.background.threshold().map(decimal),
            tag_threshold: variant.tag_threshold.map(decimal),
            refine: match variant.refine {
                Refine::None => "none",
                Refine::Pamr(_) => "pamr",
                Refine::Guided => "guided",
            },
            flicker: (changes[1] > 0).then(|| changes[0] as f64 / changes[1] as f64),
            measures: table.measures(view.background),
            table,
        }
    }
}

/// A whole run.
#[derive(Debug, Clone)]
pub struct Summary<'a> {
    /// The model's name.
    pub model: &'a str,
    /// The model's variant.
    pub variant: &'a str,
    /// The bundle's digest.
    pub digest: &'a str,
    /// Pictures measured.
    pub pictures: usize,
    /// Pictures that are left out, since they or their labels cannot be read.
    pub left_out: usize,
    /// The preset's name or the view's column.
    pub view: &'a str,
    /// How the data was laid out.
    pub layout: &'a str,
    /// What all variants share.
    pub protocol: &'a str,
    /// Side of the prepared input.
    pub size_px: usize,
    /// What ran the encoders.
    pub backend: &'static str,
    /// The preset's column among the published figures.
    pub published: Option<usize>,
    /// Whether label 0 is a class.
    pub background_class: bool,
    /// Names of the labels, the background's first.
    pub labels: Vec<String>,
    /// Variant by variant.
    pub runs: Vec<Run>,
    /// Thresholds measured on pictures that did not choose them.
    pub halves: Vec<Halves>,
    /// Time of the image encoder, the median of the pictures.
    pub encode_ms_median: f64,
}

impl Summary<'_> {
    /// The run that details are told of: the one of the largest mIoU, the first of equals.
    pub fn best(&self) -> usize {
        let miou = |run: &Run| run.measures.miou.unwrap_or(0.0);
        (0..self.runs.len()).fold(0, |best, i| if miou(&self.runs[i]) > miou(&self.runs[best]) { i } else { best })
    }

    /// How many pictures were measured, and how many are left out.
    pub fn told_pictures(&self) -> String {
        match self.left_out {
            0 => self.pictures.to_string(),
            left_out => format!("{} ({left_out} that cannot be read left out)", self.pictures),
        }
    }

    /// Run number `run` as a JSON object, on request with its table of true by predicted labels.
    pub fn json(&self, run: usize, confusion: bool) -> serde_json::Value {
        let found = &self.runs[run];
        let mut object = json!({
            "model": self.model,
            "variant": self.variant,
            "digest": self.digest,
            "pictures": self.pictures,
            "left_out": self.left_out,
            "view": self.view,
            "layout": self.layout,
            "protocol": self.protocol,
            "size_px": self.size_px,
            "backend": self.backend,
            "encode_ms_median": self.encode_ms_median,
            "labels": self.labels,
        });
        let fields = object.as_object_mut().expect("an object");
        if let serde_json::Value::Object(own) = serde_json::to_value(found).expect("plain data") {
            fields.extend(own);
        }
        if confusion {
            fields.insert("confusion".into(), json!(found.table.rows().collect::<Vec<_>>()));
        }
        if run == 0 && !self.halves.is_empty() {
            fields.insert("halves".into(), json!(self.halves));
        }
        object
    }
}
