//! Rules, events and the ways they take out of the program: JSON lines, snapshots, MQTT, web hooks, metrics.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use edge_seg::live::{Counters, FrameReport, KeyFrames, LiveOptions, Words};
use edge_seg::rules::{RuleBook, Watcher};
use edge_seg::source::{Pace, SourceOptions, open_source};
use edge_seg::{Background, Bundle, Options, Session, parse_classes};
use edge_seg_live::metrics::Metrics;
use edge_seg_model::region::Mask;
use edge_seg_tests::{Ended, binary, edge_seg, need_program, picture, schema};
use serde_json::Value;

/// Small enough for a test on two cores.
const SIZE: [&str; 2] = ["--size", "96"];
const PATIENCE: Duration = Duration::from_secs(90);

fn run(folder: &Path, arguments: &[&str]) -> Ended {
    edge_seg(folder, &[&["run"], arguments, &SIZE].concat())
}

/// Waits until something is there.
fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} never came");
        std::thread::sleep(Duration::from_millis(30));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A process that ends with the test.
pub(crate) struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("it starts"))
    }

    fn signal(&mut self, signal: &str) {
        let told = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(told.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A grey wall for a second, a cat for two, the wall for one, at 5 frames a second.
fn visit(folder: &Path) -> String {
    let cat = image::open(picture("cat.jpg")).unwrap().thumbnail(160, 160).into_rgb8();
    let wall = vec![128u8; cat.as_raw().len()];
    let mut raw = Vec::new();
    for frame in 0..20 {
        raw.extend_from_slice(if (5..15).contains(&frame) { cat.as_raw() } else { &wall });
    }
    fs::write(folder.join("visit.rgb"), raw).unwrap();
    format!("raw:visit.rgb?size={}x{}&format=rgb24&fps=5", cat.width(), cat.height())
}

/// Always holds, but frames a tenth of a second apart are gaps for it: an event ends and another starts with each.
const EVERY_FRAME: &str = "[[rule]]\nname = \"on\"\nwhen = { word = \"sky\", score_above = 0 }\ngap_s = 0.05\n";

const VISIT: &str = r#"
    [[zone]]
    name = "room"
    points = [[0.05, 0.05], [0.95, 0.05], [0.95, 0.95], [0.05, 0.95]]

    [[rule]]
    name = "a cat comes"
    when = { all = [{ word = "Cat", zone = "room", share_above = 0.1 }, { word = "cat", score_above = 0.3 }] }
    for_s = 0.5
    end_after_s = 0.5

    [[rule]]
    name = "two at once"
    when = { all = [{ word = "cat" }, { word = "dog" }] }
"#;

#[test]
fn a_visit_gives_its_events_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let source = visit(folder.path());
    fs::write(folder.path().join("rules.toml"), VISIT).unwrap();
    let files = ["--rules", "rules.toml", "--events", "events.jsonl", "--snapshots", "shots", "--start-time", "20260501T080000Z"];
    let words = ["--source", &source, "--tags", "cat, wall", "--pace", "every", "--size", "224"];
    let ended = edge_seg(folder.path(), &[&["run"], words.as_slice(), &files].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("rules name words that are not in the list: dog"), "{}", ended.stderr);
    let frames = ended.json_lines();
    assert_eq!(frames.len(), 20);
    let in_frames: Vec<Value> = frames.iter().filter_map(|f| f.get("events")).flat_map(|e| e.as_array().unwrap().clone()).collect();
    let mut in_file: Vec<Value> =
        fs::read_to_string(folder.path().join("events.jsonl")).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    in_file.iter().for_each(|event| schema::check("event", event));
    let versions = in_file.iter_mut().map(|event| event.as_object_mut().unwrap().remove("version"));
    assert!(versions.collect::<Vec<_>>().iter().all(|version| *version == Some(1.into())), "a line by itself has a version");
    assert_eq!(in_frames, in_file);
    let brief: Vec<_> = in_file.iter().map(|e| (e["event"].as_str().unwrap(), e["sequence"].as_u64(), e["duration_ms"].as_f64())).collect();
    // The cat stands there from frame 5; half a second later is frame 8. It is gone from frame 15 on; half a second after the last
    // sight is frame 17.
    assert_eq!(brief, [("started", Some(8), Some(600.0)), ("ended", Some(17), Some(1800.0))]);
    assert_eq!([&in_file[0]["time"], &in_file[1]["time"]], ["2026-05-01T08:00:01.600Z", "2026-05-01T08:00:03.400Z"]);
    assert_eq!(frames[8]["events"][0]["measured"][0]["zone"], "room");
    assert!(in_file[0]["measured"][0]["share"].as_f64() > Some(0.1) && in_file[1]["measured"][0]["share"].as_f64() < Some(0.1));
    assert_eq!(in_file[0]["measured"].as_array().unwrap().len(), 2);
    let shot = image::open(folder.path().join(in_file[0]["snapshot"].as_str().unwrap())).unwrap();
    assert_eq!(u64::from(shot.width()), frames[0]["width"].as_u64().unwrap());
    assert_eq!(in_file[1].get("snapshot"), None);
    assert_eq!(fs::read_dir(folder.path().join("shots")).unwrap().count(), 1);
}

#[test]
fn rules_are_followed_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let rule = |name: &str| format!("[[rule]]\nname = \"{name}\"\nwhen = {{ word = \"sky\", score_above = 0 }}\n");
    let configure = |rules: &str| {
        let text = format!("[rules]\nfile = \"{rules}\"\nevents = \"events.jsonl\"\n");
        edge_seg_bundle::files::replace_file(&at("run.toml"), text.as_bytes()).unwrap();
    };
    fs::write(at("one.toml"), rule("first")).unwrap();
    fs::write(at("other.toml"), rule("third")).unwrap();
    configure("one.toml");
    let mut command = Command::new(binary("edge-seg"));
    command.current_dir(folder.path()).args(["run", "--source", "test:?size=64x48&fps=10", "--tags", "sky", "--config", "run.toml"]);
    command.args(SIZE).stdout(Stdio::null()).stderr(fs::File::create(at("log")).unwrap());
    let mut running = Running::start(&mut command);
    let wait_said = |what: &str| wait(what, || fs::read_to_string(at("log")).ok().filter(|log| log.contains(what)));
    let events = || -> Vec<String> {
        let text = fs::read_to_string(at("events.jsonl")).unwrap_or_default();
        let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.map(|e| format!("{} {}", e["rule"].as_str().unwrap(), e["event"].as_str().unwrap())).collect()
    };
    let wait_events = |count: usize| wait("an event", || Some(events()).filter(|events| events.len() >= count));
    wait_events(1);
    fs::write(at("one.toml"), "[[rules]]\n").unwrap();
    wait_said("the rules stay as they were: one.toml:1: expected ");
    fs::write(at("one.toml"), rule("second")).unwrap();
    wait_events(3);
    // Another file by the configuration; the one before is followed no more.
    configure("missing.toml");
    wait_said("the configuration stays as it was: missing.toml");
    configure("other.toml");
    wait_events(5);
    fs::write(at("one.toml"), rule("nobody reads this")).unwrap();
    fs::write(at("other.toml"), rule("fourth")).unwrap();
    let found = wait_events(7);
    let expected = ["first started", "first ended", "second started", "second ended", "third started", "third ended", "fourth started"];
    assert_eq!(found, expected);
    running.signal("-TERM");
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    let log = fs::read_to_string(at("log")).unwrap();
    assert!(!log.contains("after a restart"), "{log}");
}

