"""Couplings of equations and jaxprs: rules keyed by primitive, and their propagation."""

from .analysis import RULES, equation_couplings, has_rule, jaxpr_couplings, nonlinear_rule, without_rule
from .constants import Constants

__all__ = ["RULES", "Constants", "equation_couplings", "has_rule", "jaxpr_couplings", "nonlinear_rule", "without_rule"]
