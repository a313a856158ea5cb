use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post};
use axum::{Json, Router};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;

use super::access::{Access, guard};
use super::encode::Encoded;
use super::http::{BODY_BYTES, Context, Fault, PICTURE_BYTES, WAIT, answer, latest, yes};
use super::hub::Hub;
use super::timeline::KEPT;
use super::{examples, hide, recordings, search, words};
use edge_seg_model::render::encode_mask;

/// The description of the interface, as OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("openapi.json");

/// Changes that may wait for each other.
const CHANGES: usize = 2;
/// Streams without end at a time; the rest of the places is for requests that end.
const STREAMS: usize = 8;
const BOUNDARY: &str = "edge-seg-frame-5b1f9c3e7a";

fn paths() -> Vec<(&'static str, MethodRouter<Context>)> {
    vec![
        ("/", get(|| file("text/html; charset=utf-8", include_str!("page/index.html")))),
        ("/app.css", get(|| file("text/css; charset=utf-8", include_str!("page/app.css")))),
        ("/app.js", get(|| file("text/javascript; charset=utf-8", include_str!("page/app.js")))),
        ("/icon.svg", get(|| file("image/svg+xml", include_str!("page/icon.svg")))),
        ("/openapi.json", get(|| file("application/json", OPENAPI))),
        ("/healthz", get(health)),
        ("/metrics", get(metrics)),
        ("/api/status", get(|State(context): State<Context>| async move { answer(&context.hub.status()) })),
        ("/api/frame", get(frame)),
        ("/api/picture.jpg", get(picture)),
        ("/api/stream.mjpeg", get(stream)),
        ("/api/labels.png", get(labels)),
        ("/api/report", get(report)),
        ("/api/scores", get(scores)),
        ("/api/events", get(events)),
        ("/api/words", get(words::get_words).put(words::put_words).post(words::add_word)),
        ("/api/words/{name}", patch(words::patch_word).delete(words::delete_word)),
        ("/api/examples", post(examples::add_example).layer(DefaultBodyLimit::max(PICTURE_BYTES))),
        ("/api/hide", get(hide::get_hidden).post(hide::hide)),
        ("/api/hide/{name}", delete(hide::show)),
        ("/api/search", get(search::search)),
        ("/api/timeline", get(timeline)),
        ("/api/background", patch(words::patch_background)),
        ("/api/sets", get(words::list_sets)),
        ("/api/sets/{name}", get(words::get_set).put(words::put_set).delete(words::delete_set)),
        ("/api/sets/{name}/load", post(words::load_set)),
        ("/api/recording", get(recordings::status).post(recordings::record)),
        ("/api/recordings", get(recordings::list)),
        ("/api/recordings/{name}", get(recordings::download)),
    ]
}

pub(super) fn router(hub: Arc<Hub>, access: Arc<Access>, fps: f64) -> Router {
    let (changes, streams) = (Arc::new(Semaphore::new(CHANGES)), Arc::new(Semaphore::new(STREAMS)));
    let router = paths().into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods));
    let unknown = || async { Fault::new(StatusCode::NOT_FOUND, "no such path; /openapi.json lists them") };
    let wrong = || async { Fault::new(StatusCode::METHOD_NOT_ALLOWED, "no such method here; /openapi.json lists them") };
    router
        .fallback(unknown)
        .method_not_allowed_fallback(wrong)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(from_fn_with_state(access, guard))
        .with_state(Context { hub, changes, streams, fps })
}

async fn file(kind: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, kind)], text).into_response()
}

async fn health(State(context): State<Context>) -> Response {
    let (healthy, state) = context.hub.health();
    (if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(state)).into_response()
}

async fn metrics(State(context): State<Context>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], context.hub.event_bus.metrics()).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    /// The count of a frame that is known already.
    after: Option<u64>,
    /// Whether masks are drawn into the picture.
    #[serde(default)]
    masks: bool,
}

const COUNT: HeaderName = HeaderName::from_static("x-frame-count");

