//! Label maps in MATLAB's files: one matrix of whole numbers by its name, from a MAT-file of version 5 (MathWorks, "MAT-File Format"),
//! little-endian, compressed or not. Everything else of the format is passed over or refused.

use std::io::Read;
use std::path::Path;

use flate2::read::ZlibDecoder;

use super::label_picture::{LabelPicture, MAX_PIXELS};
use crate::{Error, Result};

/// Most bytes of a file, and of a matrix in it: 2,048 × 2,048 doubles. A small file can claim to unpack to anything.
const MOST_BYTES: u64 = 1 << 25;

/// Reads a matrix of whole numbers from 0 on.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::File`] if it is no such file or holds no such matrix.
pub(super) fn read(path: &Path, name: &str) -> Result<LabelPicture> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes)).map_err(Error::io(path))?;
    let parsed = if bytes.len() as u64 > MOST_BYTES { Err(format!("more than {MOST_BYTES} bytes")) } else { parse(&bytes, name) };
    parsed.map_err(|found| {
        Error::file(path.display().to_string(), "file", format!("a MAT-file of version 5 with a matrix {name} of numbers from 0 on"), found)
    })
}

/// The header's length; then elements follow.
const HEADER: usize = 128;

fn parse(bytes: &[u8], name: &str) -> Result<LabelPicture, String> {
    let (header, mut rest) = bytes.split_at_checked(HEADER).ok_or("no header")?;
    match &header[124..] {
        [0, 1, b'I', b'M'] => {}
        [0, 2, b'I', b'M'] => return Err("version 7.3 (HDF5); MATLAB's save -v7 writes the other".into()),
        [_, _, b'M', b'I'] => return Err("big-endian numbers".into()),
        _ => return Err("another header".into()),
    }
    let mut others = Vec::new();
    while !rest.is_empty() {
        let element = Element::take(&mut rest).ok_or("an element that is cut off")?;
        let unpacked;
        let matrix = match element.kind {
            MATRIX => element.data,
            COMPRESSED => {
                let mut inner = Vec::new();
                ZlibDecoder::new(element.data)
                    .take(MOST_BYTES + 1)
                    .read_to_end(&mut inner)
                    .map_err(|e| format!("a damaged element: {e}"))?;
                if inner.len() as u64 > MOST_BYTES {
                    return Err(format!("a matrix that unpacks to more than {MOST_BYTES} bytes"));
                }
                unpacked = inner;
                match Element::take(&mut unpacked.as_slice()).ok_or("an element that is cut off")? {
                    Element { kind: MATRIX, data } => data,
                    _ => continue,
                }
            }
            _ => continue,
        };
        match numbers(matrix, name)? {
            Ok(found) => return Ok(found),
            Err(other) => others.push(other),
        }
    }
    Err(if others.is_empty() { "no matrix".into() } else { others.join(", ") })
}

const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// A tagged piece of the file.
struct Element<'a> {
    kind: u32,
    data: &'a [u8],
}

impl<'a> Element<'a> {
    fn take(bytes: &mut &'a [u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let (first, second) = (word(0)?, word(4)?);
        // Up to four bytes lie in the tag itself.
        let (kind, start, length): (u32, usize, usize) =
            if first >> 16 != 0 { (first & 0xffff, 4, (first >> 16) as usize) } else { (first, 8, second as usize) };
        let data = bytes.get(start..start.checked_add(length)?)?;
        let padded = if start == 4 { 8 } else { start + if kind == COMPRESSED { length } else { length.next_multiple_of(8) } };
        // The last element may end without its padding.
        *bytes = bytes.get(padded..).unwrap_or_default();
        (start == 8 || length <= 4).then_some(Self { kind, data })
    }
}

