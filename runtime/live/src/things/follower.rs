use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cells::Cells;
use super::parts::{Extent, Part, Run, parts};
use super::{Thing, ThingOptions, Things};
use crate::Result;
use edge_seg_model::propagation::Motion;
use edge_seg_model::render::Milliseconds;
use edge_seg_model::{PatchGrid, Placement, Segmentation, same_name};

/// A thing is in a part that covers this share of its usual cells where it should be, and is hidden otherwise; of several in one part each
/// has so much of it for itself.
const HELD_SHARE: f32 = 0.3;
/// Cells that being anywhere takes.
const HELD_CELLS: usize = 2;
/// Where a thing should be is its box, larger by this.
const ROOM: f32 = 1.1;
/// A part lies in a thing's box by this share of its cells.
const INSIDE_SHARE: f32 = 0.5;
/// Frames in which a thing was a part of its own, since it came into sight, before others' parts are cut for it.
const ALONE: u32 = 6;
/// Pieces are joined over gaps of at most this many sides of a square of the smaller one's area: pieces of a thing that is known, and of a new one.
const KNOWN_GAP: f32 = 0.75;
const NEW_GAP: f32 = 0.25;
/// A piece of less than this share of another's pixels is a fragment, and its gap is measured by the other; of less than that, a speck, of
/// which motion and embedding say nothing.
const FRAGMENT_SHARE: f32 = 0.3;
const SPECK_SHARE: f32 = 0.15;
/// Pieces of one thing lie beside each other by this share of the shorter one, or one lies within the other's box by this share of its own.
const BESIDE_SHARE: f32 = 0.5;
/// Pieces of one new thing have embeddings of this cosine or more.
const JOIN_COSINE: f32 = 0.8;
/// Pieces of one new thing move alike: within this share of the picture's short side a frame, and this share of how far they move.
const ALIKE_SHARE: f32 = 0.004;
const ALIKE_MOTION: f32 = 0.25;
/// A thing that was lost is found again within so many of its own sizes of where it should be, and so many more for each second.
const FOUND_REACH: f32 = 0.75;
const FOUND_REACH_PER_S: f32 = 0.75;
/// Its area is at most so many times larger then, and the cosine of its embedding at least this, unless too little is to be seen of it.
const FOUND_RATIO: f32 = 3.0;
const FOUND_COSINE: f32 = 0.6;
/// How much a cosine's distance from 1 counts, in sizes of distance.
const COSINE_WEIGHT: f32 = 2.0;
/// Frames in which a thing is seen before it counts.
const SEEN: u32 = 2;
/// Share of what is new in a thing's velocity and embedding.
const NEW_SHARE: f32 = 0.2;
/// Share of what is seen of it in what a thing is as a whole, where that is less.
const WHOLE_SHARE: f32 = 0.02;
/// While it is not seen a thing slows down by half in this time.
const SLOWING: Duration = Duration::from_millis(1000);

/// What one frame shows.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Sight<'a> {
    /// Its masks.
    pub found: &'a Segmentation,
    /// Where its scores lie.
    pub placement: &'a Placement,
    /// How it moved; none if it is another scene than the frame before, or nobody knows.
    pub motion: Option<Motion<'a>>,
    /// Embeddings of the key frame that its scores come from.
    pub patches: Option<&'a PatchGrid>,
    /// Whether it is another scene: what was followed is gone.
    pub another_scene: bool,
}

impl<'a> Sight<'a> {
    /// A frame that goes on where the one before was, of which nothing else is known: neither how it moved, nor what its patches look like.
    pub fn new(found: &'a Segmentation, placement: &'a Placement) -> Self {
        Self { found, placement, motion: None, patches: None, another_scene: false }
    }

    /// The same with another [`motion`](Self::motion).
    pub fn with_motion(self, motion: impl Into<Option<Motion<'a>>>) -> Self {
        Self { motion: motion.into(), ..self }
    }

    /// The same with other [`patches`](Self::patches).
    pub fn with_patches(self, patches: impl Into<Option<&'a PatchGrid>>) -> Self {
        Self { patches: patches.into(), ..self }
    }

