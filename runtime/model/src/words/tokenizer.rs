//! From a text to the token ids that the text encoder reads.

use edge_seg_bundle::Bundle;
use tokenizers::{Tokenizer, TruncationParams};

use crate::contained::contained;
use crate::text::shown_line;
use crate::{Error, Result};

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
        Self::read(bundle.place(), &text.tokenizer, &bundle.blob(&text.tokenizer)?, text.context)
    }

    /// Reads the bytes of a `tokenizer.json`, which errors name as `part` of `place`; it gives at most `context` ids.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn read(place: &str, part: &str, json: &[u8], context: usize) -> Result<Self> {
        let fail = |e: tokenizers::Error| edge_seg_bundle::Error::Bundle {
            place: place.into(),
            part: part.into(),
            expected: "a tokenizer.json".into(),
            found: e.to_string(),
        };
        let read = || {
            let mut tokenizer = Tokenizer::from_bytes(json)?;
            tokenizer.with_padding(None);
            let truncation = TruncationParams { max_length: context, ..Default::default() };
            tokenizer.with_truncation(Some(truncation))?;
            let special_tokens = tokenizer.encode("", true)?.len();
            let unknown = tokenizer.token_to_id("[UNK]");
            Ok(Self { tokenizer, special_tokens, unknown })
        };
        Ok(unless_panics(read).map_err(fail)?)
    }

    /// Token ids of a text, special tokens included.
    ///
    /// # Errors
    /// [`Error::Words`] if nothing of the text is left, or the model knows no part of it.
    pub fn encode(&self, text: &str) -> Result<Vec<i64>> {
        let fail = |expected: &str, found: String| Error::Words { place: shown_line(text), expected: expected.into(), found };
        let encoding = unless_panics(|| self.tokenizer.encode(text, true)).map_err(|e| fail("a text for the tokenizer", e.to_string()))?;
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

/// A damaged tokenizer.json may be read, and name what it does not hold: the crate panics where it looks that up.
fn unless_panics<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    contained(work).unwrap_or_else(|panic| Err(format!("one that `tokenizers` gives up on: {panic}").into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_tokenizer_is_an_error() {
        let refused = unless_panics(|| -> tokenizers::Result<()> { panic!("no entry found for key") }).unwrap_err().to_string();
        assert_eq!(refused, "one that `tokenizers` gives up on: no entry found for key");
        let read = WordTokenizer::read("a.esb", "tokenizer.json", b"{}", 8).unwrap_err().to_string();
        assert!(read.contains("a.esb: tokenizer.json: expected a tokenizer.json"), "{read}");
    }
}
