//! The calendar, as far as keys, events and names of recordings need it.
//!
//! ```
//! use edge_seg_bundle::date::{Date, utc};
//! let last = Date::parse("2027-12-31").expect("a day");
//! assert_eq!(Date::from_days(last.days() + 1).to_string(), "2028-01-01");
//! assert_eq!(Date::parse("2027-02-29"), None);
//! assert_eq!(utc(std::time::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A day of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    year: u64,
    month: u64,
    day: u64,
}

impl Date {
    /// Reads `YYYY-MM-DD`, from 1970 on.
    pub fn parse(text: &str) -> Option<Date> {
        let mut parts = text.split('-');
        let mut next = |len: usize| parts.next().filter(|part| part.len() == len && part.bytes().all(|b| b.is_ascii_digit()))?.parse().ok();
        let (year, month, day): (u64, u64, u64) = (next(4)?, next(2)?, next(2)?);
        let date = Date { year, month, day };
        let real = year >= 1970 && (1..=12).contains(&month) && day >= 1 && Date::from_days(date.days()) == date;
        (real && parts.next().is_none()).then_some(date)
    }

    /// Days since 1970-01-01, by Hinnant's `days_from_civil`.
    pub fn days(self) -> u64 {
        let year = self.year - u64::from(self.month <= 2);
        let of_era = year % 400;
        let of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        (year / 400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }

    /// The day that is `days` after 1970-01-01, by Hinnant's `civil_from_days`.
    pub fn from_days(days: u64) -> Date {
        let shifted = days + 719_468;
        let of_era = shifted % 146_097;
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = shifted / 146_097 * 400 + year_of_era + u64::from(month <= 2);
        Date { year, month, day: of_year - (153 * shifted_month + 2) / 5 + 1 }
    }
}

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// A time as RFC 3339 in UTC, to the millisecond. Times before 1970 are told as its beginning.
pub fn utc(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (date, [hour, minute, second]) = split(since.as_secs());
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// A time as `YYYYMMDDTHHMMSSZ`, which can be part of a file's name. Times before 1970 are told as its beginning.
pub fn utc_compact(time: SystemTime) -> String {
    let (Date { year, month, day }, [hour, minute, second]) = split(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Reads what [`utc`] and [`utc_compact`] write, with or without a fraction of a second.
pub fn parse_utc(text: &str) -> Option<SystemTime> {
    let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
    let is_compact = |text: &str, len: usize| text.len() >= len && text.bytes().take(len).all(|b| b.is_ascii_digit());
    let compact_day = is_compact(day, 8).then(|| format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..]));
    let compact_time = is_compact(time, 6).then(|| format!("{}:{}:{}", &time[..2], &time[2..4], &time[4..]));
    let time = compact_time.as_deref().unwrap_or(time);
    let of_day = parse_clock(time).filter(|_| time.matches(':').count() == 2)?;
    let days = Date::parse(compact_day.as_deref().unwrap_or(day))?.days();
    Some(UNIX_EPOCH + Duration::from_secs(days * 86_400) + of_day)
}

/// Reads what [`parse_utc`] does, and the same with how far its clock is ahead of UTC in place of `Z`: `2026-05-01T10:00:00+02:00`.
pub fn parse_time(text: &str) -> Option<SystemTime> {
    let (time, ahead_s) = split_zone(text)?;
    let shown = parse_utc(&format!("{time}Z"))?.duration_since(UNIX_EPOCH).ok()?;
    let seconds = u64::try_from(i64::try_from(shown.as_secs()).ok()? - ahead_s).ok()?;
    Some(UNIX_EPOCH + Duration::new(seconds, shown.subsec_nanos()))
}

/// The zone at the end of a time, `Z`, `+HH:MM` or `-HH:MM`, as seconds that its clock is ahead of UTC, and what stands before it.
pub fn split_zone(text: &str) -> Option<(&str, i64)> {
    if let Some(time) = text.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let at = text.rfind(['+', '-']).filter(|at| text[..*at].contains(':') && text.len() - at == "+HH:MM".len())?;
    let ahead = i64::try_from(parse_clock(&text[at + 1..])?.as_secs()).ok()?;
    Some((&text[..at], if text[at..].starts_with('-') { -ahead } else { ahead }))
}

/// Reads a time of the day, `HH:MM` or `HH:MM:SS`, the latter with or without a fraction, as what has passed of the day.
pub fn parse_clock(text: &str) -> Option<Duration> {
    let (time, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let parts: Vec<&str> = time.split(':').collect();
    let [hour, minute, second] = match parts[..] {
        [hour, minute] if !text.contains('.') => [hour, minute, "00"],
        [hour, minute, second] => [hour, minute, second],
        _ => return None,
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let number = |text: &str, below: u64| text.parse::<u64>().ok().filter(|&n| text.len() == 2 && digits(text) && n < below);
    let seconds = (number(hour, 24)? * 60 + number(minute, 60)?) * 60 + number(second, 60)?;
    let nanoseconds = fraction.parse::<u64>().ok().filter(|_| fraction.len() < 10 && digits(fraction))?;
    Some(Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds * 10u64.pow(9 - fraction.len() as u32)))
}

/// Seconds since 1970 as a day, and its hour, minute and second.
fn split(seconds: u64) -> (Date, [u64; 3]) {
    let of_day = seconds % 86_400;
    (Date::from_days(seconds / 86_400), [of_day / 3_600, of_day / 60 % 60, of_day % 60])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_both_ways() {
        for (text, days) in
            [("1970-01-01", 0), ("2000-02-29", 11_016), ("2000-03-01", 11_017), ("2026-11-21", 20_778), ("2100-12-31", 47_846)]
        {
            assert_eq!(Date::parse(text).map(Date::days), Some(days), "{text}");
            assert_eq!(Date::from_days(days).to_string(), text);
        }
        for days in 0..80_000 {
            assert_eq!(Date::from_days(days).days(), days);
        }
        for text in ["2026-02-30", "2026-13-01", "2026-1-01", "1969-12-31", "2026-01-01-", "", "soon", "+026-01-01"] {
            assert_eq!(Date::parse(text), None, "{text}");
        }
    }

    #[test]
    fn clocks_are_ahead_of_utc_or_behind_it() {
        let noon = parse_utc("2026-05-01T12:00:00Z");
        for text in ["2026-05-01T12:00:00Z", "2026-05-01T14:00:00+02:00", "2026-05-01T06:30:00-05:30", "2026-05-02T01:00:00+13:00"] {
            assert_eq!(parse_time(text), noon, "{text}");
        }
        assert_eq!(parse_time("20260501T120000Z"), noon);
        assert_eq!(parse_time("1970-01-01T00:30:00.250-01:00"), Some(UNIX_EPOCH + Duration::from_millis(5_400_250)));
        for text in [
            "1970-01-01T00:30:00+01:00",
            "2026-05-01T14:00:00",
            "2026-05-01T14:00:00+2:00",
            "2026-05-01T14:00:00+02",
            "2026-05-01",
            "+02:00",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
        assert_eq!(split_zone("12:00-01:00"), Some(("12:00", -3600)));
        assert_eq!((split_zone("2026-05-01"), split_zone("12:00")), (None, None));
    }

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
            let time = UNIX_EPOCH + Duration::from_secs_f64(seconds);
            assert_eq!(utc(time), text);
            let compact: String = text.chars().filter(|c| !"-:".contains(*c)).take(15).collect();
            assert_eq!(parse_utc(text), Some(time));
            assert_eq!(parse_utc(&(compact.clone() + "Z")), Some(UNIX_EPOCH + Duration::from_secs(seconds as u64)));
            assert_eq!(utc_compact(time), compact + "Z");
        }
        assert_eq!(parse_utc("1970-01-01T00:01:00Z"), Some(UNIX_EPOCH + Duration::from_secs(60)));
        for text in
            ["", "Z", "TZ", "1970-01-01", "1970-01-01T00:00:00", "1970-02-30T00:00:00Z", "1970-01-01T24:00:00Z", "1970-01-01T00:60:00Z"]
        {
            assert_eq!(parse_utc(text), None, "{text}");
        }
        for text in [
            "1970-01-01T0:00:00Z",
            "1970-01-01T00:00Z",
            "1970-01-01T00:00:00.Z",
            "19700101T0000Z",
            "1970é101T000000Z",
            "1970-01-01T+1:00:00Z",
        ] {
            assert_eq!(parse_utc(text), None, "{text}");
        }
    }
}
