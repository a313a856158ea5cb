"""Many labelled sets at once: what is read of them, what is asked, and what the answers teach."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from edge_seg_trainer.data import IGNORE, OTHER, DataError
from edge_seg_trainer.labelled_sets import LabelledSet, held_places
from edge_seg_trainer.questions import Asker, Habits, Umbrella, phrased, plural, read_umbrellas, said_of, taxonomy, with_synonyms
from edge_seg_trainer.recipe import RecipeError
from edge_seg_trainer.sets import read_classes, read_set
from edge_seg_trainer.sets_stage import drawn_by_rarity, pixel_loss
from edge_seg_trainer.teachers import ADE31, AGREED_SCENERY, SCENERY, THINGS, agreed, joined, scenery_set, with_scenery
from edge_seg_trainer.config import TowerError
from edge_seg_trainer.towers import ImageTower
from edge_seg_trainer.unpack import load_unpacked, unpack

ROOT = Path(__file__).parents[3]


def set_of(words: list[list[str]]) -> LabelledSet:
    return LabelledSet("shades", words, [], [])


def axes(words: dict[str, list[float]]):
    """An embedding that knows the given words; all others are far from them and from each other."""

    def embed(texts: list[str]) -> torch.Tensor:
        rows = []
        for text in texts:
            seed = torch.Generator().manual_seed(sum(ord(letter) * 31**n for n, letter in enumerate(text)) % 2**31)
            row = torch.cat([torch.zeros(4), torch.randn(60, generator=seed)])
            rows.append(F.pad(torch.tensor(words[text]), (0, 64 - len(words[text]))) if text in words else row)
        return F.normalize(torch.stack(rows), dim=-1)

    return embed


def write_set(root: Path, rows: str, name: str = "shades") -> Path:
    folder = root / "seg" / name
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for n in range(20):
        Image.fromarray(np.full((8, 8, 3), n, np.uint8)).save(folder / "images" / f"p{n}.png")
        Image.fromarray(np.array([[0, 1, 2, 255]] * 4, np.uint8)).save(folder / "labels" / f"p{n}.png")
    (folder / "classes.tsv").write_text("value\tname\tsynonyms\trole\n" + rows)
    return root


def test_each_set_says_what_its_values_mean(tmp_path):
    found = read_set(write_set(tmp_path, "0\tother\t\tnone\n1\tdog\tpuppy, hound\tthing\n2\tsky\t\tstuff\n255\tedge\t\tignore\n"), "shades")
    assert found.words == [["dog", "puppy", "hound"], ["sky"]]
    assert found.train[0].labels()[0].tolist() == [OTHER, 0, 1, IGNORE]
    assert len(found.held) == 2 and len(found.train) == 18
    assert not {photo.path for photo in found.held} & {photo.path for photo in found.train}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("x\tdog\t\tthing\n", "whole number"), ("256\tdog\t\tthing\n", "whole number"), ("1\tdog\t\tanimal\n", "role"),
        ("1\tdog\t\tthing\n1\tcat\t\tthing\n", "twice"), ("0\tnone\t\tnone\n", "nothing to learn"), ("1\t\t\tthing\n", "without a name"),
    ],
)  # fmt: skip
def test_a_wrong_class_list_is_refused(tmp_path, rows, message):
    (tmp_path / "classes.tsv").write_text("value\tname\tsynonyms\trole\n" + rows)
    with pytest.raises(DataError, match=message):
        read_classes(tmp_path / "classes.tsv")


def test_measuring_sets_are_not_trained_on(tmp_path):
    with pytest.raises(DataError, match="for measuring"):
        read_set(tmp_path, "ade20k_dev400")


def test_pictures_of_one_place_are_held_out_together():
    names = [f"drive{place}_{n}.webp" for place in range(5) for n in range(10)]
    held = held_places(names, r"[^_]+")
    assert len(held) == 10 and len({name.split("_")[0] for name in held}) == 1
    assert held == held_places(list(reversed(names)), r"[^_]+")


def test_words_as_people_type_them():
    assert [plural(word) for word in ("dog", "bus", "wine glass", "berry", "toy", "person", "bench", "skis")] == [
        "dogs", "bus", "wine glasses", "berries", "toys", "people", "benches", "skis",
    ]  # fmt: skip
    drawn = {phrased("apple", np.random.default_rng(n)) for n in range(200)}
    assert drawn == {"apple", "apples", "the apple", "an apple", "Apple"}


def test_taxonomies_lose_their_brackets_and_bring_synonyms(tmp_path):
    (tmp_path / "list.txt").write_text("0:invalid_class_id\n1:bat (animal),flying mouse\n2:dining table,plate,board\n")
    lists = taxonomy(tmp_path / "list.txt")
    assert lists == [["bat", "flying mouse"], ["dining table", "plate", "board"]]
    assert with_synonyms(["dining table", "table"], lists) == ["dining table", "table", "board"]


ANIMAL = Umbrella(["animal", "creature"], "several", frozenset({"dog", "cat"}))
FOOD = Umbrella(["food"], "no", frozenset({"cake", "pizza"}))


def asker(habits: Habits, vocabulary=(), words=(["dog"], ["cat"], ["cake"], ["pizza"], ["sky"]), known=None) -> Asker:
    return Asker(set_of(list(words)), [ANIMAL, FOOD], list(vocabulary), [], axes(known or {}), habits)


def test_an_umbrella_word_wins_over_absence_and_yields_to_its_child():
    ask = asker(Habits(subset=0, umbrella=1, distractors=0))
    present = np.array([True, True, True, False, True])
    replaced = beside = 0
    for n in range(200):
        question = ask.draw(present, np.random.default_rng(n))
        plain = [word.lower().removeprefix("the ").removeprefix("an ").removeprefix("a ") for word in question.words]
        over = [k for k, word in enumerate(plain) if word in ("animal", "animals", "creature", "creatures")]
        if not over:
            continue
        dog = [k for k, word in enumerate(plain) if word in ("dog", "dogs")]
        assert question.yes[0, over[0]] == 1 and question.yes[4, over[0]] == 0
        assert question.wins[0] == (dog[0] if dog else over[0])
        assert question.told[5, over[0]] == 1  # whoever labels dogs and cats labels animals
        replaced, beside = replaced + (not dog), beside + bool(dog)
    assert replaced > 20 and beside > 20


def test_an_open_umbrella_says_nothing_of_unlabelled_pixels():
    ask = asker(Habits(subset=0, umbrella=1, distractors=0))
    for n in range(100):
        question = ask.draw(np.array([False, False, True, False, False]), np.random.default_rng(n))
        for k, word in enumerate(question.words):
            if "food" in word.lower():
                assert question.told[5, k] == 0 and not question.competes[5, k] and question.yes[2, k] == 1
                return
    pytest.fail("food was never asked")


WATER = Umbrella(["water", "body of water"], "yes", frozenset({"flood water", "sea", "river"}))


@pytest.mark.parametrize("own", [["flood water", "water", "flood"], ["flood water"]])
@pytest.mark.parametrize("closed", ["yes", "several", "no"])
def test_an_umbrella_word_stands_in_for_the_single_child_of_a_set(own, closed):
    water = Umbrella(WATER.words, closed, WATER.children)
    ask = Asker(set_of([own, ["sky"]]), [water], [], [], axes({}), Habits(subset=0, umbrella=0.5, distractors=0))
    met = set()
    for n in range(300):
        question = ask.draw(np.ones(2, bool), np.random.default_rng(n))
        plain = [word.lower().removeprefix("the ").removeprefix("an ").removeprefix("a ").rstrip("s") for word in question.words]
        assert len(plain) == 2  # beside its only child it would mean the same pixels
        for word in {"water", "body of water"} & set(plain):
            k = plain.index(word)
            assert question.wins[0] == k and question.yes[0, k] == 1 and question.yes[1, k] == 0
            # Of `none of these` pixels it says something only where one child is all that it could mean.
            assert question.told[2, k] == (closed == "yes")
            met.add(word)
    assert met == {"water", "body of water"}


def test_synonyms_that_are_umbrella_words_go_where_they_mean_more_than_the_class():
    ask = Asker(set_of([["flood water", "water"], ["sea", "water"]]), [WATER], [], [], axes({}), Habits())
    assert ask.words == [["flood water"], ["sea"]]
    pedestrian, cyclist = ["pedestrian", "person", "people", "child"], ["cyclist", "people on bicycles"]
    people = Umbrella(["person", "people"], "yes", frozenset({"pedestrian", "cyclist"}))
    ask = Asker(set_of([pedestrian, cyclist]), [people], [], [], axes({}), Habits())
    assert ask.words == [["pedestrian", "child"], ["cyclist", "people on bicycles"]]
    assert Asker(set_of([pedestrian]), [people], [], [], axes({}), Habits()).words == [pedestrian]


def asked_as(ask: Asker, word: str, present: np.ndarray) -> list[tuple[int, object]]:
    """Column and question wherever the word was asked, in whatever way it was typed."""
    forms = {form for one in (word, plural(word)) for form in (one, f"the {one}", f"a {one}", f"an {one}", one.capitalize())}
    drawn = [ask.draw(present, np.random.default_rng(n)) for n in range(400)]
    return [(k, question) for question in drawn for k, found in enumerate(question.words) if found in forms]


def test_a_plant_is_more_than_the_potted_plant_that_a_set_labels():
    umbrellas = read_umbrellas(ROOT / "export" / "recipes" / "umbrella-words.tsv")
    voc = set_of([["potted plant", "plant", "houseplant"], ["dog"]])
    ask = Asker(voc, umbrellas, [], [], axes({}), Habits(distractors=0))
    met = asked_as(ask, "plant", np.ones(2, bool))
    assert len(met) > 5
    for k, question in met:
        # A tree of the background is a plant too: nothing is told there; the pot's plant is one, the dog none.
        assert question.told[2, k] == 0 and not question.competes[2, k]
        assert question.yes[0, k] == 1 and question.yes[1, k] == 0 and question.told[1, k] == 1
    assert all(question.told[2, k] == 1 for k, question in asked_as(ask, "potted plant", np.ones(2, bool)))


def test_a_class_of_another_kind_keeps_the_name_that_is_an_umbrella_word_elsewhere():
    accessory = Umbrella(["accessory", "accessories", "extra"], "no", frozenset({"tie", "handbag"}))
    ask = Asker(set_of([["accessories"], ["tie"]]), [accessory], [], [], axes({}), Habits(subset=0, umbrella=0.5, distractors=0))
    assert ask.umbrellas[0][0] == ["extra"]
    for k, question in asked_as(ask, "accessories", np.ones(2, bool)):
        assert question.yes[0, k] == 1 and question.yes[1, k] == 0


def test_of_classes_that_are_not_all_marked_other_pixels_tell_nothing():
    marked = LabelledSet("shades", [["dog"], ["sea"], ["grass"]], [], [], open=frozenset({"sea", "grass"}))
    ask = Asker(marked, [WATER], [], [], axes({}), Habits(subset=0, umbrella=0.5, distractors=0))
    for word, told in (("dog", 1), ("sea", 0), ("grass", 0), ("water", 0)):
        met = asked_as(ask, word, np.ones(3, bool))
        assert met and all(question.told[3, k] == told and question.competes[3, k] == bool(told) for k, question in met)


class Painter:
    """A net that sees one class all over the photo's left half, and another one right of it."""

    def __init__(self, left: str, right: str, sure: float):
        self.left, self.right, self.sure, self.asked = ADE31.index(left), ADE31.index(right), sure, 0

    def shares(self, image, height: int, width: int) -> torch.Tensor:
        self.asked += 1
        made = torch.full((len(ADE31), height, width), (1 - self.sure) / (len(ADE31) - 1))
        made[self.left, :, : width // 2] = self.sure
        made[self.right, :, width // 2 :] = self.sure
        return made


def test_scenery_is_told_where_two_nets_agree_and_no_thing_is_labelled(tmp_path):
    root = write_set(tmp_path, "0\tother\t\tnone\n1\tdog\t\tthing\n2\tother\t\tnone\n255\tedge\t\tignore\n")
    photo = read_set(root, "shades").train[0]  # none, dog, none, edge
    grass = list(AGREED_SCENERY).index("grass")

    def found(*nets):
        return agreed(photo, [Painter(*net) for net in nets])[0].tolist()

    assert found(("grass", "grass", 0.9), ("grass", "grass", 0.9)) == [grass, IGNORE, grass, IGNORE]
    assert found(("grass", "grass", 0.9), ("grass", "sky", 0.9)) == [grass, IGNORE, IGNORE, IGNORE]
    assert found(("grass", "grass", 0.9), ("grass", "grass", 0.6)) == [IGNORE] * 4
    assert found(("chair", "chair", 0.9), ("chair", "chair", 0.9)) == [IGNORE] * 4
    second = Painter("grass", "grass", 0.9)
    agreed(photo, [Painter("chair", "chair", 0.9), second])
    assert second.asked == 0  # nothing is left to agree on
    assert with_scenery(photo.labels(), agreed(photo, [second, second]), 1)[0].tolist() == [1 + grass, 0, 1 + grass, IGNORE]


def test_a_set_with_scenery_has_its_own_labels_and_the_teachers(tmp_path):
    root = write_set(tmp_path, "0\tother\t\tnone\n1\tdog\t\tthing\n2\tcat\t\tthing\n255\tedge\t\tignore\n")
    place = tmp_path / "work" / "teachers" / "scenery-shades"
    place.mkdir(parents=True)
    own = read_set(root, "shades")
    for photo in own.train:
        Image.fromarray(np.full((4, 4), 1, np.uint8)).save(place / f"{photo.path.stem}.png")
    made = scenery_set(root, tmp_path / "work", "shades", frozenset())
    assert made.names == ["dog", "cat", *AGREED_SCENERY] and made.open == frozenset(AGREED_SCENERY)
    assert made.train[0].labels()[0].tolist() == [made.names.index("grass"), 0, 1, IGNORE]
    assert [photo.path for photo in made.held] == [photo.path for photo in own.held]
    write_set(tmp_path, "0\tother\t\tnone\n1\tsky\t\tstuff\n2\tcat\t\tthing\n255\tedge\t\tignore\n", "skies")
    with pytest.raises(DataError, match="sky is labelled there by hand"):
        scenery_set(root, tmp_path / "work", "skies", frozenset())


def test_distractors_are_wrong_where_a_class_is_labelled_unless_they_may_be_said_of_it():
    known = {"dog": [1.0, 0.0], "hound": [0.9, 0.4], "anvil": [0.0, 0.0, 1.0]}
    ask = asker(Habits(subset=0, umbrella=0, distractors=1, most_distractors=400), ["hound", "anvil", "wheel", "animal"], known=known)
    assert ask.vocabulary == ["hound", "anvil"]  # a wheel belongs to something, an animal is an umbrella word
    seen = 0
    for n in range(50):
        question = ask.draw(np.ones(5, bool), np.random.default_rng(n))
        for k, word in enumerate(question.words):
            if word in ("hound", "anvil"):
                assert question.told[0, k] == (word == "anvil") and question.told[5, k] == 0 and question.yes[:, k].sum() == 0
                seen += 1
    assert seen > 50


def test_of_a_class_that_is_left_out_its_set_tells_that_it_is_none_of_the_others():
    names = ["wall", "stone wall", "brick wall", "dog", "cat", "coat", "jacket", "pizza", "food"]
    near = {("wall", "stone wall"): 0.75, ("stone wall", "brick wall"): 0.7, ("dog", "cat"): 0.66, ("coat", "jacket"): 0.78, ("pizza", "food"): 0.64}
    cosines = np.array([[near.get((a, b), near.get((b, a), float(a == b))) for b in names] for a in names])
    food = Umbrella(["food", "meal"], "no", frozenset({"pizza"}))
    found = said_of(names, [food], cosines)
    told = {(a, b) for n, a in enumerate(names) for m, b in enumerate(names) if found[n, m] and n != m}
    # A stone wall is a wall, another wall is none of stone; a coat may be called a jacket; a pizza is food, other food no pizza.
    assert told == {("stone wall", "wall"), ("brick wall", "wall"), ("coat", "jacket"), ("jacket", "coat"), ("pizza", "food")}
    known = {"dog": [1.0, 0.0], "cat": [0.66, 0.75], "cake": [0.0, 0.0, 1.0], "pizza": [0.0, 0.0, 0.8, 0.6]}
    ask, met = asker(Habits(subset=1, umbrella=0, distractors=0), known=known), set()
    for n in range(300):
        question = ask.draw(np.ones(5, bool), np.random.default_rng(n))
        plain = [word.lower().removeprefix("the ").removeprefix("an ").removeprefix("a ").rstrip("s") for word in question.words]
        for left, asked, told in (("dog", "cat", 1), ("cake", "pizza", 0)):
            if asked in plain and left not in plain:
                row = ask.names.index(left)
                assert question.told[row, plain.index(asked)] == told and question.wins[row] == len(plain)
                met.add(left)
    assert met == {"dog", "cake"}


def test_names_of_other_sets_are_asked_as_distractors_more_often_than_a_vocabulary():
    rider = Umbrella(["person"], "yes", frozenset({"cyclist", "rider"}))
    own = set_of([["cyclist"], ["dog"]])
    far = [f"gadget {n}" for n in range(300)]
    ask = Asker(own, [rider], far, [], axes({}), Habits(subset=0, umbrella=0, distractors=1), neighbours=("dog", "rider", "zebra", "wheel", "person"))
    assert ask.vocabulary[: ask.neighbours] == ["rider", "zebra"]  # its own classes, parts and umbrella words are none
    drawn = [ask.draw(np.ones(2, bool), np.random.default_rng(n)) for n in range(100)]
    assert sum("zebra" in question.words for question in drawn) > 50
    for question in drawn:
        for word, told in (("rider", [0, 1]), ("zebra", [1, 1])):
            if word in question.words:
                assert question.told[:2, question.words.index(word)].tolist() == told


def test_photos_of_rare_classes_are_drawn_more_often():
    present = np.array([[1, 0]] * 9 + [[1, 1]] + [[0, 0]], bool)
    often = drawn_by_rarity(present, 0.5)
    assert often.sum() == pytest.approx(1) and often[9] / often[10] == pytest.approx(11**0.5)
    assert often[0] / often[10] == pytest.approx((11 / 10) ** 0.5)
    assert drawn_by_rarity(present, 0.0).tolist() == pytest.approx([1 / 11] * 11)


def test_a_class_that_is_left_out_is_none_of_the_words():
    ask = asker(Habits(subset=1, umbrella=0, distractors=0))
    left = 0
    for n in range(100):
        question = ask.draw(np.ones(5, bool), np.random.default_rng(n))
        k = len(question.words)
        assert 1 <= k <= 5 and (question.wins[:5] < k).sum() == k and question.wins[5] == k
        left += k < 5
    assert left > 50


def test_the_loss_is_least_where_the_right_word_or_none_wins():
    ask = asker(Habits(subset=0, umbrella=0, distractors=0), words=(["dog"], ["sky"]))
    question = ask.draw(np.ones(2, bool), np.random.default_rng(0))
    shares, other = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]), torch.tensor([0.0, 0.0, 1.0, 0.0])
    scale, bias, none = torch.tensor(20.0), torch.tensor(-6.0), torch.tensor(0.3)

    def loss(similarity):
        return pixel_loss(torch.tensor(similarity), shares, other, question, torch.ones(2), scale, bias, none, 0.3)

    right, weight = loss([[0.9, 0.0], [0.0, 0.9], [0.0, 0.0], [0.9, 0.9]])
    assert weight == 3 and right < 0.1  # the last patch is not labelled
    for row in range(3):
        wrong = [[0.9, 0.0], [0.0, 0.9], [0.0, 0.0], [0.9, 0.9]]
        wrong[row] = wrong[row][::-1] if row < 2 else [0.9, 0.0]
        assert loss(wrong)[0] > right + 5


