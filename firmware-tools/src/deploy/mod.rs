//! Brings a release to boards over ssh, and brings them back.

mod release;
pub mod remote;
mod rollout;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use edge_seg_bundle::files::hex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::history;
use crate::slots::machine::Trial;
pub(crate) use release::Brought;
pub(crate) use release::ENDED;
pub use release::is_stopped;
pub use release::{Payload, Release};
use release::{beside, is_pending, trial_of_another};
pub(crate) use release::{shows_frames, slot_that_runs, starts_without_frames, stopped};
pub use remote::{OwnFolder, Remote, SshTarget};
pub(crate) use rollout::one_line;
pub use rollout::{Gate, Interrupt, Job, Pace, Phase, Row, Turn, Verdict, in_order, over, render, table};

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
    /// The boards of this run.
    pub machines: Machines,
}

/// Which name has led to which board: two for one would have it swapped between what is meant for each.
#[derive(Debug, Clone, Default)]
pub struct Machines(Arc<Mutex<HashMap<String, String>>>);

impl Machines {
    /// Holds a board's status to be that of a board that no other name has led to.
    fn check(&self, status: &Value, host: &str) -> Result<()> {
        let Some(machine) = status["machine"].as_str() else { return Ok(()) };
        let mut seen = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let other = seen.entry(machine.to_owned()).or_insert_with(|| host.to_owned());
        ensure!(other == host, "expected a board of its own, found the one that {other} leads to");
        Ok(())
    }
}

/// How long a release may take to become good: what was asked for, else three minutes beyond those of its trial.
///
/// # Errors
/// When no release could become good in that time.
pub fn wait_for(trial: &Trial, asked: Option<u64>) -> Result<Duration> {
    let trial_s = u64::from(trial.bar.minutes) * 60;
    let wait_s = asked.unwrap_or(180 + trial_s);
    ensure!(trial_s == 0 || wait_s > trial_s, "expected more than the {trial_s} s that the trial takes, found {wait_s}");
    Ok(Duration::from_secs(wait_s))
}

/// Brings a board back to the release before, where it runs what `of` names by SHA-256, whatever it runs where that is empty; waits until
/// the older one is healthy.
///
/// # Errors
/// When it cannot be reached or refuses, or what it goes back to does not become healthy.
pub fn rollback(target: &SshTarget, how: &Bringing, of: &[String], host: &str, job: &Job<'_>) -> Result<Turn> {
    let remote = Remote::new(target, host)?;
    let status = remote.ask(&["status", "--json"])?;
    how.machines.check(&status, host)?;
    let board = names(&remote, &status)?.swap_remove(0);
    // What was deployed may have fallen back, and is tried again until it is given up.
    let from = status["fell_back"]["from"].as_str().or(status["current"].as_str());
    let runs = from.is_some_and(|slot| release::holds(&status[slot], of));
    if !of.is_empty() && !runs {
        return Ok(Turn { board, what: format!("{LEFT_ALONE}: it runs {}", current(&status)), left_alone: true });
    }
    ensure!(status["current"].is_string(), "{NOTHING_INSTALLED}");
    let to = older_slot(&status);
    let words = |first: &[&str]| -> Vec<String> {
        first.iter().map(|word| (*word).to_owned()).chain(of.iter().map(|sha256| format!("--of={sha256}"))).collect()
    };
    if how.dry_run {
        if let Some(why) = remote.lacks_rights("rollback")? {
            bail!("{why}");
        }
        let what = match remote.change(&borrowed(&words(&["rollback", "--dry-run"]))) {
            Err(error) if remote::is_older(&error) => foretold_back(&status)?,
            said => said?,
        };
        return Ok(Turn { board, what, left_alone: true });
    }
    let verb: &[&str] = if how.wait.is_some() { &["rollback", "--restart"] } else { &["rollback"] };
    job.asks();
    let changed = match remote.change(&borrowed(&words(verb))) {
        // Its status has said what it runs.
        Err(error) if remote::is_older(&error) && !of.is_empty() => remote.change(verb),
        changed => changed,
    };
    job.let_go();
    let from = gone_back_from(&status);
    let what = match (changed, how.wait) {
        (Ok(said), _) if said.starts_with(LEFT_ALONE) => return Ok(Turn { board, what: said, left_alone: true }),
        (Ok(said), None) => said,
        (Ok(_), Some(wait)) => format!("back from {from}: {}", await_back(&remote, to, wait, true)?),
        // What it did behind a link that broke, the board knows.
        (Err(error), Some(wait)) if remote::is_away(&error) => {
            format!("back from {from}: {}", await_back(&remote, to, wait, false).context(BROKEN_LINK)?)
        }
        (Err(error), None) if remote::is_away(&error) => return Err(error.context(BROKEN_LINK)),
        // It may have gone back, and only the restart have failed.
        (Err(error), Some(wait)) => match remote.ask(&["status", "--json"]) {
            Ok(now) if now["current"].as_str() == to => {
                format!("back from {from}: {}", await_back(&remote, to, wait, true).map_err(|why| both(error, why))?)
            }
            Ok(_) => return Err(error),
            Err(why) => return Err(both(error, why)),
        },
        (Err(error), None) => return Err(error),
    };
    Ok(Turn { board, what, left_alone: false })
}

