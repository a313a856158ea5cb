/// The colour of the k-th class, counted from 1: hues a golden angle apart, so that any few neighbours differ, in three
/// alternating lightnesses, so that those who see no hues can still tell some of them apart.
pub fn class_colour(class: usize) -> [u8; 3] {
    const GOLDEN_ANGLE: f32 = 137.507_77;
    let index = class.saturating_sub(1);
    let hue = (index as f32 * GOLDEN_ANGLE + 10.0) % 360.0;
    let (saturation, value) = [(0.85, 1.0), (0.75, 0.80), (0.55, 1.0)][index % 3];
    let channel = |offset: f32| {
        let k = (offset + hue / 60.0) % 6.0;
        ((value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0)) * 255.0).round() as u8
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

#[cfg(test)]
mod tests {
    use super::class_colour;

    #[test]
    fn first_colours_are_far_apart() {
        let far = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).map(|(&a, b)| u32::from(a.abs_diff(b))).sum::<u32>();
        for a in 1..=12 {
            for b in 1..a {
                assert!(far(class_colour(a), class_colour(b)) >= 60, "classes {a} and {b}: {:?} {:?}", class_colour(a), class_colour(b));
            }
        }
    }
}
