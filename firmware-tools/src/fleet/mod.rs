//! Many boards by one file, without a server: what they run, what is wrong with them, how they get releases and configurations.

mod file;
pub mod journal;
mod publish;
mod window;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use edge_seg_bundle::date::utc;
use edge_seg_bundle::files::{hex, replace_file};
use minisign::SecretKey;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::deploy::{
    self, Bringing, Gate, Interrupt, OwnFolder, Pace, Payload, Phase, Release, Remote, Row, Turn, Verdict, slot_that_runs, table,
};
use crate::install::now;
use crate::keys::{self, Password};
use crate::slots::machine::{BUNDLE, PROGRAM};
pub use file::{Fleet, Host, MOST_MINUTES};
use journal::{Journal, Rollout};
pub use publish::{Publication, Published};
pub use window::{Window, opens_in};

/// What a board answered.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The board.
    pub host: &'a Host,
    /// Its answer, or why there is none.
    pub answer: Result<Value>,
}

impl Answer<'_> {
    /// As JSON.
    pub fn json(&self) -> Value {
        match &self.answer {
            Ok(answer) => json!({ "host": self.host.name, "answer": answer }),
            Err(error) => json!({ "host": self.host.name, "error": format!("{error:#}") }),
        }
    }
}

/// What a rollout brings.
#[derive(Debug, Clone)]
pub struct Order {
    /// The bundle and the runtime.
    pub payload: Payload,
    /// Bring each board's configuration.
    pub configs: bool,
    /// Password of the key that signs configurations.
    pub password: Password,
    /// Bring boards back to the release before, in place of anything else: those that run what the payload holds or `of` names, else what
    /// the newest rollout of the journal brought.
    pub rollback: bool,
    /// SHA-256 of what boards are brought back from.
    pub of: Option<String>,
    /// Only look.
    pub dry_run: bool,
    /// Go on after a failure.
    pub keep_going: bool,
    /// Accept a lower serial.
    pub downgrade: bool,
    /// Leave windows aside.
    pub at_once: bool,
    /// Where phases end, in place of the file's.
    pub phases: Option<Vec<Phase>>,
    /// Who may ask it to end.
    pub interrupt: Interrupt,
}

