use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use clap::Args;
use edge_seg::live::{Exchange, FrameReport, Shown};
use edge_seg::metrics::Metrics;
use edge_seg::rules::{EventKind, RuleBook, Watcher};
use edge_seg::sink::{EventLog, LiveSink, Snapshots};
use serde::{Deserialize, Serialize};

/// What becomes of what is seen.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Rules")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RulesArgs {
    /// Zones and rules (docs/events.md); their events stand in the JSON lines.
    #[arg(long, value_name = "FILE")]
    #[serde(rename = "file")]
    rules: Option<PathBuf>,
    /// Append events to this file, one JSON line each.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Keep a picture of each event that starts, in this folder.
    #[arg(long, value_name = "DIR")]
    snapshots: Option<PathBuf>,
    /// How many of these pictures are kept, the newest ones [default: 500].
    #[arg(long, value_name = "N")]
    snapshots_kept: Option<usize>,
}

const KEPT: usize = 500;

impl RulesArgs {
    pub fn check(&self) -> Result<()> {
        for (option, given) in [("--events", self.events.is_some()), ("--snapshots", self.snapshots.is_some())] {
            ensure!(!given || self.rules.is_some(), "{option}: expected --rules beside it, found none");
        }
        ensure!(self.snapshots_kept != Some(0), "--snapshots-kept: expected 1 or more, found 0");
        ensure!(self.snapshots_kept.is_none() || self.snapshots.is_some(), "--snapshots-kept: expected --snapshots beside it, found none");
        Ok(())
    }

    pub fn open(&self) -> Result<Option<Rules>> {
        let Some(file) = &self.rules else { return Ok(None) };
        let watcher = Watcher::new(RuleBook::read(file)?);
        Ok(Some(Rules { watcher, snapshots: self.snapshots.clone(), words_version: None }))
    }

    pub fn sinks(&self, metrics: &Metrics) -> Result<Vec<Box<dyn LiveSink>>> {
        let mut sinks: Vec<Box<dyn LiveSink>> = Vec::new();
        if let Some(file) = &self.events {
            sinks.push(Box::new(EventLog::open(file).context("--events")?));
        }
        if let Some(folder) = &self.snapshots {
            let kept = self.snapshots_kept.unwrap_or(KEPT);
            sinks.push(Box::new(Snapshots::create(folder.clone(), kept, metrics.queue("snapshots")).context("--snapshots")?));
        }
        Ok(sinks)
    }
}

/// Rules over the frames of a run.
pub struct Rules {
    watcher: Watcher,
    snapshots: Option<PathBuf>,
    words_version: Option<u64>,
}

impl Rules {
    pub fn names(&self) -> Vec<String> {
        self.watcher.states().map(|(name, _)| name.to_owned()).collect()
    }

    /// Puts a frame's events into its report and tells them to whoever listens.
    pub fn observe(&mut self, shown: &Shown, report: &mut FrameReport, exchange: &Arc<Exchange>) {
        if self.words_version != Some(report.words_version) {
            self.words_version = Some(report.words_version);
            let names: Vec<_> = report.classes.iter().map(|c| c.name.clone()).collect();
            let missing = self.watcher.missing_words(&names);
            if !missing.is_empty() {
                tracing::warn!("rules wait for words that nobody looks for: {}", missing.join(", "));
            }
        }
        report.events = self.watcher.observe(&shown.found.labels, report, SystemTime::now());
        for event in &mut report.events {
            if let Some(folder) = self.snapshots.as_ref().filter(|_| event.event == EventKind::Started)
                && self.watcher.wants_snapshot(&event.rule)
            {
                event.snapshot = Some(Snapshots::path(folder, event).display().to_string());
            }
            if let Ok(told) = serde_json::to_value(&*event) {
                exchange.tell("rule", &told);
            }
        }
    }
}
