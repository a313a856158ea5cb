//! One picture, encoded once: two lists of words, thresholds of single words, words to be left out, and a search by patch.
//!
//! ```text
//! cargo run --release --example two_lists -- examples/pictures/cat.jpg
//! ```

use anyhow::{Context, Result};
use edge_seg::{Background, Session, read_picture};

fn main() -> Result<()> {
    let picture = std::env::args().nth(1).context("expected a picture")?;
    let session = Session::built_in()?;
    let frame = read_picture(picture.as_ref())?;
    let encoded = session.encode(&frame)?;

    let animals = session.words("animal: cat: dog, bird, -wall, -blanket")?;
    let room = session.words("wall, floor, blanket")?;
    let sure = animals.clone().with_threshold("animal", 0.8)?.with_off("bird")?;
    let all = animals.clone().with_background(Background::None)?;
    for (what, words) in [("animals", &animals), ("room", &room), ("sure", &sure), ("no threshold in common", &all)] {
        let found = session.find_encoded(&frame, &encoded, words)?;
        let told = found.classes().iter().map(|c| format!("{} {:.2} {:.1} %", c.name(), c.score(), 100.0 * c.share())).collect::<Vec<_>>();
        println!("{what}: {} | background {:.1} %", told.join(", "), 100.0 * found.background_share());
    }

    // The patch that is most like the words, and where it lies in the picture.
    let query = session.embed_text("the ear of a cat")?;
    let like = |patch: &usize| encoded.grid.patches().row(*patch).iter().zip(query.row(0)).map(|(a, b)| a * b).sum::<f32>();
    let best = (0..encoded.grid.patches().rows()).max_by(|a, b| like(a).total_cmp(&like(b))).context("no patch")?;
    let (row, col) = (best / encoded.grid.cols(), best % encoded.grid.cols());
    println!("the ear of a cat: {:.3} at {:?}", like(&best), encoded.placement.patch_px_box(row, col));
    Ok(())
}
