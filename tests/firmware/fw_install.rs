//! Installation by real processes on a real file system, some of them killed, and the guard that runs what is installed.

use crate::small;

use edge_seg_tests::{binary, may_lack};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const CONFIG: &str = "[input]\nsource = \"pictures\"\n";

/// A board's root with a packaged runtime and configuration. Runtimes are scripts that print frames as the real one does.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Root {
        let root = Root(tempfile::tempdir().unwrap());
        fs::create_dir_all(root.at("etc/edge-seg/keys")).unwrap();
        fs::create_dir_all(root.at("usr/bin")).unwrap();
        root.script("usr/bin/edge-seg", &frames(0, 5));
        fs::write(root.at("etc/edge-seg/edge-seg.toml"), CONFIG).unwrap();
        root
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// A runtime that finds configurations right where they say `source`.
    fn script(&self, path: &str, body: &str) {
        let check = "if [ \"$1\" = config ]; then grep -q source \"$3\" && exit 0; echo \"edge-seg: $3: expected source\" >&2; exit 1; fi";
        fs::write(self.at(path), format!("#!/bin/sh\n{check}\n{body}")).unwrap();
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("edge-seg-fw"));
        command.current_dir(self.0.path()).args(arguments).args(["--root", self.0.path().to_str().unwrap()]);
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Status and stderr of a command that is refused.
    fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// A bundle and runtime of this release, installed with `install`.
    fn release(&self, serial: u64, body: &str) -> [String; 3] {
        small::write(&self.at("r.esb"), serial, &[], 200_000);
        self.script("runtime", body);
        ["r.esb".into(), "--binary".into(), "runtime".into()]
    }

    /// What the guard runs: the release that its frames name.
    fn guard(&self) -> (u64, Output) {
        let output = self.run(&["guard", "--first", "2", "--stall", "2"]);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = stdout.lines().next().unwrap_or_else(|| panic!("no frame: {}", String::from_utf8_lossy(&output.stderr)));
        (serde_json::from_str::<serde_json::Value>(line).unwrap()["release"].as_u64().unwrap(), output)
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.ok(&["status", "--json"])).unwrap()
    }
}

fn frames(serial: u64, count: u64) -> String {
    format!("i=0; while [ $i -lt {count} ]; do i=$((i+1)); echo '{{\"release\":{serial}}}'; done\n")
}

fn install<'a>(release: &'a [String; 3], more: &[&'a str]) -> Vec<&'a str> {
    ["install", "--trial-frames", "3"].into_iter().chain(release.iter().map(String::as_str)).chain(more.iter().copied()).collect()
}

#[test]
fn releases_prove_themselves_and_the_way_back_stays_open() {
    let root = Root::new();
    assert_eq!(root.guard().0, 0, "the packaged release, before anything is installed");
    root.ok(&install(&root.release(1, &frames(1, 5)), &[]));
    assert_eq!(root.status()["a"]["status"]["pending"]["tries_left"], 3);
    let (serial, output) = root.guard();
    assert_eq!(serial, 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("slot a is good"), "{output:?}");
    root.ok(&install(&root.release(2, &frames(2, 5)), &[]));
    assert_eq!(root.guard().0, 2);
    let status = root.status();
    assert_eq!((status["current"].as_str(), status["b"]["status"].as_str(), status["floor"].as_u64()), (Some("b"), Some("good"), Some(2)));
    root.ok(&["rollback"]);
    assert_eq!(root.guard().0, 1);
    let (code, stderr) = root.refused(&["rollback"]);
    assert!(code == 1 && stderr.contains("nothing good"), "{stderr}");
    assert!(root.ok(&["prune"]).contains("freed: b"));
    assert!(!root.at("var/lib/edge-seg/slots/b/bundle.esb").exists());
    let (code, stderr) = root.refused(&install(&root.release(1, "exit 1\n"), &[]));
    assert!(code == 1 && stderr.contains("downgrade"), "{stderr}");
}

#[test]
fn a_release_that_dies_hangs_or_complains_is_given_up() {
    for (kind, body) in [
        ("dies", "exit 3\n".to_string()),
        ("hangs", "exec sleep 60\n".into()),
        ("complains", "echo '{\"error\":\"no camera\"}'; exit 1\n".into()),
    ] {
        let root = Root::new();
        root.ok(&install(&root.release(1, &frames(1, 5)), &[]));
        assert_eq!(root.guard().0, 1);
        root.ok(&install(&root.release(2, &body), &[]));
        let starts = if kind == "hangs" { 1 } else { 3 };
        for start in 0..starts {
            let output = root.run(&["guard", "--first", "2", "--stall", "2"]);
            assert_eq!(output.status.code(), Some(1), "{kind}, start {start}: {output:?}");
        }
        if kind == "hangs" {
            continue;
        }
        assert_eq!(root.guard().0, 1, "{kind}: after three starts the release before runs");
        assert!(root.status()["b"]["status"]["bad"]["why"].as_str().unwrap().contains("in 3 starts"));
    }
}

#[test]
fn the_service_manager_hears_of_readiness_and_of_every_frame() {
    let root = Root::new();
    let socket = UnixDatagram::bind(root.at("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let output = root.command(&["guard"]).env("NOTIFY_SOCKET", root.at("notify")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let heard = || {
        let mut text = [0; 200];
        let len = socket.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..len]).trim_end().to_owned()
    };
    assert_eq!(heard(), "READY=1");
    assert_eq!(heard(), "WATCHDOG=1\nSTATUS=the packaged release, 1 frames");
}

#[test]
fn the_slots_bundle_and_configuration_reach_the_runtime() {
    let root = Root::new();
    fs::write(root.at("mine.toml"), format!("{CONFIG}loop = true\n")).unwrap();
    let body = "printf '{\"release\":1,\"arguments\":\"%s\"}\\n' \"$*\"\n";
    root.ok(&install(&root.release(1, body), &["--config", "mine.toml"]));
    let (_, output) = root.guard();
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let slot = root.at("var/lib/edge-seg/slots/a");
    assert_eq!(line["arguments"], format!("run --config {0}/config.toml --model {0}/bundle.esb", slot.display()));
    assert_eq!(fs::read(slot.join("bundle.esb")).unwrap(), fs::read(root.at("r.esb")).unwrap());
    assert_eq!(fs::read(slot.join("config.toml")).unwrap(), fs::read(root.at("mine.toml")).unwrap());
    // The packaged runtime carries its own model.
    let packaged = Root::new();
    packaged.script("usr/bin/edge-seg", body);
    let line: serde_json::Value = serde_json::from_slice(&packaged.run(&["guard"]).stdout).unwrap();
    assert_eq!(line["arguments"], format!("run --config {}", packaged.at("etc/edge-seg/edge-seg.toml").display()));
}

