//! Brings a release to boards over ssh, and brings them back.

mod release;
pub mod remote;
mod rollout;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use edge_seg_bundle::files::hex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::history;
use crate::slots::machine::Trial;
pub use release::{Payload, Release};
use release::{is_pending, trial_of_another};
pub use remote::{OwnFolder, Remote, SshTarget};
pub use rollout::{Gate, Interrupt, Job, Pace, Phase, Row, Verdict, in_order, over, render, table};

/// How a release is brought to a board.
#[derive(Debug, Clone)]
pub struct Bringing {
    /// Only look and say what would be done.
    pub dry_run: bool,
    /// Accept a lower serial.
    pub downgrade: bool,
    /// How the release proves itself.
    pub trial: Trial,
    /// Restart the service, and wait this long for the release to become good.
    pub wait: Option<Duration>,
}

/// Brings a board back to the release before; tells its model and what was done.
///
/// # Errors
/// When it cannot be reached or refuses.
pub fn rollback(target: &SshTarget, how: &Bringing, host: &str) -> Result<(String, String)> {
    let remote = Remote::new(target, host)?;
    let status = remote.ask(&["status", "--json"])?;
    let board = names(&remote, &status)?.swap_remove(0);
    let words: &[&str] = if how.wait.is_some() { &["rollback", "--restart"] } else { &["rollback"] };
    let what = match how.dry_run {
        true => format!("would go back from slot {}", status["current"].as_str().unwrap_or("none")),
        false => remote.change(words)?,
    };
    Ok((board, what))
}

/// Names under which a bundle may mean a board, its own first.
fn names(remote: &Remote, status: &Value) -> Result<Vec<String>> {
    if let Some(names) = status["board"].as_array() {
        return Ok(names.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect());
    }
    // A tool from before its status told.
    let report = remote.ask(&["board", "--json"])?;
    let own = report["key"].as_str().context("board: expected a key")?.to_owned();
    Ok([own].into_iter().chain(report["advice"]["variant"].as_str().map(str::to_owned)).collect())
}

/// Brings a release to a board; tells its model and what was done. Its job is let go where the board is only waited for.
///
/// # Errors
/// When the board cannot be reached, refuses, or gives the release up; it runs what it ran before.
pub fn bring(target: &SshTarget, how: &Bringing, release: &Release, host: &str, job: &Job<'_>) -> Result<(String, String)> {
    let remote = Remote::new(target, host)?;
    let status = remote.ask(&["status", "--json"])?;
    let names = names(&remote, &status)?;
    let board = names.first().context("status: expected the board's name")?.clone();
    if let Some(bundle) = &release.bundle {
        let boards = &bundle.boards;
        let fits = boards.is_empty() || boards.iter().any(|board| names.contains(board));
        ensure!(fits, "wrong board: the bundle is for {}, this board is {board}", boards.join(", "));
    }
    match release.current(&status) {
        // Another deployment of the same release: its trial goes on, and is no failure of this one.
        Some((slot, state)) if is_pending(state) => {
            let said = format!("slot {slot} is on trial with {} already", release.title());
            return match how.wait.filter(|_| !how.dry_run) {
                None => Ok((board, said)),
                Some(wait) => {
                    job.let_go();
                    Ok((board, await_good(&remote, release, wait)?))
                }
            };
        }
        Some((slot, state)) if state["status"] == "good" => {
            return Ok((board, format!("slot {slot} runs it already, and it is good")));
        }
        _ => {}
    }
    if let Some(why) = release.refusal(&status, how.downgrade).or_else(|| trial_of_another(&status)) {
        bail!("{why}");
    }
    if let Some(why) = foretold(&remote, release, how.downgrade)? {
        bail!("{why}");
    }
    if how.dry_run {
        return Ok((board, format!("would copy {} bytes and install {} beside {}", release.bytes(), release.title(), current(&status))));
    }
    let words = copied(&remote, release, how, host)?;
    let borrowed: Vec<&str> = words.words.iter().map(String::as_str).collect();
    let installed = remote.change(&borrowed);
    remote.remove(&words.copies);
    job.let_go();
    let mine = |status: &Value| release.current(status).is_some_and(|(_, state)| is_pending(state));
    let said = match (installed, how.wait) {
        (Ok(said), None) => said,
        (Ok(_), Some(wait)) => match await_good(&remote, release, wait) {
            Ok(said) => said,
            // A board that gave it up by itself runs what it ran before.
            Err(error) if remote.ask(&["status", "--json"]).is_ok_and(|now| !mine(&now)) => return Err(error),
            Err(error) => bail!("{error:#}; {}", back(&remote)),
        },
        // The installation may be done and only the restart have failed, or somebody else brings the same: its trial tells.
        (Err(error), Some(wait)) if remote.ask(&["status", "--json"]).is_ok_and(|now| mine(&now)) => {
            await_good(&remote, release, wait).map_err(|why| error.context(format!("{why:#}")))?
        }
        (Err(error), _) => return Err(error),
    };
    Ok((board, said))
}

