//! Video as a person runs it: sources, words that change, sinks, signals.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use edge_seg_tests::{Ended, binary, data, edge_seg, need_program, picture};

/// Small enough for a test on two cores.
const SIZE: [&str; 2] = ["--size", "96"];

fn run(folder: &Path, arguments: &[&str]) -> Ended {
    edge_seg(folder, &[&["run"], arguments, &SIZE].concat())
}

fn sequences(ended: &Ended) -> Vec<u64> {
    ended.json_lines().iter().map(|line| line["sequence"].as_u64().expect("a number")).collect()
}

#[test]
fn every_frame_of_a_waiting_source_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--source", "test:?size=64x48&fps=10&frames=6", "--pace", "every", "--tags", "stripes, sky", "--key-interval", "3"];
    let outputs = ["--overlay", "out.y4m", "--masks", "labels"];
    let ended = run(folder.path(), &[arguments.as_slice(), &outputs].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let lines = ended.json_lines();
    assert_eq!(sequences(&ended), [0, 1, 2, 3, 4, 5]);
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(line["timestamp_ms"].as_f64(), Some(100.0 * i as f64));
        assert_eq!((line["width"].as_u64(), line["height"].as_u64()), (Some(64), Some(48)));
        assert_eq!(line["key"].as_bool(), Some(i % 3 == 0), "{line}");
        assert_eq!(line["dropped"].as_u64(), Some(0));
        assert!(line["latency_ms"].as_f64().unwrap() > 0.0);
        assert_eq!(line["classes"][1]["name"], "sky");
        let shares: f64 = [0, 1].iter().map(|&c| line["classes"][c]["share"].as_f64().unwrap()).sum();
        assert!((shares + line["background_share"].as_f64().unwrap() - 1.0).abs() < 1e-9);
        let mask = image::open(folder.path().join(format!("labels/{i:08}.mask.png"))).unwrap();
        let pixels = mask.as_luma8().expect("8-bit grey").pixels().filter(|p| p.0[0] == 1).count() as u64;
        assert_eq!(line["classes"][0]["pixels"].as_u64(), Some(pixels));
    }
    let video = fs::read(folder.path().join("out.y4m")).unwrap();
    assert!(video.starts_with(b"YUV4MPEG2 W64 H48 F10:1 "));
    let header = video.iter().position(|&b| b == b'\n').unwrap() + 1;
    assert_eq!(video.len(), header + 6 * (6 + 3 * 64 * 48));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing half written stays");
}

#[test]
fn a_live_source_loses_frames_and_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let ended = run(folder.path(), &["--source", "test:?size=64x48&fps=1000&frames=1000", "--tags", "sky"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let seen = sequences(&ended);
    assert!(seen.windows(2).all(|w| w[0] < w[1]), "{seen:?}");
    let dropped: usize = ended.stderr.rsplit(", ").next().and_then(|t| t.split(' ').next()).and_then(|n| n.parse().ok()).expect("a count");
    assert!(dropped > 0, "a thousand frames a second are too many");
    assert_eq!(seen.len() + dropped, 1000, "each frame is told or counted");
}

#[test]
fn a_pipe_of_video_segments_like_its_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let cat = image::open(picture("cat.jpg")).unwrap().thumbnail(160, 160).into_rgb8();
    let mut raw = cat.as_raw().clone();
    raw.extend_from_slice(cat.as_raw());
    fs::write(folder.path().join("cat.rgb"), raw).unwrap();
    cat.save(folder.path().join("cat.png")).unwrap();
    let source = format!("raw:cat.rgb?size={}x{}&format=rgb24&fps=5", cat.width(), cat.height());
    let video = run(folder.path(), &["--source", &source, "--tags", "cat, car"]);
    assert_eq!(video.code, 0, "{}", video.stderr);
    let still = run(folder.path(), &["--source", "cat.png", "--tags", "cat, car"]);
    assert_eq!(still.code, 0, "{}", still.stderr);
    let (video, still) = (video.json_lines(), still.json_lines());
    assert_eq!((video.len(), still.len()), (2, 1));
    assert_eq!(video[1]["classes"], still[0]["classes"]);
    assert!(still[0]["classes"][0]["score"].as_f64() > still[0]["classes"][1]["score"].as_f64(), "{}", still[0]);
}

