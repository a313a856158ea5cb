//! Masks between key frames: what was scored once is carried along by the motion of the picture, and smoothed over time.

use std::time::Duration;

use image::RgbImage;
use rayon::prelude::*;

use super::motion::{Field, Grey, Matcher, Movement};
use crate::input::Placement;
use crate::{Error, LabelMap, Result, ScoreGrid};

/// How masks get from a key frame to the frames after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Propagation {
    /// They stand still.
    Still,
    /// The scores of the patches move, and masks are drawn from them.
    #[default]
    Scores,
    /// The labels of the pixels move.
    Labels,
}

/// How masks are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PropagationOptions {
    /// From a key frame to the frames after it.
    pub carry: Propagation,
    /// Time constant of the exponential smoothing of scores over key frames; zero takes each key frame as it is.
    pub smoothing: Duration,
}

impl PropagationOptions {
    /// The same with another [`carry`](Self::carry).
    pub fn with_carry(self, carry: Propagation) -> Self {
        Self { carry, ..self }
    }

    /// The same with another [`smoothing`](Self::smoothing).
    pub fn with_smoothing(self, smoothing: Duration) -> Self {
        Self { smoothing, ..self }
    }
}

/// Follows the motion of a video and carries the scores of its key frames along.
///
/// For each frame: [`Propagator::follow`]; then, for a key frame, [`Propagator::mark`] and, once its scores are there, which may be some
/// frames later, [`Propagator::set_keyframe`]; then [`Propagator::scores`] or [`Propagator::labels`].
#[derive(Debug, Default)]
pub struct Propagator {
    options: PropagationOptions,
    now: Grey,
    before: Grey,
    seen: bool,
    matcher: Matcher,
    motion: Field,
    memory: Field,
    shown: Option<Key>,
    marked: Option<Mark>,
    spare: Option<ScoreGrid>,
    moved: Option<ScoreGrid>,
    taps: Vec<CubicTap>,
    /// Memory of keys that are gone.
    gone: Vec<(Field, Grey)>,
}

#[derive(Debug)]
struct Key {
    /// Where each place of the present frame lay in the key frame.
    field: Field,
    placement: Placement,
    scores: ScoreGrid,
    labels: Option<LabelMap>,
    captured: Duration,
    /// When what is seen in the scores was captured, on average.
    evidence: Duration,
    /// The key frame itself.
    grey: Grey,
}

/// Where the present frame's places lay before, in pixels of the frame.
#[derive(Debug, Clone, Copy)]
pub struct Motion<'a> {
    step: &'a Field,
    key: Option<&'a Field>,
    /// Grey pixels for each of the frame's, across and down.
    scale: [f32; 2],
}

impl Motion<'_> {
    /// From a place of the present frame to where it lay in the frame before, in pixels.
    pub fn to_before(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        self.vector(self.step, [x, y])
    }

    /// From a place of the present frame to where it lay in the key frame that scores come from, in pixels.
    pub fn to_key(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        self.key.map_or([0.0; 2], |field| self.vector(field, [x, y]))
    }

    fn vector(&self, field: &Field, [x, y]: [f32; 2]) -> [f32; 2] {
        let [dx, dy] = field.at(x * self.scale[0], y * self.scale[1]);
        [dx / self.scale[0], dy / self.scale[1]]
    }
}

#[derive(Debug)]
struct Mark {
    field: Field,
    captured: Duration,
    grey: Grey,
    /// What the older key frames say, carried to the marked frame.
    history: Option<(ScoreGrid, Placement, Duration, Duration)>,
}

/// The four by four cells around a place, as one offset for each and their weights.
#[derive(Debug, Clone, Copy)]
struct CubicTap {
    cols: [u32; 4],
    rows: [u32; 4],
    across: [f32; 4],
    down: [f32; 4],
}

