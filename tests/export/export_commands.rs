//! The `edge-seg-export` commands as a person uses them.

use std::fs;
use std::path::Path;
use std::process::Command;

use edge_seg_tests::{Ended, binary, root, schema};
use image::{GrayImage, Luma, RgbImage};

fn export(folder: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(binary("edge-seg-export"));
    command.current_dir(folder).args(arguments).env_remove("EDGE_SEG_TRAINER_VENV");
    let ended: Ended = command.output().expect("edge-seg-export starts").into();
    schema::check_lines(arguments, &ended.stdout);
    ended
}

fn tiny() -> String {
    root().join("tests/data/tiny-model").to_str().unwrap().into()
}

#[test]
fn bundle_extract_and_quantize_agree_on_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let ended = export(folder.path(), &["bundle", &tiny(), "-o", "tiny.esb", "--serial", "7", "--board", "pi5"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("0 missing, 0 unused"), "{}", ended.stderr);
    let ended = export(folder.path(), &["extract", "tiny.esb", "-o", "parts"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(ended.stdout.lines().count(), 5);
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("parts/manifest.json")).unwrap()).unwrap();
    assert_eq!((manifest["serial"].as_u64(), manifest["boards"][0].as_str()), (Some(7), Some("pi5")));
    for blob in manifest["blobs"].as_array().unwrap() {
        let part = folder.path().join("parts").join(blob["name"].as_str().unwrap());
        assert_eq!(fs::metadata(part).unwrap().len(), blob["bytes"].as_u64().unwrap());
    }
    let again = export(folder.path(), &["extract", "tiny.esb", "-o", "parts"]);
    assert_eq!(again.code, 0, "what the command wrote itself is replaced: {}", again.stderr);
    fs::create_dir(folder.path().join("others")).unwrap();
    fs::write(folder.path().join("others/tokenizer.json"), "another's").unwrap();
    let refused = export(folder.path(), &["extract", "tiny.esb", "-o", "others"]);
    assert!(refused.code == 2 && refused.stderr.contains("try: -o others-extracted"), "{}", refused.stderr);
    assert_eq!(fs::read_dir(folder.path().join("others")).unwrap().count(), 1);
    let ended = export(folder.path(), &["quantize", &tiny(), "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for layer in ended.json_lines() {
        let relative = layer["relative"].as_f64().unwrap();
        assert!(relative > 0.0 && relative < 0.01, "{layer}");
    }
    let ended = export(folder.path(), &["quantize", &tiny(), "--json", "--weights", "f32"]);
    assert!(ended.json_lines().iter().all(|layer| layer["relative"].as_f64() == Some(0.0)));
}

#[test]
fn a_folder_that_is_not_there_is_an_error_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let ended = export(folder.path(), &["bundle", "nowhere", "-o", "x.esb"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    assert!(ended.stderr.contains("nowhere/config.json"), "{}", ended.stderr);
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
}

/// Two pictures, 32×32: labels 4 (left half) and 9 (right half, ignored in the second picture).
fn labelled(folder: &Path) {
    fs::create_dir(folder.join("images")).unwrap();
    fs::create_dir(folder.join("labels")).unwrap();
    for (name, right) in [("a", 9), ("b", 255)] {
        RgbImage::from_fn(32, 32, |x, y| image::Rgb([8 * x as u8, 8 * y as u8, 90]))
            .save(folder.join(format!("images/{name}.png")))
            .unwrap();
        GrayImage::from_fn(32, 32, |x, _| Luma([if x < 16 { 4 } else { right }])).save(folder.join(format!("labels/{name}.png"))).unwrap();
    }
    fs::write(
        folder.join("classes.tsv"),
        "id\tname\tall\tsome\tsynonyms\n4\tdog\t0\t1\tdog,dogs\n9\tgrass\t1\t0\tgrass\n12\tsnow\t2\t0\tsnow\n",
    )
    .unwrap();
}

#[test]
fn eval_counts_what_is_labelled_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    labelled(folder.path());
    assert_eq!(export(folder.path(), &["bundle", &tiny(), "-o", "tiny.esb"]).code, 0);
    let base =
        ["eval", "--model", "tiny.esb", "--images", "images", "--labels", "labels", "--classes", "classes.tsv", "--json", "--confusion"];
    let run = |more: &[&str]| {
        let ended = export(folder.path(), &[&base[..], more].concat());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.json_lines().remove(0)
    };
    let row_sums = |report: &serde_json::Value| -> Vec<u64> {
        let rows = report["confusion"].as_array().unwrap();
        rows.iter().map(|row| row.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum()).collect()
    };
    let all = run(&["--view", "all"]);
    assert_eq!(row_sums(&all), [0, 1024, 512, 0]);
    assert_eq!((all["pictures"].as_u64(), all["labelled_px"].as_u64(), all["classes_present"].as_u64()), (Some(2), Some(1536), Some(2)));
    assert_eq!(all["background"], serde_json::Value::Null);
    let diagonal: u64 = (1..4).map(|i| all["confusion"][i][i].as_u64().unwrap()).sum();
    assert!((all["pixel_accuracy"].as_f64().unwrap() - diagonal as f64 / 1536.0).abs() < 1e-12);

    // The second picture holds one class alone, so that offering only those present gets it right whatever the model says.
    let present = run(&["--view", "all", "--present-only"]);
    assert!(present["confusion"][1][1].as_u64().unwrap() >= 512);
    assert!(present["confusion"].as_array().unwrap().iter().all(|row| row[3] == 0), "snow is in no picture");

    let some = run(&["--view", "some", "--background", "1"]);
    assert_eq!(row_sums(&some), [512, 1024]);
    assert_eq!((some["confusion"][0][0].as_u64(), some["confusion"][1][0].as_u64()), (Some(512), Some(1024)), "no score reaches 1");

    let table = export(folder.path(), &[&base[..9], &["--view", "all"]].concat());
    assert!(table.stdout.contains("mIoU") && table.stdout.contains("grass"), "{}", table.stdout);
}

#[test]
fn eval_names_what_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    labelled(folder.path());
    assert_eq!(export(folder.path(), &["bundle", &tiny(), "-o", "tiny.esb"]).code, 0);
    let base = ["eval", "--model", "tiny.esb", "--images", "images", "--labels", "labels", "--classes", "classes.tsv"];
    let fails = |more: &[&str], word: &str| {
        let ended = export(folder.path(), &[&base[..], more].concat());
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{}", ended.stderr);
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    };
    fails(&["--view", "none"], "classes.tsv");
    fails(&["--view", "all", "--background", "2"], "0 to 1");
    fs::write(folder.path().join("only.txt"), "c.jpg\n").unwrap();
    fails(&["--view", "all", "--only", "only.txt"], "c");
    // One broken picture or label ends no run over many.
    let left_out = |word: &str| {
        let ended = export(folder.path(), &[&base[..], &["--view", "all", "--json"]].concat());
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        assert!(ended.stderr.contains(word) && ended.stderr.contains("left out of the figures: 1"), "{word}: {}", ended.stderr);
        let found = ended.json_lines().remove(0);
        assert_eq!((found["pictures"].as_u64(), found["left_out"].as_u64()), (Some(1), Some(1)), "{found}");
    };
    GrayImage::from_pixel(32, 32, Luma([77])).save(folder.path().join("labels/a.png")).unwrap();
    left_out("found 77");
    GrayImage::from_pixel(8, 8, Luma([4])).save(folder.path().join("labels/a.png")).unwrap();
    left_out("8×8");
    RgbImage::new(32, 32).save(folder.path().join("labels/a.png")).unwrap();
    left_out("one channel");
    let picture = fs::read(folder.path().join("images/a.png")).unwrap();
    fs::write(folder.path().join("images/a.png"), &picture[..picture.len() / 2]).unwrap();
    left_out("a.png");
    fs::remove_file(folder.path().join("images/a.png")).unwrap();
    fails(&["--view", "all"], "one picture for labels/a.png");
}

