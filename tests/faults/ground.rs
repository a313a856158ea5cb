//! Where jobs run: what they are given, and one process of a job, under faults or without.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use edge_seg_tests::{binary, root};
use image::{GrayImage, Luma, Rgb, RgbImage};

use crate::jobs::Job;
use crate::process::FW;
use crate::schedule::{Calls, RAW, RAW_CALLS, Rule};

/// What all jobs are given, made once.
#[derive(Debug)]
pub struct Ground {
    folder: tempfile::TempDir,
}

impl Ground {
    pub fn new() -> Self {
        let ground = Self { folder: tempfile::tempdir().unwrap() };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("faults/faults.c");
        let compiled = Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(ground.library()).arg(source).arg("-ldl").output();
        let compiled = compiled.expect("cc starts");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let given = ground.given();
        fs::create_dir_all(given.join("images")).unwrap();
        copy_all(&root().join("tests/data/tiny-model"), &given.join("tiny-model"));
        copy_all(&root().join("tests/data/clip-sources/hf"), &given.join("clip"));
        let made = Command::new(binary("edge-seg-export")).current_dir(&given).args(["bundle", "tiny-model", "-o", "tiny.esb"]).output();
        assert!(made.unwrap().status.success());
        let picture =
            |shade: u8, width| RgbImage::from_fn(width, 30, |x, y| Rgb([4 * x as u8, 8 * y as u8, shade.wrapping_mul((x / 9) as u8)]));
        for (name, width) in [("a", 40), ("b", 40), ("e", 60)] {
            picture(name.as_bytes()[0], width).save(given.join(format!("images/{name}.png"))).unwrap();
        }
        let film: Vec<u8> = (0..6u8).flat_map(|i| picture(40 * i, 48).into_raw()).collect();
        fs::write(given.join("film.rgb"), film).unwrap();
        fs::write(given.join("words.txt"), "dog\ngrass\nsnow: sea, snow\n").unwrap();
        let rule = "[[rule]]\nname = \"on\"\nwhen = { word = \"dog\", score_above = 0 }\ngap_s = 0.05\n";
        fs::write(given.join("rules.toml"), rule).unwrap();
        fs::write(given.join("run.toml"), "[words]\ntags = \"dog\"\n").unwrap();
        crate::boards::make(&given);
        ground.begin_labels(&given);
        ground
    }

    /// What a run that was killed has left of labels, `begun`: a record whose last line is torn. And label pictures, to measure against.
    fn begin_labels(&self, given: &Path) {
        fs::create_dir(given.join("labels")).unwrap();
        for name in ["a", "b", "e"] {
            let size = image::image_dimensions(given.join(format!("images/{name}.png"))).unwrap();
            let label = GrayImage::from_fn(size.0, size.1, |x, _| Luma([1 + u8::from(x > 20)]));
            label.save(given.join(format!("labels/{name}.png"))).unwrap();
        }
        fs::write(given.join("classes.tsv"), "id\tname\n1\tdog\n2\tgrass\n").unwrap();
        let label = crate::jobs::JOBS.iter().find(|job| job.name == "resume").expect("it is in the table");
        fs::create_dir(given.join("begun")).unwrap();
        let folder = self.lay_for(label, 0);
        let done = label.command(folder.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let whole = fs::read_to_string(folder.path().join("out/labels.jsonl")).unwrap();
        let lines: Vec<&str> = whole.lines().collect();
        let torn = &lines[2][..lines[2].len() / 2];
        fs::write(given.join("begun/labels.jsonl"), format!("{}\n{}\n{torn}", lines[0], lines[1])).unwrap();
    }

    pub fn given(&self) -> PathBuf {
        self.folder.path().join("given")
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("faults.so")
    }

    /// A new folder with some of what is given.
    fn lay(&self, names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let (from, to) = (self.given().join(name), folder.path().join(name));
            if from.is_dir() { copy_all(&from, &to) } else { copy(&from, &to) }
        }
        folder
    }

