//! Keys and signatures: minisign's tool and ours read each other, and what is not trusted is refused for its own reason.

use crate::small;

use edge_seg::trust::{Refusal, Trust};
use edge_seg_tests::{binary, need_program};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn fw(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(binary("edge-seg-fw")).current_dir(folder).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = fw(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Status and stderr of a command that is to fail.
fn fails(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = fw(folder, arguments);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A folder with key `k`, and `r.esb` of serial 5 for pi4 and pi5, signed.
fn signed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    ok(folder.path(), &["keygen", "k", "--no-password"]);
    small::write(&folder.path().join("r.esb"), 5, &["pi4", "pi5"], 100);
    ok(folder.path(), &["sign", "r.esb", "--key", "k", "--no-password"]);
    folder
}

fn refusal(trust: Trust, path: &Path) -> Refusal {
    match trust.open(path) {
        Err(edge_seg::bundle::Error::Refused { why, .. }) => why,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

#[test]
fn a_signed_bundle_opens_and_every_refusal_has_its_own_reason() {
    let folder = signed();
    let at = |name: &str| folder.path().join(name);
    let trust = Trust::read(&at("k.pub")).unwrap();
    assert_eq!(trust.open(&at("r.esb")).unwrap().manifest().serial, 5);
    trust.clone().on_board(&["pi5"]).at_least(5).open(&at("r.esb")).unwrap();

    assert!(matches!(refusal(trust.clone().on_board(&["pi3"]), &at("r.esb")), Refusal::WrongBoard { .. }));
    assert!(matches!(refusal(trust.clone().at_least(6), &at("r.esb")), Refusal::Downgrade { floor: 6, serial: 5 }));
    small::write(&at("unsigned.esb"), 5, &[], 100);
    assert_eq!(refusal(trust.clone(), &at("unsigned.esb")), Refusal::Unsigned);
    ok(folder.path(), &["keygen", "other", "--no-password"]);
    fs::copy(at("unsigned.esb"), at("other.esb")).unwrap();
    ok(folder.path(), &["sign", "other.esb", "--key", "other", "--no-password"]);
    assert!(matches!(refusal(trust.clone(), &at("other.esb")), Refusal::UnknownKey { .. }));

    let (code, stderr) = fails(folder.path(), &["verify", "r.esb", "--trusted-keys", "k.pub", "--board", "orin"]);
    assert!(code == 2 && stderr.contains("expected one of") && stderr.contains("jetson-orin"), "{stderr}");
    let (code, stderr) = fails(folder.path(), &["verify", "r.esb", "--trusted-keys", "k.pub", "--board", "jetson-nano"]);
    assert_eq!(code, 1, "a refusal is a negative answer");
    assert!(stderr.contains("wrong board: the bundle is for pi4, pi5, this board is jetson-nano"), "{stderr}");
    assert!(stderr.contains("; try: a bundle for it, as edge-seg-fw pack makes one"), "{stderr}");
    assert!(ok(folder.path(), &["verify", "r.esb", "--trusted-keys", "k.pub"]).contains("tiny serial 5"));
}

#[test]
fn no_byte_of_a_signed_bundle_can_be_changed() {
    let folder = signed();
    let path = folder.path().join("r.esb");
    let trust = Trust::read(&folder.path().join("k.pub")).unwrap();
    let whole = fs::read(&path).unwrap();
    let untrusted = whole[16..].iter().position(|b| *b == b'\n').unwrap() + 16;
    let comment = (16..untrusted).collect::<Vec<_>>();
    let mut refused = 0;
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        match trust.open(&path) {
            Err(_) => refused += 1,
            // minisign's untrusted comment is just that: text that no signature covers.
            Ok(_) => assert!(comment.contains(&at), "byte {at} was changed and nobody noticed"),
        }
    }
    assert!(refused > whole.len() - comment.len() - 1);
    let mut manifest = whole.clone();
    let at = manifest.windows(10).position(|w| w == b"\"serial\":5").unwrap();
    manifest[at + 9] = b'9';
    fs::write(&path, manifest).unwrap();
    assert!(matches!(refusal(trust, &path), Refusal::Tampered { .. }));
}

#[test]
fn the_signature_is_checked_before_anything_else_is_parsed() {
    let folder = signed();
    let path = folder.path().join("r.esb");
    let mut bytes = fs::read(&path).unwrap();
    // A manifest that is no JSON: whoever parses it first says so.
    bytes[1040] = b'#';
    fs::write(&path, bytes).unwrap();
    let trust = Trust::read(&folder.path().join("k.pub")).unwrap();
    assert!(matches!(refusal(trust, &path), Refusal::Tampered { .. }));
}

#[test]
fn keys_expire_by_the_signatures_own_time_and_by_the_day_of_installation() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    ok(folder.path(), &["keygen", "k", "--no-password", "--expires", "2020-12-31"]);
    small::write(&at("r.esb"), 1, &[], 10);
    ok(folder.path(), &["sign", "r.esb", "--key", "k", "--no-password"]);
    let trust = Trust::read(&at("k.pub")).unwrap();
    assert!(matches!(refusal(trust, &at("r.esb")), Refusal::ExpiredKey { .. }), "signed after the key's last day");

    let text = fs::read_to_string(at("k.pub")).unwrap();
    fs::write(at("later.pub"), text.replace("2020-12-31", "2999-12-31")).unwrap();
    let trust = Trust::read(&at("later.pub")).unwrap();
    trust.open(&at("r.esb")).unwrap();
    trust.clone().installing_at(0).open(&at("r.esb")).expect("a clock at 1970 refuses nothing");
    let far = 40_000_000_000;
    assert!(matches!(refusal(trust.installing_at(far), &at("r.esb")), Refusal::ExpiredKey { .. }));
    fs::write(at("odd.pub"), text.replace("2020-12-31", "soon")).unwrap();
    assert!(Trust::read(&at("odd.pub")).unwrap_err().to_string().contains("expires:YYYY-MM-DD"));
    assert!(Trust::read(&at("k")).unwrap_err().to_string().contains("secret key"), "a private key is told apart");
}

#[test]
fn expired_keys_are_told_where_they_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let made = fw(folder.path(), &["keygen", "k", "--no-password", "--expires", "2020-12-31"]);
    assert!(made.status.success() && String::from_utf8_lossy(&made.stderr).contains("expired on 2020-12-31"), "{made:?}");
    small::write(&at("r.esb"), 1, &[], 10);
    let signed = Command::new(edge_seg_tests::binary("edge-seg-fw"))
        .current_dir(folder.path())
        .args(["sign", "r.esb", "--key", "k", "--no-password"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&signed.stderr).contains("expired on 2020-12-31"), "{signed:?}");
    // A signature from when the key was valid, checked today.
    ok(folder.path(), &["keygen", "v", "--no-password"]);
    ok(folder.path(), &["sign", "r.esb", "--key", "v", "--no-password"]);
    let text = fs::read_to_string(at("v.pub")).unwrap();
    let (comment, key) = text.split_once('\n').unwrap();
    let yesterday = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 86_400 - 1;
    fs::write(at("v.pub"), format!("{comment} expires:{}\n{key}", edge_seg_bundle::date::Date::from_days(yesterday))).unwrap();
    let (code, stderr) = fails(folder.path(), &["verify", "r.esb", "--trusted-keys", "v.pub"]);
    assert!(code == 1 && stderr.contains("expired"), "{stderr}");
}

#[test]
fn packing_counts_up() {
    let folder = tempfile::tempdir().unwrap();
    small::write(&folder.path().join("mini.esb"), 1, &[], 10);
    let serial = |name: &str| {
        ok(folder.path(), &["pack", "mini.esb", "-o", name]);
        edge_seg_bundle::Bundle::open(&folder.path().join(name)).unwrap().manifest().serial
    };
    assert_eq!((serial("r2.esb"), serial("r3.esb"), serial("r3.esb")), (2, 3, 4));
}

#[test]
fn private_keys_stay_private() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    ok(folder.path(), &["keygen", "k", "--no-password"]);
    assert_eq!(fs::metadata(at("k")).unwrap().permissions().mode() & 0o7777, 0o600);
    let (code, stderr) = fails(folder.path(), &["keygen", "k", "--no-password"]);
    assert!(code == 2 && stderr.contains("never overwritten"), "{stderr}");
    small::write(&at("r.esb"), 1, &[], 10);
    fs::set_permissions(at("k"), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, stderr) = fails(folder.path(), &["sign", "r.esb", "--key", "k", "--no-password"]);
    assert!(code == 2 && stderr.contains("chmod 600"), "{stderr}");
    fs::write(at("pw"), "secret\n").unwrap();
    fs::set_permissions(at("pw"), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, stderr) = fails(folder.path(), &["keygen", "k2", "--password-file", "pw"]);
    assert!(code == 2 && stderr.contains("mode 0600"), "{stderr}");
    let (code, _) = fails(folder.path(), &["keygen", "k2", "--password", "secret"]);
    assert_eq!(code, 2, "there is no option that takes a password");
}

