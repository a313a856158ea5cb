//! In which order boards have their turn: a few first, more when those are well, nobody after a failure, and those that were away later.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use edge_seg_bundle::text;
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::remote::is_away;

/// How many boards have had their turn when a phase ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// So many.
    Boards(usize),
    /// So many of a hundred, rounded up.
    Percent(u8),
    /// Every one.
    All,
}

impl Phase {
    fn end(self, boards: usize) -> usize {
        match self {
            Phase::Boards(count) => count.min(boards),
            Phase::Percent(percent) => (boards * usize::from(percent)).div_ceil(100),
            Phase::All => boards,
        }
    }
}

/// Holds phases to follow each other: what ends before the one before it, or after all boards, was meant otherwise.
///
/// # Errors
/// Which two do not.
pub fn in_order(phases: &[Phase]) -> Result<()> {
    for pair in phases.windows(2) {
        let later = match (pair[0], pair[1]) {
            (Phase::All, _) => false,
            (Phase::Boards(first), Phase::Boards(then)) => first < then,
            (Phase::Percent(first), Phase::Percent(then)) => first < then,
            _ => true,
        };
        ensure!(later, "expected each phase to end after the one before it, found {} after {}", pair[1], pair[0]);
    }
    Ok(())
}

impl FromStr for Phase {
    type Err = String;

    fn from_str(text: &str) -> Result<Phase, String> {
        let odd = || format!("expected a number of boards, a share such as \"10 %\", or \"all\", found {text:?}");
        let text = text.trim();
        if text == "all" {
            return Ok(Phase::All);
        }
        match text.strip_suffix('%') {
            Some(share) => share.trim().parse().ok().filter(|share| (1..=100).contains(share)).map(Phase::Percent).ok_or_else(odd),
            None => text.parse().ok().filter(|count| *count > 0).map(Phase::Boards).ok_or_else(odd),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::Boards(count) => write!(f, "{count}"),
            Phase::Percent(share) => write!(f, "{share} %"),
            Phase::All => f.write_str("all"),
        }
    }
}

/// Whether the next board may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// It may.
    Open,
    /// Not now: ask again.
    Wait(String),
    /// Not in this run.
    Shut(String),
}

/// Whether whoever started this run has asked it to end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Hears Ctrl-C and SIGTERM from now on: after the first no further board begins, the second ends the program.
    ///
    /// # Errors
    /// When the system takes no handler.
    pub fn listen() -> Result<Interrupt> {
        let asked = Interrupt::default();
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, 2, asked.0.clone())?;
            signal_hook::flag::register(signal, asked.0.clone())?;
        }
        let heard = asked.clone();
        std::thread::spawn(move || {
            while heard.gate() == Gate::Open {
                std::thread::sleep(GATE_EVERY);
            }
            eprintln!("edge-seg-fw: no further board begins, those under way are finished; once more ends at once and leaves them alone");
        });
        Ok(asked)
    }

    /// Open until then.
    pub fn gate(&self) -> Gate {
        match self.0.load(Ordering::SeqCst) {
            false => Gate::Open,
            true => Gate::Shut("interrupted: what was under way was finished".into()),
        }
    }
}

/// How boards have their turn.
pub struct Pace<'a> {
    /// Where each phase ends; boards beyond the last have no turn.
    pub phases: Vec<Phase>,
    /// How many are worked on at a time: asked, copied to, installed on.
    pub jobs: usize,
    /// How many may have begun and not ended, those that are only waited for included: what a failure finds under way.
    pub under_way: usize,
    /// Go on after a failure. Boards of which nobody knows what they run stay under way.
    pub keep_going: bool,
    /// Whether boards are brought back: no phase proves anything for the next one then, and none waits for what is away.
    pub back: bool,
    /// For how long boards that cannot be reached are tried again; without it one that is away has failed.
    pub retry: Option<Duration>,
    /// How long to wait between two tries of a board that is away.
    pub retry_every: Duration,
    /// Asked before each board's turn.
    pub gate: &'a (dyn Fn() -> Gate + Sync),
    /// Told each row once it is known.
    pub told: &'a (dyn Fn(&Row) + Sync),
}

impl fmt::Debug for Pace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pace {{ {:?}, {} at a time, {} under way }}", self.phases, self.jobs, self.under_way)
    }
}

/// A board's hold on one of the jobs: until it is let go, or the board's turn ends.
#[derive(Debug)]
pub struct Job<'a> {
    jobs: &'a Jobs,
    held: Cell<bool>,
    asked: Cell<bool>,
}

