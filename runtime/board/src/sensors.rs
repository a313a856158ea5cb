//! How a board is doing: temperatures, and what holds its processor back.
//!
//! ```
//! use edge_seg_board::{Host, sensors};
//! for zone in sensors::zones(&Host::live()) {
//!     println!("{}: {:.1} of {:.1} °C", zone.name, zone.celsius, zone.hot_c());
//! }
//! assert_eq!(sensors::hottest(&Host::under("/nowhere")), None);
//! ```

use serde::Serialize;

use crate::Host;

/// A thermal zone that gives a reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    /// Its folder's name, which no other zone has, such as `thermal_zone0`.
    pub id: String,
    /// Its type, such as `cpu-thermal`; several zones may be of one.
    pub name: String,
    /// Its temperature in °C.
    pub celsius: f64,
    /// Its lowest passive trip point, at which the kernel begins to slow the board down, in °C.
    pub trip_c: Option<f64>,
}

impl Zone {
    /// From which temperature it counts as hot, in °C: shortly before the kernel slows the board down.
    pub fn hot_c(&self) -> f64 {
        self.slowed_c() - BELOW_TRIP_C
    }

    /// From which temperature the board slows down, in °C.
    pub fn slowed_c(&self) -> f64 {
        self.trip_c.unwrap_or(TRIP_C)
    }
}

/// Zones of the kernel that are no temperature of the board: a constant of Tegra's power chip, a control value of its fan.
const NO_ZONES: [&str; 2] = ["PMIC-Die", "thermal-fan-est"];
/// Where a board tells no trip point: the temperature at which a Raspberry Pi slows down.
const TRIP_C: f64 = 80.0;
const BELOW_TRIP_C: f64 = 5.0;
/// Cooling devices that hold a clock down begin with one of these; fans do not.
const SLOWING: [&str; 4] = ["cpu", "gpu", "thermal-cpufreq", "thermal-devfreq"];
const THERMAL: &str = "sys/class/thermal";

/// The thermal zones, in the kernel's order of names; one that cannot be read is left out.
pub fn zones(host: &Host) -> Vec<Zone> {
    let zone = |id: String| {
        let at = |file: &str| host.text(&format!("{THERMAL}/{id}/{file}")).map(|text| text.trim().to_owned());
        let celsius = |file: &str| at(file)?.parse::<f64>().ok().map(|milli| milli / 1e3).filter(|c| (-55.0..=150.0).contains(c));
        let name = at("type").filter(|name| !NO_ZONES.contains(&name.as_str()))?;
        let now = celsius("temp")?;
        let trips = (0..16).map_while(|n| Some((at(&format!("trip_point_{n}_type"))?, n)));
        let passive = trips.filter(|(kind, _)| kind == "passive").filter_map(|(_, n)| celsius(&format!("trip_point_{n}_temp")));
        let trip_c = passive.filter(|c| *c > 0.0).min_by(f64::total_cmp);
        Some(Zone { id, name, celsius: now, trip_c })
    };
    host.list(THERMAL).into_iter().filter(|name| name.starts_with("thermal_zone")).filter_map(zone).collect()
}

/// Throttling as the board reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Throttling {
    /// Where the reading came from.
    pub source: String,
    /// What holds now.
    pub now: Vec<String>,
    /// What has happened since the board started.
    pub since_boot: Vec<String>,
}

/// What bits 0 to 3 of a Raspberry Pi's `get_throttled` say of this moment; bits 16 to 19 say the same of the time since boot.
const FLAGS: [&str; 4] = ["under-voltage", "frequency capped", "throttled", "soft temperature limit"];

impl Throttling {
    /// What a Raspberry Pi's flags say.
    pub fn of_flags(source: &str, flags: u32) -> Self {
        let named =
            |shift: usize| (0..FLAGS.len()).filter(|bit| flags & (1 << (bit + shift)) != 0).map(|bit| FLAGS[bit].to_owned()).collect();
        Self { source: source.into(), now: named(0), since_boot: named(16) }
    }
}

