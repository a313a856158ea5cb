//! What words of other languages mean in English, the one language of most text encoders.
//!
//! The lexicon is text, one line a word and language, sorted by its bytes and searched where it lies in the program: nothing is read or
//! built at the start. `export/trainer/edge_seg_trainer/lexicon.py` makes it, and folds words as [`fold`] does.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use unicode_normalization_alignments::UnicodeNormalization;
use unicode_normalization_alignments::char::is_combining_mark;

use crate::{Error, Result};

static LEXICON: &str = include_str!("lexicon.tsv");

/// Longest text that is looked up, in bytes: longer ones are no words.
const MAX_BYTES: usize = 200;
/// Words of a line of the lexicon, in Chinese characters.
const MAX_PARTS: usize = 3;
const MAX_HAN: usize = 8;
/// Near words that are told.
const MAX_NEAR: usize = 3;

/// A language that words may be written in.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Language(usize);

/// What a language brings along beside its words in the lexicon.
struct Grammar {
    code: &'static str,
    name: &'static str,
    /// Letters beside a to z that it writes.
    accents: &'static str,
    /// Words that are left out.
    articles: &'static [&'static str],
    /// Words behind which stands what the thing before them is of: a table of wood.
    of: &'static [&'static str],
    /// Words that stand between two things in English too, and what they are there.
    between: &'static [(&'static str, &'static str)],
    /// Whether one word is made of several, the last of which is the thing: Gartenstuhl.
    compounds: bool,
    /// Endings of inflected forms, and what stands in their place in the lexicon.
    endings: &'static [(&'static str, &'static str)],
    /// Whether a noun that qualifies another stands behind it.
    head_first: bool,
}

const ENGLISH: Language = Language(0);

/// In the order in which they are asked.
static GRAMMARS: [Grammar; 9] = [
    Grammar {
        code: "en",
        name: "English",
        accents: "",
        articles: &[],
        of: &[],
        between: &[],
        compounds: false,
        endings: &[],
        head_first: false,
    },
    Grammar {
        code: "de",
        name: "German",
        accents: "äöüß",
        articles: &["der", "die", "das", "den", "dem", "des", "ein", "eine", "einen", "einem", "einer", "eines"],
        of: &["aus", "von"],
        between: &[
            ("mit", "with"),
            ("ohne", "without"),
            ("und", "and"),
            ("auf", "on"),
            ("in", "in"),
            ("im", "in"),
            ("am", "at"),
            ("an", "at"),
            ("unter", "under"),
            ("neben", "next to"),
            ("vor", "in front of"),
            ("hinter", "behind"),
        ],
        compounds: true,
        endings: &[("n", ""), ("e", ""), ("en", ""), ("er", ""), ("es", ""), ("em", ""), ("s", "")],
        head_first: false,
    },
    Grammar {
        code: "es",
        name: "Spanish",
        accents: "áéíñóúü",
        articles: &["el", "la", "los", "las", "un", "una", "unos", "unas"],
        of: &["de", "del"],
        between: &[("con", "with"), ("sin", "without"), ("y", "and"), ("en", "on"), ("sobre", "on"), ("bajo", "under")],
        compounds: false,
        endings: &[("s", ""), ("es", ""), ("a", "o"), ("as", "o"), ("ces", "z")],
        head_first: true,
    },
    Grammar {
        code: "fr",
        name: "French",
        accents: "àâæçèéêëîïôœùûüÿ",
        articles: &["le", "la", "les", "l'", "un", "une"],
        of: &["de", "du", "des", "d'", "a", "au", "en"],
        between: &[
            ("avec", "with"),
            ("sans", "without"),
            ("et", "and"),
            ("sur", "on"),
            ("dans", "in"),
            ("sous", "under"),
            ("devant", "in front of"),
            ("derriere", "behind"),
        ],
        compounds: false,
        endings: &[("s", ""), ("x", ""), ("e", ""), ("es", ""), ("aux", "al")],
        head_first: true,
    },
    Grammar {
        code: "it",
        name: "Italian",
        accents: "àèéìîòóù",
        articles: &["il", "lo", "la", "l'", "i", "gli", "le", "un", "un'", "una", "uno"],
        of: &["di", "del", "della", "dello", "dei", "delle", "degli", "d'", "da", "in"],
        between: &[
            ("con", "with"),
            ("senza", "without"),
            ("e", "and"),
            ("su", "on"),
            ("sul", "on"),
            ("sulla", "on"),
            ("sullo", "on"),
            ("sull'", "on"),
            ("nel", "in"),
            ("nella", "in"),
            ("nell'", "in"),
            ("sotto", "under"),
        ],
        compounds: false,
        endings: &[("i", "o"), ("e", "a"), ("i", "e"), ("a", "o"), ("e", "o"), ("hi", "o"), ("he", "a"), ("i", "a")],
        head_first: true,
    },
    Grammar {
        code: "pt",
        name: "Portuguese",
        accents: "àáâãçéêíóôõúü",
        articles: &["o", "a", "os", "as", "um", "uma"],
        of: &["de", "do", "da", "dos", "das"],
        between: &[
            ("com", "with"),
            ("sem", "without"),
            ("e", "and"),
            ("em", "on"),
            ("no", "on"),
            ("na", "on"),
            ("sobre", "on"),
            ("sob", "under"),
        ],
        compounds: false,
        endings: &[("s", ""), ("es", ""), ("a", "o"), ("as", "o"), ("oes", "ao"), ("aes", "ao"), ("is", "l")],
        head_first: true,
    },
    Grammar {
        code: "nl",
        name: "Dutch",
        accents: "áèéêëíïóöúü",
        articles: &["de", "het", "een"],
        of: &["van"],
        between: &[
            ("met", "with"),
            ("zonder", "without"),
            ("en", "and"),
            ("op", "on"),
            ("in", "in"),
            ("onder", "under"),
            ("naast", "next to"),
            ("voor", "in front of"),
            ("achter", "behind"),
        ],
        compounds: true,
        endings: &[("en", ""), ("s", ""), ("e", ""), ("n", "")],
        head_first: false,
    },
    Grammar {
        code: "pl",
        name: "Polish",
        accents: "ąćęłńóśźż",
        articles: &[],
        of: &["z", "ze"],
        between: &[("bez", "without"), ("i", "and"), ("na", "on"), ("w", "in"), ("pod", "under")],
        compounds: false,
        endings: &[("y", ""), ("i", ""), ("a", "y"), ("e", "y"), ("y", "a"), ("i", "a"), ("e", ""), ("e", "a"), ("a", "i"), ("ie", "i")],
        head_first: false,
    },
    Grammar {
        code: "zh",
        name: "Chinese",
        accents: "",
        articles: &["的", "一", "个", "個", "只", "隻", "辆", "輛", "张", "張", "条", "條", "棵", "位"],
        of: &[],
        between: &[],
        compounds: false,
        endings: &[],
        head_first: false,
    },
];

