//! Rule events posted over HTTP, signed.
//!
//! ```
//! use edge_seg_live::sinks::webhook::{Webhook, WebhookOptions};
//! let options = WebhookOptions::to("http://127.0.0.1:1/events").with_secret(b"shared with the receiver".to_vec());
//! let sink = Webhook::start(options, Default::default())?; // for `Live::with_sink`
//! assert!(Webhook::start(WebhookOptions::to("ftp://example.org"), Default::default()).is_err());
//! # Ok::<(), edge_seg_live::Error>(())
//! ```

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel};
use std::time::Duration;

use edge_seg_bundle::files::hex;
use ring::hmac;
use sha2::{Digest, Sha256};

use super::LiveSink;
use crate::backoff::{Backoff, sleep_unless};
use crate::session::{FrameReport, SegmentedFrame};
use crate::source::redacted;
use crate::{Error, Result};
use edge_seg_model::text::read_bytes_within;

/// Where events are posted to.
#[derive(Clone)]
#[non_exhaustive]
pub struct WebhookOptions {
    /// `http://` or `https://`.
    pub url: String,
    /// Key of the signature; no signature if none.
    pub secret: Option<Vec<u8>>,
    /// How long one try may take.
    pub timeout: Duration,
    /// How often one event is tried.
    pub tries: u32,
    /// Pause after the first try that failed; each next one is twice as long.
    pub pause: Duration,
}

/// Without what is secret in them.
impl fmt::Debug for WebhookOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, secret, timeout, tries, pause } = self;
        let mut shown = f.debug_struct("WebhookOptions");
        shown.field("url", &host_of(url)).field("secret", &secret.as_ref().map(|_| "***"));
        shown.field("timeout", timeout).field("tries", tries).field("pause", pause).finish()
    }
}

impl WebhookOptions {
    /// Whether something can be posted to the address, by its form.
    ///
    /// # Errors
    /// [`Option`](edge_seg_model::Error::Option) if it is no address.
    pub fn check(&self) -> Result<()> {
        let host = self.url.strip_prefix("http://").or_else(|| self.url.strip_prefix("https://"));
        let is_none = |rest: &str| rest.is_empty() || rest.starts_with(['/', '?', '#']);
        if host.is_none_or(is_none) || self.url.parse::<ureq::http::Uri>().is_err() {
            let expected = "http://HOST... or https://HOST...";
            return Err(Error::option("webhook url", expected, redacted(&self.url)));
        }
        Ok(())
    }

    /// To this address, unsigned, up to five tries of ten seconds, half a second and more apart.
    pub fn to(url: impl Into<String>) -> Self {
        Self { url: url.into(), secret: None, timeout: Duration::from_secs(10), tries: 5, pause: Duration::from_millis(500) }
    }

    /// The same with another [`secret`](Self::secret).
    pub fn with_secret(self, secret: impl Into<Option<Vec<u8>>>) -> Self {
        Self { secret: secret.into(), ..self }
    }

    /// The same with another [`timeout`](Self::timeout).
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The same with another [`tries`](Self::tries).
    pub fn with_tries(self, tries: u32) -> Self {
        Self { tries, ..self }
    }

    /// The same with another [`pause`](Self::pause).
    pub fn with_pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }
}

/// An address up to its host: the path of many receivers is a secret.
fn host_of(url: &str) -> String {
    let host: String = redacted(url).split_inclusive('/').take(3).collect();
    host.split('?').next().unwrap_or_default().to_owned()
}

/// Longest file of a secret that is read.
const MAX_SECRET_BYTES: u64 = 1 << 16;

/// Reads a secret: the file's bytes without the last line's end.
///
/// # Errors
/// [`Io`](edge_seg_model::Error::Io) if it cannot be read, [`Error::Sink`] if it is empty.
pub fn read_secret(path: &Path) -> Result<Vec<u8>> {
    let mut secret = read_bytes_within(path, MAX_SECRET_BYTES)?;
    while secret.last().is_some_and(|b| *b == b'\n' || *b == b'\r') {
        secret.pop();
    }
    if secret.is_empty() {
        return Err(Error::Sink { place: path.display().to_string(), found: "expected a secret, found nothing".into() });
    }
    Ok(secret)
}

/// Posts rule events as JSON, on a thread of its own. It never holds up frames: what does not fit its queue, and what no try could
/// deliver, is dropped and counted.
pub struct Webhook {
    queue: SyncSender<String>,
    dropped: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    done: Receiver<()>,
    place: String,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook {{ {}, {} dropped }}", self.place, self.dropped.load(Ordering::Relaxed))
    }
}

/// Events that wait.
const QUEUE: usize = 64;
/// How long the end may take.
const FINISH: Duration = Duration::from_millis(700);

