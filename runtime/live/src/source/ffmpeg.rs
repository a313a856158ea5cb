use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::child::{Frames, Producer, Program, file_argument};
use super::y4m::Y4m;
use super::{Fault, Matrix, Notice, Range, Rate, SourceOptions};
use edge_seg_model::Frame;

/// What ffmpeg is asked to read.
#[derive(Clone)]
pub(super) enum Input {
    File(PathBuf),
    Stream(String),
}

impl Input {
    fn is_rtsp(&self) -> bool {
        matches!(self, Self::Stream(uri) if scheme_of(uri).starts_with("rtsp"))
    }
}

/// Addresses that ffmpeg is asked for, and what it may open for them: a playlist must not be able to read files.
const STREAMS: [(&str, &str); 7] = [
    ("rtsp", ""),
    ("rtsps", ""),
    ("http", "http,https,httpproxy,tls,tcp,crypto,data"),
    ("https", "http,https,httpproxy,tls,tcp,crypto,data"),
    ("rtmp", "rtmp,rtmpt,http,httpproxy,tcp"),
    ("rtmps", "rtmps,rtmpts,tls,http,https,httpproxy,tcp"),
    ("srt", "srt"),
];

fn scheme_of(uri: &str) -> String {
    uri.split_once("://").map_or_else(String::new, |(scheme, _)| scheme.to_ascii_lowercase())
}

/// An address as ffmpeg takes it, which knows schemes in small letters alone; none if it is of no scheme that is read here.
pub(super) fn stream_address(uri: &str) -> Option<String> {
    let scheme = scheme_of(uri);
    STREAMS.iter().any(|(known, _)| *known == scheme).then(|| format!("{scheme}{}", &uri[scheme.len()..]))
}

/// Whether an address says whom to ask. One of SRT that says to listen asks nobody.
pub(crate) fn names_host(address: &str) -> bool {
    let Some((scheme, rest)) = address.split_once("://") else { return false };
    // A password may hold a question mark; what follows a slash is none of the login's.
    let authority = &rest[..rest.find('/').unwrap_or(rest.len())];
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let listens = || scheme.eq_ignore_ascii_case("srt") && rest.contains("mode=listener");
    !authority.is_empty() && !authority.starts_with(['?', '#']) && (!authority.starts_with(':') || listens())
}

/// The digits behind an address's host, if there are any.
pub(crate) fn port(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://")?;
    let authority = &rest[..rest.find('/').unwrap_or(rest.len())];
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (_, port) = host[..host.find(['?', '#']).unwrap_or(host.len())].rsplit_once(':')?;
    (!port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit())).then_some(port)
}

pub(crate) const PROGRAM: Program = Program { name: "ffmpeg", package: "ffmpeg" };

/// What was learnt about a stream and the program, kept over every time that it is opened.
#[derive(Clone, Default)]
pub(super) struct StreamQuirks {
    /// The program is older than 5.1 and knows the former name of an option alone.
    old_names: Arc<AtomicBool>,
    /// The camera sends by UDP alone.
    pub udp: Arc<AtomicBool>,
    /// Why UDP was tried, as it was told last.
    udp_told: Arc<Mutex<String>>,
    /// Its video is of a kind that the program's own decoder has not learnt.
    #[cfg(feature = "network")]
    pub not_own: Arc<AtomicBool>,
    /// The camera is none that the program itself can speak with.
    #[cfg(feature = "network")]
    pub by_program: Arc<AtomicBool>,
    /// Whether its refusal of the login was looked into.
    #[cfg(feature = "network")]
    pub login_asked: Arc<AtomicBool>,
}

impl StreamQuirks {
    pub fn is(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Relaxed)
    }

    /// Says that UDP is tried, and why: once, however often the stream is opened, until there is another reason.
    pub fn tell_udp(&self, why: String, options: &SourceOptions) {
        let mut told = self.udp_told.lock();
        if *told != why {
            (options.notify)(Notice::OtherTransport { why: why.clone(), transport: "UDP" });
            *told = why;
        }
    }
}

/// ffmpeg as a child that decodes a file or a stream into y4m on its stdout, each picture once. Pictures of a file have their own times.
pub(super) struct Decoder {
    input: Input,
    options: SourceOptions,
    live: bool,
    quirks: StreamQuirks,
    child: Producer,
    /// Video streams that were begun and hold one picture alone, as a cover does.
    passed: usize,
    /// Frames of the file that were read ahead, in turn.
    ahead: Vec<Frame>,
    /// What came after the first frame in place of a second.
    fault: Option<Fault>,
    began: bool,
}

/// A camera that is not there, or wants another login or path, is not asked by UDP.
const NOT_TRANSPORT: [&str; 10] =
    ["refused", "unreachable", "No route", "timed out", "resolve", "not known", "another nonce", "401", "403 ", "404 "];

