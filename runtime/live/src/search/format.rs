//! How an index lies in its file: a header, then blocks of one size, each of which can be read alone. All numbers are little-endian.
//!
//! | part | holds |
//! |---|---|
//! | header, 4096 bytes | magic `ESINDEX1`, width of an embedding (u32), bytes of a block (u32), blocks at most (u32), the model's digest and name (u16 and text each), zeros, CRC-32 of it all |
//! | block | magic `ESBK`, CRC-32 of what follows it, generation (u64), zeros up to 64 bytes, then records |
//! | record | its length and CRC-32 (u32 each), then [`Record`] |
//!
//! Generations rise with each block that is begun; the block with the lowest is the oldest, and the next to be written over. A
//! record's checksum begins with its block's generation: what an older block left behind it is no record. So whatever was cut off while it
//! was written, all records before it stand; and where sound records lie behind one that is none, it is damaged. A record tells how many
//! records and embeddings its block has before it, and where it comes from: it is read whatever has become of those. Older programs wrote
//! zeros in place of the two numbers, and the origin where it changed; they pass over the numbers.

use std::fs::File;
use std::io::{Error as IoError, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use edge_seg_bundle::text::shown;
use edge_seg_model::{Part, Placement, StoredRows};

use crate::{Error, Result};

const MAGIC: [u8; 8] = *b"ESINDEX1";
const BLOCK_MAGIC: [u8; 4] = *b"ESBK";
pub(super) const HEADER_BYTES: usize = 4096;
pub(super) const BLOCK_HEAD_BYTES: usize = 64;
pub(super) const BLOCK_BYTES: usize = 1 << 20;
const RECORD_HEAD_BYTES: usize = 8;
const FIXED_BYTES: usize = 36;
/// Where the counts of a record's parts are in these.
const COUNTS_AT: usize = 24;
/// Where its own number is, from 1, and then that of the embeddings before it (u16 each).
const PLACE_AT: usize = 32;
const PART_BYTES: usize = 6;
/// Sizes that a header may claim.
const SANE_BLOCKS: std::ops::RangeInclusive<u32> = 2..=1 << 20;
const SANE_BLOCK_BYTES: std::ops::RangeInclusive<u32> = 1 << 16..=1 << 24;
const SANE_DIM: std::ops::RangeInclusive<u32> = 1..=1 << 13;

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub dim: usize,
    pub block_bytes: usize,
    pub blocks: u32,
    pub digest: String,
    pub model: String,
}

/// An error about the contents of an index.
pub(super) fn wrong(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::words(path.display().to_string(), expected, found)
}

impl Header {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        for number in [self.dim as u32, self.block_bytes as u32, self.blocks] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for text in [&self.digest, &self.model] {
            let text = &text.as_bytes()[..text.floor_char_boundary(1000)];
            bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
            bytes.extend_from_slice(text);
        }
        bytes.resize(HEADER_BYTES - 4, 0);
        let sum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// # Errors
    /// [`Error::Words`](edge_seg_model::Error::Words) if the file is no index, or one that is damaged.
    pub fn read(file: &File, path: &Path) -> Result<Self> {
        const WANTED: &str = "an index of edge-seg, version 1";
        let mut bytes = [0; HEADER_BYTES];
        let found = read_up_to(file, &mut bytes, 0).map_err(Error::io(path))?;
        if !bytes[..found].starts_with(&MAGIC) {
            let start = &bytes[..found.min(8)];
            let what = match start {
                [] => "an empty file".to_owned(),
                _ if start.starts_with(&MAGIC[..7]) => format!("version {}", shown(&String::from_utf8_lossy(&start[7..]))),
                _ => format!("a file that begins with {}", shown(&format!("{:?}", String::from_utf8_lossy(start)))),
            };
            return Err(wrong(path, WANTED, what));
        }
        if found < HEADER_BYTES {
            return Err(wrong(path, format!("{WANTED}, whose header has {HEADER_BYTES} bytes"), format!("{found} bytes")));
        }
        let damaged = |what: &str| wrong(path, WANTED, format!("a damaged header: {what}"));
        let (body, sum) = bytes.split_at(HEADER_BYTES - 4);
        let mut fields = Fields(&body[MAGIC.len()..]);
        if sum != crc32fast::hash(body).to_le_bytes() {
            return Err(damaged("its checksum is another"));
        }
        let mut read = || -> Option<_> {
            let [dim, block_bytes, blocks] = [fields.u32()?, fields.u32()?, fields.u32()?];
            let mut text = || Some(String::from_utf8_lossy(fields.text()?).into_owned());
            Some((dim, block_bytes, blocks, text()?, text()?))
        };
        let (dim, block_bytes, blocks, digest, model) = read().ok_or_else(|| damaged("a text beyond its end"))?;
        if !SANE_DIM.contains(&dim) || !SANE_BLOCK_BYTES.contains(&block_bytes) || !SANE_BLOCKS.contains(&blocks) {
            return Err(damaged(&format!("{blocks} blocks of {block_bytes} bytes for embeddings of {dim} numbers")));
        }
        Ok(Self { dim: dim as usize, block_bytes: block_bytes as usize, blocks, digest, model })
    }

