//! Embeddings that are kept to be looked through later: fewer of them than a picture has patches, as 8-bit integers.

use edge_seg_kernels::{PANEL, PackedBank, PackedPatches, Pairs, Precision, kernels};

use crate::mask::region::{Mask, regions};
use crate::{Error, PatchGrid, Result, UnitRows};

/// Rows of unit norm as 8-bit integers with a scale each, in panels of [`Self::PANEL`]: a cosine errs by about 0.002.
#[derive(Debug, Clone)]
pub struct StoredRows<'a> {
    bank: PackedBank<'a>,
}

/// Words as stored rows are scored against them, packed once for many.
#[derive(Debug, Clone)]
pub struct PackedWords {
    patches: PackedPatches,
}

impl PackedWords {
    /// Packs words. `[words, dim]`
    pub fn new(words: &UnitRows) -> Self {
        Self { patches: kernels().pack_patches(words.data(), words.dim(), Precision::Int8) }
    }
}

impl<'a> StoredRows<'a> {
    /// Rows that lie side by side; the last panel is filled up with zeros, whose cosine with anything is 0.
    pub const PANEL: usize = PANEL;

    /// Packs rows. `[rows, dim]`
    pub fn pack(rows: &UnitRows) -> Self {
        Self { bank: PackedBank::new(rows.data(), rows.dim(), Precision::Int8) }
    }

    /// What [`Self::parts`] gave, from a file: `values` `[panels, dim / 4, PANEL, 4]` with `dim` filled up to a multiple of four, `scales`
    /// `[panels, PANEL]`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the lengths are not those of whole panels, or a scale is no positive number of rows of unit norm.
    pub fn from_parts(dim: usize, values: &'a [u8], scales: Vec<f32>) -> Result<Self> {
        let fail = |expected: String, found: String| Err(Error::Tensor { what: "stored embeddings".into(), expected, found });
        if dim == 0 || !scales.len().is_multiple_of(PANEL) || values.len() != scales.len() * dim.next_multiple_of(4) {
            return fail(format!("panels of {PANEL} rows of {dim}"), format!("{} scales and {} values", scales.len(), values.len()));
        }
        // The largest number of a row of unit norm is at most 1, and stands for 127.
        if let Some(scale) = scales.iter().find(|scale| !(0.0..=1.0 / 126.0).contains(*scale)) {
            return fail("scales of 0 to 1/127".into(), scale.to_string());
        }
        Ok(Self { bank: PackedBank::from_int8_parts(values, scales, dim) })
    }

    /// The integers and their scales, shaped as [`Self::from_parts`] takes them.
    pub fn parts(&self) -> (&[i8], &[f32]) {
        self.bank.int8_parts().unwrap_or_default()
    }

    /// How many rows, those that fill up the last panel counted.
    pub fn rows(&self) -> usize {
        self.bank.panels() * PANEL
    }

    /// Each row's cosine with some words: `see` is given a word, the first of [`Self::PANEL`] rows that lie side by side, and their cosines.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the words have another width.
    pub fn cosines(&self, words: &PackedWords, mut see: impl FnMut(usize, usize, &[f32])) -> Result<()> {
        if words.patches.dim() != self.bank.dim() {
            let expected = format!("rows of {} numbers, as the stored ones have", self.bank.dim());
            return Err(Error::Tensor { what: "words".into(), expected, found: words.patches.dim().to_string() });
        }
        let pairs = Pairs { patches: &words.patches, bank: &self.bank, panels: 0..self.bank.panels(), scale: 1.0 };
        kernels().each_panel(&pairs, |panel, products| {
            products.chunks_exact(PANEL).enumerate().for_each(|(word, products)| see(word, panel * PANEL, products));
        });
        Ok(())
    }

    /// The rows as numbers again. `[rows, dim]`
    pub fn unpack(&self) -> Vec<f32> {
        let (values, scales) = self.parts();
        let (dim, wide) = (self.bank.dim(), self.bank.dim().next_multiple_of(4));
        let mut rows = vec![0.0; self.rows() * dim];
        for (at, row) in rows.chunks_exact_mut(dim).enumerate() {
            let panel = &values[at / PANEL * PANEL * wide..][..PANEL * wide];
            for (number, slot) in row.iter_mut().enumerate() {
                *slot = f32::from(panel[(number / 4 * PANEL + at % PANEL) * 4 + number % 4]) * scales[at];
            }
        }
        rows
    }
}

/// Embeddings that stand for all of a picture's.
#[derive(Debug, Clone, PartialEq)]
pub struct Cover {
    /// Patches whose embeddings are new, by their index in the grid.
    pub new: Vec<usize>,
    /// Where what looks like some embedding is.
    pub parts: Vec<Part>,
}

/// Patches that lie side by side and look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The embedding that they look like: an index into the known ones, or beyond them into [`Cover::new`].
    pub row: usize,
    /// Their box in patches: left, top, width, height.
    pub cells: [usize; 4],
}

