"""The data directory of a core server: layout, atomic writes, configuration, adoption of a vendor's directory."""
