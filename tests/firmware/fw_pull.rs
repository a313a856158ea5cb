//! Releases that boards fetch themselves, by a signed index, from a folder and from web servers.

use crate::boards::write;
use crate::small;

use edge_seg_tests::{binary, need_program};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A workshop with a fleet of two, and a board that nobody can reach.
struct Place(tempfile::TempDir);

const FLEET: &str = "[trial]\nframes = 3\nwait-s = 9\n[config]\nbase = \"base.toml\"\nkey = \"workshop\"\n\
                     [[host]]\nname = \"cam1\"\nwords = \"person\"\n[[host]]\nname = \"cam2\"\nwords = \"dog\"\n";

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        write(place.at("board/usr/bin/edge-seg"), "#!/bin/sh\n[ \"$1\" = config ] || echo '{\"release\":0}'\n", 0o755);
        write(place.at("board/etc/edge-seg/edge-seg.toml"), "[input]\nsource = \"pictures\"\n", 0o644);
        write(place.at("board/proc/sys/kernel/hostname"), "cam1\n", 0o644);
        place.ok(&["keygen", "workshop", "--no-password"]);
        fs::create_dir_all(place.at("board/etc/edge-seg/keys")).unwrap();
        fs::copy(place.at("workshop.pub"), place.at("board/etc/edge-seg/keys/workshop.pub")).unwrap();
        fs::write(place.at("board/etc/edge-seg/keys/signed-config"), "").unwrap();
        fs::write(place.at("base.toml"), "[input]\nsource = \"pictures\"\n").unwrap();
        fs::write(place.at("fleet.toml"), FLEET).unwrap();
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(binary("edge-seg-fw")).current_dir(self.0.path()).args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Publishes a signed release of this number into `web`.
    fn publish(&self, serial: u64, body: &str, more: &[&str]) {
        small::write(&self.at("r.esb"), serial, &[], 2_000_000);
        write(self.at("runtime"), &format!("#!/bin/sh\n[ \"$1\" = config ] && exit\n{body}"), 0o755);
        self.ok(&["sign", "r.esb", "--key", "workshop", "--no-password"]);
        self.ok(&["sign", "runtime", "--detached", "--key", "workshop", "--no-password"]);
        let publish = ["fleet", "publish", "-o", "web", "--bundle", "r.esb", "--binary", "runtime", "--no-password"];
        self.ok(&[&publish, more].concat());
    }

    fn pull(&self, more: &[&str]) -> Output {
        self.run(&[&["pull", "--root", "board"], more].concat())
    }

    /// Exit status and all that is said.
    fn pulled(&self, more: &[&str]) -> (i32, String) {
        let output = self.pull(more);
        (output.status.code().unwrap(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    fn guard(&self) {
        let _ = self.run(&["guard", "--root", "board"]);
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.ok(&["status", "--json", "--root", "board"])).unwrap()
    }

    fn serial(&self) -> u64 {
        let status = self.status();
        status["current"].as_str().map_or(0, |slot| status[slot]["release"]["serial"].as_u64().unwrap())
    }
}

fn frames(serial: u64) -> String {
    format!("for i in 1 2 3 4; do echo '{{\"release\":{serial}}}'; done\n")
}

#[test]
fn a_board_takes_what_a_folder_offers_to_it_once_and_never_an_older_index() {
    let place = Place::new();
    place.publish(1, &frames(1), &[]);
    let first = fs::read(place.at("web/index.json")).unwrap();
    let first_signature = fs::read(place.at("web/index.json.minisig")).unwrap();
    let (code, said) = place.pulled(&["web"]);
    assert!(code == 0 && said.contains("serial 1 is in slot a"), "{said}");
    let config = fs::read_to_string(place.at("board/var/lib/edge-seg/slots/a/config.toml")).unwrap();
    assert!(config.contains("person") && !config.contains("dog"), "{config}");
    assert_eq!(fs::read_dir(place.at("board/var/lib/edge-seg/pull")).unwrap().count(), 0, "nothing is left over");
    place.guard();
    assert_eq!(place.status()["a"]["status"], "good");
    let (code, said) = place.pulled(&["web"]);
    assert!(code == 0 && said.contains("runs tiny serial 1 already"), "{said}");

    // A release that fails is given up, and not fetched for ever.
    place.publish(2, "exit 1\n", &[]);
    assert_eq!(place.pulled(&["web"]).0, 0);
    (0..4).for_each(|_| place.guard());
    assert_eq!(place.serial(), 1);
    let (code, said) = place.pulled(&["web"]);
    assert!(code == 0 && said.contains("failed here before") && place.serial() == 1, "{said}");

    // The board of another name gets other words; one of no name in the index nothing.
    let (code, said) = place.pulled(&["web", "--name", "cam9"]);
    assert!(code == 0 && said.contains("nothing is offered to cam9"), "{said}");
    place.publish(3, &frames(3), &["--expires", "2099-12-31"]);
    assert_eq!(place.pulled(&["web", "--name", "cam2"]).0, 0);
    place.guard();
    assert_eq!(place.serial(), 3);
    fs::write(place.at("web/index.json"), first).unwrap();
    fs::write(place.at("web/index.json.minisig"), first_signature).unwrap();
    let (code, said) = place.pulled(&["web"]);
    assert!(code == 2 && said.contains("an old index"), "{said}");
}

#[test]
fn a_second_folder_counts_on_and_one_board_more_leaves_the_others_their_offers() {
    let place = Place::new();
    place.publish(1, &frames(1), &[]);
    place.publish(2, &frames(2), &[]);
    assert_eq!(place.pulled(&["web"]).0, 0);
    place.guard();
    let publish = |to: &str, more: &[&str]| {
        place.run(&[&["fleet", "publish", "-o", to, "--bundle", "r.esb", "--binary", "runtime", "--no-password"], more].concat())
    };
    let index = || -> Value { serde_json::from_slice(&fs::read(place.at("web/index.json")).unwrap()).unwrap() };
    let offers = || -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        index()["releases"].as_array().unwrap().iter().map(|offer| (text(&offer["hosts"][0]), text(&offer["title"]))).collect()
    };
    // A stick that is new is no older than what boards have seen.
    place.publish(3, &frames(3), &[]);
    let told = publish("stick", &["--json"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap_or_else(|error| panic!("{error}: {told:?}"));
    assert_eq!((&told["number"], &told["after"]), (&Value::from(4), &Value::from(3)), "{told}");
    let (code, said) = place.pulled(&["stick"]);
    assert!(code == 0 && said.contains("serial 3 is in slot"), "{said}");
    place.guard();
    assert_eq!(place.serial(), 3);
    // The other board's offer stays, signed anew.
    place.publish(4, &frames(4), &["cam2"]);
    let serials = [("cam2", "tiny serial 4"), ("cam1", "tiny serial 3")].map(|(host, title)| (host.to_owned(), title.to_owned()));
    assert_eq!(offers(), serials);
    let (code, said) = place.pulled(&["web"]);
    assert!(code == 0 && said.contains("runs tiny serial 3 already"), "{said}");
    let (code, said) = place.pulled(&["web", "--name", "cam2"]);
    assert!(code == 0 && said.contains("serial 4 is in slot"), "{said}");

    // What nobody here has signed is not signed over.
    let refused = |more: &[&str], why: &str| {
        let output = publish("web", more);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(why), "expected {why}: {said}");
    };
    let text = fs::read_to_string(place.at("web/index.json")).unwrap();
    fs::write(place.at("web/index.json"), text.replace("\"frames\": 3", "\"frames\": 1")).unwrap();
    refused(&["cam2"], "for its offers to cam1 stay: tampered");
    fs::write(place.at("web/index.json"), &text).unwrap();
    let file = index()["releases"][1]["files"][0]["file"].as_str().unwrap().to_owned();
    fs::rename(place.at(&format!("web/{file}")), place.at("gone")).unwrap();
    refused(&["cam2"], &file);
    fs::rename(place.at("gone"), place.at(&format!("web/{file}"))).unwrap();
    let all = publish("web", &[]);
    assert!(all.status.success() && String::from_utf8_lossy(&all.stdout).contains("index 6 with 2 offers"), "{all:?}");
}

#[test]
fn what_every_board_would_refuse_is_not_published() {
    let place = Place::new();
    place.publish(1, &frames(1), &[]);
    let before = fs::read(place.at("web/index.json")).unwrap();
    place.ok(&["keygen", "over", "--no-password", "--expires", "2020-12-31"]);
    place.ok(&["keygen", "stranger", "--no-password"]);
    let publish = ["fleet", "publish", "-o", "web", "--bundle", "r.esb", "--binary", "runtime", "--no-password"];
    let refused = |more: &[&str], why: &str| {
        let output = place.run(&[&publish, more].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(why), "expected {why}: {said}");
        assert_eq!(fs::read(place.at("web/index.json")).unwrap(), before, "{why}");
    };
    refused(&["--key", "over"], "over: the key expired on 2020-12-31");
    refused(&["--expires", "2020-12-31"], "found 2020-12-31: boards would refuse the index");
    fs::remove_file(place.at("runtime.minisig")).unwrap();
    refused(&[], "runtime: unsigned");
    place.ok(&["sign", "r.esb", "--detached", "--key", "workshop", "--no-password"]);
    fs::rename(place.at("r.esb.minisig"), place.at("runtime.minisig")).unwrap();
    refused(&[], "runtime: tampered");
    place.ok(&["sign", "runtime", "--detached", "--key", "workshop", "--no-password"]);
    small::write(&place.at("r.esb"), 2, &[], 2_000_000);
    refused(&[], "r.esb: unsigned");
    // Boards may trust another key too.
    place.ok(&["sign", "r.esb", "--key", "stranger", "--no-password"]);
    place.ok(&publish);
}

#[test]
fn a_torn_memory_ends_no_pulls_and_what_is_tried_again_by_itself_is_left_alone() {
    let place = Place::new();
    place.publish(1, &frames(1), &[]);
    assert_eq!(place.pulled(&["web"]).0, 0);
    place.guard();
    let memory = |name: &str| place.at("board/var/lib/edge-seg").join(name);
    for (torn, serial) in [(&["pull.json"][..], 2), (&["pull.copy.json"], 3), (&["pull.json", "pull.copy.json"], 4)] {
        for name in torn {
            fs::write(memory(name), "{\"num").unwrap();
        }
        place.publish(serial, &format!("[ -e {} ] && exit 1\n{}", place.at("outage").display(), frames(serial)), &[]);
        let (code, said) = place.pulled(&["web"]);
        assert!(code == 0 && said.contains("EOF while parsing"), "{said}");
        place.guard();
        assert_eq!(place.serial(), serial);
        let (code, said) = place.pulled(&["web"]);
        assert!(code == 0 && !said.contains("EOF"), "{said}");
    }
    // The camera goes while 4 runs, and an older release stands in.
    fs::write(place.at("outage"), "").unwrap();
    let mut starts = 0;
    while place.serial() == 4 {
        place.guard();
        starts += 1;
        assert!(starts < 6, "{}", place.status());
    }
    let before = place.status();
    assert_eq!(before["fell_back"]["from"], "b", "{before}");
    let (code, said) = place.pulled(&["web"]);
    assert!(code == 0 && said.contains("is tried again by itself"), "{said}");
    assert_eq!(place.status()["b"], before["b"]);
}

#[test]
fn what_is_refused_or_given_up_is_fetched_once() {
    let place = Place::new();
    place.publish(2, &frames(2), &[]);
    assert_eq!(place.pulled(&["web"]).0, 0);
    place.guard();
    assert_eq!(place.status()["a"]["status"], "good");
    // Given up, and pruned as the doctor says.
    place.publish(3, "exit 1\n", &[]);
    assert_eq!(place.pulled(&["web"]).0, 0);
    (0..4).for_each(|_| place.guard());
    place.ok(&["prune", "--root", "board"]);
    let (code, said) = place.pulled(&["web"]);
    assert!(code == 0 && said.contains("failed here before") && place.serial() == 2, "{said}");
    // A number that is too low is told by the bundle's first bytes, with advice for who publishes; then it is known.
    place.publish(1, &frames(1), &[]);
    let (code, said) = place.pulled(&["web"]);
    assert!(code == 2 && said.contains("not fetched") && said.contains("downgrade") && said.contains("higher number"), "{said}");
    assert!(!said.contains("--allow-downgrade"), "{said}");
    let (code, said) = place.pulled(&["web"]);
    assert!(code == 0 && said.contains("refused here before"), "{said}");
    assert_eq!(fs::read_dir(place.at("board/var/lib/edge-seg/pull")).unwrap().count(), 0);
    // What only the release's own program tells is fetched once.
    place.publish(4, &frames(4), &[]);
    write(place.at("runtime"), "#!/bin/sh\necho no >&2\nexit 1\n", 0o755);
    place.ok(&["sign", "runtime", "--detached", "--key", "workshop", "--no-password"]);
    place.ok(&["fleet", "publish", "-o", "web", "--bundle", "r.esb", "--binary", "runtime", "--no-password"]);
    let (code, said) = place.pulled(&["web"]);
    assert!(code == 1 && said.contains("the configuration"), "{said}");
    let (code, said) = place.pulled(&["web"]);
    assert!(code == 0 && said.contains("refused here before"), "{said}");
    // Another key may be one that has signed it.
    fs::copy(place.at("workshop.pub"), place.at("board/etc/edge-seg/keys/again.pub")).unwrap();
    assert_eq!(place.pulled(&["web"]).0, 1);
}

#[test]
fn nothing_is_used_before_its_signature_and_its_digest_hold() {
    let place = Place::new();
    place.publish(1, &frames(1), &[]);
    let refused = |why: &str| {
        let (code, said) = place.pulled(&["web"]);
        assert!(code != 0 && said.contains(why), "expected {why}: {said}");
        assert_eq!((place.serial(), place.status()["a"]["status"].as_str()), (0, Some("empty")), "{why}");
    };
    let index = fs::read_to_string(place.at("web/index.json")).unwrap();
    fs::write(place.at("web/index.json"), index.replace("cam1", "cam3")).unwrap();
    refused("tampered");
    fs::write(place.at("web/index.json"), "{").unwrap();
    refused("tampered");
    fs::write(place.at("web/index.json"), &index).unwrap();
    let names: Vec<PathBuf> = fs::read_dir(place.at("web")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let bundle = names.iter().find(|path| path.extension().is_some_and(|ending| ending == "esb")).unwrap();
    let bytes = fs::read(bundle).unwrap();
    let mut other = bytes.clone();
    other[1_000_000] ^= 1;
    fs::write(bundle, &other).unwrap();
    refused("with SHA-256");
    fs::write(bundle, &bytes[..1_000_000]).unwrap();
    refused("broke off after 1000000");
    fs::write(bundle, [&bytes[..], b"more"].concat()).unwrap();
    // What arrived in good order is gone on with; the rest of the file is the right one.
    let (code, said) = place.pulled(&["web"]);
    assert!(code == 2 && said.contains("expected"), "{said}");
    fs::write(bundle, &bytes).unwrap();
    // An index that only a stranger, or nobody who is trusted, has signed.
    place.ok(&["keygen", "stranger", "--no-password"]);
    place.ok(&["sign", "web/index.json", "--detached", "--key", "stranger", "--no-password"]);
    refused("unknown key");
    fs::remove_file(place.at("web/index.json.minisig")).unwrap();
    refused("index.json.minisig");
    place.ok(&["sign", "web/index.json", "--detached", "--key", "workshop", "--no-password"]);
    // Names that lead elsewhere are none, whoever has signed them.
    let odd = index.replace(bundle.file_name().unwrap().to_str().unwrap(), "../../etc/passwd");
    fs::write(place.at("web/index.json"), odd).unwrap();
    place.ok(&["sign", "web/index.json", "--detached", "--key", "workshop", "--no-password"]);
    refused("expected a name");
    fs::write(place.at("web/index.json"), index.replacen("\"expires\": null", "\"expires\": \"2026-01-01\"", 1)).unwrap();
    place.ok(&["sign", "web/index.json", "--detached", "--key", "workshop", "--no-password"]);
    refused("it counted until 2026-01-01");
    fs::write(place.at("web/index.json"), &index).unwrap();
    place.ok(&["sign", "web/index.json", "--detached", "--key", "workshop", "--no-password"]);
    fs::rename(place.at("board/etc/edge-seg/keys/workshop.pub"), place.at("kept.pub")).unwrap();
    refused("expected a trusted key");
    fs::rename(place.at("kept.pub"), place.at("board/etc/edge-seg/keys/workshop.pub")).unwrap();
    let (code, said) = place.pulled(&["web"]);
    assert!(code == 0 && said.contains("serial 1 is in slot a"), "{said}");
}

#[test]
fn a_plain_web_server_is_enough() {
    if !need_program("python3") {
        return;
    }
    let place = Place::new();
    place.publish(1, &frames(1), &[]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Command::new("python3")
        .args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"])
        .arg(place.at("web"))
        .arg(port.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
    }
    fs::write(place.at("board/etc/edge-seg/pull-from"), format!("http://127.0.0.1:{port}/\n")).unwrap();
    let (code, said) = place.pulled(&[]);
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(code == 0 && said.contains("serial 1 is in slot a"), "{said}");
    place.guard();
    assert_eq!(place.status()["a"]["status"], "good");
    let (code, said) = place.pulled(&[]);
    assert!(code == 2 && said.contains("index.json"), "a server that is away: {said}");
}

/// A server that knows ranges, and breaks off the first answer for a bundle in the middle.
#[test]
fn a_download_that_broke_off_goes_on_where_it_stopped() {
    let place = Place::new();
    place.publish(1, &frames(1), &[]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let (web, log) = (place.at("web"), asked.clone());
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let (mut client, mut head) = (client, Vec::new());
            let lines = BufReader::new(client.try_clone().unwrap()).lines();
            head.extend(lines.map_while(|line| line.ok().filter(|line| !line.is_empty())));
            let name = head[0].split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
            let range = head.iter().find_map(|line| {
                let line = line.to_ascii_lowercase();
                let (start, last) = line.strip_prefix("range: bytes=")?.split_once('-')?;
                Some((start.parse::<usize>().ok()?, last.parse::<usize>().ok()))
            });
            let mut bytes = Vec::new();
            fs::File::open(web.join(&name)).unwrap().read_to_end(&mut bytes).unwrap();
            let start = range.map_or(0, |(start, _)| start);
            let first_bytes = range.and_then(|(_, last)| last);
            if let Some(last) = first_bytes {
                bytes.truncate(last + 1);
            }
            let cut = name.ends_with(".esb") && range.is_none();
            let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
            let _ = write!(client, "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bytes.len() - start);
            let end = if cut { bytes.len() / 2 } else { bytes.len() };
            let _ = client.write_all(&bytes[start..end]);
            let what = if first_bytes.is_some() { "head".into() } else { format!("{name} {start}") };
            log.lock().unwrap().push(what);
        }
    });
    let (code, said) = place.pulled(&[&address]);
    assert!(code == 2, "{said}");
    let (code, said) = place.pulled(&[&address]);
    assert!(code == 0 && said.contains("serial 1 is in slot a"), "{said}");
    let asked = asked.lock().unwrap();
    let starts: Vec<&str> = asked.iter().filter(|line| line.contains(".esb")).map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert!(starts.len() == 2 && starts[0] == "0" && starts[1].parse::<u64>().unwrap() > 900_000, "{asked:?}");
}
