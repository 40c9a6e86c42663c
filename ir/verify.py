"""Whether a transition is well formed: a table of rules, each a generator of findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .checks import certificate, groups, program, sites, structure
from .checks.fields import fields_hold_their_types
from .checks.operations import operations_fit_their_operands, operations_run_in_their_phase
from .checks.sheet import Sheet
from .diagnostics import Diagnostic, EtirError
from .transition import Transition

Rule = Callable[[Transition, Sheet], Iterator[Diagnostic]]

MODEL: tuple[Rule, ...] = (
    structure.paths_are_unique,
    structure.arguments_are_distinct,
    structure.state_keeps_its_type,
    structure.results_are_computed,
    structure.regions_read_known_values,
    structure.regions_fit_their_bodies,
    structure.weights_come_from_parameters,
    sites.sites_use_weights,
    sites.sites_stand_in_the_step,
    sites.expressions_fit_their_operands,
    groups.groups_hold_hidden_states,
    groups.groups_have_one_shape,
    groups.jacobians_stay_in_their_group,
    groups.associations_name_their_ends,
    groups.associations_fit_their_group,
)
"""About what a plan is written for."""

PROGRAM: tuple[Rule, ...] = (
    certificate.every_parameter_has_one_label,
    certificate.inexact_labels_have_reasons,
    certificate.window_and_credit_are_known,
    program.rules_are_of_the_parameters,
    program.signals_are_arguments,
    program.operations_read_what_is_computed,
    program.values_are_computed_once,
    program.traces_are_advanced,
    program.operations_stay_in_the_transition,
    operations_run_in_their_phase,
)
"""About a plan as a whole, and its labels."""

OPERATIONS: tuple[Rule, ...] = (operations_fit_their_operands,)
"""What each operation says of itself. It may ask anything of a model that is well formed."""

RULES = (*MODEL, *PROGRAM, *OPERATIONS)


def verify(transition: Transition) -> list[Diagnostic]:
    """What is wrong with a transition; an empty list where it is well formed. Never raises on a broken one.

    Where a field holds something of another type than its annotation says, such findings are the only ones: nothing
    else could be read. Operations are asked about their operands where the model that they are for is well formed.
    """
    sheet = Sheet(transition)
    malformed = list(fields_hold_their_types(transition, sheet))
    if malformed:
        return malformed
    found = [finding for rule in MODEL for finding in rule(transition, sheet)]
    rest = PROGRAM if found else (*PROGRAM, *OPERATIONS)
    return found + [finding for rule in rest for finding in rule(transition, sheet)]


def check(transition: Transition) -> None:
    """Nothing, for a well-formed transition; raises EtirError with every finding for another."""
    findings = verify(transition)
    if findings:
        raise EtirError(findings)
