//! Many boards by one file, over real sshds on the loopback address.

use crate::boards::{Fleet, frames, verdicts, write};

use edge_seg_tests::binary;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const BASE: &str = "[input]\nsource = \"pictures\"\n[words]\ntags = \"cat\"\n";

impl Fleet {
    /// `fleet.toml` of all boards, with more in its sections.
    fn file(&self, more: &str) {
        fs::write(self.at("base.toml"), BASE).unwrap();
        let hosts: String = (0..self.servers.len())
            .map(|i| {
                let group = if i % 2 == 0 { "even" } else { "odd" };
                format!("[[host]]\nname = \"camera{i}\"\nssh = \"cam{i}\"\ngroups = [\"{group}\"]\nmqtt-name = \"c{i}\"\n")
            })
            .collect();
        let ssh = "[ssh]\nconfig = \"ssh_config\"\nsudo = \"\"\n";
        fs::write(self.at("fleet.toml"), format!("{more}\n{ssh}\n{hosts}")).unwrap();
    }

    fn fleet(&self, arguments: &[&str]) -> Output {
        self.fleet_command(arguments).output().unwrap()
    }

    fn fleet_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("edge-seg-fw"));
        command.current_dir(self.folder.path()).arg("fleet").args(arguments).stdin(Stdio::null());
        command
    }

    fn fleet_json(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.fleet(&[arguments, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    fn config(&self, i: usize) -> String {
        let slot = self.status(i)["current"].as_str().expect("a slot runs").to_owned();
        fs::read_to_string(self.board(i).join(format!("var/lib/edge-seg/slots/{slot}/config.toml"))).unwrap()
    }
}

const SHORT: &str =
    "[trial]\nframes = 3\nwait-s = 30\n[config]\nbase = \"base.toml\"\n[group.even]\nwords = \"person, dog\"\n[group.odd]\n";
const BRING: [&str; 5] = ["deploy", "--bundle", "r.esb", "--binary", "runtime"];

fn what(row: &Value) -> &str {
    row["what"].as_str().unwrap()
}

#[test]
fn a_fleet_gets_its_release_then_words_alone_and_the_journal_tells() {
    let Some(fleet) = Fleet::start(3) else { return };
    fleet.release(1, &["pi5"], &frames(1));
    fleet.file(SHORT);
    let status = fleet.fleet(&["status"]);
    let table = String::from_utf8(status.stdout).unwrap();
    assert!(status.status.success() && table.lines().count() == 4 && table.contains("packaged"), "{table}");

    let rows = fleet.fleet_json(&BRING);
    assert_eq!(verdicts(&rows), ["done"; 3], "{rows:?}");
    assert!(fleet.config(0).contains("person, dog") && fleet.config(0).contains("name = \"c0\""), "{}", fleet.config(0));
    assert!(fleet.config(1).contains("cat") && fleet.config(1).contains("name = \"c1\""), "{}", fleet.config(1));
    let mode = fs::metadata(fleet.board(0).join("var/lib/edge-seg/slots/a/config.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o007, 0, "configurations are nobody else's");
    assert_eq!(fleet.left_over(0), 0);
    // Once more, nothing is done.
    let rows = fleet.fleet_json(&BRING);
    assert!(verdicts(&rows) == ["done"; 3] && rows.iter().all(|row| what(row).contains("runs it already")), "{rows:?}");

    // Words alone, where they have changed.
    fleet.file(&SHORT.replace("person, dog", "person, bicycle"));
    let rows = fleet.fleet_json(&["deploy"]);
    assert_eq!(verdicts(&rows), ["done"; 3], "{rows:?}");
    assert!(what(&rows[0]).contains("slot b is good") && what(&rows[1]).contains("runs it already"), "{rows:?}");
    assert!(fleet.config(0).contains("bicycle") && fleet.config(2).contains("bicycle"));
    let same = |i: usize, name: &str| {
        let slot = |slot: &str| fs::read(fleet.board(i).join(format!("var/lib/edge-seg/slots/{slot}/{name}"))).unwrap();
        slot("a") == slot("b")
    };
    assert!(same(0, "bundle.esb") && same(0, "edge-seg"));

    let rows = fleet.fleet_json(&["deploy", "--rollback", "@even"]);
    assert_eq!(verdicts(&rows), ["done"; 2], "{rows:?}");
    assert!(fleet.config(0).contains("dog"));
    let answers = fleet.fleet_json(&["status", "camera0", "@odd"]);
    assert_eq!(answers.len(), 2);
    let history = answers[0]["answer"]["history"].as_array().unwrap();
    assert!(history.iter().any(|entry| entry["what"].as_str().unwrap().contains("slot b is good")), "{history:?}");
    assert!(history.iter().all(|entry| entry["time"].as_str().unwrap().starts_with("20") && entry["who"].is_string()));
    let journal = fleet.fleet_json(&["journal"]);
    let count = |event: &str| journal.iter().filter(|entry| entry["event"] == event).count();
    assert_eq!((count("start"), count("board"), count("end")), (4, 11, 4), "{journal:?}");
    assert!(journal[0]["what"].as_str().unwrap().contains("serial 1 to 3 boards, phases 1, 10 %, all"), "{}", journal[0]);
    assert_eq!(journal[0]["files"]["bundle.esb"].as_str().unwrap().len(), 64);
    assert!(String::from_utf8(fleet.fleet(&["journal"]).stdout).unwrap().lines().count() == journal.len());
    assert_eq!(fleet.fleet(&["status", "camera7"]).status.code(), Some(2));
}

#[test]
fn a_pause_a_closed_window_and_a_failing_phase_hold_the_others_back() {
    let Some(fleet) = Fleet::start(3) else { return };
    fleet.release(1, &[], &frames(1));
    // Open on one minute of the week, which was not long ago: it opens again in a week.
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let day = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(seconds / 86_400 + 6) as usize % 7];
    fleet.file(&format!("[rollout]\nwindows = [\"{day} 00:00-00:01\"]\n{SHORT}"));
    let mut waiting = fleet.fleet_command(&BRING).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(waiting.stderr.take().unwrap());
    said.read_line(&mut line).unwrap();
    assert!(line.contains("the next window opens in"), "{line}");
    assert!(fleet.fleet(&["pause", "a demonstration"]).status.success());
    let ended = waiting.wait_with_output().unwrap();
    drop(said);
    let table = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.code() == Some(1) && table.matches("skipped").count() == 3 && table.contains("a demonstration"), "{table}");
    let resumed: Value = serde_json::from_slice(&fleet.fleet(&["resume", "--json"]).stdout).unwrap();
    assert!(resumed["paused"].is_null() && resumed["was"] == "a demonstration", "{resumed}");
    let resumed: Value = serde_json::from_slice(&fleet.fleet(&["resume", "--json"]).stdout).unwrap();
    assert!(resumed["was"].is_null(), "{resumed}");
    // A run of the first phases alone; a later one goes on.
    let rows = fleet.fleet_json(&[&BRING[..], &["--now", "--phases", "1"]].concat());
    assert_eq!(verdicts(&rows), ["done", "skipped", "skipped"], "{rows:?}");
    assert_eq!(fleet.status(1)["current"], Value::Null);
    assert_eq!(verdicts(&fleet.fleet_json(&[&BRING[..], &["--now"]].concat())), ["done"; 3]);
    fleet.release(2, &[], "exit 1\n");
    let rows = fleet.fleet_json(&[&BRING[..], &["--now"]].concat());
    assert_eq!(verdicts(&rows), ["failed", "skipped", "skipped"], "{rows:?}");
    for i in 0..3 {
        assert_eq!(fleet.status(i)[fleet.status(i)["current"].as_str().unwrap()]["release"]["serial"], 1);
    }
}

#[test]
fn a_board_that_was_away_is_brought_up_when_it_is_back() {
    let Some(mut fleet) = Fleet::start(2) else { return };
    fleet.release(1, &[], &frames(1));
    fleet.file(&format!("[rollout]\nretry-minutes = 2\nretry-every-s = 0.5\n{SHORT}"));
    fleet.stop(1);
    let deploy = fleet.fleet_command(&[&BRING[..], &["--json"]].concat()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(50);
    while fleet.status(0)["a"]["status"] != "good" {
        assert!(Instant::now() < end, "the others do not wait for it");
        std::thread::sleep(Duration::from_millis(200));
    }
    fleet.start_again(1);
    let ended = deploy.wait_with_output().unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(verdicts(&rows), ["done"; 2], "{rows:?}");
    assert_eq!(fleet.status(1)["a"]["status"], "good");
    // One that stays away is told so, and that is no success.
    fleet.stop(1);
    fleet.file(&format!("[rollout]\nretry-minutes = 0.02\nretry-every-s = 0.5\n{SHORT}"));
    let rows = fleet.fleet_json(&[&BRING[..], &["--phases", "all"]].concat());
    assert_eq!(verdicts(&rows), ["done", "away"], "{rows:?}");
    let output = fleet.fleet(&["status"]);
    assert!(output.status.code() == Some(1) && String::from_utf8_lossy(&output.stdout).contains("cannot be reached"));
}

/// An ssh, by its `PATH`, that loses a board for which there is a file `cut-HOST` once that has been told to install, and until
/// `down-HOST` is gone.
fn breaking_links(fleet: &Fleet) -> String {
    let at = fleet.folder.path().display();
    let wrapper = format!(
        "#!/bin/bash\nPATH=${{PATH#*:}}\nfor word; do case $word in cam[0-9]) host=$word;; esac; done\n\
         case \" $* \" in *' -G '*) exec ssh \"$@\";; esac\n\
         if [ -e {at}/down-$host ]; then echo 'ssh: No route to host' >&2; exit 255; fi\n\
         case \"$*\" in *'edge-seg-fw install '*) if [ -e {at}/cut-$host ]; then\n\
         ssh \"$@\" >/dev/null 2>&1; mv {at}/cut-$host {at}/down-$host; echo 'client_loop: send disconnect: Broken pipe' >&2; exit 255\n\
         fi;; esac\nexec ssh \"$@\"\n"
    );
    write(fleet.at("links/ssh"), &wrapper, 0o755);
    format!("{}:{}", fleet.at("links").display(), std::env::var("PATH").unwrap())
}

#[test]
fn a_board_that_is_lost_while_it_installs_stays_under_way_and_its_rollout_is_undone() {
    let Some(fleet) = Fleet::start(3) else { return };
    let path = breaking_links(&fleet);
    let start = |arguments: &[&str]| {
        let mut command = fleet.fleet_command(&[arguments, &["--json"]].concat());
        command.env("PATH", &path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let rows = |run: std::process::Child| -> Vec<Value> {
        let ended = run.wait_with_output().unwrap();
        serde_json::from_slice(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&ended.stderr)))
    };
    let serial = |i: usize| fleet.status(i)[fleet.status(i)["current"].as_str().unwrap()]["release"]["serial"].clone();
    let rollout = "[rollout]\nphases = [\"all\"]\njobs = 1\nunder-way = 1\nretry-minutes = 1\nretry-every-s = 0.5\n";
    fleet.file(&format!("{rollout}{}", SHORT.replace("wait-s = 30", "wait-s = 10")));
    fleet.release(1, &[], &frames(1));
    assert_eq!(verdicts(&rows(start(&BRING))), ["done"; 3]);

    // Nobody knows what it runs: no other board begins.
    fleet.release(2, &[], &frames(2));
    fs::write(fleet.at("cut-cam0"), "").unwrap();
    let told = rows(start(&BRING));
    assert!(verdicts(&told) == ["unknown", "skipped", "skipped"] && told[0]["left_alone"] == false, "{told:?}");
    assert!(what(&told[0]).contains("the link broke after the board was asked to change"), "{told:?}");
    assert_eq!([serial(0), serial(1), serial(2)], [2, 1, 1]);
    fs::remove_file(fleet.at("down-cam0")).unwrap();
    // Run again, it is left alone, which takes the first attempt not back.
    let again = rows(start(&[&BRING[..], &["--phases", "1"]].concat()));
    assert!(what(&again[0]).contains("runs it already") && again[0]["left_alone"] == true, "{again:?}");
    let back = rows(start(&["deploy", "--rollback"]));
    assert!(verdicts(&back) == ["done"; 3] && what(&back[1]).starts_with("left alone"), "{back:?}");
    assert_eq!([serial(0), serial(1), serial(2)], [1, 1, 1]);

    // One that is back in time has its trial, as if the link had held.
    fleet.release(3, &[], &frames(3));
    fs::write(fleet.at("cut-cam0"), "").unwrap();
    let run = start(&BRING);
    let end = Instant::now() + Duration::from_secs(50);
    while !fleet.at("down-cam0").exists() {
        assert!(Instant::now() < end, "it was never told to install");
        std::thread::sleep(Duration::from_millis(50));
    }
    fs::remove_file(fleet.at("down-cam0")).unwrap();
    let told = rows(run);
    assert!(verdicts(&told) == ["done"; 3] && told[0]["left_alone"] == false, "{told:?}");
    assert_eq!([serial(0), serial(1), serial(2)], [3, 3, 3]);
    assert_eq!(verdicts(&rows(start(&["deploy", "--rollback"]))), ["done"; 3]);
    assert_eq!([serial(0), serial(1), serial(2)], [1, 1, 1]);
}

#[test]
fn a_board_under_a_new_name_is_not_called_untouched() {
    let Some(fleet) = Fleet::start(2) else { return };
    fleet.file(SHORT);
    for serial in [1, 2] {
        fleet.release(serial, &[], &frames(serial));
        assert_eq!(verdicts(&fleet.fleet_json(&BRING)), ["done"; 2]);
    }
    let text = fs::read_to_string(fleet.at("fleet.toml")).unwrap();
    fs::write(fleet.at("fleet.toml"), text.replace("\"camera1\"", "\"garage\"")).unwrap();
    let rows = fleet.fleet_json(&["deploy", "--rollback"]);
    assert_eq!(verdicts(&rows), ["done", "failed", "failed"], "{rows:?}");
    assert!(rows[1]["host"] == "garage" && what(&rows[1]).contains("knows no board of this name, but camera1"), "{rows:?}");
    assert!(rows[2]["host"] == "camera1" && what(&rows[2]).contains("no board of this name any more"), "{rows:?}");
    // A board that is new here is none of that rollout; one that is left out by name is not asked for.
    fs::write(fleet.at("fleet.toml"), &text).unwrap();
    assert_eq!(verdicts(&fleet.fleet_json(&["deploy", "--rollback"])), ["done"; 2]);
    fs::write(fleet.at("fleet.toml"), format!("{text}[[host]]\nname = \"new\"\nssh = \"cam7\"\n")).unwrap();
    let rows = fleet.fleet_json(&["deploy", "--rollback"]);
    assert!(verdicts(&rows) == ["done"; 3] && what(&rows[2]).contains("was not for it"), "{rows:?}");
}

/// A trial of `seconds` until its third frame.
fn slow(seconds: f32) -> String {
    format!("for i in 1 2 3 4; do echo '{{\"release\":1}}'; sleep {}; done\n", seconds / 2.0)
}

#[test]
fn boards_on_trial_hold_no_job_and_have_a_limit_of_their_own() {
    let Some(fleet) = Fleet::start(4) else { return };
    fleet.release(1, &[], &slow(15.0));
    let rollout = |under_way: usize| {
        format!("[rollout]\nphases = [\"all\"]\njobs = 1\nunder-way = {under_way}\n{}", SHORT.replace("wait-s = 30", "wait-s = 120"))
    };
    // How many boards are on trial at a time, at most.
    let most = |under_way: usize| {
        fleet.file(&rollout(under_way));
        let deploy = fleet.fleet_command(&[&BRING[..], &["--json"]].concat()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let ended = std::thread::spawn(move || deploy.wait_with_output().unwrap());
        let mut most = 0;
        while !ended.is_finished() {
            let on_trial = |i: &usize| {
                let status = fleet.status(*i);
                status["current"].as_str().is_some_and(|slot| status[slot]["status"].get("pending").is_some())
            };
            most = most.max((0..4).filter(on_trial).count());
            std::thread::sleep(Duration::from_millis(100));
        }
        let rows: Vec<Value> = serde_json::from_slice(&ended.join().unwrap().stdout).unwrap();
        assert_eq!(verdicts(&rows), ["done"; 4], "{rows:?}");
        most
    };
    let many = most(100);
    assert!(many > 1, "one job, and more than one board on trial: {many}");
    fleet.release(2, &[], &slow(1.0));
    assert_eq!(most(1), 1);
}

#[test]
fn ctrl_c_lets_what_is_under_way_finish_and_nobody_else_begin() {
    let Some(fleet) = Fleet::start(3) else { return };
    fleet.release(1, &[], &slow(4.0));
    fleet.file(SHORT);
    let temp = fleet.at("temp");
    fs::create_dir(&temp).unwrap();
    let begun = |times: i32| {
        let mut command = fleet.fleet_command(&[&BRING[..], &["--json"]].concat());
        command.env("TMPDIR", &temp).process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        let deploy = command.spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while fleet.status(0)["current"].is_null() {
            assert!(Instant::now() < end, "the first board begins");
            std::thread::sleep(Duration::from_millis(50));
        }
        // As a terminal does: to the whole group.
        for _ in 0..times {
            let group = format!("-{}", deploy.id());
            assert!(Command::new("kill").args(["-INT", "--", &group]).status().unwrap().success());
            std::thread::sleep(Duration::from_millis(1000));
        }
        deploy.wait_with_output().unwrap()
    };
    let ended = begun(1);
    let rows: Vec<Value> = serde_json::from_slice(&ended.stdout).unwrap();
    assert!(ended.status.code() == Some(1) && verdicts(&rows) == ["done", "skipped", "skipped"], "{rows:?}");
    assert!(what(&rows[2]).contains("interrupted") && fleet.status(1)["current"].is_null(), "{rows:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("no further board begins"));
    assert_eq!(fleet.status(0)["a"]["status"], "good");
    assert_eq!(fleet.fleet_json(&["journal"]).last().unwrap()["event"], "end");
    assert_eq!(fs::read_dir(&temp).unwrap().count(), 0, "no configuration is left");

    // Twice ends at once. The board goes on by itself, and the next run is told of the one that has no end, and ends what it began.
    let rollback = fleet.fleet_json(&["deploy", "--rollback", "camera0"]);
    assert_eq!(verdicts(&rollback), ["done"]);
    fleet.release(2, &[], &slow(4.0));
    let ended = begun(2);
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    let next = fleet.fleet_command(&[&BRING[..], &["--json"]].concat()).output().unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&next.stdout).unwrap();
    assert_eq!(verdicts(&rows), ["done"; 3], "{rows:?}");
    assert!(String::from_utf8_lossy(&next.stderr).contains("a run has no end in the journal"), "{next:?}");
}

#[test]
fn a_rollback_undoes_the_newest_rollout_and_nothing_else() {
    let Some(fleet) = Fleet::start(3) else { return };
    fleet.release(1, &[], &frames(1));
    fleet.file(SHORT);
    assert_eq!(verdicts(&fleet.fleet_json(&BRING)), ["done"; 3]);
    // Two of three get the next one.
    fleet.release(2, &[], &frames(2));
    assert_eq!(verdicts(&fleet.fleet_json(&[&BRING[..], &["--phases", "2"]].concat())), ["done", "done", "skipped"]);
    let serial = |i: usize| {
        let status = fleet.status(i);
        status["current"].as_str().map(|slot| status[slot]["release"]["serial"].as_u64().unwrap())
    };
    let dry = fleet.fleet_json(&["deploy", "--rollback", "--dry-run"]);
    assert_eq!(verdicts(&dry), ["done"; 3]);
    assert!(what(&dry[0]).contains("would go back from slot b (tiny serial 2, good) to slot a (tiny serial 1, good)"), "{dry:?}");
    assert!(what(&dry[2]).contains("left alone") && serial(0) == Some(2), "{dry:?}");
    // Twice brings no board further back.
    for _ in 0..2 {
        let rows = fleet.fleet_json(&["deploy", "--rollback"]);
        assert!(verdicts(&rows) == ["done"; 3] && what(&rows[2]).contains("left alone"), "{rows:?}");
        assert_eq!([serial(0), serial(1), serial(2)], [Some(1); 3]);
    }
    // By name, and refused where the older one is damaged, as a dry run says.
    assert_eq!(verdicts(&fleet.fleet_json(&[&BRING[..], &["--phases", "all"]].concat())), ["done"; 3]);
    let bundle = fleet.board(0).join("var/lib/edge-seg/slots/a/bundle.esb");
    let mut bytes = fs::read(&bundle).unwrap();
    bytes[2_000_000] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    for more in [&["--dry-run"][..], &[]] {
        let rows = fleet.fleet_json(&[&["deploy", "--rollback", "--bundle", "r.esb", "--keep-going"][..], more].concat());
        assert!(verdicts(&rows) == ["failed", "done", "done"] && what(&rows[0]).contains("bundle.esb: expected"), "{rows:?}");
    }
    assert_eq!([serial(0), serial(1), serial(2)], [Some(2), Some(1), Some(1)]);
    let journal = fleet.fleet_json(&["journal"]);
    assert_eq!(journal.iter().filter(|entry| entry["event"] == "start" && entry["dry_run"] == true).count(), 2, "{journal:?}");
}

#[test]
fn two_operators_at_once_bring_one_release_and_no_board_is_lost() {
    let Some(fleet) = Fleet::start(2) else { return };
    fleet.release(1, &[], &frames(1));
    fleet.file(SHORT);
    assert_eq!(verdicts(&fleet.fleet_json(&BRING)), ["done"; 2]);
    fleet.release(2, &[], &slow(2.0));
    let start = |who: &str| {
        let mut command = fleet.fleet_command(&[&BRING[..], &["--json"]].concat());
        command.env("USER", who).env_remove("SUDO_USER").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    for deploy in [start("anna"), start("berta")] {
        let ended = deploy.wait_with_output().unwrap();
        let rows: Vec<Value> = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(verdicts(&rows), ["done"; 2], "{rows:?} {}", String::from_utf8_lossy(&ended.stderr));
    }
    for i in 0..2 {
        let status = fleet.status(i);
        let slot = status["current"].as_str().unwrap();
        assert!(status[slot]["release"]["serial"] == 2 && status[slot]["status"] == "good", "{status}");
    }
    // Lines of both, each whole.
    let text = fs::read_to_string(fleet.at("fleet.journal.jsonl")).unwrap();
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok_and(|entry| entry.is_object())), "{text}");
}

#[test]
fn a_trial_asks_for_more_than_frames() {
    let Some(fleet) = Fleet::start(1) else { return };
    let latency = |ms: u32| format!("for i in 1 2 3 4 5; do echo '{{\"release\":1,\"latency_ms\":{ms}}}'; done\n");
    fleet.release(1, &[], &latency(90));
    fleet.file(&SHORT.replace("frames = 3", "frames = 3\np95-ms = 100"));
    assert_eq!(verdicts(&fleet.fleet_json(&BRING)), ["done"]);
    fleet.release(2, &[], &latency(110));
    let rows = fleet.fleet_json(&BRING);
    assert_eq!(verdicts(&rows), ["failed"], "{rows:?}");
    let told = |text: &str| {
        let status = fleet.status(0);
        let history = status["history"].as_array().unwrap();
        assert!(history.iter().any(|entry| entry["what"].as_str().unwrap().contains(text)), "{history:?}");
    };
    told("95 of 100 frames took up to 110 ms");
    assert_eq!(fleet.status(0)["current"], "a");
    // The operator's own program has a word too, of releases on trial alone.
    write(fleet.board(0).join("etc/edge-seg/trial-hook"), "#!/bin/sh\necho \"no picture of the door\" >&2\nexit 1\n", 0o755);
    fleet.release(3, &[], &latency(90));
    assert_eq!(verdicts(&fleet.fleet_json(&BRING)), ["failed"]);
    told("no picture of the door");
    let guard = Command::new(binary("edge-seg-fw")).args(["guard", "--root"]).arg(fleet.board(0)).output().unwrap();
    assert!(guard.status.success(), "what is good runs on: {guard:?}");
    write(fleet.board(0).join("etc/edge-seg/trial-hook"), "#!/bin/sh\n[ \"$1\" = \"slot b\" ]\n", 0o755);
    fleet.release(4, &[], &latency(90));
    assert_eq!(verdicts(&fleet.fleet_json(&BRING)), ["done"]);
}

fn fw(fleet: &Fleet, arguments: &[&str]) {
    let output = Command::new(binary("edge-seg-fw")).current_dir(fleet.folder.path()).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn configurations_are_signed_where_the_board_asks_for_it_and_a_dry_run_tells_what_will_be_refused() {
    let Some(fleet) = Fleet::start(1) else { return };
    fw(&fleet, &["keygen", "workshop", "--no-password"]);
    fw(&fleet, &["keygen", "stranger", "--no-password"]);
    let keys = fleet.board(0).join("etc/edge-seg/keys");
    fs::create_dir_all(&keys).unwrap();
    fs::copy(fleet.at("workshop.pub"), keys.join("workshop.pub")).unwrap();
    let sign = |key: &str| {
        fw(&fleet, &["sign", "r.esb", "--key", key, "--no-password"]);
        fw(&fleet, &["sign", "runtime", "--detached", "--key", key, "--no-password"]);
    };
    let signed = SHORT.replace("base = \"base.toml\"", "base = \"base.toml\"\nkey = \"workshop\"");
    let bring = [&BRING[..], &["--no-password"]].concat();
    let dry = [&bring[..], &["--dry-run"]].concat();
    let refused = |arguments: &[&str], why: &str| {
        let rows = fleet.fleet_json(arguments);
        assert!(verdicts(&rows) == ["failed"] && what(&rows[0]).contains(why), "expected {why}: {rows:?}");
        assert_eq!(fleet.left_over(0), 0, "nothing is copied");
    };
    fleet.release(1, &[], &frames(1));
    fleet.file(&signed);
    sign("stranger");
    refused(&dry, "unknown key");
    refused(&bring, "unknown key");
    sign("workshop");
    let rows = fleet.fleet_json(&dry);
    assert!(verdicts(&rows) == ["done"] && what(&rows[0]).contains("would copy"), "{rows:?}");
    fs::write(keys.join("signed-config"), "").unwrap();
    assert_eq!(verdicts(&fleet.fleet_json(&bring)), ["done"]);

    // Words alone: signed by the fleet's key, unsigned, by a stranger's, and of a runtime that does not take them.
    fleet.file(&signed.replace("person, dog", "person"));
    assert_eq!(verdicts(&fleet.fleet_json(&["deploy", "--no-password"])), ["done"]);
    assert!(fleet.config(0).contains("\"person\""));
    fleet.file(&SHORT.replace("person, dog", "car"));
    refused(&["deploy", "--dry-run"], "expected its signature");
    refused(&["deploy"], "expected its signature");
    fleet.file(&signed.replace("person, dog", "car").replace("\"workshop\"", "\"stranger\""));
    refused(&["deploy", "--no-password"], "unknown key");
    assert!(fleet.config(0).contains("\"person\""));
    // Another key in place of the one that signed what runs: that goes on, with words that the new one signs.
    fs::rename(keys.join("workshop.pub"), fleet.at("old.pub")).unwrap();
    fs::copy(fleet.at("stranger.pub"), keys.join("stranger.pub")).unwrap();
    for more in [&["--dry-run"][..], &[]] {
        let rows = fleet.fleet_json(&[&["deploy", "--no-password"][..], more].concat());
        assert_eq!(verdicts(&rows), ["done"], "{rows:?}");
    }
    assert!(fleet.config(0).contains("\"car\""));
    // A key that cannot be read is told by a dry run too.
    fs::write(keys.join("odd.pub"), "no key\n").unwrap();
    fleet.file(&signed.replace("person, dog", "bus").replace("\"workshop\"", "\"stranger\""));
    refused(&["deploy", "--dry-run", "--no-password"], "odd.pub");
    fs::remove_file(keys.join("odd.pub")).unwrap();
    fs::remove_file(keys.join("stranger.pub")).unwrap();
    fs::rename(fleet.at("old.pub"), keys.join("workshop.pub")).unwrap();
    // On the board as well, whoever asks.
    fs::write(fleet.at("own.toml"), BASE).unwrap();
    let own = Command::new(binary("edge-seg-fw"))
        .current_dir(fleet.folder.path())
        .args(["reconfigure", "own.toml", "--root"])
        .arg(fleet.board(0))
        .output()
        .unwrap();
    assert!(own.status.code() == Some(1) && String::from_utf8_lossy(&own.stderr).contains("expected its signature"), "{own:?}");
}

#[test]
fn a_configuration_that_boards_do_not_take_is_told_before_it_is_brought() {
    let Some(fleet) = Fleet::start(1) else { return };
    fleet.release(1, &[], "");
    let checks =
        "#!/bin/sh\nif [ \"$1\" = config ]; then grep -q bicycle \"$3\" || exit 0; echo \"edge-seg: $3: no bicycles\" >&2; exit 1; fi\n";
    write(fleet.at("runtime"), &format!("{checks}{}", frames(1)), 0o755);
    fleet.file(SHORT);
    assert_eq!(verdicts(&fleet.fleet_json(&BRING)), ["done"]);
    fleet.file(&SHORT.replace("dog", "bicycle"));
    for arguments in [&["deploy", "--dry-run"][..], &["deploy"]] {
        let rows = fleet.fleet_json(arguments);
        assert!(verdicts(&rows) == ["failed"] && what(&rows[0]).contains("config.toml: no bicycles"), "{rows:?}");
    }
    assert!(!fs::read_to_string(fleet.board(0).join("calls")).unwrap().contains("reconfigure"));
}

#[test]
fn logs_metrics_and_findings_of_many_boards_are_fetched_at_once() {
    let Some(fleet) = Fleet::start(2) else { return };
    write(fleet.at("bin/journalctl"), "#!/bin/sh\necho \"$BOARD $*\"\n", 0o755);
    let page = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = format!("[http]\naddress = \"{}\"\ntoken-file = \"/etc/edge-seg/token\"\n", page.local_addr().unwrap());
    write(fleet.board(0).join("etc/edge-seg/edge-seg.toml"), &config, 0o644);
    write(fleet.board(0).join("etc/edge-seg/token"), "a-token\n", 0o600);
    let server = std::thread::spawn(move || {
        let (mut client, _) = page.accept().unwrap();
        let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
        let head: Vec<String> = lines.by_ref().map_while(|line| line.ok().filter(|line| !line.is_empty())).collect();
        client.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/plain\r\n\r\nedge_seg_frames_total 7\n").unwrap();
        head
    });
    fleet.file(SHORT);
    let rows = fleet.fleet_json(&["collect", "--lines", "5"]);
    let head = server.join().unwrap();
    assert!(
        head[0].starts_with("GET /metrics") && head.iter().any(|line| line.eq_ignore_ascii_case("Authorization: Bearer a-token")),
        "{head:?}"
    );
    let text = |path: &str| fs::read_to_string(fleet.at("collected").join(path)).unwrap();
    assert!(text("camera0/metrics.prom").contains("edge_seg_frames_total 7"), "{rows:?}");
    assert!(text("camera1/log.txt").contains("board1 -u edge-seg.service -n 5"), "{rows:?}");
    assert!(text("camera1/status.json").contains("\"floor\""));
    assert!(rows[1]["answer"]["metrics.prom"].as_str().unwrap().contains("no [http] address"), "{rows:?}");
    let output = fleet.fleet(&["doctor"]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.code() == Some(1) && table.contains("camera1") && table.contains("bad"), "{table}");
}

/// Times, which mean something on a machine that does nothing else.
/// `cargo test --release --workspace --test firmware -- --ignored --nocapture measured`.
#[test]
#[ignore = "a measurement"]
fn measured_words_alone_and_fifty_boards() {
    // Each board spends ten seconds on its trial, as one that opens a camera does; the rest is this program's, ssh's and the boards' tools.
    const TRIAL: &str = "for i in 1 2 3; do sleep 3.3; echo '{\"release\":1}'; done\n";
    let timed = |count: usize| {
        let fleet = Fleet::start(count).expect("sshd");
        fleet.release(1, &[], TRIAL);
        fleet.file(&format!("[rollout]\nphases = [\"all\"]\njobs = 25\n{}", SHORT.replace("wait-s = 30", "wait-s = 120")));
        let start = Instant::now();
        let rows = fleet.fleet_json(&BRING);
        assert!(verdicts(&rows).iter().all(|verdict| *verdict == "done"), "{rows:?}");
        (start.elapsed().as_secs_f64(), fleet)
    };
    let (few, _) = timed(5);
    let (many, fleet) = timed(50);
    println!("5 boards {few:.1} s, 50 boards {many:.1} s, ratio {:.2}", many / few);
    drop(fleet);

    let fleet = Fleet::start(1).expect("sshd");
    fleet.release(1, &[], &frames(1));
    fleet.file(SHORT);
    assert_eq!(verdicts(&fleet.fleet_json(&BRING)), ["done"]);
    let mut times = Vec::new();
    for words in ["car", "bus", "tree", "house", "boat"] {
        fleet.file(&SHORT.replace("person, dog", words));
        let start = Instant::now();
        assert_eq!(verdicts(&fleet.fleet_json(&["deploy"])), ["done"]);
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    println!("words alone: median {:.2} s, most {:.2} s", times[2], times[4]);
}
