use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::animation::Animation;
use super::camera::{Csi, RpiCamera};
use super::ffmpeg::{self, Decoder, Input, StreamQuirks};
use super::mjpeg::Mjpeg;
#[cfg(feature = "network")]
use super::network::NetworkCamera;
use super::options::{Pace, SourceOptions};
use super::query::Query;
use super::raw::RawFrames;
use super::reconnect::Reconnecting;
use super::redacted_address;
use super::stills::Stills;
use super::synthetic::Synthetic;
#[cfg(feature = "v4l2")]
use super::v4l2::V4l2Camera;
use super::watched::Watched;
use super::y4m::Y4m;
use super::{Fault, Layout, Matrix, PixelFormat, Rate, ReadFrame, Source, Stop, YuvDecoder};
use crate::{Error, Result};
use edge_seg_bundle::git_lfs_pointer;
use edge_seg_model::{Frame, is_picture};

/// What a file of Motion JPEG is taken to have, as ffmpeg takes it.
const MJPEG_RATE: Rate = (25, 1);

const EXPECTED: &str = "a file, a folder, file:PATH, y4m:PATH, mjpeg:PATH, raw:PATH?size=WxH&format=F (PATH may be - for stdin), rtsp://HOST/... (rtsps, http, https, rtmp, rtmps, srt too), v4l2:///dev/video0?size=WxH&fps=N&format=F, rpicam:?size=WxH&fps=N, csi:?size=WxH&fps=N, or test:?size=WxH&fps=N";

/// How sources that need a name are written.
const NAMELESS: [(&str, &str); 5] = [
    ("file", "file:PATH, such as file:clip.mp4"),
    ("y4m", "y4m:PATH, such as y4m:clip.y4m, or y4m:- for stdin"),
    ("mjpeg", "mjpeg:PATH, such as mjpeg:clip.mjpeg, or mjpeg:- for stdin"),
    ("raw", "raw:PATH?size=WxH&format=F, such as raw:clip.yuv?size=640x480&format=yuyv, or raw:- for stdin"),
    ("v4l2", "v4l2:DEVICE, such as v4l2:///dev/video0"),
];

/// What other programs call such a source, and its name here.
const USUAL: [(&[&str], &str); 4] = [
    (&["libcamera", "libcamerasrc", "picamera", "picamera2", "picam", "raspicam", "rpi", "rpicam"], "rpicam:?size=1280x720"),
    (&["nvarguscamerasrc", "argus", "nvargus", "csi"], "csi:?size=1280x720"),
    (&["usb", "webcam", "video", "camera", "cam", "v4l", "v4l2", "v4l2src"], FIRST_CAMERA),
    (&["testsrc", "videotestsrc", "test"], "test:"),
];
const FIRST_CAMERA: &str = "v4l2:///dev/video0";

/// The cameras that the kernel knows, as sources, with their names.
fn cameras(devices: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(devices).into_iter().flatten().flatten();
    let camera = |path: PathBuf| {
        // A camera has several devices; the others give no pictures.
        let is_first = std::fs::read_to_string(path.join("index")).is_ok_and(|index| index.trim() == "0");
        let device = path.file_name()?.to_str().filter(|device| is_first && device.starts_with("video"))?.to_owned();
        let name = std::fs::read_to_string(path.join("name")).unwrap_or_default();
        Some(format!("v4l2:///dev/{device} ({})", name.trim()))
    };
    let mut found: Vec<String> = entries.filter_map(|entry| camera(entry.path())).collect();
    found.sort();
    found
}

/// Sources that are no streams of the network.
const SCHEMES: [&str; 8] = ["file", "y4m", "mjpeg", "raw", "v4l2", "rpicam", "csi", "test"];

