//! The reference: plain loops that say what every kernel computes, and that every other set is tested against.

#![forbid(unsafe_code)]

use crate::operands::{
    Activation, CHUNK_F16, Columns, Epilogue, InterleavedRows, Label, PANEL, PanelProducts, Pass, Planes, RowRange, Scales, Scratch, Tap,
    TileF16, TileF32, TileInt8, WordBest, from_f16, to_f16,
};

pub(crate) fn dot_products(patches: &[f32], bank: &[f32], dim: usize, out: &mut [f32]) {
    let mut results = out.iter_mut();
    for patch in patches.chunks_exact(dim) {
        for word in bank.chunks_exact(dim) {
            let sum = patch.iter().zip(word).map(|(a, b)| a * b).sum();
            if let Some(result) = results.next() {
                *result = sum;
            }
        }
    }
}

pub(crate) fn normalize_rows(rows: &mut [f32], dim: usize) -> Option<usize> {
    let mut first_bad = None;
    for (index, row) in rows.chunks_exact_mut(dim).enumerate() {
        if !normalize_row(row) {
            first_bad = first_bad.or(Some(index));
        }
    }
    first_bad
}

/// The sum of squares is taken in f64, where neither the largest nor the smallest f32 overflows or vanishes.
pub(crate) fn normalize_row(row: &mut [f32]) -> bool {
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

pub(crate) fn upsample_argmax<L: Label>(planes: &Planes<'_>, rows: &[Tap], columns: &Columns, scratch: &mut Scratch, labels: &mut [L]) {
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

/// `out[p, t] = Σ_d rows[p, d] · panel[d, t]`, patches in groups of one.
pub(crate) fn score_panel_f32(rows: &[f32], dim: usize, panel: &[f32], out: &mut [f32]) {
    for (row, out) in rows.chunks_exact(dim).zip(out.chunks_exact_mut(PANEL)) {
        out.fill(0.0);
        for (value, words) in row.iter().zip(panel.chunks_exact(PANEL)) {
            out.iter_mut().zip(words).for_each(|(sum, word)| *sum += value * word);
        }
    }
}

/// `out[p, t] = Σ_d patches[p, d] · panel[t, d]`, brought back from integers, patches in groups of one.
pub(crate) fn score_panel_int8(patches: &InterleavedRows<'_>, panel: &InterleavedRows<'_>, out: &mut [f32]) {
    let rows = patches.values.chunks_exact(patches.wide).zip(patches.scales);
    for ((row, scale), out) in rows.zip(out.chunks_exact_mut(PANEL)) {
        let mut sums = [0i32; PANEL];
        for (quad, words) in row.chunks_exact(4).zip(panel.values.chunks_exact(4 * PANEL)) {
            for (sum, word) in sums.iter_mut().zip(words.chunks_exact(4)) {
                *sum += quad.iter().zip(word).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum::<i32>();
            }
        }
        for ((out, sum), word_scale) in out.iter_mut().zip(sums).zip(panel.scales) {
            *out = sum as f32 * (scale * word_scale);
        }
    }
}

/// Folds one panel's products into what a pass keeps; `words` may be fewer than a panel's.
pub(crate) fn fold(products: &PanelProducts<'_>, pass: &mut Pass<'_>, words: &mut [WordBest]) {
    for (patch, row) in products.values.chunks_exact(PANEL).enumerate() {
        for (lane, (product, word)) in row.iter().zip(&mut *words).enumerate() {
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
                    word.mass += logit.exp();
                }
            }
            if logit > word.logit {
                word.logit = logit;
                word.patch = patch as u32;
            }
        }
    }
}

/// `out[m, n] (+)= Σ_k rows[m, k] · weights[k, n]`.
pub(crate) fn gemm_f32(tile: &TileF32<'_>, out: &mut [f32], out_ld: usize) {
    for m in 0..tile.count {
        let out = &mut out[m * out_ld..][..tile.columns];
        if !tile.add {
            out.fill(0.0);
        }
        for (k, value) in tile.rows[m * tile.rows_ld..][..tile.depth].iter().enumerate() {
            out.iter_mut().zip(&tile.weights[k * tile.weights_ld..]).for_each(|(sum, weight)| *sum += value * weight);
        }
    }
}

