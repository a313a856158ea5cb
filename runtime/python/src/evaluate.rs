//! Models measured on labelled pictures.

use edge_seg_export::Error;
use edge_seg_export::eval::run::{Measurement, Options, Refinement};
use edge_seg_export::eval::source::Query;
use edge_seg_export::eval::summary::Run;
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::intern;
use pyo3::prelude::*;

use crate::error::{OrRaise, option, whole};
use crate::label::{named, several};
use crate::model::Model;
use crate::path::Path;
use crate::wait::watched;

/// Measures of one class.
#[pyclass(frozen, module = "edge_seg", get_all)]
pub struct ClassMeasures {
    name: String,
    /// Its label.
    label: usize,
    /// TP / (TP + FP + FN); None where neither labels nor predictions hold it.
    iou: Option<f64>,
    /// FP / (TP + FP + FN).
    fpr: Option<f64>,
    /// FN / (TP + FP + FN).
    fnr: Option<f64>,
    /// Pixels that have it.
    truth: u64,
    /// Pixels that were given it.
    predicted: u64,
}

#[pymethods]
impl ClassMeasures {
    fn __repr__(&self) -> String {
        let iou = self.iou.map_or("none".into(), |iou| format!("{iou:.3}"));
        format!("<ClassMeasures {}: IoU {iou}>", self.name)
    }
}

/// What was measured of one combination of options.
#[pyclass(frozen, module = "edge_seg")]
pub struct Evaluation {
    run: Run,
    labels: Vec<String>,
    pictures: usize,
    failed: Vec<(String, String)>,
    told: String,
}

#[pymethods]
impl Evaluation {
    /// The options in words.
    #[getter]
    fn run(&self) -> &str {
        &self.run.run
    }

    /// Mean IoU of the classes that the labels hold, in 0..1; None where there is nothing to measure.
    #[getter]
    fn miou(&self) -> Option<f64> {
        self.run.measures.miou
    }

    /// The same, of the classes that labels or predictions hold.
    #[getter]
    fn miou_any(&self) -> Option<f64> {
        self.run.measures.miou_any
    }

    /// Mean of FP / (TP + FP + FN).
    #[getter]
    fn mfpr(&self) -> Option<f64> {
        self.run.measures.mfpr
    }

    /// Mean of FN / (TP + FP + FN).
    #[getter]
    fn mfnr(&self) -> Option<f64> {
        self.run.measures.mfnr
    }

    /// Share of the labelled pixels that are right.
    #[getter]
    fn pixel_accuracy(&self) -> Option<f64> {
        self.run.measures.pixel_accuracy
    }

    /// Pictures measured.
    #[getter]
    fn pictures(&self) -> usize {
        self.pictures
    }

    /// Pictures that were left out, and why.
    #[getter]
    fn failed(&self) -> Vec<(String, String)> {
        self.failed.clone()
    }

    /// Names of the labels, the background's first: those of confusion's rows and columns.
    #[getter]
    fn labels(&self) -> Vec<String> {
        self.labels.clone()
    }

    /// One by one, in the order of the labels.
    #[getter]
    fn per_class(&self) -> Vec<ClassMeasures> {
        let one = |of: &edge_seg_export::eval::metric::ClassMeasures| ClassMeasures {
            name: self.labels[of.label].clone(),
            label: of.label,
            iou: of.iou,
            fpr: of.fpr,
            fnr: of.fnr,
            truth: of.truth_px,
            predicted: of.predicted_px,
        };
        self.run.measures.per_class.iter().map(one).collect()
    }

    /// Pixels by true and predicted label: uint64 [labels, labels], truth by rows.
    #[getter]
    fn confusion<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<u64>>> {
        let side = self.run.table.labels();
        PyArray1::from_vec(py, self.run.table.rows().flatten().copied().collect()).reshape([side, side])
    }

    /// All that `edge-seg-export eval --json` tells.
    #[getter]
    fn details<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import(intern!(py, "json"))?.call_method1(intern!(py, "loads"), (&self.told,))
    }

    fn __repr__(&self) -> String {
        let miou = self.run.measures.miou.map_or("none".into(), |miou| format!("{miou:.3}"));
        format!("<Evaluation {}: mIoU {miou} on {} pictures>", self.run.run, self.pictures)
    }
}

