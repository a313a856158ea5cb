//! Takes the large constants out of an ONNX file before it is parsed, so that weights are copied once: into the form that layers use.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use tract_onnx::pb::{GraphProto, TensorProto};

use crate::Result;
use edge_seg_bundle::{BlobReader, BlobSlice};

/// The large constants of a file, where they are in it.
pub(super) struct Constants<'a> {
    file: &'a BlobReader<'a>,
    places: HashMap<String, Range<usize>>,
}

/// Smaller constants stay in the graph, where patterns look at them.
const LARGE_BYTES: usize = 1 << 14;

/// What is read at a time, while it is in the cache.
const PIECE: usize = 1 << 17;

/// Whole groups of rows, as they are packed.
const ROWS: usize = 16;

/// The file without the bytes of its large constants, and those; the whole file and none if it is not a protocol buffer.
///
/// Field numbers are those of onnx.proto3: `ModelProto.graph` 7, `GraphProto.initializer` 5, `TensorProto.name` 8 and `raw_data` 9.
///
/// # Errors
/// Those of reading the file.
pub(super) fn split<'a>(file: &'a BlobReader<'a>) -> Result<(Vec<u8>, Constants<'a>)> {
    let mut places = HashMap::new();
    if let Some(rest) = without_constants(&mut Window { file, bytes: Vec::new(), start: 0 }, &mut places) {
        return Ok((rest, Constants { file, places }));
    }
    let whole = file.read(0..file.size_bytes(), &mut Vec::new())?.to_vec();
    Ok((whole, Constants::none()))
}

fn without_constants(file: &mut Window<'_>, constants: &mut HashMap<String, Range<usize>>) -> Option<Vec<u8>> {
    let mut model = Vec::new();
    for_fields(file, 0..file.file.size_bytes(), |file, number, field, whole| {
        match (number, field) {
            (7, Some(graph)) => {
                let mut rest = Vec::new();
                for_fields(file, graph, |file, number, field, whole| {
                    match (number, field) {
                        (5, Some(tensor)) => append(&mut rest, 5, &without_bytes(file, tensor, constants)?),
                        _ => rest.extend_from_slice(file.read(whole)?),
                    }
                    Some(())
                })?;
                append(&mut model, 7, &rest);
            }
            _ => model.extend_from_slice(file.read(whole)?),
        }
        Some(())
    })?;
    Some(model)
}

impl<'a> Constants<'a> {
    /// No constants.
    pub(super) fn none() -> Self {
        static NOTHING: BlobReader<'static> = BlobReader::carried(&[]);
        Self { file: &NOTHING, places: HashMap::new() }
    }

    /// The raw bytes of a constant, wherever they are.
    pub(super) fn raw<'t>(&'t self, tensor: &'t TensorProto) -> Result<Cow<'t, [u8]>> {
        match (self.places.get(&tensor.name), self.file.memory()) {
            (None, _) => Ok(Cow::Borrowed(&tensor.raw_data)),
            (Some(place), Some(all)) => Ok(Cow::Borrowed(&all[place.clone()])),
            (Some(place), None) => {
                let mut bytes = Vec::new();
                self.file.read(place.clone(), &mut bytes)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// Gives `take` the raw bytes of a constant in order, some rows of so many bytes at a time, with the first row's number.
    pub(super) fn rows(&self, tensor: &TensorProto, row: usize, mut take: impl FnMut(usize, &[u8])) -> Result<()> {
        let rows = (PIECE / row.max(1)).max(1).next_multiple_of(ROWS);
        let piece = rows * row.max(1);
        let Some(place) = self.places.get(&tensor.name) else {
            tensor.raw_data.chunks(piece).enumerate().for_each(|(index, bytes)| take(index * rows, bytes));
            return Ok(());
        };
        let mut buffer = Vec::new();
        for (index, start) in place.clone().step_by(piece).enumerate() {
            take(index * rows, self.file.read(start..place.end.min(start + piece), &mut buffer)?);
        }
        Ok(())
    }

    /// Keeps a constant where it is, if it is large.
    pub(super) fn keep(&self, tensor: &TensorProto) -> Option<BlobSlice> {
        self.places.get(&tensor.name).map(|place| self.file.keep(place.clone()))
    }

    /// Length of [`raw`](Self::raw).
    pub(super) fn len(&self, tensor: &TensorProto) -> usize {
        self.places.get(&tensor.name).map_or(tensor.raw_data.len(), Range::len)
    }

    /// Gives back what [`split`] took to the constants of a graph.
    pub(super) fn restore(&self, graph: &mut GraphProto) -> Result<()> {
        graph.initializer.iter_mut().filter(|tensor| self.places.contains_key(&tensor.name)).try_for_each(|tensor| {
            tensor.raw_data = self.raw(tensor)?.into_owned();
            Ok(())
        })
    }
}

/// Reads a file here and there, more of it than is asked for.
struct Window<'a> {
    file: &'a BlobReader<'a>,
    bytes: Vec<u8>,
    start: usize,
}

impl Window<'_> {
    /// What cannot be read is found again by whoever reads the file whole.
    fn read(&mut self, range: Range<usize>) -> Option<&[u8]> {
        if let Some(all) = self.file.memory() {
            return all.get(range);
        }
        if range.start < self.start || range.end > self.start + self.bytes.len() {
            let end = range.end.max(range.start + LARGE_BYTES).min(self.file.size_bytes());
            self.file.read(range.start..end, &mut self.bytes).ok()?;
            self.start = range.start;
        }
        self.bytes.get(range.start - self.start..range.end - self.start)
    }
}

fn without_bytes(file: &mut Window<'_>, tensor: Range<usize>, constants: &mut HashMap<String, Range<usize>>) -> Option<Vec<u8>> {
    let (mut name, mut raw, mut rest) = (None, None, Vec::new());
    for_fields(file, tensor.clone(), |file, number, field, whole| {
        match (number, field) {
            (8, Some(bytes)) => name = String::from_utf8(file.read(bytes)?.to_vec()).ok(),
            (9, Some(bytes)) if bytes.len() >= LARGE_BYTES => {
                raw = Some(bytes);
                return Some(());
            }
            _ => {}
        }
        rest.extend_from_slice(file.read(whole)?);
        Some(())
    })?;
    match (name, raw) {
        // Of two constants of one name the first is what graphs mean; neither is taken apart.
        (Some(name), Some(raw)) if !name.is_empty() && !constants.contains_key(&name) => {
            constants.insert(name, raw);
            Some(rest)
        }
        _ => Some(file.read(tensor)?.to_vec()),
    }
}

/// Calls `take` with each field's number, where its bytes are if it has a length, and where the whole of it is.
fn for_fields(
    file: &mut Window<'_>,
    range: Range<usize>,
    mut take: impl FnMut(&mut Window<'_>, u64, Option<Range<usize>>, Range<usize>) -> Option<()>,
) -> Option<()> {
    let mut at = range.start;
    while at < range.end {
        let start = at;
        let tag = varint(file, &mut at, range.end)?;
        let mut field = None;
        let length = match tag & 7 {
            0 => varint(file, &mut at, range.end).map(|_| 0)?,
            1 => 8,
            5 => 4,
            2 => {
                let length = usize::try_from(varint(file, &mut at, range.end)?).ok()?;
                field = Some(at..at.checked_add(length)?);
                length
            }
            _ => return None,
        };
        at = at.checked_add(length).filter(|end| *end <= range.end)?;
        take(file, tag >> 3, field, start..at)?;
    }
    Some(())
}

fn varint(file: &mut Window<'_>, at: &mut usize, end: usize) -> Option<u64> {
    let bytes = file.read(*at..end.min(*at + 10))?;
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *at += index + 1;
            return Some(value);
        }
    }
    None
}