impl Propagator {
    /// A propagator that has seen nothing.
    pub fn new(options: PropagationOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// Takes the next frame in. Without a frame before it there is no motion, and it counts as a cut.
    pub fn follow(&mut self, frame: &RgbImage) -> Movement {
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.take(frame);
        if !std::mem::replace(&mut self.seen, true) {
            return Movement { residual_levels: 255.0, cut: true };
        }
        let movement = self.matcher.find(&self.now, &self.before, &mut self.motion);
        if let Some(key) = &mut self.shown {
            key.field.extend(&self.motion, &mut self.memory);
        }
        if let Some(mark) = &mut self.marked {
            mark.field.extend(&self.motion, &mut self.memory);
        }
        movement
    }

    /// How the frame that was followed last, of this width and height, moved.
    pub fn motion(&self, (width, height): (u32, u32)) -> Motion<'_> {
        let (cols, rows) = self.now.size();
        let scale = [cols as f32 / width.max(1) as f32, rows as f32 / height.max(1) as f32];
        Motion { step: &self.motion, key: self.shown.as_ref().map(|key| &key.field), scale }
    }

    /// Forgets every key frame, as after a cut.
    pub fn forget(&mut self) {
        let Self { shown, marked, gone, .. } = self;
        gone.extend(shown.take().map(|key| (key.field, key.grey)));
        gone.extend(marked.take().map(|mark| (mark.field, mark.grey)));
    }

    /// The present frame, captured at `captured`, becomes the next key frame, in place of one that was marked and did not land.
    pub fn mark(&mut self, captured: Duration) {
        let mut history = None;
        if !self.options.smoothing.is_zero() && self.shown.is_some() {
            let mut memory = self.spare.take();
            let Self { shown: Some(key), taps, now, options, .. } = self else { return };
            let grid = memory.get_or_insert_with(|| key.scores.clone());
            if options.carry == Propagation::Still {
                grid.copy_from(&key.scores);
            } else {
                carry_scores(key, now.size(), taps, grid);
            }
            history = memory.map(|grid| (grid, key.placement, key.captured, key.evidence));
        }
        let spare = self.marked.take().map(|mark| (mark.field, mark.grey)).or_else(|| self.gone.pop());
        let (mut field, mut grey) = spare.unwrap_or_default();
        field.reset(self.now.size());
        grey.copy_full(&self.now);
        self.marked = Some(Mark { field, captured, grey, history });
    }

    /// The scores of the marked frame are there. Nothing happens if none is marked.
    pub fn set_keyframe(&mut self, mut scores: ScoreGrid, placement: Placement) {
        let Some(mark) = self.marked.take() else { return };
        let mut evidence = mark.captured;
        if let Some((history, old_placement, old_captured, old_evidence)) = mark.history {
            let fits = old_placement == placement && history.planes().len() == scores.planes().len();
            if fits {
                let passed = mark.captured.saturating_sub(old_captured).as_secs_f64();
                let kept = (-passed / self.options.smoothing.as_secs_f64().max(1e-9)).exp() as f32;
                let (planes, best, beside) = scores.parts_mut();
                let blend = |new: &mut f32, old: &f32| *new += kept * (*old - *new);
                planes.iter_mut().zip(history.planes()).for_each(|(new, old)| blend(new, old));
                let beside = beside.into_iter().zip(history.beside()).flat_map(|(new, old)| new.iter_mut().zip(old));
                beside.for_each(|(new, old)| blend(new, old));
                best.iter_mut().zip(history.scores()).for_each(|(new, old)| blend(new, old));
                evidence = mark.captured.saturating_sub(mark.captured.saturating_sub(old_evidence).mul_f32(kept));
            }
            self.spare = Some(history);
        }
        let Mark { field, captured, grey, .. } = mark;
        self.replace(Key { field, placement, scores, labels: None, captured, evidence, grey });
    }

    fn replace(&mut self, key: Key) {
        if let Some(old) = self.shown.replace(key) {
            self.gone.push((old.field, old.grey));
        }
    }

