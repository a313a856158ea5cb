//! Things in places: how many are in a zone and for how long, who came, went and crossed a line.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::zone::{Anchor, Unit, Zone};
use crate::things::Thing;
use edge_seg_model::{folded_name, same_name};

/// Masks tremble: a thing is on the other side of a border when it has been there for so long, in two frames or more.
const SETTLE: Duration = Duration::from_millis(300);
/// A thing that is not seen for so long still counts.
const BLINK: Duration = Duration::from_millis(500);
/// A thing that has not been seen for so long has left.
const VANISHED: Duration = Duration::from_secs(2);
/// What is there within this time of the start was there before it.
const START: Duration = Duration::from_secs(1);
/// A thing is beyond a line from this share of the picture's short side on.
const BEYOND_SHARE: f64 = 0.005;
/// Masks of one that stands still tremble by less than this share: what is beyond a line by less may only lean over it.
const SURE_SHARE: f64 = 0.03;
/// Where it is no further beyond, it has crossed after this time: once. Who stands at a line has not gone back and forth over it.
const LINGER: Duration = Duration::from_secs(5);

/// A line that things cross.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Line {
    /// What rules and events call it.
    pub name: String,
    /// What its ends count in.
    #[serde(default)]
    pub unit: Unit,
    /// Which point of a thing crosses.
    #[serde(default)]
    pub anchor: Anchor,
    /// Its ends, x and y. Right and left are as seen from the first one, looking to the second.
    pub points: [[f64; 2]; 2],
}

impl Line {
    /// A line between two points, in shares of the picture's width and height, which a thing's centre crosses.
    pub fn new(name: impl Into<String>, points: [[f64; 2]; 2]) -> Self {
        Self { name: name.into(), unit: Unit::default(), anchor: Anchor::default(), points }
    }

    /// What is wrong with it: expected and found.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        super::zone::check_points(&self.name, self.unit, &self.points)?;
        if self.points[0] == self.points[1] {
            return Err(("two ends".into(), format!("{:?} twice", self.points[0])));
        }
        Ok(())
    }
}

/// Which way a line is crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// To the right of whoever looks from the first end to the second.
    Right,
    /// To the left.
    Left,
    /// Either way.
    Either,
}

/// Where things are counted.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Place {
    /// The whole picture.
    Picture,
    /// A zone, by name.
    Zone(String),
    /// A line, by name.
    Line(String),
}

/// What must hold of a word's things.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum ThingTest {
    /// There are so many or more.
    CountAbove(u32),
    /// There are fewer.
    CountBelow(u32),
    /// One has been there for so many seconds or longer.
    DwellAbove(f64),
    /// One comes in.
    Enters,
    /// One goes out.
    Leaves,
    /// One crosses a line.
    Crosses(Way),
}

impl ThingTest {
    /// Whether it is over as soon as it happens.
    pub fn is_instant(&self) -> bool {
        matches!(self, Self::Enters | Self::Leaves | Self::Crosses(_))
    }
}

/// What was counted of a word in a zone, or over a line, since the rules have been followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Tally {
    /// The word.
    pub word: String,
    /// Where.
    #[serde(flatten)]
    pub place: TallyPlace,
}

/// The part of a [`Tally`] that depends on where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum TallyPlace {
    /// A zone.
    Zone {
        /// Its name.
        zone: String,
        /// Things that are in it now.
        count: usize,
        /// Things that came in.
        entered: u64,
        /// Things that went out.
        left: u64,
    },
    /// A line.
    Line {
        /// Its name.
        line: String,
        /// Things that crossed it to the right.
        to_right: u64,
        /// Things that crossed it to the left.
        to_left: u64,
    },
}

/// Who is where, over the frames of a session.
#[derive(Debug, Clone, Default)]
pub(super) struct Crowds {
    zones: Vec<Zone>,
    lines: Vec<Line>,
    /// What is known of each word in each place: the whole picture, the zones, the lines.
    known: BTreeMap<(usize, String), Presence>,
    /// Words that are counted in this frame; none if nothing is known of it.
    counted: Option<Vec<String>>,
    now: Duration,
}

