//! Files of other tools at `edge-seg-export label` and `eval`: what they write is read, and what is written is whole for their loaders.

use std::fs;
use std::path::Path;
use std::process::Command;

use edge_seg_tests::{Ended, binary, root, schema};
use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage};

fn export(folder: &Path, arguments: &[&str]) -> Ended {
    export_with(folder, arguments, "2")
}

fn export_with(folder: &Path, arguments: &[&str], threads: &str) -> Ended {
    let mut command = Command::new(binary("edge-seg-export"));
    command.current_dir(folder).args(arguments).env("RAYON_NUM_THREADS", threads);
    let ended: Ended = command.output().expect("edge-seg-export starts").into();
    schema::check_lines(arguments, &ended.stdout);
    ended
}

/// Four pictures, 40×30 (the last wide), with the tiny model beside.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let model = root().join("tests/data/tiny-model");
    let ended = export(folder.path(), &["bundle", model.to_str().unwrap(), "-o", "tiny.esb"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    fs::create_dir(folder.path().join("images")).unwrap();
    for (name, width) in [("a", 40), ("b", 40), ("c d", 40), ("e", 60)] {
        let shade = name.as_bytes()[0];
        let picture = RgbImage::from_fn(width, 30, |x, y| Rgb([6 * x as u8, 8 * y as u8, shade.wrapping_mul((x / 9) as u8)]));
        picture.save(folder.path().join(format!("images/{name}.png"))).unwrap();
    }
    fs::write(folder.path().join("words.txt"), "dog\ngrass\nsnow: sea, snow\n").unwrap();
    folder
}

const LABEL: [&str; 9] = ["--model", "tiny.esb", "--tag-threshold", "0", "--background", "0", "--least-share", "0", "--vocabulary"];

fn label(folder: &Path, out: &str, more: &[&str]) -> Ended {
    export(folder, &[&["label", "images", "-o", out], &LABEL[..], &["words.txt"], more].concat())
}

fn eval(folder: &Path, more: &[&str]) -> Ended {
    eval_by("tiny.esb", folder, more)
}

fn eval_by(model: &str, folder: &Path, more: &[&str]) -> Ended {
    export(folder, &[&["eval", "segmentation", "--model", model, "--json", "--confusion", "--view", "id"], more].concat())
}

/// The measures of a run without what differs from run to run.
fn measures(ended: &Ended) -> serde_json::Value {
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let found = ended.json_lines().remove(0);
    serde_json::json!([found["miou"], found["confusion"], found["labelled_px"], found["pictures"]])
}

fn utf16(text: &str) -> Vec<u8> {
    [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

/// The same text as other programs save it.
fn as_others_save_it(text: &str) -> [(&'static str, Vec<u8>); 5] {
    [
        ("plain", text.into()),
        ("mark", [b"\xef\xbb\xbf", text.as_bytes()].concat()),
        ("crlf", text.replace('\n', "\r\n").into()),
        ("cr", text.replace('\n', "\r").into()),
        ("utf16", utf16(text)),
    ]
}

#[test]
fn texts_are_read_with_marks_line_ends_and_encodings_of_other_programs() {
    let folder = folder();
    let place = folder.path();
    fs::create_dir(place.join("labels")).unwrap();
    for stem in ["a", "b"] {
        GrayImage::from_fn(40, 30, |x, _| Luma([if x < 20 { 1 } else { 2 }])).save(place.join(format!("labels/{stem}.png"))).unwrap();
    }
    fs::write(place.join("classes.tsv"), "id\tname\n1\tdog\n2\tgrass\n").unwrap();
    let data = ["--images", "images", "--labels", "labels"];
    let whole = measures(&eval(place, &[&data[..], &["--classes", "classes.tsv"]].concat()));
    // What lies in folders below is told of.
    for folder in ["images", "labels"] {
        fs::create_dir(place.join(folder).join("more")).unwrap();
        fs::copy(place.join("labels/a.png"), place.join(folder).join("more/a.png")).unwrap();
    }
    let ended = eval(place, &[&data[..], &["--classes", "classes.tsv"]].concat());
    for folder in ["images", "labels"] {
        let told = format!("{folder}: 1 picture in its sub-folders is passed over; one folder is taken at a time, such as {folder}/more");
        assert_eq!(ended.stderr.matches(&told).count(), 1, "{}", ended.stderr);
        fs::remove_dir_all(place.join(folder).join("more")).unwrap();
    }
    assert_eq!(measures(&ended), whole);
    for text in ["id\tname\n1\tdog\n2\tgrass\n", "1\tdog\n2\tgrass\n", "id,name\n1,dog\n2,grass\n", "names:\n  1: dog\n  2: grass\n"] {
        for (way, bytes) in as_others_save_it(text) {
            fs::write(place.join("other.tsv"), bytes).unwrap();
            let found = measures(&eval(place, &[&data[..], &["--classes", "other.tsv"]].concat()));
            assert_eq!(found, whole, "{text:?} {way}");
        }
    }
    for (way, bytes) in as_others_save_it("a\nb.png\n") {
        fs::write(place.join("only.txt"), bytes).unwrap();
        let found = measures(&eval(place, &[&data[..], &["--classes", "classes.tsv", "--only", "only.txt"]].concat()));
        assert_eq!(found, whole, "{way}");
    }
    for (way, bytes) in as_others_save_it("file\tcaption\na.png\ta dog on grass\nb.png\tgrass\n") {
        fs::write(place.join("captions.tsv"), bytes).unwrap();
        let ended =
            export(place, &["label", "images/a.png", "images/b.png", "-o", way, "--model", "tiny.esb", "--captions", "captions.tsv"]);
        assert_eq!(ended.code, 0, "{way}: {}", ended.stderr);
    }
    for (way, bytes) in as_others_save_it("[\"dog\", \"grass\"]\n") {
        fs::write(place.join("words.json"), bytes).unwrap();
        let words = edge_seg_live::words::read_words_file(&place.join("words.json")).unwrap();
        assert_eq!(words.iter().map(|w| w.name.as_str()).collect::<Vec<_>>(), ["dog", "grass"], "{way}");
    }
    for (way, bytes) in as_others_save_it("dog\n") {
        fs::write(place.join("words.txt"), bytes).unwrap();
        assert_eq!(edge_seg::read_classes_file(&place.join("words.txt")).unwrap()[0].name, "dog", "{way}");
    }
}

#[test]
fn class_files_of_other_tools_give_the_same_labels() {
    let folder = folder();
    let place = folder.path();
    let run = |out: &str| {
        let ended = export(place, &[&["label", "images", "-o", out, "--format", "coco"], &LABEL[..], &["words.txt"]].concat());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        fs::read(place.join(out).join("coco.json")).unwrap()
    };
    let whole = run("whole");
    for (i, text) in
        ["dog\ngrass\nsnow, sea\n", "\"dog\"\n\"grass\" # green\nsnow;sea\n", "id,name,synonyms\n0,dog,\n1,grass,\n2,snow,\"sea\"\n"]
            .into_iter()
            .enumerate()
    {
        fs::write(place.join("words.txt"), text).unwrap();
        assert!(run(&format!("other{i}")) == whole, "{text:?}");
    }
    for (text, line) in [("dog, grass, snow\n", "words.txt:1"), ("dog\ngrass\tsnow\n", "words.txt:2"), ("dog\nca\0t\ncat\n", "line 2")] {
        fs::write(place.join("words.txt"), text).unwrap();
        let ended = label(place, "refused", &[]);
        let shown = text.lines().find(|l| l.contains([',', '\t', '\0'])).unwrap();
        assert!(ended.code == 2 && ended.stderr.contains(line) && ended.stderr.contains(&format!("{shown:?}")), "{}", ended.stderr);
    }
}

#[test]
fn masks_in_colours_are_read_by_their_label_map() {
    let folder = folder();
    let place = folder.path();
    let colours = [[0, 0, 0], [250, 50, 83], [36, 179, 83]];
    let class = |x: u32, y: u32| if x >= 20 { 2 } else { usize::from(y >= 8) };
    for kind in ["rgb", "palette"] {
        fs::create_dir_all(place.join(kind).join("SegmentationClass")).unwrap();
        fs::write(
            place.join(kind).join("labelmap.txt"),
            "# label:color_rgb:parts:actions\nbackground:0,0,0::\ndog:250,50,83::\ngrass:36,179,83::\n",
        )
        .unwrap();
    }
    RgbImage::from_fn(40, 30, |x, y| Rgb(colours[class(x, y)])).save(place.join("rgb/SegmentationClass/a.png")).unwrap();
    GrayImage::from_fn(40, 30, |x, y| Luma([class(x, y) as u8])).save(place.join("palette/SegmentationClass/a.png")).unwrap();
    fs::write(place.join("classes.tsv"), "id\tname\n1\tdog\n2\tgrass\n").unwrap();
    fs::write(place.join("other.tsv"), "id\tname\n7\tdog\n9\tgrass\n").unwrap();
    let run = |kind: &str, classes: &str| {
        eval(place, &["--images", "images", "--labels", &format!("{kind}/SegmentationClass"), "--classes", classes])
    };
    let truth = measures(&run("palette", "classes.tsv"));
    assert_eq!(measures(&run("rgb", "classes.tsv")), truth);
    assert_eq!(measures(&run("rgb", "other.tsv")), truth, "by names, whatever the table's numbers");
    // A label map numbers its background, so that pixels of it count.
    let own = measures(&run("rgb", "rgb/labelmap.txt"));
    assert_eq!(own, measures(&run("palette", "palette/labelmap.txt")));
    assert_eq!((own[2].as_u64(), truth[2].as_u64()), (Some(1200), Some(1200 - 160)));

    RgbImage::from_pixel(40, 30, Rgb([1, 2, 3])).save(place.join("rgb/SegmentationClass/a.png")).unwrap();
    let ended = run("rgb", "classes.tsv");
    assert!(ended.code == 2 && ended.stderr.contains("1,2,3"), "{}", ended.stderr);
    fs::remove_file(place.join("rgb/labelmap.txt")).unwrap();
    let ended = run("rgb", "classes.tsv");
    assert!(ended.code == 2 && ended.stderr.contains("labelmap.txt"), "{}", ended.stderr);
}

/// A JPEG with an EXIF orientation.
fn photo(path: &Path, picture: &RgbImage, orientation: u8) {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_with_encoder(image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 100)).unwrap();
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let mut jpeg = vec![0xff, 0xd8, 0xff, 0xe1];
    jpeg.extend((exif.len() as u16 + 2).to_be_bytes());
    jpeg.extend(exif);
    jpeg.extend(&bytes.get_ref()[2..]);
    fs::write(path, jpeg).unwrap();
}

#[test]
fn labels_of_turned_photos_say_which_pixels_they_are_of() {
    let folder = folder();
    let place = folder.path();
    fs::write(place.join("classes.tsv"), "id\tname\n1\tdog\n2\tgrass\n").unwrap();
    let seen = RgbImage::from_fn(40, 30, |x, y| Rgb([6 * x as u8, 8 * y as u8, 90]));
    let drawn = GrayImage::from_fn(40, 30, |x, y| Luma([if x < 20 && y < 10 { 1 } else { 2 }]));
    // What turns the stored pixels upright, undone.
    let inverse = [1, 2, 3, 4, 5, 8, 7, 6];
    for orientation in 1..=8u8 {
        let undo = image::metadata::Orientation::from_exif(inverse[usize::from(orientation) - 1]).unwrap();
        let (mut stored, mut labels) = (DynamicImage::from(seen.clone()), DynamicImage::from(drawn.clone()));
        stored.apply_orientation(undo);
        labels.apply_orientation(undo);
        let at = place.join(orientation.to_string());
        for part in ["images", "stored", "upright"] {
            fs::create_dir_all(at.join(part)).unwrap();
        }
        photo(&at.join("images/p.jpg"), &stored.to_rgb8(), orientation);
        labels.save(at.join("stored/p.png")).unwrap();
        drawn.save(at.join("upright/p.png")).unwrap();
        let run = |labels: &str, pixels: &str| {
            eval_by(
                "../tiny.esb",
                &at,
                &["--images", "images", "--labels", labels, "--classes", "../classes.tsv", "--label-pixels", pixels],
            )
        };
        let (upright, turned) = (run("upright", "upright"), run("stored", "stored"));
        assert_eq!(measures(&upright), measures(&turned), "{orientation}");
        assert_eq!(upright.stderr.contains("EXIF"), orientation > 1, "{orientation}: {}", upright.stderr);
        if orientation >= 5 {
            for (labels, pixels) in [("stored", "upright"), ("upright", "stored")] {
                let refused = run(labels, pixels);
                assert!(refused.code == 2 && refused.stderr.contains("--label-pixels stored"), "{orientation}: {}", refused.stderr);
            }
        }
    }
}

#[test]
fn voc_yolo_and_label_studio_are_whole() {
    let folder = folder();
    let place = folder.path();
    let ended = label(place, "out", &["--label-studio-prefix", "https://pictures.example/"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let text = |file: &str| fs::read_to_string(place.join("out").join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    let xml = text("voc/Annotations/a.xml");
    for field in ["<folder>JPEGImages</folder>", "<filename>a.png</filename>", "<depth>3</depth>", "<segmented>1</segmented>"] {
        assert!(xml.contains(field), "{field}: {xml}");
    }
    let objects = xml.matches("<object>").count();
    assert!(objects > 0);
    for field in ["<pose>Unspecified</pose>", "<truncated>0</truncated>", "<difficult>0</difficult>"] {
        assert_eq!(xml.matches(field).count(), objects, "{field}: {xml}");
    }
    assert_eq!(text("voc/ImageSets/Main/default.txt"), "a\nb\nc d\ne\n");
    assert_eq!(text("voc/ImageSets/Segmentation/default.txt"), "a\nb\nc d\ne\n");
    for picture in ["voc/JPEGImages/a.png", "yolo/images/c d.png"] {
        let file = Path::new(picture).file_name().unwrap();
        assert!(fs::read(place.join("out").join(picture)).unwrap() == fs::read(place.join("images").join(file)).unwrap(), "{picture}");
    }
    let yaml = text("yolo/data.yaml");
    assert!(!yaml.contains("path:") && yaml.contains("train: images") && place.join("out/yolo/images").is_dir(), "{yaml}");
    let tasks: serde_json::Value = serde_json::from_str(&text("label-studio.json")).unwrap();
    assert_eq!(tasks[2]["data"]["image"], "https://pictures.example/c%20d.png");
    let ended = label(place, "other", &["--pictures", "none"]);
    assert!(ended.code == 0 && ended.stderr.contains("put the pictures into"), "{}", ended.stderr);
    let tasks: serde_json::Value = serde_json::from_slice(&fs::read(place.join("other/label-studio.json")).unwrap()).unwrap();
    assert_eq!(tasks[0]["data"]["image"], "/data/local-files/?d=a.png");
    // What was written is data for another run, which leaves its own pictures alone.
    let again = export(place, &[&["label", "out/voc/JPEGImages", "-o", "out2"], &LABEL[..], &["words.txt"]].concat());
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(fs::metadata(place.join("images/a.png")).unwrap().len() > 0);
}

/// Every file below a folder with its bytes, but the contact sheets' and the record's own name.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut open, mut found) = (vec![folder.to_path_buf()], Vec::new());
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push((path.strip_prefix(folder).unwrap().display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (files(a), files(b));
    assert_eq!(a.iter().map(|f| &f.0).collect::<Vec<_>>(), b.iter().map(|f| &f.0).collect::<Vec<_>>());
    for (one, other) in a.iter().zip(&b) {
        assert!(one.1 == other.1, "{} differs", one.0);
    }
}

#[test]
fn the_same_bytes_are_written_by_any_number_of_threads_and_after_a_stop() {
    let folder = folder();
    let place = folder.path();
    for i in 0..24 {
        fs::copy(place.join(format!("images/{}.png", ["a", "b", "e"][i % 3])), place.join(format!("images/p{i:02}.png"))).unwrap();
    }
    let run = |out: &str, threads: &str| {
        let ended = export_with(place, &[&["label", "images", "-o", out], &LABEL[..], &["words.txt"]].concat(), threads);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    };
    run("one", "1");
    run("many", "8");
    assert_same(&place.join("one"), &place.join("many"));
    // As a stop leaves it: some done, in the order they were, the last line cut.
    let record = fs::read_to_string(place.join("one/labels.jsonl")).unwrap();
    let lines: Vec<&str> = record.lines().collect();
    for (i, line) in lines.iter().enumerate() {
        schema::check(if i == 0 { "label-run" } else { "label-picture" }, &serde_json::from_str(line).unwrap());
    }
    fs::create_dir(place.join("resumed")).unwrap();
    let cut = [lines[0], lines[9], lines[3], lines[20], &lines[5][..lines[5].len() / 2]].join("\n");
    fs::write(place.join("resumed/labels.jsonl"), cut).unwrap();
    run("resumed", "8");
    assert_same(&place.join("one"), &place.join("resumed"));
}

#[test]
fn parts_of_many_machines_join_to_what_one_writes() {
    let folder = folder();
    let place = folder.path();
    for i in 0..5 {
        fs::copy(place.join("images/a.png"), place.join(format!("images/p{i}.png"))).unwrap();
    }
    let captions: String =
        ["a", "b", "c d", "e", "p0", "p1", "p2", "p3", "p4", "zz"].iter().map(|s| format!("{s}.png\tdog and snow\n")).collect();
    fs::write(place.join("captions.tsv"), format!("file\tcaption\n{captions}")).unwrap();
    for (name, words) in [("words", ["--vocabulary", "words.txt"]), ("captions", ["--captions", "captions.tsv"])] {
        let base = [&["label", "images"], &LABEL[..8], &words].concat();
        let out = |part: &str| format!("{name}-{part}");
        assert_eq!(export(place, &[&base[..], &["-o", &out("whole")]].concat()).code, 0);
        for i in 1..=4 {
            let ended = export(place, &[&base[..], &["-o", &out(&i.to_string()), "--part", &format!("{i}/4")]].concat());
            assert_eq!(ended.code, 0, "{}", ended.stderr);
        }
        let merge = |parts: &[&str]| {
            let parts: Vec<String> = parts.iter().map(|p| out(p)).collect();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            export(place, &[&["label", "merge", &out("joined")], &parts[..]].concat())
        };
        let joined = merge(&["3", "1", "4", "2"]);
        assert_eq!(joined.code, 0, "{}", joined.stderr);
        assert_same(&place.join(out("whole")), &place.join(out("joined")));
        let refused = |parts: &[&str], said: &str| {
            let ended = merge(parts);
            assert!(ended.code == 2 && ended.stderr.contains(said), "{said}: {}", ended.stderr);
        };
        refused(&["1", "2", "4"], "part 4/4 where part 3 is due");
        refused(&["1", "2", "3"], "all of the 4 parts");
        refused(&["1", "2", "2", "3"], "part 2/4 where part 3 is due");
        // A part's own folder is not written over.
        let before = fs::read(place.join(out("1/labels.jsonl"))).unwrap();
        let into = export(place, &["label", "merge", &out("1"), &out("1"), &out("2"), &out("3"), &out("4")]);
        assert!(into.code == 2 && into.stderr.contains("none of the parts"), "{}", into.stderr);
        assert_eq!(fs::read(place.join(out("1/labels.jsonl"))).unwrap(), before);
        let again = export(place, &[&base[..], &["-o", &out("whole"), "--part", "1/4"]].concat());
        assert_eq!(again.code, 0, "{}", again.stderr);
        // Of a folder where more was labelled before, the part alone is joined; what is there already of the same parts is written anew.
        let joined_before = fs::read(place.join(out("joined/labels.jsonl"))).unwrap();
        let joined = merge(&["whole", "2", "3", "4"]);
        assert_eq!(joined.code, 0, "{}", joined.stderr);
        assert_eq!(fs::read(place.join(out("joined/labels.jsonl"))).unwrap(), joined_before);
        // A part that was copied half-way.
        let record = place.join(out("3/labels.jsonl"));
        let whole = fs::read(&record).unwrap();
        fs::write(&record, &whole[..whole.len() - 5]).unwrap();
        refused(&["1", "2", "3", "4"], "done with; copy its folder again");
        // As two jobs leave it that wrote into one folder.
        fs::copy(place.join(out("4/labels.jsonl")), &record).unwrap();
        refused(&["1", "2", "3", "4"], "found others");
        fs::write(&record, whole).unwrap();
        // What another run labelled is not written over.
        let others = format!("{name}-others");
        fs::create_dir(place.join("some")).unwrap();
        fs::copy(place.join("images/a.png"), place.join("some/zz.png")).unwrap();
        assert_eq!(export(place, &[&["label", "some", "-o", &others], &base[2..]].concat()).code, 0);
        let theirs = fs::read(place.join(&others).join("labels.jsonl")).unwrap();
        for (into, said) in [(&others, "zz.png, which no part has"), (&out("whole"), "found a part")] {
            let ended = export(place, &["label", "merge", into, &out("1"), &out("2"), &out("3"), &out("4")]);
            assert!(ended.code == 2 && ended.stderr.contains(said), "{}", ended.stderr);
        }
        assert_eq!(fs::read(place.join(&others).join("labels.jsonl")).unwrap(), theirs);
        fs::remove_dir_all(place.join("some")).unwrap();
        let note = place.join(out("2")).join("part.json");
        schema::check("label-part", &serde_json::from_slice(&fs::read(&note).unwrap()).unwrap());
        fs::remove_file(note).unwrap();
        refused(&["1", "2", "3", "4"], "run that part again");
        let other = export(place, &[&base[..], &["-o", &out("2"), "--part", "2/3"]].concat());
        assert_eq!(other.code, 0, "{}", other.stderr);
        refused(&["1", "2", "3", "4"], "of part 1/4");
    }
    let ended = label(place, "x", &["--part", "5/4"]);
    assert!(ended.code == 2 && ended.stderr.contains("I/N"), "{}", ended.stderr);
}

#[test]
fn what_a_killed_run_left_is_swept_and_what_a_living_one_writes_is_not() {
    let folder = folder();
    let place = folder.path();
    let mut ended = Command::new("true").spawn().unwrap();
    let dead = ended.id();
    ended.wait().unwrap();
    let living = std::process::id();
    fs::create_dir_all(place.join("out/voc/Annotations")).unwrap();
    fs::create_dir_all(place.join("out/yolo/labels")).unwrap();
    let left = [
        format!("out/coco.json.{dead}.part"),
        format!("out/voc/Annotations/a.xml.{dead}.part"),
        format!("out/yolo/labels/a.txt.{dead}.part"),
    ];
    fs::create_dir_all(place.join("out/mine")).unwrap();
    let kept = [
        format!("out/coco.json.{living}.part"),
        "out/notes.part".into(),
        "out/x.part.txt".into(),
        format!("out/film.{dead}.part"),
        format!("out/film.mp4.{dead}.part"),
        format!("out/mine/coco.json.{dead}.part"),
    ];
    left.iter().chain(&kept).for_each(|file| fs::write(place.join(file), "half").unwrap());
    assert_eq!(label(place, "out", &[]).code, 0);
    assert!(left.iter().all(|file| !place.join(file).exists()), "{left:?}");
    assert!(kept.iter().all(|file| place.join(file).exists()), "{kept:?}");
}

#[test]
fn what_is_no_picture_and_no_table_is_named_once_and_the_others_are_done() {
    let folder = folder();
    let place = folder.path();
    let made = Command::new("mkfifo").arg(place.join("pipe.png")).status().unwrap();
    assert!(made.success());
    fs::File::create(place.join("vast.png")).unwrap().set_len((1 << 30) + 1).unwrap();
    fs::write(place.join("images/IMG_1.HEIC"), b"\0\0\0\x18ftypheic\0\0\0\0mif1heic").unwrap();
    fs::write(place.join("images/IMG_2.heic"), b"\0\0\0\x18ftypheic\0\0\0\0mif1heic").unwrap();
    fs::write(place.join("images/lfs.png"), b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n").unwrap();
    let ended =
        export(place, &[&["label", "images", "pipe.png", "vast.png", "missing.png", "-o", "out"], &LABEL[..], &["words.txt"]].concat());
    assert_eq!(ended.code, 2);
    for said in [
        "pipe.png: not a picture that can be read: a pipe",
        "vast.png: not a picture",
        "lfs.png: not a picture that can be read: a Git LFS pointer",
        "IMG_1.HEIC: not a picture that can be read: HEIC, which is not read; save it as JPEG (and 1 like it in this folder)",
        "missing.png",
    ] {
        assert_eq!(ended.stderr.matches(said).count(), 1, "{said}: {}", ended.stderr);
    }
    let coco: serde_json::Value = serde_json::from_slice(&fs::read(place.join("out/coco.json")).unwrap()).unwrap();
    assert_eq!(coco["images"].as_array().unwrap().len(), 4, "the others are done");

    let fails = |more: &[&str], said: &str| {
        let ended = eval(place, more);
        assert_eq!((ended.code, ended.stderr.matches(said).count()), (2, 1), "{said}: {}", ended.stderr);
    };
    fs::create_dir(place.join("labels")).unwrap();
    fs::copy(place.join("images/lfs.png"), place.join("labels/a.png")).unwrap();
    fs::copy(place.join("images/lfs.png"), place.join("lfs.tsv")).unwrap();
    fs::write(place.join("classes.tsv"), "1\tdog\n").unwrap();
    let data = ["--images", "images", "--labels", "labels", "--classes"];
    fails(&[&data[..], &["classes.tsv"]].concat(), "git lfs pull");
    fails(&[&data[..], &["lfs.tsv"]].concat(), "git lfs pull");
    fails(&[&data[..], &["nowhere.tsv"]].concat(), "No such file");
    // A header alone, of more pixels than the picture has: refused before anything is taken for them.
    GrayImage::new(41, 30).save(place.join("labels/a.png")).unwrap();
    let mut bytes = fs::read(place.join("labels/a.png")).unwrap();
    bytes.truncate(33);
    fs::write(place.join("labels/a.png"), bytes).unwrap();
    fails(&[&data[..], &["classes.tsv"]].concat(), "41×30");
    // Nor is a pipe in a labels' folder waited for, nor what macOS wrote beside a label taken for one.
    for (folder, name) in [("images", "._a.png"), ("labels", "._a.png"), ("labels", "._b.txt")] {
        fs::write(place.join(folder).join(name), b"\0\x05\x16\x07\0\x02\0\0Mac OS X").unwrap();
    }
    GrayImage::from_pixel(40, 30, Luma([1])).save(place.join("labels/a.png")).unwrap();
    let whole = eval(place, &[&data[..], &["classes.tsv"]].concat());
    assert_eq!((whole.code, whole.json_lines()[0]["pictures"].as_u64()), (0, Some(1)), "{}", whole.stderr);
    fs::remove_file(place.join("labels/a.png")).unwrap();
    assert!(Command::new("mkfifo").arg(place.join("labels/a.png")).status().unwrap().success());
    fails(&[&data[..], &["classes.tsv"]].concat(), "label pictures");
}

#[test]
fn what_label_writes_eval_reads() {
    let folder = folder();
    let place = folder.path();
    for (out, masks) in [("rle", "rle"), ("polygon", "polygon")] {
        let ended = label(place, out, &["--coco-masks", masks]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }
    let run = |labels: &str, more: &[&str]| eval(place, &[&["--images", "images", "--labels", labels], more].concat());
    let truth = measures(&run("rle/voc/SegmentationClass", &["--classes", "rle/voc/labelmap.txt"]));
    assert_eq!(truth[2].as_u64(), Some(40 * 30 * 3 + 60 * 30));
    assert_eq!(measures(&run("rle/coco.json", &["--classes", "rle/voc/labelmap.txt"])), truth);
    assert_eq!(measures(&run("polygon/coco.json", &["--classes", "rle/voc/labelmap.txt"])), truth, "outlines give the masks back");
    let document: serde_json::Value = serde_json::from_slice(&fs::read(place.join("rle/coco.json")).unwrap()).unwrap();
    let alone = Command::new(binary("edge-seg-export"))
        .current_dir(place)
        .args(["eval", "--model", "tiny.esb", "--json", "--confusion", "--images", "images", "--labels", "rle/coco.json"])
        .output();
    assert_eq!(measures(&alone.unwrap().into()), truth, "by its own categories");
    // Other numbers for the same names, and the background as a category, as datumaro has it.
    let mut other = document.clone();
    other["categories"].as_array_mut().unwrap().insert(0, serde_json::json!({ "id": 0, "name": "background" }));
    for category in other["categories"].as_array_mut().unwrap() {
        category["id"] = (category["id"].as_u64().unwrap() + 41).into();
    }
    for annotation in other["annotations"].as_array_mut().unwrap() {
        annotation["category_id"] = (annotation["category_id"].as_u64().unwrap() + 41).into();
    }
    fs::write(place.join("other.json"), other.to_string()).unwrap();
    assert_eq!(measures(&run("other.json", &["--classes", "rle/voc/labelmap.txt"])), truth);
    let refused = |change: &dyn Fn(&mut serde_json::Value), said: &str| {
        let mut broken = document.clone();
        change(&mut broken);
        fs::write(place.join("broken.json"), broken.to_string()).unwrap();
        let ended = run("broken.json", &["--classes", "rle/voc/labelmap.txt"]);
        assert!(ended.code == 2 && ended.stderr.contains(said), "{said}: {}", ended.stderr);
    };
    refused(&|d| d["annotations"][0]["segmentation"]["counts"] = "11".into(), "run lengths");
    refused(&|d| d["annotations"][0]["segmentation"] = serde_json::json!([[1, 2, 3]]), "a polygon of 3 numbers");
    refused(&|d| d["annotations"][0]["segmentation"] = serde_json::json!([]), "a box alone");
    refused(&|d| d["annotations"][0]["category_id"] = 77.into(), "category 77");
    refused(&|d| d["images"][0]["width"] = 41.into(), "41×30");
    refused(&|d| d["images"][0]["width"] = 4_000_000_000u32.into(), "pixels, where at most");
    refused(&|d| d["categories"][0]["name"] = "horse".into(), "horse");
    refused(&|d| d["images"][0]["file_name"] = "gone.png".into(), "gone.png");
}

#[test]
fn labels_of_a_turned_photo_are_read_back_from_every_format() {
    let folder = folder();
    let place = folder.path();
    fs::remove_dir_all(place.join("images")).unwrap();
    fs::create_dir(place.join("images")).unwrap();
    let stored = RgbImage::from_fn(40, 30, |x, y| Rgb([6 * x as u8, 8 * y as u8, 60u8.wrapping_mul((x / 9) as u8)]));
    photo(&place.join("images/p.jpg"), &stored, 6);
    assert_eq!(label(place, "out", &[]).code, 0);
    let own = |labels: &str| {
        let data = ["eval", "--model", "tiny.esb", "--json", "--confusion", "--images", "images", "--labels", labels];
        measures(&export(place, &data))
    };
    let truth = own("out/coco.json");
    assert_eq!(truth[2].as_u64(), Some(40 * 30));
    for labels in ["out/yolo/labels", "out/cvat.xml"] {
        assert_eq!(own(labels)[1], truth[1], "{labels}");
    }
}

#[test]
fn classes_from_zero_take_no_unlabelled_pixel() {
    let folder = folder();
    let place = folder.path();
    // Half of each picture is labelled, as class 0.
    fs::create_dir_all(place.join("yolo/labels")).unwrap();
    fs::write(place.join("yolo/data.yaml"), "names: [dog, grass]\n").unwrap();
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for (id, (name, width)) in [("a", 40), ("b", 40), ("c d", 40), ("e", 60)].into_iter().enumerate() {
        fs::write(place.join(format!("yolo/labels/{name}.txt")), "0 0 0 0.5 0 0.5 1 0 1\n").unwrap();
        let half = width / 2;
        images.push(serde_json::json!({ "id": id, "file_name": format!("{name}.png"), "width": width, "height": 30 }));
        let outline = [[0, 0, half, 0, half, 30, 0, 30]];
        annotations.push(serde_json::json!({ "id": id, "image_id": id, "category_id": 0, "segmentation": outline }));
    }
    let categories = serde_json::json!([{ "id": 0, "name": "dog" }, { "id": 1, "name": "grass" }]);
    let document = serde_json::json!({ "images": images, "annotations": annotations, "categories": categories });
    fs::write(place.join("zero.json"), document.to_string()).unwrap();
    let own = |labels: &str, more: &[&str]| {
        let data = ["eval", "--model", "tiny.esb", "--json", "--confusion", "--images", "images", "--labels", labels];
        measures(&export(place, &[&data[..], more].concat()))
    };
    let truth = |found: &serde_json::Value| -> Vec<u64> {
        let sum = |row: &serde_json::Value| row.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
        found[1].as_array().unwrap().iter().map(sum).collect()
    };
    for labels in ["yolo/labels", "zero.json"] {
        assert_eq!(truth(&own(labels, &[])), [2700, 2700, 0], "{labels}: as Label Studio and labelme2coco number them");
        // A table where 0 is a class leaves out what is not covered.
        let by_table = own(labels, &["--classes", "yolo/data.yaml", "--view", "id"]);
        assert_eq!(truth(&by_table), [0, 2700, 0], "{labels}");
    }
}

#[test]
fn yolo_pictures_without_labels_are_measured_and_told() {
    let folder = folder();
    let place = folder.path();
    assert_eq!(label(place, "out", &[]).code, 0);
    fs::remove_file(place.join("out/yolo/labels/b.txt")).unwrap();
    let data = ["eval", "--model", "tiny.esb", "--json", "--confusion", "--images", "images", "--labels", "out/yolo/labels"];
    let ended = export(place, &data);
    assert!(ended.code == 0 && ended.stderr.contains("1 pictures have no .txt (b is one)"), "{}", ended.stderr);
    assert_eq!(ended.json_lines()[0]["pictures"], 4);
    fs::write(place.join("out/yolo/labels/a.txt"), "0 0.1\n").unwrap();
    let ended = export(place, &data);
    assert_eq!((ended.code, &ended.json_lines()[0]["pictures"], &ended.json_lines()[0]["left_out"]), (2, &3.into(), &1.into()));
}
