//! The library as a stranger's program uses it: a session on video that ends well, own sources, sinks and rules, bundles from memory.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use edge_seg::image::{RgbImage, imageops};
use edge_seg::live::{
    FrameReport, GovernorOptions, KeyFrames, Live, LiveOptions, LiveWords, Propagation, PropagationOptions, SegmentedFrame, Words,
};
use edge_seg::rules::{EventKind, RuleBook, Watcher};
use edge_seg::search::{self, Index, IndexOptions, IndexWriter, Query};
use edge_seg::sink::{JsonLines, LiveSink, MaskFolder, Mqtt, MqttOptions, VideoWriter, Webhook, WebhookOptions};
use edge_seg::source::{Rate, Source, SourceOptions, open_source};
use edge_seg::trust::{Refusal, Trust};
use edge_seg::{
    Background, Bundle, Class, Encoded, Error, Example, Frame, ModelError, Options, Refinement, Result, Session, WordBank, WordScore,
    read_picture,
};
use edge_seg_fw::keys::{Password, embed, generate, read_secret, sign, signed_part};
use edge_seg_tests::picture;

fn session() -> Arc<Session> {
    Arc::new(Session::built_in_with(&Options::default().with_size_px(64)).unwrap())
}

/// Patience for a machine that does other work as well.
fn patient() -> LiveOptions {
    LiveOptions::default().with_patience(Duration::from_secs(60))
}

/// A camera of a closure, which counts how often it was read and tells when it is let go.
struct Camera<F> {
    take: F,
    reads: Arc<AtomicU64>,
    gone: Arc<AtomicU64>,
    live: bool,
}

#[derive(Clone, Default)]
struct Seen {
    reads: Arc<AtomicU64>,
    gone: Arc<AtomicU64>,
}

impl Seen {
    fn camera<F: FnMut(u64, &mut Frame) -> Result<bool> + Send>(&self, live: bool, take: F) -> Camera<F> {
        Camera { take, reads: self.reads.clone(), gone: self.gone.clone(), live }
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst) == 1
    }
}

impl<F: FnMut(u64, &mut Frame) -> Result<bool> + Send> Source for Camera<F> {
    fn read(&mut self, frame: &mut Frame) -> Result<bool> {
        (self.take)(self.reads.fetch_add(1, Ordering::SeqCst), frame)
    }

    fn rate(&self) -> Option<Rate> {
        None
    }

    fn is_live(&self) -> bool {
        self.live
    }
}

impl<F> Drop for Camera<F> {
    fn drop(&mut self) {
        // What a camera's driver takes to close.
        std::thread::sleep(Duration::from_millis(100));
        self.gone.fetch_add(1, Ordering::SeqCst);
    }
}

fn grey(frame: &mut Frame) -> Result<bool> {
    frame.pixels = RgbImage::from_pixel(64, 48, edge_seg::image::Rgb([90; 3]));
    Ok(true)
}

fn run(seen: &Seen, camera: impl Source + 'static, each: impl FnMut(Arc<SegmentedFrame>) -> Result<bool>) -> Result<()> {
    let session = session();
    let words = Arc::new(Words::of(session.clone(), &session.words("cat, wall").unwrap()).unwrap());
    let ended = edge_seg_live::run(&session, Box::new(camera), &words, patient(), &Arc::default(), &Arc::default(), each);
    assert!(seen.is_gone(), "the source is let go before the session is over");
    ended
}

#[test]
fn a_source_that_panics_is_an_error_and_is_let_go() {
    let panics = |n: u64, frame: &mut Frame| if n == 2 { panic!("unplugged") } else { grey(frame) };
    let (seen, mut shown) = (Seen::default(), 0);
    let ended = run(&seen, seen.camera(false, panics), |_| {
        shown += 1;
        Ok(true)
    });
    assert!(matches!(&ended, Err(Error::Panicked { part: "source", said }) if said == "unplugged"), "{ended:?}");
    assert_eq!(shown, 2, "whole frames come first");

    let seen = Seen::default();
    let live = Live::start(session(), seen.camera(false, panics), "cat", patient()).unwrap();
    let frames: Vec<_> = live.collect();
    assert_eq!(frames.len(), 3);
    assert!(matches!(&frames[2], Err(Error::Panicked { .. })) && seen.is_gone(), "{frames:?}");
}

