"""What people look at: the published atlas with its web pages, and the figures.

Everything here draws records (`data.findings`) and reads results (`data.results`); what computes
them is not known here.
"""
