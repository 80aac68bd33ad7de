"""Scripts that measure what no benchmark does: `python -m bench.studies.phases`, say."""
