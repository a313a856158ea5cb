use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;

use super::due::{Due, came, key_frame, of_key};
use super::format::{
    BLOCK_BYTES, BLOCK_HEAD_BYTES, Before, END, HEADER_BYTES, Header, Hole, NewRecord, Records, StoredPart, check_model, encode_block_head,
    generation, millis, read_up_to, scales_of, write_at, written, wrong,
};
use crate::session::SegmentedFrame;
use crate::{Error, Result};
use edge_seg_bundle::files::has_name;
use edge_seg_model::{Cover, Encoded, Session, StoredRows, UnitRows};

/// How an index is written.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct IndexOptions {
    /// Most that the file takes, in bytes; beyond it the oldest goes out. From 4 MiB on.
    pub limit_bytes: u64,
    /// What a frame takes on average, in bytes. One that shows much that is new takes more, one that shows nothing new less.
    pub frame_bytes: u32,
    /// Frames that lie closer together than this are left out.
    pub interval: Duration,
}

impl Default for IndexOptions {
    fn default() -> Self {
        // 40 MB an hour at a frame a second, with what beginnings and ends of blocks take.
        Self { limit_bytes: 1 << 30, frame_bytes: 10_400, interval: Duration::from_secs(1) }
    }
}

impl IndexOptions {
    /// The same with another [`limit_bytes`](Self::limit_bytes).
    pub fn with_limit_bytes(self, limit_bytes: u64) -> Self {
        Self { limit_bytes, ..self }
    }

    /// The same with another [`frame_bytes`](Self::frame_bytes).
    pub fn with_frame_bytes(self, frame_bytes: u32) -> Self {
        Self { frame_bytes, ..self }
    }

    /// The same with another [`interval`](Self::interval).
    pub fn with_interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    fn blocks(&self) -> Result<u32> {
        let blocks = self.limit_bytes.saturating_sub(HEADER_BYTES as u64) / BLOCK_BYTES as u64;
        // A block is the least that goes out at once.
        if !(4 << 20..=1 << 40).contains(&self.limit_bytes) {
            return Err(Error::option("index limit", "4 MiB to 1 TiB", format!("{} bytes", self.limit_bytes)));
        }
        if !(1000..=200_000).contains(&self.frame_bytes) {
            return Err(Error::option("index frame_bytes", "1000 to 200000", self.frame_bytes));
        }
        Ok(u32::try_from(blocks).unwrap_or(1 << 20))
    }
}

/// A frame that is put into an index.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Seen<'a> {
    /// Its embeddings.
    pub encoded: &'a Encoded,
    /// What a thumbnail is made of.
    pub picture: &'a RgbImage,
    /// When it was captured.
    pub time: SystemTime,
    /// When it was captured, since its source began.
    pub at: Duration,
    /// The camera, or the file.
    pub origin: &'a str,
}

impl<'a> Seen<'a> {
    /// A frame by its embeddings and its picture, when it was captured by the clock and since its source began, and the camera or file.
    pub fn new(encoded: &'a Encoded, picture: &'a RgbImage, time: SystemTime, at: Duration, origin: &'a str) -> Self {
        Self { encoded, picture, time, at, origin }
    }
}

/// Writes an index. Whatever ends it, the frames that it was given before are in the file. Where that is removed or renamed meanwhile, it
/// begins another of its name.
pub struct IndexWriter {
    file: File,
    path: PathBuf,
    header: Header,
    frame_bytes: f64,
    /// The block that is written, its generation, and where its next record goes.
    block: u32,
    generation: u64,
    end: usize,
    known: Known,
    /// Bytes that may be used beyond the average, or that are owed.
    credit: f64,
    interval: Duration,
    /// What [`Self::add_shown`] took of each origin.
    due: HashMap<String, Due>,
}

impl std::fmt::Debug for IndexWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IndexWriter {{ {:?}, block {}, {} records }}", self.path, self.block, self.known.records)
    }
}

