//! How a picture moved since the one before it: block matching on small grey pictures.
//!
//! Blocks of 8×8 grey pixels, half overlapping, are found again in the picture before by the least sum of absolute differences: an
//! exhaustive search at half size, then candidates and small steps at full size, then a parabola through the neighbours for parts of a
//! pixel. Blocks without texture take the median of the ones around them, or of the whole picture where none can be trusted.

use image::RgbImage;

/// The short side of the grey picture: about four pixels for each patch of the default model.
const SHORT_PX: u32 = 120;
const BLOCK: usize = 8;
const STRIDE: usize = 4;
/// How far the search reaches at half size, to each side.
const REACH: i32 = 8;
/// What a pixel of distance from the expected motion costs, in grey levels summed over a block: enough to keep plain areas together.
const DISTANCE_COST: u32 = 8;
/// By how many grey levels a pixel a block must lie better than around it, to be trusted.
const DISTINCT_LEVELS: u32 = 2;
/// A block that differs by no more than this many grey levels a pixel from the same place before has not moved.
const STILL_LEVELS: u32 = 1;
/// A block that nothing in the picture before resembles to within this many grey levels a pixel is new.
const NEW_LEVELS: u32 = 16;
/// The share of new blocks that makes a scene new.
const CUT_SHARE: f32 = 0.5;

/// A frame's luma at low resolution, and at half of that. Memory is reused from frame to frame.
#[derive(Debug, Clone, Default)]
pub(super) struct Grey {
    frame_px: (u32, u32),
    full: Plane,
    half: Plane,
    bin_of: Vec<u16>, // [frame width]
    sums: Vec<u32>,   // [2, width]: sums and counts
}

#[derive(Debug, Clone, Default)]
struct Plane {
    width: usize,
    height: usize,
    pixels: Vec<u8>, // [height, width]
}

impl Plane {
    fn resize(&mut self, width: usize, height: usize) {
        (self.width, self.height) = (width, height);
        self.pixels.resize(width * height, 0);
    }

    /// Sum of absolute differences between a block here and one there. Both must lie inside.
    fn difference(&self, x: usize, y: usize, other: &Plane, other_x: usize, other_y: usize) -> u32 {
        let row = |plane: &Plane, x: usize, y: usize| -> [u8; BLOCK] {
            let at = y * plane.width + x;
            plane.pixels[at..at + BLOCK].try_into().unwrap_or([0; BLOCK])
        };
        (0..BLOCK)
            .map(|i| {
                let (a, b) = (row(self, x, y + i), row(other, other_x, other_y + i));
                a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(b))).sum::<u32>()
            })
            .sum()
    }
}

impl Grey {
    /// Takes a frame in: the mean of `(R + 2 G + B) / 4` over the pixels that fall onto each grey one.
    pub fn take(&mut self, frame: &RgbImage) {
        let (width, height) = (frame.width().max(1), frame.height().max(1));
        let short = width.min(height);
        let small = |side: u32| if short > SHORT_PX { (side * SHORT_PX).div_ceil(short) as usize } else { side as usize };
        let (cols, rows) = (small(width), small(height));
        if self.frame_px != (width, height) {
            self.frame_px = (width, height);
            self.bin_of = (0..width as usize).map(|x| (x * cols / width as usize) as u16).collect();
            self.full.resize(cols, rows);
            self.half.resize(cols / 2, rows / 2);
            self.sums = vec![0; 2 * cols];
            let (_, counts) = self.sums.split_at_mut(cols);
            self.bin_of.iter().for_each(|&bin| counts[usize::from(bin)] += 4);
        }
        let (sums, counts) = self.sums.split_at_mut(cols);
        for (y, out) in self.full.pixels.chunks_exact_mut(cols).enumerate() {
            let (first, end) = (y * height as usize / rows, (y + 1) * height as usize / rows);
            // Three lines of a band say what its mean is; large frames would cost too much otherwise.
            let step = ((end - first) / 3).max(1);
            sums.fill(0);
            let mut lines = 0;
            for line in (first..end.max(first + 1)).step_by(step) {
                let pixels = frame.as_raw().get(3 * width as usize * line..).unwrap_or_default();
                for (pixel, &bin) in pixels.chunks_exact(3).zip(&self.bin_of) {
                    sums[usize::from(bin)] += u32::from(pixel[0]) + 2 * u32::from(pixel[1]) + u32::from(pixel[2]);
                }
                lines += 1;
            }
            out.iter_mut().zip(sums.iter().zip(counts.iter())).for_each(|(out, (sum, count))| *out = (sum / (count * lines).max(1)) as u8);
        }
        let full = &self.full;
        for (y, out) in self.half.pixels.chunks_exact_mut(self.half.width.max(1)).enumerate() {
            let (above, below) = full.pixels[2 * y * cols..].split_at(cols);
            for (out, (a, b)) in out.iter_mut().zip(above.chunks_exact(2).zip(below.chunks_exact(2))) {
                *out = ((u16::from(a[0]) + u16::from(a[1]) + u16::from(b[0]) + u16::from(b[1]) + 2) / 4) as u8;
            }
        }
    }

