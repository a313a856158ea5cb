//! Masks as other tools read them: cutting regions out of a label map, run lengths as COCO has them, outlines.
//!
//! ```
//! use edge_seg_model::region::regions;
//! let found = regions(&[1, 1, 0, 2], 2, 1); // two pixels wide
//! assert_eq!((found[0].0, found[0].1.bounds_px()), (1, [0, 0, 2, 1]));
//! ```

use std::collections::HashMap;

use super::LabelMap;
use crate::MAX_CLASSES;

/// A mask inside its bounding box.
#[derive(Clone, PartialEq, Eq)]
pub struct Mask {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    bits: Vec<bool>, // [height, width]
}

/// Every connected region (by edges, not corners) of every label but 0 with `least` pixels or more: by label, then in reading order
/// of their first pixels. `labels` is `[height, width]`; of no width there are none.
pub fn regions(labels: &[u16], width: usize, least: u64) -> Vec<(u16, Mask)> {
    if width == 0 {
        return Vec::new();
    }
    let mut seen = vec![false; labels.len()];
    let mut found = Vec::new();
    let mut open = Vec::new();
    for start in 0..labels.len() {
        let label = labels[start];
        if label == 0 || seen[start] {
            continue;
        }
        let mut pixels = Vec::new();
        seen[start] = true;
        open.push(start);
        while let Some(at) = open.pop() {
            pixels.push(at);
            let x = at % width;
            let neighbours = [(x > 0).then(|| at - 1), (x + 1 < width).then(|| at + 1), at.checked_sub(width), at.checked_add(width)];
            for next in neighbours.into_iter().flatten().filter(|n| *n < labels.len()) {
                if labels[next] == label && !seen[next] {
                    seen[next] = true;
                    open.push(next);
                }
            }
        }
        if pixels.len() as u64 >= least {
            found.push((label, Mask::of_pixels(&pixels, width)));
        }
    }
    found.sort_by_key(|(label, _)| *label);
    found
}

/// Compressed run lengths as in COCO's `maskApi.c` (`rleToString`): columns from left to right, zeros first, each count less the one
/// two before it, five bits a character.
pub fn compress_runs(runs: &[u64]) -> String {
    let mut text = String::new();
    for (i, &run) in runs.iter().enumerate() {
        let mut rest = if i > 2 { run as i64 - runs[i - 2] as i64 } else { run as i64 };
        loop {
            let mut bits = (rest & 0x1f) as u8;
            rest >>= 5;
            let more = if bits & 0x10 != 0 { rest != -1 } else { rest != 0 };
            bits |= u8::from(more) << 5;
            text.push(char::from(bits + 48));
            if !more {
                break;
            }
        }
    }
    text
}

/// The whole mask of every class but the background as compressed run lengths ([`compress_runs`]), in one pass over the map; labels that
/// the map lacks count as background, and more classes than labels can name ([`MAX_CLASSES`]) are left out. `[classes]`
pub fn class_counts(map: &LabelMap, classes: usize) -> Vec<String> {
    #[derive(Default, Clone)]
    struct Open {
        runs: Vec<u64>,
        end: u64,
    }
    let mut open = vec![Open::default(); classes.min(MAX_CLASSES)];
    let (width, height) = (map.width as usize, u64::from(map.height));
    // Whatever size a map claims, the work is that of the labels that it has.
    let columns = width.min(map.labels.len());
    let rows = map.labels.len().div_ceil(width.max(1)).min(map.height as usize);
    let at_pixel = |x: usize, y: usize| map.labels.get(y * width + x).copied().unwrap_or(0);
    let mut at = 0;
    for x in 0..columns {
        let mut y = 0;
        while y < rows {
            let (label, first) = (at_pixel(x, y), y);
            while y < rows && at_pixel(x, y) == label {
                y += 1;
            }
            let length = (y - first) as u64;
            if let Some(class) = usize::from(label).checked_sub(1).and_then(|i| open.get_mut(i)) {
                match class.runs.last_mut() {
                    // A run that reaches a column's foot may go on at the head of the next.
                    Some(last) if class.end == at => *last += length,
                    _ => class.runs.extend([at - class.end, length]),
                }
                class.end = at + length;
            }
            at += length;
        }
        at += height - rows as u64;
    }
    at += (width - columns) as u64 * height;
    for class in &mut open {
        if class.end < at {
            class.runs.push(at - class.end);
        }
    }
    open.iter().map(|class| compress_runs(&class.runs)).collect()
}

