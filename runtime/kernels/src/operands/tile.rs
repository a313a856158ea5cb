//! Tiles of a matrix product: some rows times a panel of columns.
//!
//! Rows are read where they lie. Columns lie side by side in panels as wide as a set's registers allow, so that weights are read in
//! order. A leading dimension (`..._ld`) is what lies between the beginnings of two rows.

/// Rows times a panel of columns: `out[m, n] (+)= Σ_k rows[m, k] · weights[k, n]`.
pub(crate) struct TileF32<'a> {
    pub(crate) rows: &'a [f32],
    /// From one row to the next, in `rows`.
    pub(crate) rows_ld: usize,
    /// How many rows.
    pub(crate) count: usize,
    /// How many numbers of a row.
    pub(crate) depth: usize,
    pub(crate) weights: &'a [f32],
    /// From one `k` to the next, in `weights`.
    pub(crate) weights_ld: usize,
    /// A multiple of the lanes, at most a panel.
    pub(crate) columns: usize,
    /// Whether the sums are added to what `out` holds.
    pub(crate) add: bool,
}

impl TileF32<'_> {
    /// What the kernels rely on: at most so many rows, a panel of at most so many columns, `out_ld` from one row of `out` to the next.
    pub(crate) fn check(&self, lanes: usize, rows: usize, panel: usize, out: &[f32], out_ld: usize) {
        assert!(
            (1..=rows).contains(&self.count) && self.columns.is_multiple_of(lanes) && (lanes..=panel).contains(&self.columns),
            "tile: expected at most {rows} rows and {panel} columns, found {} and {}",
            self.count,
            self.columns
        );
        let last = self.count - 1;
        assert!(
            self.rows.len() >= last * self.rows_ld + self.depth
                && (self.depth == 0 || self.weights.len() >= (self.depth - 1) * self.weights_ld + self.columns)
                && out.len() >= last * out_ld + self.columns,
            "tile: lengths differ"
        );
    }
}

/// Rows of bytes times a panel: `out[m, n] (+)= Σ_k rows[m, k] · weights[k / g, n, k % g]`, exactly, with groups of `g` bytes.
pub(crate) struct TileInt8<'a> {
    pub(crate) rows: &'a [u8],
    /// From one row to the next, in `rows`.
    pub(crate) rows_ld: usize,
    /// How many rows.
    pub(crate) count: usize,
    /// How many bytes of a row, a multiple of [`STEP_INT8`].
    pub(crate) depth: usize,
    pub(crate) weights: &'a [i8], // [depth / group, panel, group]
    /// Whether the sums are added to what `out` holds.
    pub(crate) add: bool,
}

impl TileInt8<'_> {
    /// What the kernels rely on: at most so many rows; `out` has a panel for each row.
    pub(crate) fn check(&self, rows: usize, panel: usize, out: &[i32]) {
        assert!(
            (1..=rows).contains(&self.count)
                && self.depth.is_multiple_of(STEP_INT8)
                && self.rows.len() >= (self.count - 1) * self.rows_ld + self.depth
                && self.weights.len() == self.depth * panel
                && out.len() == self.count * panel,
            "tile of bytes: lengths differ"
        );
    }
}

/// Bytes that a step of the kernels on bytes takes from a row.
pub(crate) const STEP_INT8: usize = 16;

/// Rows times a panel of columns: `out[m, n] (+)= scales[m] · Σ_k rows[m, k] · weights[k, n]`, summed in 16 bits for [`CHUNK_F16`] numbers.
pub(crate) struct TileF16<'a> {
    pub(crate) rows: &'a [u16],
    /// From one row to the next, in `rows`.
    pub(crate) rows_ld: usize,
    /// How many rows.
    pub(crate) count: usize,
    /// How many numbers of a row, a multiple of [`STEP_F16`].
    pub(crate) depth: usize,
    pub(crate) weights: &'a [u16], // [depth, panel]
    pub(crate) scales: &'a [f32],  // [count], powers of two
    /// Whether the sums are added to what `out` holds.
    pub(crate) add: bool,
}

impl TileF16<'_> {
    /// What the kernels rely on: at most so many rows; `out` has a panel for each row.
    pub(crate) fn check(&self, rows: usize, panel: usize, out: &[f32]) {
        assert!(
            (1..=rows).contains(&self.count)
                && self.depth.is_multiple_of(STEP_F16)
                && self.rows.len() >= (self.count - 1) * self.rows_ld + self.depth
                && self.weights.len() == self.depth * panel
                && self.scales.len() == self.count
                && out.len() == self.count * panel,
            "tile of 16-bit floats: lengths differ"
        );
    }
}

/// Numbers of a row that are summed in 16 bits.
pub(crate) const CHUNK_F16: usize = 64;

/// Numbers that a step of the kernels takes from a row.
pub(crate) const STEP_F16: usize = 8;