/// A matrix of that name, or another's name.
fn numbers(mut matrix: &[u8], name: &str) -> Result<Result<LabelPicture, String>, String> {
    let mut next = || Element::take(&mut matrix).ok_or("a matrix that is cut off");
    let (flags, sizes, found, values) = (next()?, next()?, next()?, next());
    let found = String::from_utf8_lossy(found.data);
    if found != name {
        return Ok(Err(found.into_owned()));
    }
    let class = flags.data.first().copied().unwrap_or(0);
    // 6 to 15 are the classes of numbers; 0x08 of the next byte marks complex ones.
    if !(6..=15).contains(&class) || flags.data.get(1).is_some_and(|f| f & 0x08 != 0) {
        return Err(format!("{name} of class {class}"));
    }
    let sizes: Vec<u32> = sizes.data.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let [height, width] = sizes[..] else { return Err(format!("{name} of {} dimensions", sizes.len())) };
    if height == 0 || width == 0 || u64::from(height) * u64::from(width) > MAX_PIXELS {
        return Err(format!("{name} of {height}×{width}"));
    }
    let values = values?;
    let (size, number): (usize, fn(&[u8]) -> f64) = match values.kind {
        1 => (1, |b| f64::from(b[0] as i8)),
        2 => (1, |b| f64::from(b[0])),
        3 => (2, |b| f64::from(i16::from_le_bytes(fixed(b)))),
        4 => (2, |b| f64::from(u16::from_le_bytes(fixed(b)))),
        5 => (4, |b| f64::from(i32::from_le_bytes(fixed(b)))),
        6 => (4, |b| f64::from(u32::from_le_bytes(fixed(b)))),
        7 => (4, |b| f64::from(f32::from_le_bytes(fixed(b)))),
        9 => (8, |b| f64::from_le_bytes(fixed(b))),
        12 => (8, |b| i64::from_le_bytes(fixed(b)) as f64),
        13 => (8, |b| u64::from_le_bytes(fixed(b)) as f64),
        kind => return Err(format!("{name} stored as type {kind}")),
    };
    let (rows, cols) = (height as usize, width as usize);
    if values.data.len() / size != rows * cols {
        return Err(format!("{} numbers for {name} of {height}×{width}", values.data.len() / size));
    }
    // MATLAB keeps a matrix column by column.
    let mut found = Vec::with_capacity(rows * cols);
    for at in (0..rows).flat_map(|row| (0..cols).map(move |col| col * rows + row)) {
        let value = number(&values.data[at * size..]);
        if value.fract() != 0.0 || !(0.0..=f64::from(u32::MAX)).contains(&value) {
            return Err(format!("{value} in {name}"));
        }
        found.push(value as u32);
    }
    Ok(Ok(LabelPicture { width, height, values: found }))
}

fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("a number's bytes")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const COMPRESSED_FILE: &[u8] = include_bytes!("../../../tests/data/label-maps/2008_000002.mat");
    const PLAIN_FILE: &[u8] = include_bytes!("../../../tests/data/label-maps/plain.mat");

    /// What `tests/python/make_label_maps.py` saves by scipy.
    fn expected(row: u32, col: u32) -> u32 {
        match (row, col) {
            (0, 0) => 255,
            (_, 0..16) => 2,
            (0..4, _) => 0,
            _ => 458,
        }
    }

    #[test]
    fn matrices_are_what_scipy_saved() {
        for (file, name) in [(COMPRESSED_FILE, "LabelMap"), (PLAIN_FILE, "LabelMap"), (PLAIN_FILE, "doubles")] {
            let found = parse(file, name).unwrap();
            assert_eq!((found.width, found.height), (32, 24), "{name}");
            for row in 0..24 {
                for col in 0..32 {
                    assert_eq!(found.values[(row * 32 + col) as usize], expected(row, col), "{name} {row} {col}");
                }
            }
        }
        let small = parse(PLAIN_FILE, "small").unwrap();
        assert_eq!((small.width, small.height, small.values), (2, 1, vec![7, 9]), "data inside a tag");
        let other = parse(PLAIN_FILE, "Labels").unwrap_err();
        assert!(other.contains("note, ") && other.contains("LabelMap"), "{other}");
        for name in ["note", "complex", "halves", "negative"] {
            assert!(parse(PLAIN_FILE, name).unwrap_err().contains(name), "{name}");
        }
    }

    #[test]
    fn other_files_are_named() {
        let header = |tail: [u8; 4]| [[b' '; 124].as_slice(), &tail].concat();
        assert!(parse(&header([0, 2, b'I', b'M']), "x").unwrap_err().contains("7.3"));
        assert!(parse(&header([1, 0, b'M', b'I']), "x").unwrap_err().contains("big-endian"));
        assert!(parse(&header([0, 1, b'I', b'M']), "x").unwrap_err().contains("no matrix"));
        assert!(parse(b"\x89PNG", "x").unwrap_err().contains("no header"));
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused() {
        let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&vec![0; MOST_BYTES as usize + 1]).unwrap();
        let packed = packed.finish().unwrap();
        let head = [[b' '; 124].as_slice(), &[0, 1, b'I', b'M']].concat();
        let file = [head.as_slice(), &COMPRESSED.to_le_bytes(), &(packed.len() as u32).to_le_bytes(), &packed].concat();
        assert!(file.len() < 1 << 20, "a small file");
        let refused = parse(&file, "LabelMap").unwrap_err();
        assert!(refused.contains("unpacks to more than"), "{refused}");
    }

    #[test]
    fn damaged_files_are_errors() {
        for file in [COMPRESSED_FILE, PLAIN_FILE] {
            for length in 0..file.len() {
                let _ = parse(&file[..length], "LabelMap");
            }
            for at in HEADER..file.len() {
                for byte in [0, 0x7f, 0xff] {
                    let mut changed = file.to_vec();
                    changed[at] = byte;
                    let _ = parse(&changed, "LabelMap");
                }
            }
        }
        assert!(parse(&COMPRESSED_FILE[..COMPRESSED_FILE.len() - 9], "LabelMap").is_err());
    }
}
