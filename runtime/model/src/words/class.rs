//! Classes as people write them.

use std::path::Path;

use edge_seg_bundle::text::hidden;
use unicode_normalization_alignments::char::is_combining_mark;

use super::lists::{
    LANGUAGES, Listed, QUOTES, content, is_labelme_mark, is_only_header, is_plain_label_map, read_listed, read_table, split_row,
    split_synonyms, unquoted, usual_sign, usual_signs, without_bullets, without_number,
};
use crate::text::{read_text_within, shown_line, tidy_word};
use crate::{Error, Result};

/// Longest file of classes that is read.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Labels are 16-bit, 0 is the background.
pub const MAX_CLASSES: usize = u16::MAX as usize;
/// Longest word, in characters: longer than any text that a text model takes whole.
const MAX_WORD_CHARS: usize = 1000;

/// A thing to look for: the name that is reported and the words that stand for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Class {
    /// What is reported.
    pub name: String,
    /// Words that are scored; the best one counts.
    pub words: Vec<String>,
}

impl Class {
    /// A class of these words, of which its name is only one if it is among them.
    pub fn new(name: impl Into<String>, words: Vec<String>) -> Self {
        Self { name: name.into(), words }
    }

    /// A class that is its own only word.
    pub fn word(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { words: vec![name.clone()], name }
    }

    fn add_word(&mut self, word: String) {
        if !self.words.contains(&word) {
            self.words.push(word);
        }
    }
}

/// Reads words to look for, as [`parse_words`] does. Words to leave out have a place of their own: here they are refused.
///
/// # Errors
/// [`Error::Words`] if there is none, one is there twice, or one is to be left out.
pub fn parse_classes(place: &str, list: &str) -> Result<Vec<Class>> {
    let (classes, left_out) = split_words(place, list)?;
    if let Some(word) = left_out.first() {
        let expected = "words to look for; what is to be left out is a background word".into();
        return Err(Error::Words { place: place.into(), expected, found: format!("{:?}", format!("-{word}")) });
    }
    check_classes(place, classes)
}

/// Reads words as a program writes them: separated by commas or lines; other words for the same thing behind colons, `red car: sports
/// car: coupe`; words for what is to be left out behind a minus, `-wall`. `place` names the text in errors.
///
/// # Errors
/// [`Error::Words`] if there is no word to look for, or a class is there twice.
pub fn parse_words(place: &str, list: &str) -> Result<(Vec<Class>, Vec<String>)> {
    let (classes, left_out) = split_words(place, list)?;
    if let Some(word) = left_out.first().filter(|_| classes.is_empty()) {
        let found = format!("{:?} alone, which is to be left out", format!("-{word}"));
        return Err(Error::Words { place: place.into(), expected: "one word or more to look for".into(), found });
    }
    Ok((check_classes(place, classes)?, left_out))
}

fn split_words(place: &str, list: &str) -> Result<(Vec<Class>, Vec<String>)> {
    let (mut classes, mut left_out) = (Vec::new(), Vec::new());
    let usual: String = list.chars().map(usual_sign).collect();
    let list = usual.as_str();
    let entries = split_outside_quotes(list, &[',', '\n']);
    check_is_line(place, list, &entries)?;
    if let [entry] = entries.as_slice()
        && entry.contains(',')
    {
        let expected = "words separated by commas, without quotes around them all; with a comma behind its quotes this is one word";
        let bare = entry.trim().trim_matches(|c| QUOTES.iter().any(|(open, close)| c == *open || c == *close));
        let found = format!("{}; try: {bare:?}", entry.trim());
        return Err(Error::Words { place: place.into(), expected: expected.into(), found });
    }
    for entry in entries.into_iter().map(|entry| unquoted_whole(entry.trim())).filter(|entry| !entry.is_empty()) {
        let wrong = |expected: &str| Error::Words { place: place.into(), expected: expected.into(), found: shown_line(entry) };
        if let Some(word) = entry.strip_prefix('-') {
            let word = tidy_word(unquoted_whole(word.trim()));
            if word.is_empty() {
                return Err(wrong("a word behind the minus"));
            }
            check_word(place, &word)?;
            left_out.push(word);
            continue;
        }
        if let Some(several) = with_slashes(entry) {
            tracing::info!("{place}: {entry:?} is one word; several are separated by commas: {several:?}");
        }
        let mut words = split_outside_quotes(entry, &[':']).into_iter().map(str::trim);
        let name = words.next().map(unquoted).filter(|name| !name.is_empty()).ok_or_else(|| wrong("a name before the colon"))?;
        let mut class = Class::word(name);
        for word in words {
            if word.is_empty() {
                return Err(wrong("a word behind each colon"));
            }
            class.add_word(unquoted(word).into());
        }
        classes.push(class);
    }
    Ok((classes, left_out))
}

/// The words that slashes separate, as a list of them. One or two letters, as in `w/o` and `24/7`, are none.
fn with_slashes(entry: &str) -> Option<String> {
    let parts: Vec<&str> = entry.split('/').map(str::trim).collect();
    let are_words = parts.len() > 1 && parts.iter().all(|part| part.chars().filter(|c| c.is_alphabetic()).count() > 2);
    are_words.then(|| parts.join(", "))
}

