"""Costs C(v, y) of the outputs v: value, gradient, and derivative of the gradient. Task units throughout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from freqprop_lab.values import Array


class Cost(ABC):
    """A cost of outputs (..., output) for targets of the same shape, in task volts."""

    name: str

    @abstractmethod
    def value(self, outputs: Array, target: Array) -> Array:
        """Return C, V^2, (...)."""

    @abstractmethod
    def gradient(self, outputs: Array, target: Array) -> Array:
        """Return dC/dv, V, (..., output)."""

    @abstractmethod
    def curvature(self, outputs: Array, target: Array) -> Array:
        """Return d2C/dv2 of one example, (output, output)."""


class Squared(Cost):
    """C = sum (v - y)^2 / 2."""

    name = "squared"

    def value(self, outputs: Array, target: Array) -> Array:
        """Return half the sum of squares."""
        return np.asarray(0.5 * ((outputs - target) ** 2).sum(axis=-1))

    def gradient(self, outputs: Array, target: Array) -> Array:
        """Return v - y."""
        return outputs - target

    def curvature(self, outputs: Array, target: Array) -> Array:
        """Return one on the diagonal."""
        return np.eye(len(outputs)) + 0 * target


class OneSided(Cost):
    """C = sum (v - y)^2 / 2 over the outputs that fall short of y, on its side of zero; satisfied ones cost nothing.

    An output whose target is 0 has no side and never costs anything: targets are meant to be codes such as -1, 1.
    """

    name = "one-sided"

    def value(self, outputs: Array, target: Array) -> Array:
        """Return half the sum of squares of what is lacking."""
        return np.asarray(0.5 * (self.gradient(outputs, target) ** 2).sum(axis=-1))

    def gradient(self, outputs: Array, target: Array) -> Array:
        """Return v - y where the output falls short, 0 elsewhere."""
        return np.where((outputs - target) * np.sign(target) >= 0, 0.0, outputs - target)

    def curvature(self, outputs: Array, target: Array) -> Array:
        """Return one on the diagonal where the output falls short."""
        return np.diag((self.gradient(outputs, target) != 0).astype(np.float64))


@dataclass(frozen=True)
class CrossEntropy(Cost):
    """C = tau x cross-entropy of softmax(v / tau): its gradient, softmax - one-hot, is a voltage. tau: task volts.

    The largest target names the class.
    """

    temperature: float
    name = "cross-entropy"

    def value(self, outputs: Array, target: Array) -> Array:
        """Return -tau log softmax of the wanted class."""
        scaled = outputs / self.temperature
        top = scaled.max(axis=-1, keepdims=True)
        logarithm = np.log(np.exp(scaled - top).sum(axis=-1)) + top[..., 0]
        return np.asarray(self.temperature * (logarithm - (scaled * _one_hot(target)).sum(axis=-1)))

    def gradient(self, outputs: Array, target: Array) -> Array:
        """Return softmax - one-hot."""
        return self._softmax(outputs) - _one_hot(target)

    def curvature(self, outputs: Array, target: Array) -> Array:  # noqa: ARG002 - the same for every class
        """Return (diag p - p p^T) / tau."""
        p = self._softmax(outputs)
        return (np.diag(p) - np.outer(p, p)) / self.temperature

    def _softmax(self, outputs: Array) -> Array:
        raised = np.exp((outputs - outputs.max(axis=-1, keepdims=True)) / self.temperature)
        return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def _one_hot(target: Array) -> Array:
    return np.asarray(target == target.max(axis=-1, keepdims=True), dtype=np.float64)


COSTS = ("squared", "one-sided", "cross-entropy")


def make_cost(name: str, temperature: float) -> Cost:
    """Return the cost of that name."""
    return {"squared": Squared(), "one-sided": OneSided(), "cross-entropy": CrossEntropy(temperature)}[name]


@dataclass(frozen=True)
class Objective:
    """What one example wants, in SI units: a cost, its target (task volts, (output,)), and s_V."""

    cost: Cost
    target: Array
    volts: float

    def value(self, outputs: Array) -> float:
        """Return the cost of port voltages, V^2."""
        return float(self.cost.value(outputs / self.volts, self.target)) * self.volts**2

    def gradient(self, outputs: Array) -> Array:
        """Return dC/dv, V, (output,)."""
        return self.cost.gradient(outputs / self.volts, self.target) * self.volts

    def curvature(self, outputs: Array) -> Array:
        """Return d2C/dv2, (output, output)."""
        return self.cost.curvature(outputs / self.volts, self.target)
