use edge_seg_bundle::git_lfs_pointer;

/// Of cameras' raw pictures.
pub(super) const RAW: &str = "a camera's raw picture, which is not read; save it as JPEG";

/// What bytes are that no decoder here knows, and what to do with them.
pub(super) fn describe(start: &[u8]) -> &'static str {
    let brand = start.get(8..12).filter(|_| start.get(4..8) == Some(b"ftyp"));
    match (start, brand) {
        (_, Some(b"heic" | b"heix" | b"heif" | b"mif1" | b"msf1")) => "HEIC, which is not read; save it as JPEG",
        (_, Some(b"avif" | b"avis")) => "AVIF, which is not read; save it as JPEG or PNG",
        (_, Some(b"crx ")) => RAW,
        (_, Some(_)) => "a film, which a source of video reads",
        ([0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..], _) => "JPEG XL, which is not read; save it as JPEG or PNG",
        ([0, 0, 0, 12, b'j', b'P', b' ', b' ', ..], _) => "JPEG 2000, which is not read; save it as JPEG or PNG",
        ([0xff, 0x4f, 0xff, 0x51, ..], _) => "JPEG 2000, which is not read; save it as JPEG or PNG",
        ([b'I', b'I', b'R', b'O' | b'S', ..] | [b'I', b'I', b'U', 0, ..], _) => RAW,
        ([b'P', b'1'..=b'7', b'\n' | b'\r' | b' ' | b'\t', ..], _) => "PPM or another portable map, which is not read; save it as PNG",
        ([b'I', b'I', 43, 0, ..] | [b'M', b'M', 0, 43, ..], _) => "BigTIFF, which is not read; save it as TIFF or PNG",
        ([0, 5, 0x16, 7, ..], _) => "a companion file that macOS wrote beside the picture; delete it",
        _ if let Some(pointer) = git_lfs_pointer(start) => pointer,
        _ if start.starts_with(b"FUJIFILMCCD-RAW") => RAW,
        _ if start.starts_with(b"8BPS") => "a file of Photoshop, which is not read; save it as PNG",
        _ if start.starts_with(b"II\xbc\x01") => "JPEG XR, which is not read; save it as JPEG or PNG",
        _ if start.starts_with(b"%PDF") => "PDF, which is not read; save its page as PNG",
        _ if start.trim_ascii_start().starts_with(b"<") => "markup such as HTML or SVG, or a page that says the picture was not found",
        _ => "bytes of no known picture format",
    }
}
