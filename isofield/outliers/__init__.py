"""Organ masks that a shape prior does not believe: features, scores, calibration, and the benchmark that judges them.

Knows no model: a prior is whatever `isofield.registry` loads and keeps the contract of isofield/contract.py.
"""