fn append(to: &mut Vec<u8>, number: u8, field: &[u8]) {
    to.push(number << 3 | 2);
    let mut length = field.len();
    while length > 0x7f {
        to.push(length as u8 | 0x80);
        length >>= 7;
    }
    to.push(length as u8);
    to.extend_from_slice(field);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model with a name, and a graph with two constants.
    fn file(large: usize) -> Vec<u8> {
        let tensor = |name: &[u8], raw: &[u8]| {
            let mut tensor = vec![0x10, 1]; // data_type 1
            append(&mut tensor, 8, name);
            append(&mut tensor, 9, raw);
            tensor
        };
        let (mut graph, mut model) = (Vec::new(), vec![0x08, 0x96, 0x01]); // ir_version 150
        append(&mut graph, 5, &tensor(b"large", &vec![7; large]));
        append(&mut graph, 5, &tensor(b"small", &[1, 2, 3]));
        append(&mut graph, 2, b"name");
        append(&mut model, 7, &graph);
        append(&mut model, 2, b"producer");
        model
    }

    fn split_in_memory(bytes: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
        let part = BlobReader::from(Cow::Borrowed(bytes));
        let (rest, constants) = split(&part).unwrap();
        let large = TensorProto { name: "large".into(), ..Default::default() };
        let raw = constants.places.contains_key("large").then(|| constants.raw(&large).unwrap().into_owned());
        (rest, raw)
    }

    #[test]
    fn large_constants_are_taken_out_and_all_else_stays() {
        let whole = file(LARGE_BYTES);
        let (rest, large) = split_in_memory(&whole);
        assert_eq!(large, Some(vec![7; LARGE_BYTES]));
        let tail = |bytes: &[u8]| bytes[bytes.len() - 30..].to_vec();
        assert!(rest.len() < 100 && tail(&rest) == tail(&whole));
        assert_eq!(split_in_memory(&rest).0, rest);
        let small = file(20);
        assert_eq!(split_in_memory(&small), (small.clone(), None));
    }

    #[test]
    fn rows_come_in_order_and_whole() {
        let whole = file(3 * PIECE / 4 * 4);
        let part = BlobReader::from(Cow::Borrowed(&whole[..]));
        let (_, constants) = split(&part).unwrap();
        for (name, row) in [("large", 12), ("large", 3 * PIECE), ("small", 1)] {
            let raw_data = if name == "small" { vec![1, 2, 3] } else { vec![] };
            let tensor = TensorProto { name: name.into(), raw_data, ..Default::default() };
            let mut found = Vec::new();
            constants
                .rows(&tensor, row, |first, bytes| {
                    assert_eq!((first * row, bytes.len() % row), (found.len(), 0));
                    found.extend_from_slice(bytes);
                })
                .unwrap();
            assert_eq!(found, *constants.raw(&tensor).unwrap());
        }
    }

    #[test]
    fn no_prefix_of_a_file_and_no_wrong_length_is_read_beyond_its_end() {
        let whole = file(LARGE_BYTES);
        for len in (0..60).chain(whole.len() - 60..whole.len()) {
            split_in_memory(&whole[..len]);
        }
        for (at, byte) in (0..40).flat_map(|at| [0, 0x7f, 0x80, 0xff].map(|byte| (at, byte))) {
            let mut hostile = whole.clone();
            hostile[at] = byte;
            split_in_memory(&hostile);
        }
    }
}
