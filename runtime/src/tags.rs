//! Words: how people write them, and the bank of embeddings that scoring reads.

use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use edge_seg_kernels::{PackedBank, Precision};
use tokenizers::{Tokenizer, TruncationParams};

use crate::bundle::Bundle;
use crate::{Error, Result, UnitRows};

/// Longest tags file that is read.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Labels are 16-bit, 0 is the background.
pub const MAX_CLASSES: usize = u16::MAX as usize;

/// A thing to look for: the name that is reported and the words that stand for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// What is reported.
    pub name: String,
    /// Words that are scored; the best one counts.
    pub words: Vec<String>,
}

impl Class {
    /// A class that is its own only word.
    pub fn word(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { words: vec![name.clone()], name }
    }
}

/// Reads a comma-separated list of words.
///
/// # Errors
/// [`Error::Words`] if there is none, or one stands there twice.
pub fn parse_tags(place: &str, list: &str) -> Result<Vec<Class>> {
    let classes = list.split(',').map(str::trim).filter(|w| !w.is_empty()).map(Class::word).collect();
    check_classes(place, classes)
}

/// Reads a file with one class a line: `name`, or `name: synonym, synonym`. Empty lines and lines that start with `#` count for nothing.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Words`] if it is no UTF-8 text, too long, empty, or names a class twice.
pub fn read_tags_file(path: &Path) -> Result<Vec<Class>> {
    let lines = read_tag_lines(path)?.into_iter().map(|(place, class, settings)| match settings {
        None => Ok(class),
        Some(found) => Err(Error::Words { place, expected: "no settings, which only running video takes".into(), found }),
    });
    check_classes(&path.display().to_string(), lines.collect::<Result<_>>()?)
}

/// The classes of a file with their places, and what stands behind a `|` of their lines.
pub(crate) fn read_tag_lines(path: &Path) -> Result<Vec<(String, Class, Option<String>)>> {
    let place = path.display().to_string();
    let words = |expected: &str, found: String| Error::Words { place: place.clone(), expected: expected.into(), found };
    let bytes = std::fs::metadata(path).map_err(Error::io(path))?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(words("at most 16 MiB", format!("{bytes} bytes")));
    }
    let content = std::fs::read(path).map_err(Error::io(path))?;
    let content = String::from_utf8(content)
        .map_err(|e| words("UTF-8 text, one class a line", format!("byte {} that is not", e.utf8_error().valid_up_to())))?;
    let mut classes = Vec::new();
    for (number, line) in content.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("{place}:{}", number + 1);
        let (line, settings) = line.split_once('|').map_or((line, None), |(line, settings)| (line.trim(), Some(settings.trim().into())));
        let (name, synonyms) = line.split_once(':').unwrap_or((line, ""));
        let name = name.trim();
        if name.is_empty() {
            return Err(Error::Words { place, expected: "a name before the colon".into(), found: line.into() });
        }
        let mut class = Class::word(name);
        for synonym in synonyms.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            if !class.words.iter().any(|w| w == synonym) {
                class.words.push(synonym.into());
            }
        }
        classes.push((place, class, settings));
    }
    Ok(classes)
}

pub(crate) fn check_classes(place: &str, classes: Vec<Class>) -> Result<Vec<Class>> {
    let words = |expected: &str, found: String| Err(Error::Words { place: place.into(), expected: expected.into(), found });
    if classes.is_empty() {
        return words("one word or more", "none".into());
    }
    if classes.len() > MAX_CLASSES {
        return words("at most 65535 classes", classes.len().to_string());
    }
    let mut names: Vec<_> = classes.iter().map(|c| c.name.to_lowercase()).collect();
    names.sort();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => words("each class once", format!("{:?} twice", pair[0])),
        None => Ok(classes),
    }
}

/// English words that carry grammar, not things: dropped from captions, since no pixel shows them.
const STOP_WORDS: &str = "a about above across after again against all along also although am among an and another any are around as at be because been \
    before behind being below beneath beside between beyond both but by can could did do does doing down during each either every few for from further had has \
    have having he her here hers herself him himself his how i if in inside into is it its itself just like many may me might more most much must my near next no nor not \
    now of off on once one only onto or other our out outside over own past per same she should some such than that the their them themselves then there these they \
    this those through to together too toward towards two under underneath until up upon us very was we were what when where which while who whom whose why will with \
    within without would you your";

/// Splits a caption into its words, as the trainer does: lower case, runs of letters, digits and inner `-` and `'`, each once, in order.
/// Stop words are left out unless `keep_stop_words`.
///
/// # Errors
/// [`Error::Words`] if no word is left.
pub fn split_caption(caption: &str, keep_stop_words: bool) -> Result<Vec<Class>> {
    let mut found: Vec<String> = Vec::new();
    for word in caption.to_lowercase().split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '\'')) {
        let word = word.trim_matches(['-', '\'']);
        let stop = !keep_stop_words && STOP_WORDS.split_ascii_whitespace().any(|s| s == word);
        if !word.is_empty() && !stop && !found.iter().any(|f| f == word) {
            found.push(word.into());
        }
    }
    check_classes("--caption", found.into_iter().map(Class::word).collect())
}

/// What a pixel must reach to be a class's.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
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
#[derive(Debug, Clone)]
pub struct TagBank {
    names: Vec<String>,
    spans: Vec<Range<usize>>,
    backgrounds: usize,
    gates: Vec<Gate>,
    words: UnitRows, // [words, dim], unit-norm rows, class by class, background words last
    precision: Precision,
    packed: OnceLock<PackedBank>,
}

