//! A real broker on the loopback address.

use super::*;

pub(crate) struct Mosquitto {
    pub(crate) port: u16,
    folder: std::path::PathBuf,
    process: Option<Running>,
}

impl Mosquitto {
    pub(crate) fn start(folder: &Path, extra: &str) -> Self {
        let port = free_port();
        fs::write(folder.join("mosquitto.conf"), format!("listener {port} 127.0.0.1\n{extra}\n")).unwrap();
        let mut broker = Self { port, folder: folder.into(), process: None };
        broker.up();
        broker
    }

    fn up(&mut self) {
        let mut command = Command::new("mosquitto");
        let log = fs::File::create(self.folder.join("mosquitto.log")).unwrap();
        command.arg("-c").arg(self.folder.join("mosquitto.conf")).stdout(Stdio::null()).stderr(log);
        self.process = Some(Running::start(&mut command));
        wait("the broker", || TcpStream::connect(("127.0.0.1", self.port)).ok());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("mosquitto.log")).unwrap()
    }

    fn down(&mut self) {
        self.process = None;
    }
}

/// Everything that a broker hands out: whether it was retained, topic, payload.
#[derive(Clone, Default)]
pub(crate) struct Heard(pub(crate) Arc<Mutex<Vec<(bool, String, String)>>>);

impl Heard {
    pub(crate) fn listen(port: u16, more: &[&str]) -> (Self, Running) {
        let heard = Self::default();
        let mut child = Running::start(
            Command::new("mosquitto_sub")
                .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", "#", "-F", "%r\t%t\t%p"])
                .args(more)
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        );
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let kept = heard.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut parts = line.splitn(3, '\t').map(str::to_owned);
                if let (Some(retained), Some(topic), Some(payload)) = (parts.next(), parts.next(), parts.next()) {
                    kept.0.lock().unwrap().push((retained == "1", topic, payload));
                }
            }
        });
        // It listens once it hears something.
        wait("the listener", || {
            publish(port, "probe", "x", more);
            heard.last("probe")
        });
        (heard, child)
    }

    fn last(&self, topic: &str) -> Option<String> {
        self.0.lock().unwrap().iter().rev().find(|(_, t, _)| t == topic).map(|(_, _, payload)| payload.clone())
    }

    fn wait(&self, topic: &str, what: impl Fn(&str) -> bool) -> String {
        wait(topic, || self.last(topic).filter(|payload| what(payload)))
    }

    fn json(&self, topic: &str, what: impl Fn(&Value) -> bool) -> Value {
        wait(topic, || self.last(topic).and_then(|p| serde_json::from_str(&p).ok()).filter(|v| what(v)))
    }

    fn forget(&self) {
        self.0.lock().unwrap().clear();
    }
}

fn publish(port: u16, topic: &str, payload: &str, more: &[&str]) {
    let arguments = ["-h", "127.0.0.1", "-p", &port.to_string(), "-t", topic, "-m", payload];
    let sent = Command::new("mosquitto_pub").args(arguments).args(more).status().unwrap();
    assert!(sent.success(), "{topic}");
}

fn camera(folder: &Path, arguments: &[&str]) -> Running {
    Running::start(
        Command::new(binary("edge-seg"))
            .current_dir(folder)
            .args(["run", "--source", "test:?size=64x48&fps=10", "--mqtt-name", "cam", "--mqtt-interval", "0.2"])
            .args(arguments)
            .args(SIZE)
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )
}

const RULES: &str = "[[zone]]\nname = \"left\"\npoints = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]\n\
    [[line]]\nname = \"gate\"\npoints = [[0.5, 0], [0.5, 1]]\n[[rule]]\nname = \"Sky!\"\nwhen = { word = \"sky\", score_above = 0 }\nfor_s = 0.3\n";

