use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Normal;
use crate::{Error, Result};
use edge_seg_bundle::files::{replace_file, sweep_parts};

/// Where what is usual outlasts a run: one file, which is whole whenever the power goes.
#[derive(Debug)]
pub struct NormalFile {
    path: PathBuf,
    written: Instant,
    writer: Option<JoinHandle<()>>,
}

/// How much a loss of power may cost.
const INTERVAL: Duration = Duration::from_secs(600);
/// Longest file that is read: some times what is ever written.
const MOST_BYTES: u64 = 8 << 20;

impl NormalFile {
    /// Reads a file, if it is there. One that is damaged, or of another version, is put aside as `FILE.damaged`, and all begins anew.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if its folder cannot be made or it cannot be read.
    pub fn open(path: &Path) -> Result<(Self, Normal)> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
            sweep_parts(folder);
        }
        let file = Self { path: path.into(), written: Instant::now(), writer: None };
        let mut bytes = Vec::new();
        match File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((file, Normal::default())),
            Err(e) => return Err(Error::io(path)(e)),
        }
        let normal = Normal::from_bytes(&bytes).unwrap_or_else(|(expected, found)| {
            let mut aside = path.as_os_str().to_owned();
            aside.push(".damaged");
            let aside = PathBuf::from(aside);
            let moved = std::fs::rename(path, &aside).map_or_else(|e| format!("and stays: {e}"), |()| format!("now {}", aside.display()));
            tracing::warn!("{} ({moved}): expected {expected}, found {found}; what is usual is learned anew", path.display());
            Normal::default()
        });
        Ok((file, normal))
    }

    /// Writes what has changed every ten minutes, on a thread of its own.
    pub fn keep(&mut self, normal: &mut Normal) {
        let is_busy = self.writer.as_ref().is_some_and(|writer| !writer.is_finished());
        if self.written.elapsed() < INTERVAL || is_busy || !normal.take_changed() {
            return;
        }
        self.written = Instant::now();
        let (normal, path) = (normal.clone(), self.path.clone());
        let write = move || write(&path, &normal);
        match std::thread::Builder::new().name("normal".into()).spawn(write) {
            Ok(writer) => self.writer = Some(writer),
            Err(e) => tracing::warn!("{}: {e}", self.path.display()),
        }
    }

    /// Writes what has changed since.
    pub fn finish(self, normal: &mut Normal) {
        if let Some(writer) = self.writer {
            let _ = writer.join();
        }
        if normal.take_changed() {
            write(&self.path, normal);
        }
    }
}

/// The old file stays where a new one cannot be written.
fn write(path: &Path, normal: &Normal) {
    if let Err(e) = replace_file(path, &normal.to_bytes()) {
        tracing::warn!("what is usual is not kept: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Amount, LocalTime, Watched};

    fn learned() -> Normal {
        let mut normal = Normal::default();
        let watched = Watched { word: "dog".into(), zone: None, shape: 0, of: Amount::Share };
        for second in 0..100 {
            normal.begin(LocalTime { day: 20_000, second }, Duration::from_secs(second.into()));
            normal.take(&watched, Duration::from_secs(second.into()), 0.5);
        }
        normal
    }

    #[test]
    fn what_is_usual_outlasts_a_run_and_damage_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/normal.json");
        let (file, normal) = NormalFile::open(&path).unwrap();
        assert_eq!(normal.days(), 0);
        let mut normal = learned();
        file.finish(&mut normal);
        let (file, mut read) = NormalFile::open(&path).unwrap();
        assert_eq!(read.to_bytes(), normal.to_bytes());
        assert_eq!(read.days(), 1);
        // Nothing changed: nothing is written.
        std::fs::remove_file(&path).unwrap();
        file.finish(&mut read);
        assert!(!path.exists());

        for damage in [&b""[..], b"edge-seg-normal 1 00000000\n[]", b"\xff\xfe\x00", &vec![b'['; (MOST_BYTES + 9) as usize]] {
            std::fs::write(&path, damage).unwrap();
            let (file, normal) = NormalFile::open(&path).unwrap();
            assert_eq!(normal.days(), 0);
            assert_eq!(std::fs::read(folder.path().join("state/normal.json.damaged")).unwrap(), damage);
            assert!(!path.exists());
            file.finish(&mut learned());
            assert_eq!(NormalFile::open(&path).unwrap().1.days(), 1);
        }
        // A folder in its place is no damage that can be mended.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(NormalFile::open(&path).is_err());
    }
}
