"""What a bench really does: procedures that measure it, and the dated records that they leave."""
