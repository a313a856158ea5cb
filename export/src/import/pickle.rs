//! Restricted reader of PyTorch's `.pt`: plain state dicts and TorchScript archives, of today's format and of that before version 1.6.
//!
//! A pickle is a program. This reader runs none of it: it knows the few names that tensors and containers need; an object of any other class
//! is passed over unmade and named, and a name that could only be there to be run is refused. Classes of a TorchScript archive become plain
//! containers of their attributes. Format: <https://docs.python.org/3/library/pickletools.html>.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::rc::Rc;

use edge_seg_bundle::files::Steady;

use crate::checkpoint::Contents;
use crate::weights::Tensor;
use crate::{Error, Result};

const PICKLE_MAX_BYTES: u64 = 64 << 20;
const STORAGE_MAX_BYTES: u64 = 8 << 30;
const MAX_DEPTH: usize = 64;
const MAX_ELEMENTS: usize = 1 << 31;
/// Most entries of all containers together, and most of them that are looked at. Containers may hold one another many times over, so that a
/// few bytes can stand for more entries than fit anywhere; a real checkpoint has some thousands.
const MAX_ENTRIES: usize = 1 << 17;

/// Number types of storages, by the class that names them, with their width in bytes.
const STORAGES: [(&str, usize); 9] = [
    ("FloatStorage", 4),
    ("HalfStorage", 2),
    ("BFloat16Storage", 2),
    ("DoubleStorage", 8),
    ("LongStorage", 8),
    ("IntStorage", 4),
    ("ShortStorage", 2),
    ("ByteStorage", 1),
    ("BoolStorage", 1),
];

#[derive(Debug, Clone)]
enum Item {
    Mark,
    None,
    Int(i64),
    Bool(bool),
    Text(String),
    /// Floats, bytes, sets: no tensor needs them.
    Other(&'static str),
    /// An object of a class that no tensor needs, by the class's name; nothing of it was made.
    Object(Rc<str>),
    Tuple(Rc<Vec<Item>>),
    List(Rc<RefCell<Vec<Item>>>),
    Dict(Rc<RefCell<Vec<(Item, Item)>>>),
    Name(Rc<str>),
    Storage(Rc<Storage>),
    Tensor(Rc<View>),
}

#[derive(Debug)]
struct Storage {
    kind: &'static str,
    width: usize,
    key: String,
}

#[derive(Debug)]
struct View {
    storage: Rc<Storage>,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// Reads what a `.pt` file holds, by name; nested dictionaries join their keys with dots. float16, bfloat16 and float64 become f32; what is
/// no tensor of floats is in [`Contents::others`] with its kind.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::File`] if it is no such archive, asks to run something, or lies about sizes.
pub fn read(path: &Path) -> Result<Contents> {
    on_large_stack(|| if is_legacy(path)? { read_legacy(path) } else { read_archive(path) }).map_err(Error::io(path))?
}

/// Dropping containers that hold one another goes as deep as they do, up to [`MAX_ENTRIES`] levels.
fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().stack_size(256 << 20).spawn_scoped(scope, work)?;
        worker.join().map_err(|_| std::io::Error::other("the reader stopped"))
    })
}

