"""Applications that nobody ships: one for each thing that the contract must be wide enough for.

`tests/test_contract.py` takes all of them the whole way, as it does with the applications.
"""
