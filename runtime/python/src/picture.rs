//! Pictures as Python has them: arrays, PIL's images, tensors and paths.

use edge_seg::image::{DynamicImage, RgbImage, RgbaImage};
use edge_seg::ndarray::{ArrayView2, ArrayViewD, Axis, Ix3};
use edge_seg::{Frame, decode_picture, read_picture as read};
use numpy::{PyArray3, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyMemoryError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyMemoryView};

use crate::error::{ImageError, OrRaise, option};
use crate::guest::{call, outside};
use crate::path::{Path, is_path};

/// In which order an array has its channels. PIL's images and files say it themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Rgb,
    Bgr,
}

impl Order {
    pub fn parse(text: &str) -> PyResult<Self> {
        match text {
            "rgb" => Ok(Self::Rgb),
            "bgr" => Ok(Self::Bgr),
            other => Err(option("order", "\"rgb\", or \"bgr\" as OpenCV and picamera2's RGB888 have it", format!("{other:?}"))),
        }
    }
}

/// Longest side of an array.
const MAX_SIDE_PX: usize = 1 << 16;

/// A frame of any of them.
///
/// # Errors
/// `TypeError` for what is no picture, [`ImageError`] for one that cannot be used, `OSError` for a file that cannot be read.
pub fn frame(image: &Bound<'_, PyAny>, order: Order) -> PyResult<Frame> {
    let py = image.py();
    if let Ok(array) = image.cast::<PyArrayDyn<u8>>() {
        return of_array(array, order);
    }
    if let Ok(array) = image.cast::<PyUntypedArray>() {
        return Err(wrong_dtype(array));
    }
    if is_path(image)? {
        let Path(path) = image.extract()?;
        return outside(py, || read(&path)).or_raise();
    }
    if image.hasattr(intern!(py, "getbands"))? && image.hasattr(intern!(py, "convert"))? {
        return of_pil(image);
    }
    let numpy = py.import(intern!(py, "numpy"))?;
    let array = if image.hasattr(intern!(py, "__array_interface__"))? || image.hasattr(intern!(py, "__array__"))? {
        call(&numpy.getattr(intern!(py, "asarray"))?, (image,))?
    } else if image.hasattr(intern!(py, "__dlpack__"))? {
        call(&numpy.getattr(intern!(py, "from_dlpack"))?, (image,))?
    } else {
        // What an upload or a message holds.
        let is_bytes = image.is_instance_of::<PyBytes>() || image.is_instance_of::<PyByteArray>() || image.is_instance_of::<PyMemoryView>();
        let hint = if is_bytes { "; try: edge_seg.read_picture(bytes(data)), for a picture's file" } else { "" };
        return Err(PyTypeError::new_err(format!(
            "picture: expected a numpy array, a PIL image, a path, or what has __array_interface__, __array__ or __dlpack__, found {}{hint}",
            image.get_type().name()?
        )));
    };
    match array.cast::<PyArrayDyn<u8>>() {
        Ok(array) => of_array(array, order),
        Err(_) => Err(wrong_dtype(array.cast::<PyUntypedArray>()?)),
    }
}

fn wrong_dtype(array: &Bound<'_, PyUntypedArray>) -> PyErr {
    let dtype = array.dtype();
    let hint = match dtype.kind() {
        b'f' => "; try: (image * 255).round().astype(numpy.uint8), if it is of 0 to 1",
        b'b' => "; try: image.astype(numpy.uint8) * 255",
        b'u' | b'i' => "; try: scale it to 0..255, then image.astype(numpy.uint8)",
        _ => "",
    };
    ImageError::new_err(format!("picture: expected an array of uint8, found {dtype}{hint}"))
}

fn of_array(array: &Bound<'_, PyArrayDyn<u8>>, order: Order) -> PyResult<Frame> {
    let locked = array.try_readonly().map_err(|error| ImageError::new_err(format!("picture: {error}")))?;
    let view = locked.as_array();
    let shape = view.shape().to_vec();
    let wrong = |hint: &str| {
        let expected = "an array of height × width × 3 (or 4, or 1), or height × width";
        Err(ImageError::new_err(format!("picture: expected {expected}, found shape {shape:?}{hint}")))
    };
    match shape[..] {
        [height, width, ..] if shape.len() < 4 && (height == 0 || width == 0) => return wrong(""),
        [_, _] | [_, _, 1 | 3 | 4] => {}
        [1 | 3 | 4, _, _] => return wrong("; try: numpy.moveaxis(image, 0, -1), for channels that come first"),
        [_, _, _, _] => return wrong("; try: one picture of the batch at a time"),
        _ => return wrong(""),
    }
    if shape[..2].iter().any(|side| *side > MAX_SIDE_PX) {
        return wrong(", with a side of more than 65536");
    }
    Ok(Frame::still(pixels(view, order)?))
}

