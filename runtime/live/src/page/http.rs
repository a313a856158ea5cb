//! What the handlers of all paths share.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use edge_seg_bundle::redact::redacted;
use edge_seg_bundle::text::shown_lines;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::hub::Hub;
use super::snapshot::Snapshot;

/// What anybody may see who reaches the address: the page without its data, and whether the session is well.
pub(super) const OPEN_PATHS: [&str; 6] = ["/", "/app.css", "/app.js", "/icon.svg", "/openapi.json", "/healthz"];

/// Longest body of a request: many words with many synonyms.
pub(super) const BODY_BYTES: usize = 256 << 10;
/// How long a request for a frame may wait for one.
pub(super) const WAIT: Duration = Duration::from_secs(10);
/// Longest picture that a client may send along: a large camera's frame.
pub(super) const PICTURE_BYTES: usize = 8 << 20;

/// What handlers work with.
#[derive(Clone)]
pub(super) struct Context {
    pub hub: Arc<Hub>,
    pub changes: Arc<Semaphore>,
    pub streams: Arc<Semaphore>,
    pub fps: f64,
}

impl Context {
    /// A place among the answers that take long.
    pub fn stream(&self) -> Result<OwnedSemaphorePermit, Fault> {
        let place = self.streams.clone().try_acquire_owned();
        place.map_err(|_| Fault::new(StatusCode::SERVICE_UNAVAILABLE, "too many streams"))
    }
}

/// An answer that says what is wrong: a status and `{"error": ...}`.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    said: String,
}

impl Fault {
    pub fn new(status: StatusCode, said: impl Into<String>) -> Self {
        Self { status, said: said.into() }
    }

    pub fn no_frame() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no frame came")
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": shown_lines(&redacted(&self.said)) }))).into_response()
    }
}

impl From<QueryRejection> for Fault {
    fn from(e: QueryRejection) -> Self {
        let said = e.body_text();
        let said = said.strip_prefix("Failed to deserialize query string: ").unwrap_or(&said);
        Self::new(StatusCode::BAD_REQUEST, format!("query: {said}; /openapi.json lists what it takes"))
    }
}

pub(super) fn answer(value: &Value) -> Response {
    Json(value).into_response()
}

/// Reads a JSON body.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|e| Fault::new(StatusCode::BAD_REQUEST, format!("body: {e}")))
}

pub(super) async fn latest(context: &Context, after: Option<u64>) -> Result<Arc<Snapshot>, Fault> {
    context.hub.next(after, WAIT).await.ok_or_else(Fault::no_frame)
}

pub(super) fn yes() -> bool {
    true
}
