//! The exponential and what is made of it.

use super::Vector;
use crate::operands::Activation;
use crate::reference::{ERF, ERF_P};

/// `exp(x)` for `x ≤ 0`, within 2⁻²² of it; below -87 the value at -87.
///
/// `2^n · e^r` with `|r| ≤ ln 2 / 2` and e^r as its Taylor polynomial of degree 6.
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn exp<V: Vector>(x: V) -> V {
    // SAFETY: as this function's own.
    unsafe {
        let x = x.max(V::splat(-87.0));
        let n = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
        let r = x.fma(n, V::splat(-0.693_359_4)).fma(n, V::splat(2.121_944_4e-4));
        let mut e = V::splat(1.0 / 720.0);
        for factor in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            e = V::splat(factor).fma(e, r);
        }
        e.mul(n.power_of_two())
    }
}

/// As `reference::erf`.
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn erf<V: Vector>(x: V) -> V {
    // SAFETY: as this function's own.
    unsafe {
        let (zero, one) = (V::splat(0.0), V::splat(1.0));
        let t = one.div(one.fma(x.max(zero.sub(x)), V::splat(ERF_P)));
        let mut polynomial = V::splat(ERF[0]);
        for factor in &ERF[1..] {
            polynomial = V::splat(*factor).fma(polynomial, t);
        }
        let size = one.sub(polynomial.mul(t).mul(exp(zero.sub(x.mul(x)))));
        zero.if_greater(x, zero.sub(size), size)
    }
}

/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn sigmoid<V: Vector>(x: V) -> V {
    // SAFETY: as this function's own.
    unsafe {
        let (zero, one) = (V::splat(0.0), V::splat(1.0));
        let e = exp(x.min(zero.sub(x)));
        zero.if_greater(x, e, one).div(one.add(e))
    }
}

/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn activate<V: Vector>(x: V, activation: Activation) -> V {
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