/// A word's things in one place.
#[derive(Debug, Clone, Default)]
struct Presence {
    began: Duration,
    members: BTreeMap<u64, Member>,
    came: [u64; 2],
    /// Who came in and who went out in this frame; of a line, to the right and to the left.
    moved: [Vec<u64>; 2],
}

#[derive(Debug, Clone, Copy)]
struct Member {
    /// Whether it is inside, or to the right.
    inside: bool,
    /// Since when.
    since: Duration,
    /// Where it has been on the other side, if it is there.
    other: Option<Beyond>,
    /// Whether it came to its side of a line, and was not there from the first.
    crossed: bool,
    /// Where it was when it was surely on its side.
    from: [f64; 2],
    seen: Duration,
}

/// A stay on the other side of a border that is not settled yet.
#[derive(Debug, Clone, Copy)]
struct Beyond {
    since: Duration,
    last: Duration,
    /// Of a line: whether its way there met it, and not what is beside its ends.
    met: bool,
}

impl Crowds {
    pub fn new(zones: &[Zone], lines: &[Line]) -> Self {
        Self { zones: zones.into(), lines: lines.into(), ..Self::default() }
    }

    /// What was known of places that are the same stays.
    pub fn take_over(&mut self, old: Self) {
        for ((place, word), presence) in old.known {
            let new = match place.checked_sub(1) {
                None => Some(0),
                Some(i) if i < old.zones.len() => self.zones.iter().position(|zone| *zone == old.zones[i]).map(|i| 1 + i),
                Some(i) => self.lines.iter().position(|line| *line == old.lines[i - old.zones.len()]).map(|i| 1 + self.zones.len() + i),
            };
            if let Some(new) = new {
                self.known.insert((new, word), presence);
            }
        }
    }

    /// What is there from now on has not come, as at the start, and what was there before has not left.
    pub fn begin_anew(&mut self, now: Duration) {
        self.known.values_mut().for_each(|presence| (presence.members, presence.began) = (BTreeMap::new(), now));
    }

    /// Takes a frame's things, of the words that are counted.
    pub fn take(&mut self, things: &[Thing], counted: &[&str], frame_px: (u32, u32), now: Duration) {
        let words: Vec<String> = counted.iter().map(|&word| word.to_owned()).collect();
        let key = folded_name;
        if now < self.now {
            // A clock that starts again is another film.
            self.begin_anew(now);
        }
        self.now = now;
        // What is counted no more begins anew when it is again.
        self.known.retain(|(_, known), _| words.iter().any(|word| key(word) == *known));
        for word in &words {
            for place in 0..1 + self.zones.len() + self.lines.len() {
                let fresh = || Presence { began: now, ..Presence::default() };
                let presence = self.known.entry((place, key(word))).or_insert_with(fresh);
                presence.moved = Default::default();
                let own = things.iter().filter(|thing| same_name(&thing.word, word));
                match place.checked_sub(1) {
                    None => own.for_each(|thing| presence.see(thing.id, [0.0; 2], true, now)),
                    Some(i) if i < self.zones.len() => {
                        let zone = &self.zones[i];
                        own.for_each(|thing| {
                            let at = zone.anchor.of(thing);
                            presence.see(thing.id, at, zone.holds(at, frame_px), now);
                        });
                    }
                    Some(i) => {
                        let line = &self.lines[i - self.zones.len()];
                        own.for_each(|thing| presence.cross(thing.id, line.anchor.of(thing), line, frame_px, now));
                    }
                }
                presence.forget(now, place <= self.zones.len());
            }
        }
        self.counted = Some(words);
    }

    /// Nothing is known of the frame that comes.
    pub fn blind(&mut self) {
        self.counted = None;
    }