#[test]
fn packing_changes_release_and_boards_and_drops_the_signature() {
    let folder = signed();
    ok(folder.path(), &["pack", "r.esb", "--serial", "6", "--boards", "jetson-nano", "-o", "s.esb"]);
    let bundle = edge_seg::Bundle::open(&folder.path().join("s.esb")).unwrap();
    assert_eq!((bundle.manifest().serial, bundle.manifest().boards.as_slice()), (6, &["jetson-nano".to_string()][..]));
    assert_eq!(bundle.signature(), None);
    ok(folder.path(), &["pack", "r.esb", "--boards", "jetson,pi3", "-o", "u.esb"]);
    assert_eq!(edge_seg::Bundle::open(&folder.path().join("u.esb")).unwrap().manifest().boards, ["jetson", "pi3"], "a build, and a board");
    let (code, stderr) = fails(folder.path(), &["pack", "r.esb", "--boards", "pi9", "-o", "t.esb"]);
    assert!(code == 2 && stderr.contains("pi-zero2, pi3, pi4, pi5"), "{stderr}");
}

/// minisign's own tool, if this machine has it.
fn minisign(folder: &Path, arguments: &[&str], stdin: &str) -> Option<bool> {
    if !need_program("minisign") {
        return None;
    }
    let mut child = Command::new("minisign")
        .current_dir(folder)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    Some(child.wait().unwrap().success())
}

