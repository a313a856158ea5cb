use serde::{Deserialize, Serialize};

use super::crowd::{Place, ThingTest, Way};
use super::normal::{Amount, DEVIATIONS, Departure};

/// From this share of the picture or zone on a word counts as present: fewer pixels than one in a thousand are most often noise.
pub const PRESENT_SHARE: f64 = 0.001;

/// What a rule waits for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Raw")]
#[non_exhaustive]
pub enum Condition {
    /// A word measured in a frame.
    Word {
        /// The word.
        word: String,
        /// The zone that its share is measured in; the whole picture if none.
        zone: Option<String>,
        /// What must hold.
        test: Test,
    },
    /// A word's things, where they are followed.
    Things {
        /// The word.
        word: String,
        /// Where they are counted.
        place: Place,
        /// What must hold.
        test: ThingTest,
    },
    /// More or less of a word is there than usual at this time of the day.
    Unusual(Unusual),
    /// The profile of this name is on.
    Profile(String),
    /// All of these hold.
    All(Vec<Condition>),
    /// One of these holds.
    Any(Vec<Condition>),
    /// This does not hold.
    Not(Box<Condition>),
}

/// What departs from what is usual.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Unusual {
    /// The word.
    pub word: String,
    /// Where; in the whole picture if none.
    pub zone: Option<String>,
    /// What is measured of it.
    pub of: Amount,
    /// Which way it departs.
    pub departure: Departure,
    /// Robust standard deviations that count.
    pub deviations: f64,
}

impl Unusual {
    /// What departs in the whole picture.
    pub fn new(word: impl Into<String>, of: Amount, departure: Departure, deviations: f64) -> Self {
        Self { word: word.into(), zone: None, of, departure, deviations }
    }
}

/// What must hold of a word.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Test {
    /// Its share of the picture or zone is this or more, in 0..1.
    ShareAbove(f64),
    /// Its share is less than this, in 0..1.
    ShareBelow(f64),
    /// Its score is this or more, in 0..1.
    ScoreAbove(f64),
    /// Its score is less than this, in 0..1.
    ScoreBelow(f64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    word: Option<String>,
    zone: Option<String>,
    share_above: Option<f64>,
    share_below: Option<f64>,
    score_above: Option<f64>,
    score_below: Option<f64>,
    absent: Option<bool>,
    line: Option<String>,
    count_above: Option<u32>,
    count_below: Option<u32>,
    dwell_above_s: Option<f64>,
    enters: Option<bool>,
    leaves: Option<bool>,
    crosses: Option<Way>,
    unusual: Option<Departure>,
    unusual_count: Option<Departure>,
    deviations: Option<f64>,
    profile: Option<String>,
    all: Option<Vec<Condition>>,
    any: Option<Vec<Condition>>,
    not: Option<Box<Condition>>,
}