    /// The numbers of the things for which it holds, and whether it does; none if nobody counted.
    pub fn holds(&self, word: &str, place: &Place, test: ThingTest) -> Option<(bool, Vec<u64>)> {
        let presence = self.presence(word, place)?;
        let now = self.now;
        let found = match test {
            ThingTest::CountAbove(_) | ThingTest::CountBelow(_) => presence.inside(now).map(|(id, _)| id).collect(),
            ThingTest::DwellAbove(seconds) => {
                let long = |(_, member): &(u64, &Member)| (now - member.since).as_secs_f64() >= seconds;
                presence.inside(now).filter(long).map(|(id, _)| id).collect()
            }
            ThingTest::Enters | ThingTest::Crosses(Way::Right) => presence.moved[0].clone(),
            ThingTest::Leaves | ThingTest::Crosses(Way::Left) => presence.moved[1].clone(),
            ThingTest::Crosses(Way::Either) => presence.moved.concat(),
        };
        let count = found.len();
        let holds = match test {
            ThingTest::CountAbove(least) => count >= least as usize,
            ThingTest::CountBelow(least) => count < least as usize,
            _ => count > 0,
        };
        Some((holds, found))
    }

    /// How many of a word's things are in a place; of a line, none.
    pub fn count(&self, word: &str, place: &Place) -> Option<usize> {
        let is_area = !matches!(place, Place::Line(_));
        self.presence(word, place).filter(|_| is_area).map(|presence| presence.inside(self.now).count())
    }

    fn presence(&self, word: &str, place: &Place) -> Option<&Presence> {
        let place = match place {
            Place::Picture => 0,
            Place::Zone(name) => 1 + self.zones.iter().position(|zone| zone.name == *name)?,
            Place::Line(name) => 1 + self.zones.len() + self.lines.iter().position(|line| line.name == *name)?,
        };
        self.counted.as_ref()?;
        self.known.get(&(place, folded_name(word)))
    }

    /// What was counted so far, by place and then by word.
    pub fn tallies(&self) -> Vec<Tally> {
        let Some(words) = &self.counted else { return Vec::new() };
        let zones = self.zones.iter().map(|zone| Place::Zone(zone.name.clone()));
        let places = zones.chain(self.lines.iter().map(|line| Place::Line(line.name.clone())));
        let told = |(place, word): (Place, &String)| {
            let presence = self.presence(word, &place)?;
            let [first, second] = presence.came;
            let place = match place {
                Place::Zone(zone) => TallyPlace::Zone { zone, count: presence.inside(self.now).count(), entered: first, left: second },
                Place::Line(line) => TallyPlace::Line { line, to_right: first, to_left: second },
                Place::Picture => return None,
            };
            Some(Tally { word: word.clone(), place })
        };
        places.flat_map(|place| words.iter().map(move |word| (place.clone(), word))).filter_map(told).collect()
    }
}

impl Presence {
    /// The things that are inside.
    fn inside(&self, now: Duration) -> impl Iterator<Item = (u64, &Member)> {
        let is_there = move |member: &Member| member.inside && now.saturating_sub(member.seen) <= BLINK;
        self.members.iter().filter(move |(_, member)| is_there(member)).map(|(id, member)| (*id, member))
    }

    fn note(&mut self, way: usize, id: u64) {
        self.came[way] += 1;
        self.moved[way].push(id);
    }

    /// A thing is at a place of a picture, inside or not.
    fn see(&mut self, id: u64, at: [f64; 2], inside: bool, now: Duration) {
        let began = self.began;
        let Some(member) = self.members.get_mut(&id) else {
            self.members.insert(id, Member { inside, since: now, other: None, crossed: false, from: at, seen: now });
            if inside && now.saturating_sub(began) > START {
                self.note(0, id);
            }
            return;
        };
        member.seen = now;
        if member.inside == inside {
            member.other = None;
            return;
        }
        let since = member.other.get_or_insert(Beyond { since: now, last: now, met: true }).since;
        if since < now && now - since >= SETTLE {
            *member = Member { inside, since, other: None, crossed: true, from: at, seen: now };
            self.note(usize::from(!inside), id);
        }
    }

