use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use axum::body::to_bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN,
    REFERRER_POLICY, RETRY_AFTER, TRANSFER_ENCODING, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use edge_seg_model::text::read_bytes_within;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::connections::Client;
use super::http::{BODY_BYTES, Fault, OPEN_PATHS, PICTURE_BYTES};
use crate::{Error, Result};

/// A secret that clients show. It is never printed.
#[derive(Clone)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// Longest file of a token that is read.
const MAX_TOKEN_BYTES: u64 = 1 << 16;

impl Token {
    /// Reads a file whose only line is the token.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if it cannot be read, [`Option`](edge_seg_model::Error::Option) if it holds no 16 to 512 printable characters without spaces.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = read_bytes_within(path, MAX_TOKEN_BYTES)?;
        let text = String::from_utf8_lossy(&bytes);
        let token = text.trim();
        if !(16..=512).contains(&token.len()) || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::option(
                format!("token file {}", path.display()),
                "one line of 16 to 512 printable characters without spaces",
                // What is there may be a secret nevertheless.
                format!("{} bytes", token.len()),
            ));
        }
        Ok(Self(token.into()))
    }

    fn matches(&self, shown: &str) -> bool {
        same_secret(&self.0, shown)
    }
}

/// Who may ask for what, and how often.
pub(super) struct Access {
    token: Option<Token>,
    hosts: Vec<String>,
    /// Of paths that anybody may see, so that who has no token takes nothing from who has.
    open: Bucket,
    reads: Bucket,
    writes: Bucket,
    refusals: Bucket,
}

/// The page may load nothing from elsewhere, be framed by nobody, and run no script but its own.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; \
    manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

impl Access {
    pub fn new(token: Option<Token>, hosts: Vec<String>) -> Self {
        let (open, reads) = (Bucket::new(100.0, 200.0), Bucket::new(200.0, 400.0));
        Self { token, hosts, open, reads, writes: Bucket::new(10.0, 40.0), refusals: Bucket::new(1.0, 20.0) }
    }

