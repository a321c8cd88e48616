"""Recipes: tables of the paper as files to run, copy and edit; see :mod:`adapter.recipes.base`."""
