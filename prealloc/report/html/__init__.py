"""The report of a run as one HTML file: no network, no build step, and no script from what a run wrote.

say       text of unknown origin, made safe to put on a page: keys masked, control characters as escapes
svg       SVG elements as text, escaped where they are made
pictures  one picture each: data in, SVG text out
rows      what the tables and pictures of a report say, in words and numbers
packed    every unit as columns, and the details of some, as small as they get
page      puts page.html together, with its security policy
"""
