//! Pure parsers of the text that boards keep in /proc, /sys and /etc.

use std::collections::BTreeSet;

/// What /proc/cpuinfo says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CpuInfo {
    /// Number of processors that the kernel brought up.
    pub processors: usize,
    /// Distinct physical cores, where the file names them (x86); otherwise `processors`.
    pub physical: usize,
    /// Per processor: (implementer, part), on Arm.
    pub parts: Vec<(u32, u32)>,
    /// Model name, as x86 and some vendors' kernels give it.
    pub model_name: Option<String>,
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
    let mut first = true;
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match key.trim() {
            "processor" if value.parse::<usize>().is_ok() => info.processors += 1,
            "model name" if info.model_name.is_none() => info.model_name = Some(value.to_string()),
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
    info.physical = if cores.is_empty() { info.processors } else { cores.len() };
    info
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Total, available and swap memory of /proc/meminfo, in bytes.
pub fn meminfo(text: &str) -> Option<(u64, u64, u64)> {
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
        let kib: u64 = line.split(':').nth(1)?.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    Some((field("MemTotal")?, field("MemAvailable")?, field("SwapTotal").unwrap_or(0)))
}

/// The strings of a device-tree property, which ends each with a NUL.
pub fn device_tree_strings(bytes: &[u8]) -> Vec<String> {
    bytes.split(|b| *b == 0).filter(|part| !part.is_empty()).map(|part| String::from_utf8_lossy(part).trim().to_string()).collect()
}

/// Bits of `vcgencmd get_throttled` (`throttled=0x50005`) or of the kernel's get_throttled file (`50005`).
pub fn throttled(text: &str) -> Option<u32> {
    let value = text.trim();
    let value = value.strip_prefix("throttled=").unwrap_or(value);
    u32::from_str_radix(value.strip_prefix("0x").unwrap_or(value), 16).ok()
}

/// What a bit of get_throttled means; the same words serve "now" (bit) and "since boot" (bit + 16).
pub const THROTTLE_BITS: [(u32, &str); 4] =
    [(0, "under-voltage"), (1, "frequency capped"), (2, "throttled"), (3, "soft temperature limit")];

/// L4T release of /etc/nv_tegra_release: `# R36 (release), REVISION: 4.3, ...` is 36.4.3.
pub fn l4t(text: &str) -> Option<String> {
    let line = text.lines().next()?;
    let major = line.strip_prefix("# R")?.split_whitespace().next()?;
    let revision = line.split("REVISION:").nth(1)?.split(',').next()?.trim();
    let plain = |text: &str| !text.is_empty() && text.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    (plain(major) && plain(revision)).then(|| format!("{major}.{revision}"))
}

/// One value of /etc/os-release, unquoted.
pub fn os_release(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(line.trim().trim_matches(['"', '\'']).to_string())
}

/// CUDA release of version.json (since CUDA 11.1).
pub fn cuda_json(text: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    Some(value.get("cuda")?.get("version")?.as_str()?.to_string())
}

/// CUDA release of version.txt (before CUDA 11.1).
pub fn cuda_text(text: &str) -> Option<String> {
    Some(text.trim().strip_prefix("CUDA Version ")?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttled_reads_both_spellings_and_refuses_others() {
        assert_eq!(throttled("throttled=0x50005\n"), Some(0x50005));
        assert_eq!(throttled("50005\n"), Some(0x50005));
        assert_eq!(throttled("VCHI initialization failed"), None);
        assert_eq!(throttled(""), None);
    }

    #[test]
    fn l4t_needs_major_and_revision() {
        let line = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64";
        assert_eq!(l4t(line).as_deref(), Some("36.4.3"));
        assert_eq!(l4t("# R36 (release)"), None);
        assert_eq!(l4t("# R (release), REVISION: , GCID"), None);
    }

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
            meminfo(&text);
            throttled(&text);
            l4t(&text);
            os_release(&text, "ID");
            cuda_json(&text);
        }
        assert_eq!(meminfo("MemTotal: 99999999999999999999 kB"), None);
    }
}