/// Refuses lists as other programs write them, which would be read as odd words.
fn check_is_line(place: &str, list: &str, entries: &[&str]) -> Result<()> {
    let trimmed = list.trim();
    let outside = |c: char| entries.iter().any(|entry| entry.contains(c) && unquoted_whole(entry.trim()) == entry.trim());
    let is_json = trimmed.starts_with('[') && trimmed.ends_with(']');
    let is_open = |entry: &&str| {
        [('"', '"'), ('“', '”')].iter().any(|(open, close)| entry.strip_prefix(*open).is_some_and(|rest| !rest.contains(*close)))
    };
    let has_open = entries.iter().map(|entry| entry.trim()).any(|entry| is_open(&entry));
    let expected = match () {
        () if is_json || has_open || outside(';') || trimmed.contains('\t') => "words separated by commas",
        () if outside('|') => "words alone: what stands behind | is read in a file of words",
        () => return Ok(()),
    };
    let listed = if is_json { &trimmed[1..trimmed.len() - 1] } else { trimmed };
    let parts = listed.split([',', ';', '\t', '\n']).map(|part| part.split('|').next().unwrap_or_default());
    let meant: Vec<&str> =
        parts.map(|part| part.trim_matches(|c: char| c.is_whitespace() || "\"“”".contains(c))).filter(|part| !part.is_empty()).collect();
    let remedy = if meant.is_empty() { String::new() } else { format!("; try: {:?}", meant.join(", ")) };
    Err(Error::Words { place: place.into(), expected: expected.into(), found: shown_line(list) + &remedy })
}

/// The parts of a text between separators, those in quotes left alone: `"cat, domestic", dog` has two. A quote is one where a part, or what
/// follows its minus or a colon, begins, and where the other of its pair ends it in the same line.
fn split_outside_quotes<'a>(text: &'a str, separators: &[char]) -> Vec<&'a str> {
    let is_end = |rest: &str| rest.trim_start_matches([' ', '\t']).chars().next().is_none_or(|c| matches!(c, ',' | ':' | '\n'));
    let quoted_len = |rest: &str| -> Option<usize> {
        let (open, close) = QUOTES.into_iter().find(|(open, _)| rest.starts_with(*open))?;
        // The apostrophe of a decade, as in '90s, which is typed as an opening quote.
        if matches!(open, '\'' | '‘') && matches!(&rest.as_bytes()[open.len_utf8()..], [b'0'..=b'9', b'0'..=b'9', b's', ..]) {
            return None;
        }
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        let ends = line.match_indices(close).map(|(at, found)| at + found.len()).filter(|end| *end > open.len_utf8());
        ends.into_iter().find(|end| is_end(&rest[*end..]))
    };
    let (mut parts, mut start, mut at, mut begins) = (Vec::new(), 0, 0, true);
    while let Some(c) = text[at..].chars().next() {
        if begins && let Some(len) = quoted_len(&text[at..]) {
            (at, begins) = (at + len, false);
            continue;
        }
        let end = at;
        at += c.len_utf8();
        if separators.contains(&c) {
            parts.push(&text[start..end]);
            start = at;
        }
        begins = separators.contains(&c) || c == ':' || begins && (c.is_whitespace() || c == '-');
    }
    parts.push(&text[start..]);
    parts
}

/// A text without quotes around it, if they are one pair: `"a": "b"` keeps its own.
fn unquoted_whole(text: &str) -> &str {
    let inner = unquoted(text);
    let is_pair = |(open, close): &(char, char)| text.starts_with(*open) && inner.contains([*open, *close]);
    if QUOTES.iter().any(is_pair) { text } else { inner }
}

/// Reads a file with one class a line: `name`, `name: synonym, synonym`, or `name, synonym, synonym`. Empty lines and comments behind `#`
/// count for nothing. Tables with a column `name` or with numbers before the names, VOC's `labelmap.txt`, Ultralytics' `data.yaml` and
/// JSON lists of names are read too.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Words`] if it is no text, too long, empty, names a class twice, or a line can mean several
/// things.
pub fn read_classes_file(path: &Path) -> Result<Vec<Class>> {
    let lines = read_class_lines(path)?.into_iter().map(|(place, class, settings)| match settings {
        None => Ok(class),
        Some(found) => Err(Error::Words { place, expected: "no settings, which only running video takes".into(), found }),
    });
    check_classes(&path.display().to_string(), lines.collect::<Result<_>>()?)
}

/// The classes of a file with their places, and what follows a `|` in their lines.
///
/// # Errors
/// As [`read_classes_file`].
pub fn read_class_lines(path: &Path) -> Result<Vec<(String, Class, Option<String>)>> {
    parse_class_lines(&path.display().to_string(), &read_text_within(path, MAX_FILE_BYTES)?)
}

