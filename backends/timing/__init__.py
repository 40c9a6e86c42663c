"""How long a plan's programs take: the work in them, a model of the device, and seconds."""

from .choice import FOLDS, WINDOWS, Price, choose_fold, choose_window, priced_folds, priced_windows
from .device import DeviceModel
from .kept import device_model, keep_model, model_path, read_model
from .prediction import Seconds, predict

__all__ = [
    "FOLDS",
    "WINDOWS",
    "DeviceModel",
    "Price",
    "Seconds",
    "choose_fold",
    "choose_window",
    "device_model",
    "keep_model",
    "model_path",
    "predict",
    "priced_folds",
    "priced_windows",
    "read_model",
]
