"""Runs any model that keeps the contract: training, extraction, metrics, reports.

Knows no model by name, but for registry.py.
"""