/// Opens a source by its name:
///
/// | name | is |
/// |---|---|
/// | `PATH`, `file:PATH` | a picture, an animation (GIF, WebP, PNG), a folder of pictures, or a video, which an `ffmpeg` child decodes |
/// | `y4m:PATH`, `mjpeg:PATH?fps=25` | such a stream; `-` is stdin. A file of Motion JPEG has 25 frames a second unless `fps` says otherwise |
/// | `raw:PATH?size=640x480&format=yuyv&fps=30` | frames without headers: `rgb24`, `bgr24`, `rgba`, `bgra`, `yuyv`, `uyvy`, `yvyu`, `vyuy`, `nv12`, `nv21`, `nv16`, `nv61`, `i420`, `yv12`, `i411`, `i422`, `i444` or `grey` |
/// | `v4l2:///dev/video0?size=1280x720&fps=30&format=mjpeg` | a camera through Video4Linux: `mjpeg` or one of these (`i411`, `i422` and `i444` aside), without `format` the first of these that it has; a device with multi-planar calls alone is read by a `gst-launch-1.0` child |
/// | `rpicam:?size=1280x720&fps=30&camera=0&hflip=1&vflip=1&codec=mjpeg` | a Raspberry Pi camera through an `rpicam-vid` child, or `libcamera-vid` on older systems; `codec` is `mjpeg` or `yuv420` |
/// | `csi:?size=1280x720&fps=30&camera=0&flip=0` | a Jetson's CSI camera through a `gst-launch-1.0` child; `flip` is 0 to 7 as in `nvvidconv` |
/// | `rtsp://...` | a camera that sends Motion JPEG, H.264 or H.265, of which [`VideoDecoder`](super::VideoDecoder) says what decodes it; other video through an `ffmpeg` child |
/// | `http://...` | a camera that sends Motion JPEG; other video through an `ffmpeg` child |
/// | `rtsps://...`, `https://...`, `rtmp://...`, `rtmps://...`, `srt://...` | a network camera through an `ffmpeg` child |
/// | `test:?size=640x360&fps=30&frames=N` | walking colour bars |
///
/// Cameras and network streams are opened again, after growing pauses, when they end, break, stall or are unplugged. Pipes cannot be
/// opened again; one that stalls is waited for.
///
/// # Errors
/// [`Error::Source`] if the name is wrong or a program is missing, [`Io`](edge_seg_model::Error::Io) if a file cannot be opened.
pub fn open_source(uri: &str, options: &SourceOptions) -> Result<Box<dyn Source>> {
    let options = &options.of_its_own();
    check_source(uri)?;
    let fail = |fault: Fault| Error::Source { uri: redacted_address(uri), fault };
    let live = options.pace == Pace::Live;
    if let Some(address) = ffmpeg::stream_address(uri) {
        let quirks = StreamQuirks::default();
        #[cfg(feature = "network")]
        {
            let (uri, inner) = (redacted_address(uri), options.clone());
            return Ok(Box::new(Reconnecting::new(options.clone(), move || {
                let camera = NetworkCamera::new(address.clone(), &inner, &quirks);
                Ok(Box::new(OpenCamera { uri: uri.clone(), stop: inner.stop(), camera }))
            })));
        }
        #[cfg(not(feature = "network"))]
        return Ok(reconnecting(uri, options, move |options| {
            let mut decoder = Decoder::start(Input::Stream(address.clone()), options, true, &quirks)?;
            Ok(Box::new(move |frame: &mut Frame| Ok((decoder.read(frame)?, decoder.rate()))))
        }));
    }
    let (scheme, rest) = scheme_of(uri);
    match scheme {
        "file" => open_path(uri, Path::new(rest), options),
        "y4m" => {
            let mut y4m = Y4m::new(bytes(rest)?, options.matrix, options.range);
            pipe(uri, live, options, move |frame| Ok((y4m.read(frame)?, y4m.rate())))
        }
        "mjpeg" => {
            let (path, query) = if Path::new(rest).exists() { (rest, "") } else { rest.split_once('?').unwrap_or((rest, "")) };
            let fps = Query::parse(query, &["fps"]).map_err(fail)?.fps()?;
            // A file holds no times; what comes through a pipe comes in its own.
            let rate = fps.or_else(|| Path::new(path).is_file().then_some(MJPEG_RATE));
            let mut mjpeg = Mjpeg::new(bytes(path)?, rate, &options.notify);
            pipe(uri, live, options, move |frame| Ok((mjpeg.read(frame)?, mjpeg.rate())))
        }
        "raw" => {
            let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
            let query = Query::parse(query, &["size", "format", "fps"]).map_err(fail)?;
            let (width, height) = query.size()?.ok_or_else(|| fail(Fault::name("raw:PATH?size=WxH&format=F", "no size")))?;
            let format = query.format()?.ok_or_else(|| fail(Fault::name("raw:PATH?size=WxH&format=F", "no format")))?;
            let layout = Layout::new(format, width, height).map_err(fail)?;
            let matrix = options.matrix.unwrap_or(Matrix::of_height(height));
            let decoder = YuvDecoder::new(matrix, options.range.unwrap_or(format.usual_range()));
            let mut frames = RawFrames::new(layout, decoder, query.fps()?.unwrap_or((30, 1)));
            let mut input = bytes(path)?;
            pipe(uri, live, options, move |frame| Ok((frames.read(&mut input, frame)?, Some(frames.rate))))
        }
        "test" => {
            let (size, rate, frames) = synthetic(uri, rest)?;
            Ok(Box::new(Synthetic {
                size,
                rate,
                frames,
                live: options.pace != Pace::Every,
                stop: options.stop(),
                sequence: 0,
                start: Instant::now(),
            }))
        }
        "v4l2" => {
            let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
            #[cfg(not(feature = "v4l2"))]
            return Err(fail(Fault::name("a build with the feature v4l2", format!("{path}?{query}"))));
            #[cfg(feature = "v4l2")]
            {
                let query = Query::parse(query, &V4l2Camera::KEYS).map_err(fail)?;
                let camera = V4l2Camera::parse(path.strip_prefix("//").unwrap_or(path), &query)?;
                let (uri, inner) = (uri.to_owned(), options.clone());
                Ok(Box::new(Reconnecting::new(options.clone(), move || {
                    let mut camera = camera.start(&inner).map_err(|fault| Error::Source { uri: redacted_address(&uri), fault })?;
                    stream(&uri, true, &inner, move |frame| Ok((camera.read(frame)?, camera.rate())))
                })))
            }
        }
        "rpicam" => {
            let query = Query::parse(rest.trim_start_matches('?'), &RpiCamera::KEYS).map_err(fail)?;
            let camera = RpiCamera::parse(&query).and_then(|camera| camera.check().map_err(fail))?;
            Ok(reconnecting(uri, options, move |options| Ok(camera.start(options)?.into_reader())))
        }
        "csi" => {
            let query = Query::parse(rest.trim_start_matches('?'), &Csi::KEYS).map_err(fail)?;
            let camera = Csi::parse(&query).and_then(|camera| camera.check().map_err(fail))?;
            Ok(reconnecting(uri, options, move |options| Ok(camera.start(options)?.into_reader())))
        }
        _ => Err(fail(unknown_scheme(uri, scheme, rest))),
    }
}

