use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rayon::prelude::*;

use super::format::{
    BLOCK_HEAD_BYTES, Header, Hole, Record, Records, StoredPart, check_model, generation, millis, read_up_to, scales_of, written, wrong,
};
use crate::{Error, Result};
use edge_seg_model::{Class, Example, PackedWords, Scoring, Session, StoredRows, WordBank, WordList};

/// An index that is read. It may be written meanwhile.
#[derive(Debug)]
pub struct Index {
    file: File,
    path: PathBuf,
    header: Header,
    damaged: Mutex<BTreeSet<Damage>>,
}

/// A part of an index that cannot be read, though it was written: something has damaged the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Damage {
    /// Where it begins in the file.
    pub at: u64,
    /// Bytes that are lost: those that had been written.
    pub bytes: u64,
    /// Frames that are lost, where the index still tells how many.
    pub frames: Option<u64>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, bytes, frames } = self;
        match frames {
            Some(1) => write!(f, "damaged at byte {at}: a frame is lost ({bytes} bytes)"),
            Some(frames) => write!(f, "damaged at byte {at}: {frames} frames are lost ({bytes} bytes)"),
            None => write!(f, "damaged at byte {at}: {bytes} bytes are lost, and the frames in them"),
        }
    }
}

/// What is looked for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Query {
    /// The score, in 0..1, from which a frame shows a word. If none, the model's own: for tags, and that of its background for a word of
    /// examples alone, whose row is made to meet that one.
    pub threshold: Option<f32>,
    /// Frames before this are left out.
    pub since: Option<SystemTime>,
    /// Frames after this are left out.
    pub until: Option<SystemTime>,
    /// Frames of one origin that lie no further apart make one answer.
    pub gap: Duration,
    /// Answers a word at most, the best first.
    pub most: usize,
    /// Origins that are asked for, with the time at which each began; frames of others, or of another beginning, are left out. All if none.
    pub starts: Option<HashMap<Arc<str>, SystemTime>>,
    /// Origins that truly began at another time than the index has of them; answers are by this time.
    pub corrected: HashMap<Arc<str>, SystemTime>,
}

impl Default for Query {
    fn default() -> Self {
        Self { threshold: None, since: None, until: None, gap: Duration::from_secs(5), most: 20, starts: None, corrected: HashMap::new() }
    }
}

impl Query {
    /// The same with another [`threshold`](Self::threshold).
    pub fn with_threshold(self, threshold: impl Into<Option<f32>>) -> Self {
        Self { threshold: threshold.into(), ..self }
    }

    /// The same with another [`since`](Self::since) and [`until`](Self::until).
    pub fn within(self, since: Option<SystemTime>, until: Option<SystemTime>) -> Self {
        Self { since, until, ..self }
    }

    /// The same with another [`gap`](Self::gap).
    pub fn with_gap(self, gap: Duration) -> Self {
        Self { gap, ..self }
    }

    /// The same with another [`most`](Self::most).
    pub fn with_most(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// The same with other [`starts`](Self::starts).
    pub fn with_starts(self, starts: Option<HashMap<Arc<str>, SystemTime>>) -> Self {
        Self { starts, ..self }
    }

    /// The same with other [`corrected`](Self::corrected).
    pub fn with_corrected(self, corrected: HashMap<Arc<str>, SystemTime>) -> Self {
        Self { corrected, ..self }
    }

    /// The time of a frame that is asked for.
    fn time_of(&self, record: &Record<'_>, origin: &str) -> Option<u64> {
        if let Some(starts) = &self.starts {
            let began = time(record.time_ms).checked_sub(Duration::from_millis(record.at_ms));
            if began.is_none() || starts.get(origin).copied() != began {
                return None;
            }
        }
        let time_ms = match self.corrected.get(origin) {
            Some(start) => millis(start.duration_since(UNIX_EPOCH).unwrap_or_default()).saturating_add(record.at_ms),
            None => record.time_ms,
        };
        let time = time(time_ms);
        let within = self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until);
        within.then_some(time_ms)
    }
}

