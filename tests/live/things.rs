//! Things that are counted and followed, from the program's own side: JSON lines, rules, what is off unless it is asked for.

mod drawn;

use std::fs;
use std::path::Path;

use edge_seg_tests::{Ended, edge_seg, picture};
use serde_json::Value;

/// Two cats on grey, 5 frames a second: both stand for a second, then one walks out to the right, through the middle, and the other stays.
fn two_cats(folder: &Path) -> String {
    let cat = image::open(picture("cat.jpg")).unwrap().thumbnail(120, 80).into_rgb8();
    let (width, height) = (480u32, 200u32);
    let mut raw = Vec::new();
    for frame in 0..30u32 {
        let mut picture = image::RgbImage::from_pixel(width, height, image::Rgb([128; 3]));
        let walked = frame.saturating_sub(5) * 16;
        for left in [10, 180 + walked] {
            image::imageops::replace(&mut picture, &cat, i64::from(left), 60);
        }
        raw.extend_from_slice(picture.as_raw());
    }
    fs::write(folder.join("cats.rgb"), raw).unwrap();
    format!("raw:cats.rgb?size={width}x{height}&format=rgb24&fps=5")
}

fn run(folder: &Path, source: &str, more: &[&str]) -> Ended {
    let words = ["run", "--source", source, "--tags", "cat, wall", "--pace", "every", "--size", "160"];
    edge_seg(folder, &[&words, more].concat())
}

const RULES: &str = r#"
    [[zone]]
    name = "left"
    points = [[0, 0], [0.34, 0], [0.34, 1], [0, 1]]

    [[line]]
    name = "gate"
    points = [[0.7, 1.0], [0.7, 0.0]]

    [[rule]]
    name = "a pair"
    when = { word = "cat", count_above = 2 }
    for_s = 0.8
    end_after_s = 0.5

    [[rule]]
    name = "one stays"
    when = { word = "cat", zone = "left", dwell_above_s = 3 }

    [[rule]]
    name = "out"
    when = { word = "Cat", line = "gate", crosses = "right" }

    [[rule]]
    name = "back"
    when = { word = "cat", line = "gate", crosses = "left" }
"#;

