//! A loaded model.

use std::sync::Arc;

use edge_seg::device::Device;
use edge_seg::hide::{HideOptions, ShownFrame};
use edge_seg::image::RgbImage;
use edge_seg::trust::Trust;
use edge_seg::{Bundle, Frame, Languages, Meaning, ModelError, Options, Refinement, Session, WordScore, score_words};
use numpy::{PyArray1, PyArray3};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMapping};

use crate::error::{Home, OrRaise, option, whole};
use crate::example::Example;
use crate::found::{Segmentation, seconds};
use crate::guest::{outside, pairs};
use crate::hide::{Hide, by_name};
use crate::labels::{PictureLabels, label_one};
use crate::path::Path;
use crate::picture::{Order, frame};
use crate::shown::Picture;
use crate::wait::watched;
use crate::words::{Common, Words};

/// A loaded model. Several threads may share one.
#[pyclass(frozen, module = "edge_seg")]
#[derive(Clone)]
pub struct Model {
    session: Arc<Session>,
    device: Device,
    half: bool,
    home: Home,
}

impl Model {
    /// The model that was given, or else the one in the package, with default options.
    pub fn or_built_in<'py>(py: Python<'py>, given: Option<&Bound<'py, Self>>) -> PyResult<Bound<'py, Self>> {
        if let Some(given) = given {
            return Ok(given.clone());
        }
        let session = watched(py, None, |_| Session::new(Bundle::built_in()?, &Options::default()))?.map(Arc::new).or_raise()?;
        Bound::new(py, Self { session, device: Device::Cpu, half: false, home: Home::here() })
    }

    /// How it is loaded once more, for whole pictures side by side: these use the threads better than one picture's matrix products do.
    pub fn loading(&self) -> Options {
        let batch = (self.device != Device::Cpu).then_some(Options::BATCH);
        Options::default()
            .with_threads(1)
            .with_device(self.device)
            .with_half(self.half)
            .with_batch(batch)
            .with_languages(self.session.languages().clone())
    }

    /// The device, where its numbers differ from the processor's.
    pub fn told_device(&self) -> Option<String> {
        let (device, half) = (self.session.device().device, if self.half { " in 16-bit floats" } else { "" });
        (device != Device::Cpu).then(|| format!("{device}{half}"))
    }

    /// Runs `work`, which uses rayon, on threads that end with it: those that rayon keeps would be missing after a fork.
    pub fn in_parallel<R: Send>(&self, work: impl FnOnce() -> edge_seg_export::Result<R> + Send) -> edge_seg_export::Result<R> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.session.threads()).build();
        let pool = pool.map_err(|error| ModelError::Io { path: "threads".into(), source: std::io::Error::other(error) })?;
        pool.install(work)
    }

    /// The session, where its threads are.
    pub fn session(&self) -> PyResult<&Arc<Session>> {
        self.home.check("Model")?;
        Ok(&self.session)
    }
}

fn trust(keys: &Bound<'_, PyAny>) -> PyResult<Trust> {
    let Some(texts) = pairs(keys)? else {
        return Trust::read(&keys.extract::<Path>()?.0).or_raise();
    };
    let texts: Vec<(String, String)> = texts.extract()?;
    Trust::in_keys(texts.iter().map(|(name, text)| (name.as_str(), text.as_str()))).or_raise()
}

fn open(bundle: Option<&Bound<'_, PyAny>>, keys: Option<&Bound<'_, PyAny>>) -> PyResult<Bundle> {
    let Some(bundle) = bundle else {
        return match keys {
            Some(_) => Err(option("keys", "a bundle beside them", "none; the built-in model has no signature")),
            None => Bundle::built_in().or_raise(),
        };
    };
    let (py, trust) = (bundle.py(), keys.map(trust).transpose()?);
    if let Ok(bytes) = bundle.cast::<PyBytes>() {
        let bytes = bytes.as_bytes().to_vec();
        return outside(py, || match trust {
            Some(trust) => trust.open_bytes("bytes", bytes).or_raise(),
            None => Bundle::from_bytes("bytes", bytes).or_raise(),
        });
    }
    let Path(path) = bundle.extract()?;
    outside(py, || match trust {
        Some(trust) => trust.open(&path).or_raise(),
        None => Bundle::open(&path).or_raise(),
    })
}