/// A Raspberry Pi's flags out of `vcgencmd get_throttled` (`throttled=0x50005`) or the kernel's file (`50005`).
pub fn parse_flags(text: &str) -> Option<u32> {
    let value = text.trim();
    let value = value.strip_prefix("throttled=").unwrap_or(value);
    u32::from_str_radix(value.strip_prefix("0x").unwrap_or(value), 16).ok()
}

/// A Raspberry Pi's flags and the file that told them. The firmware's node is `soc:firmware` below `soc`, or, on a Pi 5,
/// `soc@107c000000:firmware` below `soc@107c000000`; some kernels have neither.
pub fn flags(host: &Host) -> Option<(String, u32)> {
    const PLATFORM: &str = "sys/devices/platform";
    for soc in host.list(PLATFORM).into_iter().filter(|name| name.starts_with("soc")) {
        for firmware in host.list(&format!("{PLATFORM}/{soc}")).into_iter().filter(|name| name.ends_with(":firmware")) {
            let path = format!("{PLATFORM}/{soc}/{firmware}/get_throttled");
            if let Some(flags) = host.text(&path).and_then(|text| parse_flags(&text)) {
                return Some((path, flags));
            }
        }
    }
    None
}

/// Throttling, one entry for each source that answers.
pub fn throttling(host: &Host) -> Vec<Throttling> {
    let mut found: Vec<_> = flags(host).map(|(source, flags)| Throttling::of_flags(&source, flags)).into_iter().collect();
    for name in host.list("sys/class/hwmon") {
        let at = |file: &str| host.text(&format!("sys/class/hwmon/{name}/{file}")).map(|text| text.trim().to_owned());
        match at("name").as_deref() {
            Some("rpi_volt") => {
                if let Some(alarm) = at("in0_lcrit_alarm") {
                    let now = if alarm == "1" { vec!["under-voltage".into()] } else { Vec::new() };
                    found.push(Throttling { source: "rpi_volt in0_lcrit_alarm".into(), now, since_boot: Vec::new() });
                }
            }
            Some("soctherm_oc") => {
                let count = |i: usize| at(&format!("oc{i}_event_cnt"))?.parse::<u64>().ok().filter(|count| *count > 0);
                let event = |i: usize| Some(format!("over-current event oc{i}, {} times", count(i)?));
                let since_boot = (1..=3).filter_map(event).collect();
                found.push(Throttling { source: "soctherm over-current counters".into(), now: Vec::new(), since_boot });
            }
            _ => {}
        }
    }
    // A cooling device that holds the processor's clock down is throttling by another name.
    let (mut now, mut seen) = (Vec::new(), false);
    for name in host.list(THERMAL).into_iter().filter(|name| name.starts_with("cooling_device")) {
        let at = |file: &str| host.text(&format!("{THERMAL}/{name}/{file}")).map(|text| text.trim().to_owned());
        let kind = at("type").unwrap_or_default();
        if SLOWING.iter().any(|start| kind.starts_with(start)) {
            seen = true;
            let state = at("cur_state").and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
            now.extend((state > 0).then(|| format!("{kind} at step {state}")));
        }
    }
    if seen {
        found.push(Throttling { source: "thermal cooling devices".into(), now, since_boot: Vec::new() });
    }
    found
}

/// The zone that is closest to being hot, or furthest beyond; of equal ones the first.
pub fn hottest(host: &Host) -> Option<Zone> {
    zones(host).into_iter().rev().max_by(|a, b| (a.celsius - a.hot_c()).total_cmp(&(b.celsius - b.hot_c())))
}

