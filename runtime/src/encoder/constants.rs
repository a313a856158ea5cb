//! Takes the large constants out of an ONNX file before it is parsed, so that weights are copied once: into the form that layers use.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// The large constants of a file, in its own bytes. What is used up is given back from the file's end on, so that a file and what is
/// made of it are never in memory as wholes.
pub(super) struct Constants<'a> {
    file: Cow<'a, [u8]>,
    places: HashMap<String, Range<usize>>,
}

/// Smaller constants stay in the graph, where patterns look at them.
const LARGE_BYTES: usize = 1 << 14;

/// The file without the bytes of its large constants, and those; the whole file and none if it is not a protocol buffer.
///
/// Field numbers are those of onnx.proto3: `ModelProto.graph` 7, `GraphProto.initializer` 5, `TensorProto.name` 8 and `raw_data` 9.
pub(super) fn split(file: Cow<'_, [u8]>) -> (Vec<u8>, Constants<'_>) {
    let mut found = HashMap::new();
    let Some(rest) = without_constants(&file, &mut found) else {
        return (file.into_owned(), Constants::none());
    };
    let first = file.as_ptr() as usize;
    let place = |bytes: &[u8]| bytes.as_ptr() as usize - first..bytes.as_ptr() as usize - first + bytes.len();
    let places = found.into_iter().map(|(name, bytes)| (name, place(bytes))).collect();
    (rest, Constants { file, places })
}

fn without_constants<'a>(file: &'a [u8], constants: &mut HashMap<String, &'a [u8]>) -> Option<Vec<u8>> {
    let mut model = Vec::new();
    for_fields(file, |number, field, whole| {
        match (number, field) {
            (7, Some(graph)) => {
                let mut rest = Vec::new();
                for_fields(graph, |number, field, whole| {
                    match (number, field) {
                        (5, Some(tensor)) => append(&mut rest, 5, &without_bytes(tensor, constants)?),
                        _ => rest.extend_from_slice(whole),
                    }
                    Some(())
                })?;
                append(&mut model, 7, &rest);
            }
            _ => model.extend_from_slice(whole),
        }
        Some(())
    })?;
    Some(model)
}

impl Constants<'_> {
    /// No constants.
    pub(super) fn none() -> Self {
        Self { file: Cow::Borrowed(&[]), places: HashMap::new() }
    }

    /// The raw bytes of a constant, wherever they are.
    pub(super) fn raw<'t>(&'t self, tensor: &'t TensorProto) -> &'t [u8] {
        self.places.get(&tensor.name).map_or(&tensor.raw_data, |place| &self.file[place.clone()])
    }

    /// Where the last of a node's own constants ends.
    pub(super) fn end_of(&self, node: &NodeProto) -> usize {
        let of = |tensor: &TensorProto| self.places.get(&tensor.name).map_or(0, |place| place.end);
        node.attribute.iter().filter_map(|attribute| attribute.t.as_ref()).map(of).max().unwrap_or(0)
    }

    /// Gives back the file's end behind `end`.
    pub(super) fn forget_from(&mut self, end: usize) {
        self.places.retain(|_, place| place.end <= end);
        if let Cow::Owned(file) = &mut self.file {
            file.truncate(end);
            file.shrink_to_fit();
        }
    }

    /// Gives back what [`split`] took to the constants of a graph.
    pub(super) fn restore(&self, graph: &mut GraphProto) {
        for tensor in &mut graph.initializer {
            if let Some(place) = self.places.get(&tensor.name) {
                tensor.raw_data = self.file[place.clone()].to_vec();
            }
        }
    }
}

fn without_bytes<'a>(tensor: &'a [u8], constants: &mut HashMap<String, &'a [u8]>) -> Option<Vec<u8>> {
    let (mut name, mut raw, mut rest) = (None, None, Vec::new());
    for_fields(tensor, |number, field, whole| {
        match (number, field) {
            (8, Some(bytes)) => name = std::str::from_utf8(bytes).ok(),
            (9, Some(bytes)) if bytes.len() >= LARGE_BYTES => {
                raw = Some(bytes);
                return Some(());
            }
            _ => {}
        }
        rest.extend_from_slice(whole);
        Some(())
    })?;
    match (name, raw) {
        (Some(name), Some(raw)) if !name.is_empty() => {
            // Of two constants of one name the first is what graphs mean; neither is taken apart.
            if constants.contains_key(name) {
                return Some(tensor.to_vec());
            }
            constants.insert(name.into(), raw);
            Some(rest)
        }
        _ => Some(tensor.to_vec()),
    }
}

/// Calls `take` with each field's number, its bytes if it has a length, and the whole of it.
fn for_fields<'a>(mut bytes: &'a [u8], mut take: impl FnMut(u64, Option<&'a [u8]>, &'a [u8]) -> Option<()>) -> Option<()> {
    while !bytes.is_empty() {
        let start = bytes;
        let tag = varint(&mut bytes)?;
        let mut field = None;
        match tag & 7 {
            0 => drop(varint(&mut bytes)?),
            1 => bytes = bytes.get(8..)?,
            5 => bytes = bytes.get(4..)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                field = Some(bytes.get(..length)?);
                bytes = &bytes[length..];
            }
            _ => return None,
        }
        take(tag >> 3, field, &start[..start.len() - bytes.len()])?;
    }
    Some(())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
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

    #[test]
    fn large_constants_are_taken_out_and_all_else_stays() {
        let whole = file(LARGE_BYTES);
        let (rest, constants) = split(Cow::Borrowed(&whole));
        let large = TensorProto { name: "large".into(), ..Default::default() };
        assert_eq!(constants.raw(&large), vec![7; LARGE_BYTES]);
        assert_eq!(constants.places.len(), 1);
        let tail = |bytes: &[u8]| bytes[bytes.len() - 30..].to_vec();
        assert!(rest.len() < 100 && tail(&rest) == tail(&whole));
        assert_eq!(split(Cow::Borrowed(&rest)).0, rest);
        let small = file(20);
        assert_eq!(split(Cow::Borrowed(&small)).0, small);
    }

    #[test]
    fn what_is_used_up_is_given_back() {
        let whole = file(LARGE_BYTES);
        let (_, mut constants) = split(Cow::Owned(whole.clone()));
        let large = TensorProto { name: "large".into(), ..Default::default() };
        let end = constants.places["large"].end;
        constants.forget_from(end);
        assert_eq!((constants.raw(&large).len(), constants.file.len()), (LARGE_BYTES, end));
        constants.forget_from(end - 1);
        assert_eq!((constants.raw(&large).len(), constants.file.len()), (0, end - 1));
    }

    #[test]
    fn no_prefix_of_a_file_and_no_wrong_length_is_read_beyond_its_end() {
        let whole = file(LARGE_BYTES);
        for len in (0..60).chain(whole.len() - 60..whole.len()) {
            split(Cow::Borrowed(&whole[..len]));
        }
        for (at, byte) in (0..40).flat_map(|at| [0, 0x7f, 0x80, 0xff].map(|byte| (at, byte))) {
            let mut hostile = whole.clone();
            hostile[at] = byte;
            split(Cow::Owned(hostile));
        }
    }
}