#[test]
fn a_stopped_measurement_goes_on_and_two_can_be_compared() {
    let folder = tempfile::tempdir().unwrap();
    labelled(folder.path());
    for weights in ["int8", "f32"] {
        assert_eq!(export(folder.path(), &["bundle", &tiny(), "-o", &format!("{weights}.esb"), "--weights", weights]).code, 0);
    }
    let base = ["eval", "segmentation", "--images", "images", "--labels", "labels", "--classes", "classes.tsv", "--view", "all", "--json"];
    let run = |model: &str, record: &str, more: &[&str]| {
        export(folder.path(), &[&base[..], &["--model", model, "--record", record], more].concat())
    };
    let whole = run("f32.esb", "f32.jsonl", &[]);
    assert_eq!(whole.code, 0, "{}", whole.stderr);
    // Cut the record in its last line, as a power cut would.
    let record = fs::read(folder.path().join("f32.jsonl")).unwrap();
    fs::write(folder.path().join("f32.jsonl"), &record[..record.len() - 9]).unwrap();
    let resumed = run("f32.esb", "f32.jsonl", &[]);
    assert_eq!(resumed.code, 0, "{}", resumed.stderr);
    assert_eq!(resumed.json_lines()[0]["miou"], whole.json_lines()[0]["miou"]);
    let other = run("f32.esb", "f32.jsonl", &["--flip"]);
    assert!(other.code == 2 && other.stderr.contains("those of another run"), "{}", other.stderr);

    assert_eq!(run("int8.esb", "int8.jsonl", &[]).code, 0);
    let compared = export(folder.path(), &["eval", "compare", "f32.jsonl", "int8.jsonl", "--json"]);
    assert_eq!(compared.code, 0, "{}", compared.stderr);
    let found = &compared.json_lines()[0];
    assert_eq!(found["pictures"].as_u64(), Some(2));
    assert_eq!(found["miou"][0], whole.json_lines()[0]["miou"]);
    let same = export(folder.path(), &["eval", "compare", "f32.jsonl", "f32.jsonl", "--tolerance", "0"]);
    assert_eq!(same.code, 0, "{}", same.stderr);
    assert_eq!(export(folder.path(), &["eval", "compare", "f32.jsonl", "classes.tsv"]).code, 2);
}

