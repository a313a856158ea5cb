//! Masks and scores as arrays.

use std::sync::OnceLock;
use std::time::Duration;

use edge_seg::image::codecs::png::{CompressionType, FilterType, PngEncoder};
use edge_seg::image::{ExtendedColorType, ImageEncoder, RgbImage, imageops};
use edge_seg::region;
use edge_seg::sink::{LegendEntry, OverlayOptions, draw_overlay, draw_overlay_in};
use numpy::{PyArray1, PyArray2, PyArray3, PyArrayMethods};
use pyo3::exceptions::PyImportError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyIterator, PyList, PyString};

use crate::error::{EdgeSegError, OrRaise, WordsError, option};
use crate::guest::outside;
use crate::hide::Hidden;
use crate::picture::{array_from, array_of};
use crate::shown::Picture;
use crate::words::{cut, listed, position, position_of};

/// The masks and scores of a picture.
#[pyclass(frozen, module = "edge_seg")]
pub struct Segmentation {
    /// Without its labels, which are the array's.
    found: edge_seg::Segmentation,
    labels: Py<PyArray2<u16>>,
    picture: Picture,
    reports: OnceLock<Vec<Report>>,
}

#[derive(Debug, Clone, Copy)]
struct Report {
    score: f32,
    pixels: u64,
    share: f64,
    bounds_px: Option<[u32; 4]>,
}

/// The longest side of what a notebook shows.
const SHOWN_PX: u32 = 1280;
/// Regions with fewer pixels are no detections of their own.
const LEAST_REGION_PX: u64 = 16;

impl Segmentation {
    pub fn new(py: Python<'_>, mut found: edge_seg::Segmentation, picture: Picture) -> PyResult<Self> {
        let shape = [found.labels.height as usize, found.labels.width as usize];
        let flat = PyArray1::from_vec(py, std::mem::take(&mut found.labels.labels));
        let labels = flat.reshape(shape)?;
        // What is told of the classes is of these labels. Of an array that can be written numpy lets a view be made writable, too.
        let fixed = PyDict::new(py);
        fixed.set_item(intern!(py, "write"), false)?;
        for array in [flat.as_any(), labels.as_any()] {
            array.call_method(intern!(py, "setflags"), (), Some(&fixed))?;
        }
        Ok(Self { found, labels: labels.unbind(), picture, reports: OnceLock::new() })
    }

    /// What the library's own functions take: a copy with its labels.
    pub fn whole(&self, py: Python<'_>) -> PyResult<edge_seg::Segmentation> {
        let mut whole = self.found.clone();
        whole.labels.labels = self.with_labels(py, <[u16]>::to_vec)?;
        Ok(whole)
    }

    fn with_labels<R>(&self, py: Python<'_>, work: impl FnOnce(&[u16]) -> R) -> PyResult<R> {
        let locked = self.labels.bind(py).try_readonly().map_err(|error| EdgeSegError::new_err(error.to_string()))?;
        Ok(work(locked.as_slice().map_err(|error| EdgeSegError::new_err(error.to_string()))?))
    }

    fn reports(&self, py: Python<'_>) -> PyResult<&[Report]> {
        if self.reports.get().is_none() {
            let whole = self.whole(py)?;
            let made = outside(py, || {
                let classes = whole.classes();
                let report = |class: &edge_seg::FoundClass<'_>| Report {
                    score: class.score(),
                    pixels: class.pixels(),
                    share: class.share(),
                    bounds_px: class.bounds_px(),
                };
                classes.iter().map(report).collect()
            });
            let _ = self.reports.set(made);
        }
        Ok(self.reports.get().map(Vec::as_slice).unwrap_or_default())
    }

    fn label_of(&self, name: &str) -> PyResult<u16> {
        let names = self.found.names();
        let at = position(names, name);
        let unknown = || WordsError::new_err(format!("mask: expected one of {}, found {name:?}", listed(names)));
        Ok(at.ok_or_else(unknown)? as u16 + 1)
    }

    fn bools<'py>(&self, py: Python<'py>, label: u16) -> PyResult<Bound<'py, PyArray2<bool>>> {
        let mask = self.with_labels(py, |labels| labels.iter().map(|at| *at == label).collect::<Vec<bool>>())?;
        PyArray1::from_vec(py, mask).reshape([self.found.labels.height as usize, self.found.labels.width as usize])
    }

    fn drawn(&self, py: Python<'_>, options: OverlayOptions) -> PyResult<RgbImage> {
        let whole = self.whole(py)?;
        Ok(outside(py, || {
            let legend: Vec<_> =
                whole.classes().iter().map(|class| LegendEntry::new(class.label().into(), class.name(), class.score())).collect();
            match self.picture.colours() {
                none if none.is_empty() => draw_overlay(self.picture.pixels(), &whole.labels, &legend, options),
                colours => draw_overlay_in(self.picture.pixels(), &whole.labels, &legend, &colours, options),
            }
        }))
    }

    fn class(this: &Bound<'_, Self>, label: u16) -> PyResult<FoundClass> {
        let report = this.get().reports(this.py())?[usize::from(label) - 1];
        Ok(FoundClass { found: this.clone().unbind(), label, report })
    }
}

