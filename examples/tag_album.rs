//! Says of each picture of an album which words of a list it shows, best first:
//!
//! ```text
//! cargo run --release --example tag_album -- examples/pictures "cat, coffee, person, flag"
//! ```

use anyhow::{Context, Result};
use edge_seg::{Session, WordScore, expand_inputs, read_picture};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let album = arguments.next().context("expected a folder")?;
    let words = arguments.next().context("expected words, separated by commas")?;

    let session = Session::built_in()?;
    let words = session.words(&words)?;
    let threshold = session.bundle().manifest().tag_threshold;
    for path in expand_inputs(&[album]) {
        let path = path?;
        let scores = session.class_scores(&session.encode(&read_picture(&path)?)?, &words, WordScore::Pixel)?;
        let mut tags: Vec<_> = words.names().iter().zip(scores).filter(|(_, score)| *score >= threshold).collect();
        tags.sort_by(|a, b| b.1.total_cmp(&a.1));
        let tags: Vec<_> = tags.iter().map(|(name, score)| format!("{name} {score:.2}")).collect();
        println!("{}: {}", path.display(), tags.join(", "));
    }
    Ok(())
}
