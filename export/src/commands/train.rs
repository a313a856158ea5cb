use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use edge_seg_bundle::toml_text::toml_fault;

/// Names the virtual environment of the trainer, before the default place.
const VENV_VARIABLE: &str = "EDGE_SEG_TRAINER_VENV";
/// Modules that training cannot do without, as Python imports them.
const MODULES: [&str; 7] = ["torch", "numpy", "PIL", "safetensors", "tokenizers", "matplotlib", "peft"];

/// Where the trainer and its Python are.
#[derive(Args)]
struct Place {
    /// Virtual environment of the trainer. Default: $EDGE_SEG_TRAINER_VENV, or edge-seg/trainer in the user's cache folder.
    #[arg(long, value_name = "DIR")]
    venv: Option<PathBuf>,
    /// The trainer's source, the folder `export/trainer` of this project's tree. Default: that of the tree that built this program.
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
}

impl Place {
    fn venv(&self) -> anyhow::Result<PathBuf> {
        let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let cache = || variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        let place = self.venv.clone().or_else(|| variable(VENV_VARIABLE)).or_else(|| Some(cache()?.join("edge-seg/trainer")));
        place.with_context(|| format!("no cache folder: none of --venv, {VENV_VARIABLE}, XDG_CACHE_HOME and HOME is set"))
    }

    fn source(&self) -> anyhow::Result<PathBuf> {
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("trainer");
        let source = self.source.clone().unwrap_or(built);
        let source = std::fs::canonicalize(&source).unwrap_or(source);
        ensure!(
            source.join("edge_seg_trainer").is_dir(),
            "{}: expected the trainer's source with the package edge_seg_trainer, found none; name it with --source",
            source.display()
        );
        Ok(source)
    }
}

impl Place {
    /// The environment's Python with the trainer in its path.
    fn python(&self) -> anyhow::Result<Command> {
        let (venv, source) = (self.venv()?, self.source()?);
        let python = python_of(&venv);
        ensure!(
            python.exists(),
            "{}: expected the trainer's Python, found none; run `edge-seg-export trainer-setup` once",
            python.display()
        );
        let missing = missing_modules(&python)?;
        ensure!(missing.is_empty(), "{}: lacks {}; run `edge-seg-export trainer-setup`", venv.display(), missing.join(", "));
        let path = match std::env::var_os("PYTHONPATH").filter(|p| !p.is_empty()) {
            Some(before) => std::env::join_paths(std::iter::once(source.clone()).chain(std::env::split_paths(&before)))?,
            None => source.into_os_string(),
        };
        let mut command = Command::new(python);
        command.env("PYTHONPATH", path);
        Ok(command)
    }

    /// The trainer for a recipe that is there, in so many processes.
    fn trainer(&self, recipe: &Path, processes: u16) -> anyhow::Result<Command> {
        let place = recipe.display();
        ensure!(
            recipe.is_file(),
            "{place}: expected a recipe, found no file of that name; try: one of export/recipes, or docs/training.md"
        );
        let text = edge_seg_model::read_text(recipe)?;
        let table = text.parse::<toml::Table>().map_err(|e| toml_fault(&text, e.span().map_or(0, |span| span.start), e.message()));
        table.map_err(|said| anyhow!("{place}: expected a recipe in TOML, as docs/training.md has it: {said}"))?;
        let mut command = self.python()?;
        if processes > 1 {
            command.args(["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", &processes.to_string()]);
        }
        command.args(["-m", "edge_seg_trainer"]);
        Ok(command)
    }
}

fn python_of(venv: &Path) -> PathBuf {
    venv.join("bin").join("python")
}

/// Make the trainer's virtual environment and install what its lock file names, and the trainer itself from its source.
///
/// Needs Python 3.11 or newer with the module venv, and the network or a pip cache. May be run again: pip then brings it up to the lock file.
#[derive(Args)]
pub struct TrainerSetup {
    #[command(flatten)]
    place: Place,
    /// The Python that makes the environment.
    #[arg(long, default_value = "python3", value_name = "PROGRAM")]
    python: PathBuf,
}

impl TrainerSetup {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (venv, source) = (self.place.venv()?, self.place.source()?);
        let lock = source.join("requirements.lock");
        ensure!(lock.is_file(), "{}: expected the list of packages, found no file", lock.display());
        let python = python_of(&venv);
        if !python.exists() {
            let version = Command::new(&self.python).args(["-c", "import sys; sys.exit(sys.version_info < (3, 11))"]).status();
            let version = version.with_context(|| {
                format!("{}: no Python that starts; install Python 3.11 or newer, or name one with --python", self.python.display())
            })?;
            ensure!(version.success(), "{}: expected Python 3.11 or newer", self.python.display());
            eprintln!("making {}", venv.display());
            call(
                Command::new(&self.python).args(["-m", "venv"]).arg(&venv),
                "the module venv; on Debian it is in the package python3-venv",
            )?;
        }
        eprintln!("installing what {} names", lock.display());
        call(
            Command::new(&python).args(["-m", "pip", "install", "--disable-pip-version-check", "-r"]).arg(&lock),
            "pip and the packages' index",
        )?;
        let missing = missing_modules(&python)?;
        ensure!(missing.is_empty(), "{}: still lacks {}", venv.display(), missing.join(", "));
        let place = install(&python, &source)?;
        eprintln!("the package edge_seg_trainer is that of {}, by {}", source.display(), place.display());
        eprintln!("ready: edge-seg-export train RECIPE.toml");
        Ok(ExitCode::SUCCESS)
    }
}

