use edge_seg_bundle::Positions;

/// Resamples position embeddings to another grid: bicubic with a = -0.75, half-pixel centres, clamped borders, no
/// antialias, as `torch.nn.functional.interpolate(mode="bicubic", align_corners=False)` does. The class token's row stays.
///
/// # Shapes
/// `stored`: `[1 + stored rows · stored cols, width]`; the result: `[1 + rows · cols, width]`.
pub(crate) fn resample(stored: &[f32], layout: &Positions, rows: usize, cols: usize) -> Vec<f32> {
    let width = layout.width;
    let (class_token, grid) = stored.split_at(width);
    if (rows, cols) == (layout.rows, layout.cols) {
        return stored.to_vec();
    }
    let column_taps: Vec<_> = (0..cols).map(|x| cubic_taps(x, cols, layout.cols)).collect();
    let mut across = vec![0.0; layout.rows * cols * width];
    for (y, out) in across.chunks_exact_mut(cols * width).enumerate() {
        for (taps, out) in column_taps.iter().zip(out.chunks_exact_mut(width)) {
            for &(x, weight) in taps {
                let row = &grid[(y * layout.cols + x) * width..][..width];
                out.iter_mut().zip(row).for_each(|(o, v)| *o += weight * v);
            }
        }
    }
    let mut result = vec![0.0; (1 + rows * cols) * width];
    result[..width].copy_from_slice(class_token);
    for (y, out) in result[width..].chunks_exact_mut(cols * width).enumerate() {
        for (source, weight) in cubic_taps(y, rows, layout.rows) {
            let row = &across[source * cols * width..][..cols * width];
            out.iter_mut().zip(row).for_each(|(o, v)| *o += weight * v);
        }
    }
    result
}

/// The four source indices and weights of the cubic convolution kernel (Keys 1981) at output index `i`.
fn cubic_taps(i: usize, out: usize, source: usize) -> [(usize, f32); 4] {
    const A: f64 = -0.75;
    let at = (i as f64 + 0.5) * source as f64 / out as f64 - 0.5;
    let base = at.floor();
    let t = at - base;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
    let mut taps = [(0, 0.0); 4];
    for (k, tap) in taps.iter_mut().enumerate() {
        let index = (base + k as f64 - 1.0).clamp(0.0, (source - 1) as f64);
        *tap = (index as usize, weights[k] as f32);
    }
    taps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_torch_on_a_ramp() {
        let layout = Positions::new("", 2, 3, 1);
        let stored = [9.0, 0.0, 1.0, 4.0, 2.0, 3.0, 8.0];
        // torch.nn.functional.interpolate(torch.tensor([[[[0.,1,4],[2,3,8]]]]), size=(3,2), mode="bicubic")
        let expected = [-0.046_413_872, 3.047_581, 1.085_937_5, 5.128_906_2, 2.218_288_7, 7.210_232_7];
        let found = resample(&stored, &layout, 3, 2);
        assert_eq!(found[0], 9.0, "the class token's row stays");
        for (f, e) in found[1..].iter().zip(expected) {
            assert!((f - e).abs() < 1e-5, "{found:?}");
        }
    }

    #[test]
    fn the_stored_grid_comes_back_as_it_is() {
        let layout = Positions::new("", 2, 2, 2);
        let stored: Vec<f32> = (0..10).map(|v| v as f32).collect();
        assert_eq!(resample(&stored, &layout, 2, 2), stored);
    }
}
