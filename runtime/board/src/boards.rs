//! The one table of boards: how each is recognised, what it runs best, and the times that follow from what its processor can multiply.
//!
//! No rate was measured on a board. Each is what llvm-mca predicts for the inner loop of the encoders' layers
//! (`runtime/kernels/benches/neon.py`, in `docs/kernels.md`): memory, the layers between the products and other programs come on top, so
//! a time is the least that can be expected.
//!
//! ```
//! use edge_seg_board::boards::{Macs, find, recognise};
//! let board = recognise(&["raspberrypi,5-model-b".into(), "brcm,bcm2712".into()]).expect("a board of the table");
//! assert_eq!((board.key, board.variant.name()), ("pi5", "pi5"));
//! let rates = find("pi5").and_then(|board| board.rates).expect("its core has a model");
//! let work = Macs { floats: 0, integers: 1_000_000_000 };
//! assert!(rates.least_ms(work, 4) < rates.least_ms(work, 1));
//! ```

use std::fmt;

use serde::Serialize;

use crate::Variant;

/// Multiplications, each with its addition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Macs {
    /// Of floats.
    pub floats: u64,
    /// Of 8-bit integers, summed in 32 bits.
    pub integers: u64,
}

/// A kind of processor core and what it multiplies, with an addition each, in a cycle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Core {
    /// As its maker calls it.
    pub name: &'static str,
    /// 32-bit floats.
    pub floats: f64,
    /// 16-bit floats, where it has them.
    pub halves: Option<f64>,
    /// 8-bit integers, summed in 32 bits.
    pub integers: f64,
}

/// How fast a board's processor multiplies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// What it computes with.
    pub core: Core,
    /// Its clock; of boards with several builds, the slowest one's.
    pub clock_ghz: f64,
}

/// A board.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Board {
    /// Short name, as bundles, keys (`boards=pi5`) and reports use it.
    pub key: &'static str,
    /// Name for people.
    pub name: &'static str,
    /// System on chip, for people.
    pub soc: &'static str,
    /// Device-tree `compatible` strings; `*` at the end matches any rest.
    pub compatible: &'static [&'static str],
    /// The build of a bundle that suits it.
    pub variant: Variant,
    /// Threads to leave to the encoder at most; `None` takes every fast core.
    pub threads: Option<usize>,
    /// Cores that its builds have, fewest first.
    pub cores: &'static [usize],
    /// What its processor can multiply; none where LLVM has no model of the core.
    pub rates: Option<Rates>,
}

const A53: Core = Core { name: "Cortex-A53", floats: 1.37, halves: None, integers: 2.51 };
// LLVM schedules Cortex-A72 by the Cortex-A57's model.
const A57: Core = Core { name: "Cortex-A57", ..A72 };
const A72: Core = Core { name: "Cortex-A72", floats: 3.92, halves: None, integers: 6.73 };
// Scheduled as Neoverse N1, the server core made from Cortex-A76; Cortex-A78AE is its successor with as many vector units.
const A76: Core = Core { name: "Cortex-A76", floats: 7.67, halves: Some(13.84), integers: 31.99 };
const A78AE: Core = Core { name: "Cortex-A78AE", ..A76 };
const V3AE: Core = Core { name: "Neoverse V3AE", floats: 14.37, halves: Some(27.91), integers: 113.65 };

const fn rates(core: Core, clock_ghz: f64) -> Option<Rates> {
    Some(Rates { core, clock_ghz })
}

