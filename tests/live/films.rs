//! Films and network streams through a real ffmpeg: whose pictures, when, of which shape, and by which transport.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edge_seg::Frame;
use edge_seg::source::{Notice, Source, SourceOptions, open_source};
use edge_seg_tests::{edge_seg, need_program};
use image::codecs::gif::GifEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::{Delay, Rgb, RgbImage, Rgba, RgbaImage};

fn ffmpeg(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("ffmpeg");
    let made = command.current_dir(folder).args(["-nostdin", "-loglevel", "error", "-y"]).args(arguments).output().unwrap();
    assert!(made.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&made.stderr));
}

struct Seen {
    size: (u32, u32),
    times_ms: Vec<u64>,
    middle: [u8; 3],
}

fn look(source: &mut dyn Source, frames: usize) -> Seen {
    let mut seen = Seen { size: (0, 0), times_ms: Vec::new(), middle: [0; 3] };
    let mut frame = Frame::still(RgbImage::default());
    while seen.times_ms.len() < frames && source.read(&mut frame).unwrap() {
        assert_eq!(frame.sequence, seen.times_ms.len() as u64);
        seen.times_ms.push((frame.timestamp.as_secs_f64() * 1000.0).round() as u64);
        seen.size = frame.pixels.dimensions();
        seen.middle = frame.pixels.get_pixel(seen.size.0 / 2, seen.size.1 / 2).0;
    }
    seen
}

fn film(path: &Path) -> Seen {
    look(&mut *open_source(path.to_str().unwrap(), &SourceOptions::default()).unwrap(), usize::MAX)
}

/// Frames at these moments in milliseconds.
fn irregular(folder: &Path, name: &str) -> Vec<u64> {
    let filter = "settb=1/1000,setpts='floor(N*1000/30+mod(N*N*13\\,23)+if(gte(N\\,10)\\,1500\\,0))'";
    let times = ["-fps_mode", "passthrough", "-enc_time_base", "1/1000"];
    let input = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=30:d=0.6", "-vf", filter];
    ffmpeg(folder, &[&input[..], &times, &["-c:v", "mpeg4", name]].concat());
    (0..18u64).map(|n| n * 1000 / 30 + n * n * 13 % 23 + if n >= 10 { 1500 } else { 0 }).collect()
}

#[test]
fn a_film_of_variable_rate_has_each_picture_once_at_its_own_time() {
    if !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["film.mkv", "film.mp4"] {
        let want = irregular(folder.path(), name);
        assert_eq!(film(&folder.path().join(name)).times_ms, want, "{name}");
    }
    // The program tells these times, and the film with masks keeps its length.
    let arguments = ["run", "--source", "film.mkv", "--tags", "sky", "--size", "64", "--overlay", "out.y4m"];
    let ended = edge_seg(folder.path(), &arguments);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let lines = ended.json_lines();
    assert_eq!((lines.len(), lines[10]["timestamp_ms"].as_f64()), (18, Some(1845.0)));
    let shown = film(&folder.path().join("out.y4m")).times_ms;
    assert!(shown.last().unwrap().abs_diff(2070) < 60, "{shown:?}");
}

#[test]
fn a_film_of_constant_rate_keeps_its_exact_times() {
    if !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    ffmpeg(folder.path(), &["-f", "lavfi", "-i", "testsrc2=s=64x48:r=30:d=0.2", "-c:v", "mpeg4", "film.mp4"]);
    let path = folder.path().join("film.mp4");
    assert_eq!(film(&path).times_ms, [0, 33, 67, 100, 133, 167]);
    let mut source = open_source(path.to_str().unwrap(), &SourceOptions::default().with_repeat(true)).unwrap();
    assert_eq!(look(&mut *source, 9).times_ms, [0, 33, 67, 100, 133, 167, 200, 233, 267]);
    assert_eq!(source.rate(), Some((30, 1)));
}

