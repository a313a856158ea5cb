//! Pictures labelled for other tools.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use edge_seg::expand_inputs;
use edge_seg_export::Error;
use edge_seg_export::label::output::Output;
use edge_seg_export::label::part::Part;
use edge_seg_export::label::run::{self, Job, Labelled, Wanted};
use edge_seg_export::label::{PictureLabels as Labels, read_captions};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::Deserialize;
use serde::de::value::{Error as Unknown, StrDeserializer};

use crate::error::{OptionError, OrRaise, Raised, brief, io, option};
use crate::guest::{is_iterable, list};
use crate::labels::{PictureLabels, classes, options};
use crate::model::Model;
use crate::path::{Path, is_path};
use crate::wait::watched;

/// What is chosen by a name, as the program's options have it.
pub fn named<'a, T: Deserialize<'a>>(option: &str, name: &'a str) -> PyResult<T> {
    T::deserialize(StrDeserializer::<Unknown>::new(name))
        .map_err(|error| OptionError::new_err(format!("{option}: {}", brief(&error.to_string()))))
}

/// One name or several.
pub fn several<T>(given: &Bound<'_, PyAny>, one: impl Fn(&Bound<'_, PyAny>) -> PyResult<T>) -> PyResult<Vec<T>> {
    if is_path(given)? || given.is_instance_of::<PyBytes>() || !is_iterable(given)? {
        return Ok(vec![one(given)?]);
    }
    list(given)?.iter().map(|item| one(&item)).collect()
}

/// Pictures that could not be labelled, and why.
type Failed = Vec<(String, String)>;

/// What a run of labelling gave.
#[pyclass(frozen, module = "edge_seg")]
pub struct Labelling {
    pictures: Vec<Arc<Labels>>,
    classes: Vec<String>,
    failed: Failed,
}

#[pymethods]
impl Labelling {
    /// Each picture's labels, in the order of the pictures.
    #[getter]
    fn pictures(&self) -> Vec<PictureLabels> {
        self.pictures.iter().map(|labels| PictureLabels { labels: labels.clone() }).collect()
    }

    /// Names of the classes in the order of their numbers in the files.
    #[getter]
    fn classes(&self) -> Vec<String> {
        self.classes.clone()
    }

    /// Pictures that could not be labelled, and why.
    #[getter]
    fn failed(&self) -> Vec<(String, String)> {
        self.failed.clone()
    }

    fn __repr__(&self) -> String {
        let regions: usize = self.pictures.iter().map(|p| p.regions.len()).sum();
        let (pictures, classes) = (self.pictures.len(), self.classes.len());
        format!("<Labelling {pictures} pictures, {regions} regions, {classes} classes, {} failed>", self.failed.len())
    }
}

impl Labelling {
    fn new(labelled: Labelled, failed: Failed) -> Self {
        Self { pictures: labelled.pictures.into_iter().map(Arc::new).collect(), classes: labelled.classes, failed }
    }
}

fn output(formats: Option<&Bound<'_, PyAny>>, coco_masks: &str, pictures: &str, label_studio_prefix: &str) -> PyResult<Output> {
    let all = ["coco", "cvat", "voc", "yolo", "label-studio", "sheet"];
    let formats = match formats {
        Some(given) => several(given, |name| named("formats", &name.extract::<String>()?))?,
        None => all.into_iter().map(|name| named("formats", name)).collect::<PyResult<_>>()?,
    };
    Ok(Output {
        formats,
        coco_masks: named("coco_masks", coco_masks)?,
        pictures: named("pictures", pictures)?,
        label_studio_prefix: label_studio_prefix.to_owned(),
    })
}

/// Pictures, folders of pictures and globs; what is none of them is told beside.
fn inputs(images: &Bound<'_, PyAny>) -> PyResult<(Vec<PathBuf>, Failed)> {
    let wrong = |found: &Bound<'_, PyAny>| {
        let found = found.get_type().name().map_or_else(|_| "something else".into(), |name| name.to_string());
        PyTypeError::new_err(format!("images: expected a path, a folder, a glob, or several of them, found {found}"))
    };
    let given =
        several(images, |path| if is_path(path)? || path.is_instance_of::<PyBytes>() { path.extract::<Path>() } else { Err(wrong(path)) })?;
    let (mut paths, mut failed) = (Vec::new(), Vec::new());
    for given in given {
        // What has no place is a file that is missing, unless it may be a glob.
        let missing =
            std::fs::metadata(&given.0).err().filter(|_| !given.0.as_os_str().as_encoded_bytes().iter().any(|b| b"*?[".contains(b)));
        let name = given.text("images")?;
        if let Some(error) = missing {
            failed.push((name.clone(), (error.to_string(), io(&error, name.as_ref()))));
            continue;
        }
        for found in expand_inputs(std::slice::from_ref(&name)) {
            match found {
                Ok(path) => paths.push(path),
                Err(error) => failed.push((name.clone(), (error.to_string(), error.raised()))),
            }
        }
    }
    match failed.into_iter() {
        mut failed if paths.is_empty() => match failed.next() {
            Some((_, (_, error))) => Err(error),
            None => Err(option("images", "one picture or more", "none")),
        },
        failed => Ok((paths, failed.map(|(name, (error, _))| (name, error)).collect())),
    }
}

