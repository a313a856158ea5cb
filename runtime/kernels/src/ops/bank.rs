//! The memory layout of long word banks and of the patches scored against them.

use std::borrow::Cow;

use crate::dispatch::Kernels;
use crate::operands::{PANEL, from_f16, signed, to_f16};

/// How a bank's numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// 16-bit floats, computed with in 32 bits: half the memory, cosines within 2⁻¹¹.
    F16,
    /// 8-bit integers with a scale for each word and each patch: a quarter of the memory, and the fastest.
    Int8,
}

/// Embeddings of many words, packed for scoring: panels of [`PANEL`] words, the last one filled up with zeros.
#[derive(Debug, Clone)]
pub struct PackedBank<'a> {
    words: usize,
    dim: usize,
    pub(crate) store: BankStore<'a>,
}

#[derive(Debug, Clone)]
pub(crate) enum BankStore<'a> {
    F32(Vec<f32>), // [panels, dim, PANEL]
    F16(Vec<u16>), // [panels, dim, PANEL]
    Int8 {
        values: Cow<'a, [i8]>, // [panels, dim / 4, PANEL, 4], dim filled up with zeros
        scales: Vec<f32>,      // [panels, PANEL]
    },
}

impl<'a> PackedBank<'a> {
    /// Packs `bank`, `[words, dim]` of finite numbers; unit-norm rows make the products cosines.
    ///
    /// # Panics
    /// `bank` does not hold whole rows of `dim` values.
    pub fn new(bank: &[f32], dim: usize, precision: Precision) -> Self {
        assert!(dim > 0 && bank.len().is_multiple_of(dim), "PackedBank: expected whole rows of {dim} values, found {}", bank.len());
        let words = bank.len() / dim;
        let panels = words.div_ceil(PANEL);
        let store = match precision {
            Precision::F32 => BankStore::F32(interleave(bank, dim, PANEL, |v| v)),
            Precision::F16 => BankStore::F16(interleave(bank, dim, PANEL, to_f16)),
            Precision::Int8 => {
                let (values, mut scales) = quantize_rows(bank, dim);
                scales.resize(panels * PANEL, 0.0);
                BankStore::Int8 { values: interleave_quads(&values, dim.next_multiple_of(4), PANEL).into(), scales }
            }
        };
        PackedBank { words, dim, store }
    }

    /// A bank of 8-bit integers as [`Self::int8_parts`] gave it, from a file, whose bytes are read where they are. What was never packed
    /// gives products that mean nothing; -128, which packing never gives, overflows nowhere, for patches have none.
    ///
    /// # Shapes
    /// - `values`: `[panels, dim / 4, PANEL, 4]`, `dim` filled up to a multiple of four; signed
    /// - `scales`: `[panels, PANEL]`
    ///
    /// # Panics
    /// The lengths do not fit those shapes.
    pub fn from_int8_parts(values: &'a [u8], scales: Vec<f32>, dim: usize) -> Self {
        let (words, wide) = (scales.len(), dim.next_multiple_of(4));
        assert!(
            dim > 0 && words.is_multiple_of(PANEL) && values.len() == words * wide,
            "from_int8_parts: expected whole panels of {PANEL} rows of {wide}, found {words} scales and {} values",
            values.len()
        );
        PackedBank { words, dim, store: BankStore::Int8 { values: signed(values).into(), scales } }
    }

    /// The integers and scales of a bank of [`Precision::Int8`], to be kept in a file; none of another.
    ///
    /// # Shapes
    /// As [`Self::from_int8_parts`] takes them.
    pub fn int8_parts(&self) -> Option<(&[i8], &[f32])> {
        match &self.store {
            BankStore::Int8 { values, scales } => Some((values, scales)),
            BankStore::F32(_) | BankStore::F16(_) => None,
        }
    }

    /// How many words it holds.
    #[inline]
    pub fn words(&self) -> usize {
        self.words
    }

    /// Numbers in a row.
    #[inline]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// How many panels; the last one may be filled up.
    #[inline]
    pub fn panels(&self) -> usize {
        self.words.div_ceil(PANEL)
    }

    /// How its numbers are stored.
    #[inline]
    pub fn precision(&self) -> Precision {
        match self.store {
            BankStore::F32(_) => Precision::F32,
            BankStore::F16(_) => Precision::F16,
            BankStore::Int8 { .. } => Precision::Int8,
        }
    }
}

/// Patches packed for scoring against banks of one precision by one set of kernels.
#[derive(Debug, Clone)]
pub struct PackedPatches {
    count: usize,
    dim: usize,
    group: usize,
    pub(crate) rows: PatchStore,
}

#[derive(Debug, Clone)]
pub(crate) enum PatchStore {
    F32(Vec<f32>), // [groups, dim, group]
    Int8 {
        values: Vec<i8>,  // [groups, dim / 4, group, 4], dim filled up with zeros
        scales: Vec<f32>, // [groups, group]
        sums: Vec<i32>,   // [groups, group], each row's sum
    },
}