impl Fleet {
    /// Asks boards, many at a time, in their order.
    fn ask<'a, T: Send>(&self, hosts: &[&'a Host], question: impl Fn(&'a Host) -> T + Sync) -> Vec<T> {
        let queue = Mutex::new(hosts.iter().copied().enumerate().collect::<VecDeque<_>>());
        let answers = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.clamp(1, hosts.len().max(1)) {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().unwrap_or_else(|e| e.into_inner()).pop_front();
                        let Some((place, host)) = next else { return };
                        let answer = question(host);
                        answers.lock().unwrap_or_else(|e| e.into_inner()).push((place, answer));
                    }
                });
            }
        });
        let mut answers = answers.into_inner().unwrap_or_else(|e| e.into_inner());
        answers.sort_by_key(|(place, _)| *place);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// What boards run.
    pub fn status<'a>(&self, hosts: &[&'a Host]) -> Vec<Answer<'a>> {
        self.ask(hosts, |host| Answer {
            host,
            answer: Remote::new(&self.target, &host.ssh).and_then(|remote| remote.ask(&["status", "--json"])).map(|mut status| {
                status["digest"] = json!(digest(&status));
                status
            }),
        })
    }

    /// What is wrong with boards.
    pub fn doctor<'a>(&self, hosts: &[&'a Host]) -> Vec<Answer<'a>> {
        let question = ["doctor", "--json"];
        self.ask(hosts, |host| Answer {
            host,
            answer: Remote::new(&self.target, &host.ssh).and_then(|remote| remote.ask_whether(&question, &[])),
        })
    }

    /// Fetches the last lines of boards' logs, their metrics and status into a folder for each below `into`; tells what was fetched.
    pub fn collect<'a>(&self, hosts: &[&'a Host], into: &Path, lines: u32) -> Vec<Answer<'a>> {
        self.ask(hosts, |host| Answer { host, answer: self.collect_one(host, &into.join(&host.name), lines) })
    }

    fn collect_one(&self, host: &Host, folder: &Path, lines: u32) -> Result<Value> {
        let remote = Remote::new(&self.target, &host.ssh)?;
        let status = remote.ask(&["status", "--json"])?;
        std::fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
        replace_file(&folder.join("status.json"), &serde_json::to_vec_pretty(&status)?)?;
        let mut fetched = json!({});
        let log = format!("journalctl -u edge-seg.service -n {lines} -o short-iso --no-pager");
        let metrics = || remote.change(&["metrics"]).map(|text| format!("{text}\n").into_bytes());
        // One that fails leaves no file of an earlier time beside the other's.
        for (name, got) in [("log.txt", read_log(remote.printed(&log))), ("metrics.prom", metrics())] {
            let path = folder.join(name);
            fetched[name] = match got {
                Ok(bytes) => {
                    replace_file(&path, &bytes)?;
                    json!(bytes.len())
                }
                Err(error) => {
                    let _ = std::fs::remove_file(&path);
                    json!(format!("{error:#}"))
                }
            };
        }
        Ok(fetched)
    }

    /// Why no board may begin now.
    fn gate(&self, at_once: bool) -> Gate {
        match std::fs::read_to_string(&self.pause) {
            Ok(why) => return Gate::Shut(format!("paused: {} (edge-seg-fw fleet resume, then deploy again)", why.trim())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            // What cannot be read may say to stop.
            Err(error) => return Gate::Shut(format!("{}: {error}", self.pause.display())),
        }
        match opens_in(&self.windows, now()) {
            0 => Gate::Open,
            _ if at_once => Gate::Open,
            minutes => Gate::Wait(format!("the next window opens in {} h {} min", minutes / 60, minutes % 60)),
        }
    }

    /// Lets no board begin until [`Fleet::resume`].
    ///
    /// # Errors
    /// When the file beside `fleet.toml` cannot be written.
    pub fn pause(&self, why: &str) -> Result<()> {
        replace_file(&self.pause, format!("{why}\n").as_bytes())?;
        Journal::at(&self.journal).add("pause", &json!({ "what": why }))
    }

    /// Takes a pause back, and tells why there was one; none where there was none.
    ///
    /// # Errors
    /// When its file cannot be removed.
    pub fn resume(&self) -> Result<Option<String>> {
        let why = std::fs::read_to_string(&self.pause).unwrap_or_default();
        let was = match std::fs::remove_file(&self.pause) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("{}", self.pause.display()));
            }
            removed => removed.is_ok(),
        };
        Journal::at(&self.journal).add("resume", &json!({ "what": "" }))?;
        Ok(was.then(|| why.trim().to_owned()))
    }

    /// What each board gets: `release`, with its own configuration, which is written into `folder` and signed.
    fn releases<'a>(
        &self,
        hosts: &[&'a Host],
        release: &Release,
        configs: bool,
        secret: Option<&SecretKey>,
        folder: &OwnFolder,
    ) -> Result<HashMap<&'a str, Release>> {
        let mut releases = HashMap::new();
        for host in hosts {
            let release = match host.config.as_ref().filter(|_| configs) {
                Some(config) => {
                    let name = format!("{}.toml", host.name);
                    let path = folder.path().join(&name);
                    write_private(&path, toml::to_string(config)?.as_bytes())?;
                    if let Some(secret) = secret {
                        let text = keys::sign(secret, std::fs::File::open(&path)?, &name, now())?;
                        write_private(&folder.path().join(format!("{name}.minisig")), text.as_bytes())?;
                    }
                    release.with_config(&path)?
                }
                None => release.clone(),
            };
            ensure!(!release.is_empty(), "host {:?}: nothing to bring: give --bundle, or [config] base in the fleet's file", host.name);
            releases.insert(host.name.as_str(), release);
        }
        Ok(releases)
    }

    /// What boards are brought back from.
    fn back_from(&self, hosts: &[&Host], order: &Order, bundle: &Release, entries: &[Value]) -> Result<Rollout> {
        let of: Vec<String> = bundle.marks().into_iter().chain(order.of.clone()).collect();
        if of.is_empty() {
            let place = self.journal.display();
            return journal::newest_rollout(entries).with_context(|| {
                format!("{place}: no rollout is there to bring boards back from: name one with --bundle FILE or --of SHA256")
            });
        }
        let what = if bundle.is_empty() { of.join(", ") } else { bundle.title() };
        let boards: BTreeMap<_, _> = hosts.iter().map(|host| (host.name.clone(), of.clone())).collect();
        Ok(Rollout { what, known: boards.keys().cloned().collect(), boards })
    }

    /// Rows of a way back for boards of this file that the rollout was not for, and of those that it may have changed and this file lacks:
    /// one may be the other under a new name.
    fn unmatched(&self, back: &Rollout, strangers: &[String], all: bool) -> Vec<Row> {
        let row = |host: &str, verdict: Verdict, what: String| Row {
            host: host.to_owned(),
            board: String::new(),
            verdict,
            what,
            seconds: 0,
            left_alone: true,
        };
        let is_here = |name: &&String| self.hosts.iter().any(|host| host.name == **name);
        let lacking: Vec<&String> = back.boards.keys().filter(|name| !is_here(name)).collect();
        let names = lacking.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        let unknown = strangers.iter().map(|name| match lacking.is_empty() {
            true => row(name, Verdict::Done, "left alone: that rollout was not for it".into()),
            false => row(
                name,
                Verdict::Failed,
                format!(
                    "the journal's rollout knows no board of this name, but {names}, which the file lacks: where one was renamed, give it \
                     its old name back, or name what to go back from by --of SHA256"
                ),
            ),
        });
        let lacked = lacking.iter().filter(|_| all).map(|name| {
            row(name, Verdict::Failed, "the rollout may have changed it, and the file has no board of this name any more".into())
        });
        unknown.chain(lacked).collect()
    }

    /// Brings what `order` says to boards, phase after phase, and writes the journal.
    ///
    /// # Errors
    /// When what is brought cannot be read or signed here, or the journal cannot be written. What goes wrong with a board stands in its row.
    pub fn deploy(&self, hosts: &[&Host], order: &Order) -> Result<Vec<Row>> {
        let release = Release::of(&order.payload)?;
        let folder = OwnFolder::new()?;
        let secret = match (&self.key, order.configs && !order.rollback) {
            (Some(key), true) => Some(keys::read_secret(key, &order.password)?),
            _ => None,
        };
        let releases = match order.rollback {
            true => HashMap::new(),
            false => self.releases(hosts, &release, order.configs, secret.as_ref(), &folder)?,
        };
        let (dry_run, downgrade) = (order.dry_run, order.downgrade);
        let how = Bringing { dry_run, downgrade, trial: self.trial, wait: Some(self.wait), machines: deploy::Machines::default() };
        let journal = Journal::at(&self.journal);
        let entries = journal::read(&self.journal)?;
        if let Some(entry) = journal::unfinished(&entries) {
            eprintln!("edge-seg-fw: a run has no end in the journal: it was killed, or is under way elsewhere: {}", journal::told(entry));
        }
        let back = if order.rollback { Some(self.back_from(hosts, order, &release, &entries)?) } else { None };
        let what = back.as_ref().map_or_else(|| release.title(), |back| format!("back from {}", back.what));
        let what = if order.dry_run { format!("dry run of {what}") } else { what };
        let phases = order.phases.clone().unwrap_or_else(|| self.phases.clone());
        let names: Vec<String> = hosts.iter().map(|host| host.name.clone()).collect();
        let title =
            format!("{what} to {} boards, phases {}", hosts.len(), phases.iter().map(Phase::to_string).collect::<Vec<_>>().join(", "));
        let each: serde_json::Map<_, _> = releases.iter().map(|(name, release)| ((*name).to_owned(), release.digests())).collect();
        journal.add(
            "start",
            &json!({
                "what": title, "files": release.digests(), "hosts": names, "boards": each, "dry_run": order.dry_run,
                "rollback": order.rollback,
            }),
        )?;
        if back.is_some() {
            eprintln!("edge-seg-fw: {title}");
        }
        let lost = Mutex::new(None);
        let told = |row: &Row| {
            let files = releases.get(row.host.as_str()).map(Release::digests);
            let entry = json!({ "host": row.host, "board": row.board, "verdict": row.verdict, "what": row.what, "seconds": row.seconds, "left_alone": row.left_alone, "files": files });
            if let Err(error) = journal.add("board", &entry) {
                lost.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(error);
            }
            eprintln!("{} {}: {}", utc(SystemTime::now()), row.host, deploy::one_line(&row.what));
        };
        let gate = || match order.interrupt.gate() {
            Gate::Open => self.gate(order.at_once || order.dry_run),
            shut => shut,
        };
        let pace = Pace {
            phases,
            jobs: self.jobs,
            under_way: self.under_way,
            keep_going: order.keep_going,
            back: order.rollback,
            // Who only looks waits for nobody.
            retry: Some(if order.dry_run { Duration::ZERO } else { self.retry }),
            retry_every: self.retry_every,
            gate: &gate,
            told: &told,
        };
        let ssh = |name: &str| hosts.iter().find(|host| host.name == name).map_or("", |host| host.ssh.as_str());
        let (known, strangers): (Vec<String>, Vec<String>) =
            names.into_iter().partition(|name| back.as_ref().is_none_or(|back| back.known.contains(name)));
        let mut rows = deploy::over(&pace, &known, |name, job| match releases.get(name) {
            Some(release) => deploy::bring(&self.target, &how, release, ssh(name), job),
            None => match back.as_ref().and_then(|back| back.boards.get(name)) {
                Some(of) => deploy::rollback(&self.target, &how, of, ssh(name), job),
                None => Ok(Turn { what: "left alone: that rollout has not changed it".into(), left_alone: true, ..Turn::default() }),
            },
        });
        if let Some(back) = &back {
            let added = self.unmatched(back, &strangers, hosts.len() == self.hosts.len());
            added.iter().for_each(told);
            rows.extend(added);
            rows.sort_by_key(|row| hosts.iter().position(|host| host.name == row.host).unwrap_or(hosts.len()));
        }
        let count = |verdict: Verdict| rows.iter().filter(|row| row.verdict == verdict).count();
        let what = format!(
            "{} done, {} failed, {} unknown, {} away, {} skipped",
            count(Verdict::Done),
            count(Verdict::Failed),
            count(Verdict::Unknown),
            count(Verdict::Away),
            count(Verdict::Skipped)
        );
        journal.add("end", &json!({ "what": what }))?;
        match lost.into_inner().unwrap_or_else(|e| e.into_inner()) {
            Some(error) => Err(error.context(format!("{what}, but the journal is not whole"))),
            None => Ok(rows),
        }
    }
}

