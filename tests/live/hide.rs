//! What is to be hidden leaves the program by no way: every output is searched for it, decoded.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use edge_seg::hide::{Hidden, HideOptions, Whole};
use edge_seg::live::{HideSwitches, KeyFrames, Live, LiveOptions};
use edge_seg::search::{Index, IndexOptions, IndexSink, IndexWriter};
use edge_seg::source::{Pace, Rate, Source};
use edge_seg::{Frame, Options, Session as Model};
use edge_seg_tests::{Ended, binary, edge_seg, need_program, picture};
use image::RgbImage;
use serde_json::{Value, json};

use crate::events::{Heard, Mosquitto, http_server};
use crate::streams::received;
use crate::web::Session;

const SIZE: (u32, u32) = (400, 300);
const FRAMES: u32 = 24;
/// The words that cover the mark, and what is asked for beside.
const HIDE: [&str; 2] = ["--hide", "person"];

/// Squares that nothing else in the picture looks like.
fn marked(mut picture: RgbImage, (left, top): (u32, u32)) -> RgbImage {
    for (x, y) in (0..64).flat_map(|y| (0..64).map(move |x| (x, y))) {
        let square = if (x / 8 + y / 8) % 2 == 0 { [255, 0, 255] } else { [0, 255, 0] };
        picture.put_pixel(left + x, top + y, image::Rgb(square));
    }
    picture
}

/// A camera that pans over a person who wears the mark.
fn pan() -> impl Iterator<Item = RgbImage> {
    let scene = marked(scene("astronaut.jpg"), (190, 330));
    (0..FRAMES).map(move |frame| image::imageops::crop_imm(&scene, 20 + 2 * frame, 150, SIZE.0, SIZE.1).to_image())
}

/// That as a source for `run`.
fn film(folder: &Path) -> String {
    fs::write(folder.join("film.rgb"), pan().flat_map(RgbImage::into_raw).collect::<Vec<u8>>()).unwrap();
    format!("raw:film.rgb?size={}x{}&format=rgb24&fps=10", SIZE.0, SIZE.1)
}

/// Pictures of that which are shown over and over, in a folder of their own.
fn looped(folder: &Path) -> [String; 3] {
    for (frame, picture) in pan().enumerate().skip(7).take(3) {
        picture.save(folder.join(format!("{frame:02}.png"))).unwrap();
    }
    ["--source".into(), folder.to_str().unwrap().into(), "--loop".into()]
}

/// Whether a picture shows the mark, even small, blended with a mask's colour or coded with loss: lines in which green and magenta
/// alternate.
fn shows_mark(picture: &RgbImage) -> bool {
    let alternates = |y: u32| {
        let (mut last, mut changes) = (0, 0);
        for x in 0..picture.width() {
            let [red, green, _] = picture.get_pixel(x, y).0.map(i32::from);
            let now = if (red - green).abs() > 40 { (red - green).signum() } else { 0 };
            if now != 0 && now != last {
                (last, changes) = (now, changes + 1);
            }
        }
        changes >= 6
    };
    (0..picture.height()).filter(|&y| alternates(y)).count() >= 4
}

/// The pictures of a y4m file with 4:4:4 samples, limited range.
fn y4m(bytes: &[u8]) -> Vec<RgbImage> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let header = text(&bytes[..bytes.iter().position(|b| *b == b'\n').unwrap()]);
    let number = |key: char| header.split(' ').find_map(|part| part.strip_prefix(key)?.parse::<u32>().ok()).unwrap();
    let (width, height) = (number('W'), number('H'));
    let plane = (width * height) as usize;
    let (start, length) = (header.len() + 1, 6 + 3 * plane);
    let frame = |bytes: &[u8]| {
        assert!(bytes.len() == length && bytes.starts_with(b"FRAME\n"), "{header}");
        let sample = |at: usize, i: usize| f32::from(bytes[6 + at * plane + i]);
        RgbImage::from_fn(width, height, |x, y| {
            let i = (y * width + x) as usize;
            let (luma, cb, cr) = (1.164 * (sample(0, i) - 16.0), sample(1, i) - 128.0, sample(2, i) - 128.0);
            image::Rgb([luma + 1.596 * cr, luma - 0.392 * cb - 0.813 * cr, luma + 2.017 * cb].map(|v| v as u8))
        })
    };
    bytes[start..].chunks(length).map(frame).collect()
}

/// The JPEGs and PNGs somewhere in bytes of whatever kind.
fn pictures_in(bytes: &[u8]) -> Vec<RgbImage> {
    let starts = |mark: &'static [u8]| bytes.windows(mark.len()).enumerate().filter(move |(_, w)| *w == mark).map(|(at, _)| at);
    let found = starts(b"\xff\xd8\xff").chain(starts(b"\x89PNG\r\n"));
    found.filter_map(|at| image::load_from_memory(&bytes[at..]).ok()).map(|picture| picture.into_rgb8()).collect()
}

/// Those in text too, in base 64 as JSON would hold them.
fn pictures_in_text(text: &str) -> Vec<RgbImage> {
    let in_base = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_' | '=');
    let long = text.split(|c| !in_base(c)).filter(|part| part.len() > 100);
    let decoded = long.filter_map(|part| BASE64_STANDARD.decode(part).ok().or_else(|| BASE64_URL_SAFE.decode(part).ok()));
    decoded.flat_map(|bytes| pictures_in(&bytes)).chain(pictures_in(text.as_bytes())).collect()
}

