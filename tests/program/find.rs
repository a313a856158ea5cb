//! Words that are shown, and what was seen before, as a person asks for them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use edge_seg_tests::{binary, edge_seg, picture};

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

/// A part of the cat, well inside of it.
fn cat_box() -> String {
    let (width, height) = image::image_dimensions(picture("cat.jpg")).unwrap();
    format!("{}:{},{},{},{}", text(&picture("cat.jpg")), width / 4, height / 4, width / 2, height / 2)
}

#[test]
fn a_box_becomes_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let (cat, coffee) = (picture("cat.jpg"), picture("coffee.jpg"));
    let example = format!("{}=my friend", cat_box());
    let counter = format!("{}=-my friend", text(&coffee));
    let ended = edge_seg(folder.path(), &["segment", text(&cat), text(&coffee), "--example", &example, "--example", &counter]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let lines = ended.json_lines();
    let share = |line: usize| lines[line]["classes"][0]["share"].as_f64().unwrap();
    assert_eq!(lines[0]["classes"][0]["name"], "my friend");
    assert!(share(0) > 0.3 && share(1) < 0.1, "the cat is shown, the cup is not: {} and {}", share(0), share(1));
    assert!(!ended.stderr.contains("is taken"), "a box, and a whole picture of what is not meant: {}", ended.stderr);
    // One that hardly says what is meant.
    let (whole, dot) = (format!("{}=it", text(&cat)), format!("{}:50,50,1,1=it", text(&cat)));
    for (example, said) in
        [(&whole, "all of the picture is taken for \"it\""), (&dot, "of a box of 1×1 pixels what is around it is taken too")]
    {
        let ended = edge_seg(folder.path(), &["segment", text(&cat), "--example", example, "--size", "96"]);
        assert!(ended.code == 0 && ended.stderr.contains(said), "{example}: {}", ended.stderr);
    }
    // Beside words, of which one has the example's name.
    let example = format!("{}=cat", cat_box());
    let ended = edge_seg(folder.path(), &["segment", text(&cat), "--tags", "wall, cat", "--example", &example]);
    let names: Vec<_> = ended.json_lines()[0]["classes"].as_array().unwrap().iter().map(|class| class["name"].clone()).collect();
    assert_eq!(names, ["wall", "cat"]);
    for (example, said) in [
        ("cat.jpg".to_owned(), "PICTURE:x,y,w,h=NAME"),
        (format!("{}:9999,0,5,5=cat", text(&cat)), "with pixels of the"),
        ("missing.jpg:0,0,5,5=cat".into(), "missing.jpg"),
        (format!("{}=-cat", cat_box()), "a word, or an example of what it means"),
    ] {
        let ended = edge_seg(folder.path(), &["segment", text(&cat), "--example", &example]);
        assert!(ended.code == 2 && ended.stderr.contains(said) && ended.stdout.is_empty(), "{example}: {}", ended.stderr);
    }
}

#[test]
fn a_run_looks_for_what_is_shown_and_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let cat = picture("cat.jpg");
    fs::write(folder.path().join("run.toml"), format!("[words]\nexample = [\"{}=my friend\"]\n", cat_box())).unwrap();
    let run = |commands: &str, arguments: &[&str]| {
        let source = text(&cat).to_string();
        let mut child = Command::new(binary("edge-seg"))
            .current_dir(folder.path())
            .args(["run", "--source", &source, "--loop", "--commands", "--state", "state", "--frames", "40"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), commands.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (stdout, stderr) = run("save friends\n", &["--config", "run.toml"]);
    let first: serde_json::Value = serde_json::from_str(stdout.lines().next().unwrap()).unwrap();
    assert!(first["classes"][0]["name"] == "my friend" && first["classes"][0]["share"].as_f64().unwrap() > 0.2, "{first} {stderr}");
    let saved = folder.path().join("state/words/friends.json");
    let words: serde_json::Value = serde_json::from_slice(&fs::read(&saved).unwrap()).unwrap();
    let example = &words["words"][0]["examples"][0];
    assert_eq!((example["shows"].as_array().unwrap().len(), example["model"].as_str().unwrap().len()), (384, 64));
    // Loaded again it is what it was; another model's is refused by name.
    let (stdout, stderr) = run("load friends\n", &["--tags", "wall"]);
    let last: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    let share = |line: &serde_json::Value| line["classes"][0]["share"].as_f64().unwrap();
    assert!(last["classes"][0]["name"] == "my friend" && (share(&last) - share(&first)).abs() < 1e-3, "{last} {stderr}");
    let other = fs::read_to_string(&saved).unwrap().replace(example["model"].as_str().unwrap(), "another model's digest");
    fs::write(&saved, other).unwrap();
    let (stdout, stderr) = run("load friends\n", &["--tags", "wall"]);
    let last: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["classes"][0]["name"], "wall");
    assert!(stderr.contains("my friend") && stderr.contains("examples by the model mini (") && stderr.contains("another mode"), "{stderr}");
}

