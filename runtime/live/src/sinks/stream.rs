use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use image::RgbImage;
use image::imageops::{FilterType, resize};
use parking_lot::Mutex;

use super::LiveSink;
use super::live::drawn;
use super::video::{MAX_REPEATS, TO_VIDEO, VIDEO_TAGS, encode, header};
use crate::backoff::{Backoff, sleep_unless};
use crate::session::latest::LatestQueue;
use crate::session::{FrameReport, SegmentedFrame};
use crate::source::child::Consumer;
use crate::source::ffmpeg::{PROGRAM, names_host};
use crate::source::{Fault, Rate, redacted_address};
use crate::{Error, Result};
use edge_seg_model::render::{Legend, OverlayOptions};

/// The video with its masks, for whoever looks while it runs: an `ffmpeg` child encodes it as H.264 and hands it on. It is started
/// again, after growing pauses, when it ends or takes nothing more. Frames that it is too slow for are waited with or left out.
pub struct OverlayStream {
    frames: Arc<LatestQueue<ReportedFrame>>,
    place: String,
    waits: bool,
    counts: Arc<Counts>,
    /// Why frames are lost, until some were taken again for a while.
    fault: Arc<Mutex<Option<String>>>,
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<Result<()>>>,
}

impl std::fmt::Debug for OverlayStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OverlayStream {{ {} }}", redacted_address(&self.place))
    }
}

#[derive(Default)]
struct Counts {
    came: AtomicU64,
    left_out: AtomicU64,
}

/// A frame and what is told of it.
type ReportedFrame = (Arc<SegmentedFrame>, Arc<FrameReport>);

/// Where the video goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// An RTSP server that takes it (RFC 2326 section 10.11).
    Rtsp,
    /// A server for RTMP.
    Rtmp,
    /// Whoever listens for SRT, or calls.
    Srt,
    /// A playlist in a folder that a web server gives out.
    Hls,
    /// A camera of v4l2loopback's, which other programs open.
    Device,
}

/// After how long a child that takes nothing counts as dead.
const STALL: Duration = Duration::from_secs(10);
/// How long the child may take at the end: libsrt lets go of a socket after a second.
const FINISH: Duration = Duration::from_secs(2);
/// What is on its way by SRT is dropped when the sender closes: how long that stays open beyond the latency which its address asks for.
const HELD_BACK: Duration = Duration::from_secs(1);
/// The receiver's latency counts too where it is the larger, and the sender is not told it: a film stays open for so long at least.
const FILM_HELD_BACK: Duration = Duration::from_secs(8);
/// Whatever latency an address asks for.
const LONGEST_HELD_BACK: Duration = Duration::from_secs(120);
/// A child that takes frames for so long has reached its place.
const REACHED: Duration = Duration::from_secs(2);
/// A child that lived so long is started again at once.
const SETTLED: Duration = Duration::from_secs(20);

impl Target {
    fn of(place: &Path) -> Option<Self> {
        let text = place.to_str()?;
        let (scheme, _) = text.split_once("://").unwrap_or_default();
        match scheme.to_ascii_lowercase().as_str() {
            "rtsp" | "rtsps" => Some(Self::Rtsp),
            "rtmp" | "rtmps" => Some(Self::Rtmp),
            "srt" => Some(Self::Srt),
            _ if scheme.is_empty() && text.ends_with(".m3u8") => Some(Self::Hls),
            _ if text.starts_with("/dev/video") => Some(Self::Device),
            _ => None,
        }
    }