/// `edge-seg run` with pipes to it and from it.
fn start(folder: &Path, arguments: &[&str]) -> Child {
    // Under `nohup` the tests themselves ignore SIGHUP, and what they start would too.
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP").arg(binary("edge-seg")).current_dir(folder).arg("run").args(arguments).args(SIZE);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

fn send(signal: &str, child: &Child) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

fn files_in(folder: &Path) -> Vec<OsString> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn words_change_while_it_runs_and_bad_ones_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = start(folder.path(), &["--source", "test:?size=64x48&fps=20", "--tags", "sky", "--commands"]);
    let mut commands = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = |version: u64| -> serde_json::Value {
        let limit = Instant::now() + Duration::from_secs(30);
        loop {
            let line: serde_json::Value = serde_json::from_str(&lines.next().expect("frames go on").unwrap()).unwrap();
            if line["words_version"] == version {
                return line;
            }
            assert!(Instant::now() < limit, "words {version} never came");
        }
    };
    let names = |line: &serde_json::Value| -> Vec<String> {
        line["classes"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().into()).collect()
    };
    assert_eq!(names(&until(1)), ["sky"]);
    writeln!(commands, "add dog, grass").unwrap();
    assert_eq!(names(&until(2)), ["sky", "dog", "grass"]);
    writeln!(commands, "nonsense\nremove horse\nremove sky, dog, grass\ntags ,\nremove sky").unwrap();
    assert_eq!(names(&until(3)), ["dog", "grass"]);
    writeln!(commands, "quit").unwrap();
    drop(commands);
    for line in lines {
        line.unwrap();
    }
    assert!(child.wait().unwrap().success());
}

/// Whoever gives them keeps stdin open: its end is no sign of the last.
#[test]
fn commands_that_were_given_before_the_end_are_obeyed() {
    let folder = tempfile::tempdir().unwrap();
    let source = ["--source", "test:?size=64x48&fps=20&frames=2", "--pace", "every", "--tags", "sky", "--commands", "--state", "state"];
    let mut child = start(folder.path(), &source);
    let mut commands = child.stdin.take().unwrap();
    let words: String = (0..20).map(|n| format!("add thing number {n}\n")).collect();
    writeln!(commands, "{words}save all").unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.map_while(Result::ok).count(), 2);
    assert!(child.wait().unwrap().success());
    let saved: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("state/words/all.json")).unwrap()).unwrap();
    assert_eq!(saved["words"].as_array().unwrap().len(), 21);
    assert_eq!(files_in(&folder.path().join("state/words")), ["all.json"], "nothing is left beside it");
    drop(commands);
}

#[test]
fn a_signal_ends_it_and_finishes_its_files() {
    let folder = tempfile::tempdir().unwrap();
    // SIGHUP comes from a terminal or ssh that goes away.
    for signal in ["-INT", "-HUP", "-TERM"] {
        // Nobody ever writes to this stdin: a source that blocks must not keep the program.
        let source = if signal != "-TERM" { "test:?size=64x48&fps=20" } else { "mjpeg:-" };
        let mut child = start(folder.path(), &["--source", source, "--tags", "sky", "--overlay", "out.y4m"]);
        // Read until it ends: a reader that goes away would end it as well.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        if signal != "-TERM" {
            lines.next().expect("a frame").unwrap();
        } else {
            std::thread::sleep(Duration::from_secs(2));
        }
        send(signal, &child);
        lines.for_each(|line| drop(line.unwrap()));
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal}");
        let left = files_in(folder.path());
        if signal != "-TERM" {
            assert_eq!(left, ["out.y4m"]);
            assert!(fs::metadata(folder.path().join("out.y4m")).unwrap().len() > 0);
            fs::remove_file(folder.path().join("out.y4m")).unwrap();
        } else {
            assert!(left.is_empty(), "no frame, no file: {left:?}");
        }
    }
}

#[test]
fn a_signal_to_a_run_that_is_ending_already_lets_it_finish() {
    for delay_ms in (0..40).step_by(4) {
        let folder = tempfile::tempdir().unwrap();
        let mut child = start(folder.path(), &["--source", "test:?size=64x48&fps=20", "--tags", "sky", "--overlay", "out.y4m"]);
        // Its reader goes away, which ends it, and the signal comes at about the same time.
        BufReader::new(child.stdout.take().unwrap()).lines().next().expect("a frame").unwrap();
        std::thread::sleep(Duration::from_millis(delay_ms));
        send("-INT", &child);
        assert_eq!(child.wait().unwrap().code(), Some(0), "after {delay_ms} ms");
        assert_eq!(files_in(folder.path()), ["out.y4m"]);
    }
}

/// A stand-in for ffmpeg that a script writes.
fn fake_ffmpeg(folder: &Path, script: &str) {
    let path = folder.join("ffmpeg");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn run_with_path(folder: &Path, path: &str, arguments: &[&str]) -> Ended {
    let mut command = Command::new(binary("edge-seg"));
    command.current_dir(folder).env("PATH", path).arg("run").args(arguments).args(SIZE).args(["--tags", "sky"]);
    command.output().unwrap().into()
}

#[test]
fn sources_without_a_name_or_host_are_errors_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let addresses = ["rtsp://", "http://", "http:///x", "https://", "rtsps:///x", "rtmp://:1935/x", "srt://"];
    for (source, said) in addresses.map(|address| (address, "an address like rtsp://")).into_iter().chain([("", "a file, a folder,")]) {
        let ended = run(folder.path(), &["--source", source, "--tags", "sky"]);
        assert!(ended.code == 2 && ended.stderr.contains(said), "{source}: {} {}", ended.code, ended.stderr);
    }
}