#[pymethods]
impl Model {
    #[new]
    #[pyo3(signature = (bundle=None, *, keys=None, size=None, threads=None, device="cpu", half=false, refine=false, word_cache=None, languages="all"))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        bundle: Option<&Bound<'_, PyAny>>,
        keys: Option<&Bound<'_, PyAny>>,
        size: Option<i64>,
        threads: Option<i64>,
        device: &str,
        half: bool,
        refine: bool,
        word_cache: Option<Path>,
        languages: &str,
    ) -> PyResult<Self> {
        let device = match device {
            "cpu" => Device::Cpu,
            "cuda" => Device::Cuda,
            "auto" => Device::Auto,
            other => return Err(option("device", "\"cpu\", \"cuda\" or \"auto\"", format!("{other:?}"))),
        };
        let size = size.map(|size| whole("size", size)).transpose()?;
        let threads: Option<usize> = threads.map(|threads| whole("threads", threads)).transpose()?;
        let languages: Languages = languages.parse().or_raise()?;
        let bundle = open(bundle, keys)?;
        let options = Options::default().with_size_px(size).with_threads(threads).with_device(device).with_half(half);
        let options = options.with_languages(languages);
        let mut session = watched(py, None, move |_| Session::new(bundle, &options))?.or_raise()?;
        if refine {
            session = session.with_refinement(Refinement::Guided);
        }
        if let Some(folder) = word_cache {
            session = session.with_word_cache(&folder.0);
        }
        Ok(Self { session: Arc::new(session), device, half, home: Home::here() })
    }

    /// Words to look for, with their embeddings.
    #[pyo3(
        signature = (words, *, examples=None, thresholds=None, off=None, left_out=None, background=Common::Model),
        text_signature = "($self, words, *, examples=None, thresholds=None, off=None, left_out=None, background='model')"
    )]
    fn words(
        &self,
        words: &Bound<'_, PyAny>,
        examples: Option<&Bound<'_, PyMapping>>,
        thresholds: Option<&Bound<'_, PyMapping>>,
        off: Option<Vec<String>>,
        left_out: Option<Vec<String>>,
        background: Common,
    ) -> PyResult<Words> {
        Words::encode(self.session()?, words, examples, thresholds, off, left_out, background)
    }

    /// What is looked for in a word's place: its English meaning, or the word itself; None if nothing knows it.
    fn meaning(&self, word: &str) -> PyResult<Option<String>> {
        Ok(match self.session()?.meaning(word) {
            Meaning::Translated { means, .. } => Some(means.english),
            Meaning::Unknown { .. } => None,
            _ if word.trim().is_empty() => None,
            _ => Some(word.into()),
        })
    }

    /// What a box of a picture shows, or all of it, to be looked for as a word is.
    #[pyo3(signature = (image, r#box=None, *, order="rgb", counter=false))]
    fn example(&self, py: Python<'_>, image: &Bound<'_, PyAny>, r#box: Option<[i64; 4]>, order: &str, counter: bool) -> PyResult<Example> {
        let session = self.session()?;
        let frame = frame(image, Order::parse(order)?)?;
        let of_session = session.clone();
        let encoded = watched(py, None, move |_| of_session.encode(&frame))?.or_raise()?;
        Example::of(session, &encoded, r#box, counter)
    }

    /// Words whose things are to be hidden in pictures and video. They need not be among those that are looked for.
    #[pyo3(signature = (words, *, by="fill", margin=0.05, threshold=None, max_age=2.0))]
    fn hide(
        &self,
        py: Python<'_>,
        words: &Bound<'_, PyAny>,
        by: &str,
        margin: f32,
        threshold: Option<f32>,
        max_age: f64,
    ) -> PyResult<Hide> {
        let options = HideOptions::default().with_by(by_name(by)?).with_margin(margin).with_threshold(threshold);
        Hide::of(py, self.session()?, self.home, words, options.with_max_age(seconds("max_age", max_age)?))
    }

    /// Finds words in a picture.
    #[pyo3(signature = (image, words, *, order="rgb", hide=None, timestamp=0.0, sequence=0))]
    #[allow(clippy::too_many_arguments)]
    fn segment(
        &self,
        py: Python<'_>,
        image: &Bound<'_, PyAny>,
        words: &Bound<'_, PyAny>,
        order: &str,
        hide: Option<&Hide>,
        timestamp: f64,
        sequence: i64,
    ) -> PyResult<Segmentation> {
        let session = self.session()?;
        let mut frame = frame(image, Order::parse(order)?)?;
        (frame.timestamp, frame.sequence) = (seconds("timestamp", timestamp)?, whole("sequence", sequence)?);
        let (session, words, hide) = (session.clone(), Words::of(session, words)?.list, hide.map(|hide| hide.hide.clone()));
        let found = watched(py, None, move |_| match hide {
            None => session.find(&frame, &words).map(|found| (found, ShownFrame::open(frame))),
            Some(hide) => {
                let encoded = session.encode(&frame)?;
                let found = session.find_encoded(&frame, &encoded, &words)?;
                Ok((found, hide.show(&session, frame, &encoded)?))
            }
        });
        let (found, shown) = found?.or_raise()?;
        Segmentation::new(py, found, Picture::Still(Arc::new(shown)))
    }

    /// Embeds a picture's patches, for several lists of words, search or clustering.
    #[pyo3(signature = (image, *, order="rgb"))]
    fn encode(&self, py: Python<'_>, image: &Bound<'_, PyAny>, order: &str) -> PyResult<Encoded> {
        let session = self.session()?;
        let frame = frame(image, Order::parse(order)?)?;
        let session = session.clone();
        let encoded = watched(py, None, move |_| {
            let encoded = session.encode(&frame)?;
            Ok::<_, ModelError>((session, ShownFrame::open(frame), encoded))
        });
        let (session, frame, encoded) = encoded?.or_raise()?;
        Ok(Encoded { session, home: self.home, frame: Arc::new(frame), encoded: Arc::new(encoded) })
    }

    /// Embeds a text as it is: float32 [dim], unit-norm.
    fn embed_text<'py>(&self, py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let session = self.session()?;
        let rows = outside(py, || session.embed_text(text)).or_raise()?;
        Ok(PyArray1::from_slice(py, rows.row(0)))
    }

    /// Which words a picture shows, best first: those that reach the threshold, the model's own if None.
    #[pyo3(signature = (image, words, *, threshold=None, order="rgb"))]
    fn tags(
        &self,
        py: Python<'_>,
        image: &Bound<'_, PyAny>,
        words: &Bound<'_, PyAny>,
        threshold: Option<f32>,
        order: &str,
    ) -> PyResult<Vec<(String, f32)>> {
        if let Some(bad) = threshold.filter(|t| !(0.0..=1.0).contains(t)) {
            return Err(option("threshold", "0 to 1", bad));
        }
        let session = self.session()?;
        let frame = frame(image, Order::parse(order)?)?;
        let (session, words) = (session.clone(), Words::of(session, words)?.list);
        let tags = watched(py, None, move |_| {
            let manifest = session.bundle().manifest();
            let encoded = session.encode(&frame)?;
            let scores = score_words(WordScore::Pixel, &encoded.grid, words.bank(), None, manifest.into())?;
            let least = threshold.unwrap_or(manifest.tag_threshold);
            let mut tags: Vec<_> = words.names().iter().cloned().zip(scores).filter(|(_, score)| *score >= least).collect();
            tags.sort_by(|a, b| b.1.total_cmp(&a.1));
            Ok::<_, ModelError>(tags)
        });
        tags?.or_raise()
    }

    /// Labels a picture: the words that it shows, their masks cut into connected regions.
    #[pyo3(signature = (image, words, *, file=None, tag_threshold=None, background=None, least_share=0.001, order="rgb"))]
    #[allow(clippy::too_many_arguments)]
    fn label(
        &self,
        py: Python<'_>,
        image: &Bound<'_, PyAny>,
        words: &Bound<'_, PyAny>,
        file: Option<String>,
        tag_threshold: Option<f32>,
        background: Option<f32>,
        least_share: f64,
        order: &str,
    ) -> PyResult<PictureLabels> {
        label_one(py, self.session()?, image, words, file, tag_threshold, background, least_share, order)
    }

    /// The model's name, such as "mini".
    #[getter]
    fn name(&self) -> &str {
        &self.session.bundle().manifest().name
    }

    /// How its weights are stored and computed.
    #[getter]
    fn variant(&self) -> &str {
        &self.session.bundle().manifest().variant
    }

    /// Side of the prepared input in pixels.
    #[getter]
    fn size(&self) -> usize {
        self.session.size_px()
    }

    /// Numbers of an embedding.
    #[getter]
    fn dim(&self) -> usize {
        self.session.bundle().manifest().embedding_dim
    }

    /// The score in 0..1 below which a pixel belongs to no word.
    #[getter]
    fn threshold(&self) -> f32 {
        self.session.bundle().manifest().background
    }

    /// What runs the encoders.
    #[getter]
    fn backend(&self) -> &'static str {
        self.session.backend()
    }

    /// Which kernels score and draw.
    #[getter]
    fn kernels(&self) -> &'static str {
        self.session.kernels()
    }

    fn __repr__(&self) -> String {
        let manifest = self.session.bundle().manifest();
        format!("<Model {} {}, {} px, {}>", manifest.name, manifest.variant, self.session.size_px(), self.session.backend())
    }
}

