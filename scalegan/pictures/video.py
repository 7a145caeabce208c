"""Videos (.mp4): H.264 by PyAV, which every browser and slide program plays."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from scalegan.errors import UserError
from scalegan.support.files import replacing

_QUALITY = {"crf": "14", "preset": "slow"}      # hard edges of enlarged pixels stay free of visible artefacts


def save_video(path: Path, frames: Iterable[np.ndarray], seconds: float) -> None:
    """Saves uint8 frames, each [H, W, 1 or 3] and all of one size, as a video, `seconds` per frame.

    H.264 halves the resolution of colours, so an odd side gets one more row or column, a copy of the last. The same
    frames give the same file with the same version of PyAV: the encoder has one thread.

    Raises:
        UserError: if PyAV is not installed.
    """
    try:
        import av
    except ImportError:
        raise UserError(f"{path}: videos are written by PyAV: pip install 'scalegan[video]'; or name a .gif") from None
    with replacing(path) as unfinished, av.open(str(unfinished), "w", format="mp4",
                                                options={"movflags": "+faststart"}) as file:
        stream = None
        for frame in frames:
            pixels = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
            pixels = np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
            if stream is None:
                stream = file.add_stream("libx264", rate=1 / Fraction(seconds).limit_denominator(1000),
                                         options=_QUALITY)
                stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], "yuv420p"
                stream.codec_context.thread_count = 1
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        if stream is not None:
            file.mux(stream.encode())
