//! Text files as people's editors, spreadsheets and shells write them.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use unicode_normalization_alignments::UnicodeNormalization;

pub use edge_seg_bundle::text::{decode_text, shown_line};

use crate::{Error, Result};

/// Most bytes of a text file that [`read_text`] takes.
pub const MAX_TEXT_BYTES: u64 = 1 << 30;

/// Reads a text file: UTF-8, or UTF-16 with its mark; a mark at the start is passed over, and every line ends with `\n` whatever ended it.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Words`] if it holds other bytes, a NUL, or more than [`MAX_TEXT_BYTES`].
pub fn read_text(path: &Path) -> Result<String> {
    read_text_within(path, MAX_TEXT_BYTES)
}

/// How long a named pipe may be without anybody who writes into it.
const WRITER_WAIT: Duration = Duration::from_secs(5);

/// Opens a file; of a named pipe, which the system keeps waiting for somebody who writes into it, none after a while.
fn open_in_time(path: &Path) -> std::io::Result<Option<File>> {
    if !std::fs::metadata(path)?.file_type().is_fifo() {
        return File::open(path).map(Some);
    }
    let (sender, opened) = channel();
    let path = path.to_owned();
    // Nothing but a writer ends the call: its thread may outlast this one's patience.
    std::thread::Builder::new().name("edge-seg open".into()).spawn(move || sender.send(File::open(path)))?;
    opened.recv_timeout(WRITER_WAIT).map_or(Ok(None), |file| file.map(Some))
}

/// As [`read_text`], of a file that holds at most so many bytes.
///
/// # Errors
/// As [`read_text`].
pub fn read_text_within(path: &Path, limit: u64) -> Result<String> {
    let wrong = |found| Error::words(path.display().to_string(), "text in UTF-8, or in UTF-16 with its mark", found);
    decode_text(read_bytes_within(path, limit)?).map_err(wrong)
}

/// The bytes of a text file that holds at most so many, whatever they are. Of what has no end, such as a device, no more are read.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Words`] if it holds more.
pub fn read_bytes_within(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let wrong = |expected: String, found: String| Error::Words { place: path.display().to_string(), expected, found };
    let mut bytes = Vec::new();
    let Some(file) = open_in_time(path).map_err(Error::io(path))? else {
        let found = format!("a named pipe that nobody writes into for {} s; name a file, or start its writer first", WRITER_WAIT.as_secs());
        return Err(wrong("text".into(), found));
    };
    file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::io(path))?;
    if bytes.len() as u64 > limit {
        return Err(wrong(format!("at most {limit} bytes of text"), "more".into()));
    }
    Ok(bytes)
}

/// Names as errors list them: the first of them, and how many more there are.
pub fn shown_names<T: AsRef<str>>(names: &[T]) -> String {
    const MOST: usize = 20;
    let mut shown = names.iter().take(MOST).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    if let Some(more) = names.len().checked_sub(MOST).filter(|more| *more > 0) {
        shown += &format!(" and {more} more");
    }
    shown
}

/// A word as models and people compare it: Unicode's composed form (NFC), single blanks, none around it.
pub fn tidy_word(word: &str) -> String {
    let plain =
        word.is_ascii() && !word.contains("  ") && word.trim().len() == word.len() && !word.contains(|c: char| c.is_ascii_control());
    if plain {
        return word.into();
    }
    let composed: String = word.nfc().map(|(c, _)| c).collect();
    composed.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_whoever_wrote_it() {
        let text = "dog\nçat\n";
        let utf16 = |bytes: fn(u16) -> [u8; 2]| [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(bytes).collect::<Vec<u8>>();
        let ways = [
            text.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            [text.as_bytes(), b"\x1a"].concat(),
            text.replace('\n', "\r\n").into_bytes(),
            text.replace('\n', "\r").into_bytes(),
            utf16(u16::to_le_bytes),
            utf16(u16::to_be_bytes),
        ];
        for bytes in ways {
            assert_eq!(decode_text(bytes.clone()).as_deref(), Ok(text), "{bytes:?}");
        }
    }

    #[test]
    fn a_pipe_is_read_while_somebody_writes_and_told_of_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let writer = std::thread::spawn({
            let path = path.clone();
            move || std::fs::write(path, "dog\n").unwrap()
        });
        assert_eq!(read_text(&path).unwrap(), "dog\n");
        writer.join().unwrap();
        let error = read_text(&path).unwrap_err().to_string();
        assert!(error.contains("words") && error.contains("a named pipe that nobody writes into"), "{error}");
    }

    #[test]
    fn of_a_file_without_an_end_no_more_is_read_than_is_taken() {
        let said = read_text_within(Path::new("/dev/zero"), 1 << 10).unwrap_err().to_string();
        assert!(said.contains("at most 1024 bytes of text, found more"), "{said}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, b"\xff1\n").unwrap();
        assert_eq!(read_bytes_within(&path, 3).unwrap(), b"\xff1\n");
        assert!(read_bytes_within(&path, 2).is_err());
    }

    #[test]
    fn what_is_no_text_is_named() {
        let cases: [(&[u8], &str); 10] = [
            (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "a picture (JPEG)"),
            (b"\0\0\0\x20ftypisom\0", "a film"),
            (b"d\0o\0g\0\n\0", "UTF-16 without its mark"),
            (b"dog\ncat\0fish and more\n", "line 2, \"cat\\0fish and more\""),
            (b"dog\ncaf\xe9\n", "line 2, \"caf\u{fffd}\""),
            (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
            (b"\xff\xfe\0\0d\0\0\0", "UTF-32"),
            (b"\xff\xfed", "cut off"),
            (b"\xff\xfe\0\xd8", "damaged"),
            (b"\xff\xfe\0\0", "UTF-32"),
        ];
        for (bytes, said) in cases {
            let error = decode_text(bytes.to_vec()).unwrap_err();
            assert!(error.contains(said), "{bytes:?}: {error}");
        }
    }

    #[test]
    fn of_many_names_the_first_are_shown() {
        let names: Vec<String> = (0..900).map(|n| format!("word {n}")).collect();
        assert_eq!(shown_names(&names[..2]), "word 0, word 1");
        assert!(shown_names(&names[..20]).ends_with(", word 19"));
        assert!(shown_names(&names).ends_with(", word 19 and 880 more"));
    }

    #[test]
    fn words_are_composed_and_single_spaced() {
        assert_eq!(tidy_word("cafe\u{301}"), "caf\u{e9}");
        assert_eq!(tidy_word(" fire \u{a0} truck\t"), "fire truck");
        assert_eq!(tidy_word("dog"), "dog");
    }
}