#[pymethods]
impl Segmentation {
    /// The label of every pixel, 0 for the background, k for the k-th word: uint16 [height, width], to be read alone.
    #[getter]
    fn labels(&self, py: Python<'_>) -> Py<PyArray2<u16>> {
        self.labels.clone_ref(py)
    }

    /// Each word's score in 0..1, that of its best patch: float32 [words].
    #[getter]
    fn scores<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f32>> {
        PyArray1::from_slice(py, self.found.scores.scores())
    }

    /// Scores before masks are drawn, the background's first: float32 [1 + words, rows, columns] of patches. A copy.
    #[getter]
    fn logits<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray3<f32>> {
        PyArray3::from_array(py, &self.found.scores.view())
    }

    /// Names in the order of the labels: label k is names[k - 1].
    #[getter]
    fn names(&self) -> Vec<String> {
        self.found.names().to_vec()
    }

    /// What was found of each word, in their order, whether it has pixels or not.
    #[getter]
    fn classes(this: &Bound<'_, Self>) -> PyResult<Vec<FoundClass>> {
        (1..=this.get().found.names().len() as u16).map(|label| Self::class(this, label)).collect()
    }

    /// What is hidden of the picture; None where nothing was asked to be.
    #[getter]
    fn hidden(&self) -> Option<Hidden> {
        Hidden::of(&self.picture)
    }

    /// The picture that the masks are of, upright and without what is hidden: uint8 [height, width, 3], red first. A copy.
    #[getter]
    fn picture<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray3<u8>>> {
        array_of(py, self.picture.pixels())
    }

    /// Share of the pixels that belong to no word.
    #[getter]
    fn background_share(&self, py: Python<'_>) -> PyResult<f64> {
        let of = self.with_labels(py, |labels| labels.iter().filter(|label| **label == 0).count())?;
        Ok(of as f64 / self.found.labels.pixels().max(1) as f64)
    }

    /// The frame's number in its source.
    #[getter]
    fn sequence(&self) -> u64 {
        self.found.sequence
    }

    /// The frame's time in seconds since its source started.
    #[getter]
    fn timestamp(&self) -> f64 {
        self.found.timestamp.as_secs_f64()
    }