impl Job<'_> {
    /// The board is asked to change: who cannot reach it from now on does not know what it runs.
    pub fn asks(&self) {
        self.asked.set(true);
    }

    /// Gives the job to the next board: from now on this one is only waited for.
    pub fn let_go(&self) {
        if self.held.take() {
            *self.jobs.free.lock().unwrap_or_else(|e| e.into_inner()) += 1;
            self.jobs.freed.notify_one();
        }
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        self.let_go();
    }
}

#[derive(Debug)]
struct Jobs {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Jobs {
    fn take(&self) -> Job<'_> {
        let free = self.free.lock().unwrap_or_else(|e| e.into_inner());
        let mut free = self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(|e| e.into_inner());
        *free -= 1;
        Job { jobs: self, held: Cell::new(true), asked: Cell::new(false) }
    }
}

/// How it went with a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Done, or in a dry run: would be done.
    Done,
    /// It failed; the board runs what it ran before.
    Failed,
    /// It could not be reached any more once it was asked to change: it may have done so.
    Unknown,
    /// It could not be reached, and was not asked to change.
    Away,
    /// It had no turn.
    Skipped,
}

/// What was done with a board.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turn {
    /// Its model's key.
    pub board: String,
    /// In words.
    pub what: String,
    /// It was left as it was.
    pub left_alone: bool,
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
    /// Nothing was changed there.
    pub left_alone: bool,
}

/// How often a gate that is not open is asked.
const GATE_EVERY: Duration = Duration::from_millis(500);

/// Gives every host its turn, phase after phase; `work` tells what was done, and may let its job go before it ends.
pub fn over(pace: &Pace<'_>, hosts: &[String], work: impl Fn(&str, &Job<'_>) -> Result<Turn> + Sync) -> Vec<Row> {
    let jobs = Jobs { free: Mutex::new(pace.jobs.max(1)), freed: Condvar::new() };
    let run = Run {
        pace,
        jobs,
        rows: Mutex::new(Vec::new()),
        stopped: Mutex::new(None),
        waits: Mutex::new(false),
        unknown: AtomicUsize::new(0),
        work: &work,
    };
    let (mut begin, mut away) = (0, Vec::new());
    for phase in &pace.phases {
        let end = phase.end(hosts.len()).max(begin);
        let before = run.done();
        let missing = run.turn(&hosts[begin..end]);
        // What nobody could try is no proof for the next phase.
        let needs_proof = !(pace.back || pace.keep_going);
        if needs_proof && missing.len() == end - begin && !missing.is_empty() && run.done() == before && end < hosts.len() {
            run.stop(format!("no board of phase {phase} could be reached"));
        }
        away.extend(missing);
        begin = end;
    }
    let until = Instant::now() + pace.retry.unwrap_or_default();
    while !away.is_empty() && run.stopped().is_none() && Instant::now() + pace.retry_every <= until {
        if !run.rest(pace.retry_every) {
            break;
        }
        let hosts: Vec<String> = away.drain(..).map(|row: Row| row.host).collect();
        away = run.turn(&hosts);
    }
    away.into_iter().for_each(|row| run.tell(row));
    let had: Vec<String> = run.rows.lock().unwrap_or_else(|e| e.into_inner()).iter().map(|row| row.host.clone()).collect();
    let why = run.stopped().unwrap_or_else(|| "its phase is not among those of this run".into());
    for host in hosts.iter().filter(|host| !had.contains(host)) {
        run.tell(Row {
            host: host.clone(),
            board: String::new(),
            verdict: Verdict::Skipped,
            what: why.clone(),
            seconds: 0,
            left_alone: true,
        });
    }
    let mut rows = run.rows.into_inner().unwrap_or_else(|e| e.into_inner());
    rows.sort_by_key(|row| hosts.iter().position(|host| *host == row.host));
    rows
}

struct Run<'a, W> {
    pace: &'a Pace<'a>,
    jobs: Jobs,
    rows: Mutex<Vec<Row>>,
    /// Why nobody begins any more.
    stopped: Mutex<Option<String>>,
    /// Whether it has been told that boards wait.
    waits: Mutex<bool>,
    /// Boards that may run what is not proven, as long as nobody reaches them.
    unknown: AtomicUsize,
    work: &'a W,
}

