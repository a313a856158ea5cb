//! Deployment over a real sshd on the loopback address.

use crate::boards::{BRING, Fleet, copy_name, frames, verdicts, write};
use crate::small;

use edge_seg_tests::binary;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

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
    assert!(
        rows[0]["what"]
            .as_str()
            .unwrap()
            .contains("serial 2: it showed fewer than 3 healthy frames in 3 starts; it runs slot a with serial 1"),
        "{rows:?}"
    );
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
    assert!(
        rows[0]["what"].as_str().unwrap().contains("rolled back") && rows[0]["what"].as_str().unwrap().contains("serial 1"),
        "{rows:?}"
    );
    assert_eq!(fleet.status(0)["current"], "a");
}

#[test]
fn what_a_board_holds_already_is_good_news_once_it_shows_frames() {
    let Some(fleet) = Fleet::start(1) else { return };
    let bring = [&["cam0"][..], &BRING[..]].concat();
    fleet.release(1, &[], &format!("[ -e $BOARD/dark ] && exec sleep 600\n{}", frames(1)));
    assert_eq!(verdicts(&fleet.rows(&bring)), ["done"]);
    let told = |more: &[&'static str]| {
        let rows = fleet.rows(&[&bring[..], more].concat());
        (verdicts(&rows)[0].to_owned(), rows[0]["what"].as_str().unwrap().to_owned(), rows[0]["left_alone"] == true)
    };
    assert_eq!(told(&[]), ("done".into(), "slot a runs it already, and it is good".into(), true));
    // The camera is gone: a start shows none, and then another.
    let dark = fleet.board(0).join("dark");
    fs::write(&dark, "").unwrap();
    let start = || {
        let mut guard = Command::new(binary("edge-seg-fw"));
        guard.args(["guard", "--first", "1", "--root"]).arg(fleet.board(0));
        guard.env("BOARD", fleet.board(0)).stderr(Stdio::null()).stdout(Stdio::null()).status().unwrap().success()
    };
    assert!(!start());
    assert!(told(&["--dry-run"]).1.contains("its newest start has shown too few frames"), "{:?}", told(&["--dry-run"]));
    assert!(!start());
    let (verdict, what, left_alone) = told(&["--wait", "1"]);
    assert!(verdict == "failed" && left_alone && what.contains("slot a holds it already, and 2 starts in a row"), "{what}");
    // Frames come while it is waited for.
    fs::remove_file(&dark).unwrap();
    let (_, (verdict, what, _)) = std::thread::scope(|scope| {
        let deployment = scope.spawn(|| told(&[]));
        std::thread::sleep(Duration::from_secs(1));
        (start(), deployment.join().unwrap())
    });
    assert_eq!((verdict.as_str(), what.as_str()), ("done", "slot a runs it already, and it is good"));
    // With the service stopped none will.
    for property in ["ActiveState", "ExecMainCode", "ExecMainStatus"] {
        let value = if property == "ActiveState" { "inactive" } else { "0" };
        write(fleet.board(0).join(format!("commands/systemctl_show_edge-seg.service_-p_{property}_--value")), value, 0o644);
    }
    let (verdict, what, _) = told(&[]);
    assert!(verdict == "failed" && what.contains("its service is inactive"), "{what}");
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
fn a_program_for_another_processor_and_two_names_for_one_board_are_refused() {
    let Some(fleet) = Fleet::start(1) else { return };
    fleet.release(1, &[], &frames(1));
    // The head of a program for x86_64; the board is a Raspberry Pi.
    fs::write(fleet.at("runtime"), [&b"\x7fELF\x02\x01"[..], &[0; 12], &[62, 0], &[0; 44]].concat()).unwrap();
    for more in [&["--dry-run"][..], &[]] {
        let rows = fleet.rows(&[&["cam0"][..], &BRING[..], more].concat());
        let what = rows[0]["what"].as_str().unwrap();
        assert!(verdicts(&rows) == ["failed"] && what.contains("expected a program for aarch64") && what.contains("x86_64"), "{rows:?}");
    }
    assert_eq!((fleet.left_over(0), &fleet.status(0)["current"]), (0, &serde_json::Value::Null));
    let output = fleet.deploy(&[&["cam0", "root@cam0"][..], &BRING[..]].concat());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && told.contains("cam0") && told.contains("expected a board each"), "{told}");
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
    fleet.stop(0);
    let rows = fleet.rows(&[&["cam0", "cam1", "--keep-going"][..], &BRING[..]].concat());
    assert_eq!(verdicts(&rows), ["failed", "done"], "{rows:?}");
    assert!(rows[0]["what"].as_str().unwrap().contains("cannot be reached"), "{rows:?}");
}

