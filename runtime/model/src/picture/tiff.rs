//! What the TIFF decoder does not tell, or gets wrong without a word.

use std::io::{Read, Result, Seek, SeekFrom};

/// What the tags of a file's first picture say.
#[derive(Debug, Default)]
pub(super) struct Kind {
    /// Its colours are multiplied by its alpha.
    pub premultiplied: bool,
    /// Why it is not read.
    pub refused: Option<String>,
}

/// Looks at the first picture's tags. Where they cannot be read, the decoder says why.
pub(super) fn look(file: &mut (impl Read + Seek)) -> Result<Kind> {
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
    // Tag, type, count, and the value itself where it has room, or else where it is.
    let mut entries = vec![[0u8; 12]; short(&count).into()];
    entries.iter_mut().try_for_each(|entry| file.read_exact(entry))?;
    let entry = |tag: u16| entries.iter().find(|entry| short(&entry[..2]) == tag);
    let mut first = |tag: u16| -> Result<Option<u64>> {
        let Some(entry) = entry(tag) else { return Ok(None) };
        Ok(Some(match (short(&entry[2..4]), long(&entry[4..8])) {
            (3, 0..=2) => short(&entry[8..10]).into(),
            (3, _) => {
                let mut value = [0; 2];
                file.seek(SeekFrom::Start(long(&entry[8..12])))?;
                file.read_exact(&mut value)?;
                short(&value).into()
            }
            (1, _) => entry[8].into(),
            _ => long(&entry[8..12]),
        }))
    };
    let mut value = |tag: u16, usual: u64| Ok::<_, std::io::Error>(first(tag)?.unwrap_or(usual));
    // TIFF 6.0 sections 8, 14, 15, 18, 19 and 22.
    let tags = Tags {
        subfile: value(254, 0)?,
        bits: value(258, 1)?,
        compression: value(259, 1)?,
        photometric: value(262, 1)?,
        fill_order: value(266, 1)?,
        samples: value(277, 1)?,
        planes: value(284, 1)?,
        number: value(339, 1)?,
    };
    let is_raw = entry(DNG_VERSION).is_some() || matches!(tags.photometric, 32803 | 34892);
    let extra = entry(338).filter(|entry| long(&entry[4..8]) == 1).map(|entry| short(&entry[8..10]));
    Ok(Kind { premultiplied: extra == Some(1), refused: tags.refused(is_raw, entry(322).is_some()) })
}

const DNG_VERSION: u16 = 50706;

struct Tags {
    subfile: u64,
    bits: u64,
    compression: u64,
    photometric: u64,
    fill_order: u64,
    samples: u64,
    planes: u64,
    number: u64,
}

impl Tags {
    /// What the decoder refuses in words of its own, or takes for something else.
    fn refused(&self, is_raw: bool, has_tiles: bool) -> Option<String> {
        if is_raw {
            return Some("a camera's raw picture, which is not read; save it as JPEG or PNG".into());
        }
        if self.subfile & 1 == 1 {
            return Some("a TIFF that begins with a thumbnail, as raw pictures of cameras do; save the picture alone, or as PNG".into());
        }
        let (grey, colour) = (matches!(self.photometric, 0 | 1), self.photometric == 2);
        let found = match self {
            Self { fill_order: 2, .. } => "bits in reverse order (FillOrder 2)".into(),
            Self { compression: 2 | 3, .. } => "fax compression of group 3".into(),
            Self { compression: 6, .. } => "JPEG compression of the old kind".into(),
            Self { compression: 34712 | 33003 | 33005, .. } => "JPEG 2000 compression".into(),
            Self { compression: 34887, .. } => "LERC compression".into(),
            Self { compression: 34925, .. } => "LZMA compression".into(),
            Self { compression: 50000, .. } => "ZSTD compression".into(),
            Self { compression: 50001, .. } => "WebP compression".into(),
            Self { compression: 50002 | 52546, .. } => "JPEG XL compression".into(),
            Self { compression, .. } if !matches!(compression, 1 | 4 | 5 | 7 | 8 | 32773 | 32946) => {
                format!("compression of kind {compression}")
            }
            Self { photometric: 3, .. } => "a palette".into(),
            Self { photometric: 6, .. } => "YCbCr colours, as JPEG has them".into(),
            Self { photometric: 8..=10, .. } => "Lab colours".into(),
            Self { planes: 2, .. } if has_tiles => "its colours in tiles of their own".into(),
            Self { number: 2, .. } => "signed numbers".into(),
            Self { number: 3, bits, .. } if !colour || *bits != 32 => {
                format!("{}floats of {bits} bits, where RGB of 32 is read", if grey { "grey " } else { "" })
            }
            Self { number: 1, bits: 32.., .. } => format!("integers of {} bits, where 8 or 16 are read", self.bits),
            Self { samples: 2.., .. } if grey => "grey with alpha or more channels".into(),
            Self { bits, .. } if !(matches!(bits, 8 | 16) || grey && *bits == 1 || colour && *bits == 32) => {
                format!("{bits} bits a sample, where 8 or 16 are read")
            }
            _ => return None,
        };
        Some(format!("a TIFF with {found}, which is not read; save it as PNG"))
    }
}
