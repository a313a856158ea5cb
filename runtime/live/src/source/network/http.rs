use std::collections::VecDeque;
use std::io::{BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use http_auth::{PasswordClient, PasswordParams};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::address::{Address, Login};
use super::{Reception, receive, unless_gone};
use crate::source::mjpeg::Mjpeg;
use crate::source::{Fault, SourceOptions};
use edge_seg_model::Frame;

/// Motion JPEG over HTTP.
pub(super) struct Pictures {
    mjpeg: Mjpeg<BufReader<Bytestream>>,
    stall_ms: u64,
}

impl Pictures {
    pub fn read(&mut self, frame: &mut Frame) -> Result<bool, Fault> {
        self.mjpeg.read(frame).map_err(|fault| match fault {
            Fault::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => Fault::Stalled { after_ms: self.stall_ms },
            other => other,
        })
    }
}

/// What the other thread receives, as one stream of bytes.
struct Bytestream {
    chunks: Receiver<Result<Bytes, Fault>>,
    waiting: VecDeque<u8>,
    options: SourceOptions,
    _reception: Reception,
}

impl Read for Bytestream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.waiting.is_empty() {
            let stalled = |fault: Fault| match fault {
                Fault::Stalled { .. } => std::io::Error::from(std::io::ErrorKind::TimedOut),
                other => std::io::Error::other(other.to_string()),
            };
            match receive(&self.chunks, &self.options).and_then(Option::transpose).map_err(stalled)? {
                Some(chunk) => self.waiting.extend(chunk),
                None => return Ok(0),
            }
        }
        self.waiting.read(buffer)
    }
}

/// Chunks that may wait; the camera is then not read from any further.
const QUEUE: usize = 16;

/// Asks a camera for its pictures; none if it sends something else, or asks for what ffmpeg knows better.
pub(super) fn open(address: &Address, options: &SourceOptions) -> Result<Option<Pictures>, Fault> {
    let (told, kind) = sync_channel(1);
    let (sender, chunks) = sync_channel(QUEUE);
    let address = address.clone();
    let reception = Reception::start("http", move |gone| async move {
        let work = async {
            match ask(&address).await {
                Ok(Some(response)) => {
                    let _ = told.send(Ok(true));
                    hand_on(response, &sender, &gone).await;
                }
                Ok(None) => drop(told.send(Ok(false))),
                Err(fault) => drop(told.send(Err(fault))),
            }
        };
        unless_gone(&gone, work).await;
    })?;
    let here = receive(&kind, options)?.transpose()?.unwrap_or(false);
    let input = Bytestream { chunks, waiting: VecDeque::new(), options: options.clone(), _reception: reception };
    let mjpeg = Mjpeg::new(BufReader::with_capacity(1 << 16, input), None, &options.notify);
    Ok(here.then_some(Pictures { mjpeg, stall_ms: options.stall.as_millis() as u64 }))
}

/// Kinds of content that are one JPEG after the other.
const KINDS: [&str; 4] = ["multipart/x-mixed-replace", "multipart/mixed", "video/x-motion-jpeg", "video/x-mjpeg"];

/// The response, if it is Motion JPEG.
async fn ask(address: &Address) -> Result<Option<Response<Incoming>>, Fault> {
    let mut response = get(address, None).await?;
    if let (StatusCode::UNAUTHORIZED, Some(login)) = (response.status(), &address.login) {
        let Some(answer) = answer_to(&response, login, &target(address)) else { return Ok(None) };
        response = get(address, Some(answer)).await?;
    }
    let status = response.status();
    if status.is_redirection() {
        return Ok(None);
    }
    if !status.is_success() {
        return Err(Fault::Camera { status: Some(status.as_u16()), said: format!("the camera answers {status}") });
    }
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    Ok(KINDS.iter().any(|known| kind.starts_with(known)).then_some(response))
}

fn target(address: &Address) -> String {
    let query = address.url.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{query}", address.url.path())
}

async fn get(address: &Address, authorization: Option<String>) -> Result<Response<Incoming>, Fault> {
    let said = |error: hyper::Error| Fault::Camera { status: None, said: error.to_string() };
    let host = address.url.host_str().unwrap_or_default();
    let port = address.url.port_or_known_default().unwrap_or(80);
    // An IPv6 address stands in brackets in addresses alone.
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let mut request = Request::get(target(address))
        .header(HOST, address.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
        .header(USER_AGENT, concat!("edge-seg/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*");
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| Fault::name("an address", e.to_string()))?;
    sender.send_request(request).await.map_err(said)
}

/// The answer to what a camera asks of a login: Basic or Digest.
fn answer_to(response: &Response<Incoming>, login: &Login, uri: &str) -> Option<String> {
    let asked: Vec<&str> = response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).collect();
    let mut client = PasswordClient::try_from(asked.join(", ").as_str()).ok()?;
    let (username, password) = (login.user.as_str(), login.password.as_str());
    client.respond(&PasswordParams { username, password, uri, method: "GET", body: Some(&[]) }).ok()
}

async fn hand_on(response: Response<Incoming>, sender: &SyncSender<Result<Bytes, Fault>>, gone: &AtomicBool) {
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let mut chunk = match frame {
            Ok(frame) => match frame.into_data() {
                Ok(bytes) => Ok(bytes),
                Err(_) => continue,
            },
            Err(error) => Err(Fault::Camera { status: None, said: error.to_string() }),
        };
        let last = chunk.is_err();
        loop {
            match sender.try_send(chunk) {
                Ok(()) => break,
                Err(TrySendError::Full(kept)) if !gone.load(Ordering::Relaxed) => chunk = kept,
                Err(_) => return,
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if last {
            return;
        }
    }
}