#[test]
fn two_cats_are_counted_followed_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let source = two_cats(folder.path());
    fs::write(folder.path().join("rules.toml"), RULES).unwrap();
    let ended = run(folder.path(), &source, &["--things", "Cat", "--rules", "rules.toml", "--json-masks", "rle"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let frames = ended.json_lines();
    assert_eq!(frames.len(), 30);

    // Ids last: the cat on the left has one number from the second frame to the last, and so has the one that walks while it is there.
    let near = |frame: &Value, x: f64| {
        let list = frame["things"].as_array().unwrap();
        let found = list.iter().find(|thing| (thing["centroid"][0].as_f64().unwrap() - x).abs() < 40.0);
        found.map(|thing| thing["id"].as_u64().unwrap())
    };
    let standing: Vec<_> = frames[1..].iter().map(|frame| near(frame, 70.0)).collect();
    assert!(standing.iter().all(|id| id.is_some() && *id == standing[0]), "{standing:?}");
    let walking: Vec<_> = (1..18).map(|i| near(&frames[i], 240.0 + 16.0 * i.saturating_sub(5) as f64)).collect();
    assert!(walking.iter().all(|id| id.is_some() && *id == walking[0] && *id != standing[0]), "{walking:?}");

    let counts: Vec<_> = frames.iter().map(|frame| frame["classes"][0]["count"].as_u64().unwrap()).collect();
    assert_eq!((counts[10], counts[29]), (2, 1), "{counts:?}");
    assert!(frames[0]["classes"][1].get("count").is_none(), "walls are not counted");
    let thing = &frames[10]["things"][0];
    assert_eq!(thing["word"], "cat");
    assert_eq!(thing["segmentation"]["size"], serde_json::json!([200, 480]));
    let covered: u64 = frames[10]["things"].as_array().unwrap().iter().map(|thing| thing["pixels"].as_u64().unwrap()).sum();
    assert!(covered <= frames[10]["classes"][0]["pixels"].as_u64().unwrap());

    let events: Vec<Value> = frames.iter().filter_map(|f| f.get("events")).flat_map(|e| e.as_array().unwrap().clone()).collect();
    let told = |rule: &str| -> Vec<(&str, u64)> {
        let own = events.iter().filter(|e| e["rule"] == rule);
        own.map(|e| (e["event"].as_str().unwrap(), e["sequence"].as_u64().unwrap())).collect()
    };
    // Both have numbers from frame 1 on; 0.8 s later is frame 5.
    assert_eq!(told("a pair")[0], ("started", 5), "{events:?}");
    assert_eq!(told("a pair").len(), 2, "{events:?}");
    // Since frame 1 in the zone; 3 s later is frame 16.
    assert_eq!(told("one stays"), [("started", 16)], "{events:?}");
    // The line is looked at upwards, so that its right hand is the picture's right; the middle of the cat passes 336 in its seventh step,
    // which is settled 0.3 s or two frames later.
    let out = told("out");
    assert!(out.len() == 2 && (13..=15).contains(&out[0].1), "{events:?}");
    assert_eq!(told("back"), []);
    let crossing = events.iter().find(|e| e["rule"] == "out").unwrap();
    assert_eq!(crossing["measured"][0]["ids"], serde_json::json!([walking[0]]));
    assert_eq!(crossing["measured"][0]["line"], "gate");
    let tallies = serde_json::json!([
        { "word": "cat", "zone": "left", "count": 1, "entered": 0, "left": 0 },
        { "word": "cat", "line": "gate", "to_right": 1, "to_left": 0 },
    ]);
    assert_eq!(frames[29]["tallies"], tallies);
}

#[test]
fn nothing_is_counted_unless_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let source = two_cats(folder.path());
    let ended = run(folder.path(), &source, &["--frames", "3"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for word in ["things", "tallies", "count\""] {
        assert!(!ended.stdout.contains(word), "{word}: {}", ended.stdout);
    }
    let ended = run(folder.path(), &source, &["--frames", "1", "--things", "Cat, cta"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("not in the list; their things count once somebody adds them: cta\n"), "{}", ended.stderr);
    fs::write(folder.path().join("rules.toml"), RULES).unwrap();
    for (arguments, complaint) in [
        (&["--rules", "rules.toml"][..], "--rules: expected --things WORDS"),
        (&["--things", " , "], "expected all, or words separated by commas"),
        (&["--things-least", "0.1"], "--things-least needs --things"),
        (&["--things", "cat", "--things-least", "2"], "--things-least: expected 0 to 1, found 2"),
        (&["--things", "cat", "--things-patience", "9999"], "--things-patience: expected seconds"),
    ] {
        let ended = run(folder.path(), &source, arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(ended.stderr.contains(complaint), "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn bench_tells_what_each_option_costs() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rules.toml"), RULES).unwrap();
    let stages = |more: &[&str]| -> Vec<String> {
        let base = ["bench", "test:?size=64x48", "--tags", "sky", "--size", "64", "--frames", "2", "--json"];
        let ended = edge_seg(folder.path(), &[&base, more].concat());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let report: Value = serde_json::from_str(&ended.stdout).unwrap();
        let list = report["stages"].as_array().unwrap();
        let more = list.iter().filter(|stage| !["read", "prepare", "score"].contains(&stage["stage"].as_str().unwrap()));
        assert!(more.clone().all(|stage| stage["median_ms"].as_f64() > Some(0.0)), "{report}");
        list.iter().map(|stage| stage["stage"].as_str().unwrap().to_owned()).collect()
    };
    let plain = stages(&[]);
    for (more, own) in [
        (&["--things", "sky"][..], &["motion", "things"][..]),
        (&["--rules", "rules.toml"], &["rules"]),
        (&["--index"], &["index"]),
        (&["--hide", "sky"], &["hide"]),
        (&["--things", "sky", "--rules", "rules.toml", "--index"], &["motion", "things", "rules", "index"]),
    ] {
        let found = stages(more);
        let others: Vec<&str> = found.iter().filter(|stage| !plain.contains(stage)).map(String::as_str).collect();
        assert_eq!(others, own, "{more:?}");
    }
    let cat = format!("{}:10,10,200,200=eye", picture("cat.jpg").display());
    assert_eq!(stages(&["--example", &cat]), plain);
    let both = edge_seg(folder.path(), &["bench", "--hide", "sky", "--index"]);
    assert!(both.code == 2 && both.stderr.contains("--index"), "{}", both.stderr);
}
