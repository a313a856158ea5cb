use embedded_graphics::pixelcolor::Rgb565;
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;
use embedded_hal::spi::SpiDevice;
use linux_embedded_hal::gpio_cdev::{Chip, LineRequestFlags, chips};
use linux_embedded_hal::spidev::{SpiModeFlags, SpidevOptions};
use linux_embedded_hal::{CdevPin, Delay, SpidevDevice};
use mipidsi::interface::SpiInterface;
use mipidsi::models::{ILI9341Rgb565, Model, ST7789};
use mipidsi::options::{ColorInversion, ColorOrder, Orientation, Rotation};
use mipidsi::{Builder, Display};

use super::address::Address;
use super::{Screen, View, draw};
use crate::{Error, Result};

/// What drives a display's glass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// Sitronix ST7789.
    St7789,
    /// Ilitek ILI9341.
    Ili9341,
}

/// How a display is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wiring {
    /// Width and height of the glass in pixels, unturned.
    pub size: (u16, u16),
    /// Where the glass begins in the controller's memory of 240×320.
    pub offset: (u16, u16),
    /// Degrees clockwise: 0, 90, 180 or 270.
    pub rotation: u16,
    /// Whether the glass shows colours inverted unless told otherwise, as most with an ST7789 do.
    pub invert: bool,
    /// Whether red and blue change places.
    pub bgr: bool,
}

impl Wiring {
    /// What most modules with this controller need.
    pub fn of(controller: Controller) -> Self {
        match controller {
            Controller::St7789 => Self { size: (240, 240), offset: (0, 0), rotation: 0, invert: true, bgr: false },
            Controller::Ili9341 => Self { size: (240, 320), offset: (0, 0), rotation: 0, invert: false, bgr: true },
        }
    }
}

/// Bytes that go over the bus at once: the kernel's own limit unless it is told otherwise.
const CHUNK: usize = 4096;

enum Glass<S: SpiDevice, D: OutputPin, R: OutputPin> {
    St7789(Display<SpiInterface<'static, S, D>, ST7789, R>),
    Ili9341(Display<SpiInterface<'static, S, D>, ILI9341Rgb565, R>),
}

/// A colour display on SPI.
pub struct Panel<S: SpiDevice, D: OutputPin, R: OutputPin, B> {
    place: String,
    glass: Glass<S, D, R>,
    _backlight: B,
}

impl<S: SpiDevice, D: OutputPin, R: OutputPin, B> std::fmt::Debug for Panel<S, D, R, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Panel {{ {} }}", self.place)
    }
}

impl<S: SpiDevice, D: OutputPin, R: OutputPin, B> Panel<S, D, R, B> {
    /// Resets and switches on a display; `place` names it in errors. The backlight's pin is only held.
    ///
    /// # Errors
    /// [`Error::Sink`] if size and offset do not fit the controller or the bus does not take the commands.
    pub fn new(
        place: &str,
        controller: Controller,
        wiring: Wiring,
        (bus, data, reset, backlight): (S, D, R, B),
        delay: &mut impl DelayNs,
    ) -> Result<Self> {
        let glass = match controller {
            Controller::St7789 => init(place, ST7789, wiring, bus, data, reset, delay).map(Glass::St7789),
            Controller::Ili9341 => init(place, ILI9341Rgb565, wiring, bus, data, reset, delay).map(Glass::Ili9341),
        };
        Ok(Self { place: place.into(), glass: glass?, _backlight: backlight })
    }
}

fn init<M: Model<ColorFormat = Rgb565>, S: SpiDevice, D: OutputPin, R: OutputPin>(
    place: &str,
    model: M,
    wiring: Wiring,
    bus: S,
    data: D,
    reset: R,
    delay: &mut impl DelayNs,
) -> Result<Display<SpiInterface<'static, S, D>, M, R>> {
    let rotation = Rotation::try_from_degree(wiring.rotation.into()).map_err(|_| Error::Sink {
        place: place.into(),
        found: format!("expected a rotation of 0, 90, 180 or 270, found {}", wiring.rotation),
    })?;
    // Lives as long as the program: displays are opened once.
    let buffer: &'static mut [u8] = Vec::leak(vec![0; CHUNK]);
    Builder::new(model, SpiInterface::new(bus, data, buffer))
        .reset_pin(reset)
        .display_size(wiring.size.0, wiring.size.1)
        .display_offset(wiring.offset.0, wiring.offset.1)
        .orientation(Orientation::new().rotate(rotation))
        .invert_colors(if wiring.invert { ColorInversion::Inverted } else { ColorInversion::Normal })
        .color_order(if wiring.bgr { ColorOrder::Bgr } else { ColorOrder::Rgb })
        .init(delay)
        .map_err(|e| Error::Sink { place: place.into(), found: format!("the display does not start: {}", told(&e)) })
}

