"""How fast training and inference are: one short script per question, over one Workload.

Each script prints its table. With --write it keeps its rows in results.json, from which the tables
of the documents are made, and of which `python -m benchmarks.check` compares the ratios.
"""