    /// The same with another [`another_scene`](Self::another_scene).
    pub fn with_another_scene(self, another_scene: bool) -> Self {
        Self { another_scene, ..self }
    }
}

/// Follows things over the frames of a session.
#[derive(Debug)]
pub struct Follower {
    options: ThingOptions,
    tracks: Vec<Track>,
    cells: Cells,
    frame_px: (u32, u32),
    before: Option<Duration>,
    serials: u32,
    ids: u64,
    totals: BTreeMap<Arc<str>, u64>,
    names: Arc<[String]>,
    words: Vec<Option<Arc<str>>>, // [classes], none where nothing is counted
}

/// A thing as it was last seen.
#[derive(Debug, Clone)]
struct Track {
    serial: u32,
    /// Given when it was seen often enough.
    id: Option<u64>,
    word: Arc<str>,
    /// The middle of its box, in pixels.
    middle: [f32; 2],
    /// The box's sides when it was last a part of its own, and how many cells it had then.
    size: [f32; 2],
    cells: usize,
    /// The pixels that it has when nothing hides it, as far as that was seen.
    whole: f32,
    /// Pixels a second.
    velocity: [f32; 2],
    embedding: Option<Vec<f32>>,
    born: Duration,
    seen: Duration,
    hits: u32,
    /// Frames in which it was a part of its own.
    alone: u32,
}

/// Where a thing should be.
#[derive(Debug, Clone, Copy)]
struct Place {
    middle: [f32; 2],
    size: [f32; 2],
}

impl Place {
    /// How far a place is from the middle: 1 on the box's edge.
    fn distance(&self, [x, y]: [f32; 2]) -> f32 {
        let along = |v: f32, i: usize| (v - self.middle[i]).abs() / (self.size[i] / 2.0).max(1.0);
        along(x, 0).max(along(y, 1))
    }

    /// Whether a place can lie within both, each larger by this many pixels.
    fn meets(&self, other: &Self, room_px: f32) -> bool {
        let reach = |place: &Self, i: usize| ROOM * place.size[i].max(2.0) / 2.0 + room_px;
        (0..2).all(|i| (self.middle[i] - other.middle[i]).abs() <= reach(self, i) + reach(other, i))
    }

    fn holds(&self, place: [f32; 2]) -> bool {
        self.distance(place) <= ROOM
    }
}

/// What is to become a thing: part of a part, or several parts.
#[derive(Debug, Clone)]
struct Piece {
    label: u16,
    extent: Extent,
    cells: Vec<u32>,
    /// The track that it belongs to.
    track: Option<u32>,
    /// Where that should be, if others are in the same part.
    cut_at: Option<Place>,
    /// Where it lay before, in pixels from here.
    flow: [f32; 2],
    embedding: Option<Vec<f32>>,
    score: f32,
}

impl Follower {
    /// Follows nothing yet.
    ///
    /// # Errors
    /// [`Option`](edge_seg_model::Error::Option) if an option is out of range.
    pub fn new(options: ThingOptions) -> Result<Self> {
        options.check()?;
        Ok(Self {
            options,
            tracks: Vec::new(),
            cells: Cells::default(),
            frame_px: (0, 0),
            before: None,
            serials: 0,
            ids: 0,
            totals: BTreeMap::new(),
            names: Arc::default(),
            words: Vec::new(),
        })
    }

    /// How many different things of a word were counted so far.
    pub fn total(&self, word: &str) -> u64 {
        self.totals.iter().find(|(name, _)| same_name(name, word)).map_or(0, |(_, total)| *total)
    }

    /// Takes the next frame.
    pub fn follow(&mut self, sight: &Sight<'_>) -> Things {
        let start = Instant::now();
        let labels = &sight.found.labels;
        let frame_px = (labels.width, labels.height);
        let is_anew = sight.another_scene || frame_px != self.frame_px;
        if is_anew {
            self.tracks.clear();
        }
        self.frame_px = frame_px;
        self.take_names(&sight.found.names);
        let counted: Vec<bool> = self.words.iter().map(Option::is_some).collect();
        // What a map claims and does not have takes no memory.
        if labels.checked().is_err() {
            return Things { counted, took: start.elapsed(), is_anew, ..Things::default() };
        }
        self.cells = Cells::of(labels.width, labels.height);
        let now = sight.found.timestamp;
        let (mut runs, pieces) = self.cut(sight);
        let joined = self.join(&mut runs, &pieces);
        let least = (self.options.least_share * labels.pixels() as f64).max(1.0);
        let given = self.assign(&joined, |piece| piece.extent.pixels as f64 >= least, now);
        self.before = Some(now);
        let (list, places) = self.told(&joined, &given, now);
        runs.retain_mut(|run| {
            let place = places[run.part as usize];
            run.part = place.unwrap_or_default();
            place.is_some()
        });
        Things { list, counted, took: start.elapsed(), frame_px, runs, is_anew }
    }

