//! LayerNorm.

use super::Vector;

/// As `reference::layer_norm`.
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn layer_norm<V: Vector>(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let dim = weight.len();
    assert!(bias.len() == dim);
    let whole = dim - dim % V::LANES;
    for (row, out) in x.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
        // SAFETY: every offset is below `whole`, a multiple of the lanes that is at most `dim`.
        unsafe {
            let mut sums = V::splat(0.0);
            for at in (0..whole).step_by(V::LANES) {
                sums = sums.add(V::load(row.as_ptr().add(at)));
            }
            let mean = (sums.sum() + row[whole..].iter().sum::<f32>()) / dim as f32;
            let means = V::splat(mean);
            let mut squares = V::splat(0.0);
            for at in (0..whole).step_by(V::LANES) {
                let v = V::load(row.as_ptr().add(at)).sub(means);
                squares = squares.fma(v, v);
            }
            let rest: f32 = row[whole..].iter().map(|v| (v - mean) * (v - mean)).sum();
            let scale = 1.0 / ((squares.sum() + rest) / dim as f32 + eps).sqrt();
            let scales = V::splat(scale);
            for at in (0..whole).step_by(V::LANES) {
                let v = V::load(row.as_ptr().add(at)).sub(means).mul(scales);
                V::load(bias.as_ptr().add(at)).fma(v, V::load(weight.as_ptr().add(at))).store(out.as_mut_ptr().add(at));
            }
            for at in whole..dim {
                out[at] = (row[at] - mean) * scale * weight[at] + bias[at];
            }
        }
    }
}
