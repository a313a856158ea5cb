//! JPEG as cameras, phones and tools write it: its segments (ITU-T T.81 annex B) are walked before a decoder sees them.

use std::borrow::Cow;
use std::io::{BufRead, Cursor, Seek, SeekFrom};

use image::codecs::jpeg::JpegDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage};

/// What the segments of a JPEG say.
pub(super) struct Shape {
    pub width: u32,
    pub height: u32,
    pub components: u64,
    /// Where the first scan begins.
    scan: usize,
    /// A Huffman table comes before the first scan.
    has_tables: bool,
    /// Coefficients are kept from scan to scan.
    pub several_scans: bool,
    /// Several scans of whole blocks, one component or two in each.
    separate: bool,
    /// Its first component is of less than full size, which the usual decoder does not expect.
    fine_chroma: bool,
    /// Its end marker is there.
    pub whole: bool,
    /// It is a JFIF file, whose three components are YCbCr whatever else it says.
    is_jfif: bool,
    /// Where Adobe's marker stands, which tells colours too.
    adobe: Option<usize>,
    /// Where components are named R, G and B.
    named_rgb: Vec<usize>,
}

impl Shape {
    /// Bytes that decoding to pixels of one byte a component takes.
    pub fn decoded_bytes(&self) -> u64 {
        let samples = u64::from(self.width) * u64::from(self.height) * self.components;
        samples * if self.several_scans || self.fine_chroma { 3 } else { 1 }
    }
}

/// Walks the segments up to the end marker; what a camera appends behind it (films, depth maps) is not looked at, nor what is
/// inside segments (thumbnails).
pub(super) fn walk(bytes: &[u8]) -> Result<Shape, String> {
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return Err("no JPEG: it does not begin with FF D8".into());
    }
    let mut shape = Shape {
        width: 0,
        height: 0,
        components: 0,
        scan: 0,
        has_tables: false,
        several_scans: false,
        separate: false,
        fine_chroma: false,
        whole: false,
        is_jfif: false,
        adobe: None,
        named_rgb: Vec::new(),
    };
    let (mut at, mut between) = (2, false);
    while let Some(marker) = next_marker(bytes, &mut at, shape.scan > 0) {
        match marker {
            0xd9 => {
                shape.whole = shape.scan > 0;
                break;
            }
            0x01 | 0xd0..=0xd7 => continue,
            0xd8 => return Err(format!("a JPEG that is cut off: the start of another one at byte {at}")),
            _ => {}
        }
        let length = bytes.get(at..at + 2).map(|b| usize::from(u16::from_be_bytes([b[0], b[1]])));
        let Some(body) = length.and_then(|length| bytes.get(at + 2..at + length.max(2))) else { break };
        match marker {
            0xc0..=0xcf if shape.scan > 0 && !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                return Err(format!("a JPEG that is cut off: other data from byte {at} on"));
            }
            0xc4 => shape.has_tables |= shape.scan == 0,
            0xe0 => shape.is_jfif |= body.starts_with(b"JFIF\0"),
            0xee if body.starts_with(b"Adobe") => shape.adobe = Some(at - 1),
            0xc3 | 0xc7 | 0xcb | 0xcf => return Err("a lossless JPEG; save it as PNG or as a common JPEG".into()),
            0xc5 | 0xc6 | 0xc9 | 0xca | 0xcd | 0xce => {
                return Err("a JPEG of arithmetic coding or hierarchy; save it as a common JPEG".into());
            }
            0xc0..=0xc2 => {
                let &[precision, y1, y0, x1, x0, components, ..] = body else {
                    return Err("a JPEG whose frame header is too short".into());
                };
                if shape.components > 0 {
                    return Err("a JPEG with two frame headers".into());
                }
                if precision != 8 {
                    return Err(format!("a JPEG of {precision} bits a sample, where 8 are read; save it with 8"));
                }
                (shape.width, shape.height) = (u16::from_be_bytes([x1, x0]).into(), u16::from_be_bytes([y1, y0]).into());
                (shape.components, shape.several_scans) = (components.into(), marker == 0xc2);
                if body[6..].iter().step_by(3).eq(b"RGB") {
                    shape.named_rgb.extend((0..3).map(|i| at + 8 + 3 * i));
                }
                let factors: Vec<[u8; 2]> = body[6..].chunks_exact(3).map(|part| [part[1] >> 4, part[1] & 15]).collect();
                let most = [0, 1].map(|i| factors.iter().map(|f| f[i]).max().unwrap_or(1));
                between = factors.iter().any(|f| (0..2).any(|i| f[i] > 1 && f[i] < most[i]));
                if factors.len() > 1 && factors.iter().flatten().any(|f| *f == 3) {
                    return Err("a JPEG of rare sampling (a third), which is not read; save it as a common JPEG".into());
                }
                shape.fine_chroma = factors.first().is_some_and(|luma| *luma != most);
            }
            0xda => {
                if shape.components == 0 {
                    return Err("a JPEG without a frame header".into());
                }
                if body.first().is_some_and(|&n| u64::from(n) < shape.components) && !shape.several_scans {
                    // The decoder of those counts such a component's blocks wrongly.
                    if between {
                        return Err("a JPEG of rare sampling in several scans, which is not read; save it with one scan or as PNG".into());
                    }
                    (shape.separate, shape.several_scans) = (true, true);
                }
                if shape.scan == 0 {
                    shape.scan = at - 2;
                }
                if !shape.named_rgb.is_empty() {
                    shape.named_rgb.extend((0..usize::from(body.first().copied().unwrap_or(0))).map(|i| at + 3 + 2 * i));
                }
            }
            _ => {}
        }
        at += length.unwrap_or(2).max(2);
    }
    if shape.components == 0 {
        return Err("a JPEG without a frame header; it is cut off".into());
    }
    Ok(shape)
}