/// Whether [`open_source`] takes a name, by what it says: whether there is such a camera, file or host is not looked at.
///
/// # Errors
/// [`Error::Source`] if it is wrong.
pub fn check_source(uri: &str) -> Result<()> {
    let fail = |fault: Fault| Error::Source { uri: redacted_address(uri), fault };
    if uri.is_empty() {
        return Err(Error::Source { uri: "source".into(), fault: Fault::name(EXPECTED, "an empty name") });
    }
    if let Some(address) = ffmpeg::stream_address(uri) {
        let wrong = |expected: &str, found: &str| Err(Error::Source { uri: redacted_address(uri), fault: Fault::name(expected, found) });
        if address.contains(char::is_whitespace) {
            return wrong("an address without white space, which is written as %20", "one with some");
        }
        if !ffmpeg::names_host(&address) {
            return wrong("an address like rtsp://HOST/PATH or http://USER:PASSWORD@HOST:PORT/PATH", "one without a host");
        }
        return match ffmpeg::port(&address) {
            Some(port) if port.parse::<u16>().is_err() => wrong("a port of 0 to 65535", port),
            _ => Ok(()),
        };
    }
    let (scheme, rest) = scheme_of(uri);
    if let Some((_, expected)) = NAMELESS.iter().find(|(known, _)| *known == scheme)
        && rest.len() < uri.len()
        && rest.split('?').next().is_some_and(|path| path.trim_start_matches('/').is_empty())
        && !Path::new(rest).is_file()
    {
        return Err(fail(Fault::name(*expected, "no name behind the colon")));
    }
    match scheme {
        "file" => missing_name(uri, rest),
        "v4l2" if !rest.starts_with('/') => {
            let path = rest.split('?').next().unwrap_or_default();
            let meant = meant_by_name(path).filter(|meant| meant.starts_with("v4l2:")).unwrap_or_else(|| FIRST_CAMERA.into());
            Err(fail(Fault::name("v4l2: and the path of a camera", format!("{path:?}; did you mean {meant}?"))))
        }
        "test" => synthetic(uri, rest).map(drop),
        known if SCHEMES.contains(&known) => Ok(()),
        _ => Err(fail(unknown_scheme(uri, scheme, rest))),
    }
}

