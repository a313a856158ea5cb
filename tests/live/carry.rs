//! Masks between key frames, through the library and the command.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use edge_seg::live::{Propagation, PropagationOptions};
use edge_seg::source::{Pace, SourceOptions, open_source};
use edge_seg::{Background, Bundle, Frame, LabelMap, Options, Session, parse_classes};
use edge_seg_model::Painter;
use edge_seg_model::propagation::Propagator;
use edge_seg_tests::{binary, edge_seg, picture};
use image::RgbImage;
use image::imageops::crop_imm;

fn session() -> Session {
    Session::new(Bundle::built_in().unwrap(), &Options::default().with_size_px(160)).unwrap()
}

/// A window that pans over a picture by some pixels a frame.
fn pan(picture: &RgbImage, step: u32, frame: u32) -> Frame {
    let (width, height) = (picture.width() * 2 / 3, picture.height() * 2 / 3);
    let pixels = crop_imm(picture, step * frame, step * frame / 2, width, height).to_image();
    Frame::new(pixels, frame.into(), Duration::from_millis(40 * u64::from(frame)))
}

#[test]
fn carried_masks_follow_what_moves_and_standing_ones_do_not() {
    let session = session();
    for (name, words) in [("astronaut.jpg", "person, flag, wall"), ("coffee.jpg", "cup, table, spoon")] {
        let bank = session.word_bank(&parse_classes("words", words).unwrap(), &[]).unwrap();
        let picture = image::open(picture(name)).unwrap().thumbnail(480, 480).into_rgb8();
        let (step, last) = (6, 10);
        let agreement = |carry: Propagation| {
            let mut propagator = Propagator::new(PropagationOptions::default().with_carry(carry));
            for index in 0..=last {
                let frame = pan(&picture, step, index);
                let movement = propagator.follow(&frame.pixels);
                assert_eq!(movement.cut, index == 0, "{name} {index}: {movement:?}");
                if index == 0 {
                    let encoded = session.encode(&frame).unwrap();
                    propagator.mark(frame.timestamp);
                    propagator.set_keyframe(session.score(&encoded, &bank, Background::None).unwrap(), encoded.placement);
                }
                assert_eq!(propagator.evidence_age(frame.timestamp), frame.timestamp);
            }
            let mut carried = LabelMap { width: 0, height: 0, labels: Vec::new() };
            propagator.labels(&mut Painter::default(), &mut carried).unwrap();
            let own = session.segment(&pan(&picture, step, last), &bank, Background::None).unwrap().labels;
            assert_eq!((carried.width, carried.height), (own.width, own.height));
            let same = own.labels.iter().zip(&carried.labels).filter(|(a, b)| a == b).count();
            same as f64 / own.labels.len() as f64
        };
        let [still, scores, labels] = [Propagation::Still, Propagation::Scores, Propagation::Labels].map(agreement);
        eprintln!("{name}: still {still:.3}, scores {scores:.3}, labels {labels:.3}");
        assert!(scores > still + 0.01 && labels > still + 0.01, "{name}: still {still:.3}, scores {scores:.3}, labels {labels:.3}");
    }
}

#[test]
fn smoothing_weighs_key_frames_by_their_age() {
    let session = session();
    let bank = session.word_bank(&parse_classes("words", "cat, wall").unwrap(), &[]).unwrap();
    let picture = image::open(picture("cat.jpg")).unwrap().thumbnail(240, 240).into_rgb8();
    let frame = pan(&picture, 0, 0);
    let encoded = session.encode(&frame).unwrap();
    let scores = session.score(&encoded, &bank, Background::None).unwrap();
    let mut propagator =
        Propagator::new(PropagationOptions::default().with_carry(Propagation::Scores).with_smoothing(Duration::from_millis(100)));
    let mut age = 0.0;
    for index in 0..20 {
        let at = Duration::from_millis(50 * index);
        propagator.follow(&frame.pixels);
        propagator.mark(at);
        propagator.set_keyframe(scores.clone(), encoded.placement);
        // The exponential's own recursion: what was there grows older by 50 ms and keeps exp(-50/100) of its weight.
        let kept = (-0.5f64).exp();
        age = if index == 0 { 0.0 } else { kept * (age + 50.0) };
        let found = propagator.evidence_age(at).as_secs_f64() * 1e3;
        assert!((found - age).abs() < 0.01, "{index}: {found} instead of {age}");
        let (shown, _) = propagator.scores().unwrap();
        let off = shown.planes().iter().zip(scores.planes()).filter(|(_, b)| **b > -1e20).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-3, "a picture that stands still is not changed: {off}");
    }
    // The sum of the geometric series, 50 · k / (1 - k).
    assert!((age - 77.07).abs() < 0.1, "{age}");
}

