"""The model card of published networks: what a run says of itself; the licence is its author's to choose."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

_LICENCE = "## Licence"
_TO_CHOOSE = ("license: unknown  # to be chosen by the author",)
_PLACEHOLDER = """

> **The author has not chosen a licence yet.** Until this section names one, ask before you use these weights. Author:
> write the licence here, mind that of the data, and put its identifier at the top of this file (`license:`). A later
> `scalegan push` keeps both.
"""
_MADE_UP = "-"      # a key that networks without a run lack


def card(config: Mapping[str, Any], parameters: Mapping[str, int], name: str, checkpoint: str | None,
         results: Sequence[Mapping[str, Any]], before: str = "") -> str:
    """The text of README.md.

    Args:
        config: contents of config.json.
        parameters: how many each network has.
        name: USER/NAME, or a folder's.
        checkpoint: digest of the run's whole checkpoint, if there is one.
        results: evaluations of these weights; `asked` is how samples were asked for, such as ', psi 0.7'.
        before: the card to be replaced, whose licence stays.
    """
    recipe, default = config["recipe"], config["networks"][config["default"]]
    licence, section = _licence_of(before)
    image_in = default["inputs"][0] != "z"
    tags = dict.fromkeys(("gan", "scalegan", recipe["model"]["name"], recipe["game"]["name"]))
    front = ["---", *licence, "library_name: scalegan",
             f"pipeline_tag: {'image-to-image' if image_in else 'unconditional-image-generation'}",
             f"tags: [{', '.join(tags)}]", "---"]
    facts = {
        "data": "; ".join(_data_of(stream, recipe, spec) for stream, spec in config["specs"].items()),
        "game, model": f"{recipe['game']['name']}, {recipe['model']['name']}",
        "training": f"{config['images']:,} images seen, seed {config['seed']}",
        "weights": ", ".join(f"{network}: {count:,} parameters" for network, count in parameters.items())
                   + (f"; moving averages of {', '.join(config['averaged'])}" if config.get("averaged") else ""),
        "SHA-256 of the weights": f"`{config['digest']}`",
        **({"SHA-256 of the run's checkpoint": f"`{checkpoint}`"} if checkpoint else {}),
        "made with": f"ScaleGAN {config['scalegan_version']}",
    }
    parts = ["\n".join(front), f"# {name}", _what(config), "| | |\n| --- | --- |\n" + "\n".join(
        f"| {key} | {_cell(value)} |" for key, value in facts.items()),
        "## Use", _use(config, name, image_in), "## Evaluation", _evaluation(results),
        "## Recipe", "```yaml\n" + yaml.safe_dump(recipe, sort_keys=False, width=100, default_flow_style=None)
        + "```", _LICENCE]
    return "\n\n".join(parts) + (section or _PLACEHOLDER)


def _licence_of(card: str) -> tuple[Sequence[str], str]:
    """The lines at the top of a card that name its licence, and what follows the heading of its section."""
    top = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    lines = re.findall(r"^license.*$", top[1], re.MULTILINE) if top else []
    return lines or _TO_CHOOSE, card.partition(f"\n{_LICENCE}")[2]


def _what(config: Mapping[str, Any]) -> str:
    spec = config["specs"][config["target"] or next(iter(config["specs"]))]
    names = spec.get("label_names") or ()
    size = " x ".join(map(str, reversed(spec["shape"][1:]))) or str(spec["shape"][0])
    labels = f" Labels: {', '.join(map(str, names[:40]))}{', ...' if len(names) > 40 else ''}." if names else ""
    if latents := spec.get("latents"):
        channels, height, width = latents["image"]
        return (f"A generative adversarial network in latents of {spec['shape'][0]} x {size}, trained with ScaleGAN. "
                f"It comes with their decoder, and makes images of {width} x {height} px, {channels} channels.{labels}")
    return (f"A generative adversarial network, trained with ScaleGAN. Its samples are of the kind '{spec['kind']}', "
            f"{size} px, {spec['shape'][0]} channels.{labels}")


def _data_of(stream: str, recipe: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
    """What a stream's data is called and how it is used; its content's digest says which data it was."""
    data = {**recipe["data"], **recipe.get("streams", {}).get(stream, {})}
    if data["path"] == _MADE_UP:
        return f"{stream}: not known, as the weights come without a run"
    content = f", content `{data['content']}`" if data.get("content") else ""
    return f"{stream}: {data['path']}, shape {list(spec['shape'])}, labels: {data.get('labels', 'none')}{content}"


def _use(config: Mapping[str, Any], name: str, image_in: bool) -> str:
    path = f"hf://{name}" if "/" in name else name
    verb = "apply {} photos/ --out answers" if image_in else "sample {} --seeds 0-63 --out samples"
    inputs = "\n".join(f"- `{network}`: {', '.join(each['inputs'])} -> {each['output']}"
                       for network, each in config["networks"].items())
    return (f"```bash\npip install 'scalegan[hub]'\nscalegan {verb.format(path)}\n```\n\n"
            f"```python\nimport scalegan\nnetwork = scalegan.load(\"{path}\")     # a torch.nn.Module, in eval mode\n"
            f"```\n\nNetworks, their inputs and output; `load` gives `{config['default']}`, and "
            f"`load(..., network=NAME)` another:\n\n{inputs}\n\n"
            "No pickles are read: weights and description are in `model.safetensors`, and `config.json` repeats the "
            "description.")


def _evaluation(results: Sequence[Mapping[str, Any]]) -> str:
    if not results:
        return "These weights were not evaluated."
    rows = []
    for row in results:
        data, extractor = row.get("data") or {}, row.get("extractor") or {}
        against = f"{data.get('path', 'no data')}" + (
            f" ({data['num_images']:,} images)" if data.get("num_images") else "")
        samples = f"{row.get('num_samples', 0):,}{row.get('asked', '')}"
        rows += [f"| {metric} | {value:.5g} | {extractor.get('name', '-')} | {_cell(against)} | "
                 f"{_cell(samples)} |" for metric, value in row["metrics"].items()
                 if isinstance(value, (int, float))]
    return ("| metric | value | features | against | samples |\n| --- | --- | --- | --- | --- |\n" + "\n".join(rows)
            + "\n\nFigures can be compared only where features, data and the number of samples are the same.")


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
