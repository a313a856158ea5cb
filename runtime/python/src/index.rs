//! What cameras saw, kept to be searched.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edge_seg::ModelError;
use edge_seg::search::{Index as Opened, IndexOptions, IndexWriter as Writer, Query, Seen, Sighting as Found};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::error::{DataError, EdgeSegError, Home, option, raised, whole};
use crate::found::seconds;
use crate::guest::outside;
use crate::live_frame::LiveFrame;
use crate::model::{Encoded, Model};
use crate::path::Path;
use crate::wait::watched;
use crate::words::Words;

/// The exception for an error of an index: what is wrong with its file is no fault of words.
fn of_index(error: edge_seg::Error) -> PyErr {
    match error {
        edge_seg::Error::Model(ModelError::Words { .. }) => DataError::new_err(error.to_string()),
        error => raised(error),
    }
}

/// From here on, the end of 9999 but for a day that time zones may take, Python has no dates.
const END_OF_DATES: Duration = Duration::from_secs(253_402_300_800 - 86_400);

/// A time with its zone, as Python has it.
fn datetime<'py>(py: Python<'py>, time: SystemTime) -> PyResult<Bound<'py, PyAny>> {
    let datetime = py.import(intern!(py, "datetime"))?;
    let utc = datetime.getattr(intern!(py, "timezone"))?.getattr(intern!(py, "utc"))?;
    let epoch = datetime.getattr(intern!(py, "datetime"))?.call1((1970, 1, 1, 0, 0, 0, 0, utc))?;
    let since = PyDict::new(py);
    // What Python cannot name is its last day.
    let passed = time.duration_since(UNIX_EPOCH).unwrap_or_default().min(END_OF_DATES);
    since.set_item(intern!(py, "microseconds"), u64::try_from(passed.as_micros()).unwrap_or(u64::MAX))?;
    epoch.add(datetime.getattr(intern!(py, "timedelta"))?.call((), Some(&since))?)
}

/// A time as Python gives it: a datetime with its zone, or seconds since 1970 as time.time() has them.
fn moment(name: &str, given: &Bound<'_, PyAny>) -> PyResult<SystemTime> {
    let py = given.py();
    let expected = "a datetime with a time zone from 1970 on, or seconds since then";
    let wrong = |hint: &str| option(name, expected, format!("{}{hint}", given.repr().map_or_else(|_| "?".into(), |r| r.to_string())));
    let module = py.import(intern!(py, "datetime"))?;
    let passed = if given.is_instance(&module.getattr(intern!(py, "datetime"))?)? {
        if given.call_method0(intern!(py, "utcoffset"))?.is_none() {
            return Err(wrong("; try: datetime.now().astimezone(), or tzinfo=timezone.utc"));
        }
        given.call_method0(intern!(py, "timestamp"))?.extract::<f64>()?
    } else {
        given.extract::<f64>().map_err(|_| wrong(""))?
    };
    let passed = Duration::try_from_secs_f64(passed).map_err(|_| wrong(""))?;
    if passed >= END_OF_DATES {
        return Err(wrong("; if these are milliseconds, divide them by 1000"));
    }
    UNIX_EPOCH.checked_add(passed).ok_or_else(|| wrong(""))
}

/// As [`moment`], or a timedelta for so long ago.
fn moment_or_ago(name: &str, given: Option<&Bound<'_, PyAny>>) -> PyResult<Option<SystemTime>> {
    let Some(given) = given else { return Ok(None) };
    match given.extract::<Duration>() {
        Ok(ago) => Ok(Some(SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH))),
        Err(_) => moment(name, given).map(Some),
    }
}

/// An index of what was seen, to be searched. It may be written meanwhile.
#[pyclass(frozen, module = "edge_seg")]
pub struct Index {
    index: Arc<Opened>,
}

#[pymethods]
impl Index {
    #[new]
    fn new(path: Path) -> PyResult<Self> {
        Ok(Self { index: Arc::new(Opened::open(&path.0).map_err(of_index)?) })
    }

