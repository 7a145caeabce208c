"""Nonlinearities, by the name that recipes give them."""

from torch import nn

LEAK = 0.2
ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": lambda: nn.LeakyReLU(LEAK), "elu": nn.ELU, "tanh": nn.Tanh,
               "softplus": nn.Softplus}
