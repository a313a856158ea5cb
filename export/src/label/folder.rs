//! What lies in the folder that labels are written to, beside the labels: pictures, and what an ended run left.

use std::io::ErrorKind;
use std::path::Path;

use edge_seg_bundle::files::is_left_over;
use serde::Deserialize;

use super::PictureLabels;
use super::formats::file_name;
use crate::{Error, Result};

/// How pictures come to lie beside their labels, where loaders look for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "program", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Pictures {
    /// Hard links, which take no space; copies where the file system has none.
    Link,
    /// Copies.
    Copy,
    /// They do not: to be put there by hand.
    None,
}

/// Puts the pictures into `folder`. Those that are not where they were labelled are left out and counted.
///
/// # Errors
/// [`Error::Io`] if the file system refuses.
pub fn put_pictures(folder: &Path, pictures: &[PictureLabels], way: Pictures) -> Result<usize> {
    if way == Pictures::None {
        return Ok(0);
    }
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut missing = 0;
    for picture in pictures {
        let target = folder.join(file_name(picture));
        // A link's own file, or a link to it would be a second one.
        let source = match std::fs::canonicalize(&picture.file) {
            Ok(source) => source,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                missing += 1;
                continue;
            }
            Err(e) => return Err(Error::io(&picture.file)(e)),
        };
        if std::fs::canonicalize(&target).is_ok_and(|there| there == source) {
            continue;
        }
        let beside = folder.join(format!("{}.{}.part", file_name(picture), std::process::id()));
        let linked = way == Pictures::Link && std::fs::hard_link(&source, &beside).is_ok();
        let put = if linked { Ok(0) } else { std::fs::copy(&source, &beside) };
        let put = put.and_then(|_| std::fs::rename(&beside, &target));
        // Renaming a link over another of the same file leaves both.
        let _ = std::fs::remove_file(&beside);
        put.map_err(Error::io(&target))?;
    }
    Ok(missing)
}

/// Removes the half-written files `NAME.PID.part` of processes that have ended, where labels are written: tables beside what else may lie in
/// the folder, and all below `voc` and `yolo`. What others keep there is not looked into.
///
/// # Errors
/// [`Error::Io`] if a folder cannot be read or a file not be removed.
pub fn sweep(folder: &Path) -> Result<()> {
    const TABLES: [&str; 4] = ["json", "jsonl", "xml", "txt"];
    let mut open = vec![(folder.to_path_buf(), false), (folder.join("voc"), true), (folder.join("yolo"), true)];
    while let Some((folder, ours)) = open.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(Error::io(&folder)(e)),
        };
        for entry in entries {
            let entry = entry.map_err(Error::io(&folder))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(Error::io(&folder))?);
            // NAME.PID.part without its last two endings.
            let written = path.file_stem().map(Path::new).and_then(Path::file_stem).map(Path::new);
            let is_table = || written.and_then(Path::extension).is_some_and(|ending| TABLES.iter().any(|table| ending == *table));
            if kind.is_dir() && ours {
                open.push((path, true));
            } else if kind.is_file() && path.file_name().and_then(|name| name.to_str()).is_some_and(is_left_over) && (ours || is_table()) {
                std::fs::remove_file(&path).map_err(Error::io(&path))?;
            }
        }
    }
    Ok(())
}
