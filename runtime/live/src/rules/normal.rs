//! What is usual at a place: how much of a word is seen at each time of the day, from the site's own history.
//!
//! Of each day the highest and the lowest mean over a minute is kept for every half hour. What is seen now is unusual if it lies outside of
//! what those of earlier days span: median ± `deviations` · 1.4826 · MAD, on square roots, whose spread does not grow with the mean.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::clock::{DAY_S, LocalClock, LocalTime};

/// Half hours of a day.
const SLOTS: usize = 48;
/// Earlier days that a time of the day must have been seen on, before anything is unusual at it.
pub const LEARNING_DAYS: usize = 7;
/// Days that are kept; what was usual before is forgotten.
const MOST_DAYS: usize = 28;
/// Words in places that are kept.
const MOST_SERIES: usize = 64;
/// Robust standard deviations beyond which something is unusual, if a rule says nothing else.
pub(super) const DEVIATIONS: f64 = 5.0;
/// What is compared is the mean over as many of these.
const TEN_S: f64 = 10.0;
const TENS: usize = 6;
/// Over a longer gap between frames nobody knows what was there.
const GAP: Duration = Duration::from_secs(10);
/// A clock that is days behind is that of a board that has just started; after this time it is the history's that was ahead.
const BEHIND: Duration = Duration::from_secs(3600);

/// What is measured of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Amount {
    /// Its share of the picture or zone.
    Share,
    /// How many of its things are there.
    Count,
}

impl Amount {
    /// A smaller difference is none, whatever the spread.
    fn least_step(self) -> f64 {
        match self {
            Self::Share => 0.005,
            Self::Count => 0.75,
        }
    }
}

/// Which way something departs from what is usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Departure {
    /// More is there.
    More,
    /// Less is there.
    Less,
    /// More or less is there.
    Either,
}

/// A word in a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    /// The word, in lower case.
    pub word: String,
    /// The zone; the whole picture if none.
    pub zone: Option<String>,
    /// Tells zones of one name apart whose corners are others.
    pub shape: u32,
    /// What is measured.
    pub of: Amount,
}

/// The lowest and the highest that is usual.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usual {
    /// Less is unusual.
    pub low: f64,
    /// More is unusual.
    pub high: f64,
}

/// What is usual, and what was seen in the last minute.
#[derive(Debug, Clone, Default)]
pub struct Normal {
    series: BTreeMap<Watched, Series>,
    /// Since when the clock has been behind what is known, by the frames' time.
    behind: Option<Duration>,
    /// What the clock showed last; none while it cannot be right.
    local: Option<LocalTime>,
    /// When something was taken last, and by which clock.
    zone: Option<Zone>,
    /// Whether that is this clock.
    is_here: bool,
    changed: bool,
}

/// A local clock, as far as one moment tells it: at another time of the year it may be another hour ahead.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Zone {
    /// Seconds since 1970, in UTC.
    at_s: u64,
    /// Seconds that the clock was ahead of UTC then.
    ahead_s: i32,
}

#[derive(Debug, Clone, Default)]
struct Series {
    /// Ascending.
    days: VecDeque<Day>,
    minute: Minute,
}

/// The lowest and the highest mean over a minute in each half hour of a day; none of those that were not seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Day {
    day: i32,
    low: Vec<Option<f32>>,  // [slots]
    high: Vec<Option<f32>>, // [slots]
}

/// The last minute in tens of seconds.
#[derive(Debug, Clone, Default)]
struct Minute {
    seen: Option<Duration>,
    sum: f64,
    seconds: f64,
    tens: VecDeque<f64>,
}

impl Minute {
    /// Takes a value that has held since the frame before. True once a mean over a minute is another.
    fn take(&mut self, now: Duration, value: f64) -> bool {
        let passed = self.seen.replace(now).and_then(|seen| now.checked_sub(seen));
        let Some(passed) = passed.filter(|passed| *passed <= GAP) else {
            *self = Self { seen: Some(now), ..Self::default() };
            return false;
        };
        self.sum += value * passed.as_secs_f64();
        self.seconds += passed.as_secs_f64();
        if self.seconds < TEN_S {
            return false;
        }
        self.tens.push_back(self.sum / self.seconds);
        (self.sum, self.seconds) = (0.0, 0.0);
        if self.tens.len() > TENS {
            self.tens.pop_front();
        }
        self.tens.len() == TENS
    }

