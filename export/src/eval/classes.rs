//! What the numbers in a label picture mean: tables of classes, and the view of them that is measured.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use edge_seg_model::Class;
use edge_seg_model::lists::{self, Listed};
use edge_seg_model::text::shown_line;
use serde::Deserialize;

use crate::{Error, Result};

/// Value of a label picture that counts for nothing, in every layout.
pub(super) const VOID: u32 = 255;
/// What counts for nothing whatever a table says, beyond what label pictures hold: 0 and 255 may be classes of it.
pub(super) const NOTHING: u32 = u32::MAX;

/// What tables call the column of numbers.
const IDS: [&str; 13] =
    ["idx", "index", "value", "pixelvalue", "classid", "categoryid", "labelid", "classindex", "number", "nr", "no", "num", "code"];
const COLOURS: [&str; 2] = ["colour", "color"];
/// What tables call what is none of their classes.
const BACKGROUNDS: [&str; 3] = ["background", "_background_", "__background__"];

/// A table of classes: a header line, one category a line. A file without a header is read as numbers and names.
#[derive(Debug, Clone)]
pub struct ClassTable {
    place: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Class,
    /// Known to be none of the classes.
    None,
    Ignore,
}

/// Which words stand for a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[cfg_attr(feature = "program", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Names {
    /// Its name alone, without the data set's suffixes `-merged`, `-other`, `-stuff`; other hyphens become spaces.
    Plain,
    /// Every word of the table's synonyms column (the engineered names of the literature); its plain name where there is none, and beside
    /// them in a table with a column `role`.
    #[cfg_attr(feature = "program", value(alias = "engineered"))]
    #[serde(alias = "engineered")]
    Synonyms,
}

/// Classes to tell apart, and the label that each value of a label picture stands for.
#[derive(Debug, Clone)]
pub struct View {
    /// The classes; label k is `classes[k - 1]`.
    pub classes: Vec<Class>,
    /// Whether label 0 is a background that the labels hold, rather than "no class".
    pub background: bool,
    /// Words of what the table knows and this view does not tell apart, in lower case: where they are is not known.
    pub untold: Arc<BTreeSet<String>>,
    labels: BTreeMap<u32, Option<u16>>,
    rest: Option<Option<u16>>,
}

