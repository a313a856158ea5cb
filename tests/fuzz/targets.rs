//! Readers of what strangers write, each as one function of bytes: no input may make one panic, hang or take memory without end, and no
//! error may carry characters that a terminal obeys. `tests/export` runs each on its seeds and some thousand changes of these;
//! `cargo xtask fuzz` runs them under libFuzzer.

#[path = "models.rs"]
mod models;
#[path = "served.rs"]
mod served;

use std::cell::OnceCell;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use edge_seg_board::{Host, boards, processor, sensors};
use edge_seg_bundle::text::hidden;
use edge_seg_bundle::trust::Trust;
use edge_seg_bundle::{Bundle, FORMAT, Header, MAGIC, MANIFEST_OFFSET, date};
use edge_seg_export::checkpoint::{read_contents, read_npz};
use edge_seg_export::eval::pictures::{Coding, Pair, read_labels};
use edge_seg_export::eval::{ClassTable, drawn};
use edge_seg_export::import::pickle;
use edge_seg_live::rules::{LocalClock, RuleBook, Watcher};
use edge_seg_live::search::{Index, IndexOptions, IndexWriter, Seen, time_in_name};
use edge_seg_live::source::{Pace, SourceOptions, open_source, redacted};
use edge_seg_live::words::parse_words_json;
use edge_seg_model::render::ClassReport;
use edge_seg_model::{
    Channels, Extent, Frame, LabelMap, Options, Session, decode_picture, describe_picture, parse_classes, parse_words, read_orientation,
    split_caption,
};

/// A reader, and what it is begun with.
pub struct Target {
    pub name: &'static str,
    pub read: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

pub const TARGETS: &[Target] = &[
    Target { name: "words", read: words, seeds: word_seeds },
    Target { name: "classes", read: classes, seeds: class_seeds },
    Target { name: "rules", read: rules, seeds: rule_seeds },
    Target { name: "manifest", read: manifest, seeds: manifest_seeds },
    Target { name: "bundle", read: bundle, seeds: bundle_seeds },
    Target { name: "keys", read: keys, seeds: key_seeds },
    Target { name: "checkpoint", read: checkpoint, seeds: checkpoint_seeds },
    Target { name: "labels", read: labels, seeds: label_seeds },
    Target { name: "index", read: index, seeds: index_seeds },
    Target { name: "video", read: video, seeds: video_seeds },
    Target { name: "picture", read: picture, seeds: picture_seeds },
    Target { name: "frame", read: frame, seeds: frame_seeds },
    Target { name: "board", read: board, seeds: board_seeds },
    Target { name: "graph", read: models::graph, seeds: models::graph_seeds },
    Target { name: "tokenizer", read: models::tokenizer, seeds: models::tokenizer_seeds },
    Target { name: "tokens", read: models::tokens, seeds: models::token_seeds },
    Target { name: "masks", read: models::masks, seeds: models::mask_seeds },
    Target { name: "capture", read: models::capture, seeds: models::capture_seeds },
    Target { name: "http", read: served::http, seeds: served::http_seeds },
    Target { name: "mqtt", read: served::mqtt, seeds: served::mqtt_seeds },
    Target { name: "camera", read: served::camera, seeds: served::camera_seeds },
    Target { name: "h264", read: served::h264, seeds: served::h264_seeds },
    Target { name: "fleet", read: served::fleet, seeds: served::fleet_seeds },
];

/// What an error says goes to terminals and logs.
fn said<T, E: Display>(read: Result<T, E>) -> Option<T> {
    let error = match read {
        Ok(value) => return Some(value),
        Err(error) => error.to_string(),
    };
    let raw = hidden(&error).find(|(_, c)| *c != '\n');
    assert!(raw.is_none(), "a hidden character {raw:?} in an error: {error:?}");
    None
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// The first byte chooses among `of`, the others are what is read.
fn choice<T: Copy>(bytes: &[u8], of: &[T]) -> Option<(T, Vec<u8>)> {
    let (first, rest) = bytes.split_first()?;
    Some((of[usize::from(*first) % of.len()], rest.to_vec()))
}

/// A file in memory, where there is a folder for such, of this thread and name.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    thread_local!(static FOLDER: OnceCell<tempfile::TempDir> = const { OnceCell::new() });
    let memory = Path::new("/dev/shm");
    let new = || if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let path = FOLDER.with(|folder| folder.get_or_init(|| new().expect("a folder")).path().join(name));
    if std::fs::write(&path, bytes).is_err() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, bytes).expect("a file");
    }
    path
}