    fn take_names(&mut self, names: &Arc<[String]>) {
        if Arc::ptr_eq(names, &self.names) {
            return;
        }
        self.words = names.iter().map(|name| self.options.countable.holds(name).then(|| Arc::from(name.as_str()))).collect();
        self.names = names.clone();
        // What is looked for no more is not waited for.
        let words = &self.words;
        self.tracks.retain(|track| words.iter().flatten().any(|word| *word == track.word));
    }

    /// Connected parts, each cut where several things are in it. A run's part is its piece.
    fn cut(&self, sight: &Sight<'_>) -> (Vec<Run>, Vec<Piece>) {
        let (runs, parts) = parts(&sight.found.labels, |label| self.word(label).is_some());
        let cells = self.cells.of_parts(&runs, &parts);
        let mut part_at = vec![u32::MAX; self.cells.count()];
        for (part, cells) in (0u32..).zip(&cells) {
            cells.iter().for_each(|&cell| part_at[cell as usize] = part);
        }
        let placed: Vec<Place> = self.tracks.iter().map(|track| self.place(track, sight, &part_at, &parts)).collect();
        // The cells that each track should have, by part.
        let held: Vec<BTreeMap<u32, Vec<u32>>> =
            self.tracks.iter().zip(&placed).map(|(t, at)| self.held(t, at, &part_at, &parts)).collect();
        let mut homes: Vec<Vec<usize>> = vec![Vec::new(); parts.len()];
        for (track, held) in held.iter().enumerate() {
            if let Some((&part, cells)) = held.iter().max_by_key(|(_, cells)| cells.len())
                && self.tracks[track].is_held_by(cells.len())
            {
                homes[part as usize].push(track);
            }
        }
        let mut pieces: Vec<Piece> = Vec::new();
        let (mut first_piece, mut cuts) = (Vec::new(), Vec::new());
        for (part, (told, cells)) in (0u32..).zip(parts.iter().zip(cells)) {
            first_piece.push(pieces.len() as u32);
            let within = self.within(&homes[part as usize], |track| held[track].get(&part).map_or(&[][..], Vec::as_slice), &placed);
            if let [_, _, ..] = within[..] {
                let places: Vec<Place> = within.iter().map(|&track| placed[track]).collect();
                let owner = |cell: u32| nearest(&places, self.cells.centre_px(cell));
                for (i, &track) in within.iter().enumerate() {
                    let own = cells.iter().copied().filter(|&cell| owner(cell) == i).collect();
                    let (cut_at, track) = (Some(placed[track]), Some(self.tracks[track].serial));
                    pieces.push(Piece { track, cut_at, ..self.piece(told.label, Extent::default(), own, sight) });
                }
                cuts.push(places);
                continue;
            }
            let joins = || {
                let seen = held.iter().enumerate().filter(|(track, _)| self.is_seen(*track));
                let shares = seen.filter_map(|(track, held)| Some((track, held.get(&part)?.len())));
                let most = shares.max_by_key(|(_, count)| *count)?;
                (most.1 as f32 >= INSIDE_SHARE * cells.len().max(1) as f32).then_some(most.0)
            };
            let track = within.first().copied().or_else(joins).map(|track| self.tracks[track].serial);
            pieces.push(Piece { track, ..self.piece(told.label, told.extent, cells.clone(), sight) });
            cuts.push(Vec::new());
        }
        if cuts.iter().all(Vec::is_empty) {
            return (runs, pieces);
        }
        let mut cut_runs = Vec::with_capacity(runs.len());
        for run in runs {
            let (first, places) = (first_piece[run.part as usize], &cuts[run.part as usize]);
            if places.is_empty() {
                cut_runs.push(Run { part: first, ..run });
                continue;
            }
            for run in self.cut_run(run, places) {
                pieces[(first + run.part) as usize].extent.add(run.row, run.first, run.end);
                cut_runs.push(Run { part: first + run.part, ..run });
            }
        }
        pieces.iter_mut().filter(|piece| piece.extent.pixels == 0).for_each(|piece| piece.track = None);
        (cut_runs, pieces)
    }

