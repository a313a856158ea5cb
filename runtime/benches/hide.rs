//! What hiding costs a frame of 1280×720 on one thread: `cargo bench --workspace --bench hide [-- ROUNDS]`.
//!
//! First the processor time of the frames between key frames of a running session, with and without `LiveOptions::with_hide`, then the pixels
//! alone by how much is hidden. Arrangements take turns, so that what else the machine does meets all of them; medians, and how they compare.

use std::time::{Duration, Instant};

use edge_seg::hide::{Cover, HideBy, HideOptions, ShownFrame};
use edge_seg::live::{KeyFrames, Live, LiveOptions};
use edge_seg::source::{Pace, Rate, Source};
use edge_seg::{Frame, Options, Session};
use image::RgbImage;

const SIZE: (u32, u32) = (1280, 720);
const FRAMES: u64 = 90;

/// A camera that pans over something with texture everywhere.
struct Pan {
    scene: RgbImage,
    next: u64,
}

impl Source for Pan {
    fn read(&mut self, frame: &mut Frame) -> edge_seg::Result<bool> {
        if self.next == FRAMES {
            return Ok(false);
        }
        frame.pixels = image::imageops::crop_imm(&self.scene, 3 * self.next as u32, 0, SIZE.0, SIZE.1).to_image();
        (frame.sequence, frame.timestamp) = (self.next, Duration::from_millis(33 * self.next));
        self.next += 1;
        Ok(true)
    }

    fn rate(&self) -> Option<Rate> {
        Some((30, 1))
    }
}

fn scene(width: u32, height: u32) -> RgbImage {
    let wave =
        |x: u32, y: u32, a: f32, b: f32| 127.0 + 60.0 * (x as f32 * a + y as f32 * b).sin() + 60.0 * (x as f32 * b - y as f32 * a).cos();
    RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([wave(x, y, 0.031, 0.017), wave(x, y, 0.013, 0.047), wave(x, y, 0.023, 0.029)].map(|v| v as u8))
    })
}

/// Processor time of this process so far.
fn busy_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name in brackets").split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().expect("ticks") * 10.0).sum()
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let rounds = std::env::args().filter_map(|word| word.parse::<usize>().ok()).next().unwrap_or(9);
    let session =
        std::sync::Arc::new(Session::built_in_with(&Options::default().with_size_px(224).with_threads(1)).expect("the model loads"));
    let scene = scene(SIZE.0 + 3 * FRAMES as u32, SIZE.1);
    let hide = |by| {
        session.hide("person, licence plate", HideOptions::default().with_by(by).with_max_age(Duration::from_secs(60))).expect("words")
    };
    let ways = [None, Some(HideBy::Fill), Some(HideBy::Pixelate), Some(HideBy::Blur)];
    let mut times = [const { Vec::new() }; 4];
    let mut hidden = 0.0;
    for _ in 0..rounds {
        for (way, times) in ways.iter().zip(&mut times) {
            let options = LiveOptions::default().with_pace(Pace::Every).with_keys(KeyFrames::Every(1000)).with_hide(way.map(&hide));
            let mut live = Live::start(session.clone(), Pan { scene: scene.clone(), next: 0 }, "sky, road", options).expect("it starts");
            // The key frame is no part of it.
            live.next().expect("a frame").expect("a frame");
            let start = busy_ms();
            for shown in live {
                hidden = shown.expect("a frame").frame.hidden().map_or(hidden, |hidden| hidden.share);
            }
            times.push((busy_ms() - start) / (FRAMES - 1) as f64);
        }
    }
    let medians = times.each_mut().map(|times| median(times));
    println!("processor time of a frame between key frames, {rounds} rounds of {FRAMES}, {:.0} % hidden at last", 100.0 * hidden);
    for (way, median) in ways.iter().zip(medians) {
        let name = way.map_or("nothing".into(), |by| format!("{by:?}").to_lowercase());
        println!("{name:<10} {median:>8.2} ms {:>+8.2} ms   × {:.2}", median - medians[0], median / medians[0]);
    }
    println!("\npixels alone, by share hidden");
    let covers = [0.0, 0.1, 0.5, 1.0].map(|share| {
        let mut cover = Cover::none(SIZE);
        cover.add([0.0, 0.0, share, 1.0]);
        cover
    });
    let mut times = [const { [const { Vec::new() }; 4] }; 3];
    let frame = Frame::still(image::imageops::crop_imm(&scene, 0, 0, SIZE.0, SIZE.1).to_image());
    for _ in 0..rounds * 5 {
        for (by, times) in [HideBy::Fill, HideBy::Pixelate, HideBy::Blur].into_iter().zip(&mut times) {
            for (cover, times) in covers.iter().zip(times) {
                let (frame, cover) = (frame.clone(), cover.clone());
                let start = Instant::now();
                let shown = ShownFrame::covered(frame, Ok(cover), Duration::ZERO, by);
                times.push(start.elapsed().as_secs_f64() * 1e3);
                assert!(shown.hidden().is_some());
            }
        }
    }
    for (name, times) in ["fill", "pixelate", "blur"].into_iter().zip(&mut times) {
        let shares = times.each_mut().map(|times| format!("{:.2} ms", median(times)));
        println!("{name:<10} 0 %: {}, 10 %: {}, 50 %: {}, 100 %: {}", shares[0], shares[1], shares[2], shares[3]);
    }
}
