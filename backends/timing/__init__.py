"""How long a plan's programs take: the work in them, a model of the device, and seconds."""

from .choice import WINDOWS, Choosing, choose_window
from .device import DeviceModel
from .kept import device_model, keep_model, model_path, read_model
from .prediction import Seconds, predict

__all__ = [
    "WINDOWS",
    "Choosing",
    "DeviceModel",
    "Seconds",
    "choose_window",
    "device_model",
    "keep_model",
    "model_path",
    "predict",
    "read_model",
]
