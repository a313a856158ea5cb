//! NumPy's npz: a zip archive of npy arrays (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).

use std::io::Read;
use std::path::Path;

use edge_seg_bundle::files::Steady;

use crate::weights::{Tensor, Weights};
use crate::{Error, Result};

/// Most bytes of one array: a zip entry's own claim of its size cannot be trusted before it is unpacked.
const ARRAY_MAX_BYTES: u64 = 4 << 30;

/// Reads every array of an npz file; float16 and float64 become f32.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::File`] if it is no npz file or holds an array of another type or order.
pub fn read_npz(path: &Path) -> Result<Weights> {
    let place = path.display().to_string();
    let file = std::fs::File::open(path).map_err(Error::io(path))?;
    let broken = |e: zip::result::ZipError| Error::file(&place, "file", "an npz archive", e.to_string());
    let mut archive = zip::ZipArchive::new(std::io::BufReader::new(Steady(file))).map_err(broken)?;
    let mut weights = Weights::new();
    for i in 0..archive.len() {
        let entry = archive.by_index(i).map_err(broken)?;
        let name = entry.name().map_err(broken)?.into_owned();
        let Some(key) = name.strip_suffix(".npy").map(str::to_owned) else {
            return Err(Error::file(&place, name, "arrays only, named NAME.npy", "another entry"));
        };
        let mut bytes = Vec::new();
        entry.take(ARRAY_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io(path))?;
        if bytes.len() as u64 > ARRAY_MAX_BYTES {
            return Err(Error::file(&place, name, format!("at most {ARRAY_MAX_BYTES} bytes"), "more"));
        }
        let tensor = parse_npy(&bytes).map_err(|(expected, found)| Error::file(&place, &name, expected, found))?;
        weights.insert(key, tensor);
    }
    Ok(weights)
}

fn parse_npy(bytes: &[u8]) -> Result<Tensor, (&'static str, String)> {
    let header_len = match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, a, b, ..] => 10 + usize::from(u16::from_le_bytes([*a, *b])),
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _, a, b, c, d, ..] => 12 + u32::from_le_bytes([*a, *b, *c, *d]) as usize,
        _ => return Err(("an npy array of version 1 to 3", "other bytes".into())),
    };
    let start = if bytes[6] == 1 { 10 } else { 12 };
    let header =
        bytes.get(start..header_len).and_then(|h| std::str::from_utf8(h).ok()).ok_or(("a whole header", "a cut one".to_string()))?;
    let value = |key: &str| header.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
    let descr = value("descr").and_then(|v| v.strip_prefix('\'')).and_then(|v| v.split('\'').next()).unwrap_or("");
    let width = match descr {
        "<f2" => 2,
        "<f4" => 4,
        "<f8" => 8,
        _ => return Err(("little-endian floats (<f2, <f4, <f8)", format!("{descr:?}"))),
    };
    if !value("fortran_order").is_some_and(|v| v.starts_with("False")) {
        return Err(("row-major order", "fortran_order".into()));
    }
    let shape =
        value("shape").and_then(|v| v.strip_prefix('(')).and_then(|v| v.split(')').next()).ok_or(("a shape", header.trim().to_string()))?;
    let shape: Vec<usize> = shape
        .split(',')
        .map(str::trim)
        .filter(|n| !n.is_empty())
        .map(|n| n.parse().map_err(|_| ("a shape of whole numbers", shape.to_string())))
        .collect::<Result<_, _>>()?;
    let data = &bytes[header_len..];
    let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| n.checked_mul(width) == Some(data.len()));
    if count.is_none() {
        return Err(("as many numbers as the shape says", format!("{} bytes for shape {shape:?}", data.len())));
    }
    let data = match width {
        2 => data.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        4 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        _ => data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
    };
    Ok(Tensor::new(shape, data))
}

/// A vision transformer's weights under timm's names, renamed to those of a model folder's image tower.
///
/// The classifier (`head.*`) has no place there; it is given back by name, so that the caller can say so.
pub fn vit_from_timm(weights: Weights) -> (Weights, Vec<String>) {
    let mut renamed = Weights::new();
    let mut dropped = Vec::new();
    for (name, mut tensor) in weights {
        let target = match name.as_str() {
            "cls_token" => "image.class_token".to_string(),
            "pos_embed" => "image.positions".into(),
            _ if name.starts_with("head.") => {
                dropped.push(name);
                continue;
            }
            _ => match name.strip_prefix("patch_embed.proj.").map(|rest| format!("image.patch.{rest}")) {
                Some(target) => target,
                None => format!("image.{}", name.replacen("norm_pre.", "ln_pre.", 1)),
            },
        };
        match target.as_str() {
            "image.class_token" => tensor.shape.retain(|d| *d != 1),
            "image.positions" if tensor.shape.first() == Some(&1) => drop(tensor.shape.remove(0)),
            _ => {}
        }
        renamed.insert(target, tensor);
    }
    (renamed, dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    #[test]
    fn arrays_of_every_width_and_rank_are_read() {
        let one = parse_npy(&npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", &[0, 0, 128, 63, 0, 0, 0, 64])).unwrap();
        assert_eq!(one, Tensor::new([2], vec![1.0, 2.0]));
        let scalar = parse_npy(&npy("{'descr': '<f8', 'fortran_order': False, 'shape': (), }\n", &2.5f64.to_le_bytes())).unwrap();
        assert_eq!(scalar, Tensor::new([], vec![2.5]));
        let half = parse_npy(&npy("{'descr': '<f2', 'fortran_order': False, 'shape': (1, 1), }\n", &[0, 60])).unwrap();
        assert_eq!(half, Tensor::new([1, 1], vec![1.0]));
    }

    #[test]
    fn hostile_arrays_are_refused() {
        for (header, data) in [
            ("{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }", 8),
            ("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", 4),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999999, 99999999999), }", 4),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 4),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 4),
            ("{}", 0),
        ] {
            assert!(parse_npy(&npy(header, &vec![0; data])).is_err(), "{header}");
        }
        assert!(parse_npy(b"\x93NUMPY\x01\x00\xff\xff{}").is_err());
        assert!(parse_npy(b"").is_err());
    }
}
