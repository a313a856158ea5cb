//! What several callers get of one session, beside one caller alone and beside as many processes with all threads or a share of them
//! each: pictures a second, processor time of a picture, memory. `cargo bench --bench callers [-- SIZE [ROUNDS
//! [PICTURES]]]`.
//!
//! Arrangements take turns, so that what else the machine does meets all of them; medians. Where it does much else, the processor time
//! of a picture is what to compare.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use edge_seg::{Frame, Options, Session, WordList};
use image::RgbImage;

struct Loaded {
    session: Session,
    words: WordList,
    frame: Frame,
}

fn load(size: usize, threads: usize) -> Loaded {
    let session = Session::built_in_with(&Options::default().with_size_px(size).with_threads(threads)).expect("the model loads");
    let words = session.words("sky, grass, person").expect("words");
    let frame = Frame::still(RgbImage::from_fn(640, 480, |x, y| image::Rgb([x as u8, y as u8, (x + y) as u8])));
    session.find(&frame, &words).expect("a first picture");
    Loaded { session, words, frame }
}

/// What a round came to.
#[derive(Clone, Copy, Default)]
struct Round {
    /// Pictures a second, of all callers.
    rate: f64,
    /// Pictures.
    count: f64,
    /// Seconds of all processors.
    busy: f64,
    /// MiB, shared pages divided among those who share them.
    memory: f64,
}

/// Processor time of this process so far, in seconds.
fn busy() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name in brackets").split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().expect("ticks") / 100.0).sum()
}

fn memory() -> f64 {
    let told = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux");
    let line = told.lines().find_map(|line| line.strip_prefix("Pss:")).expect("a share of the memory");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("kB") / 1024.0
}

/// Threads that share one session, `pictures` for each. Who is through goes on until `done` says that all are, so that nobody is timed
/// beside fewer than all; `through` hears of each caller's rate.
fn shared(loaded: &Loaded, callers: usize, pictures: usize, through: impl Fn(f64) + Sync, done: impl Fn() -> bool + Sync) -> Round {
    let (count, before) = (AtomicUsize::new(0), busy());
    let find = || {
        loaded.session.find(&loaded.frame, &loaded.words).expect("masks");
        count.fetch_add(1, Ordering::Relaxed);
    };
    let call = || {
        let start = Instant::now();
        (0..pictures).for_each(|_| find());
        through(pictures as f64 / start.elapsed().as_secs_f64());
        while !done() {
            find();
        }
    };
    std::thread::scope(|scope| (0..callers).for_each(|_| drop(scope.spawn(call))));
    Round { rate: 0.0, count: count.into_inner() as f64, busy: busy() - before, memory: memory() }
}

/// Callers in this process.
fn together(loaded: &Loaded, callers: usize, pictures: usize) -> Round {
    let rates = Mutex::new(Vec::new());
    let round =
        shared(loaded, callers, pictures / callers, |rate| rates.lock().unwrap().push(rate), || rates.lock().unwrap().len() == callers);
    Round { rate: rates.into_inner().unwrap().iter().sum(), ..round }
}

/// As many processes, each with a session and threads of its own, which begin together and end when the last is through.
fn apart(size: usize, processes: usize, threads: usize, pictures: usize) -> Round {
    let program = std::env::current_exe().expect("this program");
    let start = |_| {
        let mut command = Command::new(&program);
        command
            .args(["alone", &size.to_string(), &threads.to_string(), &(pictures / processes).to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command.spawn().expect("a process")
    };
    let mut children: Vec<Child> = (0..processes).map(start).collect();
    let mut told: Vec<_> = children.iter_mut().map(|child| BufReader::new(child.stdout.take().expect("a pipe"))).collect();
    let mut ends: Vec<_> = children.iter_mut().map(|child| child.stdin.take().expect("a pipe")).collect();
    let line = |of: &mut BufReader<_>| {
        let mut line = String::new();
        of.read_line(&mut line).expect("a line");
        line.split_whitespace().map(|number| number.parse().expect("a number")).collect::<Vec<f64>>()
    };
    told.iter_mut().for_each(|told| assert!(line(told).is_empty()));
    ends.iter_mut().for_each(|end| end.write_all(b"go\n").expect("a process that waits"));
    let mut sum = Round::default();
    told.iter_mut().for_each(|told| sum.rate += line(told)[0]);
    drop(ends);
    for (child, told) in children.iter_mut().zip(&mut told) {
        let numbers = line(told);
        child.wait().expect("a process ends");
        sum.count += numbers[0];
        sum.busy += numbers[1];
        sum.memory += numbers[2];
    }
    sum
}

/// One of the processes of [`apart`].
fn alone(size: usize, threads: usize, pictures: usize) {
    let loaded = load(size, threads);
    println!();
    std::io::stdin().read_line(&mut String::new()).expect("a word to begin");
    let done = Arc::new(AtomicBool::new(false));
    let told = done.clone();
    std::thread::spawn(move || {
        std::io::stdin().read_line(&mut String::new()).expect("an end");
        told.store(true, Ordering::Relaxed);
    });
    let Round { count, busy, memory, .. } = shared(&loaded, 1, pictures, |rate| println!("{rate}"), || done.load(Ordering::Relaxed));
    println!("{count} {busy} {memory}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |at: usize, default: usize| words.get(at).map_or(default, |word| word.parse().expect("a number"));
    if words.first().is_some_and(|word| word == "alone") {
        return alone(number(1, 0), number(2, 0), number(3, 1));
    }
    let (size, rounds, pictures) = (number(0, 224), number(1, 5), number(2, 48).next_multiple_of(8));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let loaded = load(size, threads);
    println!("{size} px, 640x480, {threads} threads; each: pictures a second, ms of processors a picture, MiB");
    for callers in [2, 4, 8] {
        let mut seen = [const { Vec::new() }; 4];
        for _ in 0..rounds {
            seen[0].push(together(&loaded, 1, pictures));
            seen[1].push(together(&loaded, callers, pictures));
            seen[2].push(apart(size, callers, threads, pictures));
            seen[3].push(apart(size, callers, (threads / callers).max(1), pictures));
        }
        let of = |rounds: &[Round], what: fn(&Round) -> f64| median(rounds.iter().map(what).collect());
        let names = ["one caller", &format!("{callers} callers"), &format!("{callers} processes"), &format!("{callers} with a share")];
        let rates = seen.each_ref().map(|rounds| of(rounds, |round| round.rate));
        for ((name, rounds), rate) in names.iter().zip(&seen).zip(rates) {
            let (busy, memory) = (of(rounds, |round| 1e3 * round.busy / round.count), of(rounds, |round| round.memory));
            println!("  {name:<18} {rate:>7.1} {busy:>7.2} {memory:>7.1}");
        }
        let best = rates.into_iter().fold(0.0, f64::max);
        println!("  together {:.3} of the best", rates[1] / best);
    }
}
