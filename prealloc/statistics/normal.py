"""Quantiles. scipy is imported when it is needed: it takes a quarter of a second."""

from __future__ import annotations


def z_of(level: float) -> float:
    """The half width, in standard deviations, of the middle `level` of a normal distribution: 1.96 for 0.95."""
    return z_of_power((1 + level) / 2)


def z_of_power(power: float) -> float:
    """The normal quantile of a power: 0.84 for 80%."""
    from statistics import NormalDist  # the standard library's: a plan says its precision without scipy

    return NormalDist().inv_cdf(power)


def t_of(level: float, df: int) -> float:
    """As z_of, of Student's t with `df` degrees of freedom: 4.30 for 0.95 and 2."""
    from scipy.special import stdtrit

    return float(stdtrit(df, (1 + level) / 2))
