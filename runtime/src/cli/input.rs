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
pub fn tell_unquoted(inputs: &[String]) {
    let typed: Vec<String> = std::env::args().collect();
    if let Some(remedy) = unquoted(&typed, inputs) {
        eprintln!("edge-seg: words with spaces between them stand in quotes; try: {remedy}");
    }
}

/// The first option that takes words and has more of them behind its value, with them all in quotes.
fn unquoted(typed: &[String], inputs: &[String]) -> Option<String> {
    let is_word = |word: &String| {
        !word.trim().is_empty() && inputs.contains(word) && !word.contains(['/', '.', '*', '?', '[']) && !Path::new(word).exists()
    };
    typed.iter().enumerate().find_map(|(at, argument)| {
        let (option, value) = argument.split_once('=').map_or((argument.as_str(), None), |(option, value)| (option, Some(value)));
        let is_list = matches!(option, "--tags" | "--hide" | "--background-words");
        if !is_list && option != "--caption" {
            return None;
        }
        let (given, behind) = match value {
            Some(value) => (value, at + 1),
            None => (typed.get(at + 1)?.as_str(), at + 2),
        };
        let rest: Vec<&str> = typed[behind.min(typed.len())..].iter().take_while(|word| is_word(word)).map(String::as_str).collect();
        if rest.is_empty() {
            return None;
        }
        let one = format!("{given} {}", rest.join(" "));
        Some(match is_list && !one.contains(',') {
            true => format!("{option} \"{given}, {}\" ({} words) or \"{one}\" (one)", rest.join(", "), rest.len() + 1),
            false => format!("{option} \"{one}\""),
        })
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stray_words_are_those_of_the_option_before_them() {
        let said = |typed: &str, inputs: &str| {
            let list = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
            unquoted(&list(typed), &list(inputs))
        };
        assert_eq!(said("segment s.jpg --hide person, dog --tags cat", "s.jpg dog").as_deref(), Some("--hide \"person, dog\""));
        assert_eq!(said("segment s.jpg --hide=person, dog --tags cat", "s.jpg dog").as_deref(), Some("--hide \"person, dog\""));
        let two = "--tags \"cup, table\" (2 words) or \"cup table\" (one)";
        assert_eq!(said("segment s.jpg --hide dog --tags cup table", "s.jpg table").as_deref(), Some(two));
        assert_eq!(said("segment s.jpg --caption a dog", "s.jpg dog").as_deref(), Some("--caption \"a dog\""));
        for other in ["segment dog --tags cat", "segment --size 64 dog --tags cat", "segment --tags dog"] {
            assert_eq!(said(other, "dog"), None, "{other}");
        }
    }
}
