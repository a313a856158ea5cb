//! Cameras: child programs by stand-ins that check their arguments, Video4Linux by a double of its calls, RTSP by a real server.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use edge_seg::Frame;
use edge_seg::source::{Notice, SourceOptions, VideoDecoder, open_source};
use edge_seg_tests::{Ended, binary, need, need_program, test_name};
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};

/// Colours that every path must show to within [`TOLERANCE`].
const CHART: [[u8; 3]; 8] =
    [[235, 235, 235], [200, 200, 30], [30, 200, 200], [30, 180, 30], [200, 30, 200], [200, 30, 60], [30, 60, 200], [16, 16, 16]];
const TOLERANCE: u8 = 6;
const PATCH: u32 = 16;
const SIZE: (u32, u32) = (8 * PATCH, 48);

fn chart() -> RgbImage {
    RgbImage::from_fn(SIZE.0, SIZE.1, |x, _| Rgb(CHART[(x / PATCH) as usize]))
}

fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 98).encode_image(picture).unwrap();
    bytes
}

/// ITU-R BT.601 in limited range.
fn yuv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let [r, g, b] = [r, g, b].map(f64::from);
    let y = 0.299 * r + 0.587 * g + 0.114 * b;
    [16.0 + y * 219.0 / 255.0, 128.0 + (b - y) / 1.772 * 224.0 / 255.0, 128.0 + (r - y) / 1.402 * 224.0 / 255.0].map(|c| c.round() as u8)
}

/// The chart in one of V4L2's formats, with lines of `pad` bytes more than they need.
fn raw_chart(format: &str, pad: usize) -> Vec<u8> {
    let (width, height) = (SIZE.0 as usize, SIZE.1 as usize);
    let at = |x: usize| CHART[x / PATCH as usize];
    let line = |bytes: Vec<u8>| [bytes, vec![7; pad]].concat();
    let luma = || line((0..width).map(|x| yuv(at(x))[0]).collect());
    match format {
        "RGB3" => line((0..width).flat_map(at).collect()).repeat(height),
        "GREY" => luma().repeat(height),
        "BGR3" => line((0..width).flat_map(|x| [at(x)[2], at(x)[1], at(x)[0]]).collect()).repeat(height),
        "AB24" => line((0..width).flat_map(|x| [at(x)[0], at(x)[1], at(x)[2], 0]).collect()).repeat(height),
        "YUYV" | "UYVY" | "YVYU" => {
            let order = match format {
                "YUYV" => [0, 1, 0, 2],
                "UYVY" => [1, 0, 2, 0],
                _ => [0, 2, 0, 1],
            };
            line((0..width).step_by(2).flat_map(|x| order.map(|c| yuv(at(x))[c])).collect()).repeat(height)
        }
        "NV12" | "NV21" | "NV16" => {
            let (first, second) = if format == "NV21" { (2, 1) } else { (1, 2) };
            let chroma = line((0..width).step_by(2).flat_map(|x| [yuv(at(x))[first], yuv(at(x))[second]]).collect());
            [luma().repeat(height), chroma.repeat(if format == "NV16" { height } else { height / 2 })].concat()
        }
        "YU12" => {
            let plane = |i: usize| [(0..width).step_by(2).map(|x| yuv(at(x))[i]).collect(), vec![7; pad / 2]].concat();
            [luma().repeat(height), plane(1).repeat(height / 2), plane(2).repeat(height / 2)].concat()
        }
        _ => panic!("{format}"),
    }
}

/// The chart as rpicam-vid sends it for `yuv420`: sYCC, which is BT.601 in full range.
fn full_range_i420() -> Vec<u8> {
    let code = |x: u32, i: usize| {
        let [r, g, b] = CHART[(x / PATCH) as usize].map(f64::from);
        let y = 0.299 * r + 0.587 * g + 0.114 * b;
        [y, 128.0 + (b - y) / 1.772, 128.0 + (r - y) / 1.402][i].round() as u8
    };
    let plane = |i: usize, step: usize| (0..SIZE.0).step_by(step).map(|x| code(x, i)).collect::<Vec<_>>().repeat(SIZE.1 as usize / step);
    [plane(0, 1), plane(1, 2), plane(2, 2)].concat()
}