/// The outlines of every class but the background, one for each connected region of `least` pixels or more, holes included
/// ([`Mask::contour`]). More classes than labels can name ([`MAX_CLASSES`]) are left out. `[classes][regions]`
pub fn class_outlines(map: &LabelMap, classes: usize, least: u64, tolerance_px: f64) -> Vec<Vec<Vec<[f64; 2]>>> {
    let mut outlines = vec![Vec::new(); classes.min(MAX_CLASSES)];
    for (label, mask) in regions(&map.labels, map.width as usize, least) {
        if let Some(class) = outlines.get_mut(usize::from(label) - 1) {
            class.push(mask.contour(tolerance_px));
        }
    }
    outlines
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask {{ {} pixels in {:?} }}", self.area(), self.bounds_px())
    }
}

impl Mask {
    fn of_pixels(pixels: &[usize], width: usize) -> Self {
        let bound = |of: fn(usize, usize) -> usize| {
            let values = pixels.iter().map(|p| of(*p, width));
            values.fold((usize::MAX, 0), |(low, high), v| (low.min(v), high.max(v)))
        };
        let ((left, right), (top, bottom)) = (bound(|p, w| p % w), bound(|p, w| p / w));
        let (wide, high) = (right - left + 1, bottom - top + 1);
        let mut bits = vec![false; wide * high];
        pixels.iter().for_each(|p| bits[(p / width - top) * wide + p % width - left] = true);
        Self { left, top, width: wide, height: high, bits }
    }

    /// Whether a pixel of the picture lies in the mask.
    pub fn contains(&self, x: usize, y: usize) -> bool {
        let (dx, dy) = (x.wrapping_sub(self.left), y.wrapping_sub(self.top));
        dx < self.width && dy < self.height && self.bits[dy * self.width + dx]
    }

    /// The box: left, top, width, height.
    pub fn bounds_px(&self) -> [u32; 4] {
        [self.left, self.top, self.width, self.height].map(|v| v as u32)
    }

    /// Number of pixels.
    pub fn area(&self) -> u64 {
        self.bits.iter().filter(|b| **b).count() as u64
    }

    /// Run lengths inside the box, row by row, zeros first.
    pub fn rows_rle(&self) -> Vec<u32> {
        let (mut runs, mut inside) = (vec![0], false);
        for bit in &self.bits {
            if *bit != inside {
                inside = !inside;
                runs.push(0);
            }
            *runs.last_mut().expect("one run at least") += 1;
        }
        runs
    }

    /// Compressed run lengths of the mask in a picture of this size, as [`compress_runs`] writes them.
    pub fn counts(&self, width: usize, height: usize) -> String {
        let mut runs = vec![0];
        let mut inside = false;
        for x in 0..width {
            for y in 0..height {
                if self.contains(x, y) != inside {
                    inside = !inside;
                    runs.push(0);
                }
                *runs.last_mut().expect("one run at least") += 1;
            }
        }
        compress_runs(&runs)
    }

    /// The inverse of [`Self::counts`]; `None` if the text is not that of a mask of this size with pixels in it.
    pub fn from_counts(text: &str, width: usize, height: usize) -> Option<Self> {
        let mut runs: Vec<i64> = Vec::new();
        let mut bytes = text.bytes();
        while let Some(first) = bytes.next() {
            let (mut byte, mut value, mut shift) = (first, 0i64, 0u32);
            loop {
                let bits = i64::from(byte.checked_sub(48).filter(|b| *b < 64)?);
                value |= (bits & 0x1f) << shift;
                shift += 5;
                if bits & 0x20 == 0 {
                    if bits & 0x10 != 0 {
                        value |= -1i64 << shift;
                    }
                    break;
                }
                if shift > 40 {
                    return None;
                }
                byte = bytes.next()?;
            }
            if runs.len() > 2 {
                value = value.checked_add(runs[runs.len() - 2])?;
            }
            runs.push(value);
        }
        let total = runs.iter().try_fold(0usize, |sum, run| sum.checked_add(usize::try_from(*run).ok()?))?;
        if Some(total) != width.checked_mul(height) {
            return None;
        }
        let (mut at, mut pixels) = (0usize, Vec::new());
        for (i, run) in runs.iter().enumerate() {
            if i % 2 == 1 {
                pixels.extend((at..at + *run as usize).map(|p| (p % height) * width + p / height));
            }
            at += *run as usize;
        }
        (!pixels.is_empty()).then(|| Self::of_pixels(&pixels, width))
    }

