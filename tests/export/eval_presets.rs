//! The presets of `edge-seg-export eval segmentation` on tiny data sets, laid out as each release has them.

use std::fs;
use std::path::Path;
use std::process::Command;

use edge_seg_tests::{Ended, binary, root, schema};
use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::Value;

fn export(folder: &Path, arguments: &[&str]) -> Ended {
    let output = Command::new(binary("edge-seg-export")).current_dir(folder).args(arguments).output();
    let ended: Ended = output.expect("edge-seg-export starts").into();
    schema::check_lines(arguments, &ended.stdout);
    ended
}

/// The model in the binary knows the words of every preset, which the tests' tiny one does not; at 32 pixels it is quick.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn put(folder: &Path, name: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    path
}

fn picture(folder: &Path, name: &str) {
    let shade = name.bytes().fold(0u8, u8::wrapping_add);
    RgbImage::from_fn(32, 32, |x, y| Rgb([8 * x as u8, 8 * y as u8, shade])).save(put(folder, name)).unwrap();
}

/// Left half `left`, right half `right`.
fn labels(folder: &Path, name: &str, left: u8, right: u8) {
    GrayImage::from_fn(32, 32, |x, _| Luma([if x < 16 { left } else { right }])).save(put(folder, name)).unwrap();
}

fn colours(folder: &Path, name: &str, left: [u8; 3], right: [u8; 3]) {
    RgbImage::from_fn(32, 32, |x, _| Rgb(if x < 16 { left } else { right })).save(put(folder, name)).unwrap();
}

/// A palette PNG, as PASCAL VOC has them: the colours are not the labels.
fn palette(folder: &Path, name: &str, left: u8, right: u8) {
    let file = fs::File::create(put(folder, name)).unwrap();
    let mut encoder = png::Encoder::new(file, 32, 32);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette((0..=255u8).flat_map(|i| [i.wrapping_mul(37), 255 - i, i ^ 90]).collect::<Vec<_>>());
    let pixels: Vec<u8> = (0..1024).map(|i| if i % 32 < 16 { left } else { right }).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
}

/// Labelled pixels by class name, of the first variant; the background by that name.
fn truth(folder: &Path, preset: &str, more: &[&str]) -> Vec<(String, u64)> {
    let base = ["eval", "segmentation", "--size", "32", "--preset", preset, "--names", "plain", "--json", "--confusion"];
    let ended = export(folder, &[&base[..], more].concat());
    assert_eq!(ended.code, 0, "{preset}: {}", ended.stderr);
    let report = ended.json_lines().remove(0);
    let sum = |row: &Value| row.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum::<u64>();
    let names = report["labels"].as_array().unwrap().iter().map(|n| n.as_str().unwrap().to_string());
    let rows = report["confusion"].as_array().unwrap().iter().map(sum);
    names.zip(rows).filter(|(_, n)| *n > 0).collect()
}

fn expect(found: Vec<(String, u64)>, expected: &[(&str, u64)]) {
    assert_eq!(found, expected.iter().map(|(n, c)| (n.to_string(), *c)).collect::<Vec<_>>());
}

#[test]
fn voc_as_vocdevkit_has_it() {
    let folder = folder();
    for stem in ["2007_000033", "2007_000042", "2007_000061"] {
        picture(folder.path(), &format!("VOCdevkit/VOC2012/JPEGImages/{stem}.jpg"));
        palette(folder.path(), &format!("VOCdevkit/VOC2012/SegmentationClass/{stem}.png"), 15, if stem.ends_with("33") { 0 } else { 255 });
    }
    fs::write(put(folder.path(), "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt"), "2007_000033\n2007_000042\n").unwrap();
    expect(truth(folder.path(), "voc21", &["--data", "."]), &[("background", 512), ("person", 1024)]);
    expect(truth(folder.path(), "voc20", &["--data", "VOCdevkit/VOC2012"]), &[("person", 1024)]);
    let lost = export(folder.path(), &["eval", "segmentation", "--preset", "voc21", "--data", ".", "--split", "train"]);
    assert!(lost.code == 2 && lost.stderr.contains("SegmentationClass"), "{}", lost.stderr);
    fs::write(put(folder.path(), "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt"), "2007_000099\n").unwrap();
    let lost = export(folder.path(), &["eval", "segmentation", "--preset", "voc21", "--data", "."]);
    assert!(lost.code == 2 && lost.stderr.contains("2007_000099"), "{}", lost.stderr);
}

