//! Faults: full and failing disks, calls that fall short, are interrupted or wait, clocks that jump, processes that are killed in any of
//! their calls. A number is a schedule: it chooses a job and what goes wrong, and does so again whenever it is asked for.
//!
//! After each schedule nothing half written may be taken for whole, errors must name what failed, nothing may hang or panic; and the same
//! job, run again without faults on what is left, must end as if nothing had been. `EDGE_SEG_FAULTS` sets how many schedules are run,
//! `EDGE_SEG_FAULTS_FIRST` the first one's number.

mod boards;
mod files;
mod ground;
mod jobs;
mod judge;
mod live;
mod process;
mod schedule;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use edge_seg_tests::need_program;

use files::Files;
use ground::{Ground, Struck};
use jobs::{JOBS, Job};
use process::Ended;
use schedule::{Calls, Rng, Rule};

/// A job, what it writes without faults, and the calls that it makes for it: in a new folder, and where a run before it is done.
struct Known {
    job: &'static Job,
    clean: Files,
    calls: [Calls; 2],
}

/// One run of a job.
struct Ran {
    folder: tempfile::TempDir,
    before: Files,
    ended: Ended,
    struck: Vec<Struck>,
    calls: Calls,
}

/// Runs a job under these rules, over what an earlier run has written.
fn run(ground: &Ground, job: &'static Job, turn: u64, earlier: Option<&Files>, rules: &[Rule]) -> Ran {
    let folder = ground.lay_for(job, turn);
    if let Some(earlier) = earlier {
        files::put(folder.path(), earlier, |name| !job.was_given(name) && name != "stdout.txt");
    }
    let before = files::files(folder.path());
    let log = folder.path().with_extension("log");
    let mut command = ground.struck(job, folder.path(), rules, &log);
    let ended = process::run(&mut command, folder.path(), |child| (job.meanwhile)(folder.path(), child));
    let (struck, calls) = ground::read_log(&log);
    Ran { folder, before, ended, struck, calls }
}

fn know(ground: &Ground, job: &'static Job) -> Known {
    let clean = |before: Option<&Files>| {
        let ran = run(ground, job, 0, before, &[]);
        assert_eq!(ran.ended.code, Some(0), "{}: {}", job.name, ran.ended.stderr);
        let found = files::files(ran.folder.path());
        if let Some(judge) = job.judge {
            judge(ran.folder.path(), &ran.ended).unwrap_or_else(|why| panic!("{} without faults: {why}", job.name));
        }
        (found, ran.calls)
    };
    let (first, calls) = clean(None);
    let mut known = Known { job, clean: first, calls: [calls, Calls::new()] };
    if job.judge.is_none() {
        let (again, calls) = clean(Some(&known.clean));
        judge::all_there(job, &again, &known.clean).unwrap_or_else(|why| panic!("{} done again without faults: {why}", job.name));
        known.calls[1] = calls;
    }
    known
}

/// What a schedule did.
struct Done {
    job: &'static str,
    rules: Vec<Rule>,
    ran: Ran,
    wrong: Option<String>,
}

/// Runs a job under rules and judges what is left.
fn meet(ground: &Ground, known: &Known, turn: u64, again: bool, rules: Vec<Rule>) -> Done {
    let ran = run(ground, known.job, turn, again.then_some(&known.clean), &rules);
    let wrong = judged(known, &ran, &rules).err();
    Done { job: known.job.name, rules, ran, wrong }
}

fn judged(known: &Known, Ran { folder, before, ended, struck, .. }: &Ran, rules: &[Rule]) -> Result<(), String> {
    let (job, folder) = (known.job, folder.path());
    judge::ended_well(ended, struck, rules)?;
    let found = files::files(folder);
    if let Some(judge) = job.judge {
        judge::age(folder, &found);
        return judge(folder, ended);
    }
    judge::left(job, ended, struck, &found, &known.clean, before)?;
    judge::age(folder, &found);
    std::fs::remove_file(folder.join("stdout.txt")).unwrap();
    let once_more = process::run(&mut job.command(folder), folder, |_| {});
    if once_more.code != Some(0) {
        return Err(format!("run again without faults it ends with {:?}: {}", once_more.code, once_more.stderr));
    }
    // What an index keeps of a picture depends on what came before it, and those that could not be read come now.
    if ended.stderr.contains("not in the index") {
        return Ok(());
    }
    judge::all_there(job, &files::files(folder), &known.clean).map_err(|why| format!("after another run without faults {why}"))
}

/// The jobs, each known once it is asked for.
struct Bench {
    ground: Ground,
    known: Vec<OnceLock<Known>>,
}

impl Bench {
    fn new() -> Self {
        Self { ground: Ground::new(), known: JOBS.iter().map(|_| OnceLock::new()).collect() }
    }

    fn known(&self, at: usize) -> &Known {
        self.known[at].get_or_init(|| know(&self.ground, &JOBS[at]))
    }

    /// A schedule by its number.
    fn schedule(&self, number: u64) -> Done {
        let mut rng = Rng::new(number);
        let known = self.known(rng.below(JOBS.len() as u64) as usize);
        let again = known.job.judge.is_none() && rng.below(3) == 0;
        let (turn, rules) = (rng.below(1 << 32), schedule::draw(&mut rng, &known.calls[usize::from(again)]));
        meet(&self.ground, known, turn, again, rules)
    }

