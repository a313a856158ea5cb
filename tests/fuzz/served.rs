//! What comes over the network: requests to the page, a broker's packets, cameras, and fleets' files.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use edge_seg_bundle::text::hidden;
use edge_seg_fw::fleet::Fleet;
use edge_seg_live::page::{About, Hub, ServeOptions, answer_in_memory};
use edge_seg_live::sinks::mqtt::receive_packets;
use edge_seg_live::source::{count_pictures, decode_h264};
use edge_seg_live::words::{Control, WordSpec, Words};
use edge_seg_model::Background;
use serde_json::Value;

use super::models::SESSION;
use super::{all, chosen, said, text};

/// One word that is looked for.
fn control() -> Control {
    let words = Words::new(SESSION.clone(), vec![WordSpec::new("dog")], Vec::new(), Background::None).expect("a word");
    Control { words: Arc::new(words), sets: None, stop: Arc::default() }
}

pub fn http(bytes: &[u8]) {
    let about = About { source: "test:".into(), program: "fuzz 1".into(), stall: Duration::from_secs(5) };
    let hub = Hub::new(about, SESSION.clone(), control(), Arc::default(), Arc::default(), None);
    let options = ServeOptions::at(([127, 0, 0, 1], 80).into());
    let answers = said(answer_in_memory(&options, hub, bytes)).expect("a runtime");
    let Some(ends) = answers.windows(4).position(|end| end == b"\r\n\r\n") else {
        assert!(answers.is_empty(), "{:?}", String::from_utf8_lossy(&answers));
        return;
    };
    let head = std::str::from_utf8(&answers[..ends]).expect("a head of text");
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse::<u16>().ok());
    assert!(status.is_some_and(|status| (100..600).contains(&status) && status != 500), "{head:?}");
    assert!(!head.lines().any(|line| line.chars().any(char::is_control)), "{head:?}");
    let header = |name: &str| head.lines().filter_map(|line| line.split_once(": ")).find(|(key, _)| *key == name).map(|(_, value)| value);
    let length = header("content-length").and_then(|length| length.parse::<usize>().ok());
    // None follows what is asked by HEAD.
    let body = length.and_then(|length| answers.get(ends + 4..)?.get(..length)).filter(|body| !body.starts_with(b"HTTP/1."));
    if let Some(body) = body.filter(|body| !body.is_empty() && header("content-type") == Some("application/json")) {
        let answer: Value = serde_json::from_slice(body).expect("JSON");
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(hidden(error).all(|(_, c)| c == '\n'), "a hidden character in an answer: {error:?}");
    }
}

