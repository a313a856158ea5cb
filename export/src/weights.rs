//! Weights by name, and how a set of them compares with what an architecture needs.

mod report;

use std::collections::BTreeMap;

pub use report::{LoadReport, Misfit, Stray};

/// A weight: row-major f32.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Lengths of the axes, outermost first.
    pub shape: Vec<usize>,
    /// The numbers, `shape.product()` of them.
    pub data: Vec<f32>,
}

impl Tensor {
    /// A tensor of `shape`.
    ///
    /// # Panics
    /// If `data` has not as many numbers as `shape` says.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.iter().product::<usize>(), data.len(), "numbers for shape {shape:?}");
        Self { shape, data }
    }
}

/// Weights by name.
pub type Weights = BTreeMap<String, Tensor>;
