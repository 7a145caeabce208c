"""Networks that enlarge images, from the weights of xinntao/ESRGAN, XPixelGroup/BasicSR and xinntao/Real-ESRGAN.

Their pixels are in [0, 1], ours in [-1, 1]: our network of x is 2 theirs((x + 1) / 2) - 1.
"""

import re

from torch import Tensor

from scalegan.interop.reference import Reference, State, renamed, unwrapped
from scalegan.models import rrdb, srvgg

#: Patterns for our names, and BasicSR's; then the names in ESRGAN's own file, and BasicSR's.
_BASICSR = (
    (r"^first\.", "conv_first."),
    (r"^trunk\.(\d+)\.layers\.(\d+)\.convs\.(\d+)\.", lambda m: f"body.{m[1]}.rdb{int(m[2]) + 1}.conv{int(m[3]) + 1}."),
    (r"^after\.", "conv_body."),
    (r"^up\.(\d+)\.", lambda m: f"conv_up{int(m[1]) + 1}."),
    (r"^high\.", "conv_hr."),
    (r"^last\.", "conv_last."),
)
_ESRGAN = ((r"^RRDB_trunk\.(\d+)\.RDB", r"body.\1.rdb"), (r"^trunk_conv\.", "conv_body."), (r"^upconv", "conv_up"),
           (r"^HRconv\.", "conv_hr."))
_UNSHUFFLED = {1: 1, 4: 2, 16: 4}       # channels that a channel of the image becomes, and the side of the square


def rrdb_generator(state_dict: State) -> rrdb.Generator:
    """From `RRDBNet` of ESRGAN, with the names of its old or new version, or of BasicSR and Real-ESRGAN.

    The first convolution's channels tell whether pixels are unshuffled first, as in networks for scales 1 and 2.
    """
    reference = Reference(_with_basicsr_names(unwrapped(state_dict)), "ESRGAN's RRDBNet")
    width, seen = reference.shape("conv_first.weight", 4)[:2]
    blocks = reference.count(r"body\.(\d+)\.rdb1\.conv1\.weight")
    growth = reference.shape("body.0.rdb1.conv1.weight", 4)[0]
    outputs = reference.shape("conv_last.weight", 4)[0]
    unshuffle = _UNSHUFFLED.get(seen // outputs, 0)
    if seen % outputs or not unshuffle:
        raise ValueError(f"{reference.what}: the first convolution takes {seen} channels, and should take once, 4 or "
                         f"16 times the {outputs} that the last one gives")
    enlarged = 2 ** len(reference.indices(r"conv_up(\d+)\.weight"))
    if enlarged % unshuffle:
        raise ValueError(f"{reference.what}: it enlarges {enlarged} times, less than the squares of {unshuffle} pixels "
                         "that it starts with")

    def build() -> rrdb.Generator:
        return rrdb.Generator(outputs, outputs, enlarged // unshuffle, unshuffle, width, blocks, growth)

    return reference.fill(build, lambda name: reference.take(renamed(name, _BASICSR)))


def srvgg_generator(state_dict: State) -> srvgg.Generator:
    """From `SRVGGNetCompact` of BasicSR and Real-ESRGAN, with its default PReLU."""
    reference = Reference(state_dict, "Real-ESRGAN's SRVGGNetCompact with PReLU")
    width, channels = reference.shape("body.0.weight", 4)[:2]
    reference.shape("body.1.weight", 1)
    last = reference.count(r"body\.(\d+)\.weight") - 1
    enlarged = reference.shape(f"body.{last}.weight", 4)[0]
    scale = round((enlarged / channels) ** 0.5)
    if channels * scale**2 != enlarged:
        raise ValueError(f"{reference.what}: the last convolution gives {enlarged} channels, not a square number for "
                         f"each of {channels}")
    return reference.fill(lambda: srvgg.Generator(channels, scale, width, last // 2 - 1),
                          lambda name: reference.take(name.replace("layers.", "body.")))


def _with_basicsr_names(state: State) -> dict[str, Tensor]:
    if "model.0.weight" not in state:
        return {renamed(name, _ESRGAN): value for name, value in state.items()}
    # ESRGAN's old version numbers the layers: the first, enlargements, and two more.
    numbers = sorted({int(match[1]) for name in state if (match := re.fullmatch(r"model\.(\d+)\.weight", name))})
    names = ["conv_first", *(f"conv_up{number + 1}" for number in range(len(numbers) - 3)), "conv_hr", "conv_last"]
    numbered = {f"model.{number}": name for number, name in zip(numbers, names)}
    rules = ((r"^model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", r"body.\1.rdb\2.conv\3."),
             (r"^model\.1\.sub\.\d+\.(?=\w+$)", "conv_body."),
             (r"^model\.\d+", lambda match: numbered.get(match[0], match[0])))
    return {renamed(name, rules): value for name, value in state.items()}
