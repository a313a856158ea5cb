//! The page of the runtime that runs here, on this board.

use std::io::Read;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::paths::Paths;
use crate::service;
use crate::slots::Disk;
use crate::slots::machine::CONFIG;

/// Longer than the page itself waits for a frame.
const LIMIT: Duration = Duration::from_secs(20);
const MOST_BYTES: u64 = 64 << 20;
const LONGEST_TOKEN_BYTES: u64 = 4096;
/// Where the page numbers a picture.
const COUNT: &str = "x-frame-count";

/// A page, by the configuration of what runs.
#[derive(Debug)]
pub struct Page {
    address: std::net::SocketAddr,
    token: Option<String>,
    agent: ureq::Agent,
}

/// The configuration of what runs.
///
/// # Errors
/// When it cannot be read.
pub fn config(paths: &Paths) -> Result<toml::Table> {
    let mut slots = paths.slots();
    let config = match slots.load()?.current {
        Some(slot) => {
            let path = slots.folder(slot).join(CONFIG);
            slots.disk().read(&path).with_context(|| format!("{}", path.display()))?
        }
        None => std::fs::read(&paths.config).with_context(|| {
            let place = paths.config.display();
            format!("{place}: expected the service's configuration; try: edge-seg config default | sudo tee {place}")
        })?,
    };
    let text = edge_seg_bundle::text::text_of(config).map_err(|said| anyhow!("the configuration: {said}"))?;
    text.parse().map_err(|error| toml_fault(&text, &error)).context("the configuration")
}

/// What is wrong with a file of TOML, without the line, which may hold a password.
pub(crate) fn toml_fault(text: &str, error: &toml::de::Error) -> anyhow::Error {
    anyhow!(edge_seg_bundle::toml_text::toml_fault(text, error.span().map_or(0, |span| span.start), error.message()))
}

impl Page {
    /// The page of what runs.
    ///
    /// # Errors
    /// When its configuration has none, or its token cannot be read.
    pub fn of(paths: &Paths) -> Result<Page> {
        let config = config(paths)?;
        let http = config.get("http").and_then(toml::Value::as_table);
        let text = |key: &str| http.and_then(|http| http.get(key)?.as_str());
        let named = text("address").context("the configuration has no [http] address: it has no page to ask")?;
        let mut address = named.to_socket_addrs().with_context(|| format!("[http] address: {named}"))?.next().context("[http] address")?;
        // A page that listens on every address is asked on this board's own.
        if address.ip().is_unspecified() {
            let own = if address.is_ipv4() { std::net::Ipv4Addr::LOCALHOST.into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
            address.set_ip(own);
        }
        let token = match text("token-file") {
            None => None,
            Some(path) => Some(token(paths, &paths.root.join(path.trim_start_matches('/')))?),
        };
        let agent = ureq::Agent::config_builder().timeout_global(Some(LIMIT)).max_redirects(0).proxy(None).build().into();
        Ok(Page { address, token, agent })
    }

    /// What it answers to a path.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub fn get(&self, path: &str) -> Result<Vec<u8>> {
        Ok(self.answer(path)?.1)
    }

    /// Its newest picture, and the number by which it counts that; with `after` one that comes after that number.
    ///
    /// # Errors
    /// When it does not answer, refuses, or tells no number.
    pub fn picture(&self, after: Option<u64>) -> Result<(u64, Vec<u8>)> {
        let path = after.map_or("/api/picture.jpg".into(), |count| format!("/api/picture.jpg?after={count}"));
        let (count, jpeg) = self.answer(&path)?;
        let count = count.with_context(|| format!("the page at {}{path}: expected a header {COUNT} with a number", self.address))?;
        Ok((count, jpeg))
    }

    fn answer(&self, path: &str) -> Result<(Option<u64>, Vec<u8>)> {
        let mut request = self.agent.get(format!("http://{}{path}", self.address));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = request.call().and_then(|mut answer| {
            let count = answer.headers().get(COUNT).and_then(|count| count.to_str().ok()?.parse().ok());
            Ok((count, answer.body_mut().with_config().limit(MOST_BYTES).read_to_vec()?))
        });
        answer.with_context(|| format!("the page at {}{path}", self.address))
    }
}

/// The page's token, with the rights of the service: a configuration that is brought must not have root read a file for it.
fn token(paths: &Paths, path: &Path) -> Result<String> {
    let path: PathBuf = path.into();
    let read = || {
        let mut token = String::new();
        std::fs::File::open(&path)?.take(LONGEST_TOKEN_BYTES).read_to_string(&mut token).map(|_| token)
    };
    let token = service::with_rights_of(paths.user_to_run_as()?.as_ref(), true, read).with_context(|| format!("{}", path.display()))?;
    let token = token.lines().next().unwrap_or_default().trim().to_owned();
    ensure!(!token.is_empty() && !token.contains(|c: char| c.is_control()), "{}: expected a token on the first line", path.display());
    Ok(token)
}
