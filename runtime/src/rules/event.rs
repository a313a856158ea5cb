use std::time::{SystemTime, UNIX_EPOCH};

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
    /// What the frame shows of each word that the rule is about; words that nobody looks for are left out.
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

/// A time as RFC 3339 in UTC, to the millisecond. Times before 1970 are told as its beginning.
pub fn utc(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Years of the proleptic Gregorian calendar that begin in March: Howard Hinnant, "chrono-compatible low-level date algorithms".
    let from_march = days + 719_468;
    let (era, day_of_era) = (from_march / 146_097, from_march % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_those_of_date() {
        // date -u -d @N +%FT%T.%3NZ
        for (seconds, text) in [
            (0.0, "1970-01-01T00:00:00.000Z"),
            (951_782_399.25, "2000-02-28T23:59:59.250Z"),
            (951_782_400.0, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200.5, "2024-03-01T00:00:00.500Z"),
            (1_735_689_599.0, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400.0, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs_f64(seconds)), text);
        }
    }
}
