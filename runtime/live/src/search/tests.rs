use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edge_seg_model::{Encoded, Frame, Options, PatchGrid, Placement, Session, UnitRows, read_picture};
use image::RgbImage;

use super::format::{BLOCK_BYTES, BLOCK_HEAD_BYTES, Before, HEADER_BYTES, Header, NewRecord, Records, StoredPart, scales_of};
use super::*;
use crate::Live;
use crate::session::{KeyFrames, LiveOptions};
use crate::source::{Pace, SourceOptions, open_source};

static SESSION: LazyLock<Arc<Session>> = LazyLock::new(|| Arc::new(Session::built_in_with(&Options::default().with_size_px(224)).unwrap()));

const START: Duration = Duration::from_secs(1_700_000_000);
/// More than a record tells.
const UNTOLD: Before = Before { records: usize::MAX - 1, rows: 0 };

fn picture(name: &str) -> Frame {
    read_picture(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/pictures").join(name)).unwrap()
}

fn put(writer: &mut IndexWriter, frame: &Frame, second: u64, origin: &str) {
    let encoded = SESSION.encode(frame).unwrap();
    let (time, at) = (UNIX_EPOCH + START + Duration::from_secs(second), Duration::from_secs(second));
    writer.add(&Seen { encoded: &encoded, picture: &frame.pixels, time, at, origin }).unwrap();
}

/// A frame of numbers that are like no other frame's.
fn noise(seed: u64) -> Encoded {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let dim = SESSION.bundle().manifest().embedding_dim;
    let grid = PatchGrid::new(8, 8, dim, (0..64 * dim).map(|_| next()).collect(), vec![1.0; dim]).unwrap();
    let placement = Placement::of((640, 640), (128, 128), (128, 128), 16);
    Encoded::new(grid, placement, Default::default(), "test")
}

fn put_noise(writer: &mut IndexWriter, second: u64) {
    let time = UNIX_EPOCH + START + Duration::from_secs(second);
    let picture = RgbImage::new(16, 16);
    writer.add(&Seen { encoded: &noise(second), picture: &picture, time, at: Duration::from_secs(second), origin: "noise" }).unwrap();
}

#[test]
fn a_writer_is_told_in_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seen.index");
    let mut writer = IndexWriter::open(&path, &SESSION, &IndexOptions::default()).unwrap();
    put_noise(&mut writer, 1);
    let told = format!("{writer:?}");
    assert!(told.contains("seen.index") && told.len() < path.as_os_str().len() + 100, "{told}");
}

#[test]
fn what_was_seen_is_found_with_its_time_camera_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seen.index");
    let mut writer = IndexWriter::open(&path, &SESSION, &IndexOptions::default()).unwrap();
    let (cat, coffee) = (picture("cat.jpg"), picture("coffee.jpg"));
    for second in 0..20 {
        put(&mut writer, if (5..8).contains(&second) { &cat } else { &coffee }, second, "hall");
    }
    put(&mut writer, &cat, 100, "garden");
    drop(writer);
    let index = Index::open(&path).unwrap();
    let query = Query::default();
    let found = index.search(&SESSION, SESSION.words("cat").unwrap().bank(), &query).unwrap().remove(0);
    assert_eq!(found.len(), 2, "{found:?}");
    let hall = found.iter().find(|one| &*one.origin == "hall").unwrap();
    let at = |second| UNIX_EPOCH + START + Duration::from_secs(second);
    assert_eq!((hall.from, hall.to, hall.frames), (at(5), at(7), 3));
    assert!((5..8).contains(&hall.at.as_secs()));
    // Where the exact masks are, to a patch or two.
    let exact = SESSION.find(&cat, &SESSION.words("cat").unwrap()).unwrap();
    let [left, top, width, height] = exact.classes()[0].bounds_px().unwrap();
    let [x, y, w, h] = hall.box_px;
    let shared = |a: u32, b: u32, c: u32, d: u32| f64::from((a + b).min(c + d).saturating_sub(a.max(c)));
    let both = shared(left, width, x, w) * shared(top, height, y, h);
    let iou = both / (f64::from(width * height) + f64::from(w * h) - both);
    assert!(iou > 0.4, "{:?} for {:?}", hall.box_px, [left, top, width, height]);
    let jpeg = index.thumbnail(hall).unwrap().unwrap();
    let small = image::load_from_memory(&jpeg).unwrap();
    assert_eq!(small.width().max(small.height()), 112);
    // Within a time, and by a threshold that nothing reaches.
    let within = query.clone().within(Some(at(50)), None);
    assert_eq!(index.search(&SESSION, SESSION.words("cat").unwrap().bank(), &within).unwrap()[0].len(), 1);
    let none = query.with_threshold(0.9999);
    assert!(index.search(&SESSION, SESSION.words("cat").unwrap().bank(), &none).unwrap()[0].is_empty());
    let contents = index.contents().unwrap();
    assert_eq!((contents.frames, contents.span, contents.origins.len()), (21, Some((at(0), at(100))), 2));
    // Twenty frames of two pictures: what is seen again takes no room.
    assert!(contents.embeddings < 3 * 14 * 20, "{contents:?}");
}

