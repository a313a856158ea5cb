//! Words as a program asks for them in one line.

use std::collections::HashMap;

use crate::text::{shown_line, shown_names};
use crate::words::{Class, Gate, WordBank, folded_name};
use crate::{Background, Error, Example, Result};

/// What is looked for: words with their embeddings, the thresholds that they must pass, and words for what is to be left out. Made by
/// [`Session::words`](crate::Session::words).
///
/// ```
/// # use edge_seg_model::{Options, Session};
/// # fn main() -> edge_seg_model::Result<()> {
/// # let session = Session::built_in_with(&Options::default().with_size_px(64))?;
/// let words = session.words("cat, red car: sports car, -wall")?.with_threshold("cat", 0.4)?;
/// assert_eq!(words.names(), ["cat", "red car"]);
/// assert_eq!(words.left_out(), ["wall"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq)]
pub struct WordList {
    classes: Vec<Class>,
    left_out: Vec<String>,
    bank: WordBank,
    background: Background,
    examples: Vec<Vec<Example>>,
}

impl std::fmt::Debug for WordList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (classes, left_out) = (self.classes.len(), self.left_out.len());
        write!(f, "WordList {{ {classes} classes, {left_out} left out, {:?} }}", self.background)
    }
}

impl WordList {
    pub(crate) fn new(classes: Vec<Class>, left_out: Vec<String>, bank: WordBank, background: Background) -> Self {
        let examples = vec![Vec::new(); classes.len()];
        Self { classes, left_out, bank, background, examples }
    }

    pub(crate) fn with_examples(self, examples: Vec<Vec<Example>>) -> Self {
        Self { examples, ..self }
    }

    /// The same words, of which one must reach a score of its own, in 0..1, in place of the common threshold.
    ///
    /// # Errors
    /// [`Error::Words`] if the word is not looked for, [`Error::Option`] if the threshold is not in 0..1.
    pub fn with_threshold(self, name: &str, threshold: f32) -> Result<Self> {
        self.with_gates([(name, Gate::Own(threshold))])
    }

    /// The same words, of which one keeps its label and gets no pixels.
    ///
    /// # Errors
    /// [`Error::Words`] if the word is not looked for.
    pub fn with_off(self, name: &str) -> Result<Self> {
        self.with_gates([(name, Gate::Off)])
    }

    /// As [`Self::with_threshold`] and [`Self::with_off`], of many words at once.
    ///
    /// # Errors
    /// As there.
    pub fn with_gates<'a>(mut self, given: impl IntoIterator<Item = (&'a str, Gate)>) -> Result<Self> {
        let places: HashMap<String, usize> = self.classes.iter().enumerate().map(|(at, class)| (folded_name(&class.name), at)).collect();
        let mut gates = self.bank.gates().to_vec();
        for (name, gate) in given {
            let at = places.get(&folded_name(name)).ok_or_else(|| Error::Words {
                place: "words".into(),
                expected: format!("one of {}", shown_names(self.names())),
                found: shown_line(name),
            })?;
            gates[*at] = gate;
        }
        self.bank = self.bank.with_gates(gates)?;
        Ok(self)
    }

    /// The same words with another background; the model's own threshold without this.
    ///
    /// # Errors
    /// [`Error::Option`] if its threshold is not in 0..1.
    pub fn with_background(self, background: Background) -> Result<Self> {
        Ok(Self { background: background.checked()?, ..self })
    }

    /// Names of the classes; label k is `names()[k - 1]`.
    pub fn names(&self) -> &[String] {
        self.bank.names()
    }

    /// The classes with all of their words.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Each class's examples.
    pub fn examples(&self) -> &[Vec<Example>] {
        &self.examples
    }

    /// Words for what is to be left out.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Their embeddings.
    pub fn bank(&self) -> &WordBank {
        &self.bank
    }

    /// What they must beat.
    pub fn background(&self) -> Background {
        self.background
    }
}
