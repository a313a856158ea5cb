use super::{LANES, Random, reference};
use crate::Kernels;

#[test]
fn dot_products_stay_within_the_bound_of_summed_products() {
    let mut random = Random(1);
    for set in Kernels::all() {
        for dim in (1..=2 * LANES + 1).chain([127, 384, 512]) {
            for (count, words) in [(1, 1), (2, 3), (4, 6), (5, 7), (9, 13), (3, 20)] {
                for offset in [0, 1, 3] {
                    let patches = random.values(offset + count * dim);
                    let bank = random.values(offset + words * dim);
                    let mut out = vec![f32::NAN; count * words];
                    set.dot_products(&patches[offset..], &bank[offset..], dim, &mut out);
                    for (index, found) in out.iter().enumerate() {
                        let a = &patches[offset + index / words * dim..][..dim];
                        let b = &bank[offset + index % words * dim..][..dim];
                        let pairs = || a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
                        let exact: f64 = pairs().sum();
                        let bound = pairs().map(f64::abs).sum::<f64>() * dim as f64 * f64::from(f32::EPSILON);
                        let error = (f64::from(*found) - exact).abs();
                        assert!(error <= bound, "{}: dim {dim}, {count} x {words}, at {index}: {found} for {exact}", set.name());
                    }
                }
            }
        }
    }
}

#[test]
fn dot_products_carry_nan_to_their_own_row_and_column_only() {
    for set in Kernels::all() {
        for dim in 1..=2 * LANES + 1 {
            let (count, words) = (6, 9);
            let mut patches = vec![1.0; count * dim];
            let mut bank = vec![1.0; words * dim];
            patches[2 * dim + dim / 2] = f32::NAN;
            bank[4 * dim + dim - 1] = f32::NAN;
            let mut out = vec![0.0; count * words];
            set.dot_products(&patches, &bank, dim, &mut out);
            for (index, found) in out.iter().enumerate() {
                let nan = index / words == 2 || index % words == 4;
                assert_eq!(found.is_nan(), nan, "{}: dim {dim}, at {index}", set.name());
                assert!(nan || *found == dim as f32, "{}: dim {dim}, at {index}", set.name());
            }
        }
    }
}

#[test]
fn dot_products_of_nothing_are_nothing() {
    for set in Kernels::all() {
        set.dot_products(&[], &[], 0, &mut []);
        set.dot_products(&[], &[1.0; 8], 4, &mut []);
        set.dot_products(&[1.0; 8], &[], 4, &mut []);
        let mut out = [1.0; 6];
        set.dot_products(&[], &[], 0, &mut out);
        assert_eq!(out, [0.0; 6]);
    }
}

#[test]
fn normalized_rows_have_unit_norm_and_bad_rows_are_reported_and_kept() {
    let mut random = Random(2);
    for set in Kernels::all() {
        for dim in (1..=2 * LANES + 1).chain([384, 512]) {
            for scale in [1.0, 1e-30, 1e30, 1e-41] {
                let rows: Vec<f32> = random.values(5 * dim).iter().map(|v| (v + 1.5) * scale).collect();
                let (mut found, mut expected) = (rows.clone(), rows.clone());
                assert_eq!(set.normalize_rows(&mut found, dim), None, "{}: dim {dim}", set.name());
                reference().normalize_rows(&mut expected, dim);
                for (found, expected) in found.iter().zip(&expected) {
                    assert!(
                        (found - expected).abs() <= 4.0 * f32::EPSILON,
                        "{}: dim {dim}, scale {scale}: {found} for {expected}",
                        set.name()
                    );
                }
            }
            for bad in [0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut rows = random.values(5 * dim);
                rows[2 * dim..3 * dim].fill(0.0);
                rows[3 * dim - 1] = bad;
                let before = rows.clone();
                assert_eq!(set.normalize_rows(&mut rows, dim), Some(2), "{}: dim {dim}, {bad}", set.name());
                assert!(rows[2 * dim..3 * dim - 1].iter().all(|v| *v == 0.0));
                assert_eq!(rows[3 * dim - 1].to_bits(), before[3 * dim - 1].to_bits());
                let norm: f32 = rows[4 * dim..].iter().map(|v| v * v).sum();
                assert!((norm - 1.0).abs() < 1e-5, "{}: the row after is normalized too", set.name());
            }
        }
        assert_eq!(set.normalize_rows(&mut [], 0), None);
    }
}
