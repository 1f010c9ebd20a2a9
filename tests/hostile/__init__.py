"""Files that attack whoever reads them, each with the wall that has to stop it.

`python -m tests.hostile` makes every one of them, tries it against the walls, and prints the table.
"""