    /// The outer outline, clockwise, corner by corner along pixel edges; holes are not in it. Points that lie within
    /// `tolerance_px` of the line between their neighbours are left out (Douglas and Peucker 1973).
    pub fn outline(&self, tolerance_px: f64) -> Vec<[u32; 2]> {
        let inside = |x: i64, y: i64| x >= 0 && y >= 0 && self.contains(x as usize, y as usize);
        let first = self.bits.iter().position(|b| *b).expect("a mask has pixels");
        let start = ((self.left + first % self.width) as i64, (self.top + first / self.width) as i64);
        // Right, down, left, up; the mask lies on the right hand.
        const STEPS: [(i64, i64); 4] = [(1, 0), (0, 1), (-1, 0), (0, -1)];
        let right_of = |(x, y): (i64, i64), heading: usize| match heading {
            0 => (x, y),
            1 => (x - 1, y),
            2 => (x - 1, y - 1),
            _ => (x, y - 1),
        };
        let left_of = |(x, y): (i64, i64), heading: usize| match heading {
            0 => (x, y - 1),
            1 => (x, y),
            2 => (x - 1, y),
            _ => (x - 1, y - 1),
        };
        let (mut at, mut heading) = (start, 0);
        let mut corners = Vec::new();
        loop {
            corners.push([at.0 as u32, at.1 as u32]);
            // Straight on while the mask stays on the right and nothing of it comes up on the left.
            loop {
                at = (at.0 + STEPS[heading].0, at.1 + STEPS[heading].1);
                let (right, left) = (right_of(at, heading), left_of(at, heading));
                if !inside(right.0, right.1) {
                    heading = (heading + 1) % 4;
                    break;
                }
                if inside(left.0, left.1) {
                    heading = (heading + 3) % 4;
                    break;
                }
            }
            if at == start && heading == 0 {
                break;
            }
        }
        simplify(corners, &[], tolerance_px, |corner| corner.map(f64::from))
    }

    /// One closed line that gives the mask back, holes included, by every common rule of filling: pixels whose centres lie inside, and the
    /// rule of drawing programs, which cut coordinates down to whole pixels and paint the line itself.
    ///
    /// It runs through the middles of the border pixels' outer edges, a tenth of a pixel inward; each hole hangs on a seam that is walked
    /// both ways. Points that lie within `tolerance_px` of the line between their neighbours are left out; up to a quarter of a pixel no
    /// pixel's centre changes sides.
    pub fn contour(&self, tolerance_px: f64) -> Vec<[f64; 2]> {
        let rings = self.rings();
        // For each top edge of a pixel the ring that hangs there, and where it is entered.
        let mut hanging: HashMap<Edge, (usize, usize)> = HashMap::new();
        for (ring, edges) in rings.iter().enumerate().skip(1) {
            let lower_sides = edges.iter().enumerate().filter(|(_, edge)| edge.side == BOTTOM);
            let Some((entry, edge)) = lower_sides.min_by_key(|(_, edge)| (edge.y, edge.x)) else { continue };
            let mut y = edge.y;
            while self.holds(edge.x, y - 1) {
                y -= 1;
            }
            hanging.insert(Edge { x: edge.x, y, side: TOP }, (ring, entry));
        }
        let (mut points, mut open) = (Vec::new(), vec![(0, 0, rings[0].len(), None)]);
        // Ends of seams stay, or the way out and the way back would part, and seams run through the centres of pixels.
        let mut fixed = Vec::new();
        while let Some((ring, at, left, seam)) = open.pop() {
            if left == 0 {
                if let Some(back) = seam {
                    fixed.extend([points.len() - 1, points.len()]);
                    points.push(back);
                }
                continue;
            }
            let edge = rings[ring][at % rings[ring].len()];
            let point = self.middle(edge);
            points.push(point);
            open.push((ring, at + 1, left - 1, seam));
            if let Some((hole, entry)) = hanging.remove(&edge) {
                fixed.extend([points.len() - 1, points.len()]);
                open.push((hole, entry, rings[hole].len() + 1, Some(point)));
            }
        }
        simplify(points, &fixed, tolerance_px, |point| point)
    }

