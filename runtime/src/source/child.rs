use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::y4m::Y4m;
use super::{Fault, Matrix, Range, Rate, SourceOptions};
use crate::Frame;

/// ffmpeg as a child that decodes a file or a stream into y4m on its stdout.
pub(super) struct Ffmpeg {
    shared: Arc<Shared>,
    frames: Y4m<BufReader<ChildStdout>>,
    watchdog: Option<JoinHandle<()>>,
    stall: Duration,
    messages: Option<JoinHandle<String>>,
}

struct Shared {
    child: Mutex<Child>,
    start: Instant,
    /// Milliseconds after `start` plus one since when a frame is waited for; 0 while none is.
    waiting_ms: AtomicU64,
    stalled: AtomicBool,
    gone: AtomicBool,
}

impl Shared {
    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// What ffmpeg is asked to read.
pub(super) enum Input<'a> {
    File(&'a std::path::Path),
    Stream(&'a str),
}

const PROGRAM: &str = "ffmpeg";
const WATCH: Duration = Duration::from_millis(40);

impl Ffmpeg {
    pub fn start(input: &Input, options: &SourceOptions, live: bool) -> Result<Self, Fault> {
        let mut command = Command::new(PROGRAM);
        command.args(["-nostdin", "-hide_banner", "-loglevel", "error"]);
        match input {
            Input::File(path) => {
                // A playlist must not be able to make this program fetch from the network.
                command.args(["-protocol_whitelist", "file,crypto,data"]);
                if options.again {
                    command.args(["-stream_loop", "-1"]);
                }
                if live {
                    command.arg("-re");
                }
                let mut name = std::ffi::OsString::from("file:");
                name.push(path);
                command.arg("-i").arg(name);
            }
            Input::Stream(uri) => {
                command.args(["-rtsp_transport", "tcp", "-fflags", "nobuffer", "-i", uri]);
            }
        }
        // ffmpeg knows the source's own matrix and range; what leaves it is BT.601 in limited range, always.
        let matrix = options.matrix.map_or("auto", |m| if m == Matrix::Bt601 { "bt601" } else { "bt709" });
        let range = options.range.map_or("auto", |r| if r == Range::Full { "full" } else { "limited" });
        let filter = format!("scale=in_color_matrix={matrix}:in_range={range}:out_color_matrix=bt601:out_range=limited,format=yuv420p");
        command.args(["-map", "0:v:0", "-an", "-sn", "-dn", "-vf", &filter, "-f", "yuv4mpegpipe", "pipe:1"]);
        // Ctrl-C in a terminal goes to the whole group; this child is ended by its parent instead.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| match e.kind() {
            ErrorKind::NotFound => Fault::MissingProgram { program: PROGRAM, package: PROGRAM },
            _ => Fault::Io(e),
        })?;
        let missing = || Fault::Io(std::io::Error::other("the child has no pipes"));
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let shared = Arc::new(Shared {
            child: Mutex::new(child),
            start: Instant::now(),
            waiting_ms: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        });
        let (watched, stop, stall) = (shared.clone(), options.stop.clone(), options.stall);
        let watchdog = std::thread::spawn(move || watch(&watched, &stop, stall));
        let messages = std::thread::spawn(move || last_line(stderr));
        let frames = Y4m::new(BufReader::with_capacity(1 << 16, stdout), Some(Matrix::Bt601), Some(Range::Limited));
        Ok(Self { shared, frames, watchdog: Some(watchdog), stall, messages: Some(messages) })
    }

    pub fn rate(&self) -> Option<Rate> {
        self.frames.rate()
    }

    /// Reads a frame; false where the child ended well.
    pub fn read(&mut self, frame: &mut Frame) -> Result<bool, Fault> {
        self.shared.waiting_ms.store(self.shared.start.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
        let read = self.frames.read(frame);
        self.shared.waiting_ms.store(0, Ordering::Relaxed);
        if matches!(read, Ok(true)) {
            return Ok(true);
        }
        if self.shared.stalled.load(Ordering::Relaxed) {
            return Err(Fault::Stalled { after_ms: self.stall.as_millis() as u64 });
        }
        // What broke may be the stream; then the child still runs, and would for ever with nobody reading.
        if read.is_err() {
            let _ = self.shared.child().kill();
        }
        let status = self.shared.child().wait()?;
        let said = self.messages.take().and_then(|m| m.join().ok()).unwrap_or_default();
        let ended = |said: String| Err(Fault::Ended { program: PROGRAM, status: status.to_string(), said });
        match read {
            Ok(_) if status.success() => Ok(false),
            Ok(_) if said.is_empty() => ended("it said nothing".into()),
            Ok(_) => ended(said),
            Err(Fault::Stream { .. }) if !said.is_empty() => ended(said),
            other => other,
        }
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        self.shared.gone.store(true, Ordering::Relaxed);
        let _ = self.shared.child().kill();
        let _ = self.shared.child().wait();
        if let Some(watchdog) = self.watchdog.take() {
            let _ = watchdog.join();
        }
    }
}

/// Ends the child when the program stops or the child has sent nothing for too long: the read that waits for it then returns.
fn watch(shared: &Shared, stop: &AtomicBool, stall: Duration) {
    while !shared.gone.load(Ordering::Relaxed) {
        let waiting = shared.waiting_ms.load(Ordering::Relaxed);
        let waited = (shared.start.elapsed().as_millis() as u64 + 1).saturating_sub(waiting);
        let stalled = waiting > 0 && u128::from(waited) > stall.as_millis();
        if stalled || stop.load(Ordering::Relaxed) {
            shared.stalled.store(stalled, Ordering::Relaxed);
            let _ = shared.child().kill();
            return;
        }
        std::thread::sleep(WATCH);
    }
}

/// Reads a child's messages to their end and keeps the last one, cut to a line's length.
fn last_line(stderr: impl Read) -> String {
    let mut last = String::new();
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    while let Ok(1..) = reader.by_ref().take(4096).read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() {
            last = text.trim().chars().take(300).collect();
        }
        line.clear();
    }
    last
}