#[test]
fn an_ffmpeg_that_knows_older_options_alone_reads_films_too() {
    if !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let want = irregular(folder.path(), "film.mkv");
    // As versions before 5.1 refuse it.
    let script = "for word; do if [ \"$word\" = -fps_mode ]; then echo \"Unrecognized option 'fps_mode'.\" >&2; \
                  echo 'Error splitting the argument list: Option not found' >&2; exit 1; fi; done\nPATH=${PATH#*:} exec ffmpeg \"$@\"";
    let program = folder.path().join("ffmpeg");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(edge_seg_tests::binary("edge-seg"));
    command.current_dir(folder.path()).env("PATH", path).args(["run", "--source", "film.mkv", "--tags", "sky", "--size", "64"]);
    let ended: edge_seg_tests::Ended = command.output().unwrap().into();
    let times: Vec<_> = ended.json_lines().iter().map(|line| line["timestamp_ms"].as_f64().unwrap() as u64).collect();
    assert_eq!((ended.code, times), (0, want), "{}", ended.stderr);
}

#[test]
fn a_cover_is_not_taken_for_the_film() {
    if !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    ffmpeg(here, &["-f", "lavfi", "-i", "color=c=0x1E3CC8:s=64x48:r=10:d=0.5", "-c:v", "mpeg4", "film.mp4"]);
    for side in [32, 640] {
        RgbImage::from_pixel(side, side, Rgb([200, 30, 60])).save(here.join("cover.jpg")).unwrap();
        let both = ["-i", "film.mp4", "-i", "cover.jpg", "-c", "copy"];
        ffmpeg(here, &[&both[..], &["-map", "0", "-map", "1", "-disposition:v:1", "attached_pic", "behind.mp4"]].concat());
        // Matroska keeps no mark of it, so it is a video stream as any other, and the first.
        ffmpeg(here, &[&both[..], &["-map", "1", "-map", "0", "first.mkv"]].concat());
        for name in ["behind.mp4", "first.mkv"] {
            let seen = film(&here.join(name));
            assert_eq!((seen.times_ms.len(), seen.size), (5, (64, 48)), "{name} with a cover of {side}");
            assert!(seen.middle.iter().zip([30, 60, 200]).all(|(&a, b)| a.abs_diff(b) < 9), "{name}: {:?}", seen.middle);
        }
    }
    // A film of one picture is one nevertheless.
    ffmpeg(here, &["-i", "cover.jpg", "-c:v", "mpeg4", "one.mp4"]);
    assert_eq!(film(&here.join("one.mp4")).times_ms, [0]);
}

#[test]
fn pixels_that_are_not_square_are_shown_as_they_are_meant() {
    if !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let input = ["-f", "lavfi", "-i", "testsrc2=s=90x72:r=10:d=0.3", "-pix_fmt", "yuv420p"];
    for (shape, size) in [("64/45", (128, 72)), ("8/9", (90, 81)), ("1/1", (90, 72))] {
        let filter = format!("setsar={shape}");
        for (name, codec) in [("film.mp4", "mpeg4"), ("film.y4m", "wrapped_avframe")] {
            ffmpeg(here, &[&input[..], &["-vf", &filter, "-c:v", codec, name]].concat());
        }
        for source in ["film.mp4", "y4m:film.y4m"] {
            let arguments = ["run", "--source", source, "--tags", "sky", "--size", "64", "--overlay", "out.y4m", "--frames", "1"];
            let ended = edge_seg(here, &arguments);
            let line = &ended.json_lines()[0];
            assert_eq!((line["width"].as_u64(), line["height"].as_u64()), (Some(size.0), Some(size.1)), "{source} {shape}");
            let head = format!("YUV4MPEG2 W{} H{} F10:1 Ip A1:1 ", size.0, size.1);
            assert!(fs::read(here.join("out.y4m")).unwrap().starts_with(head.as_bytes()), "{source} {shape}");
        }
    }
}

