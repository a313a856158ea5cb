//! The processor, as /proc/cpuinfo and the device tree tell it.
//!
//! ```
//! use edge_seg_board::processor::{core_name, cpuinfo};
//! let info = cpuinfo("processor : 0\nFeatures : fp asimd asimddp\nCPU implementer : 0x41\nCPU part : 0xd0b\n");
//! assert_eq!(core_name(info.parts[0].0, info.parts[0].1), Some(("Cortex-A76", false)));
//! assert!(info.features.contains("asimddp"));
//! ```

use std::collections::BTreeSet;

/// What /proc/cpuinfo says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CpuInfo {
    /// Number of processors that the kernel brought up.
    pub processors: usize,
    /// Distinct physical cores, where the file names them (x86); otherwise `processors`.
    pub physical: usize,
    /// Per processor: (implementer, part), on Arm.
    pub parts: Vec<(u32, u32)>,
    /// Model name, as x86 and some vendors' kernels give it.
    pub model_name: Option<String>,
    /// Family and model numbers, on x86: one model name may stand for several processors.
    pub family: Option<(String, String)>,
    /// The board's own name, as Raspberry Pi's kernels add it.
    pub board: Option<String>,
    /// Clock of each processor now, on x86.
    pub clock_mhz: Vec<f64>,
    /// Features that every processor has.
    pub features: BTreeSet<String>,
    /// `CPU architecture` of the first processor, on Arm.
    pub architecture: Option<u32>,
}

/// Reads /proc/cpuinfo of Arm and x86 kernels. Unknown lines are passed over: kernels add some.
pub fn cpuinfo(text: &str) -> CpuInfo {
    let mut info = CpuInfo::default();
    let mut cores = BTreeSet::new();
    let (mut package, mut implementer) = (String::new(), 0);
    let (mut family, mut model) = (None, None);
    let mut first = true;
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match key.trim() {
            "processor" if value.parse::<usize>().is_ok() => info.processors += 1,
            "model name" if info.model_name.is_none() => info.model_name = Some(value.to_string()),
            "cpu family" if family.is_none() => family = Some(value.to_string()),
            "model" if model.is_none() => model = Some(value.to_string()),
            "Model" if info.board.is_none() => info.board = Some(value.to_string()),
            "cpu MHz" => info.clock_mhz.extend(value.parse::<f64>().ok()),
            "Features" | "flags" => {
                let found: BTreeSet<String> = value.split_whitespace().map(String::from).collect();
                info.features = if first { found } else { info.features.intersection(&found).cloned().collect() };
                first = false;
            }
            "CPU implementer" => implementer = number(value).unwrap_or(0),
            "CPU part" => info.parts.push((implementer, number(value).unwrap_or(0))),
            "CPU architecture" if info.architecture.is_none() => info.architecture = number(value),
            "physical id" => package = value.to_string(),
            "core id" => {
                cores.insert((package.clone(), value.to_string()));
            }
            _ => {}
        }
    }
    info.family = family.zip(model);
    info.physical = if cores.is_empty() { info.processors } else { cores.len() };
    info
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The strings of a device-tree property, which ends each with a NUL.
pub fn device_tree_strings(bytes: &[u8]) -> Vec<String> {
    bytes.split(|b| *b == 0).filter(|part| !part.is_empty()).map(|part| String::from_utf8_lossy(part).trim().to_string()).collect()
}

/// A processor core by (implementer, part): its name, and whether it is a little one.
pub fn core_name(implementer: u32, part: u32) -> Option<(&'static str, bool)> {
    Some(match (implementer, part) {
        (0x41, 0xd03) => ("Cortex-A53", true),
        (0x41, 0xd04) => ("Cortex-A35", true),
        (0x41, 0xd05) => ("Cortex-A55", true),
        (0x41, 0xd07) => ("Cortex-A57", false),
        (0x41, 0xd08) => ("Cortex-A72", false),
        (0x41, 0xd09) => ("Cortex-A73", false),
        (0x41, 0xd0a) => ("Cortex-A75", false),
        (0x41, 0xd0b) => ("Cortex-A76", false),
        (0x41, 0xd0c) => ("Neoverse-N1", false),
        (0x41, 0xd40) => ("Neoverse-V1", false),
        (0x41, 0xd41) => ("Cortex-A78", false),
        (0x41, 0xd42) => ("Cortex-A78AE", false),
        (0x41, 0xd46) => ("Cortex-A510", true),
        (0x41, 0xd47) => ("Cortex-A710", false),
        (0x41, 0xd83) => ("Neoverse-V3AE", false),
        (0x41, 0xd84) => ("Neoverse-V3", false),
        (0x4e, 0x003) => ("Denver 2", false),
        (0x4e, 0x004) => ("Carmel", false),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_those_of_every_core() {
        let text = "processor : 0\nFeatures : fp asimd asimddp\nCPU implementer : 0x41\nCPU part : 0xd0b\n\
                    processor : 1\nFeatures : fp asimd\nCPU implementer : 0x41\nCPU part : 0xd05\n";
        let info = cpuinfo(text);
        assert_eq!(info.processors, 2);
        assert_eq!(info.parts, [(0x41, 0xd0b), (0x41, 0xd05)]);
        assert!(info.features.contains("asimd") && !info.features.contains("asimddp"));
    }

    #[test]
    fn a_pc_names_its_processor_and_clocks() {
        let text = "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 140\nmodel name\t: Some CPU @ 3.00GHz\ncpu MHz\t\t: 2995.2\n\
                    processor\t: 1\ncpu family\t: 6\nmodel\t\t: 140\nmodel name\t: Some CPU @ 3.00GHz\ncpu MHz\t\t: 1200\n";
        let info = cpuinfo(text);
        assert_eq!(info.model_name.as_deref(), Some("Some CPU @ 3.00GHz"));
        assert_eq!(info.family, Some(("6".into(), "140".into())));
        assert_eq!((info.clock_mhz, info.board), (vec![2995.2, 1200.0], None));
    }

    #[test]
    fn thors_cores_have_a_name() {
        assert_eq!(core_name(0x41, 0xd83), Some(("Neoverse-V3AE", false)));
        assert_eq!(core_name(0x41, 0xfff), None);
    }

    #[test]
    fn garbage_gives_nothing_and_never_panics() {
        let mut seed = 7u64;
        for _ in 0..2000 {
            let text: String = (0..64)
                .map(|_| {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    char::from(b" :\n0x=,kBRMemTotalprocessor#(\""[(seed >> 33) as usize % 30])
                })
                .collect();
            cpuinfo(&text);
            assert!(device_tree_strings(text.as_bytes()).len() <= 1);
        }
    }
}