/// Words of English sentences that no other language has between things: where one stands beside others, all are English. To the French
/// the is tea.
const ENGLISH_GRAMMAR: [&str; 17] =
    ["the", "with", "without", "of", "and", "on", "at", "from", "under", "behind", "near", "this", "that", "these", "his", "its", "my"];

impl Language {
    fn grammar(self) -> &'static Grammar {
        &GRAMMARS[self.0]
    }

    /// Its code of two letters.
    pub fn code(self) -> &'static str {
        self.grammar().code
    }

    /// Its name in English.
    pub fn name(self) -> &'static str {
        self.grammar().name
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Language {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// The languages that words are looked up in, in this order, English among them; all of them by default, English first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Languages {
    asked: Vec<Language>,
    /// Whether somebody named them: then it is worth telling what a word would mean in the next one.
    named: bool,
}

impl Default for Languages {
    fn default() -> Self {
        Self { asked: (0..GRAMMARS.len()).map(Language).collect(), named: false }
    }
}

impl Languages {
    /// None: words go to the model as they are.
    pub fn off() -> Self {
        Self { asked: Vec::new(), named: false }
    }

    /// Whether words are looked up at all.
    pub fn is_off(&self) -> bool {
        self.asked.is_empty()
    }
}

impl FromStr for Languages {
    type Err = Error;

    /// `off`, `all`, or codes separated by commas. Without `en` among them English comes first; behind `en` a language's words do not
    /// count where they are English words too.
    fn from_str(text: &str) -> Result<Self> {
        match text.trim() {
            "off" => return Ok(Self::off()),
            "all" => return Ok(Self::default()),
            _ => {}
        }
        let mut asked = Vec::new();
        for code in text.split(',').map(str::trim) {
            let known = GRAMMARS.iter().position(|grammar| code.eq_ignore_ascii_case(grammar.code)).map(Language);
            let codes: Vec<_> = GRAMMARS.iter().map(|grammar| grammar.code).collect();
            let language = known
                .ok_or_else(|| Error::option("languages", format!("off, all, or some of {}", codes.join(", ")), format!("{code:?}")))?;
            if asked.contains(&language) {
                return Err(Error::option("languages", "each language once", format!("{code} twice")));
            }
            asked.push(language);
        }
        if !asked.contains(&ENGLISH) {
            asked.insert(0, ENGLISH);
        }
        Ok(Self { asked, named: true })
    }
}

impl fmt::Display for Languages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_off(), *self == Self::default()) {
            (true, _) => f.write_str("off"),
            (_, true) => f.write_str("all"),
            _ => f.write_str(&self.asked.iter().map(|language| language.code()).collect::<Vec<_>>().join(",")),
        }
    }
}

/// What a word means in a language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Translation {
    /// The language.
    pub language: Language,
    /// The English words for it.
    pub english: String,
}

/// What the model is asked for in a word's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Meaning {
    /// The word as it is: it is English, or no languages are asked for.
    English {
        /// What it would mean in languages that somebody named.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        others: Vec<Translation>,
    },
    /// The English words that it means.
    Translated {
        /// What is looked for.
        #[serde(flatten)]
        means: Translation,
        /// What it means in languages that come later.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        others: Vec<Translation>,
    },
    /// The word as it is, though neither English nor a language that is asked for has it.
    Unknown {
        /// The part that nothing knows, where the word has several.
        #[serde(skip_serializing_if = "Option::is_none")]
        part: Option<String>,
        /// Words like it, with their English meaning where they are not English.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        near: Vec<String>,
    },
}

