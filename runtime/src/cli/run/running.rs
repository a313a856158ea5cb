use std::sync::Arc;

use edge_seg::Session;
use edge_seg::live::Counters;
use edge_seg_live::metrics::Metrics;
use edge_seg_live::session::EventBus;
use edge_seg_live::words::Control;

/// A session that runs, as sinks may need to know or change it.
#[derive(Clone)]
pub struct Running {
    pub session: Arc<Session>,
    /// The words, their saved sets, and the flag that ends the run.
    pub control: Control,
    pub counters: Arc<Counters>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where sinks leave metrics and events for the web server, and the other way round.
    pub event_bus: Arc<EventBus>,
}