/// Picture, masks and report of one frame, so that they belong together.
async fn frame(State(context): State<Context>, which: Result<Query<Which>, QueryRejection>) -> Result<Response, Fault> {
    let Query(which) = which?;
    let Encoded { snapshot, jpeg, mask } = context.hub.encoded(which.after, false, context.fps, WAIT).await.ok_or_else(Fault::no_frame)?;
    let report = snapshot.json().to_string();
    let mut body = Vec::with_capacity(jpeg.len() + mask.len() + report.len() + 512);
    let parts: [(&str, &str, &[u8]); 3] = [
        ("report\"", "application/json", report.as_bytes()),
        ("picture\"; filename=\"picture.jpg\"", "image/jpeg", &jpeg),
        ("masks\"; filename=\"masks.png\"", "image/png", &mask),
    ];
    for (name, kind, bytes) in parts {
        body.extend_from_slice(
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\r\nContent-Type: {kind}\r\n\r\n").as_bytes(),
        );
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    Ok(([(CONTENT_TYPE, format!("multipart/form-data; boundary={BOUNDARY}"))], body).into_response())
}

async fn picture(State(context): State<Context>, which: Result<Query<Which>, QueryRejection>) -> Result<Response, Fault> {
    let Query(which) = which?;
    let found = context.hub.encoded(which.after, which.masks, context.fps, WAIT).await.ok_or_else(Fault::no_frame)?;
    Ok(([(CONTENT_TYPE, "image/jpeg".to_owned()), (COUNT, found.snapshot.count.to_string())], found.jpeg).into_response())
}

/// Motion JPEG: a client that is slow gets fewer pictures, and holds nobody up.
async fn stream(State(context): State<Context>, which: Result<Query<Which>, QueryRejection>) -> Result<Response, Fault> {
    let Query(which) = which?;
    let place = context.stream()?;
    let parts = unfold((context, which.after, place, true), move |(context, after, place, first)| async move {
        // Browsers show a picture when the next one's head has ended, so that comes right behind each picture.
        let head = format!("--{BOUNDARY}\r\nContent-Type: image/jpeg\r\n\r\n").into_bytes();
        if first {
            return Some((Ok::<_, Infallible>(head), (context, after, place, false)));
        }
        // While no frame comes the last one stays; a connection over which nothing is sent for long is closed by its listener.
        let found = loop {
            if let Some(found) = context.hub.encoded(after, which.masks, context.fps, WAIT).await {
                break found;
            }
        };
        let part = [&found.jpeg[..], b"\r\n", &head].concat();
        Some((Ok(part), (context, Some(found.snapshot.count), place, false)))
    });
    let kind = format!("multipart/x-mixed-replace; boundary={BOUNDARY}");
    Ok(([(CONTENT_TYPE, kind)], Body::from_stream(parts)).into_response())
}

/// The labels themselves, at the frame's own size, for other programs.
async fn labels(State(context): State<Context>) -> Result<Response, Fault> {
    let snapshot = latest(&context, None).await?;
    let name = format!("{:08}.mask.png", snapshot.report.sequence);
    let count = snapshot.count.to_string();
    let encoded = tokio::task::spawn_blocking(move || encode_mask(&snapshot.shown.found.labels, snapshot.report.classes.len())).await;
    let png = encoded.map_err(|e| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?.map_err(crate::Error::from)?;
    let headers =
        [(CONTENT_TYPE, "image/png".to_owned()), (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")), (COUNT, count)];
    Ok((headers, png).into_response())
}

async fn report(State(context): State<Context>, which: Result<Query<Which>, QueryRejection>) -> Result<Response, Fault> {
    Ok(answer(&latest(&context, which?.after).await?.json()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct At {
    x: u32,
    y: u32,
}

/// Every word's score at the patch that shows a pixel.
async fn scores(State(context): State<Context>, at: Result<Query<At>, QueryRejection>) -> Result<Response, Fault> {
    let Query(At { x, y }) = at?;
    let snapshot = latest(&context, None).await?;
    let shown = &snapshot.shown;
    let (width, height) = shown.frame.pixels.dimensions();
    if x >= width || y >= height {
        let said = format!("x, y: expected a pixel of the {width}×{height} frame, found {x}, {y}");
        return Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, said));
    }
    let (row, col) = context.hub.patch_at(&snapshot, x, y);
    let scores = shown.found.scores.patch(row, col).unwrap_or_default();
    let label = shown.found.labels.labels[y as usize * width as usize + x as usize];
    let words: Vec<_> =
        shown.words.words.iter().zip(scores).map(|(w, score)| json!({ "name": w.name, "score": score, "on": w.on })).collect();
    let name = usize::from(label).checked_sub(1).and_then(|k| shown.words.words.get(k)).map(|w| &w.name);
    Ok(answer(&json!({ "count": snapshot.count, "x": x, "y": y, "row": row, "col": col, "label": label, "name": name, "words": words })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listen {
    #[serde(default = "yes")]
    frames: bool,
}

/// Server-sent events: `frame` at most ten times a second, `words` when they change, and what the session's own parts tell.
async fn events(
    State(context): State<Context>,
    which: Result<Query<Listen>, QueryRejection>,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Fault> {
    let Query(Listen { frames }) = which?;
    let place = context.stream()?;
    let stream = unfold((context.hub.events(), place), move |(mut events, place)| async move {
        let event = loop {
            match events.recv().await {
                Ok((kind, _)) if !frames && *kind == *"frame" => {}
                Ok((kind, data)) => break sse::Event::default().event(&*kind).data(&*data),
                // What a slow client missed is gone; it is told how much.
                Err(RecvError::Lagged(lost)) => break sse::Event::default().event("lost").data(lost.to_string()),
                Err(RecvError::Closed) => return None,
            }
        };
        Some((Ok(event), (events, place)))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(10))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    #[serde(default)]
    after: u64,
    #[serde(default = "most")]
    most: usize,
}

fn most() -> usize {
    50
}

/// `GET /api/timeline`: the newest events of this run, or those that changed after a revision.
async fn timeline(State(context): State<Context>, which: Result<Query<Since>, QueryRejection>) -> Result<Response, Fault> {
    let Query(Since { after, most }) = which?;
    if !(1..=KEPT).contains(&most) {
        return Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, format!("most: expected 1 to {KEPT}, found {most}")));
    }
    // A program may have switched without asking over HTTP.
    context.hub.clear_timeline();
    Ok(answer(&context.hub.timeline.since(after, most)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_description_has_every_path_and_no_other() {
        let described: Value = serde_json::from_str(OPENAPI).unwrap();
        let described: BTreeSet<_> = described["paths"].as_object().unwrap().keys().cloned().collect();
        let served: BTreeSet<_> = paths().into_iter().map(|(path, _)| path.to_owned()).collect();
        assert_eq!(described, served);
    }
}
