//! CLIP's tokenizer as the `tokenizers` library reads it, made from its published vocabulary files where there is no tokenizer.json.
//!
//! Byte-pair encoding over bytes written as printable characters, words closed by `</w>` (Radford et al. 2021).

use std::path::Path;

use serde_json::{Value, json};

use super::clean::Clean;
use crate::{Error, Result};

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
/// How many of its file's merges OpenAI's vocabulary has: the file holds 262,145. The vocabulary's 49,408 entries are these, 2 · 256 bytes
/// and the two marks.
const OPENAI_MERGES: usize = 49_152 - 256 - 2;
const FILE_MAX_BYTES: u64 = 64 << 20;

/// A tokenizer.json, or OpenAI's `bpe_simple_vocab_16e6.txt`, unpacked.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::File`] if it is neither.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("txt") => from_merges(path),
        Some("gz") => {
            Err(Error::file(path.display().to_string(), "file", "an unpacked vocabulary file (gunzip unpacks it)", "a packed one"))
        }
        _ => {
            let bytes = crate::checkpoint::read_tokenizer(path)?;
            let mut tokenizer: Value = serde_json::from_slice(&bytes)
                .map_err(|e| Error::file(path.display().to_string(), "file", "a tokenizer.json", e.to_string()))?;
            super::clean::add_to(&mut tokenizer);
            Ok(serde_json::to_vec(&tokenizer).expect("a tokenizer is plain data"))
        }
    }
}

/// Checks that the tokenizer can be the model's: every text ends with the token at which the text tower pools, and no token lies beyond its
/// table of words. `end` is that token, where the model says it or it is the table's last.
///
/// # Errors
/// [`Error::File`] if it cannot be read, or belongs to another model.
pub(crate) fn check(place: &str, bytes: &[u8], vocab: usize, end: Option<u32>) -> Result<()> {
    let wrong = |expected: String, found: String| Error::file(place, "tokenizer", expected, found);
    let tried = || {
        let tokenizer = tokenizers::Tokenizer::from_bytes(bytes)?;
        let largest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
        Ok::<_, tokenizers::Error>((largest, tokenizer.encode("a dog", true)?))
    };
    // The crate panics where a damaged file names what it does not hold.
    let tried = edge_seg_model::contained(tried).unwrap_or_else(|panic| Err(panic.into()));
    let (largest, encoded) = tried.map_err(|e| wrong("a tokenizer.json of the tokenizers library".into(), e.to_string()))?;
    let used = encoded.get_ids().iter().copied().max().unwrap_or(0).max(if end.is_some() { largest } else { 0 });
    if used as usize >= vocab {
        let expected = format!("the model's own, whose ids are below the {vocab} rows of its word embeddings; name it by --tokenizer");
        return Err(wrong(expected, format!("one with an id {used}")));
    }
    let last = encoded.get_ids().last().copied();
    if end.is_some() && last != end {
        let expected =
            format!("the model's own, which ends each text with id {} of {vocab}; name it by --tokenizer", end.unwrap_or_default());
        return Err(wrong(expected, last.map_or("one that makes nothing of a text".into(), |id| format!("one that ends with id {id}"))));
    }
    Ok(())
}

/// Puts the cleaning that open_clip does in its own code before a tokenizer of Hugging Face into it. `text` is open_clip's description of the
/// text tower; without one, or with open_clip's own tokenizer, nothing is done.
///
/// # Errors
/// [`Error::File`] for a cleaning or a way of tokenizing that is not had.
pub(super) fn cleaned_as_open_clip(place: &str, bytes: &mut Vec<u8>, text: &Value) -> Result<()> {
    if !text["hf_tokenizer_name"].is_string() {
        return Ok(());
    }
    let kwargs = &text["tokenizer_kwargs"];
    if !kwargs["tokenizer_mode"].is_null() {
        let expected = "none: a text, then what the tokenizer puts around it";
        return Err(Error::file(place, "text_cfg.tokenizer_kwargs.tokenizer_mode", expected, kwargs["tokenizer_mode"].to_string()));
    }
    let clean = match kwargs["clean"].as_str() {
        None => Clean::Whitespace,
        Some("whitespace") => Clean::Whitespace,
        Some("lower") => Clean::Lower,
        Some("canonicalize") => Clean::Canonicalize,
        Some(other) => return Err(Error::file(place, "text_cfg.tokenizer_kwargs.clean", "whitespace, lower or canonicalize", other)),
    };
    let mut tokenizer = parsed(place, bytes)?;
    super::clean::prepare(&mut tokenizer, clean);
    *bytes = serde_json::to_vec(&tokenizer).expect("a tokenizer is plain data");
    Ok(())
}

fn parsed(place: &str, bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|e| Error::file(place, "tokenizer", "a tokenizer.json of the tokenizers library", e.to_string()))
}

