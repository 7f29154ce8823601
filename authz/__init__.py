"""Aegis: the egress authorizer for AI agents behind Envoy. Start reading at `authz/pipeline.py`."""

__version__ = "0.1.0"
