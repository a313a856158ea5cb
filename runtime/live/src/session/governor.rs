//! Keeps a hot board running: lowers the rate of the encoder, then the size of its input, and takes both back once it has cooled.

use std::path::PathBuf;
use std::time::Duration;

use edge_seg_board::{Host, sensors};
use serde::Serialize;

use crate::{Error, Result};

/// How a governor watches.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GovernorOptions {
    /// Where `sys/class/thermal` and the Raspberry Pi's flags are looked for: `/` on a board.
    pub root: PathBuf,
    /// From which temperature a zone counts as hot, in °C; without it 5 below the zone's own lowest passive trip point, 75 where it
    /// has none. A number that is none, or infinite, is refused.
    pub hot_c: Option<f32>,
}

impl GovernorOptions {
    /// # Errors
    /// [`Error::Option`](edge_seg_model::Error::Option) if no temperature is hot, or there is none to compare with.
    pub(super) fn check(&self) -> Result<()> {
        match self.hot_c {
            Some(hot_c) if !hot_c.is_finite() => Err(Error::option("hot_c", "a temperature in °C", hot_c)),
            _ => Ok(()),
        }
    }

    /// The same with another [`root`](Self::root).
    pub fn with_root(self, root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), ..self }
    }

    /// The same with another [`hot_c`](Self::hot_c).
    pub fn with_hot_c(self, hot_c: impl Into<Option<f32>>) -> Self {
        Self { hot_c: hot_c.into(), ..self }
    }
}

impl Default for GovernorOptions {
    fn default() -> Self {
        Self { root: "/".into(), hot_c: None }
    }
}

/// What a board says of its heat.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Readings {
    /// The zone that is closest to being hot, or furthest beyond.
    pub hottest: Option<Zone>,
    /// What slows the processor down at this moment, in the board's own words.
    pub throttled: Option<String>,
}

/// A thermal zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    /// Its type, such as `cpu-thermal`.
    pub name: String,
    /// Its temperature in °C.
    pub celsius: f32,
    /// From which temperature it counts as hot, in °C.
    pub hot_c: f32,
}

impl Readings {
    /// Reads what there is; what cannot be read is left out.
    pub fn take(options: &GovernorOptions) -> Self {
        let host = Host::under(&options.root);
        let zone = |zone: sensors::Zone| {
            let hot_c = options.hot_c.unwrap_or(zone.hot_c() as f32);
            Zone { name: zone.name, celsius: zone.celsius as f32, hot_c }
        };
        let margin = |zone: &Zone| zone.celsius - zone.hot_c;
        let zones = sensors::zones(&host).into_iter().rev().map(zone);
        Self { hottest: zones.max_by(|a, b| margin(a).total_cmp(&margin(b))), throttled: sensors::slowed(&host) }
    }

    fn heat(&self) -> Heat {
        let margin = self.hottest.as_ref().map_or(f32::NEG_INFINITY, |zone| zone.celsius - zone.hot_c);
        if self.throttled.is_some() || margin >= 0.0 {
            Heat::Hot
        } else if margin <= -HYSTERESIS_C {
            Heat::Cool
        } else {
            Heat::Between
        }
    }

