//! One picture's labels.

use std::sync::Arc;

use edge_seg::{Class, Gate, Session};
use edge_seg_export::label::{Options, PictureLabels as Labels, Region as Found, embed, label_frame};
use edge_seg_export::{Error, Result};
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use crate::error::{OrRaise, WordsError};
use crate::guest::outside;
use crate::path::{Path, is_path};
use crate::picture::{Order, frame};
use crate::wait::watched;
use crate::words::{Words, parse};

/// The classes of words that have no settings of their own, and the threshold that ready ones have in common.
pub fn classes(words: &Bound<'_, PyAny>) -> PyResult<(Vec<Class>, Option<f32>)> {
    let unlike = |found: &str| Err(WordsError::new_err(format!("words: expected words to label with, found {found}")));
    if let Ok(ready) = words.cast::<Words>() {
        let list = &ready.get().list;
        if !list.left_out().is_empty() {
            return unlike("some to be left out");
        }
        if list.bank().gates().iter().any(|gate| matches!(gate, Gate::Own(_) | Gate::Off)) {
            return unlike("some with a threshold of their own, or off");
        }
        if list.examples().iter().any(|of| !of.is_empty()) {
            return unlike("some that are shown");
        }
        // Without a threshold every pixel belongs to some word.
        let common = list.background().threshold().unwrap_or(0.0);
        return Ok((list.classes().to_vec(), Some(common)));
    }
    let (classes, left_out) = parse(words)?;
    if left_out.is_empty() { Ok((classes, None)) } else { unlike("some to be left out") }
}

pub fn options(
    session: &Session,
    tag_threshold: Option<f32>,
    background: Option<f32>,
    common: Option<f32>,
    least_share: f64,
) -> PyResult<Options> {
    let manifest = session.bundle().manifest();
    let options = Options {
        tag_threshold: tag_threshold.unwrap_or(manifest.tag_threshold),
        background: background.or(common).unwrap_or(manifest.background),
        least_share,
    };
    options.check().or_raise()?;
    Ok(options)
}

/// A connected region of one class.
#[pyclass(frozen, module = "edge_seg")]
pub struct Region {
    picture: Arc<Labels>,
    at: usize,
}

impl Region {
    fn found(&self) -> &Found {
        &self.picture.regions[self.at]
    }
}

#[pymethods]
impl Region {
    #[getter]
    fn name(&self) -> &str {
        &self.found().class
    }

    /// The class's pixel-tag score in the picture, in 0..1.
    #[getter]
    fn score(&self) -> f32 {
        self.found().score
    }

    /// Its pixels.
    #[getter]
    fn area(&self) -> u64 {
        self.found().area_px
    }

    /// The smallest box around it in pixels: left, top, width, height.
    #[getter]
    fn r#box(&self) -> (u32, u32, u32, u32) {
        let [left, top, width, height] = self.found().bounds_px;
        (left, top, width, height)
    }

    /// Its mask: bool [height, width].
    #[getter]
    fn mask<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<bool>>> {
        let (width, height) = (self.picture.width as usize, self.picture.height as usize);
        let drawn = outside(py, || {
            let mask = self.found().mask(&self.picture)?;
            let mut drawn = vec![false; width * height];
            let [left, top, w, h] = mask.bounds_px().map(|side| side as usize);
            for y in top..top + h {
                (left..left + w).for_each(|x| drawn[y * width + x] = mask.contains(x, y));
            }
            Ok::<_, Error>(drawn)
        });
        PyArray1::from_vec(py, drawn.or_raise()?).reshape([height, width])
    }

    /// Its mask as COCO's compressed run lengths: {"size": [height, width], "counts": str}.
    fn rle<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let told = PyDict::new(py);
        told.set_item(intern!(py, "size"), [self.picture.height, self.picture.width])?;
        told.set_item(intern!(py, "counts"), &self.found().counts)?;
        Ok(told)
    }

    fn __repr__(&self) -> String {
        let (left, top, width, height) = self.r#box();
        format!("<Region {}: score {:.2}, box ({left}, {top}, {width}, {height})>", self.name(), self.score())
    }
}

/// A picture's labels.
#[pyclass(frozen, eq, module = "edge_seg")]
#[derive(PartialEq)]
pub struct PictureLabels {
    pub labels: Arc<Labels>,
}

#[pymethods]
impl PictureLabels {
    /// The picture's name.
    #[getter]
    fn file(&self) -> &str {
        &self.labels.file
    }

    #[getter]
    fn width(&self) -> u32 {
        self.labels.width
    }

    #[getter]
    fn height(&self) -> u32 {
        self.labels.height
    }

    /// Connected regions, class by class, each in reading order.
    #[getter]
    fn regions(&self) -> Vec<Region> {
        (0..self.labels.regions.len()).map(|at| Region { picture: self.labels.clone(), at }).collect()
    }

    /// All of it in one line, as labels.jsonl has it.
    fn to_json(&self) -> String {
        self.labels.to_json()
    }

    /// The inverse of to_json.
    #[classmethod]
    fn from_json(_class: &Bound<'_, PyType>, text: &str) -> PyResult<Self> {
        Ok(Self { labels: Arc::new(Labels::from_json("from_json", text).or_raise()?) })
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        Ok((py.get_type::<Self>().getattr(intern!(py, "from_json"))?, (self.to_json(),)))
    }

    fn __repr__(&self) -> String {
        let labels = &self.labels;
        format!("<PictureLabels {} {}×{}: {} regions>", labels.file, labels.width, labels.height, labels.regions.len())
    }
}

/// Labels one picture; see [`Model`](crate::model::Model).
#[allow(clippy::too_many_arguments)]
pub fn label_one(
    py: Python<'_>,
    session: &Arc<Session>,
    image: &Bound<'_, PyAny>,
    words: &Bound<'_, PyAny>,
    file: Option<String>,
    tag_threshold: Option<f32>,
    background: Option<f32>,
    least_share: f64,
    order: &str,
) -> PyResult<PictureLabels> {
    let session = session.clone();
    let file = match file {
        None if is_path(image)? => image.extract::<Path>()?.text("file")?,
        file => file.unwrap_or_default(),
    };
    let frame = frame(image, Order::parse(order)?)?;
    let (classes, common) = classes(words)?;
    let options = options(&session, tag_threshold, background, common, least_share)?;
    let labels = watched(py, None, move |watch| -> Result<_> {
        let words = embed(&session, &classes, || watch.stopped())?;
        label_frame(&session, &file, &frame, &words, &options)
    });
    Ok(PictureLabels { labels: Arc::new(labels?.or_raise()?) })
}
