//! The bank of embeddings that scoring reads.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use edge_seg_kernels::{PackedBank, Precision};

use super::{Class, MAX_CLASSES};
use crate::{Error, Result, UnitRows};

/// What a pixel must reach to be a class's.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Gate {
    /// The background's threshold.
    #[default]
    Common,
    /// A score of the class's own, in 0..1.
    Own(f32),
    /// Nothing is enough: the class is not looked for.
    Off,
}

/// Embeddings of the words of some classes.
#[derive(Clone)]
pub struct WordBank {
    names: Arc<[String]>,
    spans: Vec<Range<usize>>,
    backgrounds: usize,
    gates: Vec<Gate>,
    words: UnitRows, // [words, dim], unit-norm rows, class by class, background words last
    precision: Precision,
    packed: OnceLock<PackedBank<'static>>,
    model: Option<Arc<str>>,
}

impl PartialEq for WordBank {
    // Whether a bank has been packed already makes no difference.
    fn eq(&self, other: &Self) -> bool {
        (&self.names, &self.spans, self.backgrounds, &self.gates, &self.words, self.precision, &self.model)
            == (&other.names, &other.spans, other.backgrounds, &other.gates, &other.words, other.precision, &other.model)
    }
}

impl std::fmt::Debug for WordBank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WordBank {{ {} classes, {:?} }}", self.names.len(), self.words)
    }
}

impl WordBank {
    /// Joins classes and their words' embeddings, row by row in the same order; the last `background_words` rows are words
    /// for what is to be left out.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the rows are not as many as the words, or there are more than [`MAX_CLASSES`] classes.
    pub fn new(classes: &[Class], background_words: usize, words: UnitRows) -> Result<Self> {
        Self::check_count(classes)?;
        let mut spans = Vec::with_capacity(classes.len());
        let mut next = 0;
        for class in classes {
            spans.push(next..next + class.words.len());
            next += class.words.len();
        }
        if next.checked_add(background_words) != Some(words.rows()) {
            return Err(Error::Tensor {
                what: "word bank".into(),
                expected: format!("{next} rows of words and {background_words} of background words"),
                found: words.rows().to_string(),
            });
        }
        let gates = vec![Gate::Common; classes.len()];
        Ok(Self {
            names: classes.iter().map(|c| c.name.clone()).collect(),
            spans,
            backgrounds: background_words,
            gates,
            words,
            precision: Precision::F32,
            packed: OnceLock::new(),
            model: None,
        })
    }

    /// The same bank as one of the model of this digest.
    pub(crate) fn of_model(self, digest: Arc<str>) -> Self {
        Self { model: Some(digest), ..self }
    }

    /// The digest of the bundle that made it; none where [`Self::new`] did.
    pub fn model_digest(&self) -> Option<&str> {
        self.model.as_deref()
    }

    pub(crate) fn check_count(classes: &[Class]) -> Result<()> {
        if classes.len() <= MAX_CLASSES {
            return Ok(());
        }
        Err(Error::Tensor {
            what: "word bank".into(),
            expected: format!("at most {MAX_CLASSES} classes, whose labels have 16 bits"),
            found: classes.len().to_string(),
        })
    }

    /// The same bank with other rows for each class, such as examples give.
    ///
    /// # Errors
    /// [`Error::Tensor`] if they are no rows of the bank's width, or have no direction.
    pub(crate) fn with_rows(self, classes: &[Vec<f32>]) -> Result<Self> {
        let dim = self.words.dim();
        let (mut rows, mut spans) = (Vec::new(), Vec::with_capacity(self.spans.len()));
        for class in classes {
            let first = rows.len() / dim;
            rows.extend_from_slice(class);
            spans.push(first..rows.len() / dim);
        }
        self.background_rows().for_each(|row| rows.extend_from_slice(self.words.row(row)));
        let words = UnitRows::normalise("word bank", dim, rows)?;
        Ok(Self { spans, words, packed: OnceLock::new(), ..self })
    }

    /// The same bank with a gate for each class.
    ///
    /// # Errors
    /// [`Error::Option`] if they are not as many as the classes, or a threshold is not in 0..1.
    pub fn with_gates(mut self, gates: Vec<Gate>) -> Result<Self> {
        if gates.len() != self.names.len() {
            return Err(Error::option("gates", format!("one for each of {} classes", self.names.len()), gates.len()));
        }
        for (name, gate) in self.names.iter().zip(&gates) {
            if let Gate::Own(threshold) = gate
                && !(0.0..=1.0).contains(threshold)
            {
                return Err(Error::option("threshold", format!("0 to 1 for {name:?}"), threshold));
            }
        }
        self.gates = gates;
        Ok(self)
    }

    /// What a pixel must reach to be each class's. `[classes]`
    pub fn gates(&self) -> &[Gate] {
        &self.gates
    }

    #[doc(hidden)]
    /// The same bank with its numbers stored in another precision for scoring patches; [`Precision::F32`] without this.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, packed: OnceLock::new(), ..self }
    }

    #[doc(hidden)]
    /// The words as patches are scored against them, made once.
    pub fn packed(&self) -> &PackedBank<'static> {
        self.packed.get_or_init(|| PackedBank::new(self.words.data(), self.words.dim(), self.precision))
    }

    /// The classes' names; label k is `names()[k - 1]`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// As [`Self::names`], to be kept beside a mask without a copy.
    pub fn shared_names(&self) -> Arc<[String]> {
        self.names.clone()
    }

    /// For each class, its words' rows.
    pub fn spans(&self) -> &[Range<usize>] {
        &self.spans
    }

    /// Rows of words for what is to be left out.
    pub fn background_rows(&self) -> Range<usize> {
        self.words.rows() - self.backgrounds..self.words.rows()
    }

    /// Every word's embedding. `[words, dim]`, unit-norm rows
    pub fn words(&self) -> &UnitRows {
        &self.words
    }
}
