use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// A connection over which nothing could be sent for this long is closed: a request that trickles in, a reader that sleeps, or a
/// client that keeps a place without asking for anything. Answers that take longer say something in between.
const SILENCE: Duration = Duration::from_secs(30);

/// Accepts so many connections at a time. One more takes the place of the one that has been still for longest among those that have not
/// shown the server's token; where all have, it is turned away.
pub(super) struct Connections {
    listener: TcpListener,
    places: Arc<Semaphore>,
    taken: Vec<Weak<Place>>,
    start: Instant,
}

/// What is known of a connection.
#[derive(Debug)]
pub(super) struct Place {
    /// Its client has shown the token.
    trusted: AtomicBool,
    /// When bytes last went over it, in milliseconds after the server's start.
    active_ms: AtomicU64,
    start: Instant,
    /// It is to end.
    ended: AtomicBool,
    task: Mutex<Option<Waker>>,
    /// Its requests' heads, as far as they were seen.
    heads: Mutex<Heads>,
}

impl Place {
    fn new(start: Instant) -> Self {
        let active_ms = AtomicU64::new(start.elapsed().as_millis() as u64);
        let (trusted, ended) = Default::default();
        Self { trusted, active_ms, start, ended, task: Mutex::default(), heads: Mutex::default() }
    }

    pub fn trust(&self) {
        self.trusted.store(true, Ordering::Relaxed);
    }

    /// Whether a request announced its length in two ways, of which a proxy in front may take the other.
    pub fn is_ambiguous(&self) -> bool {
        self.heads.lock().ambiguous
    }

    fn went(&self) {
        self.active_ms.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(task) = self.task.lock().take() {
            task.wake();
        }
    }
}

/// The connection that a request came over.
#[derive(Debug, Clone)]
pub(super) struct Client(pub Arc<Place>);

impl Connected<IncomingStream<'_, Connections>> for Client {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Self {
        Self(stream.io().place.clone())
    }
}

impl Connected<IncomingStream<'_, InMemory>> for Client {
    fn connect_info(stream: IncomingStream<'_, InMemory>) -> Self {
        Self(stream.io().place.clone())
    }
}

/// Looks for heads with both Content-Length and Transfer-Encoding: the server's library passes over one of the two without a word.
#[derive(Debug, Default)]
struct Heads {
    head: Vec<u8>,
    /// Bytes of a body that are to come before the next head.
    body: u64,
    ambiguous: bool,
    /// Nothing more is looked at: the server refuses the head, or the body has no length, after which it closes the connection.
    over: bool,
}

/// Longer heads are refused by the server.
const MAX_HEAD_BYTES: usize = 64 << 10;

impl Heads {
    fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.over {
            let body = self.body.min(bytes.len() as u64);
            (self.body, bytes) = (self.body - body, &bytes[body as usize..]);
            let Some((&byte, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.head.push(byte);
            if self.head.ends_with(b"\r\n\r\n") || self.head.ends_with(b"\n\n") {
                let head = std::mem::take(&mut self.head);
                self.take(&String::from_utf8_lossy(&head).to_ascii_lowercase());
            }
            self.over |= self.head.len() > MAX_HEAD_BYTES;
        }
    }

    fn take(&mut self, head: &str) {
        let values = |name: &str| {
            let named =
                move |line: &'_ str| line.split_once(':').filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned());
            head.lines().filter_map(named).collect::<Vec<_>>()
        };
        let (lengths, encodings) = (values("content-length"), values("transfer-encoding"));
        self.ambiguous |= !lengths.is_empty() && !encodings.is_empty();
        self.body = lengths.first().and_then(|length| length.parse().ok()).unwrap_or(0);
        self.over = !encodings.is_empty();
    }
}

impl Connections {
    pub fn new(listener: TcpListener, clients: usize) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(clients)), taken: Vec::new(), start: Instant::now() }
    }

    /// A place, if need be that of another.
    async fn place(&mut self) -> Option<OwnedSemaphorePermit> {
        if let Ok(free) = self.places.clone().try_acquire_owned() {
            return Some(free);
        }
        self.taken.retain(|place| place.strong_count() > 0);
        let others = self.taken.iter().filter_map(Weak::upgrade);
        let others = others.filter(|place| !place.trusted.load(Ordering::Relaxed) && !place.ended.load(Ordering::Relaxed));
        others.min_by_key(|place| place.active_ms.load(Ordering::Relaxed))?.end();
        timeout(HANDOVER, self.places.clone().acquire_owned()).await.ok()?.ok()
    }
}

/// How long a connection that is to end may take to do so.
const HANDOVER: Duration = Duration::from_millis(200);

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => match self.place().await {
                    Some(permit) => {
                        let _ = stream.set_nodelay(true);
                        let place = Arc::new(Place::new(self.start));
                        self.taken.retain(|place| place.strong_count() > 0);
                        self.taken.push(Arc::downgrade(&place));
                        return (Connection { stream, silence: Box::pin(sleep(SILENCE)), place, _permit: Some(permit) }, address);
                    }
                    None => {
                        let full = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                        let _ = stream.try_write(full);
                    }
                },
                // Of one client's making, or for want of descriptors, which others give back.
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Accepts one connection, which is no more than memory.
pub(super) struct InMemory(pub Option<DuplexStream>);

impl Listener for InMemory {
    type Io = Connection<DuplexStream>;
    type Addr = ();

    async fn accept(&mut self) -> (Connection<DuplexStream>, ()) {
        let Some(stream) = self.0.take() else { return pending().await };
        let place = Arc::new(Place::new(Instant::now()));
        (Connection { stream, silence: Box::pin(sleep(SILENCE)), place, _permit: None }, ())
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection that holds a place, and ends when nothing is sent over it for too long, or another needs its place.
pub(super) struct Connection<S = TcpStream> {
    stream: S,
    silence: Pin<Box<Sleep>>,
    place: Arc<Place>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl<S> Connection<S> {
    fn check(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        *self.place.task.lock() = Some(context.waker().clone());
        if self.place.ended.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        match self.silence.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn sent(&mut self, written: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(_)) => {
                self.place.went();
                self.silence.as_mut().reset(Instant::now() + SILENCE);
            }
            Poll::Pending => {
                if let Poll::Ready(Err(e)) = self.check(context) {
                    return Poll::Ready(Err(e));
                }
            }
            Poll::Ready(Err(_)) => {}
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => self.check(context),
            ready => {
                self.place.went();
                self.place.heads.lock().see(&buffer.filled()[before..]);
                ready
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.sent(written, context)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.sent(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_is_told_in_two_ways_is_seen_wherever_it_stands() {
        let ambiguous = |text: &str, piece: usize| {
            let mut heads = Heads::default();
            text.as_bytes().chunks(piece).for_each(|bytes| heads.see(bytes));
            heads.ambiguous
        };
        let get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let put = "PUT /api/words HTTP/1.1\r\nContent-Length: 9\r\n\r\n\r\n\r\n\"abc\"";
        let [first, second] = ["Content-Length: 4\r\n", "transfer-encoding : chunked\r\n"];
        for piece in [1, 3, 1000] {
            for plain in [get.to_owned(), [get, put, get].concat(), format!("{get}PUT / HTTP/1.1\r\n{second}\r\n4\r\n{first}\r\n")] {
                assert!(!ambiguous(&plain, piece), "{plain:?}");
            }
            for both in [[first, second], [second, first]] {
                assert!(ambiguous(&format!("{get}{put}{get}PUT / HTTP/1.1\r\n{}\r\n", both.concat()), piece), "{both:?}");
            }
        }
    }
}