#[test]
fn words_follow_a_profile_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // No picture is as bright as that: it is on from the first frame.
    let dark = "[[profile]]\nname = \"dark\"\ndarker_than = 1.0\nsettle_s = 0\nwords = \"sky, torch\"\nthresholds = { sky = 0.9 }\n";
    let rule = "[[rule]]\nname = \"night\"\nwhen = { profile = \"dark\" }\n";
    fs::write(at("rules.toml"), [dark, rule].concat()).unwrap();
    let mut command = Command::new(binary("edge-seg"));
    command.current_dir(folder.path()).args([
        "run",
        "--source",
        "test:?size=64x48&fps=10",
        "--tags",
        "sky, stripes",
        "--rules",
        "rules.toml",
    ]);
    let mut running = Running::start(command.args(SIZE).stdout(Stdio::piped()).stderr(fs::File::create(at("log")).unwrap()));
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let mut until = |what: &str, holds: &dyn Fn(&Value) -> bool| {
        let end = Instant::now() + PATIENCE;
        loop {
            let line: Value = serde_json::from_str(&lines.next().expect("a line").unwrap()).unwrap();
            if holds(&line) {
                return line;
            }
            assert!(Instant::now() < end, "{what} never came: {line}");
        }
    };
    let names =
        |line: &Value| -> Vec<String> { line["classes"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().into()).collect() };
    let first = until("a frame", &|_| true);
    assert_eq!((first["profile"].as_str(), first["events"][0]["event"].as_str()), (Some("dark"), Some("started")));
    until("the profile's words", &|line| names(line) == ["sky", "stripes", "torch"] && line["profile"] == "dark");
    fs::write(at("rules.toml"), "").unwrap();
    let back = until("the list's words", &|line| names(line) == ["sky", "stripes"]);
    assert_eq!(back.get("profile"), None);
    running.signal("-TERM");
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
}

