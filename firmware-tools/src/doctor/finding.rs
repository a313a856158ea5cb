use serde::Serialize;

/// What brings back what the package holds.
pub(super) const REINSTALL: &str = "sudo apt install --reinstall ./edge-seg_*.deb";

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing; the camera works.
    Note,
    /// Needs mending.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Finding {
    Finding { check, level: Level::Ok, found: found.into(), mend: None }
}

pub(super) fn note(check: &'static str, found: impl Into<String>, mend: &str) -> Finding {
    Finding { check, level: Level::Note, found: found.into(), mend: Some(mend.into()) }
}

pub(super) fn bad(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { check, level: Level::Bad, found: found.into(), mend: Some(mend.into()) }
}
