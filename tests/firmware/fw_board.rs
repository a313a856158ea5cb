//! Boards are recognised from trees of their files.

use edge_seg_fw::board::{Board, Host, Variant, parse, render, table};
use std::path::{Path, PathBuf};

fn tree(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("boards").join(name)
}

fn board(name: &str) -> Board {
    Board::read(&Host::at(&tree(name)).unwrap())
}

#[test]
fn every_board_gets_its_row_variant_and_threads() {
    let rows = [
        ("pi-zero2", "pi-zero2", Variant::Pi4, 3, "4x Cortex-A53"),
        ("pi3", "pi3", Variant::Pi4, 3, "4x Cortex-A53"),
        ("pi4", "pi4", Variant::Pi4, 4, "4x Cortex-A72"),
        ("pi5", "pi5", Variant::Pi5, 4, "4x Cortex-A76"),
        ("jetson-nano", "jetson-nano", Variant::Jetson, 4, "4x Cortex-A57"),
        ("jetson-xavier", "jetson-xavier", Variant::Jetson, 6, "6x Carmel"),
        ("jetson-orin", "jetson-orin", Variant::Jetson, 6, "6x Cortex-A78AE"),
    ];
    for (name, key, variant, threads, cores) in rows {
        let board = board(name);
        assert_eq!(board.key, key, "{name}");
        assert_eq!(board.advice.variant, Some(variant), "{name}");
        assert_eq!(board.advice.threads, threads, "{name}");
        assert_eq!(board.core_types, [cores], "{name}");
        assert_eq!(board.arch.as_deref(), Some("aarch64"), "{name}");
    }
}

#[test]
fn a_pc_takes_one_thread_for_each_physical_core() {
    let board = board("x86");
    assert_eq!((board.key.as_str(), board.cores, board.advice.threads), ("x86", 8, 4));
    assert_eq!(board.advice.variant, Some(Variant::X86));
    assert_eq!(board.model.as_deref(), Some("Dell Inc. Latitude 7420"));
    assert!(board.features.iter().any(|name| name == "avx512_vnni"));
    assert_eq!(board.cameras.len(), 1, "the second node of a webcam carries metadata, not pictures");
}

#[test]
fn an_unknown_board_is_judged_by_its_fast_cores() {
    let board = board("unknown");
    assert_eq!(board.key, "unknown");
    assert_eq!(board.advice.variant, Some(Variant::Pi5));
    assert_eq!(board.advice.threads, 4, "four little cores take no thread");
    assert!(board.advice.why.contains("not in the table"), "{}", board.advice.why);
}

#[test]
fn a_32_bit_system_is_told_so() {
    let board = board("pi4-32bit");
    assert_eq!(board.arch.as_deref(), Some("armv7"));
    assert_eq!(board.advice.variant, None);
    assert!(board.advice.why.contains("64-bit"), "{}", board.advice.why);
    assert_eq!(board.throttling[0].since_boot, ["under-voltage", "throttled"]);
}

#[test]
fn nothing_is_invented_where_nothing_can_be_read() {
    let board = board("empty");
    assert_eq!(board.key, "unknown");
    assert_eq!((board.model, board.memory, board.kernel, board.glibc), (None, None, None, None));
    assert_eq!((board.cores, board.advice.variant), (0, None));
    assert!(board.temperatures.is_empty() && board.throttling.is_empty() && board.cameras.is_empty());
}

#[test]
fn trouble_is_named() {
    let board = board("pi3");
    assert_eq!(board.throttling[0].now, ["under-voltage", "throttled"]);
    assert_eq!(board.throttling[0].since_boot, ["under-voltage", "throttled"]);
    assert_eq!(board.temperatures[0].celsius, 82.704);
    assert_eq!(board_cameras("pi3"), [("/dev/video1".to_string(), "UVC Camera (046d:0825)".to_string())]);
    assert!(self::board("pi4").throttling[0].now.is_empty());
    assert_eq!(self::board("pi4").throttling[0].since_boot, ["soft temperature limit"]);
}