/// What a framebuffer with 16 bits a pixel shows.
fn screen(bytes: &[u8], (width, height): (u32, u32)) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let at = 2 * (y * width + x) as usize;
        let pixel = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        image::Rgb([(pixel >> 11 << 3) as u8, (pixel >> 5 << 2) as u8, (pixel << 3) as u8])
    })
}

/// Every picture that a run leaves in its folder or says, by the output that has it. A file that nobody knows how to search is an error.
fn left_behind(folder: &Path, ended: &Ended) -> Vec<(String, RgbImage)> {
    let mut found = Vec::new();
    let mut add = |name: &str, pictures: Vec<RgbImage>| found.extend(pictures.into_iter().map(|picture| (name.to_owned(), picture)));
    add("stdout", pictures_in_text(&ended.stdout));
    add("stderr", pictures_in_text(&ended.stderr));
    let mut folders = vec![folder.to_owned()];
    while let Some(place) = folders.pop() {
        for path in fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let bytes = if path.is_dir() { Vec::new() } else { fs::read(&path).unwrap() };
            match name.rsplit('.').next().unwrap() {
                _ if path.is_dir() => folders.push(path),
                // The parts of a playlist are searched with it.
                "rgb" | "toml" | "ts" => {}
                "jsonl" => add(&name, pictures_in_text(&String::from_utf8(bytes).unwrap())),
                "y4m" => add(&name, y4m(&bytes)),
                // As "part" what a kill left of a picture.
                "png" | "jpg" | "part" => add(&name, pictures_in(&bytes)),
                "screen" => add(&name, vec![screen(&bytes, (240, 240))]),
                "mp4" | "m3u8" | "flv" | "mpegts" => {
                    let decoded = std::process::Command::new("ffmpeg")
                        .args(["-v", "error", "-i", path.to_str().unwrap(), "-pix_fmt", "yuv444p", "-f", "yuv4mpegpipe", "-"])
                        .output()
                        .unwrap();
                    assert!(decoded.status.success(), "{decoded:?}");
                    add(&name, y4m(&decoded.stdout));
                }
                other => panic!("{name}: no way to search a file of kind {other}"),
            }
        }
    }
    found
}

const RULE: &str = "[[rule]]\nname = \"on\"\nwhen = { word = \"wall\", score_above = 0 }\ngap_s = 0.05\n";

#[test]
fn no_output_shows_what_is_hidden() {
    let has_ffmpeg = need_program("ffmpeg");
    for by in ["", "fill", "pixelate", "blur"] {
        let folder = tempfile::tempdir().unwrap();
        let source = film(folder.path());
        fs::write(folder.path().join("rules.toml"), RULE).unwrap();
        let hide: &[&str] = if by.is_empty() { &[] } else { &["--hide", "person", "--hide-by", by] };
        let run = |overlay: &str, more: &[&str]| {
            let all = ["run", "--source", &source, "--tags", "wall, flag", "--pace", "every", "--key-interval", "6", "--size", "224"];
            let outputs = ["--overlay", overlay, "--masks", "masks", "--json-masks", "rle", "--events", "events.jsonl"];
            let more_outputs = ["--rules", "rules.toml", "--snapshots", "shots", "--display", "fb:fb.screen?size=240x240&bits=16"];
            let ended =
                edge_seg(folder.path(), &[&all, outputs.as_slice(), &more_outputs, &["--display-interval", "0"], hide, more].concat());
            assert_eq!(ended.code, 0, "{}", ended.stderr);
            ended
        };
        let ended = run("out.y4m", &[]);
        if has_ffmpeg {
            run("out.mp4", &[]);
            run("live.m3u8", &[]);
        }
        let found = left_behind(folder.path(), &ended);
        let kinds =
            [".y4m", ".event.jpg", ".mask.png", ".screen"].into_iter().chain(has_ffmpeg.then_some([".mp4", ".m3u8"]).into_iter().flatten());
        for kind in kinds {
            let of_kind: Vec<_> = found.iter().filter(|(name, _)| name.ends_with(kind)).collect();
            assert!(!of_kind.is_empty(), "{kind}: nothing to search");
            let shown = of_kind.iter().filter(|(_, picture)| shows_mark(picture)).count();
            match by {
                // A search that finds nothing here would find nothing anywhere.
                "" if kind != ".mask.png" => assert_eq!(shown, of_kind.len(), "{kind}"),
                _ => assert_eq!(shown, 0, "{kind}, {by}: {shown} of {}", of_kind.len()),
            }
        }
        for line in ended.json_lines() {
            let hidden = line.get("hidden");
            assert_eq!(hidden.is_some(), !by.is_empty(), "{line}");
            if let Some(hidden) = hidden {
                assert!((0.1..0.95).contains(&hidden["share"].as_f64().unwrap()) && hidden.get("whole").is_none(), "{line}");
                let age_ms = 100.0 * (line["sequence"].as_u64().unwrap() - line["key_sequence"].as_u64().unwrap()) as f64;
                assert_eq!(hidden["age_ms"].as_f64(), Some(age_ms), "{line}");
            }
        }
    }
}