    /// Whether a file that is shorter than a header is the beginning of one.
    pub fn is_begun(file: &File) -> std::io::Result<bool> {
        let mut start = [0; MAGIC.len()];
        let found = read_up_to(file, &mut start, 0)?;
        Ok(start[..found] == MAGIC)
    }

    pub fn block_at(&self, number: u32) -> u64 {
        HEADER_BYTES as u64 + u64::from(number) * self.block_bytes as u64
    }

    /// Blocks that a file of this length has begun.
    pub fn begun(&self, bytes: u64) -> u32 {
        let blocks = bytes.saturating_sub(HEADER_BYTES as u64).div_ceil(self.block_bytes as u64);
        blocks.min(u64::from(self.blocks)) as u32
    }
}

/// Whether an index is a model's.
///
/// # Errors
/// [`Words`](edge_seg_model::Error::Words) if not, with both models' names.
pub(super) fn check_model(path: &Path, header: &Header, digest: &str, name: &str) -> Result<()> {
    if header.digest == digest {
        return Ok(());
    }
    let short = |digest: &str| digest.chars().take(12).collect::<String>();
    let model =
        |name: &str, digest: &str| format!("{} ({})", edge_seg_bundle::text::shown(name), edge_seg_bundle::text::shown(&short(digest)));
    let expected = format!("an index of the model {}", model(name, digest));
    Err(wrong(path, expected, format!("one of {}; embeddings of two models cannot be compared", model(&header.model, &header.digest))))
}

/// Reads as much as there is.
pub(super) fn read_up_to(file: &File, bytes: &mut [u8], at: u64) -> std::io::Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], at + read as u64) {
            Ok(0) => break,
            Ok(some) => read += some,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(read)
}

/// How many of a block's bytes were ever written: behind them are zeros alone.
pub(super) fn written(block: &[u8]) -> usize {
    block.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

pub(super) fn encode_block_head(generation: u64) -> [u8; BLOCK_HEAD_BYTES] {
    let mut bytes = [0; BLOCK_HEAD_BYTES];
    bytes[..4].copy_from_slice(&BLOCK_MAGIC);
    bytes[8..16].copy_from_slice(&generation.to_le_bytes());
    let sum = crc32fast::hash(&bytes[8..]);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// A block's generation; none if it was never begun, or its beginning is damaged.
pub(super) fn generation(bytes: &[u8]) -> Option<u64> {
    let head = bytes.first_chunk::<BLOCK_HEAD_BYTES>()?;
    let generation = u64::from_le_bytes(head[8..16].try_into().ok()?);
    (head[..4] == BLOCK_MAGIC && head[4..8] == crc32fast::hash(&head[8..]).to_le_bytes() && generation > 0).then_some(generation)
}

/// One frame or picture: its time, what it looked like, and where.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record<'a> {
    /// Milliseconds since 1970, in UTC.
    pub time_ms: u64,
    /// Milliseconds since its source began.
    pub at_ms: u64,
    /// Width and height in pixels.
    pub frame_px: (u32, u32),
    /// Where it comes from; as the record before if empty.
    pub origin: &'a str,
    /// A JPEG, or nothing.
    pub thumbnail: &'a [u8],
    /// Its parts, [`PART_BYTES`] each.
    parts: &'a [u8],
    /// Scales of its new embeddings, four bytes each. `[panels, PANEL]`
    pub scales: &'a [u8],
    /// Their values. `[panels, dim / 4, PANEL, 4]`
    pub values: &'a [u8],
    /// Embeddings of its block before its own.
    pub first_row: usize,
}

/// A part of a picture: its embedding, and left, top, right and bottom, in 256ths of the picture, the last two inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredPart {
    pub row: u16,
    pub edges: [u8; 4],
}