/// A program of this name in a folder that is put first on the search path.
pub fn stand_in(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

pub fn path_with(folder: &Path) -> String {
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

pub type Picture = ((u32, u32), Vec<[u8; 3]>);

/// What a source gave: sizes and colours of frames, and what was told meanwhile.
pub struct Seen {
    pub frames: Vec<Picture>,
    pub told: Vec<String>,
    pub error: Option<String>,
}

impl Seen {
    pub fn assert_chart(&self, what: &str, grey: bool) {
        for (size, colours) in &self.frames {
            assert_eq!(*size, SIZE, "{what}");
            for (found, want) in colours.iter().zip(CHART) {
                // Grey is in full range, so its codes are the colours.
                let want = if grey { [yuv(want)[0]; 3] } else { want };
                let off = found.iter().zip(want).map(|(&a, b)| a.abs_diff(b)).max().unwrap();
                assert!(off <= TOLERANCE, "{what}: {found:?} instead of {want:?}");
            }
        }
    }
}

/// Reads a source in a process of its own, whose environment may say what it likes.
pub fn read_source(uri: &str, frames: usize, stall_s: f64, environment: &[(&str, String)]) -> Seen {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        &test_name(module_path!(), "reads_a_source_for_another_test"),
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]);
    command.env("CAMERAS_READ", format!("{frames} {stall_s} {uri}")).envs(environment.iter().map(|(k, v)| (k, v)));
    let ended: Ended = command.output().unwrap().into();
    let mut seen = Seen { frames: Vec::new(), told: Vec::new(), error: None };
    for line in ended.stdout.lines() {
        let numbers = |text: &str| text.split(' ').map(|n| n.parse().expect("a number")).collect::<Vec<u32>>();
        if let Some(line) = line.strip_prefix("FRAME ") {
            let numbers = numbers(line);
            let colours = numbers[2..].chunks_exact(3).map(|c| [c[0] as u8, c[1] as u8, c[2] as u8]).collect();
            seen.frames.push(((numbers[0], numbers[1]), colours));
        } else if let Some(line) = line.strip_prefix("TOLD ") {
            seen.told.push(line.into());
        } else if let Some(line) = line.strip_prefix("ERROR ") {
            seen.error = Some(line.into());
        }
    }
    assert!(seen.error.is_some() || seen.frames.len() == frames, "{}\n{}", ended.stdout, ended.stderr);
    seen
}

/// A camera that is gone for good is asked for ever.
const READ_LIMIT: Duration = Duration::from_secs(300);

#[test]
#[ignore = "started by the other tests"]
fn reads_a_source_for_another_test() {
    let Ok(wanted) = std::env::var("CAMERAS_READ") else { return };
    let [frames, stall, uri] = wanted.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{wanted}") };
    std::thread::spawn(|| {
        std::thread::sleep(READ_LIMIT);
        println!("\nERROR not all frames within {READ_LIMIT:?}");
        std::process::exit(0);
    });
    let options = SourceOptions::default().with_stall(Duration::from_secs_f64(stall.parse().unwrap())).with_notify(|notice| match notice {
        Notice::Lost { why, .. } => println!("TOLD lost: {}", why.map_or("ended".into(), |e| e.to_string())),
        other => println!("TOLD {other:?}"),
    });
    let options = options.with_decoder(match std::env::var("CAMERAS_DECODER").as_deref() {
        Ok("own") => VideoDecoder::Own,
        Ok("ffmpeg") => VideoDecoder::Ffmpeg,
        _ => VideoDecoder::Auto,
    });
    let mut source = match open_source(uri, &options) {
        Ok(source) => source,
        Err(e) => return println!("\nERROR {e}"),
    };
    let mut frame = Frame::still(RgbImage::default());
    // The harness has begun a line of its own.
    println!();
    for sequence in 0..frames.parse().unwrap() {
        match source.read(&mut frame) {
            Ok(true) => {}
            Ok(false) => return println!("ERROR the end"),
            Err(e) => return println!("ERROR {e}"),
        }
        assert_eq!(frame.sequence, sequence, "numbers go on over every break");
        let (width, height) = frame.pixels.dimensions();
        print!("FRAME {width} {height}");
        for patch in 0..8 {
            let [r, g, b] = frame.pixels.get_pixel((2 * patch + 1) * width / 16, height / 2).0;
            print!(" {r} {g} {b}");
        }
        println!();
    }
}

pub fn arguments_of(folder: &Path) -> String {
    fs::read_to_string(folder.join("arguments")).unwrap().trim().to_owned()
}

