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

/// What tables call their columns, in lower case and in one word.
const COLUMNS: &str = "id ids idx index no nr num number key value code mid uuid \
    description desc definition def comment comments note notes remark remarks synonym synonyms alias aliases \
    threshold score weight confidence color colour colors colours rgb hex r g b red green blue \
    count counts frequency freq instances ratio train val test stuff thing isthing isstuff parent supercategory group type kind \
    url link image file filename split shape attributes plural beschreibung farbe couleur descripcion descrizione nummer";
/// What they call the column of names, the surest first.
const NAME_COLUMNS: &str = "name classname displayname readablename readable class categoryname category labelname label title \
    objectname object tagname tag wordname word term names classes labels categories words tags bezeichnung klasse nom nombre classe clase";
/// With an id, a number or a name behind it, these are columns too: `class_id`, `label number`.
const OF_COLUMNS: &str = "class category label object tag word train super display pixel short long full parent eval";
const PARTS_OF_COLUMNS: &str = "id idx index name number code value description color colour count label category";
/// Languages that a table may have columns of.
pub(super) const LANGUAGES: [&str; 16] = ["en", "de", "fr", "es", "it", "pt", "nl", "pl", "sv", "da", "fi", "tr", "ru", "ja", "zh", "ko"];

/// Content lines with their numbers from 1, comments and fillers left out.
pub(super) fn content(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).map(|(n, line)| (n, without_comment(line))).filter(|(n, line)| !is_filler(*n, line))
}

/// Whether a line holds nothing: the empty rows of a spreadsheet, what tells it how columns are separated (`sep=;`), YAML's marks of where a
/// document begins and ends.
pub fn is_filler(number: usize, line: &str) -> bool {
    let line = line.trim();
    let is_setting = number == 1 && line.len() == 5 && line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("sep="));
    is_setting || matches!(line, "---" | "...") || line.chars().all(|c| matches!(c, ',' | ';' | '\t' | ' '))
}

/// A line without its comment: from a `#` at its start, or one between blanks that no quotes enclose.
pub fn without_comment(line: &str) -> &str {
    let line = line.trim();
    if line.starts_with('#') {
        return "";
    }
    let lone = |at: &usize| {
        let (before, behind) = (&line[..*at], &line[at + 1..]);
        let in_quotes = before.matches('"').count() % 2 == 1 && behind.contains('"');
        before.ends_with(char::is_whitespace) && behind.chars().next().is_none_or(char::is_whitespace) && !in_quotes
    };
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
    scan_row(line, separator).0
}

/// The fields of a row, and whether its last one is in quotes that nothing ends.
fn scan_row(line: &str, separator: char) -> (Vec<String>, bool) {
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
    (fields.into_iter().map(|f| unquoted(f.trim()).into()).collect(), quoted)
}

/// The rows of a table, each with the number of its first line: a field in quotes may hold line ends, as spreadsheets write them.
pub fn split_rows<'a>(lines: impl IntoIterator<Item = (usize, &'a str)>, separator: char) -> Vec<(usize, Vec<String>)> {
    /// Beyond this a quote is taken as one that nothing ends.
    const MOST_LINES: usize = 100;
    let lines: Vec<(usize, &str)> = lines.into_iter().collect();
    let (mut rows, mut at) = (Vec::new(), 0);
    while let Some(&(number, line)) = lines.get(at) {
        let (mut fields, open) = scan_row(line, separator);
        let mut taken = 1;
        if open {
            let mut joined = line.to_owned();
            for (behind, (_, more)) in lines[at + 1..].iter().take(MOST_LINES).enumerate() {
                joined = joined + " " + more;
                if let (whole, false) = scan_row(&joined, separator) {
                    (fields, taken) = (whole, behind + 2);
                    break;
                }
            }
        }
        rows.push((number, fields));
        at += taken;
    }
    rows
}

/// A list that is no JSON, with the line ends, blanks and signs that other editors and scripts have written as the usual ones.
pub fn usual_signs(text: &str) -> String {
    let usual = |c| match c {
        // Next line, line and paragraph separator, vertical tab, form feed.
        '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{b}' | '\u{c}' => '\n',
        '\u{a0}' | '\u{3000}' | '\u{202f}' => ' ',
        c => usual_sign(c),
    };
    text.chars().map(usual).collect()
}

/// What separates words in Chinese and Japanese as those signs that are read here.
pub(super) fn usual_sign(c: char) -> char {
    match c {
        '，' | '、' => ',',
        '；' => ';',
        '：' => ':',
        '．' => '.',
        c => c,
    }
}

/// Whether a line is the name of a table's only column.
pub(super) fn is_only_header(line: &str) -> bool {
    const HEADERS: &str = "name names class classes label labels category categories classname classnames labelname labelnames displayname \
        displaynames tagname tagnames categoryname categorynames objectname objectnames klasse klassen bezeichnung";
    is_among(HEADERS, &plain_column(line))
}

/// A column's name without what people write differently in it: `Class_ID` is `classid`, `name_en` is `name`.
pub fn plain_column(name: &str) -> String {
    let name = name.trim().to_lowercase();
    let name = match name.rsplit_once(['_', '-', ' ']) {
        Some((name, language)) if LANGUAGES.contains(&language) => name,
        _ => &name,
    };
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ' | '.')).collect()
}

fn is_among(words: &str, word: &str) -> bool {
    words.split_whitespace().any(|known| known == word)
}