    /// Arguments for what comes as it comes, or is a film, which is kept from its beginning; `again` where a child went before.
    fn arguments(self, waits: bool, again: bool) -> &'static [&'static str] {
        match self {
            Self::Rtsp => &["-f", "rtsp", "-rtsp_transport", "tcp"],
            Self::Rtmp => &["-f", "flv"],
            // Open until all is sent, which is no matter of course for live video.
            Self::Srt => &["-f", "mpegts", "-linger", "1"],
            Self::Hls if waits && again => &["-f", "hls", "-hls_time", "2", "-hls_list_size", "0", "-hls_flags", "append_list+temp_file"],
            Self::Hls if waits => &["-f", "hls", "-hls_time", "2", "-hls_list_size", "0", "-hls_flags", "temp_file"],
            // Parts of two seconds, of which the newest six are kept; a child that is started again goes on with the list.
            Self::Hls => &["-f", "hls", "-hls_time", "2", "-hls_list_size", "6", "-hls_flags", "delete_segments+append_list+temp_file"],
            Self::Device => &["-f", "v4l2"],
        }
    }

    fn command(self, place: &str, waits: bool, again: bool) -> Command {
        let mut command = Command::new(PROGRAM.name);
        command.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y"]);
        if !waits {
            // Pictures come when they come: they are shown at these times, and not as many a second as the camera promises.
            command.args(["-use_wallclock_as_timestamps", "1"]);
        }
        command.args(["-f", "yuv4mpegpipe", "-i", "pipe:0", "-fps_mode", "passthrough", "-vf", TO_VIDEO]);
        if self != Self::Device {
            command.args(VIDEO_TAGS).args(["-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-bf", "0"]);
            // Whoever comes in the middle sees something after two seconds.
            command.args(["-force_key_frames", "expr:gte(t,n_forced*2)"]);
        }
        command.args(self.arguments(waits, again)).arg(place);
        command
    }
}

