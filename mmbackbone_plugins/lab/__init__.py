"""Studies on top of the plugin: nothing outside of this package imports it."""
