"""Couplings of equations and jaxprs: rules keyed by primitive, and their propagation."""

from .analysis import RULES, equation_couplings, has_rule, jaxpr_couplings, without_rule
from .constants import Constants

__all__ = ["RULES", "Constants", "equation_couplings", "has_rule", "jaxpr_couplings", "without_rule"]
