//! Words as a program asks for them in one line.

use crate::words::{Class, Gate, TagBank, check_classes, same_name};
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
    bank: TagBank,
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
    pub(crate) fn new(classes: Vec<Class>, left_out: Vec<String>, bank: TagBank, background: Background) -> Self {
        let examples = vec![Vec::new(); classes.len()];
        Self { classes, left_out, bank, background, examples }
    }

    pub(crate) fn with_examples(self, examples: Vec<Vec<Example>>) -> Self {
        Self { examples, ..self }
    }

    /// The same words, of which one must reach a score of its own, in 0..1, in place of the common threshold.
    ///
    /// # Errors
    /// [`Error::Words`] if the word is not looked for, [`Error::Tensor`] if the threshold is not in 0..1.
    pub fn with_threshold(self, name: &str, threshold: f32) -> Result<Self> {
        self.with_gate(name, Gate::Own(threshold))
    }

    /// The same words, of which one keeps its label and gets no pixels.
    ///
    /// # Errors
    /// [`Error::Words`] if the word is not looked for.
    pub fn with_off(self, name: &str) -> Result<Self> {
        self.with_gate(name, Gate::Off)
    }

    fn with_gate(mut self, name: &str, gate: Gate) -> Result<Self> {
        let same = |class: &Class| same_name(&class.name, name);
        let at = self.classes.iter().position(same).ok_or_else(|| Error::Words {
            place: "words".into(),
            expected: format!("one of {}", self.names().join(", ")),
            found: format!("{name:?}"),
        })?;
        let mut gates = self.bank.gates().to_vec();
        gates[at] = gate;
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
    pub fn bank(&self) -> &TagBank {
        &self.bank
    }

    /// What they must beat.
    pub fn background(&self) -> Background {
        self.background
    }
}

/// Reads words as a program writes them: separated by commas or lines; other words for the same thing behind colons, `red car: sports
/// car: coupe`; words for what is to be left out behind a minus, `-wall`. `place` names the text in errors.
///
/// # Errors
/// [`Error::Words`] if there is no word to look for, or a class is there twice.
pub fn parse_words(place: &str, list: &str) -> Result<(Vec<Class>, Vec<String>)> {
    let (mut classes, mut left_out) = (Vec::new(), Vec::new());
    for entry in list.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty()) {
        let wrong = |expected: &str| Error::Words { place: place.into(), expected: expected.into(), found: format!("{entry:?}") };
        if let Some(word) = entry.strip_prefix('-') {
            match word.trim() {
                "" => return Err(wrong("a word behind the minus")),
                word => left_out.push(word.to_owned()),
            }
            continue;
        }
        let mut words = entry.split(':').map(str::trim);
        let name = words.next().filter(|name| !name.is_empty()).ok_or_else(|| wrong("a name before the colon"))?;
        let mut class = Class::word(name);
        for word in words {
            if word.is_empty() {
                return Err(wrong("a word behind each colon"));
            }
            if !class.words.iter().any(|known| known == word) {
                class.words.push(word.into());
            }
        }
        classes.push(class);
    }
    Ok((check_classes(place, classes)?, left_out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_words_is_read() {
        let (classes, left_out) = parse_words("words", "cat, red car: sports car : coupe,\n-wall, - white floor,").unwrap();
        assert_eq!(classes[0], Class::word("cat"));
        assert_eq!(classes[1], Class { name: "red car".into(), words: ["red car", "sports car", "coupe"].map(String::from).into() });
        assert_eq!(left_out, ["wall", "white floor"]);
        for (wrong, said) in [
            ("", "one word or more"),
            ("-wall", "one word or more"),
            ("cat, Cat", "twice"),
            (": a", "before the colon"),
            ("a:", "each colon"),
            ("-", "minus"),
        ] {
            let error = parse_words("words", wrong).unwrap_err().to_string();
            assert!(error.contains(said), "{wrong:?}: {error}");
        }
    }
}
