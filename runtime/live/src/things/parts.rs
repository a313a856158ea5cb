use edge_seg_model::LabelMap;

/// Neighbouring pixels of a row that belong to one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub row: u32,
    pub first: u32,
    pub end: u32,
    pub part: u32,
}

/// What a set of pixels amounts to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extent {
    pub pixels: u64,
    left: u32,
    top: u32,
    right: u32,
    bottom: u32,
    sums: [f64; 2],
}

impl Default for Extent {
    fn default() -> Self {
        Self { pixels: 0, left: u32::MAX, top: u32::MAX, right: 0, bottom: 0, sums: [0.0; 2] }
    }
}

impl Extent {
    pub fn add(&mut self, row: u32, first: u32, end: u32) {
        let count = f64::from(end - first);
        self.pixels += u64::from(end - first);
        (self.left, self.right) = (self.left.min(first), self.right.max(end));
        (self.top, self.bottom) = (self.top.min(row), self.bottom.max(row + 1));
        self.sums[0] += count * f64::from(first + end) / 2.0;
        self.sums[1] += count * (f64::from(row) + 0.5);
    }

    pub fn join(&mut self, other: &Self) {
        self.pixels += other.pixels;
        (self.left, self.right) = (self.left.min(other.left), self.right.max(other.right));
        (self.top, self.bottom) = (self.top.min(other.top), self.bottom.max(other.bottom));
        (self.sums[0], self.sums[1]) = (self.sums[0] + other.sums[0], self.sums[1] + other.sums[1]);
    }

    /// Left, top, width, height.
    pub fn bounds_px(&self) -> [u32; 4] {
        [self.left, self.top, self.right.saturating_sub(self.left), self.bottom.saturating_sub(self.top)]
    }

    /// The mean of the pixels' centres, x and y.
    pub fn centroid_px(&self) -> [f32; 2] {
        let pixels = self.pixels.max(1) as f64;
        [(self.sums[0] / pixels) as f32, (self.sums[1] / pixels) as f32]
    }

    /// How many pixels lie between the boxes of both, in the larger direction; 0 where they touch or overlap.
    pub fn gap_px(&self, other: &Self) -> u32 {
        let between = |a: (u32, u32), b: (u32, u32)| b.0.saturating_sub(a.1).max(a.0.saturating_sub(b.1));
        let across = between((self.left, self.right), (other.left, other.right));
        across.max(between((self.top, self.bottom), (other.top, other.bottom)))
    }
}

/// A connected part of a word's mask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    pub label: u16,
    pub extent: Extent,
}

/// Cuts the masks of the labels that are counted into connected parts (by edges, not corners): all runs in reading order, and the parts
/// that they belong to, in the order of their first pixels.
pub fn parts(map: &LabelMap, is_counted: impl Fn(u16) -> bool) -> (Vec<Run>, Vec<Part>) {
    let (mut runs, mut labels): (Vec<Run>, Vec<u16>) = (Vec::new(), Vec::new());
    // Each run's own set, and the set that a set has become part of: a forest whose roots are the parts.
    let mut parents: Vec<u32> = Vec::new();
    let mut above = 0..0;
    for (row, pixels) in (0u32..).zip(map.labels.chunks_exact((map.width as usize).max(1)).take(map.height as usize)) {
        let start = runs.len();
        let (mut x, mut over) = (0u32, above.start);
        for run in pixels.chunk_by(|a, b| a == b) {
            let (label, first, end) = (run[0], x, x + run.len() as u32);
            x = end;
            if label == 0 || !is_counted(label) {
                continue;
            }
            let own = parents.len() as u32;
            parents.push(own);
            // The last run above that ends before this one may still touch the next.
            while over < above.end && runs[over].end <= first {
                over += 1;
            }
            for touching in (over..above.end).take_while(|&i| runs[i].first < end).filter(|&i| labels[i] == label) {
                let (a, b) = (root(&mut parents, own), root(&mut parents, touching as u32));
                parents[a.max(b) as usize] = a.min(b);
            }
            runs.push(Run { row, first, end, part: own });
            labels.push(label);
        }
        above = start..runs.len();
    }
    let mut parts: Vec<Part> = Vec::new();
    let mut part_of = vec![u32::MAX; parents.len()];
    for (run, label) in runs.iter_mut().zip(labels) {
        let root = root(&mut parents, run.part) as usize;
        if part_of[root] == u32::MAX {
            part_of[root] = parts.len() as u32;
            parts.push(Part { label, extent: Extent::default() });
        }
        run.part = part_of[root];
        parts[run.part as usize].extent.add(run.row, run.first, run.end);
    }
    (runs, parts)
}

fn root(parents: &mut [u32], mut at: u32) -> u32 {
    while parents[at as usize] != at {
        let above = parents[parents[at as usize] as usize];
        parents[at as usize] = above;
        at = above;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_seg_model::region::regions;

    #[test]
    fn parts_are_the_regions_of_the_counted_labels() {
        let mut state = 5u32;
        let mut next = |n: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % n
        };
        for (width, height) in [(1, 1), (7, 1), (1, 9), (40, 30), (61, 47)] {
            let map = LabelMap { width, height, labels: (0..width * height).map(|_| next(4) as u16).collect() };
            let (runs, found) = parts(&map, |label| label != 2);
            let brief = |label: u16, pixels: u64, bounds: [u32; 4]| (label, pixels, bounds);
            let mut ours: Vec<_> = found.iter().map(|p| brief(p.label, p.extent.pixels, p.extent.bounds_px())).collect();
            let expected = regions(&map.labels, width as usize, 1);
            let mut theirs: Vec<_> =
                expected.iter().filter(|(label, _)| *label != 2).map(|(l, mask)| brief(*l, mask.area(), mask.bounds_px())).collect();
            ours.sort_unstable();
            theirs.sort_unstable();
            assert_eq!(ours, theirs);
            // Each run belongs to a part of its own label.
            assert!(runs.iter().all(|r| map.labels[(r.row * width + r.first) as usize] == found[r.part as usize].label));
        }
    }

    #[test]
    fn a_short_map_has_the_parts_of_what_it_has() {
        let map = LabelMap { width: 4, height: 4, labels: vec![1; 6] };
        assert_eq!(parts(&map, |_| true).1[0].extent.pixels, 4);
        assert!(parts(&LabelMap { width: 0, height: 0, labels: vec![] }, |_| true).1.is_empty());
    }

    #[test]
    fn gaps_are_between_boxes() {
        let extent = |row, first, end| {
            let mut extent = Extent::default();
            extent.add(row, first, end);
            extent
        };
        assert_eq!(extent(0, 0, 4).gap_px(&extent(0, 4, 6)), 0);
        assert_eq!(extent(0, 0, 4).gap_px(&extent(0, 9, 10)), 5);
        assert_eq!(extent(8, 9, 10).gap_px(&extent(0, 0, 4)), 7);
        assert_eq!(extent(2, 1, 4).centroid_px(), [2.5, 2.5]);
    }
}
