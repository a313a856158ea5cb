//! What crosses: status codes, messages, texts, structures of several versions.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use edge_seg::{ModelError, bundle};

/// What became of a call.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeSegStatus {
    /// Done.
    Ok = 0,
    /// An argument is missing, out of range, or does not fit another.
    Argument = 1,
    /// A file cannot be read.
    Io = 2,
    /// A bundle cannot be used.
    Bundle = 3,
    /// A bundle or a key is not trusted here.
    Refused = 4,
    /// A picture cannot be used.
    Picture = 5,
    /// Words cannot be used.
    Words = 6,
    /// An encoder cannot be loaded or run.
    Encoder = 7,
    /// A GPU cannot be used, or failed.
    Device = 8,
    /// A source of frames does not work.
    Source = 9,
    /// A buffer is too small; the message says how much is needed.
    Buffer = 10,
    /// A callback said that it failed.
    Callback = 11,
    /// A fault inside the library, which is to be reported.
    Panicked = 12,
    /// Anything else.
    Other = 13,
}

/// A status with its message.
pub(crate) struct Fault(pub EdgeSegStatus, pub String);

pub(crate) type Result<T, E = Fault> = std::result::Result<T, E>;

pub(crate) fn argument(name: &str, expected: &str, found: impl std::fmt::Display) -> Fault {
    Fault(EdgeSegStatus::Argument, format!("{name}: expected {expected}, found {found}"))
}

impl<E: Into<edge_seg::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        let error = error.into();
        let status = match &error {
            edge_seg::Error::Model(model) => match model {
                ModelError::Io { .. } | ModelError::Bundle(bundle::Error::Io { .. }) => EdgeSegStatus::Io,
                ModelError::Bundle(bundle::Error::Refused { .. } | bundle::Error::Key { .. }) => EdgeSegStatus::Refused,
                ModelError::Bundle(_) => EdgeSegStatus::Bundle,
                ModelError::Picture { .. } | ModelError::Tensor { .. } => EdgeSegStatus::Picture,
                ModelError::Words { .. } => EdgeSegStatus::Words,
                ModelError::Encoder { .. } => EdgeSegStatus::Encoder,
                ModelError::Device { .. } => EdgeSegStatus::Device,
                ModelError::Option { .. } => EdgeSegStatus::Argument,
                _ => EdgeSegStatus::Other,
            },
            edge_seg::Error::Source { .. } => EdgeSegStatus::Source,
            edge_seg::Error::Panicked { .. } => EdgeSegStatus::Panicked,
            _ => EdgeSegStatus::Other,
        };
        Self(status, error.to_string())
    }
}

thread_local! {
    static LAST: RefCell<Option<CString>> = const { RefCell::new(None) };
}

pub(crate) fn remember(text: String) {
    // A message that holds a zero ends there.
    let text = text.split('\0').next().unwrap_or_default().to_owned();
    LAST.with(|last| *last.borrow_mut() = CString::new(text).ok());
}

/// Runs a call: its fault becomes the status and this thread's message, and so does a panic.
pub(crate) fn guarded(work: impl FnOnce() -> Result<()>) -> EdgeSegStatus {
    let (status, text) = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => (EdgeSegStatus::Ok, String::new()),
        Ok(Err(Fault(status, text))) => (status, text),
        Err(panic) => {
            let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
            (EdgeSegStatus::Panicked, format!("fault inside the library: {}", said.unwrap_or_default()))
        }
    };
    remember(text);
    status
}

/// As [`guarded`], for what can only be asked: another answer where it panics.
pub(crate) fn asked<T>(otherwise: T, work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(otherwise)
}

/// What went wrong in this thread's last call that could fail; empty if nothing did. It stays until the next such call.
#[unsafe(no_mangle)]
pub extern "C" fn edge_seg_last_error() -> *const c_char {
    LAST.with(|last| last.borrow().as_ref().map_or(c"".as_ptr(), |text| text.as_ptr()))
}

/// The library's version, as "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn edge_seg_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(text) => text,
        Err(_) => c"",
    };
    VERSION.as_ptr()
}

/// A thing that C holds.
pub(crate) unsafe fn borrowed<'a, T>(name: &str, pointer: *const T) -> Result<&'a T> {
    // SAFETY: the header has callers pass what the library gave and was not freed, or null.
    unsafe { pointer.as_ref() }.ok_or_else(|| argument(name, "a pointer", "NULL"))
}