#[test]
fn a_raspberry_pi_camera_through_its_programs() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("frame.jpg"), jpeg(&chart())).unwrap();
    fs::write(here.join("frame.yuv"), full_range_i420()).unwrap();
    let script = |file: &str| format!("echo \"$@\" > {0}/arguments; while cat {0}/{file}; do sleep 0.02; done", here.display());
    // Only the older name is there.
    stand_in(here, "libcamera-vid", &script("frame.jpg"));
    let path = [("PATH", path_with(here))];
    let uri = "rpicam:?size=128x48&fps=25&camera=1&hflip=1&vflip=1";
    read_source(uri, 3, 10.0, &path).assert_chart("mjpeg", false);
    let wanted =
        "--timeout 0 --nopreview --flush --codec mjpeg --width 128 --height 48 --framerate 25 --camera 1 --hflip --vflip --output -";
    assert_eq!(arguments_of(here), wanted);
    stand_in(here, "rpicam-vid", &script("frame.yuv"));
    read_source("rpicam:?size=128x48&codec=yuv420", 3, 10.0, &path).assert_chart("yuv420", false);
    let wanted = "--timeout 0 --nopreview --flush --codec yuv420 --width 128 --height 48 --framerate 30 --camera 0 --output -";
    assert_eq!(arguments_of(here), wanted);
}

#[test]
fn a_camera_program_that_dies_stalls_sends_garbage_or_changes_size_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("frame.jpg"), jpeg(&chart())).unwrap();
    fs::write(here.join("small.jpg"), jpeg(&RgbImage::from_pixel(32, 16, Rgb([9; 3])))).unwrap();
    let show = format!("cat {}/frame.jpg", here.display());
    for (end, complaint) in [
        ("echo 'ERROR: *** no cameras available ***' >&2; exit 255", "no cameras available ***; try: edge-seg-fw doctor"),
        ("exit 0", "ended"),
        ("exec sleep 60", "no frame for 500 ms"),
        ("exec >&-; sleep 60", "ended"),
        ("head -c 9000000 /dev/zero; exec sleep 60", "without one"),
    ] {
        stand_in(here, "rpicam-vid", &format!("{show}; {end}"));
        // Looking through megabytes of garbage may take a busy machine longer than a stall.
        let stall_s = if end.contains("zero") { 30.0 } else { 0.5 };
        let seen = read_source("rpicam:", 2, stall_s, &[("PATH", path_with(here))]);
        assert!(seen.told.iter().any(|t| t.contains(complaint)), "{end}: {:?}", seen.told);
        assert!(seen.told.iter().any(|t| t.contains("Back")), "{end}: {:?}", seen.told);
    }
    stand_in(here, "rpicam-vid", &format!("{show}; cat {}/small.jpg; {show}; exec sleep 60", here.display()));
    let seen = read_source("rpicam:", 3, 5.0, &[("PATH", path_with(here))]);
    assert_eq!(seen.frames.iter().map(|f| f.0).collect::<Vec<_>>(), [SIZE, (32, 16), SIZE]);
    assert!(seen.told.is_empty(), "{:?}", seen.told);
}

#[test]
fn a_jetson_camera_through_gstreamer() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let header = format!("YUV4MPEG2 W{} H{} F30:1 C420jpeg\n", SIZE.0, SIZE.1);
    let frame = [b"FRAME\n".to_vec(), raw_chart("YU12", 0)].concat();
    fs::write(here.join("video.y4m"), [header.into_bytes(), frame.clone(), frame.clone(), frame].concat()).unwrap();
    // NVIDIA's libraries talk on stdout, where no frame may lie.
    let script = format!(
        "echo \"$@\" > {0}/arguments; echo GST_ARGUS: Creating output stream; cat {0}/video.y4m >&3; exec sleep 60",
        here.display()
    );
    stand_in(here, "gst-launch-1.0", &script);
    let seen = read_source("csi:?size=128x48&fps=30&camera=1&flip=2", 3, 10.0, &[("PATH", path_with(here))]);
    seen.assert_chart("y4m", false);
    let wanted = "-q nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=128,height=48,framerate=30/1 ! \
                  nvvidconv flip-method=2 ! video/x-raw,format=I420 ! y4menc ! fdsink fd=3";
    assert_eq!(arguments_of(here), wanted);
}

