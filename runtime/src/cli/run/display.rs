use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use edge_seg::sink::LiveSink;
use edge_seg::sink::{Display, open_screen};
use edge_seg_live::sinks::display::check_screen;
use serde::{Deserialize, Serialize};

use crate::cli::flags::needs;

/// A display on the board.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Display")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DisplayArgs {
    /// Show masks and words: fb:/dev/fb0, st7789:/dev/spidev0.0?dc=25&rst=27&size=240x240&rotate=90, ili9341:..., ssd1306:/dev/i2c-1.
    #[arg(long, value_name = "URI")]
    #[serde(rename = "uri")]
    display: Option<String>,
    /// Least seconds between two pictures on the display [default: 0.1].
    #[arg(long, value_name = "S")]
    #[serde(rename = "interval")]
    display_interval: Option<f64>,
}

const INTERVAL_S: f64 = 0.1;

impl DisplayArgs {
    pub fn check(&self) -> Result<()> {
        needs("--display-interval", self.display_interval.is_some(), "--display", self.display.is_some())?;
        let interval = self.display_interval.unwrap_or(INTERVAL_S);
        ensure!((0.0..=3600.0).contains(&interval), "--display-interval: expected seconds, 0 to 3600, found {interval}");
        Ok(())
    }

    /// Whether it is named as displays are. It is not looked at: another run may show something there.
    pub fn check_name(&self) -> Result<()> {
        Ok(self.display.as_deref().map_or(Ok(()), check_screen)?)
    }

    pub fn open(&self) -> Result<Option<Box<dyn LiveSink>>> {
        let Some(uri) = &self.display else { return Ok(None) };
        let interval = Duration::from_secs_f64(self.display_interval.unwrap_or(INTERVAL_S));
        Ok(Some(Box::new(Display::start(uri, open_screen(uri)?, interval)?)))
    }
}