impl<W: Fn(&str, &Job<'_>) -> Result<Turn> + Sync> Run<'_, W> {
    fn done(&self) -> usize {
        self.rows.lock().unwrap_or_else(|e| e.into_inner()).len()
    }

    fn stopped(&self) -> Option<String> {
        self.stopped.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    fn stop(&self, why: String) {
        self.stopped.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(why);
    }

    fn tell(&self, row: Row) {
        (self.pace.told)(&row);
        self.rows.lock().unwrap_or_else(|e| e.into_inner()).push(row);
    }

    /// Works on these boards, some at a time, and gives back those that were away and are tried again later.
    fn turn(&self, hosts: &[String]) -> Vec<Row> {
        let queue = Mutex::new(hosts.iter().collect::<VecDeque<_>>());
        let away = Mutex::new(Vec::new());
        let turns = || {
            loop {
                // The job comes first: who has no turn yet is still to be stopped.
                let job = self.jobs.take();
                let next = queue.lock().unwrap_or_else(|e| e.into_inner()).pop_front();
                let Some(host) = next.filter(|_| self.may_begin()) else { return };
                let row = self.one(host, &job);
                if row.verdict == Verdict::Away && self.pace.retry.is_some() {
                    away.lock().unwrap_or_else(|e| e.into_inner()).push(row);
                    continue;
                }
                if matches!(row.verdict, Verdict::Failed | Verdict::Unknown) && !self.pace.keep_going {
                    self.stop("another board failed before".into());
                }
                let stays_under_way = row.verdict == Verdict::Unknown;
                self.tell(row);
                if stays_under_way {
                    let unknown = self.unknown.fetch_add(1, Ordering::SeqCst) + 1;
                    if unknown >= self.pace.under_way {
                        self.stop(format!("nobody knows what {unknown} boards run, and no more than that may be under way"));
                    }
                    return;
                }
            }
        };
        let under_way = self.pace.under_way.saturating_sub(self.unknown.load(Ordering::SeqCst));
        std::thread::scope(|scope| {
            for _ in 1..under_way.min(hosts.len()) {
                // Where the system gives no more threads, those that there are do the work.
                if std::thread::Builder::new().spawn_scoped(scope, turns).is_err() {
                    break;
                }
            }
            turns();
        });
        away.into_inner().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits, unless nobody may begin afterwards.
    fn rest(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        loop {
            if let Gate::Shut(why) = (self.pace.gate)() {
                self.stop(why);
                return false;
            }
            match end.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return true,
                left => std::thread::sleep(left.min(GATE_EVERY)),
            }
        }
    }

    fn may_begin(&self) -> bool {
        loop {
            if self.stopped().is_some() {
                return false;
            }
            let gate = (self.pace.gate)();
            let mut waits = self.waits.lock().unwrap_or_else(|e| e.into_inner());
            match gate {
                Gate::Open => {
                    *waits = false;
                    return true;
                }
                Gate::Shut(why) => self.stop(why),
                Gate::Wait(why) => {
                    if !std::mem::replace(&mut *waits, true) {
                        eprintln!("edge-seg-fw: waiting: {why}");
                    }
                    drop(waits);
                    std::thread::sleep(GATE_EVERY);
                }
            }
        }
    }

    fn one(&self, host: &str, job: &Job<'_>) -> Row {
        let start = Instant::now();
        let (verdict, turn) = match (self.work)(host, job) {
            Ok(turn) => (Verdict::Done, turn),
            Err(error) => {
                let asked = job.asked.get();
                let verdict = match is_away(&error) {
                    true if asked => Verdict::Unknown,
                    true if self.pace.retry.is_some() => Verdict::Away,
                    _ => Verdict::Failed,
                };
                (verdict, Turn { what: format!("{error:#}"), left_alone: !asked, ..Turn::default() })
            }
        };
        let Turn { board, what, left_alone } = turn;
        Row { host: host.into(), board, verdict, what, seconds: start.elapsed().as_secs(), left_alone }
    }
}

/// The summary as a table.
pub fn render(rows: &[Row]) -> String {
    let cells = rows.iter().map(|row| {
        let verdict = match row.verdict {
            Verdict::Done => "done",
            Verdict::Failed => "FAILED",
            Verdict::Unknown => "UNKNOWN",
            Verdict::Away => "away",
            Verdict::Skipped => "skipped",
        };
        let board = if row.board.is_empty() { "-" } else { &row.board };
        [row.host.clone(), board.into(), verdict.into(), row.seconds.to_string(), row.what.clone()]
    });
    table(["host", "board", "verdict", "s", "what"], cells)
}

/// What a board said, on one line and without what moves a cursor.
pub(crate) fn one_line(said: &str) -> String {
    text::shown(&said.lines().collect::<Vec<_>>().join("; ")).into_owned()
}

/// Rows of text in columns as wide as they need.
pub fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    // What boards say is anybody's text.
    let rows = rows.map(|row| row.map(|cell| one_line(&cell)));
    let all: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let mut out = String::new();
    for row in &all {
        let cells = row.iter().enumerate().map(|(i, cell)| {
            let width = all.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
            format!("{cell:<width$}")
        });
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    fn pace(phases: &[Phase], jobs: usize) -> Pace<'static> {
        Pace {
            phases: phases.to_vec(),
            jobs,
            under_way: jobs,
            keep_going: false,
            back: false,
            retry: None,
            retry_every: Duration::from_millis(10),
            gate: &|| Gate::Open,
            told: &|_| {},
        }
    }

    fn hosts(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("h{i}")).collect()
    }

    fn count(rows: &[Row], verdict: Verdict) -> usize {
        rows.iter().filter(|row| row.verdict == verdict).count()
    }

    #[test]
    fn a_failing_phase_stops_everybody_after_it() {
        let asked = Mutex::new(Vec::new());
        let phases = [Phase::Boards(1), Phase::Boards(2), Phase::All];
        let rows = over(&pace(&phases, 3), &hosts(6), |host, _| {
            asked.lock().unwrap().push(host.to_string());
            bail!("no")
        });
        assert_eq!(*asked.lock().unwrap(), ["h0"]);
        assert_eq!(count(&rows, Verdict::Skipped), 5);
        let rows = over(&Pace { keep_going: true, ..pace(&phases, 3) }, &hosts(6), |_, _| bail!("no"));
        assert_eq!(count(&rows, Verdict::Failed), 6);
    }

    #[test]
    fn phases_end_where_they_say_and_no_more_than_the_limit_work_at_a_time() {
        let phases: Vec<Phase> = ["1", "10 %", "all"].map(|text| text.parse().unwrap()).to_vec();
        let (now, most, ended) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let rows = over(&pace(&phases, 3), &hosts(30), |host, _| {
            let number: usize = host[1..].parse().unwrap();
            let before = ended.load(Ordering::SeqCst);
            assert!(number < 1 || before >= 1, "{host} began after {before}");
            assert!(number < 3 || before >= 3, "{host} began after {before}");
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
            now.fetch_sub(1, Ordering::SeqCst);
            ended.fetch_add(1, Ordering::SeqCst);
            Ok(Turn::default())
        });
        assert!(rows.iter().map(|row| row.host.clone()).eq(hosts(30)), "rows stand in the order that was given");
        assert!((2..=3).contains(&most.load(Ordering::SeqCst)));
        let rows = over(&pace(&phases[..2], 3), &hosts(30), |_, _| Ok(Turn::default()));
        assert_eq!((count(&rows, Verdict::Done), count(&rows, Verdict::Skipped)), (3, 27), "a run may end before the last phase");
        let ordered = |texts: &[&str]| in_order(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>());
        for fine in [&["1", "10 %", "all"][..], &["1", "2", "5 %", "20 %"], &["all"], &["10 %", "3", "all"]] {
            assert!(ordered(fine).is_ok(), "{fine:?}");
        }
        for wrong in [&["all", "1"][..], &["10 %", "5 %"], &["3", "3"], &["1", "all", "all"]] {
            assert!(ordered(wrong).unwrap_err().to_string().contains("after"), "{wrong:?}");
        }
        for odd in ["0", "0 %", "101 %", "some", "-1", ""] {
            assert!(odd.parse::<Phase>().is_err(), "{odd:?}");
        }
    }

    fn unreachable() -> anyhow::Error {
        anyhow::Error::new(super::super::remote::Away("no route".into()))
    }

    #[test]
    fn boards_that_were_away_have_their_turn_when_they_are_back() {
        let tries = AtomicUsize::new(0);
        let retry = Pace { retry: Some(Duration::from_secs(20)), ..pace(&[Phase::Boards(2), Phase::All], 2) };
        let rows = over(&retry, &hosts(4), |host, _| match host {
            "h1" if tries.fetch_add(1, Ordering::SeqCst) < 2 => Err(unreachable()),
            _ => Ok(Turn::default()),
        });
        assert_eq!((count(&rows, Verdict::Done), tries.load(Ordering::SeqCst)), (4, 3));
        let short = Pace { retry: Some(Duration::from_millis(30)), ..pace(&[Phase::Boards(2), Phase::All], 2) };
        let rows = over(&short, &hosts(4), |host, _| if host == "h3" { Err(unreachable()) } else { Ok(Turn::default()) });
        assert_eq!((count(&rows, Verdict::Done), count(&rows, Verdict::Away)), (3, 1));
        // A phase of which nobody answers proves nothing.
        let rows = over(&short, &hosts(4), |host, _| if host < "h2" { Err(unreachable()) } else { Ok(Turn::default()) });
        assert_eq!((count(&rows, Verdict::Away), count(&rows, Verdict::Skipped)), (2, 2), "{rows:?}");
        // But who goes back, or goes on after failures, needs none.
        for (back, keep_going) in [(true, false), (false, true)] {
            let pace = Pace { back, keep_going, retry: short.retry, ..pace(&[Phase::Boards(1), Phase::Boards(3), Phase::All], 2) };
            let rows =
                over(&pace, &hosts(5), |host, _| if ["h1", "h2"].contains(&host) { Err(unreachable()) } else { Ok(Turn::default()) });
            assert_eq!((count(&rows, Verdict::Away), count(&rows, Verdict::Done)), (2, 3), "{rows:?}");
        }
        // With none at all it has one turn, and the others have theirs.
        let once = Pace { retry: Some(Duration::ZERO), retry_every: Duration::from_secs(60), ..pace(&[Phase::All], 1) };
        let rows = over(&once, &hosts(3), |host, _| if host == "h0" { Err(unreachable()) } else { Ok(Turn::default()) });
        assert_eq!((count(&rows, Verdict::Away), count(&rows, Verdict::Done)), (1, 2), "{rows:?}");
        // Without a time for it, one that is away has failed.
        let rows = over(&pace(&[Phase::All], 1), &hosts(1), |_, _| Err(unreachable()));
        assert_eq!(count(&rows, Verdict::Failed), 1);
    }

    #[test]
    fn a_board_that_is_lost_once_it_was_asked_is_under_way_for_good() {
        let lost = |_: &str, job: &Job<'_>| {
            job.asks();
            Err(unreachable())
        };
        let retry = Pace { retry: Some(Duration::from_secs(20)), ..pace(&[Phase::All], 1) };
        let rows = over(&retry, &hosts(3), lost);
        assert_eq!((count(&rows, Verdict::Unknown), count(&rows, Verdict::Skipped)), (1, 2), "{rows:?}");
        assert!(!rows[0].left_alone && rows[0].seconds < 20, "it has no second turn: {rows:?}");
        // Who goes on after failures has no more boards in such a state than may be under way, later phases included.
        let phases = [Phase::Boards(2), Phase::All];
        let rows = over(&Pace { keep_going: true, under_way: 3, ..pace(&phases, 5) }, &hosts(8), lost);
        assert_eq!((count(&rows, Verdict::Unknown), count(&rows, Verdict::Skipped)), (3, 5), "{rows:?}");
        assert!(rows[7].what.contains("what 3 boards run"), "{rows:?}");
        // What refuses before it is asked is as it was; what fails after it is not known to be.
        let rows = over(&Pace { keep_going: true, ..pace(&[Phase::All], 1) }, &hosts(2), |host, job| {
            if host == "h1" {
                job.asks();
            }
            bail!("no")
        });
        assert_eq!((count(&rows, Verdict::Failed), rows[0].left_alone, rows[1].left_alone), (2, true, false), "{rows:?}");
    }

    #[test]
    fn who_waits_for_boards_that_are_away_hears_of_the_end() {
        let asked = AtomicUsize::new(0);
        let gate = || if asked.fetch_add(1, Ordering::SeqCst) < 4 { Gate::Open } else { Gate::Shut("interrupted".into()) };
        let hour = Duration::from_secs(3600);
        let away = Pace { retry: Some(hour), retry_every: hour / 2, gate: &gate, ..pace(&[Phase::All], 1) };
        let before = Instant::now();
        let rows = over(&away, &hosts(2), |_, _| Err(unreachable()));
        assert!(count(&rows, Verdict::Away) == 2 && before.elapsed() < Duration::from_secs(60), "{rows:?}");
    }

    #[test]
    fn what_boards_say_moves_no_cursor() {
        let text = table(["host"], [["a\u{1b}[2Jb\nc\r".to_owned()]].into_iter());
        assert_eq!(text, "host\na\\u{1b}[2Jb; c\\r\n");
    }

    #[test]
    fn a_gate_holds_boards_back_and_shuts_them_out() {
        let asked = AtomicUsize::new(0);
        let slow = || if asked.fetch_add(1, Ordering::SeqCst) < 1 { Gate::Wait("not yet".into()) } else { Gate::Open };
        let rows = over(&Pace { gate: &slow, ..pace(&[Phase::All], 1) }, &hosts(2), |_, _| Ok(Turn::default()));
        assert_eq!(count(&rows, Verdict::Done), 2);
        let began = AtomicUsize::new(0);
        let shut = || if began.load(Ordering::SeqCst) > 0 { Gate::Shut("paused".into()) } else { Gate::Open };
        let rows = over(&Pace { gate: &shut, ..pace(&[Phase::All], 1) }, &hosts(3), |_, _| {
            began.fetch_add(1, Ordering::SeqCst);
            Ok(Turn::default())
        });
        assert_eq!((count(&rows, Verdict::Done), count(&rows, Verdict::Skipped)), (1, 2));
        assert_eq!(rows[2].what, "paused");
    }
    /// Boards whose trials end when so many as `ends` asks for have come to theirs; how many were worked on and on trial at a time.
    fn trials(pace: &Pace<'_>, count: usize, fails: bool, ends: impl Fn(usize) -> bool + Sync) -> (Vec<Row>, usize, usize) {
        let (working, most_working) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (waiting, most_waiting) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let came = AtomicUsize::new(0);
        let rows = over(pace, &hosts(count), |_, job| {
            most_working.fetch_max(working.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(2));
            working.fetch_sub(1, Ordering::SeqCst);
            most_waiting.fetch_max(waiting.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            job.let_go();
            came.fetch_add(1, Ordering::SeqCst);
            let end = Instant::now() + Duration::from_secs(20);
            while !ends(came.load(Ordering::SeqCst)) {
                assert!(Instant::now() < end, "{} came to their trials", came.load(Ordering::SeqCst));
                std::thread::sleep(Duration::from_millis(1));
            }
            waiting.fetch_sub(1, Ordering::SeqCst);
            if fails { bail!("no") } else { Ok(Turn::default()) }
        });
        (rows, most_working.into_inner(), most_waiting.into_inner())
    }

    #[test]
    fn a_trial_holds_no_job_and_boards_on_trial_have_their_own_limit() {
        let all = |jobs, under_way| Pace { under_way, ..pace(&[Phase::All], jobs) };
        // Each trial ends when all boards are on trial: with jobs held, none would.
        let (rows, working, waiting) = trials(&all(3, 100), 20, false, |came| came == 20);
        assert_eq!((count(&rows, Verdict::Done), waiting), (20, 20));
        assert!((1..=3).contains(&working), "{working}");
        let (rows, working, waiting) = trials(&all(3, 5), 20, false, |came| came >= 5);
        assert_eq!((count(&rows, Verdict::Done), waiting), (20, 5));
        assert!((1..=3).contains(&working), "{working}");
        // A limit of trials is one of work too.
        let (rows, working, waiting) = trials(&all(25, 1), 4, false, |_| true);
        assert_eq!((count(&rows, Verdict::Done), working, waiting), (4, 1, 1));
    }

    #[test]
    fn a_failing_trial_stops_all_that_have_not_begun() {
        let five = Pace { under_way: 5, ..pace(&[Phase::All], 3) };
        let (rows, _, waiting) = trials(&five, 20, true, |came| came >= 5);
        assert_eq!((count(&rows, Verdict::Failed), count(&rows, Verdict::Skipped), waiting), (5, 15, 5));
        // A phase ends with the last of its trials.
        let phases = [Phase::Boards(4), Phase::All];
        let ended = AtomicUsize::new(0);
        let rows = over(&Pace { under_way: 100, ..pace(&phases, 2) }, &hosts(10), |host, job| {
            let number: usize = host[1..].parse().unwrap();
            assert!(number < 4 || ended.load(Ordering::SeqCst) >= 4, "{host} began before the trials of its phase ended");
            job.let_go();
            std::thread::sleep(Duration::from_millis(10));
            ended.fetch_add(1, Ordering::SeqCst);
            Ok(Turn::default())
        });
        assert_eq!(count(&rows, Verdict::Done), 10);
    }
}