#[test]
fn a_broker_gets_documents_states_and_events_and_changes_words() {
    if !need_program("mosquitto") || !need_program("mosquitto_sub") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(folder.path(), "allow_anonymous true");
    // Left by an earlier run, and by another camera.
    publish(broker.port, "homeassistant/sensor/cam/horse_share/config", "{}", &["-r"]);
    publish(broker.port, "homeassistant/sensor/other/horse_share/config", "{}", &["-r"]);
    let (heard, _listener) = Heard::listen(broker.port, &[]);
    fs::write(folder.path().join("rules.toml"), RULES).unwrap();
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    let more = ["--tags", "sky, traffic light", "--things", "sky", "--mqtt", &url, "--rules", "rules.toml"];
    let mut camera = camera(folder.path(), &more);

    assert_eq!(heard.wait("edge-seg/cam/availability", |p| p == "online"), "online");
    assert_eq!(heard.wait("edge-seg/cam/words", |_| true), "sky, traffic light");
    let state = heard.json("edge-seg/cam/state", |s| s["frame_rate"].as_f64() > Some(0.0));
    assert_eq!(state["words"]["traffic_light"]["name"], "traffic light");
    assert!(["ON", "OFF"].contains(&state["words"]["sky"]["present"].as_str().unwrap()), "{state}");
    assert!(state["words"]["sky"]["score"].as_f64().is_some_and(|s| (0.0..=1.0).contains(&s)), "{state}");
    assert!(state["words"]["sky"]["count"].is_u64() && state["words"]["traffic_light"].get("count").is_none(), "{state}");
    assert!(state["zones"]["left"]["sky"]["entered"].is_u64() && state["lines"]["gate"]["sky"]["to_left"].is_u64(), "{state}");
    schema::check("mqtt-state", &state);
    let event = heard.json("edge-seg/cam/event", |_| true);
    schema::check("event", &event);
    assert_eq!((event["version"].as_u64(), event["rule"].as_str(), event["event"].as_str()), (Some(1), Some("Sky!"), Some("started")));
    let documents = documents(&heard);
    for topic in [
        "sensor/cam/sky_share",
        "sensor/cam/sky_count",
        "sensor/cam/zone_left_sky_entered",
        "sensor/cam/line_gate_sky_to_left",
        "binary_sensor/cam/traffic_light_present",
        "text/cam/words",
        "event/cam/rules",
        "sensor/cam/latency",
    ] {
        assert!(documents.iter().any(|(t, _)| t == topic), "{topic}");
    }
    for (topic, document) in &documents {
        check_document(topic, document);
    }
    let rule = documents.iter().find(|(topic, _)| topic.starts_with("binary_sensor/cam/rule_sky_")).expect("the rule's own");
    assert_eq!(heard.wait(rule.1["state_topic"].as_str().unwrap(), |p| p == "ON"), "ON");
    heard.wait("homeassistant/sensor/cam/horse_share/config", |p| p.is_empty());
    assert_eq!(heard.last("homeassistant/sensor/other/horse_share/config").as_deref(), Some("{}"), "others' documents stay");

    // Other rules while it runs: the one before leaves nothing behind, not its state either.
    fs::write(folder.path().join("rules.toml"), RULES.replace("Sky!", "blue")).unwrap();
    heard.wait("edge-seg/cam/rule/blue", |p| p == "ON");
    heard.wait(rule.1["state_topic"].as_str().unwrap(), |p| p.is_empty());
    heard.wait(&format!("homeassistant/{}/config", rule.0), |p| p.is_empty());
    wait("the old rule's end", || {
        let all = heard.0.lock().unwrap();
        let events = all.iter().filter(|(_, topic, _)| topic == "edge-seg/cam/event");
        let ended = |event: &Value| event["rule"] == "Sky!" && event["event"] == "ended" && event["duration_ms"].as_f64() >= Some(300.0);
        events.filter_map(|(_, _, payload)| serde_json::from_str(payload).ok()).find(ended)
    });

    // Through the command topics, as Home Assistant's text field does it.
    publish(broker.port, "edge-seg/cam/words/set", "dog, grass", &[]);
    heard.wait("edge-seg/cam/words", |p| p == "dog, grass");
    heard.wait("homeassistant/sensor/cam/dog_share/config", |p| p.contains("dog share"));
    heard.wait("homeassistant/sensor/cam/sky_share/config", |p| p.is_empty());
    heard.json("edge-seg/cam/state", |s| s["words"].get("dog").is_some() && s["words"].get("sky").is_none());
    publish(broker.port, "edge-seg/cam/words/add", "sky", &[]);
    heard.wait("edge-seg/cam/words", |p| p == "dog, grass, sky");
    publish(broker.port, "edge-seg/cam/words/remove", "grass", &[]);
    heard.wait("edge-seg/cam/words", |p| p == "dog, sky");
    publish(broker.port, "edge-seg/cam/command", "threshold 0.9 dog", &[]);
    for (topic, payload, complaint) in [
        ("edge-seg/cam/words/remove", "horse", "horse"),
        ("edge-seg/cam/words/set", " , ", "one word or more"),
        ("edge-seg/cam/words/set", "[{\"nome\": 1}]", "a JSON list of words"),
        ("edge-seg/cam/command", "quit", "ends no session"),
    ] {
        publish(broker.port, topic, payload, &[]);
        let error = heard.json("edge-seg/cam/error", |e| e["error"].as_str().is_some_and(|e| e.contains(complaint)));
        schema::check("mqtt-error", &error);
    }
    // A retained command would come back after every reconnection.
    publish(broker.port, "edge-seg/cam/words/set", "horse", &["-r"]);
    heard.wait("edge-seg/cam/words", |p| p == "horse");

    // Whoever starts again is told everything again.
    heard.forget();
    publish(broker.port, "homeassistant/status", "online", &[]);
    heard.wait("homeassistant/sensor/cam/horse_share/config", |p| p.contains("horse share"));

    camera.signal("-TERM");
    let start = Instant::now();
    assert_eq!(camera.0.wait().unwrap().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(15));
    heard.wait("edge-seg/cam/availability", |p| p == "offline");
}

