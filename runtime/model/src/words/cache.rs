//! Words' embeddings on disk, so that a long vocabulary is encoded once.
//!
//! A cache is a folder of files `KEY-CHECKSUM.words`, each written whole and never changed: magic, version, width, count and checksum, then
//! for each word its length, its UTF-8 bytes and its embedding, all little-endian. KEY stands for everything that an embedding depends on:
//! the bundle's digest, its templates, this crate's version. A file that is not what it should be counts for nothing.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::{Error, Result};
use edge_seg_bundle::Bundle;
use edge_seg_bundle::files::{hex, replace_file, sweep_parts};

const MAGIC: [u8; 8] = *b"ESWORDS1";
const HEADER_BYTES: usize = 8 + 4 + 4 + 8;
const ENDING: &str = "words";
/// Most that the files of a folder may take together; the oldest go first.
const MAX_BYTES: u64 = 256 << 20;
/// Beyond this many files of one key they are written as one.
const MAX_FILES: usize = 8;

/// A folder of embeddings that one model made.
#[derive(Debug)]
pub(crate) struct WordFiles {
    folder: PathBuf,
    key: String,
    dim: usize,
}

impl WordFiles {
    pub(crate) fn new(folder: &Path, bundle: &Bundle) -> Self {
        let manifest = bundle.manifest();
        let mut key = Sha256::new();
        let parts = [bundle.digest(), env!("CARGO_PKG_VERSION")];
        for part in parts.into_iter().chain(manifest.templates.iter().map(String::as_str)) {
            key.update((part.len() as u64).to_le_bytes());
            key.update(part);
        }
        let key = hex(&key.finalize())[..32].to_owned();
        Self { folder: folder.into(), key, dim: manifest.embedding_dim }
    }

    /// Those of the `wanted` words that are known.
    pub(crate) fn read(&self, wanted: &HashSet<&str>) -> HashMap<String, Vec<f32>> {
        let mut found = HashMap::new();
        for (path, _, _) in self.files(true) {
            let known = fs::read(&path).ok().and_then(|bytes| self.parse(&bytes, |word| wanted.contains(word)));
            found.extend(known.into_iter().flatten());
        }
        found
    }

    /// Keeps words and their embeddings.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be made or written.
    pub(crate) fn add<'a>(&self, words: impl Iterator<Item = (&'a str, &'a [f32])>) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(Error::io(&self.folder))?;
        // Files are named for what is in them, so that of one that was never finished none comes again.
        sweep_parts(&self.folder);
        let own = self.files(true);
        if own.len() < MAX_FILES {
            return self.write(words);
        }
        let mut all = HashMap::new();
        for (path, _, _) in &own {
            all.extend(fs::read(path).ok().and_then(|bytes| self.parse(&bytes, |_| true)).into_iter().flatten());
        }
        all.extend(words.map(|(word, row)| (word.to_owned(), row.to_vec())));
        let mut sorted: Vec<_> = all.iter().map(|(word, row)| (word.as_str(), row.as_slice())).collect();
        sorted.sort_by_key(|(word, _)| *word);
        self.write(sorted.into_iter())?;
        // Whoever still reads one of these finds it gone, or whole.
        own.iter().for_each(|(path, _, _)| drop(fs::remove_file(path)));
        Ok(())
    }

    fn write<'a>(&self, words: impl Iterator<Item = (&'a str, &'a [f32])>) -> Result<()> {
        let (mut count, mut records) = (0u32, Vec::new());
        for (word, row) in words {
            let Ok(length) = u16::try_from(word.len()) else { continue };
            records.extend_from_slice(&length.to_le_bytes());
            records.extend_from_slice(word.as_bytes());
            records.extend(row.iter().flat_map(|v| v.to_le_bytes()));
            count += 1;
        }
        let checksum = checksum(&records);
        let mut bytes = Vec::with_capacity(HEADER_BYTES + records.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&(self.dim as u32).to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&records);
        let size = bytes.len() as u64;
        if count == 0 || size > MAX_BYTES {
            return Ok(());
        }
        let mut files = self.files(false);
        files.sort_by_key(|(_, written, _)| *written);
        let mut total: u64 = size + files.iter().map(|(_, _, bytes)| bytes).sum::<u64>();
        for (path, _, bytes) in files {
            if total > MAX_BYTES {
                let _ = fs::remove_file(path);
                total -= bytes;
            }
        }
        Ok(replace_file(&self.folder.join(format!("{}-{checksum:016x}.{ENDING}", self.key)), &bytes)?)
    }

    /// The folder's files with the time and length they have, in the order of their names.
    fn files(&self, own: bool) -> Vec<(PathBuf, SystemTime, u64)> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let mut files: Vec<_> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let name = entry.file_name().into_string().ok()?;
                let meta = entry.metadata().ok()?;
                let ours = name.ends_with(&format!(".{ENDING}")) && (!own || name.starts_with(&self.key));
                let fits = meta.is_file() && (!own || meta.len() <= MAX_BYTES);
                (ours && fits).then(|| (entry.path(), meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), meta.len()))
            })
            .collect();
        files.sort();
        files
    }

    /// The words that `keep` asks for, or `None` if anything in the file is wrong.
    fn parse(&self, bytes: &[u8], keep: impl Fn(&str) -> bool) -> Option<Vec<(String, Vec<f32>)>> {
        let (header, records) = bytes.split_at_checked(HEADER_BYTES)?;
        let u32_at = |at: usize| header[at..at + 4].try_into().map(u32::from_le_bytes).ok();
        let sum = u64::from_le_bytes(header[16..24].try_into().ok()?);
        if header[..8] != MAGIC || u32_at(8)? as usize != self.dim || sum != checksum(records) {
            return None;
        }
        let mut rest = records;
        let mut found = Vec::new();
        for _ in 0..u32_at(12)? {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let (word, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
            let (row, after) = after.split_at_checked(self.dim * 4)?;
            let word = std::str::from_utf8(word).ok()?;
            if keep(word) {
                let row: Vec<f32> = row.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
                let norm: f32 = row.iter().map(|v| v * v).sum();
                if norm.is_nan() || (norm - 1.0).abs() >= 1e-3 {
                    return None;
                }
                found.push((word.to_owned(), row));
            }
            rest = after;
        }
        rest.is_empty().then_some(found)
    }
}

