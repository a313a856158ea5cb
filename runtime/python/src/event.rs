//! What rules tell.

use edge_seg::rules::Event as Told;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The beginning or the end of a rule's event.
#[pyclass(frozen, module = "edge_seg")]
pub struct Event(pub Told);

#[pymethods]
impl Event {
    #[getter]
    fn rule(&self) -> &str {
        &self.0.rule
    }

    /// "noticed", "cleared", "started" or "ended".
    #[getter]
    fn event(&self) -> &'static str {
        self.0.event.name()
    }

    /// When, by the wall's clock: RFC 3339 in UTC.
    #[getter]
    fn time(&self) -> &str {
        &self.0.time
    }

    #[getter]
    fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// The frame's time in seconds.
    #[getter]
    fn timestamp(&self) -> f64 {
        self.0.timestamp_ms / 1e3
    }

    /// Seconds for which the condition has held, or held until the event ended.
    #[getter]
    fn duration(&self) -> f64 {
        self.0.duration_ms / 1e3
    }

    /// What the frame shows of each word that the rule is about: word, zone or line, share, score, and where they are counted the number of
    /// its things, and of which ones; what is usual where the rule asks for that.
    #[getter]
    fn measured<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let one = |measured: &edge_seg::rules::Measured| {
            let told = PyDict::new(py);
            told.set_item("word", &measured.word)?;
            told.set_item("zone", &measured.zone)?;
            told.set_item("share", measured.share)?;
            told.set_item("score", measured.score)?;
            told.set_item("line", &measured.line)?;
            told.set_item("count", measured.count)?;
            told.set_item("ids", &measured.ids)?;
            told.set_item("usual", measured.usual)?;
            Ok(told)
        };
        self.0.measured.iter().map(one).collect()
    }

    fn __repr__(&self) -> String {
        format!("<Event {} {} at {:.3} s>", self.0.rule, self.event(), self.timestamp())
    }
}