/// The retained documents by component, node and object.
fn documents(heard: &Heard) -> Vec<(String, Value)> {
    let all = heard.0.lock().unwrap().clone();
    let mut found: Vec<(String, Value)> = Vec::new();
    for (_, topic, payload) in all {
        if let Some(short) = topic.strip_prefix("homeassistant/").and_then(|t| t.strip_suffix("/config"))
            && short.contains("/cam/")
            && let Ok(document @ Value::Object(_)) = serde_json::from_str(&payload)
            && document.get("unique_id").is_some()
        {
            found.retain(|(t, _)| t != short);
            found.push((short.into(), document));
        }
    }
    found
}

/// Keys that Home Assistant's MQTT integration takes of each component, as far as we write them; it overlooks others in silence.
fn check_document(topic: &str, document: &Value) {
    let common =
        ["name", "unique_id", "availability_topic", "device", "origin", "icon", "entity_category", "state_topic", "value_template"];
    let own: &[&str] = match topic.split('/').next().unwrap() {
        "sensor" => &["unit_of_measurement", "state_class", "expire_after"],
        "binary_sensor" => &["payload_on", "payload_off", "expire_after"],
        "event" => &["event_types"],
        "text" => &["command_topic", "max"],
        other => panic!("{other}: no component"),
    };
    for key in document.as_object().unwrap().keys() {
        assert!(common.contains(&key.as_str()) || own.contains(&key.as_str()), "{topic}: {key}");
    }
    let device: Vec<_> = document["device"].as_object().unwrap().keys().map(String::as_str).collect();
    assert!(device.iter().all(|k| ["identifiers", "name", "manufacturer", "model", "sw_version"].contains(k)), "{device:?}");
    assert!(document["state_topic"].as_str().unwrap().starts_with("edge-seg/cam/"), "{topic}");
    assert_eq!(document["availability_topic"], "edge-seg/cam/availability");
}

