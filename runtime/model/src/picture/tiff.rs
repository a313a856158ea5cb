//! What the TIFF decoder does not tell.

use std::io::{Read, Result, Seek, SeekFrom};

/// TIFF 6.0 section 18.
const EXTRA_SAMPLES: u16 = 338;
const ASSOCIATED_ALPHA: u16 = 1;

/// Whether the first picture's colours are multiplied by its alpha. False where that cannot be found out; the decoder then says why.
pub(super) fn is_premultiplied(file: &mut (impl Read + Seek)) -> Result<bool> {
    let mut head = [0; 8];
    file.rewind()?;
    file.read_exact(&mut head)?;
    let little = head[0] == b'I';
    let short = |b: &[u8]| if little { u16::from_le_bytes([b[0], b[1]]) } else { u16::from_be_bytes([b[0], b[1]]) };
    let long =
        |b: &[u8]| u64::from(short(&b[..2])) << if little { 0 } else { 16 } | u64::from(short(&b[2..4])) << if little { 16 } else { 0 };
    file.seek(SeekFrom::Start(long(&head[4..8])))?;
    let mut count = [0; 2];
    file.read_exact(&mut count)?;
    for _ in 0..short(&count) {
        // Tag, type, count, and the value itself where it has room.
        let mut entry = [0; 12];
        file.read_exact(&mut entry)?;
        if short(&entry[..2]) == EXTRA_SAMPLES {
            return Ok(long(&entry[4..8]) == 1 && short(&entry[8..10]) == ASSOCIATED_ALPHA);
        }
    }
    Ok(false)
}
