"""`python -m prealloc` is `prealloc`."""

from prealloc.cli import main

raise SystemExit(main())
