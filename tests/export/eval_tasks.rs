//! `edge-seg-export eval tags`, `caption`, `quantization`, `compare` and `label` on small made data.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use edge_seg_tests::{Ended, binary, root, schema};
use image::{GrayImage, Luma, Rgb, RgbImage};

fn export(folder: &Path, arguments: &[&str]) -> Ended {
    let output = Command::new(binary("edge-seg-export")).current_dir(folder).args(arguments).output();
    let ended: Ended = output.expect("edge-seg-export starts").into();
    schema::check_lines(arguments, &ended.stdout);
    ended
}

fn tiny() -> String {
    root().join("tests/data/tiny-model").to_str().unwrap().into()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let ended = export(folder.path(), &["bundle", &tiny(), "-o", "tiny.esb"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    folder
}

fn picture(path: &Path, shade: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_fn(32, 32, |x, y| Rgb([8 * x as u8, 8 * y as u8, shade])).save(path).unwrap();
}

/// Words that the tiny model knows; labels 2 and 3 are grass and dog.
fn classes(folder: &Path) {
    let table = "id\tname\tview\tsynonyms\n1\tsnow\t0\tsnow,sea\n2\tgrass\t1\tgrass\n3\tdog\t2\tdog,dogs\n";
    fs::write(folder.join("classes.tsv"), table).unwrap();
}

fn labels(path: &Path, left: u8, right: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    GrayImage::from_fn(32, 32, |x, _| Luma([if x < 16 { left } else { right }])).save(path).unwrap();
}

#[test]
fn cc3m_tagmask_tells_its_own_truth() {
    let folder = folder();
    let data = folder.path().join("cc3m_for_evaluation");
    for (stem, text) in [
        ("000001", r#"{"caption": "a dog runs over the wet grass", "tags": ["dog", "grass"]}"#),
        ("000002", r#"{"text": "Snow and the sea", "nouns": ["Deep Sea"]}"#),
    ] {
        picture(&data.join(format!("image/{stem}.jpg")), 9);
        fs::create_dir_all(data.join("json_refined")).unwrap();
        fs::write(data.join(format!("json_refined/{stem}.json")), text).unwrap();
    }
    labels(&data.join("mask_using_HQ-SAM/000001.png"), 255, 0);
    let base = ["--size", "32", "--tagmask", "cc3m_for_evaluation", "--json"];
    let tags = export(folder.path(), &[&["eval", "tags"], &base[..]].concat());
    assert_eq!(tags.code, 0, "{}", tags.stderr);
    let row = |name: &str| tags.json_lines().into_iter().find(|r| r["score"] == name).unwrap()["measures"].clone();
    // Words: dog, runs, wet, grass; snow, sea. Shown: dog, grass, sea.
    assert_eq!((row("all words")["precision"].as_f64(), row("all words")["recall"].as_f64()), (Some(0.5), Some(1.0)));
    // The rules leave dog, grass, snow and sea.
    assert_eq!((row("nouns, by rules")["precision"].as_f64(), row("nouns, by rules")["recall"].as_f64()), (Some(0.75), Some(1.0)));
    assert!(row("pixel")["average_precision"].as_f64().is_some());
    // A mask of 0 and 255 is inside and outside; the picture without a mask is not measured.
    let caption = export(folder.path(), &[&["eval", "caption", "--background", "0"], &base[..]].concat());
    assert_eq!(caption.code, 0, "{}", caption.stderr);
    let all = caption.json_lines().into_iter().find(|r| r["score"] == "all words").unwrap();
    assert_eq!((all["measures"]["captions"].as_u64(), all["measures"]["caption_iou"].as_f64()), (Some(1), Some(0.5)));

    for task in ["tags", "caption"] {
        let page = format!("{task}.html");
        let ended = export(folder.path(), &[&["eval", task, "--html", &page], &base[..]].concat());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let page = fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(page.contains("<svg") && page.contains("TCL + TTD") && !page.contains("http"), "{task}");
        // Both ends, each picture beside itself.
        assert!(page.contains("Worst pictures") && page.contains("000001.jpg"), "{task}");
        assert_eq!(page.matches("<img alt=\"labels\" src=\"data:image/jpeg").count(), if task == "tags" { 2 } else { 1 }, "{task}");
    }

    fs::write(folder.path().join("nouns.tsv"), "caption\tnouns\na dog runs over the wet grass\tdog\nSnow and the sea\tSnow sea\n").unwrap();
    let tagged = export(folder.path(), &[&["eval", "tags", "--nouns", "nouns.tsv"], &base[..]].concat());
    let given = tagged.json_lines().into_iter().find(|r| r["score"] == "nouns, as given").unwrap()["measures"].clone();
    assert_eq!(given["precision"].as_f64(), Some(2.0 / 3.0), "{given}");
    fs::write(folder.path().join("nouns.tsv"), "caption\tnouns\nanother\tdog\n").unwrap();
    let wrong = export(folder.path(), &[&["eval", "tags", "--nouns", "nouns.tsv"], &base[..]].concat());
    assert!(wrong.code == 2 && wrong.stderr.contains("--nouns"), "{}", wrong.stderr);

    fs::write(data.join("json_refined/000002.json"), r#"{"sentence": "x"}"#).unwrap();
    let wrong = export(folder.path(), &[&["eval", "tags"], &base[..]].concat());
    assert!(wrong.code == 2 && wrong.stderr.contains("found sentence"), "{}", wrong.stderr);
}

#[test]
fn a_run_on_captions_goes_on_from_its_record() {
    let folder = folder();
    let mut captions = "file\tcaption\n".to_string();
    for (stem, caption) in [("a", "a dog on grass"), ("b", "snow and a dog on grass"), ("c", "grass and a dog")] {
        picture(&folder.path().join(format!("images/{stem}.png")), stem.as_bytes()[0]);
        labels(&folder.path().join(format!("labels/{stem}.png")), 3, 2);
        captions += &format!("{stem}.png\t{caption}\n");
    }
    fs::write(folder.path().join("captions.tsv"), &captions).unwrap();
    classes(folder.path());
    let run = |task: &str, more: &[&str]| {
        let record = format!("{task}.jsonl");
        let data = "--model tiny.esb --images images --labels labels --classes classes.tsv --view view --captions captions.tsv --json";
        let base: Vec<&str> = ["eval", task, "--record", &record].into_iter().chain(data.split(' ')).collect();
        export(folder.path(), &[&base[..], more].concat())
    };
    for task in ["tags", "caption"] {
        let whole = run(task, &[]);
        assert_eq!(whole.code, 0, "{}", whole.stderr);
        let path = folder.path().join(format!("{task}.jsonl"));
        let record = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = record.lines().collect();
        assert_eq!(lines.len(), 4, "settings and three pictures");
        // A run that was killed in the middle of a line.
        fs::write(&path, format!("{}\n{}\n{}", lines[0], lines[1], &lines[2][..lines[2].len() / 2])).unwrap();
        let resumed = run(task, &[]);
        assert_eq!((resumed.code, &resumed.stdout), (0, &whole.stdout), "{}", resumed.stderr);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 4, "{task}");
        // What the record holds is not measured again.
        let mut first: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
        for word in first["captions"][0]["words"].as_array_mut().unwrap() {
            word["scores"] = serde_json::json!([0.0, 0.0, 0.0, 0.0]);
            word["shown"] = serde_json::json!(false);
        }
        first["captions"][0]["pixels"] = serde_json::json!([[0, 1, 1], [0, 1, 1], [0, 1, 1], [0, 1, 1], [0, 1, 1]]);
        fs::write(&path, format!("{}\n{first}\n", lines[0])).unwrap();
        let changed = run(task, &[]);
        assert_eq!(changed.code, 0, "{}", changed.stderr);
        assert_ne!(changed.stdout, whole.stdout, "{task}");
        let other = run(task, &["--threshold", "0.123"]);
        assert!(other.code == 2 && other.stderr.contains("those of another run"), "{}", other.stderr);
    }
    fs::write(folder.path().join("captions.tsv"), "file\tcaption\nd.png\tdog\n").unwrap();
    let none = run("tags", &[]);
    assert!(none.code == 2 && none.stderr.contains("captions of the labelled pictures"), "{}", none.stderr);
}

#[test]
fn a_gpu_that_is_not_there_is_told_of() {
    let folder = folder();
    picture(&folder.path().join("images/a.png"), 1);
    labels(&folder.path().join("labels/a.png"), 3, 2);
    classes(folder.path());
    fs::write(folder.path().join("words.txt"), "dog\n").unwrap();
    let data = "--images images --labels labels --classes classes.tsv --view view";
    let tasks = [
        format!("eval segmentation --model tiny.esb {data}"),
        format!("eval quantization {} --weights int8 {data}", tiny()),
        "label images --model tiny.esb -o out --vocabulary words.txt --tag-threshold 0".to_string(),
    ];
    for task in tasks {
        let run = |more: &[&str]| export(folder.path(), &[&task.split(' ').collect::<Vec<_>>()[..], more].concat());
        let auto = run(&["--device", "auto", "--half", "--device-fallback"]);
        assert_eq!(auto.code, 0, "{}", auto.stderr);
        assert!(auto.stderr.contains("--device auto chose"), "{}", auto.stderr);
        if auto.stderr.contains("chose cpu") {
            let cuda = run(&["--device", "cuda"]);
            assert!(cuda.code == 2 && cuda.stderr.contains("cuda"), "{}", cuda.stderr);
        }
    }
}

#[test]
fn quantization_costs_what_it_costs_and_f32_nothing() {
    let folder = folder();
    for stem in ["a", "b"] {
        picture(&folder.path().join(format!("images/{stem}.png")), stem.as_bytes()[0]);
        labels(&folder.path().join(format!("labels/{stem}.png")), 3, 2);
    }
    classes(folder.path());
    let data = ["--images", "images", "--labels", "labels", "--classes", "classes.tsv", "--view", "view"];
    let base = [&["eval", "quantization", &tiny()][..], &data].concat().iter().map(|s| s.to_string()).collect::<Vec<_>>();
    let base: Vec<&str> = base.iter().map(String::as_str).collect();
    let run = |more: &[&str]| export(folder.path(), &[&base[..], more].concat());
    let ended = run(&["--weights", "int8,f16,f32", "--variant", "tiny.esb", "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let rows = ended.json_lines();
    let names: Vec<_> = rows.iter().map(|r| r["variant"].as_str().unwrap().to_string()).collect();
    assert_eq!(names, ["int8-storage", "int8-storage", "f16-storage", "f32"]);
    assert_eq!(rows[0]["patches"], rows[1]["patches"], "the bundle is what --weights makes");
    let cosine = |row: usize| rows[row]["patches"]["mean"].as_f64().unwrap();
    assert!(cosine(0) < cosine(2) && cosine(2) < 1.0 && cosine(0) > 0.99, "{} {}", cosine(0), cosine(2));
    let f32 = &rows[3];
    assert!((cosine(3) - 1.0).abs() < 1e-12 && f32["changed_share"].as_f64() == Some(0.0) && f32["miou_difference"].as_f64() == Some(0.0));
    let layers = rows[0]["layers"].as_array().unwrap();
    assert!(layers.len() >= 2 && layers.last().unwrap()["layer"] == "patches", "{layers:?}");
    assert!((layers.last().unwrap()["mean"].as_f64().unwrap() - cosine(0)).abs() < 1e-6, "the last layer is the answer");
    assert!(layers.iter().all(|l| l["worst"].as_f64().unwrap() <= l["mean"].as_f64().unwrap()));

    assert_eq!(run(&["--weights", "int8", "--least-cosine", "1"]).code, 1);
    let table = run(&["--weights", "int8"]);
    assert!(
        table.code == 0 && table.stdout.contains("cosines by layer") && table.stdout.contains("image.blocks.0.mlp.sum"),
        "{}",
        table.stdout
    );
    assert_eq!(run(&[]).code, 2);
    let other = export(folder.path(), &["bundle", root().join("tests/data/tiny-clip").to_str().unwrap(), "-o", "clip.esb"]);
    assert_eq!(other.code, 0, "{}", other.stderr);
    let other = run(&["--variant", "clip.esb"]);
    assert!(other.code == 2 && other.stderr.contains("architecture"), "{}", other.stderr);

    // Heads whose last block serves the class token alone, no class token, registers.
    for family in ["tiny-clip", "checkpoints/siglip", "checkpoints/tips"] {
        let source = root().join("tests/data").join(family);
        let imported = folder.path().join("imported");
        let model = if family == "tiny-clip" {
            source
        } else {
            let _ = fs::remove_dir_all(&imported);
            let ended = export(folder.path(), &["import", source.to_str().unwrap(), "-o", "imported", "--name", "tiny"]);
            assert_eq!(ended.code, 0, "{family}: {}", ended.stderr);
            imported
        };
        let ended = export(
            folder.path(),
            &[&["eval", "quantization", model.to_str().unwrap()][..], &data, &["--weights", "f16", "--json"]].concat(),
        );
        assert_eq!(ended.code, 0, "{family}: {}", ended.stderr);
        let layers = ended.json_lines()[0]["layers"].as_array().unwrap().clone();
        assert!(layers.len() >= 2 && layers.iter().all(|layer| layer["mean"].as_f64().unwrap() > 0.999), "{family}: {layers:?}");
    }
}

#[test]
fn two_variants_of_one_record_can_be_compared() {
    let folder = folder();
    for stem in ["a", "b", "c"] {
        picture(&folder.path().join(format!("images/{stem}.png")), stem.as_bytes()[0]);
        labels(&folder.path().join(format!("labels/{stem}.png")), 3, 2);
    }
    classes(folder.path());
    let data = ["--images", "images", "--labels", "labels", "--classes", "classes.tsv", "--view", "view", "--names", "plain,synonyms"];
    let run = ["eval", "segmentation", "--model", "tiny.esb", "--record", "r.jsonl", "--json"];
    let ended = export(folder.path(), &[&run[..], &data].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let rows = ended.json_lines();
    assert_eq!(rows.len(), 2, "plain and engineered names");
    let compared = export(folder.path(), &["eval", "compare", "r.jsonl", "r.jsonl", "--runs", "1,2", "--json"]);
    assert_eq!(compared.code, 0, "{}", compared.stderr);
    let found = &compared.json_lines()[0];
    assert_eq!((&found["miou"][0], &found["miou"][1]), (&rows[0]["miou"], &rows[1]["miou"]));
    let other = export(
        folder.path(),
        &[&["eval", "segmentation", "--model", "tiny.esb", "--record", "s.jsonl", "--flip", "--refine", "guided", "--json"], &data[..]]
            .concat(),
    );
    assert_eq!(other.code, 0, "{}", other.stderr);
    assert!(other.json_lines().iter().all(|row| row["refine"] == "guided" && row["run"].as_str().unwrap().ends_with("guided filter")));
    let run = |more: &[&str]| export(folder.path(), &[&["eval", "compare", "r.jsonl", "s.jsonl"], more].concat());
    let (refused, asked) = (run(&[]), run(&["--any-protocol"]));
    assert!(refused.code == 2 && refused.stderr.contains("flip"), "{}", refused.stderr);
    assert!(asked.code == 0 && asked.stdout.contains("flip"), "{}", asked.stdout);
    let wrong = export(folder.path(), &["eval", "compare", "r.jsonl", "r.jsonl", "--runs", "1,3"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("engineered names"), "{}", wrong.stderr);
}

#[test]
fn labelling_that_is_killed_goes_on_to_the_same_files() {
    let folder = folder();
    for i in 0..400u32 {
        picture(&folder.path().join(format!("pictures/{i:03}.png")), i as u8);
    }
    fs::write(folder.path().join("words.txt"), "dog\ngrass\nsnow: sea, snow\n").unwrap();
    let arguments = |out: &'static str| {
        let options = "--model tiny.esb --vocabulary words.txt --tag-threshold 0 --background 0.4 --least-share 0.01 --format coco,cvat,voc,yolo,label-studio";
        ["label", "pictures", "-o", out].into_iter().chain(options.split(' ')).collect::<Vec<_>>()
    };
    let whole = export(folder.path(), &arguments("whole"));
    assert_eq!(whole.code, 0, "{}", whole.stderr);

    let record = folder.path().join("cut/labels.jsonl");
    let lines = || fs::read_to_string(&record).map_or(0, |t| t.lines().count());
    let mut child = Command::new(binary("edge-seg-export"));
    child.current_dir(folder.path()).args(arguments("cut")).stderr(Stdio::null());
    let mut child = child.spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(120);
    while lines() < 20 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let done = lines();
    assert!(done >= 20 && !folder.path().join("cut/coco.json").exists(), "killed in the middle, after {done} lines");

    let resumed = export(folder.path(), &arguments("cut"));
    assert_eq!(resumed.code, 0, "{}", resumed.stderr);
    for file in [
        "coco.json",
        "cvat.xml",
        "label-studio.json",
        "voc/SegmentationClass/007.png",
        "voc/Annotations/399.xml",
        "yolo/labels/123.txt",
        "yolo/data.yaml",
    ] {
        let read = |out: &str| fs::read(folder.path().join(out).join(file)).unwrap_or_else(|e| panic!("{out}/{file}: {e}"));
        assert!(read("whole") == read("cut"), "{file}");
    }
}

#[test]
fn one_broken_picture_or_label_ends_no_task() {
    let folder = folder();
    for stem in ["a", "b", "c", "d"] {
        picture(&folder.path().join(format!("images/{stem}.png")), stem.as_bytes()[0]);
        labels(&folder.path().join(format!("labels/{stem}.png")), 3, 2);
    }
    classes(folder.path());
    fs::write(folder.path().join("captions.tsv"), "file\tcaption\na.png\ta dog\nb.png\tgrass\nc.png\tdog\nd.png\tthe grass\n").unwrap();
    let data = ["--images", "images", "--labels", "labels", "--classes", "classes.tsv", "--view", "view", "--json"];
    let run = |task: &[&str]| export(folder.path(), &[&["eval"], task, &data[..]].concat());
    let model = tiny();
    let tasks: [&[&str]; 6] = [
        &["segmentation", "--model", "tiny.esb"],
        &["tags", "--model", "tiny.esb", "--captions", "captions.tsv"],
        &["caption", "--model", "tiny.esb", "--captions", "captions.tsv"],
        &["examples", "--model", "tiny.esb", "--examples", "1"],
        &["quantization", &model, "--weights", "f16"],
        &["video", "--model", "tiny.esb", "--interval", "1,2", "--carry", "scores"],
    ];
    for task in tasks {
        assert_eq!(run(task).code, 0, "{task:?}: {}", run(task).stderr);
    }
    fs::write(folder.path().join("images/b.png"), b"no picture").unwrap();
    let label = fs::read(folder.path().join("labels/c.png")).unwrap();
    fs::write(folder.path().join("labels/c.png"), &label[..label.len() / 2]).unwrap();
    for task in tasks {
        let ended = run(task);
        assert_eq!(ended.code, 2, "{task:?}: {}", ended.stderr);
        for said in ["b.png", "c.png", "left out of the figures: 2"] {
            assert!(ended.stderr.contains(said), "{task:?}: {said}: {}", ended.stderr);
        }
        let rows = ended.json_lines();
        assert!(!rows.is_empty() && rows.iter().all(|row| row["left_out"] == 2), "{task:?}: {rows:?}");
    }
    let table = export(folder.path(), &[&["eval"], tasks[0], &data[..8]].concat());
    assert!(table.code == 2 && table.stdout.contains("2 (2 that cannot be read left out)"), "{}", table.stdout);
    // Nothing that can be read is a run that failed.
    for stem in ["a", "d"] {
        fs::write(folder.path().join(format!("images/{stem}.png")), b"no picture").unwrap();
    }
    for task in tasks {
        let ended = run(task);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{task:?}: {}", ended.stderr);
    }
}
