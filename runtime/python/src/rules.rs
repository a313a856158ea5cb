//! Rules on what is seen, and their events.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use edge_seg::rules::{RuleBook, Watcher};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use crate::error::{OrRaise, option};
use crate::event::Event;
use crate::found::{Segmentation, seconds, whole};
use crate::guest::outside;
use crate::live_frame::LiveFrame;
use crate::path::Path;
use crate::things::tally;

/// Zones of the picture and conditions on words: what a rule file holds.
#[pyclass(frozen, module = "edge_seg")]
pub struct Rules {
    book: RuleBook,
    looking: Mutex<Looking>,
}

struct Looking {
    watcher: Watcher,
    /// When it looked last.
    last: Duration,
}

impl Rules {
    fn of(book: RuleBook) -> PyResult<Self> {
        let looking = Mutex::new(Looking { watcher: Watcher::new(book.clone()).or_raise()?, last: Duration::ZERO });
        Ok(Self { book, looking })
    }

    fn looking(&self) -> MutexGuard<'_, Looking> {
        self.looking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn book(&self) -> &RuleBook {
        &self.book
    }
}

#[pymethods]
impl Rules {
    #[new]
    fn new(text: &str) -> PyResult<Self> {
        Self::of(RuleBook::parse("rules", text).or_raise()?)
    }

    /// Reads a rule file.
    #[classmethod]
    fn read(_class: &Bound<'_, PyType>, path: Path) -> PyResult<Self> {
        Self::of(RuleBook::read(&path.0).or_raise()?)
    }

    /// Words that the rules are about, each once.
    #[getter]
    fn words(&self) -> Vec<String> {
        self.book.words().into_iter().map(str::to_owned).collect()
    }

    /// Each rule's name and whether an event of it is on.
    #[getter]
    fn states<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let states = PyDict::new(py);
        self.looking().watcher.states().try_for_each(|(rule, on)| states.set_item(rule, on))?;
        Ok(states)
    }

    /// What was counted so far in their zones and over their lines.
    #[getter]
    fn tallies<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let tallies = self.looking().watcher.tallies();
        tallies.iter().map(|told| tally(py, told)).collect()
    }

    /// Looks at one picture's masks, or a frame's with its things, at a time in seconds, its own without another. OptionError where
    /// it is before that of the last look: another video needs Rules of its own.
    #[pyo3(signature = (found, *, timestamp=None))]
    fn look(&self, py: Python<'_>, found: &Bound<'_, PyAny>, timestamp: Option<f64>) -> PyResult<Vec<Event>> {
        let frame = found.cast::<LiveFrame>().ok();
        let mut masks = match frame {
            Some(frame) => frame.get().whole(py)?,
            None => whole(py, found.cast::<Segmentation>()?)?,
        };
        if let Some(timestamp) = timestamp {
            masks.timestamp = seconds("timestamp", timestamp)?;
        }
        let things = frame.and_then(|frame| frame.get().shown().things.as_ref());
        let events = outside(py, || {
            let mut looking = self.looking();
            if masks.timestamp < looking.last {
                return Err(looking.last);
            }
            looking.last = masks.timestamp;
            Ok(match things {
                Some(things) => looking.watcher.look_at(&masks, things, SystemTime::now()),
                None => looking.watcher.look(&masks, SystemTime::now()),
            })
        });
        let events = events.map_err(|last| {
            let expected = format!("{} s or later, the time of the last look; try: Rules of its own for another video", last.as_secs_f64());
            option("timestamp", &expected, masks.timestamp.as_secs_f64())
        })?;
        Ok(events.into_iter().map(Event).collect())
    }

    fn __repr__(&self) -> String {
        let names: Vec<_> = self.book.rules.iter().map(|rule| rule.name.as_str()).collect();
        format!("<Rules {}>", names.join(", "))
    }
}