#[test]
fn a_file_that_is_taken_away_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, away) = (folder.path().join("seen.index"), folder.path().join("old.index"));
    let mut writer = IndexWriter::open(&path, &SESSION, &IndexOptions::default()).unwrap();
    let seconds = |path: &Path| Index::open(path).unwrap().contents().unwrap().frames;
    put_noise(&mut writer, 0);
    std::fs::rename(&path, &away).unwrap();
    put_noise(&mut writer, 1);
    put_noise(&mut writer, 2);
    assert_eq!((seconds(&away), seconds(&path)), (1, 2), "renamed");
    std::fs::remove_file(&path).unwrap();
    put_noise(&mut writer, 3);
    assert_eq!(seconds(&path), 1, "removed");
    std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    put_noise(&mut writer, 4);
    assert_eq!(seconds(&path), 1, "emptied");
    // A folder that is gone is told, and gone on in when it is there again.
    let gone = folder.path().join("gone");
    std::fs::create_dir(&gone).unwrap();
    let path = gone.join("seen.index");
    let mut writer = IndexWriter::open(&path, &SESSION, &IndexOptions::default()).unwrap();
    std::fs::remove_dir_all(&gone).unwrap();
    let picture = RgbImage::new(16, 16);
    let seen = Seen { encoded: &noise(5), picture: &picture, time: UNIX_EPOCH, at: Duration::ZERO, origin: "noise" };
    let said = writer.add(&seen).unwrap_err().to_string();
    assert!(said.contains("seen.index"), "{said}");
    std::fs::create_dir(&gone).unwrap();
    put_noise(&mut writer, 6);
    assert_eq!(seconds(&path), 1);
}

#[test]
fn a_sessions_key_frames_are_taken_once_and_no_more_often_than_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seen.index");
    // Ten frames a second, of which every second one is a key frame.
    let source = open_source("test:?size=96x64&fps=10&frames=20", &SourceOptions::default().with_pace(Pace::Every)).unwrap();
    let options = LiveOptions::default().with_keys(KeyFrames::Every(2));
    let options_of_index = IndexOptions::default().with_interval(Duration::from_millis(500));
    let mut writer = IndexWriter::open(&path, &SESSION, &options_of_index).unwrap();
    let (mut taken, start) = (Vec::new(), UNIX_EPOCH + START);
    let before = SystemTime::now();
    for shown in Live::start(SESSION.clone(), source, "sky, stripes", options).unwrap() {
        let shown = shown.unwrap();
        if writer.add_shown(&shown, start.checked_add(shown.frame.timestamp), "hall").unwrap() {
            taken.push(shown.frame.sequence);
        }
        // Another camera's frames are counted by themselves.
        assert_eq!(writer.add_shown(&shown, None, "garden").unwrap(), taken.last() == Some(&shown.frame.sequence));
    }
    assert_eq!(taken, [0, 6, 12, 18], "key frames alone, half a second later or more");
    let contents = Index::open(&path).unwrap().contents().unwrap();
    assert_eq!((contents.frames, contents.span.unwrap().0), (8, start));
    assert!(contents.span.unwrap().1 >= before - Duration::from_secs(1), "without a time a frame has the clock's");
}

/// Frames without end, each a little lighter than the one before.
struct Lighter(u64);

impl crate::source::Source for Lighter {
    fn read(&mut self, frame: &mut Frame) -> crate::Result<bool> {
        frame.pixels = RgbImage::from_pixel(96, 64, image::Rgb([Self::grey(self.0); 3]));
        (frame.sequence, frame.timestamp) = (self.0, Duration::from_millis(100 * self.0));
        self.0 += 1;
        std::thread::sleep(Duration::from_millis(3));
        Ok(true)
    }

    fn rate(&self) -> Option<crate::source::Rate> {
        Some((10, 1))
    }
}

impl Lighter {
    fn grey(sequence: u64) -> u8 {
        (20 + sequence % 200) as u8
    }
}

#[test]
fn a_key_frames_embeddings_are_kept_with_its_own_picture_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seen.index");
    let mut writer = IndexWriter::open(&path, &SESSION, &IndexOptions::default().with_interval(Duration::ZERO)).unwrap();
    // The encoder works beside the frames: its key frame is shown before its embeddings are there.
    let options = LiveOptions::default().with_pace(Pace::Every).with_keys(KeyFrames::Auto { share: 1.0 });
    let (mut keys, start) = (Vec::new(), UNIX_EPOCH + START);
    for shown in Live::start(SESSION.clone(), Lighter(0), "sky, stripes", options).unwrap() {
        let shown = shown.unwrap();
        if writer.add_shown(&shown, start.checked_add(shown.frame.timestamp), "hall").unwrap() {
            keys.push((shown.key_sequence, shown.frame.sequence));
        }
        if keys.iter().filter(|(key, shown)| key < shown).count() >= 4 {
            break;
        }
    }
    let index = Index::open(&path).unwrap();
    let query = Query::default().with_threshold(0.0).with_gap(Duration::ZERO).with_most(usize::MAX);
    let mut found = index.search(&SESSION, SESSION.words("sky").unwrap().bank(), &query).unwrap().remove(0);
    found.sort_by_key(|one| one.at);
    let at = |sequence: u64| Duration::from_millis(100 * sequence);
    assert_eq!(
        found.iter().map(|one| (one.at, one.best)).collect::<Vec<_>>(),
        keys.iter().map(|(key, _)| (at(*key), start + at(*key))).collect::<Vec<_>>()
    );
    for (one, (key, _)) in found.iter().zip(&keys) {
        let small = image::load_from_memory(&index.thumbnail(one).unwrap().unwrap()).unwrap().into_luma8();
        assert!(small.pixels().all(|pixel| pixel[0].abs_diff(Lighter::grey(*key)) <= 1), "{key}: {:?}", small.get_pixel(0, 0));
    }
}

