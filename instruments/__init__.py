"""Instruments for hidden states and traces: what a model that compiles does, and what an online gradient costs."""

from .diagnose import Diagnosis, diagnose
from .heatmap import heatmap
from .maps import ContentMap, PositionMap, content_map, position_map
from .quality import Quality, quality
from .reach import Memory, effective_memory
from .reading import Reading, Table
from .record import record
from .recording import Recording
from .regularisers import Observed, activity, regularised, spike_rate, temporal_activation, with_states
from .symptoms import Symptom
from .units import Units, dead_units, saturation, spike_rates

__all__ = [
    "ContentMap",
    "Diagnosis",
    "Memory",
    "Observed",
    "PositionMap",
    "Quality",
    "Reading",
    "Recording",
    "Symptom",
    "Table",
    "Units",
    "activity",
    "content_map",
    "dead_units",
    "diagnose",
    "effective_memory",
    "heatmap",
    "position_map",
    "quality",
    "record",
    "regularised",
    "saturation",
    "spike_rate",
    "spike_rates",
    "temporal_activation",
    "with_states",
]
