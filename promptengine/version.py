"""The version, in one place for the package, the wheel and infotexts."""

__version__ = "0.2.0"
