"""A game's streams, which advance together: they share the run's position."""

from collections.abc import Mapping

from scalegan.data.reading.ffcv_reader import FfcvStream
from scalegan.data.reading.stream import StoredBatch, Stream


class Streams:
    """Takes batches from every stream, in order; all are at the same position."""

    def __init__(self, streams: Mapping[str, Stream | FfcvStream]) -> None:
        self._streams = dict(streams)
        self._first = next(iter(self._streams.values()))

    @property
    def position(self) -> int:
        return self._first.position

    def take(self) -> dict[str, StoredBatch]:
        """Each stream's share of the next batch.

        Raises:
            UserError: if a record is damaged or a worker died.
        """
        return {name: stream.take() for name, stream in self._streams.items()}

    def close(self) -> None:
        """Stops the workers."""
        for stream in self._streams.values():
            stream.close()
