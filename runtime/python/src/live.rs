//! Video that is being segmented.

use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use edge_seg::WordList;
use edge_seg::hide::Hide as Hiding;
use edge_seg::live::{
    Countable, Counters, KeyFrames, Live as Running, LiveOptions, Propagation, PropagationOptions, ThingOptions, WordSpec,
};
use edge_seg::rules::Watcher;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};

use crate::error::{Home, OrRaise, option, raised, video_here};
use crate::found::{Segmentation, seconds};
use crate::guest::outside;
use crate::hide::Hide;
use crate::live_frame::LiveFrame;
use crate::model::Model;
use crate::path::{Path, is_path};
use crate::picture::Order;
use crate::rules::Rules;
use crate::shown::Picture;
use crate::source::{Iterated, POLL, iterator, open, parse_pace};
use crate::things::{self, Drawn};
use crate::wait::watched;
use crate::words::{Words, listed, position};

/// Video that is being segmented: an iterator of frames with their masks, and a context manager that lets the camera go.
#[pyclass(frozen, module = "edge_seg")]
pub struct Live {
    running: Mutex<Option<Running>>,
    session: Arc<edge_seg::Session>,
    words: Arc<edge_seg::live::Words>,
    counters: Arc<Counters>,
    /// The session's, and that of the source beside it.
    stops: [Arc<AtomicBool>; 2],
    raised: Arc<Mutex<Option<PyErr>>>,
    home: Home,
}

/// Every so many frames, or a share of the time.
fn key_frames(keys: Option<&Bound<'_, PyAny>>) -> PyResult<KeyFrames> {
    let Some(keys) = keys else { return Ok(KeyFrames::Every(1)) };
    let wrong = || {
        option(
            "keys",
            "every so many frames (1 or more), or a share of the time (a float up to 1.0)",
            keys.repr().map_or_else(|_| "?".to_owned(), |r| r.to_string()),
        )
    };
    if keys.is_instance_of::<PyBool>() {
        return Err(wrong());
    }
    match (keys.extract::<u64>(), keys.extract::<f32>()) {
        (Ok(frames), _) => Ok(KeyFrames::Every(frames)),
        (_, Ok(share)) => Ok(KeyFrames::Auto { share }),
        _ => Err(wrong()),
    }
}

fn propagation(carry: &str, smoothing: f64) -> PyResult<PropagationOptions> {
    let carry = match carry {
        "scores" => Propagation::Scores,
        "labels" => Propagation::Labels,
        "still" => Propagation::Still,
        other => return Err(option("carry", "\"scores\", \"labels\" or \"still\"", format!("{other:?}"))),
    };
    Ok(PropagationOptions::default().with_carry(carry).with_smoothing(seconds("smoothing", smoothing)?))
}

/// As a share of the picture: what `ThingOptions` begins with.
const LEAST_SHARE: f64 = 0.0005;
/// In seconds: likewise.
const PATIENCE: f64 = 2.0;

/// Warns of words that nothing will come of: they are written wrongly, or somebody adds them later.
fn warn_of_missing(py: Python<'_>, rules: Option<&Rules>, things: Option<&ThingOptions>, names: &[String]) -> PyResult<()> {
    let warn = |said: String| {
        let said = CString::new(said.replace('\0', " ")).unwrap_or_default();
        PyErr::warn(py, &py.get_type::<pyo3::exceptions::PyUserWarning>(), &said, 1)
    };
    let is_listed = |word: &str| position(names, word).is_some();
    if let Some(Countable::Words(words)) = things.map(|things| &things.countable) {
        let missing: Vec<&str> = words.iter().map(String::as_str).filter(|word| !is_listed(word)).collect();
        if !missing.is_empty() {
            warn(format!("things: {} are not among the words, and counted when somebody adds them", missing.join(", ")))?;
        }
    }
    // Profiles look for other words at other times.
    let Some(book) = rules.map(Rules::book).filter(|book| book.profiles.is_empty()) else { return Ok(()) };
    let watcher = Watcher::new(book.clone()).or_raise()?;
    let missing = watcher.missing_words(names);
    if !missing.is_empty() {
        warn(format!("rules: {} are not among the words, and no event comes of them", missing.join(", ")))?;
    }
    let counted: Vec<&str> = names.iter().map(String::as_str).filter(|name| things.is_some_and(|t| t.countable.holds(name))).collect();
    let uncounted: Vec<&str> = watcher.uncounted_words(&counted).into_iter().filter(|word| is_listed(word)).collect();
    if !uncounted.is_empty() {
        warn(format!("rules: {} are not among the things, and no event comes of their number", uncounted.join(", ")))?;
    }
    Ok(())
}

