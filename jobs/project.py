"""`deconv-atlas project` on a cluster: ``ray job submit … -- python -m jobs.project …``."""

import sys

from pipeline.cli.app import main

if __name__ == "__main__":
    main(["project", *sys.argv[1:]])
