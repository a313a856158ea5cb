use super::*;

/// Numbers in -1..1 from a small generator, the same on every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub(crate) fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value()).collect()
    }
}

/// Longest vector of any set, in f32 lanes.
pub(crate) const LANES: usize = 16;

fn reference() -> &'static Kernels {
    Kernels::all()[0]
}

#[test]
fn required_sets_are_present() {
    let Ok(required) = std::env::var("EDGE_SEG_REQUIRE_KERNELS") else {
        return;
    };
    let mut names: Vec<_> = Kernels::all().iter().map(|set| set.name()).collect();
    if Kernels::all().iter().any(|set| set.name() != "scalar" && set.has_halves()) {
        names.push("fp16");
    }
    println!("kernels present: {}", names.join(", "));
    for name in required.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        assert!(names.contains(&name), "required {name}, present {names:?}");
    }
}

#[test]
fn an_unknown_set_is_an_error_that_names_the_known_ones() {
    assert!(choose(Some("mmx")).unwrap_err().contains("scalar"));
    assert_eq!(choose(Some("scalar")).unwrap().name(), "scalar");
    assert_eq!(choose(None).unwrap().name(), Kernels::all().last().unwrap().name());
}

#[test]
fn dot_products_stay_within_the_bound_of_summed_products() {
    let mut random = Random(1);
    for set in Kernels::all() {
        for dim in (1..=2 * LANES + 1).chain([127, 384, 512]) {
            for (count, tags) in [(1, 1), (2, 3), (4, 6), (5, 7), (9, 13), (3, 20)] {
                for offset in [0, 1, 3] {
                    let patches = random.values(offset + count * dim);
                    let bank = random.values(offset + tags * dim);
                    let mut out = vec![f32::NAN; count * tags];
                    set.dot_products(&patches[offset..], &bank[offset..], dim, &mut out);
                    for (index, found) in out.iter().enumerate() {
                        let a = &patches[offset + index / tags * dim..][..dim];
                        let b = &bank[offset + index % tags * dim..][..dim];
                        let pairs = || a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
                        let exact: f64 = pairs().sum();
                        let bound = pairs().map(f64::abs).sum::<f64>() * dim as f64 * f64::from(f32::EPSILON);
                        let error = (f64::from(*found) - exact).abs();
                        assert!(error <= bound, "{}: dim {dim}, {count} x {tags}, at {index}: {found} for {exact}", set.name());
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
            let (count, tags) = (6, 9);
            let mut patches = vec![1.0; count * dim];
            let mut bank = vec![1.0; tags * dim];
            patches[2 * dim + dim / 2] = f32::NAN;
            bank[4 * dim + dim - 1] = f32::NAN;
            let mut out = vec![0.0; count * tags];
            set.dot_products(&patches, &bank, dim, &mut out);
            for (index, found) in out.iter().enumerate() {
                let nan = index / tags == 2 || index % tags == 4;
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
fn normalised_rows_have_unit_norm_and_bad_rows_are_reported_and_kept() {
    let mut random = Random(2);
    for set in Kernels::all() {
        for dim in (1..=2 * LANES + 1).chain([384, 512]) {
            for scale in [1.0, 1e-30, 1e30, 1e-41] {
                let rows: Vec<f32> = random.values(5 * dim).iter().map(|v| (v + 1.5) * scale).collect();
                let (mut found, mut expected) = (rows.clone(), rows.clone());
                assert_eq!(set.normalise_rows(&mut found, dim), None, "{}: dim {dim}", set.name());
                reference().normalise_rows(&mut expected, dim);
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
                assert_eq!(set.normalise_rows(&mut rows, dim), Some(2), "{}: dim {dim}, {bad}", set.name());
                assert!(rows[2 * dim..3 * dim - 1].iter().all(|v| *v == 0.0));
                assert_eq!(rows[3 * dim - 1].to_bits(), before[3 * dim - 1].to_bits());
                let norm: f32 = rows[4 * dim..].iter().map(|v| v * v).sum();
                assert!((norm - 1.0).abs() < 1e-5, "{}: the row after is normalised too", set.name());
            }
        }
        assert_eq!(set.normalise_rows(&mut [], 0), None);
    }
}

/// The interpolated value of every class at one output pixel, in f64.
fn interpolated(planes: &Planes<'_>, row: Tap, column: Tap) -> Vec<f64> {
    let mix = |lo: f64, hi: f64, tap: Tap| lo * (1.0 - f64::from(tap.weight)) + hi * f64::from(tap.weight);
    (0..planes.classes())
        .map(|class| {
            let at = |r: u32, c: u32| f64::from(planes.at(class, r as usize, c as usize));
            mix(mix(at(row.lo, column.lo), at(row.hi, column.lo), row), mix(at(row.lo, column.hi), at(row.hi, column.hi), row), column)
        })
        .collect()
}

/// Asserts that each label's class has the largest value up to rounding, and that no earlier class is clearly as large.
fn assert_labels(set: &Kernels, planes: &Planes<'_>, rows: &[Tap], columns: &[Tap]) {
    let taps = Columns::new(columns.to_vec());
    let mut labels = vec![u16::MAX; rows.len() * columns.len()];
    set.upsample_argmax(planes, rows, &taps, &mut Scratch::default(), &mut labels);
    let mut narrow = vec![u8::MAX; labels.len()];
    set.upsample_argmax(planes, rows, &taps, &mut Scratch::default(), &mut narrow);
    for (index, label) in labels.iter().enumerate() {
        let values = interpolated(planes, rows[index / columns.len()], columns[index % columns.len()]);
        let finite = values.iter().copied().filter(|v| v.is_finite());
        let largest = finite.clone().fold(f64::NEG_INFINITY, f64::max);
        let tolerance = 1e-6 * finite.fold(0.0, |a: f64, v| a.max(v.abs()));
        let won = values[usize::from(*label)];
        assert!(
            won >= largest - tolerance || largest == f64::NEG_INFINITY && *label == 0,
            "{}: at {index} label {label} of {values:?}",
            set.name()
        );
        assert_eq!(u16::from(narrow[index]), *label, "{}: labels of both widths agree", set.name());
    }
}

#[test]
fn upsampled_labels_are_the_largest_interpolated_class() {
    let mut random = Random(3);
    for set in Kernels::all() {
        for classes in (1..=2 * LANES + 1).chain([100]) {
            for (rows, cols) in [(1, 1), (1, 5), (3, 2), (7, 9)] {
                let values = random.values(classes * rows * cols);
                let planes = Planes::new(&values, classes, rows, cols).unwrap();
                for (height, width) in [(1, 1), (2, 3), (13, 40), (5, 4)] {
                    assert_labels(set, &planes, &Tap::line(rows, height), &Tap::line(cols, width));
                }
            }
        }
    }
}

#[test]
fn upsampling_takes_any_taps_not_just_rising_ones() {
    let mut random = Random(4);
    let values = random.values(6 * 5 * 7);
    let planes = Planes::new(&values, 6, 5, 7).unwrap();
    let mut taps = |len: u64, count: usize| -> Vec<Tap> {
        (0..count)
            .map(|_| Tap { lo: (random.next() % len) as u32, hi: (random.next() % len) as u32, weight: random.value().abs() })
            .collect()
    };
    let (rows, columns) = (taps(5, 20), taps(7, 50));
    for set in Kernels::all() {
        assert_labels(set, &planes, &rows, &columns);
    }
}

#[test]
fn ties_go_to_the_first_class_and_values_that_are_not_finite_never_win() {
    for set in Kernels::all() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            // Class 0 is bad everywhere, classes 1 and 2 tie, class 3 is bad in one cell and larger elsewhere.
            let mut values = vec![bad; 4 * 9];
            values[9..27].fill(0.5);
            values[27..].fill(0.75);
            values[27 + 4] = bad;
            let planes = Planes::new(&values, 4, 3, 3).unwrap();
            let (rows, columns) = (Tap::line(3, 9), Tap::line(3, 9));
            let mut labels = vec![u8::MAX; 81];
            set.upsample_argmax(&planes, &rows, &Columns::new(columns.clone()), &mut Scratch::default(), &mut labels);
            assert_eq!(labels[80], 3, "{}: {bad}", set.name());
            assert_eq!(labels[4 * 9 + 4], 1, "{}: {bad}", set.name());
            let mut expected = vec![u8::MAX; 81];
            reference().upsample_argmax(&planes, &rows, &Columns::new(columns), &mut Scratch::default(), &mut expected);
            assert_eq!(labels, expected, "{}: {bad}", set.name());
            let all_bad = vec![bad; 4 * 9];
            let planes = Planes::new(&all_bad, 4, 3, 3).unwrap();
            set.upsample_argmax(&planes, &rows, &Columns::new(Tap::line(3, 9)), &mut Scratch::default(), &mut labels);
            assert_eq!(labels, [0; 81], "{}: {bad}", set.name());
        }
    }
}

#[test]
fn taps_of_a_line_are_half_pixel_centred_and_clamped() {
    assert_eq!(Tap::line(2, 4), [(0, 1, 0.0), (0, 1, 0.25), (0, 1, 0.75), (1, 1, 0.0)].map(|(lo, hi, weight)| Tap { lo, hi, weight }));
    assert_eq!(Tap::line(1, 2), [Tap { lo: 0, hi: 0, weight: 0.0 }; 2]);
    assert_eq!(Tap::at(f64::NAN, 3).lo, 0);
}

/// What two passes over `[patches, dim]` and `[tags, dim]` find, the first one in two parts that are merged.
fn scanned(
    set: &Kernels,
    patches: &[f32],
    bank: &[f32],
    dim: usize,
    scale: f32,
    precision: Precision,
) -> (Vec<PatchBest>, [Vec<TagBest>; 2]) {
    let bank = PackedBank::new(bank, dim, precision);
    let patches = set.pack_patches(patches, dim, precision);
    let middle = bank.panels() / 2;
    let mut tags = vec![TagBest::default(); bank.tags()];
    let mut scans = [Scan::new(patches.count()), Scan::new(patches.count())];
    for (panels, scan) in [0..middle, middle..bank.panels()].into_iter().zip(&mut scans) {
        let pairs = Pairs { patches: &patches, bank: &bank, panels, scale };
        set.scan(&pairs, true, scan, &mut tags[pairs.tags()]);
    }
    let [mut scan, other] = scans;
    scan.merge(&other);
    let found = scan.patches();
    let log_sums: Vec<f32> = found.iter().map(|patch| patch.log_sum).collect();
    let mut masses = vec![TagBest::default(); bank.tags()];
    set.scan_mass(&Pairs { patches: &patches, bank: &bank, panels: 0..bank.panels(), scale }, &log_sums, &mut masses);
    (found, [tags, masses])
}

const SIZES: [(usize, usize); 8] = [(1, 1), (2, 15), (3, 16), (5, 17), (24, 40), (25, 33), (49, 100), (7, 64)];

#[test]
fn integer_products_are_the_reference_s_to_the_last_bit() {
    let mut random = Random(5);
    for dim in (1..=2 * LANES + 1).chain([384, 510]) {
        for (count, tags) in SIZES {
            let (mut patches, mut bank) = (random.values(count * dim), random.values(tags * dim));
            // The extremes of both signs side by side are what overflows a 16-bit sum of two products.
            patches[..dim].fill(-1.0);
            bank[..dim].iter_mut().enumerate().for_each(|(i, v)| *v = if i % 3 == 0 { 1.0 } else { -1.0 });
            bank[(tags - 1) * dim..].fill(0.0);
            let (expected, [expected_tags, _]) = scanned(reference(), &patches, &bank, dim, 10.0, Precision::Int8);
            for set in Kernels::all() {
                let (found, [found_tags, _]) = scanned(set, &patches, &bank, dim, 10.0, Precision::Int8);
                assert_eq!(found_tags, expected_tags, "{}: dim {dim}, {count} x {tags}", set.name());
                for (found, expected) in found.iter().zip(&expected) {
                    assert_eq!((found.tag, found.logit.to_bits()), (expected.tag, expected.logit.to_bits()), "{}: dim {dim}", set.name());
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
            for (count, tags) in SIZES {
                let (mut patches, mut bank) = (random.values(count * dim), random.values(tags * dim));
                reference().normalise_rows(&mut patches, dim);
                reference().normalise_rows(&mut bank, dim);
                let scale = 20.0;
                let logit = |patch: usize, tag: usize| -> f64 {
                    let pairs = patches[patch * dim..][..dim].iter().zip(&bank[tag * dim..][..dim]);
                    scale * pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
                };
                let bound = scale * (rounding + dim as f64 * f64::from(f32::EPSILON)) + 1e-4;
                let log_sums: Vec<f64> = (0..count).map(|p| (0..tags).map(|t| logit(p, t).exp()).sum::<f64>().ln()).collect();
                for set in Kernels::all() {
                    let (found, [found_tags, masses]) = scanned(set, &patches, &bank, dim, scale as f32, precision);
                    let close = |found: f32, exact: f64| {
                        let error = (f64::from(found) - exact).abs();
                        assert!(error <= bound, "{} {precision:?}: dim {dim}, {count} x {tags}: {found} for {exact}", set.name());
                    };
                    for (p, patch) in found.iter().enumerate() {
                        close(patch.logit, (0..tags).map(|t| logit(p, t)).fold(f64::MIN, f64::max));
                        close(patch.logit, logit(p, patch.tag as usize));
                        close(patch.log_sum, log_sums[p]);
                    }
                    for (t, (tag, mass)) in found_tags.iter().zip(&masses).enumerate() {
                        close(tag.logit, (0..count).map(|p| logit(p, t)).fold(f64::MIN, f64::max));
                        close(tag.logit, logit(tag.patch as usize, t));
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
fn equal_scores_go_to_the_first_tag_and_the_first_patch() {
    for set in Kernels::all() {
        for precision in [Precision::F32, Precision::F16, Precision::Int8] {
            let (patches, bank) = (vec![0.5; 30 * 4], vec![0.5; 50 * 4]);
            let (found, [tags, _]) = scanned(set, &patches, &bank, 4, 1.0, precision);
            assert!(found.iter().all(|patch| patch.tag == 0), "{} {precision:?}", set.name());
            assert!(tags.iter().all(|tag| tag.patch == 0), "{} {precision:?}", set.name());
        }
    }
}

/// Asserts that two tensors differ by no more than `bound` anywhere.
pub(crate) fn assert_close(found: &[f32], expected: &[f64], bound: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*found) - expected).abs() <= bound, "{what}: at {index} {found} for {expected}");
    }
}

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
                    set.linear(&layer, &x, *activation, Some(&residual), &mut out, &mut LayerMemory::default());
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
                set.attend(&packed, &query, bias, &mut out, &mut LayerMemory::default());
                assert_close(&out, &expected, 2e-5, &format!("{}: {tokens} tokens, {heads} x {head_dim}, bias {name}", set.name()));
                let packed = set.pack_keys_int8(&key, &value, heads, head_dim);
                set.attend_int8(&packed, &query, bias, &mut out, &mut ByteMemory::default());
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