/// When and where a word was seen: one frame or several in a row.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Sighting {
    /// The word's place among the classes.
    pub class: usize,
    /// The score of the best frame, in 0..1; of a model without calibrated scores and a word alone its cosine.
    pub score: f32,
    /// The camera, or the file.
    pub origin: Arc<str>,
    /// The first frame's time.
    pub from: SystemTime,
    /// The best frame's time.
    pub best: SystemTime,
    /// The last frame's time.
    pub to: SystemTime,
    /// The best frame's time, since its source began.
    pub at: Duration,
    /// Frames.
    pub frames: usize,
    /// Where it is in the best frame, in pixels: left, top, width, height.
    pub box_px: [u32; 4],
    /// Width and height of that frame.
    pub frame_px: (u32, u32),
    place: Place,
}

impl Sighting {
    /// The best first; of the equally good the last: where something lay last is what is asked most. Of one time by their names, in whatever
    /// order they came into the index.
    pub fn by_rank(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then_with(|| other.from.cmp(&self.from)).then_with(|| self.origin.cmp(&other.origin))
    }
}

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    block: u32,
    generation: u64,
    at: usize,
}

/// A frame that shows a class.
struct Match {
    class: usize,
    score: f32,
    origin: Arc<str>,
    time_ms: u64,
    at_ms: u64,
    frame_px: (u32, u32),
    edges: [u8; 4],
    place: Place,
}

/// What an index holds.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Contents {
    /// Frames, or pictures.
    pub frames: u64,
    /// Embeddings.
    pub embeddings: u64,
    /// The first and the last frame's time.
    pub span: Option<(SystemTime, SystemTime)>,
    /// Cameras and files.
    pub origins: BTreeSet<Arc<str>>,
    /// Files of which it holds all ([`IndexWriter::end_of`](super::IndexWriter::end_of)), with the time that was told of each.
    pub whole: BTreeMap<Arc<str>, SystemTime>,
}

impl Index {
    /// Opens an index.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if it cannot be read, [`Words`](edge_seg_model::Error::Words) if it is none, or its header is
    /// damaged.
    pub fn open(path: &Path) -> Result<Self> {
        // Asked before it is opened, which waits for a writer where it is a named pipe.
        if !std::fs::metadata(path).map_err(Error::io(path))?.is_file() {
            return Err(wrong(path, "an index of edge-seg, version 1", "a folder, pipe or device"));
        }
        let file = File::open(path).map_err(Error::io(path))?;
        let header = Header::read(&file, path)?;
        Ok(Self { file, path: path.into(), header, damaged: Mutex::default() })
    }