fn words(bytes: &[u8]) {
    said(parse_words_json("words", bytes));
    let Some(text) = text(bytes) else { return };
    said(parse_classes("tags", text));
    said(split_caption(text, text.len() % 2 == 0));
    let Some((classes, left_out)) = said(parse_words("words", text)) else { return };
    let all = classes.iter().flat_map(|class| [&class.name].into_iter().chain(&class.words)).chain(&left_out);
    all.for_each(|word| assert!(!word.trim().is_empty() && hidden(word).next().is_none(), "{word:?} of {text:?}"));
}

fn classes(bytes: &[u8]) {
    if let Some(text) = text(bytes) {
        said(ClassTable::parse("classes", text));
    }
}

fn rules(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let _ = redacted(text);
    time_in_name(Path::new(text), &LocalClock::utc());
    let Some(book) = said(RuleBook::parse("rules", text)) else { return };
    let names: Vec<String> = book.words().into_iter().map(str::to_owned).collect();
    let Some(mut watcher) = said(Watcher::new(book)) else { return };
    let labels = LabelMap { width: 8, height: 6, labels: (0..48).map(|at| at % 3).collect() };
    let mut extent = Extent::default();
    (extent.pixels, extent.bounds_px) = (16, Some([0, 0, 8, 6]));
    let classes: Vec<_> = (1..).zip(&names).map(|(label, name)| ClassReport::new(label, name, 0.5, extent, 48)).collect();
    for (sequence, timestamp_ms) in [0.0, 900.0, 1e7].into_iter().enumerate() {
        watcher.observe(&labels, &classes, sequence as u64, timestamp_ms, SystemTime::UNIX_EPOCH + Duration::from_secs(86_399));
    }
}

/// A manifest behind a header that fits, which random bytes would hardly come to.
fn manifest(bytes: &[u8]) {
    bundle(&in_bundle(bytes));
}

fn bundle(bytes: &[u8]) {
    if let Some(header) = said(Header::parse("bundle", bytes)) {
        header.signature();
        said(header.manifest("bundle"));
    }
    said(Bundle::from_bytes("bundle", bytes.to_vec()));
}

fn keys(bytes: &[u8]) {
    let trust = Trust::in_keys([("key", KEY)]).expect("a key");
    assert!(trust.check_signature(bytes, b"something else").is_err(), "a signature of nobody's");
    if let Some(text) = text(bytes) {
        said(Trust::in_keys([("key", text)]));
    }
}

fn checkpoint(bytes: &[u8]) {
    let Some((kind, bytes)) = choice(bytes, &["pt", "safetensors", "npz"]) else { return };
    let path = file(&format!("weights.{kind}"), &bytes);
    match kind {
        "pt" => drop(said(pickle::read(&path))),
        "npz" => drop(said(read_npz(&path))),
        _ => drop(said(read_contents(&path))),
    }
}

fn labels(bytes: &[u8]) {
    let Some((kind, bytes)) = choice(bytes, &["json", "xml", "mat", "png"]) else { return };
    let path = file(&format!("labels/cat.{kind}"), &bytes);
    thread_local!(static IMAGE: PathBuf = file("images/cat.png", &grey_png()));
    let image = IMAGE.with(PathBuf::clone);
    if matches!(kind, "json" | "xml") {
        let Some(Some(drawn)) = said(drawn::read(&path, image.parent().expect("a folder"), None, false)) else { return };
        drawn.pairs.iter().for_each(|pair| drop(said(read_labels(pair, None))));
        return;
    }
    for coding in [Coding::Numbers, Coding::Colours, Coding::LabelMap] {
        let pair = Pair { stem: "cat".into(), image: image.clone(), labels: path.clone(), coding, stored: false };
        said(read_labels(&pair, Some((8, 6))));
    }
}

