"""Merlin-Arthur classifiers: explanations with a guarantee, and an audit for everyone else's."""

from ._certify import CertifyConfig, certify
from ._data import DataConfig, load_task

__all__ = ["CertifyConfig", "DataConfig", "certify", "load_task"]
