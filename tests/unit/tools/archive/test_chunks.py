"""Chunks that were not written by lifeboat: nothing larger than their record is ever opened."""

from __future__ import annotations

import hashlib
import tracemalloc

import pytest
import zstandard

from models.errors import ArchiveFailed
from tools.archive.chunks import ChunkRecord, decode


def _record(stored: bytes, original: bytes) -> ChunkRecord:
    return ChunkRecord(len(stored), len(original), hashlib.sha256(original).digest(), hashlib.sha256(stored).digest())


@pytest.mark.parametrize("states_its_size", [True, False])
def test_a_small_chunk_that_opens_to_a_gibibyte_is_refused(states_its_size: bool) -> None:
    compressor = zstandard.ZstdCompressor(write_content_size=states_its_size).compressobj(
        size=256 << 20 if states_its_size else -1
    )
    bomb = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(256)) + compressor.flush()
    assert len(bomb) < 64 << 10
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveFailed):
            decode(bomb, 0, _record(bomb, bytes(4096)), context="archive x vda", cipher=None)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
