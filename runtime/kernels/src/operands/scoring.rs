//! What scoring works on: panels of words, rows of integers, and what a pass over the panels keeps.

/// Words that lie side by side in a bank: the words of one panel.
pub const PANEL: usize = 16;

/// The best patch of a word.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WordBest {
    /// `scale · product`, less the patch's denominator in the second pass.
    pub logit: f32,
    /// Index of the patch, the first one on a tie.
    pub patch: u32,
    /// The word's probability summed over the patches; 0 after a first pass.
    pub mass: f32,
}

impl Default for WordBest {
    fn default() -> Self {
        WordBest { logit: f32::NEG_INFINITY, patch: 0, mass: 0.0 }
    }
}

/// What a pass keeps.
pub(crate) enum Pass<'a> {
    /// The best word of each patch and the best patch of each word; with `sums` the softmax's denominators too.
    Best { best: &'a mut [f32], panel: &'a mut [f32], sum: &'a mut [f32], sums: bool },
    /// With the denominators taken away, the best patch of each word and its summed probability.
    Mass { log_sums: &'a [f32] },
}

/// Quantized rows in groups that lie side by side.
#[derive(Clone, Copy)]
pub(crate) struct InterleavedRows<'a> {
    pub(crate) values: &'a [i8], // [groups, wide / 4, group, 4]
    pub(crate) wide: usize,
    pub(crate) scales: &'a [f32], // [groups, group]
    pub(crate) sums: &'a [i32],   // [groups, group] for patches, empty for words
}

/// The products of one panel with all patches.
pub(crate) struct PanelProducts<'a> {
    pub(crate) values: &'a [f32], // [patches, PANEL]
    pub(crate) panel: usize,
    pub(crate) scale: f32,
}

impl InterleavedRows<'_> {
    /// What the kernels rely on, of patches in groups of `group` and one panel of words; `out` is `[patches, PANEL]`.
    pub(crate) fn check(&self, panel: &InterleavedRows<'_>, group: usize, out: &[f32]) {
        let rows = self.scales.len();
        assert!(
            self.wide == panel.wide
                && self.values.len() == rows * self.wide
                && self.sums.len() == rows
                && panel.scales.len() == PANEL
                && panel.values.len() == PANEL * panel.wide
                && out.len() == rows * PANEL
                && rows.is_multiple_of(group)
                && self.wide.is_multiple_of(4),
            "score_panel_int8: lengths differ"
        );
    }
}

impl PanelProducts<'_> {
    /// What the kernels rely on: the pass has its values for every patch.
    pub(crate) fn check(&self, pass: &Pass<'_>) {
        let count = self.values.len() / PANEL;
        let fits = match pass {
            Pass::Best { best, panel, sum, .. } => [best.len(), panel.len(), sum.len()] == [count * PANEL; 3],
            Pass::Mass { log_sums } => log_sums.len() == count,
        };
        assert!(fits, "fold: lengths differ");
    }
}
