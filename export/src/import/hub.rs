//! Weights from the Hugging Face hub, kept in its cache (`HF_HOME`); `HF_ENDPOINT` names another hub.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;

use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use serde_json::Value;

use super::files::{WEIGHTS, read_json};
use crate::{Error, Result};

/// What a repository may say beside its weights.
const DESCRIPTIONS: [&str; 8] = [
    "config.json",
    "open_clip_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
];

/// Downloads what an import needs of `owner/name[@revision]`, or takes it from the cache; the folder that holds it.
///
/// # Errors
/// [`Error::File`] if the name is none, the hub does not answer and the cache lacks the weights, or the repository has no weights.
pub(super) fn fetch(id: &str) -> Result<PathBuf> {
    let place = format!("hf:{id}");
    let (name, revision) = id.split_once('@').unwrap_or((id, "main"));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) && part != "..";
    let (owner, model) = name.split_once('/').unwrap_or(("", ""));
    if !plain(owner) || !plain(model) || revision.is_empty() {
        return Err(Error::file(place, "name", "hf:OWNER/NAME or hf:OWNER/NAME@REVISION", format!("{id:?}")));
    }
    if std::env::var_os("HF_HOME").is_none() && std::env::var_os("HOME").is_none() {
        return Err(Error::file(place, "cache", "HF_HOME or HOME to be set", "neither"));
    }
    let repo = Repo::with_revision(name.into(), RepoType::Model, revision.into());
    let cached = Cache::from_env().repo(repo.clone());
    let remedy = "try: a folder or a file that another machine has downloaded in the name's place, or HF_ENDPOINT=https://MIRROR";
    let offline = |why: String| {
        let at = Cache::from_env().path().display().to_string();
        Error::file(&place, "hub", format!("an answer of the hub, or the files in its cache {at}"), format!("neither; {why}; {remedy}"))
    };
    let api = ApiBuilder::from_env().with_progress(std::io::stderr().is_terminal()).with_retries(2);
    let api = api.build().map_err(|e| offline(e.to_string()))?.repo(repo);
    let files: Vec<String> = match api.info() {
        Ok(info) => info.siblings.into_iter().map(|file| file.rfilename).collect(),
        Err(e) => return from_cache(&cached).ok_or_else(|| offline(e.to_string())),
    };
    let weights = WEIGHTS.iter().find(|name| files.iter().any(|file| file == *name));
    let weights = weights.ok_or_else(|| Error::file(&place, "files", WEIGHTS.join(", "), files.join(", ")))?;
    for name in DESCRIPTIONS.iter().filter(|name| files.iter().any(|file| file == *name)) {
        get(&api, &place, name)?;
    }
    let weights = get(&api, &place, weights)?;
    if weights.to_string_lossy().ends_with(".index.json") {
        let index = read_json(&weights)?;
        let shards: BTreeSet<&str> =
            index["weight_map"].as_object().into_iter().flat_map(|map| map.values()).filter_map(Value::as_str).collect();
        for shard in shards {
            get(&api, &place, shard)?;
        }
    }
    Ok(weights.parent().map(PathBuf::from).unwrap_or_default())
}

fn get(api: &ApiRepo, place: &str, name: &str) -> Result<PathBuf> {
    api.get(name).map_err(|e| Error::file(place, name, "a whole download", e.to_string()))
}

/// The folder of a snapshot whose weights were downloaded before.
fn from_cache(cached: &CacheRepo) -> Option<PathBuf> {
    WEIGHTS.iter().find_map(|name| cached.get(name)).and_then(|path| path.parent().map(PathBuf::from))
}
