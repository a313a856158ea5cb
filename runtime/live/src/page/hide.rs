//! What is hidden, and the switches that hide more, over HTTP.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::http::{Context, Fault, WAIT, answer, read};
use super::hub::Hub;
use super::words::work;
use crate::session::HideSwitches;
use edge_seg_model::{Class, Meaning, parse_classes, same_name};

impl Hub {
    /// Words that are hidden, those of the start first.
    fn hidden(&self) -> Value {
        let (switches, now) = (self.switches(), self.switches().map(HideSwitches::current).unwrap_or_default());
        let word = |name: &str, locked: bool, meaning: Option<&Meaning>| {
            let mut told = json!({ "name": name, "locked": locked });
            if let Some(meaning) = meaning {
                told["meaning"] = json!(meaning);
            }
            told
        };
        let always = self.always_hidden().iter().map(|(name, meaning)| word(name, true, meaning.as_ref()));
        // A word that is known by another one for the same tells nothing of that one.
        let own = |class: &Class, meanings: &[Option<Meaning>]| {
            let at = class.words.iter().position(|word| *word == class.name)?;
            meanings.get(at)?.clone()
        };
        let switched = now.classes.iter().zip(&now.meanings).map(|(class, all)| word(&class.name, false, own(class, all).as_ref()));
        let words: Vec<Value> = always.chain(switched).collect();
        json!({ "version": now.version, "switches": switches.is_some(), "words": words })
    }

    fn hides_always(&self, name: &str) -> bool {
        self.always_hidden().iter().any(|(known, _)| same_name(known, name))
    }

    /// Takes away the timeline's pictures that show what has been hidden since.
    pub(super) fn clear_timeline(&self) {
        if let Some(switches) = self.switches() {
            self.timeline.hide_before(switches.since());
        }
    }
}

/// Changes what is hidden, and tells everybody who watches.
async fn changed(
    context: &Context,
    change: impl FnOnce(&Hub, &HideSwitches) -> Result<(), Fault> + Send + 'static,
) -> Result<Response, Fault> {
    let hub = context.hub.clone();
    let told = work(context, move |_| {
        let none = || Fault::new(StatusCode::FORBIDDEN, "hide: expected a session with switches (--hide-switches), found one without");
        change(&hub, hub.switches().ok_or_else(none)?)?;
        hub.clear_timeline();
        Ok(hub.hidden())
    });
    let told = told.await?;
    context.hub.passed(told["version"].as_u64().unwrap_or(0), WAIT).await;
    context.hub.event_bus.publish("hide", &told);
    Ok(answer(&told))
}

/// `GET /api/hide`
pub(super) async fn get_hidden(State(context): State<Context>) -> Response {
    answer(&context.hub.hidden())
}

/// `POST /api/hide`: neither a picture that is asked for after the answer shows the words, nor a recording that is begun then.
pub(super) async fn hide(State(context): State<Context>, body: Bytes) -> Result<Response, Fault> {
    let words: String = read(&body)?;
    let said = format!("hidden by HTTP: {words:?}");
    let change = move |hub: &Hub, switches: &HideSwitches| {
        let new = parse_classes("hide", &words).map_err(crate::Error::from)?.into_iter().filter(|class| !hub.hides_always(&class.name));
        Ok(switches.hide_classes(new.collect()).map(drop)?)
    };
    let mut response = changed(&context, change).await?;
    tracing::info!("{said}");
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// `DELETE /api/hide/{name}`
pub(super) async fn show(State(context): State<Context>, Path(name): Path<String>) -> Result<Response, Fault> {
    let said = format!("shown again by HTTP: {name:?}");
    let change = move |hub: &Hub, switches: &HideSwitches| {
        if switches.show(&name)?.is_some() {
            return Ok(());
        }
        let (status, found) = match hub.hides_always(&name) {
            true => (StatusCode::FORBIDDEN, "is hidden since the start, and stays so until the program ends"),
            false => (StatusCode::NOT_FOUND, "is not hidden"),
        };
        Err(Fault::new(status, format!("hide: expected a word that was switched on, found {name:?}, which {found}")))
    };
    let response = changed(&context, change).await?;
    tracing::info!("{said}");
    Ok(response)
}