/// Whether a cell names a column, in the words that tables have.
fn is_column(plain: &str) -> bool {
    let compound = || OF_COLUMNS.split(' ').filter_map(|of| plain.strip_prefix(of)).any(|part| is_among(PARTS_OF_COLUMNS, part));
    is_among(COLUMNS, plain) || is_among(NAME_COLUMNS, plain) || compound()
}

/// The column of names of a table with these columns: the one that is called so, whose cells are not all numbers.
pub fn name_column<S: AsRef<str>>(columns: &[S], rows: &[Vec<String>]) -> Option<usize> {
    let plain: Vec<String> = columns.iter().map(|column| plain_column(column.as_ref())).collect();
    let is_of_words = |at: &usize| rows.is_empty() || !is_of_numbers(rows, *at);
    let named = |wanted: &str| (0..plain.len()).filter(|at| plain[*at] == wanted).find(is_of_words);
    NAME_COLUMNS.split_whitespace().find_map(named)
}

fn is_of_numbers(rows: &[Vec<String>], at: usize) -> bool {
    let mut cells = rows.iter().map(|row| row.get(at).map_or("", String::as_str)).filter(|cell| !cell.is_empty()).peekable();
    cells.peek().is_some() && cells.all(|cell| cell.parse::<f64>().is_ok())
}

/// Columns that seldom are words to look for.
const SURE_COLUMNS: &str = "id idx index ids threshold synonym synonyms r g b red green blue name names classname labelname displayname mid \
    supercategory pixelvalue description descriptions desc definition comment comments note notes remark remarks isthing bezeichnung nom";
/// Columns of numbers that say so: beside them, one of any name has the names.
const ID_COLUMNS: &str = "id ids idx index no nr num nummer";

/// Which column of a table has its names, if its first line is a header: `tag, label` above `box, carton` are words. So there must be a sign
/// of a table beside a column that is called one of names: tabs, which are no part of a word, a column of numbers, or a cell that names a column
/// and seldom is a word, where the other cells name columns too or the names' own is called as most tables call it. Without a column of names
/// beside numbers it is the first of none of these, if the numbers say that they are numbers.
///
/// # Errors
/// [`Error::Words`] if a word stands above numbers that is as good a class as a header.
fn header_names(place: &str, first: (usize, &str), separator: char, header: &[String], rows: &[Vec<String>]) -> Result<Option<usize>> {
    let plain: Vec<String> = header.iter().map(|cell| plain_column(cell)).collect();
    let is_even = rows.iter().all(|row| row.len() == header.len());
    // Before a table stands the index of pandas, without a name.
    let is_index = |at: usize| at == 0 && plain[0].is_empty();
    let is_word = |at: usize| is_index(at) || header[at].contains(char::is_alphabetic) && header[at].parse::<f64>().is_err();
    let above_numbers = |at: &usize| is_word(*at) && is_of_numbers(rows, *at);
    let numbered: Vec<usize> = match is_even && (rows.len() > 1 || rows.len() == 1 && is_index(0)) {
        true => (0..header.len()).filter(above_numbers).collect(),
        false => Vec::new(),
    };
    let is_colour = |cell: &str| cell.starts_with(['#', '(', '[']) || cell.starts_with(|c: char| c.is_ascii_digit());
    let has_colours = |at: usize| {
        is_among("color colour colors colours rgb hex farbe couleur", &plain[at])
            && is_even
            && !rows.is_empty()
            && rows.iter().all(|row| is_colour(&row[at]))
    };
    let in_parts = |cell: &str| cell.contains('_');
    let is_sure = |at: usize| is_index(at) || is_among(SURE_COLUMNS, &plain[at]) || in_parts(&header[at]) || has_colours(at);
    let names = name_column(header, if is_even { rows } else { &[] });
    if let Some(at) = names {
        let is_usual = matches!(&*plain[at], "name" | "class" | "displayname" | "classname");
        let are_columns = || plain.iter().enumerate().all(|(at, cell)| is_index(at) || is_column(cell));
        let has_sign = (0..header.len()).any(is_sure);
        let has_cell = || has_sign && is_usual || (has_sign || first.1.contains('"')) && are_columns();
        if separator == '\t' || !numbered.is_empty() || has_cell() {
            return Ok(names);
        }
    }
    let is_code = |at: usize| header[at].to_lowercase().starts_with("id_");
    let is_other = |at: &usize| !is_index(*at) && !is_of_numbers(rows, *at) && !is_column(&plain[*at]) && !is_code(*at);
    if numbered.is_empty() {
        return Ok(None);
    }
    let other = (0..header.len()).find(is_other);
    let is_told = |other: usize, at: usize| is_index(at) || is_among(ID_COLUMNS, &plain[at]) || in_parts(&header[at]) || at > other;
    match other {
        Some(other) if separator == '\t' || numbered.iter().any(|at| is_told(other, *at)) => return Ok(Some(other)),
        None if !(0..header.len()).any(is_code) => return Ok(None),
        _ => {}
    }
    let expected = "a header with a column `name`, or without it one class a line: above numbers this could be either";
    Err(wrong(place, first.0, expected, first.1))
}

/// What opens and closes a quotation.
pub(super) const QUOTES: [(char, char); 8] =
    [('"', '"'), ('\'', '\''), ('“', '”'), ('‘', '’'), ('`', '`'), ('„', '“'), ('«', '»'), ('‚', '‘')];