/// Rows are tried from the top; within a row any string matches.
pub const BOARDS: [Board; 8] = [
    Board {
        key: "pi-zero2",
        name: "Raspberry Pi Zero 2",
        soc: "BCM2710A1 (RP3A0, BCM2837)",
        // With the Compute Module 0 and the Pi 2 of revision 1.2: the same four cores at about the same clock.
        compatible: &["raspberrypi,model-zero-2*", "raspberrypi,0-compute-module*", "raspberrypi,2-model-b-rev2"],
        variant: Variant::Pi4,
        // One of four cores stays with the camera and the network: the chip has no cooling to spare.
        threads: Some(3),
        cores: &[4],
        rates: rates(A53, 1.0),
    },
    Board {
        key: "pi3",
        name: "Raspberry Pi 3",
        soc: "BCM2837",
        compatible: &["raspberrypi,3-*"],
        variant: Variant::Pi4,
        threads: Some(3),
        cores: &[4],
        rates: rates(A53, 1.2),
    },
    Board {
        key: "pi4",
        name: "Raspberry Pi 4",
        soc: "BCM2711",
        compatible: &["raspberrypi,4-*", "raspberrypi,400"],
        variant: Variant::Pi4,
        threads: None,
        cores: &[4],
        rates: rates(A72, 1.5),
    },
    Board {
        key: "pi5",
        name: "Raspberry Pi 5",
        soc: "BCM2712",
        compatible: &["raspberrypi,5-*", "raspberrypi,500*"],
        variant: Variant::Pi5,
        threads: None,
        cores: &[4],
        rates: rates(A76, 2.4),
    },
    Board {
        key: "jetson-nano",
        name: "Jetson Nano",
        soc: "Tegra X1 (T210)",
        compatible: &["nvidia,jetson-nano", "nvidia,tegra210*"],
        variant: Variant::Jetson,
        threads: None,
        cores: &[4],
        rates: rates(A57, 1.43),
    },
    Board {
        key: "jetson-xavier",
        name: "Jetson Xavier",
        soc: "Xavier (T194)",
        compatible: &["nvidia,tegra194"],
        variant: Variant::Jetson,
        threads: None,
        cores: &[6, 8],
        rates: None,
    },
    Board {
        key: "jetson-orin",
        name: "Jetson Orin",
        soc: "Orin (T234)",
        compatible: &["nvidia,tegra234"],
        variant: Variant::Jetson,
        threads: None,
        cores: &[6, 8, 12],
        rates: rates(A78AE, 1.5),
    },
    Board {
        key: "jetson-thor",
        name: "Jetson Thor",
        soc: "Thor (T264)",
        compatible: &["nvidia,tegra264"],
        variant: Variant::Jetson,
        threads: None,
        cores: &[12, 14],
        rates: rates(V3AE, 2.6),
    },
];

/// The board of this key.
pub fn find(key: &str) -> Option<&'static Board> {
    BOARDS.iter().find(|board| board.key == key)
}

/// The board of a device tree's `compatible` list.
pub fn recognise(compatible: &[String]) -> Option<&'static Board> {
    BOARDS.iter().find(|board| {
        board.compatible.iter().any(|pattern| {
            compatible.iter().any(|text| match pattern.strip_suffix('*') {
                Some(start) => text.starts_with(start),
                None => text == pattern,
            })
        })
    })
}

/// What a bundle can be made for: a board of the table, or every board that runs a build best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// As bundles name it.
    pub name: &'static str,
    /// The build that it runs.
    pub variant: Variant,
}

impl Target {
    /// Every one: the table's boards, then the builds whose names are no board's.
    pub fn all() -> impl Iterator<Item = Target> {
        let builds = Variant::ALL.into_iter().filter(|variant| find(variant.name()).is_none());
        let boards = BOARDS.iter().map(|board| Target { name: board.key, variant: board.variant });
        boards.chain(builds.map(|variant| Target { name: variant.name(), variant }))
    }

    /// Names under which a bundle may mean it: its own and its build's.
    pub fn names(self) -> Vec<&'static str> {
        let mut names = vec![self.name];
        names.extend(Some(self.variant.name()).filter(|name| *name != self.name));
        names
    }
}

impl std::str::FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(name: &str) -> Result<Self, UnknownTarget> {
        Target::all().find(|target| target.name == name.trim()).ok_or_else(|| UnknownTarget(name.trim().to_owned()))
    }
}

/// A name that is neither a board's nor a build's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownTarget(pub String);

impl fmt::Display for UnknownTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<_> = Target::all().map(|target| target.name).collect();
        write!(f, "expected one of {}, found {:?}", known.join(", "), self.0)?;
        match meant(&self.0) {
            Some(name) => write!(f, "; did you mean {name}?"),
            None => Ok(()),
        }
    }
}

/// The target that a name means as people write it: in capitals, with the maker's name before it, with spaces.
fn meant(name: &str) -> Option<&'static str> {
    let plain = |text: &str| -> String { text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase() };
    let mut wanted = plain(name);
    for (written, said) in [("raspberrypi", "pi"), ("raspi", "pi"), ("rpi", "pi"), ("nvidia", "")] {
        if let Some(rest) = wanted.strip_prefix(written) {
            wanted = format!("{said}{rest}");
        }
    }
    Target::all().map(|target| target.name).find(|known| plain(known) == wanted)
}

impl std::error::Error for UnknownTarget {}

