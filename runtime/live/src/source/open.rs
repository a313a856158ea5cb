use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::animation::Animation;
use super::camera::{Csi, RpiCamera};
use super::ffmpeg::{self, Decoder, Input, Learnt};
use super::mjpeg::Mjpeg;
#[cfg(feature = "network")]
use super::network::NetworkCamera;
use super::query::Query;
use super::raw::RawFrames;
use super::reconnect::Reconnecting;
use super::stills::Stills;
use super::synthetic::Synthetic;
#[cfg(feature = "v4l2")]
use super::v4l2::V4l2Camera;
use super::watched::Watched;
use super::y4m::Y4m;
use super::{Fault, Layout, Matrix, PixelFormat, Range, Rate, Source, YuvDecoder};
use crate::{Error, Result};
use edge_seg_model::{Frame, is_picture};

/// What happens when frames come faster than they can be segmented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Pace {
    /// `Live` for cameras and network streams, `Every` for everything else.
    #[default]
    Auto,
    /// Frames come in their own time; the newest is taken and the others are dropped and counted.
    Live,
    /// The source waits: every frame is segmented.
    Every,
}

/// What decodes H.264 from a camera. Motion JPEG is always decoded here, H.265 and H.264 in more than 10 bits or 4:4:4 by `ffmpeg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VideoDecoder {
    /// `ffmpeg` where it is installed, which takes a third of the time; else the one in Rust.
    #[default]
    Auto,
    /// The one in Rust, in this process.
    Own,
    /// An `ffmpeg` child.
    Ffmpeg,
}

/// Something that a source has to say while it runs.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice {
    /// The source ended or broke and will be opened again.
    Lost {
        /// What was wrong; none if it simply ended.
        why: Option<Error>,
        /// After which pause.
        retry_in: Duration,
    },
    /// A pipe sends nothing; it is waited for.
    Stalled {
        /// For how long.
        after: Duration,
    },
    /// It sends frames again.
    Back,
    /// A frame was damaged and is left out. The first is told, then ever fewer: the 2nd, 4th, 8th and so on.
    Damaged {
        /// Its number.
        sequence: u64,
        /// How many there were by now.
        count: u64,
        /// What is wrong with it.
        why: String,
    },
    /// A camera gives no frame by one transport and is asked by the other.
    OtherTransport {
        /// What came of the first.
        why: String,
        /// The other.
        transport: &'static str,
    },
    /// A picture among others cannot be read and is passed over.
    Skipped {
        /// What is wrong with it.
        why: Error,
    },
    /// A file has ended, and not all of it could be read: pictures may be damaged or missing.
    Incomplete {
        /// What read it.
        by: &'static str,
        /// Its words.
        said: String,
    },
    /// A camera was opened, and its pictures are decoded.
    Decoding {
        /// By what, as [`Source::decoder`] has it.
        by: &'static str,
    },
}

impl Notice {
    /// Tells the log.
    pub fn log(self) {
        match self {
            Self::Lost { why, retry_in } => {
                let why = why.map_or_else(|| "the source ended".into(), |e| e.to_string());
                tracing::warn!("{why}; opening it again in {:.1} s", retry_in.as_secs_f64());
            }
            Self::Stalled { after } => tracing::warn!("no frame for {:.1} s; waiting for the pipe", after.as_secs_f64()),
            Self::Back => tracing::info!("the source is back"),
            Self::Damaged { sequence, count, why } => tracing::warn!("frame {sequence} is left out: {why} ({count} so far)"),
            Self::OtherTransport { why, transport } => tracing::warn!("no frame by TCP: {why}; trying {transport}"),
            Self::Decoding { by } => tracing::info!("pictures are decoded by {by}"),
            Self::Incomplete { by, said } => tracing::warn!("pictures may be damaged or missing: {by} says: {said}"),
            Self::Skipped { why } => tracing::warn!("passed over: {why}"),
        }
    }
}

