//! Rules without the program: pictures of one's own go in, events come out.
//!
//! ```text
//! cargo run --release --example own_rules -- examples/pictures/rocket.jpg examples/pictures/cat.jpg examples/pictures/cat.jpg
//! ```

use std::time::{Duration, SystemTime};

use anyhow::Result;
use edge_seg::rules::{RuleBook, Watcher};
use edge_seg::{Session, read_picture};

const RULES: &str = r#"
[[zone]]
name = "lower half"
points = [[0, 0.5], [1, 0.5], [1, 1], [0, 1]]

[[rule]]
name = "a cat lies there"
when = { word = "cat", zone = "lower half", share_above = 0.05 }
for_s = 1
"#;

fn main() -> Result<()> {
    let book = RuleBook::parse("rules", RULES)?;
    let session = Session::built_in()?;
    let words = session.words(&book.words().join(","))?;
    let mut watcher = Watcher::new(book)?;
    // A second for each picture.
    for (second, path) in std::env::args().skip(1).enumerate() {
        let mut frame = read_picture(path.as_ref())?;
        (frame.sequence, frame.timestamp) = (second as u64, Duration::from_secs(second as u64));
        for event in watcher.look(&session.find(&frame, &words)?, SystemTime::now()) {
            println!("second {second}: {} {:?}", event.rule, event.event);
        }
    }
    Ok(())
}