#[test]
fn a_source_that_panics_while_it_is_let_go_is_an_error_of_the_stop() {
    struct Stuck(Camera<fn(u64, &mut Frame) -> Result<bool>>);

    impl Source for Stuck {
        fn read(&mut self, frame: &mut Frame) -> Result<bool> {
            self.0.read(frame)
        }

        fn rate(&self) -> Option<Rate> {
            None
        }
    }

    impl Drop for Stuck {
        fn drop(&mut self) {
            panic!("the lens cap is stuck");
        }
    }

    let seen = Seen::default();
    let mut live = Live::start(session(), Stuck(seen.camera(true, |_, frame| grey(frame))), "cat", patient()).unwrap();
    assert!(live.next().unwrap().is_ok());
    let ended = live.stop();
    assert!(matches!(&ended, Err(Error::Panicked { part: "source", said }) if said == "the lens cap is stuck"), "{ended:?}");
    assert!(seen.is_gone());
}

/// Panics when it is asked how to stop it, or when it is let go, as its fields say.
struct Brittle {
    asked: bool,
    let_go: bool,
    camera: Camera<fn(u64, &mut Frame) -> Result<bool>>,
}

impl Source for Brittle {
    fn read(&mut self, frame: &mut Frame) -> Result<bool> {
        self.camera.read(frame)
    }

    fn rate(&self) -> Option<Rate> {
        None
    }

    fn stop_flag(&self) -> Option<Arc<AtomicBool>> {
        if self.asked { panic!("never") } else { None }
    }
}

impl Drop for Brittle {
    fn drop(&mut self) {
        if self.let_go {
            panic!("glued");
        }
    }
}

#[test]
fn a_source_that_panics_at_the_start_is_an_error_of_the_start() {
    for let_go in [false, true] {
        let seen = Seen::default();
        let brittle = |asked| Brittle { asked, let_go, camera: seen.camera(true, |_, frame| grey(frame)) };
        let start = |asked, words: &str, options| Live::start(session(), brittle(asked), words, options);
        let said = start(true, "cat", patient()).unwrap_err();
        assert!(matches!(&said, Error::Panicked { part: "source", said } if said == "never"), "{said}");
        let said = start(false, "", patient()).and_then(|live| live.with_rules(RuleBook::parse("rules", "rule = 7")?)).unwrap_err();
        assert!(!matches!(said, Error::Panicked { .. }), "{said}");
        let said = start(false, "cat", patient().with_keys(KeyFrames::Every(0))).unwrap_err().to_string();
        assert!(said.starts_with("keys: "), "{said}");
        assert_eq!(seen.gone.load(Ordering::SeqCst), 3, "each is let go");
    }
}

#[test]
fn a_source_may_hand_its_decoding_to_rayon_and_wait_for_it() {
    for threads in [1, 2] {
        let session = Session::built_in_with(&Options::default().with_size_px(64).with_threads(threads)).unwrap();
        let camera = Seen::default().camera(false, |n, frame| {
            let (sender, receiver) = channel();
            rayon::spawn(move || sender.send(RgbImage::from_pixel(64, 48, edge_seg::image::Rgb([90; 3]))).unwrap());
            frame.pixels = receiver.recv().unwrap();
            Ok(n < 3)
        });
        assert_eq!(Live::start(session, camera, "cat", patient()).unwrap().map(Result::unwrap).count(), 3, "{threads} threads");
    }
}