/// A patch is told apart from what is known if its cosine with all of it is below this. At 0.97 an index of a drive has half as much again,
/// and scores in it are no nearer to those of the patches.
const NEAR: f32 = 0.95;
/// Beyond this a patch does not look like what it is nearest to, for lack of room: it stands for nothing.
const ALIKE: f32 = 0.8;
/// Parts that one embedding has in a picture at most, the largest first.
const MOST_PARTS: usize = 4;
/// Patches that are compared at once, so that what is known stays in the cache.
const AT_ONCE: usize = 64;

impl Cover {
    /// Covers a grid: with `known` embeddings `[known, dim]` where they are near, and up to `most` of its own patches, each the one that is
    /// furthest from all before it (Gonzalez 1985). Whole panels of [`StoredRows::PANEL`] are filled while anything differs.
    pub fn of(grid: &PatchGrid, known: &[f32], most: usize) -> Self {
        let (patches, dim) = (grid.patches(), grid.patches().dim());
        let count = known.len() / dim;
        let known = &known[..count * dim];
        let mut nearest = vec![(f32::NEG_INFINITY, 0usize); patches.rows()];
        let mut cosines = vec![0.0; AT_ONCE * count];
        if count > 0 {
            for (nearest, rows) in nearest.chunks_mut(AT_ONCE).zip(patches.data().chunks(AT_ONCE * dim)) {
                let cosines = &mut cosines[..nearest.len() * count];
                kernels().dot_products(rows, known, dim, cosines);
                for (nearest, cosines) in nearest.iter_mut().zip(cosines.chunks_exact(count)) {
                    for (row, cosine) in cosines.iter().enumerate().filter(|(_, cosine)| !cosine.is_nan()) {
                        if *cosine > nearest.0 {
                            *nearest = (*cosine, row);
                        }
                    }
                }
            }
        }
        let mut new = Vec::new();
        let mut cosines = vec![0.0; patches.rows()];
        while new.len() < most {
            let furthest = nearest.iter().enumerate().min_by(|a, b| a.1.0.total_cmp(&b.1.0));
            let Some((patch, &(cosine, _))) = furthest else { break };
            // A panel that is begun takes no more room when it is full.
            if cosine >= if new.len().is_multiple_of(PANEL) { NEAR } else { 0.999 } {
                break;
            }
            kernels().dot_products(patches.row(patch), patches.data(), dim, &mut cosines);
            for (nearest, cosine) in nearest.iter_mut().zip(&cosines) {
                if *cosine > nearest.0 {
                    *nearest = (*cosine, count + new.len());
                }
            }
            nearest[patch] = (1.0, count + new.len());
            new.push(patch);
        }
        Self { new, parts: parts(&nearest, grid.cols()) }
    }
}

