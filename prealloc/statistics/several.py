"""p values of several comparisons that are made together."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p: Sequence[float]) -> list[float]:
    """Each p value as it counts among the others: the chance of one false claim or more stays what each p says.

    Source: Holm 1979, step-down.
    """
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, most = [0.0] * len(p), 0.0
    for place, i in enumerate(order):
        most = max(most, min(1.0, (len(p) - place) * p[i]))
        adjusted[i] = most
    return adjusted


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """For screening many pairs: bounds the share of false claims. Source: Benjamini, Hochberg 1995."""
    from scipy.stats import false_discovery_control

    return [float(each) for each in false_discovery_control(list(p))] if p else []


def cochran_q(rows: Sequence[Sequence[int]]) -> tuple[float, int, float]:
    """Whether any of several cells differs: (statistic, degrees of freedom, p). Rows are tasks, 0 or 1 for each cell.

    Source: Cochran 1950. Where no task tells two cells apart, the statistic is 0 and p is 1.
    """
    from scipy.special import chdtrc

    cells = len(rows[0])
    by_cell = [sum(row[cell] for row in rows) for cell in range(cells)]
    by_task = [sum(row) for row in rows]
    total = sum(by_task)
    divisor = cells * total - sum(each * each for each in by_task)
    if divisor == 0:
        return 0.0, cells - 1, 1.0
    q = (cells - 1) * (cells * sum(each * each for each in by_cell) - total * total) / divisor
    return q, cells - 1, float(chdtrc(cells - 1, q))
