use std::cell::RefCell;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use rumqttc::{
    AsyncClient, Event, LastWill, MqttOptions as Settings, Packet, Publish, PublishOptions, QoS, SubscribeFilter, TlsConfiguration,
    Transport,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::watch;

use edge_seg_model::text::shown_line;

use super::MqttOptions;
use super::outbox::{Kind, Message, Outbox};
use crate::backoff::Backoff;
use crate::{Error, Result};

/// Where the broker is and how it is reached.
pub struct Broker {
    place: String,
    settings: Settings,
    /// Tells this run from others.
    run: String,
}

/// The topics that are listened to.
pub struct Topics {
    pub base: String,
    pub discovery: Option<String>,
    pub node: String,
}

/// Ends of the topics that commands come under, and the verb that each puts in front.
const COMMANDS: [(&str, &str); 4] = [("/words/set", "tags "), ("/words/add", "add "), ("/words/remove", "remove "), ("/command", "")];
/// End of the topic under which runs of one name meet.
const RUN: &str = "/run";
const MAX_OTHERS: usize = 64;
/// Commands that wait while words are encoded.
pub(super) const WAITING_COMMANDS: usize = 256;
const KEEP_ALIVE_S: u16 = 20;
/// Longest command that is obeyed.
const MAX_COMMAND_BYTES: usize = 64 << 10;
/// Longest message that is received: a longer one ends the connection, and a broker that keeps it sends it anew with each.
const MAX_INCOMING_BYTES: usize = 8 << 20;
/// A connection that lasts so long is a good one.
const STEADY: Duration = Duration::from_secs(3);
const MAX_OUTGOING_BYTES: usize = 1 << 20;
/// How often the outbox is looked at while there is no connection.
const LOOK: Duration = Duration::from_millis(500);
/// How long the last packet may take.
const GOODBYE: Duration = Duration::from_millis(300);
/// Where Debian, Fedora, Arch and Alpine keep the certificates that they trust.
const SYSTEM_CERTIFICATES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

impl Broker {
    pub fn new(options: &MqttOptions) -> Result<Self> {
        let (tls, host, port) = parse(&options.url)?;
        // A broker ends the connection of a client whose name another one brings, so two boards of one name have names of their own.
        let run = format!("{:08x}", RandomState::new().build_hasher().finish() as u32);
        let mut settings = Settings::new(format!("edge-seg-{}-{run}", options.node), (host, port));
        settings.set_keep_alive(KEEP_ALIVE_S).set_max_packet_size(MAX_INCOMING_BYTES, MAX_OUTGOING_BYTES);
        settings.set_last_will(LastWill::new(format!("edge-seg/{}/availability", options.node), "offline", QoS::AtLeastOnce, true));
        if let Some((user, password)) = &options.login {
            settings.set_credentials(user, password.clone());
        }
        if tls {
            settings.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(client_config(options.ca.as_deref())?))));
        } else if options.ca.is_some() {
            let expected = "mqtts:// beside it";
            return Err(Error::option("mqtt ca", expected, options.url.clone()));
        }
        Ok(Self { place: options.url.clone(), settings, run })
    }
}

