use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use clap::Args;
use edge_seg::Session;
use edge_seg::search::{IndexOptions, IndexSink};
use edge_seg::sink::LiveSink;
use edge_seg_live::metrics::Metrics;
use serde::{Deserialize, Serialize};

use super::output::OutputArgs;
use crate::cli::flags::{check_folder_of, needs, or_make_folder};

/// What is kept to be searched later.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Index")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct IndexArgs {
    /// Keep what key frames show in this file, for `edge-seg search`: embeddings and small pictures, 40 MB an hour at most.
    #[arg(long, value_name = "FILE")]
    #[serde(rename = "file")]
    index: Option<PathBuf>,
    /// Most that this file takes, in MB; beyond it the oldest goes out [default: 1000].
    #[arg(long, value_name = "MB")]
    #[serde(rename = "limit")]
    index_limit: Option<u64>,
    /// Least seconds between two frames that are kept [default: 1].
    #[arg(long, value_name = "S")]
    #[serde(rename = "interval")]
    index_interval: Option<f64>,
    /// Name of the camera in it [default: the source's].
    #[arg(long, value_name = "NAME")]
    #[serde(rename = "camera")]
    index_camera: Option<String>,
}

impl IndexArgs {
    pub fn is_given(&self) -> bool {
        self.index.is_some()
    }

    pub fn check(&self) -> Result<()> {
        let others = [
            ("--index-limit", self.index_limit.is_some()),
            ("--index-interval", self.index_interval.is_some()),
            ("--index-camera", self.index_camera.is_some()),
        ];
        for (option, given) in others {
            needs(option, given, "--index", self.index.is_some())?;
        }
        let (limit, interval) = (self.index_limit.unwrap_or(1000), self.index_interval.unwrap_or(1.0));
        ensure!((5..=1_000_000).contains(&limit), "--index-limit: expected MB, 5 to 1000000, found {limit}");
        ensure!((0.0..=3600.0).contains(&interval), "--index-interval: expected seconds, 0 to 3600, found {interval}");
        let camera = self.index_camera.as_deref().unwrap_or("camera");
        let shows = !camera.trim().is_empty() && camera.len() <= 200 && edge_seg_bundle::text::hidden(camera).next().is_none();
        ensure!(shows, "--index-camera: expected a name of up to 200 bytes that can be seen, found {camera:?}");
        Ok(())
    }

    /// Whether there can be a file where it is asked for.
    pub fn check_folder(&self) -> Result<()> {
        self.index.iter().try_for_each(|file| check_folder_of("--index", file))
    }

    #[cfg(feature = "service")]
    pub fn file(&self) -> Option<PathBuf> {
        self.index.clone()
    }

    pub fn open(
        &self,
        session: &Session,
        source: &str,
        waits: bool,
        start: Option<SystemTime>,
        output: &OutputArgs,
        metrics: &Metrics,
    ) -> Result<Option<Box<dyn LiveSink>>> {
        let Some(file) = &self.index else { return Ok(None) };
        let mut options = IndexOptions::default().with_limit_bytes(self.index_limit.unwrap_or(1000) * 1_000_000);
        options = options.with_interval(Duration::from_secs_f64(self.index_interval.unwrap_or(1.0)));
        let camera = self.index_camera.as_deref().unwrap_or(source).to_owned();
        let sink = IndexSink::open(file, session, camera, &options, metrics.queue("index"));
        let sink = sink.map_err(|e| or_make_folder(e, file)).context("--index")?;
        let sink = if waits { sink.waiting() } else { sink };
        Ok(Some(output.guard("--index", start.into_iter().fold(sink, IndexSink::starting), metrics)))
    }
}