fn read_archive(path: &Path) -> Result<Contents> {
    let place = path.display().to_string();
    let file = std::fs::File::open(path).map_err(Error::io(path))?;
    let broken =
        |e: zip::result::ZipError| Error::file(&place, "file", "a zip archive as torch.save writes it since version 1.6", e.to_string());
    let mut archive = zip::ZipArchive::new(std::io::BufReader::new(Steady(file))).map_err(broken)?;
    let names: Vec<String> = archive.file_names().flatten().map(|name| name.into_owned()).collect();
    let pickle = names.iter().find(|n| n.ends_with("/data.pkl") && n.matches('/').count() == 1).cloned();
    let pickle = pickle.ok_or_else(|| {
        let exported =
            names.iter().any(|n| n.contains("exported_program") || n.ends_with("/archive_format") || n.ends_with("models/model.json"));
        let found = if exported { "an exported program (torch.export.save), which is code".into() } else { names.join(", ") };
        let expected = "weights: torch.save(model.state_dict(), FILE) of the module that it was made from (NAME/data.pkl in the archive)";
        Error::file(&place, "archive", expected, found)
    })?;
    let folder = pickle.trim_end_matches("data.pkl").to_string();
    let mut entry = |name: &str, most: u64| -> Result<Vec<u8>> {
        let entry = archive.by_name(name).map_err(broken)?;
        let mut bytes = Vec::new();
        entry.take(most + 1).read_to_end(&mut bytes).map_err(Error::io(path))?;
        if bytes.len() as u64 > most {
            return Err(Error::file(&place, name, format!("at most {most} bytes"), "more"));
        }
        Ok(bytes)
    };
    if entry(&format!("{folder}byteorder"), 16).is_ok_and(|order| order == b"big") {
        return Err(Error::file(&place, "byteorder", "little", "big"));
    }
    let bytes = entry(&pickle, PICKLE_MAX_BYTES)?;
    let root = Machine::new(&bytes).run().map_err(|(expected, found)| Error::file(&place, &pickle, expected, found))?;
    let mut storages: HashMap<String, Vec<u8>> = HashMap::new();
    gather(&place, &pickle, &root, |storage, read| {
        let key = &storage.key;
        if !storages.contains_key(key) {
            storages.insert(key.clone(), entry(&format!("{folder}data/{key}"), STORAGE_MAX_BYTES)?);
        }
        Ok(read(&storages[key]))
    })
}

/// What a file of the format before version 1.6 begins with: a pickle of one large integer.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e";

fn is_legacy(path: &Path) -> Result<bool> {
    let mut start = [0; LEGACY.len()];
    let mut file = std::fs::File::open(path).map_err(Error::io(path))?;
    Ok(file.read_exact(&mut start).is_ok() && start == LEGACY)
}

/// Five pickles (a mark, the format's version, sizes of the machine, the object, the storages' keys), then each storage: its length in
/// elements and its bytes.
fn read_legacy(path: &Path) -> Result<Contents> {
    let place = path.display().to_string();
    let part = "pickle";
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let refuse = |(expected, found): Refusal| Error::file(&place, part, expected, found);
    let mut at = LEGACY.len();
    let mut next = || {
        let mut machine = Machine::new(&bytes[at..bytes.len().min(at + PICKLE_MAX_BYTES as usize)]);
        let item = machine.run()?;
        at += machine.at;
        Ok(item)
    };
    let (version, system, root, keys) = (|| Ok((next()?, next()?, next()?, next()?)))().map_err(refuse)?;
    let Item::Int(1001) = version else { return Err(refuse(("a file of version 1001", format!("{version:?}")))) };
    if let Item::Dict(entries) = &system
        && entries
            .borrow()
            .iter()
            .any(|(key, value)| matches!((key, value), (Item::Text(key), Item::Bool(false)) if key == "little_endian"))
    {
        return Err(refuse(("little-endian numbers", "big-endian ones".into())));
    }
    let Item::List(keys) = keys else { return Err(refuse(("a list of storages", "something else".into()))) };
    let keys: Vec<String> = keys.borrow().iter().map(|key| if let Item::Text(key) = key { key.clone() } else { String::new() }).collect();
    // How wide a storage's elements are is told where a tensor names it.
    let mut widths = HashMap::new();
    collect("", &root, 0, &mut MAX_ENTRIES.clone(), &mut |_, found| {
        if let Found::Tensor(view) = found {
            widths.insert(view.storage.key.clone(), view.storage.width);
        }
    })
    .map_err(|found| refuse((SHALLOW, found)))?;
    let mut storages = HashMap::new();
    for key in keys {
        let cut = || refuse(("a whole file", format!("one that ends before storage {key:?}")));
        // A storage that no tensor uses has no width, and what follows it cannot be found.
        let Some(width) = widths.get(&key) else { break };
        let elements = bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes).ok_or_else(cut)?;
        let len = usize::try_from(elements).ok().and_then(|n| n.checked_mul(*width)).ok_or_else(cut)?;
        let end = (at + 8).checked_add(len).filter(|end| *end <= bytes.len()).ok_or_else(cut)?;
        storages.insert(key, at + 8..end);
        at = end;
    }
    gather(&place, part, &root, |storage, read| match storages.get(&storage.key) {
        Some(range) => Ok(read(&bytes[range.clone()])),
        None => {
            let expected = "the storages of all tensors; torch.save of PyTorch 1.6 or later writes the file anew";
            Err(refuse((expected, format!("none with the key {:?}", storage.key))))
        }
    })
}