#[test]
fn formats_that_ffmpeg_writes_are_read_as_ffmpeg_reads_them() {
    if !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let input = ["-f", "lavfi", "-i", "testsrc2=s=96x64:r=10:d=0.1", "-strict", "-1", "-pix_fmt"];
    let compare = |what: &str, ours: &str| {
        let [by_us, by_ffmpeg] = [ours, "film"].map(|name| {
            let name = if name == "film" { here.join(what).display().to_string() } else { name.to_owned() };
            let mut source = open_source(&name, &SourceOptions::default()).unwrap();
            let mut frame = Frame::still(RgbImage::default());
            assert!(source.read(&mut frame).unwrap(), "{name}");
            frame.pixels
        });
        let off: u64 = by_us.iter().zip(by_ffmpeg.iter()).map(|(&a, &b)| u64::from(a.abs_diff(b))).sum();
        // Chroma between samples is taken from the nearest here, and smoothed there.
        let mean = off as f64 / by_us.len() as f64;
        assert!(mean < 10.0, "{what}: {mean}");
    };
    for format in ["gray", "yuv411p", "yuv420p", "yuv422p", "yuv444p", "gray10le", "yuv420p10le", "yuv422p12le", "yuv444p16le"] {
        let name = format!("{format}.y4m");
        ffmpeg(here, &[&input[..], &[format, &name]].concat());
        compare(&name, &format!("y4m:{}", here.join(&name).display()));
    }
    let raw = [
        ("rgb24", "rgb24"),
        ("bgr24", "bgr24"),
        ("rgba", "rgba"),
        ("bgra", "bgra"),
        ("yuyv422", "yuyv"),
        ("uyvy422", "uyvy"),
        ("yvyu422", "yvyu"),
        ("nv12", "nv12"),
        ("nv21", "nv21"),
        ("yuv420p", "i420"),
        ("yuv411p", "i411"),
        ("yuv444p", "i444"),
        ("gray", "grey"),
        ("yuv422p", "i422"),
    ];
    for (theirs, ours) in raw {
        ffmpeg(here, &[&input[..], &[theirs, "-f", "rawvideo", "frame.raw"]].concat());
        let described =
            ["-f", "rawvideo", "-pixel_format", theirs, "-video_size", "96x64", "-i", "frame.raw", "-c:v", "rawvideo", "film.nut"];
        ffmpeg(here, &described);
        compare("film.nut", &format!("raw:{}?size=96x64&format={ours}", here.join("frame.raw").display()));
    }
    // Not every ffmpeg writes these: the last one's planes, in their order.
    let planes = std::fs::read(here.join("frame.raw")).unwrap();
    let (luma, chroma) = planes.split_at(96 * 64);
    let (u, v) = chroma.split_at(48 * 64);
    for (ours, first, second) in [("nv16", u, v), ("nv61", v, u)] {
        let pairs = first.iter().zip(second).flat_map(|(a, b)| [*a, *b]);
        std::fs::write(here.join("pairs.raw"), luma.iter().copied().chain(pairs).collect::<Vec<u8>>()).unwrap();
        compare("film.nut", &format!("raw:{}?size=96x64&format={ours}", here.join("pairs.raw").display()));
    }
}

