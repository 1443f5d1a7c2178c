"""What a network runs on, and in which numbers."""

import pytest
from torch_operators import torch

from simsearch.classifier.finetune.device import autocast_for, chosen_device
from simsearch.errors import TrainingError


def test_devices_that_are_not_there_are_refused():
    assert chosen_device("cpu") == torch.device("cpu")
    assert chosen_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(TrainingError, match="there is no device 'gpu'; give auto, cpu or cuda"):
        chosen_device("gpu")
    with pytest.raises(TrainingError, match="torch cannot use a device 'meta' on this machine; give auto, cpu or cuda"):
        chosen_device("meta")
    lacking = "this machine has no CUDA device" if not torch.cuda.is_available() else "torch cannot use a device"
    with pytest.raises(TrainingError, match=lacking):
        chosen_device("cuda:99")


def test_precisions():
    def computed(precision):
        with autocast_for(torch.device("cpu"), precision)():
            return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype

    assert computed("float32") == torch.float32
    assert computed("bfloat16") == torch.bfloat16
    assert computed("auto") in (torch.float32, torch.bfloat16)
    with pytest.raises(TrainingError, match="there is no precision 'half'; give one of auto, float32, bfloat16"):
        computed("half")
