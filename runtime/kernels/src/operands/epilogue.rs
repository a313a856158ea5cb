//! What follows a product on its way to the output: sums of integers back to numbers, bias, activation, residual.

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

/// What follows a product on its way to the output.
pub(crate) struct Epilogue<'a> {
    pub(crate) bias: &'a [f32], // [panel]
    pub(crate) activation: Activation,
    pub(crate) residual: Option<&'a [f32]>, // as the output
    /// Numbers in a row of the output.
    pub(crate) outputs: usize,
    /// First output column of the panel.
    pub(crate) column: usize,
    /// Columns of the panel that the output has.
    pub(crate) columns: usize,
}

/// What brings integer sums back to numbers: `(sum - zero · column sum) · row scale · column scale`.
pub(crate) struct Scales<'a> {
    pub(crate) columns: &'a [f32], // [panel]
    pub(crate) sums: &'a [i32],    // [panel]
    pub(crate) rows: &'a [f32],    // [rows]
    pub(crate) zeros: &'a [i32],   // [rows]
}

impl Epilogue<'_> {
    /// What the kernels rely on, of `len` products in rows of a panel.
    pub(crate) fn check(&self, len: usize, panel: usize, out: &[f32]) {
        let Self { bias, residual, outputs, column, columns, .. } = *self;
        let fits = len.is_multiple_of(panel) && out.len() == len / panel * outputs && bias.len() == panel;
        assert!(
            fits && columns <= panel && column + columns <= outputs && residual.is_none_or(|r| r.len() == out.len()),
            "epilogue: lengths differ"
        );
    }
}

impl Scales<'_> {
    /// What the kernels rely on, of `len` sums in rows of a panel.
    pub(crate) fn check(&self, len: usize, panel: usize) {
        let rows = self.rows.len();
        let fits = len == rows * panel && self.zeros.len() == rows && self.columns.len() == panel && self.sums.len() == panel;
        assert!(fits, "scales: lengths differ");
    }
}
