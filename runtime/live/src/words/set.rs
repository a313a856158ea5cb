use std::sync::Arc;

use parking_lot::{ReentrantMutex, ReentrantMutexGuard, RwLock};

use super::word::{LiveClass, WordSpec, settle};
use crate::{Error, Result};
use edge_seg_model::text::shown_names;
use edge_seg_model::{Background, Class, Gate, Meaning, Session, WordBank, WordList, same_name};

/// Words with their embeddings, and their background.
#[non_exhaustive]
pub struct WordSet {
    /// The words as they were asked for; label k is the k-th.
    pub words: Vec<LiveClass>,
    /// Their embeddings.
    pub bank: WordBank,
    /// What the words must beat.
    pub background: Background,
    /// Words for what is to be left out.
    pub background_words: Vec<String>,
    /// Counts the sets from 1.
    pub version: u64,
}

impl std::fmt::Debug for WordSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WordSet {{ {} words, {:?}, version: {} }}", self.words.len(), self.background, self.version)
    }
}

impl WordSet {
    /// The colours of the labels from 1. `[words]`
    pub fn colours(&self) -> Vec<[u8; 3]> {
        self.words.iter().map(|w| w.colour.0).collect()
    }
}

/// The words that are looked for, exchanged while frames run.
#[derive(Debug)]
pub struct Words {
    session: Arc<Session>,
    current: RwLock<Arc<WordSet>>,
    /// Held once by a thread; what its closure asks for within is refused, as it would go missing.
    changing: ReentrantMutex<()>,
}

impl Words {
    /// Encodes the first words.
    ///
    /// # Errors
    /// [`Words`](edge_seg_model::Error::Words) if they cannot be used, and as [`Session::word_bank`].
    pub fn new(session: Arc<Session>, specs: Vec<WordSpec>, background_words: Vec<String>, background: Background) -> Result<Self> {
        let background = background.checked()?;
        let words = understood(&session, settle("words", specs, &[])?, &[]);
        let bank = bank(&session, &words, &background_words)?;
        let current = RwLock::new(Arc::new(WordSet { words, bank, background, background_words, version: 1 }));
        Ok(Self { session, current, changing: ReentrantMutex::default() })
    }

    /// The words of a list, with its thresholds, its background and what it leaves out.
    ///
    /// # Errors
    /// As [`Self::new`]; [`Option`](edge_seg_model::Error::Option) if they are another model's.
    pub fn of(session: Arc<Session>, list: &WordList) -> Result<Self> {
        list.bank().check(&session)?;
        Self::new(session, specs(list), list.left_out().to_vec(), list.background())
    }

    /// The words of the next frame.
    pub fn current(&self) -> Arc<WordSet> {
        self.current.read().clone()
    }

    /// Exchanges the words; those that stay keep their settings.
    ///
    /// # Errors
    /// As [`Self::change`].
    pub fn set(&self, classes: Vec<Class>) -> Result<Arc<WordSet>> {
        self.change(|old| Ok(classes.into_iter().map(|class| kept(old, class)).collect()))
    }

    /// Exchanges the words by changing the present ones; nobody else changes them meanwhile. They are encoded on the calling thread
    /// while frames go on with the old ones, which also stay if it fails. `change` may read these words, but not change them by another
    /// call, which is an error.
    ///
    /// # Errors
    /// [`Words`](edge_seg_model::Error::Words) if the new ones cannot be used or it is called within another change, as [`Session::word_bank`], or what `change` says.
    pub fn change(&self, change: impl FnOnce(&[LiveClass]) -> Result<Vec<WordSpec>>) -> Result<Arc<WordSet>> {
        let _alone = self.alone()?;
        let old = self.current();
        let words = self.settled(change(&old.words)?, &old.words)?;
        self.renew(&old, words, old.background, old.background_words.clone())
    }

    /// Changes one word that is looked for.
    ///
    /// # Errors
    /// [`Words`](edge_seg_model::Error::Words) if it is not looked for, and as [`Self::change`].
    pub fn adjust(&self, name: &str, adjust: impl FnOnce(&mut WordSpec)) -> Result<Arc<WordSet>> {
        self.change(|old| {
            let mut specs: Vec<WordSpec> = old.iter().cloned().map(WordSpec::from).collect();
            let spec = specs.iter_mut().find(|s| same_name(&s.name, name)).ok_or_else(|| unknown(old, name))?;
            adjust(spec);
            Ok(specs)
        })
    }

