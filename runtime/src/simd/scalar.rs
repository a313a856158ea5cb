//! The reference: what every other set of kernels is tested against.

use super::packed::PANEL;
use super::scan::{Int8Rows, Pass, Products};
use super::transformer::{Activation, Epilogue};
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

/// Bias, activation and residual for one panel of products `[rows, PANEL]`; columns beyond the last output are left out.
pub(super) fn epilogue(products: &[f32], epilogue: &Epilogue<'_>, out: &mut [f32]) {
    let Epilogue { bias, outputs, column, .. } = *epilogue;
    let columns = PANEL.min(outputs - column);
    for (row, (products, out)) in products.chunks_exact(PANEL).zip(out.chunks_exact_mut(outputs)).enumerate() {
        for lane in 0..columns {
            let value = activate(products[lane] + bias[lane], epilogue.activation);
            out[column + lane] = value + epilogue.residual.map_or(0.0, |residual| residual[row * outputs + column + lane]);
        }
    }
}

fn activate(x: f32, activation: Activation) -> f32 {
    let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
    match activation {
        Activation::None => x,
        Activation::Gelu => 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)),
        // ½ (1 + tanh(u)) = sigmoid(2u)
        Activation::GeluTanh => x * sigmoid(2.0 * 0.797_884_6 * (x + 0.044_715 * x * x * x)),
        Activation::QuickGelu => x * sigmoid(1.702 * x),
    }
}

/// The error function, Abramowitz and Stegun 7.1.26: within 1.5e-7 of it.
pub(super) const ERF: [f32; 5] = [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6];
/// Its factor on the argument.
pub(super) const ERF_P: f32 = 0.327_591_1;

fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + ERF_P * x.abs());
    let polynomial = ERF.iter().fold(0.0, |sum, factor| (sum + factor) * t);
    (1.0 - polynomial * (-x * x).exp()).copysign(x)
}

pub(super) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let dim = weight.len();
    for (row, out) in x.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
        let mean = row.iter().sum::<f32>() / dim as f32;
        let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / dim as f32;
        let scale = 1.0 / (variance + eps).sqrt();
        for ((out, v), (weight, bias)) in out.iter_mut().zip(row).zip(weight.iter().zip(bias)) {
            *out = (v - mean) * scale * weight + bias;
        }
    }
}

/// Each column's values become `exp(value - largest)`, and `sums` their sums. `weights` is `[n, PANEL]`.
pub(super) fn exp_columns(weights: &mut [f32], sums: &mut [f32; PANEL]) {
    for (lane, sum) in sums.iter_mut().enumerate() {
        let column = || (lane..weights.len()).step_by(PANEL);
        let largest = column().map(|at| weights[at]).fold(f32::NEG_INFINITY, f32::max);
        *sum = 0.0;
        for at in column() {
            weights[at] = (weights[at] - largest).exp();
            *sum += weights[at];
        }
    }
}
