//! What lies in a job's folder, and whether it may.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::files::{Files, has_whole_frames, is_part};
use crate::ground::Struck;
use crate::jobs::Job;
use crate::process::Ended;
use crate::schedule::{Rule, is_harmless};

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
/// What two runs without faults tell differently.
const VOLATILE: [&str; 8] =
    ["encode_ms", "encode_ms_median", "milliseconds", "latency_ms", "evidence_age_ms", "carry_ms", "late", "version"];

/// How a file grows, and so what of it may be there after a fault.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    /// It is whole or not there.
    Whole,
    /// Lines of JSON: some of the first, of which the last may be torn.
    Lines,
    /// As lines, which come in the order in which threads are done.
    Unordered,
    /// As lines, behind those that an earlier run left.
    Appended,
    /// Frames of y4m, as many as could be written.
    Frames,
    /// A video by ffmpeg, or an index: read by those that read such files.
    Other,
}

fn form(name: &str) -> Form {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        _ if name == "events.jsonl" => Form::Appended,
        _ if name == "r.jsonl" => Form::Unordered,
        "jsonl" | "txt" if name == "stdout.txt" || name.ends_with(".jsonl") => Form::Lines,
        "y4m" => Form::Frames,
        "mp4" | "index" => Form::Other,
        _ => Form::Whole,
    }
}

/// Lets what an ended process left be old enough to be swept.
pub fn age(folder: &Path, files: &Files) {
    let then = SystemTime::now() - Duration::from_secs(7200);
    for path in files.keys().filter(|name| is_part(name)).map(|name| folder.join(name)) {
        if path.symlink_metadata().unwrap().is_file() {
            fs::File::options().write(true).open(path).and_then(|file| file.set_modified(then)).unwrap();
        }
    }
}

fn without_volatile(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !VOLATILE.contains(&name.as_str()));
            fields.values_mut().for_each(without_volatile);
        }
        Value::Array(all) => all.iter_mut().for_each(without_volatile),
        _ => {}
    }
}

/// The whole lines, as what two runs tell alike, and whether something torn is behind them.
fn lines(bytes: &[u8]) -> (Vec<String>, bool) {
    let text = String::from_utf8_lossy(bytes);
    let (whole, torn) = text.rsplit_once('\n').unwrap_or(("", &text));
    let plain = |line: &str| match serde_json::from_str::<Value>(line) {
        Ok(mut value) => {
            without_volatile(&mut value);
            value.to_string()
        }
        Err(_) => line.to_owned(),
    };
    (whole.lines().map(plain).collect(), !torn.is_empty())
}

/// Whether a file holds all that it does after a run without faults.
fn same(name: &str, found: &[u8], clean: &[u8]) -> bool {
    match form(name) {
        Form::Lines => lines(found) == lines(clean),
        Form::Unordered => {
            let [mut found, mut clean] = [found, clean].map(|bytes| lines(bytes).0);
            found.sort();
            clean.sort();
            found == clean
        }
        Form::Appended => lines(found).0.ends_with(&lines(clean).0),
        Form::Whole | Form::Frames => found == clean,
        Form::Other => !found.is_empty(),
    }
}

/// Whether a file may be there after a fault: nothing of it is wrong, and what is missing is at its end.
fn is_beginning(name: &str, found: &[u8], clean: &[u8]) -> bool {
    match form(name) {
        Form::Whole => found == clean,
        Form::Unordered => {
            let (found, clean) = (lines(found).0, lines(clean).0);
            found.iter().all(|line| clean.contains(line))
        }
        // A fault costs frames and events in the middle, too; each line is one of the clean run's, in its order.
        Form::Lines | Form::Appended => {
            let (found, clean) = (lines(found).0, lines(clean).0);
            let mut rest = clean.iter();
            // A line of events that was torn has got its end, and is whole behind it.
            let is_torn = |line: &str| form(name) == Form::Appended && serde_json::from_str::<Value>(line).is_err();
            found.iter().all(|line| is_torn(line) || rest.any(|known| known == line))
        }
        Form::Frames => has_whole_frames(found, clean),
        Form::Other => true,
    }
}

/// What must hold whatever went wrong.
pub fn ended_well(ended: &Ended, struck: &[Struck], rules: &[Rule]) -> Result<(), String> {
    if ended.hung {
        return Err("it hangs".into());
    }
    if ended.stderr.contains("panicked at") {
        return Err("it panics".into());
    }
    // By the rules, for the log of what was struck may be struck itself.
    let was = |actions: &[&str]| rules.iter().any(|rule| actions.contains(&rule.action.as_str()));
    match (ended.code, ended.signal) {
        (_, Some(SIGKILL)) if was(&["kill", "killed", "torn"]) => Ok(()),
        (_, Some(SIGTERM)) if was(&["term"]) => Ok(()),
        (_, Some(signal)) => Err(format!("signal {signal} ends it")),
        (Some(0), _) => Ok(()),
        (Some(1 | 2), _) if struck.iter().all(|s| is_harmless(&s.action)) => Err("what should not be noticed is an error".into()),
        (Some(1 | 2), _) if !names_a_fault(&ended.stderr, struck) => Err("the error does not name what failed".into()),
        (Some(1 | 2), _) => Ok(()),
        // The loader was struck before the program began.
        (Some(127), _) if ended.stderr.contains("error while loading shared libraries") => Ok(()),
        (code, _) => Err(format!("exit status {code:?}")),
    }
}

