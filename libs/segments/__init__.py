"""Object formats and keys (design section 5), and the pure rules of ending a chain (section 3).

Layer 1: bytes in, values out; only Corrupt comes out of stored bytes.
"""
