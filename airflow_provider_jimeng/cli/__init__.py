# SPDX-License-Identifier: Apache-2.0
"""The command line: ``jimeng …``, and ``airflow jimeng …`` where Airflow lets providers bring commands."""