impl TryFrom<Raw> for Condition {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let tests = [
            raw.share_above.map(Test::ShareAbove),
            raw.share_below.map(Test::ShareBelow),
            raw.score_above.map(Test::ScoreAbove),
            raw.score_below.map(Test::ScoreBelow),
            raw.absent.map(|absent| if absent { Test::ShareBelow(PRESENT_SHARE) } else { Test::ShareAbove(PRESENT_SHARE) }),
        ];
        let tests: Vec<Test> = tests.into_iter().flatten().collect();
        let of_things = raw.thing_tests()?;
        let word = raw.word.as_deref().map(|word| word.trim().to_owned()).filter(|word| !word.is_empty());
        let groups = usize::from(raw.all.is_some()) + usize::from(raw.any.is_some()) + usize::from(raw.not.is_some());
        let is_unusual = raw.unusual.is_some() || raw.unusual_count.is_some() || raw.deviations.is_some();
        let is_plain = tests.is_empty() && of_things.is_empty() && raw.line.is_none();
        if let Some(profile) = raw.profile {
            return match (word, groups, raw.zone, profile.trim()) {
                (None, 0, None, name) if is_plain && !is_unusual && !name.is_empty() => Ok(Self::Profile(name.into())),
                _ => Err("expected the name of a profile alone; say all = [...] around it and others".into()),
            };
        }
        match (word, groups) {
            (Some(word), 0) if is_unusual => {
                let (of, departure) = match (raw.unusual, raw.unusual_count) {
                    (Some(departure), None) => (Amount::Share, departure),
                    (None, Some(departure)) => (Amount::Count, departure),
                    _ => return Err("expected one of unusual and unusual_count".into()),
                };
                if !is_plain {
                    return Err("expected unusual or unusual_count alone, found other tests as well".into());
                }
                let deviations = raw.deviations.unwrap_or(DEVIATIONS);
                Self::Unusual(Unusual { word, zone: raw.zone, of, departure, deviations }).in_range()
            }
            (Some(word), 0) if !of_things.is_empty() || raw.line.is_some() => {
                let [test] = of_things[..] else {
                    return Err(format!("expected one of {THING_TESTS}, found {}", if of_things.is_empty() { "none" } else { "more" }));
                };
                if !tests.is_empty() {
                    return Err(format!("expected one of {THING_TESTS} alone, found shares or scores as well"));
                }
                let place = match (raw.zone, raw.line, test) {
                    (None, Some(line), ThingTest::Crosses(_)) => Place::Line(line),
                    (_, _, ThingTest::Crosses(_)) => return Err("expected a line, and no zone, with crosses".into()),
                    (_, Some(_), _) => return Err("expected crosses with a line".into()),
                    (Some(zone), None, _) => Place::Zone(zone),
                    (None, None, _) => Place::Picture,
                };
                Self::Things { word, place, test }.in_range()
            }
            (Some(word), 0) => {
                let test = match tests[..] {
                    [] => Test::ShareAbove(PRESENT_SHARE),
                    [test] => test,
                    _ => return Err("expected one of share_above, share_below, score_above, score_below, absent, found more".into()),
                };
                if matches!(test, Test::ScoreAbove(_) | Test::ScoreBelow(_)) && raw.zone.is_some() {
                    return Err("expected a share with a zone, found a score: scores are of the whole picture".into());
                }
                Self::Word { word, zone: raw.zone, test }.in_range()
            }
            (None, 1) if is_plain && !is_unusual && raw.zone.is_none() => match (raw.all, raw.any, raw.not) {
                (Some(all), _, _) if !all.is_empty() => Ok(Self::All(all)),
                (_, Some(any), _) if !any.is_empty() => Ok(Self::Any(any)),
                (_, _, Some(not)) => Ok(Self::Not(not)),
                _ => Err("expected one condition or more in all or any, found none".into()),
            },
            _ => Err("expected a word with what must hold of it, or one of all, any and not".into()),
        }
    }
}

const THING_TESTS: &str = "count_above, count_below, dwell_above_s, enters, leaves, crosses";

impl Raw {
    fn thing_tests(&self) -> Result<Vec<ThingTest>, String> {
        let happens = |key: &str, given: Option<bool>, test| match given {
            Some(false) => Err(format!("expected {key} = true, found false; say not = {{ ... }} around it")),
            given => Ok(given.map(|_| test)),
        };
        let tests = [
            self.count_above.map(ThingTest::CountAbove),
            self.count_below.map(ThingTest::CountBelow),
            self.dwell_above_s.map(ThingTest::DwellAbove),
            happens("enters", self.enters, ThingTest::Enters)?,
            happens("leaves", self.leaves, ThingTest::Leaves)?,
            self.crosses.map(ThingTest::Crosses),
        ];
        Ok(tests.into_iter().flatten().collect())
    }
}

/// Whether a test holds of a word's things in a place; none if nobody counted them.
pub type Counted<'a> = dyn Fn(&str, &Place, ThingTest) -> Option<bool> + 'a;

/// Share and score of a word, in the picture or in a zone; none if nobody measured it.
pub type Measure<'a> = dyn Fn(&str, Option<&str>) -> Option<(f64, f32)> + 'a;

/// Whether something departs from what is usual; none if that is not known.
pub type Departs<'a> = dyn Fn(&Unusual) -> Option<bool> + 'a;

/// What is known of a frame.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// Shares and scores.
    pub measured: &'a Measure<'a>,
    /// Things.
    pub counted: &'a Counted<'a>,
    /// What is usual.
    pub departs: &'a Departs<'a>,
    /// The profile that is on.
    pub profile: Option<&'a str>,
}

