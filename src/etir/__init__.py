"""etir: a compiler toolkit for online learning in JAX."""
