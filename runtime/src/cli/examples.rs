//! Words that are shown on the command line and in configurations.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use edge_seg::{Example, Session, read_picture};
use edge_seg_live::words::WordSpec;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A picture, or a box in it: `PICTURE` or `PICTURE:x,y,w,h`, in pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct PictureRegion {
    picture: PathBuf,
    box_px: Option<[u32; 4]>,
}

impl FromStr for PictureRegion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let boxed = text.rsplit_once(':').and_then(|(picture, numbers)| {
            let numbers: Vec<u32> = numbers.split(',').map(|number| number.trim().parse().ok()).collect::<Option<_>>()?;
            Some((picture, <[u32; 4]>::try_from(numbers).ok()?))
        });
        let (picture, box_px) = boxed.map_or((text, None), |(picture, box_px)| (picture, Some(box_px)));
        if picture.is_empty() {
            return Err("expected PICTURE or PICTURE:x,y,w,h".into());
        }
        // Four numbers that are none would make the name of a file that nobody has.
        if box_px.is_none() && text.rsplit_once(':').is_some_and(|(_, rest)| rest.matches(',').count() == 3) {
            return Err("expected PICTURE:x,y,w,h with whole pixels".into());
        }
        if box_px.is_some_and(|[.., w, h]| w == 0 || h == 0) {
            return Err("expected a box with a width and a height of 1 pixel or more".into());
        }
        Ok(Self { picture: picture.into(), box_px })
    }
}

impl fmt::Display for PictureRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.picture.display())?;
        self.box_px.map_or(Ok(()), |[x, y, w, h]| write!(f, ":{x},{y},{w},{h}"))
    }
}

impl PictureRegion {
    /// What it shows.
    pub fn embed(&self, session: &Session) -> edge_seg::Result<Example> {
        let frame = read_picture(&self.picture)?;
        let (width, height) = frame.pixels.dimensions();
        let example = session.example(&frame, self.box_px.unwrap_or([0, 0, width, height]))?;
        let patch_px = f64::from(width.max(height)) * session.bundle().manifest().image.patch_px as f64 / session.size_px() as f64;
        if let Some([.., w, h]) = self.box_px.filter(|[.., w, h]| f64::from(*w.max(h)) < patch_px / 2.0) {
            let apart = format!("the model tells {patch_px:.0} pixels apart");
            eprintln!("edge-seg: {self}: of a box of {w}×{h} pixels what is around it is taken too: {apart}");
        }
        Ok(example)
    }
}

/// What a picture shows of a word: `PICTURE:x,y,w,h=NAME`, or `=-NAME` for what the word does not mean.
#[derive(Debug, Clone, PartialEq)]
pub struct ExampleArg {
    shown: PictureRegion,
    pub name: String,
    counter: bool,
}

impl FromStr for ExampleArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (shown, name) = text.rsplit_once('=').ok_or("expected PICTURE:x,y,w,h=NAME")?;
        let (name, counter) = name.trim().strip_prefix('-').map_or((name.trim(), false), |name| (name.trim(), true));
        if name.is_empty() {
            return Err("expected a name behind the `=`".into());
        }
        Ok(Self { shown: shown.parse()?, name: name.into(), counter })
    }
}

impl fmt::Display for ExampleArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}{}", self.shown, if self.counter { "-" } else { "" }, self.name)
    }
}

impl Serialize for ExampleArg {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ExampleArg {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl ExampleArg {
    /// The word's name, and what is shown.
    pub fn embed(&self, session: &Session) -> edge_seg::Result<(String, Example)> {
        let example = self.shown.embed(session)?;
        if example.is_whole() && !self.counter {
            let (picture, name) = (self.shown.picture.display(), &self.name);
            eprintln!("edge-seg: {self}: all of the picture is taken for {name:?}, what is around it too; try: {picture}:x,y,w,h={name}");
        }
        Ok((self.name.clone(), if self.counter { example.countering() } else { example }))
    }

    /// The same for several, which are embedded one after the other.
    pub fn embed_all(args: &[Self], session: &Session) -> edge_seg::Result<Vec<(String, Example)>> {
        args.iter().map(|arg| arg.embed(session)).collect()
    }
}

/// Words with the examples that are of them, and words of examples alone behind.
pub fn with_examples(mut specs: Vec<WordSpec>, examples: Vec<(String, Example)>) -> Vec<WordSpec> {
    examples.into_iter().for_each(|(name, example)| WordSpec::add_example(&mut specs, name, example));
    specs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_read_as_they_are_written() {
        let read = |text: &str| text.parse::<ExampleArg>();
        for text in ["mug.jpg:1,2,30,40=my mug", "mug.jpg=mug", "C:/a=b/mug.jpg:1,2,3,4=-cup", "a:b,c.jpg=x"] {
            assert_eq!(read(text).unwrap().to_string(), text);
        }
        let arg = read(" a.jpg:1, 2,3,4 = - cup ").unwrap();
        assert_eq!((arg.name.as_str(), arg.counter, arg.shown.box_px), ("cup", true, Some([1, 2, 3, 4])));
        for (text, said) in [
            ("mug.jpg", "PICTURE:x,y,w,h=NAME"),
            ("mug.jpg:1,2,3,4=", "a name"),
            ("mug.jpg:1,2,3,4=-", "a name"),
            ("mug.jpg:1,2,3,-4=mug", "whole pixels"),
            ("mug.jpg:1,2,0,4=mug", "1 pixel or more"),
            (":1,2,3,4=mug", "expected PICTURE"),
        ] {
            let found = read(text).unwrap_err();
            assert!(found.contains(said), "{text}: {found}");
        }
    }
}
