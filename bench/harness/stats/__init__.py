"""Verdicts as pure functions of numbers: intervals, the sequential test, whether a precision pays."""