    fn mean(&self) -> Option<f64> {
        (self.tens.len() == TENS).then(|| self.tens.iter().sum::<f64>() / TENS as f64)
    }
}

impl Day {
    fn new(day: i32) -> Self {
        Self { day, low: vec![None; SLOTS], high: vec![None; SLOTS] }
    }

    fn take(&mut self, slot: usize, mean: f64) {
        let mean = mean as f32;
        self.low[slot] = Some(self.low[slot].map_or(mean, |low| low.min(mean)));
        self.high[slot] = Some(self.high[slot].map_or(mean, |high| high.max(mean)));
    }

    fn is_sound(&self) -> bool {
        let is_pair = |(low, high): (&Option<f32>, &Option<f32>)| match (low, high) {
            (None, None) => true,
            (Some(low), Some(high)) => 0.0 <= *low && low <= high && *high <= 1e6,
            _ => false,
        };
        self.low.len() == SLOTS && self.high.len() == SLOTS && self.low.iter().zip(&self.high).all(is_pair)
    }
}

impl Series {
    /// The lowest and the highest of each day before this one at about a time, if it was seen then: what came half an hour earlier or later
    /// is usual too, on the other side of midnight as well.
    fn about(&self, local: LocalTime) -> Vec<(f64, f64)> {
        let earlier = self.days.partition_point(|day| day.day < local.day);
        let seen = |slot: i64| {
            let (day, slot) = (slot.div_euclid(SLOTS as i64), slot.rem_euclid(SLOTS as i64) as usize);
            let at = self.days.binary_search_by_key(&day, |known| known.day.into()).ok().filter(|at| *at < earlier)?;
            self.days[at].low[slot].zip(self.days[at].high[slot])
        };
        let about = |day: &Day| {
            let at = i64::from(day.day) * SLOTS as i64 + slot(local) as i64;
            seen(at)?;
            let near = (at - 1..=at + 1).filter_map(seen);
            let (low, high) = near.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), (a, b)| (low.min(a), high.max(b)));
            Some((low.into(), high.into()))
        };
        self.days.iter().take(earlier).filter_map(about).collect()
    }

    /// The same where clocks are so many half hours ahead.
    fn shift(&mut self, slots: i64) {
        let mut days: VecDeque<Day> = VecDeque::new();
        for day in std::mem::take(&mut self.days) {
            for (slot, (low, high)) in (0i64..).zip(day.low.into_iter().zip(day.high)) {
                let to = i64::from(day.day) * SLOTS as i64 + slot + slots;
                let number = i32::try_from(to.div_euclid(SLOTS as i64)).unwrap_or_default();
                if high.is_some() && days.back().is_none_or(|last| last.day < number) {
                    days.push_back(Day::new(number));
                }
                if let Some(last) = days.back_mut().filter(|last| high.is_some() && last.day == number) {
                    let slot = to.rem_euclid(SLOTS as i64) as usize;
                    (last.low[slot], last.high[slot]) = (low, high);
                }
            }
        }
        self.days = days.split_off(days.len().saturating_sub(MOST_DAYS + 1));
    }
}

fn slot(local: LocalTime) -> usize {
    (local.second as usize * SLOTS / DAY_S as usize).min(SLOTS - 1)
}

/// Median, and the deviation that half of the values stay within. `values` are not empty.
fn middle(values: &mut [f64]) -> (f64, f64) {
    let median = |values: &mut [f64]| {
        values.sort_by(f64::total_cmp);
        let half = values.len() / 2;
        if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 }
    };
    let centre = median(values);
    values.iter_mut().for_each(|value| *value = (*value - centre).abs());
    (centre, median(values))
}

/// Where something is unusual: beyond `way` (1 or -1) of what earlier days reached.
fn bound(reached: impl Iterator<Item = f64>, way: f64, deviations: f64, of: Amount) -> f64 {
    let mut roots: Vec<f64> = reached.map(f64::sqrt).collect();
    let days = roots.len().max(1) as f64;
    let (centre, spread) = middle(&mut roots);
    // 1.4826 · MAD estimates the standard deviation (Rousseeuw and Croux, 1993). The MAD of few days is often too small by chance, and that
    // of days that are all alike is nothing.
    let margin = (deviations * (1.0 + 4.0 / days) * 1.4826 * spread).max(0.15 * centre);
    let root = (centre + way * margin).max(0.0);
    let least = centre * centre + way * of.least_step();
    if way > 0.0 { (root * root).max(least) } else { (root * root).min(least).max(0.0) }
}

