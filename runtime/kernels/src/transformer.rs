//! What the layers of a vision transformer share, and LayerNorm.

use super::aligned::Aligned;
use super::lanes::{Lanes, erf, sigmoid};
use super::{Isa, Kernels, dispatch, scalar};

/// What follows a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// `x · Φ(x)`, the exact GELU (Hendrycks and Gimpel 2016).
    Gelu,
    /// GELU with the same paper's tanh in place of the error function.
    GeluTanh,
    /// `x · sigmoid(1.702 · x)`, the same paper's other approximation, which CLIP uses.
    QuickGelu,
}

/// Memory that layers use between calls.
#[derive(Debug, Clone, Default)]
pub struct LayerMemory {
    pub(crate) products: Aligned<f32>,
    pub(crate) logits: Aligned<f32>,
}

impl Kernels {
    /// `out = (x - mean) / √(variance + eps) · weight + bias` for each row (Ba et al. 2016), with the variance over `dim`.
    ///
    /// # Shapes
    /// - `x`, `out`: `[rows, dim]`
    /// - `weight`, `bias`: `[dim]`
    ///
    /// # Panics
    /// The lengths do not fit those shapes.
    pub fn layer_norm(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
        let dim = weight.len();
        let fits = dim > 0 && bias.len() == dim && x.len().is_multiple_of(dim) && out.len() == x.len();
        assert!(fits, "layer_norm: expected whole rows of {dim} values");
        dispatch!(self, layer_norm(x, weight, bias, eps, out));
    }
}

/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn activate<V: Lanes>(x: V, activation: Activation) -> V {
    // SAFETY: as this function's own.
    unsafe {
        match activation {
            Activation::None => x,
            Activation::Gelu => x.mul(V::splat(0.5)).mul(V::splat(1.0).add(erf(x.mul(V::splat(std::f32::consts::FRAC_1_SQRT_2))))),
            Activation::GeluTanh => {
                let cubed = x.mul(x).mul(x).mul(V::splat(0.044_715));
                x.mul(sigmoid(x.add(cubed).mul(V::splat(2.0 * 0.797_884_6))))
            }
            Activation::QuickGelu => x.mul(sigmoid(x.mul(V::splat(1.702)))),
        }
    }
}

/// As `scalar::layer_norm`.
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn layer_norm<V: Lanes>(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
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
