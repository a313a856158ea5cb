use serde::Serialize;

use super::Measured;
use edge_seg_model::render::JsonVersion;

/// A rule's event began or ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
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

impl Event {
    /// As it is told by itself: its fields, and their version.
    ///
    /// # Errors
    /// If a number is none.
    pub fn line(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Line<'a> {
            version: JsonVersion,
            #[serde(flatten)]
            event: &'a Event,
        }
        serde_json::to_string(&Line { version: JsonVersion, event: self })
    }
}

/// What an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum EventKind {
    /// The condition holds, and the event starts if that is confirmed. Nothing acts on it yet.
    Noticed,
    /// What was noticed was not confirmed.
    Cleared,
    /// It is on from now.
    Started,
    /// It is over.
    Ended,
}

impl EventKind {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Noticed => "noticed",
            Self::Cleared => "cleared",
            Self::Started => "started",
            Self::Ended => "ended",
        }
    }

    /// Whether somebody is to hear of it: what is noticed and cleared again is for the record alone.
    pub fn is_acted_on(self) -> bool {
        matches!(self, Self::Started | Self::Ended)
    }
}
