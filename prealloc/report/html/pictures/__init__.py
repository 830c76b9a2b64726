"""The pictures of a report, one a module: pure functions, data in, SVG text out. Colours are in report.css."""
