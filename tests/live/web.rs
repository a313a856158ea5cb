//! The web interface of a running session, its configuration and its service manager, as their clients see them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use edge_seg_tests::{binary, edge_seg, picture, schema};
use serde_json::{Value, json};

/// A running session with its page; it is ended when the test is over.
pub(crate) struct Session {
    child: Child,
    address: SocketAddr,
    said: Arc<Mutex<String>>,
    token: Option<String>,
}

const PATIENCE: Duration = Duration::from_secs(90);

impl Session {
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Session {
        let mut child = Command::new(binary("edge-seg"))
            .current_dir(folder)
            .arg("run")
            .args(arguments)
            .args(["--size", "96"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (heard, stderr) = (said.clone(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                *heard.lock().unwrap() += &format!("{line}\n");
            }
        });
        let mut session = Session { child, address: ([127, 0, 0, 1], 0).into(), said, token: None };
        session.until_said("the web page is at http://");
        let said = session.said.lock().unwrap().clone();
        session.address = said.split_once("http://").and_then(|(_, rest)| rest.split_once('/')).unwrap().0.parse().unwrap();
        session
    }

    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Session) -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !holds(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < limit, "{what} never came ({ended:?}):\n{}", self.said.lock().unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn until_said(&mut self, what: &str) {
        self.until(what, |session| session.said.lock().unwrap().contains(what));
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Answer {
        let answer = self.try_request(method, path, headers, body);
        answer.unwrap_or_else(|e| panic!("{method} {path}: {e}\n{}", self.said.lock().unwrap()))
    }

    fn try_get(&self, path: &str) -> Option<Answer> {
        self.try_request("GET", path, &[], None).ok()
    }

    fn try_request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Result<Answer, ureq::Error> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .allow_non_standard_methods(true)
            .build()
            .into();
        let mut request = ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let response = match body {
            Some(body) => agent.run(request.body(body).unwrap()),
            None => agent.run(request.body(()).unwrap()),
        };
        let mut response = response?;
        let answer = Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.body_mut().with_config().limit(64 << 20).read_to_vec()?,
        };
        if answer.header("Content-Type") == "application/json" {
            schema::check_answer(method, path, answer.status, &answer.json());
        }
        Ok(answer)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], None)
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.request(method, path, &[("Content-Type", "application/json")], Some(body.to_string().as_bytes()))
    }

    /// The first report of a frame that was segmented by these words or later ones.
    fn report(&self, version: u64) -> Value {
        let limit = Instant::now() + PATIENCE;
        loop {
            let told = self.get("/api/report").json();
            if told["report"]["words_version"].as_u64() >= Some(version) {
                return told["report"].clone();
            }
            assert!(Instant::now() < limit, "words {version} never came");
        }
    }

    /// The share of a word in the first such report.
    fn share(&self, changed: &Answer, name: &str) -> f64 {
        assert!(changed.status < 300, "{changed:?}");
        let report = self.report(changed.json()["version"].as_u64().unwrap());
        let class = report["classes"].as_array().unwrap().iter().find(|c| c["name"] == name).unwrap().clone();
        class["share"].as_f64().unwrap()
    }

    /// The first bytes of an answer that has no end.
    pub(crate) fn beginning(&self, path: &str, bytes: usize) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address).unwrap();
        let mut answer = Vec::new();
        stream.take(bytes as u64).read_to_end(&mut answer).unwrap();
        answer
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: ureq::http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, String::from_utf8_lossy(&self.body))
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

#[test]
fn the_timeline_tells_events_with_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let rule =
        |name: &str, word: &str| format!("[[rule]]\nname = \"{name}\"\nwhen = {{ word = \"{word}\", score_above = 0 }}\nconfirm_s = 0.2\n");
    fs::write(folder.path().join("rules.toml"), rule("above", "sky")).unwrap();
    let run = ["--source", "test:?size=320x240&fps=10", "--tags", "sky", "--http", "127.0.0.1:0", "--rules", "rules.toml"];
    let mut session = Session::start(folder.path(), &run);
    let told = |session: &Session, query: &str| session.get(&format!("/api/timeline{query}")).json();
    session.until("an event with its picture", |s| {
        told(s, "")["events"][0]["thumbnail"].is_string() && told(s, "")["events"][0]["state"] == "started"
    });
    let all = told(&session, "");
    assert_eq!((all["version"].as_u64(), all["events"].as_array().unwrap().len()), (Some(1), 1));
    let event = &all["events"][0];
    assert!(event["thumbnail"].as_str().unwrap().starts_with("data:image/jpeg;base64,/9j/"), "{event}");
    assert_eq!((event["rule"].as_str(), event["measured"][0]["word"].as_str(), event.get("to")), (Some("above"), Some("sky"), None));
    let revision = all["revision"].as_u64().unwrap();
    assert_eq!(told(&session, &format!("?after={revision}"))["events"], json!([]));
    // A rule that is gone ends its event, and another begins one: both are changes.
    fs::write(folder.path().join("rules.toml"), rule("below", "sky")).unwrap();
    session.until("the next event", |s| told(s, "")["events"].as_array().unwrap().len() == 2);
    let changed = told(&session, &format!("?after={revision}"));
    let brief: Vec<_> = changed["events"].as_array().unwrap().iter().map(|e| (e["rule"].as_str().unwrap(), e["to"].is_string())).collect();
    assert_eq!(brief, [("below", false), ("above", true)]);
    assert_eq!((&changed["run"], told(&session, "?after=999999")["events"].as_array().unwrap().len()), (&all["run"], 2));
    for wrong in ["?most=0", "?most=201"] {
        assert_eq!(session.get(&format!("/api/timeline{wrong}")).status, 422, "{wrong}");
    }
    assert_eq!(session.get("/api/timeline?before=1").status, 400);
}

