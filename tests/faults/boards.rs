//! Boards: keys, installations and the guard that runs what is installed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use edge_seg_tests::binary;

use crate::files::files;
use crate::process::{Ended, FW};

fn fw(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(binary(FW)).current_dir(folder).env("HOME", folder).args(arguments).output().unwrap()
}

/// A runtime that finds every configuration right and tells frames of a release.
fn runtime(path: &Path, serial: u64) {
    let frames = format!("i=0; while [ $i -lt 5 ]; do i=$((i+1)); echo '{{\"release\":{serial}}}'; done");
    fs::write(path, format!("#!/bin/sh\n[ \"$1\" = config ] && exit 0\n{frames}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// `board`, where release 1 has proved itself; `trial`, where release 2 is on trial besides; and what release 2 is.
pub fn make(given: &Path) {
    for name in ["board/etc/edge-seg/keys", "board/usr/bin"] {
        fs::create_dir_all(given.join(name)).unwrap();
    }
    runtime(&given.join("board/usr/bin/edge-seg"), 0);
    fs::write(given.join("board/etc/edge-seg/edge-seg.toml"), "[input]\nsource = \"pictures\"\n").unwrap();
    let done = |arguments: &[&str]| {
        let output = fw(given, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    for (serial, root) in [(1, "board"), (2, "trial")] {
        let bundle = format!("r{serial}.esb");
        done(&["pack", "tiny.esb", "-o", &bundle, "--serial", &serial.to_string()]);
        runtime(&given.join("runtime"), serial);
        let root = given.join(root).display().to_string();
        if serial == 2 {
            let copied = Command::new("cp").arg("-a").arg(given.join("board")).arg(&root).status().unwrap();
            assert!(copied.success());
        }
        done(&["install", "--trial-frames", "3", &bundle, "--binary", "runtime", "--root", &root]);
        if serial == 1 {
            done(&["guard", "--first", "2", "--stall", "2", "--root", &root]);
        }
    }
}

/// The release whose frames the guard shows.
fn runs(folder: &Path, root: &str) -> Result<u64, String> {
    let output = fw(folder, &["guard", "--first", "2", "--stall", "2", "--root", root]);
    let shown = String::from_utf8_lossy(&output.stdout);
    let line = shown.lines().next().ok_or_else(|| format!("nothing runs: {}", String::from_utf8_lossy(&output.stderr)))?;
    let line: serde_json::Value = serde_json::from_str(line).map_err(|e| format!("{e} in {line}"))?;
    line["release"].as_u64().ok_or_else(|| format!("no release in {line}"))
}

/// What could not be removed goes at the latest when somebody asks for room.
fn nothing_is_left(folder: &Path, root: &str) -> Result<(), String> {
    // The history's next entry is written over what was left of the one before.
    let is_left =
        |name: &str| (name.ends_with(".new") && name != "history.jsonl.new") || name.ends_with(".part") || name.starts_with("check.");
    let left = || files(&folder.join(root).join("var/lib/edge-seg")).into_keys().find(|name| is_left(name));
    if left().is_some() {
        fw(folder, &["prune", "--root", root]);
    }
    left().map_or(Ok(()), |name| Err(format!("{name} is left over")))
}

/// After an installation of release 2 over release 1.
pub fn old_or_new_runs(folder: &Path, ended: &Ended) -> Result<(), String> {
    match (runs(folder, "board")?, ended.code) {
        (2, _) | (1, Some(1 | 2 | 127) | None) => {}
        (serial, code) => return Err(format!("it ends with {code:?}, and release {serial} runs")),
    }
    let again = fw(folder, &["install", "--trial-frames", "3", "r2.esb", "--binary", "runtime", "--root", "board"]);
    if !again.status.success() {
        return Err(format!("installed again without faults: {}", String::from_utf8_lossy(&again.stderr)));
    }
    let serial = runs(folder, "board")?;
    if serial != 2 {
        return Err(format!("installed again without faults, release {serial} runs"));
    }
    nothing_is_left(folder, "board")
}

/// After a start of release 2 on trial.
pub fn trial_goes_on(folder: &Path, _: &Ended) -> Result<(), String> {
    let serial = runs(folder, "trial")?;
    if serial != 1 && serial != 2 {
        return Err(format!("release {serial} runs after it"));
    }
    let status = fw(folder, &["status", "--json", "--root", "trial"]);
    serde_json::from_slice::<serde_json::Value>(&status.stdout).map_err(|e| format!("status: {e}"))?;
    nothing_is_left(folder, "trial")
}

pub fn key_is_whole_or_none(folder: &Path, ended: &Ended) -> Result<(), String> {
    let (secret, public) = (folder.join("release.key"), folder.join("release.key.pub"));
    if public.exists() && !secret.exists() {
        return Err("there is a public key alone".into());
    }
    if ended.code == Some(0) && !public.exists() {
        return Err("it ends well, and there is no public key".into());
    }
    if secret.exists() {
        let signed = fw(folder, &["sign", "tiny.esb", "--key", "release.key", "--no-password"]);
        return if signed.status.success() {
            Ok(())
        } else {
            Err(format!("the key does not sign: {}", String::from_utf8_lossy(&signed.stderr)))
        };
    }
    let again = fw(folder, &["keygen", "release.key", "--no-password"]);
    if again.status.success() { Ok(()) } else { Err(format!("made again: {}", String::from_utf8_lossy(&again.stderr))) }
}
