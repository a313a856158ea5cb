//! Scoring at vocabulary scale: patches against long tag banks, panel by panel, without the matrix of all scores.
//!
//! One pass keeps for every patch its best tag and the logarithm of its summed exponentials (the softmax's denominator, summed with a
//! running maximum as Milakov and Gimelshein 2018 do), and for every tag its best patch. A second pass, which needs that denominator,
//! gives every tag's softmax probability.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use super::avx512::{Avx512, Avx512Vnni};
#[cfg(target_arch = "aarch64")]
use super::neon::Neon;
#[cfg(target_arch = "aarch64")]
use super::neon_bytes::NeonDot;
use super::packed::{PANEL, PackedBank, PackedPatches, Precision, Rows, Store, expand};
use super::{Isa, Kernels, dispatch, scalar};

/// The best patch of a tag.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TagBest {
    /// `scale · product`, less the patch's denominator in the second pass.
    pub logit: f32,
    /// Index of the patch, the first one on a tie.
    pub patch: u32,
    /// The tag's probability summed over the patches; 0 after a first pass.
    pub mass: f32,
}

impl Default for TagBest {
    fn default() -> Self {
        TagBest { logit: f32::NEG_INFINITY, patch: 0, mass: 0.0 }
    }
}

/// What a pass over some tags found for every patch. Lane `l` has seen every tag `t` with `t % PANEL = l`.
#[derive(Debug, Clone)]
pub struct Scan {
    pub(crate) best: Vec<f32>,  // [patches, PANEL]
    pub(crate) panel: Vec<f32>, // [patches, PANEL], whole numbers
    pub(crate) sum: Vec<f32>,   // [patches, PANEL], of exp(logit - best)
    memory: Memory,
}

/// Memory that a pass uses between panels.
#[derive(Debug, Clone, Default)]
struct Memory {
    products: Vec<f32>, // [patches, PANEL]
    expanded: Vec<f32>, // [dim, PANEL]
}

/// The best tag of a patch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PatchBest {
    /// `scale · product`.
    pub logit: f32,
    /// Index of the tag, the first one on a tie.
    pub tag: u32,
    /// The logarithm of the sum over the tags of `exp(scale · product)`; meaningless if sums were not asked for.
    pub log_sum: f32,
}

impl Scan {
    /// For so many patches, nothing seen yet.
    pub fn new(patches: usize) -> Self {
        Scan {
            best: vec![f32::NEG_INFINITY; patches * PANEL],
            panel: vec![0.0; patches * PANEL],
            sum: vec![0.0; patches * PANEL],
            memory: Memory::default(),
        }
    }

    /// Adds what another pass found over other tags of the same bank for the same patches.
    pub fn merge(&mut self, other: &Scan) {
        let theirs = other.best.iter().zip(&other.panel).zip(&other.sum);
        let ours = self.best.iter_mut().zip(&mut self.panel).zip(&mut self.sum);
        for (((best, panel), sum), ((&other_best, &other_panel), &other_sum)) in ours.zip(theirs) {
            let top = best.max(other_best);
            if top == f32::NEG_INFINITY {
                continue;
            }
            *sum = *sum * (*best - top).exp() + other_sum * (other_best - top).exp();
            if other_best > *best || other_best == *best && other_panel < *panel {
                *panel = other_panel;
            }
            *best = top;
        }
    }

    /// Each patch's best tag. `[patches]`
    pub fn patches(&self) -> Vec<PatchBest> {
        let lanes = self.best.chunks_exact(PANEL).zip(self.panel.chunks_exact(PANEL)).zip(self.sum.chunks_exact(PANEL));
        lanes
            .map(|((best, panel), sum)| {
                let mut found = PatchBest { logit: f32::NEG_INFINITY, tag: 0, log_sum: 0.0 };
                for (lane, (&logit, &panel)) in best.iter().zip(panel).enumerate() {
                    let tag = panel as u32 * PANEL as u32 + lane as u32;
                    if logit > found.logit || logit == found.logit && tag < found.tag {
                        found = PatchBest { logit, tag, log_sum: 0.0 };
                    }
                }
                let total: f32 = best.iter().zip(sum).map(|(best, sum)| sum * (best - found.logit).exp()).sum();
                found.log_sum = found.logit + total.ln();
                found
            })
            .collect()
    }
}