#[test]
fn a_whole_pictures_example_is_told_from_what_the_index_shows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seen.index");
    let mut writer = IndexWriter::open(&path, &SESSION, &IndexOptions::default()).unwrap();
    let (cat, coffee) = (picture("cat.jpg"), picture("coffee.jpg"));
    for second in 0..10 {
        put(&mut writer, if second == 5 { &cat } else { &coffee }, second * 60, "hall");
    }
    let index = Index::open(&path).unwrap();
    let (width, height) = cat.pixels.dimensions();
    let whole = SESSION.example(&cat, [0, 0, width, height]).unwrap();
    assert!(whole.is_whole());
    let like = SESSION.words_with("", &[("it".into(), whole.clone())]).unwrap();
    let beside = SESSION.words_with("", &[("it".into(), whole.beside(&index.mean().unwrap().unwrap()))]).unwrap();
    let query = Query::default().with_threshold(0.0).with_most(10);
    let found = index.find(&SESSION, &like, &query).unwrap();
    assert_eq!(found, index.search(&SESSION, beside.bank(), &query).unwrap());
    assert_ne!(found, index.search(&SESSION, like.bank(), &query).unwrap());
    assert_eq!(found[0][0].best, UNIX_EPOCH + START + Duration::from_secs(300));
}

#[test]
fn scores_are_those_of_the_patches() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seen.index");
    let mut writer = IndexWriter::open(&path, &SESSION, &IndexOptions::default().with_frame_bytes(200_000)).unwrap();
    let cat = picture("cat.jpg");
    put(&mut writer, &cat, 0, "hall");
    let words = SESSION.words("cat, spoon, sky, -wall").unwrap();
    let exact = SESSION.find(&cat, &words.clone().with_background(edge_seg_model::Background::None).unwrap()).unwrap();
    let found = Index::open(&path).unwrap().search(&SESSION, words.bank(), &Query::default().with_threshold(0.0)).unwrap();
    let sighting = &found[0][0];
    assert!((sighting.score - exact.classes()[0].score()).abs() < 0.1, "{} for {}", sighting.score, exact.classes()[0].score());
}

#[test]
fn what_was_cut_off_costs_the_last_record_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seen.index");
    let mut writer = IndexWriter::open(&path, &SESSION, &IndexOptions::default()).unwrap();
    let mut ends = Vec::new();
    for second in 0..4 {
        put_noise(&mut writer, second);
        ends.push(std::fs::metadata(&path).unwrap().len() as usize);
    }
    drop(writer);
    let whole = std::fs::read(&path).unwrap();
    for cut in [
        ends[3] - 1,
        ends[2] + 1,
        ends[2],
        ends[2] - 7,
        ends[0] + 9,
        ends[0] - 1,
        HEADER_BYTES + BLOCK_HEAD_BYTES,
        HEADER_BYTES + 3,
        HEADER_BYTES,
    ] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let frames = ends.iter().filter(|end| **end <= cut).count() as u64;
        let index = Index::open(&path).unwrap();
        assert_eq!((index.contents().unwrap().frames, index.damage()), (frames, vec![]), "cut at {cut}");
        // It goes on where it ended, and nothing that was there is lost.
        let mut writer = IndexWriter::open(&path, &SESSION, &IndexOptions::default()).unwrap();
        put_noise(&mut writer, 50);
        assert_eq!(Index::open(&path).unwrap().contents().unwrap().frames, frames + 1, "cut at {cut}");
    }
}

/// The one block of an index, with records that do not tell what is before them, and the origin where it changes.
fn as_an_older_program_wrote(whole: &[u8]) -> Vec<u8> {
    let (header, block) = whole.split_at(HEADER_BYTES);
    let mut bytes = [header, &block[..BLOCK_HEAD_BYTES]].concat();
    let (mut origin, dim) = (String::new(), SESSION.bundle().manifest().embedding_dim);
    for record in Records::new(block, 1, dim) {
        let stored = edge_seg_model::StoredRows::from_parts(dim, record.values, scales_of(record.scales).collect()).unwrap();
        let parts: Vec<_> = record.parts().collect();
        let told = if origin == record.origin { "" } else { record.origin };
        let written = NewRecord {
            time_ms: record.time_ms,
            at_ms: record.at_ms,
            frame_px: record.frame_px,
            origin: told,
            thumbnail: record.thumbnail,
            parts: &parts,
            rows: Some(&stored),
            before: UNTOLD,
        };
        bytes.extend(written.encode(1));
        record.origin.clone_into(&mut origin);
    }
    bytes
}

