//! Drawn scenes whose things are known: parts, gaps, crossings, what is hidden for a while.

use std::sync::Arc;
use std::time::Duration;

use edge_seg_live::things::{Countable, Follower, Sight, Thing, ThingOptions, Things};
use edge_seg_model::image::{Rgb, RgbImage};
use edge_seg_model::propagation::{Propagation, PropagationOptions, Propagator};
use edge_seg_model::render::{MaskReport, MaskStyle};
use edge_seg_model::{Background, Class, LabelMap, PatchGrid, Placement, Scoring, Segmentation, UnitRows, WordBank, score};

const WIDTH: u32 = 320;
const HEIGHT: u32 = 192;
const PATCH: u32 = 16;

/// An ellipse with a texture of its own.
#[derive(Clone, Copy)]
struct Blob {
    centre: [f32; 2],
    radius: [f32; 2],
    /// What it looks like to the encoder, and to the motion search.
    look: usize,
    label: u16,
}

fn blob(look: usize, centre: [f32; 2], radius: [f32; 2]) -> Blob {
    Blob { centre, radius, look, label: 1 }
}

impl Blob {
    fn holds(&self, x: f32, y: f32) -> bool {
        let [u, v] = [(x - self.centre[0]) / self.radius[0], (y - self.centre[1]) / self.radius[1]];
        u * u + v * v <= 1.0
    }
}

/// Smooth noise of about three pixels, another for each `look`.
fn texture(x: f32, y: f32, look: usize) -> u8 {
    let wave = |a: f32, b: f32, c: f32| (a * x + b * y + c + 1.7 * look as f32).sin();
    (128.0 + 45.0 * wave(0.55, 0.21, 0.3) + 40.0 * wave(-0.27, 0.49, 1.0) + 30.0 * wave(0.13, -0.71, 2.0)) as u8
}

/// Frames as a session sees them: the last of what lies at a place hides the others, and the wall hides all.
struct Film {
    propagator: Propagator,
    follower: Follower,
    names: Arc<[String]>,
    wall: Option<[f32; 2]>,
    sequence: u64,
}

impl Film {
    fn new() -> Self {
        Self::with(ThingOptions::new(Countable::All))
    }

    fn with(options: ThingOptions) -> Self {
        let propagator = Propagator::new(PropagationOptions::default().with_carry(Propagation::Scores));
        let names: Vec<String> = ["person", "car"].map(String::from).into();
        Self { propagator, follower: Follower::new(options).unwrap(), names: names.into(), wall: None, sequence: 0 }
    }

    /// The next frame, a tenth of a second later.
    fn show(&mut self, blobs: &[Blob]) -> Things {
        let seen = |x: f32, y: f32| {
            let hidden = self.wall.is_some_and(|[left, right]| (left..right).contains(&x));
            blobs.iter().rev().find(|blob| blob.holds(x, y)).filter(|_| !hidden)
        };
        let pixels = RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
            let (x, y) = (x as f32 + 0.5, y as f32 + 0.5);
            let grey = match seen(x, y) {
                Some(blob) => texture(x - blob.centre[0], y - blob.centre[1], blob.look),
                None => 40 + texture(x, y, 9) / 8,
            };
            Rgb([grey; 3])
        });
        let mut labels = LabelMap { width: WIDTH, height: HEIGHT, labels: vec![0; (WIDTH * HEIGHT) as usize] };
        for (i, label) in (0u32..).zip(&mut labels.labels) {
            *label = seen((i % WIDTH) as f32 + 0.5, (i / WIDTH) as f32 + 0.5).map_or(0, |blob| blob.label);
        }
        let placement = Placement::of((WIDTH, HEIGHT), (WIDTH, HEIGHT), (WIDTH, HEIGHT), PATCH);
        // Every look has a direction of its own, with the word's mixed in: one of a hue, as it were.
        let (rows, cols) = placement.covered();
        let mut patches = Vec::new();
        for patch in 0..rows * cols {
            let middle = |at: usize| (at as f32 + 0.5) * PATCH as f32;
            let mut row = [0.0f32; 12];
            match seen(middle(patch % cols), middle(patch / cols)) {
                Some(blob) => (row[usize::from(blob.label)], row[3 + blob.look]) = (0.6, 0.8),
                None => row[0] = 1.0,
            }
            patches.extend(row);
        }
        let grid = PatchGrid::new(rows, cols, 12, patches, vec![1.0; 12]).unwrap();
        let words: Vec<f32> = (0..2).flat_map(|word| (0..12).map(move |i| if i == 1 + word { 1.0 } else { 0.0 })).collect();
        let classes = ["person", "car"].map(Class::word);
        let bank = WordBank::new(&classes, 0, UnitRows::normalise("words", 12, words).unwrap()).unwrap();
        let scores = score(&grid, &bank, Scoring::new(10.0, Some(-3.0)), Background::Threshold(0.5)).unwrap();
        let movement = self.propagator.follow(&pixels);
        let timestamp = Duration::from_millis(100 * self.sequence);
        self.propagator.mark(timestamp);
        self.propagator.set_keyframe(scores.clone(), placement);
        let mut found = Segmentation::new(self.names.clone(), scores, labels, "drawn");
        (found.sequence, found.timestamp) = (self.sequence, timestamp);
        self.sequence += 1;
        let motion = (!movement.cut).then(|| self.propagator.motion((WIDTH, HEIGHT)));
        let another_scene = movement.cut && self.sequence > 1;
        let sight = Sight::new(&found, &placement).with_motion(motion).with_patches(&grid).with_another_scene(another_scene);
        self.follower.follow(&sight)
    }

    fn ids(&mut self, blobs: &[Blob]) -> Vec<u64> {
        self.show(blobs).list.iter().map(|thing| thing.id).collect()
    }
}

