//! What upsampling works on: planes of values on a coarse grid, and where each output pixel lies between the grid's cells.

use std::ops::Range;

/// Where an output row or column lies on the source grid: `value = v[lo] · (1 - weight) + v[hi] · weight`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tap {
    /// Index of the source line before the position.
    pub lo: u32,
    /// Index of the source line after it, or `lo` again at the border.
    pub hi: u32,
    /// Share of `hi`, 0..=1.
    pub weight: f32,
}

impl Tap {
    /// The tap at `position` on a line of `len` cell centres 0, 1, .. `len - 1`; positions outside are clamped to the border.
    #[inline]
    pub fn at(position: f64, len: usize) -> Tap {
        let last = len.saturating_sub(1);
        let position = position.clamp(0.0, last as f64);
        let lo = (position as usize).min(last);
        Tap { lo: lo as u32, hi: (lo + 1).min(last) as u32, weight: (position - lo as f64) as f32 }
    }

    /// One tap for each of `output` pixels over `source` cells, half-pixel centres: pixel `x` lies at `(x + ½) · source / output - ½`.
    pub fn line(source: usize, output: usize) -> Vec<Tap> {
        let step = source as f64 / output as f64;
        (0..output).map(|x| Tap::at((x as f64 + 0.5) * step - 0.5, source)).collect()
    }

    /// The value between `lo` and `hi`.
    #[inline]
    pub(crate) fn blend(self, lo: f32, hi: f32) -> f32 {
        lo * (1.0 - self.weight) + hi * self.weight
    }
}

/// Values on a coarse grid, one plane for each class.
#[derive(Debug, Clone, Copy)]
pub struct Planes<'a> {
    values: &'a [f32], // [classes, rows, cols]
    classes: usize,
    rows: usize,
    cols: usize,
}

impl<'a> Planes<'a> {
    /// Views `values` as `[classes, rows, cols]`; `None` when the length differs or a side is zero.
    pub fn new(values: &'a [f32], classes: usize, rows: usize, cols: usize) -> Option<Self> {
        let len = classes.checked_mul(rows)?.checked_mul(cols)?;
        (len > 0 && len == values.len()).then_some(Planes { values, classes, rows, cols })
    }

    /// Number of planes.
    #[inline]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Rows of each plane.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of each plane.
    #[inline]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All values. `[classes, rows, cols]`
    #[inline]
    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    /// The value of one cell.
    #[inline]
    pub(crate) fn at(&self, class: usize, row: usize, col: usize) -> f32 {
        self.values[(class * self.rows + row) * self.cols + col]
    }
}

/// One tap for each output column, with what can be known of them ahead of the rows.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    taps: Vec<Tap>,
    spans: Vec<Range<usize>>,
}

impl Columns {
    /// Takes the output columns' taps, from left to right.
    pub fn new(taps: Vec<Tap>) -> Self {
        let mut spans = Vec::new();
        let mut start = 0;
        for span in taps.chunk_by(|a, b| (a.lo, a.hi) == (b.lo, b.hi) && a.weight <= b.weight) {
            spans.push(start..start + span.len());
            start += span.len();
        }
        Columns { taps, spans }
    }

    /// Number of output columns.
    #[inline]
    pub fn len(&self) -> usize {
        self.taps.len()
    }

    /// Whether there is no column.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.taps.is_empty()
    }

    /// The taps, from left to right.
    #[inline]
    pub fn taps(&self) -> &[Tap] {
        &self.taps
    }
}

/// Memory that upsampling uses between calls, so that none is allocated for each row.
#[derive(Debug, Default)]
pub struct Scratch {
    blended: Vec<f32>, // [classes, cols]
    rivals: Vec<u32>,  // classes that can win in a span, span after span
    ends: Vec<usize>,  // where each span's rivals end in `rivals`
    heights: Vec<f32>, // largest corner of each class, for one span
    lines: Vec<Line>,  // the rivals' values along one row of a span
}

impl Scratch {
    pub(crate) fn blended(&mut self, len: usize) -> &mut [f32] {
        self.blended.resize(len, 0.0);
        &mut self.blended[..len]
    }
}

/// A class's values along one row of a span: from `lo` to `hi`, linear in the taps' weight.
#[derive(Debug, Clone, Copy)]
struct Line {
    class: u32,
    lo: f32,
    hi: f32,
}