    fn check(&self, request: &Request) -> std::result::Result<(), Fault> {
        let headers = request.headers();
        let place = request.extensions().get::<ConnectInfo<Client>>().map(|client| &client.0.0);
        let both = headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING);
        if both || place.is_some_and(|place| place.is_ambiguous()) {
            let said = "expected Content-Length or Transfer-Encoding, found both";
            return Err(Fault::new(StatusCode::BAD_REQUEST, said));
        }
        let is_open = OPEN_PATHS.contains(&request.uri().path());
        let host = header(headers, HOST).unwrap_or_default();
        // A page from elsewhere can have its own name point here, but it cannot have its name be an address.
        if !self.knows(host) {
            let known = "an IP address, localhost, or a name that the server was given";
            return Err(Fault::new(StatusCode::MISDIRECTED_REQUEST, format!("Host: expected {known}, found {host:?}")));
        }
        let writes = !matches!(*request.method(), Method::GET | Method::HEAD);
        let foreign = match header(headers, ORIGIN) {
            Some(origin) => origin.split_once("://").is_none_or(|(_, from)| !from.eq_ignore_ascii_case(host)),
            // A link from elsewhere may lead to the page, and to nothing beneath it.
            None => {
                let site = header(headers, HeaderName::from_static("sec-fetch-site")).unwrap_or("none");
                (writes || !is_open) && site != "same-origin" && site != "none"
            }
        };
        if foreign {
            return Err(Fault::new(StatusCode::FORBIDDEN, "Origin: requests from other sites' pages are refused"));
        }
        if let Some(token) = &self.token {
            let shown = header(headers, AUTHORIZATION).and_then(shown_secret);
            if shown.is_some_and(|shown| token.matches(&shown)) {
                place.inspect(|place| place.trust());
            } else if !is_open {
                // Guessing is slow; who has the token is not held up by those who guess.
                let busy = !self.refusals.take();
                let status = if busy { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::UNAUTHORIZED };
                return Err(Fault::new(status, "expected `Authorization: Bearer TOKEN` with the server's token"));
            }
        }
        // Browsers ask before a page from elsewhere may send this type, and are told no.
        // Kinds that another site's page cannot send unasked.
        let kind = || header(headers, CONTENT_TYPE).map_or("", |kind| kind.split(';').next().unwrap_or_default().trim());
        if writes && *request.method() != Method::DELETE && !["application/json", "image/jpeg"].contains(&kind()) {
            return Err(Fault::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Content-Type: expected application/json, or image/jpeg for a picture",
            ));
        }
        let most = if request.uri().path() == "/api/examples" { PICTURE_BYTES } else { BODY_BYTES };
        if header(headers, CONTENT_LENGTH).and_then(|l| l.parse::<usize>().ok()).is_some_and(|length| length > most) {
            return Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, format!("body: expected at most {most} bytes")));
        }
        let bucket = match request.uri().path() {
            // Whoever watches this must not take a busy server for a dead one.
            HEALTH => return Ok(()),
            _ if writes => &self.writes,
            _ if is_open => &self.open,
            _ => &self.reads,
        };
        if !bucket.take() {
            return Err(Fault::new(StatusCode::TOO_MANY_REQUESTS, "too many requests; wait a second"));
        }
        Ok(())
    }

    fn knows(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map_or("", |(name, _)| name),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

const HEALTH: &str = "/healthz";

/// A header of scripts that ask for a token themselves, as the page does.
const ASKS_ITSELF: &str = "x-requested-with";

/// The token that a client shows: by `Bearer`, or as the password of `Basic`, with any user, for programs that know no other.
fn shown_secret(authorization: &str) -> Option<String> {
    let (kind, value) = authorization.split_once(' ')?;
    let value = value.trim();
    if kind.eq_ignore_ascii_case("bearer") {
        return Some(value.to_owned());
    }
    let login = kind.eq_ignore_ascii_case("basic").then(|| BASE64_STANDARD.decode(value).ok())??;
    String::from_utf8(login).ok()?.split_once(':').map(|(_, password)| password.to_owned())
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    // A header that is there twice, or is no text, is as good as a wrong one.
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    Some(if values.next().is_some() { "" } else { first.to_str().unwrap_or_default() })
}

const SAID_BYTES: usize = 4096;

/// Stands before every route: refuses who may not ask, and says with each answer what a browser may do with it.
pub(super) async fn guard(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    // After a body without a length the connection is closed: nothing can follow it that a proxy in front would count otherwise.
    let closes = request.headers().contains_key(TRANSFER_ENCODING);
    let asks_itself = request.headers().contains_key(ASKS_ITSELF);
    let mut response = match access.check(&request) {
        Ok(()) => next.run(request).await,
        Err(fault) => fault.into_response(),
    };
    let status = response.status();
    let is_json = header(response.headers(), CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"));
    if status.is_client_error() && !is_json {
        // What the server's library says of a request that no handler saw.
        let said = to_bytes(response.into_body(), SAID_BYTES).await.unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let reason = status.canonical_reason().unwrap_or("refused");
        response = Fault::new(status, if said.is_empty() { reason } else { &*said }).into_response();
    }
    if closes {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    match status {
        StatusCode::TOO_MANY_REQUESTS => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
        StatusCode::UNAUTHORIZED => {
            // Programs that know logins show theirs once they are asked for one; a browser asks for one in a window of its own, before
            // the page can.
            if !asks_itself {
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"edge-seg\", charset=\"UTF-8\""));
            }
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        _ => {}
    }
    response
}

/// Compares in a time that tells nothing about where two secrets differ, nor about the length of the right one.
fn same_secret(right: &str, shown: &str) -> bool {
    let (right, shown) = (Sha256::digest(right), Sha256::digest(shown));
    let difference = right.iter().zip(shown.iter()).fold(0u8, |seen, (a, b)| std::hint::black_box(seen | (a ^ b)));
    difference == 0
}

/// So many requests a second in the long run, and so many at once.
struct Bucket {
    a_second: f64,
    most: f64,
    state: Mutex<(f64, Instant)>,
}

impl Bucket {
    fn new(a_second: f64, most: f64) -> Self {
        Self { a_second, most, state: Mutex::new((most, Instant::now())) }
    }

    fn take(&self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        let left = (state.0 + now.saturating_duration_since(state.1).as_secs_f64() * self.a_second).min(self.most);
        let enough = left >= 1.0;
        *state = (if enough { left - 1.0 } else { left }, now);
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn buckets_run_dry_and_fill_again() {
        let bucket = Bucket::new(10.0, 3.0);
        let start = Instant::now();
        assert_eq!([0; 4].map(|_| bucket.take_at(start)), [true, true, true, false]);
        assert!(!bucket.take_at(start + Duration::from_millis(50)));
        assert!(bucket.take_at(start + Duration::from_millis(160)));
        assert!(!bucket.take_at(start + Duration::from_millis(160)));
        let later = start + Duration::from_secs(3600);
        assert_eq!([0; 4].map(|_| bucket.take_at(later)), [true, true, true, false]);
    }

    #[test]
    fn names_that_another_site_could_have_are_not_known() {
        let access = Access::new(None, vec!["camera.lan".into()]);
        for good in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]:8080", "[::1]", "192.168.1.7", "camera.lan:80", "Camera.LAN"] {
            assert!(access.knows(good), "{good}");
        }
        for bad in ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8080", "camera.lan.evil.example", "[::1", ":8080"]
        {
            assert!(!access.knows(bad), "{bad}");
        }
    }

    #[test]
    fn a_token_is_shown_by_bearer_or_as_a_password() {
        for shown in ["Bearer tok:en", "bearer  tok:en ", "Basic YW55Ym9keTp0b2s6ZW4=", "BASIC OnRvazplbg=="] {
            assert_eq!(shown_secret(shown).as_deref(), Some("tok:en"), "{shown}");
        }
        for wrong in ["tok:en", "Digest tok:en", "Basic tok:en", "Basic dG9rZW4="] {
            assert_ne!(shown_secret(wrong).as_deref(), Some("tok:en"), "{wrong}");
        }
    }

    #[test]
    fn secrets_are_compared_whole() {
        assert!(same_secret("0123456789abcdef", "0123456789abcdef"));
        for wrong in ["", "0123456789abcdeg", "0123456789abcde", "0123456789abcdef0"] {
            assert!(!same_secret("0123456789abcdef", wrong));
        }
    }
}