#[test]
fn a_configuration_that_the_release_does_not_take_is_refused() {
    let root = Root::new();
    let release = root.release(1, &frames(1, 5));
    fs::write(root.at("wrong.toml"), "[input]\nsorce = \"test:\"\n").unwrap();
    let (code, stderr) = root.refused(&install(&release, &["--config", "wrong.toml"]));
    assert!(code == 1 && stderr.contains("the configuration:") && stderr.contains("expected source"), "{stderr}");
    assert!(!root.at("var/lib/edge-seg/slots/a/config.toml").exists(), "what is refused is not written");
    for left in ["check.toml", "check.edge-seg"] {
        assert!(!root.at("var/lib/edge-seg").join(left).exists(), "{left}");
    }
    // A copied program need not be executable yet to be asked.
    fs::set_permissions(root.at("runtime"), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, stderr) = root.refused(&install(&release, &["--config", "wrong.toml"]));
    assert!(code == 1 && stderr.contains("expected source"), "{stderr}");
    root.ok(&install(&release, &[]));
    assert_eq!(root.guard().0, 1);
}

/// Where somebody else than root could have put something, nothing is written, emptied or read.
#[test]
fn links_in_the_slots_lead_nowhere() {
    let root = Root::new();
    root.ok(&install(&root.release(1, &frames(1, 5)), &[]));
    assert_eq!(root.guard().0, 1);
    let release = root.release(2, &frames(2, 5));
    let state = root.at("var/lib/edge-seg");
    fs::create_dir(root.at("elsewhere")).unwrap();
    fs::write(root.at("elsewhere/kept"), "kept").unwrap();
    fs::write(root.at("secret"), "[input]\nsource = \"a secret\"\n").unwrap();
    let link = |from: &str, to: &str| std::os::unix::fs::symlink(root.at(to), state.join(from)).unwrap();
    let untouched = |what: &str| {
        let (code, stderr) = root.refused(&install(&release, &[]));
        assert!(code != 0 && stderr.contains("link"), "{what}: {code} {stderr}");
        assert_eq!(fs::read_to_string(root.at("elsewhere/kept")).unwrap(), "kept", "{what}");
        assert_eq!(fs::read_dir(root.at("elsewhere")).unwrap().count(), 1, "{what}");
    };
    // The target slot, then the folder of both.
    fs::create_dir_all(state.join("slots/b")).unwrap();
    fs::remove_dir_all(state.join("slots/b")).unwrap();
    link("slots/b", "elsewhere");
    untouched("slots/b");
    fs::remove_file(state.join("slots/b")).unwrap();
    fs::rename(state.join("slots"), state.join("kept")).unwrap();
    link("slots", "elsewhere");
    untouched("slots");
    fs::remove_file(state.join("slots")).unwrap();
    fs::rename(state.join("kept"), state.join("slots")).unwrap();
    // The configuration that is taken over.
    fs::rename(state.join("slots/a/config.toml"), root.at("own.toml")).unwrap();
    link("slots/a/config.toml", "secret");
    let output = root.run(&install(&release, &[]));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(!state.join("slots/b/config.toml").exists());
    fs::remove_file(state.join("slots/a/config.toml")).unwrap();
    fs::rename(root.at("own.toml"), state.join("slots/a/config.toml")).unwrap();
    // A lock that nobody would ever open the other end of.
    fs::remove_file(state.join("lock")).unwrap();
    assert!(Command::new("mkfifo").arg(state.join("lock")).status().unwrap().success());
    let (code, stderr) = root.refused(&install(&release, &[]));
    assert!(code == 2 && stderr.contains("expected a plain file"), "{stderr}");
    fs::remove_file(state.join("lock")).unwrap();
    root.ok(&install(&release, &[]));
    assert_eq!(root.guard().0, 2);
}

#[test]
fn nobody_elses_lock_holds_a_change_up_and_a_file_that_cannot_be_read_costs_itself_alone() {
    let root = Root::new();
    let release = root.release(1, &frames(1, 12));
    root.ok(&install(&release, &[]));
    assert_eq!(root.guard().0, 1);
    let state = |name: &str| root.at("var/lib/edge-seg").join(name);
    let mode = || fs::metadata(state("lock")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600, "who can open a lock can hold it");
    // As an older tool made it.
    fs::set_permissions(state("lock"), fs::Permissions::from_mode(0o644)).unwrap();
    root.ok(&["prune"]);
    assert_eq!(mode(), 0o600);

    // What a dying card gives back: no file that can be read.
    for name in ["state.json", "history.jsonl"] {
        fs::remove_file(state(name)).unwrap();
        fs::create_dir(state(name)).unwrap();
    }
    let told = root.run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((status["current"].as_str(), status["a"]["status"].as_str()), (Some("a"), Some("good")), "by the state's copy: {told:?}");
    assert!(String::from_utf8_lossy(&told.stderr).contains("the history: "), "{told:?}");
    assert_eq!(root.guard().0, 1);
    // With both gone nothing is made up: the packaged release runs, and no change begins.
    fs::remove_file(state("state.copy.json")).unwrap();
    assert!(Command::new("mkfifo").arg(state("state.copy.json")).status().unwrap().success());
    let (code, stderr) = root.refused(&["status"]);
    assert!(code == 2 && stderr.contains("state.json: expected a plain file, found a folder"), "{stderr}");
    assert_eq!(root.guard().0, 0);
}

