"""Couplings of equations and jaxprs: rules keyed by primitive, and their propagation."""

from .analysis import RULES, equation_couplings, has_rule, jaxpr_couplings, nonlinear_rule, refusal, without_rule
from .constants import Constants
from .declared import declare_coupling, elementwise_coupling

__all__ = [
    "RULES",
    "Constants",
    "declare_coupling",
    "elementwise_coupling",
    "equation_couplings",
    "has_rule",
    "jaxpr_couplings",
    "nonlinear_rule",
    "refusal",
    "without_rule",
]
