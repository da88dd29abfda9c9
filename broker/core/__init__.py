"""The core: plugins, names and routing. Names no runtime and no face; they implement its ports."""
