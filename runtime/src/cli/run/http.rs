use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use edge_seg::Class;
use edge_seg::live::HideSwitches;
use edge_seg::sink::LiveSink;
use edge_seg_live::page::{About, Hub, HubSink, ServeOptions, Server, Token};
use edge_seg_live::sinks::Recorder;
use serde::{Deserialize, Serialize};

use super::running::Running;
use crate::cli::flags::{check_folder, needs};

/// The web page and the interface beneath it.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "HTTP")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct HttpArgs {
    /// Serve the web page and its HTTP interface here, such as 127.0.0.1:8080; off the loopback addresses only with a token.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address)]
    #[serde(rename = "address")]
    http: Option<SocketAddr>,
    /// File whose one line clients must show as `Authorization: Bearer TOKEN`.
    #[arg(long, value_name = "FILE")]
    #[serde(rename = "token-file")]
    http_token_file: Option<PathBuf>,
    /// A name by which browsers may call this machine, beside its addresses and `localhost`.
    #[arg(long, value_name = "NAME")]
    #[serde(rename = "hosts")]
    http_host: Option<Vec<String>>,
    /// Connections at a time; more are turned away [default: 32].
    #[arg(long, value_name = "N")]
    #[serde(rename = "clients")]
    http_clients: Option<usize>,
    /// Pictures a second at most, for all clients together [default: 15].
    #[arg(long, value_name = "N")]
    #[serde(rename = "fps")]
    http_fps: Option<f64>,
    /// Let the page hide more words than `--hide` does, and show these again; what `--hide` names stays hidden.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    hide_switches: Option<bool>,
    /// Folder for recordings that are started from the page.
    #[arg(long, value_name = "DIR")]
    recordings: Option<PathBuf>,
    /// Seconds after which a recording ends by itself [default: 600].
    #[arg(long, value_name = "S")]
    recording_limit: Option<u64>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address and a port, as 127.0.0.1:8080 or [::1]:8080".to_owned())
}

impl HttpArgs {
    pub fn check(&self) -> Result<()> {
        let others = [
            ("--http-token-file", self.http_token_file.is_some()),
            ("--http-host", self.http_host.is_some()),
            ("--http-clients", self.http_clients.is_some()),
            ("--http-fps", self.http_fps.is_some()),
            ("--hide-switches", self.hide_switches.is_some()),
            ("--recordings", self.recordings.is_some()),
        ];
        for (option, given) in others {
            needs(option, given, "--http", self.http.is_some())?;
        }
        needs("--recording-limit", self.recording_limit.is_some(), "--recordings", self.recordings.is_some())?;
        let (clients, fps, limit) = (self.clients(), self.fps(), self.limit());
        ensure!((4..=1000).contains(&clients), "--http-clients: expected 4 to 1000, found {clients}");
        ensure!((0.1..=100.0).contains(&fps), "--http-fps: expected 0.1 to 100, found {fps}");
        ensure!((1..=86400).contains(&limit), "--recording-limit: expected 1 to 86400 seconds, found {limit}");
        Ok(())
    }

    /// Whether the page may hide words.
    pub fn hides(&self) -> bool {
        self.hide_switches == Some(true)
    }

    fn clients(&self) -> usize {
        self.http_clients.unwrap_or(32)
    }

    fn fps(&self) -> f64 {
        self.http_fps.unwrap_or(15.0)
    }

    fn limit(&self) -> u64 {
        self.recording_limit.unwrap_or(600)
    }

    pub fn token(&self) -> Result<Option<Token>> {
        Ok(self.http_token_file.as_deref().map(Token::read).transpose()?)
    }

    /// Whether the server may be started so, its token's file included.
    pub fn check_service(&self) -> Result<()> {
        let Some(address) = self.http else { return Ok(()) };
        ServeOptions::at(address).with_token(self.token()?).check()?;
        self.recordings.iter().try_for_each(|folder| check_folder("--recordings", folder))
    }

    /// Starts the server; it ends when the one that is returned is dropped.
    pub fn open(
        &self,
        running: &Running,
        source: String,
        index: Option<PathBuf>,
        hidden: Option<Hidden>,
        sinks: &mut Vec<Box<dyn LiveSink>>,
    ) -> Result<Option<Server>> {
        let Some(address) = self.http else { return Ok(None) };
        let limit = Duration::from_secs(self.limit());
        let recorder = self.recordings.as_ref().map(|folder| Recorder::new(folder, limit)).transpose().context("--recordings")?;
        let about = About { source, program: format!("edge-seg {}", env!("CARGO_PKG_VERSION")), stall: HEALTHY };
        let Running { session, control, counters, event_bus, .. } = running.clone();
        let hub = Hub::new(about, session, control, counters, event_bus, recorder.clone());
        if let Some(index) = index {
            hub.searches(index);
        }
        if let Some(Hidden { always, switches }) = hidden {
            hub.hides(always, switches);
        }
        let options = ServeOptions::at(address).with_token(self.token()?).with_clients(self.clients()).with_fps(self.fps());
        let options = options.with_hosts(self.http_host.clone().unwrap_or_default());
        let server = Server::start(&options, hub.clone()).map_err(|e| low_port(e.into(), address)).context("--http")?;
        tracing::info!("the web page is at http://{}/", server.address());
        sinks.push(Box::new(HubSink(hub)));
        sinks.extend(recorder.map(|recorder| Box::new(recorder) as Box<dyn LiveSink>));
        Ok(Some(server))
    }
}

/// Where the system keeps low ports for its own services, a port that it does not.
fn low_port(error: anyhow::Error, address: SocketAddr) -> anyhow::Error {
    let refused = error.root_cause().downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::PermissionDenied);
    match refused && address.port() < 1024 {
        true => anyhow!("{error}; try: --http {} (ports below 1024 are for root alone)", SocketAddr::new(address.ip(), 8080)),
        false => error,
    }
}

/// What of the hiding clients are told, and may change.
pub struct Hidden {
    /// Words that are hidden in any case.
    pub always: Vec<Class>,
    pub switches: Option<Arc<HideSwitches>>,
}

/// Without a frame for so long /healthz says no.
pub const HEALTHY: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_root_alone_may_have_is_told_with_another() {
        let denied = || anyhow::Error::from(io::Error::from(io::ErrorKind::PermissionDenied)).context("http://127.0.0.1:80");
        assert!(low_port(denied(), ([127, 0, 0, 1], 80).into()).to_string().contains("try: --http 127.0.0.1:8080"));
        assert_eq!(low_port(denied(), ([127, 0, 0, 1], 8080).into()).to_string(), "http://127.0.0.1:80");
    }
}
