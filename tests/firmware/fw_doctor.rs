//! The doctor on setups that are broken one at a time: each finding names the command that mends it.

use crate::small;

use edge_seg_fw::board::Host;
use edge_seg_fw::doctor::{Finding, Level, examine, is_healthy, render};
use edge_seg_fw::paths::Paths;
use edge_seg_tests::binary;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const NOW: u64 = 1_800_000_000;

struct Setup(tempfile::TempDir);

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// Finds configurations right that say `source`.
const CONFIG_CHECK: &str =
    "[ \"$1\" = config ] && { grep -q source \"$3\" && exit 0; echo \"edge-seg: $3: expected source\" >&2; exit 1; }";

/// Says what `edge-seg bench --json` says, of an encoder of eight billion multiplications.
fn bench(milliseconds: u64) -> String {
    let report = serde_json::json!({
        "stages": [
            {"stage": "read", "median_ms": 7000},
            {"stage": "encode", "median_ms": milliseconds},
            {"stage": "mask", "median_ms": 1},
        ],
        "multiplications": 8_000_000_000u64,
        "integer_multiplications": 0,
    });
    format!("echo '{report}'")
}

impl Setup {
    /// Installs release 7.
    fn install(&self) {
        small::write(&self.at("r.esb"), 7, &["pi5"], 5000);
        let root = self.0.path().to_str().unwrap();
        let install = Command::new(binary("edge-seg-fw")).args(["install", &format!("{root}/r.esb"), "--root", root]).output().unwrap();
        assert!(install.status.success(), "{}", String::from_utf8_lossy(&install.stderr));
    }