#[test]
fn damage_is_told_and_what_is_sound_beside_it_is_found_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seen.index");
    let mut writer = IndexWriter::open(&path, &SESSION, &IndexOptions::default().with_frame_bytes(50_000)).unwrap();
    (0..6).for_each(|second| put_noise(&mut writer, second));
    drop(writer);
    let whole = std::fs::read(&path).unwrap();
    assert!(whole.len() < HEADER_BYTES + BLOCK_BYTES, "one block");
    // What shows a frame's sixth patch, when.
    let seen = |index: &Index, second: u64| -> Vec<u64> {
        let row = noise(second).grid.patches().row(5).to_vec();
        let row = UnitRows::normalise("it", row.len(), row).unwrap();
        let bank = edge_seg_model::WordBank::new(&[edge_seg_model::Class::word("it")], 0, row).unwrap();
        // Noise is like other noise by chance: 0.23 in cosine, a score of 0.93.
        let found = index.search(&SESSION, &bank, &Query::default().with_threshold(0.999)).unwrap().remove(0);
        found.iter().map(|one| one.at.as_secs()).collect()
    };
    let all: Vec<u64> = (0..6).collect();
    let older = as_an_older_program_wrote(&whole);
    let mut cases = Vec::new();
    for (index, is_older) in [(&whole, false), (&older, true)] {
        // Where each record ends.
        let mut ends = vec![HEADER_BYTES + BLOCK_HEAD_BYTES];
        while let Some(length) = index[ends[ends.len() - 1]..].first_chunk() {
            ends.push(ends[ends.len() - 1] + u32::from_le_bytes(*length) as usize);
        }
        let end = ends[6];
        assert_eq!((ends.len(), end), (7, index.len()));
        // Where so many bytes are others, which frames are left, from where to where the file cannot be read, and how many were there.
        let mut case = |bent: &[usize], count: usize, left: &[u64], hole: std::ops::Range<usize>, lost: Option<u64>| {
            cases.push((index, bent.to_vec(), count, left.to_vec(), hole, lost));
        };
        case(&[ends[0] + 4000], 40, &[1, 2, 3, 4, 5], ends[0]..ends[1], Some(1));
        case(&[ends[2] + 4000], 40, &[0, 1, 3, 4, 5], ends[2]..ends[3], Some(1));
        // Two in a row.
        case(&[ends[2] + 4000, ends[3] + 4000], 40, &[0, 1, 4, 5], ends[2]..ends[4], Some(2));
        // The block's beginning.
        case(&[HEADER_BYTES], 40, &[], HEADER_BYTES..end, None);
        // How long it is, and what it holds, nobody knows any more: those behind it tell what they need.
        if is_older {
            case(&[ends[2]], 40, &[0, 1], ends[2]..end, None);
            case(&[ends[4] + 16], 40, &[0, 1, 2, 3], ends[4]..end, None);
        } else {
            case(&[ends[2]], 40, &[0, 1, 3, 4, 5], ends[2]..ends[3], Some(1));
            case(&[ends[4] + 16], 40, &[0, 1, 2, 3, 5], ends[4]..ends[5], Some(1));
            case(&[ends[0]], 512, &[1, 2, 3, 4, 5], ends[0]..ends[1], Some(1));
            case(&[ends[3] - 200], 4096, &[0, 1, 4, 5], ends[2]..ends[4], Some(2));
        }
    }
    for (index, bent, count, left, hole, lost) in cases {
        let mut bytes = index.clone();
        // What was never written is no loss.
        bytes.resize(HEADER_BYTES + BLOCK_BYTES, 0);
        bent.iter().for_each(|at| bytes[*at..at + count].iter_mut().for_each(|byte| *byte ^= 0xa5));
        std::fs::write(&path, &bytes).unwrap();
        let index = Index::open(&path).unwrap();
        let range = |one: &Damage| (one.at as usize..(one.at + one.bytes) as usize, one.frames);
        let told = |index: &Index| -> Vec<_> { index.damage().iter().map(range).collect() };
        let contents = index.contents().unwrap();
        assert_eq!((contents.frames, told(&index)), (left.len() as u64, vec![(hole.clone(), lost)]), "{bent:?}");
        assert!(contents.origins.iter().all(|origin| &**origin == "noise"), "{bent:?}");
        for second in &all {
            let there = left.contains(second).then_some(*second);
            assert_eq!(seen(&index, *second), Vec::from_iter(there), "{bent:?}, frame {second}");
        }
        // It is gone on with in another block: not a byte of what lies behind the damage is written over.
        put_noise(&mut IndexWriter::open(&path, &SESSION, &IndexOptions::default()).unwrap(), 60);
        if bent != [HEADER_BYTES] {
            assert!(std::fs::read(&path).unwrap().starts_with(&bytes), "{bent:?}");
            let index = Index::open(&path).unwrap();
            assert_eq!(index.contents().unwrap().frames, left.len() as u64 + 1, "{bent:?}");
            assert_eq!(told(&index).len(), 1);
        }
    }
    // One of an older program that is sound is gone on with where it ends.
    std::fs::write(&path, &older).unwrap();
    put_noise(&mut IndexWriter::open(&path, &SESSION, &IndexOptions::default().with_frame_bytes(50_000)).unwrap(), 6);
    let index = Index::open(&path).unwrap();
    assert!(std::fs::read(&path).unwrap().starts_with(&older) && index.damage().is_empty());
    (0..7).for_each(|second| assert_eq!(seen(&index, second), [second]));
    // What an older block left behind a newer one's records is no damage.
    let options = IndexOptions::default().with_limit_bytes(4 << 20).with_frame_bytes(100_000);
    let path = folder.path().join("round.index");
    let mut writer = IndexWriter::open(&path, &SESSION, &options).unwrap();
    for second in 0..160 {
        put_noise(&mut writer, second);
        if second % 20 == 0 {
            let index = Index::open(&path).unwrap();
            assert_eq!((index.contents().unwrap().span.is_some(), index.damage()), (true, vec![]), "{second}");
        }
    }
}