#[test]
fn a_missing_ffmpeg_is_named_with_its_package() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("clip.mp4"), b"anything").unwrap();
    for source in ["clip.mp4", "rtsps://127.0.0.1:1/none"] {
        let ended = run_with_path(folder.path(), "/nowhere", &["--source", source]);
        assert_eq!(ended.code, 2);
        assert!(ended.stderr.contains("install the package ffmpeg"), "{}", ended.stderr);
    }
}

#[test]
fn a_camera_that_dies_stalls_or_sends_garbage_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let head = r"printf 'YUV4MPEG2 W2 H2 F10:1 C444\nFRAME\n'; printf 'abcdefghijkl'";
    for (end, complaint) in [
        ("echo 'connection lost' >&2; exit 3", "connection lost"),
        ("exec sleep 60", "no frame for 500 ms"),
        ("printf 'GARBAGE GARBAGE GARBAGE\\n'; exec sleep 60", "expected FRAME"),
        ("exit 0", "the source ended"),
    ] {
        fake_ffmpeg(folder.path(), &format!("{head}; {end}"));
        let ended = run_with_path(
            folder.path(),
            &path,
            &["--source", "rtsps://u:secret@camera/1", "--stall", "0.5", "--frames", "2", "--pace", "every"],
        );
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert_eq!(sequences(&ended), [0, 1], "numbers go on over the break");
        assert!(ended.stderr.contains(complaint), "{complaint}: {}", ended.stderr);
        assert!(ended.stderr.contains("opening it again"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
    }
}

#[test]
fn colours_of_encoded_video_are_right_whatever_its_matrix() {
    if !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, matrix, range) in [("a.mkv", "bt709", "limited"), ("b.mkv", "smpte170m", "limited"), ("c.mkv", "bt709", "full")] {
        let filter = format!("scale=out_color_matrix={matrix}:out_range={range},format=yuv444p");
        let tag = if range == "full" { "pc" } else { "tv" };
        let made = Command::new("ffmpeg")
            .current_dir(folder.path())
            .args(["-loglevel", "error", "-f", "lavfi", "-i", "color=c=0xC81E3C:s=64x48:d=0.2:r=10,format=rgb24", "-vf", &filter])
            .args(["-colorspace", matrix, "-color_range", tag, "-c:v", "ffv1", name])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut source = edge_seg::source::open_source(&folder.path().join(name).display().to_string(), &Default::default()).unwrap();
        let mut frame = edge_seg::Frame::still(image::RgbImage::default());
        assert!(source.read(&mut frame).unwrap());
        let found = frame.pixels.get_pixel(30, 20).0;
        let off = found.iter().zip([200u8, 30, 60]).map(|(&a, b)| a.abs_diff(b)).max().unwrap();
        assert!(off <= 4, "{name}: {found:?}");
        assert!(source.read(&mut frame).unwrap());
        assert!(!source.read(&mut frame).unwrap());
    }
}

#[test]
fn a_real_clip_end_to_end() {
    let Some(data) = data() else { return };
    if !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let clip = data.join("video/solidWhiteRight.mp4");
    let clip = clip.to_str().unwrap();
    let ended = run(folder.path(), &["--source", clip, "--tags", "road, sky, car", "--frames", "8", "--overlay", "out.mp4"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let lines = ended.json_lines();
    assert_eq!(sequences(&ended), (0..8).collect::<Vec<_>>());
    assert_eq!((lines[7]["width"].as_u64(), lines[7]["timestamp_ms"].as_f64()), (Some(960), Some(280.0)));
    let mut source = edge_seg::source::open_source(folder.path().join("out.mp4").to_str().unwrap(), &Default::default()).unwrap();
    let mut frame = edge_seg::Frame::still(image::RgbImage::default());
    let mut count = 0;
    while source.read(&mut frame).unwrap() {
        count += 1;
        assert_eq!(frame.pixels.dimensions(), (960, 540));
    }
    assert_eq!(count, 8);
    fs::write(folder.path().join("no.mp4"), b"this is no video").unwrap();
    let bad = run(folder.path(), &["--source", "no.mp4", "--tags", "sky"]);
    assert_eq!(bad.code, 2);
    assert!(bad.stderr.contains("Invalid data"), "{}", bad.stderr);
}

#[test]
fn an_output_that_fails_ends_no_other_unless_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let source = ["--source", "test:?size=64x48&fps=10&frames=6", "--pace", "every", "--tags", "sky"];
    let full = ["--overlay", "/dev/full", "--masks", "labels"];
    let ended = run(folder.path(), &[source.as_slice(), &full].concat());
    assert_eq!((ended.code, sequences(&ended).len()), (2, 6), "{}", ended.stderr);
    assert!(ended.stderr.contains("--overlay: /dev/full: No space left on device"), "{}", ended.stderr);
    assert!(ended.stderr.contains("--overlay: ") && ended.stderr.contains("frames could not be written"), "{}", ended.stderr);
    assert_eq!(fs::read_dir(folder.path().join("labels")).unwrap().count(), 6);
    let ended = run(folder.path(), &[source.as_slice(), &full, &["--output-fault", "end"]].concat());
    assert!(ended.code == 2 && sequences(&ended).len() < 6, "{}", ended.stderr);
}

#[test]
fn each_output_whose_folder_vanishes_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("out");
    fs::create_dir(&at).unwrap();
    let outputs = ["--masks", "out/masks", "--overlay", "out/film.y4m"];
    let source = ["--source", "test:?size=64x48&fps=10&frames=20", "--pace", "live", "--tags", "sky"];
    let mut command = Command::new(binary("edge-seg"));
    command.current_dir(folder.path()).arg("run").args(source).args(outputs).args(SIZE);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().expect("a frame").unwrap();
    fs::rename(&at, folder.path().join("away")).unwrap();
    lines.for_each(drop);
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains("frames could not be written") && said.contains("out/film.y4m: No such file"), "{said}");
}

