//! Frames of whatever the program reads, and of Python's own iterators.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use edge_seg::source::{Fault, Pace, Rate, SourceOptions, open_source};
use edge_seg::{Error, Frame};
use numpy::PyArray3;
use pyo3::intern;
use pyo3::prelude::*;

use crate::error::{EdgeSegError, Home, OrRaise, SourceError, option, raised, video_here};
use crate::guest::{call, is_iterable, outside, visit};
use crate::path::Path;
use crate::picture::{Order, array_from, frame};

/// How long Python waits before it looks after its signals, such as Ctrl-C.
pub const POLL: Duration = Duration::from_millis(50);

pub fn parse_pace(text: &str) -> PyResult<Pace> {
    match text {
        "auto" => Ok(Pace::Auto),
        "live" => Ok(Pace::Live),
        "every" => Ok(Pace::Every),
        other => Err(option("pace", "\"auto\", \"live\" or \"every\"", format!("{other:?}"))),
    }
}

/// Opens what `edge-seg run --source` opens.
pub fn open(py: Python<'_>, uri: &str, pace: Pace, repeat: bool, stop: &Arc<AtomicBool>) -> PyResult<Box<dyn edge_seg::source::Source>> {
    let options = SourceOptions::default().with_pace(pace).with_repeat(repeat).with_stop(stop.clone());
    let (sender, receiver) = sync_channel(1);
    let (receiver, uri) = (Mutex::new(receiver), uri.to_owned());
    // A pipe that nobody writes to is waited for in here, and whoever gives up must not.
    let open = move || drop(sender.send(open_source(&uri, &options)));
    let started = std::thread::Builder::new().name("edge-seg open".into()).spawn(open);
    started.map_err(|error| EdgeSegError::new_err(format!("thread of the source: {error}")))?;
    loop {
        match outside(py, || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(POLL)) {
            Ok(opened) => return opened.or_raise(),
            Err(RecvTimeoutError::Disconnected) => return Err(EdgeSegError::new_err("the source's thread ended without an answer")),
            Err(RecvTimeoutError::Timeout) => py.check_signals().inspect_err(|_| stop.store(true, Ordering::Relaxed))?,
        }
    }
}

/// Pictures of a file, a folder, a stream or a camera, one after the other: uint8 [height, width, 3] each, red first.
#[pyclass(frozen, module = "edge_seg")]
pub struct Source {
    frames: Mutex<Option<Receiver<Result<Frame, Error>>>>,
    last: Mutex<Option<(u64, Duration)>>,
    stop: Arc<AtomicBool>,
    uri: String,
    home: Home,
}

#[pymethods]
impl Source {
    #[new]
    #[pyo3(signature = (uri, *, pace="auto", repeat=false))]
    fn new(py: Python<'_>, uri: Path, pace: &str, repeat: bool) -> PyResult<Self> {
        let home = video_here("Source")?;
        let stop = Arc::<AtomicBool>::default();
        let uri = uri.text("source")?;
        let mut source = open(py, &uri, parse_pace(pace)?, repeat, &stop)?;
        let (sender, receiver) = sync_channel(1);
        let ended = stop.clone();
        let read = move || {
            while !ended.load(Ordering::Relaxed) {
                let mut frame = Frame::still(Default::default());
                let read = match source.read(&mut frame) {
                    Ok(true) => Ok(frame),
                    Ok(false) => return,
                    Err(error) => Err(error),
                };
                let failed = read.is_err();
                if sender.send(read).is_err() || failed {
                    return;
                }
            }
        };
        let started = std::thread::Builder::new().name("edge-seg source".into()).spawn(read);
        started.map_err(|error| EdgeSegError::new_err(format!("thread of the source: {error}")))?;
        Ok(Self { frames: Mutex::new(Some(receiver)), last: Mutex::default(), stop, uri: edge_seg::source::redacted(&uri), home })
    }

    /// The number of the picture that came last; None before the first.
    #[getter]
    fn sequence(&self) -> Option<u64> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).map(|(sequence, _)| sequence)
    }

    /// The time of the picture that came last, in seconds since the start; None before the first.
    #[getter]
    fn timestamp(&self) -> Option<f64> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).map(|(_, time)| time.as_secs_f64())
    }

    /// Lets the source go; no more pictures come.
    fn close(&self, py: Python<'_>) {
        self.stop.store(true, Ordering::Relaxed);
        outside(py, || *self.frames.lock().unwrap_or_else(PoisonError::into_inner) = None);
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __exit__(&self, py: Python<'_>, _kind: &Bound<'_, PyAny>, _error: &Bound<'_, PyAny>, _trace: &Bound<'_, PyAny>) {
        self.close(py);
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyArray3<u8>>>> {
        self.home.check("Source")?;
        loop {
            let read = outside(py, || {
                let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
                let read = frames.as_ref().map_or(Err(RecvTimeoutError::Disconnected), |receiver| receiver.recv_timeout(POLL));
                if matches!(read, Ok(Err(_)) | Err(RecvTimeoutError::Disconnected)) {
                    *frames = None;
                }
                read
            });
            match read {
                Ok(Ok(frame)) => {
                    *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((frame.sequence, frame.timestamp));
                    return array_from(py, frame.pixels).map(Some);
                }
                Ok(Err(error)) => return Err(raised(error)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            }
        }
    }

    fn __repr__(&self) -> String {
        format!("<Source {}>", self.uri)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Pictures of a Python iterator, read on the session's own thread.
pub struct Iterated {
    pub iterator: Py<PyAny>,
    pub order: Order,
    /// What the iterator raised, to be raised once more where frames are awaited.
    pub raised: Arc<Mutex<Option<PyErr>>>,
}

impl edge_seg::source::Source for Iterated {
    fn read(&mut self, into: &mut Frame) -> edge_seg::Result<bool> {
        let next = visit(|py| match self.iterator.bind(py).getattr(intern!(py, "__next__")).and_then(|next| call(&next, ())) {
            Ok(image) => frame(&image, self.order).map(Some),
            Err(error) if error.is_instance_of::<pyo3::exceptions::PyStopIteration>(py) => Ok(None),
            Err(error) => Err(error),
        });
        match next {
            None | Some(Ok(None)) => Ok(false),
            Some(Ok(Some(read))) => {
                into.pixels = read.pixels;
                Ok(true)
            }
            Some(Err(error)) => {
                let found = error.to_string();
                *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                let fault = Fault::Stream { place: "next frame".into(), expected: "a picture".into(), found };
                Err(Error::Source { uri: "iterator".into(), fault })
            }
        }
    }

    fn rate(&self) -> Option<Rate> {
        None
    }
}

/// The iterator of an iterable of pictures.
pub fn iterator(source: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    if is_iterable(source)? {
        return Ok(source.try_iter()?.into_any().unbind());
    }
    let of = source.get_type().name()?;
    let hint = if source.is_callable() { "; try: calling it, if it makes an iterator" } else { "" };
    Err(SourceError::new_err(format!(
        "source: expected a file, a stream or a camera by its name, or an iterable of pictures, found {of}{hint}"
    )))
}