impl Live {
    fn stopped(&self, py: Python<'_>) -> PyResult<()> {
        self.stops.iter().for_each(|stop| stop.store(true, Ordering::Relaxed));
        // Threads that end may wait for the interpreter.
        let ended = outside(py, || match self.running.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(running) => running.stop(),
            None => Ok(()),
        });
        match ended {
            // Whoever leaves has nothing to wait for: a source that is slow to return is let go when it does.
            Err(edge_seg::Error::Source { .. }) => Ok(()),
            ended => ended.or_raise(),
        }
    }
}

#[pymethods]
impl Live {
    #[new]
    #[pyo3(signature = (
        model, source, words, *, order="rgb", rules=None, things=None, things_least=LEAST_SHARE, things_patience=PATIENCE, hide=None, pace="auto",
        keys=None, carry="scores", smoothing=0.0, scene_cuts=true, repeat=false
    ), text_signature = "(model, source, words, *, order='rgb', rules=None, things=None, things_least=0.0005, things_patience=2.0, hide=None, pace='auto', keys=None, carry='scores', smoothing=0.0, scene_cuts=True, repeat=False)")]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        model: &Model,
        source: &Bound<'_, PyAny>,
        words: &Bound<'_, PyAny>,
        order: &str,
        rules: Option<&Rules>,
        things: Option<&Bound<'_, PyAny>>,
        things_least: f64,
        things_patience: f64,
        hide: Option<&Hide>,
        pace: &str,
        keys: Option<&Bound<'_, PyAny>>,
        carry: &str,
        smoothing: f64,
        scene_cuts: bool,
        repeat: bool,
    ) -> PyResult<Self> {
        let session = model.session()?.clone();
        let home = video_here("Live")?;
        let (pace, keys, carry) = (parse_pace(pace)?, key_frames(keys)?, propagation(carry, smoothing)?);
        let options = LiveOptions::default().with_pace(pace).with_keys(keys).with_carry(carry).with_scene_cuts(scene_cuts);
        let things = match things {
            Some(words) => Some(things::options(words, things_least, things_patience)?),
            None if (things_least, things_patience) == (LEAST_SHARE, PATIENCE) => None,
            None => return Err(option("things", "words beside things_least and things_patience", "None")),
        };
        let list = WordList::clone(&Words::of(&session, words)?.list);
        warn_of_missing(py, rules, things.as_ref(), list.names())?;
        let options = options.with_things(things).with_hide(hide.map(|hide| Hiding::clone(&hide.hide)));
        let (stop, raised) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Option<PyErr>>>::default());
        let source: Box<dyn edge_seg::source::Source> = if is_path(source)? {
            open(py, &source.extract::<Path>()?.text("source")?, pace, repeat, &stop)?
        } else {
            Box::new(Iterated { iterator: iterator(source)?, order: Order::parse(order)?, raised: raised.clone() })
        };
        let book = rules.map(|rules| rules.book().clone());
        let of_session = session.clone();
        let started = watched(py, None, move |_| {
            let live = Running::start(of_session, source, list, options)?;
            let live = match book {
                Some(book) => live.with_rules(book)?,
                None => live,
            };
            Ok::<_, edge_seg::Error>(live)
        });
        let started = started?.or_raise()?;
        let (words, counters, stops) = (started.words().clone(), started.counters().clone(), [started.stop_flag().clone(), stop]);
        Ok(Self { running: Mutex::new(Some(started)), session, words, counters, stops, raised, home })
    }

    /// The words that are looked for, in the order of the labels.
    #[getter]
    fn words(&self) -> Vec<String> {
        self.words.current().words.iter().map(|word| word.name.clone()).collect()
    }

    /// Looks for other words from the next frame on; frames go on with the old ones while these are encoded.
    fn set_words(&self, py: Python<'_>, words: &Bound<'_, PyAny>) -> PyResult<()> {
        self.home.check("Live")?;
        let (list, words) = (Words::of(&self.session, words)?.list, self.words.clone());
        watched(py, None, move |_| words.set_list(&list).map(drop))?.or_raise()
    }

    /// Changes a word's threshold in 0..1, or whether it is looked for; what is None stays.
    #[pyo3(signature = (name, *, threshold=None, on=None))]
    fn adjust(&self, py: Python<'_>, name: &str, threshold: Option<f32>, on: Option<bool>) -> PyResult<()> {
        self.home.check("Live")?;
        let adjust = |spec: &mut WordSpec| {
            spec.threshold = threshold.or(spec.threshold);
            spec.on = on.unwrap_or(spec.on);
        };
        outside(py, || self.words.adjust(name, adjust)).or_raise().map(|_| ())
    }

    /// Frames counted since the start: captured, dropped, segmented, late.
    #[getter]
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let told = PyDict::new(py);
        for (name, count) in [
            ("captured", &self.counters.captured),
            ("dropped", &self.counters.dropped),
            ("segmented", &self.counters.segmented),
            ("late", &self.counters.late),
        ] {
            told.set_item(name, count.load(Ordering::Relaxed))?;
        }
        Ok(told)
    }

    /// Ends the threads and lets the source go.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.home.check("Live")?;
        self.stopped(py)
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __exit__(&self, py: Python<'_>, kind: &Bound<'_, PyAny>, _error: &Bound<'_, PyAny>, _trace: &Bound<'_, PyAny>) -> PyResult<()> {
        let stopped = self.stop(py);
        // What went wrong inside is what matters then.
        if kind.is_none() { stopped } else { Ok(()) }
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<LiveFrame>> {
        self.home.check("Live")?;
        loop {
            let next = outside(py, || {
                let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(running) = running.as_mut() else { return Poll::Ready(None) };
                running.next_within(POLL).map(|shown| {
                    shown.map(|shown| {
                        shown.map(|shown| {
                            let report = running.report().cloned();
                            (shown.found.clone(), shown, report)
                        })
                    })
                })
            });
            match next {
                Poll::Ready(Some(Ok((found, shown, report)))) => {
                    let found = Py::new(py, Segmentation::new(py, found, Picture::Live(shown.clone()))?)?;
                    let drawn = Arc::new(Drawn::new(shown.clone()));
                    return Ok(Some(LiveFrame { found, shown, drawn, report }));
                }
                Poll::Ready(Some(Err(error))) => {
                    let raised_before = self.raised.lock().unwrap_or_else(PoisonError::into_inner).take();
                    return Err(raised_before.unwrap_or_else(|| raised(error)));
                }
                Poll::Ready(None) => return Ok(None),
                Poll::Pending => py.check_signals()?,
            }
        }
    }

    fn __repr__(&self) -> String {
        format!("<Live {}>", listed(&self.words()))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stops.iter().for_each(|stop| stop.store(true, Ordering::Relaxed));
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if self.home.check("Live").is_err() {
            // In a forked child there are no threads to wait for.
            std::mem::forget(running);
        } else if let Some(running) = running {
            // Threads that end may wait for the interpreter, which is held here.
            let mut running = Some(running);
            let _ = Python::try_attach(|py| outside(py, || drop(running.take())));
        }
    }
}
