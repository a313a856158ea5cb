//! Lists of classes in the files of other tools: which kinds there are, and how each is told from the others.

use crate::text::{shown_line, tidy_word};
use crate::{Error, Result};

/// A class of a list: its number and colour where the file has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The number that label pictures have for it.
    pub id: Option<u32>,
    /// Its name.
    pub name: String,
    /// Red, green, blue of its pixels.
    pub colour: Option<[u8; 3]>,
    /// Other words for it.
    pub synonyms: Vec<String>,
}

/// A name and red, green, blue.
type Coloured = (String, [u8; 3]);

/// Content lines with their numbers from 1, comments and empty lines left out.
pub(super) fn content(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).map(|(n, line)| (n, without_comment(line))).filter(|(_, line)| !line.is_empty())
}

/// A line without its comment: from a `#` at its start, or one between blanks.
pub(super) fn without_comment(line: &str) -> &str {
    let line = line.trim();
    if line.starts_with('#') {
        return "";
    }
    let lone = |at: &usize| line[..*at].ends_with(char::is_whitespace) && line[at + 1..].chars().next().is_none_or(char::is_whitespace);
    match line.match_indices('#').map(|(at, _)| at).find(lone) {
        Some(at) => line[..at].trim_end(),
        None => line,
    }
}

fn wrong(place: &str, line: usize, expected: &str, found: &str) -> Error {
    Error::Words { place: format!("{place}:{line}"), expected: expected.into(), found: shown_line(found) }
}

/// The fields of a row, quotes taken off as spreadsheets put them on: `"a, b"` is one field, `""` in it a quote.
pub fn split_row(line: &str, separator: char) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.trim().is_empty() => {
                field.clear();
                quoted = true;
            }
            c if c == separator && !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    // A quote that nothing ends is none: it stays, to be seen.
    fields.push(if quoted { format!("\"{field}") } else { field });
    fields.into_iter().map(|f| unquoted(f.trim()).into()).collect()
}

/// A word without a pair of quotes around it.
pub(super) fn unquoted(word: &str) -> &str {
    let pairs = [('"', '"'), ('\'', '\''), ('“', '”'), ('‘', '’'), ('`', '`')];
    let inner = pairs.iter().find_map(|(open, close)| word.strip_prefix(*open)?.strip_suffix(*close));
    inner.map_or(word, str::trim)
}

/// The names behind the code that begins a line: WordNet's (`n01440764 tench, Tinca tinca`, ImageNet's `synset_words.txt`) or a Freebase
/// one (`/m/011k07,Tortoise`, Open Images' `class-descriptions.csv`).
fn behind_code(line: &str) -> Option<Vec<String>> {
    let is_freebase = ["/m/", "/g/", "/t/"].iter().any(|mark| line.starts_with(mark));
    if let Some((_, name)) = line.split_once(',').filter(|_| is_freebase) {
        return Some(vec![unquoted(name.trim()).into()]);
    }
    let (code, names) = line.split_once([' ', '\t'])?;
    let digits = code.strip_prefix('n')?;
    let is_wordnet = digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit());
    is_wordnet.then(|| names.split(',').map(Into::into).collect())
}

/// What separates the columns of a table whose first line this is: a tab, a semicolon or a comma.
pub fn separator(line: &str) -> Option<char> {
    ['\t', ';', ','].into_iter().find(|c| line.contains(*c))
}