#[test]
fn context_with_and_without_background() {
    let folder = folder();
    picture(folder.path(), "VOC2010/JPEGImages/2008_000002.jpg");
    labels(folder.path(), "VOC2010/SegmentationClassContext/2008_000002.png", 59, 0);
    fs::write(put(folder.path(), "VOC2010/ImageSets/SegmentationContext/val.txt"), "2008_000002\n").unwrap();
    expect(truth(folder.path(), "context60", &["--data", "."]), &[("background", 512), ("wood", 512)]);
    expect(truth(folder.path(), "context59", &["--data", "."]), &[("wood", 512)]);
}

#[test]
fn context_as_matlab_files_of_its_release() {
    let folder = folder();
    for release in ["inside/VOC2010", "beside"] {
        let voc = if release == "beside" { "beside/VOCdevkit/VOC2010" } else { release };
        for stem in ["2008_000002", "2008_000003"] {
            RgbImage::from_fn(32, 24, |x, y| Rgb([8 * x as u8, 8 * y as u8, 9]))
                .save(put(folder.path(), &format!("{voc}/JPEGImages/{stem}.jpg")))
                .unwrap();
            let labels = root().join("tests/data/label-maps/2008_000002.mat");
            fs::copy(labels, put(folder.path(), &format!("{release}/trainval/{stem}.mat"))).unwrap();
        }
        fs::write(put(folder.path(), &format!("{voc}/ImageSets/Main/val.txt")), "2008_000002\n").unwrap();
    }
    // 24 rows: 16 columns of aeroplane but for one pixel of another category; then four rows of none above wood.
    let with = [("background", 1 + 4 * 16), ("aeroplane", 24 * 16 - 1), ("wood", 20 * 16)];
    expect(truth(folder.path(), "context60", &["--data", "inside"]), &with);
    expect(truth(folder.path(), "context59", &["--data", "beside"]), &with[1..]);
    fs::write(folder.path().join("beside/trainval/2008_000002.mat"), "MATLAB 5.0 MAT-file").unwrap();
    let wrong = export(folder.path(), &["eval", "segmentation", "--preset", "context59", "--data", "beside", "--size", "32"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("2008_000002.mat") && wrong.stderr.contains("found no header"), "{}", wrong.stderr);
}

#[test]
fn coco_objects_and_stuff_from_stuffthingmaps() {
    let folder = folder();
    picture(folder.path(), "val2017/000000000139.jpg");
    labels(folder.path(), "stuffthingmaps/val2017/000000000139.png", 0, 156);
    expect(truth(folder.path(), "coco-object", &["--data", "."]), &[("background", 512), ("person", 512)]);
    expect(truth(folder.path(), "coco-stuff", &["--data", "."]), &[("person", 512), ("sky", 512)]);
    // MMSegmentation's own numbering of the same.
    picture(folder.path(), "coco_stuff164k/images/val2017/000000000139.jpg");
    labels(folder.path(), "coco_stuff164k/annotations/val2017/000000000139_labelTrainIds.png", 0, 145);
    labels(folder.path(), "coco_stuff164k/annotations/val2017/000000000139_instanceTrainIds.png", 1, 255);
    expect(truth(folder.path(), "coco-stuff", &["--data", "coco_stuff164k"]), &[("person", 512), ("sky", 512)]);
    expect(truth(folder.path(), "coco-object", &["--data", "coco_stuff164k"]), &[("person", 512)]);
}

#[test]
fn coco_panoptic_by_its_segments() {
    let folder = folder();
    picture(folder.path(), "val2017/000000000139.jpg");
    // Segments 7 + 256 · 2 + 65536 · 3 and 9.
    colours(folder.path(), "annotations/panoptic_val2017/000000000139.png", [7, 2, 3], [9, 0, 0]);
    let json = |category: u32| {
        let text = serde_json::json!({ "annotations": [{ "image_id": 139, "file_name": "000000000139.png", "segments_info": [
            { "id": 7 + 256 * 2 + 65536 * 3, "category_id": category, "area": 512 }, { "id": 9, "category_id": 187 } ] }] });
        fs::write(put(folder.path(), "annotations/panoptic_val2017.json"), text.to_string()).unwrap();
    };
    json(1);
    expect(truth(folder.path(), "coco-panoptic133", &["--data", "."]), &[("person", 512), ("sky", 512)]);
    json(12);
    let wrong = export(folder.path(), &["eval", "segmentation", "--preset", "coco-panoptic133", "--data", ".", "--size", "32"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("found 12"), "{}", wrong.stderr);
    colours(folder.path(), "annotations/panoptic_val2017/000000000139.png", [8, 2, 3], [0, 0, 0]);
    json(1);
    let wrong = export(folder.path(), &["eval", "segmentation", "--preset", "coco-panoptic133", "--data", ".", "--size", "32"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("segments of the JSON file"), "{}", wrong.stderr);
}

#[test]
fn cityscapes_label_ids_become_train_ids() {
    let folder = folder();
    for city in ["frankfurt", "lindau"] {
        picture(folder.path(), &format!("leftImg8bit/val/{city}/{city}_000000_000294_leftImg8bit.png"));
        labels(
            folder.path(),
            &format!("gtFine/val/{city}/{city}_000000_000294_gtFine_labelIds.png"),
            33,
            if city == "lindau" { 7 } else { 9 },
        );
        // What else lies there is not taken for labels.
        labels(folder.path(), &format!("gtFine/val/{city}/{city}_000000_000294_gtFine_instanceIds.png"), 77, 77);
    }
    expect(truth(folder.path(), "cityscapes", &["--data", "."]), &[("road", 512), ("bicycle", 1024)]);
    fs::remove_dir_all(folder.path().join("gtFine")).unwrap();
    for city in ["frankfurt", "lindau"] {
        labels(folder.path(), &format!("gtFine/val/{city}/{city}_000000_000294_gtFine_labelTrainIds.png"), 18, 255);
    }
    expect(truth(folder.path(), "cityscapes", &["--data", "."]), &[("bicycle", 1024)]);
}

#[test]
fn ade20k_and_its_zero() {
    let folder = folder();
    picture(folder.path(), "ADEChallengeData2016/images/validation/ADE_val_00000001.jpg");
    labels(folder.path(), "ADEChallengeData2016/annotations/validation/ADE_val_00000001.png", 150, 0);
    expect(truth(folder.path(), "ade20k", &["--data", "."]), &[("flag", 512)]);
}

#[test]
fn camvid_by_colour_and_by_number_with_flicker() {
    let folder = folder();
    for frame in 0..3 {
        picture(folder.path(), &format!("701_StillsRaw_full/0001TP_00{frame}.png"));
        colours(folder.path(), &format!("LabeledApproved_full/0001TP_00{frame}_L.png"), [128, 64, 128], [0, 0, 0]);
    }
    expect(truth(folder.path(), "camvid", &["--data", "."]), &[("road", 1536)]);
    let run = |more: &[&str]| {
        let base = ["eval", "segmentation", "--preset", "camvid", "--data", ".", "--size", "32", "--names", "plain", "--json"];
        let ended = export(folder.path(), &[&base[..], more].concat());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.json_lines().remove(0)["flicker"].as_f64()
    };
    let flicker = run(&["--record", "a.jsonl"]);
    assert!(flicker.is_some_and(|f| (0.0..=1.0).contains(&f)), "{flicker:?}");
    // A run that stops after its first frame still sees the change into the second.
    let record = fs::read_to_string(folder.path().join("a.jsonl")).unwrap();
    let kept: Vec<&str> = record.lines().filter(|l| !l.contains("TP_001\"") && !l.contains("TP_002\"")).collect();
    fs::write(folder.path().join("b.jsonl"), kept.join("\n") + "\n").unwrap();
    assert_eq!(run(&["--record", "b.jsonl"]), flicker);
    // The same picture again and again cannot flicker.
    for frame in 1..3 {
        fs::copy(
            folder.path().join("701_StillsRaw_full/0001TP_000.png"),
            folder.path().join(format!("701_StillsRaw_full/0001TP_00{frame}.png")),
        )
        .unwrap();
    }
    assert_eq!(run(&[]), Some(0.0));

    let segnet = folder.path().join("segnet");
    picture(&segnet, "test/a.png");
    labels(&segnet, "testannot/a.png", 3, 11);
    expect(truth(folder.path(), "camvid", &["--data", "segnet"]), &[("road", 512)]);
}

#[test]
fn every_preset_reads_what_ttd_prepares() {
    let folder = folder();
    for (preset, left, name) in [
        ("voc21", 20, "tv monitor"),
        ("voc20", 1, "aeroplane"),
        ("context60", 1, "aeroplane"),
        ("context59", 2, "bag"),
        ("coco-object", 80, "toothbrush"),
        ("coco-stuff", 170, "wood"),
        ("coco-panoptic133", 119, "sky"),
        ("cityscapes", 10, "sky"),
        ("ade20k", 3, "sky"),
        ("camvid", 0, "sky"),
    ] {
        let data = folder.path().join(preset);
        picture(&data, "validation/image/a.jpg");
        labels(&data, "validation/mask/a.png", left, 255);
        expect(truth(folder.path(), preset, &["--data", preset]), &[(name, 512)]);
    }
    let wrong = export(folder.path(), &["eval", "segmentation", "--preset", "ade20k", "--data", "nothing"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("annotations/validation"), "{}", wrong.stderr);
    let wrong = export(folder.path(), &["eval", "segmentation", "--preset", "ade", "--data", "voc21"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("coco-panoptic133"), "{}", wrong.stderr);
}

#[test]
fn plain_and_engineered_names_stand_apart_beside_the_published_figures() {
    let folder = folder();
    for stem in ["a", "b", "c"] {
        picture(folder.path(), &format!("validation/image/{stem}.jpg"));
        labels(folder.path(), &format!("validation/mask/{stem}.png"), 15, 0);
    }
    let base = ["eval", "segmentation", "--preset", "voc21", "--data", ".", "--size", "32"];
    let table = export(folder.path(), &base);
    assert_eq!(table.code, 0, "{}", table.stderr);
    for words in ["plain names; background", "engineered names; background", "published, VOC", "TCL + TTD", "61.1"] {
        assert!(table.stdout.contains(words), "{words}: {}", table.stdout);
    }
    let more = ["--json", "--names", "plain", "--background", "0.1..0.9/0.2", "--refine", "none,pamr", "--html", "report.html"];
    let ended = export(folder.path(), &[&base[..], &more].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let rows = ended.json_lines();
    assert_eq!(rows.len(), 10);
    assert_eq!(rows[0]["halves"].as_array().unwrap().len(), 2, "{}", rows[0]["halves"]);
    let halves = &rows[0]["halves"][0];
    assert!(halves["chosen"].as_array().unwrap().iter().all(|t| t.as_f64().is_some()), "{halves}");
    // A higher threshold never finds more of the classes.
    let background: Vec<u64> = rows[..5].iter().map(|r| r["per_class"][0]["predicted_px"].as_u64().unwrap()).collect();
    assert!(background.is_sorted(), "{background:?}");

    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("data:image/jpeg;base64,") && page.contains("prefers-color-scheme: dark"));
    for outside in ["http://", "https://", "src=\"/", "@import", "<script"] {
        assert!(!page.contains(outside), "{outside} in the report");
    }
    for chosen in [
        &["--background", "0.5..0.1/0.1"][..],
        &["--windows", "448"],
        &["--templates", "none.txt"],
        &["--background", "paper", "--only", "no"],
    ] {
        let ended = export(folder.path(), &[&base[..], chosen].concat());
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{chosen:?}: {}", ended.stderr);
    }
}

#[test]
fn the_papers_protocol_and_thresholds_by_word_run() {
    let folder = folder();
    picture(folder.path(), "validation/image/a.jpg");
    labels(folder.path(), "validation/mask/a.png", 15, 0);
    let base = ["eval", "segmentation", "--preset", "voc21", "--data", ".", "--size", "32", "--names", "plain", "--json"];
    let run = |more: &[&str]| {
        let ended = export(folder.path(), &[&base[..], more].concat());
        assert_eq!(ended.code, 0, "{more:?}: {}", ended.stderr);
        ended
    };
    let paper = run(&["--protocol", "paper"]).json_lines().remove(0);
    assert!((paper["background"].as_f64().unwrap() - 0.4).abs() < 1e-6, "{paper}");
    assert_eq!(
        (paper["refine"].as_str(), paper["protocol"].as_str()),
        (Some("pamr"), Some("32 px; scales [1.0, 0.5, 1.5, 2.0]; flip; windows 32/16"))
    );
    run(&["--fit-word-thresholds", "words.tsv"]);
    let table = fs::read_to_string(folder.path().join("words.tsv")).unwrap();
    assert_eq!(table.lines().count(), 20);
    let fitted = run(&["--word-thresholds", "words.tsv"]).json_lines().remove(0);
    assert!(fitted["run"].as_str().unwrap().contains("thresholds by word"), "{fitted}");
    // Thresholds that are all the common one change nothing.
    let common: String = table.lines().map(|l| format!("{}\t0.5\n", l.split('\t').next().unwrap())).collect();
    fs::write(folder.path().join("common.tsv"), common).unwrap();
    let plain = run(&["--background", "0.5"]).json_lines().remove(0);
    let same = run(&["--background", "0.5", "--word-thresholds", "common.tsv"]).json_lines().remove(0);
    assert_eq!(plain["per_class"], same["per_class"]);
    fs::write(folder.path().join("words.tsv"), "person\t2\n").unwrap();
    let wrong = export(folder.path(), &[&base[..], &["--word-thresholds", "words.tsv"]].concat());
    assert!(wrong.code == 2 && wrong.stderr.contains("words.tsv"), "{}", wrong.stderr);
}
