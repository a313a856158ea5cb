//! Recordings: started and stopped, listed and downloaded.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Take};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, IF_RANGE, RANGE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::Deserialize;
use serde_json::json;

use super::http::{Context, Fault, answer, read, yes};
use crate::sinks::Recorder;

/// Bytes that are read from the disk at a time.
const PIECE_BYTES: usize = 256 << 10;

fn recorder(context: &Context) -> Result<&Recorder, Fault> {
    let none = || Fault::new(StatusCode::NOT_FOUND, "recording: expected a folder of recordings, found none");
    context.hub.recorder.as_ref().ok_or_else(none)
}

/// What the recorder does.
pub(super) async fn status(State(context): State<Context>) -> Result<Response, Fault> {
    Ok(Json(recorder(&context)?.status()).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    on: bool,
    #[serde(default)]
    format: Format,
    /// Whether masks are drawn into the video.
    #[serde(default = "yes")]
    masks: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Mp4,
    Y4m,
}

/// Starts or stops it.
pub(super) async fn record(State(context): State<Context>, body: Bytes) -> Result<Response, Fault> {
    let Record { on, format, masks } = read(&body)?;
    let recorder = recorder(&context)?.clone();
    let worked = tokio::task::spawn_blocking(move || {
        if on {
            recorder.start(if matches!(format, Format::Y4m) { "y4m" } else { "mp4" }, masks)?;
        } else {
            recorder.stop();
        }
        Ok::<_, Fault>(recorder.status())
    });
    let status = worked.await.map_err(|e| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))??;
    tracing::info!("recording {}: {}", if status.recording { "begins" } else { "ends" }, status.name.as_deref().unwrap_or("none"));
    context.hub.event_bus.publish("recording", &json!(status));
    Ok(Json(status).into_response())
}

/// The recordings that are finished, the newest first.
pub(super) async fn list(State(context): State<Context>) -> Result<Response, Fault> {
    let recorder = recorder(&context)?.clone();
    let found = tokio::task::spawn_blocking(move || recorder.list()).await;
    let recordings = found.map_err(|e| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))??;
    Ok(answer(&json!({ "recordings": recordings })))
}

/// A recording, piece by piece as the client takes it.
pub(super) async fn download(State(context): State<Context>, Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Fault> {
    let recorder = recorder(&context)?.clone();
    let place = context.stream()?;
    let wanted = name.clone();
    let opened = tokio::task::spawn_blocking(move || recorder.open(&wanted)).await;
    let opened = opened.map_err(|e| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))??;
    let (mut file, bytes) = opened.ok_or_else(|| Fault::new(StatusCode::NOT_FOUND, format!("no finished recording {name:?}")))?;
    // A recording has no mark by which a client could know its version: one that has some has it of another file.
    let range = headers.get(RANGE).filter(|_| !headers.contains_key(IF_RANGE));
    let Ok(part) = wanted_part(range.and_then(|range| range.to_str().ok()), bytes) else {
        let said = format!("Range: expected one within {bytes} bytes");
        let mut refused = Fault::new(StatusCode::RANGE_NOT_SATISFIABLE, said).into_response();
        let all = HeaderValue::from_str(&format!("bytes */{bytes}"));
        refused.headers_mut().extend(all.ok().map(|all| (CONTENT_RANGE, all)));
        return Ok(refused);
    };
    let (first, length) = part.unwrap_or((0, bytes));
    file.seek(SeekFrom::Start(first)).map_err(|e| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    let pieces = unfold((Some(file.take(length)), place), |(file, place)| async move {
        let read = tokio::task::spawn_blocking(move || piece(file)).await.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        match read {
            Ok((_, piece)) if piece.is_empty() => None,
            Ok((file, piece)) => Some((Ok(piece), (Some(file), place))),
            Err(e) => Some((Err(e), (None, place))),
        }
    });
    let kind = if name.ends_with(".mp4") { "video/mp4" } else { "application/octet-stream" };
    let attached = format!("attachment; filename=\"{name}\"");
    let headers = [
        (CONTENT_TYPE, kind.to_owned()),
        (CONTENT_DISPOSITION, attached),
        (CONTENT_LENGTH, length.to_string()),
        (ACCEPT_RANGES, "bytes".to_owned()),
    ];
    let mut response = (headers, Body::from_stream(pieces)).into_response();
    if part.is_some() {
        let range = format!("bytes {first}-{}/{bytes}", first + length - 1);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        response.headers_mut().extend(HeaderValue::from_str(&range).ok().map(|range| (CONTENT_RANGE, range)));
    }
    Ok(response)
}

/// Offset and length of the part that a `Range` asks for; none if all is wanted, as of several parts, and an error if the file ends
/// before it (RFC 9110 section 14).
fn wanted_part(range: Option<&str>, bytes: u64) -> Result<Option<(u64, u64)>, ()> {
    let asked = range.and_then(|range| range.trim().strip_prefix("bytes=")).and_then(|parts| parts.split_once('-'));
    let Some((first, last)) = asked.map(|(first, last)| (first.trim(), last.trim())) else { return Ok(None) };
    let (first, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if last >= first => (first, last.saturating_add(1).min(bytes)),
        (Ok(first), _) if last.is_empty() => (first, bytes),
        // The last bytes.
        (_, Ok(length)) if first.is_empty() => (bytes.saturating_sub(length), bytes),
        _ => return Ok(None),
    };
    if first < end { Ok(Some((first, end - first))) } else { Err(()) }
}

/// The next bytes of a file, none at its end or after a fault.
fn piece(file: Option<Take<File>>) -> std::io::Result<(Take<File>, Bytes)> {
    let mut file = file.ok_or_else(|| std::io::Error::other("a fault ended it"))?;
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    file.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
    Ok((file, piece.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_to_the_file() {
        for (range, part) in [
            ("bytes=0-0", Ok(Some((0, 1)))),
            ("bytes=2-", Ok(Some((2, 8)))),
            ("bytes=2-99", Ok(Some((2, 8)))),
            ("bytes=-3", Ok(Some((7, 3)))),
            ("bytes=-99", Ok(Some((0, 10)))),
            ("bytes=10-", Err(())),
            ("bytes=-0", Err(())),
            ("bytes=3-2", Ok(None)),
            ("bytes=0-1,4-5", Ok(None)),
            ("lines=0-1", Ok(None)),
        ] {
            assert_eq!(wanted_part(Some(range), 10), part, "{range}");
        }
        assert_eq!(wanted_part(None, 10), Ok(None));
        assert_eq!(wanted_part(Some("bytes=0-"), 0), Err(()));
    }
}
