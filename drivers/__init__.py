"""Drivers of real instruments. One module a family; a vendor's library is imported when an instrument is opened."""
