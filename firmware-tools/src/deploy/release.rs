//! What is brought to boards, and how a board's status tells of it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_seg_bundle::trust::{Refusal, Trust};
use edge_seg_bundle::{Bundle, Error, Header, MANIFEST_MAX_BYTES, MANIFEST_OFFSET};
use serde_json::{Value, json};

use crate::install::{PROGRAM_HEAD_BYTES, of_file};
use crate::slots::digest_of;
use crate::slots::machine::{BUNDLE, CONFIG, PROGRAM};

/// What is brought.
#[derive(Debug, Clone, Default)]
pub struct Payload {
    /// The bundle; without one, the boards' own gets what else is brought.
    pub bundle: Option<PathBuf>,
    /// The runtime, with its `.minisig` beside it.
    pub binary: Option<PathBuf>,
    /// The configuration, with its `.minisig` beside it where it has one.
    pub config: Option<PathBuf>,
}

/// A file that is brought.
#[derive(Debug, Clone)]
pub(crate) struct Brought {
    pub path: PathBuf,
    pub bytes: u64,
    pub sha256: String,
    /// Name in a slot, where it has one there.
    pub name: &'static str,
    /// End of its name on the way.
    pub ending: &'static str,
}

impl Brought {
    fn read(path: &Path, name: &'static str, ending: &'static str) -> Result<Brought> {
        let (bytes, sha256) = File::open(path).and_then(digest_of).with_context(|| format!("{}", path.display()))?;
        Ok(Brought { path: path.into(), bytes, sha256, name, ending })
    }
}

/// What is brought, looked at once for all boards.
#[derive(Debug, Clone)]
pub struct Release {
    pub(crate) bundle: Option<Manifest>,
    pub(crate) files: Vec<Brought>,
}

#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub name: String,
    pub serial: u64,
    pub boards: Vec<String>,
    pub signed: bool,
    /// The bytes that tell a board whether it would take it.
    head: Vec<u8>,
}

impl Release {
    /// Reads and digests what is brought.
    ///
    /// # Errors
    /// When the bundle is none, or a file cannot be read.
    pub fn of(payload: &Payload) -> Result<Release> {
        let mut release = Release { bundle: None, files: Vec::new() };
        if let Some(path) = &payload.bundle {
            let bundle = Bundle::open(path)?;
            let manifest = bundle.manifest();
            release.bundle = Some(Manifest {
                name: manifest.name.clone(),
                serial: manifest.serial,
                boards: manifest.boards.clone(),
                signed: bundle.signature().is_some(),
                head: head_of(path)?,
            });
            release.files.push(Brought::read(path, BUNDLE, "esb")?);
        }
        if let Some(path) = &payload.binary {
            release.files.push(Brought::read(path, PROGRAM, "binary")?);
            release.beside(path, "binary.minisig")?;
        }
        if let Some(path) = &payload.config {
            release = release.with_config(path)?;
        }
        Ok(release)
    }