#[test]
fn the_rest_of_the_jetson_pipeline_runs_in_real_gstreamer() {
    if !need_program("gst-launch-1.0") {
        return;
    }
    let path = std::env::var_os("PATH").unwrap();
    let real = std::env::split_paths(&path).map(|p| p.join("gst-launch-1.0")).find(|p| p.is_file()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Only the two elements that are NVIDIA's own are replaced.
    let script = format!(
        "arguments=$(echo \"$*\" | sed -e 's/nvarguscamerasrc sensor-id=0/videotestsrc num-buffers=9 pattern=solid-color \
         foreground-color=0xFFC81E3C/' -e 's/(memory:NVMM)//' -e 's/nvvidconv flip-method=0/videoconvert/')\nexec {} $arguments",
        real.display()
    );
    stand_in(folder.path(), "gst-launch-1.0", &script);
    let seen = read_source("csi:?size=72x38&fps=30", 5, 20.0, &[("PATH", path_with(folder.path()))]);
    for (size, colours) in &seen.frames {
        assert_eq!(*size, (72, 38));
        let off = colours[3].iter().zip([200, 30, 60]).map(|(&a, b): (&u8, u8)| a.abs_diff(b)).max().unwrap();
        assert!(off <= TOLERANCE, "{colours:?}");
    }
}

#[test]
fn missing_camera_programs_are_named_with_their_packages() {
    let nowhere = [("PATH", "/nowhere".to_owned())];
    for (uri, package) in [("rpicam:", "install the package rpicam-apps"), ("csi:", "install the package gstreamer1.0-tools")] {
        let said = read_source(uri, 1, 1.0, &nowhere).error.unwrap();
        assert!(said.contains(package), "{said}");
        // Before a page is served or a model is loaded.
        let mut run = Command::new(binary("edge-seg"));
        run.args(["run", "--source", uri, "--tags", "cat", "--http", "127.0.0.1:0"]).envs(nowhere.clone());
        let ended: Ended = run.output().unwrap().into();
        assert!(ended.code == 2 && ended.stderr.contains(package), "{}", ended.stderr);
        assert!(!ended.stderr.contains("web page") && !ended.stderr.contains("captured"), "{}", ended.stderr);
    }
    let folder = tempfile::tempdir().unwrap();
    stand_in(folder.path(), "gst-launch-1.0", "echo 'WARNING: erroneous pipeline: no element \"nvarguscamerasrc\"' >&2; exit 1");
    let said = read_source("csi:", 1, 5.0, &[("PATH", path_with(folder.path()))]).error.unwrap();
    assert!(said.contains("nvarguscamerasrc, which is not installed; install the package nvidia-l4t-gstreamer"), "{said}");
}

#[test]
fn a_camera_that_is_not_there_is_told_with_what_to_try_and_waited_for() {
    let (stop, told) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let (stop_too, told_too) = (stop.clone(), told.clone());
    let options = SourceOptions::default().with_stop(stop).with_notify(move |notice| {
        let Notice::Lost { why: Some(why), .. } = notice else { panic!("{notice:?}") };
        told_too.lock().unwrap().push(why.to_string());
        stop_too.store(true, Ordering::Relaxed);
    });
    let mut source = open_source("v4l2:///dev/no-such-camera", &options).unwrap();
    assert!(!source.read(&mut Frame::still(RgbImage::default())).unwrap());
    let wanted = "/dev/no-such-camera: No such file or directory (os error 2); try: ls /dev/video*, or edge-seg-fw doctor";
    let told = told.lock().unwrap();
    assert!(told.len() == 1 && told[0].ends_with(wanted), "{told:?}");
}

/// The double of V4L2's calls, compiled once for all tests.
fn double() -> Option<PathBuf> {
    static LIBRARY: std::sync::OnceLock<(tempfile::TempDir, PathBuf)> = std::sync::OnceLock::new();
    if !need_program("cc") {
        return None;
    }
    let (_, built) = LIBRARY.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("v4l2_double.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("cameras/v4l2_double.c");
        let compiled = Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").output().unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        (folder, library)
    });
    Some(built.clone())
}

/// Reads a V4L2 camera that the double plays.
fn read_double(library: &Path, query: &str, frames: usize, stall_s: f64, script: &[(&str, String)]) -> Seen {
    let mut environment =
        vec![("LD_PRELOAD", library.display().to_string()), ("DOUBLE_DEVICE", "/dev/video-double".into()), ("DOUBLE_FPS", "60".into())];
    environment.extend(script.iter().map(|(k, v)| (*k, v.clone())));
    read_source(&format!("v4l2:///dev/video-double{query}"), frames, stall_s, &environment)
}

#[test]
fn a_v4l2_camera_in_each_of_its_formats() {
    let Some(library) = double() else { return };
    let folder = tempfile::tempdir().unwrap();
    let frames = folder.path().join("frames");
    let planes = [("nv12", "NV12"), ("nv21", "NV21"), ("nv16", "NV16"), ("i420", "YU12"), ("grey", "GREY")];
    let packed = [("yuyv", "YUYV"), ("uyvy", "UYVY"), ("yvyu", "YVYU"), ("rgb24", "RGB3"), ("bgr24", "BGR3"), ("rgba", "AB24")];
    for (name, code) in planes.into_iter().chain(packed) {
        for pad in [0, 32] {
            let bytes = raw_chart(code, pad);
            fs::write(&frames, &bytes).unwrap();
            let tight = match code {
                "YUYV" | "UYVY" | "YVYU" => 2 * SIZE.0,
                "RGB3" | "BGR3" => 3 * SIZE.0,
                "AB24" => 4 * SIZE.0,
                _ => SIZE.0,
            };
            let script = [
                ("DOUBLE_OFFERS", format!("{code}:128x48")),
                ("DOUBLE_FRAMES", frames.display().to_string()),
                ("DOUBLE_BYTES", bytes.len().to_string()),
                ("DOUBLE_LINE", (tight as usize + pad).to_string()),
            ];
            let seen = read_double(&library, &format!("?size=128x48&fps=60&format={name}"), 6, 10.0, &script);
            seen.assert_chart(&format!("{code} padded by {pad}"), code == "GREY");
        }
    }
    let bytes = jpeg(&chart());
    fs::write(&frames, &bytes).unwrap();
    let script = [
        ("DOUBLE_OFFERS", "YUYV:128x48 MJPG:128x48".into()),
        ("DOUBLE_FRAMES", frames.display().to_string()),
        ("DOUBLE_BYTES", bytes.len().to_string()),
    ];
    // Without a format the compressed one is taken.
    read_double(&library, "", 6, 10.0, &script).assert_chart("MJPG", false);
}

