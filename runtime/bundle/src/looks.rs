//! What a file is by its first bytes: a bundle, or another, by which whoever named the wrong one knows it.

/// First bytes of every bundle: a text-mode transfer, a truncation to 7 bits or a NUL stop all break them.
pub const MAGIC: [u8; 8] = *b"\x89ESB\r\n\x1a\n";

/// Files' first bytes, and what they are.
const KINDS: [(&[u8], &str); 14] = [
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"),
    (b"RIFF", "a picture, sound or film (RIFF)"),
    (b"PK\x03\x04", "a zip file, as PyTorch's checkpoints are"),
    (b"\x1f\x8b", "a gzip file; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd file; unpack it first"),
    (b"\xfd7zXZ", "an xz file; unpack it first"),
    (b"\x7fELF", "a program"),
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

/// What `bytes` look like, which begin no bundle.
pub fn looks_like(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "an empty file".into();
    }
    if let Some((_, kind)) = KINDS.iter().find(|(start, _)| bytes.starts_with(start)) {
        return (*kind).into();
    }
    if let Some(kind) = of_minisign(bytes) {
        return kind.into();
    }
    let start = &bytes[..bytes.len().min(512)];
    match start {
        // The length of a header, and the header, which is JSON.
        [_, _, _, _, _, 0, 0, 0, b'{', ..] => "weights (safetensors)".into(),
        // Fields of a protobuf message: the version, then who wrote it.
        [8, 1..=31, 0x12 | 0x1a | 0x22 | 0x2a | 0x32 | 0x3a | 0x42, ..] => "an ONNX model".into(),
        _ if start.iter().all(|&b| b >= b' ' || b"\t\n\r\x0c".contains(&b)) => "a text file".into(),
        _ => format!("{:02x?}", &start[..start.len().min(8)]),
    }
}