/// What a board says of a release that it has not got yet; a tool that cannot be asked says nothing.
fn foretold(remote: &Remote, release: &Release, downgrade: bool) -> Result<Option<String>> {
    match remote.ask_whether(&["precheck"], &release.question(downgrade)?) {
        Ok(answer) => Ok(answer["refused"].as_str().map(str::to_owned)),
        Err(error) if remote::is_away(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

struct Copied {
    /// The tool's words that install it.
    words: Vec<String>,
    copies: Vec<String>,
}

fn copied(remote: &Remote, release: &Release, how: &Bringing, host: &str) -> Result<Copied> {
    let mut done = Copied { words: Vec::new(), copies: Vec::new() };
    let first = release.files.first().context("nothing to bring")?;
    // Named by content, for what another release left half copied is not gone on with, and by who brings it: two operators may copy the
    // same at once.
    let operator = hex(&Sha256::digest(history::operator()));
    let base = |sha256: &str| format!(".cache/edge-seg/{}-{}", &sha256[..16], &operator[..8]);
    let (mut beside, mut path_of) = (String::new(), std::collections::HashMap::new());
    for file in &release.files {
        // A signature is looked for beside what it signs.
        if !file.name.is_empty() {
            beside = base(&file.sha256);
        }
        let to = format!("{beside}.{}", file.ending);
        let mut told = 0;
        remote.copy(&file.path, &file.sha256, &to, |bytes| {
            let tenth = bytes * 10 / file.bytes.max(1);
            if tenth > told && file.bytes >= TOLD_BYTES {
                eprintln!("{host}: {} {} %", file.ending, tenth * 10);
                told = tenth;
            }
        })?;
        done.copies.push(to.clone());
        path_of.insert(file.ending, to);
    }
    let path = |ending: &str| path_of.get(ending).cloned();
    match path("esb") {
        Some(bundle) => done.words.extend(["install".into(), bundle]),
        None => {
            done.words.push("reconfigure".into());
            done.words.extend(path("toml"));
        }
    }
    if let Some(binary) = path("binary") {
        done.words.extend(["--binary".into(), binary]);
    }
    if let Some(config) = path("toml").filter(|_| first.ending == "esb") {
        done.words.extend(["--config".into(), config]);
    }
    done.words.push(format!("--trial-starts={}", how.trial.starts));
    done.words.push(format!("--trial-frames={}", how.trial.frames));
    done.words.extend(how.trial.bar.words());
    if how.downgrade && first.ending == "esb" {
        done.words.push("--allow-downgrade".into());
    }
    if how.wait.is_some() {
        done.words.push("--restart".into());
    }
    Ok(done)
}

/// Nobody waits long for less.
const TOLD_BYTES: u64 = 1 << 20;

fn back(remote: &Remote) -> String {
    match remote.change(&["rollback", "--restart"]) {
        Ok(said) => format!("rolled back: {said}"),
        Err(error) => format!("not rolled back: {error:#}"),
    }
}

/// Longest time that a board is left to wait by itself.
const SETTLE_S: u64 = 60;
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Waits until the board calls the release good, or gives it up.
fn await_good(remote: &Remote, release: &Release, wait: Duration) -> Result<String> {
    let end = Instant::now() + wait;
    let mut settled = true;
    loop {
        let left = end.saturating_duration_since(Instant::now()).as_secs().clamp(1, SETTLE_S);
        let words = format!("--until-settled={left}");
        let asked = if settled { remote.ask(&["status", "--json", &words]) } else { remote.ask(&["status", "--json"]) };
        // A tool from before it could wait.
        settled &= !asked.as_ref().is_err_and(|error| format!("{error:#}").contains("unexpected argument"));
        // A board that restarts its network in between is asked again.
        if let Ok(status) = &asked {
            match release.current(status) {
                Some((slot, state)) if state["status"] == "good" => return Ok(format!("slot {slot} is good with {}", release.title())),
                Some(_) => {}
                None => bail!("the board rolled back {}; it runs {}", release.title(), current(status)),
            }
        }
        ensure!(Instant::now() < end, "not healthy within {} s", wait.as_secs());
        std::thread::sleep(ASK_EVERY.min(end.saturating_duration_since(Instant::now())));
    }
}

/// What a board's status says that it runs.
pub fn current(status: &Value) -> String {
    match status["current"].as_str() {
        None => "the packaged release".into(),
        Some(slot) => format!("slot {slot} with serial {}", status[slot]["release"]["serial"]),
    }
}