#[test]
fn a_folder_that_others_can_write_holds_no_releases() {
    let root = Root::new();
    root.ok(&install(&root.release(1, &frames(1, 5)), &[]));
    let state = root.at("var/lib/edge-seg");
    fs::set_permissions(state.join("slots"), fs::Permissions::from_mode(0o777)).unwrap();
    let (code, stderr) = root.refused(&install(&root.release(2, &frames(2, 5)), &[]));
    assert!(code != 0 && stderr.contains("mode 0777"), "{stderr}");
    fs::set_permissions(state.join("slots"), fs::Permissions::from_mode(0o755)).unwrap();
    if !is_root() {
        return;
    }
    // The folder of an older package is the service's.
    std::os::unix::fs::chown(&state, Some(65_534), Some(65_534)).unwrap();
    let (code, stderr) = root.refused(&install(&root.release(2, &frames(2, 5)), &[]));
    assert!(code == 2 && stderr.contains("user 65534's"), "{stderr}");
    assert_eq!(root.guard().0, 0, "and what lies there is not started");
    // Nor is a root that is somebody's own: a sudoers line for this tool is none for every program.
    std::os::unix::fs::chown(root.0.path(), Some(65_534), Some(65_534)).unwrap();
    for arguments in [&["guard"][..], &install(&root.release(2, &frames(2, 5)), &[])] {
        let (code, stderr) = root.refused(arguments);
        assert!(code == 2 && stderr.contains("--root"), "{stderr}");
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    may_lack("root", "CI may run as a user, and only root can become another one", fs::metadata("/proc/self").unwrap().uid() == 0)
}

#[test]
fn the_runtime_runs_as_the_owner_of_the_services_folder() {
    if !is_root() {
        return;
    }
    let root = Root::new();
    fs::set_permissions(root.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(root.at("var/lib/edge-seg/data")).unwrap();
    fs::set_permissions(root.at("var/lib/edge-seg"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(root.at("var/lib/edge-seg/data"), Some(65_534), Some(65_534)).unwrap();
    fs::write(root.at("etc/passwd"), "root:x:0:0::/:/bin/sh\ncamera:x:65534:65534::/:/bin/false\n").unwrap();
    fs::write(root.at("etc/group"), "video:x:44:camera\nother:x:45:root\n").unwrap();
    let body = "echo \"{\\\"release\\\":1,\\\"who\\\":\\\"$(id -u) $(id -g) $(id -G)\\\"}\"\n";
    // The configuration holds a password; its owner alone may read it.
    fs::write(root.at("mine.toml"), CONFIG).unwrap();
    fs::set_permissions(root.at("mine.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    root.ok(&install(&root.release(1, &body.repeat(3)), &["--config", "mine.toml"]));
    let config = fs::metadata(root.at("var/lib/edge-seg/slots/a/config.toml")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((config.mode() & 0o777, config.uid(), config.gid()), (0o640, 0, 65_534), "the service's and root's alone");
    let (_, output) = root.guard();
    let line: serde_json::Value = serde_json::from_slice(output.stdout.split(|b| *b == b'\n').next().unwrap()).unwrap();
    let who: Vec<&str> = line["who"].as_str().unwrap().split(' ').collect();
    assert_eq!(who[..2], ["65534", "65534"], "{line}");
    assert!(who.contains(&"44") && !who[2..].contains(&"0"), "{line}");
    assert_eq!(root.status()["a"]["status"], "good");
}

#[test]
fn modes_are_set_and_not_inherited() {
    let root = Root::new();
    let release = root.release(1, &frames(1, 5));
    let tool = binary("edge-seg-fw").display().to_string();
    let line = format!("umask 077; exec {tool} {} --root .", install(&release, &[]).join(" "));
    assert!(Command::new("sh").current_dir(root.0.path()).args(["-c", &line]).status().unwrap().success());
    let mode = |path: &str| fs::metadata(root.at("var/lib/edge-seg").join(path)).unwrap().permissions().mode() & 0o777;
    for (path, expected) in [
        ("", 0o755),
        ("slots", 0o755),
        ("slots/a", 0o755),
        ("slots/a/edge-seg", 0o755),
        ("slots/a/bundle.esb", 0o644),
        ("slots/a/config.toml", 0o644),
        ("slots/a/release.json", 0o644),
        ("state.json", 0o644),
    ] {
        assert_eq!(mode(path), expected, "{path}");
    }
    assert_eq!(root.guard().0, 1);
}

#[test]
fn an_old_runtimes_frames_prove_nothing_of_a_release_that_never_ran() {
    let root = Root::new();
    // The first release works on while the second is installed without a restart; then it shows the frames of a trial.
    let body = "echo '{\"release\":1}'; while [ ! -e go ]; do sleep 0.05; done\n".to_owned() + &frames(1, 5);
    root.ok(&install(&root.release(1, &body), &[]));
    let mut old = root.command(&["guard"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(old.stdout.as_mut().unwrap()), &mut line).unwrap();
    root.ok(&install(&root.release(2, "exit 1\n"), &[]));
    fs::write(root.at("go"), "").unwrap();
    assert!(old.wait_with_output().unwrap().status.success());
    let status = root.status();
    assert!(status["b"]["status"]["pending"].is_object(), "{status}");
    assert!(status["floor"].as_u64().unwrap() < 2, "{status}");
    let (code, stderr) = root.refused(&["mark-good"]);
    assert!(code == 1 && stderr.contains("has not run yet"), "{stderr}");
}

#[test]
fn a_good_release_that_fails_later_gives_way_and_starts_go_on() {
    let root = Root::new();
    root.ok(&install(&root.release(1, &frames(1, 5)), &[]));
    assert_eq!(root.guard().0, 1);
    // Good today; tomorrow a file is gone.
    fs::write(root.at("words"), "").unwrap();
    root.ok(&install(&root.release(2, &format!("[ -e words ] || exit 1\n{}", frames(2, 5))), &[]));
    assert_eq!(root.guard().0, 2);
    fs::remove_file(root.at("words")).unwrap();
    for _ in 0..3 {
        assert_eq!(root.run(&["guard"]).status.code(), Some(1));
    }
    let (serial, output) = root.guard();
    assert_eq!(serial, 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("slot b failed in 3 starts in a row: slot a is tried"), "{output:?}");
    let status = root.status();
    assert_eq!((&status["b"]["status"], &status["fell_back"]["from"]), (&"good".into(), &"b".into()), "nothing says that it is to blame");
    // The next start tries it, those after it do not; words alone are not brought to what stands in for another release.
    fs::write(root.at("new.toml"), "[input]\nsource = \"pictures9\"\n").unwrap();
    let (code, stderr) = root.refused(&["reconfigure", "new.toml"]);
    assert!(code == 1 && stderr.contains("in place of slot b") && stderr.contains("bring the whole release"), "{stderr}");
    assert_eq!(root.run(&["guard"]).status.code(), Some(1));
    assert_eq!((root.guard().0, root.guard().0), (1, 1));
    // Nor does the service manager's own restart; the operator's, or a start of the system, does once.
    let restarts = |count: u32| {
        fs::create_dir_all(root.at("commands")).unwrap();
        fs::write(root.at("commands/systemctl_show_edge-seg.service_-p_NRestarts_--value"), format!("{count}\n")).unwrap();
    };
    restarts(7);
    assert_eq!((root.guard().0, root.guard().0), (1, 1));
    restarts(0);
    assert_eq!(root.run(&["guard"]).status.code(), Some(1));
    restarts(1);
    assert_eq!((root.guard().0, root.guard().0), (1, 1));
    restarts(0);
    fs::write(root.at("words"), "").unwrap();
    assert_eq!((root.guard().0, &root.status()["fell_back"]), (2, &serde_json::Value::Null));
    let status = root.status();
    assert_eq!(status["history"].as_array().unwrap().last().unwrap()["what"], "slot b shows frames again");
    fs::remove_file(root.at("words")).unwrap();
    restarts(1);
    assert_eq!((0..3).filter(|_| root.run(&["guard"]).status.code() == Some(1)).count(), 3);
    assert_eq!(root.guard().0, 1);
    // Redeployed with what it needs, it runs.
    fs::write(root.at("words"), "").unwrap();
    root.ok(&install(&root.release(2, &format!("[ -e words ] || exit 1\n{}", frames(2, 5))), &[]));
    assert_eq!((root.guard().0, &root.status()["fell_back"]), (2, &serde_json::Value::Null));
    // The service manager never gives up.
    let unit = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware-tools/packaging/edge-seg.service")).unwrap();
    assert!(unit.lines().any(|line| line == "StartLimitIntervalSec=0"), "{unit}");
    // Where its output goes nowhere, so would what it says, unless it is said otherwise.
    let lines: Vec<&str> = unit.lines().filter(|line| line.starts_with("Standard")).collect();
    assert_eq!(lines, ["StandardOutput=null", "StandardError=journal"]);
}

#[test]
fn a_start_that_somebody_asks_for_waits_for_nothing_and_a_wait_that_is_cut_off_counts_nothing() {
    let root = Root::new();
    root.ok(&install(&root.release(1, &format!("[ -e words ] || exit 1\n{}", frames(1, 5))), &[]));
    fs::write(root.at("words"), "").unwrap();
    assert_eq!(root.guard().0, 1);
    // An outage of many starts: each that the service manager makes by itself would wait for minutes.
    fs::remove_file(root.at("words")).unwrap();
    let state = root.at("var/lib/edge-seg/state.json");
    let mut saved: serde_json::Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    saved["a"]["failed_starts"] = 15.into();
    saved["packaged"] = serde_json::json!({"stands_in": false, "failed_starts": 15});
    fs::write(&state, saved.to_string()).unwrap();
    let before = fs::read(&state).unwrap();
    let mut waits = root.command(&["guard"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = std::io::BufReader::new(waits.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("waits for 240 s") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut told, &mut line).unwrap() > 0, "it ended without a wait");
    }
    waits.kill().unwrap();
    waits.wait().unwrap();
    assert_eq!(fs::read(&state).unwrap(), before, "it has not started");
    fs::create_dir_all(root.at("commands")).unwrap();
    fs::write(root.at("commands/systemctl_show_edge-seg.service_-p_NRestarts_--value"), "0\n").unwrap();
    fs::write(root.at("words"), "").unwrap();
    let (serial, output) = root.guard();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(serial == 1 && !told.contains("waits for"), "{told}");
}

#[test]
fn what_works_in_place_of_another_and_ends_before_its_time_has_worked_for_as_long() {
    let root = Root::new();
    let late = "[ -e late ] || exit 0; sleep 4; echo '{\"release\":1}'; exit 1\n";
    let slow = format!("{}{late}", frames(1, 5));
    root.ok(&install(&root.release(1, &slow), &[]));
    assert_eq!(root.guard().0, 1);
    fs::write(root.at("words"), "").unwrap();
    root.ok(&install(&root.release(2, &format!("[ -e words ] || exit 1\n{}", frames(2, 5))), &[]));
    assert_eq!(root.guard().0, 2);
    fs::remove_file(root.at("words")).unwrap();
    fs::write(root.at("late"), "").unwrap();
    for _ in 0..3 {
        assert_eq!(root.run(&["guard"]).status.code(), Some(1));
    }
    let output = root.run(&["guard", "--first", "60", "--stall", "60"]);
    let saved: serde_json::Value = serde_json::from_slice(&fs::read(root.at("var/lib/edge-seg/state.json")).unwrap()).unwrap();
    assert!(saved["fallen"]["worked_s"].as_u64().is_some_and(|seconds| seconds > 0), "{saved} {output:?}");
}

/// Shows frames and goes on, until its root has a file `end`: then it ends badly.
fn until_end(serial: u64) -> String {
    format!("while [ ! -e end ]; do echo '{{\"release\":{serial}}}'; sleep 0.1; done; exit 1\n")
}

#[test]
fn what_ends_right_after_its_frames_loses_its_trial_and_a_good_one_gives_way() {
    let root = Root::new();
    root.ok(&install(&root.release(1, &frames(1, 5)), &[]));
    assert_eq!(root.guard().0, 1);
    root.ok(&install(&root.release(2, &(frames(2, 20) + "exit 1\n")), &[]));
    assert_eq!([root.guard().0, root.guard().0, root.guard().0, root.guard().0], [2, 2, 2, 1]);
    let why = root.status()["b"]["status"]["bad"]["why"].as_str().unwrap().to_owned();
    assert!(why.contains("in 3 starts: it ended with exit status: 1, after 20 frames in 0 s"), "{why}");
    // One that was good ends so later.
    let root = Root::new();
    root.ok(&install(&root.release(1, &frames(1, 5)), &[]));
    assert_eq!(root.guard().0, 1);
    root.ok(&install(&root.release(2, &until_end(2)), &[]));
    let ends = || {
        let guard = root.command(&["guard"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        settled(&root, |status| status["started"]["shown"] == true);
        fs::write(root.at("end"), "").unwrap();
        let output = guard.wait_with_output().unwrap();
        fs::remove_file(root.at("end")).unwrap();
        assert!(!output.status.success(), "{output:?}");
        root.status()
    };
    for starts in 1..=3 {
        let status = ends();
        assert_eq!((status["b"]["status"].as_str(), status["b"]["failed_starts"].as_u64()), (Some("good"), Some(starts)), "{status}");
        assert!(root.ok(&["status"]).contains(&format!("good, {starts} start")), "{}", root.ok(&["status"]));
    }
    assert_eq!((root.guard().0, &root.status()["fell_back"]["from"]), (1, &"b".into()));
}

/// Waits until the status is as expected.
fn settled(root: &Root, is: impl Fn(&serde_json::Value) -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while !is(&root.status()) {
        assert!(std::time::Instant::now() < end, "{}", root.status());
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn terminate(guard: &std::process::Child) {
    assert!(Command::new("kill").arg(guard.id().to_string()).status().unwrap().success());
}

#[test]
fn who_stops_a_start_costs_it_nothing_and_what_runs_is_told_until_it_ends() {
    let root = Root::new();
    root.ok(&install(&root.release(1, &frames(1, 5)), &[]));
    assert_eq!(root.guard().0, 1);
    root.ok(&install(&root.release(2, &until_end(2)), &["--trial-minutes", "5"]));
    assert!(root.ok(&["status"]).starts_with("runs    slot a, slot b at the next start\n"), "{}", root.ok(&["status"]));
    let tries = |status: &serde_json::Value| status["b"]["status"]["pending"]["tries_left"].as_u64();
    for _ in 0..4 {
        let mut guard = root.command(&["guard"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(guard.stdout.as_mut().unwrap()), &mut line).unwrap();
        assert_eq!(tries(&root.status()), Some(2), "{line}");
        terminate(&guard);
        let ended = guard.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(15), "who asks how it ended finds the stop");
        assert_eq!(tries(&root.status()), Some(3));
    }
    // Nothing of it is left running.
    assert!(root.ok(&["status"]).starts_with("runs    slot b\n"));
    // One that has used up its time for a frame has failed, whoever ends it.
    let root = Root::new();
    root.ok(&install(&root.release(1, "while :; do echo '{\"error\":\"dark\"}'; sleep 0.1; done\n"), &[]));
    let mut guard = root.command(&["guard", "--first", "1"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    terminate(&guard);
    guard.wait().unwrap();
    assert_eq!(root.status()["a"]["status"]["pending"]["tries_left"], 2);
}

#[test]
fn how_long_another_has_worked_is_kept_when_it_is_stopped() {
    let root = Root::new();
    root.ok(&install(&root.release(1, &until_end(1)), &[]));
    fs::write(root.at("words"), "").unwrap();
    let mut guard = root.command(&["guard"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    settled(&root, |status| status["a"]["status"] == "good");
    terminate(&guard);
    guard.wait().unwrap();
    root.ok(&install(&root.release(2, &format!("[ -e words ] || exit 1\n{}", frames(2, 5))), &[]));
    assert_eq!(root.guard().0, 2);
    fs::remove_file(root.at("words")).unwrap();
    for _ in 0..3 {
        assert_eq!(root.run(&["guard"]).status.code(), Some(1));
    }
    let mut guard = root.command(&["guard"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    settled(&root, |status| status["started"]["shown"] == true);
    terminate(&guard);
    guard.wait().unwrap();
    let saved: serde_json::Value = serde_json::from_slice(&fs::read(root.at("var/lib/edge-seg/state.json")).unwrap()).unwrap();
    assert!(saved["fallen"]["worked_s"].as_u64().is_some_and(|seconds| seconds >= 3), "{saved}");
}

#[test]
fn the_packaged_program_is_read_once_and_what_is_advised_of_it_is_taken() {
    let root = Root::new();
    let digests = || fs::read_to_string(root.at("var/lib/edge-seg/packaged.json")).unwrap();
    root.ok(&["install", "--trial-frames", "3", &root.release(1, &frames(1, 5))[0], "--packaged"]);
    assert_eq!(root.status()["other_program_packaged"], false);
    let kept = digests();
    let packaged = fs::read_to_string(root.at("usr/bin/edge-seg")).unwrap();
    // What was kept is gone by, until the file is another.
    fs::write(root.at("var/lib/edge-seg/packaged.json"), kept.replace("\"sha256\":\"", "\"sha256\":\"0")).unwrap();
    assert_eq!(root.status()["other_program_packaged"], true);
    fs::write(root.at("usr/bin/edge-seg"), packaged).unwrap();
    assert_eq!(root.status()["other_program_packaged"], false);
    assert_ne!(digests(), kept);
    // Where another runs in its place, its own program cannot be taken alone.
    root.guard();
    fs::write(root.at("words"), "").unwrap();
    root.ok(&install(&root.release(2, &format!("[ -e words ] || exit 1\n{}", frames(2, 5))), &[]));
    assert!(root.ok(&["status"]).contains("reconfigure --packaged --restart   # later: slot b is on trial"), "{}", root.ok(&["status"]));
    assert_eq!(root.guard().0, 2);
    fs::remove_file(root.at("words")).unwrap();
    for _ in 0..3 {
        assert_eq!(root.run(&["guard"]).status.code(), Some(1));
    }
    root.guard();
    root.script("usr/bin/edge-seg", "[ \"$1\" = config ] && exit 0\n# another\n");
    let told = root.ok(&["status"]);
    assert!(told.contains("not that of slot a: sudo edge-seg-fw install BUNDLE --packaged --restart"), "{told}");
    root.ok(&["install", &root.release(4, "exit 1\n")[0], "--packaged"]);
}

#[test]
fn the_first_release_can_be_gone_back_from() {
    let root = Root::new();
    root.ok(&install(&root.release(1, &frames(1, 5)), &[]));
    assert_eq!(root.guard().0, 1);
    assert!(root.ok(&["rollback"]).contains("the packaged release runs at the next start"));
    assert_eq!(root.guard().0, 0);
    assert_eq!(root.status()["current"], serde_json::Value::Null);
    let (code, stderr) = root.refused(&["rollback"]);
    assert!(code == 1 && stderr.contains("packaged release"), "{stderr}");
}

#[test]
fn a_folder_of_few_pictures_passes_its_trial() {
    let root = Root::new();
    root.ok(&install(&root.release(1, &frames(1, 2)), &[]));
    assert_eq!(root.guard().0, 1);
    assert_eq!(root.status()["a"]["status"], "good");
    let failing = Root::new();
    failing.ok(&install(&failing.release(1, &(frames(1, 2) + "exit 1\n")), &[]));
    assert_eq!(failing.guard().0, 1);
    assert!(failing.status()["a"]["status"]["pending"].is_object());
}

#[test]
fn what_runs_takes_another_configuration_or_the_packages_program() {
    let root = Root::new();
    fs::write(root.at("new.toml"), format!("{CONFIG}loop = true\n")).unwrap();
    let (code, stderr) = root.refused(&["reconfigure", "new.toml"]);
    assert!(code == 1 && stderr.contains("etc/edge-seg/edge-seg.toml"), "{stderr}");
    root.ok(&install(&root.release(1, &frames(1, 5)), &[]));
    assert_eq!(root.guard().0, 1);
    root.ok(&["reconfigure", "new.toml", "--trial-frames", "3"]);
    let slot = root.at("var/lib/edge-seg/slots/b");
    assert_eq!(fs::read(slot.join("config.toml")).unwrap(), fs::read(root.at("new.toml")).unwrap());
    use std::os::unix::fs::MetadataExt;
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    for shared in ["bundle.esb", "edge-seg"] {
        assert_eq!(inode(&slot.join(shared)), inode(&root.at("var/lib/edge-seg/slots/a").join(shared)), "{shared} is stored once");
    }
    assert_eq!(root.guard().0, 1);
    assert_eq!(root.status()["b"]["status"], "good");
    // An upgraded package.
    root.script("usr/bin/edge-seg", &format!("[ \"$1\" = --version ] && echo edge-seg 9.9.9 && exit\n{}", frames(9, 5)));
    let text = root.ok(&["status"]);
    assert!(text.contains("package program 9.9.9"), "{text}");
    assert_eq!(root.status()["versions"]["packaged"], "9.9.9");
    assert!(text.contains("not that of slot b: sudo edge-seg-fw reconfigure --packaged"), "{text}");
    assert_eq!(root.status()["other_program_packaged"], true);
    root.ok(&["reconfigure", "--packaged", "--trial-frames", "3"]);
    assert_eq!(root.status()["other_program_packaged"], false);
    assert!(!root.ok(&["status"]).contains("not that of"));
    assert_eq!(root.guard().0, 9);
    assert_eq!(root.status()["versions"]["a"], "9.9.9");
}

#[test]
fn a_configuration_that_was_edited_in_the_slot_that_runs_is_taken_as_it_is_now() {
    let root = Root::new();
    for serial in [1, 2] {
        root.ok(&install(&root.release(serial, &frames(serial, 5)), &[]));
        assert_eq!(root.guard().0, serial);
    }
    let edited = "var/lib/edge-seg/slots/b/config.toml";
    fs::write(root.at(edited), format!("{CONFIG}loop = true\n")).unwrap();
    // Anything else would be written over the only slot that is whole; it is told how to go on.
    fs::write(root.at("new.toml"), CONFIG).unwrap();
    let brought = root.release(3, &frames(3, 5));
    for refused in [install(&brought, &[]), vec!["reconfigure", "new.toml"]] {
        let (code, stderr) = root.refused(&refused);
        let cure = format!("edge-seg-fw reconfigure {} --restart", root.at(edited).display());
        assert!(code == 1 && stderr.contains("slot a alone is whole") && stderr.contains(&cure), "{stderr}");
    }
    root.ok(&["reconfigure", edited, "--trial-frames", "3"]);
    assert_eq!(root.guard().0, 2);
    assert_eq!(root.status()["a"]["status"], "good");
    assert_eq!(fs::read(root.at("var/lib/edge-seg/slots/a/config.toml")).unwrap(), fs::read(root.at(edited)).unwrap());
    root.ok(&install(&brought, &[]));
    assert_eq!(root.guard().0, 3);
}

#[test]
fn keys_that_cannot_be_read_accept_nothing() {
    let root = Root::new();
    let release = root.release(1, &frames(1, 5));
    let keys = root.at("etc/edge-seg/keys");
    fs::remove_dir_all(&keys).unwrap();
    std::os::unix::fs::symlink(root.at("gone"), &keys).unwrap();
    let (code, stderr) = root.refused(&install(&release, &[]));
    assert!(code == 2 && stderr.contains("cannot be told"), "{stderr}");
    assert!(root.ok(&["status"]).contains("cannot tell"));
    assert_eq!(root.status()["signatures"], serde_json::Value::Null);
    // A folder above it that leads nowhere hides keys as well.
    fs::remove_file(&keys).unwrap();
    fs::rename(root.at("etc/edge-seg"), root.at("etc/real")).unwrap();
    std::os::unix::fs::symlink(root.at("gone"), root.at("etc/edge-seg")).unwrap();
    let (code, stderr) = root.refused(&install(&release, &["--config", "etc/real/edge-seg.toml"]));
    assert!(code == 2 && stderr.contains("cannot be told"), "{stderr}");
    fs::remove_file(root.at("etc/edge-seg")).unwrap();
    fs::rename(root.at("etc/real"), root.at("etc/edge-seg")).unwrap();
    // None at all is an answer.
    assert_eq!(root.status()["signatures"], false);
    root.ok(&install(&release, &[]));
}

#[test]
fn the_packaged_configuration_is_right() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware-tools/packaging/edge-seg.toml");
    let output = Command::new(binary("edge-seg")).args(["config", "check"]).arg(&config).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // As do the cameras that it shows.
    let text = fs::read_to_string(&config).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for shown in text.lines().filter_map(|line| line.strip_prefix("#source = ")) {
        let source = shown.split(" #").next().unwrap();
        fs::write(folder.path().join("c.toml"), format!("[input]\nsource = {source}\n[words]\ntags = \"dog\"\n")).unwrap();
        let output = Command::new(binary("edge-seg")).args(["config", "check"]).arg(folder.path().join("c.toml")).output().unwrap();
        assert!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn trusted_keys_make_signatures_a_must_for_bundle_and_binary() {
    let root = Root::new();
    let plain = |arguments: &[&str]| {
        let output = Command::new(binary("edge-seg-fw")).current_dir(root.0.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    plain(&["keygen", "k", "--no-password"]);
    fs::copy(root.at("k.pub"), root.at("etc/edge-seg/keys/k.pub")).unwrap();
    let release = root.release(1, &frames(1, 5));
    let (code, stderr) = root.refused(&install(&release, &[]));
    assert!(code == 1 && stderr.contains("unsigned"), "{stderr}");
    plain(&["sign", "r.esb", "--key", "k", "--no-password"]);
    let (code, stderr) = root.refused(&install(&release, &[]));
    assert!(code == 1 && stderr.contains("--binary: expected its signature beside it"), "{stderr}");
    plain(&["sign", "runtime", "--key", "k", "--no-password", "--detached"]);
    root.ok(&install(&release, &[]));
    assert_eq!(root.guard().0, 1);
    root.script("runtime", "echo other\n");
    let (code, stderr) = root.refused(&install(&release, &[]));
    assert!(code == 1 && stderr.contains("--binary: tampered"), "{stderr}");
    assert!(!root.at("var/lib/edge-seg/slots/b/edge-seg").exists(), "what is refused is not written");
}

#[test]
fn bundles_for_other_boards_and_broken_ones_are_refused() {
    let root = Root::new();
    let release = root.release(1, &frames(1, 5));
    small::write(&root.at("r.esb"), 1, &["pi5"], 10);
    let (code, stderr) = root.refused(&install(&release, &[]));
    assert!(code == 1 && stderr.contains("wrong board: the bundle is for pi5, this board is unknown"), "{stderr}");
    let bytes = fs::read(root.at("r.esb")).unwrap();
    fs::write(root.at("r.esb"), &bytes[..bytes.len() - 1]).unwrap();
    let (code, stderr) = root.refused(&install(&release, &[]));
    assert!(code == 1 && stderr.contains("expected"), "{stderr}");
}

/// A board's tree of files laid under a root.
fn lay(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.path().is_dir() {
            true => lay(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

#[test]
fn a_bundle_for_a_build_fits_every_board_that_runs_it() {
    for (board, names, fits) in [
        ("jetson-orin", &["jetson"][..], true),
        ("jetson-orin", &["pi5", "jetson-orin"], true),
        ("jetson-orin", &["jetson-nano"], false),
        ("pi3", &["pi4"], true),
        ("pi3", &["pi5"], false),
        ("pi-zero2", &["pi-zero2"], true),
        ("x86", &["x86"], true),
        ("unknown", &["pi5"], true),
    ] {
        let root = Root::new();
        let release = root.release(1, &frames(1, 5));
        lay(&Path::new(env!("CARGO_MANIFEST_DIR")).join("boards").join(board), root.0.path());
        small::write(&root.at("r.esb"), 1, names, 10);
        let output = root.run(&install(&release, &[]));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(if fits { 0 } else { 1 }), "{names:?} on {board}: {stderr}");
        assert!(fits || stderr.contains("wrong board"), "{stderr}");
    }
}

#[test]
fn a_hundred_installations_with_processes_killed_at_random() {
    let root = Root::new();
    root.ok(&install(&root.release(1, &frames(1, 5)), &[]));
    assert_eq!(root.guard().0, 1);
    let (mut running, mut killed, mut seed) = (1, 0, 20_260_101u64);
    // A thousand, or any number: EDGE_SEG_INSTALLS=1000
    let count: u64 = std::env::var("EDGE_SEG_INSTALLS").map_or(100, |count| count.parse().expect("EDGE_SEG_INSTALLS: a number"));
    for serial in 2..2 + count {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let release = root.release(serial, &frames(serial, 5));
        let mut child = root.command(&install(&release, &[])).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros((seed >> 33) % 12_000));
        let _ = child.kill();
        killed += u64::from(!child.wait().unwrap().success());
        let serial_now = root.guard().0;
        assert!(serial_now == running || serial_now == serial, "installing {serial} over {running}: {serial_now} runs");
        running = serial_now;
    }
    eprintln!("{killed} of {count} installations were killed, release {running} runs");
    assert!(killed >= count / 10, "only {killed} were killed in time");
}

#[test]
fn a_disk_that_cannot_be_written_keeps_what_runs() {
    let root = Root::new();
    root.ok(&install(&root.release(1, &frames(1, 5)), &[]));
    assert_eq!(root.guard().0, 1);
    // A folder in the way of the state file stands for a disk that refuses, for root too.
    let beside = root.at("var/lib/edge-seg/state.json.new");
    fs::create_dir(&beside).unwrap();
    let (code, stderr) = root.refused(&install(&root.release(2, &frames(2, 5)), &[]));
    assert!(code == 1 && stderr.contains("state.json"), "{stderr}");
    assert_eq!(root.guard().0, 1);
    fs::remove_dir_all(&beside).unwrap();
    root.ok(&install(&root.release(2, &frames(2, 5)), &[]));
    assert_eq!(root.guard().0, 2);
    assert!(Path::new(&root.at("var/lib/edge-seg/current")).is_symlink());
}

/// What a line for sudo lets a user name must not be more than that user may read, and root must not run what they bring.
#[test]
fn by_sudo_files_are_opened_and_programs_tried_with_the_rights_of_who_called_it() {
    if !is_root() {
        return;
    }
    let root = Root::new();
    fs::set_permissions(root.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let release = root.release(1, &frames(1, 5));
    let by_sudo = |arguments: &[&str]| root.command(arguments).env("SUDO_UID", "65534").env("SUDO_GID", "65534").output().unwrap();
    fs::write(root.at("secret"), "[input]\nsource = \"a password\"\n").unwrap();
    fs::set_permissions(root.at("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut named = install(&release, &["--config", "secret"]);
    let output = by_sudo(&named);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && stderr.contains("secret") && stderr.contains("Permission denied"), "{stderr}");
    assert!(!stderr.contains("a password"), "{stderr}");
    // Nor what stands beside as a signature, and not as a bundle.
    fs::set_permissions(root.at("secret"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(root.at("shadow"), "root:hash").unwrap();
    fs::set_permissions(root.at("shadow"), fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("shadow", root.at("secret.minisig")).unwrap();
    assert_eq!(by_sudo(&named).status.code(), Some(2));
    fs::remove_file(root.at("secret.minisig")).unwrap();
    named[3] = "shadow";
    assert_eq!(by_sudo(&named).status.code(), Some(2));
    // A root in which nobody is known to run the runtime: it is tried as who called, and never as root.
    fs::create_dir(root.at("out")).unwrap();
    fs::set_permissions(root.at("out"), fs::Permissions::from_mode(0o777)).unwrap();
    let who = root.at("out/who");
    fs::write(root.at("runtime"), format!("#!/bin/sh\n[ \"$1\" = config ] && echo \"$(id -u) $(id -G)\" > {}\n", who.display())).unwrap();
    let output = by_sudo(&install(&release, &[]));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(who).unwrap().trim(), "65534 65534");
    let history = root.status()["history"].to_string();
    assert!(history.contains("serial 1 is in slot"), "{history}");
}

/// Bytes that a command writes, with those of its children.
fn written(root: &Root, arguments: &[&str]) -> u64 {
    let mut shell = Command::new("sh");
    shell.current_dir(root.0.path()).args(["-c", "\"$@\" > /dev/null 2>&1 || exit 9; cat /proc/$$/io", "sh"]);
    let output = shell.arg(binary("edge-seg-fw")).args(arguments).args(["--root", "."]).output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok()).unwrap()
}

#[test]
fn a_bundle_and_a_program_are_written_once() {
    let root = Root::new();
    const MIB: u64 = 1 << 20;
    let program = |serial: u64| frames(serial, 5) + "exit\n" + &format!("# {serial}\n").repeat(MIB as usize);
    let release = |serial: u64, body: &str| {
        let release = root.release(serial, body);
        small::write(&root.at("r.esb"), serial, &[], 2 * MIB as usize);
        release
    };
    let same = program(1);
    let bytes = |name: &str| fs::metadata(root.at(name)).unwrap().len();
    let first = written(&root, &install(&release(1, &same), &[]));
    let whole = bytes("r.esb") + bytes("runtime");
    assert!(bytes("runtime") > 4 * MIB && (whole..whole + MIB / 4).contains(&first), "{first} bytes for {whole}");
    assert_eq!(root.guard().0, 1);
    let second = written(&root, &install(&release(2, &same), &[]));
    assert!((bytes("r.esb")..bytes("r.esb") + MIB / 4).contains(&second), "{second} bytes for another bundle with the same program");
    assert_eq!(root.guard().0, 1);
    fs::write(root.at("mine.toml"), format!("{CONFIG}loop = true\n")).unwrap();
    let third = written(&root, &["reconfigure", "--trial-frames", "3", "mine.toml"]);
    assert!(third < MIB / 4, "{third} bytes for another configuration");
    assert!(!root.at("var/lib/edge-seg/check.edge-seg").exists());
    let slots = ["a", "b"].map(|slot| fs::read(root.at("var/lib/edge-seg/slots").join(slot).join("edge-seg")).unwrap());
    assert_eq!(slots[0], slots[1]);
}

#[test]
fn the_first_release_says_where_its_configuration_is_from_then_on() {
    let root = Root::new();
    let said = root.ok(&install(&root.release(1, &frames(1, 5)), &[]));
    assert!(said.contains("etc/edge-seg/edge-seg.toml reaches the packaged release alone"), "{said}");
    assert_eq!(root.guard().0, 1);
    let said = root.ok(&install(&root.release(2, &frames(2, 5)), &[]));
    assert!(!said.contains("reaches the packaged release alone"), "{said}");
}

#[test]
fn a_camera_has_no_end_so_a_runtime_that_says_that_it_came_to_one_has_failed() {
    let root = Root::new();
    fs::write(root.at("camera.toml"), "[input]\nsource = \"rtsp://camera.lan/stream\"\n").unwrap();
    root.ok(&install(&root.release(1, &frames(1, 5)), &[]));
    assert_eq!(root.guard().0, 1);
    // Fewer frames than its trial asks for, and more.
    for (serial, count) in [(2, 2), (3, 50)] {
        root.ok(&install(&root.release(serial, &frames(serial, count)), &["--config", "camera.toml"]));
        for _ in 0..3 {
            let output = root.run(&["guard"]);
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(1) && told.contains("though what its configuration reads has no end"), "{told}");
        }
        assert_eq!(root.guard().0, 1);
        assert!(root.status()["b"]["status"]["bad"]["why"].is_string(), "{}", root.status());
    }
    // Pictures have an end.
    root.ok(&install(&root.release(4, &frames(4, 2)), &[]));
    assert_eq!(root.guard().0, 4);
    assert_eq!(root.status()["b"]["status"], "good");
}

#[test]
fn power_cuts_in_the_minutes_of_a_trial_cost_it_no_start() {
    let root = Root::new();
    root.ok(&install(&root.release(1, &frames(1, 5)), &[]));
    assert_eq!(root.guard().0, 1);
    // Asked for its version, it ends.
    let runtime = format!("[ \"$1\" = run ] || exit 0\n{}", until_end(2));
    root.ok(&install(&root.release(2, &runtime), &["--trial-minutes", "1"]));
    for cut in 0..4 {
        let mut guard = root.command(&["guard"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let counted = |status: &serde_json::Value| status["b"]["cut_starts"].as_u64().unwrap_or(0);
        settled(&root, |status| status["started"]["proving"] == true && counted(status) == cut);
        guard.kill().unwrap();
        guard.wait().unwrap();
        assert_eq!(root.status()["b"]["status"]["pending"]["tries_left"], 2);
    }
    let told = root.ok(&["status"]);
    assert!(told.contains("was cut off, as by a loss of power: that start does not count (3 of 5)"), "{told}");
}