#[test]
fn a_board_without_a_release_before_or_a_place_for_copies_is_told() {
    let Some(fleet) = Fleet::start(1) else { return };
    for more in [&["--dry-run"][..], &[]] {
        let rows = fleet.rows(&[&["cam0", "--rollback"][..], more].concat());
        assert!(verdicts(&rows) == ["failed"] && rows[0]["left_alone"] == true, "{rows:?}");
        assert!(rows[0]["what"].as_str().unwrap().contains("nothing is installed"), "{rows:?}");
    }
    fleet.release(1, &[], &frames(1));
    fs::write(fleet.board(0).join("home/.cache"), "no folder").unwrap();
    let rows = fleet.rows(&[&["cam0"][..], &BRING[..]].concat());
    let what = rows[0]["what"].as_str().unwrap();
    assert!(verdicts(&rows) == ["failed"] && what.contains("cannot be written there: mkdir") && !what.contains("broke off"), "{rows:?}");
    fs::remove_file(fleet.board(0).join("home/.cache")).unwrap();
    // What a board's tool says in several lines is one of the table.
    let table = fleet.deploy(&[&["cam0", "--no-restart"][..], &BRING[..]].concat());
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.lines().count() == 2 && table.contains("runs at the next start") && !table.contains("\\n"), "{table}");
}

#[test]
fn a_copy_that_broke_off_is_gone_on_with_and_a_wrong_one_is_not() {
    let Some(fleet) = Fleet::start(1) else { return };
    for (serial, resumed) in [(1, true), (2, false), (3, false)] {
        fleet.release(serial, &[], &frames(serial));
        let bytes = fs::read(fleet.at("r.esb")).unwrap();
        let name = copy_name(&fleet.at("r.esb"));
        let part = fleet.board(0).join(format!("home/.cache/edge-seg/{name}.esb.part"));
        fs::create_dir_all(part.parent().unwrap()).unwrap();
        let left = [bytes[..bytes.len() / 2].to_vec(), vec![0; bytes.len() / 2], vec![1; bytes.len() * 2]];
        fs::write(&part, &left[serial as usize - 1]).unwrap();
        let output = fleet.deploy(&[&["cam0"][..], &BRING[..]].concat());
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{told} {}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(!told.contains("esb 10 %"), resumed, "{told}");
        let slot = fleet.status(0)["current"].as_str().unwrap().to_string();
        assert_eq!(fs::read(fleet.board(0).join(format!("var/lib/edge-seg/slots/{slot}/bundle.esb"))).unwrap(), bytes);
    }
}

#[test]
fn a_copy_whose_sender_was_killed_is_gone_on_with() {
    let Some(fleet) = Fleet::start(1) else { return };
    fleet.release(1, &[], &frames(1));
    small::write(&fleet.at("r.esb"), 1, &[], 200_000_000);
    let mut command = Command::new(binary("edge-seg-fw"));
    command.current_dir(fleet.folder.path()).args(["deploy", "cam0", "--ssh-config", "ssh_config", "--sudo", ""]).args(BRING);
    command.env("USER", "operator").env_remove("SUDO_USER");
    let mut killed = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(killed.stderr.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap().contains("esb 30 %")), "the copy is told");
    killed.kill().unwrap();
    killed.wait().unwrap();
    let cache = fleet.board(0).join("home/.cache/edge-seg");
    let bytes = || {
        let part =
            fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some_and(|end| end == "part"));
        part.map_or(0, |part| fs::metadata(part).unwrap().len())
    };
    let (mut before, mut now) = (0, bytes());
    while now != before {
        std::thread::sleep(Duration::from_secs(2));
        (before, now) = (now, bytes());
    }
    assert!((40_000_000..200_000_000).contains(&now), "what has arrived stays: {now}");
    let output = fleet.deploy(&[&["cam0"][..], &BRING[..]].concat());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && !told.contains("esb 10 %"), "{told}");
}