const SHALLOW: &str = "containers of tensors, at most 64 deep";

/// Reads the tensors of a pickle's object. `storage` gives a storage's bytes to what it is handed.
fn gather(
    place: &str,
    part: &str,
    root: &Item,
    mut storage: impl FnMut(&Storage, &dyn Fn(&[u8]) -> (usize, Option<Tensor>)) -> Result<(usize, Option<Tensor>)>,
) -> Result<Contents> {
    let (mut views, mut contents) = (Vec::new(), Contents::default());
    collect("", root, 0, &mut MAX_ENTRIES.clone(), &mut |name, found| match found {
        Found::Tensor(view) => views.push((name.to_owned(), view.clone())),
        Found::Other(kind) => drop(contents.others.insert(name.to_owned(), kind)),
    })
    .map_err(|found| Error::file(place, part, SHALLOW, found))?;
    for (name, view) in views {
        let (len, tensor) = storage(&view.storage, &|bytes| (bytes.len(), expand(&view, bytes)))?;
        let tensor = tensor.ok_or_else(|| {
            Error::file(place, &name, format!("a tensor inside its storage of {len} bytes"), format!("shape {:?}", view.shape))
        })?;
        match view.storage.kind {
            "FloatStorage" | "HalfStorage" | "BFloat16Storage" | "DoubleStorage" => drop(contents.weights.insert(name, tensor)),
            kind => drop(contents.others.insert(name, kind.trim_end_matches("Storage").to_owned())),
        }
    }
    Ok(contents)
}

enum Found<'a> {
    Tensor(&'a Rc<View>),
    Other(String),
}

fn collect(name: &str, item: &Item, depth: usize, left: &mut usize, found: &mut dyn FnMut(&str, Found)) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("more, at {name}"));
    }
    *left = left.checked_sub(1).ok_or_else(|| format!("more than {MAX_ENTRIES} entries"))?;
    let join = |key: &str| if name.is_empty() { key.to_string() } else { format!("{name}.{key}") };
    let kind = match item {
        Item::Tensor(view) => {
            found(name, Found::Tensor(view));
            return Ok(());
        }
        Item::Dict(entries) => {
            for (key, value) in entries.borrow().iter() {
                match key {
                    Item::Text(key) => collect(&join(key), value, depth + 1, left, found)?,
                    Item::Int(key) => collect(&join(&key.to_string()), value, depth + 1, left, found)?,
                    _ => {}
                }
            }
            return Ok(());
        }
        Item::Mark | Item::None => "nothing",
        Item::Int(_) | Item::Bool(_) => "a number",
        Item::Text(_) => "text",
        Item::Other(kind) => kind,
        Item::Tuple(_) | Item::List(_) => "a list",
        Item::Storage(_) => "a storage without its tensor",
        Item::Name(name) | Item::Object(name) => name,
    };
    found(name, Found::Other(kind.to_owned()));
    Ok(())
}