    /// Takes on another one's pixels, at full size alone.
    pub fn copy_full(&mut self, other: &Self) {
        (self.full.width, self.full.height) = (other.full.width, other.full.height);
        self.full.pixels.clone_from(&other.full.pixels);
    }

    /// Width and height in grey pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.full.width, self.full.height)
    }
}

/// Where every place of a picture lay in another one, as vectors at block centres, in grey pixels.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Field {
    cols: usize,
    rows: usize,
    vectors: Vec<[f32; 2]>, // [rows, cols], from here to there
}

impl Field {
    /// Nothing moved, on pictures of this size.
    pub fn reset(&mut self, size: (usize, usize)) {
        (self.cols, self.rows) = blocks(size);
        self.vectors.clear();
        self.vectors.resize(self.cols * self.rows, [0.0; 2]);
    }

    /// The vector at a place, between the block centres around it.
    pub fn at(&self, x: f32, y: f32) -> [f32; 2] {
        let Some((cols, rows)) = self.cols.checked_sub(1).zip(self.rows.checked_sub(1)) else { return [0.0; 2] };
        let along = |position: f32, last: usize| {
            let position = ((position - BLOCK as f32 / 2.0) / STRIDE as f32).clamp(0.0, last as f32);
            let low = (position as usize).min(last);
            (low, (low + 1).min(last), position - low as f32)
        };
        let ((left, right, u), (top, bottom, v)) = (along(x, cols), along(y, rows));
        let blend = |i: usize| {
            let line = |row: usize| self.vectors[row * self.cols + left][i] * (1.0 - u) + self.vectors[row * self.cols + right][i] * u;
            line(top) * (1.0 - v) + line(bottom) * v
        };
        [blend(0), blend(1)]
    }

    /// With `self` from the picture before to some older one, and `motion` from the present one to the one before: from the present
    /// one to the older. `memory` is what `self` was.
    pub fn extend(&mut self, motion: &Field, memory: &mut Field) {
        std::mem::swap(self, memory);
        (self.cols, self.rows) = (motion.cols, motion.rows);
        self.vectors.clear();
        self.vectors.extend(motion.vectors.iter().enumerate().map(|(i, &[dx, dy])| {
            let (x, y) = centre(i % motion.cols, i / motion.cols);
            let [further_x, further_y] = memory.at(x + dx, y + dy);
            [dx + further_x, dy + further_y]
        }));
    }