/// What changes a recipe or what was done by it before.
#[derive(Args)]
struct Changes {
    /// In place of what the recipe says: KEY=VALUE, head.KEY=VALUE, card.KEY=VALUE, stage.NAME.KEY=VALUE; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Forget what was done before, and write over its folders.
    #[arg(long)]
    fresh: bool,
}

impl Changes {
    fn add_to(&self, trainer: &mut Command) {
        for setting in &self.set {
            // One argument: a value may begin with a dash.
            trainer.arg(format!("--set={setting}"));
        }
        if self.fresh {
            trainer.arg("--fresh");
        }
    }
}

/// Train a model by a recipe. The trainer's output and exit code are passed on.
///
/// Training runs in Python with PyTorch, in the environment that `trainer-setup` makes; nothing else of this project needs Python. On several
/// machines start the trainer by that environment's torchrun: `torchrun --nnodes ... -m edge_seg_trainer RECIPE.toml`. Ctrl-C and SIGTERM end a
/// run after the step that is under way. One that was stopped goes on from its last checkpoint; one of another recipe, other data, another
/// start or other code is refused, and what differs is said.
#[derive(Args)]
pub struct Train {
    /// The recipe. Paths in it are taken from its own folder, those of training data from the data's folder.
    recipe: PathBuf,
    /// Go on from this checkpoint in place of the last.
    #[arg(long, value_name = "CHECKPOINT", conflicts_with = "fresh")]
    resume: Option<PathBuf>,
    /// Walk through every stage with a few steps on a few photos, and say what the whole needs: time, memory, disk.
    #[arg(long, conflicts_with = "resume")]
    smoke: bool,
    #[command(flatten)]
    changes: Changes,
    /// Processes on this machine, one for each GPU; they share every batch.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    processes: u16,
    #[command(flatten)]
    place: Place,
}

impl Train {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut trainer = self.place.trainer(&self.recipe, self.processes)?;
        trainer.arg(&self.recipe);
        self.changes.add_to(&mut trainer);
        if self.smoke {
            trainer.arg("--smoke");
        }
        if let Some(checkpoint) = &self.resume {
            trainer.arg("--resume").arg(checkpoint);
        }
        ended(trainer)
    }
}

/// Measure what each part of TTD gives: a table of losses and choices, each trained from the same start.
///
/// The recipe names the start (`start`) and has one stage of kind ttd. Rows that are done are kept, so that a run that was stopped goes on.
/// The table goes to stdout, and with all figures to the recipe's work folder.
#[derive(Args)]
pub struct Ablate {
    /// The recipe.
    recipe: PathBuf,
    /// One row by its name; may be given several times.
    #[arg(long, value_name = "ROW")]
    only: Vec<String>,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    place: Place,
}

impl Ablate {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut trainer = self.place.trainer(&self.recipe, 1)?;
        trainer.arg("ablate").arg(&self.recipe);
        self.changes.add_to(&mut trainer);
        for row in &self.only {
            trainer.arg("--only").arg(row);
        }
        ended(trainer)
    }
}

/// Show whether a model has a single tag bias: what share of the picture a caption's first word takes, and how well words are chosen.
///
/// Give the model folder before training, or those before and after it. Where labelled photos with captions are in the data, precision,
/// recall and F1 of the choice by image, text, pixel and plain words are measured on them.
#[derive(Args)]
pub struct Bias {
    /// Model folders.
    #[arg(required = true, num_args = 1..=8)]
    models: Vec<PathBuf>,
    /// A captioned set, as a recipe names it; may be given several times.
    #[arg(long, required = true, value_name = "SET")]
    pairs: Vec<String>,
    /// Rows of captions.tsv that are taken.
    #[arg(long, default_value = "val", value_name = "SPLIT")]
    split: String,
    /// Photos at most.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Short side of the pictures in pixels; the model's if none.
    #[arg(long, value_name = "PX")]
    size: Option<usize>,
    /// Factor on the cosines in the softmax; the model's if none.
    #[arg(long, value_name = "SCALE")]
    scale: Option<f32>,
    /// Folder for bias.md, bias.json and the plot bias.png.
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

impl Bias {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (mut trainer, first) = (self.place.python()?, &self.models[0]);
        ensure!(first.is_dir(), "{}: expected a model folder, found none", first.display());
        trainer.args(["-m", "edge_seg_trainer", "bias"]).args(&self.models).args(["--split", &self.split]);
        for set in &self.pairs {
            trainer.arg("--pairs").arg(set);
        }
        for (name, value) in [
            ("--limit", self.limit.map(|n| n.to_string())),
            ("--size", self.size.map(|n| n.to_string())),
            ("--scale", self.scale.map(|x| x.to_string())),
        ] {
            if let Some(value) = value {
                trainer.args([name, &value]);
            }
        }
        if let Some(out) = &self.out {
            trainer.arg("--out").arg(out);
        }
        ended(trainer)
    }
}