#[test]
fn a_box_on_the_picture_becomes_a_word_and_the_past_is_searched() {
    let folder = tempfile::tempdir().unwrap();
    let cat = picture("cat.jpg");
    let source = ["--source", cat.to_str().unwrap(), "--loop", "--tags", "wall", "--http", "127.0.0.1:0", "--state", "state"];
    let index = ["--index", "seen.index", "--index-interval", "0", "--index-camera", "hall", "--pace", "live"];
    let session = Session::start(folder.path(), &[source.as_slice(), &index].concat());
    assert_eq!(session.get("/api/status").json()["searches"], true);
    let jpeg = std::fs::read(&cat).unwrap();
    let headers = [("Content-Type", "image/jpeg")];
    let post = |query: &str, body: &[u8]| session.request("POST", &format!("/api/examples?{query}"), &headers, Some(body));
    let added = post("name=my%20friend&x=110&y=75&w=220&h=150", &jpeg);
    assert_eq!(added.status, 201, "{added:?}");
    assert_eq!(names(&added.json()), ["wall", "my friend"]);
    // Of the newest frame, to the same word.
    let more = session.send("POST", "/api/examples?name=My%20Friend&x=110&y=75&w=220&h=150&counter=true", &json!({})).json();
    let examples = more["words"][1]["examples"].as_array().unwrap().clone();
    assert_eq!((examples.len(), &examples[1]["counter"], &more["words"][1]["text"]), (2, &json!(true), &json!(false)));
    for (query, body, status) in [
        ("name=x&x=0&y=0&w=0&h=5", &jpeg[..], 422),
        ("name=x&x=9999&y=0&w=5&h=5", &jpeg[..], 422),
        ("name=x&x=0&y=0&w=5&h=5", b"no picture", 422),
        ("name=x&x=0&y=0&w=5&h=5", &jpeg[..jpeg.len() / 2], 422),
        ("name=%20&x=0&y=0&w=5&h=5", &jpeg[..], 422),
        ("x=0&y=0&w=5&h=5", &jpeg[..], 400),
        ("name=x&x=-1&y=0&w=5&h=5", &jpeg[..], 400),
    ] {
        let refused = post(query, body);
        assert_eq!(refused.status, status, "{query}: {refused:?}");
    }
    assert_eq!(names(&session.get("/api/words").json()), ["wall", "my friend"]);
    let seen = |words: &str| session.get(&format!("/api/search?words={words}")).json();
    let start = std::time::Instant::now();
    let found = loop {
        let found = seen("cat");
        if found["answers"][0]["frames"].as_u64() > Some(3) {
            break found;
        }
        assert!(start.elapsed().as_secs() < 60, "{found}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    };
    let answer = &found["answers"][0];
    assert_eq!((&answer["camera"], &answer["word"], &found["version"]), (&json!("hall"), &json!("cat"), &json!(1)));
    assert!(answer["thumbnail"].as_str().unwrap().starts_with("data:image/jpeg;base64,/9j/"));
    assert_eq!(seen("my%20friend")["answers"][0]["word"], "my friend");
    assert_eq!(seen("aeroplane")["answers"], json!([]));
    assert_eq!(session.get("/api/search?words=cat&top=0").status, 422);
    // Forgotten, it is its name; the search tells which saved set knows it better.
    assert_eq!(session.send("PUT", "/api/sets/tools", &json!({})).status, 204);
    let unseen = "my%20friend&threshold=1";
    assert!(seen(unseen).get("shown_in").is_none(), "{}", seen(unseen));
    let forgotten = session.send("PATCH", "/api/words/my%20friend", &json!({ "examples": [] })).json();
    assert!(forgotten["words"][1].get("examples").is_none() && forgotten["words"][1].get("text").is_none(), "{forgotten}");
    assert_eq!(seen(unseen)["shown_in"], json!([{ "word": "my friend", "set": "tools" }]));
    assert!(seen("aeroplane").get("shown_in").is_none());
}

#[test]
fn the_page_and_the_terminal_find_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let cat = picture("cat.jpg");
    // All of a picture, which is told from what the index shows on average, and a box.
    let (whole, boxed) = (format!("{}=whole", cat.display()), format!("{}:110,75,220,150=boxed", cat.display()));
    let source = ["--source", cat.to_str().unwrap(), "--loop", "--tags", "wall", "--http", "127.0.0.1:0"];
    let index = ["--index", "seen.index", "--index-interval", "3600", "--example", &whole, "--example", &boxed];
    let mut session = Session::start(folder.path(), &[source.as_slice(), &index].concat());
    session
        .until("a frame in the index", |s| !s.get("/api/search?words=wall&threshold=0").json()["answers"].as_array().unwrap().is_empty());
    let words = format!("{}:110,75,220,150", cat.display());
    for (asked, told) in [
        (&["--like", cat.to_str().unwrap()][..], "whole"),
        (&["--like", words.as_str()], "boxed"),
        (&["cat, wall, -floor"], "cat,wall,-floor"),
        (&["aeroplane"], "aeroplane"),
    ] {
        for threshold in ["", "0"] {
            let more = if threshold.is_empty() { vec![] } else { vec!["--threshold", threshold] };
            let ended = edge_seg(folder.path(), &[&["search", "--json", "--size", "96", "seen.index"][..], asked, &more].concat());
            let query = if threshold.is_empty() { String::new() } else { format!("&threshold={threshold}") };
            let page = session.get(&format!("/api/search?words={told}{query}")).json();
            // Of the frame that was there from the start: more of the same may come.
            let brief = |answer: &Value| -> (i64, Vec<Value>) {
                let score = answer["score"].as_f64().unwrap();
                ((1e4 * score).round() as i64, ["camera", "from", "best", "box_px", "frame_px"].map(|key| answer[key].clone()).to_vec())
            };
            let of_page: Vec<_> = page["answers"].as_array().unwrap().iter().map(brief).collect();
            assert_eq!(of_page, ended.json_lines().iter().map(brief).collect::<Vec<_>>(), "{told}: {}", ended.stderr);
            assert_eq!(of_page.is_empty(), ended.code == 1);
            assert!(threshold.is_empty() || !of_page.is_empty(), "{told}: nothing to compare");
        }
    }
}

fn names(words: &Value) -> Vec<String> {
    words["words"].as_array().unwrap().iter().map(|w| w["name"].as_str().unwrap().into()).collect()
}

const TEST: [&str; 6] = ["--source", "test:?size=160x120&fps=20", "--tags", "sky, stripes", "--http", "127.0.0.1:0"];

#[test]
fn the_server_does_what_its_description_says() {
    let folder = tempfile::tempdir().unwrap();
    let session = Session::start(folder.path(), &[TEST.as_slice(), &["--state", "state", "--recordings", "recordings"]].concat());
    let description = session.get("/openapi.json").json();
    let mut asked = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if path.contains("stream") || path.contains("events") {
                continue;
            }
            let filled = path.replace("{name}", "nothing-of-this-name") + if path == "/api/scores" { "?x=3&y=4" } else { "" };
            let answer = match method.as_str() {
                "get" | "delete" => session.request(&method.to_uppercase(), &filled, &[], None),
                _ => session.send(&method.to_uppercase(), &filled, &json!({})),
            };
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key(&answer.status.to_string()), "{method} {path}: {answer:?}");
            assert!(answer.status != 405 && answer.status != 500, "{method} {path}: {answer:?}");
            let wants: Vec<_> =
                responses[&answer.status.to_string()]["content"].as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect();
            let kind = answer.header("Content-Type").split(';').next().unwrap().to_owned();
            assert!(wants.is_empty() || wants.contains(&kind), "{method} {path}: {kind} instead of {wants:?}");
            assert!(answer.header("Content-Security-Policy").starts_with("default-src 'none'"), "{path}");
            assert_eq!(answer.header("X-Content-Type-Options"), "nosniff");
            asked += 1;
        }
    }
    assert!(asked >= 25, "{asked}");
    assert_eq!(session.get("/api/nonsense").status, 404);
    assert_eq!(session.send("POST", "/api/status", &json!({})).status, 405);
    assert_eq!(session.get("/healthz").json()["state"], "ok");
    let status = session.get("/api/status").json();
    assert_eq!((&status["source"], &status["model"]["name"]), (&json!("test:?size=160x120&fps=20"), &json!("mini")));
    for file in ["/", "/app.js", "/app.css", "/icon.svg"] {
        let text = String::from_utf8(session.get(file).body).unwrap();
        let outside: Vec<_> = text
            .split('"')
            .filter(|t| (t.starts_with("http") || t.starts_with("//")) && !t.contains(char::is_whitespace) && !t.contains("www.w3.org"))
            .collect();
        assert!(outside.is_empty() && !text.contains("url(") && !text.contains("@import"), "{file}: {outside:?}");
    }
}