/// Whether an error tells what failed: the file, or what stands for it.
fn names_a_fault(stderr: &str, struck: &[Struck]) -> bool {
    struck.iter().filter(|s| !is_harmless(&s.action)).any(|s| {
        let name = s.place.rsplit('/').next().unwrap_or_default();
        let name = name.trim_start_matches('.').split(".part").next().unwrap_or_default();
        // NAME.PID.part is told as NAME.
        let name = name.rsplit_once('.').filter(|(_, pid)| pid.parse::<u32>().is_ok()).map_or(name, |(name, _)| name);
        // A board's state has a twin, and NAME.new becomes NAME; what a release brings is told by its name in the slot.
        let name = name.trim_end_matches(".new").replace(".copy.", ".");
        let known = match name.as_str() {
            "stdout.txt" => &["stdout", "JSON lines"][..],
            "runtime" => &["edge-seg: ", "the runtime"],
            "r2.esb" => &["r2.esb", "bundle.esb"],
            // Its folders are made with the first file in them.
            "slots" => &["state.json", "slot ", "var/lib/edge-seg: "],
            _ => &[name.as_str()],
        };
        known.iter().any(|known| stderr.contains(known))
    })
}

/// What lies in the folder after a run under faults, against what a run without any writes.
pub fn left(job: &Job, ended: &Ended, struck: &[Struck], found: &Files, clean: &Files, before: &Files) -> Result<(), String> {
    for (name, old) in before.iter().filter(|(name, _)| *name != job.mark && !job.is_optional(name)) {
        let Some(new) = found.get(name) else { return Err(format!("{name}, which was there before, is lost")) };
        // What a record holds is what need not be done again.
        let kept = lines(new).0;
        if matches!(form(name), Form::Lines | Form::Unordered | Form::Appended) && !lines(old).0.iter().all(|line| kept.contains(line)) {
            return Err(format!("{name} has lost lines that were there before"));
        }
    }
    let removals = struck.iter().any(|s| s.call == "remove" || s.call == "look");
    for (name, bytes) in found.iter().filter(|(name, _)| !job.was_given(name)) {
        if is_part(name) {
            // A video that cannot get its name is kept, and told of.
            let is_told = ended.stderr.contains(name.as_str());
            if ended.signal.is_none() && !removals && !is_told {
                return Err(format!("{name} is left by a process that ended by itself"));
            }
            continue;
        }
        // Tables of the pictures that could be labelled, where it says that some could not.
        if ended.code != Some(0)
            && ["labels.jsonl: ", "could not be labelled", "images/"].iter().any(|said| ended.stderr.contains(said))
            && name.starts_with("out/")
        {
            continue;
        }
        // Measures of the pictures that could be read.
        if ended.code == Some(2) && job.name == "eval" && name == "stdout.txt" {
            continue;
        }
        // Answers out of what could be read, where it says that some could not.
        if ended.stderr.contains("not in the index") && (name.starts_with("found/") || name == "stdout.txt") {
            continue;
        }
        let Some(whole) = clean.get(name) else { return Err(format!("{name}: no run without faults writes it")) };
        let old = before.get(name).map_or(&[][..], Vec::as_slice);
        // What is added to comes behind what was there.
        let bytes = if form(name) == Form::Appended { bytes.strip_prefix(old).unwrap_or(bytes) } else { bytes };
        if !is_beginning(name, bytes, whole) {
            return Err(format!("{name} is half written, or wrong"));
        }
    }
    let is_told = ended.stderr.contains("not in the index");
    if ended.code == Some(0) && !is_told { all_there(job, found, clean).map_err(|why| format!("it ends well, and {why}")) } else { Ok(()) }
}

/// Whether all that a run without faults writes is there, and nothing else.
pub fn all_there(job: &Job, found: &Files, clean: &Files) -> Result<(), String> {
    for (name, whole) in clean {
        match found.get(name) {
            None if job.is_optional(name) => {}
            None => return Err(format!("{name} is missing")),
            Some(bytes) if job.was_given(name) && bytes != whole => return Err(format!("{name}, which was given, is changed")),
            Some(bytes) if !same(name, bytes, whole) => return Err(format!("{name} is not what a run without faults writes")),
            Some(_) => {}
        }
    }
    match found.keys().find(|name| !clean.contains_key(*name) && !job.is_optional(name)) {
        Some(name) => Err(format!("{name} is left over")),
        None => Ok(()),
    }
}