/// The embeddings of a block so far.
#[derive(Debug, Default)]
struct Known {
    rows: Vec<f32>, // [rows, dim]
    /// The record that last showed each. `[rows]`
    used: Vec<u32>,
    records: u32,
}

/// Records for which what was seen is compared with what comes.
const RECENT: u32 = 64;
/// Most embeddings that a frame is compared with.
const MOST_KNOWN: usize = 768;
/// A new block may take so much at once of what its frames would take on average.
const BLOCK_CREDIT: f64 = 4.0;
const THUMBNAIL_PX: u32 = 112;
const THUMBNAIL_QUALITY: u8 = 55;
const MOST_ORIGIN_BYTES: usize = 2048;
/// A thumbnail beyond this is left out.
const MOST_THUMBNAIL_BYTES: usize = 16 << 10;

impl IndexWriter {
    /// Opens an index to go on with it, or begins one.
    ///
    /// # Errors
    /// [`Words`](edge_seg_model::Error::Words) if the file is another one than an index, another model's, or being written by somebody
    /// else; [`Option`](edge_seg_model::Error::Option) if the limit is too small for it; [`Io`](edge_seg_model::Error::Io) if it cannot be
    /// read or written.
    pub fn open(path: &Path, session: &Session, options: &IndexOptions) -> Result<Self> {
        let bundle = session.bundle();
        let wanted = Header {
            dim: bundle.manifest().embedding_dim,
            block_bytes: BLOCK_BYTES,
            blocks: options.blocks()?,
            digest: bundle.digest().to_owned(),
            model: bundle.manifest().name.clone(),
        };
        Self::begin(path, wanted, f64::from(options.frame_bytes), options.interval)
    }

