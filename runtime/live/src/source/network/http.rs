use std::collections::VecDeque;
use std::io::{BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, LOCATION, USER_AGENT, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::address::Address;
use super::ask::{is_stale, respond};
use super::{Reception, receive, run_until_cancelled, unreached};
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
        run_until_cancelled(&gone, work).await;
    })?;
    let here = receive(&kind, options)?.transpose()?.unwrap_or(false);
    let input = Bytestream { chunks, waiting: VecDeque::new(), options: options.clone(), _reception: reception };
    let mjpeg = Mjpeg::new(BufReader::with_capacity(1 << 16, input), None, &options.notify);
    Ok(here.then_some(Pictures { mjpeg, stall_ms: options.stall.as_millis() as u64 }))
}

/// Kinds of content that are one JPEG after the other.
const KINDS: [&str; 4] = ["multipart/x-mixed-replace", "multipart/mixed", "video/x-motion-jpeg", "video/x-mjpeg"];

/// Redirections that are followed, as browsers follow twenty.
const MAX_REDIRECTIONS: usize = 8;

/// The response, if it is Motion JPEG.
async fn ask(address: &Address) -> Result<Option<Response<Incoming>>, Fault> {
    let mut address = address.clone();
    for _ in 0..=MAX_REDIRECTIONS {
        let mut response = get(&address, None).await?;
        if let (StatusCode::UNAUTHORIZED, Some(login)) = (response.status(), &address.login) {
            let Some(answer) = respond(&challenges(&response), login, "GET", &target(&address)) else { return Ok(None) };
            response = get(&address, Some(answer)).await?;
            // The login may be right and the answer too old; anything else would be one more try of a wrong password.
            if response.status() == StatusCode::UNAUTHORIZED && is_stale(&challenges(&response)) {
                let Some(answer) = respond(&challenges(&response), login, "GET", &target(&address)) else { return Ok(None) };
                response = get(&address, Some(answer)).await?;
            }
        }
        let status = response.status();
        if let Some(place) = header(&response, LOCATION).filter(|_| status.is_redirection()) {
            match redirected(&address, place)? {
                Some(next) => address = next,
                None => return Ok(None),
            }
            continue;
        }
        if !status.is_success() {
            return Err(Fault::Camera { status: Some(status.as_u16()), said: format!("the camera answers {status}") });
        }
        let kind = header(&response, CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
        // Of a length that is known: a camera that sends on does not know it.
        if kind.starts_with("image/") && header(&response, CONTENT_LENGTH).is_some() {
            return Err(Fault::name("the address of a stream", format!("one picture ({kind}); take the address of the camera's stream")));
        }
        return Ok(KINDS.iter().any(|known| kind.starts_with(known)).then_some(response));
    }
    Err(Fault::Camera { status: None, said: format!("the camera sends on to other addresses more than {MAX_REDIRECTIONS} times") })
}

fn header(response: &Response<Incoming>, name: HeaderName) -> Option<&str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

/// Where an address sends on to; none if that is encrypted, which ffmpeg reads. A login goes to its own host alone.
fn redirected(address: &Address, place: &str) -> Result<Option<Address>, Fault> {
    let wrong = || Fault::Camera { status: None, said: "the camera sends on to what is no address of HTTP".into() };
    let mut url = address.url.join(place).map_err(|_| wrong())?;
    match url.scheme() {
        "http" => {}
        "https" => return Ok(None),
        _ => return Err(wrong()),
    }
    let _ = (url.set_username(""), url.set_password(None));
    let login = address.login.clone().filter(|_| url.host_str() == address.url.host_str());
    Ok(Some(Address { url, login }))
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
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await;
    let stream = stream.map_err(|e| std::io::Error::new(e.kind(), unreached(e.to_string(), "HTTP", 80)))?;
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

fn challenges(response: &Response<Incoming>) -> Vec<&str> {
    response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_follows_a_redirection_to_its_own_host_alone() {
        let from = Address::parse("http://me:it@camera:81/video?size=3").unwrap();
        let to = |place: &str| redirected(&from, place).map(|to| to.map(|to| (to.url.to_string(), to.login.is_some())));
        let found = |url: &str, login: bool| Some((url.to_owned(), login));
        assert_eq!(to("/live").unwrap(), found("http://camera:81/live", true));
        assert_eq!(to("http://camera/live?a=b").unwrap(), found("http://camera/live?a=b", true));
        assert_eq!(to("http://elsewhere/live").unwrap(), found("http://elsewhere/live", false));
        assert_eq!(to("http://you:yours@elsewhere/live").unwrap(), found("http://elsewhere/live", false));
        assert_eq!(to("https://camera/live").unwrap(), None);
        assert!(to("file:///etc/passwd").is_err() && to("http://[").is_err());
    }
}
