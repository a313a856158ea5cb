use super::parts::{Part, Run};

/// The short side of a frame in cells.
const SHORT: u32 = 120;

/// A frame cut into square cells: where things are is looked up at this resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cells {
    pub side_px: u32,
    pub cols: u32,
    pub rows: u32,
}

impl Cells {
    pub fn of(width: u32, height: u32) -> Self {
        let side_px = (width.min(height) / SHORT).max(1);
        Self { side_px, cols: width.div_ceil(side_px), rows: height.div_ceil(side_px) }
    }

    pub fn count(&self) -> usize {
        self.cols as usize * self.rows as usize
    }

    pub fn centre_px(&self, cell: u32) -> [f32; 2] {
        let centre = |at: u32| (at * self.side_px) as f32 + self.side_px as f32 / 2.0;
        [centre(cell % self.cols), centre(cell / self.cols)]
    }

    /// The cells whose centres lie in each part. `[parts]`
    pub fn of_parts(&self, runs: &[Run], parts: &[Part]) -> Vec<Vec<u32>> {
        let mut cells = vec![Vec::new(); parts.len()];
        let (side, middle) = (self.side_px, self.side_px / 2);
        for run in runs.iter().filter(|run| run.row % side == middle) {
            let (first, end) = ((run.first + side - 1 - middle) / side, (run.end + side - 1 - middle) / side);
            cells[run.part as usize].extend((first..end).map(|col| run.row / side * self.cols + col));
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::super::parts::parts;
    use super::*;
    use edge_seg_model::LabelMap;

    #[test]
    fn cells_of_parts_are_those_whose_centres_they_hold() {
        for (width, height) in [(64, 48), (500, 360), (367, 245)] {
            let labels = (0..width * height).map(|i| u16::from((i % width / 13 + i / width / 17) % 2 == 0)).collect();
            let map = LabelMap { width, height, labels };
            let (runs, found) = parts(&map, |_| true);
            let cells = Cells::of(width, height);
            let mut part_of = vec![u32::MAX; (width * height) as usize];
            for run in &runs {
                part_of[(run.row * width + run.first) as usize..(run.row * width + run.end) as usize].fill(run.part);
            }
            let mut expected = vec![Vec::new(); found.len()];
            for cell in 0..cells.count() as u32 {
                let [x, y] = cells.centre_px(cell).map(|v| v as u32);
                if x < width && y < height && part_of[(y * width + x) as usize] != u32::MAX {
                    expected[part_of[(y * width + x) as usize] as usize].push(cell);
                }
            }
            assert_eq!(cells.of_parts(&runs, &found), expected);
        }
    }
}