/// Errors of displays have no text of their own.
fn told(e: &impl std::fmt::Debug) -> String {
    format!("{e:?}")
}

impl<S: SpiDevice + Send, D: OutputPin + Send, R: OutputPin + Send, B: Send> Screen for Panel<S, D, R, B> {
    fn show(&mut self, view: &View) -> Result<()> {
        let drawn = match &mut self.glass {
            Glass::St7789(display) => draw(view, display),
            Glass::Ili9341(display) => draw(view, display),
        };
        drawn.map_err(|e| Error::Sink { place: self.place.clone(), found: told(&e) })
    }
}

/// A reset line, or none: then the display is reset by command at power-on alone.
enum Reset {
    Line(CdevPin),
    None,
}

impl embedded_hal::digital::ErrorType for Reset {
    type Error = linux_embedded_hal::CdevPinError;
}

impl OutputPin for Reset {
    fn set_low(&mut self) -> Result<(), Self::Error> {
        if let Self::Line(line) = self { line.set_low() } else { Ok(()) }
    }

    fn set_high(&mut self) -> Result<(), Self::Error> {
        if let Self::Line(line) = self { line.set_high() } else { Ok(()) }
    }
}

pub(super) fn open(address: &Address) -> Result<Box<dyn Screen>> {
    address.only(&["dc", "rst", "bl", "size", "offset", "rotate", "invert", "bgr", "mhz", "mode", "chip"])?;
    let controller = if address.kind == "st7789" { Controller::St7789 } else { Controller::Ili9341 };
    let usual = Wiring::of(controller);
    let wiring = Wiring {
        size: address.pair("size", 'x')?.unwrap_or(usual.size),
        offset: address.pair("offset", ',')?.unwrap_or(usual.offset),
        rotation: address.rotation()?,
        invert: address.flag("invert")?.unwrap_or(usual.invert),
        bgr: address.flag("bgr")?.unwrap_or(usual.bgr),
    };
    let data: u32 = address.number("dc")?.ok_or_else(|| address.wrong("dc=GPIO, the line of data and commands", "none"))?;
    let (reset, backlight) = (address.number::<u32>("rst")?, address.number::<u32>("bl")?);
    let megahertz = match address.number::<u32>("mhz")?.unwrap_or(40) {
        megahertz @ 1..=125 => megahertz,
        other => return Err(address.wrong("mhz of 1 to 125", other.to_string())),
    };
    let mode = match address.number::<u8>("mode")?.unwrap_or(0) {
        0 => SpiModeFlags::SPI_MODE_0,
        3 => SpiModeFlags::SPI_MODE_3,
        other => return Err(address.wrong("mode of 0 or 3", other.to_string())),
    };
    let mut bus = SpidevDevice::open(address.device)
        .map_err(|e| address.unopened(e, "ls /dev/spidev*; on a Raspberry Pi sudo raspi-config nonint do_spi 0", "spi"))?;
    let options = SpidevOptions::new().bits_per_word(8).max_speed_hz(megahertz * 1_000_000).mode(mode).build();
    bus.configure(&options).map_err(|e| address.broken(e))?;
    let mut chip = open_chip(address)?;
    let mut line = |number: u32, value: u8| {
        let handle = chip.get_line(number).and_then(|line| line.request(LineRequestFlags::OUTPUT, value, "edge-seg"));
        handle.and_then(CdevPin::new).map_err(|e| address.broken(format!("GPIO {number}: {e}; try: gpioinfo, which tells who holds it")))
    };
    let data = line(data, 0)?;
    let reset = reset.map(|number| line(number, 1)).transpose()?.map_or(Reset::None, Reset::Line);
    let backlight = backlight.map(|number| line(number, 1)).transpose()?;
    Ok(Box::new(Panel::new(address.device, controller, wiring, (bus, data, reset, backlight), &mut Delay)?))
}

/// The chip that drives the board's header: what `chip` names, else the first whose label is one of theirs.
fn open_chip(address: &Address) -> Result<Chip> {
    if let Some(path) = address.text("chip") {
        return Chip::new(path)
            .map_err(|e| address.broken(format!("{path}: {e}; try: ls -l /dev/gpiochip*, or sudo usermod -aG gpio $USER")));
    }
    const HEADERS: [&str; 3] = ["pinctrl-rp1", "pinctrl-bcm", "tegra"];
    let found = chips().map_err(|e| address.broken(e))?.filter_map(Result::ok).find(|c| HEADERS.iter().any(|h| c.label().starts_with(h)));
    found.ok_or_else(|| {
        address.broken(
            "expected the GPIO chip of a Raspberry Pi's or Jetson's header, found none that may be opened; try: sudo usermod -aG gpio \
             $USER, then log in anew, or another by chip=/dev/gpiochipN",
        )
    })
}
