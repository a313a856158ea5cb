//! Upsampling with the arg-maximum, by geometry instead of pixel by pixel. It needs no instruction set.

use crate::operands::{ClassSegment, Columns, Label, Planes, Scratch, Tap};

/// As `Kernels::upsample_argmax`, by geometry instead of pixel by pixel.
///
/// Between four cells every class is bilinear, so it never leaves the range of its four corners: a class whose largest corner lies
/// under another's smallest can win nowhere there. What is left, mostly one or two classes, is linear along a row, and the largest of
/// linear functions is convex: a class that wins at both ends of a stretch wins all of it.
pub(crate) fn upsample_argmax<L: Label>(planes: &Planes<'_>, rows: &[Tap], columns: &Columns, scratch: &mut Scratch, labels: &mut [L]) {
    let width = columns.len();
    if width == 0 {
        return;
    }
    let Scratch { rivals, ends, heights, lines, .. } = scratch;
    let mut lines_of_labels = labels.chunks_exact_mut(width);
    for band in rows.chunk_by(|a, b| (a.lo, a.hi) == (b.lo, b.hi)) {
        rivals.clear();
        ends.clear();
        lines.clear();
        // All that any picture can need, so that a later one takes no memory.
        rivals.reserve(planes.classes() * columns.spans.len());
        ends.reserve(columns.spans.len());
        lines.reserve(planes.classes());
        for span in &columns.spans {
            find_rivals(planes, band[0], columns.taps()[span.start], heights, rivals);
            ends.push(rivals.len());
        }
        for (row, labels) in band.iter().zip(&mut lines_of_labels) {
            let mut start = 0;
            for (span, end) in columns.spans.iter().zip(ends.iter()) {
                let taps = &columns.taps()[span.clone()];
                let labels = &mut labels[span.clone()];
                match &rivals[start..*end] {
                    [] => labels.fill(L::from_index(0)),
                    [class] => labels.fill(L::from_index(*class as usize)),
                    classes => {
                        let (lo, hi) = (taps[0].lo as usize, taps[0].hi as usize);
                        let at = |class: u32, col| {
                            let class = class as usize;
                            row.blend(planes.at(class, row.lo as usize, col), planes.at(class, row.hi as usize, col))
                        };
                        lines.clear();
                        lines.extend(classes.iter().map(|&class| ClassSegment { class, lo: at(class, lo), hi: at(class, hi) }));
                        let floor = lines.iter().map(|line| line.lo.min(line.hi)).fold(f32::NEG_INFINITY, f32::max);
                        lines.retain(|line| line.lo.max(line.hi) >= floor);
                        let (first, last) = (winner(lines, taps[0]), winner(lines, taps[taps.len() - 1]));
                        fill(lines, taps, labels, first, last);
                    }
                }
                start = *end;
            }
        }
    }
}

/// Appends the classes that can win somewhere between the four cells of `row` and `column`.
fn find_rivals(planes: &Planes<'_>, row: Tap, column: Tap, heights: &mut Vec<f32>, rivals: &mut Vec<u32>) {
    let mut highest_floor = f32::NEG_INFINITY;
    heights.clear();
    for class in 0..planes.classes() {
        let [a, b] = [row.lo, row.hi].map(|row| planes.at(class, row as usize, column.lo as usize));
        let [c, d] = [row.lo, row.hi].map(|row| planes.at(class, row as usize, column.hi as usize));
        let finite = a.is_finite() && b.is_finite() && c.is_finite() && d.is_finite();
        heights.push(if finite { a.max(b).max(c.max(d)) } else { f32::NEG_INFINITY });
        if finite {
            highest_floor = highest_floor.max(a.min(b).min(c.min(d)));
        }
    }
    let classes = heights.iter().enumerate();
    rivals.extend(classes.filter(|(_, height)| **height >= highest_floor && **height > f32::NEG_INFINITY).map(|(class, _)| class as u32));
}

/// The line with the largest value at `tap`, the first one on a tie.
fn winner(lines: &[ClassSegment], tap: Tap) -> ClassSegment {
    let (mut best, mut largest) = (0, f32::NEG_INFINITY);
    for (index, line) in lines.iter().enumerate() {
        let value = tap.blend(line.lo, line.hi);
        best = if value > largest { index } else { best };
        largest = largest.max(value);
    }
    lines[best]
}

/// Labels a stretch whose first pixel `first` wins, and the last one `last`.
fn fill<L: Label>(lines: &[ClassSegment], taps: &[Tap], labels: &mut [L], first: ClassSegment, last: ClassSegment) {
    let label = |line: ClassSegment| L::from_index(line.class as usize);
    if first.class == last.class || taps.len() < 2 {
        labels.fill(label(first));
        return;
    }
    let last_wins = |tap: &Tap| {
        let (old, new) = (tap.blend(first.lo, first.hi), tap.blend(last.lo, last.hi));
        new > old || new == old && last.class < first.class
    };
    // Both ends are decided; the border lies between them.
    let border = 1 + taps[1..taps.len() - 1].partition_point(|tap| !last_wins(tap));
    let (left, right) = labels.split_at_mut(border);
    let (before, after) = if lines.len() == 2 { (first, last) } else { (winner(lines, taps[border - 1]), winner(lines, taps[border])) };
    fill(lines, &taps[..border], left, first, before);
    fill(lines, &taps[border..], right, after, last);
}
