use embedded_hal::i2c::I2c;
use linux_embedded_hal::I2cdev;
use ssd1306::mode::BufferedGraphicsMode;
use ssd1306::prelude::{DisplayConfig, DisplayRotation, DisplaySize, DisplaySize128x32, DisplaySize128x64, I2CInterface};
use ssd1306::{I2CDisplayInterface, Ssd1306};

use super::address::Address;
use super::{Screen, View, draw_mono};
use crate::{Error, Result};

/// An SSD1306 on I²C.
pub struct Oled<I, S: DisplaySize> {
    place: String,
    display: Ssd1306<I2CInterface<I>, S, BufferedGraphicsMode<S>>,
}

impl<I, S: DisplaySize> std::fmt::Debug for Oled<I, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Oled {{ {} }}", self.place)
    }
}

impl<I: I2c, S: DisplaySize> Oled<I, S> {
    /// Switches the display on; `place` names it in errors.
    ///
    /// # Errors
    /// [`Error::Sink`] if nothing answers at the address.
    pub fn new(place: &str, bus: I, address: u8, size: S, rotation: DisplayRotation) -> Result<Self> {
        let interface = I2CDisplayInterface::new_custom_address(bus, address);
        let mut display = Ssd1306::new(interface, size, rotation).into_buffered_graphics_mode();
        let place = place.to_owned();
        display.init().map_err(|e| {
            let number = place.rsplit('-').next().unwrap_or_default();
            let found = format!("SSD1306 at {address:#04x}: {e:?}; try: i2cdetect -y {number}, which shows who answers, and address=0x3d");
            Error::Sink { place: place.clone(), found }
        })?;
        Ok(Self { place, display })
    }
}

impl<I: I2c + Send, S: DisplaySize + Send> Screen for Oled<I, S>
where
    S::Buffer: Send,
{
    fn show(&mut self, view: &View) -> Result<()> {
        let drawn = draw_mono(view, &mut self.display).and_then(|()| self.display.flush());
        drawn.map_err(|e| Error::Sink { place: self.place.clone(), found: format!("SSD1306: {e:?}") })
    }
}

pub(super) fn open(address: &Address) -> Result<Box<dyn Screen>> {
    address.only(&["size", "rotate", "address"])?;
    let at = match address.text("address") {
        None => 0x3c,
        Some(text) => text
            .strip_prefix("0x")
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .filter(|a| (0x08..0x78).contains(a))
            .ok_or_else(|| address.wrong("address of 0x08 to 0x77", text))?,
    };
    let rotation = match address.rotation()? {
        0 => DisplayRotation::Rotate0,
        90 => DisplayRotation::Rotate90,
        180 => DisplayRotation::Rotate180,
        _ => DisplayRotation::Rotate270,
    };
    let bus = I2cdev::new(address.device)
        .map_err(|e| address.unopened(e, "ls /dev/i2c-*; on a Raspberry Pi sudo raspi-config nonint do_i2c 0", "i2c"))?;
    match address.pair("size", 'x')?.unwrap_or((128, 64)) {
        (128, 64) => Ok(Box::new(Oled::new(address.device, bus, at, DisplaySize128x64, rotation)?)),
        (128, 32) => Ok(Box::new(Oled::new(address.device, bus, at, DisplaySize128x32, rotation)?)),
        (width, height) => Err(address.wrong("size of 128x64 or 128x32", format!("{width}x{height}"))),
    }
}
