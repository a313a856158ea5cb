"""The lexicon of other languages' words: how words are folded and chosen, and what stands in the file."""

import subprocess
import sys
from pathlib import Path

import pytest

from edge_seg_trainer.lexicon import HEADER, LANGUAGES, LexiconError, by_hand, english_by_hand, exchanged, fold, gives_way, warn

ROOT = Path(__file__).parents[3]
TABLE = ROOT / "export/recipes/words-of-languages.tsv"
LEXICON = ROOT / "runtime/model/src/words/lexicon.tsv"


@pytest.mark.parametrize(
    ("word", "folded"),
    [("Löffel", "loffel"), ("Straße", "strasse"), ("łóżko", "lozko"), ("œil", "oeil"), ("E-Bike", "e bike"), ("fene\u0302tre", "fenetre")],
)
def test_words_are_folded(word, folded):
    assert fold(word) == folded
    assert fold(folded) == folded


def test_the_table_by_hand_is_sound_and_holds_nothing_that_is_held_out():
    table = by_hand(TABLE)
    assert {language for _, language in table} == set(LANGUAGES)
    rows = [line.split("\t") for line in (ROOT / "tests/data/words/held-out.tsv").read_text("utf-8").splitlines() if line[0] != "#"]
    for row in rows[1:]:
        for language, word in zip(rows[0][1:], row[1:], strict=True):
            assert (fold(word), language) not in table, f"{word} ({language}) is held out"


def test_the_file_holds_the_table_and_names_its_sources():
    text = LEXICON.read_text("utf-8")
    assert text.startswith(HEADER), "made anew after the head was changed"
    lines = text.splitlines()
    body = [line for line in lines if not line.startswith("#")]
    assert body == sorted(set(body), key=lambda line: line.encode())
    found = {tuple(line.split("\t")[:2]): line.split("\t")[2] for line in body}
    for (word, language), meaning in by_hand(TABLE).items():
        assert found.get((word, language), "-") == meaning, f"{word} ({language}): make the lexicon anew"
    for word in english_by_hand(TABLE):
        for part in fold(word).split():
            assert found[part, "en"] != "p", f"{part}: make the lexicon anew"
    for word in gives_way(TABLE):
        assert found[word, "en"] == "p", f"{word}: make the lexicon anew"
    for word, _ in (key for key, meaning in by_hand(TABLE).items() if meaning != "-"):
        assert found.get((word, "en"), "p") == "p" or found[word, "en"][0] >= "2", f"{word}: make the lexicon anew"
    for licence in ("Unicode License", "ISC", "CC BY 4.0", "CC BY 3.0", "WordNet License"):
        assert licence in text[: len(HEADER)]
    assert "BY-SA" not in HEADER and "GPL" not in HEADER


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("english\txx\ndog\tHund\n", "expected columns english"),
        ("english\tde\ndog\n", "expected 2 columns in row 2, found 1"),
        ("english\tde\ndog\tHund\nhound\thund\n", "means dog and hound"),
    ],
)
def test_a_table_that_is_wrong_is_refused(tmp_path, text, said):
    table = tmp_path / "table.tsv"
    table.write_text(text, "utf-8")
    with pytest.raises(LexiconError, match=said):
        by_hand(table)


def test_a_table_takes_words_out_and_lets_english_give_way(tmp_path):
    table = tmp_path / "table.tsv"
    table.write_text("# head\nenglish\tde\ndog\tHund\n-\tStuss\n~visage\t\nsuv\t\n", "utf-8")
    assert by_hand(table) == {("hund", "de"): "dog", ("stuss", "de"): "-"}
    assert english_by_hand(table) == ["dog", "suv"]
    assert gives_way(table) == ["visage"]


def test_words_that_the_runtime_exchanges_are_told():
    words = ["Hund", "Baum", "Löffel", "dog", "dogs", "traffic light", "Kind", "chat", "buses", "xyzzy", "t-shirt"]
    assert exchanged(words) == {"Hund": "dog", "Baum": "tree", "Löffel": "spoon"}
    said = []
    warn("mine", words, said.append)
    warn("theirs", ["dog", "cat"], said.append)
    assert len(said) == 1 and "'Hund' (for which the runtime looks for 'dog')" in said[0]


def test_no_class_of_a_data_set_is_taken_for_another_languages():
    for path in sorted((Path(__file__).parents[3] / "export" / "presets").glob("*.tsv")):
        rows = [line.split("\t") for line in path.read_text().splitlines() if line and not line.startswith("#")]
        assert not exchanged(row[rows[0].index("name")] for row in rows[1:]), path


def test_without_the_lexicon_nothing_is_told(tmp_path):
    assert exchanged(["Hund"], tmp_path / "none.tsv") == {}


def test_lists_that_are_missing_are_named(tmp_path):
    command = [sys.executable, "-m", "edge_seg_trainer", "lexicon", "--sources", str(tmp_path), "--out", str(tmp_path / "lexicon.tsv")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "cldr-annotations-full" in done.stderr and "wordnet-base" in done.stderr
    assert not (tmp_path / "lexicon.tsv").exists()
