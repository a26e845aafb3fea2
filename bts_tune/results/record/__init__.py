"""The run folder: its files and their schema, what a record may say, and writes that are whole or not there at all."""