/// A configuration may hold passwords: nobody else reads it here, and so nobody but the service does there.
fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(|| format!("{}", path.display()))?;
    Ok(file.write_all(bytes)?)
}

/// What tells the bundle and the program that a board runs from others of the same number, by which alone they are shown otherwise.
fn digest(status: &Value) -> Option<String> {
    let files = status[slot_that_runs(status)?]["release"]["files"].as_array()?;
    let mut hash = Sha256::new();
    for name in [BUNDLE, PROGRAM] {
        hash.update(files.iter().find(|file| file["name"] == name)?["sha256"].as_str()?);
    }
    Some(hex(&hash.finalize()))
}

/// How many of its digits are shown.
const DIGEST_SHOWN: usize = 8;

/// What a board's status says that it runs, in a few words.
fn runs(status: &Value) -> String {
    slot_that_runs(status).map_or_else(|| "packaged".into(), |slot| release_in(status, slot))
}

/// The slot whose release has changed on a board's disk.
fn changed_slot(status: &Value) -> Option<&'static str> {
    ["a", "b"].into_iter().find(|slot| status[slot]["changed"] == true)
}

fn release_in(status: &Value, slot: &str) -> String {
    format!("{} {}", status[slot]["release"]["name"].as_str().unwrap_or("-"), status[slot]["release"]["serial"])
}

