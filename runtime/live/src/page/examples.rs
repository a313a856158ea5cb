//! Words that are shown: a box that somebody drew on the picture.

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::http::{Context, Fault, latest};
use super::words::changed;
use crate::words::WordSpec;
use edge_seg_model::image::RgbImage;
use edge_seg_model::{Frame, decode_jpeg};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExampleBox {
    name: String,
    x: u32,
    y: u32,
    w: u32,
    h: u32,
    /// Whether it shows what the word does not mean.
    #[serde(default)]
    counter: bool,
}

/// `POST /api/examples`: the body is the JPEG that the box was drawn on, or nothing for the newest frame.
pub(super) async fn add_example(
    State(context): State<Context>,
    which: Result<Query<ExampleBox>, QueryRejection>,
    body: Bytes,
) -> Result<Response, Fault> {
    let Query(shown) = which?;
    // What is no picture is the empty document that a client of JSON sends.
    let newest = if body.is_empty() || body.starts_with(b"{") { Some(latest(&context, None).await?.shown.clone()) } else { None };
    let session = context.hub.session.clone();
    let told = format!("{} {:?}", if shown.counter { "a counter-example of" } else { "an example of" }, shown.name);
    let change = move |control: &crate::words::Control| {
        let frame = match newest {
            Some(newest) => Frame::clone(&newest.frame),
            None => {
                let mut pixels = RgbImage::default();
                let wrong = |found| Fault::new(StatusCode::UNPROCESSABLE_ENTITY, format!("body: expected a JPEG, or nothing: {found}"));
                decode_jpeg(&body, &mut pixels).map_err(wrong)?;
                Frame::still(pixels)
            }
        };
        let example = session.example(&frame, [shown.x, shown.y, shown.w, shown.h]).map_err(crate::Error::from)?;
        let example = if shown.counter { example.countering() } else { example };
        let set = control.words.change(|old| {
            let mut specs: Vec<WordSpec> = old.iter().cloned().map(WordSpec::from).collect();
            WordSpec::add_example(&mut specs, shown.name, example);
            Ok(specs)
        });
        Ok(set?)
    };
    let mut response = changed(&context, change).await?;
    tracing::info!("{told}, by HTTP");
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}