/// Reads a view of a storage into row-major f32; `None` where it reaches beyond the storage.
fn expand(view: &View, bytes: &[u8]) -> Option<Tensor> {
    let count = view.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| *n <= MAX_ELEMENTS)?;
    let width = view.storage.width;
    if count > 0 {
        let last = view.shape.iter().zip(&view.strides).try_fold(view.offset, |at, (d, s)| at.checked_add((d - 1).checked_mul(*s)?))?;
        last.checked_add(1)?.checked_mul(width).filter(|end| *end <= bytes.len())?;
        // Strides of zero make a small storage as large as they please.
        (count <= bytes.len() / width).then_some(())?;
    }
    let number = |at: usize| -> f32 {
        let b = &bytes[at * width..][..width];
        match view.storage.kind {
            "FloatStorage" => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            "HalfStorage" => half::f16::from_le_bytes([b[0], b[1]]).to_f32(),
            "BFloat16Storage" => half::bf16::from_le_bytes([b[0], b[1]]).to_f32(),
            "DoubleStorage" => f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32,
            "LongStorage" => i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32,
            "IntStorage" => i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f32,
            "ShortStorage" => f32::from(i16::from_le_bytes([b[0], b[1]])),
            _ => f32::from(b[0]),
        }
    };
    let mut data = Vec::with_capacity(count);
    let mut index = vec![0usize; view.shape.len()];
    for _ in 0..count {
        data.push(number(view.offset + index.iter().zip(&view.strides).map(|(i, s)| i * s).sum::<usize>()));
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            if index[axis] < view.shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Some(Tensor::new(view.shape.clone(), data))
}

