//! The web page and the HTTP interface of a running session, described in `openapi.json`.
//!
//! ```
//! use std::sync::Arc;
//! use edge_seg_live::page::{About, Hub, HubSink, ServeOptions, Server};
//! use edge_seg_live::{Live, session::LiveOptions, source::open_source, words::Control};
//! use edge_seg_model::{Options, Session};
//! # fn main() -> edge_seg_live::Result<()> {
//! let session = Arc::new(Session::built_in_with(&Options::default().with_size_px(64))?);
//! let camera = open_source("test:?size=64x48&fps=30&frames=2", &Default::default())?;
//! let live = Live::start(session.clone(), camera, "sky", LiveOptions::default())?;
//! let control = Control { words: live.words().clone(), sets: None, stop: live.stop_flag().clone() };
//! let about = About { source: "test:".into(), program: "mine 1.0".into(), stall: std::time::Duration::from_secs(5) };
//! let hub = Hub::new(about, session, control, live.counters().clone(), Arc::default(), None);
//! let options = ServeOptions::at(([127, 0, 0, 1], 0).into());
//! let server = Server::start(&options, hub.clone())?;
//! println!("http://{}", server.address());
//! let mut live = live.with_sink(HubSink(hub));
//! for shown in &mut live {
//!     shown?;
//! }
//! # live.stop()
//! # }
//! ```

mod access;
mod connections;
mod encode;
mod examples;
mod hide;
mod http;
mod hub;
mod in_memory;
mod recordings;
mod routes;
mod search;
mod snapshot;
mod timeline;
mod words;

pub use access::Token;
pub use hub::{About, Hub, HubSink};
#[doc(hidden)]
pub use in_memory::answer_in_memory;
pub use routes::OPENAPI;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::{Error, Result};
use access::Access;
use connections::{Client, Connections};

/// How the interface is served.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServeOptions {
    /// Where it listens.
    pub address: SocketAddr,
    /// What a client must show to be served anything but the page itself.
    pub token: Option<Token>,
    /// Names by which the machine may be called beside its addresses and `localhost`.
    pub hosts: Vec<String>,
    /// Connections at a time; more are turned away.
    pub clients: usize,
    /// Pictures a second at most, for all clients together.
    pub fps: f64,
}

impl ServeOptions {
    /// Whether more than this machine is served by a token alone.
    ///
    /// # Errors
    /// [`Option`](edge_seg_model::Error::Option) if it would be served without one.
    pub fn check(&self) -> Result<()> {
        if !is_loopback(self.address.ip()) && self.token.is_none() {
            let expected = "a loopback address such as 127.0.0.1:8080, or a token beside it";
            return Err(Error::option("address", expected, self.address.to_string()));
        }
        Ok(())
    }

    /// Served at this address to whoever asks, to 32 clients at a time, with 15 pictures a second.
    pub fn at(address: SocketAddr) -> Self {
        Self { address, token: None, hosts: Vec::new(), clients: 32, fps: 15.0 }
    }
    /// The same with another [`token`](Self::token).
    pub fn with_token(self, token: impl Into<Option<Token>>) -> Self {
        Self { token: token.into(), ..self }
    }

    /// The same with another [`hosts`](Self::hosts).
    pub fn with_hosts(self, hosts: Vec<String>) -> Self {
        Self { hosts, ..self }
    }

    /// The same with another [`clients`](Self::clients).
    pub fn with_clients(self, clients: usize) -> Self {
        Self { clients, ..self }
    }

    /// The same with another [`fps`](Self::fps).
    pub fn with_fps(self, fps: f64) -> Self {
        Self { fps, ..self }
    }
}

/// A server that runs on a thread of its own until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Server {
    /// Starts to listen.
    ///
    /// # Errors
    /// [`Option`](edge_seg_model::Error::Option) if it would serve more than this machine without a token, [`Io`](edge_seg_model::Error::Io) if the address cannot be listened on.
    pub fn start(options: &ServeOptions, hub: Arc<Hub>) -> Result<Self> {
        options.check()?;
        let name = || format!("http://{}", options.address);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(4).build();
        let runtime = runtime.map_err(Error::io(name()))?;
        let listener = std::net::TcpListener::bind(options.address).map_err(Error::io(name()))?;
        listener.set_nonblocking(true).map_err(Error::io(name()))?;
        let address = listener.local_addr().map_err(Error::io(name()))?;
        let (stop, stopped) = oneshot::channel::<()>();
        let access = Arc::new(Access::new(options.token.clone(), options.hosts.clone()));
        let (clients, fps) = (options.clients, options.fps);
        let served = move || {
            let ended = runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let router = routes::router(hub, access, fps);
                tokio::spawn(async move {
                    axum::serve(Connections::new(listener, clients), router.into_make_service_with_connect_info::<Client>()).await
                });
                let _ = stopped.await;
                std::io::Result::Ok(())
            });
            if let Err(e) = ended {
                tracing::error!("the web page cannot be served: {e}");
            }
            // Clients that still read are not waited for.
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("http".into()).spawn(served).map_err(Error::io(name()))?;
        Ok(Self { address, _stop: stop })
    }

    /// Where it listens; a port 0 that was asked for is the one that was found.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}