    /// With another configuration.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn with_config(&self, path: &Path) -> Result<Release> {
        let mut release = self.clone();
        release.files.retain(|file| !file.ending.starts_with("toml"));
        release.files.push(Brought::read(path, CONFIG, "toml")?);
        release.beside(path, "toml.minisig")?;
        Ok(release)
    }

    fn beside(&mut self, path: &Path, ending: &'static str) -> Result<()> {
        let mut minisig = path.as_os_str().to_owned();
        minisig.push(".minisig");
        if Path::new(&minisig).exists() {
            self.files.push(Brought::read(Path::new(&minisig), "", ending)?);
        }
        Ok(())
    }

    /// Whether it brings nothing.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// In a few words.
    pub fn title(&self) -> String {
        match &self.bundle {
            Some(bundle) => format!("{} serial {}", bundle.name, bundle.serial),
            None => {
                let names: Vec<&str> = self.files.iter().map(|file| file.name).filter(|name| !name.is_empty()).collect();
                // Each board's own is brought where nothing else is.
                let names = if names.is_empty() { CONFIG.to_owned() } else { names.join(" and ") };
                format!("another {names} for what runs")
            }
        }
    }

    /// The SHA-256 of what is brought, by the names that it has in a slot.
    pub fn digests(&self) -> Value {
        let named = self.files.iter().filter(|file| !file.name.is_empty());
        named.map(|file| (file.name.to_owned(), Value::from(file.sha256.as_str()))).collect::<serde_json::Map<_, _>>().into()
    }

    /// The SHA-256 alone.
    pub fn marks(&self) -> Vec<String> {
        self.files.iter().filter(|file| !file.name.is_empty()).map(|file| file.sha256.clone()).collect()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Whether a slot of a board's status holds it.
    pub(crate) fn is_in(&self, slot: &Value) -> bool {
        let held = |name: &str| {
            let files = slot["release"]["files"].as_array()?;
            files.iter().find(|file| file["name"] == name)?["sha256"].as_str()
        };
        self.files.iter().filter(|file| !file.name.is_empty()).all(|file| held(file.name) == Some(&file.sha256))
    }

    /// The slot that runs and holds it.
    pub(crate) fn current<'a>(&self, status: &'a Value) -> Option<(&'a str, &'a Value)> {
        let slot = status["current"].as_str()?;
        Some((slot, &status[slot])).filter(|(_, state)| self.is_in(state))
    }

    /// What a board is asked before anything is copied, for `precheck`: a line of JSON, the bundle's first bytes, the configuration.
    ///
    /// # Errors
    /// When the configuration cannot be read.
    pub(crate) fn question(&self, downgrade: bool) -> Result<Vec<u8>> {
        let config = self.files.iter().find(|file| file.name == CONFIG);
        let text = match config {
            Some(config) => std::fs::read(&config.path).with_context(|| format!("{}", config.path.display()))?,
            None => Vec::new(),
        };
        let signature = self.files.iter().find(|file| file.ending == "toml.minisig");
        let signature = signature.and_then(|file| std::fs::read_to_string(&file.path).ok());
        let head: &[u8] = self.bundle.as_ref().map_or(&[], |bundle| &bundle.head);
        let files: Vec<Value> = self
            .files
            .iter()
            .filter(|file| !file.name.is_empty())
            .map(|file| json!({ "name": file.name, "bytes": file.bytes, "sha256": file.sha256 }))
            .collect();
        let program = self.files.iter().find(|file| file.name == PROGRAM);
        let program_head = program.map(|program| program_head(&program.path)).transpose()?;
        let line = json!({
            "program_head": program_head,
            "head_bytes": head.len(), "config_bytes": text.len(), "config_signature": signature, "downgrade": downgrade, "files": files,
        });
        Ok([format!("{line}\n").as_bytes(), head, &text].concat())
    }

    /// Why every board that trusts a key would refuse it, as far as that can be told by the keys of `trust`, which are not all there are.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn refusal_by(&self, trust: &Trust) -> Result<Option<String>> {
        let of = |ending: &str| self.files.iter().find(|file| file.ending == ending);
        if let (Some(bundle), Some(file)) = (&self.bundle, of("esb")) {
            match trust.check(&file.path.display().to_string(), &bundle.head) {
                Ok(()) | Err(Error::Refused { why: Refusal::UnknownKey { .. }, .. }) => {}
                Err(refused) => return Ok(Some(refused.to_string())),
            }
        }
        let Some(binary) = of("binary") else { return Ok(None) };
        let place = binary.path.display();
        let Some(minisig) = of("binary.minisig") else {
            return Ok(Some(format!(
                "{place}: unsigned: expected {place}.minisig beside it: edge-seg-fw sign {place} --detached --key KEY"
            )));
        };
        let text = std::fs::read(&minisig.path).with_context(|| format!("{}", minisig.path.display()))?;
        let opened = File::open(&binary.path).with_context(|| format!("{place}"))?;
        Ok(match trust.check_signature_of(&text, opened).with_context(|| format!("{place}"))? {
            Ok(()) | Err(Refusal::UnknownKey { .. }) => None,
            Err(why) => Some(format!("{place}: {}", of_file(&why))),
        })
    }

    /// Why a board would refuse it, as far as its status tells.
    pub(crate) fn refusal(&self, status: &Value, downgrade: bool) -> Option<String> {
        let Some(bundle) = &self.bundle else {
            return status["current"].is_null().then(|| {
                "no release is installed there, and what is packaged reads /etc/edge-seg/edge-seg.toml: bring a bundle with it".into()
            });
        };
        let (serial, floor) = (bundle.serial, status["floor"].as_u64().unwrap_or(0));
        if serial < floor && !downgrade {
            return Some(format!("downgrade: the bundle's serial is {serial}, this board has run {floor}"));
        }
        if status["signatures"] == true && !bundle.signed {
            return Some("unsigned: this board trusts a key, and the bundle has no signature".into());
        }
        let slots = ["a", "b"].map(|slot| (slot, &status[slot]));
        let sound = |state: &Value| state["status"] == "good" || is_pending(state);
        let brought = self.files.iter().find(|file| file.name == BUNDLE).map(|file| file.sha256.as_str());
        let other = |state: &Value| {
            let held = state["release"]["files"].as_array().and_then(|files| files.iter().find(|file| file["name"] == BUNDLE));
            state["release"]["serial"] == serial && held.is_some_and(|file| file["sha256"].as_str() != brought)
        };
        if let Some((slot, _)) = slots.iter().find(|(_, state)| sound(state) && other(state)).filter(|_| !downgrade) {
            return Some(format!("equal serial: slot {slot} holds another bundle of serial {serial}; edge-seg-fw pack counts up"));
        }
        None
    }
}

