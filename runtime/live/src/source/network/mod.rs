//! Cameras on the network, by the program itself: RTSP by `retina`, Motion JPEG over HTTP by `hyper`, each on a thread of its own.

mod address;
mod ask;
mod camera;
mod count;
mod fed;
mod h264;
mod http;
mod rtsp;

pub(super) use camera::NetworkCamera;
#[doc(hidden)]
pub use count::count_pictures;
#[doc(hidden)]
pub use h264::decode_h264;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::child::WATCH;
use super::{Fault, SourceOptions};
use edge_seg_model::contained;

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
            // A panic in a task beside the work is its own end, and is no more to be read on stderr than one of the work.
            if let Err(panic) = contained(|| runtime.block_on(work(flag))) {
                tracing::debug!("what receives from a camera panicked: {panic}");
            }
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

/// Runs `work` until it ends or the receiver is dropped; then `None`.
async fn run_until_cancelled<T>(gone: &AtomicBool, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    loop {
        match tokio::time::timeout(WATCH, work.as_mut()).await {
            Ok(done) => return Some(done),
            Err(_) if gone.load(Ordering::Relaxed) => return None,
            Err(_) => {}
        }
    }
}

/// What a library makes of a camera's answers; its panic becomes a fault.
async fn unless_panics<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let mut work = pin!(work);
    let unread = |panic: String| {
        tracing::debug!("a library panicked over what a camera sent: {panic}");
        Fault::Camera { status: None, said: "what the camera answers could not be read".into() }
    };
    poll_fn(|context| contained(|| work.as_mut().poll(context)).unwrap_or_else(|panic| Poll::Ready(Err(unread(panic))))).await
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

/// What is said of a connection, with what to look at where nothing listens.
fn unreached(said: String, protocol: &str, port: u16) -> String {
    match said.contains("Connection refused") {
        true => format!("{said} (is this a camera, is it on, and is this its port for {protocol}? {port} is usual)"),
        false => said,
    }
}

/// How long a camera may take to take leave.
const LEAVE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn where_nothing_listens_the_port_is_to_be_looked_at() {
        let refused = unreached("Unable to connect to RTSP server: Connection refused (os error 111)".into(), "RTSP", 554);
        assert!(refused.ends_with("is this its port for RTSP? 554 is usual)"), "{refused}");
        assert_eq!(unreached("Timeout".into(), "HTTP", 80), "Timeout");
    }

    #[test]
    fn a_library_that_panics_over_an_answer_is_a_fault_and_the_thread_ends() {
        let (sender, told) = sync_channel(2);
        let reception = Reception::start("test", move |_| async move {
            let second = async {
                tokio::task::yield_now().await;
                let answer: Option<()> = std::hint::black_box(None);
                answer.ok_or(()).unwrap();
                Ok(())
            };
            let _ = sender.send(unless_panics(async { Ok(()) }).await);
            let _ = sender.send(unless_panics(second).await);
            let _ = tokio::spawn(async { panic!("beside the work") }).await;
            panic!("the work itself");
        });
        let reception = reception.unwrap();
        assert!(told.recv().unwrap().is_ok());
        let said = told.recv().unwrap().unwrap_err().to_string();
        assert!(said.contains("what the camera answers could not be read"), "{said}");
        drop(reception);
        assert!(told.recv().is_err());
    }
}