#[test]
fn what_lies_behind_a_lost_beginning_is_told_and_never_comes_back_as_another_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seen.index");
    let options = IndexOptions::default().with_frame_bytes(50_000);
    (0..6).for_each(|second| put_noise(&mut IndexWriter::open(&path, &SESSION, &options).unwrap(), second));
    let whole = std::fs::read(&path).unwrap();
    let lost = (whole.len() - HEADER_BYTES) as u64;
    for bent in [|byte: &mut u8| *byte ^= 0xa5, |byte: &mut u8| *byte = 0] {
        let mut bytes = whole.clone();
        bytes[HEADER_BYTES..HEADER_BYTES + BLOCK_HEAD_BYTES].iter_mut().for_each(bent);
        std::fs::write(&path, &bytes).unwrap();
        let index = Index::open(&path).unwrap();
        assert_eq!(index.contents().unwrap().frames, 0);
        assert_eq!(
            index.damage().iter().map(|one| (one.at, one.bytes, one.frames)).collect::<Vec<_>>(),
            [(HEADER_BYTES as u64, lost, None)]
        );
        // What comes takes its place: of it alone there is something to be found.
        let mut writer = IndexWriter::open(&path, &SESSION, &options).unwrap();
        for (count, second) in (60..63).enumerate() {
            put_noise(&mut writer, second);
            let index = Index::open(&path).unwrap();
            let contents = index.contents().unwrap();
            let at = |second| UNIX_EPOCH + START + Duration::from_secs(second);
            assert_eq!((contents.frames, contents.span, index.damage()), (count as u64 + 1, Some((at(60), at(second))), vec![]));
        }
    }
}

#[test]
fn no_damage_is_believed_and_none_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seen.index");
    let mut writer = IndexWriter::open(&path, &SESSION, &IndexOptions::default().with_frame_bytes(8000)).unwrap();
    (0..3).for_each(|second| put_noise(&mut writer, second));
    drop(writer);
    let whole = std::fs::read(&path).unwrap();
    let words = SESSION.words("cat").unwrap();
    let query = Query::default().with_threshold(0.0);
    let all = Index::open(&path).unwrap().search(&SESSION, words.bank(), &query).unwrap();
    assert!(!all[0].is_empty());
    let places = (0..64).chain((64..HEADER_BYTES + 200).step_by(61)).chain((HEADER_BYTES..whole.len()).step_by(997));
    for at in places {
        let mut bent = whole.clone();
        bent[at] ^= 0x41;
        std::fs::write(&path, &bent).unwrap();
        match Index::open(&path) {
            Err(e) => {
                let said = e.to_string();
                assert!(at < HEADER_BYTES && said.contains("seen.index: expected an index of edge-seg, version 1, found"), "{at}: {said}");
            }
            // Within a record it costs that one.
            Ok(index) => assert!(index.contents().unwrap().frames < 3 || at < HEADER_BYTES + BLOCK_HEAD_BYTES, "byte {at}"),
        }
        if let Ok(index) = Index::open(&path) {
            index.search(&SESSION, words.bank(), &query).unwrap();
        }
    }
    for cut in (0..HEADER_BYTES).step_by(37) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let said = Index::open(&path).unwrap_err().to_string();
        assert!(said.contains("expected an index of edge-seg, version 1"), "{cut}: {said}");
        // A writer that was killed in its first write may have left it so: the next one begins anew.
        let begun = IndexWriter::open(&path, &SESSION, &IndexOptions::default());
        assert_eq!(begun.is_ok(), cut == 0 || cut >= 8, "{cut}: {begun:?}");
        if begun.is_ok() {
            drop(begun);
            assert_eq!(Index::open(&path).unwrap().contents().unwrap().frames, 0, "{cut}");
        }
    }
}

#[test]
fn records_that_somebody_made_up_are_refused_with_a_right_checksum() {
    const FIRST: Before = Before { records: 0, rows: 0 };
    let made = |parts: &[StoredPart], frame_px| {
        let record = NewRecord { time_ms: 1, at_ms: 2, frame_px, origin: "x", thumbnail: b"jpeg", parts, rows: None, before: FIRST };
        let mut block = vec![0; BLOCK_HEAD_BYTES];
        block.extend(record.encode(7));
        Records::new(&block, 7, 384).count()
    };
    assert_eq!(made(&[], (4, 4)), 1);
    assert_eq!(made(&[], (0, 4)), 0, "no picture");
    assert_eq!(made(&[StoredPart { row: 0, edges: [0, 0, 9, 9] }], (4, 4)), 0, "an embedding that is not there");
    // With the claim of another length, and of another block.
    let record = NewRecord { time_ms: 1, at_ms: 2, frame_px: (4, 4), origin: "x", thumbnail: b"", parts: &[], rows: None, before: FIRST };
    let mut block = vec![0; BLOCK_HEAD_BYTES];
    block.extend(record.encode(7));
    assert_eq!(Records::new(&block, 8, 384).count(), 0);
    for length in [0u32, 7, 43, 46, u32::MAX] {
        block[BLOCK_HEAD_BYTES..][..4].copy_from_slice(&length.to_le_bytes());
        assert_eq!(Records::new(&block, 7, 384).count(), 0, "{length}");
    }
}