    /// When, on what camera and where words were seen: the best of each word first, word after word.
    #[pyo3(signature = (model, words, *, threshold=None, since=None, until=None, gap=5.0, most=20))]
    #[allow(clippy::too_many_arguments)]
    fn search(
        &self,
        py: Python<'_>,
        model: &Model,
        words: &Bound<'_, PyAny>,
        threshold: Option<f32>,
        since: Option<&Bound<'_, PyAny>>,
        until: Option<&Bound<'_, PyAny>>,
        gap: f64,
        most: i64,
    ) -> PyResult<Vec<Sighting>> {
        if let Some(bad) = threshold.filter(|t| !(0.0..=1.0).contains(t)) {
            return Err(option("threshold", "0 to 1", bad));
        }
        let session = model.session()?;
        let query = Query::default().with_threshold(threshold).with_gap(seconds("gap", gap)?).with_most(whole("most", most)?);
        let query = query.within(moment_or_ago("since", since)?, moment_or_ago("until", until)?);
        let list = Words::of(session, words)?.list;
        let (index, session, words) = (self.index.clone(), session.clone(), list.clone());
        let found = watched(py, None, move |_| index.find(&session, &words, &query))?.map_err(of_index)?;
        let sighting = |found: Found| Sighting { index: self.index.clone(), word: list.names()[found.class].clone(), found };
        Ok(found.into_iter().flatten().map(sighting).collect())
    }

    /// What it holds; all of it is read for that.
    fn contents(&self, py: Python<'_>) -> PyResult<Contents> {
        let index = self.index.clone();
        watched(py, None, move |_| index.contents())?.map(Contents).map_err(of_index)
    }

    /// The digest of the model that made it: no other one can search it.
    #[getter]
    fn model(&self) -> &str {
        self.index.model_digest()
    }

    fn __repr__(&self) -> String {
        format!("<Index {}>", self.index.path().display())
    }
}

/// What an index holds.
#[pyclass(frozen, module = "edge_seg", name = "IndexContents")]
pub struct Contents(edge_seg::search::Contents);

#[pymethods]
impl Contents {
    /// Frames, or pictures.
    #[getter]
    fn frames(&self) -> u64 {
        self.0.frames
    }

    /// Embeddings that they left.
    #[getter]
    fn embeddings(&self) -> u64 {
        self.0.embeddings
    }

    /// Time of the first frame, with its zone; None without frames.
    #[getter]
    fn first<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.span.map(|(first, _)| datetime(py, first)).transpose()
    }

    /// Time of the last frame.
    #[getter]
    fn last<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.span.map(|(_, last)| datetime(py, last)).transpose()
    }

    /// Names of cameras and files.
    #[getter]
    fn cameras(&self) -> Vec<String> {
        self.0.origins.iter().map(|origin| origin.to_string()).collect()
    }

    fn __repr__(&self) -> String {
        format!("<IndexContents {} frames of {}>", self.0.frames, self.cameras().join(", "))
    }
}

/// When and where a word was seen: one frame, or several in a row.
#[pyclass(frozen, module = "edge_seg")]
pub struct Sighting {
    index: Arc<Opened>,
    word: String,
    found: Found,
}

#[pymethods]
impl Sighting {
    /// Which of the words.
    #[getter]
    fn name(&self) -> &str {
        &self.word
    }

    /// The score of the best frame, in 0..1.
    #[getter]
    fn score(&self) -> f32 {
        self.found.score
    }

    /// The camera's name, or the file.
    #[getter]
    fn camera(&self) -> &str {
        &self.found.origin
    }

    /// Time of the first frame, with its zone.
    #[getter]
    fn first<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        datetime(py, self.found.from)
    }

    /// Time of the best frame.
    #[getter]
    fn best<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        datetime(py, self.found.best)
    }

    /// Time of the last frame.
    #[getter]
    fn last<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        datetime(py, self.found.to)
    }

    /// Seconds since the source began, of the best frame.
    #[getter]
    fn at(&self) -> f64 {
        self.found.at.as_secs_f64()
    }

    /// How many frames.
    #[getter]
    fn frames(&self) -> usize {
        self.found.frames
    }

    /// Where it is in the best frame, in that frame's pixels: left, top, width, height.
    #[getter]
    fn r#box(&self) -> (u32, u32, u32, u32) {
        let [left, top, width, height] = self.found.box_px;
        (left, top, width, height)
    }

    /// That frame's width and height in pixels.
    #[getter]
    fn size(&self) -> (u32, u32) {
        self.found.frame_px
    }

    /// The small picture of the best frame, a JPEG; None if it has none, or has gone out of the index meanwhile.
    fn thumbnail<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let jpeg = outside(py, || self.index.thumbnail(&self.found)).map_err(of_index)?;
        Ok(jpeg.map(|jpeg| PyBytes::new(py, &jpeg)))
    }

    fn _repr_jpeg_<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.thumbnail(py)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let best = self.best(py)?.call_method1(intern!(py, "isoformat"), (" ", "seconds"))?;
        let (left, top, width, height) = self.r#box();
        let (score, name, camera) = (self.found.score, &self.word, self.camera());
        Ok(format!("<Sighting {name} {score:.2}: {best}, {camera}, box ({left}, {top}, {width}, {height})>"))
    }
}