/// What slows the processor down at this moment, in the board's own words; none where nothing does.
pub fn slowed(host: &Host) -> Option<String> {
    let mut now: Vec<String> = Vec::new();
    for what in throttling(host).into_iter().flat_map(|source| source.now) {
        if !now.contains(&what) {
            now.push(what);
        }
    }
    (!now.is_empty()).then(|| now.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tree(tempfile::TempDir);

    fn tree(files: &[(&str, &str)]) -> Tree {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Tree(root)
    }

    impl Tree {
        fn host(&self) -> Host {
            Host::under(self.0.path())
        }
    }

    #[test]
    fn a_raspberry_pis_flags_are_found_wherever_its_firmware_is() {
        for node in ["soc/soc:firmware", "soc@107c000000/soc@107c000000:firmware"] {
            let path = format!("sys/devices/platform/{node}/get_throttled");
            let with = |text: &str| tree(&[(&path, text)]);
            let found = throttling(&with("50005\n").host());
            assert_eq!(found[0].source, path);
            assert_eq!(found[0].now, ["under-voltage", "throttled"]);
            assert_eq!(found[0].since_boot, ["under-voltage", "throttled"]);
            assert_eq!(slowed(&with("50005").host()).as_deref(), Some("under-voltage, throttled"));
            assert_eq!(slowed(&with("50000").host()), None, "what is over slows nothing down");
            assert!(throttling(&with("garbage").host()).is_empty());
        }
    }

    #[test]
    fn a_kernel_without_flags_tells_by_its_voltage_sensor() {
        let volt = ("sys/class/hwmon/hwmon1/name", "rpi_volt\n");
        let low = tree(&[volt, ("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")]);
        assert_eq!(slowed(&low.host()).as_deref(), Some("under-voltage"));
        let both = [volt, ("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n"), ("sys/devices/platform/soc/soc:firmware/get_throttled", "1")];
        assert_eq!(slowed(&tree(&both).host()).as_deref(), Some("under-voltage"), "said once");
        assert_eq!(slowed(&tree(&[volt, ("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0\n")]).host()), None);
    }

    #[test]
    fn both_spellings_of_flags_are_read_and_others_are_not() {
        assert_eq!(parse_flags("throttled=0x50005\n"), Some(0x50005));
        assert_eq!(parse_flags("50005\n"), Some(0x50005));
        assert_eq!(parse_flags("VCHI initialization failed"), None);
        assert_eq!(parse_flags(""), None);
    }

    #[test]
    fn zones_bring_their_trip_points_and_constants_are_none() {
        let board = tree(&[
            ("sys/class/thermal/thermal_zone0/type", "cpu-thermal"),
            ("sys/class/thermal/thermal_zone0/temp", "80000"),
            ("sys/class/thermal/thermal_zone0/trip_point_0_type", "critical"),
            ("sys/class/thermal/thermal_zone0/trip_point_0_temp", "104500"),
            ("sys/class/thermal/thermal_zone0/trip_point_1_type", "passive"),
            ("sys/class/thermal/thermal_zone0/trip_point_1_temp", "99000"),
            ("sys/class/thermal/thermal_zone1/type", "PMIC-Die"),
            ("sys/class/thermal/thermal_zone1/temp", "100000"),
            ("sys/class/thermal/thermal_zone2/type", "gpu-thermal"),
            ("sys/class/thermal/thermal_zone2/temp", "broken"),
            ("sys/class/thermal/thermal_zone4/type", "board"),
            ("sys/class/thermal/thermal_zone4/temp", "71234"),
            ("sys/class/thermal/cooling_device0/type", "pwm-fan"),
            ("sys/class/thermal/cooling_device0/cur_state", "3"),
        ]);
        let zones = zones(&board.host());
        let found: Vec<_> = zones.iter().map(|zone| (zone.id.as_str(), zone.celsius, zone.hot_c(), zone.slowed_c())).collect();
        assert_eq!(found, [("thermal_zone0", 80.0, 94.0, 99.0), ("thermal_zone4", 71.234, 75.0, 80.0)]);
        assert_eq!(hottest(&board.host()).unwrap().name, "board", "71 of 75 is closer than 80 of 94");
        assert_eq!(slowed(&board.host()), None, "a fan that turns is no throttling");
        let cooled = [("sys/class/thermal/cooling_device1/type", "cpufreq-cpu0"), ("sys/class/thermal/cooling_device1/cur_state", "2")];
        assert_eq!(slowed(&tree(&cooled).host()).as_deref(), Some("cpufreq-cpu0 at step 2"));
        assert_eq!(hottest(&Host::under("/nowhere")), None);
    }
}
