use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Result};
use edge_seg_model::render::class_colour;
use edge_seg_model::text::read_text_within;
use edge_seg_model::text::tidy_word;
use edge_seg_model::{Class, Example, Meaning};
use edge_seg_model::{Gate, check_classes, read_class_lines, same_name};

/// Most words that a running session takes, each with its synonyms.
pub const MAX_LIVE_WORDS: usize = 1000;
const MAX_SYNONYMS: usize = 100;
const MAX_EXAMPLES: usize = 100;

/// A colour, written as `#rrggbb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Colour(pub [u8; 3]);

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [r, g, b] = self.0;
        write!(f, "#{r:02x}{g:02x}{b:02x}")
    }
}

impl FromStr for Colour {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix('#').filter(|d| d.len() == 6 && d.bytes().all(|b| b.is_ascii_hexdigit()));
        let value = digits.and_then(|d| u32::from_str_radix(d, 16).ok()).ok_or_else(|| format!("expected #rrggbb, found {text:?}"))?;
        let [_, r, g, b] = value.to_be_bytes();
        Ok(Self([r, g, b]))
    }
}

impl Serialize for Colour {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Colour {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What is looked for: the words of one class, and its settings.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LiveClass {
    /// What is reported, and scored.
    pub name: String,
    /// Other words for the same thing; the best one counts.
    pub synonyms: Vec<String>,
    /// The score in 0..1 that a pixel must reach to be this class's; the background's threshold if none.
    #[serde(serialize_with = "as_written")]
    pub threshold: Option<f32>,
    /// How its mask is drawn.
    pub colour: Colour,
    /// Whether it is looked for. A class that is off keeps its label and gets no pixels.
    pub on: bool,
    /// Pictures of what it means, as numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
    /// Whether its name means something beside its examples.
    #[serde(skip_serializing_if = "is_true")]
    pub text: bool,
    /// What is looked for in its name's place, or that nothing knows its name; none where it is looked for as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<Meaning>,
}

impl LiveClass {
    /// The class without its settings.
    pub fn class(&self) -> Class {
        let name = self.text.then_some(&self.name);
        Class::new(self.name.clone(), name.into_iter().chain(&self.synonyms).cloned().collect())
    }

    pub(super) fn gate(&self) -> Gate {
        match (self.on, self.threshold) {
            (false, _) => Gate::Off,
            (true, None) => Gate::Common,
            (true, Some(threshold)) => Gate::Own(threshold),
        }
    }
}

/// The name that [`LiveClass`] had.
#[deprecated(note = "it is called `LiveClass`")]
pub type Word = LiveClass;

/// A class as somebody asks for it: its name alone, or an object. What is not given gets a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
#[non_exhaustive]
pub struct WordSpec {
    /// What is reported, and scored.
    pub name: String,
    /// Other words for the same thing.
    pub synonyms: Vec<String>,
    /// As [`LiveClass::threshold`].
    #[serde(serialize_with = "as_written")]
    pub threshold: Option<f32>,
    /// The mask's colour; if none, the one that the word has, or one that no other word has.
    pub colour: Option<Colour>,
    /// Whether it is looked for.
    pub on: bool,
    /// As [`LiveClass::examples`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
    /// As [`LiveClass::text`].
    #[serde(skip_serializing_if = "is_true")]
    pub text: bool,
}

fn is_true(yes: &bool) -> bool {
    *yes
}

/// A threshold as a person wrote it: 0.4, and not the number beside it that 32 bits can hold.
fn as_written<S: Serializer>(threshold: &Option<f32>, serializer: S) -> Result<S::Ok, S::Error> {
    threshold.map(|t| (f64::from(t) * 1e6).round() / 1e6).serialize(serializer)
}

/// The two ways to write a [`WordSpec`] in JSON.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a word, or an object of name, synonyms, threshold, colour (#rrggbb), on")]
enum Written {
    Name(String),
    Whole(Whole),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    name: String,
    #[serde(default)]
    synonyms: Vec<String>,
    #[serde(default)]
    threshold: Option<f32>,
    #[serde(default)]
    colour: Option<Colour>,
    #[serde(default = "on")]
    on: bool,
    #[serde(default)]
    examples: Vec<Example>,
    #[serde(default = "on")]
    text: bool,
    // What a saved word meant is found anew.
    #[serde(default, rename = "meaning")]
    _meaning: IgnoredAny,
}

fn on() -> bool {
    true
}

impl From<Written> for WordSpec {
    fn from(written: Written) -> Self {
        match written {
            Written::Name(name) => Self::new(name),
            Written::Whole(Whole { name, synonyms, threshold, colour, on, examples, text, _meaning }) => {
                Self { name, synonyms, threshold, colour, on, examples, text }
            }
        }
    }
}

impl WordSpec {
    /// A word by its name alone.
    pub fn new(name: impl Into<String>) -> Self {
        Class::word(name).into()
    }

