//! Settings that go with the time of the day, or with the light.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::clock::{DAY_S, LocalTime};
use edge_seg_bundle::date::parse_clock;
use edge_seg_model::image::RgbImage;
use edge_seg_model::{Class, parse_classes};

/// What is looked for, and how, at some times.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Profile {
    /// What conditions and reports call it.
    pub name: String,
    /// When it begins by the local clock, in seconds since midnight.
    #[serde(default, deserialize_with = "time_of_day")]
    pub from: Option<u32>,
    /// When it is over; before `from` it is on the next day.
    #[serde(default, deserialize_with = "time_of_day")]
    pub to: Option<u32>,
    /// It is on while the picture's mean brightness is below this, in 0..1.
    #[serde(default)]
    pub darker_than: Option<f64>,
    /// It is on while the picture's mean brightness is above this, in 0..1.
    #[serde(default)]
    pub brighter_than: Option<f64>,
    /// Seconds for which the light must have changed.
    #[serde(default = "default_settle_s")]
    pub settle_s: f64,
    /// The words that are looked for then, separated by commas; those of the list if none.
    #[serde(default)]
    pub words: Option<String>,
    /// Words and the scores from which they count then.
    #[serde(default)]
    pub thresholds: BTreeMap<String, f32>,
    /// The score below which there is background then.
    #[serde(default)]
    pub background: Option<f32>,
}

fn default_settle_s() -> f64 {
    30.0
}

fn time_of_day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = || serde::de::Error::custom(format!("expected a time of the day as 22:30, found {text:?}"));
    let of_day = parse_clock(&text).ok_or_else(wrong)?;
    Ok(Some(of_day.as_secs() as u32))
}

/// Light must pass what a profile begins at by this factor, and by [`LEAST_STEP`], before it is over: it would come and go at dusk.
const HYSTERESIS: f64 = 1.25;
const LEAST_STEP: f64 = 0.02;

impl Profile {
    /// What is wrong with it: expected and found.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let wrong = |expected: &str, found: String| Err((expected.to_owned(), found));
        if self.name.trim().is_empty() {
            return wrong("a name", "none".into());
        }
        match (self.from, self.to) {
            (Some(from), Some(to)) if from == to => return wrong("other times in from and to", "the same".into()),
            (Some(from), Some(to)) if from.max(to) >= DAY_S => return wrong("times before 24:00", format!("{from} s and {to} s")),
            (Some(_), None) | (None, Some(_)) => return wrong("from and to", "one of them".into()),
            (None, None) if !self.needs_light() => return wrong("from and to, darker_than or brighter_than", "none".into()),
            _ => {}
        }
        let levels = [("darker_than", self.darker_than), ("brighter_than", self.brighter_than)];
        let levels = levels.into_iter().chain([("background", self.background.map(f64::from))]);
        let own = self.thresholds.iter().map(|(word, threshold)| (word.as_str(), Some(f64::from(*threshold))));
        for (key, level) in levels.chain(own) {
            if let Some(level) = level.filter(|level| !(0.0..=1.0).contains(level)) {
                return wrong(&format!("{key} of 0 to 1"), level.to_string());
            }
        }
        if self.darker_than.is_some() && self.brighter_than.is_some() {
            return wrong("one of darker_than and brighter_than", "both".into());
        }
        if !(0.0..=f64::from(DAY_S)).contains(&self.settle_s) {
            return wrong("settle_s of seconds, up to a day", self.settle_s.to_string());
        }
        self.classes().map(drop).map_err(|e| ("words".into(), e.to_string()))
    }

    /// The words that are looked for while it is on, as they are written.
    ///
    /// # Errors
    /// [`Words`](edge_seg_model::Error::Words) if they cannot be used.
    pub fn classes(&self) -> edge_seg_model::Result<Option<Vec<Class>>> {
        self.words.as_deref().map(|words| parse_classes(&format!("profile {:?}", self.name), words)).transpose()
    }

    /// Whether it goes with the light.
    pub fn needs_light(&self) -> bool {
        self.darker_than.is_some() || self.brighter_than.is_some()
    }

    fn is_time(&self, local: LocalTime) -> bool {
        let (Some(from), Some(to)) = (self.from, self.to) else { return true };
        let (begun, over) = (local.second >= from, local.second >= to);
        if from < to { begun && !over } else { begun || !over }
    }

    /// Whether the light is one that it holds in.
    fn is_light(&self, brightness: f64, is_on: bool) -> bool {
        let darker = self.darker_than.is_none_or(|level| {
            let level = if is_on { (level * HYSTERESIS).max(level + LEAST_STEP) } else { level };
            brightness < level
        });
        let brighter = self.brighter_than.is_none_or(|level| {
            let level = if is_on { (level / HYSTERESIS).min(level - LEAST_STEP) } else { level };
            brightness > level
        });
        darker && brighter
    }
}