/// The thing whose centroid is nearest.
fn at(things: &Things, [x, y]: [f32; 2]) -> u64 {
    let distance = |thing: &&Thing| (thing.centroid_px[0] - x).hypot(thing.centroid_px[1] - y);
    things.list.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).expect("a thing").id
}

#[test]
fn a_mask_of_three_is_three_things_with_their_places() {
    let mut film = Film::new();
    let three = [blob(0, [50.0, 60.0], [20.0, 40.0]), blob(1, [150.0, 100.0], [20.0, 40.0]), blob(2, [260.0, 90.0], [30.0, 50.0])];
    assert_eq!(film.ids(&three), [] as [u64; 0], "what is seen once may be nothing");
    let things = film.show(&three);
    assert_eq!(things.list.iter().map(|thing| thing.id).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((things.count(1), things.count(2), things.count(3)), (Some(3), Some(0), None));
    for blob in &three {
        let id = at(&things, blob.centre);
        let thing = things.list.iter().find(|thing| thing.id == id).expect("a thing");
        let [x, y] = thing.centroid_px;
        assert!((x - blob.centre[0]).abs() < 0.6 && (y - blob.centre[1]).abs() < 0.6, "{thing:?}");
        let area = std::f32::consts::PI * blob.radius[0] * blob.radius[1];
        assert!((thing.pixels as f32 / area - 1.0).abs() < 0.02, "{thing:?}");
        let [left, top, width, height] = thing.bounds_px.map(|v| v as f32);
        assert!((left + width / 2.0 - x).abs() < 1.0 && (width - 2.0 * blob.radius[0]).abs() < 1.5, "{thing:?}");
        assert!((top + height / 2.0 - y).abs() < 1.0 && (height - 2.0 * blob.radius[1]).abs() < 1.5, "{thing:?}");
        assert!((thing.score - 1.0 / (1.0 + (-3.0f32).exp())).abs() < 1e-3, "{thing:?}");
    }
    assert_eq!(film.follower.total("Person"), 3);
}

#[test]
fn the_map_of_things_is_the_mask_of_their_words() {
    let mut film = Film::new();
    let mut car = blob(3, [250.0, 90.0], [40.0, 20.0]);
    car.label = 2;
    let blobs = [blob(0, [50.0, 60.0], [20.0, 40.0]), blob(1, [150.0, 100.0], [20.0, 40.0]), car];
    film.show(&blobs);
    let things = film.show(&blobs);
    let map = things.map();
    let masks = things.with_masks(MaskStyle::Rle);
    for (label, (thing, told)) in (1u16..).zip(things.list.iter().zip(&masks)) {
        let pixels = map.labels.iter().filter(|l| **l == label).count() as u64;
        assert_eq!(pixels, thing.pixels);
        let Some(MaskReport::Rle { counts, .. }) = &told.segmentation else { panic!("{told:?}") };
        let mask = edge_seg_model::region::Mask::from_counts(counts, WIDTH as usize, HEIGHT as usize).unwrap();
        assert_eq!((mask.area(), mask.bounds_px()), (thing.pixels, thing.bounds_px));
    }
    assert_eq!(things.list.iter().map(|thing| (&*thing.word, thing.label)).collect::<Vec<_>>(), [("person", 1), ("person", 1), ("car", 2)]);
}

#[test]
fn small_ones_are_dropped_by_their_size_in_the_picture() {
    let speck = [blob(0, [50.0, 60.0], [20.0, 40.0]), blob(1, [200.0, 100.0], [4.0, 4.0])];
    for (least, count) in [(0.0005, 2), (0.002, 1), (0.2, 0)] {
        let mut film = Film::with(ThingOptions::new(Countable::All).with_least_share(least));
        film.show(&speck);
        assert_eq!(film.show(&speck).count(1), Some(count), "{least}");
    }
}

#[test]
fn words_that_are_not_counted_have_no_things() {
    let mut film = Film::with(ThingOptions::new(Countable::parse("Car").unwrap()));
    let person = [blob(0, [50.0, 60.0], [20.0, 40.0])];
    film.show(&person);
    let things = film.show(&person);
    assert_eq!((things.list.len(), things.count(1), things.count(2)), (0, None, Some(0)));
}

#[test]
fn a_thing_behind_a_pole_is_one_and_two_side_by_side_are_two() {
    let mut film = Film::new();
    film.wall = Some([150.0, 160.0]);
    let mut ids = Vec::new();
    for frame in 0..50 {
        ids.push(film.ids(&[blob(0, [40.0 + 5.0 * frame as f32, 90.0], [45.0, 30.0])]));
    }
    assert!(ids[1..].iter().all(|ids| *ids == [1]), "{ids:?}");
    // As far apart as the pole is wide, and nothing of one colour.
    let mut film = Film::new();
    let two = [blob(0, [100.0, 90.0], [40.0, 30.0]), blob(1, [190.0, 90.0], [40.0, 30.0])];
    (0..5).for_each(|_| drop(film.show(&two)));
    assert_eq!(film.ids(&two), [1, 2]);
}

#[test]
fn a_thing_that_appears_behind_a_pole_is_one_if_it_looks_alike() {
    let mut film = Film::new();
    film.wall = Some([150.0, 158.0]);
    film.show(&[]);
    film.show(&[blob(0, [155.0, 90.0], [50.0, 35.0])]);
    assert_eq!(film.ids(&[blob(0, [155.0, 90.0], [50.0, 35.0])]), [1]);
}

#[test]
fn what_comes_into_sight_in_pieces_is_one_thing() {
    let mut film = Film::new();
    for _ in 0..10 {
        film.show(&[blob(0, [60.0, 90.0], [18.0, 45.0])]);
    }
    for _ in 0..3 {
        film.show(&[]);
    }
    // Head and feet come from behind something first, and one of them is taken for who was there before.
    for _ in 0..4 {
        film.show(&[blob(1, [64.0, 58.0], [14.0, 14.0]), blob(1, [64.0, 128.0], [12.0, 10.0])]);
    }
    let counts: Vec<usize> = (0..20).map(|_| film.show(&[blob(1, [64.0, 90.0], [18.0, 48.0])]).list.len()).collect();
    assert!(counts.iter().all(|count| *count == 1), "{counts:?}");
}

#[test]
fn two_who_pass_each_other_keep_their_numbers() {
    let mut film = Film::new();
    let pair = |frame: usize| {
        let (a, b) = (30.0 + 5.0 * frame as f32, 290.0 - 5.0 * frame as f32);
        [blob(0, [a, 80.0], [18.0, 45.0]), blob(1, [b, 115.0], [18.0, 45.0])]
    };
    film.show(&pair(0));
    let first = film.show(&pair(1));
    let (left, right) = (at(&first, pair(1)[0].centre), at(&first, pair(1)[1].centre));
    let mut counts = Vec::new();
    let mut last = first;
    for frame in 2..52 {
        last = film.show(&pair(frame));
        counts.push(last.list.len());
    }
    assert_eq!((at(&last, pair(51)[0].centre), at(&last, pair(51)[1].centre)), (left, right));
    assert_eq!((last.list.len(), film.follower.total("person")), (2, 2), "{counts:?}");
    // While they touch, their masks are one part; some of one is hidden then, but it does not go away.
    assert!(counts.iter().filter(|count| **count == 2).count() >= 46, "{counts:?}");
}

#[test]
fn who_walks_behind_a_wall_comes_back_with_the_same_number() {
    let walk = |film: &mut Film, frames: std::ops::Range<usize>, pause: usize| -> Vec<Vec<u64>> {
        let position = |frame: usize| if frame < 30 { frame } else { frame.saturating_sub(pause).max(30) };
        frames.map(|frame| film.ids(&[blob(0, [30.0 + 5.0 * position(frame) as f32, 90.0], [16.0, 40.0])])).collect()
    };
    let mut film = Film::new();
    film.wall = Some([130.0, 200.0]);
    let ids = walk(&mut film, 0..52, 0);
    assert!(ids.iter().any(Vec::is_empty), "hidden for a while: {ids:?}");
    assert_eq!(ids.last().unwrap(), &[1]);
    assert_eq!(film.follower.total("person"), 1);
    // Longer than anybody waits.
    let mut film = Film::with(ThingOptions::new(Countable::All).with_patience(Duration::from_secs(2)));
    film.wall = Some([130.0, 200.0]);
    let ids = walk(&mut film, 0..80, 25);
    assert_eq!(ids.last().unwrap(), &[2], "{ids:?}");
}

#[test]
fn another_scene_has_other_things() {
    let mut film = Film::new();
    let one = [blob(0, [50.0, 60.0], [20.0, 40.0])];
    film.show(&one);
    assert_eq!(film.ids(&one), [1]);
    let labels = LabelMap { width: 8, height: 8, labels: vec![1; 64] };
    let mut found = Segmentation::new(film.names.clone(), flat_scores(), labels, "drawn");
    found.timestamp = Duration::from_millis(200);
    let placement = Placement::of((8, 8), (8, 8), (16, 16), 16);
    film.follower.follow(&Sight::new(&found, &placement).with_another_scene(true));
    film.show(&one);
    assert_eq!(film.ids(&one), [2]);
}

fn flat_scores() -> edge_seg_model::ScoreGrid {
    let grid = PatchGrid::new(1, 1, 2, vec![1.0, 0.0], vec![1.0, 0.0]).unwrap();
    let classes = ["person", "car"].map(Class::word);
    let bank = WordBank::new(&classes, 0, UnitRows::normalise("words", 2, vec![1.0, 0.0, 0.0, 1.0]).unwrap()).unwrap();
    score(&grid, &bank, Scoring::new(10.0, Some(-3.0)), Background::Threshold(0.5)).unwrap()
}

#[test]
fn maps_that_lack_labels_have_no_things() {
    let mut film = Film::new();
    for (width, height, labels) in [(0, 0, vec![]), (4, 4, vec![1; 3]), (u32::MAX, u32::MAX, vec![1])] {
        let found = Segmentation::new(film.names.clone(), flat_scores(), LabelMap { width, height, labels }, "drawn");
        let placement = Placement::of((16, 16), (16, 16), (16, 16), 16);
        let things = film.follower.follow(&Sight::new(&found, &placement));
        assert_eq!((things.list.len(), things.count(1)), (0, Some(0)));
    }
}

#[test]
fn what_is_countable_is_read_and_told() {
    assert_eq!(Countable::parse("all").unwrap(), Countable::All);
    assert_eq!(Countable::parse(" person ,, red car").unwrap().to_string(), "person, red car");
    assert!(Countable::parse(" , ").unwrap_err().to_string().contains("all, or words separated by commas"));
    for share in [-0.1, 1.5, f64::NAN] {
        assert!(Follower::new(ThingOptions::new(Countable::All).with_least_share(share)).is_err());
    }
}

#[test]
fn two_hundred_in_one_frame_keep_their_numbers() {
    let mut film = Film::with(ThingOptions::new(Countable::All).with_least_share(0.0002));
    let crowd = |frame: usize| -> Vec<Blob> {
        let walked = |row: usize| frame as f32 * if row.is_multiple_of(2) { 0.5 } else { -0.5 };
        let one = |i: usize| blob(i % 9, [10.0 + 15.5 * (i % 20) as f32 + walked(i / 20), 14.0 + 18.0 * (i / 20) as f32], [4.5, 6.0]);
        (0..200).map(one).collect()
    };
    film.show(&crowd(0));
    let first = film.show(&crowd(1));
    assert_eq!(first.count(1), Some(200));
    let ids: Vec<u64> = crowd(1).iter().map(|blob| at(&first, blob.centre)).collect();
    for frame in 2..9 {
        let blobs = crowd(frame);
        let things = film.show(&blobs);
        let now: Vec<u64> = blobs.iter().map(|blob| at(&things, blob.centre)).collect();
        assert_eq!((things.count(1), &now), (Some(200), &ids), "frame {frame}");
    }
}
