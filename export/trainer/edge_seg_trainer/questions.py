"""What a photo is asked: class names in the ways that people type them, umbrella words, and words for what is not there.

A question is a list of words and, for each class of the photo's set (and for `OTHER`), what its pixels say of them:
which word has to win (or none of them), which ones compete with it, and for which the answer is a plain yes or no. What the labels do
not tell is left out: `OTHER` of one set may well show a word of another.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .data import DataError, table
from .labelled_sets import LabelledSet

ALIKE = 0.5  # cosine of two words from which one may be said of what the other names
SAME = 0.7  # the same for two classes of one set, between which its labels have chosen
IRREGULAR = {
    "person": "people", "man": "men", "woman": "women", "child": "children", "mouse": "mice", "knife": "knives", "shelf": "shelves",
    "bookshelf": "bookshelves", "loaf": "loaves", "sheep": "sheep", "cattle": "cattle", "foot": "feet", "scarf": "scarves", "calf": "calves",
}  # fmt: skip
# Words of a taxonomy that do not stand for the class they are filed under.
WRONG = {("person", "clothes"), ("dining table", "plate"), ("dining table", "plates"), ("dining table", "diningtable tablecloth"), ("building", "ceiling")}
# Parts, coverings and contents: said rightly of pixels that are labelled as what they belong to, so no distractors.
BELONGING = re.compile(
    r"wheel|handle|knob|window|door|drawer|light|mirror|plate|dish|bowl|napkin|mat\b|cloth|tray|collar|saddle|mast|sail|oar|paddle|roof|wall|floor|"
    r"ceiling|pillow|cushion|quilt|blanket|bed|mattress|sheet|cover|hair|finger|leaf|leaves|branch|trunk|bark|lens|button|strap|cap|hat|helmet|mask|"
    r"shirt|jacket|coat|dress|suit|trouser|pants|jean|short|skirt|sweater|shoe|boot|sandal|sock|glove|scarf|tie\b|belt|vest|robe|wear|clothes|costume|"
    r"uniform|gown|jersey|apron|hood|legging|tights|stocking|watch|ring\b|earring|necklace|bracelet|glasses|goggles|spectacles|bandan|turban|veil|wig|"
    r"sign|tag|label|panel|pane|frame|hinge|screen|shutter|balcony|chimney|stair|step|column|pillar|curb|tile|brick|wood|leather|fabric|plastic|"
    r"animal|vehicle|food|plant|person|equipment|instrument|device|machine|thing|object|item|toy|structure|land|earth|soil|path|field|hill|"
    r"water|shade|shadow|text|number|board|side|support|material|surface|apparel|container|cup|glass|bottle|topping|cheese|tomato|lettuce|onion|bread|bun|cream"
)


def plural(word: str) -> str:
    """English, by rule; the last word of several."""
    *before, last = word.split(" ")
    if last in IRREGULAR:
        last = IRREGULAR[last]
    elif last.endswith("s") and not last.endswith("ss"):
        pass
    elif re.search(r"(s|x|z|ch|sh)$", last):
        last += "es"
    elif re.search(r"[^aeiou]y$", last):
        last = last[:-1] + "ies"
    else:
        last += "s"
    return " ".join([*before, last])


def phrased(word: str, rng: np.random.Generator) -> str:
    """As people type it: mostly bare, now and then in the plural, with an article or a capital."""
    chance = rng.random()
    if chance < 0.72:
        return word
    if chance < 0.84:
        return plural(word)
    if chance < 0.90:
        return f"the {word}"
    if chance < 0.97:
        return f"{'an' if word[:1] in 'aeiou' else 'a'} {word}"
    return word.capitalize()


def taxonomy(path: Path) -> list[list[str]]:
    """`id:name,synonym,...` a line; what brackets explain is left out."""
    if not path.is_file():
        raise DataError(f"{path} is missing: expected a list of names with synonyms, `id:name,synonym,...` a line")
    found = []
    for line in path.read_text().splitlines():
        words = [re.sub(r"\s*\(.*?\)", "", word).strip() for word in line.partition(":")[2].split(",")]
        words = list(dict.fromkeys(word for word in words if word and word != "invalid_class_id"))
        if words:
            found.append(words)
    return found


def with_synonyms(words: list[str], lists: list[list[str]]) -> list[str]:
    """A class's words and those of the taxonomies' lines that begin with its name."""
    more = [word for line in lists if line[0].lower() == words[0].lower() for word in line]
    return [word for word in dict.fromkeys([*words, *more]) if (words[0], word) not in WRONG]


CLOSED = ("no", "several", "yes")


@dataclass(frozen=True)
class Umbrella:
    """A word for several classes."""

    words: list[str]
    closed: str  # which sets label all that it could mean: no set, those with several of its children, those with one (`yes`)
    children: frozenset[str]


def read_umbrellas(path: Path) -> list[Umbrella]:
    """`words`, `closed` (of `CLOSED`) and `children` (names of classes), both lists with commas."""
    found = []
    for line, row in enumerate(table(path, ("words", "closed", "children")), 2):
        words, children = ([part.strip() for part in (row[key] or "").split(",") if part.strip()] for key in ("words", "children"))
        if not words or not children or row["closed"] not in CLOSED:
            raise DataError(f"{path}, line {line}: expected words, one of {', '.join(CLOSED)}, and the names of classes, found {dict(row)}")
        found.append(Umbrella(words, row["closed"], frozenset(children)))
    if not found:
        raise DataError(f"{path}: no umbrella word there")
    return found


def said_of(names: list[str], umbrellas: list[Umbrella], cosines: np.ndarray) -> np.ndarray:
    """[classes, classes] bool: whether the second's name may be said of what one set labels as the first, with the cosines of their names.

    Names for one thing may, and what stands over it ("wall" of a stone wall, "food" of a pizza); what is a kind of it may not, nor what is
    another kind: their labels would say so.
    """
    found = cosines >= SAME
    for a, first in enumerate(names):
        over = {word for umbrella in umbrellas if first in umbrella.children for word in umbrella.words}
        for b, second in enumerate(names):
            tails = first.split(" ")[-1], second.split(" ")[-1]
            if second in over or first.endswith(f" {second}"):
                found[a, b] = True
            elif second.endswith(f" {first}") or (tails[0] == tails[1] and " " in first and " " in second):
                found[a, b] = False
    np.fill_diagonal(found, True)
    return found


@dataclass
class Question:
    """`words` [k] asked of one photo. Rows are the set's classes and, last, `OTHER`."""

    words: list[str]
    wins: Tensor  # [classes + 1] i64: which word has to win; k: none of them; -1: not told
    competes: Tensor  # [classes + 1, k + 1] bool: which words, and none, compete there
    yes: Tensor  # [classes + 1, k] f32: which words are right there
    told: Tensor  # [classes + 1, k] f32: where `yes` is known


