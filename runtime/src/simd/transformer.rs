//! The layers of a vision transformer: products with fixed weights, LayerNorm, attention.

#[cfg(target_arch = "x86_64")]
use super::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use super::avx512::Avx512;
#[cfg(target_arch = "aarch64")]
use super::neon::Neon;
use super::packed::{PANEL, Precision, interleave_into};
use super::{Isa, Kernels, scalar};

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

/// A layer `x · weight + bias`, packed.
#[derive(Debug, Clone)]
pub struct Linear {
    inputs: usize,
    outputs: usize,
    panels: Vec<f32>, // [panels, inputs, PANEL], the last panel filled up with zeros
    bias: Vec<f32>,   // [panels, PANEL]
}

impl Linear {
    /// Packs a layer.
    ///
    /// # Shapes
    /// - `weight`: `[inputs, outputs]`
    /// - `bias`: `[outputs]`
    ///
    /// # Panics
    /// The lengths do not fit those shapes.
    pub fn new(weight: &[f32], inputs: usize, outputs: usize, bias: Option<&[f32]>) -> Self {
        assert!(inputs > 0 && weight.len() == inputs * outputs, "Linear: expected {inputs} x {outputs} weights, found {}", weight.len());
        let wide = outputs.next_multiple_of(PANEL);
        let mut panels = vec![0.0; inputs * wide];
        for (row, weights) in weight.chunks_exact(outputs.max(1)).enumerate() {
            for (part, panel) in weights.chunks(PANEL).zip(panels.chunks_exact_mut(inputs * PANEL)) {
                panel[row * PANEL..][..part.len()].copy_from_slice(part);
            }
        }
        let mut padded = vec![0.0; wide];
        if let Some(bias) = bias {
            padded[..outputs].copy_from_slice(bias);
        }
        Linear { inputs, outputs, panels, bias: padded }
    }

    /// Numbers in an input row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Numbers in an output row.
    pub fn outputs(&self) -> usize {
        self.outputs
    }
}

/// What becomes of a panel's products on their way to the output.
pub(super) struct Epilogue<'a> {
    pub(super) bias: &'a [f32], // [PANEL]
    pub(super) activation: Activation,
    pub(super) residual: Option<&'a [f32]>, // as the output
    pub(super) outputs: usize,
    /// First output column of the panel.
    pub(super) column: usize,
}

/// Keys and values of every head, packed for [`Kernels::attend`].
#[derive(Debug, Clone, Default)]
pub struct PackedKeys {
    tokens: usize,
    heads: usize,
    head_dim: usize,
    keys: Vec<f32>,   // [heads, tokens / block, head_dim, block]
    values: Vec<f32>, // [heads, head_dim / block, tokens, block]
}

/// Memory that layers use between calls.
#[derive(Debug, Clone, Default)]
pub struct LayerMemory {
    rows: Vec<f32>,
    products: Vec<f32>,
    panel: Vec<f32>,
}

impl Kernels {
    /// Rows that [`linear`](Self::linear) takes at a time: a few blocks, so that each panel of weights is read once for all of them.
    pub const LAYER_ROWS: usize = 48;

    /// `out = activation(x · weight + bias) + residual`.
    ///
    /// # Shapes
    /// - `x`: `[rows, inputs]`
    /// - `residual`, `out`: `[rows, outputs]`
    ///
    /// # Panics
    /// The lengths do not fit those shapes.
    pub fn linear(
        &self,
        layer: &Linear,
        x: &[f32],
        activation: Activation,
        residual: Option<&[f32]>,
        out: &mut [f32],
        memory: &mut LayerMemory,
    ) {
        let Linear { inputs, outputs, .. } = *layer;
        let rows = x.len() / inputs;
        let fits = x.len() == rows * inputs && out.len() == rows * outputs;
        assert!(fits && residual.is_none_or(|r| r.len() == out.len()), "linear: expected {rows} rows of {inputs} and {outputs} values");
        if outputs == 0 {
            return;
        }
        let block = self.patch_block(Precision::F32);
        for (index, (x, out)) in x.chunks(Self::LAYER_ROWS * inputs).zip(out.chunks_mut(Self::LAYER_ROWS * outputs)).enumerate() {
            interleave_into(x, inputs, block, |v| v, &mut memory.rows);
            let residual = residual.map(|r| &r[index * Self::LAYER_ROWS * outputs..][..out.len()]);
            memory.products.resize(memory.rows.len() / inputs * PANEL, 0.0);
            let panels = layer.panels.chunks_exact(inputs * PANEL).zip(layer.bias.chunks_exact(PANEL));
            for (panel, (weights, bias)) in panels.enumerate() {
                self.panel_f32(&memory.rows, inputs, weights, &mut memory.products);
                self.epilogue(&memory.products, &Epilogue { bias, activation, residual, outputs, column: panel * PANEL }, out);
            }
        }
    }