/// Size, rate and number of frames of the moving test picture that a name asks for.
fn synthetic(uri: &str, rest: &str) -> Result<((u32, u32), Rate, Option<u64>)> {
    let fail = |fault: Fault| Error::Source { uri: redacted_address(uri), fault };
    let query = Query::parse(rest.trim_start_matches('?'), &["size", "fps", "frames"]).map_err(fail)?;
    let (width, height) = query.size()?.unwrap_or((640, 360));
    Layout::new(PixelFormat::Rgb24, width, height).map_err(fail)?;
    Ok(((width, height), query.fps()?.unwrap_or((30, 1)), query.number("frames")?))
}

/// A name's scheme and what follows it. A Windows drive or a file name with a colon is no scheme that is known here, and exists.
fn scheme_of(uri: &str) -> (&str, &str) {
    match uri.split_once(':').filter(|_| !Path::new(uri).exists()) {
        Some(("file", rest)) => ("file", rest.strip_prefix("//").unwrap_or(rest)),
        Some(found) => found,
        None => ("file", uri),
    }
}

fn unknown_scheme(uri: &str, scheme: &str, rest: &str) -> Fault {
    let meant = meant_by(scheme, rest).map(|meant| format!("; did you mean {}?", redacted_address(&meant)));
    Fault::name(EXPECTED, format!("{:?}{}", redacted_address(uri), meant.unwrap_or_default()))
}

/// Whether what is no file is what people call a camera.
fn missing_name(uri: &str, path: &str) -> Result<()> {
    let path = Path::new(path);
    let wrong = |fault| Err(Error::Source { uri: redacted_address(uri), fault });
    if uri.starts_with("/dev/video") {
        return wrong(Fault::name(format!("v4l2://{uri} for a camera"), format!("{uri:?}")));
    }
    let Some(meant) = meant_by_name(uri).filter(|_| !path.exists()) else { return Ok(()) };
    let cameras = cameras(Path::new("/sys/class/video4linux"));
    let here = if cameras.is_empty() { String::new() } else { format!(" The cameras of this machine: {}", cameras.join(", ")) };
    wrong(Fault::name("a file, a folder or a source", format!("no file {:?}; did you mean {meant}?{here}", redacted_address(uri))))
}

