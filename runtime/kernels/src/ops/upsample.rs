//! Labels at the picture's size from planes of values on a coarse grid.

use crate::dispatch::Kernels;
use crate::operands::{Columns, Label, Labels, Planes, Scratch, Tap};
use crate::{generic, reference};

impl Kernels {
    /// Bilinear upsampling and arg-maximum in one pass: for every output pixel the index of the plane with the largest interpolated
    /// value, the first one on a tie. A class wins nowhere next to a cell that is not finite; where no class can win, the label is 0.
    ///
    /// # Shapes
    /// - `planes`: `[classes, rows, cols]`
    /// - `rows`: one tap for each output row of this call; a part of the picture's rows may be given
    /// - `columns`: one tap for each output column
    /// - `labels`: `[rows, columns]`
    ///
    /// # Panics
    /// `labels` has another length, a tap lies outside `planes`, or `planes` has more classes than the label type has values.
    pub fn upsample_argmax<L: Label>(&self, planes: &Planes<'_>, rows: &[Tap], columns: &Columns, scratch: &mut Scratch, labels: &mut [L]) {
        self.upsample(planes, rows, columns, scratch, L::erase(labels));
    }

    fn upsample(&self, planes: &Planes<'_>, rows: &[Tap], columns: &Columns, scratch: &mut Scratch, labels: Labels<'_>) {
        match labels {
            Labels::U8(labels) => self.upsample_into(planes, rows, columns, scratch, labels),
            Labels::U16(labels) => self.upsample_into(planes, rows, columns, scratch, labels),
        }
    }

    fn upsample_into<L: Label>(&self, planes: &Planes<'_>, rows: &[Tap], columns: &Columns, scratch: &mut Scratch, labels: &mut [L]) {
        check(planes, rows, columns, labels);
        if self.is_reference() {
            reference::upsample_argmax(planes, rows, columns, scratch, labels);
        } else {
            generic::upsample::upsample_argmax(planes, rows, columns, scratch, labels);
        }
    }
}

/// Asserts what `Kernels::upsample_argmax` asks of its arguments.
fn check<L: Label>(planes: &Planes<'_>, rows: &[Tap], columns: &Columns, labels: &[L]) {
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