impl std::fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Known {{ profile: {:?} }}", self.profile)
    }
}

/// What was measured of a word in a frame.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Measured {
    /// The word.
    pub word: String,
    /// The zone that its share is of; the whole picture if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The line that its things cross.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// Share of the picture's or zone's pixels, in 0..1.
    pub share: f64,
    /// Score of its best patch in the whole picture, in 0..1.
    pub score: f32,
    /// How many of its things are there, where they are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// What is usual at this time of the day, from the lowest to the highest, where the rule asks for that and it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usual: Option<[f64; 2]>,
    /// Numbers of the things that the condition is about: those that are there, have stayed, came, went or crossed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<u64>,
}

impl Condition {
    /// The words and zones whose shares it measures, each pair once, in order.
    pub fn measures(&self) -> Vec<(&str, Option<&str>)> {
        let mut found = Vec::new();
        self.each(&mut |part| {
            if let Self::Word { word, zone, .. } | Self::Unusual(Unusual { word, zone, .. }) = part
                && !found.contains(&(word.as_str(), zone.as_deref()))
            {
                found.push((word.as_str(), zone.as_deref()));
            }
        });
        found
    }

    /// The words whose things it counts, where, and what must hold of them, each once, in order.
    pub fn counts(&self) -> Vec<(&str, &Place, ThingTest)> {
        let mut found = Vec::new();
        self.each(&mut |part| {
            if let Self::Things { word, place, test } = part
                && !found.contains(&(word.as_str(), place, *test))
            {
                found.push((word.as_str(), place, *test));
            }
        });
        found
    }

    /// What is compared with what is usual, each once, in order.
    pub fn unusual(&self) -> Vec<&Unusual> {
        let mut found = Vec::new();
        self.each(&mut |part| {
            if let Self::Unusual(unusual) = part
                && !found.contains(&unusual)
            {
                found.push(unusual);
            }
        });
        found
    }

    /// The words whose things it counts.
    pub(super) fn counted(&self) -> Vec<&str> {
        let usually = self.unusual().into_iter().filter(|unusual| unusual.of == Amount::Count).map(|unusual| unusual.word.as_str());
        self.counts().into_iter().map(|(word, ..)| word).chain(usually).collect()
    }

    /// The profiles that it asks for.
    pub fn profiles(&self) -> Vec<&str> {
        let mut found = Vec::new();
        self.each(&mut |part| {
            if let Self::Profile(name) = part {
                found.push(name.as_str());
            }
        });
        found
    }

    /// What is expected in place of the first number that is out of its range, and that number.
    pub(super) fn out_of_range(&self) -> Option<(&'static str, f64)> {
        let mut first = None;
        self.each(&mut |part| {
            let (value, range, expected) = match part {
                Self::Word { test: Test::ShareAbove(v) | Test::ShareBelow(v) | Test::ScoreAbove(v) | Test::ScoreBelow(v), .. } => {
                    (*v, 0.0..=1.0, "shares and scores of 0 to 1")
                }
                Self::Things { test: ThingTest::DwellAbove(seconds), .. } => {
                    (*seconds, 0.0..=86_400.0 * 366.0, "dwell_above_s of seconds, up to a year")
                }
                Self::Unusual(unusual) => (unusual.deviations, 1.0..=100.0, "deviations of 1 to 100"),
                Self::Things { .. } | Self::Profile(_) | Self::All(_) | Self::Any(_) | Self::Not(_) => return,
            };
            if !range.contains(&value) {
                first.get_or_insert((expected, value));
            }
        });
        first
    }

    fn in_range(self) -> Result<Self, String> {
        match self.out_of_range() {
            None => Ok(self),
            Some((expected, found)) => Err(format!("expected {expected}, found {found}")),
        }
    }

    /// Shows every part that holds no others.
    fn each<'a>(&'a self, show: &mut dyn FnMut(&'a Self)) {
        match self {
            Self::Word { .. } | Self::Things { .. } | Self::Unusual(_) | Self::Profile(_) => show(self),
            Self::All(list) | Self::Any(list) => list.iter().for_each(|c| c.each(show)),
            Self::Not(inner) => inner.each(show),
        }
    }