    /// Adds an example to the word of this name, or else a word of that example alone behind the others.
    pub fn add_example(specs: &mut Vec<Self>, name: String, example: Example) {
        match specs.iter_mut().find(|spec| same_name(&spec.name, &name)) {
            Some(spec) => spec.examples.push(example),
            None => specs.push(Self { examples: vec![example], ..Class::new(name, Vec::new()).into() }),
        }
    }
}

impl From<Class> for WordSpec {
    fn from(class: Class) -> Self {
        let text = !class.words.is_empty();
        let synonyms = class.words.into_iter().filter(|w| *w != class.name).collect();
        Self { name: class.name, synonyms, threshold: None, colour: None, on: true, examples: Vec::new(), text }
    }
}

impl From<LiveClass> for WordSpec {
    fn from(word: LiveClass) -> Self {
        let LiveClass { name, synonyms, threshold, colour, on, examples, text, meaning: _ } = word;
        Self { name, synonyms, threshold, colour: Some(colour), on, examples, text }
    }
}

/// Checks words from `place`, trims them, and gives each without a colour the one that it had among `old`, else the first of the
/// palette that is free.
///
/// # Errors
/// [`Words`](edge_seg_model::Error::Words) if there is none or too many, one is there twice, is empty or too long, or a threshold is not in 0..1.
pub(super) fn settle(place: &str, specs: Vec<WordSpec>, old: &[LiveClass]) -> Result<Vec<LiveClass>> {
    let wrong = |expected: String, found: String| Error::words(place, expected, found);
    if specs.len() > MAX_LIVE_WORDS {
        return Err(wrong(format!("at most {MAX_LIVE_WORDS} words"), specs.len().to_string()));
    }
    let mut specs = specs;
    for spec in &mut specs {
        spec.name = tidy_word(&spec.name);
        spec.synonyms.iter_mut().for_each(|s| *s = tidy_word(s));
        if spec.examples.len() > MAX_EXAMPLES {
            return Err(wrong(format!("at most {MAX_EXAMPLES} examples"), format!("{} of {:?}", spec.examples.len(), spec.name)));
        }
        let name = spec.name.clone();
        if let Some(bare) = name.strip_prefix('-') {
            let expected = "a word without a minus; what is left out is a background word, set by PATCH /api/background";
            return Err(wrong(expected.into(), format!("{name:?}; try: {:?}", bare.trim())));
        }
        spec.synonyms.retain(|s| *s != name);
        if spec.synonyms.len() > MAX_SYNONYMS {
            return Err(wrong(format!("at most {MAX_SYNONYMS} synonyms"), format!("{} of {name:?}", spec.synonyms.len())));
        }
        if let Some(t) = spec.threshold.filter(|t| !(0.0..=1.0).contains(t)) {
            return Err(wrong("a threshold of 0 to 1".into(), format!("{t} for {name:?}")));
        }
    }
    check_classes(place, specs.iter().map(|s| Class::new(s.name.clone(), s.synonyms.clone())).collect())?;
    let had = |name: &str| old.iter().find(|w| same_name(&w.name, name)).map(|w| w.colour);
    let mut taken: Vec<_> = specs.iter().filter_map(|s| s.colour.or_else(|| had(&s.name))).collect();
    let mut words = Vec::with_capacity(specs.len());
    for WordSpec { name, synonyms, threshold, colour, on, examples, text } in specs {
        let colour = colour.or_else(|| had(&name)).unwrap_or_else(|| {
            let mut palette = (1..).map(|label| Colour(class_colour(label)));
            // There are as many colours to try as could be taken, and one more.
            let free = palette.by_ref().take(taken.len() + 1).find(|c| !taken.contains(c));
            let colour = free.unwrap_or(Colour(class_colour(taken.len() + 1)));
            taken.push(colour);
            colour
        });
        words.push(LiveClass { name, synonyms, threshold, colour, on, examples, text, meaning: None });
    }
    Ok(words)
}

/// Longest file of words as JSON that is read, as of those with a word a line.
pub(super) const MAX_FILE_BYTES: u64 = 16 << 20;

/// Reads a file with one word a line: `name`, `name: synonym, synonym`, either with ` | ` and settings behind it: `threshold 0.4`,
/// `colour #ff8800`, `off`, separated by commas. A file whose name ends in `.json` holds a list as [`WordSpec`] has it.
///
/// # Errors
/// [`Io`](edge_seg_model::Error::Io) if it cannot be read, [`Words`](edge_seg_model::Error::Words) with the line if it cannot be understood.
pub fn read_words_file(path: &Path) -> Result<Vec<WordSpec>> {
    let text = read_text_within(path, MAX_FILE_BYTES)?;
    let is_json = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
    if is_json || text.trim_start().starts_with(['[', '{']) {
        // Lists of other tools are JSON of another kind.
        match parse_words_json(&path.display().to_string(), text.as_bytes()) {
            Ok(specs) => return Ok(specs),
            Err(error) if !is_listed(&text) || is_json && read_class_lines(path).is_err() => return Err(error),
            Err(_) => {}
        }
    }
    let specs = read_class_lines(path)?.into_iter().map(|(place, class, settings)| {
        let mut spec = WordSpec::from(class);
        for setting in settings.iter().flat_map(|s| s.split(',')).map(str::trim).filter(|s| !s.is_empty()) {
            apply_setting(&place, &mut spec, setting)?;
        }
        Ok(spec)
    });
    specs.collect()
}

/// Whether JSON is another tool's list of names, and no list of words with a mistake in it.
fn is_listed(text: &str) -> bool {
    match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(keys)) => !keys.contains_key("words"),
        Ok(serde_json::Value::Array(entries)) => entries.iter().all(|entry| entry.get("id").is_some()),
        _ => false,
    }
}

