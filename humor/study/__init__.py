"""The study: one training in several precisions, a step's time by phase, and the study's tables."""
