"""Damage to a file's bytes: of any file, and of those whose format says where it hurts most."""

import io
import json
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random

from tools.fuzzing import trees

Damage = Callable[[bytes, Random], tuple[bytes, str]]
_SIZES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)


def any_bytes(data: bytes, random: Random) -> tuple[bytes, str]:
    """What may happen to any file."""
    size, place = len(data), random.randrange(max(len(data), 1))
    return random.choice([
        lambda: (data[:place], f"cut at byte {place} of {size}"),
        lambda: (data[: size - 1 - place % 16], "the last bytes are missing"),
        lambda: (b"", "empty"),
        lambda: _flipped(data, random),
        lambda: _flipped(data[:200], random, data[200:]),
        lambda: (data[:place] + b"\xff\xfe\x80" + data[place:], f"not UTF-8 at byte {place}"),
        lambda: (data[:place] + bytes(min(512, size - place)) + data[place + 512:], f"zeros from byte {place}"),
        lambda: (data + data[:place], "its beginning again at the end"),
        lambda: (data + bytes(1000), "zeros at the end"),
        lambda: (random.randbytes(size), "random bytes"),
        lambda: (b"\xef\xbb\xbf" + data, "a byte order mark"),
        lambda: _number(data, random, place),
    ])()


def _flipped(data: bytes, random: Random, rest: bytes = b"") -> tuple[bytes, str]:
    changed, count = bytearray(data), random.choice((1, 3, 8))
    places = sorted(random.randrange(max(len(data), 1)) for _ in range(count))
    for place in places if data else ():
        changed[place] ^= 1 << random.randrange(8)
    return bytes(changed) + rest, f"bits flipped in bytes {places}"


def _number(data: bytes, random: Random, place: int) -> tuple[bytes, str]:
    """A binary number of four or eight bytes, which may be a size or an offset, is an absurd one."""
    width, order, value = random.choice((2, 4, 8)), random.choice("<>"), random.choice(_SIZES)
    packed = struct.pack(order + {2: "H", 4: "I", 8: "Q"}[width], value % (1 << 8 * width))
    return data[:place] + packed + data[place + width:], f"the number {value:#x} at byte {place}"


def json_file(data: bytes, random: Random) -> tuple[bytes, str]:
    text, what = trees.damaged(data.decode(), random)
    return text.encode("utf-8", "surrogatepass"), what


def json_lines(data: bytes, random: Random) -> tuple[bytes, str]:
    lines = data.decode().splitlines()
    number = random.randrange(len(lines))
    how = random.choice(["damaged"] * 4 + ["half", "blank", "twice on one"])
    if how == "half":
        lines[number] = lines[number][: random.randrange(len(lines[number]))] + random.choice(("", lines[0]))
    elif how == "blank":
        lines[number] = random.choice(("", " ", "\0", "\x1e"))
    elif how == "twice on one":
        lines[number] *= 2
    else:
        lines[number], how = trees.damaged(lines[number], random)
    return ("\n".join(lines) + random.choice(("", "\n"))).encode(), f"line {number}: {how}"


#: YAML that is not what it seems.
_YAML = {
    "aliases that grow": "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{b}: &{b} [*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a}]\n" for a, b in zip("abcdefgh", "bcdefghi")),
    "an alias of itself": "a: &a\n  b: *a\n", "a list that holds itself": "a: &a [*a]\n",
    "a merge of itself": "a: &a\n  <<: *a\n", "a Python object": "a: !!python/object/apply:os.system ['true']\n",
    "an unknown tag": "a: !thing 1\n", "binary": "a: !!binary xx\n", "a set": "a: !!set {x, y}\n",
    "a date": "a: 2001-01-01\n", "a key that is a list": "[a, b]: 1\n", "a key that is a number": "1: 1\n",
    "a key of null": "null: 1\n", "two documents": "---\na: 1\n---\nb: 2\n", "only a comment": "# nothing\n",
    "a scalar": "x\n", "tabs": "a:\n\tb: 1\n", "an open quote": 'a: "x\n', "deep flow": "a: " + "[" * 3000 + "]" * 3000,
    "deep maps": "a: " + "{a: " * 3000 + "1" + "}" * 3000,
    "deep blocks": "".join(f"{' ' * i}a:\n" for i in range(1500)),
    "an interpolation": "a: ${a}\n", "an unknown resolver": "a: ${oc.nothing:1}\n",
    "an environment": "a: ${oc.env:HOME}\n",
    "an open interpolation": "a: ${\n", "a key with dots": "a.b.c: 1\n", "a sexagesimal number": "a: 1:2:3\n",
    "a long number": "a: " + "9" * 6000 + "\n", "a missing value": "a: ???\n",
}


