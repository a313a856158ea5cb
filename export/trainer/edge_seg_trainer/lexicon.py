"""The lexicon that tells which English words the words of other languages mean: one text file from openly licensed lists.

    python -m edge_seg_trainer lexicon --sources FOLDER --out runtime/model/src/words/lexicon.tsv

FOLDER holds the lists of SOURCES. A line of the file is a key, a language and what the key means there, separated by tabs, sorted; for
English (`en`) it is how common the word is. Keys are folded: see `fold`, and `fold` of the model's crate, which must agree.
"""

from __future__ import annotations

import argparse
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

# In the order in which they are asked where a word means several things.
LANGUAGES = ("de", "es", "fr", "it", "pt", "nl", "pl", "zh")

# Folders, and where they come from. Lists under a licence that asks the same of what is made of them (CC BY-SA, GPL) may not be added.
SOURCES = {
    "cldr-annotations-full": "the npm package of this name, unpacked",
    "id-tagging-schema": "the npm package @openstreetmap/id-tagging-schema, unpacked",
    "concepticon-data": "the repository concepticon/concepticon-data, of which mappings/ is read",
    "wordnet": "the files of Debian's wordnet-base, /usr/share/wordnet",
    "omw": "wn-data-cmn.tab of wns/cow, wn-data-ita.tab of wns/ita and wn-data-pol.tab of wns/pol in the repository omwn/omw-data",
}


class LexiconError(Exception):
    """What lists cannot be used, and why."""


HEADER = """\
# Words of other languages and the English words that they mean; which words are English, and how common those are (0 to 9, and a for
# what is mostly an adjective; p for names). Made by `python -m edge_seg_trainer lexicon`: corrections go into
# export/recipes/words-of-languages.tsv, which wins over the lists.
# From, changed (folded, selected, joined):
# - Unicode CLDR 48 annotations, Copyright 2004-2026 Unicode, Inc., Unicode License V3 <https://www.unicode.org/license.txt>
# - OpenStreetMap iD tagging schema 6.19, Copyright iD Contributors, ISC License
# - CLLD Concepticon 3.4, List, Tjuka, Blum and others (eds.), CC BY 4.0 <https://creativecommons.org/licenses/by/4.0/>
# - WordNet 3.0, Copyright 2006 by Princeton University, WordNet License; provided "as is", without warranty
# - Chinese Open Wordnet, Copyright 2013, 2014 by Francis Bond and Shan Wang, WordNet License; provided "as is", without warranty
# - plWordNet, Copyright Wroclaw University of Technology, plWordNet License; provided "as is", without warranty
# - MultiWordNet 1.5, Emanuele Pianta, Luisa Bentivogli and Christian Girardi, CC BY 3.0 <https://creativecommons.org/licenses/by/3.0/>
"""

# WordNet's files of nouns that a camera may see: animals, made things, bodies, signs, food, groups, places, nature, people, plants, shapes,
# stuff.
_SEEN = {5, 6, 8, 10, 13, 14, 15, 17, 18, 19, 20, 25, 27}

