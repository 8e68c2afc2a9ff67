"""Bridges to other libraries, one leaf module each, behind the extra of the same name."""
