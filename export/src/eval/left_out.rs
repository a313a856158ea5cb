//! Pictures that cannot be measured: one that is broken does not end a run over many.

use crate::{Error, Result};

/// A picture that is left out, since it or its labels cannot be read.
#[derive(Debug)]
pub struct LeftOut {
    /// File name without its ending.
    pub picture: String,
    /// What is wrong.
    pub why: Box<Error>,
}

impl LeftOut {
    pub(super) fn new(picture: &str, why: Error) -> Self {
        Self { picture: picture.into(), why: Box::new(why) }
    }
}

impl From<LeftOut> for Error {
    fn from(left_out: LeftOut) -> Self {
        *left_out.why
    }
}

/// What was found, and what is left out, each in its order.
pub(super) fn split_left_out<T>(all: impl IntoIterator<Item = Result<T, LeftOut>>) -> (Vec<T>, Vec<LeftOut>) {
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    for one in all {
        match one {
            Ok(one) => found.push(one),
            Err(one) => left_out.push(one),
        }
    }
    (found, left_out)
}

/// What is left out, where that is not everything.
///
/// # Errors
/// The first picture's if nothing was found.
pub fn unless_all<T>(found: &[T], mut left_out: Vec<LeftOut>) -> Result<Vec<LeftOut>> {
    if found.is_empty() && !left_out.is_empty() {
        return Err(left_out.swap_remove(0).into());
    }
    Ok(left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(picture: &str) -> LeftOut {
        LeftOut::new(picture, Error::file(picture, "file", "a PNG", "nothing"))
    }

    #[test]
    fn what_is_broken_is_left_out_unless_it_is_everything() {
        let (found, left_out) = split_left_out([Ok(1), Err(wrong("b")), Ok(3)]);
        assert_eq!((found.as_slice(), left_out[0].picture.as_str()), (&[1, 3][..], "b"));
        assert_eq!(unless_all(&found, left_out).unwrap().len(), 1);
        let (none, left_out) = split_left_out::<u32>([Err(wrong("a")), Err(wrong("b"))]);
        assert!(unless_all(&none, left_out).unwrap_err().to_string().starts_with("a: "));
        assert!(unless_all::<u32>(&[], Vec::new()).unwrap().is_empty());
    }
}
