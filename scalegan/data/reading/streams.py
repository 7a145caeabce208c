"""A game's streams, taken from together at the run's one position."""

from collections.abc import Mapping

from scalegan.data.reading.ffcv_reader import FfcvStream
from scalegan.data.reading.stream import Reals, Stream


class Streams:
    """Batches of every stream, in order; the position is that of all of them."""

    def __init__(self, streams: Mapping[str, Stream | FfcvStream]) -> None:
        self._streams = dict(streams)
        self._first = next(iter(self._streams.values()))

    @property
    def position(self) -> int:
        return self._first.position

    def take(self) -> dict[str, Reals]:
        """The next batch's share of each.

        Raises:
            UserError: where a record is damaged or a worker died.
        """
        return {name: stream.take() for name, stream in self._streams.items()}

    def close(self) -> None:
        """Ends the workers."""
        for stream in self._streams.values():
            stream.close()
