//! A frame of video.

use std::sync::Arc;

use edge_seg::live::{FrameReport, SegmentedFrame};
use numpy::PyArray3;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::event::Event;
use crate::found::Segmentation;
use crate::hide::Hidden;
use crate::picture::array_of;
use crate::shown::Picture;
use crate::things::{self, Drawn, Thing};

/// A frame of video with its masks.
#[pyclass(frozen, module = "edge_seg")]
pub struct LiveFrame {
    pub found: Py<Segmentation>,
    pub shown: Arc<SegmentedFrame>,
    pub drawn: Arc<Drawn>,
    pub report: Option<Arc<FrameReport>>,
}

impl LiveFrame {
    pub fn shown(&self) -> &SegmentedFrame {
        &self.shown
    }

    /// Its masks as the library's own functions take them.
    pub fn whole(&self, py: Python<'_>) -> PyResult<edge_seg::Segmentation> {
        self.found.get().whole(py)
    }
}

#[pymethods]
impl LiveFrame {
    /// Its masks and scores.
    #[getter]
    fn found(&self, py: Python<'_>) -> Py<Segmentation> {
        self.found.clone_ref(py)
    }

    /// Its pixels: uint8 [height, width, 3], red first. A copy.
    #[getter]
    fn picture<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray3<u8>>> {
        array_of(py, &self.shown.frame.pixels)
    }

    /// Its number in its source.
    #[getter]
    fn sequence(&self) -> u64 {
        self.shown.frame.sequence
    }

    /// Its time in seconds since the source started.
    #[getter]
    fn timestamp(&self) -> f64 {
        self.shown.frame.timestamp.as_secs_f64()
    }

    /// Whether its masks come from its own embeddings.
    #[getter]
    fn key(&self) -> bool {
        self.shown.key
    }

    /// The frame that its masks come from.
    #[getter]
    fn key_sequence(&self) -> u64 {
        self.shown.key_sequence
    }

    /// Seconds from the frame's arrival to its masks.
    #[getter]
    fn latency(&self) -> f64 {
        self.shown.latency.as_secs_f64()
    }

    /// Frames lost so far because a newer one came before they were taken.
    #[getter]
    fn dropped(&self) -> u64 {
        self.shown.dropped
    }

    /// Frames so far whose masks took longer than frames are apart.
    #[getter]
    fn late(&self) -> u64 {
        self.shown.late
    }

    /// What rules found in it.
    #[getter]
    fn events(&self) -> Vec<Event> {
        self.report.iter().flat_map(|report| &report.events).cloned().map(Event).collect()
    }

    /// The things that it shows, by number. OptionError where Live was not asked to follow any.
    #[getter]
    fn things(&self) -> PyResult<Vec<Thing>> {
        Thing::of(&self.drawn)
    }

    /// How many things of each word that is counted it shows. OptionError where Live was not asked to follow any.
    #[getter]
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (things, counts) = (self.drawn.things()?, PyDict::new(py));
        for (label, name) in (1u16..).zip(self.shown.found.names().iter()) {
            if let Some(count) = things.count(label) {
                counts.set_item(name, count)?;
            }
        }
        Ok(counts)
    }

    /// What was counted so far in the zones and over the lines of the rules.
    #[getter]
    fn tallies<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.drawn.things()?;
        self.report.iter().flat_map(|report| &report.tallies).map(|told| things::tally(py, told)).collect()
    }

    /// What is hidden of its picture; None where nothing was asked to be.
    #[getter]
    fn hidden(&self) -> Option<Hidden> {
        Hidden::of(&Picture::Live(self.shown.clone()))
    }

    /// Its things as `supervision.Detections`, their numbers as tracker_id.
    fn to_supervision<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.drawn.detections(py)
    }

    fn __repr__(&self) -> String {
        format!("<LiveFrame {} at {:.3} s>", self.sequence(), self.timestamp())
    }
}