    /// A run cut at the borders of cells; the new runs' parts are the places that are nearest.
    fn cut_run(&self, run: Run, places: &[Place]) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let side = self.cells.side_px;
        for col in run.first / side..=(run.end - 1) / side {
            let part = nearest(places, self.cells.centre_px(run.row / side * self.cells.cols + col)) as u32;
            let (first, end) = (run.first.max(col * side), run.end.min((col + 1) * side));
            match runs.last_mut() {
                Some(last) if last.part == part => last.end = end,
                _ => runs.push(Run { row: run.row, first, end, part }),
            }
        }
        runs
    }

    /// Where a track should be: moved by what its own pixels did since the frame before, or as it went before where others hide them.
    fn place(&self, track: &Track, sight: &Sight<'_>, part_at: &[u32], parts: &[Part]) -> Place {
        let now = sight.found.timestamp;
        let expected = Place { middle: track.expected(now), size: track.size };
        let (Some(motion), true) = (sight.motion, self.before == Some(track.seen)) else { return expected };
        let others: Vec<Place> = self
            .tracks
            .iter()
            .filter(|other| other.serial != track.serial && other.word == track.word && other.id.is_some())
            .map(|other| Place { middle: other.expected(now), size: other.size })
            .filter(|other| other.meets(&expected, self.cells.side_px as f32))
            .collect();
        let (mut sum, mut count, mut all) = ([0.0f32; 2], 0.0f32, 0.0f32);
        for cell in self.cells_in(&expected) {
            let at = self.cells.centre_px(cell);
            if !self.is_of(track, cell, part_at, parts) {
                continue;
            }
            all += 1.0;
            if others.iter().all(|other| other.distance(at) > 1.0) {
                let [dx, dy] = motion.to_before(at);
                (sum, count) = ([sum[0] - dx, sum[1] - dy], count + 1.0);
            }
        }
        if count < HELD_SHARE * all || count == 0.0 {
            return expected;
        }
        Place { middle: [track.middle[0] + sum[0] / count, track.middle[1] + sum[1] / count], ..expected }
    }

    /// The cells in a box, a little larger than it is.
    fn cells_in(&self, place: &Place) -> impl Iterator<Item = u32> + use<> {
        let Cells { side_px, cols, rows } = self.cells;
        let span = |i: usize, count: u32| {
            let reach = ROOM * place.size[i] / 2.0;
            let cell = |v: f32| ((v / side_px as f32).max(0.0) as u32).min(count);
            cell(place.middle[i] - reach)..(cell(place.middle[i] + reach) + 1).min(count)
        };
        let (across, down) = (span(0, cols), span(1, rows));
        down.flat_map(move |row| across.clone().map(move |col| row * cols + col))
    }

    fn is_of(&self, track: &Track, cell: u32, part_at: &[u32], parts: &[Part]) -> bool {
        let part = part_at[cell as usize];
        part != u32::MAX && self.word(parts[part as usize].label) == Some(&track.word)
    }

    /// The cells of each part that lie where a track should be.
    fn held(&self, track: &Track, place: &Place, part_at: &[u32], parts: &[Part]) -> BTreeMap<u32, Vec<u32>> {
        let mut held: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for cell in self.cells_in(place) {
            if self.is_of(track, cell, part_at, parts) && place.holds(self.cells.centre_px(cell)) {
                held.entry(part_at[cell as usize]).or_default().push(cell);
            }
        }
        held
    }

    /// The tracks that are to be seen in a part, the surest first: each has cells there that none before it has.
    fn within<'a>(&self, homes: &[usize], held: impl Fn(usize) -> &'a [u32], placed: &[Place]) -> Vec<usize> {
        let mut order = homes.to_vec();
        let share = |track: usize| held(track).len() as f32 / self.tracks[track].cells.max(1) as f32;
        let rank = |track: usize| (self.is_seen(track), self.tracks[track].id.is_some());
        order.sort_by(|&a, &b| rank(b).cmp(&rank(a)).then(share(b).total_cmp(&share(a))).then(a.cmp(&b)));
        let mut within: Vec<usize> = Vec::new();
        for track in order {
            if within.is_empty() {
                // What was lost must also look like it.
                if !self.is_seen(track) {
                    break;
                }
                within.push(track);
                continue;
            }
            let is_others = |cell: u32| within.iter().any(|&other| placed[other].distance(self.cells.centre_px(cell)) <= 1.0);
            let own = held(track).iter().filter(|&&cell| !is_others(cell)).count();
            let known = &self.tracks[track];
            if known.id.is_some() && known.alone >= ALONE && known.is_held_by(own) {
                within.push(track);
            }
        }
        within
    }

    /// Whether the frame before showed it.
    fn is_seen(&self, track: usize) -> bool {
        self.before == Some(self.tracks[track].seen)
    }

    fn word(&self, label: u16) -> Option<&Arc<str>> {
        self.words.get(usize::from(label).checked_sub(1)?)?.as_ref()
    }

    fn piece(&self, label: u16, extent: Extent, cells: Vec<u32>, sight: &Sight<'_>) -> Piece {
        let count = cells.len().max(1) as f32;
        let mut flow = [0.0f32; 2];
        let (rows, cols) = sight.placement.covered();
        let [to_x, to_y] = [
            sight.placement.scaled_px.0 as f32 / (sight.placement.frame_px.0.max(1) * sight.placement.patch_px.max(1)) as f32,
            sight.placement.scaled_px.1 as f32 / (sight.placement.frame_px.1.max(1) * sight.placement.patch_px.max(1)) as f32,
        ];
        let patch = |[x, y]: [f32; 2]| {
            let along = |v: f32, count: usize| (v.max(0.0) as usize).min(count.saturating_sub(1));
            (along(y * to_y, rows), along(x * to_x, cols))
        };
        let mut here = vec![false; rows * cols];
        let mut weights = vec![0u32; rows * cols];
        for &cell in &cells {
            let [x, y] = self.cells.centre_px(cell);
            let (mut row, mut col) = patch([x, y]);
            here[row * cols + col] = true;
            if let Some(motion) = sight.motion {
                let [dx, dy] = motion.to_before([x, y]);
                flow = [flow[0] + dx / count, flow[1] + dy / count];
                let [dx, dy] = motion.to_key([x, y]);
                (row, col) = patch([x + dx, y + dy]);
            }
            weights[row * cols + col] += 1;
        }
        let class = usize::from(label).wrapping_sub(1);
        let scores = (0..here.len()).filter(|&i| here[i]).filter_map(|i| sight.found.scores.class_at(class, i / cols, i % cols));
        let score = scores.fold(0.0, f32::max);
        let embedding = sight.patches.filter(|grid| (grid.rows(), grid.cols()) == (rows, cols)).and_then(|grid| {
            let mut sum = vec![0.0f32; grid.patches().dim()];
            for (patch, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0) {
                sum.iter_mut().zip(grid.patches().row(patch)).for_each(|(sum, v)| *sum += weight as f32 * v);
            }
            normalised(sum)
        });
        Piece { label, extent, cells, track: None, cut_at: None, flow, embedding, score }
    }

    /// Joins the pieces of one thing over gaps; each run's part is then what they became.
    fn join(&self, runs: &mut [Run], pieces: &[Piece]) -> Vec<Piece> {
        // Large pieces first: small ones join what they belong to.
        let mut order: Vec<usize> = (0..pieces.len()).collect();
        order.sort_by_key(|&i| (pieces[i].track.is_none(), std::cmp::Reverse(pieces[i].extent.pixels)));
        let mut joined: Vec<Piece> = Vec::new();
        let mut place = vec![0u32; pieces.len()];
        for i in order {
            let near = (0..joined.len()).filter(|&k| self.belong_together(&joined[k], &pieces[i]));
            let to = near.min_by_key(|&k| joined[k].extent.gap_px(&pieces[i].extent));
            match to {
                Some(to) => joined[to].take(&pieces[i]),
                // Another piece of its own has the track already.
                None if pieces[i].track.is_some() && joined.iter().any(|piece| piece.track == pieces[i].track) => {
                    joined.push(Piece { track: None, ..pieces[i].clone() });
                }
                None => joined.push(pieces[i].clone()),
            }
            place[i] = to.unwrap_or(joined.len() - 1) as u32;
        }
        runs.iter_mut().for_each(|run| run.part = place[run.part as usize]);
        joined
    }

    fn belong_together(&self, kept: &Piece, piece: &Piece) -> bool {
        if kept.label != piece.label || piece.cut_at.is_some() {
            return false;
        }
        let (large, small) = if kept.extent.pixels >= piece.extent.pixels { (kept, piece) } else { (piece, kept) };
        let (large_side, small_side) = ((large.extent.pixels as f32).sqrt(), (small.extent.pixels as f32).sqrt());
        let gap = large.extent.gap_px(&small.extent) as f32;
        let (a, b) = (large.extent.bounds_px(), small.extent.bounds_px());
        if beside_share(a, b) < BESIDE_SHARE {
            return false;
        }
        match (kept.track, piece.track) {
            (Some(a), Some(b)) if a == b => return gap <= KNOWN_GAP * small_side.max(FRAGMENT_SHARE * large_side),
            (Some(_), Some(_)) => return false,
            _ => {}
        }
        if inside_share(a, b) >= BESIDE_SHARE {
            return true;
        }
        let share = small.extent.pixels as f32 / large.extent.pixels.max(1) as f32;
        let is_near = gap <= NEW_GAP * if share < FRAGMENT_SHARE { large_side } else { small_side };
        if share < SPECK_SHARE {
            return is_near;
        }
        let short = self.frame_px.0.min(self.frame_px.1) as f32;
        let length = |[x, y]: [f32; 2]| x.hypot(y);
        let apart = length([large.flow[0] - small.flow[0], large.flow[1] - small.flow[1]]);
        let alike = apart <= ALIKE_SHARE * short + ALIKE_MOTION * length(large.flow);
        is_near && alike && cosine(&large.embedding, &small.embedding).is_none_or(|cosine| cosine >= JOIN_COSINE)
    }

    /// Gives pieces to tracks, or begins new ones, and forgets what has been out of sight for too long. `[pieces]`: serial numbers
    fn assign(&mut self, pieces: &[Piece], is_large: impl Fn(&Piece) -> bool, now: Duration) -> Vec<Option<u32>> {
        let mut given: Vec<Option<u32>> = pieces.iter().map(|piece| piece.track).collect();
        let mut taken: BTreeSet<u32> = given.iter().flatten().copied().collect();
        // What was lost, by where it should be and what it looks like.
        let mut pairs = Vec::new();
        for (i, piece) in pieces.iter().enumerate().filter(|(i, piece)| given[*i].is_none() && is_large(piece)) {
            for track in self.tracks.iter().filter(|track| self.word(piece.label) == Some(&track.word) && !taken.contains(&track.serial)) {
                pairs.extend(track.cost(piece, now).map(|cost| (cost, i, track.serial)));
            }
        }
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.2.cmp(&b.2)));
        for (_, piece, serial) in pairs {
            if given[piece].is_none() && taken.insert(serial) {
                given[piece] = Some(serial);
            }
        }
        let patience = self.options.patience;
        for (piece, given) in pieces.iter().zip(&mut given) {
            let Some(word) = self.word(piece.label).cloned() else { continue };
            match given.and_then(|serial| self.tracks.iter_mut().find(|track| track.serial == serial)) {
                Some(track) => {
                    // What comes into sight again may be a piece of it, or of another.
                    if self.before != Some(track.seen) {
                        track.alone = 0;
                    }
                    track.take(piece, now);
                }
                None if is_large(piece) => {
                    self.serials += 1;
                    *given = Some(self.serials);
                    self.tracks.push(Track::new(self.serials, word, piece, now));
                }
                None => {}
            }
        }
        // What was seen once and not again was nothing.
        self.tracks.retain(|track| track.seen == now || (track.id.is_some() && now.saturating_sub(track.seen) <= patience));
        let Self { tracks, ids, totals, .. } = self;
        for track in tracks.iter_mut().filter(|track| track.id.is_none() && track.hits >= SEEN) {
            *ids += 1;
            track.id = Some(*ids);
            *totals.entry(track.word.clone()).or_default() += 1;
        }
        given
    }

    /// The things that have numbers, and each piece's place among them.
    fn told(&self, pieces: &[Piece], given: &[Option<u32>], now: Duration) -> (Vec<Thing>, Vec<Option<u32>>) {
        let mut list: Vec<(usize, Thing)> = Vec::new();
        for (i, (piece, serial)) in pieces.iter().zip(given).enumerate() {
            let Some(track) = serial.and_then(|serial| self.tracks.iter().find(|track| track.serial == serial)) else { continue };
            let Some(id) = track.id else { continue };
            let tenth = |v: f32| (10.0 * v).round() / 10.0;
            let thing = Thing {
                id,
                word: track.word.clone(),
                label: piece.label,
                score: piece.score,
                bounds_px: piece.extent.bounds_px(),
                centroid_px: piece.extent.centroid_px().map(tenth),
                pixels: piece.extent.pixels,
                age_ms: Milliseconds::rounded(now.saturating_sub(track.born)),
                segmentation: None,
            };
            list.push((i, thing));
        }
        list.sort_by_key(|(_, thing)| thing.id);
        let mut places = vec![None; pieces.len()];
        list.iter().enumerate().for_each(|(place, (piece, _))| places[*piece] = Some(place as u32));
        (list.into_iter().map(|(_, thing)| thing).collect(), places)
    }
}

