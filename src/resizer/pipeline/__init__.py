"""The engine: a watch feeds a queue, its workers take each claim through the stages. See docs/architecture.md."""
