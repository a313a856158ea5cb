//! Faults: full and failing disks, calls that fall short, are interrupted or wait, clocks that jump, processes that are killed in any of
//! their calls. A number is a schedule: it chooses a job and what goes wrong, and does so again whenever it is asked for.
//!
//! After each schedule nothing half written may be taken for whole, errors must name what failed, nothing may hang or panic; and the same
//! job, run again without faults on what is left, must end as if nothing had been. `EDGE_SEG_FAULTS` sets how many schedules are run,
//! `EDGE_SEG_FAULTS_FIRST` the first one's number.

mod boards;
mod ground;
mod jobs;
mod judge;
mod live;
mod schedule;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use edge_seg_tests::need_program;

use ground::{Ended, Ground, Struck};
use jobs::{JOBS, Job};
use judge::Files;
use schedule::{Calls, Rng, Rule};

/// A job, what it writes without faults, and the calls that it makes for it.
struct Known {
    job: &'static Job,
    clean: Files,
    calls: Calls,
}

fn know(ground: &Ground, job: &'static Job) -> Known {
    let run = || {
        let folder = job.lay(ground, 0);
        let log = folder.path().with_extension("log");
        let mut command = ground.struck(job, folder.path(), &[], &log);
        let ended = ground::run(&mut command, folder.path(), |child| (job.meanwhile)(folder.path(), child));
        assert_eq!(ended.code, Some(0), "{}: {}", job.name, ended.stderr);
        let (_, calls) = ground::read_log(&log);
        let found = judge::files(folder.path());
        if let Some(judge) = job.judge {
            judge(job, folder.path(), &ended).unwrap_or_else(|why| panic!("{} without faults: {why}", job.name));
        }
        (found, calls)
    };
    let (clean, calls) = run();
    if job.judge.is_none() {
        judge::all_there(job, &run().0, &clean).unwrap_or_else(|why| panic!("{} without faults: {why}", job.name));
    }
    Known { job, clean, calls }
}

/// What a schedule did.
struct Done {
    job: &'static str,
    rules: Vec<Rule>,
    struck: Vec<Struck>,
    ended: Option<Ended>,
    wrong: Option<String>,
}

fn schedule(ground: &Ground, known: &[Known], number: u64) -> Done {
    let mut rng = Rng::new(number);
    let known = rng.pick(known);
    let rules = schedule::draw(&mut rng, &known.calls);
    let folder = known.job.lay(ground, rng.below(1 << 32));
    let log = folder.path().with_extension("log");
    let mut command = ground.struck(known.job, folder.path(), &rules, &log);
    let ended = ground::run(&mut command, folder.path(), |child| (known.job.meanwhile)(folder.path(), child));
    let (struck, _) = ground::read_log(&log);
    let judged = judged(known, &ended, &struck, folder.path());
    Done { job: known.job.name, rules, struck, ended: Some(ended), wrong: judged.err() }
}

fn judged(known: &Known, ended: &Ended, struck: &[Struck], folder: &std::path::Path) -> Result<(), String> {
    judge::ended_well(ended, struck)?;
    let found = judge::files(folder);
    if let Some(judge) = known.job.judge {
        judge::age(folder, &found);
        return judge(known.job, folder, ended);
    }
    judge::left(known.job, ended, struck, &found, &known.clean)?;
    judge::age(folder, &found);
    std::fs::remove_file(folder.join("stdout.txt")).unwrap();
    let again = ground::run(&mut known.job.command(folder), folder, |_| {});
    if again.code != Some(0) {
        return Err(format!("run again without faults it ends with {:?}: {}", again.code, again.stderr));
    }
    judge::all_there(known.job, &judge::files(folder), &known.clean).map_err(|why| format!("after another run without faults {why}"))
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
    let (count, first) = (number("EDGE_SEG_FAULTS", 60), number("EDGE_SEG_FAULTS_FIRST", 1));
    let ground = Ground::new();
    let known: Vec<Known> = JOBS.iter().map(|job| know(&ground, job)).collect();
    let next = AtomicU64::new(first);
    let all = Mutex::new((BTreeMap::<&str, [u64; 3]>::new(), 0));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= first + count {
                        break;
                    }
                    let done = schedule(&ground, &known, number);
                    let mut all = all.lock().unwrap();
                    let [run, struck, killed] = all.0.entry(done.job).or_default();
                    *run += 1;
                    *struck += u64::from(!done.struck.is_empty());
                    *killed += u64::from(done.ended.as_ref().is_some_and(|ended| ended.signal.is_some()));
                    if let Some(why) = &done.wrong {
                        all.1 += 1;
                        tell(number, &done, why);
                    }
                }
            });
        }
    });
    let (jobs, wrong) = all.into_inner().unwrap();
    for (job, [run, struck, killed]) in &jobs {
        eprintln!("{job}: {run} schedules, {struck} of them struck, {killed} killed");
    }
    assert_eq!(wrong, 0, "of {count} schedules, which are told above; one again: EDGE_SEG_FAULTS=1 EDGE_SEG_FAULTS_FIRST=NUMBER");
}

fn tell(number: u64, done: &Done, why: &str) {
    let rules: Vec<String> = done.rules.iter().map(Rule::to_string).collect();
    eprintln!("schedule {number}, {}, {}: {why}", done.job, rules.join("; "));
    for struck in done.struck.iter().take(4) {
        eprintln!("    {} {} {} {}", struck.call, struck.kind, struck.action, struck.place);
    }
    if let Some(ended) = &done.ended {
        let said = ended.stderr.trim();
        eprintln!(
            "    {:?} {:?} {}",
            ended.code,
            ended.signal,
            said.chars().rev().take(600).collect::<Vec<_>>().into_iter().rev().collect::<String>()
        );
    }
}