fn index(bytes: &[u8]) {
    let Some(index) = said(Index::open(&file("seen.esi", bytes))) else { return };
    said(index.contents());
    said(index.mean());
}

fn video(bytes: &[u8]) {
    let Some((kind, bytes)) = choice(bytes, &["y4m:PATH", "mjpeg:PATH", "mjpeg:PATH?fps=5", "raw:PATH?size=16x6&format=nv12"]) else {
        return;
    };
    let path = file("video.bin", &bytes);
    let options = SourceOptions::default().with_pace(Pace::Every);
    let uri = kind.replace("PATH", &path.display().to_string());
    let Some(mut source) = said(open_source(&uri, &options)) else { return };
    let mut frame = Frame::still(Default::default());
    for _ in 0..4 {
        match said(source.read(&mut frame)) {
            Some(true) => assert!(frame.pixels.width() > 0 && frame.pixels.height() > 0, "an empty frame"),
            _ => return,
        }
    }
}

fn picture(bytes: &[u8]) {
    describe_picture(bytes);
    said(read_orientation(&file("picture.jpg", bytes)));
    said(decode_picture("picture", bytes));
}

fn frame(bytes: &[u8]) {
    let Some((channels, bytes)) = choice(bytes, &[Channels::Rgb, Channels::Bgr, Channels::Rgba, Channels::Bgra, Channels::Grey]) else {
        return;
    };
    let Some((numbers, pixels)) = bytes.split_at_checked(6) else { return };
    let number = |at: usize| u32::from(u16::from_le_bytes([numbers[at], numbers[at + 1]]));
    said(Frame::from_raw(channels, (number(0), number(2)), number(4) as usize, pixels));
}

fn board(bytes: &[u8]) {
    let strings = processor::device_tree_strings(bytes);
    boards::recognise(&strings);
    let Some(text) = text(bytes) else { return };
    processor::cpuinfo(text);
    sensors::parse_flags(text);
    date::parse_utc(text);
    date::parse_clock(text);
    date::Date::parse(text);
    // Such files hold a word or a number.
    if bytes.len() > 64 {
        return;
    }
    let zone = "sys/class/thermal/thermal_zone0";
    let path = file(&format!("board/{zone}/temp"), bytes);
    for name in ["type", "trip_point_0_type", "trip_point_0_temp", "policy"] {
        file(&format!("board/{zone}/{name}"), bytes);
    }
    let host = Host::under(path.ancestors().nth(5).expect("a root"));
    sensors::hottest(&host);
    sensors::slowed(&host);
}

const KEY: &str = "untrusted comment: a key\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n";

fn all(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Each behind the byte that chooses it.
fn chosen(kinds: &[(u8, &[u8])]) -> Vec<Vec<u8>> {
    kinds.iter().map(|(kind, bytes)| [&[*kind], *bytes].concat()).collect()
}

fn in_bundle(manifest: &[u8]) -> Vec<u8> {
    let mut whole = MAGIC.to_vec();
    whole.extend(FORMAT.to_le_bytes());
    whole.extend((manifest.len() as u32).to_le_bytes());
    whole.resize(MANIFEST_OFFSET, 0);
    whole.extend_from_slice(manifest);
    whole
}

/// A picture of 8 × 6 pixels.
fn png(colour: image::DynamicImage) -> Vec<u8> {
    encoded(&colour, image::ImageFormat::Png)
}

fn encoded(picture: &image::DynamicImage, format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).expect("a picture");
    bytes.into_inner()
}

fn grey_png() -> Vec<u8> {
    png(image::GrayImage::from_fn(8, 6, |x, y| image::Luma([(x * y) as u8])).into())
}

