//! Words to look for, as Python writes them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use edge_seg::{Background, Class, Gate, Session, WordList, check_classes, parse_words, read_classes_file};
use numpy::PyArray2;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyList, PyMapping, PyString};

use crate::error::{EdgeSegError, OrRaise, WordsError, brief, option};
use crate::example::{Example, named};
use crate::guest::{is_iterable, list, outside, pairs};
use crate::path::Path;
use crate::wait::watched;

/// Words with their embeddings and thresholds, made by Model.words(). They do not change: with_... gives others.
#[pyclass(frozen, module = "edge_seg")]
pub struct Words {
    pub list: Arc<WordList>,
}

/// Where a name is, as it is written or else in other letters' case.
pub fn position(names: &[String], name: &str) -> Option<usize> {
    let same = || names.iter().position(|known| known.to_lowercase() == name.to_lowercase());
    names.iter().position(|known| known == name).or_else(same)
}

/// As [`position`]; what is no text is no name.
pub fn position_of(names: &[String], name: &Bound<'_, PyAny>) -> Option<usize> {
    position(names, &name.cast::<PyString>().ok()?.to_cow().ok()?)
}

/// Of names, how many and how much of each a line shows.
const LISTED: usize = 8;
const CUT: usize = 40;

/// A name for a line that somebody reads: a text of any length may be one.
pub fn cut(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(CUT) {
        Some((at, _)) => format!("{}...", &name[..at]).into(),
        None => name.into(),
    }
}