    /// Calls `new` with the box of each block that the older picture does not show where the field points, in grey pixels: left, top, right,
    /// bottom. `older` is the one that this field leads to from `now`.
    pub fn each_new(&self, now: &Grey, older: &Grey, mut new: impl FnMut([usize; 4])) {
        let (now, older) = (&now.full, &older.full);
        let same_size = (now.width, now.height) == (older.width, older.height);
        // Blocks without a place in the grid are as new as any.
        if !same_size || self.vectors.is_empty() {
            return new([0, 0, now.width, now.height]);
        }
        for (block, &vector) in self.vectors.iter().enumerate() {
            let (x, y) = (block % self.cols * STRIDE, block / self.cols * STRIDE);
            let [ox, oy] = [(x, vector[0]), (y, vector[1])].map(|(at, d)| at as f32 + d.round());
            let inside = ox >= 0.0 && oy >= 0.0 && ox as usize + BLOCK <= older.width && oy as usize + BLOCK <= older.height;
            if !inside || now.difference(x, y, older, ox as usize, oy as usize) > NEW_LEVELS * (BLOCK * BLOCK) as u32 {
                new([x, y, x + BLOCK, y + BLOCK]);
            }
        }
    }

    /// Whether every vector is nothing.
    pub fn is_still(&self) -> bool {
        self.vectors.iter().all(|v| *v == [0.0; 2])
    }
}

fn centre(col: usize, row: usize) -> (f32, f32) {
    ((col * STRIDE + BLOCK / 2) as f32, (row * STRIDE + BLOCK / 2) as f32)
}

/// What was found between two pictures.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Movement {
    /// Mean absolute difference that is left after the motion was taken out, in grey levels, 0 to 255.
    pub residual_levels: f32,
    /// Whether most of the picture is new: another scene.
    pub cut: bool,
}

/// Finds motion, with memory that is reused.
#[derive(Debug, Default)]
pub(super) struct Matcher {
    coarse: Vec<[i32; 2]>,
    coarse_cols: usize,
    raw: Vec<[f32; 2]>,
    trusted: Vec<bool>,
    sorted: [Vec<f32>; 2],
}

impl Matcher {
    /// Finds where `now`'s blocks lay in `before`. `field` holds the last motion, which is expected to go on, and receives the new one.
    pub fn find(&mut self, now: &Grey, before: &Grey, field: &mut Field) -> Movement {
        if now.size() != before.size() {
            field.reset(now.size());
            return Movement { residual_levels: 255.0, cut: true };
        }
        if (field.cols, field.rows) != blocks(now.size()) {
            field.reset(now.size());
        }
        if field.vectors.is_empty() {
            let levels: u64 = now.full.pixels.iter().zip(&before.full.pixels).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
            let residual_levels = levels as f32 / now.full.pixels.len().max(1) as f32;
            return Movement { residual_levels, cut: residual_levels > NEW_LEVELS as f32 };
        }
        self.search_coarsely(&now.half, &before.half, field);
        self.raw.clear();
        self.trusted.clear();
        let (mut sum, mut new) = (0u64, 0usize);
        for block in 0..field.vectors.len() {
            let (col, row) = (block % field.cols, block / field.cols);
            let (vector, difference, trusted) = self.match_block(&now.full, &before.full, col, row, field.vectors[block]);
            self.raw.push(vector);
            self.trusted.push(trusted);
            sum += u64::from(difference);
            new += usize::from(difference > NEW_LEVELS * (BLOCK * BLOCK) as u32);
        }
        self.settle(field);
        let count = field.vectors.len();
        let residual_levels = sum as f32 / (count * BLOCK * BLOCK) as f32;
        Movement { residual_levels, cut: new as f32 > CUT_SHARE * count as f32 }
    }

