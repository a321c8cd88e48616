"""Recipes: tables of the paper as files to run, copy and edit; ``base.py`` says how."""
