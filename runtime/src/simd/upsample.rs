//! What upsampling works on: planes of values on a coarse grid, and where each output pixel lies between the grid's cells.

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
    pub(super) fn blend(self, lo: f32, hi: f32) -> f32 {
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
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Rows of each plane.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of each plane.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The value of one cell.
    #[inline]
    pub(super) fn at(&self, class: usize, row: usize, col: usize) -> f32 {
        self.values[(class * self.rows + row) * self.cols + col]
    }
}

/// One tap for each output column, with what can be known of them ahead of the rows.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    taps: Vec<Tap>,
}

impl Columns {
    /// Takes the output columns' taps, from left to right.
    pub fn new(taps: Vec<Tap>) -> Self {
        Columns { taps }
    }

    /// Number of output columns.
    pub fn len(&self) -> usize {
        self.taps.len()
    }

    /// Whether there is no column.
    pub fn is_empty(&self) -> bool {
        self.taps.is_empty()
    }

    /// The taps, from left to right.
    pub fn taps(&self) -> &[Tap] {
        &self.taps
    }
}

/// Memory that upsampling uses between calls, so that none is allocated for each row.
#[derive(Debug, Default)]
pub struct Scratch {
    blended: Vec<f32>, // [classes, cols]
}

impl Scratch {
    pub(super) fn blended(&mut self, len: usize) -> &mut [f32] {
        self.blended.resize(len, 0.0);
        &mut self.blended[..len]
    }
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

    fn from_index(index: usize) -> Self {
        index as u8
    }
}

impl Label for u16 {
    const CLASSES: usize = 1 << 16;

    fn from_index(index: usize) -> Self {
        index as u16
    }
}

/// Asserts what `Kernels::upsample_argmax` asks of its arguments.
pub(super) fn check<L: Label>(planes: &Planes<'_>, rows: &[Tap], columns: &Columns, labels: &[L]) {
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
