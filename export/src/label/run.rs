//! A run over many pictures, which goes on where one that was stopped left off, and joins the parts that several machines did.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use edge_seg_model::{Class, Refinement, Session, WordList};
use rayon::prelude::*;

use super::output::Output;
use super::part::{self, Note, Part};
use super::{Options, PictureLabels, Settings, embed, folder, formats, label, words_of, write_record};
use crate::eval::log::{self, Log};
use crate::eval::pictures::is_same;
use crate::{Error, Result};

/// The record of a run, in the folder that it writes.
const RECORD: &str = "labels.jsonl";

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The same classes in every picture.
    Same(Vec<Class>),
    /// The words of each picture's captions, by file names without folders.
    Captions(BTreeMap<String, Vec<String>>),
}

/// Which pictures are labelled, with what, and what is written.
pub struct Job<'a> {
    /// The model. One with a thread of its own is the fastest: whole pictures side by side use the cores better.
    pub session: &'a Session,
    /// The device, where its numbers differ from the processor's.
    pub device: Option<String>,
    /// How pictures are labelled.
    pub options: Options,
    /// What is looked for.
    pub wanted: Wanted,
    /// The pictures, whose file names must differ.
    pub pictures: Vec<PathBuf>,
    /// The part of them that is this run's.
    pub part: Option<Part>,
    /// The folder to write.
    pub out: PathBuf,
    /// What is written there.
    pub output: Output,
    /// Asked before each word that is embedded whether the run should end.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

impl std::fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Job {{ {:?}, {} pictures, {:?} }}", self.session, self.pictures.len(), self.out)
    }
}

/// What a run gave.
#[derive(Debug)]
pub struct Labelled {
    /// In the order in which they were asked for.
    pub pictures: Vec<PictureLabels>,
    /// Names of the classes in the order of their numbers.
    pub classes: Vec<String>,
    /// Pictures that could not be labelled.
    pub failed: usize,
    /// Pictures that do not lie beside their labels, since they are not where they were labelled.
    pub missing: usize,
}

impl Job<'_> {
    /// Labels the pictures and writes what was asked for. What the record `labels.jsonl` holds of an earlier run of the same settings is
    /// not done again. `done` is told of each picture, from several threads; what it answers with an error ends the run, and what is done is kept.
    ///
    /// # Errors
    /// [`Error::Option`] if an option is out of its range, two pictures share a name, or no picture could be labelled; [`Error::File`] if
    /// the folder holds a record of other settings; as [`Output::write`]; and what `done` answers.
    pub fn run(&self, done: impl Fn(&Path, Result<&PictureLabels, &Error>) -> Result<()> + Sync) -> Result<Labelled> {
        self.options.check()?;
        let mut stems: HashMap<_, &Path> = HashMap::new();
        for path in &self.pictures {
            if let Some(before) = stems.insert(path.file_stem(), path) {
                return Err(Error::Option {
                    option: format!("{} and {}", before.display(), path.display()),
                    expected: "file names that differ, since outputs are named by them".into(),
                    found: format!("{} twice", path.file_stem().unwrap_or_default().display()),
                });
            }
        }
        std::fs::create_dir_all(&self.out).map_err(Error::io(&self.out))?;
        folder::sweep(&self.out)?;
        let list = Note::digest(&self.pictures);
        let paths = self.part.map_or(self.pictures.as_slice(), |part| part.of_list(&self.pictures));
        let note = self.out.join(part::NOTE);
        match std::fs::remove_file(&note) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io(note)(e)),
            _ => {}
        }
        let pictures = self.label_all(paths, done)?;
        let failed = paths.len() - pictures.len();
        if pictures.is_empty() && self.part.is_none() {
            let found = if failed == 0 { "none".to_owned() } else { format!("{failed} that could not be") };
            return Err(Error::Option { option: "pictures".into(), expected: "one or more that can be labelled".into(), found });
        }
        let given = match &self.wanted {
            Wanted::Same(classes) => Some(classes.iter().map(|class| class.name.clone()).collect::<Vec<_>>()),
            Wanted::Captions(_) => None,
        };
        let (classes, model) = (formats::class_list(&pictures, given.clone()), self.session.bundle().manifest().name.clone());
        let missing = self.output.write(&self.out, &model, &pictures, &classes)?;
        if let Some(part) = self.part {
            let labelled = Note::digest(pictures.iter().map(|picture| &picture.file));
            Note { note: 1, part, list, done: pictures.len(), labelled, failed, model, classes: given }.write(&self.out)?;
        }
        Ok(Labelled { pictures, classes, failed, missing })
    }

    fn settings(&self) -> Settings {
        Settings {
            record: 1,
            digest: self.session.bundle().digest().into(),
            size_px: self.session.size_px(),
            options: self.options.clone(),
            device: self.device.clone(),
            refined: self.session.refinement() != Refinement::None,
            words: match &self.wanted {
                Wanted::Same(classes) => classes.iter().map(|c| c.words.join(", ")).collect::<Vec<_>>().join("; "),
                Wanted::Captions(captions) => format!("{:?}", Some(captions)),
            },
        }
    }

    /// The words that are looked for in a picture. `same` are those of all.
    fn words<'w>(&self, path: &Path, same: Option<&'w WordList>) -> Result<Cow<'w, WordList>> {
        match (&self.wanted, same) {
            (_, Some(same)) => Ok(Cow::Borrowed(same)),
            (Wanted::Same(classes), None) => embed(self.session, classes, self.stop).map(Cow::Owned),
            (Wanted::Captions(captions), None) => {
                let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                let words = captions.get(&name).map(|c| words_of(c)).unwrap_or_default();
                if words.is_empty() {
                    Err(Error::file(path.display().to_string(), "caption", "one with words in it", "none"))
                } else {
                    embed(self.session, &words, self.stop).map(Cow::Owned)
                }
            }
        }
    }

    /// Labels what the record does not hold yet; results are in the order of `paths`.
    fn label_all(
        &self,
        paths: &[PathBuf],
        done: impl Fn(&Path, Result<&PictureLabels, &Error>) -> Result<()> + Sync,
    ) -> Result<Vec<PictureLabels>> {
        let (record, settings) = (self.out.join(RECORD), self.settings());
        let (log, before) = Log::open::<PictureLabels>(&record, &settings)?;
        let known: HashMap<String, PictureLabels> = before.into_iter().map(|picture| (picture.file.clone(), picture)).collect();
        // Once for all pictures, and not if none is left to do.
        let is_new = |path: &PathBuf| !known.contains_key(&path.display().to_string());
        let same = match &self.wanted {
            Wanted::Same(classes) if paths.iter().any(is_new) => Some(embed(self.session, classes, self.stop)?),
            _ => None,
        };
        let one = |path: &PathBuf| -> Result<PictureLabels> {
            if let Some(picture) = known.get(&path.display().to_string()) {
                return Ok(picture.clone());
            }
            let words = self.words(path, same.as_ref())?;
            let picture = label(self.session, path, &words, &self.options)?;
            log.add(&picture)?;
            Ok(picture)
        };
        let labelled = |path: &PathBuf| -> Result<Option<PictureLabels>> {
            let result = one(path);
            done(path, result.as_ref())?;
            Ok(result.ok())
        };
        let found: Vec<Option<PictureLabels>> =
            self.session.with_busy_encoder(|| paths.par_iter().map(labelled).collect::<Result<_>>())??;
        let found: Vec<PictureLabels> = found.into_iter().flatten().collect();
        // Pictures are added as they are done; those of an earlier run of more pictures come last.
        let now: HashSet<String> = paths.iter().map(|path| path.display().to_string()).collect();
        let mut rest: Vec<PictureLabels> = known.into_values().filter(|old| !now.contains(&old.file)).collect();
        rest.sort_by(|a, b| a.file.cmp(&b.file));
        let all = [found.as_slice(), &rest].concat();
        // A record of none would only keep another run out; a part's is joined with others.
        if self.part.is_some() || !all.is_empty() {
            write_record(&record, &settings, &all)?;
        }
        Ok(found)
    }
}

