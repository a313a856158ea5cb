//! Labelling on many machines: each does its part of the pictures, and the parts are joined to what one run would have written.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use edge_seg_bundle::files::{hex, replace_file};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{PictureLabels, Settings};
use crate::eval::log;
use crate::{Error, Result};

/// The file that says that a part is done.
pub const NOTE: &str = "part.json";

/// Which part of how many: `2/4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// From 1.
    pub index: usize,
    /// How many there are.
    pub of: usize,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed =
            text.split_once('/').and_then(|(index, of)| Some(Part { index: index.trim().parse().ok()?, of: of.trim().parse().ok()? }));
        parsed.filter(|part| (1..=part.of).contains(&part.index)).ok_or_else(|| format!("expected I/N with I of 1 to N, found {text:?}"))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl Part {
    /// The part's pictures: neighbours, so that parts follow each other as the pictures do.
    pub fn of_list<'a, T>(&self, all: &'a [T]) -> &'a [T] {
        let bound = |i: usize| (all.len() as u128 * i as u128 / self.of as u128) as usize;
        &all[bound(self.index - 1)..bound(self.index)]
    }
}

/// What a part was done of, written when it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// Version of the note, 1.
    pub note: u32,
    /// Which part.
    pub part: Part,
    /// Digest of the whole list of pictures, in its order: parts of other lists do not fit together.
    pub list: String,
    /// Pictures of the part that were labelled: the first of its record, which may go on with what was labelled there before.
    pub done: usize,
    /// Digest of these: a record that another run wrote meanwhile, or that was copied half-way, has others.
    pub labelled: String,
    /// Pictures of the part that could not be labelled.
    pub failed: usize,
    /// The model's name.
    pub model: String,
    /// The vocabulary's classes in its order, where every picture was labelled with the same.
    pub classes: Option<Vec<String>>,
}

impl Note {
    /// Digest of a list of pictures: their names without folders, which differ from machine to machine.
    pub fn digest<P: AsRef<Path>>(pictures: impl IntoIterator<Item = P>) -> String {
        let mut digest = Sha256::new();
        for picture in pictures {
            let name = picture.as_ref().file_name().unwrap_or_default().as_encoded_bytes();
            digest.update((name.len() as u64).to_le_bytes());
            digest.update(name);
        }
        hex(&digest.finalize())
    }

    /// Writes the note into a part's folder.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the file system refuses.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_string(self).expect("plain data") + "\n";
        Ok(replace_file(&folder.join(NOTE), text.as_bytes())?)
    }

    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(NOTE);
        let place = path.display().to_string();
        if !path.exists() {
            let expected = "the note that `label --part I/N` writes when it is done; run that part again, it goes on where it stopped";
            return Err(Error::file(place, "file", expected, "none"));
        }
        serde_json::from_str(&edge_seg_model::read_text(&path)?).map_err(|e| Error::file(place, "file", "a part's note", e.to_string()))
    }
}

/// Parts that fit together.
#[derive(Debug)]
pub struct Joined {
    /// How they were labelled.
    pub settings: Settings,
    /// The note of the first; what it says but for the part itself holds for all.
    pub note: Note,
    /// Pictures that could not be labelled, of all parts.
    pub failed: usize,
    /// The labels of all, in the order of the one list.
    pub pictures: Vec<PictureLabels>,
}

/// Reads the parts of one list, in whatever order they are given.
///
/// # Errors
/// [`Error::Io`] or [`Error::Runtime`] if one cannot be read; [`Error::File`] if one is missing, not done, there twice, or was labelled with
/// another model, other options or words, or out of another list, or its record does not hold the pictures that it is done with.
pub fn join(folders: &[PathBuf]) -> Result<Joined> {
    let mut parts = Vec::with_capacity(folders.len());
    for folder in folders {
        let note = Note::read(folder)?;
        let record = folder.join("labels.jsonl");
        let (settings, mut pictures) = log::read::<PictureLabels>(&record)?;
        pictures.truncate(note.done);
        if Note::digest(pictures.iter().map(|picture| &picture.file)) != note.labelled {
            let expected = format!("the {} that part {} is done with; copy its folder again, or label it again", note.done, note.part);
            let found = if pictures.len() < note.done { pictures.len().to_string() } else { "others".into() };
            return Err(Error::file(record.display().to_string(), "pictures", expected, found));
        }
        parts.push((folder, note, settings, pictures));
    }
    parts.sort_by_key(|(_, note, ..)| note.part.index);
    let Some((_, first, settings, _)) = parts.first() else {
        return Err(Error::Option { option: "parts".into(), expected: "folders of parts".into(), found: "none".into() });
    };
    let (first, settings) = (first.clone(), settings.clone());
    let same =
        |note: &Note| (note.part.of, &note.list, &note.model, &note.classes) == (first.part.of, &first.list, &first.model, &first.classes);
    for (at, (folder, note, other, _)) in parts.iter().enumerate() {
        let place = folder.display().to_string();
        if *other != settings || !same(note) {
            let expected = format!("the model, options, words and pictures of part {}", first.part);
            return Err(Error::file(place, format!("part {}", note.part), expected, "others"));
        }
        if note.part.index != at + 1 {
            return Err(Error::file(
                place,
                "parts",
                format!("each of the {} once", first.part.of),
                format!("part {} where part {} is due", note.part, at + 1),
            ));
        }
    }
    if parts.len() != first.part.of {
        let found = format!("the first {}", parts.len());
        return Err(Error::Option { option: "parts".into(), expected: format!("all of the {} parts", first.part.of), found });
    }
    let failed = parts.iter().map(|(_, note, ..)| note.failed).sum();
    Ok(Joined { settings, note: first, failed, pictures: parts.into_iter().flat_map(|(.., pictures)| pictures).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_whole_in_its_order() {
        for len in [0usize, 1, 2, 7, 100] {
            let all: Vec<usize> = (0..len).collect();
            for of in [1, 2, 3, 8] {
                let parts: Vec<&[usize]> = (1..=of).map(|index| Part { index, of }.of_list(&all)).collect();
                assert_eq!(parts.concat(), all, "{len} in {of}");
                let (least, most) = (parts.iter().map(|p| p.len()).min(), parts.iter().map(|p| p.len()).max());
                assert!(most.unwrap() - least.unwrap() <= 1, "{len} in {of}");
            }
        }
        for wrong in ["", "1", "0/2", "3/2", "1/0", "a/2", "1/2/3"] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }
}
