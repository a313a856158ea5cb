use std::ffi::OsStr;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::mjpeg::Mjpeg;
use super::raw::RawFrames;
use super::y4m::Y4m;
use super::{Fault, Rate, ReadFrame, SourceOptions, Stop, redacted, redacted_address};
use edge_seg_model::Frame;

/// A program that is read from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program {
    /// What to start.
    pub name: &'static str,
    /// The Debian package that holds it.
    pub package: &'static str,
}

impl Program {
    /// What to say where it is missing.
    pub fn missing(self) -> Fault {
        Fault::MissingProgram { program: self.name, package: self.package }
    }

    /// Whether the search path holds it.
    pub fn is_there(self) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(self.name).is_file())
    }
}

/// What a child writes on its stdout.
pub(super) enum Frames<R> {
    Y4m(Y4m<R>),
    Mjpeg(Mjpeg<R>),
    Raw(R, RawFrames),
}

impl<R: BufRead> Frames<R> {
    pub fn read(&mut self, frame: &mut Frame) -> Result<bool, Fault> {
        match self {
            Self::Y4m(y4m) => y4m.read(frame),
            Self::Mjpeg(mjpeg) => mjpeg.read(frame),
            Self::Raw(input, frames) => frames.read(input, frame),
        }
    }

    pub fn rate(&self) -> Option<Rate> {
        match self {
            Self::Y4m(y4m) => y4m.rate(),
            Self::Mjpeg(mjpeg) => mjpeg.rate(),
            Self::Raw(_, frames) => Some(frames.rate),
        }
    }
}

/// A child that writes frames on its stdout: watched, and ended with its source.
pub(super) struct Producer {
    program: Program,
    shared: Supervised,
    frames: Frames<BufReader<ChildStdout>>,
    stall: Duration,
    messages: Messages,
    times: Receiver<Duration>,
}

struct Shared {
    child: Mutex<Child>,
    waiting: FrameWait,
    stalled: AtomicBool,
    gone: AtomicBool,
}