/// Whether a folder has nothing but what an earlier merge of the same parts wrote: what else was labelled there would be lost.
fn check_free(out: &Path, joined: &part::Joined) -> Result<()> {
    let expected = "a folder without labels, or with those of an earlier merge of these parts; name another one";
    let record = out.join(RECORD);
    let other = |place: PathBuf, found: String| Err(Error::file(place.display().to_string(), "labels", expected, found));
    let is_there = |path: &Path| path.try_exists().map_err(Error::io(path));
    if is_there(&out.join(part::NOTE))? {
        return other(out.join(part::NOTE), "a part".into());
    }
    if !is_there(&record)? {
        return Ok(());
    }
    let (settings, pictures) = log::read::<PictureLabels>(&record)?;
    if settings != joined.settings {
        return other(record, "those of another model, other options or words".into());
    }
    let name = |picture: &PictureLabels| Path::new(&picture.file).file_name().map(ToOwned::to_owned);
    let merged: HashSet<_> = joined.pictures.iter().map(name).collect();
    match pictures.iter().find(|picture| !merged.contains(&name(picture))) {
        Some(picture) => other(record, format!("those of {}, which no part has", picture.file)),
        None => Ok(()),
    }
}

/// Joins the parts that runs with [`Job::part`] wrote, all of them, in any order, to what one run would have written.
///
/// # Errors
/// As [`part::join`] and [`Output::write`], [`Error::Option`] if no picture was labelled in any part or `out` is one of them, and
/// [`Error::File`] if `out` holds what another run labelled.
pub fn merge(out: &Path, parts: &[PathBuf], output: &Output) -> Result<Labelled> {
    // It would be a part no longer, and look like one.
    if parts.iter().any(|part| is_same(part, out)) {
        let expected = "a folder that is none of the parts".into();
        return Err(Error::Option { option: "OUT".into(), expected, found: out.display().to_string() });
    }
    let joined = part::join(parts)?;
    check_free(out, &joined)?;
    std::fs::create_dir_all(out).map_err(Error::io(out))?;
    folder::sweep(out)?;
    if joined.pictures.is_empty() {
        return Err(Error::Option { option: "parts".into(), expected: "a picture that was labelled".into(), found: "none".into() });
    }
    write_record(&out.join(RECORD), &joined.settings, &joined.pictures)?;
    let classes = formats::class_list(&joined.pictures, joined.note.classes);
    let missing = output.write(out, &joined.note.model, &joined.pictures, &classes)?;
    Ok(Labelled { pictures: joined.pictures, classes, failed: joined.failed, missing })
}
