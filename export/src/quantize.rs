//! Weights in fewer bits: symmetric int8 per output channel, and IEEE half precision, with the error that each layer pays.

use serde::Serialize;

use crate::checkpoint::Model;
use crate::weights::Tensor;

/// How matrices are stored in an ONNX file. Except with `Int8Dynamic` everything is computed in f32: engines expand the matrices when
/// they load them. Vectors (norms, biases, class token) always stay f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "program", derive(clap::ValueEnum))]
pub enum Storage {
    /// 8-bit integers with one symmetric scale per output channel (`DequantizeLinear`).
    Int8,
    /// The same integers, and products of rows and matrices computed in integers too: rows are quantized when they come
    /// (`DynamicQuantizeLinear`, `MatMulInteger`). Tables and the patch kernel as with `Int8`.
    Int8Dynamic,
    /// IEEE half precision (`Cast`).
    F16,
    /// Single precision.
    F32,
}

impl Storage {
    /// The name that the manifest's `variant` gives it.
    pub fn variant(self) -> &'static str {
        match self {
            Storage::Int8 => "int8-storage",
            Storage::Int8Dynamic => "int8-dynamic",
            Storage::F16 => "f16-storage",
            Storage::F32 => "f32",
        }
    }

    /// The one for the words beside pictures in this one: words are encoded once and kept, so that integers save little time there and
    /// lose as much.
    pub fn of_words(self) -> Self {
        if self == Storage::Int8Dynamic { Storage::Int8 } else { self }
    }
}

/// Rows of int8, each with its own scale: `x ≈ scale · q`, q in -127..=127.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedRows {
    /// The integers, in the order of the numbers that they stand for.
    pub values: Vec<i8>,
    /// One scale per row, positive.
    pub scales: Vec<f32>,
}

/// Rounds each of `rows` equal rows of `data` to int8, with the scale that brings its largest magnitude to 127.
///
/// # Panics
/// If `data` cannot be cut into `rows` equal rows.
pub fn quantize_rows(data: &[f32], rows: usize) -> QuantizedRows {
    assert!(rows > 0 && data.len().is_multiple_of(rows), "{} numbers in {rows} rows", data.len());
    let (mut values, mut scales) = (Vec::with_capacity(data.len()), Vec::with_capacity(rows));
    for row in data.chunks_exact((data.len() / rows).max(1)) {
        let largest = row.iter().fold(0f32, |m, x| m.max(x.abs()));
        // A row of zeros, or of numbers too small for a scale of their own, is zero in any scale.
        let scale = if largest / 127.0 >= f32::MIN_POSITIVE { largest / 127.0 } else { 1.0 };
        values.extend(row.iter().map(|x| (x / scale).round_ties_even().clamp(-127.0, 127.0) as i8));
        scales.push(scale);
    }
    QuantizedRows { values, scales }
}

impl QuantizedRows {
    /// The numbers that the integers stand for.
    pub fn expand(&self) -> Vec<f32> {
        let row_len = (self.values.len() / self.scales.len()).max(1);
        self.values
            .chunks_exact(row_len)
            .zip(&self.scales)
            .flat_map(|(row, scale)| row.iter().map(move |&q| f32::from(q) * scale))
            .collect()
    }
}

/// Little-endian halves, rounded to nearest, ties to even; what is too large becomes the largest finite half.
pub fn f16_bytes(data: &[f32]) -> Vec<u8> {
    let largest = half::f16::MAX.to_f32();
    data.iter().flat_map(|x| half::f16::from_f32(x.clamp(-largest, largest)).to_le_bytes()).collect()
}

/// What storing a weight costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerError {
    /// The weight's name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Bytes that it takes, scales included.
    pub bytes: usize,
    /// Root of the sum of squared errors over the root of the sum of squares.
    pub relative: f64,
    /// Largest absolute error.
    pub largest: f32,
}

/// Error and size of every matrix of `model` in `storage`, in the order of their names. Vectors stay f32 and are not listed.
pub fn layer_errors(model: &Model, storage: Storage) -> Vec<LayerError> {
    let stored = |name: &str, tensor: &Tensor| tensor.shape.len() >= 2 && name != "image.positions" && name != "text.position_embeddings";
    model
        .weights
        .iter()
        .filter(|(name, tensor)| stored(name, tensor))
        .map(|(name, tensor)| {
            let (expanded, bytes) = match storage {
                Storage::F32 => (tensor.data.clone(), tensor.data.len() * 4),
                Storage::F16 => {
                    let halves = f16_bytes(&tensor.data);
                    (halves.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(), halves.len())
                }
                Storage::Int8 | Storage::Int8Dynamic => {
                    let rows = quantize_rows(&tensor.data, tensor.shape[0]);
                    (rows.expand(), rows.values.len() + 4 * rows.scales.len())
                }
            };
            let square = |x: f32| f64::from(x) * f64::from(x);
            let error: f64 = tensor.data.iter().zip(&expanded).map(|(a, b)| square(a - b)).sum();
            let whole: f64 = tensor.data.iter().map(|a| square(*a)).sum();
            LayerError {
                name: name.clone(),
                shape: tensor.shape.clone(),
                bytes,
                relative: if whole > 0.0 { (error / whole).sqrt() } else { 0.0 },
                largest: tensor.data.iter().zip(&expanded).fold(0.0, |m, (a, b)| m.max((a - b).abs())),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_errs_by_at_most_half_its_step() {
        let data: Vec<f32> = (0..600).map(|i| ((i * 7919 % 601) as f32 - 300.0) * if i < 300 { 0.01 } else { 10.0 }).collect();
        let rows = quantize_rows(&data, 2);
        for (i, (x, y)) in data.iter().zip(rows.expand()).enumerate() {
            assert!((x - y).abs() <= rows.scales[i / 300] * 0.5001, "{x} became {y}");
        }
        assert!(rows.values.iter().any(|&q| q.abs() == 127));
    }

    #[test]
    fn zeros_and_denormals_stay_finite() {
        let rows = quantize_rows(&[0.0, 0.0, 1e-42, -1e-42, 1e38, -1e38], 3);
        let back = rows.expand();
        assert_eq!(back[..4], [0.0; 4]);
        assert!(back.iter().all(|x| x.is_finite()) && (back[4] / 1e38 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn halves_never_overflow() {
        let bytes = f16_bytes(&[1.0, 1e9, -1e9]);
        let back: Vec<f32> = bytes.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect();
        assert_eq!(back, [1.0, 65504.0, -65504.0]);
    }
}
