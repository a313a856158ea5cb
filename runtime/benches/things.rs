//! What it costs to cut and follow things in a frame of 1280×720 on one thread, by how many there are:
//! `cargo bench --workspace --bench things [-- ROUNDS]`. Rectangles that walk, in rows against each other; medians over frames.

use std::sync::Arc;
use std::time::Duration;

use edge_seg::live::{Countable, Follower, PropagationOptions, Sight, ThingOptions};
use edge_seg::{LabelMap, PatchGrid, Placement, Segmentation};
use edge_seg_model::propagation::Propagator;
use edge_seg_model::{Background, Class, Scoring, UnitRows, WordBank, score};
use image::RgbImage;

const SIZE: (u32, u32) = (1280, 720);
const FRAMES: u32 = 30;
const DIM: usize = 384;

/// As many things as `cols` times `rows`, in a frame; label 1 where one is.
fn labels(cols: u32, rows: u32, frame: u32) -> LabelMap {
    let (wide, high) = (SIZE.0 / cols, SIZE.1 / rows);
    let is_one = |x: u32, y: u32| {
        let walked = if (y / high).is_multiple_of(2) { x + 2 * frame } else { x + SIZE.0 - 2 * frame };
        let (within, down) = (walked % wide, y % high);
        within < wide * 2 / 3 && down < high * 2 / 3
    };
    let pixels = (0..SIZE.1).flat_map(|y| (0..SIZE.0).map(move |x| (x, y)));
    LabelMap { width: SIZE.0, height: SIZE.1, labels: pixels.map(|(x, y)| u16::from(is_one(x, y))).collect() }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let rounds = std::env::args().filter_map(|word| word.parse::<usize>().ok()).next().unwrap_or(3);
    let placement = Placement::of(SIZE, (800, 448), (800, 448), 16);
    let (rows, cols) = placement.covered();
    let patches: Vec<f32> = (0..rows * cols * DIM).map(|i| ((i * 37) % 101) as f32 / 101.0).collect();
    let grid = PatchGrid::new(rows, cols, DIM, patches, vec![1.0; DIM]).expect("a grid");
    let class = Class::word("person");
    let words = UnitRows::normalise("words", DIM, vec![1.0; DIM]).expect("a row");
    let bank = WordBank::new(&[class], 0, words).expect("a bank");
    let scores = score(&grid, &bank, Scoring::new(10.0, Some(-3.0)), Background::Threshold(0.5)).expect("scores");
    println!("a frame of {}×{}, {rounds} rounds of {FRAMES}", SIZE.0, SIZE.1);
    for (across, down) in [(1, 1), (4, 3), (10, 5), (20, 10), (40, 20)] {
        let names: Arc<[String]> = vec!["person".to_owned()].into();
        let mut times = Vec::new();
        let mut seen = 0;
        for _ in 0..rounds {
            let options = ThingOptions::new(Countable::All).with_least_share(0.0001);
            let mut follower = Follower::new(options).expect("a follower");
            let mut propagator = Propagator::new(PropagationOptions::default());
            for frame in 0..FRAMES {
                let labels = labels(across, down, frame);
                let picture = RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| {
                    let grey = if labels.labels[(y * SIZE.0 + x) as usize] == 1 { 90 + (7 * x + 13 * y) % 80 } else { 40 };
                    image::Rgb([grey as u8; 3])
                });
                let cut = propagator.follow(&picture).cut;
                let timestamp = Duration::from_millis(33 * u64::from(frame));
                propagator.mark(timestamp);
                propagator.set_keyframe(scores.clone(), placement);
                let mut found = Segmentation::new(names.clone(), scores.clone(), labels, "none");
                (found.sequence, found.timestamp) = (frame.into(), timestamp);
                let motion = (!cut).then(|| propagator.motion(SIZE));
                let things = follower.follow(&Sight::new(&found, &placement).with_motion(motion).with_patches(&grid));
                seen = things.list.len();
                times.push(things.took.as_secs_f64() * 1e3);
            }
        }
        println!("{seen:>4} things {:>7.2} ms", median(&mut times));
    }
}
