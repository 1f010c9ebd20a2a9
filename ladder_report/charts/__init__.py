"""The report's charts, drawn by matplotlib as SVG; a family of charts a file.

Each chart comes in colours for light and for dark pages. As images, not inline SVG, they cannot clash with a
page's identifiers or styles. Their letters are outlines: a chart looks the same wherever it is shown.
"""
