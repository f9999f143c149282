"""`deconv-atlas publish` on a cluster: ``ray job submit … -- python -m jobs.publish …``."""

from jobs.entry import run

if __name__ == "__main__":
    run("publish")
