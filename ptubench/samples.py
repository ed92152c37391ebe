"""How many measured values a percentile needs.

The smallest n for which both tails (share^n and (1 − share)^n) are at most 2.5 %, so that the smallest and the
largest value enclose the percentile with 95 % confidence whatever the distribution. With fewer, it is withheld.
"""

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
NEEDED = {"p50": 6, "p90": 36, "p95": 72, "p99": 368, "p999": 3688}