#[test]
fn nothing_that_is_sent_shows_what_is_hidden() {
    let jpeg = fs::read(picture("cat.jpg")).unwrap();
    for text in [BASE64_STANDARD.encode(&jpeg), BASE64_URL_SAFE.encode(&jpeg)] {
        assert_eq!(
            pictures_in_text(&format!("{{\"thumbnail\":\"data:image/jpeg;base64,{text}\"}}")).len(),
            1,
            "a search that finds nothing"
        );
    }
    let base = ["--tags", "wall, flag", "--pace", "every", "--key-interval", "6", "--size", "224", "--rules", "rules.toml"];
    // Messages: none holds a picture, whether somebody hides or not.
    if need_program("mosquitto") && need_program("mosquitto_sub") {
        let folder = tempfile::tempdir().unwrap();
        let source = film(folder.path());
        fs::write(folder.path().join("rules.toml"), RULE).unwrap();
        let place = tempfile::tempdir().unwrap();
        let broker = Mosquitto::start(place.path(), "allow_anonymous true");
        let (heard, _listener) = Heard::listen(broker.port, &[]);
        let (port, requests) = http_server(&[200], Duration::ZERO);
        let (url, hook) = (format!("mqtt://127.0.0.1:{}", broker.port), format!("http://127.0.0.1:{port}/hook"));
        let sent = ["--mqtt", &url, "--mqtt-interval", "0", "--webhook", &hook, "--snapshots", "shots", "--json-masks", "rle"];
        let ended = edge_seg(folder.path(), &[&["run", "--source", &source], base.as_slice(), &sent, &HIDE].concat());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let heard = heard.0.lock().unwrap();
        assert!(heard.iter().any(|(_, topic, _)| topic.ends_with("/event")) && heard.iter().any(|(_, topic, _)| topic.ends_with("/state")));
        let requests = requests.lock().unwrap();
        assert!(!requests.is_empty());
        for text in heard.iter().map(|(_, _, payload)| payload).chain(requests.iter().map(|(_, body)| body)) {
            assert!(pictures_in_text(text).is_empty(), "{text}");
        }
    }
    // Video that is sent on.
    let pictures = tempfile::tempdir().unwrap();
    if need_program("ffmpeg") {
        for (scheme, hide) in [("rtmp", &[][..]), ("rtmp", &HIDE), ("srt", &HIDE)] {
            let folder = tempfile::tempdir().unwrap();
            let source = looped(pictures.path());
            let run = ["--tags", "wall, flag", "--frames", "60", "--size", "224", "--key-interval", "6"];
            let send = |address: &str| {
                let source = source.each_ref().map(String::as_str);
                edge_seg(folder.path(), &[&["run"], source.as_slice(), &run, &["--overlay", address], hide].concat())
            };
            let (taken, ended) = received(folder.path(), scheme, send);
            assert_eq!(ended.code, 0, "{scheme}: {}", ended.stderr);
            let name = taken.file_name().unwrap().to_str().unwrap();
            let found = left_behind(folder.path(), &ended);
            let frames = found.iter().filter(|(of, _)| of == name).count();
            let shown = found.iter().filter(|(_, picture)| shows_mark(picture)).count();
            assert!(frames >= 3 && if hide.is_empty() { shown >= 3 } else { shown == 0 }, "{scheme}, {hide:?}: {shown} of {frames}");
        }
    }
}