impl ClassTable {
    /// Reads a table.
    ///
    /// # Errors
    /// [`Error::Runtime`] if it cannot be read, [`Error::File`] if a line has another number of columns than the first.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&path.display().to_string(), &edge_seg_model::read_text(path)?)
    }

    /// Reads a table that is in memory. `place` names it in errors.
    ///
    /// Its columns are separated by tabs, semicolons or commas, whichever the first line has. VOC's `labelmap.txt` and CamVid's
    /// `label_colors.txt` are tables of `id`, `name` and `colour`; Ultralytics' `data.yaml` and JSON lists of `id` and `name`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(place: &str, text: &str) -> Result<Self> {
        if let Some(listed) = lists::read_listed(place, text)? {
            return Ok(Self::of_list(place, listed));
        }
        let mut lines: Vec<(usize, &str)> =
            (1..).zip(text.lines()).filter(|(n, line)| !lists::is_filler(*n, line) && !line.trim_start().starts_with('#')).collect();
        if lines.len() > 1 && lists::is_bare_header(lines[0].1.trim()) {
            lines.remove(0);
        }
        let &(number, first) = lines.first().ok_or_else(|| Error::file(place, "file", "a table of classes", "nothing"))?;
        let separator = lists::separator(first);
        let coloured =
            separator.and_then(|separator| lines.iter().map(|(_, line)| coloured_row(line, separator)).collect::<Option<Vec<_>>>());
        if let Some(rows) = coloured {
            let listed = |(name, colour)| Listed { id: None, name, colour: Some(colour), synonyms: Vec::new() };
            return Ok(Self::of_list(place, rows.into_iter().map(listed).collect()));
        }
        let has_header = !first.trim_start().starts_with(|c: char| c.is_ascii_digit());
        let wrong = |number: usize, expected: String, found: String| Error::file(place, format!("line {number}"), expected, found);
        if !has_header {
            let numbered = |&(number, line): &(usize, &str)| match lists::numbered(lists::without_comment(line)) {
                // Behind a colon, comma or semicolon in it comes another word for it, behind a tab another column.
                Some((id, name)) if !name.contains('\t') => Ok(vec![
                    id.to_string(),
                    match lists::split_synonyms(&name) {
                        (name, Some(others)) => format!("{name},{others}"),
                        (name, None) => name.into(),
                    },
                ]),
                _ => Err(wrong(number, "a number and a name, or a header line before all".into(), shown_line(line))),
            };
            let rows = lines.iter().map(numbered).collect::<Result<Vec<Vec<String>>>>()?;
            return Ok(Self { place: place.into(), columns: vec!["id".into(), "name".into()], rows });
        }
        let Some(separator) = separator else {
            let expected = "a header line with columns, or a number and a name in each line (`1 cat`, `1: cat`, `1,cat`)";
            return Err(wrong(number, expected.into(), shown_line(first)));
        };
        let mut columns = lists::split_row(first, separator);
        let mut rows = Vec::with_capacity(lines.len());
        for (number, row) in lists::split_rows(lines[1..].iter().copied(), separator) {
            if row.len() != columns.len() {
                let found = format!("{}: {}", row.len(), shown_line(&row.join(&separator.to_string())));
                return Err(wrong(number, format!("{} columns", columns.len()), found));
            }
            rows.push(row);
        }
        // The index of pandas has no name.
        let is_number = |row: &Vec<String>| row[0].parse::<u32>().is_ok();
        if columns[0].is_empty() && rows.iter().all(is_number) && !columns.iter().any(|column| column.eq_ignore_ascii_case("id")) {
            columns[0] = "id".into();
        }
        let position = |names: &[&str]| columns.iter().position(|c| names.iter().any(|name| c.eq_ignore_ascii_case(name)));
        let colour = [position(&["r", "red"]), position(&["g", "green"]), position(&["b", "blue"])];
        let has_numbers = columns.iter().any(|column| [&["id"][..], &IDS].concat().contains(&&*lists::plain_column(column)));
        // CamVid's table of colours numbers nothing: its label pictures hold colours.
        if let ([Some(r), Some(g), Some(b)], None) = (colour, position(&COLOURS)) {
            for (at, row) in rows.iter_mut().enumerate() {
                let colour = [r, g, b].map(|at| row[at].clone()).join(",");
                row.push(colour);
                row.extend((!has_numbers).then(|| at.to_string()));
            }
            columns.push("colour".into());
            columns.extend((!has_numbers).then(|| "id".into()));
        }
        Ok(Self { place: place.into(), columns, rows })
    }

    /// What a name of another list stands for here.
    fn value_of(&self, place: &str, name: &str, name_column: usize, value_column: usize) -> Result<u32> {
        let named = |row: &usize| {
            let known = &self.rows[*row][name_column];
            let is = |known: &str| known.eq_ignore_ascii_case(name) || plain(known).eq_ignore_ascii_case(&plain(name));
            is(known) || self.names(*row, name_column).0.is_some_and(is)
        };
        match (0..self.rows.len()).find(named) {
            Some(row) => self.number(row, value_column),
            None if name.eq_ignore_ascii_case("background") => self.uncovered(name_column, value_column),
            None if is_void(name) => Ok(NOTHING),
            None => Err(Error::file(place, "names", format!("those of {}", self.place), format!("{name:?}"))),
        }
    }

    /// What each category of a COCO file stands for, by its name, in the terms of the column `values` (the first if none).
    ///
    /// # Errors
    /// [`Error::File`] if a category is not in the table.
    pub fn categories(&self, place: &str, listed: &[Listed], values: Option<&str>) -> Result<HashMap<u32, u32>> {
        let (value_column, name_column) = (self.values(values)?, self.column("name")?);
        let value = |l: &Listed| Ok((l.id.unwrap_or_default(), self.value_of(place, &l.name, name_column, value_column)?));
        let mut values = listed.iter().map(value).collect::<Result<HashMap<u32, u32>>>()?;
        values.insert(NOTHING, self.uncovered(name_column, value_column)?);
        Ok(values)
    }

    /// What stands for pixels of no class: 0, unless that is a class of this table.
    fn uncovered(&self, name_column: usize, value_column: usize) -> Result<u32> {
        let roles = self.roles()?;
        let is_class = |row: usize| {
            let is_background = BACKGROUNDS.iter().any(|name| self.rows[row][name_column].eq_ignore_ascii_case(name));
            !is_background && roles.as_ref().is_none_or(|roles| roles[row] == Role::Class)
        };
        let zero = (0..self.rows.len()).find(|row| self.rows[*row][value_column].parse() == Ok(0u32) && is_class(*row));
        Ok(zero.map_or(0, |_| NOTHING))
    }

    /// The categories of a COCO instances file; what none of them covers is the background, 0. Their numbers are kept where they are from 1
    /// on and small enough; else they are counted from 1, in their order, as those from 0 of Label Studio are.
    pub fn of_categories(place: &str, mut listed: Vec<Listed>) -> Self {
        listed.retain(|l| !l.name.eq_ignore_ascii_case("background"));
        if listed.iter().any(|l| l.id.is_none_or(|id| id == 0 || id > u32::from(u16::MAX))) {
            listed.sort_by_key(|l| l.id);
            (1..).zip(&mut listed).for_each(|(id, l)| l.id = Some(id));
        }
        listed.insert(0, Listed { id: Some(0), name: "background".into(), colour: None, synonyms: Vec::new() });
        Self::of_list(place, listed)
    }

    fn of_list(place: &str, listed: Vec<Listed>) -> Self {
        let has_colours = listed.iter().any(|l| l.colour.is_some());
        let mut columns: Vec<String> = vec!["id".into(), "name".into()];
        columns.extend(has_colours.then(|| "colour".into()));
        let row = |(i, listed): (usize, Listed)| {
            let mut row = vec![listed.id.unwrap_or(i as u32).to_string(), listed.name];
            row.extend(has_colours.then(|| listed.colour.map_or_else(String::new, |[r, g, b]| format!("{r},{g},{b}"))));
            row
        };
        Self { place: place.into(), columns, rows: listed.into_iter().enumerate().map(row).collect() }
    }

    /// What each colour of label pictures that hold colours stands for, in the terms of the column `values` (the first if none): by the
    /// table's own column `colour` (`r,g,b` or `#rrggbb`), otherwise by the names of the label map that lies in the labels' folder or
    /// beside it. Nothing without either.
    ///
    /// # Errors
    /// [`Error::File`] if a colour cannot be read, is there twice, or the label map names what the table does not.
    pub fn colours(&self, labels: &Path, values: Option<&str>) -> Result<HashMap<u32, u32>> {
        let value_column = self.values(values)?;
        let mut found = HashMap::new();
        let mut add = |place: &str, part: String, colour: u32, value: u32| match found.insert(colour, value) {
            Some(before) if before != value => Err(Error::file(place, part, "a colour for each class", "another class's")),
            _ => Ok(()),
        };
        if let Some(column) = self.columns.iter().position(|c| COLOURS.iter().any(|name| c.eq_ignore_ascii_case(name))) {
            for row in (0..self.rows.len()).filter(|row| !self.rows[*row][column].is_empty()) {
                let field = &self.rows[row][column];
                let part = || format!("colour of row {}", row + 1);
                let colour = colour(field).ok_or_else(|| Error::file(&self.place, part(), "r,g,b or #rrggbb", shown_line(field)))?;
                add(&self.place, part(), colour, self.number(row, value_column)?)?;
            }
            return Ok(found);
        }
        let beside = [Some(labels), labels.parent()].into_iter().flatten().map(|folder| folder.join("labelmap.txt"));
        let Some(path) = beside.into_iter().find(|path| path.is_file()) else { return Ok(found) };
        let place = path.display().to_string();
        let listed = lists::read_listed(&place, &edge_seg_model::read_text(&path)?)?.filter(|l| l.iter().all(|l| l.colour.is_some()));
        let listed = listed.ok_or_else(|| Error::file(&place, "file", "lines of name:red,green,blue:parts:actions", "others"))?;
        let name_column = self.column("name")?;
        for Listed { name, colour, .. } in listed {
            let value = self.value_of(&place, &name, name_column, value_column)?;
            let [r, g, b] = colour.unwrap_or_default().map(u32::from);
            add(&place, name, r << 16 | g << 8 | b, value)?;
        }
        Ok(found)
    }

    /// A column by its name, whatever its case; `id` and `name` also by what other tables call them.
    fn column(&self, name: &str) -> Result<usize> {
        let exact = self.columns.iter().position(|c| c == name);
        let similar = match name {
            "name" => lists::name_column(&self.columns, &self.rows),
            _ => {
                let others: &[&str] = if name == "id" { &IDS } else { &[] };
                let named =
                    |name: &&str| self.columns.iter().position(|c| c.eq_ignore_ascii_case(name) || lists::plain_column(c) == **name);
                // Beside a column `class_name`.
                let is_of_numbers = |at: &usize| name == "id" && self.rows.iter().all(|row| row[*at].parse::<u32>().is_ok());
                [name]
                    .iter()
                    .chain(others)
                    .find_map(named)
                    .or_else(|| ["class", "label", "category"].iter().find_map(named).filter(is_of_numbers))
            }
        };
        exact.or(similar).ok_or_else(|| Error::file(&self.place, "columns", format!("one named {name:?}"), self.columns.join(", ")))
    }

    /// The column of the values that label pictures have: the first, or the one of numbers where that holds names.
    fn values(&self, named: Option<&str>) -> Result<usize> {
        match named {
            Some(name) => self.column(name),
            None if is_colour_part(&self.columns[0]) || self.rows.iter().all(|row| row[0].parse::<u32>().is_err()) => {
                Ok(self.column("id").unwrap_or(0))
            }
            None => Ok(0),
        }
    }

    /// Which of several columns of numbers label pictures are taken to hold; nothing where there is one alone, or it was named.
    pub fn values_told(&self, named: Option<&str>) -> Option<String> {
        let is_of_numbers = |at: &usize| self.rows.iter().all(|row| row[*at].parse::<i32>().is_ok());
        let columns = (0..self.columns.len()).filter(|at| !is_colour_part(&self.columns[*at]) && is_of_numbers(at));
        let numbers: Vec<&str> = columns.map(|at| self.columns[at].as_str()).collect();
        let chosen = self.values(named).ok().filter(|_| named.is_none() && numbers.len() > 1)?;
        let others = numbers.iter().filter(|name| **name != self.columns[chosen]).copied().collect::<Vec<_>>();
        Some(format!("values by column {}, not {}", self.columns[chosen], others.join(", ")))
    }

    /// The name in a row, and other words for it that stand behind it: ADE20K's tables have `building;edifice` and `floor, flooring`.
    fn names(&self, row: usize, column: usize) -> (Option<&str>, impl Iterator<Item = &str>) {
        let mut words = self.rows[row][column].split([';', ',']).map(str::trim).filter(|word| !word.is_empty());
        (words.next(), words)
    }

    /// What each row is, in a table that says so.
    fn roles(&self) -> Result<Option<Vec<Role>>> {
        let Some(column) = self.columns.iter().position(|c| c == "role") else { return Ok(None) };
        let role = |(at, row): (usize, &Vec<String>)| match row[column].as_str() {
            "thing" | "stuff" => Ok(Role::Class),
            "none" => Ok(Role::None),
            "ignore" => Ok(Role::Ignore),
            other => Err(Error::file(&self.place, format!("role of row {}", at + 1), "thing, stuff, none or ignore", format!("{other:?}"))),
        };
        self.rows.iter().enumerate().map(role).collect::<Result<_>>().map(Some)
    }

    fn number<T: std::str::FromStr>(&self, row: usize, column: usize) -> Result<T> {
        let field = &self.rows[row][column];
        field.parse().map_err(|_| {
            Error::file(&self.place, format!("{} of row {}", self.columns[column], row + 1), "a number, 0 to 65535", format!("{field:?}"))
        })
    }

    /// The classes that column `view` tells apart, in label pictures whose values are those of column `values` (the first column if none).
    ///
    /// A view that gives several rows the number 0 has a background there; every other number is a class, named by the `name` column
    /// (by `voc_name` in a view whose name starts with `voc`). A row whose name holds the word `ignore` or `void` is ignored, and so are value 255,
    /// value 0 where no row has it, and `ignored`. Any other value without a row is an error when it is met.
    ///
    /// A column `role`, as the trainer's sets have it, says so of each row instead: `thing`, `stuff`, `none` for the background, `ignore`.
    /// Such a table's synonyms stand beside the name, not in its place.
    ///
    /// # Errors
    /// [`Error::File`] if a column is missing or holds something else than numbers or roles.
    pub fn view(&self, view: &str, values: Option<&str>, names: Names, ignored: &[u32]) -> Result<View> {
        let (view_column, value_column) = (self.column(view)?, self.values(values)?);
        let name_column = match self.columns.iter().position(|c| c == "voc_name") {
            Some(column) if view.starts_with("voc") => column,
            _ => self.column("name")?,
        };
        let synonyms_column = self.columns.iter().position(|c| c.starts_with("synonyms"));
        let numbers = (0..self.rows.len())
            .map(|row| Ok((self.number(row, view_column)?, self.number(row, value_column)?)))
            .collect::<Result<Vec<(u16, u32)>>>()?;
        let roles = self.roles()?;
        let void = |row: usize| match &roles {
            Some(roles) => roles[row] == Role::Ignore,
            None => is_void(&self.rows[row][name_column]),
        };
        // One row of number 0 is a class that happens to be counted from 0, unless it says what it is; several are what the view leaves over.
        let is_background = |row: usize| BACKGROUNDS.iter().any(|name| self.rows[row][name_column].eq_ignore_ascii_case(name));
        let own_background = (0..numbers.len()).any(|row| numbers[row].0 == 0 && is_background(row));
        let zero = own_background || numbers.iter().filter(|(number, _)| *number == 0).count() > 1;
        let behind = |row: usize| (zero && numbers[row].0 == 0) || roles.as_ref().is_some_and(|roles| roles[row] == Role::None);
        let background = zero || (0..numbers.len()).any(behind);

        let mut order: Vec<u16> = Vec::new();
        let mut classes: BTreeMap<u16, Class> = BTreeMap::new();
        for (row, &(number, _)) in numbers.iter().enumerate() {
            if void(row) || behind(row) {
                continue;
            }
            let (name, others) = self.names(row, name_column);
            let name = plain(name.ok_or_else(|| Error::file(&self.place, format!("row {}", row + 1), "a name", "none"))?);
            let class = classes.entry(number).or_insert_with(|| {
                order.push(number);
                Class::new(name.clone(), Vec::new())
            });
            let mut words: Vec<String> = match (names, synonyms_column) {
                (Names::Synonyms, Some(column)) => {
                    let synonyms = self.rows[row][column].split(',').map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned);
                    roles.as_ref().map(|_| name.clone()).into_iter().chain(synonyms).collect()
                }
                (Names::Synonyms, None) => [name.clone()].into_iter().chain(others.map(plain)).collect(),
                (Names::Plain, _) => vec![name.clone()],
            };
            if words.is_empty() {
                words.push(name);
            }
            words.retain(|w| !class.words.contains(w));
            class.words.append(&mut words);
        }
        order.sort_unstable();
        if order.is_empty() {
            return Err(Error::file(&self.place, view, "classes", "none"));
        }
        let label = |number: u16| order.binary_search(&number).ok().map(|at| at as u16 + 1);

        let mut labels = BTreeMap::from([(VOID, None), (NOTHING, None)]);
        for (row, &(number, value)) in numbers.iter().enumerate() {
            let meant = if void(row) {
                None
            } else if behind(row) {
                Some(0)
            } else {
                label(number)
            };
            // Rows that share a value share its meaning, or the values are not fine enough for this view.
            if let Some(before) = labels.insert(value, meant)
                && before != meant
                && value != VOID
            {
                return Err(Error::file(
                    &self.place,
                    view,
                    format!("one meaning of value {value}"),
                    "two; choose other --values".to_string(),
                ));
            }
        }
        labels.entry(0).or_insert(None);
        for value in ignored {
            labels.insert(*value, None);
        }
        let classes = order.iter().map(|number| classes.remove(number).expect("made above")).collect();
        let own_name = self.columns.iter().position(|c| c == "name").unwrap_or(name_column);
        let spoken = |row: usize| {
            let row = &self.rows[row];
            let synonyms = synonyms_column.map_or("", |column| row[column].as_str()).split(',').map(|word| word.trim().to_owned());
            let names = [own_name, name_column].map(|column| row[column].split([';', ',']).map(|word| plain(word.trim())));
            let words = synonyms.chain(names.into_iter().flatten());
            words.filter(|word| !word.is_empty()).map(|word| word.to_lowercase())
        };
        let (left, told): (Vec<usize>, Vec<usize>) = (0..numbers.len()).partition(|row| void(*row) || behind(*row));
        let told: BTreeSet<String> = told.into_iter().flat_map(spoken).collect();
        let untold = left.into_iter().flat_map(spoken).filter(|word| !told.contains(word)).collect();
        Ok(View { classes, background, untold: Arc::new(untold), labels, rest: None })
    }
}