impl Normal {
    /// As [`Self::begin`], by a wall's clock. What was learned by a clock of another zone is put to the times that it was at by this one.
    pub(super) fn begin_by(&mut self, wall: &LocalClock, clock: SystemTime, now: Duration) {
        if !std::mem::replace(&mut self.is_here, true)
            && let Some(Zone { at_s, ahead_s }) = self.zone
        {
            let ahead = wall.ahead_s(UNIX_EPOCH + Duration::from_secs(at_s)) - ahead_s;
            let slots = (f64::from(ahead) * SLOTS as f64 / f64::from(DAY_S)).round() as i64;
            if slots != 0 {
                let hours = f64::from(ahead.unsigned_abs()) / 3600.0;
                let way = if ahead > 0 { "behind" } else { "ahead of" };
                tracing::warn!("what is usual was learned by a clock {hours} h {way} this one; it is taken over at the same moments");
                self.series.values_mut().for_each(|series| series.shift(slots));
                self.changed = true;
            }
        }
        self.begin(wall.at(clock), now);
        if self.local.is_some() {
            let at_s = clock.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            self.zone = Some(Zone { at_s, ahead_s: wall.ahead_s(clock) });
        }
    }

    /// Takes a frame's clocks, before its values: the wall's, and the frame's own.
    pub(super) fn begin(&mut self, local: LocalTime, now: Duration) {
        let newest = self.series.values().filter_map(|series| Some(series.days.back()?.day)).max();
        // Another time zone, or a clock that is set, takes it back by a day at most.
        if newest.is_none_or(|newest| local.day >= newest - 1) {
            (self.behind, self.local) = (None, Some(local));
            return;
        }
        self.local = None;
        let since = *self.behind.get_or_insert(now);
        if now < since {
            self.behind = Some(now);
        } else if now - since >= BEHIND {
            tracing::warn!("what is usual: days that are still to come are forgotten; the clock was ahead when they were seen");
            self.series.values_mut().for_each(|series| series.days.retain(|day| day.day <= local.day));
            (self.behind, self.local, self.changed) = (None, Some(local), true);
        }
    }

    /// Takes what a frame shows of a word.
    pub(super) fn take(&mut self, watched: &Watched, now: Duration, value: f64) {
        if !self.series.contains_key(watched) {
            self.make_room();
        }
        let series = self.series.entry(watched.clone()).or_default();
        if !series.minute.take(now, value) {
            return;
        }
        let (Some(local), Some(mean)) = (self.local, series.minute.mean()) else { return };
        let at = series.days.partition_point(|day| day.day < local.day);
        if series.days.get(at).is_none_or(|day| day.day != local.day) {
            series.days.insert(at, Day::new(local.day));
            while series.days.len() > MOST_DAYS + 1 {
                series.days.pop_front();
            }
        }
        // A day that is older than all that are kept went out again.
        if let Some(day) = series.days.iter_mut().find(|day| day.day == local.day) {
            day.take(slot(local), mean);
            self.changed = true;
        }
    }

    /// What was seen of a word in the last minute is unknown: nobody looked for it.
    pub(super) fn blind(&mut self, watched: &Watched) {
        if let Some(series) = self.series.get_mut(watched) {
            series.minute = Minute::default();
        }
    }

    /// What is usual of a word now; none before it has been seen at this time on enough days.
    pub(super) fn usual(&self, watched: &Watched, deviations: f64) -> Option<Usual> {
        let (local, series) = (self.local?, self.series.get(watched)?);
        let about = series.about(local);
        if about.len() < LEARNING_DAYS {
            return None;
        }
        let low = bound(about.iter().map(|(low, _)| *low), -1.0, deviations, watched.of);
        let high = bound(about.iter().map(|(_, high)| *high), 1.0, deviations, watched.of);
        Some(Usual { low, high })
    }

