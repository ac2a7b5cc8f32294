"""Pictures: a network becomes a sketch (what is shown), a drawing (where it stands), and DOT text."""