#[test]
fn the_zone_that_profiles_go_by_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let night = "[[profile]]\nname = \"night\"\nfrom = \"22:00\"\nto = \"06:00\"\n";
    let rule = "[[rule]]\nname = \"dark\"\nwhen = { profile = \"night\" }\n";
    fs::write(folder.path().join("rules.toml"), format!("{night}{rule}")).unwrap();
    for (zone, said) in [
        ("UTC", "profiles, and what is usual, go by the local time of UTC"),
        ("JST-9", "profiles, and what is usual, go by the local time of UTC+09"),
        ("Nowhere/Nix", "profiles, and what is usual, go by UTC: TZ: expected a time zone that this system has"),
    ] {
        let ended = Command::new(binary("edge-seg"))
            .current_dir(folder.path())
            .env("TZ", zone)
            .args(["run", "--source", "test:?size=64x48&frames=1", "--tags", "sky", "--size", "96", "--rules", "rules.toml"])
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && stderr.contains(said), "{zone}: {stderr}");
    }
}

#[test]
fn what_departs_from_a_week_is_an_event() {
    let folder = tempfile::tempdir().unwrap();
    let cat = image::open(picture("cat.jpg")).unwrap().thumbnail(96, 96).into_rgb8();
    let wall = vec![128u8; cat.as_raw().len()];
    // A picture a second, a little longer than the minute that is compared.
    fs::write(folder.path().join("wall.rgb"), wall.repeat(70)).unwrap();
    fs::write(folder.path().join("cat.rgb"), cat.as_raw().repeat(70)).unwrap();
    let rule = "[[rule]]\nname = \"odd\"\nwhen = { word = \"cat\", unusual = \"more\" }\n";
    fs::write(folder.path().join("rules.toml"), rule).unwrap();
    let history = folder.path().join("state/normal.history");
    let day = |day: usize, file: &str| {
        let source = format!("raw:{file}?size={}x{}&format=rgb24&fps=1", cat.width(), cat.height());
        let start = format!("202601{day:02}T120000Z");
        let rules = ["--rules", "rules.toml", "--start-time", &start, "--state", "state"];
        let words = ["--source", &source, "--tags", "cat, wall", "--pace", "every", "--size", "224", "--key-interval", "35"];
        let ended = edge_seg(folder.path(), &[&["run"], words.as_slice(), &rules].concat());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let frames = ended.json_lines();
        let events: Vec<Value> = frames.iter().filter_map(|f| f.get("events")).flat_map(|e| e.as_array().unwrap().clone()).collect();
        (events, ended.stderr)
    };
    for before in 1..=7 {
        let (events, said) = day(before, "wall.rgb");
        assert_eq!(events, Vec::<Value>::new(), "day {before}");
        assert!(said.contains(&format!("normal.history: what is usual is learned from {} day", before - 1)), "{said}");
    }
    let learned = fs::read(&history).unwrap();
    let (events, _) = day(8, "cat.rgb");
    assert_eq!(events.len(), 1, "{events:?}");
    let (told, measured) = (&events[0], &events[0]["measured"][0]);
    assert_eq!(
        (told["rule"].as_str(), told["event"].as_str(), told["time"].as_str()),
        (Some("odd"), Some("started"), Some("2026-01-08T12:01:00.000Z"))
    );
    assert!(measured["share"].as_f64() > measured["usual"][1].as_f64() && measured["usual"][0].as_f64() == Some(0.0), "{told}");
    // A day that ends in the middle of a write leaves the file of before; damage begins anew and says so.
    fs::write(&history, &learned[..learned.len() / 2]).unwrap();
    let (events, said) = day(8, "cat.rgb");
    assert_eq!(events, Vec::<Value>::new());
    assert!(said.contains("what is usual is learned anew") && said.contains("normal.history.damaged"), "{said}");
    assert_eq!(fs::read(folder.path().join("state/normal.history.damaged")).unwrap(), &learned[..learned.len() / 2]);
    let (events, said) = day(9, "cat.rgb");
    assert!(events.is_empty() && said.contains("is learned from 1 day,"), "{said}");
}