    /// Whether it holds; none if that depends on what is not known (Kleene's three-valued logic).
    pub fn holds(&self, known: &Known<'_>) -> Option<bool> {
        match self {
            Self::Word { word, zone, test } => {
                let (share, score) = (known.measured)(word, zone.as_deref())?;
                Some(match *test {
                    Test::ShareAbove(least) => share >= least,
                    Test::ShareBelow(least) => share < least,
                    Test::ScoreAbove(least) => f64::from(score) >= least,
                    Test::ScoreBelow(least) => f64::from(score) < least,
                })
            }
            Self::Things { word, place, test } => (known.counted)(word, place, *test),
            Self::Unusual(unusual) => (known.departs)(unusual),
            Self::Profile(name) => Some(known.profile == Some(name)),
            Self::All(list) => fold(list.iter().map(|c| c.holds(known)), false),
            Self::Any(list) => fold(list.iter().map(|c| c.holds(known)), true),
            Self::Not(inner) => inner.holds(known).map(|held| !held),
        }
    }
}

/// `decides` as soon as one says so, unknown if one is unknown, else the other.
fn fold(mut each: impl Iterator<Item = Option<bool>>, decides: bool) -> Option<bool> {
    let start = Some(!decides);
    let decided = each.try_fold(start, |sofar, held| match held {
        Some(held) if held == decides => Err(()),
        Some(_) => Ok(sofar),
        None => Ok(None),
    });
    decided.unwrap_or(Some(decides))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Held {
        when: Condition,
    }

    fn parse(text: &str) -> Result<Condition, String> {
        toml::from_str::<Held>(&format!("when = {text}")).map(|h| h.when).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn every_form_is_read() {
        let word = |zone: Option<&str>, test| Ok(Condition::Word { word: "dog".into(), zone: zone.map(Into::into), test });
        assert_eq!(parse(r#"{ word = "dog" }"#), word(None, Test::ShareAbove(PRESENT_SHARE)));
        assert_eq!(parse(r#"{ word = " dog ", zone = "a", share_above = 0.5 }"#), word(Some("a"), Test::ShareAbove(0.5)));
        assert_eq!(parse(r#"{ word = "dog", score_below = 1 }"#), word(None, Test::ScoreBelow(1.0)));
        assert_eq!(parse(r#"{ word = "dog", absent = true }"#), word(None, Test::ShareBelow(PRESENT_SHARE)));
        let things = |place, test| Ok(Condition::Things { word: "dog".into(), place, test });
        assert_eq!(parse(r#"{ word = "dog", count_above = 3 }"#), things(Place::Picture, ThingTest::CountAbove(3)));
        assert_eq!(
            parse(r#"{ word = "dog", zone = "a", dwell_above_s = 1.5 }"#),
            things(Place::Zone("a".into()), ThingTest::DwellAbove(1.5))
        );
        assert_eq!(parse(r#"{ word = "dog", zone = "a", enters = true }"#), things(Place::Zone("a".into()), ThingTest::Enters));
        assert_eq!(
            parse(r#"{ word = "dog", line = "l", crosses = "right" }"#),
            things(Place::Line("l".into()), ThingTest::Crosses(Way::Right))
        );
        let unusual = |zone: Option<&str>, of, departure, deviations| {
            Ok(Condition::Unusual(Unusual { word: "dog".into(), zone: zone.map(Into::into), of, departure, deviations }))
        };
        assert_eq!(parse(r#"{ word = "dog", unusual = "more" }"#), unusual(None, Amount::Share, Departure::More, DEVIATIONS));
        assert_eq!(
            parse(r#"{ word = "dog", zone = "a", unusual_count = "either", deviations = 3 }"#),
            unusual(Some("a"), Amount::Count, Departure::Either, 3.0)
        );
        assert_eq!(parse(r#"{ profile = " night " }"#), Ok(Condition::Profile("night".into())));
        assert!(
            matches!(parse(r#"{ all = [{ word = "a" }, { not = { any = [{ word = "b" }] } }] }"#), Ok(Condition::All(list)) if list.len() == 2)
        );
    }

    #[test]
    fn wrong_forms_are_told() {
        for (text, complaint) in [
            ("{}", "a word with what must hold"),
            ("{ share_above = 0.1 }", "a word with what must hold"),
            (r#"{ word = "  " }"#, "a word with what must hold"),
            (r#"{ word = "a", not = { word = "b" } }"#, "one of all, any and not"),
            (r#"{ all = [], }"#, "one condition or more"),
            (r#"{ word = "a", share_above = 0.1, score_above = 0.2 }"#, "found more"),
            (r#"{ word = "a", share_above = 1.1 }"#, "0 to 1, found 1.1"),
            (r#"{ word = "a", share_above = nan }"#, "0 to 1, found NaN"),
            (r#"{ word = "a", zone = "z", score_above = 0.5 }"#, "scores are of the whole picture"),
            (r#"{ word = "a", count_above = 1, enters = true }"#, "expected one of count_above"),
            (r#"{ word = "a", line = "l" }"#, "crosses, found none"),
            (r#"{ word = "a", count_above = 1, share_above = 0.1 }"#, "found shares or scores as well"),
            (r#"{ word = "a", count_above = -1 }"#, "expected u32"),
            (r#"{ word = "a", crosses = "left" }"#, "expected a line"),
            (r#"{ word = "a", line = "l", count_above = 1 }"#, "expected crosses with a line"),
            (r#"{ word = "a", line = "l", crosses = "up" }"#, "unknown variant `up`"),
            (r#"{ word = "a", leaves = false }"#, "expected leaves = true"),
            (r#"{ word = "a", dwell_above_s = nan }"#, "found NaN"),
            (r#"{ count_above = 1 }"#, "a word with what must hold"),
            (r#"{ word = "a", unusual = "much" }"#, "unknown variant `much`"),
            (r#"{ word = "a", unusual = "more", unusual_count = "more" }"#, "one of unusual and unusual_count"),
            (r#"{ word = "a", deviations = 3 }"#, "one of unusual and unusual_count"),
            (r#"{ word = "a", unusual = "more", deviations = nan }"#, "1 to 100, found NaN"),
            (r#"{ word = "a", unusual = "more", share_above = 0.1 }"#, "found other tests as well"),
            (r#"{ unusual = "more" }"#, "a word with what must hold"),
            (r#"{ profile = "night", word = "a" }"#, "the name of a profile alone"),
            (r#"{ profile = "" }"#, "the name of a profile alone"),
            (r#"{ word = "a", shareabove = 0.1 }"#, "unknown field `shareabove`"),
        ] {
            let found = parse(text).expect_err(text);
            assert!(found.contains(complaint), "{text}: {found}");
        }
    }

    #[test]
    fn unknown_words_leave_unknown_what_depends_on_them() {
        let measured = |word: &str, _: Option<&str>| match word {
            "yes" => Some((0.5, 0.9)),
            "no" => Some((0.0, 0.1)),
            _ => None,
        };
        for (text, expected) in [
            (r#"{ word = "yes" }"#, Some(true)),
            (r#"{ word = "no" }"#, Some(false)),
            (r#"{ word = "what" }"#, None),
            (r#"{ not = { word = "what" } }"#, None),
            (r#"{ word = "what", absent = true }"#, None),
            (r#"{ all = [{ word = "what" }, { word = "no" }] }"#, Some(false)),
            (r#"{ all = [{ word = "what" }, { word = "yes" }] }"#, None),
            (r#"{ any = [{ word = "what" }, { word = "yes" }] }"#, Some(true)),
            (r#"{ any = [{ word = "no" }, { word = "what" }] }"#, None),
            (r#"{ any = [{ word = "no" }, { word = "yes", score_above = 0.95 }] }"#, Some(false)),
            (r#"{ word = "no", unusual = "less" }"#, Some(true)),
            (r#"{ all = [{ profile = "night" }, { word = "yes", unusual = "more" }] }"#, None),
            (r#"{ all = [{ profile = "day" }, { word = "yes", unusual = "more" }] }"#, Some(false)),
            (r#"{ not = { profile = "day" } }"#, Some(true)),
        ] {
            let known = Known {
                measured: &measured,
                counted: &|_, _, _| None,
                departs: &|unusual| (unusual.word == "no").then_some(true),
                profile: Some("night"),
            };
            assert_eq!(parse(text).unwrap().holds(&known), expected, "{text}");
        }
    }
}