type Refusal = (&'static str, String);

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Item>,
    memo: HashMap<u32, Item>,
    entries: usize,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, stack: Vec::new(), memo: HashMap::new(), entries: 0 }
    }

    fn take(&mut self, len: usize) -> Result<&[u8], Refusal> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len()).ok_or(("a whole pickle", "a cut one".to_string()))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn number(&mut self, len: usize) -> Result<u64, Refusal> {
        Ok(self.take(len)?.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn line(&mut self) -> Result<String, Refusal> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|b| *b == b'\n').ok_or(("a whole pickle", "a cut one".to_string()))?;
        let line = String::from_utf8_lossy(&rest[..len]).into_owned();
        self.at += len + 1;
        Ok(line)
    }

    fn text(&mut self, len: u64) -> Result<Item, Refusal> {
        let bytes = self.take(usize::try_from(len).unwrap_or(usize::MAX))?;
        String::from_utf8(bytes.to_vec()).map(Item::Text).map_err(|_| ("text in UTF-8", "other bytes".into()))
    }

    fn pop(&mut self) -> Result<Item, Refusal> {
        self.stack.pop().ok_or(("a value on the stack", "none".into()))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Item>, Refusal> {
        let at = self.stack.iter().rposition(|i| matches!(i, Item::Mark)).ok_or(("a mark on the stack", "none".to_string()))?;
        let items = self.stack.split_off(at + 1);
        self.stack.pop();
        Ok(items)
    }

    fn top(&self) -> Result<Item, Refusal> {
        self.stack.last().cloned().ok_or(("a value on the stack", "none".into()))
    }

    /// Counts entries that are about to be put into a container.
    fn count(&mut self, entries: usize) -> Result<(), Refusal> {
        self.entries += entries;
        if self.entries > MAX_ENTRIES { Err(("at most 131072 entries", self.entries.to_string())) } else { Ok(()) }
    }

    fn set(&mut self, pairs: Vec<Item>) -> Result<(), Refusal> {
        self.count(pairs.len())?;
        let dict = match self.top()? {
            Item::Dict(dict) => dict,
            Item::Object(_) => return Ok(()),
            _ => return Err(("a dictionary to set in", "something else".into())),
        };
        let mut pairs = pairs.into_iter();
        while let (Some(key), Some(value)) = (pairs.next(), pairs.next()) {
            dict.borrow_mut().push((key, value));
        }
        Ok(())
    }

    fn run(&mut self) -> Result<Item, Refusal> {
        let empty_dict = || Item::Dict(Rc::default());
        loop {
            let op = self.take(1)?[0];
            match op {
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'.' => return self.pop(),
                b'(' => self.stack.push(Item::Mark),
                b'0' => drop(self.pop()?),
                b'2' => self.stack.push(self.top()?),
                b'N' => self.stack.push(Item::None),
                0x88 | 0x89 => self.stack.push(Item::Bool(op == 0x88)),
                b'G' => {
                    self.take(8)?;
                    self.stack.push(Item::Other("a number"));
                }
                0x8f => self.stack.push(Item::Other("a set")),
                0x91 => {
                    self.pop_to_mark()?;
                    self.stack.push(Item::Other("a set"));
                }
                0x90 => drop(self.pop_to_mark()?),
                b'1' => drop(self.pop_to_mark()?),
                b'K' | b'M' | b'J' => {
                    let value = match op {
                        b'K' => self.number(1)? as i64,
                        b'M' => self.number(2)? as i64,
                        _ => i64::from(self.number(4)? as u32 as i32),
                    };
                    self.stack.push(Item::Int(value));
                }
                0x8a => {
                    let len = self.number(1)? as usize;
                    if len > 8 {
                        self.take(len)?;
                        self.stack.push(Item::Other("a number"));
                        continue;
                    }
                    let value = self.number(len)? as i64;
                    let unused = 64 - 8 * len as u32;
                    self.stack.push(Item::Int(if len == 0 { 0 } else { value << unused >> unused }));
                }
                b'X' | 0x8c | 0x8d => {
                    let len = self.number(match op {
                        b'X' => 4,
                        0x8c => 1,
                        _ => 8,
                    })?;
                    let text = self.text(len)?;
                    self.stack.push(text);
                }
                0x8b => {
                    let len = self.number(4)?;
                    self.take(usize::try_from(len).unwrap_or(usize::MAX))?;
                    self.stack.push(Item::Other("a number"));
                }
                // Python 2 wrote texts like this.
                b'U' | b'T' => {
                    let len = self.number(if op == b'U' { 1 } else { 4 })?;
                    let text = self.text(len).unwrap_or(Item::Other("bytes"));
                    self.stack.push(text);
                }
                b'C' | b'B' | 0x8e | 0x96 => {
                    let len = self.number(match op {
                        b'C' => 1,
                        b'B' => 4,
                        _ => 8,
                    })?;
                    self.take(usize::try_from(len).unwrap_or(usize::MAX))?;
                    self.stack.push(Item::Other("bytes"));
                }
                b'}' => self.stack.push(empty_dict()),
                b']' => self.stack.push(Item::List(Rc::default())),
                b')' => self.stack.push(Item::Tuple(Rc::default())),
                b't' | 0x85..=0x87 => {
                    let items = match op {
                        b't' => self.pop_to_mark()?,
                        _ => {
                            let len = usize::from(op) - 0x84;
                            let at = self.stack.len().checked_sub(len).ok_or(("a tuple's values", "fewer".to_string()))?;
                            self.stack.split_off(at)
                        }
                    };
                    self.count(items.len())?;
                    self.stack.push(Item::Tuple(Rc::new(items)));
                }
                b'a' | b'e' => {
                    let items = if op == b'a' { vec![self.pop()?] } else { self.pop_to_mark()? };
                    self.count(items.len())?;
                    match self.top()? {
                        Item::List(list) => list.borrow_mut().extend(items),
                        Item::Object(_) => {}
                        _ => return Err(("a list to append to", "something else".into())),
                    }
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set(vec![key, value])?;
                }
                b'u' => {
                    let pairs = self.pop_to_mark()?;
                    self.set(pairs)?;
                }
                b'q' | b'r' => {
                    let key = self.number(if op == b'q' { 1 } else { 4 })? as u32;
                    self.memo.insert(key, self.top()?);
                }
                0x94 => {
                    let key = self.memo.len() as u32;
                    self.memo.insert(key, self.top()?);
                }
                b'h' | b'j' => {
                    let key = self.number(if op == b'h' { 1 } else { 4 })? as u32;
                    let item = self.memo.get(&key).cloned().ok_or(("a remembered value", "none".to_string()))?;
                    self.stack.push(item);
                }
                b'c' => {
                    let name = format!("{}.{}", self.line()?, self.line()?);
                    self.stack.push(Item::Name(allowed(&name)?));
                }
                0x93 => {
                    let (Item::Text(name), Item::Text(module)) = (self.pop()?, self.pop()?) else {
                        return Err(("a name", "something else".into()));
                    };
                    self.stack.push(Item::Name(allowed(&format!("{module}.{name}"))?));
                }
                b'Q' => {
                    let storage = storage(self.pop()?)?;
                    self.stack.push(storage);
                }
                b'R' | 0x81 | 0x92 => {
                    if op == 0x92 {
                        self.pop()?; // arguments by name
                    }
                    let (arguments, function) = (self.pop()?, self.pop()?);
                    let made = make(&function, &arguments)?;
                    if let Item::Dict(entries) = &made {
                        self.count(entries.borrow().len())?;
                    }
                    self.stack.push(made);
                }
                b'b' => {
                    // An object's attributes: kept where they are a dictionary of a container, dropped otherwise.
                    let state = self.pop()?;
                    if let (Item::Dict(into), Item::Dict(from)) = (self.top()?, state)
                        && !Rc::ptr_eq(&into, &from)
                    {
                        self.count(from.borrow().len())?;
                        into.borrow_mut().extend(from.borrow().iter().cloned());
                    }
                }
                _ => return Err(("operations that tensors and containers need", format!("0x{op:02x} at byte {}", self.at - 1))),
            }
            if self.stack.len() > 1 << 20 {
                return Err(("a stack of at most a million values", "more".into()));
            }
        }
    }
}