    /// Whether a pixel of the box lies in the mask.
    fn holds(&self, x: i64, y: i64) -> bool {
        x >= 0 && y >= 0 && (x as usize) < self.width && (y as usize) < self.height && self.bits[y as usize * self.width + x as usize]
    }

    /// The point in the middle of a pixel's edge, a little inside, in the picture's pixels.
    fn middle(&self, edge: Edge) -> [f64; 2] {
        const INWARD: f64 = 0.1;
        let [dx, dy] = [[0.5, INWARD], [1.0 - INWARD, 0.5], [0.5, 1.0 - INWARD], [INWARD, 0.5]][edge.side];
        [self.left as f64 + edge.x as f64 + dx, self.top as f64 + edge.y as f64 + dy]
    }

    /// The borders, edge by edge with the mask on the right hand: the outer one first, then those of holes.
    fn rings(&self) -> Vec<Vec<Edge>> {
        let (mut rings, mut seen) = (Vec::new(), vec![false; self.bits.len()]);
        for at in 0..self.bits.len() {
            let (x, y) = ((at % self.width) as i64, (at / self.width) as i64);
            if seen[at] || !self.holds(x, y) || self.holds(x, y - 1) {
                continue;
            }
            let start = Edge { x, y, side: TOP };
            let (mut ring, mut edge) = (Vec::new(), start);
            loop {
                if edge.side == TOP {
                    seen[edge.y as usize * self.width + edge.x as usize] = true;
                }
                ring.push(edge);
                // Right, down, left, up along the top, right, bottom and left edges.
                const STEPS: [(i64, i64); 4] = [(1, 0), (0, 1), (-1, 0), (0, -1)];
                let (ahead, leftward) = (STEPS[edge.side], STEPS[(edge.side + 3) % 4]);
                let next = (edge.x + ahead.0, edge.y + ahead.1);
                let beside = (next.0 + leftward.0, next.1 + leftward.1);
                edge = if !self.holds(next.0, next.1) {
                    Edge { side: (edge.side + 1) % 4, ..edge }
                } else if self.holds(beside.0, beside.1) {
                    Edge { x: beside.0, y: beside.1, side: (edge.side + 3) % 4 }
                } else {
                    Edge { x: next.0, y: next.1, side: edge.side }
                };
                if edge == start {
                    break;
                }
            }
            rings.push(ring);
        }
        rings
    }
}

const TOP: usize = 0;
const BOTTOM: usize = 2;

/// An edge of a pixel of the mask's box: top, right, bottom, left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Edge {
    x: i64,
    y: i64,
    side: usize,
}

/// Douglas and Peucker on a closed line, cut at its first point, the one farthest from it, and those that are `fixed`. One point more stays
/// at least, and those that stay are among those that stay at a lower tolerance.
fn simplify<P: Copy>(points: Vec<P>, fixed: &[usize], tolerance: f64, place: impl Fn(P) -> [f64; 2]) -> Vec<P> {
    if points.len() <= 4 || tolerance <= 0.0 {
        return points;
    }
    let distance = |a: P, b: P| (place(a)[0] - place(b)[0]).hypot(place(a)[1] - place(b)[1]);
    let far = (0..points.len()).max_by(|a, b| distance(points[0], points[*a]).total_cmp(&distance(points[0], points[*b]))).unwrap_or(0);
    let mut keep = vec![false; points.len() + 1];
    (keep[0], keep[far]) = (true, true);
    let at = |i: usize| place(points[i % points.len()]);
    keep[points.len()] = true;
    fixed.iter().for_each(|index| keep[*index] = true);
    let cuts: Vec<usize> = (0..=points.len()).filter(|i| keep[*i]).collect();
    let worst = |(low, high): (usize, usize)| {
        let off = |i: usize| (i, off_line(at(i), at(low), at(high)));
        (low + 1..high).map(off).max_by(|a, b| a.1.total_cmp(&b.1))
    };
    let spans = || cuts.windows(2).map(|ends| (ends[0], ends[1]));
    // What is cut at alone may be no more than a line there and back.
    if let Some((first, _)) = spans().filter_map(worst).max_by(|a, b| a.1.total_cmp(&b.1)) {
        keep[first] = true;
    }
    let mut open: Vec<_> = spans().collect();
    while let Some((low, high)) = open.pop() {
        if let Some((worst, _)) = worst((low, high)).filter(|(_, off)| *off > tolerance) {
            keep[worst] = true;
            open.extend([(low, worst), (worst, high)]);
        }
    }
    (0..points.len()).filter(|i| keep[*i]).map(|i| points[i]).collect()
}

