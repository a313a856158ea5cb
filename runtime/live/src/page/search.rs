//! The search in what the camera saw before.

use std::time::Instant;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::encode::data_uri;
use super::http::{Context, Fault, answer};
use super::words::work;
use crate::search::{Answer, Index, Lost, Query as Wanted};
use crate::words::Control;
use edge_seg_model::render::JSON_VERSION;
use edge_seg_model::{parse_words, same_name};

/// Answers that a client may ask for, each with its picture.
const MOST: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    words: String,
    #[serde(default = "top")]
    top: usize,
    threshold: Option<f32>,
}

fn top() -> usize {
    20
}

/// `GET /api/search`: when and where words were seen.
pub(super) async fn search(State(context): State<Context>, which: Result<Query<Search>, QueryRejection>) -> Result<Response, Fault> {
    let Query(Search { words, top, threshold }) = which?;
    let none = || Fault::new(StatusCode::NOT_FOUND, "search: expected a session that keeps an index, found none");
    let path = context.hub.index.get().cloned().ok_or_else(none)?;
    if !(1..=MOST).contains(&top) || threshold.is_some_and(|t| !(0.0..=1.0).contains(&t)) {
        return Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, format!("top, threshold: expected 1 to {MOST}, and 0 to 1")));
    }
    let session = context.hub.session.clone();
    let found = work(&context, move |control| {
        // A word that is shown at present means here what it means there.
        let set = control.words.current();
        let known = |name: &str| set.words.iter().find(|word| same_name(&word.name, name) && !word.examples.is_empty());
        let (mut classes, left_out) = match known(words.trim()) {
            Some(word) => (vec![word.class()], Vec::new()),
            None => parse_words("words", &words).map_err(crate::Error::from)?,
        };
        let mut examples = Vec::new();
        for class in &mut classes {
            if let Some(word) = known(&class.name) {
                *class = word.class();
                examples.extend(word.examples.iter().map(|example| (word.name.clone(), example.clone())));
            }
        }
        let list = session.word_list(classes, left_out).and_then(|list| session.with_examples(&list, &examples));
        let list = list.map_err(crate::Error::from)?;
        let start = Instant::now();
        let index = Index::open(&path)?;
        let sightings = index.find(&session, &list, &Wanted::default().with_most(top).with_threshold(threshold))?;
        let took_ms = 1e3 * start.elapsed().as_secs_f64();
        let damage = index.damage();
        for damage in &damage {
            tracing::warn!("{}: {damage}", path.display());
        }
        let mut answers = Vec::new();
        for (word, seen) in list.names().iter().zip(&sightings) {
            for sighting in seen {
                let thumbnail = index.thumbnail(sighting)?.map(|jpeg| data_uri(&jpeg));
                answers.push(Answer::new(word, sighting, thumbnail));
            }
        }
        let mut found = json!({ "version": JSON_VERSION, "milliseconds": took_ms, "answers": answers });
        if let Some(lost) = Lost::of(&damage) {
            found["damage"] = json!(lost);
        }
        let unseen = list.names().iter().zip(&sightings).filter(|(word, seen)| seen.is_empty() && known(word).is_none());
        let shown = sets_that_show(control, &unseen.map(|(word, _)| word.as_str()).collect::<Vec<_>>());
        if !shown.is_empty() {
            found["shown_in"] = json!(shown);
        }
        Ok(found)
    });
    Ok(answer(&found.await?))
}

/// A saved set in which a word has examples, which this session does not use at present.
#[derive(Serialize)]
struct ShownIn {
    word: String,
    set: String,
}

fn sets_that_show(control: &Control, words: &[&str]) -> Vec<ShownIn> {
    let Ok(sets) = control.sets() else { return Vec::new() };
    let mut shown = Vec::new();
    for set in if words.is_empty() { Vec::new() } else { sets.names().unwrap_or_default() } {
        let specs = sets.load(&set).unwrap_or_default();
        let shows = |word: &&&str| specs.iter().any(|spec| same_name(&spec.name, word) && !spec.examples.is_empty());
        shown.extend(words.iter().filter(shows).map(|word| ShownIn { word: (*word).to_owned(), set: set.clone() }));
    }
    shown
}