impl Webhook {
    /// Starts posting.
    ///
    /// # Errors
    /// [`Option`](edge_seg_model::Error::Option) if the address is none, [`Error::Sink`] if no thread can be started.
    pub fn start(options: WebhookOptions, dropped: Arc<AtomicU64>) -> Result<Self> {
        options.check()?;
        // What follows the host often holds a secret.
        let place = host_of(&options.url);
        let (queue, events) = sync_channel::<String>(QUEUE);
        let (ended, done) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let poster = Poster {
            agent: ureq::Agent::config_builder()
                .timeout_global(Some(options.timeout))
                .http_status_as_error(false)
                // A signed body goes where it was meant to go and nowhere else.
                .max_redirects(0)
                .max_redirects_will_error(false)
                .user_agent(concat!("edge-seg/", env!("CARGO_PKG_VERSION")))
                .build()
                .new_agent(),
            key: options.secret.as_ref().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret)),
            options,
            place: place.clone(),
            stop: stop.clone(),
        };
        let run = {
            let dropped = dropped.clone();
            move || {
                for body in events {
                    if let Err(why) = poster.deliver(&body) {
                        dropped.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!("{}: an event is lost: {why}", poster.place);
                    }
                }
                drop(ended);
            }
        };
        let spawned = std::thread::Builder::new().name("webhook".into()).spawn(run);
        spawned.map_err(|e| Error::Sink { place: place.clone(), found: e.to_string() })?;
        Ok(Self { queue, dropped, stop, done, place })
    }
}

impl LiveSink for Webhook {
    fn take(&mut self, _: &Arc<SegmentedFrame>, report: &Arc<FrameReport>) -> Result<()> {
        for event in report.events.iter().filter(|event| event.event.is_acted_on()) {
            let body = event.line().unwrap_or_default();
            if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.queue.try_send(body) {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let Self { queue, stop, done, place, .. } = *self;
        // Each event that waits is tried once more, and none again.
        stop.store(true, Ordering::Relaxed);
        drop(queue);
        if let Err(RecvTimeoutError::Timeout) = done.recv_timeout(FINISH) {
            tracing::warn!("{place}: did not take the last events in time");
        }
        Ok(())
    }
}

struct Poster {
    agent: ureq::Agent,
    key: Option<hmac::Key>,
    options: WebhookOptions,
    place: String,
    stop: Arc<AtomicBool>,
}

enum Failure {
    /// Trying again would end the same.
    Final(String),
    Passing(String),
}

impl Poster {
    fn deliver(&self, body: &str) -> std::result::Result<(), String> {
        let mut pauses = Backoff::from(self.options.pause);
        let mut tried = 0;
        loop {
            tried += 1;
            match self.post(body) {
                Ok(()) => return Ok(()),
                Err(Failure::Final(why)) => return Err(why),
                Err(Failure::Passing(why)) if tried >= self.options.tries || self.stop.load(Ordering::Relaxed) => return Err(why),
                Err(Failure::Passing(_)) => sleep_unless(&self.stop, pauses.pause()),
            }
        }
    }

    fn post(&self, body: &str) -> std::result::Result<(), Failure> {
        let mut request = self
            .agent
            .post(&self.options.url)
            .header("content-type", "application/json")
            // The same for every try, so that the receiver can tell a repetition.
            .header("x-edge-seg-delivery", hex(&Sha256::digest(body.as_bytes())[..16]));
        if let Some(key) = &self.key {
            request = request.header("x-hub-signature-256", format!("sha256={}", hex(hmac::sign(key, body.as_bytes()).as_ref())));
        }
        match request.send(body) {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => {
                let (status, why) = (answer.status().as_u16(), format!("expected status 2xx, found {}", answer.status()));
                Err(if status >= 500 || [408, 425, 429].contains(&status) { Failure::Passing(why) } else { Failure::Final(why) })
            }
            Err(e @ (ureq::Error::BadUri(_) | ureq::Error::Http(_))) => Err(Failure::Final(e.to_string())),
            Err(e) => Err(Failure::Passing(e.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_rfc_4231() {
        // Test case 2.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        let signature = hex(hmac::sign(&key, b"what do ya want for nothing?").as_ref());
        assert_eq!(signature, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn wrong_addresses_and_secrets_are_told() {
        for url in ["", "ftp://a", "http://", "https:///x", "example.org", "http://[", "https://a b/"] {
            let error = Webhook::start(WebhookOptions::to(url), Arc::default()).expect_err(url).to_string();
            assert!(error.starts_with("webhook url: expected"), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "\n").unwrap();
        let empty = read_secret(&path);
        std::fs::write(&path, "key \r\n").unwrap();
        let read = read_secret(&path);
        std::fs::remove_file(&path).unwrap();
        assert!(empty.unwrap_err().to_string().contains("expected a secret"));
        assert_eq!(read.unwrap(), b"key ");
        let missing = read_secret(&path).unwrap_err().to_string();
        assert!(missing.contains("secret") && missing.contains("No such file"), "{missing}");
    }
}