#[test]
fn a_folder_is_searched_and_its_index_kept() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("photos")).unwrap();
    for name in ["cat.jpg", "coffee.jpg", "rocket.jpg"] {
        fs::copy(picture(name), folder.path().join("photos").join(name)).unwrap();
    }
    fs::write(folder.path().join("photos/broken.jpg"), b"no picture").unwrap();
    let search = |arguments: &[&str]| edge_seg(folder.path(), &[&["search", "photos", "--index", "photos.index"], arguments].concat());
    let ended = search(&["cat", "--json", "--thumbnails", "thumbs"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("broken.jpg") && ended.stderr.contains("1 of 4 new files"), "{}", ended.stderr);
    let found = ended.json_lines();
    assert_eq!((found.len(), &found[0]["camera"]), (1, &"photos/cat.jpg".into()), "{found:?}");
    assert_eq!((&found[0]["version"], &found[0]["word"], &found[0]["frames"]), (&1.into(), &"cat".into(), &1.into()));
    let thumbnail = folder.path().join(found[0]["thumbnail"].as_str().unwrap());
    assert!(image::open(thumbnail).unwrap().width() <= 112);
    // A file that was written again a moment later is told of as it is now, and its older frames are no part of the answer.
    let again = fs::File::options().write(true).open(folder.path().join("photos/cat.jpg")).unwrap();
    again.set_modified(again.metadata().unwrap().modified().unwrap() + Duration::from_secs(2)).unwrap();
    let now = search(&["cat", "--json"]);
    assert_eq!(now.code, 0, "{}", now.stderr);
    assert!(now.json_lines()[0]["frames"] == 1 && now.json_lines()[0]["from"] != found[0]["from"], "{}", now.stdout);
    // Read again nothing is new but what failed; a picture that is gone or new is told of as it is.
    let again = search(&["cat"]);
    assert!(again.stderr.contains("1 of 1 new files") && again.stdout.contains("photos/cat.jpg"), "{} {}", again.stdout, again.stderr);
    fs::remove_file(folder.path().join("photos/broken.jpg")).unwrap();
    fs::rename(folder.path().join("photos/cat.jpg"), folder.path().join("photos/tiger.jpg")).unwrap();
    assert!(search(&["cat"]).stdout.contains("photos/tiger.jpg"));
    fs::remove_file(folder.path().join("photos/tiger.jpg")).unwrap();
    let none = search(&["cat"]);
    assert_eq!((none.code, none.stdout.as_str()), (1, ""), "{}", none.stderr);
    // By a picture in place of a word, and by a box of one.
    let like = text(&picture("rocket.jpg")).to_string();
    let ended = search(&["--like", &like, "--json", "--top", "1"]);
    assert_eq!(ended.json_lines()[0]["camera"], "photos/rocket.jpg", "{}", ended.stderr);
    fs::write(folder.path().join("clip.mp4"), [0; 200]).unwrap();
    fs::create_dir_all(folder.path().join("albums/summer")).unwrap();
    fs::copy(picture("cat.jpg"), folder.path().join("albums/summer/cat.jpg")).unwrap();
    for (arguments, said) in [
        (&["search", "nowhere", "cat"] as &[&str], "nowhere"),
        (&["search", "photos"], "WORDS"),
        (&["search", "red car"], "try: edge-seg search PICTURES \"red car\""),
        (&["search", "photos.index", "cat", "--index", "x"], "expected one folder to make an index of"),
        (&["search", "photos/coffee.jpg", "cat"], "expected an index of edge-seg, version 1, found a file that begins with"),
        (&["search", "photos.index", "photos/coffee.jpg"], "WORDS: expected what to look for"),
        (&["search", "albums", "cat"], "one folder is taken at a time, such as albums/summer"),
        (&["search", "clip.mp4", "cat"], "make an index of it: edge-seg run --source clip.mp4 --tags WORDS --index clip.index"),
        (&["search", "photos", "cat", "--since", "yesterday"], "--since: expected YYYY-MM-DD"),
        (&["search", "photos", "cat", "--threshold", "2"], "--threshold: expected 0 to 1"),
    ] {
        let ended = edge_seg(folder.path(), arguments);
        assert!(ended.code == 2 && ended.stderr.contains(said) && ended.stdout.is_empty(), "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn a_run_that_is_killed_leaves_what_it_saw() {
    let folder = tempfile::tempdir().unwrap();
    let cat = picture("cat.jpg");
    let start = |frames: &str| {
        let mut run = Command::new(binary("edge-seg"));
        run.current_dir(folder.path()).args(["run", "--source", text(&cat), "--loop", "--tags", "wall", "--frames", frames]);
        run.args(["--size", "224", "--index", "seen.index", "--index-interval", "0", "--index-camera", "hall"]);
        run.stdout(Stdio::null()).stderr(Stdio::piped());
        run.spawn().unwrap()
    };
    let length = || fs::metadata(folder.path().join("seen.index")).map_or(0, |about| about.len());
    for _ in 0..3 {
        let (before, limit) = (length(), Instant::now() + Duration::from_secs(60));
        let mut child = start("1000000");
        while length() < before + 20_000 {
            assert!(Instant::now() < limit, "nothing is written");
            std::thread::sleep(Duration::from_millis(7));
        }
        // While it writes, nobody else does, and whoever reads, reads.
        let second = start("1").wait_with_output().unwrap();
        assert_eq!(second.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&second.stderr).contains("expected an index that nobody writes"));
        let found = edge_seg(folder.path(), &["search", "seen.index", "cat", "--json"]);
        assert_eq!(found.code, 0, "{}", found.stderr);
        child.kill().unwrap();
        child.wait().unwrap();
        let frames = |ended: &edge_seg_tests::Ended| ended.json_lines().iter().map(|line| line["frames"].as_u64().unwrap()).sum::<u64>();
        let after = edge_seg(folder.path(), &["search", "seen.index", "cat", "--json"]);
        assert!(frames(&after) >= frames(&found), "{} {}", after.stdout, found.stdout);
        assert_eq!(after.json_lines()[0]["camera"], "hall");
    }
}

#[test]
fn a_damaged_index_says_where_and_answers_from_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let coffee = picture("coffee.jpg");
    let run = ["run", "--source", text(&coffee), "--loop", "--tags", "spoon", "--frames", "6", "--size", "224", "--pace", "every"];
    let index = ["--index", "seen.index", "--index-interval", "0", "--key-interval", "1"];
    assert_eq!(edge_seg(folder.path(), &[run.as_slice(), &index].concat()).code, 0);
    let path = folder.path().join("seen.index");
    let whole = fs::read(&path).unwrap();
    let search = |json: &[&str]| edge_seg(folder.path(), &[&["search", "seen.index", "coffee", "--threshold", "0.1"], json].concat());
    let sound = search(&["--json"]);
    assert!(sound.code == 0 && !sound.stderr.contains("damaged"), "{}", sound.stderr);
    let frames = |ended: &edge_seg_tests::Ended| ended.json_lines().iter().map(|line| line["frames"].as_u64().unwrap()).sum::<u64>();
    let mut bent = whole.clone();
    // In the first frame's embeddings, which the others are like.
    bent[9000..9040].fill(0x5a);
    fs::write(&path, &bent).unwrap();
    let ended = search(&["--json"]);
    assert!(frames(&ended) < frames(&sound), "{}", ended.stderr);
    assert_eq!(ended.code, if ended.stdout.is_empty() { 2 } else { 0 }, "what was not seen may have been in what is lost");
    assert!(ended.stderr.contains("seen.index: damaged at byte 4160: a frame is lost ("), "{}", ended.stderr);
    // In the beginning of the second frame's record, behind which nobody would know where the next one is.
    let second = 4160 + u32::from_le_bytes(*whole[4160..].first_chunk().unwrap()) as usize;
    bent = whole.clone();
    bent[second..second + 40].fill(0x5a);
    fs::write(&path, &bent).unwrap();
    let ended = search(&["--json"]);
    assert_eq!((ended.code, frames(&ended)), (0, frames(&sound) - 1), "{}", ended.stderr);
    let told = ended.json_lines().remove(0)["damage"].clone();
    assert_eq!((&told["places"], &told["frames"]), (&1.into(), &1.into()), "{told}");
    assert!(sound.json_lines().iter().all(|line| line.get("damage").is_none()), "{}", sound.stdout);
    bent = whole;
    bent[4100] ^= 1;
    fs::write(&path, &bent).unwrap();
    let ended = search(&[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("damaged at byte 4096: ") && ended.stderr.contains("found none that can be read"), "{}", ended.stderr);
}

#[test]
fn a_recorded_clip_keeps_its_own_times_in_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let cat = picture("cat.jpg");
    let run =
        ["run", "--source", text(&cat), "--tags", "wall", "--size", "224", "--index", "seen.index", "--start-time", "20260501T080000Z"];
    assert_eq!(edge_seg(folder.path(), &run).code, 0);
    let found = edge_seg(folder.path(), &["search", "seen.index", "cat", "--json"]);
    assert_eq!(found.json_lines()[0]["from"], "2026-05-01T08:00:00.000Z", "{}", found.stderr);
    let unknown = edge_seg(folder.path(), &["search", "seen.index", "torque wrench"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("saved sets") && unknown.stderr.contains("--like PICTURE"), "{}", unknown.stderr);
    let alone = edge_seg(folder.path(), &["run", "--source", text(&cat), "--tags", "wall", "--start-time", "20260501T080000Z"]);
    assert!(alone.code == 2 && alone.stderr.contains("--start-time needs --rules or --index"), "{}", alone.stderr);
}

#[test]
fn several_places_are_asked_at_once_and_names_tell_times() {
    let folder = tempfile::tempdir().unwrap();
    let put = |from: &str, to: &str| {
        let to = folder.path().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(picture(from), to).unwrap();
    };
    put("cat.jpg", "hall/20260501T080000Z.jpg");
    put("coffee.jpg", "hall/20260501T090000Z.jpg");
    put("cat.jpg", "yard/cat.jpg");
    let search = |arguments: &[&str]| {
        let cache = ("XDG_CACHE_HOME", folder.path().join("cache"));
        let command =
            Command::new(binary("edge-seg")).current_dir(folder.path()).env(cache.0, cache.1).arg("search").args(arguments).output();
        let ended = command.unwrap();
        let found = String::from_utf8(ended.stdout).unwrap();
        (ended.status.code().unwrap(), found, String::from_utf8(ended.stderr).unwrap())
    };
    let (code, found, said) = search(&["hall", "yard", "hall", "cat", "--json", "--size", "224"]);
    assert_eq!(code, 0, "{said}");
    let lines: Vec<serde_json::Value> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut from: Vec<_> = lines.iter().map(|line| [line["index"].as_str().unwrap(), line["camera"].as_str().unwrap()]).collect();
    from.sort_unstable();
    assert_eq!(from, [["hall", "hall/20260501T080000Z.jpg"], ["yard", "yard/cat.jpg"]], "{found}");
    let hall = lines.iter().find(|line| line["index"] == "hall").unwrap();
    assert_eq!(hall["from"], "2026-05-01T08:00:00.000Z");
    let scores: Vec<f64> = lines.iter().map(|line| line["score"].as_f64().unwrap()).collect();
    assert!(scores[0] >= scores[1], "{scores:?}");
    // By the time that the name tells, not by the file's own; one answer of all.
    let (_, found, _) = search(&["hall", "yard", "cat", "--until", "2026-05-01T08:30:00Z", "--size", "224"]);
    assert!(found.lines().count() == 1 && found.contains("2026-05-01 08:00:00") && found.trim_end().ends_with("  hall"), "{found}");
    assert_eq!(search(&["hall", "yard", "cat", "--top", "1", "--size", "224"]).1.lines().count(), 1);
    let like = text(&picture("cat.jpg")).to_string();
    let (code, found, said) = search(&["hall", "yard", "--like", &like, "--top", "2", "--size", "224"]);
    assert!(code == 0 && found.contains("yard/cat.jpg"), "{found} {said}");
}