/// A thing that C holds and no other thread uses meanwhile.
pub(crate) unsafe fn alone<'a, T>(name: &str, pointer: *mut T) -> Result<&'a mut T> {
    // SAFETY: as for `borrowed`, and the header has callers use it from one thread.
    unsafe { pointer.as_mut() }.ok_or_else(|| argument(name, "a pointer", "NULL"))
}

/// Gives a thing to C.
pub(crate) unsafe fn give<T>(out: *mut *mut T, made: T) -> Result<()> {
    // SAFETY: the header has callers pass the address of a pointer of theirs, or null.
    let out = unsafe { alone("out", out) }?;
    *out = Box::into_raw(Box::new(made));
    Ok(())
}

/// Sets the place for a thing to null, so that a call that fails leaves nothing to be freed.
pub(crate) unsafe fn clear<T>(out: *mut *mut T) -> Result<()> {
    // SAFETY: as for `give`.
    *unsafe { alone("out", out) }? = std::ptr::null_mut();
    Ok(())
}

/// Takes a thing back from C and drops it.
pub(crate) unsafe fn free<T>(pointer: *mut T) {
    if !pointer.is_null() {
        // SAFETY: it came from `give`, and the header has it freed once.
        let taken = unsafe { Box::from_raw(pointer) };
        asked((), move || drop(taken));
    }
}

/// Text of C's; none for null.
pub(crate) unsafe fn text<'a>(name: &str, pointer: *const c_char) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the header has texts end with a zero.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|error| argument(name, "UTF-8", format!("byte {} that is not", error.valid_up_to())))
}

/// Text of C's that must be there.
pub(crate) unsafe fn needed<'a>(name: &str, pointer: *const c_char) -> Result<&'a str> {
    // SAFETY: as for `text`.
    unsafe { text(name, pointer) }?.ok_or_else(|| argument(name, "a text", "NULL"))
}

/// Numbers of C's, to be read.
pub(crate) unsafe fn slice<'a, T>(name: &str, pointer: *const T, len: usize) -> Result<&'a [T]> {
    if pointer.is_null() || len > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(argument(name, "a buffer", if pointer.is_null() { "NULL".into() } else { format!("{len} of them") }));
    }
    // SAFETY: not null and no longer than memory can be; the header has callers pass as many as they say.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// Numbers of C's, to be filled with `needed` of them.
pub(crate) unsafe fn buffer<'a, T>(name: &str, pointer: *mut T, len: usize, needed: usize) -> Result<&'a mut [T]> {
    if len < needed {
        return Err(Fault(EdgeSegStatus::Buffer, format!("{name}: expected room for {needed}, found {len}")));
    }
    if pointer.is_null() {
        return Err(argument(name, "a buffer", "NULL"));
    }
    // SAFETY: not null, and at least as long as what is taken, by the caller's word.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, needed) })
}

/// A structure that C filled: made of zeros where all of its bits may be, and begins with its size.
///
/// # Safety
/// All zeros is a value of it, it is `repr(C)`, and its first field is a `u32` with its size.
pub(crate) unsafe trait Sized32: Copy {
    /// Its size in the first release that had it.
    const FIRST: usize;
}

/// A structure of this library's that a callback fills: a program that knows a longer one may write all of that.
#[repr(C)]
pub(crate) struct Filled<T> {
    pub structure: T,
    pub beyond: [u8; 256],
}

impl<T: Sized32> Filled<T> {
    pub fn new(structure: T) -> Self {
        Self { structure, beyond: [0; 256] }
    }

    /// As [`versioned`], of what the callback has left here. What it says of the size is its own word, and nothing beyond is looked at.
    pub fn read(&self, name: &str) -> Result<T> {
        // SAFETY: as long as the limit, and it holds nothing but numbers and pointers.
        unsafe { versioned_within(name, (&raw const *self).cast(), size_of::<Self>()) }
    }
}

/// Reads as much of a structure as its caller knows; the rest is zero. What a newer caller has beyond must be zero.
pub(crate) unsafe fn versioned<T: Sized32>(name: &str, pointer: *const T) -> Result<T> {
    // SAFETY: the caller's structure is as long as it says; no structure is longer than the limit.
    unsafe { versioned_within(name, pointer, 1 << 16) }
}