    fn begin(path: &Path, wanted: Header, frame_bytes: f64, interval: Duration) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(Error::io(path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(wrong(path, "an index that nobody writes", "one that another process, or part of this one, is writing"));
            }
            Err(TryLockError::Error(e)) => return Err(Error::io(path)(e)),
        }
        let about = file.metadata().map_err(Error::io(path))?;
        if !about.is_file() {
            return Err(wrong(path, "a file", "a folder, pipe or device"));
        }
        let mut writer = Self {
            file,
            path: path.into(),
            frame_bytes,
            header: wanted,
            block: 0,
            generation: 0,
            end: 0,
            known: Known::default(),
            credit: 0.0,
            interval,
            due: HashMap::new(),
        };
        // A power cut or a full disk may leave a part of the first write, and nothing was kept in it.
        if about.len() == 0 || (about.len() < HEADER_BYTES as u64 && Header::is_begun(&writer.file).map_err(Error::io(path))?) {
            writer.begin_file()?;
        } else {
            writer.go_on(about.len())?;
        }
        Ok(writer)
    }

    fn begin_file(&mut self) -> Result<()> {
        write_at(&self.file, &self.path, &self.header.encode(), 0)?;
        self.begin_block()
    }

    /// Goes on in another file where the one that is open has lost its name, and begins anew in one that was emptied.
    fn keep_its_name(&mut self) -> Result<()> {
        if !has_name(&self.file, &self.path).map_err(Error::io(&self.path))? {
            let wanted = Header { block_bytes: BLOCK_BYTES, ..self.header.clone() };
            let other = Self::begin(&self.path, wanted, self.frame_bytes, self.interval)?;
            *self = Self { due: std::mem::take(&mut self.due), ..other };
        } else if self.file.metadata().map_err(Error::io(&self.path))?.len() == 0 {
            self.begin_file()?;
        }
        Ok(())
    }

    /// Finds the end of a file that is there.
    fn go_on(&mut self, bytes: u64) -> Result<()> {
        let found = Header::read(&self.file, &self.path)?;
        check_model(&self.path, &found, &self.header.digest, &self.header.model)?;
        let begun = found.begun(bytes);
        if begun > self.header.blocks {
            let limit =
                |blocks: u32| format!("{} MiB", (u64::from(blocks) * found.block_bytes as u64 + HEADER_BYTES as u64).div_ceil(1 << 20));
            let expected = format!("at least {}, which {} has", limit(begun), self.path.display());
            return Err(Error::option("index limit", expected, limit(self.header.blocks)));
        }
        if found.blocks != self.header.blocks {
            write_at(&self.file, &self.path, &Header { block_bytes: found.block_bytes, ..self.header.clone() }.encode(), 0)?;
        }
        self.header.block_bytes = found.block_bytes;
        let Some((generation, block)) = self.generations(begun)?.into_iter().flatten().max() else { return self.begin_block() };
        (self.generation, self.block) = (generation, block);
        let mut bytes = vec![0; self.header.block_bytes];
        let read = read_up_to(&self.file, &mut bytes, self.header.block_at(block)).map_err(Error::io(&self.path))?;
        let mut records = Records::new(&bytes[..read], generation, self.header.dim);
        // Nothing is added behind damage, where it would be written over what is sound.
        let damaged = |hole: &Hole| {
            let at = self.header.block_at(block) + hole.bytes.start as u64;
            tracing::warn!("{}: damaged at byte {at}; what comes goes into another block", self.path.display());
        };
        records.by_ref().for_each(drop);
        if !records.damaged.is_empty() {
            records.damaged.iter().for_each(damaged);
            return self.begin_block();
        }
        for record in Records::new(&bytes[..read], generation, self.header.dim) {
            let scales = scales_of(record.scales).collect();
            let stored =
                StoredRows::from_parts(self.header.dim, record.values, scales).map_err(|e| wrong(&self.path, "an index", e.to_string()))?;
            self.known.add(stored.unpack(), self.header.dim, record.parts());
        }
        self.end = records.at;
        Ok(())
    }

    /// Each block's generation with its number, where it has one.
    fn generations(&self, begun: u32) -> Result<Vec<Option<(u64, u32)>>> {
        let head = |number: u32| -> Result<Option<(u64, u32)>> {
            let mut head = [0; BLOCK_HEAD_BYTES];
            read_up_to(&self.file, &mut head, self.header.block_at(number)).map_err(Error::io(&self.path))?;
            Ok(generation(&head).map(|generation| (generation, number)))
        };
        (0..begun).map(head).collect()
    }

    /// Begins the next block: a new one while there is room, else over the oldest.
    fn begin_block(&mut self) -> Result<()> {
        let bytes = self.file.metadata().map_err(Error::io(&self.path))?.len();
        let begun = self.header.begun(bytes);
        let generations = self.generations(begun)?;
        // One whose beginning is damaged holds nothing that can be read.
        let unused = (0..begun).find(|number| generations[*number as usize].is_none());
        let free = unused.or((begun < self.header.blocks).then_some(begun));
        let block = free.or_else(|| generations.iter().flatten().min().map(|(_, number)| *number)).unwrap_or(0);
        // The newest may be among those that do not tell theirs.
        let untold = generations.iter().filter(|told| told.is_none()).count() as u64;
        let next = 1 + untold + generations.iter().flatten().map(|(generation, _)| *generation).max().unwrap_or(0);
        if unused.is_some() {
            self.empty(block, bytes)?;
        }
        write_at(&self.file, &self.path, &encode_block_head(next), self.header.block_at(block))?;
        (self.block, self.generation, self.end) = (block, next, BLOCK_HEAD_BYTES);
        self.known = Known::default();
        self.credit = self.credit.max(BLOCK_CREDIT * self.frame_bytes);
        Ok(())
    }

    /// Overwrites a block whose beginning is lost, of a file of this length: records behind it would be taken for those of a generation
    /// that happens to be theirs.
    fn empty(&self, block: u32, length: u64) -> Result<()> {
        let at = self.header.block_at(block);
        let mut bytes = vec![0; self.header.block_bytes.min(length.saturating_sub(at) as usize)];
        let read = read_up_to(&self.file, &mut bytes, at).map_err(Error::io(&self.path))?;
        let written = written(&bytes[..read]);
        if written > 0 {
            tracing::warn!(
                "{}: damaged at byte {at}: {written} bytes are lost, and the frames in them; what comes is written over them",
                self.path.display()
            );
            write_at(&self.file, &self.path, &vec![0; written], at)?;
            self.sync()?;
        }
        Ok(())
    }

    fn check(&self, encoded: &Encoded) -> Result<()> {
        Ok(edge_seg_model::check_model("seen", "embeddings by", &self.header.digest, encoded.model_digest())?)
    }

    /// Puts a frame into the index.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if the file cannot be written, [`Option`](edge_seg_model::Error::Option) if the embeddings are
    /// another model's; the index stays as it was.
    pub fn add(&mut self, seen: &Seen<'_>) -> Result<()> {
        self.check(seen.encoded)?;
        let grid = &seen.encoded.grid;
        let dim = grid.patches().dim();
        if dim != self.header.dim {
            let expected = format!("embeddings of {} numbers", self.header.dim);
            return Err(edge_seg_model::Error::Tensor { what: "frame".into(), expected, found: dim.to_string() }.into());
        }
        self.keep_its_name()?;
        let thumbnail = thumbnail(seen.picture);
        let origin = &seen.origin[..seen.origin.floor_char_boundary(MOST_ORIGIN_BYTES)];
        self.credit = (self.credit + self.frame_bytes).min(6.0 * BLOCK_CREDIT * self.frame_bytes);
        let time_ms = millis(seen.time.duration_since(UNIX_EPOCH).unwrap_or_default());
        // A second time in a block of its own, if this one has no room.
        for again in [false, true] {
            let (known, of) = self.known.recent(dim);
            let panel_bytes = (StoredRows::PANEL * (dim.next_multiple_of(4) + 4)) as f64;
            let room = (self.credit - thumbnail.len() as f64 - 600.0).max(0.0) / panel_bytes;
            let most = (room as usize * StoredRows::PANEL).min(usize::from(u16::MAX) - self.known.used.len());
            let most = most.min(self.header.block_bytes / 2 / panel_bytes as usize * StoredRows::PANEL);
            let cover = Cover::of(grid, &known, most);
            let rows: Vec<f32> = cover.new.iter().flat_map(|patch| grid.patches().row(*patch)).copied().collect();
            let stored = if rows.is_empty() { None } else { Some(StoredRows::pack(&UnitRows::normalise("patches", dim, rows)?)) };
            let first = self.known.used.len();
            let place = |row: usize| of.get(row).copied().unwrap_or_else(|| first + row - of.len());
            let part = |part| StoredPart::new(part, place(part.row) as u16, &seen.encoded.placement);
            let parts: Vec<StoredPart> = cover.parts.iter().filter_map(part).collect();
            let record = NewRecord {
                time_ms,
                at_ms: millis(seen.at),
                frame_px: seen.encoded.placement.frame_px,
                origin,
                thumbnail: &thumbnail,
                parts: &parts,
                rows: stored.as_ref(),
                before: self.known.before(),
            };
            let bytes = record.encode(self.generation);
            if self.end + bytes.len() > self.header.block_bytes && !again {
                self.begin_block()?;
                continue;
            }
            write_at(&self.file, &self.path, &bytes, self.header.block_at(self.block) + self.end as u64)?;
            self.end += bytes.len();
            self.credit -= bytes.len() as f64;
            self.known.add(stored.map(|stored| stored.unpack()).unwrap_or_default(), dim, parts.into_iter());
            return Ok(());
        }
        Ok(())
    }

    /// Puts the key frame of a frame of a session on video into the index, with its own picture and time, if it is not in it yet and the
    /// last one of this origin came [`IndexOptions::interval`] before it or earlier; tells whether it did. `time` is when the frame that is
    /// given was captured, or when it came if none. Where the key frame is not at hand, frames that are no key frames are passed over.
    ///
    /// # Errors
    /// As [`Self::add`]; [`Option`](edge_seg_model::Error::Option) if something of the frame is hidden.
    pub fn add_shown(&mut self, shown: &SegmentedFrame, time: Option<SystemTime>, origin: &str) -> Result<bool> {
        self.check(&shown.encoded)?;
        let mut due = self.due.get(origin).copied().unwrap_or_default();
        if !due.is_due(shown, self.interval)? {
            return Ok(false);
        }
        let Some(frame) = key_frame(shown) else { return Ok(false) };
        let time = of_key(time.unwrap_or_else(|| came(shown)), shown);
        self.add(&Seen { encoded: &shown.encoded, picture: &frame.pixels, time, at: frame.timestamp, origin })?;
        due.took(shown);
        self.due.insert(origin.to_owned(), due);
        Ok(true)
    }

    /// Notes that all of a file is in the index: [`Contents::whole`](super::Contents::whole) says so.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn end_of(&mut self, origin: &str, time: SystemTime) -> Result<()> {
        self.keep_its_name()?;
        let origin = &origin[..origin.floor_char_boundary(MOST_ORIGIN_BYTES)];
        let time_ms = millis(time.duration_since(UNIX_EPOCH).unwrap_or_default());
        let record = |before| NewRecord { time_ms, at_ms: END, frame_px: (1, 1), origin, thumbnail: &[], parts: &[], rows: None, before };
        let mut bytes = record(self.known.before()).encode(self.generation);
        if self.end + bytes.len() > self.header.block_bytes {
            self.begin_block()?;
            bytes = record(self.known.before()).encode(self.generation);
        }
        write_at(&self.file, &self.path, &bytes, self.header.block_at(self.block) + self.end as u64)?;
        self.end += bytes.len();
        self.known.records += 1;
        Ok(())
    }

    /// Sees to it that what was put in outlasts a loss of power, too.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if the disk refuses.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io(&self.path))
    }
}

