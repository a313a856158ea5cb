use super::{LANES, Random, assert_close};
use crate::{Activation, Bias, Kernels, Workspace, WorkspaceInt8};

#[test]
fn layers_are_their_formulas() {
    let erf = |x: f64| {
        // The Taylor series, which converges everywhere and is exact enough in f64 up to 4.
        let mut term = x;
        let mut sum = x;
        for n in 1..120 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        if x.abs() > 4.0 { x.signum() } else { sum * std::f64::consts::FRAC_2_SQRT_PI }
    };
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let formulas: [(Activation, &dyn Fn(f64) -> f64); 4] = [
        (Activation::None, &|x| x),
        (Activation::Gelu, &|x| x / 2.0 * (1.0 + erf(x / 2f64.sqrt()))),
        (Activation::GeluTanh, &|x| x / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())),
        (Activation::QuickGelu, &|x| x * sigmoid(1.702 * x)),
    ];
    let mut random = Random(7);
    for inputs in (1..=2 * LANES + 1).chain([192]) {
        for (rows, outputs) in [(1, 1), (3, 15), (5, 16), (25, 33), (50, 64)] {
            let x: Vec<f32> = random.values(rows * inputs).iter().map(|v| v * 3.0).collect();
            let (weight, bias, residual) = (random.values(inputs * outputs), random.values(outputs), random.values(rows * outputs));
            for (activation, formula) in &formulas {
                let expected: Vec<f64> = (0..rows * outputs)
                    .map(|at| {
                        let (row, column) = (at / outputs, at % outputs);
                        let products = (0..inputs).map(|k| f64::from(x[row * inputs + k]) * f64::from(weight[k * outputs + column]));
                        formula(products.sum::<f64>() + f64::from(bias[column])) + f64::from(residual[at])
                    })
                    .collect();
                for set in Kernels::all() {
                    let mut out = vec![f32::NAN; rows * outputs];
                    let layer = set.pack_linear(&weight, inputs, outputs, Some(&bias));
                    set.linear(&layer, &x, *activation, Some(&residual), &mut out, &mut Workspace::default());
                    assert_close(&out, &expected, 3e-7 * (inputs + 20) as f64, &format!("{} {activation:?}: {inputs} inputs", set.name()));
                }
            }
        }
    }
}

#[test]
fn layer_norm_is_its_formula() {
    let mut random = Random(8);
    for dim in (1..=2 * LANES + 1).chain([192, 384]) {
        let x: Vec<f32> = random.values(3 * dim).iter().map(|v| v * 5.0 + 2.0).collect();
        let (weight, bias) = (random.values(dim), random.values(dim));
        let expected: Vec<f64> = (0..3 * dim)
            .map(|at| {
                let row = x[at / dim * dim..][..dim].iter().map(|v| f64::from(*v));
                let mean = row.clone().sum::<f64>() / dim as f64;
                let variance = row.map(|v| (v - mean).powi(2)).sum::<f64>() / dim as f64;
                (f64::from(x[at]) - mean) / (variance + 1e-5).sqrt() * f64::from(weight[at % dim]) + f64::from(bias[at % dim])
            })
            .collect();
        for set in Kernels::all() {
            let mut out = vec![f32::NAN; x.len()];
            set.layer_norm(&x, &weight, &bias, 1e-5, &mut out);
            // One value alone has no variance: what is left of its mean is divided by the root of eps.
            assert_close(&out, &expected, if dim == 1 { 1e-3 } else { 2e-5 }, &format!("{}: {dim}", set.name()));
        }
    }
}

#[test]
fn attention_is_its_formula() {
    let mut random = Random(9);
    for (tokens, heads, head_dim) in [(1, 1, 1), (5, 2, 3), (16, 1, 64), (17, 3, 17), (50, 2, 32), (100, 3, 64)] {
        let width = heads * head_dim;
        let query: Vec<f32> = random.values(tokens * width).iter().map(|v| v * 4.0).collect();
        let (key, value) = (random.values(tokens * width), random.values(tokens * width));
        let at = |x: &[f32], token: usize, column: usize| f64::from(x[token * width + column]);
        for (name, bias) in [
            ("none", vec![]),
            ("row", random.values(tokens)),
            ("matrix", random.values(tokens * tokens)),
            ("of heads", random.values(heads * tokens * tokens)),
        ] {
            // Emulated processors take long over the largest case.
            if name != "none" && tokens > 20 {
                continue;
            }
            let steps = match name {
                "matrix" => (0, tokens),
                "of heads" => (tokens * tokens, tokens),
                _ => (0, 0),
            };
            let add =
                |head: usize, query: usize, key: usize| bias.get(head * steps.0 + query * steps.1 + key).map_or(0.0, |b| f64::from(*b));
            let expected: Vec<f64> = (0..tokens * width)
                .map(|index| {
                    let (token, column) = (index / width, index % width);
                    let head = column / head_dim * head_dim..(column / head_dim + 1) * head_dim;
                    let weight = |other: usize| {
                        (head.clone().map(|c| at(&query, token, c) * at(&key, other, c)).sum::<f64>()
                            + add(column / head_dim, token, other))
                        .exp()
                    };
                    let total: f64 = (0..tokens).map(weight).sum();
                    (0..tokens).map(|other| weight(other) * at(&value, other, column)).sum::<f64>() / total
                })
                .collect();
            let bias = (name != "none").then_some(Bias { values: &bias, head_step: steps.0, query_step: steps.1 });
            for set in Kernels::all() {
                let packed = set.pack_keys(&key, &value, heads, head_dim);
                let mut out = vec![f32::NAN; tokens * width];
                set.attend(&packed, &query, bias, &mut out, &mut Workspace::default());
                assert_close(&out, &expected, 2e-5, &format!("{}: {tokens} tokens, {heads} x {head_dim}, bias {name}", set.name()));
                let packed = set.pack_keys_int8(&key, &value, heads, head_dim);
                set.attend_int8(&packed, &query, bias, &mut out, &mut WorkspaceInt8::default());
                // Logits err by half a step of query and key for each of their numbers, weights and values by half a step of theirs.
                let step = 1.0 / f64::from(set.levels());
                let logits = (0.5 * 8.0 * step + 4.0 * 0.5 / 127.0) * head_dim as f64;
                let bound = 2.0 * logits.min(0.4) + tokens as f64 * step + 1.0 / 127.0;
                for (found, expected) in out.iter().zip(&expected) {
                    assert!(
                        (f64::from(*found) - expected).abs() <= bound,
                        "{}: {tokens} tokens, {heads} x {head_dim}, bias {name}",
                        set.name()
                    );
                }
                let mean = out.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).sum::<f64>() / expected.len() as f64;
                assert!(mean <= 0.03, "{}: {tokens} tokens, {heads} x {head_dim}, bias {name}: {mean}", set.name());
            }
        }
    }
}
