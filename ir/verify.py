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

RULES: tuple[Rule, ...] = (
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
    certificate.every_parameter_has_one_label,
    certificate.inexact_labels_have_reasons,
    certificate.window_and_credit_are_known,
    program.operations_read_what_is_computed,
    program.values_are_computed_once,
    program.traces_are_advanced,
    program.operations_stay_in_the_transition,
    operations_fit_their_operands,
    operations_run_in_their_phase,
)


def verify(transition: Transition) -> list[Diagnostic]:
    """What is wrong with a transition; an empty list where it is well formed. Never raises on a broken one.

    Where a field holds something of another type than its annotation says, such findings are the only ones: nothing
    else could be read.
    """
    sheet = Sheet(transition)
    malformed = list(fields_hold_their_types(transition, sheet))
    if malformed:
        return malformed
    return [finding for rule in RULES for finding in rule(transition, sheet)]


def check(transition: Transition) -> None:
    """Nothing, for a well-formed transition; raises EtirError with every finding for another."""
    findings = verify(transition)
    if findings:
        raise EtirError(findings)
