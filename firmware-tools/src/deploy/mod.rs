//! Brings a release to many boards: a few first, the rest when those are well, and nobody after the first failure.

pub mod remote;

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use edge_seg_bundle::Bundle;
use serde::Serialize;
use serde_json::Value;

use crate::slots::digest_of;
use crate::slots::machine::{BUNDLE, CONFIG, PROGRAM, Trial};
pub use remote::{Remote, SshTarget};

/// What is brought.
#[derive(Debug, Clone)]
pub struct Payload {
    /// The bundle.
    pub bundle: PathBuf,
    /// The runtime, with its `.minisig` beside it.
    pub binary: Option<PathBuf>,
    /// The configuration.
    pub config: Option<PathBuf>,
}

/// How it is brought.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Boards, in order.
    pub hosts: Vec<String>,
    /// How many of them go first, one after the other.
    pub canaries: usize,
    /// How many of the rest go at a time.
    pub jobs: usize,
    /// Only look and say what would be done.
    pub dry_run: bool,
    /// Go on after a failure.
    pub keep_going: bool,
    /// Accept a lower serial.
    pub downgrade: bool,
    /// How the release proves itself.
    pub trial: Trial,
    /// Restart the service, and wait this long for the release to become good.
    pub wait: Option<Duration>,
}

/// How it went with a board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Done, or in a dry run: would be done.
    Done,
    /// It failed; the board runs what it ran before.
    Failed,
    /// Another failed before it was its turn.
    Skipped,
}

/// One row of the summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The board.
    pub host: String,
    /// Its model's key, once known.
    pub board: String,
    /// How it went.
    pub verdict: Verdict,
    /// In words.
    pub what: String,
    /// How long it took.
    pub seconds: u64,
}

/// What is brought, as boards tell it of their slots.
struct Identity {
    /// The bundle's, for the names of copies.
    digest: String,
    serial: u64,
    boards: Vec<String>,
    signed: bool,
    /// SHA-256 of the files that are brought, by their names in a slot.
    files: Vec<(&'static str, String)>,
}

impl Identity {
    fn of(payload: &Payload) -> Result<Identity> {
        let bundle = Bundle::open(&payload.bundle)?;
        let manifest = bundle.manifest();
        let mut files = Vec::new();
        for (path, name) in [(Some(&payload.bundle), BUNDLE), (payload.binary.as_ref(), PROGRAM), (payload.config.as_ref(), CONFIG)] {
            if let Some(path) = path {
                let digest = File::open(path).and_then(digest_of).with_context(|| format!("{}", path.display()))?;
                files.push((name, digest.1));
            }
        }
        Ok(Identity {
            digest: bundle.digest()[..16].to_string(),
            serial: manifest.serial,
            boards: manifest.boards.clone(),
            signed: bundle.signature().is_some(),
            files,
        })
    }

    /// Whether a slot of a board's status holds it.
    fn is_in(&self, slot: &Value) -> bool {
        let held = |name: &str| {
            let files = slot["release"]["files"].as_array()?;
            files.iter().find(|file| file["name"] == name)?["sha256"].as_str()
        };
        self.files.iter().all(|(name, sha256)| held(name) == Some(sha256))
    }

    /// The slot that runs and holds it.
    fn current<'a>(&self, status: &'a Value) -> Option<(&'a str, &'a Value)> {
        let slot = status["current"].as_str()?;
        Some((slot, &status[slot])).filter(|(_, state)| self.is_in(state))
    }

    /// Why a board would refuse it, as far as its status tells.
    fn refusal(&self, status: &Value, downgrade: bool) -> Option<String> {
        let (serial, floor) = (self.serial, status["floor"].as_u64().unwrap_or(0));
        if serial < floor && !downgrade {
            return Some(format!("downgrade: the bundle's serial is {serial}, this board has run {floor}"));
        }
        if status["signatures"] == true && !self.signed {
            return Some("unsigned: this board trusts a key, and the bundle has no signature".into());
        }
        let slots = ["a", "b"].map(|slot| (slot, &status[slot]));
        let sound = |state: &Value| state["status"] == "good" || state["status"].get("pending").is_some();
        let other = |state: &Value| {
            let bundle = state["release"]["files"].as_array().and_then(|files| files.iter().find(|file| file["name"] == BUNDLE));
            state["release"]["serial"] == serial
                && bundle.is_some_and(|file| Some(&file["sha256"]) != self.files.first().map(|f| Value::from(f.1.as_str())).as_ref())
        };
        if let Some((slot, _)) = slots.iter().find(|(_, state)| sound(state) && other(state)).filter(|_| !downgrade) {
            return Some(format!("equal serial: slot {slot} holds another bundle of serial {serial}; edge-seg-fw pack counts up"));
        }
        let current = status["current"].as_str()?;
        let beside = if current == "a" { "b" } else { "a" };
        (status[current]["status"].get("pending").is_some() && status[beside]["status"] == "good").then(|| {
            format!("slot {current} is on trial with serial {}: mark-good or --rollback comes first", status[current]["release"]["serial"])
        })
    }
}

