use super::{LANES, Random};
use crate::operands::{CHUNK_F16 as CHUNK, STEP_F16 as STEP, TileF16, from_f16, to_f16};
use crate::{Activation, Kernels, RowsF16, reference};

/// The sets that compute in 16 bits, the reference first.
fn sets() -> Vec<&'static Kernels> {
    Kernels::all().into_iter().filter(|set| set.is_reference() || set.has_f16()).collect()
}

#[test]
fn rounded_rows_and_their_products_are_the_references_own() {
    let mut random = Random(21);
    for set in sets() {
        let panel = set.panel();
        for depth in (STEP..=2 * CHUNK + STEP).step_by(STEP).chain([768]) {
            for count in 1..=set.tile_rows_f16() {
                for (add, rows_ld, large) in [(false, depth, false), (true, depth + 3, true)] {
                    let mut halves = |len: usize, size: f32| -> Vec<u16> {
                        // All of one sign and size is what overflows; what is tiny is what vanishes.
                        let values = random.values(len);
                        values.iter().map(|v| to_f16(if large { size * (1.0 - 1e-3) } else { v * v * v * size })).collect()
                    };
                    let (rows, weights) = (halves(count * rows_ld, 32.0), halves(depth * panel, 16.0));
                    let scales: Vec<f32> = (0..count).map(|m| 2f32.powi(m as i32 - 3)).collect();
                    let tile = TileF16 { rows: &rows, rows_ld, count, depth, weights: &weights, scales: &scales, add };
                    let (mut found, mut expected) = (vec![0.75; count * panel], vec![0.75; count * panel]);
                    set.gemm_f16(&tile, &mut found);
                    reference::gemm_f16(&tile, &mut expected);
                    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(&found), bits(&expected), "{}: {count} rows, {depth} deep", set.name());
                    assert!(found.iter().all(|v| v.is_finite()));
                }
            }
        }
        for len in 1..=4 * LANES + 1 {
            for offset in [0, 1, 3] {
                let x = random.values(offset + len);
                let (mut found, mut expected) = (vec![1; len], vec![2; len]);
                for factor in [1.0, 32.0, 2f32.powi(-17), 2f32.powi(-24)] {
                    set.round_row_f16(&x[offset..], factor, &mut found);
                    reference::round_row_f16(&x[offset..], factor, &mut expected);
                    assert_eq!(found, expected, "{}: {len} times {factor}", set.name());
                }
            }
        }
    }
}

#[test]
fn layers_stay_within_the_bound_of_summed_products() {
    let mut random = Random(22);
    for inputs in (1..=2 * LANES + 1).chain([192, 520]) {
        for (rows, outputs) in [(1, 1), (3, 15), (9, 33), (17, 48)] {
            for (size, weights) in [(3.0, 0.1), (1e-20, 1e10), (1e30, 1e-25), (6e4, 7.0)] {
                let x: Vec<f32> = random.values(rows * inputs).iter().map(|v| v * size).collect();
                let weight: Vec<f32> = random.values(inputs * outputs).iter().map(|v| v * weights).collect();
                let (bias, residual) = (random.values(outputs), random.values(rows * outputs));
                for set in sets() {
                    let layer = set.pack_linear_f16(&weight, inputs, outputs, Some(&bias));
                    let (mut halves, mut out) = (RowsF16::default(), vec![f32::NAN; rows * outputs]);
                    set.round_rows_f16(&x, inputs, &mut halves);
                    set.linear_f16(&layer, &mut halves, Activation::None, Some(&residual), &mut out);
                    for (at, found) in out.iter().enumerate() {
                        let (row, column) = (at / outputs, at % outputs);
                        let x = &x[row * inputs..][..inputs];
                        let product = |k: usize| f64::from(x[k]) * f64::from(weight[k * outputs + column]);
                        let exact: f64 = (0..inputs).map(product).sum::<f64>() + f64::from(bias[column]) + f64::from(residual[at]);
                        let sizes: f64 = (0..inputs).map(|k| product(k).abs()).sum();
                        let most = x.iter().fold(0.0f32, |a, v| a.max(v.abs()));
                        let steps = (CHUNK.min(inputs) + 2) as f64 / 2048.0 + 1e-6;
                        // What vanishes beside the largest: half of the smallest half float's last place for each operand and sum.
                        let lost = inputs as f64 * f64::from(most) * f64::from(weights) * 2f64.powi(-24);
                        let error = (f64::from(*found) - exact).abs();
                        assert!(
                            error <= steps * sizes + lost + 1e-6,
                            "{}: {rows} x {inputs} x {outputs} of {size}: {found} for {exact}",
                            set.name()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn rows_that_are_not_finite_spoil_themselves_alone_and_empty_ones_nothing() {
    for set in sets() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for dim in [1, 5, 16, 33] {
                let (rows, outputs) = (11, 20);
                let mut x = vec![0.0; rows * dim];
                x[3 * dim + dim / 2] = bad;
                x[5 * dim..6 * dim].fill(2.0);
                x[6 * dim..7 * dim].fill(1e-42);
                let layer = set.pack_linear_f16(&vec![0.5; dim * outputs], dim, outputs, Some(&vec![0.25; outputs]));
                let (mut halves, mut out) = (RowsF16::default(), vec![7.0; rows * outputs]);
                // Memory that held something else.
                set.round_rows_f16(&vec![f32::INFINITY; 3 * (dim + 7)], dim + 7, &mut halves);
                set.round_rows_f16(&x, dim, &mut halves);
                set.linear_f16(&layer, &mut halves, Activation::None, None, &mut out);
                for (row, out) in out.chunks_exact(outputs).enumerate() {
                    match row {
                        3 => assert!(out.iter().all(|v| v.is_nan()), "{}: {bad}, {out:?}", set.name()),
                        5 => assert!(out.iter().all(|v| *v == dim as f32 + 0.25), "{}: {out:?}", set.name()),
                        _ => assert!(out.iter().all(|v| *v == 0.25), "{}: {out:?}", set.name()),
                    }
                }
            }
        }
    }
}

#[test]
fn sums_are_rounded_to_sixteen_bits_a_chunk_at_a_time() {
    // 2048 + 1 is 2048 in 16 bits, so what a chunk adds to its first product is lost, and what comes after it is not.
    let mut rows = vec![to_f16(1.0); 2 * CHUNK];
    rows[0] = to_f16(2048.0);
    let mut out = [0.0];
    let weights = vec![to_f16(1.0); 2 * CHUNK];
    let tile = TileF16 { rows: &rows, rows_ld: 2 * CHUNK, count: 1, depth: 2 * CHUNK, weights: &weights, scales: &[1.0], add: false };
    reference::gemm_f16(&tile, &mut out);
    assert_eq!(out, [2048.0 + CHUNK as f32]);
    assert_eq!(from_f16(rows[0]), 2048.0);
}
