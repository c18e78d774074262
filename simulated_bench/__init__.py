"""A circuit with hidden true parameters, and simulated instruments around it."""
