use super::{Fault, PixelFormat, Rate};
use crate::{Error, Result};

/// The part of a name behind the question mark.
pub(super) struct Query<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Query<'a> {
    pub fn parse(query: &'a str, known: &[&str]) -> Result<Self, Fault> {
        let pair = |part: &'a str| {
            let Some((key, value)) = part.split_once('=') else {
                let meant = meant_by(part, known).map(|meant| format!("; try: ?{meant}")).unwrap_or_default();
                return Err(Fault::name("key=value", format!("{part:?}{meant}")));
            };
            if !known.contains(&key) {
                let near = known.iter().map(|name| (strsim::osa_distance(&key.to_ascii_lowercase(), name), name)).min();
                let meant = near.filter(|(slips, _)| *slips <= 2).map(|(_, name)| format!("; did you mean {name}={value}?"));
                return Err(Fault::name(format!("one of {}", known.join(", ")), format!("{key:?}{}", meant.unwrap_or_default())));
            }
            Ok((key, value))
        };
        let pairs: Vec<(&str, &str)> = query.split('&').filter(|part| !part.is_empty()).map(pair).collect::<Result<_, _>>()?;
        let twice = pairs.iter().enumerate().find(|(at, (key, _))| pairs[..*at].iter().any(|(earlier, _)| earlier == key));
        match twice {
            Some((_, (key, _))) => Err(Fault::name(format!("{key}= once"), format!("{query:?}"))),
            None => Ok(Self(pairs)),
        }
    }

    fn value<T>(&self, key: &str, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
        let Some((_, value)) = self.0.iter().find(|(k, _)| *k == key) else { return Ok(None) };
        let wrong = || Error::option(format!("source ...{key}="), expected, format!("{value:?}"));
        parse(value).map(Some).ok_or_else(wrong)
    }

    pub fn number(&self, key: &str) -> Result<Option<u64>> {
        self.value(key, "a whole number", |v| v.parse().ok())
    }

    /// 1 or 0.
    pub fn flag(&self, key: &str) -> Result<bool> {
        let flag = self.value(key, "1 or 0", |v| ["0", "1"].iter().position(|&known| known == v))?;
        Ok(flag == Some(1))
    }

    /// One of some words.
    pub fn word<T: Copy>(&self, key: &str, known: &[(&str, T)]) -> Result<Option<T>> {
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        self.value(key, &format!("one of {}", names.join(", ")), |v| known.iter().find(|(name, _)| *name == v).map(|(_, word)| *word))
    }

    pub fn size(&self) -> Result<Option<(u32, u32)>> {
        self.value("size", "WIDTHxHEIGHT", |v| v.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?))))
    }

    pub fn fps(&self) -> Result<Option<Rate>> {
        self.value("fps", "frames a second, 0.01 to 1000, as 25, 29.97 or 30000/1001", rate)
    }

    pub fn format(&self) -> Result<Option<PixelFormat>> {
        self.word("format", &FORMATS)
    }
}

/// A value without its key, where only one of those that are known takes such.
fn meant_by(value: &str, known: &[&str]) -> Option<String> {
    let key = match value {
        size if size.split_once('x').is_some_and(|(w, h)| w.parse::<u32>().is_ok() && h.parse::<u32>().is_ok()) => "size",
        format if FORMATS.iter().any(|(name, _)| *name == format) => "format",
        _ => return None,
    };
    known.contains(&key).then(|| format!("{key}={value}"))
}

/// Frames a second: a whole number, a decimal one or a fraction.
fn rate(text: &str) -> Option<Rate> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.bytes().all(|digit| digit.is_ascii_digit()));
    let (frames, seconds) = match (text.split_once('/'), text.split_once('.')) {
        (Some((frames, seconds)), _) => (number(frames)?, number(seconds)?),
        (None, Some((whole, part))) => {
            number(whole).and(number(part))?;
            (number(&format!("{whole}{part}"))?, 10u32.checked_pow(part.len() as u32)?)
        }
        (None, None) => (number(text)?, 1),
    };
    let (most, least) = (u64::from(seconds) * 1000, u64::from(frames) * 100);
    (seconds > 0 && u64::from(frames) <= most && least >= u64::from(seconds)).then_some((frames, seconds))
}

/// Formats of raw frames, by their names.
const FORMATS: [(&str, PixelFormat); 18] = [
    ("rgb24", PixelFormat::Rgb24),
    ("bgr24", PixelFormat::Bgr24),
    ("rgba", PixelFormat::Rgba),
    ("bgra", PixelFormat::Bgra),
    ("yuyv", PixelFormat::Yuyv),
    ("uyvy", PixelFormat::Uyvy),
    ("yvyu", PixelFormat::Yvyu),
    ("vyuy", PixelFormat::Vyuy),
    ("nv12", PixelFormat::Nv12),
    ("nv21", PixelFormat::Nv21),
    ("nv16", PixelFormat::Nv16),
    ("nv61", PixelFormat::Nv61),
    ("i420", PixelFormat::I420),
    ("yv12", PixelFormat::Yv12),
    ("i411", PixelFormat::I411),
    ("i422", PixelFormat::I422),
    ("i444", PixelFormat::I444),
    ("grey", PixelFormat::Grey),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_whole_decimal_or_fractions() {
        for (text, found) in
            [("25", (25, 1)), ("29.97", (2997, 100)), ("30000/1001", (30_000, 1001)), ("0.5", (5, 10)), ("1000", (1000, 1))]
        {
            let query = format!("fps={text}");
            assert_eq!(Query::parse(&query, &["fps"]).unwrap().fps().unwrap(), Some(found), "{text}");
        }
        for wrong in ["", "0", "0.0", "1001", "25/0", "0/1", "-5", "+5", "1e2", "25.", ".5", "1/2/3", "2.5/1", "0.001", "inf", "4294967296"]
        {
            let query = format!("fps={wrong}");
            let said = Query::parse(&query, &["fps"]).unwrap().fps().unwrap_err().to_string();
            assert!(said.contains("29.97 or 30000/1001"), "{wrong}: {said}");
        }
    }
}