    fn reason(&self) -> String {
        match (&self.throttled, &self.hottest) {
            (Some(throttled), _) => throttled.clone(),
            (None, Some(zone)) => format!("{} at {:.0} °C", zone.name, zone.celsius),
            (None, None) => "no thermal zone".into(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heat {
    Hot,
    Between,
    Cool,
}

/// Degrees below hot at which a board counts as cool.
const HYSTERESIS_C: f32 = 8.0;
/// How long a board must be hot before a step down, and how long each step has to show what it does.
const HOT_FOR: Duration = Duration::from_secs(5);
/// How long a board must be cool before a step up: longer, for heat comes back with the load.
const COOL_FOR: Duration = Duration::from_secs(60);

/// What a governor allows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Allowance {
    /// Share of its time that the encoder may work.
    pub rate: f32,
    /// Factor on the side of the encoder's input.
    pub size: f32,
}

impl Allowance {
    /// As little work for the processor, by the rate alone: for input that has to keep its size.
    pub fn in_full_size(self) -> Self {
        Self { rate: self.rate * self.size * self.size, size: 1.0 }
    }
}

const LEVELS: [Allowance; 5] = [
    Allowance { rate: 1.0, size: 1.0 },
    Allowance { rate: 0.5, size: 1.0 },
    Allowance { rate: 0.25, size: 1.0 },
    Allowance { rate: 0.25, size: 0.75 },
    Allowance { rate: 0.25, size: 0.5 },
];

/// A governor's state, as it is reported with each frame.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Governed {
    /// 0 is full speed; each further one is slower.
    pub level: usize,
    /// What is allowed.
    #[serde(flatten)]
    pub allowance: Allowance,
    /// What the last change was for.
    pub reason: String,
}

/// The state machine: readings in, levels out. It knows no clock and no file.
#[derive(Debug, Default)]
pub struct Governor {
    level: usize,
    /// Which heat was read last, and since when.
    heat: Option<(Heat, Duration)>,
    reason: String,
}

impl Governor {
    /// Takes readings of a moment, which may not lie before the last one. True where the level changes.
    pub fn step(&mut self, at: Duration, readings: &Readings) -> bool {
        let heat = readings.heat();
        let since = match self.heat {
            Some((last, since)) if last == heat => since,
            _ => at,
        };
        self.heat = Some((heat, since));
        let lasted = at.saturating_sub(since);
        let level = match heat {
            Heat::Hot if lasted >= HOT_FOR => (self.level + 1).min(LEVELS.len() - 1),
            Heat::Cool if lasted >= COOL_FOR => self.level.saturating_sub(1),
            _ => self.level,
        };
        if level == self.level {
            return false;
        }
        // Each step gets its own time to act.
        (self.level, self.heat, self.reason) = (level, Some((heat, at)), readings.reason());
        true
    }

    /// What is allowed now.
    pub fn allowance(&self) -> Allowance {
        LEVELS[self.level]
    }

    /// Its state.
    pub fn state(&self) -> Governed {
        Governed { level: self.level, allowance: self.allowance(), reason: self.reason.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(celsius: f32) -> Readings {
        Readings { hottest: Some(Zone { name: "cpu-thermal".into(), celsius, hot_c: 75.0 }), throttled: None }
    }

    /// Levels over seconds that are each read once.
    fn levels(governor: &mut Governor, from: u64, readings: impl IntoIterator<Item = Readings>) -> Vec<usize> {
        let step = |(s, readings): (u64, Readings)| {
            governor.step(Duration::from_secs(s), &readings);
            governor.level
        };
        (from..).zip(readings).map(step).collect()
    }

    #[test]
    fn heat_lowers_the_rate_then_the_size_a_step_at_a_time() {
        let mut governor = Governor::default();
        let found = levels(&mut governor, 0, (0..30).map(|_| at(80.0)));
        assert_eq!(found[..5], [0; 5]);
        assert_eq!((found[5], found[9], found[10], found[15], found[20], found[29]), (1, 1, 2, 3, 4, 4));
        assert!(LEVELS.windows(2).all(|w| w[1].rate <= w[0].rate && w[1].size <= w[0].size && w[0] != w[1]));
        assert!(LEVELS.iter().all(|l| l.size == 1.0 || l.rate == LEVELS[2].rate), "the rate goes first");
        assert_eq!(governor.state().reason, "cpu-thermal at 80 °C");
    }

    #[test]
    fn input_that_keeps_its_size_is_encoded_less_often() {
        let full = LEVELS.map(Allowance::in_full_size);
        assert_eq!(full[..3], LEVELS[..3]);
        assert!(full.iter().all(|level| level.size == 1.0));
        assert!(full.windows(2).all(|w| w[1].rate < w[0].rate), "each level is a step down: {full:?}");
    }

    #[test]
    fn a_short_peak_changes_nothing_and_between_hot_and_cool_it_stays() {
        let mut governor = Governor::default();
        let peaks = (0..40).map(|s| if s % 5 == 4 { at(70.0) } else { at(90.0) });
        assert!(levels(&mut governor, 0, peaks).iter().all(|&l| l == 0));
        levels(&mut governor, 40, (0..6).map(|_| at(75.0)));
        assert_eq!(governor.level, 1);
        assert!(levels(&mut governor, 46, (0..600).map(|_| at(70.0))).iter().all(|&l| l == 1), "70 is neither hot nor cool");
    }

    #[test]
    fn it_comes_back_once_the_board_is_cool() {
        let mut governor = Governor::default();
        levels(&mut governor, 0, (0..11).map(|_| at(80.0)));
        assert_eq!(governor.level, 2);
        let found = levels(&mut governor, 11, (0..130).map(|_| at(60.0)));
        assert_eq!((found[59], found[60], found[119], found[120], found[129]), (2, 1, 1, 0, 0));
    }

    #[test]
    fn throttling_counts_as_heat_at_any_temperature_and_a_board_without_sensors_runs_on() {
        let mut governor = Governor::default();
        let throttled = Readings { throttled: Some("under-voltage".into()), ..at(40.0) };
        levels(&mut governor, 0, (0..6).map(|_| throttled.clone()));
        assert_eq!((governor.level, governor.state().reason.as_str()), (1, "under-voltage"));
        let mut governor = Governor::default();
        assert!(levels(&mut governor, 0, (0..600).map(|_| Readings::default())).iter().all(|&l| l == 0));
    }

    #[test]
    fn readings_are_the_boards_and_a_bound_of_ones_own_goes_before_its() {
        let root = tempfile::tempdir().unwrap();
        let read = |hot_c| Readings::take(&GovernorOptions { root: root.path().into(), hot_c });
        assert_eq!(read(None), Readings::default());
        for (path, text) in [
            ("sys/class/thermal/thermal_zone0/type", "cpu-thermal"),
            ("sys/class/thermal/thermal_zone0/temp", "80000"),
            ("sys/class/thermal/thermal_zone0/trip_point_0_type", "passive"),
            ("sys/class/thermal/thermal_zone0/trip_point_0_temp", "99000"),
        ] {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let hottest = Zone { name: "cpu-thermal".into(), celsius: 80.0, hot_c: 94.0 };
        assert_eq!(read(None), Readings { hottest: Some(hottest), throttled: None });
        assert_ne!(read(None).heat(), Heat::Hot);
        assert_eq!(read(Some(70.0)).heat(), Heat::Hot);
        let flags = root.path().join("sys/devices/platform/soc/soc:firmware/get_throttled");
        std::fs::create_dir_all(flags.parent().unwrap()).unwrap();
        std::fs::write(flags, "50005\n").unwrap();
        assert_eq!(read(None).throttled.as_deref(), Some("under-voltage, throttled"));
        assert_eq!(read(None).heat(), Heat::Hot);
    }
}