#[test]
fn a_multi_planar_camera_through_gstreamer() {
    let Some(library) = double() else { return };
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let header = format!("YUV4MPEG2 C420 W{} H{} Ip F30:1 A1:1\n", SIZE.0, SIZE.1);
    let film = |frame: Vec<u8>| [header.clone().into_bytes(), [b"FRAME\n".to_vec(), frame].concat().repeat(3)].concat();
    stand_in(here, "gst-launch-1.0", &format!("echo \"$@\" > {0}/arguments; cat {0}/video.y4m >&3; exec sleep 60", here.display()));
    let device = "-q v4l2src device=/dev/video-double !";
    let rest = "videoconvert ! video/x-raw,format=I420 ! y4menc ! fdsink fd=3";
    for (query, caps) in [
        ("?size=128x48&fps=30&format=nv12", "video/x-raw,format=NV12,width=128,height=48,framerate=30/1 !"),
        ("?size=128x48&format=mjpeg", "image/jpeg,width=128,height=48 ! jpegdec !"),
        ("", "video/x-raw,width=1280,height=720 !"),
    ] {
        let script = [("DOUBLE_PLANES", "1".to_owned()), ("PATH", path_with(here))];
        // GStreamer's `jpegdec` gives the range of JPEG, and `y4menc` does not say so.
        let frame = if query.contains("mjpeg") { full_range_i420() } else { raw_chart("YU12", 0) };
        fs::write(here.join("video.y4m"), film(frame)).unwrap();
        read_double(&library, query, 3, 10.0, &script).assert_chart(query, false);
        assert_eq!(arguments_of(here), format!("{device} {caps} {rest}"));
    }
    let nowhere = [("DOUBLE_PLANES", "1".to_owned()), ("PATH", "/nowhere".to_owned())];
    let said = read_double(&library, "", 1, 1.0, &nowhere).error.unwrap();
    assert!(said.contains("install the package gstreamer1.0-tools"), "{said}");
}

#[test]
fn a_v4l2_camera_says_what_it_offers_where_a_format_is_refused() {
    let Some(library) = double() else { return };
    let offers = [("DOUBLE_OFFERS", "YUYV:640x480,320x240 H264:1920x1080".to_owned())];
    let said = |query: &str| read_double(&library, query, 1, 1.0, &offers).error.unwrap();
    for query in ["?format=nv12", "?size=800x600"] {
        let said = said(query);
        assert!(said.contains("YUYV 640x480 320x240, H264 1920x1080"), "{said}");
    }
    assert!(said("?format=nv12").contains("found nv12"));
    assert!(said("?size=800x600").contains("found yuyv 800x600"));
    let none = read_double(&library, "", 1, 1.0, &[("DOUBLE_OFFERS", "H264:1920x1080".into())]).error.unwrap();
    assert!(none.contains("H264 1920x1080"), "{none}");
}