impl StoredPart {
    /// A part as it lies in the frame; none of padding alone.
    pub fn new(part: &Part, row: u16, placement: &Placement) -> Option<Self> {
        let [col, first, cols, rows] = part.cells;
        let (width, height) = placement.frame_px;
        let [left, top, ..] = placement.patch_px_box(first, col)?;
        let [last_left, last_top, last_width, last_height] = placement.patch_px_box(first + rows.max(1) - 1, col + cols.max(1) - 1)?;
        let share = |px: u32, of: u32| u64::from(px) * 256 / u64::from(of.max(1));
        let end = |px: u32, of: u32| (u64::from(px) * 256).div_ceil(u64::from(of.max(1))).clamp(1, 256) - 1;
        let edges = [
            share(left, width).min(255),
            share(top, height).min(255),
            end(last_left + last_width, width),
            end(last_top + last_height, height),
        ];
        Some(Self { row, edges: edges.map(|edge| edge as u8) })
    }

    /// Left, top, width and height in pixels.
    pub fn box_px(edges: [u8; 4], (width, height): (u32, u32)) -> [u32; 4] {
        let start = |edge: u8, of: u32| (u64::from(edge) * u64::from(of) / 256) as u32;
        let end = |edge: u8, of: u32| ((u64::from(edge) + 1) * u64::from(of)).div_ceil(256) as u32;
        let [left, top, right, bottom] = edges;
        let (x, y) = (start(left, width), start(top, height));
        [x, y, end(right, width) - x, end(bottom, height) - y]
    }
}

/// The time of what is no frame.
pub(super) const END: u64 = u64::MAX;

/// What is written of one frame.
pub(super) struct NewRecord<'a> {
    pub time_ms: u64,
    pub at_ms: u64,
    pub frame_px: (u32, u32),
    pub origin: &'a str,
    pub thumbnail: &'a [u8],
    pub parts: &'a [StoredPart],
    pub rows: Option<&'a StoredRows<'a>>,
    /// Records and embeddings of its block before it.
    pub before: Before,
}

/// What a block has before a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Before {
    pub records: usize,
    pub rows: usize,
}

impl Before {
    /// Four bytes; zeros where it is too much to be told.
    fn encode(self) -> [u8; 4] {
        let [number, rows] = [self.records + 1, self.rows].map(|count| u16::try_from(count).ok());
        let [[a, b], [c, d]] = number.zip(rows).map_or([[0; 2]; 2], |(number, rows)| [number, rows].map(u16::to_le_bytes));
        [a, b, c, d]
    }

    fn read(record: &[u8]) -> Option<Self> {
        let mut fields = Fields(record.get(RECORD_HEAD_BYTES + PLACE_AT..)?);
        Some(Self { records: fields.u16()?.checked_sub(1)?, rows: fields.u16()? })
    }
}

impl NewRecord<'_> {
    pub fn encode(&self, generation: u64) -> Vec<u8> {
        let (values, scales) = self.rows.map_or((&[][..], &[][..]), StoredRows::parts);
        let mut bytes = vec![0; RECORD_HEAD_BYTES];
        bytes.extend_from_slice(&self.time_ms.to_le_bytes());
        bytes.extend_from_slice(&self.at_ms.to_le_bytes());
        bytes.extend_from_slice(&self.frame_px.0.to_le_bytes());
        bytes.extend_from_slice(&self.frame_px.1.to_le_bytes());
        let counts = [scales.len() / StoredRows::PANEL, self.parts.len(), self.origin.len(), self.thumbnail.len()];
        debug_assert!(counts.iter().all(|count| *count <= usize::from(u16::MAX)));
        counts.iter().for_each(|count| bytes.extend_from_slice(&(*count as u16).to_le_bytes()));
        bytes.extend_from_slice(&self.before.encode());
        bytes.extend_from_slice(self.origin.as_bytes());
        bytes.extend_from_slice(self.thumbnail);
        for part in self.parts {
            bytes.extend_from_slice(&part.row.to_le_bytes());
            bytes.extend_from_slice(&part.edges);
        }
        scales.iter().for_each(|scale| bytes.extend_from_slice(&scale.to_le_bytes()));
        bytes.extend(values.iter().map(|value| *value as u8));
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        let sum = checksum(generation, &bytes);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}

