//! Times the scoring and mask kernels, one task a line: `kernels.py` asks for them in turn with NumPy's, so that all run under the same
//! conditions. Each answer is `milliseconds of processor time<TAB>checksum`, on one thread.
//!
//! ```text
//! kernels FOLDER      FOLDER holds patches.f32 [784, 512], bank.f32 [20000, 512], planes.f32 [21, 28, 28], little-endian
//! ```
//! Tasks: `scan SET PRECISION`, `product ndarray`, `scan ndarray`, `mask SET`, `mask ndarray`. SET is a name that `EDGE_SEG_KERNELS` takes.

use std::io::{BufRead, Write};

use edge_seg_kernels::{Columns, Kernels, PackedBank, Pairs, Planes, Precision, Scan, Scratch, Tap, WordBest};
use ndarray::{Array2, Array3, Axis, Zip};

const DIM: usize = 512;
const SCALE: f32 = 20.0;
const GRID: usize = 28;
const CLASSES: usize = 21;
const FRAME: (usize, usize) = (1080, 1920);

fn main() {
    let folder = std::env::args().nth(1).filter(|arg| !arg.starts_with('-'));
    let Some(folder) = folder else {
        return eprintln!("kernels: run by runtime/kernels/benches/kernels.py");
    };
    let patches = read(&folder, "patches.f32");
    let bank = read(&folder, "bank.f32");
    let planes = read(&folder, "planes.f32");
    let banks = [Precision::F32, Precision::F16, Precision::Int8].map(|precision| PackedBank::new(&bank, DIM, precision));
    let patch_matrix = Array2::from_shape_vec((patches.len() / DIM, DIM), patches.clone()).unwrap();
    let bank_matrix = Array2::from_shape_vec((bank.len() / DIM, DIM), bank).unwrap();
    let grid = Array3::from_shape_vec((CLASSES, GRID, GRID), planes.clone()).unwrap();

    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        // The kernel counts processor time in ticks of some milliseconds: what is shorter is repeated.
        let repeats = if words[0] == "mask" && words[1] != "ndarray" { 50 } else { 1 };
        let before = cpu_ms();
        (1..repeats).for_each(|_| {
            std::hint::black_box(mask(find(words[1]), &planes));
        });
        let sum: u64 = match words[..] {
            ["product", "ndarray"] => u64::from(patch_matrix.dot(&bank_matrix.t())[(0, 0)].to_bits()),
            ["scan", "ndarray"] => {
                let logits = patch_matrix.dot(&bank_matrix.t()) * SCALE;
                let (_, words) = best_of_lanes(&logits, Axis(1));
                let (_, _) = best_of_lanes(&logits, Axis(0));
                words.iter().map(|word| *word as u64).sum()
            }
            ["scan", set, precision] => {
                let bank = banks.iter().find(|bank| format!("{:?}", bank.precision()).eq_ignore_ascii_case(precision)).unwrap();
                scan(find(set), &patches, bank)
            }
            ["mask", "ndarray"] => mask_ndarray(&grid),
            ["mask", set] => mask(find(set), &planes),
            _ => panic!("expected a task, found {line:?}"),
        };
        println!("{}\t{sum}", (cpu_ms() - before) / f64::from(repeats));
        std::io::stdout().flush().unwrap();
    }
}

fn read(folder: &str, name: &str) -> Vec<f32> {
    let bytes = std::fs::read(std::path::Path::new(folder).join(name)).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn find(name: &str) -> &'static Kernels {
    Kernels::all().into_iter().find(|set| set.name() == name).unwrap_or_else(|| panic!("this processor lacks {name}"))
}

/// Processor time of this thread, which other programs on the machine do not lengthen as they do the clock's.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}

fn scan(set: &Kernels, patches: &[f32], bank: &PackedBank<'_>) -> u64 {
    let packed = set.pack_patches(patches, DIM, bank.precision());
    let mut scan = Scan::new(packed.count());
    let mut words = vec![WordBest::default(); bank.words()];
    set.scan(&Pairs { patches: &packed, bank, panels: 0..bank.panels(), scale: SCALE }, true, &mut scan, &mut words);
    std::hint::black_box(&words);
    scan.patches().iter().map(|patch| u64::from(patch.word)).sum()
}

fn best_of_lanes(logits: &Array2<f32>, axis: Axis) -> (Vec<f32>, Vec<usize>) {
    logits
        .lanes(axis)
        .into_iter()
        .map(|lane| {
            let best = lane.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, v)| if *v > best.1 { (i, *v) } else { best });
            (lane.iter().map(|v| (v - best.1).exp()).sum::<f32>(), best.0)
        })
        .unzip()
}

fn mask(set: &Kernels, planes: &[f32]) -> u64 {
    let planes = Planes::new(planes, CLASSES, GRID, GRID).unwrap();
    let mut labels = vec![0u8; FRAME.0 * FRAME.1];
    let columns = Columns::new(Tap::line(GRID, FRAME.1));
    set.upsample_argmax(&planes, &Tap::line(GRID, FRAME.0), &columns, &mut Scratch::default(), &mut labels);
    labels.iter().map(|label| u64::from(*label)).sum()
}

/// The plain way: a map of the frame's size for each class, then the largest of them at each pixel.
fn mask_ndarray(grid: &Array3<f32>) -> u64 {
    let (height, width) = FRAME;
    let mut maps = Array3::<f32>::zeros((CLASSES, height, width));
    for (plane, mut map) in grid.outer_iter().zip(maps.outer_iter_mut()) {
        let mut wide = Array2::<f32>::zeros((GRID, width));
        for (mut column, tap) in wide.columns_mut().into_iter().zip(Tap::line(GRID, width)) {
            let (lo, hi) = (plane.column(tap.lo as usize), plane.column(tap.hi as usize));
            Zip::from(&mut column).and(lo).and(hi).for_each(|out, lo, hi| *out = lo * (1.0 - tap.weight) + hi * tap.weight);
        }
        for (mut row, tap) in map.rows_mut().into_iter().zip(Tap::line(GRID, height)) {
            let (lo, hi) = (wide.row(tap.lo as usize), wide.row(tap.hi as usize));
            Zip::from(&mut row).and(lo).and(hi).for_each(|out, lo, hi| *out = lo * (1.0 - tap.weight) + hi * tap.weight);
        }
    }
    let mut labels = Array2::<u8>::zeros((height, width));
    let mut best = maps.index_axis(Axis(0), 0).to_owned();
    for (class, map) in maps.outer_iter().enumerate().skip(1) {
        Zip::from(&mut labels).and(&mut best).and(map).for_each(|label, best, value| {
            if *value > *best {
                *best = *value;
                *label = class as u8;
            }
        });
    }
    labels.iter().map(|label| u64::from(*label)).sum()
}
