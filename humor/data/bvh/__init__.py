"""Import Biovision motion files (.bvh) of any humanoid skeleton as AMASS clips."""
