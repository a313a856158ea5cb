//! BMP as some programs write it: with an offset of the pixels that points into the headers, or without the last line's padding.

use std::io::{Read, Seek, SeekFrom};

/// A BMP, read as it is meant.
pub(super) struct Mended<R> {
    file: R,
    at: u64,
    length: u64,
    /// Where the pixels begin.
    offset: u32,
    /// Bytes of padding that follow the end.
    padding: u64,
}

/// Where the file's header holds the pixels' offset.
const OFFSET: u64 = 10;
const FILE_HEADER_BYTES: u32 = 14;
const CORE_HEADER_BYTES: u32 = 12;

/// A reader of the file as it is meant. What its header does not tell is left as it is.
pub(super) fn mended<R: Read + Seek>(mut file: R) -> std::io::Result<Mended<R>> {
    let length = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    let mut head = Vec::new();
    file.by_ref().take(54).read_to_end(&mut head)?;
    file.rewind()?;
    head.resize(54, 0);
    let short = |at: usize| u32::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let long = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let header = long(14);
    let is_core = header == CORE_HEADER_BYTES;
    let (width, bits) = if is_core { (short(18), short(24)) } else { (long(18), short(28)) };
    let (compression, colours) = if is_core { (0, 0) } else { (long(30), long(46)) };
    let masks = match compression {
        3 if header == 40 => 12,
        6 if header == 40 => 16,
        _ => 0,
    };
    let palette = match bits {
        1..=8 => (if (1..=256).contains(&colours) { colours } else { 1 << bits }) * if is_core { 3 } else { 4 },
        _ => 0,
    };
    let headers = FILE_HEADER_BYTES.saturating_add(header).saturating_add(masks);
    let offset = match long(OFFSET as usize) {
        // Where there is a palette, none has its pixels right behind the headers.
        told if told < headers || (told == headers && palette > 0) => headers.saturating_add(palette),
        told => told,
    };
    let line = (u64::from(width) * u64::from(bits)).div_ceil(8);
    let padding = if matches!(compression, 0 | 3 | 6) { line.next_multiple_of(4) - line } else { 0 };
    Ok(Mended { file, at: 0, length, offset, padding })
}

impl<R: Read + Seek> Read for Mended<R> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let read = if self.at < self.length {
            self.file.read(bytes)?
        } else {
            let left = (self.length + self.padding).saturating_sub(self.at);
            let padding = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            bytes[..padding].fill(0);
            padding
        };
        for (place, byte) in (OFFSET..).zip(self.offset.to_le_bytes()) {
            if let Some(at) = place.checked_sub(self.at).and_then(|at| usize::try_from(at).ok())
                && at < read
            {
                bytes[at] = byte;
            }
        }
        self.at += read as u64;
        Ok(read)
    }
}

impl<R: Seek> Seek for Mended<R> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
        };
        let at = at.ok_or(std::io::ErrorKind::InvalidInput)?;
        self.file.seek(SeekFrom::Start(at.min(self.length)))?;
        self.at = at;
        Ok(at)
    }
}