/// Whatever the strides are: lines whose pixels lie together are taken line by line.
fn pixels(view: ArrayViewD<'_, u8>, order: Order) -> PyResult<RgbImage> {
    let view = if view.ndim() == 2 { view.insert_axis(Axis(2)) } else { view };
    let view = view.into_dimensionality::<Ix3>().expect("two or three axes, just looked at");
    let (height, width, channels) = view.dim();
    let line = 3 * width;
    let mut bytes = Vec::new();
    // A view may be larger than memory is: a file that is mapped, or one value for all.
    let no_room =
        |_| PyMemoryError::new_err(format!("picture: expected room for {} bytes of {width}×{height} pixels, found none", height * line));
    bytes.try_reserve_exact(height * line).map_err(no_room)?;
    if let (Some(all), 3, Order::Rgb) = (view.as_slice(), channels, order) {
        bytes.extend_from_slice(all);
        return Ok(RgbImage::from_raw(width as u32, height as u32, bytes).expect("three bytes a pixel"));
    }
    bytes.resize(height * line, 0);
    for (out, row) in bytes.chunks_exact_mut(line).zip(view.outer_iter()) {
        match row.as_slice() {
            Some(row) => copy_line(out, row, channels, order),
            None => copy_line(out, &gathered(row), channels, order),
        }
    }
    Ok(RgbImage::from_raw(width as u32, height as u32, bytes).expect("three bytes a pixel"))
}

fn gathered(row: ArrayView2<'_, u8>) -> Vec<u8> {
    row.iter().copied().collect()
}

fn copy_line(out: &mut [u8], row: &[u8], channels: usize, order: Order) {
    let pixels = out.chunks_exact_mut(3);
    match (channels, order) {
        (1, _) => pixels.zip(row).for_each(|(out, grey)| out.fill(*grey)),
        (3, Order::Rgb) => out.copy_from_slice(row),
        (3, Order::Bgr) => pixels.zip(row.chunks_exact(3)).for_each(|(out, p)| out.copy_from_slice(&[p[2], p[1], p[0]])),
        (_, Order::Rgb) => pixels.zip(row.chunks_exact(4)).for_each(|(out, p)| out.copy_from_slice(&[p[0], p[1], p[2]])),
        (_, Order::Bgr) => pixels.zip(row.chunks_exact(4)).for_each(|(out, p)| out.copy_from_slice(&[p[2], p[1], p[0]])),
    }
}

/// A PIL image as a file of it would be read: transparency is laid over white.
fn of_pil(image: &Bound<'_, PyAny>) -> PyResult<Frame> {
    let py = image.py();
    let mode: String = image.getattr(intern!(py, "mode"))?.extract()?;
    if mode.starts_with('I') || mode.starts_with('F') {
        return Err(ImageError::new_err(format!(
            "picture: expected a PIL image of 8 bits a channel, found mode {mode}; try: the file's path, or scale it to mode L"
        )));
    }
    let info = image.getattr(intern!(py, "info"))?;
    let has_alpha = |mode: &str| mode.ends_with('A') || mode.ends_with('a');
    // A palette's colours may be clear as well.
    let palette = image.getattr(intern!(py, "palette"))?.getattr(intern!(py, "mode")).and_then(|mode| mode.extract::<String>());
    let clear = has_alpha(&mode)
        || (mode == "P" && palette.is_ok_and(|palette| has_alpha(&palette)))
        || info.cast::<PyDict>().is_ok_and(|info| info.contains("transparency").unwrap_or(false));
    let wanted = if clear { "RGBA" } else { "RGB" };
    let converted = if mode == wanted { image.clone() } else { call(&image.getattr(intern!(py, "convert"))?, (wanted,))? };
    let array = call(&py.import(intern!(py, "numpy"))?.getattr(intern!(py, "asarray"))?, (converted,))?;
    let array = array.cast::<PyArrayDyn<u8>>()?;
    if !clear {
        return of_array(array, Order::Rgb);
    }
    let locked = array.try_readonly().map_err(|error| ImageError::new_err(format!("picture: {error}")))?;
    let (height, width) = (locked.shape()[0] as u32, locked.shape()[1] as u32);
    let bytes = locked.as_array().iter().copied().collect();
    let picture = RgbaImage::from_raw(width, height, bytes).ok_or_else(|| ImageError::new_err("picture: expected four bytes a pixel"))?;
    if width == 0 || height == 0 {
        return Err(ImageError::new_err(format!("picture: expected pixels, found {width}×{height}")));
    }
    Ok(Frame::from(DynamicImage::ImageRgba8(picture)))
}

/// A frame's pixels as an array of their own. `[height, width, 3]`
pub fn array_of<'py>(py: Python<'py>, pixels: &RgbImage) -> PyResult<Bound<'py, PyArray3<u8>>> {
    array_from(py, pixels.clone())
}

/// As [`array_of`], in the picture's own memory.
pub fn array_from(py: Python<'_>, pixels: RgbImage) -> PyResult<Bound<'_, PyArray3<u8>>> {
    let shape = [pixels.height() as usize, pixels.width() as usize, 3];
    numpy::PyArray1::from_vec(py, pixels.into_raw()).reshape(shape)
}

/// Reads a picture's file, upright: uint8 of height × width × 3, red first. A path, or the file's bytes.
#[pyfunction]
pub fn read_picture<'py>(py: Python<'py>, file: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray3<u8>>> {
    let frame = match file.cast::<PyBytes>() {
        Ok(bytes) => {
            let bytes = bytes.as_bytes();
            outside(py, || decode_picture("bytes", bytes)).or_raise()?
        }
        Err(_) => {
            let Path(path) = file.extract()?;
            outside(py, || read(&path)).or_raise()?
        }
    };
    array_from(py, frame.pixels)
}
