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

/// One tap for each output column, with what can be known of them prefetch of the rows.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    taps: Vec<Tap>,
    pub(crate) spans: Vec<Range<usize>>,
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
    pub(crate) blended: Vec<f32>,        // [classes, cols]
    pub(crate) rivals: Vec<u32>,         // classes that can win in a span, span after span
    pub(crate) ends: Vec<usize>,         // where each span's rivals end in `rivals`
    pub(crate) heights: Vec<f32>,        // largest corner of each class, for one span
    pub(crate) lines: Vec<ClassSegment>, // the rivals' values along one row of a span
}

impl Scratch {
    pub(crate) fn blended(&mut self, len: usize) -> &mut [f32] {
        self.blended.resize(len, 0.0);
        &mut self.blended[..len]
    }
}

/// A class's values along one row of a span: from `lo` to `hi`, linear in the taps' weight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClassSegment {
    pub(crate) class: u32,
    pub(crate) lo: f32,
    pub(crate) hi: f32,
}

/// An integer that numbers classes.
pub trait Label: Copy {
    /// How many classes it can number.
    const CLASSES: usize;

    /// The label of class `index`, which is below [`CLASSES`](Self::CLASSES).
    fn from_index(index: usize) -> Self;

    #[doc(hidden)]
    fn erase(labels: &mut [Self]) -> Labels<'_>;
}

/// Labels of any width, so that the loops over them are compiled in this crate, with its options, and not where they are called.
#[doc(hidden)]
#[derive(Debug)]
pub enum Labels<'a> {
    U8(&'a mut [u8]),
    U16(&'a mut [u16]),
}

impl Label for u8 {
    const CLASSES: usize = 1 << 8;

    #[inline]
    fn from_index(index: usize) -> Self {
        index as u8
    }

    fn erase(labels: &mut [Self]) -> Labels<'_> {
        Labels::U8(labels)
    }
}

impl Label for u16 {
    const CLASSES: usize = 1 << 16;

    #[inline]
    fn from_index(index: usize) -> Self {
        index as u16
    }

    fn erase(labels: &mut [Self]) -> Labels<'_> {
        Labels::U16(labels)
    }
}