#[test]
fn snapshots_stay_few() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("shots")).unwrap();
    fs::write(folder.path().join("shots/mine.jpg"), "not ours").unwrap();
    fs::write(folder.path().join("shots/2001-01-01T00-00-00-000Z-old-1.event.jpg"), "an earlier run's").unwrap();
    fs::write(folder.path().join("rules.toml"), EVERY_FRAME).unwrap();
    let source = ["--source", "test:?size=64x48&fps=10&frames=12", "--tags", "sky", "--pace", "every"];
    let files = ["--rules", "rules.toml", "--snapshots", "shots", "--snapshots-kept", "3"];
    let ended = run(folder.path(), &[source.as_slice(), &files].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let started = ended.json_lines().iter().filter(|f| f["events"].to_string().contains("started")).count();
    assert_eq!(started, 12);
    let mut names: Vec<_> =
        fs::read_dir(folder.path().join("shots")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names.iter().any(|n| n == "mine.jpg") && !names.iter().any(|n| n.contains("old")), "{names:?}");
}

#[test]
fn wrong_rules_and_options_are_refused_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.toml"), "[[rule]]\nname = \"a\"\nwhen = { word = \"x\", zone = \"nowhere\" }\n").unwrap();
    fs::write(folder.path().join("odd.toml"), "[[rule]]\nname = \"a\"\nwhen = { word = \"x\", unusual = \"more\" }\n").unwrap();
    fs::write(folder.path().join("plain.toml"), "[[rule]]\nname = \"a\"\nwhen = { word = \"sky\", share_above = 0.5 }\n").unwrap();
    for (arguments, complaint) in [
        (&["--rules", "odd.toml"][..], "--rules: expected --state DIR to keep what is usual in"),
        (&["--rules", "bad.toml"], "bad.toml: rule \"a\": expected the name of a [[zone]], found \"nowhere\""),
        (&["--rules", "none.toml"], "none.toml"),
        (&["--events", "e"], "--events needs --rules"),
        (&["--mqtt", "mqtt://me:secret@host"], "--mqtt-password-file"),
        (&["--mqtt", "mqtt://host", "--mqtt-user", "me"], "EDGE_SEG_MQTT_PASSWORD"),
        (&["--mqtt", "mqtt://host", "--mqtt-name", "a b"], "--mqtt-name: expected 1 to 64 letters"),
        (&["--webhook", "http://host"], "--webhook needs --rules"),
        (&["--rules", "plain.toml", "--webhook", "host"], "--webhook: expected http://HOST"),
        (&["--display", "fb:/dev/no-such-fb"], "no-such-fb"),
        (&["--display-interval", "1"], "--display-interval needs --display"),
    ] {
        let ended = run(folder.path(), &[&["--source", "test:?frames=1", "--tags", "sky"], arguments].concat());
        assert_eq!(ended.code, 2, "{arguments:?}");
        assert!(ended.stderr.contains(complaint) && !ended.stderr.contains("secret"), "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn masks_in_json_lines_are_those_of_the_pictures() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(picture("cat.jpg"), folder.path().join("cat.jpg")).unwrap();
    let arguments = ["--source", "cat.jpg", "--tags", "cat, wall, car", "--masks", "labels"];
    let rle = run(folder.path(), &[arguments.as_slice(), &["--json-masks", "rle"]].concat());
    assert_eq!(rle.code, 0, "{}", rle.stderr);
    let (rle, png) = (&rle.json_lines()[0], image::open(folder.path().join("labels/00000000.mask.png")).unwrap());
    let png = png.as_luma8().expect("8-bit grey");
    let (width, height) = (png.width() as usize, png.height() as usize);
    for class in rle["classes"].as_array().unwrap() {
        let mask = &class["segmentation"];
        assert_eq!(mask["size"], serde_json::json!([height, width]));
        let mask = Mask::from_counts(mask["counts"].as_str().unwrap(), width, height);
        let differ = png.enumerate_pixels().filter(|(x, y, p)| {
            let inside = mask.as_ref().is_some_and(|m| m.contains(*x as usize, *y as usize));
            inside != (u64::from(p.0[0]) == class["label"].as_u64().unwrap())
        });
        assert_eq!(differ.count(), 0, "{}", class["name"]);
    }
    let polygons = run(folder.path(), &[arguments.as_slice(), &["--json-masks", "polygons"]].concat());
    let polygons = &polygons.json_lines()[0]["classes"][0];
    let areas = polygons["segmentation"].as_array().unwrap().iter().map(|outline| {
        let points: Vec<f64> = outline.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        let corner = |i: usize| (points[2 * i % points.len()], points[(2 * i + 1) % points.len()]);
        let twice: f64 = (0..points.len() / 2).map(|i| (corner(i), corner(i + 1))).map(|((a, b), (c, d))| a * d - c * b).sum();
        twice / 2.0
    });
    let (area, pixels) = (areas.sum::<f64>(), polygons["pixels"].as_f64().unwrap());
    // They run through the middles of the border pixels' outer halves, and cut corners.
    assert!(pixels > 1000.0 && (area / pixels - 1.0).abs() < 0.1, "{area} of {pixels} pixels");
    // One for each region, however small.
    let labels: Vec<u16> = png.as_raw().iter().map(|v| u16::from(*v)).collect();
    let regions = edge_seg::region::regions(&labels, width, 1).into_iter().filter(|(label, _)| *label == 1).count();
    assert_eq!(polygons["segmentation"].as_array().unwrap().len(), regions);
}

pub(crate) type Requests = Arc<Mutex<Vec<(String, String)>>>;

/// Answers each request with the next status of a list, then with its last, and keeps what came.
pub(crate) fn http_server(statuses: &'static [u16], pause: Duration) -> (u16, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let kept = requests.clone();
    std::thread::spawn(move || {
        for (i, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let mut stream: TcpStream = stream;
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head += &line;
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            kept.lock().unwrap().push((head, String::from_utf8(body).unwrap()));
            std::thread::sleep(pause);
            let status = statuses.get(i).or(statuses.last()).unwrap();
            let _ = write!(
                stream,
                "HTTP/1.1 {status} x\r\nlocation: http://127.0.0.1:{port}/elsewhere\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
        }
    });
    (port, requests)
}

#[test]
fn web_hooks_are_signed_and_tried_again() {
    if !need_program("openssl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (port, requests) = http_server(&[503, 429, 204], Duration::ZERO);
    fs::write(folder.path().join("rules.toml"), EVERY_FRAME).unwrap();
    fs::write(folder.path().join("key"), "a key\n").unwrap();
    let url = format!("http://127.0.0.1:{port}/hook?token=abc");
    let mut child = Running::start(
        Command::new(binary("edge-seg"))
            .current_dir(folder.path())
            .args(["run", "--source", "test:?size=64x48&fps=10", "--tags", "sky", "--rules", "rules.toml"])
            .args(["--webhook", &url, "--webhook-secret-file", "key"])
            .args(SIZE)
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    wait("the second event", || (requests.lock().unwrap().len() >= 4).then_some(()));
    child.signal("-TERM");
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    let requests = requests.lock().unwrap();
    let (head, body) = &requests[0];
    let event: Value = serde_json::from_str(body).unwrap();
    schema::check("event", &event);
    assert_eq!((event["version"].as_u64(), event["rule"].as_str(), event["event"].as_str()), (Some(1), Some("on"), Some("started")));
    assert!(head.starts_with("POST /hook?token=abc HTTP/1.1"), "{head}");
    assert_eq!((body, body), (&requests[1].1, &requests[2].1), "the same event three times");
    let header = |head: &str, name: &str| head.lines().find_map(|l| l.to_lowercase().strip_prefix(name).map(|v| v.trim().to_owned()));
    let delivery = header(head, "x-edge-seg-delivery:").unwrap();
    assert_eq!(header(&requests[2].0, "x-edge-seg-delivery:"), Some(delivery.clone()));
    assert_ne!(header(&requests[3].0, "x-edge-seg-delivery:"), Some(delivery), "and then the next one");
    fs::write(folder.path().join("body"), body).unwrap();
    let signed = Command::new("openssl").current_dir(folder.path()).args(["dgst", "-sha256", "-hmac", "a key", "body"]).output().unwrap();
    let signed = String::from_utf8(signed.stdout).unwrap();
    assert_eq!(header(head, "x-hub-signature-256: sha256=").as_deref(), signed.trim().rsplit(' ').next());
}

#[test]
fn a_web_hook_that_hangs_or_sends_elsewhere_costs_events_and_no_frames() {
    let folder = tempfile::tempdir().unwrap();
    let (slow, slow_requests) = http_server(&[200], Duration::from_secs(5));
    let (moved, moved_requests) = http_server(&[302], Duration::ZERO);
    fs::write(folder.path().join("rules.toml"), EVERY_FRAME).unwrap();
    let (slow, moved) = (format!("http://127.0.0.1:{slow}/"), format!("http://127.0.0.1:{moved}/"));
    let start = Instant::now();
    let source = ["--source", "test:?size=64x48&fps=10&frames=60", "--tags", "sky", "--pace", "every"];
    let ended = run(folder.path(), &[source.as_slice(), &["--rules", "rules.toml", "--webhook", &slow, "--webhook", &moved]].concat());
    assert_eq!((ended.code, ended.json_lines().len()), (0, 60), "{}", ended.stderr);
    assert!(start.elapsed() < Duration::from_secs(200), "two events a frame, five seconds each, were waited for");
    assert!(slow_requests.lock().unwrap().len() < 60);
    let moved = moved_requests.lock().unwrap();
    assert!(!moved.is_empty() && moved.iter().all(|(head, _)| !head.contains("/elsewhere")), "a signed body follows no redirect");
}

#[test]
fn metrics_are_what_prometheus_reads() {
    let session = Arc::new(Session::new(Bundle::built_in().unwrap(), &Options::default().with_size_px(96)).unwrap());
    let specs = parse_classes("words", "sky, \"odd\\\" word").unwrap().into_iter().map(Into::into).collect();
    let words = Arc::new(Words::new(session.clone(), specs, vec![], Background::Threshold(0.3)).unwrap());
    let counters = Arc::new(Counters::default());
    let metrics = Metrics::new(&session, counters.clone(), Arc::default());
    metrics.queue("mqtt").fetch_add(2, Ordering::Relaxed);
    let mut watcher =
        Watcher::new(RuleBook::parse("rules", "[[rule]]\nname = \"sky\"\nwhen = { word = \"sky\", score_above = 0 }").unwrap()).unwrap();
    let source = open_source("test:?size=64x48&fps=30&frames=5", &SourceOptions::default().with_pace(Pace::Every)).unwrap();
    let options = LiveOptions::default().with_pace(Pace::Every).with_keys(KeyFrames::Every(2)).with_scene_cuts(false);
    edge_seg_live::run(&session, source, &words, options, &counters, &Arc::default(), |shown| {
        let mut report = FrameReport::new(&shown);
        report.observe(&mut watcher, &shown, SystemTime::now());
        metrics.observe(&report);
        Ok::<bool, edge_seg::Error>(true)
    })
    .unwrap();
    let text = metrics.render();
    for line in [
        "edge_seg_frames_segmented_total 5",
        "edge_seg_stage_duration_seconds_count{stage=\"encode\"} 3",
        "edge_seg_stage_duration_seconds_count{stage=\"mask\"} 5",
        "edge_seg_frame_latency_seconds_count 5",
        "edge_seg_queue_dropped_total{queue=\"mqtt\"} 2",
        "edge_seg_rule_events_total{rule=\"sky\",event=\"started\"} 1",
        "edge_seg_rule_active{rule=\"sky\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}: {text}");
    }
    if !need_program("promtool") {
        return;
    }
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr) + String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && said.trim().is_empty(), "{said}");
}

mod broker;

pub(crate) use broker::{Heard, Mosquitto};
