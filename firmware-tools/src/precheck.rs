//! What a board says of a release that is not there yet: whoever brings it asks before anything is copied.
//!
//! The question is a line of JSON, then the bundle's first bytes and the configuration. It is asked without root's rights and changes
//! nothing; what is installed later is checked anew.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};

use anyhow::{Context, Result, anyhow, ensure};
use edge_seg_bundle::files::cache_folder;
use edge_seg_bundle::{Header, MANIFEST_MAX_BYTES, MANIFEST_OFFSET};
use serde::Deserialize;

use crate::board::Board;
use crate::install::{LARGEST_CONFIG, check_program, not_whole, now, of_file, trust_of};
use crate::paths::Paths;
use crate::slots::machine::{BUNDLE, FileMark, PROGRAM, Release};
use crate::slots::{Disk, TOO_FULL};

/// How errors name a bundle that is not there yet.
const PLACE: &str = "that is brought";
const LONGEST_LINE_BYTES: u64 = 1 << 18;

#[derive(Deserialize)]
struct Question {
    head_bytes: u64,
    config_bytes: u64,
    config_signature: Option<String>,
    /// The first bytes of a program that is brought.
    #[serde(default)]
    program_head: Option<Vec<u8>>,
    downgrade: bool,
    files: Vec<FileMark>,
}

/// Reads a question; tells why the release would be refused, where that can be told.
///
/// # Errors
/// When the question is none, or this board's state cannot be read.
pub fn answer(paths: &Paths, board: &Board, input: impl Read) -> Result<Option<String>> {
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    Read::by_ref(&mut input).take(LONGEST_LINE_BYTES).read_until(b'\n', &mut line)?;
    let question: Question = serde_json::from_slice(&line).context("stdin: expected a line of JSON")?;
    let head = part(&mut input, question.head_bytes, (MANIFEST_OFFSET + MANIFEST_MAX_BYTES) as u64)?;
    let config = part(&mut input, question.config_bytes, LARGEST_CONFIG)?;

    if let Some(why) = paths.read_only() {
        return Ok(Some(why));
    }
    let mut slots = paths.slots();
    let state = slots.load()?;
    let current = state.current.and_then(|slot| state.slot(slot).release.clone());
    let trust = trust_of(paths, board)?;
    let (name, serial) = if head.is_empty() {
        match &current {
            Some(release) => (release.name.clone(), release.serial),
            None => {
                return Ok(Some(format!("no release is installed, and the packaged one reads {}: bring a bundle", paths.config.display())));
            }
        }
    } else {
        if let Some(Err(error)) = trust.as_ref().map(|trust| trust.check(PLACE, &head)) {
            return Ok(Some(error.to_string()));
        }
        match Header::parse(PLACE, &head).and_then(|header| header.manifest(PLACE)) {
            Ok(manifest) => (manifest.name, manifest.serial),
            Err(error) => return Ok(Some(error.to_string())),
        }
    };
    if !config.is_empty() {
        let demanded = paths.demands_signed_config()?;
        match (&trust, &question.config_signature) {
            (Some(trust), Some(signature)) => {
                if let Err(why) = trust.check_signature(signature.as_bytes(), &config) {
                    return Ok(Some(format!("the configuration: {}", of_file(&why))));
                }
            }
            (_, None) if demanded => {
                return Ok(Some("the configuration: expected its signature beside it, FILE.minisig, found none".into()));
            }
            (None, _) if demanded => return Ok(Some("the configuration must be signed here, and no key is trusted".into())),
            _ => {}
        }
    }
    // What is not brought stays what it is.
    let brings = |name: &str| question.files.iter().any(|file| file.name == name);
    if let Some(why) = state.not_to_be_kept(brings) {
        return Ok(Some(why));
    }
    if let Some(Err(why)) = question.program_head.as_ref().map(|head| check_program(head, board.arch.as_deref())) {
        return Ok(Some(why));
    }
    for file in current.iter().flat_map(|release| &release.files).filter(|file| [BUNDLE, PROGRAM].contains(&file.name.as_str())) {
        let path = state.current.map(|slot| slots.folder(slot).join(&file.name)).filter(|_| !brings(&file.name));
        if let Some(path) = path
            && slots.disk().digest(&path).is_ok_and(|(_, sha256)| sha256 != file.sha256)
        {
            return Ok(Some(not_whole(&file.name)));
        }
    }
    let kept = current.iter().flat_map(|release| &release.files).filter(|file| !brings(&file.name)).cloned();
    let files = question.files.iter().cloned().chain(kept).collect();
    let beside = match room_for_copies(paths, &question.files) {
        Ok(beside) => beside,
        Err(why) => return Ok(Some(why)),
    };
    let downgrade = question.downgrade || head.is_empty();
    if let Some(why) = slots.foretell(&state, Release { name, serial, files }, downgrade, beside) {
        return Ok(Some(why));
    }
    // Another runtime may take another configuration: that one is asked when it is there.
    let runs = |file: &FileMark| current.as_ref().is_some_and(|release| release.files.contains(file));
    if config.is_empty() || question.files.iter().any(|file| file.name == PROGRAM && !runs(file)) {
        return Ok(None);
    }
    let runtime = state.current.map_or_else(|| paths.packaged.clone(), |slot| slots.folder(slot).join(PROGRAM));
    complaint(paths, &runtime, &config).map(|why| why.map(|why| format!("the configuration: {why}")))
}