#[test]
fn a_callback_that_panics_leaves_no_thread_and_no_camera_behind() {
    let seen = Seen::default();
    let camera = seen.camera(true, |_, frame| {
        std::thread::sleep(Duration::from_millis(5));
        grey(frame)
    });
    let session = session();
    let words = Arc::new(Words::of(session.clone(), &session.words("cat").unwrap()).unwrap());
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let each = |_| -> Result<bool> { panic!("mine") };
        edge_seg_live::run(&session, Box::new(camera), &words, patient(), &Arc::default(), &Arc::default(), each)
    }));
    assert!(unwound.is_err() && seen.is_gone());
    let reads = seen.reads.load(Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(seen.reads.load(Ordering::SeqCst), reads);
    drop(words);
    assert_eq!(Arc::strong_count(&session), 1, "nobody else holds the model");
}

#[test]
fn a_session_that_stops_or_is_dropped_has_let_the_camera_go() {
    for keys in [KeyFrames::Every(1), KeyFrames::Auto { share: 1.0 }] {
        for stop in [true, false] {
            let (seen, session) = (Seen::default(), session());
            let camera = seen.camera(true, |_, frame| {
                std::thread::sleep(Duration::from_millis(5));
                grey(frame)
            });
            let options = patient().with_keys(keys);
            let mut live = Live::start(session.clone(), camera, session.words("cat").unwrap(), options).unwrap();
            assert!(live.next().unwrap().is_ok());
            if stop {
                live.stop().unwrap()
            } else {
                drop(live)
            }
            assert!(seen.is_gone());
            assert_eq!(Arc::strong_count(&session), 1, "{keys:?}");
        }
    }
    let seen = Seen::default();
    run(&seen, seen.camera(true, |_, frame| grey(frame)), |_| Ok(false)).unwrap();
}

#[test]
fn a_camera_that_is_away_is_let_go() {
    let session = session();
    // Nobody listens at this port; the pauses between tries are longer than the patience.
    for uri in ["rtsp://127.0.0.1:9/stream", "v4l2:///dev/no-such-camera"] {
        let options = LiveOptions::default().with_patience(Duration::from_secs(20));
        let camera = open_source(uri, &SourceOptions::default()).unwrap();
        let mut live = Live::start(session.clone(), camera, "cat", options).unwrap();
        assert!(live.next_within(Duration::from_secs(2)).is_pending());
        live.stop().unwrap();
        let camera = open_source(uri, &SourceOptions::default()).unwrap();
        drop(Live::start(session.clone(), camera, "cat", patient()).unwrap());
        assert_eq!(Arc::strong_count(&session), 1, "no thread of {uri} is left");
    }
}