fn parse_class_lines(place: &str, text: &str) -> Result<Vec<(String, Class, Option<String>)>> {
    let class = |listed: Listed| {
        let mut class = Class::word(listed.name);
        listed.synonyms.into_iter().for_each(|word| class.add_word(word));
        class
    };
    // In JSON they are a string's own.
    let usual = (!text.trim_start().starts_with(['[', '{'])).then(|| usual_signs(text));
    let text = usual.as_deref().unwrap_or(text);
    if let Some(listed) = read_listed(place, text)? {
        // Label maps number the background too; it is no word to look for.
        let is_map = listed.iter().any(|l| l.colour.is_some()) || is_plain_label_map(text);
        let is_word = |l: &Listed| !(is_map && l.name == "background" || is_labelme_mark(&l.name));
        let listed = listed.into_iter().filter(is_word);
        return Ok(listed.map(|l| (place.to_string(), class(l), None)).collect());
    }
    if let Some(rows) = read_table(place, text)? {
        return Ok(rows.into_iter().map(|(number, row, settings)| (format!("{place}:{number}"), class(row), settings)).collect());
    }
    let mut lines: Vec<(usize, &str)> = content(text).collect();
    without_bullets(&mut lines);
    check_is_list(place, text, &lines)?;
    let (mut classes, mut by_comma) = (Vec::with_capacity(lines.len()), 0);
    for &(number, line) in &lines {
        let place = format!("{place}:{number}");
        let wrong = |expected: &str| Error::Words { place: place.clone(), expected: expected.into(), found: shown_line(line) };
        let (written, settings) = line.split_once('|').map_or((line, None), |(line, settings)| (line.trim(), Some(settings.trim().into())));
        let written = written.strip_suffix(',').unwrap_or(written).trim_end();
        let written = match unquoted(written) {
            inner if inner.contains(['"', '“']) => written,
            inner => inner,
        };
        if ["//", ";", "- ", "* "].iter().any(|mark| written.starts_with(mark)) {
            return Err(wrong("one class a line, with comments behind #"));
        }
        if written.contains('\t') {
            return Err(wrong("one class a line without tabs, or a table with a column `name`"));
        }
        let (name, words) = match written.split_once(':') {
            Some((name, words)) => (Some(unquoted(name.trim()).to_string()), words),
            None => (None, written),
        };
        if let (Some(_), Some((before, behind))) = (&name, written.split_once(':')) {
            let is_quoted = unquoted(before.trim()) != before.trim();
            if before.contains([',', ';']) && !is_quoted {
                return Err(wrong("one class a line, or quotes around a name with a comma in it"));
            }
            if !behind.contains(['"', '“', '\'']) && split_synonyms(behind).1.is_some() {
                return Err(wrong("one class a line, with commas between the other words for it"));
            }
            if is_only_header(before) && behind.contains([',', ';']) {
                return Err(wrong(
                    "one class a line; a list behind its key is written `names: [cat, dog]`, and `\"names\": cat, dog` if it is a word",
                ));
            }
        }
        let separator = if words.contains(';') { ';' } else { ',' };
        by_comma += usize::from(name.is_none() && words.contains(separator));
        if separator == ';' && words.contains(',') {
            return Err(wrong("`name: synonym, synonym`, with commas or semicolons and not both"));
        }
        if name.is_none() && lines.len() == 1 && words.contains(separator) {
            let expected = "one class a line, or `name: synonym, synonym`: in a file of one line this could be several classes or one";
            return Err(wrong(expected));
        }
        let mut words = split_row(words, separator).into_iter().filter(|word| !word.is_empty());
        let name = match name {
            Some(name) if name.is_empty() => return Err(wrong("a name before the colon")),
            Some(name) => name,
            None => words.next().ok_or_else(|| wrong("a name"))?,
        };
        let mut class = Class::word(tidy_word(&name));
        words.for_each(|word| class.add_word(tidy_word(&word)));
        let odd = |word: &String| {
            let stray = |c| matches!(c, '=' | '{' | '}' | '\\');
            word.contains(stray)
                || word.starts_with(['"', '[', ']', '<'])
                || word.starts_with("//")
                || word.ends_with(['"', '[', '>'])
                || ends_with_colour(word)
        };
        if let Some(word) = class.words.iter().find(|word| odd(word)) {
            return Err(wrong(&format!("one class a line, {} being no word", shown_line(word))));
        }
        classes.push((place, class, settings));
    }
    // Each could be a table without a header.
    if lines.len() > 1 && by_comma > 1 {
        tracing::info!("{place}: what stands behind the commas is taken for other words for the first of each line");
    }
    let ends_with_number = |line: &str| line.rsplit_once(' ').is_some_and(|(_, number)| number.bytes().all(|b| b.is_ascii_digit()));
    if lines.len() > 1 && lines.iter().all(|(_, line)| ends_with_number(line)) {
        tracing::info!("{place}: the numbers behind the words are taken for parts of them; ids are written `1: cat`");
    }
    Ok(classes)
}

/// That lines are words, where each could be one but all together are something else: a table's only column, YAML, words beside those of
/// another language, words with scores.
fn check_is_list(place: &str, text: &str, lines: &[(usize, &str)]) -> Result<()> {
    let wrong = |number: usize, expected: &str, line: &str| {
        Err(Error::Words { place: format!("{place}:{number}"), expected: expected.into(), found: shown_line(line) })
    };
    let Some(&(first, header)) = lines.first() else { return Ok(()) };
    let fields: Vec<String> = split_row(header, ',').iter().map(|field| field.to_lowercase()).collect();
    // What pandas calls a column without a name.
    let is_of_pandas = header == "0" && lines[1..].iter().all(|(_, line)| line.contains(char::is_alphabetic));
    if lines.len() > 1 && (is_only_header(unquoted(header)) || is_of_languages(&fields) || is_of_pandas) {
        return wrong(first, "a word; take the line away if it is a header, or write `NAME:` if it is a word", header);
    }
    let written: Vec<&str> = text.lines().collect();
    let is_indented = |number: usize| written[number - 1].starts_with([' ', '\t']);
    let block = lines.windows(2).position(|pair| pair[0].1.ends_with(':') && is_indented(pair[1].0));
    let count = lines.iter().position(|(_, line)| line.strip_prefix("nc:").is_some_and(|count| count.trim().parse::<u32>().is_ok()));
    if let Some(at) = block.or(count) {
        return wrong(lines[at].0, "one class a line, or YAML with a key `names`, as Ultralytics' data.yaml has it", lines[at].1);
    }
    if let Some((number, line)) = without_number(lines) {
        return wrong(number, "a number behind each name, as other lines have, or behind none", line);
    }
    let has_score = |line: &str| {
        let number = line.rsplit_once([' ', '\t', ',', ';']).filter(|(_, number)| number.contains('.'));
        number.and_then(|(_, number)| number.trim().parse().ok()).is_some_and(|number: f32| (0.0..=1.0).contains(&number))
    };
    let is_number = |field: &String| field.parse::<f64>().is_ok();
    let has_number = |line: &str| {
        let fields = split_row(line, [';', ','].into_iter().find(|c| line.contains(*c)).unwrap_or(':'));
        fields.len() > 1 && (is_number(&fields[0]) || fields.last().is_some_and(is_number))
    };
    // A name or two may end so: `USB 1.0`.
    if lines.len() > 2 && lines.iter().all(|(_, line)| has_score(line)) {
        return wrong(first, "a word without a number; a threshold is written `cat | threshold 0.5`", header);
    }
    if lines.iter().all(|(_, line)| has_number(line)) {
        return wrong(
            first,
            "a word without a number; whole numbers from 0 before the words, or behind them counted from 0 or 1, are ids",
            header,
        );
    }
    Ok(())
}

