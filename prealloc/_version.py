"""The version, in one place beside pyproject.toml; a test keeps them equal."""

__version__ = "0.1.0.dev0"
