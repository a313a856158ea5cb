//! The commands as a person uses them, bad input included.

use std::fs;
use std::process::Command;

use edge_seg_tests::{binary, edge_seg, picture, root};
use image::{GenericImageView, RgbImage};

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

#[test]
fn segment_writes_masks_at_the_pictures_own_size() {
    let folder = tempfile::tempdir().unwrap();
    let cat = picture("cat.jpg");
    let ended = edge_seg(folder.path(), &["segment", text(&cat), "--tags", "cat, car", "--out", "masks"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let lines = ended.json_lines();
    assert_eq!(lines.len(), 1);
    let line = &lines[0];
    let (width, height) = image::open(&cat).unwrap().dimensions();
    assert_eq!((line["width"].as_u64(), line["height"].as_u64()), (Some(width.into()), Some(height.into())));
    let mask = image::open(folder.path().join("masks/cat.mask.png")).unwrap();
    assert_eq!(mask.dimensions(), (width, height));
    assert_eq!(image::open(folder.path().join("masks/cat.overlay.png")).unwrap().dimensions(), (width, height));
    let mask = mask.as_luma8().expect("8-bit grey");
    for (label, class) in [(1u8, 0usize), (2, 1)] {
        let pixels = mask.pixels().filter(|p| p.0[0] == label).count() as u64;
        assert_eq!(line["classes"][class]["pixels"].as_u64(), Some(pixels));
        assert!((line["classes"][class]["share"].as_f64().unwrap() - pixels as f64 / f64::from(width * height)).abs() < 1e-9);
    }
    assert!(line["classes"][0]["share"].as_f64().unwrap() > 0.5, "the cat fills most of its picture: {line}");
    assert!(line["classes"][1]["share"].as_f64().unwrap() < 0.1, "there is no car: {line}");
    assert!(line["classes"][0]["score"].as_f64() > line["classes"][1]["score"].as_f64());
    for stage in ["read", "prepare", "plan", "encode", "score", "mask"] {
        assert!(line["milliseconds"][stage].as_f64().unwrap() >= 0.0);
    }
}

#[test]
fn without_background_every_pixel_has_a_class() {
    let folder = tempfile::tempdir().unwrap();
    let ended = edge_seg(folder.path(), &["segment", text(&picture("coffee.jpg")), "--tags", "cup, table", "--background", "none"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let mask = image::open(folder.path().join("edge-seg-out/coffee.mask.png")).unwrap();
    assert!(mask.as_luma8().unwrap().pixels().all(|p| p.0[0] > 0));
    assert_eq!(ended.json_lines()[0]["background_share"].as_f64(), Some(0.0));
}

#[test]
fn bad_inputs_are_named_and_the_others_are_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let whole = fs::read(picture("cat.jpg")).unwrap();
    fs::write(path("cut.jpg"), &whole[..whole.len() / 2]).unwrap();
    fs::write(path("empty.png"), b"").unwrap();
    fs::write(path("text.jpg"), b"this is no picture\n").unwrap();
    fs::write(path("good.jpg"), &whole).unwrap();
    let ended = edge_seg(folder.path(), &["segment", "cut.jpg", "empty.png", "text.jpg", "missing.jpg", "good.jpg", "--tags", "cat"]);
    assert_eq!(ended.code, 2);
    assert_eq!(ended.json_lines().len(), 1, "{}", ended.stdout);
    assert_eq!(ended.json_lines()[0]["input"], "good.jpg");
    for (name, complaint) in
        [("cut.jpg", "cut off"), ("empty.png", "empty file"), ("text.jpg", "no known picture"), ("missing.jpg", "nothing of that name")]
    {
        let line = ended.stderr.lines().find(|l| l.contains(name)).unwrap_or_else(|| panic!("{name} is named in {}", ended.stderr));
        assert!(line.contains(complaint), "{line}");
    }
    let left: Vec<_> = fs::read_dir(path("edge-seg-out")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "nothing half written: {left:?}");
}

#[test]
fn one_pixel_and_extreme_panoramas_have_masks() {
    let folder = tempfile::tempdir().unwrap();
    RgbImage::from_pixel(1, 1, image::Rgb([90, 140, 220])).save(folder.path().join("dot.png")).unwrap();
    RgbImage::from_pixel(3000, 2, image::Rgb([90, 140, 220])).save(folder.path().join("strip.png")).unwrap();
    let ended = edge_seg(folder.path(), &["segment", "dot.png", "strip.png", "--tags", "sky"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(image::open(folder.path().join("edge-seg-out/dot.mask.png")).unwrap().dimensions(), (1, 1));
    assert_eq!(image::open(folder.path().join("edge-seg-out/strip.mask.png")).unwrap().dimensions(), (3000, 2));
}

#[test]
fn words_may_be_none_many_foreign_or_twice() {
    let folder = tempfile::tempdir().unwrap();
    let cat = picture("cat.jpg");
    let run = |tags: &str| edge_seg(folder.path(), &["segment", text(&cat), "--tags", tags]);
    let none = run(" , ");
    assert_eq!(none.code, 2);
    assert!(none.stderr.contains("one word or more"), "{}", none.stderr);
    let twice = run("cat, dog, cat");
    assert_eq!(twice.code, 2);
    assert!(twice.stderr.contains("\"cat\" twice"), "{}", twice.stderr);
    let accents = run("Café, straße, кот, 山");
    assert_eq!(accents.code, 0, "{}", accents.stderr);
    assert_eq!(accents.json_lines()[0]["classes"][3]["name"], "山");
    let unknown = edge_seg(folder.path(), &["segment", text(&cat), "--tags", "cat, 猫", "--language", "off"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("\"猫\"") && unknown.stderr.contains("the model knows"), "{}", unknown.stderr);

    let many: Vec<_> = (0..300).map(|i| format!("thing {i}")).collect();
    let many = run(&many.join(","));
    assert_eq!(many.code, 0, "{}", many.stderr);
    assert!(many.stderr.contains("300 words"), "{}", many.stderr);
    let mask = image::open(folder.path().join("edge-seg-out/cat.mask.png")).unwrap();
    assert!(mask.as_luma16().is_some(), "more than 255 classes need 16 bits");
}

#[test]
fn tags_files_name_classes_with_synonyms() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("words.txt"), "# pets\ncat: kitten, tabby\n\ncar\n").unwrap();
    let cat = picture("cat.jpg");
    let ended = edge_seg(folder.path(), &["segment", text(&cat), "--tags-file", "words.txt"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let names: Vec<_> = ended.json_lines()[0]["classes"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
    assert_eq!(names, ["cat", "car"]);
    let missing = edge_seg(folder.path(), &["segment", text(&cat), "--tags-file", "nowhere.txt"]);
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("nowhere.txt"));
    fs::write(folder.path().join("words.bin"), [0xff, 0xfe, 0x00]).unwrap();
    let binary = edge_seg(folder.path(), &["segment", text(&cat), "--tags-file", "words.bin"]);
    assert_eq!(binary.code, 2);
    assert!(binary.stderr.contains("UTF-8"), "{}", binary.stderr);
}

#[test]
fn captions_select_their_words_and_write_the_union() {
    let folder = tempfile::tempdir().unwrap();
    let ended = edge_seg(folder.path(), &["segment", text(&picture("cat.jpg")), "--caption", "the cat looks at a car"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let line = &ended.json_lines()[0];
    let words: Vec<_> = line["words"].as_array().unwrap().iter().map(|w| w["word"].as_str().unwrap()).collect();
    assert_eq!(words, ["cat", "looks", "car"]);
    let selected = line["words"].as_array().unwrap().iter().filter(|w| w["selected"] == true).count();
    assert_eq!(line["classes"].as_array().unwrap().len(), selected);
    let union = image::open(folder.path().join("edge-seg-out/cat.union.png")).unwrap();
    let mask = image::open(folder.path().join("edge-seg-out/cat.mask.png")).unwrap();
    let pairs = union.as_luma8().unwrap().pixels().zip(mask.as_luma8().unwrap().pixels());
    assert!(pairs.into_iter().all(|(u, m)| u.0[0] == if m.0[0] > 0 { 255 } else { 0 }));
}

#[test]
fn tags_are_scored_in_each_way() {
    let folder = tempfile::tempdir().unwrap();
    let cat = picture("cat.jpg");
    for score in ["pixel", "image", "text", "image-text"] {
        let ended = edge_seg(folder.path(), &["tags", text(&cat), "--caption", "a cat beside a car", "--score", score]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let line = &ended.json_lines()[0];
        assert_eq!(line["score"], score);
        let scores: Vec<_> = line["tags"].as_array().unwrap().iter().map(|t| t["score"].as_f64().unwrap()).collect();
        assert!(scores.windows(2).all(|w| w[0] >= w[1]) && scores.iter().all(|s| (0.0..=1.0).contains(s)), "{scores:?}");
        if score != "pixel" {
            assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-4, "a softmax adds up to one: {scores:?}");
        }
    }
    fs::write(folder.path().join("v.txt"), "cat\ncar\nboat\n").unwrap();
    let top = edge_seg(folder.path(), &["tags", text(&cat), "--vocabulary", "v.txt", "--top", "1"]);
    assert_eq!(top.json_lines()[0]["tags"].as_array().unwrap().len(), 1);
    assert_eq!(top.json_lines()[0]["tags"][0]["name"], "cat");
    let text = edge_seg(folder.path(), &["tags", text(&cat), "--vocabulary", "v.txt", "--score", "text"]);
    assert_eq!(text.code, 2);
    assert!(text.stderr.contains("--caption"), "{}", text.stderr);
}

#[test]
fn wrong_options_are_refused_with_what_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let cat = picture("cat.jpg");
    for (arguments, complaint) in [
        (vec!["--tags", "cat", "--background", "2"], "score from 0 to 1"),
        (vec!["--tags", "cat", "--size", "3"], "16 to 8192"),
        (vec!["--tags", "cat", "--threads", "0"], "1 to 1024"),
        (vec!["--tags", "cat", "--model", "nowhere.esb"], "nowhere.esb: No such file or directory (os error 2); try: without --model"),
        (vec!["--tags", "-wall"], "what is to be left out is a background word (--background-words), found \"-wall\""),
        (vec!["--tags", "cat", "--hide", "-cup"], "--hide: expected words without a minus, found \"-cup\"; try: --hide \"cup\""),
        (vec!["--tags", "--out", "masks"], "expected words, separated by commas, found an option"),
        (vec!["--tags", "cat", "--threads", "-1"], "invalid value '-1' for '--threads <N>'"),
        (vec!["--tags", "cat", "--hide", "cup", "--hide-margin", "-0.5"], "--hide-margin: expected 0 to 1, found -0.5"),
        (vec!["--tags", "cat, -wall"], "what is to be left out is a background word (--background-words), found \"-wall\""),
        (vec![], "--tags"),
    ] {
        let ended = edge_seg(folder.path(), &[vec!["segment", text(&cat)], arguments].concat());
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        assert!(ended.stderr.contains(complaint), "{}", ended.stderr);
        assert!(ended.stdout.is_empty());
    }
    for (arguments, remedy) in [
        (["search", "nowhere.index", "cat"], "try: a folder of pictures, or an index that edge-seg run --index nowhere.index has made"),
        (["run", "--config", "nowhere.toml"], "try: edge-seg config default > nowhere.toml"),
    ] {
        let ended = edge_seg(folder.path(), &arguments);
        assert!(ended.code == 2 && ended.stderr.contains(remedy), "{}", ended.stderr);
    }
    let run = ["run", "--source", "test:?frames=1", "--tags", "sky", "--index", "seen.index", "--index-interval", "-1"];
    let ended = edge_seg(folder.path(), &run);
    assert!(ended.code == 2 && ended.stderr.contains("--index-interval: expected seconds, 0 to 3600, found -1"), "{}", ended.stderr);
    let kernels = std::process::Command::new(edge_seg_tests::binary("edge-seg"))
        .args(["segment", text(&cat), "--tags", "cat"])
        .env("EDGE_SEG_KERNELS", "abacus")
        .output()
        .unwrap();
    assert_eq!(kernels.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&kernels.stderr).contains("abacus"));
}

/// What people get wrong, and what they are told to try.
#[test]
fn mistakes_are_told_with_what_to_try() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::copy(picture("cat.jpg"), path("cat.jpg")).unwrap();
    fs::write(path("page.md"), "# A page\n").unwrap();
    fs::write(path("a file"), "").unwrap();
    fs::write(path("words.txt"), "cat\ndog\n").unwrap();
    fs::create_dir(path("empty")).unwrap();
    let whole = fs::read(root().join("runtime/models/mini.esb")).unwrap();
    fs::write(path("cut.esb"), &whole[..whole.len() / 3]).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(path("damaged.esb"), damaged).unwrap();
    fs::write(path("whole.esb"), whole).unwrap();
    fs::create_dir(path("pictures")).unwrap();
    fs::copy(picture("cat.jpg"), path("pictures/cat.jpg")).unwrap();
    fs::create_dir(path("films")).unwrap();
    fs::write(path("films/a.mp4"), "").unwrap();
    let jpeg = fs::read(picture("cat.jpg")).unwrap();
    fs::write(path("cut.jpg"), &jpeg[..jpeg.len() / 2]).unwrap();
    fs::write(path("twice.txt"), "cat\ndog\ncat\n").unwrap();
    fs::write(path("unknown.txt"), "cat\n\n猫\n").unwrap();
    let key = "untrusted comment: the workshop's\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n";
    fs::write(path("key.pub"), key).unwrap();
    fs::write(path("model.onnx"), "").unwrap();
    fs::write(path("graph.onnx"), b"\x08\x08\x12\x07pytorch").unwrap();
    fs::write(path("rules.toml"), "[[rule]]\nnmae = \"a\"\n").unwrap();
    fs::write(path("secret.txt"), "cat\ndog\n").unwrap();
    fs::set_permissions(path("secret.txt"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    // As Notepad and PowerShell write text.
    let utf16 = |text: &str| [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    fs::write(path("key16.pub"), utf16(key)).unwrap();
    fs::write(path("fleet16.toml"), utf16("nonsense = 1\n")).unwrap();
    fs::write(path("base16.toml"), utf16("a = True\n")).unwrap();
    fs::write(path("fleet.of.base16.toml"), "[config]\nbase = \"base16.toml\"\n[[host]]\nname = \"h\"\nssh = \"h\"\n").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let run: &[&str] = &["run", "--source", "test:?size=64x48&frames=1", "--size", "64"];
    let run_sky: &[&str] = &[run, &["--tags", "sky"]].concat();
    let segment: &[&str] = &["segment", "cat.jpg", "--size", "64"];
    let segment_cat: &[&str] = &[segment, &["--tags", "cat"]].concat();
    let cases: &[(&str, &[&[&str]], &str)] = &[
        ("edge-seg", &[run_sky, &["--http", &taken]], "try: another port"),
        ("edge-seg", &[run_sky, &["--http", ":80"]], "as 127.0.0.1:8080"),
        ("edge-seg", &[run_sky, &["--index", "nowhere/x.index"]], "try: mkdir -p nowhere"),
        ("edge-seg", &[run_sky, &["--rules", "nowhere.toml"]], "> nowhere.toml   # docs/events.md"),
        ("edge-seg", &[run, &["--tags-file", "nowhere.txt"]], "> nowhere.txt   # one class a line"),
        ("edge-seg", &[run, &["--tags", "sky", "sea"]], "stand in quotes"),
        ("edge-seg", &[&["run", "--tags", "sky", "film.mp4"]], "--source film.mp4"),
        ("edge-seg", &[&["run", "--tags", "sky", "--source", "nowhere.mp4"]], "try: ls, to see which names are there"),
        ("edge-seg", &[&["run", "--tags", "sky", "--source", "libcamera:"]], "did you mean rpicam:?size=1280x720?"),
        ("edge-seg", &[segment_cat, &["--out", "a file"]], "try: another name"),
        ("edge-seg", &[segment_cat, &["--out", "/proc/none"]], "try: "),
        ("edge-seg", &[&["demo", "--out", "a file"]], "try: another name"),
        ("edge-seg", &[segment, &["--tags-file", "nowhere.txt"]], "> nowhere.txt   # one class a line"),
        ("edge-seg", &[&["tags", "cat.jpg", "--vocabulary", "nowhere.txt"]], "> nowhere.txt   # one class a line"),
        ("edge-seg", &[segment_cat, &["--model", "page.md"]], "found a text file; to make a bundle: edge-seg-export import"),
        ("edge-seg", &[&["segment", "cat.jpg", "--tags", "red", "car,", "dog"]], "try: --tags \"red car, dog\""),
        ("edge-seg", &[&["segment", "cat.jpg", "--tags", "cup", "table"]], "try: --tags \"cup, table\" (2 words) or \"cup table\" (one)"),
        ("edge-seg", &[segment, &["--tags", "cup; table"]], "found \"cup; table\"; try: \"cup, table\""),
        ("edge-seg", &[segment, &["--tags", "[\"cat\",\"dog\"]"]], "try: \"cat, dog\""),
        ("edge-seg", &[segment, &["--tags", "words.txt"]], "which is a file; try: --tags-file words.txt"),
        ("edge-seg", &[run, &["--tags", "words.txt"]], "which is a file; try: --tags-file words.txt"),
        ("edge-seg", &[segment_cat, &["--keep-stop-words"]], "--keep-stop-words needs --caption"),
        ("edge-seg", &[&["tags", "cat.jpg", "--caption", "a cat", "--top", "0"]], "--top: expected 1 or more"),
        ("edge-seg", &[&["tags", "cat.jpg", "--vocabulary", "cat, dog"]], "> 'cat, dog'   # one class a line"),
        ("edge-seg", &[&["tags", "cat.jpg", "--tags", "cat"]], "--vocabulary FILE, one class a line, or --caption"),
        ("edge-seg", &[&["run", "--source", "test:", "--tags", "sky", "--frames", "0"]], "--frames: expected 1 or more"),
        (
            "edge-seg",
            &[&["run", "--source", "test:", "--tags", "sky", "--frames", "ten"]],
            "'ten' for '--frames <N>': expected a whole number",
        ),
        (
            "edge-seg",
            &[&["segment", "cat.jpg", "--tags", "cat", "--size", "640x480"]],
            "'640x480' for '--size <N>': expected a whole number",
        ),
        ("edge-seg", &[run_sky, &["--webhook", "http://127.0.0.1:1/"]], "--webhook needs --rules"),
        ("edge-seg", &[run_sky, &["--http", "0.0.0.0:1"]], ": --http: expected a loopback address"),
        ("edge-seg", &[segment, &["--classes", "cat"]], "words are given as --tags \"dog, grass\""),
        ("edge-seg", &[run, &["-o", "x.mp4"]], "--overlay FILE and --masks DIR"),
        ("edge-seg", &[segment_cat, &["--sharpness", "3"]], "edge-seg segment --help lists all options"),
        ("edge-seg", &[&["segment", "cat.jpg", "\u{2013}tags", "cat"]], "did you mean --tags?"),
        ("edge-seg", &[&["segment", "cat.jpg", "\u{2014}tags", "cat"]], "did you mean --tags?"),
        ("edge-seg", &[segment, &["--tags", "\u{201c}cat,", "dog\u{201d}"]], "did you mean \"cat, dog\"?"),
        ("edge-seg", &[&["segment", "cat.jpg", "--hide", "person,", "dog", "--tags", "cat"]], "--hide \"person, dog\""),
        ("edge-seg", &[run_sky, &["a.toml"]], "a configuration is given as --config a.toml"),
        ("edge-seg", &[&["a.toml"]], "edge-seg run --config a.toml"),
        ("edge-seg", &[&["whole.esb"]], "edge-seg inspect whole.esb"),
        ("edge-seg", &[&["words.txt"]], "edge-seg segment PICTURE --tags-file words.txt"),
        ("edge-seg", &[&["--tags", "cat", "segment", "cat.jpg"]], "edge-seg segment --tags ..."),
        ("edge-seg-fw", &[&["sign", "whole.esb", "--import", "words.txt"]], "expected a signature as minisign writes it"),
        ("edge-seg-export", &[&["extract", "whole.esb", "-o", "pictures/"]], "try: -o pictures-extracted"),
        ("edge-seg-fw", &[&["verify", "whole.esb", "\u{2014}trusted-keys", "key.pub"]], "did you mean --trusted-keys?"),
        ("edge-seg", &[segment, &["--caption", ""]], "found an empty text; try: --caption \"a dog on the grass\""),
        ("edge-seg", &[segment, &["--caption", "of the"]], "found \"of the\"; try: --caption \"a dog on the grass\""),
        ("edge-seg", &[segment, &["--caption", "words.txt"]], "which is a file; try: --tags-file words.txt"),
        ("edge-seg", &[&["tags", "cat.jpg", "--caption", "words.txt"]], "which is a file; try: --vocabulary words.txt"),
        ("edge-seg", &[segment, &["--tags-file", "cat.jpg"]], "found a picture (JPEG); try: a text file with one class a line"),
        ("edge-seg", &[run, &["--tags-file", "cat.jpg"]], "found a picture (JPEG); try: a text file with one class a line"),
        ("edge-seg", &[run_sky, &["--rules", "cat.jpg"]], "found a picture (JPEG); try: a file of rules as docs/events.md has it"),
        ("edge-seg", &[&["run", "--config", "cat.jpg"]], "found a picture (JPEG); try: edge-seg config default"),
        ("edge-seg", &[segment, &["--tags-file", "unknown.txt", "--language", "off"]], "unknown.txt:3: \"猫\": expected a word that"),
        ("edge-seg", &[run, &["--tags-file", "unknown.txt", "--language", "off"]], "unknown.txt:3: \"猫\": expected a word that"),
        ("edge-seg", &[run, &["--tags-file", "twice.txt"]], "twice.txt:3: words: expected each class once, found \"cat\" twice"),
        ("edge-seg", &[&["run", "--tags", "sky", "--source", "tset:"]], "did you mean test:?"),
        ("edge-seg", &[&["run", "--tags", "sky", "--source", "rstp://h/x"]], "did you mean rtsp://h/x?"),
        ("edge-seg", &[&["run", "--tags", "sky", "--source", "0"]], "did you mean v4l2:///dev/video0?"),
        ("edge-seg", &[&["segment", "http://h/cat.jpg", "--tags", "cat"]], "try: curl -O, then its file"),
        ("edge-seg", &[&["segment", "rtsp://h/x", "--tags", "cat"]], "`edge-seg run --source` reads those"),
        ("edge-seg", &[&["segment", "films", "--tags", "cat"]], "films/a.mp4 is a film; `edge-seg run --source FILE` reads those"),
        ("edge-seg", &[&["segment", "nowhere.jpg", "--tags", "cat"]], "try: ls, to see which names are there"),
        ("edge-seg", &[&["segment", "cut.jpg", "--tags", "cat"]], "it is cut off after"),
        ("edge-seg", &[&["search", "pictures", "red", "cat"]], "try: edge-seg search pictures \"red cat\""),
        ("edge-seg", &[&["search", "cat", "pictures"]], "try: edge-seg search pictures \"cat\""),
        ("edge-seg", &[&["search", "pictures"]], "try: edge-seg search pictures \"dog\""),
        ("edge-seg", &[run_sky, &["--every", "2"]], "tip: edge-seg run --help lists all options"),
        ("edge-seg", &[run_sky, &["--quiet"]], "tip: edge-seg run --help lists all options"),
        ("edge-seg", &[run_sky, &["--frame", "2"]], "a similar argument exists: '--frames'"),
        ("edge-seg", &[run_sky, &["--half", "yes"]], "tip: --half, --half=true or --half=false"),
        ("edge-seg-fw", &[&["segment", "cat.jpg"]], "another program: edge-seg segment"),
        ("edge-seg-export", &[&["inspect", "whole.esb"]], "another program: edge-seg inspect"),
        ("edge-seg-fw", &[&["update"]], "edge-seg-fw --help lists all commands"),
        ("edge-seg-export", &[&["extract", "whole.esb", "two.esb", "-o", "x"]], "edge-seg-export extract --help lists all options"),
        ("edge-seg-export", &[&["label", "cat.jpg", "--tags", "cat"]], "--vocabulary FILE, one class a line"),
        (
            "edge-seg-export",
            &[&["label", "cat.jpg", "--vocabulary", "words.txt", "-o", "labels", "--size", "5"]],
            "--size: expected 16 to 8192",
        ),
        ("edge-seg-fw", &[&["fleet", "status"]], "> fleet.toml   # docs/updates.md has more"),
        ("edge-seg", &[&["version"]], "tip: edge-seg --version"),
        ("edge-seg", &[&["-version"]], "tip: edge-seg --version"),
        ("edge-seg-fw", &[&["version"]], "tip: edge-seg-fw --version"),
        ("edge-seg", &[&["doctor"]], "edge-seg-fw doctor"),
        ("edge-seg", &[&["config", "page.md"]], "edge-seg config check page.md"),
        ("edge-seg", &[&["--tags", "cat", "cat.jpg"]], "edge-seg demo --tags ..."),
        ("edge-seg-fw", &[&["pack", "whole.esb", "--boards", "pi4,", "pi5", "-o", "x.esb"]], "in quotes: pi4,pi5"),
        ("edge-seg", &[&["inspect", "damaged.esb"]], "; try: copy or fetch it again, or make it again"),
        ("edge-seg-export", &[&["extract", "damaged.esb", "-o", "parts"]], "; try: copy or fetch it again, or make it again"),
        ("edge-seg-export", &[&["extract", "whole.esb", "-o", "pictures"]], "found another's files; try: -o pictures-extracted"),
        ("edge-seg-export", &[&["train", "nowhere.toml"]], "try: one of export/recipes"),
        ("edge-seg-export", &[&["train", "words.txt"]], "words.txt: expected a recipe in TOML"),
        ("edge-seg-export", &[&["import", "https://huggingface.co/owner/model", "-o", "x"]], "did you mean hf:owner/model?"),
        ("edge-seg-export", &[&["import", "cat.jpg", "-o", "x"]], "found a picture (JPEG)"),
        ("edge-seg", &[segment_cat, &["--model", "whole.esb", "--trusted-keys", "key.pub"]], "found none; try: edge-seg-fw sign"),
        ("edge-seg", &[segment_cat, &["--model", "whole.esb", "--trusted-keys", "cat.jpg"]], "found a picture (JPEG); try: the .pub file"),
        (
            "edge-seg-fw",
            &[&["sign", "whole.esb", "--key", "cat.jpg", "--no-password"]],
            "found a picture (JPEG); try: the file that edge-seg-fw keygen",
        ),
        ("edge-seg-fw", &[&["fleet", "--file", "cat.jpg", "status"]], "found a picture (JPEG); try: a file as docs/updates.md has it"),
        ("edge-seg", &[segment_cat, &["--model", "whole.esb", "--trusted-keys", "key16.pub"]], "found none; try: edge-seg-fw sign"),
        ("edge-seg-fw", &[&["fleet", "--file", "fleet16.toml", "status"]], "unknown field `nonsense`"),
        ("edge-seg-fw", &[&["fleet", "--file", "fleet.of.base16.toml", "status"]], "try: true or false, in small letters"),
        ("edge-seg", &[&["cat.jpg"]], "edge-seg segment cat.jpg --tags"),
        ("edge-seg", &[&["film.mp4"]], "edge-seg run --source film.mp4 --tags"),
        ("edge-seg", &[&["inspect", "page.md"]], "found a text file; to make a bundle"),
        ("edge-seg", &[&["inspect", "cat.jpg"]], "found a picture (JPEG); to make a bundle"),
        ("edge-seg", &[&["inspect", "cut.esb"]], "it is cut off; copy or fetch it again"),
        ("edge-seg", &[&["inspect", "nowhere.esb"]], "try: without a file, for the model in the program"),
        ("edge-seg-export", &[&["bundle", ".", "-o", "x.esb"]], "try: edge-seg-export import hf:openai/clip-vit-base-patch16 -o ./model"),
        (
            "edge-seg-export",
            &[&["bundle", ".", "-o", "page.md"]],
            "expected a new file or another bundle, found a text file; try: another name, such as page-2.esb",
        ),
        ("edge-seg-export", &[&["bundle", "whole.esb", "-o", "x.esb"]], "found a file; try: edge-seg inspect whole.esb"),
        ("edge-seg-export", &[&["bundle", "words.txt", "-o", "x.esb"]], "found a file; try: the folder that edge-seg-export import wrote"),
        ("edge-seg-export", &[&["bundle", "nowhere.onnx", "-o", "x.esb"]], "found no file of that name; try: --image-onnx IMAGE.onnx"),
        (
            "edge-seg-export",
            &[&["import", "whole.esb", "-o", "x"]],
            "found a model bundle (.esb), which is ready to run; try: edge-seg inspect",
        ),
        ("edge-seg-export", &[&["import", "graph.onnx", "-o", "x"]], "try: edge-seg-export bundle --image-onnx"),
        ("edge-seg", &[segment_cat, &["--device", "gpu"]], "tip: did you mean 'cuda'?"),
        ("edge-seg", &[segment_cat, &["--device", "CPU"]], "tip: did you mean 'cpu'?"),
        ("edge-seg", &[segment, &["--TAGS", "cat"]], "tip: did you mean --tags?"),
        ("edge-seg", &[segment, &["--tags_file", "words.txt"]], "--tags-file"),
        ("edge-seg", &[segment_cat, &["--background", "50%"]], "tip: try 0.5"),
        ("edge-seg", &[segment_cat, &["--background", "0,4"]], "tip: try 0.4"),
        ("edge-seg", &[run_sky, &["--display-interval", "0,5"]], "expected a number; try: 0.5"),
        ("edge-seg", &[segment_cat, &["--tags", "dog"]], "tip: all in one list, separated by commas: --tags \"A, B\""),
        ("edge-seg", &[segment_cat, &["--size", "64"]], "tip: --size once"),
        ("edge-seg", &[segment], "tip: edge-seg segment --help says what each of them is"),
        ("edge-seg", &[segment, &["--tags"]], "one that begins with a dash behind ="),
        ("edge-seg", &[segment, &["--tags", ""]], "expected one word or more, as \"dog, grass\""),
        ("edge-seg", &[segment, &["--tags", "dog, dog"]], "found \"dog\" twice; try: without the second"),
        ("edge-seg", &[segment, &["--tags", "‘cat, dog’"]], "try: \"cat, dog\""),
        ("edge-seg", &[segment, &["--tags", "cat|dog"]], "try: \"cat"),
        ("edge-seg", &[segment_cat, &["--background-words", "-wall"]], "try: --background-words \"wall\""),
        ("edge-seg", &[run_sky, &["--hide", "-x"]], "try: --hide \"x\""),
        ("edge-seg", &[run_sky, &["--mqtt", "localhost"]], "found localhost; try: mqtt://localhost"),
        ("edge-seg", &[run_sky, &["--mqtt", "http://h:1883"]], "found http://h:1883; try: mqtt://h:1883"),
        ("edge-seg", &[run_sky, &["--display", "hdmi"]], "such as fb:/dev/fb0 for a screen on HDMI"),
        ("edge-seg", &[run_sky, &["--rules", "rules.toml"]], "rules.toml:2: "),
        ("edge-seg", &[run_sky, &["--rules", "rules.toml"]], "found unknown field `nmae`; did you mean `name`?"),
        ("edge-seg-fw", &[&["sign", "whole.esb", "--key", "secret.txt"]], "expected a private key of minisign, found another text"),
        ("edge-seg-export", &[&["bundle", "model.onnx", "-o", "x.esb"]], "found a file; try: --image-onnx IMAGE.onnx"),
        ("edge-seg-export", &[&["bundle", ".", "--sharpness", "3"]], "edge-seg-export bundle --help lists all options"),
        ("edge-seg-fw", &[&["pack", "x.esb", "--sharpness", "3"]], "edge-seg-fw pack --help lists all options"),
        ("edge-seg-fw", &[&["pack", "nowhere.esb", "--serial", "7", "-o", "x.esb"]], "try: ls, to see which names are there"),
        ("edge-seg-fw", &[&["deploy", "--bundle", "nowhere.esb", "camera1"]], "try: ls, to see which names are there"),
    ];
    for (program, arguments, remedy) in cases {
        let arguments = arguments.concat();
        let ended = Command::new(binary(program)).current_dir(folder.path()).args(&arguments).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{program} {arguments:?}: {said}");
        assert!(said.contains(remedy), "{program} {arguments:?}: expected {remedy:?}, found {said}");
        assert!(said.matches("try: ").count() <= 1, "{program} {arguments:?}: {said}");
        assert!(!said.contains("as a value, use '--"), "{program} {arguments:?}: {said}");
    }
}

/// Each program knows the commands of the others, to say where one is.
#[test]
fn the_commands_that_programs_know_of_each_other_are_those_that_there_are() {
    let source = fs::read_to_string(root().join("runtime/terminal/src/lib.rs")).unwrap();
    let (_, list) = source.split_once("const PROGRAMS: ").unwrap();
    let (list, _) = list.split_once("];").unwrap();
    let known: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    assert_eq!(known.len(), 6, "{known:?}");
    for pair in known.chunks(2) {
        let help = Command::new(binary(pair[0])).arg("--help").output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let (_, commands) = help.split_once("Commands:\n").unwrap();
        let commands = commands.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
        let mut there: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
        // All have these.
        there.retain(|name| !matches!(*name, "help" | "completions" | "manual"));
        let mut listed: Vec<&str> = pair[1].split(' ').collect();
        there.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, there, "PROGRAMS of {}", pair[0]);
    }
}

/// A slash is part of a word: that a list was meant is said, and the word is looked for.
#[test]
fn words_with_a_slash_are_told_to_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let ended = edge_seg(folder.path(), &["segment", text(&picture("cat.jpg")), "--tags", "dog/cat", "--size", "64"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let told = "\"dog/cat\" is one word; several are separated by commas: \"dog, cat\"";
    assert_eq!(ended.stderr.matches(told).count(), 1, "{}", ended.stderr);
}

/// Names of files and words with typographic signs are what they are, and a decade's apostrophe is no quote.
#[test]
fn typographic_signs_in_names_and_words_are_taken_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["\u{2014}tags", "\u{201c}one", "two\u{201d}"] {
        fs::copy(picture("cat.jpg"), folder.path().join(format!("{name}.jpg"))).unwrap();
        fs::copy(picture("cat.jpg"), folder.path().join(name)).unwrap();
    }
    for arguments in [
        &["segment", "\u{2014}tags.jpg", "--tags", "cat", "--size", "64"][..],
        &["segment", "--tags", "cat", "--size", "64", "--", "\u{2014}tags"],
        &["segment", "\u{201c}one", "two\u{201d}", "--tags", "cat", "--size", "64"],
        &["segment", "\u{2014}tags", "--tags", "\u{2018}90s car, dogs\u{2019}", "--size", "64"],
        &["run", "--source", "\u{2014}tags.jpg", "--tags", "cat", "--size", "64"],
    ] {
        let ended = edge_seg(folder.path(), arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.stderr);
    }
}

/// Whatever is wrong about an address, its password is nobody's business.
#[test]
fn no_message_holds_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let in_files = [
        "[input]\nsource = \"rtsp:/admin:hunter2@h/s\"\n[words]\ntags = \"sky\"\n",
        "[input]\nsource = \"admin:hunter2@192.168.1.20\"\n[words]\ntags = \"sky\"\n",
        "[input]\nsource = \"test:\"\npace = \"rtsp://admin:hunter2@h\"\n",
        "[input]\n\"rtsp://admin:hunter2@h\" = 1\n",
        "\"admin:hunter2@h\" = 1\n",
    ];
    for text in in_files {
        fs::write(folder.path().join("c.toml"), text).unwrap();
        for arguments in [&["config", "check", "c.toml"][..], &["run", "--config", "c.toml"]] {
            let ended = edge_seg(folder.path(), arguments);
            assert!(!format!("{}{}", ended.stdout, ended.stderr).contains("hunter2"), "{text}: {}", ended.stderr);
        }
    }
    for (program, arguments) in [
        ("edge-seg", &["run", "--tags", "sky", "rtsp://admin:hunter2@h/s"][..]),
        ("edge-seg", &["run", "--tags", "sky", "--source", "admin:hunter2@127.0.0.1"]),
        ("edge-seg", &["run", "--tags", "sky", "--source", "rtsp:/admin:hunter2@h/s"]),
        ("edge-seg", &["rtsp://admin:hunter2@h/s"]),
        ("edge-seg", &["admin:hunter2@h"]),
        ("edge-seg", &["--admin:hunter2@h"]),
        ("edge-seg", &["run", "--source", "test:?frames=1", "--tags", "sky", "--webhook", "u:hunter2@h"]),
        ("edge-seg", &["segment", "--tags", "sky", "http://admin:hunter2@h/s.jpg"]),
        ("edge-seg-export", &["import", "https://u:hunter2@127.0.0.1:1/m", "-o", "x"]),
        ("edge-seg-fw", &["deploy", "--bundle", "nowhere.esb", "pi:hunter2@h"]),
    ] {
        let ended = Command::new(binary(program)).current_dir(folder.path()).args(arguments).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert_eq!(ended.status.code(), Some(2), "{program} {arguments:?}: {said}");
        assert!(!said.is_empty() && !said.contains("hunter2"), "{program} {arguments:?}: {said}");
    }
}

/// What `run` refuses at its start, `config check` refuses as well, and names the file.
#[test]
fn a_configuration_is_checked_as_run_checks_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("a file"), "").unwrap();
    let things = "[[rule]]\nname = \"a\"\nwhen = { word = \"dog\", count_above = 1 }\n";
    fs::write(path("things.toml"), things).unwrap();
    let start = "[input]\nsource = \"test:?size=64x48&frames=1\"\n[words]\ntags = \"sky\"\n";
    let check = |more: &str| {
        fs::write(path("c.toml"), format!("{start}{more}\n")).unwrap();
        edge_seg(folder.path(), &["config", "check", "c.toml"])
    };
    for (wrong, complaint) in [
        (
            "[pipeline]\nframes = \"ten\"",
            "frames: expected a whole number, 0 or more, found a text in quotes; try: a number without quotes",
        ),
        ("[pipeline]\nframes = -1", "frames: expected a whole number, 0 or more, found -1; try: a number"),
        ("[model]\nsize = 448.0", "size: expected a whole number, 0 or more, found 448.0; try: a number without quotes or a point, as 448"),
        ("[model]\nhalf = \"yes\"", "half: expected true or false, found a text in quotes; try: true or false"),
        ("[model]\nhalf = True", "try: true or false, in small letters"),
        ("[output]\nmasks = 7", "masks: expected a text in quotes, found 7; try: \"7\""),
        ("[output]\nmasks = here", "try: text in quotes, as KEY = \"text\""),
        ("[model]\nsize = 5", "--size: expected 16 to 8192"),
        ("[model]\nthreads = 0", "--threads: expected 1 to"),
        ("[model]\nthreads = 5000", "--threads: expected 1 to"),
        ("[model]\nfile = \"missing.esb\"", "missing.esb"),
        ("[pipeline]\nframes = 0", "--frames: expected 1 or more"),
        ("[http]\naddress = \"0.0.0.0:1\"", "a loopback address"),
        ("[mqtt]\nurl = \"broker\"", "mqtt://HOST"),
        ("[rules]\nfile = \"missing.toml\"", "missing.toml"),
        ("[rules]\nfile = \"things.toml\"", ""),
        ("[webhook]\nurls = [\"http://127.0.0.1:1/\"]", "--webhook needs --rules"),
        ("[rules]\nfile = \"one.toml\"\n[webhook]\nurls = [\"x\"]", "--webhook: expected http://HOST"),
        ("[display]\nuri = \"hdmi\"", "--display"),
        ("[display]\nuri = \"hdmi:1\"", "expected fb:, st7789:"),
        ("[output]\nmasks = \"a file\"", "--masks a file: expected a folder, found a file"),
        ("[output]\noverlay = \"nowhere/x.y4m\"", "try: mkdir -p nowhere"),
        ("[index]\nfile = \"nowhere/x.index\"", "try: mkdir -p nowhere"),
    ] {
        fs::write(path("one.toml"), "[[rule]]\nname = \"a\"\nwhen = { word = \"sky\", share_above = 0.5 }\n").unwrap();
        let checked = check(wrong);
        assert_eq!(checked.code, 1, "{wrong}: {}", checked.stderr);
        assert!(checked.stderr.contains("c.toml: ") && checked.stderr.contains(complaint), "{wrong}: {}", checked.stderr);
        let run = edge_seg(folder.path(), &["run", "--config", "c.toml"]);
        assert_eq!(run.code, 2, "{wrong}: {}", run.stderr);
    }
    for (source, complaint) in [
        ("tset:", "did you mean test:?"),
        ("0", "did you mean v4l2:///dev/video0?"),
        ("/dev/video0", "expected v4l2:///dev/video0 for a camera"),
        ("rtps://h/x", "did you mean rtsp://h/x?"),
        ("rtsp://h:99999/x", "a port of 0 to 65535"),
        ("rtsp://", "one without a host"),
        ("test:?fps=x", "fps=: expected frames a second"),
    ] {
        fs::write(path("c.toml"), format!("[input]\nsource = {source:?}\n[words]\ntags = \"sky\"\n")).unwrap();
        let checked = edge_seg(folder.path(), &["config", "check", "c.toml"]);
        assert_eq!(checked.code, 1, "{source}: {}", checked.stderr);
        assert!(checked.stderr.contains("c.toml: ") && checked.stderr.contains(complaint), "{source}: {}", checked.stderr);
        let run = edge_seg(folder.path(), &["run", "--config", "c.toml"]);
        assert_eq!(run.code, 2, "{source}: {}", run.stderr);
    }
    // Whether there is such a camera, file or host is another question.
    for source in ["rtsp://u:p@camera:554/x", "v4l2:///dev/video9", "film.mp4", "test:", "http://[::1]:8080/x"] {
        fs::write(path("c.toml"), format!("[input]\nsource = {source:?}\n[words]\ntags = \"sky\"\n")).unwrap();
        let checked = edge_seg(folder.path(), &["config", "check", "c.toml"]);
        assert_eq!(checked.code, 0, "{source}: {}", checked.stderr);
    }
    let right = check("[model]\nsize = 64\n[output]\nmasks = \"masks\"\n[rules]\nfile = \"one.toml\"\nevents = \"events\"");
    assert_eq!(right.code, 0, "{}", right.stderr);
    assert!(!path("masks").exists() && !path("events").exists(), "a check writes nothing");
}

#[test]
fn exif_orientation_is_honoured() {
    let folder = tempfile::tempdir().unwrap();
    let plain = fs::read(picture("coffee.jpg")).unwrap();
    // APP1 with one EXIF entry, orientation 6: to be turned a quarter clockwise.
    let exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let mut turned = plain[..2].to_vec();
    turned.extend_from_slice(&[0xff, 0xe1]);
    turned.extend_from_slice(&(exif.len() as u16 + 2).to_be_bytes());
    turned.extend_from_slice(exif);
    turned.extend_from_slice(&plain[2..]);
    fs::write(folder.path().join("turned.jpg"), turned).unwrap();
    let ended = edge_seg(folder.path(), &["segment", "turned.jpg", "--tags", "cup"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let line = &ended.json_lines()[0];
    let (width, height) = image::open(picture("coffee.jpg")).unwrap().dimensions();
    assert_eq!((line["width"].as_u64(), line["height"].as_u64()), (Some(height.into()), Some(width.into())));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(edge_seg_tests::binary("edge-seg"))
        .current_dir(folder.path())
        .args(["segment", text(&picture("cat.jpg")), text(&picture("coffee.jpg")), "--tags", "cat"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn help_that_cannot_be_written_is_an_error() {
    for program in ["edge-seg", "edge-seg-export", "edge-seg-fw"] {
        for flag in ["--help", "--version"] {
            let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            let ended = Command::new(binary(program)).arg(flag).stdout(full).output().unwrap();
            let said = String::from_utf8_lossy(&ended.stderr);
            assert!(ended.status.code() == Some(2) && said.contains("No space left"), "{program} {flag}: {said}");
        }
    }
}

#[test]
fn a_vocabulary_is_encoded_once() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["cat", "dog", "car", "cup", "tree", "sky: cloud", "wall", "road"];
    fs::write(folder.path().join("words.txt"), words.join("\n")).unwrap();
    let cat = picture("cat.jpg");
    let tags = |cache: &str, precision: &str| {
        let arguments = ["tags", text(&cat), "--vocabulary", "words.txt", "--word-cache", cache, "--precision", precision];
        let ended = edge_seg(folder.path(), &arguments);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.json_lines().remove(0)["tags"].clone()
    };
    let fresh = tags("none", "f32");
    assert_eq!((fresh.as_array().unwrap().len(), &fresh[0]["name"]), (words.len(), &"cat".into()));
    assert!(!folder.path().join("none").exists());
    assert_eq!(tags("kept", "f32"), fresh);
    let kept: Vec<_> = fs::read_dir(folder.path().join("kept")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(kept.len(), 1, "one file, whole: {kept:?}");
    assert_eq!(tags("kept", "f32"), fresh, "from the cache");
    fs::write(&kept[0], &fs::read(&kept[0]).unwrap()[..1000]).unwrap();
    assert_eq!(tags("kept", "f32"), fresh, "a torn file counts for nothing");
    for precision in ["f16", "int8"] {
        for (found, exact) in tags("kept", precision).as_array().unwrap().iter().zip(fresh.as_array().unwrap()) {
            assert!((found["score"].as_f64().unwrap() - exact["score"].as_f64().unwrap()).abs() < 0.03, "{precision}: {found} for {exact}");
        }
    }
    fs::write(folder.path().join("file"), "").unwrap();
    let ended = edge_seg(folder.path(), &["tags", text(&cat), "--vocabulary", "words.txt", "--word-cache", "file"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("not kept") && ended.stderr.contains("file"), "{}", ended.stderr);
}

#[test]
fn bench_times_each_stage_and_asserts_the_kernels() {
    let folder = tempfile::tempdir().unwrap();
    let small =
        ["bench", text(&picture("cat.jpg")), "--tags", "cat, wall", "--frames", "3", "--warmup", "0", "--size", "96"].map(String::from);
    let run = |more: &[&str], kernels: Option<&str>| -> edge_seg_tests::Ended {
        let mut command = std::process::Command::new(edge_seg_tests::binary("edge-seg"));
        command.current_dir(folder.path()).args(&small).args(more).env_remove("EDGE_SEG_KERNELS");
        command.envs(kernels.map(|name| ("EDGE_SEG_KERNELS", name)));
        command.output().expect("edge-seg starts").into()
    };
    let ended = run(&["--json", "--threads", "1"], None);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let report = &ended.json_lines()[0];
    assert_eq!((report["frames"].as_u64(), report["words"].as_u64(), report["threads"].as_u64()), (Some(3), Some(2), Some(1)));
    let stage = |name: &str| report["stages"].as_array().unwrap().iter().find(|s| s["stage"] == name).unwrap().clone();
    for name in ["read", "prepare", "encode", "score", "mask", "overlay", "frame"] {
        let (median, p95) = (stage(name)["median_ms"].as_f64().unwrap(), stage(name)["p95_ms"].as_f64().unwrap());
        assert!(0.0 <= median && median <= p95, "{name}: {median} {p95}");
    }
    assert!(stage("frame")["median_ms"].as_f64() > stage("encode")["median_ms"].as_f64());
    let [floats, integers] = ["multiplications", "integer_multiplications"].map(|kind| report[kind].as_u64().unwrap());
    assert!(floats + integers > 100_000_000 && integers > floats, "a ViT-Tiny at 96 pixels or more, in integers: {report}");
    for board in report["boards"].as_array().unwrap() {
        assert!(board["known_by"].as_str().unwrap().contains("predicted"), "{board}: no board was measured");
    }
    let table = run(&["--assert"], Some("scalar"));
    assert_eq!(report["best_kernels"] != "scalar", table.code == 1, "{}", table.stderr);
    assert!(table.stdout.contains("frames a second") && table.stdout.contains("predicted"), "{}", table.stdout);
    let release = !cfg!(debug_assertions);
    assert_eq!(run(&["--assert"], None).code == 0, release);
}

#[test]
fn the_configuration_reference_is_what_the_program_prints() {
    let folder = tempfile::tempdir().unwrap();
    let printed = edge_seg(folder.path(), &["config", "default"]);
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    let reference = fs::read_to_string(root().join("docs/edge-seg.toml")).unwrap();
    assert!(printed.stdout == reference, "docs/edge-seg.toml is of other options: `edge-seg config default > docs/edge-seg.toml`");
    assert!(reference.lines().filter(|line| line.starts_with('[')).count() > 5 && reference.contains("\n#source = "), "{reference}");
}

#[test]
fn a_newcomer_is_shown_what_works() {
    let folder = tempfile::tempdir().unwrap();
    let alone = edge_seg(folder.path(), &[]);
    assert_eq!(alone.code, 2);
    assert!(alone.stderr.contains("Examples:") && alone.stderr.contains("edge-seg demo"), "{}", alone.stderr);
    let demo = edge_seg(folder.path(), &["demo"]);
    assert_eq!(demo.code, 0, "{}", demo.stderr);
    assert!(demo.stderr.contains("edge-seg-out/*.overlay.png"), "{}", demo.stderr);
    let lines = demo.json_lines();
    assert_eq!(lines.len(), 2);
    for line in &lines {
        let overlay = folder.path().join(line["overlay"].as_str().unwrap());
        assert_eq!(image::image_dimensions(&overlay).unwrap().0 as u64, line["width"].as_u64().unwrap(), "{}", overlay.display());
    }
    // Each of the words that it looks for is drawn.
    for (line, name) in [(0, "cat"), (1, "cup"), (1, "table"), (1, "spoon")] {
        let found = lines[line]["classes"].as_array().unwrap().iter().find(|class| class["name"] == name).unwrap();
        assert!(found["share"].as_f64().unwrap() > 0.01, "{found}");
    }
    let examples = alone.stderr.lines().filter_map(|line| line.trim().strip_prefix("edge-seg demo --tags \"")?.split_once('"'));
    let words = examples.map(|(words, _)| words).next().unwrap();
    let demo = edge_seg(folder.path(), &["demo", "--tags", words]).json_lines();
    for word in words.split(", ") {
        let of = |line: &serde_json::Value| line["classes"].as_array().unwrap().iter().any(|c| c["name"] == word && c["pixels"] != 0);
        assert!(demo.iter().any(of), "{word}: {demo:?}");
    }
    let video = edge_seg(folder.path(), &["run", "--source", "test:?frames=30", "--tags", "sea, wall"]);
    assert_eq!((video.code, video.json_lines().is_empty()), (0, false), "{}", video.stderr);
}
