"""Typed clients of our own services: the only place where protos become model values on the caller's side."""