impl Shared {
    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock()
    }

    fn kill(&self) {
        let _ = self.child().kill();
    }

    /// A child may close its stdout and live on; it gets a moment to end by itself.
    fn ended(&self, moment: Duration) -> std::io::Result<ExitStatus> {
        let start = Instant::now();
        loop {
            let mut child = self.child();
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > moment {
                child.kill()?;
                return child.wait();
            }
            drop(child);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A child and the thread that watches it; both end with this.
struct Supervised {
    shared: Arc<Shared>,
    watchdog: Option<JoinHandle<()>>,
}

impl Supervised {
    fn new(child: Child, stop: Stop, stall: Duration) -> Result<Self, Fault> {
        let shared = Arc::new(Shared {
            child: Mutex::new(child),
            waiting: FrameWait::new(),
            stalled: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        });
        let watched = shared.clone();
        // Dropped without a watchdog it ends the child.
        let mut supervised = Self { shared, watchdog: None };
        let watchdog = std::thread::Builder::new().name("edge-seg watch".into()).spawn(move || watch(&watched, &stop, stall))?;
        supervised.watchdog = Some(watchdog);
        Ok(supervised)
    }
}

impl std::ops::Deref for Supervised {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
        self.kill();
        let _ = self.child().wait();
        if let Some(watchdog) = self.watchdog.take() {
            let _ = watchdog.join();
        }
    }
}

/// For how long somebody has been waiting for a frame, as another thread can see it.
pub(super) struct FrameWait {
    start: Instant,
    /// Milliseconds after `start` plus one; 0 while nobody waits.
    since_ms: AtomicU64,
}

impl FrameWait {
    pub fn new() -> Self {
        Self { start: Instant::now(), since_ms: AtomicU64::new(0) }
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64 + 1
    }

    /// Does what may take long.
    pub fn during<T>(&self, read: impl FnOnce() -> T) -> T {
        self.since_ms.store(self.now_ms(), Ordering::Relaxed);
        let done = read();
        self.since_ms.store(0, Ordering::Relaxed);
        done
    }

    /// How long it takes by now; none while nobody waits.
    pub fn lasted(&self) -> Option<Duration> {
        let since = self.since_ms.load(Ordering::Relaxed);
        (since > 0).then(|| Duration::from_millis(self.now_ms().saturating_sub(since)))
    }
}

pub(super) const WATCH: Duration = Duration::from_millis(40);
/// How long a child without stdout may still take to end.
const LINGER: Duration = Duration::from_secs(2);

impl Producer {
    /// Starts a program whose stdout `reader` reads.
    pub fn start(
        program: Program,
        command: Command,
        options: &SourceOptions,
        reader: impl FnOnce(BufReader<ChildStdout>) -> Result<Frames<BufReader<ChildStdout>>, Fault>,
    ) -> Result<Self, Fault> {
        Self::start_timed(program, command, options, false, reader)
    }

    /// As [`Self::start`]; with `timed`, the child tells the times of its frames on stderr, in ffmpeg's format `framecrc`.
    pub fn start_timed(
        program: Program,
        mut command: Command,
        options: &SourceOptions,
        timed: bool,
        reader: impl FnOnce(BufReader<ChildStdout>) -> Result<Frames<BufReader<ChildStdout>>, Fault>,
    ) -> Result<Self, Fault> {
        command.stdin(Stdio::null());
        Ok(Self::launch(program, command, options, timed, reader)?.0)
    }

    /// As [`Self::start`], with a pipe that the child reads.
    #[cfg(feature = "network")]
    pub fn start_fed(
        program: Program,
        mut command: Command,
        options: &SourceOptions,
        reader: impl FnOnce(BufReader<ChildStdout>) -> Result<Frames<BufReader<ChildStdout>>, Fault>,
    ) -> Result<(Self, ChildStdin), Fault> {
        command.stdin(Stdio::piped());
        let (producer, pipe) = Self::launch(program, command, options, false, reader)?;
        Ok((producer, pipe.ok_or_else(without_pipes)?))
    }

    fn launch(
        program: Program,
        mut command: Command,
        options: &SourceOptions,
        timed: bool,
        reader: impl FnOnce(BufReader<ChildStdout>) -> Result<Frames<BufReader<ChildStdout>>, Fault>,
    ) -> Result<(Self, Option<ChildStdin>), Fault> {
        command.stdout(Stdio::piped());
        let addresses = addresses(&command);
        let mut child = spawn(program, &mut command)?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or_else(without_pipes)?;
        let stderr = child.stderr.take().ok_or_else(without_pipes)?;
        let shared = Supervised::new(child, options.stop(), options.stall)?;
        let (sender, times) = channel();
        let messages = Messages::read(stderr, timed.then_some(sender), addresses)?;
        let frames = reader(BufReader::with_capacity(1 << 16, stdout))?;
        Ok((Self { program, shared, frames, stall: options.stall, messages, times }, stdin))
    }

    pub fn rate(&self) -> Option<Rate> {
        self.frames.rate()
    }

    pub fn into_reader(mut self) -> Box<ReadFrame> {
        Box::new(move |frame| Ok((self.read(frame)?, self.rate())))
    }

    /// Reads a frame; false where the child ended well.
    pub fn read(&mut self, frame: &mut Frame) -> Result<bool, Fault> {
        let read = self.shared.waiting.during(|| self.frames.read(frame));
        if matches!(read, Ok(true)) {
            self.messages.frames_come();
            return Ok(true);
        }
        if self.shared.stalled.load(Ordering::Relaxed) {
            return Err(Fault::Stalled { after_ms: self.stall.as_millis() as u64 });
        }
        // What broke may be the stream; then the child still runs, and would for ever with nobody reading.
        if read.is_err() {
            self.shared.kill();
        }
        let status = self.shared.ended(self.stall.min(LINGER))?;
        let said = self.messages.said();
        match read {
            Ok(_) if status.success() => Ok(false),
            Ok(_) => Err(ended(self.program, status, said)),
            Err(Fault::Stream { .. }) if !said.is_empty() => Err(ended(self.program, status, said)),
            other => other,
        }
    }

    /// The first and the last line that a child that has ended complained in.
    pub fn said(&self) -> String {
        self.messages.said()
    }

    /// When the frame that was read belongs, by a child that tells it.
    pub fn time_of(&self, sequence: u64) -> Result<Duration, Fault> {
        let told = self.times.recv_timeout(self.stall);
        told.map_err(|_| Fault::stream(format!("frame {sequence}"), format!("its time from {}", self.program.name), "none"))
    }
}

fn without_pipes() -> Fault {
    Fault::Io(std::io::Error::other("the child has no pipes"))
}

/// A child that is fed on its stdin: watched, and ended with what feeds it.
pub(crate) struct Consumer {
    program: Program,
    shared: Supervised,
    stdin: Option<ChildStdin>,
    stall: Duration,
    messages: Messages,
}

impl Consumer {
    /// Starts a program, which counts as dead once it takes nothing for longer than `stall`.
    pub fn start(program: Program, mut command: Command, stall: Duration) -> Result<Self, Fault> {
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let addresses = addresses(&command);
        let mut child = spawn(program, &mut command)?;
        let stdin = child.stdin.take();
        let stderr = child.stderr.take().ok_or_else(without_pipes)?;
        let shared = Supervised::new(child, SourceOptions::default().stop(), stall)?;
        Ok(Self { program, shared, stdin, stall, messages: Messages::read(stderr, None, addresses)? })
    }

    /// Hands bytes on. After an error, which says why the child took no more, it has ended.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let written = match &mut self.stdin {
            Some(stdin) => self.shared.waiting.during(|| stdin.write_all(bytes)),
            None => Err(ErrorKind::BrokenPipe.into()),
        };
        written.map_err(|error| self.end(LINGER).err().unwrap_or(Fault::Io(error)))
    }

    /// Lets the child write the rest and end, for so long.
    pub fn finish(mut self, moment: Duration) -> Result<(), Fault> {
        self.end(moment)
    }

    fn end(&mut self, moment: Duration) -> Result<(), Fault> {
        self.stdin = None;
        let status = self.shared.ended(moment)?;
        if self.shared.stalled.load(Ordering::Relaxed) {
            return Err(ended(self.program, status, format!("it took nothing for {} s", self.stall.as_secs_f64())));
        }
        if status.success() { Ok(()) } else { Err(ended(self.program, status, self.messages.said())) }
    }
}