    fn epilogue(&self, products: &[f32], epilogue: &Epilogue<'_>, out: &mut [f32]) {
        if epilogue.column + PANEL > epilogue.outputs {
            return scalar::epilogue(products, epilogue, out);
        }
        match self.isa {
            Isa::Scalar => scalar::epilogue(products, epilogue, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(set) => set.epilogue(products, epilogue, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(set) => set.epilogue(products, epilogue, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(set) => set.floats().epilogue(products, epilogue, out),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(set) => set.epilogue(products, epilogue, out),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot(set) => set.floats().epilogue(products, epilogue, out),
        }
    }

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
        match self.isa {
            Isa::Scalar => scalar::layer_norm(x, weight, bias, eps, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(set) => set.layer_norm(x, weight, bias, eps, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(set) => set.layer_norm(x, weight, bias, eps, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(set) => set.floats().layer_norm(x, weight, bias, eps, out),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(set) => set.layer_norm(x, weight, bias, eps, out),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot(set) => set.floats().layer_norm(x, weight, bias, eps, out),
        }
    }

    /// Packs keys and values for [`attend`](Self::attend).
    ///
    /// # Shapes
    /// - `key`, `value`: `[tokens, heads · head_dim]`
    ///
    /// # Panics
    /// The lengths do not fit those shapes.
    pub fn pack_keys(&self, key: &[f32], value: &[f32], heads: usize, head_dim: usize) -> PackedKeys {
        let width = heads * head_dim;
        assert!(
            width > 0 && key.len() == value.len() && key.len().is_multiple_of(width),
            "pack_keys: expected whole rows of {width} values"
        );
        let tokens = key.len() / width;
        let (key_block, value_block) = (self.patch_block(Precision::F32), self.value_block());
        let mut keys = vec![0.0; heads * head_dim * tokens.next_multiple_of(key_block)];
        let mut values = vec![0.0; heads * tokens * head_dim.next_multiple_of(value_block)];
        let head_keys = keys.chunks_exact_mut(head_dim * tokens.next_multiple_of(key_block).max(1));
        let head_values = values.chunks_exact_mut((tokens * head_dim.next_multiple_of(value_block)).max(1));
        for (head, (keys, values)) in head_keys.zip(head_values).enumerate() {
            for (token, row) in key.chunks_exact(width).enumerate() {
                let block = &mut keys[token / key_block * key_block * head_dim..];
                let lane = token % key_block;
                for (value, slot) in row[head * head_dim..][..head_dim].iter().zip(block.iter_mut().skip(lane).step_by(key_block)) {
                    *slot = *value;
                }
            }
            for (token, row) in value.chunks_exact(width).enumerate() {
                let row = &row[head * head_dim..][..head_dim];
                for (part, block) in row.chunks(value_block).zip(values.chunks_exact_mut(tokens * value_block)) {
                    block[token * value_block..][..part.len()].copy_from_slice(part);
                }
            }
        }
        PackedKeys { tokens, heads, head_dim, keys, values }
    }

    /// `softmax(query · keyᵀ) · value` for each head (Vaswani et al. 2017); the factor 1/√head_dim is the query's.
    ///
    /// # Shapes
    /// - `query`, `out`: `[n, heads · head_dim]`, any part of the tokens
    ///
    /// # Panics
    /// The lengths do not fit those shapes, or another set of kernels packed the keys.
    pub fn attend(&self, packed: &PackedKeys, query: &[f32], out: &mut [f32], memory: &mut LayerMemory) {
        let PackedKeys { tokens, heads, head_dim, .. } = *packed;
        let width = heads * head_dim;
        assert!(
            width > 0 && query.len().is_multiple_of(width) && out.len() == query.len(),
            "attend: expected whole rows of {width} values"
        );
        if tokens == 0 {
            return out.fill(0.0);
        }
        let (key_block, value_block) = (self.patch_block(Precision::F32), self.value_block());
        let (padded, value_rows) = (tokens.next_multiple_of(key_block), head_dim.next_multiple_of(value_block));
        let sizes = (heads * head_dim * padded, heads * tokens * value_rows);
        assert_eq!((packed.keys.len(), packed.values.len()), sizes, "attend: expected keys packed by the same kernels");
        for (query, out) in query.chunks(PANEL * width).zip(out.chunks_mut(PANEL * width)) {
            for head in 0..heads {
                // Queries lie side by side, so the softmax runs down the columns of keys.
                memory.panel.clear();
                memory.panel.resize(head_dim * PANEL, 0.0);
                for (lane, row) in query.chunks_exact(width).enumerate() {
                    for (value, slot) in row[head * head_dim..][..head_dim].iter().zip(memory.panel.iter_mut().skip(lane).step_by(PANEL)) {
                        *slot = *value;
                    }
                }
                memory.products.resize(padded * PANEL, 0.0);
                let keys = &packed.keys[head * head_dim * padded..][..head_dim * padded];
                self.panel_f32(keys, head_dim, &memory.panel, &mut memory.products);
                let weights = &mut memory.products[..tokens * PANEL];
                let mut sums = [0.0; PANEL];
                self.exp_columns(weights, &mut sums);
                let values = &packed.values[head * tokens * value_rows..][..tokens * value_rows];
                memory.rows.resize(value_rows * PANEL, 0.0);
                self.panel_values(values, tokens, weights, &mut memory.rows);
                for (lane, row) in out.chunks_exact_mut(width).enumerate() {
                    let scale = 1.0 / sums[lane];
                    for (slot, value) in row[head * head_dim..][..head_dim].iter_mut().zip(memory.rows.iter().skip(lane).step_by(PANEL)) {
                        *slot = value * scale;
                    }
                }
            }
        }
    }

    /// Queries that [`attend`](Self::attend) takes at a time; parts of this size waste nothing.
    pub const QUERIES: usize = PANEL;

    fn exp_columns(&self, weights: &mut [f32], sums: &mut [f32; PANEL]) {
        match self.isa {
            Isa::Scalar => scalar::exp_columns(weights, sums),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(set) => set.exp_columns(weights, sums),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(set) => set.exp_columns(weights, sums),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(set) => set.floats().exp_columns(weights, sums),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(set) => set.exp_columns(weights, sums),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot(set) => set.floats().exp_columns(weights, sums),
        }
    }

    /// Numbers of a value that lie side by side in [`PackedKeys`].
    fn value_block(&self) -> usize {
        match self.isa {
            Isa::Scalar => 1,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => Avx2::BLOCK_VALUES,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) | Isa::Avx512Vnni(_) => Avx512::BLOCK_VALUES,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) | Isa::NeonDot(_) => Neon::BLOCK_VALUES,
        }
    }

    fn panel_values(&self, rows: &[f32], dim: usize, panel: &[f32], out: &mut [f32]) {
        assert!(panel.len() == dim * PANEL && rows.len() * PANEL == out.len() * dim, "panel_values: lengths differ");
        match self.isa {
            Isa::Scalar => scalar::panel_f32(rows, dim, panel, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(set) => set.panel_values(rows, dim, panel, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(set) => set.panel_values(rows, dim, panel, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(set) => set.floats().panel_values(rows, dim, panel, out),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(set) => set.panel_values(rows, dim, panel, out),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot(set) => set.floats().panel_values(rows, dim, panel, out),
        }
    }
}
