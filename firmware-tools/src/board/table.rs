//! The table of boards: what each is, and what suits it. What their processors can do stands in [`edge_seg::boards`].

pub use edge_seg::Variant;

/// One row: how a board is recognised and what it should run.
#[derive(Debug)]
pub struct Row {
    /// Short name, used in signatures (`boards=pi5`) and reports.
    pub key: &'static str,
    /// Name for people.
    pub name: &'static str,
    /// System on chip, for people.
    pub soc: &'static str,
    /// Device-tree `compatible` strings; `*` at the end matches any rest.
    pub compatible: &'static [&'static str],
    /// The bundle variant that suits it.
    pub variant: Variant,
    /// Threads to leave to the encoder at most; `None` takes every fast core.
    pub threads: Option<usize>,
    /// Cores that the chip has, to notice a board that lost some.
    pub cores: &'static [usize],
}

/// Rows are tried from the top; within a row any string matches.
pub const BOARDS: &[Row] = &[
    Row {
        key: "pi-zero2",
        name: "Raspberry Pi Zero 2",
        soc: "RP3A0 (BCM2710A1)",
        compatible: &["raspberrypi,model-zero-2*"],
        variant: Variant::Pi4,
        // One of four cores stays with the camera and the network: the chip has no cooling to spare.
        threads: Some(3),
        cores: &[4],
    },
    Row {
        key: "pi3",
        name: "Raspberry Pi 3",
        soc: "BCM2837",
        compatible: &["raspberrypi,3-*"],
        variant: Variant::Pi4,
        threads: Some(3),
        cores: &[4],
    },
    Row {
        key: "pi4",
        name: "Raspberry Pi 4",
        soc: "BCM2711",
        compatible: &["raspberrypi,4-*", "raspberrypi,400"],
        variant: Variant::Pi4,
        threads: None,
        cores: &[4],
    },
    Row {
        key: "pi5",
        name: "Raspberry Pi 5",
        soc: "BCM2712",
        compatible: &["raspberrypi,5-*", "raspberrypi,500*"],
        variant: Variant::Pi5,
        threads: None,
        cores: &[4],
    },
    Row {
        key: "jetson-nano",
        name: "Jetson Nano",
        soc: "Tegra X1 (T210)",
        compatible: &["nvidia,jetson-nano", "nvidia,tegra210*"],
        variant: Variant::Jetson,
        threads: None,
        cores: &[4],
    },
    Row {
        key: "jetson-xavier",
        name: "Jetson Xavier",
        soc: "Xavier (T194)",
        compatible: &["nvidia,tegra194"],
        variant: Variant::Jetson,
        threads: None,
        cores: &[6, 8],
    },
    Row {
        key: "jetson-orin",
        name: "Jetson Orin",
        soc: "Orin (T234)",
        compatible: &["nvidia,tegra234"],
        variant: Variant::Jetson,
        threads: None,
        cores: &[6, 8, 12],
    },
    Row {
        key: "jetson-thor",
        name: "Jetson Thor",
        soc: "Thor (T264)",
        compatible: &["nvidia,tegra264"],
        variant: Variant::Jetson,
        threads: None,
        cores: &[12, 14],
    },
];

/// The row of a device tree's `compatible` list, most specific string first.
pub fn find(compatible: &[String]) -> Option<&'static Row> {
    BOARDS.iter().find(|row| {
        row.compatible.iter().any(|pattern| {
            compatible.iter().any(|text| match pattern.strip_suffix('*') {
                Some(start) => text.starts_with(start),
                None => text == pattern,
            })
        })
    })
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
        (0x41, 0xd40) => ("Neoverse-V1", false),
        (0x41, 0xd41) => ("Cortex-A78", false),
        (0x41, 0xd42) => ("Cortex-A78AE", false),
        (0x41, 0xd46) => ("Cortex-A510", true),
        (0x41, 0xd47) => ("Cortex-A710", false),
        (0x41, 0xd0c) => ("Neoverse-N1", false),
        (0x4e, 0x003) => ("Denver 2", false),
        (0x4e, 0x004) => ("Carmel", false),
        _ => return None,
    })
}

/// JetPack release of an L4T release, as NVIDIA's archive lists them; the longest match wins.
pub fn jetpack(l4t: &str) -> Option<&'static str> {
    const RELEASES: &[(&str, &str)] = &[
        ("32.4.3", "4.4"),
        ("32.4.4", "4.4.1"),
        ("32.5", "4.5"),
        ("32.6", "4.6"),
        ("32.7.1", "4.6.1"),
        ("32.7.2", "4.6.2"),
        ("32.7.3", "4.6.3"),
        ("32.7.4", "4.6.4"),
        ("32.7.5", "4.6.5"),
        ("32.7.6", "4.6.6"),
        ("35.1", "5.0.2"),
        ("35.2", "5.1"),
        ("35.3", "5.1.1"),
        ("35.4", "5.1.2"),
        ("35.5", "5.1.3"),
        ("35.6", "5.1.4"),
        ("36.3", "6.0"),
        ("36.4.0", "6.1"),
        ("36.4.3", "6.2"),
        ("36.4.4", "6.2.1"),
        ("38.2", "7.0"),
        ("38.4", "7.1"),
    ];
    RELEASES
        .iter()
        .filter(|(release, _)| l4t == *release || l4t.strip_prefix(release).is_some_and(|rest| rest.starts_with('.')))
        .max_by_key(|(release, _)| release.len())
        .map(|(_, jetpack)| *jetpack)
}