impl Meaning {
    /// Whether there is nothing to tell: the word is looked for as it is, as it should be.
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::English { others } if others.is_empty())
    }
}

impl fmt::Display for Meaning {
    /// What is told behind the word itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |f: &mut fmt::Formatter<'_>, others: &[Translation]| {
            others.iter().try_for_each(|other| write!(f, "; in {} it means {:?}", other.language, other.english))
        };
        match self {
            Self::English { others } => {
                f.write_str("is looked for as the English word that it is")?;
                told(f, others)
            }
            Self::Translated { means, others } => {
                write!(f, "is looked for as {:?}, its meaning in {}", means.english, means.language)?;
                told(f, others)
            }
            Self::Unknown { part, near } => {
                match part {
                    Some(part) => write!(f, "is looked for as it is, though no language has {part:?}")?,
                    None => f.write_str("is looked for as it is, though no language has it")?,
                }
                if near.is_empty() { Ok(()) } else { write!(f, "; near: {}", near.join(", ")) }
            }
        }
    }
}

/// The text that the model is asked for in a word's place.
pub(crate) fn english_of<'a>(word: &'a str, languages: &Languages) -> Cow<'a, str> {
    match look_up(word, languages, false) {
        Meaning::Translated { means, .. } => means.english.into(),
        _ => word.into(),
    }
}

/// What a word means, with what else is worth telling of it.
pub(crate) fn meaning(word: &str, languages: &Languages) -> Meaning {
    meanings(&[word], languages).pop().unwrap_or(Meaning::Unknown { part: None, near: Vec::new() })
}

/// As [`meaning`], of many words, of which the first unknown ones alone are held against all others.
pub(crate) fn meanings(words: &[&str], languages: &Languages) -> Vec<Meaning> {
    const MOST_SOUGHT: usize = 20;
    let mut sought = 0;
    let one = |word: &&str| match look_up(word, languages, true) {
        Meaning::Unknown { .. } if sought < MOST_SOUGHT => {
            sought += 1;
            let part = strange_part(word, languages);
            Meaning::Unknown { near: near(part.as_deref().unwrap_or(word), languages), part }
        }
        known => known,
    };
    words.iter().map(one).collect()
}

fn look_up(word: &str, languages: &Languages, wants_others: bool) -> Meaning {
    if languages.is_off() || word.len() > MAX_BYTES || !word.contains(char::is_alphabetic) {
        return Meaning::English { others: Vec::new() };
    }
    let (spelt, key) = (spelt(word), fold(word));
    let all_english = |least: English| {
        entry(&spelt, ENGLISH).is_some_and(|mark| is_usual(mark, false, least)) || spelt.split(' ').all(|part| is_english(part, least))
    };
    // Whoever names languages means a rare English word such as rue less likely than theirs, and whoever writes rotes Auto no form of rote.
    let usual = match (languages.named, spelt.contains(' ')) {
        (true, _) => English::Sure,
        (false, true) => English::Rare,
        (false, false) => English::RareForm,
    };
    let is_sentence = spelt.contains(' ') && spelt.split(' ').any(|part| ENGLISH_GRAMMAR.contains(&part));
    if is_sentence && all_english(English::Name) {
        return Meaning::English { others: Vec::new() };
    }
    let mut asked = languages.asked.iter().copied();
    let mut found = None;
    for language in asked.by_ref() {
        found = match language {
            ENGLISH if all_english(usual) => Some(Meaning::English { others: Vec::new() }),
            ENGLISH if languages.named => None,
            // Nobody said which: where languages differ, what most of them mean, or else the commonest English word.
            ENGLISH => commonest(&spelt, &key, languages).map(translated),
            language => translate(&key, language, Words::Known).map(|english| translated(Translation { language, english })),
        };
        if found.is_some() {
            break;
        }
    }
    let mut found = match found {
        Some(found) => found,
        // A name is English where nothing else has a word like it.
        None if all_english(English::Name) => Meaning::English { others: Vec::new() },
        None => composed(&key, languages).map_or(Meaning::Unknown { part: None, near: Vec::new() }, translated),
    };
    if matches!(&found, Meaning::Translated { means, .. } if self::spelt(&means.english) == spelt) {
        return Meaning::English { others: Vec::new() };
    }
    let (english, others) = match &mut found {
        Meaning::English { others } if languages.named => (key.clone(), others),
        Meaning::Translated { means, others } => (means.english.clone(), others),
        _ => return found,
    };
    if wants_others {
        for language in asked.filter(|language| *language != ENGLISH) {
            let other = translate(&key, language, Words::Known)
                .filter(|other| *other != english && others.iter().all(|known| known.english != *other));
            others.extend(other.map(|english| Translation { language, english }));
        }
    }
    found
}

/// What a word means that is made of others, in the first language that makes such words.
fn composed(key: &str, languages: &Languages) -> Option<Translation> {
    let mut asked = languages.asked.iter().copied().filter(|language| language.grammar().compounds);
    asked.find_map(|language| translate(key, language, Words::Composed).map(|english| Translation { language, english }))
}

fn translated(means: Translation) -> Meaning {
    Meaning::Translated { means, others: Vec::new() }
}