def test_teachers_agree_and_captions_do_not_speak_against():
    dog, cat = (next(n for n, words in enumerate(THINGS) if words[0] == name) for name in ("dog", "cat"))
    sky = ADE31.index("sky")

    def shares(classes, value, where):
        made = torch.full((classes, 1, 4), 0.0)
        made[0] = 1.0
        for place, index in where.items():
            made[:, 0, place] = 0.0
            made[index, 0, place], made[0, 0, place] = value, 1 - value
        return made

    first = shares(21, 0.9, {0: dog + 1, 1: cat + 1, 2: dog + 1})
    second = shares(21, 0.9, {0: dog + 1, 1: cat + 1})
    scenery = shares(32, 0.9, {0: sky, 2: sky, 3: sky})
    named = np.zeros(20, bool)
    named[dog] = True
    place_of_sky = len(THINGS) + list(SCENERY).index("sky")
    # Both see a dog that is named; a cat that no caption names; one sees a dog alone, against the sky; nothing against the sky.
    assert joined((first, second), scenery, named)[0].tolist() == [dog, IGNORE, IGNORE, place_of_sky]


def test_the_shipped_umbrella_words_are_readable():
    found = read_umbrellas(ROOT / "export" / "recipes" / "umbrella-words.tsv")
    assert any("animal" in umbrella.words and "zebra" in umbrella.children and umbrella.closed == "several" for umbrella in found)
    assert len({word for umbrella in found for word in umbrella.words}) == sum(len(umbrella.words) for umbrella in found)


