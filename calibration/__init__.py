"""What a bench really does: procedures that measure it, and the dated records that they leave."""

RECORDS_FOLDER = "calibrations"  # where procedures leave their records unless told otherwise
