"""The command line: ``jimeng …``, and ``airflow jimeng …`` where Airflow lets providers bring commands."""
