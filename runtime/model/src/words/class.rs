//! Classes as people write them.

use std::path::Path;

use edge_seg_bundle::text::is_hidden;

use crate::{Error, Result};

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

/// The classes of a file with their places, and what follows a `|` in their lines.
///
/// # Errors
/// As [`read_tags_file`].
pub fn read_tag_lines(path: &Path) -> Result<Vec<(String, Class, Option<String>)>> {
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

/// Classes as they are, if there are some, not too many, and each once.
///
/// # Errors
/// [`Error::Words`], at `place`, if not.
pub fn check_classes(place: &str, classes: Vec<Class>) -> Result<Vec<Class>> {
    let words = |expected: &str, found: String| Err(Error::Words { place: place.into(), expected: expected.into(), found });
    if classes.is_empty() {
        return words("one word or more", "none".into());
    }
    if classes.len() > MAX_CLASSES {
        return words("at most 65535 classes", classes.len().to_string());
    }
    let hidden = |word: &&String| word.contains(is_hidden);
    if let Some(word) = classes.iter().flat_map(|c| std::iter::once(&c.name).chain(&c.words)).find(hidden) {
        return words("words without characters that cannot be seen", format!("{word:?}"));
    }
    let mut names: Vec<_> = classes.iter().map(|c| c.name.to_lowercase()).collect();
    names.sort();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => words("each class once", format!("{:?} twice", pair[0])),
        None => Ok(classes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_given_twice_is_refused() {
        assert!(parse_tags("--tags", "dog, grass, Dog").unwrap_err().to_string().contains("\"dog\" twice"));
        assert!(parse_tags("--tags", " , ,").unwrap_err().to_string().contains("one word or more"));
        for hidden in ["d\u{202e}og", "do\u{200b}g", "d\x1bog"] {
            let said = parse_tags("--tags", hidden).unwrap_err().to_string();
            assert!(said.contains("cannot be seen") && said.is_ascii() && !said.contains('\x1b'), "{said}");
        }
        assert_eq!(parse_tags("--tags", "fire truck,dog").unwrap()[0], Class::word("fire truck"));
    }
}
