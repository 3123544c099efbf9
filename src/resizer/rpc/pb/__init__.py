"""Stubs that `make protos` generates from ../proto; never edited by hand."""
