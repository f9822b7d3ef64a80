"""Organ masks that a shape prior does not believe: features, scores, calibration, and the benchmark that judges them.

Knows no model: a prior is whatever `engine.registry` loads and keeps the contract of engine/contract.py.
"""