/// How a board's tool begins what it says where it has changed nothing.
const LEFT_ALONE: &str = "left alone";
const NOTHING_INSTALLED: &str = "nothing is installed: the packaged release runs";
const BROKEN_LINK: &str = "the link broke after the board was asked to change, so that it may have done so";

/// Two errors of one board: that it cannot be reached stays one that says so.
fn both(error: anyhow::Error, then: anyhow::Error) -> anyhow::Error {
    match remote::is_away(&then) {
        true => then.context(format!("{error:#}")),
        false => error.context(format!("{then:#}")),
    }
}

fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// What a board goes back from: what was deployed, where another runs in its place.
fn gone_back_from(status: &Value) -> String {
    match status["fell_back"]["from"].as_str() {
        Some(wanted) => format!("{}, in place of which {} ran", told_slot(status, wanted), in_place(status)),
        None => current(status),
    }
}

fn in_place(status: &Value) -> String {
    slot_that_runs(status).map_or("the packaged release".into(), |slot| told_slot(status, slot))
}

/// What a board goes back to; none is the packaged release.
fn older_slot(status: &Value) -> Option<&'static str> {
    let older = beside(status["fell_back"]["from"].as_str().or(status["current"].as_str())?);
    let state = &status[older];
    let is_whole = state["status"] == "good" || is_pending(state) || state["status"].get("aside").is_some();
    is_whole.then_some(older)
}

/// What a tool that foretells no rollback would do, as far as its status tells.
fn foretold_back(status: &Value) -> Result<String> {
    let older = beside(status["current"].as_str().context(NOTHING_INSTALLED)?);
    ensure!(status[older]["status"].get("bad").is_none(), "slot {older} holds nothing good to go back to");
    let to = older_slot(status).map_or("the packaged release".into(), |to| told_slot(status, to));
    Ok(format!("would go back from {} to {to}", current(status)))
}