/// A list in one of the forms that say by themselves what they are: VOC's `labelmap.txt` (`name:r,g,b:parts:actions`), CamVid's
/// `label_colors.txt` (`r g b name`, also behind the name), YAML with a key `names` (Ultralytics' `data.yaml`), JSON (names, names by numbers, COCO's
/// categories), TensorFlow's label maps, LabelMe's `labels.txt` with its first two names.
/// `None` if it is none of them.
///
/// # Errors
/// [`Error::Words`], with the line, if it is one of them and broken.
pub fn read_listed(place: &str, text: &str) -> Result<Option<Vec<Listed>>> {
    let bare = |name: &str| Listed { id: None, name: tidy_word(name), colour: None, synonyms: Vec::new() };
    let all = |parse: fn(&str) -> Option<Coloured>| {
        let rows: Option<Vec<_>> = content(text).map(|(_, line)| parse(line)).collect();
        rows.filter(|rows| !rows.is_empty())
    };
    if let Some(rows) = all(label_map_row).or_else(|| all(colour_row)) {
        let with_colour =
            |(i, (name, colour)): (usize, (String, [u8; 3]))| Listed { id: Some(i as u32), colour: Some(colour), ..bare(&name) };
        return Ok(Some(rows.into_iter().enumerate().map(with_colour).collect()));
    }
    if let Some(names) = yaml_names(place, text)? {
        return Ok(Some(names.into_iter().map(|(id, name)| Listed { id: Some(id), ..bare(&name) }).collect()));
    }
    if text.trim_start().starts_with(['[', '{']) {
        return json_list(place, text).map(Some);
    }
    Ok(label_map_items(place, text)?.or_else(|| labelme_list(text)).or_else(|| numbered_behind(text)))
}

/// Names with their numbers behind them: `cat 0`, `cat,0`, `cat: 0`, `cat = 0`. `None` unless the numbers of all lines, of two at least,
/// are counted from 0 or 1 and their names differ, as those of the words `route 1` and `route 2` do not.
fn numbered_behind(text: &str) -> Option<Vec<Listed>> {
    const BETWEEN: [char; 5] = ['=', ':', ',', ';', '\t'];
    let row = |line: &str| {
        let name = line.trim_end_matches(|c: char| c.is_ascii_digit());
        let id: u32 = line[name.len()..].parse().ok()?;
        let inner = name.trim_end().trim_end_matches(BETWEEN).trim_end();
        let parted = inner.len() < name.len() && !inner.contains(BETWEEN) && inner.contains(char::is_alphabetic);
        parted.then(|| Listed { id: Some(id), name: tidy_word(unquoted(inner)), colour: None, synonyms: Vec::new() })
    };
    let mut found: Vec<Listed> = content(text).map(|(_, line)| row(line)).collect::<Option<_>>()?;
    found.sort_by_key(|listed| listed.id);
    let first = found.first()?.id.filter(|first| *first < 2)?;
    let counted = (first..).zip(&found).all(|(id, listed)| listed.id == Some(id));
    let mut names: Vec<String> = found.iter().map(|listed| listed.name.to_lowercase()).collect();
    names.sort();
    names.dedup();
    (found.len() > 1 && counted && names.len() == found.len()).then_some(found)
}

/// Lines without the marks of a list in YAML or Markdown, where each has one.
pub(super) fn without_bullets(lines: &mut [(usize, &str)]) {
    for mark in ["- ", "* ", "• "] {
        if lines.iter().all(|(_, line)| line.starts_with(mark)) {
            lines.iter_mut().for_each(|(_, line)| *line = line[mark.len()..].trim_start());
        }
    }
}

/// `name:r,g,b:parts:actions`.
fn label_map_row(line: &str) -> Option<Coloured> {
    let mut fields = line.rsplitn(4, ':');
    let (_, _, colour, name) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let parts: Vec<u8> = colour.split(',').map(|v| v.trim().parse().ok()).collect::<Option<_>>()?;
    Some((name.trim().to_string(), parts.try_into().ok()?)).filter(|(name, _)| !name.is_empty())
}

/// `r g b name` or `name r g b`, with blanks or commas between.
fn colour_row(line: &str) -> Option<Coloured> {
    let of = |fields: &[&str]| -> Option<Coloured> {
        let colour = |parts: &[&str]| -> Option<[u8; 3]> {
            parts.iter().map(|part| part.parse().ok()).collect::<Option<Vec<u8>>>()?.try_into().ok()
        };
        let (front, names_behind) = fields.split_at_checked(3)?;
        let (names, back) = fields.split_at_checked(fields.len() - 3)?;
        let (colour, names) = match (colour(front), colour(back)) {
            (Some(colour), _) => (colour, names_behind),
            (_, colour) => (colour?, names),
        };
        Some((names.join(" "), colour)).filter(|(name, _)| name.contains(char::is_alphabetic))
    };
    let blanks: Vec<&str> = line.split_whitespace().collect();
    let commas: Vec<&str> = line.split([',', ';']).map(str::trim).collect();
    of(&blanks).or_else(|| of(&commas).filter(|_| commas.len() == 4))
}

