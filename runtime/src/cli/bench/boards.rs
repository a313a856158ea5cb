//! The same encoder on boards, to compare with: what is predicted says so, and counts the arithmetic alone.

use edge_seg::Multiplications;
use serde::Serialize;

/// A board and the rates of its kernels' inner loops.
struct Board {
    name: &'static str,
    clock_ghz: f64,
    cores: f64,
    /// Multiplications a core does in a cycle, in floats and in 8-bit integers: `runtime/benches/neon.py`, in `docs/kernels.md`.
    floats: f64,
    integers: f64,
}

const BOARDS: [Board; 2] = [
    Board { name: "Raspberry Pi 4 (Cortex-A72)", clock_ghz: 1.8, cores: 4.0, floats: 3.87, integers: 6.73 },
    Board { name: "Raspberry Pi 5 (Cortex-A76)", clock_ghz: 2.4, cores: 4.0, floats: 7.52, integers: 31.96 },
];

/// How long the encoder takes on a board.
#[derive(Serialize)]
pub struct Line {
    pub board: &'static str,
    pub one_thread_ms: f64,
    pub all_cores_ms: f64,
    pub known_by: &'static str,
}

/// The boards' times for so many multiplications.
pub fn lines(work: Multiplications) -> Vec<Line> {
    let line = |board: &Board| {
        let cycles = work.floats as f64 / board.floats + work.integers as f64 / board.integers;
        let one_thread_ms = cycles / (board.clock_ghz * 1e6);
        Line {
            board: board.name,
            one_thread_ms,
            all_cores_ms: one_thread_ms / board.cores,
            known_by: "predicted: arithmetic alone, at least",
        }
    };
    BOARDS.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_multiplications_take_what_the_rates_say() {
        let lines = lines(Multiplications { floats: 3_870_000, integers: 6_730_000 });
        assert!((lines[0].one_thread_ms - 2.0 / 1.8).abs() < 1e-9, "two million cycles at 1.8 GHz");
        assert!((lines[0].all_cores_ms * 4.0 - lines[0].one_thread_ms).abs() < 1e-9);
        assert!(lines.iter().all(|line| line.known_by.starts_with("predicted")));
    }
}