/// Waits until what a board goes back to is healthy. One that has not gone back yet is given the time where `begun` is false.
fn await_back(remote: &Remote, to: Option<&str>, wait: Duration, mut begun: bool) -> Result<String> {
    let end = Instant::now() + wait;
    loop {
        // A board that restarts its network in between is asked again.
        let asked = remote.ask_until(&["status", "--json"], end);
        if let Ok(status) = &asked {
            let is_back = status["current"].as_str() == to;
            ensure!(is_back || !begun, "it did not stay healthy after the way back; it runs {}", current(status));
            begun |= is_back;
            // Until the run before has ended, what was started last is that run.
            let is_back = is_back && status["service"] != "deactivating";
            match (to, shows_frames(status, to)) {
                (None, None) if is_back => {
                    return Ok("the packaged release runs; whether it shows frames, the tool there is too old to tell".into());
                }
                (None, Some(true)) if is_back => return Ok("the packaged release is healthy".into()),
                // Each start counts as failed until it has shown enough frames.
                (Some(slot), shown)
                    if is_back
                        && shown != Some(false)
                        && status["packaged_stands_in"] != true
                        && status[slot]["status"] == "good"
                        && starts_without_frames(&status[slot]) == 0 =>
                {
                    return Ok(format!("{} is healthy", current(status)));
                }
                _ => {}
            }
        }
        if Instant::now() >= end {
            return Err(match &asked {
                Ok(status) if !begun => anyhow!("it has not gone back within {} s; it runs {}", wait.as_secs(), current(status)),
                _ => late(asked, wait).context(format!(
                    "{} to {}",
                    if begun { "it went back" } else { "it may have gone back" },
                    to.map_or("the packaged release".into(), |to| format!("slot {to}"))
                )),
            });
        }
        std::thread::sleep(ASK_EVERY.min(end.saturating_duration_since(Instant::now())));
    }
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

/// Brings a release to a board; tells what was done. Its job is let go where the board is only waited for.
///
/// # Errors
/// When the board cannot be reached, refuses, or gives the release up; it runs what it ran before.
pub fn bring(target: &SshTarget, how: &Bringing, release: &Release, host: &str, job: &Job<'_>) -> Result<Turn> {
    let remote = Remote::new(target, host)?;
    let status = remote.ask(&["status", "--json"])?;
    how.machines.check(&status, host)?;
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
                None => Ok(Turn { board, what: said, left_alone: true }),
                Some(wait) => {
                    // What becomes of it is this run's too.
                    job.asks();
                    job.let_go();
                    Ok(Turn { board, what: await_good(&remote, release, wait, true)?, left_alone: false })
                }
            };
        }
        // What another release runs in place of is brought once more, which tries it.
        Some((slot, state)) if state["status"] == "good" && slot_that_runs(&status).is_some() => {
            let what = match how.wait.filter(|_| !how.dry_run) {
                None => format!("slot {slot} {}", held_already(&status, state).unwrap_or_else(|doubt| doubt)),
                Some(wait) => {
                    job.let_go();
                    await_frames(&remote, release, wait)?
                }
            };
            return Ok(Turn { board, what, left_alone: true });
        }
        _ => {}
    }
    if let Some(why) = release.refusal(&status, how.downgrade).or_else(|| trial_of_another(&status)) {
        bail!("{why}");
    }
    if let Some(why) = foretold(&remote, release, how.downgrade)? {
        bail!("{why}");
    }
    // What a line for sudo allows, it allows with any words.
    let verb = if release.bundle.is_some() { "install" } else { "reconfigure" };
    if let Some(why) = remote.lacks_rights(verb)? {
        bail!("{why}");
    }
    if how.dry_run {
        let mut what = format!("would copy {} bytes and install {} beside {}", release.bytes(), release.title(), current(&status));
        let runs = |sha256: &str| status["current"].as_str().is_some_and(|slot| release::holds(&status[slot], &[sha256.to_owned()]));
        if release.files.iter().any(|file| file.ending == "binary" && !runs(&file.sha256)) {
            what.push_str("; whether that program takes the configuration it tells when it is there");
        }
        return Ok(Turn { board, what, left_alone: true });
    }
    let words = copied(&remote, release, how, host)?;
    job.asks();
    let installed = remote.change(&borrowed(&words));
    let broken = installed.as_ref().is_err_and(remote::is_away);
    // Behind a link that broke, an installation may still read them: they go with the next deployment.
    if !broken {
        remote.tidy(COPIES, &operators_mark());
    }
    job.let_go();
    let mine = |status: &Value| release.current(status).is_some_and(|(_, state)| is_pending(state));
    let good = |wait, begun| match await_good(&remote, release, wait, begun) {
        Err(error) if error.is::<Late>() => given_up(&remote, release, error),
        // A board that gave it up by itself runs what it ran before.
        said => said,
    };
    let said = match (installed, how.wait) {
        (Ok(said), None) => said,
        (Ok(_), Some(wait)) => good(wait, true)?,
        // What it did behind a link that broke, the board knows.
        (Err(_), Some(wait)) if broken => {
            let said = good(wait, false).context(BROKEN_LINK)?;
            remote.tidy(COPIES, &operators_mark());
            said
        }
        (Err(error), None) if broken => return Err(error.context(BROKEN_LINK)),
        // The installation may be done and only the restart have failed, or somebody else brings the same: its trial tells.
        (Err(error), Some(wait)) => match remote.ask(&["status", "--json"]) {
            Ok(now) if mine(&now) => await_good(&remote, release, wait, true).map_err(|why| both(error, why))?,
            Ok(_) => return Err(error),
            Err(why) => return Err(both(error, why)),
        },
        (Err(error), None) => return Err(error),
    };
    Ok(Turn { board, what: said, left_alone: false })
}