/// As `Kernels::upsample_argmax`, by geometry instead of pixel by pixel.
///
/// Between four cells every class is bilinear, so it never leaves the range of its four corners: a class whose largest corner lies
/// under another's smallest can win nowhere there. What is left, mostly one or two classes, is linear along a row, and the largest of
/// linear functions is convex: a class that wins at both ends of a stretch wins all of it.
pub(crate) fn upsample_argmax<L: Label>(planes: &Planes<'_>, rows: &[Tap], columns: &Columns, scratch: &mut Scratch, labels: &mut [L]) {
    let width = columns.len();
    if width == 0 {
        return;
    }
    let Scratch { rivals, ends, heights, lines, .. } = scratch;
    let mut lines_of_labels = labels.chunks_exact_mut(width);
    for band in rows.chunk_by(|a, b| (a.lo, a.hi) == (b.lo, b.hi)) {
        rivals.clear();
        ends.clear();
        lines.clear();
        // All that any picture can need, so that a later one takes no memory.
        rivals.reserve(planes.classes() * columns.spans.len());
        ends.reserve(columns.spans.len());
        lines.reserve(planes.classes());
        for span in &columns.spans {
            find_rivals(planes, band[0], columns.taps[span.start], heights, rivals);
            ends.push(rivals.len());
        }
        for (row, labels) in band.iter().zip(&mut lines_of_labels) {
            let mut start = 0;
            for (span, end) in columns.spans.iter().zip(ends.iter()) {
                let taps = &columns.taps[span.clone()];
                let labels = &mut labels[span.clone()];
                match &rivals[start..*end] {
                    [] => labels.fill(L::from_index(0)),
                    [class] => labels.fill(L::from_index(*class as usize)),
                    classes => {
                        let (lo, hi) = (taps[0].lo as usize, taps[0].hi as usize);
                        let at = |class: u32, col| {
                            let class = class as usize;
                            row.blend(planes.at(class, row.lo as usize, col), planes.at(class, row.hi as usize, col))
                        };
                        lines.clear();
                        lines.extend(classes.iter().map(|&class| Line { class, lo: at(class, lo), hi: at(class, hi) }));
                        let floor = lines.iter().map(|line| line.lo.min(line.hi)).fold(f32::NEG_INFINITY, f32::max);
                        lines.retain(|line| line.lo.max(line.hi) >= floor);
                        let (first, last) = (winner(lines, taps[0]), winner(lines, taps[taps.len() - 1]));
                        fill(lines, taps, labels, first, last);
                    }
                }
                start = *end;
            }
        }
    }
}

/// Appends the classes that can win somewhere between the four cells of `row` and `column`.
fn find_rivals(planes: &Planes<'_>, row: Tap, column: Tap, heights: &mut Vec<f32>, rivals: &mut Vec<u32>) {
    let mut highest_floor = f32::NEG_INFINITY;
    heights.clear();
    for class in 0..planes.classes() {
        let [a, b] = [row.lo, row.hi].map(|row| planes.at(class, row as usize, column.lo as usize));
        let [c, d] = [row.lo, row.hi].map(|row| planes.at(class, row as usize, column.hi as usize));
        let finite = a.is_finite() && b.is_finite() && c.is_finite() && d.is_finite();
        heights.push(if finite { a.max(b).max(c.max(d)) } else { f32::NEG_INFINITY });
        if finite {
            highest_floor = highest_floor.max(a.min(b).min(c.min(d)));
        }
    }
    let classes = heights.iter().enumerate();
    rivals.extend(classes.filter(|(_, height)| **height >= highest_floor && **height > f32::NEG_INFINITY).map(|(class, _)| class as u32));
}

/// The line with the largest value at `tap`, the first one on a tie.
fn winner(lines: &[Line], tap: Tap) -> Line {
    let (mut best, mut largest) = (0, f32::NEG_INFINITY);
    for (index, line) in lines.iter().enumerate() {
        let value = tap.blend(line.lo, line.hi);
        best = if value > largest { index } else { best };
        largest = largest.max(value);
    }
    lines[best]
}

/// Labels a stretch whose first pixel `first` wins, and the last one `last`.
fn fill<L: Label>(lines: &[Line], taps: &[Tap], labels: &mut [L], first: Line, last: Line) {
    let label = |line: Line| L::from_index(line.class as usize);
    if first.class == last.class || taps.len() < 2 {
        labels.fill(label(first));
        return;
    }
    let last_wins = |tap: &Tap| {
        let (old, new) = (tap.blend(first.lo, first.hi), tap.blend(last.lo, last.hi));
        new > old || new == old && last.class < first.class
    };
    // Both ends are decided; the border lies between them.
    let border = 1 + taps[1..taps.len() - 1].partition_point(|tap| !last_wins(tap));
    let (left, right) = labels.split_at_mut(border);
    let (before, after) = if lines.len() == 2 { (first, last) } else { (winner(lines, taps[border - 1]), winner(lines, taps[border])) };
    fill(lines, &taps[..border], left, first, before);
    fill(lines, &taps[border..], right, after, last);
}

/// An integer that numbers classes.
pub trait Label: Copy {
    /// How many classes it can number.
    const CLASSES: usize;

    /// The label of class `index`, which is below [`CLASSES`](Self::CLASSES).
    fn from_index(index: usize) -> Self;
}

impl Label for u8 {
    const CLASSES: usize = 1 << 8;

    #[inline]
    fn from_index(index: usize) -> Self {
        index as u8
    }
}

impl Label for u16 {
    const CLASSES: usize = 1 << 16;

    #[inline]
    fn from_index(index: usize) -> Self {
        index as u16
    }
}

/// Asserts what `Kernels::upsample_argmax` asks of its arguments.
pub(crate) fn check<L: Label>(planes: &Planes<'_>, rows: &[Tap], columns: &Columns, labels: &[L]) {
    assert_eq!(labels.len(), rows.len() * columns.len(), "upsample_argmax: expected room for {} x {} labels", rows.len(), columns.len());
    assert!(
        planes.classes() <= L::CLASSES,
        "upsample_argmax: expected at most {} classes for this label type, found {}",
        L::CLASSES,
        planes.classes()
    );
    let inside = |taps: &[Tap], len: usize| taps.iter().all(|tap| (tap.lo.max(tap.hi) as usize) < len);
    assert!(
        inside(rows, planes.rows()) && inside(columns.taps(), planes.cols()),
        "upsample_argmax: expected taps inside a grid of {} x {}",
        planes.rows(),
        planes.cols()
    );
}