/// A word without a pair of quotes around it.
pub(super) fn unquoted(word: &str) -> &str {
    let inner = QUOTES.iter().find_map(|(open, close)| word.strip_prefix(*open)?.strip_suffix(*close));
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
    if is_plain_label_map(text) {
        let names = content(text).filter_map(|(_, line)| line.split_once("::"));
        return Ok(Some((0..).zip(names).map(|(id, (name, _))| Listed { id: Some(id), ..bare(name) }).collect()));
    }
    if let Some(rows) = all(label_map_row).or_else(|| all(colour_row)) {
        let with_colour =
            |(i, (name, colour)): (usize, (String, [u8; 3]))| Listed { id: Some(i as u32), colour: Some(colour), ..bare(&name) };
        return Ok(Some(rows.into_iter().enumerate().map(with_colour).collect()));
    }
    if let Some(rows) = numbered_colours(place, text)? {
        return Ok(Some(rows));
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
/// are counted from 0 or 1 and their names differ, as those of the words `route 1` and `route 2` do not, or if numbers that rise begin the
/// lines: `0 Class 1`.
fn numbered_behind(text: &str) -> Option<Vec<Listed>> {
    const BETWEEN: [char; 5] = ['=', ':', ',', ';', '\t'];
    let row = |line: &str| {
        let fields = split_row(line, ',');
        let bare = if line.contains('"') && fields.len() == 2 { fields.join(",") } else { line.to_owned() };
        let line = bare.as_str();
        let name = line.trim_end_matches(|c: char| c.is_ascii_digit());
        let id: u32 = line[name.len()..].parse().ok()?;
        let inner = name.trim_end().trim_end_matches(BETWEEN).trim_end();
        let parted = inner.len() < name.len() && !inner.contains(BETWEEN) && inner.contains(char::is_alphabetic);
        parted.then(|| Listed { id: Some(id), name: tidy_word(unquoted(inner)), colour: None, synonyms: Vec::new() })
    };
    let mut found: Vec<Listed> = content(text).map(|(_, line)| row(line)).collect::<Option<_>>()?;
    let is_bare = |line: &str| !line.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end().ends_with(BETWEEN);
    let before: Option<Vec<u32>> = content(text).map(|(_, line)| Some(numbered(line).filter(|_| is_bare(line))?.0)).collect();
    if before.is_some_and(|ids| ids.windows(2).all(|pair| pair[0] < pair[1])) {
        return None;
    }
    found.sort_by_key(|listed| listed.id);
    let first = found.first()?.id.filter(|first| *first < 2)?;
    let counted = (first..).zip(&found).all(|(id, listed)| listed.id == Some(id));
    let mut names: Vec<String> = found.iter().map(|listed| listed.name.to_lowercase()).collect();
    names.sort();
    names.dedup();
    (found.len() > 1 && counted && names.len() == found.len()).then_some(found)
}

/// The first line without a number behind its name, where those of other lines are counted.
pub(super) fn without_number<'a>(lines: &[(usize, &'a str)]) -> Option<(usize, &'a str)> {
    let ends_so = |line: &str| line.ends_with(|c: char| c.is_ascii_digit());
    let with: Vec<&str> = lines.iter().map(|(_, line)| *line).filter(|line| ends_so(line)).collect();
    let without = lines.iter().copied().find(|(_, line)| !ends_so(line))?;
    numbered_behind(&with.join("\n")).map(|_| without)
}

/// Lines without the marks of a list in YAML or Markdown, where each has one.
pub(super) fn without_bullets(lines: &mut [(usize, &str)]) {
    for mark in ["- ", "* ", "• "] {
        if lines.iter().all(|(_, line)| line.starts_with(mark)) {
            lines.iter_mut().for_each(|(_, line)| *line = line[mark.len()..].trim_start());
        }
    }
}

/// Whether a text is VOC's `labelmap.txt` without colours, as Datumaro writes it: `name::parts:actions`.
pub(super) fn is_plain_label_map(text: &str) -> bool {
    let is_row = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        matches!(fields.as_slice(), [name, "", _, _] if !name.trim().is_empty())
    };
    content(text).next().is_some() && content(text).all(|(_, line)| is_row(line))
}

/// `name:r,g,b:parts:actions`.
fn label_map_row(line: &str) -> Option<Coloured> {
    let mut fields = line.rsplitn(4, ':');
    let (_, _, colour, name) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let parts: Vec<u8> = colour.split(',').map(|v| v.trim().parse().ok()).collect::<Option<_>>()?;
    Some((name.trim().to_string(), parts.try_into().ok()?)).filter(|(name, _)| !name.is_empty())
}