#[test]
fn words_change_and_masks_follow() {
    let folder = tempfile::tempdir().unwrap();
    let cat = picture("cat.jpg");
    let source = [
        "--source",
        cat.to_str().unwrap(),
        "--loop",
        "--key-interval",
        "1000",
        "--tags",
        "cat, car",
        "--http",
        "127.0.0.1:0",
        "--state",
        "state",
    ];
    let session = Session::start(folder.path(), &source);
    let words = session.get("/api/words").json();
    assert_eq!((names(&words), &words["version"]), (vec!["cat".to_owned(), "car".into()], &json!(1)));
    let first = session.get("/api/words");
    assert!(session.share(&first, "cat") > 0.3);

    let off = session.send("PATCH", "/api/words/CAT", &json!({ "on": false }));
    assert_eq!(session.share(&off, "cat"), 0.0);
    let on = session.send("PATCH", "/api/words/cat", &json!({ "on": true, "threshold": 1.0 }));
    assert_eq!(session.share(&on, "cat"), 0.0, "no pixel passes a threshold of 1");
    let low = session.send("PATCH", "/api/words/cat", &json!({ "threshold": 0.01 }));
    let all = session.share(&low, "cat");
    let usual = session.send("PATCH", "/api/words/cat", &json!({ "threshold": null, "colour": "#01FF80" }));
    assert!(session.share(&usual, "cat") < all);
    assert_eq!(usual.json()["words"][0]["colour"], "#01ff80");

    // One frame in three parts that belong together.
    let frame = session.get("/api/frame");
    let boundary = frame.header("Content-Type").split_once("boundary=").unwrap().1.to_owned();
    let text = String::from_utf8_lossy(&frame.body).into_owned();
    assert!(text.ends_with(&format!("--{boundary}--\r\n")));
    let part = |name: &str| {
        let head = format!("name=\"{name}\"");
        let start = frame.body.windows(head.len()).position(|w| w == head.as_bytes()).unwrap();
        let body = start + frame.body[start..].windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let mark = format!("\r\n--{boundary}");
        let end = body + frame.body[body..].windows(mark.len()).position(|w| w == mark.as_bytes()).unwrap();
        frame.body[body..end].to_vec()
    };
    let report: Value = serde_json::from_slice(&part("report")).unwrap();
    let shown = image::load_from_memory(&part("picture")).unwrap();
    let masks = image::load_from_memory(&part("masks")).unwrap().into_rgba8();
    assert_eq!((shown.width(), shown.height()), masks.dimensions());
    let share = masks.pixels().filter(|p| p.0 == [1, 255, 128, 255]).count() as f64 / (masks.width() * masks.height()) as f64;
    assert!((share - report["report"]["classes"][0]["share"].as_f64().unwrap()).abs() < 0.02, "{share} {report}");
    let labels = image::load_from_memory(&session.get("/api/labels.png").body).unwrap().into_luma8();
    assert_eq!(u64::from(labels.width()), report["report"]["width"].as_u64().unwrap());

    // The scores where the picture's middle is, and what stands outside of it.
    let (x, y) = (labels.width() / 2, labels.height() / 2);
    let scores = session.get(&format!("/api/scores?x={x}&y={y}")).json();
    assert!(scores["words"][0]["score"].as_f64() > scores["words"][1]["score"].as_f64(), "{scores}");
    assert_eq!(scores["name"], "cat");
    assert_eq!(session.get(&format!("/api/scores?x={}&y=0", labels.width())).status, 422);
    assert_eq!(session.get("/api/scores?x=-1&y=0").status, 400);

    let added = session.send("POST", "/api/words", &json!({ "name": "wall", "synonyms": ["white wall"], "threshold": 0.4 }));
    assert_eq!((added.status, names(&added.json())), (201, vec!["cat".into(), "car".into(), "wall".into()]));
    assert_eq!(session.send("POST", "/api/words", &json!("Wall")).status, 422, "there is one");
    assert_eq!(session.send("PUT", "/api/sets/evening", &json!({})).status, 204);
    assert_eq!(session.send("PUT", "/api/sets/..%2Fevening", &json!({})).status, 422);
    assert_eq!(names(&session.request("DELETE", "/api/words/car", &[], None).json()), ["cat", "wall"]);
    assert_eq!(session.request("DELETE", "/api/words/car", &[], None).status, 404);
    assert_eq!(session.send("PATCH", "/api/words/car", &json!({ "on": true })).status, 404);
    let put = session.send("PUT", "/api/words", &json!([{ "name": "red car" }, "sky"]));
    assert_eq!(names(&put.json()), ["red car", "sky"]);
    assert!(session.request("DELETE", "/api/words/red%20car", &[], None).status == 200);
    let last = session.request("DELETE", "/api/words/sky", &[], None);
    assert!(last.status == 422 && last.json()["error"].as_str().unwrap().contains("one word or more"), "{last:?}");
    for (path, body, status) in [
        ("/api/words", "{", 400),
        ("/api/words", "[]", 422),
        ("/api/words", r#"[{"name": "a", "colour": "red"}]"#, 422),
        ("/api/words", r#"["\ud83d\ude00"]"#, 422),
        ("/api/words/sky", r#"{"treshold": 0.5}"#, 400),
        ("/api/words/sky", r#"{"threshold": 7}"#, 422),
        ("/api/background", r#"{"threshold": 7}"#, 422),
    ] {
        let method = if path == "/api/words" { "PUT" } else { "PATCH" };
        let answer = session.request(method, path, &[("Content-Type", "application/json")], Some(body.as_bytes()));
        assert_eq!(answer.status, status, "{path} {body}: {answer:?}");
        assert!(answer.json()["error"].is_string());
    }
    assert_eq!(names(&session.get("/api/words").json()), ["sky"], "what is refused changes nothing");

    assert_eq!(session.get("/api/sets").json(), json!({ "sets": ["evening"] }));
    let loaded = session.send("POST", "/api/sets/evening/load", &json!({})).json();
    assert_eq!(names(&loaded), ["cat", "car", "wall"]);
    assert_eq!((&loaded["words"][0]["colour"], &loaded["words"][2]["synonyms"]), (&json!("#01ff80"), &json!(["white wall"])));
    assert_eq!(session.send("POST", "/api/sets/morning/load", &json!({})).status, 404);
    assert_eq!(session.request("DELETE", "/api/sets/evening", &[], None).status, 204);
    assert_eq!(fs::read_dir(folder.path().join("state/words")).unwrap().count(), 0);

    let none = session.send("PATCH", "/api/background", &json!({ "threshold": null }));
    let report = session.report(none.json()["version"].as_u64().unwrap());
    assert_eq!(report["background_share"], 0.0, "without a background every pixel is some word's");
    let left_out = session.send("PATCH", "/api/background", &json!({ "words": ["cat"] }));
    assert!(session.share(&left_out, "cat") < 0.05, "a word that is left out takes what is its own");
}

#[test]
fn nobody_gets_in_who_may_not() {
    let folder = tempfile::tempdir().unwrap();
    let token = "s3cret-token-of-24-chars";
    fs::write(folder.path().join("token"), format!("{token}\n")).unwrap();
    let mut session =
        Session::start(folder.path(), &[TEST.as_slice(), &["--http-token-file", "token", "--http-host", "camera.lan"]].concat());
    for path in ["/", "/app.js", "/app.css", "/openapi.json", "/icon.svg"] {
        assert_eq!(session.get(path).status, 200, "{path}");
    }
    assert_ne!(session.get("/healthz").status, 401);
    let bearer = |token: &str| format!("Bearer {token}");
    for shown in ["", "Bearer", "Bearer x", &bearer(&token[1..]), &bearer(&format!("{token}x")), &format!("Basic {token}")] {
        let answer = session.request("GET", "/api/words", &[("Authorization", shown), ("X-Requested-With", "XMLHttpRequest")], None);
        assert_eq!((answer.status, answer.header("WWW-Authenticate")), (401, "Bearer"), "{shown}");
    }
    // ffmpeg, wget and the like show a login once they are asked for one.
    assert!(session.get("/api/words").header("WWW-Authenticate").starts_with("Basic realm="));
    assert_eq!(session.send("PUT", "/api/words", &json!(["dog"])).status, 401);
    assert_eq!(session.get("/metrics").status, 401);
    let guesses: Vec<_> =
        (0..40).map(|i| session.request("GET", "/api/words", &[("Authorization", &format!("Bearer guess-{i}"))], None).status).collect();
    assert!(guesses.contains(&429), "guessing is slowed down: {guesses:?}");
    session.token = Some(token.into());
    assert_eq!(session.get("/api/words").status, 200, "who has the token is not held up by guesses");
    session.token = None;
    // A program that knows logins alone shows the token as a password: `any:s3cret-token-of-24-chars`.
    let login = [("Authorization", "Basic YW55OnMzY3JldC10b2tlbi1vZi0yNC1jaGFycw==")];
    assert_eq!(session.request("GET", "/api/words", &login, None).status, 200);
    let flood: Vec<_> = (0..400).map(|_| session.get("/app.css").status).collect();
    assert!(flood.iter().all(|status| [200, 429].contains(status)), "{flood:?}");
    assert_eq!(session.request("GET", "/api/words", &login, None).status, 200, "and takes nothing from who has the token");
    assert!([200, 503].contains(&session.get("/healthz").status), "nor from who watches");
    session.token = Some(token.into());

    for (headers, status) in [
        ([("Host", "evil.example"), ("X-Any", "1")], 421),
        ([("Host", "127.0.0.1.evil.example"), ("X-Any", "1")], 421),
        ([("Host", "camera.lan:8080"), ("X-Any", "1")], 200),
        ([("Host", "localhost"), ("Origin", "http://localhost")], 200),
        ([("Host", "localhost"), ("Origin", "http://evil.example")], 403),
        ([("Host", "localhost"), ("Origin", "null")], 403),
        ([("Host", "localhost"), ("Origin", "http://localhost:8081")], 403),
        ([("Host", "localhost"), ("Sec-Fetch-Site", "cross-site")], 403),
        ([("Host", "localhost"), ("Sec-Fetch-Site", "same-site")], 403),
        ([("Host", "localhost"), ("Sec-Fetch-Site", "same-origin")], 200),
    ] {
        let write = [headers.as_slice(), &[("Content-Type", "application/json")]].concat();
        let answer = session.request("PUT", "/api/words", &write, Some(br#"["sky"]"#));
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
        assert_eq!(session.request("GET", "/api/words", &headers, None).status, status, "{headers:?}");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
        assert_eq!(session.request("PUT", "/api/words", &[("Content-Type", kind)], Some(br#"["dog"]"#)).status, 415, "{kind}");
    }
    // Said at once, before the body is sent.
    let mut stream = TcpStream::connect(session.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("PUT /api/words HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n", session.address);
    write!(stream, "{head}Content-Type: application/json\r\nContent-Length: 999999\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    // Without a length it is said when too much has come, in JSON as everything.
    let ask = |more: &str, body: &[u8]| {
        let mut stream = TcpStream::connect(session.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "{head}Content-Type: application/json\r\n{more}\r\n").unwrap();
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let chunked = "Transfer-Encoding: chunked\r\n";
    let answer = ask(chunked, &[b"50000\r\n".as_slice(), &vec![b' '; 0x50000], b"\r\n0\r\n\r\n"].concat());
    assert!(answer.starts_with("HTTP/1.1 413") && answer.ends_with('}') && answer.contains("{\"error\":"), "{answer}");
    for both in [format!("Content-Length: 7\r\n{chunked}"), format!("{chunked}Content-Length: 7\r\n")] {
        let answer = ask(&both, b"7\r\n[\"dog\"]\r\n0\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("found both"), "{both:?}: {answer}");
    }
    assert_eq!(names(&session.get("/api/words").json()), ["sky"]);
    let flood: Vec<_> = (0..300).map(|_| session.send("PATCH", "/api/words/nobody", &json!({ "on": true })).status).collect();
    assert!(flood.contains(&429) && flood.contains(&404), "{flood:?}");

    // Beyond this machine only with a token, and with a good one.
    fs::write(folder.path().join("short"), "short").unwrap();
    for (arguments, said) in [
        (["--http", "0.0.0.0:0", "--frames", "1"], "--http-token-file"),
        (["--http", "[::]:0", "--frames", "1"], "--http-token-file"),
        (["--http", "127.0.0.1:0", "--http-token-file", "short"], "16 to 512"),
        (["--http", "127.0.0.1:0", "--http-token-file", "none"], "none"),
        (["--http-clients", "9", "--frames", "1"], "--http-clients needs --http"),
    ] {
        let ended = edge_seg(folder.path(), &[&["run"], &TEST[..4], &arguments, &["--size", "96"]].concat());
        assert_eq!(ended.code, 2, "{arguments:?}");
        assert!(ended.stderr.contains(said), "{arguments:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
}

#[test]
fn clients_that_sleep_hold_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = Session::start(folder.path(), &[TEST.as_slice(), &["--http-clients", "8"]].concat());
    session.report(1);
    let address = session.address;
    let open = |request: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    // Streams that nobody reads, and requests that never end.
    let host = format!("Host: {}\r\n", session.address);
    let mut sleepers: Vec<_> = (0..3).map(|_| open(&format!("GET /api/stream.mjpeg?masks=true HTTP/1.1\r\n{host}\r\n"))).collect();
    sleepers.extend(
        (0..2).map(|_| open(&format!("PUT /api/words HTTP/1.1\r\n{host}Content-Type: application/json\r\nContent-Length: 999\r\n\r\n["))),
    );
    sleepers.push(open("GET /api/wo"));
    let count = |s: &Session| s.get("/api/report").json()["count"].as_u64().unwrap();
    let before = count(&session);
    std::thread::sleep(Duration::from_secs(3));
    assert!(count(&session) > before, "frames go on");
    assert_eq!(session.get("/api/frame").status, 200);
    // The places are few: who comes when all are taken has that of the one that has been still for longest.
    sleepers.extend((0..4).map(|_| open("GET /api/wo")));
    std::thread::sleep(Duration::from_millis(300));
    let mut answer = String::new();
    let mut late = open(&format!("GET /api/status HTTP/1.1\r\n{host}Connection: close\r\n\r\n"));
    late.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let _ = late.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(sleepers);
    session.until("a place for a client", |s| s.try_get("/api/status").is_some_and(|answer| answer.status == 200));
}

#[test]
fn each_picture_of_the_stream_is_followed_by_the_next_ones_head() {
    let folder = tempfile::tempdir().unwrap();
    // After its last frame the source stands still.
    let mut child = Command::new(binary("edge-seg"));
    let pipe = ["run", "--source", "mjpeg:-", "--tags", "sky", "--size", "96", "--http", "127.0.0.1:0"];
    let mut child =
        child.current_dir(folder.path()).args(pipe).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(|line| line.unwrap());
    let said = said.find(|line| line.contains("http://")).unwrap();
    let address = said.split_once("http://").unwrap().1.trim_end_matches('/').to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /api/stream.mjpeg HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut frame = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(64, 48, image::Rgb([90; 3])).write_to(&mut frame, image::ImageFormat::Jpeg).unwrap();
    let mut input = child.stdin.take().unwrap();
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    let head = b"\r\n--edge-seg-frame-5b1f9c3e7a\r\nContent-Type: image/jpeg\r\n\r\n";
    let end = [&[0xff, 0xd9], head.as_slice()].concat();
    // A frame that comes before anybody asks is not kept, so there are some.
    input.write_all(frame.get_ref()).unwrap();
    let limit = Instant::now() + PATIENCE;
    while !seen.ends_with(&end) {
        assert!(Instant::now() < limit, "{}", String::from_utf8_lossy(&seen));
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        match stream.read(&mut buffer) {
            Ok(0) => panic!("closed: {}", String::from_utf8_lossy(&seen)),
            Ok(count) => seen.extend(&buffer[..count]),
            Err(_) => input.write_all(frame.get_ref()).unwrap(),
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn events_tell_of_frames_and_words() {
    let folder = tempfile::tempdir().unwrap();
    let session = Session::start(folder.path(), &TEST);
    let mut stream = TcpStream::connect(session.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /api/events HTTP/1.1\r\nHost: {}\r\n\r\n", session.address).unwrap();
    let mut lines = BufReader::new(stream).lines().map(|line| line.unwrap());
    let mut until = |kind: &str| -> Value {
        lines.find(|line| *line == format!("event: {kind}")).unwrap();
        serde_json::from_str(lines.next().unwrap().strip_prefix("data: ").unwrap()).unwrap()
    };
    assert_eq!(until("frame")["report"]["words_version"], 1);
    session.send("POST", "/api/words", &json!("dog"));
    assert_eq!(until("words"), json!({ "version": 2 }));
}

#[test]
fn recordings_start_stop_and_survive_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = Session::start(folder.path(), &[TEST.as_slice(), &["--recordings", "recordings"]].concat());
    let started = session.send("POST", "/api/recording", &json!({ "on": true, "format": "y4m" })).json();
    assert_eq!(started["recording"], true, "{started}");
    assert_eq!(session.send("POST", "/api/recording", &json!({ "on": true })).status, 422, "one at a time");
    session.until("recorded frames", |s| s.get("/api/recording").json()["frames"].as_u64() >= Some(5));
    session.send("POST", "/api/recording", &json!({ "on": false }));
    session.until("a whole file", |s| s.get("/api/recording").json()["whole"] == true);
    let video = fs::read(folder.path().join("recordings").join(started["name"].as_str().unwrap())).unwrap();
    assert!(video.starts_with(b"YUV4MPEG2 W160 H120 F20:1 "));
    let header = video.iter().position(|&b| b == b'\n').unwrap() + 1;
    assert_eq!((video.len() - header) % (6 + 3 * 160 * 120), 0, "whole frames");
    // A frame is repeated where the next one came late.
    let (told, held) = (session.get("/api/recording").json()["frames"].as_u64().unwrap(), (video.len() - header) / (6 + 3 * 160 * 120));
    assert!((5..=held as u64).contains(&told), "told after its end too: {told} frames, {held} in the file");

    let listed = |session: &Session| session.get("/api/recordings").json();
    assert_eq!(listed(&session), json!({ "recordings": [{ "name": started["name"], "bytes": video.len() }] }));
    let path = format!("/api/recordings/{}", started["name"].as_str().unwrap());
    let downloaded = session.get(&path);
    assert_eq!(downloaded.header("Content-Disposition"), format!("attachment; filename={}", started["name"]));
    assert!(downloaded.body == video, "{} bytes of {}", downloaded.body.len(), video.len());
    assert_eq!(session.get("/api/recordings/..%2F..%2Fetc%2Fpasswd").status, 404);
    let part = session.request("GET", &path, &[("Range", "bytes=9-15")], None);
    assert_eq!((part.status, part.header("Content-Range")), (206, &*format!("bytes 9-15/{}", video.len())));
    assert_eq!(part.body, video[9..16]);
    let behind = session.request("GET", &path, &[("Range", "bytes=999999999-")], None);
    assert_eq!((behind.status, behind.header("Content-Range")), (416, &*format!("bytes */{}", video.len())));
    let of_another = session.request("GET", &path, &[("Range", "bytes=9-15"), ("If-Range", "\"other\"")], None);
    assert_eq!((of_another.status, of_another.body.len()), (200, video.len()));

    session.send("POST", "/api/recording", &json!({ "on": true, "format": "y4m", "masks": false }));
    session.until("recorded frames", |s| s.get("/api/recording").json()["frames"].as_u64() >= Some(2));
    assert_eq!(listed(&session)["recordings"].as_array().unwrap().len(), 1, "what is not finished is not offered");
    session.signal("-TERM");
    let start = Instant::now();
    assert_eq!(session.child.wait().unwrap().code(), Some(0));
    eprintln!("it ended {:.2} s after the signal", start.elapsed().as_secs_f64());
    let files: Vec<_> = fs::read_dir(folder.path().join("recordings")).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(
        files.len() == 2 && files.iter().all(|f| f.extension().unwrap() == "y4m" && !f.to_string_lossy().contains("part")),
        "{files:?}"
    );
}

#[test]
fn a_configuration_is_followed_and_a_wrong_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edge-seg.toml");
    let base = "[input]\nsource = \"test:?size=160x120&fps=20\"\n[http]\naddress = \"127.0.0.1:0\"\n";
    let write = |rest: &str| fs::write(&file, format!("{base}{rest}")).unwrap();
    write("[words]\ntags = \"sky, dog\"\n");
    let mut session = Session::start(folder.path(), &["--config", "edge-seg.toml", "--background", "0.5"]);
    let words = session.get("/api/words").json();
    assert_eq!((names(&words), &words["background"]["threshold"]), (vec!["sky".to_owned(), "dog".into()], &json!(0.5)));
    session.send("PATCH", "/api/words/dog", &json!({ "threshold": 0.75 }));

    write("[words]\ntags = \"dog, grass\"\n[background]\nwords = \"wall\"\nthreshold = 0.1\n");
    session.until("other words", |s| names(&s.get("/api/words").json()) == ["dog", "grass"]);
    let words = session.get("/api/words").json();
    assert_eq!(words["words"][0]["threshold"], 0.75, "a word that stays keeps its settings");
    assert_eq!(words["background"], json!({ "threshold": 0.5, "words": ["wall"] }), "the flag wins");

    for (wrong, said) in [
        ("[words]\ntegs = \"sky\"\n", "did you mean `tags`?"),
        ("[words]\ntags = \"dog, Dog\"\n", "twice"),
        ("[words]\ntags = \"dog\"\n[pipeline]\nkey-interval = 0\n", "column 16, key-interval: expected"),
        ("[words\n", "line 5"),
    ] {
        session.said.lock().unwrap().clear();
        write(wrong);
        session.until_said("the configuration stays as it was");
        session.until_said(said);
        assert_eq!(names(&session.get("/api/words").json()), ["dog", "grass"]);
    }
    session.said.lock().unwrap().clear();
    write("[words]\ntags = \"moon\"\n[pipeline]\nkey-interval = 4\n");
    session.until_said("after a restart: pipeline.key-interval");
    assert_eq!(names(&session.get("/api/words").json()), ["moon"]);
    session.said.lock().unwrap().clear();
    session.signal("-HUP");
    session.until_said("the configuration is read again");

    let check = |text: &str| {
        fs::write(folder.path().join("other.toml"), text).unwrap();
        edge_seg(folder.path(), &["config", "check", "other.toml"])
    };
    assert_eq!(check("[input]\nsource = \"test:\"\n[words]\ntags = \"dog\"\n").code, 0);
    let missing = check("[input]\nsource = \"test:\"\n");
    let wanted = "other.toml: --tags, --tags-file: expected one of them, or --example, found neither; try: --tags \"person, dog\", or in a configuration";
    assert_eq!((missing.code, missing.stderr.contains(wanted)), (1, true), "{}", missing.stderr);
    let unknown = check("[input]\nsorce = \"test:\"\n");
    assert_eq!((unknown.code, unknown.stderr.contains("did you mean `source`?")), (1, true), "{}", unknown.stderr);
    let absent = edge_seg(folder.path(), &["config", "check", "no-such-file.toml"]);
    assert_eq!((absent.code, absent.stderr.contains("try: edge-seg config default > no-such-file.toml")), (2, true), "{}", absent.stderr);
    let printed = edge_seg(folder.path(), &["config", "default"]);
    assert_eq!((printed.code, printed.stdout.contains("#token-file = ")), (0, true), "{}", printed.stdout);
    let commented = check(&format!("{}\n", printed.stdout));
    assert!(
        commented.stderr.contains("source = \"v4l2:///dev/video0\" below [input]"),
        "nothing but what must be given is missing: {}",
        commented.stderr
    );
}

#[test]
fn the_service_manager_hears_of_the_first_frame_and_of_progress() {
    let folder = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let start = |source: &str| {
        Command::new(binary("edge-seg"))
            .current_dir(folder.path())
            .env("NOTIFY_SOCKET", folder.path().join("notify"))
            .env("WATCHDOG_USEC", "2000000")
            .args(["run", "--source", source, "--tags", "sky", "--size", "96", "--log-format", "json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let hear = || {
        let mut buffer = [0; 4096];
        socket.recv(&mut buffer).map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    let child = start("test:?size=64x48&fps=20");
    assert_eq!(hear().unwrap().trim(), "READY=1");
    for _ in 0..3 {
        let told = hear().unwrap();
        assert!(told.contains("WATCHDOG=1") && told.contains("frames"), "{told}");
    }
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success());
    for line in String::from_utf8_lossy(&ended.stderr).lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(line["message"].is_string() && line["level"].is_string(), "{line}");
    }
    loop {
        if hear().unwrap().trim() == "STOPPING=1" {
            break;
        }
    }

    // Without a frame it is not ready, however long it runs.
    let mut child = start("mjpeg:-");
    socket.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
    let told = hear();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(told.is_err(), "{told:?}");
}

#[test]
fn a_signal_ends_it_while_the_model_loads() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(binary("edge-seg"))
        .current_dir(folder.path())
        .args(["run", "--source", "test:", "--tags", "sky", "--log", "debug"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It says that it loads after its signal handlers stand.
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    said.find(|line| line.as_ref().unwrap().contains("loading the model")).unwrap().unwrap();
    let start = Instant::now();
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    eprintln!("it ended {:.2} s after the signal", start.elapsed().as_secs_f64());
    assert!(BufReader::new(child.stdout.take().unwrap()).lines().next().is_none(), "no frame was segmented");
}
