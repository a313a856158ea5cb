//! Several looks at one picture, averaged: other sizes, mirrored, square windows that overlap.
//!
//! Each look goes through the runtime's own encoder. Its unit-norm patch embeddings are sampled bilinearly where the patches of the
//! plain look lie, and the mean, normalised again, is scored and drawn as one look's would be. Averaging embeddings is averaging cosines.

use edge_seg_bundle::{Bundle, Fit};
use edge_seg_model::{Encoded, Frame, MAX_PATCHES, Options, PatchGrid, Placement, Session};
use image::imageops;

use crate::{Error, Result};

/// How a picture is looked at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Looks {
    /// Side of the prepared input in pixels; the model's if none.
    pub size_px: Option<usize>,
    /// Factors on that side; `[1.0]` if empty.
    pub scales: Vec<f32>,
    /// Look at the mirrored picture as well.
    pub flip: bool,
    /// Instead of the whole scaled picture look at squares of it.
    pub windows: Option<Windows>,
}

/// Squares of a scaled picture, as sliding-window inference takes them: they overlap, and the last of a line ends at the border.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Side in pixels; where the scaled picture is smaller, the window is as small.
    pub side_px: usize,
    /// From one window to the next, in pixels.
    pub stride_px: usize,
}

/// Sessions for the looks of one bundle, each on one thread.
#[derive(Debug)]
pub struct Ensemble {
    sessions: Vec<Session>, // the first has the plain look's size
    looks: Vec<Look>,
    flip: bool,
    windows: Option<Windows>,
}

/// One scale: the picture's short side (of a letterbox the long one) in pixels, and the session that takes it or its windows.
#[derive(Debug, Clone, Copy)]
struct Look {
    side_px: usize,
    session: usize,
}

/// A part of a picture, in shares of its width and height.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    left: f32,
    top: f32,
    width: f32,
    height: f32,
}

const WHOLE: Part = Part { left: 0.0, top: 0.0, width: 1.0, height: 1.0 };

impl Ensemble {
    /// Loads `bundle` once for each size, with the device of `options`.
    ///
    /// # Errors
    /// [`Error::Option`] for a scale that is not in 0.1..=8, [`Error::Runtime`] if the runtime refuses the bundle or a size.
    pub fn new(bundle: &Bundle, looks: &Looks, options: &Options) -> Result<Self> {
        let image = &bundle.manifest().image;
        let base = looks.size_px.unwrap_or(image.input_px);
        let scales = if looks.scales.is_empty() { &[1.0][..] } else { &looks.scales };
        if let Some(w) = looks.windows
            && (w.side_px < image.patch_px || w.stride_px == 0 || w.stride_px > w.side_px)
        {
            let expected = format!("a side of {} or more and a stride of 1 up to the side", image.patch_px);
            return Err(Error::Option { option: "--windows".into(), expected, found: format!("{}/{}", w.side_px, w.stride_px) });
        }
        let (mut sizes, mut taken) = (vec![base], Vec::new());
        for &scale in scales {
            if !(0.1..=8.0).contains(&scale) {
                return Err(Error::Option { option: "--scales".into(), expected: "0.1 to 8".into(), found: scale.to_string() });
            }
            let patches = (base as f32 * scale / image.patch_px as f32).round().max(1.0) as usize;
            let side_px = if scale == 1.0 { base } else { patches * image.patch_px };
            let size = looks.windows.map_or(side_px, |w| w.side_px.min(side_px));
            let session = sizes.iter().position(|s| *s == size).unwrap_or_else(|| {
                sizes.push(size);
                sizes.len() - 1
            });
            taken.push(Look { side_px, session });
        }
        let session = |size| Session::new(bundle.clone(), &options.clone().with_size_px(size));
        let sessions = sizes.into_iter().map(session).collect::<edge_seg_model::Result<_>>()?;
        Ok(Self { sessions, looks: taken, flip: looks.flip, windows: looks.windows })
    }

    /// The session of the plain look.
    pub fn session(&self) -> &Session {
        &self.sessions[0]
    }

