"""What a qcow2 header names besides itself. The bytes are laid out by hand, as QEMU's docs/interop/qcow2.txt says."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from tools.domain.qcow2 import read_header


def image(*, version: int = 3, incompatible: int = 0, data_file: str = "", backing: str = "") -> bytes:
    extensions = b""
    if data_file:
        name = data_file.encode()
        extensions += struct.pack(">II", 0x44415441, len(name)) + name + bytes(-len(name) % 8)
    extensions += bytes(8)
    length = 104 if version >= 3 else 72
    at = length + len(extensions) if backing else 0
    head = b"QFI\xfb" + struct.pack(">IQI", version, at, len(backing)) + bytes(72 - 20)
    if version >= 3:
        head += struct.pack(">QQQII", incompatible, 0, 0, 4, length)
    return head + extensions + backing.encode()


def test_an_image_that_stands_alone():
    header = read_header(image())
    assert header is not None
    assert (header.version, header.backing, header.external_data, header.data_file) == (3, "", False, "")


def test_an_external_data_file_is_found_by_bit_and_by_name():
    header = read_header(image(incompatible=4, data_file="/srv/ext.raw"))
    assert header is not None
    assert (header.external_data, header.data_file) == (True, "/srv/ext.raw")
    unnamed = read_header(image(incompatible=4))
    assert unnamed is not None
    assert unnamed.external_data


def test_other_features_are_no_data_file():
    header = read_header(image(incompatible=1 | 2 | 8 | 16))
    assert header is not None
    assert not header.external_data


def test_the_image_below_is_named():
    for version in (2, 3):
        header = read_header(image(version=version, backing="/images/base.raw"))
        assert header is not None
        assert header.backing == "/images/base.raw"


@settings(deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=64))
def test_no_bytes_make_it_fail(noise: bytes, more: bytes):
    for content in (noise, b"QFI\xfb" + noise, image()[: len(noise)] + more, image(incompatible=4) + noise):
        read_header(content)
