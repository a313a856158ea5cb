use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::source::redacted;

/// How a session talks to a broker.
#[derive(Clone)]
#[non_exhaustive]
pub struct MqttOptions {
    /// `mqtt://HOST[:PORT]`, or `mqtts://` for TLS.
    pub url: String,
    /// Who we are to the broker.
    pub login: Option<(String, String)>,
    /// Certificates that the broker's must lead to, PEM; the system's if none.
    pub ca: Option<PathBuf>,
    /// Name of this board in topics: letters, digits, `-` and `_`.
    pub node: String,
    /// First part of Home Assistant's discovery topics; no discovery if none.
    pub discovery: Option<String>,
    /// Least time between two states.
    pub interval: Duration,
    /// After how long without a frame the board counts as unavailable.
    pub stall: Duration,
    /// The bundle's name.
    pub model: String,
}

/// Without what is secret in them.
impl fmt::Debug for MqttOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, login, ca, node, discovery, interval, stall, model } = self;
        let mut shown = f.debug_struct("MqttOptions");
        shown
            .field("url", &redacted(url))
            .field("login", &login.as_ref().map(|(user, _)| (user, "***")))
            .field("ca", ca)
            .field("node", node);
        shown.field("discovery", discovery).field("interval", interval).field("stall", stall).field("model", model).finish()
    }
}

impl MqttOptions {
    /// This broker, to whom the board is called `node` and its model `model`: no login, Home Assistant's topics, a state a second.
    pub fn to(url: impl Into<String>, node: impl Into<String>, model: impl Into<String>) -> Self {
        let (url, node, model) = (url.into(), node.into(), model.into());
        let interval = Duration::from_secs(1);
        let stall = Duration::from_secs(15);
        Self { url, login: None, ca: None, node, discovery: Some("homeassistant".into()), interval, stall, model }
    }

    /// The same with another [`login`](Self::login).
    pub fn with_login(self, login: impl Into<Option<(String, String)>>) -> Self {
        Self { login: login.into(), ..self }
    }

    /// The same with another [`ca`](Self::ca).
    pub fn with_ca(self, ca: impl Into<Option<PathBuf>>) -> Self {
        Self { ca: ca.into(), ..self }
    }

    /// The same with another [`discovery`](Self::discovery).
    pub fn with_discovery(self, discovery: impl Into<Option<String>>) -> Self {
        Self { discovery: discovery.into(), ..self }
    }

    /// The same with another [`interval`](Self::interval).
    pub fn with_interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// The same with another [`stall`](Self::stall).
    pub fn with_stall(self, stall: Duration) -> Self {
        Self { stall, ..self }
    }
}
