use super::{LANES, Random, reference};
use crate::{Kernels, PackedBank, Pairs, PatchBest, Precision, Scan, WordBest};

/// What two passes over `[patches, dim]` and `[words, dim]` find, the first one in two parts that are merged.
fn scanned(
    set: &Kernels,
    patches: &[f32],
    bank: &[f32],
    dim: usize,
    scale: f32,
    precision: Precision,
) -> (Vec<PatchBest>, [Vec<WordBest>; 2]) {
    let bank = PackedBank::new(bank, dim, precision);
    let patches = set.pack_patches(patches, dim, precision);
    let middle = bank.panels() / 2;
    let mut words = vec![WordBest::default(); bank.words()];
    let mut scans = [Scan::new(patches.count()), Scan::new(patches.count())];
    for (panels, scan) in [0..middle, middle..bank.panels()].into_iter().zip(&mut scans) {
        let pairs = Pairs { patches: &patches, bank: &bank, panels, scale };
        set.scan(&pairs, true, scan, &mut words[pairs.words()]);
    }
    let [mut scan, other] = scans;
    scan.merge(&other);
    let found = scan.patches();
    let log_sums: Vec<f32> = found.iter().map(|patch| patch.log_sum).collect();
    let mut masses = vec![WordBest::default(); bank.words()];
    set.scan_mass(&Pairs { patches: &patches, bank: &bank, panels: 0..bank.panels(), scale }, &log_sums, &mut masses);
    (found, [words, masses])
}

const SIZES: [(usize, usize); 8] = [(1, 1), (2, 15), (3, 16), (5, 17), (24, 40), (25, 33), (49, 100), (7, 64)];

#[test]
fn integer_products_are_the_reference_s_to_the_last_bit() {
    let mut random = Random(5);
    for dim in (1..=2 * LANES + 1).chain([384, 510]) {
        for (count, words) in SIZES {
            let (mut patches, mut bank) = (random.values(count * dim), random.values(words * dim));
            // The extremes of both signs side by side are what overflows a 16-bit sum of two products.
            patches[..dim].fill(-1.0);
            bank[..dim].iter_mut().enumerate().for_each(|(i, v)| *v = if i % 3 == 0 { 1.0 } else { -1.0 });
            bank[(words - 1) * dim..].fill(0.0);
            let (expected, [expected_words, _]) = scanned(reference(), &patches, &bank, dim, 10.0, Precision::Int8);
            for set in Kernels::all() {
                let (found, [found_words, _]) = scanned(set, &patches, &bank, dim, 10.0, Precision::Int8);
                assert_eq!(found_words, expected_words, "{}: dim {dim}, {count} x {words}", set.name());
                for (found, expected) in found.iter().zip(&expected) {
                    assert_eq!((found.word, found.logit.to_bits()), (expected.word, expected.logit.to_bits()), "{}: dim {dim}", set.name());
                    assert!((found.log_sum - expected.log_sum).abs() < 1e-4, "{}: {found:?} for {expected:?}", set.name());
                }
            }
        }
    }
}

#[test]
fn scans_find_the_best_and_the_softmax_of_the_exact_products() {
    let mut random = Random(6);
    for (precision, rounding) in [(Precision::F32, 0.0), (Precision::F16, 1.0 / 2048.0), (Precision::Int8, 1.0 / 60.0)] {
        for dim in [1, 3, 17, 64, 384] {
            for (count, words) in SIZES {
                let (mut patches, mut bank) = (random.values(count * dim), random.values(words * dim));
                reference().normalize_rows(&mut patches, dim);
                reference().normalize_rows(&mut bank, dim);
                let scale = 20.0;
                let logit = |patch: usize, word: usize| -> f64 {
                    let pairs = patches[patch * dim..][..dim].iter().zip(&bank[word * dim..][..dim]);
                    scale * pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
                };
                let bound = scale * (rounding + dim as f64 * f64::from(f32::EPSILON)) + 1e-4;
                let log_sums: Vec<f64> = (0..count).map(|p| (0..words).map(|t| logit(p, t).exp()).sum::<f64>().ln()).collect();
                for set in Kernels::all() {
                    let (found, [found_words, masses]) = scanned(set, &patches, &bank, dim, scale as f32, precision);
                    let close = |found: f32, exact: f64| {
                        let error = (f64::from(found) - exact).abs();
                        assert!(error <= bound, "{} {precision:?}: dim {dim}, {count} x {words}: {found} for {exact}", set.name());
                    };
                    for (p, patch) in found.iter().enumerate() {
                        close(patch.logit, (0..words).map(|t| logit(p, t)).fold(f64::MIN, f64::max));
                        close(patch.logit, logit(p, patch.word as usize));
                        close(patch.log_sum, log_sums[p]);
                    }
                    for (t, (word, mass)) in found_words.iter().zip(&masses).enumerate() {
                        close(word.logit, (0..count).map(|p| logit(p, t)).fold(f64::MIN, f64::max));
                        close(word.logit, logit(word.patch as usize, t));
                        let share = |p: usize| logit(p, t) - log_sums[p];
                        close(mass.logit / 2.0, (0..count).map(share).fold(f64::MIN, f64::max) / 2.0);
                        let exact: f64 = (0..count).map(|p| share(p).exp()).sum();
                        let error = (f64::from(mass.mass) - exact).abs();
                        assert!(error <= exact * 2.5 * bound, "{} {precision:?}: mass {} for {exact}", set.name(), mass.mass);
                    }
                }
            }
        }
    }
}

#[test]
fn equal_scores_go_to_the_first_word_and_the_first_patch() {
    for set in Kernels::all() {
        for precision in [Precision::F32, Precision::F16, Precision::Int8] {
            let (patches, bank) = (vec![0.5; 30 * 4], vec![0.5; 50 * 4]);
            let (found, [words, _]) = scanned(set, &patches, &bank, 4, 1.0, precision);
            assert!(found.iter().all(|patch| patch.word == 0), "{} {precision:?}", set.name());
            assert!(words.iter().all(|word| word.patch == 0), "{} {precision:?}", set.name());
        }
    }
}