#[test]
fn a_source_that_blocks_holds_nobody_up_for_longer_than_the_patience() {
    let (release, held): (Sender<()>, Receiver<()>) = channel();
    let seen = Seen::default();
    let camera = seen.camera(true, move |n, frame| {
        if n > 0 {
            let _ = held.recv();
        }
        grey(frame)
    });
    let options = LiveOptions::default().with_patience(Duration::from_millis(300));
    let mut live = Live::start(session(), camera, "cat", options).unwrap();
    assert!(live.next().unwrap().is_ok());
    let start = Instant::now();
    let said = live.stop().unwrap_err().to_string();
    assert!(said.contains("it still reads"), "{said}");
    assert!((300..3000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    assert!(!seen.is_gone());
    drop(release);
    let limit = Instant::now() + Duration::from_secs(20);
    while !seen.is_gone() {
        assert!(Instant::now() < limit, "let go once the read returns");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_frame_that_takes_longer_than_the_patience_is_no_fault_of_the_source() {
    let session = Arc::new(Session::built_in_with(&Options::default().with_size_px(896)).unwrap());
    let words = session.words("cat").unwrap();
    for keys in [KeyFrames::Every(1), KeyFrames::Auto { share: 1.0 }] {
        let seen = Seen::default();
        let camera = seen.camera(false, |_, frame| grey(frame));
        let options = LiveOptions::default().with_patience(Duration::from_millis(400)).with_keys(keys);
        let live = Live::start(session.clone(), camera, words.clone(), options).unwrap();
        // A second frame is read once the first one is being encoded.
        while seen.reads.load(Ordering::SeqCst) < 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
        live.stop().unwrap();
        assert!(seen.is_gone());
        assert_eq!(Arc::strong_count(&session), 1, "{keys:?}");
    }
}

#[test]
fn frames_are_numbered_and_timed_whatever_the_source_forgets() {
    let pictures = ["cat", "rocket"].map(|name| {
        let picture = read_picture(&picture(&format!("{name}.jpg"))).unwrap().pixels;
        imageops::resize(&picture, 96, 64, imageops::FilterType::Triangle)
    });
    type Forget = fn(&mut Frame);
    let forgets: [Forget; 4] = [|_| (), |f| f.sequence = 0, |f| (f.sequence, f.timestamp) = (0, Duration::ZERO), |f| f.sequence = u64::MAX];
    for forget in forgets {
        let (seen, pictures) = (Seen::default(), pictures.clone());
        let camera = seen.camera(false, move |n, frame| {
            frame.pixels.clone_from(&pictures[n as usize % 2]);
            forget(frame);
            Ok(n < 6)
        });
        let options = patient().with_carry(PropagationOptions::default().with_smoothing(Duration::from_millis(1)));
        let mut sums = HashSet::new();
        let mut last = None;
        let mut sequences = Vec::new();
        for shown in Live::start(session(), camera, "cat, rocket, sky", options).unwrap() {
            let shown = shown.unwrap();
            sequences.push(shown.frame.sequence);
            sums.insert(shown.found.scores.scores().iter().map(|s| s.to_bits()).collect::<Vec<_>>());
            assert!(shown.key && last.is_none_or(|last| shown.frame.timestamp > last), "{last:?}");
            last = Some(shown.frame.timestamp);
        }
        assert_eq!(sequences, [0, 1, 2, 3, 4, 5]);
        assert!(sums.len() >= 2, "each picture has masks of its own");
    }
}

#[test]
fn masks_of_a_live_session_are_refined_as_those_of_a_still() {
    let path = picture("cat.jpg");
    let options = Options::default().with_size_px(96);
    let session = Arc::new(Session::built_in_with(&options).unwrap().with_refinement(Refinement::Guided));
    let (frame, words) = (read_picture(&path).unwrap(), session.words("cat, wall").unwrap());
    let still = session.find(&frame, &words).unwrap().labels;
    let plain = Session::built_in_with(&options).unwrap().find(&frame, &words).unwrap().labels;
    assert_ne!(still, plain, "a test that could not fail");
    for keys in [KeyFrames::Every(1), KeyFrames::Auto { share: 1.0 }] {
        let source = edge_seg::source::open_source(path.to_str().unwrap(), &Default::default()).unwrap();
        let live = Live::start(session.clone(), source, words.clone(), patient().with_keys(keys)).unwrap();
        let frames: Vec<_> = live.map(|shown| shown.unwrap()).collect();
        assert!(!frames.is_empty() && frames.iter().all(|shown| shown.found.labels == still), "{keys:?}");
    }
    let carry = PropagationOptions::default().with_carry(Propagation::Labels);
    let refused = Live::start(session, Seen::default().camera(false, |_, f| grey(f)), words, LiveOptions::default().with_carry(carry));
    assert!(refused.unwrap_err().to_string().starts_with("carry: expected scores or still"));
}

#[test]
fn key_frames_that_never_come_are_refused() {
    let shares = [0.0, -1.0, 2.0, f32::NAN, f32::INFINITY].map(|share| KeyFrames::Auto { share });
    for keys in shares.into_iter().chain([KeyFrames::Every(0)]) {
        let camera = Seen::default().camera(false, |_, frame| grey(frame));
        let refused = Live::start(session(), camera, "cat", patient().with_keys(keys));
        let said = refused.unwrap_err().to_string();
        assert!(said.starts_with("keys: expected "), "{keys:?}: {said}");
    }
    for hot_c in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let governor = GovernorOptions::default().with_hot_c(hot_c);
        let refused = Live::start(session(), Seen::default().camera(false, |_, f| grey(f)), "cat", patient().with_governor(governor));
        assert!(refused.unwrap_err().to_string().starts_with("hot_c: expected a temperature in °C, found "), "{hot_c}");
    }
    // The smallest share that is one: a first frame is encoded, and nothing overflows after it.
    let camera = Seen::default().camera(false, |n, frame| grey(frame).map(|_| n < 3));
    let live = Live::start(session(), camera, "cat", patient().with_keys(KeyFrames::Auto { share: 1e-30 })).unwrap();
    assert_eq!(live.filter(Result::is_ok).count(), 3);
}

struct Kept(Arc<Mutex<Vec<(u64, usize)>>>, Arc<AtomicU64>);

impl LiveSink for Kept {
    fn take(&mut self, shown: &Arc<SegmentedFrame>, report: &Arc<FrameReport>) -> Result<()> {
        self.0.lock().unwrap().push((shown.frame.sequence, report.events.len()));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

const ALWAYS: &str = "[[rule]]\nname = \"always\"\nwhen = { word = \"cat\", score_above = 0 }";

#[test]
fn rules_sinks_and_words_belong_to_the_handle() {
    let (kept, finished) = (Arc::default(), Arc::new(AtomicU64::new(0)));
    let camera = Seen::default().camera(false, |n, frame| grey(frame).map(|_| n < 4));
    let live = Live::start(session(), camera, "cat: kitten, -wall", patient()).unwrap();
    let book = RuleBook::parse("rules", ALWAYS).unwrap();
    let mut live = live.with_rules(book).unwrap().with_sink(Kept(Arc::clone(&kept), finished.clone()));
    let first = live.next().unwrap().unwrap();
    assert_eq!(live.report().unwrap().events[0].event, EventKind::Started);
    assert_eq!(
        (first.words.words[0].synonyms.as_slice(), first.words.background_words.as_slice()),
        (&["kitten".to_owned()][..], &["wall".to_owned()][..])
    );
    live.words().set(edge_seg::parse_classes("words", "cat, dog").unwrap()).unwrap();
    let rest: Vec<_> = live.by_ref().map(|shown| shown.unwrap()).collect();
    assert_eq!(rest.last().unwrap().found.names().len(), 2, "the new words");
    drop(live);
    assert_eq!(finished.load(Ordering::SeqCst), 1);
    assert_eq!(*kept.lock().unwrap(), [(0, 1), (1, 0), (2, 0), (3, 0)]);
}

struct Faulty(&'static str, Arc<AtomicU64>);

impl LiveSink for Faulty {
    fn take(&mut self, _: &Arc<SegmentedFrame>, _: &Arc<FrameReport>) -> Result<()> {
        match self.0 {
            "take fails" => Err(Error::option("disk", "room", "none")),
            "take panics" => panic!("mine"),
            _ => Ok(()),
        }
    }

    fn finish(self: Box<Self>) -> Result<()> {
        match self.0 {
            "finish fails" => Err(Error::option("disk", "room", "none")),
            "finish panics" => panic!("mine"),
            _ => Ok(()),
        }
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_sink_that_fails_or_panics_ends_the_session_and_the_others_are_finished() {
    for (fault, expected) in [
        ("take fails", "disk: expected room, found none"),
        ("take panics", "sink: panicked: mine"),
        ("finish fails", "disk: expected room, found none"),
        ("finish panics", "sink: panicked: mine"),
    ] {
        let (seen, kept, finished, gone) = (Seen::default(), Arc::default(), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let camera = seen.camera(false, |n, frame| grey(frame).map(|_| n < 3));
        let live = Live::start(session(), camera, "cat", patient()).unwrap();
        let mut live = live.with_sink(Faulty(fault, gone.clone())).with_sink(Kept(Arc::clone(&kept), finished.clone()));
        let frames: Vec<_> = live.by_ref().collect();
        let stopped = live.stop();
        let said = frames.into_iter().find_map(Result::err).or(stopped.err()).map(|error| error.to_string());
        assert_eq!(said.as_deref(), Some(expected), "{fault}");
        assert_eq!([seen.gone.load(Ordering::SeqCst), gone.load(Ordering::SeqCst), finished.load(Ordering::SeqCst)], [1; 3], "{fault}");
    }
    // Unwinding is no reason to end the process, whatever a sink does at its end.
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let camera = Seen::default().camera(false, |n, frame| grey(frame).map(|_| n < 3));
        let live = Live::start(session(), camera, "cat", patient()).unwrap();
        let _live = live.with_sink(Faulty("finish panics", Arc::default()));
        panic!("the caller's own");
    }));
    assert_eq!(unwound.unwrap_err().downcast_ref::<&str>(), Some(&"the caller's own"));
}

#[test]
fn rules_run_on_masks_of_ones_own() {
    let session = session();
    let mut watcher = Watcher::new(RuleBook::parse("rules", ALWAYS).unwrap()).unwrap();
    let mut frame = read_picture(&picture("cat.jpg")).unwrap();
    let mut events = Vec::new();
    for i in 0..3 {
        (frame.sequence, frame.timestamp) = (i, Duration::from_millis(500 * i));
        events.extend(watcher.look(&session.find(&frame, &session.words("cat").unwrap()).unwrap(), SystemTime::now()));
    }
    assert_eq!(events.iter().map(|e| (e.sequence, e.event)).collect::<Vec<_>>(), [(0, EventKind::Started)]);
}

#[test]
fn keys_and_bundles_come_from_memory_in_one_call() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let built_in = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/models/mini.esb");
    std::fs::copy(built_in, at("mini.esb")).unwrap();
    for name in ["k", "other"] {
        generate(&at(name), &Password::None, None).unwrap();
    }
    let secret = read_secret(&at("k"), &Password::None).unwrap();
    let signature = sign(&secret, signed_part(&at("mini.esb")).unwrap().as_slice(), "mini.esb", 1_700_000_000).unwrap();
    embed(&at("mini.esb"), &signature).unwrap();
    let [key, other] = ["k.pub", "other.pub"].map(|name| std::fs::read_to_string(at(name)).unwrap());
    let bytes = std::fs::read(at("mini.esb")).unwrap();
    let trust = Trust::in_keys([("first", key.as_str()), ("second", other.as_str())]).unwrap();
    assert_eq!(trust.open_bytes("flash", bytes.clone()).unwrap().manifest().name, "mini");
    let mut bent = bytes.clone();
    let last = bent.len() - 1;
    bent[last] ^= 1;
    assert!(trust.open_bytes("flash", bent).is_err(), "blobs are held against their digests as well");
    let refused = Trust::in_keys([("second", other.as_str())]).unwrap().open_bytes("flash", bytes).unwrap_err();
    assert!(matches!(refused, edge_seg::bundle::Error::Refused { why: Refusal::UnknownKey { .. }, .. }), "{refused}");
    assert!(Trust::in_keys([]).unwrap_err().to_string().contains("expected one or more, found none"));
    assert!(Trust::in_keys([("broken", "no key")]).unwrap_err().to_string().starts_with("broken: "));
}

#[test]
fn more_classes_than_labels_have_bits_are_refused() {
    let classes: Vec<_> = (0..65536).map(|i| edge_seg::Class::word(i.to_string())).collect();
    let rows = |count| edge_seg::UnitRows::normalise("rows", 1, vec![1.0; count]).unwrap();
    let refused = edge_seg::WordBank::new(&classes, 0, rows(65536)).unwrap_err().to_string();
    assert!(refused.contains("at most 65535 classes") && refused.contains("found 65536"), "{refused}");
    assert_eq!(edge_seg::WordBank::new(&classes[1..], 0, rows(65535)).unwrap().names().len(), 65535);
}

/// The built-in model under another name, with the same weights: words and embeddings of the two have the same width.
fn another_model() -> Arc<Session> {
    let bundle = Bundle::built_in().unwrap();
    let blobs: Vec<_> = bundle.manifest().blobs.iter().map(|blob| (blob.name.as_str(), bundle.blob(&blob.name).unwrap())).collect();
    let blobs: Vec<(&str, &[u8])> = blobs.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
    let mut manifest = bundle.manifest().clone();
    manifest.name = "another".into();
    let other = edge_seg_bundle::build("another".into(), manifest, &blobs).unwrap();
    Arc::new(Session::new(other, &Options::default().with_size_px(64)).unwrap())
}

#[test]
fn what_another_model_made_is_refused_and_what_the_same_one_made_is_not() {
    let (one, same, other) = (session(), session(), another_model());
    let frame = Frame::from(imageops::resize(&read_picture(&picture("cat.jpg")).unwrap().pixels, 96, 64, imageops::FilterType::Triangle));
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("one.index");
    let seen = one.encode(&frame).unwrap();
    let mut writer = IndexWriter::open(&at, &one, &IndexOptions::default()).unwrap();
    writer.add(&search::Seen::new(&seen, &frame.pixels, SystemTime::now(), Duration::ZERO, "hall")).unwrap();
    let index = Index::open(&at).unwrap();
    let shared = |by: &Arc<Session>| Arc::new(Words::of(by.clone(), &by.words("cat").unwrap()).unwrap());
    let camera = || open_source("test:?size=64x48&frames=2", &SourceOptions::default()).unwrap();
    let whole =
        |live: Result<Live>| live.map(|live| live.map(|shown| shown.map(drop)).collect::<Result<Vec<()>>>().unwrap().len()).map(drop);
    type Use<'a> = (&'a str, Box<dyn FnMut(&Arc<Session>) -> Result<()> + 'a>);
    let words = |by: &Session| by.words("cat").unwrap();
    let uses: Vec<Use> = vec![
        ("words", Box::new(|by| Ok(one.find(&frame, &words(by)).map(drop)?))),
        ("words", Box::new(|by| Ok(one.find_encoded(&frame, &seen, &words(by)).map(drop)?))),
        ("words", Box::new(|by| Ok(one.segment_until(&frame, &words(by), || false).map(drop)?))),
        ("words", Box::new(|by| Ok(one.class_scores(&seen, &words(by), WordScore::Pixel).map(drop)?))),
        ("words", Box::new(|by| Ok(one.score(&seen, words(by).bank(), Background::None).map(drop)?))),
        ("words", Box::new(|by| Ok(one.with_examples(&words(by), &[]).map(drop)?))),
        ("words", Box::new(|by| index.find(&one, &words(by), &Query::default()).map(drop))),
        ("words", Box::new(|by| index.search(&one, words(by).bank(), &Query::default()).map(drop))),
        ("words", Box::new(|by| whole(Live::start(one.clone(), camera(), words(by), patient())))),
        ("words", Box::new(|by| whole(Live::start(one.clone(), camera(), shared(by), patient())))),
        ("words", Box::new(|by| shared(&one).set_list(&words(by)).map(drop))),
        ("words", Box::new(|by| words(by).bank().check(&one).map_err(Error::from))),
        ("encoded", Box::new(|by| Ok(one.find_encoded(&frame, &by.encode(&frame)?, &words(&one)).map(drop)?))),
        ("encoded", Box::new(|by| Ok(one.class_scores(&by.encode(&frame)?, &words(&one), WordScore::Image).map(drop)?))),
        ("encoded", Box::new(|by| Ok(Example::of(&one, &by.encode(&frame)?, [0, 0, 20, 20]).map(drop)?))),
        (
            "seen",
            Box::new(|by| writer.add(&search::Seen::new(&by.encode(&frame)?, &frame.pixels, SystemTime::now(), Duration::ZERO, "hall"))),
        ),
    ];
    let [mine, others] = [&one, &other].map(|session| session.bundle().digest()[..12].to_owned());
    for (at, (what, mut used)) in uses.into_iter().enumerate() {
        used(&one).and_then(|()| used(&same)).unwrap_or_else(|error| panic!("use {at}: {error}"));
        let error = used(&other).expect_err(&format!("use {at}"));
        assert!(matches!(&error, Error::Model(ModelError::Option { option, .. }) if option == what), "use {at}: {error:?}");
        let said = error.to_string();
        assert!(said.contains(&format!("the model {mine}, found")) && said.contains(&format!("the model {others}")), "use {at}: {said}");
    }
    // Of two models only the numbers differ in what they are: without names they would be taken for each other's.
    assert_eq!(other.words("cat").unwrap().bank().words(), one.words("cat").unwrap().bank().words());
    assert_ne!(other.words("cat").unwrap(), one.words("cat").unwrap());
    // What is made by hand has no model, and is taken by its width.
    let by_hand = WordBank::new(&[Class::word("cat")], 0, one.embed_text("cat").unwrap()).unwrap();
    let encoded = Encoded::new(seen.grid.clone(), seen.placement, seen.timings, "by hand");
    assert_eq!((by_hand.model_digest(), encoded.model_digest()), (None, None));
    for session in [&one, &other] {
        session.score(&encoded, &by_hand, Background::None).unwrap();
    }
}

#[test]
fn what_is_shown_of_sources_and_sinks_is_short_and_holds_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let words = session().words("cat, wall").unwrap();
    let shared = Arc::new(Words::of(session(), &words).unwrap());
    let mqtt = MqttOptions::to("mqtt://me:hidden@127.0.0.1:1", "door", "mini").with_login(("me".to_owned(), "hidden".to_owned()));
    let mut by_login = mqtt.clone();
    by_login.url = "mqtt://127.0.0.1:1".into();
    let webhook = WebhookOptions::to("http://127.0.0.1:1/services/hidden").with_secret(b"hidden".to_vec());
    let video = VideoWriter::create(&folder.path().join("clip.y4m")).unwrap();
    let (posts, broker) =
        (Webhook::start(webhook.clone(), Arc::default()).unwrap(), Mqtt::start(by_login, Arc::default(), Box::new(|_| Ok(()))));
    let shown: Vec<(&str, String)> = vec![
        ("SourceOptions { pace: Auto, stall: 10s,", format!("{:?}", SourceOptions::default())),
        ("LiveWords(\"cat\")", format!("{:?}", LiveWords::from("cat"))),
        ("LiveWords(WordList { 2 classes,", format!("{:?}", LiveWords::from(words))),
        ("LiveWords(WordSet { 2 words,", format!("{:?}", LiveWords::from(shared))),
        ("JsonLines(", format!("{:?}", JsonLines(std::io::sink()))),
        ("MaskFolder(", format!("{:?}", MaskFolder::create(folder.path().join("masks")).unwrap())),
        ("VideoWriter { \"", format!("{video:?}")),
        ("WebhookOptions { url: \"http://127.0.0.1:1/\", secret: Some(\"***\")", format!("{webhook:?}")),
        ("Webhook { http://127.0.0.1:1/, 0 dropped", format!("{posts:?}")),
        ("MqttOptions { url: \"mqtt://***@127.0.0.1:1\", login: Some((\"me\", \"***\"))", format!("{mqtt:?}")),
        ("Mqtt { mqtt://127.0.0.1:1, ", format!("{:?}", broker.unwrap())),
    ];
    for (expected, shown) in shown {
        assert!(shown.starts_with(expected) && shown.len() < 300 && !shown.contains("hidden"), "{expected}: {shown}");
    }
}

#[test]
fn a_program_that_aborts_on_panics_says_why_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let module = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/model/src/contained.rs");
    let program = format!(
        "#[path = {module:?}]\nmod contained;\nfn main() {{\n    let _ = contained::contained(|| panic!(\"out of pixels\"));\n}}\n"
    );
    std::fs::write(folder.path().join("main.rs"), program).unwrap();
    for (panics, said_so) in [("abort", true), ("unwind", false)] {
        let compiler = Path::new(env!("CARGO")).with_file_name("rustc");
        let mut build = Command::new(compiler);
        build.current_dir(&folder).args(["--edition=2024", "-Awarnings", "-C", &format!("panic={panics}"), "-o", panics, "main.rs"]);
        let built = build.output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let ended = Command::new(folder.path().join(panics)).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!((said.contains("out of pixels"), ended.status.success()), (said_so, !said_so), "{panics}: {said}");
    }
}
