//! The reference: what every other set of kernels is tested against.

use super::{Columns, Label, Planes, Scratch, Tap};

pub(super) fn dot_products(patches: &[f32], bank: &[f32], dim: usize, out: &mut [f32]) {
    let mut results = out.iter_mut();
    for patch in patches.chunks_exact(dim) {
        for tag in bank.chunks_exact(dim) {
            let sum = patch.iter().zip(tag).map(|(a, b)| a * b).sum();
            if let Some(result) = results.next() {
                *result = sum;
            }
        }
    }
}

pub(super) fn normalise_rows(rows: &mut [f32], dim: usize) -> Option<usize> {
    let mut first_bad = None;
    for (index, row) in rows.chunks_exact_mut(dim).enumerate() {
        if !normalise_row(row) {
            first_bad = first_bad.or(Some(index));
        }
    }
    first_bad
}

/// The sum of squares is taken in f64, where neither the largest nor the smallest f32 overflows or vanishes.
pub(super) fn normalise_row(row: &mut [f32]) -> bool {
    let squares: f64 = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    if !squares.is_finite() || squares == 0.0 {
        return false;
    }
    let scale = 1.0 / squares.sqrt();
    for value in row {
        *value = (f64::from(*value) * scale) as f32;
    }
    true
}

pub(super) fn upsample_argmax<L: Label>(planes: &Planes<'_>, rows: &[Tap], columns: &Columns, scratch: &mut Scratch, labels: &mut [L]) {
    let width = columns.len();
    if width == 0 {
        return;
    }
    let blended = scratch.blended(planes.classes() * planes.cols());
    for (row, labels) in rows.iter().zip(labels.chunks_exact_mut(width)) {
        for class in 0..planes.classes() {
            for col in 0..planes.cols() {
                let lo = planes.at(class, row.lo as usize, col);
                let hi = planes.at(class, row.hi as usize, col);
                blended[class * planes.cols() + col] = row.blend(lo, hi);
            }
        }
        for (column, label) in columns.taps().iter().zip(labels) {
            let mut best = f32::NEG_INFINITY;
            *label = L::from_index(0);
            for (class, line) in blended.chunks_exact(planes.cols()).enumerate() {
                let value = column.blend(line[column.lo as usize], line[column.hi as usize]);
                if value.is_finite() && value > best {
                    best = value;
                    *label = L::from_index(class);
                }
            }
        }
    }
}