/// What most languages mean by a word that they have in this very form; of several meanings the commonest. A language that does not write
/// the word's accents comes last: no French word is spelt Säge.
fn commonest(word: &str, key: &str, languages: &Languages) -> Option<Translation> {
    let found: Vec<Translation> = languages
        .asked
        .iter()
        .filter(|language| **language != ENGLISH)
        .filter_map(|language| entry(key, *language).map(|english| Translation { language: *language, english: english.into() }))
        .collect();
    let accents: Vec<char> = word.chars().filter(|c| c.is_alphabetic() && !c.is_ascii()).collect();
    let rank = |one: &Translation| {
        let writes = accents.iter().all(|c| one.language.grammar().accents.contains(*c));
        let agree = found.iter().filter(|other| other.english == one.english).count();
        (writes, agree, entry(&spelt(&one.english), ENGLISH).map_or(0, commonness))
    };
    // Of equals the first.
    found.iter().rev().max_by_key(|one| rank(one)).cloned()
}

/// How common the lexicon says that an English word is.
fn commonness(mark: &str) -> u8 {
    mark.bytes().next().filter(u8::is_ascii_digit).map_or(0, |digit| digit - b'0')
}

/// A word as English has it in the lexicon: composed, in lower case, hyphens as blanks.
fn spelt(word: &str) -> String {
    let plain: String = word.nfc().map(|(c, _)| c).collect::<String>().to_lowercase();
    let plain: String = plain
        .chars()
        .map(|c| {
            if matches!(c, '-' | '‐' | '–' | '/' | '(' | ')') {
                ' '
            } else if c == '’' {
                '\''
            } else {
                c
            }
        })
        .collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A word as other languages have it in the lexicon: without accents and case, hyphens as blanks.
fn fold(word: &str) -> String {
    let mut folded = String::with_capacity(word.len());
    for c in word.nfkd().map(|(c, _)| c).collect::<String>().to_lowercase().chars().filter(|c| !is_combining_mark(*c)) {
        match c {
            'ß' => folded.push_str("ss"),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'þ' => folded.push_str("th"),
            'ł' => folded.push('l'),
            'ø' => folded.push('o'),
            'đ' | 'ð' => folded.push('d'),
            'ı' => folded.push('i'),
            '’' => folded.push('\''),
            '-' | '‐' => folded.push(' '),
            c => folded.push(c),
        }
    }
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The lexicon's lines, without its head.
fn lines() -> &'static str {
    let mut rest = LEXICON;
    while rest.starts_with('#') {
        rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
    }
    rest
}

/// The lines of a key: each a language's code and what the key means there.
fn entries(key: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let text = lines();
    let bytes = text.as_bytes();
    let line_key = |start: usize| bytes[start..].split(|b| matches!(b, b'\t' | b'\n')).next().unwrap_or_default();
    let (mut low, mut high) = (0, bytes.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start = bytes[..middle].iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1).max(low);
        match line_key(start).cmp(key.as_bytes()) {
            Ordering::Less => low = bytes[middle..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |end| middle + end + 1),
            _ => high = start,
        }
    }
    let key = key.to_owned();
    text[low..].lines().filter_map(parse).take_while(move |(found, ..)| *found == key).map(|(_, code, meaning)| (code, meaning))
}

fn parse(line: &str) -> Option<(&str, &str, &str)> {
    let (key, rest) = line.split_once('\t')?;
    let (code, meaning) = rest.split_once('\t')?;
    Some((key, code, meaning))
}

fn entry(key: &str, language: Language) -> Option<&'static str> {
    entries(key).find(|(code, _)| *code == language.code()).map(|(_, meaning)| meaning)
}

/// Endings of English forms, and what stands in their place in the lexicon. Irregular forms are there themselves.
const ENGLISH_ENDINGS: [(&str, &str); 15] = [
    ("'s", ""),
    ("s'", ""),
    ("s", ""),
    ("es", ""),
    ("ies", "y"),
    ("men", "man"),
    ("children", "child"),
    ("ing", ""),
    ("ing", "e"),
    ("ed", ""),
    ("ed", "e"),
    ("er", ""),
    ("er", "e"),
    ("est", ""),
    ("est", "e"),
];

/// How sure it is that a part is English: less so, the later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum English {
    /// A word that is met in English texts, or a form of one.
    Sure,
    /// Any word.
    Rare,
    /// Any word, or a form of one.
    RareForm,
    /// The name of somebody or some place.
    Name,
}

fn is_usual(mark: &str, is_form: bool, least: English) -> bool {
    match mark {
        "p" => least == English::Name,
        mark => commonness(mark) > 1 || least >= if is_form { English::RareForm } else { English::Rare },
    }
}

/// Whether a part is an English word or a number, as surely as that.
fn is_english(part: &str, least: English) -> bool {
    // Adjectives alone are compared.
    let is_word = |part: &str, ending: &str| {
        entry(part, ENGLISH)
            .is_some_and(|mark| is_usual(mark, !ending.is_empty(), least) && (mark.ends_with('a') || !matches!(ending, "er" | "est")))
    };
    let inflected = |(ending, instead): &(&str, &str)| {
        // Skies, cries and flies are short.
        let least = if *ending == "ies" { 2 } else { 3 };
        let base = part.strip_suffix(ending).filter(|base| base.len() >= least)?;
        if *ending == "es" && !base.ends_with(['s', 'x', 'z', 'h', 'o']) {
            return None;
        }
        let doubled = || instead.is_empty() && undoubled(base).is_some_and(|base| is_word(base, ending));
        Some(is_word(&format!("{base}{instead}"), ending) || doubled())
    };
    !part.contains(char::is_alphabetic) || is_word(part, "") || ENGLISH_ENDINGS.iter().filter_map(inflected).any(|is| is)
}