/// Types of Python's own whose values are plain data.
const PLAIN_TYPES: [&str; 18] = [
    "dict",
    "list",
    "tuple",
    "set",
    "frozenset",
    "int",
    "long",
    "float",
    "complex",
    "str",
    "unicode",
    "bytes",
    "bytearray",
    "bool",
    "object",
    "slice",
    "range",
    "xrange",
];

/// Modules whose names are in a pickle only to be run.
const RUNNERS: [&str; 42] = [
    "os",
    "posix",
    "nt",
    "sys",
    "subprocess",
    "shutil",
    "socket",
    "importlib",
    "imp",
    "ctypes",
    "runpy",
    "pty",
    "commands",
    "popen2",
    "webbrowser",
    "code",
    "codeop",
    "multiprocessing",
    "threading",
    "asyncio",
    "signal",
    "pdb",
    "bdb",
    "timeit",
    "cProfile",
    "profile",
    "trace",
    "pip",
    "http",
    "urllib",
    "requests",
    "operator",
    "_operator",
    "marshal",
    "pickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "inspect",
    "gc",
    "builtins",
    "__builtin__",
];
/// PyTorch's own names of that kind.
const RUNNERS_OF_TORCH: [&str; 6] =
    ["torch.load", "torch.hub.", "torch.ops.", "torch.classes.", "torch.utils.cpp_extension.", "torch.serialization.load"];

/// A name that may be in a pickle of tensors. What it names is not there: an object of it is only passed over.
fn allowed(name: &str) -> Result<Rc<str>, Refusal> {
    let module = name.split('.').next().unwrap_or_default();
    let plain = name.strip_prefix("builtins.").or(name.strip_prefix("__builtin__.")).is_some_and(|n| PLAIN_TYPES.contains(&n));
    if !plain && (RUNNERS.contains(&module) || RUNNERS_OF_TORCH.iter().any(|runner| name.starts_with(runner))) {
        return Err(("names of tensors, containers and plain data alone; nothing of it was run", format!("{name:?}")));
    }
    Ok(name.into())
}