/// A JSON list of names, names by their numbers or numbers by their names, or a list of objects as COCO's `categories` are.
fn json_list(place: &str, text: &str) -> Result<Vec<Listed>> {
    use serde_json::Value;
    let expected = "a JSON list of names, names by their numbers, or a list of objects with `name` and `id`, as COCO's categories are";
    let fail = |found: String| Error::Words { place: place.into(), expected: expected.into(), found };
    let parsed: Value = serde_json::from_str(text).map_err(|e| fail(e.to_string()))?;
    // Data sets and configurations hold them beside other keys.
    let inner = ["id2label", "names", "categories", "labels", "classes", "label2id"].iter().find_map(|key| parsed.get(key));
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.trim().parse().ok()).and_then(|id| u32::try_from(id).ok());
    let entry = |value: &Value| -> Result<Listed> {
        let text = |keys: &[&str]| keys.iter().find_map(|key| value.get(key)?.as_str()).map(tidy_word);
        let name = value.as_str().map(tidy_word).or_else(|| text(&["readable", "name", "label", "title"]));
        let name = name.filter(|name| !name.is_empty()).ok_or_else(|| fail(shown_line(&value.to_string())))?;
        let colour = ["color", "colour"].iter().find_map(|key| json_colour(value.get(key)?));
        let id = ["id", "category_id", "index"].iter().find_map(|key| number(value.get(key)?));
        Ok(Listed { id, name, colour, synonyms: Vec::new() })
    };
    let mut found: Vec<Listed> = match inner.unwrap_or(&parsed) {
        Value::Array(entries) => entries.iter().map(entry).collect::<Result<_>>()?,
        Value::Object(entries) => {
            let pair = |(key, value): (&String, &Value)| -> Result<Listed> {
                match (key.trim().parse(), number(value)) {
                    (Ok(id), _) => Ok(Listed { id: Some(id), ..entry(value)? }),
                    (_, Some(id)) if value.is_number() => {
                        Ok(Listed { id: Some(id), name: tidy_word(key), colour: None, synonyms: Vec::new() })
                    }
                    _ => Err(fail(format!("the key {} with {}", shown_line(key), shown_line(&value.to_string())))),
                }
            };
            entries.iter().map(pair).collect::<Result<_>>()?
        }
        other => return Err(fail(shown_line(&other.to_string()))),
    };
    let numbered = found.iter().filter(|listed| listed.id.is_some()).count();
    if numbered == 0 {
        (0..).zip(&mut found).for_each(|(at, listed)| listed.id = Some(at));
    } else if let Some(without) = found.iter().find(|listed| listed.id.is_none()) {
        return Err(fail(format!("{} without a number, beside others that have one", shown_line(&without.name))));
    }
    found.sort_by_key(|listed| listed.id);
    if let Some(pair) = found.windows(2).find(|pair| pair[0].id == pair[1].id) {
        return Err(fail(format!("one number for {} and {}", shown_line(&pair[0].name), shown_line(&pair[1].name))));
    }
    Ok(found)
}

/// `[r, g, b]` or `"#rrggbb"`.
fn json_colour(value: &serde_json::Value) -> Option<[u8; 3]> {
    if let Some(digits) = value.as_str().and_then(|text| text.strip_prefix('#')) {
        let colour = u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 6)?;
        return Some([colour >> 16, colour >> 8, colour].map(|part| part as u8));
    }
    let parts: Vec<u8> = value.as_array()?.iter().take(3).map(|part| u8::try_from(part.as_u64()?).ok()).collect::<Option<_>>()?;
    parts.try_into().ok()
}

