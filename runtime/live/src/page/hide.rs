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
        let word = |class: &Class, locked: bool, meaning: Option<&Meaning>| {
            let mut told = json!({ "name": class.name, "locked": locked });
            let synonyms: Vec<&String> = class.words.iter().filter(|word| **word != class.name).collect();
            if !synonyms.is_empty() {
                told["synonyms"] = json!(synonyms);
            }
            if let Some(meaning) = meaning {
                told["meaning"] = json!(meaning);
            }
            told
        };
        let always = self.always_hidden().iter().map(|(class, meaning)| word(class, true, meaning.as_ref()));
        // A word that is known by another one for the same tells nothing of that one.
        let own = |class: &Class, meanings: &[Option<Meaning>]| {
            let at = class.words.iter().position(|word| *word == class.name)?;
            meanings.get(at)?.clone()
        };
        let switched = now.classes.iter().zip(&now.meanings).map(|(class, all)| word(class, false, own(class, all).as_ref()));
        let words: Vec<Value> = always.chain(switched).collect();
        json!({ "version": now.version, "switches": switches.is_some(), "words": words })
    }

    fn hides_always(&self, word: &str) -> bool {
        self.always_hidden().iter().any(|(class, _)| has_word(class, word))
    }

    /// Takes away the timeline's pictures that show what has been hidden since.
    pub(super) fn clear_timeline(&self) {
        if let Some(switches) = self.switches() {
            self.timeline.hide_before(switches.since());
        }
    }
}

fn has_word(class: &Class, word: &str) -> bool {
    class.words.iter().any(|known| same_name(known, word))
}

fn listed<'a>(words: impl IntoIterator<Item = &'a String>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("{word:?}")).collect();
    words.join(", ")
}

/// Changes what is hidden, and tells everybody who watches, and the log what was done.
async fn changed(
    context: &Context,
    change: impl FnOnce(&Hub, &HideSwitches) -> Result<String, Fault> + Send + 'static,
) -> Result<Response, Fault> {
    let hub = context.hub.clone();
    let told = work(context, move |_| {
        let none = || Fault::new(StatusCode::FORBIDDEN, "hide: expected a session with switches (hide_switches), found one without");
        let done = change(&hub, hub.switches().ok_or_else(none)?)?;
        tracing::info!("{done}");
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
    let change = move |hub: &Hub, switches: &HideSwitches| {
        let (mut new, mut fixed) = (Vec::new(), Vec::new());
        for class in parse_classes("hide", &words).map_err(crate::Error::from)? {
            let (known, words): (Vec<String>, Vec<String>) = class.words.into_iter().partition(|word| hub.hides_always(word));
            // A switch of a name that no switch changes would be none: what is left goes by its first word.
            let name = words.iter().find(|word| **word == class.name).or(words.first()).cloned();
            fixed.extend(known);
            new.extend(name.map(|name| Class::new(name, words)));
        }
        let taken = listed(new.iter().flat_map(|class| &class.words));
        switches.hide_classes(new)?;
        let taken = if taken.is_empty() { "nothing more".to_owned() } else { taken };
        let known = if fixed.is_empty() { String::new() } else { format!("; hidden since the start: {}", listed(&fixed)) };
        Ok(format!("hidden by HTTP: {taken}{known}"))
    };
    let mut response = changed(&context, change).await?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// `DELETE /api/hide/{name}`
pub(super) async fn show(State(context): State<Context>, Path(name): Path<String>) -> Result<Response, Fault> {
    let change = move |hub: &Hub, switches: &HideSwitches| {
        let before = switches.current();
        let of_word = |classes: &[Class], word: &str| classes.iter().find(|class| has_word(class, word)).cloned();
        if switches.show(&name)?.is_some() {
            let now = switches.current();
            let gone = before.classes.iter().filter(|class| same_name(&class.name, &name)).flat_map(|class| &class.words);
            let (stay, shown): (Vec<&String>, Vec<&String>) =
                gone.partition(|word| hub.hides_always(word) || of_word(&now.classes, word).is_some());
            let shown = if shown.is_empty() { "nothing".to_owned() } else { listed(shown) };
            let stay = if stay.is_empty() { String::new() } else { format!("; hidden by other words still: {}", listed(stay)) };
            return Ok(format!("shown again by HTTP: {shown}{stay}"));
        }
        let (status, found) = match of_word(&before.classes, &name) {
            _ if hub.hides_always(&name) => {
                (StatusCode::FORBIDDEN, "is hidden since the start, and stays so until the program ends".to_owned())
            }
            Some(class) => (StatusCode::NOT_FOUND, format!("is hidden as another word for {:?}", class.name)),
            None => (StatusCode::NOT_FOUND, "is not hidden".to_owned()),
        };
        Err(Fault::new(status, format!("hide: expected a word that was switched on, found {name:?}, which {found}")))
    };
    changed(&context, change).await
}
