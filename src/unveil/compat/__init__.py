"""Stands in for `mamba_ssm` and `causal_conv1d`, so that other people's networks run anywhere.

>>> import unveil.compat
>>> provided = unveil.compat.install()
>>> unveil.compat.uninstall()
"""

from unveil.compat.standin import install, uninstall

__all__ = ["install", "uninstall"]
