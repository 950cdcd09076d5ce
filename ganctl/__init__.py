"""ganctl trains generative adversarial networks on anybody's images.

Importing it is free: torch, numpy and the plugins load when something asks for them.
"""

__version__ = "0.1.0"