/// FNV-1a over words of eight bytes: it is there for torn and rotten files, not for forged ones.
fn checksum(bytes: &[u8]) -> u64 {
    let step = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    let whole = bytes.chunks_exact(8);
    let rest = whole.remainder().iter().fold(bytes.len() as u64, |sum, byte| step(sum, u64::from(*byte)));
    whole.fold(step(0xcbf2_9ce4_8422_2325, rest), |sum, word| step(sum, u64::from_le_bytes(word.try_into().unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(folder: &Path) -> WordFiles {
        WordFiles { folder: folder.into(), key: "k".repeat(32), dim: 3 }
    }

    fn add(cache: &WordFiles, words: &[&str]) {
        let rows: Vec<(String, [f32; 3])> = words.iter().enumerate().map(|(i, w)| (w.to_string(), ROWS[i % 3])).collect();
        cache.add(rows.iter().map(|(word, row)| (word.as_str(), row.as_slice()))).unwrap();
    }

    const ROWS: [[f32; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.6, 0.0, 0.8]];

    #[test]
    fn words_come_back_as_they_were_and_others_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("words");
        let cache = cache(&folder);
        assert!(cache.read(&["dog"].into()).is_empty(), "no folder yet");
        add(&cache, &["dog", "café", "fire truck"]);
        let found = cache.read(&["café", "fire truck", "cat"].into());
        assert_eq!(found, [("café".to_owned(), ROWS[1].to_vec()), ("fire truck".to_owned(), ROWS[2].to_vec())].into());
        let other = WordFiles { key: "x".repeat(32), folder: folder.clone(), dim: 3 };
        assert!(other.read(&["dog"].into()).is_empty(), "another model's");
    }

    #[test]
    fn files_are_joined_before_they_are_many() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("words");
        let cache = cache(&folder);
        let words: Vec<String> = (0..20).map(|i| format!("word {i}")).collect();
        words.iter().for_each(|word| add(&cache, &[word]));
        assert!(cache.files(true).len() <= MAX_FILES);
        assert_eq!(cache.read(&words.iter().map(String::as_str).collect()).len(), words.len());
    }

    #[test]
    fn no_corrupt_file_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("words");
        let cache = cache(&folder);
        add(&cache, &["dog", "cat"]);
        let path = cache.files(true)[0].0.clone();
        let whole = fs::read(&path).unwrap();
        let known = || cache.read(&["dog", "cat"].into()).len();
        assert_eq!(known(), 2);
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 0x10;
            fs::write(&path, &bent).unwrap();
            assert_eq!(known(), 0, "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(known(), 0, "cut at {at}");
        }
        fs::write(&path, [whole.as_slice(), &[0]].concat()).unwrap();
        assert_eq!(known(), 0, "a byte too many");
        // What has a right checksum and wrong numbers.
        cache.write([("dog", [f32::NAN; 3].as_slice()), ("cat", &[5.0, 0.0, 0.0])].into_iter()).unwrap();
        assert_eq!(known(), 0);
        add(&cache, &["dog"]);
        assert_eq!(known(), 1, "what is written again is found");
    }
}