fn spawn(program: Program, command: &mut Command) -> Result<Child, Fault> {
    // Ctrl-C in a terminal goes to the whole group; this child is ended by its parent instead.
    command.process_group(0).stderr(Stdio::piped()).spawn().map_err(|e| match e.kind() {
        ErrorKind::NotFound => program.missing(),
        _ => Fault::Io(e),
    })
}

/// The elements of GStreamer's pipelines here, and the packages that hold them.
const ELEMENTS: [Program; 6] = [
    Program { name: "nvarguscamerasrc", package: "nvidia-l4t-gstreamer" },
    Program { name: "nvvidconv", package: "nvidia-l4t-gstreamer" },
    Program { name: "v4l2src", package: "gstreamer1.0-plugins-good" },
    Program { name: "jpegdec", package: "gstreamer1.0-plugins-good" },
    Program { name: "y4menc", package: "gstreamer1.0-plugins-good" },
    Program { name: "videoconvert", package: "gstreamer1.0-plugins-base" },
];

fn ended(program: Program, status: ExitStatus, said: String) -> Fault {
    if let Some(missing) = ELEMENTS.iter().find(|element| said.contains(&format!("no element \"{}\"", element.name))) {
        return missing.missing();
    }
    // rpicam-vid's words and, with a capital, those of NVIDIA's camera stack.
    let said = match said.to_lowercase().contains("no cameras available") {
        true => format!("{said}; try: edge-seg-fw doctor"),
        false if said.is_empty() => "it said nothing".into(),
        false => said,
    };
    Fault::Ended { program: program.name, status: status.to_string(), said }
}

/// Ends the child when the program stops or the child has sent nothing for too long: the read that waits for it then returns.
fn watch(shared: &Shared, stop: &Stop, stall: Duration) {
    while !shared.gone.load(Ordering::Relaxed) {
        let stalled = shared.waiting.lasted().is_some_and(|lasted| lasted > stall);
        if stalled || stop.is_set() {
            shared.stalled.store(stalled, Ordering::Relaxed);
            let _ = shared.child().kill();
            return;
        }
        std::thread::sleep(WATCH);
    }
}

/// The addresses among a program's arguments.
fn addresses(command: &Command) -> Vec<String> {
    command.get_args().filter_map(OsStr::to_str).filter(|argument| argument.contains("://")).map(str::to_owned).collect()
}

