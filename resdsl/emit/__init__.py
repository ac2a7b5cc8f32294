"""Targets: torch modules, torch source, Graphviz. One file a target; each reads the graph, none the syntax tree."""
