use edge_seg_kernels::kernels;
use ndarray::{ArrayView2, ArrayView3};

use crate::{Error, Result};

/// Rows of unit L2 norm: cosines are plain dot products. There is no other way to make one than to normalise.
#[derive(Clone, PartialEq)]
pub struct UnitRows {
    dim: usize,
    data: Vec<f32>, // [rows, dim], unit-norm rows
}

impl std::fmt::Debug for UnitRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UnitRows {{ {} rows of {} }}", self.rows(), self.dim)
    }
}

impl UnitRows {
    /// Normalises every row of `data` `[rows, dim]`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the length is no multiple of `dim`, or a row is zero or not finite.
    pub fn normalise(what: &str, dim: usize, mut data: Vec<f32>) -> Result<Self> {
        let fail = |expected: String, found: String| Err(Error::Tensor { what: what.into(), expected, found });
        if dim == 0 || !data.len().is_multiple_of(dim) {
            return fail(format!("rows of {dim} numbers"), format!("{} numbers", data.len()));
        }
        match kernels().normalize_rows(&mut data, dim) {
            Some(row) => fail("rows with a direction".into(), format!("row {row}, zero or not finite")),
            None => Ok(Self { dim, data }),
        }
    }

    /// Numbers in a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.data.len() / self.dim
    }

    /// One row. `[dim]`
    ///
    /// # Panics
    /// If there are no more than `row` rows.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.dim..][..self.dim]
    }

    /// All rows. `[rows, dim]`
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// All rows as a matrix. `[rows, dim]`
    pub fn view(&self) -> ArrayView2<'_, f32> {
        ArrayView2::from_shape((self.rows(), self.dim), &self.data).expect("whole rows, by construction")
    }

    /// The mean of some rows, normalised again. `[dim]`
    pub(crate) fn mean_row(&self, what: &str) -> Result<Vec<f32>> {
        let mut sum = vec![0.0; self.dim];
        for row in self.data.chunks_exact(self.dim) {
            sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
        }
        Ok(Self::normalise(what, self.dim, sum)?.data)
    }
}

/// The image encoder's answer: an embedding for every patch and one for the picture.
#[derive(Clone, PartialEq)]
pub struct PatchGrid {
    rows: usize,
    cols: usize,
    patches: UnitRows, // [rows · cols, dim]
    global: UnitRows,  // [1, dim]
}

impl std::fmt::Debug for PatchGrid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PatchGrid {{ {}×{} patches of {} }}", self.rows, self.cols, self.patches.dim())
    }
}

impl PatchGrid {
    /// Normalises `patches` `[rows · cols, dim]`, in row-major order, and `global` `[dim]`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a length does not fit, or an embedding is zero or not finite.
    pub fn new(rows: usize, cols: usize, dim: usize, patches: Vec<f32>, global: Vec<f32>) -> Result<Self> {
        let numbers = rows.checked_mul(cols).and_then(|patches| patches.checked_mul(dim));
        if numbers != Some(patches.len()) || patches.is_empty() || global.len() != dim {
            return Err(Error::Tensor {
                what: "patch embeddings".into(),
                expected: format!("{rows}×{cols} patches and a global one, of {dim} numbers"),
                found: format!("{} and {} numbers", patches.len(), global.len()),
            });
        }
        Ok(Self {
            rows,
            cols,
            patches: UnitRows::normalise("patch embeddings", dim, patches)?,
            global: UnitRows::normalise("global embedding", dim, global)?,
        })
    }

    /// Rows of patches.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of patches.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The patches' embeddings as a grid. `[rows, cols, dim]`, unit-norm in the last direction
    pub fn view(&self) -> ArrayView3<'_, f32> {
        let shape = (self.rows, self.cols, self.patches.dim());
        ArrayView3::from_shape(shape, self.patches.data()).expect("whole patches, by construction")
    }

    /// The patches' embeddings. `[rows · cols, dim]`, unit-norm rows
    pub fn patches(&self) -> &UnitRows {
        &self.patches
    }

    /// The picture's embedding. `[1, dim]`, unit-norm
    pub fn global(&self) -> &UnitRows {
        &self.global
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WordBank;

    #[test]
    fn counts_beyond_all_numbers_are_refused() {
        let refused = |rows, cols, dim| PatchGrid::new(rows, cols, dim, vec![1.0; 8], vec![1.0; dim]).unwrap_err().to_string();
        for (rows, cols) in [((1 << 63) + 1, 2), (2, (1 << 63) + 1), (usize::MAX, usize::MAX), (0, 2)] {
            let said = refused(rows, cols, 4);
            assert!(said.contains(&format!("expected {rows}×{cols} patches")), "{said}");
        }
        let row = || UnitRows::normalise("row", 2, vec![1.0, 0.0]).unwrap();
        let said = WordBank::new(&[], usize::MAX, row()).unwrap_err().to_string();
        assert!(said.contains("found 1"), "{said}");
        let cat = crate::Class::word("cat");
        assert!(WordBank::new(&[cat.clone(), cat], usize::MAX, row()).is_err(), "the sum begins anew at 1");
    }
}