#[test]
fn a_v4l2_camera_that_is_unplugged_stalls_or_sends_garbage_is_opened_again() {
    let Some(library) = double() else { return };
    let folder = tempfile::tempdir().unwrap();
    let frames = folder.path().join("frames");
    let bytes = raw_chart("YUYV", 0);
    // Every third frame is cut off.
    fs::write(&frames, [bytes.as_slice(), &bytes, &bytes[..500]].concat()).unwrap();
    let script = |event: (&'static str, &str)| {
        [
            ("DOUBLE_OFFERS", "YUYV:128x48".to_owned()),
            ("DOUBLE_FRAMES", frames.display().to_string()),
            ("DOUBLE_BYTES", bytes.len().to_string()),
            (event.0, event.1.to_owned()),
        ]
    };
    for (event, complaint) in [(("DOUBLE_UNPLUG", "3"), "No such device"), (("DOUBLE_STALL", "3"), "no frame for 500 ms")] {
        let seen = read_double(&library, "?size=128x48", 4, 0.5, &script(event));
        assert!(seen.told.iter().any(|t| t.contains(complaint)), "{event:?}: {:?}", seen.told);
        assert!(seen.told.last().is_some_and(|t| t == "Back"), "{:?}", seen.told);
        seen.assert_chart(complaint, false);
    }
    // 31 damaged frames in a row, then whole ones.
    fs::write(&frames, [vec![0; 31 * bytes.len()], bytes.repeat(9)].concat()).unwrap();
    let damage = [("DOUBLE_BROKEN", "31")].map(|(k, v)| (k, v.to_owned()));
    let seen = read_double(&library, "?size=128x48", 2, 5.0, &[&script(("DOUBLE_UNPLUG", "60"))[..], &damage].concat());
    assert!(seen.told.iter().any(|t| t.contains("damaged ones in a row")), "{:?}", seen.told);
}

/// What a script listens on, once it does.
fn until_ready(server: &mut Child) -> u16 {
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line.trim().strip_prefix("ready ").unwrap_or_else(|| panic!("it does not start: {line:?}")).parse().unwrap()
}

/// A script of `tests/cameras` that listens on a port: a real RTSP server, or a bad network before one.
pub struct RtspServer {
    pub port: u16,
    child: Child,
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn has_rtsp_server() -> bool {
    let library = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer";
    let server = Command::new("/usr/bin/python3").args(["-c", library]).output().is_ok_and(|o| o.status.success());
    need("GStreamer RTSP server (python3-gi, gir1.2-gst-rtsp-server-1.0)", server)
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn serve(arguments: &[&str]) -> RtspServer {
    script("rtsp_server.py", 0, arguments)
}

/// Starts a script on a port, or on any where that is 0: one that was free a moment ago may be another test's.
pub fn script(name: &str, port: u16, arguments: &[&str]) -> RtspServer {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cameras").join(name);
    let mut command = Command::new("/usr/bin/python3");
    command.arg(script).arg(port.to_string()).args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let port = until_ready(&mut child);
    RtspServer { port, child }
}

/// No other program can be found.
pub const ALONE: (&str, &str) = ("PATH", "/nowhere");

#[test]
fn an_rtsp_camera_from_a_real_server_that_is_killed_and_comes_back() {
    if !has_rtsp_server() {
        return;
    }
    let mut server = serve(&["C81E3C"]);
    let mut reader = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test_name(module_path!(), "reads_a_source_for_another_test"), "--ignored", "--nocapture", "--test-threads=1"])
        .env("CAMERAS_READ", format!("100000 20 rtsp://127.0.0.1:{}/test", server.port))
        .env(ALONE.0, ALONE.1)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines();
    let limit = Instant::now() + Duration::from_secs(240);
    let mut until = |wanted: &dyn Fn(&str) -> bool| {
        let line = lines.find(|line| Instant::now() > limit || wanted(line.as_ref().unwrap())).expect("lines go on").unwrap();
        assert!(Instant::now() < limit, "never came; last was {line}");
    };
    let shows = |line: &str, colour: [u8; 3]| {
        let numbers: Vec<u8> =
            line.strip_prefix("FRAME 320 240 ").into_iter().flat_map(|l| l.split(' ')).filter_map(|n| n.parse().ok()).collect();
        numbers.len() == 24 && numbers.chunks_exact(3).all(|c| c.iter().zip(colour).all(|(&a, b)| a.abs_diff(b) <= TOLERANCE))
    };
    until(&|line| line == "TOLD Decoding { by: \"jpeg\" }");
    until(&|line| shows(line, [200, 30, 60]));
    let port = server.port;
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    until(&|line| line.starts_with("TOLD lost"));
    let _server = script("rtsp_server.py", port, &["1E3CC8"]);
    until(&|line| line == "TOLD Back");
    until(&|line| shows(line, [30, 60, 200]));
    reader.kill().unwrap();
    reader.wait().unwrap();
}

/// The chart as a film of some seconds, in an encoding of ffmpeg's.
pub fn chart_film(folder: &Path, name: &str, encoder: &[&str]) -> String {
    chart().save(folder.join("chart.png")).unwrap();
    let made = Command::new("ffmpeg")
        .current_dir(folder)
        .args(["-loglevel", "error", "-loop", "1", "-framerate", "15", "-i", "chart.png", "-t", "6"])
        .args(["-vf", "scale=out_color_matrix=bt601:out_range=limited,format=yuv420p"])
        .args(encoder)
        .arg(name)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    folder.join(name).display().to_string()
}