/// The next marker at or after `at`, which is put behind it. In coded data stuffed zeros are none.
fn next_marker(bytes: &[u8], at: &mut usize, coded: bool) -> Option<u8> {
    loop {
        *at += bytes.get(*at..)?.iter().position(|&b| b == 0xff)?;
        while *bytes.get(*at)? == 0xff {
            *at += 1;
        }
        let marker = bytes[*at];
        *at += 1;
        if marker != 0 && !(coded && (marker < 0xc0 || (0xd0..=0xd7).contains(&marker))) {
            return Some(marker);
        }
    }
}

/// The bytes without what contradicts JFIF's colours, by which libjpeg goes: the decoders here would take YCbCr for RGB.
pub(super) fn with_jfif_colours<'a>(bytes: &'a [u8], shape: &Shape) -> Cow<'a, [u8]> {
    const COMMENT: u8 = 0xfe;
    let mut bytes = Cow::Borrowed(bytes);
    if shape.is_jfif && shape.components == 3 {
        if let Some(adobe) = shape.adobe {
            bytes.to_mut()[adobe] = COMMENT;
        }
        for &at in &shape.named_rgb {
            let name = bytes.get(at).and_then(|name| b"RGB".iter().position(|letter| letter == name));
            if let Some(number) = name {
                bytes.to_mut()[at] = number as u8 + 1;
            }
        }
    }
    bytes
}

/// The bytes with the standard's Huffman tables where they bring none, as Motion JPEG may.
pub(super) fn with_tables<'a>(bytes: Cow<'a, [u8]>, shape: &Shape) -> Cow<'a, [u8]> {
    if shape.has_tables || shape.scan == 0 {
        return bytes;
    }
    let (head, rest) = bytes.split_at(shape.scan);
    Cow::Owned([head, &standard_tables(), rest].concat())
}

