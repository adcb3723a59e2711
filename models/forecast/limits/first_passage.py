"""When does a drifting, wandering level first reach a limit? The inverse Gaussian answer. Pure."""

from __future__ import annotations

import math


def crossing_probability(distance: float, drift: float, diffusion: float, seconds: float) -> float:
    """P(a level that is `distance` away from a limit reaches it within `seconds`), in [0, 1].

    `drift` is the speed toward the limit (units per second, negative: away from it), `diffusion` the random wander
    (units per square root of a second). The level is taken for Brownian motion with drift; its first passage time is
    inverse Gaussian (Chhikara and Folks, The Inverse Gaussian Distribution, 1989, chapter 3; for drift away from the limit
    it is never reached with the remaining probability, Cox and Miller, The Theory of Stochastic Processes, 1965, 5.7):

        P(T <= t) = N((m t - d) / (s sqrt t)) + exp(2 m d / s^2) N((-d - m t) / (s sqrt t))

    Example: 0.6 V away, drifting 0.004 V/s, wandering 0.01 V per root second: within 100 s 3 %, within 200 s 94 %.

    Never falls as `seconds` or `drift` grow or `distance` shrinks. 1 at or past the limit.
    """
    if distance <= 0.0:
        return 1.0
    if seconds <= 0.0:
        return 0.0
    wander = diffusion * math.sqrt(seconds)
    if wander <= 1e-9 * max(distance, abs(drift) * seconds):
        return 1.0 if drift * seconds >= distance else 0.0
    moved, away = drift * seconds / wander, distance / wander
    return min(1.0, _normal(moved - away) + _reflected(moved, away))


def _normal(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def _reflected(moved: float, away: float) -> float:
    """exp(2 moved away) N(-away - moved), where the first factor overflows and the second is 0."""
    z = away + moved
    if z < 30.0:
        return math.exp(2.0 * moved * away) * _normal(-z)
    # N(-z) = exp(-z^2 / 2) / (z sqrt(2 pi)) (1 - 1/z^2 + ...), and 2 m a - (m + a)^2 / 2 = -(m - a)^2 / 2.
    return math.exp(-0.5 * (moved - away) ** 2) / (z * math.sqrt(2.0 * math.pi)) * (1.0 - 1.0 / (z * z))
