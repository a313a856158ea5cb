//! A run's record: one JSON line of settings, then one per picture. A run that was stopped goes on where its record ends,
//! and two records can be compared.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::segmentation::PictureCounts;
use crate::{Error, Result};

/// What a run measured, and how: two records are comparable where all but `model` and `digest` agree.
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
    file: Mutex<File>,
}

/// Reads a record. A last line that was cut off is left out.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::File`] if it is no record.
pub fn read(path: &Path) -> Result<(Settings, Vec<PictureCounts>)> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let wrong = |line: usize, e: serde_json::Error| {
        Error::file(path.display().to_string(), format!("line {line}"), "a record of eval", e.to_string())
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.lines();
    let settings: Settings = serde_json::from_str(lines.next().unwrap_or("")).map_err(|e| wrong(1, e))?;
    let pictures = lines
        .enumerate()
        .map(|(i, line)| serde_json::from_str(line).map_err(|e| wrong(i + 2, e)))
        .collect::<Result<Vec<PictureCounts>>>()?;
    for (i, picture) in pictures.iter().enumerate() {
        let labels = settings.classes.len() + 1;
        let fits = picture.runs.len() == settings.variants.len() && picture.runs.iter().flatten().all(|c| c.0 < labels && c.1 < labels);
        if !fits {
            return Err(Error::file(path.display().to_string(), format!("line {}", i + 2), "runs and labels of the settings", "others"));
        }
    }
    Ok((settings, pictures))
}

impl Log {
    /// Starts a record, or goes on with one of the same settings: then its pictures are given back and need not be measured again.
    ///
    /// # Errors
    /// [`Error::Io`] if the file system refuses, [`Error::File`] if the file is a record of other settings, or none.
    pub fn open(path: &Path, settings: &Settings) -> Result<(Self, Vec<PictureCounts>)> {
        let mut done = Vec::new();
        if path.exists() {
            let (before, pictures) = read(path)?;
            if before != *settings {
                let place = path.display().to_string();
                return Err(Error::file(
                    place,
                    "line 1",
                    "the settings of this run; remove the file or name another",
                    "a record of other settings",
                ));
            }
            done = pictures;
        }
        // Written anew, so that a line that was cut off does not stand between whole ones.
        let mut text = serde_json::to_string(settings).expect("plain data") + "\n";
        done.iter().for_each(|picture| text += &(serde_json::to_string(picture).expect("plain data") + "\n"));
        edge_seg::files::replace_file(path, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(path).map_err(Error::io(path))?;
        Ok((Self { path: path.into(), file: Mutex::new(file) }, done))
    }

    /// Adds a picture.
    ///
    /// # Errors
    /// [`Error::Io`] if the file system refuses.
    pub fn add(&self, picture: &PictureCounts) -> Result<()> {
        let line = serde_json::to_string(picture).expect("plain data") + "\n";
        let mut file = self.file.lock().unwrap_or_else(|e| e.into_inner());
        file.write_all(line.as_bytes()).map_err(Error::io(&self.path))
    }
}
