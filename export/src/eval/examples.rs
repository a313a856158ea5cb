//! Words that are shown against words that are typed: each class of labelled pictures is looked for alone, by its name, by boxes of other
//! pictures, and by both.
//!
//! A class's examples are boxes around its largest region in the first pictures that hold it, as a person would draw them; those pictures
//! are left out of what it is measured on. What is measured is IoU against everything else, at the model's own threshold, over the pixels
//! of every fourth row and column.

use edge_seg_model::{Background, Class, Encoded, Example, Frame, Session, WordBank, region};
use rayon::prelude::*;

use super::classes::View;
use super::left_out::{LeftOut, split_left_out, unless_all};
use super::pictures::{Pair, read_pair};
use crate::Result;

/// Rows and columns of pixels that are counted.
const STEP: usize = 4;
/// A region must have so much of its picture, in thousandths, to be an example: a person would not draw a box around less.
const LEAST_PER_MILLE: u64 = 5;
/// A class is measured if so many pictures beside its examples hold it.
const LEAST_PICTURES: usize = 4;

/// How a class is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// By its name and the other words of its class.
    pub text: bool,
    /// By so many examples.
    pub examples: usize,
}

/// What was found by one way.
#[derive(Debug, Clone, PartialEq)]
pub struct WayResult {
    /// The way.
    pub way: Way,
    /// Each measured class's IoU, by its place in the view.
    pub ious: Vec<(usize, f64)>,
}

impl WayResult {
    /// The mean over the classes; none without one.
    pub fn miou(&self) -> Option<f64> {
        (!self.ious.is_empty()).then(|| self.ious.iter().map(|(_, iou)| iou).sum::<f64>() / self.ious.len() as f64)
    }
}

struct Looked {
    encoded: Encoded,
    truth: Vec<Option<u16>>, // [height / STEP, width / STEP]
    /// For each class that has a region large enough, its box.
    boxes: Vec<(u16, [u32; 4])>,
    held: Vec<bool>, // [1 + classes]
}

/// Measures every way on all pictures; `done` is called after each picture is embedded. Pictures that are left out, since they or their
/// labels cannot be read, are given back as well.
///
/// # Errors
/// The first picture's that cannot be embedded, or if none can be read.
pub fn evaluate(
    session: &Session,
    view: &View,
    pairs: &[Pair],
    ways: &[Way],
    done: impl Fn() + Sync,
) -> Result<(Vec<WayResult>, Vec<LeftOut>)> {
    let look = |pair: &Pair| {
        let looked = match read_pair(pair, view) {
            Ok((frame, labels)) => Ok(look(session, view, &frame, &labels)?),
            Err(left_out) => Err(left_out),
        };
        done();
        Ok(looked)
    };
    let all: Vec<Result<Looked, LeftOut>> = pairs.par_iter().map(look).collect::<Result<_>>()?;
    let (looked, left_out) = split_left_out(all);
    let left_out = unless_all(&looked, left_out)?;
    let most = ways.iter().map(|way| way.examples).max().unwrap_or(0);
    let classes: Vec<(usize, Vec<usize>)> = (0..view.classes.len())
        .filter_map(|class| {
            let label = class as u16 + 1;
            let mut shown: Vec<usize> = (0..looked.len()).filter(|at| looked[*at].boxes.iter().any(|(l, _)| *l == label)).collect();
            shown.truncate(most);
            let others = looked.iter().enumerate().filter(|(at, one)| one.held[usize::from(label)] && !shown.contains(at)).count();
            (shown.len() == most && others >= LEAST_PICTURES).then_some((class, shown))
        })
        .collect();
    let results = ways
        .iter()
        .map(|way| {
            let one = |(class, shown): &(usize, Vec<usize>)| Ok((*class, iou(session, view, &looked, *class, shown, *way)?));
            Ok(WayResult { way: *way, ious: classes.par_iter().map(one).collect::<Result<_>>()? })
        })
        .collect::<Result<_>>()?;
    Ok((results, left_out))
}