#[test]
fn several_looks_are_looks_at_the_same_picture() {
    let folder = tempfile::tempdir().unwrap();
    labelled(folder.path());
    assert_eq!(export(folder.path(), &["bundle", &tiny(), "-o", "tiny.esb"]).code, 0);
    let base =
        ["eval", "--model", "tiny.esb", "--images", "images", "--labels", "labels", "--classes", "classes.tsv", "--view", "all", "--json"];
    for more in [&["--flip"][..], &["--scales", "1,0.5,2"], &["--windows"], &["--tag-threshold", "0.9"], &["--background-words", "sea"]] {
        let ended = export(folder.path(), &[&base[..], more].concat());
        assert_eq!(ended.code, 0, "{more:?}: {}", ended.stderr);
        assert_eq!(ended.json_lines()[0]["labelled_px"].as_u64(), Some(1536));
    }
    let ended = export(folder.path(), &[&base[..], &["--scales", "0"]].concat());
    assert!(ended.code == 2 && ended.stderr.contains("--scales"), "{}", ended.stderr);
}

#[test]
fn captions_are_measured_against_labels() {
    let folder = tempfile::tempdir().unwrap();
    labelled(folder.path());
    assert_eq!(export(folder.path(), &["bundle", &tiny(), "-o", "tiny.esb"]).code, 0);
    fs::write(
        folder.path().join("captions.tsv"),
        "file\tcaption\na.png\ta dog and the wet grass\nb.png\tDogs beside the sea\nb.png\tthe snow\n",
    )
    .unwrap();
    let base = [
        "--model",
        "tiny.esb",
        "--captions",
        "captions.tsv",
        "--images",
        "images",
        "--labels",
        "labels",
        "--classes",
        "classes.tsv",
        "--view",
        "all",
        "--json",
    ];
    let tags = export(folder.path(), &[&["eval", "tags"], &base[..]].concat());
    assert_eq!(tags.code, 0, "{}", tags.stderr);
    let rows = tags.json_lines();
    let all = rows.iter().find(|row| row["score"] == "all words").unwrap();
    // Shown: dog and grass in a, dogs in b; not shown: wet, sea, snow.
    assert_eq!(
        (all["captions"].as_u64(), all["measures"]["precision"].as_f64(), all["measures"]["recall"].as_f64()),
        (Some(3), Some(0.5), Some(1.0))
    );
    assert_eq!(rows.len(), 6);
    let captions = export(folder.path(), &[&["eval", "caption", "--background", "0"], &base[..]].concat());
    assert_eq!(captions.code, 0, "{}", captions.stderr);
    for row in captions.json_lines() {
        let m = &row["measures"];
        assert_eq!(m["captions"].as_u64(), Some(2), "the snow is in no picture");
        let sum = m["caption_iou"].as_f64().unwrap() + m["mfpr"].as_f64().unwrap() + m["mfnr"].as_f64().unwrap();
        assert!((sum - 1.0).abs() < 1e-9, "{row}");
        if row["score"] == "all words" {
            assert_eq!(m["caption_iou"].as_f64(), Some(1.0), "without background every pixel of these pictures is told of");
        }
    }
}