impl Piece {
    fn take(&mut self, other: &Self) {
        let (mine, theirs) = (self.cells.len() as f32, other.cells.len() as f32);
        let share = theirs / (mine + theirs).max(1.0);
        self.extent.join(&other.extent);
        self.cells.extend(&other.cells);
        self.flow = blend(self.flow, other.flow, share);
        if let (Some(own), Some(other)) = (&mut self.embedding, &other.embedding) {
            own.iter_mut().zip(other).for_each(|(own, other)| *own += share * (other - *own));
            self.embedding = self.embedding.take().and_then(normalised);
        }
        self.score = self.score.max(other.score);
    }

    /// The middle and the sides of its box.
    fn place(&self) -> Place {
        let [left, top, width, height] = self.extent.bounds_px().map(|v| v as f32);
        Place { middle: [left + width / 2.0, top + height / 2.0], size: [width, height] }
    }
}

impl Track {
    fn new(serial: u32, word: Arc<str>, piece: &Piece, now: Duration) -> Self {
        let Place { middle, size } = piece.place();
        let (cells, whole, embedding) = (piece.cells.len(), piece.extent.pixels as f32, piece.embedding.clone());
        Self { serial, id: None, word, middle, size, cells, whole, velocity: [0.0; 2], embedding, born: now, seen: now, hits: 1, alone: 1 }
    }

