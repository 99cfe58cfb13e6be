"""The version, in one place for the package, the wheel and infotexts."""

__version__ = "0.1.0"
