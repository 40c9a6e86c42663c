"""Instruments: watchers of passes that print, time, check, dump and reproduce."""

from .base import Instrument

__all__ = ["Instrument"]