    fn search_coarsely(&mut self, now: &Plane, before: &Plane, expected: &Field) {
        self.coarse.clear();
        self.coarse_cols = 0;
        if now.width < BLOCK || now.height < BLOCK {
            return;
        }
        let (cols, rows) = ((now.width - BLOCK) / STRIDE + 1, (now.height - BLOCK) / STRIDE + 1);
        self.coarse_cols = cols;
        for block in 0..cols * rows {
            let (x, y) = (block % cols * STRIDE, block / cols * STRIDE);
            let [ex, ey] = expected.at((2 * x + BLOCK) as f32, (2 * y + BLOCK) as f32).map(|v| (v / 2.0).round() as i32);
            let reach = |at: usize, side: usize| (-(at as i32)).max(-REACH)..=((side - BLOCK - at) as i32).min(REACH);
            let (mut best, mut least) = ([0, 0], u32::MAX);
            for dy in reach(y, now.height) {
                for dx in reach(x, now.width) {
                    let other = ((x as i32 + dx) as usize, (y as i32 + dy) as usize);
                    let cost = now.difference(x, y, before, other.0, other.1) + DISTANCE_COST * (dx.abs_diff(ex) + dy.abs_diff(ey));
                    if cost < least {
                        (best, least) = ([dx, dy], cost);
                    }
                }
            }
            self.coarse.push(best);
        }
    }

    /// The vector of one block, its difference, and whether it is to be trusted.
    fn match_block(&self, now: &Plane, before: &Plane, col: usize, row: usize, expected: [f32; 2]) -> ([f32; 2], u32, bool) {
        let (x, y) = (col * STRIDE, row * STRIDE);
        let difference = |[dx, dy]: [i32; 2]| -> Option<u32> {
            let (ox, oy) = (x as i32 + dx, y as i32 + dy);
            let inside = ox >= 0 && oy >= 0 && ox as usize + BLOCK <= before.width && oy as usize + BLOCK <= before.height;
            inside.then(|| now.difference(x, y, before, ox as usize, oy as usize))
        };
        let coarse = |dc: isize, dr: isize| -> Option<[i32; 2]> {
            // A coarse block at n lies around 8 n + 8, a fine one at n around 4 n + 4.
            let along = |n: usize, d: isize, count: usize| (n / 2).min(count.checked_sub(1)?).checked_add_signed(d).filter(|&n| n < count);
            let rows = self.coarse.len().checked_div(self.coarse_cols)?;
            let (c, r) = (along(col, dc, self.coarse_cols)?, along(row, dr, rows)?);
            self.coarse.get(r * self.coarse_cols + c).map(|v| v.map(|v| 2 * v))
        };
        let own = coarse(0, 0).unwrap_or_default();
        let around = [(-1, 0), (1, 0), (0, -1), (0, 1)].into_iter().filter_map(|(c, r)| coarse(c, r));
        let cost = |v: [i32; 2]| difference(v).map(|d| d + DISTANCE_COST * (v[0].abs_diff(own[0]) + v[1].abs_diff(own[1])));
        let (mut best, mut least) = ([0, 0], cost([0, 0]).unwrap_or(u32::MAX));
        for v in [own, expected.map(|v| v.round() as i32)].into_iter().chain(around) {
            if let Some(cost) = cost(v).filter(|&c| c < least) {
                (best, least) = (v, cost);
            }
        }
        for _ in 0..3 {
            let centre = best;
            for [dx, dy] in [[-1, 0], [1, 0], [0, -1], [0, 1]] {
                let v = [centre[0] + dx, centre[1] + dy];
                if let Some(cost) = cost(v).filter(|&c| c < least) {
                    (best, least) = (v, cost);
                }
            }
            if best == centre {
                break;
            }
        }
        let here = difference(best).unwrap_or(0);
        let beside = |dx: i32, dy: i32| difference([best[0] + dx, best[1] + dy]);
        let part = |low: Option<u32>, high: Option<u32>| match (low, high) {
            (Some(low), Some(high)) if low + high > 2 * here => {
                let (low, high, here) = (low as f32, high as f32, here as f32);
                (0.5 * (low - high) / (low + high - 2.0 * here)).clamp(-0.5, 0.5)
            }
            _ => 0.0,
        };
        // The parabola leans even where nothing moved; what stands still must not creep.
        let still = best == [0, 0] && here <= STILL_LEVELS * (BLOCK * BLOCK) as u32;
        let between = |low: Option<u32>, high: Option<u32>| if still { 0.0 } else { part(low, high) };
        let vector = [best[0] as f32 + between(beside(-1, 0), beside(1, 0)), best[1] as f32 + between(beside(0, -1), beside(0, 1))];
        // An edge alone does not say where along it a block lies, so the flatter direction decides.
        let across = |a: Option<u32>, b: Option<u32>| match (a, b) {
            (Some(a), Some(b)) => (a + b) / 2,
            (a, b) => a.or(b).unwrap_or(0),
        };
        let rise = across(beside(-2, 0), beside(2, 0)).min(across(beside(0, -2), beside(0, 2))).saturating_sub(here);
        (vector, here, rise >= DISTINCT_LEVELS * (BLOCK * BLOCK) as u32)
    }

