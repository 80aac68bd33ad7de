"""CMU's own motion files (.asf, .amc): read, retargeted to the SMPL body, and imported as AMASS clips."""