/// TensorFlow's label maps: `item { id: 1 name: 'cat' }`. `None` of what does not begin so.
fn label_map_items(place: &str, text: &str) -> Result<Option<Vec<Listed>>> {
    let plain: String = text.lines().map(|line| without_comment(line).to_owned() + "\n").collect();
    if !plain.trim_start().strip_prefix("item").is_some_and(|rest| rest.trim_start().starts_with('{')) {
        return Ok(None);
    }
    let begins = |at: &usize| plain[at + "item".len()..].trim_start().starts_with('{');
    let starts: Vec<usize> = plain.match_indices("item").map(|(at, _)| at).filter(begins).collect();
    let mut found = Vec::new();
    for (start, end) in starts.iter().zip(starts.iter().skip(1).chain([&plain.len()])) {
        let item = &plain[*start..*end];
        let value = |key: &str| {
            let (_, rest) = item.match_indices(key).map(|(at, _)| item.split_at(at + key.len())).find(|(before, rest)| {
                let begins = before[..before.len() - key.len()].ends_with(|c: char| c.is_whitespace() || c == '{' || c == ',');
                begins && rest.trim_start().starts_with(':')
            })?;
            let rest = rest.trim_start()[1..].trim_start();
            let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
            let text = match quote {
                Some(quote) => rest[1..].split(quote).next(),
                None => rest.split(|c: char| c.is_whitespace() || matches!(c, ',' | '}')).next(),
            };
            text.map(tidy_word).filter(|text| !text.is_empty())
        };
        let wrong = || Error::Words {
            place: place.into(),
            expected: "`item { id: NUMBER name: 'NAME' }`, as TensorFlow's label maps have it".into(),
            found: shown_line(&item.split_whitespace().collect::<Vec<_>>().join(" ")),
        };
        // A name may be a code, such as `/m/01g317`, and then this is what it stands for.
        let name = value("display_name").or_else(|| value("name")).ok_or_else(wrong)?;
        let id = value("id").and_then(|id| id.parse().ok()).ok_or_else(wrong)?;
        found.push(Listed { id: Some(id), name, colour: None, synonyms: Vec::new() });
    }
    Ok(Some(found))
}

/// LabelMe's lists, whose first names say from where they are counted: `__ignore__` for what is not known, `_background_` for 0.
fn labelme_list(text: &str) -> Option<Vec<Listed>> {
    let names: Vec<&str> = content(text).map(|(_, line)| line).collect();
    let (ignored, rest) =
        names.split_first().filter(|(first, _)| **first == "__ignore__").map_or((false, &names[..]), |(_, rest)| (true, rest));
    if rest.first() != Some(&"_background_") {
        return None;
    }
    let ignored = ignored.then_some((IGNORED, "__ignore__"));
    let counted = (0..).zip(rest.iter().copied());
    let listed = |(id, name): (u32, &str)| Listed { id: Some(id), name: tidy_word(name), colour: None, synonyms: Vec::new() };
    Some(ignored.into_iter().chain(counted).map(listed).collect())
}

/// The value of what is not known, in label pictures of 8 bits.
const IGNORED: u32 = 255;

/// What LabelMe's lists hold that is no class: its background and what is not known.
pub fn is_labelme_mark(name: &str) -> bool {
    matches!(name, "__ignore__" | "_background_")
}

