use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use edge_seg::sink::LiveSink;
use edge_seg::sink::{Mqtt, MqttOptions};
use edge_seg::sink::{Webhook, WebhookOptions};
use edge_seg_live::metrics::Metrics;
use edge_seg_live::sinks::webhook::read_secret;
use edge_seg_live::words::Control;
use serde::{Deserialize, Serialize};

use crate::cli::flags::needs;

/// A message broker.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "MQTT")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MqttArgs {
    /// Publish states and events at this broker, and obey it about words: mqtt://HOST[:PORT], or mqtts:// for TLS (docs/events.md).
    #[arg(long, value_name = "URL")]
    #[serde(rename = "url")]
    mqtt: Option<String>,
    /// The broker's user; the password is read from --mqtt-password-file or from EDGE_SEG_MQTT_PASSWORD.
    #[arg(long, value_name = "NAME")]
    #[serde(rename = "user")]
    mqtt_user: Option<String>,
    /// File with the password of --mqtt-user.
    #[arg(long, value_name = "FILE")]
    #[serde(rename = "password-file")]
    mqtt_password_file: Option<PathBuf>,
    /// Certificates (PEM) that the broker's must lead to [default: the system's].
    #[arg(long, value_name = "FILE")]
    #[serde(rename = "ca")]
    mqtt_ca: Option<PathBuf>,
    /// This board's name in topics: letters, digits, - and _ [default: the host's name].
    #[arg(long, value_name = "NAME")]
    #[serde(rename = "name")]
    mqtt_name: Option<String>,
    /// First part of Home Assistant's discovery topics, or `none` [default: homeassistant].
    #[arg(long, value_name = "PREFIX")]
    #[serde(rename = "discovery")]
    mqtt_discovery: Option<String>,
    /// Least seconds between two states [default: 1].
    #[arg(long, value_name = "S")]
    #[serde(rename = "interval")]
    mqtt_interval: Option<f64>,
}

const PASSWORD_VARIABLE: &str = "EDGE_SEG_MQTT_PASSWORD";

impl MqttArgs {
    pub fn check(&self) -> Result<()> {
        let others = [
            ("--mqtt-user", self.mqtt_user.is_some()),
            ("--mqtt-password-file", self.mqtt_password_file.is_some()),
            ("--mqtt-ca", self.mqtt_ca.is_some()),
            ("--mqtt-name", self.mqtt_name.is_some()),
            ("--mqtt-discovery", self.mqtt_discovery.is_some()),
            ("--mqtt-interval", self.mqtt_interval.is_some()),
        ];
        for (option, given) in others {
            needs(option, given, "--mqtt", self.mqtt.is_some())?;
        }
        needs("--mqtt-password-file", self.mqtt_password_file.is_some(), "--mqtt-user", self.mqtt_user.is_some())?;
        let interval = self.mqtt_interval.unwrap_or(1.0);
        ensure!((0.0..=86_400.0).contains(&interval), "--mqtt-interval: expected seconds, 0 to 86400, found {interval}");
        Ok(())
    }

    pub fn open(&self, model: &str, control: &Control, metrics: &Metrics) -> Result<Option<Box<dyn LiveSink>>> {
        let Some(options) = self.options(model)? else { return Ok(None) };
        let control = control.clone();
        let obey = move |line: &str| control.execute(line).map(drop).map_err(|e| e.to_string());
        Ok(Some(Box::new(Mqtt::start(options, metrics.queue("mqtt"), Box::new(obey))?)))
    }

    /// Whether a connection can be tried, the files of its password and certificates included.
    pub fn check_service(&self) -> Result<()> {
        if let Some(options) = self.options("")? {
            options.check()?;
        }
        Ok(())
    }

    fn options(&self, model: &str) -> Result<Option<MqttOptions>> {
        let Some(url) = &self.mqtt else { return Ok(None) };
        let discovery = self.mqtt_discovery.clone().unwrap_or_else(|| "homeassistant".into());
        let options = MqttOptions::to(url, self.mqtt_name.clone().unwrap_or_else(host_name), model)
            .with_login(self.login()?)
            .with_ca(self.mqtt_ca.clone())
            .with_discovery((discovery != "none").then_some(discovery))
            .with_interval(Duration::from_secs_f64(self.mqtt_interval.unwrap_or(1.0)))
            .with_stall(super::http::HEALTHY);
        Ok(Some(options))
    }

    fn login(&self) -> Result<Option<(String, String)>> {
        let Some(user) = &self.mqtt_user else { return Ok(None) };
        let password = match &self.mqtt_password_file {
            Some(file) => String::from_utf8(read_secret(file).context("--mqtt-password-file")?).context("--mqtt-password-file")?,
            None => std::env::var(PASSWORD_VARIABLE)
                .with_context(|| format!("--mqtt-user: expected the password in --mqtt-password-file or {PASSWORD_VARIABLE}"))?,
        };
        Ok(Some((user.clone(), password)))
    }
}

/// The host's name in letters that topics take.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = name.trim().chars().take(64).map(plain).collect();
    if name.is_empty() { "edge-seg".into() } else { name }
}

/// Web hooks.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Webhook")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct WebhookArgs {
    /// Post each rule event to this address, as JSON; may be given several times.
    #[arg(long, value_name = "URL")]
    #[serde(rename = "urls")]
    webhook: Option<Vec<String>>,
    /// File with the key that bodies are signed with: HMAC-SHA256 in the header x-hub-signature-256.
    #[arg(long, value_name = "FILE")]
    #[serde(rename = "secret-file")]
    webhook_secret_file: Option<PathBuf>,
}

impl WebhookArgs {
    pub fn check(&self, has_rules: bool) -> Result<()> {
        needs("--webhook", self.webhook.is_some(), "--rules", has_rules)?;
        needs("--webhook-secret-file", self.webhook_secret_file.is_some(), "--webhook", self.webhook.is_some())
    }

    pub fn open(&self, metrics: &Metrics) -> Result<Vec<Box<dyn LiveSink>>> {
        let start = |options| Ok(Box::new(Webhook::start(options, metrics.queue("webhook"))?) as Box<dyn LiveSink>);
        self.sinks()?.into_iter().map(start).collect()
    }

    /// Where events are posted, and how.
    pub fn sinks(&self) -> Result<Vec<WebhookOptions>> {
        let secret = self.webhook_secret_file.as_deref().map(read_secret).transpose().context("--webhook-secret-file")?;
        Ok(self.webhook.iter().flatten().map(|url| WebhookOptions::to(url).with_secret(secret.clone())).collect())
    }
}