#[test]
fn two_writers_are_one_too_many_and_readers_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seen.index");
    let mut first = IndexWriter::open(&path, &SESSION, &IndexOptions::default()).unwrap();
    let said = IndexWriter::open(&path, &SESSION, &IndexOptions::default()).unwrap_err().to_string();
    assert!(said.contains("seen.index: expected an index that nobody writes"), "{said}");
    put_noise(&mut first, 1);
    assert_eq!(Index::open(&path).unwrap().contents().unwrap().frames, 1);
    drop(first);
    IndexWriter::open(&path, &SESSION, &IndexOptions::default()).unwrap();
}

#[test]
fn other_files_and_other_models_indexes_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "my notes").unwrap();
    let said = IndexWriter::open(&path, &SESSION, &IndexOptions::default()).unwrap_err().to_string();
    assert!(said.contains("found a file that begins with \"my notes\""), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), b"my notes");
    let header = Header { dim: 384, block_bytes: BLOCK_BYTES, blocks: 8, digest: "0123456789abcdef".into(), model: "other".into() };
    std::fs::write(&path, header.encode()).unwrap();
    for said in [
        IndexWriter::open(&path, &SESSION, &IndexOptions::default()).unwrap_err().to_string(),
        Index::open(&path).unwrap().search(&SESSION, SESSION.words("cat").unwrap().bank(), &Query::default()).unwrap_err().to_string(),
    ] {
        assert!(said.contains("an index of the model mini (") && said.contains("one of other (0123456789ab)"), "{said}");
    }
    assert!(Index::open(folder.path()).unwrap_err().to_string().contains("a folder"));
    assert!(IndexWriter::open(folder.path(), &SESSION, &IndexOptions::default()).is_err());
}

#[test]
fn the_oldest_goes_out_where_the_limit_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seen.index");
    let options = IndexOptions::default().with_limit_bytes(4 << 20).with_frame_bytes(100_000);
    let mut writer = IndexWriter::open(&path, &SESSION, &options).unwrap();
    let at = |second| UNIX_EPOCH + START + Duration::from_secs(second);
    (0..300).for_each(|second| put_noise(&mut writer, second));
    assert!(std::fs::metadata(&path).unwrap().len() <= 4 << 20);
    let contents = Index::open(&path).unwrap().contents().unwrap();
    let (first, last) = contents.span.unwrap();
    assert_eq!(last, at(299));
    assert!(first > at(150) && contents.frames < 130, "{contents:?}");
    // What is left has no hole: frames were a second apart.
    assert_eq!(last.duration_since(first).unwrap().as_secs() + 1, contents.frames);
    drop(writer);
    // A larger limit keeps more from then on, a smaller one would lose what is there.
    let said = IndexWriter::open(&path, &SESSION, &IndexOptions::default().with_limit_bytes(3 << 20)).unwrap_err().to_string();
    assert!(said.contains("4 MiB to 1 TiB"), "{said}");
    let mut writer = IndexWriter::open(&path, &SESSION, &options.with_limit_bytes(8 << 20)).unwrap();
    (300..380).for_each(|second| put_noise(&mut writer, second));
    let more = Index::open(&path).unwrap().contents().unwrap();
    assert_eq!((more.span.unwrap().0, more.frames), (first, contents.frames + 80));
    drop(writer);
    let said = IndexWriter::open(&path, &SESSION, &IndexOptions::default().with_limit_bytes(5 << 20)).unwrap_err().to_string();
    assert!(said.contains("index limit: expected at least") && said.contains("seen.index has"), "{said}");
}

#[test]
fn frames_take_what_they_may_on_average() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seen.index");
    let mut writer = IndexWriter::open(&path, &SESSION, &IndexOptions::default()).unwrap();
    // The worst that there is: nothing is ever seen again.
    (0..1200).for_each(|second| put_noise(&mut writer, second));
    let bytes = std::fs::metadata(&path).unwrap().len();
    assert!(bytes < 1200 * 40_000_000 / 3600, "{bytes} bytes for 20 minutes, where 40 MB are an hour's");
    assert!(Index::open(&path).unwrap().contents().unwrap().embeddings > 1200 * 16);
}

#[test]
fn a_cosine_of_one_is_found_whatever_the_thread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seen.index");
    let mut writer = IndexWriter::open(&path, &SESSION, &IndexOptions::default().with_frame_bytes(50_000)).unwrap();
    (0..30).for_each(|second| put_noise(&mut writer, second));
    let row = noise(17).grid.patches().row(5).to_vec();
    let bank = edge_seg_model::WordBank::new(&[edge_seg_model::Class::word("it")], 0, UnitRows::normalise("it", row.len(), row).unwrap());
    let query = Query::default().with_threshold(0.9);
    let found = Index::open(&path).unwrap().search(&SESSION, &bank.unwrap(), &query).unwrap().remove(0);
    assert_eq!((found.len(), found[0].at, found[0].frames), (1, Duration::from_secs(17), 1));
    // Patch 5 of 8×8 of a frame of 640×640.
    assert_eq!(found[0].box_px, [400, 0, 80, 80]);
}