/// Which profile is on, over the frames of a session.
#[derive(Debug, Clone, Default)]
pub(super) struct Schedule {
    profiles: Vec<Profile>,
    lights: Vec<Light>,
    current: Option<usize>,
}

/// What is known of the light that a profile waits for.
#[derive(Debug, Clone, Copy, Default)]
struct Light {
    /// None before the first frame.
    on: Option<bool>,
    /// Since when it has been otherwise.
    since: Option<Duration>,
}

impl Schedule {
    pub fn new(profiles: &[Profile]) -> Self {
        Self { profiles: profiles.into(), lights: vec![Light::default(); profiles.len()], current: None }
    }

    /// What was known of profiles that are the same stays.
    pub fn take_over(&mut self, old: &Self) {
        for (profile, light) in old.profiles.iter().zip(&old.lights) {
            if let Some(at) = self.profiles.iter().position(|new| new == profile) {
                self.lights[at] = *light;
            }
        }
        self.current = old.current().and_then(|current| self.profiles.iter().position(|new| new == current));
    }

    pub fn current(&self) -> Option<&Profile> {
        self.current.and_then(|at| self.profiles.get(at))
    }

    pub fn needs_light(&self) -> bool {
        self.profiles.iter().any(Profile::needs_light)
    }

    /// Takes a frame's times and its brightness, where it is known: the first profile whose time and light it is, is on.
    pub fn step(&mut self, local: LocalTime, now: Duration, brightness: Option<f64>) {
        for (profile, light) in self.profiles.iter().zip(&mut self.lights) {
            if let Some(brightness) = brightness.filter(|_| profile.needs_light()) {
                light.take(profile, now, brightness);
            }
        }
        let holds = |(profile, light): (&Profile, &Light)| profile.is_time(local) && (!profile.needs_light() || light.on == Some(true));
        self.current = self.profiles.iter().zip(&self.lights).position(holds);
    }
}

impl Light {
    fn take(&mut self, profile: &Profile, now: Duration, brightness: f64) {
        let Some(on) = self.on else {
            // A camera that starts at night starts with the night's settings.
            self.on = Some(profile.is_light(brightness, false));
            return;
        };
        if profile.is_light(brightness, on) == on {
            self.since = None;
            return;
        }
        // A clock that starts again says nothing of how long it has been.
        let since = self.since.filter(|since| *since <= now).unwrap_or(now);
        self.since = Some(since);
        if now - since >= Duration::from_secs_f64(profile.settle_s) {
            (self.on, self.since) = (Some(!on), None);
        }
    }
}

/// Every so many pixels across and down are looked at: of 1280×720, fourteen thousand.
const BRIGHTNESS_STEP: usize = 8;

