//! Scoring at vocabulary scale: patches against long word banks, panel by panel, without the matrix of all scores.
//!
//! One pass keeps for every patch its best word and the logarithm of its summed exponentials (the softmax's denominator, summed with a
//! running maximum as Milakov and Gimelshein 2018 do), and for every word its best patch. A second pass, which needs that denominator,
//! gives every word's softmax probability.

use std::ops::Range;

use super::bank::{BankStore, PackedBank, PackedPatches, PatchStore, expand};
use crate::dispatch::Kernels;
use crate::operands::{InterleavedRows, PANEL, PanelProducts, Pass, WordBest};
use crate::reference;

/// What a pass over some words found for every patch. Lane `l` has seen every word `t` with `t % PANEL = l`.
#[derive(Debug, Clone)]
pub struct Scan {
    best: Vec<f32>,  // [patches, PANEL]
    panel: Vec<f32>, // [patches, PANEL], whole numbers
    sum: Vec<f32>,   // [patches, PANEL], of exp(logit - best)
    workspace: ScanWorkspace,
}

/// Memory that a pass uses between panels.
#[derive(Debug, Clone, Default)]
struct ScanWorkspace {
    products: Vec<f32>, // [patches, PANEL]
    expanded: Vec<f32>, // [dim, PANEL]
}

/// The best word of a patch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PatchBest {
    /// `scale · product`.
    pub logit: f32,
    /// Index of the word, the first one on a tie.
    pub word: u32,
    /// The logarithm of the sum over the words of `exp(scale · product)`; meaningless if sums were not asked for.
    pub log_sum: f32,
}

impl Scan {
    /// For so many patches, nothing seen yet.
    pub fn new(patches: usize) -> Self {
        Scan {
            best: vec![f32::NEG_INFINITY; patches * PANEL],
            panel: vec![0.0; patches * PANEL],
            sum: vec![0.0; patches * PANEL],
            workspace: ScanWorkspace::default(),
        }
    }

    /// Adds what another pass found over other words of the same bank for the same patches.
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

    /// Each patch's best word. `[patches]`
    pub fn patches(&self) -> Vec<PatchBest> {
        let lanes = self.best.chunks_exact(PANEL).zip(self.panel.chunks_exact(PANEL)).zip(self.sum.chunks_exact(PANEL));
        lanes
            .map(|((best, panel), sum)| {
                let mut found = PatchBest { logit: f32::NEG_INFINITY, word: 0, log_sum: 0.0 };
                for (lane, (&logit, &panel)) in best.iter().zip(panel).enumerate() {
                    let word = panel as u32 * PANEL as u32 + lane as u32;
                    if logit > found.logit || logit == found.logit && word < found.word {
                        found = PatchBest { logit, word, log_sum: 0.0 };
                    }
                }
                let total: f32 = best.iter().zip(sum).map(|(best, sum)| sum * (best - found.logit).exp()).sum();
                found.log_sum = found.logit + total.ln();
                found
            })
            .collect()
    }
}

/// Which patches are scored against which words.
#[derive(Debug, Clone)]
pub struct Pairs<'a> {
    /// All patches.
    pub patches: &'a PackedPatches,
    /// A bank packed with the patches' precision.
    pub bank: &'a PackedBank<'a>,
    /// The panels of the bank whose words take part.
    pub panels: Range<usize>,
    /// Factor on the products.
    pub scale: f32,
}

impl Pairs<'_> {
    /// The words that take part.
    #[inline]
    pub fn words(&self) -> Range<usize> {
        let end = |panel: usize| (panel * PANEL).min(self.bank.words());
        end(self.panels.start)..end(self.panels.end)
    }
}

impl Kernels {
    /// First pass: keeps each patch's best word in `scan` and each word's best patch in `words`, one for each of [`Pairs::words`]. With
    /// `sums`, `scan` also sums each patch's `exp(scale · product)`; that takes longer.
    ///
    /// # Panics
    /// Patches and bank were packed for another precision, width or set of kernels; the panels lie outside the bank; `words` or `scan` has
    /// another length.
    pub fn scan(&self, pairs: &Pairs<'_>, sums: bool, scan: &mut Scan, words: &mut [WordBest]) {
        let count = pairs.patches.count();
        assert_eq!(scan.best.len(), count * PANEL, "scan: expected a state for {count} patches");
        let Scan { best, panel, sum, workspace } = scan;
        self.pass(pairs, Pass::Best { best, panel, sum, sums }, workspace, words);
    }

