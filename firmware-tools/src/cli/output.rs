use std::io::Write;

use anyhow::Result;

pub fn print(text: &str) -> Result<()> {
    let mut out = edge_seg_terminal::results();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
