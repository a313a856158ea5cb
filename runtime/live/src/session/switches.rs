use std::fmt;
use std::sync::Arc;

use edge_seg_model::hide::{Hide, HideOptions};
use edge_seg_model::{Class, Meaning, Session, parse_classes, same_name};
use parking_lot::Mutex;

use crate::words::told_meanings;
use crate::{Error, Result};

/// Words that are hidden by switches, while a session runs, beside those that it hides in any case
/// ([`LiveOptions::hide`](super::LiveOptions::hide)), which no switch knows.
///
/// A word that is switched on is hidden from the next frame that is segmented, by masks of its own or as a whole. Which frames are from
/// before tells [`SegmentedFrame::hide_version`](super::SegmentedFrame::hide_version).
pub struct HideSwitches {
    session: Arc<Session>,
    options: HideOptions,
    state: Mutex<Arc<Switched>>,
    /// Held while the text encoder works, so that of two changes at once the second is made of what the first one left.
    changing: Mutex<()>,
}

/// Words that may be switched on at a time: each is scored in every key frame.
const MOST: usize = 100;

/// What is switched on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Switched {
    /// Counts the changes.
    pub version: u64,
    /// The version that hid more than the one before it: pictures from before show more than they may.
    pub more: u64,
    pub classes: Vec<Class>,
    /// What is looked for in the words' places. `[classes][words]`
    pub meanings: Vec<Vec<Option<Meaning>>>,
    /// The same as the model knows them; none without words.
    pub hide: Option<Hide>,
}

impl fmt::Debug for HideSwitches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = self.current();
        write!(f, "HideSwitches {{ version: {}, words: {:?} }}", now.version, now.names())
    }
}

impl Switched {
    fn names(&self) -> Vec<String> {
        self.classes.iter().map(|class| class.name.clone()).collect()
    }
}

impl HideSwitches {
    /// With nothing switched on. What is hidden is hidden in this way.
    ///
    /// # Errors
    /// As [`HideOptions::check`].
    pub fn new(session: Arc<Session>, options: HideOptions) -> Result<Arc<Self>> {
        options.check(&session)?;
        Ok(Arc::new(Self { session, options, state: Mutex::default(), changing: Mutex::default() }))
    }

    /// How it is hidden.
    pub fn options(&self) -> &HideOptions {
        &self.options
    }

    /// The words that are switched on.
    pub fn names(&self) -> Vec<String> {
        self.current().names()
    }

    /// Counts the changes.
    pub fn version(&self) -> u64 {
        self.current().version
    }

    pub(crate) fn current(&self) -> Arc<Switched> {
        self.state.lock().clone()
    }

    /// Has words hidden, as a line of words tells them; those that are switched on already stay so. Gives the version that hides them.
    ///
    /// # Errors
    /// [`Words`](edge_seg_model::Error::Words) if they cannot be used, or are too many with those that are hidden. Nothing changes then.
    pub fn hide(&self, words: &str) -> Result<u64> {
        self.hide_classes(parse_classes("hide", words)?)
    }

    /// As [`Self::hide`], of words with their synonyms.
    ///
    /// # Errors
    /// As [`Self::hide`].
    pub fn hide_classes(&self, more: Vec<Class>) -> Result<u64> {
        self.change(|classes| {
            for class in more {
                match classes.iter_mut().find(|known| same_name(&known.name, &class.name)) {
                    // With other words for the same it is all of them.
                    Some(known) => {
                        let new: Vec<String> =
                            class.words.into_iter().filter(|word| !known.words.iter().any(|had| same_name(had, word))).collect();
                        known.words.extend(new);
                    }
                    None => classes.push(class),
                }
            }
            if classes.len() > MOST {
                return Err(Error::words("hide", format!("up to {MOST} words"), classes.len().to_string()));
            }
            Ok(())
        })
    }

    /// The version from which on a picture shows nothing that is hidden now.
    pub fn since(&self) -> u64 {
        self.current().more
    }

    /// Has a word hidden no more. None if it is not switched on.
    ///
    /// # Errors
    /// As [`Session::word_bank`] of the words that are left.
    pub fn show(&self, name: &str) -> Result<Option<u64>> {
        let mut is_known = false;
        let version = self.change(|classes| {
            let before = classes.len();
            classes.retain(|class| !same_name(&class.name, name));
            is_known = classes.len() < before;
            Ok(())
        })?;
        Ok(is_known.then_some(version))
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Class>) -> Result<()>) -> Result<u64> {
        let _alone = self.changing.lock();
        let old = self.current();
        let mut classes = old.classes.clone();
        change(&mut classes)?;
        if classes == old.classes {
            return Ok(old.version);
        }
        let hide = if classes.is_empty() { None } else { Some(self.session.hide_classes(&classes, self.options)?) };
        let version = old.version + 1;
        let known = |class: &Class| old.classes.iter().position(|known| known.name == class.name);
        let is_more = |class: &Class| known(class).is_none_or(|at| class.words.len() > old.classes[at].words.len());
        let more = if classes.iter().any(is_more) { version } else { old.more };
        let mut meanings: Vec<Vec<Option<Meaning>>> =
            classes.iter().map(|class| known(class).map(|at| old.meanings[at].clone()).unwrap_or_default()).collect();
        // Words of a known class that are new stand behind the others.
        let new = classes.iter().zip(&meanings).flat_map(|(class, known)| &class.words[known.len()..]);
        let new: Vec<&str> = new.map(String::as_str).collect();
        let mut told = told_meanings(&self.session, "hide: ", &new).into_iter();
        for (class, known) in classes.iter().zip(&mut meanings) {
            known.extend(told.by_ref().take(class.words.len() - known.len()));
        }
        *self.state.lock() = Arc::new(Switched { version, more, classes, meanings, hide });
        Ok(version)
    }

    /// # Errors
    /// As [`Hide::check`], of a session that is not the one that these words are embedded by.
    pub(super) fn check(&self, session: &Session) -> Result<()> {
        Ok(session.check_model("hide switches", "words of", Some(self.session.bundle().digest()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_seg_model::Options;

    #[test]
    fn switches_know_what_their_words_mean_and_when_more_was_hidden() {
        let session = Arc::new(Session::built_in_with(&Options::default().with_size_px(64)).unwrap());
        let switches = HideSwitches::new(session, HideOptions::default()).unwrap();
        assert_eq!(switches.hide("Hund, qwertz zuiop, car").unwrap(), 1);
        let now = switches.current();
        assert!(matches!(&now.meanings[0][..], [Some(Meaning::Translated { means, .. })] if means.english == "dog"), "{:?}", now.meanings);
        assert!(matches!(&now.meanings[1][..], [Some(Meaning::Unknown { .. })]), "{:?}", now.meanings);
        assert_eq!(now.meanings[2], [None]);
        for (change, version, since) in [("-car", 2, 1), ("Hund: terrier", 3, 3), ("-qwertz zuiop", 4, 3), ("car", 5, 5), ("CAR", 5, 5)] {
            match change.strip_prefix('-') {
                Some(name) => assert_eq!(switches.show(name).unwrap(), Some(version)),
                None => assert_eq!(switches.hide(change).unwrap(), version),
            }
            let now = switches.current();
            assert_eq!((now.version, switches.since()), (version, since), "{change}");
            assert!(now.classes.iter().zip(&now.meanings).all(|(class, meanings)| class.words.len() == meanings.len()), "{now:?}");
        }
    }
}
