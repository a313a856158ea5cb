//! A rule that switches a GPIO line of a Raspberry Pi: on while a word covers at least a share of the picture.
//!
//! ```text
//! cargo run --release -p edge-seg-examples --example gpio_rule -- photo.jpg person 5 17      # 5 %, GPIO 17 (pin 11)
//! ```
//!
//! The line is set with `pinctrl`, which Raspberry Pi OS has; `GPIO_COMMAND` names another program that takes the same words.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use edge_seg::{Background, Bundle, Options, Session, parse_tags, read_picture};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().with_context(|| format!("expected {what}"));
    let (picture, word) = (next("a picture")?, next("a word")?);
    let share: f64 = next("a share in percent")?.parse().context("the share: expected a number of percent")?;
    let line: u32 = next("a GPIO number")?.parse().context("the line: expected a GPIO number")?;

    let session = Session::new(Bundle::built_in()?, &Options::default())?;
    let bank = session.tag_bank(&parse_tags("the word", &word)?, &[])?;
    let background = Background::Threshold(session.bundle().manifest().background);
    let found = session.segment(&read_picture(picture.as_ref())?, &bank, background)?;

    let pixels = f64::from(found.labels.width) * f64::from(found.labels.height);
    let covered = 100.0 * found.labels.extents(1)[1].pixels as f64 / pixels;
    let level = if covered >= share { "dh" } else { "dl" };
    println!("{word} covers {covered:.1} %: GPIO {line} {level}");
    let program = std::env::var("GPIO_COMMAND").unwrap_or_else(|_| "pinctrl".into());
    let status = Command::new(&program).args(["set", &line.to_string(), "op", level]).status().with_context(|| program.clone())?;
    ensure!(status.success(), "{program}: {status}");
    Ok(())
}