    /// Changes what the words must beat: the threshold, the words for what is to be left out, or both.
    ///
    /// # Errors
    /// As [`Self::configure`].
    pub fn set_background(&self, background: Option<Background>, background_words: Option<Vec<String>>) -> Result<Arc<WordSet>> {
        self.configure(None, background, background_words)
    }

    /// Exchanges the words for those of a list, with its thresholds, its background and what it leaves out, all at once.
    ///
    /// # Errors
    /// As [`Self::configure`]; [`Option`](edge_seg_model::Error::Option) if they are another model's.
    pub fn set_list(&self, list: &WordList) -> Result<Arc<WordSet>> {
        list.bank().check(&self.session)?;
        self.exchange(|_| Some(specs(list)), Some(list.background()), Some(list.left_out().to_vec()))
    }

    /// Changes several things at once, or nothing if one of them cannot be used; what is none stays as it is. Words that stay keep
    /// their settings.
    ///
    /// # Errors
    /// [`Option`](edge_seg_model::Error::Option) if the background's threshold is out of range, and as [`Self::change`].
    pub fn configure(
        &self,
        classes: Option<Vec<Class>>,
        background: Option<Background>,
        background_words: Option<Vec<String>>,
    ) -> Result<Arc<WordSet>> {
        let kept = |old: &[LiveClass]| classes.map(|classes| classes.into_iter().map(|class| kept(old, class)).collect());
        self.exchange(kept, background, background_words)
    }

    fn exchange(
        &self,
        specs: impl FnOnce(&[LiveClass]) -> Option<Vec<WordSpec>>,
        background: Option<Background>,
        background_words: Option<Vec<String>>,
    ) -> Result<Arc<WordSet>> {
        background.map(Background::checked).transpose()?;
        let _alone = self.alone()?;
        let old = self.current();
        let words = match specs(&old.words) {
            Some(specs) => self.settled(specs, &old.words)?,
            None => old.words.clone(),
        };
        let background_words = background_words.unwrap_or_else(|| old.background_words.clone());
        self.renew(&old, words, background.unwrap_or(old.background), background_words)
    }

    /// Exchanges words and background by changing the present ones; a change that changes nothing makes no other set.
    pub(super) fn exchange_all(&self, change: impl FnOnce(&WordSet) -> Result<(Vec<WordSpec>, Background)>) -> Result<Arc<WordSet>> {
        let _alone = self.alone()?;
        let old = self.current();
        let (specs, background) = change(&old)?;
        let words = self.settled(specs, &old.words)?;
        if words == old.words && background == old.background {
            return Ok(old);
        }
        self.renew(&old, words, background, old.background_words.clone())
    }

    fn alone(&self) -> Result<ReentrantMutexGuard<'_, ()>> {
        if self.changing.is_owned_by_current_thread() {
            let found = "one inside another; have the outer one return all that is to change";
            return Err(Error::words("words", "one change at a time", found));
        }
        Ok(self.changing.lock())
    }

    fn settled(&self, specs: Vec<WordSpec>, old: &[LiveClass]) -> Result<Vec<LiveClass>> {
        Ok(understood(&self.session, settle("words", specs, old)?, old))
    }

    fn renew(&self, old: &WordSet, words: Vec<LiveClass>, background: Background, background_words: Vec<String>) -> Result<Arc<WordSet>> {
        let bank = bank(&self.session, &words, &background_words)?;
        Ok(self.publish(WordSet { words, bank, background, background_words, version: old.version + 1 }))
    }

    fn publish(&self, set: WordSet) -> Arc<WordSet> {
        let set = Arc::new(set);
        *self.current.write() = set.clone();
        set
    }
}

/// The words of a list with their thresholds.
fn specs(list: &WordList) -> Vec<WordSpec> {
    let spec = |(class, gate): (&Class, &Gate)| {
        let mut spec = WordSpec::from(class.clone());
        spec.on = *gate != Gate::Off;
        if let Gate::Own(threshold) = gate {
            spec.threshold = Some(*threshold);
        }
        spec
    };
    let mut specs: Vec<WordSpec> = list.classes().iter().zip(list.bank().gates()).map(spec).collect();
    specs.iter_mut().zip(list.examples()).for_each(|(spec, examples)| spec.examples.clone_from(examples));
    specs
}

/// Words of a change whose meaning the log tells; more would hide what else it says.
const MOST_TOLD: usize = 20;