/// Mean luma of a picture (ITU-R BT.601), in 0..1, for [`Watcher::light`](super::Watcher::light).
pub fn brightness(picture: &RgbImage) -> f64 {
    let width = picture.width().max(1) as usize;
    let (mut sum, mut pixels) = (0u64, 0u64);
    for row in picture.as_raw().chunks_exact(3 * width).step_by(BRIGHTNESS_STEP) {
        for pixel in row.chunks_exact(3).step_by(BRIGHTNESS_STEP) {
            sum += 299 * u64::from(pixel[0]) + 587 * u64::from(pixel[1]) + 114 * u64::from(pixel[2]);
            pixels += 1;
        }
    }
    sum as f64 / (255_000 * pixels.max(1)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(text: &str) -> Profile {
        toml::from_str(&format!("name = \"p\"\n{text}")).unwrap()
    }

    fn clock(text: &str) -> LocalTime {
        LocalTime { day: 0, second: parse_clock(text).unwrap().as_secs() as u32 }
    }

    #[test]
    fn times_go_over_midnight() {
        let mut schedule = Schedule::new(&[
            profile("from = \"22:00\"\nto = \"06:30\""),
            Profile { name: "noon".into(), ..profile("from = \"12:00\"\nto = \"23:00\"") },
        ]);
        let on = |time: &str| {
            schedule.step(clock(time), Duration::ZERO, None);
            schedule.current().map_or("-".into(), |profile| profile.name.clone())
        };
        let times = ["00:00", "06:29", "06:30", "11:59:59", "12:00", "21:59", "22:00", "23:59"];
        assert_eq!(times.map(on), ["p", "p", "-", "-", "noon", "noon", "p", "p"], "the first that holds is on");
    }

    #[test]
    fn dusk_and_headlights_switch_nothing_to_and_fro() {
        let mut schedule = Schedule::new(&[profile("darker_than = 0.2\nsettle_s = 10")]);
        let mut at = 0;
        let mut on = |seconds: u64, brightness: f64| {
            at += seconds;
            schedule.step(clock("12:00"), Duration::from_secs(at), Some(brightness));
            schedule.current().is_some()
        };
        assert!(on(0, 0.1), "it is night at the start");
        assert!(on(1, 0.9) && on(9, 0.9) && on(1, 0.1) && on(9, 0.9), "a light that passes");
        assert!(on(20, 0.22) && on(20, 0.22), "dusk");
        assert!(on(1, 0.3) && !on(10, 0.3), "morning");
        assert!(!on(20, 0.22) && !on(20, 0.22) && !on(20, 0.19) && on(10, 0.19), "evening");
    }

    #[test]
    fn brightness_that_nobody_knows_changes_nothing() {
        let mut schedule = Schedule::new(&[profile("brighter_than = 0.5\nsettle_s = 0")]);
        let mut on = |brightness| {
            schedule.step(clock("12:00"), Duration::ZERO, brightness);
            schedule.current().is_some()
        };
        assert_eq!([None, Some(0.6), None, Some(0.45), Some(0.3), None].map(&mut on), [false, true, true, true, false, false]);
    }

    #[test]
    fn wrong_profiles_are_told() {
        for (text, complaint) in [
            ("", "from and to, darker_than or brighter_than"),
            ("from = \"22:00\"", "from and to"),
            ("from = \"22:00\"\nto = \"22:00\"", "other times"),
            ("darker_than = 2", "darker_than of 0 to 1"),
            ("darker_than = 0.1\nbrighter_than = 0.2", "one of darker_than and brighter_than"),
            ("darker_than = 0.1\nsettle_s = -1", "settle_s of seconds"),
            ("darker_than = 0.1\nbackground = nan", "background of 0 to 1"),
            ("darker_than = 0.1\nthresholds = { dog = 7 }", "dog of 0 to 1"),
            ("darker_than = 0.1\nwords = \"dog, dog\"", "words"),
        ] {
            let (expected, _) = profile(text).check().expect_err(text);
            assert!(expected.contains(complaint), "{text}: {expected}");
        }
        for text in ["from = \"24:00\"\nto = \"06:00\"", "from = \"6\"\nto = \"7\"", "from = 6\nto = 7", "until = \"07:00\""] {
            assert!(toml::from_str::<Profile>(&format!("name = \"p\"\n{text}")).is_err(), "{text}");
        }
        assert_eq!(profile("from = \"22:00\"\nto = \"06:00\"\nwords = \"dog, torch\"\nthresholds = { dog = 0.4 }").check(), Ok(()));
    }

    #[test]
    fn brightness_is_of_the_whole_picture() {
        let of =
            |width, height, value: fn(u32, u32) -> [u8; 3]| brightness(&RgbImage::from_fn(width, height, |x, y| image::Rgb(value(x, y))));
        assert_eq!(of(7, 5, |_, _| [255; 3]), 1.0);
        assert_eq!(of(64, 64, |_, _| [0; 3]), 0.0);
        assert!((of(640, 480, |x, _| if x < 320 { [255; 3] } else { [0; 3] }) - 0.5).abs() < 0.02);
        assert!((of(640, 480, |_, _| [0, 255, 0]) - 0.587).abs() < 1e-6);
        assert_eq!(brightness(&RgbImage::default()), 0.0);
    }
}