#[test]
fn a_folder_is_a_film_of_what_can_be_read_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join("photos");
    fs::create_dir(&here).unwrap();
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, 95).encode_image(&RgbImage::from_pixel(64, 48, Rgb([200, 30, 60]))).unwrap();
    let files: [(&str, &[u8]); 6] = [
        ("a.jpg", &jpeg),
        ("b.jpg", &jpeg[..jpeg.len() / 2]),
        ("._c.jpg", b"\0\x05\x16\x07"),
        ("c.jfif", &jpeg),
        ("d.HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        ("notes.txt", b"of the day"),
    ];
    for (name, bytes) in files {
        fs::write(here.join(name), bytes).unwrap();
    }
    let run = || edge_seg(folder.path(), &["run", "--source", "photos", "--tags", "sky", "--size", "64"]);
    let ended = run();
    let seen: Vec<_> = ended.json_lines().iter().map(|line| line["sequence"].as_u64().unwrap()).collect();
    assert_eq!((ended.code, seen), (0, vec![0, 1]), "{}", ended.stderr);
    for (name, said) in [("b.jpg", "cut off"), ("d.HEIC", "HEIC, which is not read")] {
        assert!(ended.stderr.lines().any(|line| line.contains(name) && line.contains(said)), "{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("._c") && !ended.stderr.contains("notes"), "{}", ended.stderr);
    // A film of nothing is an error.
    ["a.jpg", "c.jfif"].iter().for_each(|name| fs::remove_file(here.join(name)).unwrap());
    let ended = run();
    assert!(ended.code == 2 && ended.json_lines().is_empty() && ended.stderr.contains("b.jpg"), "{}", ended.stderr);
}

#[test]
fn what_holds_no_video_says_so() {
    if !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    ffmpeg(folder.path(), &["-f", "lavfi", "-i", "sine=d=0.2", "sound.wav"]);
    let ended = edge_seg(folder.path(), &["run", "--source", "sound.wav", "--tags", "sky", "--size", "64"]);
    assert_eq!((ended.code, ended.stderr.contains("no video in it")), (2, true), "{}", ended.stderr);
}

/// Opens a stream and reads frames of it; what was told meanwhile.
fn stream(uri: &str, frames: usize) -> (Seen, Vec<String>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (tell, stop) = (told.clone(), Arc::new(AtomicBool::new(false)));
    let end = stop.clone();
    let notify = move |notice: Notice| {
        let mut told = tell.lock().unwrap();
        told.push(format!("{notice:?}"));
        // A camera is asked for ever; what it said is to be seen.
        end.store(told.len() > 12, Ordering::Relaxed);
    };
    let options = SourceOptions::default().with_stall(Duration::from_secs(20)).with_notify(notify).with_stop(stop);
    let seen = look(&mut *open_source(uri, &options).unwrap(), frames);
    let told = told.lock().unwrap().clone();
    (seen, told)
}

#[test]
fn a_film_that_is_cut_off_says_so() {
    if !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let input = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=10:d=2"];
    ffmpeg(folder.path(), &[&input[..], &["-c:v", "mpeg4", "whole.mkv"]].concat());
    ffmpeg(folder.path(), &[&input[..], &["whole.y4m"]].concat());
    let bytes = fs::read(at("whole.mkv")).unwrap();
    fs::write(at("cut.mkv"), &bytes[..bytes.len() / 2]).unwrap();
    // ffmpeg reads the first of two streams alone.
    fs::write(at("two.y4m"), fs::read(at("whole.y4m")).unwrap().repeat(2)).unwrap();
    let read = |name: &str| stream(at(name).to_str().unwrap(), usize::MAX);
    for name in ["whole.mkv", "whole.y4m"] {
        let (seen, told) = read(name);
        assert_eq!((seen.times_ms.len(), told), (20, Vec::new()), "{name}");
    }
    for (name, frames) in [("cut.mkv", 2..20), ("two.y4m", 20..21)] {
        let (seen, told) = read(name);
        assert!(frames.contains(&seen.times_ms.len()), "{name}: {:?}", seen.times_ms);
        assert!(told.len() == 1 && told[0].starts_with("Incomplete") && told[0].contains("ffmpeg"), "{name}: {told:?}");
    }
}

/// Reads a request's head.
fn request(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// An RTSP camera that sends by UDP alone, and answers a request for TCP with `refusal`, or closes the connection.
fn serve_udp(client: &TcpStream, refusal: Option<&str>) -> Option<()> {
    let description =
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 0 RTP/AVP 32\r\na=control:one\r\n";
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let (mut out, mut port) = (client, 0u16);
    while let Some(head) = request(&mut reader) {
        let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let (mut status, mut more, mut body) = ("200 OK", String::new(), "");
        match head.split(' ').next()? {
            "OPTIONS" => more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n".into(),
            "DESCRIBE" => {
                (more, body) = (format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n", description.len()), description)
            }
            "SETUP" => match value("Transport:")?.split("client_port=").nth(1).map(str::to_owned) {
                Some(ports) => {
                    port = ports.split('-').next()?.trim().parse().ok()?;
                    more = format!("Transport: RTP/AVP;unicast;client_port={port}-{};server_port=6970-6971\r\nSession: 1\r\n", port + 1);
                }
                None => status = refusal?,
            },
            "TEARDOWN" => return Some(()),
            _ => more = "Session: 1\r\n".into(),
        }
        write!(out, "RTSP/1.0 {status}\r\nCSeq: {}\r\n{more}\r\n{body}", value("CSeq:")?.trim()).ok()?;
        if head.starts_with("PLAY") {
            let (input, to) = (["-re", "-f", "lavfi", "-i", "testsrc2=s=64x48:r=25"], format!("rtp://127.0.0.1:{port}"));
            let mut sender = Command::new("ffmpeg")
                .args(["-nostdin", "-loglevel", "error"])
                .args(input)
                .args(["-c:v", "mpeg1video", "-g", "6", "-f", "rtp", &to])
                .stdout(Stdio::null())
                .spawn()
                .ok()?;
            // Until the client goes away.
            let ended = request(&mut reader);
            let _ = (sender.kill(), sender.wait());
            return ended.map(drop);
        }
    }
    None
}

#[test]
fn a_camera_that_sends_by_udp_alone_is_asked_by_udp() {
    if !need_program("ffmpeg") {
        return;
    }
    for refusal in [Some("461 Unsupported Transport"), Some("406 Not Acceptable"), None] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("RTSP://127.0.0.1:{}/test", listener.local_addr().unwrap().port());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                std::thread::spawn(move || client.ok().and_then(|client| serve_udp(&client, refusal)));
            }
        });
        let (seen, told) = stream(&uri, 3);
        assert_eq!(seen.size, (64, 48), "{told:?}");
        assert!(told[0].starts_with("OtherTransport") && told[0].contains("UDP"), "{told:?}");
        assert!(refusal.is_none_or(|refusal| told[0].contains(&refusal[..3])), "{told:?}");
    }
}