impl View {
    /// The label that a value of a label picture stands for, `Some(None)` where it counts for nothing. An unknown value is `None`.
    pub fn label(&self, value: u32) -> Option<Option<u16>> {
        self.labels.get(&value).copied().or(self.rest)
    }

    /// The same view where these values count for nothing.
    pub fn ignoring(mut self, values: &[u32]) -> Self {
        self.labels.extend(values.iter().map(|v| (*v, None)));
        self
    }

    /// A view from its parts: what each value stands for (`None` where it counts for nothing), and what every other value does.
    pub(super) fn from_parts(classes: Vec<Class>, background: bool, labels: BTreeMap<u32, Option<u16>>, rest: Option<Option<u16>>) -> Self {
        Self { classes, background, untold: Arc::default(), labels, rest }
    }
}

/// Whether a name says that its pixels count for nothing, by a word of its own: an "avoid zone" is a class.
fn is_void(name: &str) -> bool {
    let words = name.split(|c: char| !c.is_alphanumeric());
    words.into_iter().any(|word| ["ignore", "ignored", "void"].iter().any(|mark| word.eq_ignore_ascii_case(mark)))
}

/// Whether a column holds red, green or blue.
fn is_colour_part(column: &str) -> bool {
    ["r", "g", "b", "red", "green", "blue"].iter().any(|part| column.eq_ignore_ascii_case(part))
}

