"""What is wrong with a picture is its reader's to say: decoders write nothing to stderr."""

import io
import subprocess
import sys

import numpy as np
import pytest
from harness import environment
from PIL import Image

from scalegan.data.picture import read_picture

DAMAGED = """
import io, random
import numpy as np
from PIL import Image
from scalegan.data.picture import read_picture
picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
rejected = 0
for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
    whole = io.BytesIO()
    picture.save(whole, "TIFF", compression=compression)
    for seed in range(60):
        chance, data = random.Random(seed), bytearray(whole.getvalue())
        for _ in range(chance.randint(1, 30)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            read_picture(bytes(data))
        except ValueError:
            rejected += 1
print(rejected)
"""


def test_damaged_tiffs_leave_stderr_empty() -> None:
    done = subprocess.run([sys.executable, "-c", DAMAGED], env=environment(), capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0 and int(done.stdout) > 100
    assert done.stderr == ""


@pytest.mark.parametrize("format, pixels", [("PNG", np.full((4, 4), 40_000, np.uint16)),
                                            ("TIFF", np.full((4, 4), 40_000, np.uint16)),
                                            ("TIFF", np.full((4, 4), 0.5, np.float32))],
                         ids=["a 16-bit PNG", "a 16-bit TIFF", "a TIFF of floats"])
def test_more_than_8_bits_say_how_to_convert(format: str, pixels: np.ndarray) -> None:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, format)
    with pytest.raises(ValueError, match=r"more than 8 bits per channel .*magick IN -depth 8 OUT\.png"):
        read_picture(data.getvalue())