/// How a source is read.
#[derive(Clone)]
#[non_exhaustive]
pub struct SourceOptions {
    /// Whether frames may be lost.
    pub pace: Pace,
    /// After how long without a frame a stream counts as dead.
    pub stall: Duration,
    /// The matrix, where the source does not say or says it wrongly.
    pub matrix: Option<Matrix>,
    /// The range, where the source does not say or says it wrongly.
    pub range: Option<Range>,
    /// What decodes H.264 from a camera.
    pub decoder: VideoDecoder,
    /// Files, pictures and folders start again at their end.
    pub repeat: bool,
    /// Set to end the source from another thread, and all others that are opened with this flag.
    pub stop: Arc<AtomicBool>,
    /// Is told what happens meanwhile; the log is, unless somebody else is given.
    pub notify: Arc<dyn Fn(Notice) + Send + Sync>,
    /// Of one source: what ends it alone.
    own_stop: Arc<AtomicBool>,
}

/// What ends a source: its options' flag, which it may share, or its own.
#[derive(Clone)]
pub(super) struct Stop {
    shared: Arc<AtomicBool>,
    own: Arc<AtomicBool>,
}

impl Stop {
    pub fn is_set(&self) -> bool {
        self.shared.load(Ordering::Relaxed) || self.own.load(Ordering::Relaxed)
    }

    /// What [`Source::stop_flag`] answers.
    pub fn flag(&self) -> Option<Arc<AtomicBool>> {
        Some(self.own.clone())
    }
}

impl SourceOptions {
    pub(super) fn stop(&self) -> Stop {
        Stop { shared: self.stop.clone(), own: self.own_stop.clone() }
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop().is_set()
    }

    /// The same with another [`pace`](Self::pace).
    pub fn with_pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// The same with another [`stall`](Self::stall).
    pub fn with_stall(self, stall: Duration) -> Self {
        Self { stall, ..self }
    }

    /// The same with another [`matrix`](Self::matrix).
    pub fn with_matrix(self, matrix: impl Into<Option<Matrix>>) -> Self {
        Self { matrix: matrix.into(), ..self }
    }

    /// The same with another [`range`](Self::range).
    pub fn with_range(self, range: impl Into<Option<Range>>) -> Self {
        Self { range: range.into(), ..self }
    }

    /// The same with another [`decoder`](Self::decoder).
    pub fn with_decoder(self, decoder: VideoDecoder) -> Self {
        Self { decoder, ..self }
    }

    /// The same with another [`repeat`](Self::repeat).
    pub fn with_repeat(self, repeat: bool) -> Self {
        Self { repeat, ..self }
    }

    /// The same with somebody else who is told what happens.
    pub fn with_notify(self, notify: impl Fn(Notice) + Send + Sync + 'static) -> Self {
        Self { notify: Arc::new(notify), ..self }
    }

    /// The same with another [`stop`](Self::stop).
    pub fn with_stop(self, stop: Arc<AtomicBool>) -> Self {
        Self { stop, ..self }
    }
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            pace: Pace::Auto,
            stall: Duration::from_secs(10),
            matrix: None,
            range: None,
            decoder: VideoDecoder::Auto,
            repeat: false,
            stop: Arc::default(),
            notify: Arc::new(|notice| notice.log()),
            own_stop: Arc::default(),
        }
    }
}

/// What a file of Motion JPEG is taken to have, as ffmpeg takes it.
const MJPEG_RATE: Rate = (25, 1);

