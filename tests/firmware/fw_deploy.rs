//! Deployment over a real sshd on the loopback address: each board is a root of its own behind a port of its own.

use crate::small;

use edge_seg_tests::{binary, need};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const SSHD: &str = "/usr/sbin/sshd";

struct Fleet {
    folder: tempfile::TempDir,
    servers: Vec<Child>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn write(path: PathBuf, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

fn keygen(path: &Path) {
    let status = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap();
    assert!(status.success());
}

impl Fleet {
    /// Boards cam0, cam1, ...; none where this machine has no sshd.
    fn start(count: usize) -> Option<Fleet> {
        if !need("sshd (package openssh-server)", Path::new(SSHD).exists()) {
            return None;
        }
        let mut fleet = Fleet { folder: tempfile::tempdir().unwrap(), servers: Vec::new() };
        // sshd's separation of privileges wants this folder when it starts as root.
        let _ = fs::create_dir_all("/run/sshd");
        keygen(&fleet.at("user"));
        keygen(&fleet.at("host"));
        fs::copy(fleet.at("user.pub"), fleet.at("authorized")).unwrap();
        // Restarting the service runs the guard until the release is good or given up.
        let tool = binary("edge-seg-fw");
        let guard =
            format!("#!/bin/sh\nfor i in 1 2 3 4; do {} guard --root \"$BOARD\" >/dev/null 2>&1 && exit 0; done\nexit 0\n", tool.display());
        write(fleet.at("bin/systemctl"), &guard, 0o755);
        let logged = format!("#!/bin/sh\necho \"$1\" >>\"$BOARD/calls\"\nexec {} \"$@\" --root \"$BOARD\"\n", tool.display());
        write(fleet.at("bin/edge-seg-fw"), &logged, 0o755);
        let mut config = String::new();
        for i in 0..count {
            let board = fleet.board(i);
            write(board.join("usr/bin/edge-seg"), "#!/bin/sh\n[ \"$1\" = config ] || echo '{\"release\":0}'\n", 0o755);
            write(board.join("etc/edge-seg/edge-seg.toml"), "[input]\nsource = \"test:\"\n", 0o644);
            write(board.join("proc/device-tree/compatible"), "raspberrypi,5-model-b\0brcm,bcm2712\0", 0o644);
            write(board.join("proc/cpuinfo"), "processor : 0\nFeatures : fp asimd asimddp\nCPU architecture: 8\n", 0o644);
            fs::create_dir_all(board.join("home")).unwrap();
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let at = fleet.folder.path().display().to_string();
            let server = format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {at}/host\nAuthorizedKeysFile {at}/authorized\nStrictModes no\nUsePAM no\n\
                 PasswordAuthentication no\nPidFile none\nSetEnv BOARD={board} PATH={at}/bin:/usr/bin:/bin\n\
                 ForceCommand cd {board}/home && eval \"$SSH_ORIGINAL_COMMAND\"\n",
                board = board.display()
            );
            write(fleet.at(&format!("sshd{i}")), &server, 0o600);
            let log = fs::File::create(fleet.at(&format!("log{i}"))).unwrap();
            let child = Command::new(SSHD).args(["-D", "-e", "-f"]).arg(fleet.at(&format!("sshd{i}"))).stderr(log).spawn().unwrap();
            fleet.servers.push(child);
            config.push_str(&format!("Host cam{i}\n  Port {port}\n"));
            let end = Instant::now() + Duration::from_secs(20);
            while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
                assert!(Instant::now() < end, "sshd does not answer: {}", fs::read_to_string(fleet.at(&format!("log{i}"))).unwrap());
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let at = fleet.folder.path().display();
        config.push_str(&format!(
            "Host *\n  HostName 127.0.0.1\n  IdentityFile {at}/user\n  IdentitiesOnly yes\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n"
        ));
        write(fleet.at("ssh_config"), &config, 0o600);
        Some(fleet)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn board(&self, i: usize) -> PathBuf {
        self.at(&format!("board{i}"))
    }

    /// A signed or plain release: `r.esb` and the runtime `runtime`.
    fn release(&self, serial: u64, boards: &[&str], body: &str) {
        small::write(&self.at("r.esb"), serial, boards, 3_000_000);
        write(self.at("runtime"), &format!("#!/bin/sh\n[ \"$1\" = config ] && exit\n{body}"), 0o755);
    }

    fn deploy(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary("edge-seg-fw"));
        command.current_dir(self.folder.path()).arg("deploy").args(arguments);
        command.args(["--ssh-config", "ssh_config", "--sudo", "", "--wait", "30"]).stdin(Stdio::null());
        command.output().unwrap()
    }

    fn rows(&self, arguments: &[&str]) -> Vec<serde_json::Value> {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let output = self.deploy(&arguments);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    fn status(&self, i: usize) -> serde_json::Value {
        let output = Command::new(binary("edge-seg-fw")).args(["status", "--json", "--root"]).arg(self.board(i)).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn left_over(&self, i: usize) -> usize {
        fs::read_dir(self.board(i).join("home/.cache/edge-seg")).map_or(0, Iterator::count)
    }
}

fn frames(serial: u64) -> String {
    format!("for i in 1 2 3 4; do echo '{{\"release\":{serial}}}'; done\n")
}

const BRING: [&str; 6] = ["--bundle", "r.esb", "--binary", "runtime", "--trial-frames", "3"];

fn verdicts(rows: &[serde_json::Value]) -> Vec<&str> {
    rows.iter().map(|row| row["verdict"].as_str().unwrap()).collect()
}

#[test]
fn a_release_reaches_every_board_and_goes_back() {
    let Some(fleet) = Fleet::start(3) else { return };
    let hosts = ["cam0", "cam1", "cam2"];
    let with = |more: &[&'static str]| [&hosts[..], more].concat();
    fleet.release(1, &["pi5"], &frames(1));
    let dry = fleet.deploy(&with(&[&BRING[..], &["--dry-run"]].concat()));
    assert!(dry.status.success());
    let table = String::from_utf8(dry.stdout).unwrap();
    assert!(table.contains("would copy 300") && table.contains("pi5") && table.contains("cam2"), "{table}");
    assert_eq!(fleet.status(0)["current"], serde_json::Value::Null, "a dry run changes nothing");

    let rows = fleet.rows(&with(&BRING));
    assert_eq!(verdicts(&rows), ["done"; 3], "{rows:?}");
    for i in 0..3 {
        assert_eq!(fleet.status(i)["a"]["status"], "good");
        assert_eq!(fleet.left_over(i), 0, "copies are removed");
    }
    fleet.release(2, &["pi5"], &frames(2));
    assert_eq!(verdicts(&fleet.rows(&with(&BRING))), ["done"; 3]);
    assert_eq!(fleet.status(2)["current"], "b");
    assert_eq!(verdicts(&fleet.rows(&with(&["--rollback"]))), ["done"; 3]);
    assert_eq!(fleet.status(1)["current"], "a");
}

#[test]
fn a_failing_canary_keeps_the_others_and_itself_as_they_were() {
    let Some(fleet) = Fleet::start(3) else { return };
    let hosts = ["cam0", "cam1", "cam2"];
    fleet.release(1, &[], &frames(1));
    assert_eq!(verdicts(&fleet.rows(&[&hosts[..], &BRING[..]].concat())), ["done"; 3]);
    fleet.release(2, &[], "echo '{\"error\":\"no camera\"}'\nexit 1\n");
    let rows = fleet.rows(&[&hosts[..], &BRING[..]].concat());
    assert_eq!(verdicts(&rows), ["failed", "skipped", "skipped"], "{rows:?}");
    assert!(rows[0]["what"].as_str().unwrap().contains("rolled back serial 2; it runs slot a with serial 1"), "{rows:?}");
    for i in 0..3 {
        assert_eq!(fleet.status(i)["current"], "a");
        assert_eq!(fleet.status(i)["a"]["status"], "good");
    }
    assert_eq!(fleet.deploy(&[&hosts[..], &BRING[..]].concat()).status.code(), Some(1));
}

#[test]
fn one_number_means_one_release_and_what_crashes_is_never_called_good() {
    let Some(fleet) = Fleet::start(1) else { return };
    let bring = [&["cam0"][..], &BRING[..]].concat();
    fleet.release(1, &[], &frames(1));
    assert_eq!(verdicts(&fleet.rows(&bring)), ["done"]);
    // Another bundle under the same number, as `pack` gives it where none is named.
    small::write(&fleet.at("r.esb"), 1, &[], 2_900_000);
    for more in [&["--dry-run"][..], &[]] {
        let rows = fleet.rows(&[&bring[..], more].concat());
        assert_eq!(verdicts(&rows), ["failed"], "{rows:?}");
        assert!(rows[0]["what"].as_str().unwrap().contains("equal serial"), "{rows:?}");
    }
    // The same bundle with a runtime that crashes.
    fleet.release(1, &[], "exit 1\n");
    let rows = fleet.rows(&bring);
    assert_eq!(verdicts(&rows), ["failed"], "{rows:?}");
    assert!(rows[0]["what"].as_str().unwrap().contains("rolled back serial 1"), "{rows:?}");
    assert_eq!(fleet.status(0)["current"], "a");
}

#[test]
fn a_second_deployment_waits_for_the_trial_that_is_under_way() {
    let Some(fleet) = Fleet::start(1) else { return };
    let bring = [&["cam0"][..], &BRING[..]].concat();
    fleet.release(1, &[], &frames(1));
    assert_eq!(verdicts(&fleet.rows(&bring)), ["done"]);
    fleet.release(2, &[], &frames(2));
    assert_eq!(verdicts(&fleet.rows(&[&bring[..], &["--no-restart"]].concat())), ["done"]);
    assert!(fleet.status(0)["b"]["status"]["pending"].is_object());
    // Its trial goes on beside the second deployment, which rolls nothing back.
    let board = fleet.board(0);
    fs::remove_file(board.join("calls")).unwrap();
    let guard = std::thread::spawn(move || {
        let asked = || fs::read_to_string(board.join("calls")).is_ok_and(|calls| calls.matches("status").count() >= 2);
        while !asked() {
            std::thread::sleep(Duration::from_millis(50));
        }
        Command::new(binary("edge-seg-fw")).args(["guard", "--root"]).arg(board).stdout(Stdio::null()).status().unwrap()
    });
    let rows = fleet.rows(&bring);
    assert!(guard.join().unwrap().success());
    assert_eq!(verdicts(&rows), ["done"], "{rows:?}");
    assert_eq!((fleet.status(0)["current"].as_str(), fleet.status(0)["b"]["status"].as_str()), (Some("b"), Some("good")));
    assert!(!fs::read_to_string(fleet.board(0).join("calls")).unwrap().contains("install"));
}

#[test]
fn a_dry_run_refuses_what_a_board_would() {
    let Some(fleet) = Fleet::start(1) else { return };
    let dry = [&["cam0"][..], &BRING[..], &["--dry-run"]].concat();
    fleet.release(2, &[], &frames(2));
    assert_eq!(verdicts(&fleet.rows(&[&["cam0"][..], &BRING[..]].concat())), ["done"]);
    let what = || fleet.rows(&dry)[0]["what"].as_str().unwrap().to_string();
    fleet.release(1, &[], &frames(1));
    assert!(what().contains("downgrade"), "{}", what());
    fleet.release(3, &[], &frames(3));
    assert!(what().contains("would copy"), "{}", what());
    let keys = fleet.board(0).join("etc/edge-seg/keys");
    fs::create_dir_all(&keys).unwrap();
    fs::write(keys.join("k.pub"), "untrusted comment: a key\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n").unwrap();
    assert!(what().contains("unsigned"), "{}", what());
}

#[test]
fn wrong_boards_and_boards_that_do_not_answer_are_told() {
    let Some(mut fleet) = Fleet::start(2) else { return };
    fleet.release(1, &["jetson-nano"], &frames(1));
    let rows = fleet.rows(&[&["cam0"][..], &BRING[..]].concat());
    assert!(rows[0]["what"].as_str().unwrap().contains("wrong board: the bundle is for jetson-nano, this board is pi5"), "{rows:?}");
    assert_eq!(fleet.left_over(0), 0, "nothing is copied to a board that it is not for");
    // A Pi 3 runs the build that a Pi 4 does.
    fs::write(fleet.board(1).join("proc/device-tree/compatible"), "raspberrypi,3-model-b\0brcm,bcm2837\0").unwrap();
    fleet.release(1, &["pi4"], &frames(1));
    let mut gone = fleet.servers.remove(0);
    gone.kill().unwrap();
    gone.wait().unwrap();
    let rows = fleet.rows(&[&["cam0", "cam1", "--keep-going"][..], &BRING[..]].concat());
    assert_eq!(verdicts(&rows), ["failed", "done"], "{rows:?}");
    assert!(rows[0]["what"].as_str().unwrap().contains("cannot be reached"), "{rows:?}");
}

#[test]
fn a_copy_that_broke_off_is_gone_on_with_and_a_wrong_one_is_not() {
    let Some(fleet) = Fleet::start(1) else { return };
    fleet.release(1, &[], &frames(1));
    let bytes = fs::read(fleet.at("r.esb")).unwrap();
    let digest = edge_seg::Bundle::open(&fleet.at("r.esb")).unwrap().digest()[..16].to_string();
    let part = fleet.board(0).join(format!("home/.cache/edge-seg/{digest}.esb.part"));
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    for (half, resumed) in [(bytes[..bytes.len() / 2].to_vec(), true), (vec![0; bytes.len() / 2], false), (vec![1; bytes.len() * 2], false)]
    {
        fs::write(&part, half).unwrap();
        let output = fleet.deploy(&[&["cam0"][..], &BRING[..]].concat());
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{told} {}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(!told.contains("esb 10 %"), resumed, "{told}");
        let slot = fleet.status(0)["current"].as_str().unwrap().to_string();
        assert_eq!(fs::read(fleet.board(0).join(format!("var/lib/edge-seg/slots/{slot}/bundle.esb"))).unwrap(), bytes);
    }
}