/// Reads a JSON list of words, or an object with such a list as `words`.
///
/// # Errors
/// [`Words`](edge_seg_model::Error::Words) if it is none.
pub fn parse_words_json(place: &str, text: &[u8]) -> Result<Vec<WordSpec>> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "other JSON; try: [\"dog\", \"grass\"]")]
    enum Document {
        List(Vec<WordSpec>),
        Object { words: Vec<WordSpec> },
    }
    let document = serde_json::from_slice(text).map_err(|e| {
        Error::words(
            place,
            "a JSON list of words, each a string or an object of name, synonyms, threshold, colour (#rrggbb), on, or an object with such a list as `words`",
            e.to_string(),
        )
    })?;
    Ok(match document {
        Document::List(words) | Document::Object { words } => words,
    })
}

fn apply_setting(place: &str, spec: &mut WordSpec, setting: &str) -> Result<()> {
    let wrong = |expected: &str| Error::words(place, expected, format!("{setting:?}"));
    match setting.split_once([' ', '=']).map_or((setting, ""), |(key, value)| (key.trim(), value.trim())) {
        ("threshold", value) => spec.threshold = Some(value.parse().map_err(|_| wrong("threshold and a number of 0 to 1"))?),
        ("colour" | "color", value) => spec.colour = Some(value.parse().map_err(|_| wrong("colour #rrggbb"))?),
        ("on", "") => spec.on = true,
        ("off", "") => spec.on = false,
        _ => return Err(wrong("threshold T, colour #rrggbb, on or off")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_colours_and_new_ones_get_free_ones() {
        let first = settle("test", vec![Class::word("a").into(), Class::word("b").into()], &[]).unwrap();
        let specs = vec![Class::word("c").into(), Class::word("B").into(), Class::word("d").into()];
        let second = settle("test", specs, &first).unwrap();
        assert_eq!(second[1].colour, first[1].colour);
        assert_eq!(second[0].colour, first[0].colour, "a's is free again");
        let colours: std::collections::HashSet<_> = second.iter().map(|w| w.colour).collect();
        assert_eq!(colours.len(), 3);
    }

    #[test]
    fn files_of_words_in_json_are_read_whatever_their_names_end_with() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            read_words_file(&folder.path().join(name)).map_err(|e| e.to_string())
        };
        let words = r#"[{"name": "cat", "synonyms": ["kitten"], "threshold": 0.5}, "dog"]"#;
        for name in ["w.json", "w.JSON", "w.txt", "w"] {
            let read = read(name, words).unwrap();
            assert_eq!((read[0].synonyms.as_slice(), read[0].threshold), (&["kitten".to_owned()][..], Some(0.5)), "{name}");
        }
        for listed in [r#"{"id2label": {"0": "cat", "1": "dog"}}"#, r#"{"names": ["cat", "dog"]}"#, r#"{"0": "cat", "1": "dog"}"#] {
            let names: Vec<String> = read("id2label.json", listed).unwrap().into_iter().map(|word| word.name).collect();
            assert_eq!(names, ["cat", "dog"], "{listed}");
        }
        assert!(read("w.json", r#"[{"name": "cat", "treshold": 0.5, "on": true}]"#).unwrap_err().contains("name, synonyms"));
    }

    #[test]
    fn written_words_are_checked() {
        let words = |json: &str| parse_words_json("test", json.as_bytes()).and_then(|specs| settle("test", specs, &[]));
        let good = words(r##"["dog", {"name": " red car ", "synonyms": ["auto"], "threshold": 0.5, "colour": "#00fF10", "on": false}]"##);
        let good = good.unwrap();
        assert_eq!((good[1].name.as_str(), good[1].colour), ("red car", Colour([0, 255, 16])));
        assert_eq!(good[1].class().words, ["red car", "auto"]);
        for (bad, said) in [
            ("[]", "one word or more"),
            ("[\"-wall\"]", "a word without a minus"),
            (r#"["dog", "Dog"]"#, "twice"),
            (r#"[" "]"#, "1 to 1000 characters"),
            (r#"[{"name": "dog", "synonyms": ["a\u200bb"]}]"#, "can be seen"),
            (r#"["a\u0000b"]"#, "can be seen"),
            (r#"[{"name": "dog", "threshold": 1.5}]"#, "0 to 1"),
            (r#"[{"name": "dog", "colour": "red"}]"#, "name, synonyms"),
            (r#"[{"name": "dog", "treshold": 0.5}]"#, "name, synonyms"),
            (r#"{"wrods": []}"#, "words"),
            ("nonsense", "JSON"),
        ] {
            let error = words(bad).unwrap_err().to_string();
            assert!(error.contains(said), "{bad}: {error}");
        }
        let many: Vec<_> = (0..=MAX_LIVE_WORDS).map(|i| Class::word(i.to_string()).into()).collect();
        assert!(settle("test", many, &[]).is_err());
        let (longest, longer) = ("w".repeat(1000), "w".repeat(1001));
        assert_eq!(settle("test", vec![Class::word(&longest).into()], &[]).unwrap()[0].name, longest);
        let said = settle("test", vec![Class::word(&longer).into()], &[]).unwrap_err().to_string();
        assert!(said.contains("1 to 1000 characters") && said.len() < 300, "{said}");
    }
}
