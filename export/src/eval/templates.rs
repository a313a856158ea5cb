//! Sentences that words are put into before they are embedded, and the banks made with them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use edge_seg_model::{Class, Session, UnitRows, WordBank};
use parking_lot::Mutex;
use rayon::prelude::*;

use crate::{Error, Result};

/// A set of templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Templates {
    /// What reports call it.
    pub name: String,
    /// Sentences with `{}` in them; none for the model's own.
    pub sentences: Option<Vec<String>>,
}

impl Templates {
    /// The model's own.
    pub fn model() -> Self {
        Self { name: "model".into(), sentences: None }
    }

    /// `model`, `clip80` (the 80 of Radford et al. 2021), `tcl9` (the 9 of Cha et al. 2023), or a file with one sentence a line.
    ///
    /// # Errors
    /// [`Error::Io`] if there is neither such a set nor such a file, [`Error::File`] if a line has no `{}`.
    pub fn named(name: &str) -> Result<Self> {
        let text = match name {
            "model" => return Ok(Self::model()),
            "clip80" => include_str!("../../presets/templates-clip80.txt").to_string(),
            "tcl9" => include_str!("../../presets/templates-tcl9.txt").to_string(),
            path => edge_seg_model::read_text(Path::new(path))?,
        };
        let sentences: Vec<String> =
            text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned).collect();
        match sentences.iter().find(|s| !s.contains("{}")) {
            Some(line) => Err(Error::file(name, "templates", "lines with {} where the word goes", format!("{line:?}"))),
            None if sentences.is_empty() => Err(Error::file(name, "templates", "one a line", "none")),
            None => Ok(Self {
                name: Path::new(name).file_stem().map_or(name.into(), |n| n.to_string_lossy().into()),
                sentences: Some(sentences),
            }),
        }
    }
}

type Embedding = Arc<Vec<f32>>;

/// Embeddings of words in templates, kept: each is made once however many pictures and variants use it.
#[derive(Debug, Default)]
pub struct Lexicon {
    words: Mutex<HashMap<(String, String), Embedding>>,
}

impl Lexicon {
    /// As [`Session::word_bank`], with other templates than the model's.
    ///
    /// # Errors
    /// As there.
    pub fn bank(&self, session: &Session, templates: &Templates, classes: &[Class], background_words: &[String]) -> Result<WordBank> {
        self.bank_until(session, templates, classes, background_words, &|| false)
    }

    /// As [`Self::bank`], unless `stop` says so meanwhile. It is asked before each word.
    ///
    /// # Errors
    /// As there, and [`Error::Stopped`] once it does.
    pub fn bank_until(
        &self,
        session: &Session,
        templates: &Templates,
        classes: &[Class],
        background_words: &[String],
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<WordBank> {
        let Some(sentences) = &templates.sentences else {
            let words = session.word_list_until(classes.to_vec(), background_words.to_vec(), stop)?;
            return words.map(|words| words.bank().clone()).ok_or(Error::Stopped);
        };
        let words: Vec<&String> = classes.iter().flat_map(|c| &c.words).chain(background_words).collect();
        let dim = session.bundle().manifest().embedding_dim;
        let embedded: Vec<Arc<Vec<f32>>> = words
            .par_iter()
            .map(|word| if stop() { Err(Error::Stopped) } else { self.word(session, &templates.name, sentences, word, dim) })
            .collect::<Result<_>>()?;
        let data = embedded.iter().flat_map(|row| row.iter().copied()).collect();
        Ok(WordBank::new(classes, background_words.len(), UnitRows::normalise("tag bank", dim, data)?)?)
    }

    fn word(&self, session: &Session, set: &str, sentences: &[String], word: &str, dim: usize) -> Result<Arc<Vec<f32>>> {
        let key = (set.to_string(), word.to_string());
        if let Some(known) = self.words.lock().get(&key) {
            return Ok(known.clone());
        }
        // The word alone is what must be known: a template's own words would hide one that is not.
        session.embed_text(word)?;
        let mut sum = vec![0.0f32; dim];
        for sentence in sentences {
            let row = session.embed_text(&sentence.replace("{}", word))?;
            sum.iter_mut().zip(row.data()).for_each(|(s, v)| *s += v);
        }
        let mean = Arc::new(sum);
        self.words.lock().insert(key, mean.clone());
        Ok(mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_have_as_many_sentences_as_their_names_say() {
        assert_eq!(Templates::named("clip80").unwrap().sentences.unwrap().len(), 80);
        assert_eq!(Templates::named("tcl9").unwrap().sentences.unwrap().len(), 9);
        assert_eq!(Templates::named("model").unwrap(), Templates::model());
        assert!(Templates::named("no such set").is_err());
    }
}