/// `out[m, n] (+)= Σ_k rows[m, k] · weights[k / 4, n, k % 4]`.
pub(crate) fn gemm_int8(tile: &TileInt8<'_>, out: &mut [i32]) {
    let panel = out.len() / tile.count;
    for (m, out) in out.chunks_exact_mut(panel).enumerate() {
        if !tile.add {
            out.fill(0);
        }
        for (k, byte) in tile.rows[m * tile.rows_ld..][..tile.depth].iter().enumerate() {
            for (n, sum) in out.iter_mut().enumerate() {
                *sum += i32::from(*byte) * i32::from(tile.weights[(k / 4 * panel + n) * 4 + k % 4]);
            }
        }
    }
}

/// `out = activation(products + bias) + residual`.
pub(crate) fn epilogue(products: &[f32], epilogue: &Epilogue<'_>, out: &mut [f32]) {
    for (row, products) in products.chunks_exact(epilogue.bias.len()).enumerate() {
        for (n, product) in products[..epilogue.columns].iter().enumerate() {
            let at = row * epilogue.outputs + epilogue.column + n;
            out[at] = activate(product + epilogue.bias[n], epilogue.activation) + epilogue.residual.map_or(0.0, |residual| residual[at]);
        }
    }
}

/// As [`epilogue`], of sums as [`dequantize`] brings them back.
pub(crate) fn epilogue_int8(sums: &[i32], scales: &Scales<'_>, epilogue: &Epilogue<'_>, out: &mut [f32]) {
    let mut products = vec![0.0; sums.len()];
    dequantize(sums, scales, &mut products, epilogue.bias.len());
    self::epilogue(&products, epilogue, out);
}

/// `(sum - zero · column sum) · row scale · column scale`.
pub(crate) fn dequantize(sums: &[i32], scales: &Scales<'_>, out: &mut [f32], out_ld: usize) {
    let panel = scales.columns.len();
    for (at, sum) in sums.iter().enumerate() {
        let (row, n) = (at / panel, at % panel);
        out[row * out_ld + n] = (sum - scales.zeros[row] * scales.sums[n]) as f32 * (scales.rows[row] * scales.columns[n]);
    }
}

/// Brings a row to bytes of at most `levels`; a row with NaN or infinity becomes zeros.
pub(crate) fn quantize_row(row: &[f32], levels: u8, out: &mut [u8]) -> RowRange {
    out.fill(0);
    if row.iter().any(|v| !v.is_finite()) {
        return RowRange::NAN;
    }
    let (low, high) = row.iter().fold((0.0f32, 0.0f32), |(low, high), v| (low.min(*v), high.max(*v)));
    let Some((range, inverse)) = RowRange::new(low, high, levels) else { return RowRange::ZERO };
    quantize(row, inverse, range.zero, levels, out);
    range
}

/// `x · inverse + zero`, rounded with ties to even.
pub(crate) fn quantize(row: &[f32], inverse: f32, zero: i32, levels: u8, out: &mut [u8]) {
    for (byte, x) in out.iter_mut().zip(row) {
        *byte = ((x * inverse).round_ties_even() + zero as f32).clamp(0.0, f32::from(levels)) as u8;
    }
}

/// The value of an activation at `x`, by its formula.
pub fn activate(x: f32, activation: Activation) -> f32 {
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
pub(crate) const ERF: [f32; 5] = [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6];
/// Its factor on the argument.
pub(crate) const ERF_P: f32 = 0.327_591_1;

/// The error function, within 1.5e-7 (Abramowitz and Stegun 7.1.26).
pub fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + ERF_P * x.abs());
    let polynomial = ERF.iter().fold(0.0, |sum, factor| (sum + factor) * t);
    (1.0 - polynomial * (-x * x).exp()).copysign(x)
}

