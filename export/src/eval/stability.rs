//! Temporal stability: labels that change from frame to frame while the world does not.

/// Counts flicker between two consecutive frames of one size: of the pixels whose true label is the same in both, how many were given
/// another label in the second than in the first. `[changed, counted]`; pixels that either frame ignores (`None`) are not counted.
///
/// Slices are `[height, width]`, row by row.
///
/// # Panics
/// If the slices differ in length.
pub fn flicker(before: (&[Option<u16>], &[u16]), after: (&[Option<u16>], &[u16])) -> [u64; 2] {
    let len = before.0.len();
    assert!([before.1.len(), after.0.len(), after.1.len()].iter().all(|n| *n == len), "frames of one size");
    let mut counts = [0; 2];
    for i in 0..len {
        if before.0[i].is_some() && before.0[i] == after.0[i] {
            counts[1] += 1;
            counts[0] += u64::from(before.1[i] != after.1[i]);
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_without_a_cause_count() {
        let truth = ([Some(1), Some(1), Some(2), None, Some(0)], [Some(1), Some(2), Some(2), Some(2), None]);
        let found = ([1, 1, 2, 3, 0], [2, 2, 2, 1, 1]);
        // Counted: the first and the third pixel; the first flickers.
        assert_eq!(flicker((&truth.0, &found.0), (&truth.1, &found.1)), [1, 2]);
        assert_eq!(flicker((&truth.0, &found.0), (&truth.0, &found.0)), [0, 4]);
    }
}