#[test]
fn a_crash_leaves_nothing_of_what_is_hidden() {
    let (folder, pictures) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = looped(pictures.path());
    fs::write(folder.path().join("rules.toml"), RULE).unwrap();
    let run = ["--tags", "wall, flag", "--size", "224", "--rules", "rules.toml"];
    let outputs = ["--snapshots", "shots", "--events", "events.jsonl", "--masks", "masks", "--overlay", "out.y4m", "--key-interval", "3"];
    let mut child = Command::new("sh")
        .current_dir(folder.path())
        .args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh"])
        .arg(binary("edge-seg"))
        .arg("run")
        .args(source)
        .args([&run[..], &outputs, &HIDE].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    while said.lines().count() < 8 {
        assert!(stdout.read_line(&mut said).unwrap() > 0, "{said}");
    }
    assert!(Command::new("kill").args(["-ABRT", &child.id().to_string()]).status().unwrap().success());
    stdout.read_to_string(&mut said).unwrap();
    let mut ended: Ended = child.wait_with_output().unwrap().into();
    assert_eq!(ended.code, -1, "{}", ended.stderr);
    ended.stdout = said;
    // A film that nobody finished keeps another name, and the frame that was being written is cut off.
    let film = folder.path().join(".out.part.y4m");
    let bytes = fs::read(&film).unwrap();
    let head = bytes.iter().position(|b| *b == b'\n').unwrap() + 1;
    let frame = 6 + 3 * (SIZE.0 * SIZE.1) as usize;
    fs::write(&film, &bytes[..head + (bytes.len() - head) / frame * frame]).unwrap();
    // A dump of its memory would be a file that nobody knows how to search.
    let found = left_behind(folder.path(), &ended);
    assert!(found.len() > 3 && !found.iter().any(|(_, picture)| shows_mark(picture)), "{}", found.len());
}

#[test]
fn no_route_of_the_page_shows_what_is_hidden() {
    for hide in [&[][..], &HIDE] {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("film")).unwrap();
        // Those that the model knows the person in at the small size of these sessions: this is about ways out, not about masks that miss.
        for (frame, picture) in pan().enumerate().skip(7).take(3) {
            picture.save(folder.path().join(format!("film/{frame:02}.png"))).unwrap();
        }
        fs::write(folder.path().join("rules.toml"), "[[rule]]\nname = \"all\"\nwhen = { word = \"wall\", score_above = 0 }\nfor_s = 0.5\n")
            .unwrap();
        let run = ["--source", "film", "--loop", "--tags", "wall, flag", "--http", "127.0.0.1:0", "--recordings", "recordings"];
        let run = [run.as_slice(), &["--rules", "rules.toml"]].concat();
        let mut session = Session::start(folder.path(), &[run.as_slice(), hide].concat());
        let recorded: Vec<String> = [true, false]
            .into_iter()
            .map(|masks| {
                let started = session.send("POST", "/api/recording", &json!({ "on": true, "format": "y4m", "masks": masks })).json();
                session.until("recorded frames", |s| s.get("/api/recording").json()["frames"].as_u64() >= Some(4));
                session.send("POST", "/api/recording", &json!({ "on": false }));
                session.until("a whole file", |s| s.get("/api/recording").json()["whole"] == true);
                started["name"].as_str().unwrap().to_owned()
            })
            .collect();
        let description = session.get("/openapi.json").json();
        let mut searched = 0;
        for (path, methods) in description["paths"].as_object().unwrap() {
            let kinds = methods["get"]["responses"]["200"]["content"].as_object();
            let gives = |kind: &str| kinds.is_some_and(|kinds| kinds.keys().any(|k| k.starts_with(kind)));
            // Drawings of the page itself, labels without pixels of the frame, and what ends with its client are other tests'.
            if path == "/icon.svg" || path == "/api/labels.png" {
                continue;
            }
            let found: Vec<RgbImage> = if gives("video/") {
                recorded.iter().flat_map(|name| y4m(&session.get(&path.replace("{name}", name)).body)).collect()
            } else if gives("multipart/x-mixed-replace") {
                let whole = |query: &&str| {
                    let mut found = pictures_in(&session.beginning(&format!("{path}{query}"), 200_000));
                    // The last one is cut off, and grey from there on.
                    found.pop();
                    found
                };
                ["", "?masks=true"].iter().flat_map(whole).collect()
            } else if path == "/api/timeline" {
                session.until("an event's picture", |s| s.get(path).json()["events"][0]["thumbnail"].is_string());
                let told = session.get(path).json();
                let url = told["events"][0]["thumbnail"].as_str().unwrap().to_owned();
                pictures_in(&BASE64_STANDARD.decode(url.split_once(',').unwrap().1).unwrap())
            } else if gives("multipart/form-data") {
                // The masks come behind the picture.
                pictures_in(&session.get(path).body).into_iter().take(1).collect()
            } else if gives("image/") {
                ["", "?masks=true"].iter().flat_map(|query| pictures_in(&session.get(&format!("{path}{query}")).body)).collect()
            } else {
                let bytes = if gives("text/event-stream") { session.beginning(path, 20_000) } else { session.get(path).body };
                let shown = pictures_in_text(&String::from_utf8_lossy(&bytes)).iter().any(shows_mark);
                assert!(hide.is_empty() || !shown, "{path}");
                continue;
            };
            assert!(!found.is_empty(), "{path}: nothing to search");
            let shown = found.iter().filter(|picture| shows_mark(picture)).count();
            assert_eq!(shown, if hide.is_empty() { found.len() } else { 0 }, "{path}: {shown} of {}", found.len());
            searched += 1;
        }
        assert!(searched >= 5, "{searched}");
        let report: Value = session.get("/api/report").json();
        assert_eq!(report["report"].get("hidden").is_some(), !hide.is_empty());
    }
}

