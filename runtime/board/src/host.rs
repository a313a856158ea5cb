//! Where readings come from: the running system, or a tree of files that stands for one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A root to read a board's files under.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
}

/// No file of /proc, /sys or /etc that is read here is longer.
const MAX_BYTES: u64 = 1 << 20;

impl Host {
    /// The running system.
    pub fn live() -> Host {
        Host { root: PathBuf::from("/") }
    }

    /// A tree at `root`, whether it is there or not; from one that is not nothing can be read.
    pub fn under(root: impl Into<PathBuf>) -> Host {
        Host { root: root.into() }
    }

    /// A tree at `root`. Commands are not run there: `commands/PROGRAM_ARGUMENT...`, with `-` for each `/`, holds what
    /// they print.
    ///
    /// # Errors
    /// When `root` is not a folder.
    pub fn at(root: &Path) -> std::io::Result<Host> {
        if !std::fs::metadata(root)?.is_dir() {
            return Err(std::io::Error::new(std::io::ErrorKind::NotADirectory, format!("{} is not a folder", root.display())));
        }
        Ok(Host { root: root.into() })
    }

    /// Whether this is the running system.
    pub fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    /// A path under the root.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A file's bytes; `None` when it cannot be read.
    pub fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        use std::io::Read;
        let mut bytes = Vec::new();
        std::fs::File::open(self.path(path)).ok()?.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// A file's text, with what is not UTF-8 replaced.
    pub fn text(&self, path: &str) -> Option<String> {
        Some(String::from_utf8_lossy(&self.bytes(path)?).into_owned())
    }

    /// Names in a folder, sorted; none when there is no such folder.
    pub fn list(&self, path: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(path)) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// What a command prints when it succeeds.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Option<String> {
        if !self.is_live() {
            let mut name = program.to_string();
            for argument in arguments {
                name.push('_');
                name.push_str(&argument.replace('/', "-"));
            }
            return self.text(&format!("commands/{name}"));
        }
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
