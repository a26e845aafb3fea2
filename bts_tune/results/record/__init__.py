"""Run folders and benchmark folders: their files and schema, what a record may say, and writes that are whole or not."""
