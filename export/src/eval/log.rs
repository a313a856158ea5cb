//! A run's record: one JSON line of settings, then one per picture. A run that was stopped goes on where its record ends,
//! and two records of segmentation can be compared.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::segmentation::PictureCounts;
use crate::{Error, Result};

/// What a record holds of one picture.
pub trait Kept: Serialize + DeserializeOwned {
    /// How the run went, spelled out: a record goes on where they are the same.
    type Settings: Serialize + DeserializeOwned + PartialEq;

    /// Whether it can come of a run of these settings.
    fn fits(&self, settings: &Self::Settings) -> bool;
}

/// What a run of segmentation measured, and how: two records are comparable where all but `model` and `digest` agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Version of the record, 2.
    pub record: u32,
    /// The model's name and variant.
    pub model: String,
    /// The bundle's digest.
    pub digest: String,
    /// The view's column.
    pub view: String,
    /// Whether label 0 is a class.
    pub background_class: bool,
    /// The classes' names.
    pub classes: Vec<String>,
    /// The variants' names; each stands for all of its options.
    pub variants: Vec<String>,
    /// Every option that changes the predictions of all variants, spelled out.
    pub protocol: String,
}

/// A record that is being written.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    /// What a file that is not there yet begins with.
    head: String,
    /// With its bytes of whole lines. None until there is a picture: a run that measures nothing leaves no file behind.
    file: Mutex<Option<(File, u64)>>,
}

/// Reads a record. A last line that was cut off is left out.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::File`] if it is no record.
pub fn read<P: Kept>(path: &Path) -> Result<(P::Settings, Vec<P>)> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let wrong = |line: usize, e: serde_json::Error| {
        Error::file(path.display().to_string(), format!("line {line}"), "a record of such a run", e.to_string())
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.lines();
    let settings: P::Settings = serde_json::from_str(lines.next().unwrap_or("")).map_err(|e| wrong(1, e))?;
    let pictures =
        lines.enumerate().map(|(i, line)| serde_json::from_str(line).map_err(|e| wrong(i + 2, e))).collect::<Result<Vec<P>>>()?;
    if let Some(i) = pictures.iter().position(|picture| !picture.fits(&settings)) {
        return Err(Error::file(path.display().to_string(), format!("line {}", i + 2), "runs and labels of the settings", "others"));
    }
    Ok((settings, pictures))
}

impl Kept for PictureCounts {
    type Settings = Settings;

    fn fits(&self, settings: &Settings) -> bool {
        let labels = settings.classes.len() + 1;
        self.runs.len() == settings.variants.len() && self.runs.iter().flatten().all(|c| c.0 < labels && c.1 < labels)
    }
}

fn begin(path: &Path, text: &str) -> Result<(File, u64)> {
    edge_seg_bundle::files::replace_file(path, text.as_bytes())?;
    Ok((OpenOptions::new().append(true).open(path).map_err(Error::io(path))?, text.len() as u64))
}

/// Where settings are not the same, as `words "cat", not "dog"`.
fn difference<S: Serialize>(found: &S, wanted: &S) -> String {
    const LONGEST_CHARS: usize = 80;
    let [found, wanted] = [found, wanted].map(|settings| serde_json::to_value(settings).expect("plain data"));
    let short = |value: &serde_json::Value| {
        let text = value.to_string();
        if text.chars().count() > LONGEST_CHARS { text.chars().take(LONGEST_CHARS).chain("...".chars()).collect() } else { text }
    };
    let of = wanted.as_object().into_iter().flatten().filter(|(key, value)| found.get(key) != Some(*value));
    of.map(|(key, value)| format!("{key} {}, not {}", short(&found[key]), short(value))).collect::<Vec<_>>().join("; ")
}

impl Log {
    /// Starts a record, or goes on with one of the same settings: then its pictures are given back and need not be measured again.
    ///
    /// # Errors
    /// [`Error::Io`] if the file system refuses, [`Error::File`] if the file is a record of other settings, or none.
    pub fn open<P: Kept>(path: &Path, settings: &P::Settings) -> Result<(Self, Vec<P>)> {
        let mut done = Vec::new();
        // A disk that does not answer has not said that there is none: what was done would be written over.
        if path.try_exists().map_err(Error::io(path))? {
            let (before, pictures) = read::<P>(path)?;
            if before != *settings {
                let place = path.display().to_string();
                let found = format!("those of another run: {}; try: another place, or rm {place}", difference(&before, settings));
                return Err(Error::file(place, "line 1", "the settings of this run", found));
            }
            done = pictures;
        }
        // Written anew, so that a line that was cut off does not end up between whole ones.
        let mut head = serde_json::to_string(settings).expect("plain data") + "\n";
        done.iter().for_each(|picture| head += &(serde_json::to_string(picture).expect("plain data") + "\n"));
        let file = if done.is_empty() { None } else { Some(begin(path, &head)?) };
        Ok((Self { path: path.into(), head, file: Mutex::new(file) }, done))
    }

    /// Adds a picture.
    ///
    /// # Errors
    /// [`Error::Io`] if the file system refuses.
    pub fn add(&self, picture: &impl Kept) -> Result<()> {
        let line = serde_json::to_string(picture).expect("plain data") + "\n";
        let mut file = self.file.lock();
        let (file, whole) = match &mut *file {
            Some(file) => file,
            none => none.insert(begin(&self.path, &self.head)?),
        };
        // What a full disk has taken of a line is taken back: the next one would stand behind it, and the record could not be read.
        let mut put = || {
            if file.metadata()?.len() != *whole {
                file.set_len(*whole)?;
            }
            file.write_all(line.as_bytes())
        };
        let put = put();
        match put {
            Ok(()) => *whole += line.len() as u64,
            Err(_) => drop(file.set_len(*whole)),
        }
        put.map_err(Error::io(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Picture(u32);

    impl Kept for Picture {
        type Settings = String;

        fn fits(&self, _: &String) -> bool {
            true
        }
    }

    #[test]
    fn a_line_that_a_full_disk_tore_costs_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.jsonl");
        let settings = "settings".to_owned();
        let (log, before) = Log::open::<Picture>(&path, &settings).unwrap();
        assert!(before.is_empty());
        log.add(&Picture(1)).unwrap();
        // As a write leaves it that failed half-way, where what it wrote could not be taken back either.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"[2").unwrap();
        log.add(&Picture(3)).unwrap();
        assert_eq!(read::<Picture>(&path).unwrap(), (settings, vec![Picture(1), Picture(3)]));
    }

    #[test]
    fn a_record_that_cannot_be_asked_for_is_not_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        // What is below a file cannot be asked for; this stands for a disk that answers with an error.
        let error = Log::open::<Picture>(&folder.path().join("file/labels.jsonl"), &"settings".to_owned()).unwrap_err();
        assert!(error.to_string().contains("labels.jsonl"), "{error}");
    }
}
