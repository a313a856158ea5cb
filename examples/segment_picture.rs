//! Segments one picture by words, with the model that the library carries:
//!
//! ```text
//! cargo run --release -p edge-seg-examples --example segment_picture -- examples/pictures/cat.jpg "cat, wall"
//! ```

use anyhow::{Context, Result};
use edge_seg::sink::{LegendEntry, OverlayOptions, draw_overlay};
use edge_seg::{Background, Bundle, Options, Session, parse_tags, read_picture};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let picture = arguments.next().context("expected a picture")?;
    let words = arguments.next().context("expected words, separated by commas")?;

    let session = Session::new(Bundle::built_in()?, &Options::default())?;
    let bank = session.tag_bank(&parse_tags("the words", &words)?, &[])?;
    let frame = read_picture(picture.as_ref())?;
    let found = session.segment(&frame, &bank, Background::Threshold(session.bundle().manifest().background))?;

    let mut legend = Vec::new();
    for (i, (name, &score)) in bank.names().iter().zip(found.scores.scores()).enumerate() {
        println!("{name}: {score:.2}");
        legend.push(LegendEntry { label: i + 1, name: name.clone(), score });
    }
    draw_overlay(&frame.pixels, &found.labels, &legend, OverlayOptions::default()).save("overlay.png")?;
    Ok(())
}