/// The name that was probably meant where no source is called `scheme`: what another program calls it, a slip, or an address without its
/// scheme.
fn meant_by(scheme: &str, rest: &str) -> Option<String> {
    let small = scheme.to_ascii_lowercase();
    if let Some((_, meant)) = USUAL.iter().find(|(names, _)| names.contains(&small.as_str())) {
        return Some((*meant).into());
    }
    if let Some(meant) = with_colon(&format!("{scheme}:{rest}")) {
        return Some(meant);
    }
    let is_known = |name: &str| STREAMS.contains(&name) || SCHEMES.contains(&name);
    let slips = |name: &&str| strsim::osa_distance(&small, name);
    let best = if is_known(&small) { small.as_str() } else { STREAMS.iter().chain(&SCHEMES).copied().min_by_key(slips)? };
    let most = if best.len() > 5 { 2 } else { 1 };
    if slips(&best) > most.min(small.len().saturating_sub(1)) {
        if is_windows_path(scheme, rest) {
            return Some(format!("file:PATH, with the path as this system has it, as /home/me/{}", rest.rsplit(['\\', '/']).next()?));
        }
        if let Some(meant) = ipv6(scheme, rest) {
            return Some(meant);
        }
        let is_address = scheme.contains('.') && rest.starts_with(|c: char| c.is_ascii_digit());
        return is_address.then(|| format!("rtsp://{scheme}:{rest}"));
    }
    let rest = if STREAMS.contains(&best) { format!("//{}", rest.trim_start_matches('/')) } else { rest.to_owned() };
    Some(format!("{best}:{rest}"))
}

const STREAMS: [&str; 7] = ["rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "srt"];

/// An address whose scheme has lost its colon.
fn with_colon(name: &str) -> Option<String> {
    let (scheme, address) = name.split_once("//").filter(|(_, address)| !address.is_empty())?;
    STREAMS.contains(&&*scheme.to_ascii_lowercase()).then(|| format!("{scheme}://{address}"))
}

/// `C:\film.mp4`, as another system names files.
fn is_windows_path(scheme: &str, rest: &str) -> bool {
    scheme.len() == 1 && scheme.bytes().all(|b| b.is_ascii_alphabetic()) && rest.starts_with(['\\', '/'])
}

/// An address of IPv6 without a scheme, which its first colon was taken to end.
fn ipv6(scheme: &str, rest: &str) -> Option<String> {
    let whole = format!("{scheme}:{rest}");
    let host = whole.strip_prefix('[').and_then(|inner| inner.split_once(']')).map_or(&*whole, |(host, _)| host);
    host.parse::<std::net::Ipv6Addr>().ok()?;
    let whole = if whole.starts_with('[') { whole } else { format!("[{whole}]") };
    Some(format!("rtsp://{whole} or http://{whole}"))
}

/// As [`meant_by`], of a name without a colon that is no file: a camera's number, its device, its address, or what other programs call it.
fn meant_by_name(name: &str) -> Option<String> {
    let small = name.to_ascii_lowercase();
    let device = small.trim_start_matches('/').trim_start_matches("dev/");
    let number = device.strip_prefix("video").unwrap_or(&small);
    if !number.is_empty() && number.len() < 4 && number.bytes().all(|b| b.is_ascii_digit()) {
        return Some(format!("v4l2:///dev/video{number}"));
    }
    if name == "-" {
        return Some("y4m:-, mjpeg:- or raw:-?size=WxH&format=F".into());
    }
    let host = name.split('/').next().unwrap_or_default();
    if let Some(meant) = with_colon(name) {
        return Some(meant);
    }
    if let (Some(below), Ok(home)) = (name.strip_prefix("~/"), std::env::var("HOME")) {
        return Some(format!("{home}/{below}"));
    }
    // Names that are announced on a network without a server of names.
    let is_local = host.len() > 6 && host.to_ascii_lowercase().ends_with(".local");
    if is_local || host.parse::<std::net::Ipv4Addr>().is_ok() {
        return Some(format!("rtsp://{name} or http://{name}"));
    }
    USUAL.iter().find(|(names, _)| names.contains(&&*small)).map(|(_, meant)| (*meant).to_owned())
}

/// A child that is started again whenever it ends, breaks or stalls.
fn reconnecting(
    uri: &str,
    options: &SourceOptions,
    start: impl Fn(&SourceOptions) -> Result<Box<ReadFrame>, Fault> + Send + 'static,
) -> Box<dyn Source> {
    let (uri, inner) = (uri.to_owned(), options.clone());
    Box::new(Reconnecting::new(options.clone(), move || {
        let mut read = start(&inner).map_err(|fault| Error::Source { uri: redacted_address(&uri), fault })?;
        stream(&uri, true, &inner, move |frame| read(frame))
    }))
}

fn open_path(uri: &str, path: &Path, options: &SourceOptions) -> Result<Box<dyn Source>> {
    let live = options.pace == Pace::Live;
    if path.is_dir() {
        return Ok(Box::new(Stills::open(path, options)?));
    }
    if is_picture(path) {
        return match Animation::open(path, options)? {
            Some(animation) => Ok(Box::new(animation)),
            None => Ok(Box::new(Stills::open(path, options)?)),
        };
    }
    // A pipe's writer would find that its reader has gone.
    if !is_fifo(path)? {
        let mut start = Vec::new();
        File::open(path).and_then(|file| file.take(23).read_to_end(&mut start)).map_err(Error::io(path))?;
        if let Some(pointer) = git_lfs_pointer(&start) {
            return Err(Error::Source { uri: redacted_address(uri), fault: Fault::name("a video", pointer) });
        }
    }
    let mut child = Decoder::start(Input::File(path.into()), options, live, &StreamQuirks::default())
        .map_err(|fault| Error::Source { uri: redacted_address(uri), fault })?;
    let read = Box::new(move |frame: &mut Frame| Ok((child.read(frame)?, child.rate())));
    let decoder = Some(ffmpeg::PROGRAM.name);
    Ok(Box::new(Stream { uri: redacted_address(uri), live, stop: options.stop(), rate: None, decoder, read }))
}

fn bytes(path: &str) -> Result<Box<dyn std::io::BufRead + Send>> {
    if path == "-" {
        return Ok(Box::new(BufReader::with_capacity(1 << 16, std::io::stdin())));
    }
    let input: Box<dyn Read + Send> = match is_fifo(path)? {
        true => Box::new(NamedPipe { path: path.into(), opened: None }),
        false => Box::new(File::open(path).map_err(Error::io(path))?),
    };
    Ok(Box::new(BufReader::with_capacity(1 << 16, input)))
}

fn is_fifo(path: impl AsRef<Path>) -> Result<bool> {
    let path = path.as_ref();
    Ok(std::fs::metadata(path).map_err(Error::io(path))?.file_type().is_fifo())
}

/// A named pipe, opened when it is first read: the system keeps whoever opens it waiting for somebody who writes, and what waits for
/// frames is told of and can be ended.
struct NamedPipe {
    path: PathBuf,
    opened: Option<File>,
}

impl Read for NamedPipe {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        if self.opened.is_none() {
            self.opened = Some(File::open(&self.path)?);
        }
        self.opened.as_mut().map_or(Ok(0), |file| file.read(bytes))
    }
}

