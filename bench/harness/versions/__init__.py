"""Another version of the library: taken out of git, loaded beside this one, or run in another process."""