pub const H264: [&str; 8] = ["-c:v", "libx264", "-crf", "6", "-g", "15", "-x264-params", "slices=3:bframes=2"];

#[test]
fn h264_by_rtsp_over_tcp_and_udp_and_by_either_decoder() {
    if !has_rtsp_server() || !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let film = chart_film(folder.path(), "chart.mp4", &H264);
    let own = [(ALONE.0, ALONE.1.to_owned())];
    for (transport, decoder) in [("tcp", "own"), ("tcp", "ffmpeg"), ("udp", "own"), ("udp", "ffmpeg")] {
        let options = if transport == "udp" { vec![film.as_str(), "login=me:se:cret", "udp"] } else { vec![&film, "login=me:se:cret"] };
        let server = serve(&options);
        let environment = if decoder == "own" { own.to_vec() } else { vec![("CAMERAS_DECODER", "ffmpeg".to_owned())] };
        let seen = read_source(&format!("rtsp://me:se:cret@127.0.0.1:{}/test", server.port), 10, 20.0, &environment);
        seen.assert_chart(&format!("{transport}, {decoder}"), false);
        let by = if decoder == "own" { "rust_h264" } else { "ffmpeg" };
        assert!(seen.told.contains(&format!("Decoding {{ by: {by:?} }}")), "{:?}", seen.told);
        assert_eq!(seen.told.iter().any(|told| told.contains("OtherTransport")), transport == "udp", "{:?}", seen.told);
    }
    let server = serve(&[&film, "login=me:secret"]);
    for login in ["me:wrong-password@", ""] {
        let told = told_of(&format!("rtsp://{login}127.0.0.1:{}/test", server.port), Duration::from_secs(20));
        assert!(told.contains("401") && !told.contains("wrong-password") && !told.contains("UDP"), "{told}");
    }
}

/// What is told of a source until it breaks, which ends it.
pub fn told_of(uri: &str, stall: Duration) -> String {
    let (stop, told) =
        (std::sync::Arc::<std::sync::atomic::AtomicBool>::default(), std::sync::Arc::<std::sync::Mutex<Vec<String>>>::default());
    let (ends, tell) = (stop.clone(), told.clone());
    let options = SourceOptions::default().with_stop(stop).with_stall(stall).with_notify(move |notice| {
        let is_end = matches!(notice, Notice::Lost { .. });
        tell.lock().unwrap().push(match notice {
            Notice::Lost { why, .. } => why.map_or("ended".into(), |e| e.to_string()),
            other => format!("{other:?}"),
        });
        ends.store(is_end, std::sync::atomic::Ordering::Relaxed);
    });
    let mut frame = Frame::still(RgbImage::default());
    match open_source(uri, &options).and_then(|mut source| source.read(&mut frame)) {
        Ok(more) => assert!(!more, "{uri} gives frames"),
        Err(error) => told.lock().unwrap().push(error.to_string()),
    }
    let told = told.lock().unwrap().join("; ");
    assert!(!told.is_empty() && !told.contains('\n'), "{told}");
    told
}

#[test]
fn an_rtsp_camera_that_loses_packets_stalls_or_ends_is_survived() {
    if !has_rtsp_server() || !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let film = chart_film(folder.path(), "chart.mp4", &H264);
    let alone = [(ALONE.0, ALONE.1.to_owned())];
    let read = |frames: usize, stall_s: f64, option: &str| {
        let server = serve(&[&film, option]);
        read_source(&format!("rtsp://127.0.0.1:{}/test", server.port), frames, stall_s, &alone).told
    };
    let told = read(60, 20.0, "drop=0.05");
    assert!(told.iter().any(|told| told.contains("Damaged") && told.contains("lost")), "{told:?}");
    // It goes on where it stood still, and begins anew where the film ends.
    for (frames, stall_s, option, complaint) in [(30, 1.5, "stall=20", "no frame for 1500 ms"), (110, 20.0, "", "")] {
        let told = read(frames, stall_s, option);
        assert!(told.iter().any(|told| told.starts_with("lost") && told.contains(complaint)), "{option}: {told:?}");
        assert!(told.iter().any(|told| told == "Back"), "{option}: {told:?}");
    }
}

/// Answers each connection with the same bytes, once something was asked.
fn answering(bytes: Vec<u8>, then: Duration) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let bytes = bytes.clone();
            std::thread::spawn(move || {
                let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
                let _ = stream.write_all(&bytes);
                std::thread::sleep(then);
            });
        }
    });
    port
}

