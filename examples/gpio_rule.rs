//! A rule that switches a GPIO line, a lamp or a relay: on while a word has covered at least a share of the picture for a while.
//!
//! ```text
//! cargo run --release --example gpio_rule -- rtsp://camera/stream person 5 2 /dev/gpiochip0 17
//! ```
//!
//! That is: 5 % of the picture for 2 seconds switch line 17 of the first chip (pin 11 of a Raspberry Pi; on a Pi 5 with an older kernel
//! the chip is /dev/gpiochip4, `gpiodetect` tells). `print` in place of the chip prints the line's level instead.

use std::time::Duration;

use anyhow::{Context, Result};
use edge_seg::rules::{Machine, Timing};
use edge_seg::source::{Pace, SourceOptions, open_source};
use edge_seg::{Frame, Session};
use embedded_hal::digital::{OutputPin, PinState};
use linux_embedded_hal::CdevPin;
use linux_embedded_hal::gpio_cdev::{Chip, LineRequestFlags};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().with_context(|| format!("expected {what}"));
    let (uri, word) = (next("a source, as `edge-seg run --source` takes it")?, next("a word")?);
    let share: f64 = next("a share in percent")?.parse().context("the share: expected a number of percent")?;
    let hold: f64 = next("seconds")?.parse().context("the time: expected a number of seconds")?;
    let (chip, line) = (next("a GPIO chip")?, next("a line")?.parse::<u32>().context("the line: expected a GPIO number")?);
    let mut pin = match chip.as_str() {
        "print" => None,
        path => Some(CdevPin::new(Chip::new(path)?.get_line(line)?.request(LineRequestFlags::OUTPUT, 0, "edge-seg")?)?),
    };

    let session = Session::built_in()?;
    let words = session.words(&word)?;
    let mut source = open_source(&uri, &SourceOptions::default().with_pace(Pace::Live))?;
    let timing = Timing::default().with_hold(Duration::try_from_secs_f64(hold)?);
    let (mut rule, mut frame) = (Machine::default(), Frame::still(Default::default()));
    while source.read(&mut frame)? {
        let covered = 100.0 * session.find(&frame, &words)?.classes()[0].share();
        // Nothing is switched unless the rule changes.
        if rule.step(frame.timestamp, covered >= share, &timing).iter().any(Option::is_some) {
            println!(
                "{:.1} s: {word} covers {covered:.1} %, line {line} {}",
                frame.timestamp.as_secs_f64(),
                if rule.is_on() { "on" } else { "off" }
            );
            if let Some(pin) = &mut pin {
                pin.set_state(PinState::from(rule.is_on()))?;
            }
        }
    }
    Ok(())
}