/// Holds the disk of the caller's home to have room for the copies that come first; tells how much of the slots' disk they take. What
/// earlier copies of the same have left is there already.
fn room_for_copies(paths: &Paths, files: &[FileMark]) -> Result<u64, String> {
    let Some(folder) = cache_folder() else { return Ok(0) };
    let is_part = |entry: &std::fs::DirEntry| {
        let name = entry.file_name();
        files.iter().any(|file| file.sha256.get(..16).is_some_and(|start| name.to_string_lossy().starts_with(start)))
    };
    let there = std::fs::read_dir(&folder).into_iter().flatten().flatten().filter(is_part);
    let there: u64 = there.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum();
    let needed = files.iter().map(|file| file.bytes).sum::<u64>().saturating_sub(there);
    // A folder that is not there yet will be on the disk of the one above it.
    let known = |path: &std::path::Path| path.ancestors().find(|path| path.exists()).map(std::path::Path::to_path_buf);
    let device = |path: &std::path::Path| Some(std::fs::metadata(path).ok()?.dev());
    let (Some(home), Some(state)) = (known(&folder), known(&paths.state)) else { return Ok(0) };
    let free = rustix::fs::statvfs(&home).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    match free >= needed {
        true => Ok(if device(&home) == device(&state) { needed } else { 0 }),
        false => Err(format!("{}: {TOO_FULL}: the copy needs {needed} bytes, {free} can be had", home.display())),
    }
}

fn part(input: &mut impl Read, bytes: u64, most: u64) -> Result<Vec<u8>> {
    ensure!(bytes <= most, "stdin: expected a part of at most {most} bytes, found {bytes}");
    let mut part = vec![0; bytes as usize];
    input.read_exact(&mut part).with_context(|| format!("stdin: expected {bytes} bytes"))?;
    Ok(part)
}

fn complaint(paths: &Paths, runtime: &std::path::Path, config: &[u8]) -> Result<Option<String>> {
    let path = std::env::temp_dir().join(format!("edge-seg-fw.{}.{}.toml", std::process::id(), now()));
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).with_context(|| format!("{}", path.display()))?;
    let mut asked = || -> Result<Option<String>> {
        file.write_all(config)?;
        if let Some(user) = paths.user_to_run_as()?.filter(|_| rustix::process::geteuid().is_root()) {
            fchown(&file, Some(user.number()), Some(user.group()))?;
        }
        paths.complaint(runtime, &path)
    };
    let asked = asked();
    let _ = std::fs::remove_file(&path);
    asked.map(|why| why.map(|why| why.replace(&path.display().to_string(), "config.toml"))).map_err(|error| anyhow!("{error:#}"))
}
