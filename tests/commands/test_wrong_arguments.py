"""Wrong arguments of every verb: one line that says what to write instead, exit code 2, and nothing is written."""

import sys
from pathlib import Path

import pytest
from harness import make_set

from scalegan import cli

ROWS: list[tuple[str, str]] = [
    ("sample RUN --seeds 5-3", "'5-3' runs backwards; write 3-5"),
    ("sample RUN --seeds 1,9-7", "'9-7' runs backwards"),
    ("sample RUN --seeds=-1", "not of the form 0-63"),
    ("sample RUN --seeds ²", "not of the form 0-63"),
    ("sample RUN --seeds 0-99999999999", "more than 10,000,000 seeds"),
    ("sample RUN --seeds 9223372036854775808", "too large for a seed"),
    ("sample RUN --columns=-1", "'-1' is not a whole number from 1 to 1,000"),
    ("sample RUN --columns 0", "from 1 to 1,000"),
    ("sample RUN --columns 100000", "from 1 to 1,000"),
    ("sample RUN --psi nan", "'nan' is not a number"),
    ("sample RUN --psi 0.5", "truncation"),
    ("sample RUN --classes 9", "the classes of RUN are 0 to 3 (a, b, c, d)"),
    ("sample RUN --classes 0-9", "are 0 to 3"),
    ("sample RUN --classes 2-1", "are 0 to 3"),
    ("sample RUN --classes a,e", "--classes e: the classes of RUN are 0 to 3 (a, b, c, d)"),
    ("sample RUN --classes a,,b", "not of the form 3,7 or cat,dog"),
    ("sample RUN --standing-statistics=-1", "'-1' is not a whole number"),
    ("sample RUN --out grid.png", "named like a file, but this command writes a folder"),
    ("sample RUN --network Q", "has no network 'Q'"),
    ("sample RUN --network D", "has no network 'D'"),
    ("sample RUN --ema short", "no average 'short'"),
    ("sample", "the following arguments are required: run"),
    ("export RUN --out signs.tflite", "--out signs.tflite: use .safetensors"),
    ("export RUN --out signs.pt", "use .safetensors"),
    ("export RUN --out signs", "use .safetensors"),
    ("export RUN --network Q", "has no network 'Q'"),
    ("export RUN --ema-sigma-rel inf", "'inf' is not a number"),
    ("convert x.pth --family dcgan --out x.onnx", "--out x.onnx: use .safetensors"),
    ("convert x.pth --family dcgan --out x.safetensors bn_eps=1", "unknown setting"),
    ("convert x.pth --family dcgan --out x.safetensors --images=-1", "'-1' is not a whole number"),
    ("convert x.pth --family dcgan --out x.safetensors --resolution 0", "not a positive whole number"),
    ("interpolate RUN --out walk.avi", "--out walk.avi: use .png for a strip or .gif for an animation"),
    ("interpolate RUN --steps 0", "one step"),
    ("interpolate RUN --steps=-1", "not a whole number"),
    ("interpolate RUN --seeds 3", "two seeds"),
    ("interpolate RUN --truncation 0.5,1 --steps 4", "leave out --steps"),
    ("interpolate RUN --text-encoder x.pt", "has not learnt from captions"),
    ("interpolate RUN --seeds 0-999999", "images of 16 px in one file"),
    ("interpolate RUN --class 9", "are 0 to 3"),
    ("interpolate RUN --class e", "(a, b, c, d)"),
    ("edit RUN --direction 0=1 --out strip.jpg", "--out strip.jpg: use .png"),
    ("edit RUN --direction x", "such as Smiling=+2"),
    ("edit RUN", "name what to do: --direction NAME=+2, --arithmetic '0,1,2 - 3,4,5 + 6,7,8', or --paint FILE"),
    ("directions RUN --unsupervised pca", "invalid choice: 'pca'"),
    ("directions RUN", "one of the arguments --data --unsupervised is required"),
    ("directions RUN --unsupervised sefa --out x.json", "--out x.json: use .safetensors"),
    ("directions RUN --unsupervised sefa --num-samples 3", "'3' is not a whole number from 64 to 1,000,000"),
    ("directions RUN --unsupervised sefa --num-samples 9999999999", "from 64 to 1,000,000"),
    ("apply RUN PHOTOS --out out", "takes z, condition, and does not turn images of any size into images"),
    ("upscale RUN PHOTOS --out grid.png", "named like a file, but this command writes a folder"),
    ("translate RUN PHOTOS --out out --direction A2B", "'A2B' is neither A_to_B nor B_to_A"),
    ("translate RUN PHOTOS --out out --compare page.pdf", "--compare page.pdf: use .html"),
    ("faces", "the following arguments are required: recognise|rebuild|transform|generate"),
    ("faces recognize RUN PHOTOS", "invalid choice: 'recognize' (choose from 'recognise', 'rebuild'"),
    ("faces recognise RUN", "the following arguments are required: INPUT"),
    ("faces rebuild RUN PHOTOS", "the following arguments are required: --out"),
    ("faces transform RUN PHOTOS --out out", "the following arguments are required: --set"),
    ("faces transform RUN PHOTOS --out out --set Smiling", "'Smiling' is not NAME=VALUE, such as Smiling=1"),
    ("faces transform RUN PHOTOS --out out --set Smiling=2", "with a number from 0 to 1"),
    ("faces recognise RUN PHOTOS --crop none", "invalid choice: 'none'"),
    ("faces recognise RUN PHOTOS --aligned --out o.json", "named like a file, but this command writes a folder"),
    ("faces recognise RUN PHOTOS --aligned", "has classes, not attributes; give a run with data.labels=attributes"),
    ("faces generate RUN --attributes Smiling", "the following arguments are required: --out"),
    ("faces generate RUN --out out --attributes Smiling,!", "'Smiling,!' is not of the form Smiling,!Male"),
    ("faces generate RUN --out out --attributes Smiling,!Smiling", "name each once"),
    ("faces generate RUN --out out", "has classes, not attributes"),
    ("compare RUN --out page.pdf", "--out page.pdf: use .html"),
    ("study toy --out toy.png", "named like a file"),
    ("study toy --workers 0", "not a positive whole number"),
    ("study toy --updates=-5", "not a positive whole number"),
    ("study toy --seeds 5-3", "runs backwards"),
    ("study toy --objectives hinj", "did you mean 'hinge'?"),
    ("study toy --images 1000", "study toy has no use for --images"),
    ("study toy --test SET", "study toy has no use for --test"),
    ("study faces --data SET --test SET --objectives GAN", "study faces has no use for --objectives"),
    ("study colorization --data SET --test SET --translator-images 9", "has no use for --translator-images"),
    ("evaluate RUN --metrics fdi", "there is no metric 'fdi'"),
    ("evaluate RUN --nearest x.txt", "--nearest x.txt: use .png"),
    ("evaluate RUN --extractor vgg", "there is no extractor 'vgg'"),
    ("evaluate RUN --standing-statistics=-3", "not a whole number"),
    ("evaluate RUN --psi 0.5 --num-samples 64", "has no truncation"),
    ("evaluate SET --ema short", "leave out --ema"),
    ("evaluate RUN --metrics fid --kid-subset-size 50", "--kid-subset-size is for kid"),
    ("evaluate RUN --metrics fid --lpips vgg16.pt", "--lpips is for ppl"),
    ("push RUN --to-folder out --private", "--private is for repositories"),
    ("plan quickstart --mfu 3", "--mfu 3"),
    ("plan quickstart --gpus 0", "not a list of numbers"),
    ("plan --table corpora --gpus 8", "leave out --gpus"),
    ("plan quickstart --classes 0", "not a positive whole number"),
    ("plan quickstat", "there is no recipe 'quickstat'"),
    ("prepare PHOTOS out.zip", "named like a file"),
    ("prepare PHOTOS out --quality 0", "'0' is not a whole number from 1 to 100"),
    ("prepare PHOTOS out --labels identity", "--labels identity: a folder has classes"),
    ("prepare PHOTOS out --split train", "--split is for celeba and cifar10"),
    ("prepare PHOTOS out --max-rejected 1.5", "'1.5' is neither a whole number, such as 3, nor a share"),
    ("prepare PHOTOS out --max-rejected=-1", "'-1' is neither"),
    ("prepare PHOTOS out --max-rejected nan", "'nan' is neither"),
    ("prepare PHOTOS out --max-rejected 101%", "'101%' is neither"),
    ("prepare PHOTOS out --validation 1", "'1' is not a fraction of at least 0 and below 1"),
    ("preview data.path=PHOTOS augment.name=ada --out x.jpg", "--out x.jpg: use .png"),
    ("preview", "the following arguments are required: key=value"),
    ("preview data.path PHOTOS", "'data.path' is not of the form key=value"),
    ("prepare PHOTOS out --part 3/2", "is not K/N"),
    ("prepare PHOTOS PHOTOS out --kind pairs", "takes one SOURCE; name a folder with two sub-folders, A and B"),
    ("prepare PHOTOS", "give SOURCE and DEST"),
    ("stop RUN --timeout nan", "'nan' is not a number"),
    ("status", "the following arguments are required: RUN"),
    ("inspect RUN --bogus", "unrecognized arguments: --bogus"),
    ("recipes quickstart", "takes no arguments"),
    ("submit recipe=quickstart profile=local nodes=²", "nodes=²: should be a positive number"),
    ("train recipe=quickstart seed", "'seed' is not of the form key=value"),
    ("trian", "there is no command 'trian' (`scalegan --help` lists them); did you mean 'train'?"),
]


@pytest.fixture(scope="module")
def places(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("photos")
    (folder / "x.png").write_bytes(b"never read")
    return {"RUN": finished_run, "PHOTOS": folder, "SET": make_set(tmp_path_factory.mktemp("set") / "set", (8,))}


@pytest.mark.parametrize("line, says", ROWS, ids=[line for line, _ in ROWS])
def test_one_line_and_exit_code_2(line: str, says: str, places: dict[str, Path], tmp_path: Path,
                                  monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["scalegan", *(str(places.get(word, word)) for word in line.split())])
    try:
        code = cli.main()
    except SystemExit as stopped:
        code = stopped.code
    said = capsys.readouterr().err
    assert (code, said.count("\n")) == (2, 1), said
    assert says.replace("of RUN", f"of {places['RUN']}") in said
    assert not list(tmp_path.iterdir())