    /// The words changed: scores of the same key frame by the new ones. What was smoothed is lost, for it was of other words.
    pub fn rescore(&mut self, scores: ScoreGrid) {
        if let Some(key) = &mut self.shown {
            (key.scores, key.labels, key.evidence) = (scores, None, key.captured);
        }
        self.drop_history();
    }

    /// The marked frame is not to be smoothed with what came before it.
    pub fn drop_history(&mut self) {
        if let Some(mark) = &mut self.marked {
            mark.history = None;
        }
    }

    /// Whether there is a key frame to carry from.
    pub fn has_key(&self) -> bool {
        self.shown.is_some()
    }

    /// How old what the masks are made of is, on average, at a frame captured at `captured`: the lag of key frames and smoothing
    /// together.
    pub fn evidence_age(&self, captured: Duration) -> Duration {
        self.shown.as_ref().map_or(Duration::ZERO, |key| captured.saturating_sub(key.evidence))
    }

    /// The scores on the present frame, and where the patches lie in it.
    pub fn scores(&mut self) -> Option<(&ScoreGrid, &Placement)> {
        let Self { shown: Some(key), moved, taps, now, options, .. } = self else { return None };
        if options.carry != Propagation::Scores || key.field.is_still() {
            return Some((&key.scores, &key.placement));
        }
        let moved = moved.get_or_insert_with(|| key.scores.clone());
        carry_scores(key, now.size(), taps, moved);
        Some((moved, &key.placement))
    }

    /// Values on the key frame's patches, as they lie on the present frame's, whatever the options say of motion. `[rows · cols]` both
    ///
    /// False if there is no key frame, or it has other patches; `out` is as it was then.
    pub fn carried(&mut self, values: &[f32], out: &mut Vec<f32>) -> bool {
        let Self { shown: Some(key), taps, now, .. } = self else { return false };
        if values.len() != key.scores.rows() * key.scores.cols() {
            return false;
        }
        reach_back(key, now.size(), taps);
        out.resize(values.len(), 0.0);
        carry_plane(taps, values, out);
        true
    }

    /// Calls `new` with each box of the present frame that the key frame does not show: left, top, right, bottom, as shares of the sides.
    pub fn each_new(&self, mut new: impl FnMut([f32; 4])) {
        let Some(key) = &self.shown else { return new([0.0, 0.0, 1.0, 1.0]) };
        let (width, height) = self.now.size();
        let sides = [width, height, width, height].map(|side| side.max(1) as f32);
        key.field.each_new(&self.now, &key.grey, |corners| new([0, 1, 2, 3].map(|i| corners[i] as f32 / sides[i])));
    }

    /// Where the patches of the key frame lie in it.
    pub fn placement(&self) -> Option<&Placement> {
        self.shown.as_ref().map(|key| &key.placement)
    }

    /// Draws the labels of the present frame into memory that is reused.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is no key frame, or its scores do not fit its placement.
    pub fn labels(&mut self, painter: &mut crate::mask::Painter, out: &mut LabelMap) -> Result<()> {
        if self.moved_labels(painter, out)? {
            return Ok(());
        }
        let missing = || Error::Tensor { what: "scores".into(), expected: "a key frame's".into(), found: "none".into() };
        let (scores, placement) = self.scores().ok_or_else(missing)?;
        painter.draw(scores, placement, out)
    }

    /// Moves the key frame's labels to the present frame; false where it is the scores that labels are drawn from.
    pub fn moved_labels(&mut self, painter: &mut crate::mask::Painter, out: &mut LabelMap) -> Result<bool> {
        let Self { shown: Some(key), now, options: PropagationOptions { carry: Propagation::Labels, .. }, .. } = self else {
            return Ok(false);
        };
        let labels = match &mut key.labels {
            Some(labels) => labels,
            none => {
                let mut labels = LabelMap { width: 0, height: 0, labels: Vec::new() };
                painter.draw(&key.scores, &key.placement, &mut labels)?;
                none.insert(labels)
            }
        };
        carry_labels(labels, &key.field, now.size(), out);
        Ok(true)
    }
}

