//! Cameras, configurations and pages of a run that goes on until somebody ends it.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};
use serde_json::Value;

use crate::files::{files, has_whole_frames, is_part};
use crate::process::Ended;

fn signal(child: &mut Child, name: &str) {
    if matches!(child.try_wait(), Ok(None)) {
        let _ = Command::new("kill").args([name, &child.id().to_string()]).stderr(Stdio::null()).status();
    }
}

/// Waits for something, as long as the run lives.
fn wait(child: &mut Child, longest: Duration, mut is_there: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + longest;
    while Instant::now() < end && matches!(child.try_wait(), Ok(None)) {
        if is_there() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

fn shown(folder: &Path) -> String {
    String::from_utf8_lossy(&fs::read(folder.join("stdout.txt")).unwrap_or_default()).into_owned()
}

/// A camera program that sends pictures, or does what cameras do when they fail.
pub fn camera(folder: &Path, turn: u64) {
    let mut jpeg = Vec::new();
    RgbImage::from_fn(48, 30, |x, y| Rgb([4 * x as u8, 8 * y as u8, 90]))
        .write_to(&mut Cursor::new(&mut jpeg), image::ImageFormat::Jpeg)
        .unwrap();
    fs::write(folder.join("frame.jpg"), &jpeg).unwrap();
    fs::write(folder.join("half.jpg"), &jpeg[..jpeg.len() / 2]).unwrap();
    let frames = "while cat frame.jpg; do sleep 0.005; done";
    let first = "for i in 1 2 3; do cat frame.jpg; done";
    let script = match turn % 9 {
        1 => format!("{first}; exit 3"),
        2 => format!("{first}; exec sleep 60"),
        3 => format!("{first}; exec cat /dev/zero"),
        4 => format!("{first}; cat half.jpg; {frames}"),
        5 => "exec sleep 60".into(),
        6 => format!("trap '' TERM INT HUP; {frames}"),
        7 => format!("i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo 'a line of a driver that complains' >&2; done; {frames}"),
        8 => format!("{first}; exec >&-; sleep 60"),
        _ => frames.into(),
    };
    let program = folder.join("rpicam-vid");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A camera may never send what was asked for; whoever waits ends the run then.
pub fn end_after_a_while(_: &Path, child: &mut Child) {
    wait(child, Duration::from_millis(1500), || false);
    signal(child, "-TERM");
}

/// Words change while it runs: by its file, and on SIGHUP.
pub fn change_the_configuration(folder: &Path, child: &mut Child) {
    wait(child, Duration::from_secs(5), || shown(folder).contains("\"dog\""));
    for (turn, word) in ["grass", "cat", "sky"].iter().enumerate() {
        let text = format!("[words]\ntags = \"{word}\"\n");
        let (path, beside) = (folder.join("run.toml"), folder.join("next"));
        // As an editor that writes beside and renames, and as one that writes over.
        let written = if turn == 0 { fs::write(path, text) } else { fs::write(&beside, text).and_then(|()| fs::rename(beside, path)) };
        written.unwrap();
        signal(child, "-HUP");
        wait(child, Duration::from_millis(400), || shown(folder).contains(&format!("\"{word}\"")));
    }
    signal(child, "-TERM");
}

fn ask(port: u16, method: &str, path: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).ok()?;
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n");
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).ok()?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// The port that a process listens on, by the kernel's table of its descriptors and sockets.
fn port_of(process: u32) -> Option<u16> {
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).ok()?;
    let names = descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let sockets: Vec<String> = names.filter_map(|to| Some(to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect();
    let table = fs::read_to_string(format!("/proc/{process}/net/tcp")).ok()?;
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields.get(3) == Some(&"0A") && sockets.iter().any(|socket| fields.get(9) == Some(&socket.as_str()));
        listens.then(|| u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok())?
    })
}

/// Words, sets and recordings over HTTP, by a client that is served badly at times.
pub fn use_the_page(_: &Path, child: &mut Child) {
    let process = child.id();
    let mut port = None;
    wait(child, Duration::from_secs(5), || {
        port = port_of(process);
        port.is_some()
    });
    if let Some(port) = port {
        ask(port, "POST", "/api/words", "\"grass\"");
        ask(port, "PUT", "/api/sets/street", "{}");
        ask(port, "POST", "/api/recording", r#"{"on": true, "format": "y4m"}"#);
        ask(port, "PATCH", "/api/words/grass", r#"{"threshold": 0.4}"#);
        ask(port, "GET", "/api/picture.jpg?masks=true", "");
        ask(port, "PUT", "/api/sets/street", "{}");
        ask(port, "POST", "/api/recording", r#"{"on": false}"#);
        ask(port, "GET", "/metrics", "");
    }
    signal(child, "-TERM");
}

/// Lines and masks of a run that may have been ended at any time.
pub fn frames_are_whole(folder: &Path, ended: &Ended) -> Result<(), String> {
    let shown = shown(folder);
    let (whole, torn) = shown.rsplit_once('\n').unwrap_or(("", &shown));
    let mut last = None;
    for line in whole.lines() {
        let line: Value = serde_json::from_str(line).map_err(|e| format!("{e} in the line {line:?}"))?;
        let sequence = line["sequence"].as_u64();
        if sequence <= last {
            return Err(format!("frame {sequence:?} after {last:?}"));
        }
        last = sequence;
    }
    if !torn.is_empty() && ended.code == Some(0) {
        return Err("it ends well, and its last line is torn".into());
    }
    for (name, bytes) in files(folder).iter().filter(|(name, _)| name.ends_with(".mask.png")) {
        image::load_from_memory(bytes).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

pub fn sets_and_recordings_are_whole(folder: &Path, ended: &Ended) -> Result<(), String> {
    frames_are_whole(folder, ended)?;
    for (name, bytes) in files(folder) {
        if is_part(&name) {
            continue;
        }
        if name.starts_with("state/") && name.ends_with(".json") {
            serde_json::from_slice::<Value>(&bytes).map_err(|e| format!("{name}: {e}"))?;
        }
        if name.ends_with(".y4m") && !has_whole_frames(&bytes, &bytes) {
            return Err(format!("{name} has a torn frame"));
        }
    }
    Ok(())
}