fn checksum(generation: u64, record: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&generation.to_le_bytes());
    sum.update(&record[..4]);
    sum.update(&record[RECORD_HEAD_BYTES..]);
    sum.finalize()
}

/// How long a record and its parts are, where they fit together: bytes that are none hardly ever do.
#[derive(Clone, Copy)]
struct Layout {
    length: usize,
    rows: usize,
    parts: usize,
    origin: usize,
    thumbnail: usize,
}

impl Layout {
    fn read(rest: &[u8], dim: usize) -> Option<Self> {
        let length = u32::from_le_bytes(*rest.first_chunk()?) as usize;
        if length < RECORD_HEAD_BYTES + FIXED_BYTES || length > rest.len() {
            return None;
        }
        let mut fields = Fields(&rest[RECORD_HEAD_BYTES + COUNTS_AT..]);
        let [panels, parts, origin, thumbnail] = [fields.u16()?, fields.u16()?, fields.u16()?, fields.u16()?];
        let rows = panels * StoredRows::PANEL;
        let inside = origin + thumbnail + parts * PART_BYTES + rows * (4 + dim.next_multiple_of(4));
        (RECORD_HEAD_BYTES + FIXED_BYTES + inside == length).then_some(Self { length, rows, parts, origin, thumbnail })
    }

    /// The record that begins with these bytes, if it is sound. `first_row` embeddings are in its block before it.
    fn record<'a>(&self, rest: &'a [u8], generation: u64, first_row: usize) -> Option<Record<'a>> {
        let record = &rest[..self.length];
        if record[4..8] != checksum(generation, record).to_le_bytes() {
            return None;
        }
        let mut fields = Fields(&record[RECORD_HEAD_BYTES..]);
        let (time_ms, at_ms, frame_px) = (fields.u64()?, fields.u64()?, (fields.u32()?, fields.u32()?));
        let mut fields = Fields(&record[RECORD_HEAD_BYTES + FIXED_BYTES..]);
        let origin = std::str::from_utf8(fields.take(self.origin)?).ok()?;
        let thumbnail = fields.take(self.thumbnail)?;
        let parts = fields.take(self.parts * PART_BYTES)?;
        let scales = fields.take(self.rows * 4)?;
        let record = Record { time_ms, at_ms, frame_px, origin, thumbnail, parts, scales, values: fields.0, first_row };
        // A checksum keeps out what was torn, not what somebody made up.
        let known = first_row + self.rows;
        let fits = |part: StoredPart| usize::from(part.row) < known && part.edges[0] <= part.edges[2] && part.edges[1] <= part.edges[3];
        (frame_px.0 > 0 && frame_px.1 > 0 && record.parts().all(fits)).then_some(record)
    }

    /// The origin that a damaged record names, if it can be read.
    fn origin<'a>(&self, rest: &'a [u8]) -> Option<&'a str> {
        let text = std::str::from_utf8(&rest[RECORD_HEAD_BYTES + FIXED_BYTES..][..self.origin]).ok()?;
        (!text.is_empty() && edge_seg_bundle::text::hidden(text).next().is_none()).then_some(text)
    }
}

/// A part of a block that cannot be read, though it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hole {
    /// Its first and last byte in the block.
    pub bytes: Range<usize>,
    /// Embeddings that were there.
    pub rows: Range<usize>,
    /// Records that were there, where that is known.
    pub records: Option<usize>,
}

/// The records of a block. `bytes` is the whole block, or as much as the file has of it.
///
/// After a record that is none there may be nothing, what an older block left, or a record that was cut off while it was written: that is
/// the end. Sound records beyond it say that it is damaged. They are given too where they tell how many embeddings are before them, or the
/// damaged one still tells how many it had.
pub(super) struct Records<'a> {
    bytes: &'a [u8],
    generation: u64,
    dim: usize,
    /// Where the last record began in the block.
    pub began: usize,
    /// Where the next record begins.
    pub at: usize,
    /// Records and embeddings so far, those in holes too.
    pub before: Before,
    /// Where the last record comes from.
    pub origin: &'a str,
    pub damaged: Vec<Hole>,
}

