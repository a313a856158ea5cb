//! The smallest build (`default-features = false`): a signed bundle and its keys from memory, checked in one call; raw RGB in, runs out.
//!
//! ```text
//! cargo run --release --example signed_bundle -- BUNDLE KEY.pub PICTURE.rgb WIDTH HEIGHT "cat, wall"
//! ```

use anyhow::{Result, bail};
use edge_seg::trust::Trust;
use edge_seg::{Channels, Frame, Options, Session};

fn main() -> Result<()> {
    let [_, bundle, key, rgb, width, height, words] = &std::env::args().collect::<Vec<_>>()[..] else {
        bail!("expected a bundle, a public key, a raw RGB picture, its width and height, and words");
    };
    // Files stand for flash, a socket or an encrypted store.
    let (key, bytes) = (std::fs::read_to_string(key)?, std::fs::read(bundle)?);
    let bundle = Trust::in_keys([("key", key.as_str())])?.open_bytes("flash", bytes)?;
    let session = Session::new(bundle, &Options::default())?;
    let (width, height) = (width.parse::<u32>()?, height.parse::<u32>()?);
    let frame = Frame::from_raw(Channels::Rgb, (width, height), 3 * width as usize, &std::fs::read(rgb)?)?;
    for class in session.find(&frame, &session.words(words)?)?.classes() {
        println!("{} {:.3} {} px {:?} {}", class.name(), class.score(), class.pixels(), class.bounds_px(), class.rle());
    }
    Ok(())
}