/// Whether a slot of a board's status holds files of all these SHA-256.
pub(crate) fn holds(slot: &Value, of: &[String]) -> bool {
    let files = slot["release"]["files"].as_array();
    files.is_some_and(|files| of.iter().all(|sha256| files.iter().any(|file| file["sha256"] == sha256.as_str())))
}

/// The slot that does not run.
pub(crate) fn beside(slot: &str) -> &'static str {
    if slot == "a" { "b" } else { "a" }
}

/// Whether a slot of a board's status is on trial.
pub(crate) fn is_pending(slot: &Value) -> bool {
    slot["status"].get("pending").is_some()
}

/// Starts in a row of a slot in a board's status that have failed, with the one that is under way until it has shown its frames.
pub(crate) fn starts_without_frames(slot: &Value) -> u64 {
    slot["failed_starts"].as_u64().unwrap_or(0)
}

/// The slot that a board's status says that it runs; none is the packaged release, installed or in place of what keeps failing.
pub(crate) fn slot_that_runs(status: &Value) -> Option<&str> {
    match status.get("started").filter(|started| started.is_object()) {
        Some(started) => started["slot"].as_str(),
        // A tool from before its status told what was started: what the pointer names.
        None => status["current"].as_str().filter(|_| status["packaged_stands_in"] != true),
    }
}

/// Whether what runs from a slot, or the packaged release, has shown its frames since it was started; none where the board's tool is older
/// than to tell.
pub(crate) fn shows_frames(status: &Value, slot: Option<&str>) -> Option<bool> {
    let started = status.get("started").filter(|started| started.is_object())?;
    Some(started["slot"].as_str() == slot && started["shown"] == true && started["ended"] != true)
}

/// What a board's status says of the service where that does not run, nor is started again.
pub(crate) fn stopped(status: &Value) -> Option<&str> {
    status["service"].as_str().filter(|state| is_stopped(state))
}

/// The word for a service whose source has come to its end.
pub(crate) const ENDED: &str = "ended";

/// Whether the service manager's word for a service means that it does not run, nor is started again.
pub fn is_stopped(service: &str) -> bool {
    ["failed", "inactive", "deactivating", ENDED].contains(&service)
}

/// Why nothing at all can be brought: what is on trial has the other slot to go back to.
pub(crate) fn trial_of_another(status: &Value) -> Option<String> {
    let current = status["current"].as_str()?;
    let other = &status[beside(current)];
    (is_pending(&status[current]) && (other["status"] == "good" || is_pending(other))).then(|| {
        format!("slot {current} is on trial with serial {}: mark-good or --rollback comes first", status[current]["release"]["serial"])
    })
}

fn program_head(path: &Path) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let file = File::open(path).with_context(|| format!("{}", path.display()))?;
    file.take(PROGRAM_HEAD_BYTES).read_to_end(&mut head)?;
    Ok(head)
}

fn head_of(path: &Path) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let file = File::open(path).with_context(|| format!("{}", path.display()))?;
    file.take((MANIFEST_OFFSET + MANIFEST_MAX_BYTES) as u64).read_to_end(&mut head)?;
    let place = path.display().to_string();
    let end = MANIFEST_OFFSET + Header::parse(&place, &head)?.signed_message().len() - edge_seg_bundle::SIGNATURE_OFFSET;
    head.truncate(end);
    Ok(head)
}
