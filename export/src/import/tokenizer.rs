//! CLIP's tokenizer as the `tokenizers` library reads it, made from its published vocabulary files where there is no tokenizer.json.
//!
//! Byte-pair encoding over bytes written as printable characters, words closed by `</w>` (Radford et al. 2021).

use std::path::Path;

use serde_json::{Value, json};

use crate::{Error, Result};

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
/// OpenAI's file holds more merges than its vocabulary has: 49,152 entries less 2 · 256 bytes and the two marks.
const MERGES_MOST: usize = 49_152 - 512 - 2;
const FILE_MAX_BYTES: u64 = 64 << 20;

/// A tokenizer.json, or OpenAI's `bpe_simple_vocab_16e6.txt`, unpacked.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::File`] if it is neither.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("txt") => from_merges(path),
        Some("gz") => {
            Err(Error::file(path.display().to_string(), "file", "an unpacked vocabulary file (gunzip unpacks it)", "a packed one"))
        }
        _ => crate::checkpoint::read_tokenizer(path),
    }
}

fn text(path: &Path) -> Result<String> {
    let size = std::fs::metadata(path).map_err(Error::io(path))?.len();
    if size > FILE_MAX_BYTES {
        return Err(Error::file(path.display().to_string(), "file", format!("at most {FILE_MAX_BYTES} bytes"), size.to_string()));
    }
    std::fs::read_to_string(path).map_err(Error::io(path))
}

/// The merges of a file whose first line tells its version.
fn merges(path: &Path) -> Result<Vec<[String; 2]>> {
    let content = text(path)?;
    let mut found = Vec::new();
    for (number, line) in content.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()).take(MERGES_MOST) {
        let mut parts = line.split_whitespace();
        let (Some(left), Some(right), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Error::file(
                path.display().to_string(),
                format!("line {}", number + 1),
                "two parts of a word",
                format!("{line:?}"),
            ));
        };
        found.push([left.to_owned(), right.to_owned()]);
    }
    if found.is_empty() {
        return Err(Error::file(path.display().to_string(), "file", "a line with the version, then one merge a line", "no merge"));
    }
    Ok(found)
}

/// Bytes as printable characters: those that print stand for themselves, the others for what follows U+00FF.
fn characters() -> Vec<char> {
    let prints = |b: u32| (0x21..=0x7e).contains(&b) || (0xa1..=0xac).contains(&b) || (0xae..=0xff).contains(&b);
    let others = (0..256).filter(|b| !prints(*b)).enumerate().map(|(n, _)| 0x100 + n as u32);
    (0..256u32).filter(|b| prints(*b)).chain(others).filter_map(char::from_u32).collect()
}

/// From OpenAI's file of merges, whose order makes the vocabulary.
fn from_merges(path: &Path) -> Result<Vec<u8>> {
    let merges = merges(path)?;
    let bytes = characters();
    let entries = bytes
        .iter()
        .map(char::to_string)
        .chain(bytes.iter().map(|c| format!("{c}</w>")))
        .chain(merges.iter().map(|pair| pair.concat()))
        .chain([START.to_owned(), END.to_owned()]);
    let vocabulary: serde_json::Map<String, Value> = entries.enumerate().map(|(id, entry)| (entry, json!(id))).collect();
    build(path, vocabulary, merges)
}

/// From Hugging Face's vocab.json and merges.txt.
///
/// # Errors
/// [`Error::Io`] and [`Error::File`] if they cannot be read or lack the marks of start and end.
pub(super) fn from_vocabulary(vocabulary: &Path, merged: &Path) -> Result<Vec<u8>> {
    let place = vocabulary.display().to_string();
    let entries: serde_json::Map<String, Value> =
        serde_json::from_str(&text(vocabulary)?).map_err(|e| Error::file(&place, "file", "a JSON object of numbers", e.to_string()))?;
    build(vocabulary, entries, merges(merged)?)
}

fn build(path: &Path, vocabulary: serde_json::Map<String, Value>, merges: Vec<[String; 2]>) -> Result<Vec<u8>> {
    let place = path.display().to_string();
    let id = |mark: &str| {
        vocabulary.get(mark).and_then(Value::as_u64).ok_or_else(|| Error::file(&place, mark, "its number in the vocabulary", "none"))
    };
    let marks = [(START, id(START)?), (END, id(END)?)];
    // A merge of parts that are no entries would only fail when a word first needs it.
    for [left, right] in &merges {
        let joined = [left.as_str(), right].concat();
        if let Some(absent) = [left, right, &joined].into_iter().find(|part| !vocabulary.contains_key(part.as_str())) {
            return Err(Error::file(
                &place,
                format!("merge {left} {right}"),
                "parts of the vocabulary",
                format!("{absent:?}, which is none"),
            ));
        }
    }
    let added: Vec<Value> = marks
        .iter()
        .map(|(mark, id)| {
            json!({"id": id, "content": mark, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
        })
        .collect();
    let special = |mark: &str, id: u64| json!({"id": mark, "ids": [id], "tokens": [mark]});
    let token = |mark: &str| json!({"SpecialToken": {"id": mark, "type_id": 0}});
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
            {"type": "Strip", "strip_left": true, "strip_right": true},
            {"type": "Lowercase"},
        ]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"}, "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [token(START), {"Sequence": {"id": "A", "type_id": 0}}, token(END)],
            "pair": [token(START), {"Sequence": {"id": "A", "type_id": 0}}, token(END), {"Sequence": {"id": "B", "type_id": 0}}, token(END)],
            "special_tokens": {START: special(START, marks[0].1), END: special(END, marks[1].1)},
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": END, "continuing_subword_prefix": "", "end_of_word_suffix": "</w>",
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocabulary,
            "merges": merges,
        },
    });
    Ok(serde_json::to_vec(&tokenizer).expect("a tokenizer is plain data"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_distinct_characters_in_openais_order() {
        let found = characters();
        assert_eq!(found.len(), 256);
        assert_eq!((found[0], found[93], found[94]), ('!', '~', '¡'));
        assert_eq!((found[188], found[255]), ('Ā', 'Ń'));
        let distinct: std::collections::HashSet<_> = found.iter().collect();
        assert_eq!(distinct.len(), 256);
    }

    #[test]
    fn broken_vocabularies_are_refused_with_their_line() {
        let folder = std::env::temp_dir().join(format!("edge-seg-vocabulary-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("bpe.txt");
        for (content, word) in
            [("", "no merge"), ("#version\n", "no merge"), ("#version\na b\na b c\n", "line 3"), ("#v\nq zz\n", "\"zz\"")]
        {
            std::fs::write(&path, content).unwrap();
            let refused = read(&path).unwrap_err().to_string();
            assert!(refused.contains(word), "{content:?}: {refused}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
