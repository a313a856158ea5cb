//! What board this is, how it is doing, and what suits it: a report of [`edge_seg_board`]'s readings and of the system's.

pub mod parse;
mod report;

pub use edge_seg_board::boards as table;
pub use edge_seg_board::sensors::Throttling;
pub use edge_seg_board::{Host, Variant};
pub use report::render;

use edge_seg_board::processor::{CpuInfo, core_name, cpuinfo, device_tree_strings};
use edge_seg_board::sensors;
use serde::Serialize;

/// One thermal zone that gave a reading.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Thermal {
    /// The zone's type, as the kernel names it.
    pub zone: String,
    /// Degrees Celsius.
    pub celsius: f64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// All that the kernel manages.
    pub total_bytes: u64,
    /// What programs can still take without swapping.
    pub available_bytes: u64,
    /// Swap space.
    pub swap_bytes: u64,
}

/// NVIDIA's releases on a Jetson.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Jetson {
    /// Linux for Tegra release, for example 36.4.3.
    pub l4t: Option<String>,
    /// JetPack release, where the table knows it.
    pub jetpack: Option<String>,
    /// CUDA release, where CUDA is installed.
    pub cuda: Option<String>,
}

/// A camera that the kernel offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Camera {
    /// Device node, for example /dev/video0.
    pub device: String,
    /// Name that its driver gives.
    pub name: String,
}

/// What suits the board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// Bundle variant; absent where none runs here.
    pub variant: Option<Variant>,
    /// Threads for the encoder.
    pub threads: usize,
    /// Why, in a sentence.
    pub why: String,
}

/// A board, read once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Board {
    /// Key of the table's row, or `unknown`.
    pub key: String,
    /// Model, as the board names itself.
    pub model: Option<String>,
    /// System on chip, or the processor's name on a PC.
    pub soc: Option<String>,
    /// `aarch64`, `armv7` or `x86_64`, by the processor's own listing.
    pub arch: Option<String>,
    /// Cores that the kernel brought up.
    pub cores: usize,
    /// Core types with their numbers, for example `4x Cortex-A76`.
    pub core_types: Vec<String>,
    /// Features that matter to the kernels, out of those that every core has.
    pub features: Vec<String>,
    /// Memory.
    pub memory: Option<Memory>,
    /// Temperatures, hottest first.
    pub temperatures: Vec<Thermal>,
    /// Throttling, one entry for each source that answered.
    pub throttling: Vec<Throttling>,
    /// Jetson's releases.
    pub jetson: Option<Jetson>,
    /// Operating system.
    pub os: Option<String>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// C library release, for example `2.36`.
    pub glibc: Option<String>,
    /// Cameras.
    pub cameras: Vec<Camera>,
    /// What suits the board.
    pub advice: Advice,
}

/// Features named in reports: those that a kernel of the runtime asks for.
const SHOWN_FEATURES: &[&str] = &[
    "asimd",
    "asimdhp",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
    "neon",
    "avx2",
    "f16c",
    "fma",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "amx_int8",
];

impl Board {
    /// Reads the board behind `host`.
    pub fn read(host: &Host) -> Board {
        let cpu = cpuinfo(&host.text("proc/cpuinfo").unwrap_or_default());
        let compatible = device_tree_strings(&host.bytes("proc/device-tree/compatible").unwrap_or_default());
        let row = table::recognise(&compatible);
        let arch = arch(&cpu);
        let model = host
            .bytes("proc/device-tree/model")
            .and_then(|bytes| device_tree_strings(&bytes).into_iter().next())
            .or_else(|| pc_model(host));
        let key = match (row, arch) {
            (Some(row), _) => row.key,
            (None, Some("x86_64")) => "x86",
            _ => "unknown",
        };
        let jetson = jetson(host);
        Board {
            key: key.to_string(),
            soc: row.map(|row| row.soc.to_string()).or_else(|| compatible.last().cloned()).or_else(|| cpu.model_name.clone()),
            arch: arch.map(String::from),
            cores: cpu.processors,
            core_types: core_types(&cpu),
            features: SHOWN_FEATURES.iter().filter(|name| cpu.features.contains(**name)).map(|name| name.to_string()).collect(),
            memory: host
                .text("proc/meminfo")
                .and_then(|text| parse::meminfo(&text))
                .map(|(total_bytes, available_bytes, swap_bytes)| Memory { total_bytes, available_bytes, swap_bytes }),
            temperatures: temperatures(host),
            throttling: throttling(host),
            jetson,
            os: host.text("etc/os-release").and_then(|text| parse::os_release(&text, "PRETTY_NAME")),
            kernel: host.text("proc/sys/kernel/osrelease").map(|text| text.trim().to_string()),
            glibc: host.command("getconf", &["GNU_LIBC_VERSION"]).and_then(|text| Some(text.trim().strip_prefix("glibc ")?.to_string())),
            cameras: cameras(host),
            advice: advise(row, arch, &cpu),
            model,
        }
    }
}

fn arch(cpu: &CpuInfo) -> Option<&'static str> {
    if cpu.features.contains("asimd") {
        Some("aarch64")
    } else if cpu.features.contains("lm") {
        Some("x86_64")
    } else if cpu.architecture.is_some() {
        Some("armv7")
    } else {
        None
    }
}