impl Known {
    fn before(&self) -> Before {
        Before { records: self.records as usize, rows: self.used.len() }
    }

    /// Takes in a record: its new embeddings, and which ones it shows.
    fn add(&mut self, rows: Vec<f32>, dim: usize, parts: impl Iterator<Item = StoredPart>) {
        self.rows.extend(rows);
        self.used.resize(self.rows.len() / dim, self.records);
        parts.for_each(|part| self.used[usize::from(part.row)] = self.records);
        self.records += 1;
    }

    /// The embeddings that were seen lately, and which they are. `[known, dim]`, `[known]`
    fn recent(&self, dim: usize) -> (Vec<f32>, Vec<usize>) {
        let oldest = self.records.saturating_sub(RECENT);
        let mut of: Vec<usize> = (0..self.used.len()).filter(|row| self.used[*row] >= oldest).collect();
        if of.len() > MOST_KNOWN {
            of.sort_by_key(|row| std::cmp::Reverse(self.used[*row]));
            of.truncate(MOST_KNOWN);
        }
        (of.iter().flat_map(|row| &self.rows[row * dim..][..dim]).copied().collect(), of)
    }
}

/// The picture, small; nothing if it cannot be.
fn thumbnail(picture: &RgbImage) -> Vec<u8> {
    let (width, height) = picture.dimensions();
    if width == 0 || height == 0 {
        return Vec::new();
    }
    let scale = f64::from(THUMBNAIL_PX) / f64::from(width.max(height));
    let side = |px: u32| ((f64::from(px) * scale).round() as u32).clamp(1, px);
    let small = image::imageops::thumbnail(picture, side(width), side(height));
    let mut jpeg = Cursor::new(Vec::new());
    match JpegEncoder::new_with_quality(&mut jpeg, THUMBNAIL_QUALITY).encode_image(&small) {
        Ok(()) if jpeg.get_ref().len() <= MOST_THUMBNAIL_BYTES => jpeg.into_inner(),
        _ => Vec::new(),
    }
}