    /// A schedule that is written out.
    fn found(&self, (job, again, rules): (&str, bool, &str)) -> Done {
        let at = JOBS.iter().position(|known| known.name == job).expect("a job of this name");
        meet(&self.ground, self.known(at), 0, again, rules.split("; ").map(|rule| rule.parse().expect("a rule")).collect())
    }
}

/// Does all of them, on as many threads as there are processors, and tells of each that went wrong.
fn judge_all(count: u64, name: impl Fn(u64) -> String + Sync, done: impl Fn(u64) -> Done + Sync) {
    let next = AtomicU64::new(0);
    let all = Mutex::new((BTreeMap::<&str, [u64; 3]>::new(), 0));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        break;
                    }
                    if at > 0 && at.is_multiple_of(1000) {
                        eprintln!("{at} schedules are begun");
                    }
                    let done = done(at);
                    let mut all = all.lock().unwrap();
                    let [run, struck, killed] = all.0.entry(done.job).or_default();
                    *run += 1;
                    *struck += u64::from(!done.ran.struck.is_empty());
                    *killed += u64::from(done.ran.ended.signal.is_some());
                    if let Some(why) = &done.wrong {
                        all.1 += 1;
                        tell(&name(at), &done, why);
                    }
                }
            });
        }
    });
    let (jobs, wrong) = all.into_inner().unwrap();
    for (job, [run, struck, killed]) in &jobs {
        eprintln!("{job}: {run} schedules, {struck} of them struck, {killed} killed");
    }
    assert_eq!(wrong, 0, "of {count} schedules, which are told above; one again: cargo xtask faults 1 NUMBER");
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable)
        .map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable}: expected a number, found {text:?}")))
}

#[test]
fn under_faults_nothing_half_written_is_taken_for_whole_and_work_goes_on() {
    if !["cc", "strace", "ffmpeg"].into_iter().all(need_program) {
        return;
    }
    let (bench, first) = (Bench::new(), number("EDGE_SEG_FAULTS_FIRST", 1));
    let count = std::env::var_os("EDGE_SEG_FAULTS").map(|_| number("EDGE_SEG_FAULTS", 0));
    // With a number of schedules that is asked for, those alone.
    if count.is_none() {
        let name = |at: u64| format!("found {at}");
        judge_all(FOUND.len() as u64, name, |at| bench.found(FOUND[at as usize]));
    }
    judge_all(count.unwrap_or(ORDINARY), |at| (first + at).to_string(), |at| bench.schedule(first + at));
}

/// How many schedules are run where nobody asks for more.
const ORDINARY: u64 = 20;

/// What schedules have found, by job, whether it had been done before, and what went wrong.
const FOUND: &[(&str, bool, &str)] = &[
    // A power cut or a kill in the first write of an index: it was refused for good.
    ("index", false, "write file torn 1 1"),
    // A search that was killed between a picture and its end: the picture counted twice from then on.
    ("search", false, "write file kill 4 1"),
    // An index on a failing disk: "written by another process", and answers out of half of it.
    ("search", false, "look file EIO 43 3"),
    // A full disk tore a line of the record, the next stood behind it, and the record could not be read any more.
    ("resume", false, "write file full 2 2; write file kill 5 1"),
    // The record's folder did not answer: it was begun anew, over what had been labelled.
    ("resume", false, "look file EIO 12 1; write file kill 2 1"),
    // A picture that the disk did not tell of was left out without a word.
    ("label", false, "look file EIO 8 1"),
    // What is written beside and renamed stayed for ever after a kill.
    ("bundle", false, "sync file killed 1 1"),
    ("segment", false, "rename file kill 2 1"),
    ("pack", false, "write file torn 1 1"),
    ("extract", false, "write file torn 2 1"),
    // A kill in the very first file kept the next run out of the folder.
    ("extract", false, "write file killed 1 1"),
    ("import", false, "write file torn 2 1"),
    // Names of results that stdout did not take: a panic; and errors that named nothing.
    ("extract", false, "write file ENOSPC 2 1"),
    ("segment", false, "write file EIO 6 0"),
    ("pack", false, "write file full 2 0"),
    // A disk that did not tell what has a name: for ever asked again.
    ("film", false, "look file EIO 14 0"),
    ("film", false, "cut file EIO 1 1"),
    ("film", false, "spawn other EAGAIN 1 1"),
    // Files that could not be synced: the same event was written again with each frame.
    ("run", false, "sync file EIO 10 0"),
    // Half a private key, which the next run did not write over.
    ("keygen", false, "write file torn 1 1"),
    ("keygen", false, "write file EIO 1 1"),
    // Errors that named the release in place of what could not be read or written.
    ("install", false, "read file EINTR 9 3"),
    ("install", false, "write file EIO 12 1"),
    ("label", false, "read file EINTR 9 3"),
];

fn tell(number: &str, done: &Done, why: &str) {
    let rules: Vec<String> = done.rules.iter().map(Rule::to_string).collect();
    eprintln!("schedule {number}, {}, {}: {why}", done.job, rules.join("; "));
    for struck in done.ran.struck.iter().take(4) {
        eprintln!("    {} {} {} {}", struck.call, struck.kind, struck.action, struck.place);
    }
    let said = done.ran.ended.stderr.trim();
    let end = said.char_indices().rev().nth(600).map_or(said, |(at, _)| &said[at..]);
    eprintln!("    {:?} {:?} {end}", done.ran.ended.code, done.ran.ended.signal);
}