/// Time a TTD training step beside open_clip's own on the same shapes, batch and machine, turn about in one run.
///
/// Needs the Python package open_clip_torch in the trainer's environment.
#[derive(Args)]
pub struct TrainBench {
    /// ViT-B-16, ViT-L-14 or tiny, with random weights.
    #[arg(long, default_value = "ViT-B-16", value_name = "MODEL")]
    model: String,
    /// Pictures of a batch.
    #[arg(long, default_value_t = 256, value_name = "N")]
    batch: u32,
    /// Steps of each, after three for warming up.
    #[arg(long, default_value_t = 20, value_name = "N")]
    rounds: u32,
    /// torch.compile of the blocks.
    #[arg(long)]
    compile: bool,
    /// Gradient checkpointing.
    #[arg(long)]
    recompute: bool,
    /// Also time the loader on these sets of pairs, as a recipe names them: does it keep the step fed?
    #[arg(long, num_args = 1.., value_name = "SET")]
    pairs: Vec<String>,
    /// Processes that load.
    #[arg(long, default_value_t = 8, value_name = "N", requires = "pairs")]
    workers: u32,
    #[command(flatten)]
    place: Place,
}

impl TrainBench {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut trainer = self.place.python()?;
        trainer.args(["-m", "edge_seg_trainer", "bench", "--model", &self.model]);
        trainer.args(["--batch", &self.batch.to_string(), "--rounds", &self.rounds.to_string()]);
        for (name, on) in [("--compile", self.compile), ("--recompute", self.recompute)] {
            if on {
                trainer.arg(name);
            }
        }
        if !self.pairs.is_empty() {
            trainer.args(["--workers", &self.workers.to_string(), "--pairs"]).args(&self.pairs);
        }
        ended(trainer)
    }
}

/// Lets the environment's Python, and so its torchrun, find the package where its source lies: a path file, which needs no build.
fn install(python: &Path, source: &Path) -> anyhow::Result<PathBuf> {
    let answer = Command::new(python).args(["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).output();
    let answer = answer.with_context(|| python.display().to_string())?;
    ensure!(answer.status.success(), "{}: does not run: {}", python.display(), String::from_utf8_lossy(&answer.stderr).trim());
    let place = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim()).join("edge_seg_trainer.pth");
    let line = source.to_str().filter(|line| !line.contains('\n'));
    let line = line.with_context(|| format!("{}: expected a path in UTF-8 on one line", source.display()))?;
    std::fs::write(&place, format!("{line}\n")).with_context(|| place.display().to_string())?;
    let found = Command::new(python).args(["-c", "import edge_seg_trainer"]).env_remove("PYTHONPATH").current_dir("/").status()?;
    ensure!(found.success(), "{}: the package is not found after {}", python.display(), place.display());
    Ok(place)
}

/// Becomes the trainer, so that what Ctrl-C or a scheduler asks for reaches it: it ends after the step, with a checkpoint.
fn ended(mut trainer: Command) -> anyhow::Result<ExitCode> {
    let error = trainer.exec();
    Err(error).with_context(|| trainer.get_program().to_string_lossy().into_owned())
}

fn call(command: &mut Command, needs: &str) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    // pip and venv report on stdout, which is for data here.
    command.stdout(std::io::stderr());
    let status = command.status().with_context(|| name.clone())?;
    ensure!(status.success(), "{name}: {status}; it needs {needs}");
    Ok(())
}

/// Asks Python which modules it cannot find, without importing them: PyTorch alone would take seconds.
fn missing_modules(python: &Path) -> anyhow::Result<Vec<String>> {
    let script = format!("import importlib.util as u; print(*[m for m in {MODULES:?} if u.find_spec(m) is None])");
    let answer = Command::new(python).args(["-c", &script]).output().with_context(|| python.display().to_string())?;
    ensure!(answer.status.success(), "{}: does not run: {}", python.display(), String::from_utf8_lossy(&answer.stderr).trim());
    Ok(String::from_utf8_lossy(&answer.stdout).split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_found_by_the_environments_python() {
        let scratch = tempfile::tempdir().unwrap();
        let made = Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(scratch.path()).status().expect("python3 starts");
        assert!(made.success());
        let python = python_of(scratch.path());
        let source = std::fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("trainer")).unwrap();
        install(&python, &source).unwrap();
        let found = Command::new(&python)
            .args(["-c", "import edge_seg_trainer; print(edge_seg_trainer.__file__)"])
            .env_remove("PYTHONPATH")
            .current_dir("/")
            .output();
        let found = found.unwrap();
        assert!(found.status.success() && String::from_utf8_lossy(&found.stdout).contains("trainer/edge_seg_trainer"), "{found:?}");
    }
}
