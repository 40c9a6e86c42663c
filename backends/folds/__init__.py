"""Folds: many steps of positional traces in one pass over each."""
