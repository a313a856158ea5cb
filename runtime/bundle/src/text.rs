//! Text from elsewhere (file names, manifests, words), as it may be shown.

use std::borrow::Cow;

/// What nobody can see in a text, and where: control characters, those that steer the direction or the breaks of text (Unicode Standard
/// Annex 9), fillers, tags, private use, and what shapes a character before it that it does not belong to. Joiners between the letters of
/// scripts that need them and in emoji are none, nor are variation selectors behind emoji and Chinese characters.
pub fn hidden(text: &str) -> impl Iterator<Item = (usize, char)> + '_ {
    let mut rest = text.char_indices().peekable();
    let mut before = None;
    std::iter::from_fn(move || {
        loop {
            let (at, c) = rest.next()?;
            let after = rest.peek().map(|(_, after)| *after).filter(|after| !is_hidden(*after));
            let shows = !is_hidden(c) && has_place(before, c, after);
            before = shows.then_some(c);
            if !shows {
                return Some((at, c));
            }
        }
    })
}

/// Whether a character shows nothing wherever it stands, or moves a terminal's cursor, turns or hides text around it.
fn is_hidden(c: char) -> bool {
    // Unicode's default ignorable characters but for those of `has_place`; annotations; the blank of braille; private use; no characters.
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}')
        || matches!(c, '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}')
        || matches!(c, '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}')
        || matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{f0000}'..='\u{10ffff}')
        || u32::from(c) & 0xfffe == 0xfffe
}

/// Whether what shows nothing itself stands where it changes how its neighbours look. Of other characters it is true.
fn has_place(before: Option<char>, c: char, after: Option<char>) -> bool {
    let behind = |of: fn(char) -> bool| before.is_some_and(of);
    let between = |of: fn(char) -> bool| behind(of) && after.is_some_and(of);
    match c {
        '\u{200b}' => between(is_unspaced),
        '\u{200c}' => behind(is_virama) || between(is_joined),
        '\u{200d}' => {
            behind(is_virama) || between(is_joined) || (behind(|c| is_pictograph(c) || c == '\u{fe0f}') && after.is_some_and(is_pictograph))
        }
        // Of keycaps: a digit in a box.
        '\u{fe0f}' if after == Some('\u{20e3}') => behind(|c| c.is_ascii_digit() || matches!(c, '#' | '*')),
        '\u{fe00}'..='\u{fe0f}' => behind(|c| is_pictograph(c) || is_han(c)),
        '\u{e0100}'..='\u{e01ef}' => behind(is_han),
        '\u{180b}'..='\u{180f}' => behind(|c| matches!(c, '\u{1820}'..='\u{18aa}')),
        _ => true,
    }
}

/// Letters of scripts that are joined or stacked: Arabic and its kin, those of South and South-East Asia, Mongolian.
fn is_joined(c: char) -> bool {
    matches!(c, '\u{600}'..='\u{8ff}' | '\u{900}'..='\u{dff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{1820}'..='\u{18aa}')
        || matches!(c, '\u{1a20}'..='\u{1aaf}' | '\u{1b00}'..='\u{1bff}' | '\u{a800}'..='\u{abff}' | '\u{fb50}'..='\u{fdff}')
        || matches!(c, '\u{fe70}'..='\u{fefe}' | '\u{11000}'..='\u{11fff}')
}

/// The signs of India's scripts and Sinhala that take a consonant's vowel away: a joiner behind one tells how it is drawn, also at a word's end.
fn is_virama(c: char) -> bool {
    (matches!(c, '\u{900}'..='\u{d7f}') && u32::from(c) & 0x7f == 0x4d) || c == '\u{dca}'
}

/// Thai, Lao, Burmese and Khmer, which have no blanks between words.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e01}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}')
}

fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// The blocks that emoji are in.
fn is_pictograph(c: char) -> bool {
    matches!(c, '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}')
        || matches!(c, '\u{24c2}' | '\u{25a0}'..='\u{27bf}' | '\u{2900}'..='\u{297f}' | '\u{2b00}'..='\u{2bff}' | '\u{3030}' | '\u{303d}')
        || matches!(c, '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

/// A text from a file's bytes, as [`decode_text`] reads it.
///
/// # Errors
/// What was expected, and what they are instead.
pub fn text_of(bytes: Vec<u8>) -> Result<String, String> {
    decode_text(bytes).map_err(|found| format!("expected text in UTF-8, or in UTF-16 with its mark, found {found}"))
}

/// A text from bytes: UTF-8, or UTF-16 with its mark; a mark at the start is passed over, and every line ends with `\n` whatever ended it.
///
/// # Errors
/// What the bytes are, if no text.
pub fn decode_text(mut bytes: Vec<u8>) -> Result<String, String> {
    let utf16 = |unit: fn([u8; 2]) -> u16| {
        let (units, rest) = bytes[2..].as_chunks::<2>();
        let text: Result<String, _> = char::decode_utf16(units.iter().map(|pair| unit(*pair))).collect();
        text.ok().filter(|_| rest.is_empty()).ok_or_else(|| "UTF-16 that is damaged or cut off".to_string())
    };
    let text = if bytes.starts_with(&[0xff, 0xfe, 0, 0]) || bytes.starts_with(&[0, 0, 0xfe, 0xff]) {
        return Err("UTF-32; save it as UTF-8".into());
    } else if bytes.starts_with(&[0xff, 0xfe]) {
        utf16(u16::from_le_bytes)?
    } else if bytes.starts_with(&[0xfe, 0xff]) {
        utf16(u16::from_be_bytes)?
    } else {
        if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
            bytes.drain(..3);
        }
        // What DOS and what copies from it end a file with.
        while bytes.last() == Some(&0x1a) {
            bytes.pop();
        }
        if let Some(pointer) = crate::git_lfs_pointer(&bytes) {
            return Err(pointer.into());
        }
        let is_text = std::str::from_utf8(&bytes).is_ok_and(|text| !text.contains('\0'));
        if let Some(kind) = crate::kind_of(&bytes).filter(|_| !is_text) {
            return Err(kind.into());
        }
        let zeros = bytes.iter().filter(|b| **b == 0).count();
        if zeros > 0 && zeros * 3 >= bytes.len() {
            return Err("UTF-16 without its mark, or no text; save it as UTF-8".into());
        }
        let place = |bytes: &[u8], at: usize| {
            let line = bytes[..at].iter().filter(|b| **b == b'\n').count() + 1;
            let start = bytes[..at].iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
            let end = bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |len| at + len);
            format!("line {line}, {}", shown_line(&String::from_utf8_lossy(&bytes[start..end])))
        };
        if let Some(at) = bytes.iter().position(|b| *b == 0) {
            return Err(format!("a NUL in {}", place(&bytes, at)));
        }
        String::from_utf8(bytes).map_err(|e| {
            format!("another encoding (byte {}) in {}", e.utf8_error().valid_up_to(), place(e.as_bytes(), e.utf8_error().valid_up_to()))
        })?
    };
    if text.contains('\0') {
        return Err("a NUL".into());
    }
    Ok(if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text })
}

/// A line as errors show it: quoted, escaped, not too long.
#[must_use]
pub fn shown_line(line: &str) -> String {
    const MOST: usize = 120;
    let cut: String = line.trim().chars().take(MOST).collect();
    if cut.len() < line.trim().len() { format!("{cut:?}...") } else { format!("{cut:?}") }
}

/// A text on one line, with its hidden characters escaped as Rust escapes them.
pub fn shown(text: &str) -> Cow<'_, str> {
    escaped(text, false)
}

/// As [`shown`], for a text that has several lines of its own.
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    escaped(text, true)
}