    /// Whether the last minute departs from what is usual; none if that is not known.
    pub(super) fn departs(&self, watched: &Watched, departure: Departure, deviations: f64) -> Option<bool> {
        let usual = self.usual(watched, deviations)?;
        let mean = self.series.get(watched)?.minute.mean()?;
        let (more, less) = (mean > usual.high, mean < usual.low);
        Some(match departure {
            Departure::More => more,
            Departure::Less => less,
            Departure::Either => more || less,
        })
    }

    /// The one that was not seen for longest goes.
    fn make_room(&mut self) {
        while self.series.len() >= MOST_SERIES {
            let oldest = self.series.iter().min_by_key(|(_, series)| series.days.back().map(|day| day.day));
            let Some(oldest) = oldest.map(|(watched, _)| watched.clone()) else { return };
            self.series.remove(&oldest);
        }
    }

    /// Days that are known of the word that is known for longest.
    pub fn days(&self) -> usize {
        self.series.values().map(|series| series.days.len()).max().unwrap_or_default()
    }

    /// Whether it is another than when this was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Forgets the last minute: what comes next are other frames.
    #[cfg(test)]
    fn restarted(&self) -> Self {
        Self::from_bytes(&self.to_bytes()).unwrap()
    }
}

/// First words of the file, and its version.
const MARK: &str = "edge-seg-normal 2";
/// Of a file that tells no zone: a list of words alone.
const OLD_MARK: &str = "edge-seg-normal 1";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct History {
    zone: Option<Zone>,
    words: Vec<Written>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    of: Watched,
    days: Vec<Day>,
}

