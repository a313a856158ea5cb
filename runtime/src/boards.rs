//! Boards to compare with: the one table of what their processors can multiply, and the times that follow from it.
//!
//! Nothing here was measured on a board. Each rate is what llvm-mca predicts for the inner loop of the encoders' layers
//! (`runtime/kernels/benches/neon.py`, in `docs/kernels.md`): memory, the layers between the products and other programs come on top, so
//! a time is the least that can be expected.

use crate::Multiplications;

/// A kind of processor core and what it multiplies, with an addition each, in a cycle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Core {
    /// As its maker calls it.
    pub name: &'static str,
    /// 32-bit floats.
    pub floats: f64,
    /// 16-bit floats, where it has them.
    pub halves: Option<f64>,
    /// 8-bit integers, summed in 32 bits.
    pub integers: f64,
}

/// A board.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Board {
    /// Short name, as bundles and reports use it.
    pub key: &'static str,
    /// Name for people.
    pub name: &'static str,
    /// What it computes with.
    pub core: Core,
    /// How many of them; of boards with several builds, the smallest.
    pub cores: usize,
    /// Their clock, of the same build.
    pub clock_ghz: f64,
}

const A53: Core = Core { name: "Cortex-A53", floats: 1.37, halves: None, integers: 2.51 };
// LLVM schedules Cortex-A72 by the Cortex-A57's model.
const A57: Core = Core { name: "Cortex-A57", ..A72 };
const A72: Core = Core { name: "Cortex-A72", floats: 3.92, halves: None, integers: 6.73 };
// Scheduled as Neoverse N1, the server core made from Cortex-A76; Cortex-A78AE is its successor with as many vector units.
const A76: Core = Core { name: "Cortex-A76", floats: 7.67, halves: Some(13.84), integers: 31.99 };
const A78AE: Core = Core { name: "Cortex-A78AE", ..A76 };
const V3AE: Core = Core { name: "Neoverse V3AE", floats: 14.37, halves: Some(27.91), integers: 113.65 };

/// The boards whose cores LLVM has a model of.
pub const BOARDS: [Board; 7] = [
    Board { key: "pi-zero2", name: "Raspberry Pi Zero 2", core: A53, cores: 4, clock_ghz: 1.0 },
    Board { key: "pi3", name: "Raspberry Pi 3", core: A53, cores: 4, clock_ghz: 1.2 },
    Board { key: "pi4", name: "Raspberry Pi 4", core: A72, cores: 4, clock_ghz: 1.5 },
    Board { key: "pi5", name: "Raspberry Pi 5", core: A76, cores: 4, clock_ghz: 2.4 },
    Board { key: "jetson-nano", name: "Jetson Nano", core: A57, cores: 4, clock_ghz: 1.43 },
    Board { key: "jetson-orin", name: "Jetson Orin Nano", core: A78AE, cores: 6, clock_ghz: 1.5 },
    Board { key: "jetson-thor", name: "Jetson Thor T5000", core: V3AE, cores: 14, clock_ghz: 2.6 },
];

/// The board of this key, where something is predicted for it.
pub fn find(key: &str) -> Option<&'static Board> {
    BOARDS.iter().find(|board| board.key == key)
}

impl Board {
    /// The same board with products of floats in 16 bits, where it has them.
    pub fn in_halves(self) -> Option<Board> {
        let floats = self.core.halves?;
        Some(Board { core: Core { floats, ..self.core }, ..self })
    }

    /// Milliseconds that so many multiplications take at least on `cores` of its cores.
    pub fn least_ms(&self, work: Multiplications, cores: usize) -> f64 {
        let cycles = work.floats as f64 / self.core.floats + work.integers as f64 / self.core.integers;
        cycles / (self.clock_ghz * 1e6 * cores.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_multiplications_take_what_the_rates_say() {
        let pi4 = find("pi4").unwrap();
        let work = Multiplications { floats: 3_920_000, integers: 6_730_000 };
        assert!((pi4.least_ms(work, 1) - 2.0 / 1.5).abs() < 1e-9, "two million cycles at 1.5 GHz");
        assert!((pi4.least_ms(work, pi4.cores) * 4.0 - pi4.least_ms(work, 1)).abs() < 1e-9);
        assert!(find("toaster").is_none());
        assert!(pi4.in_halves().is_none(), "Cortex-A72 has no 16-bit floats");
        let pi5 = find("pi5").unwrap();
        let (floats, halves) = (pi5.least_ms(work, 1), pi5.in_halves().unwrap().least_ms(work, 1));
        let saved = 3.92 * (1.0 / 7.67 - 1.0 / 13.84) / 2.4;
        assert!((floats - halves - saved).abs() < 1e-9, "integers take as long as before");
    }
}