impl OverlayStream {
    /// Sends the video to `place`; none if it names a file and not one of these:
    ///
    /// | place | is |
    /// |---|---|
    /// | `rtsp://HOST/PATH`, `rtsps:` | a server that takes RTSP, such as MediaMTX, over TCP |
    /// | `rtmp://HOST/PATH`, `rtmps:`, `srt://HOST:PORT` | a server for these |
    /// | `PATH.m3u8` | HLS: a playlist, and parts of two seconds beside it |
    /// | `/dev/videoN` | a camera of v4l2loopback's |
    ///
    /// With `waits`, as for a film, who hands frames on is kept waiting while the place is reached and takes them, frames have their own
    /// times, and a playlist keeps all of its parts. Without, the newest frame is sent at the time at which it comes.
    ///
    /// # Errors
    /// [`Option`](edge_seg_model::Error::Option) if it is an address of another kind, [`Error::Source`] if ffmpeg is missing,
    /// [`Io`](edge_seg_model::Error::Io) if the folder of a playlist cannot be made.
    pub fn start(place: &Path, mut options: OverlayOptions, legend: Legend, waits: bool) -> Result<Option<Self>> {
        let Some(target) = Self::target(place)? else { return Ok(None) };
        let Some(text) = place.to_str() else { return Ok(None) };
        // ffmpeg knows schemes in small letters alone.
        let small = |(scheme, rest): (&str, &str)| format!("{}://{rest}", scheme.to_ascii_lowercase());
        let text = text.split_once("://").map_or_else(|| text.to_owned(), small);
        if !PROGRAM.is_there() {
            return Err(Error::Source { uri: redacted_address(&text), fault: PROGRAM.missing() });
        }
        if let Some(folder) = place.parent().filter(|folder| target == Target::Hls && !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        options.legend = legend != Legend::None;
        let frames = Arc::<LatestQueue<ReportedFrame>>::default();
        let (fault, stop) = (Arc::<Mutex<Option<String>>>::default(), Arc::<AtomicBool>::default());
        let shown = redacted_address(&text);
        let counts = Arc::<Counts>::default();
        let sender = Sender { target, place: text, waits, again: false, child: None, bytes: Vec::new(), counts: counts.clone() };
        let (taken, told, stopped) = (frames.clone(), fault.clone(), stop.clone());
        let work = move || sender.send_all(&taken, &told, &stopped, |shown, report| drawn(shown, report, options, legend));
        let worker = std::thread::Builder::new().name("edge-seg stream".into()).spawn(work).map_err(Error::io("a thread"))?;
        Ok(Some(Self { frames, place: shown, waits, counts, fault, stop, worker: Some(worker) }))
    }

    fn target(place: &Path) -> Result<Option<Target>> {
        match (Target::of(place), place.to_str()) {
            (None, Some(text)) if text.contains("://") => {
                let expected = "a file, or an address of rtsp, rtsps, rtmp, rtmps or srt";
                Err(Error::option("overlay", expected, redacted_address(text)))
            }
            (Some(_), Some(text)) if text.contains("://") && !names_host(text) => {
                Err(Error::option("overlay", "an address with a host, such as rtsp://HOST/PATH", redacted_address(text)))
            }
            (target, _) => Ok(target),
        }
    }

    /// Whether [`Self::start`] would send the video to this place. Nothing is opened.
    ///
    /// # Errors
    /// [`Option`](edge_seg_model::Error::Option) if it is an address of another kind or without a host.
    pub fn takes(place: &Path) -> Result<bool> {
        Ok(Self::target(place)?.is_some())
    }

    fn end(&mut self) -> Result<()> {
        self.frames.close();
        self.stop.store(true, Ordering::Relaxed);
        // A thread that panicked has told so.
        self.worker.take().map_or(Ok(()), |worker| worker.join().unwrap_or(Ok(())))
    }

    /// Why frames are lost at present.
    fn lost(&self) -> Result<()> {
        let why = self.fault.lock().clone();
        why.map_or(Ok(()), |found| Err(Error::Sink { place: self.place.clone(), found }))
    }
}

impl LiveSink for OverlayStream {
    fn take(&mut self, shown: &Arc<SegmentedFrame>, report: &Arc<FrameReport>) -> Result<()> {
        let frame = (shown.clone(), report.clone());
        self.counts.came.fetch_add(1, Ordering::Relaxed);
        // A place that is away is not waited for.
        let waits = self.waits && self.fault.lock().is_none();
        let lost = if waits { self.frames.put_waiting(frame) } else { self.frames.put_newest(frame) };
        self.counts.left_out.fetch_add(u64::from(lost.is_some()), Ordering::Relaxed);
        self.lost()
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let ended = self.end();
        let [left_out, came] = [&self.counts.left_out, &self.counts.came].map(|count| count.load(Ordering::Relaxed));
        if left_out > 0 {
            tracing::warn!("{}: {left_out} of {came} frames are left out: it took no more of them", self.place);
        }
        self.lost().and(ended)
    }
}

impl Drop for OverlayStream {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// What the thread of a stream holds.
struct Sender {
    target: Target,
    place: String,
    waits: bool,
    /// Whether a child went before.
    again: bool,
    child: Option<Encoding>,
    bytes: Vec<u8>,
    counts: Arc<Counts>,
}

struct Encoding {
    consumer: Consumer,
    size: (u32, u32),
    since: Instant,
    rate: Rate,
    /// The time of the first frame, and how many were written since.
    first: Duration,
    written: u64,
}

impl Encoding {
    /// Frames that are missing before one of this time, so that it has its own in a stream of constant rate. A longer gap is cut.
    fn missing(&mut self, timestamp: Duration) -> u64 {
        let (frames, seconds) = (f64::from(self.rate.0), f64::from(self.rate.1));
        let due = (timestamp.saturating_sub(self.first).as_secs_f64() * frames / seconds).round() as u64;
        let missing = due.saturating_sub(self.written);
        if missing <= MAX_REPEATS {
            return missing;
        }
        self.first = timestamp.saturating_sub(Duration::from_secs_f64(self.written as f64 * seconds / frames));
        0
    }
}

impl Sender {
    fn send_all(
        mut self,
        frames: &LatestQueue<ReportedFrame>,
        told: &Mutex<Option<String>>,
        stop: &AtomicBool,
        draw: impl Fn(&SegmentedFrame, &FrameReport) -> RgbImage,
    ) -> Result<()> {
        let mut pauses = Backoff::default();
        while let Some((shown, report)) = frames.take() {
            let since = self.child.as_ref().map(|child| child.since);
            let Err(fault) = self.send(draw(&shown, &report), shown.frame.timestamp, shown.rate) else {
                if self.child.as_ref().is_some_and(|child| child.since.elapsed() > REACHED) {
                    *told.lock() = None;
                }
                continue;
            };
            if since.is_some_and(|since| since.elapsed() > SETTLED) {
                pauses.reset();
            }
            self.child = None;
            *told.lock() = Some(fault.to_string());
            // Whoever waits for room is not to wait for this pause.
            let waiting = if self.waits { frames.take_now() } else { None };
            self.counts.left_out.fetch_add(1 + u64::from(waiting.is_some()), Ordering::Relaxed);
            sleep_unless(stop, pauses.pause());
        }
        let Some(child) = self.child.take() else { return Ok(()) };
        if self.target == Target::Srt {
            std::thread::sleep(held_back(&self.place, self.waits));
        }
        child.consumer.finish(if self.waits { STALL } else { FINISH }).map_err(|fault| self.fault(fault))
    }

    fn fault(&self, fault: Fault) -> Error {
        Error::Source { uri: redacted_address(&self.place), fault }
    }