#[test]
fn label_writes_the_same_files_again_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    labelled(folder.path());
    assert_eq!(export(folder.path(), &["bundle", &tiny(), "-o", "tiny.esb"]).code, 0);
    fs::write(folder.path().join("words.txt"), "dog\ngrass\nsnow: sea, snow\n").unwrap();
    let options = ["--model", "tiny.esb", "--vocabulary", "words.txt", "--tag-threshold", "0", "--background", "0", "--least-share", "0"];
    let run = |out: &str| {
        let ended = export(folder.path(), &[&["label", "images", "-o", out], &options[..]].concat());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        fs::read(folder.path().join(out).join("coco.json")).unwrap()
    };
    let first = run("one");
    let coco: serde_json::Value = serde_json::from_slice(&first).unwrap();
    assert_eq!(coco["categories"].as_array().unwrap().len(), 3);
    // No background and no least area: the regions of a picture cover it.
    let areas = coco["annotations"].as_array().unwrap().iter().filter(|a| a["image_id"] == 1).map(|a| a["area"].as_u64().unwrap());
    assert_eq!(areas.sum::<u64>(), 1024);
    assert_eq!(run("one"), first, "from the record");
    assert_eq!(run("two"), first, "anew");
    for file in [
        "voc/SegmentationClass/a.png",
        "voc/Annotations/b.xml",
        "voc/labelmap.txt",
        "yolo/labels/a.txt",
        "yolo/data.yaml",
        "label-studio.json",
        "contact-1.jpg",
    ] {
        assert!(folder.path().join("one").join(file).is_file(), "{file}");
    }
    let other = export(folder.path(), &["label", "images", "-o", "one", "--model", "tiny.esb", "--vocabulary", "words.txt"]);
    let told = other.stderr.contains("one/labels.jsonl: line 1: expected the settings of this run, found those of another run: options ");
    assert!(other.code == 2 && told && other.stderr.contains("rm one/labels.jsonl"), "{}", other.stderr);
    fs::write(folder.path().join("images/c.png"), b"no picture").unwrap();
    let ended = export(folder.path(), &[&["label", "images", "-o", "one"], &options[..]].concat());
    assert!(ended.code == 2 && ended.stderr.contains("c.png"), "{}", ended.stderr);
    assert_eq!(fs::read(folder.path().join("one/coco.json")).unwrap(), first, "the others are done all the same");
}

#[test]
fn what_failed_stands_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    labelled(folder.path());
    fs::create_dir(path("empty")).unwrap();
    fs::write(path("notes.txt"), "keep me\n").unwrap();
    assert_eq!(export(folder.path(), &["bundle", &tiny(), "-o", "tiny.esb"]).code, 0);
    assert_eq!(export(folder.path(), &["bundle", &tiny(), "-o", "tiny.esb"]).code, 0, "over a bundle");
    let ended = export(folder.path(), &["bundle", &tiny(), "-o", "notes.txt"]);
    assert!(ended.code == 2 && ended.stderr.contains("found a text file; try: another name, such as notes-2.esb"), "{}", ended.stderr);
    assert_eq!(fs::read_to_string(path("notes.txt")).unwrap(), "keep me\n");
    let label = |pictures: &str, words: &str| {
        fs::write(path("words.txt"), words).unwrap();
        export(folder.path(), &["label", pictures, "-o", "labels", "--model", "tiny.esb", "--vocabulary", "words.txt"])
    };
    assert_eq!(label("empty", "dog\n").code, 2);
    assert!(!path("labels/labels.jsonl").exists());
    let ended = label("images", "grass\n");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let ended = label("images", "dog\n");
    assert!(ended.code == 2 && ended.stderr.contains("words \"grass\", not \"dog\""), "{}", ended.stderr);
    // A checkpoint's own folder has files of the same names.
    fs::create_dir(path("checkpoint")).unwrap();
    fs::write(path("checkpoint/config.json"), "{\"model_type\": \"clip\"}").unwrap();
    let ended = export(folder.path(), &["import", "checkpoint", "-o", "checkpoint"]);
    assert!(ended.code == 2 && ended.stderr.contains("try: -o checkpoint-imported"), "{}", ended.stderr);
}

