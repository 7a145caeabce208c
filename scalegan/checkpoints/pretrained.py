"""Networks with huggingface_hub's methods: `from_pretrained`, `save_pretrained` and `push_to_hub`."""

from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin
from torch import nn

from scalegan.checkpoints import exports, package
from scalegan.checkpoints.hub import WEIGHTS


class Pretrained(nn.Module, PyTorchModelHubMixin, library_name="scalegan"):
    """A loaded network, called as the network itself is.

    `Pretrained.from_pretrained(FOLDER_OR_USER/NAME, network=None)` reads what `scalegan push` or `save_pretrained`
    wrote; `network` names one of several. `Pretrained(scalegan.load(...)).save_pretrained(FOLDER)` writes it.

    Attributes:
        network: the network.
        about: its description, as `scalegan.load` gives it.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.about = network, network.about
        self.train(network.training)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        return self.network(*inputs, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        package.write({self.about["network"]: self.network}, save_directory)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, revision: str | None, cache_dir: str | Path | None,
                         force_download: bool, local_files_only: bool, token: str | bool | None,
                         network: str | None = None, **others: Any) -> "Pretrained":
        if (Path(model_id) / WEIGHTS).is_file():
            return cls(exports.load(model_id, network))
        from huggingface_hub import hf_hub_download

        path = hf_hub_download(model_id, WEIGHTS, revision=revision, cache_dir=cache_dir, force_download=force_download,
                               local_files_only=local_files_only, token=token)
        return cls(exports.load(path, network))
