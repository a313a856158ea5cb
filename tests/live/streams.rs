//! The overlay for whoever looks while it runs, taken by real servers and players.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use edge_seg_tests::{Ended, edge_seg, need_program};

use crate::cameras::{free_port, has_rtsp_server, serve};

fn run(folder: &Path, frames: u32, overlay: &str) -> Ended {
    let source = format!("test:?size=64x48&fps=10&frames={frames}");
    let arguments = ["run", "--source", &source, "--pace", "live", "--tags", "stripes", "--size", "96", "--legend", "none"];
    edge_seg(folder, &[&arguments[..], &["--overlay", overlay]].concat())
}

/// Frames in a video, and their size.
fn counted(place: &Path) -> (usize, String) {
    let entries = "stream=nb_read_frames,width,height";
    let command = ["-v", "error", "-count_frames", "-select_streams", "v", "-show_entries", entries, "-of", "csv=p=0"];
    let told = Command::new("ffprobe").args(command).arg(place).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let mut numbers = told.lines().next().unwrap_or_default().trim_end_matches(',').split(',');
    let size = format!("{}x{}", numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    (numbers.next().and_then(|count| count.parse().ok()).unwrap_or(0), size)
}

#[test]
fn a_server_takes_the_overlay_by_rtsp() {
    if !has_rtsp_server() || !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("taken.h264");
    let server = serve(&[taken.to_str().unwrap()]);
    let ended = run(folder.path(), 40, &format!("rtsp://127.0.0.1:{}/test", server.port));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let (frames, size) = counted(&taken);
    assert!(frames >= 10 && size == "64x48", "{frames} frames of {size}");
    // The bars and their masks, not a grey plane.
    let picture = ["-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"];
    let shown = Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(&taken).args(picture).output().unwrap().stdout;
    let (darkest, brightest) = (shown.iter().min().unwrap(), shown.iter().max().unwrap());
    assert!(shown.len() == 64 * 48 * 3 && brightest - darkest > 100, "{darkest} to {brightest}");
}

/// Whether something listens on a port of this machine, by `/proc/net/tcp` or `udp`.
fn listens(protocol: &str, port: u16) -> bool {
    let table = fs::read_to_string(format!("/proc/net/{protocol}")).unwrap();
    let state = if protocol == "tcp" { "0A" } else { "07" };
    table.lines().skip(1).any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields[1].ends_with(&format!(":{port:04X}")) && fields[3] == state
    })
}