fn make(function: &Item, arguments: &Item) -> Result<Item, Refusal> {
    let (name, arguments) = match (function, arguments) {
        (Item::Name(name), Item::Tuple(arguments)) => (name, arguments),
        (Item::Name(name) | Item::Object(name), _) => return Ok(Item::Object(name.clone())),
        _ => return Err(("a name and its arguments", "something else".into())),
    };
    match &**name {
        "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor" => match &arguments[..] {
            [Item::Storage(storage), Item::Int(offset), Item::Tuple(shape), Item::Tuple(strides), ..] => {
                let sizes = |items: &[Item]| -> Result<Vec<usize>, Refusal> {
                    let size = |item: &Item| match item {
                        Item::Int(n) => usize::try_from(*n).ok(),
                        _ => None,
                    };
                    items.iter().map(|item| size(item).ok_or(("sizes of 0 and more", format!("{item:?}")))).collect()
                };
                let (shape, strides) = (sizes(shape)?, sizes(strides)?);
                let offset = usize::try_from(*offset).map_err(|_| ("an offset of 0 and more", offset.to_string()))?;
                if shape.len() != strides.len() || shape.len() > 16 {
                    return Err(("a stride for each of at most 16 axes", format!("{} and {}", shape.len(), strides.len())));
                }
                Ok(Item::Tensor(Rc::new(View { storage: storage.clone(), offset, shape, strides })))
            }
            [Item::Object(storage), ..] => Ok(Item::Object(storage.clone())),
            other => Err(("the arguments of a tensor", format!("{} others", other.len()))),
        },
        "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => match arguments.first() {
            Some(found @ (Item::Tensor(_) | Item::Object(_))) => Ok(found.clone()),
            _ => Err(("a tensor in a parameter", "something else".into())),
        },
        // A tensor that carries attributes, which no weight needs. One of a class of its own is another thing.
        "torch._tensor._rebuild_from_type_v2" => match &arguments[..] {
            [function, Item::Name(class), arguments, ..] if PLAIN_TENSORS.contains(&&**class) => make(function, arguments),
            [_, Item::Name(class), ..] => Ok(Item::Object(class.clone())),
            _ => Err(("the class of a tensor", "something else".into())),
        },
        "torch._utils._rebuild_wrapper_subclass" => match arguments.first() {
            Some(Item::Name(class)) => Ok(Item::Object(class.clone())),
            _ => Ok(Item::Object(name.clone())),
        },
        name if name.starts_with("collections.OrderedDict") || name.starts_with("collections.defaultdict") => {
            let entries = arguments.iter().find_map(|a| if let Item::List(list) = a { Some(list.borrow().clone()) } else { None });
            let pair = |item: &Item| match item {
                Item::Tuple(pair) if pair.len() == 2 => Some((pair[0].clone(), pair[1].clone())),
                Item::List(pair) if pair.borrow().len() == 2 => Some((pair.borrow()[0].clone(), pair.borrow()[1].clone())),
                _ => None,
            };
            Ok(Item::Dict(Rc::new(RefCell::new(entries.unwrap_or_default().iter().filter_map(pair).collect()))))
        }
        name if name.starts_with("__torch__.") => Ok(Item::Dict(Rc::default())),
        _ => Ok(Item::Object(name.clone())),
    }
}

const PLAIN_TENSORS: [&str; 4] = ["torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer", "torch._C._TensorBase"];