/// How far a point is from the line between two others, not from the endless one: a spike along it is no point to leave out.
fn off_line(p: [f64; 2], a: [f64; 2], b: [f64; 2]) -> f64 {
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let length = dx.hypot(dy);
    let along = if length > 0.0 { (((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / (length * length)).clamp(0.0, 1.0) } else { 0.0 };
    (p[0] - a[0] - along * dx).hypot(p[1] - a[1] - along * dy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(rows: &[&str]) -> (Vec<u16>, usize) {
        (rows.iter().flat_map(|r| r.bytes().map(|b| u16::from(b - b'0'))).collect(), rows[0].len())
    }

    #[test]
    fn a_coarser_tolerance_gives_no_more_points() {
        const SIDE: usize = 48;
        let mut state = 11u32;
        let mut next = |n: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % n
        };
        let mut maps: Vec<Vec<u16>> = Vec::new();
        let mut draw = |inside: &dyn Fn(i64, i64) -> bool| {
            maps.push((0..SIDE * SIDE).map(|i| u16::from(inside((i % SIDE) as i64, (i / SIDE) as i64))).collect());
        };
        for radius in [1, 2, 3, 5, 9, 16, 23] {
            draw(&|x, y| (x - 24).pow(2) + (y - 24).pow(2) <= radius * radius);
            draw(&|x, y| ((radius * radius / 4)..=radius * radius).contains(&((x - 24).pow(2) + (y - 24).pow(2))));
        }
        for thick in [1, 2, 3, 6] {
            draw(&|x, y| (0..thick).contains(&(y - x / 3)));
            draw(&|x, y| (0..thick).contains(&(y - 20)) || (x == 30 && (10..30).contains(&y)));
        }
        for blobs in 1..30 {
            let discs: Vec<[i64; 3]> =
                (0..blobs).map(|_| [next(SIDE as u32).into(), next(SIDE as u32).into(), (1 + next(7)).into()]).collect();
            draw(&|x, y| discs.iter().any(|[cx, cy, r]| (x - cx).pow(2) + (y - cy).pow(2) <= r * r));
        }
        let area = |points: &[[f64; 2]]| {
            let pairs = points.iter().zip(points.iter().cycle().skip(1));
            pairs.map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum::<f64>().abs() / 2.0
        };
        let mut fewest = usize::MAX;
        for map in &maps {
            for (_, mask) in regions(map, SIDE, 1) {
                let of: [&dyn Fn(f64) -> Vec<[f64; 2]>; 2] =
                    [&|t| mask.outline(t).into_iter().map(|corner| corner.map(f64::from)).collect(), &|t| mask.contour(t)];
                for line in of {
                    let mut before: Option<Vec<[f64; 2]>> = None;
                    for tolerance in [0.0, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 13.0, 30.0, 100.0, 1e9, f64::INFINITY] {
                        let points = line(tolerance);
                        assert!(points.len() >= 3 && area(&points) > 0.0, "{tolerance}: {points:?}");
                        if let Some(before) = before.replace(points.clone()) {
                            assert!(points.iter().all(|point| before.contains(point)), "{tolerance}: {points:?} of {before:?}");
                            assert!(points.len() <= before.len(), "{tolerance}: {} points after {}", points.len(), before.len());
                        }
                        fewest = fewest.min(points.len());
                    }
                }
            }
        }
        assert_eq!(fewest, 3, "a tolerance beyond the mask was among them");
    }

    #[test]
    fn regions_touch_by_edges() {
        let (labels, width) = map(&["1102", "0110", "2001"]);
        let found = regions(&labels, width, 1);
        assert_eq!(found.iter().map(|(l, m)| (*l, m.area())).collect::<Vec<_>>(), [(1, 4), (1, 1), (2, 1), (2, 1)]);
        assert_eq!(found[0].1.bounds_px(), [0, 0, 3, 2]);
        assert_eq!(regions(&labels, width, 2).len(), 1);
    }

    #[test]
    fn a_large_mask_is_told_in_a_line_and_classes_beyond_all_labels_cost_nothing() {
        let (labels, width) = (vec![1; 500 * 400], 500);
        let told = format!("{:?}", regions(&labels, width, 1));
        assert_eq!(told, "[(1, Mask { 200000 pixels in [0, 0, 500, 400] })]");
        let map = LabelMap { width: 2, height: 1, labels: vec![0, 1] };
        assert_eq!(class_counts(&map, usize::MAX).len(), MAX_CLASSES);
        assert_eq!(class_outlines(&map, usize::MAX, 1, 1.0).len(), MAX_CLASSES);
    }

    #[test]
    fn counts_are_those_of_cocos_tools() {
        // pycocotools 2.0: encode(asfortranarray([[0,1,1],[1,1,0]])) and of a 40×30 mask with the block [5:25, 3:33].
        let (labels, width) = map(&["011", "110"]);
        assert_eq!(regions(&labels, width, 1)[0].1.counts(3, 2), "141");
        let block: Vec<u16> = (0..40 * 30).map(|i| u16::from((5..25).contains(&(i / 40)) && (3..33).contains(&(i % 40)))).collect();
        assert_eq!(regions(&block, 40, 1)[0].1.counts(40, 30), format!("o2d0:{}]6", "0".repeat(57)));
    }

    #[test]
    fn whole_classes_count_as_their_pixels() {
        let mut state = 7u32;
        let mut next = |n: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % n
        };
        for (width, height) in [(1, 1), (5, 1), (1, 7), (13, 9), (40, 30)] {
            for labels in [2, 4] {
                let map = LabelMap { width, height, labels: (0..width * height).map(|_| next(labels) as u16).collect() };
                let counts = class_counts(&map, labels as usize);
                for (class, counts) in (1u16..).zip(&counts) {
                    let read = Mask::from_counts(counts, width as usize, height as usize);
                    let inside = |i: usize| read.as_ref().is_some_and(|m| m.contains(i % width as usize, i / width as usize));
                    assert!((0..map.labels.len()).all(|i| inside(i) == (map.labels[i] == class)), "{map:?} {class} {counts}");
                }
            }
        }
        let none = LabelMap { width: 3, height: 2, labels: vec![0; 6] };
        assert_eq!(class_counts(&none, 1), ["6"]);
        let all = LabelMap { width: 3, height: 2, labels: vec![1; 6] };
        assert_eq!(class_counts(&all, 1), ["06"]);
    }

    #[test]
    fn empty_and_broken_maps_have_no_regions() {
        assert!(regions(&[1, 1], 0, 1).is_empty());
        assert_eq!(class_counts(&LabelMap { width: 0, height: 0, labels: vec![] }, 1), [""]);
        let short = LabelMap { width: 4, height: 4, labels: vec![1; 4] };
        let counts = class_counts(&short, 1);
        assert_eq!(Mask::from_counts(&counts[0], 4, 4).map(|mask| (mask.area(), mask.bounds_px())), Some((4, [0, 0, 4, 1])));
        assert!(class_outlines(&LabelMap { width: 0, height: 0, labels: vec![1] }, 1, 1, 0.0)[0].is_empty());
        let huge = LabelMap { width: u32::MAX, height: u32::MAX, labels: vec![1; 4] };
        assert_eq!(class_counts(&huge, 1).len(), 1);
        assert_eq!(class_outlines(&huge, 1, 1, 0.0)[0].len(), 1);
        assert_eq!(regions(&[1; 3], usize::MAX, 1).len(), 1);
        // Each count adds to the one two before it: some hundreds of large ones are more than any number holds.
        assert_eq!(Mask::from_counts(&"ooooooo2".repeat(2000), 1 << 20, 1 << 20), None);
        assert_eq!(Mask::from_counts("00", usize::MAX, usize::MAX), None);
    }

    #[test]
    fn counts_can_be_read_back() {
        let mut state = 1u32;
        let labels: Vec<u16> = (0..37 * 23)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                u16::from(state >> 31 == 1)
            })
            .collect();
        for (_, mask) in regions(&labels, 37, 1) {
            assert_eq!(Mask::from_counts(&mask.counts(37, 23), 37, 23), Some(mask));
        }
        for hostile in ["", "0", "zzzzzzzzzzzzzzzzzzzz", "\u{7f}", "o", "100"] {
            assert_eq!(Mask::from_counts(hostile, 37, 23), None, "{hostile}");
        }
    }

    #[test]
    fn outlines_enclose_the_area_of_masks_without_holes() {
        let (labels, width) = map(&["01100", "11110", "01101", "00110"]);
        for (_, mask) in regions(&labels, width, 1) {
            let outline = mask.outline(0.0);
            let twice: i64 = (0..outline.len())
                .map(|i| {
                    let ([x0, y0], [x1, y1]) = (outline[i].map(i64::from), outline[(i + 1) % outline.len()].map(i64::from));
                    x0 * y1 - x1 * y0
                })
                .sum();
            assert_eq!(twice, 2 * mask.area() as i64, "{outline:?}");
        }
    }

    #[test]
    fn straight_stairs_become_lines() {
        let labels: Vec<u16> = (0..40 * 40).map(|i| u16::from(i % 40 <= i / 40)).collect();
        let mask = &regions(&labels, 40, 1)[0].1;
        assert!(mask.outline(0.0).len() > 70);
        assert!(mask.outline(1.0).len() <= 5, "{:?}", mask.outline(1.0));
    }

    /// The pixels whose centres lie inside a closed line, by the even-odd rule.
    fn by_centres(line: &[[f64; 2]], width: usize, height: usize) -> Vec<bool> {
        let inside = |x: f64, y: f64| {
            let ends = line.iter().zip(line.iter().cycle().skip(1));
            let crossed = ends.filter(|(a, b)| (a[1] <= y) != (b[1] <= y) && x < a[0] + (y - a[1]) * (b[0] - a[0]) / (b[1] - a[1]));
            crossed.count() % 2 == 1
        };
        (0..width * height).map(|i| inside((i % width) as f64 + 0.5, (i / width) as f64 + 0.5)).collect()
    }

    #[test]
    fn contours_give_the_mask_back_with_its_holes() {
        let drawn = ["0110010", "1111011", "1010010", "1111110", "1100011", "1101010", "1111110"];
        let (labels, width) = map(&drawn);
        let mut masks = regions(&labels, width, 1).into_iter().map(|(_, mask)| (mask, width, drawn.len())).collect::<Vec<_>>();
        let mut state = 3u32;
        for share in [4, 8, 14] {
            let noise: Vec<u16> = (0..60 * 45)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    u16::from((state >> 16) % 16 < share)
                })
                .collect();
            masks.extend(regions(&noise, 60, 1).into_iter().map(|(_, mask)| (mask, 60, 45)));
        }
        let disc: Vec<u16> =
            (0..60 * 45).map(|i: i32| u16::from((90..400).contains(&((i % 60 - 30).pow(2) + (i / 60 - 22).pow(2))))).collect();
        masks.extend(regions(&disc, 60, 1).into_iter().map(|(_, mask)| (mask, 60, 45)));
        assert!(masks.len() > 100);
        for (mask, width, height) in &masks {
            for tolerance in [0.0, 0.25] {
                let line = mask.contour(tolerance);
                let found = by_centres(&line, *width, *height);
                let wrong = (0..found.len()).filter(|i| found[*i] != mask.contains(i % width, i / width)).count();
                assert_eq!(wrong, 0, "{:?} {tolerance} {line:?}", mask.bounds_px());
            }
        }
        let (ring, _, _) = masks.last().unwrap();
        assert!(ring.contour(0.25).len() * 2 < ring.contour(0.0).len());
    }
}