/// Whether a camera that was asked by TCP and said this may send by UDP.
pub(super) fn may_send_by_udp(why: &str) -> bool {
    !NOT_TRANSPORT.iter().any(|other| why.contains(other))
}

impl Decoder {
    pub fn start(input: Input, options: &SourceOptions, live: bool, quirks: &StreamQuirks) -> Result<Self, Fault> {
        let child = spawn(&input, options, live, quirks, 0)?;
        let (options, quirks) = (options.clone(), quirks.clone());
        Ok(Self { input, options, live, quirks, child, passed: 0, ahead: Vec::new(), fault: None, began: false })
    }

    pub fn rate(&self) -> Option<Rate> {
        let rate = self.child.rate()?;
        let is_real = rate.0 <= MAX_RATE.saturating_mul(rate.1);
        // What is faster is the clock of a film without a rate of its own, as browsers record it: a rate that keeps each of its pictures.
        if is_real { Some(rate) } else { matches!(self.input, Input::File(_)).then_some(WITHOUT_RATE) }
    }

    /// Reads the next frame; false at the end.
    pub fn read(&mut self, frame: &mut Frame) -> Result<bool, Fault> {
        if !std::mem::replace(&mut self.began, true) {
            return self.begin(frame);
        }
        match self.ahead.pop() {
            Some(second) => {
                *frame = second;
                Ok(true)
            }
            None => self.fault.take().map_or_else(|| self.next(frame), Err),
        }
    }

    fn next(&mut self, frame: &mut Frame) -> Result<bool, Fault> {
        let more = self.child.read(frame)?;
        match self.input {
            Input::File(_) if more => frame.timestamp = self.child.time_of(frame.sequence)?,
            // It ends well however much of a file it could not read.
            Input::File(_) => {
                let said = Some(self.child.said()).filter(|said| !said.is_empty());
                said.into_iter().for_each(|said| (self.options.notify)(Notice::Incomplete { by: PROGRAM.name, said }));
            }
            Input::Stream(_) => {}
        }
        Ok(more)
    }

    /// The first frame, in the way that gives one.
    fn begin(&mut self, frame: &mut Frame) -> Result<bool, Fault> {
        loop {
            match self.next(frame) {
                Err(Fault::Ended { said, .. }) if said.contains("fps_mode") && !StreamQuirks::is(&self.quirks.old_names) => {
                    self.quirks.old_names.store(true, Ordering::Relaxed);
                }
                Err(fault) if self.input.is_rtsp() => {
                    let why = fault.to_string();
                    // If UDP does not help, it begins with TCP again the next time.
                    if self.quirks.udp.fetch_xor(true, Ordering::Relaxed) || !may_send_by_udp(&why) {
                        self.quirks.udp.store(false, Ordering::Relaxed);
                        return Err(fault);
                    }
                    self.quirks.tell_udp(why, &self.options);
                }
                Err(Fault::Ended { said, .. }) if said.contains("does not contain any stream") => {
                    return Err(Fault::name("a video, or a camera's address", "a file or stream with no video in it"));
                }
                Err(Fault::Ended { said, .. }) if said.contains("Invalid data found") && matches!(self.input, Input::File(_)) => {
                    let found = format!("a file that {} cannot read ({said})", PROGRAM.name);
                    return Err(Fault::name("a video, a picture, a folder of pictures, or a camera's address", found));
                }
                Ok(true) if matches!(self.input, Input::File(_)) => return self.look_for_film(frame),
                other => return other,
            }
            self.child = spawn(&self.input, &self.options, self.live, &self.quirks, 0)?;
        }
    }

    /// A cover picture may be a video stream like any other, and the first. So what ends after one picture is taken only if the file
    /// holds no other video.
    fn look_for_film(&mut self, frame: &mut Frame) -> Result<bool, Fault> {
        let mut other = Frame::still(image::RgbImage::default());
        match self.next(&mut other) {
            Ok(true) => self.ahead.push(other),
            Ok(false) => self.look_further(frame, &other)?,
            Err(fault) => self.fault = Some(fault),
        }
        Ok(true)
    }

    fn look_further(&mut self, frame: &mut Frame, empty: &Frame) -> Result<(), Fault> {
        while self.passed < MAX_STREAMS {
            self.passed += 1;
            let mut child = spawn(&self.input, &self.options, self.live, &self.quirks, self.passed)?;
            let (mut first, mut second) = (empty.clone(), empty.clone());
            // Ends with an error where there is no stream of this number.
            let Ok(true) = child.read(&mut first) else { break };
            if !child.read(&mut second).unwrap_or(false) {
                continue;
            }
            first.timestamp = child.time_of(0)?;
            second.timestamp = child.time_of(1)?;
            (self.child, *frame) = (child, first);
            self.ahead.push(second);
            break;
        }
        Ok(())
    }
}

/// The rate of a film without one.
const WITHOUT_RATE: Rate = (60, 1);
/// Frames a second beyond which a film has no rate.
const MAX_RATE: u32 = 300;
/// Microseconds of a stream that ffmpeg looks at before it gives a picture.
const PROBE_US: &str = "1000000";
/// Video streams of a file that are looked at.
const MAX_STREAMS: usize = 8;

