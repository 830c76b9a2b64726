"""Runs prealloc from a checkout: `python cli.py plan ...`."""

from prealloc.cli import main

raise SystemExit(main())