/// Keeps what pictures and video show, to be searched. What it was given is in the file, whatever ends the program.
#[pyclass(frozen, module = "edge_seg")]
pub struct IndexWriter {
    writer: Mutex<Option<Writer>>,
    path: PathBuf,
    home: Home,
}

impl IndexWriter {
    fn with<R: Send>(&self, py: Python<'_>, work: impl FnOnce(&mut Writer) -> edge_seg::Result<R> + Send) -> PyResult<R> {
        self.home.check("IndexWriter")?;
        let done = outside(py, || self.writer.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(work));
        let closed =
            || EdgeSegError::new_err(format!("{}: expected an index that is open, found one that was closed", self.path.display()));
        done.ok_or_else(closed)?.map_err(of_index)
    }
}

#[pymethods]
impl IndexWriter {
    #[new]
    #[pyo3(signature = (path, model, *, limit=1 << 30, frame_bytes=10_400, interval=1.0))]
    fn new(py: Python<'_>, path: Path, model: &Model, limit: i64, frame_bytes: i64, interval: f64) -> PyResult<Self> {
        let (session, Path(path)) = (model.session()?, path);
        let options = IndexOptions::default().with_limit_bytes(whole("limit", limit)?).with_frame_bytes(whole("frame_bytes", frame_bytes)?);
        let options = options.with_interval(seconds("interval", interval)?);
        let writer = outside(py, || Writer::open(&path, session, &options)).map_err(of_index)?;
        Ok(Self { writer: Mutex::new(Some(writer)), path, home: Home::here() })
    }

    /// Puts a picture's embeddings, or a frame of video, into the index; tells whether it did.
    #[pyo3(signature = (seen, camera, *, time=None, at=None))]
    fn add(
        &self,
        py: Python<'_>,
        seen: &Bound<'_, PyAny>,
        camera: &str,
        time: Option<&Bound<'_, PyAny>>,
        at: Option<f64>,
    ) -> PyResult<bool> {
        if camera.trim().is_empty() {
            return Err(option("camera", "a name", format!("{camera:?}")));
        }
        let time = time.map(|time| moment("time", time)).transpose()?;
        if let Ok(frame) = seen.cast::<LiveFrame>() {
            if let Some(at) = at {
                return Err(option("at", "none beside a frame of video, which has its own", at));
            }
            let frame = frame.get();
            return self.with(py, |writer| writer.add_shown(frame.shown(), time, camera));
        }
        let Ok(encoded) = seen.cast::<Encoded>() else {
            let found = seen.get_type().name()?;
            let said = format!("seen: expected what Model.encode() gives, or a frame of Live, found {found}");
            return Err(pyo3::exceptions::PyTypeError::new_err(said));
        };
        let (encoded, at) = (encoded.get(), at.map_or(Ok(Duration::ZERO), |at| seconds("at", at))?);
        let (picture, encoded) = encoded.seen();
        let time = time.unwrap_or_else(SystemTime::now);
        self.with(py, |writer| writer.add(&Seen::new(encoded, picture, time, at, camera)))?;
        Ok(true)
    }

    /// Sees to it that what was put in outlasts a loss of power, too.
    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |writer| writer.sync())
    }

    /// Lets the file go, as the end of a `with` does.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.home.check("IndexWriter")?;
        outside(py, || match self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(writer) => writer.sync(),
            None => Ok(()),
        })
        .map_err(of_index)
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __exit__(&self, py: Python<'_>, kind: &Bound<'_, PyAny>, _error: &Bound<'_, PyAny>, _trace: &Bound<'_, PyAny>) -> PyResult<()> {
        let closed = self.close(py);
        // What went wrong inside is what matters then.
        if kind.is_none() { closed } else { Ok(()) }
    }

    fn __repr__(&self) -> String {
        format!("<IndexWriter {}>", self.path.display())
    }
}
