"""An order of photos, carried into the programs that people use: tables, folders, XMP."""