/// What a pass keeps.
pub(crate) enum Pass<'a> {
    /// The best tag of each patch and the best patch of each tag; with `sums` the softmax's denominators too.
    Best { best: &'a mut [f32], panel: &'a mut [f32], sum: &'a mut [f32], sums: bool },
    /// With the denominators taken away, the best patch of each tag and its summed probability.
    Mass { log_sums: &'a [f32] },
}

/// Quantised rows in groups that lie side by side.
#[derive(Clone, Copy)]
pub(crate) struct Int8Rows<'a> {
    pub(crate) values: &'a [i8], // [groups, wide / 4, group, 4]
    pub(crate) wide: usize,
    pub(crate) scales: &'a [f32], // [groups, group]
    pub(crate) sums: &'a [i32],   // [groups, group] for patches, empty for tags
}

/// The products of one panel with all patches.
pub(crate) struct Products<'a> {
    pub(crate) values: &'a [f32], // [patches, PANEL]
    pub(crate) panel: usize,
    pub(crate) scale: f32,
}

/// Which patches are scored against which tags.
#[derive(Debug, Clone)]
pub struct Pairs<'a> {
    /// All patches.
    pub patches: &'a PackedPatches,
    /// A bank packed with the patches' precision.
    pub bank: &'a PackedBank,
    /// The panels of the bank whose tags take part.
    pub panels: Range<usize>,
    /// Factor on the products.
    pub scale: f32,
}

impl Pairs<'_> {
    /// The tags that take part.
    #[inline]
    pub fn tags(&self) -> Range<usize> {
        let end = |panel: usize| (panel * PANEL).min(self.bank.tags());
        end(self.panels.start)..end(self.panels.end)
    }
}

impl Kernels {
    /// First pass: keeps each patch's best tag in `scan` and each tag's best patch in `tags`, one for each of [`Pairs::tags`]. With
    /// `sums`, `scan` also sums each patch's `exp(scale · product)`; that takes longer.
    ///
    /// # Panics
    /// Patches and bank were packed for another precision, width or set of kernels; the panels lie outside the bank; `tags` or `scan` has
    /// another length.
    pub fn scan(&self, pairs: &Pairs<'_>, sums: bool, scan: &mut Scan, tags: &mut [TagBest]) {
        let count = pairs.patches.count();
        assert_eq!(scan.best.len(), count * PANEL, "scan: expected a state for {count} patches");
        let Scan { best, panel, sum, memory } = scan;
        self.pass(pairs, Pass::Best { best, panel, sum, sums }, memory, tags);
    }

    /// Second pass: in `tags`, one for each of [`Pairs::tags`], `logit` becomes the logarithm of the tag's softmax probability at its best
    /// patch, `scale · product - log_sum`, and `mass` the probability summed over the patches. `log_sums` is [`PatchBest::log_sum`]
    /// of each patch.
    ///
    /// # Panics
    /// As [`scan`](Self::scan).
    pub fn scan_mass(&self, pairs: &Pairs<'_>, log_sums: &[f32], tags: &mut [TagBest]) {
        assert_eq!(log_sums.len(), pairs.patches.count(), "scan_mass: expected a denominator for each patch");
        self.pass(pairs, Pass::Mass { log_sums }, &mut Memory::default(), tags);
    }

    /// Hands the products of each panel to `see` with the panel's index, without the factor `scale`: `[patches, PANEL]`, the tags side by
    /// side. For what the two passes do not keep.
    ///
    /// # Panics
    /// As [`scan`](Self::scan).
    pub fn each_panel(&self, pairs: &Pairs<'_>, see: impl FnMut(usize, &[f32])) {
        self.scan_products(pairs, &mut Memory::default(), see);
    }

    fn pass(&self, pairs: &Pairs<'_>, mut pass: Pass<'_>, memory: &mut Memory, tags: &mut [TagBest]) {
        let taking_part = pairs.tags();
        assert_eq!(tags.len(), taking_part.len(), "scan: expected room for the tags of panels {:?}", pairs.panels);
        self.scan_products(pairs, memory, |panel, values| {
            let tags = &mut tags[panel * PANEL - taking_part.start..];
            let products = Products { values, panel, scale: pairs.scale };
            match tags.first_chunk_mut::<PANEL>() {
                Some(tags) => self.fold(&products, &mut pass, tags),
                None => scalar::fold(&products, &mut pass, tags),
            }
        });
    }

    fn scan_products(&self, pairs: &Pairs<'_>, memory: &mut Memory, mut see: impl FnMut(usize, &[f32])) {
        let Pairs { patches, bank, panels, .. } = pairs;
        assert!(
            panels.start <= panels.end && panels.end <= bank.panels(),
            "scan: expected panels below {}, found {panels:?}",
            bank.panels()
        );
        memory.products.resize(patches.padded() * PANEL, 0.0);
        for panel in panels.clone() {
            self.panel_products(patches, bank, panel, &mut memory.expanded, &mut memory.products);
            see(panel, &memory.products[..patches.count() * PANEL]);
        }
    }