#[test]
fn a_stream_loses_none_of_its_first_pictures() {
    if !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // The first picture alone is whole.
    let input = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=10:d=2", "-c:v", "mpeg2video", "-g", "100", "-sc_threshold", "1000000000"];
    ffmpeg(folder.path(), &[&input[..], &["film.ts"]].concat());
    let film = fs::read(folder.path().join("film.ts")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://127.0.0.1:{}/film.ts", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let film = film.clone();
            std::thread::spawn(move || {
                request(&mut BufReader::new(client.try_clone()?));
                write!(client, "HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n")?;
                client.write_all(&film)
            });
        }
    });
    let (seen, told) = stream(&uri, 20);
    assert_eq!((seen.size, seen.times_ms.len()), ((64, 48), 20), "{told:?}");
}

#[test]
fn motion_jpeg_over_http_is_a_camera() {
    if !need_program("ffmpeg") {
        return;
    }
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, 95).encode_image(&RgbImage::from_pixel(64, 48, Rgb([200, 30, 60]))).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("HTTP://127.0.0.1:{}/stream", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let jpeg = jpeg.clone();
            std::thread::spawn(move || {
                let mut client = client?;
                request(&mut BufReader::new(client.try_clone()?));
                write!(client, "HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")?;
                loop {
                    write!(client, "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len())?;
                    client.write_all(&jpeg)?;
                    client.write_all(b"\r\n")?;
                    std::thread::sleep(Duration::from_millis(40));
                }
                #[allow(unreachable_code)]
                std::io::Result::Ok(())
            });
        }
    });
    let (seen, told) = stream(&uri, 5);
    assert_eq!((seen.size, seen.times_ms.len()), ((64, 48), 5), "{told:?}");
    assert!(seen.middle.iter().zip([200, 30, 60]).all(|(&a, b)| a.abs_diff(b) < 9), "{:?}", seen.middle);
}