    /// Milliseconds of each stage: prepare, plan, encode, score, mask.
    #[getter]
    fn milliseconds<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let timings = &self.found.timings;
        let told = PyDict::new(py);
        for (stage, time) in [
            ("prepare", timings.prepare),
            ("plan", timings.plan),
            ("encode", timings.encode),
            ("score", timings.score),
            ("mask", timings.mask),
        ] {
            told.set_item(stage, time.as_secs_f64() * 1e3)?;
        }
        Ok(told)
    }

    /// What ran the encoder.
    #[getter]
    fn backend(&self) -> &'static str {
        self.found.backend
    }

    /// A word's mask, by its name or label; label 0 is the background: bool [height, width].
    fn mask<'py>(&self, py: Python<'py>, word: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray2<bool>>> {
        if let Ok(name) = word.cast::<PyString>() {
            return self.bools(py, self.label_of(&name.to_cow()?)?);
        }
        let label: i64 = word.extract()?;
        let last = self.found.names().len();
        match u16::try_from(label) {
            Ok(label) if usize::from(label) <= last => self.bools(py, label),
            _ => Err(WordsError::new_err(format!("mask: expected a label of 0 to {last}, found {label}"))),
        }
    }

    /// The picture with masks laid over it: uint8 [height, width, 3], red first.
    #[pyo3(signature = (*, opacity=0.5, outline=true, legend=true))]
    fn overlay<'py>(&self, py: Python<'py>, opacity: f32, outline: bool, legend: bool) -> PyResult<Bound<'py, PyArray3<u8>>> {
        if !(0.0..=1.0).contains(&opacity) {
            return Err(option("opacity", "0 to 1", opacity));
        }
        array_from(py, self.drawn(py, OverlayOptions::default().with_opacity(opacity).with_outline(outline).with_legend(legend))?)
    }

    /// What was found as `supervision.Detections`, one for each word with pixels, or for each connected region.
    #[pyo3(signature = (*, regions=false))]
    fn to_supervision<'py>(&self, py: Python<'py>, regions: bool) -> PyResult<Bound<'py, PyAny>> {
        let whole = self.whole(py)?;
        let (width, height) = (whole.labels.width as usize, whole.labels.height as usize);
        let mut found = Detected::new(width, height);
        outside(py, || {
            let classes = whole.classes();
            if !regions {
                for class in &classes {
                    let Some(bounds) = class.bounds_px() else { continue };
                    found.add(class.name(), class.label(), class.score(), bounds);
                    found.masks.extend(whole.labels.labels.iter().map(|label| *label == class.label()));
                }
                return;
            }
            for (label, region) in region::regions(&whole.labels.labels, width, LEAST_REGION_PX) {
                let Some(class) = usize::from(label).checked_sub(1).and_then(|at| classes.get(at)) else { continue };
                let bounds = region.bounds_px();
                found.add(class.name(), class.label(), class.score(), bounds);
                let start = found.masks.len();
                found.masks.resize(start + width * height, false);
                let [left, top, w, h] = bounds.map(|side| side as usize);
                for y in top..top + h {
                    (left..left + w).for_each(|x| found.masks[start + y * width + x] = region.contains(x, y));
                }
            }
        });
        found.detections(py, None)
    }

    fn _repr_png_<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let mut shown = self.drawn(py, OverlayOptions::default())?;
        let png = outside(py, move || {
            let longest = shown.width().max(shown.height());
            if longest > SHOWN_PX {
                let side = |px: u32| (u64::from(px) * u64::from(SHOWN_PX) / u64::from(longest)).max(1) as u32;
                shown = imageops::thumbnail(&shown, side(shown.width()), side(shown.height()));
            }
            let mut png = Vec::new();
            PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::Adaptive)
                .write_image(shown.as_raw(), shown.width(), shown.height(), ExtendedColorType::Rgb8)
                .map(|()| png)
        });
        png.map(|png| PyBytes::new(py, &png)).map_err(|error| EdgeSegError::new_err(format!("PNG: {error}")))
    }

    fn __getitem__(this: &Bound<'_, Self>, name: &str) -> PyResult<FoundClass> {
        Self::class(this, this.get().label_of(name)?)
    }

    fn __contains__(&self, name: &Bound<'_, PyAny>) -> bool {
        position_of(self.found.names(), name).is_some()
    }

    fn __iter__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyIterator>> {
        PyList::new(this.py(), Self::classes(this)?)?.try_iter()
    }

    fn __len__(&self) -> usize {
        self.found.names().len()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let reports = self.reports(py)?;
        let told = self.found.names().iter().zip(reports).take(8);
        let told: Vec<_> = told.map(|(name, of)| format!("{} {:.2} {:.1} %", cut(name), of.score, 100.0 * of.share)).collect();
        let more = if reports.len() > 8 { ", ..." } else { "" };
        Ok(format!("<Segmentation {}×{}: {}{more}>", self.found.labels.width, self.found.labels.height, told.join(", ")))
    }
}

/// What becomes `supervision.Detections`.
pub struct Detected {
    size: [usize; 2],
    xyxy: Vec<f32>,
    confidence: Vec<f32>,
    class_id: Vec<i64>,
    names: Vec<String>,
    /// Of each, in their order. `[detections, height, width]`
    pub masks: Vec<bool>,
}

impl Detected {
    pub fn new(width: usize, height: usize) -> Self {
        let (xyxy, confidence, class_id, names, masks) = Default::default();
        Self { size: [height, width], xyxy, confidence, class_id, names, masks }
    }

    /// One more, whose mask is added to [`Self::masks`] by the caller.
    pub fn add(&mut self, name: &str, label: u16, score: f32, [left, top, width, height]: [u32; 4]) {
        self.xyxy.extend([left, top, left + width, top + height].map(|edge| edge as f32));
        self.confidence.push(score);
        self.class_id.push(i64::from(label));
        self.names.push(name.to_owned());
    }

