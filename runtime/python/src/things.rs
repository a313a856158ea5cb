//! Things that are counted and followed.

use std::sync::{Arc, OnceLock};

use edge_seg::live::{Countable, SegmentedFrame, ThingOptions, Things};
use edge_seg::rules::{Tally, TallyPlace};
use edge_seg::{LabelMap, region};
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::error::{OptionError, option};
use crate::found::{Detected, coco, outlines, seconds, tolerance};
use crate::guest::{is_iterable, list, outside};

/// A frame's things, whose masks are drawn when somebody asks.
pub struct Drawn {
    shown: Arc<SegmentedFrame>,
    map: OnceLock<LabelMap>,
}

impl Drawn {
    pub fn new(shown: Arc<SegmentedFrame>) -> Self {
        Self { shown, map: OnceLock::new() }
    }

    /// # Errors
    /// [`OptionError`] if nobody follows things.
    pub fn things(&self) -> PyResult<&Things> {
        let none = || OptionError::new_err("things: expected a session that follows some, found none; try: Live(..., things=\"person\")");
        self.shown.things.as_ref().ok_or_else(none)
    }

    fn map(&self) -> PyResult<&LabelMap> {
        let things = self.things()?;
        Ok(self.map.get_or_init(|| things.map()))
    }

    pub fn detections<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (things, map) = (self.things()?, self.map()?);
        let mut found = Detected::new(map.width as usize, map.height as usize);
        outside(py, || {
            for (label, thing) in (1u16..).zip(&things.list) {
                found.add(&thing.word, thing.label, thing.score, thing.bounds_px);
                found.masks.extend(map.labels.iter().map(|at| *at == label));
            }
        });
        found.detections(py, Some(things.list.iter().map(|thing| thing.id as i64).collect()))
    }
}

/// A thing in a frame of video: an instance of a word, with a number that stays with it.
#[pyclass(frozen, module = "edge_seg")]
pub struct Thing {
    frame: Arc<Drawn>,
    /// Its place in the frame's list.
    at: usize,
}

impl Thing {
    pub fn of(frame: &Arc<Drawn>) -> PyResult<Vec<Self>> {
        Ok((0..frame.things()?.list.len()).map(|at| Self { frame: frame.clone(), at }).collect())
    }

    fn told(&self) -> PyResult<&edge_seg::live::Thing> {
        Ok(&self.frame.things()?.list[self.at])
    }

    /// The frame's map with this one alone, as label 1.
    fn alone(&self, py: Python<'_>) -> PyResult<LabelMap> {
        let (map, own) = (self.frame.map()?, self.at as u16 + 1);
        let labels = outside(py, || map.labels.iter().map(|label| u16::from(*label == own)).collect());
        Ok(LabelMap { width: map.width, height: map.height, labels })
    }
}

#[pymethods]
impl Thing {
    /// Its number, from 1, which no other thing of the session gets.
    #[getter]
    fn id(&self) -> PyResult<u64> {
        Ok(self.told()?.id)
    }

    /// Its word.
    #[getter]
    fn name(&self) -> PyResult<&str> {
        Ok(&self.told()?.word)
    }

    /// That word's label in Segmentation.labels.
    #[getter]
    fn label(&self) -> PyResult<u16> {
        Ok(self.told()?.label)
    }

    /// The score of its best patch, in 0..1.
    #[getter]
    fn score(&self) -> PyResult<f32> {
        Ok(self.told()?.score)
    }

    /// Its pixels.
    #[getter]
    fn area(&self) -> PyResult<u64> {
        Ok(self.told()?.pixels)
    }

    /// The smallest box around it in pixels: left, top, width, height.
    #[getter]
    fn r#box(&self) -> PyResult<(u32, u32, u32, u32)> {
        let [left, top, width, height] = self.told()?.bounds_px;
        Ok((left, top, width, height))
    }

    /// The mean of its pixels' centres in pixels: x, y.
    #[getter]
    fn centroid(&self) -> PyResult<(f32, f32)> {
        let [x, y] = self.told()?.centroid_px;
        Ok((x, y))
    }

    /// Where it stands, the middle of its box's lowest row of pixels: x, y.
    #[getter]
    fn foot(&self) -> PyResult<(f32, f32)> {
        let [x, y] = self.told()?.foot_px();
        Ok((x, y))
    }

    /// Seconds since it was first seen.
    #[getter]
    fn age(&self) -> PyResult<f64> {
        Ok(self.told()?.age_ms / 1e3)
    }

    /// Its mask: bool [height, width].
    #[getter]
    fn mask<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<bool>>> {
        let alone = self.alone(py)?;
        let mask = alone.labels.iter().map(|label| *label == 1).collect();
        PyArray1::from_vec(py, mask).reshape([alone.height as usize, alone.width as usize])
    }

    /// Its mask as COCO's compressed run lengths: {"size": [height, width], "counts": str}.
    fn rle<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let alone = self.alone(py)?;
        let counts = outside(py, || region::class_counts(&alone, 1).pop().unwrap_or_default());
        coco(py, alone.height, alone.width, counts)
    }

    /// The outer outline of each of its parts, corner by corner along pixel edges: int32 [corners, 2] each, x and y.
    #[pyo3(signature = (tolerance=1.0))]
    fn polygons<'py>(&self, py: Python<'py>, tolerance: f64) -> PyResult<Vec<Bound<'py, PyArray2<i32>>>> {
        let (tolerance, alone) = (self::tolerance(tolerance)?, self.alone(py)?);
        let parts = || region::regions(&alone.labels, alone.width as usize, 1).iter().map(|(_, mask)| mask.outline(tolerance)).collect();
        outlines(py, outside(py, parts))
    }

    fn __repr__(&self) -> PyResult<String> {
        let thing = self.told()?;
        let [left, top, width, height] = thing.bounds_px;
        Ok(format!("<Thing {} {}: score {:.2}, box ({left}, {top}, {width}, {height})>", thing.word, thing.id, thing.score))
    }
}

/// Which words' things are followed: "all", a line of words, or a list of them.
pub fn options(words: &Bound<'_, PyAny>, least: f64, patience: f64) -> PyResult<ThingOptions> {
    let text = match words.cast::<PyString>() {
        Ok(line) => line.to_string(),
        Err(_) => {
            let wrong = || PyTypeError::new_err("things: expected \"all\", a line of words, or a list of words");
            let words: Vec<String> = if is_iterable(words)? { list(words)?.extract().map_err(|_| wrong())? } else { return Err(wrong()) };
            if words.iter().any(|word| word.contains(',')) {
                return Err(option("things", "one word an entry", format!("{words:?}")));
            }
            words.join(",")
        }
    };
    let countable = Countable::parse(&text).map_err(crate::error::raised)?;
    Ok(ThingOptions::new(countable).with_least_share(least).with_patience(seconds("things_patience", patience)?))
}

/// What was counted in a zone or over a line.
pub fn tally<'py>(py: Python<'py>, told: &Tally) -> PyResult<Bound<'py, PyDict>> {
    let tally = PyDict::new(py);
    tally.set_item("word", &told.word)?;
    match &told.place {
        TallyPlace::Zone { zone, count, entered, left } => {
            tally.set_item("zone", zone)?;
            tally.set_item("count", count)?;
            tally.set_item("entered", entered)?;
            tally.set_item("left", left)?;
        }
        TallyPlace::Line { line, to_right, to_left } => {
            tally.set_item("line", line)?;
            tally.set_item("to_right", to_right)?;
            tally.set_item("to_left", to_left)?;
        }
        _ => {}
    }
    Ok(tally)
}
