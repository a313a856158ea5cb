//! Pictures in the caller's memory.

use edge_seg::{Channels, Frame, read_picture};

use crate::border::{Result, Sized32, argument, slice, versioned};

/// Red, green, blue, one byte each.
pub const EDGE_SEG_RGB: u32 = 0;
/// Blue, green, red, as OpenCV has it.
pub const EDGE_SEG_BGR: u32 = 1;
/// Red, green, blue, and one that is left out.
pub const EDGE_SEG_RGBA: u32 = 2;
/// Blue, green, red, and one that is left out.
pub const EDGE_SEG_BGRA: u32 = 3;
/// One byte of brightness.
pub const EDGE_SEG_GREY: u32 = 4;

/// A picture in memory. It is read during the call and not kept.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct EdgeSegImage {
    /// sizeof(EdgeSegImage).
    pub struct_size: u32,
    /// EDGE_SEG_RGB and so on.
    pub format: u32,
    /// Pixels of a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// From the start of a line to that of the next; 0 if lines follow each other.
    pub stride_bytes: usize,
    /// The first line.
    pub data: *const u8,
    /// Bytes there are; the last line may end with its pixels.
    pub data_bytes: usize,
}

// SAFETY: numbers and a pointer, which may all be zero; `repr(C)`, and the size comes first.
unsafe impl Sized32 for EdgeSegImage {
    const FIRST: usize = size_of::<Self>();
}

/// The frame of a picture.
pub(crate) unsafe fn frame(image: *const EdgeSegImage) -> Result<Frame> {
    // SAFETY: the caller's structure begins with its size, and its pixels are as many as it says.
    unsafe { frame_of(versioned("image", image)?) }
}

/// As [`frame`], of a structure that was read.
pub(crate) unsafe fn frame_of(image: EdgeSegImage) -> Result<Frame> {
    let (channels, bytes) = match image.format {
        EDGE_SEG_RGB => (Channels::Rgb, 3),
        EDGE_SEG_BGR => (Channels::Bgr, 3),
        EDGE_SEG_RGBA => (Channels::Rgba, 4),
        EDGE_SEG_BGRA => (Channels::Bgra, 4),
        EDGE_SEG_GREY => (Channels::Grey, 1),
        other => return Err(argument("image.format", "EDGE_SEG_RGB, _BGR, _RGBA, _BGRA or _GREY", other)),
    };
    let stride = if image.stride_bytes == 0 { bytes * image.width as usize } else { image.stride_bytes };
    // SAFETY: the caller has as many bytes as it says.
    let data = unsafe { slice("image.data", image.data, image.data_bytes) }?;
    Ok(Frame::from_raw(channels, (image.width, image.height), stride, data)?)
}

/// The frame of a picture's file.
pub(crate) fn file(path: &str) -> Result<Frame> {
    Ok(read_picture(path.as_ref())?)
}
