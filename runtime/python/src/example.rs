//! Words that are shown.

use edge_seg::{Encoded, Session};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyMapping, PyType};

use crate::error::{OrRaise, WordsError};
use crate::guest::{is_iterable, list};

/// What a box of a picture shows, to be looked for as a word is. Equal ones hold the same; they can be pickled, to five decimal places.
#[pyclass(frozen, eq, module = "edge_seg")]
#[derive(Clone, PartialEq)]
pub struct Example(pub edge_seg::Example);

impl Example {
    /// Of a box of an embedded picture, or of all of it.
    pub fn of(session: &Session, encoded: &Encoded, given: Option<[i64; 4]>, counter: bool) -> PyResult<Self> {
        let (width, height) = encoded.placement.frame_px;
        let given = given.unwrap_or([0, 0, i64::from(width), i64::from(height)]);
        let sides = given.map(|side| u32::try_from(side).ok());
        let [Some(left), Some(top), Some(w), Some(h)] = sides else {
            let expected = format!("left, top, width, height with pixels of the {width}×{height} picture");
            return Err(crate::error::option("box", &expected, format!("{given:?}")));
        };
        let example = edge_seg::Example::of(session, encoded, [left, top, w, h]).or_raise()?;
        Ok(Self(if counter { example.countering() } else { example }))
    }
}

#[pymethods]
impl Example {
    /// Whether it shows what the word does not mean.
    #[getter]
    fn counter(&self) -> bool {
        self.0.is_counter()
    }

    /// The digest of the model that made it: to others it means nothing.
    #[getter]
    fn model(&self) -> &str {
        self.0.model_digest()
    }

    /// The same as one of what the word does not mean.
    fn countering(&self) -> Self {
        Self(self.0.clone().countering())
    }

    /// All of it in one line, numbers to five places.
    fn to_json(&self) -> PyResult<String> {
        serde_json::to_string(&self.0).map_err(|error| WordsError::new_err(format!("example: {error}")))
    }

    /// What to_json wrote, to five decimal places.
    #[classmethod]
    fn from_json(_class: &Bound<'_, PyType>, text: &str) -> PyResult<Self> {
        serde_json::from_str(text).map(Self).map_err(|error| WordsError::new_err(format!("example: {error}")))
    }

    fn __reduce__<'py>(this: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        Ok((this.get_type().getattr(intern!(this.py(), "from_json"))?, (this.get().to_json()?,)))
    }

    fn __repr__(&self) -> String {
        let kind = if self.0.is_counter() { "counter-example" } else { "example" };
        format!("<Example: {kind} by {}>", self.0.model_digest().chars().take(12).collect::<String>())
    }
}

/// Examples by the names of their words: one or several each.
pub fn named(examples: &Bound<'_, PyMapping>) -> PyResult<Vec<(String, edge_seg::Example)>> {
    let mut all = Vec::new();
    for item in examples.items()?.iter() {
        let (name, of): (String, Bound<'_, PyAny>) = item.extract()?;
        if name.trim().is_empty() {
            return Err(WordsError::new_err("examples: expected names, found an empty one"));
        }
        if let Ok(one) = of.cast::<Example>() {
            all.push((name, one.get().0.clone()));
            continue;
        }
        let wrong = |found: &Bound<'_, PyAny>| -> PyErr {
            let found = found.get_type().name().map_or_else(|_| "something else".into(), |name| name.to_string());
            PyTypeError::new_err(format!("examples: expected an Example of {name:?} or a list of some, found {found}"))
        };
        let before = all.len();
        if !is_iterable(&of)? {
            return Err(wrong(&of));
        }
        for one in list(&of)?.iter() {
            all.push((name.clone(), one.cast::<Example>().map_err(|_| wrong(&one))?.get().0.clone()));
        }
        if all.len() == before {
            return Err(WordsError::new_err(format!("examples: expected one of {name:?} or more, found none")));
        }
    }
    Ok(all)
}
