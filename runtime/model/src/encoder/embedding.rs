//! Tables of embeddings, which stay where they are: a sentence needs a few of some ten thousand rows.

use std::fmt;
use std::sync::Arc;

use edge_seg_bundle::BlobSlice;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::names::{EMBEDDING, element};

/// Rows of a table. Input: integers of any shape, negative ones counted from the end. Output: that shape and the width.
#[derive(Clone)]
pub(super) struct Embedding(Arc<Table>);

struct Table {
    bytes: BlobSlice, // [rows, width], little-endian
    rows: usize,
    width: usize,
    of: DatumType,
}

impl Embedding {
    /// A table of `[rows, width]` elements, of which `bytes` holds `len`.
    pub(super) fn new(bytes: BlobSlice, len: usize, [rows, width]: [usize; 2], data_type: i32) -> TractResult<Self> {
        let (of, size) =
            element(data_type).with_context(|| format!("expected numbers of 8, 16 or 32 bits, found ONNX's type {data_type}"))?;
        ensure!(rows.checked_mul(width * size) == Some(len), "expected {rows} x {width} numbers of {size} bytes, found {len} bytes");
        Ok(Self(Arc::new(Table { bytes, rows, width, of })))
    }

    pub(super) fn rows<const SIZE: usize, T: Datum + Copy>(
        &self,
        ids: &[i64],
        shape: &[usize],
        number: impl Fn([u8; SIZE]) -> T,
    ) -> TractResult<Tensor> {
        let Table { bytes, rows, width, .. } = &*self.0;
        let (mut values, mut buffer) = (Vec::with_capacity(ids.len() * width), Vec::new());
        for id in ids {
            let row = if *id < 0 { id + *rows as i64 } else { *id };
            let row = usize::try_from(row).ok().filter(|row| row < rows);
            let row = row.with_context(|| format!("expected a row of {rows}, found {id}"))?;
            let numbers = bytes.read(row * width * SIZE..(row + 1) * width * SIZE, &mut buffer)?;
            values.extend(numbers.as_chunks::<SIZE>().0.iter().map(|bytes| number(*bytes)));
        }
        Tensor::from_shape(shape, &values)
    }
}

impl fmt::Debug for Embedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{EMBEDDING} of {} x {}", self.0.rows, self.0.width)
    }
}

impl PartialEq for Embedding {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Embedding {}

impl Expansion for Embedding {
    fn name(&self) -> StaticName {
        EMBEDDING.into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(&'s self, s: &mut Solver<'r>, inputs: &'p [TensorProxy], outputs: &'p [TensorProxy]) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        s.equals(&outputs[0].datum_type, self.0.of)?;
        s.given(&inputs[0].shape, move |s, shape| {
            let shape: TVec<TDim> = shape.into_iter().chain([self.0.width.to_dim()]).collect();
            s.equals(&outputs[0].shape, shape)
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl Op for Embedding {
    fn name(&self) -> StaticName {
        EMBEDDING.into()
    }

    op_as_typed_op!();
}

impl EvalOp for Embedding {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let ids = inputs.first().context("expected an input")?;
        let shape: TVec<usize> = ids.shape().iter().copied().chain([self.0.width]).collect();
        let ids = ids.cast_to::<i64>()?;
        let ids = ids.to_plain_array_view::<i64>()?;
        let ids = ids.to_slice().context("expected numbers in order")?;
        let rows = match self.0.of {
            DatumType::F32 => self.rows(ids, &shape, f32::from_le_bytes),
            DatumType::F16 => self.rows(ids, &shape, f16::from_le_bytes),
            DatumType::I8 => self.rows(ids, &shape, i8::from_le_bytes),
            _ => self.rows(ids, &shape, u8::from_le_bytes),
        }?;
        Ok(tvec!(rows.into_tvalue()))
    }
}

impl TypedOp for Embedding {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape: TVec<TDim> = inputs[0].shape.iter().cloned().chain([self.0.width.to_dim()]).collect();
        Ok(tvec!(self.0.of.fact(shape)))
    }

    as_op!();
}