/// Rows of a class's number, its name and its colour, `1 cat 255 0 0`, with blanks or one separator between: the number before or behind the
/// name or the colour. `None` unless all lines are such, in the same order.
fn numbered_colours(place: &str, text: &str) -> Result<Option<Vec<Listed>>> {
    /// Where a row has its number and its colour; what is left between is the name. People write it first, so that comes first.
    const ORDERS: [fn(usize) -> [usize; 2]; 5] =
        [|_| [0, 1], |len| [0, len - 3], |len| [len - 1, 0], |len| [len - 1, len - 4], |len| [len - 4, len - 3]];
    let row = |separator: Option<char>, [number, colour]: [usize; 2], fields: &[String]| -> Option<Listed> {
        let id = fields[number].parse().ok()?;
        let parts: Vec<u8> = fields[colour..colour + 3].iter().map(|part| part.parse().ok()).collect::<Option<_>>()?;
        let names: Vec<&str> =
            (0..fields.len()).filter(|at| *at != number && !(colour..colour + 3).contains(at)).map(|at| fields[at].as_str()).collect();
        let name = tidy_word(&names.join(" "));
        let is_name = name.contains(char::is_alphabetic) && (separator.is_none() || names.len() == 1);
        // With a number within or at an end of it, which one is the id cannot be told.
        let is_name = is_name && !names.iter().any(|part| part.parse::<f64>().is_ok());
        is_name.then(|| Listed { id: Some(id), name, colour: parts.try_into().ok(), synonyms: Vec::new() })
    };
    let lines: Vec<(usize, &str)> = content(text).collect();
    let read = [None, Some('\t'), Some(','), Some(';')].into_iter().find_map(|separator| {
        let fields: Vec<Vec<String>> = lines
            .iter()
            .map(|(_, line)| match separator {
                Some(separator) => split_row(line, separator),
                None => line.split_whitespace().map(|field| unquoted(field).to_owned()).collect(),
            })
            .collect();
        if fields.is_empty() || fields.iter().any(|fields| fields.len() < 5) {
            return None;
        }
        let rows = |order: fn(usize) -> [usize; 2]| {
            fields.iter().map(|fields| row(separator, order(fields.len()), fields)).collect::<Option<Vec<_>>>()
        };
        let read = ORDERS.map(rows);
        read.iter().any(Option::is_some).then_some(read)
    });
    let Some(read) = read else { return Ok(None) };
    let again = |rows: &[Listed]| (0..rows.len()).find(|at| rows[..*at].iter().any(|before| before.id == rows[*at].id));
    let [.., behind, before] = &read;
    if let (Some(behind), Some(before)) = (behind, before) {
        // Numbers of classes count on, or rise at least; those of colours hardly ever do.
        let by = |rows: &[Listed], step: fn(u32, u32) -> bool| {
            rows.len() > 1 && rows.windows(2).all(|pair| pair[0].id.zip(pair[1].id).is_some_and(|(one, next)| step(one, next)))
        };
        let like_numbers = |rows: &[Listed]| match again(rows) {
            Some(_) => 0,
            None if by(rows, |one, next| one.checked_add(1) == Some(next)) => 3,
            None if by(rows, |one, next| one < next) => 2,
            None => 1,
        };
        return match like_numbers(behind).cmp(&like_numbers(before)) {
            std::cmp::Ordering::Greater => Ok(Some(behind.clone())),
            std::cmp::Ordering::Less => Ok(Some(before.clone())),
            std::cmp::Ordering::Equal => Err(wrong(
                place,
                lines[0].0,
                "rows that can be read in one way alone, as `NUMBER NAME RED GREEN BLUE`, or below a header such as `name,id,red,green,blue`",
                &format!("{}, whose first or last number may be the class's own", lines[0].1),
            )),
        };
    }
    let first = read.into_iter().flatten().next().unwrap_or_default();
    let Some(at) = again(&first) else { return Ok(Some(first)) };
    Err(wrong(place, lines[at].0, "one number for each class, before or behind its name and its red, green, blue", lines[at].1))
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
        // A number beside the colour is the class's own.
        let is_number = |field: Option<&&str>| field.is_some_and(|field| field.parse::<f64>().is_ok());
        let is_name = names.iter().any(|name| name.contains(char::is_alphabetic)) && !is_number(names.first()) && !is_number(names.last());
        is_name.then(|| (names.join(" "), colour))
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
    let inner = ["id2label", "names", "categories", "classes", "labels", "label2id"].iter().find_map(|key| parsed.get(key));
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.trim().parse().ok()).and_then(|id| u32::try_from(id).ok());
    let entry = |value: &Value| -> Result<Listed> {
        let text = |keys: &[&str]| keys.iter().find_map(|key| value.get(key)?.as_str()).map(tidy_word);
        let name = value.as_str().or_else(|| behind_synset(value)).map(tidy_word);
        let name = name.or_else(|| text(&["readable", "name", "label", "title"]));
        let name = name.filter(|name| !name.is_empty()).ok_or_else(|| fail(shown_line(&value.to_string())))?;
        let colour = ["color", "colour"].iter().find_map(|key| json_colour(value.get(key)?));
        let id = ["id", "category_id", "index"].iter().find_map(|key| number(value.get(key)?));
        let synonyms = match value.get("synonyms") {
            Some(Value::Array(words)) => words.iter().filter_map(|word| word.as_str()).map(tidy_word).collect(),
            Some(Value::String(words)) => words.split(',').map(tidy_word).filter(|word| !word.is_empty()).collect(),
            _ => Vec::new(),
        };
        if value.get("threshold").is_some_and(|t| !t.is_null()) || value.get("on") == Some(&Value::Bool(false)) {
            return Err(fail(format!("settings of {}, which only running video takes", shown_line(&name))));
        }
        Ok(Listed { id, name, colour, synonyms })
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

/// ImageNet's classes by their numbers: `["n01440764", "tench"]`, WordNet's number of the meaning and its name.
fn behind_synset(value: &serde_json::Value) -> Option<&str> {
    let [synset, name] = value.as_array()?.as_slice() else { return None };
    let digits = synset.as_str()?.strip_prefix('n')?;
    (digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| name.as_str())?
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
                Some(quote) => protobuf_text(&rest[1..], quote),
                None => rest.split(|c: char| c.is_whitespace() || matches!(c, ',' | '}')).next().map(Into::into),
            };
            text.map(|text| tidy_word(&text)).filter(|text| !text.is_empty())
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

/// A string of protobuf's text format up to its quote, without its escapes, of which those in numbers are bytes.
fn protobuf_text(text: &str, quote: char) -> Option<String> {
    let (mut out, mut bytes) = (Vec::new(), text.bytes().peekable());
    while let Some(byte) = bytes.next().filter(|byte| *byte != quote as u8) {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let escape = bytes.next()?;
        let mut number = |first: u32, radix: u32, most: usize| {
            let digit = |byte: u8| char::from(byte).to_digit(radix);
            (0..most).fold(first, |number, _| match bytes.next_if(|byte| digit(*byte).is_some()).and_then(digit) {
                Some(digit) => number * radix + digit,
                None => number,
            })
        };
        match escape {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            byte @ (b'"' | b'\'' | b'\\' | b'?') => out.push(byte),
            byte @ b'0'..=b'7' => out.push(u8::try_from(number(u32::from(byte - b'0'), 8, 2)).ok()?),
            b'x' | b'X' => out.push(u8::try_from(number(0, 16, 2)).ok()?),
            b'u' => out.extend(char::from_u32(number(0, 16, 4))?.to_string().bytes()),
            b'U' => out.extend(char::from_u32(number(0, 16, 8))?.to_string().bytes()),
            _ => return None,
        }
    }
    String::from_utf8(out).ok()
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

/// Keys under which YAML has names, the surest first.
const YAML_KEYS: [&str; 6] = ["names", "classes", "class_names", "categories", "labels", "id2label"];

/// The names of a YAML document: of its key `names` or what else is called so, a list, numbered names, or mappings with a key `name`, in
/// blocks or in brackets; or of a list of such mappings without a key. `None` of other texts.
fn yaml_names(place: &str, text: &str) -> Result<Option<Vec<(u32, String)>>> {
    let lines: Vec<(usize, &str)> = (1..).zip(text.lines()).collect();
    let begins_block = |line: &str| line.starts_with([' ', '\t']) || line.starts_with("- ");
    let key_at = |key: &'static str| {
        lines.iter().enumerate().find_map(|(at, (_, line))| {
            let rest = without_comment(line.strip_prefix(key)?.strip_prefix(':')?);
            let next = || lines[at + 1..].iter().find(|(n, line)| !is_filler(*n, without_comment(line)));
            let is_block = rest.is_empty() && (key == "names" || next().is_some_and(|(_, line)| begins_block(line)));
            (is_block || rest.starts_with(['[', '{'])).then_some((at, key))
        })
    };
    let Some((head, key)) = YAML_KEYS.iter().find_map(|key| key_at(key)) else {
        let entries = yaml_block(&lines);
        let is_whole = entries.iter().map(|(_, entry)| entry.lines().count()).sum::<usize>() == content(text).count();
        let are_mappings = is_whole && !entries.is_empty() && entries.iter().all(|(_, entry)| named_mapping(entry).is_some());
        return if are_mappings { numbered_names(place, &entries, "").map(Some) } else { Ok(None) };
    };
    let expected = "`names:` with a list, or with numbered names, as Ultralytics' data.yaml has it";
    let rest = without_comment(&lines[head].1[key.len() + 1..]);
    if rest.is_empty() {
        let block: Vec<_> = lines[head + 1..].to_vec();
        let names = numbered_names(place, &yaml_block(&block), expected)?;
        return if names.is_empty() { Err(wrong(place, lines[head].0, expected, lines[head].1)) } else { Ok(Some(names)) };
    }
    let (mut flow, mut last, mut in_brackets) = (String::new(), head, true);
    let close = if rest.starts_with('[') { ']' } else { '}' };
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
    let entries = split_flow(&flow[1..flow.len() - 1]).into_iter().filter(|entry| !entry.is_empty());
    let entries: Vec<_> = entries.map(|entry| (lines[head].0, if close == ']' { format!("- {entry}") } else { entry })).collect();
    let names = numbered_names(place, &entries, expected)?;
    if names.is_empty() { Err(wrong(place, lines[head].0, expected, lines[head].1)) } else { Ok(Some(names)) }
}

/// The entries of a YAML list or mapping in a block: its lines, and those of a mapping in a list together.
fn yaml_block(lines: &[(usize, &str)]) -> Vec<(usize, String)> {
    let mut entries: Vec<(usize, String)> = Vec::new();
    let mut depth = None;
    for (number, line) in lines {
        let stripped = without_comment(line);
        if is_filler(*number, stripped) {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let is_item = stripped.starts_with("- ") || stripped == "-";
        // A list may be at the key's own depth.
        if indent == 0 && !is_item {
            break;
        }
        let inside = depth.is_some_and(|depth| indent > depth);
        match entries
            .last_mut()
            .filter(|(_, entry)| inside && entry.starts_with('-') && (entry.len() < 3 || yaml_pair(&entry[2..]).is_some()))
        {
            Some((_, entry)) => *entry = if entry.len() < 3 { format!("- {stripped}") } else { format!("{entry}\n{stripped}") },
            None => {
                depth = depth.or(is_item.then_some(indent));
                entries.push((*number, if stripped == "-" { "- ".into() } else { stripped.into() }));
            }
        }
    }
    entries
}

/// A key and its value, where a line of YAML is such a pair and no text.
fn yaml_pair(line: &str) -> Option<(&str, &str)> {
    let line = line.lines().next().unwrap_or_default();
    let (key, value) = line.split_once(": ").or_else(|| line.strip_suffix(':').map(|key| (key, "")))?;
    let is_key =
        !key.is_empty() && !key.starts_with(['"', '\'', '[', '{']) && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    is_key.then(|| (key.trim(), value.trim()))
}

/// The number and the name of a list's entry that is a mapping, in a block or in braces.
fn named_mapping(entry: &str) -> Option<(Option<u32>, String)> {
    let entry = entry.strip_prefix("- ")?.trim();
    let pairs: Vec<String> = match entry.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
        Some(inner) => split_flow(inner),
        None => entry.lines().map(str::to_owned).collect(),
    };
    let pairs: Vec<(&str, &str)> =
        pairs.iter().filter_map(|pair| pair.split_once(':')).map(|(key, value)| (unquoted(key.trim()), value.trim())).collect();
    let value = |keys: &[&str]| keys.iter().find_map(|wanted| pairs.iter().find(|(key, _)| key.eq_ignore_ascii_case(wanted)));
    let (_, name) = value(&["name", "class_name", "label", "title", "class"])?;
    let id = value(&["id", "index", "class_id", "category_id"]).and_then(|(_, id)| unquoted(id).parse().ok());
    Some((id, yaml_scalar(name)?)).filter(|(_, name)| !name.is_empty())
}

/// Names with their numbers: those that they have, or else those of their places.
fn numbered_names(place: &str, entries: &[(usize, String)], expected: &str) -> Result<Vec<(u32, String)>> {
    let mut names: Vec<(u32, String)> = Vec::new();
    for (at, (line, entry)) in entries.iter().enumerate() {
        let found = match entry.strip_prefix("- ").map(str::trim) {
            Some(inner) if ["synonyms:", "threshold:"].iter().any(|key| inner.contains(key)) && named_mapping(entry).is_some() => {
                let expected = "names in YAML; synonyms are read in JSON and in lines `name: synonym, synonym`, thresholds behind ` | `";
                return Err(wrong(place, *line, expected, entry));
            }
            Some(inner) if inner.starts_with('{') || yaml_pair(inner).is_some() => match named_mapping(entry) {
                Some((id, name)) => Some((id.unwrap_or(at as u32), name)),
                None => return Err(wrong(place, *line, "`name:` in each mapping of the list", entry)),
            },
            Some(name) => yaml_scalar(name).map(|name| (at as u32, name)),
            None => entry.split_once(':').and_then(|(id, name)| Some((unquoted(id.trim()).parse().ok()?, yaml_scalar(name.trim())?))),
        };
        let (id, name) = found.ok_or_else(|| wrong(place, *line, expected, entry))?;
        if name.is_empty() || names.iter().any(|(known, _)| *known == id) {
            return Err(wrong(place, *line, "a name for each number, once", entry));
        }
        names.push((id, name));
    }
    names.sort_by_key(|(id, _)| *id);
    Ok(names)
}

/// What a scalar of YAML says; `None` of escapes that it has not.
fn yaml_scalar(text: &str) -> Option<String> {
    let inner = |quote: char| text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote));
    if let Some(inner) = inner('\'') {
        return Some(inner.replace("''", "'"));
    }
    inner('"').map_or_else(|| Some(text.into()), yaml_unescaped)
}