    fn take(&mut self, piece: &Piece, now: Duration) {
        let passed = now.saturating_sub(self.seen).as_secs_f32();
        let place = piece.place();
        if let Some(cut_at) = piece.cut_at {
            // The cut's box ends where the other begins: the thing is where it should be, no further out than its part.
            let along = |i: usize| {
                let room = (self.size[i] - place.size[i]).abs() / 2.0;
                cut_at.middle[i].clamp(place.middle[i] - room, place.middle[i] + room)
            };
            let middle = [along(0), along(1)];
            if passed > 0.0 {
                let moved = [0, 1].map(|i| (cut_at.middle[i] - self.middle[i]) / passed);
                self.velocity = blend(self.velocity, moved, NEW_SHARE);
            }
            self.middle = middle;
        } else {
            if passed > 0.0 {
                let share = if self.hits == 1 { 1.0 } else { NEW_SHARE };
                self.velocity = blend(self.velocity, piece.flow.map(|v| -v / passed), share);
            }
            match (&mut self.embedding, &piece.embedding) {
                (Some(own), Some(new)) => {
                    own.iter_mut().zip(new).for_each(|(own, new)| *own += NEW_SHARE * (new - *own));
                    self.embedding = self.embedding.take().and_then(normalised);
                }
                (own, new) => *own = new.clone().or(own.take()),
            }
            (self.middle, self.size, self.cells) = (place.middle, place.size, piece.cells.len());
            self.whole = (piece.extent.pixels as f32).max(self.whole + WHOLE_SHARE * (piece.extent.pixels as f32 - self.whole));
            self.alone += 1;
        }
        self.seen = now;
        self.hits += 1;
    }