impl Normal {
    /// As a file: a line with its version and the checksum of the rest, and JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let round = |values: &[Option<f32>]| values.iter().map(|v| v.map(|v| (v * 1e5).round() / 1e5)).collect();
        let day = |day: &Day| Day { day: day.day, low: round(&day.low), high: round(&day.high) };
        let known = self.series.iter().filter(|(_, series)| !series.days.is_empty());
        let words = known.map(|(watched, series)| Written { of: watched.clone(), days: series.days.iter().map(day).collect() }).collect();
        // Numbers and texts alone: that cannot fail.
        let body = serde_json::to_vec(&History { zone: self.zone, words }).unwrap_or_default();
        let mut bytes = format!("{MARK} {:08x}\n", crc32fast::hash(&body)).into_bytes();
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// What was expected and what was found, if it is anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, (String, String)> {
        let wrong = |expected: &str, found: String| Err((expected.to_owned(), found));
        let end = bytes.iter().take(64).position(|byte| *byte == b'\n').unwrap_or(bytes.len().min(64));
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let body = bytes.get(end + 1..).unwrap_or_default();
        let is_old = head.starts_with(OLD_MARK);
        let rest = head.strip_prefix(if is_old { OLD_MARK } else { MARK });
        let sum = rest.and_then(|rest| rest.strip_prefix(' ')).filter(|sum| sum.len() == 8);
        let Some(sum) = sum.and_then(|sum| u32::from_str_radix(sum, 16).ok()) else {
            return wrong(&format!("a line of {MARK:?} and a checksum"), format!("{head:?}"));
        };
        let found = crc32fast::hash(body);
        if sum != found {
            return wrong(&format!("the checksum {sum:08x}"), format!("{found:08x} of {} bytes", body.len()));
        }
        let read = match is_old {
            true => serde_json::from_slice(body).map(|words| History { zone: None, words }),
            false => serde_json::from_slice(body),
        };
        let History { zone, words } = read.map_err(|e| ("words with their days".to_owned(), e.to_string()))?;
        if zone.is_some_and(|zone| zone.at_s > 1 << 40 || zone.ahead_s.unsigned_abs() > 2 * DAY_S) {
            return wrong("a clock less than two days ahead of UTC", format!("{zone:?}"));
        }
        let mut series = BTreeMap::new();
        for Written { of: watched, days } in words {
            let ascending = days.windows(2).all(|pair| pair[0].day < pair[1].day);
            if !ascending || days.len() > MOST_DAYS + 1 || !days.iter().all(Day::is_sound) {
                return wrong(&format!("up to {} days of {SLOTS} half hours", MOST_DAYS + 1), format!("others of {:?}", watched.word));
            }
            series.insert(watched, Series { days: days.into(), minute: Minute::default() });
        }
        if series.len() > MOST_SERIES {
            return wrong(&format!("at most {MOST_SERIES} words in places"), series.len().to_string());
        }
        Ok(Self { series, zone, ..Self::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::clock::LocalClock;
    use edge_seg_bundle::date::parse_utc;

    fn watched(of: Amount) -> Watched {
        Watched { word: "person".into(), zone: Some("queue".into()), shape: 7, of }
    }

    /// A camera whose clocks are its own: what it shows at each time of a day, a frame every five seconds.
    struct Site {
        normal: Normal,
        now: u64,
        of: Amount,
    }

    impl Site {
        fn new(of: Amount) -> Self {
            Self { normal: Normal::default(), now: 0, of }
        }

        /// Two hours from eight o'clock.
        fn morning(&mut self, day: i32, value: impl Fn(u32) -> f64) {
            for second in (8 * 3600..10 * 3600).step_by(5) {
                self.frame(LocalTime { day, second }, value(second));
            }
            self.now += 22 * 3600;
        }

        fn frame(&mut self, local: LocalTime, value: f64) {
            self.now += 5;
            let now = Duration::from_secs(self.now);
            self.normal.begin(local, now);
            self.normal.take(&watched(self.of), now, value);
        }

        /// Whether a value that stays for so many seconds from nine o'clock on is unusual at their end.
        fn departs(&self, day: i32, seconds: u32, value: f64, departure: Departure) -> Option<bool> {
            let mut site = Site { normal: self.normal.clone(), now: self.now, of: self.of };
            for second in (9 * 3600..9 * 3600 + seconds).step_by(5) {
                site.frame(LocalTime { day, second }, value);
            }
            site.normal.departs(&watched(self.of), departure, DEVIATIONS)
        }
    }

    /// Of 0 to 1, the same whenever it is asked (SplitMix64).
    fn noise(day: i32, second: u32) -> f64 {
        let mut mixed = (((day as u64) << 32) | u64::from(second / 60)).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    #[test]
    fn it_speaks_after_a_week_and_only_of_what_departs() {
        let mut site = Site::new(Amount::Share);
        for day in 0..10 {
            let known = day as usize >= LEARNING_DAYS;
            assert_eq!(site.departs(day, 70, 0.5, Departure::More), known.then_some(true), "day {day}");
            assert_eq!(site.departs(day, 70, 0.12, Departure::Either), known.then_some(false), "day {day}");
            site.morning(day, |second| 0.1 + 0.05 * noise(day, second));
        }
        assert_eq!(site.departs(10, 70, 0.0, Departure::Less), Some(true));
        assert_eq!(site.departs(10, 70, 0.0, Departure::More), Some(false));
        assert_eq!(site.departs(10, 70, 0.0, Departure::Either), Some(true));
        assert_eq!(site.departs(10, 55, 0.5, Departure::More), None, "less than a minute was seen");
        let usual = site.normal.usual(&watched(Amount::Share), DEVIATIONS).unwrap();
        assert!((0.03..0.1).contains(&usual.low) && (0.15..0.25).contains(&usual.high), "{usual:?}");
    }

    #[test]
    fn one_odd_day_does_not_make_odd_things_usual() {
        let mut site = Site::new(Amount::Count);
        for day in 0..14 {
            site.morning(day, |second| if day == 3 || day == 9 { 40.0 } else { (3.0 * noise(day, second)).floor() });
        }
        assert_eq!(site.departs(14, 70, 12.0, Departure::More), Some(true));
        assert_eq!(site.departs(14, 70, 2.0, Departure::Either), Some(false));
    }

    #[test]
    fn days_that_are_all_alike_leave_room_for_a_little_more() {
        let mut site = Site::new(Amount::Count);
        (0..14).for_each(|day| site.morning(day, |_| 0.0));
        assert_eq!(site.departs(14, 70, 1.0, Departure::More), Some(true), "where nobody is ever, one is unusual");
        assert_eq!(site.departs(14, 70, 0.0, Departure::Either), Some(false));
        let mut site = Site::new(Amount::Share);
        (0..14).for_each(|day| site.morning(day, |_| 0.3));
        assert_eq!(site.departs(14, 70, 0.33, Departure::Either), Some(false));
        assert_eq!(site.departs(14, 70, 0.5, Departure::Either), Some(true));
    }

    #[test]
    fn what_comes_half_an_hour_late_is_usual() {
        let mut site = Site::new(Amount::Share);
        for day in 0..10 {
            // A delivery at 8:45.
            site.morning(day, |second| if (31_500..31_800).contains(&second) { 0.4 } else { 0.0 });
        }
        assert_eq!(site.departs(10, 70, 0.4, Departure::More), Some(false), "at nine");
    }

    #[test]
    fn half_an_hour_goes_over_midnight() {
        // A delivery late in the evening, or early in the night, that is half an hour late or early on the eleventh day.
        for (usual, today) in [(23 * 3600 + 2400, 600), (600, 23 * 3600 + 2400)] {
            let mut site = Site::new(Amount::Share);
            for day in 0..11 {
                for second in (0..DAY_S).step_by(5) {
                    let comes = |at: u32| (at..at + 300).contains(&second);
                    if day == 10 && comes(today) {
                        site.frame(LocalTime { day, second }, 0.4);
                        if second == today + 295 {
                            // What comes an hour earlier or later is not.
                            let departs = site.normal.departs(&watched(Amount::Share), Departure::More, DEVIATIONS);
                            assert_eq!(departs, Some(false), "usual at {usual}, today at {today}");
                        }
                    } else {
                        site.frame(LocalTime { day, second }, if comes(usual) { 0.4 } else { 0.0 });
                    }
                    if day == 10 && second == 3600 * 12 {
                        assert_eq!(site.normal.usual(&watched(Amount::Share), DEVIATIONS).map(|usual| usual.high < 0.1), Some(true));
                    }
                }
            }
        }
    }

    #[test]
    fn what_another_time_zone_learned_is_at_the_same_moments() {
        let (berlin, tokyo) = (LocalClock::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap(), LocalClock::posix("JST-9").unwrap());
        let of = watched(Amount::Share);
        // A delivery at 22:00 UTC, which is 23:00 in Berlin until the end of March and midnight from then on, and seven in Tokyo.
        let start = parse_utc("2026-03-15T00:00:00Z").unwrap();
        let comes = |second: u64| (79_200..79_500).contains(&(second % 86_400));
        let run = |normal: &mut Normal, wall: &LocalClock, seconds: std::ops::Range<u64>| {
            for second in seconds.step_by(5) {
                let now = Duration::from_secs(second);
                normal.begin_by(wall, start + now, now);
                normal.take(&of, now, if comes(second) { 0.4 } else { 0.0 });
            }
        };
        let day = 86_400;
        let mut normal = Normal::default();
        run(&mut normal, &berlin, 0..10 * day);
        let bytes = normal.to_bytes();
        let departs = |bytes: &[u8], wall: &LocalClock, first: u64| {
            let mut normal = Normal::from_bytes(bytes).unwrap();
            run(&mut normal, wall, first * day + 79_200 - 600..first * day + 79_500);
            normal.departs(&of, Departure::More, DEVIATIONS)
        };
        assert_eq!(departs(&bytes, &berlin, 10), Some(false));
        assert_eq!(departs(&bytes, &tokyo, 10), Some(false), "by the clock of Tokyo it is another time of the day, and the same moment");
        // Summer time is no other zone: it comes at another local time from then on.
        assert_eq!(departs(&bytes, &berlin, 18), Some(true));
        // A file that tells no zone is of this one.
        let body = String::from_utf8(bytes.split(|byte| *byte == b'\n').nth(1).unwrap().to_vec()).unwrap();
        let words = body.split_once("\"words\":").unwrap().1.strip_suffix('}').unwrap();
        let old = format!("edge-seg-normal 1 {:08x}\n{words}", crc32fast::hash(words.as_bytes())).into_bytes();
        assert_eq!(departs(&old, &berlin, 10), Some(false));
        assert_eq!(departs(&old, &tokyo, 10), Some(true));
        // There and back again it is what it was.
        let mut back = Normal::from_bytes(&bytes).unwrap();
        back.begin_by(&tokyo, start + Duration::from_secs(10 * day), Duration::ZERO);
        let mut back = Normal::from_bytes(&back.to_bytes()).unwrap();
        back.begin_by(&berlin, start + Duration::from_secs(10 * day), Duration::ZERO);
        assert_eq!(back.series[&of].days, Normal::from_bytes(&bytes).unwrap().series[&of].days);
    }

    #[test]
    fn false_alarms_are_rare() {
        // Sites on which every day is like every other: how often is a half hour said to be unusual?
        let (mut said, mut asked) = ([0u32; 2], [0u32; 2]);
        for site in 0..2_000i32 {
            // Heavy tails: the exponential distribution.
            let high = |day: i32| -(1.0 - noise(site * 1000 + day, 60)).ln() * 0.02;
            for (i, days) in [(0, 7), (1, 28)] {
                let bound = bound((0..days).map(high), 1.0, DEVIATIONS, Amount::Share);
                asked[i] += 1;
                said[i] += u32::from(high(days) > bound);
            }
        }
        let rate = |i: usize| f64::from(said[i]) / f64::from(asked[i]);
        assert!(rate(0) < 0.02 && rate(1) < 0.004, "{} after 7 days, {} after 28", rate(0), rate(1));
    }

    #[test]
    fn a_restart_forgets_the_minute_and_nothing_else() {
        let mut site = Site::new(Amount::Share);
        (0..9).for_each(|day| site.morning(day, |second| 0.1 + 0.05 * noise(day, second)));
        let mut again = site.normal.restarted();
        let local = LocalTime { day: 9, second: 9 * 3600 };
        again.begin(local, Duration::ZERO);
        site.normal.begin(local, Duration::from_secs(site.now));
        let (of, deviations) = (watched(Amount::Share), DEVIATIONS);
        let (kept, known) = (again.usual(&of, deviations).unwrap(), site.normal.usual(&of, deviations).unwrap());
        assert!((kept.low - known.low).abs() < 1e-4 && (kept.high - known.high).abs() < 1e-4, "{kept:?} {known:?}");
        assert_eq!(again.departs(&of, Departure::Either, deviations), None);
        assert_eq!(Normal::from_bytes(&Normal::default().to_bytes()).unwrap().days(), 0);
    }

    #[test]
    fn history_is_bounded() {
        let mut normal = Normal::default();
        let mut now = 0;
        for day in 0..60 {
            for second in (0..DAY_S).step_by(600) {
                for series in 0..3 {
                    for ten in 0..8 {
                        let at = Duration::from_secs(now + 10 * ten);
                        normal.begin(LocalTime { day, second }, at);
                        let name = format!("word {series}");
                        let watched = Watched { word: name, zone: None, shape: 0, of: Amount::Share };
                        normal.take(&watched, at, noise(day, second));
                    }
                }
                now += 600;
            }
        }
        assert_eq!((normal.days(), normal.series.len()), (MOST_DAYS + 1, 3));
        let bytes = normal.to_bytes().len();
        assert!(bytes < 3 * 30_000, "{bytes}");
        for word in 0..2 * MOST_SERIES {
            let watched = Watched { word: format!("other {word}"), zone: None, shape: 0, of: Amount::Share };
            normal.take(&watched, Duration::ZERO, 0.0);
        }
        assert!(normal.series.len() <= MOST_SERIES);
        assert!(normal.series.keys().any(|watched| watched.word == "word 0"), "what was never seen for a minute goes first");
    }

    #[test]
    fn a_clock_that_jumps_back_waits_and_one_that_was_ahead_is_forgotten() {
        let mut site = Site::new(Amount::Share);
        (100..110).for_each(|day| site.morning(day, |_| 0.1));
        // A board without a battery begins in 1970: nothing is learned and nothing said.
        let known = site.normal.to_bytes();
        for _ in 0..60 {
            site.frame(LocalTime { day: 0, second: 9 * 3600 }, 0.9);
        }
        assert_eq!(site.normal.to_bytes(), known);
        assert_eq!(site.normal.departs(&watched(Amount::Share), Departure::Either, DEVIATIONS), None);
        assert_eq!(site.departs(110, 70, 0.9, Departure::More), Some(true), "its clock is set, and all is known");
        // A clock that was years ahead for a while: its days go once the right one has been right for an hour.
        site.morning(5000, |_| 0.9);
        assert_eq!(site.departs(110, 70, 0.9, Departure::More), None);
        for second in (0..2 * 3600).step_by(5) {
            site.frame(LocalTime { day: 110, second: 6 * 3600 + second }, 0.1);
        }
        assert_eq!(site.departs(110, 70, 0.9, Departure::More), Some(true));
        // By an hour, or to the day before: the same times come again.
        let days = site.normal.days();
        site.morning(110, |_| 0.1);
        site.morning(109, |_| 0.1);
        assert_eq!(site.normal.days(), days);
    }

    #[test]
    fn an_hour_that_comes_twice_is_one_and_one_that_is_left_out_is_unknown() {
        let berlin = LocalClock::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        for (midnight, hours, lacks) in [("2026-10-24T22:00:00Z", 25, &[][..]), ("2026-03-28T23:00:00Z", 23, &[4, 5][..])] {
            let (mut normal, midnight) = (Normal::default(), parse_utc(midnight).unwrap());
            for second in (0..hours * 3600).step_by(10) {
                let now = Duration::from_secs(second);
                normal.begin(berlin.at(midnight + now), now);
                normal.take(&watched(Amount::Share), now, 0.1);
            }
            let day = &normal.series.values().next().unwrap().days;
            assert_eq!(day.len(), 1);
            let missing: Vec<usize> = (0..SLOTS).filter(|slot| day[0].high[*slot].is_none()).collect();
            assert_eq!(missing, lacks);
        }
    }

    #[test]
    fn gaps_and_frames_that_start_again_begin_a_new_minute() {
        let mut minute = Minute::default();
        let mut full =
            |seconds: std::ops::RangeInclusive<u64>| seconds.map(|s| minute.take(Duration::from_secs(s), 1.0)).filter(|full| *full).count();
        assert_eq!(full(0..=59), 0);
        assert_eq!(full(60..=79), 2);
        assert_eq!(full(95..=150), 0, "a gap");
        assert_eq!(full(0..=55), 0, "a film that starts again");
        assert_eq!(full(56..=60), 1);
    }

    #[test]
    fn damaged_files_are_told_and_never_taken() {
        let mut site = Site::new(Amount::Share);
        (0..9).for_each(|day| site.morning(day, |_| 0.1));
        let whole = site.normal.to_bytes();
        assert!(Normal::from_bytes(&whole).is_ok());
        for cut in [0, 5, 20, whole.len() / 2, whole.len() - 1] {
            assert!(Normal::from_bytes(&whole[..cut]).is_err(), "{cut}");
        }
        for at in (0..whole.len()).step_by(97) {
            let mut other = whole.clone();
            other[at] ^= 0x10;
            assert!(Normal::from_bytes(&other).is_err(), "{at}");
        }
        // Right sums of wrong things.
        let wrapped = |body: &str| [format!("{OLD_MARK} {:08x}\n", crc32fast::hash(body.as_bytes())).as_bytes(), body.as_bytes()].concat();
        let of = |days: &str| wrapped(&format!(r#"[{{"of":{{"word":"a","zone":null,"shape":0,"of":"share"}},"days":{days}}}]"#));
        let day = |day: i32, value: &str| {
            let slots = vec![value; SLOTS].join(",");
            format!(r#"{{"day":{day},"low":[{slots}],"high":[{slots}]}}"#)
        };
        assert!(Normal::from_bytes(&of(&format!("[{},{}]", day(1, "0.5"), day(2, "null")))).is_ok());
        for wrong in [
            of(r#"[{"day":1,"low":[],"high":[]}]"#),
            of(&format!("[{},{}]", day(2, "0.5"), day(1, "0.5"))),
            of(&format!("[{}]", day(1, "-1"))),
            of(&format!("[{}]", day(1, "1e30"))),
            of(&format!("[{}]", (0..40).map(|d| day(d, "0.5")).collect::<Vec<_>>().join(","))),
            wrapped("{}"),
            whole.strip_prefix(b"edge-seg-normal 2").map(|rest| [b"edge-seg-normal 3".as_slice(), rest].concat()).unwrap(),
            whole.strip_prefix(b"edge-seg-normal 2").map(|rest| [b"edge-seg-normal 1".as_slice(), rest].concat()).unwrap(),
        ] {
            assert!(Normal::from_bytes(&wrong).is_err(), "{}", String::from_utf8_lossy(&wrong[..60.min(wrong.len())]));
        }
    }
}