/// Words with what they mean; what is new of it is told once.
fn understood(session: &Session, mut words: Vec<LiveClass>, old: &[LiveClass]) -> Vec<LiveClass> {
    let mut new = Vec::new();
    for (at, word) in words.iter_mut().enumerate().filter(|(_, word)| word.text) {
        match old.iter().find(|known| known.text && known.name == word.name) {
            Some(known) => word.meaning.clone_from(&known.meaning),
            None => new.push(at),
        }
    }
    let names: Vec<&str> = new.iter().map(|at| words[*at].name.as_str()).collect();
    let meanings = told_meanings(session, "", &names);
    for (at, meaning) in new.into_iter().zip(meanings) {
        words[at].meaning = meaning;
    }
    words
}

/// What is looked for in words' places, or that nothing knows them; none of those that are looked for as they are.
pub(crate) fn own_meanings(session: &Session, words: &[&str]) -> Vec<Option<Meaning>> {
    session.meanings(words).into_iter().map(|meaning| Some(meaning).filter(|meaning| !meaning.is_plain())).collect()
}

/// As [`own_meanings`], and the log tells it too.
pub(crate) fn told_meanings(session: &Session, context: &str, words: &[&str]) -> Vec<Option<Meaning>> {
    let meanings = own_meanings(session, words);
    let mut told = words.iter().zip(&meanings).filter_map(|(word, meaning)| Some((word, meaning.as_ref()?)));
    for (word, meaning) in told.by_ref().take(MOST_TOLD) {
        match meaning {
            Meaning::Unknown { .. } => tracing::warn!("{context}{word:?} {meaning}"),
            _ => tracing::info!("{context}{word:?} {meaning}"),
        }
    }
    match told.count() {
        0 => {}
        more => tracing::info!("{context}{more} more words have a meaning of their own, or none"),
    }
    meanings
}

fn bank(session: &Session, words: &[LiveClass], background_words: &[String]) -> Result<WordBank> {
    let classes: Vec<_> = words.iter().map(LiveClass::class).collect();
    let examples: Vec<_> = words.iter().map(|word| word.examples.clone()).collect();
    Ok(session.word_bank_with(&classes, background_words, &examples)?.with_gates(words.iter().map(LiveClass::gate).collect())?)
}

/// A class with the settings that the word of its name has already.
pub(super) fn kept(old: &[LiveClass], class: Class) -> WordSpec {
    let mut spec = WordSpec::from(class);
    if let Some(word) = old.iter().find(|w| same_name(&w.name, &spec.name)) {
        (spec.threshold, spec.colour, spec.on) = (word.threshold, Some(word.colour), word.on);
        spec.examples.clone_from(&word.examples);
        if spec.synonyms.is_empty() {
            spec.synonyms = word.synonyms.clone();
        }
    }
    spec
}

/// Other words than those before, with the examples that those of the same names have, and those of examples alone behind.
pub fn keep_examples(old: &[LiveClass], mut specs: Vec<WordSpec>) -> Vec<WordSpec> {
    for word in old.iter().filter(|word| !word.examples.is_empty()) {
        match specs.iter_mut().find(|spec| same_name(&spec.name, &word.name)) {
            Some(spec) if spec.examples.is_empty() => spec.examples.clone_from(&word.examples),
            Some(_) => {}
            None if word.text => {}
            None => specs.push(word.clone().into()),
        }
    }
    specs
}

/// A name that none of the current classes has.
pub(crate) fn unknown(words: &[LiveClass], name: &str) -> Error {
    let names: Vec<_> = words.iter().map(|word| word.name.as_str()).collect();
    let expected = if names.is_empty() {
        "no name, as there are no words".into()
    } else {
        format!("one of the current classes: {}", shown_names(&names))
    };
    Error::words("words", expected, format!("{name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_seg_model::Options;

    #[test]
    fn a_change_inside_a_change_is_an_error() {
        let session = Arc::new(Session::built_in_with(&Options::default().with_size_px(64)).unwrap());
        let words = Words::of(session.clone(), &session.words("cat, dog").unwrap()).unwrap();
        let inner = |inner: &dyn Fn() -> Result<Arc<WordSet>>| {
            let said = words.change(|_| inner().map(|_| Vec::new())).unwrap_err().to_string();
            assert!(said.contains("one change at a time, found one inside another"), "{said}");
        };
        inner(&|| words.set(Vec::new()));
        inner(&|| words.adjust("cat", |_| {}));
        inner(&|| words.set_background(None, None));
        let mut said = None;
        let adjusted = words.adjust("cat", |spec| {
            said = words.set(Vec::new()).err();
            spec.on = false;
        });
        assert!(said.is_some() && !adjusted.unwrap().words[0].on, "the outer one goes on");
        assert_eq!(words.current().version, 2);
    }
}
