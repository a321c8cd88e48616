"""A run: checked, looped, stepped, resumed; one or several."""