pub fn http_seeds() -> Vec<Vec<u8>> {
    let sends = |method: &str, path: &str, body: &str| {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{kind}Content-Length: {}\r\n\r\n{body}", body.len())
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n");
    let requests = [
        get("/") + &get("/api/status"),
        get("/api/words") + &get("/healthz"),
        get("/api/timeline?minutes=5") + &get("/metrics"),
        get("/api/search?words=dog&count=3"),
        get("/api/sets") + &get("/api/recordings"),
        sends("PUT", "/api/words", r##"[{"name": "sea", "synonyms": ["dog"], "threshold": 0.4, "colour": "#ff0000", "on": true}]"##),
        sends("POST", "/api/words", r#""sea""#) + &get("/api/words"),
        sends("PATCH", "/api/words/dog", r##"{"threshold": 0.5, "colour": "#00ff00", "on": false}"##),
        sends("DELETE", "/api/words/dog", ""),
        sends("PATCH", "/api/background", r#"{"threshold": 0.3, "words": ["sea"]}"#),
        sends("POST", "/api/hide", r#"{"words": "dog"}"#),
        sends("PUT", "/api/sets/a", "") + &sends("POST", "/api/recording", r#"{"record": true}"#),
        "POST /api/words HTTP/1.1\r\nHost: [::1]\r\nOrigin: http://[::1]\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\n\"sea\"\r\n0\r\n\r\n"
            .into(),
        "HEAD / HTTP/1.0\r\nHost: localhost\r\nAuthorization: Basic YTpi\r\nConnection: close\r\n\r\n".into(),
    ];
    requests.map(String::into_bytes).into()
}

pub fn mqtt(bytes: &[u8]) {
    let (commands, told) = receive_packets(bytes.to_vec());
    let control = control();
    for line in commands {
        let json = line.starts_with(['[', '{']);
        assert!(json || !line.contains(char::is_control), "{line:?}");
        said(control.execute(&line));
    }
    assert!(!control.stop.load(std::sync::atomic::Ordering::Relaxed), "a broker ends no session");
    for message in told.iter().filter(|message| message.starts_with(b"{")) {
        serde_json::from_slice::<Value>(message).expect("JSON");
    }
}

pub fn mqtt_seeds() -> Vec<Vec<u8>> {
    let publish = |flags: u8, topic: &str, payload: &str| {
        let length = 2 + topic.len() + payload.len();
        assert!(length < 128, "one byte tells the length");
        [&[0x30 | flags, length as u8, 0, topic.len() as u8], topic.as_bytes(), payload.as_bytes()].concat()
    };
    let command = |payload: &str| publish(0, "edge-seg/a/command", payload);
    vec![
        [publish(0, "edge-seg/a/words/set", "dog, sea: fire"), command("off dog"), command("threshold 0.4 sea")].concat(),
        [publish(0, "edge-seg/a/words/add", "sea"), publish(0, "edge-seg/a/words/remove", "dog"), command("quit")].concat(),
        [command("background none"), command("colour #ff0000 dog"), command("load night")].concat(),
        command(r#"[{"name": "sea", "threshold": 0.4}]"#),
        [publish(1, "edge-seg/a/command", "tags sea"), publish(0, "edge-seg/a/run", "2"), publish(0, "homeassistant/status", "online")]
            .concat(),
        publish(1, "homeassistant/sensor/a/x/config", "{}"),
    ]
}

/// A camera that sends the same bytes to its first client, whatever it is asked, and lets all others go in peace.
struct Camera {
    address: SocketAddr,
    sends: Arc<Mutex<Option<Vec<u8>>>>,
}

static CAMERA: LazyLock<Camera> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let camera = Camera { address: listener.local_addr().expect("an address"), sends: Arc::default() };
    let sends = camera.sends.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let bytes = sends.lock().expect("what to send").take();
            std::thread::spawn(move || serve(client, bytes));
        }
    });
    camera
});

fn serve(mut client: TcpStream, bytes: Option<Vec<u8>>) {
    let _ = client.set_read_timeout(Some(Duration::from_secs(2)));
    let mut asked = Vec::new();
    if let Some(bytes) = bytes {
        let _ = client.write_all(&bytes).and_then(|()| client.shutdown(std::net::Shutdown::Write));
        let _ = client.read_to_end(&mut asked);
        return;
    }
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        asked.extend_from_slice(&buffer[..count]);
        let Some(ends) = asked.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&asked[..ends]).into_owned();
        let number = head.lines().find_map(|line| line.strip_prefix("CSeq: ")).unwrap_or("1");
        if client.write_all(format!("RTSP/1.0 200 OK\r\nCSeq: {number}\r\n\r\n").as_bytes()).is_err() {
            return;
        }
        asked.drain(..ends + 4);
    }
}

/// All that a camera sends over one connection: its answers, and its video behind them.
pub fn camera(bytes: &[u8]) {
    let Some((kind, bytes)) = super::choice(bytes, &["rtsp://", "rtsp://me:secret@", "http://", "http://me:secret@"]) else { return };
    // It must not have this machine send anything to another.
    let lower = bytes.to_ascii_lowercase();
    if [b"location".as_slice(), b"source", b"destination"].iter().any(|name| lower.windows(name.len()).any(|at| at == *name)) {
        return;
    }
    *CAMERA.sends.lock().expect("what to send") = Some(bytes);
    said(count_pictures(&format!("{kind}{}/live", CAMERA.address), 4));
}

/// A clip of three pictures, 32 × 16 pixels, by x264.
const CLIP: &[u8] = include_bytes!("clip.h264");

/// Bytes of an interleaved packet of RTP.
fn rtp(kind: u8, number: u8, last: bool, payload: &[u8]) -> Vec<u8> {
    let head = [0x80, kind | u8::from(last) << 7, 0, number, 0, 0, 0x10, 0, 0, 0, 0, 1];
    let length = ((head.len() + payload.len()) as u16).to_be_bytes();
    [b"$\0".as_slice(), &length, &head, payload].concat()
}

fn session(kind: u8, encoding: &str, packets: &[Vec<u8>]) -> Vec<u8> {
    let media = format!("m=video 0 RTP/AVP {kind}\r\na=rtpmap:{kind} {encoding}/90000\r\na=framerate:25\r\na=control:trackID=0\r\n");
    let sdp = format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\na=control:*\r\n{media}");
    let answer = |number: u8, more: &str, body: &str| format!("RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{more}\r\n{body}");
    let described = answer(1, &format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n", sdp.len()), &sdp);
    let set_up = answer(2, "Session: 7;timeout=60\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=00000001\r\n", "");
    let plays = answer(3, "Session: 7\r\nRTP-Info: url=trackID=0;seq=0;rtptime=4096\r\n", "");
    [described.as_bytes(), set_up.as_bytes(), plays.as_bytes(), &packets.concat()].concat()
}

pub fn camera_seeds() -> Vec<Vec<u8>> {
    // The units of the first picture, without their start codes: those of three bytes and of four.
    let first = &CLIP[6..CLIP.windows(5).skip(1).position(|at| at == [0, 0, 0, 1, 9]).expect("a second picture") + 1];
    let text: Vec<&[u8]> = vec![&first[4..27], &first[31..38], &first[41..]];
    let units: Vec<Vec<u8>> = (0..).zip(&text).map(|(number, unit)| rtp(96, number, usize::from(number) + 1 == text.len(), unit)).collect();
    let parts: Vec<Vec<u8>> = vec![
        rtp(96, 0, false, &[&[0x78, 0, 23], text[0], &[0, 7], text[1]].concat()),
        rtp(96, 1, false, &[&[0x7c, 0x85], &text[2][1..100]].concat()),
        rtp(96, 2, true, &[&[0x7c, 0x45], &text[2][100..]].concat()),
    ];
    let jpeg = rtp(26, 0, true, &[&[0, 0, 0, 0, 1, 60, 4, 2], [0x55; 60].as_slice()].concat());
    let refused = "RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\nWWW-Authenticate: Digest realm=\"a\", nonce=\"b\", stale=true\r\n\r\n";
    let picture = super::encoded(&super::rgb(), image::ImageFormat::Jpeg);
    let multipart = "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n--b\r\nContent-Type: image/jpeg\r\n\r\n";
    chosen(&[
        (0, &session(96, "H264", &units)),
        (0, &session(96, "H264", &parts)),
        (0, &session(26, "JPEG", &[jpeg])),
        (1, refused.as_bytes()),
        (0, b"RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n"),
        (2, &[multipart.as_bytes(), &picture, b"\r\n--b--\r\n"].concat()),
        (3, b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"a\"\r\nContent-Length: 0\r\n\r\n"),
    ])
}

pub fn h264(bytes: &[u8]) {
    said(decode_h264(bytes, |frame| assert!(frame.pixels.width() > 0 && frame.pixels.height() > 0, "an empty frame")));
}

pub fn h264_seeds() -> Vec<Vec<u8>> {
    vec![CLIP.to_vec()]
}

/// Configuration in TOML; that of `run` is tried beside its reader, which is the program's own.
pub fn fleet(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let read = Fleet::parse(text, Path::new("fleet"), Path::new("fleet.pause"));
    said(read.map_err(|error| format!("{error:#}")));
}

pub fn fleet_seeds() -> Vec<Vec<u8>> {
    all(&[
        "[[host]]\nname = \"door\"\nssh = \"me@door\"\ngroups = [\"a\"]\nmqtt-name = \"door\"\nset = { \"input.source\" = \"v4l2:///dev/video0\" }\n\n\
         [[host]]\nname = \"hall\"\n\n[group.a]\nwords = \"dog\"\n",
        "[[host]]\nname = \"a\"\n[rollout]\nphases = [\"1\", \"50%\", \"100%\"]\nwindows = [\"22:00-06:00\"]\njobs = 4\nretry-minutes = 5\n\n\
         [trial]\nstarts = 2\nframes = 10\nminutes = 1\n\n[ssh]\noptions = [\"-o\", \"ConnectTimeout=5\"]\nsudo = true\n",
    ])
}