    /// Embeds a picture's patches: the mean over all looks, on the plain look's grid.
    ///
    /// # Errors
    /// As [`Session::encode`]; [`Error::Option`] if a look has more patches than the runtime takes, which it would shrink.
    pub fn encode(&self, frame: &Frame) -> Result<Encoded> {
        let image = &self.session().bundle().manifest().image;
        let kind = (image.fit, image.patch_px);
        whole(frame.pixels.dimensions(), kind, self.session().size_px())?;
        for taken in self.looks.iter().filter(|_| self.windows.is_none()) {
            whole(frame.pixels.dimensions(), kind, taken.side_px)?;
        }
        if self.sessions.len() == 1 && self.looks.len() == 1 && !self.flip && self.windows.is_none() {
            return Ok(self.session().encode(frame)?);
        }
        let manifest = self.session().bundle().manifest();
        let dim = manifest.embedding_dim;
        let (width, height) = frame.pixels.dimensions();
        let placement = Placement::new((width, height), &manifest.image, self.session().size_px())?;
        let (rows, cols) = placement.covered();
        let (mut sum, mut global) = (vec![0.0f32; rows * cols * dim], vec![0.0f32; dim]);
        let mut timings = edge_seg_model::Timings::default();
        for taken in &self.looks {
            let parts = self.windows.map_or(vec![WHOLE], |w| windows(width, height, taken.side_px, w, manifest.image.fit));
            for part in parts {
                for flipped in if self.flip { &[false, true][..] } else { &[false] } {
                    let seen = look(&self.sessions[taken.session], frame, part, *flipped)?;
                    timings.prepare += seen.timings.prepare;
                    timings.encode += seen.timings.encode;
                    global.iter_mut().zip(seen.grid.global().data()).for_each(|(g, x)| *g += x);
                    for row in 0..rows {
                        for col in 0..cols {
                            let centre = |i: usize, scaled: u32| ((i as f32 + 0.5) * placement.patch_px as f32 / scaled as f32).min(1.0);
                            let x = (centre(col, placement.scaled_px.0) - part.left) / part.width;
                            let y = (centre(row, placement.scaled_px.1) - part.top) / part.height;
                            if (0.0..=1.0).contains(&x) && (0.0..=1.0).contains(&y) {
                                let x = if *flipped { 1.0 - x } else { x };
                                sample(&seen, x, y, &mut sum[(row * cols + col) * dim..][..dim]);
                            }
                        }
                    }
                }
            }
        }
        Ok(Encoded::new(PatchGrid::new(rows, cols, dim, sum, global)?, placement, timings, self.session().backend()))
    }
}

/// Refuses a side at which a picture of `frame_px` (width, height) would be shrunk to [`MAX_PATCHES`].
///
/// # Errors
/// [`Error::Option`].
pub fn whole(frame_px: (u32, u32), (fit, patch_px): (Fit, usize), side_px: usize) -> Result<()> {
    let patches = |side: f64| (side / patch_px as f64).round().max(1.0) as usize;
    let (width, height) = (f64::from(frame_px.0), f64::from(frame_px.1));
    let (cols, rows) = match fit {
        Fit::Grid => (patches(side_px as f64 * width / width.min(height)), patches(side_px as f64 * height / width.min(height))),
        Fit::Letterbox | Fit::Squash => (patches(side_px as f64), patches(side_px as f64)),
    };
    if cols * rows > MAX_PATCHES {
        return Err(Error::Option {
            option: "--size or --scales".into(),
            expected: format!(
                "at most {MAX_PATCHES} patches of {patch_px} px; take a smaller --size, and look closer by --scales with --windows"
            ),
            found: format!("{cols}×{rows} at {side_px} px, of a picture of {}×{} px", frame_px.0, frame_px.1),
        });
    }
    Ok(())
}

fn look(session: &Session, frame: &Frame, part: Part, flipped: bool) -> Result<Encoded> {
    let (width, height) = frame.pixels.dimensions();
    let mut pixels = if part == WHOLE {
        frame.pixels.clone()
    } else {
        let px = |share: f32, whole: u32| (share * whole as f32).round() as u32;
        imageops::crop_imm(&frame.pixels, px(part.left, width), px(part.top, height), px(part.width, width), px(part.height, height))
            .to_image()
    };
    if flipped {
        imageops::flip_horizontal_in_place(&mut pixels);
    }
    Ok(session.encode(&Frame::still(pixels))?)
}

