//! Words, their background, and saved sets, over HTTP.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::http::{Context, Fault, answer, read};
use crate::Error;
use crate::words::{Colour, Control, WordSet, WordSpec, parse_words_json, unknown};
use edge_seg_model::{Background, Example, same_name};

/// Runs what may take the text encoder or the disk a while, away from the thread that serves.
pub(super) async fn work<T: Send + 'static>(
    context: &Context,
    work: impl FnOnce(&Control) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    // One at a time: a second change would wait for the first one anyway, and take a thread meanwhile.
    let _alone = context.changes.try_acquire().map_err(|_| Fault::new(StatusCode::TOO_MANY_REQUESTS, "other changes wait already"))?;
    let control = context.hub.control.clone();
    tokio::task::spawn_blocking(move || work(&control)).await.map_err(|e| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?
}

fn document(set: &WordSet) -> Value {
    let background = set.background.threshold().map(|t| (f64::from(t) * 1e6).round() / 1e6);
    json!({ "version": set.version, "words": set.words, "background": { "threshold": background, "words": set.background_words } })
}

pub(super) async fn changed(
    context: &Context,
    change: impl FnOnce(&Control) -> Result<std::sync::Arc<WordSet>, Fault> + Send + 'static,
) -> Result<Response, Fault> {
    let told = work(context, move |control| Ok(document(&*change(control)?))).await?;
    tracing::info!("words, set {}, by HTTP", told["version"]);
    Ok(answer(&told))
}

/// `GET /api/words`
pub(super) async fn get_words(State(context): State<Context>) -> Response {
    answer(&document(&context.hub.control.words.current()))
}

/// `PUT /api/words`
pub(super) async fn put_words(State(context): State<Context>, body: Bytes) -> Result<Response, Fault> {
    // What is no JSON at all is another fault than words that cannot be used.
    let _: IgnoredAny = read(&body)?;
    let specs = parse_words_json("body", &body)?;
    changed(&context, move |control| Ok(control.words.change(|_| Ok(specs))?)).await
}

/// `POST /api/words`
pub(super) async fn add_word(State(context): State<Context>, body: Bytes) -> Result<Response, Fault> {
    let spec: WordSpec = read(&body)?;
    let change = move |control: &Control| {
        let set = control.words.change(|old| Ok(old.iter().cloned().map(WordSpec::from).chain([spec]).collect()));
        Ok(set?)
    };
    let mut response = changed(&context, change).await?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// What `PATCH` may change; an absent key changes nothing, `null` goes back to the default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    name: Option<String>,
    synonyms: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    threshold: Option<Option<f32>>,
    colour: Option<Colour>,
    on: Option<bool>,
    examples: Option<Vec<Example>>,
}

fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn known(control: &Control, name: &str) -> Result<(), Fault> {
    let current = control.words.current();
    match current.words.iter().any(|word| same_name(&word.name, name)) {
        true => Ok(()),
        false => Err(Fault::new(StatusCode::NOT_FOUND, unknown(&current.words, name).to_string())),
    }
}

/// `PATCH /api/words/{name}`
pub(super) async fn patch_word(State(context): State<Context>, Path(name): Path<String>, body: Bytes) -> Result<Response, Fault> {
    let patch: Patch = read(&body)?;
    let change = move |control: &Control| {
        known(control, &name)?;
        let set = control.words.adjust(&name, |spec| {
            spec.name = patch.name.unwrap_or_else(|| spec.name.clone());
            spec.synonyms = patch.synonyms.unwrap_or_else(|| std::mem::take(&mut spec.synonyms));
            spec.threshold = patch.threshold.unwrap_or(spec.threshold);
            spec.colour = patch.colour.or(spec.colour);
            spec.on = patch.on.unwrap_or(spec.on);
            spec.examples = patch.examples.unwrap_or_else(|| std::mem::take(&mut spec.examples));
            // A word without examples is its name.
            spec.text |= spec.examples.is_empty();
        });
        Ok(set?)
    };
    changed(&context, change).await
}

/// `DELETE /api/words/{name}`
pub(super) async fn delete_word(State(context): State<Context>, Path(name): Path<String>) -> Result<Response, Fault> {
    let change = move |control: &Control| {
        known(control, &name)?;
        let set = control.words.change(|old| Ok(old.iter().filter(|w| !same_name(&w.name, &name)).cloned().map(WordSpec::from).collect()));
        Ok(set?)
    };
    changed(&context, change).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackgroundPatch {
    #[serde(default, deserialize_with = "given")]
    threshold: Option<Option<f32>>,
    words: Option<Vec<String>>,
}

/// `PATCH /api/background`
pub(super) async fn patch_background(State(context): State<Context>, body: Bytes) -> Result<Response, Fault> {
    let BackgroundPatch { threshold, words } = read(&body)?;
    let words = words.map(|words| words.into_iter().map(|w| w.trim().to_owned()).filter(|w| !w.is_empty()).collect::<Vec<_>>());
    if words.as_ref().is_some_and(|words| words.len() > crate::words::MAX_LIVE_WORDS) {
        return Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, "background: too many words"));
    }
    let background = threshold.map(|t| t.map_or(Background::None, Background::Threshold));
    changed(&context, move |control| Ok(control.words.set_background(background, words)?)).await
}

/// `GET /api/sets`
pub(super) async fn list_sets(State(context): State<Context>) -> Result<Response, Fault> {
    let names = work(&context, |control| match &control.sets {
        Some(sets) => Ok(sets.names()?),
        None => Ok(Vec::new()),
    });
    Ok(answer(&json!({ "sets": names.await? })))
}

fn existing(control: &Control, name: &str) -> Result<(), Fault> {
    if control.sets()?.names()?.iter().any(|n| n == name) {
        return Ok(());
    }
    Err(Fault::new(StatusCode::NOT_FOUND, format!("saved words: no set {name:?}")))
}

/// `GET /api/sets/{name}`
pub(super) async fn get_set(State(context): State<Context>, Path(name): Path<String>) -> Result<Response, Fault> {
    let told = work(&context, move |control| {
        existing(control, &name)?;
        let words: Vec<_> = control.sets()?.load(&name)?.into_iter().map(|spec| json!(spec)).collect();
        Ok(json!({ "name": name, "words": words }))
    });
    Ok(answer(&told.await?))
}

/// `PUT /api/sets/{name}`: saves the present words.
pub(super) async fn put_set(State(context): State<Context>, Path(name): Path<String>) -> Result<Response, Fault> {
    work(&context, move |control| Ok(control.sets()?.save(&name, &control.words.current().words)?)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `DELETE /api/sets/{name}`
pub(super) async fn delete_set(State(context): State<Context>, Path(name): Path<String>) -> Result<Response, Fault> {
    let delete = move |control: &Control| {
        existing(control, &name)?;
        Ok(control.sets()?.delete(&name)?)
    };
    work(&context, delete).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /api/sets/{name}/load`
pub(super) async fn load_set(State(context): State<Context>, Path(name): Path<String>) -> Result<Response, Fault> {
    let change = move |control: &Control| {
        existing(control, &name)?;
        let specs = control.sets()?.load(&name)?;
        Ok(control.words.change(|_| Ok(specs))?)
    };
    changed(&context, change).await
}

impl From<Error> for Fault {
    fn from(e: Error) -> Self {
        use edge_seg_model::Error::{Option, Words};
        let status = match e {
            Error::Model(Words { .. } | Option { .. }) | Error::Source { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, e.to_string())
    }
}