def yaml_file(data: bytes, random: Random) -> tuple[bytes, str]:
    """One of the odd things at the end or under a key that is known, or one node damaged."""
    import yaml

    if random.random() < 0.4:
        name = random.choice(list(_YAML))
        known = random.choice(("a", "model", "seed", "data", "extends", "optimizer", "environment", "setup"))
        odd = re.sub(r"^a:", f"{known}:", _YAML[name]).encode()
        return (odd if random.random() < 0.5 else data + b"\n" + odd), f"{name}, under {known}"
    tree = yaml.safe_load(data)
    text, what = trees.damaged(json.dumps(tree), random)
    return text.encode("utf-8", "surrogatepass"), what


def safetensors_file(data: bytes, random: Random) -> tuple[bytes, str]:
    """Its header's size, its header, or the JSON inside its metadata."""
    size = struct.unpack("<Q", data[:8])[0]
    if random.random() < 0.15:
        claimed = random.choice((*_SIZES, size - 1, size + 8, 100_000_000))
        return struct.pack("<Q", claimed % (1 << 64)) + data[8:], f"a header of {claimed} bytes"
    header = json.loads(data[8 : 8 + size])
    inside = [key for key, text in header.get("__metadata__", {}).items() if text[:1] in "{["]
    if inside and random.random() < 0.7:
        key = random.choice(inside)
        text, what = trees.damaged(header["__metadata__"][key], random)
        header["__metadata__"][key] = text
        text, what = json.dumps(header), f"metadata {key}: {what}"
    else:
        text, what = trees.damaged(json.dumps(header), random)
    encoded = text.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(encoded)) + encoded + data[8 + size:], what


_WORDS = (b"", b"-1", b"NaN", b"1e400", b"9" * 5000, b"-", "²".encode(), "٣".encode(), b"\0", b"\xff", b"../x", b"1.5",
          b"x " * 1000, b"\n", b"2147483648", b"9" * 25, b"1_0", b"+1")


def text_file(data: bytes, random: Random) -> tuple[bytes, str]:
    """A word, or a line, of a text in columns."""
    words = re.split(rb"(\s+)", data)
    number = random.randrange(0, len(words), 2)
    word = words[number] = random.choice(_WORDS)
    return b"".join(words), f"word {number // 2} is {word[:20]!r}"


def png_file(data: bytes, random: Random) -> tuple[bytes, str]:
    """Claims another size or kind, with the right checksum; or has an odd chunk."""
    head = bytearray(data[16:29])
    how = random.choice(("size", "kind", "chunk"))
    if how == "chunk":
        name = random.choice((b"iCCP", b"zTXt", b"tEXt", b"eXIf", b"acTL", b"fcTL", b"gAMA", b"PLTE", b"tRNS"))
        body = random.choice((b"", b"a\0\0" + zlib.compress(bytes(200 << 20), 1), random.randbytes(40)))
        chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        return data[:33] + chunk + data[33:], f"a chunk {name.decode()} of {len(body)} bytes"
    if how == "size":
        head[:8] = struct.pack(">2I", *(random.choice((0, 1, 5, 16383, 65535, 100_000, 0x7FFFFFFF)) for _ in range(2)))
    else:
        head[8:13] = bytes(random.choice((0, 1, 2, 3, 4, 6, 8, 16, 255)) for _ in range(5))
    body = b"IHDR" + bytes(head)
    return data[:12] + body + struct.pack(">I", zlib.crc32(body)) + data[33:], f"a head of {head.hex()}"