fn rgb() -> image::DynamicImage {
    image::RgbImage::from_fn(8, 6, |x, y| image::Rgb([(30 * x) as u8, (40 * y) as u8, 90])).into()
}

fn word_seeds() -> Vec<Vec<u8>> {
    all(&[
        "cat, red car: sports car: \"a, b\", -wall",
        "A dog isn't on the well-known grass.",
        r##"{"words": [{"name": "cat", "synonyms": ["kitten"], "threshold": 0.4, "colour": "#ff0000", "on": true}, "dog"]}"##,
        r#"["cat", {"name": "dog"}]"#,
    ])
}

fn class_seeds() -> Vec<Vec<u8>> {
    all(&[
        "value\tname\trole\n0\tbackground\tnone\n1\tcat; kitten\t\n255\t\tignore\n",
        "cat, kitten\ndog # a comment\n",
        "0: cat\n1: dog\n",
        "names:\n  0: cat\n  1: dog\nnc: 2\n",
        "Idx,Ratio,Train,Val,Stuff,Name\n1,0.15,11664,1172,1,wall\n",
        "item {\n  id: 1\n  name: 'cat'\n}\n",
        "name,r,g,b\nroad,128,64,128\n",
    ])
}

fn rule_seeds() -> Vec<Vec<u8>> {
    all(&[
        "[[zone]]\nname = \"door\"\npoints = [[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]]\n\n[[rule]]\nname = \"somebody\"\n\
         when = { word = \"person\", zone = \"door\", share_above = 0.05 }\nfor_s = 1\nend_after_s = 2\n",
        "[[line]]\nname = \"gate\"\nfrom = [0.5, 0]\nto = [0.5, 1]\n\n[[rule]]\nname = \"queue\"\n\
         when = \"count(\\\"person\\\") >= 3\"\nfor_s = 5\nconfirm_s = 1\n",
        "[[profile]]\nname = \"night\"\nfrom = \"22:00\"\nto = \"06:00\"\nwords = [\"cat\"]\n",
        "rtsp://me:secret@10.0.0.1:554/stream?user=a&password=b",
        "front-2026-11-03_14-05-09.mp4",
    ])
}

fn manifest_seeds() -> Vec<Vec<u8>> {
    let whole = Bundle::built_in().expect("the built-in bundle");
    vec![serde_json::to_vec(whole.manifest()).expect("JSON"), b"{\"format\": 1}".to_vec()]
}

fn bundle_seeds() -> Vec<Vec<u8>> {
    manifest_seeds().iter().map(|manifest| in_bundle(manifest)).collect()
}

fn key_seeds() -> Vec<Vec<u8>> {
    let signed = "untrusted comment: signature\nRWQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n\
                  trusted comment: timestamp:1633700835\tfile:test\tprehashed\n\
                  wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==\n";
    all(&[KEY, signed, "untrusted comment: boards=pi5 expires=2027-01-01\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n"])
}

fn checkpoint_seeds() -> Vec<Vec<u8>> {
    chosen(&[
        (0, include_bytes!("../data/clip-sources/hostile.pt")),
        (0, include_bytes!("../data/checkpoints/lora-bin/adapter_model.bin")),
        (1, include_bytes!("../data/checkpoints/lora-bin/golden.safetensors")),
        (2, b"PK\x03\x04"),
    ])
}

fn label_seeds() -> Vec<Vec<u8>> {
    let coco = br#"{"images": [{"id": 1, "file_name": "cat.png", "width": 8, "height": 6}], "categories": [{"id": 7, "name": "cat"}],
"annotations": [{"id": 1, "image_id": 1, "category_id": 7, "iscrowd": 0, "bbox": [1, 1, 4, 3], "area": 12,
"segmentation": [[1, 1, 5, 1, 5, 4, 1, 4]]}, {"id": 2, "image_id": 1, "category_id": 7, "iscrowd": 1,
"segmentation": {"size": [6, 8], "counts": [6, 3, 39]}}, {"id": 3, "image_id": 1, "category_id": 7, "segmentation": {"size": [6, 8], "counts": "63W1"}}]}"#;
    let studio = br#"[{"id": 1, "data": {"image": "/data/upload/1/cat.png"}, "annotations": [{"result": [{"type": "polygonlabels",