    /// Medians over the trusted neighbours take out what is alone.
    fn settle(&mut self, field: &mut Field) {
        let Self { raw, trusted, sorted, .. } = self;
        let mut median = |blocks: &mut dyn Iterator<Item = usize>, least: usize| -> Option<[f32; 2]> {
            sorted.iter_mut().for_each(Vec::clear);
            for block in blocks.filter(|&b| trusted[b]) {
                sorted.iter_mut().zip(raw[block]).for_each(|(list, v)| list.push(v));
            }
            if sorted[0].len() < least {
                return None;
            }
            Some([0, 1].map(|i| {
                let middle = sorted[i].len() / 2;
                *sorted[i].select_nth_unstable_by(middle, f32::total_cmp).1
            }))
        };
        // Fewer trusted blocks than one in fifty say nothing of the whole.
        let whole = median(&mut (0..raw.len()), (raw.len() / 50).max(3)).unwrap_or_default();
        let (cols, rows) = (field.cols, field.rows);
        for (block, vector) in field.vectors.iter_mut().enumerate() {
            let (col, row) = (block % cols, block / cols);
            let reach = if trusted[block] { 1 } else { 2 };
            let (left, right) = (col.saturating_sub(reach), (col + reach).min(cols - 1));
            let (top, bottom) = (row.saturating_sub(reach), (row + reach).min(rows - 1));
            let mut near = (top..=bottom).flat_map(|r| (left..=right).map(move |c| r * cols + c));
            *vector = median(&mut near, if trusted[block] { 1 } else { 3 }).unwrap_or(whole);
        }
    }
}