/// What a child says on its stderr.
struct Messages {
    said: Arc<Mutex<Said>>,
    reader: JoinHandle<()>,
}

#[derive(Default)]
struct Said {
    /// The first line before any frame: of the lines with which a program ends it is the one that tells why.
    first: String,
    last: String,
    frames_come: bool,
}

/// How long the last words of a child are waited for: a grandchild may keep its stderr open.
const LAST_WORDS: Duration = Duration::from_millis(300);
const MAX_SAID: usize = 300;

impl Messages {
    /// Reads messages to their end and keeps the first and last line, cut to a line's length. A program repeats the `addresses` that it
    /// was given, with their passwords.
    fn read(stderr: impl Read + Send + 'static, times: Option<Sender<Duration>>, addresses: Vec<String>) -> Result<Self, Fault> {
        let said = Arc::new(Mutex::new(Said::default()));
        let shared = said.clone();
        let reader = std::thread::Builder::new().name("edge-seg messages".into()).spawn(move || {
            let mut reader = BufReader::new(stderr);
            let mut line = Vec::new();
            let mut base = (1, 1);
            while let Ok(1..) = reader.by_ref().take(4096).read_until(b'\n', &mut line) {
                let text = String::from_utf8_lossy(&line);
                let is_time = times.as_ref().is_some_and(|times| take_time(&text, &mut base, times));
                if !is_time && !text.trim().is_empty() {
                    let named = |text: String, address: &String| text.replace(address.as_str(), &redacted_address(address));
                    let text = addresses.iter().fold(without_place(text.trim()).to_owned(), named);
                    let text: String = redacted(&text).chars().take(MAX_SAID).collect();
                    let mut said = shared.lock();
                    if said.first.is_empty() && !said.frames_come {
                        said.first.clone_from(&text);
                    }
                    said.last = text;
                }
                line.clear();
            }
        })?;
        Ok(Self { said, reader })
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock()
    }

    /// What was said before concerns frames no more.
    fn frames_come(&self) {
        let mut said = self.lock();
        if !std::mem::replace(&mut said.frames_come, true) {
            said.first.clear();
        }
    }

    /// The first and the last line of a child that has ended.
    fn said(&self) -> String {
        let start = Instant::now();
        while !self.reader.is_finished() && start.elapsed() < LAST_WORDS {
            std::thread::sleep(Duration::from_millis(5));
        }
        let said = self.lock();
        if said.first.is_empty() || said.first == said.last { said.last.clone() } else { format!("{}; {}", said.first, said.last) }
    }
}

/// A message without ffmpeg's address in memory of what says it, `[rtsp @ 0x55e5fe6da980] `.
fn without_place(text: &str) -> &str {
    let place = text.strip_prefix('[').and_then(|rest| rest.split_once("] ")).filter(|(place, _)| place.contains(" @ 0x"));
    place.map_or(text, |(_, message)| message)
}

/// Takes a line of ffmpeg's format `framecrc`: `#tb 0: 1/90000`, then `0, dts, pts, duration, size, checksum` for each frame. False if
/// it is none.
fn take_time(line: &str, base: &mut (i64, i64), times: &Sender<Duration>) -> bool {
    if let Some(rest) = line.strip_prefix('#') {
        let fraction = rest.strip_prefix("tb 0:").and_then(|text| text.trim().split_once('/'));
        if let Some((n, d)) = fraction.and_then(|(n, d)| Some((n.parse().ok()?, d.parse().ok().filter(|&d: &i64| d > 0)?))) {
            *base = (n, d);
        }
        return true;
    }
    let mut values = line.split(',').map(str::trim);
    if values.next() != Some("0") {
        return false;
    }
    let Some(pts) = values.nth(1).and_then(|pts| pts.parse::<i64>().ok()) else { return false };
    let nanoseconds = i128::from(pts.max(0)) * i128::from(base.0) * 1_000_000_000 / i128::from(base.1);
    let _ = times.send(Duration::from_nanos(nanoseconds.try_into().unwrap_or(0)));
    true
}

/// A path as an argument that no program takes for an option or a protocol.
pub(super) fn file_argument(path: &Path) -> std::ffi::OsString {
    let mut name = std::ffi::OsString::from("file:");
    name.push::<&OsStr>(path.as_os_str());
    name
}
