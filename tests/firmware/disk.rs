//! A file system in memory that loses power: what was not synced is dropped, torn or kept, as a seed decides.

use edge_seg_fw::slots::{Disk, Kind};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// A small generator; the seed is all that a failing case needs to be seen again.
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n.max(1)
    }
}

#[derive(Clone, Debug)]
enum Entry {
    File(usize),
    Link(PathBuf),
    Folder,
}

#[derive(Clone, Debug)]
enum Change {
    Put(String, Entry),
    Drop(String),
    Move(String, String),
}

#[derive(Clone, Debug, Default)]
struct Folder {
    durable: BTreeMap<String, Entry>,
    log: Vec<Change>,
    live: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    durable: Vec<u8>,
    live: Vec<u8>,
}

/// What goes wrong besides power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The n-th change fails once with an input/output error.
    OnceAt(usize),
    /// From the n-th change on there is no room: writes fail half done.
    FullFrom(usize),
    /// Nothing can be changed.
    ReadOnly,
}

#[derive(Clone, Debug, Default)]
pub struct FakeDisk {
    folders: BTreeMap<PathBuf, Folder>,
    contents: Vec<Content>,
    /// Changes so far.
    pub changes: usize,
    /// The change before which power is lost.
    pub cut_at: Option<usize>,
    pub fault: Option<Fault>,
    pub free: u64,
    /// Files that must go before anything can be written.
    pub full_until_removed: usize,
    /// Bytes written so far.
    pub written: u64,
    dead: bool,
}

fn split(path: &Path) -> (PathBuf, String) {
    (path.parent().unwrap().into(), path.file_name().unwrap().to_str().unwrap().into())
}

impl FakeDisk {
    pub fn new() -> FakeDisk {
        let mut disk = FakeDisk { free: 1 << 30, ..FakeDisk::default() };
        disk.folders.insert("/".into(), Folder::default());
        disk
    }

