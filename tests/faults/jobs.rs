//! What is done under faults: short work of each kind, by the programs as users start them.

use std::path::Path;
use std::process::{Child, Command};

use edge_seg_tests::binary;

use crate::process::{EDGE_SEG, EXPORT, Ended, FW};
use crate::{boards, live};

/// One command, and how it is judged.
#[derive(Debug)]
pub struct Job {
    pub name: &'static str,
    pub program: &'static str,
    /// What lies in its folder before.
    pub given: &'static [&'static str],
    /// `{folder}` stands for its folder.
    pub arguments: &'static str,
    /// What beside these files may be missing after it ended well: it says so, and the next run makes it.
    pub optional: &'static [&'static str],
    /// The file that comes last, and is taken away before others change.
    pub mark: &'static str,
    /// What else is laid out, by a number of the schedule's; 0 is the plain case.
    pub prepare: fn(&Path, u64),
    /// What somebody does while it runs.
    pub meanwhile: fn(&Path, &mut Child),
    /// How what is left is judged, where it is not by comparison with a run without faults and by running it again.
    pub judge: Option<Judge>,
}

/// What is wrong with what a run has left, and with how it ended.
type Judge = fn(&Path, &Ended) -> Result<(), String>;

const PLAIN: Job = Job {
    name: "",
    program: EDGE_SEG,
    given: &[],
    arguments: "",
    optional: &[],
    mark: "",
    prepare: |_, _| {},
    meanwhile: |_, _| {},
    judge: None,
};

pub const JOBS: &[Job] = &[
    Job {
        name: "segment",
        given: &["tiny.esb", "images"],
        arguments: "segment images/a.png images/e.png --model tiny.esb --tags dog,grass --out out",
        ..PLAIN
    },
    Job {
        name: "run",
        given: &["tiny.esb", "film.rgb", "rules.toml"],
        arguments: "run --source raw:film.rgb?size=48x30&format=rgb24&fps=5 --pace every --model tiny.esb --tags dog,grass --masks masks \
            --overlay film.y4m --rules rules.toml --events events.jsonl --snapshots shots --start-time 20260501T080000Z",
        // Pictures of events are left out where they come faster than they are written.
        optional: &["shots/"],
        ..PLAIN
    },
    Job {
        name: "index",
        given: &["tiny.esb", "film.rgb"],
        arguments: "run --source raw:film.rgb?size=48x30&format=rgb24&fps=5 --pace every --model tiny.esb --tags dog --index seen.index \
            --index-interval 0 --start-time 20260501T080000Z",
        ..PLAIN
    },
    Job {
        name: "film",
        given: &["tiny.esb", "film.rgb"],
        arguments: "run --source raw:film.rgb?size=48x30&format=rgb24&fps=5 --pace every --model tiny.esb --tags dog --overlay film.mp4",
        ..PLAIN
    },
    Job {
        name: "search",
        given: &["tiny.esb", "images"],
        arguments: "search images dog --model tiny.esb --index seen.index --json --threshold 0 --thumbnails found",
        ..PLAIN
    },
    Job {
        name: "tags",
        given: &["tiny.esb", "images", "words.txt"],
        arguments: "tags images/a.png images/b.png --model tiny.esb --vocabulary words.txt --word-cache words --top 2",
        optional: &["words/"],
        ..PLAIN
    },
    Job {
        name: "label",
        program: EXPORT,
        given: &["tiny.esb", "images", "words.txt"],
        arguments: "label images -o out --model tiny.esb --vocabulary words.txt --tag-threshold 0 --background 0 --least-share 0 \
            --format coco,cvat,voc,yolo,label-studio,sheet",
        ..PLAIN
    },
    Job {
        name: "resume",
        program: EXPORT,
        given: &["tiny.esb", "images", "words.txt", "begun"],
        arguments: "label images -o out --model tiny.esb --vocabulary words.txt --tag-threshold 0 --background 0 --least-share 0",
        prepare: |folder, _| std::fs::rename(folder.join("begun"), folder.join("out")).unwrap(),
        ..PLAIN
    },
    Job {
        name: "eval",
        program: EXPORT,
        given: &["tiny.esb", "images", "labels", "classes.tsv"],
        arguments: "eval segmentation --model tiny.esb --images images --labels labels --classes classes.tsv --view id --record r.jsonl \
            --json",
        ..PLAIN
    },
    Job { name: "bundle", program: EXPORT, given: &["tiny-model"], arguments: "bundle tiny-model -o new.esb --weights f32", ..PLAIN },
    Job { name: "extract", program: EXPORT, given: &["tiny.esb"], arguments: "extract tiny.esb -o parts", ..PLAIN },
    Job {
        name: "import",
        program: EXPORT,
        given: &["clip"],
        arguments: "import clip -o model --name clip",
        mark: "model/config.json",
        ..PLAIN
    },
    Job { name: "pack", program: FW, given: &["tiny.esb"], arguments: "pack tiny.esb -o release.esb --serial 3", ..PLAIN },
    Job {
        name: "keygen",
        program: FW,
        given: &["tiny.esb"],
        arguments: "keygen release.key --no-password",
        judge: Some(boards::key_is_whole_or_none),
        ..PLAIN
    },
    Job {
        name: "install",
        program: FW,
        given: &["board", "r2.esb", "runtime"],
        arguments: "install --trial-frames 3 r2.esb --binary runtime --root {folder}/board",
        judge: Some(boards::old_or_new_runs),
        ..PLAIN
    },
    Job {
        name: "guard",
        program: FW,
        given: &["trial"],
        arguments: "guard --first 2 --stall 2 --root {folder}/trial",
        judge: Some(boards::trial_goes_on),
        ..PLAIN
    },
    Job {
        name: "camera",
        given: &["tiny.esb"],
        arguments: "run --source rpicam:?size=48x30&fps=50 --stall 0.3 --model tiny.esb --tags dog --frames 8 --masks masks",
        prepare: live::camera,
        meanwhile: live::end_after_a_while,
        judge: Some(live::frames_are_whole),
        ..PLAIN
    },
    Job {
        name: "reload",
        given: &["tiny.esb", "run.toml"],
        arguments: "run --source test:?size=48x30&fps=50 --model tiny.esb --config run.toml",
        meanwhile: live::change_the_configuration,
        judge: Some(live::frames_are_whole),
        ..PLAIN
    },
    Job {
        name: "page",
        given: &["tiny.esb"],
        arguments: "run --source test:?size=48x30&fps=50 --model tiny.esb --tags dog --state state --recordings recordings --http 127.0.0.1:0",
        meanwhile: live::use_the_page,
        judge: Some(live::sets_and_recordings_are_whole),
        ..PLAIN
    },
];

impl Job {
    pub fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(binary(self.program));
        let place = folder.to_str().expect("a plain name");
        command.current_dir(folder).args(self.arguments.split_whitespace().map(|argument| argument.replace("{folder}", place)));
        // One thread where threads can be chosen, so that calls come in one order.
        command.env("RAYON_NUM_THREADS", "1").env("XDG_CACHE_HOME", folder.join("cache")).env("HOME", folder);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{place}:{path}"));
        command
    }

    /// Whether a file was given.
    pub fn was_given(&self, name: &str) -> bool {
        self.given.iter().any(|given| name == *given || name.strip_prefix(given).is_some_and(|rest| rest.starts_with('/')))
    }

    pub fn is_optional(&self, name: &str) -> bool {
        self.optional.iter().any(|place| name.starts_with(place))
    }
}
