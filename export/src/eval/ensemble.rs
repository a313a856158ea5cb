//! Several looks at one picture, averaged: other sizes, mirrored, square windows along the long side.
//!
//! Each look goes through the runtime's own encoder. Its unit-norm patch embeddings are sampled bilinearly where the patches of the
//! plain look lie, and the mean, normalised again, is scored and drawn as one look's would be. Averaging embeddings is averaging cosines.

use edge_seg::{Bundle, Encoded, Frame, Options, PatchGrid, Placement, Session};
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
    /// Instead of the whole picture look at squares of its short side, half a square apart.
    pub windows: bool,
}

/// Sessions for the looks of one bundle, each on one thread.
#[derive(Debug)]
pub struct Ensemble {
    sessions: Vec<Session>,
    flip: bool,
    windows: bool,
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
    /// Loads `bundle` once for each size.
    ///
    /// # Errors
    /// [`Error::Option`] for a scale that is not in 0.1..=8, [`Error::Runtime`] if the runtime refuses the bundle or a size.
    pub fn new(bundle: &Bundle, looks: &Looks) -> Result<Self> {
        let image = &bundle.manifest().image;
        let base = looks.size_px.unwrap_or(image.input_px);
        let scales = if looks.scales.is_empty() { &[1.0][..] } else { &looks.scales };
        let mut sizes = vec![base];
        for &scale in scales {
            if !(0.1..=8.0).contains(&scale) {
                return Err(Error::Option { option: "--scales".into(), expected: "0.1 to 8".into(), found: scale.to_string() });
            }
            let patches = (base as f32 * scale / image.patch_px as f32).round().max(1.0) as usize;
            sizes.push(patches * image.patch_px);
        }
        // The first session owns the placement; it takes part in the mean only where its size is among the scales.
        let own = sizes[1..].iter().position(|s| *s == base);
        match own {
            Some(at) => drop(sizes.remove(1 + at)),
            None => return Err(Error::Option { option: "--scales".into(), expected: "1 among them".into(), found: format!("{scales:?}") }),
        }
        let session = |size| Session::new(bundle.clone(), &Options { size_px: Some(size), threads: Some(1), ..Default::default() });
        let sessions = sizes.into_iter().map(session).collect::<edge_seg::Result<_>>()?;
        Ok(Self { sessions, flip: looks.flip, windows: looks.windows })
    }

    /// The session of the plain look.
    pub fn session(&self) -> &Session {
        &self.sessions[0]
    }

    /// Embeds a picture's patches: the mean over all looks, on the plain look's grid.
    ///
    /// # Errors
    /// As [`Session::encode`].
    pub fn encode(&self, frame: &Frame) -> Result<Encoded> {
        if self.sessions.len() == 1 && !self.flip && !self.windows {
            return Ok(self.session().encode(frame)?);
        }
        let manifest = self.session().bundle().manifest();
        let dim = manifest.embedding_dim;
        let (width, height) = frame.pixels.dimensions();
        let placement = Placement::new((width, height), &manifest.image, self.session().size_px())?;
        let (rows, cols) = placement.covered();
        let (mut sum, mut global) = (vec![0.0f32; rows * cols * dim], vec![0.0f32; dim]);
        let mut timings = edge_seg::Timings::default();
        for part in if self.windows { windows(width, height) } else { vec![WHOLE] } {
            for session in &self.sessions {
                for flipped in if self.flip { &[false, true][..] } else { &[false] } {
                    let seen = look(session, frame, part, *flipped)?;
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
        Ok(Encoded { grid: PatchGrid::new(rows, cols, dim, sum, global)?, placement, timings, backend: self.session().backend() })
    }
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

/// Squares of the short side along the long one, half a square apart, the last one at the end.
fn windows(width: u32, height: u32) -> Vec<Part> {
    let (short, long) = (width.min(height), width.max(height));
    let step = (short / 2).max(1);
    let mut starts: Vec<u32> = (0..=long - short).step_by(step as usize).collect();
    if starts.last() != Some(&(long - short)) {
        starts.push(long - short);
    }
    let share = |px: u32| px as f32 / long as f32;
    starts
        .into_iter()
        .map(|start| match width > height {
            true => Part { left: share(start), width: share(short), ..WHOLE },
            false => Part { top: share(start), height: share(short), ..WHOLE },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_the_long_side() {
        assert_eq!(windows(64, 64), [WHOLE]);
        let parts = windows(100, 40);
        assert_eq!(parts.len(), 4, "starts 0, 20, 40, 60");
        assert_eq!(parts[3].left + parts[3].width, 1.0);
        let tall = windows(30, 70);
        assert_eq!(tall.iter().map(|p| (p.top * 70.0).round() as u32).collect::<Vec<_>>(), [0, 15, 30, 40]);
        assert!(tall.iter().all(|p| p.left == 0.0 && p.width == 1.0));
    }
}