impl<'a> Records<'a> {
    pub fn new(bytes: &'a [u8], generation: u64, dim: usize) -> Self {
        let before = Before { records: 0, rows: 0 };
        Self { bytes, generation, dim, began: 0, at: BLOCK_HEAD_BYTES, before, origin: "", damaged: Vec::new() }
    }

    /// The record that begins at a place.
    pub fn one(bytes: &'a [u8], generation: u64, dim: usize, at: usize) -> Option<Record<'a>> {
        // Its parts may point to embeddings before it.
        Self::sound(bytes.get(at..)?, generation, dim, usize::from(u16::MAX)).map(|(record, _)| record)
    }

    fn sound(rest: &'a [u8], generation: u64, dim: usize, first_row: usize) -> Option<(Record<'a>, Layout)> {
        let layout = Layout::read(rest, dim)?;
        Some((layout.record(rest, generation, first_row)?, layout))
    }

    /// The next sound record, over those that are damaged.
    fn skip(&mut self) -> Option<(Record<'a>, Layout)> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.iter().all(|byte| *byte == 0) {
            return None;
        }
        let (mut at, mut before, mut origin) = (self.at, self.before, self.origin);
        while let Some(rest) = self.bytes.get(at..)
            && let Some(layout) = Layout::read(rest, self.dim)
            && before.rows <= usize::from(u16::MAX)
        {
            if let Some(record) = layout.record(rest, self.generation, before.rows)
                && Before::read(rest).is_none_or(|told| told == before)
            {
                self.origin = origin;
                return Some(self.beyond(at, before, (record, layout)));
            }
            origin = layout.origin(rest).unwrap_or(origin);
            (at, before) = (at + layout.length, Before { records: before.records + 1, rows: before.rows + layout.rows });
        }
        let (mut at, mut end) = (self.at + 1, None);
        while let Some(rest) = self.bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let Some((_, layout)) = Self::sound(rest, self.generation, self.dim, usize::from(u16::MAX)) else {
                at += 1;
                continue;
            };
            if let Some(told) = Before::read(rest).filter(|told| told.records >= self.before.records && told.rows >= self.before.rows)
                && let Some(record) = layout.record(rest, self.generation, told.rows)
            {
                return Some(self.beyond(at, told, (record, layout)));
            }
            // One of an older program: whose embeddings are which nobody knows behind the damage.
            at += layout.length;
            end = Some(at);
        }
        let hole = |end| Hole { bytes: self.at..end, rows: self.before.rows..self.before.rows, records: None };
        self.damaged.extend(end.map(hole));
        None
    }

    /// Notes that all up to a record is a hole.
    fn beyond(&mut self, at: usize, before: Before, found: (Record<'a>, Layout)) -> (Record<'a>, Layout) {
        let records = Some(before.records - self.before.records);
        self.damaged.push(Hole { bytes: self.at..at, rows: self.before.rows..before.rows, records });
        (self.at, self.before) = (at, before);
        found
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let sound = |all: &Self| {
            let rest = all.bytes.get(all.at..)?;
            let found = Self::sound(rest, all.generation, all.dim, all.before.rows)?;
            Before::read(rest).is_none_or(|told| told == all.before).then_some(found)
        };
        let (record, layout) = sound(self).or_else(|| self.skip())?;
        if !record.origin.is_empty() {
            self.origin = record.origin;
        }
        (self.began, self.at) = (self.at, self.at + layout.length);
        self.before = Before { records: self.before.records + 1, rows: self.before.rows + layout.rows };
        Some(record)
    }
}

impl<'a> Record<'a> {
    /// Whether it says that all of its file is in the index, and is no frame.
    pub fn is_end(&self) -> bool {
        self.at_ms == END
    }

    pub fn parts(&self) -> impl Iterator<Item = StoredPart> + 'a {
        self.parts.chunks_exact(PART_BYTES).map(|b| StoredPart { row: u16::from_le_bytes([b[0], b[1]]), edges: [b[2], b[3], b[4], b[5]] })
    }
}

/// Numbers and texts one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<usize> {
        Some(usize::from(u16::from_le_bytes(self.take(2)?.try_into().ok()?)))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length)
    }
}

/// Writes all of it at a place in the file.
pub(super) fn write_at(file: &File, path: &Path, bytes: &[u8], at: u64) -> Result<()> {
    file.write_all_at(bytes, at).map_err(|e: IoError| Error::io(path)(e))
}

/// Scales as they lie in the file.
pub(super) fn scales_of(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(END).min(END - 1)
}