    /// A new folder with what a job is given.
    pub fn lay_for(&self, job: &Job, turn: u64) -> tempfile::TempDir {
        let folder = self.lay(job.given);
        (job.prepare)(folder.path(), turn);
        folder
    }

    /// A job's command that meets faults.
    pub fn struck(&self, job: &Job, folder: &Path, rules: &[Rule], log: &Path) -> Command {
        let (raw, ours): (Vec<&Rule>, Vec<&Rule>) = rules.iter().partition(|rule| rule.kind == RAW);
        let mut command = job.command(folder);
        if job.program == FW {
            command = under_strace(&command, &raw, &traced(log));
        }
        let rules = ours.iter().map(|rule| rule.to_string()).collect::<Vec<_>>().join(";");
        command.env("LD_PRELOAD", self.library()).env("FAULTS_PROGRAM", job.program).env("FAULTS_RULES", rules);
        command.env("FAULTS_ROOT", folder).env("FAULTS_LOG", log);
        command
    }
}

fn traced(log: &Path) -> PathBuf {
    log.with_extension("strace")
}

/// The same command, with calls struck that it asks of the kernel by itself. Children are let be.
fn under_strace(of: &Command, rules: &[&Rule], log: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-qq", "-o"]).arg(log).arg(format!("--trace={}", RAW_CALLS.join(",")));
    for Rule { call, action, first, count, .. } in rules {
        let how = if action == "kill" { "signal=KILL".into() } else { format!("error={action}") };
        let last = if *count == 0 { "+".into() } else { format!("..{}", first + count - 1) };
        command.arg(format!("--inject={call}:{how}:when={first}{last}"));
    }
    command.arg(of.get_program()).args(of.get_args());
    command.current_dir(of.get_current_dir().expect("a folder"));
    for (name, value) in of.get_envs() {
        command.env(name, value.expect("set"));
    }
    command
}

/// With a time of change that is the same in each folder: answers of `search` have it.
fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_777_000_000);
    fs::File::options().write(true).open(to).and_then(|file| file.set_modified(then)).unwrap();
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy_all(&source, &target),
            kind if kind.is_symlink() => std::os::unix::fs::symlink(fs::read_link(source).unwrap(), target).unwrap(),
            _ => copy(&source, &target),
        }
    }
}

/// A call that was struck.
#[derive(Debug, Clone)]
pub struct Struck {
    pub call: String,
    pub kind: String,
    pub action: String,
    pub place: String,
}

/// What `faults.c` tells: the calls that were struck, and how many there were.
pub fn read_log(log: &Path) -> (Vec<Struck>, Calls) {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let (mut struck, mut calls) = (Vec::new(), Calls::new());
    for line in text.lines() {
        let mut words = line.splitn(6, ' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (what, call, kind) = (word(), word(), word());
        if what == "calls" {
            *calls.entry((call, kind)).or_default() += word().parse().unwrap_or(0);
        } else {
            let (action, _, place) = (word(), word(), word());
            struck.push(Struck { call, kind, action, place });
        }
    }
    let traced = fs::read(traced(log)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    for line in traced.lines() {
        let Some((call, rest)) = line.split_once('(').filter(|(call, _)| RAW_CALLS.contains(call)) else { continue };
        *calls.entry((call.into(), RAW.into())).or_default() += 1;
        if rest.contains("(INJECTED)") || rest.ends_with("= ?") {
            // The last name is the one that is made.
            let place = rest.rsplit('"').nth(1).unwrap_or_default().to_owned();
            let action = if rest.contains("(INJECTED)") { "error" } else { "kill" };
            struck.push(Struck { call: call.into(), kind: RAW.into(), action: action.into(), place });
        }
    }
    for log in [log, &self::traced(log)] {
        let _ = fs::remove_file(log);
    }
    (struck, calls)
}