/// Numbers and names, one or several, as the program's options have them.
fn texts(given: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<String>> {
    let one = |value: &Bound<'_, PyAny>| if value.is_none() { Ok("none".into()) } else { Ok(value.str()?.to_string()) };
    given.map_or(Ok(Vec::new()), |given| several(given, one))
}

/// Measures a model on labelled pictures.
#[pyfunction]
#[pyo3(signature = (
    *, model=None, preset=None, data=None, split=None, images=None, labels=None, classes=None, view=None, values=None, ignore=Vec::new(),
    label_pixels="upright", only=None, protocol="edge", names=None, templates=None, background=None, background_words=None,
    present_only=false, tag_threshold=None, word_thresholds=None, refine=None, size=None, scales=Vec::new(), flip=false, windows=None,
    record=None, html=None, progress=None
), text_signature = "(*, model=None, preset=None, data=None, split=None, images=None, labels=None, classes=None, view=None, values=None, ignore=(), label_pixels='upright', only=None, protocol='edge', names=None, templates=None, background=None, background_words=None, present_only=False, tag_threshold=None, word_thresholds=None, refine=None, size=None, scales=(), flip=False, windows=None, record=None, html=None, progress=None)")]
#[allow(clippy::too_many_arguments)]
pub fn evaluate<'py>(
    py: Python<'py>,
    model: Option<&Bound<'py, Model>>,
    preset: Option<String>,
    data: Option<Path>,
    split: Option<String>,
    images: Option<Path>,
    labels: Option<Path>,
    classes: Option<Path>,
    view: Option<String>,
    values: Option<String>,
    ignore: Vec<u32>,
    label_pixels: &str,
    only: Option<Path>,
    protocol: &str,
    names: Option<&Bound<'py, PyAny>>,
    templates: Option<&Bound<'py, PyAny>>,
    background: Option<&Bound<'py, PyAny>>,
    background_words: Option<&Bound<'py, PyAny>>,
    present_only: bool,
    tag_threshold: Option<&Bound<'py, PyAny>>,
    word_thresholds: Option<Path>,
    refine: Option<&Bound<'py, PyAny>>,
    size: Option<i64>,
    scales: Vec<f32>,
    flip: bool,
    windows: Option<String>,
    record: Option<Path>,
    html: Option<Path>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Vec<Evaluation>> {
    let paper = match protocol {
        "edge" => false,
        "paper" => true,
        other => return Err(option("protocol", "\"edge\" or \"paper\"", format!("{other:?}"))),
    };
    let stored = match label_pixels {
        "upright" => false,
        "stored" => true,
        other => return Err(option("label_pixels", "\"upright\" or \"stored\"", format!("{other:?}"))),
    };
    let model = Model::or_built_in(py, model)?.get().clone();
    let session = model.session()?.clone();
    let inside = |path: Option<Path>| path.map(|path| path.0);
    let mut refine: Vec<Refinement> =
        refine.map_or(Ok(Vec::new()), |given| several(given, |name| named("refine", &name.extract::<String>()?)))?;
    if refine.is_empty() && session.refinement() != edge_seg::Refinement::None {
        refine.push(Refinement::Guided);
    }
    let options = Options {
        paper,
        names: names.map_or(Ok(Vec::new()), |given| several(given, |name| named("names", &name.extract::<String>()?)))?,
        templates: texts(templates)?,
        background: texts(background)?,
        background_words: texts(background_words)?.iter().flat_map(|words| words.split(',')).map(|word| word.trim().to_owned()).collect(),
        present_only,
        tag_threshold: texts(tag_threshold)?,
        word_thresholds: inside(word_thresholds),
        refine,
        size_px: size.map(|size| whole("size", size)).transpose()?.or_else(|| (!paper).then(|| session.size_px())),
        scales,
        flip,
        windows,
    };
    let (data, images, labels, classes, only) = (inside(data), inside(images), inside(labels), inside(classes), inside(only));
    let (record, html) = (inside(record), inside(html));
    let query = Query { preset, data, split, images, labels, classes, view, values, ignore, stored, only };
    let further = [stored.then(|| "labels of stored pixels".to_owned()), model.told_device()];
    let measured = watched(py, progress, move |watch| {
        model.in_parallel(|| {
            let found = query.find()?;
            watch.expect(found.pairs.len());
            let loading = model.loading();
            let measurement = Measurement::new(session.bundle(), &found, &options, &loading, further.into_iter().flatten())?;
            let protocol = measurement.protocol();
            let (counts, left_out) = measurement.run(&protocol, record.as_deref(), Some(session.threads()), |more| {
                watch.add(more);
                if watch.stopped() { Err(Error::Stopped) } else { Ok(()) }
            })?;
            let summary = measurement.summary(&counts);
            if let Some(path) = &html {
                measurement.write_report(path, &protocol, &summary, &counts)?;
            }
            let failed: Vec<(String, String)> =
                found.left_out.iter().chain(&left_out).map(|one| (one.picture.clone(), one.why.to_string())).collect();
            let one = |(at, run): (usize, &Run)| Evaluation {
                run: run.clone(),
                labels: summary.labels.clone(),
                pictures: summary.pictures,
                failed: failed.clone(),
                told: summary.json(at, false).to_string(),
            };
            Ok::<_, Error>(summary.runs.iter().enumerate().map(one).collect())
        })
    })?;
    measured.or_raise()
}
