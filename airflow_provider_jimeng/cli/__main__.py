# SPDX-License-Identifier: Apache-2.0
"""``python -m airflow_provider_jimeng.cli``: the command line where the script ``jimeng`` is not on the path."""

from __future__ import annotations

import sys

from airflow_provider_jimeng.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
