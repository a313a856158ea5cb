//! What is wrong with a text of TOML, in the terms of whoever wrote it.

use crate::text::shown;

/// What is wrong with a text of TOML, by the byte and the message of its reader: where, and at which key. The line itself and a value of a
/// wrong type are not told: either may be a password.
#[must_use]
pub fn toml_fault(text: &str, at: usize, message: &str) -> String {
    if text.trim_start().starts_with('{') {
        return "line 1: expected TOML, found JSON; try: [SECTION] on a line of its own, and KEY = VALUE on each below it".into();
    }
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let (line, column) = (1 + before.matches('\n').count(), 1 + before[start..].chars().count());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.\"' ".contains(c);
    let key = text[start..].lines().next().and_then(|line| line.split_once('=')).map(|(key, _)| key.trim());
    let key = key.filter(|key| !key.is_empty() && key.chars().all(is_plain)).map_or(String::new(), |key| format!(", {key}"));
    let said = match wrong_value(message) {
        Some((expected, found)) => format!("expected {expected}, found {found}"),
        None => wrong_syntax(message),
    };
    shown(&format!("line {line}, column {column}{key}: {said}")).into_owned()
}

/// How messages of TOML's reader begin, and what helps.
const SYNTAX: [(&str, &str); 14] = [
    ("string values must be quoted", "text in quotes, as KEY = \"text\""),
    ("invalid basic string", "a quote at the end as well, as KEY = \"text\"; a backslash is written twice"),
    ("missing escaped value", "a backslash is written twice, or the text stands in '...'"),
    ("invalid escape sequence", "a backslash is written twice, or the text stands in '...'"),
    ("invalid literal string", "a quote at the end as well, as KEY = 'text'"),
    ("invalid boolean", "true or false, in small letters"),
    ("key with no value", "KEY = VALUE, a text in quotes"),
    ("invalid float", "a number, as 0.5, or a text in quotes, as KEY = \"text\""),
    ("unexpected key or value", "one KEY = VALUE a line; a number has a point, as 0.5, and several values stand in brackets, as [1, 2]"),
    ("unexpected leading zero", "the number without the zero before it"),
    ("duplicate key", "one line of them"),
    ("unclosed table", "[NAME]"),
    ("unclosed array", "a bracket at the end as well: [1, 2]"),
    ("missing value", "a value behind the =, or a # before the line to leave it out"),
];

/// What TOML's reader says of a text that is none, on one line, and what helps.
#[must_use]
pub fn wrong_syntax(message: &str) -> String {
    let said = shown(&message.lines().collect::<Vec<_>>().join(", ")).into_owned();
    let remedy = SYNTAX.iter().find(|(start, _)| said.starts_with(start)).map(|(_, remedy)| format!("; try: {remedy}"));
    said + &remedy.unwrap_or_default()
}

/// What serde says of a value of a wrong kind, in TOML's terms: `invalid type: string "ten", expected u64`. A text is not told, a number is.
/// What was expected, and what was found with what helps.
#[must_use]
pub fn wrong_value(message: &str) -> Option<(String, String)> {
    if let Some(name) = message.strip_prefix("missing field `") {
        return Some((format!("a key {}", name.trim_end_matches('`')), "none".into()));
    }
    let odd = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))?;
    let (found, expected) = odd.rsplit_once(", expected ")?;
    let (kind, value) = found.split_once(['`', '"']).map_or((found, None), |(kind, value)| (kind, value.split('`').next()));
    let kind = kind.trim();
    let is_number = matches!(kind, "integer" | "floating point");
    let value = value.filter(|_| is_number).map(|value| value.trim_end_matches(" as i128").trim_end_matches(" as u128"));
    let whole = match expected {
        "u8" => Some("a whole number, 0 to 255"),
        "u16" => Some("a whole number, 0 to 65535"),
        "u32" => Some("a whole number, 0 to 4294967295"),
        "u64" | "u128" | "usize" => Some("a whole number, 0 or more"),
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => Some("a whole number"),
        _ => None,
    };
    let (expected, remedy) = match expected {
        _ if whole.is_some() => {
            let rounded = value.and_then(|value| value.parse::<f64>().ok()).map(|value| value.abs().round()).filter(|value| *value < 1e9);
            (whole.unwrap_or_default(), format!("a number without quotes or a point, as {}", rounded.unwrap_or(10.0)))
        }
        "f32" | "f64" => ("a number", "a number without quotes, as 0.5".into()),
        "a boolean" => ("true or false", "true or false, without quotes".into()),
        "a string" | "path string" if kind == "sequence" => ("a text in quotes", "one text, as \"a, b\"".into()),
        "a string" | "path string" => ("a text in quotes", value.map_or("\"...\"".into(), |value| format!("\"{value}\""))),
        "a sequence" if kind == "map" => ("a list", "two brackets around its name, as [[NAME]]".into()),
        "a sequence" => ("a list", "brackets around it, as [\"a\", \"b\"]".into()),
        other if other.starts_with("struct ") => ("a table", "its keys in braces, as { KEY = VALUE }, or a [TABLE]".into()),
        other => (other, String::new()),
    };
    let found = match (kind, value) {
        ("string" | "character", _) => "a text in quotes".into(),
        ("sequence", _) => "a list".into(),
        ("map", _) => "a table".into(),
        ("boolean", _) => "true or false".into(),
        (_, Some(value)) => value.to_owned(),
        _ => kind.to_owned(),
    };
    let remedy = if remedy.is_empty() { remedy } else { format!("; try: {remedy}") };
    Some((expected.to_owned(), format!("{found}{remedy}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_a_wrong_kind_is_told_in_tomls_terms() {
        for (message, said) in [
            (
                "invalid type: string \"ten\", expected u64",
                "expected a whole number, 0 or more, found a text in quotes; try: a number without",
            ),
            ("invalid type: floating point `448.0`, expected usize", "found 448.0; try: a number without quotes or a point, as 448"),
            ("invalid value: integer `-1`, expected u64", "0 or more, found -1; try: a number without quotes or a point, as 1"),
            ("invalid value: integer `300`, expected u8", "expected a whole number, 0 to 255, found 300"),
            ("invalid type: string \"yes\", expected a boolean", "expected true or false, found a text in quotes; try: true or false"),
            ("invalid type: integer `7`, expected a string", "found 7; try: \"7\""),
            ("invalid type: sequence, expected a string", "found a list; try: one text, as \"a, b\""),
            ("invalid type: map, expected a sequence", "expected a list, found a table; try: two brackets around its name, as [[NAME]]"),
            ("missing field `name`", "expected a key name, found none"),
            ("invalid float, expected `nan`", "a number, as 0.5, or a text in quotes"),
            ("unexpected key or value, expected newline, `#`", "a number has a point, as 0.5"),
            ("invalid boolean\nexpected `true`", "invalid boolean, expected `true`; try: true or false, in small letters"),
        ] {
            let told = toml_fault("[a]\nb = 1\n", 8, message);
            assert!(told.starts_with("line 2, column 5, b: ") && told.contains(said), "{message}: {told}");
        }
        assert!(toml_fault("{\"a\": 1}", 0, "invalid key-value pair, expected key").contains("expected TOML, found JSON"));
        assert!(!toml_fault("a = 1", 4, "invalid type: string \"secret\", expected u64").contains("secret"));
    }
}
