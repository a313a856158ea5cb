//! When boards may be changed: days and hours of a week, in UTC.

use std::str::FromStr;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const DAY_MINUTES: u64 = 24 * 60;
const WEEK_MINUTES: u64 = 7 * DAY_MINUTES;

/// Hours on some days: `Mon-Fri 22:00-05:00`, `Sun 00:00-24:00`. What ends before it begins ends on the next day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// By day, from Monday.
    days: [bool; 7],
    begin: u64,
    minutes: u64,
}

impl Window {
    /// Whether it is open at a minute of the week, from Monday 00:00 on.
    fn is_open(&self, minute: u64) -> bool {
        (0..7).filter(|day| self.days[*day as usize]).any(|day| {
            let since = (minute + WEEK_MINUTES - day * DAY_MINUTES - self.begin) % WEEK_MINUTES;
            since < self.minutes
        })
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Window, String> {
        let odd = || format!("expected days and hours in UTC, such as \"Mon-Fri 22:00-05:00\" or \"Sat,Sun 00:00-24:00\", found {text:?}");
        let (days_text, hours) = text.trim().split_once(' ').ok_or_else(odd)?;
        let day = |name: &str| DAYS.iter().position(|day| *day == name.trim()).ok_or_else(odd);
        let mut days = [false; 7];
        for part in days_text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (day(first)?, day(last)?);
            (0..=(last + 7 - first) % 7).for_each(|n| days[(first + n) % 7] = true);
        }
        let (from, to) = hours.trim().split_once('-').ok_or_else(odd)?;
        let minute = |clock: &str| -> Result<u64, String> {
            let (hour, minute) = clock.trim().split_once(':').ok_or_else(odd)?;
            let number = |text: &str| text.parse::<u64>().ok().filter(|_| text.len() == 2).ok_or_else(odd);
            let (hour, minute) = (number(hour)?, number(minute)?);
            if minute < 60 && hour * 60 + minute <= DAY_MINUTES { Ok(hour * 60 + minute) } else { Err(odd()) }
        };
        let (begin, end) = (minute(from)?, minute(to)?);
        if begin == end || begin == DAY_MINUTES {
            return Err(odd());
        }
        let minutes = if end > begin { end - begin } else { DAY_MINUTES - begin + end };
        Ok(Window { days, begin, minutes })
    }
}

/// In how many minutes the first of `windows` opens, 0 where one is open at `unix_seconds` or there are none.
pub fn opens_in(windows: &[Window], unix_seconds: u64) -> u64 {
    if windows.is_empty() {
        return 0;
    }
    // 1970-01-01 was a Thursday.
    let now = (unix_seconds / 60 + 3 * DAY_MINUTES) % WEEK_MINUTES;
    // Each window opens within a week.
    (0..WEEK_MINUTES).find(|later| windows.iter().any(|window| window.is_open((now + later) % WEEK_MINUTES))).unwrap_or(WEEK_MINUTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_seg_bundle::date::Date;

    fn at(day: &str, hour: u64, minute: u64) -> u64 {
        Date::parse(day).unwrap().days() * 86_400 + hour * 3600 + minute * 60 + 59
    }

    #[test]
    fn windows_open_on_their_days_and_past_midnight() {
        let nights: Vec<Window> = ["Mon-Fri 22:00-05:00", "Sun 12:30-13:00"].map(|text| text.parse().unwrap()).to_vec();
        // 2026-11-29 was a Sunday.
        for (day, hour, minute, opens) in [
            ("2026-11-29", 12, 29, 1),
            ("2026-11-29", 12, 30, 0),
            ("2026-11-29", 12, 59, 0),
            ("2026-11-29", 13, 0, 33 * 60),
            ("2026-11-30", 22, 0, 0),
            ("2026-12-01", 4, 59, 0),
            ("2026-12-01", 5, 0, 17 * 60),
            ("2026-12-05", 4, 59, 0),
            ("2026-12-05", 22, 0, 14 * 60 + 30),
        ] {
            assert_eq!(opens_in(&nights, at(day, hour, minute)), opens, "{day} {hour}:{minute}");
        }
        let always: Window = "Mon-Sun 00:00-24:00".parse().unwrap();
        assert!((0..20_000).all(|minute| opens_in(std::slice::from_ref(&always), minute * 60) == 0));
        // Sunday night ends on Monday.
        let weekend: Window = "Sat,Sun 23:00-01:00".parse().unwrap();
        assert_eq!(opens_in(&[weekend], at("2026-11-30", 0, 30)), 0);
        assert_eq!(opens_in(&[], 0), 0);
    }

    #[test]
    fn odd_windows_are_refused() {
        for odd in [
            "",
            "Mon",
            "Mon 22:00",
            "Mon 22:00-25:00",
            "Mon 9:00-10:00",
            "Day 09:00-10:00",
            "Mon 09:00-09:00",
            "Mon 24:00-01:00",
            "Mon 09:60-10:00",
        ] {
            assert!(odd.parse::<Window>().is_err(), "{odd:?}");
        }
    }
}
