//! Every kernel that this machine has against the reference, or against its formula in 64-bit floats.

mod dot_products;
mod layers;
mod linear_f16;
mod linear_int8;
mod scan;
mod upsample;

use crate::dispatch::choose;
use crate::{Kernels, Linear, LinearInt8};

/// Numbers in -1..1 from a small generator, the same on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value()).collect()
    }
}

/// Longest vector of any set, in f32 lanes.
const LANES: usize = 16;

impl Kernels {
    /// A layer with all its weights, `[inputs, outputs]`.
    fn pack_linear(&self, weight: &[f32], inputs: usize, outputs: usize, bias: Option<&[f32]>) -> Linear {
        let mut layer = self.empty_linear(inputs, outputs, bias);
        layer.set_rows(0, weight);
        layer
    }

    /// The same in integers.
    fn pack_linear_int8(&self, weight: &[i8], inputs: usize, outputs: usize, scales: &[f32], bias: Option<&[f32]>) -> LinearInt8 {
        let mut layer = self.empty_linear_int8(inputs, outputs, scales, bias);
        layer.set_rows(0, weight);
        layer
    }
}

fn reference() -> &'static Kernels {
    Kernels::all()[0]
}

/// Asserts that two tensors differ by no more than `bound` anywhere.
fn assert_close(found: &[f32], expected: &[f64], bound: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*found) - expected).abs() <= bound, "{what}: at {index} {found} for {expected}");
    }
}

#[test]
fn required_sets_are_present() {
    let Ok(required) = std::env::var("EDGE_SEG_REQUIRE_KERNELS") else {
        return;
    };
    let mut names: Vec<_> = Kernels::all().iter().map(|set| set.name()).collect();
    if Kernels::all().iter().any(|set| set.name() != "scalar" && set.has_f16()) {
        names.push("fp16");
    }
    println!("kernels present: {}", names.join(", "));
    for name in required.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        assert!(names.contains(&name), "required {name}, present {names:?}");
    }
}

#[test]
fn an_unknown_set_is_an_error_that_names_the_known_ones() {
    assert!(choose(Some("mmx")).unwrap_err().contains("scalar"));
    assert_eq!(choose(Some("scalar")).unwrap().name(), "scalar");
    assert_eq!(choose(None).unwrap().name(), Kernels::all().last().unwrap().name());
}