/// Catmull-Rom weights of the four cells around a place `u` behind the second one: they keep edges that bilinear weights would wash
/// out over many frames.
fn cubic(u: f32) -> [f32; 4] {
    let (u2, u3) = (u * u, u * u * u);
    [-0.5 * u3 + u2 - 0.5 * u, 1.5 * u3 - 2.5 * u2 + 1.0, -1.5 * u3 + 2.0 * u2 + 0.5 * u, 0.5 * u3 - 0.5 * u2]
}

fn reach(position: f32, len: usize) -> ([u32; 4], [f32; 4]) {
    let last = len.saturating_sub(1);
    let position = position.clamp(0.0, last as f32);
    let low = (position as usize).min(last);
    let cells = [low.saturating_sub(1), low, (low + 1).min(last), (low + 2).min(last)];
    (cells.map(|c| c as u32), cubic(position - low as f32))
}

fn carry_scores(key: &Key, grey_px: (usize, usize), taps: &mut Vec<CubicTap>, out: &mut ScoreGrid) {
    reach_back(key, grey_px, taps);
    out.copy_from(&key.scores);
    let (planes, _, beside) = out.parts_mut();
    let patches = taps.len();
    let (new, old) = (planes.chunks_exact_mut(patches), key.scores.planes().chunks_exact(patches));
    let beside = beside.into_iter().zip(key.scores.beside()).filter(|(new, old)| new.len() == patches && old.len() == patches);
    new.zip(old).chain(beside).for_each(|(plane, from)| carry_plane(taps, from, plane));
}

/// For each patch of the present frame, the patches of the key frame around where it lay there.
fn reach_back(key: &Key, grey_px: (usize, usize), taps: &mut Vec<CubicTap>) {
    let (rows, cols) = (key.scores.rows(), key.scores.cols());
    let placement = &key.placement;
    let patch = placement.patch_px as f32;
    // Grey pixels for each patch, along both sides.
    let pitch = [grey_px.0 as f32 * patch / placement.scaled_px.0 as f32, grey_px.1 as f32 * patch / placement.scaled_px.1 as f32];
    taps.clear();
    for row in 0..rows {
        for col in 0..cols {
            let [dx, dy] = key.field.at((col as f32 + 0.5) * pitch[0], (row as f32 + 0.5) * pitch[1]);
            let ((cells, across), (lines, down)) = (reach(col as f32 + dx / pitch[0], cols), reach(row as f32 + dy / pitch[1], rows));
            taps.push(CubicTap { cols: cells, rows: lines.map(|r| r * cols as u32), across, down });
        }
    }
}

fn carry_plane(taps: &[CubicTap], from: &[f32], plane: &mut [f32]) {
    for (value, tap) in plane.iter_mut().zip(taps) {
        let line = |row: u32| -> f32 { tap.cols.iter().zip(tap.across).map(|(col, across)| across * from[(row + col) as usize]).sum() };
        *value = tap.rows.iter().zip(tap.down).map(|(row, down)| down * line(*row)).sum();
    }
}

fn carry_labels(from: &LabelMap, field: &Field, grey_px: (usize, usize), out: &mut LabelMap) {
    (out.width, out.height) = (from.width, from.height);
    out.labels.resize(from.labels.len(), 0);
    let (width, height) = (from.width as usize, from.height as usize);
    let (to_x, to_y) = (grey_px.0 as f32 / width as f32, grey_px.1 as f32 / height as f32);
    out.labels.par_chunks_mut(width.max(1)).enumerate().for_each(|(y, row)| {
        for (x, label) in row.iter_mut().enumerate() {
            let [dx, dy] = field.at((x as f32 + 0.5) * to_x, (y as f32 + 0.5) * to_y);
            let there = |at: usize, d: f32, side: usize| ((at as f32 + d).round().max(0.0) as usize).min(side - 1);
            *label = from.labels[there(y, dy / to_y, height) * width + there(x, dx / to_x, width)];
        }
    });
}