/// Starts the child; `stream` is the number of the video stream from 1, or 0 for the one that ffmpeg takes for the film: the largest that
/// is not marked as a cover.
fn spawn(input: &Input, options: &SourceOptions, live: bool, quirks: &StreamQuirks, stream: usize) -> Result<Producer, Fault> {
    let mut command = Command::new(PROGRAM.name);
    command.args(["-nostdin", "-hide_banner", "-loglevel", "error"]);
    match input {
        Input::File(path) => {
            // A playlist must not be able to make this program fetch from the network.
            command.args(["-protocol_whitelist", "file,crypto,data"]);
            if options.repeat {
                command.args(["-stream_loop", "-1"]);
            }
            if live {
                command.arg("-re");
            }
            command.arg("-i").arg(file_argument(path as &Path));
        }
        Input::Stream(uri) => {
            let allowed = STREAMS.iter().find(|(known, _)| *known == scheme_of(uri)).map_or("", |(_, allowed)| allowed);
            if allowed.is_empty() {
                command.args(["-rtsp_transport", if StreamQuirks::is(&quirks.udp) { "udp" } else { "tcp" }]);
            } else {
                command.args(["-protocol_whitelist", allowed]);
            }
            // It would look at five seconds. With its flag `nobuffer` it would lose them, and what then follows up to the next whole picture.
            command.args(["-analyzeduration", PROBE_US, "-i", uri]);
        }
    }
    let once = once(quirks);
    let chosen = stream.checked_sub(1).map(|index| format!("0:v:{index}"));
    let chosen: Vec<&str> = chosen.iter().flat_map(|which| ["-map", which]).collect();
    if matches!(input, Input::File(_)) {
        // y4m holds no times. They come on stderr, as lines of another format, which is named first so that none comes after its picture.
        command.args(&chosen).args(["-an", "-sn", "-dn"]).args(once);
        command.args(["-enc_time_base", "1:90000", "-c:v", "wrapped_avframe", "-f", "framecrc", "-flush_packets", "1", "pipe:2"]);
    }
    command.args(chosen);
    frames_out(&mut command, options, quirks);
    let timed = matches!(input, Input::File(_));
    Producer::start_timed(PROGRAM, command, options, timed, |out| Ok(Frames::Y4m(Y4m::new(out, Some(Matrix::Bt601), Some(Range::Limited)))))
}

/// Each picture once: a film of no constant rate is not filled up.
fn once(quirks: &StreamQuirks) -> [&'static str; 2] {
    if StreamQuirks::is(&quirks.old_names) { ["-vsync", "passthrough"] } else { ["-fps_mode", "passthrough"] }
}

/// Has the child write each picture to its stdout.
fn frames_out(command: &mut Command, options: &SourceOptions, quirks: &StreamQuirks) {
    // ffmpeg knows the source's own matrix and range; what leaves it is BT.601 in limited range, always.
    let matrix = options.matrix.map_or("auto", |m| if m == Matrix::Bt601 { "bt601" } else { "bt709" });
    let range = options.range.map_or("auto", |r| if r == Range::Full { "full" } else { "limited" });
    // Pixels that are not square are made so: what looks at a frame, or writes it, need not know of them.
    let filter = format!(
        "scale=w='if(gt(sar,1)*lte(sar,4),trunc(iw*sar+0.5),iw)':h='if(lt(sar,1)*gte(sar,0.25),trunc(ih/sar+0.5),ih)':\
         in_color_matrix={matrix}:in_range={range}:out_color_matrix=bt601:out_range=limited,format=yuv420p,setsar=1"
    );
    command.args(["-an", "-sn", "-dn", "-vf", &filter]).args(once(quirks)).args(["-f", "yuv4mpegpipe", "pipe:1"]);
}

/// Starts the child on pictures of one encoding, `h264` or `hevc`, which are written into the pipe that comes with it.
#[cfg(feature = "network")]
pub(super) fn decode_units(
    encoding: &str,
    options: &SourceOptions,
    quirks: &StreamQuirks,
) -> Result<(Producer, std::process::ChildStdin), Fault> {
    let mut command = Command::new(PROGRAM.name);
    command.args(["-nostdin", "-hide_banner", "-loglevel", "error"]);
    // It would look at twenty pictures for their rate before it gave one.
    command.args(["-probesize", "32", "-analyzeduration", "0", "-fpsprobesize", "0"]);
    // Turned pictures would not be those that the own decoder gives.
    command.args(["-noautorotate", "-f", encoding, "-i", "pipe:0"]);
    frames_out(&mut command, options, quirks);
    Producer::start_fed(PROGRAM, command, options, |out| Ok(Frames::Y4m(Y4m::new(out, Some(Matrix::Bt601), Some(Range::Limited)))))
}
