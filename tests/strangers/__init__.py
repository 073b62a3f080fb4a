"""Applications that are not shipped, each with another need that the contract must meet.

`tests/test_contract.py` trains, exports and serves all of them, as it does with the applications.
"""
