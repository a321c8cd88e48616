"""The papers' figures that are made of rankings and scores, as pages."""