/// Adds the embedding at a place, given in shares of what was seen, bilinearly between patch centres, clamped at the borders.
fn sample(seen: &Encoded, x: f32, y: f32, sum: &mut [f32]) {
    let (rows, cols) = (seen.grid.rows(), seen.grid.cols());
    let at = |share: f32, scaled: u32, len: usize| {
        let place = (share * scaled as f32 / seen.placement.patch_px as f32 - 0.5).clamp(0.0, (len - 1) as f32);
        let low = place.floor() as usize;
        (low, (low + 1).min(len - 1), place - place.floor())
    };
    let (left, right, fx) = at(x, seen.placement.scaled_px.0, cols);
    let (top, bottom, fy) = at(y, seen.placement.scaled_px.1, rows);
    for (row, col, weight) in
        [(top, left, (1.0 - fy) * (1.0 - fx)), (top, right, (1.0 - fy) * fx), (bottom, left, fy * (1.0 - fx)), (bottom, right, fy * fx)]
    {
        if weight > 0.0 {
            sum.iter_mut().zip(seen.grid.patches().row(row * cols + col)).for_each(|(s, v)| *s += weight * v);
        }
    }
}

/// The windows of a picture whose short side (of a letterbox the long one) is scaled to `side_px`.
fn windows(width: u32, height: u32, side_px: usize, windows: Windows, fit: Fit) -> Vec<Part> {
    let reference = if fit == Fit::Grid { width.min(height) } else { width.max(height) };
    let scale = side_px as f64 / f64::from(reference);
    // Spans of one axis, in shares of its length.
    let line = |length: u32| -> Vec<(f32, f32)> {
        let scaled = ((f64::from(length) * scale).round() as usize).max(1);
        let side = windows.side_px.min(scaled);
        let mut starts: Vec<usize> = (0..=scaled - side).step_by(windows.stride_px).collect();
        if starts.last() != Some(&(scaled - side)) {
            starts.push(scaled - side);
        }
        starts.into_iter().map(|start| (start as f32 / scaled as f32, side as f32 / scaled as f32)).collect()
    };
    let across = line(width);
    let part = |(top, height): (f32, f32)| across.iter().map(move |&(left, width)| Part { left, top, width, height }).collect::<Vec<_>>();
    line(height).into_iter().flat_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_that_would_be_shrunk_is_refused() {
        whole((640, 480), (Fit::Grid, 16), 880).unwrap();
        let refused = whole((640, 480), (Fit::Grid, 16), 2048).unwrap_err().to_string();
        assert!(refused.contains("171×128 at 2048 px, of a picture of 640×480 px") && refused.contains("--windows"), "{refused}");
        whole((640, 480), (Fit::Letterbox, 16), 1024).unwrap();
        whole((640, 480), (Fit::Letterbox, 16), 1040).unwrap_err();
    }

    #[test]
    fn windows_cover_the_scaled_picture() {
        let w = Windows { side_px: 40, stride_px: 20 };
        assert_eq!(windows(64, 64, 40, w, Fit::Grid), [WHOLE]);
        let parts = windows(100, 40, 40, w, Fit::Grid);
        assert_eq!(parts.len(), 4, "starts 0, 20, 40, 60");
        assert_eq!(parts[3].left + parts[3].width, 1.0);
        let tall = windows(30, 70, 30, Windows { side_px: 30, stride_px: 15 }, Fit::Grid);
        assert_eq!(tall.iter().map(|p| (p.top * 70.0).round() as u32).collect::<Vec<_>>(), [0, 15, 30, 40]);
        assert!(tall.iter().all(|p| p.left == 0.0 && p.width == 1.0));
        // At twice the size the windows cover half of the short side; at half the size one is the whole.
        assert_eq!(windows(100, 50, 80, w, Fit::Grid).len(), 7 * 3);
        assert_eq!(windows(64, 64, 20, w, Fit::Grid), [WHOLE]);
        assert_eq!(windows(100, 50, 80, w, Fit::Letterbox).len(), 3);
    }
}
