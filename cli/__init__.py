"""irdump: look at what the compiler makes of a model, from a terminal."""
