"""The words for marks: what a step can be told each time beside its inputs."""

from __future__ import annotations

STEP, SAMPLE = "step", "sample"
EACH = (STEP, SAMPLE)
"""What there is a mark for: each step, or each sample of each step."""

MARKS = ("mask", "reset")
"""Whether the step counts; whether a sequence begins with it. In the order in which a step takes them."""
