use serde::Deserialize;

use crate::things::Thing;
use edge_seg_model::LabelMap;

/// A part of the picture: a polygon.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Zone {
    /// What rules and events call it.
    pub name: String,
    /// What the corners count in.
    #[serde(default)]
    pub unit: Unit,
    /// Which point of a thing must be inside for it to be there.
    #[serde(default)]
    pub anchor: Anchor,
    /// The corners in order, x and y; the last one is joined to the first. Where the line crosses itself, the even-odd rule decides.
    pub points: Vec<[f64; 2]>,
}

impl Zone {
    /// A polygon in shares of the picture's width and height, in which a thing is whose centre is in it.
    pub fn new(name: impl Into<String>, points: Vec<[f64; 2]>) -> Self {
        Self { name: name.into(), unit: Unit::default(), anchor: Anchor::default(), points }
    }
}

/// What a zone's corners count in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Unit {
    /// Shares of the picture's width and height, 0 to 1: fits every size of the same view.
    #[default]
    Relative,
    /// Pixels of the picture.
    Pixels,
}

/// Which point of a thing stands for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Anchor {
    /// The mean of its pixels.
    #[default]
    Centre,
    /// The middle of its box's lowest row of pixels: where it stands, seen from the side.
    Foot,
}

impl Anchor {
    pub(super) fn of(self, thing: &Thing) -> [f64; 2] {
        match self {
            Self::Centre => thing.centroid_px,
            Self::Foot => thing.foot_px(),
        }
        .map(f64::from)
    }
}

impl Unit {
    /// Where points lie in a picture of this size, in pixels. Those in its last column or row are at its edge, unless all are: whoever points
    /// at the last pixel means it, too.
    pub(super) fn px(self, points: &[[f64; 2]], (width, height): (u32, u32)) -> Vec<[f64; 2]> {
        let lengths = [f64::from(width), f64::from(height)];
        let scale = if self == Self::Relative { lengths } else { [1.0; 2] };
        let mut placed: Vec<_> = points.iter().map(|point| [point[0] * scale[0], point[1] * scale[1]]).collect();
        for (axis, length) in lengths.into_iter().enumerate() {
            if placed.iter().any(|point| point[axis] < length - 1.0) {
                placed.iter_mut().filter(|point| point[axis] >= length - 1.0).for_each(|point| point[axis] = point[axis].max(length));
            }
        }
        placed
    }
}

/// Corners that a zone may have.
const MAX_POINTS: usize = 256;

impl Zone {
    /// What is wrong with it: expected and found.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        check_points(&self.name, self.unit, &self.points)?;
        if !(3..=MAX_POINTS).contains(&self.points.len()) {
            return Err(("3 to 256 points".into(), self.points.len().to_string()));
        }
        Ok(())
    }

    /// Tells it from others of its name.
    pub(super) fn shape(&self) -> u32 {
        let corners: Vec<u8> = self.points.iter().flatten().flat_map(|at| at.to_le_bytes()).collect();
        let [unit, anchor] = [self.unit as u8, self.anchor as u8];
        crc32fast::hash(&[&[unit, anchor], corners.as_slice()].concat())
    }

    /// Whether a place, in pixels, lies inside.
    pub(super) fn holds(&self, [x, y]: [f64; 2], (width, height): (u32, u32)) -> bool {
        let corners = self.unit.px(&self.points, (width, height));
        corners.iter().zip(corners.iter().cycle().skip(1)).filter(|(a, b)| crossing(a, b, y).is_some_and(|at| at <= x)).count() % 2 == 1
    }

    /// The pixels of a picture whose centres lie inside.
    pub fn mask(&self, width: u32, height: u32) -> ZoneMask {
        let corners = self.unit.px(&self.points, (width, height));
        let edges: Vec<_> = corners.iter().zip(corners.iter().cycle().skip(1)).collect();
        let (mut spans, mut crossings) = (Vec::new(), Vec::new());
        for row in 0..height {
            let y = f64::from(row) + 0.5;
            crossings.clear();
            crossings.extend(edges.iter().filter_map(|(a, b)| crossing(a, b, y)));
            crossings.sort_by(f64::total_cmp);
            for pair in crossings.chunks_exact(2) {
                let [first, end] = [pair[0], pair[1]].map(|x| (x - 0.5).ceil().clamp(0.0, f64::from(width)) as u32);
                if first < end {
                    spans.push(Span { row, first, end });
                }
            }
        }
        let pixels = spans.iter().map(|s| u64::from(s.end - s.first)).sum();
        ZoneMask { width, height, spans, pixels }
    }
}

/// Where an edge crosses a height. It owns its upper end and not its lower one, so that a corner is crossed once.
fn crossing(a: &[f64; 2], b: &[f64; 2], y: f64) -> Option<f64> {
    ((a[1] <= y) != (b[1] <= y)).then(|| a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0]))
}

