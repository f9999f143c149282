"""The formats of a dataset: image folders, WebDataset tars, Parquet.

A new one is a reader, and a line in `dataset`.
"""
