//! Scores and masks beside the encoder: its output is read where it lies on the device.

use std::time::Instant;

use edge_seg_cuda::DevicePatches;
use edge_seg_kernels::Planes;
use tract_cuda::kernels::get_cuda_view;
use tract_cuda::with_cuda_stream;
use tract_gpu::tensor::LazyHostStorage;
use tract_onnx::prelude::*;

use super::masker::Masker;
use super::{GraphEncoder, Shape};
use crate::encoder::backend::{MaskRequest, Masks};
use crate::encoder::tensors::fail;
use crate::input::Input;
use crate::mask::LabelMap;
use crate::options::Timings;
use crate::score::score_logits;
use crate::{Error, Result};

impl GraphEncoder {
    pub(super) fn masks_on_device(&self, Masker(masks): &Masker, input: &Input, request: &MaskRequest<'_>) -> Result<Masks> {
        let shape = Shape::of(input, 1);
        let start = Instant::now();
        let prepared = self.plan(shape)?;
        let planned = Instant::now();
        let pixels = self.pixels(input.pixels.clone(), 1, input)?;
        let outputs = self.guarded(|| prepared.plan.run(tvec!(pixels)))?;
        let encoded = Instant::now();
        // Outputs stay on the device until somebody reads them.
        let patches = outputs.first().and_then(|output| output.storage_as::<LazyHostStorage>()).and_then(LazyHostStorage::device);
        let patches = patches.ok_or_else(|| fail("image")(TractError::msg("expected patches on the device, found them elsewhere")))?;
        if patches.shape() != [1, shape.rows * shape.cols, self.dim] || request.bank.words().dim() != self.dim {
            return Err(Error::Tensor {
                what: "patches on the device".into(),
                expected: format!("[1, {}, {}]", shape.rows * shape.cols, request.bank.words().dim()),
                found: format!("{:?}", patches.shape()),
            });
        }
        let view = get_cuda_view(patches);
        let (rows, cols) = input.placement.covered();
        let halves = patches.datum_type() == f16::datum_type();
        let on_device = DevicePatches { values: &view, halves, keep_rows: rows, keep_cols: cols, stride_cols: shape.cols, dim: self.dim };
        let scoring = (request.scoring.scale, request.scoring.bias.unwrap_or(0.0));
        let scores = score_logits((rows, cols), request.bank, request.scoring, request.background, |planes, spans| {
            let words = request.bank.words().data();
            let logits = || with_cuda_stream(|stream| masks.best_logits(stream, on_device, words, spans, scoring).map_err(TractError::msg));
            let found = self.guarded(logits)?;
            if let Some(at) = found.iter().position(|logit| !logit.is_finite()) {
                let (expected, found) = ("rows with a direction".into(), format!("row {}, zero or not finite", at % (rows * cols)));
                return Err(Error::Tensor { what: "patch embeddings".into(), expected, found });
            }
            planes.copy_from_slice(&found);
            Ok(())
        })?;
        let scored = Instant::now();
        let labels = request.labels.then(|| {
            let (width, height) = input.placement.frame_px;
            let planes = Planes::new(scores.planes(), 1 + scores.scores().len(), rows, cols);
            let planes = planes.ok_or_else(|| fail("image")(TractError::msg("expected a plane for each class")))?;
            let (row_taps, column_taps) = (input.placement.row_taps(height as usize), input.placement.column_taps(width as usize));
            let paint = || with_cuda_stream(|stream| masks.paint_labels(stream, &planes, &row_taps, &column_taps).map_err(TractError::msg));
            self.guarded(paint).map(|labels| LabelMap { width, height, labels })
        });
        let labels = labels.transpose()?;
        let timings = Timings {
            plan: planned - start,
            encode: encoded - planned,
            score: scored - encoded,
            mask: scored.elapsed(),
            ..Timings::default()
        };
        Ok(Masks { scores, labels, timings })
    }
}