/// ITU-T T.81 annex K.3 as one segment: tables K.3 to K.6.
fn standard_tables() -> Vec<u8> {
    const DC: [[u8; 16]; 2] = [[0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0]];
    const AC: [[u8; 16]; 2] = [[0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125], [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119]];
    const LUMA: [u8; 162] = [
        0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22, 0x71, 0x14, 0x32, 0x81, 0x91,
        0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a,
        0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53,
        0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79,
        0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5,
        0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9,
        0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2,
        0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
    ];
    const CHROMA: [u8; 162] = [
        0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71, 0x13, 0x22, 0x32, 0x81, 0x08, 0x14,
        0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0, 0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17,
        0x18, 0x19, 0x1a, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a,
        0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78,
        0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3,
        0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7,
        0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2,
        0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
    ];
    let mut tables = Vec::with_capacity(420);
    let mut table = |id: u8, counts: &[u8; 16], values: &[u8]| {
        tables.push(id);
        tables.extend(counts);
        tables.extend(values);
    };
    for (id, dc, ac, values) in [(0, &DC[0], &AC[0], &LUMA), (1, &DC[1], &AC[1], &CHROMA)] {
        table(id, dc, &std::array::from_fn::<u8, 12, _>(|i| i as u8));
        table(0x10 + id, ac, values);
    }
    let mut segment = vec![0xff, 0xc4];
    segment.extend((tables.len() as u16 + 2).to_be_bytes());
    segment.extend(tables);
    segment
}

/// The orientation in the EXIF segments before the first scan, however much stands there: depth maps and long XMP take megabytes. The last
/// of several counts, as for the decoder.
pub(super) fn orientation(mut file: impl BufRead + Seek) -> std::io::Result<Orientation> {
    let mut found = Orientation::NoTransforms;
    file.seek(SeekFrom::Start(2))?;
    loop {
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        if byte[0] != 0xff {
            return Ok(found);
        }
        while byte[0] == 0xff {
            file.read_exact(&mut byte)?;
        }
        if matches!(byte[0], 0x01 | 0xd0..=0xd7) {
            continue;
        }
        if matches!(byte[0], 0xd8..=0xda) {
            return Ok(found);
        }
        let mut length = [0; 2];
        file.read_exact(&mut length)?;
        let length = i64::from(u16::from_be_bytes(length).saturating_sub(2));
        if byte[0] != 0xe1 {
            file.seek_relative(length)?;
            continue;
        }
        let mut body = vec![0; length as usize];
        file.read_exact(&mut body)?;
        if let Some(turn) = body.strip_prefix(b"Exif\0\0").and_then(Orientation::from_exif_chunk) {
            found = turn;
        }
    }
}

/// A decoder of a JPEG's header for its orientation and colours.
pub(super) fn header(bytes: &[u8]) -> Result<JpegDecoder<Cursor<&[u8]>>, String> {
    JpegDecoder::new(Cursor::new(bytes)).map_err(|e| e.to_string())
}

/// Pixels of baseline scans of one or two components each, which the usual decoder gets wrong where they have restarts or chroma of
/// half height, and of what has chroma finer than luma.
pub(super) fn separate_scans(bytes: &[u8]) -> Result<DynamicImage, String> {
    let mut decoder = jpeg_decoder::Decoder::new(bytes);
    let pixels = decoder.decode().map_err(|e| e.to_string())?;
    let info = decoder.info().ok_or("a JPEG without a frame header")?;
    let (width, height) = (info.width.into(), info.height.into());
    let picture = match info.pixel_format {
        jpeg_decoder::PixelFormat::RGB24 => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
        jpeg_decoder::PixelFormat::L8 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        _ => return Err("a JPEG of four colours in several scans or of rare sampling; save it as a common JPEG".into()),
    };
    picture.ok_or_else(|| "a JPEG of fewer pixels than it claims".into())
}

impl Shape {
    /// Whether coded data begin in it.
    pub fn has_scan(&self) -> bool {
        self.scan > 0
    }

    /// Whether [`separate_scans`] is to decode it.
    pub fn is_separate(&self) -> bool {
        self.separate || self.fine_chroma
    }
}
