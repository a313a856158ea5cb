//! Text from elsewhere (file names, manifests, words), as it may be shown.

use std::borrow::Cow;

/// Whether a character moves a terminal's cursor, turns or hides text around it, or shows nothing at all: control characters, and those
/// that steer the direction or the breaks of text (Unicode Standard Annex 9). Joiners that scripts need are none.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A text on one line, with its hidden characters escaped as Rust escapes them.
pub fn shown(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// As [`shown`], for a text that has several lines of its own.
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_hidden(c))
}

fn escaped(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hidden(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_escaped_and_what_scripts_need_is_not() {
        assert_eq!(shown("a\x1b[2Jb\nc\r\u{202e}d\u{200b}\u{9b}"), "a\\u{1b}[2Jb\\nc\\r\\u{202e}d\\u{200b}\\u{9b}");
        assert_eq!(shown_lines("a\nb\x07"), "a\nb\\u{7}");
        for plain in ["", "Straße, 猫, کتاب\u{200c}ها, 👩\u{200d}🔬", "a b"] {
            assert!(matches!(shown(plain), Cow::Borrowed(text) if text == plain));
        }
    }
}