/// A picture's embeddings, made by Model.encode().
#[pyclass(frozen, module = "edge_seg")]
pub struct Encoded {
    session: Arc<Session>,
    home: Home,
    frame: Arc<ShownFrame>,
    encoded: Arc<edge_seg::Encoded>,
}

impl Encoded {
    /// The picture, and its embeddings.
    pub fn seen(&self) -> (&RgbImage, &edge_seg::Encoded) {
        (&self.frame.pixels, &self.encoded)
    }
}

#[pymethods]
impl Encoded {
    /// An embedding of each patch: float32 [rows, columns, dim], unit-norm in the last axis. A copy.
    #[getter]
    fn patches<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray3<f32>> {
        PyArray3::from_array(py, &self.encoded.grid.view())
    }

    /// The whole picture's embedding: float32 [dim], unit-norm. A copy.
    #[getter]
    fn embedding<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f32>> {
        PyArray1::from_slice(py, self.encoded.grid.global().row(0))
    }

    /// Rows and columns of patches.
    #[getter]
    fn grid(&self) -> (usize, usize) {
        (self.encoded.grid.rows(), self.encoded.grid.cols())
    }

    /// The picture's pixels that a patch shows any of: left, top, width, height; None for a patch that is not there.
    fn patch_box(&self, row: i64, column: i64) -> Option<(u32, u32, u32, u32)> {
        let (row, column) = (row.try_into().ok()?, column.try_into().ok()?);
        self.encoded.placement.patch_px_box(row, column).map(|[left, top, width, height]| (left, top, width, height))
    }

