"""`deconv-atlas project` on a cluster: ``ray job submit … -- python -m jobs.project …``."""

from jobs.entry import run

if __name__ == "__main__":
    run("project")