    /// Second pass: in `words`, one for each of [`Pairs::words`], `logit` becomes the logarithm of the word's softmax probability at its best
    /// patch, `scale · product - log_sum`, and `mass` the probability summed over the patches. `log_sums` is [`PatchBest::log_sum`]
    /// of each patch.
    ///
    /// # Panics
    /// As [`scan`](Self::scan).
    pub fn scan_mass(&self, pairs: &Pairs<'_>, log_sums: &[f32], words: &mut [WordBest]) {
        assert_eq!(log_sums.len(), pairs.patches.count(), "scan_mass: expected a denominator for each patch");
        self.pass(pairs, Pass::Mass { log_sums }, &mut ScanWorkspace::default(), words);
    }

    /// Hands the products of each panel to `see` with the panel's index, without the factor `scale`: `[patches, PANEL]`, the words side by
    /// side. For what the two passes do not keep.
    ///
    /// # Panics
    /// As [`scan`](Self::scan).
    pub fn each_panel(&self, pairs: &Pairs<'_>, see: impl FnMut(usize, &[f32])) {
        self.scan_products(pairs, &mut ScanWorkspace::default(), see);
    }

    fn pass(&self, pairs: &Pairs<'_>, mut pass: Pass<'_>, workspace: &mut ScanWorkspace, words: &mut [WordBest]) {
        let taking_part = pairs.words();
        assert_eq!(words.len(), taking_part.len(), "scan: expected room for the words of panels {:?}", pairs.panels);
        self.scan_products(pairs, workspace, |panel, values| {
            let words = &mut words[panel * PANEL - taking_part.start..];
            let products = PanelProducts { values, panel, scale: pairs.scale };
            match words.first_chunk_mut::<PANEL>() {
                Some(words) => self.fold(&products, &mut pass, words),
                None => reference::fold(&products, &mut pass, words),
            }
        });
    }

    fn scan_products(&self, pairs: &Pairs<'_>, workspace: &mut ScanWorkspace, mut see: impl FnMut(usize, &[f32])) {
        let Pairs { patches, bank, panels, .. } = pairs;
        assert!(
            panels.start <= panels.end && panels.end <= bank.panels(),
            "scan: expected panels below {}, found {panels:?}",
            bank.panels()
        );
        workspace.products.resize(patches.padded() * PANEL, 0.0);
        for panel in panels.clone() {
            self.panel_products(patches, bank, panel, &mut workspace.expanded, &mut workspace.products);
            see(panel, &workspace.products[..patches.count() * PANEL]);
        }
    }

    /// The products of one panel: `out` is `[patches, PANEL]` with the patches that fill up the last group.
    fn panel_products(&self, patches: &PackedPatches, bank: &PackedBank<'_>, panel: usize, expanded: &mut Vec<f32>, out: &mut [f32]) {
        let dim = bank.dim();
        assert_eq!(patches.dim(), dim, "scan: expected patches as wide as the bank");
        assert_eq!(patches.group(), self.patch_group(bank.precision()), "scan: expected patches packed by the same kernels");
        match (&patches.rows, &bank.store) {
            (PatchStore::F32(rows), BankStore::F32(values)) => {
                self.score_panel_f32(rows, dim, &values[panel * dim * PANEL..][..dim * PANEL], out)
            }
            (PatchStore::F32(rows), BankStore::F16(values)) => {
                expand(&values[panel * dim * PANEL..][..dim * PANEL], expanded);
                self.score_panel_f32(rows, dim, expanded, out);
            }
            (PatchStore::Int8 { values, scales, sums }, BankStore::Int8 { values: bank, scales: bank_scales }) => {
                let wide = dim.next_multiple_of(4);
                let patches = InterleavedRows { values, wide, scales, sums };
                let scales = &bank_scales[panel * PANEL..][..PANEL];
                let panel = InterleavedRows { values: &bank[panel * wide * PANEL..][..wide * PANEL], wide, scales, sums: &[] };
                self.score_panel_int8(&patches, &panel, out);
            }
            _ => panic!("scan: expected patches packed for a bank of {:?}", bank.precision()),
        }
    }
}
