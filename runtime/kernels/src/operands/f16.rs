//! 16-bit floats as integers that hold their bits.

/// The nearest 16-bit float, ties to even; what is too large becomes infinite.
pub(crate) fn to_f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = f32::from_bits(bits & 0x7fff_ffff);
    if magnitude >= 65520.0 {
        return sign | 0x7c00;
    }
    // Adding a power of two 2^13 times the last place of the result makes the addition itself round to that place.
    let exponent = ((magnitude.to_bits() >> 23).max(113) + 13) << 23;
    let rounded = (magnitude + f32::from_bits(exponent)).to_bits() - exponent;
    let half = if magnitude.to_bits() >> 23 < 113 {
        rounded
    } else {
        // The mantissa's carry runs on into the exponent, as it should.
        rounded + (((magnitude.to_bits() >> 23) - 113) << 10)
    };
    sign | half as u16
}

/// The value of a finite 16-bit float.
pub(crate) fn from_f16(half: u16) -> f32 {
    let magnitude = f32::from_bits(u32::from(half & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(magnitude.to_bits() | u32::from(half & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_floats_round_to_the_nearest_and_back_exactly() {
        for half in (0..0x7c00).chain(0x8000..0xfc00) {
            assert_eq!(to_f16(from_f16(half)), half);
        }
        let step = |half: u16| (from_f16(half), from_f16(half + 1));
        for half in [0, 1, 5, 0x3ff, 0x400, 0x3bff, 0x3c00, 0x7bfe] {
            let (low, high) = step(half);
            let middle = (low + high) / 2.0;
            assert_eq!(to_f16(middle), half + (half & 1), "ties go to the even one");
            assert_eq!(to_f16(middle * 0.999_999), half);
            assert_eq!(to_f16(middle * 1.000_001), half + 1);
        }
        assert_eq!((to_f16(65519.0), to_f16(65520.0), to_f16(-1e9)), (0x7bff, 0x7c00, 0xfc00));
    }
}