fn escaped(text: &str, lines: bool) -> Cow<'_, str> {
    let mut hidden = hidden(text).filter(|(_, c)| !lines || *c != '\n').peekable();
    if hidden.peek().is_none() {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut from = 0;
    for (at, c) in hidden {
        shown += &text[from..at];
        shown.extend(c.escape_default());
        from = at + c.len_utf8();
    }
    shown += &text[from..];
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

    #[test]
    fn what_shapes_its_neighbours_is_seen_there_alone() {
        let needed = [
            ("Persian, a plural", "کتاب\u{200c}ها"),
            ("Sinhala, Sri Lanka", "ශ්\u{200d}රී"),
            ("Hindi, half a letter and none", "क्\u{200d}ष, क्\u{200c}ष"),
            ("Malayalam, a vowelless letter at the end", "അവന്\u{200d}"),
            ("Khmer, two words", "ឆ្មា\u{200b}ខ្មៅ"),
            ("Mongolian, a vowel apart", "ᠨᠠᠷᠠ\u{180e}ᠠ\u{180b}"),
            ("Japanese, a variant of a character", "葛\u{e0100}"),
            ("a heart in colour", "❤\u{fe0f}"),
            ("a couple", "👩\u{200d}❤\u{fe0f}\u{200d}👨"),
            ("a scientist", "👩🏽\u{200d}🔬"),
            ("the key 1", "1\u{fe0f}\u{20e3}"),
            ("accents apart", "Lo\u{308}we"),
            ("a flag, an umlaut, blanks", "🇩🇪 ä\u{a0}\u{3000}"),
        ];
        for (what, text) in needed {
            assert_eq!(hidden(text).next(), None, "{what}");
        }
        // One of each kind that is never seen, in a word that lacks nothing without it.
        for c in "\u{ad}\u{34f}\u{61c}\u{115f}\u{1160}\u{17b4}\u{180b}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\u{2060}\u{2800}\u{3164}\
            \u{e000}\u{fe00}\u{fe0f}\u{feff}\u{ffa0}\u{fff9}\u{ffff}\u{fdd0}\u{1bca0}\u{1d173}\u{e0001}\u{e0061}\u{e0100}\u{e0fff}\u{f0000}\u{10ffff}"
            .chars()
        {
            for text in [format!("d{c}og"), format!("{c}dog"), format!("dog{c}"), format!("{c}"), format!("猫 {c}"), format!("🏴{c}{c}")] {
                // Behind a flag one selector has its place.
                let at = if text.starts_with('🏴') && matches!(c, '\u{fe00}' | '\u{fe0f}') { 2 } else { 1 };
                let of = text.chars().filter(|other| *other == c).count();
                assert_eq!(hidden(&text).count(), of - (at - 1), "{c:?} in {text:?}");
                assert!(shown(&text).contains(&c.escape_default().to_string()), "{c:?} in {text:?}");
            }
        }
        for stray in ["کتاب\u{200c}", "\u{200c}کتاب", "کتاب\u{200c}\u{200c}ها", "🐕\u{200d}", "🐕\u{200d}a", "ป\u{200b}", "1\u{fe0f}"]
        {
            assert_eq!(hidden(stray).count(), if stray.contains("\u{200c}\u{200c}") { 2 } else { 1 }, "{stray:?}");
        }
    }

    #[test]
    fn what_is_shown_hides_nothing_whatever_it_was() {
        let odd: Vec<char> =
            "a1ب\u{61c}क्ക្\u{17b4}ป猫🏴❤🔬\u{1820}\u{180b}\u{180e}\u{200b}\u{200c}\u{200d}\u{fe0f}\u{20e3}\u{e0100}\u{e0061}\n\u{2fffe}"
                .chars()
                .collect();
        for first in &odd {
            for second in &odd {
                for third in &odd {
                    let text = String::from_iter([*first, *second, *third, 'b']);
                    let once = shown(&text);
                    assert_eq!(hidden(&once).next(), None, "{text:?}");
                    assert_eq!(hidden(&shown_lines(&text)).find(|(_, c)| *c != '\n'), None, "{text:?}");
                }
            }
        }
    }
}
