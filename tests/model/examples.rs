//! The examples, each run as its head says, but for a camera, a display and a relay, which a file and a printed line replace.

use std::path::Path;
use std::process::{Command, Stdio};

use edge_seg_fw::keys::{Password, embed, generate, read_secret, sign, signed_part};
use edge_seg_tests::{Ended, example, picture, root};

fn run(folder: &Path, name: &str, arguments: &[&str]) -> Ended {
    let mut command = Command::new(example(name));
    command.current_dir(folder).args(arguments).stdin(Stdio::null());
    let ended: Ended = command.output().expect("the example starts").into();
    assert_eq!(ended.code, 0, "{name}: {}", ended.stderr);
    ended
}

/// What an example prints in a folder that has the pictures where the repository has them.
fn printed(name: &str, arguments: &[&str]) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root().join("examples"), folder.path().join("examples")).unwrap();
    let told = run(folder.path(), name, arguments).stdout;
    (folder, told)
}

/// The words of the command at an example's head, behind the `--`.
fn head(name: &str) -> Vec<String> {
    let source = std::fs::read_to_string(root().join("examples").join(name).with_extension("rs")).unwrap();
    let command = source.lines().find_map(|line| line.split_once(&format!("--example {name} -- "))).expect("a command at the head").1;
    let command = command.split(" > ").next().unwrap();
    let quoted = command.split('"').enumerate();
    quoted
        .flat_map(|(i, part)| if i % 2 == 1 { vec![part.to_owned()] } else { part.split_whitespace().map(str::to_owned).collect() })
        .collect()
}

fn as_its_head_says(name: &str) -> (tempfile::TempDir, String) {
    let words = head(name);
    printed(name, &words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// How many pictures `examples/pictures` has.
fn pictures() -> usize {
    files(&root().join("examples/pictures")).iter().filter(|name| name.ends_with(".jpg") || name.ends_with(".webp")).count()
}

#[test]
fn a_picture_and_an_album() {
    let (folder, told) = as_its_head_says("segment_picture");
    assert!(told.contains("cup: 0.9") && files(folder.path()).len() > 1, "{told}");
    let (_folder, told) = as_its_head_says("tag_album");
    let line = |picture: &str| told.lines().find(|line| line.contains(picture)).unwrap_or_default().to_owned();
    assert!(line("cat.jpg").contains("cat") && line("coffee.jpg").contains("coffee"), "{told}");
    let (_folder, told) = as_its_head_says("parallel_album");
    assert_eq!(told.lines().filter(|line| line.contains(" on ")).count(), pictures(), "{told}");
    assert!(told.contains("cat.jpg: cat on ") && told.contains("within 20 ms: "), "{told}");
}

#[test]
fn a_grabbers_lines_become_bitmaps() {
    let (folder, told) = as_its_head_says("own_grabber");
    assert_eq!(told.lines().filter(|line| line.contains(": cup ")).count(), 4, "{told}");
    let (mask, whole) = (image::open(folder.path().join("cup.png")).unwrap().into_luma8(), image::open(picture("coffee.jpg")).unwrap());
    assert_eq!(mask.dimensions(), (whole.width(), whole.height()));
    let covered = mask.pixels().filter(|pixel| pixel.0 == [255]).count() as f64 / f64::from(mask.width() * mask.height());
    assert!((0.1..0.4).contains(&covered), "{covered}");
}

#[test]
fn two_lists_on_one_encoding_and_a_patch_that_is_searched() {
    let (_folder, told) = as_its_head_says("two_lists");
    let line = |what: &str| told.lines().find(|line| line.starts_with(what)).unwrap_or_default().to_owned();
    assert!(line("animals: ").contains("animal ") && line("room: ").contains("blanket "), "{told}");
    assert!(line("sure: ").contains("bird ") && line("the ear of a cat: ").contains(" at Some([") && told.lines().count() == 5, "{told}");
}

#[test]
fn rules_without_the_program() {
    let (_folder, told) = as_its_head_says("own_rules");
    assert_eq!(told, "second 2: a cat lies there Started\n");
}

#[test]
fn a_sink_of_ones_own_writes_boxes_and_masks() {
    let (folder, told) = as_its_head_says("custom_sink");
    let boxes: Vec<Vec<&str>> = told.lines().map(|line| line.split(',').collect()).collect();
    assert!(!boxes.is_empty() && boxes.iter().all(|row| row.len() == 7), "{told}");
    assert!(boxes.iter().any(|row| row[1] == "cat"), "{told}");
    assert_eq!(files(&folder.path().join("masks")).len(), pictures());
}

#[test]
fn a_camera_a_relay_and_a_screen() {
    let (_folder, told) = printed("live_camera", &["test:?size=64x48&fps=30&frames=5", "circle, sky"]);
    assert!(told.lines().count() > 0 && told.lines().all(|line| line.contains("circle ") && line.contains("sky ")), "{told}");
    let (_folder, told) = printed("gpio_rule", &["examples/pictures", "cat", "0", "0", "print", "17"]);
    assert!(told.contains("line 17 on"), "{told}");
    let (folder, _) = printed("status_screen", &["examples/pictures/cat.jpg", "cat, wall", "screen.png"]);
    let screen = image::open(folder.path().join("screen.png")).unwrap().into_rgb8();
    assert!(screen.dimensions() == (240, 240) && screen.pixels().any(|pixel| pixel.0 != [0; 3]));
}

#[test]
fn a_signed_bundle_from_memory() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::copy(root().join("runtime/models/mini.esb"), at("mini.esb")).unwrap();
    generate(&at("k"), &Password::None, None).unwrap();
    let secret = read_secret(&at("k"), &Password::None).unwrap();
    embed(&at("mini.esb"), &sign(&secret, signed_part(&at("mini.esb")).unwrap().as_slice(), "mini.esb", 1_700_000_000).unwrap()).unwrap();
    let cat = image::open(picture("cat.jpg")).unwrap().into_rgb8();
    std::fs::write(at("cat.rgb"), cat.as_raw()).unwrap();
    let [width, height] = [cat.width(), cat.height()].map(|side| side.to_string());
    let told = run(folder.path(), "signed_bundle", &["mini.esb", "k.pub", "cat.rgb", &width, &height, "cat, wall"]).stdout;
    assert!(told.lines().count() == 2 && told.starts_with("cat "), "{told}");
}

#[test]
fn every_example_is_run_here() {
    let own = include_str!("examples.rs");
    let examples: Vec<String> =
        files(&root().join("examples")).into_iter().filter(|name| name.ends_with(".rs") && name != "lib.rs").collect();
    let missing: Vec<_> = examples.iter().filter(|name| !own.contains(&format!("\"{}\"", name.trim_end_matches(".rs")))).collect();
    assert!(examples.len() > 10 && missing.is_empty(), "{missing:?}");
}
