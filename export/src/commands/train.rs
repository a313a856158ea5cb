use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail, ensure};
use clap::Args;

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

fn python_of(venv: &Path) -> PathBuf {
    venv.join("bin").join("python")
}

/// Make the trainer's virtual environment and install what its lock file names.
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
        eprintln!("ready: edge-seg-export train RECIPE.toml");
        Ok(ExitCode::SUCCESS)
    }
}

/// Train a model by a recipe. The trainer's output and exit code are passed on.
///
/// Training runs in Python with PyTorch, in the environment that `trainer-setup` makes; nothing else of this project needs Python.
#[derive(Args)]
pub struct Train {
    /// The recipe.
    recipe: PathBuf,
    #[command(flatten)]
    place: Place,
}

impl Train {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (venv, source) = (self.place.venv()?, self.place.source()?);
        ensure!(self.recipe.is_file(), "{}: expected a recipe, found no file", self.recipe.display());
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
        let mut trainer = Command::new(&python);
        trainer.args(["-m", "edge_seg_trainer"]).arg(&self.recipe).env("PYTHONPATH", path);
        let status = trainer.status().with_context(|| python.display().to_string())?;
        match status.code() {
            Some(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(2))),
            None => bail!("the trainer was stopped: {status}; run the same command again to resume it"),
        }
    }
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