/// The names of a YAML document's key `names`: a list or numbered names, in blocks or in brackets. `None` without such a key.
fn yaml_names(place: &str, text: &str) -> Result<Option<Vec<(u32, String)>>> {
    let lines: Vec<(usize, &str)> = (1..).zip(text.lines()).collect();
    let head = lines.iter().position(|(_, line)| {
        let rest = line.strip_prefix("names:").map(|rest| without_comment(rest).trim_start());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '{']))
    });
    let Some(head) = head else { return Ok(None) };
    let expected = "`names:` with a list, or with numbered names, as Ultralytics' data.yaml has it";
    let rest = without_comment(&lines[head].1["names:".len()..]);
    let mut entries: Vec<(usize, String)> = Vec::new();
    let mut in_brackets = !rest.is_empty();
    if in_brackets {
        let (mut flow, mut last) = (String::new(), head);
        let close = if rest.trim_start().starts_with('[') { ']' } else { '}' };
        for (at, (_, line)) in lines.iter().enumerate().skip(head) {
            let line = if at == head { rest } else { without_comment(line) };
            flow.push_str(line);
            flow.push(' ');
            last = at;
            if line.trim_end().ends_with(close) {
                in_brackets = false;
                break;
            }
        }
        if in_brackets {
            return Err(wrong(place, lines[head].0, &format!("a {close:?} that ends the names"), lines[last].1));
        }
        let flow = flow.trim();
        for entry in split_flow(&flow[1..flow.len() - 1]).into_iter().filter(|entry| !entry.is_empty()) {
            entries.push((lines[head].0, if close == ']' { format!("- {entry}") } else { entry }));
        }
    } else {
        for (number, line) in &lines[head + 1..] {
            let stripped = without_comment(line);
            if stripped.is_empty() {
                continue;
            }
            // A list may be at the key's own depth.
            if !line.starts_with([' ', '\t']) && !stripped.starts_with("- ") {
                break;
            }
            entries.push((*number, stripped.into()));
        }
    }
    let mut names = Vec::new();
    for (at, (line, entry)) in entries.iter().enumerate() {
        let found = match entry.strip_prefix("- ") {
            Some(name) => Some((at as u32, name)),
            None => entry.split_once(':').and_then(|(id, name)| Some((unquoted(id.trim()).parse().ok()?, name))),
        };
        let (id, name) = found.ok_or_else(|| wrong(place, *line, expected, entry))?;
        let name = yaml_scalar(name.trim());
        if name.is_empty() || names.iter().any(|(known, _)| *known == id) {
            return Err(wrong(place, *line, "a name for each number, once", entry));
        }
        names.push((id, name));
    }
    if names.is_empty() {
        return Err(wrong(place, lines[head].0, expected, lines[head].1));
    }
    names.sort_by_key(|(id, _)| *id);
    Ok(Some(names))
}

fn yaml_scalar(text: &str) -> String {
    let inner = |quote: char| text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote));
    if let Some(inner) = inner('\'') {
        return inner.replace("''", "'");
    }
    if inner('"').is_some() {
        return serde_json::from_str(text).unwrap_or_else(|_| unquoted(text).into());
    }
    text.into()
}

/// The entries of a YAML list in brackets: at its commas, those in quotes left alone.
fn split_flow(text: &str) -> Vec<String> {
    let (mut entries, mut entry, mut quote) = (Vec::new(), String::new(), None);
    for c in text.chars() {
        match (quote, c) {
            (None, ',') => entries.push(std::mem::take(&mut entry)),
            (None, '"' | '\'') if entry.trim().is_empty() || entry.trim_end().ends_with(':') => {
                quote = Some(c);
                entry.push(c);
            }
            _ => {
                if quote == Some(c) {
                    quote = None;
                }
                entry.push(c);
            }
        }
    }
    entries.push(entry);
    entries.into_iter().map(|e| e.trim().to_string()).collect()
}

/// `1 cat`, `1: cat`, `1. cat`, `1) cat`, or the same with a tab, a comma or a semicolon.
pub fn numbered(line: &str) -> Option<(u32, String)> {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let (id, rest) = (line[..digits].parse().ok()?, line[digits..].trim_start_matches(' '));
    let behind = rest.strip_prefix(['\t', ',', ';', ':', '.', ')']);
    // A number with a fraction is part of a name: `0.5 l bottle`.
    if rest.starts_with('.') && behind.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_digit())) {
        return None;
    }
    let name = behind.or_else(|| line[digits..].strip_prefix(' '))?;
    let name = unquoted(name.trim());
    (!name.is_empty() && name.contains(char::is_alphabetic)).then(|| (id, name.to_string()))
}