    /// Where its middle should be: its velocity halves each `SLOWING` while it is not seen.
    fn expected(&self, now: Duration) -> [f32; 2] {
        let passed = now.saturating_sub(self.seen).as_secs_f32();
        let slowing = SLOWING.as_secs_f32() / std::f32::consts::LN_2;
        let covered = slowing * (1.0 - (-passed / slowing).exp());
        [self.middle[0] + covered * self.velocity[0], self.middle[1] + covered * self.velocity[1]]
    }

    /// Whether so many cells are enough of it.
    fn is_held_by(&self, cells: usize) -> bool {
        cells >= HELD_CELLS.min(self.cells) && cells as f32 >= HELD_SHARE * self.cells as f32
    }

    /// How far a piece is from being this thing; none if it cannot be.
    fn cost(&self, piece: &Piece, now: Duration) -> Option<f32> {
        let passed = now.saturating_sub(self.seen).as_secs_f32();
        let (expected, found) = (self.expected(now), piece.place().middle);
        let distance = (expected[0] - found[0]).hypot(expected[1] - found[1]);
        let pixels = piece.extent.pixels as f32;
        let sizes = distance / self.whole.max(pixels).sqrt().max(1.0);
        let is_fragment = pixels < FRAGMENT_SHARE * self.whole;
        let cosine = cosine(&self.embedding, &piece.embedding).filter(|_| !is_fragment).unwrap_or(1.0);
        let is_near = sizes <= FOUND_REACH + FOUND_REACH_PER_S * passed;
        let can_be = is_near && pixels <= FOUND_RATIO * self.whole && cosine >= FOUND_COSINE;
        can_be.then_some(sizes + COSINE_WEIGHT * (1.0 - cosine))
    }
}