/// What a listener takes, in a file, of what is sent to it by RTMP or SRT.
pub(crate) fn received(folder: &Path, scheme: &str, send: impl FnOnce(&str) -> Ended) -> (PathBuf, Ended) {
    let (protocol, path, listen, ending) = match scheme {
        "rtmp" => ("tcp", "/live/the-key", &["-listen", "1", "-f", "flv"][..], "flv"),
        _ => ("udp", "?passphrase=the-key-is-long", &["-f", "mpegts"][..], "mpegts"),
    };
    let port = free_port();
    let taken = folder.join(format!("taken.{ending}"));
    let address = format!("{scheme}://127.0.0.1:{port}{path}");
    let input = if scheme == "srt" { format!("{address}&mode=listener") } else { address.clone() };
    let mut receiver = Command::new("ffmpeg");
    receiver.args(["-v", "error", "-nostdin", "-y"]).args(listen).args(["-i", &input, "-c", "copy", "-f"]);
    receiver.arg(if scheme == "rtmp" { "flv" } else { "mpegts" }).arg(&taken);
    let mut receiver = receiver.stdout(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !listens(protocol, port) {
        assert!(start.elapsed() < Duration::from_secs(60) && receiver.try_wait().unwrap().is_none(), "{scheme}: nothing listens");
        std::thread::sleep(Duration::from_millis(20));
    }
    let ended = send(&address);
    while receiver.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(120) {
            receiver.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    (taken, ended)
}

#[test]
fn whoever_listens_takes_the_overlay_by_rtmp_and_srt() {
    if !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for scheme in ["rtmp", "srt"] {
        // Capitals are no other scheme.
        let send = |address: &str| run(folder.path(), 60, &address.replacen(scheme, &scheme.to_uppercase(), 1));
        let (taken, ended) = received(folder.path(), scheme, send);
        assert_eq!(ended.code, 0, "{scheme}: {}", ended.stderr);
        assert!(!ended.stderr.contains("the-key"), "{}", ended.stderr);
        let (frames, size) = counted(&taken);
        assert!(frames >= 10 && size == "64x48", "{scheme}: {frames} frames of {size}");
    }
}

#[test]
fn a_server_that_is_away_is_asked_again_and_no_password_is_told() {
    if !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for address in ["rtsp://me:sesame@127.0.0.1:PORT/test", "rtmp://127.0.0.1:PORT/live/sesame", "rtmp://127.0.0.1:PORT/x/y?pass=sesame"] {
        let ended = run(folder.path(), 30, &address.replace("PORT", &free_port().to_string()));
        assert_eq!(ended.json_lines().len(), 30 - dropped(&ended), "the other outputs go on");
        assert!(ended.code != 0 && ended.stderr.contains("--overlay") && ended.stderr.contains("ffmpeg"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("sesame") && !ended.stderr.contains("works again"), "{}", ended.stderr);
    }
}

fn dropped(ended: &Ended) -> usize {
    ended.json_lines().iter().map(|line| line["dropped"].as_u64().unwrap() as usize).max().unwrap_or(0)
}

#[test]
fn a_playlist_is_written_and_the_next_run_goes_on_with_it() {
    if !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("page/live.m3u8");
    for runs in 1..=2 {
        let ended = run(folder.path(), 50, "page/live.m3u8");
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let list = fs::read_to_string(&place).unwrap();
        assert!(list.contains("#EXT-X-ENDLIST"), "{list}");
        assert_eq!(list.matches("#EXT-X-DISCONTINUITY\n").count(), runs, "{list}");
        let (frames, size) = counted(&place);
        assert!(frames >= 10 * runs && size == "64x48", "{frames} frames of {size}");
    }
}

#[test]
fn every_picture_of_a_film_is_in_its_playlist_in_parts_of_the_films_own_time() {
    if !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // As fast as they come, for longer than the six parts that are kept of what has no end; again, it begins anew.
    for _ in 0..2 {
        let source = "test:?size=64x48&fps=10&frames=150";
        let arguments = ["run", "--source", source, "--pace", "every", "--tags", "stripes", "--size", "96", "--legend", "none"];
        let ended = edge_seg(folder.path(), &[&arguments[..], &["--overlay", "page/film.m3u8"]].concat());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(!ended.stderr.contains("left out"), "{}", ended.stderr);
        let place = folder.path().join("page/film.m3u8");
        let list = fs::read_to_string(&place).unwrap();
        assert_eq!((list.matches("#EXTINF:2.0").count(), list.matches("#EXTINF:1.0").count()), (7, 1), "{list}");
        assert!(list.contains("#EXT-X-ENDLIST"), "{list}");
        assert_eq!(counted(&place), (150, "64x48".into()), "{list}");
    }
}

#[test]
fn what_a_place_that_is_away_does_not_take_of_a_film_is_told() {
    if !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (source, address) = ("test:?size=64x48&fps=10&frames=150", format!("rtmp://127.0.0.1:{}/live/the-key", free_port()));
    let arguments = ["run", "--source", source, "--pace", "every", "--tags", "stripes", "--size", "96", "--overlay", &address];
    let ended = edge_seg(folder.path(), &arguments);
    assert!(ended.stderr.contains("of 150 frames are left out") && !ended.stderr.contains("the-key"), "{}", ended.stderr);
}

/// SRT's library drops what is on its way when the sender closes: of a film that is faster than its own time, much.
#[test]
fn every_picture_of_a_film_arrives_by_rtmp_and_srt() {
    if !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for scheme in ["rtmp", "srt"] {
        let send = |address: &str| {
            let arguments =
                ["run", "--source", "test:?size=64x48&fps=10&frames=150", "--pace", "every", "--tags", "stripes", "--size", "96"];
            edge_seg(folder.path(), &[&arguments[..], &["--overlay", address]].concat())
        };
        let (taken, ended) = received(folder.path(), scheme, send);
        assert_eq!(ended.code, 0, "{scheme}: {}", ended.stderr);
        assert_eq!(counted(&taken), (150, "64x48".into()), "{scheme}: {}", ended.stderr);
    }
}