/// Labels pictures by words, for other tools to read or to train on.
#[pyfunction]
#[pyo3(signature = (
    images, words, out, *, model=None, captions=None, formats=None, tag_threshold=None, background=None, least_share=0.001,
    coco_masks="rle", pictures="link", label_studio_prefix="/data/local-files/?d=", part=None, progress=None
))]
#[allow(clippy::too_many_arguments)]
pub fn label<'py>(
    py: Python<'py>,
    images: &Bound<'py, PyAny>,
    words: Option<&Bound<'py, PyAny>>,
    out: Path,
    model: Option<&Bound<'py, Model>>,
    captions: Option<Path>,
    formats: Option<&Bound<'py, PyAny>>,
    tag_threshold: Option<f32>,
    background: Option<f32>,
    least_share: f64,
    coco_masks: &str,
    pictures: &str,
    label_studio_prefix: &str,
    part: Option<&str>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Labelling> {
    let (wanted, common) = match (words, captions) {
        (Some(words), None) => {
            let (classes, common) = classes(words)?;
            (Wanted::Same(classes), common)
        }
        (None, Some(captions)) => (Wanted::Captions(read_captions(&captions.0).or_raise()?), None),
        _ => return Err(option("words", "words for all pictures, or None and captions", if words.is_some() { "both" } else { "neither" })),
    };
    let output = output(formats, coco_masks, pictures, label_studio_prefix)?;
    let part = part.map(str::parse::<Part>).transpose().map_err(|error| OptionError::new_err(format!("part: {error}")))?;
    let (pictures, mut failed) = inputs(images)?;
    let model = Model::or_built_in(py, model)?.get().clone();
    let options = options(model.session()?, tag_threshold, background, common, least_share)?;
    let (session, device) = (model.session()?.clone(), model.told_device());
    let (labelled, mut faults) = watched(py, progress, move |watch| {
        watch.expect(part.map_or(pictures.len(), |part| part.of_list(&pictures).len()));
        let (stop, faults) = (|| watch.stopped(), Mutex::new(Vec::new()));
        let job = Job { session: &session, device, options, wanted, pictures, part, out: out.0, output, stop: &stop };
        let labelled = model.in_parallel(|| {
            job.run(|path: &std::path::Path, result| {
                if let Err(error) = result {
                    let fault = (path.display().to_string(), error.to_string(), error.raised());
                    faults.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
                }
                watch.add(1);
                if watch.stopped() { Err(Error::Stopped) } else { Ok(()) }
            })
        });
        (labelled, faults.into_inner().unwrap_or_else(PoisonError::into_inner))
    })?;
    faults.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    let labelled = match labelled {
        // Where no picture is left, the first one's fault says more.
        Err(Error::Option { option, .. }) if option == "pictures" && !faults.is_empty() => return Err(faults.swap_remove(0).2),
        labelled => labelled.or_raise()?,
    };
    failed.extend(faults.into_iter().map(|(name, said, _)| (name, said)));
    Ok(Labelling::new(labelled, failed))
}

/// Joins the parts that label(..., part="I/N") wrote, all of them, in any order, to what one run would have written.
#[pyfunction]
#[pyo3(signature = (out, parts, *, formats=None, coco_masks="rle", pictures="link", label_studio_prefix="/data/local-files/?d="))]
pub fn merge_labels(
    py: Python<'_>,
    out: Path,
    parts: Vec<Path>,
    formats: Option<&Bound<'_, PyAny>>,
    coco_masks: &str,
    pictures: &str,
    label_studio_prefix: &str,
) -> PyResult<Labelling> {
    let output = output(formats, coco_masks, pictures, label_studio_prefix)?;
    let parts: Vec<PathBuf> = parts.into_iter().map(|part| part.0).collect();
    let merged = watched(py, None, move |_| run::merge(&out.0, &parts, &output))?.or_raise()?;
    let failed = match merged.failed {
        0 => Vec::new(),
        count => vec![("parts".to_owned(), format!("{count} pictures could not be labelled; each part's run says which"))],
    };
    Ok(Labelling::new(merged, failed))
}