/// Brings `payload` to all boards of `plan`.
///
/// # Errors
/// When the bundle here is none. What goes wrong with a board is in its row.
pub fn deploy(target: &SshTarget, plan: &Plan, payload: &Payload) -> Result<Vec<Row>> {
    let release = Identity::of(payload)?;
    Ok(over(plan, |host| bring(target, plan, payload, &release, host)))
}

/// Brings all boards of `plan` back to the release before.
pub fn rollback(target: &SshTarget, plan: &Plan) -> Vec<Row> {
    over(plan, |host| {
        let remote = Remote::new(target, host)?;
        let board = key(&remote)?;
        let words: &[&str] = if plan.wait.is_some() { &["rollback", "--restart"] } else { &["rollback"] };
        let what = match plan.dry_run {
            true => format!("would go back from slot {}", remote.ask(&["status", "--json"])?["current"].as_str().unwrap_or("none")),
            false => remote.change(words)?,
        };
        Ok((board, what))
    })
}

/// Canaries one by one, then the rest `jobs` at a time; after a failure nobody starts.
fn over(plan: &Plan, work: impl Fn(&str) -> Result<(String, String)> + Sync) -> Vec<Row> {
    let rows = Mutex::new(Vec::new());
    let failed = Mutex::new(false);
    let one = |host: &str| {
        let start = Instant::now();
        let stop = *failed.lock().unwrap_or_else(|e| e.into_inner()) && !plan.keep_going;
        let (board, verdict, what) = match stop {
            true => (String::new(), Verdict::Skipped, "another board failed before".to_string()),
            false => match work(host) {
                Ok((board, what)) => (board, Verdict::Done, what),
                Err(error) => (String::new(), Verdict::Failed, format!("{error:#}")),
            },
        };
        if verdict == Verdict::Failed {
            *failed.lock().unwrap_or_else(|e| e.into_inner()) = true;
        }
        let row = Row { host: host.into(), board, verdict, what, seconds: start.elapsed().as_secs() };
        rows.lock().unwrap_or_else(|e| e.into_inner()).push(row);
    };
    let (first, rest) = plan.hosts.split_at(plan.canaries.min(plan.hosts.len()));
    first.iter().for_each(|host| one(host));
    let queue = Mutex::new(rest.iter().collect::<VecDeque<_>>());
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.clamp(1, rest.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(|e| e.into_inner()).pop_front();
                    let Some(host) = next else { return };
                    one(host);
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(|e| e.into_inner());
    rows.sort_by_key(|row| plan.hosts.iter().position(|host| *host == row.host));
    rows
}

fn key(remote: &Remote) -> Result<String> {
    let board = remote.ask(&["board", "--json"])?;
    Ok(board["key"].as_str().context("board: expected a key")?.to_string())
}

fn bring(target: &SshTarget, plan: &Plan, payload: &Payload, release: &Identity, host: &str) -> Result<(String, String)> {
    let serial = release.serial;
    let remote = Remote::new(target, host)?;
    let report = remote.ask(&["board", "--json"])?;
    let board = report["key"].as_str().context("board: expected a key")?.to_string();
    let variant = report["advice"]["variant"].as_str().unwrap_or_default();
    let boards = &release.boards;
    let fits = boards.is_empty() || boards.iter().any(|name| *name == board || name == variant);
    ensure!(fits, "wrong board: the bundle is for {}, this board is {board}", boards.join(", "));
    let status = remote.ask(&["status", "--json"])?;
    // Another deployment of the same release: its trial goes on, and is no failure of this one.
    if let Some((slot, _)) = release.current(&status).filter(|(_, state)| state["status"].get("pending").is_some()) {
        let said = format!("slot {slot} is on trial with serial {serial} already");
        return match plan.wait.filter(|_| !plan.dry_run) {
            None => Ok((board, said)),
            Some(wait) => Ok((board, await_good(&remote, release, wait)?)),
        };
    }
    if let Some(why) = release.refusal(&status, plan.downgrade) {
        bail!("{why}");
    }
    if plan.dry_run {
        let bytes: u64 = files(payload).iter().filter_map(|(path, _)| Some(std::fs::metadata(path).ok()?.len())).sum();
        return Ok((board, format!("would copy {bytes} bytes and install serial {serial} beside {}", current(&status))));
    }
    // Named by content: what another release left half copied is not gone on with.
    let base = format!(".cache/edge-seg/{}", release.digest);
    let mut words = vec!["install".to_string(), format!("{base}.esb")];
    let mut copied = Vec::new();
    for (path, what) in files(payload) {
        let to = format!("{base}.{what}");
        let mut told = 0;
        let total = std::fs::metadata(&path).with_context(|| format!("{}", path.display()))?.len().max(1);
        remote.copy(&path, &to, |bytes| {
            let tenth = bytes * 10 / total;
            if tenth > told {
                eprintln!("{host}: {what} {} %", tenth * 10);
                told = tenth;
            }
        })?;
        match what {
            "binary" => words.extend(["--binary".into(), to.clone()]),
            "toml" => words.extend(["--config".into(), to.clone()]),
            _ => {}
        }
        copied.push(to);
    }
    words.push(format!("--trial-starts={}", plan.trial.starts));
    words.push(format!("--trial-frames={}", plan.trial.frames));
    if plan.downgrade {
        words.push("--allow-downgrade".into());
    }
    if plan.wait.is_some() {
        words.push("--restart".into());
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let installed = remote.change(&words);
    remote.remove(&copied);
    let mine = |status: &Value| release.current(status).is_some_and(|(_, state)| state["status"].get("pending").is_some());
    let said = match (installed, plan.wait) {
        (Ok(said), None) => said,
        (Ok(_), Some(wait)) => match await_good(&remote, release, wait) {
            Ok(said) => said,
            // A board that gave it up by itself runs what it ran before.
            Err(error) if remote.ask(&["status", "--json"]).is_ok_and(|now| !mine(&now)) => return Err(error),
            Err(error) => bail!("{error:#}; {}", back(&remote)),
        },
        // The installation may be done and only the restart have failed.
        (Err(error), Some(_)) if remote.ask(&["status", "--json"]).is_ok_and(|now| mine(&now)) => bail!("{error:#}; {}", back(&remote)),
        (Err(error), _) => return Err(error),
    };
    Ok((board, said))
}

fn back(remote: &Remote) -> String {
    match remote.change(&["rollback", "--restart"]) {
        Ok(said) => format!("rolled back: {said}"),
        Err(error) => format!("not rolled back: {error:#}"),
    }
}

/// Waits until the board calls the release good, or gives it up.
fn await_good(remote: &Remote, release: &Identity, wait: Duration) -> Result<String> {
    let (end, serial) = (Instant::now() + wait, release.serial);
    loop {
        // A board that restarts its network in between is asked again.
        if let Ok(status) = remote.ask(&["status", "--json"]) {
            match release.current(&status) {
                Some((slot, state)) if state["status"] == "good" => return Ok(format!("slot {slot} is good with serial {serial}")),
                Some(_) => {}
                None => bail!("the board rolled back serial {serial}; it runs {}", current(&status)),
            }
        }
        ensure!(Instant::now() < end, "not healthy within {} s", wait.as_secs());
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn current(status: &Value) -> String {
    match status["current"].as_str() {
        None => "the packaged release".into(),
        Some(slot) => format!("slot {slot} with serial {}", status[slot]["release"]["serial"]),
    }
}

fn files(payload: &Payload) -> Vec<(PathBuf, &'static str)> {
    let mut files = vec![(payload.bundle.clone(), "esb")];
    if let Some(binary) = &payload.binary {
        files.push((binary.clone(), "binary"));
        let mut minisig = binary.clone().into_os_string();
        minisig.push(".minisig");
        if Path::new(&minisig).exists() {
            files.push((minisig.into(), "binary.minisig"));
        }
    }
    files.extend(payload.config.clone().map(|config| (config, "toml")));
    files
}

/// The summary as a table.
pub fn render(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.host.len()).max().unwrap_or(0).max(4);
    let mut out = format!("{:<width$}  {:<13}  {:<7}  {:>5}  what\n", "host", "board", "verdict", "s");
    for row in rows {
        let verdict = match row.verdict {
            Verdict::Done => "done",
            Verdict::Failed => "FAILED",
            Verdict::Skipped => "skipped",
        };
        let board = if row.board.is_empty() { "-" } else { &row.board };
        out.push_str(&format!("{:<width$}  {board:<13}  {verdict:<7}  {:>5}  {}\n", row.host, row.seconds, row.what));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn plan(hosts: usize, canaries: usize, jobs: usize) -> Plan {
        let hosts = (0..hosts).map(|i| format!("h{i}")).collect();
        Plan { hosts, canaries, jobs, dry_run: false, keep_going: false, downgrade: false, trial: Trial::default(), wait: None }
    }

    #[test]
    fn a_failing_canary_stops_everybody() {
        let asked = Mutex::new(Vec::new());
        let rows = over(&plan(6, 2, 3), |host| {
            asked.lock().unwrap().push(host.to_string());
            bail!("no")
        });
        assert_eq!(*asked.lock().unwrap(), ["h0"]);
        assert_eq!(rows.iter().filter(|row| row.verdict == Verdict::Skipped).count(), 5);
        let rows = over(&Plan { keep_going: true, ..plan(6, 2, 3) }, |_| bail!("no"));
        assert!(rows.iter().all(|row| row.verdict == Verdict::Failed));
    }

    #[test]
    fn no_more_than_the_limit_work_at_a_time_and_canaries_work_alone() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let rows = over(&plan(20, 1, 3), |host| {
            let count = now.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(count, Ordering::SeqCst);
            assert!(host != "h0" || count == 1);
            std::thread::sleep(Duration::from_millis(5));
            now.fetch_sub(1, Ordering::SeqCst);
            Ok((String::new(), String::new()))
        });
        assert!(rows.iter().map(|row| row.host.clone()).eq((0..20).map(|i| format!("h{i}"))), "rows are in the order that was given");
        assert!((2..=3).contains(&most.load(Ordering::SeqCst)));
    }
}
