//! Cameras on the network, by the program itself: RTSP by `retina`, Motion JPEG over HTTP by `hyper`, each on a thread of its own.

mod address;
mod camera;
mod fed;
mod h264;
mod http;
mod rtsp;

pub(super) use camera::NetworkCamera;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::child::WATCH;
use super::{Fault, SourceOptions};

/// What happens on a thread that receives: it ends when the camera does, or nobody listens any more.
struct Reception {
    gone: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reception {
    /// Runs `work` on a thread with a runtime of its own.
    fn start<F: Future<Output = ()>>(name: &str, work: impl FnOnce(Arc<AtomicBool>) -> F + Send + 'static) -> Result<Self, Fault> {
        let gone = Arc::new(AtomicBool::new(false));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let flag = gone.clone();
        let body = move || {
            runtime.block_on(work(flag));
            // A name that is being looked up is not waited for.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name(format!("edge-seg {name}")).spawn(body)?;
        Ok(Self { gone, thread: Some(thread) })
    }
}

impl Drop for Reception {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Does what may take for ever; none once nobody waits for it.
async fn unless_gone<T>(gone: &AtomicBool, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    loop {
        match tokio::time::timeout(WATCH, work.as_mut()).await {
            Ok(done) => return Some(done),
            Err(_) if gone.load(Ordering::Relaxed) => return None,
            Err(_) => {}
        }
    }
}

/// What the other thread sends; none if it has ended, or the program stops.
fn receive<T>(receiver: &Receiver<T>, options: &SourceOptions) -> Result<Option<T>, Fault> {
    let start = Instant::now();
    while !options.stopped() {
        match receiver.recv_timeout(WATCH) {
            Ok(item) => return Ok(Some(item)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) if start.elapsed() > options.stall => {
                return Err(Fault::Stalled { after_ms: options.stall.as_millis() as u64 });
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    Ok(None)
}

/// How long a camera may take to take leave.
const LEAVE: Duration = Duration::from_millis(500);
