/// Most pixels of a label picture.
pub(super) const MAX_PIXELS: u64 = 1 << 28;

/// A label picture: the values as they are in the file, palettes not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelPicture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Row by row. `[height, width]`
    pub values: Vec<u32>,
}