/// TLS or not, host, port.
fn parse(url: &str) -> Result<(bool, String, u16)> {
    let wrong = |expected: &str, found: String| Err(Error::option("mqtt url", expected, found));
    if url.contains('@') {
        return wrong("mqtt://HOST, with the login beside it", "a login in the address".into());
    }
    let (tls, rest) = match (url.strip_prefix("mqtt://"), url.strip_prefix("mqtts://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => {
            let host = url.split_once("://").map_or(url, |(_, host)| host);
            return wrong("mqtt://HOST[:PORT] or mqtts://HOST[:PORT]", format!("{url}; try: mqtt://{host}"));
        }
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.find(']') {
        // An IPv6 address keeps its brackets, as whoever resolves it needs them.
        Some(end) => (&rest[..=end], rest[end + 1..].strip_prefix(':')),
        None => rest.rsplit_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = match port.map(str::parse::<u16>) {
        None if tls => 8883,
        None => 1883,
        Some(Ok(port)) if port > 0 => port,
        _ => return wrong("a port of 1 to 65535", url.into()),
    };
    if tls && host.starts_with('[') {
        return wrong("a host name or an IPv4 address with mqtts", url.into());
    }
    if host.is_empty() || host.contains(['/', '?', '#']) {
        return wrong("a host and no path", url.into());
    }
    Ok((tls, host.into(), port))
}

fn client_config(ca: Option<&Path>) -> Result<ClientConfig> {
    let path = match ca {
        Some(path) => path,
        None => SYSTEM_CERTIFICATES.iter().map(Path::new).find(|p| p.exists()).ok_or_else(|| Error::Sink {
            place: "mqtt".into(),
            found: format!("TLS needs certificates: expected one of {} or one of your own (ca)", SYSTEM_CERTIFICATES.join(", ")),
        })?,
    };
    let wrong = |found: String| Error::Sink { place: path.display().to_string(), found };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))? {
        roots.add(certificate.map_err(|e| wrong(e.to_string()))?).map_err(|e| wrong(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("expected certificates in PEM, found none".into()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|e| wrong(e.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// What both tasks know of the connection.
#[derive(Clone, Default)]
struct Link {
    client: Option<AsyncClient>,
    session: u64,
    acknowledged: u64,
}

/// Keeps a connection and sends what the outbox holds until that is closed.
pub fn run(broker: &Broker, outbox: &Arc<Outbox>, topics: &Topics, commands: &SyncSender<String>) -> std::result::Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let (sender, link) = watch::channel(Link::default());
    let tasks = tokio::task::LocalSet::new();
    runtime.block_on(tasks.run_until(async {
        let listener = Listener {
            place: broker.place.clone(),
            settings: broker.settings.clone(),
            run: broker.run.clone(),
            others: RefCell::default(),
            outbox: outbox.clone(),
            base: topics.base.clone(),
            discovery: topics.discovery.clone(),
            node: topics.node.clone(),
            commands: commands.clone(),
            link: sender,
        };
        let listening = tokio::task::spawn_local(listener.listen());
        feed(outbox, link).await;
        listening.abort();
    }));
    Ok(())
}

/// Sends one message after the other; each stays in the outbox until the broker has it.
async fn feed(outbox: &Outbox, mut link: watch::Receiver<Link>) {
    loop {
        let now = link.borrow_and_update().clone();
        let Some(client) = now.client else {
            if outbox.is_closing() {
                return;
            }
            // Closing wakes the outbox, a connection the link.
            let _ = tokio::time::timeout(LOOK, link.changed()).await;
            continue;
        };
        let Some(message) = outbox.next() else {
            if outbox.is_closing() {
                let _ = client.disconnect().await;
                let _ = tokio::time::timeout(GOODBYE, link.wait_for(|l| l.client.is_none())).await;
                return;
            }
            outbox.changed.notified().await;
            continue;
        };
        let Message { topic, payload, kind } = message.clone();
        let quality = if kind == Kind::Latest { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        if client.publish(topic, payload, PublishOptions::new(quality).retain(kind == Kind::Retained)).await.is_err() {
            let _ = link.wait_for(|l| l.session != now.session || l.client.is_none()).await;
            continue;
        }
        if kind != Kind::Latest {
            let known = link.wait_for(|l| l.session != now.session || l.client.is_none() || l.acknowledged > now.acknowledged).await;
            match known {
                Ok(l) if l.session == now.session && l.acknowledged > now.acknowledged => {}
                _ => continue,
            }
        }
        outbox.sent(&message);
    }
}

struct Listener {
    place: String,
    settings: Settings,
    run: String,
    /// Other runs of the same name that were told of.
    others: RefCell<BTreeSet<Vec<u8>>>,
    outbox: Arc<Outbox>,
    base: String,
    discovery: Option<String>,
    node: String,
    commands: SyncSender<String>,
    link: watch::Sender<Link>,
}

impl Listener {
    /// Each connection has a client of its own: what an earlier one had under way comes again from the outbox, and from nowhere else.
    async fn listen(self) {
        let (mut pauses, mut told) = (Backoff::default(), false);
        loop {
            let mut since: Option<Instant> = None;
            let (client, mut events) = AsyncClient::builder(self.settings.clone()).capacity(8).build();
            let why = loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        tracing::info!("{}: connected", self.place);
                        since = Some(Instant::now());
                        told = false;
                        self.outbox.send_retained_again();
                        self.outbox.keep(format!("{}{RUN}", self.base), self.run.clone().into());
                        let _ = client.try_subscribe_many(self.filters());
                        self.link.send_modify(|l| {
                            (l.client, l.session, l.acknowledged) = (Some(client.clone()), l.session + 1, 0);
                        });
                    }
                    Ok(Event::Incoming(Packet::PubAck(_))) => self.link.send_modify(|l| l.acknowledged += 1),
                    Ok(Event::Incoming(Packet::Publish(message))) => self.obey(&message),
                    Ok(_) => {}
                    Err(e) => break e,
                }
            };
            drop((client, events));
            self.link.send_modify(|l| l.client = None);
            if self.outbox.is_closing() {
                return;
            }
            // What ends each connection soon after its beginning, such as a message that the broker keeps, is not met twice a second.
            if since.is_some_and(|since| since.elapsed() >= STEADY) {
                pauses.reset();
            }
            let pause = pauses.pause();
            if !told {
                let mut why = why.to_string();
                if why.contains("size limit exceeded") {
                    let under = format!("{0}/words/…, {0}/command or {0}/run", self.base);
                    why =
                        format!("a message of more than {MAX_INCOMING_BYTES} bytes under {under}: clear it (mosquitto_pub -r -n -t TOPIC)");
                }
                tracing::warn!("{}: {why}; connecting again in {:.1} s", self.place, pause.as_secs_f64());
                told = true;
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn filters(&self) -> Vec<SubscribeFilter> {
        let mut topics: Vec<String> = COMMANDS.iter().map(|(end, _)| format!("{}{end}", self.base)).collect();
        topics.push(format!("{}{RUN}", self.base));
        if let Some(prefix) = &self.discovery {
            topics.extend([format!("{prefix}/status"), format!("{prefix}/+/{}/+/config", self.node)]);
        }
        topics.into_iter().map(|path| SubscribeFilter { path, qos: QoS::AtLeastOnce }).collect()
    }

    /// Another run under the same name is told of, and is answered so that it can tell as well.
    fn meet(&self, other: &[u8]) {
        let mut others = self.others.borrow_mut();
        if other == self.run.as_bytes() || others.len() >= MAX_OTHERS || !others.insert(other.to_vec()) {
            return;
        }
        tracing::warn!("{}: the name {} is taken: another run uses it too; each needs one of its own", self.place, self.node);
        self.outbox.keep(format!("{}{RUN}", self.base), self.run.clone().into());
    }

    fn obey(&self, message: &Publish) {
        let Ok(topic) = std::str::from_utf8(&message.topic) else { return };
        if topic.strip_prefix(&self.base) == Some(RUN) {
            return self.meet(&message.payload);
        }
        let command = topic.strip_prefix(&self.base).and_then(|end| COMMANDS.iter().find(|(e, _)| *e == end));
        if let Some((_, verb)) = command {
            // A command that the broker kept would come again with every connection and undo what was said since.
            if message.retain {
                tracing::warn!("{topic}: a retained command is not obeyed; clear it (mosquitto_pub -r -n -t {topic})");
                return;
            }
            let sent = match std::str::from_utf8(&message.payload).map(str::trim) {
                _ if message.payload.len() > MAX_COMMAND_BYTES => {
                    tracing::warn!("{topic}: a command of {} bytes, where at most {MAX_COMMAND_BYTES} are obeyed", message.payload.len());
                    Err("expected a command of at most 65536 bytes")
                }
                Ok(list) if verb.is_empty() && list.split_whitespace().next() == Some("quit") => {
                    Err("expected a command about words: a broker ends no session")
                }
                Ok(list) => {
                    let json = list.starts_with(['[', '{']);
                    let line = if json { list.into() } else { format!("{verb}{}", list.replace(char::is_control, " ")) };
                    match self.commands.try_send(line) {
                        Ok(()) => Ok(()),
                        Err(TrySendError::Full(line) | TrySendError::Disconnected(line)) => {
                            tracing::warn!("{topic}: too many commands wait; this one is lost: {}", shown_line(&line));
                            let error = serde_json::json!({ "command": line, "error": "expected fewer commands at a time" });
                            self.outbox.keep(format!("{}/error", self.base), error.to_string().into_bytes());
                            Ok(())
                        }
                    }
                }
                Err(_) => Err("expected UTF-8 text"),
            };
            if let Err(why) = sent {
                self.outbox.keep(format!("{}/error", self.base), serde_json::json!({ "error": why }).to_string().into_bytes());
            }
        } else if self.discovery.as_ref().is_some_and(|prefix| topic == format!("{prefix}/status")) {
            if message.payload.as_ref() == b"online" {
                self.outbox.send_retained_again();
            }
        } else if message.retain && !message.payload.is_empty() {
            self.outbox.found(topic);
        }
    }
}

/// What packets of a broker have a run of the name `a` do, the first of a damaged one and all behind it left out: the commands that they
/// give, and what the run tells the broker of them.
#[doc(hidden)]
pub fn receive_packets(bytes: Vec<u8>) -> (Vec<String>, Vec<Vec<u8>>) {
    let (commands, obeyed) = std::sync::mpsc::sync_channel(WAITING_COMMANDS);
    let listener = Listener {
        place: "mqtt://broker".into(),
        settings: Settings::new("test", ("broker".to_owned(), 1883)),
        run: "1".into(),
        others: RefCell::default(),
        outbox: Arc::new(Outbox::new(Arc::default())),
        base: "edge-seg/a".into(),
        discovery: Some("homeassistant".into()),
        node: "a".into(),
        commands,
        link: watch::channel(Link::default()).0,
    };
    listener.outbox.announced();
    let Ok(mut packets) = Bytes::from(bytes).try_into_mut() else { return Default::default() };
    while let Ok(packet) = Packet::read(&mut packets, MAX_INCOMING_BYTES) {
        if let Packet::Publish(message) = packet {
            listener.obey(&message);
        }
    }
    let mut told = Vec::new();
    while let Some(message) = listener.outbox.next() {
        listener.outbox.sent(&message);
        told.push(message.payload);
    }
    (obeyed.try_iter().collect(), told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (url, expected) in [
            ("mqtt://broker", (false, "broker", 1883)),
            ("mqtts://broker.local/", (true, "broker.local", 8883)),
            ("mqtt://10.0.0.1:1884", (false, "10.0.0.1", 1884)),
            ("mqtt://[::1]:9", (false, "[::1]", 9)),
            ("mqtt://[fe80::1]", (false, "[fe80::1]", 1883)),
        ] {
            assert_eq!(parse(url).unwrap(), (expected.0, expected.1.to_owned(), expected.2), "{url}");
        }
        for url in ["broker", "http://broker", "mqtt://", "mqtt://a:0", "mqtt://a:x", "mqtt://a/b", "mqtts://[::1]", "mqtt://me:secret@a"] {
            let error = parse(url).expect_err(url).to_string();
            assert!(error.starts_with("mqtt url: expected") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_command_is_obeyed_unless_it_is_retained_or_too_long() {
        let (commands, obeyed) = std::sync::mpsc::sync_channel(4);
        let listener = Listener {
            place: "mqtt://broker".into(),
            settings: Settings::new("test", ("broker".to_owned(), 1883)),
            run: "1".into(),
            others: RefCell::default(),
            outbox: Arc::new(Outbox::new(Arc::default())),
            base: "edge-seg/a".into(),
            discovery: None,
            node: "a".into(),
            commands,
            link: watch::channel(Link::default()).0,
        };
        let told = |length: usize, retain: bool| {
            let mut message = Publish::new("edge-seg/a/words/add", QoS::AtLeastOnce, vec![b'a'; length]);
            message.retain = retain;
            listener.obey(&message);
            obeyed.try_recv().ok().map(|line| line.len())
        };
        assert_eq!(told(MAX_COMMAND_BYTES, false), Some(4 + MAX_COMMAND_BYTES));
        assert_eq!(told(9, true), None);
        assert_eq!(listener.outbox.next(), None);
        assert_eq!(told(MAX_COMMAND_BYTES + 1, false), None);
        let error = listener.outbox.next().unwrap();
        assert_eq!(error.topic, "edge-seg/a/error");
        assert!(String::from_utf8_lossy(&error.payload).contains("at most 65536 bytes"));
    }
}
