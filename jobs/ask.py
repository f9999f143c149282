"""`deconv-atlas ask` on a cluster: ``ray job submit … -- python -m jobs.ask …``."""

from jobs.entry import run

if __name__ == "__main__":
    run("ask")
