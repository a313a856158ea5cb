//! What words of other languages mean, as it is told.

use std::collections::BTreeMap;

use edge_seg::{Class, Meaning, Session};

/// Words whose meaning is told; all of them are in the JSON.
const MOST_TOLD: usize = 20;

/// Says on stderr which words are not looked for as they are, and gives them with their meaning.
pub fn tell_meanings(session: &Session, classes: &[Class], background_words: &[String]) -> BTreeMap<String, Meaning> {
    let words: Vec<&str> = classes.iter().flat_map(|class| &class.words).chain(background_words).map(String::as_str).collect();
    let meanings = words.iter().zip(session.meanings(&words)).filter(|(_, meaning)| !meaning.is_plain());
    let told: BTreeMap<String, Meaning> = meanings.map(|(word, meaning)| ((*word).to_owned(), meaning)).collect();
    for (word, meaning) in told.iter().take(MOST_TOLD) {
        eprintln!("edge-seg: {word:?} {meaning}");
    }
    match told.len().saturating_sub(MOST_TOLD) {
        0 if told.is_empty() => {}
        0 => eprintln!("edge-seg: --language off looks for words as they are, and --language fr,de sets which languages they may be of"),
        more => eprintln!("edge-seg: {more} more words have a meaning of their own, or none; --language off looks for words as they are"),
    }
    told
}
