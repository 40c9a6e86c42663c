"""Instruments: watchers of passes that print, time, check, dump and reproduce."""

from .base import Instrument
from .dump import CrashReproducer, DumpDirectory, reproducer_pipeline
from .print_ir import PrintIR
from .timing import Timing
from .verify_each import SameObject, VerifyEach

__all__ = [
    "CrashReproducer",
    "DumpDirectory",
    "Instrument",
    "PrintIR",
    "SameObject",
    "Timing",
    "VerifyEach",
    "reproducer_pipeline",
]
