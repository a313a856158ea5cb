use super::{LANES, Random, assert_close};
use crate::operands::{RowRange, STEP_INT8 as STEP, TileInt8};
use crate::{Activation, Kernels, Linear, LinearInt8, RowsInt8, Workspace, reference};

const STRANGE: [f32; 8] = [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-42, 3e38, -3e38];

#[test]
fn bytes_and_ranges_are_the_references_own() {
    let mut random = Random(11);
    for set in Kernels::all() {
        for dim in (1..=2 * LANES + 1).chain([192, 384]) {
            for offset in [0, 1, 3] {
                for strange in STRANGE {
                    for scale in [0.0, 1e-3, 1.0, 1e30] {
                        let mut x: Vec<f32> = random.values(offset + dim).iter().map(|v| (v + 0.3) * scale).collect();
                        x[offset + dim / 2] = strange;
                        for levels in [127, 254, 255] {
                            let (mut found, mut expected) = (vec![7; dim], vec![9; dim]);
                            let range = set.quantize_row(&x[offset..], levels, &mut found);
                            let reference = reference::quantize_row(&x[offset..], levels, &mut expected);
                            assert_eq!(found, expected, "{}: dim {dim}, {strange} in {scale}", set.name());
                            assert_eq!((range.scale.to_bits(), range.zero), (reference.scale.to_bits(), reference.zero), "{}", set.name());
                            assert!(found.iter().all(|byte| *byte <= levels));
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn sizes_signed_bytes_and_exponentials_are_the_references_own() {
    let mut random = Random(15);
    for set in Kernels::all() {
        for dim in (1..=2 * LANES + 1).chain([192]) {
            for offset in [0, 1, 3] {
                for strange in STRANGE {
                    let mut x = random.values(offset + dim);
                    let factors: Vec<f32> = random.values(dim).iter().map(|v| v * 127.0).collect();
                    let (mut found, mut expected) = (vec![7; dim], vec![9; dim]);
                    set.quantize_row_signed(&x[offset..], &factors, &mut found);
                    reference::quantize_row_signed(&x[offset..], &factors, &mut expected);
                    assert_eq!(found, expected, "{}: dim {dim}", set.name());
                    let (mut found, mut expected) = (vec![7; dim], vec![9; dim]);
                    let (mut a, mut b) = (x[offset..].to_vec(), x[offset..].to_vec());
                    let (sum, reference) = (set.exp_row_int8(&mut a, 255, &mut found), reference::exp_row_int8(&mut b, 255, &mut expected));
                    assert!(found.iter().zip(&expected).all(|(a, b)| a.abs_diff(*b) <= 1), "{}: dim {dim}", set.name());
                    assert_eq!(sum, found.iter().map(|byte| f32::from(*byte)).sum::<f32>(), "{}: dim {dim}", set.name());
                    assert!((sum - reference).abs() <= dim as f32 && found.contains(&255));
                    let (mut a, mut b) = (x[offset..].to_vec(), x[offset..].to_vec());
                    let (sum, reference) = (set.exp_row(&mut a), reference::exp_row(&mut b));
                    assert!((sum - reference).abs() <= 1e-6 * dim as f32, "{}: dim {dim}: {sum} for {reference}", set.name());
                    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-6), "{}: dim {dim}", set.name());
                    x[offset + dim / 2] = strange;
                    let (found, expected) = (set.largest_magnitude(&x[offset..]), reference::largest_magnitude(&x[offset..]));
                    assert!(found == expected || found.is_nan() && expected.is_nan(), "{}: dim {dim}, {strange}", set.name());
                }
            }
        }
    }
}

#[test]
fn weights_below_half_a_step_keep_their_sum() {
    for set in Kernels::all() {
        for levels in [127u8, 254, 255] {
            for share in [0.1f32, 0.3, 0.49, 0.7] {
                let mut row = vec![(share / f32::from(levels)).ln(); 785];
                row[3] = 0.0;
                let mut bytes = vec![0; 785];
                let sum = set.exp_row_int8(&mut row, levels, &mut bytes);
                let (found, expected) = ((sum - f32::from(levels)) / 784.0, share);
                assert!((found - expected).abs() < 0.02, "{}: {levels} levels: {found} for {expected}", set.name());
                assert!(bytes[3] == levels && bytes[700..].contains(&0));
            }
        }
    }
}

#[test]
fn bytes_come_back_within_half_a_step() {
    let mut random = Random(12);
    let x = random.values(400);
    let mut bytes = vec![0; 400];
    let RowRange { scale, zero } = reference::quantize_row(&x, 255, &mut bytes);
    for (x, byte) in x.iter().zip(&bytes) {
        assert!((scale * (f32::from(*byte) - zero as f32) - x).abs() <= scale * 0.5001 + 1e-6);
    }
    assert!(bytes.contains(&0) && bytes.contains(&255));
}

#[test]
fn products_of_bytes_are_exact() {
    let mut random = Random(13);
    for set in Kernels::all() {
        let (panel, group, shift) = (set.panel(), set.group(), set.shift());
        for depth in (STEP..=80).step_by(STEP).chain([768]) {
            for count in 1..=set.tile_rows_int8() {
                for (extreme, add, rows_ld) in
                    [(false, false, depth), (true, false, depth + 3), (false, true, depth + 1), (true, true, depth)]
                {
                    let mut byte = |low: u8, high: u8| match (extreme, random.next() >> 20) {
                        (true, r) => [low, high][r as usize % 2],
                        (false, r) => (r % 256) as u8,
                    };
                    let rows: Vec<u8> = (0..count * rows_ld).map(|_| byte(0, 255).min(set.levels()).wrapping_sub(shift)).collect();
                    let weights: Vec<i8> = (0..depth * panel).map(|_| byte(0x80, 0x7f) as i8).collect();
                    let signed = |byte: u8| if shift > 0 { i64::from(byte as i8) } else { i64::from(byte) };
                    let mut sums = vec![17; count * panel];
                    set.gemm_int8(&TileInt8 { rows: &rows, rows_ld, count, depth, weights: &weights, add }, &mut sums);
                    for (at, sum) in sums.iter().enumerate() {
                        let (m, n) = (at / panel, at % panel);
                        let weight = |k: usize| i64::from(weights[(k / group * panel + n) * group + k % group]);
                        let exact: i64 = (0..depth).map(|k| signed(rows[m * rows_ld + k]) * weight(k)).sum();
                        assert_eq!(
                            i64::from(*sum),
                            exact + if add { 17 } else { 0 },
                            "{}: {depth} deep, row {m} of {count}, {n}",
                            set.name()
                        );
                    }
                }
            }
        }
    }
}

/// `DynamicQuantizeLinear`: one range for all numbers.
fn standard(x: &[f32]) -> (Vec<f64>, f64) {
    let (low, high) = x.iter().fold((0.0f32, 0.0f32), |(low, high), v| (low.min(*v), high.max(*v)));
    let scale = (high - low) / 255.0;
    let zero = (-low / scale).round_ties_even();
    let value = |x: &f32| f64::from(scale) * f64::from(((x / scale).round_ties_even() + zero).clamp(0.0, 255.0) - zero);
    (x.iter().map(value).collect(), f64::from(scale))
}

#[test]
fn layers_of_integers_are_their_formula_and_near_the_standard_one() {
    let mut random = Random(14);
    for inputs in (1..=2 * LANES + 1).chain([192]) {
        for (rows, outputs) in [(1, 1), (3, 15), (5, 16), (13, 33), (26, 144)] {
            let x: Vec<f32> = random.values(rows * inputs).iter().map(|v| v * 3.0).collect();
            let weight: Vec<i8> = (0..inputs * outputs).map(|_| random.next() as i8).collect();
            let scales: Vec<f32> = random.values(outputs).iter().map(|v| v / 128.0).collect();
            let (bias, residual) = (random.values(outputs), random.values(rows * outputs));
            let product = |x: &[f64], size: fn(f64) -> f64| -> Vec<f64> {
                let sum = |at: usize| -> f64 {
                    let (row, column) = (at / outputs, at % outputs);
                    (0..inputs)
                        .map(|k| size(x[row * inputs + k] * f64::from(weight[k * outputs + column]) * f64::from(scales[column])))
                        .sum()
                };
                (0..rows * outputs).map(sum).collect()
            };
            let (step, scale) = standard(&x);
            let by_standard = product(&step, |v| v);
            let sizes = product(&vec![1.0; x.len()], f64::abs);
            for set in Kernels::all() {
                let exact: Vec<f64> = x
                    .chunks_exact(inputs)
                    .flat_map(|row| {
                        let mut bytes = vec![0; inputs];
                        let RowRange { scale, zero } = reference::quantize_row(row, set.levels(), &mut bytes);
                        bytes.into_iter().map(move |byte| f64::from(scale) * (f64::from(byte) - f64::from(zero)))
                    })
                    .collect();
                let name = format!("{}: {rows} x {inputs} x {outputs}", set.name());
                let mut quantized = RowsInt8::default();
                set.quantize_rows(&x, inputs, &mut quantized);
                let mut out = vec![f32::NAN; rows * outputs];
                let layer = set.pack_linear_int8(&weight, inputs, outputs, &scales, Some(&bias));
                set.linear_int8(&layer, &mut quantized, Activation::None, Some(&residual), &mut out);
                let expected: Vec<f64> = product(&exact, |v| v)
                    .iter()
                    .enumerate()
                    .map(|(at, v)| v + f64::from(bias[at % outputs]) + f64::from(residual[at]))
                    .collect();
                assert_close(&out, &expected, 1e-6 * (inputs + 20) as f64, &name);
                let steps = if set.levels() == 255 { 1.0 } else { 2.0 };
                for (at, found) in out.iter().enumerate() {
                    let difference = f64::from(*found) - f64::from(bias[at % outputs]) - f64::from(residual[at]) - by_standard[at];
                    assert!(difference.abs() <= steps * scale * sizes[at] * 1.01 + 1e-4, "{name}, at {at}: {difference}");
                }
            }
        }
    }
}

#[test]
fn rows_that_are_not_finite_spoil_themselves_alone() {
    for set in Kernels::all() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for dim in [1, 5, 16, 33] {
                let (rows, outputs) = (8, 20);
                let mut x = vec![0.0; rows * dim];
                x[3 * dim + dim / 2] = bad;
                x[5 * dim..6 * dim].fill(2.0);
                let layer = set.pack_linear_int8(&vec![1; dim * outputs], dim, outputs, &vec![0.5; outputs], Some(&vec![0.25; outputs]));
                let mut quantized = RowsInt8::default();
                set.quantize_rows(&x, dim, &mut quantized);
                let mut out = vec![7.0; rows * outputs];
                set.linear_int8(&layer, &mut quantized, Activation::Gelu, None, &mut out);
                for (row, out) in out.chunks_exact(outputs).enumerate() {
                    match row {
                        3 => assert!(out.iter().all(|v| v.is_nan()), "{}: {bad}, {out:?}", set.name()),
                        5 => assert!(out.iter().all(|v| (v - (dim as f32 + 0.25)).abs() < 0.25), "{}: {out:?}", set.name()),
                        _ => assert!(out.iter().all(|v| (v - 0.149_676_58).abs() < 1e-5), "{}: {out:?}", set.name()),
                    }
                }
            }
        }
    }
}

#[test]
fn a_layer_that_is_set_in_parts_is_the_one_that_is_set_at_once() {
    let mut random = Random(9);
    for (inputs, outputs) in [(16, 1), (50, 70), (67, 129)] {
        let floats = random.values(inputs * outputs);
        let integers: Vec<i8> = floats.iter().map(|v| (v * 127.0) as i8).collect();
        let (x, scales) = (random.values(3 * inputs), random.values(outputs));
        for set in Kernels::all() {
            let mut parts = set.empty_linear_int8(inputs, outputs, &scales, None);
            integers.chunks(16 * outputs).enumerate().rev().for_each(|(index, rows)| parts.set_rows(16 * index, rows));
            let run = |layer: &LinearInt8| {
                let (mut rows, mut out) = (RowsInt8::default(), vec![f32::NAN; 3 * outputs]);
                set.quantize_rows(&x, inputs, &mut rows);
                set.linear_int8(layer, &mut rows, Activation::None, None, &mut out);
                out
            };
            assert_eq!(run(&parts), run(&set.pack_linear_int8(&integers, inputs, outputs, &scales, None)), "{}", set.name());
            let mut parts = set.empty_linear(inputs, outputs, None);
            floats.chunks(7 * outputs).enumerate().for_each(|(index, rows)| parts.set_rows(7 * index, rows));
            let run = |layer: &Linear| {
                let mut out = vec![f32::NAN; 3 * outputs];
                set.linear(layer, &x, Activation::None, None, &mut out, &mut Workspace::default());
                out
            };
            assert_eq!(run(&parts), run(&set.pack_linear(&floats, inputs, outputs, None)), "{}", set.name());
        }
    }
}