impl PartialEq for TagBank {
    // Whether a bank has been packed already makes no difference.
    fn eq(&self, other: &Self) -> bool {
        (&self.names, &self.spans, self.backgrounds, &self.gates, &self.words, self.precision)
            == (&other.names, &other.spans, other.backgrounds, &other.gates, &other.words, other.precision)
    }
}

impl TagBank {
    /// Joins classes and their words' embeddings, row by row in the same order; the last `background_words` rows are words
    /// for what is to be left out.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the rows are not as many as the words.
    pub fn new(classes: &[Class], background_words: usize, words: UnitRows) -> Result<Self> {
        let mut spans = Vec::with_capacity(classes.len());
        let mut next = 0;
        for class in classes {
            spans.push(next..next + class.words.len());
            next += class.words.len();
        }
        if next + background_words != words.rows() {
            return Err(Error::Tensor {
                what: "tag bank".into(),
                expected: format!("{} rows", next + background_words),
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
        })
    }

    /// The same bank with a gate for each class.
    ///
    /// # Errors
    /// [`Error::Tensor`] if they are not as many as the classes, or a threshold is not in 0..1.
    pub fn with_gates(mut self, gates: Vec<Gate>) -> Result<Self> {
        let wrong =
            |found: String| Error::Tensor { what: "gates".into(), expected: format!("{} thresholds of 0 to 1", self.names.len()), found };
        if gates.len() != self.names.len() {
            return Err(wrong(gates.len().to_string()));
        }
        if let Some(bad) = gates.iter().find(|g| matches!(g, Gate::Own(t) if !(0.0..=1.0).contains(t))) {
            return Err(wrong(format!("{bad:?}")));
        }
        self.gates = gates;
        Ok(self)
    }

    /// What a pixel must reach to be each class's. `[classes]`
    pub fn gates(&self) -> &[Gate] {
        &self.gates
    }

    /// The same bank with its numbers stored in another precision for scoring patches; [`Precision::F32`] without this.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, packed: OnceLock::new(), ..self }
    }

    /// The words as patches are scored against them, made once.
    pub fn packed(&self) -> &PackedBank {
        self.packed.get_or_init(|| PackedBank::new(self.words.data(), self.words.dim(), self.precision))
    }

    /// The classes' names; label k is `names()[k - 1]`.
    pub fn names(&self) -> &[String] {
        &self.names
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

/// A bundle's tokenizer, cut to its context.
#[derive(Debug)]
pub struct WordTokenizer {
    tokenizer: Tokenizer,
    special_tokens: usize,
    unknown: Option<u32>,
}

impl WordTokenizer {
    /// Reads a bundle's `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Bundle`] if the `tokenizers` crate cannot read it.
    pub fn load(bundle: &Bundle) -> Result<Self> {
        let text = &bundle.manifest().text;
        let fail = |e: tokenizers::Error| Error::Bundle {
            place: bundle.place().into(),
            part: text.tokenizer.clone(),
            expected: "a tokenizer.json".into(),
            found: e.to_string(),
        };
        let mut tokenizer = Tokenizer::from_bytes(&bundle.blob(&text.tokenizer)?).map_err(fail)?;
        tokenizer.with_padding(None);
        let truncation = TruncationParams { max_length: text.context, ..Default::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(fail)?;
        let special_tokens = tokenizer.encode("", true).map_err(fail)?.len();
        let unknown = tokenizer.token_to_id("[UNK]");
        Ok(Self { tokenizer, special_tokens, unknown })
    }

    /// Token ids of a text, special tokens included.
    ///
    /// # Errors
    /// [`Error::Words`] if nothing of the text is left, or the model knows no part of it.
    pub fn encode(&self, text: &str) -> Result<Vec<i64>> {
        let fail = |expected: &str, found: String| Error::Words { place: format!("{text:?}"), expected: expected.into(), found };
        let encoding = self.tokenizer.encode(text, true).map_err(|e| fail("a text for the tokenizer", e.to_string()))?;
        let ids = encoding.get_ids();
        if ids.len() <= self.special_tokens {
            return Err(fail("letters or digits", "none".into()));
        }
        let unknown = ids.iter().filter(|&&id| Some(id) == self.unknown).count();
        if unknown + self.special_tokens >= ids.len() {
            return Err(fail("a word that the model knows at least in part", "only unknown characters".into()));
        }
        Ok(ids.iter().map(|&id| i64::from(id)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_lose_stop_words_and_repeats() {
        let words = split_caption("A dog's dog-house, and the dog's snow-covered house!", false).unwrap();
        let names: Vec<_> = words.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["dog's", "dog-house", "snow-covered", "house"]);
        assert!(split_caption("of the and", false).is_err());
        assert_eq!(split_caption("of the and", true).unwrap().len(), 3);
    }

    #[test]
    fn a_word_given_twice_is_refused() {
        assert!(parse_tags("--tags", "dog, grass, Dog").unwrap_err().to_string().contains("\"dog\" twice"));
        assert!(parse_tags("--tags", " , ,").unwrap_err().to_string().contains("one word or more"));
        assert_eq!(parse_tags("--tags", "fire truck,dog").unwrap()[0], Class::word("fire truck"));
    }
}