struct Stream {
    uri: String,
    live: bool,
    stop: Stop,
    rate: Option<Rate>,
    decoder: Option<&'static str>,
    read: Box<ReadFrame>,
}

fn stream(
    uri: &str,
    live: bool,
    options: &SourceOptions,
    read: impl FnMut(&mut Frame) -> Result<(bool, Option<Rate>), Fault> + Send + 'static,
) -> Result<Box<dyn Source>> {
    Ok(Box::new(Stream { uri: redacted_address(uri), live, stop: options.stop(), rate: None, decoder: None, read: Box::new(read) }))
}

/// A stream that cannot be opened again, and is watched where it may stall.
fn pipe(
    uri: &str,
    live: bool,
    options: &SourceOptions,
    read: impl FnMut(&mut Frame) -> Result<(bool, Option<Rate>), Fault> + Send + 'static,
) -> Result<Box<dyn Source>> {
    Ok(Box::new(Watched::new(stream(uri, live, options, read)?, options)))
}

impl Source for Stream {
    fn read(&mut self, frame: &mut Frame) -> Result<bool> {
        match (self.read)(frame) {
            _ if self.stop.is_set() => Ok(false),
            Ok((more, rate)) => {
                self.rate = rate;
                Ok(more)
            }
            Err(fault) => Err(Error::Source { uri: self.uri.clone(), fault }),
        }
    }

    fn rate(&self) -> Option<Rate> {
        self.rate
    }

    fn decoder(&self) -> Option<&'static str> {
        self.decoder
    }

    fn is_live(&self) -> bool {
        self.live
    }

    fn stop_flag(&self) -> Option<Arc<AtomicBool>> {
        self.stop.flag()
    }
}

