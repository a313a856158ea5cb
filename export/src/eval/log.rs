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
    /// None until there is a picture: a run that measures nothing leaves no file behind.
    file: Mutex<Option<File>>,
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

fn begin(path: &Path, text: &str) -> Result<File> {
    edge_seg_bundle::files::replace_file(path, text.as_bytes())?;
    OpenOptions::new().append(true).open(path).map_err(Error::io(path))
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
        if path.exists() {
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
        let file = match &mut *file {
            Some(file) => file,
            none => none.insert(begin(&self.path, &self.head)?),
        };
        file.write_all(line.as_bytes()).map_err(Error::io(&self.path))
    }
}