impl PackedPatches {
    /// How many patches it holds.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Numbers in a row.
    #[inline]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Patches that lie side by side.
    pub(crate) fn group(&self) -> usize {
        self.group
    }

    /// Patches with those that fill up the last group.
    pub(crate) fn padded(&self) -> usize {
        self.count.next_multiple_of(self.group)
    }
}

impl Kernels {
    /// How many patches of a [`PackedPatches`] lie side by side.
    pub(crate) fn patch_group(&self, precision: Precision) -> usize {
        match precision {
            Precision::F32 | Precision::F16 => self.patch_group_f32(),
            Precision::Int8 => self.patch_group_int8(),
        }
    }

    /// Packs `patches`, `[P, dim]` of finite numbers, for a bank of this precision.
    ///
    /// # Panics
    /// `patches` does not hold whole rows of `dim` values.
    pub fn pack_patches(&self, patches: &[f32], dim: usize, precision: Precision) -> PackedPatches {
        assert!(dim > 0 && patches.len().is_multiple_of(dim), "pack_patches: expected whole rows of {dim} values, found {}", patches.len());
        let count = patches.len() / dim;
        let group = self.patch_group(precision);
        let rows = match precision {
            Precision::F32 | Precision::F16 => PatchStore::F32(interleave(patches, dim, group, |v| v)),
            Precision::Int8 => {
                let (values, mut scales) = quantize_rows(patches, dim);
                let wide = dim.next_multiple_of(4);
                let mut sums: Vec<i32> = values.chunks_exact(wide).map(|row| row.iter().map(|&v| i32::from(v)).sum()).collect();
                let padded = count.next_multiple_of(group);
                scales.resize(padded, 0.0);
                sums.resize(padded, 0);
                PatchStore::Int8 { values: interleave_quads(&values, wide, group), scales, sums }
            }
        };
        PackedPatches { count, dim, group, rows }
    }
}

/// `[rows, dim]` to `[rows / group, dim, group]`, the last group filled up with zeros.
fn interleave<T: Copy + Default>(rows: &[f32], dim: usize, group: usize, convert: impl Fn(f32) -> T) -> Vec<T> {
    let mut packed = Vec::new();
    interleave_into(rows, dim, group, convert, &mut packed);
    packed
}

/// As [`interleave`], into memory that is used again.
pub(crate) fn interleave_into<T: Copy + Default>(rows: &[f32], dim: usize, group: usize, convert: impl Fn(f32) -> T, packed: &mut Vec<T>) {
    packed.clear();
    packed.resize((rows.len() / dim).next_multiple_of(group) * dim, T::default());
    for (rows, packed) in rows.chunks(group * dim).zip(packed.chunks_exact_mut(group * dim)) {
        // Written in order: strided reads stay in the cache, strided writes would not be combined.
        for (column, slots) in packed.chunks_exact_mut(group).enumerate() {
            for (value, slot) in rows[column..].iter().step_by(dim).zip(slots) {
                *slot = convert(*value);
            }
        }
    }
}

/// `[rows, dim]` to `[rows / group, dim / 4, group, 4]`, the last group filled up with zeros; `dim` is a multiple of four.
fn interleave_quads(rows: &[i8], dim: usize, group: usize) -> Vec<i8> {
    let mut packed = vec![0; (rows.len() / dim).next_multiple_of(group) * dim];
    for (rows, packed) in rows.chunks(group * dim).zip(packed.chunks_exact_mut(group * dim)) {
        for (index, row) in rows.chunks_exact(dim).enumerate() {
            for (quad, slots) in row.chunks_exact(4).zip(packed.chunks_exact_mut(4).skip(index).step_by(group)) {
                slots.copy_from_slice(quad);
            }
        }
    }
    packed
}

/// Each row as integers in -127..=127 and the factor that brings them back; rows filled up with zeros to a multiple of four.
///
/// -128 is not used: products of two pairs then fit 16 bits, which sets without a dot product of their own rely on.
fn quantize_rows(rows: &[f32], dim: usize) -> (Vec<i8>, Vec<f32>) {
    let wide = dim.next_multiple_of(4);
    let mut values = vec![0; rows.len() / dim * wide];
    let mut scales = Vec::with_capacity(rows.len() / dim);
    for (row, values) in rows.chunks_exact(dim).zip(values.chunks_exact_mut(wide)) {
        let largest = row.iter().fold(0.0f32, |a, v| a.max(v.abs()));
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        for (value, slot) in row.iter().zip(values) {
            *slot = (value * inverse).round_ties_even() as i8;
        }
        scales.push(largest / 127.0);
    }
    (values, scales)
}

/// The panel as 32-bit floats.
pub(crate) fn expand(panel: &[u16], into: &mut Vec<f32>) {
    into.clear();
    into.extend(panel.iter().map(|&half| from_f16(half)));
}