/// The rows of a table of classes: a header line with a column `name` (any case), or a number or code and a name in every line.
/// `None` if it is neither.
///
/// # Errors
/// [`Error::Words`], with the line, if a row lacks a column, or numbers do not rise where they alone tell the order.
pub(super) fn read_table(place: &str, text: &str) -> Result<Option<Vec<(usize, Listed)>>> {
    let mut lines = content(text).peekable();
    let Some(&(_, first)) = lines.peek() else { return Ok(None) };
    let listed = |id: Option<u32>, name: &str| Listed { id, name: tidy_word(name), colour: None, synonyms: Vec::new() };
    if let Some(sep) = separator(first) {
        let header: Vec<String> = split_row(first, sep).iter().map(|c| c.to_lowercase()).collect();
        let column = |wanted: &str| header.iter().position(|c| c == wanted);
        // `r`, `g`, `b` are CamVid's, `pixel value` Roboflow's, `labelname` Open Images'.
        let known = "id idx index ids colour color label synonyms threshold r g b red green blue labelname mid supercategory";
        let is_known = |c: &String| known.split(' ').any(|known| known == c) || c == "pixel value" || c.ends_with("_id");
        // Without a name comes first the index that pandas puts before a table.
        let is_header = header[0].is_empty() || header.iter().any(is_known);
        let names = ["name", "class", "displayname", "display_name", "class_name"].iter().find_map(|wanted| column(wanted));
        if let Some(at) = names.filter(|_| is_header || sep == '\t') {
            lines.next();
            let synonyms = header.iter().position(|c| c.starts_with("synonyms"));
            let of_pixels = ["r", "red", "pixel value"].iter().any(|wanted| column(wanted).is_some());
            let mut rows = Vec::new();
            for (number, line) in lines {
                // Trimming takes the tabs before empty columns along.
                let mut fields = split_row(line, sep);
                if sep == '\t' && fields.len() > at {
                    fields.resize(fields.len().max(header.len()), String::new());
                }
                if fields.len() != header.len() {
                    return Err(wrong(place, number, &format!("{} columns, as the first line has", header.len()), line));
                }
                // ADE20K's tables have `building;edifice` there.
                let mut names = fields[at].split([';', ',']).map(tidy_word).filter(|word| !word.is_empty());
                let others = synonyms.map_or("", |s| &fields[s]).split(',').map(tidy_word).filter(|word| !word.is_empty());
                let mut row = listed(None, &names.next().unwrap_or_default());
                row.synonyms = names.chain(others).collect();
                // What label pictures have where no class is.
                if !(of_pixels && row.name.eq_ignore_ascii_case("background")) {
                    rows.push((number, row));
                }
            }
            return Ok(Some(rows));
        }
    }
    let coded: Option<Vec<_>> = content(text).map(|(number, line)| Some((number, behind_code(line)?))).collect();
    if let Some(rows) = coded {
        let row = |(number, names): (usize, Vec<String>)| {
            let mut words = names.iter().map(|name| tidy_word(name)).filter(|word| !word.is_empty());
            let row = listed(None, &words.next().unwrap_or_default());
            (number, Listed { synonyms: words.collect(), ..row })
        };
        return Ok(Some(rows.into_iter().map(row).collect()));
    }
    let rows: Option<Vec<_>> = lines.map(|(number, line)| Some((number, line, numbered(line)?))).collect();
    let Some(rows) = rows else { return Ok(None) };
    let mut last = None;
    let mut found = Vec::new();
    for (number, line, (id, name)) in rows {
        if last.is_some_and(|last| id <= last) {
            return Err(wrong(place, number, "numbers that rise from line to line, for labels follow the lines", line));
        }
        if name.contains(['\t', ';']) {
            return Err(wrong(place, number, "a number and a name", line));
        }
        last = Some(id);
        let mut words = name.split(',').map(tidy_word).filter(|w| !w.is_empty());
        let mut row = listed(Some(id), &words.next().unwrap_or_default());
        row.synonyms = words.collect();
        found.push((number, row));
    }
    Ok(Some(found))
}
