//! What can be tested of the GPU's path without a GPU: its graphs of every head, computed by the processor; its kernels for scores and masks,
//! compiled as plain C++ by the machine's compiler, and by NVIDIA's where a Python environment has it.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use edge_seg::{Background, Class, PatchGrid, Placement, UnitRows, WordBank};
use edge_seg_kernels::{Columns, Kernels, Planes, Scratch, Tap};
use edge_seg_model::{GraphEncoder, ImageEncoder, Input, Scoring, Threads, score};
use edge_seg_tests::{may_lack, need, need_program, root};

use crate::encoders::encoders;

/// The kernels as a program.
static LOOPS: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("masks_as_loops");
    let masks = format!("-DMASKS=\"{}\"", root().join("runtime/cuda/src/masks.cu").display());
    let mut compiler = Command::new("c++");
    compiler.args(["-std=c++17", "-O1", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", &masks, "-o"]);
    let compiled = compiler.arg(&program).arg(root().join("tests/cuda/masks_as_loops.cpp")).output().unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    (folder, program)
});

/// What a kernel makes of some bytes; none without a C++ compiler.
fn kernel(arguments: &[String], input: &[u8]) -> Option<Vec<u8>> {
    if !need_program("c++") {
        return None;
    }
    let (_, program) = &*LOOPS;
    let mut running = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = running.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = running.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", output.status);
    Some(output.stdout)
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

fn strings(numbers: &[usize]) -> Vec<String> {
    numbers.iter().map(usize::to_string).collect()
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn below(&mut self, end: u64) -> usize {
        (self.next() % end) as usize
    }

    fn float(&mut self) -> f32 {
        self.next() as f32 / (1u64 << 30) as f32 - 1.0
    }
}

/// A half's value, by its definition.
fn value_of_half(half: u16) -> f64 {
    let (exponent, mantissa) = (i32::from(half >> 10 & 31), f64::from(half & 1023));
    let sign = if half >> 15 == 1 { -1.0 } else { 1.0 };
    sign * match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + mantissa) * 2f64.powi(exponent - 25),
    }
}

#[test]
fn graphs_for_a_gpu_give_what_the_processors_layers_give() {
    let mut random = Random(3);
    for (name, bundle) in encoders() {
        let side = 4 * bundle.manifest().image.patch_px as u32;
        let placement = Placement::new((side + side / 2, side), &bundle.manifest().image, side as usize).unwrap();
        let area = (placement.input_px.0 * placement.input_px.1) as usize;
        let inputs: Vec<Input> =
            (0..3).map(|_| Input { pixels: (0..3 * area).map(|_| 2.0 * random.float()).collect(), placement }).collect();
        let encoder = ImageEncoder::load(&bundle, Threads::new(1)).unwrap();
        let inputs: Vec<&Input> = inputs.iter().collect();
        // On the processor the built-in model computes in integers, here on noise, which they are worst at.
        let integers = bundle.manifest().variant == "int8-dynamic";
        for (half, bound) in [(false, 0.9999), (true, 0.999)] {
            let bound = if integers { 0.99 } else { bound };
            for room in [1, 8] {
                let found = GraphEncoder::on_cpu(&bundle, half).unwrap().encode_all(&inputs, room).unwrap();
                for (input, found) in inputs.iter().zip(&found) {
                    let expected = encoder.encode(input).unwrap();
                    let dim = expected.patches().dim();
                    let rows = found.patches().data().chunks(dim).zip(expected.patches().data().chunks(dim));
                    let rows = rows.chain([(found.global().data(), expected.global().data())]);
                    let least = rows.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum()).fold(1.0, f32::min);
                    assert!(least >= bound, "{name}, half {half}, room {room}: {least}");
                }
                assert_eq!(found.len(), 3);
            }
        }
    }
}

#[test]
fn every_half_becomes_its_float() {
    let Some(found) = kernel(&["widen".into()], &[]) else { return };
    let found = floats(&found);
    assert_eq!(found.len(), 1 << 16);
    for (half, found) in found.into_iter().enumerate() {
        let expected = value_of_half(half as u16) as f32;
        assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(), "{half:#x}: {found} for {expected}");
    }
}

#[test]
fn labels_are_the_processors() {
    let kernels = Kernels::all();
    let mut random = Random(1);
    for case in 0..60 {
        let [classes, rows, cols] = [1 + random.below(9), 1 + random.below(7), 1 + random.below(9)];
        let [width, height] = [1 + random.below(70), 1 + random.below(40)];
        let values: Vec<f32> = (0..classes * rows * cols)
            .map(|_| match random.below(40) {
                0 if case % 3 == 0 => f32::NAN,
                1 if case % 3 == 0 => f32::INFINITY,
                2 if case % 3 == 0 => f32::NEG_INFINITY,
                3 => -1e30,
                // Few values, so that there are ties.
                _ if case % 2 == 0 => (random.float() * 3.0).round(),
                _ => random.float(),
            })
            .collect();
        let (row_taps, column_taps) = (Tap::line(rows, height), Tap::line(cols, width));
        let taps = |taps: &[Tap]| -> Vec<u8> {
            taps.iter().flat_map(|tap| [tap.lo, tap.hi, tap.weight.to_bits()]).flat_map(u32::to_le_bytes).collect()
        };
        let arguments = [vec!["paint".into()], strings(&[classes, rows, cols, width, height])].concat();
        let input = [bytes(&values), taps(&row_taps), taps(&column_taps)].concat();
        let Some(found) = kernel(&arguments, &input) else { return };
        let found: Vec<u16> = found.chunks_exact(2).map(|two| u16::from_le_bytes(two.try_into().unwrap())).collect();
        let planes = Planes::new(&values, classes, rows, cols).unwrap();
        let columns = Columns::new(column_taps);
        for kernels in &kernels {
            // The kernels that work by geometry leave out cells beside what is not finite; the reference is by pixel.
            if case % 3 == 0 && kernels.name() != "scalar" {
                continue;
            }
            let mut expected = vec![0u16; width * height];
            kernels.upsample_argmax(&planes, &row_taps, &columns, &mut Scratch::default(), &mut expected);
            assert_eq!(found, expected, "case {case}, {}: {classes} planes of {rows}×{cols} to {width}×{height}", kernels.name());
        }
    }
}

