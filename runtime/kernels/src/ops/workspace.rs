//! Memory of the layers in floats.

use crate::operands::Aligned;

/// Memory that layers use between calls.
#[derive(Debug, Clone, Default)]
pub struct Workspace {
    pub(crate) products: Aligned<f32>,
    pub(crate) logits: Aligned<f32>,
}
