//! Files of a job's folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Files by their names below a folder.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What a process that was killed, or could not remove it, leaves under a name that nobody takes for a result.
pub fn is_part(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.ends_with(".part") || (name.starts_with('.') && name.contains(".part.")) || name.ends_with(".new")
}

/// Lays files out again, those whose names are `wanted`.
pub fn put(folder: &Path, files: &Files, wanted: impl Fn(&str) -> bool) {
    for (name, bytes) in files.iter().filter(|(name, _)| wanted(name)) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("below the folder")).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

pub fn files(folder: &Path) -> Files {
    fn add(files: &mut Files, folder: &Path, before: &str) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{before}{}", entry.file_name().to_string_lossy());
            let path = entry.path();
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => add(files, &path, &format!("{name}/")),
                kind if kind.is_symlink() => drop(files.insert(name, fs::read_link(path).unwrap().into_os_string().into_encoded_bytes())),
                _ => drop(files.insert(name, fs::read(path).unwrap())),
            }
        }
    }
    let mut found = Files::new();
    add(&mut found, folder, "");
    found
}

/// Whether a video in y4m has the head of another one and frames of its size alone.
pub fn has_whole_frames(found: &[u8], clean: &[u8]) -> bool {
    let head = clean.iter().position(|byte| *byte == b'\n').unwrap_or(0) + 1;
    let frame = (clean.len() - head) / clean[head..].windows(6).filter(|bytes| *bytes == b"FRAME\n").count().max(1);
    found.len() >= head && found[..head] == clean[..head] && (frame == 0 || (found.len() - head).is_multiple_of(frame))
}
