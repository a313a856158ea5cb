//! What the system tells of the machine and of this process.

use std::fmt;
use std::fs;

use edge_seg_board::processor::cpuinfo;
use edge_seg_board::{Host, sensors};
use serde::Serialize;

/// The processor, and how warm and fast it is now.
#[derive(Debug, Default, Serialize)]
pub struct Machine {
    pub processor: Option<String>,
    pub cores: usize,
    pub sensors: Vec<Sensor>,
    /// Each core's clock now, where the system tells.
    pub clock_mhz: Vec<f64>,
    /// A Raspberry Pi's flags: 0 where it never was too warm nor short of power. Of other boards what slows them down now, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled: Option<String>,
    /// The same before the frames that count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Machine>>,
}

/// A temperature.
#[derive(Debug, Serialize)]
pub struct Sensor {
    pub name: String,
    pub celsius: f64,
}

impl Machine {
    pub fn read() -> Self {
        Self::read_at(&Host::live())
    }

    /// As [`Self::read`], from the files under another root.
    fn read_at(host: &Host) -> Self {
        let text = |path: &str| Some(host.text(path)?.trim_matches(['\0', '\n', ' ']).to_owned());
        let cpu = cpuinfo(&host.text("proc/cpuinfo").unwrap_or_default());
        let family = cpu.family.map(|(family, model)| format!(", family {family} model {model}")).unwrap_or_default();
        let processor = text("proc/device-tree/model").or_else(|| cpu.model_name.map(|name| name + &family)).or(cpu.board);
        let clocks = |i: usize| text(&format!("sys/devices/system/cpu/cpu{i}/cpufreq/scaling_cur_freq"))?.parse::<f64>().ok();
        let mut clock_mhz: Vec<f64> = (0..).map_while(clocks).map(|khz| khz / 1e3).collect();
        if clock_mhz.is_empty() {
            clock_mhz = cpu.clock_mhz;
        }
        Self {
            processor,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            sensors: sensors::zones(host).into_iter().map(|zone| Sensor { name: zone.name, celsius: zone.celsius }).collect(),
            clock_mhz,
            throttled: sensors::flags(host).map(|(_, flags)| format!("{flags:x}")).or_else(|| sensors::slowed(host)),
            before: None,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} cores", self.processor.as_deref().unwrap_or("unknown processor"), self.cores)?;
        let warmest = |machine: &Machine| machine.sensors.iter().map(|s| s.celsius).reduce(f64::max);
        let fastest = |machine: &Machine| machine.clock_mhz.iter().copied().reduce(f64::max);
        let before = |value: fn(&Machine) -> Option<f64>| self.before.as_deref().and_then(value);
        if let Some(now) = fastest(self) {
            write!(f, ", {:.0} → {now:.0} MHz", before(fastest).unwrap_or(now))?;
        }
        if let Some(now) = warmest(self) {
            write!(f, ", {:.0} → {now:.0} °C", before(warmest).unwrap_or(now))?;
        }
        match self.throttled.as_deref() {
            Some(flags) if flags != "0" && flags != "0x0" => write!(f, ", throttled ({flags})"),
            _ => Ok(()),
        }
    }
}

/// The most memory that this process ever had in use.
pub fn peak_memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

/// Processor time of this process's living threads.
pub fn cpu_ms() -> Option<f64> {
    let mut total = 0.0;
    for task in fs::read_dir("/proc/self/task").ok()?.flatten() {
        let Ok(stat) = fs::read_to_string(task.path().join("schedstat")) else { continue };
        total += stat.split(' ').next()?.parse::<f64>().ok()?;
    }
    (total > 0.0).then_some(total / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_board_tells_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("proc/cpuinfo", "processor\t: 0\nCPU part\t: 0xd0b\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n");
        put("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0");
        put("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "2400000\n");
        put("sys/class/thermal/thermal_zone0/type", "asleep\n");
        put("sys/class/thermal/thermal_zone7/type", "PMIC-Die\n");
        put("sys/class/thermal/thermal_zone7/temp", "100000\n");
        put("sys/class/thermal/thermal_zone4/type", "cpu-thermal\n");
        put("sys/class/thermal/thermal_zone4/temp", "61500\n");
        put("sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled", "50005\n");
        let machine = Machine::read_at(&Host::under(root));
        assert_eq!(machine.processor.as_deref(), Some("Raspberry Pi 5 Model B Rev 1.0"));
        assert_eq!(machine.clock_mhz, [2400.0]);
        assert_eq!((machine.sensors.len(), machine.sensors[0].celsius), (1, 61.5));
        let shown = machine.to_string();
        assert!(shown.contains("2400 MHz") && shown.contains("62 °C") && shown.contains("throttled (50005)"), "{shown}");
        assert_eq!(Machine::read_at(&Host::under("/nowhere")).processor, None);
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        assert!(peak_memory_bytes().is_none_or(|bytes| bytes > 100_000));
        assert!(cpu_ms().is_none_or(|ms| ms > 0.0));
    }
}