/// Columns and rows of blocks on pictures of this width and height.
fn blocks((width, height): (usize, usize)) -> (usize, usize) {
    let along = |side: usize| if side < BLOCK { 0 } else { (side - BLOCK) / STRIDE + 1 };
    let (cols, rows) = (along(width), along(height));
    if cols * rows == 0 { (0, 0) } else { (cols, rows) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Smooth noise, so that every block is distinct and parts of a pixel mean something.
    fn texture(x: f32, y: f32) -> u8 {
        let wave = |a: f32, b: f32, c: f32| (a * x + b * y + c).sin();
        (128.0 + 30.0 * wave(0.11, 0.05, 0.3) + 30.0 * wave(-0.04, 0.13, 1.0) + 30.0 * wave(0.19, -0.17, 2.0) + 20.0 * wave(0.3, 0.26, 0.7))
            as u8
    }

    fn picture(width: u32, height: u32, place: impl Fn(f32, f32) -> (f32, f32)) -> Grey {
        let image = RgbImage::from_fn(width, height, |x, y| {
            let (x, y) = place(x as f32, y as f32);
            image::Rgb([texture(x, y); 3])
        });
        let mut grey = Grey::default();
        grey.take(&image);
        grey
    }

    fn find(now: &Grey, before: &Grey) -> (Field, Movement) {
        let mut field = Field::default();
        let movement = Matcher::default().find(now, before, &mut field);
        (field, movement)
    }

    #[test]
    fn a_shift_is_found_to_a_fifth_of_a_pixel() {
        let before = picture(200, 120, |x, y| (x, y));
        for (dx, dy) in [(0.0, 0.0), (3.0, -2.0), (-7.5, 4.25), (14.0, 0.5)] {
            let (field, movement) = find(&picture(200, 120, |x, y| (x + dx, y + dy)), &before);
            assert!(!movement.cut && movement.residual_levels < 5.0, "{dx} {dy}: {movement:?}");
            for (x, y) in [(100.0, 60.0), (60.0, 80.0), (150.0, 40.0)] {
                let [fx, fy] = field.at(x, y);
                assert!((fx - dx).abs() < 0.2 && (fy - dy).abs() < 0.2, "{dx} {dy} at {x},{y}: {fx} {fy}");
            }
        }
    }

    #[test]
    fn a_zoom_is_followed_and_extended_over_frames() {
        let zoomed = |factor: f32| picture(200, 120, move |x, y| (100.0 + (x - 100.0) * factor, 60.0 + (y - 60.0) * factor));
        let (mut total, mut memory) = (Field::default(), Field::default());
        let mut last = zoomed(1.0);
        total.reset(last.size());
        for step in 1..=4 {
            let now = zoomed(1.0 - 0.02 * step as f32);
            let (motion, _) = find(&now, &last);
            total.extend(&motion, &mut memory);
            last = now;
        }
        for (x, y) in [(40.0, 30.0), (160.0, 90.0), (100.0, 60.0)] {
            let [fx, fy] = total.at(x, y);
            let (wx, wy) = (-0.08 * (x - 100.0), -0.08 * (y - 60.0));
            assert!((fx - wx).abs() < 0.6 && (fy - wy).abs() < 0.6, "at {x},{y}: {fx} {fy} instead of {wx} {wy}");
        }
    }

    #[test]
    fn plain_pictures_stand_still_and_other_scenes_are_cuts() {
        let plain = |level: u8| {
            let mut grey = Grey::default();
            grey.take(&RgbImage::from_pixel(160, 120, image::Rgb([level; 3])));
            grey
        };
        let (field, movement) = find(&plain(100), &plain(101));
        assert!(!movement.cut && field.vectors.iter().all(|v| *v == [0.0; 2]), "{movement:?}");
        let (_, movement) = find(&picture(160, 120, |x, y| (3.0 * y + 400.0, x)), &plain(20));
        assert!(movement.cut, "{movement:?}");
        assert!(find(&plain(100), &picture(200, 120, |x, y| (x, y))).1.cut, "another size");
    }

    #[test]
    fn plain_areas_move_with_what_is_around_them() {
        let scene = |shift: i64| {
            let image = RgbImage::from_fn(200, 120, |x, y| {
                let x = i64::from(x) + shift;
                // A plain square in front of a textured wall.
                let level = if (80..120).contains(&x) && (40..80).contains(&y) { 200 } else { texture(x as f32, y as f32) };
                image::Rgb([level; 3])
            });
            let mut grey = Grey::default();
            grey.take(&image);
            grey
        };
        let (field, _) = find(&scene(6), &scene(0));
        let [fx, fy] = field.at(94.0, 60.0);
        assert!((fx - 6.0).abs() < 0.5 && fy.abs() < 0.5, "{fx} {fy}");
    }

    #[test]
    fn tiny_frames_do_no_harm() {
        for (width, height) in [(1, 1), (7, 200), (8, 8), (9, 17), (300, 3)] {
            let image = RgbImage::from_pixel(width, height, image::Rgb([9; 3]));
            let (mut a, mut b) = (Grey::default(), Grey::default());
            a.take(&image);
            b.take(&image);
            let (field, movement) = find(&a, &b);
            assert_eq!(movement, Movement { residual_levels: 0.0, cut: false });
            assert_eq!(field.at(3.0, 3.0), [0.0; 2]);
        }
    }
}
