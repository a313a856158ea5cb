//! Segments one picture by words, with the model that the library carries:
//!
//! ```text
//! cargo run --release --example segment_picture -- examples/pictures/coffee.jpg "cup, table, spoon"
//! ```

use anyhow::{Context, Result};
use edge_seg::sink::{LegendEntry, OverlayOptions, draw_overlay};
use edge_seg::{Session, read_picture};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let picture = arguments.next().context("expected a picture")?;
    let words = arguments.next().context("expected words, separated by commas")?;

    let session = Session::built_in()?;
    let frame = read_picture(picture.as_ref())?;
    let found = session.find(&frame, &session.words(&words)?)?;

    let mut legend = Vec::new();
    for class in found.classes() {
        println!("{}: {:.2}", class.name(), class.score());
        legend.push(LegendEntry::new(class.label().into(), class.name(), class.score()));
    }
    draw_overlay(&frame.pixels, &found.labels, &legend, OverlayOptions::default()).save("overlay.png")?;
    Ok(())
}