/// What boards run, as a table.
pub fn render_status(answers: &[Answer]) -> String {
    let statuses = || answers.iter().filter_map(|answer| answer.answer.as_ref().ok());
    let others = |status: &Value| statuses().any(|other| runs(other) == runs(status) && other["digest"] != status["digest"]);
    let rows = answers.iter().map(|answer| {
        let [board, runs, state, program, last] = match &answer.answer {
            Err(error) => ["-".into(), "?".into(), "-".into(), "-".into(), format!("{error:#}")],
            Ok(status) => {
                let slot = slot_that_runs(status);
                let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
                let pointed = status["current"].as_str();
                let stood_for = pointed.filter(|_| status["packaged_stands_in"] == true);
                let state = match slot.map(|slot| &status[slot]["status"]) {
                    _ if let Some(from) = status["fell_back"]["from"].as_str().or(stood_for) => {
                        format!("fell back from slot {from}, {}", release_in(status, from))
                    }
                    _ if let Some(changed) = changed_slot(status) => {
                        format!("slot {changed} changed on disk, {}", release_in(status, changed))
                    }
                    _ if let Some(service) = deploy::stopped(status).filter(|service| *service != deploy::ENDED) => {
                        format!("service {service}")
                    }
                    _ if slot != pointed => {
                        let next = pointed.map_or("packaged".into(), |next| release_in(status, next));
                        format!("{next} at the next start")
                    }
                    None => "-".into(),
                    Some(Value::String(state)) if state == "good" => match deploy::starts_without_frames(&status[slot.unwrap_or_default()])
                    {
                        0 if let Some(service) = deploy::stopped(status) => format!("{state}, service {service}"),
                        0 => state.clone(),
                        1 => "starting".into(),
                        starts => format!("fails, {starts} starts"),
                    },
                    Some(Value::String(state)) => state.clone(),
                    Some(state) if state.get("pending").is_some() => "on trial".into(),
                    Some(state) if state.get("aside").is_some() => "set aside".into(),
                    Some(_) => "bad".into(),
                };
                let last = status["history"].as_array().and_then(|entries| entries.last());
                let last = last.map_or("-".into(), |entry| format!("{} {}", text(&entry["time"]), text(&entry["what"])));
                let mut runs = runs(status);
                if let Some(digest) = status["digest"].as_str().filter(|_| others(status)) {
                    runs.push_str(&format!(" ({})", &digest[..DIGEST_SHOWN]));
                }
                [text(&status["board"][0]), runs, state, text(&status["versions"][slot.unwrap_or("packaged")]), last]
            }
        };
        [answer.host.name.clone(), board, runs, state, program, last]
    });
    table(["host", "board", "runs", "state", "program", "last"], rows)
}