fn look(session: &Session, view: &View, frame: &Frame, labels: &[Option<u16>]) -> Result<Looked> {
    let (width, height) = frame.pixels.dimensions();
    let encoded = session.encode(frame)?;
    let known: Vec<u16> = labels.iter().map(|label| label.unwrap_or(0)).collect();
    let mut boxes: Vec<(u16, u64, [u32; 4])> = Vec::new();
    let least = u64::from(width) * u64::from(height) * LEAST_PER_MILLE / 1000;
    for (label, mask) in region::regions(&known, width as usize, least.max(1)) {
        let (area, bounds) = (mask.area(), mask.bounds_px());
        match boxes.iter_mut().find(|(l, ..)| *l == label) {
            Some(largest) if largest.1 < area => *largest = (label, area, bounds),
            Some(_) => {}
            None => boxes.push((label, area, bounds)),
        }
    }
    let mut held = vec![false; view.classes.len() + 1];
    known.iter().for_each(|label| held[usize::from(*label)] = true);
    let rows = labels.chunks_exact(width as usize).step_by(STEP);
    let truth = rows.flat_map(|row| row.iter().step_by(STEP).copied()).collect();
    Ok(Looked { encoded, truth, boxes: boxes.into_iter().map(|(label, _, bounds)| (label, bounds)).collect(), held })
}

fn iou(session: &Session, view: &View, looked: &[Looked], class: usize, shown: &[usize], way: Way) -> Result<f64> {
    let label = class as u16 + 1;
    let mut examples = Vec::new();
    for at in &shown[..way.examples] {
        let bounds = looked[*at].boxes.iter().find(|(l, _)| *l == label).map(|(_, bounds)| *bounds);
        examples.extend(bounds.map(|bounds| Example::of(session, &looked[*at].encoded, bounds)).transpose()?);
    }
    let mut named = view.classes[class].clone();
    if !way.text {
        named = Class::new(named.name, Vec::new());
    }
    let bank = session.word_bank_with(&[named], &[], &[examples])?;
    let mut counts = [0u64; 2];
    for (_, one) in looked.iter().enumerate().filter(|(at, _)| !shown.contains(at)) {
        let [both, either] = overlap(session, &bank, one, label)?;
        counts[0] += both;
        counts[1] += either;
    }
    Ok(counts[0] as f64 / counts[1].max(1) as f64)
}

/// Pixels of the class that were found, and pixels of it or found.
fn overlap(session: &Session, bank: &WordBank, one: &Looked, label: u16) -> Result<[u64; 2]> {
    let manifest = session.bundle().manifest();
    let scores = session.score(&one.encoded, bank, Background::Threshold(manifest.background))?;
    let (area, cols) = (scores.rows() * scores.cols(), scores.cols());
    let margins: Vec<f32> =
        scores.planes()[area..2 * area].iter().zip(&scores.planes()[..area]).map(|(word, front)| word - front).collect();
    let (width, height) = one.encoded.placement.frame_px;
    let columns = one.encoded.placement.column_taps(width as usize);
    let rows = one.encoded.placement.row_taps(height as usize);
    let mut truths = one.truth.iter();
    let mut counts = [0u64; 2];
    for row in rows.iter().step_by(STEP) {
        for column in columns.iter().step_by(STEP) {
            let Some(Some(truth)) = truths.next() else { continue };
            let at = |r: u32, c: u32| margins[r as usize * cols + c as usize];
            let between = |r: u32| at(r, column.lo) * (1.0 - column.weight) + at(r, column.hi) * column.weight;
            let found = between(row.lo) * (1.0 - row.weight) + between(row.hi) * row.weight > 0.0;
            let is = *truth == label;
            counts[0] += u64::from(found && is);
            counts[1] += u64::from(found || is);
        }
    }
    Ok(counts)
}
