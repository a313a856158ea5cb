//! What commands are given: pictures, and how many words.

use std::path::Path;

use edge_seg::{Frame, ModelError, read_damaged_picture, read_picture};

/// Beyond this many words people usually notice: each is encoded once and every pixel weighs them all.
pub const MANY_WORDS: usize = 100;

pub fn warn_of_many(words: usize) {
    if words > MANY_WORDS {
        eprintln!("edge-seg: {words} words: encoding them takes a while once, and the more words compete, the less likely each is right");
    }
}

/// What is to be typed where the rest of a list, or of a sentence, came as inputs because there were no quotes around it.
pub fn tell_unquoted(option: &str, given: &str, inputs: &[String]) {
    let is_word = |input: &&String| !input.trim().is_empty() && !input.contains(['/', '.', '*', '?', '[']) && !Path::new(input).exists();
    let rest: Vec<_> = inputs.iter().filter(is_word).map(String::as_str).collect();
    if rest.is_empty() {
        return;
    }
    let one = format!("{given} {}", rest.join(" "));
    let several = (option != "--caption" && !one.contains(',')).then(|| format!("{given}, {}", rest.join(", ")));
    let remedy = match several {
        Some(several) => format!("{option} \"{several}\" ({} words) or \"{one}\" (one)", rest.len() + 1),
        None => format!("{option} \"{one}\""),
    };
    eprintln!("edge-seg: words with spaces between them stand in quotes; try: {remedy}");
}

/// Reads a picture; one that is damaged only if that is asked for.
pub fn read_input(path: &Path, keep_damaged: bool) -> Result<Frame, ModelError> {
    if !keep_damaged {
        return read_picture(path);
    }
    let (frame, damage) = read_damaged_picture(path)?;
    if let Some(damage) = damage {
        eprintln!("edge-seg: {}: {damage}", path.display());
    }
    Ok(frame)
}
