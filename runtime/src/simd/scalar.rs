//! The reference: what every other set of kernels is tested against.

use super::packed::PANEL;
use super::scan::{Int8Rows, Pass, Products};
use super::{Columns, Label, Planes, Scratch, TagBest, Tap};

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

/// `out[p, t] = Σ_d rows[p, d] · panel[d, t]`, patches in blocks of one.
pub(super) fn panel_f32(rows: &[f32], dim: usize, panel: &[f32], out: &mut [f32]) {
    for (row, out) in rows.chunks_exact(dim).zip(out.chunks_exact_mut(PANEL)) {
        out.fill(0.0);
        for (value, tags) in row.iter().zip(panel.chunks_exact(PANEL)) {
            out.iter_mut().zip(tags).for_each(|(sum, tag)| *sum += value * tag);
        }
    }
}

/// `out[p, t] = Σ_d patches[p, d] · panel[t, d]`, brought back from integers, patches in blocks of one.
pub(super) fn panel_int8(patches: &Int8Rows<'_>, panel: &Int8Rows<'_>, out: &mut [f32]) {
    let rows = patches.values.chunks_exact(patches.wide).zip(patches.scales);
    for ((row, scale), out) in rows.zip(out.chunks_exact_mut(PANEL)) {
        let mut sums = [0i32; PANEL];
        for (quad, tags) in row.chunks_exact(4).zip(panel.values.chunks_exact(4 * PANEL)) {
            for (sum, tag) in sums.iter_mut().zip(tags.chunks_exact(4)) {
                *sum += quad.iter().zip(tag).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum::<i32>();
            }
        }
        for ((out, sum), tag_scale) in out.iter_mut().zip(sums).zip(panel.scales) {
            *out = sum as f32 * (scale * tag_scale);
        }
    }
}

/// Folds one panel's products into what a pass keeps; `tags` may be fewer than a panel's.
pub(super) fn fold(products: &Products<'_>, pass: &mut Pass<'_>, tags: &mut [TagBest]) {
    for (patch, row) in products.values.chunks_exact(PANEL).enumerate() {
        for (lane, (product, tag)) in row.iter().zip(&mut *tags).enumerate() {
            let mut logit = product * products.scale;
            match pass {
                Pass::Best { best, panel, sum, sums } => {
                    let at = patch * PANEL + lane;
                    if *sums {
                        let factor = (-(logit - best[at]).abs()).exp();
                        sum[at] = if logit > best[at] { sum[at] * factor + 1.0 } else { sum[at] + factor };
                    }
                    if logit > best[at] {
                        best[at] = logit;
                        panel[at] = products.panel as f32;
                    }
                }
                Pass::Mass { log_sums } => {
                    logit -= log_sums[patch];
                    tag.mass += logit.exp();
                }
            }
            if logit > tag.logit {
                tag.logit = logit;
                tag.patch = patch as u32;
            }
        }
    }
}