#[test]
fn capture_and_masks_take_no_memory_once_warm() {
    let session = session();
    let bank = session.word_bank(&parse_classes("words", "cat, wall, sky").unwrap(), &[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (width, height, frames) = (160, 120, 60);
    let raw = folder.path().join("clip.yuv");
    let bytes: Vec<u8> = (0..frames * width * height * 2).map(|i| ((i / 7) % 251) as u8).collect();
    fs::write(&raw, &bytes).unwrap();
    let mut y4m = format!("YUV4MPEG2 W{width} H{height} F30:1 C422\n").into_bytes();
    bytes.chunks_exact(2 * width * height).for_each(|frame| y4m.extend([b"FRAME\n", frame].concat()));
    fs::write(folder.path().join("clip.y4m"), y4m).unwrap();
    // The counter sees its own thread alone, so all of the work is done on one.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        let sources = [
            format!("raw:{}?size={width}x{height}&format=yuyv", raw.display()),
            format!("y4m:{}/clip.y4m", folder.path().display()),
            format!("test:?size={width}x{height}"),
        ];
        for uri in sources {
            let options = SourceOptions::default().with_pace(Pace::Every);
            let mut source = open_source(&uri, &options).unwrap();
            let mut frame = Frame::still(RgbImage::default());
            let (mut painter, mut labels) = (Painter::default(), LabelMap { width: 0, height: 0, labels: Vec::new() });
            let mut propagator = Propagator::new(PropagationOptions::default());
            for index in 0..50 {
                let taken = allocation_counter::measure(|| {
                    assert!(source.read(&mut frame).unwrap());
                    propagator.follow(&frame.pixels);
                    if index > 0 {
                        propagator.scores().unwrap();
                        propagator.labels(&mut painter, &mut labels).unwrap();
                    }
                });
                if index == 0 {
                    let encoded = session.encode(&frame).unwrap();
                    propagator.mark(frame.timestamp);
                    propagator.set_keyframe(session.score(&encoded, &bank, Background::None).unwrap(), encoded.placement);
                }
                assert!(index < 10 || taken.count_total == 0, "{uri}, frame {index}: {taken:?}");
            }
        }
    });
}

#[test]
fn with_the_encoder_beside_every_frame_has_its_masks() {
    let folder = tempfile::tempdir().unwrap();
    // Few of the frames can be key frames: a frame lasts 20 ms, the encoder much longer.
    let arguments = ["run", "--source", "test:?size=320x180&fps=50&frames=150", "--tags", "stripes, sky", "--pace", "every"];
    let ended = edge_seg(folder.path(), &[&arguments[..], &["--key-interval", "auto:0.5", "--smoothing", "200", "--size", "160"]].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let lines = ended.json_lines();
    assert_eq!(lines.len(), 150);
    let key = |line: &serde_json::Value| line["key_sequence"].as_u64().unwrap();
    assert!(lines.windows(2).all(|w| key(&w[0]) <= key(&w[1])));
    let keys: std::collections::BTreeSet<u64> = lines.iter().map(key).collect();
    assert!(keys.len() > 1 && keys.len() < 150, "{keys:?}");
    for line in &lines {
        let (sequence, key) = (line["sequence"].as_u64().unwrap(), key(line));
        assert!(key <= sequence);
        assert_eq!(line["key"].as_bool(), Some(key == sequence));
        let age = line["evidence_age_ms"].as_f64().unwrap();
        assert!(age + 0.01 >= 20.0 * (sequence - key) as f64, "{line}");
        assert_eq!(line["milliseconds"]["encode"].as_f64() == Some(0.0), line["milliseconds"]["prepare"].as_f64() == Some(0.0));
    }
}

#[test]
fn another_scene_is_a_key_frame_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut stream = Vec::new();
    for (index, name) in ["cat.jpg", "coffee.jpg"].iter().cycle().take(4).enumerate() {
        let mut scene = image::open(picture(name)).unwrap().resize_exact(160, 120, image::imageops::FilterType::Triangle).into_rgb8();
        if index % 2 == 1 {
            scene = image::imageops::rotate180(&scene);
            image::imageops::invert(&mut scene);
        }
        (0..5).for_each(|_| stream.extend_from_slice(scene.as_raw()));
    }
    fs::write(folder.path().join("clip.rgb"), stream).unwrap();
    let source = "raw:clip.rgb?size=160x120&format=rgb24";
    let keys = |cuts: &str| -> Vec<u64> {
        let ended = edge_seg(folder.path(), &["run", "--source", source, "--tags", "cat", "--key-interval", "8", "--size", "96", cuts]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.json_lines().iter().filter(|l| l["key"] == true).map(|l| l["sequence"].as_u64().unwrap()).collect()
    };
    assert_eq!(keys("--scene-cuts=true"), [0, 5, 10, 15]);
    assert_eq!(keys("--scene-cuts=false"), [0, 8, 16]);
}

#[test]
fn a_hot_board_is_governed_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let zone = folder.path().join("root/sys/class/thermal/thermal_zone0");
    fs::create_dir_all(&zone).unwrap();
    fs::write(zone.join("type"), "cpu-thermal\n").unwrap();
    fs::write(zone.join("temp"), "60000\n").unwrap();
    let mut child = Command::new(binary("edge-seg"))
        .current_dir(folder.path())
        .args(["run", "--source", "test:?size=64x48&fps=20", "--tags", "sky", "--size", "96", "--system-root", "root"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let limit = Instant::now() + Duration::from_secs(60);
    let mut until = |level: u64| {
        for line in &mut lines {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            if line["governor"]["level"].as_u64().expect("a governor for a live source") == level {
                return line;
            }
            assert!(Instant::now() < limit, "level {level} never came: {line}");
        }
        panic!("frames go on");
    };
    assert_eq!(until(0)["governor"]["rate"], 1.0);
    fs::write(zone.join("temp"), "81000\n").unwrap();
    let line = until(1);
    assert_eq!(line["governor"]["rate"], 0.5);
    assert_eq!(line["governor"]["reason"], "cpu-thermal at 81 °C");
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    drop(lines);
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("governor"), "{said}");
    let still =
        edge_seg(folder.path(), &["run", "--source", "test:?size=64x48&frames=2", "--pace", "every", "--tags", "sky", "--size", "96"]);
    assert!(still.json_lines().iter().all(|line| line.get("governor").is_none()), "a file is worked on as it is");
}