    /// Whether power was lost.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(io::Error::other("power cut")) } else { Ok(()) }
    }

    /// Called before each change. `Ok(true)`: do half of it and fail.
    fn change(&mut self) -> io::Result<bool> {
        self.alive()?;
        if self.cut_at == Some(self.changes) {
            self.dead = true;
            return Ok(true);
        }
        self.changes += 1;
        match self.fault {
            Some(Fault::OnceAt(at)) if at + 1 == self.changes => Err(io::Error::other("input/output error")),
            Some(Fault::FullFrom(at)) if at < self.changes => Ok(true),
            Some(Fault::ReadOnly) => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            _ => Ok(false),
        }
    }

    fn half(&self) -> io::Error {
        if self.dead { io::Error::other("power cut") } else { io::ErrorKind::StorageFull.into() }
    }

    fn folder(&mut self, path: &Path) -> io::Result<&mut Folder> {
        self.folders.get_mut(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn entry(&self, path: &Path) -> io::Result<Entry> {
        let (parent, name) = split(path);
        let found = self.folders.get(&parent).and_then(|folder| folder.live.get(&name));
        found.cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn log(&mut self, parent: &Path, change: Change) -> io::Result<()> {
        let folder = self.folder(parent)?;
        apply(&mut folder.live, &change);
        folder.log.push(change);
        Ok(())
    }

    /// The disk as it is found when power is back.
    pub fn after_power_cut(&self, rng: &mut Rng) -> FakeDisk {
        let mode = rng.below(4);
        let mut next = FakeDisk { free: self.free, ..FakeDisk::default() };
        next.contents = self
            .contents
            .iter()
            .map(|content| {
                let bytes = match mode {
                    0 => content.durable.clone(),
                    1 => content.live.clone(),
                    _ if content.live == content.durable => content.live.clone(),
                    _ => tear(content, rng),
                };
                Content { durable: bytes.clone(), live: bytes }
            })
            .collect();
        let mut waiting = vec![PathBuf::from("/")];
        while let Some(path) = waiting.pop() {
            let Some(folder) = self.folders.get(&path) else { continue };
            let mut entries = folder.durable.clone();
            let kept = match mode {
                0 => 0,
                1 => folder.log.len(),
                _ => rng.below(folder.log.len() + 1),
            };
            folder.log[..kept].iter().for_each(|change| apply(&mut entries, change));
            waiting.extend(entries.iter().filter(|(_, entry)| matches!(entry, Entry::Folder)).map(|(name, _)| path.join(name)));
            next.folders.insert(path, Folder { durable: entries.clone(), live: entries, log: Vec::new() });
        }
        next
    }

    /// Turns a bit of a file over, on the disk itself.
    pub fn rot(&mut self, path: &Path) {
        let Ok(Entry::File(id)) = self.entry(path) else { panic!("no file {}", path.display()) };
        let content = &mut self.contents[id];
        content.live[0] ^= 1;
        content.durable = content.live.clone();
    }
}

fn tear(content: &Content, rng: &mut Rng) -> Vec<u8> {
    let cut = rng.below(content.live.len() + 1);
    let mut bytes = content.live[..cut].to_vec();
    match rng.below(3) {
        // Shorter; as long, but zeros where nothing arrived; the old bytes there.
        0 => {}
        1 => bytes.resize(content.live.len(), 0),
        _ => bytes.extend(content.durable.iter().skip(cut)),
    }
    bytes
}

fn apply(entries: &mut BTreeMap<String, Entry>, change: &Change) {
    match change {
        Change::Put(name, entry) => {
            entries.insert(name.clone(), entry.clone());
        }
        Change::Drop(name) => {
            entries.remove(name);
        }
        Change::Move(from, to) => {
            if let Some(entry) = entries.remove(from) {
                entries.insert(to.clone(), entry);
            }
        }
    }
}

impl Disk for FakeDisk {
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.alive()?;
        match self.entry(path)? {
            Entry::File(id) => Ok(self.contents[id].live.clone()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn write(&mut self, path: &Path, source: &mut dyn io::Read, _kind: Kind) -> io::Result<()> {
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes)?;
        if self.full_until_removed > 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let half = self.change()?;
        self.written += bytes.len() as u64;
        let (parent, name) = split(path);
        self.folder(&parent)?;
        self.contents.push(Content::default());
        let id = self.contents.len() - 1;
        self.log(&parent, Change::Put(name, Entry::File(id)))?;
        let end = if half { bytes.len() / 2 } else { bytes.len() };
        self.contents[id].live = bytes[..end].to_vec();
        if half { Err(self.half()) } else { Ok(()) }
    }

    fn share(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if self.change()? {
            return Err(self.half());
        }
        let entry @ Entry::File(_) = self.entry(from)? else { return Err(io::ErrorKind::InvalidInput.into()) };
        let (parent, name) = split(to);
        self.log(&parent, Change::Put(name, entry))
    }

    fn sync_file(&mut self, path: &Path) -> io::Result<()> {
        if self.change()? && self.dead {
            return Err(self.half());
        }
        let Entry::File(id) = self.entry(path)? else { return Err(io::ErrorKind::InvalidInput.into()) };
        self.contents[id].durable = self.contents[id].live.clone();
        Ok(())
    }

    fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
        if self.change()? && self.dead {
            return Err(self.half());
        }
        let folder = self.folder(path)?;
        folder.durable = folder.live.clone();
        folder.log.clear();
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if self.change()? && self.dead {
            return Err(self.half());
        }
        self.entry(from)?;
        let ((parent, from), (to_parent, to)) = (split(from), split(to));
        assert_eq!(parent, to_parent, "only renames inside a folder are atomic on every file system");
        self.log(&parent, Change::Move(from, to))
    }

    fn link(&mut self, target: &Path, path: &Path) -> io::Result<()> {
        if self.change()? {
            return Err(self.half());
        }
        let (parent, name) = split(path);
        self.log(&parent, Change::Put(name, Entry::Link(target.into())))
    }

    fn read_link(&mut self, path: &Path) -> io::Result<PathBuf> {
        self.alive()?;
        match self.entry(path)? {
            Entry::Link(target) => Ok(target),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        if self.change()? && self.dead {
            return Err(self.half());
        }
        if self.entry(path).is_ok() {
            self.full_until_removed = self.full_until_removed.saturating_sub(1);
            let (parent, name) = split(path);
            self.log(&parent, Change::Drop(name))?;
        }
        Ok(())
    }

    fn make_folder(&mut self, path: &Path) -> io::Result<()> {
        self.alive()?;
        let mut at = PathBuf::from("/");
        for part in path.components().skip(1) {
            let next = at.join(part);
            if !self.folders.contains_key(&next) {
                if self.change()? {
                    return Err(self.half());
                }
                self.log(&at, Change::Put(part.as_os_str().to_str().unwrap().into(), Entry::Folder))?;
                self.folders.insert(next.clone(), Folder::default());
            }
            at = next;
        }
        Ok(())
    }

    fn list(&mut self, path: &Path) -> io::Result<Vec<String>> {
        self.alive()?;
        Ok(self.folders.get(path).map_or_else(Vec::new, |folder| folder.live.keys().cloned().collect()))
    }

    fn free_bytes(&mut self, _path: &Path) -> io::Result<u64> {
        self.alive()?;
        Ok(self.free)
    }
}
