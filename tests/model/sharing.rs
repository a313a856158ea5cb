//! One session under many callers: plain threads, rayon's, an async runtime's, and a live session beside them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use edge_seg::live::{Counters, Live, LiveOptions, Words};
use edge_seg::source::{SourceOptions, open_source};
use edge_seg::{Background, Bundle, Frame, LabelMap, Options, Session, WordBank, parse_classes};
use image::RgbImage;
use rayon::prelude::*;

/// Calls of each kind of callers: ten thousand together.
const CALLS: usize = 2500;
const CALLERS: usize = 4;

struct Shared {
    session: Session,
    bank: WordBank,
    frames: Vec<Frame>,
    expected: Vec<LabelMap>,
}

impl Shared {
    fn new(threads: usize) -> Arc<Self> {
        let options = Options::default().with_size_px(32).with_threads(threads);
        let session = Session::new(Bundle::built_in().unwrap(), &options).unwrap();
        let bank = session.word_bank(&parse_classes("words", "sky, grass").unwrap(), &[]).unwrap();
        let frame = |(width, height): (u32, u32)| {
            Frame::still(RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 5) as u8, (y * 5) as u8, (x * y) as u8])))
        };
        let frames: Vec<_> = [(48, 32), (32, 32), (32, 64)].map(frame).into();
        let expected = frames.iter().map(|frame| session.segment(frame, &bank, Background::None).unwrap().labels).collect();
        Arc::new(Self { session, bank, frames, expected })
    }

    /// One call: a picture's masks, or its embeddings alone.
    fn call(&self, number: usize) {
        let at = number % self.frames.len();
        if number % 4 == 3 {
            self.session.encode(&self.frames[at]).unwrap();
        } else {
            let found = self.session.segment(&self.frames[at], &self.bank, Background::None).unwrap();
            assert!(found.labels == self.expected[at], "call {number} has other labels than the first");
        }
    }
}

#[test]
fn plain_threads_share_a_session() {
    let shared = Shared::new(4);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| (0..CALLS / CALLERS).for_each(|_| shared.call(next.fetch_add(1, Ordering::Relaxed))));
        }
    });
}

#[test]
fn rayon_s_threads_share_a_session() {
    let shared = Shared::new(4);
    (0..CALLS).into_par_iter().for_each(|number| shared.call(number));
    let callers = rayon::ThreadPoolBuilder::new().num_threads(CALLERS).build().unwrap();
    callers.install(|| (0..CALLS).into_par_iter().for_each(|number| shared.call(number)));
}

#[test]
fn an_async_runtime_s_threads_share_a_session() {
    let shared = Shared::new(4);
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(CALLERS).build().unwrap();
    runtime.block_on(async {
        let call = |number| {
            let shared = shared.clone();
            tokio::task::spawn_blocking(move || shared.call(number))
        };
        for call in (0..CALLS).map(call).collect::<Vec<_>>() {
            call.await.unwrap();
        }
    });
}

#[test]
fn stills_are_segmented_beside_a_live_session() {
    let options = Options::default().with_size_px(32).with_threads(4);
    let session = Arc::new(Session::new(Bundle::built_in().unwrap(), &options).unwrap());
    let specs = parse_classes("words", "sky, grass").unwrap().into_iter().map(Into::into).collect();
    let words = Arc::new(Words::new(session.clone(), specs, vec![], Background::None).unwrap());
    let (bank, frame) = (words.current().bank.clone(), Frame::still(RgbImage::new(48, 32)));
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                let pictures: Vec<_> = (0..8).into_par_iter().map(|_| session.segment(&frame, &bank, Background::None)).collect();
                assert!(pictures.iter().all(Result::is_ok));
            }
        });
        let source = open_source("test:?size=64x48&fps=30&frames=500", &SourceOptions::default()).unwrap();
        let counters = Arc::<Counters>::default();
        let stop = Arc::default();
        let run =
            edge_seg_live::run(&session, source, &words, LiveOptions::default(), &counters, &stop, |_| Ok::<_, edge_seg::Error>(true));
        ended.store(true, Ordering::Relaxed);
        run.unwrap();
        assert!(counters.segmented.load(Ordering::Relaxed) > 0);
    });
}

/// What the threads of this process are called, in order.
fn thread_names() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task")
        .expect("Linux")
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    let mut names: Vec<String> = tasks.map(|name| name.trim().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn one_thread_starts_no_pool_of_many() {
    // Other tests have threads of their own, so this one is run again, alone.
    const ALONE: &str = "EDGE_SEG_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "sharing::one_thread_starts_no_pool_of_many", "--nocapture", "--test-threads=1"]).env(ALONE, "1");
        let ended = command.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let before = thread_names();
    let new = || {
        let mut names = thread_names();
        before.iter().for_each(|name| drop(names.iter().position(|other| other == name).map(|at| names.remove(at))));
        names
    };
    let shared = Shared::new(1);
    (0..20).for_each(|number| shared.call(number));
    assert_eq!(new(), ["edge-seg-0"], "one thread beside the caller's, which waits for it");
    // Raw video is decoded by rows, in parallel where there are threads.
    let folder = tempfile::tempdir().unwrap();
    let video = folder.path().join("video");
    std::fs::write(&video, vec![99; 5 * 640 * 480 * 2]).unwrap();
    let source = open_source(&format!("raw:{}?size=640x480&format=yuyv&fps=30", video.display()), &SourceOptions::default()).unwrap();
    let options = Options::default().with_size_px(32).with_threads(1);
    let session = Session::built_in_with(&options).unwrap();
    let mut seen = Vec::new();
    for shown in Live::start(session, source, "sky", LiveOptions::default()).unwrap() {
        shown.unwrap();
        seen = new();
    }
    // Reading, watching and showing have a thread each.
    let mut own = vec!["edge-seg captur", "edge-seg source", "edge-seg watch", "edge-seg segmen"];
    seen.retain(|name| own.iter().position(|other| other == name).map(|at| own.remove(at)).is_none());
    assert_eq!(seen, ["edge-seg-0", "edge-seg-0"], "one of each session");
}

#[test]
fn threads_are_bounded() {
    let wrong = |threads| {
        let options = Options::default().with_threads(threads);
        Session::new(Bundle::built_in().unwrap(), &options).unwrap_err().to_string()
    };
    for threads in [0, 5000, 100_000] {
        assert!(wrong(threads).contains(&format!("expected 1 to 1024, found {threads}")), "{}", wrong(threads));
    }
}
