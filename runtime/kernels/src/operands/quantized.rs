//! How a row of numbers lies in bytes.

/// How a row's bytes come back to numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RowRange {
    pub(crate) scale: f32,
    pub(crate) zero: i32,
}

impl RowRange {
    /// The range of numbers from `low` to `high`, with the factor that brings them to `levels` steps; `None` if all are as good as zero.
    pub(crate) fn new(low: f32, high: f32, levels: u8) -> Option<(RowRange, f32)> {
        let (low, high, levels) = (low.min(0.0), high.max(0.0), f32::from(levels));
        let inverse = levels / (high - low);
        let zero = (-low * inverse).round_ties_even().clamp(0.0, levels);
        inverse.is_normal().then_some((RowRange { scale: (high - low) / levels, zero: zero as i32 }, inverse))
    }

    /// Of a row without a number other than zero.
    pub(crate) const ZERO: RowRange = RowRange { scale: 0.0, zero: 0 };
    /// Of a row that holds NaN or infinity: all that is made from it is NaN.
    pub(crate) const NAN: RowRange = RowRange { scale: f32::NAN, zero: 0 };
}
