use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use super::set::{WordSet, Words};
use super::word::{LiveClass, WordSpec};
use crate::Result;
use crate::rules::Profile;
use edge_seg_model::text::shown_names;
use edge_seg_model::{Background, same_name};

/// What a profile changed of the words, so that it can be taken back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profiled {
    /// Words that were turned on or off: as they were, and as they were made.
    on: Vec<(String, bool, bool)>,
    thresholds: Vec<(String, Option<f32>, Option<f32>)>,
    background: Option<(Background, Background)>,
    /// Words that were not in the list.
    added: Vec<WordSpec>,
}

impl Words {
    /// Takes back what the profile before changed, where nobody has changed it since, and goes on with another, or with none. The words
    /// are encoded on the calling thread; if they cannot be used, all stays as it is.
    ///
    /// # Errors
    /// As [`Self::change`].
    pub fn follow(&self, profiled: &mut Profiled, profile: Option<&Profile>) -> Result<Arc<WordSet>> {
        let mut next = Profiled::default();
        let set = self.exchange_all(|old| {
            let mut specs: Vec<WordSpec> = old.words.iter().cloned().map(WordSpec::from).collect();
            let mut background = old.background;
            profiled.take_back(&mut specs, &mut background, &old.words);
            if let Some(profile) = profile {
                next = Profiled::put_on(profile, &mut specs, &mut background)?;
            }
            Ok((specs, background))
        })?;
        *profiled = next;
        Ok(set)
    }
}

/// Has words follow profiles, on a thread of its own: they are encoded while frames go on.
#[derive(Debug)]
pub struct ProfileFollower {
    words: Arc<Words>,
    last: Option<Profile>,
    thread: Option<Sender<Option<Profile>>>,
}

impl ProfileFollower {
    /// These words, which no profile has changed yet.
    pub fn new(words: Arc<Words>) -> Self {
        Self { words, last: None, thread: None }
    }

    /// Takes the profile that is on. True if it was another before.
    pub fn follow(&mut self, profile: Option<&Profile>) -> bool {
        if self.last.as_ref() == profile {
            return false;
        }
        self.last = profile.cloned();
        let thread = self.thread.get_or_insert_with(|| start(self.words.clone()));
        // It ends with this.
        let _ = thread.send(self.last.clone());
        true
    }
}

fn start(words: Arc<Words>) -> Sender<Option<Profile>> {
    let (sender, profiles) = channel::<Option<Profile>>();
    let run = move || {
        let mut profiled = Profiled::default();
        while let Ok(mut profile) = profiles.recv() {
            while let Ok(newer) = profiles.try_recv() {
                profile = newer;
            }
            let name = profile.as_ref().map_or("none", |profile| profile.name.as_str());
            match words.follow(&mut profiled, profile.as_ref()) {
                Ok(set) => tracing::info!("profile {name}: words, set {}: {}", set.version, shown_names(set.bank.names())),
                Err(e) => tracing::error!("profile {name}: the words stay as they are: {e}"),
            }
        }
    };
    if let Err(e) = std::thread::Builder::new().name("profiles".into()).spawn(run) {
        tracing::error!("words follow no profile: {e}");
    }
    sender
}

fn named<'a>(specs: &'a mut [WordSpec], name: &str) -> Option<&'a mut WordSpec> {
    specs.iter_mut().find(|spec| same_name(&spec.name, name))
}

impl Profiled {
    fn take_back(&self, specs: &mut Vec<WordSpec>, background: &mut Background, words: &[LiveClass]) {
        for (name, before, made) in &self.on {
            named(specs, name).filter(|spec| spec.on == *made).into_iter().for_each(|spec| spec.on = *before);
        }
        for (name, before, made) in &self.thresholds {
            named(specs, name).filter(|spec| spec.threshold == *made).into_iter().for_each(|spec| spec.threshold = *before);
        }
        if let Some((before, made)) = self.background
            && *background == made
        {
            *background = before;
        }
        // A word that somebody has changed meanwhile is somebody's.
        let is_as_added = |word: &LiveClass, added: &WordSpec| {
            let threshold =
                self.thresholds.iter().find(|(name, ..)| same_name(name, &word.name)).map_or(added.threshold, |(_, _, made)| *made);
            word.on && word.threshold == threshold && word.synonyms == added.synonyms && word.examples.is_empty()
        };
        specs.retain(|spec| {
            let added = self.added.iter().find(|added| same_name(&added.name, &spec.name));
            let word = words.iter().find(|word| same_name(&word.name, &spec.name));
            !added.zip(word).is_some_and(|(added, word)| is_as_added(word, added))
        });
    }