/// What a board says of a release that it has not got yet; a tool from before it could be asked says nothing.
fn foretold(remote: &Remote, release: &Release, downgrade: bool) -> Result<Option<String>> {
    match remote.ask_whether(&["precheck"], &release.question(downgrade)?) {
        Ok(answer) => Ok(answer["refused"].as_str().map(str::to_owned)),
        Err(error) if remote::is_older(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where copies lie on a board, below the operator's home.
const COPIES: &str = ".cache/edge-seg";

/// Ends the names of an operator's copies: two may copy the same at once.
fn operators_mark() -> String {
    format!("-{}", &hex(&Sha256::digest(history::operator()))[..8])
}

/// Copies what is brought; gives back the tool's words that install it.
fn copied(remote: &Remote, release: &Release, how: &Bringing, host: &str) -> Result<Vec<String>> {
    let mut done = Vec::new();
    let first = release.files.first().context("nothing to bring")?;
    // Named by content, for what another release left half copied is not gone on with.
    let base = |sha256: &str| format!("{COPIES}/{}{}", &sha256[..16], operators_mark());
    let (mut beside, mut path_of) = (String::new(), HashMap::new());
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
        path_of.insert(file.ending, to);
    }
    let path = |ending: &str| path_of.get(ending).cloned();
    match path("esb") {
        Some(bundle) => done.extend(["install".into(), bundle]),
        None => {
            done.push("reconfigure".into());
            done.extend(path("toml"));
        }
    }
    if let Some(binary) = path("binary") {
        done.extend(["--binary".into(), binary]);
    }
    if let Some(config) = path("toml").filter(|_| first.ending == "esb") {
        done.extend(["--config".into(), config]);
    }
    done.push(format!("--trial-starts={}", how.trial.starts));
    done.push(format!("--trial-frames={}", how.trial.frames));
    done.extend(how.trial.bar.words());
    if how.downgrade && first.ending == "esb" {
        done.push("--allow-downgrade".into());
    }
    if how.wait.is_some() {
        done.push("--restart".into());
    }
    Ok(done)
}

/// Nobody waits long for less.
const TOLD_BYTES: u64 = 1 << 20;

/// A release that did not become good in time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Late(String);

fn late(asked: Result<Value>, wait: Duration) -> anyhow::Error {
    match asked {
        Ok(_) => Late(format!("not healthy within {} s", wait.as_secs())).into(),
        Err(error) => error.context(Late(format!("not known to be healthy within {} s", wait.as_secs()))),
    }
}

/// Rolls back what did not become good in time. The board decides, for it may have called it good since it was last asked.
fn given_up(remote: &Remote, release: &Release, late: anyhow::Error) -> Result<String> {
    let of = release.marks().into_iter().map(|sha256| format!("--of={sha256}"));
    let words: Vec<String> = ["rollback", "--restart", "--on-trial"].map(str::to_owned).into_iter().chain(of).collect();
    let mut said = remote.change(&borrowed(&words));
    let on_trial = |status: &Value| release.current(status).is_some_and(|(_, state)| is_pending(state));
    if said.as_ref().is_err_and(remote::is_older) {
        said = match remote.ask(&["status", "--json"]) {
            Ok(status) if on_trial(&status) => remote.change(&["rollback", "--restart"]),
            asked => asked.map(|_| LEFT_ALONE.into()),
        };
    }
    match said {
        Ok(said) if said.starts_with(LEFT_ALONE) => {
            let status = remote.ask(&["status", "--json"]).map_err(|error| error.context(format!("{late:#}; {said}, and then")))?;
            match release.current(&status).filter(|(_, state)| state["status"] == "good") {
                Some((slot, _)) => Ok(format!("slot {slot} is good with {}", release.title())),
                None => bail!("{late:#}; {}", lost(&status, release)),
            }
        }
        Ok(said) => bail!("{late:#}; rolled back: {said}"),
        Err(error) => Err(error.context(format!("{late:#}; not rolled back"))),
    }
}

/// What the guard said of the newest trial before it called it bad.
fn told_by_guard(status: &Value) -> String {
    let entries = status["history"].as_array().map_or(&[][..], Vec::as_slice).iter().rev();
    let said = entries.take_while(|entry| entry["who"] == "guard").filter_map(|entry| entry["what"].as_str());
    let mut said = said.filter(|what| what.starts_with("slot ") && !what.contains(" is bad: ") && !what.contains(" is good"));
    said.next().map_or(String::new(), |what| format!(" ({what})"))
}

/// What became of a release that a board no longer runs, and why.
fn lost(status: &Value, release: &Release) -> String {
    let slots = ["a", "b"].map(|slot| &status[slot]);
    if let Some(why) = slots.iter().filter(|slot| release.is_in(slot)).find_map(|slot| slot["status"]["aside"]["why"].as_str()) {
        return format!("the board no longer tries {}: {why}; it runs {}", release.title(), current(status));
    }
    let why = slots.iter().filter(|slot| release.is_in(slot)).find_map(|slot| slot["status"]["bad"]["why"].as_str());
    let why = why.map_or(String::new(), |why| format!(": {why}{}", told_by_guard(status)));
    let fate = if slots.iter().any(|slot| release.is_in(slot)) { "rolled back" } else { "has not taken" };
    format!("the board {fate} {}{why}; it runs {}", release.title(), current(status))
}

/// Longest time that a board is left to wait by itself.
const SETTLE_S: u64 = 60;
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Waits until the board calls the release good, or gives it up. One that does not run it yet is given the time where `begun` is false.
fn await_good(remote: &Remote, release: &Release, wait: Duration, mut begun: bool) -> Result<String> {
    let end = Instant::now() + wait;
    let mut settled = true;
    loop {
        let left = end.saturating_duration_since(Instant::now()).as_secs().clamp(1, SETTLE_S);
        let words = format!("--until-settled={left}");
        let question: &[&str] = if settled { &["status", "--json", &words] } else { &["status", "--json"] };
        let asked = remote.ask_until(question, end);
        // A tool from before it could wait.
        settled &= !asked.as_ref().is_err_and(remote::is_older);
        // A board that restarts its network in between is asked again.
        if let Ok(status) = &asked {
            match release.current(status) {
                Some((slot, state)) if state["status"] == "good" => {
                    // A source that has come to its end ends the service too.
                    let ended = stopped(status).map_or(String::new(), |state| format!("; its service is {state} by now"));
                    return Ok(format!("slot {slot} is good with {}{ended}", release.title()));
                }
                Some(_) => begun = true,
                None if begun => bail!("{}", lost(status, release)),
                None => {}
            }
        }
        if Instant::now() >= end {
            return Err(late(asked, wait));
        }
        std::thread::sleep(ASK_EVERY.min(end.saturating_duration_since(Instant::now())));
    }
}

/// How a board is with a good slot that holds already what is brought, or why that is no good news.
fn held_already(status: &Value, slot: &Value) -> Result<String, String> {
    const LOG: &str = "there, journalctl -u edge-seg.service -n 50 tells more";
    match (stopped(status), starts_without_frames(slot)) {
        (Some(ENDED), 0) => Ok(format!("runs it already, and it is good; its service is {} by now", ENDED)),
        (Some(service), _) => {
            Err(format!("holds it already, and its service is {service}: there, sudo systemctl restart edge-seg.service"))
        }
        (None, 0) => Ok("runs it already, and it is good".into()),
        (None, 1) => Err(format!("holds it already, and its newest start has shown too few frames, or ended right after them: {LOG}")),
        (None, starts) => Err(format!("holds it already, and {starts} starts in a row have failed: {LOG}")),
    }
}

/// Waits until a good slot that holds what is brought shows its frames.
fn await_frames(remote: &Remote, release: &Release, wait: Duration) -> Result<String> {
    let end = Instant::now() + wait;
    let mut stands = 0;
    loop {
        let asked = remote.ask_until(&["status", "--json"], end);
        if let Ok(status) = &asked {
            stands = if stopped(status).is_some() { stands + 1 } else { 0 };
            let Some((slot, state)) = release.current(status).filter(|(slot, _)| slot_that_runs(status) == Some(*slot)) else {
                bail!("it showed too few frames, and another runs in its place: {}", current(status));
            };
            match held_already(status, state) {
                Ok(well) => return Ok(format!("slot {slot} {well}")),
                // Between two starts it stands for a moment.
                Err(doubt) if stands > 10 || Instant::now() >= end => bail!("slot {slot} {doubt}"),
                Err(_) => {}
            }
        }
        if Instant::now() >= end {
            return Err(late(asked, wait));
        }
        std::thread::sleep(ASK_EVERY.min(end.saturating_duration_since(Instant::now())));
    }
}

/// What a board's status says that it runs.
pub fn current(status: &Value) -> String {
    match status["current"].as_str() {
        None => slot_that_runs(status).map_or("the packaged release".into(), |slot| told_slot(status, slot)),
        Some(slot) if status["packaged_stands_in"] == true => {
            let wanted = status["fell_back"]["from"].as_str().unwrap_or(slot);
            format!("the packaged release, in place of {}", told_slot(status, wanted))
        }
        // What was installed or gone back to since has not run yet.
        Some(_) if slot_that_runs(status).is_none() => "the packaged release".into(),
        Some(slot) => told_slot(status, slot_that_runs(status).unwrap_or(slot)),
    }
}

fn told_slot(status: &Value, slot: &str) -> String {
    format!("slot {slot} with serial {}", status[slot]["release"]["serial"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::machine::Bar;
    use serde_json::json;

    #[test]
    fn a_wait_is_longer_than_the_trial_that_it_waits_for() {
        let trial = |minutes| Trial { bar: Bar { minutes, ..Bar::default() }, ..Trial::default() };
        let seconds = |minutes, asked| wait_for(&trial(minutes), asked).map(|wait| wait.as_secs());
        assert_eq!((seconds(0, None).unwrap(), seconds(0, Some(5)).unwrap()), (180, 5));
        assert_eq!((seconds(4, None).unwrap(), seconds(4, Some(241)).unwrap()), (420, 241));
        for short in [0, 180, 240] {
            assert!(seconds(4, Some(short)).unwrap_err().to_string().contains("240 s that the trial takes"));
        }
    }

    #[test]
    fn a_board_goes_back_to_the_slot_beside_or_to_what_is_packaged() {
        let status = |current: Option<&str>, a: Value, b: Value| {
            let slot =
                |status: Value| json!({ "status": status, "release": { "serial": 1, "files": [{ "name": "bundle.esb", "sha256": "x" }] } });
            json!({ "current": current, "a": slot(a), "b": slot(b) })
        };
        let (good, trial, bad) = (json!("good"), json!({ "pending": { "tries_left": 3 } }), json!({ "bad": { "why": "rolled back" } }));
        for (status, to, told) in [
            (status(Some("b"), good.clone(), good.clone()), Some("a"), "to slot a"),
            (status(Some("a"), good.clone(), trial), Some("b"), "to slot b"),
            (status(Some("a"), good.clone(), json!("empty")), None, "to the packaged release"),
            (status(Some("a"), good.clone(), bad), None, "nothing good"),
            (status(None, good.clone(), good.clone()), None, "nothing is installed"),
        ] {
            assert_eq!(older_slot(&status), to, "{status}");
            let foretold = foretold_back(&status).unwrap_or_else(|error| error.to_string());
            assert!(foretold.contains(told), "{foretold}");
        }
        let mut fallen = status(Some("a"), good.clone(), good);
        fallen["fell_back"] = json!({ "from": "b" });
        assert_eq!(older_slot(&fallen), Some("a"), "what fell back is given up, and what runs stays");
        fallen["packaged_stands_in"] = json!(true);
        assert_eq!(current(&fallen), "the packaged release, in place of slot b with serial 1");
    }

    #[test]
    fn two_names_that_lead_to_one_board_are_told() {
        let machines = Machines::default();
        let status = |machine: &str| json!({ "machine": machine });
        machines.check(&status("1"), "cam0").unwrap();
        machines.check(&status("2"), "cam1").unwrap();
        // One that was away has another turn; tools from before say nothing.
        machines.check(&status("1"), "cam0").unwrap();
        machines.check(&json!({}), "10.0.0.1").unwrap();
        assert!(machines.check(&status("1"), "10.0.0.1").unwrap_err().to_string().contains("that cam0 leads to"));
    }

    #[test]
    fn a_lost_trial_is_told_with_its_reason() {
        let entry = |who: &str, what: &str| json!({ "who": who, "what": what });
        let held = json!({ "files": [] });
        let status = json!({
            "current": "a", "a": { "status": "good", "release": { "serial": 1, "files": [] } },
            "b": { "status": { "bad": { "why": "too few frames" } }, "release": held },
            "history": [entry("guard", "slot b was slow before"), entry("root", "installed"), entry("guard", "slot b is slow"),
                        entry("guard", "slot b is bad: too few frames")],
        });
        let release = Release { bundle: None, files: Vec::new() };
        let told = lost(&status, &release);
        assert!(told.contains(": too few frames (slot b is slow); it runs slot a with serial 1"), "{told}");
    }
}