    /// A Pi 5 on which all is well.
    fn healthy() -> Setup {
        let setup = Setup(tempfile::tempdir().unwrap());
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("boards/pi5"), setup.0.path());
        for (path, text) in [
            ("dev/video0", ""),
            ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nedge-seg:x:990:990::/var/lib/edge-seg:/usr/sbin/nologin\n"),
            ("etc/group", "root:x:0:\nvideo:x:44:pi,edge-seg\n"),
            ("etc/edge-seg/edge-seg.toml", "[input]\nsource = \"test:\"\n"),
            ("proc/sys/kernel/hostname", "garden\n"),
            ("commands/df_-B1_--output=avail_-var-lib", "      Avail\n9876543210\n"),
            ("commands/timedatectl_show_-p_NTPSynchronized_--value", "yes\n"),
            ("commands/systemctl_show_edge-seg.service_-p_LoadState_--value", "loaded\n"),
            ("commands/systemctl_show_edge-seg.service_-p_ActiveState_--value", "active\n"),
            ("commands/journalctl_-u_edge-seg.service_-n_1_-o_cat", "edge-seg-fw: the packaged release runs as process 7\n"),
        ] {
            setup.put(path, text);
        }
        setup.runtime(40);
        setup
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn put(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    /// A runtime that takes this long for a picture.
    fn runtime(&self, milliseconds: u64) {
        let script = format!("#!/bin/sh\n{CONFIG_CHECK}\n[ \"$1\" = bench ] || exit 2\n{}\n", bench(milliseconds));
        self.put("usr/bin/edge-seg", &script);
        fs::set_permissions(self.at("usr/bin/edge-seg"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn source(&self, source: &str) {
        self.put("etc/edge-seg/edge-seg.toml", &format!("[input]\nsource = \"{source}\"\n"));
    }

    fn examine(&self, now: u64) -> Vec<Finding> {
        examine(&Host::at(self.0.path()).unwrap(), &Paths::under(self.0.path()), now)
    }

    /// What is found to be bad, with what mends it.
    fn bad(&self) -> Vec<(&'static str, String, String)> {
        let found = self.examine(NOW).into_iter().filter(|finding| finding.level == Level::Bad);
        found.map(|finding| (finding.check, finding.found, finding.mend.expect("what is bad can be mended"))).collect()
    }
}

#[test]
fn a_healthy_board_needs_nothing() {
    let findings = Setup::healthy().examine(NOW);
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{}", render(&findings));
    assert!(is_healthy(&findings));
    let checks: Vec<_> = findings.iter().map(|finding| finding.check).collect();
    for check in [
        "board",
        "camera",
        "user",
        "model",
        "disk",
        "memory",
        "temperature",
        "throttling",
        "clock",
        "network name",
        "service",
        "errors",
        "inference",
    ] {
        assert!(checks.contains(&check), "{check} was not looked at");
    }
}

#[test]
fn every_fault_is_found_alone_and_with_its_cure() {
    type Break = fn(&Setup);
    let faults: [(&str, Break, &str, &str); 17] = [
        (
            "camera",
            |s| {
                s.source("v4l2:///dev/video0");
                fs::remove_dir_all(s.at("sys/class/video4linux")).unwrap();
            },
            "the kernel offers none",
            "camera_auto_detect",
        ),
        (
            "camera",
            |s| {
                s.source("v4l2:///dev/video0");
                fs::remove_file(s.at("dev/video0")).unwrap();
            },
            "/dev/video0 cannot be read",
            "udevadm",
        ),
        ("user", |s| s.put("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"), "no user edge-seg", "apt install"),
        ("user", |s| s.put("etc/group", "video:x:44:pi\nedge-seg:x:990:\n"), "not in group video", "usermod -aG video edge-seg"),
        ("disk", |s| s.put("commands/df_-B1_--output=avail_-var-lib", "Avail\n1048576\n"), "1 MiB free", "prune"),
        ("memory", |s| s.put("proc/meminfo", "MemTotal: 436184 kB\nMemAvailable: 20000 kB\n"), "19 MiB available", "ps aux"),
        ("temperature", |s| s.put("sys/class/thermal/thermal_zone0/temp", "84500\n"), "84.5 °C", "heat sink"),
        (
            "throttling",
            |s| s.put("commands/vcgencmd_get_throttled", "throttled=0x50005\n"),
            "now: under-voltage, throttled",
            "power supply",
        ),
        ("throttling", |s| s.put("commands/vcgencmd_get_throttled", "throttled=0x10000\n"), "since boot: under-voltage", "power supply"),
        ("service", |s| s.put("commands/systemctl_show_edge-seg.service_-p_ActiveState_--value", "failed\n"), "failed", "reset-failed"),
        ("service", |s| s.put("commands/systemctl_show_edge-seg.service_-p_ActiveState_--value", "inactive\n"), "inactive", "enable --now"),
        (
            "service",
            |s| s.put("commands/systemctl_show_edge-seg.service_-p_ActiveState_--value", "activating\n"),
            "has shown no frame yet",
            "journalctl -u edge-seg.service",
        ),
        (
            "service",
            |s| s.put("commands/systemctl_show_edge-seg.service_-p_LoadState_--value", "not-found\n"),
            "not installed",
            "apt install",
        ),
        ("network name", |s| s.put("proc/sys/kernel/hostname", "localhost\n"), "none is set", "hostnamectl"),
        ("configuration", |s| s.put("etc/edge-seg/edge-seg.toml", "nonsense"), "edge-seg.toml: expected source", "sudoedit"),
        (
            "inference",
            |s| s.put("usr/bin/edge-seg", &format!("#!/bin/sh\n{CONFIG_CHECK}\necho broken >&2; exit 2\n")),
            "broken",
            "journalctl",
        ),
        (
            "inference",
            |s| s.put("var/lib/edge-seg/inference.json", "{\"milliseconds\":20}"),
            "41 ms, this board has done it in 20 ms",
            "throttling",
        ),
    ];
    for (check, broken, found, mend) in faults {
        let setup = Setup::healthy();
        broken(&setup);
        let bad = setup.bad();
        assert_eq!(bad.len(), 1, "{check}, {found}: {bad:?}");
        assert_eq!(bad[0].0, check);
        assert!(bad[0].1.contains(found), "{check}: {:?} in {:?}", found, bad[0].1);
        assert!(bad[0].2.contains(mend), "{check}: {:?} in {:?}", mend, bad[0].2);
    }
}

#[test]
fn a_board_with_a_networks_camera_needs_none_of_its_own() {
    for source in ["rtsp://me:secret@camera.lan/stream", "/var/lib/edge-seg/data/pictures", "test:?fps=5"] {
        let setup = Setup::healthy();
        setup.source(source);
        fs::remove_dir_all(setup.at("sys/class/video4linux")).unwrap();
        let findings = setup.examine(NOW);
        assert!(is_healthy(&findings), "{source}: {}", render(&findings));
        assert!(!render(&findings).contains("secret"), "{}", render(&findings));
    }
}

#[test]
fn what_the_next_start_refuses_is_bad_today() {
    for (file, mend) in [("config.toml", "reconfigure"), ("edge-seg", "rollback")] {
        let setup = Setup::healthy();
        setup.install();
        let path = setup.at("var/lib/edge-seg/slots/a").join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}\n# edited\n")).unwrap();
        let bad = setup.bad();
        assert!(bad.iter().any(|(check, found, cure)| *check == "model" && found.contains(file) && cure.contains(mend)), "{bad:?}");
    }
}

#[test]
fn a_service_that_came_to_its_end_by_itself_is_healthy_and_one_that_was_stopped_is_not() {
    let setup = Setup::healthy();
    let show = |name: &str, value: &str| setup.put(&format!("commands/systemctl_show_edge-seg.service_-p_{name}_--value"), value);
    show("ActiveState", "inactive\n");
    for (code, status, healthy) in [("1", "0", true), ("2", "15", false), ("0", "0", false), ("1", "1", false)] {
        show("ExecMainCode", code);
        show("ExecMainStatus", status);
        assert_eq!(is_healthy(&setup.examine(NOW)), healthy, "code {code}, status {status}");
    }
}

#[test]
fn a_journal_that_shows_nothing_is_not_one_without_errors() {
    let setup = Setup::healthy();
    fs::remove_file(setup.at("commands/journalctl_-u_edge-seg.service_-n_1_-o_cat")).unwrap();
    let findings = setup.examine(NOW);
    let errors = findings.iter().find(|finding| finding.check == "errors").unwrap();
    assert!(errors.level == Level::Note && errors.found.contains("cannot tell without sudo"), "{errors:?}");
    assert!(is_healthy(&findings));
}

#[test]
fn keys_that_changed_after_the_installation_are_worth_a_note() {
    let setup = Setup::healthy();
    small::write(&setup.at("r.esb"), 7, &["pi5"], 5000);
    let root = setup.0.path().to_str().unwrap();
    let run = |words: &[&str]| Command::new(binary("edge-seg-fw")).current_dir(setup.0.path()).args(words).output().unwrap();
    let install = run(&["install", "r.esb", "--root", root]);
    assert!(install.status.success(), "{}", String::from_utf8_lossy(&install.stderr));
    assert!(run(&["keygen", "later", "--no-password"]).status.success());
    fs::create_dir_all(setup.at("etc/edge-seg/keys")).unwrap();
    fs::copy(setup.at("later.pub"), setup.at("etc/edge-seg/keys/later.pub")).unwrap();
    let findings = setup.examine(NOW);
    let signature = findings.iter().find(|finding| finding.check == "signature").unwrap();
    assert!(signature.level == Level::Note && signature.mend.as_deref().unwrap().contains("edge-seg-fw sign"), "{signature:?}");
    assert!(is_healthy(&findings), "{}", render(&findings));
}

#[test]
fn the_slot_that_does_not_run_is_looked_at_too() {
    let setup = Setup::healthy();
    let root = setup.0.path().to_str().unwrap();
    let run = |words: &[&str]| {
        let output = Command::new(binary("edge-seg-fw")).args(words).args(["--root", root]).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    for serial in [1, 2] {
        small::write(&setup.at("r.esb"), serial, &["pi5"], 5000);
        run(&["install", &format!("{root}/r.esb")]);
        if serial == 1 {
            // The stand-in shows no frames: the operator vouches for it.
            let _ = Command::new(binary("edge-seg-fw")).args(["guard", "--root", root]).output().unwrap();
            run(&["mark-good"]);
        }
    }
    let other = |setup: &Setup| setup.examine(NOW).into_iter().find(|finding| finding.check == "other slot");
    assert_eq!(other(&setup), None);
    let path = setup.at("var/lib/edge-seg/slots/a/bundle.esb");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let found = other(&setup).unwrap();
    assert!(found.level == Level::Note && found.found.contains("cannot be gone back to"), "{found:?}");
}

#[test]
fn a_release_that_runs_in_place_of_another_and_a_state_that_is_torn_are_found() {
    let setup = Setup::healthy();
    let root = setup.0.path().to_str().unwrap();
    let run = |words: &[&str]| Command::new(binary("edge-seg-fw")).args(words).args(["--root", root]).output().unwrap();
    let well = |words: &[&str]| {
        let output = run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    for serial in [1, 2] {
        small::write(&setup.at("r.esb"), serial, &["pi5"], 5000);
        well(&["install", &format!("{root}/r.esb")]);
        // The stand-in shows no frames: the operator vouches for it.
        run(&["guard"]);
        well(&["mark-good"]);
    }
    let starts = || setup.bad().into_iter().find(|(check, ..)| *check == "starts");
    assert_eq!(starts(), None);
    for _ in 0..4 {
        run(&["guard"]);
    }
    let (_, found, mend) = starts().expect("what is wanted does not run");
    let both = ["slot b (tiny serial 2, good, 3 starts in a row", "slot a (tiny serial 1, good)"];
    assert!(both.iter().all(|part| found.contains(part)) && mend.contains("journalctl"), "{found} -> {mend}");
    let status = String::from_utf8(run(&["status"]).stdout).unwrap();
    assert!(status.starts_with("runs    slot a, in place of slot b"), "{status}");
    let json: serde_json::Value = serde_json::from_slice(&run(&["status", "--json"]).stdout).unwrap();
    assert_eq!(json["fell_back"]["from"], "b");

    // It rots before it is tried again: found at once, and at the try told and not started.
    let program = setup.at("var/lib/edge-seg/slots/b/bundle.esb");
    let mut bytes = fs::read(&program).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&program, &bytes).unwrap();
    let other = || setup.bad().into_iter().find(|(check, ..)| *check == "other slot").map(|(_, found, _)| found);
    let changed = |found: Option<String>| found.is_some_and(|found| found.contains("tiny serial 2, has changed on the disk"));
    assert!(changed(other()));
    run(&["guard"]);
    run(&["guard"]);
    let status = String::from_utf8(run(&["status"]).stdout).unwrap();
    assert!(status.starts_with("runs    slot a\n") && status.contains("tiny serial 2, bad, for it has changed on the disk"), "{status}");
    assert!(changed(other()));

    let state = |setup: &Setup| setup.examine(NOW).into_iter().find(|finding| finding.check == "state");
    assert_eq!(state(&setup), None);
    setup.put("var/lib/edge-seg/state.json", "{\"for");
    let found = state(&setup).unwrap();
    assert!(found.level == Level::Note && found.found.contains("state.json") && found.found.contains("the other copy"), "{found:?}");
    setup.put("var/lib/edge-seg/state.copy.json", "");
    assert_eq!(state(&setup).unwrap().level, Level::Bad);
    for name in ["state.json", "state.copy.json"] {
        setup.put(&format!("var/lib/edge-seg/{name}"), "{\"format\":9}");
    }
    let found = state(&setup).unwrap();
    assert!(found.level == Level::Bad && found.found.contains("found 9"), "{found:?}");
}

#[test]
fn a_board_that_fetches_is_asked_whether_it_does() {
    let setup = Setup::healthy();
    let show = |unit: &str, name: &str, value: &str| setup.put(&format!("commands/systemctl_show_{unit}_-p_{name}_--value"), value);
    let (timer, service) = ("edge-seg-pull.timer", "edge-seg-pull.service");
    let found = |now: u64| setup.examine(now).into_iter().filter(|finding| finding.check == "pull").collect::<Vec<_>>();
    let only = |level: Level, part: &str| {
        let found = found(NOW);
        let told: Vec<_> = found.iter().filter(|finding| finding.level == level).collect();
        assert!(told.len() == 1 && told[0].found.contains(part), "{level:?} {part}: {found:?}");
    };
    show(timer, "ActiveState", "failed\n");
    setup.put("var/lib/edge-seg/pull.json", "torn");
    assert_eq!(found(NOW), [], "it is not set up to fetch");

    fs::remove_file(setup.at("var/lib/edge-seg/pull.json")).unwrap();
    setup.put("etc/edge-seg/pull-from", "https://updates.example.org\n");
    only(Level::Bad, "its timer has failed");
    show(timer, "ActiveState", "inactive\n");
    only(Level::Note, "the timer is inactive");
    show(timer, "ActiveState", "active\n");
    show(service, "Result", "success\n");
    only(Level::Ok, "by its timer");

    show(service, "Result", "exit-code\n");
    let said = "Starting edge-seg-pull.service\nedge-seg-fw: index.json: it counted until 2026-01-01\nFailed with result 'exit-code'.\n";
    setup.put("commands/journalctl_-u_edge-seg-pull.service_-n_20_-o_cat", said);
    only(Level::Bad, "the newest failed: index.json: it counted until");
    show(service, "Result", "success\n");

    let seen = "{\"number\":3,\"expires\":\"2027-01-01\",\"refused\":{\"under\":\"x\",\"why\":\"wrong board\"}}";
    for name in ["pull.json", "pull.copy.json"] {
        setup.put(&format!("var/lib/edge-seg/{name}"), seen);
    }
    only(Level::Bad, "the index counted until 2027-01-01");
    only(Level::Note, "refused what is offered: wrong board");
    assert!(found(1_735_700_000).iter().all(|finding| finding.level != Level::Bad), "that day has not come");
    setup.put("var/lib/edge-seg/pull.json", "{\"num");
    assert!(found(NOW).iter().any(|finding| finding.level == Level::Note && finding.found.contains("the other copy is used")));
}

#[test]
fn a_disk_that_became_read_only_is_told_first() {
    let setup = Setup::healthy();
    let options = |options: &str| setup.put("commands/findmnt_-n_-o_OPTIONS_-T_-var-lib-edge-seg", options);
    options("rw,noatime,errors=remount-ro\n");
    assert!(is_healthy(&setup.examine(NOW)));
    options("ro,noatime\n");
    let findings = setup.examine(NOW);
    assert_eq!((findings[0].check, findings[0].level), ("read-only", Level::Bad));
    assert!(render(&findings).starts_with("BAD  read-only"), "{}", render(&findings));
}

#[test]
fn a_program_that_the_package_has_brought_since_is_told() {
    let setup = Setup::healthy();
    setup.install();
    let told = || setup.examine(NOW).into_iter().find(|finding| finding.check == "packaged program");
    assert_eq!(told(), None);
    std::thread::sleep(std::time::Duration::from_millis(20));
    // As dpkg does it: a new file, as old as its build.
    setup.runtime(41);
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    fs::File::options().append(true).open(setup.at("usr/bin/edge-seg")).unwrap().set_modified(old).unwrap();
    let finding = told().expect("the slot holds the older program");
    assert!(finding.level == Level::Note && finding.mend.as_deref().unwrap().contains("reconfigure --packaged"), "{finding:?}");
    assert!(finding.found.contains("since"), "{finding:?}");
    // One that was there before the slot's own was written, as where that one was brought.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let program = setup.at("var/lib/edge-seg/slots/a/edge-seg");
    let bytes = fs::read(&program).unwrap();
    fs::remove_file(&program).unwrap();
    fs::write(&program, bytes).unwrap();
    let finding = told().unwrap();
    assert!(finding.found.contains("the package holds") && finding.mend.unwrap().contains("reconfigure --packaged"), "{}", finding.found);
}

#[test]
fn where_the_packaged_release_stands_in_it_is_what_is_looked_at() {
    let setup = Setup::healthy();
    let root = setup.0.path().to_str().unwrap().to_owned();
    setup.install();
    let run = |words: &[&str]| Command::new(binary("edge-seg-fw")).args(words).args(["--root", &root]).output().unwrap();
    run(&["guard"]);
    run(&["mark-good"]);
    for _ in 0..4 {
        run(&["guard"]);
    }
    let configuration = || setup.examine(NOW).into_iter().find(|finding| finding.check == "configuration").unwrap();
    let inference = || setup.examine(NOW).into_iter().find(|finding| finding.check == "inference").unwrap().found;
    let status: serde_json::Value = serde_json::from_slice(&run(&["status", "--json"]).stdout).unwrap();
    assert_eq!((status["current"].as_str(), &status["packaged_stands_in"]), (Some("a"), &true.into()));
    assert_eq!(configuration().found, setup.at("etc/edge-seg/edge-seg.toml").display().to_string());
    setup.runtime(77);
    assert!(inference().starts_with("78 ms"), "{}", inference());
    setup.put("etc/edge-seg/edge-seg.toml", "[input]\n");
    assert!(configuration().mend.unwrap().starts_with("sudoedit "));
    // And what a rollback takes away is told before it does.
    let dry = String::from_utf8(run(&["rollback", "--dry-run"]).stdout).unwrap();
    assert!(dry.starts_with("would go back from slot a"), "{dry}");
}

#[test]
fn a_pointer_that_names_no_slot_is_found() {
    let setup = Setup::healthy();
    small::write(&setup.at("r.esb"), 7, &["pi5"], 5000);
    let root = setup.0.path().to_str().unwrap();
    let run = |words: &[&str]| Command::new(binary("edge-seg-fw")).args(words).args(["--root", root]).output().unwrap();
    assert!(run(&["install", &format!("{root}/r.esb")]).status.success());
    run(&["guard"]);
    assert!(run(&["mark-good"]).status.success());
    let current = setup.at("var/lib/edge-seg/current");
    fs::remove_file(&current).unwrap();
    std::os::unix::fs::symlink("slots/zzz", &current).unwrap();
    let bad = setup.bad();
    assert!(bad.iter().any(|(check, found, _)| *check == "model" && found.contains("the next start runs slot a")), "{bad:?}");
    let status = String::from_utf8(run(&["status"]).stdout).unwrap();
    assert!(status.starts_with("runs    cannot tell"), "{status}");
}

#[test]
fn what_the_package_brings_and_no_release_reads_is_told() {
    let setup = Setup::healthy();
    setup.install();
    let told = || setup.examine(NOW).into_iter().find(|finding| finding.check == "packaged configuration");
    assert_eq!(told(), None);
    std::thread::sleep(std::time::Duration::from_millis(20));
    setup.source("test:?fps=7");
    let finding = told().expect("the edit has no effect, and that is told");
    assert!(finding.level == Level::Note && finding.mend.as_deref().unwrap().contains("reconfigure"), "{finding:?}");
}

#[test]
fn a_board_is_as_hot_as_the_runtimes_governor_finds_it() {
    let temperature = |celsius: u32, trip: Option<u32>| {
        let setup = Setup::healthy();
        setup.put("sys/class/thermal/thermal_zone0/temp", &format!("{celsius}000\n"));
        if let Some(trip) = trip {
            setup.put("sys/class/thermal/thermal_zone0/trip_point_0_type", "passive\n");
            setup.put("sys/class/thermal/thermal_zone0/trip_point_0_temp", &format!("{trip}000\n"));
        }
        let finding = setup.examine(NOW).into_iter().find(|finding| finding.check == "temperature").unwrap();
        (finding.level, finding.found)
    };
    assert_eq!(temperature(85, Some(99)).0, Level::Ok, "the runtime works as before up to 94 °C");
    assert_eq!(temperature(94, Some(99)).0, Level::Note);
    assert_eq!(temperature(99, Some(99)).0, Level::Bad);
    assert_eq!(temperature(61, Some(60)).0, Level::Bad);
    assert_eq!((temperature(74, None).0, temperature(75, None).0), (Level::Ok, Level::Note));
    let (level, found) = temperature(80, None);
    assert!(level == Level::Bad && found.contains("from 80 °C on the board slows down"), "{found}");
}

#[test]
fn a_clock_at_1970_and_a_32_bit_system_are_found() {
    let findings = Setup::healthy().examine(60);
    let bad: Vec<_> = findings.iter().filter(|finding| finding.level == Level::Bad).collect();
    assert_eq!((bad.len(), bad[0].check), (1, "clock"));
    let setup = Setup::healthy();
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("boards/pi4-32bit/proc/cpuinfo"), setup.at("proc/cpuinfo")).unwrap();
    assert!(setup.bad().iter().any(|(check, found, _)| *check == "board" && found.contains("64-bit")));
}

#[test]
fn the_running_slots_contents_are_checked() {
    let setup = Setup::healthy();
    setup.install();
    let findings = setup.examine(NOW);
    assert!(is_healthy(&findings), "{}", render(&findings));
    assert!(findings.iter().any(|finding| finding.check == "model" && finding.found.contains("tiny serial 7")));
    assert!(findings.iter().any(|finding| finding.check == "trial" && finding.mend.as_deref().unwrap().contains("mark-good")));
    let path = setup.at("var/lib/edge-seg/slots/a/bundle.esb");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let bad = setup.bad();
    assert!(bad.iter().any(|(check, found, mend)| *check == "model" && found.contains("SHA-256") && mend.contains("rollback")), "{bad:?}");
}

#[test]
fn the_command_line_says_it_by_exit_status_and_json() {
    let run = |setup: &Setup, more: &[&str]| {
        let output = Command::new(binary("edge-seg-fw")).arg("doctor").args(more).arg("--root").arg(setup.0.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let setup = Setup::healthy();
    assert_eq!(run(&setup, &[]).0, Some(0));
    assert_eq!(run(&setup, &["--baseline"]).0, Some(0));
    setup.runtime(500);
    let (code, text) = run(&setup, &["--json"]);
    assert_eq!(code, Some(1));
    let findings: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let inference = findings.iter().find(|finding| finding["check"] == "inference").unwrap();
    assert_eq!(inference["level"], "bad");
    assert!(inference["found"].as_str().unwrap().contains("this board has done it in 41 ms"));
    let (_, text) = run(&setup, &[]);
    assert!(text.starts_with("BAD  inference"), "what is bad comes first: {text}");
}

#[test]
fn a_jetsons_runtime_is_asked_for_the_gpu() {
    let found = |answer: &str| {
        let setup = Setup::healthy();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("boards/jetson-orin"), setup.0.path());
        let script = format!("#!/bin/sh\n{CONFIG_CHECK}\n[ $1 = inspect ] && echo '{answer}' && exit\n{}\n", bench(40));
        setup.put("usr/bin/edge-seg", &script);
        let gpu: Vec<Finding> = setup.examine(NOW).into_iter().filter(|finding| finding.check == "gpu").collect();
        assert_eq!(gpu.len(), 1, "{gpu:?}");
        gpu[0].clone()
    };
    let usable = found("{\"devices\":{\"cuda\":{\"usable\":true}}}");
    assert!(usable.level == Level::Ok && usable.found.contains("--device cuda"), "{usable:?}");
    let missing = found("{\"devices\":{\"cuda\":{\"usable\":false,\"why\":\"no header cuda_fp16.h\"}}}");
    assert!(missing.level == Level::Note && missing.found.contains("no header cuda_fp16.h") && missing.mend.is_some(), "{missing:?}");
    assert_eq!(found("an older runtime").level, Level::Note);
    assert!(Setup::healthy().examine(NOW).iter().all(|finding| finding.check != "gpu"), "a Pi has no such GPU");
}

#[test]
fn without_a_baseline_the_time_is_held_against_what_is_predicted_for_the_board() {
    let inference = |setup: &Setup| setup.examine(NOW).into_iter().find(|finding| finding.check == "inference").unwrap();
    let setup = Setup::healthy();
    setup.runtime(200);
    let found = inference(&setup);
    assert!(found.level == Level::Ok && found.found.contains("201 ms, at least 109 ms are predicted"), "{found:?}");
    setup.runtime(900);
    let found = inference(&setup);
    assert!(found.level == Level::Note && found.found.contains("901 ms, where 109 ms") && found.mend.is_some(), "{found:?}");
    // This board's own time counts more than any prediction.
    setup.put("var/lib/edge-seg/inference.json", "{\"milliseconds\":880}");
    assert_eq!(inference(&setup).level, Level::Ok);
}
