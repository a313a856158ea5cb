//! CLIP's cleaning of texts, as steps of a tokenizer's normalizer: open_clip and OpenAI mend a text (`ftfy`) and unescape HTML before they
//! tokenize it. A phone's keyboard writes `don’t`, and without these steps that has other ids than the model was trained on.

use serde_json::{Value, json};

/// Ligatures, and how they are written apart.
const LIGATURES: [(&str, &str); 22] = [
    ("Ĳ", "IJ"),
    ("ĳ", "ij"),
    ("ŉ", "ʼn"),
    ("Ǳ", "DZ"),
    ("ǲ", "Dz"),
    ("ǳ", "dz"),
    ("Ǆ", "DŽ"),
    ("ǅ", "Dž"),
    ("ǆ", "dž"),
    ("Ǉ", "LJ"),
    ("ǈ", "Lj"),
    ("ǉ", "lj"),
    ("Ǌ", "NJ"),
    ("ǋ", "Nj"),
    ("ǌ", "nj"),
    ("ﬀ", "ff"),
    ("ﬁ", "fi"),
    ("ﬂ", "fl"),
    ("ﬃ", "ffi"),
    ("ﬄ", "ffl"),
    ("ﬅ", "ſt"),
    ("ﬆ", "st"),
];

/// HTML's characters, the ampersand first, so that what was escaped twice is unescaped twice.
const ENTITIES: [(&str, &str); 13] = [
    ("&amp;", "&"),
    ("&amp;", "&"),
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&quot;", "\""),
    ("&#34;", "\""),
    ("&apos;", "'"),
    ("&#39;", "'"),
    ("&#x27;", "'"),
    ("&rsquo;", "'"),
    ("&lsquo;", "'"),
    ("&nbsp;", " "),
    ("&#160;", " "),
];

/// The steps, in order.
fn steps() -> Vec<Value> {
    let literal = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let pattern = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"Regex": from}, "content": to});
    let full_width = ('\u{ff01}'..='\u{ff5e}').zip('!'..='~').map(|(wide, plain)| (wide.to_string(), plain.to_string()));
    let mut steps: Vec<Value> = ENTITIES.iter().map(|(from, to)| literal(from, to)).collect();
    steps.extend(LIGATURES.iter().map(|(from, to)| literal(from, to)));
    steps.extend(full_width.map(|(from, to)| literal(&from, &to)));
    steps.push(literal("\u{3000}", " "));
    steps.push(pattern("[\u{02bc}\u{2018}-\u{201b}]", "'"));
    steps.push(pattern("[\u{201c}-\u{201f}]", "\""));
    steps
}

/// Puts the cleaning before everything else that a tokenizer does, if it is CLIP's.
pub(super) fn add_to(tokenizer: &mut Value) {
    let model = &tokenizer["model"];
    let is_clips = model["type"] == "BPE" && model["end_of_word_suffix"] == "</w>" && !model["vocab"]["<|endoftext|>"].is_null();
    if !is_clips {
        return;
    }
    let mut all = steps();
    match tokenizer["normalizer"].take() {
        Value::Null => {}
        // A second import of the same file adds nothing.
        Value::Object(old) if old["type"] == "Sequence" => {
            let old = old.get("normalizers").and_then(Value::as_array).cloned().unwrap_or_default();
            if old.first() == all.first() {
                all.clear();
            }
            all.extend(old);
        }
        other => all.push(other),
    }
    tokenizer["normalizer"] = json!({"type": "Sequence", "normalizers": all});
}

/// What is done to a text before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clean {
    /// It is mended, its white space made single.
    Whitespace,
    /// That, and lower case.
    Lower,
    /// That, and no punctuation: open_clip's `canonicalize`, which is big_vision's.
    Canonicalize,
    /// Lower case and nothing else.
    LowerAlone,
}

/// Puts the cleaning before everything else that a tokenizer does. One that already makes lower case is taken to be cleaned.
pub(super) fn prepare(tokenizer: &mut Value, clean: Clean) {
    let old = match tokenizer["normalizer"].take() {
        Value::Object(old) if old["type"] == "Sequence" => old.get("normalizers").and_then(Value::as_array).cloned().unwrap_or_default(),
        Value::Null => Vec::new(),
        other => vec![other],
    };
    let mut all = Vec::new();
    let lower = clean != Clean::Whitespace && !old.iter().any(|step| step["type"] == "Lowercase");
    // A second import of the same file adds nothing.
    let mend = !matches!(clean, Clean::LowerAlone) && (lower || clean == Clean::Whitespace) && old.first() != steps().first();
    if mend {
        all.extend(steps());
        if clean == Clean::Canonicalize {
            all.push(json!({"type": "Replace", "pattern": {"String": "_"}, "content": " "}));
            all.push(json!({"type": "Replace", "pattern": {"Regex": "[!-/:-@\\[-`{-~]"}, "content": ""}));
        }
        all.push(json!({"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}));
        all.push(json!({"type": "Strip", "strip_left": true, "strip_right": true}));
    }
    if lower {
        all.push(json!({"type": "Lowercase"}));
    }
    all.extend(old);
    tokenizer["normalizer"] = json!({"type": "Sequence", "normalizers": all});
}
