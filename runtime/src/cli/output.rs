//! How a command ends, and what it prints.

use std::io::Write;

use anyhow::Result;

/// How a command ended when it did not fail as a whole.
pub enum Outcome {
    Done,
    /// Some inputs failed; what was wrong has been said.
    SomeFailed,
    /// A check's answer is no, and said.
    No,
}

/// Writes one line of JSON to stdout.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    let mut stdout = edge_seg_terminal::results();
    stdout.write_all(&line)?;
    Ok(stdout.flush()?)
}