#[test]
fn minisigns_tool_verifies_what_is_signed_here() {
    let folder = signed();
    ok(folder.path(), &["sign", "r.esb", "--export", "part"]);
    let verify = |file: &str| minisign(folder.path(), &["-V", "-p", "k.pub", "-m", file], "");
    let Some(good) = verify("part") else { return };
    assert!(good);
    fs::write(folder.path().join("tool"), "a program").unwrap();
    ok(folder.path(), &["sign", "tool", "--key", "k", "--no-password", "--detached"]);
    assert_eq!(verify("tool"), Some(true));
    fs::write(folder.path().join("tool"), "another program").unwrap();
    assert_eq!(verify("tool"), Some(false));
}

#[test]
fn bundles_signed_by_minisigns_tool_open_here() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let Some(made) = minisign(folder.path(), &["-G", "-p", "m.pub", "-s", "m"], "correct horse\ncorrect horse\n") else { return };
    assert!(made);
    small::write(&at("r.esb"), 3, &[], 100);
    ok(folder.path(), &["sign", "r.esb", "--export", "part"]);
    assert_eq!(minisign(folder.path(), &["-S", "-s", "m", "-m", "part"], "correct horse\n"), Some(true));
    ok(folder.path(), &["sign", "r.esb", "--import", "part.minisig"]);
    Trust::read(&at("m.pub")).unwrap().open(&at("r.esb")).unwrap();
    // Its key signs here, too.
    for file in ["m", "pw"] {
        if file == "pw" {
            fs::write(at(file), "correct horse\n").unwrap();
        }
        fs::set_permissions(at(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    small::write(&at("s.esb"), 4, &[], 100);
    ok(folder.path(), &["sign", "s.esb", "--key", "m", "--password-file", "pw"]);
    Trust::read(&at("m.pub")).unwrap().open(&at("s.esb")).unwrap();
}

#[test]
fn a_key_with_a_password_serves_both() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (file, text) in [("pw", "correct horse\n"), ("wrong", "battery staple\n")] {
        fs::write(at(file), text).unwrap();
        fs::set_permissions(at(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    ok(folder.path(), &["keygen", "k", "--password-file", "pw"]);
    small::write(&at("r.esb"), 1, &[], 10);
    let (code, stderr) = fails(folder.path(), &["sign", "r.esb", "--key", "k", "--password-file", "wrong"]);
    assert!(code == 2 && stderr.contains("wrong password"), "{stderr}");
    ok(folder.path(), &["sign", "r.esb", "--key", "k", "--password-file", "pw"]);
    Trust::read(&at("k.pub")).unwrap().open(&at("r.esb")).unwrap();
    ok(folder.path(), &["sign", "r.esb", "--export", "part"]);
    fs::remove_file(at("part.minisig")).unwrap();
    let Some(done) = minisign(folder.path(), &["-S", "-s", "k", "-m", "part"], "correct horse\n") else { return };
    assert!(done);
    ok(folder.path(), &["sign", "r.esb", "--import", "part.minisig"]);
    Trust::read(&at("k.pub")).unwrap().open(&at("r.esb")).unwrap();
}

/// What is written over is gone, a private key above all.
#[test]
fn only_a_bundle_is_written_over() {
    let folder = signed();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("notes.txt"), "keep me\n").unwrap();
    fs::write(at("photo.jpg"), b"\xff\xd8\xff\xe0rest").unwrap();
    fs::create_dir(at("folder")).unwrap();
    let pack = ["pack", "r.esb", "-o"];
    for (place, found) in [
        ("k", "a private key"),
        ("k.pub", "a public key"),
        ("notes.txt", "a text file"),
        ("photo.jpg", "a picture (JPEG)"),
        ("folder", "a folder"),
        ("r.esb", "the file that it is made from"),
        ("./r.esb", "the file that it is made from"),
    ] {
        let before = fs::read(at(place)).ok();
        for arguments in [[&pack[..], &[place]].concat(), vec!["sign", "r.esb", "--export", place]] {
            let (code, stderr) = fails(folder.path(), &arguments);
            let expected = format!("expected a new file or another bundle, found {found}; try: another name, such as ");
            assert!(code == 2 && stderr.contains(&expected), "{arguments:?}: {stderr}");
            assert_eq!(fs::read(at(place)).ok(), before, "{arguments:?}");
        }
    }
    ok(folder.path(), &["pack", "r.esb", "-o", "r6.esb"]);
    ok(folder.path(), &["pack", "r.esb", "-o", "r6.esb"]);
    ok(folder.path(), &["sign", "r.esb", "--export", "part"]);
    ok(folder.path(), &["sign", "r.esb", "--export", "part"]);
}

#[test]
fn a_wrong_key_or_folder_is_told_with_what_to_try() {
    let folder = signed();
    let (code, stderr) = fails(folder.path(), &["sign", "r.esb", "--key", "k.pub", "--no-password"]);
    assert!(code == 2 && stderr.contains("k.pub: expected a private key, found a public one; try: --key k\n"), "{stderr}");
    let (code, stderr) = fails(folder.path(), &["keygen", "keys/k", "--no-password"]);
    assert!(code == 2 && stderr.contains("try: mkdir -p keys\n"), "{stderr}");
    for command in [&["status"][..], &["prune"], &["rollback"], &["mark-good"], &["metrics"], &["doctor"], &["guard"], &["board"]] {
        let (code, stderr) = fails(folder.path(), &[command, &["--root", "missing"]].concat());
        assert!(code == 2 && stderr.contains("--root missing: expected "), "{command:?}: {stderr}");
    }
    assert!(!folder.path().join("missing").exists());
}