/// Whether a board's doctor found nothing bad.
pub fn is_healthy(answer: &Answer) -> bool {
    answer
        .answer
        .as_ref()
        .is_ok_and(|findings| findings.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(|one| one["level"] != "bad")))
}

/// What is wrong with boards, as a table: a row for each finding, or one that says that there is none.
pub fn render_doctor(answers: &[Answer]) -> String {
    let mut rows = Vec::new();
    for answer in answers {
        let name = answer.host.name.clone();
        match &answer.answer {
            Err(error) => rows.push([name, "?".into(), "-".into(), format!("{error:#}"), String::new()]),
            Ok(findings) => {
                let before = rows.len();
                for finding in findings.as_array().into_iter().flatten().filter(|finding| finding["level"] != "ok") {
                    let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
                    rows.push([name.clone(), text("level"), text("check"), text("found"), text("mend")]);
                }
                if rows.len() == before {
                    rows.push([name, "ok".into(), "-".into(), "-".into(), String::new()]);
                }
            }
        }
    }
    table(["host", "level", "check", "found", "mend"], rows.into_iter())
}

const NO_LOG: &str = "no line of the service's log can be read: may the user there read it? If not: sudo usermod -aG systemd-journal USER";

/// journalctl shows a user without rights nothing, and calls that no entries, or says that the journal's files may not be opened.
fn read_log(said: Result<Vec<u8>>) -> Result<Vec<u8>> {
    let text = said.map_err(|error| match error.to_string().contains("permission") {
        true => error.context(NO_LOG),
        false => error,
    })?;
    ensure!(!text.trim_ascii().ends_with(b"-- No entries --"), NO_LOG);
    Ok(text)
}

/// Whether a board's log was fetched.
pub fn has_log(answer: &Answer) -> bool {
    answer.answer.as_ref().is_ok_and(|fetched| fetched["log.txt"].is_u64())
}