#[test]
fn jetsons_name_their_releases() {
    let releases = |name: &str| {
        let jetson = board(name).jetson.unwrap();
        (jetson.l4t.unwrap(), jetson.jetpack, jetson.cuda.unwrap())
    };
    assert_eq!(releases("jetson-nano"), ("32.7.1".into(), Some("4.6.1".into()), "10.2.300".into()));
    assert_eq!(releases("jetson-xavier"), ("35.4.1".into(), Some("5.1.2".into()), "11.4.19".into()));
    let orin = releases("jetson-orin");
    assert_eq!((orin.0.as_str(), orin.1.as_deref(), orin.2.as_str()), ("36.4.7", Some("6.2.1"), "12.6.11"));
    assert_eq!(parse::jetpack("36.4.99"), None, "a release outside the table is not guessed");
    assert!(board("pi5").jetson.is_none());
    assert_eq!(parse::jetpack("38.2.1"), Some("7.0"));
    assert_eq!(
        table::recognise(&["nvidia,p3971-0089+p3834-0008".into(), "nvidia,tegra264".into()]).map(|row| row.key),
        Some("jetson-thor")
    );
}

#[test]
fn a_jetsons_constant_is_no_temperature_and_its_cooling_is_throttling() {
    let nano = board("jetson-nano");
    assert_eq!((nano.temperatures[0].zone.as_str(), nano.temperatures[0].celsius), ("AO-therm", 41.5));
    assert!(nano.throttling.iter().any(|t| t.now == ["cpu-balanced at step 2"]), "{:?}", nano.throttling);
    let orin = board("jetson-orin");
    assert_eq!(orin.temperatures.len(), 4, "two zones give no reading");
    assert!(orin.throttling.iter().any(|t| t.since_boot == ["over-current event oc3, 3 times"]), "{:?}", orin.throttling);
}

#[test]
fn boards_are_told_by_their_device_trees_and_cores() {
    let with = |compatible: &str, part: &str, cores: usize| {
        let folder = tempfile::tempdir().unwrap();
        let put = |path: &str, text: String| {
            std::fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
            std::fs::write(folder.path().join(path), text).unwrap();
        };
        put("proc/device-tree/compatible", compatible.into());
        let core =
            |n| format!("processor : {n}\nFeatures : fp asimd asimddp\nCPU implementer : 0x41\nCPU architecture: 8\nCPU part : {part}\n");
        put("proc/cpuinfo", (0..cores).map(core).collect());
        put("sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled", "50001\n".into());
        Board::read(&Host::at(folder.path()).unwrap())
    };
    for compatible in ["raspberrypi,0-compute-module\0brcm,bcm2837\0", "raspberrypi,2-model-b-rev2\0brcm,bcm2837\0"] {
        let board = with(compatible, "0xd03", 4);
        assert_eq!((board.key.as_str(), board.advice.variant, board.advice.threads), ("pi-zero2", Some(Variant::Pi4), 3));
    }
    let thor = with("nvidia,p3971-0089+p3834-0008\0nvidia,tegra264\0", "0xd83", 14);
    assert_eq!((thor.key.as_str(), thor.core_types.as_slice()), ("jetson-thor", &["14x Neoverse-V3AE".to_string()][..]));
    assert_eq!(thor.throttling[0].now, ["under-voltage"], "the firmware's node is not always soc:firmware");
    assert_eq!(thor.throttling[0].since_boot, ["under-voltage", "throttled"]);
}

#[test]
fn codecs_are_no_cameras() {
    assert_eq!(board_cameras("pi4"), [("/dev/video0".to_string(), "unicam".to_string())]);
    assert_eq!(board_cameras("pi5"), [("/dev/video0".to_string(), "rp1-cfe-csi2_ch0".to_string())]);
}

fn board_cameras(name: &str) -> Vec<(String, String)> {
    board(name).cameras.into_iter().map(|camera| (camera.device, camera.name)).collect()
}

#[test]
fn reports_read_well_and_json_is_whole() {
    let board = board("pi5");
    let text = render(&board);
    for part in [
        "Raspberry Pi 5 Model B Rev 1.0 (pi5)",
        "BCM2712",
        "4x Cortex-A76, aarch64",
        "asimddp",
        "52.4 °C",
        "6.12.25+rpt-rpi-2712, glibc 2.36",
        "bundle variant pi5, 4 threads",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    let json = serde_json::to_value(&board).unwrap();
    assert_eq!(json["advice"]["variant"], "pi5");
    assert_eq!(json["memory"]["total_bytes"], 4148240u64 * 1024);
}