const EXPECTED: &str = "a file, a folder, file:PATH, y4m:PATH, mjpeg:PATH, raw:PATH?size=WxH&format=F (PATH may be - for stdin), rtsp://HOST/... (rtsps, http, https, rtmp, rtmps, srt too), v4l2:///dev/video0?size=WxH&fps=N&format=F, rpicam:?size=WxH&fps=N, csi:?size=WxH&fps=N, or test:?size=WxH&fps=N";

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
/// | `rtsp://...` | a camera that sends Motion JPEG, H.264 or H.265, of which [`VideoDecoder`] says what decodes it; other video through an `ffmpeg` child |
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
    let options = &SourceOptions { own_stop: Arc::default(), ..options.clone() };
    let fail = |fault: Fault| Error::Source { uri: redacted(uri), fault };
    if uri.is_empty() {
        return Err(Error::Source { uri: "source".into(), fault: Fault::name(EXPECTED, "an empty name") });
    }
    let live = options.pace == Pace::Live;
    if let Some(address) = ffmpeg::stream_address(uri) {
        if address.contains(char::is_whitespace) {
            let fault = Fault::name("an address without white space, which is written as %20", "one with some");
            return Err(Error::Source { uri: redacted_address(uri), fault });
        }
        if !ffmpeg::names_host(&address) {
            let fault = Fault::name("an address like rtsp://HOST/PATH or http://USER:PASSWORD@HOST:PORT/PATH", "one without a host");
            return Err(Error::Source { uri: redacted_address(uri), fault });
        }
        let learnt = Learnt::default();
        #[cfg(feature = "network")]
        {
            let (uri, inner) = (redacted(uri), options.clone());
            return Ok(Box::new(Reconnecting::new(options.clone(), move || {
                let camera = NetworkCamera::new(address.clone(), &inner, &learnt);
                Ok(Box::new(OpenCamera { uri: uri.clone(), stop: inner.stop(), camera }))
            })));
        }
        #[cfg(not(feature = "network"))]
        return Ok(again_and_again(uri, options, move |options| {
            let mut decoder = Decoder::start(Input::Stream(address.clone()), options, true, &learnt)?;
            Ok(Box::new(move |frame: &mut Frame| Ok((decoder.read(frame)?, decoder.rate()))))
        }));
    }
    let (scheme, rest) = match uri.split_once(':') {
        // A Windows drive or a file name with a colon is no scheme that is known here, and exists.
        Some((scheme, rest)) if !Path::new(uri).exists() => (scheme, rest),
        _ => ("file", uri),
    };
    match scheme {
        "file" => open_path(uri, Path::new(rest.strip_prefix("//").unwrap_or(rest)), options),
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
            let query = Query::parse(rest.trim_start_matches('?'), &["size", "fps", "frames"]).map_err(fail)?;
            let size = query.size()?.unwrap_or((640, 360));
            Layout::new(PixelFormat::Rgb24, size.0, size.1).map_err(fail)?;
            Ok(Box::new(Synthetic {
                size,
                rate: query.fps()?.unwrap_or((30, 1)),
                frames: query.number("frames")?,
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
                    let mut camera = camera.start(&inner).map_err(|fault| Error::Source { uri: redacted(&uri), fault })?;
                    stream(&uri, true, &inner, move |frame| Ok((camera.read(frame)?, camera.rate())))
                })))
            }
        }
        "rpicam" => {
            let query = Query::parse(rest.trim_start_matches('?'), &RpiCamera::KEYS).map_err(fail)?;
            let camera = RpiCamera::parse(&query).and_then(|camera| camera.check().map_err(fail))?;
            Ok(again_and_again(uri, options, move |options| Ok(camera.start(options)?.into_reader())))
        }
        "csi" => {
            let query = Query::parse(rest.trim_start_matches('?'), &Csi::KEYS).map_err(fail)?;
            let camera = Csi::parse(&query).and_then(|camera| camera.check().map_err(fail))?;
            Ok(again_and_again(uri, options, move |options| Ok(camera.start(options)?.into_reader())))
        }
        _ => Err(fail(Fault::name(EXPECTED, format!("{:?}", redacted(uri))))),
    }
}