/// What was fetched, as a table.
pub fn render_collected(answers: &[Answer]) -> String {
    let cell = |value: &Value| value.as_u64().map_or_else(|| value.as_str().unwrap_or("-").to_owned(), |bytes| format!("{bytes} bytes"));
    let rows = answers.iter().map(|answer| match &answer.answer {
        Ok(fetched) => [answer.host.name.clone(), cell(&fetched["log.txt"]), cell(&fetched["metrics.prom"])],
        Err(error) => [answer.host.name.clone(), format!("{error:#}"), "-".into()],
    });
    table(["host", "log.txt", "metrics.prom"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_that_run_different_releases_of_one_number_do_not_look_alike() {
        let host = Host { name: "cam".into(), ssh: "cam".into(), groups: Vec::new(), config: None };
        let status = |bundle: &str, program: &str, config: &str| {
            let file = |name: &str, sha256: &str| json!({ "name": name, "sha256": sha256 });
            let files = [file(BUNDLE, bundle), file(PROGRAM, program), file("config.toml", config)];
            let mut status =
                json!({ "current": "a", "a": { "status": "good", "release": { "name": "tiny", "serial": 4, "files": files } } });
            status["digest"] = json!(digest(&status));
            Answer { host: &host, answer: Ok(status) }
        };
        let shown = |answers: &[Answer]| render_status(answers).matches("tiny 4 (").count();
        assert_eq!(shown(&[status("1", "p", "words"), status("1", "p", "others")]), 0, "words are each board's own");
        assert_eq!(shown(&[status("1", "p", ""), status("2", "p", "")]), 2);
        assert_eq!(shown(&[status("1", "p", ""), status("1", "q", "")]), 2);
    }

    #[test]
    fn a_board_that_fell_back_is_shown_with_both_releases() {
        let host = Host { name: "cam".into(), ssh: "cam".into(), groups: Vec::new(), config: None };
        let slot = |serial: u64| json!({ "status": "good", "release": { "name": "tiny", "serial": serial, "files": [] } });
        let status = json!({ "current": "a", "a": slot(4), "b": slot(5), "fell_back": { "from": "b" } });
        let shown = render_status(&[Answer { host: &host, answer: Ok(status) }]);
        assert!(shown.contains("tiny 4") && shown.contains("fell back from slot b, tiny 5"), "{shown}");
    }

    #[test]
    fn what_a_board_runs_is_never_told_as_what_it_should_run() {
        let host = Host { name: "cam".into(), ssh: "cam".into(), groups: Vec::new(), config: None };
        let slot = |serial: u64| json!({ "status": "good", "release": { "name": "tiny", "serial": serial, "files": [] } });
        let versions = json!({ "packaged": "0.1.0", "a": "0.2.0", "b": "0.3.0" });
        let shown = |status: &Value| {
            let text = render_status(&[Answer { host: &host, answer: Ok(status.clone()) }]);
            let row = text.lines().last().unwrap_or_default().to_owned();
            row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        let mut status = json!({ "current": "a", "a": slot(4), "b": slot(5), "packaged_stands_in": true, "versions": versions });
        assert_eq!(shown(&status)[2..5], ["packaged", "fell back from slot a, tiny 4", "0.1.0"]);
        assert_eq!(digest(&status), None);
        status["fell_back"] = json!({ "from": "b" });
        assert_eq!(shown(&status)[2..5], ["packaged", "fell back from slot b, tiny 5", "0.1.0"]);
        // What was deployed last has rotted, and the other one runs for good.
        status = json!({ "current": "a", "a": slot(4), "b": slot(5), "packaged_stands_in": false, "versions": versions });
        assert_eq!(shown(&status)[2..5], ["tiny 4", "good", "0.2.0"]);
        (status["b"]["status"], status["b"]["changed"]) = (json!({ "bad": { "why": "other bytes" } }), json!(true));
        assert_eq!(shown(&status)[2..5], ["tiny 4", "slot b changed on disk, tiny 5", "0.2.0"]);
        // What is good and shows nothing is not called so.
        status = json!({ "current": "a", "a": slot(4), "versions": versions, "service": "active" });
        for (starts, told) in [(0, "good"), (1, "starting"), (2, "fails, 2 starts"), (7, "fails, 7 starts")] {
            status["a"]["failed_starts"] = json!(starts);
            assert_eq!(shown(&status)[2..5], ["tiny 4", told, "0.2.0"]);
        }
        for (service, told) in [("failed", "service failed"), ("inactive", "service inactive"), ("ended", "fails, 7 starts")] {
            status["service"] = json!(service);
            assert_eq!(shown(&status)[3], told);
        }
        status["a"]["failed_starts"] = json!(0);
        assert_eq!(shown(&status)[3], "good, service ended");
    }

    #[test]
    fn a_log_that_may_not_be_read_is_no_log() {
        let denied = || anyhow::anyhow!("No journal files were opened due to insufficient permissions.");
        for said in [Ok(b"-- No entries --\n".to_vec()), Err(denied())] {
            assert!(read_log(said).unwrap_err().to_string().contains("usermod -aG systemd-journal"));
        }
        assert_eq!(read_log(Ok(b"a line\n".to_vec())).unwrap(), b"a line\n");
        assert_eq!(read_log(Err(anyhow::anyhow!("no such command"))).unwrap_err().to_string(), "no such command");
    }
}
