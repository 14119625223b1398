"""Time, chance, threads and the small waiting things that services build on. Layer 2: Trio and L0 only."""
