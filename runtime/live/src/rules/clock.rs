//! The time of the day where the camera is.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Seconds of a day that has no change of the clock.
pub(super) const DAY_S: u32 = 86_400;

const LOCALTIME: &str = "/etc/localtime";

/// The wall's clock in a time zone.
#[derive(Debug, Clone)]
pub struct LocalClock(TimeZone);

/// A day and a time of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// Days since 1970-01-01 of the local calendar.
    pub day: i32,
    /// Seconds since midnight as the clock on the wall shows them: with another time of the year some come twice, or not at all.
    pub second: u32,
}

impl Default for LocalClock {
    /// The [system's](Self::system), or UTC where that cannot be read.
    fn default() -> Self {
        Self::system().unwrap_or_else(|_| Self::utc())
    }
}

impl LocalClock {
    /// The system's: by `TZ` or `/etc/localtime`, and UTC without either.
    ///
    /// # Errors
    /// What was expected and found, if one of them names a time zone that this system does not have.
    pub fn system() -> Result<Self, String> {
        const EXPECTED: &str = "expected a time zone that this system has, as Europe/Berlin or CET-1CEST,M3.5.0,M10.5.0/3, found";
        const TRY: &str = "try: ls /usr/share/zoneinfo, and the package tzdata if that is empty";
        let why = match TimeZone::try_system() {
            Ok(zone) => return Ok(Self(zone)),
            Err(why) => why,
        };
        match std::env::var_os("TZ").filter(|zone| !zone.is_empty()) {
            Some(zone) => Err(format!("TZ: {EXPECTED} {:?}; {TRY}", zone.to_string_lossy())),
            None if std::fs::symlink_metadata(LOCALTIME).is_ok() => Err(format!("{LOCALTIME}: {EXPECTED} none: {why}; {TRY}")),
            None => Ok(Self::utc()),
        }
    }

    /// What its time zone is called; where it has no name, how far it is from UTC now.
    pub fn name(&self) -> String {
        let now = || format!("UTC{}", self.0.to_offset(Timestamp::now()));
        self.0.iana_name().map_or_else(now, str::to_owned)
    }

    /// Seconds that it is ahead of UTC at a time.
    pub(super) fn ahead_s(&self, clock: SystemTime) -> i32 {
        Timestamp::try_from(clock).map_or(0, |at| self.0.to_offset(at).seconds())
    }

    /// The clock in a time zone that POSIX describes: `CET-1CEST,M3.5.0,M10.5.0/3`; none if it is not one.
    pub fn posix(zone: &str) -> Option<Self> {
        TimeZone::posix(zone).ok().map(Self)
    }

    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// When it shows a day (year, month, day) and a time (hour, minute, second). Of an hour that comes twice it is the first; what no
    /// clock shows, because an hour is left out, is as long after it. None where there is no such day or time.
    pub fn when(&self, (year, month, day): (i16, i8, i8), [hour, minute, second]: [i8; 3]) -> Option<SystemTime> {
        let shown = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
        Some(shown.to_zoned(self.0.clone()).ok()?.timestamp().into())
    }

    /// What it shows. A time beyond its calendar counts as 1970-01-01 in UTC.
    pub fn at(&self, clock: SystemTime) -> LocalTime {
        let seconds = Timestamp::try_from(clock).map_or(0, |at| at.as_second() + i64::from(self.0.to_offset(at).seconds()));
        let day = i64::from(DAY_S);
        LocalTime { day: i32::try_from(seconds.div_euclid(day)).unwrap_or_default(), second: seconds.rem_euclid(day) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use edge_seg_bundle::date::parse_utc;

    #[test]
    fn the_clock_on_the_wall_goes_with_the_time_of_the_year() {
        let berlin = LocalClock::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let shown = |utc: &str| {
            let at = berlin.at(parse_utc(utc).unwrap());
            (at.day, at.second / 3600, at.second / 60 % 60)
        };
        let day = 20_541; // 2026-03-29
        assert_eq!(shown("2026-03-28T23:30:00Z"), (day, 0, 30));
        assert_eq!([shown("2026-03-29T00:59:00Z"), shown("2026-03-29T01:00:00Z")], [(day, 1, 59), (day, 3, 0)]);
        assert_eq!(shown("2026-03-29T22:00:00Z"), (day + 1, 0, 0));
        // 2026-10-25: the hour from two to three comes twice.
        assert_eq!([shown("2026-10-25T00:30:00Z"), shown("2026-10-25T01:30:00Z")], [(day + 210, 2, 30), (day + 210, 2, 30)]);
        assert!(LocalClock::posix("nowhere").is_none());
    }

    #[test]
    fn times_beyond_all_calendars_are_no_fault() {
        let utc = LocalClock::posix("UTC0").unwrap();
        assert_eq!(utc.at(UNIX_EPOCH - Duration::from_secs(1)), LocalTime { day: -1, second: DAY_S - 1 });
        utc.at(UNIX_EPOCH + Duration::from_secs(u64::MAX >> 2));
    }
}
