"""Sequence models over clicks: contract, training, evaluation, export and the serving engine."""
