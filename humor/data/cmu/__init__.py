"""Import CMU's motion files (.asf, .amc) as AMASS clips."""