/// Connected patches of one row each, those that look like it.
fn parts(nearest: &[(f32, usize)], cols: usize) -> Vec<Part> {
    let label = |(cosine, row): &(f32, usize)| if *cosine >= ALIKE { u16::try_from(row + 1).unwrap_or(0) } else { 0 };
    let labels: Vec<u16> = nearest.iter().map(label).collect();
    let part = |(label, mask): (u16, Mask)| {
        let cells = mask.bounds_px().map(|side| side as usize);
        (Part { row: usize::from(label) - 1, cells }, mask.area())
    };
    let mut found: Vec<_> = regions(&labels, cols, 1).into_iter().map(part).collect();
    found.sort_by_key(|one| (one.0.row, std::cmp::Reverse(one.1)));
    let mut kept: Vec<Part> = Vec::with_capacity(found.len());
    for (part, _) in found {
        if kept.iter().rev().take_while(|before| before.row == part.row).count() < MOST_PARTS {
            kept.push(part);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in -1..1, the same in each run.
    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// `[words, rows]`, of each once.
    fn cosines(stored: &StoredRows<'_>, words: &UnitRows) -> Vec<f32> {
        let mut found = vec![f32::NAN; words.rows() * stored.rows()];
        let see = |word: usize, row: usize, cosines: &[f32]| {
            let into = &mut found[word * stored.rows() + row..][..StoredRows::PANEL];
            assert!(into.iter().all(|value| value.is_nan()), "{word} {row} twice");
            into.copy_from_slice(cosines);
        };
        stored.cosines(&PackedWords::new(words), see).unwrap();
        found
    }

    #[test]
    fn rows_come_back_from_their_parts_and_give_the_cosines_of_the_numbers() {
        for (rows, dim) in [(1, 4), (16, 384), (37, 30)] {
            let unit = UnitRows::normalise("rows", dim, numbers(rows * dim, 3)).unwrap();
            let words = UnitRows::normalise("words", dim, numbers(5 * dim, 7)).unwrap();
            let stored = StoredRows::pack(&unit);
            let mut scales = stored.parts().1.to_vec();
            scales.resize(stored.rows(), 0.0);
            let values: Vec<u8> = stored.parts().0.iter().map(|value| *value as u8).collect();
            let back = StoredRows::from_parts(dim, &values, scales).unwrap();
            let found = cosines(&back, &words);
            for word in 0..5 {
                for row in 0..stored.rows() {
                    let exact: f32 = if row < rows { unit.row(row).iter().zip(words.row(word)).map(|(a, b)| a * b).sum() } else { 0.0 };
                    let said = found[word * stored.rows() + row];
                    assert!((said - exact).abs() < 0.02, "{rows}×{dim}, {word} {row}: {said} for {exact}");
                }
            }
            let numbers = back.unpack();
            for (row, exact) in numbers.chunks_exact(dim).zip(unit.data().chunks_exact(dim)) {
                assert!(row.iter().zip(exact).all(|(a, b)| (a - b).abs() < 0.005));
            }
        }
    }

    #[test]
    fn parts_of_a_file_that_do_not_fit_are_refused() {
        let said = |values: usize, scale: f32| StoredRows::from_parts(8, &vec![1; values], vec![scale; 16]).unwrap_err().to_string();
        assert!(said(8 * 16 - 1, 0.001).contains("panels of 16 rows of 8"));
        for scale in [f32::NAN, -0.1, 0.1, f32::INFINITY] {
            assert!(said(8 * 16, scale).contains("scales of 0 to 1/127"), "{scale}");
        }
        // The one byte that packing never writes, everywhere.
        let values = [-128i8 as u8; 8 * 16];
        let stored = StoredRows::from_parts(8, &values, vec![1.0 / 127.0; 16]).unwrap();
        let words = UnitRows::normalise("words", 8, vec![-1.0; 8]).unwrap();
        assert!(cosines(&stored, &words).iter().all(|cosine| (cosine - 8f32.sqrt()).abs() < 0.1));
        let narrow = PackedWords::new(&UnitRows::normalise("words", 4, vec![1.0; 4]).unwrap());
        assert!(stored.cosines(&narrow, |_, _, _| ()).is_err());
    }

    /// A picture of three things: a left half, a right half, and one patch in the right one.
    fn grid() -> PatchGrid {
        let mut patches = Vec::new();
        for at in 0..24 {
            let of = if at == 10 { 2 } else { usize::from(at % 6 >= 3) };
            let noise = 0.01 * (at as f32);
            patches.extend((0..4).map(|d| if d == of { 1.0 } else { noise * f32::from(u8::from(d == 3)) }));
        }
        PatchGrid::new(4, 6, 4, patches, vec![1.0; 4]).unwrap()
    }

    #[test]
    fn a_cover_holds_what_differs_and_says_where_it_is() {
        let grid = grid();
        let cover = Cover::of(&grid, &[], 3);
        assert_eq!(cover.new.len(), 3);
        assert!(cover.new.contains(&10), "the small thing is not lost: {:?}", cover.new);
        let mut boxes: Vec<_> = cover.parts.iter().map(|part| part.cells).collect();
        boxes.sort();
        assert_eq!(boxes, [[0, 0, 3, 4], [3, 0, 3, 4], [4, 1, 1, 1]]);
    }

    #[test]
    fn every_patch_is_near_to_one_that_is_kept() {
        // Directions around a common one, as those of a picture are.
        let rows: Vec<f32> =
            numbers(600 * 8, 5).chunks_exact(8).flat_map(|row| (0..8).map(move |d| row[d] + if d == 0 { 2.0 } else { 0.0 })).collect();
        let grid = PatchGrid::new(20, 30, 8, rows, vec![1.0; 8]).unwrap();
        let cover = Cover::of(&grid, &[], usize::MAX);
        let cosine = |a: usize, b: usize| grid.patches().row(a).iter().zip(grid.patches().row(b)).map(|(a, b)| a * b).sum::<f32>();
        let nearest = |patch: usize| cover.new.iter().map(|kept| cosine(patch, *kept)).fold(f32::NEG_INFINITY, f32::max);
        let worst = (0..600).map(nearest).fold(f32::INFINITY, f32::min);
        assert!(worst >= NEAR - 1e-4 && cover.new.len() < 500, "{worst}, {} kept", cover.new.len());
    }

    #[test]
    fn what_is_known_is_not_stored_again() {
        let grid = grid();
        let known: Vec<f32> = Cover::of(&grid, &[], 3).new.iter().flat_map(|patch| grid.patches().row(*patch).to_vec()).collect();
        let again = Cover::of(&grid, &known, 16);
        assert!(again.new.is_empty(), "{:?}", again.new);
        assert_eq!(again.parts.len(), 3);
        // Without room for what is new, it stands for nothing else.
        let none = Cover::of(&grid, &known[..4], 0);
        assert!(none.parts.iter().all(|part| part.cells[2] == 3), "{:?}", none.parts);
    }
}
