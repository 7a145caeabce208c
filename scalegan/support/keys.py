"""Keys of counter-based random streams."""

import hashlib


def key_of(*parts: object) -> int:
    """A 64-bit key from any printable parts; different parts give a different stream."""
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(errors="surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