/// What is wrong with a name and points of the picture: expected and found.
pub(super) fn check_points(name: &str, unit: Unit, points: &[[f64; 2]]) -> Result<(), (String, String)> {
    let wrong = |expected: &str, found: String| Err((expected.to_owned(), found));
    if name.trim().is_empty() {
        return wrong("a name", "none".into());
    }
    let relative = unit == Unit::Relative;
    let fits = |v: &f64| if relative { (0.0..=1.0).contains(v) } else { (0.0..=65535.0).contains(v) };
    match points.iter().find(|p| !p.iter().all(fits)) {
        Some([x, y]) if relative => wrong("points of 0 to 1 (or unit = \"pixels\")", format!("[{x}, {y}]")),
        Some([x, y]) => wrong("points of 0 to 65535 pixels", format!("[{x}, {y}]")),
        None => Ok(()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    row: u32,
    first: u32,
    end: u32,
}

/// A zone on the pixels of pictures of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneMask {
    width: u32,
    height: u32,
    spans: Vec<Span>,
    pixels: u64,
}

impl ZoneMask {
    /// Whether it is for pictures of this size.
    pub fn fits(&self, map: &LabelMap) -> bool {
        (self.width, self.height) == (map.width, map.height)
    }

    /// Pixels inside.
    pub fn pixels(&self) -> u64 {
        self.pixels
    }

    /// Pixels inside of each label, the background first; none if the map has another size or lacks labels. `[1 + classes]`
    pub fn count(&self, map: &LabelMap, classes: usize) -> Vec<u64> {
        let mut counts = vec![0; 1 + classes];
        if self.fits(map) && map.checked().is_ok() {
            for span in &self.spans {
                let row = &map.labels[span.row as usize * self.width as usize..][span.first as usize..span.end as usize];
                for run in row.chunk_by(|a, b| a == b) {
                    if let Some(count) = counts.get_mut(usize::from(run[0])) {
                        *count += run.len() as u64;
                    }
                }
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(unit: Unit, points: &[[f64; 2]]) -> Zone {
        Zone { name: "z".into(), unit, anchor: Anchor::Centre, points: points.into() }
    }

    fn drawn(mask: &ZoneMask) -> Vec<String> {
        let mut rows = vec![vec![b'.'; mask.width as usize]; mask.height as usize];
        for s in &mask.spans {
            rows[s.row as usize][s.first as usize..s.end as usize].fill(b'#');
        }
        rows.into_iter().map(|r| String::from_utf8(r).unwrap()).collect()
    }

    #[test]
    fn relative_and_pixel_corners_draw_the_same_square() {
        let relative = zone(Unit::Relative, &[[0.25, 0.0], [0.75, 0.0], [0.75, 0.5], [0.25, 0.5]]).mask(8, 4);
        assert_eq!(drawn(&relative), ["..####..", "..####..", "........", "........"]);
        assert_eq!(relative, zone(Unit::Pixels, &[[2.0, 0.0], [6.0, 0.0], [6.0, 2.0], [2.0, 2.0]]).mask(8, 4));
        assert_eq!(relative.pixels(), 8);
    }

    #[test]
    fn the_whole_picture_is_every_pixel() {
        for (width, height) in [(1, 1), (7, 5), (64, 3)] {
            let all = zone(Unit::Relative, &[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]).mask(width, height);
            assert_eq!(all.pixels(), u64::from(width * height));
        }
    }

    #[test]
    fn a_zone_to_the_last_pixel_has_it_and_one_of_the_last_row_alone_has_that() {
        let to = |right: f64, low: f64| [[0.0, 0.0], [right, 0.0], [right, low], [0.0, low]];
        for (unit, points) in [(Unit::Pixels, to(6.0, 4.0)), (Unit::Pixels, to(7.0, 5.0)), (Unit::Relative, to(0.9, 0.85))] {
            assert_eq!(zone(unit, &points).mask(7, 5).pixels(), 35, "{points:?}");
        }
        assert_eq!(zone(Unit::Pixels, &to(5.0, 3.0)).mask(7, 5).pixels(), 15);
        let last = zone(Unit::Pixels, &[[0.0, 4.0], [7.0, 4.0], [7.0, 5.0], [0.0, 5.0]]);
        assert_eq!(drawn(&last.mask(7, 5)), [".......", ".......", ".......", ".......", "#######"]);
    }

    #[test]
    fn hollows_and_crossings_follow_the_even_odd_rule() {
        let hollow = zone(Unit::Pixels, &[[0.0, 0.0], [7.0, 0.0], [7.0, 3.0], [5.0, 3.0], [5.0, 1.0], [2.0, 1.0], [2.0, 3.0], [0.0, 3.0]]);
        assert_eq!(drawn(&hollow.mask(7, 3)), ["#######", "##...##", "##...##"]);
        let bow = zone(Unit::Pixels, &[[0.0, 0.0], [5.0, 4.0], [5.0, 0.0], [0.0, 4.0]]);
        assert_eq!(drawn(&bow.mask(5, 4)), ["#...#", "##.##", "##.##", "#...#"]);
    }

    #[test]
    fn what_lies_outside_the_picture_is_cut_off() {
        let wide = zone(Unit::Pixels, &[[2.0, 1.0], [900.0, 1.0], [900.0, 500.0], [2.0, 500.0]]);
        assert_eq!(drawn(&wide.mask(4, 3)), ["....", "..##", "..##"]);
        assert_eq!(wide.mask(2, 1).pixels(), 0);
    }

    #[test]
    fn labels_are_counted_inside_only() {
        let map = LabelMap { width: 4, height: 2, labels: vec![1, 1, 2, 0, 1, 2, 2, 9] };
        let right = zone(Unit::Relative, &[[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]]).mask(4, 2);
        assert_eq!(right.count(&map, 2), [1, 0, 2]);
        assert_eq!(right.count(&LabelMap { width: 2, height: 4, ..map }, 2), [0, 0, 0]);
    }

    #[test]
    fn places_are_inside_as_their_pixels_are() {
        let hollow = zone(Unit::Relative, &[[0.1, 0.0], [1.0, 0.1], [0.9, 0.9], [0.6, 0.3], [0.4, 1.0], [0.0, 0.6]]);
        let mask = hollow.mask(13, 11);
        for (y, row) in drawn(&mask).iter().enumerate() {
            for (x, drawn) in row.bytes().enumerate() {
                assert_eq!(hollow.holds([x as f64 + 0.5, y as f64 + 0.5], (13, 11)), drawn == b'#', "{x} {y}");
            }
        }
    }
}
