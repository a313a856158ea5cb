//! Times in the names of recordings.

use std::path::Path;
use std::time::SystemTime;

use crate::rules::LocalClock;

/// When a recording or a picture began, by its name: year to second anywhere in it, as this program, network recorders, phones and
/// screen recorders write it (`20260501T080000Z`, `hall_20260501_080000`, `2026-05-01 08-00-00`), or the second half of that in a folder
/// of the day. Behind a `Z` it is UTC, else the clock's time zone. None where the name tells none.
pub fn time_in_name(path: &Path, clock: &LocalClock) -> Option<SystemTime> {
    let stem = path.file_stem()?.to_str()?;
    if let Some(found) = anywhere(stem, clock) {
        return Some(found);
    }
    let day = path.parent()?.file_name()?.to_str()?;
    // What is not parted may as well be a number of the file's own.
    let is_clock = matches!(stem.as_bytes(), [a, b, b'-' | b'.' | b'_' | b':', c, ..] if [a, b, c].iter().all(|d| d.is_ascii_digit()));
    if is_clock { anywhere(&format!("{day} {stem}"), clock) } else { None }
}

fn anywhere(text: &str, clock: &LocalClock) -> Option<SystemTime> {
    let bytes = text.as_bytes();
    let begins = |at: &usize| bytes[*at].is_ascii_digit() && (*at == 0 || !bytes[*at - 1].is_ascii_digit());
    (0..bytes.len()).filter(begins).find_map(|at| read(&text[at..], clock))
}

/// A time that a text begins with.
fn read(text: &str, clock: &LocalClock) -> Option<SystemTime> {
    let mut rest = text;
    let mut number = |digits: usize, separators: &str, most: usize| -> Option<i16> {
        let passed = rest.chars().take_while(|c| separators.contains(*c)).take(most).count();
        let found = rest.get(passed..passed + digits).filter(|found| found.bytes().all(|b| b.is_ascii_digit()))?;
        rest = &rest[passed + digits..];
        found.parse().ok()
    };
    let (year, month, day) = (number(4, "", 0)?, number(2, "-_.", 1)?, number(2, "-_.", 1)?);
    let (hour, minute, second) = (number(2, "Tt_-. @a", 4)?, number(2, "-_.:h", 1)?, number(2, "-_.:m", 1)?);
    let more = rest.bytes().take_while(u8::is_ascii_digit).count();
    // Phones write milliseconds behind the second.
    if !(1990..2100).contains(&year) || !matches!(more, 0 | 3) {
        return None;
    }
    let small = |number: i16| i8::try_from(number).ok();
    let day = (year, small(month)?, small(day)?);
    let time = [small(hour)?, small(minute)?, small(second)?];
    if rest[more..].starts_with('Z') { LocalClock::utc().when(day, time) } else { clock.when(day, time) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_seg_bundle::date::utc;

    #[test]
    fn names_of_recorders_tell_their_times() {
        let berlin = LocalClock::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let read = |name: &str| time_in_name(Path::new(name), &berlin).map(utc);
        for name in [
            "20260501T080000Z.mp4",
            "20260501T080000Z-2.y4m",
            "hall_20260501_100000.mp4",
            "RLC-410-5MP_00_20260501100000.mp4",
            "RecM01_20260501_100000_101500_0_123456.mp4",
            "cam.20260501_100000.mkv",
            "01-20260501100000.avi",
            "2026-05-01T10-00-00.mp4",
            "2026-05-01 10-00-00.mkv",
            "Screen Recording 2026-05-01 at 10.00.00.mov",
            "VID_20260501_100000123.mp4",
            "2026_0501_100000_001F.MP4",
            "1_2026-05-01_10-00-00_123.mp4",
            "recordings/2026-05-01/10-00-00.mp4",
            "sd/2026-05-01/10.00.00-10.30.00[M][0@0][0].mp4",
        ] {
            assert_eq!(read(name).as_deref(), Some("2026-05-01T08:00:00.000Z"), "{name}");
        }
        for name in [
            "holiday.mp4",
            "IMG_1234.jpg",
            "ch01_00000000012000000.mp4",
            "1777622400.mp4",
            "20260501.mp4",
            "20261301T080000Z.mp4",
            "20260501_250000.mp4",
            "2026050110000012345.mp4",
            "2026-05-01/000123.jpg",
            "10-00-00.mp4",
            "é20260501_1000é.mp4",
        ] {
            assert_eq!(read(name), None, "{name}");
        }
    }
}