    fn send(&mut self, mut picture: RgbImage, timestamp: Duration, rate: Option<Rate>) -> Result<(), Fault> {
        let child = match &mut self.child {
            Some(child) => child,
            None => {
                let again = std::mem::replace(&mut self.again, true);
                let mut consumer = Consumer::start(PROGRAM, self.target.command(&self.place, self.waits, again), STALL)?;
                let size = picture.dimensions();
                let rate = rate.filter(|&(frames, seconds)| frames > 0 && seconds > 0).unwrap_or((25, 1));
                consumer.write(&header(size.0, size.1, rate))?;
                self.child.insert(Encoding { consumer, size, since: Instant::now(), rate, first: timestamp, written: 0 })
            }
        };
        if picture.dimensions() != child.size {
            picture = resize(&picture, child.size.0, child.size.1, FilterType::Triangle);
        }
        if self.waits {
            // The picture before stays until this one's time.
            for _ in 0..child.missing(timestamp) {
                child.consumer.write(&self.bytes)?;
                child.written += 1;
            }
        }
        encode(&picture, &mut self.bytes);
        child.consumer.write(&self.bytes)?;
        child.written += 1;
        Ok(())
    }
}

/// How long a sender by SRT stays open behind its last picture.
fn held_back(address: &str, is_film: bool) -> Duration {
    let asked = HELD_BACK.saturating_add(srt_latency(address)).min(LONGEST_HELD_BACK);
    if is_film { asked.max(FILM_HELD_BACK) } else { asked }
}

/// The latency that an address of SRT asks for, in its options for ffmpeg, which are in microseconds.
fn srt_latency(address: &str) -> Duration {
    let (_, query) = address.split_once('?').unwrap_or_default();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let asked = pairs.filter(|(key, _)| ["latency", "tsbpddelay", "peerlatency"].contains(key));
    Duration::from_micros(asked.filter_map(|(_, value)| value.parse().ok()).max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn srt_is_left_open_for_the_latency_that_its_address_asks_for() {
        assert_eq!(srt_latency("srt://host:9000"), Duration::ZERO);
        assert_eq!(srt_latency("srt://host:9000?latency=200000&peerlatency=3000000&passphrase=latency"), Duration::from_secs(3));
        assert_eq!(srt_latency("srt://host:9000?latency=-1&rcvlatency=5000000"), Duration::ZERO);
        for (address, film, live) in [
            ("srt://host:9000", 8, 1),
            ("srt://host:9000?latency=1500000", 8, 2),
            ("srt://host:9000?latency=10000000", 11, 11),
            ("srt://host:9000?latency=60000000", 61, 61),
            ("srt://host:9000?latency=18446744073709551615", 120, 120),
        ] {
            let held = [true, false].map(|is_film| held_back(address, is_film).as_secs());
            assert_eq!(held, [film, live], "{address}");
        }
    }

    #[test]
    fn what_is_no_file_is_a_stream() {
        let of = |place: &str| Target::of(Path::new(place));
        assert_eq!(of("rtsp://me:it@host/a"), Some(Target::Rtsp));
        assert_eq!(of("RTMPS://host/live/key"), Some(Target::Rtmp));
        assert_eq!(of("srt://host:9000?mode=caller"), Some(Target::Srt));
        assert_eq!(of("out/live.m3u8"), Some(Target::Hls));
        assert_eq!(of("/dev/video7"), Some(Target::Device));
        for file in ["out.mp4", "-", "video/out.y4m", "http/x.mkv", "/dev/null", "a.m3u"] {
            assert_eq!(of(file), None, "{file}");
        }
        for address in ["http://me:secret@host/x", "ftp://host/x.mp4", "udp://host:1234", "https://host/live.m3u8"] {
            let said =
                OverlayStream::start(Path::new(address), OverlayOptions::default(), Legend::None, false).err().map(|e| e.to_string());
            assert!(said.as_ref().is_some_and(|said| said.contains("rtmp") && !said.contains("secret")), "{address}: {said:?}");
        }
        for address in ["rtsp://", "rtmp:///live/key", "SRT://:9000", "rtsps://me:secret@/x"] {
            let said =
                OverlayStream::start(Path::new(address), OverlayOptions::default(), Legend::None, false).err().map(|e| e.to_string());
            assert!(said.as_ref().is_some_and(|said| said.contains("with a host") && !said.contains("secret")), "{address}: {said:?}");
        }
    }
}