    /// Whether a file begins as an index does.
    pub fn is_one(path: &Path) -> bool {
        Self::open(path).is_ok()
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was found damaged in what was read so far; all else was read. A record at the end that was cut off while it was written is none.
    pub fn damage(&self) -> Vec<Damage> {
        self.damaged.lock().iter().copied().collect()
    }

    /// The digest of the model that made it.
    pub fn model_digest(&self) -> &str {
        &self.header.digest
    }

    /// Looks for words: each class's sightings, the best first.
    ///
    /// # Errors
    /// [`Words`](edge_seg_model::Error::Words) if the index is another model's, [`Option`](edge_seg_model::Error::Option) if the words are,
    /// [`Io`](edge_seg_model::Error::Io) if it cannot be read.
    pub fn search(&self, session: &Session, bank: &WordBank, query: &Query) -> Result<Vec<Vec<Sighting>>> {
        let threshold = query.threshold.unwrap_or(session.bundle().manifest().tag_threshold);
        self.look(session, bank, &vec![threshold; bank.names().len()], query)
    }

    /// As [`Self::search`], of a list of words. An example that is all of its picture is told from what the index shows on average.
    ///
    /// # Errors
    /// As [`Self::search`].
    pub fn find(&self, session: &Session, words: &WordList, query: &Query) -> Result<Vec<Vec<Sighting>>> {
        words.bank().check(session)?;
        let manifest = session.bundle().manifest();
        let shown = if manifest.logit_bias.is_some() { manifest.background.min(manifest.tag_threshold) } else { manifest.tag_threshold };
        let own = |class: &Class| if class.words.is_empty() { shown } else { manifest.tag_threshold };
        let thresholds: Vec<f32> = words.classes().iter().map(|class| query.threshold.unwrap_or_else(|| own(class))).collect();
        let is_whole = |example: &Example| example.is_whole();
        let usual = if words.examples().iter().flatten().any(is_whole) { self.mean()? } else { None };
        let Some(usual) = usual else { return self.look(session, words.bank(), &thresholds, query) };
        let beside = |of: &Vec<Example>| of.iter().cloned().map(|example| example.beside(&usual)).collect();
        let examples: Vec<Vec<Example>> = words.examples().iter().map(beside).collect();
        self.look(session, &session.word_bank_with(words.classes(), words.left_out(), &examples)?, &thresholds, query)
    }

    /// `thresholds` of scores: `[classes]`
    fn look(&self, session: &Session, bank: &WordBank, thresholds: &[f32], query: &Query) -> Result<Vec<Vec<Sighting>>> {
        let manifest = session.bundle().manifest();
        check_model(&self.path, &self.header, session.bundle().digest(), &manifest.name)?;
        bank.check(session)?;
        let scorer = Scorer::new(bank, Scoring::from(manifest), thresholds);
        let found = session.on_threads(|| self.each_block(|records, place| self.scan(records, place, bank, &scorer, query)))??;
        let mut classes: Vec<Vec<Match>> = (0..bank.names().len()).map(|_| Vec::new()).collect();
        found.into_iter().flatten().for_each(|one| classes[one.class].push(one));
        Ok(classes.into_iter().map(|matches| sightings(matches, query)).collect())
    }

    /// Counts what it holds.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if it cannot be read.
    pub fn contents(&self) -> Result<Contents> {
        let parts = self.each_block(|records, _| {
            let (mut frames, mut ends, mut origin) = (Vec::new(), Vec::new(), Arc::<str>::from(""));
            while let Some(record) = records.next() {
                if *origin != *records.origin {
                    origin = records.origin.into();
                }
                let list = if record.is_end() { &mut ends } else { &mut frames };
                list.push((origin.clone(), time(record.time_ms)));
            }
            Ok((frames, ends, records.before.rows))
        })?;
        let mut contents = Contents::default();
        for (frames, ends, rows) in parts {
            contents.frames += frames.len() as u64;
            contents.embeddings += rows as u64;
            for (origin, time) in frames {
                let span = contents.span.get_or_insert((time, time));
                *span = (span.0.min(time), span.1.max(time));
                contents.origins.insert(origin);
            }
            contents.whole.extend(ends);
        }
        Ok(contents)
    }

    /// When the frames of some origins were captured: of a file that was not finished, what is in it already.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if it cannot be read.
    pub fn times(&self, of: impl Fn(&str) -> bool + Sync) -> Result<HashMap<Arc<str>, HashSet<SystemTime>>> {
        let parts = self.each_block(|records, _| {
            let mut times = Vec::new();
            for record in records {
                if !record.is_end() && of(record.origin) {
                    times.push((Arc::<str>::from(record.origin), time(record.time_ms)));
                }
            }
            Ok(times)
        })?;
        let mut times = HashMap::<_, HashSet<_>>::new();
        for (origin, time) in parts.into_iter().flatten() {
            times.entry(origin).or_default().insert(time);
        }
        Ok(times)
    }

    /// The mean of its embeddings; none of an empty index. `[dim]`
    ///
    /// # Errors
    /// As [`Self::contents`].
    pub fn mean(&self) -> Result<Option<Vec<f32>>> {
        let dim = self.header.dim;
        let sums = self.each_block(|records, place| {
            let mut sum = vec![0.0f64; dim];
            for record in records {
                let stored = self.stored(record.values, record.scales, place.block)?;
                for row in stored.unpack().chunks_exact(dim) {
                    sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
                }
            }
            Ok(sum)
        })?;
        let mut mean = vec![0.0f64; dim];
        sums.iter().for_each(|sum| mean.iter_mut().zip(sum).for_each(|(mean, value)| *mean += value));
        let norm = mean.iter().map(|value| value * value).sum::<f64>().sqrt();
        Ok((norm > 1e-9).then(|| mean.iter().map(|value| (value / norm) as f32).collect()))
    }

    fn stored<'a>(&self, values: &'a [u8], scales: &[u8], block: u32) -> Result<StoredRows<'a>> {
        let damaged = |e: edge_seg_model::Error| wrong(&self.path, "an index", format!("{e}, in block {block}"));
        StoredRows::from_parts(self.header.dim, values, scales_of(scales).collect()).map_err(damaged)
    }

    /// The small picture of a sighting's best frame, a JPEG; none if it has none, or has gone out of the index meanwhile.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if the index cannot be read.
    pub fn thumbnail(&self, sighting: &Sighting) -> Result<Option<Vec<u8>>> {
        let Place { block, generation: wanted, at } = sighting.place;
        let mut bytes = vec![0; self.header.block_bytes];
        let read = read_up_to(&self.file, &mut bytes, self.header.block_at(block)).map_err(Error::io(&self.path))?;
        if generation(&bytes[..read]) != Some(wanted) {
            return Ok(None);
        }
        let record = Records::one(&bytes[..read], wanted, self.header.dim, at);
        Ok(record.map(|record| record.thumbnail.to_vec()).filter(|jpeg| !jpeg.is_empty()))
    }

    /// Reads every block, on the caller's threads, and gives what `see` makes of each, the oldest first.
    fn each_block<T: Send>(&self, see: impl Fn(&mut Records<'_>, Place) -> Result<T> + Sync) -> Result<Vec<T>> {
        let length = self.file.metadata().map_err(Error::io(&self.path))?.len();
        let mut heads = Vec::new();
        for number in 0..self.header.begun(length) {
            let mut head = [0; BLOCK_HEAD_BYTES];
            let at = self.header.block_at(number);
            let read = read_up_to(&self.file, &mut head, at).map_err(Error::io(&self.path))?;
            match generation(&head) {
                Some(generation) => heads.push((generation, number)),
                // A loss of power may leave a block of zeros, a kill a part of its beginning: neither held anything.
                None if read == head.len() => {
                    let mut block = vec![0; self.header.block_bytes];
                    let read = read_up_to(&self.file, &mut block, at).map_err(Error::io(&self.path))?;
                    let bytes = written(&block[..read]) as u64;
                    if bytes > 0 {
                        self.damaged.lock().insert(Damage { at, bytes, frames: None });
                    }
                }
                None => {}
            }
        }
        heads.sort_unstable();
        let read = |bytes: &mut Vec<u8>, &(wanted, number): &(u64, u32)| -> Result<Option<T>> {
            let at = self.header.block_at(number);
            // What is written while it is read may look damaged, once.
            for again in [false, true] {
                bytes.resize(self.header.block_bytes, 0);
                let read = read_up_to(&self.file, bytes, at).map_err(Error::io(&self.path))?;
                // It may have been begun anew since.
                if generation(&bytes[..read]) != Some(wanted) {
                    return Ok(None);
                }
                let mut records = Records::new(&bytes[..read], wanted, self.header.dim);
                let seen = see(&mut records, Place { block: number, generation: wanted, at: 0 })?;
                if again || records.damaged.is_empty() {
                    let damage = |hole: &Hole| Damage {
                        at: at + hole.bytes.start as u64,
                        bytes: hole.bytes.len() as u64,
                        frames: hole.records.filter(|records| *records > 0).map(|records| records as u64),
                    };
                    self.damaged.lock().extend(records.damaged.iter().map(damage));
                    return Ok(Some(seen));
                }
            }
            Ok(None)
        };
        let found: Vec<Option<T>> = heads.par_iter().map_init(Vec::new, read).collect::<Result<_>>()?;
        Ok(found.into_iter().flatten().collect())
    }

    fn scan(&self, records: &mut Records<'_>, place: Place, bank: &WordBank, scorer: &Scorer, query: &Query) -> Result<Vec<Match>> {
        let (mut stored, mut frames) = (Vec::new(), Vec::new());
        let mut origin: Arc<str> = "".into();
        while let Some(record) = records.next() {
            if *origin != *records.origin {
                origin = records.origin.into();
            }
            stored.push((record.values, record.scales, record.first_row));
            if !record.is_end()
                && let Some(time_ms) = query.time_of(&record, &origin)
            {
                frames.push((record, origin.clone(), records.began, time_ms));
            }
        }
        let rows = records.before.rows;
        if frames.is_empty() || rows == 0 {
            return Ok(Vec::new());
        }
        let mut cosines = vec![0.0; bank.words().rows() * rows];
        for (values, scales, before) in stored {
            let stored = self.stored(values, scales, place.block)?;
            stored
                .cosines(&scorer.words, |word, row, found| cosines[word * rows + before + row..][..found.len()].copy_from_slice(found))?;
        }
        let mut levels = scorer.levels(bank, &cosines, rows);
        for hole in &records.damaged {
            levels.chunks_exact_mut(rows).for_each(|levels| levels[hole.rows.clone()].fill(f32::NEG_INFINITY));
        }
        let classes = levels.chunks_exact(rows).zip(&scorer.thresholds).enumerate();
        // Most blocks show nothing of what is looked for.
        let shown: Vec<_> = classes.filter(|(_, (levels, threshold))| levels.iter().any(|level| *level >= **threshold)).collect();
        let mut found = Vec::new();
        for (record, origin, at, time_ms) in frames.iter().filter(|_| !shown.is_empty()) {
            for (class, (levels, threshold)) in &shown {
                let level = |part: StoredPart| levels[usize::from(part.row)];
                let Some(best) = record.parts().max_by(|a, b| level(*a).total_cmp(&level(*b))) else { continue };
                if level(best) < **threshold {
                    continue;
                }
                let edges = grown(best.edges, record.parts().filter(|part| level(*part) >= **threshold).map(|part| part.edges));
                found.push(Match {
                    class: *class,
                    score: scorer.score(level(best)),
                    origin: origin.clone(),
                    time_ms: *time_ms,
                    at_ms: record.at_ms,
                    frame_px: record.frame_px,
                    edges,
                    place: Place { at: *at, ..place },
                });
            }
        }
        Ok(found)
    }
}