    pub fn detections(self, py: Python<'_>, tracker_id: Option<Vec<i64>>) -> PyResult<Bound<'_, PyAny>> {
        let missing = |error: PyErr| {
            let said = PyImportError::new_err(
                "to_supervision: expected the package supervision, which is not installed; try: pip install supervision",
            );
            said.set_cause(py, Some(error));
            said
        };
        let detections = py.import("supervision").map_err(missing)?.getattr("Detections")?;
        let (count, [height, width]) = (self.class_id.len(), self.size);
        let arguments = PyDict::new(py);
        arguments.set_item("xyxy", PyArray1::from_vec(py, self.xyxy).reshape([count, 4])?)?;
        arguments.set_item("mask", PyArray1::from_vec(py, self.masks).reshape([count, height, width])?)?;
        arguments.set_item("confidence", PyArray1::from_vec(py, self.confidence))?;
        arguments.set_item("class_id", PyArray1::from_vec(py, self.class_id))?;
        if let Some(tracker_id) = tracker_id {
            arguments.set_item("tracker_id", PyArray1::from_vec(py, tracker_id))?;
        }
        let data = PyDict::new(py);
        data.set_item("class_name", py.import(intern!(py, "numpy"))?.call_method1("array", (self.names, "str"))?)?;
        arguments.set_item("data", data)?;
        detections.call((), Some(&arguments))
    }
}

/// A mask as COCO has it: {"size": [height, width], "counts": str}.
pub fn coco(py: Python<'_>, height: u32, width: u32, counts: String) -> PyResult<Bound<'_, PyDict>> {
    let told = PyDict::new(py);
    told.set_item(intern!(py, "size"), [height, width])?;
    told.set_item(intern!(py, "counts"), counts)?;
    Ok(told)
}

/// Outlines as arrays. `[corners, 2]` each
pub fn outlines(py: Python<'_>, outlines: Vec<Vec<[u32; 2]>>) -> PyResult<Vec<Bound<'_, PyArray2<i32>>>> {
    let array = |outline: Vec<[u32; 2]>| {
        let flat = outline.iter().flatten().map(|at| *at as i32).collect();
        PyArray1::from_vec(py, flat).reshape([outline.len(), 2])
    };
    outlines.into_iter().map(array).collect()
}

/// How far an outline may lie from the mask's, in pixels.
pub fn tolerance(given: f64) -> PyResult<f64> {
    if given >= 0.0 && given.is_finite() { Ok(given) } else { Err(option("tolerance", "pixels, 0 or more", given)) }
}

/// What was found of one word.
#[pyclass(frozen, module = "edge_seg")]
pub struct FoundClass {
    found: Py<Segmentation>,
    label: u16,
    report: Report,
}

impl FoundClass {
    fn of<R: Send>(&self, py: Python<'_>, work: impl FnOnce(&edge_seg::FoundClass<'_>) -> R + Send) -> PyResult<R> {
        let whole = self.found.get().whole(py)?;
        Ok(outside(py, || work(&whole.classes()[usize::from(self.label) - 1])))
    }
}

#[pymethods]
impl FoundClass {
    #[getter]
    fn name(&self) -> &str {
        &self.found.get().found.names()[usize::from(self.label) - 1]
    }

    /// Its label in Segmentation.labels.
    #[getter]
    fn label(&self) -> u16 {
        self.label
    }

    /// The score of its best patch, in 0..1.
    #[getter]
    fn score(&self) -> f32 {
        self.report.score
    }

    /// Pixels of its mask.
    #[getter]
    fn area(&self) -> u64 {
        self.report.pixels
    }

    /// Their share of the picture, in 0..1.
    #[getter]
    fn share(&self) -> f64 {
        self.report.share
    }

    /// The smallest box around its mask in pixels: left, top, width, height; None without pixels.
    #[getter]
    fn r#box(&self) -> Option<(u32, u32, u32, u32)> {
        self.report.bounds_px.map(|[left, top, width, height]| (left, top, width, height))
    }

    /// Its mask: bool [height, width].
    #[getter]
    fn mask<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<bool>>> {
        self.found.get().bools(py, self.label)
    }

    /// Its mask as COCO's compressed run lengths: {"size": [height, width], "counts": str}.
    fn rle<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = self.of(py, |class| class.rle())?;
        let labels = &self.found.get().found.labels;
        coco(py, labels.height, labels.width, counts)
    }

    /// The outer outline of each connected region, corner by corner along pixel edges: int32 [corners, 2] each, x and y.
    #[pyo3(signature = (tolerance=1.0))]
    fn polygons<'py>(&self, py: Python<'py>, tolerance: f64) -> PyResult<Vec<Bound<'py, PyArray2<i32>>>> {
        let tolerance = self::tolerance(tolerance)?;
        outlines(py, self.of(py, |class| class.polygons(tolerance))?)
    }

    fn __repr__(&self) -> String {
        let of = &self.report;
        let place = of.bounds_px.map_or("no box".into(), |[left, top, width, height]| format!("box ({left}, {top}, {width}, {height})"));
        format!("<FoundClass {}: score {:.2}, {:.1} %, {place}>", cut(self.name()), of.score, 100.0 * of.share)
    }
}

/// Seconds of a frame, as Python has them.
pub fn seconds(what: &str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value).map_err(|_| option(what, "seconds, 0 or more", format!("{value:?}")))
}

/// Checks a segmentation that Rust's own functions made; see [`Segmentation::whole`].
pub fn whole(py: Python<'_>, found: &Bound<'_, Segmentation>) -> PyResult<edge_seg::Segmentation> {
    let whole = found.get().whole(py)?;
    whole.labels.checked().or_raise()?;
    Ok(whole)
}
