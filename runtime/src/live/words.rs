use std::sync::{Arc, Mutex, RwLock};

use crate::{Class, Result, Session, TagBank};

/// Words with their embeddings.
#[derive(Debug)]
pub struct WordSet {
    /// The classes as they were asked for.
    pub classes: Vec<Class>,
    /// Their embeddings.
    pub bank: TagBank,
    /// Counts the sets from 1.
    pub version: u64,
}

/// The words that are looked for, exchanged while frames run.
#[derive(Debug)]
pub struct Words {
    session: Arc<Session>,
    background_words: Vec<String>,
    current: RwLock<Arc<WordSet>>,
    changing: Mutex<()>,
}

impl Words {
    /// Encodes the first words.
    ///
    /// # Errors
    /// As [`Session::tag_bank`].
    pub fn new(session: Arc<Session>, classes: Vec<Class>, background_words: Vec<String>) -> Result<Self> {
        let bank = session.tag_bank(&classes, &background_words)?;
        let current = RwLock::new(Arc::new(WordSet { classes, bank, version: 1 }));
        Ok(Self { session, background_words, current, changing: Mutex::new(()) })
    }

    /// The words of the next frame.
    pub fn current(&self) -> Arc<WordSet> {
        self.current.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Exchanges the words. They are encoded on the calling thread while frames go on with the old ones, which also stay if it fails.
    ///
    /// # Errors
    /// As [`Session::tag_bank`].
    pub fn set(&self, classes: Vec<Class>) -> Result<Arc<WordSet>> {
        self.change(|_| Ok(classes))
    }

    /// Exchanges the words by changing the present ones; nobody else changes them meanwhile.
    ///
    /// # Errors
    /// As [`Session::tag_bank`], or what `change` says.
    pub fn change(&self, change: impl FnOnce(&[Class]) -> Result<Vec<Class>>) -> Result<Arc<WordSet>> {
        let _alone = self.changing.lock().unwrap_or_else(|e| e.into_inner());
        let old = self.current();
        let classes = change(&old.classes)?;
        let bank = self.session.tag_bank(&classes, &self.background_words)?;
        let set = Arc::new(WordSet { classes, bank, version: old.version + 1 });
        *self.current.write().unwrap_or_else(|e| e.into_inner()) = set.clone();
        Ok(set)
    }
}