/// How stored embeddings are scored: as a picture's patches are, word by word.
struct Scorer {
    words: PackedWords,
    scoring: Scoring,
    /// Words beyond one compete, where scores are a softmax.
    softmax: bool,
    /// Of levels.
    thresholds: Vec<f32>, // [classes]
}

impl Scorer {
    fn new(bank: &WordBank, scoring: Scoring, thresholds: &[f32]) -> Self {
        let softmax = scoring.bias.is_none() && bank.words().rows() > 1;
        let logit = |t: f32| (t / (1.0 - t)).ln();
        let level = |t: &f32| if scoring.bias.is_some() { logit(t.clamp(1e-6, 1.0 - 1e-6)) } else { *t };
        Self { words: PackedWords::new(bank.words()), scoring, softmax, thresholds: thresholds.iter().map(level).collect() }
    }

    /// Each class's level at each stored row, by the words' cosines with them `[words, rows]`: its logit, its probability, or its cosine.
    /// `[classes, rows]`
    fn levels(&self, bank: &WordBank, cosines: &[f32], rows: usize) -> Vec<f32> {
        let plane = |row: usize| &cosines[row * rows..][..rows];
        let best = |into: &mut [f32], row: usize| into.iter_mut().zip(plane(row)).for_each(|(best, cosine)| *best = best.max(*cosine));
        let mut levels = vec![f32::NEG_INFINITY; bank.spans().len() * rows];
        for (span, levels) in bank.spans().iter().zip(levels.chunks_exact_mut(rows)) {
            span.clone().for_each(|row| best(levels, row));
        }
        let mut outside = vec![f32::NEG_INFINITY; rows];
        bank.background_rows().for_each(|row| best(&mut outside, row));
        let Scoring { scale, bias, .. } = self.scoring;
        if self.softmax {
            for row in 0..rows {
                let all =
                    || (0..bank.spans().len()).map(|class| levels[class * rows + row]).chain(bank.background_rows().map(|b| plane(b)[row]));
                let most = all().fold(f32::NEG_INFINITY, f32::max);
                let total: f32 = all().map(|cosine| ((cosine - most) * scale).exp()).sum();
                for class in 0..bank.spans().len() {
                    let level = &mut levels[class * rows + row];
                    *level = ((*level - most) * scale).exp() / total;
                }
            }
        }
        for levels in levels.chunks_exact_mut(rows).filter(|_| !self.softmax) {
            for (level, outside) in levels.iter_mut().zip(&outside) {
                // Where a word to be left out fits better, there is nothing.
                let inside = bias.map_or(*level, |bias| *level * scale + bias);
                *level = if outside > level { f32::NEG_INFINITY } else { inside };
            }
        }
        levels
    }

