//! Programs as strangers write them, on the library's public face alone: a driver's bytes, a live session whose words change, an album
//! under rayon and an async runtime with a time limit, two lists of words on one encoding.

use std::sync::Arc;
use std::time::{Duration, Instant};

use edge_seg::live::{KeyFrames, Live, LiveOptions};
use edge_seg::source::{Pace, Rate, Source};
use edge_seg::{Background, Channels, Frame, Options, Session, parse_classes, read_picture};
use edge_seg_tests::picture;
use image::RgbImage;
use rayon::prelude::*;

fn session() -> Session {
    Session::built_in_with(&Options::default().with_size_px(96)).unwrap()
}

fn cat() -> Frame {
    read_picture(&picture("cat.jpg")).unwrap()
}

#[test]
fn a_driver_s_bytes_give_the_masks_of_the_picture() {
    let (session, picture) = (session(), cat().pixels);
    let (width, height) = picture.dimensions();
    let line = (3 * width as usize).next_multiple_of(64) + 64;
    let mut bgr = vec![0; line * height as usize];
    for (x, y, pixel) in picture.enumerate_pixels() {
        let [red, green, blue] = pixel.0;
        bgr[y as usize * line + 3 * x as usize..][..3].copy_from_slice(&[blue, green, red]);
    }
    let words = session.words("cat, wall").unwrap();
    let raw = session.find(&Frame::from_raw(Channels::Bgr, (width, height), line, &bgr).unwrap(), &words).unwrap();
    let whole = session.find(&picture.into(), &words).unwrap();
    assert_eq!(raw.labels, whole.labels);
    assert!(raw.classes()[0].bitmap().contains(&255), "a cat is found");
}

struct Grabber(RgbImage, u32);

impl Source for Grabber {
    fn read(&mut self, frame: &mut Frame) -> edge_seg::Result<bool> {
        std::thread::sleep(Duration::from_millis(5));
        frame.pixels.clone_from(&self.0);
        self.1 += 1;
        Ok(self.1 < 2000)
    }

    fn rate(&self) -> Option<Rate> {
        Some((200, 1))
    }

    fn is_live(&self) -> bool {
        true
    }
}

#[test]
fn words_change_from_another_thread_and_bad_ones_change_nothing() {
    let session = Arc::new(session());
    let options = LiveOptions::default().with_pace(Pace::Live).with_keys(KeyFrames::Auto { share: 1.0 });
    let mut live = Live::start(session.clone(), Grabber(cat().pixels, 0), "cat, wall", options).unwrap();
    let words = live.words().clone();
    let changer = std::thread::spawn(move || {
        let unknown = words.set(vec![edge_seg::Class::word("\u{200b}")]).unwrap_err().to_string();
        words.set(parse_classes("words", "blanket, ear, cat").unwrap()).unwrap();
        unknown
    });
    let changed = live.by_ref().map(|shown| shown.unwrap()).find(|shown| shown.words.version == 2).unwrap();
    assert_eq!(&changed.found.names()[..], ["blanket", "ear", "cat"]);
    assert!(changer.join().unwrap().contains("expected"));
    live.stop().unwrap();
    drop(changed);
    assert_eq!(Arc::strong_count(&session), 1, "nobody else holds the model");
}

#[test]
fn an_album_under_rayon_and_an_async_runtime_and_a_call_that_is_given_up() {
    let session = Arc::new(session());
    let words = session.words("cat, cup, person, sky").unwrap();
    let frames: Vec<Arc<Frame>> =
        ["cat", "coffee", "rocket", "astronaut"].map(|name| Arc::new(read_picture(&picture(&format!("{name}.jpg"))).unwrap())).into();
    let expected: Vec<_> = frames.iter().map(|frame| session.find(frame, &words).unwrap().labels).collect();
    let found: Vec<_> = frames.par_iter().map(|frame| session.find(frame, &words).unwrap().labels).collect();
    assert!(found == expected);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        for (frame, expected) in frames.iter().zip(&expected) {
            let (session, words, frame) = (session.clone(), words.clone(), frame.clone());
            let found = tokio::task::spawn_blocking(move || session.find(&frame, &words)).await.unwrap().unwrap();
            assert!(found.labels == *expected);
        }
    });
    let start = Instant::now();
    let given_up = session.segment_until(&frames[0], &words, || start.elapsed() > Duration::from_micros(100)).unwrap();
    assert!(given_up.is_none());
}

#[test]
fn two_lists_and_their_thresholds_on_one_encoding() {
    let (session, frame) = (session(), cat());
    let encoded = session.encode(&frame).unwrap();
    let shares = |words: &edge_seg::WordList| {
        let found = session.find_encoded(&frame, &encoded, words).unwrap();
        let shares: Vec<f64> = found.classes().iter().map(|class| class.share()).collect();
        (shares, found.background_share())
    };
    let animals = session.words("animal: cat: dog: kitten, bird, -wall, -blanket").unwrap();
    let (room, _) = shares(&session.words("wall, floor, blanket").unwrap());
    assert_eq!(room.len(), 3);
    let (all, background) = shares(&animals);
    assert!((all.iter().sum::<f64>() + background - 1.0).abs() < 1e-9 && all[0] > 0.05, "{all:?}");
    let (off, _) = shares(&animals.clone().with_off("bird").unwrap());
    assert_eq!(off[1], 0.0);
    let (sure, _) = shares(&animals.clone().with_threshold("animal", 1.0).unwrap());
    assert!(sure[0] < all[0], "{sure:?} {all:?}");
    // What is to be left out counts without a common threshold, too.
    let (free, background) = shares(&animals.with_background(Background::None).unwrap());
    assert!(background > 0.0 && free[0] > 0.0, "{free:?} {background}");
}
