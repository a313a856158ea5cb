use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// What goes to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Kept by the broker, sent again after every connection; only the latest of a topic counts.
    Retained,
    /// Sent once, until the broker says that it has it.
    Kept,
    /// Only the latest counts, and nobody minds if one is lost.
    Latest,
}

/// What waits for the broker. Nothing ever waits on it: beyond its bounds the oldest is dropped and counted.
pub struct Outbox {
    waiting: Mutex<Pending>,
    pub changed: Notify,
    dropped: Arc<AtomicU64>,
}

#[derive(Default)]
struct Pending {
    retained: BTreeMap<String, (Vec<u8>, bool)>,
    kept: VecDeque<Message>,
    latest: Option<Message>,
    found: Vec<String>,
    announced: bool,
    closing: bool,
}

/// Events that wait for a broker that is away.
const KEPT: usize = 256;
/// Documents of earlier runs that are looked at.
const FOUND: usize = 4096;

impl Outbox {
    pub fn new(dropped: Arc<AtomicU64>) -> Self {
        Self { waiting: Mutex::default(), changed: Notify::new(), dropped }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.waiting.lock()
    }

    fn count_drop(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets what the broker keeps under a topic; an empty payload takes it away.
    pub fn retain(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        let payload = payload.into();
        let mut waiting = self.lock();
        if waiting.retained.get(topic).is_none_or(|(known, _)| *known != payload) {
            waiting.retained.insert(topic.into(), (payload, true));
            self.changed.notify_one();
        }
    }

    /// The broker has a document under a topic that is ours alone. If it is an earlier run's, it goes away, but only once this run's
    /// own are known: whoever reads them would forget an entity whose document goes and comes again.
    pub fn found(&self, topic: &str) {
        let mut waiting = self.lock();
        if waiting.found.len() < FOUND {
            waiting.found.push(topic.into());
        }
        self.take_away_stale(waiting);
    }

    /// All documents of this run are retained.
    pub fn announced(&self) {
        let mut waiting = self.lock();
        waiting.announced = true;
        self.take_away_stale(waiting);
    }

    fn take_away_stale(&self, mut waiting: MutexGuard<'_, Pending>) {
        if waiting.announced {
            for topic in std::mem::take(&mut waiting.found) {
                waiting.retained.entry(topic).or_insert((Vec::new(), true));
            }
            self.changed.notify_one();
        }
    }

    pub fn keep(&self, topic: String, payload: Vec<u8>) {
        let mut waiting = self.lock();
        if waiting.kept.len() >= KEPT {
            waiting.kept.pop_front();
            self.count_drop();
        }
        waiting.kept.push_back(Message { topic, payload, kind: Kind::Kept });
        self.changed.notify_one();
    }

    pub fn latest(&self, topic: String, payload: Vec<u8>) {
        if self.lock().latest.replace(Message { topic, payload, kind: Kind::Latest }).is_some() {
            self.count_drop();
        }
        self.changed.notify_one();
    }

    /// After a new connection: what is to be retained may be gone.
    pub fn send_retained_again(&self) {
        self.lock().retained.values_mut().for_each(|(_, unsent)| *unsent = true);
        self.changed.notify_one();
    }

    pub fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_one();
    }

    /// Whether nothing more will come.
    pub fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// What is to be sent next; it stays until [`Self::sent`].
    pub fn next(&self) -> Option<Message> {
        let waiting = self.lock();
        let retained = waiting.retained.iter().find(|(_, (_, unsent))| *unsent);
        let retained =
            retained.map(|(topic, (payload, _))| Message { topic: topic.clone(), payload: payload.clone(), kind: Kind::Retained });
        retained.or_else(|| waiting.kept.front().cloned()).or_else(|| waiting.latest.clone())
    }

    /// The broker has it. What replaced it meanwhile stays.
    pub fn sent(&self, message: &Message) {
        let mut waiting = self.lock();
        match message.kind {
            Kind::Retained => {
                if let Some((payload, unsent)) = waiting.retained.get_mut(&message.topic)
                    && *payload == message.payload
                {
                    *unsent = false;
                    if payload.is_empty() {
                        waiting.retained.remove(&message.topic);
                    }
                }
            }
            Kind::Kept if waiting.kept.front() == Some(message) => drop(waiting.kept.pop_front()),
            Kind::Latest if waiting.latest.as_ref() == Some(message) => waiting.latest = None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbox: &Outbox) -> Vec<String> {
        let mut sent = Vec::new();
        while let Some(message) = outbox.next() {
            sent.push(format!("{}={}", message.topic, String::from_utf8_lossy(&message.payload)));
            outbox.sent(&message);
        }
        sent
    }

    #[test]
    fn documents_go_first_and_the_latest_state_last() {
        let outbox = Outbox::new(Arc::default());
        outbox.latest("state".into(), b"1".to_vec());
        outbox.keep("event".into(), b"a".to_vec());
        outbox.latest("state".into(), b"2".to_vec());
        outbox.keep("event".into(), b"b".to_vec());
        outbox.retain("config", "x");
        assert_eq!(drain(&outbox), ["config=x", "event=a", "event=b", "state=2"]);
        assert_eq!(outbox.dropped.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn retained_documents_are_sent_when_they_change_or_the_broker_is_new() {
        let outbox = Outbox::new(Arc::default());
        outbox.retain("a", "1");
        outbox.retain("b", "1");
        assert_eq!(drain(&outbox), ["a=1", "b=1"]);
        outbox.retain("a", "1");
        assert!(drain(&outbox).is_empty());
        outbox.retain("a", "");
        outbox.send_retained_again();
        assert_eq!(drain(&outbox), ["a=", "b=1"]);
        outbox.send_retained_again();
        assert_eq!(drain(&outbox), ["b=1"], "what was taken away is not sent again");
    }

    #[test]
    fn documents_of_earlier_runs_go_once_this_runs_own_are_known() {
        let outbox = Outbox::new(Arc::default());
        outbox.found("old");
        outbox.found("ours");
        assert!(drain(&outbox).is_empty());
        outbox.retain("ours", "1");
        outbox.announced();
        assert_eq!(drain(&outbox), ["old=", "ours=1"]);
        outbox.found("older");
        outbox.found("ours");
        assert_eq!(drain(&outbox), ["older="]);
    }

    #[test]
    fn what_is_replaced_while_it_is_sent_stays() {
        let outbox = Outbox::new(Arc::default());
        outbox.retain("a", "1");
        let sending = outbox.next().unwrap();
        outbox.retain("a", "2");
        outbox.sent(&sending);
        assert_eq!(drain(&outbox), ["a=2"]);
    }

    #[test]
    fn a_broker_that_is_away_costs_the_oldest_events() {
        let outbox = Outbox::new(Arc::default());
        for i in 0..KEPT + 3 {
            outbox.keep("event".into(), i.to_string().into_bytes());
        }
        assert_eq!(drain(&outbox).first().map(String::as_str), Some("event=3"));
        assert_eq!(outbox.dropped.load(Ordering::Relaxed), 3);
    }
}