/// A text in double quotes without its escapes, those of YAML 1.2, chapter 5.7.
fn yaml_unescaped(text: &str) -> Option<String> {
    let (mut out, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let escape = chars.next()?;
        let mut hex = |digits: usize| {
            let digits: String = chars.by_ref().take(digits).collect::<String>();
            u32::from_str_radix(&digits, 16).ok().filter(|_| digits.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        let code = match escape {
            '0' => 0,
            'a' => 7,
            'b' => 8,
            't' | '\t' => 9,
            'n' => 10,
            'v' => 11,
            'f' => 12,
            'r' => 13,
            'e' => 27,
            'N' => 0x85,
            '_' => 0xa0,
            'L' => 0x2028,
            'P' => 0x2029,
            c @ (' ' | '"' | '/' | '\\') => c.into(),
            'x' => hex(2)?,
            'u' => hex(4)?,
            'U' => hex(8)?,
            _ => return None,
        };
        out.push(match (char::from_u32(code), code) {
            (Some(c), _) => c,
            // JSON writes characters beyond 16 bits as a pair of surrogates.
            (None, 0xd800..0xdc00) => {
                let mark: String = chars.by_ref().take(2).collect();
                let digits: String = chars.by_ref().take(4).collect();
                let low = u32::from_str_radix(&digits, 16).ok().filter(|low| mark == "\\u" && (0xdc00..0xe000).contains(low))?;
                char::from_u32(0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00))?
            }
            (None, _) => return None,
        });
    }
    Some(out)
}

/// The entries of a YAML list in brackets: at its commas, those in quotes left alone.
fn split_flow(text: &str) -> Vec<String> {
    let (mut entries, mut entry, mut quote, mut depth) = (Vec::new(), String::new(), None, 0usize);
    for c in text.chars() {
        if quote.is_none() {
            match c {
                '[' | '{' => depth += 1,
                ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        match (quote, c) {
            (None, ',') if depth == 0 => entries.push(std::mem::take(&mut entry)),
            (None, '"' | '\'') if entry.trim().is_empty() || entry.trim_end().ends_with([':', '{', '[']) => {
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

/// What stands between numbers and names.
fn is_between(c: char) -> bool {
    matches!(c, '\t' | ',' | ';' | ':' | '.' | ')' | '=' | '-' | '–' | '—' | '→')
}

/// `1 cat`, `1: cat`, `1. cat`, `1) cat`, `1 = cat`, `1 - cat`, `1 -> cat`, or the same with a tab, a comma or a semicolon; `"1","cat"`.
pub fn numbered(line: &str) -> Option<(u32, String)> {
    let in_quotes = line.strip_prefix('"').and_then(|rest| rest.split_once('"')).filter(|(_, rest)| rest.starts_with(is_between));
    let parted = || line.split_at(line.bytes().take_while(u8::is_ascii_digit).count());
    let (digits, behind_digits) = in_quotes.unwrap_or_else(parted);
    let (id, rest) = (digits.parse().ok()?, behind_digits.trim_start_matches(' '));
    // Before a name that follows at once, a sign is part of it: `7-segment display`.
    let behind_sign = || {
        let sign = ["->", "=>", "→", "=", "-", "–", "—"].into_iter().find_map(|sign| rest.strip_prefix(sign));
        sign.filter(|name| name.starts_with(' '))
    };
    let behind = rest.strip_prefix(['\t', ',', ';', ':', '.', ')']).or_else(behind_sign);
    // A number with a fraction is part of a name: `0.5 l bottle`.
    if rest.starts_with('.') && behind.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_digit())) {
        return None;
    }
    let name = behind.or_else(|| behind_digits.strip_prefix(' '))?;
    let name = unquoted(name.trim());
    (!name.is_empty() && name.contains(char::is_alphabetic)).then(|| (id, name.to_string()))
}

/// A row of a table of classes: its line, the class, and settings as [`parse_class_lines`](super::class) has them behind a bar.
pub(super) type Row = (usize, Listed, Option<String>);

/// The rows of a table of classes: a header line that names a column of names, or a number or code and a name in every line.
/// `None` if it is neither.
///
/// # Errors
/// [`Error::Words`], with the line, if a row lacks a column, or numbers do not rise where they alone tell the order.
pub(super) fn read_table(place: &str, text: &str) -> Result<Option<Vec<Row>>> {
    let lines: Vec<(usize, &str)> = content(text).collect();
    let Some(&(first_number, first)) = lines.first() else { return Ok(None) };
    let listed = |id: Option<u32>, name: &str| Listed { id, name: tidy_word(name), colour: None, synonyms: Vec::new() };
    // The index of pandas has no name: a tab begins its header.
    let before_index = text.lines().nth(first_number - 1).filter(|line| line.starts_with('\t')).map(str::trim_end);
    let first_row = before_index.unwrap_or(first);
    if let Some(sep) = separator(first_row) {
        let header = split_row(first_row, sep);
        // Who writes a table by hand leaves the last separators away, and trimming takes tabs along.
        let filled = |(number, mut fields): (usize, Vec<String>)| {
            fields.resize(fields.len().max(header.len()), String::new());
            (number, fields)
        };
        let (numbers, rows): (Vec<usize>, Vec<Vec<String>>) = split_rows(lines[1..].iter().copied(), sep).into_iter().map(filled).unzip();
        let plain: Vec<String> = header.iter().map(|cell| plain_column(cell)).collect();
        let is_of_pictures = is_among("filename file image imagename path", &plain[0]) && !rows.is_empty() && header.len() > 1;
        if is_of_pictures && (1..header.len()).all(|at| is_of_numbers(&rows, at)) {
            return Err(wrong(place, first_number, "a list of classes; this is a table of pictures with a class in each column", first));
        }
        if let Some(at) = header_names(place, (first_number, first), sep, &header, &rows)? {
            let column = |wanted: &[&str]| plain.iter().position(|cell| wanted.contains(&cell.as_str()));
            let synonyms = plain.iter().position(|cell| ["synonym", "alias"].iter().any(|start| cell.starts_with(start)));
            let threshold = column(&["threshold"]);
            let of_pixels = column(&["r", "red", "pixelvalue"]).is_some();
            let read = [Some(at), synonyms, threshold];
            let left: Vec<String> = (0..header.len()).filter(|at| !read.contains(&Some(*at))).map(|at| shown_line(&header[at])).collect();
            let left = if left.is_empty() { String::new() } else { format!("; passed over: {}", left.join(", ")) };
            tracing::info!(
                "{place}:{first_number}: taken for a header; the words are those of its column {}{left}",
                shown_line(&header[at])
            );
            let mut found = Vec::new();
            for (number, fields) in numbers.into_iter().zip(rows) {
                if fields.len() != header.len() {
                    let expected = format!("{} columns, as the first line has, which is taken for a header", header.len());
                    return Err(wrong(place, number, &expected, &fields.join(&sep.to_string())));
                }
                // ADE20K's tables have `building;edifice` there.
                let mut names = fields[at].split([';', ',']).map(tidy_word).filter(|word| !word.is_empty());
                let others = synonyms.map_or("", |s| &fields[s]).split([';', ',']).map(tidy_word).filter(|word| !word.is_empty());
                let mut row = listed(None, &names.next().unwrap_or_default());
                row.synonyms = names.chain(others).collect();
                if row.name.is_empty() {
                    let expected = format!("a name in the column {}", shown_line(&header[at]));
                    return Err(wrong(place, number, &expected, &fields.join(&sep.to_string())));
                }
                let settings = threshold.map(|t| &fields[t]).filter(|t| !t.is_empty()).map(|t| format!("threshold {t}"));
                // What label pictures have where no class is.
                if !(of_pixels && row.name.eq_ignore_ascii_case("background")) {
                    found.push((number, row, settings));
                }
            }
            return Ok(Some(found));
        }
    }
    let coded: Option<Vec<_>> = lines.iter().map(|(number, line)| Some((*number, behind_code(line)?))).collect();
    if let Some(rows) = coded {
        let row = |(number, names): (usize, Vec<String>)| {
            let mut words = names.iter().map(|name| tidy_word(name)).filter(|word| !word.is_empty());
            let row = listed(None, &words.next().unwrap_or_default());
            (number, Listed { synonyms: words.collect(), ..row }, None)
        };
        return Ok(Some(rows.into_iter().map(row).collect()));
    }
    let numbered_lines = if is_bare_header(first) && lines.len() > 1 { &lines[1..] } else { &lines[..] };
    let row = |(number, line)| {
        let (written, settings) =
            str::split_once(line, '|').map_or((line, None), |(line, settings)| (line.trim(), Some(settings.trim().into())));
        let (id, name) = numbered(written)?;
        Some(Numbered { number, line, id, name, settings })
    };
    let (rows, others): (Vec<_>, Vec<_>) = numbered_lines.iter().copied().map(|line| row(line).ok_or(line)).partition(Result::is_ok);
    let rows: Vec<Numbered> = rows.into_iter().flatten().collect();
    if let Some((number, line)) = others.into_iter().find_map(Result::err) {
        // YAML has numbers below its keys.
        let are_ids = !line.ends_with(':') && rows.len() > 1 && rows.windows(2).all(|pair| pair[0].id < pair[1].id) && !are_amounts(&rows);
        let expected = if number == first_number {
            "a number before each name, as the lines below have; take the line away if it is a header"
        } else {
            "a number before each name, or quotes around the lines whose number is part of the name"
        };
        return if are_ids { Err(wrong(place, number, expected, line)) } else { Ok(None) };
    }
    if are_amounts(&rows) {
        tracing::info!("{place}: the numbers before the words are taken for parts of them; ids are written `1: cat`");
        return Ok(None);
    }
    tracing::info!("{place}: the numbers before the words are taken for their ids, and left away");
    let mut last = None;
    let mut found = Vec::new();
    for Numbered { number, line, id, name, settings } in rows {
        if last.is_some_and(|last| id <= last) {
            return Err(wrong(place, number, "numbers that rise from line to line, for labels follow the lines", line));
        }
        if name.contains(['\t', ';']) || name.contains('[') && name.contains(',') {
            return Err(wrong(place, number, "a number and a name", line));
        }
        last = Some(id);
        let (name, others) = split_synonyms(&name);
        if name.trim().is_empty() || others.is_some_and(|others| others.trim().is_empty()) {
            return Err(wrong(place, number, "a name before the colon, and other words for it behind", line));
        }
        let mut words = name.split(',').chain(others.into_iter().flat_map(|o| o.split(','))).map(|w| tidy_word(unquoted(w.trim())));
        let mut row = listed(Some(id), &words.next().unwrap_or_default());
        row.synonyms = words.filter(|word| !word.is_empty()).collect();
        found.push((number, row, settings));
    }
    Ok(Some(found))
}

/// Whether a line is the header of numbers and names with blanks between: `id name`.
pub fn is_bare_header(line: &str) -> bool {
    let cells: Vec<String> = line.split(' ').filter(|cell| !cell.is_empty()).map(plain_column).collect();
    matches!(cells.as_slice(), [id, name] if is_among("id idx index classid labelid categoryid", id) && is_among(NAME_COLUMNS, name))
}

/// A line that begins with a number.
struct Numbered<'a> {
    number: usize,
    line: &'a str,
    id: u32,
    name: String,
    settings: Option<String>,
}

/// A name, and other words for it behind a colon, which between two digits is part of the name: `4:3 screen`.
pub fn split_synonyms(name: &str) -> (&str, Option<&str>) {
    let is_digit = |c: char| c.is_ascii_digit();
    let is_mark = |at: &usize| !(name[..*at].ends_with(is_digit) && name[at + 1..].starts_with(is_digit));
    match name.match_indices(':').map(|(at, _)| at).find(is_mark) {
        Some(at) => (&name[..at], Some(&name[at + 1..])),
        None => (name, None),
    }
}

/// What numbers count or measure, in the singular.
const UNITS: &str = "volt v kv watt w kw kwh amp amps ampere a ah mah ohm inch in foot feet ft yard mile mm cm m metre meter km g gram kg kilo \
    kilogram ton tonne lb lbs pound oz ounce ml cl l litre liter gallon pint bar psi hp cc k mp megapixel gb tb mb hz khz mhz ghz degree percent \
    euro dollar cent pence bit byte pin port core cylinder stroke speed axle wheel wheeled door seat seater person man woman way lane storey \
    story floor room bed burner legged leaf pointed poster piece pack pair part ply fold sided string key drawer shelf year month week day hour minute second";

/// Whether the numbers before words, blanks alone between, belong to them: `12 volt battery`, `2 door car`. The numbers of classes are all
/// counted, those of amounts stand before units or come again before one name.
fn are_amounts(rows: &[Numbered]) -> bool {
    let is_bare = |line: &str| {
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
        rest.strip_prefix(' ').is_some_and(|name| !name.trim_start().starts_with(is_between))
    };
    if !rows.iter().all(|row| is_bare(row.line)) {
        return false;
    }
    let has_unit = |name: &str| {
        // A unit alone is a class: `3 person`.
        let Some((first, _)) = name.split_once(' ') else { return false };
        let first = first.to_lowercase();
        is_among(UNITS, &first) || first.strip_suffix('s').is_some_and(|one| is_among(UNITS, one))
    };
    let mut names: Vec<String> = rows.iter().map(|row| split_synonyms(&row.name).0.to_lowercase()).collect();
    names.sort();
    names.dedup();
    let is_counted = rows[0].id < 2 && rows.windows(2).all(|pair| pair[1].id == pair[0].id + 1);
    if is_counted && names.len() == rows.len() && rows.len() > 1 {
        return false;
    }
    let measured = rows.iter().filter(|row| has_unit(&row.name)).count();
    let are_same = names.len() * 2 <= rows.len() && rows.windows(2).all(|pair| pair[0].id < pair[1].id);
    measured * 2 > rows.len() || are_same || rows.len() == 1 && !is_counted
}
