"""adwatch keeps the users of an Asterisk PBX in step with Active Directory."""

__version__ = "0.1.0"