/// The box that a place is nearest to, in sizes of the boxes.
fn nearest(places: &[Place], at: [f32; 2]) -> usize {
    let distance = |i: &usize| places[*i].distance(at);
    (0..places.len()).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0)
}

/// How much of box b lies in box a, as a share of b.
fn inside_share(a: [u32; 4], b: [u32; 4]) -> f32 {
    let shared = |i: usize| (a[i] + a[i + 2]).min(b[i] + b[i + 2]).saturating_sub(a[i].max(b[i])) as f32;
    shared(0) * shared(1) / (b[2] as f32 * b[3] as f32).max(1.0)
}

/// By how much two boxes lie beside each other: the longer of the shadows that they share along either side, as a share of the shorter box's.
fn beside_share(a: [u32; 4], b: [u32; 4]) -> f32 {
    let share = |i: usize| {
        let (start, end) = (a[i].max(b[i]), (a[i] + a[i + 2]).min(b[i] + b[i + 2]));
        end.saturating_sub(start) as f32 / a[i + 2].min(b[i + 2]).max(1) as f32
    };
    share(0).max(share(1))
}

fn blend(a: [f32; 2], b: [f32; 2], share: f32) -> [f32; 2] {
    [a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])]
}

/// None if there is no direction.
fn normalised(mut values: Vec<f32>) -> Option<Vec<f32>> {
    let length = values.iter().map(|v| v * v).sum::<f32>().sqrt();
    if !(length.is_finite() && length > 0.0) {
        return None;
    }
    values.iter_mut().for_each(|v| *v /= length);
    Some(values)
}

fn cosine(a: &Option<Vec<f32>>, b: &Option<Vec<f32>>) -> Option<f32> {
    let (a, b) = a.as_ref().zip(b.as_ref())?;
    Some(a.iter().zip(b).map(|(a, b)| a * b).sum())
}
