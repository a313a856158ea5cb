//! Says of each picture of an album which words of a list it shows, best first:
//!
//! ```text
//! cargo run --release -p edge-seg-examples --example tag_album -- examples/pictures "cat, coffee, person, flag"
//! ```

use anyhow::{Context, Result};
use edge_seg::{Bundle, Options, Session, TagScore, expand_inputs, parse_tags, read_picture, score_tags};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let album = arguments.next().context("expected a folder")?;
    let words = arguments.next().context("expected words, separated by commas")?;

    let session = Session::new(Bundle::built_in()?, &Options::default())?;
    let bank = session.tag_bank(&parse_tags("the words", &words)?, &[])?;
    let threshold = session.bundle().manifest().tag_threshold;
    for path in expand_inputs(&[album]) {
        let path = path?;
        let encoded = session.encode(&read_picture(&path)?)?;
        let scores = score_tags(TagScore::Pixel, &encoded.grid, &bank, None, session.bundle().manifest().into())?;
        let mut tags: Vec<_> = bank.names().iter().zip(scores).filter(|(_, score)| *score >= threshold).collect();
        tags.sort_by(|a, b| b.1.total_cmp(&a.1));
        let tags: Vec<_> = tags.iter().map(|(name, score)| format!("{name} {score:.2}")).collect();
        println!("{}: {}", path.display(), tags.join(", "));
    }
    Ok(())
}
