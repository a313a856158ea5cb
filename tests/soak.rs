//! A camera for a long time: at full rate, with words and a configuration that change and a source that dies. Memory, descriptors and threads must stay flat
//! and every frame must be accounted for. `EDGE_SEG_SOAK_S` sets the seconds; one minute otherwise.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use edge_seg_tests::binary;
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};

/// What a process holds.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    memory_kib: u64,
    descriptors: u64,
    threads: u64,
}

impl Held {
    fn of(process: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
        let descriptors = fs::read_dir(format!("/proc/{process}/fd")).ok()?.count() as u64;
        Some(Self { memory_kib: field("VmRSS:")?, descriptors, threads: field("Threads:")? })
    }

    /// The most memory, and the medians of the rest: a camera that is just being started holds some for a moment, what leaks for good.
    fn over(all: &[Self]) -> Self {
        let median = |of: fn(&Self) -> u64| {
            let mut all: Vec<u64> = all.iter().map(of).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        let memory_kib = all.iter().map(|held| held.memory_kib).max().unwrap_or_default();
        Self { memory_kib, descriptors: median(|held| held.descriptors), threads: median(|held| held.threads) }
    }
}

/// A camera program: frames of MJPEG at 60 Hz until it dies. The harness's own lines are noise between pictures, as it happens.
#[test]
#[ignore = "started as the camera of the soak"]
fn camera_of_the_soak() {
    let Ok(seconds) = std::env::var("SOAK_CAMERA_S") else { return };
    let lives = Duration::from_secs_f64(seconds.parse().unwrap());
    let pictures: Vec<Vec<u8>> = (0..32)
        .map(|i| {
            let mut bytes = Vec::new();
            let picture = RgbImage::from_fn(320, 240, |x, y| Rgb([(x + 4 * i) as u8, y as u8, (x * y / 64) as u8]));
            JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(&picture).unwrap();
            bytes
        })
        .collect();
    let start = Instant::now();
    // The first life tells when each frame was sent; later ones cannot know which frames were lost with the life before.
    let mut log = fs::File::create_new(std::env::var("SOAK_LOG").unwrap()).ok();
    for picture in pictures.iter().cycle() {
        if let Some(log) = &mut log {
            writeln!(log, "{}", now_ms()).unwrap();
        }
        if start.elapsed() > lives || std::io::stdout().write_all(picture).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(16));
    }
    eprintln!("camera: lost");
    std::process::exit(3);
}

fn now_ms() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64() * 1e3
}

/// The median and the 95th percentile.
fn quantiles(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted.get((share * sorted.len() as f64) as usize).copied().unwrap_or(f64::NAN);
    (at(0.5), at(0.95))
}

fn camera(folder: &Path, lives_s: f64) {
    let script = format!(
        "#!/bin/sh\nSOAK_LOG={}/sent SOAK_CAMERA_S={lives_s} exec {} --exact camera_of_the_soak --ignored --nocapture --test-threads=1\n",
        folder.display(),
        std::env::current_exe().unwrap().display()
    );
    let path = folder.join("rpicam-vid");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_long_run_stays_flat_and_loses_no_frame_uncounted() {
    let seconds: u64 = std::env::var("EDGE_SEG_SOAK_S").ok().map_or(60, |s| s.parse().expect("EDGE_SEG_SOAK_S in seconds"));
    let folder = tempfile::tempdir().unwrap();
    camera(folder.path(), if seconds >= 300 { 20.0 } else { 4.0 });
    let configure = |tags: &str| {
        let text = format!("[words]\ntags = \"{tags}\"\n");
        edge_seg_bundle::files::replace_file(&folder.path().join("run.toml"), text.as_bytes()).unwrap();
    };
    configure("sky");
    let mut child = Command::new(binary("edge-seg"))
        .current_dir(folder.path())
        .env("PATH", format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap()))
        .args(["run", "--source", "rpicam:?size=320x240&fps=60", "--config", "run.toml", "--size", "96", "--commands"])
        .args(["--key-interval", "auto", "--smoothing", "100", "--governor", "off"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let (mut lines, mut last, mut versions) = (0u64, None, std::collections::BTreeSet::new());
        let (mut arrived, mut latencies) = (Vec::new(), Vec::new());
        for line in stdout.lines() {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            let sequence = line["sequence"].as_u64();
            assert!(sequence > last, "{line}");
            (lines, last) = (lines + 1, sequence);
            versions.insert(line["words_version"].as_u64().unwrap());
            arrived.push((sequence.unwrap() as usize, now_ms()));
            latencies.push(line["latency_ms"].as_f64().unwrap());
        }
        (lines, versions.len(), arrived, latencies)
    });
    let mut stderr = child.stderr.take().unwrap();
    let messages = std::thread::spawn(move || {
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        said
    });
    let mut commands = child.stdin.take().unwrap();
    let words = ["tags sky, dog", "add cat", "remove dog", "tags road, car, person, sign", "tags sky"];
    let (start, mut held, mut changes) = (Instant::now(), Vec::new(), 0);
    while start.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_millis(500));
        held.extend(Held::of(child.id()));
        writeln!(commands, "{}", words[changes % words.len()]).unwrap();
        changes += 1;
        if changes % 10 == 0 {
            configure(["sky, wall", "tree", "car, road"][changes / 10 % 3]);
        }
    }
    writeln!(commands, "quit").unwrap();
    let status = child.wait().unwrap();
    let (said, (lines, versions, arrived, latencies)) = (messages.join().unwrap(), reader.join().unwrap());
    assert!(status.success(), "{said}");

    let sent: Vec<f64> = fs::read_to_string(folder.path().join("sent")).unwrap().lines().map(|l| l.parse().unwrap()).collect();
    let whole: Vec<f64> = arrived.iter().filter_map(|(sequence, at)| Some(at - sent.get(*sequence)?)).collect();
    let ((median, p95), (whole_median, whole_p95)) = (quantiles(&latencies), quantiles(&whole));
    eprintln!("frame to masks: median {median:.1} ms, p95 {p95:.1}; sent to JSON: median {whole_median:.1} ms, p95 {whole_p95:.1}");
    // The first third is for plans, buffers and the words' embeddings.
    let third = held.len() / 3;
    let (middle, last) = (Held::over(&held[third..2 * third]), Held::over(&held[2 * third..]));
    eprintln!("after {seconds} s: {lines} frames, {versions} sets of words; middle third {middle:?}, last third {last:?}");
    assert!(last.memory_kib <= middle.memory_kib + middle.memory_kib / 20 + 4096, "memory grew: {middle:?}, {last:?}");
    assert!(last.descriptors <= middle.descriptors + 1, "descriptors grew: {middle:?}, {last:?}");
    assert!(last.threads <= middle.threads + 1, "threads grew: {middle:?}, {last:?}");

    let summary = said.lines().rfind(|l| l.contains(" captured")).unwrap_or_else(|| panic!("no summary in {said}"));
    let count = |name: &str| -> u64 {
        let at = summary.find(name).unwrap_or_else(|| panic!("{name} in {summary}"));
        summary[..at].split_whitespace().next_back().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{name} in {summary}"))
    };
    let (captured, shown, dropped) = (count(" captured"), count(" shown"), count(" dropped"));
    assert_eq!(shown, lines, "every frame is told");
    // One may wait in the queue, one be worked on and one be on its way out.
    assert!(captured >= shown + dropped && captured - shown - dropped <= 3, "{summary}");
    assert!(versions > 3 && said.contains("the configuration is read again"), "{said}");
    assert!(said.contains("camera: lost") && said.contains("is back"), "{said}");
}
