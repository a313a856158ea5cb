use std::fmt;

use parking_lot::RwLock;
use serde_json::Value;

type Metrics = Box<dyn Fn(&mut String) + Send + Sync>;
type Listener = Box<dyn Fn(&str, &Value) + Send + Sync>;

/// Where the parts of a running session meet that do not know each other: those that count and notice things, and those that serve
/// them to somebody.
#[derive(Default)]
pub struct EventBus {
    metrics: RwLock<Vec<Metrics>>,
    listeners: RwLock<Vec<Listener>>,
}

impl EventBus {
    /// Adds what appends its metrics in Prometheus' text format, version 0.0.4, whole families, each line ended. It is called for each
    /// request, so it must not wait.
    pub fn add_metrics(&self, write: impl Fn(&mut String) + Send + Sync + 'static) {
        self.metrics.write().push(Box::new(write));
    }

    /// Everybody's metrics.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        self.metrics.read().iter().for_each(|write| write(&mut text));
        text
    }

    /// Adds what is told of events. It is called on the thread that tells, so it must not wait.
    pub fn subscribe(&self, hear: impl Fn(&str, &Value) + Send + Sync + 'static) {
        self.listeners.write().push(Box::new(hear));
    }

    /// Tells an event of a kind (`[a-z_]+`) to everybody who listens.
    pub fn publish(&self, kind: &str, event: &Value) {
        self.listeners.read().iter().for_each(|hear| hear(kind, event));
    }
}

impl fmt::Debug for EventBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventBus")
    }
}