#[test]
fn words_of_examples_alone_are_found_from_the_score_that_their_rows_are_made_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seen.index");
    let mut writer = IndexWriter::open(&path, &SESSION, &IndexOptions::default().with_frame_bytes(100_000)).unwrap();
    let cat = picture("cat.jpg");
    let (width, height) = cat.pixels.dimensions();
    let example = SESSION.example(&cat, [width / 4, height / 4, width / 2, height / 2]).unwrap();
    let alone = SESSION.words_with("", &[("it".into(), example.clone())]).unwrap();
    let row = alone.bank().words().row(0);
    let manifest = SESSION.bundle().manifest();
    assert!(manifest.background < 0.4 && manifest.tag_threshold > 0.4);
    // The first patch of each frame has this score, and no other one is like the word.
    for (minute, score) in [0.2f32, 0.4, 0.6].into_iter().enumerate() {
        let cosine = ((score / (1.0 - score)).ln() - manifest.logit_bias.unwrap()) / manifest.logit_scale;
        let mut encoded = noise(minute as u64);
        let mut patches = encoded.grid.patches().data().to_vec();
        for (at, patch) in patches.chunks_exact_mut(row.len()).enumerate() {
            let along: f32 = row.iter().zip(&*patch).map(|(a, b)| a * b).sum();
            patch.iter_mut().zip(row).for_each(|(value, a)| *value -= along * a);
            let length = patch.iter().map(|value| value * value).sum::<f32>().sqrt();
            let (of_row, of_rest) = if at == 0 { (cosine, (1.0 - cosine * cosine).sqrt() / length) } else { (0.0, 1.0 / length) };
            patch.iter_mut().zip(row).for_each(|(value, a)| *value = of_row * a + of_rest * *value);
        }
        encoded.grid = PatchGrid::new(8, 8, row.len(), patches, vec![1.0; row.len()]).unwrap();
        let at = Duration::from_secs(60 * minute as u64);
        writer
            .add(&Seen { encoded: &encoded, picture: &RgbImage::new(16, 16), time: UNIX_EPOCH + START + at, at, origin: "hall" })
            .unwrap();
    }
    let index = Index::open(&path).unwrap();
    let minutes = |found: Vec<Vec<Sighting>>| -> Vec<u64> { found[0].iter().map(|one| one.at.as_secs() / 60).collect() };
    let query = Query::default();
    assert_eq!(minutes(index.find(&SESSION, &alone, &query).unwrap()), [2, 1]);
    assert_eq!(minutes(index.find(&SESSION, &alone, &query.clone().with_threshold(0.5)).unwrap()), [2]);
    // The same numbers as a typed word's are held against the threshold of those.
    assert_eq!(minutes(index.search(&SESSION, alone.bank(), &query).unwrap()), [2]);
}

