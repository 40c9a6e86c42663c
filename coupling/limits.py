"""How wide a coupling may be and still be followed by a trace, or probed for its Jacobian."""

SPREAD = 16
"""Couplings where an input position feeds more output positions than this are not followed."""

COLOURS = 64
"""Couplings whose Jacobian takes more pull-backs than this are not followed."""
