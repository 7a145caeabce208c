"""What `accelerate launch` passes on in the environment: `no` leaves it to the recipe, a contradiction is refused."""

import os
from pathlib import Path

import pytest
import torch
from harness import train

from scalegan.config import Engine
from scalegan.engines import choice
from scalegan.engines.precision import slow_precision
from scalegan.errors import RecipeError


@pytest.mark.parametrize("recipe, wish, found", [
    *((precision, wish, precision) for precision in ("auto", "fp32", "bf16", "fp16")
      for wish in ("no", "NO", "", None)),
    ("bf16", "bf16", "bf16"), ("fp16", "fp16", "fp16"), ("auto", "bf16", "bf16"), ("auto", "fp16", "fp16")])
def test_precisions_that_agree(recipe: str, wish: str | None, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if wish is not None:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", wish)
    assert choice.precision_asked(recipe) == found


@pytest.mark.parametrize("recipe, wish", [("fp32", "fp16"), ("fp32", "bf16"), ("bf16", "fp16"), ("fp16", "bf16"),
                                          ("fp32", "fp8"), ("auto", "fp8"), ("bf16", "fp8"), ("fp32", "int4")])
def test_precisions_that_contradict(recipe: str, wish: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", wish)
    with pytest.raises(RecipeError, match=f"--mixed_precision={wish} contradicts precision={recipe};"):
        choice.precision_asked(recipe)


@pytest.mark.parametrize("variable", ["ACCELERATE_DYNAMO_BACKEND", "DYNAMO_BACKEND"])
@pytest.mark.parametrize("compiled, wish, agrees", [
    (False, "NO", True), (True, "NO", True), (True, "no", True), (True, "INDUCTOR", True), (False, "INDUCTOR", False),
    (False, "inductor", False), (True, "EAGER", False), (False, "CUDAGRAPHS", False)])
def test_compilers(variable: str, compiled: bool, wish: str, agrees: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, wish)
    if agrees:
        assert choice.apply_launcher_choice(Engine(compile=compiled)) == Engine(compile=compiled)
        return
    with pytest.raises(RecipeError, match=f"--dynamo_backend={wish.lower()} contradicts engine.compile="
                                          f"{str(compiled).lower()};"):
        choice.apply_launcher_choice(Engine(compile=compiled))


@pytest.mark.parametrize("precision, device, slow", [("fp16", "cpu", True), ("fp16", "cuda", False),
                                                     ("fp32", "cpu", False), ("bf16", "cpu", False)])
def test_fp16_on_a_cpu_is_slow(precision: str, device: str, slow: bool) -> None:
    assert (slow_precision(precision, torch.device(device)) is not None) == slow


@pytest.mark.slow
def test_a_contradiction_ends_training_with_code_2_and_one_line(tiny_recipe: Path, tmp_path: Path) -> None:
    done = train(f"recipe={tiny_recipe}", f"run_dir={tmp_path / 'run'}", code=2, ACCELERATE_MIXED_PRECISION="fp16",
                 ACCELERATE_DYNAMO_BACKEND="NO")
    assert "--mixed_precision=fp16 contradicts precision=fp32" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_fsdp_is_recognised_as_deepspeed_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert choice.apply_launcher_choice(Engine()).name == "fsdp"
    assert "ACCELERATE_USE_FSDP" not in os.environ      # or Accelerate would wrap networks itself


@pytest.mark.parametrize("variable, engine, problem", [
    ("ACCELERATE_USE_FSDP", Engine(name="deepspeed"), "--use_fsdp contradicts engine.name=deepspeed"),
    ("ACCELERATE_USE_FSDP", Engine(reduction="tree"), "--use_fsdp: engine.reduction=tree"),
    ("ACCELERATE_USE_DEEPSPEED", Engine(name="fsdp"), "--use_deepspeed contradicts engine.name=fsdp")])
def test_engines_that_contradict(variable: str, engine: Engine, problem: str,
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "true")
    with pytest.raises(RecipeError, match=problem):
        choice.apply_launcher_choice(engine)
