"""GAT from the weights of hse1032/GAT."""

import math

from torch import Tensor

from scalegan.interop.reference import Reference, State, renamed
from scalegan.models import gat

_ATTENTION = ((r"\.attention\.out\.", ".attn.proj."), (r"\.attention\.", ".attn."), (r"\.mlp\.inner\.", ".mlp.w12."),
              (r"\.mlp\.out\.", ".mlp.w3."))
_OF_G = (*_ATTENTION, (r"\.modulation\.", ".adaLN_modulation.1."), (r"^outputs\.", "final_layers."),
         (r"^mapping\.labels\.weight$", "y_embedder.embedding_table.weight"),
         (r"^mapping\.layers\.0\.", "latent_embedder.0."), (r"^mapping\.layers\.1\.", "latent_embedder.2."),
         (r"^mapping\.w_avg$", "w_avg"))
_OF_D = (*_ATTENTION, (r"\.norm\.weight$", ".norm1.weight"), (r"\.mlp_norm\.", ".norm2."), (r"\.gain$", ".ls_attn"),
         (r"\.mlp_gain$", ".ls_mlp"), (r"^token$", "cls_token"), (r"^embed\.", "x_embedder.proj."),
         (r"^norm\.", "final_layer.0."), (r"^head\.", "final_layer.1."),
         (r"^label_map\.table\.weight$", "y_embedder.embedding_table.weight"),
         (r"^label_map\.layers\.0\.", "y_embedder.latent_embedder.0."),
         (r"^label_map\.layers\.1\.", "y_embedder.latent_embedder.2."))
# Tables of positions; G's embedding of an image, which is multiplied by zero; D's map to another network's features.
_UNUSED = r"^pos_embed$|^feat_rope\.|^x_embedder\.|^proj\."


def gat_generator(state_dict: State) -> gat.Generator:
    """From the `GAT` of hse1032/GAT (models/generator.py)."""
    reference = Reference(state_dict, "hse1032/GAT's GAT", ignored=_UNUSED)
    embedding = reference.shape("x_embedder.proj.weight", 4)
    outputs = reference.count(r"final_layers\.(\d+)\.linear\.weight")
    num_classes, latent_dim = reference.shape("y_embedder.embedding_table.weight", 2)
    channels, patch = embedding[1:3]

    def tensor_for(name: str) -> Tensor:
        found = reference.take(renamed(name, _OF_G))
        if name.startswith("outputs.") and ".linear." in name:      # [p, q, C] to [C, p, q]
            found = found.unflatten(0, (patch, patch, channels)).movedim(2, 0).flatten(0, 2)
        elif name == "mapping.layers.0.weight" and found.shape[1] != 2 * latent_dim:
            raise ValueError(f"{reference.what}: 'latent_embedder.0.weight' should have {2 * latent_dim} inputs, but "
                             f"has {found.shape[1]}")
        return found

    return reference.fill(lambda: gat.Generator(
        _samples(reference, channels, patch), outputs=outputs, latent_dim=latent_dim, num_classes=num_classes,
        **_blocks(reference, embedding)), tensor_for)


def gat_discriminator(state_dict: State, levels: int = 4) -> gat.Discriminator:
    """From the `GATD` of hse1032/GAT (models/discriminator.py).

    Args:
        levels: the generator's outputs, which D sees joined on channels.
    """
    reference = Reference(state_dict, "hse1032/GAT's GATD", ignored=_UNUSED.replace("|^x_embedder\\.", ""))
    embedding = reference.shape("x_embedder.proj.weight", 4)
    num_classes, label_dim = reference.shape("y_embedder.embedding_table.weight", 2)
    if embedding[1] % levels:
        raise ValueError(f"{reference.what}: its {embedding[1]} channels are not those of {levels} levels; set levels")

    def tensor_for(name: str) -> Tensor:
        found = reference.take(renamed(name, _OF_D))
        return found.flatten(1) if name == "embed.weight" else found

    return reference.fill(lambda: gat.Discriminator(
        _samples(reference, embedding[1] // levels, embedding[2]), levels=levels, label_dim=label_dim,
        num_classes=num_classes, **_blocks(reference, embedding)), tensor_for)


def _samples(reference: Reference, channels: int, patch: int) -> tuple[int, int, int]:
    """Shape of a sample, which is square, from the table of positions."""
    tokens = reference.shape("pos_embed", 3)[1]
    side = math.isqrt(tokens)
    if side**2 != tokens:
        raise ValueError(f"{reference.what}: its {tokens} positions are not those of a square sample")
    return channels, side * patch, side * patch


def _blocks(reference: Reference, embedding: tuple[int, ...]) -> dict[str, int]:
    width, head = embedding[0], reference.shape("blocks.0.attn.q_norm.weight", 1)[0]
    return dict(depth=reference.count(r"blocks\.(\d+)\.attn\.qkv\.weight"), width=width, heads=width // head,
                patch=embedding[2])