/// A child that is started again whenever it ends, breaks or stalls.
fn again_and_again(
    uri: &str,
    options: &SourceOptions,
    start: impl Fn(&SourceOptions) -> Result<Box<ReadFrame>, Fault> + Send + 'static,
) -> Box<dyn Source> {
    let (uri, inner) = (uri.to_owned(), options.clone());
    Box::new(Reconnecting::new(options.clone(), move || {
        let mut read = start(&inner).map_err(|fault| Error::Source { uri: redacted(&uri), fault })?;
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
        File::open(path).map_err(Error::io(path))?;
    }
    let mut child = Decoder::start(Input::File(path.into()), options, live, &Learnt::default())
        .map_err(|fault| Error::Source { uri: redacted(uri), fault })?;
    let read = Box::new(move |frame: &mut Frame| Ok((child.read(frame)?, child.rate())));
    let decoder = Some(ffmpeg::PROGRAM.name);
    Ok(Box::new(Stream { uri: redacted(uri), live, stop: options.stop(), rate: None, decoder, read }))
}

/// A text without the passwords of the addresses in it, for messages: what comes before the last `@` of an address, whatever it
/// holds, and the values of what is named like a secret, in its query or in its path.
pub fn redacted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (scheme, address) = rest.split_at(at + 3);
        shown.push_str(scheme);
        // An address ends at white space; a quote or bracket may belong to a password.
        let (address, behind) = address.split_at(address.find(char::is_whitespace).unwrap_or(address.len()));
        shown.push_str(&without_secrets(address));
        rest = behind;
    }
    shown + rest
}

/// One address without its secrets: as [`redacted`], white space included, and without the last part of an RTMP path, which is a key
/// to the server that takes the video.
pub(crate) fn redacted_address(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let shown = without_secrets(rest);
    if !scheme.to_ascii_lowercase().starts_with("rtmp") {
        return format!("{scheme}://{shown}");
    }
    let (path, query) = shown.split_once('?').map_or((shown.as_str(), String::new()), |(path, query)| (path, format!("?{query}")));
    match path.rsplit_once('/') {
        Some((before, key)) if before.contains('/') && !key.is_empty() => format!("{scheme}://{before}/***{query}"),
        _ => format!("{scheme}://{shown}"),
    }
}

fn without_secrets(address: &str) -> String {
    let host_ends = address.find('/').unwrap_or(address.len());
    let host = &address[..host_ends];
    // A password may hold a slash, and then a colon comes before it. An @ in the path behind a bare host is none of a password's, nor one
    // in a value behind a host with its port.
    let has_port = host.rsplit_once(':').is_some_and(|(name, port)| {
        port.bytes().all(|digit| digit.is_ascii_digit()) && (name.contains('.') || name.starts_with('[') || name == "localhost")
    });
    let in_login = |at: usize| host.contains(':') && !(has_port && address[host_ends..at].contains('='));
    let user_ends = address.rfind('@').filter(|&at| at < host_ends || in_login(at));
    let (user, rest) = user_ends.map_or(("", address), |at| ("***", &address[at..]));
    format!("{user}{}", rest.split('&').map(without_value).collect::<Vec<_>>().join("&"))
}

/// What stands between two `&` of an address, without the value of what is named like a secret. Cameras take such names in paths too,
/// as in `/user=admin_password=1234_channel=1`.
fn without_value(part: &str) -> String {
    let mut key = 0;
    for (at, c) in part.char_indices() {
        match c {
            '=' if SECRETS.iter().any(|secret| part[key..at].to_ascii_lowercase().contains(secret)) => {
                return format!("{}***", &part[..=at]);
            }
            '=' | '/' | '?' | ';' | '#' => key = at + 1,
            _ => {}
        }
    }
    part.to_owned()
}

/// Parts of the names of values that are nobody's business.
const SECRETS: [&str; 18] = [
    "user", "usr", "login", "pas", "psw", "pwd", "token", "secret", "auth", "key", "cred", "sig", "sid", "session", "ticket", "jwt",
    "hash", "streamid",
];

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