pub(crate) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
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

/// Each value becomes `exp(value - largest)`; returns their sum.
pub(crate) fn exp_row(row: &mut [f32]) -> f32 {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|value| *value = (*value - largest).exp());
    row.iter().sum()
}

/// What is added before [`exp_row_int8`] rounds, place by place and over again: all of the 64 steps from -1/2 to 1/2, far ones side by side.
///
/// A softmax over many keys has a long tail of weights below half a step. Rounded to the nearest step all of it is lost, and with it the
/// mean of the values that it stands for; rounded up as often as its size says, its sum stays.
pub(crate) const DITHER: [f32; 64] = {
    let (mut dither, mut at) = ([0.0; 64], 0u8);
    while at < 64 {
        dither[at as usize] = ((at.reverse_bits() >> 2) as f32 + 0.5) / 64.0 - 0.5;
        at += 1;
    }
    dither
};

/// `exp(value - largest)` of each value as a byte of at most `levels`, rounded with [`DITHER`]; returns the sum of the bytes.
pub(crate) fn exp_row_int8(row: &mut [f32], levels: u8, out: &mut [u8]) -> f32 {
    exp_row(row);
    row.iter().zip(out).zip(DITHER.iter().cycle()).fold(0.0, |total, ((e, byte), dither)| {
        *byte = (e * f32::from(levels) + dither).round_ties_even() as u8;
        total + f32::from(*byte)
    })
}

/// The largest size of a row's numbers; NaN if any is NaN or infinite.
pub(crate) fn largest_magnitude(row: &[f32]) -> f32 {
    if row.iter().all(|v| v.is_finite()) { row.iter().fold(0.0, |a, v| v.abs().max(a)) } else { f32::NAN }
}

/// Each number times its factor, rounded, within ±127.
pub(crate) fn quantize_row_signed(row: &[f32], factors: &[f32], out: &mut [i8]) {
    for ((value, factor), byte) in row.iter().zip(factors).zip(out) {
        *byte = (value * factor).round_ties_even().clamp(-127.0, 127.0) as i8;
    }
}

/// `out[m, n] (+)= scales[m] · Σ_k rows[m, k] · weights[k, n]`; a chunk's products are added one by one and rounded to 16 bits each time.
pub(crate) fn gemm_f16(tile: &TileF16<'_>, out: &mut [f32]) {
    let panel = out.len() / tile.count;
    for (m, (out, scale)) in out.chunks_exact_mut(panel).zip(tile.scales).enumerate() {
        if !tile.add {
            out.fill(0.0);
        }
        let row = &tile.rows[m * tile.rows_ld..][..tile.depth];
        for (row, weights) in row.chunks(CHUNK_F16).zip(tile.weights.chunks(CHUNK_F16 * panel)) {
            for (n, out) in out.iter_mut().enumerate() {
                let products = row.iter().zip(weights[n..].iter().step_by(panel));
                let sum = products.fold(0.0, |sum, (a, b)| to_half(sum + f64::from(from_f16(*a)) * f64::from(from_f16(*b))));
                *out += scale * sum as f32;
            }
        }
    }
}

/// The nearest number that 16 bits hold, ties to even. A sum of such a number and a product of two was rounded to 53 bits, which is
/// more than twice what decides here, so that this rounding is the only one.
fn to_half(x: f64) -> f64 {
    let exponent = ((x.to_bits() >> 52 & 0x7ff) as i32 - 1023).max(-14);
    let step = 2f64.powi(exponent - 10);
    let rounded = (x / step).round_ties_even() * step;
    if rounded.abs() >= 65536.0 { f64::INFINITY.copysign(x) } else { rounded }
}

/// Each number times `factor`, rounded to 16 bits.
pub(crate) fn round_row_f16(row: &[f32], factor: f32, out: &mut [u16]) {
    row.iter().zip(out).for_each(|(value, half)| *half = to_f16(value * factor));
}
