"""Early exit: easy images answered by small sub-models, the others by larger ones."""
