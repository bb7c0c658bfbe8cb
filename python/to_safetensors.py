"""Turns a PyTorch file of tensors (.pth, .pt) into safetensors, the one format of weights that Waxwork reads.

    python to_safetensors.py pt_inception-2015-12-05-6726825d.pth inception.safetensors
"""

import sys

import torch
from safetensors.torch import save_file

source, target = sys.argv[1:]
# weights_only: nothing in the file is run.
state = torch.load(source, map_location="cpu", weights_only=True)
save_file({name: tensor.contiguous() for name, tensor in state.items()}, target)
print(f"{len(state)} tensors in {target}")
