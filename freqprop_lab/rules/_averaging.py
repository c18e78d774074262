"""Averaging until an update is worth making: several records of one drive, read as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from freqprop_lab.network import Network
from freqprop_lab.values import Array, Response


def averaged(responses: Sequence[Response]) -> Response:
    """Average responses to the same drive: a and b, their covariance divided by the number; flags are gathered."""
    if len(responses) == 1:
        return responses[0]
    covariance = np.mean([response.covariance for response in responses], axis=0) / len(responses)
    raised = [response.flags for response in responses if response.flags is not None]
    biases = [response.product_bias for response in responses if response.product_bias is not None]
    return replace(
        responses[-1],
        a=np.mean([response.a for response in responses], axis=0),
        b=np.mean([response.b for response in responses], axis=0),
        covariance=covariance,
        flags=np.bitwise_or.reduce(raised) if raised else None,
        product_bias=np.mean(biases, axis=0) / len(responses) if biases else None,
    )


def is_significant(network: Network, a: Response, b: Response, wished: float) -> bool:
    """Say whether the products a_jk b_jk stand so many standard errors above their own noise, all branches together.

    By first-order propagation; the noise is in the measured products too, hence 1 + wished^2.
    """
    ends = network.tunable_ends
    across_a, across_b = network.across_tunable(a.a), network.across_tunable(b.b)
    variance = across_b**2 * _summed(a.covariance[..., 0, 0], ends) + across_a**2 * _summed(
        b.covariance[..., 1, 1], ends
    )
    if a is b:
        variance = variance + 2 * across_a * across_b * _summed(b.ab_covariance, ends)
    noise = float(np.nansum(variance))
    return float(np.nansum((across_a * across_b) ** 2)) >= (1 + wished**2) * noise


def _summed(variances: Array, ends: tuple[np.ndarray, np.ndarray]) -> Array:
    """Return the variance of a difference between two nodes, (tunable,); ground has none."""
    grounded = np.append(variances, 0.0)
    return np.asarray(grounded[ends[0]] + grounded[ends[1]])