@dataclass(frozen=True)
class Habits:
    """How often a photo is asked what."""

    subset: float = 0.4  # share of the questions that leave classes out
    umbrella: float = 0.45  # share with umbrella words
    most_umbrellas: int = 4  # of those that the photo shows
    distractors: float = 0.5  # share with words of other vocabularies
    most_distractors: int = 40
    most_neighbours: int = 8  # of those, names of other sets' classes


class Asker:
    """Draws questions for the photos of one set."""

    def __init__(
        self, source: LabelledSet, umbrellas: list[Umbrella], vocabulary: list[str], lists: list[list[str]],
        embed: Callable[[list[str]], Tensor], habits: Habits = Habits(), neighbours: tuple[str, ...] = (),
    ):  # fmt: skip
        self.habits = habits
        self.names = source.names
        self.words = [with_synonyms(words, lists) for words in source.words]
        self.closed = np.array([name not in source.open for name in self.names])
        self.umbrellas: list[tuple[list[str], np.ndarray, bool]] = []  # words, children, told of OTHER
        for umbrella in umbrellas:
            children = [n for n, name in enumerate(self.names) if name in umbrella.children]
            if not children:
                continue
            # Where the set's one child is all that the word could mean, it is its synonym; elsewhere of no class, whatever the set says.
            same = children[0] if len(children) == 1 and umbrella.closed == "yes" else None
            own = self.words[same] if same is not None else []
            for n, some in enumerate(self.words):
                if n != same:
                    self.words[n] = [some[0], *(word for word in some[1:] if word not in umbrella.words)]
            # A class of another kind that is called so keeps its name to itself.
            others = {name for n, name in enumerate(self.names) if n not in children}
            words = [word for word in umbrella.words if word not in own and not others & {word, plural(word)}]
            closed = umbrella.closed == "yes" or (umbrella.closed == "several" and len(children) > 1)
            if words:
                self.umbrellas.append((words, np.array(children), closed and bool(self.closed[children].all())))
        above = {word for umbrella in umbrellas for word in umbrella.words}
        own_words = {word for some in self.words for word in some}
        near = [word for word in dict.fromkeys(neighbours) if word not in own_words]
        far = [word for word in vocabulary if word not in near]
        near, far = ([word for word in some if not BELONGING.search(word.lower()) and word not in above] for some in (near, far))
        self.vocabulary, self.neighbours = near + far, len(near)
        # Which classes a distractor, or a class's name where the other is left out, may be said of too.
        own = embed(self.names)
        self.alike_classes = said_of(self.names, umbrellas, (own @ own.T).numpy()).astype(np.float32)  # [classes, classes]
        best = torch.full((len(self.vocabulary), len(self.names)), -1.0)
        distractors = embed(self.vocabulary) if self.vocabulary else own[:0]
        for n, some in enumerate(self.words):
            best[:, n] = (distractors @ embed(some).T).amax(1) if len(distractors) else best[:, n]
        self.alike = (best >= ALIKE).numpy()  # [vocabulary, classes]
        # What is all that one word could mean, as a rider and a cyclist, is told apart by no label.
        for kinds in (umbrella.children for umbrella in umbrellas if umbrella.closed == "yes"):
            of_kind = np.array([name in kinds for name in self.names])
            for n, word in enumerate(self.vocabulary[: self.neighbours]):
                if word in kinds:
                    self.alike[n] |= of_kind

    def draw(self, present: np.ndarray, rng: np.random.Generator) -> Question:
        """present [classes] bool: the classes that the photo shows."""
        habits, classes = self.habits, len(self.names)
        asked = np.ones(classes, bool)
        if rng.random() < habits.subset:
            asked = rng.random(classes) < np.where(present, 0.75, rng.random() ** 2)
        columns: list[tuple[str, np.ndarray, np.ndarray, bool]] = []  # word, whose pixels it is right for, and wins on; told of OTHER
        if self.umbrellas and rng.random() < habits.umbrella:
            order = rng.permutation(len(self.umbrellas))
            shown = [n for n in order if present[self.umbrellas[n][1]].any()]
            rest = [n for n in order if n not in shown]
            taken = np.zeros(classes, bool)
            for n in shown[: int(rng.integers(0, habits.most_umbrellas + 1))] + rest[: int(rng.integers(0, 3))]:
                words, children, closed = self.umbrellas[n]
                if taken[children].any():
                    continue
                taken[children] = True
                right = np.zeros(classes, bool)
                right[children] = True
                if len(children) == 1 or rng.random() < 0.6:
                    asked[children] = False  # in the children's place
                else:
                    asked[[c for c in children if self.names[c] in words]] = False
                columns.append((phrased(str(rng.choice(words)), rng), right, right & ~asked, closed))
        for n in np.flatnonzero(asked):
            some = self.words[n]
            word = some[0] if rng.random() < 0.5 else some[int(rng.integers(len(some)))]
            one = np.zeros(classes, bool)
            one[n] = True
            columns.append((phrased(word, rng), one, one, bool(self.closed[n])))
        extra: list[int] = []
        if self.vocabulary and rng.random() < habits.distractors:
            near, far = self.neighbours, len(self.vocabulary) - self.neighbours
            beside = min(near, int(rng.integers(0, habits.most_neighbours + 1)))
            count = min(far, 1 + int(rng.random() ** 1.5 * habits.most_distractors))
            extra = [*rng.choice(near, beside, replace=False).tolist(), *(near + rng.choice(far, count, replace=False)).tolist()]
        k = len(columns) + len(extra)
        if k == 0:
            return self.draw(present, rng)
        right = np.array([column[1] for column in columns], bool).reshape(len(columns), classes)  # [columns, classes]
        wins = np.full(classes + 1, k)
        for n, (_, _, winner, _) in enumerate(columns):
            wins[:-1][winner] = n
        yes, told = np.zeros((classes + 1, k), np.float32), np.ones((classes + 1, k), np.float32)
        yes[:-1, : len(columns)] = right.T
        # A class that is left out may be what a word alike names: then nothing is told of that word there.
        unsure = (self.alike_classes @ right.T.astype(np.float32) > 0) & ~right.T & ~asked[:, None]
        told[:-1, : len(columns)][unsure] = 0.0
        told[-1, : len(columns)] = [closed for *_, closed in columns]
        told[:-1, len(columns) :] = ~self.alike[extra].T
        told[-1, len(columns) :] = 0.0  # `OTHER` may show anything
        competes = np.concatenate([told > 0, np.ones((classes + 1, 1), bool)], 1)
        return Question(
            [word for word, *_ in columns] + [self.vocabulary[n] for n in extra],
            torch.from_numpy(wins), torch.from_numpy(competes), torch.from_numpy(yes), torch.from_numpy(told),
        )  # fmt: skip