#[test]
fn servers_that_speak_no_rtsp_are_errors() {
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
    let described = |body: &str, length: usize| {
        format!("RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    };
    let hostile: [(&str, Vec<u8>); 6] = [
        ("nothing", Vec::new()),
        ("zeros", vec![0; 100_000]),
        ("another protocol", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec()),
        ("a body that never ends", described("v=0", 4_000_000_000)),
        ("a body that is none", described("\u{0}\u{1}", 2)),
        ("no answer to the next question", described(sdp, sdp.len())),
    ];
    for (what, bytes) in hostile {
        let port = answering(bytes, Duration::from_millis(200));
        let told = told_of(&format!("rtsp://me:secret@127.0.0.1:{port}/x"), Duration::from_secs(1));
        assert!(!told.contains("secret"), "{what}: {told}");
    }
}

/// A camera that sends pictures by HTTP to who gives this header, whose nonce must be the newer one if it `renews` that.
fn http_camera(authorization: &'static str, renews: bool, chunked: bool, pictures: usize) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
                assert!(head.first().is_none_or(|line| line.starts_with("GET /video?size=3 HTTP/1.1")), "{head:?}");
                let given = head.iter().find(|line| line.to_ascii_lowercase().starts_with(&authorization.to_ascii_lowercase()));
                if given.is_none_or(|line| renews && !line.contains("nonce=\"new\"")) {
                    let asked = if renews && given.is_some() {
                        "Digest realm=\"camera\", nonce=\"new\", qop=\"auth,auth-int\", stale=true"
                    } else if authorization.contains("Digest") {
                        "Digest realm=\"camera\", nonce=\"abc\", qop=\"auth\""
                    } else {
                        "Basic realm=\"camera\""
                    };
                    let _ = write!(stream, "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {asked}\r\nContent-Length: 0\r\n\r\n");
                    return;
                }
                let encoding = if chunked { "Transfer-Encoding: chunked\r\n" } else { "" };
                let kind = "Content-Type: multipart/x-mixed-replace; boundary=frame\r\n";
                let _ = write!(stream, "HTTP/1.1 200 OK\r\n{kind}{encoding}\r\n");
                for _ in 0..pictures {
                    let part = [b"--frame\r\nContent-Type: image/jpeg\r\n\r\n".as_slice(), &jpeg(&chart()), b"\r\n"].concat();
                    // Pieces end where it happens.
                    for piece in part.chunks(700) {
                        let sent = match chunked {
                            true => write!(stream, "{:x}\r\n", piece.len())
                                .and_then(|()| stream.write_all(piece))
                                .and_then(|()| stream.write_all(b"\r\n")),
                            false => stream.write_all(piece),
                        };
                        if sent.is_err() {
                            return;
                        }
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                std::thread::sleep(Duration::from_secs(3));
            });
        }
    });
    port
}

#[test]
fn motion_jpeg_over_http_needs_no_other_program() {
    let alone = [(ALONE.0, ALONE.1.to_owned())];
    // "me:s@cret" as Basic has it.
    for (what, header, login, renews, chunked) in [
        ("plain", "GET", "", false, false),
        ("chunked", "GET", "", false, true),
        ("basic", "authorization: Basic bWU6c0BjcmV0", "me:s@cret@", false, false),
        ("digest", "authorization: Digest username=\"me\"", "me:s@cret@", false, true),
        ("a nonce that was too old", "authorization: Digest username=\"me\"", "me:s@cret@", true, false),
    ] {
        let port = http_camera(header, renews, chunked, usize::MAX);
        let seen = read_source(&format!("http://{login}127.0.0.1:{port}/video?size=3"), 8, 10.0, &alone);
        seen.assert_chart(what, false);
        assert_eq!(seen.told, ["Decoding { by: \"jpeg\" }"], "{what}");
    }
    let port = http_camera("GET", false, false, 3);
    let seen = read_source(&format!("http://127.0.0.1:{port}/video?size=3"), 5, 0.5, &alone);
    assert!(seen.told.iter().any(|told| told.contains("no frame for 500 ms")), "{:?}", seen.told);
    let port = http_camera("authorization: Basic bWU6c0BjcmV0", false, false, 3);
    let told = told_of(&format!("http://me:wrong-word@127.0.0.1:{port}/video?size=3"), Duration::from_secs(10));
    assert!(told.contains("401 Unauthorized") && !told.contains("wrong-word"), "{told}");
}

#[test]
fn a_pipe_that_stalls_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(binary("edge-seg"))
        .current_dir(folder.path())
        .args(["run", "--source", "mjpeg:-", "--stall", "0.5", "--tags", "sky", "--size", "96"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut frame = || {
        pipe.write_all(&jpeg(&chart())).unwrap();
        lines.next().expect("a line").unwrap();
    };
    frame();
    std::thread::sleep(Duration::from_millis(1500));
    frame();
    drop(pipe);
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    assert!(said.contains("no frame for 0.5 s") && said.contains("is back"), "{said}");
}
