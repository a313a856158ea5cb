use super::{LANES, Random, reference};
use crate::{Columns, Kernels, Planes, Scratch, Tap};

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