#[test]
fn a_camera_that_dies_is_offline_and_a_broker_that_dies_is_found_again() {
    if !need_program("mosquitto") || !need_program("mosquitto_sub") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Mosquitto::start(folder.path(), "allow_anonymous true");
    fs::write(folder.path().join("rules.toml"), "[[rule]]\nname = \"dog\"\nwhen = { word = \"dog\", score_above = 0 }\nend_after_s = 0\n")
        .unwrap();
    fs::write(folder.path().join("words.txt"), "sky\n").unwrap();
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    let mut camera = camera(folder.path(), &["--tags-file", "words.txt", "--mqtt", &url, "--rules", "rules.toml"]);
    let (heard, listener) = Heard::listen(broker.port, &[]);
    heard.wait("edge-seg/cam/availability", |p| p == "online");
    heard.json("edge-seg/cam/state", |_| true);

    // The broker goes away and forgets everything, since it keeps nothing on disk; meanwhile a rule starts.
    drop(listener);
    broker.down();
    fs::write(folder.path().join("words.txt"), "dog\nsky\n").unwrap();
    std::thread::sleep(Duration::from_secs(5));
    // Events are not retained: it must not come back before somebody listens.
    camera.signal("-STOP");
    broker.up();
    let (heard, _listener) = Heard::listen(broker.port, &[]);
    camera.signal("-CONT");
    heard.wait("edge-seg/cam/availability", |p| p == "online");
    heard.wait("edge-seg/cam/words", |p| p == "dog, sky");
    heard.json("homeassistant/sensor/cam/dog_share/config", |d| d["unique_id"] == "edge_seg_cam_dog_share");
    let event = heard.json("edge-seg/cam/event", |_| true);
    assert_eq!((event["rule"].as_str(), event["event"].as_str()), (Some("dog"), Some("started")), "what happened meanwhile is told");
    heard.json("edge-seg/cam/state", |s| s["words"].get("dog").is_some());
    assert_eq!(camera.0.try_wait().unwrap(), None, "it runs on");

    camera.signal("-KILL");
    heard.wait("edge-seg/cam/availability", |p| p == "offline");
}

#[test]
fn tls_and_passwords_keep_strangers_out() {
    if !["mosquitto", "mosquitto_sub", "mosquitto_passwd", "openssl"].iter().all(|p| need_program(p)) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let sh = |script: &str| {
        let made = Command::new("sh").current_dir(folder.path()).args(["-ec", script]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for (name, other) in [("ca", ""), ("stranger", "")] {
        sh(&format!("openssl req -x509 {key} -keyout {name}.key -out {name}.pem -days 2 -subj /CN=edge-seg-test-{name}{other}"));
    }
    sh(&format!(
        "openssl req {key} -keyout server.key -out server.csr -subj /CN=localhost
        printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\n' > san
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.pem
        mosquitto_passwd -b -c passwords cam right
        chmod 644 server.key passwords; chmod 755 ."
    ));
    let at = |file: &str| folder.path().join(file).display().to_string();
    let settings = format!(
        "allow_anonymous false\npassword_file {}\ncafile {}\ncertfile {}\nkeyfile {}",
        at("passwords"),
        at("ca.pem"),
        at("server.pem"),
        at("server.key")
    );
    let broker = Mosquitto::start(folder.path(), &settings);
    let login = ["--cafile", &at("ca.pem"), "-u", "cam", "-P", "right"];
    let (heard, _listener) = Heard::listen(broker.port, &login);
    fs::write(folder.path().join("password"), "right\n").unwrap();
    fs::write(folder.path().join("wrong"), "wrong\n").unwrap();
    let url = format!("mqtts://127.0.0.1:{}", broker.port);
    let plain = format!("mqtt://127.0.0.1:{}", broker.port);
    let user = ["--tags", "sky", "--mqtt-user", "cam"];
    for wrong in [
        &["--mqtt", &url, "--mqtt-password-file", "wrong", "--mqtt-ca", "ca.pem"][..],
        &["--mqtt", &url, "--mqtt-password-file", "password", "--mqtt-ca", "stranger.pem"],
        &["--mqtt", &plain, "--mqtt-password-file", "password"],
    ] {
        let before = broker.log().len();
        let mut camera = camera(folder.path(), &[&user, wrong].concat());
        wait("the refusal", || {
            broker.log()[before..].lines().find(|l| l.contains("not authorised") || l.contains("SSL routines")).map(|_| ())
        });
        assert_eq!(camera.0.try_wait().unwrap(), None, "a broker that refuses does not end it");
        assert_eq!(heard.last("edge-seg/cam/availability"), None, "{wrong:?}");
    }
    let _camera =
        camera(folder.path(), &[&user, ["--mqtt", &url, "--mqtt-password-file", "password", "--mqtt-ca", "ca.pem"].as_slice()].concat());
    heard.wait("edge-seg/cam/availability", |p| p == "online");
    heard.json("edge-seg/cam/state", |s| s["words"].get("sky").is_some());
    publish(broker.port, "edge-seg/cam/words/set", "dog", &login);
    heard.wait("edge-seg/cam/words", |p| p == "dog");
}
