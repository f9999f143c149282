"""`deconv-atlas mine` on a cluster: ``ray job submit … -- python -m jobs.mine …``."""

from jobs.entry import run

if __name__ == "__main__":
    run("mine")