    fn score(&self, level: f32) -> f32 {
        if self.scoring.bias.is_some() { 1.0 / (1.0 + (-level).exp()) } else { level }
    }
}

/// A box with all the others that touch it, one after the other.
fn grown(mut edges: [u8; 4], others: impl Iterator<Item = [u8; 4]>) -> [u8; 4] {
    let mut others: Vec<_> = others.collect();
    loop {
        let before = others.len();
        others.retain(|other| {
            let touches = |low: usize, high: usize| {
                u16::from(other[low]) <= u16::from(edges[high]) + 1 && u16::from(edges[low]) <= u16::from(other[high]) + 1
            };
            let joins = touches(0, 2) && touches(1, 3);
            if joins {
                edges = [edges[0].min(other[0]), edges[1].min(other[1]), edges[2].max(other[2]), edges[3].max(other[3])];
            }
            !joins
        });
        if others.len() == before {
            return edges;
        }
    }
}

fn time(ms: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(ms)).unwrap_or(UNIX_EPOCH)
}

/// Joins frames in a row, and keeps the best.
fn sightings(mut matches: Vec<Match>, query: &Query) -> Vec<Sighting> {
    matches.sort_by(|a, b| (&a.origin, a.time_ms, a.at_ms).cmp(&(&b.origin, b.time_ms, b.at_ms)));
    let mut found: Vec<Sighting> = Vec::new();
    for one in matches {
        let now = time(one.time_ms);
        let alone = Sighting {
            class: one.class,
            score: one.score,
            origin: one.origin,
            from: now,
            best: now,
            to: now,
            at: Duration::from_millis(one.at_ms),
            frames: 1,
            box_px: StoredPart::box_px(one.edges, one.frame_px),
            frame_px: one.frame_px,
            place: one.place,
        };
        let joins = |last: &&mut Sighting| last.origin == alone.origin && now.duration_since(last.to).is_ok_and(|gap| gap <= query.gap);
        match found.last_mut().filter(joins) {
            Some(last) => {
                (last.to, last.frames) = (now, last.frames + 1);
                if alone.score > last.score {
                    *last = Sighting { from: last.from, to: last.to, frames: last.frames, ..alone };
                }
            }
            None => found.push(alone),
        }
    }
    found.sort_by(Sighting::by_rank);
    found.truncate(query.most);
    found
}