/// `255,0,0,cat` or `cat,255,0,0`: a name and the colour of its pixels.
fn coloured_row(line: &str, separator: char) -> Option<(String, [u8; 3])> {
    let fields = lists::split_row(line, separator);
    let colour = |fields: &[String]| -> Option<[u8; 3]> {
        let parts: Option<Vec<u8>> = fields.iter().map(|field| field.parse().ok()).collect();
        parts?.try_into().ok()
    };
    let is_name = |name: &str| name.contains(char::is_alphabetic);
    match fields.as_slice() {
        [name, rest @ ..] if is_name(name) => Some((name.clone(), colour(rest)?)),
        [rest @ .., name] if is_name(name) => Some((name.clone(), colour(rest)?)),
        _ => None,
    }
}

/// `r,g,b`, with or without brackets, or `#rrggbb` as `0xRRGGBB`.
fn colour(text: &str) -> Option<u32> {
    let text = text.trim_matches(['(', ')', '[', ']']).trim();
    if let Some(digits) = text.strip_prefix('#') {
        return u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 6);
    }
    let parts: Vec<u8> = text.split([',', ' ']).filter(|p| !p.is_empty()).map(|p| p.parse().ok()).collect::<Option<_>>()?;
    let [r, g, b] = <[u8; 3]>::try_from(parts).ok()?.map(u32::from);
    Some(r << 16 | g << 8 | b)
}

