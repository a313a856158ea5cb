use std::path::Path;
use std::str::FromStr;

use crate::{Error, Result};

/// A display's name: `KIND:DEVICE?KEY=VALUE&...`.
pub struct Address<'a> {
    uri: &'a str,
    pub kind: &'a str,
    pub device: &'a str,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Address<'a> {
    pub fn parse(uri: &'a str) -> Result<Self> {
        let wrong = |expected: &str, found: &str| Error::option("display", expected, found);
        let (kind, rest) = uri.split_once(':').ok_or_else(|| wrong("KIND:DEVICE, such as fb:/dev/fb0 for a screen on HDMI", uri))?;
        let (device, query) = rest.split_once('?').unwrap_or((rest, ""));
        if device.is_empty() {
            return Err(wrong("a device behind the colon", uri));
        }
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for part in query.split('&').filter(|p| !p.is_empty()) {
            let pair = part.split_once('=').ok_or_else(|| wrong("KEY=VALUE", part))?;
            if pairs.iter().any(|(key, _)| *key == pair.0) {
                return Err(wrong(&format!("{} once", pair.0), "it twice"));
            }
            pairs.push(pair);
        }
        Ok(Self { uri, kind, device, pairs })
    }

    pub fn wrong(&self, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::option(format!("display {}", self.uri), expected, found.into())
    }

    #[cfg(feature = "displays")]
    pub fn broken(&self, found: impl std::fmt::Display) -> Error {
        Error::Sink { place: self.device.into(), found: found.to_string() }
    }

    /// A device that cannot be opened, with what finds or switches it on, or else lets people of a group use it.
    pub fn unopened(&self, error: impl std::fmt::Display, search: &str, group: &str) -> Error {
        let remedy = match Path::new(self.device).exists() {
            true => format!("sudo usermod -aG {group} $USER, then log in anew"),
            false => search.into(),
        };
        Error::Sink { place: self.device.into(), found: format!("{error}; try: {remedy}") }
    }

    /// Refuses keys that are not known.
    pub fn only(&self, known: &[&str]) -> Result<()> {
        match self.pairs.iter().find(|(key, _)| !known.contains(key)) {
            Some((key, _)) => Err(self.wrong(format!("one of {}", known.join(", ")), *key)),
            None => Ok(()),
        }
    }

    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.pairs.iter().find(|(k, _)| *k == key).map(|(_, value)| *value)
    }

    pub fn number<T: FromStr>(&self, key: &str) -> Result<Option<T>> {
        let read = |value: &str| value.parse().map_err(|_| self.wrong(format!("{key} as a number"), value));
        self.text(key).map(read).transpose()
    }

    #[cfg(any(feature = "displays", test))]
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.text(key) {
            None => Ok(None),
            Some("1") => Ok(Some(true)),
            Some("0") => Ok(Some(false)),
            Some(other) => Err(self.wrong(format!("{key}=0 or {key}=1"), other)),
        }
    }

    /// `240x240`, or another pair with a sign of its own between.
    pub fn pair(&self, key: &str, between: char) -> Result<Option<(u16, u16)>> {
        let read = |value: &str| {
            let (a, b) = value.split_once(between)?;
            Some((a.parse().ok()?, b.parse().ok()?))
        };
        self.text(key).map(|value| read(value).ok_or_else(|| self.wrong(format!("{key}=A{between}B"), value))).transpose()
    }

    /// Degrees clockwise: 0, 90, 180 or 270.
    pub fn rotation(&self) -> Result<u16> {
        match self.number("rotate")?.unwrap_or(0) {
            degrees @ (0 | 90 | 180 | 270) => Ok(degrees),
            other => Err(self.wrong("rotate of 0, 90, 180 or 270", other.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_wrong_ones_told() {
        let address = Address::parse("st7789:/dev/spidev0.0?dc=25&size=240x135&invert=0&rotate=270").unwrap();
        assert_eq!((address.kind, address.device), ("st7789", "/dev/spidev0.0"));
        assert_eq!(address.number::<u32>("dc").unwrap(), Some(25));
        assert_eq!(address.pair("size", 'x').unwrap(), Some((240, 135)));
        assert_eq!((address.flag("invert").unwrap(), address.flag("bgr").unwrap()), (Some(false), None));
        assert_eq!(address.rotation().unwrap(), 270);
        assert!(
            address.only(&["dc", "size", "invert"]).unwrap_err().to_string().ends_with("expected one of dc, size, invert, found rotate")
        );
        for uri in ["fb", "fb:", "fb:/dev/fb0?x", "fb:/dev/fb0?a=1&a=2"] {
            assert!(Address::parse(uri).is_err(), "{uri}");
        }
        let odd = Address::parse("fb:x?rotate=45&size=1&invert=yes&dc=-1").unwrap();
        assert!(
            odd.rotation().is_err() && odd.pair("size", 'x').is_err() && odd.flag("invert").is_err() && odd.number::<u32>("dc").is_err()
        );
    }
}