unsafe fn versioned_within<T: Sized32>(name: &str, pointer: *const T, limit: usize) -> Result<T> {
    if pointer.is_null() {
        return Err(argument(name, "a structure", "NULL"));
    }
    // SAFETY: the first field is a `u32`, which every caller's structure has.
    let given = unsafe { pointer.cast::<u32>().read_unaligned() } as usize;
    let known = size_of::<T>();
    if given < T::FIRST || given > limit {
        let expected = format!("struct_size of {} to {known}", T::FIRST);
        return Err(argument(name, &expected, given));
    }
    // SAFETY: the caller's structure is as long as it says.
    let bytes = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), given) };
    if let Some(at) = bytes.iter().skip(known).position(|byte| *byte != 0) {
        let found = format!("a setting at byte {} that this library is too old for", known + at);
        return Err(argument(name, "a structure that this library knows", found));
    }
    // SAFETY: all zeros is a value of it, by the trait.
    let mut read: T = unsafe { std::mem::zeroed() };
    // SAFETY: both are at least so long, and they are apart.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut read).cast::<u8>(), given.min(known)) };
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Now {
        struct_size: u32,
        first: u32,
        added: u32,
    }

    // SAFETY: numbers; `repr(C)`, and the size comes first.
    unsafe impl Sized32 for Now {
        const FIRST: usize = 8;
    }

    #[test]
    fn a_callbacks_word_on_a_size_is_not_believed() {
        let mut filled = Filled::new(Now { struct_size: 12, first: 5, added: 6 });
        assert_eq!(filled.read("image").map_err(|Fault(_, said)| said).unwrap(), Now { struct_size: 12, first: 5, added: 6 });
        let room = size_of::<Filled<Now>>() as u32;
        for wrong in [0, 7, room + 1, 1 << 16, u32::MAX] {
            filled.structure.struct_size = wrong;
            assert!(filled.read("image").unwrap_err().1.contains("image: expected struct_size of 8 to 12"), "{wrong}");
        }
        // A newer program's, with nothing set in what this library does not know, and with something.
        filled.structure.struct_size = room;
        assert_eq!(filled.read("image").map_err(|Fault(_, said)| said).unwrap().added, 6);
        filled.beyond[255] = 1;
        assert!(filled.read("image").unwrap_err().1.contains("too old"));
    }

    fn last() -> String {
        // SAFETY: this thread's own message, until its next call.
        unsafe { CStr::from_ptr(edge_seg_last_error()) }.to_str().unwrap().into()
    }

    #[test]
    fn a_panic_is_a_status_and_a_message() {
        assert_eq!(guarded(|| std::panic::resume_unwind(Box::new("an index"))), EdgeSegStatus::Panicked);
        assert_eq!(last(), "fault inside the library: an index");
        assert_eq!(guarded(|| Err(argument("x", "1", 2))), EdgeSegStatus::Argument);
        assert_eq!(last(), "x: expected 1, found 2");
        assert_eq!(guarded(|| Err(argument("x", "1", "a\0b"))), EdgeSegStatus::Argument);
        assert_eq!(last(), "x: expected 1, found a");
        assert_eq!(guarded(|| Ok(())), EdgeSegStatus::Ok);
        assert_eq!(last(), "");
        assert_eq!(asked(7, || std::panic::resume_unwind(Box::new("an index"))), 7);
    }

    #[test]
    fn structures_of_older_and_newer_programs_are_read() {
        let read = |words: &[u32]| {
            // SAFETY: as many bytes as its first number says.
            unsafe { versioned("options", words.as_ptr().cast::<Now>()) }.map_err(|Fault(_, said)| said)
        };
        assert_eq!(read(&[8, 5, 99]).unwrap(), Now { struct_size: 8, first: 5, added: 0 }, "an older one has no `added`");
        assert_eq!(read(&[12, 5, 6]).unwrap(), Now { struct_size: 12, first: 5, added: 6 });
        assert_eq!(read(&[16, 5, 6, 0]).unwrap(), Now { struct_size: 16, first: 5, added: 6 });
        assert!(read(&[16, 5, 6, 1]).unwrap_err().contains("too old"), "a newer one asks for what is not known");
        for wrong in [0, 4, 7, u32::MAX] {
            assert!(read(&[wrong, 5, 6]).unwrap_err().contains("struct_size of 8 to 12"));
        }
    }
}