fn pc_model(host: &Host) -> Option<String> {
    let vendor = host.text("sys/class/dmi/id/sys_vendor")?;
    let product = host.text("sys/class/dmi/id/product_name")?;
    Some(format!("{} {}", vendor.trim(), product.trim()))
}

fn core_types(cpu: &CpuInfo) -> Vec<String> {
    let mut counted: Vec<((u32, u32), usize)> = Vec::new();
    for part in &cpu.parts {
        match counted.iter_mut().find(|(known, _)| known == part) {
            Some((_, count)) => *count += 1,
            None => counted.push((*part, 1)),
        }
    }
    counted
        .into_iter()
        .map(|((implementer, part), count)| match core_name(implementer, part) {
            Some((name, _)) => format!("{count}x {name}"),
            None => format!("{count}x implementer {implementer:#04x} part {part:#05x}"),
        })
        .collect()
}

/// Cores worth a thread: all but the little ones, unless all are little.
fn fast_cores(cpu: &CpuInfo) -> usize {
    let fast = cpu.parts.iter().filter(|(implementer, part)| !matches!(core_name(*implementer, *part), Some((_, true)))).count();
    if fast == 0 { cpu.physical.max(1) } else { fast }
}

fn advise(row: Option<&table::Board>, arch: Option<&str>, cpu: &CpuInfo) -> Advice {
    let fast = fast_cores(cpu);
    let threads = row.and_then(|row| row.threads).unwrap_or(fast).min(fast);
    match (row, arch) {
        (_, Some("armv7")) => {
            Advice { variant: None, threads, why: "the system is 32-bit: install a 64-bit one (arm64) to run edge-seg".into() }
        }
        (Some(row), _) => Advice { variant: Some(row.variant), threads, why: format!("{} is in the table of boards", row.name) },
        (None, Some("x86_64")) => {
            Advice { variant: Some(Variant::X86), threads, why: "a 64-bit PC: one thread for each physical core".into() }
        }
        (None, Some("aarch64")) => {
            let dot = cpu.features.contains("asimddp");
            Advice {
                variant: Some(if dot { Variant::Pi5 } else { Variant::Pi4 }),
                threads,
                why: format!(
                    "not in the table of boards; chosen by the cores, which {} the 8-bit dot product (asimddp)",
                    if dot { "have" } else { "lack" }
                ),
            }
        }
        _ => Advice { variant: None, threads, why: "the processor could not be recognised from /proc/cpuinfo".into() },
    }
}

fn temperatures(host: &Host) -> Vec<Thermal> {
    let zones = sensors::zones(host).into_iter();
    let mut found: Vec<Thermal> = zones.map(|zone| Thermal { zone: zone.name, celsius: zone.celsius }).collect();
    found.sort_by(|a, b| b.celsius.total_cmp(&a.celsius).then(a.zone.cmp(&b.zone)));
    found
}

fn throttling(host: &Host) -> Vec<Throttling> {
    let mut found = sensors::throttling(host);
    // The firmware's own tool, where the kernel offers no file of it.
    if sensors::flags(host).is_none()
        && let Some(flags) = host.command("vcgencmd", &["get_throttled"]).and_then(|text| sensors::parse_flags(&text))
    {
        found.insert(0, Throttling::of_flags("vcgencmd get_throttled", flags));
    }
    found
}

fn jetson(host: &Host) -> Option<Jetson> {
    let release = host.text("etc/nv_tegra_release")?;
    let l4t = parse::l4t(&release);
    Some(Jetson {
        jetpack: l4t.as_deref().and_then(parse::jetpack).map(String::from),
        cuda: host
            .text("usr/local/cuda/version.json")
            .and_then(|text| parse::cuda_json(&text))
            .or_else(|| host.text("usr/local/cuda/version.txt").and_then(|text| parse::cuda_text(&text))),
        l4t,
    })
}

/// Video nodes that capture: the first node of each device, less the codecs and image processors.
fn cameras(host: &Host) -> Vec<Camera> {
    const NOT_CAMERAS: &[&str] = &["bcm2835-codec", "bcm2835-isp", "rpivid", "rpi-hevc-dec", "pispbe", "hantro", "rkvdec", "tegra-vde"];
    let mut found: Vec<(usize, Camera)> = host
        .list("sys/class/video4linux")
        .into_iter()
        .filter_map(|node| {
            let number: usize = node.strip_prefix("video")?.parse().ok()?;
            let name = host.text(&format!("sys/class/video4linux/{node}/name"))?;
            let name = name.trim().to_string();
            let index = host.text(&format!("sys/class/video4linux/{node}/index"));
            let first = index.is_none_or(|text| text.trim() == "0");
            let codec = NOT_CAMERAS.iter().any(|start| name.starts_with(start));
            (first && !codec).then(|| (number, Camera { device: format!("/dev/{node}"), name }))
        })
        .collect();
    found.sort_by_key(|(number, _)| *number);
    found.into_iter().map(|(_, camera)| camera).collect()
}