impl Rates {
    /// The same with products of floats in 16 bits, where the core has them.
    pub fn in_halves(self) -> Option<Rates> {
        let floats = self.core.halves?;
        Some(Rates { core: Core { floats, ..self.core }, ..self })
    }

    /// Milliseconds that `work` takes at least on `cores` of the processor's cores.
    pub fn least_ms(&self, work: Macs, cores: usize) -> f64 {
        let cycles = work.floats as f64 / self.core.floats + work.integers as f64 / self.core.integers;
        cycles / (self.clock_ghz * 1e6 * cores.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_another_spelling_is_told_the_right_one() {
        for (name, right) in [("Pi4", "pi4"), ("PI5", "pi5"), ("rpi5", "pi5"), ("Raspberry Pi 4", "pi4"), ("raspi-5", "pi5")] {
            let said = name.parse::<Target>().err().unwrap().to_string();
            assert!(said.ends_with(&format!("; did you mean {right}?")), "{said}");
        }
        assert!(!"toaster".parse::<Target>().err().unwrap().to_string().contains("mean"));
    }

    #[test]
    fn a_bundle_may_name_a_board_or_its_build() {
        let names = |name: &str| name.parse::<Target>().unwrap().names();
        assert_eq!(names("jetson-orin"), ["jetson-orin", "jetson"]);
        assert_eq!((names("pi3"), names("pi4"), names("jetson")), (vec!["pi3", "pi4"], vec!["pi4"], vec!["jetson"]));
        assert!("orin".parse::<Target>().unwrap_err().to_string().contains("jetson-orin"));
    }

    fn rates(key: &str) -> Rates {
        find(key).unwrap().rates.unwrap()
    }

    #[test]
    fn a_million_multiplications_take_what_the_rates_say() {
        let pi4 = rates("pi4");
        let work = Macs { floats: 3_920_000, integers: 6_730_000 };
        assert!((pi4.least_ms(work, 1) - 2.0 / 1.5).abs() < 1e-9, "two million cycles at 1.5 GHz");
        assert!((pi4.least_ms(work, 4) * 4.0 - pi4.least_ms(work, 1)).abs() < 1e-9);
        assert!(find("toaster").is_none());
        assert!(pi4.in_halves().is_none(), "Cortex-A72 has no 16-bit floats");
        let pi5 = rates("pi5");
        let (floats, halves) = (pi5.least_ms(work, 1), pi5.in_halves().unwrap().least_ms(work, 1));
        let saved = 3.92 * (1.0 / 7.67 - 1.0 / 13.84) / 2.4;
        assert!((floats - halves - saved).abs() < 1e-9, "integers take as long as before");
    }

    #[test]
    fn boards_are_recognised_by_their_device_trees() {
        let key = |compatible: &[&str]| recognise(&compatible.iter().map(|s| s.to_string()).collect::<Vec<_>>()).map(|board| board.key);
        assert_eq!(key(&["raspberrypi,model-zero-2-w", "brcm,bcm2837"]), Some("pi-zero2"));
        assert_eq!(key(&["raspberrypi,0-compute-module", "brcm,bcm2837"]), Some("pi-zero2"));
        assert_eq!(key(&["raspberrypi,2-model-b-rev2", "brcm,bcm2837"]), Some("pi-zero2"));
        assert_eq!(key(&["raspberrypi,2-model-b", "brcm,bcm2836"]), None, "the first Pi 2 is a 32-bit board");
        assert_eq!(key(&["raspberrypi,3-compute-module", "brcm,bcm2837"]), Some("pi3"));
        assert_eq!(key(&["raspberrypi,500", "brcm,bcm2712"]), Some("pi5"));
        assert_eq!(key(&["nvidia,p3971-0089+p3834-0008", "nvidia,tegra264"]), Some("jetson-thor"));
        assert_eq!(key(&[]), None);
    }

    #[test]
    fn a_bundle_can_be_for_a_board_or_for_a_build() {
        let variant = |name: &str| name.parse::<Target>().map(|target| target.variant);
        assert_eq!(variant("pi3"), Ok(Variant::Pi4));
        assert_eq!(variant("jetson-orin"), Ok(Variant::Jetson));
        for build in Variant::ALL {
            assert_eq!(variant(build.name()), Ok(build), "a board of a build's name runs that build");
        }
        let mut names: Vec<_> = Target::all().map(|target| target.name).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        let unknown = variant("pi9").unwrap_err().to_string();
        assert!(unknown.contains("pi-zero2, pi3, pi4, pi5, ") && unknown.contains("jetson, x86, found \"pi9\""), "{unknown}");
    }
}
