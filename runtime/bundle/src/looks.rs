//! What a file is by its first bytes: a bundle, or another, by which whoever named the wrong one knows it.

/// First bytes of every bundle: a text-mode transfer, a truncation to 7 bits or a NUL stop all break them.
pub const MAGIC: [u8; 8] = *b"\x89ESB\r\n\x1a\n";

/// Files' first bytes, and what they are.
const KINDS: [(&[u8], &str); 19] = [
    (&MAGIC, "a model bundle (.esb)"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"),
    (b"RIFF", "a picture, sound or film (RIFF)"),
    (b"PK\x03\x04", "a zip file, as PyTorch's checkpoints are"),
    (b"\x1f\x8b", "a gzip file; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd file; unpack it first"),
    (b"\xfd7zXZ", "an xz file; unpack it first"),
    (b"\x7fELF", "a program"),
    (b"\x1aE\xdf\xa3", "a film (Matroska, WebM)"),
    (b"II*\0", "a picture (TIFF)"),
    (b"MM\0*", "a picture (TIFF)"),
    (b"%PDF", "a PDF"),
    (b"\x89HDF", "an HDF5 file, as Keras writes"),
    (b"GGUF", "a GGUF file"),
    (b"\x80\x02", "a pickle, as PyTorch's old checkpoints are"),
    (b"<!", "a web page: what was fetched was not the file"),
    (b"<html", "a web page: what was fetched was not the file"),
];

/// What a file of minisign's holds, whose second line is of one length for each.
fn of_minisign(bytes: &[u8]) -> Option<&'static str> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    lines.next().filter(|line| line.starts_with("untrusted comment:"))?;
    match lines.next()?.trim().len() {
        212 => Some("a private key"),
        56 => Some("a public key"),
        100 => Some("a signature"),
        _ => None,
    }
}

/// What to say of `bytes` where they are a pointer of Git LFS.
pub fn git_lfs_pointer(bytes: &[u8]) -> Option<&'static str> {
    bytes.starts_with(b"version https://git-lfs").then_some("a Git LFS pointer in place of the file; run `git lfs pull`")
}

/// What kind of file `bytes` are of, where their beginning tells it.
pub fn kind_of(bytes: &[u8]) -> Option<&'static str> {
    let known = KINDS.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, kind)| *kind);
    known.or_else(|| of_minisign(bytes)).or(match bytes {
        [] => Some("an empty file"),
        // The length of a header, and the header, which is JSON.
        [_, _, _, _, _, 0, 0, 0, b'{', ..] => Some("weights (safetensors)"),
        // Fields of a protobuf message: the version, then who wrote it.
        [8, 1..=31, 0x12 | 0x1a | 0x22 | 0x2a | 0x32 | 0x3a | 0x42, ..] => Some("an ONNX model"),
        // The length of a box, and its kind.
        [0, 0, _, _, b'f', b't', b'y', b'p', ..] => Some("a film or picture (MP4, HEIC)"),
        _ => None,
    })
}

/// What `bytes` look like, which begin no bundle.
pub fn looks_like(bytes: &[u8]) -> String {
    if let Some(kind) = kind_of(bytes) {
        return kind.into();
    }
    let start = &bytes[..bytes.len().min(512)];
    match start.iter().all(|&b| b >= b' ' || b"\t\n\r\x0c".contains(&b)) {
        true => "a text file".into(),
        false => format!("{:02x?}", &start[..start.len().min(8)]),
    }
}
