//! Two runs on the same pictures: the difference of their mIoU, how sure it is, and where it comes from.

use std::collections::HashMap;

use serde::Serialize;

use super::log::Settings;
use super::metric::Confusion;
use super::segmentation::PictureCounts;
use crate::{Error, Result};

/// Samples of the bootstrap.
const SAMPLES: usize = 1000;

/// How run B differs from run A. Differences are B - A.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Pictures in both runs.
    pub pictures: usize,
    /// mIoU of A and B over those pictures.
    pub miou: [f64; 2],
    /// Share of labelled pixels that A and B got right.
    pub pixel_accuracy: [f64; 2],
    /// Difference of mIoU.
    pub difference: f64,
    /// Its 95 % interval: percentiles of a paired bootstrap over pictures (Efron 1979), 1,000 samples from a fixed seed.
    pub interval: [f64; 2],
    /// Pictures by the change of their share of right pixels, largest first.
    pub changed: Vec<Change>,
}

/// A picture that changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// File name without its ending.
    pub picture: String,
    /// Share of right pixels in A and B.
    pub pixel_accuracy: [f64; 2],
}

/// Compares variant `runs[0]` of record `a` with variant `runs[1]` of record `b`. Their protocols may differ (size, scales, windows) if
/// `any_protocol` says so.
///
/// # Errors
/// [`Error::Option`] if they differ in more than that, have no such variant, or share no picture.
pub fn compare(
    a: &(Settings, Vec<PictureCounts>),
    b: &(Settings, Vec<PictureCounts>),
    runs: [usize; 2],
    any_protocol: bool,
) -> Result<Comparison> {
    let protocol = |s: &Settings| (!any_protocol).then(|| s.protocol.clone());
    let same = |s: &Settings| (s.view.clone(), s.background_class, s.classes.clone(), protocol(s));
    let wrong = |expected: &str, found: String| Error::Option { option: "records".into(), expected: expected.into(), found };
    if same(&a.0) != same(&b.0) {
        return Err(wrong(
            "two runs that differ in the model or the variant alone",
            format!("{:?} and {:?}", (&a.0.view, &a.0.protocol), (&b.0.view, &b.0.protocol)),
        ));
    }
    for (record, run) in [a, b].into_iter().zip(runs) {
        if run >= record.0.variants.len() {
            return Err(wrong(&format!("a variant of {}", record.0.variants.join("; ")), format!("number {}", run + 1)));
        }
    }
    let of_b: HashMap<&str, &PictureCounts> = b.1.iter().map(|p| (p.picture.as_str(), p)).collect();
    let pairs: Vec<(&PictureCounts, &PictureCounts)> = a.1.iter().filter_map(|p| Some((p, *of_b.get(p.picture.as_str())?))).collect();
    if pairs.is_empty() {
        return Err(wrong("pictures in both", "none".into()));
    }
    let classes = a.0.classes.len();
    let tables: Vec<[Confusion; 2]> = pairs.iter().map(|(p, q)| [p.confusion(runs[0], classes), q.confusion(runs[1], classes)]).collect();
    let measure = |picked: &mut dyn Iterator<Item = usize>| {
        let mut sums = [Confusion::new(classes), Confusion::new(classes)];
        for i in picked {
            sums[0].merge(&tables[i][0]);
            sums[1].merge(&tables[i][1]);
        }
        sums.map(|s| s.measures(a.0.background_class))
    };
    let whole = measure(&mut (0..pairs.len()));
    let miou = |m: &super::Measures| m.miou.unwrap_or(0.0);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut differences: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            let picked: Vec<usize> = (0..pairs.len()).map(|_| random.below(pairs.len())).collect();
            let sample = measure(&mut picked.into_iter());
            miou(&sample[1]) - miou(&sample[0])
        })
        .collect();
    differences.sort_by(f64::total_cmp);
    let mut changed: Vec<Change> = pairs
        .iter()
        .map(|(p, q)| Change { picture: p.picture.clone(), pixel_accuracy: [p.pixel_accuracy(runs[0]), q.pixel_accuracy(runs[1])] })
        .collect();
    let size = |c: &Change| (c.pixel_accuracy[1] - c.pixel_accuracy[0]).abs();
    changed.sort_by(|x, y| size(y).total_cmp(&size(x)).then_with(|| x.picture.cmp(&y.picture)));
    Ok(Comparison {
        pictures: pairs.len(),
        miou: [miou(&whole[0]), miou(&whole[1])],
        pixel_accuracy: [whole[0].pixel_accuracy.unwrap_or(0.0), whole[1].pixel_accuracy.unwrap_or(0.0)],
        difference: miou(&whole[1]) - miou(&whole[0]),
        interval: [differences[SAMPLES / 40], differences[SAMPLES - 1 - SAMPLES / 40]],
        changed,
    })
}

/// xorshift64* (Vigna 2016): the same samples on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((u128::from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(model: &str, right: impl Fn(u64) -> u64) -> (Settings, Vec<PictureCounts>) {
        let settings = Settings {
            record: 2,
            model: model.into(),
            digest: model.into(),
            view: "v".into(),
            background_class: false,
            classes: vec!["a".into(), "b".into()],
            variants: vec!["v".into()],
            protocol: String::new(),
        };
        let picture = |i: u64| PictureCounts {
            picture: format!("p{i}"),
            runs: vec![vec![(1, 1, right(i)), (1, 2, 100 - right(i)), (2, 2, 100)]],
            flicker: Vec::new(),
            encode_ms: 0.0,
        };
        (settings, (0..20).map(picture).collect())
    }

    #[test]
    fn a_run_does_not_differ_from_itself() {
        let a = run("a", |i| 50 + i);
        let found = compare(&a, &a, [0, 0], false).unwrap();
        assert_eq!((found.difference, found.interval), (0.0, [0.0, 0.0]));
    }

    #[test]
    fn a_better_run_is_surely_better_and_its_pictures_are_named() {
        let (a, b) = (run("a", |_| 50), run("b", |i| if i == 7 { 100 } else { 60 + i % 3 }));
        let found = compare(&a, &b, [0, 0], false).unwrap();
        assert!(
            found.difference > 0.0
                && found.interval[0] > 0.0
                && found.interval[0] <= found.difference
                && found.difference <= found.interval[1]
        );
        assert_eq!(found.changed[0].picture, "p7");
        assert_eq!(compare(&b, &a, [0, 0], false).unwrap().difference, -found.difference);
    }

    #[test]
    fn runs_of_another_protocol_are_not_compared() {
        let (a, mut b) = (run("a", |_| 50), run("b", |_| 50));
        b.0.protocol = "flip".into();
        assert!(compare(&a, &b, [0, 0], false).is_err());
        assert!(compare(&a, &b, [0, 0], true).is_ok(), "unless that is what is asked for");
        let mut c = run("c", |_| 50);
        c.1.clear();
        assert!(compare(&a, &c, [0, 0], true).is_err());
        assert!(compare(&a, &a, [0, 1], true).is_err(), "there is one variant");
    }
}