pub(super) type ReadFrame = dyn FnMut(&mut Frame) -> Result<(bool, Option<Rate>), Fault> + Send;

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
    Ok(Box::new(Stream { uri: redacted(uri), live, stop: options.stop(), rate: None, decoder: None, read: Box::new(read) }))
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
        assert!(said("rpicam:?size=640x360&codec=yuv420").is_empty());
        assert!(said("rpicam:?size=650x360&codec=yuv420").contains("multiple of 128"));
        assert!(said("csi:?size=650x360").contains("multiple of 8"));
        assert!(said("csi:?flip=8").contains("one of 0, 1"));
        #[cfg(feature = "v4l2")]
        assert!(said("v4l2:///dev/video0?format=h264").contains("one of mjpeg, nv12"));
        assert!(said("test:?size=9").contains("WIDTHxHEIGHT"));
        assert!(said("test:?fps=0").contains("1 to 1000"));
        assert!(said("/no/such/clip.mp4").contains("/no/such/clip.mp4"));
        let blank = said("rtsp://me:se cret@10.0.0.7/x");
        assert!(blank.contains("%20") && !blank.contains("cret"), "{blank}");
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

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(redacted("rtsp://me:secret@camera/1"), "rtsp://***@camera/1");
        assert_eq!(redacted("rtsp://camera/a@b"), "rtsp://camera/a@b");
        assert_eq!(redacted("rtsp://me:123/456@camera/1"), "rtsp://***@camera/1");
        for password in ["se/cret", "se?cret", "se#cret", "se@cret", "s/e:c@ret", "\"secret'"] {
            let said = redacted(&format!("rtsp://me:{password}@10.0.0.7:554/x: Connection refused"));
            assert_eq!(said, "rtsp://***@10.0.0.7:554/x: Connection refused");
        }
        assert_eq!(redacted("a rtsp://h/x?user=me&Password=it&size=3 b"), "a rtsp://h/x?user=***&Password=***&size=3 b");
        // As cameras and servers take logins outside of an address's beginning.
        for (address, shown) in [
            ("rtsp://h:554/user=me&password=it&channel=1", "rtsp://h:554/user=***&password=***&channel=1"),
            ("rtsp://h/channel=1_user=me_password=it_stream=0.sdp", "rtsp://h/channel=1_user=***"),
            ("http://h/video.cgi?resolution=32&usr=me&psw=it", "http://h/video.cgi?resolution=32&usr=***&psw=***"),
            ("http://h:81/x.cgi?loginuse=me&loginpas=it&size=3", "http://h:81/x.cgi?loginuse=***&loginpas=***&size=3"),
            ("https://h/x.m3u8?_sid=it&sig=it&se=3", "https://h/x.m3u8?_sid=***&sig=***&se=3"),
            ("http://10.0.0.7:81/x?usr=me&pwd=se@cret", "http://10.0.0.7:81/x?usr=***&pwd=***"),
            ("rtsp://[::1]:554/user=me&password=se@cret&channel=1", "rtsp://[::1]:554/user=***&password=***&channel=1"),
            ("rtsp://me:1/2=3@10.0.0.7/x", "rtsp://***@10.0.0.7/x"),
            ("http://h/x?password=a/b?c#d&size=3", "http://h/x?password=***&size=3"),
            ("srt://h:9?latency=20&passphrase=it&streamid=publish:a:me:it", "srt://h:9?latency=20&passphrase=***&streamid=***"),
            ("http://h/a=b/c?d=e&f=g", "http://h/a=b/c?d=e&f=g"),
        ] {
            assert_eq!((redacted(address), redacted_address(address)), (shown.to_owned(), shown.to_owned()));
        }
        for (address, shown) in [
            ("rtmp://h/live/abcd-1234", "rtmp://h/live/***"),
            ("RTMPS://h:443/app/abcd?user=me", "RTMPS://h:443/app/***?user=***"),
            ("rtmp://h/camera", "rtmp://h/camera"),
            ("rtsp://me:se cret@h/x", "rtsp://***@h/x"),
            ("out/film.mp4", "out/film.mp4"),
        ] {
            assert_eq!(redacted_address(address), shown);
        }
        assert_eq!(redacted("v4l2:///dev/video0?size=640x480"), "v4l2:///dev/video0?size=640x480");
        assert_eq!(redacted("nothing"), "nothing");
    }
}