    /// Finds words, without encoding the picture once more.
    #[pyo3(signature = (words, *, hide=None))]
    fn segment(&self, py: Python<'_>, words: &Bound<'_, PyAny>, hide: Option<&Hide>) -> PyResult<Segmentation> {
        self.home.check("Encoded")?;
        let (session, words, hide) = (self.session.clone(), Words::of(&self.session, words)?.list, hide.map(|hide| hide.hide.clone()));
        let (frame, encoded) = (self.frame.clone(), self.encoded.clone());
        let found = watched(py, None, move |_| {
            let found = session.find_encoded(&frame, &encoded, &words)?;
            let shown = match hide {
                None => frame,
                Some(hide) => Arc::new(hide.show(&session, Frame::clone(&frame), &encoded)?),
            };
            Ok::<_, ModelError>((found, shown))
        });
        let (found, shown) = found?.or_raise()?;
        Segmentation::new(py, found, Picture::Still(shown))
    }

    /// What a box of the picture shows, or all of it, to be looked for as a word is.
    #[pyo3(signature = (r#box=None, *, counter=false))]
    fn example(&self, r#box: Option<[i64; 4]>, counter: bool) -> PyResult<Example> {
        Example::of(&self.session, &self.encoded, r#box, counter)
    }

    fn __repr__(&self) -> String {
        let (rows, columns) = self.grid();
        format!("<Encoded {rows}×{columns} patches of {} numbers>", self.encoded.grid.patches().dim())
    }
}