    /// A thing is at a place of a picture with a line.
    fn cross(&mut self, id: u64, at: [f64; 2], line: &Line, (width, height): (u32, u32), now: Duration) {
        let ends = line.unit.px(&line.points, (width, height));
        let (a, b) = (ends[0], ends[1]);
        let along = [b[0] - a[0], b[1] - a[1]];
        let cross = |u: [f64; 2], v: [f64; 2]| u[0] * v[1] - u[1] * v[0];
        let minus = |u: [f64; 2], v: [f64; 2]| [u[0] - v[0], u[1] - v[1]];
        // Downwards counts up, so what lies to the right hand is positive.
        let beyond = cross(along, minus(at, a)) / along[0].hypot(along[1]);
        let right = beyond > 0.0;
        let Some(member) = self.members.get_mut(&id) else {
            self.members.insert(id, Member { inside: right, since: now, other: None, crossed: false, from: at, seen: now });
            return;
        };
        member.seen = now;
        if member.inside == right {
            (member.from, member.other) = (at, None);
            return;
        }
        let share = beyond.abs() / f64::from(width.min(height));
        if share < BEYOND_SHARE {
            return;
        }
        let way = minus(at, member.from);
        // Where its way meets the line, as a share of the line: beside it nothing is crossed.
        let meets = cross(minus(member.from, a), way) / cross(along, way);
        let other = member.other.get_or_insert(Beyond { since: now, last: now, met: (0.0..=1.0).contains(&meets) });
        other.last = now;
        let Beyond { since, met, .. } = *other;
        let settled = now - since >= if share >= SURE_SHARE { SETTLE } else { LINGER };
        if since < now && settled && (share >= SURE_SHARE || !member.crossed) {
            *member = Member { inside: right, since, other: None, crossed: true, from: at, seen: now };
            if met {
                self.note(usize::from(!right), id);
            }
        }
    }

