"""Networks written in the language, as package data: one .res file a network."""
