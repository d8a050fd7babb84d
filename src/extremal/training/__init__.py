"""Data sets, networks and one readable training loop."""

from ._batches import DataBatches, steps_per_epoch
from ._channels import ChannelGroup, Member, Slicer, channel_groups
from ._checkpoint import weights_digest
from ._data import Data, Normaliser, Split
from ._ddp import chosen_device
from ._errors import TrainingError
from ._evaluate import Evaluation, calibration_error, evaluate, measured, scores
from ._fit import Config, Fit, fit, load_run
from ._hooks import Hooks
from ._load import load_data
from ._loop import History, LoopConfig, train
from ._macs import LayerMacs, count_macs
from ._modes import threads_used
from ._networks import network
from ._recalibrate import recalibrate
from ._schedules import schedule, warmup_steps
from ._tensors import load_file, load_tensors, save_tensors, tensor_table, write_tensors
from ._trace import ChannelMap, traced
from ._weights import load_weights

__all__ = [
    "ChannelGroup",
    "ChannelMap",
    "Config",
    "Data",
    "DataBatches",
    "Evaluation",
    "Fit",
    "History",
    "Hooks",
    "LayerMacs",
    "LoopConfig",
    "Member",
    "Normaliser",
    "Slicer",
    "Split",
    "TrainingError",
    "calibration_error",
    "channel_groups",
    "chosen_device",
    "count_macs",
    "evaluate",
    "fit",
    "load_data",
    "load_file",
    "load_run",
    "load_tensors",
    "load_weights",
    "measured",
    "network",
    "recalibrate",
    "save_tensors",
    "schedule",
    "scores",
    "steps_per_epoch",
    "tensor_table",
    "threads_used",
    "traced",
    "train",
    "warmup_steps",
    "weights_digest",
    "write_tensors",
]