/// A camera on the network, as a source.
#[cfg(feature = "network")]
struct OpenCamera {
    uri: String,
    stop: Stop,
    camera: NetworkCamera,
}

#[cfg(feature = "network")]
impl Source for OpenCamera {
    fn read(&mut self, frame: &mut Frame) -> Result<bool> {
        match self.camera.read(frame) {
            _ if self.stop.is_set() => Ok(false),
            read => read.map_err(|fault| Error::Source { uri: self.uri.clone(), fault }),
        }
    }

    fn rate(&self) -> Option<Rate> {
        self.camera.rate()
    }

    fn decoder(&self) -> Option<&'static str> {
        self.camera.decoder()
    }

    fn is_live(&self) -> bool {
        true
    }

    fn stop_flag(&self) -> Option<Arc<AtomicBool>> {
        self.stop.flag()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let said = |uri: &str| open_source(uri, &SourceOptions::default()).err().map_or_else(String::new, |e| e.to_string());
        assert!(said("ftp://host/x").contains("expected a file"));
        assert!(said("raw:-?format=yuyv").contains("no size"));
        assert!(said("raw:-?size=3x2&format=yuyv").contains("even width"));
        assert!(said("raw:-?size=2x2&size=4x4&format=grey").contains("expected size= once"));
        assert!(said("raw:-?size=3x2&colour=yuyv").contains("one of size, format, fps"));
        assert!(said("rpicam:?size=640x360&codec=h264").contains("one of mjpeg, yuv420"));
        // The program may be missing here.
        assert!(!said("rpicam:?size=640x360&codec=yuv420").contains("expected"));
        assert!(said("rpicam:?size=650x360&codec=yuv420").contains("multiple of 128"));
        assert!(said("csi:?size=650x360").contains("multiple of 8"));
        assert!(said("csi:?flip=8").contains("one of 0, 1"));
        #[cfg(feature = "v4l2")]
        assert!(said("v4l2:///dev/video0?format=h264").contains("one of mjpeg, nv12"));
        assert!(said("test:?size=9").contains("WIDTHxHEIGHT"));
        assert!(said("test:?fps=0").contains("1 to 1000"));
        assert!(said("test:640x480").contains("; try: ?size=640x480"), "{}", said("test:640x480"));
        assert!(said("/dev/video0").contains("expected v4l2:///dev/video0"));
        for (slip, meant) in [
            ("tset:", "test:"),
            ("tset:?frames=2", "test:?frames=2"),
            ("rstp://h/x", "rtsp://h/x"),
            ("rtsp:/h/x", "rtsp://h/x"),
            ("htp://h/x", "http://h/x"),
            ("vl42:///dev/video1", "v4l2:///dev/video1"),
            ("rpicm:", "rpicam:"),
            ("cis:", "csi:"),
            ("flie:x.mp4", "file:x.mp4"),
            ("Webcam", "v4l2:///dev/video0"),
            ("0", "v4l2:///dev/video0"),
            ("dev/video7", "v4l2:///dev/video7"),
            ("192.0.2.5", "rtsp://192.0.2.5 or http://192.0.2.5"),
            ("cam.example:554/x", "rtsp://cam.example:554/x"),
            ("rtsp//192.0.2.5/x", "rtsp://192.0.2.5/x"),
            ("camera.local/live", "rtsp://camera.local/live or http://camera.local/live"),
            ("[::1]", "rtsp://[::1] or http://[::1]"),
            ("[::1]:554/x", "rtsp://[::1]:554/x or http://[::1]:554/x"),
            ("fe80::1", "rtsp://[fe80::1] or http://[fe80::1]"),
            ("http//192.0.2.5:80/x", "http://192.0.2.5:80/x"),
            ("C:\\clips\\a.mp4", "file:PATH, with the path as this system has it, as /home/me/a.mp4"),
            ("raw:-?szie=640x480", "size=640x480"),
            ("test", "test:"),
            ("video2", "v4l2:///dev/video2"),
            ("Picamera2", "rpicam:?size=1280x720"),
            ("csi", "csi:?size=1280x720"),
            ("v4l2", "v4l2:///dev/video0"),
            ("-", "y4m:-, mjpeg:- or raw:-?size=WxH&format=F"),
        ] {
            assert!(said(slip).contains(&format!("did you mean {meant}?")), "{slip}: {}", said(slip));
        }
        for odd in ["ftp://h/x", "gopher:x", "nowhere.mp4", "x:y"] {
            assert!(!said(odd).contains("did you mean"), "{odd}: {}", said(odd));
        }
        assert!(said("~/clip.mp4").contains(&format!("did you mean {}/clip.mp4?", std::env::var("HOME").unwrap())));
        let slipped = said("rtsp//me:secret@192.0.2.5/x");
        assert!(slipped.contains("did you mean rtsp://") && !slipped.contains("secret"), "{slipped}");
        assert!(said("/no/such/clip.mp4").contains("/no/such/clip.mp4"));
        let blank = said("rtsp://me:se cret@10.0.0.7/x");
        assert!(blank.contains("%20") && !blank.contains("cret"), "{blank}");
    }

    #[test]
    fn a_name_without_anything_behind_the_colon_is_refused_with_how_it_is_written() {
        let said = |uri: &str| open_source(uri, &SourceOptions::default()).err().map_or_else(String::new, |e| e.to_string());
        for scheme in ["file", "y4m", "mjpeg", "raw", "v4l2"] {
            for rest in ["", "//", "?", "?size=64x48&format=grey&fps=30", "//?fps=30"] {
                let said = said(&format!("{scheme}:{rest}"));
                let shape = said.contains(&format!("expected {scheme}:")) && said.contains(", such as ") && said.contains("found no name");
                assert!(shape || scheme == "file" && rest.contains('?') && said.contains(rest), "{scheme}:{rest}: {said}");
            }
        }
        for scheme in ["rtsp", "http", "srt"] {
            assert!(
                said(&format!("{scheme}:")).contains(&format!("{scheme}://HOST")) || said(&format!("{scheme}:")).contains("rtsp://HOST"),
                "{}",
                said(&format!("{scheme}:"))
            );
        }
        let folder = tempfile::tempdir().unwrap();
        let inside = format!("/{}", folder.path().display());
        assert!(inside.starts_with("//") && said(&inside).contains("picture"), "{}", said(&inside));
    }

    #[test]
    fn the_cameras_of_a_machine_are_named() {
        let devices = tempfile::tempdir().unwrap();
        for (device, index, name) in [("video0", "0\n", "HD Webcam C270\n"), ("video1", "1\n", "HD Webcam C270\n"), ("vbi0", "0\n", "TV\n")]
        {
            let folder = devices.path().join(device);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("index"), index).unwrap();
            std::fs::write(folder.join("name"), name).unwrap();
        }
        assert_eq!(cameras(devices.path()), ["v4l2:///dev/video0 (HD Webcam C270)"]);
        assert!(cameras(&devices.path().join("none")).is_empty());
    }

    #[test]
    fn an_address_without_a_host_is_refused_before_anything_is_asked() {
        for scheme in ["rtsp", "RTSPS", "http", "https", "rtmp", "rtmps", "srt"] {
            for rest in ["", "/", "/path", ":554/path", "?a=b", "#a", "me:secret@", "me:secret@/path", "me:secret@:554", "me:sec?ret@"] {
                let said = open_source(&format!("{scheme}://{rest}"), &SourceOptions::default()).err().map(|e| e.to_string());
                let said = said.unwrap_or_else(|| panic!("{scheme}://{rest} is taken"));
                assert!(said.contains("without a host") && !said.contains("secret") && !said.contains("ret@"), "{said}");
            }
        }
        // Whoever listens needs no address of its own.
        for right in ["srt://:9000?mode=listener", "srt://:9000/?latency=20&mode=listener", "rtsp://[::1]:554/x", "http://me:a?b@h/x"] {
            assert!(open_source(right, &SourceOptions::default()).is_ok(), "{right}");
        }
    }
}
