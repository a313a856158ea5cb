use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use edge_seg::{Background, parse_classes};
use serde_json::json;

use super::file::read_settings;
use super::log::LogHandle;
use super::rules::RulesReader;
use super::running::Running;
use super::settings::Settings;
use crate::cli::steer;

/// Keys that take effect while it runs.
const LIVE: [&str; 5] = ["words.tags", "background.threshold", "background.words", "rules.file", "log.level"];

/// Follows the configuration file: when it changes, and on SIGHUP.
pub fn follow(file: PathBuf, flags: Settings, running: Running, rules: RulesReader, log: LogHandle) -> Result<()> {
    let asked = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGHUP, asked.clone()).context("signals")?;
    let stop = running.control.stop.clone();
    let mut current = flags.over(read_settings(&file)?)?;
    steer::watch(file.clone(), Some(asked), stop, move || match reload(&file, &flags, &current, &running, &rules, &log) {
        Ok((settings, restart)) => {
            current = settings;
            if restart.is_empty() {
                tracing::info!("the configuration is read again");
            } else {
                tracing::warn!("the configuration is read again; these take effect after a restart: {}", restart.join(", "));
            }
            running.event_bus.publish("config", &json!({ "read": true, "restart": restart }));
        }
        Err(e) => {
            tracing::error!("the configuration stays as it was: {e:#}");
            running.event_bus.publish("config", &json!({ "read": false, "error": format!("{e:#}") }));
        }
    });
    Ok(())
}

/// Applies what can be applied, all or nothing, and names what cannot.
fn reload(
    file: &Path,
    flags: &Settings,
    current: &Settings,
    running: &Running,
    rules: &RulesReader,
    log: &LogHandle,
) -> Result<(Settings, Vec<String>)> {
    let new = flags.over(read_settings(file)?)?;
    new.check()?;
    let changed = current.differences(&new)?;
    let has = |key: &str| changed.iter().any(|c| c == key);
    let words = match &new.words.tags {
        Some(tags) if has("words.tags") && current.words.tags.is_some() => {
            let mut classes = parse_classes("words.tags", tags)?;
            classes.extend(new.words.shown_alone(&classes));
            Some(classes)
        }
        _ => None,
    };
    let background: Option<Background> = has("background.threshold").then(|| new.background.threshold(running.session.bundle().manifest()));
    let background_words = if has("background.words") { Some(new.background.words()?) } else { None };
    let book = if has("rules.file") { Some(new.rules.book()?) } else { None };
    if words.is_some() || background.is_some() || background_words.is_some() {
        let set = running.control.words.configure(words, background, background_words)?;
        tracing::info!("words, set {}: {}", set.version, set.bank.names().join(", "));
    }
    if let Some(book) = book {
        rules.take(book, new.rules.file());
    }
    if has("log.level") {
        log.change(&new.log)?;
    }
    let from_file_to_list = has("words.tags") && current.words.tags.is_none();
    let restart = changed.into_iter().filter(|key| !LIVE.contains(&key.as_str()) || (key == "words.tags" && from_file_to_list)).collect();
    Ok((new, restart))
}