    fn put_on(profile: &Profile, specs: &mut Vec<WordSpec>, background: &mut Background) -> Result<Self> {
        let mut changed = Self::default();
        if let Some(classes) = profile.classes()? {
            for spec in specs.iter_mut() {
                let on = classes.iter().any(|class| same_name(&class.name, &spec.name));
                if spec.on != on {
                    changed.on.push((spec.name.clone(), spec.on, on));
                    spec.on = on;
                }
            }
            for class in classes {
                if named(specs, &class.name).is_none() {
                    let spec = WordSpec::from(class);
                    changed.added.push(spec.clone());
                    // At the end, so that the labels of the others stay.
                    specs.push(spec);
                }
            }
        }
        for (name, threshold) in &profile.thresholds {
            match named(specs, name) {
                Some(spec) => {
                    changed.thresholds.push((spec.name.clone(), spec.threshold, Some(*threshold)));
                    spec.threshold = Some(*threshold);
                }
                None => tracing::warn!("profile {:?} has a threshold for {name:?}, which is not in the list", profile.name),
            }
        }
        if let Some(threshold) = profile.background {
            let made = Background::Threshold(threshold);
            changed.background = Some((*background, made));
            *background = made;
        }
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::word::settle;
    use edge_seg_model::Class;

    struct List {
        words: Vec<LiveClass>,
        background: Background,
        profiled: Profiled,
    }

    impl List {
        fn follow(&mut self, profile: Option<&Profile>) -> Vec<String> {
            let mut specs: Vec<WordSpec> = self.words.iter().cloned().map(WordSpec::from).collect();
            self.profiled.take_back(&mut specs, &mut self.background, &self.words);
            self.profiled = profile.map_or_else(Profiled::default, |p| Profiled::put_on(p, &mut specs, &mut self.background).unwrap());
            self.words = settle("test", specs, &self.words).unwrap();
            self.brief()
        }

        fn brief(&self) -> Vec<String> {
            let threshold = |t: Option<f32>| t.map_or(String::new(), |t| format!(" {t}"));
            self.words.iter().map(|w| format!("{}{}{}", if w.on { "" } else { "-" }, w.name, threshold(w.threshold))).collect()
        }
    }

    fn profile(text: &str) -> Profile {
        toml::from_str(&format!("name = \"p\"\nfrom = \"22:00\"\nto = \"06:00\"\n{text}")).unwrap()
    }

    fn list() -> List {
        let words = settle("test", ["person", "car", "dog"].map(|name| Class::word(name).into()).into(), &[]).unwrap();
        List { words, background: Background::Threshold(0.2), profiled: Profiled::default() }
    }

    #[test]
    fn a_profile_leaves_nothing_behind() {
        let night = profile("words = \"Person, torch\"\nthresholds = { person = 0.5, torch = 0.25, cow = 0.5 }\nbackground = 0.4");
        let mut list = list();
        let day = list.words.clone();
        assert_eq!(list.follow(Some(&night)), ["person 0.5", "-car", "-dog", "torch 0.25"]);
        assert_eq!(list.background, Background::Threshold(0.4));
        assert_eq!(list.follow(Some(&night)), ["person 0.5", "-car", "-dog", "torch 0.25"], "read again");
        assert_eq!(list.follow(Some(&profile("words = \"car\""))), ["-person", "car", "-dog"]);
        assert_eq!(list.background, Background::Threshold(0.2));
        list.follow(None);
        assert_eq!((&list.words, &list.profiled), (&day, &Profiled::default()));
    }

    #[test]
    fn what_a_person_changes_meanwhile_stays() {
        let mut list = list();
        list.follow(Some(&profile("words = \"person, torch\"\nthresholds = { person = 0.5 }\nbackground = 0.4")));
        list.words[0].threshold = Some(0.6);
        list.words[1].on = true;
        list.words[3].threshold = Some(0.1);
        list.background = Background::Threshold(0.3);
        assert_eq!(list.follow(None), ["person 0.6", "car", "dog", "torch 0.1"]);
        assert_eq!(list.background, Background::Threshold(0.3));
        // Words that went away are no fault.
        list.follow(Some(&profile("words = \"person\"")));
        list.words.truncate(1);
        assert_eq!(list.follow(None), ["person 0.6"]);
    }
}
