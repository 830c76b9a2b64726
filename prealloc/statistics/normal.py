"""Quantiles, from scipy. They are imported when they are needed: scipy takes a quarter of a second."""

from __future__ import annotations


def z_of(level: float) -> float:
    """The half width, in standard deviations, of the middle `level` of a normal distribution: 1.96 for 0.95."""
    from scipy.special import ndtri

    return float(ndtri((1 + level) / 2))


def t_of(level: float, df: int) -> float:
    """The same of Student's t with `df` degrees of freedom: 4.30 for 0.95 and 2."""
    from scipy.special import stdtrit

    return float(stdtrit(df, (1 + level) / 2))