#[test]
fn a_switch_hides_for_whoever_asks_after_it() {
    for (hide, always) in [(&["--hide-switches"][..], false), (&["--hide-switches", "--hide", "Person"], true)] {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("film")).unwrap();
        for (frame, picture) in pan().enumerate().skip(7).take(3) {
            picture.save(folder.path().join(format!("film/{frame:02}.png"))).unwrap();
        }
        let run = ["--source", "film", "--loop", "--tags", "wall, flag", "--http", "127.0.0.1:0", "--recordings", "recordings"];
        let mut session = Session::start(folder.path(), &[run.as_slice(), hide].concat());
        let shows = |session: &Session, path: &str| {
            let found = pictures_in(&session.get(path).body);
            shows_mark(found.first().unwrap_or_else(|| panic!("{path}: nothing to search")))
        };
        const ROUTES: [&str; 3] = ["/api/picture.jpg", "/api/picture.jpg?masks=true", "/api/frame"];
        let words = |told: &Value| -> Vec<(String, bool)> {
            let list = told["words"].as_array().unwrap();
            list.iter().map(|word| (word["name"].as_str().unwrap().to_owned(), word["locked"] == true)).collect()
        };
        let fixed: Vec<(String, bool)> = always.then(|| ("Person".to_owned(), true)).into_iter().collect();
        assert_eq!(words(&session.get("/api/hide").json()), fixed);
        assert_eq!(session.get("/api/status").json()["hides"], true);
        session.until("a picture", |s| !pictures_in(&s.get(ROUTES[0]).body).is_empty());
        assert_eq!(shows(&session, ROUTES[0]), !always);
        // Again and again, so that frames that are under way meet every moment of a switch.
        for round in 0..6 {
            let answer = session.send("POST", "/api/hide", &json!("person, flag"));
            assert_eq!(answer.status, 201, "{answer:?}");
            let switched =
                if always { vec![("flag".to_owned(), false)] } else { vec![("person".to_owned(), false), ("flag".to_owned(), false)] };
            assert_eq!(words(&answer.json()), [fixed.clone(), switched].concat());
            if round == 0 {
                let started = session.send("POST", "/api/recording", &json!({ "on": true, "format": "y4m" })).json();
                session.until("recorded frames", |s| s.get("/api/recording").json()["frames"].as_u64() >= Some(3));
                session.send("POST", "/api/recording", &json!({ "on": false }));
                session.until("a whole file", |s| s.get("/api/recording").json()["whole"] == true);
                let recorded = y4m(&fs::read(folder.path().join("recordings").join(started["name"].as_str().unwrap())).unwrap());
                assert!(recorded.len() >= 3 && !recorded.iter().any(shows_mark));
            }
            for path in ROUTES.iter().cycle().take(6) {
                assert!(!shows(&session, path), "{path}, round {round}");
            }
            for name in ["flag", "PERSON"] {
                let answer = session.send("DELETE", &format!("/api/hide/{name}"), &json!({}));
                assert_eq!(answer.status, if always && name != "flag" { 403 } else { 200 }, "{answer:?}");
            }
            assert_eq!(words(&session.get("/api/hide").json()), fixed);
            match always {
                true => assert!(!shows(&session, ROUTES[round % 3]), "what the configuration hides is hidden whatever is switched"),
                false => session.until("what is shown again", |s| shows(s, ROUTES[round % 3])),
            }
        }
        for (method, path, body, status) in [
            ("DELETE", "/api/hide/flag", json!({}), 404),
            ("POST", "/api/hide", json!(" , "), 422),
            ("POST", "/api/hide", json!("-wall"), 422),
            ("POST", "/api/hide", json!({ "name": "wall" }), 400),
        ] {
            let refused = session.send(method, path, &body);
            assert_eq!(refused.status, status, "{body}: {refused:?}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let session =
        Session::start(folder.path(), &["--source", "test:?size=64x48", "--tags", "sky", "--http", "127.0.0.1:0", "--hide", "sky"]);
    let refused = session.send("POST", "/api/hide", &json!("wall"));
    assert!(refused.status == 403 && refused.json()["error"].as_str().unwrap().contains("hide_switches"), "{refused:?}");
    assert_eq!(session.get("/api/hide").json(), json!({ "version": 0, "switches": false, "words": [{ "name": "sky", "locked": true }] }));
}

#[test]
fn words_that_are_hidden_already_keep_none_beside_them_from_being_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let run = ["--source", "test:?size=64x48", "--tags", "sky", "--http", "127.0.0.1:0", "--hide", "Person: face", "--hide-switches"];
    let mut session = Session::start(folder.path(), &run);
    let person = json!({ "name": "Person", "synonyms": ["face"], "locked": true });
    // What is asked for, what is switched on then beside the person, and what the log says.
    let screen = json!({ "name": "screen", "locked": false });
    let wider = json!({ "name": "screen", "synonyms": ["phone"], "locked": false });
    let door = json!({ "name": "door", "synonyms": ["gate", "screen"], "locked": false });
    for (asked, switched, said) in [
        ("person: screen", json!([screen]), r#"hidden by HTTP: "screen"; hidden since the start: "person""#),
        ("FACE", json!([screen]), r#"hidden by HTTP: nothing more; hidden since the start: "FACE""#),
        ("screen: face: phone", json!([wider]), r#"hidden by HTTP: "screen", "phone"; hidden since the start: "face""#),
        ("door: gate: screen", json!([wider, door]), r#"hidden by HTTP: "door", "gate", "screen""#),
    ] {
        let answer = session.send("POST", "/api/hide", &json!(asked));
        assert_eq!(answer.status, 201, "{asked}: {answer:?}");
        let expected: Vec<Value> = [&person].into_iter().chain(switched.as_array().unwrap()).cloned().collect();
        assert_eq!(answer.json()["words"], json!(expected), "{asked}");
        session.until_said(said);
    }
    for (name, status, said) in [
        ("face", 403, "since the start"),
        ("person", 403, "since the start"),
        ("gate", 404, "as another word for \"door\""),
        ("phone", 404, "as another word for \"screen\""),
    ] {
        let refused = session.send("DELETE", &format!("/api/hide/{name}"), &json!({}));
        assert!(refused.status == status && refused.json()["error"].as_str().unwrap().contains(said), "{name}: {refused:?}");
    }
    let left = session.send("DELETE", "/api/hide/SCREEN", &json!({})).json();
    assert_eq!(left["words"], json!([person, door]), "the door's words stay hidden, the screen among them");
    let said = r#"shown again by HTTP: "phone"; hidden by other words still: "screen""#;
    session.until_said(said);
    assert_eq!(session.send("DELETE", "/api/hide/door", &json!({})).json()["words"], json!([person]));
}

/// Pictures a tenth of a second apart.
struct Film(Vec<RgbImage>, usize);

impl Source for Film {
    fn read(&mut self, frame: &mut Frame) -> edge_seg::Result<bool> {
        let Some(picture) = self.0.get(self.1) else { return Ok(false) };
        frame.pixels.clone_from(picture);
        (frame.sequence, frame.timestamp) = (self.1 as u64, Duration::from_millis(100 * self.1 as u64));
        self.1 += 1;
        Ok(true)
    }

    fn rate(&self) -> Option<Rate> {
        Some((10, 1))
    }
}

/// What comes out of a session that hides people.
fn shown(film: Vec<RgbImage>, keys: u64, hide: HideOptions, more: impl Fn(LiveOptions) -> LiveOptions) -> Vec<(Hidden, RgbImage)> {
    let model = Model::built_in_with(&Options::default().with_size_px(224)).unwrap();
    let hide = model.hide("person", hide).unwrap();
    let options = LiveOptions::default().with_pace(Pace::Every).with_keys(KeyFrames::Every(keys)).with_hide(hide);
    let live = Live::start(model, Film(film, 0), "wall, flag", more(options)).unwrap();
    live.map(|shown| shown.unwrap()).map(|shown| (shown.frame.hidden().unwrap().clone(), shown.frame.pixels.clone())).collect()
}

#[test]
fn what_is_switched_on_is_hidden_from_the_next_frame_by_masks_of_its_own() {
    let model = Arc::new(Model::built_in_with(&Options::default().with_size_px(224)).unwrap());
    let person = image::imageops::crop_imm(&marked(scene("astronaut.jpg"), (190, 330)), 40, 150, SIZE.0, SIZE.1).to_image();
    // The encoder in turn with the frames, on the first one alone, and beside them.
    for keys in [KeyFrames::Every(1), KeyFrames::Every(1000), KeyFrames::Auto { share: 1.0 }] {
        let switches = HideSwitches::new(model.clone(), HideOptions::default()).unwrap();
        let options = LiveOptions::default().with_pace(Pace::Every).with_keys(keys).with_hide_switches(switches.clone());
        let live = Live::start(model.clone(), Film(vec![person.clone(); 40], 0), "wall, flag", options).unwrap();
        let (mut hidden, mut open) = (0, 0);
        for (frame, shown) in live.enumerate() {
            let shown = shown.unwrap();
            // Odd versions hide.
            let hides = shown.hide_version % 2 == 1;
            assert_eq!(shows_mark(&shown.frame.pixels), !hides, "{keys:?}, frame {frame}");
            assert_eq!(shown.frame.hidden().is_some(), hides);
            assert!(shown.frame.hidden().is_none_or(|hidden| hidden.whole.is_none() && hidden.share < 1.0), "{keys:?}, frame {frame}");
            *if hides { &mut hidden } else { &mut open } += 1;
            match frame {
                6 | 26 => drop(switches.hide("person").unwrap()),
                16 => assert_eq!(switches.show("Person").unwrap(), Some(2)),
                _ => {}
            }
        }
        // Some frames are under way each time, more of them where the machine does other work.
        assert!((13..28).contains(&hidden) && hidden + open == 40, "{keys:?}: {hidden} hidden, {open} open");
        assert_eq!((switches.names(), switches.version()), (vec!["person".to_owned()], 3));
    }
}

#[test]
fn no_switch_uncovers_what_is_hidden_in_any_case() {
    let model = Arc::new(Model::built_in_with(&Options::default().with_size_px(224)).unwrap());
    for keys in [1, 6] {
        let switches = HideSwitches::new(model.clone(), HideOptions::default()).unwrap();
        let options = LiveOptions::default().with_pace(Pace::Every).with_keys(KeyFrames::Every(keys));
        let options = options.with_hide(model.hide("person", HideOptions::default()).unwrap()).with_hide_switches(switches.clone());
        let mut live = Live::start(model.clone(), Film(pan().collect(), 0), "wall, flag", options).unwrap();
        let mut more = 0;
        for frame in 0.. {
            let Some(shown) = live.next() else { break };
            let shown = shown.unwrap();
            let hidden = shown.frame.hidden().unwrap();
            assert!(!shows_mark(&shown.frame.pixels) && hidden.whole.is_none(), "{keys}, frame {frame}: {hidden:?}");
            more += u32::from(hidden.share > 0.9);
            if frame % 2 == 0 { switches.hide("flag, wall, jacket").map(drop) } else { switches.show("wall").map(drop) }.unwrap();
        }
        assert!(live.counters().segmented.load(std::sync::atomic::Ordering::Relaxed) == u64::from(FRAMES) && more < FRAMES, "{more}");
    }
}

#[test]
fn switches_are_of_a_model_and_keep_what_they_had_when_words_cannot_be_used() {
    let model = Arc::new(Model::built_in_with(&Options::default().with_size_px(64)).unwrap());
    let said = HideSwitches::new(model.clone(), HideOptions::default().with_margin(2.0)).unwrap_err().to_string();
    assert!(said.contains("hide margin: expected 0 to 1"), "{said}");
    let switches = HideSwitches::new(model, HideOptions::default()).unwrap();
    assert_eq!((switches.hide("person, screen").unwrap(), switches.hide("Screen").unwrap()), (1, 1));
    let many: Vec<String> = (0..120).map(|word| format!("word {word}")).collect();
    for wrong in ["", "-wall", "cat, Cat", &many.join(",")] {
        assert!(switches.hide(wrong).is_err(), "{wrong}");
    }
    assert_eq!((switches.show("door").unwrap(), switches.names()), (None, vec!["person".to_owned(), "screen".to_owned()]));
    assert_eq!((switches.show("PERSON").unwrap(), switches.show("screen").unwrap(), switches.names().len()), (Some(2), Some(3), 0));
}

fn scene(name: &str) -> RgbImage {
    image::open(picture(name)).unwrap().into_rgb8()
}

fn nothing_is_left(picture: &RgbImage) -> bool {
    picture.pixels().all(|pixel| pixel == picture.get_pixel(0, 0))
}

#[test]
fn who_comes_between_key_frames_is_hidden_until_one_has_looked() {
    let wall = image::imageops::crop_imm(&scene("rocket.jpg"), 0, 60, 400, 300).to_image();
    let person = image::imageops::crop_imm(&marked(scene("astronaut.jpg"), (190, 330)), 100, 150, 220, 300).to_image();
    let film: Vec<RgbImage> = (0..20)
        .map(|frame| {
            let mut picture = wall.clone();
            image::imageops::replace(&mut picture, &person, 400 - 12 * frame, 0);
            picture
        })
        .collect();
    assert!(film.iter().filter(|picture| shows_mark(picture)).count() >= 8);
    // The first frame shows the wall alone, and no other is looked at.
    let shown = shown(film, 1000, HideOptions::default(), |options| options);
    assert_eq!(shown.len(), 20);
    assert!(shown[0].0.share < 0.3, "{:?}", shown[0].0);
    for (frame, (hidden, picture)) in shown.iter().enumerate() {
        assert!(!shows_mark(picture) && hidden.whole.is_none(), "{frame}: {hidden:?}");
        assert!(picture.pixels().take(40).ne(std::iter::repeat_n(picture.get_pixel(0, 0), 40)), "{frame}: the far side stays to be seen");
    }
}

#[test]
fn frames_are_hidden_whole_where_masks_are_old_or_of_another_scene() {
    let [one, other] = ["astronaut.jpg", "coffee.jpg"].map(|name| image::imageops::crop_imm(&scene(name), 60, 100, 400, 300).to_image());
    let old = shown(vec![one.clone(); 8], 5, HideOptions::default().with_max_age(Duration::from_millis(250)), |options| options);
    let why: Vec<_> = old.iter().map(|(hidden, _)| hidden.whole).collect();
    let (masks, late) = (None, Some(Whole::OldMasks));
    assert_eq!(why, [masks, masks, masks, late, late, masks, masks, masks]);
    // A cut between key frames, which nobody asked to make one.
    let film: Vec<_> = (0..10).map(|frame| if frame < 6 { other.clone() } else { one.clone() }).collect();
    let cut = shown(film, 4, HideOptions::default(), |options| options.with_scene_cuts(false));
    let why: Vec<_> = cut.iter().map(|(hidden, _)| hidden.whole).collect();
    let none = Some(Whole::NoMasks);
    assert_eq!(why, [masks, masks, masks, masks, masks, masks, none, none, masks, masks]);
    for (hidden, picture) in old.iter().chain(&cut) {
        assert_eq!(nothing_is_left(picture), hidden.whole.is_some());
        assert_eq!(hidden.share == 1.0, hidden.whole.is_some(), "{hidden:?}");
    }
}

#[test]
fn pictures_of_segment_are_written_without_what_is_hidden() {
    let folder = tempfile::tempdir().unwrap();
    marked(scene("astronaut.jpg"), (190, 330)).save(folder.path().join("in.png")).unwrap();
    for words in [["--tags", "wall, flag"], ["--caption", "a flag"]] {
        for (hide, out) in [(&[][..], "open"), (&["--hide", "person"], "hidden")] {
            let ended = edge_seg(folder.path(), &[&["segment", "in.png", "--out", out], words.as_slice(), hide].concat());
            assert_eq!(ended.code, 0, "{}", ended.stderr);
            let overlay = image::open(folder.path().join(out).join("in.overlay.png")).unwrap().into_rgb8();
            assert_eq!(shows_mark(&overlay), hide.is_empty(), "{words:?}");
            let share = ended.json_lines()[0]["hidden"]["share"].as_f64();
            assert_eq!(share.is_some_and(|share| (0.1..0.9).contains(&share)), !hide.is_empty(), "{share:?}");
        }
    }
}

#[test]
fn a_switch_takes_away_what_the_timeline_shows_of_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("film")).unwrap();
    for (frame, picture) in pan().enumerate().skip(7).take(3) {
        picture.save(folder.path().join(format!("film/{frame:02}.png"))).unwrap();
    }
    fs::write(folder.path().join("rules.toml"), RULE).unwrap();
    let run = ["--source", "film", "--loop", "--tags", "wall, flag", "--http", "127.0.0.1:0", "--rules", "rules.toml", "--hide-switches"];
    let mut session = Session::start(folder.path(), &run);
    let shown = |session: &Session| -> Vec<bool> {
        let told = session.get("/api/timeline").json();
        let urls = told["events"].as_array().unwrap().iter().filter_map(|event| event["thumbnail"].as_str());
        urls.flat_map(|url| pictures_in(&BASE64_STANDARD.decode(url.split_once(',').unwrap().1).unwrap())).map(|p| shows_mark(&p)).collect()
    };
    session.until("an event's picture", |s| !shown(s).is_empty());
    assert!(shown(&session).iter().any(|mark| *mark));
    let revision = session.get("/api/timeline").json()["revision"].as_u64().unwrap();
    assert_eq!(session.send("POST", "/api/hide", &json!("person")).status, 201);
    assert!(!shown(&session).iter().any(|mark| *mark), "pictures from before the switch");
    let changed = session.get(&format!("/api/timeline?after={revision}")).json();
    let told = changed["events"].as_array().unwrap();
    assert!(told.iter().any(|event| event.get("thumbnail").is_none()), "who has the picture is told that it is gone: {changed}");
}

#[test]
fn clients_are_told_what_hidden_words_mean() {
    let folder = tempfile::tempdir().unwrap();
    let run = ["--source", "test:?size=64x48", "--tags", "sky", "--http", "127.0.0.1:0", "--hide", "Hund, car", "--hide-switches"];
    let session = Session::start(folder.path(), &run);
    let told = session.send("POST", "/api/hide", &json!("qwertz zuiop, Katze, wall")).json();
    let meaning = |at: usize, key: &str| told["words"][at]["meaning"].get(key).and_then(Value::as_str);
    assert_eq!((meaning(0, "english"), meaning(2, "kind"), meaning(3, "english")), (Some("dog"), Some("unknown"), Some("cat")), "{told}");
    assert!(told["words"][1].get("meaning").is_none() && told["words"][4].get("meaning").is_none(), "{told}");
    assert_eq!(session.get("/api/hide").json(), told);
}

#[test]
fn what_cannot_be_hidden_is_refused_before_a_frame_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, said) in [
        (&["--hide", " , "][..], "--hide: expected one word or more"),
        (&["--hide", "person, Person"], "twice"),
        (&["--hide-by", "blur"], "--hide-by needs --hide"),
        (&["--hide", "person", "--index", "index"], "--index, --hide: expected one of them, found both"),
        (&["--hide-max-age", "1"], "--hide-max-age needs --hide"),
        (&["--hide-switches"], "--hide-switches needs --http"),
        (&["--hide-switches", "--http", "127.0.0.1:0", "--index", "index"], "--index, --hide-switches: expected one of them, found both"),
        (&["--hide", "person", "--hide-margin", "1.5"], "--hide-margin: expected 0 to 1, found 1.5"),
        (&["--hide", "person", "--hide-threshold=-0.1"], "--hide-threshold: expected 0 to 1, found -0.1"),
        (&["--hide", "person", "--hide-max-age", "NaN"], "--hide-max-age: expected seconds"),
    ] {
        let run = ["run", "--source", "test:?size=64x48&fps=10&frames=2", "--tags", "sky", "--size", "96", "--overlay", "out.y4m"];
        let ended = edge_seg(folder.path(), &[run.as_slice(), arguments].concat());
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(said), "{arguments:?}: {}", ended.stderr);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{arguments:?}");
    }
}