#[test]
fn logits_are_the_processors() {
    let mut random = Random(2);
    for case in 0..24 {
        let halves = case % 2 == 1;
        let [rows, cols, beyond] = [1 + random.below(6), 1 + random.below(6), random.below(3)];
        let (dim, stride) = ([1, 5, 16, 96][case % 4], cols + beyond);
        let spans: Vec<usize> = (0..1 + random.below(40)).map(|_| 1 + random.below(3)).collect();
        let (scale, bias) = ([30.0f32, 100.0][case % 2], [-12.5f32, 0.0][case / 2 % 2]);
        let halved: Vec<u16> = (0..rows * stride * dim).map(|_| (random.below(0x7800) | random.below(2) << 15) as u16).collect();
        let patches: Vec<f32> = match halves {
            true => halved.iter().map(|half| value_of_half(*half) as f32).collect(),
            false => halved.iter().map(|_| random.float() * 9.0).collect(),
        };
        let words: Vec<f32> = (0..spans.iter().sum::<usize>() * dim).map(|_| random.float()).collect();
        let words = UnitRows::normalise("words", dim, words).unwrap();
        let ends: Vec<u8> = spans
            .iter()
            .scan(0u32, |end, length| {
                *end += *length as u32;
                Some(end.to_le_bytes())
            })
            .flatten()
            .collect();
        let of_patches = if halves { halved.iter().flat_map(|half| half.to_le_bytes()).collect() } else { bytes(&patches) };
        let arguments = [
            vec!["logits".into()],
            strings(&[spans.len(), rows, cols, stride, dim, halves.into()]),
            vec![scale.to_string(), bias.to_string()],
        ];
        let Some(found) = kernel(&arguments.concat(), &[of_patches, ends, bytes(words.data())].concat()) else {
            return;
        };
        let found = floats(&found);
        let kept: Vec<f32> = patches.chunks_exact(stride * dim).flat_map(|row| &row[..cols * dim]).copied().collect();
        let grid = PatchGrid::new(rows, cols, dim, kept, vec![1.0; dim]).unwrap();
        let class = |(n, length): (usize, &usize)| Class::new(n.to_string(), vec!["word".into(); *length]);
        let classes: Vec<Class> = spans.iter().enumerate().map(class).collect();
        let bank = WordBank::new(&classes, 0, words).unwrap();
        let expected = score(&grid, &bank, Scoring::new(scale, Some(bias)), Background::None).unwrap();
        for (at, (found, expected)) in found.iter().zip(&expected.planes()[rows * cols..]).enumerate() {
            assert!((found - expected).abs() <= scale * 2e-6 * dim as f32 + 1e-5, "case {case}, {at}: {found} for {expected}");
        }
        assert_eq!(found.len(), spans.len() * rows * cols);
    }
    let arguments: Vec<String> = "logits 1 1 2 2 2 0 10 0".split(' ').map(String::from).collect();
    let input = [bytes(&[0.0, 0.0, f32::INFINITY, 1.0]), 1u32.to_le_bytes().into(), bytes(&[0.6, 0.8])].concat();
    let Some(found) = kernel(&arguments, &input) else { return };
    assert!(floats(&found).iter().all(|logit| logit.is_nan()), "a patch without a direction has no logit");
}

#[test]
fn nvidias_compiler_takes_the_kernels() {
    let venv = std::env::var_os("EDGE_SEG_TRAINER_VENV").map(PathBuf::from);
    need("Python environment of the trainer (set EDGE_SEG_TRAINER_VENV)", venv.is_some());
    let Some(venv) = venv else { return };
    let mut compile = Command::new(venv.join("bin/python"));
    compile.arg(root().join("tests/cuda/compile.py")).arg(root().join("runtime/cuda/src/masks.cu"));
    let compiled = compile.args(["72", "75", "87", "90"]).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&compiled.stdout), String::from_utf8_lossy(&compiled.stderr));
    match compiled.status.code() {
        Some(77) => {
            may_lack("NVRTC", "a PyTorch for processors alone brings none", false);
        }
        Some(0) => assert!(said.contains("sm_87: ") && said.contains("bytes"), "{said}"),
        _ => panic!("{said}"),
    }
}
