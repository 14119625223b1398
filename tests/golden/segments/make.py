"""Makes the golden files of the object formats from the samples of tests/support/segments.py.

Run from the top of the tree: python -m tests.golden.segments.make
Only for a new format or a new version: the bytes of a version that was released never change.
"""

from pathlib import Path

from tests.support.segments import formats

if __name__ == "__main__":
    for name, made in formats().items():
        (Path(__file__).parent / name).write_bytes(made.sample)