#[test]
fn train_says_what_to_do_without_its_environment() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("recipe.toml"), "").unwrap();
    let ended = export(folder.path(), &["train", "recipe.toml", "--source", "."]);
    assert!(ended.code == 2 && ended.stderr.contains("--source"), "{}", ended.stderr);
    fs::create_dir(folder.path().join("edge_seg_trainer")).unwrap();
    let ended = export(folder.path(), &["train", "recipe.toml", "--venv", "nowhere", "--source", "."]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("nowhere/bin/python") && ended.stderr.contains("edge-seg-export trainer-setup"), "{}", ended.stderr);
    let ended = export(folder.path(), &["train", "missing.toml", "--source", "."]);
    assert!(ended.code == 2 && ended.stderr.contains("missing.toml"), "{}", ended.stderr);
}

#[cfg(unix)]
#[test]
fn train_passes_output_and_exit_code_on() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("venv/bin")).unwrap();
    fs::create_dir(folder.path().join("edge_seg_trainer")).unwrap();
    let python = folder.path().join("venv/bin/python");
    let fake = |missing: &str| {
        fs::write(
            &python,
            format!("#!/bin/sh\nif [ \"$1\" = -c ]; then echo {missing}; exit 0; fi\necho \"ran $*\"; echo talk >&2; exit 7\n"),
        )
        .unwrap();
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    };
    fs::write(folder.path().join("recipe.toml"), "").unwrap();
    fake("");
    let ended = export(folder.path(), &["train", "recipe.toml", "--venv", "venv", "--source", "."]);
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (7, "ran -m edge_seg_trainer recipe.toml\n", "talk\n"));
    fake("torch peft");
    let ended = export(folder.path(), &["train", "recipe.toml", "--venv", "venv", "--source", "."]);
    assert!(ended.code == 2 && ended.stderr.contains("lacks torch, peft"), "{}", ended.stderr);
}

#[test]
fn quantize_makes_what_each_board_runs_best() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = root().join("examples/pictures/c*.jpg");
    let quantize = |more: &[&str]| {
        let fixed = ["quantize", &tiny(), "--boards", "pi4,pi5,jetson", "-o", "out", "--pictures", pictures.to_str().unwrap()];
        export(folder.path(), &[&fixed[..], &["--count", "2", "--words", "dog, grass, snow", "--json"], more].concat())
    };
    let ended = quantize(&["--least-cosine", "0.9"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let (boards, layers): (Vec<_>, Vec<_>) = ended.json_lines().into_iter().partition(|line| line["board"].is_string());
    let variants: Vec<_> = boards.iter().map(|b| (b["board"].as_str().unwrap(), b["variant"].as_str().unwrap())).collect();
    assert_eq!(variants, [("pi4", "int8-dynamic"), ("pi5", "int8-dynamic"), ("jetson", "f16-storage")]);
    for board in &boards {
        let bundle = edge_seg::Bundle::open(&folder.path().join(board["bundle"].as_str().unwrap())).unwrap();
        let manifest = bundle.manifest();
        assert_eq!(
            (manifest.variant.as_str(), manifest.boards[0].as_str()),
            (board["variant"].as_str().unwrap(), board["board"].as_str().unwrap())
        );
        assert!(board["image"]["mean_cosine"].as_f64().unwrap() > 0.9, "{board}");
    }
    let of = |tower: &str| layers.iter().filter(|l| l["tower"] == tower).count();
    assert!(of("image") > 5 && of("text") == 0, "words are encoded once, in floats: {layers:?}");
    assert!(layers.iter().all(|l| l["float"] == false && l["mean_cosine"].as_f64().unwrap() <= 1.0 + 1e-6));
    // More than integers can give: the layers that lose most stay in floats, one after the other, until it is reached.
    let strict = quantize(&["--least-cosine", "0.999999"]);
    let lines = strict.json_lines();
    let pi5 = lines.iter().find(|line| line["board"] == "pi5").unwrap();
    assert!(!pi5["floats"].as_array().unwrap().is_empty(), "{pi5}");
    assert!(pi5["image"]["mean_cosine"].as_f64() > boards[1]["image"]["mean_cosine"].as_f64(), "{pi5}");
    assert_eq!(strict.code, 1, "int8 storage alone loses more than that");
    assert_eq!(export(folder.path(), &["quantize", &tiny(), "--boards", "pi9", "-o", "out", "--pictures", "x"]).code, 2);
}
