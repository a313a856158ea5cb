use std::path::{Path, PathBuf};

use serde_json::json;

use super::word::{LiveClass, MAX_FILE_BYTES, WordSpec, parse_words_json};
use crate::{Error, Result};
use edge_seg_bundle::files::replace_file;
use edge_seg_model::text::{read_bytes_within, shown_names};

/// Word sets saved under names, one JSON file each in a folder.
#[derive(Debug)]
pub struct WordSets(PathBuf);

const MAX_SETS: usize = 200;
const MAX_NAME: usize = 64;

impl WordSets {
    /// Makes the folder if it is missing.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if it cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        Ok(Self(folder.into()))
    }

    /// The sets' names, sorted.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if the folder cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.0).map_err(Error::io(&self.0))? {
            let path = entry.map_err(Error::io(&self.0))?.path();
            let name = path.file_stem().and_then(|s| s.to_str());
            if let Some(name) = name.filter(|n| path.extension().is_some_and(|e| e == "json") && checked(n).is_ok()) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Saves words under a name, over the ones that have it.
    ///
    /// # Errors
    /// [`Words`](edge_seg_model::Error::Words) if the name cannot be used or there are too many sets, [`Io`](edge_seg_model::Error::Io) if the file cannot be written.
    pub fn save(&self, name: &str, words: &[LiveClass]) -> Result<()> {
        let path = self.path(name)?;
        if !path.exists() {
            let found = self.names()?.len();
            if found >= MAX_SETS {
                let place = "saved words";
                return Err(Error::words(place, format!("at most {MAX_SETS} sets"), format!("{found} already")));
            }
        }
        let text = serde_json::to_vec_pretty(&json!({ "words": words })).map_err(|e| Error::io(path.clone())(e.into()))?;
        Ok(replace_file(&path, &text)?)
    }

    /// The words of a set.
    ///
    /// # Errors
    /// [`Words`](edge_seg_model::Error::Words) if there is none of this name or it cannot be understood, [`Io`](edge_seg_model::Error::Io) if it cannot be read.
    pub fn load(&self, name: &str) -> Result<Vec<WordSpec>> {
        let path = self.existing(name)?;
        parse_words_json(&path.display().to_string(), &read_bytes_within(&path, MAX_FILE_BYTES)?)
    }

    /// Takes a set away.
    ///
    /// # Errors
    /// [`Words`](edge_seg_model::Error::Words) if there is none of this name, [`Io`](edge_seg_model::Error::Io) if the file cannot be removed.
    pub fn delete(&self, name: &str) -> Result<()> {
        let path = self.existing(name)?;
        std::fs::remove_file(&path).map_err(Error::io(&path))
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        Ok(self.0.join(format!("{}.json", checked(name)?)))
    }

    fn existing(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name)?;
        if path.is_file() {
            return Ok(path);
        }
        let known = shown_names(&self.names()?);
        let expected = if known.is_empty() { "a saved set; there is none yet".into() } else { format!("one of {known}") };
        Err(Error::words("saved words", expected, format!("{name:?}")))
    }
}

/// Names become file names: letters, digits, `-`, `_` alone, so that none leads out of the folder.
fn checked(name: &str) -> Result<&str> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if (1..=MAX_NAME).contains(&name.len()) && name.chars().all(good) {
        return Ok(name);
    }
    let expected = format!("a name of 1 to {MAX_NAME} letters, digits, - and _");
    Err(Error::words("saved words", expected, format!("{name:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::word::settle;
    use edge_seg_model::Class;

    #[test]
    fn sets_come_back_as_they_were_and_names_stay_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let sets = WordSets::open(folder.path()).unwrap();
        let mut words = settle("test", vec![Class::word("dog").into(), Class::word("grass").into()], &[]).unwrap();
        words[1].threshold = Some(0.25);
        words[1].on = false;
        words[0].synonyms = vec!["puppy".into()];
        sets.save("garden-1", &words).unwrap();
        assert_eq!(sets.names().unwrap(), ["garden-1"]);
        let back = settle("test", sets.load("garden-1").unwrap(), &[]).unwrap();
        assert_eq!(back, words);
        for name in ["../garden-1", "", "a/b", "a.b", "a b", &"x".repeat(65)] {
            assert!(sets.save(name, &words).is_err(), "{name}");
            assert!(sets.load(name).is_err(), "{name}");
        }
        assert!(sets.load("street").unwrap_err().to_string().contains("one of garden-1"));
        sets.delete("garden-1").unwrap();
        assert!(sets.delete("garden-1").is_err());
    }
}
