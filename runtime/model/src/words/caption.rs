//! A caption's words.

use super::{Class, check_classes};
use crate::Result;

/// English words that carry grammar, not things: dropped from captions, since no pixel shows them.
const STOP_WORDS: &str = "a about above across after again against all along also although am among an and another any are around as at be because been \
    before behind being below beneath beside between beyond both but by can could did do does doing down during each either every few for from further had has \
    have having he her here hers herself him himself his how i if in inside into is it its itself just like many may me might more most much must my near next no nor not \
    now of off on once one only onto or other our out outside over own past per same she should some such than that the their them themselves then there these they \
    this those through to together too toward towards two under underneath until up upon us very was we were what when where which while who whom whose why will with \
    within without would you your";

/// Splits a caption into its words, as the trainer does: lower case, runs of letters, digits and inner `-` and `'`, each once, in order.
/// Stop words are left out unless `keep_stop_words`.
///
/// # Errors
/// [`Error::Words`](crate::Error::Words) if no word is left.
pub fn split_caption(caption: &str, keep_stop_words: bool) -> Result<Vec<Class>> {
    let mut found: Vec<String> = Vec::new();
    for word in caption.to_lowercase().split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '\'')) {
        let word = word.trim_matches(['-', '\'']);
        let stop = !keep_stop_words && STOP_WORDS.split_ascii_whitespace().any(|s| s == word);
        if !word.is_empty() && !stop && !found.iter().any(|f| f == word) {
            found.push(word.into());
        }
    }
    check_classes("caption", found.into_iter().map(Class::word).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_lose_stop_words_and_repeats() {
        let words = split_caption("A dog's dog-house, and the dog's snow-covered house!", false).unwrap();
        let names: Vec<_> = words.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["dog's", "dog-house", "snow-covered", "house"]);
        assert!(split_caption("of the and", false).is_err());
        assert_eq!(split_caption("of the and", true).unwrap().len(), 3);
    }
}