/// The first of some names, for a line that somebody reads.
pub fn listed(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(LISTED).map(|name| cut(name)).collect();
    let more = if names.len() > LISTED { format!(", ... {} in all", names.len()) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// Words that are embedded before anybody looks whether Ctrl-C was pressed.
const AT_ONCE: usize = 16;

/// A line of words, a list with one entry a word, or a mapping from names to other words for the same thing.
pub fn parse(words: &Bound<'_, PyAny>) -> PyResult<(Vec<Class>, Vec<String>)> {
    if let Ok(line) = words.cast::<PyString>() {
        return parse_words("words", &line.to_cow()?).or_raise();
    }
    if let Some(pairs) = pairs(words)? {
        let mut classes = Vec::new();
        for item in pairs.iter() {
            let (name, others): (String, Bound<'_, PyAny>) = item.extract()?;
            let others: Vec<String> = match others.cast::<PyString>() {
                Ok(one) => vec![one.to_string()],
                Err(_) => {
                    let texts = if is_iterable(&others)? { list(&others)?.extract() } else { others.extract() };
                    texts.map_err(|_| wrong(&format!("{} for {name:?}", of_type(&others))))?
                }
            };
            let mut class = Class::word(name.trim());
            for word in others.iter().map(|word| word.trim()) {
                if word.is_empty() {
                    return Err(WordsError::new_err(format!("words: expected words for {name:?}, found an empty one")));
                }
                if !class.words.iter().any(|known| known == word) {
                    class.words.push(word.into());
                }
            }
            if class.name.is_empty() {
                return Err(WordsError::new_err("words: expected names, found an empty one"));
            }
            classes.push(class);
        }
        return Ok((check_classes("words", classes).or_raise()?, Vec::new()));
    }
    let mut entries = Vec::new();
    if !is_iterable(words)? {
        return Err(wrong(&of_type(words)));
    }
    for entry in list(words)?.iter() {
        let Ok(text) = entry.cast::<PyString>() else {
            let found = format!("{} that holds {}", of_type(words), of_type(&entry));
            return Err(wrong(&found));
        };
        let entry = text.to_cow()?.into_owned();
        // One entry is one word: a comma would make two of it, and shift the labels of all that follow.
        if entry.contains([',', '\n']) || entry.trim().is_empty() {
            return Err(WordsError::new_err(format!(
                "words: expected one word an entry, found {:?}; try: one string for several words, or a mapping for words with commas",
                brief(&entry)
            )));
        }
        entries.push(entry);
    }
    parse_words("words", &entries.join("\n")).or_raise()
}

/// Reads a file of words: a mapping from names to other words for the same thing, as `Model.words()` takes it.
#[pyfunction]
pub fn read_words(py: Python<'_>, file: Path) -> PyResult<Bound<'_, PyDict>> {
    let classes = outside(py, || read_classes_file(&file.0)).or_raise()?;
    let words = PyDict::new(py);
    for Class { name, words: all, .. } in classes {
        let others: Vec<String> = all.into_iter().filter(|word| *word != name).collect();
        words.set_item(name, others)?;
    }
    Ok(words)
}

fn of_type(thing: &Bound<'_, PyAny>) -> String {
    thing.get_type().name().map_or_else(|_| "something else".into(), |name| name.to_string())
}

fn wrong(found: &str) -> PyErr {
    PyTypeError::new_err(format!("words: expected a string, a list of strings, or a mapping from names to lists of strings, found {found}"))
}

/// The common threshold that Python asks for: a number, None for none, "model" for the model's own.
pub enum Common {
    Model,
    Given(Background),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Common {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if value.is_none() {
            return Ok(Self::Given(Background::None));
        }
        if let Ok(threshold) = value.extract::<f32>() {
            return Ok(Self::Given(Background::Threshold(threshold)));
        }
        match value.extract::<String>() {
            Ok(text) if text == "model" => Ok(Self::Model),
            _ => Err(option("background", "0 to 1, None or \"model\"", value.repr()?)),
        }
    }
}

impl Words {
    /// Words as they are written; ready ones as they are.
    pub fn of(session: &Arc<Session>, words: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::encode(session, words, None, None, None, None, Common::Model)
    }

    pub fn encode(
        session: &Arc<Session>,
        words: &Bound<'_, PyAny>,
        examples: Option<&Bound<'_, PyMapping>>,
        thresholds: Option<&Bound<'_, PyMapping>>,
        off: Option<Vec<String>>,
        left_out: Option<Vec<String>>,
        common: Common,
    ) -> PyResult<Self> {
        let py = words.py();
        let examples = examples.map_or(Ok(Vec::new()), named)?;
        let list = match words.cast::<Self>() {
            Ok(_) if left_out.is_some() => {
                return Err(WordsError::new_err("left_out: expected words as text beside it, found ready ones"));
            }
            Ok(ready) => {
                ready.get().list.bank().check(session).or_raise()?;
                ready.get().list.clone()
            }
            Err(_) => Arc::new(Self::embed(session, words, left_out, !examples.is_empty())?),
        };
        let list = match examples.is_empty() {
            true => list,
            false => {
                let session = session.clone();
                watched(py, None, move |_| session.with_examples(&list, &examples))?.map(Arc::new).or_raise()?
            }
        };
        let thresholds: Vec<(String, f32)> = thresholds.map(|given| given.items()?.extract()).transpose()?.unwrap_or_default();
        let off = off.unwrap_or_default();
        if thresholds.is_empty() && off.is_empty() && matches!(common, Common::Model) {
            return Ok(Self { list });
        }
        let gates =
            thresholds.iter().map(|(name, own)| (name.as_str(), Gate::Own(*own))).chain(off.iter().map(|name| (name.as_str(), Gate::Off)));
        let list = Arc::unwrap_or_clone(list).with_gates(gates).or_raise()?;
        let list = if let Common::Given(common) = common { list.with_background(common).or_raise()? } else { list };
        Ok(Self { list: Arc::new(list) })
    }

    /// Words as they are written, or none where examples follow.
    fn embed(session: &Arc<Session>, words: &Bound<'_, PyAny>, left_out: Option<Vec<String>>, may_be_none: bool) -> PyResult<WordList> {
        let py = words.py();
        let is_none = || Ok::<_, PyErr>(words.is_none() || words.len()? == 0);
        let (classes, mut out) = if may_be_none && is_none()? { Default::default() } else { parse(words)? };
        out.extend(left_out.into_iter().flatten());
        if let Some(empty) = out.iter().find(|word| word.trim().is_empty()) {
            return Err(WordsError::new_err(format!("left_out: expected words, found {empty:?}")));
        }
        if classes.len() + out.len() <= AT_ONCE {
            return outside(py, || session.word_list(classes, out)).or_raise();
        }
        let session = session.clone();
        let made = watched(py, None, move |watch| session.word_list_until(classes, out, || watch.stopped()))?;
        made.or_raise()?.ok_or_else(|| EdgeSegError::new_err("words: stopped"))
    }
}

#[pymethods]
impl Words {
    /// Names in the order of the labels: label k is names[k - 1].
    #[getter]
    fn names(&self) -> Vec<String> {
        self.list.names().to_vec()
    }

    /// For each name the words that are scored; the best one counts.
    #[getter]
    fn classes(&self) -> Vec<(String, Vec<String>)> {
        self.list.classes().iter().map(|class| (class.name.clone(), class.words.clone())).collect()
    }

    /// What shows them, of those that are shown, by their names.
    #[getter]
    fn examples(&self) -> HashMap<String, Vec<Example>> {
        let each = self.list.names().iter().zip(self.list.examples());
        each.filter(|(_, of)| !of.is_empty()).map(|(name, of)| (name.clone(), of.iter().cloned().map(Example).collect())).collect()
    }

    /// Words for what is to be left out.
    #[getter]
    fn left_out(&self) -> Vec<String> {
        self.list.left_out().to_vec()
    }

    /// Thresholds of single words, in 0..1.
    #[getter]
    fn thresholds(&self) -> HashMap<String, f32> {
        let gates = self.list.names().iter().zip(self.list.bank().gates());
        gates.filter_map(|(name, gate)| if let Gate::Own(own) = gate { Some((name.clone(), *own)) } else { None }).collect()
    }

    /// Words that keep their label and get no pixels.
    #[getter]
    fn off(&self) -> Vec<String> {
        let gates = self.list.names().iter().zip(self.list.bank().gates());
        gates.filter(|(_, gate)| **gate == Gate::Off).map(|(name, _)| name.clone()).collect()
    }

    /// The common threshold in 0..1; None where there is none.
    #[getter]
    fn background(&self) -> Option<f32> {
        self.list.background().threshold()
    }

    /// Embeddings of all words, class by class, those to be left out last: float32 [words, dim], unit-norm rows. A copy.
    #[getter]
    fn embeddings<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray2<f32>> {
        PyArray2::from_array(py, &self.list.bank().words().view())
    }

    /// The same words, of which one must reach a score of its own, in 0..1.
    fn with_threshold(&self, name: &str, threshold: f32) -> PyResult<Self> {
        Ok(Self { list: Arc::new(WordList::clone(&self.list).with_threshold(name, threshold).or_raise()?) })
    }

    /// The same words, of which one keeps its label and gets no pixels.
    fn with_off(&self, name: &str) -> PyResult<Self> {
        Ok(Self { list: Arc::new(WordList::clone(&self.list).with_off(name).or_raise()?) })
    }

    /// The same words with another common threshold: 0 to 1, or None for none.
    #[pyo3(signature = (threshold))]
    fn with_background(&self, threshold: Option<f32>) -> PyResult<Self> {
        let background = threshold.map_or(Background::None, Background::Threshold);
        Ok(Self { list: Arc::new(WordList::clone(&self.list).with_background(background).or_raise()?) })
    }

    fn __len__(&self) -> usize {
        self.list.names().len()
    }

    fn __contains__(&self, name: &Bound<'_, PyAny>) -> bool {
        position_of(self.list.names(), name).is_some()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        PyList::new(py, self.list.names())?.try_iter()
    }

    fn __repr__(&self) -> String {
        let left_out = self.list.left_out();
        let without = if left_out.is_empty() { String::new() } else { format!(", left out: {}", listed(left_out)) };
        format!("<Words {}{without}>", listed(self.list.names()))
    }
}