/// Whether a word is a colour as screens have it, or ends with one.
fn ends_with_colour(word: &str) -> bool {
    let last = word.rsplit(' ').next().unwrap_or_default();
    last.strip_prefix('#').is_some_and(|digits| digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Whether a header names languages, by their codes.
fn is_of_languages(fields: &[String]) -> bool {
    fields.len() > 1 && fields.iter().all(|field| LANGUAGES.contains(&field.as_str()))
}

/// Classes as they are scored (words in Unicode's composed form, single-spaced), if there are some, not too many, and each once.
///
/// # Errors
/// [`Error::Words`], at `place`, if not, or if a word holds characters that do not show.
pub fn check_classes(place: &str, mut classes: Vec<Class>) -> Result<Vec<Class>> {
    let words = |expected: &str, found: String| Err(Error::Words { place: place.into(), expected: expected.into(), found });
    if classes.is_empty() {
        return words("one word or more, as \"dog, grass\"", "none".into());
    }
    if classes.len() > MAX_CLASSES {
        return words("at most 65535 classes", classes.len().to_string());
    }
    for class in &mut classes {
        class.name = tidy_word(&class.name);
        let given = std::mem::take(&mut class.words);
        given.iter().for_each(|word| class.add_word(tidy_word(word)));
        std::iter::once(&class.name).chain(&class.words).try_for_each(|word| check_word(place, word))?;
    }
    let mut names: Vec<_> = classes.iter().map(|c| c.name.to_lowercase()).collect();
    names.sort();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => words("each class once", format!("{} twice; try: without the second", shown_line(&pair[0]))),
        None => Ok(classes),
    }
}

/// Whether a word is one: something that can be seen, all of it, with a letter below each accent, and not a book.
pub(crate) fn check_word(place: &str, word: &str) -> Result<()> {
    let bare_accent = || word.split_whitespace().any(|part| part.starts_with(is_combining_mark));
    if word.trim().is_empty() || word.chars().nth(MAX_WORD_CHARS).is_some() || hidden(word).next().is_some() || bare_accent() {
        let expected = format!("words of 1 to {MAX_WORD_CHARS} characters, all of which can be seen, and no accent without a letter");
        return Err(Error::Words { place: place.into(), expected, found: shown_line(word) });
    }
    Ok(())
}

/// Whether two names are one class's: whatever their case, blanks and way to write accents, as people write them.
pub fn same_name(a: &str, b: &str) -> bool {
    a == b || folded_name(a) == folded_name(b)
}

/// What the names of one class have in common.
pub fn folded_name(name: &str) -> String {
    tidy_word(name).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_words_is_read() {
        let (classes, left_out) = parse_words("words", "cat, red car: sports car : coupe,\n-wall, - white floor,").unwrap();
        assert_eq!(classes[0], Class::word("cat"));
        assert_eq!(classes[1], Class { name: "red car".into(), words: ["red car", "sports car", "coupe"].map(String::from).into() });
        assert_eq!(left_out, ["wall", "white floor"]);
        for (wrong, said) in [
            ("", "one word or more"),
            ("-wall", "one word or more"),
            ("cat, Cat", "twice"),
            (": a", "before the colon"),
            ("a:", "each colon"),
            ("-", "minus"),
        ] {
            let error = parse_words("words", wrong).unwrap_err().to_string();
            assert!(error.contains(said), "{wrong:?}: {error}");
        }
        for list in ["cat, red car: sports car : coupe,", "cat，red car：sports car：coupe", "cat、red car: sports car: coupe"] {
            assert_eq!(parse_classes("--tags", list).unwrap(), classes, "{list}");
        }
        for list in ["cat, -wall", "-wall"] {
            let error = parse_classes("--tags", list).unwrap_err().to_string();
            assert!(error.contains("is a background word") && error.ends_with("\"-wall\""), "{error}");
        }
    }

    #[test]
    fn a_comma_in_quotes_parts_nothing() {
        let read = |list: &str| {
            let (classes, left_out) = parse_words("words", list).unwrap();
            (classes.into_iter().map(|class| class.words.join("|")).collect::<Vec<_>>(), left_out)
        };
        let (classes, left_out) = read("\"cat, domestic\", dog: 'hound, old': \"pup\", -\"wall, red\", '-floor'");
        assert_eq!(classes, ["cat, domestic", "dog|hound, old|pup"]);
        assert_eq!(left_out, ["wall, red", "floor"]);
        assert_eq!(read("\"cat\": \"tom, grey\"\n“a, b”").0, ["cat|tom, grey", "a, b"]);
        assert_eq!(read("dog's bowl, cat's, '90s car, 5\" pipe, 6\" pipe").0, ["dog's bowl", "cat's", "'90s car", "5\" pipe", "6\" pipe"]);
        assert_eq!(read("‘90s car, dogs’").0, ["‘90s car", "dogs’"]);
        assert_eq!(read("'90s car, dogs'").0, ["'90s car", "dogs'"]);
        // Quotes around a whole list are left over from a shell or an env file.
        let said = parse_words("words", "\"cat, dog\"").unwrap_err().to_string();
        assert!(said.contains("without quotes around them all") && said.ends_with("\"cat, dog\""), "{said}");
        assert_eq!(read("\"cat, dog\",").0, ["cat, dog"]);
    }

    #[test]
    fn lists_of_other_programs_are_refused_with_what_was_meant() {
        for (list, meant) in [
            ("cup; table", "cup, table"),
            ("cup;table; red car", "cup, table, red car"),
            ("cup\ttable", "cup, table"),
            ("[\"cat\",\"dog\"]", "cat, dog"),
            ("\"cup, table", "cup, table"),
            ("“cup, table", "cup, table"),
            ("cup|threshold 0.4", "cup"),
        ] {
            let said = parse_classes("--tags", list).unwrap_err().to_string();
            assert!(said.contains("--tags: expected words ") && said.ends_with(&format!("; try: {meant:?}")), "{list:?}: {said}");
        }
        for word in ["\"cup; table\", dog", "17\" monitor", "'90s car", "rock 'n' roll", "AC/DC", "C#", "cat.", "[cat] in brackets"] {
            assert!(parse_classes("--tags", word).is_ok(), "{word:?}");
        }
    }

    #[test]
    fn a_word_given_twice_is_refused() {
        assert!(same_name("red  Car", " red car") && same_name("Lo\u{308}we", "l\u{f6}we") && !same_name("red car", "redcar"));
        assert!(parse_classes("--tags", "dog, grass, Dog").unwrap_err().to_string().contains("\"dog\" twice"));
        assert_eq!(with_slashes("dog/cat").as_deref(), Some("dog, cat"));
        assert_eq!(["w/o", "24/7", "a/b", "dog", "/m/011k07"].map(with_slashes), [const { None }; 5]);
        for list in ["‘cat, dog’", "“cat, dog”", "„cat, dog“", "«cat, dog»"] {
            let said = parse_classes("--tags", list).unwrap_err().to_string();
            assert!(said.ends_with("try: \"cat, dog\""), "{said}");
        }
        let names = |list| parse_classes("--tags", list).unwrap().into_iter().map(|class| class.name).collect::<Vec<_>>();
        assert_eq!(names("„cat“, «red dog», ‚til’"), ["cat", "red dog", "‚til’"]);
        assert!(parse_classes("--tags", " , ,").unwrap_err().to_string().contains("one word or more"));
        let partly = ["d\u{202e}og", "do\u{200b}g", "d\x1bog", "do\u{200d}g", "do\u{34f}g", "dog\u{e0001}", "dog\u{fe0f}", "\u{e000}dog"];
        let nothing =
            ["\u{3164}", "\u{115f}\u{1160}", "\u{ffa0}", "\u{2800}", "\u{301}", "d \u{301}og", "\u{fe0f}", "\u{180e}", "do\u{ad}g"];
        for hidden in partly.into_iter().chain(nothing) {
            let of = [parse_classes("--tags", hidden).unwrap_err(), parse_words("words", &format!("cat, -{hidden}")).unwrap_err()];
            for said in of.map(|error| error.to_string()) {
                assert!(said.contains("can be seen") && super::hidden(&said).next().is_none(), "{said}");
            }
        }
        assert_eq!(parse_classes("--tags", "fire truck,dog").unwrap()[0], Class::word("fire truck"));
        // What people write in their scripts, however accents are stored.
        let people = ["Lo\u{308}we", "کتاب\u{200c}ها", "ශ්\u{200d}රී", "അവന്\u{200d}", "q\u{307}\u{323}", "❤\u{fe0f}", "👩🏽\u{200d}🔬"];
        assert_eq!(parse_classes("--tags", &people.join(", ")).unwrap().len(), people.len());
        assert_eq!(parse_classes("--tags", "\"fire truck\", 'dog'").unwrap(), parse_classes("--tags", "fire truck,dog").unwrap());
    }

    /// Names and further words of a file of this text.
    fn read(text: &str) -> Result<Vec<(String, Vec<String>)>, String> {
        let lines = parse_class_lines("words.txt", text).map_err(|e| e.to_string())?;
        let classes = lines.into_iter().map(|(_, class, _)| class).collect();
        let classes = check_classes("words.txt", classes).map_err(|e| e.to_string())?;
        Ok(classes.into_iter().map(|c| (c.name, c.words[1..].to_vec())).collect())
    }

    #[test]
    fn class_files_of_other_tools_are_read() {
        let cat_and_wall = Ok(vec![("cat".to_string(), vec![]), ("red wall".to_string(), vec![])]);
        for text in [
            "cat\nred wall",
            "cat  # a pet\n\n# all that is left\nred  wall\n",
            "\"cat\"\n'red wall'\n",
            "\"cat\",\n\"red wall\",\n",
            "id\tname\n1\tcat\n2\tred wall\n",
            "id,name\n1,cat\n2,\"red wall\"\n",
            "Idx;Name\n1;cat\n2;red wall\n",
            "0 cat\n1 red wall\n",
            "0: cat\n1: red wall\n",
            "1\tcat\n2\tred wall\n",
            "cat 0\nred wall 1\n",
            "cat,1\n\"red wall\",2\n",
            "red wall: 1\ncat: 0\n",
            "cat = 0\nred wall = 1\n",
            "- cat\n- red wall\n",
            "* cat\n* \"red wall\"\n",
            "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\nred wall:36,179,83::\n",
            "64 128 64\tcat\n192 0 128\t\tred wall\n",
            "64,128,64,cat\n192,0,128,red wall\n",
            "cat 255 0 0\nred wall 192 0 128\n",
            "1 255 0 0 cat\n2 192 0 128 red wall\n",
            "1 cat 255 0 0\n2 red wall 192 0 128\n",
            "255 0 0 cat 1\n192 0 128 red wall 2\n",
            "cat 255 0 0 1\nred wall 192 0 128 2\n",
            "cat 1 255 0 0\nred wall 2 192 0 128\n",
            "cat,1,255,0,0\nred wall,2,192,0,128\n",
            "{\"0\": [\"n02124075\", \"cat\"], \"1\": [\"n04546855\", \"red wall\"]}",
            "cat,255,0,0,1\nred wall,192,0,128,2\n",
            "1;cat;255;0;0\n2;red wall;192;0;128\n",
            "0\u{a0}cat\n1\u{a0}red\u{a0}wall\n",
            "0：cat\n1：red wall\n",
            "{\"classes\": [\"cat\", \"red wall\"], \"labels\": {\"a\": 0, \"b\": 1}}",
            "label,count\ncat,3\nred wall,\n",
            "name,price\ncat,\nred wall\n",
            "cat,255,0,0\nred wall, 192, 0, 128\n",
            "name,r,g,b\ncat,64,128,64\nred wall,192,0,128\n",
            ",name\n0,cat\n1,red wall\n",
            "Pixel Value, Class\n0, background\n1, cat\n2, red wall\n",
            "/m/01yrx,cat\n/m/011k07,red wall\n",
            "LabelName,DisplayName\n/m/01yrx,cat\n/m/011k07,red wall\n",
            "n02121808 cat\nn04546855 red wall\n",
            "path: ../datasets/x\ntrain: images\nnc: 2 # classes\nnames: ['cat', 'red wall']\n",
            "names:\n  0: cat # one\n  1: \"red wall\"\nval: images\n",
            "names:\n- cat\n- red wall\nnc: 2\n",
            "nc: 2\nnames: [ 'cat',\n         red wall ]\n",
            "names: {1: red wall, 0: cat}\n",
            // Headers of any columns, in any order.
            "name,description\ncat,a pet\nred wall,\"of bricks, # mostly\"\n",
            "class,class_name\n0,cat\n1,red wall\n",
            "class_name,class\ncat,0\nred wall,1\n",
            "category_id,category\n1,cat\n5,red wall\n",
            "Label;Count;Comment\ncat;120;\nred wall;30;seldom\n",
            "Nummer;Tier\n1;cat\n2;red wall\n",
            "word\tcount\ncat\t120\nred wall\t30\n",
            "name_en,name_de\ncat,Katze\nred wall,Wand\n",
            ",0\n0,cat\n1,red wall\n",
            "id,name,note\n0,cat,\"two\nlines\"\n1,red wall,x\n",
            // As Excel exports them.
            "sep=;\nid;name\n0;cat\n1;red wall\n;\n;\n",
            "id,name\n0,cat\n,\n1,red wall\n,\n",
            "---\n- cat\n- red wall\n...\n",
            "---\nnames:\n  - cat\n  - red wall\n...\n",
            "names:\n- name: cat\n- name: red wall\n",
            "names:\n  - id: 7\n    name: red wall\n    tags:\n      - x\n  - id: 3\n    name: cat\n",
            "names:\n  -\n    name: cat\n  -\n    name: 'red wall'\n",
            "names: [{name: cat}, {name: \"red wall\", id: 1}]\n",
            "- {name: cat, id: 0}\n- {name: red wall, id: 1}\n",
            "- name: cat\n  colour: red\n- name: red wall\n",
            "classes:\n- cat\n- red wall\n",
            "id2label:\n  0: cat\n  1: red wall\n",
            "cat\u{85}red wall",
            "cat\u{2028}red wall\u{2029}",
            "cat\u{b}red wall\u{c}",
            "[\"cat\", \"red wall\"]",
            "{\"id2label\": {\"0\": \"cat\", \"10\": \"red wall\"}}",
        ] {
            assert_eq!(read(text), cat_and_wall, "{text:?}");
        }
        let with_synonyms = Ok(vec![("person".to_string(), vec!["person in shirt".to_string()]), ("dog's".to_string(), vec![])]);
        for text in [
            "person: person in shirt\ndog's\n",
            "person, person in shirt\ndog's\n",
            "person;person in shirt\ndog's\n",
            "person：person in shirt\ndog's\n",
            "[{\"name\": \"person\", \"synonyms\": [\"person in shirt\"]}, \"dog's\"]",
            "\"person, person in shirt\"\ndog's\n",
            "\"person\", \"person in shirt\"\ndog's\n",
            "person: \"person in shirt\", person\ndog's\n",
            "Idx,Ratio,Name\n1,0.15,person;person in shirt\n2,0.11,dog's\n",
            "Idx,Ratio,Name\n1,0.15,\"person, person in shirt\"\n2,0.11,dog's\n",
            "name\tsynonyms\nperson\tperson,person in shirt\ndog's\t\n",
            "n00007846 person, person in shirt\nn02084071 dog's\n",
        ] {
            assert_eq!(read(text), with_synonyms, "{text:?}");
        }
        for names in [["0.5 l bottle", "1.5 l jug"], ["USB 1.0", "YOLO 1.0"]] {
            assert_eq!(
                read(&names.join("\n")).map(|read| read.into_iter().map(|(name, _)| name).collect()),
                Ok(names.map(String::from).to_vec())
            );
        }
        // Numbers that count or measure are part of the name.
        for text in
            ["12 volt battery\n24 volt battery\n", "12 volt battery\n", "2 door car\n4 door car\n", "1 litre bottle\n2 litre bottle\n"]
        {
            let names = text.lines().map(|name| (name.to_string(), Vec::new())).collect::<Vec<_>>();
            assert_eq!(read(text), Ok(names), "{text:?}");
        }
        let ids = [("banner".to_string(), vec![]), ("blanket".to_string(), vec![])];
        for text in ["92 banner\n93 blanket\n", "1 banner\n7 blanket\n", "12: banner\n24: blanket\n"] {
            assert_eq!(read(text), Ok(ids.to_vec()), "{text:?}");
        }
        // Numbers of classes that are called as measures are: all counted, or hardly any before a measure.
        for (text, names) in [
            ("0 floor lamp\n1 bed frame\n2 seat belt\n3 key ring\n", &["floor lamp", "bed frame", "seat belt", "key ring"][..]),
            ("7 door\n12 window\n20 door handle\n", &["door", "window", "door handle"]),
            ("1 person\n3 car\n112 door-stuff\n118 floor-wood\n", &["person", "car", "door-stuff", "floor-wood"]),
            ("0 = cat\n1 = dog\n", &["cat", "dog"]),
            ("1 - cat\n2 - dog\n", &["cat", "dog"]),
            ("0 -> cat\n1 -> dog\n", &["cat", "dog"]),
            ("\"0\",\"cat\"\n\"1\",\"dog\"\n", &["cat", "dog"]),
            ("\"cat\",\"0\"\n\"dog\",\"1\"\n", &["cat", "dog"]),
            ("0 Class 1\n1 Class 2\n", &["Class 1", "Class 2"]),
            ("2 door car: 0\n4 door car: 1\n", &["2 door car", "4 door car"]),
            ("0 screen in 4:3\n1 dog\n", &["screen in 4:3", "dog"]),
            ("id name\n0 cat\n1 dog\n", &["cat", "dog"]),
            // A column of names that is called as most are.
            ("name,visible\ncat,true\ndog,false\n", &["cat", "dog"]),
            ("name,price\ncat,cheap\ndog,dear\n", &["cat", "dog"]),
            ("\tname\n0\tcat\n1\tdog\n", &["cat", "dog"]),
            ("names:\n- \"T\\xFCr\"\n- \"\\u732b\\_\\U0001F415\\ud83d\\udc15\\/\"\n", &["T\u{fc}r", "\u{732b} \u{1f415}\u{1f415}/"]),
            ("background:::\ncat:::\ndog::head,tail:\n", &["cat", "dog"]),
            ("item { id: 1 name: 'dog\\'s T\\303\\274r' }\n", &["dog's T\u{fc}r"]),
            ("3 legged stool\n4 legged table\n", &["3 legged stool", "4 legged table"]),
            ("2 euro\n5 euro\n10 euro\n", &["2 euro", "5 euro", "10 euro"]),
        ] {
            let read = read(text).map(|read| read.into_iter().map(|(name, _)| name).collect::<Vec<_>>());
            assert_eq!(read, Ok(names.iter().map(|name| (*name).to_string()).collect()), "{text:?}");
        }
        // Two words that tables call their columns may be a class and another word for it.
        for text in
            ["tag, label\nbox, carton\n", "title, label\nbox, carton\n", "object, thing\nbox, carton\n", "word, term\nbox, carton\n"]
                .into_iter()
                .chain(["class, group\nbox, carton\n", "label, color\nbox, carton\n", "label; tag\nbox; carton\n"])
        {
            assert_eq!(read(text).map(|read| read.len()), Ok(2), "{text:?}");
        }
        let numbered = Ok(vec![("cat".into(), vec!["kitten".into(), "tabby".into()]), ("dog".into(), vec![])]);
        assert_eq!(read("0 cat: kitten, tabby\n1 dog\n"), numbered);
        let routes = ["route 1", "route 2"].map(|name| (name.to_string(), Vec::new()));
        assert_eq!(read("route 1\nroute 2\n"), Ok(routes.to_vec()), "numbers may belong to names");
    }

    #[test]
    fn what_can_mean_several_things_is_refused_with_its_line() {
        for (text, said) in [
            ("dog, cat, wall\n", "words.txt:1: expected one class a line"),
            ("dog\ncat\tkitten\n", "words.txt:2: expected one class a line without tabs"),
            ("dog\na; b, c\n", "words.txt:2: expected `name: synonym, synonym`, with commas or semicolons"),
            ("1 dog\n1 cat\n", "words.txt:2: expected numbers that rise"),
            ("names:\n  dog\n", "words.txt:2: expected `names:`"),
            ("names: [dog, cat\n", "that ends the names"),
            ("dog\n\"cat\n", "words.txt:2"),
            ("dog\n<html>\n", "words.txt:2"),
            ("dog\n- cat\n", "words.txt:2: expected one class a line, with comments behind #"),
            ("// pets\ncat\n", "words.txt:1: expected one class a line, with comments behind #"),
            ("; pets\ncat\n", "words.txt:1: expected one class a line, with comments behind #"),
            ("cat\nfirst = dog\n", "words.txt:2: expected one class a line, \"first = dog\" being no word"),
            ("cat\\ndog\n", "words.txt:1"),
            ("https://host/words\n", "words.txt:1"),
            ("caf\u{e9}\ncafe\u{301}\n", "\"caf\u{e9}\" twice"),
            ("red car\nred  car\n", "twice"),
            ("dog\nca\u{200b}t\n", "\\u{200b}"),
            ("dog\n\u{202e}tac\n", "can be seen"),
            ("name\ncat\nwall\n", "words.txt:1: expected a word; take the line away if it is a header"),
            ("\"Label\"\ncat\n", "words.txt:1: expected a word"),
            ("en,de\ncat,Katze\n", "words.txt:1: expected a word"),
            ("# of a model\nkinds:\n  0: cat\n  1: wall\n", "words.txt:2: expected one class a line, or YAML with a key `names`"),
            ("names:\n- id: 1\n  colour: red\n", "words.txt:2: expected `name:` in each mapping"),
            (
                "name,description\ncat,a pet\nwall,of bricks, mostly\n",
                "words.txt:3: expected 2 columns, as the first line has, which is taken",
            ),
            ("path: x\ntrain: images\nnc: 2\n", "words.txt:3: expected one class a line, or YAML"),
            ("cat 0.5\nwall 0.25\ndog 1.0\n", "words.txt:1: expected a word without a number"),
            ("cat,0.95\nwall,0.25\ndog,0.5\n", "words.txt:1: expected a word without a number"),
            ("133 bittern\n134 crane\n517 crane\n", "each class once"),
            ("number, digit\n1, one\n2, two\n", "words.txt:1: expected a header with a column `name`"),
            ("bus, coach\n7, seven\n8, eight\n", "words.txt:1: expected a header with a column `name`"),
            ("id_code,diagnosis\n000c14,2\n0016a3,4\n", "words.txt:1: expected a header with a column `name`"),
            ("filename, cat, dog\na.jpg, 0, 1\n", "words.txt:1: expected a list of classes; this is a table of pictures"),
            ("0.0,cat\n1.0,dog\n", "words.txt:1: expected a word without a number"),
            ("-1,void\n0,cat\n", "words.txt:1: expected a word without a number"),
            ("cat,3\ndog,17\n", "words.txt:1: expected a word without a number"),
            ("names:\n- \"T\\qr\"\n", "words.txt:2: expected `names:`"),
            ("0 cat:\n1 dog\n", "words.txt:1: expected a name before the colon"),
            ("[1, 2]", "JSON list of names"),
            ("1 255 0 0 cat\n1 192 0 128 dog\n", "words.txt:2: expected one number for each class"),
            ("cat 1 2 3 4\n", "words.txt:1: expected rows that can be read in one way alone"),
            ("cat 1 2 3 4\ndog 5 6 7 8\n", "words.txt:1: expected rows that can be read in one way alone"),
            ("dog, grass, car: taxi: van\n", "words.txt:1: expected one class a line, or quotes"),
            ("cat:kitten,dog:puppy\nsky\n", "words.txt:1: expected one class a line, with commas"),
            ("classes: cat, dog\n", "words.txt:1: expected one class a line; a list behind its key"),
            ("cat、dog、bird\n", "words.txt:1: expected one class a line"),
            ("Class Name\ncat\ndog\n", "words.txt:1: expected a word; take the line away"),
            ("display_name\ncat\n", "words.txt:1: expected a word; take the line away"),
            ("Klasse\nKatze\n", "words.txt:1: expected a word; take the line away"),
            ("0\ncat\ndog\n", "words.txt:1: expected a word; take the line away"),
            ("0 cat\n1 dog\nbird\n", "words.txt:3: expected a number before each name"),
            ("cat: 0\ndog: 1\nbird\n", "words.txt:3: expected a number behind each name"),
            ("cat: 0.91\ndog: 0.83\n", "words.txt:1: expected a word without a number"),
            ("cat: #ff0000\ndog: #00ff00\n", "words.txt:1: expected one class a line, \"#ff0000\" being no word"),
            ("0: cat [255, 0, 0]\n1: dog [0, 255, 0]\n", "words.txt:1: expected a number and a name"),
            ("[{\"name\": \"cat\", \"threshold\": 0.5}]", "which only running video takes"),
            ("- name: cat\n  synonyms: [kitten]\n- name: dog\n", "words.txt:1: expected names in YAML"),
            ("id,name\n1,a,b\n", "words.txt:2: expected 2 columns"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }

    #[test]
    fn settings_stand_behind_a_bar() {
        let lines = parse_class_lines("w", "car: auto | threshold 0.4, colour #ff8800, off # seldom\ndog\n").unwrap();
        assert_eq!(lines[0].2.as_deref(), Some("threshold 0.4, colour #ff8800, off"));
        assert_eq!((lines[0].1.words.join(","), lines[1].2.clone()), ("car,auto".into(), None));
        let lines = parse_class_lines("w", "0 cat | threshold 0.4\n1 dog\n").unwrap();
        assert_eq!((lines[0].1.name.as_str(), lines[0].2.as_deref()), ("cat", Some("threshold 0.4")));
        let lines = parse_class_lines("w", "name,threshold\ncar,0.4\ndog,\n").unwrap();
        assert_eq!(lines.into_iter().map(|(_, _, settings)| settings).collect::<Vec<_>>(), [Some("threshold 0.4".into()), None]);
    }
}