#[test]
fn who_may_not_change_a_board_is_told_before_anything_is_copied() {
    let Some(fleet) = Fleet::start(1) else { return };
    fleet.release(1, &["pi5"], &frames(1));
    // A line for sudo that lets installations alone; every other command asks for a password.
    let sudo = "#!/bin/sh\n[ \"$1\" = -n ] && shift\n[ \"$2\" = install ] && [ -e \"$BOARD/may\" ] && exec \"$@\"\n\
                echo 'sudo: a password is required' >&2\nexit 1\n";
    fs::write(fleet.at("bin/sudo"), sudo).unwrap();
    fs::set_permissions(fleet.at("bin/sudo"), fs::Permissions::from_mode(0o755)).unwrap();
    let deploy = |more: &[&str]| {
        let mut command = Command::new(binary("edge-seg-fw"));
        command.current_dir(fleet.folder.path()).args(["deploy", "cam0", "--ssh-config", "ssh_config", "--wait", "30", "--json"]);
        let output = command.args(more).env("USER", "operator").env_remove("SUDO_USER").stdin(Stdio::null()).output().unwrap();
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        (rows[0]["verdict"].as_str().unwrap().to_owned(), rows[0]["what"].as_str().unwrap().to_owned())
    };
    for more in [&[&BRING[..], &["--dry-run"]].concat()[..], &BRING] {
        let (verdict, what) = deploy(more);
        assert!(verdict == "failed" && what.contains("a password is required") && what.contains("line for sudo"), "{what}");
        assert_eq!(fleet.left_over(0), 0, "nothing is copied");
    }
    fs::write(fleet.board(0).join("may"), "").unwrap();
    let (verdict, what) = deploy(&[&BRING[..], &["--dry-run"]].concat());
    assert!(verdict == "done" && what.contains("would copy"), "{what}");
    // That line lets no configurations through.
    fs::write(fleet.at("camera.toml"), "[input]\nsource = \"pictures7\"\n").unwrap();
    assert_eq!(verdicts(&fleet.rows(&[&["cam0"][..], &BRING].concat())), ["done"]);
    assert_eq!(deploy(&["--config", "camera.toml", "--dry-run"]).0, "failed");
}

#[test]
fn a_way_back_to_the_packaged_release_is_done_once_that_shows_frames() {
    let Some(fleet) = Fleet::start(1) else { return };
    fleet.release(1, &[], &frames(1));
    assert_eq!(verdicts(&fleet.rows(&[&["cam0"][..], &BRING[..]].concat())), ["done"]);
    let packaged =
        |body: &str| write(fleet.board(0).join("usr/bin/edge-seg"), &format!("#!/bin/sh\n[ \"$1\" = config ] && exit\n{body}"), 0o755);
    packaged("exit 1\n");
    let back = || {
        let rows = fleet.rows(&["cam0", "--rollback", "--wait", "20"]);
        (verdicts(&rows)[0].to_owned(), rows[0]["what"].as_str().unwrap().to_owned())
    };
    let (verdict, what) = back();
    assert!(verdict == "failed" && what.contains("did not stay healthy after the way back; it runs slot a"), "{what}");
    let history = fleet.status(0)["history"].to_string();
    assert!(history.contains("the packaged release failed in 3 starts in a row: slot a is tried"), "{history}");
    assert!(history.contains("slot a is good, though it had been set aside: rolled back by the operator"), "{history}");
    packaged(&frames(0));
    let (verdict, what) = back();
    assert!(verdict == "done" && what.ends_with("the packaged release is healthy"), "{what}");
}