/// `cargo test --release --workspace --lib -- --ignored --nocapture a_day_of_a_camera`: time of a query over 86,400 frames of which each
/// shows what none before it did, on two threads.
#[test]
#[ignore = "measures, and writes 950 MB"]
fn a_day_of_a_camera() {
    use std::os::unix::fs::FileExt;

    use super::format::encode_block_head;
    const FRAMES: u64 = 86_400;
    let session = Session::built_in_with(&Options::default().with_threads(2)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("day.index");
    let bundle = session.bundle();
    let header =
        Header { dim: 384, block_bytes: BLOCK_BYTES, blocks: 4000, digest: bundle.digest().into(), model: bundle.manifest().name.clone() };
    let file = std::fs::File::create(&path).unwrap();
    file.write_all_at(&header.encode(), 0).unwrap();
    let stored: Vec<_> = (0..48u64)
        .map(|seed| {
            let rows = noise(seed).grid.patches().data()[..384 * if seed % 3 == 0 { 16 } else { 32 }].to_vec();
            edge_seg_model::StoredRows::pack(&UnitRows::normalise("rows", 384, rows).unwrap())
        })
        .collect();
    let (mut block, mut number, mut rows, mut embeddings) = (encode_block_head(1).to_vec(), 0u32, 0, 0);
    for frame in 0..FRAMES {
        let of = &stored[(frame * 7 % 48) as usize];
        let of = (frame % 4 != 0).then_some(of);
        let record = |rows: usize| {
            let known = rows + of.map_or(0, |of| of.rows());
            let parts: Vec<StoredPart> = (0..80u16)
                .map(|at| StoredPart {
                    row: (known.max(1) - 1 - usize::from(at).min(known.max(1) - 1)) as u16,
                    edges: [at as u8, 3, 200, 90],
                })
                .collect();
            (known, parts)
        };
        let encode = |rows: usize, number: u32| {
            let (known, parts) = record(rows);
            let parts = if known == 0 { &parts[..0] } else { &parts[..] };
            let (time_ms, at_ms) = ((START.as_secs() + frame) * 1000, frame * 1000);
            let record =
                NewRecord { time_ms, at_ms, frame_px: (640, 480), origin: "hall", thumbnail: &[7; 1800], parts, rows: of, before: UNTOLD };
            (record.encode(u64::from(number) + 1), known)
        };
        let (mut bytes, mut known) = encode(rows, number);
        if block.len() + bytes.len() > BLOCK_BYTES {
            file.write_all_at(&block, header.block_at(number)).unwrap();
            number += 1;
            block = encode_block_head(u64::from(number) + 1).to_vec();
            (bytes, known) = encode(0, number);
        }
        block.extend(bytes);
        rows = known;
        embeddings += of.map_or(0, |of| of.rows());
    }
    file.write_all_at(&block, header.block_at(number)).unwrap();
    let index = Index::open(&path).unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!("{FRAMES} frames, {embeddings} embeddings, {:.0} MB", bytes as f64 / 1e6);
    for words in ["red car", "red car, bicycle, dog, cat"] {
        let words = session.words(words).unwrap();
        let mut times: Vec<f64> = (0..9)
            .map(|_| {
                let start = std::time::Instant::now();
                index.search(&session, words.bank(), &Query::default()).unwrap();
                1e3 * start.elapsed().as_secs_f64()
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("{} words: median {:.0} ms, least {:.0} ms", words.names().len(), times[4], times[0]);
    }
    assert_eq!(index.contents().unwrap().frames, FRAMES);
}

/// `cargo test --release --workspace --lib -- --ignored --nocapture recall_against_exact_scoring`, with the reference data in
/// `EDGE_SEG_DATA`: of the pictures that exact scoring finds a word in, the share that an index finds, and how many it finds beyond them.
#[test]
#[ignore = "measures, on reference data"]
fn recall_against_exact_scoring() {
    let data = std::path::PathBuf::from(std::env::var_os("EDGE_SEG_DATA").expect("EDGE_SEG_DATA: the folder of reference data"));
    let session = Session::built_in_with(&Options::default().with_threads(2)).unwrap();
    let threshold = session.bundle().manifest().tag_threshold;
    let list = "person, car, tree, sky, building, road, window, table, chair, door, plant, lamp, dog, boat, bed, curtain, water, grass, bottle, sign";
    let words = session.words(list).unwrap();
    for (name, step) in [("seg/ade20k_dev400/images", 5), ("seg/camvid_clip101/images", 1)] {
        let mut paths: Vec<_> = std::fs::read_dir(data.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let folder = tempfile::tempdir().unwrap();
        let budgets = [6000, 11_000, 32_000];
        let path = |bytes: u32| folder.path().join(format!("{bytes}.index"));
        let open = |bytes| IndexWriter::open(&path(bytes), &session, &IndexOptions::default().with_frame_bytes(bytes)).unwrap();
        let mut writers = budgets.map(open);
        let mut exact = Vec::new();
        for (at, picture) in paths.iter().step_by(step).enumerate() {
            let frame = read_picture(picture).unwrap();
            let encoded = session.encode(&frame).unwrap();
            exact.push(session.class_scores(&encoded, &words, edge_seg_model::WordScore::Pixel).unwrap());
            let at = Duration::from_secs(at as u64);
            let (time, origin) = (UNIX_EPOCH + START + at, at.as_secs().to_string());
            for writer in &mut writers {
                writer.add(&Seen { encoded: &encoded, picture: &frame.pixels, time, at, origin: &origin }).unwrap();
            }
        }
        for frame_bytes in budgets {
            let path = path(frame_bytes);
            let index = Index::open(&path).unwrap();
            let query = Query::default().with_most(usize::MAX).with_gap(Duration::ZERO).with_threshold(0.001);
            let found = index.search(&session, words.bank(), &query).unwrap();
            let (mut wanted, mut hit, mut beyond, mut top, mut error) = (0, 0, 0, Vec::new(), 0.0f64);
            for (word, sightings) in found.iter().enumerate() {
                let mut scores = vec![0.0f32; exact.len()];
                sightings.iter().for_each(|one| scores[one.at.as_secs() as usize] = one.score);
                for (exact, score) in exact.iter().map(|exact| exact[word]).zip(&scores) {
                    error += f64::from((exact - score).abs());
                    wanted += usize::from(exact >= threshold);
                    hit += usize::from(exact >= threshold && *score >= threshold);
                    beyond += usize::from(exact < threshold && *score >= threshold);
                }
                let best = |of: &dyn Fn(usize) -> f32| {
                    let mut order: Vec<usize> = (0..scores.len()).collect();
                    order.sort_by(|a, b| of(*b).total_cmp(&of(*a)));
                    order.truncate(10);
                    order
                };
                let (right, said) = (best(&|at| exact[at][word]), best(&|at| scores[at]));
                top.push(right.iter().filter(|at| said.contains(at)).count() as f64 / right.len() as f64);
            }
            let bytes = std::fs::metadata(&path).unwrap().len() as f64 / exact.len() as f64;
            println!(
                "{name}, {} pictures, {bytes:.0} bytes each: recall {:.3} of {wanted}, {beyond} beyond, ten best {:.3}, error {:.3}",
                exact.len(),
                hit as f64 / f64::from(wanted as u32).max(1.0),
                top.iter().sum::<f64>() / top.len() as f64,
                error / (exact.len() * words.names().len()) as f64,
            );
        }
    }
}