/// Without the last of two like consonants: running, katten.
fn undoubled(base: &str) -> Option<&str> {
    let mut last = base.chars().rev();
    let (a, b) = (last.next()?, last.next()?);
    (a == b && !"aeiou".contains(a)).then(|| &base[..base.len() - a.len_utf8()])
}

/// What a folded text means in a language: a word, or several with an adjective or what the thing is of.
fn translate(key: &str, language: Language, which: Words) -> Option<String> {
    if let Some(english) = form(key, language) {
        return Some(english.into());
    }
    let parts = if language.code() == "zh" { cut_chinese(key, language)? } else { cut(key, language, which)? };
    compose(&parts, language.grammar())
}

/// Which words of a text are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Words {
    /// Those that the lexicon has, in any form.
    Known,
    /// Those that are made of them as well.
    Composed,
}

/// A part of a text.
enum Part {
    Means(&'static str),
    Of,
    Between(&'static str),
}

fn cut(key: &str, language: Language, which: Words) -> Option<Vec<Part>> {
    let spaced = key.replace('\'', "' ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let grammar = language.grammar();
    let (mut parts, mut at) = (Vec::new(), 0);
    while at < words.len() {
        let longest = (1..=MAX_PARTS.min(words.len() - at)).rev().find_map(|count| {
            let several = words[at..at + count].join(" ");
            let found = if count > 1 { entry(&several, language) } else { None };
            found.map(|english| (count, english))
        });
        if let Some((count, english)) = longest {
            parts.push(Part::Means(english));
            at += count;
            continue;
        }
        let word = words[at];
        let inside = at > 0 && at + 1 < words.len();
        let between = grammar.between.iter().find(|(known, _)| inside && *known == word);
        if inside && grammar.of.contains(&word) {
            // `de la`: the article behind it is left out below.
            parts.push(Part::Of);
        } else if let Some((_, english)) = between {
            parts.push(Part::Between(english));
        } else if at + 1 < words.len() && grammar.articles.contains(&word) {
            // Nothing to look for.
        } else {
            match form(word, language) {
                Some(english) => parts.push(Part::Means(english)),
                None if which == Words::Composed => parts.extend(compound(word, language)?.map(Part::Means)),
                None => return None,
            }
        }
        at += 1;
    }
    Some(parts)
}

/// Chinese has no blanks: the longest words from the left.
fn cut_chinese(key: &str, language: Language) -> Option<Vec<Part>> {
    let signs: Vec<char> = key.chars().filter(|c| !c.is_whitespace()).collect();
    let (mut parts, mut at) = (Vec::new(), 0);
    while at < signs.len() {
        let longest = (1..=MAX_HAN.min(signs.len() - at)).rev().find_map(|count| {
            let several: String = signs[at..at + count].iter().collect();
            let is_article = language.grammar().articles.contains(&several.as_str()) && signs.len() > 1;
            let english = if is_article { Some("") } else { entry(&several, language) };
            english.map(|english| (count, english))
        });
        let (count, english) = longest?;
        if !english.is_empty() {
            parts.push(Part::Means(english));
        }
        at += count;
    }
    Some(parts)
}

/// A word as the lexicon has it, or the form of one.
fn form(word: &str, language: Language) -> Option<&'static str> {
    let find = |word: &str| entry(word, language);
    let inflected = |word: &str| {
        language.grammar().endings.iter().find_map(|(ending, instead)| {
            let base = word.strip_suffix(ending).filter(|base| base.chars().count() >= 3 || !instead.is_empty())?;
            match language.code() {
                "nl" if *ending == "s" => find(base),
                "nl" => lengthened(base).and_then(|base| find(&base)).or_else(|| find(undoubled(base)?)).or_else(|| find(base)),
                _ => find(&format!("{base}{instead}")),
            }
        })
    };
    let direct = find(word).or_else(|| inflected(word));
    if direct.is_some() || language.code() != "de" {
        return direct;
    }
    // As umlauts are written where there are none.
    let plain = word.replace("ae", "a").replace("oe", "o").replace("ue", "u");
    if plain == word { None } else { find(&plain).or_else(|| inflected(&plain)) }
}

/// Letters of each part of a compound: shorter ones are found in any word.
const PART_LETTERS: usize = 4;

/// What a word is made of: one that the lexicon has, perhaps with what joins it to the other, and the longest behind it that it has in any
/// form.
fn compound(word: &str, language: Language) -> Option<[&'static str; 2]> {
    let joints = if language.code() == "de" { &["", "s", "n", "e", "es", "en", "er"][..] } else { &["", "s", "en", "e"] };
    let cuts = word.char_indices().map(|(at, _)| at).skip(PART_LETTERS);
    cuts.filter(|at| word[*at..].chars().count() >= PART_LETTERS).find_map(|at| {
        let (before, thing) = word.split_at(at);
        let known = |joint: &&str| before.strip_suffix(*joint).filter(|b| b.len() >= PART_LETTERS).and_then(|b| entry(b, language));
        Some([joints.iter().find_map(known)?, form(thing, language)?])
    })
}

/// Dutch writes a long vowel once in front of one consonant and a vowel: bomen, of boom.
fn lengthened(base: &str) -> Option<String> {
    let consonant = base.chars().next_back()?;
    let before = &base[..base.len() - consonant.len_utf8()];
    let vowel = before.chars().next_back().filter(|c| "aeou".contains(*c))?;
    let stem = match consonant {
        'z' => 's',
        'v' => 'f',
        other => other,
    };
    (!"aeiou".contains(consonant)).then(|| format!("{before}{vowel}{stem}"))
}

/// English order: what the thing is of, then adjectives, then the thing.
fn compose(parts: &[Part], grammar: &Grammar) -> Option<String> {
    let mut said: Vec<String> = Vec::new();
    for part in parts.chunk_by(|_, next| !matches!(next, Part::Between(_))) {
        match part.split_first()? {
            (Part::Between(english), things) => said.extend([(*english).to_owned(), composed_thing(things, grammar)?]),
            _ => said.push(composed_thing(part, grammar)?),
        }
    }
    Some(said.join(" "))
}

/// A thing with what is said of it.
fn composed_thing(parts: &[Part], grammar: &Grammar) -> Option<String> {
    let mut groups: Vec<Vec<&str>> = vec![Vec::new()];
    for part in parts {
        match part {
            Part::Of => groups.push(Vec::new()),
            Part::Means(english) => groups.last_mut()?.push(english),
            Part::Between(_) => return None,
        }
    }
    if groups.iter().any(Vec::is_empty) || groups.iter().map(Vec::len).sum::<usize>() > 6 {
        return None;
    }
    let ordered = groups.iter().rev().flat_map(|group| {
        let (adjectives, mut nouns): (Vec<&str>, Vec<&str>) = group.iter().partition(|english| is_adjective(english));
        if grammar.head_first {
            nouns.reverse();
        }
        adjectives.into_iter().chain(nouns)
    });
    Some(ordered.collect::<Vec<_>>().join(" "))
}

fn is_adjective(english: &str) -> bool {
    entry(&spelt(english), ENGLISH).is_some_and(|mark| mark.ends_with('a'))
}

/// The part of several that no language has; none where there is one, or each is some language's.
fn strange_part(word: &str, languages: &Languages) -> Option<String> {
    let spelt = spelt(word);
    let strange = |part: &&str| {
        let key = fold(part);
        let has = |l: &Language| {
            let grammar = l.grammar();
            let joins = grammar.of.contains(&key.as_str()) || grammar.between.iter().any(|(known, _)| *known == key);
            joins || *l != ENGLISH && form(&key, *l).is_some()
        };
        !is_english(part, English::Name) && !languages.asked.iter().any(has)
    };
    spelt.split_once(' ')?;
    spelt.split(' ').find(strange).map(Into::into)
}

/// Words that differ from an unknown one by a slip or two, the likeliest first.
fn near(word: &str, languages: &Languages) -> Vec<String> {
    let part = fold(word);
    let most = match part.chars().count() {
        0..=3 => return Vec::new(),
        4..=5 => 1,
        _ => 2,
    };
    let letters = letters(&part);
    let mut found: Vec<(usize, std::cmp::Reverse<u8>, &str, &str, &str)> = Vec::new();
    for (candidate, code, meaning) in lines().lines().filter_map(parse) {
        // Each slip changes two letters of the set at most.
        if candidate.len().abs_diff(part.len()) > 3 * most || (self::letters(candidate) ^ letters).count_ones() as usize > 2 * most {
            continue;
        }
        let asked = languages.asked.iter().any(|language| language.code() == code);
        if !asked || meaning == "p" || found.iter().any(|(.., known, _, _)| *known == candidate) {
            continue;
        }
        let distance = strsim::osa_distance(candidate, &part);
        if distance <= most {
            let common = if code == "en" { commonness(meaning) } else { 4 };
            found.push((distance, std::cmp::Reverse(common), candidate, code, meaning));
        }
    }
    found.sort_unstable();
    found.truncate(MAX_NEAR);
    let told = |(_, _, candidate, code, meaning): (_, _, &str, &str, &str)| {
        if code == "en" { candidate.to_owned() } else { format!("{candidate} ({meaning})") }
    };
    found.into_iter().map(told).collect()
}

/// Which letters a text has, one bit each; all others share one.
fn letters(text: &str) -> u32 {
    text.bytes().fold(0, |set, b| set | 1 << if b.is_ascii_lowercase() { b - b'a' } else { 31 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn english(word: &str, languages: &str) -> String {
        english_of(word, &languages.parse().unwrap()).into_owned()
    }

    #[test]
    fn the_lexicon_is_what_it_says() {
        let (head, body) = LEXICON.split_at(LEXICON.len() - lines().len());
        assert!(head.lines().count() > 5 && head.contains("CC BY") && head.contains("Unicode License"), "{head}");
        let mut before = "";
        for line in body.lines() {
            let (key, code, meaning) = parse(line).unwrap_or_else(|| panic!("{line:?}: expected three columns"));
            assert!(before < line, "{line:?} stands behind {before:?}");
            before = line;
            let language = GRAMMARS.iter().find(|grammar| grammar.code == code).unwrap_or_else(|| panic!("{line:?}: no such language"));
            if language.code == "en" {
                assert_eq!(spelt(key), key, "{line:?}");
                let digit = meaning.trim_end_matches('a');
                assert!(meaning == "p" || digit.len() == 1 && digit.as_bytes()[0].is_ascii_digit(), "{line:?}");
            } else {
                assert_eq!(fold(key), key, "{line:?}");
                assert!(meaning.split([' ', '-']).all(|part| is_english(&spelt(part), English::Name)), "{line:?}");
            }
        }
        for grammar in GRAMMARS.iter().skip(1) {
            let count = body.lines().filter_map(parse).filter(|(_, code, _)| *code == grammar.code).count();
            assert!(count > 3000, "{}: {count} words", grammar.name);
        }
    }

    #[test]
    fn every_line_is_found_and_what_lies_between_is_not() {
        for line in lines().lines().step_by(97).chain(lines().lines().take(2)).chain(lines().lines().last()) {
            let (key, code, meaning) = parse(line).unwrap();
            assert!(entries(key).any(|found| found == (code, meaning)), "{line:?}");
            assert_eq!(entries(&format!("{key}\u{1}")).count(), 0, "{line:?}");
        }
        for nothing in ["", "#", "\t", "\u{10ffff}", "zzzzzzz", "hund\tde", "\n"] {
            assert_eq!(entries(nothing).count(), 0, "{nothing:?}");
        }
    }

    #[test]
    fn umlauts_accents_and_case_never_matter() {
        for (word, meant) in [
            ("Löffel", "spoon"),
            ("Lo\u{308}ffel", "spoon"),
            ("LÖFFEL", "spoon"),
            ("loeffel", "spoon"),
            ("loffel", "spoon"),
            ("Straße", "road"),
            ("STRASSE", "road"),
            ("Fenêtre", "window"),
            ("fene\u{302}tre", "window"),
            ("FENETRE", "window"),
            ("árbol", "tree"),
            ("ARBOL", "tree"),
            ("łóżko", "bed"),
            ("LOZKO", "bed"),
            ("avião", "plane"),
            ("汽车", "car"),
            (" Hund ", "dog"),
        ] {
            assert_eq!(english(word, "all"), meant, "{word}");
        }
    }

    #[test]
    fn english_words_stay_what_they_are() {
        for word in [
            "chat",
            "main",
            "pain",
            "boot",
            "gift",
            "hut",
            "dogs",
            "parked cars",
            "children",
            "traffic light",
            "e-scooter",
            "T-shirt",
            "skies",
            "policemen",
            "schoolchildren",
            "German shepherd",
            "German",
            "labrador",
            "SUV",
            "skatepark",
            "hoodie",
            "42",
            "",
            "!",
        ] {
            assert_eq!(english(word, "all"), word);
            assert_eq!(english(word, "fr,de"), word);
        }
        assert_eq!((english("chat", "fr,en"), english("Hut", "de,en")), ("cat".into(), "hat".into()));
        assert_eq!((english("Hund", "off"), english("Hund", "fr")), ("Hund".into(), "Hund".into()));
        for word in ["café", "Nice", "fleur-de-lis"] {
            assert_eq!(english(word, "all"), word);
        }
        // A word that English texts hardly have stays English, unless somebody says that it is French.
        assert_eq!((english("camion", "all"), english("camion", "fr")), ("camion".into(), "truck".into()));
        let meant = meaning("chat", &"fr".parse().unwrap());
        assert!(meant.to_string().ends_with("; in French it means \"cat\""), "{meant}");
        assert!(meaning("chat", &Languages::default()).is_plain(), "whoever named no language is not told of each");
    }

    #[test]
    fn adjectives_and_what_a_thing_is_of_come_before_it() {
        for (phrase, meant) in [
            ("rotes Auto", "red car"),
            ("ein rotes Auto", "red car"),
            ("die weißen Häuser", "white house"),
            ("voiture rouge", "red car"),
            ("la grande voiture rouge", "large red car"),
            ("coche rojo", "red car"),
            ("flores rojas", "red flower"),
            ("macchina rossa", "red car"),
            ("mesa de madera", "wooden table"),
            ("Tasse aus Glas", "glass cup"),
            ("rode fiets", "red bicycle"),
            ("czerwony samochód", "red car"),
            ("红色汽车", "red car"),
            ("红色的汽车", "red car"),
            ("Bäume", "tree"),
            ("Baeume", "tree"),
            ("bomen", "tree"),
            ("katten", "cat"),
            ("animaux", "animal"),
        ] {
            assert_eq!(english(phrase, "all"), meant, "{phrase}");
        }
        for (phrase, meant) in [
            ("die Frau mit Hut", "woman with hat"),
            ("ein Mann auf einem Fahrrad", "man on bicycle"),
            ("Hund im Gras", "dog in grass"),
            ("roter Stuhl neben dem Tisch", "red chair next to table"),
            ("perro en la hierba", "dog on grass"),
            ("mujer con sombrero rojo", "woman with red hat"),
            ("chien sur l'herbe", "dog on grass"),
            ("chat noir dans une boîte", "black cat in box"),
            ("gatto sulla sedia", "cat on chair"),
            ("cachorro na grama", "dog on grass"),
            ("hond op het gras", "dog on grass"),
            ("Feuerwehrauto", "fire truck"),
            ("Gartentisch", "garden table"),
            ("rote Gartentische", "red garden table"),
        ] {
            assert_eq!(english(phrase, "all"), meant, "{phrase}");
        }
        // An English sentence is one, whatever its words mean elsewhere.
        for phrase in ["the dame", "the dame with the hut", "dame on the chaise", "the rue"] {
            assert_eq!((english(phrase, "all"), english(phrase, "fr")), (phrase.into(), phrase.into()), "{phrase}");
        }
        assert_eq!(english("thé vert", "all"), "green tea");
        // A word that is unknown makes the phrase unknown, and nothing is made up.
        assert_eq!(english("rotes Xyzzyplugh", "all"), "rotes Xyzzyplugh");
        let meant = meaning("rotes Xyzzyplugh", &Languages::default());
        assert_eq!(meant, Meaning::Unknown { part: Some("xyzzyplugh".into()), near: Vec::new() });
    }

    #[test]
    fn people_and_what_is_private_are_meant_rightly() {
        for (words, meant) in [
            ("Personen personne pessoa personen osoby", "person"),
            ("cara rostro visage visages volti rostos gezichten twarze 人脸 臉", "face"),
            ("Köpfe cabezas têtes teste cabeças hoofden głowy 头部", "head"),
            ("Hände manos mãos handen ręce 双手", "hand"),
            ("Nummernschild Kennzeichen matrícula kenteken 車牌", "license plate"),
            ("Bildschirme pantallas écrans schermi telas beeldschermen ekrany 螢幕", "screen"),
            ("Fenstern ventanas fenêtres finestre janelas vensters okna", "window"),
            ("Haustür puertas portes deuren 門", "door"),
            ("Frauen mujeres femmes donne mulheres vrouwen kobiety", "women"),
        ] {
            for word in words.split(' ') {
                assert_eq!(english(word, "all"), meant, "{word}");
            }
        }
    }

    #[test]
    fn accents_say_which_language_is_meant() {
        // Without them: wise in French, willow in French, a bar in French.
        for (word, meant) in [("Säge", "saw"), ("Säule", "pillar"), ("Bär", "bear"), ("vélo", "bicycle"), ("cień", "shadow")] {
            assert_eq!(english(word, "all"), meant, "{word}");
        }
    }

    #[test]
    fn an_unknown_word_gets_near_ones() {
        for (word, near) in [("bycicle", "bicycle"), ("Fahrad", "fahrrad (bicycle)"), ("umbrela", "umbrella"), ("red bycicle", "bicycle")] {
            match meaning(word, &Languages::default()) {
                Meaning::Unknown { near: found, .. } => assert!(found.iter().any(|n| n == near), "{word}: {found:?}"),
                other => panic!("{word}: {other:?}"),
            }
        }
        assert_eq!(meaning("qqqqqqqqqqqq", &Languages::default()), Meaning::Unknown { part: None, near: Vec::new() });
        let said = meaning("umbrela", &Languages::default()).to_string();
        assert!(said.contains("no language has it") && said.contains("umbrella"), "{said}");
    }

    #[test]
    fn nothing_that_is_typed_panics() {
        let odd = [
            "'",
            "l'",
            "de",
            "de de de",
            "的",
            "的的",
            "\u{301}",
            "ſ",
            "İ",
            "🐕",
            "👩\u{200d}🔬",
            "a'b'c",
            "ﬁsh",
            "-",
            "--",
            "ae",
            "ß",
            "x of y",
            "のの",
        ];
        let long = "ä".repeat(300);
        for word in odd.into_iter().chain([long.as_str()]) {
            for languages in ["all", "off", "zh", "de,en", "pl,it"] {
                let languages = languages.parse().unwrap();
                meaning(word, &languages);
                english_of(word, &languages);
            }
        }
    }

    #[test]
    fn languages_are_read_as_they_are_written() {
        for (text, shown) in [("all", "all"), ("off", "off"), ("de, FR", "en,de,fr"), ("fr,en", "fr,en"), ("en", "en")] {
            let languages: Languages = text.parse().unwrap();
            assert_eq!(languages.to_string(), shown);
            assert_eq!(shown.parse::<Languages>().unwrap(), languages);
        }
        for wrong in ["", "xx", "de,", "de;fr", "de,de", "german"] {
            let said = wrong.parse::<Languages>().unwrap_err().to_string();
            assert!(said.starts_with("languages: expected "), "{wrong:?}: {said}");
        }
    }

    #[test]
    fn a_word_of_two_languages_is_the_first_ones() {
        let meant = meaning("carta", &"es,it".parse().unwrap());
        assert!(matches!(&meant, Meaning::Translated { means, .. } if means.language.code() == "es"), "{meant:?}");
        // Nobody says which: what most of them mean, and else the commonest English word.
        assert_eq!((english("casa", "all"), english("kot", "all")), ("house".into(), "cat".into()));
        let meant = meaning("carta", &"it,es".parse().unwrap());
        assert!(matches!(&meant, Meaning::Translated { means, .. } if means.language.code() == "it"), "{meant:?}");
    }
}