#[test]
fn a_film_is_not_written_over_by_its_own_overlay() {
    let folder = tempfile::tempdir().unwrap();
    let film = [b"YUV4MPEG2 W16 H16 F10:1 Cmono\nFRAME\n".as_slice(), &[128; 256]].concat();
    fs::write(folder.path().join("film.y4m"), &film).unwrap();
    for source in ["film.y4m", "y4m:film.y4m", "./film.y4m"] {
        let ended = edge_seg(folder.path(), &["run", "--source", source, "--tags", "sky", "--overlay", "film.y4m"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{source}: {}", ended.stderr);
        assert!(ended.stderr.contains("--overlay: expected another file than the source's"), "{source}: {}", ended.stderr);
        assert_eq!(fs::read(folder.path().join("film.y4m")).unwrap(), film, "{source}");
    }
}

#[test]
fn an_animation_is_a_film_with_its_own_times() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gif");
    let mut encoder = GifEncoder::new(fs::File::create(&path).unwrap());
    for (red, ms) in [(0, 40), (80, 120), (160, 40), (240, 40)] {
        let picture = RgbaImage::from_pixel(32, 24, Rgba([red, 0, 0, 255]));
        encoder.encode_frame(image::Frame::from_parts(picture, 0, 0, Delay::from_numer_denom_ms(ms, 1))).unwrap();
    }
    drop(encoder);
    let seen = film(&path);
    assert_eq!((seen.size, seen.times_ms), ((32, 24), vec![0, 40, 160, 200]));
    let ended = edge_seg(folder.path(), &["run", "--source", "a.gif", "--tags", "sky", "--size", "64", "--overlay", "o.y4m"]);
    assert_eq!((ended.code, ended.json_lines().len()), (0, 4), "{}", ended.stderr);
    let video = fs::read(folder.path().join("o.y4m")).unwrap();
    assert_eq!(video.windows(6).filter(|bytes| bytes == b"FRAME\n").count(), 6, "each picture, the second three times");
    // It begins again where that is asked for, and its time goes on.
    let mut source = open_source(path.to_str().unwrap(), &SourceOptions::default().with_repeat(true)).unwrap();
    assert_eq!(look(&mut *source, 6).times_ms, [0, 40, 160, 200, 240, 280]);
    drop(source);
    // What is cut off says so behind what is there.
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() * 2 / 3]).unwrap();
    let ended = edge_seg(folder.path(), &["run", "--source", "a.gif", "--tags", "sky", "--size", "64"]);
    assert!(ended.code == 2 && !ended.json_lines().is_empty() && ended.stderr.contains("a.gif"), "{}", ended.stderr);
}

#[test]
fn an_overlay_of_another_kind_is_refused_before_anything_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    for (overlay, said) in [
        ("o.xyz", "a video by its ending, one of .y4m, .mp4"),
        ("o", "a video by its ending, one of .y4m, .mp4"),
        ("nowhere/o.mp4", "a folder to write into, found nowhere"),
        ("ftp://host/o.mp4", "an address of rtsp"),
        (".", "a file to write"),
    ] {
        let ended =
            edge_seg(folder.path(), &["run", "--source", "nowhere.mp4", "--model", "none.esb", "--tags", "a", "--overlay", overlay]);
        assert!(ended.code == 2 && ended.stderr.contains(said), "{overlay}: {}", ended.stderr);
        assert!(!ended.stderr.contains("none.esb") && !ended.stderr.contains("nowhere.mp4"), "{overlay}: {}", ended.stderr);
    }
}