"original_width": 8, "original_height": 6, "value": {"points": [[10, 10], [60, 10], [60, 60]], "polygonlabels": ["cat"]}},
{"type": "brushlabels", "original_width": 8, "original_height": 6, "value": {"format": "rle", "rle": [0, 0, 1, 128], "brushlabels": ["cat"]}}]}]}]"#;
    let cvat = br#"<?xml version="1.0"?><annotations><version>1.1</version><meta><task><labels><label><name>cat</name></label></labels></task></meta>
<image id="0" name="cat.png" width="8" height="6"><polygon label="cat" points="1,1;5,1;5,4" z_order="0"/><box label="cat" xtl="1" ytl="1" xbr="4" ybr="3"/>
<mask label="cat" left="1" top="1" width="3" height="2" rle="1, 2, 3"/></image></annotations>"#;
    let (grey, colours) = (grey_png(), png(rgb()));
    chosen(&[
        (0, coco),
        (0, studio),
        (1, cvat),
        (2, include_bytes!("../data/label-maps/2008_000002.mat")),
        (2, include_bytes!("../data/label-maps/plain.mat")),
        (3, &grey),
        (3, &colours),
    ])
}

fn index_seeds() -> Vec<Vec<u8>> {
    let session = Session::built_in_with(&Options::default().with_size_px(64).with_threads(1)).expect("the built-in model");
    let frame = Frame::still(rgb().into_rgb8());
    let encoded = session.encode(&frame).expect("embeddings");
    let path = file("seen.index", b"");
    std::fs::remove_file(&path).expect("a file");
    let mut writer = IndexWriter::open(&path, &session, &IndexOptions::default()).expect("an index");
    for second in 0..3 {
        let at = Duration::from_secs(second);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + at;
        writer.add(&Seen::new(&encoded, &frame.pixels, time, at, "hall")).expect("room");
    }
    drop(writer);
    vec![std::fs::read(&path).expect("an index")]
}

fn video_seeds() -> Vec<Vec<u8>> {
    let jpeg = encoded(&rgb(), image::ImageFormat::Jpeg);
    let y4m = [b"YUV4MPEG2 W4 H2 F30:1 Ip A1:1 C420jpeg\nFRAME\n".as_slice(), &[128; 12], b"FRAME Xa\n", &[90; 12]].concat();
    chosen(&[
        (0, &y4m),
        (0, b"YUV4MPEG2 W4 H2 F30:1 C420p10\nFRAME\n"),
        (1, &[jpeg.clone(), jpeg.clone()].concat()),
        (2, &jpeg),
        (3, &[70; 300]),
    ])
}

fn picture_seeds() -> Vec<Vec<u8>> {
    use image::ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    [Jpeg, Png, Bmp, Gif, Tiff, WebP].map(|format| encoded(&rgb(), format)).to_vec()
}

fn frame_seeds() -> Vec<Vec<u8>> {
    chosen(&[(0, &[[4, 0, 2, 0, 12, 0].as_slice(), &[9; 24]].concat()), (4, &[[3, 0, 2, 0, 4, 0].as_slice(), &[9; 8]].concat())])
}

fn board_seeds() -> Vec<Vec<u8>> {
    all(&[
        "raspberrypi,5-model-b\0brcm,bcm2712\0",
        "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0",
        "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\nFeatures\t: fp asimd asimddp\n",
        "flags\t\t: avx2 fma avx512f amx_int8\nmodel name\t: x\n",
        "85000\n",
        "throttled=0x50005",
        "2026-11-30T12:00:00Z",
        "cpu-thermal",
    ])
}
