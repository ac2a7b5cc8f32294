"""Syntax trees to checked networks: names, values, rules, shapes, expectations, recipes."""
