"""The committed recipe for a published model, from its import to a bundle, on data laid out as the recipe says; small and random."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from edge_seg_trainer.folder import read_folder
from edge_seg_trainer.recipe import read_recipe
from edge_seg_trainer.smoke import smoke
from edge_seg_trainer.train import Run
from test_layouts import ade, panoptic, voc
from test_parity import DATA, PROGRAM, ROOT, family, needs_program, run
from test_shards import picture, shard

RECIPE = ROOT / "export" / "recipes" / "pe-core-t16.toml"


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """A folder of data as the recipe's head describes it."""
    root = tmp_path / "data"
    (root / "cc3m").mkdir(parents=True)
    shard(
        root / "cc3m" / "00000.tar",
        {f"{n:09d}": {"jpg": picture(20 * n), "txt": b"a photo of a dog on the road", "json": b"{}"} for n in range(8)},
    )
    voc(root)
    ade(root)
    panoptic(root / "coco")
    monkeypatch.setenv("EDGE_SEG_DATA", str(root))
    return root


@needs_program
def test_pe_core_goes_from_its_import_through_both_stages_to_a_bundle(data, tmp_path, capsys):
    start = family("pe-core", tmp_path)
    small = [
        f"start={json.dumps(str(start))}", f"output={json.dumps(str(tmp_path / 'models'))}", f"work={json.dumps(str(tmp_path / 'work'))}",
        "input_px=32", "workers=0", "threads=1", "precision=f32", 'stage.ttd.pairs=["shards:cc3m/{00000..00000}.tar"]', "stage.ttd.shuffle=8",
        "stage.ttd.side_px=32", "stage.ttd.batch=4", "stage.ttd.steps=3", "stage.dense.side_px=32", "stage.dense.batch=4",
        "stage.dense.steps=3", "stage.dense.frozen_blocks=1", "stage.dense.evaluate_every=3",
    ]  # fmt: skip
    assert smoke(read_recipe(RECIPE, small), RECIPE.parent, print) == 0
    assert "stage dense: 3 steps" in capsys.readouterr().out
    Run(read_recipe(RECIPE, small), RECIPE.parent, lambda *_: None).follow()
    before, _ = read_folder(start)
    taught, told = read_folder(tmp_path / "models" / "pe-core-t16-ttd")
    dense, config = read_folder(tmp_path / "models" / "pe-core-t16-dense")
    assert not torch.equal(before.text.blocks[0].mlp.fc1.weight, taught.text.blocks[0].mlp.fc1.weight)
    assert not torch.equal(taught.image.head.pool.mlp.fc1.weight, dense.image.head.pool.mlp.fc1.weight)
    assert torch.equal(taught.image.blocks[0].attn.qkv.weight, dense.image.blocks[0].attn.qkv.weight), "a frozen block"
    assert told["logit_bias"] == -8.0 and config["logit_bias"] != -8.0, "scale and bias learn with the labels"
    run("bundle", str(tmp_path / "models" / "pe-core-t16-dense"), "-o", "tiny.esb", "--weights", "int8-dynamic", folder=tmp_path)
    program = PROGRAM.with_name("edge-seg")
    assert program.is_file() or os.environ.get("EDGE_SEG_TESTS_REQUIRE") != "all", f"{program} is missing"
    if program.is_file():
        words = [program, "segment", DATA / "clip-families" / "picture.png", "--tags", "dog, road", "--model", "tiny.esb"]
        found = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert found.returncode == 0 and json.loads(found.stdout), found.stderr