    /// Lets go of what is gone.
    fn forget(&mut self, now: Duration, is_area: bool) {
        let gone: Vec<u64> =
            self.members.iter().filter(|(_, member)| now.saturating_sub(member.seen) > VANISHED).map(|(id, _)| *id).collect();
        for id in gone {
            let Some(member) = self.members.remove(&id) else { continue };
            // Who went out of sight beyond a line before that was settled has not come back over it.
            let crossed = member.other.is_some_and(|other| other.met && other.since < other.last);
            match is_area {
                true if member.inside => self.note(1, id),
                false if crossed => self.note(usize::from(member.inside), id),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(id: u64, [x, y]: [u32; 2]) -> Thing {
        let bounds_px = [x - 2, y - 4, 4, 8];
        let centroid_px = [x as f32, y as f32];
        Thing { id, word: "person".into(), label: 1, score: 0.9, bounds_px, centroid_px, pixels: 32, age_ms: 0.0, segmentation: None }
    }

    fn crowds(anchor: Anchor) -> Crowds {
        let points = vec![[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]];
        let zone = Zone { name: "right half".into(), unit: Unit::Relative, anchor, points };
        let line = Line { name: "gate".into(), unit: Unit::Pixels, anchor, points: [[50.0, 0.0], [50.0, 60.0]] };
        Crowds::new(&[zone], &[line])
    }

    /// Ten frames a second, from the third second on: each frame's things.
    fn shown(crowds: &mut Crowds, frames: &[Vec<Thing>]) -> Vec<(Vec<Tally>, [Vec<u64>; 4])> {
        let start = if crowds.now.is_zero() { 0 } else { crowds.now.as_millis() as u64 / 100 + 1 };
        if start == 0 {
            crowds.take(&[], &["Person"], (100, 100), Duration::ZERO);
        }
        let frame = |(i, things): (u64, &Vec<Thing>)| {
            crowds.take(things, &["Person"], (100, 100), Duration::from_millis(100 * (start.max(30) + i)));
            let told = |place: &Place, test| crowds.holds("person", place, test).unwrap().1;
            let (zone, line) = (Place::Zone("right half".into()), Place::Line("gate".into()));
            let moved = [
                told(&zone, ThingTest::Enters),
                told(&zone, ThingTest::Leaves),
                told(&line, ThingTest::Crosses(Way::Right)),
                told(&line, ThingTest::Crosses(Way::Left)),
            ];
            (crowds.tallies(), moved)
        };
        (0u64..).zip(frames).map(frame).collect()
    }

    fn zone_of(tallies: &[Tally]) -> (usize, u64, u64) {
        let TallyPlace::Zone { count, entered, left, .. } = &tallies[0].place else { panic!("{tallies:?}") };
        (*count, *entered, *left)
    }

    fn line_of(tallies: &[Tally]) -> (u64, u64) {
        let TallyPlace::Line { to_right, to_left, .. } = &tallies[1].place else { panic!("{tallies:?}") };
        (*to_right, *to_left)
    }

    #[test]
    fn who_walks_across_enters_crosses_and_leaves_once() {
        let mut crowds = crowds(Anchor::Centre);
        let walk: Vec<_> = (20..80).step_by(5).map(|x| vec![thing(7, [x, 30])]).collect();
        let there = shown(&mut crowds, &walk);
        // A line from the top to the bottom is looked at downwards: the right hand is on the left of the picture.
        assert_eq!((zone_of(&there.last().unwrap().0), line_of(&there.last().unwrap().0)), ((1, 1, 0), (0, 1)));
        assert_eq!(there.iter().filter(|(_, moved)| moved[0] == [7]).count(), 1, "enters in one frame");
        assert_eq!(there.iter().filter(|(_, moved)| moved[3] == [7]).count(), 1, "crosses in one frame");
        assert_eq!(there.iter().position(|(_, moved)| moved[3] == [7]), Some(10), "0.3 s after it was seen beyond the line");
        let back: Vec<_> = (20..80).rev().step_by(5).map(|x| vec![thing(7, [x, 30])]).collect();
        let back = shown(&mut crowds, &back);
        assert_eq!((zone_of(&back.last().unwrap().0), line_of(&back.last().unwrap().0)), ((0, 1, 1), (1, 1)));
    }

    #[test]
    fn who_trembles_on_the_border_stays_where_it_is() {
        let mut crowds = crowds(Anchor::Centre);
        let mut frames: Vec<_> = (0..3).map(|_| vec![thing(1, [40, 30])]).collect();
        frames.extend((0..40).map(|i| vec![thing(1, [if i % 2 == 0 { 50 } else { 49 }, 30])]));
        let told = shown(&mut crowds, &frames);
        assert_eq!((zone_of(&told.last().unwrap().0), line_of(&told.last().unwrap().0)), ((0, 0, 0), (0, 0)));
    }

    /// What a line across the picture counts of one whose foot is seen at these heights, and then no more.
    fn counted_of(feet: &[u32], per_s: u64) -> (u64, u64) {
        let line = Line { name: "gate".into(), unit: Unit::Pixels, anchor: Anchor::Foot, points: [[0.0, 380.0], [768.0, 380.0]] };
        let mut crowds = Crowds::new(&[], &[line]);
        for (frame, foot) in (0u64..).zip(feet) {
            crowds.take(&[thing(1, [400, foot - 4])], &["person"], (768, 432), Duration::from_millis(1000 * frame / per_s));
        }
        let (last, word) = (Duration::from_millis(1000 * feet.len() as u64 / per_s), "person");
        crowds.take(&[], &[word], (768, 432), last + VANISHED + SETTLE);
        let tallies = crowds.tallies();
        let TallyPlace::Line { to_right, to_left, .. } = &tallies[0].place else { panic!("{tallies:?}") };
        (*to_right, *to_left)
    }

    #[test]
    fn who_stands_at_a_line_with_a_trembling_foot_does_not_cross_it() {
        // Up to 3 % of 432 pixels, around the line itself: now and then it stays on one side for a while.
        for seed in 1..40u64 {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as u32
            };
            // Masks are carried between key frames: a value stays for three frames.
            let stands: Vec<u32> = (0..200).flat_map(|_| [380 + next() % 25 - 12; 3]).collect();
            // It begins and ends where it surely is.
            let feet = [vec![400; 10], stands, vec![400; 10]].concat();
            assert_eq!(counted_of(&feet, 10), (0, 0), "{seed}");
        }
        // As a room's clip has it, from below on and to the back.
        let clip = [
            432, 415, 410, 373, 432, 432, 432, 368, 366, 366, 364, 364, 365, 388, 388, 388, 386, 386, 386, 387, 387, 387, 368, 368, 368,
            373, 373, 373, 374, 374, 374, 372, 373, 373, 382, 382, 382, 382, 382, 382, 382, 382, 382, 381, 381, 381, 381, 381, 381, 382,
            382, 382, 380, 380, 380, 379, 379, 379, 380, 380, 380, 378, 378, 378, 381, 381, 381, 384, 384, 384, 382, 382, 382, 377, 377,
            377, 379, 379, 379, 378, 378, 378, 382, 382, 382, 383, 383, 383, 383, 383, 383, 383, 383, 383, 380, 380, 380, 379, 379, 379,
            380, 380, 380, 380, 380, 380, 378, 378, 378, 381, 381, 379, 379, 370, 367, 386, 386, 386, 378, 379, 378, 354, 340, 330, 320,
        ];
        assert_eq!(counted_of(&clip, 10), (0, 1));
    }

    #[test]
    fn who_crosses_is_counted_once_and_in_the_right_way() {
        let down: Vec<u32> = (300..430).step_by(5).collect();
        let up: Vec<u32> = down.iter().rev().copied().collect();
        for per_s in [2, 10, 30] {
            assert_eq!((counted_of(&down, per_s), counted_of(&up, per_s)), ((1, 0), (0, 1)), "{per_s} frames a second");
            let back = [down.as_slice(), &[425; 40], &up].concat();
            assert_eq!(counted_of(&back, per_s), (1, 1), "there and back, {per_s} frames a second");
        }
        // Seen twice beyond it, and then no more: where frames are far apart, and where it is too fast for the time that settles.
        assert_eq!((counted_of(&[300, 340, 385, 425], 2), counted_of(&[300, 340, 385, 425], 10)), ((1, 0), (1, 0)));
        assert_eq!(counted_of(&[300, 340, 425], 10), (0, 0), "one frame may be a fault of a mask");
        // It sets a foot beyond, turns back and goes.
        assert_eq!(counted_of(&[300, 340, 370, 385, 395, 370, 340, 300], 10), (0, 0));
        // It stays close behind the line: for good, for a while, and for so long that it went there.
        assert_eq!(counted_of(&[[360; 10], [385; 10]].concat(), 10), (1, 0), "it was seen there last");
        for (frames, counted) in [(30, (0, 0)), (70, (1, 1))] {
            assert_eq!(counted_of(&[vec![360; 10], vec![385; frames], vec![360; 20]].concat(), 10), counted, "{frames}");
        }
    }

    #[test]
    fn who_overshoots_a_line_and_stands_at_it_has_crossed_it_once() {
        let walk = |from: u32, to: u32| -> Vec<u32> {
            let steps = from.abs_diff(to) / 4;
            (0..=steps).map(|step| if from < to { from + 4 * step } else { from - 4 * step }).collect()
        };
        for (over, stands, seconds) in [14, 20, 40]
            .into_iter()
            .flat_map(|o| [370, 376, 379, 381, 386].map(|s| (o, s)))
            .flat_map(|(o, s)| [1, 6, 30].map(|t| (o, s, t)))
        {
            let start = [walk(320, 380 + over), vec![380 + over; 4], walk(380 + over, stands), vec![stands; 10 * seconds]].concat();
            let (on, back) = ([start.clone(), walk(stands, 428)].concat(), [start, walk(stands, 320)].concat());
            let told = format!("over by {over}, stands at {stands} for {seconds} s");
            assert_eq!(counted_of(&on, 10), (1, 0), "{told}");
            assert_eq!(counted_of(&back, 10), (1, 1), "{told}, and back");
        }
        // It never was far beyond: it stays close to the line, on both sides of it, and goes back.
        let sways: Vec<u32> = [[384; 70], [376; 70]].concat().repeat(4);
        assert_eq!(counted_of(&[walk(320, 380), sways.clone(), walk(380, 320)].concat(), 10), (1, 1));
        assert_eq!(counted_of(&[walk(320, 380), sways, walk(380, 428)].concat(), 10), (1, 0));
    }

    /// A thing of this box, all of whose pixels are its own.
    fn boxed(id: u64, [left, top, width, height]: [u32; 4]) -> Thing {
        let centroid_px = [left as f32 + width as f32 / 2.0, top as f32 + height as f32 / 2.0];
        Thing { bounds_px: [left, top, width, height], centroid_px, ..thing(id, [50, 50]) }
    }

    #[test]
    fn who_is_cut_off_by_the_pictures_edge_is_in_the_zones_that_reach_it_and_over_no_line_on_it() {
        let (width, height) = (768u32, 432u32);
        let share = |[x, y]: [u32; 2]| [f64::from(x) / f64::from(width), f64::from(y) / f64::from(height)];
        // From the inside to each edge and back; at the edge it is cut off, down to a pixel.
        let boxes: Vec<[u32; 4]> = (0..60u32)
            .map(|i| i.min(59 - i))
            .flat_map(|i| {
                let (near, far) = (29 - i, 80 + 10 * i);
                [
                    [near, near, 80, 80],
                    [width - 1 - near.min(9), 100, 1 + near.min(9), 80],
                    [300, (height - far.min(300)), 90, far.min(300)],
                    [0, 100, 1 + near, 90],
                ]
            })
            .collect();
        for anchor in [Anchor::Centre, Anchor::Foot] {
            for [right, low] in [[width, height], [width - 1, height - 1]] {
                let corners = [[0, 0], [right, 0], [right, low], [0, low]];
                let pixels = corners.map(|corner| corner.map(f64::from));
                let zone = |unit, points: [[f64; 2]; 4]| Zone { name: "all".into(), unit, anchor, points: points.into() };
                let line = |i: usize, unit, points: &[[f64; 2]; 4]| Line {
                    name: format!("{i}"),
                    unit,
                    anchor,
                    points: [points[i], points[(i + 1) % 4]],
                };
                for (unit, points) in [(Unit::Pixels, pixels), (Unit::Relative, corners.map(share))] {
                    let lines: Vec<Line> = (0..4).map(|i| line(i, unit, &points)).collect();
                    let mut crowds = Crowds::new(&[zone(unit, points)], &lines);
                    for (frame, at) in (0u64..).zip(&boxes) {
                        crowds.take(&[boxed(1, *at)], &["person"], (width, height), Duration::from_millis(100 * frame));
                        assert_eq!(zone_of(&crowds.tallies()), (1, 0, 0), "{anchor:?} {unit:?} {at:?} of {right}, {low}");
                    }
                    let crossed =
                        |tally: &Tally| !matches!(tally.place, TallyPlace::Line { to_right: 0, to_left: 0, .. } | TallyPlace::Zone { .. });
                    assert!(!crowds.tallies().iter().any(crossed), "{:?}", crowds.tallies());
                }
            }
        }
    }

    #[test]
    fn whose_feet_the_lower_edge_cuts_off_crosses_a_line_that_ends_there() {
        for (unit, points) in [
            (Unit::Relative, [[0.5, 1.0], [0.5, 0.4]]),
            (Unit::Pixels, [[384.0, 431.0], [384.0, 180.0]]),
            (Unit::Relative, [[0.5, 0.999], [0.5, 0.4]]),
        ] {
            let line = Line { name: "door".into(), unit, anchor: Anchor::Foot, points };
            let mut crowds = Crowds::new(&[], &[line]);
            for frame in 0..60u32 {
                let at = boxed(1, [200 + 6 * frame, 200, 80, 232]);
                crowds.take(&[at], &["person"], (768, 432), Duration::from_millis(100 * u64::from(frame)));
            }
            assert!(
                matches!(crowds.tallies()[0].place, TallyPlace::Line { to_right: 1, to_left: 0, .. }),
                "{points:?}: {:?}",
                crowds.tallies()
            );
        }
    }

    #[test]
    fn who_walks_around_a_line_does_not_cross_it() {
        let mut crowds = crowds(Anchor::Centre);
        let mut around: Vec<_> = [[40, 30], [40, 80], [45, 80], [55, 80], [60, 80]].map(|at| vec![thing(1, at)]).into();
        around.extend(vec![vec![thing(1, [60, 30])]; 10]);
        let told = shown(&mut crowds, &around);
        assert_eq!(line_of(&told.last().unwrap().0), (0, 0));
    }

    #[test]
    fn who_was_there_at_the_start_has_not_entered_and_who_vanishes_has_left() {
        let mut crowds = crowds(Anchor::Centre);
        crowds.take(&[thing(1, [80, 30])], &["person"], (100, 100), Duration::ZERO);
        assert_eq!(zone_of(&crowds.tallies()), (1, 0, 0));
        crowds.take(&[thing(2, [90, 30])], &["person"], (100, 100), Duration::from_millis(1500));
        assert_eq!(zone_of(&crowds.tallies()), (1, 1, 0), "the first one is out of sight for longer than a blink");
        crowds.take(&[], &["person"], (100, 100), Duration::from_millis(1900));
        assert_eq!(zone_of(&crowds.tallies()), (1, 1, 0), "a blink");
        crowds.take(&[], &["person"], (100, 100), Duration::from_millis(3600));
        assert_eq!(zone_of(&crowds.tallies()), (0, 1, 2));
    }

    #[test]
    fn another_scene_is_another_start() {
        let mut crowds = crowds(Anchor::Centre);
        for (scene, ids) in (0u64..6).map(|scene| (scene, [2 * scene + 1, 2 * scene + 2])) {
            let start = Duration::from_secs(5 * scene);
            crowds.begin_anew(start);
            crowds.take(&[thing(ids[0], [80, 30])], &["person"], (100, 100), start);
            crowds.take(&[thing(ids[0], [80, 30])], &["person"], (100, 100), start + Duration::from_secs(4));
            assert_eq!(zone_of(&crowds.tallies()), (1, scene.min(1), 0), "scene {scene}");
            if scene == 0 {
                let both = [thing(ids[0], [80, 30]), thing(ids[1], [70, 30])];
                crowds.take(&both, &["person"], (100, 100), start + Duration::from_millis(4500));
                assert_eq!(zone_of(&crowds.tallies()), (2, 1, 0), "who comes later has entered");
            }
        }
    }

    #[test]
    fn dwell_is_of_one_thing_and_goes_on_while_it_is_hidden() {
        let zone = Place::Zone("right half".into());
        let mut crowds = crowds(Anchor::Centre);
        for ms in (0..6000).step_by(200) {
            let hidden = (2000..3500).contains(&ms);
            let things: Vec<Thing> = if hidden { vec![] } else { vec![thing(1, [80, 30])] };
            // Others come and go meanwhile; none of them stays.
            let passer = thing(100 + ms / 1000, [70, 50]);
            crowds.take(&[things, vec![passer]].concat(), &["person"], (100, 100), Duration::from_millis(ms));
            let (holds, who) = crowds.holds("person", &zone, ThingTest::DwellAbove(4.0)).unwrap();
            assert_eq!((holds, who), if ms >= 4000 { (true, vec![1]) } else { (false, vec![]) }, "{ms}");
        }
    }

    #[test]
    fn feet_may_be_where_the_middle_is_not() {
        let low =
            Zone { name: "floor".into(), unit: Unit::Pixels, anchor: Anchor::Foot, points: vec![[0.0, 33.0], [99.0, 33.0], [99.0, 99.0]] };
        for (anchor, count) in [(Anchor::Foot, 1), (Anchor::Centre, 0)] {
            let mut crowds = Crowds::new(&[Zone { anchor, ..low.clone() }], &[]);
            crowds.take(&[thing(1, [80, 30])], &["person"], (100, 100), Duration::ZERO);
            assert_eq!(crowds.count("Person", &Place::Zone("floor".into())), Some(count));
        }
    }

    #[test]
    fn what_nobody_counts_is_unknown() {
        let mut crowds = crowds(Anchor::Centre);
        assert_eq!(crowds.count("person", &Place::Picture), None);
        crowds.take(&[], &["person"], (100, 100), Duration::ZERO);
        assert_eq!((crowds.count("person", &Place::Picture), crowds.count("dog", &Place::Picture)), (Some(0), None));
        crowds.blind();
        assert_eq!((crowds.count("person", &Place::Picture), crowds.tallies()), (None, vec![]));
    }
}
