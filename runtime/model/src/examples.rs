//! Words that are shown instead of typed: boxes of pictures, as numbers.

use edge_seg_bundle::text::shown;

use crate::words::{Class, Example, Gate, WordBank, same_name};
use crate::{Encoded, Error, Frame, Result, Session, UnitRows, WordList, parse_words};

impl Example {
    /// What a box of an embedded picture shows: left, top, width and height in pixels. Patches count whose centre is in the box, or the
    /// one at its centre if there is none; of these, those that are more like each other than like what is beside the box.
    ///
    /// # Errors
    /// [`Error::Option`] if the box has no pixel of the picture, or another model encoded it.
    pub fn of(session: &Session, encoded: &Encoded, box_px: [u32; 4]) -> Result<Self> {
        encoded.check(session)?;
        let (grid, placement) = (&encoded.grid, &encoded.placement);
        let (width, height) = placement.frame_px;
        let [left, top, w, h] = box_px;
        if w == 0 || h == 0 || left >= width || top >= height {
            let expected = format!("left, top, width, height with pixels of the {width}×{height} picture");
            return Err(Error::option("box", expected, format!("{left},{top},{w},{h}")));
        }
        let (right, bottom) = (left.saturating_add(w).min(width), top.saturating_add(h).min(height));
        let centres: Vec<Option<(f64, f64)>> = (0..grid.rows() * grid.cols())
            .map(|patch| {
                let [x, y, w, h] = placement.patch_px_box(patch / grid.cols(), patch % grid.cols())?;
                Some((f64::from(x) + f64::from(w) / 2.0, f64::from(y) + f64::from(h) / 2.0))
            })
            .collect();
        let (x, y) = (f64::from(left + right) / 2.0, f64::from(top + bottom) / 2.0);
        let holds =
            |(x, y): (f64, f64)| (f64::from(left)..f64::from(right)).contains(&x) && (f64::from(top)..f64::from(bottom)).contains(&y);
        let mut inside: Vec<usize> = (0..centres.len()).filter(|patch| centres[*patch].is_some_and(holds)).collect();
        if inside.is_empty() {
            let away = |patch: &usize| centres[*patch].map_or(f64::INFINITY, |c| (c.0 - x).powi(2) + (c.1 - y).powi(2));
            inside.extend((0..centres.len()).min_by(|a, b| away(a).total_cmp(&away(b))));
        }
        let outside: Vec<usize> = (0..centres.len()).filter(|patch| centres[*patch].is_some() && !inside.contains(patch)).collect();
        let patches = grid.patches();
        let beside = mean(patches, &outside).unwrap_or_default();
        let kept = alike(patches, &inside, &beside);
        let shows = mean(patches, &kept).or_else(|| mean(patches, &inside));
        let shows =
            shows.ok_or_else(|| Error::option("box", "a part of the picture that shows something", "one whose embeddings cancel out"))?;
        let apart =
            if beside.is_empty() { Vec::new() } else { discriminant(patches, if kept.is_empty() { &inside } else { &kept }, &outside) };
        Ok(Self { model: session.bundle().digest().to_owned(), shows, beside, apart, counter: false })
    }

    /// The same, told from what is usual in place of nothing where the box is all of its picture. `[dim]`
    pub fn beside(self, usual: &[f32]) -> Self {
        if !self.beside.is_empty() || usual.len() != self.shows.len() {
            return self;
        }
        let apart = unit(self.shows.iter().zip(usual).map(|(a, b)| a - b).collect());
        Self { beside: usual.to_vec(), apart, ..self }
    }

    /// The same as one of what a word does not mean.
    pub fn countering(self) -> Self {
        Self { counter: true, ..self }
    }

    /// Whether it is all of its picture, so that nothing is beside it.
    pub fn is_whole(&self) -> bool {
        self.beside.is_empty()
    }

    /// Whether it shows what the word does not mean.
    pub fn is_counter(&self) -> bool {
        self.counter
    }

    /// The digest of the bundle that made it.
    pub fn model_digest(&self) -> &str {
        &self.model
    }
}