#[test]
fn a_killed_run_leaves_nothing_behind_the_next() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let mut child = start(folder.path(), &["--source", "test:?size=64x48&fps=20", "--tags", "sky", "--overlay", "out.y4m"]);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.next().expect("a frame").unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let ended = run(folder.path(), &["--source", "test:?size=64x48&fps=20&frames=3", "--tags", "sky", "--overlay", "out.y4m"]);
    assert_eq!((ended.code, files_in(folder.path())), (0, vec!["out.y4m".into()]), "{}", ended.stderr);
}

#[test]
fn what_cannot_be_is_refused_before_it_costs_anything_and_shown_on_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let source = ["--source", "test:?size=64x48&frames=1", "--tags"];
    let begun = Instant::now();
    let ended = edge_seg(folder.path(), &[&["run"], &source[..], &["sky", "--threads", "5000"]].concat());
    assert!(ended.code == 2 && ended.stderr.contains("--threads: expected 1 to 1024, found 5000"), "{}", ended.stderr);
    assert!(begun.elapsed() < Duration::from_secs(10));
    let ended = run(folder.path(), &[&source[..], &["sk\u{200b}y"]].concat());
    assert!(ended.code == 2 && ended.stderr.contains("sk\\u{200b}y"), "{}", ended.stderr);
    let ended = run(folder.path(), &["--source", "no\x1b[2J\nsuch\u{202e}.jpg", "--tags", "sky"]);
    assert!(ended.code == 2 && ended.stderr.contains("no\\u{1b}[2J\\nsuch\\u{202e}.jpg"), "{}", ended.stderr);
    let long = "a".repeat(100_000);
    fs::write(folder.path().join("words"), format!("wall\n{long}\n")).unwrap();
    let ended = run(folder.path(), &["--source", "test:?size=64x48&frames=1", "--tags-file", "words"]);
    assert!(
        ended.code == 2 && ended.stderr.len() < 500 && ended.stderr.contains("expected words of 1 to 1000 characters"),
        "{:.500}",
        ended.stderr
    );
}

#[test]
fn a_pipe_that_nobody_writes_into_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["words", "film", "events"] {
        assert!(Command::new("mkfifo").arg(folder.path().join(name)).status().unwrap().success());
    }
    let start = |arguments: &[&str]| {
        let mut command = Command::new(binary("edge-seg"));
        command
            .current_dir(folder.path())
            .arg("run")
            .args(arguments)
            .args(SIZE)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    fs::write(folder.path().join("rules.toml"), "[[rule]]\nname = \"a\"\nwhen = { word = \"sky\", share_above = 0.5 }\n").unwrap();
    for arguments in [
        &["--source", "test:", "--tags-file", "words"] as &[&str],
        &["--source", "y4m:film", "--tags", "sky"],
        &["--source", "test:", "--tags", "sky", "--rules", "rules.toml", "--events", "events"],
    ] {
        let mut child = start(arguments);
        std::thread::sleep(Duration::from_secs(4));
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        let asked = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(asked.elapsed() < Duration::from_secs(30), "{arguments:?}: one signal ends it");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let ended = run(folder.path(), &["--source", "test:", "--tags-file", "words"]);
    assert!(
        ended.code == 2 && ended.stderr.contains("words: expected text, found a named pipe that nobody writes into"),
        "{}",
        ended.stderr
    );
}