def test_a_bundle_gives_its_tower_back(tmp_path):
    import onnxruntime

    path = ROOT / "runtime" / "models" / "mini.esb"
    found = unpack(path)
    tower = ImageTower(found.config)
    load_unpacked(tower, found, str(path))
    content = path.read_bytes()
    manifest = json.loads(content[1040 : 1040 + int.from_bytes(content[12:16], "little")])
    blob = next(blob for blob in manifest["blobs"] if blob["name"] == manifest["image"]["blob"])
    session = onnxruntime.InferenceSession(content[blob["offset"] :][: blob["bytes"]])
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 0.3
    with torch.no_grad():
        own = F.normalize(tower(pixels)[0], dim=-1)
        positions = tower.positions_for(14, 14).numpy()
    other = session.run(["patches"], {"pixels": pixels.numpy(), "positions": positions})[0]
    other = F.normalize(torch.from_numpy(other).reshape(-1, own.shape[1]), dim=-1)
    assert (own * other).sum(-1).mean() > 0.9  # its activations are rounded to eight bits there
    (tmp_path / "part.esb").write_bytes(content[:5000])
    with pytest.raises(TowerError, match="a part of a bundle"):
        unpack(tmp_path / "part.esb")


def test_sets_are_given_with_shares(recipe):
    stage = {"name": "sets", "kind": "sets", "learns": "all", "steps": 1}
    for wrong in ([], ["shades"], ["shades=0"], ["shades=x"]):
        with pytest.raises(RecipeError, match="sets"):
            recipe(stage | {"sets": wrong})
    with pytest.raises(RecipeError, match="sets"):
        recipe({"name": "dense", "kind": "dense", "steps": 1, "sets": ["shades=1"]})