/// `("storage", type, key, location, elements)`, of another type than [`STORAGES`] an object.
fn storage(id: Item) -> Result<Item, Refusal> {
    let wrong = || ("a storage", "something else".to_string());
    let Item::Tuple(parts) = id else { return Err(wrong()) };
    let [Item::Text(word), Item::Name(kind), Item::Text(key), rest @ ..] = &parts[..] else { return Err(wrong()) };
    if word != "storage" {
        return Err(wrong());
    }
    // A storage that is part of another one, as only files of PyTorch 0.3 have it.
    let part = matches!(rest.get(2), Some(Item::Tuple(_)));
    let found = kind.strip_prefix("torch.cuda.").or(kind.strip_prefix("torch."));
    let found = found.and_then(|k| STORAGES.iter().find(|(name, _)| *name == k)).filter(|_| !part);
    let Some((kind, width)) = found else { return Ok(Item::Object(kind.clone())) };
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(("a storage's key of letters and digits", format!("{key:?}")));
    }
    Ok(Item::Storage(Rc::new(Storage { kind, width: *width, key: key.clone() })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(bytes: &[u8]) -> Result<usize, Refusal> {
        let root = Machine::new(bytes).run()?;
        let mut views = 0;
        collect("", &root, 0, &mut MAX_ENTRIES.clone(), &mut |_, found| {
            if let Found::Tensor(view) = found {
                let _ = expand(view, &[0; 64]);
                views += 1;
            }
        })
        .map_err(|found| ("shallow containers", found))?;
        Ok(views)
    }

    #[test]
    fn no_change_of_a_byte_makes_it_panic() {
        for file in ["openai.pt", "script.pt"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/clip-sources").join(file);
            let mut archive = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
            let name = archive.file_names().flatten().find(|n| n.ends_with("/data.pkl")).unwrap().into_owned();
            let mut whole = Vec::new();
            archive.by_name(&name).unwrap().read_to_end(&mut whole).unwrap();
            assert!(run(&whole).unwrap() > 60);
            for at in (0..whole.len()).step_by(5) {
                for flip in [0x01, 0x80, 0xff, b'R' ^ whole[at], b'(' ^ whole[at], b'.' ^ whole[at]] {
                    let mut bytes = whole.clone();
                    bytes[at] ^= flip;
                    let _ = run(&bytes);
                }
                let _ = run(&whole[..at]);
            }
        }
    }

    #[test]
    fn containers_that_hold_themselves_end() {
        // d = {}; d["a"] = d
        assert!(run(b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.").is_err());
        // And twice over, which would be 2^64 ways down.
        assert!(run(b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00sX\x01\x00\x00\x00bh\x00s.").is_err());
    }

    #[test]
    fn deep_nests_are_dropped_without_harm() {
        let mut bytes = b"\x80\x02)".to_vec();
        bytes.resize(130_000, 0x85);
        bytes.extend_from_slice(b"0N.");
        assert_eq!(on_large_stack(|| run(&bytes)).unwrap(), Ok(0));
        let mut wide = b"\x80\x02)".to_vec();
        wide.resize(300_000, 0x85);
        assert!(on_large_stack(|| run(&wide)).unwrap().is_err());
    }

    #[test]
    fn names_beyond_tensors_are_refused() {
        for hostile in [&b"cos\nsystem\n(X\x02\x00\x00\x00lstR."[..], b"c__builtin__\neval\n.", b"ctorch\nload\n.", b"ctorch.hub\nload\n."]
        {
            assert!(run(hostile).unwrap_err().1.contains('.'), "{hostile:?}");
        }
        // Plain data and settings are passed over, whatever they are made from.
        assert_eq!(run(b"c__builtin__\nset\n(X\x01\x00\x00\x00xtR."), Ok(0));
        assert_eq!(run(b"\x80\x02comegaconf.dictconfig\nDictConfig\n)\x81."), Ok(0));
    }

    #[test]
    fn views_stay_inside_their_storage() {
        let storage = Rc::new(Storage { kind: "FloatStorage", width: 4, key: "0".into() });
        let view = |offset, shape: &[usize], strides: &[usize]| View {
            storage: storage.clone(),
            offset,
            shape: shape.into(),
            strides: strides.into(),
        };
        let bytes: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
        assert_eq!(expand(&view(0, &[3, 2], &[1, 3]), &bytes).unwrap().data, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(expand(&view(5, &[], &[]), &bytes).unwrap().data, [5.0]);
        assert_eq!(expand(&view(0, &[0, 7], &[7, 1]), &bytes).unwrap().data, [0.0; 0]);
        for (offset, shape, strides) in
            [(1, [3, 2], [1, 3]), (0, [2, 4], [3, 1]), (0, [7, 7], [0, 0]), (usize::MAX, [1, 1], [1, 1]), (0, [2, 2], [usize::MAX, 1])]
        {
            assert!(expand(&view(offset, &shape, &strides), &bytes).is_none(), "{offset} {shape:?} {strides:?}");
        }
    }
}