#[test]
fn memory_with_whole_frames_goes_into_no_core_dump() {
    let folder = tempfile::tempdir().unwrap();
    for hide in [&[][..], &HIDE, &["--hide-switches"]] {
        let session =
            Session::start(folder.path(), &[&["--source", "test:?size=64x48", "--tags", "sky", "--http", "127.0.0.1:0"], hide].concat());
        let limits = fs::read_to_string(format!("/proc/{}/limits", session.id())).unwrap();
        let cores = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap().split_whitespace().nth(1);
        assert!(hide.is_empty() || cores == Some("0"), "{limits}");
    }
}

#[test]
fn no_index_takes_what_is_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let model = Arc::new(Model::built_in_with(&Options::default().with_size_px(64)).unwrap());
    let options = LiveOptions::default().with_hide(model.hide("person", HideOptions::default()).unwrap());
    let film = || Film(pan().take(2).collect(), 0);
    let path = folder.path().join("seen.index");
    let mut writer = IndexWriter::open(&path, &model, &IndexOptions::default()).unwrap();
    let mut live = Live::start(model.clone(), film(), "wall", options.clone()).unwrap();
    let said = writer.add_shown(&live.next().unwrap().unwrap(), None, "hall").unwrap_err().to_string();
    assert!(said.contains("index: expected frames of which nothing is hidden"), "{said}");
    drop((live, writer));
    let sink = IndexSink::open(&path, &model, "hall".into(), &IndexOptions::default(), Default::default()).unwrap();
    let mut live = Live::start(model.clone(), film(), "wall", options).unwrap().with_sink(sink);
    assert_eq!(live.next().unwrap().unwrap_err().to_string(), said);
    assert_eq!(Index::open(&path).unwrap().contents().unwrap().frames, 0);
}