# Letters that no accent is taken off of.
_LETTERS = str.maketrans({"ß": "ss", "ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "’": "'", "-": " "})


def fold(text: str) -> str:
    """A word without case and accents, its blanks single, its hyphens blanks."""
    text = unicodedata.normalize("NFKD", text).lower()
    text = "".join(c for c in text if not unicodedata.combining(c)).translate(_LETTERS)
    return " ".join(text.split())


FILE = Path(__file__).parents[3] / "runtime" / "model" / "src" / "words" / "lexicon.tsv"


def exchanged(words: Iterable[str], lexicon: Path = FILE) -> dict[str, str]:
    """The words in whose place the runtime looks for an English one, where nobody has named languages: those that other languages have and
    English has not, but as a name. Whole words and phrases alone; nothing where the lexicon is not beside the trainer."""
    sought = {fold(word): word for word in words}
    marks: dict[str, str] = {}  # of English, by key
    meanings: dict[str, str] = {}
    bases = {key.removesuffix(ending) for key in sought for ending in ("s", "es") if key.endswith(ending)}
    if lexicon.is_file():
        with lexicon.open(encoding="utf-8") as lines:
            for line in lines:
                key, _, rest = line.rstrip("\n").partition("\t")
                if key not in sought and key not in bases:
                    continue
                language, _, value = rest.partition("\t")
                if language == "en":
                    marks[key] = value
                elif key in sought:
                    meanings.setdefault(key, value)

    def english(key: str) -> bool:
        return marks.get(key, "p") != "p"

    plural = {key for key in sought if any(key.endswith(ending) and english(key.removesuffix(ending)) for ending in ("s", "es"))}
    return {sought[key]: means for key, means in meanings.items() if not english(key) and key not in plural and fold(means) != key}


def warn(name: str, words: Iterable[str], say: Callable[[str], None]) -> None:
    """Tells of a set's words that the trainer embeds as they stand and the runtime exchanges."""
    if found := exchanged(words):
        first = ", ".join(f"{word!r} (for which the runtime looks for {means!r})" for word, means in list(found.items())[:8])
        more = f" and {len(found) - 8} more" if len(found) > 8 else ""
        say(f"{name}: not English: {first}{more}; training takes words as they stand: give its classes their English names")


@dataclass
class English:
    """Princeton's WordNet: which words are English, how common, and which of a meaning's words is the usual one."""

    senses: dict[str, Counter[tuple[str, str]]] = field(default_factory=lambda: defaultdict(Counter))  # lemma -> (offset, pos) -> uses
    words: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # (offset, pos) -> lemmas, the usual one first
    seen: set[tuple[str, str]] = field(default_factory=set)  # what can be seen, or how it looks

    @classmethod
    def read(cls, folder: Path) -> English:
        english = cls()
        counts: Counter[tuple[str, str, int]] = Counter()
        for line in (folder / "cntlist.rev").read_text("utf-8").splitlines():
            key, number, uses = line.split()
            lemma, rest = key.split("%")
            counts[lemma, "?nvars"[int(rest[0])].replace("s", "a"), int(number)] = int(uses)
        for name, pos in (("noun", "n"), ("verb", "v"), ("adj", "a"), ("adv", "r")):
            for line in (folder / f"data.{name}").read_text("utf-8").splitlines():
                if line.startswith(" "):
                    continue
                parts = line.split(" ")
                count = int(parts[3], 16)
                lemmas = [re.sub(r"\(\w+\)$", "", parts[4 + 2 * i]).replace("_", " ") for i in range(count)]
                english.words[parts[0], pos] = lemmas
                if pos == "a" or (pos == "n" and int(parts[1]) in _SEEN):
                    english.seen.add((parts[0], pos))
            for line in (folder / f"index.{name}").read_text("utf-8").splitlines():
                if line.startswith(" "):
                    continue
                parts = line.split()
                lemma = parts[0]
                offsets = parts[-int(parts[2]) :]
                for number, offset in enumerate(offsets, 1):
                    # The first sense is the usual one, also where nobody counted.
                    english.senses[lemma.replace("_", " ")][offset, pos] = counts[lemma, pos, number] + (1 if number == 1 else 0)
        return english

    def uses(self, word: str, pos: str = "") -> int:
        return sum(n for (_, p), n in self.senses.get(word.lower(), {}).items() if not pos or p == pos)

    def knows(self, word: str) -> bool:
        return word.lower() in self.senses

    def usual(self, synset: tuple[str, str]) -> str | None:
        """The most used word of a meaning."""
        lemmas = self.words.get(synset)
        if not lemmas:
            return None
        return max(lemmas, key=lambda w: (self.senses[w.lower()][synset], -lemmas.index(w)))

    def tidy(self, word: str) -> str:
        """The usual word for what a rarer one means, if that means one thing alone: car for automobile."""
        nouns = [s for s in self.senses.get(word.lower(), ()) if s[1] == "n"]
        if len(nouns) != 1:
            return word
        usual = self.usual(nouns[0]) or word
        uses = self.senses[word.lower()][nouns[0]]
        return usual if self.senses[usual.lower()][nouns[0]] > 3 * uses + 3 else word

    def known(self, meaning: str) -> str | None:
        """A meaning as WordNet has it: whole or its last words, in the singular; what stands before a thing only qualifies it."""
        words = meaning.split()
        for first in range(len(words)):
            for ending in ("", "s", "es", "ies"):
                tail = " ".join(words[first:])
                lemma = tail.removesuffix(ending) + ("y" if ending == "ies" else "")
                if tail.endswith(ending) and self.knows(lemma) and (first == 0 or self.uses(lemma, "n")):
                    return lemma
        return None

    def share_seen(self, word: str) -> float:
        """How much of a word's use is of what can be seen."""
        senses = self.senses.get(word.lower(), {})
        uses = sum(senses.values())
        return sum(n for sense, n in senses.items() if sense in self.seen) / uses if uses else 0.0

    def is_adjective(self, word: str) -> bool:
        return self.uses(word, "a") > self.uses(word, "n")


def emoji(folder: Path, tag: str) -> dict[str, dict[str, list[str]]]:
    """What emoji are called (`tts`) and found by (`default`). Punctuation, arrows and letters are no things to see."""
    path = folder / f"cldr-annotations-full/annotations/{tag}/annotations.json"
    signs = json.loads(path.read_text("utf-8"))["annotations"]["annotations"]
    return {sign: names for sign, names in signs.items() if ord(sign[0]) >= 0x2600 and not 0x1F3FB <= ord(sign[0]) <= 0x1F3FF}


def pairs_of_cldr(folder: Path, language: str) -> Iterator[tuple[str, str, float]]:
    """Names of the same emoji, and what nearly the same emoji are found by."""

    def by_name(signs: dict[str, dict[str, list[str]]]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for sign, names in signs.items():
            for name in names.get("default", []) + names.get("tts", []):
                found[name].add(sign)
        return found

    english = emoji(folder, "en")
    for tag in {"zh": ("zh", "zh-Hant")}.get(language, (language,)):
        here = {sign: names for sign, names in emoji(folder, tag).items() if sign in english}
        for sign, names in here.items():
            for name in names.get("tts", []):
                for meaning in english[sign].get("tts", []):
                    yield name, meaning, 3.0
        meanings = by_name({sign: english[sign] for sign in here})
        for name, signs in by_name(here).items():
            # One emoji has a dozen keywords, any of which might be meant.
            if len(signs) < 2:
                continue
            beside = {word for sign in signs for word in english[sign].get("default", [])}
            shared = {word: len(signs & meanings[word]) / len(signs | meanings[word]) for word in beside}
            best = max(shared.values(), default=0.0)
            if best >= 0.5:
                for meaning in sorted(word for word, share in shared.items() if share == best):
                    yield name, meaning, best


def pairs_of_presets(folder: Path, language: str) -> Iterator[tuple[str, str, float]]:
    """Names of the same thing on a map."""

    def presets(tag: str) -> dict[str, dict[str, str]]:
        path = folder / f"id-tagging-schema/dist/translations/{tag}.json"
        return json.loads(path.read_text("utf-8"))[tag]["presets"]["presets"]

    english = presets("en")
    for tag in {"zh": ("zh-CN", "zh-TW"), "pt": ("pt", "pt-BR")}.get(language, (language,)):
        for thing, here in presets(tag).items():
            meaning = english.get(thing, {}).get("name", "")
            if "name" not in here or not meaning:
                continue
            yield here["name"], meaning, 1.5
            for line in here.get("aliases", "").splitlines():
                yield line, meaning, 1.0


def pairs_of_concepticon(folder: Path, language: str) -> Iterator[tuple[str, str, float]]:
    """Glosses of the same concept in questionnaires of field linguists."""
    glosses = (folder / f"concepticon-data/mappings/map-{language}.tsv").read_text("utf-8").splitlines()[1:]
    counted: Counter[tuple[str, str]] = Counter()
    for line in glosses:
        _, gloss, priority = line.split("\t")
        concept, _, word = gloss.partition("///")
        counted[word, concept] += int(priority)
    for (word, concept), count in counted.items():
        meaning = re.sub(r"\(.*?\)", "", concept).strip().lower()
        if " or " in meaning or meaning.startswith(("be ", "become ")):
            meaning = re.split(r" or ", meaning)[0]
        word = re.sub(r"\(.*?\)|（.*?）", "", word)
        for part in re.split(r"[,/;、，；]", word):
            yield part.strip(), meaning, min(1.0 + count / 2, 4.0)


def pairs_of_wordnet(path: Path, english: English) -> Iterator[tuple[str, str, float]]:
    """Words of the same meaning."""
    senses: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for line in path.read_text("utf-8").splitlines():
        parts = line.split("\t")
        if line.startswith("#") or len(parts) != 3 or not parts[1].endswith("lemma"):
            continue
        offset, pos = parts[0].split("-")
        senses[parts[2].replace("_", " ")].append((offset, pos.replace("s", "a")))
    for word, meanings in senses.items():
        for meaning in meanings:
            usual = english.usual(meaning)
            # The rest is what no camera sees, and would be four fifths of the file.
            if usual and meaning in english.seen and english.uses(usual) >= 2 and usual == usual.lower():
                common = english.senses[usual.lower()][meaning]
                yield word, usual, 0.5 + min(common, 50) / 50


_ARTICLES = {
    "de": r"^(der|die|das|ein|eine|sich) ",
    "es": r"^(el|la|los|las|un|una) ",
    "fr": r"^(le |la |les |l'|un |une |du |des )",
    "it": r"^(il |lo |la |i |gli |le |l'|un |una |uno )",
    "pt": r"^(o|a|os|as|um|uma) ",
    "nl": r"^(de|het|een) ",
}
_WORD = re.compile(r"[^\W\d_]+(?:[ '’-][^\W\d_]+)*\Z")


def entries(sources: Path, english: English, language: str) -> dict[str, str]:
    """Folded words of a language and what they mean in English."""
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    ways: Iterable[Iterator[tuple[str, str, float]]] = [
        pairs_of_cldr(sources, language),
        pairs_of_presets(sources, language),
        pairs_of_concepticon(sources, language),
    ]
    if (name := {"it": "ita", "pl": "pol", "zh": "cmn"}.get(language)) is not None:
        ways = [*ways, pairs_of_wordnet(sources / f"omw/wn-data-{name}.tab", english)]
    for way in ways:
        for word, meaning, weight in way:
            word = re.sub(_ARTICLES.get(language, r"^$"), "", word.strip(), flags=re.I)
            meaning = re.sub(r"^(a|an|the|to) ", "", meaning.strip().lower())
            if not _WORD.fullmatch(word) or not _WORD.fullmatch(meaning) or len(fold(word).split()) > 3 or len(meaning.split()) > 3:
                continue
            known = english.known(meaning)
            if known is None:
                continue
            meaning = english.tidy(known)
            # People look for things and what they are like; what is done comes last. German writes things with a capital.
            seen = 0.2 + 0.8 * english.share_seen(meaning)
            if language == "de" and word[0].islower() and not english.is_adjective(meaning):
                seen *= 0.3
            votes[fold(word)][meaning] += weight * seen
    best = {}
    for key, meanings in votes.items():
        if len(key) < 2 and language != "zh":
            continue
        best[key] = max(meanings, key=lambda m: (meanings[m], english.uses(m), m))
    return best


# What WordNet, which has things, qualities and deeds alone, lacks.
_SMALL_WORDS = (
    "a an and any as at between but by each every for from her his in into its my near next no not of off on or other our out over per "
    "some that the their these this those to under up with without your one's two three four five"
).split()

# Written with their accents in English too.
_ACCENTED = "café crème brûlée crêpe éclair façade jalapeño piñata purée sauté soufflé décor naïve résumé fiancé fiancée entrée".split()


def commonness(uses: int) -> int:
    return min(uses.bit_length(), 9)


# From this on a word is met in English texts, and holds against languages that somebody names.
_COMMON = 2


def data_set_words(presets: Path) -> set[str]:
    """The words of labelled sets, which are what cameras are asked for."""
    rows = [line for path in sorted(presets.glob("*.tsv")) for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    return {word for row in rows for word in re.findall(r"[a-z']{3,}", row)}


def english_words(sources: Path, english: English, seen: set[str]) -> dict[str, str]:
    """English words as people write them, without capitals and hyphens, and how common each is: 0 to 9, `a` behind it for adjectives,
    `p` in place of it for names, which give way to other languages' words. What is `seen` counts as common."""
    found: dict[str, str] = {}

    def add(word: str, mark: str = "") -> None:
        key = " ".join(word.lower().replace("-", " ").replace("’", "'").split())
        if found.get(key, "p") == "p":
            found[key] = mark or f"{commonness(english.uses(word))}{'a' * english.is_adjective(word)}"

    names = {lemma for lemmas in english.words.values() for lemma in lemmas if lemma != lemma.lower()}
    for lemmas in english.words.values():
        for lemma in lemmas:
            # Of several words each is there itself, but for those that are no English alone: fleur-de-lis.
            if re.fullmatch(r"[a-z][a-z' .-]*", lemma) and (" " not in lemma or not all(map(english.knows, lemma.split()))):
                add(lemma)
    for name in ("noun", "verb", "adj"):
        for line in (sources / f"wordnet/{name}.exc").read_text("utf-8").splitlines():
            form = line.split()[0].replace("_", " ")
            if " " not in form and re.fullmatch(r"[a-z'-]+", form):
                add(form)
    for word in [*_SMALL_WORDS, *_ACCENTED]:
        add(word)
    named = {word for names_of in emoji(sources, "en").values() for word in names_of.get("default", []) + names_of.get("tts", [])}
    seen = seen | {part for word in named for part in re.split("[ -]", word) if re.fullmatch(r"[a-z']+", part)}
    for part in sorted(seen):
        found[part] = f"{max(commonness(english.uses(part)), _COMMON)}{'a' * english.is_adjective(part)}"
    for name in names:
        if re.fullmatch(r"[A-Za-z' -]+", name) and " " not in name:
            add(name, "p")
    return found


# In place of the English of words that the lists have and nobody wants.
_NOT_A_WORD = "-"
# In front of English that gives way to other languages' words.
_GIVES_WAY = "~"


def english_by_hand(path: Path) -> list[str]:
    """The first column of that table: English, also where no other language has a word for it."""
    return [word for word in _first_column(path) if word != _NOT_A_WORD and not word.startswith(_GIVES_WAY)]


def gives_way(path: Path) -> list[str]:
    """English words of that table that give way to other languages' words, as names do."""
    return [word.removeprefix(_GIVES_WAY) for word in _first_column(path) if word.startswith(_GIVES_WAY)]


def _first_column(path: Path) -> list[str]:
    rows = [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return [row.partition("\t")[0] for row in rows[1:]]


def by_hand(path: Path) -> dict[tuple[str, str], str]:
    """A table of words that win over the lists: English in the first column, then a column for each language named in its head, several
    words separated by `|`. What means `-` is in the lists and wanted by nobody."""
    rows = [line.split("\t") for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    found: dict[tuple[str, str], str] = {}
    head = rows[0]
    if head[0] != "english" or not set(head[1:]) <= set(LANGUAGES):
        raise LexiconError(f"{path}: expected columns english and some of {', '.join(LANGUAGES)}, found {', '.join(head)}")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(head):
            raise LexiconError(f"{path}: expected {len(head)} columns in row {number}, found {len(row)}")
        for language, cell in zip(head[1:], row[1:], strict=True):
            for word in filter(None, cell.split("|")):
                if found.setdefault((fold(word), language), row[0]) != row[0]:
                    raise LexiconError(f"{path}: {word} ({language}) means {found[fold(word), language]} and {row[0]}")
    return found


def make(sources: Path, table: Path, presets: Path) -> str:
    """The lexicon's text."""
    english = English.read(sources / "wordnet")
    hand = by_hand(table)
    seen = data_set_words(presets) | {part for meaning in english_by_hand(table) for part in meaning.split()}
    known = english_words(sources, english, seen)
    lines = []
    for language in LANGUAGES:
        here = entries(sources, english, language)
        here.update({key: meaning for (key, tag), meaning in hand.items() if tag == language})
        here = {key: meaning for key, meaning in here.items() if meaning != _NOT_A_WORD}
        lines += [f"{key}\t{language}\t{meaning}" for key, meaning in here.items()]
        # Whatever is looked for is English, such as the halves of a word that stands in two.
        for part in {part for meaning in here.values() for part in meaning.lower().replace("-", " ").split()}:
            if known.get(part, "p") == "p":
                known[part] = str(commonness(english.uses(part)))
    # A word that somebody wrote down here is meant sooner than English that is hardly met.
    rare = {key for (key, _), meaning in hand.items() if meaning != _NOT_A_WORD and known.get(key, "p")[0] < str(_COMMON)}
    known.update(dict.fromkeys(rare | set(gives_way(table)), "p"))
    lines += [f"{key}\ten\t{mark}" for key, mark in known.items()]
    return HEADER + "\n".join(sorted(set(lines), key=lambda line: line.encode())) + "\n"


def main(given: argparse.Namespace, say: Callable[[str], None]) -> int:
    missing = [name for name in SOURCES if not (given.sources / name).is_dir()]
    if missing:
        found = ", ".join(f"{given.sources / name} ({SOURCES[name]})" for name in missing)
        raise LexiconError(f"--sources: expected a folder with {', '.join(SOURCES)}; missing: {found}")
    text = make(given.sources, given.by_hand, given.presets)
    given.out.write_text(text, "utf-8")
    counts = Counter(line.split("\t")[1] for line in text.splitlines() if not line.startswith("#"))
    say(f"{given.out}: {len(text.encode())} bytes; " + ", ".join(f"{tag} {counts[tag]}" for tag in ("en", *LANGUAGES)))
    return 0
