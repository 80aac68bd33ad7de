"""What the harness must know of this project.

How far a precision's answer may be from float64's. A format's unit roundoff u is half the gap between neighbours near 1
(bf16 2^-8, fp16 and TF32 2^-11). Multiplying in it rounds three times: both factors and what is written, by u at most
each. Roundings are independent, so that n of them in sequence add as squares, to sqrt(n) u (Higham and Mary 2019, "A
new approach to probabilistic rounding error analysis"); an error is a tensor's, its norm over the float64 run's.

  product    sqrt(3) u: one multiply.
  network    sqrt(27) u: encoder, or prior, and decoder are nine layers in sequence, and normalising between them keeps
             errors as large as they are.
  transformers  sqrt(150) u: eight blocks of six multiplies in sequence, an embedding and a head.
  bodies     sqrt(33) u: the tree of joints is eleven deep, a multiply each.
  loss       4 u: it is quadratic, hence twice, in what two roundings of inputs and weights moved; its mean over rows
             averages the others out.
  gradients  4 sqrt(u): a ReLU whose input was rounded across zero passes a gradient or not, and the share of those
             grows with u: a direction whose cosine is 8 u less than 1, and a norm 4 u off, is sqrt(16 u + 16 u^2) away.

The loss's and the gradients' are those that tests/humor/precision/test_precision.py holds the library to. "only finite"
is what has no bound: the later frames of a rollout move apart at the rate of the motion itself, whatever was rounded
first.
"""

import math
from collections.abc import Callable, Mapping

BOUNDS: Mapping[str, Callable[[float], float]] = {
    "product": lambda u: math.sqrt(3) * u,
    "network": lambda u: math.sqrt(27) * u,
    "transformers": lambda u: math.sqrt(150) * u,
    "bodies": lambda u: math.sqrt(33) * u,
    "loss": lambda u: 4 * u,
    "gradients": lambda u: 4 * math.sqrt(u),
    "only finite": lambda u: math.inf,
}
