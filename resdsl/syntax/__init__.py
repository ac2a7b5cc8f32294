"""Text to syntax tree and back: the grammar's nodes, the parser, the formatter."""