/// A class's name as people write it: without the data set's suffixes, hyphens and underscores as spaces.
pub(super) fn plain(name: &str) -> String {
    let mut name = name;
    for suffix in ["-merged", "-other", "-stuff"] {
        name = name.strip_suffix(suffix).unwrap_or(name);
    }
    name.split(['-', '_', ' ']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COCO: &str = "coco_id\tname\tidx\tobject\tvoc\tvoc_name\tsynonyms\n\
        1\tperson\t0\t1\t15\tperson\tperson,man\n\
        3\tcar\t1\t2\t7\tcar\tcar,cars\n\
        187\tsky-other-merged\t2\t0\t0\t\tsky,clouds\n\
        193\tgrass-merged\t3\t0\t0\t\t\n";

    fn table() -> ClassTable {
        ClassTable::parse("t", COCO).unwrap()
    }

    #[test]
    fn which_of_several_columns_gives_the_values_is_told() {
        let table = ClassTable::parse("t", "name,id,trainId,r,g,b\nroad,7,0,1,2,3\nvoid,0,-1,0,0,0\n").unwrap();
        assert_eq!(table.values_told(None).as_deref(), Some("values by column id, not trainId"));
        assert_eq!(table.values_told(Some("trainId")), None);
        assert_eq!(ClassTable::parse("t", "id,name\n1,cat\n").unwrap().values_told(None), None);
    }

    #[test]
    fn a_view_without_background_numbers_every_row() {
        let view = table().view("idx", None, Names::Plain, &[]).unwrap();
        assert!(!view.background);
        assert_eq!(view.classes.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["person", "car", "sky", "grass"]);
        assert_eq!(view.label(187), Some(Some(3)));
        assert_eq!((view.label(0), view.label(255)), (Some(None), Some(None)));
        assert_eq!(view.label(200), None);
    }

    #[test]
    fn several_rows_of_number_zero_are_background() {
        let view = table().view("voc", None, Names::Synonyms, &[3]).unwrap();
        assert!(view.background);
        assert_eq!(view.classes[0], Class::new("car", vec!["car".into(), "cars".into()]));
        assert_eq!((view.label(1), view.label(3), view.label(193), view.label(0)), (Some(Some(2)), Some(None), Some(Some(0)), Some(None)));
        assert_eq!(view.untold.iter().map(String::as_str).collect::<Vec<_>>(), ["clouds", "grass", "sky"]);
        assert!(table().view("idx", None, Names::Plain, &[]).unwrap().untold.is_empty());
    }

    #[test]
    fn labels_may_hold_a_views_own_numbers() {
        let view = table().view("voc", Some("object"), Names::Plain, &[]).unwrap();
        assert_eq!((view.label(0), view.label(1), view.label(2)), (Some(Some(0)), Some(Some(2)), Some(Some(1))));
        assert!(table().view("idx", Some("object"), Names::Plain, &[]).is_err(), "sky and grass cannot be told apart");
    }

    #[test]
    fn the_trainers_roles_say_what_rows_are() {
        let adopted =
            "value\tname\tsynonyms\trole\n0\t\t\tnone\n1\tcat\tkitten\tthing\n2\tvoid deck\t\tstuff\n3\t\t\tnone\n255\t\t\tignore\n";
        let view = ClassTable::parse("t", adopted).unwrap().view("value", None, Names::Synonyms, &[]).unwrap();
        assert!(view.background);
        let words: Vec<_> = view.classes.iter().map(|class| class.words.join(",")).collect();
        assert_eq!(words, ["cat,kitten", "void deck"]);
        let labels = [0, 1, 2, 3, 255].map(|value| view.label(value));
        assert_eq!(labels, [Some(Some(0)), Some(Some(1)), Some(Some(2)), Some(Some(0)), Some(None)]);

        // A class that is counted from 0, and zeros that tell nothing.
        let dense = ClassTable::parse("t", "value\tname\tsynonyms\trole\n0\tsky\t\tstuff\n1\tcar\t\tthing\n").unwrap();
        let view = dense.view("value", None, Names::Plain, &[]).unwrap();
        assert_eq!((view.background, view.label(0), view.label(1)), (false, Some(Some(1)), Some(Some(2))));
        let open = ClassTable::parse("t", "value\tname\tsynonyms\trole\n0\tother\t\tignore\n1\tcar\t\tthing\n").unwrap();
        let view = open.view("value", None, Names::Plain, &[]).unwrap();
        assert_eq!((view.background, view.label(0), view.label(1)), (false, Some(None), Some(Some(1))));
        let error =
            ClassTable::parse("t", "value\tname\trole\n1\tcar\tthings\n").unwrap().view("value", None, Names::Plain, &[]).unwrap_err();
        assert!(error.to_string().contains("role of row 1") && error.to_string().contains("things"), "{error}");
    }

    #[test]
    fn a_table_without_header_is_ids_and_names() {
        let table = ClassTable::parse("t", "0\tsky\n1\tbuilding\n11\tVOID (unlabelled)\n").unwrap();
        let view = table.view("id", None, Names::Synonyms, &[]).unwrap();
        assert_eq!(view.classes.len(), 2);
        assert!(!view.background);
        assert_eq!((view.label(0), view.label(1), view.label(11)), (Some(Some(1)), Some(Some(2)), Some(None)));
    }

    #[test]
    fn broken_tables_are_refused() {
        for (text, view) in
            [("", "id"), ("a\tb\n1\n", "a"), ("1\tx\n", "nothing"), ("id\tname\nx\ty\n", "id"), ("id\tname\n1\tignore\n", "id")]
        {
            assert!(ClassTable::parse("t", text).and_then(|t| t.view(view, None, Names::Plain, &[])).is_err(), "{text:?}");
        }
    }

    #[test]
    fn tables_of_other_tools_are_read() {
        for text in [
            "id,name\n1,cat\n2,red wall\n",
            "id;name\n1;cat\n2;\"red wall\"\n",
            "# ours\n1\tcat\n2\tred wall\n",
            "1 cat\n2 red wall\n",
            "id name\n1 cat\n2 red wall\n",
            ",name\n1,cat\n2,red wall\n",
            "\tname\n1\tcat\n2\tred wall\n",
            "1 cat: kitten\n2 red wall\n",
            "1: cat: kitten, tabby\n2: red wall\n",
            "names:\n  1: cat\n  2: red wall\n",
            "{\"1\": \"cat\", \"2\": \"red wall\"}",
            "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\nred wall:36,179,83::\n",
        ] {
            let view = ClassTable::parse("t", text).unwrap().view("id", None, Names::Plain, &[]).unwrap();
            assert_eq!(view.classes.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["cat", "red wall"], "{text:?}");
            assert_eq!((view.label(1), view.label(2)), (Some(Some(1)), Some(Some(2))), "{text:?}");
            assert_eq!(view.background, text.contains("background"), "{text:?}");
        }
        let error = ClassTable::parse("t", "cat\nwall\n").unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains("\"cat\""), "{error}");
        let error = ClassTable::parse("t", "id,name\n1,a,b\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("\"1,a,b\""), "{error}");
    }

    #[test]
    fn lists_of_data_sets_are_read_as_they_are() {
        let with_one = [
            // ADE20K's objectInfo150.txt and its .csv.
            "Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t0.1576\t11664\t1172\t1\tcat, kitten\n2\t0.1072\t6046\t612\t1\tred wall\n",
            "Idx,Ratio,Train,Val,Stuff,Name\n1,0.1576,11664,1172,1,cat;kitten\n2,0.1072,6046,612,1,red wall\n",
            "1: cat, kitten\n2: red wall\n",
            "1: 'cat'\n2: 'red wall'\n",
            "1. cat\n2. red wall\n",
            "red wall 2\ncat 1\n",
            "cat,1\nred wall,2\n",
            "name,id\ncat,1\nred wall,2\n",
            "name;category_id\ncat;1\nred wall;2\n",
            "class_id\tclass\n1\tcat\n2\tred wall\n",
            "class,class_name\n1,cat\n2,red wall\n",
            "sep=;\nid;name;note\n1;cat;\"two\nlines\"\n2;red wall;\n;;\n",
            "Pixel Value, Class\n1, cat\n2, red wall\n",
            r#"[{"id": 1, "name": "cat", "supercategory": "animal"}, {"id": 2, "name": "red wall"}]"#,
            r#"{"images": [], "categories": [{"id": 2, "name": "red wall"}, {"id": 1, "name": "cat"}]}"#,
            r##"[{"id": 1, "name": "cat", "isthing": 1, "color": [250, 50, 83]}, {"id": 2, "name": "red wall", "color": "#24b353"}]"##,
            r#"{"label2id": {"cat": 1, "red wall": 2}}"#,
            "item {\n  id: 1\n  name: 'cat'\n}\nitem {\n  name: \"/m/0item\"\n  id: 2\n  display_name: \"red wall\"\n}\n",
            "__ignore__\n_background_\ncat\nred wall\n",
        ];
        for text in with_one {
            let view = ClassTable::parse("t", text).unwrap().view("id", None, Names::Plain, &[]).unwrap();
            assert_eq!(view.classes.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["cat", "red wall"], "{text:?}");
            assert_eq!((view.label(1), view.label(2)), (Some(Some(1)), Some(Some(2))), "{text:?}");
            assert_eq!(view.background, text.contains("background"), "{text:?}");
        }
        let ade = ClassTable::parse("t", with_one[0]).unwrap().view("Idx", None, Names::Synonyms, &[]).unwrap();
        assert_eq!(ade.classes[0].words, ["cat", "kitten"]);
        // From 0, with and without a background of its own.
        for (text, classes) in [("0: cat\n1: wall\n", 2), ("0,background\n1,wall\n", 1), ("id,name\n0,_background_\n1,wall\n", 1)] {
            let view = ClassTable::parse("t", text).unwrap().view("id", None, Names::Plain, &[]).unwrap();
            assert_eq!((view.classes.len(), view.background), (classes, classes == 1), "{text:?}");
        }
        // CamVid's class_dict.csv numbers nothing.
        let camvid = ClassTable::parse("t", "name,r,g,b\nAnimal,64,128,64\nVoid,0,0,0\n").unwrap();
        assert_eq!(camvid.colours(Path::new("nowhere"), None).unwrap(), HashMap::from([(0x408040, 0), (0, 1)]));
        assert_eq!(camvid.view("id", None, Names::Plain, &[]).unwrap().classes[0].name, "Animal");
        for (text, said) in [
            (r#"[{"id": 1, "name": "cat"}, {"name": "wall"}]"#, "\"wall\" without a number"),
            (r#"[{"id": 1, "name": "cat"}, {"id": 1, "name": "wall"}]"#, "one number for \"cat\" and \"wall\""),
            ("item { name: 'cat' }", "NUMBER"),
            ("1 cat\nwall\n", "line 2"),
        ] {
            let error = ClassTable::parse("t", text).unwrap_err().to_string();
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }

    #[test]
    fn colours_are_the_tables_own() {
        let table = ClassTable::parse("t", "id\tname\tcolour\n4\tcat\t250,50,83\n5\twall\t#24b353\n").unwrap();
        assert_eq!(table.colours(Path::new("nowhere"), None).unwrap(), HashMap::from([(0xfa3253, 4), (0x24b353, 5)]));
        for broken in ["4\tcat\tred", "4\tcat\t#24b353\n5\twall\t36,179,83"] {
            let table = ClassTable::parse("t", &format!("id\tname\tcolour\n{broken}\n")).unwrap();
            assert!(table.colours(Path::new("nowhere"), None).is_err(), "{broken}");
        }
    }

    fn listed(id: u32, name: &str) -> Listed {
        Listed { id: Some(id), name: name.into(), colour: None, synonyms: Vec::new() }
    }

    #[test]
    fn categories_from_zero_are_not_the_background() {
        for (ids, kept) in [([0, 1], [1, 2]), ([1, 2], [1, 2]), ([3, 70_000], [1, 2]), ([7, 255], [7, 255])] {
            let own = vec![listed(ids[0], "cat"), listed(ids[1], "wall")];
            let table = ClassTable::of_categories("t", own.clone());
            let values = table.categories("t", &own, None).unwrap();
            assert_eq!([values[&ids[0]], values[&ids[1]], values[&NOTHING]], [kept[0], kept[1], 0], "{ids:?}");
            let view = table.view("id", None, Names::Plain, &[]).unwrap();
            assert!(view.background);
            let labels = [0, kept[0], kept[1]].map(|value| view.label(value));
            assert_eq!(labels, [Some(Some(0)), Some(Some(1)), Some(Some(2))], "{ids:?}");
        }
    }

    #[test]
    fn what_is_not_covered_counts_for_nothing_where_zero_is_a_class() {
        let own = [listed(1, "cat"), listed(2, "wall"), listed(3, "background"), listed(4, "void")];
        for (text, uncovered) in [
            ("names:\n  0: cat\n  1: wall\n", None),
            ("0,background\n1,cat\n2,wall\n", Some(0)),
            ("value\tname\trole\n0\t\tnone\n1\tcat\tthing\n2\twall\tstuff\n", Some(0)),
            ("value\tname\trole\n0\tcat\tthing\n1\twall\tstuff\n", None),
        ] {
            let table = ClassTable::parse("t", text).unwrap();
            let values = table.categories("t", &own, None).unwrap();
            let column = table.columns[0].clone();
            let view = table.view(&column, None, Names::Plain, &[]).unwrap();
            let labels = [1, 2, 3, 4, NOTHING].map(|category| view.label(values[&category]));
            let expected = [Some(Some(1)), Some(Some(2)), Some(uncovered), Some(None), Some(uncovered)];
            assert_eq!(labels, expected, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_found_whatever_their_column_is_called() {
        for header in ["Class Index,Name", "Class ID,Name", "Nr,Name", "No.,Name", "num,Name", "code,Name"] {
            let (id, name) = header.split_once(',').unwrap();
            let table = ClassTable::parse("t", &format!("{name},{id}\ncat,7\ndog,9\n")).unwrap();
            let view = table.view("id", None, Names::Plain, &[]).unwrap();
            assert_eq!([7, 9].map(|value| view.label(value)), [Some(Some(1)), Some(Some(2))], "{header}");
        }
        let table = ClassTable::parse("t", "r,g,b,name\n255,0,0,cat\n0,128,0,dog\n").unwrap();
        assert_eq!(table.colours(Path::new("nowhere"), None).unwrap(), HashMap::from([(0xff_00_00, 0), (0x00_80_00, 1)]));
        for text in ["1 255 0 0 cat\n5 0 128 0 dog\n", "1,cat,255,0,0\n5,dog,0,128,0\n", "cat 255 0 0 1\ndog 0 128 0 5\n"] {
            let table = ClassTable::parse("t", text).unwrap();
            let colours = table.colours(Path::new("nowhere"), None).unwrap();
            assert_eq!(colours, HashMap::from([(0xff_00_00, 1), (0x00_80_00, 5)]), "{text:?}");
        }
    }

    #[test]
    fn rows_of_names_and_colours_are_read() {
        for text in ["255,0,0,cat\n0,128,0,red wall\n", "cat,255,0,0\nred wall,0,128,0\n", "cat;255;0;0\nred wall;0;128;0\n"] {
            let table = ClassTable::parse("t", text).unwrap();
            assert_eq!(table.colours(Path::new("nowhere"), None).unwrap(), HashMap::from([(0xff_00_00, 0), (0x00_80_00, 1)]), "{text:?}");
            let names: Vec<String> =
                table.view("id", None, Names::Plain, &[]).unwrap().classes.into_iter().map(|class| class.name).collect();
            assert_eq!(names, ["cat", "red wall"], "{text:?}");
        }
        let cityscapes = ClassTable::parse("t", "name,id,color\nroad,7,\"(128, 64,128)\"\n").unwrap();
        assert_eq!(cityscapes.colours(Path::new("nowhere"), None).unwrap(), HashMap::from([(0x80_40_80, 7)]));
    }

    #[test]
    fn names_are_ignored_by_whole_words_and_read_without_underscores() {
        for (name, ignored) in [("avoid zone", false), ("void", true), ("__ignore__", true), ("ignore_region", true), ("devoid", false)] {
            assert_eq!(is_void(name), ignored, "{name}");
        }
        assert_eq!([plain("dining_table"), plain("sky-other-merged"), plain("red wall")], ["dining table", "sky", "red wall"]);
        let table = ClassTable::parse("t", "1 cat # kitten\n2 C# book\n").unwrap();
        assert_eq!(table.rows, [["1", "cat"], ["2", "C# book"]]);
        let table = ClassTable::parse("t", "1,dining table\n").unwrap();
        assert_eq!(table.categories("t", &[listed(9, "dining_table")], None).unwrap()[&9], 1);
    }
}
