"""The report as a document: sections of tables, charts and pictures, the same in every face.

A face sets these blocks and adds no number of its own, so that HTML, PDF and model card cannot disagree.
"""
