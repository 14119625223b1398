"""What counts as bytes in the parsers and writers of layer 1."""

from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Bytes in memory; a memoryview is one-dimensional and of bytes."""
