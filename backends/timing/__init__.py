"""How long a plan's programs take: the work in them, a model of the device, and seconds."""

from .choice import WINDOWS, Price, choose_window, priced_windows
from .device import DeviceModel
from .kept import device_model, keep_model, model_path, read_model
from .prediction import Seconds, predict

__all__ = [
    "WINDOWS",
    "DeviceModel",
    "Price",
    "Seconds",
    "choose_window",
    "device_model",
    "keep_model",
    "model_path",
    "predict",
    "priced_windows",
    "read_model",
]
