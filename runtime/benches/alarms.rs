//! What quiet alarms cost a frame of 1280×720 on one thread: `cargo bench --workspace --bench alarms [-- ROUNDS]`.
//!
//! The same frames with plain rules on a zone, and with rules that also ask for a profile that goes with the light and for what is usual,
//! after a month of history. Arrangements take turns, so that what else the machine does meets all of them; medians.

use std::time::{Duration, Instant, SystemTime};

use edge_seg::LabelMap;
use edge_seg::rules::{RuleBook, Watcher, brightness};
use edge_seg::sink::ClassReport;
use image::RgbImage;

const SIZE: (u32, u32) = (1280, 720);
const FRAMES: u32 = 300;

const ZONE: &str = r#"
    [[zone]]
    name = "yard"
    points = [[0.1, 0.4], [0.9, 0.4], [1.0, 1.0], [0.0, 1.0]]
    [[rule]]
    name = "somebody"
    when = { word = "person", zone = "yard", share_above = 0.1 }
"#;

const QUIET: &str = r#"
    [[profile]]
    name = "dark"
    darker_than = 0.2
    [[rule]]
    name = "odd"
    when = { any = [{ word = "person", zone = "yard", unusual = "either" }, { word = "car", zone = "yard", unusual = "either" }, { word = "person", unusual = "either" }, { word = "car", unusual = "either" }] }
    confirm_s = 10
"#;

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let rounds = std::env::args().filter_map(|word| word.parse::<usize>().ok()).next().unwrap_or(9);
    let labels: Vec<u16> = (0..SIZE.1).flat_map(|y| (0..SIZE.0).map(move |x| ((x / 200 + y / 150) % 3) as u16)).collect();
    let labels = LabelMap { width: SIZE.0, height: SIZE.1, labels };
    let picture = RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| image::Rgb([x as u8, y as u8, (x + y) as u8]));
    let classes: Vec<ClassReport> = labels.extents(2)[1..]
        .iter()
        .zip(["person", "car"])
        .zip(1..)
        .map(|((extent, name), label)| ClassReport::new(label, name, 0.5, *extent, labels.pixels()))
        .collect();
    let mut watchers =
        [ZONE.to_owned(), [ZONE, QUIET].concat()].map(|book| Watcher::new(RuleBook::parse("book", &book).expect("rules")).expect("rules"));
    // A frame a second at one time of each day, for a month.
    let mut second = 0u64;
    for day in 0..30 {
        for passed in 0..90u64 {
            let clock = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400 * (20_000 + day) + passed);
            watchers.iter_mut().for_each(|watcher| drop(watcher.observe(&labels, &classes, 0, 1e3 * (second + passed) as f64, clock)));
        }
        second += 3600;
    }
    let mut times = [const { Vec::new() }; 2];
    for round in 0..rounds {
        for (watcher, times) in watchers.iter_mut().zip(&mut times) {
            let clock = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400 * 20_030);
            let start = Instant::now();
            for frame in 0..FRAMES {
                if watcher.needs_light() {
                    watcher.light(brightness(&picture));
                }
                let at = 1e3 * (second + 3600 * round as u64) as f64 + 33.0 * f64::from(frame);
                watcher.observe(&labels, &classes, 0, at, clock);
            }
            times.push(start.elapsed().as_secs_f64() * 1e3 / f64::from(FRAMES));
        }
    }
    let [plain, quiet] = times.each_mut().map(|times| median(times));
    println!("a frame of {}×{}, {rounds} rounds of {FRAMES}", SIZE.0, SIZE.1);
    println!("{:<30} {plain:>7.3} ms", "a rule on a zone");
    println!("{:<30} {quiet:>7.3} ms {:>+7.3} ms", "with light and four habits", quiet - plain);
}