    fn fold(&self, products: &Products<'_>, pass: &mut Pass<'_>, tags: &mut [TagBest; PANEL]) {
        dispatch!(self, fold(products, pass, tags));
    }

    /// The products of one panel: `out` is `[patches, PANEL]` with the patches that fill up the last block.
    fn panel_products(&self, patches: &PackedPatches, bank: &PackedBank, panel: usize, expanded: &mut Vec<f32>, out: &mut [f32]) {
        let dim = bank.dim();
        assert_eq!(patches.dim(), dim, "scan: expected patches as wide as the bank");
        assert_eq!(patches.block(), self.patch_block(bank.precision()), "scan: expected patches packed by the same kernels");
        match (&patches.rows, &bank.store) {
            (Rows::F32(rows), Store::F32(values)) => self.panel_f32(rows, dim, &values[panel * dim * PANEL..][..dim * PANEL], out),
            (Rows::F32(rows), Store::F16(values)) => {
                expand(&values[panel * dim * PANEL..][..dim * PANEL], expanded);
                self.panel_f32(rows, dim, expanded, out);
            }
            (Rows::Int8 { values, scales, sums }, Store::Int8 { values: bank, scales: bank_scales }) => {
                let wide = dim.next_multiple_of(4);
                let patches = Int8Rows { values, wide, scales, sums };
                let scales = &bank_scales[panel * PANEL..][..PANEL];
                let panel = Int8Rows { values: &bank[panel * wide * PANEL..][..wide * PANEL], wide, scales, sums: &[] };
                self.panel_int8(&patches, &panel, out);
            }
            _ => panic!("scan: expected patches packed for a bank of {:?}", bank.precision()),
        }
    }

    /// How many patches of a [`PackedPatches`] lie side by side.
    pub(crate) fn patch_block(&self, precision: Precision) -> usize {
        match (self.isa, precision) {
            (Isa::Scalar, _) => 1,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2(_) | Isa::AvxVnni(_), Precision::F32 | Precision::F16) => Avx2::BLOCK_F32,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2(_) | Isa::AvxVnni(_) | Isa::Avx512(_), Precision::Int8) => Avx2::BLOCK_INT8,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512(_) | Isa::Avx512Vnni(_) | Isa::Amx(_), Precision::F32 | Precision::F16) => Avx512::BLOCK_F32,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512Vnni(_) | Isa::Amx(_), Precision::Int8) => Avx512Vnni::BLOCK_INT8,
            #[cfg(target_arch = "aarch64")]
            (Isa::Neon(_) | Isa::NeonDot(_) | Isa::NeonI8mm(_), Precision::F32 | Precision::F16) => Neon::BLOCK_F32,
            #[cfg(target_arch = "aarch64")]
            (Isa::Neon(_), Precision::Int8) => Neon::BLOCK_INT8,
            #[cfg(target_arch = "aarch64")]
            (Isa::NeonDot(_) | Isa::NeonI8mm(_), Precision::Int8) => NeonDot::BLOCK_INT8,
        }
    }

    pub(crate) fn panel_f32(&self, rows: &[f32], dim: usize, panel: &[f32], out: &mut [f32]) {
        assert!(panel.len() == dim * PANEL && rows.len() * PANEL == out.len() * dim, "panel_f32: lengths differ");
        dispatch!(self, panel_f32(rows, dim, panel, out));
    }

    fn panel_int8(&self, patches: &Int8Rows<'_>, panel: &Int8Rows<'_>, out: &mut [f32]) {
        let rows = patches.scales.len();
        assert!(
            patches.wide == panel.wide
                && patches.values.len() == rows * patches.wide
                && patches.sums.len() == rows
                && panel.scales.len() == PANEL
                && panel.values.len() == PANEL * panel.wide
                && out.len() == rows * PANEL
                && rows.is_multiple_of(self.patch_block(Precision::Int8))
                && patches.wide.is_multiple_of(4),
            "panel_int8: lengths differ"
        );
        match self.isa {
            Isa::Scalar => scalar::panel_int8(patches, panel, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(set) => set.panel_int8(patches, panel, out),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni(set) => set.floats().panel_int8(patches, panel, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(set) => set.narrow().panel_int8(patches, panel, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(set) => set.panel_int8(patches, panel, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Amx(set) => set.bytes().panel_int8(patches, panel, out),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(set) => set.panel_int8(patches, panel, out),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot(set) => set.panel_int8(patches, panel, out),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonI8mm(set) => set.dot().panel_int8(patches, panel, out),
        }
    }
}