def picture_file(data: bytes, random: Random) -> tuple[bytes, str]:
    """An image whose head, where sizes are, has an absurd number."""
    if data[:4] == b"\x89PNG" and random.random() < 0.8:
        return png_file(data, random)
    return _number(data, random, random.randrange(2, min(len(data), 64)))


def zip_file(data: bytes, random: Random) -> tuple[bytes, str]:
    """Claims of the directory, or members that are not what they seem."""
    begin = data.rindex(b"PK\x05\x06")
    directory = struct.unpack("<I", data[begin + 16 : begin + 20])[0]
    how = random.choice(("directory", "end", "local", "member", "bomb", "names"))
    if how == "directory":
        return _number(data, random, directory + random.randrange(46))
    if how == "end":
        return _number(data, random, begin + random.randrange(4, 22))
    if how == "local":
        return _number(data, random, random.randrange(30))
    made = io.BytesIO(data)
    with zipfile.ZipFile(made, "a", zipfile.ZIP_DEFLATED) as archive:
        if how == "bomb":
            with archive.open("train/a/bomb.png", "w", force_zip64=True) as member:
                for _ in range(64):
                    member.write(bytes(16 << 20))
        elif how == "names":
            for name in ("../outside.png", "/etc/passwd.png", "a\\b.png", "a\nb.png", "x" * 5000 + ".png"):
                archive.writestr(name, b"x")
        else:
            archive.writestr(random.choice(archive.namelist()), random.randbytes(99))
    return made.getvalue(), {"bomb": "a member of 1 GB", "names": "odd names", "member": "a member twice"}[how]


class _Calls:
    def __reduce__(self) -> tuple:
        return print, ("this must not run: Traceback (most recent call last)",)


#: Pickles that ask for what they should not get.
_PICKLES: dict[str, bytes] = {
    "a call": pickle.dumps(_Calls(), 2), "a memo of 2^31 places": b"\x80\x02}r\xff\xff\xff\x7f.",
    "a text of 4 GB": b"\x80\x04X\xff\xff\xff\xff.", "a long of 2 GB": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "bytes of 2^63": b"\x80\x04\x8e" + struct.pack("<Q", (1 << 63) - 1) + b".",
    "a frame of 2^60": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b".",
    "a bytearray of 3 GB": b"\x80\x05\x96" + struct.pack("<Q", 3 << 30) + b".",
    "deep lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "deep tuples": b"\x80\x02)" + b"\x85" * 100_000 + b".",
    "a list in itself": b"\x80\x02]q\0h\0a.", "an empty stack": b"\x80\x02.", "a number": pickle.dumps(3),
    "no text": pickle.dumps(None), "an empty list": pickle.dumps([]), "an empty dictionary": pickle.dumps({}),
    "another protocol": b"\x80\xff}.", "a persistent id": b"\x80\x02U\x01aQ.", "an extension": b"\x80\x02\x82\x01.",
}


def pickle_file(data: bytes, random: Random) -> tuple[bytes, str]:
    name = random.choice(list(_PICKLES))
    return _PICKLES[name], name


def tar_file(data: bytes, random: Random) -> tuple[bytes, str]:
    """The field of a head, with the right checksum; for a tar that is compressed, its first bytes."""
    if data[257:262] != b"ustar":
        return _number(data, random, random.randrange(min(len(data), 40)))
    head = bytearray(data[:512])
    begin, end, name = random.choice(((0, 100, "name"), (124, 136, "size"), (156, 157, "type"), (100, 108, "mode"),
                                      (136, 148, "time"), (157, 257, "link")))
    value = random.choice((b"77777777777\0", b"-1", b"\x80" + bytes(7) + b"\xff" * 4, b"\xff" * 12, b"x" * 12, b"L",
                           b"K", b"2", b"x", b"S", b"g", b"../../x", b"0"))
    head[begin:end] = value.ljust(end - begin, b"\0")[: end - begin]
    head[148:156] = b" " * 8
    head[148:156] = f"{sum(head):06o}\0 ".encode()
    return bytes(head) + data[512:], f"the {name} {value!r} in its first head"
