"""How long requests take on one kind of instance, learned from outcomes. Pure.

    seconds = w0 + w1 x input + w2 x output        no weight below 0

fitted to the last `KEPT` outcomes by least squares of relative errors, twice: the second time an outcome that was far
off counts less, as its error is believed up to `ERROR_MAX` times the usual one. A little of the fit is the guess that
shares of the mean go with nothing, the input and the output (`GUESSED`), which decides while there is little to fit.

Source: Huber, "Robust Estimation of a Location Parameter", 1964; Hoerl and Kennard, "Ridge Regression", 1970.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

KEPT: Final = 256
"""Outcomes that a fit is made of."""
FITTED_EVERY: Final = 8
"""Outcomes between two fits, after the first `FITTED_ALWAYS`."""
FITTED_ALWAYS: Final = 32
CLEAR_ENOUGH: Final = 8
"""From so many outcomes on that are clear, the others are left out."""
EXPLORED: Final = 5
"""Outcomes after which a kind is judged by what it showed."""
GUESSED: Final = (0.3, 0.35, 0.35)
GUESS_WEIGHT: Final = 0.2
"""How many outcomes the guess counts for."""
ERROR_MAX: Final = 2.5
SHARE_MIN: Final = 0.05
"""No request is foreseen to take less than this share of the mean."""
SCALE_MIN: Final = 0.25
"""Errors are relative to what a request took, but to no less than this share of the mean."""
ERROR_WEIGHT: Final = 0.1
TRUSTED_AT: Final = 10
TRUSTED_ERROR: Final = 0.35
"""From so many outcomes on, and below this mean relative error, what contradicts it says something of an instance."""

Row = tuple[float, float, float]


class SpeedModel:
    """One kind's speed.

    Args:
        guess_s: seconds that a request is thought to take before anything is known.
    """

    __slots__ = ("_clear", "_kept", "error", "mean_s", "samples", "weights")

    def __init__(self, guess_s: float) -> None:
        self.mean_s = guess_s
        self.samples = 0
        self.error = 1.0
        self.weights: Row = (guess_s, 0.0, 0.0)
        """Seconds for any request, for each unit of input, and for each unit of output."""
        self._kept: deque[tuple[float, float, float, bool]] = deque(maxlen=KEPT)
        self._clear = 0

    def expected_s(self, size: tuple[float, float]) -> float:
        """Return the seconds that a request of (input, output) takes when it does not wait; unknown sizes are 0."""
        if size == (0.0, 0.0):
            return self.mean_s
        constant, per_input, per_output = self.weights
        return max(self.floor_s, constant + per_input * size[0] + per_output * size[1])

    @property
    def floor_s(self) -> float:
        """The least that a request is foreseen to take."""
        return SHARE_MIN * self.mean_s

    @property
    def trusted(self) -> bool:
        """Whether what contradicts it says more of an instance than of the model."""
        return self.samples >= TRUSTED_AT and self.error < TRUSTED_ERROR

    @property
    def explored(self) -> bool:
        """Whether it was tried often enough to be judged by what it showed."""
        return self.samples >= EXPLORED

    def learn(self, size: tuple[float, float], seconds: float, *, clear: bool = True) -> None:
        """Take in that a request took so long; what is not clear may have waited, and serves until there is better."""
        if not clear and self._clear >= CLEAR_ENOUGH:
            return
        if clear and self._clear < CLEAR_ENOUGH:
            self._clear += 1
            if self._clear == CLEAR_ENOUGH:
                self._kept = deque((one for one in self._kept if one[3]), maxlen=KEPT)
        if self.samples:
            off = abs(seconds - self.expected_s(size)) / max(seconds, SCALE_MIN * self.mean_s)
            self.error += (min(1.0, off) - self.error) * max(ERROR_WEIGHT, 1.0 / self.samples)
        self.samples += 1
        self.mean_s += (seconds - self.mean_s) / min(self.samples, 100)
        self._kept.append((size[0], size[1], seconds, clear))
        if self.samples <= FITTED_ALWAYS or self.samples % FITTED_EVERY == 0:
            self._fit()

    def _fit(self) -> None:
        rows = np.array(self._kept, dtype=np.float64)
        seconds = rows[:, 2]
        means = rows.mean(axis=0)
        scale = np.maximum(seconds, SCALE_MIN * means[2])
        columns = np.column_stack((np.ones(len(rows)), rows[:, 0] / (means[0] or 1.0), rows[:, 1] / (means[1] or 1.0)))
        guess = np.array(GUESSED) * means[2]
        weights = _solved(columns / scale[:, None], seconds / scale, guess, means[2])
        off = np.abs(columns @ weights - seconds) / scale
        usual = max(float(np.median(off)), 0.01)
        trust = np.sqrt(np.minimum(1.0, ERROR_MAX * usual / np.maximum(off, 1e-9))) / scale
        weights = _solved(columns * trust[:, None], seconds * trust, guess, means[2])
        self.weights = (
            float(weights[0]), float(weights[1] / (means[0] or 1.0)), float(weights[2] / (means[1] or 1.0))
        )  # fmt: skip


def _solved(
    columns: NDArray[np.float64], wanted: NDArray[np.float64], guess: NDArray[np.float64], mean_s: float
) -> NDArray[np.float64]:
    """Return the weights of least squares that are near the guess; those that would be below 0 are 0."""
    ridge = GUESS_WEIGHT / (mean_s * mean_s)
    normal = columns.T @ columns + ridge * np.eye(3)
    right = columns.T @ wanted + ridge * guess
    free = [0, 1, 2]
    weights = np.zeros(3)
    while free:
        found = np.linalg.solve(normal[np.ix_(free, free)], right[free])
        if found.min() >= 0.0:
            weights[free] = found
            break
        free.pop(int(found.argmin()))
    return weights