/// Readies the tokenizer of a text tower that reads its padding, and gives back the token that it is padded with: the one that
/// `tokenizer_config.json` names, or the configuration's. Without open_clip's settings, `kwargs`, texts are cleaned as Hugging Face's models of
/// this kind were trained: in lower case, without punctuation where the tokenizer's class says so.
///
/// # Errors
/// [`Error::File`] if nothing says what texts are padded with.
pub(super) fn padded(
    place: &str,
    bytes: &mut Vec<u8>,
    description: Option<&Value>,
    kwargs: Option<&Value>,
    usual: Option<i64>,
) -> Result<i64> {
    let mut tokenizer = parsed(place, bytes)?;
    let named = |key: &str| {
        let value = description.map(|d| &d[key])?;
        value.as_str().or(value["content"].as_str()).map(str::to_owned)
    };
    let id = |token: &str| {
        let listed = tokenizer["added_tokens"].as_array().into_iter().flatten().find(|added| added["content"] == token);
        let unigram = || tokenizer["model"]["vocab"].as_array()?.iter().position(|piece| piece[0] == token).map(|n| n as i64);
        listed.and_then(|added| added["id"].as_i64()).or_else(|| tokenizer["model"]["vocab"][token].as_i64()).or_else(unigram)
    };
    let pad = named("pad_token").and_then(|token| id(&token)).or_else(|| tokenizer["padding"]["pad_id"].as_i64()).or(usual);
    let pad =
        pad.ok_or_else(|| Error::file(place, "tokenizer", "pad_token in tokenizer_config.json, which the text tower reads", "none"))?;
    // CLIPA was trained with the padding in place of the mark of the end.
    if kwargs.is_some_and(|kwargs| kwargs["strip_sep_token"] == true)
        && let Some(mark) = named("sep_token")
    {
        drop_mark(&mut tokenizer, &mark);
    }
    if kwargs.is_none() {
        let class = description.and_then(|d| d["tokenizer_class"].as_str()).unwrap_or_default();
        let clean = if class.starts_with("SiglipTokenizer") { Clean::Canonicalize } else { Clean::LowerAlone };
        super::clean::prepare(&mut tokenizer, clean);
    }
    *bytes = serde_json::to_vec(&tokenizer).expect("a tokenizer is plain data");
    Ok(pad)
}

/// Takes a mark out of what is put around a text.
fn drop_mark(tokenizer: &mut Value, mark: &str) {
    let steps = &mut tokenizer["post_processor"];
    if steps["type"] == "BertProcessing" || steps["type"] == "RobertaProcessing" {
        let (Some(word), Some(id)) = (steps["cls"][0].as_str().map(str::to_owned), steps["cls"][1].as_u64()) else { return };
        let token = json!({"SpecialToken": {"id": word, "type_id": 0}});
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let special = json!({word.clone(): {"id": word, "ids": [id], "tokens": [word]}});
        *steps = json!({"type": "TemplateProcessing", "single": [token, text], "pair": [token, text, {"Sequence": {"id": "B", "type_id": 0}}], "special_tokens": special});
        return;
    }
    for key in ["single", "pair"] {
        if let Some(parts) = steps[key].as_array_mut() {
            parts.retain(|part| part["SpecialToken"]["id"] != mark);
        }
    }
}

fn text(path: &Path) -> Result<String> {
    let size = std::fs::metadata(path).map_err(Error::io(path))?.len();
    if size > FILE_MAX_BYTES {
        return Err(Error::file(path.display().to_string(), "file", format!("at most {FILE_MAX_BYTES} bytes"), size.to_string()));
    }
    std::fs::read_to_string(path).map_err(Error::io(path))
}

/// At most so many merges of a file whose first line tells its version.
fn merges(path: &Path, most: usize) -> Result<Vec<[String; 2]>> {
    let content = text(path)?;
    let mut found = Vec::new();
    for (number, line) in content.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()).take(most) {
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
    let merges = merges(path, OPENAI_MERGES)?;
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
    build(vocabulary, entries, merges(merged, usize::MAX)?)
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
    let mut tokenizer = json!({
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
    super::clean::add_to(&mut tokenizer);
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
    fn openais_file_holds_more_merges_than_its_vocabulary() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bpe.txt");
        // As many as OpenAI's file has: every pair of two characters, then those of a pair and a character.
        let bytes = characters();
        let pairs = bytes.iter().flat_map(|a| bytes.iter().map(move |b| format!("{a} {b}\n")));
        let threes = bytes.iter().take(3).flat_map(|a| bytes.iter().map(move |b| (a, b)));
        let threes = threes.flat_map(|(a, b)| characters().into_iter().map(move |c| format!("{a}{b} {c}\n")));
        let content: String = std::iter::once("#version\n".to_owned()).chain(pairs.chain(threes).take(262_145)).collect();
        std::fs::write(&path, content).unwrap();
        let made: Value = serde_json::from_slice(&read(&path).unwrap()).unwrap();
        let id = |mark: &str| made["model"]["vocab"][mark].as_u64();
        assert_eq!((id(START), id(END)), (Some(49_406), Some(49_407)));
        assert_eq!(made["model"]["merges"].as_array().unwrap().len(), 48_894);
    }

    #[test]
    fn broken_vocabularies_are_refused_with_their_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bpe.txt");
        for (content, word) in
            [("", "no merge"), ("#version\n", "no merge"), ("#version\na b\na b c\n", "line 3"), ("#v\nq zz\n", "\"zz\"")]
        {
            std::fs::write(&path, content).unwrap();
            let refused = read(&path).unwrap_err().to_string();
            assert!(refused.contains(word), "{content:?}: {refused}");
        }
    }
}