/// Each class's examples, by the classes' names. A name that no class has yet becomes a class without words.
pub fn join_examples(classes: &mut Vec<Class>, examples: &[(String, Example)]) -> Vec<Vec<Example>> {
    let mut of: Vec<Vec<Example>> = vec![Vec::new(); classes.len()];
    for (name, example) in examples {
        let name = crate::text::tidy_word(name);
        let at = classes.iter().position(|class| same_name(&class.name, &name)).unwrap_or_else(|| {
            classes.push(Class { name, words: Vec::new() });
            of.push(Vec::new());
            classes.len() - 1
        });
        of[at].push(example.clone());
    }
    of
}

/// The mean of some rows, of unit norm; none of no rows, or of rows that cancel out.
fn mean(rows: &UnitRows, which: &[usize]) -> Option<Vec<f32>> {
    let mut sum = vec![0.0; rows.dim()];
    which.iter().for_each(|row| sum.iter_mut().zip(rows.row(*row)).for_each(|(sum, value)| *sum += value));
    UnitRows::normalise("mean", rows.dim(), sum).ok().filter(|_| !which.is_empty()).map(|mean| mean.data().to_vec())
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Those patches of a box that are more like the others in it than like what is beside it: a box around a thing shows its background, too.
fn alike(rows: &UnitRows, inside: &[usize], beside: &[f32]) -> Vec<usize> {
    let mut kept = inside.to_vec();
    if beside.is_empty() {
        return kept;
    }
    for _ in 0..3 {
        let Some(centre) = mean(rows, &kept) else { break };
        let next: Vec<usize> = inside.iter().copied().filter(|row| dot(rows.row(*row), &centre) > dot(rows.row(*row), beside)).collect();
        // So few are a part of the thing, not the thing.
        if next.len() * 5 < inside.len() || next == kept {
            break;
        }
        kept = next;
    }
    kept
}

impl Session {
    /// What a box of a picture shows, to be looked for as a word is: left, top, width and height in pixels.
    ///
    /// # Errors
    /// As [`Example::of`] and [`Self::encode`].
    pub fn example(&self, frame: &Frame, box_px: [u32; 4]) -> Result<Example> {
        Example::of(self, &self.encode(frame)?, box_px)
    }

    /// Words with examples: `list` as [`Self::words`] reads it, or nothing, and for each example the name of its word. A name that the
    /// list has is looked for by its text as well; another one by its examples alone.
    ///
    /// # Errors
    /// As [`Self::words`] and [`Self::word_bank_with`].
    pub fn words_with(&self, list: &str, examples: &[(String, Example)]) -> Result<WordList> {
        let (classes, left_out) = match list.trim() {
            "" => (Vec::new(), Vec::new()),
            list => parse_words("words", list)?,
        };
        self.with_examples(&self.word_list(classes, left_out)?, examples)
    }

    /// The same words with more examples, each with the name of its word; thresholds stay as they are. As [`Self::words_with`], of a list
    /// that is made already, which may be empty.
    ///
    /// # Errors
    /// As [`Self::word_bank_with`]; [`Error::Words`] if a name cannot be one, [`Error::Option`] if the list is another model's.
    pub fn with_examples(&self, list: &WordList, examples: &[(String, Example)]) -> Result<WordList> {
        list.bank().check(self)?;
        let mut classes = list.classes().to_vec();
        let mut of = join_examples(&mut classes, examples);
        of.iter_mut().zip(list.examples()).for_each(|(new, old)| drop(new.splice(..0, old.iter().cloned())));
        let classes = crate::check_classes("words", classes)?;
        let mut gates = list.bank().gates().to_vec();
        gates.resize(classes.len(), Gate::Common);
        let bank = self.word_bank_with(&classes, list.left_out(), &of)?.with_gates(gates)?;
        Ok(WordList::new(classes, list.left_out().to_vec(), bank, list.background()).with_examples(of))
    }

    /// As [`Self::word_bank`], with examples for each class: a class without words is looked for by its examples alone.
    ///
    /// # Errors
    /// As [`Self::word_bank`]; [`Error::Words`] if a class has neither words nor an example of what it means, or an example is another
    /// model's.
    pub fn word_bank_with(&self, classes: &[Class], background_words: &[String], examples: &[Vec<Example>]) -> Result<WordBank> {
        let bank = self.word_bank(classes, background_words)?;
        if examples.iter().all(Vec::is_empty) && classes.iter().all(|class| !class.words.is_empty()) {
            return Ok(bank);
        }
        let none = Vec::new();
        let rows = classes.iter().enumerate().map(|(at, class)| {
            let text = bank.spans()[at].clone().map(|row| bank.words().row(row));
            self.rows_of(class, examples.get(at).unwrap_or(&none), text.collect())
        });
        let rows: Vec<Vec<f32>> = rows.collect::<Result<_>>()?;
        bank.with_rows(&rows)
    }

    /// A class's rows: those of its text, turned by its examples, or one of its examples alone. `[some, dim]`
    fn rows_of(&self, class: &Class, examples: &[Example], text: Vec<&[f32]>) -> Result<Vec<f32>> {
        let wrong = |expected: String, found: String| Err(Error::words(format!("word {:?}", shown(&class.name)), expected, found));
        let manifest = self.bundle().manifest();
        for example in examples {
            let short = |digest: &str| shown(&digest.chars().take(12).collect::<String>()).into_owned();
            if example.model != self.bundle().digest() {
                let expected = format!("examples by the model {} ({})", shown(&manifest.name), short(self.bundle().digest()));
                return wrong(expected, format!("one by the model {}; show it again to this one", short(&example.model)));
            }
            if example.shows.len() != manifest.embedding_dim {
                return wrong(format!("examples of {} numbers", manifest.embedding_dim), format!("one of {}", example.shows.len()));
            }
        }
        if examples.is_empty() && !text.is_empty() {
            return Ok(text.concat());
        }
        if text.is_empty() && examples.iter().all(|example| example.counter) {
            return wrong("a word, or an example of what it means".into(), "neither".into());
        }
        Ok(fitted(examples, &text, boundary(manifest.logit_scale, manifest.logit_bias, manifest.background)))
    }
}

/// The cosine from which a patch is a word's, by the model's own threshold; half of a likely one where words compete.
fn boundary(scale: f32, bias: Option<f32>, background: f32) -> f32 {
    let level = |t: f32| (t / (1.0 - t)).ln();
    bias.map_or(0.5, |bias| (level(background.clamp(0.01, 0.99)) - bias) / scale)
}

/// A row for each of the class's words, or one where it has none. With `p` what the examples show, `n` what is beside them and what
/// counter-examples show, and `d` what tells the two apart, a row is the unit vector along `d + w·n/|n|`, with the `w` at which a point
/// between `n` and `p` has the cosine of `boundary`; half of that row is added to a word's. `[words or 1, dim]`, unit-norm rows
fn fitted(examples: &[Example], text: &[&[f32]], boundary: f32) -> Vec<f32> {
    let average = |rows: Vec<&[f32]>| -> Option<Vec<f32>> {
        let mut sum = vec![0.0; rows.first()?.len()];
        rows.iter().for_each(|row| sum.iter_mut().zip(*row).for_each(|(sum, value)| *sum += value / rows.len() as f32));
        Some(sum)
    };
    let showing = |counter: bool| examples.iter().filter(move |e| e.counter == counter);
    let shows = average(showing(false).map(|e| e.shows.as_slice()).collect());
    let beside = average(showing(false).filter(|e| !e.beside.is_empty()).map(|e| e.beside.as_slice()).collect());
    let other = average(showing(true).map(|e| e.shows.as_slice()).chain(beside.as_deref()).collect());
    // What counter-examples show is told from what is beside them, too: their directions count the other way round.
    let mut apart = vec![0.0; examples.first().map_or(0, |e| e.shows.len())];
    for example in examples {
        let sign = if example.counter { -0.5 } else { 1.0 };
        apart.iter_mut().zip(&example.apart).for_each(|(sum, value)| *sum += sign * value);
    }
    let row = match (&shows, &other) {
        (Some(shows), Some(other)) => {
            let plain = unit(unit(shows.clone()).iter().zip(unit(other.clone())).map(|(a, b)| a - b).collect());
            // Examples that are all of their pictures tell nothing from what is beside them.
            let apart = if dot(&apart, &apart) > 1e-9 { unit(apart) } else { plain.clone() };
            if text.is_empty() {
                let both = unit(plain.iter().zip(&apart).map(|(a, b)| a + b).collect());
                turned(&both, shows, other, ALONE, boundary)
            } else {
                turned(&apart, shows, other, BESIDE_TEXT, boundary)
            }
        }
        (Some(shows), None) => unit(shows.clone()),
        // Counter-examples of a word alone.
        (None, _) => {
            let away = |row: &[f32], other: &Example| turned_away(row, &unit(other.shows.clone()), boundary - BELOW);
            return text.iter().flat_map(|text| showing(true).fold(text.to_vec(), |row, other| away(&row, other))).collect();
        }
    };
    match text {
        [] => row,
        text => text.iter().flat_map(|text| unit(text.iter().zip(&row).map(|(a, b)| a + b / 2.0).collect())).collect(),
    }
}

/// How far from `n` to `p` the boundary lies: measured on photos of 150 classes, alone and beside a word's text.
const ALONE: f32 = 0.9;
const BESIDE_TEXT: f32 = 0.75;
/// How far below the boundary a word's cosine with its counter-example comes to lie, so that the patches around that mean fall with it.
const BELOW: f32 = 0.05;

fn unit(row: Vec<f32>) -> Vec<f32> {
    let norm = dot(&row, &row).sqrt().max(1e-12);
    row.into_iter().map(|value| value / norm).collect()
}

/// A row of unit norm, turned away from another just so far that their cosine is `most`.
fn turned_away(row: &[f32], from: &[f32], most: f32) -> Vec<f32> {
    let with = |weight: f32| unit(row.iter().zip(from).map(|(a, b)| a - weight * b).collect());
    // The cosine falls with the weight.
    let (mut low, mut high) = (0.0, 4.0);
    if dot(row, from) <= most {
        return row.to_vec();
    }
    for _ in 0..40 {
        let weight = (low + high) / 2.0;
        if dot(&with(weight), from) > most { low = weight } else { high = weight }
    }
    with(high)
}

/// A row of unit norm along a direction, turned towards `other` or away from it until a point between it and `shows` has the cosine
/// `boundary`.
fn turned(direction: &[f32], shows: &[f32], other: &[f32], share: f32, boundary: f32) -> Vec<f32> {
    let down = unit(other.to_vec());
    let point: Vec<f32> = shows.iter().zip(other).map(|(a, b)| b + share * (a - b)).collect();
    let with = |weight: f32| unit(direction.iter().zip(&down).map(|(a, b)| a + weight * b).collect());
    // The cosine rises with the weight.
    let (mut low, mut high) = (-4.0, 4.0);
    for _ in 0..40 {
        let weight = (low + high) / 2.0;
        if dot(&with(weight), &point) < boundary { low = weight } else { high = weight }
    }
    with((low + high) / 2.0)
}

/// The direction that tells some rows from others best, where both scatter alike (Fisher's linear discriminant): the solution of
/// `(S + λI)·d = p − n`, with `S` the scatter around the means `p` and `n` and `λ` as large as `S` is on average, by conjugate gradients.
/// `[dim]`, unit-norm
fn discriminant(rows: &UnitRows, inside: &[usize], outside: &[usize]) -> Vec<f32> {
    const STEPS: usize = 60;
    let dim = rows.dim();
    let centre = |which: &[usize]| {
        let mut mean = vec![0.0f32; dim];
        which.iter().for_each(|row| mean.iter_mut().zip(rows.row(*row)).for_each(|(sum, value)| *sum += value / which.len() as f32));
        mean
    };
    let (p, n) = (centre(inside), centre(outside));
    let scattered: Vec<f32> = [(inside, &p), (outside, &n)]
        .into_iter()
        .flat_map(|(which, mean)| which.iter().flat_map(move |row| rows.row(*row).iter().zip(mean).map(|(value, mean)| value - mean)))
        .collect();
    let count = (scattered.len() / dim).max(1) as f32;
    let weight = dot(&scattered, &scattered) / count / dim as f32 + 1e-9;
    let scatter = |v: &[f32]| {
        let mut out: Vec<f32> = v.iter().map(|value| value * weight).collect();
        for row in scattered.chunks_exact(dim) {
            let along = dot(row, v) / count;
            out.iter_mut().zip(row).for_each(|(out, value)| *out += along * value);
        }
        out
    };
    let mut rest: Vec<f32> = p.iter().zip(&n).map(|(a, b)| a - b).collect();
    let (mut found, mut step) = (vec![0.0f32; dim], rest.clone());
    let mut size = dot(&rest, &rest);
    let enough = size * 1e-8;
    for _ in 0..STEPS {
        if size <= enough {
            break;
        }
        let moved = scatter(&step);
        let length = size / dot(&step, &moved).max(f32::MIN_POSITIVE);
        found.iter_mut().zip(&step).for_each(|(found, step)| *found += length * step);
        rest.iter_mut().zip(&moved).for_each(|(rest, moved)| *rest -= length * moved);
        let next = dot(&rest, &rest);
        step.iter_mut().zip(&rest).for_each(|(step, rest)| *step = rest + next / size * *step);
        size = next;
    }
    unit(found)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::LazyLock;

    use super::*;
    use crate::{Background, Options, read_picture};

    static SESSION: LazyLock<Session> = LazyLock::new(|| Session::built_in_with(&Options::default().with_size_px(224)).unwrap());

    fn picture(name: &str) -> Frame {
        read_picture(&Path::new("../../examples/pictures").join(name)).unwrap()
    }

    /// The middle of a picture.
    fn middle(frame: &Frame) -> [u32; 4] {
        let (width, height) = frame.pixels.dimensions();
        [width / 4, height / 4, width / 2, height / 2]
    }

    #[test]
    fn what_is_shown_is_found_and_what_is_not_is_not() {
        let (cat, coffee) = (picture("cat.jpg"), picture("coffee.jpg"));
        let example = SESSION.example(&cat, middle(&cat)).unwrap();
        let words = SESSION.words_with("", &[("it".into(), example.clone())]).unwrap();
        let share = |frame: &Frame, words: &WordList| SESSION.find(frame, words).unwrap().classes()[0].share();
        assert!(share(&cat, &words) > 0.25 && share(&coffee, &words) < 0.1, "{} {}", share(&cat, &words), share(&coffee, &words));
        // As a counter-example it takes from the word that it is of, and nothing from another.
        let text = SESSION.words("cat, wall").unwrap();
        let against = SESSION.words_with("cat, wall", &[("Cat".into(), example.clone().countering())]).unwrap();
        assert!(share(&cat, &against) < share(&cat, &text), "{} {}", share(&cat, &against), share(&cat, &text));
        assert_eq!(against.bank().words().row(1), text.bank().words().row(1));
        assert_eq!((against.names(), against.examples()[0].len(), against.examples()[1].len()), (text.names(), 1, 0));
    }

    #[test]
    fn words_that_are_ready_take_examples_and_keep_their_settings() {
        let cat = picture("cat.jpg");
        let example = SESSION.example(&cat, middle(&cat)).unwrap();
        let ready = SESSION.words("cat, wall, -floor").unwrap().with_threshold("wall", 0.7).unwrap();
        let ready = ready.with_background(Background::Threshold(0.2)).unwrap();
        let one = SESSION.with_examples(&ready, &[("it".into(), example.clone())]).unwrap();
        assert_eq!(
            (one.names(), one.left_out(), one.background()),
            (&["cat", "wall", "it"].map(String::from)[..], ready.left_out(), ready.background())
        );
        assert_eq!(one.bank().gates(), [Gate::Common, Gate::Own(0.7), Gate::Common]);
        let last = |list: &WordList| list.bank().words().row(list.bank().spans()[2].start).to_vec();
        assert_eq!(last(&one), SESSION.words_with("", &[("it".into(), example.clone())]).unwrap().bank().words().row(0));
        // One after the other is both at once.
        let other = SESSION.example(&picture("coffee.jpg"), [0, 0, 200, 200]).unwrap();
        let both = [("it".into(), example), ("It".into(), other)];
        let joined = SESSION.with_examples(&one, &both[1..]).unwrap();
        assert_eq!(joined, SESSION.with_examples(&ready, &both).unwrap());
        assert!(joined.examples()[2].len() == 2 && last(&joined) != last(&one));
        assert!(SESSION.words_with("", &[]).unwrap_err().to_string().contains("one word or more"));
    }

    #[test]
    fn numbers_come_back_as_they_were_and_mean_something_to_their_model_alone() {
        let cat = picture("cat.jpg");
        let example = SESSION.example(&cat, middle(&cat)).unwrap();
        let text = serde_json::to_string(&example).unwrap();
        let back: Example = serde_json::from_str(&text).unwrap();
        let row = |example: &Example| {
            let words = SESSION.words_with("", &[("it".into(), example.clone())]).unwrap();
            words.bank().words().row(0).to_vec()
        };
        assert!(dot(&row(&example), &row(&back)) > 0.99999);
        let other: Example = serde_json::from_str(&text.replace(SESSION.bundle().digest(), "0123456789abcdef")).unwrap();
        let said = SESSION.words_with("", &[("it".into(), other)]).unwrap_err().to_string();
        assert!(
            said.contains("word \"it\": expected examples by the model mini (") && said.contains("one by the model 0123456789ab;"),
            "{said}"
        );
        for (shows, beside) in [("[]", "[]"), ("[0.0, 0.0]", "[]"), ("[1.0, 2.0]", "[1.0]"), ("[1e99]", "[]")] {
            let written = format!("{{\"model\": \"m\", \"shows\": {shows}, \"beside\": {beside}}}");
            assert!(serde_json::from_str::<Example>(&written).is_err(), "{written}");
        }
        let short: Example =
            serde_json::from_str(&format!("{{\"model\": \"{}\", \"shows\": [1.0, 2.0]}}", SESSION.bundle().digest())).unwrap();
        assert!(SESSION.words_with("", &[("it".into(), short)]).unwrap_err().to_string().contains("examples of 384 numbers"));
    }

    #[test]
    fn boxes_without_pixels_and_words_without_meaning_are_refused() {
        let cat = picture("cat.jpg");
        let (width, height) = cat.pixels.dimensions();
        for wrong in [[width, 0, 5, 5], [0, height, 5, 5], [0, 0, 0, 5], [0, 0, 5, 0]] {
            let said = SESSION.example(&cat, wrong).unwrap_err().to_string();
            assert!(said.contains(&format!("with pixels of the {width}×{height} picture")), "{said}");
        }
        // A box beyond the picture ends with it; one of a pixel is the patch that it lies in.
        for fine in [[0, 0, u32::MAX, u32::MAX], [width - 1, height - 1, 1, 1], [3, 3, 1, 1]] {
            SESSION.example(&cat, fine).unwrap();
        }
        let counter = SESSION.example(&cat, middle(&cat)).unwrap().countering();
        let said = SESSION.words_with("", &[("it".into(), counter)]).unwrap_err().to_string();
        assert!(said.contains("expected a word, or an example of what it means, found neither"), "{said}");
    }

    #[test]
    fn the_boundary_lies_where_it_is_told_to() {
        let example = |shows: [f32; 3], beside: [f32; 3], counter| {
            let apart = unit(shows.iter().zip(beside).map(|(a, b)| a - b).collect());
            Example { model: "m".into(), shows: unit(shows.to_vec()), beside: unit(beside.to_vec()), apart, counter }
        };
        let one = example([1.0, 0.2, 0.0], [0.0, 1.0, 0.3], false);
        for boundary in [0.05, 0.1, 0.3] {
            let row = fitted(std::slice::from_ref(&one), &[], boundary);
            let point: Vec<f32> = one.shows.iter().zip(&one.beside).map(|(a, b)| b + ALONE * (a - b)).collect();
            assert!((dot(&row, &point) - boundary).abs() < 1e-3 && dot(&row, &one.shows) > dot(&row, &one.beside), "{boundary} {row:?}");
            assert!((dot(&row, &row) - 1.0).abs() < 1e-5);
        }
        // Between two things that are alike, a counter-example tells which is meant.
        let other = example([1.0, 0.0, 0.6], [0.0, 1.0, 0.3], true);
        let margin = |row: &[f32]| dot(row, &one.shows) - dot(row, &other.shows);
        let (with, without) = (fitted(&[one.clone(), other.clone()], &[], 0.1), fitted(std::slice::from_ref(&one), &[], 0.1));
        assert!(margin(&with) > margin(&without), "{} {}", margin(&with), margin(&without));
    }

    #[test]
    fn the_discriminant_looks_past_what_scatters_alike() {
        // Both scatter along the first direction, and differ along the second.
        let rows: Vec<f32> = (0..40).flat_map(|at| [(at as f32 - 20.0) / 2.0 + 0.1, if at % 2 == 0 { 1.0 } else { -1.0 }, 3.0]).collect();
        let rows = UnitRows::normalise("rows", 3, rows).unwrap();
        let (even, odd): (Vec<usize>, Vec<usize>) = (0..40).partition(|at| at % 2 == 0);
        let found = discriminant(&rows, &even, &odd);
        assert!(found[1].abs() > 0.95, "{found:?}");
    }
}
