use serde::Serialize;

use super::Measured;

/// A rule's event began or ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// The rule.
    pub rule: String,
    /// What happened.
    pub event: EventKind,
    /// When, by the wall's clock: RFC 3339 in UTC.
    pub time: String,
    /// The frame that showed it.
    pub sequence: u64,
    /// That frame's time since the source started.
    pub timestamp_ms: f64,
    /// How long the condition has held, or held until the event ended.
    pub duration_ms: f64,
    /// What the frame shows of each word that the rule is about; words that are not in the list are left out.
    pub measured: Vec<Measured>,
    /// The picture that was kept of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
}

/// What an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// It is on from now.
    Started,
    /// It is over.
    Ended,
}
